"""What a run comes to: the figures, in a table, and what is wrong."""

from collections import Counter

from .books import Audit, Books, Line
from .load import Load
from .meter import Meter, Trend
from .pbx import PBX
from .trouble import Trouble

_DONE_AT_LEAST = 0.5  # of all writes; else trouble is all there was


class Report:
    """The figures of a run.

    Attributes:
        wrong: what must not be, a sentence each; the run passed if there is nothing.
        statuses: by watch, how many numbers' last status was compared.
        tasks_left: tasks that were left at the end.
        descriptors_left: likewise, file descriptors.
    """

    def __init__(self, seconds: float, seed: int) -> None:
        self.wrong: list[str] = []
        self.statuses: dict[str, int] = {}
        self.tasks_left = self.descriptors_left = 0
        self._title = f"Soak of {seconds:g} s, seed {seed}"
        self._lines: list[Line] = []
        self._facts: list[tuple[str, str]] = []
        self._failures: Counter[str] = Counter()

    def audited(self, audit: Audit) -> None:
        """Take up the comparison of the books with the journal."""
        self.wrong += audit.wrong
        self._lines = [line for line in audit.lines.values() if line.asked]
        if sum(line.done for line in self._lines) < _DONE_AT_LEAST * sum(
            line.asked for line in self._lines
        ):
            self.wrong.append("fewer than half of the writes were done")
        self._facts.append(("repeated, coming to the same", f"{audit.repeats} writes"))

    def worked(self, load: Load, trouble: Trouble, meter: Meter, pbx: PBX, books: Books) -> None:
        """Take up what was done, what went wrong on purpose, and what it took."""
        count = load.count
        self._failures = books.failures
        self._facts += [
            ("trouble", ", ".join(f"{kind} {n}" for kind, n in sorted(trouble.count.items()))),
            ("PBX killed", f"{pbx.deaths} times"),
            ("requests sent", f"{books.attempts.total():,}"),
            ("logins and renewals", f"{sum(_account(books)):,}"),
            ("changes of status told", f"{count['changes']:,}"),
            ("watches resumed", f"{count['watches resumed']}"),
            ("polls; batches failed", f"{count['polls']}; {count['batch of a poll failed']}"),
            ("walks; pages failed", f"{count['walks']}; {count['page of a walk failed']}"),
            ("settled by reading back", f"{count['settled by reading back']} writes"),
            ("removals sent again", f"{count['extensions.remove failed']}"),
        ]
        memory, blocks = meter.trends()
        self._trend("memory, MiB", memory, 2**20, 2)
        self._trend("Python's blocks", blocks, 1, 0)
        self._facts.append(("file descriptors, at most", f"{meter.most_descriptors}"))

    def searched(self, found: tuple[int, int], size: int) -> None:
        """Take up the search of the log for secrets."""
        known, shown = found
        self._facts.append(
            ("secrets in the DEBUG log", f"{shown} of {known} ({size / 2**20:.1f} MiB of log)")
        )
        if shown:
            self.wrong.append(f"{shown} secrets show in the log")

    def __str__(self) -> str:
        head = ("write", "asked", "done", "refused", "in doubt", "of them acted", "acted", "sent")
        rows = [
            (
                line.row,
                *(
                    f"{n:,}"
                    for n in (
                        line.asked,
                        line.done,
                        line.refused,
                        line.unknown,
                        line.acted_unknown,
                        line.acted,
                        line.attempts,
                    )
                ),
            )
            for line in self._lines
        ]
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        table = [
            f"{row[0]:<{widths[0]}}"
            + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
            for row in (head, *rows)
        ]
        facts = [
            *self._facts,
            (
                "last statuses compared",
                ", ".join(f"{n} {name}" for name, n in self.statuses.items()),
            ),
            ("left at the end", f"{self.tasks_left} tasks, {self.descriptors_left} descriptors"),
        ]
        told = [f"  {what:<30}{value}" for what, value in facts]
        failures = [f"  {n:>6}  {what}" for what, n in sorted(self._failures.items())]
        end = (
            ["FAILED:", *(f"  {what} ({n} times)" for what, n in Counter(self.wrong).items())]
            if self.wrong
            else ["Passed: every write is accounted for, every last status is right."]
        )
        why = ["Writes that were not done, by error:", *failures] if failures else []
        return "\n".join(["", self._title, "", *table, "", *told, "", *why, "", *end])

    def _trend(self, what: str, trend: Trend, unit: float, digits: int) -> None:
        growth, noise, allowed = (
            f"{value / unit:,.{digits}f}" for value in (trend.growth, trend.noise, trend.allowed)
        )
        told = f"{growth} more in {trend.seconds:.0f} s; noise {noise}, allowed {allowed}"
        self._facts.append((what, told))
        if not trend.flat:
            self.wrong.append(f"{what}: {told}")


def _account(books: Books) -> list[int]:
    return [n for name, n in books.attempts.items() if name.startswith("account.")]
