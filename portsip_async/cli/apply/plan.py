"""What ``extensions apply`` would do: the rows of a file, compared with the extensions of a PBX.

- Only the fields that a row names are compared. An extension keeps all other settings.
- Passwords and pins are for new extensions. A PBX need not show them, and the people who use them
  change them, so those of an extension that exists are neither compared nor sent.
- An empty text or list, and a field that the PBX does not show, are the same.
- What the file lacks is removed only if the user asks for it.

Pure: no I/O.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ..fields import HIDDEN, SECRETS, flat, nested, without_nulls
from ..files.import_file import Columns, Row, new_extension


class Action(StrEnum):
    """What a step does to an extension."""

    CREATE = "create"
    CHANGE = "change"
    REMOVE = "remove"


@dataclass(slots=True)
class Step:
    """A write that makes an extension what the file says.

    Attributes:
        action: what it does.
        number: the number of the extension.
        row: the row of the file; None for a removal.
        changes: the values before and after, by dotted names; secrets are hidden.
        settings: the settings to send, in their sections. A new extension is in its row.
        person: the name of who loses an extension; "" if it is not known.
        outcome: what became of it; "" before it was tried.
        error: why it failed; None if it did not.
    """

    action: Action
    number: str
    row: Row | None = None
    changes: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict, repr=False)
    person: str = ""
    outcome: str = ""
    error: str | None = None

    @property
    def key(self) -> str:
        """Its name in messages."""
        return self.number if self.row is None else self.row.key


@dataclass(slots=True)
class Plan:
    """The steps that make a PBX what a file says, in the order in which they are carried out.

    Attributes:
        creations: the extensions to create.
        changes: the extensions to change.
        removals: the extensions to remove.
        unchanged: the rows that are what the PBX has already.
        errors: the rows that can't be applied, each with its problem.
        kept: extensions that the file lacks and that are not removed, and why.
    """

    creations: list[Step] = field(default_factory=list)
    changes: list[Step] = field(default_factory=list)
    removals: list[Step] = field(default_factory=list)
    unchanged: list[Row] = field(default_factory=list)
    errors: list[Row] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)

    @property
    def steps(self) -> list[Step]:
        """All steps, in their order."""
        return [*self.creations, *self.changes, *self.removals]


def is_secret(name: str) -> bool:
    """Return whether a dotted name is that of a password or a pin."""
    return name.rpartition(".")[2] in SECRETS


def compared(row: Row) -> list[str]:
    """Return the fields of a row that are compared with those of an extension that exists."""
    return [name for name in row.values or () if name != "extension_number" and not is_secret(name)]


def make_plan(
    rows: Iterable[Row],
    existing: Mapping[str, Mapping[str, Any]],
    known: Columns,
    changeable: Collection[str],
) -> Plan:
    """Compare rows with the extensions that exist. Removals are added by `prune`.

    Args:
        rows: the rows of the file. A row that can't be applied gets its `problem`, and one to
            create its `new`.
        existing: by number, the fields of the extensions that exist, by dotted names.
        known: what a file may hold.
        changeable: the fields of an extension that can be changed.
    """
    plan = Plan()
    for row in rows:
        if row.document is None:
            plan.errors.append(row)
            continue
        before = existing.get(row.number)
        try:
            step = _creation(row, known) if before is None else _change(row, before, changeable)
        except ValueError as error:
            row.problem = f"is new, and {error}" if before is None else str(error)
            plan.errors.append(row)
            continue
        if step.action is Action.CREATE:
            plan.creations.append(step)
        elif step.changes:
            plan.changes.append(step)
        else:
            plan.unchanged.append(row)
    return plan


def prune(
    plan: Plan, rows: Iterable[Row], listed: Mapping[str, str], kept: Mapping[str, str]
) -> None:
    """Add the removals of the extensions that a file lacks.

    Args:
        plan: the plan to add to. It has no errors, which may hide numbers of the file.
        rows: the rows of the file.
        listed: the numbers that exist, each with the name of who has it.
        kept: numbers that are not removed, and why.

    Raises:
        ValueError: the plan has errors.
    """
    if plan.errors:
        raise ValueError("a file with errors can't say what to remove")
    wanted = {row.number for row in rows}
    for number, person in listed.items():
        if number in wanted:
            continue
        if number in kept:
            plan.kept[number] = kept[number]
        else:
            plan.removals.append(Step(Action.REMOVE, number, person=person))


def _creation(row: Row, known: Columns) -> Step:
    assert row.document is not None  # noqa: S101 - checked by the caller
    row.new = new_extension(row.document, known)
    step = Step(Action.CREATE, row.number, row)
    for name, value in (row.values or {}).items():
        if name != "extension_number":
            step.changes[name] = (None, HIDDEN if is_secret(name) else value)
    return step


def _change(row: Row, before: Mapping[str, Any], changeable: Collection[str]) -> Step:
    assert row.document is not None  # noqa: S101 - checked by the caller
    assert row.values is not None  # noqa: S101 - a row with a document has values
    step = Step(Action.CHANGE, row.number, row)
    sent = flat(row.document)
    settings: dict[str, Any] = {}
    for name in compared(row):
        old, new = before.get(name), row.values[name]
        if old == new or _normal(old) == _normal(new):
            continue
        if name not in changeable:
            raise ValueError(f"has another {name} than the PBX, which can't be changed")
        step.changes[name] = (old, new)
        settings[name] = without_nulls(sent[name])
    step.settings = nested(settings)
    return step


def _normal(value: Any) -> Any:
    """Return a value such that equal settings are equal: whatever is blank becomes None."""
    if isinstance(value, Mapping):
        found = {name: _normal(item) for name, item in value.items()}
        return {name: item for name, item in found.items() if item is not None} or None
    if isinstance(value, list | tuple):
        return [_normal(item) for item in value] or None
    return None if value == "" else value
