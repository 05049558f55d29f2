"""``extensions watch``: lines in a pipe, a board on a terminal."""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from portsip_async import (
    ConnectError,
    ExtensionStatus,
    StatusChange,
    WatchStats,
)
from portsip_async.cli.board import Board
from portsip_async.simulator import PBXSimulator

from .conftest import Beside
from .terminal import CommandLine, Stream

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WATCH = ("extensions", "watch", "--interval", "0.1")


class Reacting(Stream):
    """Standard output that does something once so many lines are there."""

    def __init__(self, reactions: dict[int, Callable[[], object]]) -> None:
        super().__init__()
        self._reactions = reactions
        self._lines = 0

    def write(self, text: str) -> int:
        written = super().write(text)
        self._lines += text.count("\n")
        for line in [line for line in self._reactions if line <= self._lines]:
            self._reactions.pop(line)()
        return written


class TestLines:
    def test_each_once_then_changes(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        pbx.set_status("101", "OFFLINE", user_agent="")
        out = Reacting({12: lambda: pbx.set_status("101", "ON_CALL", user_agent="Desk")})
        done = cli(*WATCH, "--limit", 13, out=out)
        rows = [json.loads(line) for line in done.lines]
        assert (done.code, done.err) == (0, "")
        assert {row["extension_number"] for row in rows[:12]} == {*pbx.extension_numbers}
        assert rows[12]["before"]["status"] == "OFFLINE"
        assert rows[12]["after"] == {
            "extension_number": "101",
            "status": "ON_CALL",
            "user_agent": "Desk",
        }
        assert datetime.fromisoformat(rows[12]["at"]).tzinfo is not None

    def test_some_numbers_as_csv(self, cli: CommandLine) -> None:
        columns = "extension_number,before.status"
        done = cli(*WATCH, "101", "--limit", 1, "-o", "csv", "-c", columns)
        assert done.lines == [columns, "101,"]
        done = cli(*WATCH, "-", "--limit", 2, stdin="102\n103\n")
        assert len(done.lines) == 2

    def test_outage_is_told(self, cli: CommandLine, pbx: PBXSimulator, beside: Beside) -> None:
        """The watch goes on; stderr says that it is blind, and when it sees again."""
        pbx.set_status("101", "OFFLINE", user_agent="")

        def restart() -> None:
            beside.run(pbx.stop())
            beside.loop.call_soon_threadsafe(
                lambda: beside.loop.call_later(1.0, lambda: asyncio.ensure_future(again()))
            )

        async def again() -> None:
            await pbx.start()
            pbx.set_status("101", "ON_CALL", user_agent="")

        done = cli(*WATCH, "101", "--limit", 2, out=Reacting({1: restart}))
        assert done.code == 0
        assert json.loads(done.lines[1])["after"]["status"] == "ON_CALL"
        assert "portsip-async: no answer: " in done.err

    def test_interrupted(self, cli: CommandLine) -> None:
        out = Reacting({12: lambda: os.kill(os.getpid(), signal.SIGINT)})
        done = cli(*WATCH, out=out)
        assert (done.code, done.err) == (130, "")
        assert len(done.lines) == 12

    def test_nobody_there_from_the_start(self, cli: CommandLine) -> None:
        """A watch that never saw the PBX ends, as any command does."""
        assert cli(*WATCH, PORTSIP_URL="http://127.0.0.1:9").code == 5
        assert cli(*WATCH, PORTSIP_PASSWORD="wrong").code == 3
        assert cli(*WATCH, "101", PORTSIP_PASSWORD="wrong").code == 3

    @pytest.mark.parametrize("form", ["json", "table"])
    def test_forms_that_do_not_fit(self, form: str, cli: CommandLine) -> None:
        assert cli(*WATCH, "-o", form).code == 2


class TestBoard:
    def picture(self, board: Board, *, height: int = 30, **stats: Any) -> list[str]:
        told = WatchStats(cycles=1, last_success=AT, **stats)
        console = Console(width=60, color_system=None, record=True, file=Stream())
        console.print(board.picture(60, height, told, AT + timedelta(seconds=7)))
        return console.export_text().splitlines()

    def board(self, count: int = 5, status: str = "OFFLINE") -> Board:
        board = Board()
        for number in range(100, 100 + count):
            board.take(change(str(number), None, status))
        return board

    def test_on_a_terminal(self, cli: CommandLine) -> None:
        done = cli(*WATCH, "--limit", 12, terminal=True)
        assert done.code == 0
        assert "\x1b[?1049h" in done.out  # a screen of its own,
        assert done.out.rstrip().endswith(
            "\x1b[?25h\x1b[?1049l"
        )  # and the cursor is back at the end

    def test_counts_and_marks(self) -> None:
        board = self.board()
        board.take(change("101", "OFFLINE", "ON_CALL"))
        board.take(change("102", "OFFLINE", "\x1bodd"))
        lines = self.picture(board)
        assert lines[0] == "5 extensions   · 3 OFFLINE   ○ 1 \\x1bodd   ● 1 ON_CALL"
        assert lines[3].split() == ["·", "100", "●", "101", "○", "102", "·", "103", "·", "104"]
        assert "102  OFFLINE -> \\x1bodd" in lines[5]
        assert "101  OFFLINE -> ON_CALL" in lines[6]

    def test_first_sight_is_no_news(self) -> None:
        assert len(self.picture(self.board())) == 4

    def test_gone_and_other_telephone(self) -> None:
        board = self.board()
        board.take(StatusChange("101", ExtensionStatus("101", "OFFLINE"), None, AT))
        other = ExtensionStatus("102", "OFFLINE", "Desk")
        board.take(StatusChange("102", ExtensionStatus("102", "OFFLINE"), other, AT))
        lines = self.picture(board)
        assert lines[0].startswith("4 extensions")
        assert "102  OFFLINE  Desk" in lines[5]
        assert "101  OFFLINE -> gone" in lines[6]

    def test_too_many_for_the_screen(self) -> None:
        """Who does something is shown before who is offline, and the rest is counted."""
        board = self.board(1000)
        board.take(change("1099", None, "ON_CALL"))
        lines = self.picture(board, height=12)
        assert len(lines) <= 12
        assert lines[3].startswith("● 1099")
        shown = sum(line.count("·") + line.count("●") for line in lines[3:-1])
        assert lines[-1] == f"... and {1000 - shown:,} more"

    def test_outage(self) -> None:
        lines = self.picture(
            self.board(), consecutive_failures=2, last_error=ConnectError("no connection\nwas made")
        )
        assert lines[1] == "no answer for 7 s: no connection was made"

    def test_health(self) -> None:
        assert "2 not told" in self.picture(self.board(), missing=2)[1]
        console = Console(width=60, record=True, file=Stream())
        console.print(Board().picture(60, 10, WatchStats(), AT))
        assert "reading" in console.export_text()
        console.print(Board().picture(60, 10, WatchStats(cycles=1, consecutive_failures=1), AT))
        assert "no answer yet" in console.export_text()


def change(number: str, before: str | None, after: str) -> StatusChange:
    known = None if before is None else ExtensionStatus(number, before)
    return StatusChange(number, known, ExtensionStatus(number, after), AT)
