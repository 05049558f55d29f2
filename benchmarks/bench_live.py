"""Extensions of v22 followed through the web socket: first states, latency, CPU at rest.

A round is a fresh process, which starts a simulated PBX in a process of its own. CPU time is that
of the client's process alone.

- First states: from the start of the loop to the last of them. The client is new, so it logs in,
  lists the extensions, connects and subscribes.
- Latency: from the call of the simulator's `set_status` to the change in the consumer's loop. One
  extension changes at a time. Both processes read the same clock. Then many change in a burst.
- At rest: nothing changes. The CPU time of the open watch is compared with that of polling the same
  extensions every 5 seconds. A cycle of polling takes longer than 5 seconds with the simulator, so
  the CPU time of one cycle is divided by 5. A watch with a socket also checks all states by REST
  every 300 seconds, which costs about a cycle: its share is added to the socket's CPU time.
"""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any, Self, TypeAlias, cast

import msgspec

from portsip_async import StatusChange, StatusWatch, v22

from .clients import PASSWORD, USERNAME
from .harness import (
    ROOT,
    Figure,
    Findings,
    Progress,
    Table,
    limit_receive_buffers,
    main,
    run_in_process,
)

FEW, MANY = 2_000, 20_000  # extensions
CHANGES, QUICK_CHANGES = 200, 50
PAUSE = 0.01  # seconds between two changes
BURST, QUICK_BURST = 10_000, 2_000  # changes without a pause
REST, QUICK_REST = 5.0, 2.0  # seconds
POLLED, QUICK_POLLED = MANY, 4_000  # extensions; their CPU time is scaled to MANY
POLL_EVERY = 5.0  # seconds, the interval that the socket is compared with
VERIFY_EVERY = 300.0  # seconds, the default of watch_status
ROUNDS, QUICK_ROUNDS = 3, 1

_TIMEOUT = 120.0  # seconds for anything that is waited for
_SETTLE = 1.0  # seconds after the first states, before the CPU time is measured

Changes: TypeAlias = AsyncIterator[StatusChange[v22.ExtensionState]]


class PBX:
    """The simulated PBX in a process of its own, as a context manager. See `live_pbx`."""

    def __init__(self, extensions: int) -> None:
        self.extensions = extensions
        self.address: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.live_pbx", str(self.extensions)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.address = self._read_line()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    async def order(self, **order: float) -> dict[str, Any]:
        """Send an order, and return its result."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        self._process.stdin.flush()
        return await asyncio.to_thread(self._read_line)

    def client(self) -> v22.PortSIPClient:
        """Return a client of the PBX."""
        url, domain = self.address["url"], self.address["domain"]
        return v22.PortSIPClient(url, username=USERNAME, password=PASSWORD, domain=domain)

    def _read_line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the simulated PBX has exited")
        return cast("dict[str, Any]", msgspec.json.decode(line))


async def _read(changes: Changes, extensions: int) -> dict[str, int]:
    """Read changes until so many extensions have changed; return when each one first did."""
    seen: dict[str, int] = {}
    async with asyncio.timeout(_TIMEOUT):
        async for change in changes:
            seen.setdefault(change.extension_number, time.perf_counter_ns())
            if len(seen) == extensions:
                return seen
    raise RuntimeError("the watch ended")


async def _first_states(pbx: PBX, changes: Changes) -> dict[str, float]:
    """Read the first states of all extensions; return seconds, CPU seconds and requests."""
    wall, cpu = time.perf_counter(), time.process_time()
    await _read(changes, pbx.extensions)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    served = await pbx.order()
    listing = served.pop("users.list", 0)
    served.pop("auth.sign_in", None)
    return {"wall": wall, "cpu": cpu, "listing": listing, "requests": sum(served.values())}


async def _change(pbx: PBX, changes: Changes, count: int, pause: float) -> dict[str, float]:
    """Change some extensions; return latencies in ms, changes a second and CPU µs of a change."""
    wall, cpu = time.perf_counter(), time.process_time()
    ordering = asyncio.create_task(pbx.order(changes=count, pause=pause))
    received = await _read(changes, count)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    began = await ordering
    latencies = sorted((received[number] - began[number]) / 1e6 for number in began)
    return {
        "median": statistics.median(latencies),
        "late": latencies[int(count * 0.95)],
        "rate": count / wall,
        "cpu": cpu / count * 1e6,
    }


async def _cpu_at_rest(seconds: float) -> float:
    """Return the CPU seconds of a second of this process, while nothing happens."""
    await asyncio.sleep(_SETTLE)
    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    return (time.process_time() - cpu) / (time.perf_counter() - wall)


async def _poll_once(
    client: v22.PortSIPClient, known: dict[str, v22.ExtensionState], count: int
) -> dict[str, float]:
    """Poll some of the extensions in one cycle of a watch; return the seconds for all of them."""
    watch = client.extensions.watch_status(
        list(known)[:count], source="poll", interval=POLL_EVERY, known=known
    )
    wall, cpu = time.perf_counter(), time.process_time()
    async with watch, asyncio.timeout(_TIMEOUT):
        reading = asyncio.create_task(_read(aiter(watch), len(known)))
        while not watch.stats.cycles:  # noqa: ASYNC110  # a watch has no event for it
            await asyncio.sleep(0.05)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        reading.cancel()
        await asyncio.wait([reading])
    scale = len(known) / count
    return {"wall": wall * scale, "cpu": cpu * scale}


async def run(task: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Run one round."""
    limit_receive_buffers()
    rows: dict[str, dict[str, float]] = {}
    with PBX(FEW) as pbx:
        async with pbx.client() as client, client.extensions.watch_status() as watch:
            changes = aiter(watch)
            rows["few"] = await _first_states(pbx, changes)
            rows["latency"] = await _change(pbx, changes, task["changes"], PAUSE)
            _check_source(watch)
    with PBX(MANY) as pbx:
        async with pbx.client() as client:
            async with client.extensions.watch_status() as watch:
                changes = aiter(watch)
                rows["many"] = await _first_states(pbx, changes)
                rest = await _cpu_at_rest(task["rest"])
                rows["burst"] = await _change(pbx, changes, task["burst"], 0.0)
                _check_source(watch)
            rows["poll"] = await _poll_once(client, watch.snapshot, task["polled"])
    rows["rest"] = {"cpu": rest + rows["poll"]["cpu"] / VERIFY_EVERY, "open": rest}
    return rows


