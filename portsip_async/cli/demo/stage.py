"""What every chapter of the demo stands on: the client, the PBX, and how doubt is settled."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ... import ExtensionStatus, NotFound, PortSIPClient, PortSIPError
from ...simulator import PBXSimulator
from .ledger import Ledger

T = TypeVar("T")

_SETTLES = (
    10  # times that a write is tried in all; the demo's faults leave about one in 17 in doubt
)


class Wrong(Exception):
    """Something came out otherwise than it should have."""


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the demo.

    Attributes:
        title: what it does.
        run: does it, and answers what came of it.
    """

    title: str
    run: Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Chapter:
    """Some steps under a heading."""

    title: str
    steps: Sequence[Step]


class Stage:
    """What the steps work on, and what several of them do.

    Attributes:
        pbx: the client, with the ledger as its hook.
        sim: the simulated PBX that it talks to.
        ledger: is told what may be carried out how often, and when the PBX is away.
        numbers: the extensions that there are at first.
        group_ids: the groups that there are at first.
        in_doubt: how often a write ended without a reply that told whether it was carried out.
        revoked: how often the PBX was made to forget every token.
    """

    def __init__(self, pbx: PortSIPClient, sim: PBXSimulator, ledger: Ledger) -> None:
        """Take down what there is at first."""
        self.pbx: PortSIPClient = pbx
        self.sim: PBXSimulator = sim
        self.ledger: Ledger = ledger
        self.numbers: list[str] = sim.extension_numbers
        self.group_ids: list[str] = sim.group_ids
        self.in_doubt: int = 0
        self.revoked: int = 0

    async def statuses(self, numbers: Sequence[str]) -> list[ExtensionStatus]:
        """Read the status of some extensions, each once."""
        statuses = await self.pbx.extensions.status(numbers)
        told = sorted(status.extension_number for status in statuses)
        check(told == sorted(numbers), f"{len(told)} statuses of {len(numbers)}")
        return statuses

    def next_numbers(self, count: int) -> list[str]:
        """Answer the numbers after the last, which nobody has at first."""
        last = int(self.numbers[-1])
        return [str(last + at) for at in range(1, count + 1)]

    async def renew(self) -> str:
        """Renew the token; joins a renewal that is under way, so that after it none is."""
        token = await self.pbx.account.refresh()
        return f"the new one lives {token.expires:g} s"

    async def revoke(self) -> None:
        """Let the PBX forget every token; for a moment when no call is under way.

        The client replays a call once, so a call must not meet two tokens that both died here:
        hence the renewal before, which leaves the client with one token and no renewal under way.
        """
        await self.renew()
        self.sim.revoke()
        self.revoked += 1

    async def settled(
        self,
        write: Callable[[], Awaitable[str]],
        find: Callable[[], Awaitable[str | None]],
    ) -> tuple[str, str]:
        """Carry out a write that must not be repeated blindly; where its reply is lost, look.

        Args:
            write: makes something, and answers its key.
            find: finds its key; None where it is not there, so that it can be made again.
        """
        for _ in range(_SETTLES):
            try:
                made = await write()
            except PortSIPError as error:
                if not error.may_have_acted:
                    raise
            else:
                return made, "done"
            self.in_doubt += 1
            found = await find()
            if found is not None:
                return found, "in doubt, so looked: it is there"
        raise Wrong(f"in doubt {_SETTLES} times, and not there")


async def unless_gone(reading: Awaitable[T]) -> T | None:
    """Read something; None where the PBX has no such thing."""
    try:
        return await reading
    except NotFound:
        return None


def check(right: bool, otherwise: str) -> None:
    """Raise Wrong with what is the case otherwise, unless all is right."""
    if not right:
        raise Wrong(otherwise)
