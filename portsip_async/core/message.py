"""Requests, replies and the sources of uploads, as plain data."""

from collections.abc import AsyncGenerator, Mapping
from typing import Protocol, TypeAlias

import msgspec

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


class ByteSource(Protocol):
    """The source of an upload.

    Attributes:
        size: how many bytes `chunks` yields; None if that is not known before the end.
    """

    size: int | None

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """Read all bytes, from the start."""
        ...
