"""The PBX that a task works for, where one command works for several."""

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Protocol

# The name of the task's PBX; "" where the command has only one.
pbx_name: ContextVar[str] = ContextVar("pbx", default="")


# What hints name in place of options and variables: keys of the profile in use, if there is one.
names_in_hints: ContextVar[Mapping[str, str]] = ContextVar("names", default=MappingProxyType({}))


def hint_of_profile(text: str) -> str:
    """Return a hint with the names that apply to the profile in use."""
    for name, other in names_in_hints.get().items():
        text = text.replace(name, other)
    return text


class Writer(Protocol):
    """An output of many rows."""

    def write(self, row: Mapping[str, Any]) -> None:
        """Write a row."""

    def end(self) -> None:
        """Complete the output."""


class SharedRows:
    """One output for the rows of several PBXes; each row begins with the name of its PBX.

    Rows are written at once where the format allows that, else in the order of the PBXes.
    """

    def __init__(self, names: Iterable[str], on_open: Callable[[bool], None]) -> None:
        """Store the names of the PBXes.

        Args:
            names: the names.
            on_open: called when the output is opened, with `collects`.
        """
        self._collected: dict[str, list[Mapping[str, Any]]] = {name: [] for name in names}
        self._on_open = on_open
        self._collects = False
        self._writer: Writer | None = None

    def open(self, make: Callable[[], Writer], *, collects: bool) -> "SharedRows":
        """Open the output, unless another PBX has done so.

        Args:
            make: opens the output.
            collects: whether nothing is written before the last row.
        """
        if self._writer is None:
            self._writer = make()
            self._collects = collects
            self._on_open(collects)
        return self

    def write(self, row: Mapping[str, Any]) -> None:
        """Write a row of the task's PBX."""
        name = pbx_name.get()
        named = {"pbx": name, **row}
        if self._collects:
            self._collected[name].append(named)
        elif self._writer is not None:
            self._writer.write(named)

    def end(self) -> None:
        """Complete the output, if it was opened."""
        if self._writer is None:
            return
        for rows in self._collected.values():
            for row in rows:
                self._writer.write(row)
        self._writer.end()


# The output that the tasks share; None where the command has only one PBX.
shared_rows: ContextVar[SharedRows | None] = ContextVar("rows", default=None)


def labelled(text: str) -> str:
    """Return a text with the name of the task's PBX before it, if there are several."""
    name = pbx_name.get()
    return f"{name}: {text}" if name else text
