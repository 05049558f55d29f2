"""Run the cells of the matrix: every operation with a fault, concurrently, and its outcome."""

import asyncio
import logging
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from portsip_async import ENDPOINTS, PortSIPClient, RetryPolicy, Timeout

from ..clocks import set_clock
from ..internals import session_of
from ..operations import BY_ROW, OPERATIONS, Operation
from ..proxy_server import ProxyServer
from ..test_secrecy import LOGGERS, Recorder
from ..wire_server import WireServer
from .catalogue import BY_NAME, DEADLINE, EPOCH, LIMIT, SILENCE, TOTAL, Fault
from .impatience import ImpatientLoop
from .rules import ATTEMPTS
from .server import FaultServer, trusting

ROWS = (*OPERATIONS, Operation("account.refresh", "safe", BY_ROW["account.refresh"].send))
# More than the buffers of sockets, so that a fault can happen while it is being sent.
LARGE = 8 * 2**20
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
            turns = asyncio.Semaphore(1 if fault.heavy else len(ROWS))
            outcomes = await asyncio.gather(*(_cell(fault, row, elsewhere, turns) for row in ROWS))
    await _quiet()
    return Observation(
        cells={row.name: outcome for row, outcome in zip(ROWS, outcomes, strict=True)},
        elsewhere=elsewhere.connections,
        log="\n".join(log.lines),
        tasks=len(asyncio.all_tasks() - others),
        files=_open_files() - files,
    )


async def _cell(
    fault: Fault, row: Operation, elsewhere: WireServer, turns: asyncio.Semaphore
) -> Outcome:
    if row.name == "greetings.upload" and fault.stage != "reply":
        row = row._replace(
            send=lambda pbx: pbx.greetings.upload("101", bytes(LARGE), filename="a.wav")
        )
    outcome = Outcome()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ImpatientLoop)
    endpoint = ENDPOINTS[row.name]
    server = FaultServer(
        path=f"/api{endpoint.path}",
        good=BY_ROW[row.name].replies,
        strike=fault.strike,
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
        token = f"first/of+{server.port}&é"
        outcome.secrets = [token, *BY_ROW[row.name].secrets]
        server.elsewhere = f"http://elsewhere.invalid:{elsewhere.port}"
        pbx = await stack.enter_async_context(
            PortSIPClient(
                url.replace("127.0.0.1", host) if fault.stage == "name" else url,
                token=token,
                timeout=Timeout(total=TOTAL, connect=SILENCE, read=SILENCE),
                retry=RetryPolicy(
                    attempts=ATTEMPTS, initial=PAUSE, maximum=PAUSE, deadline=DEADLINE
                ),
                max_connections=1,
                max_reply_bytes=LIMIT,
                ssl=trusting() if fault.over_tls else None,
                proxy=proxy.url if fault.stage == "proxy" else None,
                allow_http=True,
            )
        )
        set_clock(pbx, monotonic=loop.time, now=lambda: EPOCH + loop.time(), random=lambda: 1.0)
        begun = loop.time()
        outcome.value, outcome.error = await _result_of(row, pbx)
        outcome.seconds = loop.time() - begun
        outcome.arrivals, outcome.acted = len(server.arrivals), server.acted
        outcome.written = server.written
        await _quiet()
        outcome.clinging = server.striking + len(proxy.writers)
        loop.names[host] = "127.0.0.1"
        await server.mend()
        proxy.answers = [None]
        outcome.afterwards, outcome.error_afterwards = await _result_of(row, pbx)
        outcome.acted_afterwards = server.acted - outcome.acted
        outcome.secrets += server.renewed
        outcome.recorder.note((pbx, session_of(pbx)))
        await pbx.close()
        await _quiet()
        outcome.open = server.open + len(proxy.writers)
    if outcome.error is not None:
        outcome.recorder.error(outcome.error)
    return outcome


async def _result_of(row: Operation, pbx: PortSIPClient) -> tuple[Any, Exception | None]:
    """Make a call. Return its result and its error. It must end in time."""
    try:
        async with asyncio.timeout(ENDLESS):
            return await row.send(pbx), None
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
