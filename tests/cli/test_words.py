"""Other names of commands, suggestions, and how wrong usage and messages read."""

import json
import re
from pathlib import Path

import pytest

from portsip_async.cli.fields import SECRETS
from portsip_async.simulator import PBXSimulator

from .terminal import CommandLine

# Words of typer, click, pydantic, msgspec, aiohttp and ssl, and the SDK's for programs.
FOREIGN = re.compile(
    "Invalid value|Value error|Input should|Expected `|Got unexpected|parse|ssl:default|Client|"
    "_ssl|Errno|[a-z]= |[a-z]=True"
)


class TestAliases:
    @pytest.mark.parametrize(
        ("alias", "name"),
        [
            (("extensions", "get", "101"), ("extensions", "show", "101")),
            (("users", "get", "101"), ("extensions", "show", "101")),
            (("groups", "get", "GROUP"), ("groups", "show", "GROUP")),
        ],
        ids=["extensions", "users", "groups"],
    )
    def test_get(
        self, alias: tuple[str, ...], name: tuple[str, ...], cli: CommandLine, pbx: PBXSimulator
    ) -> None:
        words = [
            [pbx.group_ids[0] if one == "GROUP" else one for one in each] for each in (alias, name)
        ]
        got, shown = cli(*words[0]), cli(*words[1])
        assert got.code == 0
        assert got.out == shown.out

    @pytest.mark.parametrize("group", ["extensions", "groups", "greetings"])
    def test_delete(self, group: str, cli: CommandLine, pbx: PBXSimulator) -> None:
        """Each command that removes has it; the hints know it as 'remove'."""
        there = pbx.group_ids[0]
        words = {"extensions": ["x9"], "groups": [there], "greetings": ["101", "x9"]}[group]
        done = cli(group, "delete", *words, "--yes")
        assert done.code == (0 if group == "groups" else 4)
        assert pbx.served[f"{group}.remove"] == 1

    def test_help_shows_them_once(self, cli: CommandLine) -> None:
        lines = cli("extensions", "--help").lines
        assert [line for line in lines if "show (get)" in line]
        assert [line for line in lines if "remove (delete)" in line]
        assert len([line for line in lines if "settings." in line and "Show" in line]) == 1
        assert "extensions (users)" in cli("--help").out

    def test_help_of_an_alias_is_that_of_the_command(self, cli: CommandLine) -> None:
        assert cli("users", "get", "--help").out == cli("extensions", "show", "--help").out

    def test_groups_without_such_a_command(self, cli: CommandLine) -> None:
        done = cli("greetings", "get", "101")
        assert (done.code, "No such command 'get'" in done.err) == (2, True)


