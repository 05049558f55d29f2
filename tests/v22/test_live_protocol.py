"""The protocol of the web socket: what each text means, without a connection."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from portsip_async.v22 import ExtensionState, Presence, Status
from portsip_async.v22.live.messages import (
    Acknowledged,
    Event,
    ExtensionCreated,
    ExtensionDestroyed,
    ExtensionUpdated,
    LoggedIn,
    LoginRefused,
    StateReported,
    SubscriptionRefused,
    Unreadable,
)
from portsip_async.v22.live.protocol import WSIProtocol

from ..samples import WSI_SAMPLES, WSISample

PASSWORD = "S3cr3t-password"
EXTENSIONS = "extension_events"
MANAGEMENT = "extension_management_events"


def connected() -> WSIProtocol:
    """Return a protocol that is logged in."""
    protocol = WSIProtocol("testuser1", PASSWORD, "test.io")
    protocol.connect()
    assert protocol.receive('{"command": "auth", "id": "1", "status": 0}') == [LoggedIn()]
    return protocol


def receive(protocol: WSIProtocol, **message: Any) -> list[Event]:
    return protocol.receive(json.dumps(message))


def states(events: list[Event]) -> list[ExtensionState]:
    return [event.state for event in events if isinstance(event, StateReported)]


def item(number: int = 101, /, **fields: Any) -> dict[str, Any]:
    return {"extension": f"sip:{number}@test.io", **fields}


def report(protocol: WSIProtocol, *items: object) -> list[ExtensionState]:
    return states(receive(protocol, event_type="extension_status", status=items))


def call(protocol: WSIProtocol, call_status: object) -> ExtensionState:
    events = receive(protocol, event_type="extension_call", **item(call_status=call_status))
    return states(events)[0]


# The vendor's samples.

_CREATED: list[Event] = [ExtensionCreated("1001", "823634238409396")]
_CALL: list[Event] = [
    StateReported(
        "101",
        ExtensionState("101", Status.ON_CALL, user_id="792406615960584220"),
        is_complete=False,
    )
]
_ACCEPTED: list[Event] = [LoggedIn()]
_REFUSED: list[Event] = [LoginRefused("access_token , username , domain or password error")]
_REQUEST: list[Event] = [Unreadable("a command without a status")]
_REFUSED_BY_V12: list[Event] = [LoginRefused("name or password error")]
_OTHER_EVENT: list[Event] = [Unreadable('an event of an unknown kind ("extension_register")')]


def _statuses(presence: Presence) -> list[Event]:
    first = ExtensionState("101", Status.ON_CALL, Presence.AWAY, "", "794493219508322304")
    second = ExtensionState("102", Status.ON_CALL, presence, "", "794493219718037504")
    return [StateReported("101", first, True), StateReported("102", second, True)]


def _presence(note: str) -> list[Event]:
    state = ExtensionState("101", None, Presence.AVAILABLE, note, "792406615960584220")
    return [StateReported("101", state, is_complete=False)]


# In the order of the file. What clients send is refused: a PBX sends replies and events.
MEANINGS: list[list[Event]] = [
    *[_CREATED, _statuses(Presence.AVAILABLE), _CALL, _presence("Drving")],  # 22.2
    *[_REQUEST] * 3,
    *[_ACCEPTED, _REFUSED],
    *[_REQUEST] * 11,
    *[_CREATED, _statuses(Presence.ONLINE), _CALL, _presence("Driving")],  # 22.3
    *[_REQUEST] * 3,
    *[_ACCEPTED, _REFUSED],
    *[_REQUEST] * 11,
    *[_OTHER_EVENT] * 2,  # v12
    *[_REQUEST] * 2,
    *[_ACCEPTED, _REFUSED_BY_V12],
    *[_REQUEST] * 6,
]


@pytest.mark.parametrize(
    ("sample", "meaning"),
    [*zip(WSI_SAMPLES, MEANINGS, strict=True)],
    ids=[f"{sample.version}-line{index}" for index, sample in enumerate(WSI_SAMPLES, 1)],
)
def test_sample_of_the_vendor(sample: WSISample, meaning: list[Event]) -> None:
    """Every literal message is read, or refused with a reason."""
    protocol = WSIProtocol("testuser1", PASSWORD, "test.io")
    protocol.connect()
    assert protocol.receive(sample.text) == meaning
    assert (protocol.messages, protocol.unreadable) == (1, isinstance(meaning[0], Unreadable))


def request_of(version: str, command: str, topic: str | None = None) -> object:
    """Return a request in the vendor's samples."""
    found = [
        sample.parsed
        for sample in WSI_SAMPLES
        if sample.version == version and sample.is_json and sample.parsed.get("command") == command
    ]
    return next(each for each in found if topic is None or each["topics"] == [topic])


