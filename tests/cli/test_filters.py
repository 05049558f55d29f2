"""``--filter`` and the columns of lists."""

import json

import pytest

from portsip_async.simulator import PBXSimulator

from .conftest import PBXMaker
from .terminal import CommandLine


@pytest.fixture
def pbx(make_pbx: PBXMaker) -> PBXSimulator:
    found = make_pbx(generations=("classic", "v22"), extensions=12)
    for number in found.extension_numbers:
        found.set_status(number, "OFFLINE")
    for number in ("102", "105", "109"):
        found.set_status(number, "ON_CALL")
    return found


@pytest.fixture
def cli(pbx: PBXSimulator, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    environment = {
        "PORTSIP_URL": pbx.url,
        "PORTSIP_USERNAME": pbx.username,
        "PORTSIP_PASSWORD": pbx.password,
        "PORTSIP_DOMAIN": pbx.domain,
        "PORTSIP_API": "v22",
    }
    return CommandLine(monkeypatch, environment)


def statuses(pbx: PBXSimulator) -> int:
    """Return how many statuses were asked for."""
    return pbx.v22.served["users.status"]


def numbers(out: str) -> list[str]:
    return [json.loads(line)["extension_number"] for line in out.splitlines()]


@pytest.mark.parametrize("api", ["classic", "v22"])
class TestBothGenerations:
    @pytest.mark.parametrize("condition", ["status=ON_CALL", "status=on_call", "status == ON_CALL"])
    def test_status(self, condition: str, api: str, cli: CommandLine) -> None:
        done = cli("extensions", "list", "--filter", condition, PORTSIP_API=api)
        assert (done.code, done.err) == (0, "")
        assert numbers(done.out) == ["102", "105", "109"]

    @pytest.mark.parametrize(
        ("conditions", "found"),
        [
            (("status!=OFFLINE", "extension_number!=102"), ["105", "109"]),
            (("status=ON_CALL", "email~105@"), ["105"]),
            (("extension_number~10", "status!=ON_CALL", "email~9"), []),
            (("email=",), []),
            (("status=BUSY_OF_A_NEWER_PBX",), []),
        ],
        ids=["two", "contains", "none", "without", "unknown value"],
    )
    def test_all_hold(
        self, conditions: tuple[str, ...], found: list[str], api: str, cli: CommandLine
    ) -> None:
        words = [word for one in conditions for word in ("--filter", one)]
        done = cli("extensions", "list", *words, PORTSIP_API=api)
        assert done.code == 0
        assert numbers(done.out) == found

    def test_limit_counts_matches(self, api: str, cli: CommandLine) -> None:
        words = ("--filter", "status=ON_CALL", "--limit", 2, "--page-size", 3)
        assert numbers(cli("extensions", "list", *words, PORTSIP_API=api).out) == ["102", "105"]

    def test_search_and_status(self, api: str, cli: CommandLine, pbx: PBXSimulator) -> None:
        done = cli("extensions", "search", "10", "--filter", "status=ON_CALL", PORTSIP_API=api)
        assert numbers(done.out) == ["102", "105", "109"]
        words = ("status", "-", "--filter", "status=ON_CALL")
        done = cli("users", *words, stdin="\n".join(pbx.extension_numbers), PORTSIP_API=api)
        assert numbers(done.out) == ["102", "105", "109"]

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ("extensions list --filter statsu=ON_CALL", "did you mean status?"),
            ("extensions list --filter status=ONCALL", "ON_CALL"),
            ("extensions status 101 --filter x(y)", "FIELD=VALUE"),
            ("greetings list 101 --filter enabled=maybe", "enabled must be true or false"),
            ("greetings list 101 --filter enabled", "FIELD=VALUE"),
            ("groups list --filter nope=1", "no such field: nope"),
        ],
    )
    def test_wrong_usage_before_anything_is_sent(
        self, words: str, message: str, api: str, cli: CommandLine, pbx: PBXSimulator
    ) -> None:
        done = cli(*words.split(), PORTSIP_API=api)
        assert (done.code, done.out) == (2, "")
        assert message in done.err
        assert not {*pbx.served, *pbx.v22.served}

    def test_page_that_fails(self, api: str, cli: CommandLine, pbx: PBXSimulator) -> None:
        """What was read before is written, and the hint tells how to continue."""
        if api == "classic":
            pbx.fail("extensions.list", body=_page(pbx, api, 3))
            pbx.fail("extensions.list", status=500, times=None)
        else:
            pbx.v22.fail("users.list", body=_page(pbx, api, 3))
            pbx.v22.fail("users.list", status=500, times=None)
        words = ("--filter", "status=ON_CALL", "--page-size", 3)
        done = cli("extensions", "list", *words, PORTSIP_API=api)
        assert done.code == 1
        assert numbers(done.out) == ["102"]
        assert "continue where it failed with --page 2" in done.err


