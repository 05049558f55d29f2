"""``check``: what it reports, what it hides, and its exit codes."""

import json
import socket
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from portsip_async import ENDPOINTS, Extension, ExtensionPage, GreetingPage, Token
from portsip_async.cli.check.compare import Comparison
from portsip_async.cli.check.probe import Address, Certificate
from portsip_async.cli.check.report import Report, WebSocket, lines
from portsip_async.simulator import PBXSimulator

from .conftest import Beside, PBXMaker, environment_of, relayed
from .terminal import CommandLine


def report(cli: CommandLine, *options: str, code: int = 0, **more: Any) -> dict[str, Any]:
    done = cli("check", "--output", "json", *options, **more)
    assert done.code == code, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def differences(found: dict[str, Any], name: str) -> set[tuple[str, str, str]]:
    (row,) = [row for row in found["operations"] if row["name"] == name]
    return {(one["kind"], one["where"], one["told"]) for one in row["differences"]}


@pytest.fixture
def quirky(make_pbx: PBXMaker, monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(*quirks: str, **options: Any) -> tuple[CommandLine, PBXSimulator]:
        pbx = make_pbx(quirks=quirks, **options)
        for number in pbx.extension_numbers[:10]:
            pbx.set_status(number, "ON_CALL", user_agent="Desk")
        return CommandLine(monkeypatch, environment_of(pbx)), pbx

    return make


class TestReport:
    def test_what_is_found(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        found = report(cli)
        assert found["address"]["scheme"] == "http"
        assert found["address"]["reachable"] is True
        assert found["address"]["connect_ms"] >= 0
        assert abs(found["address"]["clock_ahead"]) < 5
        assert found["login"]["accepted"] is True
        assert found["login"]["seconds"] == 30
        assert found["login"]["role"] == "tenant"
        assert found["latency"]["requests"] > 10
        asked = [row["name"] for row in found["operations"]]
        assert sorted([*asked, *found["writes"], "account.verify_email"]) == sorted(ENDPOINTS)

    def test_nothing_is_changed(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        found = report(cli)
        assert not {*found["writes"]} & {*pbx.served}
        assert pbx.calls == []

    def test_hides_secrets_and_people(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        """Text and JSON hold no address, account, number, name or password."""
        pbx.fail("groups.show", status=500, msg="trouble with Inês at 101", times=None)
        for form in ("json", "text"):
            done = cli("check", "--output", form)
            private = {pbx.username, pbx.password, pbx.email, "127.0.0.1", pbx.url[-5:], "trouble"}
            private |= {*pbx.group_ids}
            for number in pbx.extension_numbers:
                held = pbx.extension(number)
                private |= {held["password"], held["profile"]["last_name"], f'"{number}"'}
            assert not [word for word in private if word in done.out]

    def test_text(self, cli: CommandLine) -> None:
        done = cli("check")
        assert done.code == 0
        assert "login     by username; token valid for 30 s, role tenant, API 2.0.0" in done.lines
        assert any(
            line.split()[:4] == ["extensions.show", "GET", "/extensions/show", "fits"]
            for line in done.lines
        )

    def test_sample(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        report(cli, "--sample", "2")
        assert pbx.served["extensions.show"] == 3  # two raw ones, and one by the SDK


class TestDifferences:
    def test_none(self, cli: CommandLine) -> None:
        """The simulator without quirks fits the models."""
        found = report(cli)
        assert {row["state"] for row in found["operations"]} == {"fits"}
        assert not [row["differences"] for row in found["operations"] if row["differences"]]

    @pytest.mark.parametrize(
        ("quirk", "operation", "difference"),
        [
            ("unknown_fields", "extensions.show", ("unknown field", "profile.x_unknown", "object")),
            ("unknown_fields", "groups.list", ("unknown field", "groups[].x_unknown", "object")),
            ("absent_fields", "extensions.list", ("missing field", "extensions[].email", "")),
            ("nulls", "extensions.list", ("other type", "extensions[].email", "null, not text")),
            (
                "numbers_as_strings",
                "groups.list",
                ("other type", "groups[].members_count", "text, not number"),
            ),
            (
                "numbers_as_strings",
                "extensions.show",
                ("other type", "options.enable_extension", "text, not boolean"),
            ),
            (
                "unknown_enums",
                "extensions.status",
                ("unknown value", "extension_status[].status", "NEW_VALUE"),
            ),
            ("group_show_without_id", "groups.show", ("missing field", "group_id", "")),
            ("no_page_count", "extensions.list", ("missing field", "page_count", "")),
            (
                "greetings_as_greetings",
                "greetings.list",
                ("unknown field", "greetings", "stands for files"),
            ),
            ("expires_as_string", "account.verify", ("other type", "expires", "text, not number")),
            ("no_expires", "account.verify", ("missing field", "expires", "")),
            ("refresh_prolongs", "account.refresh", ("missing field", "access_token", "")),
        ],
    )
    def test_quirks(
        self, quirk: str, operation: str, difference: tuple[str, str, str], quirky: Any
    ) -> None:
        """Each quirk of a reply is reported with its path, and the operation can still be used."""
        cli, _ = quirky(quirk)
        assert difference in differences(report(cli), operation)

    def test_one_bare_object(self, quirky: Any) -> None:
        cli, _ = quirky("search_one_object", extensions=1)
        found = differences(report(cli), "extensions.search")
        assert ("other type", "extensions", "object, not list") in found

    def test_status_of_another_extension(self, quirky: Any) -> None:
        cli, _ = quirky("status_stranger")
        (row,) = [r for r in report(cli)["operations"] if r["name"] == "extensions.status"]
        assert (row["state"], row["told"]) == ("differs", "of 5 numbers 1 not asked for")

    @pytest.mark.parametrize("quirk", ["text_html", "bom", "error_in_200", "count_lies", "latin1"])
    def test_quirks_that_are_not_a_difference(self, quirk: str, quirky: Any) -> None:
        cli, _ = quirky(quirk)
        assert {row["state"] for row in report(cli)["operations"]} == {"fits"}


class TestComparison:
    def found(self, model: type[Any], *replies: Any) -> list[tuple[str, str, str, int, int]]:
        comparison = Comparison(model)
        for reply in replies:
            comparison.add(reply)
        return [
            (str(one.kind), one.where, one.detail, one.times, one.of)
            for one in comparison.differences()
        ]

    def test_times(self) -> None:
        page = {"pagination": 1, "pagesize": 1, "page_count": 1, "count": 2, "sort_by": "x"}
        whole = dict.fromkeys(
            (
                "extension_number",
                "first_name",
                "last_name",
                "email",
                "user_agent",
                "phone_mac_address",
                "phone_model",
            ),
            "x",
        ) | {"status": "OFFLINE"}
        half = {name: value for name, value in whole.items() if name != "email"}
        rows = [{**page, "extensions": [whole, half]}, {**page, "extensions": [half]}]
        assert self.found(ExtensionPage, *rows) == [
            ("missing field", "extensions[].email", "", 2, 3)
        ]

    def test_values_and_names_that_may_be_private_are_withheld(self) -> None:
        reply = {
            "extension_number": "101",
            "profile": {"gender": "Jane Doe", "jane.doe@pbx.example": 1, "x5551234": 1},
        }
        found = self.found(Extension, reply)
        assert ("unknown value", "profile.gender", "a text of 8 letters", 1, 1) in found
        assert ("unknown field", "profile.(name withheld)", "number", 2, 1) in found

    def test_very_many_unknown_fields(self) -> None:
        """At most twenty unknown fields of an object are named."""
        names = {f"{chr(97 + at)}{chr(97 + at)}": 1 for at in range(26)}
        found = self.found(
            Token, {"access_token": "x", "expires": 1, "role": "x", "api_version": "x", **names}
        )
        assert len(found) == 21
        assert found[0] == ("unknown field", "(name withheld)", "number", 6, 1)

    def test_shapes(self) -> None:
        assert self.found(Token, [1]) == [("other type", "the reply", "list, not object", 1, 1)]
        assert ("other type", "extensions", "text, not list", 1, 1) in self.found(
            ExtensionPage, {"extensions": "x"}
        )
        assert ("other type", "extensions[]", "number, not object", 1, 1) in self.found(
            ExtensionPage, {"extensions": [1]}
        )
        assert ("other type", "profile", "null, not object", 1, 1) in self.found(
            Extension, {"profile": None}
        )
        assert ("other type", "options.enable_extension", "number, not boolean", 1, 1) in (
            self.found(Extension, {"options": {"enable_extension": 1}})
        )
        assert ("other type", "profile.gender", "boolean, not text", 1, 1) in self.found(
            Extension, {"profile": {"gender": True}}
        )
        page = {"greetings": [{"filename": 1}], "err_code": 0, "msg": "ok"}
        assert ("other type", "greetings[].filename", "number, not text", 1, 1) in self.found(
            GreetingPage, page
        )


class TestFailures:
    def test_wrong_password(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        """The password is sent once, because a PBX may block an address after repeated refusals.

        Before it, an empty login finds out the generation.
        """
        found = report(cli, code=3, PORTSIP_PASSWORD="wrong")
        assert found["login"]["accepted"] is False
        assert found["login"]["problem"] == "refused (HTTP 400)"
        assert pbx.served == {"account.verify": 2}

    @pytest.mark.parametrize("status", [404, 405, 410, 501])
    @pytest.mark.parametrize("kind", ["username", "email"])
    def test_login_where_there_is_no_api(
        self, status: int, kind: str, cli: CommandLine, pbx: PBXSimulator
    ) -> None:
        """The hint is about the address, not the password, and does not recommend `check`."""
        for name in ("account.verify", "account.verify_email"):
            pbx.fail(name, status=status, body="<html>Not here</html>", times=None)
        words = ("--email", pbx.email) if kind == "email" else ()
        done = cli("check", "-o", "json", *words)
        found = json.loads(done.out)
        assert found["login"]["problem"] == f"nothing there (HTTP {status})"
        assert found["operations"][0]["state"] == "elsewhere"
        assert done.code == 4
        assert "password" not in done.err
        assert "check the address" in done.err
        assert "'portsip-async check'" not in done.err

    @pytest.mark.parametrize(
        "failure",
        [
            {"status": 404},
            {"drop": True},
            {"status": 500},
            {"body": "<html>"},
            {"status": 429},
            {"status": 403, "err_code": 403.1},
        ],
        ids=str,
    )
    def test_hint_does_not_recommend_the_same_command(
        self, failure: dict[str, Any], cli: CommandLine, pbx: PBXSimulator
    ) -> None:
        pbx.fail("account.verify", **failure, times=None)
        done = cli("check", "--timeout", "1")
        assert done.code
        assert "portsip-async check" not in done.err
        assert "'check'" not in done.err

    def test_missing_ca_file(self, cli: CommandLine, encrypted: str, pbx: PBXSimulator) -> None:
        """The error names the file and the variable, for http and https."""
        for url in (encrypted, pbx.url):
            done = cli("check", PORTSIP_URL=url, PORTSIP_CA_FILE="/no/such.pem")
            assert (done.code, done.out) == (2, "")
            assert "PORTSIP_CA_FILE: /no/such.pem: No such file" in done.err

    def test_ca_file_that_holds_none(
        self, cli: CommandLine, encrypted: str, tmp_path: Path
    ) -> None:
        file = tmp_path / "ca.pem"
        file.write_text("no certificate\n")
        for words in (("check",), ("extensions", "list")):
            for given in ({"PORTSIP_CA_FILE": str(file)}, {}):
                option = () if given else ("--ca-file", file)
                done = cli(*words, *option, PORTSIP_URL=encrypted, environment=given)
                assert done.code == 2
                assert f"{file}: no certificate in it" in done.err

    def test_unreachable(self, cli: CommandLine) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}"
        found = report(cli, code=5, PORTSIP_URL=url)
        assert found["address"]["reachable"] is False
        assert found["address"]["problem"] == "connection refused"
        assert cli("check", PORTSIP_URL=url).lines[-1] == (
            "address   not reachable: connection refused"
        )

    def test_unknown_name(self, cli: CommandLine) -> None:
        found = report(cli, code=5, PORTSIP_URL="https://pbx.invalid")
        assert found["address"]["problem"] == "the name is not known"

    def test_no_url(self, cli: CommandLine) -> None:
        assert cli("check", PORTSIP_URL=None).code == 2

    def test_no_tls(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        found = report(cli, code=5, PORTSIP_URL=pbx.url.replace("http", "https"))
        assert found["address"]["problem"].startswith("no TLS: ")

    def test_refused_and_failed_operations(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        pbx.fail("groups.list", status=403, err_code=403.1, times=None)
        pbx.fail("greetings.list", body="<html>", times=None)
        pbx.fail("extensions.show", status=500, err_code="secret text", times=None)
        pbx.fail("extensions.search", drop=True, times=None)
        found = report(cli, code=1)
        states = {row["name"]: (row["state"], row["told"]) for row in found["operations"]}
        assert states["groups.list"] == ("refused", "the account's role does not allow it")
        assert states["groups.show"] == ("not asked", "there is no group")
        assert states["greetings.list"][0] == "failed"
        assert states["greetings.list"][1].startswith("can't be read: ")
        assert states["extensions.show"] == ("failed", "HTTP 500, err_code of another form")
        assert states["extensions.search"] == ("failed", "TransportError")
        done = cli("check")
        assert done.lines[-1].startswith("Can't be used here: extensions.search, extensions.show,")

    def test_empty_pbx(self, quirky: Any) -> None:
        cli, _ = quirky(extensions=0, groups=0)
        states = {row["name"]: row["state"] for row in report(cli)["operations"]}
        assert states["extensions.show"] == states["greetings.list"] == "not asked"

    def test_token(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        done = cli("check", PORTSIP_TOKEN="wrong")
        assert done.code == 3
        assert "login     not asked: a token was given" in done.lines

    def test_email(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        found = report(cli, "--email", pbx.email)
        assert found["login"]["means"] == "email"
        assert found["operations"][0]["name"] == "account.verify_email"


class TestElsewhere:
    def test_other_path(self, quirky: Any) -> None:
        cli, _ = quirky(endpoints={"groups.list": {"path": "/group/list"}})
        (row,) = [r for r in report(cli, code=1)["operations"] if r["name"] == "groups.list"]
        assert row["state"] == "elsewhere"
        assert row["told"] == "nothing there (HTTP 404, err_code 404.2): see --endpoint"
        found = report(cli, "--endpoint", "groups.list=/group/list")
        assert "elsewhere" not in {row["state"] for row in found["operations"]}

    def test_other_method(self, quirky: Any) -> None:
        """If POST finds nothing, the status is requested with GET, as an older PBX takes it."""
        cli, _ = quirky(endpoints={"extensions.status": {"method": "GET"}})
        (row,) = [r for r in report(cli, code=1)["operations"] if r["name"] == "extensions.status"]
        assert row["told"] == "answers to GET: --endpoint extensions.status=GET"
        found = report(cli, "--endpoint", "extensions.status=GET")
        assert "elsewhere" not in {row["state"] for row in found["operations"]}


class TestTLS:
    def test_trusted(
        self, cli: CommandLine, encrypted: str, authority: trustme.CA, tmp_path: Path
    ) -> None:
        file = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(str(file))
        found = report(cli, "--ca-file", str(file), PORTSIP_URL=encrypted)
        certificate = found["address"]["certificate"]
        assert found["address"]["tls"] == "TLSv1.3"
        assert certificate["trusted"] is True
        assert certificate["self_signed"] is False
        assert certificate["days_left"] > 30

    def test_not_trusted(self, cli: CommandLine, encrypted: str) -> None:
        """The hint, on stderr only, shows how to pin the certificate, and then the check works."""
        done = cli("check", PORTSIP_URL=encrypted)
        assert done.code == 5
        digest = done.err.split("--fingerprint ")[1].strip()
        assert digest not in done.out
        assert "NOT TRUSTED: unable to get local issuer certificate" in done.out
        assert cli("check", "--fingerprint", digest, PORTSIP_URL=encrypted).code == 0

    @pytest.mark.parametrize(
        ("since", "until", "message"),
        [(-30, -3, "expired"), (3, 30, "not yet valid"), (-3, 30, "self-signed certificate")],
    )
    @pytest.mark.parametrize("signed_by", ["itself", "another"])
    def test_dates_of_an_untrusted_certificate(
        self,
        since: int,
        until: int,
        message: str,
        signed_by: str,
        cli: CommandLine,
        beside: Beside,
        pbx: PBXSimulator,
        tmp_path: Path,
    ) -> None:
        """The report has the dates, although OpenSSL reports only the unknown issuer."""
        context = certified(tmp_path, since, until, signed_by == "itself")
        if signed_by == "another" and message.startswith("self"):
            message = "unable to get"
        with relayed(beside, int(pbx.url.rpartition(":")[2]), context) as port:
            done = cli("check", "-o", "json", PORTSIP_URL=f"https://127.0.0.1:{port}")
        certificate = json.loads(done.out)["address"]["certificate"]
        assert done.code == 5
        assert certificate["trusted"] is False
        assert message in certificate["problem"]
        assert message in done.err
        assert certificate["self_signed"] is (signed_by == "itself")
        assert until - 2 <= certificate["days_left"] <= until

    def test_expired_certificate_of_a_trusted_authority(
        self, cli: CommandLine, beside: Beside, pbx: PBXSimulator, tmp_path: Path
    ) -> None:
        """The hint does not recommend --ca-file, because it would not help."""
        context = certified(tmp_path, -30, -3, itself=True)
        ca = ("--ca-file", tmp_path / "cert.pem")
        with relayed(beside, int(pbx.url.rpartition(":")[2]), context) as port:
            done = cli("extensions", "list", *ca, PORTSIP_URL=f"https://127.0.0.1:{port}")
        assert done.code == 5
        assert "expired" in done.err
        assert "renew the PBX's certificate" in done.err

    def test_other_name(
        self, cli: CommandLine, beside: Beside, pbx: PBXSimulator, tmp_path: Path
    ) -> None:
        """The report says that the names differ, and holds no name."""
        context = certified(tmp_path, -3, 30, itself=True, name="other.example")
        ca = ("--ca-file", tmp_path / "cert.pem")
        with relayed(beside, int(pbx.url.rpartition(":")[2]), context) as port:
            done = cli("check", *ca, PORTSIP_URL=f"https://127.0.0.1:{port}")
        assert done.code == 5
        assert "mismatch" in done.out
        assert "127.0.0.1" not in done.out
        assert "other.example" not in done.out

    def test_words(self) -> None:
        own = Certificate(trusted=False, problem="self-signed", self_signed=True, days_left=3)
        address = Address(
            scheme="https",
            reachable=True,
            connect_ms=1.5,
            tls="TLSv1.3",
            cipher="X",
            certificate=own,
            clock_ahead=-4.2,
        )
        shown = list(lines(Report(portsip_async="1", python="3", made_at="now", address=address)))
        assert (
            "TLS       TLSv1.3, X, NOT TRUSTED: self-signed, signed by itself, 3 days left" in shown
        )
        assert "clock     4.2 s behind ours" in shown
        assert "clock     unknown: the PBX sent no date" in list(
            lines(
                Report(
                    portsip_async="1",
                    python="3",
                    made_at="now",
                    address=Address(scheme="http", reachable=True, connect_ms=1.0),
                )
            )
        )
        assert "address   behind a proxy, not looked at" in list(
            lines(Report(portsip_async="1", python="3", made_at="now"))
        )

    @pytest.mark.parametrize(
        ("found", "words"),
        [
            (
                WebSocket(state="works", seconds=0.02, acknowledged=False),
                "works: the first status after 0.02 s, subscription not acknowledged",
            ),
            (
                WebSocket(state="refused", detail="HTTP 503", hint="do this"),
                "is not used, watches poll: refused (HTTP 503); do this",
            ),
            (
                WebSocket(state="subscription refused"),
                "is not used, watches poll: subscription refused",
            ),
            (WebSocket(state="not tried", detail="because"), "was not tried: because"),
        ],
        ids=["works", "refused", "without detail", "not tried"],
    )
    def test_words_about_the_web_socket(self, found: WebSocket, words: str) -> None:
        report = Report(portsip_async="1", python="3", made_at="now", web_socket=found)
        assert f"live      the web socket {words}" in list(lines(report))


def certified(
    folder: Path, since: int, until: int, itself: bool, name: str = "127.0.0.1"
) -> ssl.SSLContext:
    """Make a server's context with a certificate that is valid between two days from now."""
    key, foreign = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pbx")])
    issuer = subject if itself else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
    now = datetime.now(UTC)
    shown = x509.DNSName(name) if name[-1].isalpha() else x509.IPAddress(ip_address(name))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=since))
        .not_valid_after(now + timedelta(days=until))
        .add_extension(x509.SubjectAlternativeName([shown]), critical=False)
        .sign(key if itself else foreign, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context
