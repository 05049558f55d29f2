"""What the soak does with the SDK, all at once: watch, poll, walk, write; and what must hold then.

Each kind of work is a turn that is repeated. What fails in a turn must be explained by the trouble
that is made; what is wrong in any case ends up in `wrong`.
"""

import asyncio
import itertools
import logging
import random
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from portsip_async import (
    BulkResult,
    ConnectError,
    ExtensionStatus,
    NewExtension,
    NotFound,
    PortSIPClient,
    PortSIPError,
    Profile,
    RateLimited,
    ServerError,
    TransportError,
    VoiceMail,
)
from portsip_async.bulk.status_batches import StatusError

from .books import Books, Outcome
from .pbx import PBX
from .secrecy import Secrets

STATUSES = ("OFFLINE", "ONLINE", "RINGING", "ON_CALL", "DO_NOT_DISTURB", "AWAY")

_TROUBLES = (TransportError, ServerError, RateLimited)
_AGAIN = 0.5  # seconds before a removal that failed is tried again
_WATCH_LIFE = 10.0  # seconds after which a watch is left, and taken up from its snapshot
_NOBODY = "99"  # a number that the PBX does not know; its own begin at 100
_BULK = 12  # extensions that one bulk turn creates, patches and removes
_MARKED = 10  # extensions that are patched again and again

_log = logging.getLogger(__name__)

Turn = Callable[[], Awaitable[None]]


