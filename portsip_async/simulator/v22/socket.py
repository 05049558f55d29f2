"""The web socket `/wsi` of the simulated PBX: `LiveSocket`, reached as ``sim.v22.socket``.

It reads commands with its own code, not with that of the SDK. ``socket_messages`` has the texts,
``socket_connection`` is one open socket, and ``followed`` finds out what has changed.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable

from aiohttp import WSMsgType, web

from ...arguments import check_choice, check_int, check_number, check_type
from ..state import PBX
from ..thread import SimulatorThread, in_its_thread
from .errors import V22Error
from .followed import FollowedExtensions
from .logins import Logins
from .socket_connection import SocketConnection
from .socket_messages import (
    MANAGEMENT,
    STATES,
    TOPICS,
    WRONG_LOGIN,
    Command,
    Events,
    read_command,
    read_login,
)
from .users import Users

PATH = "/wsi"
_FOREVER = float("inf")


class LiveSocket:
    """The web socket that reports statuses, and its faults.

    The three switches may be set at any time, and `clear` sets them back.

    Attributes:
        connections: how many sockets were opened.
        logins: how many logins were accepted.
        subscriptions: how many subscriptions were accepted.
        injected: by kind, how many faults happened: "cut" and "silence" by socket, "say" by
            message, "refuse", "delay", "login" and "topic".
        acknowledges: whether accepted subscriptions are acknowledged; refusals always are.
        sends_states: whether the current states are sent after a subscription.
    """

    def __init__(
        self,
        pbx: PBX,
        users: Users,
        logins: Logins,
        thread: SimulatorThread,
        *,
        domain: str,
        quirks: frozenset[str],
        now: Callable[[], float],
    ) -> None:
        """Store the state, and follow its changes."""
        self.connections: int = 0
        self.logins: int = 0
        self.subscriptions: int = 0
        self.injected: Counter[str] = Counter()
        self.acknowledges: bool = True
        self.sends_states: bool = True
        self._users = users
        self._logins = logins
        self._thread = thread
        self._domain = domain
        self._quirks = quirks
        self._now = now
        self._events = Events(users, domain, quirks)
        chance = random.Random(pbx.seed).random  # noqa: S311  # repeatable chance, not secrecy
        self._followed = FollowedExtensions(pbx, self._events, now, chance)
        pbx.on_change = self._followed.on_change
        self._open: set[SocketConnection] = set()
        # The scripts: how many more times each applies.
        self._refused_handshakes = 0.0
        self._refusal = 503
        self._late_handshakes = 0.0
        self._delay = 0.0
        self._refused_logins = 0.0
        self._refused_topics: dict[str, float] = {}

    def __repr__(self) -> str:
        return (
            f"<LiveSocket open={len(self._open)} followed={len(self._followed)}"
            f" events={self.events}>"
        )

    # For tests: what happened.

    @property
    def open(self) -> int:
        """How many sockets are open."""
        return len(self._open)

    @property
    def followed(self) -> int:
        """How many extension numbers the open sockets are subscribed to."""
        return len(self._followed)

    @property
    def events(self) -> int:
        """How many events were sent; one event to two sockets counts twice."""
        return self._followed.sent

    @property
    def reorders(self) -> bool:
        """Whether events are held for 10 ms, and those of different extensions change places."""
        return self._followed.reorders

    @reorders.setter
    def reorders(self, on: bool) -> None:
        self._followed.reorders = on

    # For tests: faults.

    @in_its_thread
    def cut(self) -> None:
        """Cut all open sockets at once, without a farewell."""
        self.injected["cut"] += len(self._open)
        for socket in self._open:
            socket.cut()

    @in_its_thread
    def silence(self, *, pings: bool = False) -> None:
        """Let the sockets that are open now send nothing more, and stay open.

        Args:
            pings: whether they still answer pings.
        """
        self.injected["silence"] += len(self._open)
        for socket in self._open:
            socket.silence(answers_pings=pings)

    @in_its_thread
    def say(self, text: str | bytes) -> None:
        """Send a message to all sockets that are logged in, as it is; bytes as a binary message."""
        check_type("text", text, str, bytes)
        kind = WSMsgType.TEXT if isinstance(text, str) else WSMsgType.BINARY
        message = text.encode() if isinstance(text, str) else text
        self.injected["say"] += 1
        for socket in self._open:
            if socket.is_logged_in:
                socket.send(message, kind)

    @in_its_thread
    def refuse(self, status: int = 503, times: int | None = None) -> None:
        """Refuse new sockets with an HTTP status.

        Args:
            status: the HTTP status, from 200 to 599.
            times: how many sockets are refused; None means all, until `clear`.
        """
        self._refusal = check_int("status", status, 200, 599)
        self._refused_handshakes = _times(times)

    @in_its_thread
    def delay(self, seconds: float, times: int | None = None) -> None:
        """Open new sockets late.

        Args:
            seconds: how late.
            times: how many sockets are late; None means all, until `clear`.
        """
        self._delay = check_number("seconds", seconds)
        self._late_handshakes = _times(times)

    @in_its_thread
    def refuse_login(self, times: int | None = None) -> None:
        """Refuse logins, even right ones.

        Args:
            times: how many logins are refused; None means all, until `clear`.
        """
        self._refused_logins = _times(times)

    @in_its_thread
    def refuse_topic(self, topic: str, times: int | None = None) -> None:
        """Refuse subscriptions to a topic, such as "extension_management_events".

        Args:
            topic: the name of the topic.
            times: how many subscriptions are refused; None means all, until `clear`.
        """
        check_choice("topic", topic, *sorted(TOPICS))
        self._refused_topics[topic] = _times(times)

    @in_its_thread
    def clear(self) -> None:
        """End all scripts, and set the switches back. Sockets that are silent stay so."""
        self._refused_handshakes = self._late_handshakes = self._refused_logins = 0.0
        self._refused_topics.clear()
        self.acknowledges = self.sends_states = True
        self.reorders = False

    # Serving.

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Open a socket and serve it until it ends.

        Raises:
            V22Error: the handshake is refused.
        """
        if self._late_handshakes:
            self._late_handshakes -= 1
            self.injected["delay"] += 1
            await asyncio.sleep(self._delay)
        if self._refused_handshakes:
            self._refused_handshakes -= 1
            self.injected["refuse"] += 1
            raise V22Error(self._refusal, "Simulated failure")
        if not web.WebSocketResponse().can_prepare(request):
            raise V22Error(400, "this address is for web sockets")
        socket = SocketConnection(request)
        self.connections += 1
        self._open.add(socket)
        try:
            return await socket.serve(self._receive)
        finally:
            self._open.discard(socket)
            self._followed.drop(socket)

    def _receive(self, socket: SocketConnection, message: str | bytes) -> None:
        """Carry out a command."""
        socket.replies += 1
        command = read_command(message)
        if command is None:
            socket.send(self._events.reply("", str(socket.replies), error="not a command in JSON"))
            return
        reply_id = command.id or str(socket.replies)
        topics = None if command.name == "auth" else command.topics
        try:
            states = self._carry_out(socket, command)
        except V22Error as refused:
            error = refused.message
            socket.send(self._events.reply(command.name, reply_id, topics=topics, error=error))
            return
        if self.acknowledges or command.name == "auth":
            socket.send(self._events.reply(command.name, reply_id, topics=topics))
        for message in states:
            socket.send(message)

    def _carry_out(self, socket: SocketConnection, command: Command) -> list[bytes]:
        """Carry out a command, and return the messages that follow its acknowledgement.

        Raises:
            V22Error: it is refused.
        """
        if command.name == "auth":
            self._log_in(socket, command)
            return []
        if command.name not in ("subscribe", "unsubscribe"):
            raise V22Error(400, "unknown command")
        if not socket.is_logged_in:
            raise V22Error(401, "auth must come first")
        numbers = command.extensions
        if not command.topics or not TOPICS.issuperset(command.topics):
            raise V22Error(400, "topics are missing or unknown")
        if STATES in command.topics and not numbers:
            raise V22Error(400, "extensions are missing")
        if command.name == "unsubscribe":
            self._unsubscribe(socket, command)
            return []
        for topic in command.topics:
            self._check_topic(socket, topic)
        self.subscriptions += 1
        if MANAGEMENT in command.topics:
            self._followed.follow_management(socket)
        if STATES not in command.topics:
            return []
        states = self._followed.subscribe(socket, numbers or [])
        return states if self.sends_states else []

    def _log_in(self, socket: SocketConnection, command: Command) -> None:
        if self._refused_logins:
            self._refused_logins -= 1
            self.injected["login"] += 1
            raise V22Error(400, WRONG_LOGIN)
        login = read_login(command)
        if login is None:
            raise V22Error(400, WRONG_LOGIN)
        name = login.username
        if name is None:
            name = self._users.name_of(login.extension_number or "")
        try:
            user = self._logins.check(name, login.password, login.domain or None, self._now())
        except V22Error as error:
            raise V22Error(400, error.message if error.status == 403 else WRONG_LOGIN) from None
        if user is not None and not login.domain:  # only a system administrator has no domain
            raise V22Error(400, WRONG_LOGIN)
        self.logins += 1
        socket.is_logged_in = True
        socket.user, socket.is_system = user, not login.domain

    def _check_topic(self, socket: SocketConnection, topic: str) -> None:
        """Check that a socket may subscribe to a topic."""
        if self._refused_topics.get(topic):
            self._refused_topics[topic] -= 1
            self.injected["topic"] += 1
            raise V22Error(403, "permission denied")
        is_global = topic.startswith("global_")
        # Up to 22.2, a user may not follow who is created, updated and destroyed.
        is_for_admins = topic == MANAGEMENT and "v22_3" not in self._quirks
        if is_global != socket.is_system or (is_for_admins and socket.user is not None):
            raise V22Error(403, "permission denied")

    def _unsubscribe(self, socket: SocketConnection, command: Command) -> None:
        if MANAGEMENT in command.topics:
            self._followed.leave_management(socket)
        if STATES in command.topics:
            self._followed.unsubscribe(socket, command.extensions or [])


def _times(times: int | None) -> float:
    return _FOREVER if times is None else check_int("times", times, 1)
