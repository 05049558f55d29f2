"""`RedisTokenStore` without a Redis: its arguments, and servers that are away, silent or foreign.

The tests with a Redis are in `tests/fleet`.
"""

import asyncio
import copy
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from portsip_async import ConfigurationError, PortSIPClient
from portsip_async.redis import RedisTokenStore
from portsip_async.simulator import PBXSimulator


@pytest.mark.parametrize(
    "url",
    [
        "redis://:secret@host:port/0",
        "redis://:secret@host:99999/0",
        "http://:secret@host/0",
        "redis://:secret@host/0?unknown=1",
        "redis://:secret@host/0?socket_timeout=soon",
        "redis://:secret@host/0?protocol=9",
        "redis://:secret@host/0?credential_provider=x",
        "rediss://:secret@host/0?ssl_cert_reqs=some",
        "redis://:secret@[::1/0",
        "secret",
        "",
        7,
    ],
)
def test_bad_url(url: str) -> None:
    """The error does not show it, and neither does its traceback with local variables."""
    with pytest.raises(ConfigurationError, match=r"^the URL must be like redis://") as caught:
        RedisTokenStore.from_url(url)
    error = caught.value
    shown = "".join(
        traceback.TracebackException.from_exception(error, capture_locals=True).format()
    )
    # The first frame is the one of this test.
    assert "secret" not in shown.split("portsip_async", 1)[-1]
    assert error.__context__ is None


@pytest.mark.parametrize(
    "url", ["redis://:secret@host", "rediss://u:secret@host:1/2", "unix:///secret.sock?db=1"]
)
def test_url_is_not_shown(url: str) -> None:
    store = RedisTokenStore.from_url(url)
    assert "secret" not in repr(store)
    assert "secret" not in repr(copy.copy(store))


def test_without_redis() -> None:
    """The import says which extra is missing; the package works without it."""
    code = (
        "import sys\n"
        "sys.modules['redis'] = None\n"
        "import portsip_async\n"
        "portsip_async.TokenStore\n"
        "try:\n"
        "    import portsip_async.redis\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (
        done.stdout == "a token store in Redis needs an extra: pip install 'portsip_async[redis]'\n"
    )


def test_redis_is_loaded_for_its_store_only() -> None:
    code = (
        "import sys\n"
        "from portsip_async import PortSIPClient, TokenStore, v22\n"
        "v22.PortSIPClient\n"
        "print('redis' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n"


@asynccontextmanager
async def server(reply: bytes | None) -> AsyncIterator[int]:
    """Listen on a port, and reply to whatever arrives; None never replies."""
    open_writers = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_writers.add(writer)
        while await reader.read(1000):
            if reply is not None:
                writer.write(reply)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for writer in open_writers:
            writer.close()
            await writer.wait_closed()


@pytest.mark.parametrize(
    "reply",
    [None, b"HTTP/1.1 400 Bad Request\r\n\r\n", b"-LOADING secret\r\n", b"$-5\r\n"],
    ids=["silence", "another server", "loading", "rubbish"],
)
async def test_server_that_is_no_redis(
    sim: PBXSimulator, reply: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """The client logs in alone, after 0.8 seconds at most, and warns once."""
    async with server(reply) as port:
        store = RedisTokenStore.from_url(f"redis://:secret@127.0.0.1:{port}/0")
        for _ in range(2):
            async with PortSIPClient(
                sim.url, username=sim.username, password=sim.password, token_store=store
            ) as pbx:
                await asyncio.wait_for(pbx.extensions.show("100"), 2.0)
    (record,) = [record for record in caplog.records if record.name == "portsip_async"]
    assert record.getMessage().startswith("the token store failed (")
    assert "secret" not in caplog.text


async def test_no_server(sim: PBXSimulator, caplog: pytest.LogCaptureFixture) -> None:
    store = RedisTokenStore.from_url("redis://:secret@127.0.0.1:1/0")
    async with PortSIPClient(
        sim.url, username=sim.username, password=sim.password, token_store=store
    ) as pbx:
        await pbx.extensions.show("100")
    assert "the token store failed (ConnectionError)" in caplog.text
    assert "secret" not in caplog.text
