"""Builds requests: puts the parameters and the token where the endpoint wants them.

Pure: no event loop, no clock, no connection.
"""

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from ..arguments import plain_text
from ..redact import secrets_in
from .endpoint import Endpoint
from .message import Fields, Parameters, Request

TOKEN_NAME: Final = "access_token"
_NO_HEADERS: Final[Mapping[str, str]] = {}
_JSON_HEADERS: Final[Mapping[str, str]] = {"Content-Type": "application/json"}


def _encode_other(value: object) -> str:
    """Encode a type that msgspec does not know: a subclass of str."""
    if isinstance(value, str):
        return plain_text(value)
    raise TypeError(f"a parameter must be a type that JSON can encode, got {type(value).__name__}")


_encode: Final = msgspec.json.Encoder(enc_hook=_encode_other).encode
_decode_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _split(document: bytes) -> Mapping[str, object]:
    """Split a JSON object into its values, each still encoded.

    Raises:
        TypeError: the document is not an object.
    """
    if not document.startswith(b"{"):
        raise TypeError("parameters must have names: pass a mapping or a struct")
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
        form: the fields of a form; None if the body is not one.
    """

    __slots__ = ("_json", "_query", "_token_place", "form")

    def __init__(self, endpoint: Endpoint[Any], parameters: Parameters) -> None:
        """Put the parameters where the endpoint wants them. None is left out of a query.

        Raises:
            TypeError: a value that can't be encoded.
            ValueError: a text that is not valid Unicode.
        """
        self._token_place = endpoint.token
        self._query: Fields = {}
        self._json: Mapping[str, object] | None = None
        self.form: Fields | None = None
        try:
            if endpoint.parameters == "query":
                self._query = _texts(parameters)
            elif endpoint.parameters == "multipart":
                self.form = _texts(parameters)
            else:
                # Encoded here, so that the call itself raises for what can't be sent.
                self._json = _split(_encode(parameters))
        except UnicodeEncodeError:
            pass  # not raised: its repr shows the whole text, which may be a secret
        else:
            return
        raise ValueError(
            f"{endpoint.name}: a text must be valid Unicode, got half of a surrogate pair"
        )

    def request(self, token: str) -> Request:
        """Return the request with a token in it."""
        query, fields, headers = self._query, self._json, _NO_HEADERS
        token, place = plain_text(token), self._token_place
        if place == "query":
            query = {TOKEN_NAME: token, **query}
        elif place == "body":
            fields = {TOKEN_NAME: token, **(fields or {})}
        elif place == "header":
            headers = {TOKEN_NAME: token}
        elif place == "bearer":
            headers = {"Authorization": f"Bearer {token}"}
        if fields is None:
            return Request(query, headers, None)
        headers = {**_JSON_HEADERS, **headers} if headers else _JSON_HEADERS
        return Request(query, headers, _encode(fields))


def secrets_of(parameters: Parameters, token: str | None) -> list[str]:
    """Return the secrets of a call: its token, and every value under a secret name."""
    return [*([plain_text(token)] if token else []), *secrets_in(to_builtins(parameters))]


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
        raise TypeError(f"a parameter must be a str, got {type(value).__name__}; decode it first")
    plain = to_builtins(value)  # a UUID or a date becomes a text
    return plain if isinstance(plain, str) else _encode(plain).decode()
