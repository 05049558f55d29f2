"""Groups: changing some settings, and adding and removing many members."""

import asyncio
import copy
import json
import pickle
from collections.abc import Iterable
from typing import Any

import pytest

from portsip_async import (
    BadRequest,
    ClientClosed,
    NotFound,
    PermissionDenied,
    PortSIPError,
    ReplyError,
    RetryPolicy,
    ServerError,
    TransportError,
)
from portsip_async.simulator import PBXSimulator
from portsip_async.v22 import MembersError, OutboundCallerID, PortSIPClient

from ..concurrency import in_background, until
from ..wire_server import Arrival, Step, WireServer, hang_up, reply

ONCE = RetryPolicy(attempts=1)
READ = {
    "id": "7",
    "name": "Sales",
    "description": "old",
    "outbound_caller_ids": [{"provider_id": "p", "caller_id": "5", "later": 1}],
    "later": {"a": [1]},
}
REFUSED = {"errors": [{"code": "VALIDATE_FAILED", "message": "no"}]}
DENIED = {"errors": [{"code": "DENIED", "message": "no"}]}
UNKNOWN = {"errors": [{"code": "UNKNOWN", "message": "no"}]}


def client(wire: WireServer, **options: Any) -> PortSIPClient:
    return PortSIPClient(wire.url, token="t", **{"retry": ONCE, **options})


class TestUpdate:
    @pytest.mark.parametrize(
        ("changes", "written"),
        [
            ({"name": "New"}, {"name": "New"}),
            ({"description": ""}, {"description": ""}),
            ({"description": None, "name": "New"}, {"name": "New"}),
            ({"outbound_caller_ids": []}, {"outbound_caller_ids": []}),
            (
                {"outbound_caller_ids": iter([OutboundCallerID(caller_id="6")])},
                {"outbound_caller_ids": [{"caller_id": "6"}]},
            ),
            (
                {"outbound_caller_ids": ({"caller_id": "6", "description": None},)},
                {"outbound_caller_ids": [{"caller_id": "6"}]},
            ),
        ],
    )
    async def test_whole_group_is_written(
        self, changes: dict[str, Any], written: dict[str, Any], wire: WireServer
    ) -> None:
        """What was not changed is written as it was read, fields that are not known included."""
        wire.script = [reply(READ), reply()]
        async with client(wire) as pbx:
            await pbx.groups.update("7", **changes)
        read, write = wire.arrivals
        assert (read.method, read.path) == ("GET", "/api/groups/7")
        assert (write.method, write.path) == ("POST", "/api/groups/7")
        settings = {name: value for name, value in READ.items() if name != "id"}
        assert json.loads(write.body) == {**settings, **written}

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"nmae": "x"}, 'did you mean "name"'),
            ({"id": "x"}, 'no field "id"'),
            ({"members": ["101"]}, 'no field "members"'),
            ({"nmae": None}, 'did you mean "name"'),
            ({"name": 7}, "name must be a str"),
            ({"description": {"a": 1}}, "description must be a str"),
            ({"outbound_caller_ids": "5550100"}, "outbound_caller_ids must be a list"),
            ({"outbound_caller_ids": {"caller_id": "5"}}, "outbound_caller_ids must be a list"),
            ({"outbound_caller_ids": 7}, "outbound_caller_ids must be a list"),
            ({"outbound_caller_ids": ["5550100"]}, "each of outbound_caller_ids must be"),
        ],
    )
    async def test_unusable_change(
        self, changes: dict[str, Any], message: str, wire: WireServer
    ) -> None:
        """A mistake in the changes is found before anything is sent."""
        async with client(wire) as pbx:
            with pytest.raises(TypeError, match=message):
                await pbx.groups.update("7", **changes)
        assert wire.connections == 0

    async def test_empty_name(self, wire: WireServer) -> None:
        async with client(wire) as pbx:
            with pytest.raises(ValueError, match="name must not be empty"):
                await pbx.groups.update("7", name="")
            with pytest.raises(ValueError, match="name must not be empty"):
                await pbx.groups.create("")
        assert wire.connections == 0

    @pytest.mark.parametrize(
        "read",
        [{}, {"id": "8", "name": "Other"}, {"id": None, "name": "Sales"}],
    )
    async def test_reply_that_shows_no_such_group(
        self, read: dict[str, Any], wire: WireServer
    ) -> None:
        """What can't be read as this group is not written to it."""
        wire.script = [reply(read), reply()]
        async with client(wire) as pbx:
            with pytest.raises(ReplyError):
                await pbx.groups.update("7", description="new")
        assert len(wire.arrivals) == 1

    async def test_concurrent_updates(self, wire: WireServer) -> None:
        """Updates of one group wait for each other, so none of them is lost."""
        group = dict(READ)

        async def store(arrival: Arrival, _: Any, writer: asyncio.StreamWriter) -> None:
            body = b"" if arrival.method == "POST" else json.dumps(group).encode()
            if arrival.method == "POST":
                group.update(json.loads(arrival.body))
            await asyncio.sleep(0.01)
            writer.write(reply(body))

        wire.script = [store]
        async with client(wire) as pbx:
            await asyncio.gather(
                pbx.groups.update("7", name="New"),
                pbx.groups.update("7", description="new"),
                pbx.groups.update("7", outbound_caller_ids=[]),
            )
        assert group == {**READ, "name": "New", "description": "new", "outbound_caller_ids": []}


