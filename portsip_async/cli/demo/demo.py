"""``portsip-async demo``: the SDK at work with a simulated PBX that fails on purpose.

The PBX and the SDK run in one process and talk over a local socket. Each step checks its result and
prints a line. In the end the requests that the SDK sent are compared with those that the PBX
received. The exit code is 1 if a step failed or the two sides disagree.
"""

import asyncio
import secrets
import sys
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated

import typer
from rich.console import Console

from ... import (
    ENDPOINTS,
    ExtensionStatus,
    NewExtension,
    PortSIPClient,
    PortSIPError,
    Profile,
    RetryPolicy,
    v22,
)
from ...simulator import Faults, PBXSimulator
from ..output import console as make_console
from ..terminal.signals import suspendable
from ..terminal.streams import unguarded
from . import demo_v22
from .demo_steps import (
    CONCURRENCY,
    TRIES,
    Failed,
    Traffic,
    compare,
    each_once,
    expect,
    say,
    step,
    until_done,
)

# About one request in twelve fails. No rate revokes tokens: the SDK repeats a request with a
# rejected token only once, and the next token might be revoked as well.
_FAULTS = Faults(
    latency=0.02, rate_limited=0.02, server_error=0.02, html=0.01, dropped=0.015, truncated=0.015
)
_RETRY = RetryPolicy(attempts=8)  # with these faults, all eight fail once in 400 million calls
_WATCH_RETRY = RetryPolicy(attempts=2)  # the watch asks again in its next cycle
_ACCEPTED = 6  # requests in flight that the PBX accepts during the poll
_PATIENCE = 20.0  # seconds to wait for status changes
_PIPE_WIDTH = 80  # columns, where the output is not a terminal


def demo(
    *,
    extensions: Annotated[int, typer.Option(min=3, help="How many the PBX holds.")] = 5000,
    token_lifetime: Annotated[
        float, typer.Option(min=0.5, help="Seconds that a token lives.")
    ] = 2.0,
    seed: Annotated[int, typer.Option(help="Other people, other faults.")] = 0,
) -> None:
    """Watch the SDK work with a PBX that fails on purpose, with both generations of the API."""
    sim = PBXSimulator(extensions, token_lifetime=token_lifetime, faults=_FAULTS, seed=seed)
    console = make_console(markup=True, width_of_pipe=_PIPE_WIDTH)
    with suspendable(unguarded(sys.stdout)):
        code = asyncio.run(run(console, sim))
    raise typer.Exit(code)


async def run(
    console: Console,
    sim: PBXSimulator,  # with 3 extensions or more
    *,
    created: int = 200,
    watched: int = 300,
    interval: float = 0.25,  # seconds between two cycles of the watch
    downtime: float = 1.0,  # seconds that a restart takes; two intervals or more
    created_v22: int = 50,
    polled_v22: int = 200,
    followed_v22: int = 1000,
) -> int:
    """Start the PBX, run the steps, print the outcome, and return the exit code."""
    problems = list[str]()
    traffic, traffic_v22 = Traffic(ENDPOINTS, sim), Traffic(v22.ENDPOINTS, sim.v22)
    async with sim:
        say(
            console,
            f"A simulated PBX with {len(sim.extension_numbers):,} extensions listens at {sim.url}."
            " It fails on purpose: its tokens soon expire, and about one request in twelve is"
            " refused or loses its reply.",
        )
        console.print()
        try:
            await _run_classic(console, sim, traffic, created, watched, interval, downtime)
            console.print()
            say(console, "The same PBX through generation v22 of its API:")
            await demo_v22.run(
                console,
                sim,
                traffic_v22,
                _RETRY,
                created=created_v22,
                polled=polled_v22,
                followed=followed_v22,
            )
        except (Failed, PortSIPError) as error:
            problems.append(str(error))
        problems += compare(console, traffic, traffic_v22)
    if problems:
        console.print("\n[bold red]Something was lost:[/]")
        console.print("\n".join(problems), markup=False)
        return 1
    console.print("\n[bold green]Nothing was lost.[/]\nNext: portsip-async simulate")
    return 0


async def _run_classic(
    console: Console,
    sim: PBXSimulator,
    traffic: Traffic,
    created: int,
    watched: int,
    interval: float,
    downtime: float,
) -> None:
    async with PortSIPClient(
        sim.url,
        username=sim.username,
        password=sim.password,
        retry=_RETRY,
        max_connections=CONCURRENCY,
        on_attempt=traffic,
    ) as pbx:
        steps = Steps(console, sim, pbx, traffic)
        await steps.lists()
        await steps.poll()
        await steps.watch(watched, interval, downtime)
        await steps.extensions(created)
        # This joins a renewal in the background, so no request is in flight afterwards.
        await pbx.account.refresh()


