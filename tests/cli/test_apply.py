"""``extensions apply``: a file compared with a PBX of either generation, and applied."""

import csv
import json
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portsip_async import Drift
from portsip_async.cli.apply import applying
from portsip_async.cli.apply.plan import make_plan, prune
from portsip_async.cli.fields import flat
from portsip_async.cli.files import write_run
from portsip_async.cli.files.import_file import Columns, read_rows
from portsip_async.cli.pbx.generation import kind_of
from portsip_async.simulator import PBXSimulator

from .conftest import PBXMaker
from .processes import on_terminal
from .terminal import CommandLine, Done, Gone

SECRETS = ("hunter2-SIP", "Hunter2web", "294751")
NEW = {
    "classic": {
        "password": "hunter2-SIP",
        "web_access_password": "Hunter2web",
        "profile.first_name": "Ann",
    },
    "v22": {
        "name": "ann",
        "display_name": "Ann",
        "email": "ann@test.io",
        "role": "StandardUser",
        "password": "Hunter2web",
        "extension_password": "hunter2-SIP",
        "voicemail_pin": "294751",
    },
}
# A text that lists show, one that only `show` has, a flag, and an operation that fails.
NAMES = {
    "classic": ("profile.first_name", "profile.description", "options.enable_extension"),
    "v22": ("display_name", "custom_options", "enabled"),
}


class Side:
    """A PBX of one generation, and the files and commands for it."""

    def __init__(self, api: str, pbx: PBXSimulator, cli: CommandLine, folder: Path) -> None:
        self.api, self.pbx, self.cli, self.folder = api, pbx, cli, folder
        self.listed, self.shown, self.flag = NAMES[api]
        face: Any = pbx if api == "classic" else pbx.v22
        self.fail: Callable[..., None] = face.fail
        self.acted: Any = face.acted
        self.served: Any = face.served
        self.resource = "extensions" if api == "classic" else "users"

    def file(self, *rows: dict[str, Any], name: str = "people.csv") -> Path:
        path = self.folder / name
        with path.open("w", newline="") as text:
            columns = list(dict.fromkeys(column for row in rows for column in row))
            writer = csv.DictWriter(text, columns)
            writer.writeheader()
            writer.writerows(rows)
        return path

    def apply(self, *words: Any, **more: Any) -> Done:
        return self.cli("extensions", "apply", *words, **more)

    def plan(self, *words: Any) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.apply(*words, "-o", "json").out)
        return found

    def value(self, number: str, name: str) -> Any:
        if self.api == "classic":
            return flat(self.pbx.extension(number)).get(name)
        return flat(self.pbx.v22.user(self.pbx.v22.user_id(number))).get(name)

    def writes(self) -> int:
        """Return how many requests have changed the PBX."""
        names = ("create", "update", "remove", "set_role")
        return sum(self.acted[f"{self.resource}.{name}"] for name in names)

    def new(self, number: str, **more: Any) -> dict[str, Any]:
        found = {"extension_number": number, **NEW[self.api], **more}
        return found | ({"name": f"ann{number}"} if self.api == "v22" else {})


