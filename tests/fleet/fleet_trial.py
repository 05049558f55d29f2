"""Many PBXes under several workers, while workers, a consumer and Redis are killed and paused.

``python -m tests.fleet.fleet_trial`` runs it with 200 PBXes, for about five minutes. Exit code 0:
everything held; 1: something did not, with the reasons. ``--write`` puts the figures into the
documentation.
"""

import argparse
import asyncio
import os
import platform
import secrets
import shutil
import statistics
import sys
import tempfile
import textwrap
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec
import redis

from portsip_async.fleet import FleetStatus

from ..soak.memory import growth
from .chains import Chains, Line, View, differences, missed
from .consumer import read_lines, view_of
from .farm import TOKEN_LIFETIME, Truth
from .noc import VARIABLE, Settings
from .processes import Process, Processes
from .redis_server import RedisServer

FIGURES = Path(__file__).parents[2] / "docs" / "explanation" / "fleet-figures.md"
GROUPS = "board", "other"
WORKER = "portsip_async", "fleet", "work", "tests.fleet.noc:fleet"

_GRACE = 10.0  # seconds that a PBX may wait above its interval while workers die
_MAX_RSS_GROWTH = 12  # MiB of a worker, between the middle and the last third
_MAX_GROWTH = 1.15  # of the keys and of the entries of all streams, likewise
_LATENCY = 0.3  # seconds; so that whatever is killed has cycles under way
_SAMPLE_SECONDS = 0.5
_SHOWN = 12  # sentences of what is wrong


class Scale(NamedTuple):
    """The size of a trial.

    Attributes:
        pbxes: how many PBXes there are.
        extensions: how many extensions each of them has.
        rate: changes of status in a second, over all of them.
        interval: seconds between two cycles of a PBX.
        calm: seconds without faults, at the beginning and at the end.
        between: seconds after each fault.
        pause: how long a worker is paused.
        down: how long Redis is down.
        farms: processes of simulators.
        keep_changes: how many changes the stream keeps.
    """

    pbxes: int = 200
    extensions: int = 50
    rate: float = 100.0
    interval: float = 5.0
    calm: float = 40.0
    between: float = 20.0
    pause: float = 10.0
    down: float = 5.0
    farms: int = 2
    keep_changes: int = 12_000


SMALL = Scale(
    24, 10, 40.0, 1.0, calm=6.0, between=5.0, pause=7.0, down=3.0, farms=1, keep_changes=600
)


class Phase(NamedTuple):
    """A time of the trial, and what was broken at its beginning."""

    name: str
    start: float
    end: float


class Consumer(NamedTuple):
    """A process that consumes events, and the file that it writes them to."""

    group: str
    process: Process
    path: Path


class Report:
    """The figures of a trial.

    Attributes:
        wrong: a sentence for each thing that must not be.
        facts: figures by name.
        gaps: by phase, the longest time that a PBX was not polled, in seconds.
    """

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.facts: dict[str, str] = {}
        self.gaps: dict[str, float] = {}

    def __str__(self) -> str:
        width = max(map(len, [*self.facts, *self.gaps])) + 2
        lines = [f"{name:<{width}}{value}" for name, value in self.facts.items()]
        lines += ["", "The longest time that a PBX was not polled, in seconds:"]
        lines += [f"{name:<{width}}{seconds:.1f}" for name, seconds in self.gaps.items()]
        wrong = [f"  {sentence}" for sentence in self.wrong[:_SHOWN]]
        if more := len(self.wrong) - _SHOWN:
            wrong += [f"  and {more} more"] if more > 0 else []
        return "\n".join([*lines, "", *(["FAILED:", *wrong] if wrong else ["Passed."])])


