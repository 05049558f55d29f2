"""``extensions watch``: lines in a pipe, a board on a terminal."""

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from portsip_async import (
    ConnectError,
    ExtensionStatus,
    NotFound,
    StatusChange,
    WatchStats,
)
from portsip_async.cli import watching
from portsip_async.cli.board import Board
from portsip_async.cli.pbx.classic import ClassicPBX
from portsip_async.cli.watching import _Outage, _SocketGaps, _Unknown
from portsip_async.simulator import PBXSimulator

from .conftest import PBXMaker, environment_of
from .terminal import CommandLine, Stream

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WATCH = ("extensions", "watch", "--interval", "0.1")


class Reacting(Stream):
    """Standard output that calls a function once it has a number of lines."""

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

    def test_outage_is_reported(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        """The watch continues; stderr says when the outage begins and ends."""
        pbx.set_status("101", "OFFLINE", user_agent="")

        async def restart() -> None:
            await pbx.restart(downtime=1.0)
            pbx.set_status("101", "ON_CALL", user_agent="")

        def outage() -> None:
            threading.Thread(target=lambda: asyncio.run(restart())).start()

        done = cli(*WATCH, "101", "--limit", 2, out=Reacting({1: outage}))
        assert done.code == 0
        assert json.loads(done.lines[1])["after"]["status"] == "ON_CALL"
        assert "portsip-async: no answer: " in done.err

    def test_interrupted(self, cli: CommandLine) -> None:
        out = Reacting({12: lambda: os.kill(os.getpid(), signal.SIGINT)})
        done = cli(*WATCH, out=out)
        assert (done.code, done.err) == (130, "")
        assert len(done.lines) == 12

    def test_pbx_unreachable_from_the_start(self, cli: CommandLine) -> None:
        """A watch that can't reach the PBX at its start fails, as any command does."""
        assert cli(*WATCH, PORTSIP_URL="http://127.0.0.1:9").code == 5
        assert cli(*WATCH, PORTSIP_PASSWORD="wrong").code == 3
        assert cli(*WATCH, "101", PORTSIP_PASSWORD="wrong").code == 3

    @pytest.mark.parametrize("form", ["json", "table"])
    def test_formats_that_do_not_fit(self, form: str, cli: CommandLine) -> None:
        assert cli(*WATCH, "-o", form).code == 2


class TestOutage:
    """An outage gives a line when it begins, one a minute, and one when it ends."""

    def reported(self, *looks: tuple[float, int]) -> list[str]:
        """Return the lines for pairs of a time and a count of consecutive failures."""
        outage = _Outage()
        error = ConnectError("not there")
        lines: list[str] = []
        for at, failures in looks:
            lines += outage.news(WatchStats(consecutive_failures=failures, last_error=error), at)
        return lines

    def test_long(self) -> None:
        looks = [(at / 4, 1 + at // 20) for at in range(4 * 250)]
        assert self.reported((0.0, 0), *looks, (250.0, 0), (251.0, 0)) == [
            "no answer: not there",
            "still no answer after 60 s: not there",
            "still no answer after 2 min: not there",
            "still no answer after 3 min: not there",
            "still no answer after 4 min: not there",
            "the PBX answers again, after 4 min",
        ]

    def test_two(self) -> None:
        assert self.reported((0.0, 1), (5.0, 0), (8.0, 1), (9.0, 2), (28.0, 0)) == [
            "no answer: not there",
            "the PBX answers again, after 5 s",
            "no answer: not there",
            "the PBX answers again, after 20 s",
        ]

    def test_in_a_pipe(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        def cut() -> None:
            for operation in ("extensions.status", "extensions.list"):
                pbx.fail(operation, drop=True, times=None)
            threading.Timer(2.5, back).start()

        def back() -> None:
            pbx.clear()
            pbx.set_status("101", "RINGING", user_agent="After")

        pbx.set_status("101", "OFFLINE", user_agent="")
        done = cli(*WATCH, "101", "--limit", 2, out=Reacting({1: cut}))
        assert done.code == 0
        lines = done.err.splitlines()
        assert len(lines) == 2, lines
        assert lines[0].startswith("portsip-async: no answer: ")
        assert lines[1].startswith("portsip-async: the PBX answers again, after ")


class TestSocketGaps:
    """A lack of the web socket gives a line after ten seconds, and one when it is there again."""

    def reported(self, *looks: tuple[float, WatchStats]) -> list[str]:
        gaps = _SocketGaps(30.0)
        return [line for at, stats in looks for line in gaps.news(stats, at)]

    def live(self, connections: int = 1) -> WatchStats:
        return WatchStats(source="socket", connections=connections, last_success=AT)

    def polling(self, connections: int = 1, **stats: Any) -> WatchStats:
        return WatchStats(cycles=1, connections=connections, last_success=AT, **stats)

    def test_lost(self) -> None:
        looks = [(100 + at / 4, self.polling()) for at in range(4 * 50)]
        assert self.reported((0.0, self.live()), *looks, (150.0, self.live(2))) == [
            "the web socket is lost; polling every 30 s until there is one",
            "live again, after 50 s",
        ]

    def test_never_there(self) -> None:
        looks = [(float(at), self.polling(0)) for at in range(86_400)]
        assert self.reported(*looks) == [
            "there is no web socket; polling every 30 s until there is one"
        ]

    def test_reason(self) -> None:
        """The failure of a poll is not the reason."""
        for error, end in (
            (NotFound("no such", operation="users.find"), "until there is one"),
            (ConnectError("no way", operation="web_socket"), "(web_socket: no way)"),
        ):
            stats = self.polling(0, last_error=error)
            (line,) = self.reported((0.0, stats), (10.0, stats))
            assert line.endswith(end)

    def test_token(self) -> None:
        gaps = _SocketGaps(5.0, by_token=True)
        looks = [*gaps.news(self.polling(0), 0.0), *gaps.news(self.polling(0), 10.0)]
        assert looks == ["a token can't log in to the web socket; polling every 5 s"]

    def test_fifty_short_gaps_a_day(self) -> None:
        looks: list[tuple[float, WatchStats]] = []
        for cut in range(50):
            at = 1700.0 * cut
            looks += [(at, self.live(cut + 1)), (at + 1, self.polling(cut + 1))]
            looks += [(at + 10.9, self.polling(cut + 1))]
        assert self.reported(*looks) == []

    def test_in_an_outage(self) -> None:
        """An outage is reported as such, and the web socket only if it stays away afterwards."""
        failing = self.polling(consecutive_failures=2, last_error=ConnectError("not there"))
        outage = [(float(at), failing) for at in range(1, 300)]
        assert self.reported((0.0, self.live()), *outage, (300.0, self.live(2))) == []
        live = (0.0, self.live())
        (line,) = self.reported(live, *outage, (300.0, self.polling()), (309.5, self.polling()))
        assert line.startswith("the web socket is lost")


class TestUnknown:
    def stats(self, *unknown: str) -> WatchStats:
        return WatchStats(cycles=1, last_success=AT, unknown=unknown)

    def test_reported_once(self) -> None:
        unknown = _Unknown()
        assert list(unknown.news(self.stats())) == []
        (line,) = unknown.news(self.stats("99999", "99998"))
        assert "99999, 99998" in line
        assert list(unknown.news(self.stats("99999", "99998"))) == []
        (line,) = unknown.news(self.stats("99997", "99999"))
        assert "99997" in line
        assert "99999" not in line

    def test_on_the_board(self) -> None:
        console = Console(width=80, color_system=None, record=True, file=Stream())
        console.print(Board(detail=ClassicPBX.detail).render(80, 20, self.stats("99999"), AT))
        assert "the PBX knows no 99999" in console.export_text()

    def test_in_a_pipe(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        """An unknown number is reported once, and the watch continues for the others."""

        def change() -> None:
            threading.Timer(1.0, lambda: pbx.set_status("101", "RINGING")).start()

        pbx.set_status("101", "OFFLINE")
        done = cli(*WATCH, "99999", "101", "--limit", 2, out=Reacting({1: change}))
        assert done.code == 0
        assert done.err.count("99999") == 1

    @pytest.mark.parametrize("api", ["classic", "v22"])
    def test_nobody_is_known(
        self, api: str, make_pbx: PBXMaker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The PBX answers each poll, so there is no outage to report."""
        pbx = make_pbx(generations=("classic", "v22"))
        pbx.v22.socket.refuse(times=None)
        served, operation = {
            "classic": (pbx.served, "extensions.status"),
            "v22": (pbx.v22.served, "users.find"),
        }[api]
        environment = {"PORTSIP_API": api, "PORTSIP_DOMAIN": pbx.domain}
        cli = CommandLine(monkeypatch, {**environment_of(pbx), **environment})

        def interrupt() -> None:
            while served[operation] < 4:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        done = cli(*WATCH, "99999")
        thread.join()
        assert done.code == 130
        assert done.err.splitlines() == [
            "portsip-async: the PBX knows no extension 99999; the watch continues"
        ]

    def test_nobody_is_known_live(
        self, make_pbx: PBXMaker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cli = on_v22(make_pbx(generations=("v22",)), monkeypatch)
        err = Reacting({1: lambda: os.kill(os.getpid(), signal.SIGINT)})
        done = cli(*WATCH, "99999", err=err)
        assert done.code == 130
        assert done.err.splitlines() == [
            "portsip-async: the PBX knows no extension 99999; the watch continues"
        ]


class TestLive:
    """A watch of v22 follows the web socket."""

    def test_without_a_poll(self, make_pbx: PBXMaker, monkeypatch: pytest.MonkeyPatch) -> None:
        pbx = make_pbx(generations=("v22",))
        cli = on_v22(pbx, monkeypatch)
        pbx.set_status("101", "OFFLINE")
        out = Reacting({12: lambda: pbx.set_status("101", "RINGING")})
        done = cli(*WATCH, "--limit", 13, out=out)
        assert (done.code, done.err) == (0, "")
        assert json.loads(done.lines[12])["after"]["status"] == "RINGING"
        assert not pbx.v22.served["users.status"]

    def test_lost_in_a_pipe(self, make_pbx: PBXMaker, monkeypatch: pytest.MonkeyPatch) -> None:
        """Changes arrive without the web socket, and stderr says so, and when it is back."""
        monkeypatch.setattr(watching, "_SOCKET_GAP", 0.1)
        pbx = make_pbx(generations=("v22",))
        cli = on_v22(pbx, monkeypatch)
        pbx.set_status("101", "OFFLINE")

        def cut() -> None:
            pbx.v22.socket.refuse(times=None)
            pbx.v22.socket.cut()

        out = Reacting({1: cut, 2: pbx.v22.socket.clear})
        err = Reacting(
            {
                1: lambda: pbx.set_status("101", "ONLINE"),
                2: lambda: pbx.set_status("101", "RINGING"),
            }
        )
        done = cli(*WATCH, "101", "--limit", 3, out=out, err=err)
        assert done.code == 0
        statuses = [json.loads(line)["after"]["status"] for line in done.lines]
        assert statuses == ["OFFLINE", "ONLINE", "RINGING"]
        lost, back = done.err.splitlines()
        assert lost.startswith("portsip-async: the web socket is lost; polling every 0.1 s until ")
        assert back.startswith("portsip-async: live again, after ")

    def test_refused_login(self, make_pbx: PBXMaker, monkeypatch: pytest.MonkeyPatch) -> None:
        """The message has no HTTP status, as a web socket has none."""
        pbx = make_pbx(generations=("v22",))
        pbx.v22.socket.refuse_login()
        done = on_v22(pbx, monkeypatch)(*WATCH)
        assert done.code == 3
        assert "portsip-async: web_socket: the web socket refused the login: " in done.err

    def test_system_administrator(
        self, make_pbx: PBXMaker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The watch polls, and says what the account lacks."""
        monkeypatch.setattr(watching, "_SOCKET_GAP", 0.1)
        cli = on_v22(make_pbx(generations=("v22",)), monkeypatch)
        err = Reacting({1: lambda: os.kill(os.getpid(), signal.SIGINT)})
        done = cli(*WATCH, err=err, PORTSIP_DOMAIN=None)
        assert len(done.lines) == 12
        (line,) = done.err.splitlines()
        assert "there is no web socket; polling every 0.1 s until there is one" in line
        assert "log in as a user of the tenant" in line

    def test_short_cuts_are_not_reported(
        self, make_pbx: PBXMaker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pbx = make_pbx(generations=("v22",))
        cli = on_v22(pbx, monkeypatch)
        pbx.set_status("101", "OFFLINE")

        def cut_and_set(status: str) -> None:
            pbx.v22.socket.cut()
            pbx.set_status("101", status)

        out = Reacting({1: lambda: cut_and_set("ONLINE"), 2: lambda: cut_and_set("RINGING")})
        done = cli(*WATCH, "101", "--limit", 3, out=out)
        assert (done.code, done.err) == (0, "")
        assert pbx.v22.socket.connections == 3


def on_v22(pbx: PBXSimulator, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    environment = {"PORTSIP_API": "v22", "PORTSIP_DOMAIN": pbx.domain}
    return CommandLine(monkeypatch, {**environment_of(pbx), **environment})


class TestTerminals:
    @pytest.mark.parametrize("term", ["dumb", "unknown", "", None])
    @pytest.mark.parametrize("form", [(), ("-o", "table")])
    def test_without_a_cursor(
        self, term: str | None, form: tuple[str, ...], cli: CommandLine
    ) -> None:
        """A terminal that can't draw a board gets lines."""
        done = cli(*WATCH, "--limit", 12, *form, terminal=True, TERM=term)
        assert done.code == 0
        assert len([json.loads(line) for line in done.lines]) == 12
        assert "\x1b" not in done.out + done.err

    def test_bars_need_a_cursor(self, cli: CommandLine) -> None:
        for term in ("dumb", "unknown", "", None):
            done = cli("extensions", "list", terminal=True, TERM=term)
            assert (done.code, done.err) == (0, "")

    def test_without_colours(self, cli: CommandLine) -> None:
        done = cli(*WATCH, "--limit", 12, terminal=True, NO_COLOR="1")
        assert done.code == 0
        assert "\x1b[?1049h" in done.out  # a board nevertheless

    @pytest.mark.parametrize("size", ["0", "1", "7", "nonsense"])
    def test_tiny(self, size: str, cli: CommandLine) -> None:
        done = cli(*WATCH, "--limit", 12, terminal=True, COLUMNS=size, LINES=size)
        assert done.code == 0
        done = cli("extensions", "list", terminal=True, COLUMNS=size, LINES=size)
        assert done.code == 0

    def test_size_that_is_not_known(self, cli: CommandLine) -> None:
        """COLUMNS and LINES of 0, as some programs set them, are ignored."""
        done = cli(*WATCH, "--limit", 12, terminal=True, COLUMNS="0", LINES="0")
        assert done.code == 0
        assert " extensions" in done.out

    def test_other_encoding(self, cli: CommandLine) -> None:
        class Old(Stream):
            encoding = "ascii"

        done = cli(*WATCH, "--limit", 12, out=Old(terminal=True), terminal=True)
        assert done.code == 0
        assert done.out.isascii()

    def test_board_that_can_not_be_drawn(
        self, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A bug in the board ends the watch instead of freezing it."""

        def fail(*_: object) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr(Board, "render", fail)
        out = Stream(terminal=True)
        with pytest.raises(RuntimeError, match="a bug"):
            cli(*WATCH, terminal=True, out=out)
        assert out.getvalue().rstrip().endswith("\x1b[?25h\x1b[?1049l")


class TestBoard:
    def picture(
        self, board: Board, *, height: int = 30, seconds: float = 7, **stats: Any
    ) -> list[str]:
        health = WatchStats(**{"cycles": 1, "last_success": AT, **stats})
        console = Console(width=60, color_system=None, record=True, file=Stream())
        console.print(board.render(60, height, health, AT + timedelta(seconds=seconds)))
        return console.export_text().splitlines()

    def board(self, count: int = 5, status: str = "OFFLINE", *, keyboard: bool = False) -> Board:
        board = Board(detail=ClassicPBX.detail, keyboard=keyboard)
        for number in range(100, 100 + count):
            board.apply(change(str(number), None, status))
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
        board.apply(change("101", "OFFLINE", "ON_CALL"))
        board.apply(change("102", "OFFLINE", "\x1bodd"))
        lines = self.picture(board)
        assert lines[0] == "5 extensions   · 3 OFFLINE   ○ 1 \\x1bodd   ● 1 ON_CALL"
        assert lines[3].split() == ["·", "100", "●", "101", "7s", "○", "102", "7s", "·", "103"]
        assert lines[4].split() == ["·", "104"]
        assert "102  OFFLINE -> \\x1bodd" in lines[6]
        assert "101  OFFLINE -> ON_CALL" in lines[7]

    def test_first_status_is_not_a_change(self) -> None:
        assert len(self.picture(self.board(4))) == 4

    def test_gone_and_other_telephone(self) -> None:
        board = self.board()
        board.apply(StatusChange("101", ExtensionStatus("101", "OFFLINE"), None, AT))
        other = ExtensionStatus("102", "OFFLINE", "Desk")
        board.apply(StatusChange("102", ExtensionStatus("102", "OFFLINE"), other, AT))
        lines = self.picture(board)
        assert lines[0].startswith("4 extensions")
        assert "102  OFFLINE  Desk" in lines[5]
        assert "101  OFFLINE -> gone" in lines[6]

    def test_cells_of_every_width(self) -> None:
        """Numbers in another script stay aligned."""
        board = self.board(1)
        for number in ("田中", "e\u0301", "ที่"):
            board.apply(change(number, None, "OFFLINE"))
        cells = self.picture(board)[3]
        starts = [cell_len(cells[:at]) for at, mark in enumerate(cells) if mark == "·"]
        assert starts == [0, 14, 28, 42]

    def test_pages(self) -> None:
        """Extensions that don't fit are on further pages; the first show who is not offline."""
        board = self.board(1000, keyboard=True)
        board.apply(change("1099", None, "ON_CALL"))
        seen: list[str] = []
        for page in range(1, 200):
            lines = self.picture(board, height=12)
            assert len(lines) <= 12
            seen += [word for line in lines[3:-1] for word in line.split() if word.isdecimal()]
            at, _, pages = lines[-1].split("   ")[0].removeprefix("page ").split()
            assert int(at) == page
            if at == pages:
                break
            assert board.press("next")
        assert seen[0] == "1099"
        assert sorted(seen) == sorted(map(str, range(100, 1100)))

    def test_keys(self) -> None:
        board = self.board(1000, keyboard=True)

        def page() -> str:
            return self.picture(board, height=12)[-1].split("   ")[0]

        assert page().startswith("page 1 of ")
        last = page().split()[-1]
        shown = []
        for key in ("previous", "next", "next", "last", "next", "first", "?", "\x1b"):
            assert board.press(key)
            shown.append(page().split()[1])
        assert shown == ["1", "2", "3", last, last, "1", "1", "1"]
        assert not board.press("q")

    def test_page_when_extensions_go(self) -> None:
        board = self.board(1000, keyboard=True)
        self.picture(board, height=12)
        board.press("last")
        for number in range(105, 1100):
            before = ExtensionStatus(str(number), "OFFLINE")
            board.apply(StatusChange(str(number), before, None, AT))
        assert "100" in self.picture(board, height=12)[3]
        board.apply(StatusChange("99", None, ExtensionStatus("99", "OFFLINE"), AT))
        assert self.picture(board, height=12)[3].split()[1] == "99"

    def test_pages_turn_without_a_keyboard(self) -> None:
        board = self.board(1000)
        pages = [
            self.picture(board, height=12, seconds=seconds)[-1].split()[1]
            for seconds in (0, 9, 10, 19, 20)
        ]
        assert pages == ["1", "1", "2", "2", "3"]

    def test_names(self) -> None:
        board = self.board(2)
        assert board.nameless
        board.name("100", "Ann\x1b[31m Smith")
        board.name("101", "田中" * 20)
        assert not board.nameless
        board.apply(change("101", "OFFLINE", "ON_CALL"))
        lines = self.picture(board)
        assert lines[3].startswith("· 100 Ann\\x1b[31m Smith")
        assert cell_len(lines[4].rstrip()) == len("● 101 ") + 24 + len("   7s")
        assert "101 田中田中" in lines[6]
        board.press("n")
        assert "Ann" not in self.picture(board)[3]

    @pytest.mark.parametrize(
        ("seconds", "shown"),
        [
            (-5, "0s"),
            (0, "0s"),
            (59.9, "59s"),
            (60, "1m"),
            (3599, "59m"),
            (3600, "1h"),
            (86_399, "23h"),
            (86_400, "1d"),
            (1e8, "999d"),
        ],
    )
    def test_time_in_state(self, seconds: float, shown: str) -> None:
        board = self.board(1)
        assert self.picture(board)[3].split() == ["·", "100"]  # not known before a change
        board.apply(change("100", "OFFLINE", "ON_CALL"))
        # Another telephone with the same status is no change of the status.
        other = ExtensionStatus("100", "ON_CALL", "Desk")
        later = AT + timedelta(seconds=1)
        board.apply(StatusChange("100", ExtensionStatus("100", "ON_CALL"), other, later))
        assert self.picture(board, seconds=seconds)[3].split() == ["●", "100", shown]

    def test_outage(self) -> None:
        lines = self.picture(
            self.board(), consecutive_failures=2, last_error=ConnectError("no connection\nwas made")
        )
        assert lines[1] == "no answer for 7 s: no connection was made"

    def test_source(self) -> None:
        """Live needs no poll, and a board that polls shows how long a poll takes."""
        board = self.board()
        assert self.picture(board, cycle_seconds=0.5)[1] == (
            "polling   a poll takes 0.50 s   Ctrl-C ends"
        )
        live: dict[str, Any] = {"source": "socket", "connections": 1, "cycles": 0}
        assert self.picture(board, **live)[1] == "live   Ctrl-C ends"
        assert "2 missing" in self.picture(board, **live, missing=2)[1]
        assert self.picture(board, **live, last_success=None)[1] == "live   Ctrl-C ends"
        live["source"] = "poll"
        assert self.picture(board, **live)[1] == "polling   Ctrl-C ends"
        gone: dict[str, Any] = {"consecutive_failures": 1, "last_error": ConnectError("gone")}
        assert self.picture(board, **live, **gone)[1] == "no answer for 0 s: gone"
        assert self.picture(board, seconds=17, **live, **gone)[1] == "no answer for 10 s: gone"

    def test_health(self) -> None:
        assert "2 missing" in self.picture(self.board(), missing=2)[1]
        console = Console(width=60, record=True, file=Stream())
        board = Board(detail=ClassicPBX.detail)
        console.print(board.render(60, 10, WatchStats(), AT))
        assert "reading" in console.export_text()
        console.print(
            Board(detail=ClassicPBX.detail).render(
                60, 10, WatchStats(cycles=1, consecutive_failures=1), AT
            )
        )
        assert "no answer yet" in console.export_text()


def change(number: str, before: str | None, after: str) -> StatusChange:
    known = None if before is None else ExtensionStatus(number, before)
    return StatusChange(number, known, ExtensionStatus(number, after), AT)
