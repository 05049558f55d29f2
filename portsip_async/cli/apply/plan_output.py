"""Show a plan of ``extensions apply``, and what became of it: as a diff, or for other programs.

A diff has a line for each new extension, each changed field, and each removal, so that `grep` finds
them by the number. No format shows a password or a pin.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ..fields import HIDDEN
from ..output import Format, Output, coloured, to_json
from ..terminal.streams import print_line, unguarded
from ..terminal.terminal_text import printable
from .plan import Action, Plan, Step

_LONGEST: Final = 60  # characters of a value in a diff
_CONTEXT: Final = 10  # characters of a long value before the first difference
_MAX_FIELDS: Final = 6  # of a new extension in a diff
_SIGNS: Final = {Action.CREATE: "+", Action.CHANGE: "~", Action.REMOVE: "-"}
_CODES: Final = {"+": "32", "~": "33", "-": "31"}  # green, yellow, red
# What became of a step that was carried out.
DONE: Final = {
    Action.CREATE: "created",
    Action.CHANGE: "changed",
    Action.REMOVE: "removed",
}


class StepRow(msgspec.Struct, frozen=True):
    """A step as a line of JSON or CSV."""

    action: str
    extension_number: str
    changes: dict[str, Any]  # by field: its values before and after
    outcome: str | None
    error: str | None


def write_plan(plan: Plan, form: Format, report: str | None = None) -> None:
    """Write a plan to standard output.

    Args:
        plan: the plan, with the outcomes of its steps if it was applied.
        form: a table stands for the diff.
        report: the path of the report; None if there is none.
    """
    if form is Format.TABLE:
        _write_diff(plan)
    elif form is Format.JSON:
        print_line(to_json(_document(plan, report), indent=2))
    else:
        with Output(form).rows(StepRow) as rows:
            for step in plan.steps:
                rows.write({"action": step.action.value, **_row(step)})


def _document(plan: Plan, report: str | None) -> dict[str, Any]:
    return {
        "create": [_row(step) for step in plan.creations],
        "change": [_row(step) for step in plan.changes],
        "remove": [_row(step) for step in plan.removals],
        "unchanged": len(plan.unchanged),
        "kept": plan.kept,
        "errors": [
            {
                "line": row.line,
                "extension_number": row.number or None,
                "error": row.problem,
            }
            for row in plan.errors
        ],
        "report": report,
    }


def _row(step: Step) -> dict[str, Any]:
    return {
        "extension_number": step.number,
        "changes": {
            name: {"before": before, "after": after}
            for name, (before, after) in step.changes.items()
        },
        "outcome": step.outcome or None,
        "error": step.error,
    }


def summary(plan: Plan) -> str:
    """Return what a plan would do, in numbers."""
    parts = [
        f"{len(plan.creations):,} to create",
        f"{len(plan.changes):,} to change",
        f"{len(plan.removals):,} to remove",
        f"{len(plan.unchanged):,} unchanged",
    ]
    parts += [f"{len(plan.errors):,} with errors"] if plan.errors else []
    return ", ".join(parts)


def question(plan: Plan) -> str:
    """Return what a plan would do, as words to confirm."""
    parts = [
        f"{action} {len(steps):,}"
        for action, steps in zip(Action, (plan.creations, plan.changes, plan.removals), strict=True)
        if steps
    ]
    *most, last = parts
    unit = "extension" if len(plan.steps) == 1 else "extensions"
    return f"{', '.join(most)}{' and ' if most else ''}{last} {unit}".capitalize()


def result(plan: Plan) -> str:
    """Return what was done, in numbers."""
    outcomes = [step.outcome for step in plan.steps]
    parts = [f"{outcomes.count(done):,} {done}" for done in DONE.values()]
    others = sorted(set(outcomes) - {*DONE.values()})
    return ", ".join([*parts, *(f"{outcomes.count(other):,} {other}" for other in others)])


def _write_diff(plan: Plan) -> None:
    terminal = sys.stdout.isatty()
    target = unguarded(sys.stdout)  # passes colours on; the lines are printable
    for line in diff(plan):
        code = _CODES.get(line[0])
        if terminal and coloured() and code:
            line = f"\x1b[{code}m{line}\x1b[0m"
        target.write(f"{line}\n")
    target.flush()


def diff(plan: Plan) -> Iterator[str]:
    """Yield the lines of a diff, and the summary."""
    for step in plan.steps:
        head = f"{_SIGNS[step.action]} {printable(step.number)}"
        if step.action is Action.CREATE:
            fields = [f"{name}={_shown(after)}" for name, (_, after) in step.changes.items()]
            more = len(fields) - _MAX_FIELDS
            shown = " ".join(fields[:_MAX_FIELDS]) + (f" and {more} more" if more > 0 else "")
            yield f"{head} (new) {shown}"
        elif step.action is Action.CHANGE:
            for name, (before, after) in step.changes.items():
                yield f"{head} {name}: {_both(before, after)}"
        else:
            yield head + (f" ({printable(step.person)})" if step.person else "")
    for number, reason in plan.kept.items():
        yield f"= {printable(number)} stays: {printable(reason)}"
    yield f"{summary(plan)}."


def _shown(value: Any, since: int = 0) -> str:
    """Return a value on one line, shortened; `since` is the first character that matters."""
    text = _text(value)
    if len(text) <= _LONGEST:
        return text
    start = max(0, since - _CONTEXT)
    part = text[start : start + _LONGEST]
    return ("…" if start else "") + part + ("…" if start + _LONGEST < len(text) else "")


def _both(before: Any, after: Any) -> str:
    """Return two values, each shortened to what differs."""
    pairs = enumerate(zip(_text(before), _text(after), strict=False))
    since = next((at for at, (old, new) in pairs if old != new), 0)
    return f"{_shown(before, since)} -> {_shown(after, since)}"


def _text(value: Any) -> str:
    if value is None:
        return "(none)"
    return HIDDEN if value == HIDDEN else printable(json.dumps(value, ensure_ascii=False))
