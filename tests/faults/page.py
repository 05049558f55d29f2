"""The matrix as a page of the documentation, written from the rules and the catalogue."""

from pathlib import Path

from portsip_async import ENDPOINTS

from .catalogue import FAULTS, Fault
from .rules import EXEMPTIONS, RULES, SAFETIES, Rule

PAGE = Path(__file__).parents[2] / "docs/explanation/fault-matrix.md"

_INTRODUCTION = """\
# What happens when something goes wrong

{faults} faults, each tried with each of the {operations} operations: the matrix tells what your
program gets to see. It is printed from the rules that the tests in `tests/faults` hold each of the
{cells} combinations to, so it tells what was tried. Beside what stands here, each combination shows
that

- an unsafe operation is carried out once at most;
- where the server carried out a write and the call failed, `error.may_have_acted` says so;
- no token, password or pin is told in an error, in the chain behind it, or in the log;
- a call ends within its deadline, and leaves no connection, task or place taken;
- the same call answers as if nothing had been, once all is well.

## How an operation is treated

| | operations |
|---|---|
| **safe**: changes nothing | {safe} |
| **idempotent**: a second time does no harm | {idempotent} |
| **unsafe**: acts each time | {unsafe} |

## What you see

| in the table | your call |
|---|---|
| again | is sent again, as often as the `RetryPolicy` allows; if no attempt succeeds, it raises |
| new token | is sent again, once, with a renewed token |
| raises | raises at once |
| answers | answers as usual |
| `?` | behind one of these: the error's `may_have_acted` is True, as the PBX may have done it |

Each error but `ReplyError` and `TransportError`, with its children `ConnectError` and
`RequestTimeout`, is an `APIError`: the PBX or a proxy said something, and `error.status` and
`error.err_code` tell what.

## The matrix

| what goes wrong | safe | idempotent | unsafe | error |
|---|---|---|---|---|
"""

_NOTES = """
## Exceptions

{exemptions}
- A removal that finds nothing, after an attempt that may have acted, has succeeded.
- An upload from an iterator can't be read twice: once a byte of it was taken it is not sent again,
  and the error says so.
- A budget that all calls of a client share keeps repeats from doubling the load of an outage more
  than once; with many calls failing at once some raise sooner than the table says.

## Why

A lost reply tells nothing of what became of the request. What is safe is sent again, as that can do
no harm; so is what is idempotent, because it ends up the same. What is unsafe is not, lest a
telephone ring twice: it is sent again only where the PBX can't have acted, as when no connection
was made, the token was refused, or the PBX was too busy to look at it.

`503` is such a refusal only with a `Retry-After`: without one, it may be a proxy that lost sight of
a PBX at work. A `Retry-After` that is a number or a date is waited for, if the deadline leaves the
time for it; one that has passed, can't be read, or lies more than a day ahead is ignored, and the
usual pause is made.

A reply that arrived whole but can't be read is not asked for again: most likely it would be the
same. Oddities that leave no doubt about what was meant are read: of a key that stands twice the
last one counts, bytes that are no UTF-8 read as Latin-1, a `NaN` as nothing, half of a surrogate
pair as U+FFFD.
"""


def page() -> str:
    """Write the page."""
    faults = sum(len(group) for group in FAULTS.values())
    by_safety = {
        safety: ", ".join(f"`{name}`" for name, row in ENDPOINTS.items() if row.safety == safety)
        for safety in SAFETIES
    }
    text = _INTRODUCTION.format(
        faults=faults, operations=len(ENDPOINTS), cells=f"{faults * len(ENDPOINTS):,}", **by_safety
    )
    marks = {exemption: number for number, exemption in enumerate(EXEMPTIONS, 1)}
    for title, group in FAULTS.items():
        text += f"| **{title}** | | | | |\n"
        for fault in group:
            numbers = [n for exemption, n in marks.items() if fault.kind in exemption.kinds]
            text += _row(fault, RULES[fault.kind], numbers)
    notes = "\n".join(f"{number}. {exemption.note}" for exemption, number in marks.items())
    return text + _NOTES.format(exemptions=notes + "\n")


def _row(fault: Fault, rule: Rule, notes: list[int]) -> str:
    cells = [
        _cell(rule, attempts) + (" ?" if rule.in_doubt and safety != "safe" else "")
        for safety, attempts in zip(SAFETIES, rule.attempts, strict=True)
    ]
    name = fault.name + "".join(f" <sup>{number}</sup>" for number in notes)
    error = f"`{rule.error.__name__}`" if rule.error else ""
    return f"| {name} | {' | '.join(cells)} | {error} |\n"


def _cell(rule: Rule, attempts: int) -> str:
    if attempts == 1:
        return "raises" if rule.error else "answers"
    if attempts == 2:
        return "new token" if rule.error is None else "new token, raises"
    return "again"
