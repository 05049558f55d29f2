"""The load: polls, walks, writes and changes of status, all at once.

Each turn repeats. If it fails, the faults must explain it; everything else is `wrong`.
"""

import asyncio
import itertools
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from portsip_async import (
    BulkRun,
    ConnectError,
    ExtensionChanges,
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

from .audit import Reported
from .journal import Outcome
from .pbx import PBX
from .secrecy import Secrets

NUMBERS = [str(100 + at) for at in range(400)]  # the extensions that always exist
MARKED = NUMBERS[:10]  # those that are patched again and again

_STATUSES = ("OFFLINE", "ONLINE", "RINGING", "ON_CALL", "DO_NOT_DISTURB", "AWAY")
_UNKNOWN = "99"  # no extension has this number
_CAUSED_BY_FAULTS = (TransportError, ServerError, RateLimited)

_log = logging.getLogger(__name__)

Turn = Callable[[], Awaitable[None]]


class Load:
    """The load.

    Attributes:
        wrong: a sentence for each thing that must not happen.
        count: how often each thing was done.
        calm: whether nothing may fail now.
    """

    def __init__(
        self, client: PortSIPClient, pbx: PBX, reported: Reported, secrets: Secrets
    ) -> None:
        self.wrong: list[str] = []
        self.count: Counter[str] = Counter()
        self.calm = False
        self._client = client
        self._pbx = pbx
        self._reported = reported
        self._secrets = secrets
        self._serial = itertools.count(1)
        self._stopping = asyncio.Event()
        self._turns: dict[Turn, float] = {  # with the seconds to the next one
            self._change_statuses: 0.5,
            self._poll: 0.4,
            self._walk: 0.3,
            self._leave_early: 0.6,
            self._call: 0.1,
            self._extension: 0.1,
            self._extensions: 0.3,
            self._mark: 0.3,
            self._group: 0.2,
            self._greeting: 0.2,
        }

    async def run(self) -> None:
        """Repeat every turn until `stop`. Turns that have started are finished."""
        async with asyncio.TaskGroup() as group:
            for turn, pause in self._turns.items():
                group.create_task(self._repeat(turn, pause))

    def stop(self) -> None:
        """Start no more turns."""
        self._stopping.set()

    async def run_once_in_calm(self) -> None:
        """Take each turn once more; nothing may fail."""
        self.calm = True
        for turn in self._turns:
            await turn()

    async def _repeat(self, turn: Turn, pause: float) -> None:
        while not self._stopping.is_set():
            await turn()
            await asyncio.sleep(pause)

    def _explain(self, what: str, error: BaseException, *, may_lack: bool = False) -> None:
        """Count a failure; it is wrong unless the faults explain it.

        `may_lack` is for something that may not exist, because its create is in doubt.
        """
        if may_lack and isinstance(error, NotFound):
            return
        self.count[f"{what} failed"] += 1
        _log.debug("%s failed: %r", what, error, exc_info=error)
        refused = isinstance(error, ConnectError) and error.refused_certificate
        if self.calm or refused or not isinstance(error, _CAUSED_BY_FAULTS):
            self.wrong.append(f"{what}: {type(error).__name__}: {error}")

    # Statuses.

    async def _change_statuses(self) -> None:
        chosen = random.sample(NUMBERS, 20)
        self._pbx.order(statuses={number: random.choice(_STATUSES) for number in chosen})

    async def _poll(self) -> None:
        """Poll all numbers, one of them twice, and an unknown one."""
        asked = [*NUMBERS, _UNKNOWN, NUMBERS[0]]
        polled: Counter[str] = Counter()
        errors: dict[int, Exception] = {}  # all numbers of a failed batch have the same error
        async for result in self._client.extensions.poll_status(asked, batch_size=50):
            number, failure = result.extension_number, result.error
            polled[number] += 1
            if failure is None:
                if result.status is None or number == _UNKNOWN:
                    self.wrong.append(f"a poll has neither a right status of {number} nor an error")
            elif number != _UNKNOWN or not isinstance(failure, NotFound):
                errors[id(failure)] = failure
        for error in errors.values():
            self._explain("batch of a poll", error)
        if polled != Counter(asked):
            self.wrong.append(f"a poll of {len(asked)} numbers has {polled.total()} results")
        self.count["polls"] += 1

    # Lists.

    async def _walk(self) -> None:
        """Walk the list. After a failure, go on from the page that failed."""
        seen: Counter[str] = Counter()
        page: int | None = 1
        while page is not None:
            walk = self._client.extensions.list(page=page, page_size=50, prefetch=3)
            try:
                async for extension in walk:
                    seen[extension.extension_number] += 1
                page = None
            except PortSIPError as error:
                self._explain("page of a walk", error)
                page = error.page
                if page is None:
                    self.wrong.append("the error of a walk has no page")
                await asyncio.sleep(0.2)
        if not seen.keys() >= set(NUMBERS):
            self.wrong.append("a walk misses numbers that always exist")
        if seen.total() != len(seen):
            self.wrong.append("a walk yields a number twice")
        self.count["walks"] += 1

    async def _leave_early(self) -> None:
        """Leave a poll and a walk, and cancel a call, before they end."""
        extensions = self._client.extensions
        async for _ in extensions.poll_status(itertools.cycle(NUMBERS)):
            if random.random() < 0.02:
                break
        try:
            async for _ in extensions.list(page_size=20, prefetch=4):
                if random.random() < 0.02:
                    break
        except PortSIPError as error:
            self._explain("page of a walk", error)
        call = asyncio.create_task(extensions.show(NUMBERS[0]))
        await asyncio.sleep(random.uniform(0, 0.02))
        call.cancel()
        await asyncio.wait((call,))
        if not call.cancelled() and (failure := call.exception()) is not None:
            self._explain("call cancelled", failure)

    # Writes. Every key is new, so each act of the PBX belongs to one write.

    async def _write(
        self, row: str, key: str, call: Awaitable[object], *, created: Outcome = "done"
    ) -> Outcome:
        """Await a write, record it, and return its outcome.

        `created` is the outcome of creating the thing that the write works on.
        """
        try:
            await call
        except PortSIPError as error:
            self._explain(row, error, may_lack=created == "in doubt")
            return self._reported.write(row, key, error, in_doubt=error.may_have_acted)
        return self._reported.write(row, key, None, in_doubt=False)

    async def _write_many(
        self, row: str, run: BulkRun[Any], suffix: str = "", may_lack: Collection[str] = ()
    ) -> dict[str, Outcome]:
        """Await a bulk write, record it, and return the outcome of each item."""
        results = [result async for result in run]
        outcomes = {}
        for result in results:
            key, error = result.key, result.error
            doubt = key in run.in_doubt
            outcomes[key] = self._reported.write(row, key + suffix, error, in_doubt=doubt)
            self.count["settled by reading back"] += result.settled
            if error is not None:
                self._explain(f"{row} in bulk", error, may_lack=key in may_lack)
        return outcomes

    async def _call(self) -> None:
        to, password = f"+1555{next(self._serial):09}", self._secrets.password()
        call = self._client.extensions.call(
            random.choice(NUMBERS), to, auth=password, domain="pbx.example", src="soak"
        )
        await self._write("extensions.call", to, call)

    def _new_extension(self) -> NewExtension:
        return NewExtension(
            extension_number=f"7{next(self._serial):09}",
            password=self._secrets.password(),
            web_access_password=self._secrets.password(),
            profile=Profile(first_name="Soak", email="soak@pbx.example"),
            voice_mail=VoiceMail(voicemail_pin=self._secrets.pin()),
        )

    async def _extension(self) -> None:
        extensions, new = self._client.extensions, self._new_extension()
        number = new.extension_number
        created = await self._write("extensions.create", number, extensions.create(new))
        if created == "refused":
            return
        try:
            if (await extensions.show(number)).password != new.password:
                self.wrong.append(f"{number} has another password")
        except PortSIPError as error:
            self._explain("extensions.show", error, may_lack=created == "in doubt")
        await self._write("extensions.remove", number, extensions.remove(number), created=created)

    async def _extensions(self) -> None:
        extensions = self._client.extensions
        creating = extensions.create_many([self._new_extension() for _ in range(12)])
        created = await self._write_many("extensions.create", creating)
        removing = extensions.remove_many(key for key in created if created[key] != "refused")
        doubtful = {key for key in created if created[key] == "in doubt"}
        await self._write_many("extensions.remove", removing, may_lack=doubtful)

    async def _mark(self) -> None:
        """Patch extensions that stay, so that their final state can be checked."""
        marker, pin = f"m{next(self._serial)}", self._secrets.pin()
        change: ExtensionChanges = {
            "profile": {"description": marker},
            "voice_mail": {"voicemail_pin": pin},
        }
        patching = self._client.extensions.patch_many((number, change) for number in MARKED)
        await self._write_many("extensions.update", patching, suffix=f" {marker}")

    async def _group(self) -> None:
        groups = self._client.groups
        name = f"soak {next(self._serial)}"
        created: list[str] = []

        async def create() -> None:
            group = await groups.create(
                name,
                enable_intercom=True,
                enable_external_call=False,
                enable_management_console_access=False,
            )
            created.append(group.group_id)

        await self._write("groups.create", name, create())
        for group_id in created:
            members = random.sample(NUMBERS, 3)
            change = groups.patch(group_id, group_description=name, members=members)
            await self._write("groups.update", f"{group_id} {name}", change)
            await self._write("groups.remove", group_id, groups.remove(group_id))

    async def _greeting(self) -> None:
        greetings, number = self._client.greetings, random.choice(NUMBERS)
        name = f"soak-{next(self._serial)}.wav"
        content = random.randbytes(random.randrange(100_000))
        upload = greetings.upload(number, content, filename=name)
        made = await self._write("greetings.upload", name, upload)
        if made != "refused":
            setup, remove = greetings.setup(number, name), greetings.remove(number, name)
            await self._write("greetings.setup", name, setup, created=made)
            await self._write("greetings.remove", name, remove, created=made)
