"""Whatever happens to the web socket, in the end the consumer sees what is true at the PBX."""

import asyncio
import logging
from collections import defaultdict
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portsip_async.simulator import PBXSimulator
from portsip_async.v22 import ExtensionState

from ..v22.live import LIST, STATUS, Live, live, new_user, true_states
from ..v22.test_live_status import RUBBISH
from ..virtual_time import MINUTE, in_virtual_time

Step = tuple[Any, ...]

VERIFY: Final = 2 * MINUTE
# The longest pause before a connection is made again, and two checks.
CALM: Final = 8 * MINUTE
SPARE: Final = ("951", "952", "953")

INDEX = st.integers(0, 5)
STATUS_TEXT = st.sampled_from(["OFFLINE", "ONLINE", "RINGING", "ON_CALL"])
PRESENCE = st.sampled_from([None, "AWAY", "LUNCH", "DO_NOT_DISTURB"])
SECONDS = st.sampled_from([0.0, 0.001, 0.02, 0.5, 3.0, 20.0, 70.0, 200.0])
STEP: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("set"), INDEX, STATUS_TEXT, PRESENCE, st.sampled_from(["", "back at 2"])),
    st.tuples(st.just("create"), st.sampled_from(SPARE)),
    st.tuples(st.just("remove"), INDEX),
    st.tuples(st.just("replace"), INDEX),
    st.tuples(st.just("wait"), SECONDS),
    st.tuples(st.just("cut")),
    st.tuples(st.just("silence"), st.booleans()),
    st.tuples(st.just("refuse"), st.sampled_from([403, 404, 429, 503]), st.integers(1, 8)),
    st.tuples(st.just("delay"), st.sampled_from([0.5, 5.0, 100.0])),
    st.tuples(st.just("restart"), SECONDS),
    st.tuples(st.just("say"), st.sampled_from(RUBBISH)),
    st.tuples(st.just("reorder"), st.booleans()),
    st.tuples(st.just("acknowledge"), st.booleans()),
    st.tuples(st.just("send states"), st.booleans()),
    st.tuples(st.just("refuse topic"), st.integers(1, 3)),
    st.tuples(st.just("fail"), st.sampled_from([STATUS, LIST]), st.integers(1, 20)),
    st.tuples(st.just("revoke")),
)


@pytest.fixture(autouse=True)
def few_records(caplog: pytest.LogCaptureFixture) -> None:
    """Keep no records of all the examples."""
    caplog.set_level(logging.CRITICAL, "portsip_async")


def create(sim: PBXSimulator, number: str) -> None:
    if number not in sim.extension_numbers:
        user = new_user(number)
        fields = {"name": f"{user.name}-{sim._pbx.numbers.next_index}", "role": user.role}
        fields |= {"extension_number": number, "display_name": user.display_name}
        sim.v22._state.users.create(fields)


async def play(it: Live, step: Step) -> None:
    """Play one step of a script."""
    sim, socket = it.sim, it.sim.v22.socket
    numbers = sim.extension_numbers
    match step:
        case "set", index, status, presence, note if numbers:
            number = numbers[index % len(numbers)]
            sim.set_status(number, status, presence=presence, presence_note=note)
        case "create", number:
            create(sim, number)
        case "remove", index if numbers:
            sim._pbx.remove_extension(numbers[index % len(numbers)])
        case "replace", index if numbers:
            number = numbers[index % len(numbers)]
            sim._pbx.remove_extension(number)
            create(sim, number)
        case "wait", seconds:
            await asyncio.sleep(seconds)
        case ("cut",):
            socket.cut()
        case "silence", pings:
            socket.silence(pings=pings)
        case "refuse", status, times:
            socket.refuse(status, times)
        case "delay", seconds:
            socket.delay(seconds, 2)
        case "restart", seconds:
            await sim.restart(seconds)
        case "say", text:
            socket.say(text)
        case "reorder", on:
            socket.reorders = on
        case "acknowledge", on:
            socket.acknowledges = on
        case "send states", on:
            socket.sends_states = on
        case "refuse topic", times:
            socket.refuse_topic("extension_management_events", times)
        case "fail", operation, times:
            sim.v22.fail(operation, status=503, times=times)
        case ("revoke",):
            sim.v22.revoke()


def without_ringing(states: dict[str, ExtensionState]) -> dict[str, ExtensionState]:
    """Replace RINGING by what REST reports instead."""
    return {
        number: state.replace(status="ONLINE") if state.status == "RINGING" else state
        for number, state in states.items()
    }


@settings(max_examples=2 * settings().max_examples)
@given(
    script=st.lists(STEP, max_size=25),
    source=st.sampled_from(["auto", "auto", "socket"]),
    is_given=st.booleans(),
    quirk=st.sampled_from(["", "v22_3"]),
)
@in_virtual_time
async def test_the_truth_arrives(
    script: list[Step], source: str, is_given: bool, quirk: str
) -> None:
    """After any script of faults, the view is the truth, and nothing in it was ever made up."""
    quirks = (quirk,) if quirk else ()
    numbers = ["100", "101", "102", "103", "104", "105", *SPARE[:2]] if is_given else None
    true_statuses: defaultdict[str, set[Any]] = defaultdict(set)
    true_presences: defaultdict[str, set[Any]] = defaultdict(set)

    def note(sim: PBXSimulator) -> None:
        for number, state in true_states(sim).items():
            true_statuses[number].add(state.status)
            if state.status == "RINGING":
                true_statuses[number].add("ONLINE")  # as REST shows it
            true_presences[number].add((state.presence, state.presence_note))

    async with live(
        extensions=6,
        numbers=numbers,
        quirks=quirks,
        source=source,
        verify=VERIFY,
        interval=30.0,
        rediscover=MINUTE,
    ) as it:
        note(it.sim)
        for step in script:
            await play(it, step)
            note(it.sim)
        it.sim.v22.clear()
        it.sim.v22.socket.clear()
        await it.settle(CALM)
        view, truth = it.viewer.view, true_states(it.sim)
        if numbers is not None:
            # A number that was given stays in the view when its extension is gone.
            truth = {number: state for number, state in truth.items() if number in numbers}
            view = {number: state for number, state in view.items() if number in truth}
        if ("silence", True) in script or ("send states", False) in script:
            # The socket may not have reported who rings, and REST can't.
            view, truth = map(without_ringing, (view, truth))
        assert view == truth, str(script)
        # A connection that never showed life, by states or acknowledgements, is not relied on.
        is_mute = ("send states", False) in script and ("acknowledge", False) in script
        assert it.source() == "socket" or is_mute, str(script)
        for number, state in it.viewer.received:
            if state is None:
                continue
            # Without the states after subscribing, the first event may report a part only.
            may_lack = ("send states", False) in script
            if state.status is not None or not may_lack:
                assert state.status in true_statuses[number], f"{state} {script}"
            if state.presence is not None or not may_lack:
                assert (state.presence, state.presence_note) in true_presences[number]
