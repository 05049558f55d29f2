"""A patch of an unknown field is refused; the error suggests the closest known name."""

from collections.abc import Mapping
from typing import Any

import pytest

from portsip_async import (
    AvailableRule,
    ForwardRules,
    ForwardRulesChanges,
    NotFound,
    Options,
    PortSIPClient,
    Profile,
    ReplyError,
)
from portsip_async.simulator import PBXSimulator

from .conftest import ClientMaker
from .wire_server import WireServer, reply

SHOW, UPDATE = "extensions.show", "extensions.update"

UNKNOWN: list[tuple[Mapping[str, Any], str]] = [
    ({"profile": {"firstname": "Zed"}}, 'profile has no field "firstname".*"first_name"'),
    ({"profile": {"first_name": "Zed", "FirstName": "Z"}}, '"first_name"'),
    ({"profile": {"lastName": "Z"}}, '"last_name"'),
    ({"options": {"enable_extensions": False}}, '"enable_extension"'),
    ({"voice_mail": {"pin": "1"}}, "voicemail_pin"),
    ({"office_hours": {"monday_form": "08:00"}}, '"monday_from"'),
    ({"forward_rules": {"avaliable": {}}}, '"available"'),
    (
        {"forward_rules": {"available": {"bussy_action": "CONNECT_TO_VOICE"}}},
        'forward_rules.available has no field "bussy_action".*"busy_action"',
    ),
    ({"forward_rules": {"dnd": {"busy_action": "x"}}}, "office_hours_action"),
    ({"profile": {"first_name": {"given": "Zed"}}}, 'profile.first_name has no field "given"'),
    ({"profile": {"qqqq": None}}, "first_name"),
    ({"profile": Options(enable_extension=True)}, 'profile has no field "enable_extension"'),
    ({"profile": {"": 1}}, "first_name"),
]
NOT_OBJECTS: list[Any] = [
    {"profile": "Zed"},
    {"profile": ["first_name"]},
    {"profile": {1: "Zed"}},
    {"forward_rules": {"available": "CONNECT_TO_VOICE"}},
    {"forward_rules": {"away": []}},
    {"forward_rules": {"away": {None: 1}}},
]
NO_RULES: list[dict[str, Any]] = [{}, {"forward_rules": None}, {"forward_rules": []}]
UNKNOWN_SECTIONS: list[Any] = [
    ({"profil": {}}, '"profile"'),
    ({"profile": {}, "voicemail": {}}, '"voice_mail"'),
    ({"forwardrules": None}, '"forward_rules"'),
    ({1: {}}, "profile"),
]


async def result_of(pbx: PortSIPClient, item: Any) -> Any:
    """Patch three extensions, and return the result of the wrong item in the middle."""
    first, wrong, last = [
        result
        async for result in pbx.extensions.patch_many(
            [("102", {"profile": {}}), item, ("103", {"profile": {}})], concurrency=1
        )
    ]
    assert (first.error, last.error) == (None, None)
    assert (wrong.index, wrong.key) == (1, "101")
    return wrong


