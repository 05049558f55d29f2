"""What the simulated PBX carried out, line by line in a file that outlives the PBX's process.

A line is written as the operation acts, before its reply is sent. A process that is killed in
between two lines loses nothing: what has no line was answered to nobody, and its effect died with
the process. Whoever comes after it begins with the journal's lines.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
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

    @property
    def subject(self) -> str:
        """What a write of an extension or of a greeting works on."""
        return self.key if self.row.startswith("greetings.") else self.given["extension_number"]


class _Checkpoint(msgspec.Struct):
    """What the lines up to an offset come to."""

    offset: int = 0
    entries: list[Entry] = msgspec.field(default_factory=list)


class Journal:
    """The file; its writer is one process at a time.

    Beside it stands a checkpoint, so that hours of lines need not be read again at each start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._checkpoint = path.with_suffix(".checkpoint")
        self._file = -1

    def open(self) -> list[Entry]:
        """Begin to write, and answer what has to be done again; half a line is cut off."""
        past = _Checkpoint()
        if self._checkpoint.exists():
            past = msgspec.json.decode(self._checkpoint.read_bytes(), type=_Checkpoint)
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        fresh = b""
        while block := os.pread(self._file, 2**24, past.offset + len(fresh)):
            fresh += block
        fresh = fresh[: fresh.rfind(b"\n") + 1]
        end = past.offset + len(fresh)
        os.ftruncate(self._file, end)
        now = _Checkpoint(end, lasting([*past.entries, *_read(fresh.splitlines())]))
        half_done = self._checkpoint.with_suffix(".new")
        half_done.write_bytes(msgspec.json.encode(now))
        half_done.replace(self._checkpoint)
        return now.entries

    def write(self, row: str, given: Mapping[str, Any]) -> None:
        """Add a line; it is in the kernel's hands once this returns."""
        os.write(self._file, msgspec.json.encode(Entry(row, dict(given))) + b"\n")

    def __iter__(self) -> Iterator[Entry]:
        with self._path.open("rb") as lines:
            yield from _read(lines)


def lasting(entries: Iterable[Entry]) -> list[Entry]:
    """Leave out what made no lasting difference, such as all about an extension that is gone."""
    kept: dict[tuple[str, str], Entry] = {}
    statuses: dict[str, str] = {}
    for at, entry in enumerate(entries):
        kind, _, what = entry.row.partition(".")
        if entry.row == STATUS:
            statuses |= entry.given
        elif kind == "groups":
            kept[kind, str(at)] = entry  # a group's id follows from how many were made before
        elif what == "remove":
            for made in ("create", "update", "upload", "add", "setup"):
                kept.pop((f"{kind}.{made}", entry.subject), None)
        elif entry.row in WRITES and what != "call":
            kept[entry.row, entry.subject] = entry
    return [*kept.values(), Entry(STATUS, statuses)]


def _read(lines: Iterable[bytes]) -> Iterator[Entry]:
    return (msgspec.json.decode(line, type=Entry) for line in lines)


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
