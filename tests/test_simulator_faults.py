"""Faults by rate and by script, as a client sees them."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from portsip_async.simulator import Faults, PBXSimulator
from portsip_async.simulator.faults import RATES, Fault, complete_script, draw

from .concurrency import in_background, until
from .test_simulator import Probe

SHOW = "/extensions/show"


async def raw(sim: PBXSimulator, request: bytes) -> bytes:
    """Send bytes, and read until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
    writer.write(request)
    received = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
    return received


def get_show(token: str) -> bytes:
    return (
        f"GET /api/extensions/show?access_token={token}&extension_number=100 HTTP/1.1\r\n"
        "Host: pbx\r\n\r\n"
    ).encode()


@pytest.fixture
async def probe() -> AsyncIterator[Probe]:
    async with PBXSimulator(extensions=100) as sim, aiohttp.ClientSession() as session:
        probe = Probe(sim, session)
        await probe.login()
        yield probe


class TestScripts:
    @pytest.mark.parametrize(
        ("script", "status", "body"),
        [
            ({}, 503, {"err_code": 503, "msg": "Simulated failure"}),
            ({"status": 500, "msg": "no"}, 500, {"err_code": 500, "msg": "no"}),
            ({"status": 409}, 409, {"err_code": 403.3, "msg": "Simulated failure"}),
            ({"status": 418}, 418, {"err_code": 418, "msg": "Simulated failure"}),
            ({"err_code": 404.3}, 404, {"err_code": 404.3, "msg": "Simulated failure"}),
            ({"err_code": "401.2"}, 401, {"err_code": "401.2", "msg": "Simulated failure"}),
            ({"err_code": 7}, 400, {"err_code": 7, "msg": "Simulated failure"}),
            ({"err_code": "5", "status": 200, "msg": ""}, 200, {"err_code": "5", "msg": ""}),
            ({"status": 204}, 204, None),
            ({"body": "<html>", "content_type": "text/html"}, 200, b"<html>"),
            ({"body": b"\x00", "status": 502}, 502, b"\x00"),
        ],
    )  # fmt: skip
    async def test_scripted_reply(
        self, probe: Probe, script: dict[str, Any], status: int, body: Any
    ) -> None:
        """A script replaces the reply of the operation, as many times as it says."""
        probe.sim.fail("extensions.show", times=2, **script)
        for _ in range(2):
            reply = await probe.get(SHOW, extension_number="100")
            assert (reply.status, reply.body) == (status, body)
            kind = script.get("content_type", "application/json")
            assert reply.headers.get("Content-Type", kind) == kind
        assert (await probe.get(SHOW, extension_number="100")).body["extension_number"] == "100"
        assert probe.sim.acted["extensions.show"] == 1
        assert probe.sim.served["extensions.show"] == 3
        assert probe.sim.injected == {"scripted": 2}

    async def test_scripts_apply_in_order(self, probe: Probe) -> None:
        """Scripts of one row apply one after the other, and not to other rows."""
        probe.sim.fail("extensions.show", status=429, retry_after=1, times=2)
        probe.sim.fail("extensions.show", status=503, retry_after="Wed, 21 Oct 2026 07:28:00 GMT")
        assert (await probe.get("/extensions/list", pagination=1)).status == 200
        replies = [await probe.get(SHOW, extension_number="100") for _ in range(4)]
        assert [reply.status for reply in replies] == [429, 429, 503, 200]
        assert [reply.headers.get("Retry-After") for reply in replies] == [
            "1",
            "1",
            "Wed, 21 Oct 2026 07:28:00 GMT",
            None,
        ]

    async def test_script_without_an_end(self, probe: Probe) -> None:
        """With times=None, a script applies until it is cleared."""
        for clear in ("extensions.show", None):
            probe.sim.fail("extensions.show", times=None)
            for _ in range(3):
                assert (await probe.get(SHOW, extension_number="100")).status == 503
            probe.sim.clear(clear)
            assert (await probe.get(SHOW, extension_number="100")).status == 200

    async def test_failing_operation_may_act(self, probe: Probe) -> None:
        """With act=True an operation is carried out although its reply fails or is lost."""
        probe.sim.fail("extensions.remove", act=True, status=500)
        reply = await probe.post("/extensions/destroy", extension_number="100")
        assert reply.status == 500
        probe.sim.fail("extensions.remove", act=True, drop=True)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await probe.post("/extensions/destroy", extension_number="101")
        probe.sim.fail("extensions.remove", drop=True)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await probe.post("/extensions/destroy", extension_number="102")
        assert probe.sim.extension_numbers[:2] == ["102", "103"]
        assert probe.sim.acted["extensions.remove"] == 2

    async def test_truncate(self, probe: Probe) -> None:
        """A good reply, an error and an empty reply can each be shorter than promised."""
        whole = await raw(
            probe.sim, get_show(probe.token).replace(b"Host:", b"Connection: close\r\nHost:")
        )
        length = len(whole.partition(b"\r\n\r\n")[2])
        probe.sim.fail("extensions.show", truncate=True)
        head, _, body = (await raw(probe.sim, get_show(probe.token))).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert f"Content-Length: {length}".encode() in head
        assert len(body) == length // 2
        probe.sim.fail("extensions.show", truncate=True, status=500)
        head, _, body = (await raw(probe.sim, get_show(probe.token))).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 500 ")
        assert body.startswith(b'{"err_code":500')
        assert not body.endswith(b"}")
        probe.sim.fail("extensions.remove", truncate=True)
        with pytest.raises(aiohttp.ClientPayloadError):
            await probe.post("/extensions/destroy", extension_number="100")
        assert "100" not in probe.sim.extension_numbers

    async def test_latency_slows_one_operation(self, probe: Probe) -> None:
        """The replies of one operation are late but good, until the latency is cleared."""
        probe.sim.fail("extensions.show", latency=0.05, times=None)
        for _ in range(2):
            started = time.monotonic()
            reply = await probe.get(SHOW, extension_number="100")
            assert time.monotonic() - started >= 0.05
            assert reply.body["extension_number"] == "100"
        probe.sim.fail("extensions.show", latency=60, times=None)
        async with asyncio.timeout(10):
            assert (await probe.get("/extensions/list", pagination=1)).status == 200
            probe.sim.clear("extensions.show")
            assert (await probe.get(SHOW, extension_number="100")).status == 200

    async def test_latency_with_a_status(self, probe: Probe) -> None:
        """An error may be late, too."""
        probe.sim.fail("extensions.show", latency=0.05, status=500)
        started = time.monotonic()
        assert (await probe.get(SHOW, extension_number="100")).status == 500
        assert time.monotonic() - started >= 0.05

    def test_invalid_scripts(self) -> None:
        """A script for an unknown row, or with a value out of range, raises ValueError."""
        sim = PBXSimulator()
        scripts: list[dict[str, Any]] = [
            {"status": 99},
            {"status": 600},
            {"latency": -1},
            {"times": 0},
        ]
        for script in scripts:
            with pytest.raises(ValueError, match="must be"):
                sim.fail("extensions.show", **script)
        with pytest.raises(ValueError, match="name of a row"):
            sim.fail("extensions.fly")
        with pytest.raises(ValueError, match="name of a row"):
            sim.clear("extensions.fly")


