"""Raw replies, hooks before an attempt, and what errors tell of a request."""

import asyncio
import copy
import gc
import pickle
import sys
import threading
import warnings
from collections.abc import Mapping
from typing import Any

import pytest

from portsip_async import (
    ENDPOINTS,
    AttemptStart,
    Endpoint,
    NotFound,
    PortSIPClient,
    PortSIPError,
    RawReply,
    ReplyError,
    RequestTimeout,
    RetryPolicy,
    ServerError,
    Timeout,
    TransportError,
    v22,
)
from portsip_async.simulator import PBXSimulator

from .wire_server import TOKEN, WireServer, hang_up, reply, silence

NO_PAUSE = RetryPolicy(initial=0.0)
ONCE = RetryPolicy(attempts=1)
SHOW = ENDPOINTS["extensions.show"]


async def failure(wire: WireServer, **options: Any) -> PortSIPError:
    async with PortSIPClient(wire.url, token=TOKEN, **{"retry": ONCE, **options}) as pbx:
        with pytest.raises(PortSIPError) as caught:
            await pbx.extensions.show("101")
    return caught.value


class TestRawReply:
    async def test_has_the_reply_and_its_value(self, wire: WireServer) -> None:
        """Headers match in any case; several of a name are joined; the repr hides all."""
        head = {"X-Thing": "one", "x-thing": "two", "Set-Cookie": "id=cookie-Secret"}
        wire.script = [reply({"extension_number": "101"}, headers=head)]
        async with PortSIPClient(wire.url, token=TOKEN) as pbx:
            raw = await pbx.request(SHOW, raw=True, extension_number="101")
        assert raw.status == 200
        assert raw.headers["x-THING"] == "one, two"
        assert raw.headers["Set-Cookie"] == "id=cookie-Secret"
        assert raw.body == b'{"extension_number": "101"}'
        assert raw.data.extension_number == "101"  # type: ignore[attr-defined]  # an Extension
        assert repr(raw) == "<RawReply 200, 27 bytes>"
        assert "cookie-Secret" not in repr(raw.headers)
        copied = pickle.loads(pickle.dumps(raw))
        assert dict(copied.headers) == dict(raw.headers)

    async def test_of_every_kind_of_endpoint(self, sim: PBXSimulator) -> None:
        """A page, no reply at all, and bytes; in both generations."""
        async with PortSIPClient(sim.url, username=sim.username, password=sim.password) as pbx:
            walk = await pbx.request(
                ENDPOINTS["extensions.list"], raw=True, pagination=1, pagesize=2
            )
            assert len(walk.data.items) == 2  # type: ignore[attr-defined]  # a page
            removed = await pbx.request(
                ENDPOINTS["extensions.remove"], raw=True, extension_number="101"
            )
            assert (removed.status, removed.data) == (200, None)
            plain = Endpoint("any.bytes", "GET", "/extensions/list", reply=bytes)
            assert (await pbx.request(plain, raw=True, pagination=1, pagesize=2)).data.startswith(
                b"{"
            )
        async with v22.PortSIPClient(
            sim.url, username=sim.username, password=sim.password, domain=sim.domain
        ) as new:
            page = await new.request(v22.ENDPOINTS["users.list"], raw=True)
            assert isinstance(page, RawReply)
            began = await new.request(
                v22.ENDPOINTS["blobs.begin"], raw=True, file_name="a.wav", file_size=3
            )
            assert "portsip-upload-token" in began.headers
            assert began.data is not None

    async def test_other_rules_stay(self, sim: PBXSimulator) -> None:
        """Errors are raised, and failures repeated."""
        async with PortSIPClient(
            sim.url, username=sim.username, password=sim.password, retry=NO_PAUSE
        ) as pbx:
            sim.fail("extensions.show", status=503, times=2)
            assert (await pbx.request(SHOW, raw=True, extension_number="100")).status == 200
            with pytest.raises(NotFound):
                await pbx.request(SHOW, raw=True, extension_number="999")
            with pytest.raises(TypeError, match="raw must be a bool, got str"):
                pbx.request(SHOW, raw="yes", extension_number="100")

    async def test_removal_that_is_gone_on_a_repeat(self, wire: WireServer) -> None:
        """There is no reply of a success to return, so it raises; `may_have_acted` says why."""
        wire.script = [hang_up, reply({"err_code": 404.1, "msg": "none"}, 404)]
        async with PortSIPClient(wire.url, token=TOKEN, retry=NO_PAUSE) as pbx:
            with pytest.raises(NotFound) as caught:
                await pbx.request(ENDPOINTS["extensions.remove"], raw=True, extension_number="101")
        assert caught.value.may_have_acted

    async def test_parameter_of_this_name(self, wire: WireServer) -> None:
        endpoint = Endpoint("a.b", "GET", "/a", rename={"raw_": "raw"})
        async with PortSIPClient(wire.url, token=TOKEN) as pbx:
            await pbx.request(endpoint, raw_="1")
        assert "raw=1" in wire.arrivals[0].query


