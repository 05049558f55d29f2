"""Applications that follow statuses: each keeps a view, and resumes from it every few seconds.

Two poll the classic generation, and two follow v22 through its web socket. Of each two, one follows
given numbers and one all extensions.
"""

import random
from collections import Counter
from collections.abc import Callable
from typing import Generic

from portsip_async import ExtensionStatus, PortSIPClient, StatusChange, StatusWatch, v22
from portsip_async.bulk.status_type import S

_REDISCOVER = 2.0  # seconds between two listings
_INTERVAL = 0.5  # seconds between two polls of the classic generation
# On v22 a poll costs a request for each extension, and so does a check of what the socket reported.
_V22_INTERVAL = 5.0
_VERIFY = 2.0
# The chance that a change is the last one of a watch. The more sockets a watch has lost, the longer
# it waits for the next one. So watches through the socket are left more often.
_LEAVES = 0.003
_LEAVES_LIVE = 0.01


class Viewer(Generic[S]):
    """Follows a watch, and checks that each change continues the earlier ones.

    Attributes:
        view: the last status that was reported for each number.
        watch: the latest watch.
        wrong: a sentence for each thing that must not happen.
        count: how often each thing happened.
        calm: whether nothing may fail now; the present watch is kept then.
    """

    def __init__(
        self, new_watch: Callable[[dict[str, S]], StatusWatch[S]], *, leaves: float
    ) -> None:
        """Store how to start a watch from a view, and the chance to leave it at a change."""
        self.view: dict[str, S] = {}
        self.wrong: list[str] = []
        self.count: Counter[str] = Counter()
        self.calm = False
        self.watch = new_watch(self.view)
        self._new_watch = new_watch
        self._leaves = leaves

    async def follow(self) -> None:
        """Follow watch after watch until cancelled."""
        while True:
            self.watch = watch = self._new_watch(self.view)
            async with watch:
                async for change in watch:
                    self._apply(change)
                    # Resume from the snapshot every few seconds.
                    if not self.calm and random.random() < self._leaves:
                        break
            self.count["watches resumed"] += 1
            self._add_stats()
            if watch.snapshot != self.view:
                self.wrong.append("the snapshot of a watch differs from what it reported")

    def figures(self) -> dict[str, int]:
        """Return the counts, with those of the present watch."""
        before = self.count.copy()
        self._add_stats()
        figures, self.count = dict(self.count), before
        return figures

    def _apply(self, change: StatusChange[S]) -> None:
        number = change.extension_number
        if change.before != self.view.get(number):
            self.wrong.append(f"a watch reports a wrong earlier status of {number}")
        if change.after is None:
            del self.view[number]
        else:
            self.view[number] = change.after
        self.count["changes"] += 1

    def _add_stats(self) -> None:
        stats = self.watch.stats
        for name in ("connections", "messages", "unreadable"):
            self.count[name] += getattr(stats, name)


def polling_viewers(
    client: PortSIPClient, numbers: list[str]
) -> dict[str, Viewer[ExtensionStatus]]:
    """Return the viewers of the classic generation, by "given" and "found"."""

    def viewer(watched: list[str] | None) -> Viewer[ExtensionStatus]:
        return Viewer(
            lambda known: client.extensions.watch_status(
                watched, interval=_INTERVAL, rediscover=_REDISCOVER, known=known
            ),
            leaves=_LEAVES,
        )

    return {"given": viewer(numbers), "found": viewer(None)}


def live_viewers(
    client: v22.PortSIPClient, numbers: list[str]
) -> dict[str, Viewer[v22.ExtensionState]]:
    """Return the viewers of v22, by "given" and "found". They poll while there is no web socket."""

    def viewer(watched: list[str] | None) -> Viewer[v22.ExtensionState]:
        return Viewer(
            lambda known: client.extensions.watch_status(
                watched,
                interval=_V22_INTERVAL,
                verify=_VERIFY,
                rediscover=_REDISCOVER,
                known=known,
            ),
            leaves=_LEAVES_LIVE,
        )

    return {"given": viewer(numbers), "found": viewer(None)}
