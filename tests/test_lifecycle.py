"""The life of a client: opening, closing, views, an application's own session, another loop."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from portsip_async import (
    ClientClosed,
    ConfigurationError,
    ConnectError,
    Endpoint,
    PortSIPClient,
    PortSIPError,
    RequestTimeout,
    RetryPolicy,
    ServerError,
)
from portsip_async.simulator import PBXSimulator

from .concurrency import Vault, hang, ticks, under_way, until
from .conftest import ClientMaker
from .wire_server import WireServer, hang_up, reply, silence

OK = reply({"extension_number": "101"}, headers={"Connection": "keep-alive"})

CALLS: dict[str, Callable[[PortSIPClient], Awaitable[object]]] = {
    "show": lambda pbx: pbx.extensions.show("101"),
    "status": lambda pbx: pbx.extensions.status(["101"]),
    "remove": lambda pbx: pbx.extensions.remove("101"),
    "patch": lambda pbx: pbx.extensions.patch("101", profile={"first_name": "Ann"}),
    "first page": lambda pbx: pbx.extensions.list(),
    "collect": lambda pbx: pbx.extensions.list().collect(),
    "group": lambda pbx: pbx.groups.show("1"),
    "upload": lambda pbx: pbx.greetings.upload("101", b"abc", filename="a.wav"),
    "verify": lambda pbx: pbx.account.verify("admin", "secret-1"),
    "refresh": lambda pbx: pbx.account.refresh(),
    "request": lambda pbx: pbx.request(Endpoint("own.thing", "GET", "/thing")),
    "enter": lambda pbx: pbx.__aenter__(),
}


class TestClose:
    async def test_again_and_at_once(self, sim: PBXSimulator, pbx: PortSIPClient) -> None:
        """Closing is idempotent, also while another is closing."""
        await pbx.extensions.show("101")
        await asyncio.gather(*(pbx.close() for _ in range(5)))
        await pbx.close()

    async def test_before_the_first_call(self, pbx: PortSIPClient) -> None:
        """A client that was never used has nothing open."""
        await pbx.close()
        assert pbx._session._transport._http is None

    @pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
    @pytest.mark.parametrize("view", [False, True], ids=["client", "view"])
    async def test_later_calls(
        self,
        sim: PBXSimulator,
        pbx: PortSIPClient,
        call: Callable[[PortSIPClient], Awaitable[object]],
        view: bool,
    ) -> None:
        """Whatever is asked of a closed client raises ClientClosed and sends nothing."""
        other = pbx.with_options(timeout=3) if view else pbx
        await pbx.extensions.show("101")
        served = sim.served.total()
        await pbx.close()
        with pytest.raises(ClientClosed) as caught:
            await call(other)
        assert not caught.value.may_have_acted
        assert sim.served.total() == served

    async def test_call_that_has_not_begun(self, sim: PBXSimulator, pbx: PortSIPClient) -> None:
        """A task that was made before the closing and starts after it finds the client closed."""
        task = asyncio.ensure_future(pbx.extensions.show("101"))
        await pbx.close()
        with pytest.raises(ClientClosed):
            await task
        assert sim.served.total() == 0

    async def test_by_leaving_the_block(self, sim: PBXSimulator, make_client: ClientMaker) -> None:
        async with make_client() as pbx:
            await pbx.extensions.show("101")
        assert "closed" in repr(pbx)
        with pytest.raises(ClientClosed):
            await pbx.extensions.show("101")

    async def test_that_is_cancelled_still_closes_connections(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """Credentials that cling to life delay a close; giving it up leaves no connection."""
        wire.script = [OK]
        leave = asyncio.Event()

        class Clinging(Vault):
            async def fetch_token(self) -> Any:
                if not self.fetched:
                    return await super().fetch_token()
                while not leave.is_set():
                    try:
                        await leave.wait()
                    except asyncio.CancelledError:
                        continue
                return None

        pbx = make_client(wire.url, credentials=Clinging())
        await pbx.extensions.show("101")
        pbx._session.tokens._last = None  # so that it is fetched again
        async with under_way(pbx.account.refresh()):
            await ticks()
            try:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await pbx.close()
                http = pbx._session._transport._http
                assert http is not None
                assert http.closed
            finally:
                leave.set()


class TestInFlight:
    """What a call meets whose client is closed, by where it stands and what it does."""

    @staticmethod
    def create(pbx: PortSIPClient) -> Awaitable[object]:
        return pbx.groups.create(
            "new",
            enable_intercom=False,
            enable_external_call=False,
            enable_management_console_access=False,
        )

    @pytest.mark.parametrize(
        ("call", "acted"),
        [
            (CALLS["show"], False),
            (CALLS["status"], False),
            (CALLS["collect"], False),
            (CALLS["remove"], True),
            (CALLS["upload"], True),
            (create, True),
        ],
        ids=["show", "status", "collect", "remove", "upload", "create"],
    )
    async def test_waiting_for_the_reply(
        self,
        wire: WireServer,
        make_client: ClientMaker,
        call: Callable[[PortSIPClient], Awaitable[object]],
        acted: bool,
    ) -> None:
        """ClientClosed; a write that was on its way may have been carried out."""
        wire.script = [silence]
        pbx = make_client(wire.url)
        async with under_way(call(pbx)) as (task,):
            await until(lambda: wire.arrivals)
            await pbx.close()
            with pytest.raises(ClientClosed) as caught:
                await task
        assert caught.value.may_have_acted is acted
        assert caught.value.operation is not None
        assert caught.value.attempts == 1

    @pytest.mark.parametrize("place", ["place", "rate", "token"])
    async def test_before_anything_was_sent(
        self, wire: WireServer, make_client: ClientMaker, place: str
    ) -> None:
        """A write that waited for its turn or its token has certainly not been carried out."""
        wire.script = [OK]
        vault = Vault()
        options: dict[str, Any] = {"place": {"max_connections": 1}}.get(place, {})
        if place == "rate":
            options = {"requests_per_second": 0.01}
        pbx = make_client(wire.url, credentials=vault, **options)
        waiting: Callable[[], object] = lambda: len(pbx._session._context.calls) >= 1  # noqa: E731
        if place == "place":
            await pbx._session._context.semaphore.acquire()
        elif place == "rate":
            await pbx.extensions.show("101")
        else:
            vault.open.clear()
            waiting = lambda: vault.fetched  # noqa: E731
        async with under_way(self.create(pbx)) as (task,):
            await until(waiting)
            await ticks()
            await pbx.close()
            with pytest.raises(ClientClosed) as caught:
                await task
        assert not caught.value.may_have_acted
        assert caught.value.attempts == 0
        assert "/api/groups/create" not in wire.paths()

    async def test_in_a_pause_after_a_lost_reply(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A write whose first attempt may have acted says so, though it is not on its way now."""
        wire.script = [hang_up]
        pbx = make_client(wire.url)
        pausing = asyncio.Event()

        async def pause(_: float) -> None:
            pausing.set()
            await hang()

        pbx._session.clock.sleep = pause
        async with under_way(pbx.extensions.remove("101")) as (task,):
            await pausing.wait()
            await pbx.close()
            with pytest.raises(ClientClosed) as caught:
                await task
        assert caught.value.may_have_acted

    async def test_hundreds(self, sim: PBXSimulator, make_client: ClientMaker) -> None:
        """All calls raise ClientClosed, those in flight and those in the line; none lingers."""
        pbx = make_client(max_connections=10)
        await pbx.extensions.show("101")
        sim.fail("extensions.show", latency=30, times=10)
        async with under_way(*(pbx.extensions.show("101") for _ in range(200))) as tasks:
            await until(lambda: sim.in_flight == 10)
            await pbx.close()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ClientClosed}
        assert sim.served["extensions.show"] == 11

    async def test_own_credentials_that_hang(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A fetch_token that never answers ends with the client; who waits for it is told."""
        ended = asyncio.Event()

        class Hanging:
            async def fetch_token(self) -> Any:
                try:
                    await hang()
                finally:
                    ended.set()

        pbx = make_client(wire.url, credentials=Hanging())
        async with under_way(
            pbx.extensions.show("101"), pbx.extensions.show("102"), pbx.account.refresh()
        ) as tasks:
            await ticks()
            async with asyncio.timeout(5):
                await pbx.close()
            assert ended.is_set()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ClientClosed}

    async def test_login_on_its_way(self, sim: PBXSimulator, pbx: PortSIPClient) -> None:
        sim.fail("account.verify", latency=30)
        async with under_way(*(pbx.extensions.show("101") for _ in range(5))) as tasks:
            await until(lambda: sim.in_flight)
            await pbx.close()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ClientClosed}


class TestWalks:
    @pytest.mark.parametrize("prefetch", [0, 1, 4])
    async def test_between_pages(self, pbx: PortSIPClient, prefetch: int) -> None:
        """An open walk yields what it has of its page and then raises ClientClosed."""
        seen = 0

        async def walk() -> None:
            nonlocal seen
            async for _ in pbx.extensions.list(page_size=50, prefetch=prefetch):
                seen += 1
                if seen == 60:
                    await pbx.close()

        with pytest.raises(ClientClosed):
            await walk()
        assert 60 <= seen <= 100

    @pytest.mark.parametrize("prefetch", [0, 2])
    async def test_waiting_for_a_page(
        self, sim: PBXSimulator, pbx: PortSIPClient, prefetch: int
    ) -> None:
        await pbx.extensions.show("101")
        walk = aiter(pbx.extensions.list(page_size=50, prefetch=prefetch))
        await anext(walk)
        sim.fail("extensions.list", latency=30, times=None)
        for _ in range(49):
            await anext(walk)

        async def rest() -> int:
            return len([extension async for extension in walk])

        async with under_way(rest()) as (task,):
            await asyncio.sleep(0.02)
            await pbx.close()
            with pytest.raises(ClientClosed):
                await task


class TestViews:
    async def test_closing_one_does_nothing(self, sim: PBXSimulator, pbx: PortSIPClient) -> None:
        """The client owns what both use."""
        view = pbx.with_options(timeout=3)
        async with view:
            await view.extensions.show("101")
        await view.close()
        await view.extensions.show("101")
        await pbx.extensions.show("101")

    async def test_shares_token_and_connections(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        wire.script = [OK]
        pbx = make_client(wire.url)
        for _ in range(3):
            await pbx.extensions.show("101")
            await pbx.with_options(timeout=3, retry=RetryPolicy(attempts=1)).extensions.show("101")
        assert (wire.logins, wire.connections) == (1, 1)

    async def test_shares_the_places(self, sim: PBXSimulator, make_client: ClientMaker) -> None:
        """The bound on calls in flight is the client's, whichever view they come through."""
        pbx = make_client(max_connections=3)
        view = pbx.with_options(timeout=3)
        sim.fail("extensions.show", latency=60, times=3)
        async with under_way(*(one.extensions.show("101") for one in (pbx, view) * 10)):
            await until(lambda: sim.in_flight == 3)
            await ticks()
        assert sim.peak_in_flight == 3

    async def test_timeout_of_its_own(self, wire: WireServer, make_client: ClientMaker) -> None:
        wire.script = [silence]
        pbx = make_client(wire.url, retry=RetryPolicy(attempts=1))
        hasty = pbx.with_options(timeout=0.02)
        async with under_way(pbx.extensions.show("101")) as (patient,):
            with pytest.raises(RequestTimeout):
                await hasty.extensions.show("101")
            assert not patient.done()

    async def test_retry_of_its_own(self, sim: PBXSimulator, pbx: PortSIPClient) -> None:
        """Each setting that is not given is the client's."""
        await pbx.extensions.show("101")
        once = pbx.with_options(retry=RetryPolicy(attempts=1))
        again = once.with_options(timeout=3)
        for view in (once, again):
            sim.fail("extensions.show", status=503)
            with pytest.raises(ServerError) as caught:
                await view.extensions.show("101")
            assert caught.value.attempts == 1
        sim.fail("extensions.show", status=503)
        await pbx.extensions.show("101")


class TestOwnSession:
    """An application's own aiohttp session."""

    @pytest.fixture
    async def http(self) -> AsyncIterator[aiohttp.ClientSession]:
        jar = aiohttp.CookieJar(unsafe=True)
        jar.update_cookies({"app": "1"})
        async with aiohttp.ClientSession(headers={"X-App": "yes"}, cookie_jar=jar) as session:
            yield session

    async def test_is_left_as_it_was(
        self, wire: WireServer, make_client: ClientMaker, http: aiohttp.ClientSession
    ) -> None:
        """Never closed; its headers and cookies go along and stay as they are."""
        wire.script = [OK]
        headers, cookies = dict(http.headers), list(http.cookie_jar)
        async with make_client(wire.url, session=http) as pbx:
            await pbx.extensions.show("101")
        assert not http.closed
        assert dict(http.headers) == headers
        assert list(http.cookie_jar) == cookies
        (arrival,) = wire.arrivals
        assert arrival.headers["x-app"] == "yes"
        assert arrival.headers["cookie"] == "app=1"
        async with http.get(f"{wire.url}/other") as response:
            assert response.status == 200

    async def test_user_agent(
        self, wire: WireServer, make_client: ClientMaker, http: aiohttp.ClientSession
    ) -> None:
        """One that was asked for is sent with the SDK's requests alone."""
        pbx = make_client(wire.url, session=http, user_agent="app/1")
        await pbx.extensions.show("101")
        assert wire.arrivals[0].headers["user-agent"] == "app/1"
        assert "User-Agent" not in http.headers

    async def test_closed_by_the_application(
        self, sim: PBXSimulator, make_client: ClientMaker, http: aiohttp.ClientSession
    ) -> None:
        pbx = make_client(session=http)
        await pbx.extensions.show("101")
        await http.close()
        served = sim.served.total()
        for call in (CALLS["show"], CALLS["remove"], CALLS["refresh"], CALLS["collect"]):
            with pytest.raises(ClientClosed) as caught:
                await call(pbx)
            assert not caught.value.may_have_acted
        assert sim.served.total() == served

    async def test_closed_before_a_repeat(
        self, wire: WireServer, make_client: ClientMaker, http: aiohttp.ClientSession
    ) -> None:
        """What can't be sent any more is no attempt."""
        wire.script = [reply(status=503)]
        pbx = make_client(wire.url, session=http)

        async def pause(_: float) -> None:
            await http.close()

        pbx._session.clock.sleep = pause
        with pytest.raises(ClientClosed) as caught:
            await pbx.extensions.show("101")
        assert caught.value.attempts == 1


class TestOwnedSession:
    async def test_keeps_no_cookies(self, wire: WireServer, make_client: ClientMaker) -> None:
        cookie = {"Connection": "keep-alive", "Set-Cookie": "session=1; Path=/"}
        wire.script = [reply({"extension_number": "101"}, headers=cookie)]
        pbx = make_client(wire.url)
        for _ in range(2):
            await pbx.extensions.show("101")
        assert all("cookie" not in arrival.headers for arrival in wire.arrivals)

    async def test_takes_no_proxy_from_the_environment(
        self, sim: PBXSimulator, make_client: ClientMaker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv("no_proxy", "")
        await make_client().extensions.show("101")
        proxied = make_client(proxy="http://127.0.0.1:9", retry=RetryPolicy(attempts=1))
        with pytest.raises(ConnectError):
            await proxied.extensions.show("101")

    async def test_opened_by_the_first_call(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """Making a client opens nothing, so it can be made before there is a loop."""
        pbx = await asyncio.to_thread(make_client)
        await pbx.extensions.show("101")


class TestAnotherLoop:
    """A client belongs to the loop of its first call; whatever is asked in another is refused."""

    @staticmethod
    def in_another_loop(
        pbx: PortSIPClient, call: Callable[[PortSIPClient], Awaitable[object]]
    ) -> BaseException | None:
        """Tell what a call raises in a loop and a thread of its own."""

        async def run() -> BaseException | None:
            try:
                async with asyncio.timeout(5):
                    await call(pbx)
            except (PortSIPError, TimeoutError, RuntimeError) as error:
                return error
            return None

        return asyncio.run(run())

    @pytest.mark.parametrize(
        "options", [{}, {"requests_per_second": 0.1}, {"max_connections": 1}], ids=str
    )
    async def test_calls(
        self, sim: PBXSimulator, make_client: ClientMaker, options: dict[str, Any]
    ) -> None:
        """Refused at once, also where it would have to wait for a place or for the rate."""
        pbx = make_client(**options)
        await pbx.extensions.show("101")
        served = sim.served.total()
        sim.fail("extensions.show", latency=30)
        async with under_way(pbx.extensions.show("101")):
            await ticks()
            for call in (CALLS["show"], CALLS["remove"], CALLS["collect"], CALLS["verify"]):
                error = await asyncio.to_thread(self.in_another_loop, pbx, call)
                assert isinstance(error, ConfigurationError)
                assert "event loop" in str(error)
        assert sim.served.total() <= served + 1

    async def test_first_loop_goes_on(self, sim: PBXSimulator, pbx: PortSIPClient) -> None:
        await pbx.extensions.show("101")
        await asyncio.to_thread(self.in_another_loop, pbx, CALLS["show"])
        await pbx.extensions.show("101")


SCRIPT = """
import asyncio

from portsip_async import PortSIPClient, PortSIPError
from portsip_async.simulator import PBXSimulator


async def main() -> None:
    async with PBXSimulator(extensions=50) as sim:
        async with PortSIPClient(sim.url, username=sim.username, password=sim.password) as pbx:
            await asyncio.gather(*(pbx.extensions.show("101") for _ in range(20)))
            async for _ in pbx.extensions.list(page_size=10, prefetch=3):
                break
            sim.fail("extensions.show", latency=30)
            hanging = asyncio.create_task(pbx.extensions.show("101"))
            cancelled = asyncio.create_task(pbx.extensions.status(["101"]))
            await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.sleep(0.05)
        try:
            await hanging
        except PortSIPError as error:
            print(type(error).__name__)


asyncio.run(main(), debug=True)
"""


async def test_nothing_is_left_unclosed() -> None:
    """With every warning an error and asyncio's debugging on, a whole life makes no sound."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-X", "dev", "-W", "error", "-c", SCRIPT),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    told = err.decode()
    assert "Warning" not in told
    assert "Traceback" not in told
    assert (out.decode().strip(), process.returncode) == ("ClientClosed", 0)
