"""``portsip-async demo``: the SDK at work with a simulated PBX that fails on purpose.

The PBX and the SDK run in one process and talk over a local socket. Each step checks its result and
prints a line. In the end the requests that the SDK sent are compared with those that the PBX
received. The exit code is 1 if a step failed or the two sides disagree.
"""

import asyncio
import secrets
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from time import monotonic
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from .. import (
    ENDPOINTS,
    Attempt,
    BulkRun,
    ConnectError,
    ExtensionStatus,
    NewExtension,
    NotFound,
    PortSIPClient,
    PortSIPError,
    Profile,
    RetryPolicy,
    TransportError,
)
from ..simulator import Faults, PBXSimulator
from .output import console as make_console
from .signals import suspendable
from .streams import unguarded

# About one request in twelve fails. No rate revokes tokens: the SDK repeats a request with a
# rejected token only once, and the next token might be revoked as well.
_FAULTS = Faults(
    latency=0.02, rate_limited=0.02, server_error=0.02, html=0.01, dropped=0.015, truncated=0.015
)
_RETRY = RetryPolicy(attempts=8)  # with these faults, all eight fail once in 400 million calls
_WATCH_RETRY = RetryPolicy(attempts=2)  # the watch asks again in its next cycle
_CONCURRENCY = 16  # requests in flight
_ACCEPTED = 6  # requests in flight that the PBX accepts during the poll
_TRIES = 10  # of a write, while it fails or its reply is lost
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
    """Watch the SDK work with a PBX that fails on purpose."""
    sim = PBXSimulator(extensions, token_lifetime=token_lifetime, faults=_FAULTS, seed=seed)
    console = make_console(markup=True, width_of_pipe=_PIPE_WIDTH)
    with suspendable(unguarded(sys.stdout)):
        code = asyncio.run(run(console, sim))
    raise typer.Exit(code)


async def run(
    console: Console,
    sim: PBXSimulator,  # with 3 extensions or more
    *,
    created: int = 500,
    watched: int = 300,
    interval: float = 0.25,  # seconds between two cycles of the watch
    downtime: float = 1.0,  # seconds that a restart takes; two intervals or more
) -> int:
    """Start the PBX, run the steps, print the outcome, and return the exit code."""
    traffic, problems = Traffic(), list[str]()
    async with (
        sim,
        PortSIPClient(
            sim.url,
            username=sim.username,
            password=sim.password,
            retry=_RETRY,
            max_connections=_CONCURRENCY,
            on_attempt=traffic,
        ) as pbx,
    ):
        console.print(
            f"A simulated PBX with {len(sim.extension_numbers):,} extensions listens at {sim.url}."
            " It fails on purpose: its tokens soon expire, and about one request in twelve is"
            " refused or loses its reply.\n"
        )
        steps = Steps(console, sim, pbx, traffic)
        try:
            await steps.lists()
            await steps.poll()
            await steps.watch(watched, interval, downtime)
            await steps.extensions(created)
            # This joins a renewal in the background, so no request is in flight afterwards.
            await pbx.account.refresh()
        except (Failed, PortSIPError) as error:
            problems.append(str(error))
        problems += compare(console, sim, traffic)
    if problems:
        console.print("\n[bold red]Something was lost:[/]")
        console.print("\n".join(problems), markup=False)
        return 1
    console.print("\n[bold green]Nothing was lost.[/] Next: portsip-async simulate")
    return 0


@dataclass
class Traffic:
    """Counts attempts by operation, as the client's ``on_attempt`` hook."""

    sent: Counter[str] = field(default_factory=Counter)
    cut: Counter[str] = field(default_factory=Counter)  # by the restart, and perhaps received
    not_connected: int = 0  # attempts that sent nothing
    restarting: bool = False  # whether the PBX restarts now

    def __call__(self, attempt: Attempt) -> None:
        """Count an attempt."""
        if isinstance(attempt.error, ConnectError):
            self.not_connected += 1
            return
        self.sent[attempt.operation] += 1
        self.cut[attempt.operation] += self.restarting and isinstance(attempt.error, TransportError)


def compare(console: Console, sim: PBXSimulator, traffic: Traffic) -> Iterator[str]:
    """Print the counts of both sides, and yield a line for each difference."""
    console.print("\n[bold]Requests:                   sent  received[/]")
    for name in ENDPOINTS:
        sent, cut, received = traffic.sent[name], traffic.cut[name], sim.served[name]
        if sent or received:
            agree = sent - cut <= received <= sent
            mark = "[green]ok[/]" if agree else "[bold red]WRONG[/]"
            console.print(f"  {name:<22}{sent:>8,}{received:>10,}  {mark}")
            if not agree:
                yield f"{name}: {sent} sent, {cut} of them cut by the restart, {received} received"
    kinds = ", ".join(f"{count} {kind}" for kind, count in sim.injected.most_common())
    console.print(
        f"Faults: {kinds.replace('_', ' ') or 'none'}. Restart: {traffic.cut.total()} requests cut"
        f" off. Tokens: {sim.rejected.total()} requests rejected for a dead one."
    )


