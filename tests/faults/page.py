"""Generate the documentation page of the fault matrix from the rules and the catalogue."""

from pathlib import Path

from .cases import CASES, CLASSIC, V22
from .catalogue import BY_NAME, FAULTS, Fault, cases_of
from .rules import EXEMPTIONS, RULES, SAFETIES, Rule

PAGE = Path(__file__).parents[2] / "docs/explanation/fault-matrix.md"

_INTRODUCTION = """\
# What happens when something goes wrong

The tests inject {faults} faults into the {classic} operations of the classic generation and the
{v22} operations of v22. The matrix shows how your call ends. It is the same for both generations.
It is generated from the rules that `tests/faults` checks for {cells} combinations, so it shows
tested behaviour. Each v22 operation meets a fault of each kind. An operation of each kind meets
every fault. For every combination the tests also check that

- an operation that is unsafe, or can be done only once, is carried out at most once;
- if the server carried out a write and the call failed, `error.may_have_acted` is True;
- no token, password, pin or one-time password appears in an error, in its causes, or in the log;
- the call ends within its deadline, and leaves no connection, task or connection slot in use;
- the same call succeeds as soon as the fault is gone.

## Kinds of operations

| safety | classic operations | v22 operations |
|---|---|---|
| **safe**: only reads | {safe_classic} | {safe_v22} |
| **idempotent**: has the same result if done twice | {idempotent_classic} | {idempotent_v22} |
| **unsafe**: acts each time | {unsafe_classic} | {unsafe_v22} |
| **once**: uses up a token | {once_classic} | {once_v22} |

## How to read the table

| entry | your call |
|---|---|
| retry | is retried as often as the `RetryPolicy` allows, and raises if no attempt succeeds |
| new token | is sent once more, with a renewed token |
| raises | raises at once |
| succeeds | returns as usual |
| `?` after an entry | has `error.may_have_acted` set to True if it raises: the PBX may have acted |

Every error in the table is an `APIError`, except `ReplyError`, `TransportError`, `ConnectError` and
`RequestTimeout`. An `APIError` means that the PBX or a proxy replied with an error. `error.status`
and `error.err_code` show which one.

## The matrix

| fault | safe | idempotent | unsafe | once | error |
|---|---|---|---|---|---|
"""

_NOTES = """
## Exceptions

{exemptions}
- A removal may be retried after an attempt that may have acted. If the PBX then finds nothing to
  remove, the removal has succeeded.
- An upload from an iterator can't be read twice. As soon as the client has read a byte of it, the
  call is not retried, and the error says so.
- All calls of a client share a retry budget, which keeps retries from more than doubling the load
  in an outage. If many calls fail at once, some of them raise earlier than the table says.

## Why

If a reply is lost, the client can't know whether the PBX carried out the request. Safe operations
are retried, because a second read does no harm. Idempotent operations are retried, because the
result is the same. Unsafe operations are not retried, because a telephone could ring twice. There
is one exception. They are retried if the PBX can't have carried them out: no connection was made,
the token was rejected, or the PBX was too busy to accept the request. A refresh token can be used
only once. So a request with a refresh token is repeated only if no connection was made. If it
fails, the client logs in instead.

A `503` counts as "too busy" only with a `Retry-After`. Without one, it may come from a proxy that
lost its connection to the PBX while the PBX was working. The client waits for a `Retry-After` that
is a number or a date, if the deadline allows it. It ignores a `Retry-After` that is in the past,
can't be read, or is more than a day away. Then the usual pause applies.

If a complete reply can't be read, the call is not retried, because the next reply would most likely
be the same. The client accepts defects that leave no doubt about the meaning. If a key occurs
twice, the last value counts. Bytes that are not UTF-8 are read as Latin-1. A `NaN` becomes None,
and half of a surrogate pair becomes U+FFFD.
"""


def page() -> str:
    """Return the text of the page."""
    count = {
        generation: sum(case.generation == generation for case in CASES)
        for generation in (CLASSIC, V22)
    }
    by_safety = {
        f"{safety}_{generation}": ", ".join(
            f"`{case.name}`"
            for case in CASES
            if (case.safety, case.generation) == (safety, generation)
        )
        for safety in SAFETIES
        for generation in count
    }
    cells = sum(len(cases_of(fault)) for fault in BY_NAME.values())
    text = _INTRODUCTION.format(faults=len(BY_NAME), cells=f"{cells:,}", **count, **by_safety)
    marks = {exemption: number for number, exemption in enumerate(EXEMPTIONS, 1)}
    for title, group in FAULTS.items():
        text += f"| **{title}** | | | | | |\n"
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
        return "raises" if rule.error else "succeeds"
    if attempts == 2:
        return "new token" if rule.error is None else "new token, raises"
    return "retry"
