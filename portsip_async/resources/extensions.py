"""Extensions: listing, provisioning, status, calls."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

from ..core.decode import Unreadable, repair
from ..core.pages import Paginator
from ..endpoints import (
    EXTENSIONS_CALL,
    EXTENSIONS_CREATE,
    EXTENSIONS_LIST,
    EXTENSIONS_REMOVE,
    EXTENSIONS_SEARCH,
    EXTENSIONS_SHOW,
    EXTENSIONS_STATUS,
    EXTENSIONS_UPDATE,
)
from ..errors import ReplyError
from ..models import (
    Extension,
    ExtensionStatus,
    ExtensionSummary,
    ForwardRules,
    NewExtension,
    OfficeHours,
    Options,
    Profile,
    SortByValue,
    VoiceMail,
)
from .base import Caller, merged, text, texts

# `list` is a method of the class below.
Statuses: TypeAlias = list[ExtensionStatus]

SECTIONS = ("profile", "options", "forward_rules", "office_hours", "voice_mail")


class Extensions:
    """The extensions of the PBX."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(
        self,
        *,
        page: int = 1,
        page_size: int = 100,
        sort_by: SortByValue | None = None,
        prefetch: int = 1,
        max_pages: int | None = None,
    ) -> Paginator[ExtensionSummary]:
        """Walk all extensions (``GET /extensions/list``).

        Args:
            page: the page to start from, counted from 1.
            page_size: extensions a page; the PBX may cap it.
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
        page_size: int = 100,
        prefetch: int = 1,
        max_pages: int | None = None,
    ) -> Paginator[ExtensionSummary]:
        """Walk the extensions that a condition finds (``GET /extensions/search``).

        Args:
            condition: what to look for, as the PBX understands it: part of a number or a name.
            page: the page to start from, counted from 1.
            page_size: extensions a page; the PBX may cap it.
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

    async def create(self, extension: NewExtension) -> None:
        """Create an extension (``POST /extensions/create``).

        Where the PBX may have acted it is not repeated: see ``error.may_have_acted``.

        Raises:
            Conflict: the number is taken.
            BadRequest: the PBX refused a value.
            TypeError, ValueError: no NewExtension, or its number or a password is empty.
        """
        if not isinstance(extension, NewExtension):
            raise TypeError(f"create takes a NewExtension, not {type(extension).__name__}")
        text("extension_number", extension.extension_number)
        text("password", extension.password)
        text("web_access_password", extension.web_access_password)
        await self._caller(EXTENSIONS_CREATE, extension)

    async def show(self, extension_number: str) -> Extension:
        """Read an extension's settings (``GET /extensions/show``).

        Raises:
            NotFound: there is no such extension.
        """
        number = text("extension_number", extension_number)
        return await self._caller(EXTENSIONS_SHOW, {"extension_number": number})

    async def status(self, extension_numbers: Iterable[str]) -> Statuses:
        """Read the status of some extensions in one request (``POST /extensions/status``).

        The PBX may leave numbers out, and answer in an order of its own: match by number.

        Raises:
            NotFound, BadRequest: the PBX refused the batch for one of its numbers.
        """
        numbers = texts("extension_numbers", extension_numbers)
        if not numbers:
            return []
        reply = await self._caller(EXTENSIONS_STATUS, {"extensions": numbers})
        return [*reply.extension_status]

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
        for name, section in sections.items():
            _section(name, section)
        number = text("extension_number", extension_number)
        await self._caller(EXTENSIONS_UPDATE, {"extension_number": number, **sections})

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
        """
        number = text("extension_number", extension_number)
        given = {
            "profile": profile,
            "options": options,
            "forward_rules": forward_rules,
            "office_hours": office_hours,
            "voice_mail": voice_mail,
        }
        changes = {
            name: _section(name, section) for name, section in given.items() if section is not None
        }
        async with self._caller.locks.holding("extensions", number):
            read = await self._caller.document(EXTENSIONS_SHOW, {"extension_number": number})
            whole = merged(read, changes)
            # In the PBX's own spelling, so that "0100" is not taken for "100".
            key = read.get("extension_number") or number
            sections = {name: whole[name] for name in SECTIONS if name in whole}
            await self._caller.write_back(EXTENSIONS_UPDATE, {"extension_number": key, **sections})
        return _extension({**whole, "extension_number": key})

    async def remove(self, extension_number: str) -> None:
        """Remove an extension (``POST /extensions/destroy``).

        Raises:
            NotFound: there is no such extension.
        """
        number = text("extension_number", extension_number)
        await self._caller(EXTENSIONS_REMOVE, {"extension_number": number})


def _section(name: str, section: object) -> dict[str, Any]:
    if not isinstance(section, Mapping | msgspec.Struct):
        raise TypeError(f"{name} is a struct or a mapping, not {type(section).__name__}")
    plain: dict[str, Any] = msgspec.to_builtins(section)
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