def test_commands_equal_the_samples() -> None:
    """What is sent has the fields of the vendor's requests."""
    protocol = WSIProtocol("testuser1", "A1s2d3f4", "test.io")
    in_samples = [
        each.parsed
        for each in WSI_SAMPLES
        if each.version == "22.3" and '"auth"' in each.text and 'domain" :' in each.text
    ]
    assert json.loads(protocol.connect()) in in_samples
    [subscribed] = protocol.subscribe(["102", "103"])
    assert json.loads(subscribed) == request_of("22.3", "subscribe", EXTENSIONS)
    [ended] = protocol.unsubscribe(["101", "102"])
    assert json.loads(ended) == request_of("22.3", "unsubscribe", EXTENSIONS)
    assert json.loads(protocol.subscribe_management()) == {
        "command": "subscribe",
        "topics": [MANAGEMENT],
    }


def test_account_without_domain_logs_in_without_one() -> None:
    sent = WSIProtocol("admin", "A1s2d3f4", None).connect()
    assert json.loads(sent) == {"command": "auth", "username": "admin", "password": "A1s2d3f4"}


def test_many_extensions_are_subscribed_in_pieces() -> None:
    """Each number is sent once, at most 500 in a message."""
    protocol = connected()
    numbers = [str(number) for number in range(1000, 2001)]
    texts = [json.loads(text)["extensions"] for text in protocol.subscribe([*numbers, "1000"])]
    assert [len(piece) for piece in texts] == [500, 500, 1]
    assert [number for piece in texts for number in piece] == numbers
    assert protocol.unacknowledged == 3
    assert protocol.subscribe([]) == protocol.unsubscribe([]) == []


# Replies.


def test_reply_belongs_to_the_oldest_subscription() -> None:
    protocol = connected()
    protocol.subscribe(["101"])
    protocol.subscribe_management()
    accepted = {"command": "subscribe", "status": 0}
    assert receive(protocol, **accepted) == [Acknowledged(EXTENSIONS)]
    assert protocol.unacknowledged == 1
    assert receive(protocol, command="subscribe", status=-1) == [
        SubscriptionRefused(MANAGEMENT, "")
    ]
    assert protocol.unacknowledged == 0
    # One acknowledgement more than subscriptions is no event, and no rubbish.
    assert receive(protocol, **accepted) == []
    assert protocol.unreadable == 0


@pytest.mark.parametrize(
    "named",
    [
        {"topics": [MANAGEMENT]},
        {"topics": MANAGEMENT},
        {"topics": [{"topic": MANAGEMENT, "keys": ["a"]}]},
        {"topics": ["global_cdr_events", MANAGEMENT]},
        {"error": f"no permission for {MANAGEMENT}"},
    ],
    ids=["list", "text", "objects", "with_another", "in_the_error"],
)
def test_reply_that_names_its_topic(named: dict[str, Any]) -> None:
    """It belongs to that topic, whatever is older."""
    protocol = connected()
    protocol.subscribe(["101"])
    protocol.subscribe_management()
    refusal = SubscriptionRefused(MANAGEMENT, named.get("error", ""))
    assert receive(protocol, command="subscribe", status=-1, **named) == [refusal]
    assert receive(protocol, command="subscribe", status=0) == [Acknowledged(EXTENSIONS)]


@pytest.mark.parametrize("status", [0, "0", " 0 ", 0.0, "+0"], ids=repr)
@pytest.mark.parametrize("wrap", [dict, lambda it: [it]], ids=["object", "list"])
def test_success_in_other_forms(status: object, wrap: Callable[[Any], object]) -> None:
    protocol = WSIProtocol("testuser1", PASSWORD, "test.io")
    protocol.connect()
    reply = wrap({"command": "auth", "status": status})
    assert protocol.receive(json.dumps(reply)) == [LoggedIn()]
    assert protocol.receive(json.dumps(reply)) == []  # once for each connection


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ({"status": -1}, ""),
        ({"status": "-1", "error": None}, ""),
        ({"status": 403, "error": ""}, ""),
        ({"error": "blocked"}, "blocked"),
        ({"status": "failed", "error": "blocked"}, "blocked"),
        ({"status": -1, "error": 17}, "17"),
        ({"status": -1, "error": {"code": "DENIED"}}, '{"code": "DENIED"}'),
    ],
    ids=["no_text", "null", "empty", "no_status", "text_status", "number", "object"],
)
def test_refusal_in_other_forms(reply: dict[str, Any], error: str) -> None:
    protocol = WSIProtocol("testuser1", PASSWORD, "test.io")
    protocol.connect()
    protocol.subscribe_management()
    assert receive(protocol, command="auth", **reply) == [LoginRefused(error)]
    assert receive(protocol, command="subscribe", **reply) == [
        SubscriptionRefused(MANAGEMENT, error)
    ]


