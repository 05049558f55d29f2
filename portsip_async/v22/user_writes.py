"""Writes of users: which changes are allowed, how they are merged, and what a lost reply means."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from ..arguments import check_str, check_type, plain_text
from ..bulk.writes import Done, ItemOperation
from ..client.patches import (
    check_fields,
    check_has_id,
    check_parts,
    check_shape,
    drop_none_deep,
    fields_of,
    merge,
    plain_fields,
    unknown_field,
)
from ..client.resource import Document, Sender
from ..client.writes import Send, is_from
from ..core.limits import Gate
from ..errors import BadRequest, Conflict
from .operations import USERS_CREATE, USERS_SHOW, USERS_UPDATE
from .user_models import READ_ONLY, NewUser, User, UserSettings

_REQUIRED: Final = (
    "name",
    "password",
    "email",
    "display_name",
    "role",
    "extension_number",
    "extension_password",
    "voicemail_pin",
)
# Fields that have an operation of their own.
_ELSEWHERE: Final = {
    "role": "set_role",
    "password": "set_password",
    "extension_password": "set_extension_password",
}


def check_new(user: NewUser) -> NewUser:
    """Check the required fields of a user, and return it.

    Raises:
        TypeError: it is not a NewUser, or a required field is not a str.
        ValueError: a required field is empty.
    """
    check_type("user", user, NewUser)
    for name in _REQUIRED:
        check_str(name, getattr(user, name))
    check_parts(user, NewUser)
    return user


def check_changes(changes: object) -> dict[str, Any]:
    """Check the changes to a user, and return them as plain values.

    Raises:
        TypeError: not a mapping or UserSettings, or a field that the API does not take.
    """
    plain = plain_fields("changes", changes)
    models = fields_of(UserSettings)
    check_shape("a user", plain, UserSettings)
    for field, value in plain.items():
        if field in _ELSEWHERE:
            raise TypeError(f'"{field}" can\'t be patched; use {_ELSEWHERE[field]}')
        if field not in models:
            raise unknown_field("a user", field, models)
        if isinstance(value, Mapping):
            check_fields(field, value, {}, models[field], USERS_SHOW.name)
    return plain


async def patch_user(
    sender: Sender,
    user_id: str,
    changes: object,
    *,
    check: Callable[[Document], object] | None = None,
    gate: Gate | None = None,
) -> User:
    """Read a user, merge changes, and write the result.

    Args:
        sender: sends the requests.
        user_id: the user's id.
        changes: see `check_changes`.
        check: may refuse the user that was read, by raising.
        gate: an additional limit on the attempts of the write.

    Raises:
        TypeError: see `check_changes`. Nothing was sent.
        ReplyError: the reply shows no user or another one, or a part that is changed is not an
            object in it. Nothing was written.
    """
    plain, models = check_changes(changes), fields_of(UserSettings)

    def merged(read: Document) -> Document:
        check_has_id(read, USERS_SHOW.name)
        if check is not None:
            check(read)
        for field, value in plain.items():
            if isinstance(value, Mapping):
                check_fields(field, value, read.get(field), models[field], USERS_SHOW.name)
        # Blank fields are read as null, which an update does not take.
        kept = {field: drop_none_deep(value, in_lists=True) for field, value in read.items()}
        return merge(kept, plain)

    def to_write(whole: Document) -> Document:
        return {
            field: value
            for field, value in whole.items()
            if field not in READ_ONLY and (value is not None or field in plain)
        }

    key = {"id": user_id}
    return await sender.patch(USERS_SHOW, USERS_UPDATE, key, merged, to_write=to_write, gate=gate)


def creation(
    send: Send[NewUser, str],
    read_back: Callable[[str], Awaitable[User | None]],
    *,
    skip_existing: bool,
) -> ItemOperation[NewUser, str]:
    """Build the write that creates a user.

    Args:
        send: creates the user, and returns the id.
        read_back: reads the user who has a number; None if there is none.
        skip_existing: whether a number that is taken is skipped.
    """

    async def create(user: NewUser, gate: Gate) -> str:
        try:
            return await send(user, gate)
        except BadRequest as error:
            # A PBX may call a number that is taken an invalid field.
            if not skip_existing or not is_from(error, USERS_CREATE):
                raise
            refused = error
        if await read_back(plain_text(user.extension_number)) is None:
            raise refused
        raise refused.copy(Conflict)

    async def was_created(user: NewUser) -> bool | Done[str]:
        found = await read_back(plain_text(user.extension_number))
        # Another name means that someone else took the number.
        if found is None or found.name not in (None, "", plain_text(user.name)):
            return False
        return Done(found.id)

    return ItemOperation(
        lambda user: plain_text(check_new(user).extension_number),
        create,
        was_carried_out=was_created,
        is_skipped=lambda error: (
            skip_existing and isinstance(error, Conflict) and is_from(error, USERS_CREATE)
        ),
        example="create_many([NewUser(...)])",
    )