class MemberServer:
    """Adds and removes members, and replies to single numbers as it is told.

    Attributes:
        members: the numbers that are members.
        script: the reply for a number; None: as usual.
        requests: what was asked for, in order.
        at_once: the most requests that it handled at the same time.
    """

    def __init__(self, wire: WireServer, members: Iterable[str] = ()) -> None:
        wire.script = [self.serve]
        self.members = {*members}
        self.script: dict[str, Step] = {}
        self.requests: list[str] = []
        self.waiting: asyncio.Event | None = None
        self.at_once = self._now = 0

    async def serve(
        self, arrival: Arrival, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        parts = arrival.path.removeprefix("/api/groups/7/members").strip("/").split("/")
        self.requests.append("/".join(parts))
        self._now += 1
        self.at_once = max(self.at_once, self._now)
        if self.waiting is not None:
            await self.waiting.wait()
        await asyncio.sleep(0.001)
        self._now -= 1
        headers = {"Connection": "keep-alive"}
        number = parts[0]
        step = self.script.get(number)
        if step is not None:
            if isinstance(step, bytes):
                writer.write(step)
            else:
                await step(arrival, reader, writer)
            return False
        if not number:
            items = [{"extension_number": each} for each in sorted(self.members)]
            writer.write(reply({"items": items}, headers=headers))
        elif parts[1:] == ["destroy"]:
            status = 204 if number in self.members else 404
            self.members.discard(number)
            writer.write(reply(b"" if status == 204 else UNKNOWN, status, headers))
        else:
            status = 409 if number in self.members else 200
            self.members.add(number)
            writer.write(reply(b"" if status == 200 else UNKNOWN, status, headers))
        return True


NUMBERS = [str(number) for number in range(100, 130)]


class TestMembers:
    async def test_many_members(self, wire: WireServer) -> None:
        """Each number gets one request, as many at once as the client allows."""
        server = MemberServer(wire)
        async with client(wire, max_connections=8) as pbx:
            await pbx.groups.add_members("7", [*NUMBERS, *NUMBERS])
            assert server.members == {*NUMBERS}
            assert sorted(server.requests) == NUMBERS
            assert server.at_once == 8
            await pbx.groups.remove_members("7", iter(NUMBERS[1:]))
            assert server.members == {NUMBERS[0]}
            assert len(server.requests) == 2 * len(NUMBERS) - 1

    async def test_no_members(self, wire: WireServer) -> None:
        async with client(wire) as pbx:
            await pbx.groups.add_members("7", [])
            await pbx.groups.remove_members("7", [])
        assert wire.connections == 0

    @pytest.mark.parametrize("name", ["add_members", "remove_members"])
    @pytest.mark.parametrize(
        ("numbers", "error"),
        [("101", TypeError), (101, TypeError), ([101], TypeError), (["101", ".."], ValueError)],
    )
    async def test_unusable_numbers(
        self, name: str, numbers: Any, error: type[Exception], wire: WireServer
    ) -> None:
        """One unusable number is enough for nothing to be sent."""
        async with client(wire) as pbx:
            with pytest.raises(error):
                await getattr(pbx.groups, name)("7", numbers)
        assert wire.connections == 0

    async def test_some_fail(self, wire: WireServer) -> None:
        """The error tells which numbers failed, and why, and which did not."""
        server = MemberServer(wire)
        server.script = {
            "101": reply(REFUSED, 400),
            "103": reply(UNKNOWN, 404),
            "104": hang_up,
            "105": reply(b"", 500),
        }
        async with client(wire) as pbx:
            with pytest.raises(MembersError) as caught:
                await pbx.groups.add_members("7", ["100", "101", "102", "103", "104", "105"])
        error = caught.value
        assert error.done == ["100", "102"]
        assert {number: type(each) for number, each in error.failed.items()} == {
            "101": BadRequest,
            "103": NotFound,
            "104": TransportError,
            "105": ServerError,
        }
        assert [*error.failed] == ["101", "103", "104", "105"]
        assert error.may_have_acted
        assert error.operation == "groups.add_member"
        assert error.attempts == 4
        assert str(error) == (
            "groups.add_member: 4 of 6 numbers failed: "
            "101 (HTTP 400, err_code VALIDATE_FAILED: no), 103 (HTTP 404, err_code UNKNOWN: no), "
            f"104 ({error.failed['104'].args[0]}), 105 (HTTP 500)"
        )
        assert server.members == {"100", "102"}

    async def test_error_that_is_copied(self, wire: WireServer) -> None:
        """Like all errors, it survives copying and pickling."""
        server = MemberServer(wire)
        server.script = {"101": reply(REFUSED, 400)}
        async with client(wire) as pbx:
            with pytest.raises(MembersError) as caught:
                await pbx.groups.add_members("7", ["100", "101"])
        assert not caught.value.may_have_acted
        for error in (copy.copy(caught.value), pickle.loads(pickle.dumps(caught.value))):
            assert str(error) == str(caught.value)
            assert error.done == ["100"]
            assert isinstance(error.failed["101"], BadRequest)

    async def test_text_of_many_failures(self, wire: WireServer) -> None:
        server = MemberServer(wire)
        server.script = {number: reply(REFUSED, 400) for number in NUMBERS[:29]}
        async with client(wire) as pbx:
            with pytest.raises(MembersError, match=r"29 of 30 .* and 24 more") as caught:
                await pbx.groups.add_members("7", NUMBERS)
        assert len(caught.value.failed) == 29

    @pytest.mark.parametrize("numbers", [["101"], ["101", "102", "103"]])
    @pytest.mark.parametrize(
        ("step", "error"),
        [
            (reply(UNKNOWN, 404), NotFound),
            (reply(REFUSED, 400), BadRequest),
            (reply(DENIED, 403), PermissionDenied),
            (hang_up, TransportError),
        ],
    )
    @pytest.mark.parametrize("name", ["add_members", "remove_members"])
    async def test_all_fail_alike(
        self, name: str, step: Any, error: type[PortSIPError], numbers: list[str], wire: WireServer
    ) -> None:
        """If the group does not exist, say, the error is the same as that of other operations."""
        wire.script = [step]
        async with client(wire) as pbx:
            with pytest.raises(error) as caught:
                await getattr(pbx.groups, name)("7", numbers)
        assert type(caught.value) is error

    async def test_all_fail_differently(self, wire: WireServer) -> None:
        server = MemberServer(wire)
        server.script = {"101": reply(REFUSED, 400), "102": reply(b"", 400)}
        async with client(wire) as pbx:
            with pytest.raises(MembersError) as caught:
                await pbx.groups.add_members("7", ["101", "102"])
        assert caught.value.done == []

    async def test_members_already(self, wire: WireServer) -> None:
        """Numbers that are already members stay members."""
        server = MemberServer(wire, ["101", "102"])
        async with client(wire) as pbx:
            await pbx.groups.add_members("7", ["100", "101", "102"])
            assert server.members == {"100", "101", "102"}
            assert server.requests.count("") == 1
            await pbx.groups.add_members("7", ["101"])

    async def test_not_members(self, wire: WireServer) -> None:
        """Numbers that are not members are ignored."""
        server = MemberServer(wire, ["101", "102"])
        async with client(wire) as pbx:
            await pbx.groups.remove_members("7", ["100", "101", "103"])
            assert server.members == {"102"}
            assert server.requests.count("") == 1
            await pbx.groups.remove_members("7", ["101"])

    async def test_conflict_of_another_kind(self, wire: WireServer) -> None:
        """A conflict counts as success only for numbers that are members then."""
        server = MemberServer(wire, ["101"])
        server.script = {"102": reply(UNKNOWN, 409)}
        async with client(wire) as pbx:
            with pytest.raises(MembersError) as caught:
                await pbx.groups.add_members("7", ["101", "102"])
        assert caught.value.done == ["101"]
        assert [*caught.value.failed] == ["102"]

    @pytest.mark.parametrize("step", [reply(UNKNOWN, 404), reply(b"", 500), hang_up])
    async def test_members_that_can_not_be_read(self, step: Any, wire: WireServer) -> None:
        """Then the errors stand: a number that was not found may not have been removed."""
        server = MemberServer(wire, ["101"])
        server.script = {"": step}
        async with client(wire) as pbx:
            with pytest.raises(MembersError) as caught:
                await pbx.groups.remove_members("7", ["101", "102"])
        assert caught.value.done == ["101"]
        assert isinstance(caught.value.failed["102"], NotFound)

    async def test_lost_replies(self, wire: WireServer) -> None:
        """Adding and removing may be repeated."""
        wire.script = [hang_up, reply()]
        async with client(wire, retry=RetryPolicy(initial=0, maximum=0)) as pbx:
            await pbx.groups.add_members("7", ["101"])
            wire.arrivals.clear()
            wire.script = [hang_up, reply(UNKNOWN, 404)]
            await pbx.groups.remove_members("7", ["101"])
        assert len(wire.arrivals) == 2

    async def test_cancellation(self, wire: WireServer) -> None:
        """It ends all requests, and the client goes on."""
        server = MemberServer(wire)
        server.waiting = asyncio.Event()
        async with client(wire, max_connections=4) as pbx:
            before = asyncio.all_tasks()
            async with in_background(pbx.groups.add_members("7", NUMBERS)) as [adding]:
                await until(lambda: len(server.requests) == 4)
                adding.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await adding
            serving = {task for task in asyncio.all_tasks() if "_serve" in repr(task)}
            assert asyncio.all_tasks() - serving <= before
            server.waiting.set()
            await pbx.groups.add_members("7", ["200"])
        assert len(server.requests) == 5
        assert "200" in server.members

    async def test_client_that_closes(self, wire: WireServer) -> None:
        server = MemberServer(wire)
        server.waiting = asyncio.Event()
        pbx = client(wire, max_connections=4)
        async with in_background(pbx.groups.add_members("7", NUMBERS)) as [adding]:
            await until(lambda: len(server.requests) == 4)
            await pbx.close()
            with pytest.raises(ClientClosed):
                await adding


async def test_life_of_a_group(pbx22: PortSIPClient, sim: PBXSimulator) -> None:
    """It is created, changed, filled, emptied and removed."""
    groups = pbx22.groups
    caller_ids = [OutboundCallerID(provider_id="p", caller_id="5550100")]
    group_id = await groups.create("Night", description="d", outbound_caller_ids=caller_ids)
    assert group_id in [group.id async for group in groups.list(page_size=2)]
    assert await groups.members(group_id) == []
    await groups.update(group_id, description="changed")
    group = await groups.show(group_id)
    assert (group.name, group.description) == ("Night", "changed")
    assert group.outbound_caller_ids == (OutboundCallerID(provider_id="p", caller_id="5550100"),)

    await groups.add_members(group_id, ["101", "102", "103"])
    await groups.add_members(group_id, ["103", "104"])
    found = await groups.members(group_id)
    assert [member.extension_number for member in found] == ["101", "102", "103", "104"]
    assert found[0].id == sim.v22.user_id("101")
    with pytest.raises(MembersError) as caught:
        await groups.add_members(group_id, ["105", "99999"])
    assert (caught.value.done, [*caught.value.failed]) == (["105"], ["99999"])
    await groups.remove_members(group_id, ["101", "104", "106"])
    found = await groups.members(group_id)
    assert [member.extension_number for member in found] == ["102", "103", "105"]

    await groups.remove(group_id)
    for call in (
        groups.show(group_id),
        groups.members(group_id),
        groups.update(group_id, name="x"),
        groups.add_members(group_id, ["101"]),
        groups.remove_members(group_id, ["101", "102"]),
        groups.remove(group_id),
    ):
        with pytest.raises(NotFound):
            await call
