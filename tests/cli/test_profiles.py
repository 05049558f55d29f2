"""Named PBXes: the config file, their passwords, and commands for all of them."""

import asyncio
import json
import multiprocessing
import os
import pwd
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keyring
import keyring.backend
import keyring.errors
import pytest
import typer

from portsip_async import PortSIPClient
from portsip_async.cli.profiles.profile_file import change_profiles
from portsip_async.simulator import PBXSimulator

from .conftest import PBXMaker
from .processes import on_terminal
from .terminal import CommandLine, Done

LIST = ("extensions", "list", "--limit", 1, "--columns", "extension_number")
SECRET = "the-Other-1"


class MemoryKeyring(keyring.backend.KeyringBackend):
    """A keyring in memory, which may be locked."""

    priority = 1.0

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # it has no annotations
        self.entries: dict[tuple[str, str], str] = {}
        self.locked = False

    def get_password(self, service: str, username: str) -> str | None:
        self._check()
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._check()
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self._check()
        del self.entries[service, username]

    def _check(self) -> None:
        if self.locked:
            raise keyring.errors.KeyringLocked("it says\nSECRET")


@pytest.fixture(autouse=True)
def ring() -> Iterator[MemoryKeyring]:
    before = keyring.get_keyring()
    ring = MemoryKeyring()
    keyring.set_keyring(ring)
    yield ring
    keyring.set_keyring(before)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "config.toml"


