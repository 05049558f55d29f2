"""Which extensions the web sockets follow, and what was reported about each: `FollowedExtensions`.

All sockets that follow an extension get the same events, so what they know is
stored once. An event is the difference to that. So a socket always knows what REST shows.
"""

import asyncio
from collections.abc import Callable, Iterable

from ..generated import status_offset
from ..state import PBX, Change
from .change_cycle import ChangeCycle
from .socket_connection import SocketConnection
from .socket_messages import Events, State

_STATES_PER_MESSAGE = 200
# Timers may fire this much early, in seconds. States are read as of so much later, so that a change
# is there when its timer fires.
_EARLY = 1e-6
_REORDER_SECONDS = 0.01  # events of this time are sent in another order


class _Followed:
    """An extension number that sockets follow, whether it exists or not."""

    __slots__ = ("number", "sockets", "state")

    def __init__(self, number: str) -> None:
        self.number = number
        self.sockets: set[SocketConnection] = set()
        self.state: State | None = None  # what was reported; None if the extension does not exist


class FollowedExtensions:
    """Sends events about extensions to the sockets that follow them.

    Attributes:
        reorders: whether events of different extensions are sent in another order.
        sent: how many events were sent; one event to two sockets counts twice.
    """

    def __init__(
        self, pbx: PBX, events: Events, now: Callable[[], float], random: Callable[[], float]
    ) -> None:
        """Store where states are read; ``random`` returns a number from 0 to 1."""
        self.reorders: bool = False
        self.sent: int = 0
        self._pbx = pbx
        self._events = events
        self._clock = now
        self._random = random
        self._followed: dict[str, _Followed] = {}
        self._managers: set[SocketConnection] = set()
        self._cycle = ChangeCycle(pbx.status_seconds)
        self._ticked_at = 0.0
        self._timer: asyncio.TimerHandle | None = None  # while a status can change by itself
        self._loop: asyncio.AbstractEventLoop | None = None  # of the sockets
        # Events that wait to be sent in another order, and the timer that sends them.
        self._held: list[tuple[str, bytes, Iterable[SocketConnection]]] = []
        self._release: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._followed)

    def subscribe(self, socket: SocketConnection, numbers: Iterable[str]) -> list[bytes]:
        """Let a socket follow extensions, and return the messages with their current states."""
        now = self._time()
        self._loop = asyncio.get_running_loop()
        if not self._followed:
            self._ticked_at = now
        found = list(dict.fromkeys(numbers))
        socket.numbers.update(found)
        added: list[tuple[float, str]] = []
        states: list[tuple[int, str, State]] = []
        for number in found:
            followed = self._followed.get(number)
            index = self._pbx.numbers.index_of(number)
            if followed is None:
                followed = self._followed[number] = _Followed(number)
                if index is not None:
                    added.append((status_offset(index, self._pbx.seed), number))
                    followed.state = self._events.state(index, number, now)
            elif index is not None:
                self._report(followed, index, now)  # the other sockets may not know this state
            followed.sockets.add(socket)
            if index is not None and followed.state is not None:
                states.append((index, number, followed.state))
        self._cycle.add(added)
        self._schedule()
        return [
            self._events.statuses(states[at : at + _STATES_PER_MESSAGE], now)
            for at in range(0, len(states), _STATES_PER_MESSAGE)
        ]

    def unsubscribe(self, socket: SocketConnection, numbers: Iterable[str]) -> None:
        """End a socket's subscription to extensions."""
        ended = set()
        for number in socket.numbers.intersection(numbers):
            socket.numbers.discard(number)
            followed = self._followed[number]
            followed.sockets.discard(socket)
            if not followed.sockets:
                del self._followed[number]
                ended.add(number)
        self._cycle.discard(ended)
        self._schedule()

    def follow_management(self, socket: SocketConnection) -> None:
        """Let a socket follow which extensions are created, updated and destroyed."""
        self._managers.add(socket)

    def leave_management(self, socket: SocketConnection) -> None:
        """End a socket's subscription to these events."""
        self._managers.discard(socket)

    def drop(self, socket: SocketConnection) -> None:
        """Forget a socket that has ended."""
        self.leave_management(socket)
        self.unsubscribe(socket, list(socket.numbers))
        if self._release is not None and not self._followed and not self._managers:
            self._release.cancel()
            self._release = None
            self._held.clear()

    def on_change(self, change: Change, index: int, number: str) -> None:
        """Send the events of a change of an extension."""
        if change != "status" and self._managers:
            self._send(number, self._events.management(change, index), self._managers)
        followed = self._followed.get(number)
        if followed is None:
            return
        if change == "destroyed":
            followed.state = None
            self._cycle.discard({number})
        elif change in ("created", "status"):
            self._report(followed, index, self._time())
            if change == "created":
                self._cycle.add([(status_offset(index, self._pbx.seed), number)])
        if change != "status":
            self._schedule()

    def _report(self, followed: _Followed, index: int, now: float) -> None:
        """Send what changed about an extension since the last report."""
        number, before = followed.number, followed.state
        state = followed.state = self._events.state(index, number, now)
        if state == before:
            return
        if before is None or state.online != before.online:
            event = self._events.statuses([(index, number, state)], now)
            self._send(number, event, followed.sockets)
            return
        if state.call_status != before.call_status:
            self._send(number, self._events.call(index, number, state, now), followed.sockets)
        if (state.presence, state.note) != (before.presence, before.note):
            self._send(number, self._events.presence(index, number, state, now), followed.sockets)

    def _send(self, number: str, event: bytes, sockets: Iterable[SocketConnection]) -> None:
        if self.reorders and self._loop is not None:
            self._held.append((number, event, list(sockets)))
            if self._release is None:
                self._release = self._loop.call_later(_REORDER_SECONDS, self._send_held)
            return
        self._send_now(event, sockets)

    def _send_held(self) -> None:
        """Send the events that were held: those of one extension keep their order."""
        self._release = None
        held, self._held = self._held, []
        keys = {number: self._random() for number, _, _ in held}
        for _, event, sockets in sorted(held, key=lambda each: keys[each[0]]):
            self._send_now(event, sockets)

    def _send_now(self, event: bytes, sockets: Iterable[SocketConnection]) -> None:
        for socket in sockets:
            if not socket.is_silent:
                self.sent += 1
                socket.send(event)

    # Statuses that change by themselves.

    def _time(self) -> float:
        return self._clock() + _EARLY

    def _schedule(self) -> None:
        """Set the timer for the next change, or none."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._time()
        at = self._cycle.next_after(now)
        if at is not None and self._loop is not None:
            self._timer = self._loop.call_later(at - now + _EARLY, self._tick)

    def _tick(self) -> None:
        """Report the extensions whose status has changed by itself."""
        now = self._time()
        for number in self._cycle.due(self._ticked_at, now):
            index = self._pbx.numbers.index_of(number)
            if index is not None:
                self._report(self._followed[number], index, now)
        self._ticked_at = now
        self._schedule()