class TestRates:
    @pytest.mark.parametrize("kind", RATES)
    async def test_each_kind(self, probe: Probe, kind: str) -> None:
        """Each kind of fault looks as documented, and is counted."""
        probe.sim.faults = Faults(**{kind: 1.0})
        reply = (await raw(probe.sim, get_show(probe.token) * 1)) if kind in CUT else b""
        if kind not in CUT:
            answer = await probe.get(SHOW, extension_number="100")
            assert answer.status in STATUSES[kind]
            if kind == "html":
                assert isinstance(answer.body, bytes)
                assert answer.headers["Content-Type"] == "text/html"
        else:
            assert (kind == "dropped") == (not reply)
        assert probe.sim.injected == {kind: 1}
        probe.sim.faults = Faults()
        answer = await probe.get(SHOW, extension_number="100")
        assert answer.status == (401 if kind == "revoked" else 200)

    async def test_revoked_without_a_token(self, probe: Probe) -> None:
        """A login has no token to revoke, so this fault doesn't apply to it."""
        probe.sim.faults = Faults(revoked=1.0)
        await probe.login()
        assert probe.sim.injected.total() == 0
        numbers: dict[str, Any] = {"access_token": 5, "extensions": ["100"]}
        reply = await probe.send("POST", "/extensions/status", json=numbers)
        assert reply.status == 401
        reply = await probe.send("GET", SHOW, params={"extension_number": "100"})
        assert reply.status == 401

    async def test_latency_of_all_operations(self, probe: Probe) -> None:
        """Every reply is late, including that of a login."""
        probe.sim.faults = Faults(latency=0.05)
        started = time.monotonic()
        await probe.login()
        assert time.monotonic() - started >= 0.05

    def test_faults_follow_their_rates(self) -> None:
        """Faults happen at about their rates. The same seed gives the same faults."""
        faults = Faults(rate_limited=0.1, dropped=0.2)
        seen = Counter(self.kinds(faults, seed=1))
        assert 900 < seen["rate_limited"] < 1100
        assert 1600 < seen["dropped"] < 2000
        assert self.kinds(faults, seed=1) == self.kinds(faults, seed=1)
        assert self.kinds(faults, seed=1) != self.kinds(faults, seed=2)

    def kinds(self, faults: Faults, seed: int) -> list[str]:
        chance = random.Random(seed).random
        drawn = [draw(faults, chance) for _ in range(10_000)]
        return [fault.kind if fault else "" for fault in drawn]

    def test_variations(self) -> None:
        """Chance decides on Retry-After, on 500 or 503, and whether a dropped request acts."""
        for kind, attribute, values in (
            ("rate_limited", "retry_after", {1, None}),
            ("server_error", "status", {500, 503}),
            ("dropped", "act", {True, False}),
        ):
            chance = random.Random(0).random
            drawn = [draw(Faults(**{kind: 1.0}), chance) for _ in range(50)]
            assert {getattr(fault, attribute) for fault in drawn} == values

    @pytest.mark.parametrize(
        "options",
        [{"latency": -0.1}, {"latency": float("nan")}, *({kind: 1.1} for kind in RATES)],
    )
    def test_invalid_rates(self, options: dict[str, float]) -> None:
        """A rate outside 0 to 1, or a negative latency, raises ValueError."""
        with pytest.raises(ValueError, match=r"at most 1|at least 0"):
            Faults(**options)

    def test_scripted_drop_does_not_act(self) -> None:
        """A script that drops the reply has no status, and its operation is not carried out."""
        fault = complete_script(Fault("scripted", drop=True))
        assert (fault.status, fault.acts) == (None, False)


