"""The wire format: how a request is built, and how a reply is judged.

Pure: no loop, no clock, no connection. Where things go (token, parameters) is read from the
endpoint; the rules that vary by case stand in tables.
"""

import math
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast
from urllib.parse import parse_qsl

import msgspec

from ..arguments import plain_text
from ..errors import (
    APIError,
    AuthenticationError,
    BadRequest,
    Conflict,
    NotFound,
    PermissionDenied,
    PortSIPError,
    RateLimited,
    ReplyError,
    ServerError,
)
from ..redact import scrub_text, secrets_in
from .decode import Decoder, Unreadable, parse
from .echo import as_asked
from .endpoint import Endpoint, ParameterPlace, TokenPlace
from .retry import Fault

T = TypeVar("T")

TOKEN_NAME: Final = "access_token"
_JSON_HEADERS: Final[Mapping[str, str]] = {"Content-Type": "application/json"}
_NO_HEADERS: Final[Mapping[str, str]] = {}
_NO_PARAMETERS: Final[Mapping[str, object]] = {}
_DAY: Final = 86_400.0


def _plain(value: object) -> str:
    """Encode what msgspec doesn't know: a str subclass."""
    if isinstance(value, str):
        return plain_text(value)
    raise TypeError(f"a parameter can't be a {type(value).__name__}")


_encode: Final = msgspec.json.Encoder(enc_hook=_plain).encode


def builtins_of(value: object) -> Any:
    """Bring a value to plain JSON types; a str subclass to its text, an enum to its value."""
    if isinstance(value, Mapping):
        return {
            plain_text(name) if isinstance(name, str) else name: builtins_of(item)
            for name, item in value.items()
        }
    return msgspec.to_builtins(value, enc_hook=_plain)


FieldValue: TypeAlias = str | list[str]
Query: TypeAlias = str | dict[str, FieldValue]
Parameters: TypeAlias = Mapping[str, object] | msgspec.Struct


class Request(msgspec.Struct, eq=False):
    """What is sent: the parts of an HTTP request that vary from call to call.

    Attributes:
        query: as text where nothing in it needs quoting.
        headers: those of its own.
        body: the whole body; None where there is none, or where it is a form.
    """

    query: Query
    headers: Mapping[str, str]
    body: bytes | None

    def __repr__(self) -> str:
        return "Request()"  # all of it may be secret


class Draft:
    """A call's request before its token: built once a call, finished anew on each attempt."""

    __slots__ = ("_body", "_query", "_token", "fields")

    def __init__(self, endpoint: Endpoint[Any], parameters: Parameters) -> None:
        """Encode the parameters where the endpoint wants them; a query has no place for None.

        Raises:
            TypeError: a value that can't be encoded.
            ValueError: text that is no Unicode, or parameters that don't fit their place.
        """
        self._token = _PLACE_TOKEN[endpoint.token]
        self._query: Query = ""
        self._body: bytes | None = None
        self.fields: dict[str, FieldValue] | None = None
        try:
            _PLACE_PARAMETERS[endpoint.parameters](self, parameters)
        except UnicodeEncodeError:  # its repr shows the whole text, which may be a secret
            pass
        else:
            return
        raise ValueError(f"{endpoint.name}: a text holds half of a surrogate pair")

    def request(self, token: str) -> Request:
        """Finish the request with a token."""
        return self._token(self, plain_text(token))

    def _into_query(self, parameters: Parameters) -> None:
        self._query = _query(parameters)

    def _into_fields(self, parameters: Parameters) -> None:
        self.fields = _texts(parameters)

    def _into_json(self, parameters: Parameters) -> None:
        self._body = _encode(parameters)
        if not self._body.startswith(b"{"):
            raise TypeError("parameters in JSON are named")

    def _token_in_query(self, token: str) -> Request:
        query = self._query
        if isinstance(query, str):
            if _is_plain(token):
                rest = f"&{query}" if query else ""
                return Request(f"{TOKEN_NAME}={token}{rest}", self._headers(), self._body)
            query = {**dict(parse_qsl(query, keep_blank_values=True))}
        return Request({TOKEN_NAME: token, **query}, self._headers(), self._body)

    def _token_in_body(self, token: str) -> Request:
        # Splicing costs a thirtieth of encoding a batch of 100 numbers anew.
        rest = self._body or b"{}"
        comma = b"" if rest == b"{}" else b","
        head = b'{"access_token":' + _encode(token)
        return Request(self._query, _JSON_HEADERS, head + comma + rest[1:])

    def _token_in_header(self, token: str) -> Request:
        return Request(self._query, {**self._headers(), TOKEN_NAME: token}, self._body)

    def _token_as_bearer(self, token: str) -> Request:
        headers = {**self._headers(), "Authorization": f"Bearer {token}"}
        return Request(self._query, headers, self._body)

    def _no_token(self, _: str) -> Request:
        return Request(self._query, self._headers(), self._body)

    def _headers(self) -> Mapping[str, str]:
        return _NO_HEADERS if self._body is None else _JSON_HEADERS


