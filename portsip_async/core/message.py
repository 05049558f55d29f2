"""Requests, replies and the sources of uploads, as plain data."""

from collections.abc import AsyncGenerator, Mapping
from typing import Generic, Protocol, TypeAlias, TypeVar

import msgspec

T = TypeVar("T")

FieldValue: TypeAlias = str | list[str]
Fields: TypeAlias = dict[str, FieldValue]
# The parameters of an operation, under the API's names.
Parameters: TypeAlias = Mapping[str, object] | msgspec.Struct


class Request(msgspec.Struct, eq=False):
    """The parts of an HTTP request that differ from call to call.

    Attributes:
        query: the parameters of the URL.
        headers: the headers that this request needs.
        body: the whole body; None if there is none, or if it is streamed.
        path: the path below the base URL, percent-encoded; None if it is the endpoint's own.
    """

    query: Fields
    headers: Mapping[str, str]
    body: bytes | None
    path: str | None = None

    def __repr__(self) -> str:
        return "Request()"  # any part of it may be secret


class Reply(msgspec.Struct, eq=False):
    """A whole HTTP reply."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"Reply(status={self.status})"  # the body may hold secrets


class RawReply(msgspec.Struct, Generic[T], frozen=True, eq=False):
    """A reply as it arrived, and what was read from it; the repr shows its status and size.

    Attributes:
        status: the HTTP status, from 200 to 299.
        headers: all headers, secrets included. Names match in any case, and the values of a header
            that occurs several times are joined with ``, ``.
        body: the body, decompressed.
        data: what the call returns without ``raw=True``.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    data: T

    def __repr__(self) -> str:
        return f"<RawReply {self.status}, {len(self.body)} bytes>"  # the rest may hold secrets


class ByteSource(Protocol):
    """The source of an upload.

    Attributes:
        size: how many bytes `chunks` yields; None if that is not known before the end.
    """

    size: int | None

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """Read all bytes, from the start."""
        ...
