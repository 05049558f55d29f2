"""One run of the soak: start everything, break things, and check the final state."""

import asyncio
import logging
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from portsip_async import (
    ConnectError,
    ExtensionStatus,
    PortSIPClient,
    RetryPolicy,
    Timeout,
    v22,
)
from portsip_async.bulk.status_type import S

from .audit import Audit, Reported
from .journal import STATUS, TOKEN, Entry, Journal
from .load import MARKED, NUMBERS, Load
from .memory import Sample, growth, sample
from .nginx import Nginx, SetupError, find_nginx
from .pbx import PBX
from .secrecy import Secrets
from .trouble import Trouble
from .viewers import Viewer, live_viewers, polling_viewers

_MAX_CONNECTIONS = 64
_MAX_V22_CONNECTIONS = 16
_DOMAIN = "test.io"  # of the simulated tenant
# The limits for one process. Malloc's arenas and the requests in flight vary by as much.
_MAX_RSS_GROWTH = 8  # MiB
_MAX_BLOCKS_GROWTH = 10_000  # of Python's allocator
# The rest: the loop, the logs, pipes, the interpreter, web sockets.
_MAX_DESCRIPTORS = _MAX_CONNECTIONS + _MAX_V22_CONNECTIONS + 35
_MAX_TASKS = 200
_PATIENCE = 30.0  # seconds for turns to end, and for watches to report the last changes
_LIVE_PATIENCE = 90.0  # the same for watches that wait for a web socket: at most 60 s, and a check
_OVERHEAD = 180.0  # seconds that everything but the faults may take
_COLUMNS = ("asked", "done", "refused", "in doubt", "acted", "sent")


class Report:
    """The figures of a run.

    Attributes:
        wrong: a sentence for each thing that must not be; empty if the run passed.
        facts: figures by name, in the order of the report.
        counts: by row, the counts of its writes.
    """

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.facts: dict[str, object] = {}
        self.counts: dict[str, Counter[str]] = {}

    def __str__(self) -> str:
        lines = ["", f"{'write':<18}" + "".join(f"{name:>10}" for name in _COLUMNS)]
        for row, count in self.counts.items():
            lines.append(f"{row:<18}" + "".join(f"{count[name]:>10,}" for name in _COLUMNS))
        lines += ["", *(f"{name:<28}{value}" for name, value in self.facts.items()), ""]
        wrong = [f"  {what} ({times}x)" for what, times in Counter(self.wrong).items()]
        passed = "Passed: every write is accounted for, every last status is right."
        return "\n".join([*lines, *(("FAILED:", *wrong) if wrong else (passed,))])


