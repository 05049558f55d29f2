"""What the steps of the demo share: counting requests, printing results, and checking them."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from textwrap import wrap
from time import monotonic
from typing import Any, Final, Protocol

from rich.console import Console
from rich.text import Text

from ... import Attempt, BulkRun, ConnectError, NotFound, PortSIPError, TransportError

CONCURRENCY: Final = 16  # requests in flight
TRIES: Final = 10  # of a write, while it fails or its reply is lost
_ONE_LINE: Final = 75  # columns that a step and the usual result need


class Face(Protocol):
    """What the simulator counts for one generation."""

    served: Counter[str]  # by operation, how many requests arrived
    injected: Counter[str]  # by kind, how many faults happened
    rejected: Counter[str]  # by operation, how many requests had an invalid token


@dataclass
class Traffic:
    """Counts attempts by operation, as the client's ``on_attempt`` hook."""

    endpoints: Mapping[str, object]  # the generation's operations, by name
    face: Face  # the PBX's counts
    sent: Counter[str] = field(default_factory=Counter)
    cut: Counter[str] = field(default_factory=Counter)  # by the restart, and perhaps received
    not_connected: int = 0  # attempts that sent nothing
    restarting: bool = False  # whether the PBX restarts now

    def __call__(self, attempt: Attempt) -> None:
        """Count an attempt."""
        if isinstance(attempt.error, ConnectError):
            self.not_connected += 1
            return
        self.sent[attempt.operation] += 1
        self.cut[attempt.operation] += self.restarting and isinstance(attempt.error, TransportError)


def say(console: Console, text: str, *, style: str = "", indent: int = 0, hang: int = 0) -> None:
    """Print a text in lines that fit the console, without spaces at their ends.

    Args:
        console: where to print.
        text: the text. It may hold no markup.
        style: a style of rich.
        indent: spaces before the first line.
        hang: spaces before each further line.
    """
    width = max(console.width, hang + 10)
    for line in wrap(text, width, initial_indent=" " * indent, subsequent_indent=" " * hang):
        console.print(Text(line, style))


def compare(console: Console, *traffics: Traffic) -> Iterator[str]:
    """Print the counts of both sides, and yield a line for each difference."""
    console.print("\n[bold]Requests:             sent  received[/]")
    for traffic in traffics:
        for name in traffic.endpoints:
            sent, cut, received = traffic.sent[name], traffic.cut[name], traffic.face.served[name]
            if not (sent or received):
                continue
            agree = sent - cut <= received <= sent
            mark = "[green]ok[/]" if agree else "[bold red]WRONG[/]"
            console.print(f"  {name:<18}{sent:>6,}{received:>10,}  {mark}")
            if not agree:
                yield f"{name}: {sent} sent, {cut} of them cut by the restart, {received} received"
    injected: Counter[str] = sum((each.face.injected for each in traffics), Counter())
    kinds = ", ".join(f"{count} {kind}" for kind, count in injected.most_common())
    cut = sum(each.cut.total() for each in traffics)
    rejected = sum(each.face.rejected.total() for each in traffics)
    say(
        console,
        f"Faults: {kinds.replace('_', ' ') or 'none'}. Restart: {cut} requests cut off. Tokens:"
        f" {rejected} requests rejected for a dead one.",
    )


class Failed(Exception):
    """A step's result is wrong."""


def expect(condition: bool, problem: str) -> None:
    """Raise Failed with the problem unless the condition is true."""
    if not condition:
        raise Failed(problem)


@contextmanager
def step(console: Console, title: str) -> Iterator[list[str]]:
    """Run the block as a step, and print a line with the result that it appends.

    On a narrow terminal these are two lines or more.

    Raises:
        Failed: the block raised it, or a PortSIPError.
    """
    began, result, problem = monotonic(), list[str](), ""
    try:
        with console.status(title, spinner="line"):  # on terminals only
            yield result
    except (PortSIPError, Failed) as error:
        problem = str(error)
    told, style = problem or "".join(result), "red" if problem else ""
    time = f"{monotonic() - began:5.2f} s"
    if console.width >= _ONE_LINE:
        say(console, f"{title:<36}{time}  {told}", style=style, indent=2, hang=47)
    else:
        say(console, title, indent=2, hang=2)
        say(console, f"{time}  {told}", style=style, indent=4, hang=13)
    if problem:
        raise Failed(f"{title}: {problem}")


def each_once(numbers: Sequence[str], expected: Sequence[str]) -> str:
    """Check that the numbers are the expected ones, in order."""
    expect([*numbers] == [*expected], f"{len(numbers)} extensions instead of {len(expected)}")
    return f"{len(numbers):,} seen, each once"


async def until_done(start: Callable[[list[str]], BulkRun[Any]], keys: list[str]) -> str:
    """Run a bulk write, and run it again for what failed."""
    left, runs, looked_up = keys, 0, 0
    while left:
        runs += 1
        expect(runs <= TRIES, f"{len(left)} not done in {TRIES} runs")
        results = [one async for one in start(left)]
        found = Counter(one.key for one in results)
        expect(found == Counter(left), f"{len(results)} results for {len(left)} extensions")
        looked_up += sum(one.settled for one in results)
        # A removal in an earlier run may have lost its reply: then nothing is found now.
        failed = (one for one in results if one.error is not None)
        left = [one.key for one in failed if runs == 1 or not isinstance(one.error, NotFound)]
    return f"runs: {runs}, looked up: {looked_up}"