_PLACE_TOKEN: dict[TokenPlace, Callable[[Draft, str], Request]] = {
    "query": Draft._token_in_query,
    "body": Draft._token_in_body,
    "header": Draft._token_in_header,
    "bearer": Draft._token_as_bearer,
    "none": Draft._no_token,
}
_PLACE_PARAMETERS: dict[ParameterPlace, Callable[[Draft, Parameters], None]] = {
    "query": Draft._into_query,
    "json": Draft._into_json,
    "multipart": Draft._into_fields,
}


_UNRESERVED = re.compile(r"[\w.~-]*", re.ASCII)
# A tuple: `isinstance` with `A | B` builds the union anew at each call.
_ARRAYS = (list, tuple, set, frozenset)


def _query(parameters: Parameters) -> Query:
    """Write a query; as text where nothing in it needs quoting, which takes 2 µs less of 100."""
    pairs: list[str] = []
    for name, value in _named(parameters).items():
        text = str(value) if type(value) is int else value
        if type(name) is not str or type(text) is not str:
            return _texts(parameters)
        if not (_is_plain(text) and _is_plain_name(name)):
            return _texts(parameters)
        pairs.append(f"{name}={text}")
    return "&".join(pairs)


def _is_plain(text: str) -> bool:
    """Tell what reads the same quoted and unquoted."""
    return text.isascii() and (text.isalnum() or _UNRESERVED.fullmatch(text) is not None)


# Names are few, and the same in each call.
_is_plain_name = lru_cache(maxsize=256)(_is_plain)


def _texts(parameters: Parameters) -> dict[str, FieldValue]:
    named = _named(parameters)
    "".join(named).encode()  # half of a surrogate pair in a name is refused too
    return {
        plain_text(name): [_text(item) for item in value]
        if isinstance(value, _ARRAYS)
        else _text(value)
        for name, value in named.items()
        if value is not None
    }


def _named(parameters: Parameters) -> Mapping[str, object]:
    if isinstance(parameters, msgspec.Struct):
        return cast("Mapping[str, object]", builtins_of(parameters))
    return parameters


def _text(value: object) -> str:
    if isinstance(value, str):
        if not value.isascii():
            value.encode()  # a lone surrogate is refused here, before anything is sent
        return plain_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("a parameter is no bytes")
    plain = builtins_of(value)  # a UUID or a date is a text
    return plain if isinstance(plain, str) else _encode(plain).decode()


class Reply(msgspec.Struct, eq=False):
    """What came back: an HTTP status, the headers, and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"Reply(status={self.status})"  # the body may hold secrets


class Judge(Generic[T]):
    """Reads the replies to one endpoint.

    Where the reply's type has a field for `err_code`, an error inside a 200 costs nothing to see;
    for other types the body is searched for the name, which costs 7 µs for 20 KB.
    """

    __slots__ = ("_decode", "_endpoint", "_error_field")

    def __init__(self, endpoint: Endpoint[T]) -> None:
        self._endpoint = endpoint
        self._decode = None if endpoint.reply is None else Decoder(endpoint.reply).read
        names: tuple[str, ...] = getattr(endpoint.reply, "__struct_encode_fields__", ())
        fields: tuple[str, ...] = getattr(endpoint.reply, "__struct_fields__", ())
        self._error_field = dict(zip(names, fields, strict=True)).get("err_code")

    def read(
        self, reply: Reply, now: Callable[[], float], parameters: Parameters = _NO_PARAMETERS
    ) -> T:
        """Answer what the reply holds.

        Args:
            reply: the whole reply.
            now: the time of day, in seconds since the epoch, for a Retry-After that is a date.
            parameters: what the request asked for, since a reply may spell it in another way.

        Raises:
            APIError: the PBX answered with an error; its texts are not scrubbed yet.
            ReplyError: the reply does not have the type that the operation returns.
        """
        if not 200 <= reply.status < 300:
            raise _api_error(reply, _object(reply.body), now, self._endpoint)
        unreadable: Unreadable
        try:
            if self._decode is None:
                return cast(T, self._nothing(reply, now))
            value, repaired = self._decode(reply.body)
            if self._error_field is not None:
                failed = _is_error(getattr(value, self._error_field))
            else:
                failed = b"err_code" in reply.body
            if failed:
                document = _object(reply.body)
                if _is_error(document.get("err_code")):
                    raise _api_error(reply, document, now, self._endpoint)
            if self._endpoint.echo is None:
                return value
            return as_asked(value, repaired, self._endpoint.echo, parameters)
        except Unreadable as error:
            unreadable = error
        document = _object(reply.body)
        if _is_error(document.get("err_code")):
            raise _api_error(reply, document, now, self._endpoint)
        raise ReplyError(expected=unreadable.expected, where=unreadable.where)

    def _nothing(self, reply: Reply, now: Callable[[], float]) -> Any:
        """Take an empty body, ``{}``, ``null`` and any other JSON without an error for success."""
        if reply.body.strip() not in (b"", b"{}", b"null"):
            document = parse(reply.body)
            if isinstance(document, dict) and _is_error(document.get("err_code")):
                raise _api_error(reply, document, now, self._endpoint)
        return None


def _is_error(err_code: object) -> bool:
    return err_code not in (None, "", 0, "0")


def _object(body: bytes) -> dict[str, Any]:
    """Read an error's body as an object; what is none (HTML, nothing) reads as an empty one."""
    try:
        document = parse(body)
    except Unreadable:
        return {}
    return document if isinstance(document, dict) else {}


