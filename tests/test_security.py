"""Which servers the client sends secrets to.

Other modules test related promises: `test_transport` certificates, proxies, cookies and redirects
of single calls; `test_client` the base URL; `test_uploads` the names of uploads; `test_secrecy` and
`test_tracebacks` that no secret is shown.
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

# At paths that the wire server leaves to its script.
SCRIPTED_LOGINS: Any = {
    "account.verify": {"path": "/login"},
    "account.verify_email": {"path": "/login"},
}


@asynccontextmanager
async def tls_server(authority: trustme.CA, **certificate: Any) -> AsyncIterator[WireServer]:
    """Start a server with a certificate of this authority."""
    context = tls.SSLContext(tls.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", **certificate).configure_cert(context)
    async with WireServer(context) as wire:
        yield wire


class TestCertificates:
    @pytest.mark.parametrize(
        "source", ["default", "other CA", "fingerprint", "session", "environment"]
    )
    async def test_untrusted_server_gets_no_request(
        self, source: str, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However the client is made, nothing is sent to a server with an untrusted certificate."""
        other = tmp_path / "other.pem"
        trustme.CA().cert_pem.write_to_path(other)
        async with tls_server(authority) as wire, aiohttp.ClientSession() as session:
            options: dict[str, dict[str, Any]] = {
                "default": {},
                "other CA": {"ssl": other},
                "fingerprint": {"ssl": Fingerprint(bytes(32))},
                "session": {"session": session},
                "environment": {},
            }
            if source == "environment":
                for name, value in {"URL": wire.url, "CA_FILE": str(other), **LOGIN}.items():
                    monkeypatch.setenv(f"PORTSIP_{name.upper()}", value)
                pbx = PortSIPClient.from_env()
            else:
                pbx = PortSIPClient(wire.url, **LOGIN, **options[source])
            async with pbx:
                with pytest.raises(ConnectError, match="certificate was refused") as caught:
                    await pbx.extensions.show("101")
        assert caught.value.refused_certificate
        assert caught.value.attempts == 1
        assert (wire.logins, wire.arrivals) == (0, [])

    async def test_ca_file_of_the_environment_is_trusted(
        self, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The client trusts the CA file that PORTSIP_CA_FILE names."""
        path = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(path)
        async with tls_server(authority) as wire:
            for name, value in {"URL": wire.url, "CA_FILE": str(path), "TOKEN": TOKEN}.items():
                monkeypatch.setenv(f"PORTSIP_{name}", value)
            async with PortSIPClient.from_env() as pbx:
                await pbx.extensions.show("101")
        assert len(wire.arrivals) == 1

    async def test_expired_certificate_is_refused(
        self, authority: trustme.CA, tmp_path: Path
    ) -> None:
        """It is refused, and the error says that it expired."""
        path = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(path)
        past = datetime(2020, 1, 1, tzinfo=UTC)
        async with (
            tls_server(authority, not_after=past) as wire,
            PortSIPClient(wire.url, **LOGIN, ssl=path) as pbx,
        ):
            with pytest.raises(ConnectError, match="expired") as caught:
                await pbx.extensions.show("101")
        assert caught.value.refused_certificate
        assert (wire.logins, wire.arrivals) == (0, [])


class TestRedirects:
    @pytest.mark.parametrize("owner", ["client", "application"])
    @pytest.mark.parametrize("operation", OPERATIONS, ids=lambda row: row.name)
    async def test_redirect_is_not_followed(
        self, operation: Operation, owner: str, wire: WireServer
    ) -> None:
        """No call sends its token or password to the target of a redirect."""
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

    @pytest.mark.parametrize("location", ["query", "body", "header", "bearer"])
    async def test_redirect_gets_no_token(self, location: Any, wire: WireServer) -> None:
        """That holds for a token in any location, a header included."""
        async with WireServer() as target:
            wire.script = [reply("", 307, {"Location": target.url})]
            async with PortSIPClient(wire.url, token=TOKEN, retry=NO_PAUSE) as pbx:
                with pytest.raises(APIError):
                    await pbx.request(Endpoint("a.b", "POST", "/a", token=location))
            assert target.connections == 0


class TestEnvironment:
    async def test_netrc_is_not_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wire: WireServer
    ) -> None:
        """Credentials that ~/.netrc holds for the host are not sent."""
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login someone password netrc-Secret-1\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        async with PortSIPClient(wire.url, token=TOKEN) as pbx:
            await pbx.extensions.show("101")
        assert "authorization" not in wire.arrivals[0].headers

    @pytest.mark.parametrize("login", ["own", "token"])
    async def test_proxy_of_the_environment_is_not_used(
        self, login: str, monkeypatch: pytest.MonkeyPatch, wire: WireServer
    ) -> None:
        """It gets neither a login nor a call."""
        async with WireServer() as proxy:
            for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
                monkeypatch.setenv(name, proxy.url)
            for name in ("no_proxy", "NO_PROXY"):
                monkeypatch.delenv(name, raising=False)
            options: dict[str, Any] = LOGIN if login == "own" else {"token": TOKEN}
            async with PortSIPClient(wire.url, **options) as pbx:
                await pbx.extensions.show("101")
            assert proxy.connections == 0
        assert wire.logins == (1 if login == "own" else 0)


class TestTokenInHeader:
    async def test_no_secret_is_in_a_url(self, wire: WireServer) -> None:
        """With the token in a header, a proxy's access log shows no secret."""
        names = [row.name for row in OPERATIONS if not row.name.startswith("account.")]
        rows: dict[str, Any] = {name: {"token": "bearer"} for name in names}
        rows["extensions.call"]["method"] = "POST"
        wire.script = [reply()]
        async with PortSIPClient(wire.url, token=TOKEN, endpoints=rows, retry=NO_PAUSE) as pbx:
            for operation in OPERATIONS:
                if operation.name in rows:
                    with suppress(ReplyError):  # the reply is empty
                        await operation.send(pbx)
        assert len(wire.arrivals) == len(rows)
        for arrival in wire.arrivals:
            assert arrival.headers["authorization"] == f"Bearer {TOKEN}"
            assert "ecret" not in arrival.query
            assert TOKEN not in arrival.query


def test_page_lists_the_requests_with_a_token_in_the_url() -> None:
    """SECURITY.md lists every operation that has its token in the query."""
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    listed, resource = set(), ""
    for name in re.findall(
        r"`([a-z_.]+)`", page.partition("token in the URL:\n")[2].partition("All")[0]
    ):
        resource, _, coroutine = name.rpartition(".") if "." in name else (resource, "", name)
        listed.add(f"{resource}.{coroutine}")
    assert listed == {name for name, row in ENDPOINTS.items() if row.token == "query"}


def test_each_exception_from_a_security_rule_has_a_reason() -> None:
    """Each `noqa` of one of ruff's S rules says why."""
    bare = re.compile(r"# noqa: S\d+(?:, ?[A-Z]+\d+)*\s*$")
    for path in (ROOT / "portsip_async").rglob("*.py"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            assert not bare.search(line), f"{path.name}:{number}"