class TestSuggestions:
    @pytest.mark.parametrize(
        ("words", "suggestion"),
        [
            ("extensons list", "No such command 'extensons'. Did you mean 'extensions'?"),
            ("uesrs list", "No such command 'uesrs'. Did you mean 'users'?"),
            ("extensions lst", "No such command 'lst'. Did you mean 'list'?"),
            ("extensions delte 1", "Did you mean 'delete'?"),
            ("groups updte", "Did you mean 'update'?"),
            ("extensions list --colums x", "No such option --colums. Did you mean --columns?"),
            ("extensions list --columns emial", "did you mean email?"),
            ("extensions list --filter emial=x", "did you mean email?"),
            ("extensions list --output jsn", "did you mean json?"),
            ("extensions list --api v23", "did you mean v22?"),
            ("extensions update 101 --set profile.firstname=x", "did you mean profile.first_name"),
            ("extensions list --order-by name", "use --sort-by"),
        ],
    )
    def test_of_what_is_misspelt(self, words: str, suggestion: str, cli: CommandLine) -> None:
        done = cli(*words.split())
        assert (done.code, done.out) == (2, "")
        assert suggestion in done.err
        assert len(done.err.splitlines()) == 2
        assert "Hint: " in done.err

    def test_of_profiles(self, cli: CommandLine, tmp_path: Path) -> None:
        """A hint suggests a profile that is near, or how to add one, but not to 'remove'."""
        file = tmp_path / "config.toml"
        file.write_text('[profiles.acme]\nurl = "https://pbx.acme.example:8887"\n')
        for words, hint in (
            ("--profile acmee whoami", "Hint: did you mean acme?"),
            ("--profile other whoami", "Hint: add it: portsip-async profiles add other --url URL"),
            ("profiles remove other --yes", "Hint: portsip-async profiles list"),
        ):
            done = cli(*words.split(), PORTSIP_CONFIG=str(file))
            assert (done.code, done.err.splitlines()[1]) == (2, hint)

    def test_of_groups(self, cli: CommandLine) -> None:
        cli("groups", "create", "Support")
        done = cli("groups", "show", "support")
        assert (done.code, "Did you mean 'Support'?" in done.err) == (4, True)

    @pytest.mark.parametrize(
        ("words", "line"),
        [
            ("xyz", "No such command 'xyz'."),
            ("simulate --output json", "No such option --output."),
            ("groups show 1 --limit 1", "No such option --limit."),
        ],
    )
    def test_nothing_is_near(self, words: str, line: str, cli: CommandLine) -> None:
        """That two words begin with dashes does not make them alike."""
        assert cli(*words.split()).err.splitlines()[0] == f"portsip-async: {line}"

    def test_settings_of_a_file(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        done = cli("extensions", "update", "101", "--settings", "-", stdin='{"profle": {}}')
        assert (done.code, "did you mean profile?" in done.err) == (2, True)
        assert not pbx.served["extensions.update"]


class TestWords:
    @pytest.mark.parametrize(
        ("words", "text"),
        [
            ("extensions list --limit x", "--limit must be a whole number, got 'x'"),
            ("extensions list --limit 0", "--limit must be at least 1, got 0"),
            ("extensions list --timeout x", "--timeout must be a number, got 'x'"),
            ("extensions import --concurrency 99 FILE", "--concurrency must be"),
            ("extensions list --output xml", "--output must be table, json, jsonl or csv"),
            ("extensions import /no/file", "FILE: there is no file /no/file"),
            ("extensions apply /no/file --dry-run", "FILE: there is no file /no/file"),
            ("extensions import /", "FILE: / is a folder, not a file"),
            (
                "extensions export --all-profiles",
                "--all-profiles works with lists, search, show, status",
            ),
            ("extensions list --url pbx.example", "must be a URL such as https://"),
            (
                "extensions list --url http://pbx.example",
                "which would send the password unencrypted\n",
            ),
            ("extensions update 101 --set profile.email", "--set must be FIELD=VALUE, such as"),
            ("extensions list --limit", "--limit needs a value"),
            ("extensions list --insecure=1", "--insecure takes no value"),
            ("extensions show", "NUMBER is missing"),
            ("extensions show 1 2", "Unexpected argument: 2"),
            ("extensions list --filter enabled=x", "no such field: enabled"),
            ("extensions update 101 --set x", "--set must be a setting"),
            ("groups update 1", "pass an option"),
        ],
    )
    def test_of_wrong_usage_are_ours(
        self, words: str, text: str, cli: CommandLine, tmp_path: Path
    ) -> None:
        file = tmp_path / "people.csv"
        file.touch()
        done = cli(*words.replace("FILE", str(file)).split())
        assert (done.code, done.out) == (2, "")
        assert text.lower() in done.err.lower()
        assert not FOREIGN.search(done.err)

    def test_of_types_in_an_import(self, cli: CommandLine, tmp_path: Path) -> None:
        file = tmp_path / "people.jsonl"
        row = '{"extension_number": "901", "password": "p", "web_access_password": "w", %s}\n'
        rows = (
            '"profile": 5',
            '"profile": {"first_name": 5}',
            '"options": {"enable_extension": 5}',
        )
        file.write_text("".join(row % one for one in rows))
        done = cli("extensions", "import", file, "--dry-run")
        assert done.code == 1
        assert "profile must be an object, got a whole number" in done.err
        assert "profile.first_name must be text, got a whole number" in done.err
        assert "options.enable_extension must be true or false" in done.err
        assert not FOREIGN.search(done.err)

    @pytest.mark.parametrize(
        ("scheme", "words", "text"),
        [
            ("http", "--timeout 5", "127.0.0.1:1 refused it"),
            ("https", "--timeout 5", "127.0.0.1:1 refused it"),
            ("http", "--proxy http://127.0.0.1:2", "127.0.0.1:2 refused it"),
        ],
        ids=["http", "https", "proxy"],
    )
    def test_of_connections_are_ours(
        self, scheme: str, words: str, text: str, cli: CommandLine
    ) -> None:
        done = cli("extensions", "list", "--url", f"{scheme}://127.0.0.1:1", *words.split())
        assert done.code == 5
        assert text in done.err
        assert not FOREIGN.search(done.err)

    @pytest.mark.parametrize(
        ("url", "text"),
        [
            ("http://pbx.example.com", "send the password unencrypted\n"),
            ("https://ann:secret@pbx.example.com", "no user name or password: pass --username\n"),
            ("ftp://pbx.example.com", "must be a URL such as"),
        ],
    )
    def test_of_addresses_are_ours(self, url: str, text: str, cli: CommandLine) -> None:
        done = cli("extensions", "list", "--url", url)
        assert done.code == 2
        assert text in done.err
        assert not FOREIGN.search(done.err)
        assert "secret" not in done.err

    @pytest.mark.parametrize("api", ["classic", "v22"])
    def test_of_a_missing_account_are_ours(self, api: str, cli: CommandLine) -> None:
        done = cli("whoami", "--api", api, PORTSIP_USERNAME="", PORTSIP_PASSWORD="")
        assert done.code == 2
        assert "no user name is given" in done.err
        assert "PORTSIP_USERNAME" in done.err
        assert not FOREIGN.search(done.err)

    def test_of_a_wrong_name_of_a_profile(self, cli: CommandLine, tmp_path: Path) -> None:
        config = str(tmp_path / "config.toml")
        done = cli("profiles", "add", "a b", "--url", "https://a.example", PORTSIP_CONFIG=config)
        assert done.code == 2
        assert "NAME must be letters, digits" in done.err

    def test_of_certificates_are_ours(
        self, cli: CommandLine, encrypted: str, pbx: PBXSimulator
    ) -> None:
        done = cli("extensions", "list", "--url", encrypted)
        assert done.code == 5
        assert "certificate was refused (" in done.err
        assert not FOREIGN.search(done.err)
        done = cli("extensions", "list", "--url", pbx.url.replace("http:", "https:"))
        assert "there is no TLS" in done.err
        assert not FOREIGN.search(done.err)

    def test_file_of_the_other_generation(self, cli: CommandLine, tmp_path: Path) -> None:
        fields = ("extension_number", "name", "display_name", "email", "role", "voicemail_pin")
        rows = tmp_path / "users.jsonl", tmp_path / "users.csv"
        rows[0].write_text(json.dumps(dict.fromkeys(fields, "x")) + "\n")
        rows[1].write_text(",".join(fields) + "\n" + ",".join("x" for _ in fields) + "\n")
        for file in rows:
            done = cli("extensions", "import", file)
            assert done.code == 1
            assert "fields are those of generation v22" in done.err
            assert "--api v22" in done.err


class TestLineBreaks:
    @pytest.mark.parametrize("columns", [40, 60, 80, 200])
    def test_terminal_gets_whole_words(self, columns: int, cli: CommandLine) -> None:
        url = "https://pbx.example.invalid:8900/a/path/that/is/longer/than/forty/columns"
        words = ("extensions", "list", "--ca-file", "/dev/null", "--url", url)
        in_pipe = cli(*words)
        done = cli(*words, terminal=True, COLUMNS=str(columns))
        assert done.code == in_pipe.code == 2
        assert len(in_pipe.err.splitlines()) == 2
        assert done.err.split() == in_pipe.err.split()
        lines = done.err.splitlines()
        assert all(len(line) <= columns or " " not in line.strip() for line in lines)
        begins = [line for line in lines if line.startswith(("portsip-async: ", "Hint: "))]
        assert all(line.startswith("  ") for line in lines if line not in begins)

    @pytest.mark.parametrize("columns", [40, 80, 200])
    def test_report_of_a_check(self, columns: int, cli: CommandLine) -> None:
        done = cli("check", terminal=True, COLUMNS=str(columns))
        assert done.code == 0
        assert all(len(line) <= columns for line in done.lines if " " in line.strip())
        # The same words as in a pipe, but for the times.
        words = re.sub(r"[\d.]+", "", cli("check").out).split()
        assert re.sub(r"[\d.]+", "", done.out).split() == words


class TestCompletion:
    @pytest.mark.parametrize(
        ("words", "found"),
        [
            ("extensions list --columns fi", {"first_name"}),
            ("extensions list --columns status,last", {"status,last_name"}),
            ("extensions list --api v22 --columns pres", {"presence", "presence_note"}),
            ("extensions get 1 --columns profile.first", {"profile.first_name"}),
            ("users list --filter stat", {"status="}),
            ("extensions watch --columns after.s", {"after.status"}),
            ("fleet status noc:fleet --columns last_s", {"last_success"}),
            ("fleet changes noc:fleet --columns after.u", {"after.user_agent", "after.user_id"}),
            ("groups list --order-by desc", {"description"}),
            ("extensions list --sort-by D", {"DEFAULT"}),
            ("extensions list --endpoint groups.l", {"groups.list="}),
            ("extensions update --set profile.first", {"profile.first_name="}),
            ("users update --api v22 --set dep", {"department="}),
            ("extensions list --output js", {"json", "jsonl"}),
        ],
    )
    def test_names(self, words: str, found: set[str], cli: CommandLine, pbx: PBXSimulator) -> None:
        """A shell gets names of the generation, and no request is sent."""
        assert self.completed(cli, words) == found
        assert not pbx.served

    def test_both_generations(self, cli: CommandLine) -> None:
        """As long as none is chosen."""
        names = self.completed(cli, "users create 1 --set ", api=None)
        assert {"department=", "profile.first_name="} <= names
        assert not {name.rstrip("=").rpartition(".")[2] for name in names} & SECRETS

    @staticmethod
    def completed(cli: CommandLine, words: str, api: str | None = "classic") -> set[str]:
        asked = {
            "_PORTSIP_ASYNC_COMPLETE": "complete_zsh",
            "_TYPER_COMPLETE_ARGS": f"portsip-async {words}",
        }
        return set(re.findall(r'"([^"]+)"', cli(environment=asked, PORTSIP_API=api).out))
