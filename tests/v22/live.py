"""What the tests of live statuses share: a PBX with a watch, and a consumer that checks changes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import msgspec

from portsip_async import StatusWatch
from portsip_async.simulator import PBXSimulator
from portsip_async.v22 import ExtensionState, NewUser, PortSIPClient, UserStatus

from ..concurrency import in_background
from ..virtual_time import HOUR, MINUTE, simulator, the_loop, v22_client

LOGIN, LIST = "auth.sign_in", "users.list"
STATUS, FIND = "users.status", "users.find"
# Longer than the first pause before a connection is made again, and than its handshake.
SOON: Final = MINUTE
# Polls and REST checks are far away, so that only the web socket can have brought a change.
SOCKET_ONLY: Final[dict[str, Any]] = {"interval": HOUR, "verify": HOUR, "rediscover": HOUR}

Short = tuple[str, str | None, str | None]


def true_state(sim: PBXSimulator, number: str) -> ExtensionState:
    """Return the state of an extension as a PBX knows it: as by REST, and RINGING as well."""
    users, now = sim.v22._state.users, the_loop().time()
    read = msgspec.convert(users.status(number, now), UserStatus)
    state = ExtensionState.of(number, users.id_of(number), read)
    status, _ = sim._pbx.status_of(sim._pbx.index_of(number), number, now)
    return state.replace(status=status) if status == "RINGING" else state


def true_states(sim: PBXSimulator) -> dict[str, ExtensionState]:
    """Return the states of all extensions by number."""
    return {number: true_state(sim, number) for number in sim.extension_numbers}


def new_user(number: str) -> NewUser:
    """Return a user to create."""
    return NewUser(
        name=f"user{number}",
        password="web-Secret-1",
        email=f"user{number}@test.io",
        display_name="Ann",
        role="StandardUser",
        extension_number=number,
        extension_password="sip-Secret-1",
        voicemail_pin="123456",
    )


class Viewer:
    """Reads changes, and checks that each one follows from the one before.

    Attributes:
        view: the latest state by number.
        changes: each change that arrived, in short: number, status before, status after.
        received: the number and the state of each change; None: it is gone.
    """

    def __init__(self, watch: StatusWatch[ExtensionState]) -> None:
        self.view: dict[str, ExtensionState] = watch.snapshot
        self.changes: list[Short] = []
        self.received: list[tuple[str, ExtensionState | None]] = []
        self._watch = watch

    async def follow(self) -> None:
        async for change in self._watch:
            number, before, after = change.extension_number, change.before, change.after
            assert before == self.view.get(number)
            assert before != after
            if after is None:
                del self.view[number]
            else:
                assert after.extension_number == number
                self.view[number] = after
            self.received.append((number, after))
            self.changes.append((number, _status_text(before), _status_text(after)))

    def take(self) -> list[Short]:
        """Return the changes since the last call, in short."""
        taken, self.changes = self.changes, []
        return taken


def _status_text(state: ExtensionState | None) -> str | None:
    return None if state is None else str(state.status)


class Live(NamedTuple):
    """A simulator, a client, a watch, and its consumer in a task."""

    sim: PBXSimulator
    pbx: PortSIPClient
    watch: StatusWatch[ExtensionState]
    viewer: Viewer
    following: "asyncio.Future[None]"

    async def settle(self, seconds: float = 1.0) -> list[Short]:
        """Let time pass; return the changes that arrived since the last call."""
        await asyncio.sleep(seconds)
        return self.viewer.take()

    def source(self) -> str:
        """Return where the states come from now."""
        return self.watch.stats.source

    def check_view(self) -> None:
        """Check that the consumer sees what is true."""
        assert self.viewer.view == true_states(self.sim)
        assert self.watch.snapshot == self.viewer.view


@asynccontextmanager
async def pbx_of(extensions: int = 5, **options: Any) -> AsyncIterator[PBXSimulator]:
    """Run a simulator whose extensions are all ONLINE until a test changes them."""
    async with simulator(extensions=extensions, groups=0, status_seconds=0, **options) as sim:
        for number in sim.extension_numbers:
            sim.set_status(number, "ONLINE")
        yield sim


@asynccontextmanager
async def live(
    *,
    numbers: list[str] | None = None,
    extensions: int = 5,
    quirks: tuple[str, ...] = (),
    before: Callable[[PBXSimulator], object] = lambda _: None,
    client: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Live]:
    """Watch a simulator until the block ends.

    Args:
        numbers: what to watch; None: all.
        extensions: how many there are.
        quirks: of the simulator.
        before: prepares the simulator before the watch begins.
        client: options of the client.
        options: of the watch.
    """
    async with (
        pbx_of(extensions, quirks=quirks) as sim,
        v22_client(sim, **(client or {})) as pbx,
    ):
        before(sim)
        watch = pbx.extensions.watch_status(numbers, **options)
        viewer = Viewer(watch)
        async with in_background(viewer.follow()) as (following,):
            yield Live(sim, pbx, watch, viewer, following)
            if not following.cancelled():
                await watch.aclose()
                await following
