"""One run of the soak: the stage, the trouble, and what must be right at the end."""

import asyncio
import logging
import operator
import random
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from portsip_async import ConnectError, PortSIPClient, RetryPolicy, Timeout

from .books import Audit, Books
from .journal import STATUS, TOKEN, Journal
from .load import Load
from .meter import Meter, open_descriptors, settle
from .pbx import PBX
from .proxy import Proxy, Unready, find_nginx
from .report import Report
from .secrecy import Secrets
from .trouble import Trouble

EXTENSIONS = 400
_TOKEN_LIFETIME = 8.0  # seconds
_TOLD_EVERY = 5.0  # seconds between two lines of progress
_CALM_AFTER = 1.0  # seconds that the last trouble may take to blow over
_GLANCE = 0.1  # seconds between two looks for what is waited for
_PATIENCE = 30.0  # seconds for turns under way to end, and for watches to tell the last changes
_BOUND = 120.0  # seconds that all but the trouble may take
# In calm an answer comes in milliseconds; what trouble leaves without one is given up soon.
_TIMEOUT = Timeout(total=5, connect=2, read=5)
_RETRY = RetryPolicy(deadline=8.0)


class Run:
    """A run of so many seconds of trouble."""

    def __init__(self, seconds: float, seed: int, folder: Path, out: TextIO) -> None:
        self.report = Report(seconds, seed)
        self._seconds = seconds
        self._chance = random.Random(seed)
        self._folder = folder
        self._out = out
        self._secrets = Secrets()
        self._journal = Journal(folder / "journal")
        self._log = folder / "debug.log"
        self._loop_errors: list[str] = []

    async def go(self) -> Report:
        """Run it, and answer what came of it; its children are gone then.

        Raises:
            Unready: it can't begin here.
            CancelledError: it was told to end by SIGTERM or SIGHUP, or by Ctrl-C.
        """
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores one, and that stays
                asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        try:
            async with asyncio.timeout(self._seconds + _BOUND):
                with ExitStack() as stack:
                    await self._stage(stack)
        except Unready:
            raise
        except Exception:
            self.report.wrong.append(f"the run broke down: {traceback.format_exc()}")
        return self.report

    async def _stage(self, stack: ExitStack) -> None:
        asyncio.get_running_loop().set_exception_handler(self._on_loop_error)
        stack.enter_context(_captured(self._log, self._secrets.canary))
        pbx = PBX(self._folder / "pbx.log", self._settings())
        stack.callback(pbx.stop)
        await pbx.start()
        proxy = Proxy(find_nginx(self._folder), self._folder / "nginx", pbx.port)
        stack.callback(proxy.stop)
        books = Books(self._folder / "books")
        stack.callback(books.close)
        tasks = asyncio.all_tasks()
        descriptors = open_descriptors()
        await self._refuse_stranger(proxy)
        client = self._client(proxy, ssl=proxy.authority, on_attempt=books.on_attempt)
        try:
            await self._soak(client, pbx, proxy, books)
            await self._no_task_is_left(tasks)  # closing would end those that are
        finally:
            await client.close()
        await self._no_task_is_left(tasks)
        await self._no_descriptor_is_left(descriptors)
        if not proxy.alive:
            self.report.wrong.append("nginx died")
        found = self._secrets.found(
            [self._log, self._folder / "pbx.log"],
            [entry.given["token"] for entry in self._journal if entry.row == TOKEN],
            self._folder,
        )
        self.report.searched(found, self._log.stat().st_size)

    def _settings(self) -> dict[str, Any]:
        return {
            "extensions": EXTENSIONS,
            "token_lifetime": _TOKEN_LIFETIME,
            "password": self._secrets.account,
            "journal": str(self._folder / "journal"),
            "status_seconds": 0,
        }

    def _client(self, proxy: Proxy, **options: Any) -> PortSIPClient:
        return PortSIPClient(
            proxy.url,
            username="admin",
            password=self._secrets.account,
            timeout=_TIMEOUT,
            retry=_RETRY,
            **options,
        )

    async def _refuse_stranger(self, proxy: Proxy) -> None:
        """Without its authority, nginx's certificate is refused."""
        async with self._client(proxy) as client:
            try:
                await client.extensions.show("100")
            except ConnectError as error:
                if error.refused_certificate:
                    return
        self.report.wrong.append("a certificate that nobody trusts was accepted")

    async def _soak(self, client: PortSIPClient, pbx: PBX, proxy: Proxy, books: Books) -> None:
        numbers = [str(100 + at) for at in range(EXTENSIONS)]
        load = Load(client, pbx, books, self._secrets, numbers)
        trouble = Trouble(pbx, proxy, self._chance)
        meter = Meter()
        async with asyncio.TaskGroup() as group:
            working = group.create_task(load.go_on())
            watching = [group.create_task(load.watch(name)) for name in load.views]
            measuring = group.create_task(meter.go_on())
            telling = group.create_task(self._tell(load, trouble, meter, books))
            await self._make_trouble(trouble, working)
            load.leave()
            await asyncio.sleep(_CALM_AFTER)
            async with asyncio.timeout(_PATIENCE):
                await working
            measuring.cancel()
            await load.go_round_in_calm()
            await self._check(load, books, client, proxy)
            for task in (*watching, telling):
                task.cancel()
        self.report.wrong += load.wrong
        self.report.worked(load, trouble, meter, pbx, books)

    async def _make_trouble(self, trouble: Trouble, working: asyncio.Task[None]) -> None:
        """Make trouble for so many seconds, or until the work has broken down."""
        making = asyncio.create_task(trouble.go_on())
        try:
            first = asyncio.FIRST_COMPLETED
            await asyncio.wait((making, working), timeout=self._seconds, return_when=first)
            trouble.stop()
            await making
        finally:
            making.cancel()

    async def _check(self, load: Load, books: Books, client: PortSIPClient, proxy: Proxy) -> None:
        audit = Audit(books, self._journal, proxy.arrivals())
        self.report.audited(audit)
        numbers = {str(100 + at) for at in range(EXTENSIONS)}
        if await load.listed() != numbers | audit.extensions:
            self.report.wrong.append("the extensions that are there are not those that should be")
        for number, marker in (await load.markers()).items():
            if marker not in audit.markers.get(number, {""}):
                self.report.wrong.append(f"{number} is described as {marker!r}, of an older patch")
        statuses = dict.fromkeys(numbers, "")
        for entry in self._journal:
            if entry.row == STATUS:
                statuses |= entry.given
        await self._check_statuses(load, client, statuses, audit.extensions)

    async def _check_statuses(
        self, load: Load, client: PortSIPClient, set_to: dict[str, str], others: set[str]
    ) -> None:
        """Compare what the watches told last, and a poll, with what was set last."""
        polled = {
            result.extension_number: result.status
            async for result in client.extensions.poll_status([*set_to, *sorted(others)])
        }
        for number, status in set_to.items():
            told = polled[number]
            if told is None or status not in ("", told.status):
                self.report.wrong.append(f"a poll tells the status of {number} wrong")
        for name, view in load.views.items():
            due = polled if name == "found" else {number: polled[number] for number in set_to}
            await _until(partial(operator.eq, view, due))
            wrong = sum(view.get(number) != due.get(number) for number in view.keys() | due.keys())
            self.report.statuses[name] = len(due)
            if wrong:
                self.report.wrong.append(f"the watch of the numbers {name} has {wrong} wrong")

    async def _no_task_is_left(self, tasks: set[asyncio.Task[Any]]) -> None:
        await _until(lambda: asyncio.all_tasks() <= tasks)
        left = asyncio.all_tasks() - tasks
        self.report.tasks_left += len(left)
        self.report.wrong += [f"left: {task!r}" for task in left]

    async def _no_descriptor_is_left(self, descriptors: int) -> None:
        def more() -> int:
            settle()
            return open_descriptors() - descriptors

        await _until(lambda: more() == 0)
        self.report.descriptors_left = more()
        if more():
            self.report.wrong.append(f"{more()} descriptors are left")
        self.report.wrong += self._loop_errors
        with self._log.open() as lines:
            if any("ResourceWarning" in line for line in lines):
                self.report.wrong.append("something was not closed: see the log's ResourceWarning")

    def _on_loop_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        told = f"{context.get('message')}: {context.get('exception')!r}"
        logging.getLogger(__name__).error("the loop tells: %s", told)
        self._loop_errors.append(told)

    async def _tell(self, load: Load, trouble: Trouble, meter: Meter, books: Books) -> None:
        start, sent = time.monotonic(), 0
        while True:
            await asyncio.sleep(_TOLD_EVERY)
            total = books.attempts.total()
            rate, sent = (total - sent) / _TOLD_EVERY, total
            held, writes = meter.latest, books.totals
            self._out.write(
                f"{time.monotonic() - start:6.0f} s  {rate:4.0f} requests/s"
                f"  writes {writes['done']} done, {writes['refused']} refused,"
                f" {writes['unknown']} in doubt"
                f"  changes {load.count['changes']}"
                f"  {held.rss / 2**20:.1f} MiB, {held.descriptors} fds"
                f"  ({'calm' if load.calm else trouble.latest})\n"
            )
            self._out.flush()


async def _until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, or patience is at its end."""
    for _ in range(int(_PATIENCE / _GLANCE)):
        if holds():
            return
        await asyncio.sleep(_GLANCE)


@contextmanager
def _captured(path: Path, canary: str) -> Iterator[None]:
    """Write every log record, warnings included, into a file."""
    root = logging.getLogger()
    handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    level = root.level
    with warnings.catch_warnings():
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        logging.captureWarnings(True)
        warnings.simplefilter("always")
        root.debug("this is to be found in the log: %s", canary)
        try:
            yield
        finally:
            logging.captureWarnings(False)
            root.setLevel(level)
            root.removeHandler(handler)
            handler.close()
