"""What a shell completes beside the names of commands and options: columns, fields, settings.

Nothing is asked of a PBX. The generation is that of ``--api`` or PORTSIP_API; if neither is given,
the names of both are offered.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, Final

import msgspec
import typer

from .. import StatusChange
from .fields import choices_of, dotted
from .fleet.rows import EVENT_ROW, PBXRow
from .pbx.generation import PBX, Api, Record, kind_of


def _change_of(state: Any) -> Any:
    return StatusChange[state]


# The type of the rows that each command writes.
_ROWS: Final[Mapping[tuple[str, str], Callable[[type[PBX]], Any]]] = {
    ("extensions", "list"): lambda kind: kind.summary_with_state or kind.summary,
    ("extensions", "search"): lambda kind: kind.summary_with_state or kind.summary,
    ("extensions", "show"): lambda kind: kind.record,
    ("extensions", "status"): lambda kind: kind.state,
    ("extensions", "watch"): lambda kind: _change_of(kind.state),
    ("groups", "list"): lambda kind: kind.group_summary,
    ("groups", "show"): lambda kind: kind.group,
    ("groups", "create"): lambda kind: kind.created_group,
    ("greetings", "list"): lambda kind: kind.greeting,
    ("fleet", "status"): lambda _: PBXRow,
    ("fleet", "changes"): lambda _: EVENT_ROW,
}
_ENDPOINTS: Final = {Api.CLASSIC: "..", Api.V22: "..v22"}  # the packages that list them
_SORT_ORDERS: Final = ("DEFAULT", "Optional")


def complete_columns(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the last name of a list of columns."""
    before, comma, last = incomplete.rpartition(",")
    used = before.split(",")
    names = [name for name in _names(ctx) if name not in used]
    return [f"{before}{comma}{name}" for name in _starting(last, names)]


def complete_filter(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the field of a condition, or behind ``=`` its value."""
    field, equals, start = incomplete.partition("=")
    if not equals:
        return [f"{name}=" for name in _starting(incomplete, _names(ctx))]
    values: list[str] = []
    for model in _models(ctx):
        if field.rstrip("!") in dotted(model):
            values += choices_of(model, field.rstrip("!"))
    return [f"{field}={value}" for value in _starting(start, dict.fromkeys(values))]


def complete_order(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the field to sort by, which only v22 has."""
    group = _command(ctx)[0]
    kind = kind_of(Api.V22)
    return _starting(incomplete, dotted(kind.group_summary if group == "groups" else kind.summary))


def complete_sort(incomplete: str) -> list[str]:
    """Complete the sort order of the classic generation."""
    return _starting(incomplete, _SORT_ORDERS)


def complete_setting(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a setting that ``create`` or ``update`` takes."""
    updates = _command(ctx)[1] == "update"
    names: list[str] = []
    for kind in map(kind_of, _generations(ctx)):
        names += (kind.changes if updates else kind.settings).names
    return [f"{name}=" for name in _starting(incomplete, dict.fromkeys(names))]


def complete_endpoint(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of an operation."""
    names: list[str] = []
    for api in _generations(ctx):
        names += import_module(_ENDPOINTS[api], __package__).ENDPOINTS
    return [f"{name}=" for name in _starting(incomplete, dict.fromkeys(names))]


def _starting(start: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(start)]


def _names(ctx: typer.Context) -> list[str]:
    """List the columns of a command's rows."""
    return list(dict.fromkeys(name for model in _models(ctx) for name in dotted(model)))


def _models(ctx: typer.Context) -> list[type[msgspec.Struct]]:
    row = _ROWS.get(_command(ctx))
    found: list[Record] = [row(kind_of(api)) for api in _generations(ctx)] if row else []
    return found


def _command(ctx: typer.Context) -> tuple[str, str]:
    """Return the names of a command and of its group."""
    group = ctx.parent.command.name if ctx.parent is not None else None
    return group or "", ctx.command.name or ""


def _generations(ctx: typer.Context) -> list[Api]:
    given = ctx.params.get("api") or os.environ.get("PORTSIP_API") or ""
    return [api for api in _ENDPOINTS if given == api] or list(_ENDPOINTS)
