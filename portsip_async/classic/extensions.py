"""Extensions: listing, provisioning, status, calls."""

from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, Literal, TypeVar

from ..arguments import check_choice, check_str, plain_text
from ..bulk.writes import BulkRun, ItemOperation
from ..client.patches import UncheckedChanges, drop_none_deep, plain_fields
from ..client.writes import (
    DEFAULT_BULK_CONCURRENCY,
    DEFAULT_GRACE,
    Patch,
    ReadBack,
    change,
    read_many,
    reader,
    removal,
    run_many,
)
from ..core.limits import Gate
from ..core.pages import DEFAULT_PAGE_SIZE, Paginator
from ..core.tracebacks import hide_arguments
from .changes import (
    ExtensionChanges,
    ForwardRulesChanges,
    OfficeHoursChanges,
    OptionsChanges,
    ProfileChanges,
    VoiceMailChanges,
)
from .enums import SortByValue
from .error_codes import CLASSIC_ERRORS
from .extension_models import (
    SECTIONS,
    Extension,
    ExtensionSummary,
    ExtensionUpdate,
    ForwardRules,
    NewExtension,
    OfficeHours,
    Options,
    Profile,
    VoiceMail,
)
from .extension_status import SUMMARIES, StatusCalls
from .extension_writes import check_new, creation, replacement
from .operations import (
    EXTENSIONS_CALL,
    EXTENSIONS_CREATE,
    EXTENSIONS_LIST,
    EXTENSIONS_REMOVE,
    EXTENSIONS_SEARCH,
    EXTENSIONS_SHOW,
    EXTENSIONS_UPDATE,
)
from .patches import merge_sections, section_changes

V = TypeVar("V")


