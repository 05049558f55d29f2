"""Follows the states of extensions through the PBX's web socket, and feeds a watch.

The socket reports every change at once, but it may break, or stay open and report nothing more. So:

- A lost connection is made again, after pauses that grow. Until then, REST is polled. After each
  subscription the PBX reports all states, which closes the gap.
- What the PBX does not report after a subscription is read through REST.
- From time to time REST is asked about all extensions. If it contradicts the socket, the connection
  is made again. See `checks`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

from msgspec import structs

from ...bulk.status_batches import StatusSource
from ...bulk.status_polling import StatusPolling, with_portsip_errors
from ...bulk.status_watch import DiscoveredExtensions, StatusFeed, StatusSink
from ...client.resource import Sender
from ...core.task_group import task_group
from ...core.web_socket import WebSocket
from ...errors import (
    APIError,
    AuthenticationError,
    PermissionDenied,
    PortSIPError,
    RequestTimeout,
    TransportError,
    is_fatal,
    raise_without_context,
)
from ..directory import Directory
from ..login import SignIn
from ..status_models import ExtensionState
from .checks import RestChecks
from .messages import (
    EXTENSION_EVENTS,
    MANAGEMENT_EVENTS,
    Acknowledged,
    Event,
    ExtensionCreated,
    ExtensionDestroyed,
    ExtensionUpdated,
    LoggedIn,
    LoginRefused,
    StateReported,
    SubscriptionRefused,
)
from .numbers import WatchedNumbers
from .protocol import WSIProtocol
from .states import LiveStates

_NAME: Final = "web_socket"  # the operation in errors, as the core names it

# All in seconds.
_FIRST_PAUSE: Final = 0.5  # before a lost connection is made again; doubles with each failure
_LONGEST_PAUSE: Final = 60.0
_REFUSED_PAUSE: Final = 600.0  # after a refused subscription, which needs other permissions
_STABLE: Final = 60.0  # after a connection that lasted this long, the pause is short again
_PATIENCE: Final = 2.0  # without a connection, until polling begins
_LOGIN: Final = 10.0  # the longest wait for the reply to the login
_QUIET: Final = 2.0  # without a new state after subscribing: no more will come by themselves
_STEP: Final = 0.25  # from one look at the new states to the next

_READS_AT_ONCE: Final = 16  # REST requests for what the PBX does not report by itself


def wsi_url(base_url: str) -> str:
    """Return the address of the web socket of a PBX."""
    scheme, _, rest = base_url.removesuffix("/api").partition("://")
    return f"{'wss' if scheme == 'https' else 'ws'}://{rest}/wsi"


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """What a watch through the web socket needs.

    Attributes:
        account: the account that logs in to the socket.
        sender: opens the socket.
        url: the address of the socket.
        source: the states through REST.
        directory: the ids of users.
        discover: lists the extensions.
        new_polling: makes the feed that polls while there is no connection; its argument lists the
            extensions.
        falls_back: whether to poll while there is no connection.
        verify: seconds between two checks through REST.
        rediscover: seconds between two listings.
    """

    account: SignIn
    sender: Sender
    url: str
    source: StatusSource[ExtensionState]
    directory: Directory
    discover: Callable[[], Coroutine[Any, Any, DiscoveredExtensions]]
    new_polling: Callable[
        [Callable[[], Coroutine[Any, Any, DiscoveredExtensions]]], StatusPolling[ExtensionState]
    ]
    falls_back: bool
    verify: float
    rediscover: float


class LiveStatus(StatusFeed[ExtensionState]):
    """Feeds one loop of a watch through the web socket."""

    def __init__(self, settings: LiveSettings, numbers: Sequence[str] | None) -> None:
        """Store the settings; nothing is sent before `run`.

        Args:
            settings: the client and the arguments of the watch.
            numbers: what to watch; None: what the PBX lists.
        """
        self._settings = settings
        self._given = numbers
        account = settings.account
        self._protocol = WSIProtocol(account.username, account.password, account.domain)
        self._sink: StatusSink[ExtensionState]
        self._numbers: WatchedNumbers
        self._states: LiveStates
        self._checks: RestChecks
        self._group: asyncio.TaskGroup
        self._polling: StatusPolling[ExtensionState] | None = None
        self._polling_task: asyncio.Task[None] | None = None
        self._patience: asyncio.TimerHandle | None = None
        # Of the current connection: set once it reports states; when that was; what to send, once
        # the numbers were subscribed to; whether it reports extensions that come and go.
        self._live = asyncio.Event()
        self._live_at = 0.0
        self._commands: asyncio.Queue[str] | None = None
        self._is_managed = False
        self._lost_at = 0.0  # when the last one was lost

    async def run(self, sink: StatusSink[ExtensionState]) -> None:
        """Follow the states until cancelled.

        Raises:
            AuthenticationError, ConfigurationError, ClientClosed: the watch can't go on.
            PermissionDenied: the account may not subscribe, and the watch must not poll.
        """
        settings = self._settings
        self._sink = sink
        if not settings.falls_back:
            sink.stats = sink.stats.replace(source="socket")
        self._states = LiveStates(
            sink,
            settings.directory.id_of,
            settings.source.outages,
            clock=settings.sender.session.clock,
        )
        self._numbers = WatchedNumbers(
            self._given,
            with_portsip_errors(settings.discover),
            known=sink.latest,
            clock=settings.sender.session.clock,
            on_change=self._change_numbers,
        )
        self._checks = RestChecks(
            settings.source,
            self._numbers,
            self._states,
            owner=settings.sender.session,
            verify=settings.verify,
            on_failure=self._count_failure,
        )
        try:
            async with task_group() as group:
                self._group = group
                try:
                    await self._connect_forever()
                finally:
                    self._end_patience()
        finally:
            settings.source.outages.left(self)

    # The connection.

    async def _connect_forever(self) -> None:
        failures = 0
        while True:
            error = await self._connection_error()
            if self._live.is_set() and self._clock() - self._live_at >= _STABLE:
                failures = 0
            self._lose(error)
            # A handshake may be refused by a proxy, or while the PBX restarts.
            may_pass = isinstance(error, APIError) and error.operation == _NAME and error.status
            is_refused = isinstance(error, PermissionDenied) and not may_pass
            if (is_fatal(error) and not may_pass) or (is_refused and not self._settings.falls_back):
                raise_without_context(error)
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(failures, 10))
            failures += 1
            if is_refused:
                pause = _REFUSED_PAUSE
                self._begin_polling()  # there will be no connection soon
            await self._sleep(pause * (0.5 + self._settings.sender.session.clock.random() / 2))

    async def _connection_error(self) -> PortSIPError:
        """Follow the states through one connection, and return why it ended."""
        try:
            await self._connect()
        except PortSIPError as error:
            if error.operation is None:
                error.operation = _NAME
            return error
        raise AssertionError("a connection ends with an error")

    async def _connect(self) -> None:
        """Follow the states through one connection.

        Raises:
            PortSIPError: there is no connection, or it was lost.
        """
        settings = self._settings
        if self._numbers.current is None:
            await self._numbers.discover()
        self._begin_patience()
        # A password that REST refused is not sent again for a while.
        tokens = settings.sender.session.tokens
        if tokens.current() is None:
            await tokens.wait()
        async with settings.sender.web_socket(settings.url) as socket:
            await self._log_in(socket)
            self._states.connected()
            self._is_managed = False
            async with task_group() as group:
                group.create_task(self._send(socket))
                group.create_task(self._check_forever())
                if self._numbers.discovers:
                    group.create_task(self._discover_forever())
                await self._receive(socket)

    async def _log_in(self, socket: WebSocket) -> None:
        """Log in on a new connection.

        Raises:
            AuthenticationError: the PBX refused the login.
            RequestTimeout: it did not reply.
        """
        try:
            async with asyncio.timeout(_LOGIN):
                await socket.send(self._protocol.connect())
                while True:
                    for event in self._protocol.receive(await socket.receive()):
                        if isinstance(event, LoginRefused):
                            raise AuthenticationError(
                                f"the web socket refused the login: {event.error or 'no reason'}",
                                operation=_NAME,
                            )
                        if isinstance(event, LoggedIn):
                            self._count(connections=1)
                            return
        except RequestTimeout:
            raise
        except TimeoutError:
            pass
        raise RequestTimeout(f"no reply to the login on the web socket within {_LOGIN:.0f} s")

    async def _receive(self, socket: WebSocket) -> None:
        while True:
            for event in self._protocol.receive(await socket.receive()):
                if not isinstance(event, StateReported):
                    self._handle(event)
                elif event.number in self._numbers:
                    self._states.report(event.number, event.state, is_complete=event.is_complete)
                    self._be_live()
            self._count()

    def _handle(self, event: Event) -> None:
        match event:
            case Acknowledged(topic=topic) if topic == EXTENSION_EVENTS:
                self._be_live()
            case Acknowledged(topic=topic) if topic == MANAGEMENT_EVENTS:
                self._is_managed = True
            case SubscriptionRefused(topic=topic, error=error) if topic == EXTENSION_EVENTS:
                raise PermissionDenied(
                    "the PBX refused the subscription to extension_events"
                    f"{f' ({error})' if error else ''}: log in as a user of the tenant",
                    operation=_NAME,
                )
            case LoginRefused():
                raise TransportError("the web socket ended the login")
            case ExtensionCreated(number=number):
                self._numbers.add(number)
            case ExtensionUpdated(number=number, user_id=user_id):
                self._renumber(number, user_id)
            case ExtensionDestroyed(number=number):
                self._numbers.remove(number)
            case _:
                pass

    async def _send(self, socket: WebSocket) -> None:
        """Subscribe to all numbers, and then send whatever else there is."""
        commands: asyncio.Queue[str] = asyncio.Queue()
        self._commands = commands
        self._put(self._protocol.subscribe(self._numbers.current or ()))
        while True:
            await socket.send(await commands.get())

    def _put(self, texts: list[str]) -> None:
        for text in texts:
            if self._commands is not None:
                self._commands.put_nowait(text)

    async def _check_forever(self) -> None:
        """Read what the PBX does not report by itself, then compare all states from time to time.

        One comes after the other: each compares a reply with when its extension was last asked for.
        """
        await self._read_missing()
        await self._checks.run_forever()

    async def _read_missing(self) -> None:
        """Read what the PBX does not report by itself after the subscription."""
        fresh = self._states.fresh
        reported, quiet = 0, 0.0
        while quiet < _QUIET and len(fresh) < len(self._numbers.current or ()):
            await self._sleep(_STEP)
            quiet = 0.0 if len(fresh) > reported else quiet + _STEP
            reported = len(fresh)
        if not self._live.is_set():
            if self._settings.falls_back and self._numbers.current:
                self._begin_polling()
                await self._live.wait()  # until then, polling reads all states
            else:
                self._be_live()
        missing = [number for number in self._numbers.current or () if number not in fresh]
        if missing:
            await self._checks.read(missing, at_once=_READS_AT_ONCE)

    def _be_live(self) -> None:
        """Note that the connection reports states, and stop polling."""
        if self._live.is_set():
            return
        now = self._clock()
        self._live.set()
        self._live_at = now
        self._end_patience()
        outages = self._settings.source.outages
        outages.recovered(self, now)
        if self._polling is not None and self._polling_task is not None:
            outages.recovered(self._polling, now)
            outages.ended_polling(self)
            self._polling_task.cancel()
            self._polling = None
        self._sink.stats = self._sink.stats.replace(source="socket", consecutive_failures=0)

    def _lose(self, error: PortSIPError) -> None:
        """Count a connection that was lost or not made."""
        now = self._clock()
        self._count_failure(error)
        if not self._settings.falls_back:
            stats = self._sink.stats
            self._sink.stats = stats.replace(consecutive_failures=stats.consecutive_failures + 1)
            self._settings.source.outages.failed(self, error, now)
        self._commands = None
        if self._live.is_set():
            self._live.clear()
            self._lost_at = now
            # It reported changes until now, even if there were none.
            self._sink.stats = self._sink.stats.replace(last_success=self._settings.source.now())
            self._begin_patience()  # the pause before the next connection may be long
        else:
            self._begin_polling()

    def _count(self, *, connections: int = 0) -> None:
        stats, protocol = self._sink.stats, self._protocol
        self._sink.stats = structs.replace(
            stats,
            connections=stats.connections + connections,
            messages=protocol.messages,
            unreadable=protocol.unreadable,
            unacknowledged=protocol.unacknowledged,
            last_success=self._settings.source.now() if self._live.is_set() else stats.last_success,
        )

    def _count_failure(self, error: PortSIPError) -> None:
        stats = self._sink.stats
        self._sink.stats = stats.replace(failures=stats.failures + 1, last_error=error)

    # Polling while there is no connection.

    def _begin_patience(self) -> None:
        """Begin to poll in a while, unless there is a connection by then."""
        if self._settings.falls_back and self._patience is None and self._polling is None:
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(_PATIENCE, self._begin_polling)

    def _end_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _begin_polling(self) -> None:
        self._end_patience()
        if self._settings.falls_back and self._polling is None:
            stats = self._sink.stats
            self._sink.stats = stats.replace(source="poll")
            self._settings.source.outages.began_polling(self, stats.last_error, self._clock())
            self._polling = polling = self._settings.new_polling(self._numbers.discover)
            self._polling_task = self._group.create_task(polling.run(self._states.poll_sink()))

    # Extensions that come and go.

    async def _discover_forever(self) -> None:
        """Subscribe to what the PBX reports about extensions, and list them from time to time."""
        await self._live.wait()
        self._put([self._protocol.subscribe_management()])
        rediscover, verify = self._settings.rediscover, self._settings.verify
        pause = 0.0 if self._numbers.listed_at < self._lost_at else rediscover
        while True:
            await self._sleep(pause)
            try:
                await self._numbers.discover()
            except PortSIPError as error:
                if is_fatal(error):
                    raise
                self._count_failure(error)
                pause = rediscover
            else:
                pause = max(rediscover, verify) if self._is_managed else rediscover

    def _change_numbers(self, came: list[str], gone: list[str]) -> None:
        if self._commands is not None:
            self._put([*self._protocol.subscribe(came), *self._protocol.unsubscribe(gone)])
        for number in gone:
            self._states.forget(number)
            self._settings.directory.forget(number)

    def _renumber(self, number: str, user_id: str | None) -> None:
        """Watch the number of a changed extension, instead of the one that it had before."""
        if number in self._numbers or not self._numbers.discovers:
            return
        latest = self._sink.latest.values()
        for old in [
            each.extension_number for each in latest if user_id and each.user_id == user_id
        ]:
            self._numbers.remove(old)
        self._numbers.add(number)

    def _clock(self) -> float:
        return self._settings.source.clock()

    async def _sleep(self, seconds: float) -> None:
        await self._settings.source.sleep(seconds)
