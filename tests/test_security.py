"""What the client promises about whom it speaks to, and what it takes along.

Beside what is held elsewhere: certificates, proxies, cookies and redirects of single calls in
`test_transport`, the base URL in `test_client`, the names of uploads in `test_uploads`, and that no
secret is told in `test_secrecy` and `test_tracebacks`.
"""

import re
import ssl as tls
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from portsip_async import (
    ENDPOINTS,
    APIError,
    ConnectError,
    Endpoint,
    Fingerprint,
    PortSIPClient,
    ReplyError,
    RetryPolicy,
)

from .operations import OPERATIONS, Operation
from .wire_server import TOKEN, WireServer, reply

ROOT = Path(__file__).parent.parent
NO_PAUSE = RetryPolicy(initial=0, maximum=0)
LOGIN: Any = {"username": "admin", "password": "login-Secret-1"}

# At addresses that the wire server does not answer by itself.
SCRIPTED_LOGINS: Any = {
    "account.verify": {"path": "/login"},
    "account.verify_email": {"path": "/login"},
}


@asynccontextmanager
async def encrypted(authority: trustme.CA, **certificate: Any) -> AsyncIterator[WireServer]:
    context = tls.SSLContext(tls.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", **certificate).configure_cert(context)
    async with WireServer(context) as wire:
        yield wire


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class TestCertificates:
    @pytest.mark.parametrize(
        "how", ["default", "other CA", "fingerprint", "session", "environment"]
    )
    async def test_no_password_to_a_stranger(
        self, how: str, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However a client is made, one whose certificate is not trusted gets nothing to read."""
        other = tmp_path / "other.pem"
        trustme.CA().cert_pem.write_to_path(other)
        async with encrypted(authority) as wire, aiohttp.ClientSession() as session:
            ways: dict[str, dict[str, Any]] = {
                "default": {},
                "other CA": {"ssl": other},
                "fingerprint": {"ssl": Fingerprint(bytes(32))},
                "session": {"session": session},
                "environment": {},
            }
            if how == "environment":
                for name, value in {"URL": wire.url, "CA_FILE": str(other), **LOGIN}.items():
                    monkeypatch.setenv(f"PORTSIP_{name.upper()}", value)
                pbx = PortSIPClient.from_env()
            else:
                pbx = PortSIPClient(wire.url, **LOGIN, **ways[how])
            async with pbx:
                with pytest.raises(ConnectError, match="certificate was refused") as caught:
                    await pbx.extensions.show("101")
        assert caught.value.refused_certificate
        assert caught.value.attempts == 1
        assert (wire.logins, wire.arrivals) == (0, [])

    async def test_ca_file_of_the_environment(
        self, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A CA file that the environment names is the one that is trusted."""
        path = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(path)
        async with encrypted(authority) as wire:
            for name, value in {"URL": wire.url, "CA_FILE": str(path), "TOKEN": TOKEN}.items():
                monkeypatch.setenv(f"PORTSIP_{name}", value)
            async with PortSIPClient.from_env() as pbx:
                await pbx.extensions.show("101")
        assert len(wire.arrivals) == 1

    async def test_expired(self, authority: trustme.CA, tmp_path: Path) -> None:
        """A certificate that was good once is refused, and the error says what is wrong with it."""
        path = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(path)
        past = datetime(2020, 1, 1, tzinfo=UTC)
        async with (
            encrypted(authority, not_after=past) as wire,
            PortSIPClient(wire.url, **LOGIN, ssl=path) as pbx,
        ):
            with pytest.raises(ConnectError, match="expired") as caught:
                await pbx.extensions.show("101")
        assert caught.value.refused_certificate
        assert (wire.logins, wire.arrivals) == (0, [])


class TestRedirects:
    @pytest.mark.parametrize("owner", ["client", "application"])
    @pytest.mark.parametrize("operation", OPERATIONS, ids=lambda row: row.name)
    async def test_take_nothing_along(
        self, operation: Operation, owner: str, wire: WireServer
    ) -> None:
        """A redirect takes neither a token nor a password to another host, whatever the call."""
        async with WireServer() as target, aiohttp.ClientSession() as session:
            wire.script = [reply("", 307, {"Location": f"{target.url}/api/"})]
            async with PortSIPClient(
                wire.url,
                token=TOKEN,
                retry=NO_PAUSE,
                session=session if owner == "application" else None,
                endpoints=SCRIPTED_LOGINS,
            ) as pbx:
                with pytest.raises(APIError) as caught:
                    await operation.send(pbx)
            assert target.connections == 0
        assert caught.value.status == 307

    @pytest.mark.parametrize("place", ["query", "body", "header", "bearer"])
    async def test_token_in_any_place(self, place: Any, wire: WireServer) -> None:
        """Nor is one in a header taken along."""
        async with WireServer() as target:
            wire.script = [reply("", 307, {"Location": target.url})]
            async with PortSIPClient(wire.url, token=TOKEN, retry=NO_PAUSE) as pbx:
                with pytest.raises(APIError):
                    await pbx.request(Endpoint("a.b", "POST", "/a", token=place))
            assert target.connections == 0


class TestEnvironment:
    async def test_netrc_is_not_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wire: WireServer
    ) -> None:
        """Credentials that another program keeps for a host are not sent to it."""
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login someone password netrc-Secret-1\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        async with PortSIPClient(wire.url, token=TOKEN) as pbx:
            await pbx.extensions.show("101")
        assert "authorization" not in wire.arrivals[0].headers

    @pytest.mark.parametrize("login", ["own", "token"])
    async def test_proxies_get_no_login(
        self, login: str, monkeypatch: pytest.MonkeyPatch, wire: WireServer
    ) -> None:
        """A proxy of the environment sees neither a login nor a call."""
        async with WireServer() as proxy:
            for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
                monkeypatch.setenv(name, proxy.url)
            for name in ("no_proxy", "NO_PROXY"):
                monkeypatch.delenv(name, raising=False)
            means: dict[str, Any] = LOGIN if login == "own" else {"token": TOKEN}
            async with PortSIPClient(wire.url, **means) as pbx:
                await pbx.extensions.show("101")
            assert proxy.connections == 0
        assert wire.logins == (1 if login == "own" else 0)


class TestTokenPlaces:
    async def test_no_secret_in_a_url(self, wire: WireServer) -> None:
        """With rows that take the token in a header, no proxy's access log sees any secret."""
        names = [row.name for row in OPERATIONS if not row.name.startswith("account.")]
        rows: dict[str, Any] = {name: {"token": "bearer"} for name in names}
        rows["extensions.call"]["method"] = "POST"
        wire.script = [reply()]
        async with PortSIPClient(wire.url, token=TOKEN, endpoints=rows, retry=NO_PAUSE) as pbx:
            for operation in OPERATIONS:
                if operation.name in rows:
                    with suppress(ReplyError):  # what reads something gets an empty reply
                        await operation.send(pbx)
        assert len(wire.arrivals) == len(rows)
        for arrival in wire.arrivals:
            assert arrival.headers["authorization"] == f"Bearer {TOKEN}"
            assert "ecret" not in arrival.query
            assert TOKEN not in arrival.query


def test_page_names_the_requests_with_their_token_in_the_url() -> None:
    """SECURITY.md tells whose URLs to keep from logs: those of all rows that put a token there."""
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    told, resource = set(), ""
    for name in re.findall(
        r"`([a-z_.]+)`", page.partition("token there:\n")[2].partition("All")[0]
    ):
        resource, _, coroutine = name.rpartition(".") if "." in name else (resource, "", name)
        told.add(f"{resource}.{coroutine}")
    assert told == {name for name, row in ENDPOINTS.items() if row.token == "query"}


def test_no_security_rule_is_passed_over_without_a_reason() -> None:
    """Each exception from the checks of ruff's S rules says why."""
    bare = re.compile(r"# noqa: S\d+(?:, ?[A-Z]+\d+)*\s*$")
    for path in (ROOT / "portsip_async").rglob("*.py"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            assert not bare.search(line), f"{path.name}:{number}"