class TestErrors:
    async def test_says_how_many_attempts_were_made(self, sim: PBXSimulator) -> None:
        """Only if there was more than one; once in the text."""
        async with PortSIPClient(
            sim.url, username=sim.username, password=sim.password, retry=NO_PAUSE
        ) as pbx:
            sim.fail("extensions.show", status=503, msg="busy", times=9)
            with pytest.raises(ServerError) as caught:
                await pbx.extensions.show("100")
            assert str(caught.value) == "extensions.show: HTTP 503, err_code 503: busy (4 attempts)"
            sim.clear()
            with pytest.raises(NotFound) as missing:
                await pbx.extensions.show("999")
            assert "attempts" not in str(missing.value)

    async def test_transport_error_says_how_many_attempts_were_made(self, wire: WireServer) -> None:
        wire.script = [hang_up]
        error = await failure(wire, retry=RetryPolicy(attempts=3, initial=0.0))
        assert isinstance(error, TransportError)
        assert str(error).endswith(" (3 attempts)")

    async def test_members_error_does_not_add_them_up(self, sim: PBXSimulator) -> None:
        """The sum over its numbers would say nothing; the error of each number has its own."""
        async with v22.PortSIPClient(
            sim.url,
            username=sim.username,
            password=sim.password,
            domain=sim.domain,
        ) as pbx:
            group_id = await pbx.groups.create("Support")
            with pytest.raises(v22.MembersError) as caught:
                await pbx.groups.add_members(group_id, ["999", "101", "998"])
        assert caught.value.attempts > 1
        assert "attempts" not in str(caught.value)

    @pytest.mark.parametrize(
        ("body", "status", "kind"),
        [
            ({"err_code": 500, "msg": "no"}, 500, ServerError),
            ({"extensions": 5}, 200, ReplyError),
            ("x" * 5000, 200, ReplyError),
        ],
        ids=["refused", "unreadable", "too long"],
    )
    async def test_request_id(
        self, wire: WireServer, body: Any, status: int, kind: type[PortSIPError]
    ) -> None:
        """It is on every error of a reply, in its text, and in copies; secrets are not."""
        head = {
            "X-Request-ID": "abc-1",
            "PortSIP-Node": "n1",
            "PortSIP-Upload-Token": "upload-Secret",
            "Set-Cookie": "cookie-Secret",
            "X-Other": "other",
        }
        wire.script = [reply(body, status, head)]
        error = await failure(wire, max_reply_bytes=4000)
        assert isinstance(error, kind)
        assert error.request_id == "abc-1"
        assert "(request id abc-1)" in str(error)
        for each in (error, copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
            assert dict(each.headers) == {"X-Request-ID": "abc-1", "PortSIP-Node": "n1"}
            assert each.headers["portsip-NODE"] == "n1"

    async def test_body_that_breaks_off(self, wire: WireServer) -> None:
        """The head of the reply named the request."""
        head = {"Content-Length": "100", "X-Correlation-ID": "abc-2"}
        wire.script = [reply("{", headers=head)]
        error = await failure(wire)
        assert isinstance(error, TransportError)
        assert error.request_id == "abc-2"

    async def test_timeout_without_a_reply(self, wire: WireServer) -> None:
        wire.script = [silence]
        error = await failure(wire, timeout=Timeout(total=0.1))
        assert isinstance(error, RequestTimeout)
        assert error.request_id is None
        assert dict(error.headers) == {}

    async def test_hostile_header(self, wire: WireServer) -> None:
        """It is short, printable, and has no token."""
        value = f"a\x1b[31m\u202e {TOKEN} " + "b" * 5000
        wire.script = [reply("", 500, {"X-Request-ID": value})]
        error = await failure(wire)
        shown = error.request_id or ""
        assert TOKEN not in repr(error) + shown
        assert shown.isascii()
        assert shown.isprintable()
        assert 100 < len(shown) <= 203


class TestBeforeAttempt:
    async def test_adds_headers_to_each_attempt(self, sim: PBXSimulator) -> None:
        """Logins and repeats included."""
        starts: list[AttemptStart] = []
        async with PortSIPClient(
            sim.url,
            username=sim.username,
            password=sim.password,
            retry=NO_PAUSE,
            before_attempt=starts.append,
        ) as pbx:
            sim.fail("extensions.show", status=503)
            await pbx.extensions.show("100")
        assert starts == [
            AttemptStart("account.verify", 1),
            AttemptStart("extensions.show", 1),
            AttemptStart("extensions.show", 2),
        ]

    async def test_headers_arrive(self, wire: WireServer) -> None:
        def trace(start: AttemptStart) -> Mapping[str, str]:
            return {"X-Request-ID": f"{start.operation}-{start.number}"}

        for client in (PortSIPClient, v22.PortSIPClient):
            endpoint = Endpoint("a.b", "POST", "/a")
            async with client(wire.url, token=TOKEN, before_attempt=trace) as pbx:
                await pbx.request(endpoint)
            assert wire.arrivals[-1].headers["x-request-id"] == "a.b-1"

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("authorization", "Bearer other"),
            ("X-Thing", "a\r\nAuthorization: Bearer other"),
            ("X-Thing", "a\r\n\r\nGET /x HTTP/1.1"),
            ("X-Thing", 5),
            ("X-Thing", "\u20ac"),
            ("X Thing", "a"),
            ("X-Thing: a\r\nX-Other", "b"),
            ("Content-Length", "5"),
            ("Transfer-Encoding", "chunked"),
            ("Host", "evil.example"),
            ("content-type", "text/plain"),
            (5, "a"),
        ],
        ids=range(12),
    )
    async def test_bad_header_is_left_out(
        self, wire: WireServer, caplog: pytest.LogCaptureFixture, name: Any, value: Any
    ) -> None:
        """The rest is sent, and one line is logged, however many attempts there are."""
        extra = {name: value, "X-Good": "yes"}
        async with v22.PortSIPClient(wire.url, token=TOKEN, before_attempt=lambda _: extra) as pbx:
            for _ in range(2):
                await pbx.request(Endpoint("a.b", "POST", "/a"), thing="x")
        for arrival in wire.arrivals:
            assert arrival.headers["authorization"] == f"Bearer {TOKEN}"
            assert arrival.headers["content-type"] == "application/json"
            assert arrival.headers["x-good"] == "yes"
            assert "x-thing" not in arrival.headers
            assert "x-other" not in arrival.headers
            assert arrival.body == b'{"thing":"x"}'
        assert len(wire.arrivals) == 2
        assert len([line for line in caplog.messages if "is left out" in line]) == 1

    @pytest.mark.parametrize("result", [5, "text", [("a", "b")]], ids=repr)
    async def test_result_that_is_no_mapping_is_left_out(
        self, wire: WireServer, caplog: pytest.LogCaptureFixture, result: Any
    ) -> None:
        async with PortSIPClient(wire.url, token=TOKEN, before_attempt=lambda _: result) as pbx:
            for _ in range(2):
                assert (await pbx.extensions.show("101")).extension_number == "101"
        kind = type(result).__name__
        assert caplog.messages == [f"before_attempt: it must return a mapping or None, got {kind}"]

    @pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
    @pytest.mark.parametrize("option", ["before_attempt", "on_attempt"])
    async def test_what_it_raises_is_logged(
        self,
        wire: WireServer,
        caplog: pytest.LogCaptureFixture,
        option: str,
        error: type[BaseException],
    ) -> None:
        """A cancelled future raises CancelledError, which does not cancel the call."""

        def hook(_: object) -> None:
            raise error

        options: dict[str, Any] = {option: hook}
        async with PortSIPClient(wire.url, token=TOKEN, **options) as pbx:
            assert (await pbx.extensions.show("101")).extension_number == "101"
        assert caplog.messages == [f"{option} raised"]

    @pytest.mark.parametrize("option", ["before_attempt", "on_attempt"])
    def test_coroutine_function_is_refused(self, option: str) -> None:
        """Nothing would await it."""

        async def hook(_: object) -> None: ...

        options: dict[str, Any] = {option: hook}
        with pytest.raises(TypeError, match=f"{option} must be a plain function, got a coroutine"):
            PortSIPClient("http://localhost", token="t", **options)


