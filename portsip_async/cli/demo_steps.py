"""The steps of the demo. Each checks its result and prints one line."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from time import monotonic
from typing import TypeVar

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from .. import (
    Attempt,
    AuthenticationError,
    BulkRun,
    Conflict,
    ConnectError,
    ExtensionStatus,
    ExtensionSummary,
    NewExtension,
    NotFound,
    Paginator,
    PortSIPClient,
    PortSIPError,
    Profile,
    RetryPolicy,
    StatusResult,
    TransportError,
)
from ..simulator import PBXSimulator

T = TypeVar("T")

CONCURRENCY = 16  # requests in flight
_ACCEPTED = 6  # requests in flight that the PBX accepts during one of the polls
_PREFETCH = 8  # pages
_WATCH_RETRY = RetryPolicy(attempts=2)  # the watch asks again in its next cycle
_TRIES = 10  # of a write, while its reply is lost
_PATIENCE = 20.0  # seconds to wait for status changes


class Traffic:
    """Counts attempts as the client's ``on_attempt`` hook; a Counter counts by operation."""

    def __init__(self) -> None:
        """Start with zero counts."""
        self.sent: Counter[str] = Counter()
        self.succeeded: Counter[str] = Counter()
        self.cut: Counter[str] = Counter()  # by the restart; the PBX may have received them
        self.faults: int = 0  # failures, except refusals that the steps provoke
        self.not_connected: int = 0  # attempts that sent nothing
        self.restarting: bool = False  # whether the PBX restarts now

    def __call__(self, attempt: Attempt) -> None:
        """Count an attempt."""
        name, error = attempt.operation, attempt.error
        if isinstance(error, ConnectError):
            self.not_connected += 1
            return
        self.sent[name] += 1
        if error is None:
            self.succeeded[name] += 1
        elif not isinstance(error, AuthenticationError | Conflict | NotFound):
            self.faults += 1
            self.cut[name] += self.restarting and isinstance(error, TransportError)


class Failed(Exception):
    """A step's result is wrong."""


def expect(condition: bool, problem: str) -> None:
    """Raise Failed with the problem unless the condition is true."""
    if not condition:
        raise Failed(problem)


