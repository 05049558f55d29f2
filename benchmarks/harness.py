"""What all benchmarks need: a server, fresh processes, ratios and their spread."""

import asyncio
import ssl
import statistics
import subprocess
import sys
import tempfile
from asyncio import selector_events
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec
import trustme

T = TypeVar("T")

ROOT = Path(__file__).parents[1]
HOST = "127.0.0.1"

# Over plain HTTP asyncio receives into fresh buffers of 256 KiB, which some process starts pay
# with an mmap a reply: up to 27 % on list pages. Comparisons leave that game of chance out.
RECEIVE_BYTES = 65_536


def settle_receiving() -> None:
    """Let the plain connections of this process, everybody's, receive into buffers of 64 KiB."""
    selector_events._SelectorSocketTransport.max_size = RECEIVE_BYTES  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Figure:
    """A median, and the quartiles round it."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Take the median and the quartiles of some values."""
        found = sorted(values)
        if len(found) < 2:
            return cls(found[0], found[0], found[0])
        low, middle, high = statistics.quantiles(found, n=4, method="inclusive")
        return cls(middle, low, high)

    def shown(self, digits: int, unit: str = "") -> str:
        """Show the median with its quartiles behind it."""
        value = f"{self.value:,.{digits}f}{unit}"
        if self.low == self.high:
            return value
        return f"{value} ({self.low:,.{digits}f} to {self.high:,.{digits}f})"


@dataclass(frozen=True, slots=True)
class Table:
    """What a benchmark tells beside the figures that have goals."""

    title: str
    head: list[str]
    rows: list[list[str]]
    note: str = ""


def geometric_mean(values: Iterable[float]) -> float:
    """Average ratios."""
    return statistics.geometric_mean(values)


class Server:
    """The server, in a process of its own; a context manager."""

    def __init__(
        self,
        *,
        delay: float = 0.0,
        items: int = 100_000,
        token_life: float | None = None,
        compressed: bool = False,
        tls: bool = False,
    ) -> None:
        self._arguments = [f"--delay={delay}", f"--items={items}"]
        if token_life is not None:
            self._arguments.append(f"--token-life={token_life}")
        if compressed:
            self._arguments.append("--compressed")
        self._tls = tls
        self.authority: str | None = None
        self.urls: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        if self._tls:
            authority = trustme.CA()
            certificate = Path(self._folder.name, "server.pem")
            authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(certificate)
            self.authority = str(Path(self._folder.name, "authority.pem"))
            authority.cert_pem.write_to_path(self.authority)
            self._arguments.append(f"--certificate={certificate}")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.server", *self._arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        ports = self._line()
        self.urls = {"plain": f"http://{HOST}:{ports['plain']}"}
        if self._tls:
            self.urls["tls"] = f"https://{HOST}:{ports['tls']}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()
        self._folder.cleanup()

    def counts(self) -> dict[str, float]:
        """Ask for the server's CPU seconds and what it counted."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the server ended")
        return msgspec.json.decode(line)


def context_for(authority: str | None) -> ssl.SSLContext | None:
    """Make what trusts the server's certificate; None without TLS."""
    return None if authority is None else ssl.create_default_context(cafile=authority)


def fresh(module: str, task: dict[str, Any]) -> Any:
    """Do a task in a fresh process: the module's `work`, whose answer comes back.

    Args:
        module: a module of this package.
        task: what `work` is given; plain values.
    """
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", msgspec.json.encode(task).decode()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{module} failed in a process of its own")
    return msgspec.json.decode(done.stdout)


def answer(work: Callable[[dict[str, Any]], Awaitable[Any]]) -> None:
    """Be the fresh process: do the task of the command line, print the answer."""
    result = asyncio.run(work(msgspec.json.decode(sys.argv[1])))  # type: ignore[arg-type]
    print(msgspec.json.encode(result).decode())


async def in_flight(call: Callable[[int], Awaitable[object]], count: int, width: int) -> None:
    """Make so many calls, so many at once.

    Args:
        call: makes the call of a number.
        count: calls in all.
        width: calls in flight.
    """
    if width == 1:
        for number in range(count):
            await call(number)
        return
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await call(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(width):
            group.create_task(worker())


def rotated(values: Sequence[T], by: int) -> list[T]:
    """Begin elsewhere, so that nobody always comes first or after the same one."""
    by %= len(values)
    return [*values[by:], *values[:by]]