class Failed(Exception):
    """A step's result is wrong."""


def expect(condition: bool, problem: str) -> None:
    """Raise Failed with the problem unless the condition is true."""
    if not condition:
        raise Failed(problem)


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
        with self._step("walk the list, tokens revoked midway") as result:
            # Without prefetching, no request is in flight when the tokens are revoked.
            async for extension in extensions.list(prefetch=0):
                listed.append(extension.extension_number)
                if len(listed) == len(self.numbers) // 2:
                    # After a renewal the client has one token. With two of them, a request might
                    # meet two revoked tokens in a row, and fail.
                    await self.pbx.account.refresh()
                    self.sim.revoke()
            result.append(each_once(listed, self.numbers))
        with self._step("search for a number") as result:
            found = [one.extension_number async for one in extensions.search("100")]
            result.append(each_once(found, [number for number in self.numbers if "100" in number]))

    async def poll(self) -> None:
        """Read the status of all extensions, and of one that does not exist."""
        with self._step(f"poll, PBX accepts {_ACCEPTED} at once") as result:
            asked = [*self.numbers, str(self.next_number)]
            self.sim.max_in_flight = _ACCEPTED
            poll = self.pbx.extensions.poll_status(asked, concurrency=_CONCURRENCY, ordered=True)
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
            with self._step(f"watch {len(watched):,} every {interval:g} s") as result:
                result.append(await see(wanted))
            with self._step("change all") as result:
                result.append(await see(set_all("RINGING")))
            with self._step("restart, change all again") as result:
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
        with self._step(f"create {count:,}, one reply lost") as result:
            self.sim.fail("extensions.create", drop=True, act=True)
            outcome = await until_done(
                lambda left: extensions.create_many(
                    [new[number] for number in left], concurrency=_CONCURRENCY, if_exists="skip"
                ),
                numbers,
            )
            # The PBX has them in the order of their creation.
            exist = sorted(self.sim.extension_numbers, key=int)
            expect(exist == [*self.numbers, *numbers], f"{len(exist)} exist, not as wanted")
            result.append(f"all exist; {outcome}")
        with self._step("change one, give it a greeting") as result:
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
        with self._step("remove them") as result:
            outcome = await until_done(
                lambda left: extensions.remove_many(left, concurrency=_CONCURRENCY), numbers
            )
            exist = self.sim.extension_numbers
            expect(exist == self.numbers, "not the extensions from the start")
            result.append(f"{len(exist):,} left; {outcome}")

    @contextmanager
    def _step(self, title: str) -> Iterator[list[str]]:
        """Run the block as a step, and print a line with the result that it appends.

        Raises:
            Failed: the block raised it, or a PortSIPError.
        """
        began, result, problem = monotonic(), list[str](), ""
        try:
            with self.console.status(title, spinner="line"):  # on terminals only
                yield result
        except (PortSIPError, Failed) as error:
            problem = str(error)
        line = Text(f"  {title:<36}{monotonic() - began:5.2f} s  ")
        self.console.print(line.append(problem or "".join(result), "red" if problem else ""))
        if problem:
            raise Failed(f"{title}: {problem}")


def each_once(numbers: Sequence[str], expected: Sequence[str]) -> str:
    """Check that the numbers are the expected ones, in order."""
    expect([*numbers] == [*expected], f"{len(numbers)} extensions instead of {len(expected)}")
    return f"{len(numbers):,} seen, each once"


def new_extension(number: str) -> NewExtension:
    """Make up an extension."""
    password, web_password = secrets.token_urlsafe(12), secrets.token_urlsafe(12)
    return NewExtension(
        extension_number=number, password=password, web_access_password=web_password
    )


async def upload_once(pbx: PortSIPClient, number: str, file: str, sound: bytes) -> str:
    """Upload a greeting; if the reply is lost, check whether it is there before a retry."""
    for _ in range(_TRIES):
        try:
            await pbx.greetings.upload(number, sound, filename=file)
        except PortSIPError as error:
            if not error.may_have_acted:
                raise
            if any([one.filename == file async for one in pbx.greetings.list(number)]):
                return "no reply, so looked: it is there"
        else:
            return "done"
    raise Failed(f"not done in {_TRIES} tries")


async def until_done(start: Callable[[list[str]], BulkRun[None]], numbers: list[str]) -> str:
    """Run a bulk write, and run it again for what failed."""
    left, runs, looked_up = numbers, 0, 0
    while left:
        runs += 1
        expect(runs <= _TRIES, f"{len(left)} not done in {_TRIES} runs")
        results = [one async for one in start(left)]
        keys = Counter(one.key for one in results)
        expect(keys == Counter(left), f"{len(results)} results for {len(left)} extensions")
        looked_up += sum(one.settled for one in results)
        # A removal in an earlier run may have lost its reply: then nothing is found now.
        failed = (one for one in results if one.error is not None)
        left = [one.key for one in failed if runs == 1 or not isinstance(one.error, NotFound)]
    return f"runs: {runs}, looked up: {looked_up}"
