"""The simulated PBX in a process of its own, which may be killed: its state is in the journal.

Standard input brings a line of JSON for each order, the settings first; its end is the process's.
The orders: ``faults`` sets the faults by rate, ``statuses`` the status of some numbers, ``revoke``
lets all tokens die.
"""

import asyncio
import json
import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from portsip_async.simulator import Faults, Greeting, PBXSimulator
from portsip_async.simulator.actions import ACTIONS, Action, RequestContext

from .journal import STATUS, TOKEN, WRITES, Entry, Journal

_WAIT = 10.0  # seconds for the port of the process before to become free


class Keeper:
    """Puts a journal under the simulator's operations."""

    def __init__(self, journal: Journal) -> None:
        """Take up what is in the journal, and write on."""
        self._journal = journal
        past = journal.open()
        self._past = [entry for entry in past if entry.row != STATUS]
        self.statuses: dict[str, str] = {}
        for entry in past:
            if entry.row == STATUS:
                self.statuses |= entry.given

    def kept(self, row: str, act: Action) -> Action:
        """Make an action restore the past first, and write what it did to the journal."""

        def kept(context: RequestContext, given: Mapping[str, Any]) -> dict[str, Any] | None:
            self._restore(context)
            reply = act(context, given)
            if row in WRITES:
                self._journal.write(row, given)
            elif reply is not None and "access_token" in reply:
                self._journal.write(TOKEN, {"token": reply["access_token"]})
            return reply

        return kept

    def _restore(self, context: RequestContext) -> None:
        past, self._past = self._past, []
        for entry in past:
            _ACTIONS[entry.row](context, _given(entry))


_ACTIONS: dict[str, Action] = dict(ACTIONS)  # as they are without a journal


def _given(entry: Entry) -> dict[str, Any]:
    file = entry.given.get("file")
    return entry.given if file is None else entry.given | {"file": Greeting(**file)}


async def _serve(settings: dict[str, Any], orders: asyncio.StreamReader) -> None:
    journal = Journal(Path(settings.pop("journal")))
    keeper = Keeper(journal)
    kept = {row: keeper.kept(row, act) for row, act in ACTIONS.items()}
    ACTIONS.update(kept)  # type: ignore[attr-defined]  # a dict, shown as a Mapping
    simulator = PBXSimulator(**settings)
    for number, status in keeper.statuses.items():
        simulator.set_status(number, status)
    await _listen(simulator)
    try:
        while line := await orders.readline():
            order = json.loads(line)
            if "faults" in order:
                simulator.faults = Faults(**order["faults"])
            if "revoke" in order:
                simulator.revoke()
            if "statuses" in order:
                journal.write(STATUS, order["statuses"])
                for number, status in order["statuses"].items():
                    simulator.set_status(number, status)
    finally:
        await simulator.stop()


async def _listen(simulator: PBXSimulator) -> None:
    until = time.monotonic() + _WAIT
    while True:
        try:
            await simulator.start()
        except OSError:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.05)
        else:
            return


async def main() -> None:
    """Serve until standard input ends."""
    logging.basicConfig(level=logging.DEBUG)
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    await _serve(json.loads(await orders.readline()), orders)


if __name__ == "__main__":
    asyncio.run(main())
