"""What the pages about several processes show works: services, a fleet, a Redis with TLS and users.

The examples run here with a Redis, and without one in ``tests/test_examples.py``.
"""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis
import trustme

from portsip_async import PortSIPClient
from portsip_async.fleet import Fleet
from portsip_async.redis import RedisTokenStore
from portsip_async.simulator import PBXSimulator

from ..docs.blocks import ROOT, Block, blocks, commands, files, write_files
from ..soak.nginx import HOST, free_port
from .processes import end_with_parent
from .redis_server import RedisServer

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(240)]

SECONDS = 90.0  # for a step: a busy machine needs long to start several processes
WORKERS = "docs/howto/several-workers.md"
MANY = "docs/howto/watch-many-pbxes.md"
TRUST = "docs/explanation/redis.md"


def environment(variables: Mapping[str, str] | None) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PORTSIP_")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
        **(variables or {}),
    }


@contextlib.asynccontextmanager
async def running(
    *command: str,
    folder: Path,
    variables: Mapping[str, str],
    stop: signal.Signals = signal.SIGTERM,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command, and stop it at the end of the block: it exits with 0, without a traceback."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=environment(variables),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=end_with_parent,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(stop)
        try:
            async with asyncio.timeout(SECONDS):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()
    said = (out + err).decode()
    if stop is signal.SIGINT:  # a program without a handler, such as the page's
        assert process.returncode == -signal.SIGINT, said
        assert said.rstrip().endswith("KeyboardInterrupt"), said
    else:
        assert process.returncode == 0, said
        assert "Traceback" not in said


async def finished(*command: str, folder: Path, variables: Mapping[str, str] | None = None) -> str:
    """Run a command that ends by itself, and return its output."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=environment(variables),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=end_with_parent,
    )
    try:
        async with asyncio.timeout(SECONDS):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert process.returncode == 0, err.decode()
    assert "Traceback" not in err.decode(), err.decode()
    return out.decode()


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
    async with PBXSimulator(extensions=20, token_lifetime=600, quirks=["one_token"]) as sim:
        variables = {
            "PORTSIP_URL": sim.url,
            "PORTSIP_USERNAME": sim.username,
            "PORTSIP_PASSWORD": sim.password,
            "PORTSIP_DOMAIN": sim.domain,
            "REDIS_URL": redis_server.url,
        }
        async with running(*command, folder=tmp_path, variables=variables):
            statuses = await ask(f"http://127.0.0.1:{port}/extensions/101", 100)
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

        async with asyncio.timeout(SECONDS):
            await first()
            return await asyncio.gather(*(one() for _ in range(times)))


# Watch hundreds of PBXes.


async def line(
    process: asyncio.subprocess.Process, matches: Callable[[str], Any], seconds: float = SECONDS
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
    board, status = (
        shown_command(MANY, "python"),
        shown_command(MANY, "portsip-async", "fleet", "status"),
    )
    async with (
        PBXSimulator(extensions=7, token_lifetime=600) as acme,
        PBXSimulator(extensions=9) as globex,
    ):
        variables = {"REDIS_URL": redis_server.url}
        for name, sim in (("ACME", acme), ("GLOBEX", globex)):
            variables |= {f"{name}_URL": sim.url, f"{name}_PASSWORD": sim.password}
        acme.set_status("101", "ONLINE")
        async with (
            running(*work, folder=tmp_path, variables=variables),
            running(
                sys.executable, *board[1:], folder=tmp_path, variables=variables, stop=signal.SIGINT
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
            shown = await finished(*status, folder=tmp_path, variables=variables)
            assert "acme" in shown
            assert "globex" in shown
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
    assert configuration.count("6379") == 1
    assert configuration.count("/etc/redis/") == 3
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
        async with asyncio.timeout(SECONDS):
            while not is_up(url("admin")):  # noqa: ASYNC110 - it happens in another process
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


async def test_tls_and_users(guarded: Callable[[str], str], tmp_path: Path) -> None:
    """Each user of the page can do what it is for, and can't do what it must not."""
    async with PBXSimulator(extensions=5, token_lifetime=600) as sim:

        def fleet(user: str) -> Fleet:
            async def connect(pbx: str, **shared: Any) -> PortSIPClient:
                return client(sim, **shared)

            return Fleet(guarded(user), connect=connect, pbxes=["acme"], interval=0.2)

        async with fleet("worker") as working, fleet("reader") as reading:
            work = asyncio.create_task(working.work())
            async with asyncio.timeout(SECONDS):
                changes = reading.changes("board", from_start=True)
                numbers = {(await anext(changes)).pbx for _ in range(5)}
                await changes.aclose()
                assert numbers == {"acme"}
                assert len(await reading.snapshot("acme")) == 5
                assert (await reading.status()).pbxes["acme"].last_success is not None
                await working.add("globex")
                await working.remove("globex")
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
        assert sim.tokens_issued == 1

        store = RedisTokenStore.from_url(guarded("tokens"))
        async with client(sim, token_store=store) as pbx:  # takes the token of the worker
            await pbx.extensions.show("101")
            assert sim.tokens_issued == 1
            # Slower than the life of a lock, so that the lock is prolonged.
            sim.fail("account.verify", latency=0.9)
            sim.fail("account.refresh", latency=0.9)
            await pbx.account.refresh()
        assert sim.tokens_issued == 2

    with client_of(guarded("admin")) as admin:
        assert admin.acl_log() == []  # nothing was refused
    for user, command in (
        ("reader", ("XADD", "fleet:stream", "*", "message", "pickled")),
        ("reader", ("GET", "portsip:token:hash")),
        ("worker", ("FLUSHALL",)),
        ("worker", ("CONFIG", "GET", "*")),
        ("worker", ("KEYS", "*")),
        ("worker", ("SET", "other", "value")),
        ("tokens", ("XADD", "fleet:stream", "*", "message", "pickled")),
        ("tokens", ("SCAN", "0")),
    ):
        refusal = pytest.raises(redis.exceptions.NoPermissionError)
        with client_of(guarded(user)) as refused, refusal:
            refused.execute_command(*command)
    wrong = pytest.raises(redis.exceptions.AuthenticationError)
    with client_of(guarded("nobody")) as nobody, wrong:
        nobody.ping()


def client(sim: PBXSimulator, **options: Any) -> PortSIPClient:
    return PortSIPClient(sim.url, username=sim.username, password=sim.password, **options)


# The examples.


async def test_shared_login(redis_server: RedisServer) -> None:
    """With a Redis, four processes log in once; without a shared token, calls fail."""
    said = await example("shared_login.py", redis_server.url, "--seconds", "1.5")
    alone, shared = said.splitlines()
    assert re.fullmatch(r"each .+: \d+ calls succeeded, [1-9]\d* failed, \d+ logins", alone)
    assert re.fullmatch(r"one .+: [1-9]\d* calls succeeded, 0 failed, 1 logins", shared)


async def test_fleet_board(redis_server: RedisServer) -> None:
    """With a Redis, worker processes find the statuses."""
    said = await example("fleet_board.py", redis_server.url, "--seconds", "8", "--pbxes", "3")
    assert re.search(r"(?m)^3 PBXes with 150 extensions, workers: \S+", said)
    assert re.search(r"(?m)^pbx\d\d  1\d\d  \w* -> \w+$", said)


async def example(name: str, *arguments: str) -> str:
    command = sys.executable, "-W", "error", name, *arguments
    return await finished(*command, folder=ROOT / "examples")
