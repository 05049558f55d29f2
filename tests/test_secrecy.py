"""No token, password, pin or ``auth`` in any log, repr, text, chain, warning or pickle."""

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
from portsip_async.simulator import Faults, PBXSimulator

from .operations import AUTH, BY_NAME, LOGIN_PASSWORD, OPERATIONS, PASSWORD, PIN, SECRETS, Operation
from .wire_server import Arrival, Step, WireServer, hang_up, reply, reset, silence

# Of shapes that no other text has, with marks that URLs, JSON and HTML write in other ways.
TOKEN = "tok+Secret/5=&\"é'"
NO_PAUSE = RetryPolicy(attempts=2, initial=0, maximum=0)


def forms(secret: str) -> set[str]:
    """How a secret may be written by what it passes through."""
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


class Ear:
    """Hears all that is logged, warned of and handed out, to look for secrets in it."""

    def __init__(self) -> None:
        self.log = io.StringIO()
        self.told: list[str] = []
        self.attempts = 0

    def note(self, thing: object) -> None:
        """Note all that can be told of a thing."""
        self.told += [str(thing), repr(thing), f"{thing}"]

    def attempt(self, attempt: Attempt) -> None:
        """Take an event of the client's."""
        self.attempts += 1
        self.note(attempt)
        if attempt.error is not None:
            self.error(attempt.error)

    def error(self, error: BaseException) -> None:
        """Note all that can be told of an error, and of those that it hangs together with."""
        self.told += traceback.format_exception(error)
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
                self.told.append(pickled.decode("latin-1"))
                self.note(pickle.loads(pickled))
            self.note(copy.copy(error))
            self.note(copy.deepcopy(error))

    def heard(self) -> str:
        return "\n".join([self.log.getvalue(), *self.told])

    def check(self, *secrets: str) -> None:
        """Look for every secret in every form."""
        heard = self.heard()
        for secret in secrets:
            for form in forms(secret):
                assert form not in heard, heard[max(0, heard.index(form) - 300) :][:700]


LOGGERS = ("portsip_async", "aiohttp.client", "aiohttp.internal", "aiohttp", "asyncio")


@pytest.fixture
def ear() -> Iterator[Ear]:
    """Listen to every logger at its loudest, the event loop's debugging included."""
    ear = Ear()
    handler = logging.StreamHandler(ear.log)
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
            yield ear
        assert [str(warning.message) for warning in caught] == []
    finally:
        root.removeHandler(handler)
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


async def outcome(ear: Ear, pbx: PortSIPClient, operation: Operation) -> BaseException | None:
    """Make a call, and note what comes of it."""
    try:
        ear.note(await operation.send(pbx))
    except (PortSIPError, ValueError, TypeError) as error:
        ear.error(error)
        return error
    return None


def told(status: int, body: object, **headers: str) -> bytes:
    return reply(
        json.dumps(body, ensure_ascii=False),
        status,
        {name.replace("_", "-"): value for name, value in headers.items()},
    )


