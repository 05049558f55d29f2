"""What every coroutine and stream of v22 promises: cancelled, closed, in two loops, odd arguments.

The calls are those of `operations.py`, for which this checks that no coroutine is missing.
"""

import asyncio
import copy
import inspect
import pickle
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import StrEnum
from operator import attrgetter
from typing import Any
from urllib.parse import unquote

import pytest

from portsip_async import (
    ClientClosed,
    ConfigurationError,
    PortSIPError,
    RetryPolicy,
    Timeout,
)
from portsip_async.simulator import PBXSimulator
from portsip_async.v22 import ENDPOINTS, NewUser, PortSIPClient, UserSettings

from ..clocks import set_clock
from ..concurrency import GatedCredentials, hang, in_background, until, yield_to_loop
from ..internals import calls_of, http_session_of, semaphore_of, session_of
from ..operations import Operation
from ..test_cancellation import Stalling
from ..wire_server import Arrival, WireServer, reply
from .conftest import V22Maker
from .operations import CALLS, ID, NEW_USER, OF_EACH_KIND, OPERATIONS

ALL = (*OPERATIONS, *CALLS)
# They don't need a token.
NO_TOKEN = {
    *("auth.send_otp", "auth.verify_otp", "blobs.download", "calls.create_directly", "pbx.info"),
    "extensions.call",
}
UPLOADS = {"blobs.upload", "greetings.upload"}
each_call = pytest.mark.parametrize("call", ALL, ids=lambda call: call.name)
each_kind = pytest.mark.parametrize(
    "call",
    [call for call in ALL if call in CALLS or call.name in OF_EACH_KIND],
    ids=lambda call: call.name,
)


async def test_no_coroutine_is_missing(make_v22: V22Maker) -> None:
    """Every public coroutine of the resources is called by a test of this file."""
    pbx = make_v22(token="T")
    called: set[str] = set()

    class Spy:
        """Stands for a client; records which methods of its resources are called."""

        def __init__(self, target: Any, path: str = "") -> None:
            self._target, self._path = target, path

        def __getattr__(self, name: str) -> Any:
            value = getattr(self._target, name)
            path = f"{self._path}{name}"
            if callable(value):
                called.add(path)
                return value
            return Spy(value, f"{path}.")

    streams: list[Any] = []
    for call in ALL:
        made = call.send(Spy(pbx))
        if inspect.iscoroutine(made):
            made.close()
        streams.append(made)
    resources = ("auth", "users", "extensions", "groups", "greetings", "blobs", "calls")
    public = {
        f"{resource}.{name}"
        for resource in resources
        for name, _ in inspect.getmembers(getattr(pbx, resource), inspect.ismethod)
        if not name.startswith("_")
    } | {"info", "request"}
    left = {
        *("auth.refresh", "auth.sign_out"),  # logins, see test_auth.py
        *("extensions.list", "extensions.watch_status"),
        *("users.patch_number", "groups.remove_members"),
    }
    assert public - called <= left