class FleetTrial:
    """A trial: a farm, a Redis, workers, consumers, and what is done to them."""

    def __init__(self, scale: Scale, folder: Path) -> None:
        """Store the scale, and the folder for logs and the consumers' files."""
        self.scale = scale
        self.report = Report()
        self._folder = folder
        self._phases: list[Phase] = []
        self._workers: list[Process] = []
        self._consumers: list[Consumer] = []
        self._rss: dict[int, list[float]] = {}
        # What Redis holds, by what is counted.
        self._kept: defaultdict[str, list[float]] = defaultdict(list)

    def run(self) -> Report:
        """Run it; all processes have ended then."""
        with ExitStack() as stack:
            self._redis = stack.enter_context(RedisServer(self._folder / "redis", append_only=True))
            self._processes = stack.enter_context(Processes(self._folder))
            self._farms = self._start_farms()
            self._break_things()
            self._check()
        return self.report

    def _start_farms(self) -> list[Process]:
        scale, password = self.scale, secrets.token_urlsafe(12)
        names = [f"pbx{number:03}" for number in range(scale.pbxes)]
        farms: list[Process] = []
        urls: dict[str, str] = {}
        for at in range(scale.farms):
            farm = self._processes.start(
                "tests.fleet.farm",
                names=names[at :: scale.farms],
                extensions=scale.extensions,
                rate=scale.rate / scale.farms,
                password=password,
                first=1 + at * 10**8,
                latency=_LATENCY,
                seed=at,
            )
            farms.append(farm)
            urls |= farm.read_until("urls")["urls"]
        self.settings = Settings(
            self._redis.url,
            urls,
            password,
            interval=scale.interval,
            keep_changes=scale.keep_changes,
        )
        self._settings_file = self._folder / "fleet.json"
        self._settings_file.write_bytes(msgspec.json.encode(self.settings))
        return farms

    # What happens.

    def _break_things(self) -> None:
        scale = self.scale
        self._started_at = time.monotonic()
        for group in (*GROUPS, "board"):  # the third one stands by
            self._start_consumer(group)
        self._workers = [self._start_worker() for _ in range(3)]
        with self._phase("started"):
            self._wait_until(self._all_polled, 90.0, "every PBX was polled")
        with self._phase("calm"):
            self._wait(scale.calm)
        with self._phase("a worker killed"):
            self._kill_worker()
            self._wait(scale.between)
        with self._phase("the consumer killed"):
            self._active().process.kill()
            self._wait(scale.between)
            self._start_consumer("board")
        with self._phase("a second worker killed"):
            self._kill_worker()
            self._workers += [self._start_worker() for _ in range(2)]
            self._wait(scale.between)
        with self._phase(f"a worker and the consumer paused for {scale.pause:g} s"):
            for process in (paused := (self._workers[0], self._active().process)):
                process.pause()
            self._wait(scale.pause)
            for process in paused:
                process.resume()
            self._wait(scale.between)
        with self._phase(f"Redis killed, and started after {scale.down:g} s"):
            self._redis.kill()
            self._wait(scale.down)
            self._redis.start()
            self._wait(scale.between)
        with self._phase("calm again"):
            self._wait(scale.calm)
            for farm in self._farms:
                farm.order(rate=0)
            truth = self._look()
            self._wait_until(
                lambda: self._settled(truth), 3 * scale.interval + _GRACE, "every view is right"
            )
        ended = [each.process for each in self._consumers if each.process.exit_code is not None]
        for process in ended[1:]:  # one was killed
            self.report.wrong.append(f"a consumer ended:\n{process.log.read_text()[-2000:]}")

    def _start_worker(self) -> Process:
        return self._run(*WORKER)

    def _start_consumer(self, group: str) -> Consumer:
        path = self._folder / f"{group}-{len(self._consumers)}"
        path.touch()
        words = {"group": group, "consumer": path.name, "path": str(path)}
        process = self._run("tests.fleet.consumer", msgspec.json.encode(words).decode())
        consumer = Consumer(group, process, path)
        self._consumers.append(consumer)
        return consumer

    def _active(self) -> Consumer:
        """Return the consumer of the group with several that received the latest event."""
        board = [each for each in self._consumers if each.group == "board"]
        return max(board, key=lambda consumer: consumer.path.stat().st_mtime_ns)

    def _run(self, *words: str) -> Process:
        env = {VARIABLE: str(self._settings_file)}
        # What the command line writes to standard output is no JSON.
        command = "sh", "-c", 'exec "$0" -m "$@" >&2', sys.executable, *words
        return self._processes.run(*command, env=env)

    def _kill_worker(self) -> None:
        self._workers.pop().kill()

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        sys.stderr.write(f"{time.monotonic() - self._started_at:6.1f} s: {name}\n")
        start = time.monotonic()
        yield
        self._phases.append(Phase(name, start, time.monotonic()))

    # Waiting, and what is measured meanwhile.

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(_SAMPLE_SECONDS, left))
            self._sample()

    def _wait_until(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                self.report.wrong.append(f"not within {seconds:g} s: {what}")
                return
            time.sleep(_SAMPLE_SECONDS)

    def _sample(self) -> None:
        for worker in self._workers:
            if worker.exit_code is None:
                status = Path(f"/proc/{worker.pid}/status").read_text()
                kib = int(status.partition("VmRSS:")[2].split()[0])
                self._rss.setdefault(worker.pid, []).append(kib / 1024)
            else:
                self.report.wrong.append(f"a worker ended:\n{worker.log.read_text()[-2000:]}")
                self._workers.remove(worker)
        with self._redis.client() as client, suppress(redis.exceptions.ConnectionError):
            keys = list(client.scan_iter(count=1000))
            streams = [key for key in keys if client.type(key) == b"stream"]
            self._kept["keys in Redis"].append(len(keys))
            self._kept["entries of streams"].append(sum(client.xlen(key) for key in streams))
            memory = client.info("memory")["used_memory"]
            self._kept["MiB in Redis"].append(memory / 2**20)

    def _look(self) -> Truth:
        for farm in self._farms:
            farm.order(look=True)
        found = [farm.read_until("truth")["truth"] for farm in self._farms]
        return Truth.join(msgspec.convert(truth, Truth, strict=False) for truth in found)

    def _lines(self, group: str) -> list[Line]:
        """Return what the consumers of a group received, in the order of time."""
        paths = [consumer.path for consumer in self._consumers if consumer.group == group]
        lines = [line for path in paths for line in read_lines(path)]
        return sorted(lines, key=lambda line: line.at)

    def _all_polled(self) -> bool:
        for farm in self._farms:
            farm.order(polled=True)
        return all(farm.read_until("polled")["polled"] for farm in self._farms)

    def _settled(self, truth: Truth) -> bool:
        return all(Chains().add(self._lines(group)).views == truth.views for group in GROUPS)

    # What must hold.

    def _check(self) -> None:
        truth, wrong = self._look(), self.report.wrong
        # The time from the last poll of a PBX belongs to the last phase.
        self._phases[-1] = self._phases[-1]._replace(end=time.monotonic() + 1)
        logged = self._processes.logged().decode(errors="replace")
        groups = {group: Chains().add(self._lines(group)) for group in GROUPS}
        for group, chains in groups.items():
            chains.compare(truth.views, "its view")
            if chains.count["resync"] or chains.count["outage"]:
                chains.wrong.append(f"it received more than changes: {chains.count}")
            wrong += [f"group {group}: {sentence}" for sentence in chains.wrong]
        wrong += missed(*groups.values())
        snapshots, status = asyncio.run(self._ask_fleet())
        wrong += differences(snapshots, truth.views, "a snapshot")
        wrong += [
            f"the status of {pbx}: {of_pbx}"
            for pbx, of_pbx in status.pbxes.items()
            if of_pbx.extensions != self.scale.extensions or of_pbx.consecutive_failures
        ]
        wrong += [
            f"group {group} lags by {of_group.lag} at the end"
            for group, of_group in status.groups.items()
            if of_group.lag > 1  # the last one is acknowledged when the next is asked for
        ]
        secrets = (self.settings.password, self._redis.password)
        wrong += ["a log shows a secret" for secret in secrets if secret in logged]
        self._check_gaps(truth)
        self._add_facts(truth, groups["board"])
        self._check_growth()

    async def _ask_fleet(self) -> tuple[dict[str, View], FleetStatus]:
        async with self.settings.fleet() as fleet:
            pbxes = self.settings.urls
            snapshots = {pbx: view_of(await fleet.snapshot(pbx)) for pbx in pbxes}
            return snapshots, await fleet.status()

    def _check_gaps(self, truth: Truth) -> None:
        for name, start, end in self._phases[1:]:
            longest, at, pbx = truth.gaps(start, end)[0]
            self.report.gaps[name] = longest
            allowed = self.scale.interval + _GRACE
            if name.startswith("Redis"):
                allowed += self.scale.down
            if longest > allowed:
                since = at - self._started_at
                self.report.wrong.append(
                    f"{pbx} was not polled for {longest:.1f} s from {since:.1f} s on: {name}"
                )

    def _add_facts(self, truth: Truth, board: Chains) -> None:
        scale, facts = self.scale, self.report.facts
        started, calm = self._phases[:2]
        polls = sum(calm.start <= at < calm.end for times in truth.polls.values() for at in times)
        expected = scale.pbxes * (calm.end - calm.start) / scale.interval
        if not 0.8 < polls / expected < 1.2:
            self.report.wrong.append(f"{polls} polls in calm, not {expected:.0f}")
        delays = [
            seen.at - truth.set_at[seen.number]
            for seen in board.seen
            if calm.start <= truth.set_at[seen.number] and seen.at < calm.end
        ]
        seconds = self._phases[-1].end - started.start
        facts |= {
            "PBXes; extensions of each": f"{scale.pbxes}; {scale.extensions}",
            "seconds between two cycles": f"{scale.interval:g}",
            "length of the trial, in seconds": f"{seconds:.0f}",
            "statuses that were set": f"{len(truth.set_at):,}",
            "changes received": f"{board.count['change']:,}",
            "events received again": f"{board.count['again']:,}",
            "until every PBX was polled": f"{started.end - started.start:.1f} s",
            "polls of a PBX in an interval": f"{polls / expected:.2f}",
            "from a change to its event": f"{statistics.median(delays):.1f} s, at most "
            f"{max(delays):.1f} s",
            f"tokens that a PBX issued, each for {TOKEN_LIFETIME:.0f} s": f"at most "
            f"{max(truth.tokens.values())}",
        }

    def _check_growth(self) -> None:
        # Of workers that lived long enough.
        for samples in self._rss.values():
            if len(samples) * _SAMPLE_SECONDS > self.scale.calm:
                growing = growth(samples)
                self.report.facts["memory of a worker"] = f"{samples[-1]:.0f} MiB"
                if growing > _MAX_RSS_GROWTH:
                    self.report.wrong.append(f"the memory of a worker grew by {growing:.1f} MiB")
        for name, samples in self._kept.items():
            self.report.facts[name] = f"{samples[-1]:,.0f}"
            if growth(samples) > (_MAX_GROWTH - 1) * samples[-1]:
                self.report.wrong.append(f"{name} grew: {samples[:: len(samples) // 12]}")


def figures(report: Report, scale: Scale) -> str:
    """Return the figures for the documentation."""
    lines = ["| | longest time that a PBX was not polled |", "|---|---|"]
    lines += [f"| {name} | {seconds:.1f} s |" for name, seconds in report.gaps.items()]
    lines += ["", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in report.facts.items()]
    made = (
        "Written by `python -m tests.fleet.fleet_trial --write`: three workers and two groups of "
        "consumers on one machine with the simulated PBXes, which take "
        f"{_LATENCY * 1000:.0f} ms for a reply and change {scale.rate:.0f} statuses a second; "
        f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores. "
        "At the end every status was right, and no change was lost."
    )
    return "\n".join([*lines, "", *textwrap.wrap(made, 100), ""])


def main() -> int:
    """Run the trial; keep its logs if it fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.fleet.fleet_trial", description=__doc__)
    parser.add_argument("--small", action="store_true", help="with 24 PBXes, for a minute")
    parser.add_argument("--write", action="store_true", help="write the figures into the docs")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fleet-"))
    scale = SMALL if arguments.small else Scale()
    report = FleetTrial(scale, folder).run()
    sys.stdout.write(f"{report}\n")
    if report.wrong:
        sys.stdout.write(f"The logs are in {folder}.\n")
        return 1
    shutil.rmtree(folder)
    if arguments.write:
        FIGURES.write_text(figures(report, scale))
    return 0


if __name__ == "__main__":
    sys.exit(main())
