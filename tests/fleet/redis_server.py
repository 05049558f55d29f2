"""A real redis-server on a free port, with all of its files in one folder."""

import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..soak.nginx import HOST, free_port
from .processes import PATIENCE, end_with_parent


class RedisServer:
    """Start, kill and pause the server; its port and its password stay the same.

    Attributes:
        password: the password of its default user.
        port: where it listens, on loopback.
        url: the same, with the password.
    """

    def __init__(self, folder: Path, *, append_only: bool = False) -> None:
        """Create it.

        Args:
            folder: for its files; it is made if it isn't there.
            append_only: whether a killed server has its data again once it is started.
        """
        self.password: str = secrets.token_urlsafe(12)
        self.port: int = free_port()
        self.url: str = f"redis://:{self.password}@{HOST}:{self.port}/0"
        self._folder = folder
        self._append_only = append_only
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it has loaded its data."""
        binary = shutil.which("redis-server")
        assert binary, "redis-server is not installed: see make test-fleet"
        self._folder.mkdir(exist_ok=True)
        log = self._folder / "redis.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    *(
                        binary,
                        "--bind",
                        HOST,
                        "--port",
                        str(self.port),
                        "--dir",
                        str(self._folder),
                    ),
                    *("--requirepass", self.password, "--save", ""),
                    *("--appendonly", "yes" if self._append_only else "no"),
                    # So that texts are found in `dump`.
                    *("--rdbcompression", "no", "--aof-use-rdb-preamble", "no"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=end_with_parent,
            )
        until = time.monotonic() + PATIENCE
        while not self._answers():
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < until, f"no answer from redis-server: {log.read_text()}"
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill it by SIGKILL, paused or not. Does nothing if it doesn't run."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def pause(self) -> None:
        """Stop its process by SIGSTOP: connections stay open, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on by SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def client(self, password: str | None = None) -> "redis.Redis":
        """Return a synchronous client, which the caller closes; None means its usual password."""
        once = Retry(NoBackoff(), 0)
        return redis.Redis(HOST, self.port, password=password or self.password, retry=once)

    def dump(self) -> bytes:
        """Return everything that it holds: all databases, with names and values in clear.

        With ``append_only`` also what it held before: the whole log of what was written.
        """
        with self.client() as client:
            client.save()
        logs = sorted(self._folder.glob("appendonlydir/*.aof"))
        return b"".join(path.read_bytes() for path in [self._folder / "dump.rdb", *logs])

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=1), self.client() as client:
                client.ping()
        except (OSError, redis.exceptions.RedisError):
            return False
        return True
