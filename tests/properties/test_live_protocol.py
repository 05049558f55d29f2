"""The protocol of the web socket reads anything, and merges states as a simple model does."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from portsip_async.v22 import ExtensionState, Presence, Status
from portsip_async.v22.live.messages import StateReported, Unreadable
from portsip_async.v22.live.protocol import WSIProtocol

from ..samples import WSI_SAMPLES
from .values import ANY_CHARACTER, HOSTILE, json_of

PASSWORD = "S3cr3t-password"
NAMES = [
    *("event_type", "command", "status", "error", "topics", "topic", "extension", "extension_id"),
    *("extension_number", "call_status", "online", "presence", "presence_note"),
]
TEXTS = HOSTILE | st.sampled_from(
    [
        *("auth", "subscribe", "unsubscribe", "extension_status", "extension_call", "0", "-1"),
        *("extension_presence", "extension_created", "extension_destroyed", "sip:101@test.io"),
        *("extension_events", "extension_management_events", "ON_CALL", "", "true", "9" * 5000),
        f"refused: {PASSWORD}",
    ]
)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """Draw a sample of the vendor that was cut off, or has another text at some place."""
    text = draw(st.sampled_from(WSI_SAMPLES)).text.replace("A1s2d3f4", PASSWORD)
    start, end = sorted(draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    return text[:start] + draw(TEXTS) + draw(st.sampled_from([text[end:], ""]))


MESSAGES = (
    st.binary(max_size=20)
    | st.text(ANY_CHARACTER, max_size=20)
    | damaged()
    | st.one_of(
        json_of(TEXTS, NAMES), st.dictionaries(st.sampled_from(NAMES), json_of(TEXTS, NAMES))
    ).map(json.dumps)
)


@given(st.lists(MESSAGES, max_size=8))
def test_any_message_is_read(messages: list[str | bytes]) -> None:
    """Nothing raises, rubbish is counted, no password is shown, and the next message is read."""
    protocol = WSIProtocol("user", PASSWORD, "test.io")
    protocol.connect()
    protocol.subscribe(["101"])
    unreadable = 0
    for message in messages:
        events = protocol.receive(message)
        found = [event for event in events if isinstance(event, Unreadable)]
        assert len(found) <= 1
        unreadable += len(found)
        for event in events:
            if not isinstance(event, StateReported):
                assert PASSWORD not in repr(event)
            else:
                json.dumps(event.to_dict(), ensure_ascii=False).encode()
    assert (protocol.messages, protocol.unreadable) == (len(messages), unreadable)
    last = '{"event_type": "extension_status", "extension": "5", "online": true, "call_status": ""}'
    [reported] = protocol.receive(last)
    assert isinstance(reported, StateReported)
    assert reported.state.status == Status.ONLINE


# A message: the kind of event, and the items in it by number.
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "call_status": st.sampled_from(["", "ON_CALL", "RINGING", "ON_ACLL", "HELD", None, 5]),
        "online": st.sampled_from([True, False, None, []]),
        "presence": st.sampled_from([*Presence, None, {}]),
        "presence_note": st.sampled_from(["", "Tea", None]),
        "extension_id": st.sampled_from(["7", 8, None, True]),
    },
)
KINDS = {
    "extension_status": ("call_status", "online", "presence", "presence_note"),
    "extension_call": ("call_status",),
    "extension_presence": ("presence", "presence_note"),
}
NUMBERS = st.sampled_from(["101", "102", "103"])
EVENTS = st.tuples(st.sampled_from([*KINDS]), st.lists(st.tuples(NUMBERS, FIELDS), max_size=3))


def modelled(number: str, reported: dict[str, Any]) -> ExtensionState:
    """Return the state of an extension from the latest value of each field."""
    call, online = reported.get("call_status"), reported.get("online")
    status = "ON_CALL" if call == "ON_ACLL" else call or None
    if status is None and (online is not None or call == ""):
        status = "OFFLINE" if online is False else "ONLINE"
    user_id = reported.get("extension_id")
    return ExtensionState(
        number,
        None if status is None else Status(status),
        reported.get("presence"),
        reported.get("presence_note"),
        None if user_id is None else str(user_id),
    )


@given(st.lists(EVENTS | st.just("connect"), max_size=12))
def test_states_are_merged(steps: list[Any]) -> None:
    """Each event changes what it reports. A new connection begins without states."""
    protocol = WSIProtocol("user", PASSWORD, "test.io")
    protocol.connect()
    latest: dict[str, dict[str, Any]] = {}
    for step in steps:
        if step == "connect":
            protocol.connect()
            latest.clear()
            continue
        kind, items = step
        wanted = []
        for number, fields in items:
            usable = {
                name: value
                for name, value in fields.items()
                if value is not None
                and value != 5
                and value not in ([], {})
                and name in KINDS[kind]
            }
            if usable:
                user_id = fields.get("extension_id")
                if user_id is not None and user_id is not True:
                    usable["extension_id"] = user_id
                latest.setdefault(number, {}).update(usable)
                wanted.append((number, modelled(number, latest[number])))
        status = [{"extension": f"sip:{number}@test.io", **fields} for number, fields in items]
        events = protocol.receive(json.dumps({"event_type": kind, "status": status}))
        found = [event for event in events if isinstance(event, StateReported)]
        assert [(event.number, event.state) for event in found] == wanted
        assert all(event.is_complete == (kind == "extension_status") for event in found)
