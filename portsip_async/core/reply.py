"""Parses replies: returns the value of an operation, or raises the error that the PBX reports.

Pure: no event loop, no connection; the time of day is passed in. The endpoint's `ErrorScheme` maps
codes and statuses to error classes.
"""

import math
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Generic, TypeVar, cast

import msgspec

from ..errors import (
    APIError,
    AuthenticationError,
    ErrorScheme,
    RateLimited,
    ReplyError,
    leading_status,
    raise_without_context,
)
from ..redact import scrub_json, scrub_text
from .decode import Decoder, Unreadable, parse, repair
from .echo import match_request
from .endpoint import Endpoint
from .headers import Headers
from .message import Parameters, RawReply, Reply

T = TypeVar("T")

_NO_PARAMETERS: Final[Mapping[str, object]] = {}
_DAY: Final = 86_400.0  # seconds
_DOTTED = re.compile(r"\d{1,3}(\.\d{1,2})?")
_MENTIONS_TOKEN = re.compile(r"access[ _-]?token", re.IGNORECASE)


class ReplyParser(Generic[T]):
    """Parses the replies to one endpoint.

    An error may come inside a 200. If the reply's type has the field that reports errors, looking
    there is free. For other types the body is searched for its name, which takes 7 µs for 20 KB.
    """

    __slots__ = ("_decode", "_endpoint", "_error_field", "_error_name", "_errors")

    def __init__(self, endpoint: Endpoint[T], errors: ErrorScheme) -> None:
        """Build the decoder of the replies.

        Args:
            endpoint: the operation.
            errors: what codes and statuses mean, unless the endpoint says it.
        """
        self._endpoint = endpoint
        self._errors = endpoint.errors or errors
        self._decode = None if endpoint.reply is None else Decoder(endpoint.reply).read
        names: tuple[str, ...] = getattr(endpoint.reply, "__struct_encode_fields__", ())
        fields: tuple[str, ...] = getattr(endpoint.reply, "__struct_fields__", ())
        self._error_name = self._errors.error_field.encode()
        self._error_field = dict(zip(names, fields, strict=True)).get(self._errors.error_field)

    def parse(
        self, reply: Reply, now: Callable[[], float], parameters: Parameters = _NO_PARAMETERS
    ) -> T:
        """Return what a reply holds.

        Args:
            reply: the whole reply.
            now: the time of day, in seconds since the epoch, for a Retry-After that is a date.
            parameters: what the request asked for, since a reply may spell it differently.

        Raises:
            APIError: the PBX reports an error. Its texts are not scrubbed yet.
            ReplyError: the reply does not have the type that the operation returns.
        """
        if not 200 <= reply.status < 300:
            raise self._error(reply, _object(reply.body), now)
        if self._endpoint.reply_headers:
            if self._error_name in reply.body:
                self._check_error(reply, now)
            return self._read_headers(reply)
        if self._endpoint.reply is bytes:
            return cast(T, reply.body)
        try:
            if self._decode is None:
                return cast(T, self._check_empty(reply, now))
            value, repaired = self._decode(reply.body)
            # A 200 may report an error.
            if self._error_field is not None:
                may_be_error = _is_error(getattr(value, self._error_field))
            else:
                may_be_error = self._error_name in reply.body
            if may_be_error:
                self._check_error(reply, now)
            # Restore the caller's spelling of numbers that came as JSON numbers.
            if self._endpoint.echo is None:
                return value
            echo = self._endpoint.echo
            requested = (
                getattr(parameters, echo.parameter, None)
                if isinstance(parameters, msgspec.Struct)
                else parameters.get(echo.parameter)
            )
            return match_request(value, repaired, requested, echo.field, echo.rows)
        except Unreadable as unreadable:
            error: APIError | ReplyError = ReplyError(
                expected=unreadable.expected, where=unreadable.where
            )
            # An error often lacks every field of the reply's type.
            document = _object(reply.body)
            if _is_error(document.get(self._errors.error_field)):
                error = self._error(reply, document, now)
            raise_without_context(error)

    def _read_headers(self, reply: Reply) -> T:
        """Build the reply's value from its headers."""
        names = self._endpoint.reply_headers
        document = {
            field: reply.headers[name] for field, name in names.items() if name in reply.headers
        }
        try:
            return repair(document, cast(type[T], self._endpoint.reply))
        except Unreadable as unreadable:
            missing = ", ".join(name for name in names.values() if name not in reply.headers)
            expected = f"the header {missing}" if missing else unreadable.expected
            error = ReplyError(expected=expected, where="the headers")
        raise error

    def _check_empty(self, reply: Reply, now: Callable[[], float]) -> None:
        """Accept an empty body and any JSON without an error, for an operation without a reply."""
        if reply.body.strip() not in (b"", b"{}", b"null"):
            parse(reply.body)  # raises Unreadable for what is not JSON
            self._check_error(reply, now)

    def _check_error(self, reply: Reply, now: Callable[[], float]) -> None:
        document = _object(reply.body)
        if _is_error(document.get(self._errors.error_field)):
            raise self._error(reply, document, now)

    def _error(self, reply: Reply, document: dict[str, Any], now: Callable[[], float]) -> APIError:
        """Build the error that a reply reports."""
        scheme, status = self._errors, reply.status
        err_code, message, detail = _code_message_detail(document)
        code = "" if err_code is None else str(err_code)
        kind = scheme.class_of(status, code)
        # Does it refuse the access token? Some PBXes say so only in the message.
        may_be_token = self._endpoint.token != "none" and code not in scheme.not_about_token
        rejected = may_be_token and (
            code in scheme.rejected_token
            or 401 in (status, leading_status(code))
            or (
                status in (400, 403)
                and kind is not RateLimited
                and bool(_MENTIONS_TOKEN.search(message))
            )
        )
        if 300 <= status < 400 and not message:
            message = "redirects are not followed"
        error = (AuthenticationError if rejected else kind)(
            message,
            status=status,
            err_code=err_code,
            detail=detail,
            retry_after=parse_retry_after(reply.headers.get("Retry-After", ""), now),
        )
        error.is_page = not document and _is_page(reply.body)
        if isinstance(error, AuthenticationError):
            error.token_rejected = rejected
        return error