@pytest.mark.parametrize(("changes", "match"), UNKNOWN)
class TestUnknownField:
    async def test_patch_is_refused(
        self, changes: Mapping[str, Any], match: str, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """It is a TypeError, and nothing is written."""
        before = sim.extension("101")
        with pytest.raises(TypeError, match=match):
            await pbx.extensions.patch("101", **changes)
        assert sim.served[UPDATE] == 0
        assert sim.extension("101") == before

    async def test_item_of_patch_many_is_refused(
        self, changes: Mapping[str, Any], match: str, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """Its result has the TypeError; the other items are written."""
        wrong = await result_of(pbx, ("101", changes))
        with pytest.raises(TypeError, match=match):
            raise wrong.error
        assert sim.served[UPDATE] == 2


@pytest.mark.parametrize("changes", NOT_OBJECTS)
class TestNotAnObject:
    async def test_patch_sends_nothing(
        self, changes: Any, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """A section that is not an object is refused before anything is sent."""
        with pytest.raises(TypeError):
            await pbx.extensions.patch("101", **changes)
        assert sim.served.total() == 0

    async def test_item_of_patch_many_sends_nothing(
        self, changes: Any, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """Nothing is read or written for the item; the others are patched."""
        wrong = await result_of(pbx, ("101", changes))
        assert type(wrong.error) is TypeError
        assert sim.served[SHOW] == sim.served[UPDATE] == 2


@pytest.mark.parametrize(("changes", "match"), UNKNOWN_SECTIONS)
async def test_unknown_section_is_refused(
    changes: Any, match: str, pbx: PortSIPClient, sim: PBXSimulator
) -> None:
    """Its item has a TypeError that suggests a name, and nothing is read for it."""
    wrong = await result_of(pbx, ("101", changes))
    with pytest.raises(TypeError, match=match):
        raise wrong.error
    assert sim.served[SHOW] == 2


async def test_error_lists_each_known_name_once(pbx: PortSIPClient) -> None:
    """A name that the model and the reply both have is listed once."""
    with pytest.raises(TypeError) as caught:
        await pbx.extensions.patch("101", profile=untyped(qqqq=1))
    assert str(caught.value).count("first_name") == 1


def untyped(**changes: Any) -> dict[str, Any]:
    """Return changes as a type checker can't check them."""
    return changes


class TestKnownFields:
    async def test_field_of_the_reply_is_known(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A field that only the reply has can be changed, at any depth."""
        read = {"profile": {"nickname": "A", "more": {"city": "Oslo"}}, "options": None}
        wire.script = [reply(read), reply()]
        pbx = make_client(wire.url)
        await pbx.extensions.patch("101", profile=untyped(nickname="B", more={"city": None}))
        assert b'"nickname":"B","more":{"city":null}' in wire.arrivals[1].body
        wire.script = [reply(read)]
        wire.arrivals.clear()
        with pytest.raises(TypeError, match='"nickname"'):
            await pbx.extensions.patch("101", profile=untyped(nicknam="B"))
        with pytest.raises(TypeError, match=r'profile\.more has no field "town"'):
            await pbx.extensions.patch("101", profile=untyped(more={"town": "B"}))
        with pytest.raises(TypeError, match="options"):
            await pbx.extensions.patch("101", options=untyped(nickname="B"))
        assert {arrival.path for arrival in wire.arrivals} == {"/api/extensions/show"}

    @pytest.mark.parametrize(
        ("read", "where"),
        [
            ({"forward_rules": [{"dnd": {}}]}, "$.forward_rules"),
            ({"forward_rules": "none"}, "$.forward_rules"),
            ({"forward_rules": {"away": [{"office_hours_action": "X"}]}}, "$.forward_rules.away"),
            ({"forward_rules": {"away": 5}}, "$.forward_rules.away"),
        ],
    )
    async def test_value_that_is_not_an_object_is_not_overwritten(
        self, read: Any, where: str, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A patch would lose such a value. Null and an empty array hold nothing to lose."""
        rules: ForwardRulesChanges = {"away": {"office_hours_action_value": "9"}}
        wire.script = [reply(read)]
        pbx = make_client(wire.url)
        with pytest.raises(ReplyError) as caught:
            await pbx.extensions.patch("101", forward_rules=rules)
        assert (caught.value.where, caught.value.operation) == (where, SHOW)
        assert len(wire.arrivals) == 1
        for nothing in NO_RULES:
            wire.arrivals.clear()
            wire.script = [reply(nothing), reply()]
            await pbx.extensions.patch("101", forward_rules=rules)
            assert b'"forward_rules":{"away":{"office_hours_action_value":"9"}}' in (
                wire.arrivals[1].body
            )

    async def test_field_of_the_model_is_known(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        """A field that the model has can be changed, given as a struct or a mapping."""
        await pbx.extensions.patch(
            "101",
            profile=Profile(first_name="Zed"),
            options=None,
            forward_rules=ForwardRules(available=AvailableRule(no_answer_timeval=9)),
            voice_mail={"voicemail_pin": None},
        )
        await pbx.extensions.patch(
            "101", forward_rules={"available": AvailableRule(busy_action="X"), "away": None}
        )
        kept = sim.extension("101")
        assert kept["profile"]["first_name"] == "Zed"
        assert kept["forward_rules"]["available"]["no_answer_timeval"] == 9
        assert kept["forward_rules"]["available"]["busy_action"] == "X"
        assert kept["forward_rules"]["away"] is None

    async def test_unknown_extension_is_not_found(self, pbx: PortSIPClient) -> None:
        """A field that may be in the reply is not refused before the PBX was asked."""
        with pytest.raises(NotFound):
            await pbx.extensions.patch("99999", profile=untyped(nickname="B"))


class TestGroups:
    @pytest.mark.parametrize(
        ("changes", "match"),
        [
            ({"groupname": "S"}, 'a group has no field "groupname".*"group_name"'),
            ({"enable_externalcall": True}, '"enable_external_call"'),
            ({"member": ["101"]}, '"members"'),
            ({"err_code": 1}, "group_name"),
            ({"group_name": {"x": 1}}, "group_name"),
        ],
    )
    async def test_unknown_field_of_a_group_is_refused(
        self, changes: Any, match: str, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """It is a TypeError before anything is sent."""
        with pytest.raises(TypeError, match=match):
            await pbx.groups.patch("1", **changes)
        assert sim.served.total() == 0
