"""Python processes that report JSON lines, and that a test kills and pauses by their ids.

A test starts one by `Processes.start`; the module that runs in it reads `settings` and calls
`report`. All of it is synchronous: in a coroutine, wait for a line in a thread.
"""

import asyncio
import ctypes
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0  # seconds until a process counts as stuck

_PR_SET_PDEATHSIG = 1  # of Linux's prctl
_LIBC = ctypes.CDLL(None)


def end_with_parent() -> None:
    """Make the kernel kill this child with the thread that started it."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_until(condition: Callable[[], bool], timeout: float = PATIENCE) -> None:
    """Wait until a condition holds."""
    until = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < until, f"it does not hold after {timeout} s"
        time.sleep(0.005)


class Process:
    """A process.

    Attributes:
        pid: its process id.
        log: the file of what it writes to standard error.
        lines: what it reported, in order.
    """

    def __init__(self, command: list[str], log: Path, env: Mapping[str, str]) -> None:
        """Start it."""
        self.log = log
        self.lines: list[dict[str, Any]] = []
        self._unread: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **env},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=[self._process.stdout], daemon=True)
        self._reader.start()

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while it runs, and below zero after a signal."""
        return self._process.poll()

    def read(self, timeout: float = PATIENCE) -> dict[str, Any]:
        """Return the next line that it reports.

        Raises:
            AssertionError: it ended, or there was no line in time; with its log.
        """
        try:
            line = self._unread.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"no line within {timeout} s\n{self._logged()}") from None
        if line is None:
            raise AssertionError(f"ended with {self._process.wait()}\n{self._logged()}")
        return line

    def read_until(self, key: str, timeout: float = PATIENCE) -> dict[str, Any]:
        """Return the next line that has a key; lines before it are skipped."""
        until = time.monotonic() + timeout
        while True:
            line = self.read(max(0.0, until - time.monotonic()))
            if key in line:
                return line

    def having(self, key: str) -> list[Any]:
        """Return the values of a key in what it reported so far."""
        return [line[key] for line in self.lines if key in line]

    def order(self, **order: Any) -> None:
        """Send a JSON line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")

    def pause(self) -> None:
        """Send SIGSTOP."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Send SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait until it ends, and return its exit code."""
        code = self._process.wait(timeout)
        self._reader.join(timeout)
        return code

    def kill(self) -> None:
        """Send SIGKILL to it and to its children, and wait until it is gone."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # it leads a session of its own
        self._process.wait()
        self._reader.join(1)
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe:
            for raw in pipe:
                if not raw.endswith(b"\n"):
                    break  # it was killed while it wrote
                line = json.loads(raw)
                self.lines.append(line)
                self._unread.put(line)
        self._unread.put(None)

    def _logged(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


class Processes:
    """Starts processes, and kills what is left of them at the end of its block."""

    def __init__(self, folder: Path) -> None:
        """Store the folder for the logs."""
        self.started: list[Process] = []
        self._folder = folder

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self.started:
            process.kill()

    def start(self, module: str, **settings: Any) -> Process:
        """Run a module with settings, which have to fit into JSON."""
        return self.run(sys.executable, "-m", module, json.dumps(settings))

    def run(self, *command: str, env: Mapping[str, str] | None = None) -> Process:
        """Run any program that writes JSON lines or nothing to standard output."""
        log = self._folder / f"process-{len(self.started)}.log"
        process = Process([*command], log, env or {})
        self.started.append(process)
        return process

    def logged(self) -> bytes:
        """Return what all processes wrote: their logs and reports."""
        reports = [json.dumps(line) for process in self.started for line in process.lines]
        return (
            b"".join(process.log.read_bytes() for process in self.started)
            + "\n".join(reports).encode()
        )


# What follows runs in the process.


def settings() -> dict[str, Any]:
    """Return the settings that the test passed."""
    passed: dict[str, Any] = json.loads(sys.argv[1])
    return passed


def report(**line: Any) -> None:
    """Write a JSON line; the test has it even if this process is killed right after."""
    os.write(1, json.dumps(line).encode() + b"\n")


async def orders() -> AsyncIterator[dict[str, Any]]:
    """Yield the orders of the test, until it closes standard input."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    try:
        while line := await reader.readline():
            yield json.loads(line)
    finally:
        transport.close()