def test_refusal_after_states_is_about_management() -> None:
    """A PBX that acknowledges nothing refuses one topic, and reports states for the other."""
    protocol = connected()
    protocol.subscribe(["101"])
    protocol.subscribe_management()
    report(protocol, item(online=True))
    assert receive(protocol, command="subscribe", status=-1) == [
        SubscriptionRefused(MANAGEMENT, "")
    ]
    assert protocol.unacknowledged == 1


def test_refusal_by_a_pbx_that_acknowledges() -> None:
    """Its replies come in the order of the subscriptions, so states don't matter."""
    protocol = connected()
    for numbers in (["101"], ["102"]):
        protocol.subscribe(numbers)
    protocol.subscribe_management()
    receive(protocol, command="subscribe", status=0)
    report(protocol, item(online=True))
    assert receive(protocol, command="subscribe", status=-1) == [
        SubscriptionRefused(EXTENSIONS, "")
    ]


def test_replies_without_a_command() -> None:
    """Version 12 sends such replies. The first one is about the login."""
    protocol = WSIProtocol("testuser1", PASSWORD, "test.io")
    protocol.connect()
    assert receive(protocol, status=0) == [LoggedIn()]
    protocol.subscribe(["101"])
    assert receive(protocol, status=0) == [Acknowledged(EXTENSIONS)]
    assert receive(protocol, status=0) == [
        Unreadable("a reply to no subscription of this connection")
    ]


def test_reply_to_unsubscribing_is_no_event() -> None:
    protocol = connected()
    protocol.subscribe(["101"])
    assert receive(protocol, command="unsubscribe", status=0) == []
    assert receive(protocol, command="unsubscribe", status=-1, error="no") == []
    assert (protocol.unreadable, protocol.unacknowledged) == (0, 1)


@pytest.mark.parametrize(
    "error",
    [f"bad password {PASSWORD}", {"password": "other", "hint": [PASSWORD]}],
    ids=["text", "object"],
)
def test_errors_show_no_secret(error: object) -> None:
    protocol = WSIProtocol("testuser1", PASSWORD, "test.io")
    protocol.connect()
    protocol.subscribe_management()
    events = [
        *receive(protocol, command="auth", status=-1, error=error),
        *receive(protocol, command="subscribe", status=-1, error=error),
        *receive(protocol, event_type=PASSWORD),
        *receive(protocol, command=PASSWORD, status=0),
    ]
    assert len(events) == 4
    assert PASSWORD not in repr(events)
    assert "other" not in repr(events)
    assert PASSWORD not in repr(protocol)
    # This password looks like the name of an event.
    events = receive(WSIProtocol("testuser1", "password_x", "test.io"), event_type="password_x")
    assert events == [Unreadable("an event of an unknown kind")]


# States.


def test_partial_states_are_merged() -> None:
    """An event changes what it reports, and keeps everything else."""
    protocol = connected()
    status: dict[str, Any] = {
        "call_status": "",
        "online": True,
        "presence": "AWAY",
        "presence_note": "Tea",
    }
    full = ExtensionState("101", Status.ONLINE, Presence.AWAY, "Tea", "7")
    assert report(protocol, item(**status, extension_id="7")) == [full]
    assert call(protocol, "RINGING") == full.replace(status=Status.RINGING)
    # These two events have fields that aren't theirs.
    other: dict[str, Any] = {
        "call_status": "ON_CALL",
        "online": False,
        "presence": "LUNCH",
        "presence_note": "",
    }
    assert states(receive(protocol, event_type="extension_presence", **item(**other))) == [
        ExtensionState("101", Status.RINGING, Presence.LUNCH, "", "7")
    ]
    other = {"call_status": "", "online": False, "presence": "AWAY", "presence_note": "Tea"}
    assert states(receive(protocol, event_type="extension_call", **item(**other))) == [
        ExtensionState("101", Status.ONLINE, Presence.LUNCH, "", "7")
    ]


