"""The commands for single extensions, ``groups`` and ``greetings``."""

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

import portsip_async
from portsip_async import v22
from portsip_async.cli.fields import SECRETS
from portsip_async.cli.terminal.progress import Progress
from portsip_async.simulator import PBXSimulator

from .conftest import PBXMaker, environment_of
from .terminal import CommandLine, Done, Stream

NEW = {"PORTSIP_NEW_PASSWORD": "sip-Secret", "PORTSIP_NEW_WEB_ACCESS_PASSWORD": "web-Secret"}


class TestShow:
    def test_hides_secrets(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        held = pbx.extension("101")
        secrets = [
            held["password"],
            held["web_access_password"],
            held["voice_mail"]["voicemail_pin"],
        ]
        for form in ("table", "json", "jsonl", "csv"):
            done = cli("extensions", "show", "101", "-o", form)
            assert not [secret for secret in secrets if secret in done.out]
            assert "***" in done.out
            revealed = cli("extensions", "show", "101", "-o", form, "--reveal").out
            assert all(secret in revealed for secret in secrets)

    def test_every_secret_of_every_model_is_known(self) -> None:
        """The command line hides each field that the SDK's reprs hide."""
        hidden = set()
        for model in [
            *(getattr(portsip_async, name) for name in portsip_async.__all__),
            *(v22.User, v22.NewUser, v22.UserSettings),
        ]:
            if isinstance(model, type) and issubclass(model, msgspec.Struct):
                fields = model.__struct_fields__
                shown = repr(model(**dict.fromkeys(fields, "plain")))
                hidden |= {field for field in fields if f"{field}=***" in shown}
        # No output holds a token or its fields. The last one is a flag, which is shown.
        tokens = {"token", "access_token", "refresh_token"}
        assert hidden - tokens - {"enable_voicemail_pin"} == {*SECRETS}

    def test_unknown_extension(self, cli: CommandLine) -> None:
        done = cli("extensions", "show", "999")
        assert (done.code, done.out) == (4, "")
        assert [line[:15] for line in done.err.splitlines()] == [
            "portsip-async: ",
            "Hint: 'list' sh",
        ]

    @pytest.mark.parametrize("resource", ["extensions", "groups"])
    def test_empty(self, resource: str, cli: CommandLine, pbx: PBXSimulator) -> None:
        """A value that the SDK refuses before sending is wrong usage."""
        done = cli(resource, "show", "")
        assert done.code == 2
        assert "must not be empty" in done.err
        assert done.err.endswith(f"\nHint: portsip-async {resource} show --help\n")
        assert not pbx.served


class TestCreate:
    def test_passwords_from_the_environment(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        done = cli(
            *("extensions", "create", "555", "--set", "profile.first_name=Ann"),
            *("-s", "options.enable_extension=false"),
            *("-s", "forward_rules.available.no_answer_timeval=33"),
            environment=NEW,
        )
        assert (done.code, done.out, done.err) == (0, "", "")
        held = pbx.extension("555")
        assert (held["password"], held["web_access_password"]) == ("sip-Secret", "web-Secret")
        assert held["profile"]["first_name"] == "Ann"
        assert held["options"]["enable_extension"] is False
        assert held["forward_rules"]["available"]["no_answer_timeval"] == 33

    def test_passwords_from_stdin(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        """Three lines of standard input: the login's password, then the two new ones."""
        done = cli(
            *("extensions", "create", "555", "--password-stdin", "--new-passwords-stdin"),
            stdin=f"{pbx.password}\nfirst\nsecond\n",
            PORTSIP_PASSWORD=None,
        )
        assert done.code == 0
        held = pbx.extension("555")
        assert (held["password"], held["web_access_password"]) == ("first", "second")

    def test_without_passwords(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        done = cli("extensions", "create", "555")
        assert done.code == 2
        assert "Hint: set PORTSIP_NEW_PASSWORD" in done.err
        done = cli("extensions", "create", "555", "--new-passwords-stdin", stdin="one\n")
        assert done.code == 2
        assert "no line with a web access password" in done.err
        assert not pbx.served

    def test_existing_number(self, cli: CommandLine) -> None:
        done = cli("extensions", "create", "101", environment=NEW)
        assert done.code == 1
        assert "change it with 'update'" in done.err

    def test_says_so_on_a_terminal(self, cli: CommandLine) -> None:
        assert (
            "Created extension 555."
            in cli("extensions", "create", "555", terminal=True, environment=NEW).err
        )


class TestUpdate:
    def test_patches(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        before = pbx.extension("101")
        assert cli("extensions", "update", "101", "--set", "profile.email=ann@x.y").code == 0
        after = pbx.extension("101")
        assert after["profile"] == {**before["profile"], "email": "ann@x.y"}
        assert after["forward_rules"] == before["forward_rules"]

    def test_settings_file(self, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path) -> None:
        """A file may set pins, null, and fields unknown to the SDK; --set overrides it."""
        profile = pbx.extension("101")["profile"] | {"x_new": 0}
        pbx._pbx.update_extension("101", {"profile": profile})
        file = tmp_path / "settings.json"
        file.write_text(
            json.dumps(
                {
                    "voice_mail": {"voicemail_pin": "4711"},
                    "profile": {"x_new": 1, "email": None, "first_name": "Bob"},
                }
            )
        )
        done = cli(
            "extensions", "update", "101", "--settings", file, "-s", "profile.first_name=Cid"
        )
        assert done.code == 0
        held = pbx.extension("101")
        assert held["voice_mail"]["voicemail_pin"] == "4711"
        assert (held["profile"]["x_new"], held["profile"]["email"]) == (1, None)
        assert held["profile"]["first_name"] == "Cid"

    @pytest.mark.parametrize(
        ("arguments", "stdin", "message"),
        [
            ((), "", "pass --set or --settings"),
            (("--set", "voice_mail.voicemail_pin=1"), "", "is a secret"),
            (("--set", "password=1"), "", "is a secret"),
            (("--set", "profile.fist_name=A"), "", "did you mean profile.first_name"),
            (("--set", "zzzzzz=A"), "", "see 'extensions show'"),
            (("--set", "profile.first_name"), "", "must be FIELD=VALUE, such as"),
            (("--set", "options.enable_extension=maybe"), "", "must be true or false"),
            (
                ("--set", "forward_rules.available.no_answer_timeval=x"),
                "",
                "must be a whole",
            ),
            (("--settings", "-"), "{", "not JSON, see line 1"),
            (("--settings", "-"), "[1]", "must be an object of sections"),
            (("--settings", "-"), '{"profile": 1}', "must be an object of sections"),
            (("--settings", "-"), '{"nope": {}}', "no such section: nope"),
            (("--settings", "/no/such/file"), "", "No such file"),
        ],
    )
    def test_usage(
        self,
        arguments: tuple[str, ...],
        stdin: str,
        message: str,
        cli: CommandLine,
        pbx: PBXSimulator,
    ) -> None:
        done = cli("extensions", "update", "101", *arguments, stdin=stdin)
        assert done.code == 2
        assert message in done.err
        assert len(done.err.splitlines()) == 2
        assert not pbx.served

    def test_unknown_field(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        """A field that the PBX lacks is wrong usage, and nothing changes."""
        settings = '{"profile": {"firstname": "Zed"}}'
        done = cli("extensions", "update", "101", "--settings", "-", stdin=settings)
        assert (done.code, done.out) == (2, "")
        assert 'did you mean "first_name"?' in done.err
        assert len(done.err.splitlines()) == 2
        assert pbx.served["extensions.update"] == 0


class TestRemove:
    def test_yes(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        done = cli("extensions", "remove", "101", "102", "--yes")
        assert (done.code, done.out, done.err) == (0, "", "")
        assert not {"101", "102"} & {*pbx.extension_numbers}

    @pytest.mark.parametrize(("answer", "code", "gone"), [(True, 0, True), (False, 1, False)])
    def test_asks_on_a_terminal(
        self,
        answer: bool,
        code: int,
        gone: bool,
        cli: CommandLine,
        pbx: PBXSimulator,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        asked: list[str] = []

        def confirm(question: str, *, err: bool) -> bool:
            asked.append(question)
            return answer

        monkeypatch.setattr(typer, "confirm", confirm)
        assert cli("extensions", "remove", "101", terminal=True).code == code
        assert asked == ["Remove extension 101?"]
        assert ("101" not in pbx.extension_numbers) is gone

    @pytest.mark.parametrize(
        "arguments",
        [
            ("extensions", "remove", "101"),
            ("groups", "remove", "1"),
            ("greetings", "remove", "1", "a"),
        ],
    )
    def test_needs_yes_without_a_terminal(
        self, arguments: tuple[str, ...], cli: CommandLine, pbx: PBXSimulator
    ) -> None:
        done = cli(*arguments)
        assert done.code == 2
        assert "Hint: pass --yes" in done.err
        assert not pbx.served

    def test_some_fail(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        """The other extensions are removed; failures of one kind give that kind's exit code."""
        done = cli("extensions", "remove", "998", "101", "999", "-y")
        assert done.code == 4
        assert "998" in done.err
        assert "999" in done.err
        assert "101" not in pbx.extension_numbers

    def test_failures_of_two_kinds(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        pbx.fail("extensions.remove", status=403, err_code=403.1)
        assert cli("extensions", "remove", "101", "-y").code == 1
        pbx.fail("extensions.remove", status=403, err_code=403.1)
        assert cli("extensions", "remove", "101", "999", "-y").code in (1, 4)

    def test_skips_numbers_that_do_not_exist(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        """A removal can be repeated. What was skipped doesn't count as removed."""
        line = ("extensions", "remove", "101", "102", "998", "-y", "--skip-missing")
        done = cli(*line, terminal=True)
        assert done.code == 0
        assert "Removed 2 of 3 extensions; 1 did not exist." in done.err
        assert not {"101", "102"} & {*pbx.extension_numbers}
        assert cli(*line).code == 0

    def test_numbers_from_stdin(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        assert cli("extensions", "remove", "-", "-y", stdin="101\n\n102 \n").code == 0
        assert len(pbx.extension_numbers) == 10
        assert cli("extensions", "remove", "-", "-y", stdin="\n").code == 2


class TestStatus:
    def test_in_order(self, cli: CommandLine) -> None:
        done = cli("extensions", "status", "105", "101", "-o", "csv", "-c", "extension_number")
        assert done.lines == ["extension_number", "105", "101"]

    def test_unknown_number(self, cli: CommandLine) -> None:
        """An unknown number does not hide the status of the others."""
        done = cli("extensions", "status", "101", "999", "102")
        assert [json.loads(line)["extension_number"] for line in done.lines] == ["101", "102"]
        assert done.code == 4
        assert "portsip-async: 999: " in done.err

    def test_many_unknown_numbers_are_one_line(self, cli: CommandLine) -> None:
        """Failures with one reason share a line, although each message names its extension."""
        done = cli("extensions", "status", "-", stdin="\n".join(map(str, range(900, 940))))
        assert done.code == 4
        first, *hints = done.err.splitlines()
        assert first.startswith("portsip-async: 900, 901, 902, 903, 904 and 35 more: ")
        assert len(hints) == 1

    def test_hint_is_shown_once(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        """Two reasons with the same hint show it once."""
        pbx.fail("extensions.remove", status=400, err_code=400.1)
        pbx.fail("extensions.remove", status=400, err_code=400.2)
        done = cli("extensions", "remove", "101", "102", "-y")
        assert done.code == 1
        assert [line.partition(": ")[0] for line in done.err.splitlines()] == [
            "portsip-async",
            "Hint",
            "portsip-async",
        ]

    def test_failed_removal_names_what_was_removed(
        self, cli: CommandLine, pbx: PBXSimulator
    ) -> None:
        done = cli("extensions", "remove", "101", "102", "99777", "-y")
        assert done.code == 4
        assert "99777: " in done.err
        assert "removed 2 of 3 extensions: 101, 102" in done.err
        assert not {"101", "102"} & {*pbx.extension_numbers}

    def test_interrupted_removal_names_what_was_removed(
        self, cli: CommandLine, pbx: PBXSimulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Ctrl-C in the middle of a removal shows which extensions are gone."""
        results: list[None] = []

        def advance(_: Progress) -> None:
            results.append(None)
            if len(results) == 3:
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(Progress, "advance", advance)
        numbers = pbx.extension_numbers
        pbx.fail("extensions.remove", latency=0.05, times=None)
        done = cli("extensions", "remove", *numbers, "-y")
        assert done.code == 130
        line = done.err.splitlines()[-1]
        assert f" of {len(numbers)} extensions: " in line
        listed = line.rpartition(": ")[2].split(", ")
        assert {*listed} == {*numbers} - {*pbx.extension_numbers}

    def test_many_removed_are_counted(self, make_pbx: PBXMaker, cli: CommandLine) -> None:
        pbx = make_pbx(extensions=40)
        numbers = pbx.extension_numbers
        done = cli("extensions", "remove", *numbers, "9999", "-y", environment=environment_of(pbx))
        assert "removed 40 of 41 extensions: " in done.err
        assert " and 20 more" in done.err

    def test_failed_group_update_names_the_steps_that_were_done(
        self, cli: CommandLine, pbx: PBXSimulator
    ) -> None:
        group = pbx.group_ids[1]
        pbx.fail("groups.update", latency=0.001)  # goes through
        pbx.fail("groups.update", status=400, err_code=400.1, times=None)
        done = cli("groups", "update", group, "--name", "New", "--add", "101", "--drop", "102")
        assert done.code == 1
        assert f"group {group}: changed; the next step failed" in done.err
        assert pbx.group(group)["group_name"] == "New"

    def test_many_failures_are_one_line(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        pbx.fail("extensions.status", status=500, times=None)
        done = cli("extensions", "status", *range(100, 110))
        assert (done.code, done.out) == (1, "")
        assert len(done.err.splitlines()) == 2
        assert "100, 101, 102, 103, 104 and 5 more: " in done.err


class TestCall:
    def test_rings(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        done = cli("extensions", "call", "101", "555", "--domain", "d.example", PORTSIP_AUTH="x")
        assert done.code == 0
        (call,) = pbx.calls
        assert (call.extension, call.to, call.domain, call.src) == (
            "101",
            "555",
            "d.example",
            "101",
        )

    def test_password_from_stdin(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        arguments = ("extensions", "call", "101", "555", "--auth-stdin", "--src", "9")
        assert cli(*arguments, stdin="x\n", PORTSIP_DOMAIN="d.example").code == 0
        assert pbx.calls[0].src == "9"

    def test_lost_reply(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        """A call without a reply is not repeated, and the error says that it may have rung."""
        pbx.fail("extensions.call", drop=True, act=True)
        done = cli("extensions", "call", "101", "5", "--domain", "d", PORTSIP_AUTH="se-cr-et")
        assert done.code == 5
        assert "may have acted" in done.err
        assert "se-cr-et" not in done.err
        assert len(pbx.calls) == 1


class TestGroups:
    def created(self, cli: CommandLine, *options: str) -> str:
        done = cli("groups", "create", "Sales", *options)
        assert done.code == 0
        group_id: str = json.loads(done.out)["group_id"]
        return group_id

    def test_list(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        rows = [json.loads(line) for line in cli("groups", "list").lines]
        assert [row["group_id"] for row in rows] == pbx.group_ids

    def test_create_and_show(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        group_id = self.created(
            cli, "--member", "101", "--member", "102", "--no-intercom", "--description", "Who sells"
        )
        shown = json.loads(cli("groups", "show", group_id, "-o", "json").out)
        assert shown == pbx.group(group_id)
        assert shown["members"] == ["101", "102"]
        assert (shown["enable_intercom"], shown["enable_external_call"]) == (False, True)

    def test_update_patches(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        group_id = self.created(cli, "--member", "101", "--member", "102")
        before = pbx.group(group_id)
        done = cli("groups", "update", group_id, "--console", "--add", "103", "--drop", "101")
        assert done.code == 0
        assert pbx.group(group_id) == {
            **before,
            "enable_management_console_access": True,
            "members": ["102", "103"],
        }
        assert cli("groups", "update", group_id, "--member", "105").code == 0
        assert pbx.group(group_id)["members"] == ["105"]

    def test_update_nothing(self, cli: CommandLine) -> None:
        assert cli("groups", "update", "1").code == 2

    def test_remove(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        group_id = self.created(cli)
        assert cli("groups", "remove", group_id, "-y").code == 0
        assert group_id not in pbx.group_ids
        assert cli("groups", "remove", group_id, "-y").code == 4


class TestGreetings:
    def uploaded(self, cli: CommandLine, path: Path, *options: str, terminal: bool = False) -> Done:
        path.write_bytes(b"RIFF" * 50_000)
        done = cli("greetings", "upload", "101", path, *options, terminal=terminal)
        assert done.code == 0
        return done

    def test_upload(self, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path) -> None:
        self.uploaded(cli, tmp_path / "hello.wav")
        self.uploaded(cli, tmp_path / "other.wav", "--filename", "bye.wav")
        held = pbx.greetings("101")
        assert set(held) == {"hello.wav", "bye.wav"}
        assert held["hello.wav"].sha256 == hashlib.sha256(b"RIFF" * 50_000).hexdigest()

    def test_upload_shows_a_bar(self, cli: CommandLine, tmp_path: Path) -> None:
        err = self.uploaded(cli, tmp_path / "hello.wav", terminal=True).err
        assert "Uploading hello.wav" in err
        assert "200.0/200.0 kB" in err

    def test_upload_again_after_a_refusal(
        self, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path
    ) -> None:
        """A repeated upload reads the file again, and the progress bar starts again."""
        pbx.fail("greetings.upload", status=503, retry_after=0)
        err = self.uploaded(cli, tmp_path / "hello.wav", terminal=True).err
        assert pbx.served["greetings.upload"] == 2
        assert pbx.greetings("101")["hello.wav"].size == 200_000
        assert "400.0" not in err

    def test_setup_list_remove(self, cli: CommandLine, tmp_path: Path) -> None:
        self.uploaded(cli, tmp_path / "hello.wav")
        assert cli("greetings", "setup", "101", "hello.wav").code == 0
        listed = cli("greetings", "list", "101").out
        assert json.loads(listed) == {"filename": "hello.wav", "enabled": True}
        assert cli("greetings", "remove", "101", "hello.wav", "-y").code == 0
        assert cli("greetings", "list", "101").out == ""
        assert cli("greetings", "setup", "101", "hello.wav").code == 4

    def test_add(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        assert cli("greetings", "add", "101", "--from-url", "https://x.example/a.wav").code == 0
        assert pbx.greetings("101")["a.wav"].url == "https://x.example/a.wav"
        assert cli("greetings", "add", "101").code == 2

    def test_no_such_file(self, cli: CommandLine) -> None:
        done = cli("greetings", "upload", "101", "/no/such.wav")
        assert done.code == 2
        assert "FILE: there is no file /no/such.wav" in done.err


class TestGroupNames:
    def group(self, cli: CommandLine, name: str, *members: str) -> str:
        """Create a group, and return its id."""
        options = [word for member in members for word in ("--member", member)]
        created = json.loads(cli("groups", "create", name, *options).out)
        return str(created.get("group_id") or created["id"])

    @pytest.fixture(params=["classic", "v22"])
    def cli(self, request: pytest.FixtureRequest, make_pbx: Any, monkeypatch: Any) -> CommandLine:
        api = request.param
        pbx = make_pbx(generations=("classic", "v22"))
        domain = {"PORTSIP_DOMAIN": pbx.domain, "PORTSIP_API": api}
        return CommandLine(monkeypatch, {**environment_of(pbx), **domain})

    def test_name_or_id(self, cli: CommandLine) -> None:
        group = self.group(cli, "Sales and support", "101")
        for name in ("Sales and support", group):
            assert "101" in cli("groups", "show", name).out
        assert cli("groups", "update", "Sales and support", "--add", "102").code == 0
        assert "102" in cli("groups", "show", group).out
        assert cli("groups", "remove", "Sales and support", "--yes").code == 0
        done = cli("groups", "show", "Sales and support")
        assert (done.code, done.err.splitlines()[0]) == (
            4,
            "portsip-async: no group has the name or the id Sales and support",
        )

    def test_name_that_is_not_unique(self, cli: CommandLine) -> None:
        """A name that means two groups is refused, also if it is the id of one of them."""
        group = self.group(cli, "First", "101")
        other = self.group(cli, group, "102")
        done = cli("groups", "remove", group, "--yes")
        assert done.code == 2
        assert group in done.err
        assert other in done.err
        assert cli("groups", "show", "First").code == 0

    def test_watch(self, cli: CommandLine) -> None:
        self.group(cli, "Sales", "103", "101")
        self.group(cli, "Nobody")
        words = ("extensions", "watch", "--interval", "0.1", "-o", "csv", "-c", "extension_number")
        done = cli(*words, "--group", "Sales", "--limit", 2)
        assert (done.code, sorted(done.lines)) == (0, ["101", "103", "extension_number"])
        assert cli(*words, "--group", "Nobody").code == 1
        assert cli(*words, "--group", "Missing").code == 4
        assert cli(*words, "101", "--group", "Sales").code == 2

    @pytest.mark.parametrize("numbers", [(), ("101", "102")])
    def test_names_on_the_board(self, cli: CommandLine, numbers: tuple[str, ...]) -> None:
        """The board shows names, read from the list or one by one."""
        row = json.loads(cli("extensions", "list", "--limit", "2", "-o", "json").out)[1]
        name = row.get("display_name") or f"{row['first_name']} {row['last_name']}"

        class Screen(Stream):
            def write(self, text: str) -> int:
                if name in text:
                    signal.raise_signal(signal.SIGINT)
                return super().write(text)

        out = Screen(terminal=True)
        assert cli("extensions", "watch", *numbers, out=out, terminal=True).code == 130
