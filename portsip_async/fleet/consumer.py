"""Reads the stream of a fleet through a group of consumers.

One consumer of a group is active at a time, and the others stand by. So the events of a PBX stay in
order even if the active one dies: the next one first claims what was not acknowledged.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

from redis.exceptions import RedisError

from .engine import Engine, Turn
from .events import FleetEvent
from .store import FleetStore, StreamEvent

logger: logging.Logger = logging.getLogger("portsip_async")

BLOCK_SECONDS: Final = 1.0  # that a read waits for events
RECONNECT_AFTER: Final = 1.0  # seconds
# What redis-py raises if the server is away. A paused server shows by a time-out.
REDIS_AWAY: Final = (RedisError, OSError, TimeoutError)
COMMAND_SECONDS: Final = 10.0  # that a command may take


class Consumer:
    """One loop over the changes of a fleet."""

    def __init__(
        self,
        connected: Callable[[], Awaitable[tuple[Engine, FleetStore]]],
        group: str,
        consumer: str,
        *,
        from_start: bool,
    ) -> None:
        """Store the settings.

        Args:
            connected: connects to Redis.
            group: the name of the group.
            consumer: the name of this consumer.
            from_start: whether a new group begins with the oldest event.
        """
        self._connected = connected
        self._group = group
        self._consumer = consumer
        self._from_start = from_start
        self._store: FleetStore
        # The number of the event that was acknowledged last; None before the first turn.
        self._acknowledged: int | None = None
        # By PBX whose events were delivered: the number of the latest event that the snapshot of a
        # resync covers; 0 without a resync.
        self._covered: dict[str, int] = {}

    async def events(self) -> AsyncGenerator[FleetEvent, None]:
        """Yield the events. Each is acknowledged when the next one is asked for.

        The loop ends when the fleet is closed.
        """
        is_away = False
        engine: Engine | None = None
        while engine is None or not engine.is_closed:
            try:
                engine, self._store = await self._connected()
                async with engine.turn(self._group) as turn:
                    async with aclosing(self._active(engine, turn)) as events:
                        async for event in events:
                            is_away = False
                            yield event
                    continue
            except REDIS_AWAY as error:
                if engine is not None and engine.is_closed:
                    return
                if not is_away:
                    logger.warning(
                        "the fleet's Redis can't be read, and will be tried again: %s",
                        type(error).__name__,
                    )
                is_away = True
            await asyncio.sleep(RECONNECT_AFTER)

    async def _active(self, engine: Engine, turn: Turn) -> AsyncGenerator[FleetEvent, None]:
        """Yield events as long as this consumer is the active one, and the fleet is not closed."""
        store, group = self._store, self._group
        is_behind = await self._join()
        pending, trimmed = await store.claim(group, self._consumer)
        while turn.is_held and not engine.is_closed:
            if self._has_gap(pending):
                # A consumer that was paused may have read them before it saw that it lost its turn.
                pending, more_trimmed = await store.claim(group, self._consumer)
                trimmed = trimmed or more_trimmed
            if is_behind or trimmed or self._has_gap(pending):
                async with aclosing(self._resync(turn)) as events:
                    async for event in events:
                        yield event
                if not turn.is_held:
                    return
                pending, is_behind, trimmed = [], False, False
            for entry in pending:
                if not turn.is_held:
                    return
                if entry.event is not None and entry.n > self._covered.setdefault(entry.pbx, 0):
                    yield entry.event
                await store.acknowledge(group, entry)
                self._acknowledged = max(self._acknowledged or 0, entry.n)
            if not turn.is_held:
                return
            async with asyncio.timeout(BLOCK_SECONDS + COMMAND_SECONDS):
                pending = await store.next(group, self._consumer, BLOCK_SECONDS)
                if not pending and (await store.latest())[0] > (self._acknowledged or 0):
                    # The reply of a read was lost, or a consumer that was paused has read them.
                    pending, trimmed = await store.claim(group, self._consumer)

    async def _join(self) -> bool:
        """Create the group if it is new. Return whether it has to begin with a resync."""
        store, group, known = self._store, self._group, self._acknowledged
        # In this order, so that the latest event is never older than the acknowledged one.
        acknowledged = await store.acknowledged(group)
        n, last = await store.latest()
        if acknowledged is None and known is None:
            if self._from_start:
                n, last = 0, "0-0"
            # The stream may have the group without a number, if an earlier attempt was cut off.
            await store.ensure_group(group, last)
            await store.move_group(group, n, last)
            self._acknowledged = n
            return False
        # Redis may have lost its latest writes, or all of them, or somebody deleted a key. What
        # was read before is then no help. The number stays as it is until the resync is complete.
        is_lost = await store.ensure_group(group, last)
        self._acknowledged = acknowledged or 0
        return is_lost or acknowledged is None or acknowledged > n or acknowledged < (known or 0)

    def _has_gap(self, events: list[StreamEvent]) -> bool:
        """Return whether events were trimmed between the last one and the next one."""
        assert self._acknowledged is not None  # noqa: S101 - `_join` sets it
        return bool(events) and events[0].n > self._acknowledged + 1

    async def _resync(self, turn: Turn) -> AsyncGenerator[FleetEvent, None]:
        """Yield the snapshot of each PBX, and let the group go on after them."""
        n, last = await self._store.latest()
        # A PBX that is no longer in the fleet has an empty snapshot.
        for pbx in sorted({*self._covered, *await self._store.pbxes()}):
            if not turn.is_held:
                return
            covered, events = await self._store.resync(pbx, last)
            for event in events:
                yield event
            self._covered[pbx] = covered
        # Only now, after the last snapshot was handled: a consumer that takes over earlier begins
        # the resync again.
        if turn.is_held:
            await self._store.move_group(self._group, n, last)
            self._acknowledged = n