def _page(pbx: PBXSimulator, api: str, size: int) -> str:
    """Return the first page of a list, as the PBX sends it."""
    some = pbx.extension_numbers[:size]
    if api == "v22":
        users = [pbx.v22.user(pbx.v22.user_id(number)) for number in some]
        return json.dumps({"count": len(pbx.extension_numbers), "items": users})
    rows = [
        {"extension_number": number, "status": "ON_CALL" if number == "102" else "OFFLINE"}
        for number in some
    ]
    return json.dumps(
        {"extensions": rows, "pagination": 1, "pagesize": size, "page_count": 4, "count": size}
    )


class TestV22:
    def test_odata_is_sent(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        """An expression goes to the PBX, and conditions are compared with what it returns."""
        expression = "extension_number eq '102' or extension_number eq '103'"
        for words in (("list",), ("search", "10")):
            done = cli("users", *words, "--filter", expression, "--filter", "status=ON_CALL")
            assert numbers(done.out) == ["102"]
        assert statuses(pbx) == 4

    def test_two_expressions(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        done = cli("users", "list", "--filter", "name eq 'a'", "--filter", "name eq 'b'")
        assert (done.code, "'and'" in done.err) == (2, True)
        assert not pbx.v22.served

    def test_states_are_read_only_if_needed(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        row = json.loads(cli("users", "list", "--limit", 1).out)
        assert "status" not in row
        assert not statuses(pbx)
        done = cli("users", "list", "--limit", 3, "-o", "csv", "-c", "extension_number,status")
        assert done.lines == [
            "extension_number,status",
            "100,OFFLINE",
            "101,OFFLINE",
            "102,ON_CALL",
        ]
        assert statuses(pbx) == 3
        # A condition that needs no state is compared first.
        cli("users", "list", "--filter", "extension_number=105", "--filter", "status=ON_CALL")
        assert statuses(pbx) == 4

    def test_user_that_goes_meanwhile(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        """A user without a status has none in the list, and the list goes on."""
        pbx.v22.fail("users.status", status=404, body='{"code": "NOT_FOUND"}')
        done = cli("users", "list", "-o", "csv", "-c", "extension_number,status")
        assert done.code == 0
        assert len(done.lines) == len(pbx.extension_numbers) + 1
        assert len([line for line in done.lines if line.endswith(",")]) == 1

    def test_status_that_can_not_be_read(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        pbx.v22.fail("users.status", status=403, times=None)
        assert cli("users", "list", "--filter", "status=ON_CALL").code == 1


class TestWidth:
    HEAD = "extension_number", "display_name", "email", "role"

    def columns(
        self, cli: CommandLine, width: int, *words: str, terminal: bool = True
    ) -> list[str]:
        done = cli(
            *("users", "list", "-o", "table", *words),
            terminal=terminal,
            COLUMNS=str(width),
            NO_COLOR="1",
        )
        assert done.code == 0
        assert max(map(len, done.lines)) <= width or not terminal
        return done.lines[0].split()

    def test_wide_terminal_gets_more(self, cli: CommandLine) -> None:
        assert self.columns(cli, 80) == [*self.HEAD]
        more = self.columns(cli, 200)
        assert more[:4] == [*self.HEAD]
        assert {"name", "department", "id"} <= {*more}
        assert "work_phone" not in more  # which nobody has

    def test_rows_of_a_wide_table_are_not_wrapped(self, cli: CommandLine) -> None:
        for width in range(80, 260, 7):
            done = cli("users", "list", terminal=True, COLUMNS=str(width), NO_COLOR="1")
            assert len(done.lines) == 2 + 12

    def test_narrow_terminal_gets_fewer(self, cli: CommandLine) -> None:
        assert self.columns(cli, 40)[0].startswith("extensio")

    def test_pipe_is_as_before(self, cli: CommandLine) -> None:
        assert self.columns(cli, 300, terminal=False) == [*self.HEAD]

    def test_chosen_columns_are_all(self, cli: CommandLine) -> None:
        assert self.columns(cli, 300, "-c", "name,email") == ["name", "email"]
