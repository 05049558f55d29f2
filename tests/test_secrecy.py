"""No log, repr, error text, error chain, warning or pickle shows a token, password, pin or auth."""

import asyncio
import contextlib
import copy
import io
import json
import logging
import pickle
import traceback
import warnings
from collections.abc import Awaitable, Callable, Iterator
from html import escape
from typing import Any
from urllib.parse import quote, quote_plus

import aiohttp
import pytest

from portsip_async import (
    APIError,
    Attempt,
    AuthenticationError,
    Conflict,
    EmailCredentials,
    Endpoint,
    NewExtension,
    PasswordCredentials,
    PortSIPClient,
    PortSIPError,
    RetryPolicy,
    StaticToken,
    Timeout,
    Token,
)
from portsip_async.redact import Record
from portsip_async.simulator import Faults, PBXSimulator

from .clocks import set_clock
from .internals import session_of
from .operations import AUTH, BY_NAME, LOGIN_PASSWORD, OPERATIONS, PASSWORD, PIN, SECRETS, Operation
from .v22 import operations as v22
from .wire_server import Arrival, Step, WireServer, hang_up, reply, reset, silence

# No other text looks like it, and URLs, JSON and HTML have to escape parts of it.
TOKEN = "tok+Secret/5=&\"é'"
NO_PAUSE = RetryPolicy(attempts=2, initial=0, maximum=0)


def forms(secret: str) -> set[str]:
    """Return the forms that a secret may have after quoting and escaping."""
    return {
        secret,
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        quote(secret, safe="/?:@!$'()*,;+="),
        quote(secret, safe="").lower(),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        repr(secret.encode())[2:-1],
        escape(secret),
    }


class Recorder:
    """Records everything that an application can see, to look for secrets in it."""

    def __init__(self) -> None:
        self.log = io.StringIO()
        self.texts: list[str] = []
        self.attempts = 0

    def note(self, thing: object) -> None:
        """Record the text and the repr of an object."""
        self.texts += [str(thing), repr(thing), f"{thing}"]
        if isinstance(thing, Record):
            self.texts.append(str(thing.to_dict()))

    def attempt(self, attempt: Attempt) -> None:
        """Record an attempt; a hook for `on_attempt`."""
        self.attempts += 1
        self.note(attempt)
        if attempt.error is not None:
            self.error(attempt.error)

    def error(self, error: BaseException) -> None:
        """Record an error with its traceback, attributes, causes, contexts, copies and pickles."""
        self.texts += traceback.format_exception(error)
        seen: set[int] = set()
        waiting: list[BaseException | None] = [error]
        while waiting:
            link = waiting.pop()
            if link is None or id(link) in seen:
                continue
            seen.add(id(link))
            self.note(link)
            self.note(link.args)
            self.note(getattr(link, "__dict__", {}))
            self.note(getattr(link, "__notes__", []))
            waiting += [link.__cause__, link.__context__]
        if isinstance(error, PortSIPError):
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
                pickled = pickle.dumps(error, protocol)
                self.texts.append(pickled.decode("latin-1"))
                self.note(pickle.loads(pickled))
            self.note(copy.copy(error))
            self.note(copy.deepcopy(error))

    def text(self) -> str:
        """Return everything as one text."""
        return "\n".join([self.log.getvalue(), *self.texts])

    def check(self, *secrets: str) -> None:
        """Check that no secret was recorded in any form."""
        text = self.text()
        for secret in secrets:
            for form in forms(secret):
                assert form not in text, text[max(0, text.index(form) - 300) :][:700]


LOGGERS = ("portsip_async", "aiohttp.client", "aiohttp.internal", "aiohttp", "asyncio")


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """Record every logger at level DEBUG, and check that nothing warns."""
    recorder = Recorder()
    handler = logging.StreamHandler(recorder.log)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s %(args)s"))
    root = logging.getLogger()
    loggers = [root, *map(logging.getLogger, LOGGERS)]
    before = [logger.level for logger in loggers]
    root.addHandler(handler)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield recorder
        assert [str(warning.message) for warning in caught] == []
    finally:
        root.removeHandler(handler)
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


async def send_and_record(
    recorder: Recorder, pbx: Any, operation: Operation
) -> BaseException | None:
    """Make a call, record its value or its error, and return the error."""
    try:
        value = await operation.send(pbx)
        if not isinstance(value, bytes):  # a file, which the caller asked for
            recorder.note(value)
    except (PortSIPError, ValueError, TypeError) as error:
        recorder.error(error)
        return error
    return None


