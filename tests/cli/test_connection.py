"""How the command line reaches a PBX: options, environment, secrets and errors."""

import gc
import hashlib
import json
import socket
import ssl
import warnings
from pathlib import Path
from typing import Any

import pytest
import trustme
import typer

from portsip_async import APIError
from portsip_async.cli.connection.connection import Connection
from portsip_async.cli.failures import exit_code, hint
from portsip_async.simulator import PBXSimulator

from .conftest import PBXMaker, environment_of
from .terminal import CommandLine

LIST = ("extensions", "list", "--limit", 1)


class TestAccount:
    def test_options_before_environment(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        done = cli(
            *LIST,
            *("--url", pbx.url, "--username", pbx.username),
            PORTSIP_URL="https://other.example",
            PORTSIP_USERNAME="other",
        )
        assert done.code == 0

    def test_email(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        assert cli(*LIST, "--email", pbx.email).code == 0
        done = cli(*LIST, PORTSIP_USERNAME=None, PORTSIP_EMAIL=pbx.email)
        assert done.code == 0
        assert pbx.served["account.verify_email"] == 2

    def test_token(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        """A token replaces user name and password, unless these are options."""
        assert cli(*LIST, PORTSIP_TOKEN="wrong").code == 3
        assert pbx.served["account.verify"] == 0
        assert cli(*LIST, "-u", pbx.username, PORTSIP_TOKEN="wrong").code == 0

    def test_password_from_stdin(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        done = cli(*LIST, "--password-stdin", stdin=f"{pbx.password}\n", PORTSIP_PASSWORD="wrong")
        assert done.code == 0

    def test_password_is_asked_for(
        self, cli: CommandLine, pbx: PBXSimulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def prompt(question: str, *, hide_input: bool, **_: object) -> str:
            assert (question, hide_input) == ("Password of admin", True)
            return pbx.password

        monkeypatch.setattr(typer, "prompt", prompt)
        assert cli(*LIST, terminal=True, PORTSIP_PASSWORD=None).code == 0

    @pytest.mark.parametrize(
        "wrong",
        [
            {"PORTSIP_URL": None},
            {"PORTSIP_URL": "ftp://pbx.example"},
            {"PORTSIP_URL": "http://pbx.example"},
            {"PORTSIP_CA_FILE": "/no/such.pem"},
        ],
        ids=str,
    )
    @pytest.mark.parametrize(
        "words",
        [
            ("extensions", "list"),
            ("extensions", "list", "--email", "a@b.example"),
            ("extensions", "create", "900"),
            ("extensions", "remove", "101"),
            ("extensions", "call", "101", "5", "--domain", "d"),
            ("groups", "remove", "1"),
            ("greetings", "remove", "101", "a.wav"),
            ("check",),
        ],
        ids=" ".join,
    )
    def test_wrong_options_come_before_any_prompt(
        self,
        wrong: dict[str, str | None],
        words: tuple[str, ...],
        cli: CommandLine,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A wrong address is reported before any prompt."""

        def ask(*_: object, **__: object) -> str:
            raise AssertionError("asked")

        for name in ("prompt", "confirm"):
            monkeypatch.setattr(typer, name, ask)
        done = cli(*words, terminal=True, environment={"PORTSIP_PASSWORD": None, **wrong})
        assert done.code == 2
        assert "user name" not in done.err

    def test_wrong_options_come_before_standard_input(self, cli: CommandLine) -> None:
        done = cli(*LIST, "--password-stdin", PORTSIP_URL=None)
        assert done.code == 2
        assert "PORTSIP_URL is not set" in done.err

    def test_interrupted_prompt(self, cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
        def prompt(*_: object, **__: object) -> str:
            raise typer.Abort

        monkeypatch.setattr(typer, "prompt", prompt)
        done = cli(*LIST, terminal=True, PORTSIP_PASSWORD=None)
        assert (done.code, done.out, done.err) == (130, "", "\n")

    def test_password_is_not_an_argument(self, cli: CommandLine) -> None:
        done = cli(*LIST, "--password", "secret")
        assert done.code == 2
        assert "No such option" in done.err

    @pytest.mark.parametrize(
        ("environment", "arguments", "message"),
        [
            ({"PORTSIP_URL": None}, (), "PORTSIP_URL is not set"),
            ({"PORTSIP_PASSWORD": None}, (), "Hint: set PORTSIP_PASSWORD"),
            ({"PORTSIP_USERNAME": None}, (), "no user name is given"),
            ({"PORTSIP_USERNAME": None}, ("--password-stdin",), "pass --username"),
            ({"PORTSIP_EMAIL": "a@b.example"}, (), "unset one of them"),
            ({}, ("--username", "a", "--email", "a@b.example"), "not both"),
            ({}, ("--password-stdin",), "no line with a password"),
            ({"PORTSIP_URL": "http://pbx.example"}, (), "pass --allow-http"),
            ({"PORTSIP_URL": "ftp://pbx.example"}, (), "must be a URL such as"),
            ({"PORTSIP_CA_FILE": "/no/such"}, (), "No such file"),
            ({}, ("--insecure", "--fingerprint", "00"), "give one of"),
            ({}, ("--fingerprint", "xyz"), "64 hexadecimal digits"),
            ({}, ("--fingerprint", "abcd"), "64 hexadecimal digits"),
            ({}, ("--proxy", "http://me:secret@proxy.example"), "set PORTSIP_PROXY"),
            ({}, ("--timeout", "0"), "must be above 0"),
            ({}, ("--rate", "-1"), "must be above 0"),
            ({}, ("--endpoint", "groups.list"), "NAME=METHOD:PATH"),
            ({}, ("--endpoint", "groups.list=FETCH"), "NAME=METHOD:PATH"),
            ({}, ("--endpoint", "groups.nope=GET"), "no operation named 'groups.nope'"),
        ],
    )
    def test_usage(
        self,
        environment: dict[str, str | None],
        arguments: tuple[str, ...],
        message: str,
        cli: CommandLine,
        pbx: PBXSimulator,
    ) -> None:
        done = cli(*LIST, *arguments, environment=environment)
        assert done.code == 2
        assert message in done.err
        assert [line.partition(": ")[0] for line in done.err.splitlines()] == [
            "portsip-async",
            "Hint",
        ]
        assert not pbx.served


class TestFailures:
    def test_wrong_password(self, cli: CommandLine) -> None:
        done = cli(*LIST, PORTSIP_PASSWORD="not-the-one")
        assert (done.code, done.out) == (3, "")
        assert "check user name and password" in done.err
        assert "not-the-one" not in done.err
        assert len(done.err.splitlines()) == 2

    @pytest.mark.parametrize("status", [404, 405, 410, 501])
    def test_login_where_there_is_no_api(
        self, status: int, cli: CommandLine, pbx: PBXSimulator
    ) -> None:
        """The hint is about the address: the password was not refused."""
        pbx.fail("account.verify", status=status, body="<html>Not here</html>", times=None)
        for words in (LIST, ("groups", "show", "1"), ("extensions", "status", "101")):
            done = cli(*words)
            assert done.code == 4
            assert "user name" not in done.err
            assert "check the address" in done.err

    @pytest.mark.parametrize("status", [200, 302, 403, 502])
    def test_login_at_a_page(self, status: int, cli: CommandLine, pbx: PBXSimulator) -> None:
        """A page from a web server or a proxy says nothing about the password or the PBX."""
        pbx.fail("account.verify", status=status, body="<html>Welcome</html>", times=None)
        for words in (LIST, ("extensions", "status", "101"), ("check",)):
            done = cli(*words)
            assert done.code == 1
            assert "user name" not in done.err
            assert "check the address" in done.err

    @pytest.mark.parametrize(
        ("words", "operation", "failure", "itself"),
        [
            (LIST, "extensions.list", {"status": 404}, "'list'"),
            (("groups", "list"), "groups.list", {"status": 404}, "'list'"),
            (("extensions", "show", "1"), "extensions.show", {"status": 400}, "'show'"),
            (
                ("extensions", "update", "101", "-s", "profile.first_name=A"),
                "extensions.update",
                {"status": 403, "err_code": 403.3},
                "'update'",
            ),
        ],
    )
    def test_hint_does_not_recommend_the_same_command(
        self,
        words: tuple[object, ...],
        operation: str,
        failure: dict[str, Any],
        itself: str,
        cli: CommandLine,
        pbx: PBXSimulator,
    ) -> None:
        pbx.fail(operation, **failure, times=None)
        done = cli(*words)
        assert done.code
        assert itself not in done.err

    def test_no_server(self, cli: CommandLine) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}"
        for arguments in (LIST, ("extensions", "status", "101"), ("groups", "show", "1")):
            done = cli(*arguments, "--url", url)
            assert (done.code, done.out) == (5, "")
            assert "Hint: check the address" in done.err
            assert len(done.err.splitlines()) == 2

    def test_silent_server(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        pbx.fail("groups.show", latency=30, times=None)
        done = cli("groups", "show", pbx.group_ids[0], "--timeout", "0.05")
        assert done.code == 5
        assert "--timeout 60" in done.err

    def test_page_that_fails(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        """The rows before the failure are written; the hint names the page to continue at."""
        pbx.fail("extensions.list", latency=0.001)
        pbx.fail("extensions.list", status=403, err_code=403.1, times=None)
        done = cli("extensions", "list", "--page-size", 4)
        assert (len(done.lines), done.code) == (4, 1)
        assert "--page 2" in done.err

    def test_role(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        pbx.fail("groups.show", status=403, err_code=403.1, msg="no\x1b[2J\nno")
        done = cli("groups", "show", pbx.group_ids[0])
        assert done.code == 1
        assert "log in as an administrator" in done.err
        assert "no\\x1b[2J no" in done.err  # one line, without a control sequence

    def test_unknown_kind(self) -> None:
        """An error without a row in the table is a failure, without a hint."""
        assert (exit_code(APIError("x", status=418)), hint(APIError("x"))) == (1, "")


class TestCertificates:
    def test_unknown_authority(self, cli: CommandLine, encrypted: str) -> None:
        done = cli(*LIST, "--url", encrypted)
        assert done.code == 5
        assert "--ca-file" in done.err
        assert "--fingerprint" in done.err

    def test_trusted(
        self, cli: CommandLine, encrypted: str, authority: trustme.CA, tmp_path: Path
    ) -> None:
        file = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(str(file))
        assert cli(*LIST, "--url", encrypted, "--ca-file", file).code == 0
        assert cli(*LIST, "--url", encrypted, PORTSIP_CA_FILE=str(file)).code == 0

    def test_pinned(self, cli: CommandLine, encrypted: str) -> None:
        port = int(encrypted.rpartition(":")[2])
        digest = digest_of(port)
        assert cli(*LIST, "--url", encrypted, "--fingerprint", digest).code == 0
        spelt = ":".join(digest[at : at + 2] for at in range(0, 64, 2)).upper()
        assert cli(*LIST, "--url", encrypted, "--fingerprint", spelt).code == 0

    def test_pinned_to_another(self, cli: CommandLine, encrypted: str) -> None:
        done = cli(*LIST, "--url", encrypted, "--fingerprint", "00" * 32)
        assert done.code == 5
        # aiohttp closes such a connection with a handshake that the end of the loop cuts off.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    def test_insecure(self, cli: CommandLine, encrypted: str) -> None:
        done = cli(*LIST, "--url", encrypted, "--insecure")
        assert (done.code, done.err) == (0, "")


class TestProxy:
    @pytest.mark.parametrize("option", [True, False])
    def test_goes_through_it(self, option: bool, cli: CommandLine, pbx: PBXSimulator) -> None:
        """A proxy gets the request; here it is the simulator, which refuses the address."""
        given: dict[str, Any] = {"PORTSIP_URL": "http://pbx.localhost:1"}
        words = ("--proxy", pbx.url) if option else ()
        given |= {} if option else {"PORTSIP_PROXY": pbx.url}
        assert "err_code 404.2" in cli(*LIST, *words, environment=given).err
        done = cli("check", *words, environment=given)
        assert "address   behind a proxy, not looked at" in done.lines


class TestElsewhere:
    def test_endpoints(self, make_pbx: PBXMaker, monkeypatch: pytest.MonkeyPatch) -> None:
        moved = make_pbx(
            endpoints={"extensions.status": {"method": "GET"}, "groups.list": {"path": "/g"}}
        )
        cli = CommandLine(monkeypatch, environment_of(moved))
        assert cli("groups", "list").code == 4
        done = cli("groups", "list", "--endpoint", "groups.list=/g")
        assert json.loads(done.lines[0])["group_id"]
        assert cli("extensions", "status", "101", "--endpoint", "extensions.status=GET").code == 0

    def test_all_forms(self) -> None:
        given = ["a.b=GET:/x", "a.b=POST", "c.d=/y:z"]
        assert Connection(endpoint=given).overrides() == {
            "a.b": {"method": "POST", "path": "/x"},
            "c.d": {"path": "/y:z"},
        }

    def test_rate(self, cli: CommandLine) -> None:
        assert cli(*LIST, "--rate", "1000", "--timeout", "5").code == 0


def digest_of(port: int) -> str:
    pem = ssl.get_server_certificate(("127.0.0.1", port))
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