class Steps:
    """All steps, a method for each chapter."""

    def __init__(
        self,
        console: Console,
        sim: PBXSimulator,
        pbx: PortSIPClient,
        traffic: Traffic,
        created: int,
    ) -> None:
        """Note what exists before the first step."""
        self._console, self._sim, self._pbx, self._traffic = console, sim, pbx, traffic
        self._numbers, self._groups = sim.extension_numbers, sim.group_ids
        last = int(self._numbers[-1])
        self._new_numbers = [str(last + n) for n in range(1, created + 1)]

    async def lists(self) -> None:
        """Walk the list of extensions twice, and search it."""
        self._chapter("Long lists, page by page")
        extensions, listed = self._pbx.extensions, list[ExtensionSummary]()
        with self._step("walk, tokens revoked midway") as result:
            # Without prefetching, no request is in flight when the tokens are revoked.
            async for extension in extensions.list(prefetch=0):
                listed.append(extension)
                if len(listed) == len(self._numbers) // 2:
                    await self._revoke()
            result.append(each_once(listed, self._numbers))
        with self._step(f"walk, {_PREFETCH} pages ahead") as result:
            ahead = await extensions.list(prefetch=_PREFETCH).collect()
            result.append(each_once(ahead, self._numbers))
        with self._step("search for a name") as result:
            name = (listed[0].last_name or "").casefold()
            matches = [
                one.extension_number
                for one in listed
                if name in f"{one.first_name} {one.last_name} {one.email}".casefold()
            ]
            found = await extensions.search(name).collect()
            result.append(f"{name!r}: {each_once(found, matches)}")

    async def extension(self) -> None:
        """Create, change and remove an extension with a greeting."""
        self._chapter("The life of an extension")
        extensions, greetings = self._pbx.extensions, self._pbx.greetings
        number, file = self._new_numbers[0], "welcome.wav"
        with self._step(f"create {number}, its reply lost") as result:
            self._sim.fail("extensions.create", drop=True, act=True)
            new = new_extension(number)
            outcome = await write_once(
                lambda: extensions.create(new),
                extensions.search(number),
                lambda one: one.extension_number == number,
            )
            result.append(outcome)
        with self._step("show it, patch its first name") as result:
            before = await extensions.show(number)
            expect(before.password == new.password, "its password is not the one sent")
            await extensions.patch(number, profile={"first_name": "Ada"})
            after = await extensions.show(number)
            profile = after.profile or Profile()
            expect(profile.first_name == "Ada", "the patch had no effect")
            expect(after.options == before.options, "the patch changed the options")
            result.append(f"now {profile.first_name} {profile.last_name}")
        with self._step("read its status") as result:
            statuses = await extensions.status([number])
            result += [f"{one.extension_number} is {one.status}" for one in statuses]
            expect([one.extension_number for one in statuses] == [number], "not one status")
        with self._step("upload a greeting, play it") as result:
            sound = secrets.token_bytes(32_000)  # the simulator stores any bytes
            outcome = await write_once(
                lambda: greetings.upload(number, sound, filename=file),
                greetings.list(number),
                lambda one: one.filename == file,
            )
            stored = self._sim.greetings(number).get(file)
            digest = sha256(sound).hexdigest()
            expect(stored is not None and stored.sha256 == digest, "the PBX has another file")
            await greetings.setup(number, file)
            page = await greetings.list(number)
            expect(page.default_file == file, f"{page.default_file} plays")
            await greetings.remove(number, file)
            expect(not self._sim.greetings(number), "the greeting still exists")
            result.append(outcome)
        with self._step("remove it") as result:
            await extensions.remove(number)
            result.append(self._as_before())

    async def group(self) -> None:
        """Create, change and remove a group."""
        self._chapter("The life of a group")
        groups, (first, second, third) = self._pbx.groups, self._numbers[:3]
        with self._step("create one with two members") as result:
            outcome = await write_once(
                lambda: groups.create(
                    "Night shift",
                    enable_intercom=True,
                    enable_external_call=False,
                    enable_management_console_access=False,
                    members=[first, second],
                ),
                groups.list(),
                lambda one: one.group_name == "Night shift",
            )
            created = self._sim.group_ids[len(self._groups) :]
            expect(len(created) == 1, f"{len(created)} groups created")
            result.append(outcome)
        with self._step("change its members") as result:
            await groups.add_members(created[0], [third])
            await groups.remove_members(created[0], [first])
            members = [*(await groups.show(created[0])).members]
            expect(members == [second, third], f"its members are {members}")
            result.append(f"now {' and '.join(members)}")
        with self._step("remove it") as result:
            await groups.remove(created[0])
            expect(self._sim.group_ids == self._groups, "not the groups that existed first")
            result.append(f"gone; {len(self._groups)} left, as before")

    async def poll(self) -> None:
        """Read the status of all extensions, twice."""
        self._chapter("The status of everybody")
        numbers, poll = self._numbers, self._pbx.extensions.poll_status
        with self._step("poll, two numbers unknown") as result:
            unknown, half = self._new_numbers[:2], len(numbers) // 2
            asked = [unknown[0], *numbers[:half], unknown[1], *numbers[half:]]
            results = [one async for one in poll(asked, concurrency=CONCURRENCY)]
            # The results come in any order.
            read = Counter(one.extension_number for one in results)
            expect(read == Counter(asked), f"{len(results)} results for {len(asked)} numbers")
            failed = [one.extension_number for one in results if one.error is not None]
            expect(sorted(failed) == sorted(unknown), f"no status of {', '.join(failed)}")
            result.append(f"{len(results):,} results, each once; {len(failed)} not found")
        with self._step(f"poll, PBX accepts {_ACCEPTED} at once") as result:
            await self._revoke()
            self._sim.max_in_flight = _ACCEPTED
            ordered = poll(numbers, concurrency=CONCURRENCY, ordered=True)
            result.append(each_once([one async for one in ordered], numbers))
            self._sim.max_in_flight = None
            result.append(f"{self._sim.injected['overload']} refused")

    async def watch(self, count: int, interval: float, downtime: float) -> None:
        """Set statuses, also during a restart, and wait until a watch reports each of them."""
        watched, traffic = self._numbers[:count], self._traffic
        self._chapter(f"The status of {len(watched):,}, watched every {interval:g} s")
        pbx = self._pbx.with_options(retry=_WATCH_RETRY)
        wanted: dict[str, ExtensionStatus] = {}
        seen: dict[str, ExtensionStatus | None] = {}

        def change(numbers: Sequence[str], user_agent: str) -> None:
            # Statuses change by themselves, too. The user agent marks those that are set here.
            for n, number in enumerate(numbers):
                status = "ON_CALL" if n % 2 else "ONLINE"
                self._sim.set_status(number, status, user_agent=user_agent)
                wanted[number] = ExtensionStatus(number, status, user_agent)

        async def see(numbers: Sequence[str]) -> str:
            missing = set(numbers)
            try:
                async with asyncio.timeout(_PATIENCE):
                    while missing:
                        each = await anext(changes)
                        number, after = each.extension_number, each.after
                        # Each change must start where the one before ended.
                        expect(each.before == seen.get(number), f"{number}: a change is lost")
                        expect(after not in (None, each.before), f"{number} did not change")
                        seen[number] = after
                        if after == wanted.get(number, after):
                            missing.discard(number)
            except TimeoutError:
                problem = f"{len(missing)} of {len(numbers)} not seen after {_PATIENCE:g} s"
                raise Failed(problem) from None
            return f"{len(numbers)} of {len(numbers)} seen"

        async with pbx.extensions.watch_status(watched, interval=interval) as watch:
            changes = aiter(watch)
            with self._step("start") as result:
                result.append(await see(watched))
            with self._step("change some") as result:
                change(watched[::10], "before the restart")
                result.append(await see(watched[::10]))
            with self._step("restart, and change some more") as result:
                # Wait for requests in flight, which the restart cuts. A fast PBX may show none.
                until = monotonic() + 2 * interval
                while not self._sim.in_flight and monotonic() < until:  # noqa: ASYNC110 - no event
                    await asyncio.sleep(0.005)
                traffic.restarting = True
                await self._sim.stop()
                change(watched[1::10], "during the restart")
                await asyncio.sleep(downtime)
                await self._sim.start()
                traffic.restarting = False
                failed = traffic.not_connected + traffic.cut.total()
                expect(failed > 0, "no request failed while the PBX was away")
                result.append(f"{await see(watched[1::10])}; failed attempts: {failed}")
            with self._step("change all, compare, and leave") as result:
                change(watched, "after the restart")
                result.append(await see(watched))
                expect(watch.snapshot == wanted, "the snapshot is not what the PBX has")
                # Leave at the end of a cycle, when no request is in flight.
                cycles = watch.stats.cycles
                while watch.stats.cycles == cycles:  # noqa: ASYNC110 - the watch has no event
                    await asyncio.sleep(0)

    async def bulk(self) -> None:
        """Create and remove many extensions."""
        numbers, extensions = self._new_numbers, self._pbx.extensions
        self._chapter(f"{len(numbers):,} extensions in bulk")
        new = {number: new_extension(number) for number in numbers}
        with self._step("create them") as result:
            outcome = await until_done(
                lambda left: extensions.create_many(
                    [new[number] for number in left], concurrency=CONCURRENCY, if_exists="skip"
                ),
                numbers,
            )
            # The PBX has them in the order of their creation.
            exist = sorted(self._sim.extension_numbers, key=int)
            expect(exist == [*self._numbers, *numbers], f"{len(exist)} exist, not as wanted")
            result.append(f"all exist; {outcome}")
        with self._step("remove them") as result:
            outcome = await until_done(
                lambda left: extensions.remove_many(left, concurrency=CONCURRENCY), numbers
            )
            result.append(f"{self._as_before()}; {outcome}")
        with self._step("renew the token") as result:
            # This joins a renewal in the background, so no request is in flight afterwards.
            token = await self._pbx.account.refresh()
            result.append(f"the new one expires after {token.expires:g} s")

    def _chapter(self, title: str) -> None:
        self._console.print(f"\n[bold]{title}[/]")

    @contextmanager
    def _step(self, title: str) -> Iterator[list[str]]:
        """Run the block as a step, and print a line with the results that it appends.

        Raises:
            Failed: the block raised it, or a PortSIPError.
        """
        began, results, problem = monotonic(), list[str](), ""
        try:
            with self._console.status(title, spinner="line"):  # on terminals only
                yield results
        except (PortSIPError, Failed) as error:
            problem = str(error)
        seconds = Column(justify="right", no_wrap=True)
        line = Table.grid(Column(width=34), Column(ratio=1), seconds, expand=True, padding=(0, 1))
        text = Text(problem, style="red") if problem else Text("; ".join(results))
        line.add_row(f"  {title}", text, f"[dim]{monotonic() - began:.2f} s[/]")
        self._console.print(line)
        if problem:
            raise Failed(f"{title}: {problem}")

    async def _revoke(self) -> None:
        """Revoke all tokens. No request may be in flight."""
        # Now the client has one token and no renewal under way. Otherwise a request might meet two
        # revoked tokens in a row, and fail.
        await self._pbx.account.refresh()
        self._sim.revoke()

    def _as_before(self) -> str:
        """Check that the extensions are those that existed before the first step."""
        expect(self._sim.extension_numbers == self._numbers, "not the extensions from the start")
        return f"gone; {len(self._numbers):,} left, as before"


