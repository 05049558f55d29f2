"""What goes over the wire, as plain data: a request, a reply, and where an upload comes from."""

from collections.abc import AsyncGenerator, Mapping
from typing import Protocol, TypeAlias

import msgspec

FieldValue: TypeAlias = str | list[str]
Fields: TypeAlias = dict[str, FieldValue]
# What an operation takes, by the names of the API.
Parameters: TypeAlias = Mapping[str, object] | msgspec.Struct


class Request(msgspec.Struct, eq=False):
    """The parts of an HTTP request that differ from call to call.

    Attributes:
        query: the parameters of the URL.
        headers: those that this request needs.
        body: the whole body; None if there is none, or if it is a form.
    """

    query: Fields
    headers: Mapping[str, str]
    body: bytes | None

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
    """What an upload streams from.

    Attributes:
        size: how many bytes `chunks` yields; None if only the end will tell.
    """

    size: int | None

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """Read all bytes, from the start."""
        ...
