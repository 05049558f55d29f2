"""Signals that end a command: the terminal is restored, and the exit code names the signal."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from portsip_async.simulator import PBXSimulator

from .processes import COMMAND, PATIENCE, environment, on_terminal, shell

AWAY, BACK = "\x1b[?1049h", "\x1b[?1049l"
HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"
ENDS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


def left_as_found(shown: str) -> bool:
    """Return whether the alternate screen was left, and the cursor is shown."""
    return (
        shown.rfind(BACK) >= shown.rfind(AWAY)
        and shown.rfind(SHOWN) >= shown.rfind(HIDDEN)
        and shown.count("\x1b[?7l") == 0
    )


@pytest.mark.parametrize(("number", "code"), ENDS)
class TestTerminalIsRestored:
    def test_board(self, number: signal.Signals, code: int, pbx: PBXSimulator) -> None:
        with on_terminal("extensions", "watch", pbx=pbx) as running:
            running.wait_for(lambda shown: "polling" in shown, "the board")
            assert AWAY in running.shown
            running.process.send_signal(number)
            assert running.end() == code
        assert left_as_found(running.shown)

    def test_board_that_waits_for_the_pbx(
        self, number: signal.Signals, code: int, pbx: PBXSimulator
    ) -> None:
        pbx.fail("extensions.status", latency=PATIENCE, times=None)
        with on_terminal("extensions", "watch", pbx=pbx) as running:
            running.wait_for(lambda shown: "reading" in shown, "the board")
            running.process.send_signal(number)
            assert running.end() == code
        assert left_as_found(running.shown)

    def test_bar(self, number: signal.Signals, code: int, pbx: PBXSimulator) -> None:
        pbx.fail("extensions.list", latency=PATIENCE, times=None)
        with on_terminal("extensions", "list", pbx=pbx) as running:
            running.wait_for(lambda shown: "Reading" in shown, "the bar")
            assert HIDDEN in running.shown
            running.process.send_signal(number)
            assert running.end() == code
        assert left_as_found(running.shown)
        assert "Traceback" not in running.shown

    def test_demo(self, number: signal.Signals, code: int) -> None:
        with on_terminal("demo", "--extensions", 50) as running:
            running.wait_for(lambda shown: HIDDEN in shown, "a step")
            running.process.send_signal(number)
            assert running.end() == code
        assert left_as_found(running.shown)
        assert "Traceback" not in running.shown

    def test_prompt(self, number: signal.Signals, code: int, pbx: PBXSimulator) -> None:
        changes = {"PORTSIP_PASSWORD": None}
        with on_terminal("extensions", "list", pbx=pbx, changes=changes) as running:
            running.wait_for(lambda shown: "Password of admin: " in shown, "the prompt")
            running.process.send_signal(number)
            assert running.end() == code
        assert "Traceback" not in running.shown


def test_job_that_ignores_ctrl_c_ends_by_sigterm(pbx: PBXSimulator, tmp_path: Path) -> None:
    """A script's background job, which ignores SIGINT, ends on SIGTERM."""
    file = tmp_path / "lines"
    done = shell(
        f'trap "" INT\n"$PYTHON" -m portsip_async extensions watch -o jsonl > {file} &\n'
        f"until [ -s {file} ]; do sleep 0.1; done; kill -TERM $!; wait $!; echo $?",
        pbx,
    )
    assert done.stdout.split() == [b"143"]
    assert done.stderr == b""


def test_import_settles_what_is_in_flight(pbx: PBXSimulator, tmp_path: object) -> None:
    """SIGTERM stops an import as Ctrl-C does: rows in flight finish, and there is a report."""
    rows = "".join(f"{number},Pw-{number}-x,Web-{number}-x\n" for number in range(900, 960))
    path = os.path.join(str(tmp_path), "people.csv")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"extension_number,password,web_access_password\n{rows}")
    pbx.fail("extensions.create", latency=0.2, times=None)
    with on_terminal(
        "extensions", "import", path, "-o", "json", pbx=pbx, stdout=subprocess.DEVNULL
    ) as running:
        running.wait_for(lambda _: pbx.served["extensions.create"] > 8, "the first rows")
        running.process.send_signal(signal.SIGTERM)
        assert running.end() == 143
    assert "people.failed.csv" in running.shown
    assert os.path.exists(path.replace(".csv", ".failed.csv"))