def json_reply(status: int, body: object, **headers: str) -> bytes:
    return reply(
        json.dumps(body, ensure_ascii=False),
        status,
        {name.replace("_", "-"): value for name, value in headers.items()},
    )


def echo(status: int, write: Callable[[str], str]) -> Step:
    """Make a step that repeats the whole request in its message, as a PBX in debug mode may."""

    async def step(arrival: Arrival, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = f"{arrival.method} {arrival.path}?{arrival.query} " + arrival.body.decode()
        text = write(f"bad request: {request} {arrival.headers} with {ALL}")
        detail = {"text": text, "list": [text, [text]], text: {text: None}}
        errors = [{"code": f"UNKNOWN {text}", "message": text, "detail": detail}]
        writer.write(json_reply(status, {"msg": text, "errors": errors}))
        await writer.drain()
        writer.close()

    return step


ALL = " ".join([TOKEN, *SECRETS, *v22.SECRETS])
FAULTS: dict[str, Step] = {
    "hang-up": hang_up,
    "reset": reset,
    "silence": silence,
    "truncated": reply({"extension_number": "101"}, headers={"Content-Length": "999"}),
    "HTML": reply(f"<html>{ALL}</html>", 502, {"Content-Type": "text/html"}),
    "no JSON": reply(f"{{{ALL}"),
    "other JSON": json_reply(
        200, {"extensions": ALL, "err_code": 0, "access_token": [ALL], "items": ALL, "id": [ALL]}
    ),
    "redirect": reply("", 302, {"Location": f"http://127.0.0.1/?access_token={quote(TOKEN)}"}),
    "brotli": reply(b"\x8b\x00\x80{}\x03", headers={"Content-Encoding": "br"}),
    "no gzip": reply(b"{}", headers={"Content-Encoding": "gzip"}),
    "no HTTP": f"telnet {ALL}\r\n\r\n".encode(),
    "bad header": f"HTTP/1.1 200 OK\r\n{ALL}\r\n\r\n".encode(),
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + ALL.encode() + b"\r\n",
    "code": json_reply(400, {"err_code": f"400.1 {TOKEN}", "msg": "no"}),
    "code of v22": json_reply(400, {"errors": [{"code": f"NO {ALL}"}]}),
    "echo 400": echo(400, str),
    "echo 401": echo(401, str),
    "echo 429": echo(429, quote),
    "echo 500": echo(500, quote_plus),
    "echo HTML": echo(500, escape),
    "echo JSON": echo(404, json.dumps),
    "echo repr": echo(409, repr),
    "errors list": json_reply(401, {"errors": [{"code": "UNAUTHORIZED", "message": ALL}]}),
    "in 200": json_reply(200, {"err_code": 403.1, "msg": ALL}),
    "in 200 of v22": json_reply(
        200, {"errors": [{"code": "DENIED", "message": ALL, "detail": {"a": [ALL], ALL: 1}}]}
    ),
}


def secrets_of(operation: Operation) -> list[str]:
    """Return the secrets that a call was given, and so has to hide wherever they are repeated."""
    if operation.client is not PortSIPClient:
        return v22.secrets_of(operation, TOKEN)
    arguments = {
        "extensions.call": [AUTH],
        "extensions.create": [*SECRETS[:3]],
        "extensions.update": [PIN],
    }
    return [TOKEN, *arguments.get(operation.name, [])]


ROWS = [operation for operation in OPERATIONS if not operation.name.startswith("account.")]
ALL_CALLS = [*ROWS, *v22.OPERATIONS, *v22.CALLS]


def may_succeed(fault: str, operation: Operation) -> bool:
    """Return whether a reply is no error to an operation."""
    is_classic = operation.client is PortSIPClient
    if fault == ("in 200 of v22" if is_classic else "in 200"):
        return True  # an error of the other generation
    if fault in ("no JSON", "in 200 of v22") and operation.name in v22.READ_NO_BODY:
        return True
    return fault == "other JSON"


class TestCalls:
    @pytest.mark.parametrize("fault", FAULTS)
    async def test_every_operation_hides_its_secrets(self, fault: str, recorder: Recorder) -> None:
        """Whichever operation fails, and however, its secrets are not shown."""
        asyncio.get_running_loop().set_debug(fault == "hang-up")  # it is slow, so only once
        for operation in ALL_CALLS:
            recorder.texts.clear()
            recorder.log.truncate(0)
            async with WireServer() as wire:
                wire.script = [FAULTS[fault]]
                async with operation.client(
                    wire.url,
                    token=TOKEN,
                    retry=NO_PAUSE,
                    timeout=Timeout(total=0.02, read=0.02) if fault == "silence" else Timeout(),
                    on_attempt=recorder.attempt,
                ) as pbx:
                    recorder.note(pbx)
                    error = await send_and_record(recorder, pbx, operation)
                    recorder.note(session_of(pbx))
                assert isinstance(error, PortSIPError) or may_succeed(fault, operation)
                assert wire.arrivals
            assert recorder.attempts
            if operation not in v22.CALLS:
                assert "portsip_async " + operation.name in recorder.log.getvalue()
            recorder.check(*secrets_of(operation))

    @pytest.mark.parametrize("session", ["own", "application's"])
    async def test_issued_tokens_are_hidden(
        self, session: str, recorder: Recorder, sim: PBXSimulator
    ) -> None:
        """Tokens that the PBX issues are not shown, under faults of every kind."""
        sim.faults = Faults(
            rate_limited=0.05,
            server_error=0.1,
            html=0.05,
            dropped=0.05,
            truncated=0.05,
            revoked=0.1,
        )
        extension = sim.extension("101")
        shown = [extension["password"], extension["web_access_password"]]
        given: list[str] = []
        issue = sim._issuer.make_token

        def note() -> str:
            given.append(issue())
            return given[-1]

        sim._issuer.make_token = note
        async with contextlib.AsyncExitStack() as stack:
            own: Any = None
            if session != "own":
                own = await stack.enter_async_context(aiohttp.ClientSession())
            pbx = await stack.enter_async_context(
                PortSIPClient(
                    sim.url,
                    username=sim.username,
                    password=sim.password,
                    retry=NO_PAUSE,
                    session=own,
                    on_attempt=recorder.attempt,
                )
            )
            set_clock(pbx, sleep=lambda _: asyncio.sleep(0))
            for _ in range(3):
                await asyncio.gather(
                    *(send_and_record(recorder, pbx, operation) for operation in OPERATIONS)
                )
        assert given
        assert recorder.attempts > 30
        recorder.check(sim.password, *given, *SECRETS, *shown)

    @pytest.mark.parametrize("location", ["query", "body", "header", "bearer"])
    @pytest.mark.parametrize("fault", ["hang-up", "no HTTP", "brotli", "redirect", "bad header"])
    async def test_token_in_any_location_is_hidden(
        self, location: Any, fault: str, recorder: Recorder
    ) -> None:
        """A token in a header is hidden like one in a query."""
        token = "tok+Secret/5=&\"'"  # headers are ASCII
        row = Endpoint("a.b", "POST", "/a/b", token=location)
        async with WireServer() as wire:
            wire.script = [FAULTS[fault]]
            async with PortSIPClient(wire.url, token=token, retry=NO_PAUSE) as pbx:
                with pytest.raises(PortSIPError) as caught:
                    await pbx.request(row, password=PASSWORD, nested={"pins": [1], "pin": PIN})
        recorder.error(caught.value)
        recorder.check(token, PASSWORD, PIN)

    async def test_refused_connection_hides_secrets(self, recorder: Recorder) -> None:
        """The error of a connection that was not made shows no secret."""
        for scheme in ("http", "https"):
            async with WireServer() as wire:
                await wire.leave()
                url = wire.url.replace("http", scheme)
                for operation in ALL_CALLS:
                    async with operation.client(
                        url, token=TOKEN, retry=NO_PAUSE, timeout=0.5, on_attempt=recorder.attempt
                    ) as pbx:
                        assert await send_and_record(recorder, pbx, operation) is not None
        recorder.check(TOKEN, *SECRETS, *v22.SECRETS)

    @pytest.mark.parametrize("name", ["extensions.create", "extensions.call", "extensions.update"])
    async def test_rest_of_a_message_is_shown(self, name: str, recorder: Recorder) -> None:
        """Only the secrets in a message are hidden."""
        async with WireServer() as wire:
            wire.script = [echo(400, str)]
            async with PortSIPClient(wire.url, token=TOKEN, retry=NO_PAUSE) as pbx:
                error = await send_and_record(recorder, pbx, BY_NAME[name])
        assert isinstance(error, APIError)
        assert error.message.startswith("bad request: ")
        assert "***" in error.message

    @pytest.mark.parametrize("name", ["extensions.create", "extensions.call"])
    async def test_half_a_surrogate_pair(self, name: str, recorder: Recorder) -> None:
        """Python's own error about such a text would quote it, so it is not shown."""
        secret = "half\ud800Secret"
        async with PortSIPClient("https://127.0.0.1:9", token=TOKEN) as pbx:
            with pytest.raises(ValueError, match="surrogate") as caught:
                await pbx.extensions.call("1", "2", auth=secret, domain="d", src="s")
            recorder.error(caught.value)
            with pytest.raises(ValueError, match="surrogate") as caught:
                await pbx.account.verify("admin", secret)
            recorder.error(caught.value)
        assert "Secret" not in recorder.text()


class TestLogins:
    @pytest.mark.parametrize("login", ["password", "email", "verify", "verify email", "token"])
    @pytest.mark.parametrize("write", [str, quote, escape, json.dumps, repr])
    @pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
    async def test_repeated_login_is_hidden(
        self, status: int, write: Callable[[str], str], login: str, recorder: Recorder
    ) -> None:
        """If the PBX repeats a login or a refresh in its message, the secrets are hidden."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(line for line in head.split("\r\n") if "content-length" in line.lower())
            body = (await reader.readexactly(int(length.split(":")[1]))).decode()
            message = write(f"refused: {body} {LOGIN_PASSWORD} {TOKEN}")
            # Calls get the reply that their token expired, so that it is refreshed.
            code = 403.4 if "/account/" not in head else 400.1 if status < 500 else status
            writer.write(json_reply(status, {"err_code": code, "msg": message}))
            await writer.drain()
            writer.close()

        options: dict[str, Any] = {"username": "admin", "password": LOGIN_PASSWORD}
        if login == "email":
            options = {"credentials": EmailCredentials("a@b", LOGIN_PASSWORD)}
        elif login == "token":
            options = {"token": TOKEN}
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with PortSIPClient(
                url, retry=NO_PAUSE, on_attempt=recorder.attempt, **options
            ) as pbx:
                calls: dict[str, Callable[[], Awaitable[Any]]] = {
                    "verify": lambda: pbx.account.verify("admin", LOGIN_PASSWORD),
                    "verify email": lambda: pbx.account.verify_email("a@b", LOGIN_PASSWORD),
                    # A status request has its token in the body, which the message repeats.
                    "token": lambda: pbx.extensions.status(["101"]),
                }
                call = calls.get(login, lambda: pbx.groups.list().collect())
                with pytest.raises(APIError) as caught:
                    await call()
                recorder.error(caught.value)
                with pytest.raises(APIError) as again:
                    await call()
                recorder.error(again.value)
        # A client hides the secrets that it was given.
        recorder.check(TOKEN if login == "token" else LOGIN_PASSWORD)
        if status in (400, 401):
            assert isinstance(caught.value, AuthenticationError)

    async def test_reprs_hide_secrets(self, recorder: Recorder) -> None:
        """Clients, credentials and tokens don't show their secrets."""
        thing: object
        for thing in (
            PasswordCredentials("admin", LOGIN_PASSWORD),
            EmailCredentials("a@b", LOGIN_PASSWORD),
            StaticToken(TOKEN),
            Token(TOKEN, 30.0),
        ):
            recorder.note(thing)
            recorder.note([thing])
        async with PortSIPClient(
            "https://pbx.example:8900", username="admin", password=LOGIN_PASSWORD
        ) as pbx:
            for thing in (
                pbx,
                pbx.with_options(timeout=1),
                session_of(pbx),
                session_of(pbx).tokens,
            ):
                recorder.note(thing)
            recorder.note(pbx.__dict__)
        recorder.check(LOGIN_PASSWORD, TOKEN)

    async def test_hook_that_raises(self, recorder: Recorder, wire: WireServer) -> None:
        """The log of a hook that raised shows no secret of the call."""

        def hook(attempt: Attempt) -> None:
            raise RuntimeError(f"cannot take {attempt}")

        wire.script = [echo(400, str)]
        async with PortSIPClient(wire.url, token=TOKEN, retry=NO_PAUSE, on_attempt=hook) as pbx:
            await send_and_record(recorder, pbx, BY_NAME["extensions.call"])
        assert "on_attempt raised" in recorder.log.getvalue()
        recorder.check(TOKEN, AUTH)


@pytest.mark.parametrize("password", ["a", "ten", "The"])
async def test_message_stays_readable_with_a_short_password(
    sim: PBXSimulator, make_client: Callable[..., PortSIPClient], password: str
) -> None:
    """Of the PBX's message only the quoted password is hidden."""
    message = f'The extension exists already, with "{password}"'
    sim.fail("extensions.create", status=409, msg=message)
    pbx = make_client(sim.url)
    new = NewExtension(extension_number="950", password=password, web_access_password=password)
    with pytest.raises(Conflict) as caught:
        await pbx.extensions.create(new)
    assert caught.value.message == 'The extension exists already, with "***"'
