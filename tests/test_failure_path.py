"""A failing call loads nothing: it imports no module and opens no file."""

import asyncio
import errno
import json
import os
import ssl as tls
import sys
from typing import Any, NoReturn

import aiohttp
import pytest

from portsip_async import ConnectError, PortSIPClient, RetryPolicy

from .wire_server import Arrival, WireServer, hang_up, reply, reset, silence

OK = b'{"extension_number": "101"}'
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
REPLIES = {
    "ok": reply(OK),
    "502": reply("<html>Bad gateway", 502),
    "503": reply("", 503, {"Retry-After": "0"}),
    "429": reply("", 429),
    "429-digits": reply("", 429, {"Retry-After": "0"}),
    "429-date": reply("", 429, {"Retry-After": DATE}),
    "408": reply("", 408),
    "redirect": reply("", 302, {"Location": "/elsewhere"}),
    "switch": reply("", 101, {"Upgrade": "tls"}),
    "no-content": reply("", 204),
    "truncated": reply(OK)[:-4],
    "rubbish": b"RUBBISH\r\n\r\n",
    "rubbish-chunk": reply(b"zz\r\nrub", headers={"Transfer-Encoding": "chunked"}),
    "too-large": reply(b" " * (1 << 17)),
    "gzip": reply(b"no gzip", headers={"Content-Encoding": "gzip"}),
    "deflate": reply(b"no deflate", headers={"Content-Encoding": "deflate"}),
    "br": reply(b"no brotli", headers={"Content-Encoding": "br"}),
    "zstd": reply(b"no zstd", headers={"Content-Encoding": "zstd"}),
    "charset": reply(OK, headers={"Content-Type": "application/json; charset=utf-16"}),
    "cookie": reply(OK, headers={"Set-Cookie": f"a=b; Expires={DATE}"}),
    "html": reply("<html>Verb\xf6ten".encode("latin-1"), 403, {"Content-Type": "text/html"}),
    "latin-1": reply(
        '{"extension_number": "1", "profile": {"first_name": "Jos\xe9"}}'.encode("latin-1")
    ),
    "repair": reply('{"extension_number": 101, "profile": {"first_name": 5}, "options": null}'),
    "unreadable": reply('{"extension_number": '),
    "null": reply("null"),
    "401": reply({"msg": "no"}, 401),
    "token-rejected": reply({"err_code": 403.4, "msg": "the access token expired"}, 403),
    "exists": reply({"err_code": "403.3", "msg": "exists"}),
}
MISSING = reply({"err_code": "404.1", "msg": "there is none"}, 404)


async def by_path(
    arrival: Arrival, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Reply according to the end of the path."""
    kind = arrival.path.rsplit("/", 1)[-1]
    wire = {"hang-up": hang_up, "reset": reset, "silence": silence}.get(kind)
    if wire is not None:
        await wire(arrival, reader, writer)
    else:
        writer.write(REPLIES.get(kind, MISSING))
        await writer.drain()


async def run(*command: str) -> tuple[list[str], str]:
    """Run a client in a separate process. Return the lines it printed, and its stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    return out.decode().splitlines(), err.decode()


async def test_failure_imports_no_module(wire: WireServer) -> None:
    """However a call fails, nothing is imported after the client was made."""
    wire.script = [by_path]
    lines, _ = await run("-m", "tests.without_imports", wire.url)
    *cases, imports = map(json.loads, lines)
    assert imports == []
    outcomes = dict(cases)
    assert "PermissionError" not in outcomes.values()
    expected = {
        "success": "done",
        "GET 502": "ServerError",
        "POST hang-up": "TransportError",
        "GET silence": "RequestTimeout",
        "GET latin-1": "done",
        "GET repair": "done",
        "unknown host": "ConnectError",
        "proxy unknown": "ConnectError",
        "refused": "ConnectError",
        "login refused": "AuthenticationError",
        "rate": "ServerError",
        "hook": "ServerError",
        "watch": "done",
        "error kept": "done",
        "after closing": "ClientClosed",
    }
    assert expected.items() <= outcomes.items()


EXHAUSTED = """
import asyncio, os, resource, sys
from portsip_async import PortSIPClient, RetryPolicy

async def show(pbx):
    try:
        return (await pbx.extensions.show("101")).extension_number
    except Exception as error:
        return type(error).__name__

async def main(url, host):
    policy = RetryPolicy(initial=0.001, maximum=0.002)
    url = url.replace("127.0.0.1", host)
    async with PortSIPClient(url, token="96ACE20C6F34027895F7F95402BB1641", retry=policy) as pbx:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        taken = len(os.listdir("/proc/self/fd")) - 1  # one of them lists the others
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken, most))
        failed = await asyncio.gather(*(show(pbx) for _ in range(64)))
        watch = pbx.extensions.watch_status(["101"], interval=0.01)
        watching = asyncio.ensure_future(anext(aiter(watch)))
        while not watch.stats.failures:
            await asyncio.sleep(0.001)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        print(*sorted(set(failed)))
        print(await show(pbx))
        print(watch.stats.failures > 0, (await watching).extension_number)
        await watch.aclose()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_limit_of_open_files_is_a_connect_error(wire: WireServer, host: str) -> None:
    """Calls at the limit raise ConnectErrors. A watch goes on, and later calls succeed."""
    wire.script = [
        reply(
            {
                "extension_number": "101",
                "extension_status": [{"extension_number": "101", "status": "ONLINE"}],
            }
        )
    ]
    lines, _ = await run("-c", EXHAUSTED, wire.url, host)
    assert lines == ["ConnectError", "101", "True 101"]


@pytest.mark.parametrize("own_session", [True, False], ids=["own session", "application's session"])
async def test_no_thread_for_a_name_lookup_is_a_connect_error(
    monkeypatch: pytest.MonkeyPatch, own_session: bool
) -> None:
    """If the system starts no more threads, nothing was sent, so the call is retried."""
    tries = 0

    def refuse(*_: Any) -> NoReturn:
        nonlocal tries
        tries += 1
        raise RuntimeError("can't start new thread")

    session = None if own_session else aiohttp.ClientSession()
    monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", refuse)
    policy = RetryPolicy(attempts=3, initial=0.001)
    async with PortSIPClient(
        "https://pbx.invalid", token="T", session=session, retry=policy
    ) as pbx:
        with pytest.raises(ConnectError) as caught:
            await pbx.groups.remove("1")
    if session is not None:
        await session.close()
    assert (tries, caught.value.attempts, caught.value.may_have_acted) == (3, 3, False)


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
async def test_ca_file_that_cannot_be_opened_now(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """It is a ConnectError, not a ConfigurationError, which would end a watch."""
    original = tls.create_default_context
    errors: list[Exception] = [OSError(code, os.strerror(code))] * 2

    def make(*args: Any, **options: Any) -> tls.SSLContext:
        if errors and options.get("cafile"):
            raise errors.pop()
        return original()

    monkeypatch.setattr(tls, "create_default_context", make)
    policy = RetryPolicy(attempts=1)
    async with PortSIPClient("https://127.0.0.1:1", token="T", ssl="ca.pem", retry=policy) as pbx:
        for reason in (os.strerror(code), os.strerror(code), "Connect call failed"):
            with pytest.raises(ConnectError, match=reason):
                await pbx.extensions.show("101")
