"""`PBXSimulator.in_thread`: for synchronous code, and for every loop."""

import asyncio
import errno
import gc
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from portsip_async import PortSIPClient
from portsip_async.simulator import Faults, PBXSimulator

THREAD = "portsip-simulator"
SECONDS = 10.0  # for what takes milliseconds


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Any:
    yield
    assert THREAD not in {thread.name for thread in threading.enumerate()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gc.collect()  # an open socket or loop would warn


def get(url: str) -> int:
    """Return the HTTP status of a URL; 0 if there is no reply."""
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as reply:
            status: int = reply.status
            return status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def show_url(sim: PBXSimulator) -> str:
    return f"{sim.url}/api/extensions/show?extension_number=101"


def client_of(sim: PBXSimulator) -> PortSIPClient:
    return PortSIPClient(sim.url, username=sim.username, password=sim.password)


def test_synchronous_code() -> None:
    """It sees the state and the counts, and can script faults, without a loop."""
    with PBXSimulator.in_thread(extensions=20, domain="sales.example") as sim:
        assert len(sim.extension_numbers) == 20
        assert sim.domain == "sales.example"
        assert get(show_url(sim)) == 401
        assert sim.rejected["extensions.show"] == 1
        sim.fail("extensions.show", status=418)
        assert get(show_url(sim)) == 418
        sim.faults = Faults(server_error=1.0)
        assert get(show_url(sim)) >= 500
        sim.faults = Faults()
        sim.v22.fail("users.show", status=418)
        assert get(f"{sim.url}/api/users/1") == 418
        assert sim.v22.served["users.show"] == 1
        sim.set_status("101", "ON_CALL")

        asyncio.run(sim.stop())
        assert get(show_url(sim)) == 0
        asyncio.run(sim.start())
        assert get(show_url(sim)) == 401
        asyncio.run(sim.restart())
        assert get(show_url(sim)) == 401


def test_every_loop() -> None:
    """Clients in several loops use one simulator, and each of the loops may restart it."""

    async def use(sim: PBXSimulator) -> None:
        async with client_of(sim) as pbx:
            assert len(await pbx.extensions.list().collect()) == 20
            await sim.restart(downtime=0.01)
            sim.fail("extensions.show", status=503, retry_after=0)
            await pbx.extensions.show("101")
            sim.revoke()
            await pbx.extensions.show("101")

    with PBXSimulator.in_thread(extensions=20) as sim:
        asyncio.run(use(sim))
        asyncio.run(use(sim))
    assert sim.acted["extensions.show"] == 4


async def test_blocked_loop() -> None:
    """The simulator serves a test that blocks its own loop."""
    with PBXSimulator.in_thread(extensions=20) as sim:
        assert get(show_url(sim)) == 401


def test_state_is_readable_afterwards() -> None:
    with PBXSimulator.in_thread(extensions=20) as sim:
        get(show_url(sim))
    assert get(show_url(sim)) == 0
    assert sim.served["extensions.show"] == 1
    assert sim.extension("101")["extension_number"] == "101"
    assert sim.v22.user(sim.v22.user_id("101"))["extension_number"] == "101"


def test_several_at_once() -> None:
    with ExitStack() as stack:
        sims = [stack.enter_context(PBXSimulator.in_thread(extensions=20)) for _ in range(3)]
        assert len({sim.url for sim in sims}) == 3
        sims[1].fail("extensions.show", status=418)
        assert [get(show_url(sim)) for sim in sims] == [401, 418, 401]


def test_failing_start() -> None:
    """A port in use and an invalid argument raise in the caller. No thread is left."""
    with PBXSimulator.in_thread(extensions=20) as sim:
        with (
            pytest.raises(OSError, match="in use") as caught,
            PBXSimulator.in_thread(extensions=20, port=sim.port),
        ):
            pytest.fail("it can't start")
        assert caught.value.errno == errno.EADDRINUSE
        with (
            pytest.raises(ValueError, match="extensions must be at least 0"),
            PBXSimulator.in_thread(extensions=-1),
        ):
            pytest.fail("it can't start")
        assert get(show_url(sim)) == 401


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_exception_in_the_block(error: type[BaseException]) -> None:
    """It ends the thread, although a request hangs and the simulator was stopped and started."""
    statuses: list[int] = []

    def fail() -> None:
        with PBXSimulator.in_thread(extensions=20) as sim:
            asyncio.run(sim.restart())
            sim.faults = Faults(latency=1000.0)
            threads.append(threading.Thread(target=lambda: statuses.append(get(show_url(sim)))))
            threads[0].start()
            while not sim.in_flight:
                assert threads[0].is_alive()
            raise error

    threads: list[threading.Thread] = []
    with pytest.raises(error):
        fail()
    threads[0].join(SECONDS)
    assert statuses == [0]


async def test_end_during_a_restart() -> None:
    """A block can end during a restart. The simulator then stays stopped."""
    with PBXSimulator.in_thread(extensions=20) as sim:
        restarting = asyncio.create_task(sim.restart(downtime=0.05))
        while get(show_url(sim)):  # noqa: ASYNC110 - no event tells that it is stopped
            await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="has ended"):
        await restarting
    with pytest.raises(RuntimeError, match="has ended"):
        await sim.start()
    await sim.stop()
    assert get(show_url(sim)) == 0


