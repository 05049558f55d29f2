"""Run the cells of the matrix: every operation with a fault, concurrently, and its outcome."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from portsip_async import RetryPolicy, Timeout

from ..clocks import set_clock
from ..internals import session_of
from ..proxy_server import ProxyServer
from ..test_secrecy import LOGGERS, Recorder
from ..wire_server import WireServer
from .cases import CLASSIC, Case
from .catalogue import BY_NAME, DEADLINE, EPOCH, LIMIT, SILENCE, TOTAL, Fault, cases_of
from .impatience import ImpatientLoop
from .rules import ATTEMPTS
from .server import FaultServer, trusting

ENDLESS = 1000.0  # seconds; no call takes that long
PAUSE = 0.02  # seconds; much shorter than any Retry-After


@dataclass
class Outcome:
    """The outcome of one cell."""

    error: Exception | None = None
    value: Any = None
    arrivals: int = 0
    acted: int = 0
    written: int = 0
    seconds: float = 0.0
    recorder: Recorder = field(default_factory=Recorder)
    secrets: list[str] = field(default_factory=list)
    clinging: int = 0  # exchanges that the client left open after its call ended
    open: int = 0  # connections still open after the client was closed
    afterwards: Any = None  # the result of the same call without the fault
    error_afterwards: Exception | None = None
    acted_afterwards: int = 0


@dataclass
class Observation:
    """The outcome of a fault: one cell for each operation, and the state after all of them."""

    cells: dict[str, Outcome]
    elsewhere: int
    log: str
    tasks: int
    files: int


@cache
def observe(name: str) -> Observation:
    """Run every operation with a fault, once in a test session."""
    with asyncio.Runner(loop_factory=ImpatientLoop) as runner:
        return runner.run(_observe(BY_NAME[name]))


async def _observe(fault: Fault) -> Observation:
    log = _Log()
    others, files = asyncio.all_tasks(), _open_files()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ImpatientLoop)
    loop.names["elsewhere.invalid"] = "127.0.0.1"
    with log:
        async with WireServer() as elsewhere:
            cases = cases_of(fault)
            turns = asyncio.Semaphore(1 if fault.heavy else len(cases))
            outcomes = await asyncio.gather(
                *(_cell(fault, case, elsewhere, turns) for case in cases)
            )
    await _quiet()
    return Observation(
        cells={case.id: outcome for case, outcome in zip(cases, outcomes, strict=True)},
        elsewhere=elsewhere.connections,
        log="\n".join(log.lines),
        tasks=len(asyncio.all_tasks() - others),
        files=_open_files() - files,
    )


async def _cell(
    fault: Fault, case: Case, elsewhere: WireServer, turns: asyncio.Semaphore
) -> Outcome:
    send = case.send
    if case.send_much is not None and fault.stage != "reply":
        send = case.send_much
    outcome = Outcome()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ImpatientLoop)
    server = FaultServer(
        path=f"/api{case.path}",
        good=case.good,
        strike=fault.strike,
        generation=case.generation,
        headers=case.headers,
        stage=fault.stage,
        acts=fault.acts,
        times=fault.times,
        over_tls=fault.over_tls,
    )
    async with turns, AsyncExitStack() as stack:
        await stack.enter_async_context(server)
        proxy = ProxyServer(fault.connect)
        await stack.enter_async_context(proxy)
        url = server.url.replace("http:", "https:") if fault.over_tls else server.url
        host = f"pbx-{server.port}.invalid"
        login = {"token": f"first/of+{server.port}&é"}
        if case.generation != CLASSIC:
            login["refresh_token"] = f"refresh/of+{server.port}&é"
        outcome.secrets = [*login.values(), *case.secrets]
        server.elsewhere = f"http://elsewhere.invalid:{elsewhere.port}"
        pbx = await stack.enter_async_context(
            case.client(
                url.replace("127.0.0.1", host) if fault.stage == "name" else url,
                timeout=Timeout(total=TOTAL, connect=SILENCE, read=SILENCE),
                retry=RetryPolicy(
                    attempts=ATTEMPTS, initial=PAUSE, maximum=PAUSE, deadline=DEADLINE
                ),
                max_connections=1,
                max_reply_bytes=LIMIT,
                ssl=trusting() if fault.over_tls else None,
                proxy=proxy.url if fault.stage == "proxy" else None,
                allow_http=True,
                **(login if case.options is None else case.options),
            )
        )
        set_clock(pbx, monotonic=loop.time, now=lambda: EPOCH + loop.time(), random=lambda: 1.0)
        begun = loop.time()
        outcome.value, outcome.error = await _result_of(send, pbx)
        outcome.seconds = loop.time() - begun
        outcome.arrivals, outcome.acted = len(server.arrivals), server.acted
        outcome.written = server.written
        await _quiet()
        outcome.clinging = server.striking + len(proxy.writers)
        loop.names[host] = "127.0.0.1"
        await server.mend()
        proxy.answers = [None]
        outcome.afterwards, outcome.error_afterwards = await _result_of(send, pbx)
        outcome.acted_afterwards = server.acted - outcome.acted
        outcome.secrets += server.renewed
        outcome.recorder.note((pbx, session_of(pbx)))
        await pbx.close()
        await _quiet()
        outcome.open = server.open + len(proxy.writers)
    if outcome.error is not None:
        outcome.recorder.error(outcome.error)
    return outcome


async def _result_of(
    send: Callable[[Any], Awaitable[Any]], pbx: object
) -> tuple[Any, Exception | None]:
    """Make a call. Return its result and its error. It must end in time."""
    try:
        async with asyncio.timeout(ENDLESS):
            return await send(pbx), None
    except Exception as error:
        return None, error


async def _quiet() -> None:
    """Wait until nothing is in progress. The virtual clock advances only then."""
    await asyncio.sleep(0.001)


def _open_files() -> int:
    """Return the number of open files of the process, or 0 if the system doesn't show it."""
    try:
        return len(os.listdir("/dev/fd"))
    except OSError:
        return 0


class _Log(logging.Handler):
    """Records all loggers at DEBUG, with tracebacks."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(name)s %(message)s %(args)s"))
        self.lines: list[str] = []
        self._levels: dict[logging.Logger, int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    def __enter__(self) -> None:
        loggers = [logging.getLogger(), *map(logging.getLogger, LOGGERS)]
        self._levels = {logger: logger.level for logger in loggers}
        for logger in loggers:
            logger.setLevel(logging.DEBUG)
        loggers[0].addHandler(self)

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)
        for logger, level in self._levels.items():
            logger.setLevel(level)
