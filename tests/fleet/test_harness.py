"""What the other tests rely on: Redis loses and keeps what it should, and processes report."""

import json
import sys
from pathlib import Path

import pytest
import redis

from .processes import Processes, report, settings
from .redis_server import RedisServer

pytestmark = pytest.mark.fleet


@pytest.mark.parametrize("append_only", [False, True], ids=["in-memory", "append-only"])
def test_killed_redis(append_only: bool, tmp_path: Path) -> None:
    """A killed server has its data again only with its append-only file."""
    with RedisServer(tmp_path / "redis", append_only=append_only) as server:
        with server.client() as client:
            client.set("key", "a readable value " * 100)
            client.xadd("stream", {"field": "in a stream"})
            server.kill()
            with pytest.raises(redis.exceptions.ConnectionError):
                client.get("key")
            server.start()
            assert client.exists("key", "stream") == (2 if append_only else 0)
            client.set("key", "a later value")
        dump = server.dump()
        assert b"a later value" in dump
        assert (b"a readable value " * 100 in dump, b"in a stream" in dump) == (append_only,) * 2


def test_paused_redis(redis_server: RedisServer) -> None:
    with redis.Redis.from_url(redis_server.url, socket_timeout=0.2, retry=None) as client:
        client.set("key", "value")
        redis_server.pause()
        with pytest.raises(redis.exceptions.TimeoutError):
            client.get("key")
        redis_server.resume()
        assert client.get("key") == b"value"


def test_processes(processes: Processes) -> None:
    """A process reports, takes orders, is paused, resumed and killed."""
    process = processes.start(__name__, greeting="hello")
    assert process.read() == {"greeting": "hello"}
    process.pause()
    process.order(number=1)
    with pytest.raises(AssertionError, match="no line"):
        process.read(0.3)
    process.resume()
    assert process.read_until("echo") == {"echo": {"number": 1}}
    process.kill()
    assert process.exit_code == -9
    with pytest.raises(AssertionError, match=r"ended with -9\n.*to the log"):
        process.read()


def _main() -> None:
    report(**settings())
    sys.stderr.write("a line to the log\n")
    for line in sys.stdin:
        report(echo=json.loads(line))


if __name__ == "__main__":
    _main()
