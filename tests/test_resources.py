"""The operations, against the simulator: what they change, keep, and refuse before sending."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from types import MappingProxyType
from typing import Any

import pytest

from portsip_async import (
    AvailableRule,
    Conflict,
    ForwardAction,
    ForwardRules,
    GreetingPage,
    NewExtension,
    NotFound,
    OfficeHours,
    Options,
    PortSIPClient,
    Profile,
    ReplyError,
    VoiceMail,
)
from portsip_async.simulator import PBXSimulator

from .conftest import ClientMaker
from .wire_server import WireServer, reply

NEW = NewExtension(
    extension_number="7001",
    password="Passw0rd-1",
    web_access_password="Passw0rd-2",
    profile=Profile(first_name="Ann", last_name="Lee", email="ann@pbx.example"),
    voice_mail=VoiceMail(voicemail_pin="445566", enable_voicemail=True),
    options=Options(enable_extension=True),
    forward_rules=ForwardRules(
        available=AvailableRule(
            no_answer_timeval=30, no_answer_action=ForwardAction.CONNECT_TO_VOICE
        )
    ),
    office_hours=OfficeHours(monday_from="08:00"),
)


class TestExtensions:
    async def test_operations_of_an_extension(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        """An extension is created, shown, found, called and removed."""
        await pbx.extensions.create(NEW)
        shown = await pbx.extensions.show("7001")
        assert shown.password == "Passw0rd-1"
        assert shown.profile is not None
        assert shown.profile.first_name == "Ann"
        assert [found.extension_number async for found in pbx.extensions.search("7001")] == ["7001"]
        statuses = await pbx.extensions.status(["7001", "101"])
        assert {status.extension_number for status in statuses} == {"7001", "101"}
        await pbx.extensions.call("7001", "101", auth="Passw0rd-1", domain="d", src="s")
        assert [call.to for call in sim.calls] == ["101"]
        await pbx.extensions.remove("7001")
        with pytest.raises(NotFound):
            await pbx.extensions.show("7001")
        assert sim.acted["extensions.create"] == sim.acted["extensions.remove"] == 1

    async def test_create_twice_is_a_conflict(self, pbx: PortSIPClient) -> None:
        """The second request creates nothing, and the error says so."""
        await pbx.extensions.create(NEW)
        with pytest.raises(Conflict) as caught:
            await pbx.extensions.create(NEW)
        assert not caught.value.may_have_acted

    async def test_list_yields_each_extension_once(self, pbx: PortSIPClient) -> None:
        """All pages together have each extension once."""
        numbers = [each.extension_number async for each in pbx.extensions.list(page_size=70)]
        assert len(numbers) == len(set(numbers)) == 300

    async def test_list_sends_its_arguments(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """The page, its size and the order go into the query."""
        wire.script = [reply({"extensions": []})]
        page = await make_client(wire.url).extensions.list(page=3, page_size=7, sort_by="OPTIONAL")
        assert page.pagination == 3  # from the request, because the reply lacks it
        assert wire.arrivals[0].query.split("&")[1:] == [
            "pagination=3",
            "pagesize=7",
            "sort_by=OPTIONAL",
        ]

    async def test_status_of_no_numbers_sends_nothing(
        self, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """It returns an empty list without a request."""
        assert await pbx.extensions.status([]) == []
        assert sim.served.total() == 0

    async def test_update_replaces_all_sections(
        self, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """A section is a struct or a mapping; its fields that are None are not sent."""
        await pbx.extensions.update(
            "101",
            profile=Profile(first_name="Bo", last_name=None),
            options={"enable_extension": False},
            forward_rules=ForwardRules(),
            office_hours={},
            voice_mail=VoiceMail(voicemail_pin="998877"),
        )
        kept = sim.extension("101")
        assert kept["profile"]["first_name"] == "Bo"
        assert kept["options"]["enable_extension"] is False
        assert kept["voice_mail"]["voicemail_pin"] == "998877"

    async def test_patch_changes_only_the_named_fields(
        self, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """All other fields, at any depth, keep their values."""
        await pbx.extensions.create(NEW)
        merged = await pbx.extensions.patch(
            "7001",
            profile={"last_name": "Moss"},
            forward_rules={"available": {"no_answer_timeval": 5}},
            voice_mail=VoiceMail(enable_voicemail=False),
        )
        assert merged.profile is not None
        assert (merged.profile.first_name, merged.profile.last_name) == ("Ann", "Moss")
        kept = sim.extension("7001")
        assert kept["profile"]["email"] == "ann@pbx.example"
        assert kept["forward_rules"]["available"]["no_answer_timeval"] == 5
        assert kept["forward_rules"]["available"]["no_answer_action"] == "CONNECT_TO_VOICE"
        assert kept["voice_mail"]["voicemail_pin"] == "445566"
        assert kept["voice_mail"]["enable_voicemail"] is False
        assert kept["password"] == "Passw0rd-1"

    async def test_patch_keeps_unknown_fields(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """The sections are written as they were read; other fields of the reply are not."""
        wire.script = [
            reply(
                {
                    "extension_number": "101",
                    "password": "p",
                    "profile": {"first_name": "Ann", "pronouns": ["she"], "age": "7"},
                    "voice_mail": None,
                    "belong_groups": [],
                    "later": {"x": 1},
                }
            ),
            reply(),
        ]
        merged = await make_client(wire.url).extensions.patch("101", profile={"first_name": None})
        assert merged.extension_number == "101"
        assert wire.arrivals[1].body == (
            b'{"access_token":"196ACE20C6F34027895F7F95402BB164","extension_number":"101",'
            b'"profile":{"first_name":null,"pronouns":["she"],"age":"7"},"voice_mail":null}'
        )

    async def test_patch_adds_a_missing_section(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A section that is missing or null in the reply is written with the change."""
        wire.script = [reply({"profile": None}), reply()]
        merged = await make_client(wire.url).extensions.patch(
            "101", profile={"first_name": "Ann"}, options={"enable_extension": None}
        )
        assert merged.profile == Profile(first_name="Ann")
        assert b'"options":{"enable_extension":null}' in wire.arrivals[1].body

    async def test_patches_of_one_number_wait_for_each_other(
        self, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """Patches of many fields at once, also through a view, are all kept."""
        sim.fail("extensions.show", latency=0.005, times=30)
        fields = list(Profile.__struct_fields__)
        changes: list[dict[str, Any]] = [{field: f"v{at}"} for at, field in enumerate(fields)]
        view = pbx.with_options(timeout=5)
        await asyncio.gather(
            *(
                (pbx if index % 2 else view).extensions.patch("101", profile=change)
                for index, change in enumerate(changes)
            )
        )
        kept = sim.extension("101")["profile"]
        assert [kept[field] for field in fields] == [f"v{index}" for index in range(len(fields))]

    async def test_update_leaves_out_none_in_mappings_too(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A field of a mapping that is None is not sent."""
        wire.script = [reply()]
        empty = MappingProxyType({"first_name": None, "last_name": "L"})
        await make_client(wire.url).extensions.update(
            "101", profile=empty, options={}, forward_rules={}, office_hours={}, voice_mail={}
        )
        assert b'"profile":{"last_name":"L"}' in wire.arrivals[0].body

    async def test_patch_of_an_unknown_number(self, pbx: PortSIPClient) -> None:
        """It is NotFound."""
        with pytest.raises(NotFound):
            await pbx.extensions.patch("9999", profile={"first_name": "x"})

    async def test_patch_of_a_reply_that_is_not_an_object(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """It is a ReplyError of the request that reads, and nothing is written."""
        wire.script = [reply("[1]")]
        with pytest.raises(ReplyError) as caught:
            await make_client(wire.url).extensions.patch("101", profile={})
        assert caught.value.operation == "extensions.show"
        assert len(wire.arrivals) == 1


SETTINGS: dict[str, Any] = {
    "enable_intercom": True,
    "enable_external_call": False,
    "enable_management_console_access": False,
}


class TestGroups:
    async def test_operations_of_a_group(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        """A group is created, shown, updated, listed and removed."""
        created = await pbx.groups.create("Sales", **SETTINGS, members=("101", "102"))
        group = await pbx.groups.show(created.group_id)
        assert (group.group_name, group.members) == ("Sales", ("101", "102"))
        assert group.enable_intercom is True
        await pbx.groups.update(created.group_id, group_name="Sales 2", **SETTINGS, members=["103"])
        assert sim.group(created.group_id)["members"] == ["103"]
        listed = [each async for each in pbx.groups.list()]
        assert created.group_id in {each.group_id for each in listed}
        await pbx.groups.remove(created.group_id)
        with pytest.raises(NotFound):
            await pbx.groups.show(created.group_id)

    async def test_members_are_added_and_removed(
        self, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """Adding a member or removing a non-member changes nothing."""
        group_id = (await pbx.groups.create("S", **SETTINGS, members=["101"])).group_id
        added = await pbx.groups.add_members(group_id, ["102", "101", "103"])
        assert added.members == ("101", "102", "103")
        removed = await pbx.groups.remove_members(group_id, {"102", "199"})
        assert removed.members == ("101", "103")
        assert sim.group(group_id)["members"] == ["101", "103"]

    async def test_members_added_at_once_are_all_kept(
        self, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """Concurrent changes of one group wait for each other."""
        group_id = (await pbx.groups.create("S", **SETTINGS)).group_id
        numbers = [str(number) for number in range(100, 120)]
        await asyncio.gather(*(pbx.groups.add_members(group_id, [each]) for each in numbers))
        assert sorted(sim.group(group_id)["members"]) == numbers

    async def test_patch_of_a_group(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        """Only the named fields change; the members stay."""
        group_id = (await pbx.groups.create("S", **SETTINGS, members=["101"])).group_id
        merged = await pbx.groups.patch(
            group_id, group_description="calls out", enable_external_call=True
        )
        assert (merged.group_id, merged.members) == (group_id, ("101",))
        kept = sim.group(group_id)
        assert kept["group_description"] == "calls out"
        assert kept["enable_external_call"] is True

    async def test_patch_of_a_group_keeps_unknown_fields(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A field that the SDK doesn't know is written as it was read."""
        wire.script = [reply({"group_name": "S", "members": [101], "colour": "red"}), reply()]
        merged = await make_client(wire.url).groups.patch("12", group_description=None)
        assert (merged.group_id, merged.members) == ("12", ("101",))
        assert wire.arrivals[1].body.endswith(
            b'"group_name":"S","members":[101],"colour":"red",'
            b'"group_description":null,"group_id":"12"}'
        )

    async def test_patch_of_an_unreadable_group_writes_nothing(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """An error after the update would look like a patch that was not carried out."""
        wire.script = [reply({"group_id": "12", "members": "101"}), reply()]
        with pytest.raises(ReplyError, match="members"):
            await make_client(wire.url).groups.patch("12", group_name="S")
        assert [arrival.method for arrival in wire.arrivals] == ["GET"]

    async def test_show_adds_a_missing_id(self, make_client: ClientMaker) -> None:
        """A group without an id in the reply has the requested id."""
        async with PBXSimulator(quirks=["group_show_without_id"]) as quirky:
            pbx = make_client(quirky.url, username=quirky.username, password=quirky.password)
            group_id = quirky.group_ids[0]
            assert (await pbx.groups.show(group_id)).group_id == group_id

    async def test_empty_object_is_not_written_back(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """An empty object is not a group, so the real group keeps its members."""
        wire.script = [reply({})]
        pbx = make_client(wire.url)
        for operation in (pbx.groups.show("12"), pbx.groups.add_members("12", ["101"])):
            with pytest.raises(ReplyError, match="id or name"):
                await operation
        assert {arrival.method for arrival in wire.arrivals} == {"GET"}

    async def test_missing_members_are_not_an_empty_list(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A reply without members is a ReplyError, so that no member is removed."""
        wire.script = [reply({"group_id": "g", "group_name": "n"})]
        with pytest.raises(ReplyError, match="members"):
            await make_client(wire.url).groups.add_members("g", ["101"])
        assert len(wire.arrivals) == 1

    async def test_code_and_message_are_not_written_back(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """Fields about the reply itself are not fields of the group."""
        wire.script = [
            reply({"group_name": "n", "members": None, "err_code": 0, "msg": "ok"}),
            reply(),
        ]
        await make_client(wire.url).groups.add_members("g", ["101"])
        assert b"msg" not in wire.arrivals[1].body
        assert b'"members":["101"]' in wire.arrivals[1].body


class TestGreetings:
    async def test_operations_of_a_greeting(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        """A greeting is uploaded or added, enabled, listed and removed."""
        await pbx.greetings.upload("101", b"RIFF" * 100, filename="a.wav")
        await pbx.greetings.add("101", filename="b.wav", url="https://files.example/b.wav")
        await pbx.greetings.setup("101", "a.wav")
        page = await pbx.greetings.list("101")
        assert isinstance(page, GreetingPage)
        assert page.default_file == "a.wav"
        enabled = {file.filename: file.enabled async for file in pbx.greetings.list("101")}
        assert enabled == {"a.wav": True, "b.wav": False}
        assert sim.greetings("101")["a.wav"].size == 400
        await pbx.greetings.remove("101", "a.wav")
        with pytest.raises(NotFound):
            await pbx.greetings.remove("101", "a.wav")

    @pytest.mark.parametrize("quirks", [["greetings_as_greetings"], []])
    async def test_list_under_either_name(
        self, make_client: ClientMaker, quirks: list[str]
    ) -> None:
        """The reply may name its list `files` or `greetings`."""
        async with PBXSimulator(quirks=quirks) as quirky:
            pbx = make_client(quirky.url, username=quirky.username, password=quirky.password)
            await pbx.greetings.upload("101", b"RIFF", filename="a.wav")
            assert [file.filename async for file in pbx.greetings.list("101")] == ["a.wav"]


async def bytes_once() -> AsyncIterator[bytes]:
    yield b"x"


# The client is typed as Any, because a type checker would refuse these calls.
Operation = Callable[[Any], Any]

WRONG: list[tuple[type[Exception], Operation]] = [
    (ValueError, lambda pbx: pbx.extensions.show("")),
    (TypeError, lambda pbx: pbx.extensions.show(101)),
    (TypeError, lambda pbx: pbx.extensions.show(None)),
    (ValueError, lambda pbx: pbx.extensions.remove("")),
    (ValueError, lambda pbx: pbx.extensions.patch("", profile={})),
    (TypeError, lambda pbx: pbx.extensions.patch("101", profile="Ann")),
    (TypeError, lambda pbx: pbx.extensions.create({"extension_number": "1"})),
    (
        ValueError,
        lambda pbx: pbx.extensions.create(
            NewExtension(extension_number="", password="a", web_access_password="b")
        ),
    ),
    (TypeError, lambda pbx: pbx.extensions.status("101")),
    (TypeError, lambda pbx: pbx.extensions.status(b"101")),
    (TypeError, lambda pbx: pbx.extensions.status(101)),
    (TypeError, lambda pbx: pbx.extensions.status([101])),
    (ValueError, lambda pbx: pbx.extensions.status(["101", ""])),
    (ValueError, lambda pbx: pbx.extensions.call("101", "", auth="a", domain="d", src="s")),
    (ValueError, lambda pbx: pbx.extensions.show("\udc80")),
    (ValueError, lambda pbx: pbx.extensions.remove("\udc80")),
    (ValueError, lambda pbx: pbx.groups.show("")),
    (TypeError, lambda pbx: pbx.groups.add_members("12", "101")),
    (TypeError, lambda pbx: pbx.groups.patch("12", members="101")),
    (ValueError, lambda pbx: pbx.greetings.setup("101", "")),
    (ValueError, lambda pbx: pbx.greetings.upload("101", b"x")),
    (ValueError, lambda pbx: pbx.greetings.upload("101", bytes_once())),
    (TypeError, lambda pbx: pbx.greetings.upload("101", 5, filename="a.wav")),
    (ValueError, lambda pbx: pbx.account.verify("", "x")),
]


@pytest.mark.parametrize(("error", "operation"), WRONG)
async def test_wrong_arguments_are_refused_before_anything_is_sent(
    pbx: PortSIPClient, sim: PBXSimulator, error: type[Exception], operation: Operation
) -> None:
    """A wrong type is a TypeError, a wrong value a ValueError, without a request."""
    call: Coroutine[Any, Any, Any] = operation(pbx)
    with pytest.raises(error):
        await call
    assert sim.served.total() == 0


WRONG_LISTS: list[tuple[type[Exception], Operation]] = [
    (ValueError, lambda pbx: pbx.extensions.list(page=0)),
    (ValueError, lambda pbx: pbx.extensions.list(page_size=0)),
    (ValueError, lambda pbx: pbx.extensions.list(prefetch=-1)),
    (ValueError, lambda pbx: pbx.extensions.list(max_pages=0)),
    (TypeError, lambda pbx: pbx.extensions.list(page="1")),
    (TypeError, lambda pbx: pbx.extensions.list(page_size=True)),
    (ValueError, lambda pbx: pbx.extensions.search("")),
    (ValueError, lambda pbx: pbx.greetings.list("")),
    (ValueError, lambda pbx: pbx.groups.list(page_size=-5)),
]


@pytest.mark.parametrize(("error", "operation"), WRONG_LISTS)
async def test_wrong_arguments_of_a_walk_are_refused_at_the_call(
    pbx: PortSIPClient, error: type[Exception], operation: Operation
) -> None:
    """They are refused before the walk is awaited or iterated."""
    with pytest.raises(error):
        operation(pbx)