def test_end_while_other_threads_restart() -> None:
    """Each of them gets an error, and the port is free."""
    errors: list[type[BaseException]] = []
    begun = threading.Event()

    async def restart(sim: PBXSimulator) -> None:
        while True:
            await sim.restart()
            sim.extension("101")
            begun.set()

    def work(sim: PBXSimulator) -> None:
        try:
            asyncio.run(restart(sim))
        except (RuntimeError, asyncio.CancelledError) as error:
            errors.append(type(error))

    for _ in range(10):
        with PBXSimulator.in_thread(extensions=20) as sim:
            thread = threading.Thread(target=work, args=(sim,))
            thread.start()
            assert begun.wait(SECONDS)
        thread.join(SECONDS)
        assert get(show_url(sim)) == 0
        begun.clear()
    assert len(errors) == 10


async def test_cancelled_start() -> None:
    """A cancellation in the caller's loop reaches the simulator's."""
    with PBXSimulator.in_thread(extensions=20) as sim:
        await sim.stop()
        starting = asyncio.create_task(sim.start())
        await asyncio.sleep(0)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await sim.stop()
        await sim.start()
        assert get(show_url(sim)) == 401
        with pytest.raises(RuntimeError, match="already started"):
            await sim.start()


class Spy(str):
    """Text that notes in which threads it is used."""

    __slots__ = ("threads",)
    threads: set[str]

    def _note(self) -> None:
        self.threads.add(threading.current_thread().name)

    def __hash__(self) -> int:
        self._note()
        return str.__hash__(self)

    def __eq__(self, other: object) -> bool:
        self._note()
        return str.__eq__(self, other)

    def __bool__(self) -> bool:
        self._note()
        return len(self) > 0


def spy(text: str) -> Spy:
    made = Spy(text)
    made.threads = set()
    return made


CALLS: dict[str, tuple[str, Callable[[PBXSimulator, Any], object]]] = {
    "fail": ("extensions.show", lambda sim, text: sim.fail(text, status=503)),
    "clear": ("extensions.show", lambda sim, text: sim.clear(text)),
    "set_status": ("101", lambda sim, text: sim.set_status(text, "ON_CALL")),
    "extension": ("101", lambda sim, text: sim.extension(text)),
    "greetings": ("101", lambda sim, text: sim.greetings(text)),
    "group": ("1", lambda sim, text: sim.group(text)),
    "v22.fail": ("users.show", lambda sim, text: sim.v22.fail(text, status=503)),
    "v22.clear": ("users.show", lambda sim, text: sim.v22.clear(text)),
    "v22.user_id": ("101", lambda sim, text: sim.v22.user_id(text)),
    "v22.user": ("1", lambda sim, text: sim.v22.user(text)),
    "v22.revoke": ("yes", lambda sim, text: sim.v22.revoke(refresh_tokens=text)),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_run_in_the_thread(name: str) -> None:
    """Only the simulator's thread reads and changes its state. Errors reach the caller."""
    text, call = CALLS[name]
    with PBXSimulator.in_thread(extensions=20) as sim:
        known, unknown = spy(text), spy("?")
        if name == "group":
            known = spy(sim.group_ids[0])
        elif name == "v22.user":
            known = spy(sim.v22.user_id("101"))
        call(sim, known)
        assert known.threads == {THREAD}
        if name != "v22.revoke":
            with pytest.raises((KeyError, ValueError)):
                call(sim, unknown)
            assert unknown.threads <= {THREAD}


OPEN_AT_EXIT = """
import sys
from portsip_async.simulator import PBXSimulator
made = PBXSimulator.in_thread(extensions=20)
sim = made.__enter__()
print(sim.url)
if "raise" in sys.argv:
    sys.exit(3)
"""


@pytest.mark.parametrize(("how", "code"), [("end", 0), ("raise", 3)])
def test_interpreter_exits(how: str, code: int) -> None:
    """An interpreter exits although a block was never left."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", OPEN_AT_EXIT, how],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout.startswith("http://")
