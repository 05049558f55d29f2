"""Bulk writes of extensions: how an item is checked, and what happens after a lost reply.

If the reply to a create or a remove is lost for good, the extension is read back. The functions
that read and write are passed in.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

from ..arguments import check_str, check_type, plain_text
from ..bulk.writes import ItemOperation
from ..core.endpoint import Endpoint
from ..core.limits import Gate
from ..core.reply import check_identity
from ..errors import APIError, Conflict, NotFound
from .models import SECTIONS, Extension, ExtensionUpdate, NewExtension
from .operations import EXTENSIONS_CREATE, EXTENSIONS_REMOVE, EXTENSIONS_SHOW
from .patches import plain_section, section_changes

X = TypeVar("X")
V = TypeVar("V")

Patch: TypeAlias = tuple[str, Mapping[str, object]]
Send: TypeAlias = Callable[[X, Gate], Awaitable[V]]
Show: TypeAlias = Callable[[str], Awaitable[Extension]]


def creation(
    send: Send[NewExtension, None], show: Show, *, skip_existing: bool
) -> ItemOperation[NewExtension, None]:
    """Build the write that creates an extension."""

    async def was_created(extension: NewExtension) -> bool:
        found = await _read_back(show, extension.extension_number)
        if found is None:
            return False
        # Another password means that someone else created the number. Some PBXes hide passwords.
        hidden = not found.password or not found.password.strip("*")
        return hidden or found.password == plain_text(extension.password)

    return ItemOperation(
        lambda extension: plain_text(check_new(extension).extension_number),
        send,
        was_carried_out=was_created,
        is_skipped=lambda error: (
            skip_existing and isinstance(error, Conflict) and _is_from(error, EXTENSIONS_CREATE)
        ),
    )


def replacement(send: Send[ExtensionUpdate, None]) -> ItemOperation[ExtensionUpdate, None]:
    """Build the write that replaces an extension's settings."""

    def key(update: ExtensionUpdate) -> str:
        check_type("update", update, ExtensionUpdate)
        for name in SECTIONS:
            plain_section(name, getattr(update, name))
        return check_str("extension_number", update.extension_number)

    return ItemOperation(key, send)


def change(send: Send[Patch, Extension]) -> ItemOperation[Patch, Extension]:
    """Build the write that patches an extension."""

    def key(patch: Any) -> str:
        if not isinstance(patch, tuple | list) or len(patch) != 2:
            kind = ValueError if isinstance(patch, Iterable) else TypeError
            raise kind(
                "a patch must be a number and a mapping of sections, as in "
                f'("101", {{"profile": {{...}}}}), got {type(patch).__name__}'
            )
        number, sections = patch
        section_changes(sections)
        return check_str("extension_number", number)

    return ItemOperation(key, send)


def removal(send: Send[str, None], show: Show, *, skip_missing: bool) -> ItemOperation[str, None]:
    """Build the write that removes an extension."""

    async def was_removed(number: str) -> bool:
        return await _read_back(show, number) is None

    return ItemOperation(
        lambda number: check_str("extension_number", number),
        send,
        was_carried_out=was_removed,
        is_skipped=lambda error: (
            skip_missing and isinstance(error, NotFound) and _is_missing(error)
        ),
    )


def check_new(extension: NewExtension) -> NewExtension:
    """Check the required fields of an extension, and return it.

    Raises:
        TypeError: it is not a NewExtension, or a field is not a str.
        ValueError: a field is empty.
    """
    check_type("extension", extension, NewExtension)
    for name in ("extension_number", "password", "web_access_password"):
        check_str(name, getattr(extension, name))
    return extension


async def _read_back(show: Show, number: str) -> Extension | None:
    """Return the extension that the PBX has under a number; None if there is none.

    Raises:
        ReplyError: the reply shows another extension, so it proves nothing.
    """
    try:
        found = await show(number)
    except NotFound as error:
        if not _is_from(error, EXTENSIONS_SHOW):
            raise
        return None
    check_identity("extension_number", found.extension_number, plain_text(number), EXTENSIONS_SHOW)
    return found


def _is_missing(error: NotFound) -> bool:
    """Check that a removal found no such extension: not that its address is wrong."""
    elsewhere = str(error.err_code) in EXTENSIONS_REMOVE.errors.no_such_address
    return _is_from(error, EXTENSIONS_REMOVE) and not elsewhere


def _is_from(error: APIError, row: Endpoint[Any]) -> bool:
    """Check that the PBX itself refused this operation: not a login, and not a web page."""
    return error.operation == row.name and not error.is_page
