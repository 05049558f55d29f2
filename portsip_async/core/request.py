"""Builds requests: puts the parameters and the token where the endpoint wants them.

Pure: no event loop, no clock, no connection.
"""

from collections.abc import Collection, Mapping
from string import printable
from typing import Any, Final, cast
from urllib.parse import quote, urlencode

import msgspec

from ..arguments import is_visible, plain_text
from ..redact import secrets_in
from .endpoint import Endpoint
from .message import Fields, Parameters, Request

TOKEN_NAME: Final = "access_token"
_NO_HEADERS: Final[Mapping[str, str]] = {}
# The Content-Type of each kind of body, except for a multipart form, which sets its own.
_JSON: Final[Mapping[str, str]] = {"Content-Type": "application/json"}
_FORM: Final[Mapping[str, str]] = {"Content-Type": "application/x-www-form-urlencoded"}
_BINARY: Final[Mapping[str, str]] = {"Content-Type": "application/octet-stream"}
# Texts that are steps in a path, or nothing.
_DOTS: Final = frozenset({"", ".", ".."})


def _encode_other(value: object) -> str:
    """Encode a type that msgspec does not know: a subclass of str."""
    if isinstance(value, str):
        return plain_text(value)
    raise _UnsendableType(f"must be a type that JSON can encode, got {type(value).__name__}")


class _UnsendableType(TypeError):
    """A value can't be sent. The text says why, without the parameter's name."""


_encode: Final = msgspec.json.Encoder(enc_hook=_encode_other).encode
_decode_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _split(document: bytes) -> Mapping[str, object]:
    """Split a JSON object into its values, each still encoded.

    Raises:
        TypeError: the document is not an object.
    """
    if not document.startswith(b"{"):
        raise TypeError("parameters must be a mapping or a struct, got a value without names")
    return _decode_object(document)


def to_builtins(value: object) -> Any:
    """Convert a value to plain JSON types: a str subclass to its text, an enum to its value."""
    if isinstance(value, Mapping):
        return {
            plain_text(name) if isinstance(name, str) else name: to_builtins(item)
            for name, item in value.items()
        }
    return msgspec.to_builtins(value, enc_hook=_encode_other)


class RequestTemplate:
    """The request of a call, without its token. Each attempt adds the current token.

    Attributes:
        form: the fields of a multipart form; None if the body is not one.
    """

    __slots__ = ("_body", "_headers", "_json", "_path", "_query", "_token_place", "form")

    def __init__(self, endpoint: Endpoint[Any], parameters: Parameters) -> None:
        """Put the parameters where the endpoint wants them. None is left out of a query.

        Raises:
            TypeError: a value that can't be encoded, or an argument of the path is missing.
            ValueError: a text that is not valid Unicode, or that can't be part of a path or header.
        """
        self._token_place = endpoint.token
        self._path: str | None = None
        self._query: Fields = {}
        self._headers = _NO_HEADERS
        self._json: Mapping[str, object] | None = None
        self._body: bytes | None = None
        self.form: Fields | None = None
        problem: Exception
        try:
            if endpoint.path_arguments or endpoint.headers or endpoint.rename:
                parameters = self._take_path_and_headers(endpoint, parameters)
            # Encoded here, so that the call itself raises for what can't be sent.
            if endpoint.parameters == "query":
                self._query = _texts(parameters)
            elif endpoint.parameters == "json":
                self._json = _split(_encode(parameters))
                self._headers = {**_JSON, **self._headers} if self._headers else _JSON
            elif endpoint.parameters == "multipart":
                self.form = _texts(parameters)
            elif endpoint.parameters == "form":
                self._body = urlencode(_texts(parameters), doseq=True).encode()
                self._headers = {**_FORM, **self._headers}
            else:
                self._query = _texts(parameters)
                self._headers = {**_BINARY, **self._headers}
        except UnicodeEncodeError:
            # Not raised: its repr shows the whole text, which may be a secret.
            problem = ValueError("must be valid Unicode, got half of a surrogate pair")
        except _UnsendableType as unsendable:
            problem = TypeError(str(unsendable))
        else:
            return
        # Not raised above: that error's frames have the values.
        raise type(problem)(f"{endpoint.name}: {_first_failing(parameters)} {problem}")

    def request(self, token: str) -> Request:
        """Return the request with a token in it."""
        query, fields, headers = self._query, self._json, self._headers
        token, place = plain_text(token), self._token_place
        if place == "query":
            query = {TOKEN_NAME: token, **query}
        elif place == "body":
            fields = {TOKEN_NAME: token, **(fields or {})}
        elif place == "header":
            headers = {**headers, TOKEN_NAME: token}
        elif place == "bearer":
            headers = {**headers, "Authorization": f"Bearer {token}"}
        body = self._body if fields is None else _encode(fields)
        return Request(query, headers, body, self._path)

    def _take_path_and_headers(
        self, endpoint: Endpoint[Any], parameters: Parameters
    ) -> Mapping[str, object]:
        """Put arguments into the path and into headers; return the others as they are sent."""
        if isinstance(parameters, msgspec.Struct):
            parameters = cast("Mapping[str, object]", to_builtins(parameters))
        rename = endpoint.rename
        rest = dict(parameters)
        if rename:
            rest = {rename.get(name, name): value for name, value in rest.items()}
        if endpoint.path_arguments:
            path = endpoint.path
            for name in endpoint.path_arguments:
                text = _single_text(endpoint, name, rest.pop(name, None))
                # A server would read "." and ".." as steps in the path. Other characters with a
                # meaning there are encoded, braces included.
                if text in _DOTS:
                    raise ValueError(f'{endpoint.name}: {name} must not be empty, "." or ".."')
                safe = text.isascii() and text.isalnum()
                path = path.replace(f"{{{name}}}", text if safe else quote(text, safe=""))
            # The arguments are encoded already; the path of the row may hold other characters.
            self._path = path if path.isascii() else quote(path, safe=printable)
        for name, header in endpoint.headers.items():
            text = _single_text(endpoint, name, rest.pop(name, None))
            if not is_visible(text):
                raise ValueError(
                    f"{endpoint.name}: {name} must be visible characters, got another one"
                )
            self._headers = {**self._headers, header: text}
        return rest


