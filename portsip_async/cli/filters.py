"""``--filter`` of the commands that list: which rows to show.

A condition such as ``status=ON_CALL`` is compared with rows that were read. Anything else is an
expression of OData, which a PBX of v22 evaluates itself. In OData, no name is followed by ``=``,
``!=`` or ``~``, so the two can't be confused.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

import typer

from .fields import choices_of, did_you_mean, dotted, read_value, value_at
from .output import csv_cell
from .pbx.generation import Record

_CONDITION: Final = re.compile(r"\s*([A-Za-z_][A-Za-z_.]*)\s*(==?|!=|~)(.*)", re.DOTALL)
_OPTION: Final = "'--filter'"


@dataclass(frozen=True)
class Condition:
    """What the value of one field must be; capitals don't matter."""

    field: str
    operator: str  # "=", "!=", or "~" for contains
    value: str  # in small letters; "" is a field without a value

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Return whether a row meets it. Of a list, one item is enough."""
        found = value_at(row, self.field)
        items = found if isinstance(found, list) else [found]
        texts = [csv_cell(item).casefold() for item in items or [None]]
        if self.operator == "~":
            return any(self.value in text for text in texts)
        return (self.value in texts) == (self.operator == "=")


@dataclass(frozen=True)
class Filters:
    """The conditions, all of which must hold, and the expression of OData.

    Attributes:
        conditions: what rows are compared with.
        expression: what the PBX evaluates; None for nothing.
    """

    conditions: tuple[Condition, ...] = ()
    expression: str | None = None

    @property
    def fields(self) -> set[str]:
        """The fields that the conditions need."""
        return {condition.field for condition in self.conditions}

    def without(self, fields: Collection[str]) -> "Filters":
        """Return the conditions that are not about some fields."""
        return Filters(tuple(one for one in self.conditions if one.field not in fields))

    def match(self, row: Mapping[str, Any]) -> bool:
        """Return whether a row meets all conditions."""
        return all(condition.holds(row) for condition in self.conditions)


def read_filters(options: Sequence[str] | None, model: Record, *, odata: bool) -> Filters:
    """Return what the values of ``--filter`` mean.

    Args:
        options: the values.
        model: the type of the rows.
        odata: whether the PBX evaluates expressions for this list.

    Raises:
        typer.BadParameter: a field is unknown, its value can't be one, or the PBX evaluates no
            expressions.
    """
    conditions: list[Condition] = []
    expressions: list[str] = []
    for option in options or ():
        found = _CONDITION.fullmatch(option)
        if found is None:
            expressions.append(option)
        else:
            conditions.append(_condition(found[1], found[2], found[3].strip(), model))
    if expressions and not odata:
        raise typer.BadParameter(
            f"must have the form FIELD=VALUE here, such as {_example(model)}, got"
            f" {expressions[0]!r}",
            param_hint=_OPTION,
        )
    if len(expressions) > 1:
        raise typer.BadParameter(
            "takes one expression of OData: join them with 'and'", param_hint=_OPTION
        )
    return Filters(tuple(conditions), expressions[0] if expressions else None)


def _condition(field: str, operator: str, text: str, model: Record) -> Condition:
    names = dotted(model)
    if field not in names:
        raise typer.BadParameter(
            f"no such field: {field}; {did_you_mean(field, names)}", param_hint=_OPTION
        )
    operator = "=" if operator == "==" else operator
    if text and operator != "~":
        try:
            text = csv_cell(read_value(model, field, text))
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint=_OPTION) from None
        _check_choice(field, text, choices_of(model, field))
    return Condition(field, operator, text.casefold())


def _check_choice(field: str, text: str, choices: Sequence[str]) -> None:
    """Refuse a misspelt value; a PBX may have values of its own, so others pass."""
    if text.casefold() in (choice.casefold() for choice in choices):
        return
    near = get_close_matches(text.upper(), [choice.upper() for choice in choices], n=1)
    if near:
        raise typer.BadParameter(
            f"{field} must be one of {', '.join(choices)}, got {text!r}", param_hint=_OPTION
        )


def _example(model: Record) -> str:
    names = dotted(model)
    return "status=ON_CALL" if "status" in names else f"{names[1]}=VALUE"