@dataclass
class Steps:
    """All steps."""

    console: Console
    sim: PBXSimulator
    pbx: PortSIPClient
    traffic: Traffic

    def __post_init__(self) -> None:
        self.numbers: list[str] = self.sim.extension_numbers  # before the first step
        self.next_number: int = int(self.numbers[-1]) + 1

    async def lists(self) -> None:
        """Walk the list of extensions, and search it."""
        extensions, listed = self.pbx.extensions, list[str]()
        with step(self.console, "walk the list, tokens revoked midway") as result:
            # Without prefetching, no request is in flight when the tokens are revoked.
            async for extension in extensions.list(prefetch=0):
                listed.append(extension.extension_number)
                if len(listed) == len(self.numbers) // 2:
                    # After a renewal the client has one token. With two of them, a request might
                    # meet two revoked tokens in a row, and fail.
                    await self.pbx.account.refresh()
                    self.sim.revoke()
            result.append(each_once(listed, self.numbers))
        with step(self.console, "search for a number") as result:
            found = [one.extension_number async for one in extensions.search("100")]
            result.append(each_once(found, [number for number in self.numbers if "100" in number]))

    async def poll(self) -> None:
        """Read the status of all extensions, and of one that does not exist."""
        with step(self.console, f"poll, PBX accepts {_ACCEPTED} at once") as result:
            asked = [*self.numbers, str(self.next_number)]
            self.sim.max_in_flight = _ACCEPTED
            poll = self.pbx.extensions.poll_status(asked, concurrency=CONCURRENCY, ordered=True)
            results = [(one.extension_number, one.error) async for one in poll]
            self.sim.max_in_flight = None
            result.append(f"{each_once([number for number, _ in results], asked)}; 1 unknown")
            failed = [number for number, error in results if error is not None]
            expect(failed == asked[-1:], f"no status of {', '.join(failed)}")

    async def watch(self, count: int, interval: float, downtime: float) -> None:
        """Set statuses, also during a restart, and wait until a watch reports each of them."""
        watched, seen = self.numbers[:count], dict[str, ExtensionStatus | None]()

        def set_all(status: str) -> dict[str, ExtensionStatus]:
            for number in watched:
                self.sim.set_status(number, status, user_agent="demo")
            return {number: ExtensionStatus(number, status, "demo") for number in watched}

        async def see(wanted: dict[str, ExtensionStatus]) -> str:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    while seen != wanted:
                        each = await anext(changes)
                        number = each.extension_number
                        # Each change must start where the one before ended.
                        expect(each.before == seen.get(number), f"{number}: a change is lost")
                        seen[number] = each.after
            missing = sum(seen.get(number) != status for number, status in wanted.items())
            expect(not missing, f"{missing} of {len(wanted)} not seen after {_PATIENCE:g} s")
            return f"{len(wanted)} of {len(wanted)} seen"

        pbx = self.pbx.with_options(retry=_WATCH_RETRY)
        wanted = set_all("ONLINE")
        async with pbx.extensions.watch_status(watched, interval=interval) as watch:
            changes = aiter(watch)
            with step(self.console, f"watch {len(watched):,} every {interval:g} s") as result:
                result.append(await see(wanted))
            with step(self.console, "change all") as result:
                result.append(await see(set_all("RINGING")))
            with step(self.console, "restart, change all again") as result:
                self.traffic.restarting = True
                await self.sim.stop()
                wanted = set_all("ON_CALL")
                await asyncio.sleep(downtime)
                await self.sim.start()
                self.traffic.restarting = False
                failed = self.traffic.not_connected + self.traffic.cut.total()
                expect(failed > 0, "no request failed while the PBX was away")
                result.append(f"{await see(wanted)}, {failed} failures")
                expect(watch.snapshot == wanted, "the snapshot is not what the PBX has")
            # Leave at the end of a cycle, when no request is in flight.
            cycles = watch.stats.cycles
            while watch.stats.cycles == cycles:  # noqa: ASYNC110 - the watch has no event
                await asyncio.sleep(0)

    async def extensions(self, count: int) -> None:
        """Create extensions, change one, give it a greeting, and remove all."""
        extensions = self.pbx.extensions
        numbers = [str(self.next_number + n) for n in range(count)]
        new = {number: new_extension(number) for number in numbers}
        first = numbers[0]
        with step(self.console, f"create {count:,}, one reply lost") as result:
            self.sim.fail("extensions.create", drop=True, act=True)
            outcome = await until_done(
                lambda left: extensions.create_many(
                    [new[number] for number in left], concurrency=CONCURRENCY, if_exists="skip"
                ),
                numbers,
            )
            # The PBX has them in the order of their creation.
            exist = sorted(self.sim.extension_numbers, key=int)
            expect(exist == [*self.numbers, *numbers], f"{len(exist)} exist, not as wanted")
            result.append(f"all exist; {outcome}")
        with step(self.console, "change one, give it a greeting") as result:
            await extensions.patch(first, profile={"first_name": "Ada"})
            after = await extensions.show(first)
            profile = after.profile or Profile()
            expect(profile.first_name == "Ada", "the patch had no effect")
            expect(after.password == new[first].password, "its password is not the one sent")
            sound = secrets.token_bytes(32_000)  # the simulator stores any bytes
            outcome = await upload_once(self.pbx, first, "welcome.wav", sound)
            stored = [one.sha256 for one in self.sim.greetings(first).values()]
            expect(stored == [sha256(sound).hexdigest()], "the PBX has another file")
            result.append(f"now {profile.first_name}; upload: {outcome}")
        with step(self.console, "remove them") as result:
            outcome = await until_done(
                lambda left: extensions.remove_many(left, concurrency=CONCURRENCY), numbers
            )
            exist = self.sim.extension_numbers
            expect(exist == self.numbers, "not the extensions from the start")
            result.append(f"{len(exist):,} left; {outcome}")


def new_extension(number: str) -> NewExtension:
    """Make up an extension."""
    password, web_password = secrets.token_urlsafe(12), secrets.token_urlsafe(12)
    return NewExtension(
        extension_number=number, password=password, web_access_password=web_password
    )


async def upload_once(pbx: PortSIPClient, number: str, file: str, sound: bytes) -> str:
    """Upload a greeting; if the reply is lost, check whether it is there before a retry."""
    for _ in range(TRIES):
        try:
            await pbx.greetings.upload(number, sound, filename=file)
        except PortSIPError as error:
            if not error.may_have_acted:
                raise
            if any([one.filename == file async for one in pbx.greetings.list(number)]):
                return "no reply, so looked: it is there"
        else:
            return "done"
    raise Failed(f"not done in {TRIES} tries")