class Soak:
    """A run that breaks things for so many seconds."""

    def __init__(self, seconds: float, seed: int, folder: Path) -> None:
        self._seconds = seconds
        self._seed = seed
        self._folder = folder
        self._log = folder / "debug.log"
        self._secrets = Secrets()
        self._samples: list[Sample] = []
        self._report = Report()
        self._report.facts["seconds; seed"] = f"{seconds:g}; {seed}"

    async def run(self) -> Report:
        """Run the soak, and return its report. All child processes have ended then.

        Raises:
            SetupError: it can't start on this machine.
        """
        asyncio.get_running_loop().set_exception_handler(self._on_loop_error)
        try:
            async with asyncio.timeout(self._seconds + _OVERHEAD):
                with _debug_log(self._log, self._secrets.canary):
                    await self._start()
            self._search_logs()
        except SetupError:
            raise
        except Exception:
            self._report.wrong.append(f"the run broke down: {traceback.format_exc()}")
        return self._report

    async def _start(self) -> None:
        pbx = PBX(
            self._folder,
            extensions=len(NUMBERS),
            token_lifetime=8.0,
            password=self._secrets.admin,
            status_seconds=0,
        )
        with (
            closing(pbx),
            closing(Nginx(find_nginx(), self._folder / "nginx", pbx.port)) as nginx,
            closing(Reported(self._folder / "writes")) as reported,
        ):
            await pbx.start()
            tasks, descriptors = asyncio.all_tasks(), sample().descriptors
            await self._check_certificate(nginx)
            client = self._client(nginx, ssl=nginx.authority, on_attempt=reported.on_attempt)
            async with client, self._v22_client(nginx) as v22_client:
                await self._soak(client, v22_client, pbx, nginx, reported)
                await self._check_tasks(tasks)  # closing the client would end its tasks
            await self._check_tasks(tasks)
            await _wait_until(lambda: sample().descriptors <= descriptors)
            if left := sample().descriptors - descriptors:
                self._report.wrong.append(f"{left} descriptors are left")
            if not nginx.alive:
                self._report.wrong.append("nginx died")

    def _client(self, nginx: Nginx, **options: Any) -> PortSIPClient:
        return PortSIPClient(
            nginx.url,
            username="admin",
            password=self._secrets.admin,
            max_connections=_MAX_CONNECTIONS,
            timeout=Timeout(total=5, connect=2, read=5),
            retry=RetryPolicy(deadline=8.0),
            **options,
        )

    def _v22_client(self, nginx: Nginx) -> v22.PortSIPClient:
        return v22.PortSIPClient(
            nginx.url,
            username="admin",
            password=self._secrets.admin,
            domain=_DOMAIN,
            max_connections=_MAX_V22_CONNECTIONS,
            timeout=Timeout(total=5, connect=2, read=5),
            retry=RetryPolicy(deadline=8.0),
            ssl=nginx.authority,
        )

    async def _soak(
        self,
        client: PortSIPClient,
        v22_client: v22.PortSIPClient,
        pbx: PBX,
        nginx: Nginx,
        reported: Reported,
    ) -> None:
        load = Load(client, pbx, reported, self._secrets)
        polling, live = polling_viewers(client, NUMBERS), live_viewers(v22_client, NUMBERS)
        viewers: list[Viewer[Any]] = [*polling.values(), *live.values()]
        trouble = Trouble(pbx, nginx, self._seed)
        async with asyncio.TaskGroup() as group:
            working = group.create_task(load.run())
            watching = [group.create_task(viewer.follow()) for viewer in viewers]
            measuring = group.create_task(self._measure(trouble, reported))
            # Break things, and wait for the turns that have started.
            breaking = group.create_task(trouble.run())
            await asyncio.sleep(self._seconds)
            trouble.stop()
            await breaking
            load.stop()
            async with asyncio.timeout(_PATIENCE):
                await working
            measuring.cancel()
            # From now on, nothing may fail.
            for viewer in viewers:
                viewer.calm = True
            await load.run_once_in_calm()
            self._add_figures(load, trouble, reported)
            polled = await self._check_state(polling, client, nginx, reported)
            await self._check_live(live, v22_client, polled)
            for task in watching:
                task.cancel()
        self._report.wrong += load.wrong
        for kind, of_kind in (("polling", polling), ("live", live)):
            figures: Counter[str] = Counter()
            for viewer in of_kind.values():
                figures.update(viewer.figures())
                self._report.wrong += viewer.wrong
            self._report.facts[f"watches, {kind}"] = dict(figures)

    async def _measure(self, trouble: Trouble, reported: Reported) -> None:
        """Take a sample each second, and print every fifth."""
        start = time.monotonic()
        while True:
            self._samples.append(sample())
            if len(self._samples) % 5 == 0:
                print(  # noqa: T201  # progress
                    f"{time.monotonic() - start:4.0f} s  {reported.sent.total():6,} requests"
                    f"  {dict(reported.outcomes)}  {self._samples[-1]}  ({trouble.latest})",
                    flush=True,
                )
            await asyncio.sleep(1)

    # Checks.

    async def _check_certificate(self, nginx: Nginx) -> None:
        """Check that nginx's certificate is refused without its authority."""
        async with self._client(nginx) as client:
            try:
                await client.extensions.show("100")
            except ConnectError as error:
                if error.refused_certificate:
                    return
        self._report.wrong.append("a certificate of an unknown authority was accepted")

    async def _check_state(
        self,
        polling: dict[str, Viewer[ExtensionStatus]],
        client: PortSIPClient,
        nginx: Nginx,
        reported: Reported,
    ) -> dict[str, ExtensionStatus | None]:
        """Compare the PBX's final state with all that was reported; return the last statuses."""
        wrong = self._report.wrong
        statuses = dict.fromkeys(NUMBERS, "")
        with closing(Journal(self._folder / "journal", Entry)) as journal:
            audit = Audit(reported, journal, nginx.arrivals())
            for entry in journal:
                if entry.row == STATUS:
                    statuses |= entry.fields
        wrong += audit.wrong
        self._report.counts = audit.counts
        self._report.facts["repeated without effect"] = f"{audit.repeats} writes"
        if reported.outcomes["done"] < reported.outcomes.total() / 2:
            wrong.append("fewer than half of the writes were done")
        extensions = {each.extension_number async for each in client.extensions.list()}
        if extensions != {*NUMBERS, *audit.created}:
            wrong.append("the list of extensions differs from the creates and removes")
        for number in MARKED:
            profile = (await client.extensions.show(number)).profile
            if profile is None or (profile.description or "") not in audit.markers[number]:
                wrong.append(f"{number} has the description of an older patch")
        polled = {
            result.extension_number: result.status
            async for result in client.extensions.poll_status(sorted(extensions))
        }
        for number, status in statuses.items():
            found = polled[number]
            if found is None or status not in ("", found.status):
                wrong.append(f"a poll returns a wrong status of {number}")
        expected = {"given": {number: polled[number] for number in NUMBERS}, "found": polled}
        await _wait_until(lambda: _views(polling) == expected)
        if _views(polling) != expected:
            wrong.append("the last statuses that the watches reported differ from a poll's")
        self._report.facts["last statuses compared"] = f"{len(NUMBERS)} and {len(polled)}"
        return polled

    async def _check_live(
        self,
        live: dict[str, Viewer[v22.ExtensionState]],
        client: v22.PortSIPClient,
        polled: dict[str, ExtensionStatus | None],
    ) -> None:
        """Compare what was followed through the web socket with the PBX's final state."""
        wrong = self._report.wrong
        truth: dict[str, v22.ExtensionState | None] = {}
        async for result in client.extensions.poll_status(polled):
            number, state = result.extension_number, result.status
            classic = polled[number]
            if state is not None and classic is not None and classic.status == "RINGING":
                state = state.replace(status=v22.Status.RINGING)  # which REST does not show
            truth[number] = state
        expected = {"given": {number: truth[number] for number in NUMBERS}, "found": truth}
        watches = [viewer.watch for viewer in live.values()]
        await _wait_until(
            lambda: _views(live) == expected and all(w.stats.source == "socket" for w in watches),
            _LIVE_PATIENCE,
        )
        for name, viewer in live.items():
            for number in expected[name].keys() | viewer.view.keys():
                right, seen = expected[name].get(number), viewer.view.get(number)
                if seen != right:
                    wrong.append(f"live, {name}: the last state of {number} is {right}, not {seen}")
            if viewer.watch.stats.source != "socket":
                wrong.append(f"live, {name}: the watch polls at the end")
        self._report.facts["last states of v22 compared"] = f"{len(NUMBERS)} and {len(truth)}"

    async def _check_tasks(self, before: set[asyncio.Task[Any]]) -> None:
        await _wait_until(lambda: asyncio.all_tasks() <= before)
        self._report.wrong += [f"task left: {task!r}" for task in asyncio.all_tasks() - before]

    def _add_figures(self, load: Load, trouble: Trouble, reported: Reported) -> None:
        logins = sum(n for name, n in reported.sent.items() if name.startswith("account."))
        self._report.facts |= {
            "faults": dict(trouble.count),
            "requests; logins": f"{reported.sent.total():,}; {logins}",
            "load": dict(load.count),
        }
        rss, blocks, descriptors, tasks = zip(*self._samples, strict=True)
        for name, value, limit in (
            ("memory growth, MiB", growth(rss) / 2**20, _MAX_RSS_GROWTH),
            ("growth of Python's blocks", growth(blocks), _MAX_BLOCKS_GROWTH),
            ("most descriptors", max(descriptors), _MAX_DESCRIPTORS),
            ("most tasks", max(tasks), _MAX_TASKS),
        ):
            self._report.facts[name] = f"{value:,.1f}, limit {limit:,}"
            if value > limit:
                self._report.wrong.append(f"{name}: {value:,.1f}, limit {limit:,}")

    def _search_logs(self) -> None:
        with closing(Journal(self._folder / "journal", Entry)) as journal:
            tokens = [entry.fields["token"] for entry in journal if entry.row == TOKEN]
        known, shown = self._secrets.search([self._log, self._folder / "pbx.log"], tokens)
        self._report.facts["secrets in the logs"] = f"{shown} of {known}"
        if shown:
            self._report.wrong.append(f"{shown} secrets show in the log")
        if b"ResourceWarning" in self._log.read_bytes():
            self._report.wrong.append("something was not closed: see ResourceWarning in the log")

    def _on_loop_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._report.wrong.append(f"{context.get('message')}: {context.get('exception')!r}")


def _views(viewers: Mapping[str, Viewer[S]]) -> dict[str, dict[str, S]]:
    return {name: viewer.view for name, viewer in viewers.items()}


async def _wait_until(holds: Callable[[], bool], seconds: float = _PATIENCE) -> None:
    """Wait until something holds, at most for so many seconds."""
    for _ in range(int(seconds / 0.1)):
        if holds():
            return
        await asyncio.sleep(0.1)


@contextmanager
def _debug_log(path: Path, canary: str) -> Iterator[None]:
    """Write every log record to a file, and every warning."""
    root = logging.getLogger()
    handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    with closing(handler), warnings.catch_warnings():
        logging.captureWarnings(True)
        warnings.simplefilter("always")
        root.debug("the search for secrets must find this: %s", canary)
        try:
            yield
        finally:
            logging.captureWarnings(False)
            root.removeHandler(handler)
