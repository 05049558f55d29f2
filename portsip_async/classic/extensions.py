"""Extensions: listing, provisioning, status, calls."""

from collections.abc import AsyncIterable, Iterable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec

from ..arguments import integer, plain_text, quantity
from ..bulk.status_batches import StatusSource
from ..bulk.status_poll import StatusPoll
from ..bulk.status_watch import DiscoveredExtensions, StatusWatch
from ..bulk.writes import BulkRun, ItemOperation
from ..core.decode import Unreadable, repair
from ..core.endpoint import Endpoint
from ..core.limits import Gate
from ..core.pages import Paginator
from ..core.request import to_builtins
from ..core.tasks import NotCopyable
from ..core.tracebacks import hide_arguments
from ..errors import CLASSIC_ERRORS, APIError, Conflict, NotFound, ReplyError
from .models import (
    Extension,
    ExtensionStatus,
    ExtensionSummary,
    ExtensionUpdate,
    ForwardRules,
    NewExtension,
    OfficeHours,
    Options,
    Profile,
    SortByValue,
    VoiceMail,
)
from .operations import (
    EXTENSIONS_CALL,
    EXTENSIONS_CREATE,
    EXTENSIONS_LIST,
    EXTENSIONS_REMOVE,
    EXTENSIONS_SEARCH,
    EXTENSIONS_SHOW,
    EXTENSIONS_STATUS,
    EXTENSIONS_UPDATE,
)
from .resource import (
    Caller,
    check_asked,
    check_known,
    fields_of,
    merged,
    text,
    texts,
    unknown_field,
    without_none,
)

V = TypeVar("V")
X = TypeVar("X")

# `list` is a method of the class below.
Statuses: TypeAlias = list[ExtensionStatus]
Numbers: TypeAlias = list[str]

SECTIONS = ("profile", "options", "forward_rules", "office_hours", "voice_mail")


