"""What the pages about several processes show works: services, a fleet, a Redis with TLS and users.

The examples run here with a Redis, and without one in ``tests/test_examples.py``.
"""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis
import trustme

from portsip_async.simulator import PBXSimulator

from ..docs.blocks import ROOT, Block, blocks, commands, files, write_files
from ..soak.nginx import HOST, free_port
from .processes import PATIENCE, end_with_parent
from .redis_server import RedisServer

pytestmark = pytest.mark.fleet

WORKERS = "docs/howto/several-workers.md"
MANY = "docs/howto/watch-many-pbxes.md"
TRUST = "docs/explanation/redis.md"


def environment(**variables: str) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PORTSIP_")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
        **variables,
    }


@contextlib.asynccontextmanager
async def running(
    *command: str, folder: Path, stop: signal.Signals = signal.SIGTERM, **variables: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command, and stop it at the end of the block: it exits with 0, without a traceback."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=environment(**variables),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=end_with_parent,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(stop)
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
    said = (out + err).decode()
    assert process.returncode in (0, -stop), said
    assert "Traceback" not in said.partition("KeyboardInterrupt")[0].partition("Traceback")[2], said


def console(page: str) -> list[Block]:
    return [block for block in blocks(page) if block.language == "console"]


def shown_command(page: str, *start: str) -> list[str]:
    """Return the command of a page that begins with these words."""
    (found,) = (
        command
        for block in console(page)
        for command in commands(block)
        if tuple(command[: len(start)]) == start
    )
    return found


# Several workers, one login.


@pytest.mark.parametrize(
    ("server", "address"),
    [("uvicorn", ["--port", "{port}"]), ("gunicorn", ["--bind", "127.0.0.1:{port}"])],
    ids=["uvicorn", "gunicorn"],
)
async def test_service(
    server: str, address: list[str], redis_server: RedisServer, tmp_path: Path
) -> None:
    """All workers of the page's service serve, and log in once, though the PBX allows one login."""
    write_files(WORKERS, tmp_path)
    port = free_port()
    command = [*shown_command(WORKERS, server), *(each.format(port=port) for each in address)]
    async with PBXSimulator(extensions=20, quirks=["one_token"]) as sim:
        variables = {
            "PORTSIP_URL": sim.url,
            "PORTSIP_USERNAME": sim.username,
            "PORTSIP_PASSWORD": sim.password,
            "PORTSIP_DOMAIN": sim.domain,
            "REDIS_URL": redis_server.url,
        }
        async with running(*command, folder=tmp_path, **variables):
            statuses = await ask(f"http://127.0.0.1:{port}/extensions/101", 300)
        assert set(statuses) == {200}
        assert sim.v22.tokens_issued == 1


async def ask(url: str, times: int) -> list[int]:
    """Send requests, each through a connection of its own, so that all workers get some."""
    connector = aiohttp.TCPConnector(force_close=True, limit=16)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def one() -> int:
            async with session.get(url) as reply:
                await reply.read()
                return reply.status

        async def first() -> None:
            while True:
                with contextlib.suppress(aiohttp.ClientConnectorError):
                    await one()
                    return
                await asyncio.sleep(0.05)

        async with asyncio.timeout(PATIENCE):
            await first()
            return await asyncio.gather(*(one() for _ in range(times)))


# Watch hundreds of PBXes.


async def line(
    process: asyncio.subprocess.Process, matches: Callable[[str], Any], seconds: float = PATIENCE
) -> str:
    """Read lines of a process until one matches, and return it."""
    assert process.stdout is not None
    read: list[str] = []
    async with asyncio.timeout(seconds):
        while True:
            found = (await process.stdout.readline()).decode()
            read.append(found)
            assert found, "".join(read)
            if matches(found):
                return found.rstrip()


async def test_two_commands_start_a_fleet(redis_server: RedisServer, tmp_path: Path) -> None:
    """The commands of the page start a fleet, show its status, and print its changes."""
    write_files(MANY, tmp_path)
    (start,) = (block for block in console(MANY) if "redis-server" in block.code)
    _, work = commands(start)  # the fixture is the first one, on a port of its own
    board, status = shown_command(MANY, "python"), shown_command(MANY, "portsip-async", "fleet", "status")
    async with PBXSimulator(extensions=7) as acme, PBXSimulator(extensions=9) as globex:
        variables = {"REDIS_URL": redis_server.url}
        for name, sim in (("ACME", acme), ("GLOBEX", globex)):
            variables |= {f"{name}_URL": sim.url, f"{name}_PASSWORD": sim.password}
        acme.set_status("101", "ONLINE")
        async with (
            running(*work, folder=tmp_path, **variables),
            running(
                sys.executable, *board[1:], folder=tmp_path, stop=signal.SIGINT, **variables
            ) as printing,
        ):
            await line(printing, lambda said: said.startswith("acme 101 None"))
            await line(printing, lambda said: said.startswith("globex "))
            acme.set_status("101", "ON_CALL")
            said = await line(printing, lambda said: "ON_CALL" in said and "acme 101" in said)
            assert "'ONLINE'" in said
            await globex.stop()
            await line(printing, lambda said: said.startswith("globex is away"))
            await globex.start()
            await line(printing, lambda said: said.startswith("globex is back"))
            async with running(*status, folder=tmp_path, **variables) as showing:
                await line(showing, lambda said: "acme" in said)
                await line(showing, lambda said: "globex" in said)
        assert acme.tokens_issued == 1


# What Redis has to be trusted with.


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Callable[[str], str]]:
    """Start a Redis with the page's files. The value returns the URL of a user."""
    port = free_port()
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(tmp_path / "redis-ca.pem")
    issued.private_key_pem.write_to_path(tmp_path / "redis.key")
    for part in issued.cert_chain_pems:
        part.write_to_path(tmp_path / "redis.crt", append=True)
    write_files(TRUST, tmp_path)
    configuration = files(TRUST)["redis.conf"]
    assert {"tls-port 6379", "/etc/redis/"} <= {*re.findall(r"tls-port 6379|/etc/redis/", configuration)}
    (tmp_path / "redis.conf").write_text(
        configuration.replace("/etc/redis/", f"{tmp_path}/").replace("6379", str(port))
    )
    process = await asyncio.create_subprocess_exec(
        *("redis-server", "redis.conf", "--bind", HOST, "--save", ""),
        cwd=tmp_path,
        stdout=asyncio.subprocess.DEVNULL,
        preexec_fn=end_with_parent,
    )
    users = dict(re.findall(r"user (\w+) on >(\S+)", files(TRUST)["users.acl"]))

    def url(user: str) -> str:
        login = f"{user}:{users[user]}" if user in users else f":{user}"
        return f"rediss://{login}@localhost:{port}/0?ssl_ca_certs={tmp_path / 'redis-ca.pem'}"

    try:
        async with asyncio.timeout(PATIENCE):
            while not is_up(url("admin")):
                await asyncio.sleep(0.05)
        yield url
    finally:
        process.kill()
        await process.wait()


def is_up(url: str) -> bool:
    with contextlib.suppress(redis.exceptions.ConnectionError), client_of(url) as client:
        return bool(client.ping())
    return False


def client_of(url: str) -> "redis.Redis":
    return redis.Redis.from_url(url, retry=None)
