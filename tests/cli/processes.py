"""The command line as a process of its own, on pipes or on a terminal."""

import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from portsip_async.simulator import PBXSimulator

from .conftest import environment_of

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 40  # seconds until a process is given up
# Who runs the tests in the background may have told children to ignore Ctrl-C.
PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from portsip_async.cli import main
main()
"""
COMMAND = (sys.executable, "-W", "error", "-c", PROGRAM)


def environment(
    pbx: PBXSimulator | None = None, changes: Mapping[str, str | None] | None = None
) -> dict[str, str]:
    """Return the environment of a process; None takes a variable out."""
    found = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PORTSIP_", "NO_COLOR", "COLUMNS", "LINES"))
    }
    found |= {"TERM": "xterm", "PYTHONPATH": str(ROOT)}
    found |= environment_of(pbx) if pbx else {}
    for name, value in (changes or {}).items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = value
    return found


def shell(
    words: str,
    pbx: PBXSimulator | None = None,
    *,
    stdin: bytes = b"",
    changes: Mapping[str, str | None] | None = None,
) -> "subprocess.CompletedProcess[bytes]":
    """Run a line of bash in which `run` stands for the command."""
    script = 'run() { "$PYTHON" -W error -c "$PROGRAM" "$@"; }\nset -o pipefail\n' + words
    return subprocess.run(
        ["bash", "-c", script],
        env=environment(pbx, changes) | {"PYTHON": sys.executable, "PROGRAM": PROGRAM},
        input=stdin,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )


class OnTerminal:
    """A process on a terminal of its own, and all that it wrote there.

    Attributes:
        process: the process.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", master: int) -> None:
        self.process = process
        self._master = master
        self._shown = bytearray()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def shown(self) -> str:
        """What was written up to now."""
        return bytes(self._shown).decode(errors="replace")

    def wait_for(self, condition: Callable[[str], object], what: str = "it") -> None:
        """Wait until what was written fulfils a condition."""
        until = time.monotonic() + PATIENCE
        while not condition(self.shown):
            assert time.monotonic() < until, f"{what}: {self.shown!r}"
            time.sleep(0.01)

    def type(self, text: str) -> None:
        """Type a text."""
        os.write(self._master, text.encode())

    def end(self) -> int:
        """Wait for the end, and return the exit code."""
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def _read(self) -> None:
        while True:
            try:
                part = os.read(self._master, 65536)
            except OSError:  # the other side is closed
                return
            if not part:
                return
            self._shown += part


@contextmanager
def on_terminal(
    *arguments: object,
    pbx: PBXSimulator | None = None,
    changes: Mapping[str, str | None] | None = None,
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    command: Sequence[str] = COMMAND,
) -> Iterator[OnTerminal]:
    """Run the command with a terminal in the place of the streams that are not given."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*command, *map(str, arguments)],
        env=environment(pbx, changes),
        stdin=theirs if stdin is None else stdin,
        stdout=theirs if stdout is None else stdout,
        stderr=theirs if stderr is None else stderr,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        running = OnTerminal(process, ours)
        try:
            yield running
        finally:
            process.kill()
            process.wait()
            running._reader.join(PATIENCE)
            os.close(ours)