def _first_failing(parameters: Parameters) -> str:
    """Return the name of the first parameter that can't be encoded, for a message."""
    if isinstance(parameters, msgspec.Struct):
        names = parameters.__struct_fields__
        items = [(name, getattr(parameters, name)) for name in names]
    else:
        items = [*parameters.items()]
    for name, value in items:
        try:
            _encode((name, value))
            _text(value)
        except (TypeError, UnicodeEncodeError):
            return ascii(name)[1:-1]
    return "a parameter"


def _single_text(endpoint: Endpoint[Any], name: str, value: object) -> str:
    """Return an argument of a path or a header as text.

    Raises:
        TypeError: it is missing, or not a single value.
    """
    if value is None:
        raise TypeError(f"{endpoint.name}: {name} is missing")
    # A text first: `isinstance` is slow with an abstract class such as Mapping.
    if not isinstance(value, str) and isinstance(value, (Mapping, msgspec.Struct, *_ARRAYS)):
        raise TypeError(
            f"{endpoint.name}: {name} must be a single value, got {type(value).__name__}"
        )
    return _text(value)


def secrets_of(parameters: Parameters, token: str | None, names: Collection[str] = ()) -> list[str]:
    """Return the secrets of a call.

    Args:
        parameters: what the call sends; every value under a secret name is a secret.
        token: the token that it was sent with, or None.
        names: further names of secrets.
    """
    plain = to_builtins(parameters)
    further = {name: plain[name] for name in names if name in plain}
    return [
        *([plain_text(token)] if token else []),
        *secrets_in(plain),
        *secrets_in({"secret": [*further.values()]} if further else {}),
    ]


# A tuple, because `isinstance` with `A | B` builds a new union at each call.
_ARRAYS = (list, tuple, set, frozenset)


def _texts(parameters: Parameters) -> Fields:
    """Return parameters as the texts of a query or a form, without those that are None."""
    if isinstance(parameters, msgspec.Struct):
        parameters = cast("Mapping[str, object]", to_builtins(parameters))
    "".join(parameters).encode()  # refuses half of a surrogate pair in a name
    return {
        plain_text(name): [_text(item) for item in value]
        if isinstance(value, _ARRAYS)
        else _text(value)
        for name, value in parameters.items()
        if value is not None
    }


def _text(value: object) -> str:
    if type(value) is int:
        return str(value)  # 2 us less than below, for each number of a page's query
    if isinstance(value, str):
        if not value.isascii():
            value.encode()  # refuses half of a surrogate pair before anything is sent
        return plain_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        raise _UnsendableType(f"must be a str, got {type(value).__name__}; decode it first")
    plain = to_builtins(value)  # a UUID or a date becomes a text
    return plain if isinstance(plain, str) else _encode(plain).decode()