@pytest.fixture(params=["classic", "v22"])
def side(
    request: pytest.FixtureRequest,
    make_pbx: PBXMaker,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Side:
    return make_side(request.param, make_pbx, monkeypatch, tmp_path)


def make_side(
    api: str, make_pbx: PBXMaker, monkeypatch: pytest.MonkeyPatch, folder: Path, **options: Any
) -> Side:
    pbx = make_pbx(generations=("classic", "v22"), **options)
    environment = {
        "PORTSIP_URL": pbx.url,
        "PORTSIP_USERNAME": pbx.username,
        "PORTSIP_PASSWORD": pbx.password,
        "PORTSIP_DOMAIN": pbx.domain,
        "PORTSIP_API": api,
    }
    return Side(api, pbx, CommandLine(monkeypatch, environment), folder)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as text:
        return list(csv.DictReader(text))


class TestPlan:
    @pytest.mark.parametrize("form", ["csv", "jsonl"])
    @pytest.mark.parametrize("reveal", [(), ("--reveal",)], ids=["hidden", "revealed"])
    def test_export_changes_nothing(self, form: str, reveal: tuple[str, ...], side: Side) -> None:
        """What an export wrote is what the PBX has: texts, flags, numbers, lists, secrets."""
        side.cli("extensions", "update", "101", "--set", f'{side.shown}=äö; "x"\n y ')
        path = side.folder / f"all.{form}"
        assert side.cli("extensions", "export", path, *reveal).code == 0
        before = side.writes()
        done = side.apply(path, "--prune", "--yes")
        assert (done.code, done.err) == (0, "")
        assert done.lines == ["0 to create, 0 to change, 0 to remove, 12 unchanged."]
        assert side.writes() == before

    def test_diff(self, side: Side) -> None:
        """A pipe gets plain lines; no secret is in them."""
        old = side.value("101", side.listed)
        path = side.file(
            side.new("951"),
            {"extension_number": "101", side.listed: "Zoë", side.flag: "false"},
            {"extension_number": "102"},
        )
        done = side.apply(path, "--dry-run")
        assert done.code == 0
        assert done.lines[0].startswith("+ 951 (new) ")
        assert "password=*** " in done.lines[0]
        assert done.lines[1:] == [
            f'~ 101 {side.listed}: "{old}" -> "Zoë"',
            f"~ 101 {side.flag}: true -> false",
            "1 to create, 1 to change, 0 to remove, 1 unchanged.",
        ]
        assert not any(secret in done.out + done.err for secret in SECRETS)
        assert not side.writes()

    def test_terminal(self, side: Side) -> None:
        """A terminal gets colours, and no control character of a value."""
        path = side.file({"extension_number": "101", side.listed: "\x1b[2J\u202eevil\x9b"})
        done = side.apply(path, "--dry-run", terminal=True)
        assert done.lines[0].startswith("\x1b[33m~ 101 ")
        assert done.lines[0].endswith('-> "\\u001b[2J\\u202eevil\\x9b"\x1b[0m')
        assert "\x1b[33m" not in side.apply(path, "--dry-run", terminal=True, NO_COLOR="1").out

    def test_long_values(self, side: Side) -> None:
        """Two long values are shown where they differ."""
        side.cli("extensions", "update", "101", "--set", f"{side.shown}={'a' * 300}old")
        path = side.file({"extension_number": "101", side.shown: "a" * 300 + "new"})
        line = side.apply(path, "--dry-run").lines[0]
        assert line.endswith(f': …{"a" * 10}old" -> …{"a" * 10}new"')

    def test_json(self, side: Side) -> None:
        """The plan for other programs; it changes nothing without --yes."""
        old = side.value("101", side.listed)
        path = side.file(side.new("951"), {"extension_number": "101", side.listed: "Zoë"})
        plan = side.plan(path)
        assert [step["extension_number"] for step in plan["create"]] == ["951"]
        assert plan["create"][0]["changes"]["password"] == {"before": None, "after": "***"}
        assert plan["change"] == [
            {
                "extension_number": "101",
                "changes": {side.listed: {"before": old, "after": "Zoë"}},
                "outcome": None,
                "error": None,
            }
        ]
        assert (plan["remove"], plan["unchanged"], plan["errors"]) == ([], 0, [])
        assert not side.writes()
        plan = side.plan(path, "--yes")
        assert [step["outcome"] for step in plan["create"] + plan["change"]] == [
            "created",
            "changed",
        ]
        for form in ("jsonl", "csv"):
            done = side.apply(side.file({"extension_number": "101", side.flag: "0"}), "-o", form)
            assert len(done.lines) == 1 + (form == "csv")

    def test_lists_are_enough(self, side: Side) -> None:
        """Extensions are read one by one only for fields that the list does not show."""
        side.apply(side.file({"extension_number": "101", side.listed: "Zoë"}), "--dry-run")
        assert not side.served[f"{side.resource}.show"]
        side.apply(
            side.file({"extension_number": "101", side.shown: "x"}, {"extension_number": "102"}),
            "--dry-run",
        )
        assert side.served[f"{side.resource}.show"] == 1

    def test_list_that_lacks_a_field(self, side: Side) -> None:
        """The field is read from the extension itself, so that it is not changed each time."""
        value = side.value("101", side.listed)
        item = {"extension_number": "101", "id": side.pbx.v22.user_id("101")}
        whole = {"count": 1, "page_count": 1, "items": [item], "extensions": [item]}
        side.fail(f"{side.resource}.list", body=json.dumps(whole), times=None)
        path = side.file({"extension_number": "101", side.listed: value})
        assert side.plan(path)["unchanged"] == 1

    def test_blank_values(self, side: Side) -> None:
        """An empty cell names nothing, and a quoted one empties a text."""
        assert side.value("101", side.listed)
        path = side.folder / "x.csv"
        path.write_text(f"extension_number,{side.listed},{side.flag}\n101,,\n")
        assert side.plan(path)["unchanged"] == 1
        path.write_text(f'extension_number,{side.shown},{side.listed}\n101,"",\n')
        assert side.plan(path)["unchanged"] == 1  # it is empty already
        side.cli("extensions", "update", "101", "--set", f"{side.shown}=x")
        path.write_text(f'extension_number,{side.shown}\n101,""\n')
        assert side.apply(path, "--yes").code == 0
        assert not side.value("101", side.shown)
        assert side.plan(path)["unchanged"] == 1
        # In JSON, null names nothing.
        path = side.folder / "x.jsonl"
        path.write_text(json.dumps({"extension_number": 101, side.listed: None}))
        assert side.plan(path)["unchanged"] == 1

    def test_secrets_are_for_new_extensions(self, side: Side) -> None:
        """Those of an extension that exists are neither compared nor sent."""
        secrets: dict[str, str] = dict.fromkeys(("password", "web_access_password"), "***")
        if side.api == "v22":
            secrets = {"password": "x", "extension_password": "***", "voicemail_pin": "294751"}
        path = side.file({"extension_number": "101", **secrets})
        assert side.apply(path, "--yes").lines == [
            "0 to create, 0 to change, 0 to remove, 1 unchanged."
        ]
        done = side.apply(side.file(side.new("951", password="***")), "--yes")
        assert done.code == 1
        assert "line 2 (951): is new, and has *** in place of its password" in done.err


class TestErrors:
    def test_before_the_pbx_is_read(self, side: Side) -> None:
        path = side.file({"extension_number": "101"}, {"extension_number": "101"})
        done = side.apply(path, "--dry-run")
        assert done.code == 1
        assert "line 3 (101): is also in line 2" in done.err
        assert not side.served

    def test_in_the_plan(self, side: Side) -> None:
        """One row with an error stops all, unless the others are to be applied."""
        good = {"extension_number": "102", side.listed: "Zoë"}
        path = side.file({"extension_number": "951"}, good)
        for words in (("--yes",), ("--dry-run",), ("--yes", "-o", "json")):
            done = side.apply(path, *words)
            assert done.code == 1
            assert "people.csv line 2 (951): is new, and has no " in done.err
            assert "1 of 2 rows have errors; nothing was changed" in done.err
        assert json.loads(done.out)["errors"][0]["line"] == 2
        assert not side.writes()
        done = side.apply(path, "--yes", "--keep-going", "--prune", "--max-removals", "20")
        assert done.code == 1
        assert "nothing will be removed" in done.err
        assert side.value("102", side.listed) == "Zoë"
        assert len(side.pbx.extension_numbers) == 12
        outcomes = [row["outcome"] for row in rows_of(side.folder / "people.report.csv")]
        assert outcomes == ["failed", "changed"]

    def test_what_cannot_be_changed(self, make_pbx: Any, monkeypatch: Any, tmp_path: Path) -> None:
        side = make_side("v22", make_pbx, monkeypatch, tmp_path)
        name = side.value("101", "name")
        assert side.plan(side.file({"extension_number": "101", "name": name}))["unchanged"] == 1
        done = side.apply(side.file({"extension_number": "101", "name": "x"}), "--yes")
        assert "line 2 (101): has another name than the PBX, which can't be changed" in done.err
        # A role can be changed, alone or with others.
        rows = [
            {"extension_number": "101", "role": "QueueManager", "department": ""},
            {"extension_number": "102", "role": "QueueManager", "department": "X"},
        ]
        side.apply(side.file(*rows), "--yes")
        assert [side.value(number, "role") for number in ("101", "102")] == ["QueueManager"] * 2
        assert side.value("102", "department") == "X"
        side.fail("users.set_role", status=400)
        side.apply(side.file({"extension_number": "101", "role": "StandardUser"}), "--yes")
        assert rows_of(tmp_path / "people.report.csv")[0]["outcome"] == "failed"

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("people.csv",), "stdin is not a terminal, so nobody can confirm"),
            (("-",), "stdin holds the file, so nobody can confirm"),
            (("nothing.csv", "--yes"), "there is no file nothing.csv"),
        ],
        ids=["pipe", "stdin", "missing"],
    )
    def test_usage(self, words: tuple[str, ...], message: str, side: Side) -> None:
        done = side.apply(*words, stdin="extension_number\n101\n")
        assert done.code == 2
        assert message in done.err
        assert not side.served

    def test_numbers_of_spreadsheets(self, side: Side) -> None:
        """In many languages "1.000" is a thousand: it is refused, and not written as 1."""
        timeout = {
            "classic": "forward_rules.available.no_answer_timeval",
            "v22": "available_no_answer_forward_rule.timeout",
        }[side.api]
        for text in ("1.000", "25,5", "1.5"):
            done = side.apply(side.file({"extension_number": "101", timeout: text}), "--yes")
            assert done.code == 1
            assert f"line 2 (101): {timeout} must be a whole number" in done.err
        for text in ("25", " 25 ", "25.0"):
            plan = side.plan(side.file({"extension_number": "101", timeout: text}))
            assert plan["change"][0]["changes"][timeout]["after"] == 25

    def test_unknown_field(self, side: Side) -> None:
        """A field that the SDK does not know can't be compared."""
        path = side.folder / "x.jsonl"
        section = "profile" if side.api == "classic" else "office_hours"
        path.write_text(json.dumps({"extension_number": "101", section: {"x_new": 1}}))
        done = side.apply(path, "--yes")
        assert done.code == 1
        assert f"has no field {section}.x_new" in done.err