_BY_CODE: dict[str, type[APIError]] = {
    "400.1": BadRequest,
    "400.2": BadRequest,
    "401.1": AuthenticationError,
    "401.2": AuthenticationError,
    "403.1": PermissionDenied,
    "403.2": Conflict,
    "403.3": Conflict,
    "403.4": AuthenticationError,
    "403.5": RateLimited,
    "404.1": NotFound,
    "404.2": NotFound,
    "404.3": NotFound,
    "500": ServerError,
    "503": ServerError,
}
_BY_STATUS: dict[int, type[APIError]] = {
    400: BadRequest,
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    422: BadRequest,
    429: RateLimited,
}
_WRONG_CREDENTIALS = frozenset({"401.1", "401.2"})
_DOTTED = re.compile(r"\d{1,3}(\.\d{1,2})?")
_SPEAKS_OF_TOKEN = re.compile(r"access[ _-]?token", re.IGNORECASE)


def _api_error(
    reply: Reply, document: dict[str, Any], now: Callable[[], float], endpoint: Endpoint[Any]
) -> APIError:
    err_code, message = _told(document)
    code = "" if err_code is None else str(err_code)
    status = reply.status
    kind = _BY_CODE.get(code) or _by_status(status if status >= 300 else _leading(code))
    rejected = endpoint.token != "none" and (
        code == "403.4"
        or (401 in (status, _leading(code)) and code not in _WRONG_CREDENTIALS)
        or (
            status in (400, 403)
            and kind is not RateLimited
            and bool(_SPEAKS_OF_TOKEN.search(message))
        )
    )
    if 300 <= status < 400 and not message:
        message = "redirects are not followed"
    error = (AuthenticationError if rejected else kind)(
        message,
        status=status,
        err_code=err_code,
        retry_after=seconds_to_wait(reply.headers.get("Retry-After", ""), now),
    )
    error.is_page = not document and _is_page(reply.body)
    if isinstance(error, AuthenticationError):
        error.token_rejected = rejected
    return error


def _is_page(body: bytes) -> bool:
    """Check whether an error's body is neither empty nor JSON, whatever it is labelled as."""
    if not body.removeprefix(BOM_UTF8).strip():
        return False
    try:
        parse(body)
    except Unreadable:
        return True
    return False


def _told(document: dict[str, Any]) -> tuple[str | int | float | None, str]:
    """Find the code and the message, also where a later version nests them in ``errors``."""
    err_code = document.get("err_code")
    message = document.get("msg") or document.get("message")
    nested = document.get("errors")
    if isinstance(nested, list) and nested and isinstance(nested[0], dict):
        err_code = nested[0].get("code") if err_code is None else err_code
        message = message or nested[0].get("message")
    return (
        err_code if isinstance(err_code, str | int | float) else None,
        message if isinstance(message, str) else "",
    )


def _by_status(status: int) -> type[APIError]:
    return ServerError if 500 <= status < 600 else _BY_STATUS.get(status, APIError)


def _leading(code: str) -> int:
    head = code.split(".", 1)[0]
    return int(head) if len(head) == 3 and head.isascii() and head.isdigit() else 0


def seconds_to_wait(value: str, now: Callable[[], float]) -> float | None:
    """Read a Retry-After: digits or an HTTP date, in seconds from now.

    A date without a zone is taken as UTC, one that is past as 0. What is unreadable, or lies
    beyond a day, is ignored: None.
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


def fault_of(error: PortSIPError) -> Fault:
    """Tell what a judged reply means for repeating."""
    if isinstance(error, ReplyError):
        return Fault.UNREADABLE
    if isinstance(error, RateLimited):
        return Fault.LIMITED
    if isinstance(error, ServerError):
        busy = error.status == 503 and error.retry_after is not None
        return Fault.BUSY if busy else Fault.FAILED
    if isinstance(error, APIError) and error.status == 408:
        return Fault.STALLED
    return Fault.REFUSED


def secrets_of(parameters: Parameters, token: str | None) -> list[str]:
    """List what must not be told of a call: its token, and every value under a secret name."""
    return [*([plain_text(token)] if token else []), *secrets_in(builtins_of(parameters))]


def scrub_error(error: APIError, secrets: list[str]) -> APIError:
    """Hide secrets that the PBX repeated in its message or code."""
    err_code = error.err_code
    if isinstance(err_code, str) and not _DOTTED.fullmatch(err_code):
        err_code = scrub_text(err_code, secrets)
    clean = type(error)(
        scrub_text(error.message, secrets),
        status=error.status,
        err_code=err_code,
        retry_after=error.retry_after,
    )
    clean.is_page = error.is_page
    if isinstance(clean, AuthenticationError) and isinstance(error, AuthenticationError):
        clean.token_rejected = error.token_rejected
    return clean
