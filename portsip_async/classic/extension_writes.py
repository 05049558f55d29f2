"""Bulk writes of extensions: how an item is checked, and when it counts as created."""

from ..arguments import check_str, check_type, plain_text
from ..bulk.writes import ItemOperation
from ..client.patches import check_parts, plain_fields
from ..client.writes import ReadBack, Send, is_from
from ..errors import Conflict
from .extension_models import SECTIONS, Extension, ExtensionUpdate, NewExtension
from .operations import EXTENSIONS_CREATE


def creation(
    send: Send[NewExtension, None], read_back: ReadBack[Extension], *, skip_existing: bool
) -> ItemOperation[NewExtension, None]:
    """Build the write that creates an extension."""

    async def was_created(extension: NewExtension) -> bool:
        found = await read_back(extension.extension_number)
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
            skip_existing and isinstance(error, Conflict) and is_from(error, EXTENSIONS_CREATE)
        ),
        example="create_many([NewExtension(...)])",
    )


def replacement(send: Send[ExtensionUpdate, None]) -> ItemOperation[ExtensionUpdate, None]:
    """Build the write that replaces an extension's settings."""

    def key(update: ExtensionUpdate) -> str:
        check_type("update", update, ExtensionUpdate)
        for name in SECTIONS:
            plain_fields(name, getattr(update, name))
        return check_str("extension_number", update.extension_number)

    return ItemOperation(key, send, example="update_many([ExtensionUpdate(...)])")


def check_new(extension: NewExtension) -> NewExtension:
    """Check the required fields of an extension, and return it.

    Raises:
        TypeError: it is not a NewExtension, or a field is not a str.
        ValueError: a field is empty.
    """
    check_type("extension", extension, NewExtension)
    for name in ("extension_number", "password", "web_access_password"):
        check_str(name, getattr(extension, name))
    check_parts(extension, NewExtension)
    return extension
