"""The simulated PBX on a port of this machine: aiohttp.web around the pure state.

One handler serves every row of the endpoint table. aiohttp's access log would print the token of
each GET, so it is off; its error log may quote what could not be read, so it is cut short.
"""

import asyncio
import logging
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar
from urllib.parse import unquote

from aiohttp import web

from ..classic.operations import EndpointOverride, EndpointTable
from ..core.endpoint import Endpoint
from .accounts import Accounts
from .connections import ConnectionServer
from .faults import Fault, Faults, Scripts, draw, scripted
from .operations import OPERATIONS, Visit
from .quirks import Manner, checked
from .reading import read_fields, read_json, read_query
from .refusal import Refusal
from .replies import Truncated, Unanswered, discreet_log, invite_body, make_request
from .routes import TOKEN_PLACES, chosen, routes_of
from .state import PBX, Call, Greeting
from .uploads import read_upload

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger(__name__)

_BACKLOG = 2048  # connections that wait to be accepted, as when hundreds of calls start at once
_END_SECONDS = 5.0  # the most that a stop waits for what it has cut; a few turns of the loop do


class PBXSimulator:
    """An embedded PBX: all operations, real state, tokens that expire, faults and quirks.

    Attributes:
        username: the administrator's user name.
        password: the administrator's password.
        email: the administrator's email address, for a login by email.
        host: the address that is listened on.
        faults: the faults by rate; may be set at any time.
        max_in_flight: requests at once above which more are answered 429; None: no limit.
        served: arrivals by row, refused ones included.
        acted: by row, how often the operation was carried out, whatever came of the reply.
        rejected: by row, how many requests had a token that is wrong, missing or dead.
        injected: faults by kind, with "scripted" for scripts and "overload" for the limit.
        in_flight: requests that are being served.
        peak_in_flight: the most that were served at once.
    """

    def __init__(
        self,
        extensions: int = 1000,
        groups: int = 10,
        token_lifetime: float = 30.0,
        page_limit: int | None = None,
        faults: Faults | None = None,
        seed: int = 0,
        port: int = 0,
        quirks: Iterable[str] = (),
        *,
        username: str = "admin",
        password: str = "simulated-Secret-1",  # noqa: S107  # made up, and shown to users
        email: str = "admin@pbx.example",
        host: str = "127.0.0.1",
        endpoints: Mapping[str, EndpointOverride] | None = None,
        max_in_flight: int | None = None,
        status_seconds: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make up a PBX; it listens once it is started.

        Args:
            extensions: how many there are, numbered from "100" on.
            groups: how many extension groups there are, the default one among them.
            token_lifetime: seconds that an access token lives.
            page_limit: the most items that a page holds, whatever is asked for; None: no limit.
            faults: the faults by rate; None: none.
            seed: what is made up, and when faults strike, follows from it.
            port: the port to listen on; 0: a free one, kept over restarts.
            quirks: names out of ``QUIRKS``.
            username: the administrator's user name.
            password: the administrator's password.
            email: the administrator's email address.
            host: the address to listen on.
            endpoints: rows at other places, as ``PortSIPClient(endpoints=)`` takes them.
            max_in_flight: requests at once above which more are answered 429; None: no limit.
            status_seconds: how long an extension keeps a status; 0: for ever.
            clock: tells seconds; tokens and statuses go by it.

        Raises:
            ValueError: a negative number, a lifetime or limit of zero, or an unknown quirk.
            ConfigurationError: ``endpoints`` names an unknown row, or mounts two at one place.
        """
        for name, value, least in (
            ("extensions", extensions, 0),
            ("groups", groups, 0),
            ("port", port, 0),
            ("status_seconds", status_seconds, 0),
            ("page_limit", page_limit, 1),
            ("max_in_flight", max_in_flight, 1),
        ):
            if value is not None and value < least:
                raise ValueError(f"{name} is at least {least}: {value!r}")
        if not token_lifetime > 0:
            raise ValueError(f"token_lifetime is above 0 seconds: {token_lifetime!r}")
        names = checked(quirks)
        self.username: str = username
        self.password: str = password
        self.email: str = email
        self.host = host
        self.faults: Faults = faults or Faults()
        self.max_in_flight = max_in_flight
        self.served: Counter[str] = Counter()
        self.acted: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.injected: Counter[str] = Counter()
        self.in_flight: int = 0
        self.peak_in_flight: int = 0
        self._port = port
        self._clock = clock
        self._made_at = clock()
        self._random = random.Random(seed)  # noqa: S311  # chance to repeat, not secrecy
        self._scripts = Scripts()
        self._manner = Manner(names)
        self._routes = routes_of(EndpointTable(endpoints))
        self._pbx = PBX(
            extensions=extensions,
            groups=groups,
            seed=seed,
            status_seconds=status_seconds,
            page_limit=page_limit,
            quirks=names,
        )
        self._accounts = Accounts(
            username=username,
            password=password,
            email=email,
            lifetime=token_lifetime,
            make_token=lambda: secrets.token_hex(16).upper(),
            quirks=names,
        )
        self._server: ConnectionServer | None = None  # set from the beginning of a start to a stop
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ending: asyncio.Task[None] | None = None  # of the last stop

    def __repr__(self) -> str:
        where = self.url if self._port else "not started"
        return (
            f"<PBXSimulator {where} extensions={self._pbx.extension_count}"
            f" groups={len(self._pbx.group_ids)} served={self.served.total()}>"
        )

    # Life.

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, on the port of the last start if there was one.

        Raises:
            RuntimeError: it is started already.
            OSError: the port is in use.
        """
        if self._server is not None:
            raise RuntimeError("the simulator is started already")
        self._server = ConnectionServer(
            self._handle,
            request_factory=make_request,
            access_log=None,
            logger=discreet_log(),
            lingering_time=0,
        )
        try:
            if self._ending is not None:
                await asyncio.wait([self._ending])
            # Without start_serving, nothing that must be closed is made before an await.
            self._listener = await asyncio.get_running_loop().create_server(
                self._server, self.host, self._port, backlog=_BACKLOG, start_serving=False
            )
            self._port = self._listener.sockets[0].getsockname()[1]
            await self._listener.start_serving()
        except BaseException:
            await self.stop()
            self._server = None
            raise

    async def stop(self) -> None:
        """Stop at once: connections are cut, requests in flight die unanswered.

        Tokens are lost, all else is kept. Does nothing if it is not started. A stop that is
        cancelled cuts everything all the same; another stop, or a start, waits for its end.
        """
        listener, server = self._listener, self._server
        if listener is not None and server is not None:
            self._listener = self._server = None
            with suppress(NotImplementedError):  # of a loop without readers, as on Windows
                for listening in listener.sockets:
                    asyncio.get_running_loop().remove_reader(listening.fileno())
            self._ending = asyncio.create_task(self._end(listener, server))
        if self._ending is not None:
            await asyncio.shield(self._ending)

    async def _end(self, listener: asyncio.Server, server: ConnectionServer) -> None:
        """Close the listener, and cut what it has accepted."""
        # A connection that was accepted before the stop has its transport by now, as its task began
        # before this one. Earlier, the transport could not be attached to the closed listener, and
        # the connection would be lost unclosed. ``server`` learns of it in the next turn.
        listener.close()
        try:
            await asyncio.sleep(0)
        finally:
            server.abort()
            for task in self._tasks:
                task.cancel()
            self._accounts.revoke()
        # Not by ``listener.wait_closed()``: until Python 3.12 it waits for no connection.
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                await server.wait_ended()

    async def restart(self, downtime: float = 0.0) -> None:
        """Stop, stay away for ``downtime`` seconds, and start on the same port."""
        await self.stop()
        await asyncio.sleep(downtime)
        await self.start()

    # What it shows.

    @property
    def port(self) -> int:
        """The port; 0 before the first start of a simulator that was given none."""
        return self._port

    @property
    def url(self) -> str:
        """The address to give to a client.

        Raises:
            RuntimeError: there is no port before the first start.
        """
        if not self._port:
            raise RuntimeError("the simulator has no address before it is started")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self._port}"

    @property
    def tokens_issued(self) -> int:
        """How many tokens logins and renewals were given."""
        return self._accounts.issued

    @property
    def calls(self) -> list[Call]:
        """The calls that were placed, the oldest first."""
        return self._pbx.calls

    @property
    def extension_numbers(self) -> list[str]:
        """The extension numbers that exist, in the order of lists."""
        return self._pbx.extension_numbers

    @property
    def group_ids(self) -> list[str]:
        """The ids of the groups that exist, in the order of lists."""
        return self._pbx.group_ids

    def extension(self, number: str) -> dict[str, Any]:
        """Tell an extension's settings, passwords included.

        Raises:
            KeyError: it does not exist.
        """
        return _found(self._pbx.show_extension, number)

    def group(self, group_id: str) -> dict[str, Any]:
        """Tell a group with its members.

        Raises:
            KeyError: it does not exist.
        """
        return _found(self._pbx.show_group, group_id)

    def greetings(self, number: str) -> dict[str, Greeting]:
        """Tell the greeting files of an extension by their names, with size and SHA-256.

        Raises:
            KeyError: the extension does not exist.
        """
        return _found(self._pbx.greetings, number)

    # What it is told to do.

    def fail(
        self,
        operation: str,
        *,
        status: int | None = None,
        times: int | None = 1,
        retry_after: float | str | None = None,
        err_code: float | int | str | None = None,
        msg: str = "Simulated failure",
        body: bytes | str | None = None,
        content_type: str | None = None,
        latency: float = 0.0,
        drop: bool = False,
        truncate: bool = False,
        act: bool = False,
    ) -> None:
        """Let the next requests of a row fail; several scripts of a row take their turn.

        Args:
            operation: the row's name, such as "extensions.show".
            status: the HTTP status; left out, it follows from the rest: 200 for a ``body``, the
                ``err_code``'s own, the operation's true reply for ``latency`` alone or
                ``truncate``, else 503.
            times: how many requests fail; None: all, until ``clear``.
            retry_after: the Retry-After header, in seconds or as a date.
            err_code: the reply's err_code; left out, one that fits the status.
            msg: the reply's message.
            body: sent as it is in place of a PBX's error.
            content_type: the body's type; left out, that of JSON.
            latency: seconds by which the reply is late.
            drop: cut the connection without a reply.
            truncate: cut the reply in the middle of its body.
            act: carry the operation out all the same, as when a reply is lost.

        Raises:
            ValueError: an unknown row, a status that HTTP lacks, or a number below its least.
        """
        _check_row(operation)
        if times is not None and times < 1:
            raise ValueError(f"times is at least 1: {times!r}")
        fault = scripted(
            status=status,
            err_code=err_code,
            msg=msg,
            retry_after=retry_after,
            body=body,
            content_type=content_type,
            latency=latency,
            drop=drop,
            truncate=truncate,
            act=act,
        )
        self._scripts.add(operation, fault, times)

    def clear(self, operation: str | None = None) -> None:
        """Forget the scripts of a row that are left over; None: of all rows."""
        if operation is not None:
            _check_row(operation)
        self._scripts.clear(operation)

    def revoke(self) -> None:
        """Let all tokens die at once."""
        self._accounts.revoke()

    def set_status(self, number: str, status: str | None, *, user_agent: str | None = None) -> None:
        """Hold an extension at a status; None lets it change by itself again.

        Raises:
            KeyError: the extension does not exist.
        """
        _found(self._pbx.pin_status, number, status, user_agent)

    # Serving.

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._listener is None:
            return Unanswered()  # it came while the simulator stops
        path, _, query = request.raw_path.partition("?")
        rows = self._routes.get((request.method, path)) or self._routes.get(
            (request.method, unquote(path))
        )
        if rows is None:
            return self._response(*self._manner.refusal(Refusal("no URI")))
        row = rows[0] if len(rows) == 1 else chosen(rows, request)
        self.served[row.name] += 1
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # aiohttp runs each handler in a task
        self._tasks.add(task)
        try:
            response = await self._meet(row, request, query)
            if not isinstance(response, Unanswered):
                # What is left of a body that nobody read; aiohttp would wait for it in a task
                # that outlives the connection, and with it a stop.
                await request.release()
            return response
        except (ConnectionError, web.RequestPayloadError):
            return Unanswered()  # the client went away while its request was read
        finally:
            self._tasks.discard(task)
            self.in_flight -= 1

    async def _meet(
        self, row: Endpoint[Any], request: web.BaseRequest, query: str
    ) -> web.StreamResponse:
        """Let a request meet its fault, if there is one."""
        if self.max_in_flight is not None and self.in_flight > self.max_in_flight:
            self.injected["overload"] += 1
            return self._response(*self._manner.refusal(Refusal("rate")))
        faults = self.faults
        fault = self._scripts.take(row.name) or draw(faults, self._random.random)
        if fault is not None and fault.revoke and row.token == "none":
            fault = None  # there is no token to die
        latency = faults.latency + (fault.latency if fault else 0.0)
        if latency:
            await asyncio.sleep(latency)
        if fault is None:
            return self._response(*await self._serve(row, request, query))
        self.injected[fault.kind] += 1
        if fault.acts:
            status, body = await self._serve(row, request, query, revoke=fault.revoke)
            if fault.status is None and not fault.drop:
                return self._response(status, body, truncate=fault.truncate)
        return self._failure(fault)

    async def _serve(
        self, row: Endpoint[Any], request: web.BaseRequest, query: str, *, revoke: bool = False
    ) -> tuple[int, bytes]:
        """Carry a request out: the status and the body that answer it."""
        try:
            return 200, self._manner.reply(row.name, await self._act(row, request, query, revoke))
        except Refusal as refusal:
            return self._manner.refusal(refusal)
        except web.HTTPRequestEntityTooLarge:
            return self._manner.refusal(Refusal("too large"))
        except (ConnectionError, web.RequestPayloadError):
            raise
        except Exception as error:
            # Only its type is told: the text may quote the request.
            _log.error("%s failed in the simulator: %s", row.name, type(error).__name__)
            return self._manner.refusal(Refusal("broken"))

    async def _act(
        self, row: Endpoint[Any], request: web.BaseRequest, query: str, revoke: bool
    ) -> dict[str, Any] | None:
        if request.body_exists:
            await invite_body(request)
        in_query = read_query(query)
        given = in_query
        if row.parameters == "json":
            body = await request.read()
            given = read_json(body) if body else {}
        token = TOKEN_PLACES[row.token](request, in_query, given)
        now = self._clock() - self._made_at
        if row.token != "none":
            if revoke and token:  # without one, "revoke" would mean them all
                self._accounts.revoke(token)
            if not self._accounts.lives(token, now):
                self.rejected[row.name] += 1
                raise Refusal("token")
        if row.parameters == "multipart":
            given = await read_upload(request)
        operation = OPERATIONS[row.name]
        visit = Visit(self._pbx, self._accounts, token, now)
        reply = operation.act(visit, read_fields(operation.fields, given))
        self.acted[row.name] += 1
        return reply

    def _failure(self, fault: Fault) -> web.StreamResponse:
        if fault.drop:
            return Unanswered()
        status, body = fault.status or 200, fault.body
        if body is None and fault.err_code is None:
            body = b""
        elif body is None:
            status, body = self._manner.error(status, fault.err_code, fault.msg)
        headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
        return self._response(
            status, body, fault.content_type, headers=headers, truncate=fault.truncate
        )

    def _response(
        self,
        status: int,
        body: bytes,
        content_type: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        truncate: bool = False,
    ) -> web.StreamResponse:
        kind = content_type or self._manner.content_type
        make = Truncated if truncate else web.Response
        return make(body=body, status=status, headers={"Content-Type": kind, **(headers or {})})


def _found(tell: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    try:
        return tell(*arguments, **named)
    except Refusal:
        raise KeyError(arguments[0]) from None


def _check_row(operation: str) -> None:
    if operation not in OPERATIONS:
        raise ValueError(f"there is no row {operation!r}")