class TestApply:
    def test_twice(self, side: Side) -> None:
        """The second time, there is nothing to do."""
        rows = (side.new("951"), side.new("952"), {"extension_number": "101", side.shown: "new"})
        path = side.file(*rows)
        assert side.apply(path, "--yes").lines[-1] == "2 created, 1 changed, 0 removed."
        assert side.value("101", side.shown) == "new"
        assert side.value("951", side.listed) == "Ann"
        before = side.writes()
        assert side.apply(path, "--yes").code == 0
        assert side.writes() == before
        assert os.listdir(side.folder) == ["people.csv"]

    def test_stdin(self, side: Side) -> None:
        text = side.file({"extension_number": "101", side.listed: "Zoë"}).read_text()
        assert side.apply("-", "--yes", stdin=text).code == 0
        assert side.value("101", side.listed) == "Zoë"

    def test_keeps_what_changed_meanwhile(
        self, side: Side, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Only the fields that differed are sent."""
        path = side.file({"extension_number": "101", side.shown: "new", side.flag: "true"})

        def meanwhile(*_: object, **__: object) -> None:
            side.cli("extensions", "update", "101", "--set", f"{side.flag}=false")

        monkeypatch.setattr(applying, "_confirm", meanwhile)
        assert side.apply(path, "--yes").code == 0
        assert side.value("101", side.flag) is False
        assert side.value("101", side.shown) == "new"

    def test_asks(self, side: Side) -> None:
        path = side.file({"extension_number": "101", side.listed: "Zoë"})
        done = side.apply(path, terminal=True, stdin="n\n")
        assert done.code == 1
        assert "Change 1 extension?" in done.err
        assert "not confirmed; nothing was done" in done.err
        assert not side.writes()
        assert side.apply(path, terminal=True, stdin="y\n").code == 0
        assert side.value("101", side.listed) == "Zoë"

    def test_nobody_saw_the_plan(self, side: Side) -> None:
        """Without a reader of the plan nothing is applied, unless --yes was given."""
        path = side.file({"extension_number": "101", side.listed: "Zoë"})
        assert side.apply(path, terminal=True, stdin="y\n", out=Gone(0)).code == 0
        assert not side.writes()
        assert side.apply(path, "--yes", out=Gone(0)).code == 0
        assert side.value("101", side.listed) == "Zoë"

    def test_one_login(self, side: Side) -> None:
        side.apply(side.file(side.new("951")), "--yes")
        logins = side.served["account.verify"] + side.served["auth.sign_in"]
        assert logins == 1


class TestPrune:
    def test_removes_what_the_file_lacks(self, side: Side) -> None:
        kept = [number for number in side.pbx.extension_numbers if number not in ("103", "104")]
        path = side.file(*({"extension_number": number} for number in kept))
        assert side.apply(path, "--yes").lines[-1].startswith("0 to create, 0 to change, 0 to rem")
        plan = side.plan(path, "--prune")
        assert [step["extension_number"] for step in plan["remove"]] == ["103", "104"]
        assert side.apply(path, "--prune", "--yes").lines[-1] == "0 created, 0 changed, 2 removed."
        assert side.pbx.extension_numbers == kept

    def test_many_need_the_count(self, side: Side) -> None:
        """A file that was cut off does not empty a PBX."""
        path = side.file({"extension_number": "101"})
        done = side.apply(path, "--prune", "--yes")
        assert done.code == 1
        assert "the plan removes 11 of 12 extensions; nothing was done" in done.err
        assert "--max-removals 11" in done.err
        done = side.apply(path, "--prune", terminal=True, stdin="y\n")
        assert "Type 11 to apply the plan" in done.err
        assert "not confirmed" in done.err
        done = side.apply(path, "--prune", "--yes", "--max-removals", "10")
        assert "more than --max-removals 10; nothing was done" in done.err
        assert not side.writes()
        assert side.apply(path, "--prune", terminal=True, stdin="11\n").code == 0
        assert side.pbx.extension_numbers == ["101"]

    def test_own_account_stays(
        self,
        side: Side,
        make_pbx: PBXMaker,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        """Whoever applies a file does not lock themselves out."""
        own = "102" if side.api == "classic" else side.value("102", "name").upper()
        other = make_side(side.api, make_pbx, monkeypatch, tmp_path, username=own)
        path = other.file(*({"extension_number": number} for number in ("101", "103")))
        assert other.plan(path, "--prune")["kept"] == {"102": "the account that is logged in"}
        done = other.apply(path, "--prune", "--yes", "--max-removals", "99")
        assert "= 102 stays: the account that is logged in" in done.out
        assert other.pbx.extension_numbers == ["101", "102", "103"]

    def test_administrators_stay(
        self, make_pbx: PBXMaker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        side = make_side("v22", make_pbx, monkeypatch, tmp_path)
        side.apply(side.file(side.new("951", role="Admin"), side.new("952", role="Mine")), "--yes")
        kept = side.plan(side.file({"extension_number": "101"}), "--prune")["kept"]
        assert kept == {"951": "its role is Admin"}


class TestFaults:
    def test_refused_rows(self, side: Side) -> None:
        """The report has all rows, only for its owner, and completes the work once corrected."""
        side.fail(f"{side.resource}.create", status=400, msg="bad hunter2-SIP")
        rows = [side.new("951"), side.new("952"), {"extension_number": "101", side.listed: "Zoë"}]
        numbers = [number for number in side.pbx.extension_numbers if number not in ("101", "103")]
        path = side.file(*rows, *({"extension_number": number} for number in numbers))
        done = side.apply(path, "--yes", "--prune", "--concurrency", "1")
        assert done.code == 1
        report = side.folder / "people.report.csv"
        assert stat.S_IMODE(report.stat().st_mode) == 0o600
        # Nothing is removed after a failure.
        assert "nothing is removed, because something before it failed" in done.err
        assert "2 of 4 changes were not carried out" in done.err
        assert f"Hint: portsip-async extensions apply {report} --prune" in done.err
        assert done.lines[-2] == "1 created, 1 changed, 0 removed, 1 failed, 1 not tried."
        assert not any(secret in done.out + done.err for secret in SECRETS)
        found = {row["extension_number"]: row for row in rows_of(report)}
        assert len(found) == len(rows) + len(numbers)
        assert (found["951"]["outcome"], found["952"]["outcome"]) == ("failed", "created")
        assert (found["101"]["outcome"], found["102"]["outcome"]) == ("changed", "unchanged")
        assert "create: HTTP 400" in found["951"]["error"]
        # With --prune too, because no row is missing.
        again = side.apply(report, "--yes", "--prune")
        assert again.lines[-1] == "1 created, 0 changed, 1 removed."
        assert "951" in side.pbx.extension_numbers
        assert "103" not in side.pbx.extension_numbers

    def test_jsonl(self, side: Side) -> None:
        """The report has the format of the file; it is written if it is named, whatever happens."""
        path = side.folder / "x.jsonl"
        path.write_text(json.dumps({"extension_number": "101", side.listed: "Zoë"}) + "\n")
        report = side.folder / "r.jsonl"
        assert side.apply(path, "--yes", "--report", report, "-o", "json").code == 0
        assert json.loads(report.read_text()) == {
            "extension_number": "101",
            side.listed: "Zoë",
            "outcome": "changed",
            "error": None,
        }
        assert side.plan(report)["unchanged"] == 1

    def test_removed_meanwhile(self, side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
        """A change of it fails, and its removal has nothing to do."""
        numbers = [number for number in side.pbx.extension_numbers if number != "103"]
        rows = ({"extension_number": number, side.shown: "new"} for number in numbers)

        def meanwhile(*_: object, **__: object) -> None:
            side.cli("extensions", "remove", "101", "103", "--yes")

        monkeypatch.setattr(applying, "_confirm", meanwhile)
        path = side.file(*rows)
        done = side.apply(path, "--yes", "--prune", "--keep-going")
        assert done.code == 4
        assert done.lines[-2] == "0 created, 10 changed, 1 removed, 1 failed."
        assert "line 3 (101): " in done.err
        monkeypatch.undo()
        assert "is new, and has no" in side.apply(path, "--dry-run").err

    def test_gone_in_the_middle(self, side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
        """It stops, and applying the report does the rest."""
        monkeypatch.setattr(write_run, "MAX_UNREACHABLE", 3)
        rows = [{"extension_number": str(number), side.shown: "new"} for number in range(100, 112)]
        path = side.file(*rows)
        side.fail(f"{side.resource}.update", latency=0.001, times=4)
        side.fail(f"{side.resource}.update", drop=True, times=None)
        done = side.apply(path, "--yes", "--concurrency", "1")
        assert done.code == 5
        assert "can't be reached any more; no further change is sent" in done.err
        report = side.folder / "people.report.csv"
        outcomes = [row["outcome"] for row in rows_of(report)]
        # One more may have been on its way.
        doubtful = outcomes.count("perhaps changed")
        assert doubtful in (3, 4)
        untried = ["not tried"] * (8 - doubtful)
        assert outcomes == ["changed"] * 4 + ["perhaps changed"] * doubtful + untried
        assert "8 of 12 changes were not carried out; perhaps done: 104, 105, 106" in done.err
        side.pbx.clear()
        side.pbx.v22.clear()
        assert side.apply(report, "--yes").code == 0
        assert {side.value(row["extension_number"], side.shown) for row in rows} == {"new"}

    def test_lost_reply(self, side: Side) -> None:
        """A create whose reply is lost is looked up."""
        side.fail(f"{side.resource}.create", drop=True, act=True)
        assert side.apply(side.file(side.new("951")), "--yes").code == 0
        # If it was not carried out, nothing is in doubt any more.
        side.fail(f"{side.resource}.create", status=503, times=None)
        done = side.apply(side.file(side.new("952")), "--yes")
        assert done.code == 1
        assert "the PBX was asked again and has not done it" in done.err
        assert "may have acted" not in done.err

    def test_login_is_refused(self, side: Side) -> None:
        """Before the plan, nothing is written; after it, the report has what is left."""
        path = side.file(side.new("951"), {"extension_number": "101", side.listed: "Zoë"})
        assert side.apply(path, "--yes", PORTSIP_PASSWORD="wrong").code == 3
        assert os.listdir(side.folder) == ["people.csv"]
        side.fail(f"{side.resource}.create", status=401, times=None)
        done = side.apply(path, "--yes")
        assert done.code == 3
        outcomes = [row["outcome"] for row in rows_of(side.folder / "people.report.csv")]
        assert outcomes == ["not tried", "not tried"]

    def test_report_must_be_writable(self, side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
        """Before the first write; and outcomes are shown if it can't be written later."""
        path = side.file(side.new("951"), {"extension_number": "101", side.listed: "Zoë"})
        done = side.apply(path, "--yes", "--report", side.folder / "none" / "x.csv")
        assert done.code == 1
        assert "report can't be written" in done.err
        assert not side.writes()

        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(applying, "write_report", fail)
        side.fail(f"{side.resource}.create", status=400)
        done = side.apply(path, "--yes")
        assert done.code == 1
        assert "line 2 (951): failed: " in done.err
        assert "No space left" in done.err

    def test_list_that_drifts(self, side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
        """A list that changes while it is read is read again, so that nothing is missed."""
        rows = [{"extension_number": str(number), side.listed: "Zoë"} for number in range(100, 112)]
        path = side.file(*rows)
        kind = kind_of(side.api)
        untouched = kind.extensions
        walks = []

        class Drifting:
            """A walk that misses an extension the first time, and shows another one twice."""

            def __init__(self, walk: Any) -> None:
                self.walk = walk
                walks.append(walk)
                self.drift = Drift(dropped=int(len(walks) == 1))

            async def __aiter__(self) -> Any:
                async for each in self.walk:
                    if each.extension_number != "105" or len(walks) > 1:
                        yield each

        monkeypatch.setattr(kind, "extensions", lambda *arguments: Drifting(untouched(*arguments)))
        plan = side.plan(path)
        assert (len(plan["create"]), len(plan["change"]), len(walks)) == (0, 12, 2)

    def test_signals(self, side: Side) -> None:
        """Changes in flight finish; the report has the rest, and completes the work."""
        name = "SIGTERM" if side.api == "classic" else "SIGINT"
        rows = [{"extension_number": str(number), side.shown: "new"} for number in range(100, 112)]
        path = side.file(*rows)
        side.fail(f"{side.resource}.update", latency=0.2, times=None)
        words = ("extensions", "apply", path, "--concurrency", "2")
        with on_terminal(*words, changes=side.cli.environment) as running:
            running.wait_for(lambda shown: "? [y/N]" in shown)
            running.type("y\n")
            running.wait_for(lambda _: side.acted[f"{side.resource}.update"] >= 2)
            running.process.send_signal(signal.Signals[name])
            code = running.end()
        assert code == (130 if name == "SIGINT" else 143)
        assert "changes in flight finish" in running.shown
        outcomes = [row["outcome"] for row in rows_of(side.folder / "people.report.csv")]
        assert 2 <= outcomes.count("changed") < 12
        assert outcomes.count("changed") + outcomes.count("not tried") == 12
        done = [side.value(row["extension_number"], side.shown) == "new" for row in rows]
        assert done.count(True) == outcomes.count("changed")

    def test_ctrl_c_at_the_question(
        self, make_pbx: PBXMaker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        side = make_side("v22", make_pbx, monkeypatch, tmp_path)
        path = side.file({"extension_number": "101", side.listed: "Zoë"})
        words = ("extensions", "apply", path)
        with on_terminal(*words, changes=side.cli.environment) as running:
            running.wait_for(lambda shown: "? [y/N]" in shown)
            running.process.send_signal(signal.SIGINT)
            assert running.end() == 130
        assert not side.writes()
        assert os.listdir(side.folder) == ["people.csv"]

    def test_large(
        self, make_pbx: PBXMaker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """10,000 extensions of which one differs take a hundred requests."""
        side = make_side("v22", make_pbx, monkeypatch, tmp_path, extensions=10_000)
        path = tmp_path / "all.csv"
        listed = side.cli("users", "list", "-o", "csv", "-c", "extension_number,department,enabled")
        path.write_text(listed.out.replace("\n5000,", "\n5000,X"))
        side.served.clear()
        assert side.plan(path)["unchanged"] == 9_999
        assert sum(side.served.values()) <= 110


# The plan itself, on a model of a PBX. One name stands for each kind of a field.
KNOWN = {api: Columns(kind_of(api)) for api in ("classic", "v22")}
KINDS = kind_of("v22")
TEXTS = st.sampled_from(["", "x", "y"])
FIELDS = {
    "department": TEXTS,
    "email": TEXTS,
    "enabled": st.booleans(),
    "available_no_answer_forward_rule.timeout": st.integers(0, 3),
    "office_hours.monday.enabled": st.booleans(),
    "blfs": st.lists(st.fixed_dictionaries({"key": TEXTS}, optional={"value": TEXTS}), max_size=2),
    "voicemail_pin": st.just("294751"),
}
SETTINGS = st.fixed_dictionaries({}, optional=FIELDS)
NUMBERS = st.sampled_from(["100", "101", "102", "0100"])


@settings(max_examples=50)
@given(
    existing=st.dictionaries(NUMBERS, SETTINGS),
    wanted=st.dictionaries(NUMBERS, SETTINGS, min_size=1),
    pruned=st.booleans(),
)
def test_plan_converges(
    tmp_path_factory: pytest.TempPathFactory,
    existing: dict[str, dict[str, Any]],
    wanted: dict[str, dict[str, Any]],
    pruned: bool,
) -> None:
    """After a plan was carried out, the next one is empty, and no other field has changed."""
    path = tmp_path_factory.mktemp("plan") / "x.jsonl"
    required = {"password": "a", "extension_password": "b", "voicemail_pin": "1", "role": "R"}
    required |= {"name": "n", "display_name": "d", "email": ""}
    lines = [{**fields, "extension_number": number} for number, fields in wanted.items()]
    lines = [line if line["extension_number"] in existing else required | line for line in lines]
    lines = [{**line, "email": line.get("email") or "e"} for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def plan() -> Any:
        rows = read_rows(path, KNOWN["v22"], parts=True).rows
        found = make_plan(rows, state, KNOWN["v22"], KINDS.changeable)
        assert not found.errors
        if pruned:
            prune(found, rows, dict.fromkeys(state, ""), {"102": "it stays"})
        return found

    state = {number: dict(fields) for number, fields in existing.items()}
    first = plan()
    for step in first.creations:
        state[step.number] = flat(step.row.document)
    for step in first.changes:
        state[step.number] |= flat(step.settings)
    for step in first.removals:
        del state[step.number]
    assert not plan().steps
    for number, fields in existing.items():
        if number in wanted:
            named = {"email", *wanted[number]}
            kept = {name: value for name, value in fields.items() if name not in named}
            assert kept.items() <= state[number].items()
        else:
            assert (number in state) == (not pruned or number == "102")