class TestCancelled:
    @each_call
    @pytest.mark.parametrize("stage", ["token", "connecting", "head", "body", "backing off"])
    async def test_frees_its_resources(
        self,
        call: Operation,
        stage: str,
        wire: WireServer,
        make_v22: V22Maker,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The CancelledError is raised at once; no slot, call, task or connection is left."""
        if stage not in ("token", "head") and call.name not in OF_EACH_KIND and call not in CALLS:
            return  # these stages don't depend on more than the kind of an operation
        if stage == "backing off" and call.name in UPLOADS:
            return  # the request that destroys the upload would wait, too
        stalling = Stalling(
            b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{" if stage == "body" else b""
        )
        wire.script = [stalling]
        credentials = GatedCredentials()
        pbx = make_v22(wire.url, credentials=credentials, timeout=Timeout(read=0.5))
        reached: Callable[[], object] = lambda: stalling.reached  # noqa: E731 - changed below
        if stage == "token":
            if call.name in NO_TOKEN:
                return
            credentials.open.clear()
            reached = lambda: credentials.fetched  # noqa: E731
        elif stage == "connecting":
            connecting = asyncio.Event()

            async def connect(*_: object) -> None:
                connecting.set()
                await hang()

            monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", connect)
            reached = connecting.is_set
        elif stage == "backing off":
            pausing = asyncio.Event()

            async def pause(_: float) -> None:
                pausing.set()
                await hang()

            set_clock(pbx, sleep=pause)
            # Even what acts each time is repeated after it.
            wire.script = [reply(status=429)]
            reached = pausing.is_set
        before = asyncio.all_tasks()
        task = asyncio.ensure_future(call.send(pbx))
        await until(reached)
        task.cancel()
        await yield_to_loop(60)
        assert task.cancelled()
        if call.name in UPLOADS:
            await pbx.close()  # waits until an upload that began is destroyed
        await until(lambda: not calls_of(pbx))
        assert semaphore_of(pbx)._value == 64
        await until(lambda: stalling.left == stalling.reached)
        credentials.open.set()
        await until(lambda: not asyncio.all_tasks() - before - session_tasks(pbx))

    @each_kind
    async def test_client_works_afterwards(
        self, call: Operation, sim: PBXSimulator, make_v22: V22Maker
    ) -> None:
        """After a call was cancelled many times, the client makes other calls."""
        pbx = make_v22(max_connections=2)
        await pbx.users.list()
        for passes in (0, 1, 2, 5, 10, 20):
            task = asyncio.ensure_future(call.send(pbx))
            await yield_to_loop(passes)
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                task.exception()
        async with asyncio.timeout(10):
            await asyncio.gather(*(pbx.info() for _ in range(10)))
            if call.name in UPLOADS:
                await until(lambda: not sim.v22.uploads)


def session_tasks(pbx: PortSIPClient) -> set[asyncio.Task[Any]]:
    """Return the tasks of a client that may go on after a call: the renewal of its token."""
    return {task for task in asyncio.all_tasks() if "renew" in repr(task.get_coro())}


class TestClosed:
    @each_call
    async def test_call_after_close(
        self, call: Operation, sim: PBXSimulator, pbx22: PortSIPClient
    ) -> None:
        """It raises ClientClosed and sends nothing, also through a view."""
        await pbx22.users.list()
        served = sim.v22.served.total()
        await pbx22.close()
        for pbx in (pbx22, pbx22.with_options(timeout=3)):
            with pytest.raises(ClientClosed) as caught:
                await call.send(pbx)
            assert not caught.value.may_have_acted
        assert sim.v22.served.total() == served

    @each_call
    async def test_close_before_the_first_call(
        self, call: Operation, pbx22: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """A client that was closed unused opens nothing."""
        await pbx22.close()
        with pytest.raises(ClientClosed):
            await call.send(pbx22)
        assert http_session_of(pbx22) is None
        assert sim.v22.served.total() == 0

    @each_call
    async def test_close_while_a_call_waits_for_its_reply(
        self, call: Operation, wire: WireServer, make_v22: V22Maker
    ) -> None:
        """The call raises ClientClosed, which says whether the PBX may have acted."""
        stalling = Stalling()
        wire.script = [stalling]
        pbx = make_v22(wire.url, token="T")
        async with in_background(call.send(pbx)) as (task,):
            await until(lambda: stalling.reached)
            async with asyncio.timeout(5):
                await pbx.close()
                with pytest.raises(ClientClosed) as caught:
                    await task
        if call in OPERATIONS:
            assert caught.value.operation == call.name
            assert caught.value.may_have_acted is (call.safety != "safe")
        await until(lambda: not wire.open)

    @each_call
    async def test_close_while_a_call_waits_for_its_token(
        self, call: Operation, make_v22: V22Maker, wire: WireServer
    ) -> None:
        """The call raises ClientClosed, and it was not sent."""
        if call.name in NO_TOKEN:
            return
        credentials = GatedCredentials()
        credentials.open.clear()
        pbx = make_v22(wire.url, credentials=credentials)
        async with in_background(call.send(pbx)) as (task,):
            await until(lambda: credentials.fetched)
            await pbx.close()
            with pytest.raises(ClientClosed) as caught:
                await task
            assert not caught.value.may_have_acted
        assert wire.arrivals == []


@each_call
async def test_call_in_another_loop(call: Operation, wire: WireServer, make_v22: V22Maker) -> None:
    """A client belongs to the event loop of its first call. Calls in another one are refused."""
    wire.script = [reply({}, headers={"Connection": "keep-alive"})]
    pbx = make_v22(wire.url, token="T", max_connections=1)
    await pbx.info()

    async def run() -> BaseException | None:
        try:
            async with asyncio.timeout(5):
                await call.send(pbx)
        except (PortSIPError, TimeoutError, RuntimeError) as error:
            return error
        return None

    error = await asyncio.to_thread(lambda: asyncio.run(run()))
    assert isinstance(error, ConfigurationError)
    assert "event loop" in str(error)
    assert len(wire.arrivals) == 1
    await pbx.info()


LIVE: dict[str, Callable[[PortSIPClient], object]] = {
    "client": lambda pbx: pbx,
    "view": lambda pbx: pbx.with_options(timeout=3),
    **{
        name: attrgetter(name)
        for name in ("auth", "users", "extensions", "groups", "greetings", "blobs", "calls")
    },
    "list": lambda pbx: pbx.users.list(),
    "group list": lambda pbx: pbx.groups.list(),
    "poll": lambda pbx: pbx.extensions.poll_status(["101"]),
    "watch": lambda pbx: pbx.extensions.watch_status(["101"]),
    "bulk run": lambda pbx: pbx.users.remove_many([ID]),
    "session": session_of,
    "directory": lambda pbx: pbx._directory,
}


@pytest.mark.parametrize("what", LIVE)
async def test_copies_are_refused(what: str, pbx22: PortSIPClient) -> None:
    """A copy or a pickle is a TypeError that says what to do instead."""
    live = LIVE[what](pbx22)
    for how in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="with_options"):
            how(live)
    await pbx22.users.list()


class Text(str):
    """A text with another str(), and that equals nothing but itself."""

    __slots__ = ()

    def __str__(self) -> str:
        return "WRONG"

    __repr__ = __str__

    def __format__(self, _: str) -> str:
        return "WRONG"

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


def member_of_an_enum(text: str) -> str:
    return StrEnum("Made", {"MEMBER": text}).MEMBER  # type: ignore[attr-defined,no-any-return]


Kind = Callable[[str], str]


def new_user(s: Kind) -> NewUser:
    texts = ("name", "display_name", "email", "role", "extension_number", "password")
    fields = {name: s(getattr(NEW_USER, name)) for name in texts}
    return NewUser(
        **fields,  # type: ignore[arg-type]  # strings only
        extension_password=s("sip"),
        voicemail_pin=s("123456"),
    )


def change(s: Kind, field: str, value: str) -> dict[str, Any]:
    return {s(field): s(value)}


async def collect(stream: Any) -> list[Any]:
    return [each async for each in stream]


# Each call with all its texts, made by a function.
TEXTS: dict[str, Callable[[PortSIPClient, Kind], Awaitable[Any]]] = {
    "users.list": lambda pbx, s: pbx.users.list(
        search=s("10"), filter=s("a eq 'b'"), orderby=s("name")
    ).collect(),
    "users.find": lambda pbx, s: pbx.users.find(s("101")),
    "users.create": lambda pbx, s: pbx.users.create(new_user(s)),
    "users.show": lambda pbx, s: pbx.users.show(s(ID)),
    "users.update": lambda pbx, s: pbx.users.update(s(ID), UserSettings(display_name=s("Ann"))),
    "users.patch": lambda pbx, s: pbx.users.patch(s(ID), change(s, "department", "Sales")),
    "users.remove": lambda pbx, s: pbx.users.remove(s(ID)),
    "users.set_password": lambda pbx, s: pbx.users.set_password(s(ID), s("web")),
    "users.set_extension_password": lambda pbx, s: pbx.users.set_extension_password(
        s(ID), s("sip")
    ),
    "users.set_role": lambda pbx, s: pbx.users.set_role(s(ID), s("StandardUser")),
    "users.status": lambda pbx, s: pbx.users.status(s(ID)),
    "users.set_own_presence": lambda pbx, s: pbx.users.set_own_presence(s("AWAY"), s("note")),
    "extensions.search": lambda pbx, s: pbx.extensions.search(s("10")).collect(),
    "extensions.show": lambda pbx, s: pbx.extensions.show(s("101")),
    "extensions.patch": lambda pbx, s: pbx.extensions.patch(s("101"), change(s, "address", "A")),
    "extensions.remove": lambda pbx, s: pbx.extensions.remove(s("101")),
    "extensions.status": lambda pbx, s: pbx.extensions.status([s("101"), s("101")]),
    "extensions.call": lambda pbx, s: pbx.extensions.call(
        s("101"), s("102"), auth=s("sip"), domain=s("test.io"), src=s("101")
    ),
    "poll_status": lambda pbx, s: collect(pbx.extensions.poll_status([s("101")])),
    "groups.create": lambda pbx, s: pbx.groups.create(s("Sales"), description=s("d")),
    "groups.show": lambda pbx, s: pbx.groups.show(s(ID)),
    "groups.update": lambda pbx, s: pbx.groups.update(s(ID), name=s("Sales"), description=s("")),
    "groups.remove": lambda pbx, s: pbx.groups.remove(s(ID)),
    "groups.members": lambda pbx, s: pbx.groups.members(s(ID)),
    "groups.add_members": lambda pbx, s: pbx.groups.add_members(s(ID), [s("101")]),
    "groups.remove_members": lambda pbx, s: pbx.groups.remove_members(s(ID), [s("101")]),
    "greetings.list": lambda pbx, s: pbx.greetings.list(s(ID)),
    "greetings.create": lambda pbx, s: pbx.greetings.create(s(ID), s("f")),
    "greetings.enable": lambda pbx, s: pbx.greetings.enable(s(ID), s("g")),
    "greetings.disable": lambda pbx, s: pbx.greetings.disable(s(ID), s("g")),
    "greetings.remove": lambda pbx, s: pbx.greetings.remove(s(ID), s("g")),
    "greetings.upload": lambda pbx, s: pbx.greetings.upload(s(ID), b"RIFF", filename=s("a.wav")),
    "blobs.upload": lambda pbx, s: pbx.blobs.upload(b"RIFF", filename=s("a.wav")),
    "calls.create": lambda pbx, s: pbx.calls.create(s("101"), s("102"), trunk=s("carrier")),
    "calls.create_directly": lambda pbx, s: pbx.calls.create_directly(
        s("101"), s("sip"), domain=s("test.io"), caller=s("101"), callee=s("102")
    ),
    "calls.show": lambda pbx, s: pbx.calls.show(s(ID)),
    "calls.hang_up": lambda pbx, s: pbx.calls.hang_up(s(ID)),
    "auth.send_otp": lambda pbx, s: pbx.auth.send_otp(s("challenge")),
    "auth.verify_otp": lambda pbx, s: pbx.auth.verify_otp(s("challenge"), s("904115")),
    "info": lambda pbx, s: pbx.info(domain=s("test.io")),
    "show_many": lambda pbx, s: collect(pbx.users.show_many([s(ID)])),
    "create_many": lambda pbx, s: collect(pbx.users.create_many([new_user(s)])),
    "patch_many": lambda pbx, s: collect(
        pbx.users.patch_many([(s(ID), change(s, "department", "Sales"))])
    ),
    "remove_many": lambda pbx, s: collect(pbx.users.remove_many([s(ID)])),
}
REPLY = reply(
    {
        "id": ID,
        "extension_number": "101",
        "status": "ONLINE",
        "items": [],
        "count": 0,
        "access_token": "T",
    },
    headers={"PortSIP-Upload-ID": ID, "PortSIP-Upload-Token": "u", "Connection": "keep-alive"},
)


def content_of(arrival: Arrival) -> tuple[str, ...]:
    """Return what a request holds."""
    names = ("content-type", "authorization", "portsip-upload-token")
    headers = [arrival.headers.get(name, "") for name in names]
    return arrival.method, arrival.path, arrival.query, *headers, arrival.body.decode()


@pytest.mark.parametrize("kind", [Text, member_of_an_enum])
@pytest.mark.parametrize("name", TEXTS)
async def test_subclass_of_str(name: str, kind: Kind, wire: WireServer, make_v22: V22Maker) -> None:
    """Whatever is a str is sent by its value: the same request as for a plain str."""
    wire.script = [REPLY]
    sent: list[list[tuple[str, ...]]] = []
    for make in (str, kind):
        wire.arrivals.clear()
        pbx = make_v22(wire.url, token=make("T"), refresh_token=make("R"))
        found = await TEXTS[name](pbx, make)
        sent.append([content_of(arrival) for arrival in wire.arrivals])
        for result in found if isinstance(found, list) else ():
            assert getattr(result, "error", None) is None
    assert sent[0] == sent[1] != []


ODD = (5, None, b"101", ["101"], True)
# The values of a user's settings are checked by the PBX alone.
UNCHECKED = {"users.update", "users.patch", "extensions.patch", "patch_many"}
# Of these, the arguments from this position on may be None.
MAY_BE_NONE = {
    "users.list": 0,
    "users.set_own_presence": 1,
    "groups.create": 1,
    "groups.update": 1,
    "greetings.upload": 1,
    "blobs.upload": 0,
    "calls.create": 2,
    "info": 0,
}


class Spoiler:
    """Replaces one of the texts of a call."""

    def __init__(self, position: int, odd: object) -> None:
        self.count = 0
        self._position = position
        self._odd = odd

    def __call__(self, text: str) -> Any:
        self.count += 1
        return self._odd if self.count == self._position + 1 else text


@pytest.mark.parametrize("name", sorted(TEXTS.keys() - UNCHECKED))
async def test_argument_of_another_type(name: str, sim: PBXSimulator, make_v22: V22Maker) -> None:
    """Each text that is none, one after the other, is refused before anything is sent."""
    pbx = make_v22()
    counter = Spoiler(-1, None)
    await asyncio.gather(TEXTS[name](pbx, counter), return_exceptions=True)
    assert counter.count
    sim.v22.served.clear()
    for odd in ODD:
        for position in range(counter.count):
            if odd is None and position >= MAY_BE_NONE.get(name, 1000):
                continue
            try:
                results = await TEXTS[name](pbx, Spoiler(position, odd))
            except (TypeError, ValueError):
                continue
            finally:
                assert sim.v22.served.total() == 0, (odd, position)
            errors = [result.error for result in results]
            assert all(isinstance(error, TypeError | ValueError) for error in errors), odd


@pytest.mark.parametrize("name", TEXTS)
async def test_halves_of_surrogate_pairs(name: str, sim: PBXSimulator, make_v22: V22Maker) -> None:
    """A text that can't be sent is refused, and nothing was sent."""
    pbx = make_v22()
    try:
        errors = [result.error for result in await TEXTS[name](pbx, lambda text: f"{text}\ud800")]
    except (TypeError, ValueError) as refused:
        errors = [refused]
    for error in errors:
        assert isinstance(error, TypeError | ValueError)
        assert str(error).isprintable()
    assert errors
    assert sim.v22.served.total() == 0


async def source(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


@pytest.mark.parametrize("odd", [5, None, "no path\0", object(), ["a"]])
async def test_upload_of_no_file(odd: Any, sim: PBXSimulator, pbx22: PortSIPClient) -> None:
    """A source that is none is refused, and no upload is left on the PBX."""
    with pytest.raises((TypeError, ValueError, OSError)):
        await pbx22.blobs.upload(odd)
    with pytest.raises((TypeError, ValueError, OSError)):
        await pbx22.greetings.upload(sim.v22.user_id("101"), odd)
    assert not sim.v22.uploads
    assert not sim.v22.files


async def test_retries_end_with_the_first_byte(wire: WireServer, make_v22: V22Maker) -> None:
    """An iterator can't be read twice, so a busy PBX ends its upload."""
    wire.script = [REPLY, reply(status=429), REPLY]
    pbx = make_v22(wire.url, token="T", retry=RetryPolicy(attempts=3, initial=0, maximum=0))
    with pytest.raises(PortSIPError):
        await pbx.blobs.upload(source(b"RIFF", b"more"))
    assert [path.rsplit("/", 1)[-1] for path in wire.paths()] == ["uploads", "append", "destroy"]


ODD_IDS = [
    "a/b",
    "a%2Fb",
    "a?b",
    "a#b",
    "a;b",
    "../users",
    "..%2f",
    "{id}",
    "a b",
    "ä",
    "%",
    "\\",
    "…",
]


@pytest.mark.parametrize("name", [name for name, row in ENDPOINTS.items() if row.path_arguments])
async def test_odd_ids_stay_one_segment(name: str, wire: WireServer, make_v22: V22Maker) -> None:
    """No id or number reaches another operation, and steps in the path are refused."""
    row = ENDPOINTS[name]
    wire.script = [REPLY]
    pbx = make_v22(wire.url, token="T")
    more = {"upload_token": "u", "password": "p", "role": "r", "file_id": "f"}
    steps = (".", "..", "")
    for odd in (*ODD_IDS, *steps):
        wire.arrivals.clear()
        names = {*row.path_arguments, *(row.takes or ())} & {*row.path_arguments, *more}
        parameters = {each: odd if each in row.path_arguments else more[each] for each in names}
        refused = False
        try:
            await pbx.request(row, **parameters)
        except ValueError:
            refused = True
        except PortSIPError:
            pass  # the reply shows another item
        assert refused is (odd in steps)
        if refused:
            assert not wire.arrivals
            continue
        [arrival] = wire.arrivals
        expected = row.path
        for each in row.path_arguments:
            expected = expected.replace(f"{{{each}}}", "*")
        segments = arrival.path.removeprefix("/api").split("/")
        assert ["*" if unquote(each) == odd else each for each in segments] == expected.split("/")
