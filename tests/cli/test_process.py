"""The command as a process: pipes, signals, a terminal, the shell's completion."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import pytest

from portsip_async.simulator import PBXSimulator

from .conftest import environment_of

ROOT = Path(__file__).parent.parent.parent
COMMAND = [sys.executable, "-W", "error", "-m", "portsip_async"]
# A shell that runs the tests in the background lets its children ignore Ctrl-C.
PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from portsip_async.cli import main
main()
"""
PATIENCE = 40  # seconds until a process counts as stuck


def process(
    *arguments: str,
    pbx: PBXSimulator | None = None,
    stdin: IO[bytes] | int = subprocess.DEVNULL,
    stdout: IO[bytes] | int = subprocess.PIPE,
    **environment: str,
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, *arguments],
        cwd=ROOT,
        env={**os.environ, **(environment_of(pbx) if pbx else {}), **environment},
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )


def wait_for(condition: object, what: str) -> None:
    assert callable(condition)
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.01)


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_head(form: str, pbx: PBXSimulator) -> None:
    """A reader that leaves ends the watch silently, even if nothing changes."""
    with process("extensions", "watch", "-o", form, pbx=pbx) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        for _ in range(12 + (form == "csv")):
            assert running.stdout.readline()
        running.stdout.close()
        try:
            assert running.wait(PATIENCE) == 0
        finally:
            running.kill()  # it would watch forever
        assert running.stderr.read() == b""


def test_head_of_help() -> None:
    with process("--help") as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == b""
        running.wait(PATIENCE)


def test_full_disk(pbx: PBXSimulator) -> None:
    """A full disk is a failure, reported in one line."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "extensions", "list"],
            cwd=ROOT,
            env={**os.environ, **environment_of(pbx)},
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"portsip-async: No space left on device\n")


def test_interrupt(pbx: PBXSimulator) -> None:
    """Ctrl-C ends a call that waits for the PBX, with exit code 130 and no output."""
    pbx.fail("groups.show", latency=PATIENCE, times=None)
    with process("groups", "show", pbx.group_ids[0], pbx=pbx) as running:
        wait_for(lambda: pbx.served["groups.show"], "the call")
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=PATIENCE / 2)
    assert (running.returncode, out, err) == (130, b"", b"")


def test_terminal(pbx: PBXSimulator) -> None:
    """A terminal gets a hidden password prompt, and then a table."""
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    environment |= environment_of(pbx) | {"TERM": "xterm", "COLUMNS": "100"}
    del environment["PORTSIP_PASSWORD"]
    with subprocess.Popen(
        [*COMMAND, "extensions", "list", "--limit", "1"],
        cwd=ROOT,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as running:
        os.close(theirs)
        shown = b""
        answered = False
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            shown += part
            # The last blank is written once the echo is off.
            if not answered and b"Password of admin: " in shown:
                answered = True
                os.write(ours, f"{pbx.password}\n".encode())
        os.close(ours)
        assert running.wait(PATIENCE) == 0
    assert answered
    assert pbx.password.encode() not in shown
    assert "extension_number" in shown.decode()
    assert "Tanaka" in shown.decode()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("portsip-async ext", "extensions"),
        ("portsip-async extensions up", "update"),
        ("portsip-async extensions update 1 --set profile.fi", "profile.first_name="),
    ],
)
def test_completion(words: str, found: str) -> None:
    running = process(
        _PORTSIP_ASYNC_COMPLETE="complete_bash",
        COMP_WORDS=words,
        COMP_CWORD=str(words.count(" ")),
    )
    out, _ = running.communicate(timeout=PATIENCE)
    assert out.decode().split() == [found]


def test_loads_what_it_needs(pbx: PBXSimulator) -> None:
    """A list in a pipe needs neither rich nor the simulator."""
    program = (
        "import sys\n"
        "from portsip_async.cli.app import app\n"
        "try: app(['extensions', 'list', '--limit', '1'])\n"
        "except SystemExit as ended: assert not ended.code\n"
        "heavy = {'rich', 'aiohttp.web', 'portsip_async.simulator', 'portsip_async.cli.demo'}\n"
        "print(sorted(heavy & {*sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, **environment_of(pbx)},
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == b"[]"