class Extensions(NotCopyable):
    """The extensions of the PBX."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(
        self,
        *,
        page: int = 1,
        page_size: int | None = 100,
        sort_by: SortByValue | None = None,
        prefetch: int = 1,
        max_pages: int | None = None,
    ) -> Paginator[ExtensionSummary]:
        """Walk all extensions (``GET /extensions/list``).

        Args:
            page: the page to start from, counted from 1.
            page_size: extensions a page; the PBX may cap it. None: 500, or 100 if that is refused.
            sort_by: "DEFAULT" or "Optional"; None leaves it to the PBX.
            prefetch: pages kept in flight ahead; 0: none.
            max_pages: pages at most; None: unlimited.

        Raises:
            TypeError, ValueError: at the call, for a number out of bounds.
        """
        return self._caller.walk(
            Paginator[ExtensionSummary],
            EXTENSIONS_LIST,
            {"sort_by": sort_by},
            page=page,
            page_size=page_size,
            prefetch=prefetch,
            max_pages=max_pages,
        )

    def search(
        self,
        condition: str,
        *,
        page: int = 1,
        page_size: int | None = 100,
        prefetch: int = 1,
        max_pages: int | None = None,
    ) -> Paginator[ExtensionSummary]:
        """Walk the extensions that a condition finds (``GET /extensions/search``).

        Args:
            condition: what to look for, as the PBX understands it: part of a number or a name.
            page: the page to start from, counted from 1.
            page_size: extensions a page; the PBX may cap it. None: 500, or 100 if that is refused.
            prefetch: pages kept in flight ahead; 0: none.
            max_pages: pages at most; None: unlimited.

        Raises:
            TypeError, ValueError: at the call, for an empty condition or a number out of bounds.
        """
        return self._caller.walk(
            Paginator[ExtensionSummary],
            EXTENSIONS_SEARCH,
            {"condition": text("condition", condition)},
            page=page,
            page_size=page_size,
            prefetch=prefetch,
            max_pages=max_pages,
        )

    @hide_arguments
    async def create(self, extension: NewExtension) -> None:
        """Create an extension (``POST /extensions/create``).

        Where the PBX may have acted it is not repeated: see ``error.may_have_acted``.

        Raises:
            Conflict: the number is taken.
            BadRequest: the PBX refused a value.
            TypeError, ValueError: no NewExtension, or its number or a password is empty.
        """
        await self._caller.write(EXTENSIONS_CREATE, _creatable(extension))

    async def show(self, extension_number: str) -> Extension:
        """Read an extension's settings (``GET /extensions/show``).

        Raises:
            NotFound: there is no such extension.
        """
        number = text("extension_number", extension_number)
        return await self._caller(EXTENSIONS_SHOW, {"extension_number": number})

    async def status(self, extension_numbers: Iterable[str]) -> Statuses:
        """Read the status of some extensions in one request (``POST /extensions/status``).

        The PBX may leave numbers out, and answer in an order of its own: match by number. Where
        it sends numbers as JSON numbers, what could be either of "0101" and "101" is left out.

        Raises:
            NotFound, BadRequest: the PBX refused the batch for one of its numbers.
        """
        numbers = texts("extension_numbers", extension_numbers)
        if not numbers:
            self._caller.session.check_open()
            return []
        reply = await self._caller(EXTENSIONS_STATUS, {"extensions": numbers})
        return [*reply.extension_status]

    @hide_arguments
    async def call(self, extension: str, to: str, *, auth: str, domain: str, src: str) -> None:
        """Ring an extension and connect it to somebody (``GET /extensions/call``).

        It rings a telephone each time it arrives, so it is never repeated where it may have acted.

        Args:
            extension: the extension's number.
            to: whom to call.
            auth: the extension's password.
            domain: the SIP domain.
            src: what the call shows as its source.
        """
        await self._caller(
            EXTENSIONS_CALL,
            {
                "extension": text("extension", extension),
                "to": text("to", to),
                "auth": text("auth", auth),
                "domain": text("domain", domain),
                "src": text("src", src),
            },
        )

    @hide_arguments
    async def update(
        self,
        extension_number: str,
        *,
        profile: Profile | Mapping[str, object],
        options: Options | Mapping[str, object],
        forward_rules: ForwardRules | Mapping[str, object],
        office_hours: OfficeHours | Mapping[str, object],
        voice_mail: VoiceMail | Mapping[str, object],
    ) -> None:
        """Replace an extension's settings, all sections at once (``POST /extensions/update``).

        To change some fields and keep the rest, use `patch`.

        Raises:
            NotFound: there is no such extension.
        """
        sections = {
            "profile": profile,
            "options": options,
            "forward_rules": forward_rules,
            "office_hours": office_hours,
            "voice_mail": voice_mail,
        }
        number = text("extension_number", extension_number)
        plain = {name: without_none(_section(name, section)) for name, section in sections.items()}
        await self._caller(EXTENSIONS_UPDATE, {"extension_number": number, **plain})

    @hide_arguments
    async def patch(
        self,
        extension_number: str,
        *,
        profile: Profile | Mapping[str, object] | None = None,
        options: Options | Mapping[str, object] | None = None,
        forward_rules: ForwardRules | Mapping[str, object] | None = None,
        office_hours: OfficeHours | Mapping[str, object] | None = None,
        voice_mail: VoiceMail | Mapping[str, object] | None = None,
    ) -> Extension:
        """Change some of an extension's settings: read, merge, update.

        What is not named stays as it was read, fields that the SDK doesn't know included. Patches
        of one number through one client wait for each other.

        Args:
            extension_number: the extension's number.
            profile: the fields to change; in a mapping, None is sent as null. A whole argument
                of None changes nothing. Likewise for the other sections.
            options: see profile.
            forward_rules: see profile.
            office_hours: see profile.
            voice_mail: see profile.

        Returns:
            The extension as it should be now.

        Raises:
            NotFound: there is no such extension.
            ReplyError: the reply shows another extension, or something else in the place of a
                section, so nothing was written.
            TypeError: a field that neither the models nor the PBX's reply have; nothing was
                written.
        """
        changes = {
            "profile": profile,
            "options": options,
            "forward_rules": forward_rules,
            "office_hours": office_hours,
            "voice_mail": voice_mail,
        }
        return await self._patch(text("extension_number", extension_number), changes)

    async def remove(self, extension_number: str) -> None:
        """Remove an extension (``POST /extensions/destroy``).

        Raises:
            NotFound: there is no such extension.
        """
        number = text("extension_number", extension_number)
        await self._caller(EXTENSIONS_REMOVE, {"extension_number": number})

    def poll_status(
        self,
        numbers: Iterable[str] | AsyncIterable[str],
        *,
        batch_size: int | None = 100,
        concurrency: int = 16,
        ordered: bool = False,
    ) -> StatusPoll[ExtensionStatus]:
        """Read the status of any number of extensions, in batches side by side.

        Each number given, each occurrence, gets exactly one `StatusResult`, with a status or an
        error of its own. A batch that the PBX refuses is split until the offending numbers stand
        alone. Where the PBX pushes back, fewer requests are in flight. A consumer that pauses
        stops the requests.

        Args:
            numbers: extension numbers; any iterable or async iterable, endless ones too.
            batch_size: numbers a request; None: as many as the PBX takes, at most 1,000. That is
                learned from its replies, and remembered for the client's life.
            concurrency: requests in flight at most.
            ordered: keep the order of the numbers.

        Raises:
            TypeError, ValueError: at the call, for a count out of bounds or a str of numbers.
            AuthenticationError, ConfigurationError, ClientClosed: from the loop.
        """
        if batch_size is not None:
            integer("batch_size", batch_size, 1)
        integer("concurrency", concurrency, 1)
        return StatusPoll(
            self._status_source(),
            _collection("numbers", numbers),
            owner=self._caller.session,
            batch_size=batch_size,
            concurrency=concurrency,
            ordered=ordered,
        )

    def watch_status(
        self,
        numbers: Iterable[str] | None = None,
        *,
        interval: float = 5.0,
        batch_size: int | None = 100,
        concurrency: int = 16,
        known: Mapping[str, ExtensionStatus] | None = None,
        rediscover: float = 60.0,
    ) -> StatusWatch[ExtensionStatus]:
        """Follow the status of extensions: each once, then every change, for as long as you loop.

        Polling keeps its rhythm whatever the consumer does; one that falls behind gets each
        extension's latest. Failures are counted in ``stats`` and logged, and don't end the watch.

        Args:
            numbers: extension numbers; None: all that the PBX lists, found anew now and then.
            interval: seconds from one cycle's start to the next.
            batch_size: numbers a request; None: as many as the PBX takes, at most 1,000. That is
                learned from its replies, and remembered for the client's life.
            concurrency: requests in flight at most.
            known: what is known already, such as the ``snapshot`` of an earlier watch; only what
                differs from it is told.
            rediscover: seconds between two listings, where `numbers` is None.

        Raises:
            TypeError, ValueError: at the call, for a number, count or time out of bounds.
            AuthenticationError, ConfigurationError, ClientClosed: from the loop.
        """
        if batch_size is not None:
            integer("batch_size", batch_size, 1)
        integer("concurrency", concurrency, 1)
        return StatusWatch(
            self._status_source(),
            None if numbers is None else texts("numbers", numbers),
            owner=self._caller.session,
            discover=self._discover,
            interval=quantity("interval", interval, above=0),
            batch_size=batch_size,
            concurrency=concurrency,
            known=_known(known),
            rediscover=quantity("rediscover", rediscover, above=0),
        )

    def show_many(
        self,
        extension_numbers: Iterable[str] | AsyncIterable[str],
        *,
        concurrency: int = 8,
        ordered: bool = False,
    ) -> BulkRun[Extension]:
        """Read the settings of many extensions; a `BulkResult` each, with the Extension.

        A number that fails has its error in its own result. Leaving the loop cancels the reads in
        flight at once.

        Args:
            extension_numbers: read as requests can start; endless ones too.
            concurrency: requests in flight at most.
            ordered: keep the order of the numbers; else results come as they finish.

        Raises:
            TypeError, ValueError: at the call, for a count out of bounds or a str of numbers.
            AuthenticationError, ConfigurationError, ClientClosed: from the loop.
        """

        # The gate is left out: it notes what was written, and a read writes nothing.
        async def read(number: str, _: Gate) -> Extension:
            return await self.show(number)

        return BulkRun(
            _collection("extension_numbers", extension_numbers),
            ItemOperation(lambda number: text("extension_number", number), read),
            owner=self._caller.session,
            concurrency=integer("concurrency", concurrency, 1),
            ordered=ordered,
        )

    def create_many(
        self,
        extensions: Iterable[NewExtension] | AsyncIterable[NewExtension],
        *,
        concurrency: int = 8,
        if_exists: Literal["error", "skip"] = "error",
        grace: float = 5.0,
    ) -> BulkRun[None]:
        """Create many extensions; a `BulkResult` each, as they finish.

        Where a reply was lost, the extension is read back, so that ``error`` is None only if it
        was created, and ``in_doubt`` lists what could not be found out.

        Args:
            extensions: read lazily, as places become free.
            concurrency: writes in flight at most.
            if_exists: "skip" passes over numbers that are taken, with ``skipped`` True.
            grace: seconds that writes in flight may take to finish once the loop was left.

        Raises:
            TypeError, ValueError: at the call, for a count or a time out of bounds.
            AuthenticationError, ConfigurationError, ClientClosed: from the loop.
        """
        if if_exists not in ("error", "skip"):
            raise ValueError('if_exists is "error" or "skip"')

        async def create(extension: NewExtension, gate: Gate) -> None:
            await self._caller.write(EXTENSIONS_CREATE, _creatable(extension), gate=gate)

        async def was_created(extension: NewExtension) -> bool:
            try:
                found = await self._read_back(extension.extension_number)
            except NotFound as error:
                if not _is_about(error, EXTENSIONS_SHOW):
                    raise
                return False
            # Someone else's extension of that number has another password, where it is told.
            told = found.password if found.password and found.password.strip("*") else None
            return told in (None, plain_text(extension.password))

        write = ItemOperation(
            lambda extension: plain_text(_creatable(extension).extension_number),
            create,
            was_carried_out=was_created,
            is_skipped=lambda error: (
                if_exists == "skip"
                and isinstance(error, Conflict)
                and _is_about(error, EXTENSIONS_CREATE)
            ),
        )
        return self._many(extensions, write, concurrency, grace)

    def update_many(
        self,
        updates: Iterable[ExtensionUpdate] | AsyncIterable[ExtensionUpdate],
        *,
        concurrency: int = 8,
        grace: float = 5.0,
    ) -> BulkRun[None]:
        """Replace the settings of many extensions; a `BulkResult` each, as they finish.

        Args:
            updates: read lazily, as places become free.
            concurrency: writes in flight at most.
            grace: seconds that writes in flight may take to finish once the loop was left.

        Raises:
            TypeError, ValueError: at the call, for a count or a time out of bounds.
            AuthenticationError, ConfigurationError, ClientClosed: from the loop.
        """

        def key(update: ExtensionUpdate) -> str:
            _instance("update_many", update, ExtensionUpdate)
            for name in SECTIONS:
                _section(name, getattr(update, name))
            return text("extension_number", update.extension_number)

        async def carry_out(update: ExtensionUpdate, gate: Gate) -> None:
            await self._caller.write(EXTENSIONS_UPDATE, update, gate=gate)

        return self._many(updates, ItemOperation(key, carry_out), concurrency, grace)

    def patch_many(
        self,
        patches: Iterable[tuple[str, Mapping[str, object]]]
        | AsyncIterable[tuple[str, Mapping[str, object]]],
        *,
        concurrency: int = 8,
        grace: float = 5.0,
    ) -> BulkRun[Extension]:
        """Patch many extensions; a `BulkResult` each, with the merged Extension, as they finish.

        Args:
            patches: a number and the sections to change of each, such as
                ``("101", {"profile": {"first_name": "Ann"}})``; read lazily.
            concurrency: patches in flight at most.
            grace: seconds that writes in flight may take to finish once the loop was left.

        Raises:
            TypeError, ValueError: at the call, for a count or a time out of bounds.
            AuthenticationError, ConfigurationError, ClientClosed: from the loop.
        """

        def key(patch: Any) -> str:
            if not isinstance(patch, tuple | list) or len(patch) != 2:
                wrong = ValueError if isinstance(patch, Iterable) else TypeError
                raise wrong(
                    "a patch must be a number and a mapping of sections, as in "
                    f'("101", {{"profile": {{...}}}}), got {type(patch).__name__}'
                )
            number, changes = patch
            _sections(changes)
            return text("extension_number", number)

        async def carry_out(patch: tuple[str, Mapping[str, object]], gate: Gate) -> Extension:
            return await self._patch(plain_text(patch[0]), patch[1], gate)

        return self._many(patches, ItemOperation(key, carry_out), concurrency, grace)

    def remove_many(
        self,
        extension_numbers: Iterable[str] | AsyncIterable[str],
        *,
        concurrency: int = 8,
        grace: float = 5.0,
    ) -> BulkRun[None]:
        """Remove many extensions; a `BulkResult` each, as they finish.

        Args:
            extension_numbers: read lazily, as places become free.
            concurrency: writes in flight at most.
            grace: seconds that writes in flight may take to finish once the loop was left.

        Raises:
            TypeError, ValueError: at the call, for a count or a time out of bounds.
            AuthenticationError, ConfigurationError, ClientClosed: from the loop.
        """

        async def carry_out(number: str, gate: Gate) -> None:
            key = {"extension_number": plain_text(number)}
            await self._caller(EXTENSIONS_REMOVE, key, gate=gate)

        async def was_removed(number: str) -> bool:
            try:
                await self._read_back(number)
            except NotFound as error:
                if not _is_about(error, EXTENSIONS_SHOW):
                    raise
                return True
            return False

        write = ItemOperation(
            lambda number: text("extension_number", number), carry_out, was_carried_out=was_removed
        )
        return self._many(extension_numbers, write, concurrency, grace)

    async def _read_back(self, number: str) -> Extension:
        """Read what became of an extension; a reply about another one says nothing of it."""
        found = await self.show(number)
        check_asked("extension_number", found.extension_number, plain_text(number), EXTENSIONS_SHOW)
        return found

    async def _patch(
        self, number: str, sections: Mapping[str, object], gate: Gate | None = None
    ) -> Extension:
        changes = _sections(sections)
        models = fields_of(Extension)
        async with self._caller.locks.holding("extensions", number):
            read = await self._caller.document(EXTENSIONS_SHOW, {"extension_number": number})
            check_asked("extension_number", read.get("extension_number"), number, EXTENSIONS_SHOW)
            for name, section in changes.items():
                check_known(name, section, read.get(name), models[name])
            whole = {**merged(read, changes), "extension_number": number}
            settings = {name: whole[name] for name in SECTIONS if name in whole}
            await self._caller.write(
                EXTENSIONS_UPDATE, {"extension_number": number, **settings}, gate=gate
            )
        return _extension(whole)

    def _many(
        self,
        items: Iterable[Any] | AsyncIterable[Any],
        operation: ItemOperation[Any, V],
        concurrency: int,
        grace: float,
    ) -> BulkRun[V]:
        return BulkRun(
            _collection("items", items),
            operation,
            owner=self._caller.session,
            concurrency=integer("concurrency", concurrency, 1),
            grace=quantity("grace", grace),
        )

    def _status_source(self) -> StatusSource[ExtensionStatus]:
        session = self._caller.session

        async def ask(numbers: Numbers, gate: Gate) -> dict[str, ExtensionStatus]:
            reply = await self._caller(EXTENSIONS_STATUS, {"extensions": numbers}, gate=gate)
            return {status.extension_number: status for status in reply.extension_status}

        return StatusSource(
            ask,
            EXTENSIONS_STATUS.name,
            CLASSIC_ERRORS,
            clock=lambda: session.clock.monotonic(),
            sleep=lambda seconds: session.clock.sleep(seconds),
            now=lambda: datetime.fromtimestamp(session.clock.now(), UTC),
            outages=self._caller.outages,
            batch_sizes=self._caller.batch_sizes,
        )

    async def _discover(self) -> DiscoveredExtensions:
        walk = self.list(page_size=None, prefetch=2)
        numbers: Numbers = []
        page_count = 0
        async with aclosing(walk.pages()) as pages:
            async for page in pages:
                numbers += [extension.extension_number for extension in page.items]
                page_count = page.page_count or 0
        drift = walk.drift
        is_complete = not drift.dropped and not drift.page_count_changed
        if is_complete and drift.missing_pages:
            # Some PBXes send the same page_count always. Others left out one page this time: then
            # the last page has items, so the extensions behind the gap are not gone.
            is_complete = not (await self.list(page=page_count, page_size=None)).items
        return DiscoveredExtensions(numbers, is_complete)


def _collection(name: str, items: Iterable[X] | AsyncIterable[X]) -> Iterable[X] | AsyncIterable[X]:
    if isinstance(items, str | bytes | bytearray) or not isinstance(
        items, Iterable | AsyncIterable
    ):
        raise TypeError(f"{name} is a collection, not {type(items).__name__}")
    return items


def _known(known: Mapping[str, ExtensionStatus] | None) -> dict[str, ExtensionStatus]:
    if known is None:
        return {}
    if not isinstance(known, Mapping):
        raise TypeError(f"known is a mapping of numbers to statuses, not {type(known).__name__}")
    for number, status in known.items():
        text("each number of known", number)
        _instance("known", status, ExtensionStatus)
    return {plain_text(number): status for number, status in known.items()}


def _instance(taker: str, item: object, kind: type[object]) -> None:
    if not isinstance(item, kind):
        raise TypeError(f"{taker} takes {kind.__name__}, not {type(item).__name__}")


def _is_about(error: APIError, row: Endpoint[Any]) -> bool:
    """Check that the PBX said it of this operation: not of a login, and not a page in between."""
    return error.operation == row.name and not error.is_page


def _creatable(extension: NewExtension) -> NewExtension:
    _instance("create", extension, NewExtension)
    text("extension_number", extension.extension_number)
    text("password", extension.password)
    text("web_access_password", extension.web_access_password)
    return extension


def _sections(changes: object) -> dict[str, dict[str, Any]]:
    """Check what a patch is to change, before anything is sent, and bring it to plain values.

    Raises:
        TypeError: no mapping of sections, an unknown section, or a section that has no fields.
    """
    if not isinstance(changes, Mapping):
        raise TypeError(f"a patch must be a mapping of sections, got {type(changes).__name__}")
    found: dict[str, dict[str, Any]] = {}
    for given, section in changes.items():
        name = plain_text(given) if isinstance(given, str) else given
        if name not in SECTIONS:
            raise unknown_field("an extension", name, SECTIONS)
        if section is not None:
            found[name] = _section(name, section)
            _check_shape(name, found[name], fields_of(Extension)[name])
    return found


def _check_shape(name: str, changes: Mapping[Any, Any], model: type[msgspec.Struct] | None) -> None:
    """Refuse names that are no texts, and a value in the place of a part that has fields.

    Raises:
        TypeError: a name or a value of another type.
    """
    parts = {} if model is None else fields_of(model)
    for field, value in changes.items():
        if not isinstance(field, str):
            raise TypeError(f"a field of {name} must be a str, got {type(field).__name__}")
        part = parts.get(field)
        if isinstance(value, Mapping):
            _check_shape(f"{name}.{field}", value, part)
        elif part is not None and value is not None:
            raise TypeError(
                f"{name}.{field} must be a mapping or {part.__name__}, got {type(value).__name__}"
            )


def _section(name: str, section: object) -> dict[str, Any]:
    if not isinstance(section, Mapping | msgspec.Struct):
        raise TypeError(f"{name} must be a struct or a mapping, got {type(section).__name__}")
    plain: dict[str, Any] = to_builtins(section)
    return plain


def _extension(document: dict[str, Any]) -> Extension:
    unreadable: Unreadable
    try:
        return repair(document, Extension)
    except Unreadable as error:
        unreadable = error
    raise ReplyError(
        expected=unreadable.expected, where=unreadable.where, operation=EXTENSIONS_SHOW.name
    )
