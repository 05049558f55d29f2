"""The simulated PBX in a separate process that can be killed. A journal keeps its state.

Each operation is written to the journal when it acts, before its reply is sent. A killed process
loses nothing: what is not in the journal was never confirmed to anybody. The next process repeats
the journal.
"""

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from portsip_async.simulator import Faults, Greeting, PBXSimulator
from portsip_async.simulator.actions import ACTIONS, RequestContext
from portsip_async.simulator.v22.actions import ACTIONS as V22_ACTIONS

from .journal import STATUS, TOKEN, WRITES, Entry, Journal
from .nginx import SetupError, free_port

_WAIT = 30.0  # seconds for the process to listen


class PBX:
    """Start, order about and kill the process. Its port stays the same.

    Attributes:
        port: where it listens.
        log: the path of its log.
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.port = free_port()
        self.log = folder / "pbx.log"
        self._settings = settings | {"port": self.port, "journal": str(folder / "journal")}
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start the process, and wait until it listens."""
        with self.log.open("ab") as log:
            self._process = process = subprocess.Popen(  # noqa: ASYNC220  # a few milliseconds
                [sys.executable, "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
            )
        assert process.stdout is not None
        self.order(**self._settings)
        async with asyncio.timeout(_WAIT):
            listening = await asyncio.to_thread(process.stdout.readline)
        if not listening:
            raise SetupError(f"the simulated PBX did not start:\n{self.log.read_text()[-2000:]}")

    def order(self, **order: Any) -> None:
        """Send an order, see `_follow`. While the process is dead, it is lost."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.write(json.dumps(order).encode() + b"\n")

    def close(self) -> None:
        """Kill the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


# What follows runs in the process.


async def _serve() -> None:
    """Serve until standard input ends. Its first line has the settings, the others orders."""
    logging.basicConfig(level=logging.DEBUG)
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    settings = json.loads(await orders.readline())
    journal = Journal(Path(settings.pop("journal")), Entry)
    simulator = PBXSimulator(**settings)
    _repeat(simulator, journal)
    _write_acts(journal)
    async with simulator:
        sys.stdout.write("listening\n")
        sys.stdout.flush()
        while line := await orders.readline():
            _follow(simulator, journal, json.loads(line))


def _repeat(simulator: PBXSimulator, journal: Journal[Entry]) -> None:
    """Bring the simulator into the state that the journal leads to."""
    context = RequestContext(simulator._pbx, simulator._issuer, token="", now=0.0)
    for entry in journal:
        if entry.row in WRITES:
            ACTIONS[entry.row](context, _restore(entry.fields))
        elif entry.row == STATUS:
            for number, status in entry.fields.items():
                simulator.set_status(number, status)


def _write_acts(journal: Journal[Entry]) -> None:
    """Make every classic operation, and the logins of v22, append to the journal."""

    def journaled(row: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def act_and_append(context: Any, fields: Any) -> Any:
            reply = act(context, fields)
            if row in WRITES:
                journal.append(Entry(row, dict(fields)))
            else:
                _append_tokens(journal, reply)
            return reply

        return act_and_append

    # They are dicts, typed as Mappings.
    for row, act in ACTIONS.items():
        ACTIONS[row] = journaled(row, act)  # type: ignore[index]
    for row in ("auth.sign_in", "auth.refresh"):
        V22_ACTIONS[row] = journaled(row, V22_ACTIONS[row])  # type: ignore[index]


def _append_tokens(journal: Journal[Entry], reply: Any) -> None:
    if isinstance(reply, dict):
        for name in reply.keys() & {"access_token", "refresh_token"}:
            journal.append(Entry(TOKEN, {"token": reply[name]}))


def _restore(fields: dict[str, Any]) -> dict[str, Any]:
    return fields | {"file": Greeting(**fields["file"])} if "file" in fields else fields


def _follow(simulator: PBXSimulator, journal: Journal[Entry], order: dict[str, Any]) -> None:
    """Carry out an order: set the faults or some statuses, revoke all tokens, break sockets."""
    if "faults" in order:
        simulator.faults = Faults(**order["faults"])
    if "revoke" in order:
        simulator.revoke()
    match order.get("socket"):
        case "cut":
            simulator.v22.socket.cut()
        case "silence":
            simulator.v22.socket.silence()
        case "refuse":
            simulator.v22.socket.refuse(times=3)
            simulator.v22.socket.cut()  # so that they come back
        case "rubbish":
            simulator.v22.socket.say('{"message_type":')
    if "statuses" in order:
        journal.append(Entry(STATUS, order["statuses"]))
        for number, status in order["statuses"].items():
            simulator.set_status(number, status)


if __name__ == "__main__":
    asyncio.run(_serve())