@pytest.fixture
def run(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The command line with a config file, and no PBX in the environment."""
    variables = {"PORTSIP_CONFIG": str(config), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    return CommandLine(monkeypatch, variables)


@pytest.fixture
def other(make_pbx: PBXMaker) -> PBXSimulator:
    """A PBX of v22, where another password is valid."""
    return make_pbx(extensions=3, generations=("v22",))


def add(run: CommandLine, name: str, pbx: PBXSimulator, *more: Any, stdin: str = "") -> Done:
    words = ("profiles", "add", name, "--url", pbx.url, "-u", pbx.username, *more)
    return run(*words, "--password-stdin", stdin=stdin or pbx.password)


class TestFile:
    def test_add_list_remove(
        self, run: CommandLine, pbx: PBXSimulator, config: Path, ring: MemoryKeyring
    ) -> None:
        """The file has no password, and only its owner can read it."""
        assert add(run, "acme", pbx, "--default").code == 0
        assert pbx.password not in config.read_text()
        assert list(ring.entries.values()) == [pbx.password]
        assert stat.S_IMODE(config.stat().st_mode) == 0o600
        (listed,) = json.loads(run("profiles", "list", "--output", "json").out)
        assert listed == {
            "name": "acme",
            "url": pbx.url,
            "api": "auto",
            "account": pbx.username,
            "domain": None,
            "default": True,
            "password": "keyring",
        }
        assert run("profiles", "remove", "acme").code == 2  # nobody to confirm
        assert run("profiles", "remove", "acme", "--yes").code == 0
        assert (ring.entries, json.loads(run("profiles", "list", "-o", "json").out)) == ({}, [])

    def test_change_keeps_comments(self, run: CommandLine, pbx: PBXSimulator, config: Path) -> None:
        config.parent.mkdir()
        config.write_text('# mine\n[profiles.old]\nurl = "https://old.example"  # keep\n')
        assert add(run, "acme", pbx).code == 0
        assert config.read_text().startswith(
            '# mine\n[profiles.old]\nurl = "https://old.example"  # keep\n'
        )

    def test_existing_name(self, run: CommandLine, pbx: PBXSimulator, config: Path) -> None:
        add(run, "acme", pbx)
        before = config.read_text()
        done = run("profiles", "add", "acme", "--url", "https://b.example", "-u", "b")
        assert (done.code, config.read_text()) == (2, before)
        assert "--yes" in done.err
        words = ("--url", "https://b.example", "--email", "b@b.example", "--yes")
        assert run("profiles", "add", "acme", *words).code == 0
        assert 'email = "b@b.example"' in config.read_text()
        assert "username" not in config.read_text()

    def test_new_password(
        self, run: CommandLine, pbx: PBXSimulator, config: Path, ring: MemoryKeyring
    ) -> None:
        """Without --url, what is left out stays."""
        add(run, "acme", pbx, "--timeout", 20, stdin="wrong")
        words = ("profiles", "add", "acme", "--rate", "50", "--password-stdin", "--yes")
        assert run(*words, stdin=pbx.password, PORTSIP_URL="https://b.example").code == 0
        assert "timeout = 20" in config.read_text()
        assert "rate = 50" in config.read_text()
        assert list(ring.entries.values()) == [pbx.password]
        assert run(*LIST, "--profile", "acme").code == 0

    @pytest.mark.parametrize(
        ("text", "line", "message"),
        [
            ("[profiles.a\n", 1, "not valid TOML"),
            ('[profiles.a]\nurl = "https://a"\npassword = "hunter22"\n', 3, "secrets"),
            ('[profiles.a]\nurl = "https://a"\ntoken = "hunter22"\n', 3, "secrets"),
            ('[profiles.a]\nurl = "https://a"\ninsecure = true\n', 3, "insecure"),
            ('[profiles.a]\nurl = "https://a"\nhunter22 = 1\n', 3, "unknown key"),
            ('hunter22 = 1\n[profiles.a]\nurl = "https://a"\n', 1, "unknown key"),
            ('[profiles.a]\nurl = "https://a"\n\ntimeout = "soon"\n', 4, "must be a number"),
            ('[profiles.a]\nurl = "https://a"\nrate = true\n', 3, "must be a number"),
            ('[profiles.a]\nurl = "https://a"\nendpoint = [1]\n', 3, "a list of texts"),
            ('[profiles.a]\nurl = "https://me:hunter22@a"\n', 2, "must not hold"),
            ('[profiles.a]\nurl = "https://a"\nproxy = "http://me:hunter22@p"\n', 3, "PROXY"),
            ('[profiles.a]\nusername = "me"\n', 1, "url is missing"),
            ('[profiles.a]\nurl = "https://a"\napi = "v23"\n', 3, "auto, classic or v22"),
            ('default = "b"\n[profiles.a]\nurl = "https://a"\n', 1, "default"),
            ('profiles.a-b.url = "https://a"\nprofiles.a_b.url = "https://b"\n', 2, "share"),
            ('[profiles."a b"]\nurl = "https://a"\n', 1, "name of a profile"),
        ],
        ids=lambda value: value if isinstance(value, str) and "\n" not in value else "",
    )
    def test_broken_file(
        self, text: str, line: int, message: str, run: CommandLine, config: Path
    ) -> None:
        """One line names the file and the line, and shows no value; nothing is changed."""
        config.parent.mkdir()
        config.write_text(text)
        for words in (("profiles", "list"), ("profiles", "add", "x", "--url", "https://x"), LIST):
            done = run(*words, "--profile", "a") if words is LIST else run(*words)
            assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 2)
            assert f"{config}, line {line}: " in done.err
            assert message in done.err
            assert "hunter22" not in done.err
        assert config.read_text() == text

    @pytest.mark.parametrize(
        "words",
        [
            "x",
            "x --url no-url",
            "x --url https://x/ --insecure",
            "x --url https://me:secret@x",
            "x --url http://x.example",
            "x --url https://x --proxy http://me:secret@p",
            "x --url https://x --fingerprint 00",
            "x --url https://x --timeout 0",
            "x --url https://x --api v22 --endpoint groups.nope=GET",
            "x --url https://x -u a --email a@b.example",
            "../x --url https://x",
        ],
    )
    def test_add_refuses(self, words: str, run: CommandLine, config: Path) -> None:
        """What no command could use is not written."""
        done = run("profiles", "add", *words.split())
        assert (done.code, len(done.err.splitlines()), config.exists()) == (2, 2, False)
        assert "secret" not in done.err

    def test_place_of_the_file(self, run: CommandLine, pbx: PBXSimulator, tmp_path: Path) -> None:
        run.environment.pop("PORTSIP_CONFIG")
        homes = {"HOME": str(tmp_path), "PORTSIP_CONFIG": None, "XDG_CONFIG_HOME": None}
        words = ("profiles", "add", "a", "--url", pbx.url)
        assert run(*words, environment=homes).code == 0
        assert (tmp_path / ".config" / "portsip-async" / "config.toml").exists()
        homes["XDG_CONFIG_HOME"] = str(tmp_path / "xdg")
        assert run(*words, environment=homes).code == 0
        assert (tmp_path / "xdg" / "portsip-async" / "config.toml").exists()

    def test_no_home(
        self, run: CommandLine, pbx: PBXSimulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A container may run as a user whom it does not know. Only a profile needs a home."""

        def unknown(uid: int) -> None:
            raise KeyError(uid)

        monkeypatch.setattr(pwd, "getpwuid", unknown)
        run.environment.clear()
        names = ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "PORTSIP_CONFIG")
        homes: dict[str, str | None] = dict.fromkeys(names)
        words = ("extensions", "list", "--limit", "1")
        done = run(*words, environment=homes)
        assert (done.code, "home directory is unknown" in done.err) == (2, True)
        done = run(*words, environment={**homes, "PORTSIP_CONFIG": "~/config.toml"})
        assert (done.code, "home directory is unknown" in done.err) == (2, True)
        account = {"PORTSIP_USERNAME": pbx.username, "PORTSIP_PASSWORD": pbx.password}
        assert run(*words, "--url", pbx.url, environment={**homes, **account}).code == 0

    def test_two_writers(self, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Commands that change the file at once wait for each other, so no change is lost."""
        monkeypatch.setenv("PORTSIP_CONFIG", str(config))
        context = multiprocessing.get_context("fork")
        writers = [context.Process(target=_add_many, args=(letter,)) for letter in "abc"]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(30)
        assert [writer.exitcode for writer in writers] == [0, 0, 0]
        assert config.read_text().count("url") == 15


def _add_many(letter: str) -> None:
    for at in range(5):

        def change(document: Any, name: str = f"{letter}{at}") -> None:
            document.setdefault("profiles", {})[name] = {"url": "https://pbx.example"}

        change_profiles(change)
    os._exit(0)


class TestHints:
    """Hints name the keys and variables of the profile in use."""

    @pytest.mark.parametrize(
        ("url", "variables", "hint"),
        [
            ("http://127.0.0.1:1", {}, "Hint: check the address (url of profile acme), and that"),
            ("ftp://x", {}, "Hint: correct url of profile acme\n"),
            ("", {"PORTSIP_TOKEN_ACME": "x"}, "Hint: set PORTSIP_TOKEN_ACME to a new token"),
            ("", {"PORTSIP_PASSWORD_ACME": "x", "PORTSIP_TOKEN": "x"}, "Hint: check user name"),
        ],
        ids=["no PBX", "no URL", "token", "password"],
    )
    def test_of_a_failure(
        self,
        url: str,
        variables: dict[str, str],
        hint: str,
        run: CommandLine,
        pbx: PBXSimulator,
        config: Path,
    ) -> None:
        config.parent.mkdir()
        config.write_text(f'[profiles.acme]\nurl = "{url or pbx.url}"\nusername = "admin"\n')
        given = {"PORTSIP_PASSWORD": "x", **variables}
        done = run(*LIST, "--profile", "acme", "--api", "classic", environment=given)
        assert hint in done.err
        assert "the address (url of profile acme) must" in done.err or url != "ftp://x"
        done = run(*LIST, "--url", "http://127.0.0.1:1", "-u", "a", environment=given)
        assert "--url or PORTSIP_URL" in done.err

    def test_of_another_setting(self, run: CommandLine, pbx: PBXSimulator) -> None:
        add(run, "acme", pbx)
        done = run(*LIST, "--profile", "acme", "--proxy", "ftp://x")
        assert "Hint: correct the profile acme, or see --help" in done.err

    def test_of_several(self, both: CommandLine, config: Path) -> None:
        text = config.read_text()
        config.write_text(text.replace("http://127.0.0.1:", "http://127.0.0.1:1/"))
        done = both("--all-profiles", *LIST)
        assert "Hint: check the address (url of profile acme)" in done.err
        assert "Hint: check the address (url of profile beta)" in done.err


class TestChoice:
    def test_order(self, run: CommandLine, pbx: PBXSimulator, other: PBXSimulator) -> None:
        """An option, then PORTSIP_PROFILE, then PORTSIP_URL, then the default profile."""
        add(run, "acme", pbx)
        add(run, "beta", other, "--domain", other.domain, "--default")
        named = "--columns", "pbx"

        def used(*words: Any, **variables: Any) -> str:
            name: str = json.loads(run("whoami", *named, *words, **variables).out)["pbx"]
            return name

        assert used() == "beta"
        assert used(PORTSIP_PROFILE="acme") == "acme"
        assert used("--profile", "beta", PORTSIP_PROFILE="acme") == "beta"
        account = {"PORTSIP_USERNAME": pbx.username, "PORTSIP_PASSWORD": pbx.password}
        host = pbx.url.removeprefix("http://")
        assert used(**account, PORTSIP_URL=pbx.url) == host
        assert used("--url", pbx.url, **account, PORTSIP_PROFILE="beta") == host

    def test_unknown_name(self, run: CommandLine, pbx: PBXSimulator) -> None:
        add(run, "acme", pbx)
        done = run(*LIST, "--profile", "nope")
        assert done.code == 2
        assert "it has acme" in done.err

    def test_completion(self, run: CommandLine, pbx: PBXSimulator, other: PBXSimulator) -> None:
        add(run, "acme", pbx)
        add(run, "beta", other, "--domain", other.domain)
        for words in ("portsip-async --profile ", "portsip-async extensions list --profile "):
            done = run(
                _PORTSIP_ASYNC_COMPLETE="complete_bash",
                COMP_WORDS=words,
                COMP_CWORD=str(len(words.split())),
            )
            assert done.out.split() == ["acme", "beta"]


class TestPasswords:
    def test_environment_of_another_pbx_does_not_count(
        self, run: CommandLine, pbx: PBXSimulator, other: PBXSimulator
    ) -> None:
        """What the environment says about one PBX is never sent to that of a profile."""
        add(run, "acme", pbx)
        elsewhere = {
            "PORTSIP_URL": other.url,
            "PORTSIP_USERNAME": "someone",
            "PORTSIP_PASSWORD": "wrong",
            "PORTSIP_TOKEN": "wrong",
            "PORTSIP_API": "v22",
            "PORTSIP_CA_FILE": "/no/such/file",
        }
        assert run(*LIST, "--profile", "acme", environment=elsewhere).code == 0
        assert run(*LIST, environment=elsewhere, PORTSIP_PROFILE="acme").code == 0

    @pytest.mark.parametrize("named", ["PORTSIP_URL", "PORTSIP_USERNAME", "PORTSIP_EMAIL"])
    def test_password_of_another_account_is_not_sent(
        self, named: str, run: CommandLine, pbx: PBXSimulator, ring: MemoryKeyring
    ) -> None:
        add(run, "acme", pbx)
        ring.entries.clear()
        done = run(*LIST, "--profile", "acme", PORTSIP_PASSWORD=pbx.password)
        assert done.code == 0
        before = pbx.served["account.verify"]
        variables = {"PORTSIP_PASSWORD": pbx.password, named: "https://other.example"}
        done = run(*LIST, "--profile", "acme", environment=variables)
        assert done.code == 2
        assert "PORTSIP_PASSWORD_ACME" in done.err
        assert pbx.served["account.verify"] == before

    @pytest.mark.parametrize("words", [("--url", "https://b.example"), ("-u", "b")], ids=str)
    def test_options_that_change_the_account(
        self, words: tuple[str, ...], run: CommandLine, pbx: PBXSimulator
    ) -> None:
        """A profile's password is for its own PBX and account."""
        add(run, "acme", pbx)
        own = {"PORTSIP_PASSWORD_ACME": pbx.password}
        done = run(*LIST, "--profile", "acme", "--api", "classic", *words, environment=own)
        assert done.code == 2
        assert "the password of profile acme is missing" in done.err

    def test_changed_file(
        self, run: CommandLine, pbx: PBXSimulator, make_pbx: PBXMaker, config: Path
    ) -> None:
        """An entry of the keyring is for one URL."""
        add(run, "acme", pbx)
        moved = make_pbx()
        config.write_text(config.read_text().replace(pbx.url, moved.url))
        assert run(*LIST, "--profile", "acme").code == 2
        assert moved.served["account.verify"] == 1  # to find out the generation

    def test_own_variable_comes_first(
        self, run: CommandLine, pbx: PBXSimulator, ring: MemoryKeyring
    ) -> None:
        add(run, "a-b.c", pbx, stdin="wrong")
        assert run(*LIST, "--profile", "a-b.c").code == 3
        own = {"PORTSIP_PASSWORD_A_B_C": pbx.password}
        assert run(*LIST, "--profile", "a-b.c", environment=own).code == 0

    def test_own_token(self, run: CommandLine, pbx: PBXSimulator) -> None:
        add(run, "acme", pbx)
        done = run(*LIST, "--profile", "acme", PORTSIP_TOKEN_ACME="wrong")
        assert done.code == 3
        assert run(*LIST, "--profile", "acme", PORTSIP_TOKEN_ACME="").code == 0

    def test_prompt(
        self,
        run: CommandLine,
        pbx: PBXSimulator,
        ring: MemoryKeyring,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def prompt(question: str, *, hide_input: bool, **_: object) -> str:
            assert (question, hide_input) == (f"Password of {pbx.username} (acme)", True)
            return pbx.password

        monkeypatch.setattr(typer, "prompt", prompt)
        words = ("profiles", "add", "acme", "--url", pbx.url, "-u", pbx.username)
        assert run(*words, terminal=True).code == 0
        assert list(ring.entries.values()) == [pbx.password]
        ring.entries.clear()
        assert run(*LIST, "--profile", "acme", terminal=True).code == 0

    def test_locked_keyring(self, run: CommandLine, pbx: PBXSimulator, ring: MemoryKeyring) -> None:
        """It is one line, and its text may show anything, so that is left out."""
        ring.locked = True
        done = add(run, "acme", pbx)
        assert (done.code, len(done.err.splitlines())) == (0, 2)
        for words in ((*LIST, "--profile", "acme"), ("profiles", "list")):
            done = run(*words)
            assert len(done.err.splitlines()) == 2
            assert "locked" in done.err
            assert "PORTSIP_PASSWORD_ACME" in done.err
            assert "SECRET" not in done.err
        done = run("profiles", "remove", "acme", "--yes")
        assert done.code == 1
        assert "may be left" in done.err

    def test_no_keyring(
        self, run: CommandLine, pbx: PBXSimulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "keyring", None)
        done = add(run, "acme", pbx)
        assert done.code == 0
        assert "not stored" in done.err
        assert "portsip_async[keyring]" in done.err
        own = {"PORTSIP_PASSWORD_ACME": pbx.password}
        assert run(*LIST, "--profile", "acme", environment=own).code == 0


class TestGeneration:
    def test_is_remembered(self, run: CommandLine, other: PBXSimulator) -> None:
        """The PBX is asked once, and anew after it was replaced by one of another generation."""
        add(run, "acme", other, "--domain", other.domain)
        for _ in range(3):
            assert run(*LIST, "--profile", "acme").code == 0
        assert other.v22.served["pbx.info"] == 1
        assert other.v22.served["auth.sign_in"] == 3

    def test_heals(
        self, run: CommandLine, pbx: PBXSimulator, other: PBXSimulator, tmp_path: Path
    ) -> None:
        add(run, "acme", pbx)
        run(*LIST, "--profile", "acme")
        (file,) = (tmp_path / "cache").rglob("*.json")
        known = file.read_text()
        assert "classic" in known
        for command in (LIST, ("extensions", "status", "101")):
            file.write_text(known.replace("classic", "v22"))
            done = run(*command, "--profile", "acme")
            assert (done.code, len(done.lines), done.err) == (0, 1, "")
            assert file.read_text() == known
        # A command that has read its input can't begin again.
        file.write_text(known.replace("classic", "v22"))
        words = ("extensions", "status", "-", "--profile", "acme")
        done = run(*words, "--password-stdin", stdin=f"{pbx.password}\n101\n")
        assert (done.code, done.out) == (1, "")
        assert "run the command again" in done.err
        assert run(*words, "--password-stdin", stdin=f"{pbx.password}\n101\n").code == 0


@pytest.fixture
def both(run: CommandLine, pbx: PBXSimulator, other: PBXSimulator) -> CommandLine:
    """The command line with a profile of each generation."""
    add(run, "acme", pbx)
    add(run, "beta", other, "--domain", other.domain)
    return run


class TestAllProfiles:
    def test_json(self, both: CommandLine) -> None:
        """Rows come in the order of the file, with the columns of their own generation."""
        done = both("--all-profiles", "extensions", "list", "--limit", 2, "--output", "json")
        rows = json.loads(done.out)
        assert [row["pbx"] for row in rows] == ["acme", "acme", "beta", "beta"]
        assert all(next(iter(row)) == "pbx" for row in rows)
        assert "first_name" in rows[0]
        assert "display_name" in rows[2]
        assert (done.code, done.err) == (0, "")

    def test_csv(self, both: CommandLine) -> None:
        done = both("--all-profiles", "extensions", "list", "--limit", 1, "-o", "csv")
        head, *rows = done.lines
        assert head.startswith("pbx,extension_number,first_name")
        assert head.split(",").count("extension_number") == 1
        assert "display_name" in head
        assert sorted(row.partition(",")[0] for row in rows) == ["acme", "beta"]
        assert {row.count(",") for row in rows} == {head.count(",")}

    @pytest.mark.parametrize(
        "words",
        [
            ("extensions", "list"),
            ("extensions", "search", "10"),
            ("extensions", "show", "101"),
            ("groups", "show", "Group 1"),
            ("extensions", "status", "101", "102"),
            ("groups", "list"),
            ("greetings", "list", "101"),
            ("whoami",),
            ("profiles", "test"),
        ],
        ids=" ".join,
    )
    @pytest.mark.parametrize("form", ["table", "jsonl"])
    def test_first_column(self, words: tuple[str, ...], form: str, both: CommandLine) -> None:
        everywhere = () if words[0] == "profiles" else ("--all-profiles",)
        done = both(*words, *everywhere, "--output", form)
        assert (done.code, done.err) == (0, "")
        start = "pbx" if form == "table" else '{"pbx": '
        assert done.out.startswith(start) or words[0] == "greetings"  # there are none

    @pytest.mark.parametrize("words", [("--filter", "presence=AWAY"), ("--columns", "presence")])
    def test_states_of_one_generation(
        self, words: tuple[str, ...], both: CommandLine, other: PBXSimulator
    ) -> None:
        """States are read where lists have none; the other PBX has no such field."""
        other.set_status("101", "ONLINE", presence="AWAY")
        done = both("--all-profiles", "extensions", "list", *words)
        rows = [json.loads(line) for line in done.lines]
        assert (done.code, done.err) == (0, "")
        assert [row["pbx"] for row in rows if row["presence"] == "AWAY"] == ["beta"]
        assert {row["pbx"] for row in rows} == ({"beta"} if "=" in words[1] else {"acme", "beta"})

    def test_status_of_both_generations(
        self, both: CommandLine, pbx: PBXSimulator, other: PBXSimulator
    ) -> None:
        for each in (pbx, other):
            for number in each.extension_numbers:
                each.set_status(number, "OFFLINE" if number != "101" else "ON_CALL")
        done = both("--all-profiles", "extensions", "list", "--filter", "status=ON_CALL")
        rows = [json.loads(line) for line in done.lines]
        assert sorted((row["pbx"], row["extension_number"]) for row in rows) == [
            ("acme", "101"),
            ("beta", "101"),
        ]

    def test_one_fails(self, both: CommandLine, pbx: PBXSimulator, other: PBXSimulator) -> None:
        """The others' rows still come, and the failure is a line that names the PBX."""
        pbx.fail("extensions.list", status=403, err_code=403.1, times=None)
        done = both("--all-profiles", *LIST)
        assert [json.loads(line)["pbx"] for line in done.lines] == ["beta"]
        assert done.code == 1
        assert done.err.startswith("portsip-async: acme: ")
        done = both("--all-profiles", "extensions", "status", "101", "9999")
        assert len(done.lines) == 2
        assert "acme: 9999" in done.err
        assert "beta: 9999" in done.err
        assert done.code == 4

    def test_option_of_one_generation(self, both: CommandLine) -> None:
        """Only the PBXes of another generation fail, in our words."""
        done = both("--all-profiles", *LIST, "--order-by", "name")
        assert [json.loads(line)["pbx"] for line in done.lines] == ["beta"]
        assert done.code == 2
        text = "acme: the classic generation has no --order-by; use --sort-by"
        assert done.err.splitlines()[0] == f"portsip-async: {text}"

    def test_slow_pbx(self, both: CommandLine, pbx: PBXSimulator, other: PBXSimulator) -> None:
        """What the command waits for is shown before the first login too."""
        other.v22.fail("pbx.info", latency=1.5)
        passwords = {
            "PORTSIP_PASSWORD_ACME": pbx.password,
            "PORTSIP_PASSWORD_BETA": other.password,
        }
        changes = both.environment | passwords
        with on_terminal("--all-profiles", *LIST, changes=changes) as running:
            running.wait_for(lambda shown: "Connecting to acme, beta ..." in shown)
            assert running.end() == 0

    def test_one_password(
        self, both: CommandLine, pbx: PBXSimulator, other: PBXSimulator, ring: MemoryKeyring
    ) -> None:
        """PORTSIP_PASSWORD is for all, or for the one PBX that the environment names."""
        ring.entries.clear()
        done = both("--all-profiles", *LIST, PORTSIP_PASSWORD=pbx.password)
        assert done.code == 0
        assert {json.loads(line)["pbx"] for line in done.lines} == {"acme", "beta"}
        before = other.v22.served["auth.sign_in"]
        account = {"PORTSIP_URL": pbx.url, "PORTSIP_USERNAME": pbx.username}
        account["PORTSIP_PASSWORD"] = pbx.password
        done = both("--all-profiles", *LIST, environment=account)
        assert [json.loads(line)["pbx"] for line in done.lines] == ["acme"]
        assert other.v22.served["auth.sign_in"] == before
        assert "PORTSIP_PASSWORD_BETA" in done.err

    @pytest.mark.parametrize(
        "words",
        [
            ("--all-profiles", "extensions", "remove", "101", "--yes"),
            ("--all-profiles", "--url", "https://a.example", "extensions", "list"),
            ("--all-profiles", "--profile", "acme", "extensions", "list"),
            ("--all-profiles", "--password-stdin", "extensions", "list"),
            ("--all-profiles", "extensions", "list", "--columns", "nope"),
        ],
        ids=" ".join,
    )
    def test_usage(self, words: tuple[str, ...], both: CommandLine) -> None:
        done = both(*words)
        assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 2)

    def test_no_profile(self, run: CommandLine) -> None:
        assert run("--all-profiles", *LIST).code == 2


class TestLogins:
    def test_whoami(self, both: CommandLine, pbx: PBXSimulator, other: PBXSimulator) -> None:
        done = both("whoami", "--profile", "beta", "--output", "json")
        found = json.loads(done.out)
        assert found.pop("token_seconds") > 0
        assert found == {
            "pbx": "beta",
            "url": other.url,
            "api": "v22",
            "version": None,
            "account": other.username,
            "domain": other.domain,
            "role": "Admin",
        }
        assert json.loads(both("whoami", "--profile", "acme").out)["api"] == "classic"

    def test_token_is_used_and_not_renewed(self, both: CommandLine, pbx: PBXSimulator) -> None:
        async def log_in() -> str:
            async with PortSIPClient(pbx.url, username="-", password="-") as client:
                return (await client.account.verify(pbx.username, pbx.password)).access_token

        token = asyncio.run(log_in())
        done = both("whoami", "--profile", "acme", PORTSIP_TOKEN_ACME=token)
        assert json.loads(done.out)["account"] == "token"
        assert token not in done.out
        assert not pbx.served["account.refresh"]

    def test_profiles_test(self, both: CommandLine, pbx: PBXSimulator) -> None:
        pbx.fail("account.verify", status=401, times=None)
        done = both("profiles", "test", "beta")
        assert (done.code, json.loads(done.out)["pbx"]) == (0, "beta")
        done = both("profiles", "test")
        assert done.code != 0
        assert "acme: " in done.err
        assert both("profiles", "test", "nope").code == 2

    def test_profiles_test_with_one_password(
        self, both: CommandLine, other: PBXSimulator, ring: MemoryKeyring
    ) -> None:
        """PORTSIP_PASSWORD is for each profile that has no other password."""
        ring.entries.clear()
        assert both("profiles", "test", "beta", PORTSIP_PASSWORD=other.password).code == 0
        assert both("profiles", "test", PORTSIP_PASSWORD=other.password).code == 0


class TestTrace:
    @pytest.mark.parametrize("option", ["--verbose", "--debug"])
    def test_lines(self, option: str, both: CommandLine, pbx: PBXSimulator) -> None:
        """Secrets are not shown, and the data on standard output stays the same."""
        pbx.fail("extensions.list", status=503, times=1)
        done = both(*LIST, "--profile", "acme", option)
        assert len(done.lines) == 1
        first, *attempts, last = done.err.splitlines()
        assert f"PBX {pbx.url} (profile acme): the classic generation" in done.err
        assert "from the keyring" in done.err
        assert last.startswith("3 requests, 1 of them repeats")
        assert pbx.password not in done.err
        if option == "--debug":
            shown = [words.split()[1:4] for words in (first, *attempts) if "attempt=" in words]
            assert ["extensions.list", "attempt=1", "status=503"] in shown
            assert ["extensions.list", "attempt=2", "status=200"] in shown
            assert ["pbx.info", "attempt=1", "status=404"] in shown
        else:
            assert not attempts
        assert both(*LIST, "--profile", "acme").err == ""

    def test_all_profiles(self, both: CommandLine) -> None:
        done = both(*LIST, "--all-profiles", "--debug")
        assert " acme: extensions.list attempt=1" in done.err
        assert " beta: users.list attempt=1" in done.err

    def test_board(self, pbx: PBXSimulator) -> None:
        """A board on the same terminal is not torn: the lines come after it."""
        words = ("extensions", "watch", "--debug", "--limit", 12, "--interval", 0.2)
        with on_terminal(*words, pbx=pbx) as watch:
            assert watch.end() == 0
        before, _, rest = watch.shown.partition("\x1b[?1049h")
        board, _, after = rest.partition("\x1b[?1049l")
        assert "account.verify attempt=1" in before
        assert "attempt=" not in board
        assert "extensions.status attempt=1" in after
        assert "\x1b[?25h" in board + after