class RawParser(Generic[T]):
    """Parses replies with another parser, and returns each value with the reply that it is from."""

    __slots__ = ("_parser",)

    def __init__(self, parser: "ReplyParser[T] | RawParser[T]") -> None:
        self._parser = parser

    def parse(
        self, reply: Reply, now: Callable[[], float], parameters: Parameters = _NO_PARAMETERS
    ) -> RawReply[T]:
        """Return what a reply holds, and the reply; see `ReplyParser.parse`."""
        data: Any = self._parser.parse(reply, now, parameters)
        return RawReply(reply.status, Headers(reply.headers.items()), reply.body, data)


def _is_error(reported: object) -> bool:
    return reported not in (None, "", 0, "0", [], {})


def _object(body: bytes) -> dict[str, Any]:
    """Parse an error's body as an object; return an empty one for anything else, such as HTML."""
    try:
        document = parse(body)
    except Unreadable:
        return {}
    return document if isinstance(document, dict) else {}


def _is_page(body: bytes) -> bool:
    """Check whether an error's body is neither empty nor JSON, whatever its Content-Type says."""
    if not body.removeprefix(BOM_UTF8).strip():
        return False
    try:
        parse(body)
    except Unreadable:
        return True
    return False


def _code_message_detail(
    document: dict[str, Any],
) -> tuple[str | int | float | None, str, object]:
    """Find the code, the message and the detail, at the top or in the first of ``errors``."""
    err_code = document.get("err_code")
    message = document.get("msg") or document.get("message")
    detail = document.get("detail")
    nested = document.get("errors")
    if isinstance(nested, list) and nested and isinstance(nested[0], dict):
        err_code = nested[0].get("code") if err_code is None else err_code
        message = message or nested[0].get("message")
        detail = nested[0].get("detail") if detail is None else detail
    return (
        err_code if isinstance(err_code, str | int | float) else None,
        message if isinstance(message, str) else "",
        detail,
    )


def parse_retry_after(value: str, now: Callable[[], float]) -> float | None:
    """Return the seconds that a Retry-After asks for; it holds digits or an HTTP date.

    A date without a zone is taken as UTC; a date in the past means 0. What can't be parsed, or is
    more than a day away, is ignored: None.
    """
    value = value.strip()
    if value.isascii() and value.isdigit():
        seconds = float(value)
    else:
        try:
            date = parsedate_to_datetime(value)
            if date.tzinfo is None:
                date = date.replace(tzinfo=UTC)
            seconds = max(0.0, (date - datetime.fromtimestamp(now(), UTC)).total_seconds())
        except (ValueError, TypeError, OverflowError, IndexError):
            return None
    return seconds if math.isfinite(seconds) and seconds <= _DAY else None


def scrub_error(error: APIError, secrets: list[str]) -> APIError:
    """Return the error without the secrets that the PBX repeated in what it says."""
    err_code, detail = error.err_code, error.detail
    if isinstance(err_code, str) and not _DOTTED.fullmatch(err_code):
        err_code = scrub_text(err_code, secrets)
    if detail is not None:
        try:
            detail = scrub_json(detail, secrets)
        except RecursionError:
            detail = None  # it is nested too deeply to be searched for secrets
    return error.copy(message=scrub_text(error.message, secrets), err_code=err_code, detail=detail)


def check_identity(field: str, shown: object, requested: str, row: Endpoint[Any]) -> None:
    """Check that a reply shows the requested item, before anything is written from it.

    A reply without the field passes.

    Raises:
        ReplyError: the reply shows another item.
    """
    if shown not in (None, "", requested):
        raise ReplyError(
            expected=f"the {field} that was asked for", where=f"$.{field}", operation=row.name
        )


def decode_item(document: dict[str, Any], row: Endpoint[T]) -> T:
    """Decode a document as the reply of a row.

    Raises:
        ReplyError: it cannot be read as one.
    """
    assert row.reply is not None  # noqa: S101 - only rows with a reply are patched
    try:
        return repair(document, row.reply)
    except Unreadable as error:
        unreadable = ReplyError(expected=error.expected, where=error.where, operation=row.name)
        raise_without_context(unreadable)