def _check_source(watch: StatusWatch[v22.ExtensionState]) -> None:
    stats = watch.stats
    if stats.source != "socket" or stats.unreadable or stats.connections != 1:
        raise RuntimeError(f"the web socket did not work: {stats}")


def measure(*, quick: bool, progress: Progress) -> Findings:
    """Run the rounds, and return figures and tables."""
    rounds = []
    count = QUICK_ROUNDS if quick else ROUNDS
    task = {
        "changes": QUICK_CHANGES if quick else CHANGES,
        "burst": QUICK_BURST if quick else BURST,
        "rest": QUICK_REST if quick else REST,
        "polled": QUICK_POLLED if quick else POLLED,
    }
    for number in range(count):
        progress(f"live: round {number + 1} of {count}")
        rounds.append(run_in_process("bench_live", task))

    def figure(row: str, value: str, scale: float = 1.0) -> Figure:
        return Figure.of(each[row][value] * scale for each in rounds)

    figures = {
        "live.few": figure("few", "wall"),
        "live.many": figure("many", "wall"),
        "live.requests": Figure.of(
            max(each[row]["requests"] for row in ("few", "many")) for each in rounds
        ),
        "live.latency": figure("latency", "median"),
        "live.rest": Figure.of(
            each["rest"]["cpu"] / (each["poll"]["cpu"] / POLL_EVERY) for each in rounds
        ),
    }
    first = Table(
        "First states of v22 through the web socket",
        ["extensions", "wall", "CPU", "requests of the listing", "other requests"],
        [
            [
                f"{extensions:,}",
                figure(row, "wall").text(2, " s"),
                figure(row, "cpu").text(2, " s"),
                figure(row, "listing").text(0),
                figure(row, "requests").text(0),
            ]
            for row, extensions in (("few", FEW), ("many", MANY))
        ],
        "By a new client, which logs in, lists the extensions, connects and subscribes. The login "
        "is not counted as a request. The PBX is the simulator.",
    )
    changes = Table(
        "Changes on v22 delivered",
        ["extensions", "changes", "a second", "latency, ms", "95 of 100 within, ms", "CPU, µs"],
        [
            [
                f"{extensions:,}",
                f"{task[key]:,}",
                *(
                    figure(row, value).text(digits)
                    for value, digits in (("rate", 0), ("median", 2), ("late", 2), ("cpu", 0))
                ),
            ]
            for row, key, extensions in (("latency", "changes", FEW), ("burst", "burst", MANY))
        ],
        f"From the simulator's set_status to the consumer. The few come one by one, "
        f"{PAUSE * 1000:.0f} ms apart, the many as quickly as the simulator can.",
    )
    rest = Table(
        f"{MANY:,} extensions of v22 followed for a second: CPU",
        ["source", "CPU"],
        [
            ["web socket, nothing changes", figure("rest", "open", 1000).text(2, " ms")],
            [
                f"the same, with a check by REST every {VERIFY_EVERY:.0f} s",
                figure("rest", "cpu", 1000).text(2, " ms"),
            ],
            [
                f"polling every {POLL_EVERY:.0f} s",
                figure("poll", "cpu", 1000 / POLL_EVERY).text(1, " ms"),
            ],
        ],
        f"A cycle of polling is {MANY:,} requests. With the simulator it takes "
        f"{figure('poll', 'wall').text(1, ' s')} and {figure('poll', 'cpu').text(2, ' s')} of CPU "
        f"time, which is divided by {POLL_EVERY:.0f}, as if the PBX were quick enough. A check "
        f"costs as much as a cycle. The web socket is measured over {task['rest']:.0f} s.",
    )
    return figures, [first, changes, rest]


if __name__ == "__main__":
    main(run)
