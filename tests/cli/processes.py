"""Run the command line as a process, on pipes or on a terminal."""

import os
import pty
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portsip_async.simulator import PBXSimulator

from .conftest import environment_of

ROOT = Path(__file__).parent.parent.parent
# Variables that change how a process writes. Unbuffered output would hide late failures.
OTHERS = ("PYTHONUNBUFFERED", "PYTHONIOENCODING", "PYTHONUTF8", "PYTHONLEGACY")
PATIENCE = 40  # seconds until a process counts as stuck
# A shell that runs the tests in the background lets its children ignore Ctrl-C.
PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from portsip_async.cli import main
main()
"""
COMMAND = (sys.executable, "-W", "error", "-c", PROGRAM)
# Loads the modules once and runs each command in a fork, ten times faster than a new process.
# All commands share the first streams. Exit codes are written to a separate descriptor.
FORKS = """
import gc, os, shlex, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import portsip_async.public, portsip_async.simulator, rich.live, rich.progress, typer.rich_utils
from portsip_async.cli import app, check, extensions, greetings, groups, openapi, simulate
from portsip_async.cli.demo import demo
from portsip_async.cli import main
typer.main.get_command(app.app), typer.main.get_command(extensions.extensions)
gc.freeze()
for words in sys.argv[2:]:
    child = os.fork()
    if child == 0:
        sys.argv[1:] = shlex.split(words)
        break
    _, status = os.waitpid(child, 0)
    os.write(int(sys.argv[1]), b"%d\\n" % os.waitstatus_to_exitcode(status))
else:
    os._exit(0)
main()
"""


def environment(
    pbx: PBXSimulator | None = None, changes: Mapping[str, str | None] | None = None
) -> dict[str, str]:
    """Return the environment of a process; None removes a variable."""
    found = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith((*OTHERS, "PORTSIP_", "NO_COLOR", "COLUMNS", "LINES"))
    }
    found |= {"TERM": "xterm", "PYTHONPATH": str(ROOT), "PORTSIP_CONFIG": os.devnull}
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
    """Run a line of bash, with `run` as the command."""
    script = 'run() { "$PYTHON" -W error -c "$PROGRAM" "$@"; }\nset -o pipefail\n' + words
    return subprocess.run(
        ["bash", "-c", script],
        env=environment(pbx, changes) | {"PYTHON": sys.executable, "PROGRAM": PROGRAM},
        input=stdin,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )


@dataclass(frozen=True)
class Ended:
    """The results of commands that ran one after another on the same streams.

    Attributes:
        codes: the exit code of each command.
        stdout: what all of them wrote to standard output.
        stderr: the same of standard error.
    """

    codes: dict[str, int]
    stdout: bytes
    stderr: bytes


def each(
    commands: Iterable[str],
    redirections: str = "",
    pbx: PBXSimulator | None = None,
    *,
    stdin: bytes = b"",
    changes: Mapping[str, str | None] | None = None,
) -> Ended:
    """Run commands one after another, with the redirections of a shell, such as ``<&-``."""
    commands = list(commands)
    reading, writing = os.pipe()
    with open(reading, encoding="ascii") as codes:
        try:
            done = subprocess.run(
                [
                    "bash",
                    "-c",
                    f'"$PYTHON" -W error -c "$FORKS" "$@" {redirections}',
                    "bash",
                    str(writing),
                    *commands,
                ],
                env=environment(pbx, changes) | {"PYTHON": sys.executable, "FORKS": FORKS},
                input=stdin,
                capture_output=True,
                pass_fds=(writing,),
                timeout=PATIENCE,
                check=False,
            )
        finally:
            os.close(writing)
        found = map(int, codes)
        return Ended(dict(zip(commands, found, strict=True)), done.stdout, done.stderr)


class OnTerminal:
    """A process on its own terminal, and everything that it wrote there.

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
        """What was written so far."""
        return bytes(self._shown).decode(errors="replace")

    def wait_for(self, condition: Callable[[str], object], what: str = "it") -> None:
        """Wait until the output meets a condition."""
        until = time.monotonic() + PATIENCE
        while not condition(self.shown):
            assert time.monotonic() < until, f"{what}: {self.shown!r}"
            time.sleep(0.01)

    def settings(self) -> list[Any]:
        """Return the terminal's settings."""
        return termios.tcgetattr(self._master)

    def type(self, text: str) -> None:
        """Type a text."""
        os.write(self._master, text.encode())

    def end(self) -> int:
        """Wait for the process to end, and return its exit code."""
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
    """Run the command; each stream that is not passed is a terminal."""
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