class Extensions(StatusCalls):
    """The extensions of the PBX."""

    def list(
        self,
        *,
        page: int = 1,
        page_size: int | None = DEFAULT_PAGE_SIZE,
        sort_by: SortByValue | None = None,
        prefetch: int = 1,
        max_pages: int | None = None,
    ) -> Paginator[ExtensionSummary]:
        """Walk all extensions (``GET /extensions/list``).

        Args:
            page: the number of the first page to read, counted from 1.
            page_size: the most extensions in a page. The PBX may have a lower limit. None
                asks for 500, or for 100 if the PBX refuses that.
            sort_by: "DEFAULT" or "Optional"; None leaves the order to the PBX.
            prefetch: how many further pages to request ahead; 0 requests none.
            max_pages: the most pages to read; None reads all.

        Raises:
            TypeError, ValueError: an argument is out of bounds. Raised by this call itself.
        """
        return self._sender.paginate(
            SUMMARIES,
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
        page_size: int | None = DEFAULT_PAGE_SIZE,
        prefetch: int = 1,
        max_pages: int | None = None,
    ) -> Paginator[ExtensionSummary]:
        """Walk the extensions that match a condition (``GET /extensions/search``).

        Args:
            condition: part of a number or a name; the PBX decides what it matches.
            page: the number of the first page to read, counted from 1.
            page_size: the most extensions in a page. The PBX may have a lower limit. None
                asks for 500, or for 100 if the PBX refuses that.
            prefetch: how many further pages to request ahead; 0 requests none.
            max_pages: the most pages to read; None reads all.

        Raises:
            TypeError, ValueError: the condition is empty, or an argument is out of bounds. Raised
                by this call itself.
        """
        return self._sender.paginate(
            SUMMARIES,
            EXTENSIONS_SEARCH,
            {"condition": check_str("condition", condition)},
            page=page,
            page_size=page_size,
            prefetch=prefetch,
            max_pages=max_pages,
        )

    @hide_arguments
    async def create(self, extension: NewExtension) -> None:
        """Create an extension (``POST /extensions/create``).

        It is not repeated if the PBX may have acted: see ``error.may_have_acted``.

        Raises:
            Conflict: the number is taken.
            BadRequest: the PBX refused a value.
            TypeError: it is not a NewExtension.
            ValueError: its number or one of its passwords is empty.
        """
        await self._sender.send_document(EXTENSIONS_CREATE, check_new(extension))

    async def show(self, extension_number: str) -> Extension:
        """Read an extension's settings (``GET /extensions/show``).

        Raises:
            NotFound: there is no such extension.
        """
        number = check_str("extension_number", extension_number)
        return await self._sender.send(EXTENSIONS_SHOW, {"extension_number": number})

    @hide_arguments
    async def call(self, extension: str, to: str, *, auth: str, domain: str, src: str) -> None:
        """Ring an extension and connect it to another number (``GET /extensions/call``).

        Each request rings a telephone, so it is not repeated if the PBX may have acted.

        Args:
            extension: the number of the extension that rings.
            to: the number to call.
            auth: the extension's password.
            domain: the SIP domain.
            src: the source that the call shows.

        Raises:
            NotFound: there is no such extension.
        """
        await self._sender.send(
            EXTENSIONS_CALL,
            {
                "extension": check_str("extension", extension),
                "to": check_str("to", to),
                "auth": check_str("auth", auth),
                "domain": check_str("domain", domain),
                "src": check_str("src", src),
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
        """Replace all sections of an extension's settings (``POST /extensions/update``).

        Fields that are None are left out. To change some fields and keep the rest, use `patch`.

        Raises:
            NotFound: there is no such extension.
        """
        number = check_str("extension_number", extension_number)
        sections = {
            "profile": profile,
            "options": options,
            "forward_rules": forward_rules,
            "office_hours": office_hours,
            "voice_mail": voice_mail,
        }
        plain = {name: drop_none_deep(plain_fields(name, sections[name])) for name in SECTIONS}
        await self._sender.send(EXTENSIONS_UPDATE, {"extension_number": number, **plain})

    @hide_arguments
    async def patch(
        self,
        extension_number: str,
        *,
        profile: Profile | ProfileChanges | UncheckedChanges | None = None,
        options: Options | OptionsChanges | UncheckedChanges | None = None,
        forward_rules: ForwardRules | ForwardRulesChanges | UncheckedChanges | None = None,
        office_hours: OfficeHours | OfficeHoursChanges | UncheckedChanges | None = None,
        voice_mail: VoiceMail | VoiceMailChanges | UncheckedChanges | None = None,
    ) -> Extension:
        """Change some of an extension's settings: read, merge, update.

        All other fields stay as they were read, even fields that the SDK does not know. Patches of
        one number through one client wait for each other.

        Args:
            extension_number: the extension's number.
            profile: the fields to change. None changes nothing. In a mapping, a field that is None
                is sent as null. Type checkers know the fields, except in a mapping whose values
                have type Any. The same applies to the other sections.
            options: see profile.
            forward_rules: see profile.
            office_hours: see profile.
            voice_mail: see profile.

        Returns:
            The extension as it should be now.

        Raises:
            NotFound: there is no such extension.
            ReplyError: the reply shows another extension, or a section that is not an object.
                Nothing was written.
            TypeError: a field that neither the models nor the reply have. Nothing was written.
        """
        sections = {
            "profile": profile,
            "options": options,
            "forward_rules": forward_rules,
            "office_hours": office_hours,
            "voice_mail": voice_mail,
        }
        return await self._patch(check_str("extension_number", extension_number), sections)

    async def remove(self, extension_number: str) -> None:
        """Remove an extension (``POST /extensions/destroy``).

        Raises:
            NotFound: there is no such extension.
        """
        number = check_str("extension_number", extension_number)
        await self._sender.send(EXTENSIONS_REMOVE, {"extension_number": number})

    def show_many(
        self,
        extension_numbers: Iterable[str] | AsyncIterable[str],
        *,
        concurrency: int = DEFAULT_BULK_CONCURRENCY,
        ordered: bool = False,
    ) -> BulkRun[Extension]:
        """Read the settings of many extensions, and yield a `BulkResult` with each Extension.

        A number that fails has its error in its own result. Leaving the loop cancels the reads in
        flight at once.

        Args:
            extension_numbers: the numbers to read, read lazily; the source may be endless.
            concurrency: the most requests in flight.
            ordered: whether results keep the order of the numbers.

        Raises:
            TypeError, ValueError: an argument is out of bounds. Raised by this call itself.
            AuthenticationError, ConfigurationError, ClientClosed: raised by the loop.
        """
        return read_many(
            "extension_numbers",
            extension_numbers,
            self.show,
            key="extension_number",
            example='"101"',
            owner=self._sender.session,
            concurrency=concurrency,
            ordered=ordered,
        )

    def create_many(
        self,
        extensions: Iterable[NewExtension] | AsyncIterable[NewExtension],
        *,
        concurrency: int = DEFAULT_BULK_CONCURRENCY,
        if_exists: Literal["error", "skip"] = "error",
        grace: float = DEFAULT_GRACE,
    ) -> BulkRun[None]:
        """Create many extensions, and yield a `BulkResult` for each as it finishes.

        If a reply was lost, the extension is read back: ``error`` is None only if it was created.
        ``in_doubt`` lists the numbers with an unknown outcome.

        Args:
            extensions: the extensions to create, read lazily.
            concurrency: the most writes in flight.
            if_exists: "skip" marks a number that is taken as ``skipped``; "error" as failed.
            grace: seconds that writes in flight may take to finish after the loop was left.

        Raises:
            TypeError, ValueError: an argument is out of bounds. Raised by this call itself.
            AuthenticationError, ConfigurationError, ClientClosed: raised by the loop.
        """
        check_choice("if_exists", if_exists, "error", "skip")

        async def create(extension: NewExtension, gate: Gate) -> None:
            await self._sender.send_document(EXTENSIONS_CREATE, extension, gate=gate)

        write = creation(create, self._read_back(), skip_existing=if_exists == "skip")
        return self._many("extensions", extensions, write, concurrency, grace)

    def update_many(
        self,
        updates: Iterable[ExtensionUpdate] | AsyncIterable[ExtensionUpdate],
        *,
        concurrency: int = DEFAULT_BULK_CONCURRENCY,
        grace: float = DEFAULT_GRACE,
    ) -> BulkRun[None]:
        """Replace the settings of many extensions, and yield a `BulkResult` for each.

        Args:
            updates: the new settings, read lazily.
            concurrency: the most writes in flight.
            grace: seconds that writes in flight may take to finish after the loop was left.

        Raises:
            TypeError, ValueError: an argument is out of bounds. Raised by this call itself.
            AuthenticationError, ConfigurationError, ClientClosed: raised by the loop.
        """

        async def update(update: ExtensionUpdate, gate: Gate) -> None:
            await self._sender.send_document(EXTENSIONS_UPDATE, update, gate=gate)

        return self._many("updates", updates, replacement(update), concurrency, grace)

    def patch_many(
        self,
        patches: Iterable[tuple[str, ExtensionChanges | UncheckedChanges]]
        | AsyncIterable[tuple[str, ExtensionChanges | UncheckedChanges]],
        *,
        concurrency: int = DEFAULT_BULK_CONCURRENCY,
        grace: float = DEFAULT_GRACE,
    ) -> BulkRun[Extension]:
        """Patch many extensions, and yield a `BulkResult` with the merged Extension for each.

        Args:
            patches: pairs of a number and the sections to change, such as
                ``("101", {"profile": {"first_name": "Ann"}})``, read lazily.
            concurrency: the most patches in flight.
            grace: seconds that writes in flight may take to finish after the loop was left.

        Raises:
            TypeError, ValueError: an argument is out of bounds. Raised by this call itself.
            AuthenticationError, ConfigurationError, ClientClosed: raised by the loop.
        """

        async def patch(patch: Patch, gate: Gate) -> Extension:
            return await self._patch(plain_text(patch[0]), patch[1], gate)

        write = change(
            patch,
            section_changes,
            key="extension_number",
            expected="a number and a mapping of sections",
            example='("101", {"profile": {...}})',
        )
        return self._many("patches", patches, write, concurrency, grace)

    def remove_many(
        self,
        extension_numbers: Iterable[str] | AsyncIterable[str],
        *,
        concurrency: int = DEFAULT_BULK_CONCURRENCY,
        if_missing: Literal["error", "skip"] = "error",
        grace: float = DEFAULT_GRACE,
    ) -> BulkRun[None]:
        """Remove many extensions, and yield a `BulkResult` for each as it finishes.

        If a reply was lost, the extension is read back, as in `create_many`.

        Args:
            extension_numbers: the numbers to remove, read lazily.
            concurrency: the most writes in flight.
            if_missing: "skip" marks a number that doesn't exist as ``skipped``; "error" as failed.
            grace: seconds that writes in flight may take to finish after the loop was left.

        Raises:
            TypeError, ValueError: an argument is out of bounds. Raised by this call itself.
            AuthenticationError, ConfigurationError, ClientClosed: raised by the loop.
        """
        check_choice("if_missing", if_missing, "error", "skip")

        async def remove(number: str, gate: Gate) -> None:
            key = {"extension_number": plain_text(number)}
            await self._sender.send(EXTENSIONS_REMOVE, key, gate=gate)

        write = removal(
            remove,
            self._read_back(),
            EXTENSIONS_REMOVE,
            CLASSIC_ERRORS,
            key="extension_number",
            example='"101"',
            skip_missing=if_missing == "skip",
        )
        return self._many("extension_numbers", extension_numbers, write, concurrency, grace)

    async def _patch(
        self, number: str, sections: Mapping[str, object], gate: Gate | None = None
    ) -> Extension:
        changes = section_changes(sections)
        return await self._sender.patch(
            EXTENSIONS_SHOW,
            EXTENSIONS_UPDATE,
            {"extension_number": number},
            lambda read: merge_sections(read, changes, EXTENSIONS_SHOW.name),
            to_write=lambda whole: {name: whole[name] for name in SECTIONS if name in whole},
            gate=gate,
        )

    def _read_back(self) -> ReadBack[Extension]:
        return reader(EXTENSIONS_SHOW, self.show, field="extension_number")

    def _many(
        self,
        name: str,
        items: Iterable[Any] | AsyncIterable[Any],
        operation: ItemOperation[Any, V],
        concurrency: int,
        grace: float,
    ) -> BulkRun[V]:
        owner = self._sender.session
        return run_many(name, items, operation, owner=owner, concurrency=concurrency, grace=grace)
