"""The quirks that PBX installations show, by name.

The vendor's page contradicts itself, and versions differ. Pure: a reply goes in and comes out as
a PBX with certain quirks would give it.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from .refusal import Refusal

QUIRKS: Mapping[str, str] = MappingProxyType(
    {
        "absent_fields": "optional fields are left out of replies",
        "bom": "replies begin with a byte order mark",
        "count_lies": "count and page_count say 100, whatever there is",
        "empty_as_null": "where no body is due, the body is null",
        "empty_as_object": "where no body is due, the body is {}",
        "err_code_strings": "err_code is a dotted text",
        "error_in_200": "errors come with HTTP status 200",
        "errors_v22": "errors have the shape of version 22, without an err_code",
        "expires_as_string": "the lifetime of a token is a text",
        "greetings_as_greetings": "greeting files stand under greetings, without default_file",
        "group_show_without_id": "a group is shown without its group_id",
        "latin1": "replies are encoded in Latin-1",
        "login_block": "after three wrong logins none is accepted for a minute",
        "message_for_msg": "an error's text stands under message",
        "no_expires": "the lifetime of a token is not told",
        "no_page_count": "lists lack page_count, and count is the total",
        "nulls": "optional fields are null",
        "numbers_as_strings": "numbers and booleans come as texts",
        "one_token": "a login ends the tokens given out before",
        "refresh_prolongs": "a refresh answers no new token and prolongs the old one",
        "search_one_object": "a search that finds one extension answers it bare, not in an array",
        "status_omits_unknown": "unknown numbers are left out of a status reply, not refused",
        "status_shuffled": "statuses come in another order than they were asked for",
        "status_stranger": "a status reply begins with an extension that nobody asked for",
        "stray_comma": "the names of greeting files end in a comma",
        "text_html": "JSON is labelled text/html",
        "unknown_enums": "enumerated fields have values that no page lists",
        "unknown_fields": "every object has a field that no page lists",
    }
)

# What a reply can't be followed without.
_KEPT = frozenset(
    {
        "access_token",
        "extension_number",
        "filename",
        "group_id",
        "page_count",
    }
)
_ENUMS = frozenset(
    {
        "busy_action",
        "gender",
        "msg_read_out_datetime",
        "no_answer_action",
        "office_hours_action",
        "office_hours_mode",
        "outside_office_hours_action",
        "sort_by",
        "status",
    }
)
_UNKNOWN = {"kind": "extra", "parts": [1, None, "two"]}
_V22_CODES: Mapping[int, str] = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    429: "TOO_MANY_REQUESTS",
}

Shape = Callable[[str, dict[str, Any]], dict[str, Any]]


def checked(names: Iterable[str]) -> frozenset[str]:
    """Check the names of quirks.

    Raises:
        ValueError: one is not in ``QUIRKS``.
        TypeError: one name stands in place of a collection.
    """
    if isinstance(names, str):
        raise TypeError("quirks is a collection of names, not one name")
    quirks = frozenset(names)
    unknown = sorted(quirks - QUIRKS.keys())
    if unknown:
        raise ValueError(f"no such quirk: {', '.join(unknown)}; there are {', '.join(QUIRKS)}")
    return quirks


def _per_object(change: Callable[[str, Any], Any]) -> Shape:
    """Make a shape that changes each field of each object that holds no object or array."""

    def walk(value: Any) -> Any:
        if isinstance(value, list):
            return [walk(item) for item in value]
        if not isinstance(value, dict):
            return value
        walked = {
            name: walk(item) if isinstance(item, dict | list) else change(name, item)
            for name, item in value.items()
        }
        return {name: item for name, item in walked.items() if item is not _ABSENT}

    def shape(_: str, reply: dict[str, Any]) -> dict[str, Any]:
        walked: dict[str, Any] = walk(reply)
        return walked

    return shape


_ABSENT = object()


def _as_string(_: str, value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _unknown_fields(_: str, reply: dict[str, Any]) -> dict[str, Any]:
    def walk(value: Any) -> Any:
        if isinstance(value, list):
            return [walk(item) for item in value]
        if isinstance(value, dict):
            return {name: walk(item) for name, item in value.items()} | {"x_unknown": _UNKNOWN}
        return value

    walked: dict[str, Any] = walk(reply)
    return walked


def _search_one_object(row: str, reply: dict[str, Any]) -> dict[str, Any]:
    if row == "extensions.search" and len(reply["extensions"]) == 1:
        return reply | {"extensions": reply["extensions"][0]}
    return reply


def _greetings(row: str, reply: dict[str, Any]) -> dict[str, Any]:
    if row != "greetings.list":
        return reply
    return {
        "greetings" if name == "files" else name: value
        for name, value in reply.items()
        if name != "default_file"
    }


def _group_show(row: str, reply: dict[str, Any]) -> dict[str, Any]:
    if row != "groups.show":
        return reply
    return {name: value for name, value in reply.items() if name != "group_id"}


def _count_lies(_: str, reply: dict[str, Any]) -> dict[str, Any]:
    return reply | {"page_count": 100, "count": 100} if "page_count" in reply else reply


def _shuffled(row: str, reply: dict[str, Any]) -> dict[str, Any]:
    # Turned by one and reversed: another order from two numbers on, and the same every time.
    statuses = reply.get("extension_status", [])
    return reply | {"extension_status": statuses[:0:-1] + statuses[:1]} if statuses else reply


def _stranger(row: str, reply: dict[str, Any]) -> dict[str, Any]:
    if row != "extensions.status":
        return reply
    stranger = {"extension_number": "000", "status": "ON_CALL", "user_agent": ""}
    return {"extension_status": [stranger, *reply["extension_status"]]}


# In this order: what concerns the reply as a whole comes before what concerns its fields.
_SHAPES: Mapping[str, Shape] = {
    "status_shuffled": _shuffled,
    "status_stranger": _stranger,
    "search_one_object": _search_one_object,
    "greetings_as_greetings": _greetings,
    "group_show_without_id": _group_show,
    "count_lies": _count_lies,
    "nulls": _per_object(lambda name, value: value if name in _KEPT else None),
    "absent_fields": _per_object(lambda name, value: value if name in _KEPT else _ABSENT),
    "unknown_enums": _per_object(lambda name, value: "NEW_VALUE" if name in _ENUMS else value),
    "numbers_as_strings": _per_object(_as_string),
    "unknown_fields": _unknown_fields,
}
_EMPTY: Mapping[str, bytes] = {"empty_as_null": b"null", "empty_as_object": b"{}"}
_ENCODINGS: Mapping[str, Callable[[bytes], bytes]] = {
    "latin1": lambda body: body.decode().encode("latin-1", "replace"),
    "bom": lambda body: b"\xef\xbb\xbf" + body,
}


class Manner:
    """How a PBX with certain quirks gives its replies."""

    def __init__(self, quirks: frozenset[str]) -> None:
        """Take the quirks' names, checked before."""
        self._shapes = [shape for name, shape in _SHAPES.items() if name in quirks]
        self._empty = next((body for name, body in _EMPTY.items() if name in quirks), b"")
        self._encodings = [encode for name, encode in _ENCODINGS.items() if name in quirks]
        self._quirks = quirks
        self.content_type = "text/html" if "text_html" in quirks else "application/json"

    def reply(self, row: str, reply: dict[str, Any] | None) -> bytes:
        """Encode what an operation answers; None where no body is due."""
        if reply is None:
            return self._empty
        for shape in self._shapes:
            reply = shape(row, reply)
        return self._encoded(reply)

    def error(self, status: int, err_code: Any, msg: str) -> tuple[int, bytes]:
        """Encode an error: the HTTP status that it comes with, and its body."""
        if "err_code_strings" in self._quirks:
            err_code = str(err_code)
        told: dict[str, Any] = {"err_code": err_code, "msg": msg}
        if "message_for_msg" in self._quirks:
            told = {"err_code": err_code, "message": msg}
        if "errors_v22" in self._quirks:
            told = {"errors": [{"code": _V22_CODES.get(status, "SERVER_ERROR"), "message": msg}]}
        if "error_in_200" in self._quirks:
            status = 200
        return status, self._encoded(told)

    def refusal(self, refusal: Refusal) -> tuple[int, bytes]:
        """Encode a refusal: the HTTP status that it comes with, and its body."""
        return self.error(refusal.status, refusal.err_code, refusal.msg)

    def _encoded(self, value: Any) -> bytes:
        body = msgspec.json.encode(value)
        for encode in self._encodings:
            body = encode(body)
        return body
