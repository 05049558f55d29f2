"""What all benchmarks share: the server, fresh processes, medians and ratios."""

import asyncio
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from asyncio import selector_events
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias, TypeVar

import msgspec
import trustme

T = TypeVar("T")

ROOT = Path(__file__).parents[1]
HOST = "127.0.0.1"

# Over plain HTTP, asyncio allocates a buffer of 256 KiB for each read. In some processes that costs
# an mmap per reply, which adds up to 27 % to the time of a list page. Smaller buffers avoid it.
RECEIVE_BYTES = 65_536

# Reports the progress of a benchmark.
Progress: TypeAlias = Callable[[str], None]


def limit_receive_buffers() -> None:
    """Make all plain connections of this process receive into buffers of 64 KiB."""
    selector_events._SelectorSocketTransport.max_size = RECEIVE_BYTES  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Figure:
    """A median with its quartiles."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Compute the median and the quartiles of some values."""
        ordered = sorted(values)
        if len(ordered) < 2:
            return cls(ordered[0], ordered[0], ordered[0])
        low, middle, high = statistics.quantiles(ordered, n=4, method="inclusive")
        return cls(middle, low, high)

    def text(self, digits: int, unit: str = "") -> str:
        """Format the median, followed by the quartiles in brackets."""
        value = f"{self.value:,.{digits}f}{unit}"
        if self.low == self.high:
            return value
        return f"{value} ({self.low:,.{digits}f} to {self.high:,.{digits}f})"


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the report."""

    title: str
    head: list[str]
    rows: list[list[str]]
    note: str = ""


# What a benchmark returns: figures by the keys of the goals, and tables for the report.
Findings: TypeAlias = tuple[dict[str, Figure], list[Table]]


def geometric_mean(values: Iterable[float]) -> float:
    """Return the mean of ratios."""
    return statistics.geometric_mean(values)


class Server:
    """The server in a separate process, as a context manager.

    Args:
        tls: serve TLS too, with a certificate made for this run.
        compressed: send list pages in gzip.
        options: the other options of `server.py`, such as ``delay=0.02`` for ``--delay=0.02``.
    """

    def __init__(self, *, tls: bool = False, compressed: bool = False, **options: float) -> None:
        self._arguments = [f"--{name.replace('_', '-')}={it}" for name, it in options.items()]
        if compressed:
            self._arguments.append("--compressed")
        self._tls = tls
        # The file of the certificate authority to trust; None without TLS.
        self.authority: str | None = None
        # The base URLs, under "plain" and "tls".
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
        ports = self._read_line()
        self.urls = {"plain": f"http://{HOST}:{ports['plain']}"}
        if self._tls:
            self.urls["tls"] = f"https://{HOST}:{ports['tls']}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()
        self._folder.cleanup()

    def counts(self) -> dict[str, float]:
        """Return the server's CPU seconds so far (``cpu``) and its counts of requests."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return {"requests": 0, "logins": 0, "refused": 0, **self._read_line()}

    def _read_line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the benchmark server has exited")
        return msgspec.json.decode(line)


def ssl_context(authority: str | None) -> ssl.SSLContext | None:
    """Return a context that trusts the server's certificate, or None without TLS."""
    return None if authority is None else ssl.create_default_context(cafile=authority)


def run_in_process(module: str, task: dict[str, Any]) -> Any:
    """Run a benchmark module's `run` in a fresh process, and return its result.

    Args:
        module: a module of this package that ends in ``main(run)``.
        task: the argument of `run`; plain values.
    """
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", msgspec.json.encode(task).decode()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"benchmarks.{module} failed in its process; see the error above")
    return msgspec.json.decode(done.stdout)


def main(run: Callable[[dict[str, Any]], Awaitable[Any]]) -> None:
    """Run the task of the command line in this process, and print the result."""
    result = asyncio.run(run(msgspec.json.decode(sys.argv[1])))  # type: ignore[arg-type]
    print(msgspec.json.encode(result).decode())


async def run_calls(call: Callable[[int], Awaitable[object]], count: int, concurrency: int) -> None:
    """Make a number of calls.

    Args:
        call: makes the call with the given index.
        count: calls in total.
        concurrency: calls in flight.
    """
    if concurrency == 1:
        for index in range(count):
            await call(index)
        return
    indexes = iter(range(count))

    async def worker() -> None:
        for index in indexes:
            await call(index)

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(worker())


async def cpu_of_calls(
    calls: Mapping[str, Callable[[int], Awaitable[object]]],
    *,
    concurrencies: Sequence[int],
    turns: int,
    block: int,
) -> list[dict[str, float]]:
    """Make blocks of calls in turn, and return the CPU seconds of a call for each concurrency.

    Each value is the median of the blocks.

    Args:
        calls: two functions to compare, by name, each of which makes the call with an index.
        concurrencies: calls in flight.
        turns: blocks of each function; an even number, so that each is first as often as the other.
        block: calls in a block.
    """
    seconds: list[dict[str, float]] = []
    for concurrency in concurrencies:
        # Log in and connect before the measured blocks.
        for call in calls.values():
            await run_calls(call, block, concurrency)
        blocks: dict[str, list[float]] = {name: [] for name in calls}
        for turn in range(turns):
            order = list(calls.items())
            for name, call in reversed(order) if turn % 2 else order:
                start = time.process_time()
                await run_calls(call, block, concurrency)
                blocks[name].append((time.process_time() - start) / block)
        seconds.append({name: statistics.median(each) for name, each in blocks.items()})
    return seconds


def rotated(values: Sequence[T], by: int) -> list[T]:
    """Rotate the values, so that none always comes first."""
    by %= len(values)
    return [*values[by:], *values[:by]]