class TestUnclosed:
    """A client that was never closed says so when it is collected."""

    @pytest.mark.parametrize("in_thread", [False, True], ids=["here", "in a thread"])
    @pytest.mark.parametrize("generation", ["classic", "v22"])
    async def test_warning(self, sim: PBXSimulator, generation: str, in_thread: bool) -> None:
        """It names the client, and aiohttp says nothing; the connections are closed."""
        told: list[str] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: told.append(context["message"])
        )
        made = {"classic": PortSIPClient, "v22": v22.PortSIPClient}[generation]
        pbx = made(sim.url, username=sim.username, password=sim.password)
        line = sys._getframe().f_lineno - 1
        await pbx.extensions.show("100")
        view = pbx.with_options(timeout=3)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del pbx
            gc.collect()
            assert not told  # the view can go on
            del view
            collect = threading.Thread(target=gc.collect)
            if in_thread:
                collect.start()
                collect.join()
            else:
                gc.collect()
            await asyncio.sleep(0.05)
            gc.collect()
        [message] = told
        assert message == (
            f"portsip_async.{generation}.PortSIPClient of {sim.url}/api, "
            f"created at {__file__}:{line}, was never closed: "
            "use it in an async with block, or await its close()"
        )
        ours = [each for each in caught if each.category is ResourceWarning]
        assert [str(each.message) for each in ours] == [message]

    async def test_nothing_to_close(self, sim: PBXSimulator) -> None:
        """A client that sent nothing, or was closed, does not warn."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pbx = PortSIPClient(sim.url, username=sim.username, password=sim.password)
            del pbx
            gc.collect()
            async with PortSIPClient(sim.url, username=sim.username, password=sim.password) as pbx:
                await pbx.extensions.show("100")
            del pbx
            gc.collect()
