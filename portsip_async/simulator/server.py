"""The simulated PBX on a port of this machine: `PBXSimulator`.

One handler serves every row of the endpoint table. It finds the row, lets the request meet its
fault, checks the token and the fields, and calls the action. The rest of the package holds the
steps: ``requests``, ``faults``, ``tokens``, ``fields``, ``actions`` and ``state``, ``quirks``.
"""

import asyncio
import logging
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, ParamSpec, Self, TypeVar
from urllib.parse import unquote

from aiohttp import web

from ..classic.operations import ENDPOINTS
from ..core.endpoint import Endpoint, EndpointOverride, EndpointTable
from .actions import ACTIONS, RequestContext
from .errors import PBXError
from .faults import Fault, Faults, ScriptedFaults, complete_script, draw
from .fields import read_fields
from .http_server import DroppedReply, HTTPServer, TruncatedReply
from .quirks import ReplyShaper, check_quirks
from .requests import choose_row, make_routes, read_form, read_request
from .state import PBX, Call, Greeting
from .tokens import TokenIssuer

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger(__name__)


class PBXSimulator:
    """An embedded PBX: all operations, real state, tokens that expire, faults and quirks.

    The arguments ``username``, ``password``, ``email``, ``host``, ``faults`` and ``max_in_flight``
    are attributes too; the last two may be set at any time.

    Attributes:
        served: arrivals by row, refused ones included.
        acted: by row, how often the operation was carried out, whatever became of the reply.
        rejected: by row, how many requests had an invalid token or none.
        injected: faults by kind, with "scripted" for scripts and "overload" for the limit.
        peak_in_flight: the most requests that were served at once.
        calls: the calls that were placed, the oldest first.
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
        """Create a PBX; it listens once it is started.

        Args:
            extensions: how many there are, numbered from "100" on.
            groups: how many extension groups there are, the default one included.
            token_lifetime: seconds until an access token expires.
            page_limit: the most items of a page, whatever is requested; None: no limit.
            faults: the faults by rate; None: none.
            seed: the generated data, and when faults happen, follow from it.
            port: the port to listen on; 0: a free one, kept over restarts.
            quirks: names out of ``QUIRKS``.
            username: the administrator's user name.
            password: the administrator's password.
            email: the administrator's email address.
            host: the address to listen on.
            endpoints: changed rows, as ``PortSIPClient(endpoints=)`` takes them.
            max_in_flight: requests at once above which more are answered 429; None: no limit.
            status_seconds: how long an extension keeps a status; 0: forever.
            clock: returns seconds; tokens and statuses depend on it.

        Raises:
            ValueError: a negative number, a lifetime or limit of zero, or an unknown quirk.
            ConfigurationError: ``endpoints`` names an unknown row, or two get the same path.
        """
        for name, value, minimum in (
            ("extensions", extensions, 0),
            ("groups", groups, 0),
            ("port", port, 0),
            ("status_seconds", status_seconds, 0),
            ("page_limit", page_limit, 1),
            ("max_in_flight", max_in_flight, 1),
        ):
            if value is not None and value < minimum:
                raise ValueError(f"{name} must be at least {minimum}, got {value!r}")
        if not token_lifetime > 0:
            raise ValueError(f"token_lifetime must be above 0 seconds, got {token_lifetime!r}")
        names = check_quirks(quirks)
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
        self.peak_in_flight: int = 0
        self._clock = clock
        self._created_at = clock()
        self._random = random.Random(seed)  # noqa: S311  # repeatable chance, not secrecy
        self._scripts = ScriptedFaults()
        self._shaper = ReplyShaper(names)
        self._routes = make_routes(EndpointTable(ENDPOINTS, endpoints))
        self._pbx = PBX(
            extensions=extensions,
            groups=groups,
            seed=seed,
            status_seconds=status_seconds,
            page_limit=page_limit,
            quirks=names,
        )
        self.calls: list[Call] = self._pbx.calls
        self._issuer = TokenIssuer(
            username=username,
            password=password,
            email=email,
            lifetime=token_lifetime,
            make_token=lambda: secrets.token_hex(16).upper(),
            quirks=names,
        )
        self._http = HTTPServer(self._handle, host, port, on_cut=self._issuer.revoke)

    def __repr__(self) -> str:
        where = self.url if self.port else "not started"
        return (
            f"<PBXSimulator {where} extensions={len(self._pbx.numbers)}"
            f" groups={len(self._pbx.groups)} served={self.served.total()}>"
        )

    # Start and stop.

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, on the port of the last start if there was one.

        Raises:
            RuntimeError: it is started already.
            OSError: the port is in use.
        """
        await self._http.start()

    async def stop(self) -> None:
        """Stop at once: cut all connections, and leave requests in flight without a reply.

        Tokens are lost, all else is kept. Does nothing if it is not started. A stop that is
        cancelled cuts everything all the same; another stop, or a start, waits for its end.
        """
        await self._http.stop()

    async def restart(self, downtime: float = 0.0) -> None:
        """Stop, wait for ``downtime`` seconds, and start on the same port."""
        await self.stop()
        await asyncio.sleep(downtime)
        await self.start()

    # What tests look at.

    @property
    def port(self) -> int:
        """The port; 0 before the first start if none was given."""
        return self._http.port

    @property
    def url(self) -> str:
        """The address to give to a client.

        Raises:
            RuntimeError: there is no port before the first start.
        """
        if not self.port:
            raise RuntimeError("the simulator has no address before it is started")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def in_flight(self) -> int:
        """How many requests are being served."""
        return len(self._http.requests)

    @property
    def tokens_issued(self) -> int:
        """How many tokens were issued, by logins and renewals."""
        return self._issuer.issued

    @property
    def extension_numbers(self) -> list[str]:
        """The extension numbers that exist, in the order of lists."""
        return list(self._pbx.numbers)

    @property
    def group_ids(self) -> list[str]:
        """The ids of the groups that exist, in the order of lists."""
        return list(self._pbx.groups)

    def extension(self, number: str) -> dict[str, Any]:
        """Return the settings of an extension, passwords included.

        Raises:
            KeyError: it does not exist.
        """
        return _or_key_error(self._pbx.show_extension, number)

    def group(self, group_id: str) -> dict[str, Any]:
        """Return a group with its members.

        Raises:
            KeyError: it does not exist.
        """
        return _or_key_error(self._pbx.show_group, group_id)

    def greetings(self, number: str) -> dict[str, Greeting]:
        """Return the greeting files of an extension by name, with size and SHA-256.

        Raises:
            KeyError: the extension does not exist.
        """
        return _or_key_error(self._pbx.greetings, number)

    # What tests change.

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
        """Make the next requests of one operation fail, or only slow.

        ``fail("extensions.show", status=503, times=2)`` fails two requests.
        ``fail("extensions.status", latency=2.0, times=None)`` makes an operation slow: its replies
        are good, and 2 seconds late. Several scripts of an operation apply one after the other.

        Args:
            operation: the name of its row, such as "extensions.show".
            status: the HTTP status; None: 200 with ``body``, the status that ``err_code`` begins
                with, the good reply with ``latency`` alone or ``truncate``, else 503.
            times: how many requests it applies to; None: all, until ``clear``.
            retry_after: the Retry-After header, in seconds or as a date; None: no header.
            err_code: the err_code of the reply; None: one that fits the status.
            msg: the message of the reply.
            body: the body of the reply in place of a PBX's error.
            content_type: the type of the body; None: that of JSON.
            latency: seconds by which the reply is late.
            drop: cut the connection without a reply.
            truncate: cut the reply in the middle of its body.
            act: carry the operation out all the same, as when a reply is lost.

        Raises:
            ValueError: an unknown row, a status that HTTP does not have, or a number out of range.
        """
        _check_operation(operation)
        if times is not None and times < 1:
            raise ValueError(f"times must be at least 1, got {times!r}")
        script = Fault(
            "scripted",
            status=status,
            err_code=err_code,
            msg=msg,
            retry_after=retry_after,
            body=body.encode() if isinstance(body, str) else body,
            content_type=content_type,
            latency=latency,
            drop=drop,
            truncate=truncate,
            act=act,
        )
        self._scripts.add(operation, complete_script(script), times)

    def clear(self, operation: str | None = None) -> None:
        """Drop the remaining scripts of an operation; None: of all operations."""
        if operation is not None:
            _check_operation(operation)
        self._scripts.clear(operation)

    def revoke(self) -> None:
        """Revoke all tokens at once."""
        self._issuer.revoke()

    def set_status(self, number: str, status: str | None, *, user_agent: str | None = None) -> None:
        """Set the status of an extension for good; None lets it change by itself again.

        Raises:
            KeyError: the extension does not exist.
        """
        _or_key_error(self._pbx.pin_status, number, status, user_agent)

    # Serving.

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve a request: find its row, count it, and reply."""
        if not self._http.is_listening:
            return DroppedReply()  # it came during a stop
        path, _, query = request.raw_path.partition("?")
        rows = self._routes.get((request.method, path)) or self._routes.get(
            (request.method, unquote(path))
        )
        if rows is None:
            return self._refuse("no URI")
        row = rows[0] if len(rows) == 1 else choose_row(rows, request)
        self.served[row.name] += 1
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # aiohttp runs each handler in a task
        in_flight = self._http.requests
        in_flight.add(task)
        self.peak_in_flight = max(self.peak_in_flight, len(in_flight))
        try:
            response = await self._respond(row, request, query)
            if not isinstance(response, DroppedReply):
                # Discard the body if nobody read it. aiohttp would wait for it in a task that
                # outlives the connection, and a stop would wait for that task.
                await request.release()
            return response
        except (ConnectionError, web.RequestPayloadError):
            return DroppedReply()  # the client went away while its request was read
        finally:
            in_flight.discard(task)

    async def _respond(
        self, row: Endpoint[Any], request: web.BaseRequest, query: str
    ) -> web.StreamResponse:
        """Carry out a request, or what its fault leaves of it."""
        if self.max_in_flight is not None and self.in_flight > self.max_in_flight:
            self.injected["overload"] += 1
            return self._refuse("rate")
        faults = self.faults
        fault = self._scripts.take(row.name) or draw(faults, self._random.random)
        if fault is not None and fault.revoke and row.token == "none":
            fault = None  # there is no token to revoke
        latency = faults.latency + (fault.latency if fault else 0.0)
        if latency:
            await asyncio.sleep(latency)
        if fault is None:
            return self._response(*await self._result(row, request, query))
        self.injected[fault.kind] += 1
        if fault.acts:
            status, body = await self._result(row, request, query, revoke=fault.revoke)
            if fault.status is None and not fault.drop:
                return self._response(status, body, truncate=fault.truncate)
        return self._failure(fault)

    async def _result(
        self, row: Endpoint[Any], request: web.BaseRequest, query: str, *, revoke: bool = False
    ) -> tuple[int, bytes]:
        """Carry out a request, and return the status and the body of the reply."""
        try:
            sent, token = await read_request(row, request, query)
            now = self._clock() - self._created_at
            if row.token != "none":
                if revoke and token:  # without a token, the issuer would revoke all of them
                    self._issuer.revoke(token)
                if not self._issuer.is_valid(token, now):
                    self.rejected[row.name] += 1
                    raise PBXError("token")
            if row.parameters == "multipart":  # a file is read only after the token was checked
                sent = await read_form(request)
            context = RequestContext(self._pbx, self._issuer, token, now)
            reply = ACTIONS[row.name](context, read_fields(row.name, sent))
            self.acted[row.name] += 1
            return 200, self._shaper.reply(row.name, reply)
        except PBXError as error:
            refused = error
        except web.HTTPRequestEntityTooLarge:
            refused = PBXError("too large")
        except (ConnectionError, web.RequestPayloadError):
            raise
        except Exception as error:
            # Only the type is logged: the text may quote the request.
            _log.error("%s failed in the simulator: %s", row.name, type(error).__name__)
            refused = PBXError("internal")
        return self._shaper.error(refused.status, refused.err_code, refused.msg)

    def _failure(self, fault: Fault) -> web.StreamResponse:
        """Make the reply that a fault describes."""
        if fault.drop:
            return DroppedReply()
        status, body = fault.status or 200, fault.body or b""
        if fault.body is None and fault.err_code is not None:
            status, body = self._shaper.error(status, fault.err_code, fault.msg)
        headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
        return self._response(status, body, fault.content_type, headers, truncate=fault.truncate)

    def _refuse(self, reason: str) -> web.StreamResponse:
        error = PBXError(reason)
        return self._response(*self._shaper.error(error.status, error.err_code, error.msg))

    def _response(
        self,
        status: int,
        body: bytes,
        content_type: str | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        *,
        truncate: bool = False,
    ) -> web.StreamResponse:
        kind = content_type or self._shaper.content_type
        make = TruncatedReply if truncate else web.Response
        return make(body=body, status=status, headers={"Content-Type": kind, **headers})


def _or_key_error(read: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    try:
        return read(*arguments, **named)
    except PBXError:
        raise KeyError(arguments[0]) from None


def _check_operation(name: str) -> None:
    if name not in ACTIONS:
        raise ValueError(f"operation must be the name of a row, got {name!r}")