def each_once(results: Iterable[ExtensionSummary | StatusResult], expected: Sequence[str]) -> str:
    """Check that the results are those of the expected extensions, in order, without errors."""
    numbers = [one.extension_number for one in results if getattr(one, "error", None) is None]
    expect(numbers == [*expected], f"{len(numbers)} extensions instead of {len(expected)}")
    return f"{len(numbers):,} seen, each once"


def new_extension(number: str) -> NewExtension:
    """Make up an extension."""
    return NewExtension(
        extension_number=number,
        password=secrets.token_urlsafe(12),
        web_access_password=secrets.token_urlsafe(12),
        profile=Profile(first_name="New", last_name=f"Colleague {number}"),
    )


async def write_once(
    write: Callable[[], Awaitable[object]], found: Paginator[T], is_it: Callable[[T], bool]
) -> str:
    """Write what must not be written twice: where the reply is lost, look before a repetition."""
    for _ in range(_TRIES):
        try:
            await write()
        except PortSIPError as error:
            if not error.may_have_acted:
                raise
            if any([is_it(one) async for one in found]):
                return "no reply, so looked: it is there"
        else:
            return "done"
    raise Failed(f"not done in {_TRIES} tries")


async def until_done(
    start: Callable[[Sequence[str]], BulkRun[None]], numbers: Sequence[str]
) -> str:
    """Run a bulk write, and run it again for what failed."""
    left, runs, looked_up = [*numbers], 0, 0
    while left:
        expect(runs < _TRIES, f"{len(left)} not done in {runs} runs")
        runs += 1
        results = [one async for one in start(left)]
        keys = Counter(one.key for one in results)
        expect(keys == Counter(left), f"{len(results)} results for {len(left)} extensions")
        looked_up += sum(one.settled for one in results)
        # A removal in an earlier run may have lost its reply: then nothing is found now.
        failed = (one for one in results if one.error is not None)
        left = [one.key for one in failed if runs == 1 or not isinstance(one.error, NotFound)]
    return f"runs: {runs}" + (f", looked up: {looked_up}" if looked_up else "")
