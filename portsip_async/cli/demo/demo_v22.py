"""The second act of the demo: the same PBX through generation v22 of the API."""

import asyncio
import secrets
from dataclasses import dataclass, replace
from time import monotonic
from typing import Final

from rich.console import Console

from ... import RetryPolicy
from ...simulator import PBXSimulator
from ...v22 import NewUser, PortSIPClient
from .demo_steps import CONCURRENCY, Failed, Traffic, each_once, expect, step, until_done

_ROUNDS: Final = 3  # how often all access tokens are revoked
_POLLED_AFTER: Final = 50  # users that are polled after each time
_PATIENCE: Final = 20.0  # seconds to wait for the states that the web socket reports
_NOTE: Final = "changed by the demo"


async def run(
    console: Console,
    sim: PBXSimulator,  # with 3 extensions or more
    traffic: Traffic,
    retry: RetryPolicy,
    *,
    created: int,
    polled: int,
    followed: int,
) -> None:
    """Run the steps, and print a line for each.

    Raises:
        Failed: a step's result is wrong.
        PortSIPError: a request between two steps failed.
    """
    # A poll sends a request for each user here, and pauses for up to a second at each 429.
    sim.faults = replace(sim.faults, rate_limited=0)
    async with PortSIPClient(
        sim.url,
        username=sim.username,
        password=sim.password,
        domain=sim.domain,
        retry=retry,
        max_connections=CONCURRENCY,
        on_attempt=traffic,
    ) as pbx:
        steps = Steps(console, sim, pbx)
        await steps.walk()
        await steps.users(created)
        await steps.poll(polled)
        await steps.refresh(min(polled, _POLLED_AFTER))
        await steps.follow(followed)


@dataclass
class Steps:
    """All steps of the second act."""

    console: Console
    sim: PBXSimulator
    pbx: PortSIPClient

    def __post_init__(self) -> None:
        self.numbers: list[str] = self.sim.extension_numbers  # before the first step
        self.next_number: int = int(self.numbers[-1]) + 1

    async def walk(self) -> None:
        """Sign in, and walk the list of users."""
        with step(self.console, "sign in, walk the users") as result:
            listed = [str(one.extension_number) async for one in self.pbx.users.list(prefetch=8)]
            result.append(each_once(listed, self.numbers))

    async def users(self, count: int) -> None:
        """Create users, change one, and remove all."""
        users = self.pbx.users
        numbers = [str(self.next_number + n) for n in range(count)]
        new = {number: new_user(number, self.sim.domain) for number in numbers}
        first = numbers[0]
        with step(self.console, f"create {count:,}, one reply lost") as result:
            self.sim.v22.fail("users.create", drop=True, act=True)
            outcome = await until_done(
                lambda left: users.create_many(
                    [new[number] for number in left], concurrency=CONCURRENCY, if_exists="skip"
                ),
                numbers,
            )
            exist = sorted(self.sim.extension_numbers, key=int)
            expect(exist == [*self.numbers, *numbers], f"{len(exist)} exist, not as wanted")
            result.append(f"all exist; {outcome}")
        ids = [self.sim.v22.user_id(number) for number in numbers]
        with step(self.console, "change one by its id") as result:
            await users.patch(ids[0], {"department": "Sales"})
            after = await self.pbx.extensions.show(first)
            expect(after.department == "Sales", "the patch had no effect")
            expect(after.display_name == new[first].display_name, "the patch changed the name")
            result.append(f"now in {after.department}, still {after.display_name}")
        with step(self.console, "remove them") as result:
            outcome = await until_done(
                lambda left: users.remove_many(left, concurrency=CONCURRENCY), ids
            )
            exist = self.sim.extension_numbers
            expect(exist == self.numbers, "not the users from the start")
            result.append(f"{len(exist):,} left; {outcome}")

    async def poll(self, count: int) -> None:
        """Poll users by number: the walk has taught the client their ids."""
        asked = [*self.numbers[:count], str(self.next_number)]
        with step(self.console, f"poll {count:,} by number") as result:
            found_before = self.sim.v22.acted["users.find"]
            poll = self.pbx.extensions.poll_status(asked, concurrency=CONCURRENCY, ordered=True)
            results = [(one.extension_number, one.error) async for one in poll]
            seen = each_once([number for number, _ in results], asked)
            failed = [number for number, error in results if error is not None]
            expect(failed == asked[-1:], f"no status of {', '.join(failed)}")
            found = self.sim.v22.acted["users.find"] - found_before
            expect(not found, f"{found} ids looked up, though the list had told them")
            result.append(f"{seen}; no id asked")

    async def refresh(self, count: int) -> None:
        """Revoke all access tokens a few times: no refresh token is sent twice."""
        asked = self.numbers[:count]
        with step(self.console, f"revoke all tokens, {_ROUNDS} times") as result:
            for _ in range(_ROUNDS):
                # After a renewal the client has one token, so no request meets two revoked ones.
                await self.pbx.auth.refresh()
                self.sim.revoke()
                poll = self.pbx.extensions.poll_status(asked, concurrency=CONCURRENCY)
                errors = [one.error async for one in poll if one.error is not None]
                expect(not errors, f"{len(errors)} calls failed")
            # This joins a renewal in the background, so no request is in flight afterwards.
            await self.pbx.auth.refresh()
            sent = self.sim.v22.refresh_tokens
            expect(bool(sent) and max(sent.values()) == 1, "a refresh token was sent twice")
            result.append(f"{len(sent)} refresh tokens, each sent once")

    async def follow(self, count: int) -> None:
        """Follow users through the web socket, and change the status of one."""
        followed = self.numbers[:count]
        changed = followed[-1]
        with step(self.console, f"follow {len(followed):,} live, change one") as result:
            requests_before = self.sim.v22.served["users.status"]
            began, waiting = monotonic(), set(followed)
            try:
                async with (
                    asyncio.timeout(_PATIENCE),
                    self.pbx.extensions.watch_status(followed, source="socket") as watch,
                ):
                    changes = aiter(watch)
                    while waiting:
                        waiting.discard((await anext(changes)).extension_number)
                    seconds = monotonic() - began
                    self.sim.set_status(changed, "ON_CALL", presence_note=_NOTE)
                    began, state = monotonic(), None
                    while state is None or state.presence_note != _NOTE:
                        change = await anext(changes)
                        state = change.after if change.extension_number == changed else None
                    ms = 1000 * (monotonic() - began)
            except TimeoutError:
                missing = f"{len(waiting)} states" if waiting else "the change"
                raise Failed(f"{missing} not seen after {_PATIENCE:g} s") from None
            sent = self.sim.v22.served["users.status"] - requests_before
            expect(not sent, f"{sent} states read, though the web socket had reported them")
            result.append(
                f"all seen in {seconds:.2f} s, the change after {ms:.1f} ms; no status asked for"
            )


def new_user(number: str, domain: str) -> NewUser:
    """Make up a user."""
    return NewUser(
        extension_number=number,
        name=f"demo.{number}",
        display_name=f"Demo {number}",
        email=f"demo.{number}@{domain}",
        role="StandardUser",
        password=f"{secrets.token_urlsafe(12)}-Aa1",
        extension_password=f"{secrets.token_urlsafe(12)}-Aa1",
        voicemail_pin=f"{secrets.randbelow(1_000_000):06}",
    )