CUT = ("dropped", "truncated")
STATUSES = {
    "rate_limited": (429,),
    "server_error": (500, 503),
    "html": (502,),
    "revoked": (401,),
}


async def test_max_in_flight(probe: Probe) -> None:
    """Requests above the limit get a 429 at once; the others are served."""
    sim = probe.sim
    sim.max_in_flight = 5
    sim.faults = Faults(latency=0.2)
    async with in_background(
        *(probe.get(SHOW, extension_number="100") for _ in range(5))
    ) as accepted:
        await until(lambda: sim.in_flight == 5)
        refused = await asyncio.gather(*(probe.get(SHOW, extension_number="100") for _ in range(3)))
        assert [reply.status for reply in refused] == [429] * 3
        assert [reply.status for reply in await asyncio.gather(*accepted)] == [200] * 5
    assert sim.injected == {"overload": 3}
    assert 6 <= sim.peak_in_flight <= 8
    assert sim.in_flight == 0


async def test_client_that_leaves(probe: Probe) -> None:
    """If a client disconnects while it sends a request, the request ends."""
    _, writer = await asyncio.open_connection("127.0.0.1", probe.sim.port)
    writer.write(
        b"POST /api/extensions/create HTTP/1.1\r\nHost: pbx\r\nContent-Length: 99\r\n\r\n{"
    )
    await writer.drain()
    async with asyncio.timeout(5):
        while not probe.sim.in_flight:  # noqa: ASYNC110  # the simulator has no event for it
            await asyncio.sleep(0.001)
        writer.close()
        await writer.wait_closed()
        while probe.sim.in_flight:  # noqa: ASYNC110  # the same here
            await asyncio.sleep(0.001)
    assert probe.sim.acted["extensions.create"] == 0


async def test_body_too_large(probe: Probe) -> None:
    """A body of more than 64 MiB gets a 413."""
    size = 65 * 1024 * 1024

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(65):
            yield b" " * 1024 * 1024

    headers = {"Content-Length": str(size)}
    reply = await probe.send("POST", "/extensions/create", data=chunks(), headers=headers)
    assert (reply.status, reply.body["err_code"]) == (413, 413)
