"""Checks through REST what the web socket reported, and reads what it did not report."""

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from typing import Final

from ...bulk.status_batches import StatusSource
from ...bulk.status_poll import StatusPoll
from ...bulk.status_polling import with_portsip_errors
from ...core.limits import Gate
from ...core.tasks import TaskOwner
from ...errors import BadRequest, NotFound, PortSIPError, TransportError
from ..status_models import ExtensionState
from .numbers import WatchedNumbers
from .states import Doubt, LiveStates

_CONFIRM: Final = 0.5  # seconds until a contradiction is checked again: a change may be on its way
_PER_SECOND: Final = 50  # leaves 2,000 of the 5,000 requests a minute that a PBX allows at least
_AT_ONCE: Final = 4
# In a row, after which the PBX is left alone. A single one may be about one extension.
_FAILURES: Final = 5


class RestChecks:
    """Reads states through REST while a watch follows the web socket."""

    def __init__(
        self,
        source: StatusSource[ExtensionState],
        numbers: WatchedNumbers,
        states: LiveStates,
        *,
        owner: TaskOwner,
        verify: float,
        on_failure: Callable[[PortSIPError], None],
    ) -> None:
        """Store the settings; nothing is sent.

        Args:
            source: REST.
            numbers: what is watched.
            states: receives the states.
            owner: starts the tasks.
            verify: seconds between two checks.
            on_failure: counts a failure of the PBX.
        """
        self._ask = with_portsip_errors(source.ask)
        self._source = replace(source, ask=self._ask_and_note)
        self._numbers = numbers
        self._states = states
        self._owner = owner
        self._verify = verify
        self._on_failure = on_failure

    async def run_forever(self) -> None:
        """Compare the states with REST from time to time.

        Raises:
            TransportError: they contradict each other, so the connection must be made again.
            AuthenticationError, ConfigurationError, ClientClosed: the watch can't go on.
        """
        while True:
            await self._source.sleep(self._verify)
            doubts = await self.read(self._paced(self._numbers.current or ()), at_once=_AT_ONCE)
            if doubts:
                await self._source.sleep(_CONFIRM)
                doubts = await self.read(self._paced(doubts), at_once=_AT_ONCE)
            if doubts:
                self._states.accept(doubts)
                raise TransportError(
                    "the web socket has fallen silent: REST reports another state of "
                    f"{len(doubts)} of {len(self._numbers.current or ())} extensions"
                )

    async def read(
        self, numbers: Iterable[str] | AsyncIterator[str], *, at_once: int
    ) -> dict[str, Doubt]:
        """Read states through REST, and return where they contradict the socket, by number.

        A few failures of the PBX in a row end it early.

        Raises:
            AuthenticationError, ConfigurationError, ClientClosed: the watch can't go on.
        """
        doubts: dict[str, Doubt] = {}
        unknown: set[str] = set()
        failures = 0  # in a row
        poll = StatusPoll(
            self._source,
            numbers,
            owner=self._owner,
            batch_size=1,
            concurrency=at_once,
            ordered=False,
        )
        async with poll:
            async for result in poll:
                number, error = result.extension_number, result.error
                if number not in self._numbers:
                    continue  # it has gone
                if isinstance(error, ValueError):
                    unknown.add(number)  # it can't be part of a request
                elif isinstance(error, NotFound | BadRequest) and not error.is_page:
                    unknown.add(number)
                elif isinstance(error, PortSIPError):
                    self._on_failure(error)
                    failures += 1
                    if failures == _FAILURES:
                        break
                elif result.status is not None:
                    failures = 0
                    doubt = self._states.compare(number, result.status)
                    if doubt is not None:
                        doubts[number] = doubt
        self._states.note_unknown([one for one in self._numbers.current or () if one in unknown])
        return doubts

    async def _paced(self, numbers: Iterable[str]) -> AsyncIterator[str]:
        for at, number in enumerate(list(numbers), start=1):
            yield number
            if at % _PER_SECOND == 0:
                await self._source.sleep(1.0)

    async def _ask_and_note(self, numbers: list[str], gate: Gate) -> dict[str, ExtensionState]:
        self._states.asked(numbers)
        return await self._ask(numbers, gate)