def echo(status: int, write: Callable[[str], str]) -> Step:
    """Answer with the whole request in the message, as a PBX under debugging may."""

    async def step(arrival: Arrival, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = f"{arrival.method} {arrival.path}?{arrival.query} " + arrival.body.decode()
        secrets = " ".join([TOKEN, *SECRETS])
        writer.write(told(status, {"msg": write(f"bad request: {request} with {secrets}")}))
        await writer.drain()
        writer.close()

    return step


ALL = " ".join([TOKEN, *SECRETS])
FAULTS: dict[str, Step] = {
    "hang-up": hang_up,
    "reset": reset,
    "silence": silence,
    "truncated": reply({"extension_number": "101"}, headers={"Content-Length": "999"}),
    "HTML": reply(f"<html>{ALL}</html>", 502, {"Content-Type": "text/html"}),
    "no JSON": reply(f"{{{ALL}"),
    "other JSON": told(200, {"extensions": ALL, "err_code": 0, "access_token": [ALL]}),
    "redirect": reply("", 302, {"Location": f"http://127.0.0.1/?access_token={quote(TOKEN)}"}),
    "brotli": reply(b"\x8b\x00\x80{}\x03", headers={"Content-Encoding": "br"}),
    "no gzip": reply(b"{}", headers={"Content-Encoding": "gzip"}),
    "no HTTP": f"telnet {ALL}\r\n\r\n".encode(),
    "bad header": f"HTTP/1.1 200 OK\r\n{ALL}\r\n\r\n".encode(),
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + ALL.encode() + b"\r\n",
    "code": told(400, {"err_code": f"400.1 {TOKEN}", "msg": "no"}),
    "echo 400": echo(400, str),
    "echo 401": echo(401, str),
    "echo 429": echo(429, quote),
    "echo 500": echo(500, quote_plus),
    "echo HTML": echo(500, escape),
    "echo JSON": echo(404, json.dumps),
    "echo repr": echo(409, repr),
    "errors list": told(401, {"errors": [{"code": "UNAUTHORIZED", "message": ALL}]}),
    "in 200": told(200, {"err_code": 403.1, "msg": ALL}),
}


def known(operation: Operation) -> list[str]:
    """The secrets that a call holds, and is hence bound to hide wherever they are repeated."""
    given = {
        "extensions.call": [AUTH],
        "extensions.create": [*SECRETS[:3]],
        "extensions.update": [PIN],
    }
    return [TOKEN, *given.get(operation.name, [])]


ROWS = [operation for operation in OPERATIONS if not operation.name.startswith("account.")]


class TestCalls:
    @pytest.mark.parametrize("fault", FAULTS)
    async def test_every_operation(self, fault: str, ear: Ear) -> None:
        """Whatever goes wrong with whatever operation, nothing of its secrets is told."""
        asyncio.get_running_loop().set_debug(fault == "hang-up")  # slow, so once
        for operation in ROWS:
            ear.told.clear()
            ear.log.truncate(0)
            async with WireServer() as wire:
                wire.script = [FAULTS[fault]]
                async with PortSIPClient(
                    wire.url,
                    token=TOKEN,
                    retry=NO_PAUSE,
                    timeout=Timeout(total=0.02, read=0.02) if fault == "silence" else Timeout(),
                    on_attempt=ear.attempt,
                ) as pbx:
                    ear.note(pbx)
                    error = await outcome(ear, pbx, operation)
                    ear.note(pbx._session)
                assert isinstance(error, PortSIPError) or fault == "other JSON"
                assert wire.arrivals
            assert ear.attempts
            assert "portsip_async " + operation.name in ear.log.getvalue()
            ear.check(*known(operation))

    @pytest.mark.parametrize("session", ["own", "application's"])
    async def test_token_of_a_login(self, session: str, ear: Ear, sim: PBXSimulator) -> None:
        """Nor of tokens that the PBX gave, under faults of every kind."""
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
                    on_attempt=ear.attempt,
                )
            )
            pbx._session.sleep = lambda _: asyncio.sleep(0)
            for _ in range(3):
                await asyncio.gather(*(outcome(ear, pbx, operation) for operation in OPERATIONS))
        assert given
        assert ear.attempts > 30
        ear.check(sim.password, *given, *SECRETS, *shown)

    @pytest.mark.parametrize("place", ["query", "body", "header", "bearer"])
    @pytest.mark.parametrize("fault", ["hang-up", "no HTTP", "brotli", "redirect", "bad header"])
    async def test_wherever_the_token_goes(self, place: Any, fault: str, ear: Ear) -> None:
        """A token in a header is as secret as one in a query."""
        token = "tok+Secret/5=&\"'"  # headers are ASCII
        row = Endpoint("a.b", "POST", "/a/b", token=place)
        async with WireServer() as wire:
            wire.script = [FAULTS[fault]]
            async with PortSIPClient(wire.url, token=token, retry=NO_PAUSE) as pbx:
                with pytest.raises(PortSIPError) as caught:
                    await pbx.request(row, password=PASSWORD, nested={"pins": [1], "pin": PIN})
        ear.error(caught.value)
        ear.check(token, PASSWORD, PIN)

    async def test_no_connection(self, ear: Ear) -> None:
        for scheme in ("http", "https"):
            async with WireServer() as wire:
                await wire.leave()
                url = wire.url.replace("http", scheme)
                async with PortSIPClient(
                    url, token=TOKEN, retry=NO_PAUSE, timeout=0.5, on_attempt=ear.attempt
                ) as pbx:
                    for operation in ROWS:
                        assert await outcome(ear, pbx, operation) is not None
        ear.check(TOKEN, *SECRETS)

    @pytest.mark.parametrize("name", ["extensions.create", "extensions.call", "extensions.update"])
    async def test_debugging_survives(self, name: str, ear: Ear) -> None:
        """What is hidden is only what is secret: the rest of a message is told."""
        async with WireServer() as wire:
            wire.script = [echo(400, str)]
            async with PortSIPClient(wire.url, token=TOKEN, retry=NO_PAUSE) as pbx:
                error = await outcome(ear, pbx, BY_NAME[name])
        assert isinstance(error, APIError)
        assert error.message.startswith("bad request: ")
        assert "***" in error.message

    @pytest.mark.parametrize("name", ["extensions.create", "extensions.call"])
    async def test_half_a_surrogate_pair(self, name: str, ear: Ear) -> None:
        """Text that Python can't encode is quoted by Python's own error, so that is not shown."""
        secret = "half\ud800Secret"
        async with PortSIPClient("https://127.0.0.1:9", token=TOKEN) as pbx:
            with pytest.raises(ValueError, match="surrogate") as caught:
                await pbx.extensions.call("1", "2", auth=secret, domain="d", src="s")
            ear.error(caught.value)
            with pytest.raises(ValueError, match="surrogate") as caught:
                await pbx.account.verify("admin", secret)
            ear.error(caught.value)
        assert "Secret" not in ear.heard()


