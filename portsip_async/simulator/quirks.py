"""The quirks of real installations, by name, and how they change the replies of a PBX.

The vendor's documentation contradicts itself, and versions differ. Pure: `ReplyShaper` takes the
content of a reply and returns its bytes.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from ..arguments import check_strs

QUIRKS: Mapping[str, str] = MappingProxyType(
    {
        "absent_fields": "optional fields are left out of replies",
        "bom": "replies begin with a byte order mark",
        "count_lies": "count and page_count are always 100",
        "echo": "errors of v22 repeat the whole request",
        "empty_as_null": "an empty reply has the body null",
        "empty_as_object": "an empty reply has the body {}",
        "err_code_strings": "err_code is a string with a dot",
        "error_in_200": "errors come with HTTP status 200",
        "errors_v22": "errors have the shape of version 22, without an err_code",
        "expires_as_string": "the lifetime of a token is a string",
        "greetings_as_greetings": "greeting files are under greetings, without default_file",
        "group_show_without_id": "a group is shown without its group_id",
        "latin1": "replies are encoded in Latin-1",
        "login_block": "after three wrong logins every login is refused for a minute",
        "message_for_msg": "the text of an error is under message",
        "no_expires": "the lifetime of a token is missing",
        "no_page_count": "lists lack page_count, and count is the total",
        "nulls": "optional fields are null",
        "numbers_as_strings": "numbers and booleans are strings",
        "one_token": "a login revokes the tokens issued before",
        "refresh_prolongs": "a refresh returns no new token and prolongs the old one",
        "search_one_object": "a search that finds one extension returns it without an array",
        "status_omits_unknown": "a status reply omits unknown numbers instead of refusing them",
        "status_shuffled": "statuses come in another order than requested",
        "status_stranger": "a status reply begins with an extension that was not requested",
        "stray_comma": "the names of greeting files end in a comma",
        "text_html": "JSON is labelled text/html",
        "unknown_enums": "enumerated fields have undocumented values",
        "unknown_fields": "every object has an undocumented field",
        "update_replaces": "an update of a user in v22 resets the fields that it leaves out",
        "v22_0": "version 22.0: no paths below /auth, so only the form login",
        "v22_3": "version 22.3: OTHER_CALL for ON_CALL, and users are shown with passwords",
    }
)

# Fields that no quirk removes, since nothing works without them.
_ESSENTIAL = frozenset({"access_token", "extension_number", "filename", "group_id", "page_count"})
V22_ESSENTIAL = _ESSENTIAL | {"refresh_token", "id", "count", "token", "two_factor_enabled"}
_ENUMS = (
    "busy_action", "call_status", "gender", "msg_read_out_datetime", "no_answer_action",
    "office_hours_action", "office_hours_mode", "outside_office_hours_action", "presence",
    "sort_by", "status", "type",
)  # fmt: skip
_UNKNOWN_FIELD = {"x_unknown": {"kind": "extra", "parts": [1, None, "two"]}}
_STRANGER = {"extension_number": "000", "status": "ON_CALL", "user_agent": ""}
_V22_CODES: Mapping[int, str] = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    429: "TOO_MANY_REQUESTS",
}
_ABSENT = object()

# Takes the name of an operation and the content of its reply; returns the changed content.
Shape = Callable[[str, dict[str, Any]], dict[str, Any]]


def check_quirks(names: Iterable[str]) -> frozenset[str]:
    """Check the names of quirks.

    Raises:
        ValueError: a name is not in ``QUIRKS``.
        TypeError: a string instead of a collection, or a name that is not a str.
    """
    quirks = frozenset(check_strs("quirks", names, f'quirks=["{next(iter(QUIRKS))}"]'))
    unknown = sorted(quirks - QUIRKS.keys())
    if unknown:
        got, known = ", ".join(unknown), ", ".join(QUIRKS)
        raise ValueError(f"quirks must be names from QUIRKS, got {got}; known quirks: {known}")
    return quirks


def _each_object(change: Callable[[str, Any], Any], extra: dict[str, Any] | None = None) -> Shape:
    """Build a function that changes the plain fields of all objects, and adds fields to each."""

    def walk(value: Any) -> Any:
        if isinstance(value, list):
            return [walk(item) for item in value]
        if not isinstance(value, dict):
            return value
        walked = {
            name: walk(item) if isinstance(item, dict | list) else change(name, item)
            for name, item in value.items()
        }
        walked |= extra or {}
        return {name: item for name, item in walked.items() if item is not _ABSENT}

    return lambda _, reply: walk(reply)


def _only(operation: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Shape:
    """Build a function that changes the replies of one operation."""
    return lambda name, reply: change(reply) if name == operation else reply


def _as_string(_: str, value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _one_object(reply: dict[str, Any]) -> dict[str, Any]:
    found = reply["extensions"]
    return reply | {"extensions": found[0]} if len(found) == 1 else reply


def _as_greetings(reply: dict[str, Any]) -> dict[str, Any]:
    reply = reply | {"greetings": reply["files"]}
    del reply["files"], reply["default_file"]
    return reply


def _shuffled(reply: dict[str, Any]) -> dict[str, Any]:
    return {"extension_status": reply["extension_status"][::-1]}


def _make_shapes(essential: frozenset[str]) -> Mapping[str, Shape]:
    # They apply in this order: changes to a whole reply come before changes to its fields.
    return {
        "status_shuffled": _only("extensions.status", _shuffled),
        "status_stranger": _only(
            "extensions.status",
            lambda reply: {"extension_status": [_STRANGER, *reply["extension_status"]]},
        ),
        "search_one_object": _only("extensions.search", _one_object),
        "greetings_as_greetings": _only("greetings.list", _as_greetings),
        "group_show_without_id": _only(
            "groups.show",
            lambda reply: {name: value for name, value in reply.items() if name != "group_id"},
        ),
        "count_lies": lambda _, reply: (
            reply | {"page_count": 100, "count": 100} if "page_count" in reply else reply
        ),
        "nulls": _each_object(lambda name, value: value if name in essential else None),
        "absent_fields": _each_object(lambda name, value: value if name in essential else _ABSENT),
        "unknown_enums": _each_object(lambda name, value: "NEW_VALUE" if name in _ENUMS else value),
        "numbers_as_strings": _each_object(_as_string),
        "unknown_fields": _each_object(lambda _, value: value, extra=_UNKNOWN_FIELD),
    }


_EMPTY: Mapping[str, bytes] = {"empty_as_null": b"null", "empty_as_object": b"{}"}
_ENCODINGS: Mapping[str, Callable[[bytes], bytes]] = {
    "latin1": lambda body: body.decode().encode("latin-1", "replace"),
    "bom": lambda body: b"\xef\xbb\xbf" + body,
}


class ReplyShaper:
    """Encodes replies as a PBX with certain quirks does.

    Attributes:
        content_type: the type of all bodies.
    """

    def __init__(self, quirks: frozenset[str], essential: frozenset[str] = _ESSENTIAL) -> None:
        """Choose the changes.

        Args:
            quirks: names that ``check_quirks`` has checked.
            essential: the fields that no quirk removes.
        """
        shapes = _make_shapes(essential)
        self._shapes = [shape for name, shape in shapes.items() if name in quirks]
        self._empty = next((body for name, body in _EMPTY.items() if name in quirks), b"")
        self._encodings = [encode for name, encode in _ENCODINGS.items() if name in quirks]
        self._quirks = quirks
        self.content_type = "text/html" if "text_html" in quirks else "application/json"

    def reply(self, operation: str, content: dict[str, Any] | None) -> bytes:
        """Encode the reply of an operation; None stands for an empty reply."""
        if content is None:
            return self._empty
        for shape in self._shapes:
            content = shape(operation, content)
        return self.encode(content)

    def error(self, status: int, err_code: Any, msg: str) -> tuple[int, bytes]:
        """Encode an error, and return its HTTP status and its body."""
        if "err_code_strings" in self._quirks:
            err_code = str(err_code)
        text = "message" if "message_for_msg" in self._quirks else "msg"
        content: dict[str, Any] = {"err_code": err_code, text: msg}
        if "errors_v22" in self._quirks:
            content = {"errors": [{"code": _V22_CODES.get(status, "SERVER_ERROR"), "message": msg}]}
        if "error_in_200" in self._quirks:
            status = 200
        return status, self.encode(content)

    def encode(self, content: Any) -> bytes:
        """Encode any content."""
        body = msgspec.json.encode(content)
        for encode in self._encodings:
            body = encode(body)
        return body
