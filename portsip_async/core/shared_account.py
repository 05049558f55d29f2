"""One account of a token store, as a client uses it: each step with a time limit.

A store that fails or hangs must stop no call, and must not fill the log: there is one warning when
it fails, and one when it works again.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from ..errors import AuthenticationError
from .token_store import SharedLogin, TokenStore, TokenTurn
from .token_types import Token

T = TypeVar("T")

# The same logger as in `core.hooks`.
logger: logging.Logger = logging.getLogger("portsip_async")

STEP_SECONDS: Final = 1.0  # that a store may take to load, to put, and to end a turn
TURN_SECONDS: Final = 10.0  # that a store may take to begin a turn: others may have theirs


class StoreFailed(Exception):
    """A store raised an exception, hung, or returned something else than it should."""


class _Health:
    """Whether a store works, for one warning when it fails and one when it works again."""

    def __init__(self) -> None:
        # The steps that failed since the store was last reported as working.
        self._failing: set[str] = set()
        # The steps that have not worked since they last failed.
        self._unproven: set[str] = set()
        # The steps that have to work before the store is back.
        self._awaited: set[str] = set()

    def failed(self, step: str, error: str) -> None:
        if not self._failing:
            logger.warning(
                "the token store failed (%s): tokens are renewed without it until it is back", error
            )
        self._failing.add(step)
        # A store that can be read but not be locked is not back yet. Nor is one in which the same
        # step fails each time.
        if step == "turn" or step in self._unproven:
            self._awaited.add(step)
        self._unproven.add(step)

    def worked(self, step: str) -> None:
        self._unproven.discard(step)
        self._awaited.discard(step)
        if self._failing and not self._awaited:
            self._failing.clear()
            logger.warning("the token store is back")


# By store: several clients may share one.
_HEALTH: Final[WeakKeyDictionary[TokenStore, _Health]] = WeakKeyDictionary()


class SharedAccount:
    """One account of a store. Each step has a time limit, and any failure is a `StoreFailed`."""

    def __init__(self, store: TokenStore, account: str) -> None:
        """Store the settings.

        Args:
            store: the application's store.
            account: what the store calls the account.
        """
        self._store = store
        self._account = account
        try:
            self._health = _HEALTH.setdefault(store, _Health())
        except TypeError:  # it can't be hashed, or not be referenced weakly
            self._health = _Health()

    async def load(self) -> SharedLogin | None:
        """Return what is shared; None if nothing."""
        return await self._step("load", self._load, STEP_SECONDS)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator["Turn"]:
        """Wait for the turn, and leave it at the end of the block, whatever happens."""
        begun: list[AbstractAsyncContextManager[TokenTurn]] = []

        def begin() -> Awaitable[TokenTurn]:
            begun.append(self._store.turn(self._account))
            return begun[0].__aenter__()

        turn = await self._step("turn", begin, TURN_SECONDS)
        try:
            yield Turn(self, turn)
        finally:
            await _finish(self._end(begun[0]))

    async def put(self, turn: TokenTurn, login: SharedLogin) -> bool:
        """Put a login; False if the turn was lost."""
        return await self._step("put", lambda: turn.put(login), STEP_SECONDS) is not False

    async def _end(self, turn: AbstractAsyncContextManager[TokenTurn]) -> None:
        with suppress(StoreFailed):  # the outcome counts
            await self._step("end", lambda: turn.__aexit__(None, None, None), STEP_SECONDS)

    async def _load(self) -> SharedLogin | None:
        return _checked(await self._store.load(self._account))

    async def _step(self, name: str, step: Callable[[], Awaitable[T]], seconds: float) -> T:
        task = asyncio.current_task()
        cancelling = 0 if task is None else task.cancelling()
        try:
            async with asyncio.timeout(seconds):
                result = await step()
        except asyncio.CancelledError:
            if task is None or task.cancelling() > cancelling:
                raise
            failure = "CancelledError"  # nobody cancelled this task: the store raised it
        except Exception as error:
            failure = type(error).__name__
            if name == "turn" and isinstance(error, TimeoutError):
                failure = "no turn so far"  # another process may be renewing for long
        else:
            self._health.worked(name)
            return result
        self._health.failed(name, failure)
        # Not within the except block: the frames of the store's exception may have secrets.
        raise StoreFailed


class Turn:
    """A client's turn. `put` never raises."""

    def __init__(self, account: SharedAccount, turn: TokenTurn) -> None:
        self._account = account
        self._turn = turn

    async def put(self, login: SharedLogin) -> bool | None:
        """Put a login; False if the turn was lost, None if the store failed.

        It is put even if the client closes meanwhile: no other process can know of it.
        """
        return await _finish(self._put(login))

    async def _put(self, login: SharedLogin) -> bool | None:
        try:
            return await self._account.put(self._turn, login)
        except StoreFailed:
            return None


async def _finish(step: Coroutine[Any, Any, T]) -> T:
    """Run a step that raises nothing to its end, even if this task is cancelled meanwhile."""
    task = asyncio.create_task(step)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _checked(login: object) -> SharedLogin | None:
    """Return what a store returned, if it can be used.

    Raises:
        TypeError, ValueError: it can't.
    """
    if login is None:
        return None
    if not isinstance(login, SharedLogin):
        raise TypeError("load must return a SharedLogin or None")
    token: object = login.token
    refusal: object = login.refusal
    if not isinstance(token, Token | None) or not isinstance(refusal, AuthenticationError | None):
        raise TypeError("token must be a Token, and refusal an AuthenticationError")
    numbers: list[object] = [login.seconds]
    if token is not None:
        numbers.append(token.expires)
        texts: tuple[object, object] = (token.access_token, token.refresh_token or "")
        if not all(isinstance(text, str) and text.isprintable() for text in texts) or not texts[0]:
            raise ValueError("access_token and refresh_token must be printable texts")
    if not all(isinstance(each, int | float) and math.isfinite(each) for each in numbers):
        raise ValueError("seconds and expires must be finite numbers")
    return login if login.seconds > 0 else None