class TestLogins:
    @pytest.mark.parametrize("how", ["password", "email", "verify", "verify email", "token"])
    @pytest.mark.parametrize("write", [str, quote, escape, json.dumps, repr])
    @pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
    async def test_echoed(
        self, status: int, write: Callable[[str], str], how: str, ear: Ear
    ) -> None:
        """A login or a refresh that is told back by the PBX is not told on."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(line for line in head.split("\r\n") if "content-length" in line.lower())
            body = (await reader.readexactly(int(length.split(":")[1]))).decode()
            message = write(f"refused: {body} {LOGIN_PASSWORD} {TOKEN}")
            # Calls are told that their token is dead, so that it is refreshed.
            code = 403.4 if "/account/" not in head else 400.1 if status < 500 else status
            writer.write(told(status, {"err_code": code, "msg": message}))
            await writer.drain()
            writer.close()

        means: dict[str, Any] = {"username": "admin", "password": LOGIN_PASSWORD}
        if how == "email":
            means = {"credentials": EmailCredentials("a@b", LOGIN_PASSWORD)}
        elif how == "token":
            means = {"token": TOKEN}
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with PortSIPClient(url, retry=NO_PAUSE, on_attempt=ear.attempt, **means) as pbx:
                calls: dict[str, Callable[[], Awaitable[Any]]] = {
                    "verify": lambda: pbx.account.verify("admin", LOGIN_PASSWORD),
                    "verify email": lambda: pbx.account.verify_email("a@b", LOGIN_PASSWORD),
                    # A status request has its token in the body, which is told back.
                    "token": lambda: pbx.extensions.status(["101"]),
                }
                call = calls.get(how, lambda: pbx.groups.list().collect())
                with pytest.raises(APIError) as caught:
                    await call()
                ear.error(caught.value)
                with pytest.raises(APIError) as again:
                    await call()
                ear.error(again.value)
        # A client knows, and hence hides, what it was given.
        ear.check(TOKEN if how == "token" else LOGIN_PASSWORD)
        if status in (400, 401):
            assert isinstance(caught.value, AuthenticationError)

    async def test_reprs(self, ear: Ear) -> None:
        """Nothing that holds a secret shows it."""
        thing: object
        for thing in (
            PasswordCredentials("admin", LOGIN_PASSWORD),
            EmailCredentials("a@b", LOGIN_PASSWORD),
            StaticToken(TOKEN),
            Token(TOKEN, 30.0),
        ):
            ear.note(thing)
            ear.note([thing])
        async with PortSIPClient(
            "https://pbx.example:8900", username="admin", password=LOGIN_PASSWORD
        ) as pbx:
            for thing in (pbx, pbx.with_options(timeout=1), pbx._session, pbx._session.tokens):
                ear.note(thing)
            ear.note(pbx.__dict__)
        ear.check(LOGIN_PASSWORD, TOKEN)

    async def test_hook_that_raises(self, ear: Ear, wire: WireServer) -> None:
        """A hook that raises is logged without what the call holds."""

        def hook(attempt: Attempt) -> None:
            raise RuntimeError(f"cannot take {attempt}")

        wire.script = [echo(400, str)]
        async with PortSIPClient(wire.url, token=TOKEN, retry=NO_PAUSE, on_attempt=hook) as pbx:
            await outcome(ear, pbx, BY_NAME["extensions.call"])
        assert "on_attempt raised" in ear.log.getvalue()
        ear.check(TOKEN, AUTH)


@pytest.mark.parametrize("password", ["a", "ten", "The"])
async def test_message_stays_readable_beside_a_short_password(
    sim: PBXSimulator, make_client: Callable[..., PortSIPClient], password: str
) -> None:
    """The PBX's message is kept, except for the password as a value."""
    said = f'The extension exists already, with "{password}"'
    sim.fail("extensions.create", status=409, msg=said)
    pbx = make_client(sim.url)
    new = NewExtension(extension_number="950", password=password, web_access_password=password)
    with pytest.raises(Conflict) as caught:
        await pbx.extensions.create(new)
    assert caught.value.message == 'The extension exists already, with "***"'
