"""No local variable in a traceback holds a secret, whatever is raised.

Error trackers send tracebacks with the values of local variables. So these tests look at the frames
of the SDK in each traceback, as `traceback.TracebackException` shows them with `capture_locals`. No
frame of another library may be in a traceback at all. The caller's own frames are not checked.
"""

import asyncio
import contextlib
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import portsip_async
from portsip_async import (
    APIError,
    AuthenticationError,
    ClientClosed,
    ConfigurationError,
    ConnectError,
    EmailCredentials,
    Endpoint,
    ExtensionUpdate,
    NewExtension,
    NotFound,
    PortSIPClient,
    ReplyError,
    RetryPolicy,
    ServerError,
    Timeout,
    Token,
    TransportError,
)
from portsip_async.core.observer import Observer

from .concurrency import until
from .operations import (
    AUTH,
    LOGIN_PASSWORD,
    OPERATIONS,
    PASSWORD,
    PIN,
    SECRETS,
    SECTIONS,
    WEB_PASSWORD,
    Operation,
)
from .test_secrecy import forms
from .v22 import operations as v22
from .wire_server import Arrival, Step, WireServer, hang_up, reply, silence

TOKEN = "tok+Secret/5=&\"'"  # ASCII, since it goes into headers too
REFRESH_TOKEN = "refresh+Secret/6=&\"'"
ALL = (TOKEN, REFRESH_TOKEN, *SECRETS, *v22.SECRETS)
NO_PAUSE = RetryPolicy(attempts=2, initial=0, maximum=0)
ONCE = RetryPolicy(attempts=1)
SHORT = Timeout(read=0.5)  # a client waits that long for an upload that was cancelled as it began

SDK = Path(portsip_async.__file__).parent
TESTS = Path(__file__).parent


