"""The commands with a PBX of generation v22."""

import asyncio
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import typer

from portsip_async import v22
from portsip_async.cli.check import web_socket
from portsip_async.cli.fields import SECRETS, dotted
from portsip_async.cli.pbx.generation import kind_of
from portsip_async.simulator import PBXSimulator
from portsip_async.v22 import NewUser

from .conftest import PBXMaker
from .terminal import CommandLine

WAV = b"RIFF" + bytes(40)
SECRET = {
    "PORTSIP_NEW_PASSWORD": "Sign-in-1",
    "PORTSIP_NEW_EXTENSION_PASSWORD": "Phone-22",
    "PORTSIP_NEW_VOICEMAIL_PIN": "135790",
}
ANN = (
    *("--set", "name=ann", "--set", "display_name=Ann"),
    *("--set", "email=ann@test.io", "--set", "role=StandardUser"),
)


@pytest.fixture
def pbx(make_pbx: PBXMaker) -> PBXSimulator:
    return make_pbx(generations=("classic", "v22"))


@pytest.fixture
def cli(pbx: PBXSimulator, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The command line, which finds out by itself that the PBX is v22."""
    return command_line(pbx, monkeypatch)


def command_line(pbx: PBXSimulator, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    environment = {
        "PORTSIP_URL": pbx.url,
        "PORTSIP_USERNAME": pbx.username,
        "PORTSIP_PASSWORD": pbx.password,
        "PORTSIP_DOMAIN": pbx.domain,
    }
    return CommandLine(monkeypatch, environment)


def user(pbx: PBXSimulator, number: str) -> dict[str, Any]:
    return pbx.v22.user(pbx.v22.user_id(number))


class TestConnection:
    def test_one_question_a_run(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        """Without a chosen generation, one request finds it out; the classic login gets none."""
        assert cli("users", "list", "--limit", 1).code == 0
        assert pbx.v22.served["pbx.info"] == 1
        assert cli("users", "list", "--limit", 1, "--api", "v22").code == 0
        assert cli("users", "list", "--limit", 1, PORTSIP_API="v22").code == 0
        assert pbx.v22.served["pbx.info"] == 1
        assert not pbx.served

    def test_classic_can_be_chosen(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        done = cli("extensions", "list", "--limit", 1, "--api", "classic")
        assert "first_name" in json.loads(done.out)
        assert not pbx.v22.served

    def test_domain(self, cli: CommandLine) -> None:
        for words in ((), ("--domain", "test.io")):
            done = cli("users", "list", "--limit", 1, *words, PORTSIP_DOMAIN="other.example")
            assert done.code == (0 if words else 3)

    def test_token(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        """A token replaces the account, and a refresh token renews it."""
        done = cli("users", "list", "--limit", 1, PORTSIP_TOKEN="wrong")
        assert done.code == 3
        assert not pbx.v22.served["auth.sign_in"]
        cli("users", "list", PORTSIP_TOKEN="wrong", PORTSIP_REFRESH_TOKEN="wrong")
        assert pbx.v22.served["auth.refresh"] == 1

    def test_hint_for_a_token(self, cli: CommandLine) -> None:
        """It is about the token, which no user name or password would mend."""
        for api in ("v22", "classic"):
            done = cli("users", "list", "--api", api, PORTSIP_TOKEN="wrong")
            assert done.code == 3
            assert "set PORTSIP_TOKEN to a new token" in done.err
            assert "check user name" not in done.err
        # `whoami` begins with another operation, which carries the token, too.
        done = cli("whoami", "--api", "v22", PORTSIP_TOKEN="wrong")
        assert done.code == 3
        assert "set PORTSIP_TOKEN to a new token" in done.err

    def test_email_is_no_account(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        done = cli("users", "list", "--email", "admin@pbx.example")
        assert done.code == 2
        assert "no login by email address" in done.err
        assert not pbx.v22.served["auth.sign_in"]

    def test_login_where_only_classic_is(
        self, make_pbx: PBXMaker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old = command_line(make_pbx(generations=("classic",)), monkeypatch)
        for words in (("list",), ("status", "101"), ("remove", "1", "-y")):
            done = old("users", *words, "--api", "v22")
            assert done.code == 4
            assert "pass --api classic" in done.err
            assert "user name" not in done.err

    def test_moved_operation(self, cli: CommandLine) -> None:
        done = cli("users", "show", "101", "--endpoint", "users.show=/elsewhere/{id}")
        assert done.code == 4
        done = cli("users", "show", "101", "--endpoint", "extensions.show=/x")
        assert done.code == 2
        assert "no operation named 'extensions.show'" in done.err

    def test_options_of_the_classic_generation(self, cli: CommandLine) -> None:
        for words, option in (
            (("users", "list", "--sort-by", "DEFAULT"), "--sort-by"),
            (("groups", "create", "x", "--no-intercom"), "--intercom"),
            (("groups", "update", "x", "--console"), "--console"),
        ):
            done = cli(*words)
            assert done.code == 2
            assert f"generation v22 has no {option}" in done.err


class TestSecondFactor:
    """A login with a second factor prompts for the one-time password, on a terminal only."""

    @pytest.fixture
    def pbx(self, make_pbx: PBXMaker) -> PBXSimulator:
        return make_pbx(generations=("v22",), second_factor=True)

    @staticmethod
    def enter(
        monkeypatch: pytest.MonkeyPatch, pbx: PBXSimulator, wrong: int = 0
    ) -> list[dict[str, Any]]:
        """Answer the prompts, the first ones with a wrong code; return how they were asked."""
        asked: list[dict[str, Any]] = []

        def prompt(question: str, **options: Any) -> str:
            asked.append({"question": question, **options})
            assert pbx.v22.otp is not None
            return "wrong-code" if len(asked) <= wrong else f" {pbx.v22.otp}"

        monkeypatch.setattr(typer, "prompt", prompt)
        return asked

    @pytest.mark.parametrize("wrong", [0, 1])
    @pytest.mark.parametrize(
        "words", [("users", "list", "-o", "jsonl"), ("users", "status", "101"), ("check",)]
    )
    def test_prompts(
        self,
        wrong: int,
        words: tuple[str, ...],
        cli: CommandLine,
        pbx: PBXSimulator,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The code is hidden, and may be mistyped once."""
        asked = self.enter(monkeypatch, pbx, wrong)
        done = cli(*words, terminal=True)
        assert done.code == 0, done.err
        assert "101" in done.out or words == ("check",)
        assert len(asked) == 1 + wrong
        assert all(each["hide_input"] and each["err"] for each in asked)
        assert ("refused the one-time password" in done.err) is bool(wrong)
        assert pbx.v22.served["auth.send_otp"] == pbx.v22.tokens_issued == 1
        assert pbx.v22.otp is not None
        assert pbx.v22.otp not in done.out + done.err
        assert "wrong-code" not in done.out + done.err

    def test_wrong_twice(
        self, cli: CommandLine, pbx: PBXSimulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = self.enter(monkeypatch, pbx, wrong=2)
        done = cli("users", "remove", "101", "--yes", terminal=True)
        assert (done.code, len(asked)) == (3, 2)
        assert "another one-time password" in done.err
        assert "wrong-code" not in done.out + done.err
        assert "101" in pbx.extension_numbers

    def test_interrupted_prompt(
        self, cli: CommandLine, pbx: PBXSimulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(*_: object, **__: object) -> str:
            raise typer.Abort

        monkeypatch.setattr(typer, "prompt", interrupt)
        assert cli("users", "list", terminal=True).code == 130

    @pytest.mark.parametrize("words", [("users", "list"), ("users", "status", "1"), ("check",)])
    def test_without_a_terminal(self, words: tuple[str, ...], cli: CommandLine) -> None:
        done = cli(*words)
        assert done.code == 3
        assert "the PBX wants a second factor" in done.err
        assert "challenge" not in done.err
        assert "PORTSIP_TOKEN" in done.err

    def test_token_needs_none(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        assert cli("users", "list", terminal=True, PORTSIP_TOKEN="wrong").code == 3
        assert not pbx.v22.served["auth.send_otp"]

    def test_accounts_without_one(
        self, make_pbx: PBXMaker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They log in once, as without a terminal."""
        other = make_pbx(generations=("v22",))
        assert command_line(other, monkeypatch)("users", "list", terminal=True).code == 0
        assert other.v22.served["auth.sign_in"] == other.v22.tokens_issued == 1


class TestPeople:
    @pytest.mark.parametrize("command", ["extensions", "users"])
    def test_list(self, command: str, cli: CommandLine, pbx: PBXSimulator) -> None:
        rows = [json.loads(line) for line in cli(command, "list").lines]
        assert [row["extension_number"] for row in rows] == pbx.extension_numbers
        assert rows[0]["id"] == pbx.v22.user_id(pbx.extension_numbers[0])

    def test_pages(self, cli: CommandLine) -> None:
        done = cli("users", "list", "--page-size", 5, "--page", 3, "-o", "csv", "-c", "name")
        assert len(done.lines) == 3  # the names of the columns, and two users
        done = cli("users", "list", "--page-size", 101)
        assert done.code == 2
        assert "page_size" in done.err

    @pytest.mark.parametrize("numbers", [(100, 105), (101, 106)])
    def test_list_that_changes_meanwhile(
        self, numbers: tuple[int, int], cli: CommandLine, pbx: PBXSimulator
    ) -> None:
        """One line on a terminal says so: another count, and perhaps items that came twice."""
        items = [
            {"id": pbx.v22.user_id(str(number)), "extension_number": str(number)}
            for number in range(*numbers)
        ]
        pbx.v22.fail("users.list", body=json.dumps({"count": 13, "items": items}))
        done = cli("users", "list", "--page-size", 5, "-o", "jsonl", terminal=True)
        assert done.code == 0
        (line,) = [line for line in done.err.splitlines() if "changed" in line]
        twice = "1 items were received twice, and others" if numbers[1] == 106 else "some items"
        assert f"The list changed while it was read: {twice} may be missing." in line

    def test_list_that_stays(self, cli: CommandLine) -> None:
        done = cli("users", "list", "--page-size", 5, "-o", "jsonl", terminal=True)
        assert "changed" not in done.err

    def test_refused_filter(self, cli: CommandLine) -> None:
        done = cli("users", "list", "--filter", "((")
        assert done.code == 1
        assert "refuses an option" in done.err

    def test_table_is_narrow(self, cli: CommandLine) -> None:
        head = cli("users", "list", "-o", "table").lines[0].split()
        assert head == ["extension_number", "display_name", "email", "role"]

    def test_columns_are_those_of_the_generation(self, cli: CommandLine) -> None:
        done = cli("users", "list", "-c", "first_name")
        assert done.code == 2
        assert "display_name" in done.err

    def test_filter_and_order(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        number = pbx.extension_numbers[3]
        done = cli("users", "list", "--filter", f"extension_number eq '{number}'")
        assert [json.loads(line)["extension_number"] for line in done.lines] == [number]
        done = cli("users", "list", "--order-by", "extension_number desc", "--limit", 1)
        assert json.loads(done.out)["extension_number"] == pbx.extension_numbers[-1]

    def test_search(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        done = cli("users", "search", pbx.extension_numbers[0])
        assert pbx.extension_numbers[0] in done.out

    def test_show_hides_secrets(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        pin = user(pbx, "101")["voicemail_pin"]
        done = cli("users", "show", "101")
        assert json.loads(done.out)["voicemail_pin"] == "***"
        assert pin not in done.out
        assert pin in cli("users", "show", "101", "--reveal").out

    def test_fields_have_the_names_of_the_api(self, cli: CommandLine) -> None:
        shown = json.loads(cli("users", "show", "101", "-c", "office_hours").out)
        assert [*shown["office_hours"]["monday"]["ranges"][0]] == ["from", "to"]

    def test_unknown_number(self, cli: CommandLine) -> None:
        for words in (("show", "999"), ("update", "999", "--set", "department=x")):
            assert cli("users", *words).code == 4

    def test_create(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        done = cli(
            *("users", "create", "951", *ANN, "--set", "department=Sales & more"),
            *("--set", "available_no_answer_forward_rule.timeout=25"),
            *("--set", "enable_dnd=true", "--set", 'blfs=[{"key": "LINE", "value": "101"}]'),
            environment=SECRET,
        )
        assert (done.code, done.out, done.err) == (0, "", "")
        made = user(pbx, "951")
        assert made["department"] == "Sales & more"
        assert made["enable_dnd"] is True
        assert made["available_no_answer_forward_rule"]["timeout"] == 25
        assert made["blfs"] == [{"key": "LINE", "value": "101"}]
        assert made["voicemail_pin"] == "135790"

    def test_secrets_of_a_new_user_from_stdin(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        lines = f"{pbx.password}\nSign-in-1\nPhone-22\n135790\n" + '{"department": "Sales"}'
        done = cli(
            *("users", "create", "951", *ANN, "--password-stdin", "--new-passwords-stdin"),
            *("--settings", "-"),
            stdin=lines,
        )
        assert done.code == 0, done.err
        assert user(pbx, "951")["department"] == "Sales"

    def test_required_settings(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        done = cli("users", "create", "951", "--set", "name=ann", environment=SECRET)
        assert done.code == 2
        assert "missing settings: email, display_name, role" in done.err
        assert not pbx.v22.served["users.create"]

    @pytest.mark.parametrize(
        ("words", "document", "message"),
        [
            (("--set", "voicemail_pin=135790"), "", "is a secret"),
            (("--set", "departmnt=x"), "", "did you mean department?"),
            (("--set", "profile.first_name=Ann"), "", "must be a setting such as department=Sales"),
            (("--set", "enable_dnd=maybe"), "", "must be true or false"),
            (("--set", "blfs=x"), "", "must be a list in JSON"),
            (("--set", "id=x"), "", "must be a setting"),
            (("--settings", "-"), "[]", 'must be an object of settings, such as {"department"'),
            (("--settings", "-"), '{"nope": 1}', "no such setting: nope"),
            (("--settings", "-"), '{"extension_number": "9"}', "no such setting"),
            ((), "", "pass --set or --settings"),
        ],
    )
    def test_wrong_settings(
        self, words: tuple[str, ...], document: str, message: str, cli: CommandLine
    ) -> None:
        done = cli("users", "update", "101", *words, stdin=document)
        assert done.code == 2
        assert message in done.err
        assert "135790" not in done.err

    def test_update(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        """A secret comes from a file. Other settings stay as they are."""
        before = user(pbx, "101")
        settings = '{"voicemail_pin": "246813", "office_hours": {"mode": "CUSTOM"}}'
        done = cli(
            *("users", "update", "101", "--settings", "-", "--set", "department=Sales"),
            stdin=settings,
        )
        assert done.code == 0, done.err
        after = user(pbx, "101")
        assert (after["voicemail_pin"], after["department"]) == ("246813", "Sales")
        assert after["office_hours"]["mode"] == "CUSTOM"
        assert after["office_hours"]["monday"] == before["office_hours"]["monday"]
        assert after["display_name"] == before["display_name"]

    def test_unknown_field_inside_a_setting(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        done = cli(
            *("users", "update", "101", "--settings", "-"),
            stdin='{"office_hours": {"mod": "CUSTOM"}}',
        )
        assert done.code == 2
        assert "mod" in done.err
        assert not pbx.v22.served["users.update"]

    def test_remove(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        """Each number is looked up first; one that nothing has is reported, the others are gone."""
        done = cli("users", "remove", "101", "999", "102", "101", "--yes")
        assert done.code == 4
        assert "999" in done.err
        assert not {"101", "102"} & {*pbx.extension_numbers}
        assert len(pbx.extension_numbers) == 10

    def test_remove_skips_numbers_that_do_not_exist(
        self, cli: CommandLine, pbx: PBXSimulator
    ) -> None:
        line = ("users", "remove", "101", "999", "102", "101", "--yes", "--skip-missing")
        done = cli(*line, terminal=True)
        assert done.code == 0
        assert "Removed 2 of 4 extensions; 2 did not exist." in done.err
        assert cli(*line).code == 0
        assert pbx.v22.served["users.remove"] <= 3

    def test_remove_with_a_lost_reply(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        pbx.v22.fail("users.remove", drop=True, act=True)
        assert cli("users", "remove", "101", "--yes").code == 0
        assert "101" not in pbx.extension_numbers

    def test_status(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        pbx.set_status("102", "ON_CALL", presence="LUNCH", presence_note="back at two")
        done = cli("users", "status", "102", "999", "101", "-c", "extension_number,status,presence")
        assert done.code == 4
        assert "999" in done.err
        first, second = map(json.loads, done.lines)
        assert first == {"extension_number": "102", "status": "ON_CALL", "presence": "LUNCH"}
        assert second["extension_number"] == "101"

    def test_call(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        password = user(pbx, "101")["extension_password"]
        done = cli("users", "call", "101", "0044123", PORTSIP_AUTH=password)
        assert done.code == 0, done.err
        assert len(pbx.calls) == 1
        assert pbx.v22.served["calls.create_directly"] == 1

    def test_call_by_the_account(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        """Needs no password of a telephone, and prints the session's id."""
        done = cli("users", "call", "101", "0044123")
        assert (done.code, done.err) == (0, "")
        assert len(done.lines) == len(pbx.calls) == 1
        assert pbx.v22.served["calls.create"] == 1


class TestWatch:
    def test_lines(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        pbx.set_status("101", "ON_CALL", presence="AWAY")
        done = cli("users", "watch", "101", "--limit", 1)
        change = json.loads(done.out)
        assert (change["before"], change["after"]["status"]) == (None, "ON_CALL")
        assert change["after"]["presence"] == "AWAY"

    def test_all(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        done = cli("users", "watch", "--limit", 12, "-o", "csv", "-c", "extension_number")
        assert sorted(done.lines[1:]) == sorted(pbx.extension_numbers)

    def test_pbx_that_was_never_there(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        pbx.v22.fail("users.find", status=403, times=None)
        assert cli("users", "watch", "101", "--limit", 1).code == 1

    def test_details(self) -> None:
        kind = kind_of("v22")
        assert kind.detail(v22.ExtensionState("1", "ONLINE", "LUNCH", "at two")) == "LUNCH: at two"
        assert kind.detail(v22.ExtensionState("1", "ONLINE", "LUNCH", "")) == "LUNCH"
        assert kind.detail(v22.ExtensionState("1", "ONLINE")) == "presence unknown"


class TestGroups:
    @pytest.fixture
    def sales(self, cli: CommandLine) -> str:
        done = cli("groups", "create", "Sales", "--member", "101", "--description", "all of them")
        return str(json.loads(done.out)["id"])

    def test_create_and_show(self, sales: str, cli: CommandLine) -> None:
        shown = json.loads(cli("groups", "show", sales).out)
        assert shown == {
            "id": sales,
            "name": "Sales",
            "description": "all of them",
            "outbound_caller_ids": [],
            "members": ["101"],
        }
        rows = [json.loads(line) for line in cli("groups", "list").lines]
        assert {"id": sales, "name": "Sales", "description": "all of them"} in rows

    def test_create_with_an_unknown_member(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        """The id is told, because the group is there."""
        done = cli("groups", "create", "Sales", "--member", "999")
        assert done.code
        assert "the group was created and has the id" in done.err
        assert len(pbx.group_ids) == 4

    def test_update(self, sales: str, cli: CommandLine) -> None:
        done = cli("groups", "update", sales, "--name", "Support", "--add", "102", "--drop", "101")
        assert done.code == 0, done.err
        shown = json.loads(cli("groups", "show", sales).out)
        assert (shown["name"], shown["members"]) == ("Support", ["102"])
        assert shown["description"] == "all of them"

    def test_replace_all_members(self, sales: str, cli: CommandLine, pbx: PBXSimulator) -> None:
        done = cli("groups", "update", sales, "--member", "101", "--member", "103")
        assert done.code == 0, done.err
        assert sorted(pbx.group(sales)["members"]) == ["101", "103"]
        cli("groups", "update", sales, "--member", "102")
        assert pbx.group(sales)["members"] == ["102"]

    def test_remove(self, sales: str, cli: CommandLine, pbx: PBXSimulator) -> None:
        assert cli("groups", "remove", sales, "--yes").code == 0
        assert sales not in pbx.group_ids
        assert "101" in pbx.extension_numbers


class TestGreetings:
    def test_all(self, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path) -> None:
        sound = tmp_path / "hello.wav"
        sound.write_bytes(WAV)
        assert cli("greetings", "upload", "101", sound).code == 0
        (greeting,) = map(json.loads, cli("greetings", "list", "101").lines)
        assert greeting["file_name"] == "hello.wav"
        assert greeting["enabled"] is False
        assert cli("greetings", "setup", "101", greeting["id"]).code == 0
        (greeting,) = map(json.loads, cli("greetings", "list", "101").lines)
        assert greeting["enabled"] is True
        assert cli("greetings", "remove", "101", greeting["id"], "--yes").code == 0
        assert cli("greetings", "list", "101").lines == []

    def test_limit(self, cli: CommandLine, tmp_path: Path) -> None:
        sound = tmp_path / "hello.wav"
        sound.write_bytes(WAV)
        for _ in range(2):
            cli("greetings", "upload", "101", sound)
        assert len(cli("greetings", "list", "101", "--limit", 1).lines) == 1
        done = cli("greetings", "list", "101", "--page", 2)
        assert done.code == 2
        assert "lists all greetings at once" in done.err

    def test_not_from_a_url(self, cli: CommandLine) -> None:
        done = cli("greetings", "add", "101", "--from-url", "https://files.example/a.wav")
        assert done.code == 2
        assert "greetings upload" in done.err


class TestFiles:
    @pytest.fixture
    def pbx(self, make_pbx: PBXMaker) -> PBXSimulator:
        """A PBX of 22.3, which shows passwords, as an import needs them."""
        return make_pbx(generations=("classic", "v22"), quirks=("v22_3",))

    ODD: ClassVar[dict[str, Any]] = {
        "display_name": 'Ann "the\nboss", Ünal; ',
        "department": "=1+1",
        "custom_options": '{"a": [1, 2.50]}',
        "address": "",
        "blfs": [{"key": "LINE", "value": "101", "first_name": "Ö", "last_name": ""}],
        "outbound_caller_ids": [],
        "custom_forward_rules": [
            {
                "action": "FORWARD_TO_NUMBER",
                "number": "+44123",
                "caller_id": "0049*",
                "type": "ALL_HOURS",
                "hours": {
                    "monday": {"enabled": True, "ranges": [{"from": "08:00", "to": "09:30"}]}
                },
            }
        ],
        "office_hours": {
            "mode": "CUSTOM",
            "friday": {"enabled": False, "ranges": []},
            "saturday": {"enabled": True, "ranges": [{"from": "10:00", "to": "11:00"}]},
        },
        "busy_no_answer_forward_rule": {"action": "HANGUP", "number": "", "timeout": 5},
    }

    @pytest.mark.parametrize("form", ["csv", "jsonl"])
    def test_round_trip_is_exact(
        self,
        form: str,
        cli: CommandLine,
        make_pbx: PBXMaker,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        """What one PBX exported and another imported, the other exports byte for byte."""
        done = cli("users", "update", "101", "--settings", "-", stdin=json.dumps(self.ODD))
        assert done.code == 0, done.err
        first, second = tmp_path / f"first.{form}", tmp_path / f"second.{form}"
        assert cli("users", "export", first, "--reveal").code == 0
        other = make_pbx(generations=("v22",), extensions=0, quirks=("v22_3",))
        there = command_line(other, monkeypatch)
        done = there("users", "import", first)
        assert json.loads(done.out)["created"] == 12, done.err
        assert there("users", "export", second, "--reveal").code == 0
        assert second.read_text() == first.read_text()
        assert {name: user(other, "101")[name] for name in self.ODD if name != "office_hours"} == {
            name: value for name, value in self.ODD.items() if name != "office_hours"
        }

    def test_columns(self, cli: CommandLine) -> None:
        """Without --reveal no secret is in the file; read-only fields never are."""
        shown = [name for name in dotted(NewUser) if name not in SECRETS]
        assert cli("users", "export").lines[0].split(",") == shown
        head = cli("users", "export", "--reveal", "--limit", 1, "--search", "101").lines[0]
        assert head.split(",") == dotted(NewUser)

    def test_import_of_what_show_prints(
        self, cli: CommandLine, make_pbx: PBXMaker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Fields that the PBX decides about are left out."""
        file = tmp_path / "one.jsonl"
        file.write_text(cli("users", "show", "101", "-o", "jsonl", "--reveal").out)
        other = make_pbx(generations=("v22",), extensions=0, quirks=("v22_3",))
        done = command_line(other, monkeypatch)("users", "import", file)
        assert done.code == 0, done.err
        assert other.extension_numbers == ["101"]

    def test_rows_that_cannot_be_read(self, cli: CommandLine, tmp_path: Path) -> None:
        file = tmp_path / "people.csv"
        head = "extension_number,name,password,email,display_name,role,extension_password,"
        file.write_text(
            f"{head}voicemail_pin,blfs,enable_dnd\n"
            "951,ann,Sign-in-1,a@b.c,Ann,StandardUser,Phone-22,135790,x,\n"
            "952,bob,Sign-in-1,b@b.c,Bob,,Phone-22,135790,,\n"
            "953,cid,Sign-in-1,c@b.c,Cid,StandardUser,Phone-22,135790,,perhaps\n"
            '954,dan,Sign-in-1,d@b.c,Dan,StandardUser,Phone-22,135790,"[{""key"": 1}]",\n'
        )
        done = cli("users", "import", file, "--dry-run")
        assert done.code == 1
        assert "line 2 (951): blfs must be a list in JSON" in done.err
        assert "line 3 (952): has no role" in done.err
        assert "line 4 (953): enable_dnd must be true or false" in done.err
        assert "line 5 (954): " in done.err

    def test_misspelt_column(self, cli: CommandLine, tmp_path: Path) -> None:
        file = tmp_path / "people.csv"
        file.write_text("extension_number,available_non_office_hours_forward_rule.timeoutt\n1,2\n")
        done = cli("users", "import", file)
        assert done.code == 1
        assert "no such field" in done.err

    def test_file_of_the_classic_generation(
        self, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path
    ) -> None:
        """Its fields are other ones; the message names the generation that has them."""
        file = tmp_path / "people.csv"
        assert cli("extensions", "export", file, "--reveal", "--api", "classic").code == 0
        done = cli("users", "import", file)
        assert done.code == 1
        assert "its fields are those of the classic generation" in done.err
        assert "pass --api classic" in done.err
        assert not pbx.v22.served["users.create"]

    def test_existing_numbers_are_skipped(
        self, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path
    ) -> None:
        file = tmp_path / "people.csv"
        cli("users", "export", file, "--reveal")
        done = cli("users", "import", file)
        assert (json.loads(done.out)["failed"], done.code) == (12, 1)
        done = cli("users", "import", file, "--skip-existing")
        assert (json.loads(done.out)["skipped"], done.code) == (12, 0)
        plan = json.loads(cli("users", "import", file, "--dry-run").out)
        assert (plan["existing"], plan["new"]) == (12, 0)


class TestCheck:
    def test_report(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        """The simulator fits the models. Nothing is changed, and no telephone rings."""
        found = json.loads(cli("check", "-o", "json").out)
        assert found["generation"]["used"] == found["generation"]["detected"] == "v22"
        assert found["login"] == {
            "means": "username",
            "accepted": True,
            "problem": None,
            "seconds": 30,
            "role": None,
            "api_version": None,
        }
        states = {row["name"]: row["state"] for row in found["operations"]}
        assert states.pop("calls.show") == "not asked"
        assert {*states.values()} == {"fits"}
        assert not {*found["writes"]} & {*pbx.v22.served}
        assert not pbx.calls
        assert {*pbx.v22.served} <= {*states}

    def test_text_begins_with_the_generation(self, cli: CommandLine) -> None:
        lines = cli("check").lines
        assert lines[2].startswith("API       v22: ")
        assert (
            cli("check", "--api", "classic").lines[2].startswith("API       classic was chosen: ")
        )

    def test_hides_secrets_and_people(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        for form in ("json", "text"):
            out = cli("check", "-o", form).out
            held = user(pbx, "101")
            private = {pbx.username, pbx.password, pbx.domain, held["id"], held["name"]}
            assert not [word for word in private if word in out]

    def test_refused_login(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        done = cli("check", "-o", "json", PORTSIP_PASSWORD="wrong")
        assert done.code == 3
        assert json.loads(done.out)["login"]["accepted"] is False
        assert pbx.v22.served["auth.sign_in"] == 1

    def test_version_that_has_only_the_form_login(
        self, cli: CommandLine, pbx: PBXSimulator
    ) -> None:
        pbx.v22.fail("auth.sign_in", status=404, body="", times=None)
        done = cli("check", "-o", "json")
        assert done.code == 0, done.err
        found = json.loads(done.out)
        assert found["login"]["accepted"] is True
        (row,) = [row for row in found["operations"] if row["name"] == "auth.sign_in"]
        assert (row["state"], row["told"]) == (
            "not asked",
            "this version has only the form login",
        )

    def test_version_22_0(self, make_pbx: PBXMaker, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the version lacks is no defect."""
        old = make_pbx(generations=("v22",), quirks=("v22_0",))
        done = command_line(old, monkeypatch)("check", "-o", "json")
        assert done.code == 0, done.err
        states = {row["name"]: row["state"] for row in json.loads(done.out)["operations"]}
        assert states["auth.sign_in"] == states["auth.user"] == "not asked"

    def test_calls_without_a_trunk(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        assert cli("users", "call", "101", "102", PORTSIP_AUTH="x").code == 0
        states = {
            row["name"]: row["state"]
            for row in json.loads(cli("check", "-o", "json").out)["operations"]
        }
        assert states["calls.list"] == states["calls.show"] == "fits"

    def test_second_factor_is_reported(
        self, make_pbx: PBXMaker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        both = make_pbx(generations=("v22",), second_factor=True)
        done = command_line(both, monkeypatch)("check", "-o", "json")
        assert done.code == 3
        found = json.loads(done.out)
        assert found["login"]["accepted"] is False
        assert "second factor" in found["login"]["problem"]
        assert found["operations"][0]["state"] == "fits"

    def test_neither_generation(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        for name in ("pbx.info",):
            pbx.v22.fail(name, status=404, body="<html>No</html>", times=None)
        pbx.fail("account.verify", status=404, body="<html>No</html>", times=None)
        done = cli("check", "-o", "json")
        assert done.code == 4
        assert "Neither generation" in done.err
        assert json.loads(done.out)["address"]["reachable"] is True


class TestCheckOfTheWebSocket:
    """What `check` finds out about the web socket changes nothing about its exit code."""

    def found(self, cli: CommandLine, code: int = 0, **environment: str) -> dict[str, Any]:
        done = cli("check", "-o", "json", environment=environment)
        assert done.code == code, done.err
        found: dict[str, Any] = json.loads(done.out)["web_socket"]
        return found

    def test_works(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        found = self.found(cli)
        assert found.pop("seconds") < 2
        assert found == {"state": "works", "detail": "", "hint": "", "acknowledged": True}
        assert any("the web socket works: the first status " in one for one in cli("check").lines)

    @pytest.mark.parametrize(
        ("status", "state"), [(404, "nothing there"), (401, "refused"), (503, "refused")]
    )
    def test_refused_handshake(
        self, status: int, state: str, cli: CommandLine, pbx: PBXSimulator
    ) -> None:
        pbx.v22.socket.refuse(status=status, times=None)
        found = self.found(cli)
        assert (found["state"], found["detail"]) == (state, f"HTTP {status}")
        assert "proxy" in found["hint"]

    def test_login_refused(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        pbx.v22.socket.refuse_login()
        assert self.found(cli)["state"] == "login refused"

    def test_subscription_refused(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        pbx.v22.socket.refuse_topic("extension_events")
        found = self.found(cli)
        assert found["state"] == "subscription refused"
        assert "a user of the tenant" in found["hint"]

    def test_no_acknowledgement(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        pbx.v22.socket.acknowledges = False
        found = self.found(cli)
        assert (found["state"], found["acknowledged"]) == ("works", False)

    @pytest.mark.parametrize("failing", [False, True])
    def test_silent(self, failing: bool, cli: CommandLine, pbx: PBXSimulator) -> None:
        """A state that the watch reads through REST does not count, nor that this fails."""
        pbx.v22.socket.sends_states = False
        if failing:
            pbx.v22.fail("users.status", status=500, times=None)
        found = self.found(cli, code=int(failing))
        assert (found["state"], found["detail"]) == ("silent", "no state arrives")

    def test_handshake_without_a_reply(
        self, cli: CommandLine, pbx: PBXSimulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(web_socket, "_PATIENCE", 0.5)
        pbx.v22.socket.delay(60)
        found = self.found(cli)
        assert (found["state"], found["detail"]) == ("silent", "there is no reply")

    def test_token(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        async def token() -> str:
            async with v22.PortSIPClient(
                pbx.url, username=pbx.username, password=pbx.password, domain=pbx.domain
            ) as client:
                return (await client.auth.refresh()).access_token

        found = self.found(cli, PORTSIP_TOKEN=asyncio.run(token()))
        assert found["state"] == "not tried"
        assert "password" in found["detail"]

    def test_no_extension(self, make_pbx: PBXMaker, monkeypatch: pytest.MonkeyPatch) -> None:
        empty = make_pbx(generations=("v22",), extensions=0)
        assert self.found(command_line(empty, monkeypatch))["state"] == "not tried"

    def test_classic_has_none(self, cli: CommandLine) -> None:
        done = cli("check", "-o", "json", "--api", "classic")
        assert json.loads(done.out)["web_socket"] is None
        assert not any("web socket" in line for line in cli("check", "--api", "classic").lines)