@pytest.mark.parametrize(
    ("online", "call_status", "status"),
    [
        (True, None, "ONLINE"),
        (True, "", "ONLINE"),
        (False, None, "OFFLINE"),
        (False, "", "OFFLINE"),
        (None, "", "ONLINE"),
        (False, "ON_CALL", "ON_CALL"),
        (True, "ON_ACLL", "ON_CALL"),
        (True, "OTHER_CALL", "ON_CALL"),
        (None, "RINGING", "RINGING"),
        (True, "ringing ", "RINGING"),
        (True, "ON_HOLD", "ON_HOLD"),
    ],
)
def test_status(online: bool | None, call_status: str | None, status: str) -> None:
    """A call counts more than a registration. An unknown text is kept."""
    [state] = report(connected(), item(online=online, call_status=call_status))
    assert state.status == status
    assert isinstance(state.status, Status)


def test_call_of_an_extension_that_is_not_online() -> None:
    """After the call it is what it was before."""
    protocol = connected()
    report(protocol, item(online=False))
    assert call(protocol, "ON_CALL").status == Status.ON_CALL
    assert call(protocol, "").status == Status.OFFLINE


def test_new_connection_begins_without_states_and_subscriptions() -> None:
    """What was reported before may have changed since."""
    protocol = connected()
    protocol.subscribe(["101"])
    report(protocol, item(presence="AWAY"))
    protocol.connect()
    assert protocol.unacknowledged == 0
    assert call(protocol, "RINGING") == ExtensionState("101", Status.RINGING)
    assert receive(protocol, command="auth", status=0) == [LoggedIn()]


def test_state_is_forgotten_after_unsubscribing_and_removal() -> None:
    protocol = connected()
    for forget in (
        lambda: protocol.unsubscribe(["101"]),
        lambda: receive(protocol, event_type="extension_destroyed", extension_number="101"),
    ):
        report(protocol, item(presence="AWAY", extension_id=7))
        forget()
        assert call(protocol, "") == ExtensionState("101", Status.ONLINE)


