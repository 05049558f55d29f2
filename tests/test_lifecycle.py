"""Opening and closing a client, its views, an application's own session, a second event loop."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
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

from .clocks import set_clock
from .concurrency import GatedCredentials, hang, in_background, until, yield_to_loop
from .conftest import ClientMaker
from .internals import http_session_of
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
    "request": lambda pbx: pbx.request(Endpoint("own.endpoint", "GET", "/thing")),
    "enter": lambda pbx: pbx.__aenter__(),
}


class TestClose:
    async def test_close_is_idempotent(self, sim: PBXSimulator, pbx: PortSIPClient) -> None:
        """A client may be closed again, also while it is closing."""
        await pbx.extensions.show("101")
        await asyncio.gather(*(pbx.close() for _ in range(5)))
        await pbx.close()

    async def test_close_before_the_first_call(self, pbx: PortSIPClient) -> None:
        """Closing a client that was never used opens nothing."""
        await pbx.close()
        assert http_session_of(pbx) is None

    @pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
    @pytest.mark.parametrize("view", [False, True], ids=["client", "view"])
    async def test_call_after_close(
        self,
        sim: PBXSimulator,
        pbx: PortSIPClient,
        call: Callable[[PortSIPClient], Awaitable[object]],
        view: bool,
    ) -> None:
        """Every call of a closed client raises ClientClosed and sends nothing."""
        other = pbx.with_options(timeout=3) if view else pbx
        await pbx.extensions.show("101")
        served = sim.served.total()
        await pbx.close()
        with pytest.raises(ClientClosed) as caught:
            await call(other)
        assert not caught.value.may_have_acted
        assert sim.served.total() == served

    async def test_task_that_starts_after_close(
        self, sim: PBXSimulator, pbx: PortSIPClient
    ) -> None:
        """A call raises ClientClosed if its task starts after the close, though made before it."""
        task = asyncio.ensure_future(pbx.extensions.show("101"))
        await pbx.close()
        with pytest.raises(ClientClosed):
            await task
        assert sim.served.total() == 0

    async def test_end_of_the_with_block_closes(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """Leaving the `async with` block closes the client, and its repr says so."""
        async with make_client() as pbx:
            await pbx.extensions.show("101")
        assert "closed" in repr(pbx)
        with pytest.raises(ClientClosed):
            await pbx.extensions.show("101")

    async def test_cancelled_close_still_closes_connections(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """Credentials that ignore cancellation delay a close; a timeout leaves no connection."""
        wire.script = [OK, reply({"err_code": 403.4}, 403, {"Connection": "keep-alive"})]
        fetching, go_on = asyncio.Event(), asyncio.Event()

        class Uncancellable(GatedCredentials):
            async def fetch_token(self) -> Any:
                if not self.fetched:
                    return await super().fetch_token()
                fetching.set()
                while not go_on.is_set():
                    try:
                        await go_on.wait()
                    except asyncio.CancelledError:
                        continue
                return None

        # The refresh is refused, so the token is fetched again.
        endpoints = {"account.refresh": {"path": "/refresh"}}
        pbx = make_client(wire.url, credentials=Uncancellable(), endpoints=endpoints)
        await pbx.extensions.show("101")
        async with in_background(pbx.account.refresh()):
            await fetching.wait()
            try:
                assert wire.open == 1
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await pbx.close()
                await until(lambda: not wire.open)
            finally:
                go_on.set()


class TestInFlight:
    """How a call ends when its client is closed, by its stage and its operation."""

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
    async def test_close_while_a_call_waits_for_its_reply(
        self,
        wire: WireServer,
        make_client: ClientMaker,
        call: Callable[[PortSIPClient], Awaitable[object]],
        acted: bool,
    ) -> None:
        """The call raises ClientClosed; a write that was sent may have been carried out."""
        wire.script = [silence]
        pbx = make_client(wire.url)
        async with in_background(call(pbx)) as (task,):
            await until(lambda: wire.arrivals)
            await pbx.close()
            with pytest.raises(ClientClosed) as caught:
                await task
        assert caught.value.may_have_acted is acted
        assert caught.value.operation is not None
        assert caught.value.attempts == 1

    @pytest.mark.parametrize("waits_for", ["slot", "rate", "token"])
    async def test_close_before_a_call_is_sent(
        self, wire: WireServer, make_client: ClientMaker, waits_for: str
    ) -> None:
        """A write that waited for a slot or a token has not been carried out."""
        options: dict[str, dict[str, Any]] = {
            "slot": {"max_connections": 1},
            "rate": {"requests_per_second": 0.01},
            "token": {},
        }
        wire.script = [silence if waits_for == "slot" else OK]
        credentials = GatedCredentials()
        pbx = make_client(wire.url, credentials=credentials, **options[waits_for])
        async with AsyncExitStack() as stack:
            if waits_for == "slot":
                await stack.enter_async_context(in_background(pbx.extensions.show("101")))
                await until(lambda: wire.arrivals)
            elif waits_for == "rate":
                await pbx.extensions.show("101")
            else:
                credentials.open.clear()
            (task,) = await stack.enter_async_context(in_background(self.create(pbx)))
            await until(lambda: credentials.fetched)
            await yield_to_loop()
            await pbx.close()
            with pytest.raises(ClientClosed) as caught:
                await task
        assert not caught.value.may_have_acted
        assert caught.value.attempts == 0
        assert "/api/groups/create" not in wire.paths()

    async def test_close_during_a_backoff(self, wire: WireServer, make_client: ClientMaker) -> None:
        """If the first attempt may have acted, the error says so, though nothing is in flight."""
        wire.script = [hang_up]
        pbx = make_client(wire.url)
        pausing = asyncio.Event()

        async def pause(_: float) -> None:
            pausing.set()
            await hang()

        set_clock(pbx, sleep=pause)
        async with in_background(pbx.extensions.remove("101")) as (task,):
            await pausing.wait()
            await pbx.close()
            with pytest.raises(ClientClosed) as caught:
                await task
        assert caught.value.may_have_acted

    async def test_close_with_hundreds_of_calls(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """All calls raise ClientClosed, whether in flight or waiting."""
        pbx = make_client(max_connections=10)
        await pbx.extensions.show("101")
        sim.fail("extensions.show", latency=30, times=10)
        async with in_background(*(pbx.extensions.show("101") for _ in range(200))) as tasks:
            await until(lambda: sim.in_flight == 10)
            await pbx.close()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ClientClosed}
        assert sim.served["extensions.show"] == 11

    async def test_close_ends_waiting_calls_in_their_order(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """Each is then the first in the semaphore's queue; otherwise closing takes seconds."""
        wire.script = [silence]
        pbx = make_client(wire.url, max_connections=1, token="x")
        ended: list[int] = []

        async def show(number: int) -> None:
            try:
                await pbx.extensions.show(str(number))
            finally:
                ended.append(number)

        calls = [asyncio.ensure_future(show(number)) for number in range(100, 400)]
        await until(lambda: len(wire.arrivals) == 1)
        await pbx.close()
        await asyncio.gather(*calls, return_exceptions=True)
        assert ended[1:] == sorted(ended[1:])  # the first one was sent

    async def test_close_while_credentials_hang(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A `fetch_token` that hangs is cancelled; calls that wait for it raise ClientClosed."""
        ended = asyncio.Event()

        class Hanging:
            async def fetch_token(self) -> Any:
                try:
                    await hang()
                finally:
                    ended.set()

        pbx = make_client(wire.url, credentials=Hanging())
        async with in_background(
            pbx.extensions.show("101"), pbx.extensions.show("102"), pbx.account.refresh()
        ) as tasks:
            await yield_to_loop()
            async with asyncio.timeout(5):
                await pbx.close()
            assert ended.is_set()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ClientClosed}

    async def test_close_during_a_login(self, sim: PBXSimulator, pbx: PortSIPClient) -> None:
        """Calls that wait for a login raise ClientClosed."""
        sim.fail("account.verify", latency=30)
        async with in_background(*(pbx.extensions.show("101") for _ in range(5))) as tasks:
            await until(lambda: sim.in_flight)
            await pbx.close()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ClientClosed}


class TestWalks:
    @pytest.mark.parametrize("prefetch", [0, 1, 4])
    async def test_close_between_pages(self, pbx: PortSIPClient, prefetch: int) -> None:
        """A walk yields the rest of the pages it has, and then raises ClientClosed."""
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
    async def test_close_while_a_walk_waits_for_a_page(
        self, sim: PBXSimulator, pbx: PortSIPClient, prefetch: int
    ) -> None:
        """The walk raises ClientClosed."""
        await pbx.extensions.show("101")
        walk = aiter(pbx.extensions.list(page_size=50, prefetch=prefetch))
        await anext(walk)
        sim.fail("extensions.list", latency=30, times=None)
        for _ in range(49):
            await anext(walk)

        async def rest() -> int:
            return len([extension async for extension in walk])

        async with in_background(rest()) as (task,):
            await asyncio.sleep(0.02)
            await pbx.close()
            with pytest.raises(ClientClosed):
                await task


class TestViews:
    async def test_close_of_a_view_does_nothing(
        self, sim: PBXSimulator, pbx: PortSIPClient
    ) -> None:
        """The client owns what the view uses, so only the client closes it."""
        view = pbx.with_options(timeout=3)
        async with view:
            await view.extensions.show("101")
        await view.close()
        await view.extensions.show("101")
        await pbx.extensions.show("101")

    async def test_view_shares_token_and_connections(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A view neither logs in nor connects again."""
        wire.script = [OK]
        pbx = make_client(wire.url)
        for _ in range(3):
            await pbx.extensions.show("101")
            await pbx.with_options(timeout=3, retry=RetryPolicy(attempts=1)).extensions.show("101")
        assert (wire.logins, wire.connections) == (1, 1)

    async def test_view_shares_max_connections(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """`max_connections` limits the calls of a client and its views together."""
        pbx = make_client(max_connections=3)
        view = pbx.with_options(timeout=3)
        sim.fail("extensions.show", latency=60, times=3)
        async with in_background(*(client.extensions.show("101") for client in (pbx, view) * 10)):
            await until(lambda: sim.in_flight == 3)
            await yield_to_loop()
        assert sim.peak_in_flight == 3

    async def test_view_has_its_own_timeout(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """The timeout of a view doesn't end the calls of its client."""
        wire.script = [silence]
        pbx = make_client(wire.url, retry=RetryPolicy(attempts=1))
        short = pbx.with_options(timeout=0.02)
        async with in_background(pbx.extensions.show("101")) as (call,):
            with pytest.raises(RequestTimeout):
                await short.extensions.show("101")
            assert not call.done()

    async def test_view_has_its_own_policy(self, sim: PBXSimulator, pbx: PortSIPClient) -> None:
        """A setting that a view doesn't define is that of its client or view."""
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

    async def test_session_is_not_changed(
        self, wire: WireServer, make_client: ClientMaker, http: aiohttp.ClientSession
    ) -> None:
        """It is not closed. Its headers and cookies are sent and stay the same."""
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

    async def test_user_agent_of_the_client(
        self, wire: WireServer, make_client: ClientMaker, http: aiohttp.ClientSession
    ) -> None:
        """A client's `user_agent` is sent with the client's requests only."""
        pbx = make_client(wire.url, session=http, user_agent="app/1")
        await pbx.extensions.show("101")
        assert wire.arrivals[0].headers["user-agent"] == "app/1"
        assert "User-Agent" not in http.headers

    async def test_session_closed_by_the_application(
        self, sim: PBXSimulator, make_client: ClientMaker, http: aiohttp.ClientSession
    ) -> None:
        """Every further call raises ClientClosed and sends nothing."""
        pbx = make_client(session=http)
        await pbx.extensions.show("101")
        await http.close()
        served = sim.served.total()
        for call in (CALLS["show"], CALLS["remove"], CALLS["refresh"], CALLS["collect"]):
            with pytest.raises(ClientClosed) as caught:
                await call(pbx)
            assert not caught.value.may_have_acted
        assert sim.served.total() == served

    async def test_session_closed_before_a_retry(
        self, wire: WireServer, make_client: ClientMaker, http: aiohttp.ClientSession
    ) -> None:
        """A retry that can't be sent does not count as an attempt."""
        wire.script = [reply(status=503)]
        pbx = make_client(wire.url, session=http)

        async def pause(_: float) -> None:
            await http.close()

        set_clock(pbx, sleep=pause)
        with pytest.raises(ClientClosed) as caught:
            await pbx.extensions.show("101")
        assert caught.value.attempts == 1


class TestOwnedSession:
    async def test_cookies_are_not_kept(self, wire: WireServer, make_client: ClientMaker) -> None:
        """A cookie that the PBX sets is not sent back."""
        cookie = {"Connection": "keep-alive", "Set-Cookie": "session=1; Path=/"}
        wire.script = [reply({"extension_number": "101"}, headers=cookie)]
        pbx = make_client(wire.url)
        for _ in range(2):
            await pbx.extensions.show("101")
        assert all("cookie" not in arrival.headers for arrival in wire.arrivals)

    async def test_proxy_of_the_environment_is_ignored(
        self, sim: PBXSimulator, make_client: ClientMaker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Only a proxy that was passed to the client is used."""
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv("no_proxy", "")
        await make_client().extensions.show("101")
        proxied = make_client(proxy="http://127.0.0.1:9", retry=RetryPolicy(attempts=1))
        with pytest.raises(ConnectError):
            await proxied.extensions.show("101")

    async def test_client_made_without_a_loop(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """Making a client opens nothing, so no event loop has to be running."""
        pbx = await asyncio.to_thread(make_client)
        await pbx.extensions.show("101")


class TestAnotherLoop:
    """A client belongs to the event loop of its first call; calls in another are refused."""

    @staticmethod
    def in_another_loop(
        pbx: PortSIPClient, call: Callable[[PortSIPClient], Awaitable[object]]
    ) -> BaseException | None:
        """Return the exception of a call in another event loop, in another thread."""

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
    async def test_call_in_another_loop(
        self, sim: PBXSimulator, make_client: ClientMaker, options: dict[str, Any]
    ) -> None:
        """It is refused at once, even if it would have to wait for a slot."""
        pbx = make_client(**options)
        await pbx.extensions.show("101")
        served = sim.served.total()
        sim.fail("extensions.show", latency=30)
        async with in_background(pbx.extensions.show("101")):
            await yield_to_loop()
            for call in (CALLS["show"], CALLS["remove"], CALLS["collect"], CALLS["verify"]):
                error = await asyncio.to_thread(self.in_another_loop, pbx, call)
                assert isinstance(error, ConfigurationError)
                assert "event loop" in str(error)
        assert sim.served.total() <= served + 1

    async def test_client_still_works_in_its_own_loop(
        self, sim: PBXSimulator, pbx: PortSIPClient
    ) -> None:
        """A refused call doesn't affect the client."""
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


async def test_client_leaves_nothing_unclosed() -> None:
    """From its first call to its close, a client causes no warning in asyncio's debug mode."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-X", "dev", "-W", "error", "-c", SCRIPT),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert "Warning" not in err.decode()
    assert "Traceback" not in err.decode()
    assert (out.decode().strip(), process.returncode) == ("ClientClosed", 0)
