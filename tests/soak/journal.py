"""What the simulated PBX carried out, line by line in a file that outlives the PBX's process.

A line is written as the operation acts, before its reply is sent. A process that is killed in
between two lines loses nothing: what has no line was answered to nobody, and its effect died with
the process. Whoever comes after it begins with the journal's lines.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from portsip_async import ENDPOINTS

WRITES = tuple(
    name
    for name, row in ENDPOINTS.items()
    if row.safety != "safe" and not name.startswith("account.")
)
TOKEN = "token"  # the row of a token that was issued
STATUS = "status"  # the row of a number's status that was set


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One line: what was done, and with what."""

    row: str
    given: dict[str, Any]

    @property
    def key(self) -> str:
        """What tells this write from every other one of its row."""
        return _key(self.row, self.given)


class Journal:
    """The file; its writer is one process at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def open(self) -> list[Entry]:
        """Begin to write, behind what is there, and answer that; half a line is cut off."""
        entries = list(self)
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        size = os.fstat(self._file).st_size
        whole = os.pread(self._file, size, 0).rfind(b"\n") + 1
        os.ftruncate(self._file, whole)
        return entries

    def write(self, row: str, given: Mapping[str, Any]) -> None:
        """Add a line; it is in the kernel's hands once this returns."""
        os.write(self._file, msgspec.json.encode(Entry(row, dict(given))) + b"\n")

    def __iter__(self) -> Iterator[Entry]:
        if not self._path.exists():
            return
        with self._path.open("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    yield msgspec.json.decode(line, type=Entry)


def _key(row: str, given: Mapping[str, Any]) -> str:
    match row:
        case "extensions.create" | "extensions.remove":
            return str(given["extension_number"])
        case "extensions.update":
            return f"{given['extension_number']} {given['profile']['description']}"
        case "extensions.call":
            return str(given["to"])
        case "groups.create":
            return str(given["group_name"])
        case "groups.update":
            return f"{given['group_id']} {given['group_description']}"
        case "groups.remove":
            return str(given["group_id"])
    return str(given.get("filename") or given["file"]["filename"])