def test_ignored_hangup_stays_ignored(pbx: PBXSimulator) -> None:
    """Under nohup, a command survives SIGHUP."""
    words = 'trap "" HUP; exec "$@" extensions watch --interval 0.1 --limit 13 -o jsonl'
    with subprocess.Popen(
        ["bash", "-c", words, "bash", *COMMAND], env=environment(pbx), stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        for _ in range(12):
            assert process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        pbx.set_status("101", "RINGING")
        assert b"RINGING" in process.stdout.readline()
        assert process.wait(PATIENCE) == 0


# A shell with job control, on its own terminal.
SHELL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
script = 'set -m; "$@"; echo code $?; fg; echo code $?'
os.execvp("bash", ["bash", "-c", script, "bash", *sys.argv[1:]])
"""


@pytest.mark.parametrize("form", ["table", "jsonl"])
def test_watch_ends_when_its_terminal_closes_without_a_signal(form: str, pbx: PBXSimulator) -> None:
    """A watch on a closed terminal, such as a job that ignores SIGHUP, does not run forever."""
    ours, theirs = os.openpty()
    words = ("extensions", "watch", "--interval", "0.2", "-o", form)
    with on_terminal(*words, pbx=pbx, stdout=theirs) as running:
        os.close(theirs)
        while b"101" not in os.read(ours, 65536):
            pass
        os.close(ours)
        running.end()
        assert "Traceback" not in running.shown


def test_keys_of_the_board(pbx: PBXSimulator) -> None:
    """Keys turn the pages without being shown, q quits, and the terminal is as it was before."""
    words = ("extensions", "watch")
    with on_terminal(*words, pbx=pbx, changes={"LINES": "12", "COLUMNS": "40"}) as running:
        before = running.settings()
        running.wait_for(lambda shown: "page 1 of" in shown, "the board")
        assert running.settings() != before
        running.type("\x1b[6~")
        running.wait_for(lambda shown: "page 2 of" in shown, "the next page")
        running.type("qn")  # what comes after q does not count
        assert running.end() == 0
        assert running.settings() == before
    assert left_as_found(running.shown)


@pytest.mark.parametrize(("number", "code"), ENDS)
def test_keyboard_is_restored(number: signal.Signals, code: int, pbx: PBXSimulator) -> None:
    with on_terminal("extensions", "watch", pbx=pbx) as running:
        before = running.settings()
        running.wait_for(lambda shown: "polling" in shown, "the board")
        assert running.settings() != before
        running.process.send_signal(number)
        assert running.end() == code
        assert running.settings() == before


def test_board_in_the_background(pbx: PBXSimulator) -> None:
    """A board without the terminal's keyboard is not stopped by the kernel."""
    with on_terminal(
        *COMMAND,
        "extensions",
        "watch",
        "--limit",
        12,
        pbx=pbx,
        command=("bash", "-ic", 'stty -tostop; "$@" & wait $!; echo code $?', "bash"),
    ) as running:
        running.wait_for(lambda shown: "code 0" in shown, "the end")


def test_ctrl_z_gives_the_terminal_back(pbx: PBXSimulator) -> None:
    """Ctrl-Z restores the terminal for the shell; `fg` draws the board again."""
    words = (*COMMAND, "extensions", "watch")
    command = (sys.executable, "-c", SHELL)
    with on_terminal(*words, pbx=pbx, command=command) as running:
        running.wait_for(lambda shown: "polling" in shown, "the board")
        running.type("\x1a")
        running.wait_for(lambda shown: "code 148" in shown, "the shell")
        assert left_as_found(running.shown.partition("code 148")[0])
        running.wait_for(lambda shown: shown.count(AWAY) == 2, "the board")
        running.wait_for(lambda shown: "polling" in shown.rpartition(AWAY)[2], "the board")
        running.type("\x03")
        running.wait_for(lambda shown: "code 130" in shown, "the end")
        assert running.end() == 0
    assert left_as_found(running.shown)


def test_prompt_ends_its_line(pbx: PBXSimulator) -> None:
    """What the shell writes after a prompt that was left begins on a line of its own."""
    with on_terminal("extensions", "remove", "101", pbx=pbx) as running:
        running.wait_for(lambda shown: "[y/N]" in shown, "the prompt")
        running.type("\x04")  # Ctrl-D, which ends a prompt as Ctrl-C does
        assert running.end() == 130
    assert running.shown.endswith("\r\n")


# Sends Ctrl-Z's signal to the thread that writes, once the reader takes no more. The process leads
# its own session, in which the kernel stops no process, so it continues at once.
STOPPED_IN_A_WRITE = """
import select, signal, sys, threading, time
from portsip_async.cli.terminal.signals import suspendable

def stop():
    while select.select([], [1], [], 0)[1]:
        time.sleep(0.01)
    signal.pthread_kill(threading.main_thread().ident, signal.SIGTSTP)
    sys.stderr.write("sent\\n")
    sys.stderr.flush()

with suspendable(sys.stdout):
    threading.Thread(target=stop).start()
    sys.stdout.write("x" * 1_000_000)
    sys.stdout.flush()
"""


def test_ctrl_z_in_the_middle_of_a_write() -> None:
    """Ctrl-Z works while a write to a slow terminal is under way."""
    with subprocess.Popen(
        (sys.executable, "-c", STOPPED_IN_A_WRITE),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        start_new_session=True,
    ) as running:
        assert running.stderr is not None
        assert running.stderr.readline() == b"sent\n"
        shown, errors = running.communicate(timeout=30)
    assert (running.returncode, errors) == (0, b"")
    assert b"\x1b[?25h" in shown
    assert shown.count(b"x") == 1_000_000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_lines_end_quietly(number: signal.Signals, pbx: PBXSimulator, tmp_path: Path) -> None:
    name = number.name.removeprefix("SIG")
    file = tmp_path / "lines"
    done = shell(
        f'"$PYTHON" -c "$PROGRAM" extensions watch -o jsonl > {file} &\n'
        f"until [ -s {file} ]; do sleep 0.1; done; kill -{name} $!; wait $!; echo $?",
        pbx,
    )
    assert (done.stdout.split(), done.stderr) == ([str(128 + number).encode()], b"")