def chain(error: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """Yield an error with its causes, its contexts and the errors of its group."""
    yield error
    for link in (error.__cause__, error.__context__, *(error.exceptions or ())):
        if link is not None:
            yield from chain(link)


def frames_of(error: BaseException) -> list[traceback.FrameSummary]:
    """Return all frames of an error and its chain, with their local variables."""
    captured = traceback.TracebackException.from_exception(error, capture_locals=True)
    return [frame for link in chain(captured) for frame in link.stack]


def sdk_frames_of(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the SDK's frames of an error, without those of its simulator."""
    return [
        frame
        for frame in frames_of(error)
        if SDK in (parents := Path(frame.filename).parents) and SDK / "simulator" not in parents
    ]


def check(error: BaseException, *secrets: str, expected: bool = True) -> None:
    """Check that no local variable of the SDK's frames holds a secret.

    Args:
        error: the error.
        secrets: what to look for; by default, all secrets of this module.
        expected: False for a bug; its traceback may have frames of other libraries.
    """
    for frame in sdk_frames_of(error):
        for name, value in (frame.locals or {}).items():
            for secret in secrets or ALL:
                for form in forms(secret):
                    assert form not in value, f"{name} of {frame.name}, line {frame.lineno}"
    if expected:
        assert not [frame for frame in frames_of(error) if "site-packages" in frame.filename]


async def caught(
    kind: type[BaseException] | tuple[type[BaseException], ...], call: Awaitable[Any]
) -> BaseException:
    """Await a call and return what it raises."""
    with pytest.raises(kind) as raised:
        await call
    return raised.value


async def first_error(results: Any) -> None:
    """Raise the first error of a stream's results, if iterating does not raise one."""
    async with results:
        async for result in results:
            if result.error is not None:
                raise result.error


def _request(location: Any, pbx: PortSIPClient) -> Awaitable[Any]:
    parameters: Any = "json" if location == "body" else "multipart"
    row = Endpoint("a.b", "POST", "/a", reply=dict, token=location, parameters=parameters)
    return pbx.request(row, password=PASSWORD, pin=PIN)


def _new() -> NewExtension:
    return NewExtension(
        extension_number="9001",
        password=PASSWORD,
        web_access_password=WEB_PASSWORD,
        voice_mail={"voicemail_pin": PIN},  # type: ignore[arg-type]  # as a caller may well do
    )


# The operations of the tables, and the calls that are built on them.
CALLS = (
    *OPERATIONS,
    *v22.OPERATIONS,
    *v22.CALLS,
    Operation("walk", "safe", lambda pbx: pbx.extensions.list(prefetch=2).collect()),
    Operation(
        "extensions.patch",
        "safe",
        lambda pbx: pbx.extensions.patch("101", voice_mail={"voicemail_pin": PIN}),
    ),
    Operation("groups.patch", "safe", lambda pbx: pbx.groups.patch("1", group_name="Sales")),
    Operation("groups.add_members", "safe", lambda pbx: pbx.groups.add_members("1", ["101"])),
    *(
        Operation(f"request with the token in {location}", "unsafe", partial(_request, location))
        for location in ("query", "body", "header", "bearer")
    ),
    Operation(
        "status of a poll", "safe", lambda pbx: first_error(pbx.extensions.poll_status(["1"]))
    ),
    Operation(
        "create_many",
        "unsafe",
        lambda pbx: first_error(pbx.extensions.create_many([_new()], grace=0)),
    ),
    Operation(
        "update_many",
        "unsafe",
        lambda pbx: first_error(
            pbx.extensions.update_many(
                [ExtensionUpdate(extension_number="101", **SECTIONS)],  # type: ignore[arg-type]  # as a caller may do
                grace=0,
            )
        ),
    ),
    Operation(
        "patch_many",
        "unsafe",
        lambda pbx: first_error(
            pbx.extensions.patch_many([("101", {"voice_mail": {"voicemail_pin": PIN}})], grace=0)
        ),
    ),
    Operation(
        "remove_many",
        "unsafe",
        lambda pbx: first_error(pbx.extensions.remove_many(["101"], grace=0)),
    ),
)
# Of the operations of v22, one of each kind.
EACH = [call for call in CALLS if call not in v22.OPERATIONS or call.name in v22.OF_EACH_KIND]
each_call = pytest.mark.parametrize(
    "call",
    EACH,
    ids=[f"{'' if call.client is PortSIPClient else 'v22 '}{call.name}" for call in EACH],
)


@pytest.fixture
async def client(wire: WireServer) -> AsyncIterator[Callable[..., PortSIPClient]]:
    async with contextlib.AsyncExitStack() as stack:

        def make(call: Operation | None = None, **options: Any) -> Any:
            is_classic = call is None or call.client is PortSIPClient
            if "username" not in options and "credentials" not in options:
                options.setdefault("token", TOKEN)
                if not is_classic:
                    options.setdefault("refresh_token", REFRESH_TOKEN)
            kind = PortSIPClient if call is None else call.client
            options = {"retry": NO_PAUSE, "endpoints": SCRIPTED if is_classic else {}, **options}
            pbx = kind(options.pop("url", wire.url), **options)
            stack.push_async_callback(pbx.close)
            return pbx

        yield make


# At paths that the wire server leaves to its script.
SCRIPTED: Any = {
    "account.verify": {"path": "/scripted/login"},
    "account.verify_email": {"path": "/scripted/login"},
    "account.refresh": {"path": "/scripted/refresh"},
}
Maker = Callable[..., Any]
V22_RESOURCES = {row.path.split("/")[1] for row in v22.ROWS}


def echo(
    status: int, body: Mapping[str, Any] | None = None, *, code: str = "UNKNOWN", **headers: str
) -> Step:
    """Make a step that repeats the whole request, as a PBX in debug mode may."""

    async def step(arrival: Arrival, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = f"{arrival.query} {arrival.headers} {arrival.body.decode(errors='replace')}"
        error: dict[str, Any] = {"msg": request, **(body or {})}
        if arrival.path.split("/")[2] in V22_RESOURCES:
            detail = {"request": [request], request: None}
            error = {"errors": [{"code": code, "message": request, "detail": detail}]}
        writer.write(reply(error, status, headers))
        await writer.drain()
        writer.close()

    return step


REPLIES: dict[str, tuple[Step, type[Exception]]] = {
    "401": (echo(401), AuthenticationError),
    "403.4": (echo(200, {"err_code": 403.4}, code="UNAUTHORIZED"), AuthenticationError),
    "404": (echo(404, {"err_code": "404.2"}), NotFound),
    "500": (echo(500), ServerError),
    "302": (echo(302, Location="http://127.0.0.1/"), APIError),
    "no JSON": (reply(f"{{{TOKEN} {PASSWORD}"), ReplyError),
    "other JSON": (
        reply(
            {
                "extensions": {"a": TOKEN},
                "access_token": [TOKEN],
                "extension_number": [TOKEN],
                "items": {"a": TOKEN},
                "id": [TOKEN],
            }
        ),
        ReplyError,
    ),
    "too large": (reply(TOKEN * 2000), ReplyError),
    "too large, chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6000\r\n" + b"x" * 0x6000,
        ReplyError,
    ),
    "no HTTP": (f"telnet {TOKEN}\r\n\r\n".encode(), ReplyError),
    "truncated": (reply("{}", headers={"Content-Length": "999"}), TransportError),
    "hang up": (hang_up, TransportError),
}
# Some calls accept any JSON as a success.
MAY_SUCCEED = "other JSON"
# These need headers in a reply, whatever its body says.
READ_HEADERS = ("blobs.begin", "blobs.upload", "greetings.upload")


class TestCalls:
    @pytest.mark.parametrize("name", REPLIES)
    async def test_reply_that_is_an_error(self, name: str, client: Maker, wire: WireServer) -> None:
        """Whatever reply makes a call fail, the traceback holds no secret."""
        step, kind = REPLIES[name]
        wire.script = [step]
        for call in CALLS:
            pbx = client(call, max_reply_bytes=20_000)
            if name == MAY_SUCCEED or (
                name in ("403.4", "no JSON") and call.name in v22.READ_NO_BODY
            ):
                try:
                    await call.send(pbx)
                except (kind, ReplyError) as error:
                    check(error)
                continue
            logs_in = call.name.startswith(("account.", "auth."))
            reads_headers = call.name in READ_HEADERS
            refused = AuthenticationError if logs_in else ReplyError if reads_headers else kind
            check(await caught((kind, refused), call.send(pbx)))
        assert len(wire.arrivals) >= len(CALLS)

    @each_call
    async def test_refused_connection(
        self, call: Operation, client: Maker, wire: WireServer
    ) -> None:
        """The traceback of a refused connection holds no secret."""
        await wire.leave()
        check(await caught(ConnectError, call.send(client(call))))

    @each_call
    async def test_timeout(self, call: Operation, client: Maker, wire: WireServer) -> None:
        """The traceback of a timeout holds no secret."""
        wire.script = [silence]
        check(
            await caught(
                TransportError,  # a ConnectError on a slow machine
                call.send(client(call, timeout=Timeout(total=0.02, read=0.02), retry=ONCE)),
            )
        )

    @each_call
    async def test_cancelled_call(self, call: Operation, client: Maker, wire: WireServer) -> None:
        """The traceback of a cancellation holds no secret."""
        wire.script = [silence]
        pbx = client(call, timeout=SHORT)
        errors: list[BaseException] = []

        async def run() -> None:
            try:
                await call.send(pbx)
            except BaseException as error:
                errors.append(error)
                raise

        task = asyncio.create_task(run())
        await until(lambda: wire.arrivals)
        task.cancel()
        await asyncio.wait((task,))
        check(errors[0])

    @each_call
    async def test_closed_client(self, call: Operation, client: Maker, wire: WireServer) -> None:
        """The traceback of ClientClosed holds no secret, during a call and before it."""
        wire.script = [silence]
        pbx = client(call)
        task = asyncio.ensure_future(call.send(pbx))
        await until(lambda: wire.arrivals)
        await pbx.close()
        check(await caught(ClientClosed, task))
        check(await caught(ClientClosed, call.send(pbx)))

    @each_call
    @pytest.mark.parametrize("login", ["password", "other"])
    async def test_refused_login(
        self, login: str, call: Operation, client: Maker, wire: WireServer
    ) -> None:
        """The traceback of a refused login holds no password."""
        wire.script = [echo(401, {"err_code": "401.1"})]
        options: dict[str, Any] = {"username": "admin", "password": LOGIN_PASSWORD}
        if login == "other":
            if call.client is PortSIPClient:
                options = {"credentials": EmailCredentials("a@b", LOGIN_PASSWORD)}
            else:
                options["domain"] = "test.io"
        pbx = client(call, **options)
        for _ in range(2):  # the second one is refused without a request
            check(await caught(AuthenticationError, call.send(pbx)))

    @each_call
    async def test_refused_refresh(self, call: Operation, client: Maker, wire: WireServer) -> None:
        """The traceback of a rejected token that can't be renewed does not hold the token."""
        wire.script = [echo(403, {"err_code": 403.4}, code="UNAUTHORIZED")]
        check(await caught(AuthenticationError, call.send(client(call))))

    @each_call
    async def test_cancelled_login(self, call: Operation, client: Maker, wire: WireServer) -> None:
        """The traceback of a call that is cancelled during its login holds no password."""
        wire.script = [silence]
        pbx = client(call, username="admin", password=LOGIN_PASSWORD, timeout=SHORT)
        errors: list[BaseException] = []

        async def run() -> None:
            try:
                await call.send(pbx)
            except BaseException as error:
                errors.append(error)
                raise

        task = asyncio.create_task(run())
        await until(lambda: wire.arrivals)
        task.cancel()
        await asyncio.wait((task,))
        check(errors[0])

    async def test_account_refresh(self, client: Maker, wire: WireServer) -> None:
        """Whatever reply makes a refresh fail, the traceback does not hold the token."""
        for step, kind in REPLIES.values():
            wire.script = [step]
            pbx = client(max_reply_bytes=20_000)
            if step is not REPLIES[MAY_SUCCEED][0]:
                check(await caught((kind, AuthenticationError), pbx.account.refresh()))


class TestUploads:
    @pytest.mark.parametrize("location", ["query", "header", "bearer"])
    async def test_source_that_fails(self, location: str, client: Maker, wire: WireServer) -> None:
        """An error of the source keeps the caller's frames; the SDK's frames hold no secret."""

        async def source() -> AsyncIterator[bytes]:
            yield b"RIFF"
            raise OSError("cannot read on")

        wire.script = [silence]
        pbx = client(endpoints={"greetings.upload": {"token": location}})
        error = await caught(OSError, pbx.greetings.upload("101", source(), filename="a.wav"))
        check(error)
        captured = traceback.TracebackException.from_exception(error)
        assert captured.stack[-1].name == "source"

    async def test_missing_file(self, client: Maker, tmp_path: Path) -> None:
        """The error of a missing file has no secret in its traceback."""
        check(await caught(OSError, client().greetings.upload("101", tmp_path / "none.wav")))


SURROGATE = "half\ud800Secret"


class TestArguments:
    """Arguments that are refused before anything is sent."""

    @pytest.mark.parametrize(
        "send",
        [
            lambda pbx: pbx.account.verify("", PASSWORD),
            lambda pbx: pbx.account.verify("admin", b"bytes-Secret"),
            lambda pbx: pbx.account.verify("admin", SURROGATE),
            lambda pbx: pbx.account.verify_email("", PASSWORD),
            lambda pbx: pbx.account.verify_email("a@b", b"bytes-Secret"),
            lambda pbx: pbx.extensions.call("", "2", auth=AUTH, domain="d", src="s"),
            lambda pbx: pbx.extensions.call("1", "2", auth=b"bytes-Secret", domain="d", src="s"),
            lambda pbx: pbx.extensions.call("1", "2", auth=SURROGATE, domain="d", src="s"),
            lambda pbx: pbx.extensions.create({"password": PASSWORD}),
            lambda pbx: pbx.extensions.create(
                NewExtension(
                    extension_number="9001",
                    password=b"bytes-Secret",  # type: ignore[arg-type]
                    web_access_password=WEB_PASSWORD,
                )
            ),
            lambda pbx: pbx.extensions.create(
                NewExtension(extension_number="9001", password=SURROGATE, web_access_password="x")
            ),
            lambda pbx: pbx.extensions.update("", **SECTIONS),
            lambda pbx: pbx.extensions.update("101", **{**SECTIONS, "profile": 5}),
            lambda pbx: pbx.extensions.update("101", **{**SECTIONS, "profile": {"a": object()}}),
            lambda pbx: pbx.extensions.patch("", voice_mail={"voicemail_pin": PIN}),
            lambda pbx: pbx.extensions.patch("101", voice_mail={"voicemail_pin": PIN}, options=5),
            lambda pbx: pbx.request(5, password=PASSWORD),
            lambda pbx: pbx.request(Endpoint("a.b", "GET", "/a"), password=b"bytes-Secret"),
            lambda pbx: pbx.request(Endpoint("a.b", "POST", "/a"), password=SURROGATE),
            lambda pbx: pbx.request(Endpoint("a.b", "POST", "/a"), password=PASSWORD, x=object()),
            lambda pbx: pbx.request(Endpoint("a.b", "GET", "/a"), access_token=TOKEN),
        ],
    )
    async def test_refused_call(self, send: Callable[[Any], Awaitable[Any]], client: Maker) -> None:
        """The traceback of a refused call holds no secret."""
        with pytest.raises((TypeError, ValueError)) as raised:
            await send(client())
        check(raised.value, *ALL, "bytes-Secret", "half")

    @pytest.mark.parametrize(
        "options",
        [
            {"username": "admin", "password": LOGIN_PASSWORD, "token": TOKEN},
            {"password": LOGIN_PASSWORD},
            {"username": 5, "password": LOGIN_PASSWORD},
            {"token": TOKEN + "\n"},
            {"token": TOKEN.encode()},
            {"token": TOKEN, "timeout": 0},
            {"token": TOKEN, "retry": 5},
            {"token": TOKEN, "proxy": 5},
            {"token": TOKEN, "user_agent": "\n", "proxy": f"http://a:{LOGIN_PASSWORD}@proxy"},
            {"token": TOKEN, "base_url": f"https://admin:{LOGIN_PASSWORD}@pbx.example"},
            {"token": TOKEN, "base_url": f"https://pbx.example/?access_token={TOKEN}"},
            {"token": TOKEN, "endpoints": {"no.row": {}}},
        ],
    )
    def test_refused_client(self, options: dict[str, Any]) -> None:
        """The traceback of a refused constructor holds no secret."""
        with pytest.raises((ConfigurationError, TypeError, ValueError)) as raised:
            PortSIPClient(**{"base_url": "https://pbx.example", **options})
        check(raised.value)

    @pytest.mark.parametrize(
        "values",
        [
            {"URL": "", "PASSWORD": LOGIN_PASSWORD, "USERNAME": "admin"},
            {"URL": f"https://a:{LOGIN_PASSWORD}@pbx.example", "TOKEN": TOKEN},
            {"URL": "https://pbx.example", "PASSWORD": LOGIN_PASSWORD, "TOKEN": TOKEN},
            {"URL": "https://p", "PASSWORD": LOGIN_PASSWORD, "USERNAME": "a", "EMAIL": "b"},
            {"URL": "http://pbx.example", "TOKEN": TOKEN},
            {"URL": "https://pbx.example", "TOKEN": TOKEN, "ALLOW_HTTP": "perhaps"},
        ],
    )
    def test_refused_environment(
        self, values: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The traceback of refused environment variables holds no secret."""
        for name, value in values.items():
            monkeypatch.setenv(f"PORTSIP_{name}", value)
        with pytest.raises(ConfigurationError) as raised:
            PortSIPClient.from_env()
        check(raised.value)


class OwnCredentials:
    """Credentials of an application that return, or raise, a given object."""

    def __init__(self, result: object) -> None:
        self._result = result

    async def fetch_token(self) -> Any:
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


class TestCredentials:
    @pytest.mark.parametrize(
        "result",
        [TOKEN, {"access_token": TOKEN}, Token(TOKEN + "\n"), Token(TOKEN, "30")],  # type: ignore[arg-type]
    )
    async def test_result_that_is_not_a_token(self, result: object, client: Maker) -> None:
        """The result of an application's credentials may be a secret, so it is not shown."""
        pbx = client(credentials=OwnCredentials(result))
        check(await caught((TypeError, ReplyError), pbx.extensions.show("101")))
        check(await caught((TypeError, ReplyError), pbx.account.refresh()))

    async def test_error_of_own_credentials(self, client: Maker) -> None:
        """An error of the credentials keeps the frames of the application."""
        pbx = client(credentials=OwnCredentials(LookupError("the vault is locked")))
        error = await caught(LookupError, pbx.extensions.show("101"))
        check(error)
        assert traceback.TracebackException.from_exception(error).stack[-1].name == "fetch_token"


class TestLogs:
    async def test_hook_that_raises(self, client: Maker, caplog: pytest.LogCaptureFixture) -> None:
        """Trackers also read tracebacks in logs, so these hold no secret either."""

        def hook(_: object) -> None:
            raise RuntimeError

        pbx = client(on_attempt=hook)
        with caplog.at_level(logging.ERROR):
            for operation in OPERATIONS:
                with contextlib.suppress(ReplyError):
                    await operation.send(pbx)
        records = [record for record in caplog.records if record.exc_info]
        assert len(records) >= len(OPERATIONS)
        for record in records:
            assert record.exc_info
            assert record.exc_info[1] is not None
            check(record.exc_info[1])


def bug(*_: object, **__: object) -> Any:
    raise KeyError("bug")


async def bug_when_awaited(*_: object, **__: object) -> Any:
    bug()


class TestBugs:
    """An unexpected error keeps its frames, and they hold no secret."""

    @pytest.mark.parametrize(
        ("target", "replacement", "owner"),
        [
            ("portsip_async.core.reply.ReplyParser.parse", bug, "client"),
            ("portsip_async.core.reply.ReplyParser.parse", bug, "application"),
            ("aiohttp.ClientSession._request", bug_when_awaited, "client"),
            ("aiohttp.ClientSession._request", bug_when_awaited, "application"),
            # The client's own connections return a short reply at once. Others have to read it.
            ("aiohttp.StreamReader.is_eof", bug, "client"),
            ("aiohttp.ClientResponse.read", bug_when_awaited, "application"),
        ],
    )
    async def test_bug_during_a_call(
        self,
        target: str,
        replacement: Any,
        owner: str,
        client: Maker,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The traceback shows where in the SDK it happened, without a secret."""
        monkeypatch.setattr(target, replacement)
        async with aiohttp.ClientSession() as session:
            options = {"session": session} if owner == "application" else {}
            for call in CALLS:
                error = await caught(
                    KeyError, call.send(client(call, user_agent="agent", **options))
                )
                check(error, expected=False)
                assert "_attempt" in [frame.name for frame in sdk_frames_of(error)]

    @pytest.mark.parametrize("login", ["token", "password", "email"])
    async def test_bug_during_a_renewal(
        self, login: str, client: Maker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The traceback of a bug in a login or a refresh holds no secret."""
        monkeypatch.setattr("portsip_async.core.reply.ReplyParser.parse", bug)
        pbx = {
            "token": lambda: client(),
            "password": lambda: client(username="admin", password=LOGIN_PASSWORD),
            "email": lambda: client(credentials=EmailCredentials("a@b", LOGIN_PASSWORD)),
        }[login]()
        error = await caught(KeyError, pbx.account.refresh())
        check(error, expected=False)
        assert "_renew" in [found.name for found in sdk_frames_of(error)]

    async def test_token_that_cannot_be_sent(self, client: Maker) -> None:
        """The error that an observer of renewals sees does not show the token either."""
        unprintable = TOKEN + "\n"
        seen: list[Any] = []

        class Credentials:
            async def fetch_token(self) -> Token:
                return Token(unprintable)

        class Renewals(Observer):
            def __call__(self, attempt: Any) -> None: ...
            def call(self, endpoint: Any, base_url: str, begin: Any) -> Any:
                return begin()

            async def renewal(self, begin: Any) -> Any:
                seen.append(await begin())
                return seen[-1]

        pbx = client(credentials=Credentials(), on_attempt=Renewals())
        await caught(ReplyError, pbx.extensions.show("101"))
        (error,) = seen
        check(error, expected=False)
