"""The simulated PBX on a port of this machine: `PBXSimulator`.

One server and one state serve both generations. Each generation is a `Face`: `classic_face` and
``v22``. The server finds the face and the row of a request, and injects a fault if there is one.
"""

import asyncio
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar

from aiohttp import web

from ..arguments import check_type
from ..core.endpoint import EndpointOverride
from .checks import GENERATIONS, check_counts, check_generations, check_names, check_seconds
from .classic_face import ClassicFace
from .errors import PBXError
from .face import Face, MatchedRequest, Reply
from .faults import Faults, draw
from .http_server import DroppedReply, HTTPServer, TruncatedReply
from .quirks import check_quirks
from .records import Call, Greeting
from .state import PBX
from .thread import Lifecycle, SimulatorThread, in_its_thread
from .tokens import TokenIssuer
from .v22.face import V22Face
from .v22.socket import PATH

P = ParamSpec("P")
T = TypeVar("T")


class PBXSimulator(Lifecycle):
    """An embedded PBX: all operations, real state, tokens that expire, faults and quirks.

    The arguments ``username``, ``password``, ``email``, ``domain``, ``host``, ``faults`` and
    ``max_in_flight`` are attributes too; the last two may be set at any time. The counts are those
    of classic operations; ``sim.v22`` has the same for v22.

    Attributes:
        v22: the face of generation v22: its counts, and faults of its operations.
        served: by row, how many requests arrived, including refused ones.
        acted: by row, how often the operation was carried out, even if its reply was lost.
        rejected: by row, how many requests had an invalid token or none.
        injected: by kind, how many faults happened. "scripted" counts scripts, and "overload"
            requests above the limit.
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
        domain: str = "test.io",
        generations: Collection[str] = GENERATIONS,
        second_factor: bool = False,
        host: str = "127.0.0.1",
        endpoints: Mapping[str, EndpointOverride] | None = None,
        max_in_flight: int | None = None,
        status_seconds: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create a PBX; it listens once it is started.

        Args:
            extensions: how many extensions there are; the first number is "100".
            groups: how many extension groups there are, including the default one.
            token_lifetime: seconds until an access token expires.
            page_limit: the most items in a page, whatever is requested; None sets no limit. It
                caps ``top`` of v22 too.
            faults: the rates of random faults; None means no faults.
            seed: determines the generated data and the random faults.
            port: the port to listen on; 0 chooses a free one, and keeps it over restarts.
            quirks: names from ``QUIRKS``.
            username: the administrator's user name.
            password: the administrator's password.
            email: the administrator's email address.
            domain: the SIP domain of the tenant; a login to v22 names it or none.
            generations: "classic", "v22" or both. Operations of others get 404.
            second_factor: whether a login to v22 needs a code as well; see ``sim.v22.otp``.
            host: the address to listen on.
            endpoints: overrides of classic rows, as in ``PortSIPClient(endpoints=)``.
            max_in_flight: the most requests at once; further ones get 429. None sets no limit.
            status_seconds: how long an extension keeps a status; 0 means forever.
            clock: returns seconds; tokens and statuses depend on it.

        Raises:
            ValueError: a negative number, a lifetime or limit of zero, or an unknown quirk or
                generation.
            ConfigurationError: an override of an unknown row, or of a row with an invalid value.
        """
        check_counts(
            extensions=extensions,
            groups=groups,
            port=port,
            page_limit=page_limit,
            max_in_flight=max_in_flight,
        )
        check_seconds(status_seconds=status_seconds, token_lifetime=token_lifetime)
        check_names(username=username, password=password, email=email, domain=domain, host=host)
        check_generations(generations)
        check_type("second_factor", second_factor, bool)
        names = check_quirks(quirks)
        self.username: str = username
        self.password: str = password
        self.email: str = email
        self.domain: str = domain
        self.host = host
        self.faults: Faults = faults or Faults()
        self.max_in_flight = max_in_flight
        self.peak_in_flight: int = 0
        self._thread = SimulatorThread()
        self._clock = clock
        self._created_at = clock()
        self._random = random.Random(seed)  # noqa: S311  # repeatable chance, not secrecy
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
        self._classic = ClassicFace(
            self._pbx,
            self._issuer,
            self._thread,
            endpoints=endpoints,
            quirks=names,
            now=self._now,
        )
        self.v22: V22Face = V22Face(
            self._pbx,
            self._thread,
            username=username,
            password=password,
            email=email,
            domain=domain,
            token_lifetime=token_lifetime,
            second_factor=second_factor,
            page_limit=page_limit,
            quirks=names,
            now=self._now,
        )
        self.served: Counter[str] = self._classic.served
        self.acted: Counter[str] = self._classic.acted
        self.rejected: Counter[str] = self._classic.rejected
        self.injected: Counter[str] = self._classic.injected
        faces: Mapping[str, Face] = {"classic": self._classic, "v22": self.v22}
        # The first one refuses what no face has a row for.
        self._faces = [faces[name] for name in GENERATIONS if name in generations]
        self._http = HTTPServer(self._handle, host, port, on_cut=self._forget_tokens)

    def __repr__(self) -> str:
        where = self.url if self.port else "not started"
        served = self.served.total() + self.v22.served.total()
        return (
            f"<PBXSimulator {where} extensions={len(self._pbx.numbers)}"
            f" groups={len(self._pbx.groups)} served={served}>"
        )

    # For tests: what happened, and what the PBX holds.

    @property
    def port(self) -> int:
        """The port; 0 before the first start if none was given."""
        return self._http.port

    @property
    def url(self) -> str:
        """The address to pass to a client.

        Raises:
            RuntimeError: there is no port before the first start.
        """
        if not self.port:
            raise RuntimeError("the simulator has no address yet: start it first")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def in_flight(self) -> int:
        """How many requests are being served."""
        return len(self._http.requests)

    @property
    def tokens_issued(self) -> int:
        """How many classic tokens were issued, by logins and renewals."""
        return self._issuer.issued

    @property
    @in_its_thread
    def extension_numbers(self) -> list[str]:
        """The extension numbers that exist, in the order of lists."""
        return list(self._pbx.numbers)

    @property
    @in_its_thread
    def group_ids(self) -> list[str]:
        """The ids of the groups that exist, in the order of lists."""
        return list(self._pbx.groups)

    @in_its_thread
    def extension(self, number: str) -> dict[str, Any]:
        """Return the settings of an extension, passwords included.

        Raises:
            KeyError: it does not exist.
        """
        return _or_key_error(self._pbx.show_extension, number)

    @in_its_thread
    def group(self, group_id: str) -> dict[str, Any]:
        """Return a group with its members.

        Raises:
            KeyError: it does not exist.
        """
        return _or_key_error(self._pbx.show_group, group_id)

    @in_its_thread
    def greetings(self, number: str) -> dict[str, Greeting]:
        """Return the greeting files of an extension by name, with size and SHA-256.

        Raises:
            KeyError: the extension does not exist.
        """
        return _or_key_error(self._pbx.greetings, number)

    # For tests: faults and statuses.

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
        """Make the next requests of one classic operation fail, or just slow.

        ``fail("extensions.show", status=503, times=2)`` makes two requests fail.
        ``fail("extensions.status", latency=2.0, times=None)`` makes an operation slow: its replies
        are normal, but 2 seconds late. Several scripts of an operation apply one after the other.
        ``sim.v22.fail`` does the same for operations of generation v22.

        Args:
            operation: the name of its row, such as "extensions.show".
            status: the HTTP status. None means 200 with ``body``, the status at the start of
                ``err_code``, the normal reply with only ``latency`` or ``truncate``, or else 503.
            times: how many requests it applies to; None means all, until ``clear``.
            retry_after: the Retry-After header, in seconds or as a date; None sends no header.
            err_code: the err_code of the reply; None chooses one that fits the status.
            msg: the message of the reply.
            body: the body of the reply, instead of a PBX's error.
            content_type: the type of the body; None sends that of JSON.
            latency: seconds by which the reply is late.
            drop: cut the connection without a reply.
            truncate: cut the reply in the middle of its body.
            act: carry out the operation anyway, as when a reply is lost.

        Raises:
            ValueError: an unknown row, a status that HTTP does not have, or a number out of range.
        """
        self._classic.fail(
            operation,
            status=status,
            times=times,
            retry_after=retry_after,
            err_code=err_code,
            msg=msg,
            body=body,
            content_type=content_type,
            latency=latency,
            drop=drop,
            truncate=truncate,
            act=act,
        )

    def clear(self, operation: str | None = None) -> None:
        """Drop the remaining scripts of an operation; None drops those of all operations."""
        self._classic.clear(operation)

    @in_its_thread
    def revoke(self) -> None:
        """Revoke all access tokens at once, those of v22 included."""
        self._issuer.revoke()
        self.v22.revoke()

    @in_its_thread
    def set_status(
        self,
        number: str,
        status: str | None,
        *,
        user_agent: str | None = None,
        presence: str | None = None,
        presence_note: str | None = None,
    ) -> None:
        """Pin the status of an extension; None lets it change by itself again.

        Args:
            number: the extension.
            status: OFFLINE, ONLINE, RINGING or ON_CALL. v22 shows RINGING as ONLINE. Any other text
                is shown as it is.
            user_agent: its phone; None keeps the generated one.
            presence: the presence that v22 shows; None derives it from the status.
            presence_note: the note beside the presence, in v22.

        Raises:
            KeyError: the extension does not exist.
        """
        _or_key_error(
            self._pbx.pin_status, number, status, user_agent, presence, presence_note or ""
        )

    # Serving.

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve a request: find its row, count it, and reply."""
        if not self._http.is_listening:
            return DroppedReply()  # it came during a stop
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # aiohttp runs each handler in a task
        is_socket = request.raw_path.partition("?")[0] == PATH and self.v22 in self._faces
        tasks = self._http.sockets if is_socket else self._http.requests
        tasks.add(task)
        try:
            if is_socket:
                served = await self.v22.serve_socket(request)
                return _response(served) if isinstance(served, Reply) else served
            matched = await self._find(request)
            if matched is None:
                return _response(self._faces[0].refuse("no URI"))
            self.peak_in_flight = max(self.peak_in_flight, len(tasks))
            response = await self._respond(matched)
            if not isinstance(response, DroppedReply):
                # Discard the body if nothing read it. Otherwise aiohttp would wait for it in a task
                # that outlives the connection, and a stop would wait for that task.
                await request.release()
            return response
        except (ConnectionError, web.RequestPayloadError):
            return DroppedReply()  # the client went away while its request was read
        finally:
            tasks.discard(task)

    async def _find(self, request: web.BaseRequest) -> MatchedRequest | None:
        """Return a request with its row, and count it; None if no face has one."""
        path, _, query = request.raw_path.partition("?")
        for face in self._faces:
            matched = await face.find(request, path, query)
            if matched is not None:
                face.served[matched.name] += 1
                return matched
        return None

    async def _respond(self, matched: MatchedRequest) -> web.StreamResponse:
        """Carry out a request, or as much of it as its fault allows."""
        face = matched.face
        if self.max_in_flight is not None and self.in_flight > self.max_in_flight:
            face.injected["overload"] += 1
            return _response(face.refuse("rate"))
        faults = self.faults
        fault = face.take_fault(matched.name) or draw(faults, self._random.random)
        if fault is not None and fault.revoke and not matched.has_token:
            fault = None  # there is no token to revoke
        latency = faults.latency + (fault.latency if fault else 0.0)
        if latency:
            await asyncio.sleep(latency)
        if fault is None:
            return _response(await matched.act(False))
        face.injected[fault.kind] += 1
        if fault.acts:
            reply = await matched.act(fault.revoke)
            if fault.status is None and not fault.drop:
                return _response(reply, truncate=fault.truncate)
        if fault.drop:
            return DroppedReply()
        return _response(face.failure(fault), truncate=fault.truncate)

    def _now(self) -> float:
        return self._clock() - self._created_at

    def _forget_tokens(self) -> None:
        self._issuer.revoke()
        self.v22.revoke(refresh_tokens=True)


def _response(reply: Reply, *, truncate: bool = False) -> web.StreamResponse:
    if truncate:
        return TruncatedReply(body=reply.body, status=reply.status, headers=reply.headers)
    return web.Response(body=reply.body, status=reply.status, headers=reply.headers)


def _or_key_error(read: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    try:
        return read(*arguments, **named)
    except PBXError:
        raise KeyError(arguments[0]) from None
