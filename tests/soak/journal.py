"""Append-only files of JSON lines, so that a run takes no memory and survives its processes."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import msgspec

from portsip_async import ENDPOINTS

T = TypeVar("T")
Outcome = Literal["done", "refused", "in doubt"]

WRITES = tuple(
    name
    for name, row in ENDPOINTS.items()
    if row.safety != "safe" and not name.startswith("account.")
)
TOKEN = "token"  # an entry for a token that the PBX issued
STATUS = "status"  # an entry for statuses that the PBX was ordered to set

_KEYS = {
    "extensions.create": "{extension_number}",
    "extensions.update": "{extension_number} {profile[description]}",
    "extensions.remove": "{extension_number}",
    "extensions.call": "{to}",
    "groups.create": "{group_name}",
    "groups.update": "{group_id} {group_description}",
    "groups.remove": "{group_id}",
    "greetings.upload": "{file[filename]}",
}


class Entry(msgspec.Struct, frozen=True, gc=False):
    """Something that the PBX carried out, with the fields of the request."""

    row: str
    fields: dict[str, Any]

    @property
    def key(self) -> str:
        """What identifies this write among all writes of its row."""
        return _KEYS.get(self.row, "{filename}").format_map(self.fields)


class Write(msgspec.Struct, frozen=True, gc=False):
    """The outcome of a write as the SDK reported it.

    Attributes:
        row: the operation.
        key: what identifies this write among all writes of its row.
        outcome: "in doubt" if it failed and may have been carried out all the same.
        error: the name of the error's class; "" without an error.
    """

    row: str
    key: str
    outcome: Outcome
    error: str = ""


class Journal(Generic[T]):
    """A file of JSON lines."""

    def __init__(self, path: Path, kind: type[T]) -> None:
        """Open the file; cut off the half line of a writer that was killed."""
        self._path = path
        self._decoder = msgspec.json.Decoder(kind)
        self._file = path.open("ab", buffering=0)
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)

    def append(self, item: T) -> None:
        """Write a line; the kernel has it when this returns."""
        self._file.write(msgspec.json.encode(item) + b"\n")

    def __iter__(self) -> Iterator[T]:
        with self._path.open("rb") as lines:
            yield from map(self._decoder.decode, lines)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
