"""`detect`: which replies belong to which generation, and what it sends."""

import asyncio
import json
import ssl as tls
from pathlib import Path
from typing import Any

import pytest
import trustme

from portsip_async import (
    ConfigurationError,
    ConnectError,
    Fingerprint,
    RequestTimeout,
    TransportError,
    detect,
)
from portsip_async.simulator import PBXSimulator

from .proxy_server import ProxyServer
from .wire_server import Arrival, Step, WireServer, hang_up, reply, reset, silence

INFO, LOGIN = "/api/info", "/api/account/credentials/verify"
HTML = {"Content-Type": "text/html"}
PAGE = "<!DOCTYPE html><html>Welcome to the hotel</html>"
MISSING = reply({"err_code": 404.2, "msg": "nothing here"}, 404)
METADATA = reply({"web_domain": "pbx.example.com", "enable_ipv6": False})
REFUSED = reply({"err_code": 401.1, "msg": "no such user"}, 400)


def serve(wire: WireServer, info: Step, login: Step) -> WireServer:
    """Let a server handle these two requests, and reply 404 to any other."""
    steps = {("GET", INFO): info, ("POST", LOGIN): login}

    async def step(
        arrival: Arrival, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> object:
        chosen = steps.get((arrival.method, arrival.path), MISSING)
        if not isinstance(chosen, bytes):
            return await chosen(arrival, reader, writer)
        writer.write(chosen)
        await writer.drain()
        return None

    wire.handles_logins = False
    wire.script = [step]
    return wire


class TestGeneration:
    @pytest.mark.parametrize(
        ("generations", "generation"),
        [(("classic",), "classic"), (("v22",), "v22"), (("classic", "v22"), "v22")],
    )
    async def test_simulator(self, generations: tuple[str, ...], generation: str) -> None:
        """It is found with or without the API's path in the URL."""
        async with PBXSimulator(2, generations=generations) as sim:
            for url in (sim.url, f"{sim.url}/", f"{sim.url}/api", f"{sim.url}/api/"):
                assert (await detect(url)).generation == generation

    @pytest.mark.parametrize("suffix", ["", "/", "/api", "/api/"])
    async def test_v22_takes_one_request(self, wire: WireServer, suffix: str) -> None:
        """The metadata are enough, and they are asked for without a token."""
        serve(wire, METADATA, MISSING)
        found = await detect(wire.url + suffix)
        assert found.generation == "v22"
        (only,) = wire.arrivals
        assert (only.method, only.path, only.query, only.body) == ("GET", INFO, "", b"")
        assert not only.headers.keys() & {"authorization", "cookie", "access_token"}

    async def test_v22_wins_where_both_are_there(self, wire: WireServer) -> None:
        serve(wire, METADATA, REFUSED)
        assert (await detect(wire.url)).generation == "v22"

    async def test_classic_gets_an_empty_login(self, wire: WireServer) -> None:
        """The second request has no name and no password in it."""
        serve(wire, MISSING, REFUSED)
        assert (await detect(wire.url)).generation == "classic"
        info, login = wire.arrivals
        assert (info.path, login.path, login.query) == (INFO, LOGIN, "")
        assert not any(json.loads(login.body).values())
        assert not login.headers.keys() & {"authorization", "cookie", "access_token"}

    REFUSALS = (
        reply({"err_code": 400.1, "msg": "Invalid parameter"}, 400),
        reply({"err_code": 400.2, "msg": "Invalid syntax"}, 400),
        reply({"err_code": 401.1, "msg": "no such user"}, 200),
        reply({"err_code": "401.2", "msg": "wrong password"}, 401),
        reply({"err_code": 403.1, "msg": "blocked"}, 403),
        reply({"msg": "no"}, 401),
        reply({}, 403),
        reply(b"", 400),
        reply(b"", 401),
    )

    @pytest.mark.parametrize("refusal", REFUSALS)
    async def test_refusals_of_the_classic_login(self, wire: WireServer, refusal: bytes) -> None:
        serve(wire, MISSING, refusal)
        assert (await detect(wire.url)).generation == "classic"

    async def test_classic_that_asks_for_a_token_at_every_address(self, wire: WireServer) -> None:
        """Its err_codes tell it from other servers that do so."""
        serve(wire, reply({"err_code": 403.4}, 401), reply({"err_code": 401.1}, 401))
        assert (await detect(wire.url)).generation == "classic"


NEITHER: dict[str, tuple[bytes, bytes]] = {
    "captive portal": (reply(PAGE, 200, HTML), reply(PAGE, 200, HTML)),
    "page that claims to be JSON": (reply(PAGE), reply(PAGE)),
    "JSON list": (reply("[]"), MISSING),
    "JSON text": (reply('"pbx"'), MISSING),
    "nothing": (reply(b""), reply(b"")),
    "redirect": (
        reply(b"", 301, {"Location": "https://elsewhere.example/api/info"}),
        reply(b"", 301, {"Location": "https://elsewhere.example/"}),
    ),
    "other server": (reply(PAGE, 404, HTML), reply(PAGE, 404, HTML)),
    "server for GET only": (reply(PAGE, 404, HTML), reply({"detail": "no"}, 405)),
    "address that is gone": (reply(b"", 410), reply(b"", 410)),
    "page at the login": (MISSING, reply(PAGE, 401, HTML)),
    "page of a firewall": (reply(PAGE, 403, HTML), reply(PAGE, 403, HTML)),
    "server that asks everybody to log in": (reply({}, 401), reply({}, 401)),
    "server that fails": (reply({"err_code": 500}, 500), reply({"err_code": 500}, 500)),
    "gateway without a PBX": (reply(PAGE, 502, HTML), reply(PAGE, 502, HTML)),
    "busy server": (reply(b"", 429), reply(b"", 429)),
    "server that accepts anything": (MISSING, reply({"access_token": "abc", "expires": 600})),
    "not HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
}


@pytest.mark.parametrize("kind", NEITHER)
async def test_other_servers(wire: WireServer, kind: str) -> None:
    """They have no generation. The reason is one sentence without any text of the server."""
    serve(wire, *NEITHER[kind])
    found = await detect(wire.url)
    assert found.generation is None
    assert found.reason.endswith(".")
    assert "\n" not in found.reason
    assert not {"hotel", "html", "elsewhere", "abc"} & {*found.reason.lower().split()}
    assert {arrival.path for arrival in wire.arrivals} == {INFO, LOGIN}


async def test_reason_names_the_statuses(wire: WireServer) -> None:
    serve(wire, reply(b"", 302), reply(PAGE, 404, HTML))
    reason = (await detect(wire.url)).reason
    assert "HTTP 302, a redirect" in reason
    assert "HTTP 404 with a web page" in reason


class TestErrors:
    async def test_no_server(self, wire: WireServer) -> None:
        await wire.leave()
        with pytest.raises(ConnectError):
            await detect(wire.url)

    @pytest.mark.parametrize("failure", [hang_up, reset])
    @pytest.mark.parametrize("when", ["at once", "at the login"])
    async def test_broken_connection(self, wire: WireServer, failure: Step, when: str) -> None:
        """It says nothing about the generation."""
        serve(wire, failure if when == "at once" else MISSING, failure)
        with pytest.raises(TransportError):
            await detect(wire.url)
        assert LOGIN in wire.paths() or when == "at once"

    async def test_silent_server(self, wire: WireServer) -> None:
        serve(wire, silence, silence)
        with pytest.raises(RequestTimeout):
            await detect(wire.url, timeout=0.2)

    async def test_request_that_fails_once_is_repeated(self, wire: WireServer) -> None:
        """So one lost reply does not hide a generation."""
        serve(wire, MISSING, REFUSED)
        (step,) = wire.script
        wire.script = [hang_up, step, reply(PAGE, 503, HTML), step]
        assert (await detect(wire.url)).generation == "classic"
        assert wire.paths() == [INFO, INFO, LOGIN, LOGIN]

    @pytest.mark.parametrize(
        ("url", "options"),
        [
            ("pbx.example.com", {}),
            ("https://user:hunter2@pbx.example.com", {}),
            ("https://pbx.example.com/?a=b", {}),
            ("http://pbx.example.com:8900", {}),
            ("https://pbx.example.com", {"proxy": "socks5://proxy.example"}),
            ("https://127.0.0.1:1", {"ssl": "/nowhere/ca.pem"}),
        ],
    )
    async def test_settings_that_cannot_be_used(self, url: str, options: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError) as caught:
            await detect(url, **options)
        assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize(
        "options",
        [{"timeout": 0}, {"timeout": None}, {"timeout": True}, {"proxy": 1}, {"ssl": 1}],
    )
    async def test_options_of_the_wrong_kind(self, options: dict[str, Any]) -> None:
        with pytest.raises((TypeError, ValueError)):
            await detect("https://pbx.example.com", **options)

    async def test_http_to_another_machine_can_be_allowed(self, wire: WireServer) -> None:
        """The request then goes to the proxy."""
        wire.script = [METADATA]
        found = await detect("http://pbx.example.com:8887", allow_http=True, proxy=wire.url)
        assert found.generation == "v22"
        assert [arrival.headers["host"] for arrival in wire.arrivals] == ["pbx.example.com:8887"]


class TestCertificates:
    @pytest.fixture
    def authority(self) -> trustme.CA:
        return trustme.CA()

    @pytest.fixture
    def context(self, authority: trustme.CA) -> tls.SSLContext:
        context = tls.SSLContext(tls.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        return context

    async def test_trust_is_as_in_the_client(
        self, authority: trustme.CA, context: tls.SSLContext, tmp_path: Path
    ) -> None:
        """An untrusted server gets no request."""
        path = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(path)
        async with WireServer(context) as wire:
            serve(wire, METADATA, MISSING)
            for ssl in (None, Fingerprint(bytes(32))):
                with pytest.raises(ConnectError) as caught:
                    await detect(wire.url, ssl=ssl)
                assert caught.value.refused_certificate
            assert not wire.arrivals
            assert (await detect(wire.url, ssl=path)).generation == "v22"
            with pytest.warns(UserWarning, match="ssl=False") as warned:
                assert (await detect(wire.url, ssl=False)).generation == "v22"
        assert warned[0].filename == __file__

    async def test_proxy_opens_a_tunnel(self, context: tls.SSLContext, tmp_path: Path) -> None:
        async with WireServer(context) as wire, ProxyServer() as proxy:
            serve(wire, MISSING, REFUSED)
            with pytest.warns(UserWarning, match="ssl=False"):
                found = await detect(wire.url, ssl=False, proxy=proxy.url)
        assert found.generation == "classic"
        assert proxy.heads[0].startswith(b"CONNECT ")

    async def test_proxy_that_refuses_the_tunnel(self) -> None:
        """Its password is not shown."""
        refusal = reply(PAGE, 407, HTML)
        async with ProxyServer(refusal) as proxy:
            url = proxy.url.replace("//", "//user:hunter2@")
            with pytest.raises(ConnectError) as caught:
                await detect("https://pbx.example.com:8887", proxy=url)
        assert "hunter2" not in repr(caught.value)


async def test_proxy_that_replies_itself(wire: WireServer) -> None:
    """Plain http goes through a proxy as a request, so its page is an ordinary reply."""
    wire.script = [reply(PAGE, 407, HTML)]
    wire.handles_logins = False
    found = await detect("http://pbx.example.com:8900", allow_http=True, proxy=wire.url)
    assert found.generation is None
    assert "HTTP 407 with a web page" in found.reason