def test_states_of_other_extensions_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are subscribed to are always kept."""
    monkeypatch.setattr("portsip_async.v22.live.protocol._KEPT", 1)
    protocol = connected()
    protocol.subscribe(["101"])
    for number in (103, 102, 101):
        report(protocol, item(number, presence="AWAY"))
    found = report(protocol, *[item(number, online=True) for number in (101, 102, 103)])
    assert [state.presence for state in found] == ["AWAY", None, "AWAY"]


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"extension_id": 7}, {"user_id": "7"}),
        ({"extension_id": 10**30}, {"user_id": "1" + "0" * 30}),
        ({"extension_id": ""}, {}),
        ({"extension_id": True}, {}),
        ({"extension_id": {"a": 1}}, {}),
        ({"call_status": 7}, {}),
        ({"call_status": True, "presence": 4, "presence_note": ["a"]}, {}),
        ({"presence": "", "presence_note": None}, {}),
        ({"presence": "SLEEPING"}, {"presence": "SLEEPING"}),
        ({"online": "false"}, {"status": "OFFLINE"}),
        ({"online": 0}, {"status": "OFFLINE"}),
        ({"online": "maybe"}, {}),
        ({"online": [True]}, {}),
    ],
    ids=lambda it: json.dumps(it)[:40],
)
def test_odd_fields_count_as_not_reported(fields: dict[str, Any], state: dict[str, Any]) -> None:
    """The other fields of the item are used."""
    plain: dict[str, Any] = {"online": True, "call_status": ""}
    [found] = report(connected(), item(**plain | fields))
    assert found == ExtensionState(**{"extension_number": "101", "status": "ONLINE", **state})


def test_bad_items_do_not_spoil_good_ones() -> None:
    protocol = connected()
    bad: list[Any] = [
        None,
        5,
        "101",
        [],
        {},
        {"extension": "101"},
        {"online": True},
        item(online=None),
    ]
    assert report(protocol, *bad, item(102, online=True), *bad) == [
        ExtensionState("102", Status.ONLINE)
    ]
    assert protocol.unreadable == 0
    for items in (bad, [None], ["101", 5]):
        assert receive(protocol, event_type="extension_status", status=items) == [
            Unreadable("extension_status without a usable state")
        ]
    assert receive(protocol, event_type="extension_status", status=[]) == []


@pytest.mark.parametrize(
    "extension",
    [
        "sip:101@test.io",
        "SIPS:101@test.io:5061;transport=tls?a=b",
        '"Ann <Lee>" <sip:101@test.io>;+sip.instance="<urn:uuid:1>"',
        "sip:%31%30%31@test.io",
        "sip:101;phone-context=+1@test.io",
        "sip:101:pass@test.io",
        "sip:101",
        "<sip:101@test.io",
        "<101>",
        "101@test.io",
        " 101 ",
        "101",
        101,
        101.0,
    ],
    ids=repr,
)
def test_extension_in_other_forms(extension: object) -> None:
    message = {"event_type": "extension_call", "extension": extension, "call_status": "RINGING"}
    assert receive(connected(), **message) == [
        StateReported("101", ExtensionState("101", Status.RINGING), is_complete=False)
    ]


@pytest.mark.parametrize(
    "extension",
    ["sip:test.io", "sip:@test.io", "", "sip:a b@x", "1" * 65, None, True, {}],
    ids=repr,
)
def test_extension_without_a_number(extension: object) -> None:
    message = {"event_type": "extension_call", "extension": extension, "call_status": "RINGING"}
    assert receive(connected(), **message) == [Unreadable("extension_call without a usable state")]


@pytest.mark.parametrize(
    "text",
    [
        '{"event_type": "extension_status", "status": [{"extension": "101", "online": true,},],}',
        '[{"event_type": "extension_status", "status": {"extension": 101, "online": "1"}}]',
        '{"event_type": "extension_status", "extension": "101", "online": true}',
        '\ufeff {"event_type": "extension_status", "status": [{"extension": "1", "online": false,'
        ' "extension": "101", "online": true}]}',
    ],
    ids=["trailing_commas", "list_of_messages", "no_list", "keys_twice"],
)
def test_json_in_other_forms(text: str) -> None:
    assert connected().receive(text) == [
        StateReported("101", ExtensionState("101", Status.ONLINE), is_complete=True)
    ]


@pytest.mark.parametrize("half", [r"\ud83d", "\ud83d"], ids=["escaped", "raw"])
def test_half_a_surrogate_pair(half: str) -> None:
    """No state has one, since no encoder accepts it. A comma in a text is no trailing comma."""
    text = '{"event_type": "extension_presence", "extension": "101", "presence_note": "a,]%s",}'
    [state] = states(connected().receive(text % half))
    assert state.presence_note in ("a,]\ufffd", "a,]?")


# Management.


@pytest.mark.parametrize("user_id", ["77", 77], ids=["text", "number"])
def test_management_events(user_id: object) -> None:
    protocol = connected()
    for name, event in (
        ("extension_created", ExtensionCreated),
        ("extension_updated", ExtensionUpdated),
        ("extension_destroyed", ExtensionDestroyed),
    ):
        message = {"event_type": name, "extension_id": user_id}
        assert receive(protocol, **message, extension_number="101") == [event("101", "77")]
        assert receive(protocol, **message, extension="sip:101@x") == [event("101", "77")]
        assert receive(protocol, event_type=name, extension_number=101) == [event("101", None)]
        assert receive(protocol, **message) == [Unreadable(f"{name} without a usable number")]


def test_removal_without_a_number_is_found_by_the_user() -> None:
    protocol = connected()
    report(protocol, item(101, online=True, extension_id="7"), item(102, online=True))
    assert receive(protocol, event_type="extension_destroyed", extension_id=7) == [
        ExtensionDestroyed("101", "7")
    ]


def test_removal_of_another_user_keeps_the_state() -> None:
    """The number was given to a new user before the old one's removal was reported."""
    protocol = connected()
    report(protocol, item(101, presence="AWAY", extension_id="8"))
    receive(protocol, event_type="extension_destroyed", extension_number="101", extension_id="7")
    assert call(protocol, "").presence == "AWAY"


# Rubbish.


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b'{"status": 0}', "a binary message"),
        ("", "no JSON"),
        ("<html>502</html>", "no JSON"),
        ('{"status": 0', "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("null", "JSON without an object"),
        ("[]", "JSON without an object"),
        ("{}", "neither an event nor a reply"),
        ('{"status": true}', "neither an event nor a reply"),
        ('{"error": "Bad Gateway"}', "neither an event nor a reply"),
        ('{"command": "ping", "status": 0}', 'a reply to an unknown command ("ping")'),
        ('{"event_type": "cdr"}', 'an event of an unknown kind ("cdr")'),
        ('{"event_type": "A\\nB"}', "an event of an unknown kind"),
    ],
    ids=lambda it: repr(it)[:30],
)
def test_rubbish_is_counted(message: str | bytes, reason: str) -> None:
    protocol = connected()
    assert protocol.receive(message) == [Unreadable(reason)]
    assert (protocol.messages, protocol.unreadable) == (2, 1)


def test_list_with_rubbish_gives_the_other_events() -> None:
    protocol = connected()
    rows = [{"event_type": "x"}, {"event_type": "extension_created", "extension_number": "1"}, {}]
    assert protocol.receive(json.dumps(rows)) == [
        ExtensionCreated("1", None),
        Unreadable("neither an event nor a reply"),
    ]
    assert protocol.unreadable == 1