class Load:
    """The work.

    Attributes:
        wrong: what must never be, a sentence each.
        count: what was done how often.
        views: by watch, what it told of each number last.
        calm: whether nothing may fail now.
    """

    def __init__(
        self, client: PortSIPClient, pbx: PBX, books: Books, secrets: Secrets, numbers: list[str]
    ) -> None:
        self.wrong: list[str] = []
        self.count: Counter[str] = Counter()
        self.views: dict[str, dict[str, ExtensionStatus]] = {"given": {}, "found": {}}
        self.calm = False
        self._client = client
        self._pbx = pbx
        self._books = books
        self._secrets = secrets
        self._numbers = numbers
        self._serial = itertools.count(1)
        self._chance = random.Random()
        self._leaving = asyncio.Event()
        self._turns: dict[Turn, float] = {
            self._change_statuses: 0.5,
            self._poll: 0.4,
            self._leave_a_poll: 1.0,
            self._walk: 0.3,
            self._leave_a_walk: 1.0,
            self._call: 0.1,
            self._extension: 0.1,
            self._bulk: 0.3,
            self._mark: 0.3,
            self._group: 0.2,
            self._greeting: 0.2,
        }

    async def go_on(self) -> None:
        """Do all of it until `leave`, each turn in its rhythm; turns under way are finished."""
        async with asyncio.TaskGroup() as group:
            for turn, pause in self._turns.items():
                group.create_task(self._repeat(turn, pause))

    def leave(self) -> None:
        """Begin no turn any more."""
        self._leaving.set()

    async def go_round_in_calm(self) -> None:
        """Do each turn once more; nothing may fail."""
        self.calm = True
        for turn in self._turns:
            await turn()

    async def _repeat(self, turn: Turn, pause: float) -> None:
        while not self._leaving.is_set():
            await turn()
            await asyncio.sleep(pause)

    # What watches.

    async def watch(self, name: str) -> None:
        """Watch until cancelled: "given" the numbers that are there at first, "found" all."""
        view = self.views[name]
        clock = asyncio.get_running_loop().time
        while True:
            watch = self._client.extensions.watch_status(
                self._numbers if name == "given" else None,
                interval=0.5,
                rediscover=2.0,
                known=view,
            )
            until = clock() + _WATCH_LIFE
            async with watch:
                async for change in watch:
                    number = change.extension_number
                    if change.before != view.get(number):
                        self.wrong.append(f"the watch tells of {number} what was not before")
                    if change.after is None:
                        del view[number]
                    else:
                        view[number] = change.after
                    self.count["changes"] += 1
                    if clock() > until and not self.calm:
                        break
            self.count["watches resumed"] += 1
            if watch.snapshot != view:
                self.wrong.append("the snapshot of a watch is not what it told")

    async def _change_statuses(self) -> None:
        chosen = self._chance.sample(self._numbers, 20)
        self._pbx.tell(statuses={number: self._chance.choice(STATUSES) for number in chosen})

    # What reads.

    @asynccontextmanager
    async def _reading(self, what: str, *, may_lack: bool = False) -> AsyncIterator[None]:
        try:
            yield
        except PortSIPError as error:
            self._explain(what, error, may_lack=may_lack)
        else:
            self.count[what] += 1

    def _explain(self, what: str, error: Exception | None, *, may_lack: bool = False) -> None:
        """Take a failure for what it is: trouble, or wrong.

        Args:
            what: what failed.
            error: how.
            may_lack: whether the PBX need not have what was asked for, as its making is in doubt.
        """
        if may_lack and isinstance(error, NotFound):
            return
        self.count[f"{what} failed"] += 1
        _log.debug("%s failed: %r", what, error, exc_info=error)
        if self.calm or not isinstance(error, _TROUBLES):
            self.wrong.append(f"{what}: {type(error).__name__}: {error}")
        elif isinstance(error, ConnectError) and error.refused_certificate:
            self.wrong.append(f"{what}: the certificate was refused")

    async def _poll(self) -> None:
        asked = [*self._numbers, _NOBODY, self._numbers[0]]
        told: Counter[str] = Counter()
        errors: dict[int, StatusError] = {}
        poll = self._client.extensions.poll_status(asked, batch_size=50, concurrency=8)
        async for result in poll:
            told[result.extension_number] += 1
            if result.error is None:
                if result.status is None or result.extension_number == _NOBODY:
                    self.wrong.append("a poll told the status of nobody")
            elif result.extension_number != _NOBODY or not isinstance(result.error, NotFound):
                errors[id(result.error)] = result.error
        for error in errors.values():
            self._explain("batch of a poll", error)
        if told != Counter(asked):
            self.wrong.append(f"a poll of {len(asked)} numbers told {told.total()}")
        self.count["polls"] += 1

    async def _leave_a_poll(self) -> None:
        left = self._chance.randrange(150)
        async for _ in self._client.extensions.poll_status(itertools.cycle(self._numbers)):
            left -= 1
            if left < 0:
                break
        self.count["polls left"] += 1

    async def _walk(self) -> None:
        """Walk the list, and on from the page that failed; each old number comes once."""
        seen: list[str] = []
        page: int | None = 1
        while page is not None:
            walk = self._client.extensions.list(page=page, page_size=50, prefetch=3)
            try:
                async for extension in walk:
                    seen.append(extension.extension_number)  # noqa: PERF401  # what came stays
                page = None
            except PortSIPError as error:
                self._explain("page of a walk", error)
                page = error.page
                if page is None:
                    self.wrong.append("a walk that failed does not tell at which page")
                await asyncio.sleep(0.2)
        if sorted(set(self._numbers) & set(seen)) != sorted(self._numbers):
            self.wrong.append("a walk misses numbers that are always there")
        if len(seen) != len(set(seen)):
            self.wrong.append("a walk yields a number twice")
        self.count["walks"] += 1

    async def _leave_a_walk(self) -> None:
        """Leave a walk, and cancel another call, in the middle."""
        async with self._reading("walks left"):
            left = self._chance.randrange(150)
            async for _ in self._client.extensions.list(page_size=20, prefetch=4):
                left -= 1
                if left < 0:
                    break
        task = asyncio.create_task(self._client.extensions.show(self._numbers[0]))
        await asyncio.sleep(self._chance.uniform(0, 0.02))
        task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled() and (error := task.exception()) is not None:
            self._explain("call cancelled", error if isinstance(error, PortSIPError) else None)

    # What writes. Every key is new, so that each act of the PBX belongs to one write.

    async def _write(
        self, row: str, key: str, call: Awaitable[object], *, made: Outcome = "done"
    ) -> Outcome:
        """Carry out a write, and answer what it came to.

        Args:
            row: the operation.
            key: what tells this write from every other one of its row.
            call: sends it.
            made: what the making of the thing that it works on came to.
        """
        outcome, error = await self._books.write(row, key, call)
        if error is not None:
            self._explain(row, error, may_lack=made == "unknown")
        return outcome

    async def _call(self) -> None:
        to = f"+1555{next(self._serial):09}"
        call = self._client.extensions.call(
            self._chance.choice(self._numbers),
            to,
            auth=self._secrets.password(),
            domain="pbx.example",
            src="soak",
        )
        await self._write("extensions.call", to, call)

    async def _extension(self) -> None:
        extensions = self._client.extensions
        new = self._new_extension()
        number = new.extension_number
        made = await self._write("extensions.create", number, extensions.create(new))
        if made == "refused":
            return
        async with self._reading("extension shown", may_lack=made == "unknown"):
            if (await extensions.show(number)).password != new.password:
                self.wrong.append(f"{number} has another password")
        await self._remove(number, in_doubt=made == "unknown")

    async def _remove(self, number: str, *, in_doubt: bool) -> None:
        """Remove an extension, again and again, lest those that are left make the watch grow.

        Args:
            number: the extension's number.
            in_doubt: whether it may be gone, or may never have been there.
        """
        failed: PortSIPError | None = None
        while True:
            try:
                await self._client.extensions.remove(number)
            except NotFound as error:
                if not in_doubt:
                    failed = error
                    self._explain("extensions.remove", error)
                break
            except PortSIPError as error:
                in_doubt = in_doubt or error.may_have_acted
                self._explain("extensions.remove", error)
                await asyncio.sleep(_AGAIN)
            else:
                break
        self._books.note("extensions.remove", number, failed, in_doubt=False)

    def _new_extension(self) -> NewExtension:
        return NewExtension(
            extension_number=f"7{next(self._serial):09}",
            password=self._secrets.password(),
            web_access_password=self._secrets.password(),
            profile=Profile(first_name="Soak", email="soak@pbx.example"),
            voice_mail=VoiceMail(voicemail_pin=self._secrets.pin()),
        )

    async def _bulk(self) -> None:
        """Create, patch and remove some extensions in bulk."""
        extensions = self._client.extensions
        new = [self._new_extension() for _ in range(_BULK)]
        creating = extensions.create_many(new)
        made = await self._booked("extensions.create", creating, lambda: creating.in_doubt)
        marker = f"m{next(self._serial)}"
        change = {"profile": {"description": marker}}
        patching = extensions.patch_many(
            (number, change) for number, outcome in made.items() if outcome == "done"
        )
        await self._booked(
            "extensions.update", patching, lambda: patching.in_doubt, lambda key: f"{key} {marker}"
        )
        removing = extensions.remove_many(
            number for number, outcome in made.items() if outcome != "refused"
        )
        results = [result async for result in removing]
        doubtful = {number for number, outcome in made.items() if outcome == "unknown"}
        for result in results:
            number, error = result.key, result.error
            if error is None:
                self._books.note("extensions.remove", number, None, in_doubt=False)
                continue
            self._explain("extensions.remove in bulk", error, may_lack=number in doubtful)
            await self._remove(number, in_doubt=number in doubtful | {*removing.in_doubt})

    async def _booked(
        self,
        row: str,
        run: AsyncIterable[BulkResult[Any]],
        in_doubt: Callable[[], list[str]],
        key: Callable[[str], str] = lambda key: key,
    ) -> dict[str, Outcome]:
        """Book the results of a bulk run, and answer what each item came to."""
        results = [result async for result in run]
        doubtful = set(in_doubt())
        outcomes: dict[str, Outcome] = {}
        for result in results:
            number, error = result.key, result.error
            doubt = number in doubtful
            outcomes[number] = self._books.note(row, key(number), error, in_doubt=doubt)
            self.count["settled by reading back"] += result.settled
            if error is not None:
                self._explain(f"{row} in bulk", error)
        return outcomes

    async def _mark(self) -> None:
        """Patch some extensions that stay, so that their last state can be checked."""
        marker = f"m{next(self._serial)}"
        pin = self._secrets.pin()
        change = {"profile": {"description": marker}, "voice_mail": {"voicemail_pin": pin}}
        patching = self._client.extensions.patch_many(
            (number, change) for number in self._numbers[:_MARKED]
        )
        await self._booked(
            "extensions.update", patching, lambda: patching.in_doubt, lambda key: f"{key} {marker}"
        )

    async def _group(self) -> None:
        groups = self._client.groups
        name = f"soak {next(self._serial)}"
        made: list[str] = []

        async def create() -> None:
            created = await groups.create(
                name,
                enable_intercom=True,
                enable_external_call=False,
                enable_management_console_access=False,
            )
            made.append(created.group_id)

        await self._write("groups.create", name, create())
        for group_id in made:
            change = groups.patch(
                group_id, group_description=name, members=self._chance.sample(self._numbers, 3)
            )
            await self._write("groups.update", f"{group_id} {name}", change)
            await self._write("groups.remove", group_id, groups.remove(group_id))

    async def _greeting(self) -> None:
        greetings = self._client.greetings
        number = self._chance.choice(self._numbers)
        name = f"soak-{next(self._serial)}.wav"
        content = self._chance.randbytes(self._chance.randrange(100_000))
        upload = greetings.upload(number, content, filename=name)
        made = await self._write("greetings.upload", name, upload)
        if made == "refused":
            return
        await self._write("greetings.setup", name, greetings.setup(number, name), made=made)
        await self._write("greetings.remove", name, greetings.remove(number, name), made=made)

    # What is right in the end.

    async def listed(self) -> set[str]:
        """List the numbers that there are."""
        walk = await self._client.extensions.list(page_size=100).collect()
        return {extension.extension_number for extension in walk}

    async def markers(self) -> dict[str, str]:
        """Read the descriptions of the extensions that were patched again and again."""
        shown = [await self._client.extensions.show(number) for number in self._numbers[:_MARKED]]
        return {one.extension_number: (one.profile or Profile()).description or "" for one in shown}
