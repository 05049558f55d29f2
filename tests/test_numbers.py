"""Extension numbers with leading zeros, on a PBX that sends them as JSON numbers.

Such a PBX has "0101" and "101", and shows both as 101. A change must be written to the number that
was asked for. If a reply shows another extension or group, nothing is written.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from portsip_async import (
    NewExtension,
    PortSIPClient,
    ReplyError,
    RetryPolicy,
    StatusMissing,
    TransportError,
)

from .conftest import ClientMaker
from .wire_server import Arrival, Step, WireServer, hang_up, reply

ONCE = RetryPolicy(attempts=1)

SAME: list[tuple[str, object]] = [
    ("0101", 101),
    ("000101", 101),
    ("101", 101),
    ("101", 101.0),
    ("0101", 101.0),
    ("0", 0),
    ("000", 0),
    ("101", "101"),
    ("0101", "0101"),
    ("101", " 101 "),
    ("12345678901234567890123", 12345678901234567890123),
    ("100a", "100a"),
    ("-101", -101),
]
OTHER: list[tuple[str, object]] = [
    ("0101", "101"),
    ("101", "0101"),
    ("101", "205"),
    ("101", 205),
    ("0101", 1010),
    ("101", "101.0"),
    ("101", 101.5),
    ("1", True),
    ("0", False),
    ("101", -101),
    ("100a", 100),
    ("1e2", 100),
    ("\u0661\u0660\u0661", 101),  # digits, but not those of JSON
]


def extension(number: object, **sections: object) -> bytes:
    return reply({"extension_number": number, "profile": {"first_name": "A"}, **sections})


def group(group_id: object) -> bytes:
    return reply({"group_id": group_id, "group_name": "Sales", "members": ["101"]})


def sent(arrival: Arrival) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(arrival.body)
    return fields


async def patch_one_of_many(pbx: PortSIPClient, number: str) -> Any:
    """Patch one extension by `patch_many`, and return its value or raise its error."""
    results = [
        result
        async for result in pbx.extensions.patch_many([(number, {"profile": {"last_name": "B"}})])
    ]
    assert [result.key for result in results] == [number]
    if results[0].error is not None:
        raise results[0].error
    return results[0].value


PATCHES: Mapping[str, Callable[[PortSIPClient, str], Awaitable[Any]]] = {
    "patch": lambda pbx, number: pbx.extensions.patch(number, profile={"last_name": "B"}),
    "patch_many": patch_one_of_many,
}
CHANGES: Mapping[str, Callable[[PortSIPClient, str], Awaitable[Any]]] = {
    "patch": lambda pbx, group_id: pbx.groups.patch(group_id, group_name="S"),
    "add_members": lambda pbx, group_id: pbx.groups.add_members(group_id, ["102"]),
    "remove_members": lambda pbx, group_id: pbx.groups.remove_members(group_id, ["101"]),
}


class TestExtensions:
    @pytest.mark.parametrize("how", PATCHES)
    @pytest.mark.parametrize(("asked", "shown"), SAME)
    async def test_patch_is_written_to_the_requested_number(
        self, wire: WireServer, make_client: ClientMaker, how: str, asked: str, shown: object
    ) -> None:
        """The PBX may show the number as a JSON number. The update has the requested number."""
        wire.script = [extension(shown), reply()]
        patched = await PATCHES[how](make_client(wire.url), asked)
        assert sent(wire.arrivals[1])["extension_number"] == asked
        assert patched.extension_number == asked

    @pytest.mark.parametrize("how", PATCHES)
    @pytest.mark.parametrize(("asked", "shown"), OTHER)
    async def test_patch_writes_nothing_if_the_reply_shows_another(
        self, wire: WireServer, make_client: ClientMaker, how: str, asked: str, shown: object
    ) -> None:
        """If the reply shows another extension, the patch is a ReplyError without an update."""
        wire.script = [extension(shown), reply()]
        with pytest.raises(ReplyError, match="that was asked for") as caught:
            await PATCHES[how](make_client(wire.url), asked)
        assert wire.paths() == ["/api/extensions/show"]
        assert caught.value.operation == "extensions.show"
        assert not caught.value.may_have_acted

    @pytest.mark.parametrize("how", PATCHES)
    @pytest.mark.parametrize("document", [{}, {"extension_number": None}, {"extension_number": ""}])
    async def test_patch_adds_a_missing_number(
        self, wire: WireServer, make_client: ClientMaker, how: str, document: Any
    ) -> None:
        """A reply without a number counts as the requested extension."""
        wire.script = [reply(document), reply()]
        assert (await PATCHES[how](make_client(wire.url), "0101")).extension_number == "0101"
        assert sent(wire.arrivals[1])["extension_number"] == "0101"

    @pytest.mark.parametrize(("asked", "shown"), SAME)
    async def test_show_has_the_requested_number(
        self, wire: WireServer, make_client: ClientMaker, asked: str, shown: object
    ) -> None:
        """An extension has its number as it was requested, as a str."""
        wire.script = [extension(shown)]
        found = await make_client(wire.url).extensions.show(asked)
        assert (found.extension_number, type(found.extension_number)) == (asked, str)
        assert found.profile is not None
        assert found.profile.first_name == "A"

    @pytest.mark.parametrize(("asked", "shown"), OTHER)
    async def test_show_has_another_number_if_the_reply_has(
        self, wire: WireServer, make_client: ClientMaker, asked: str, shown: object
    ) -> None:
        """Reading is lenient, as a PBX may format numbers differently. The caller can see it."""
        wire.script = [extension(shown)]
        found = await make_client(wire.url).extensions.show(asked)
        assert found.extension_number != asked

    async def test_show_in_a_list_of_one(self, wire: WireServer, make_client: ClientMaker) -> None:
        """A reply may be a list with the one extension."""
        wire.script = [reply(b'[{"extension_number": 101}]')]
        assert (await make_client(wire.url).extensions.show("0101")).extension_number == "0101"


class TestGroups:
    @pytest.mark.parametrize("how", CHANGES)
    @pytest.mark.parametrize(("asked", "shown"), SAME)
    async def test_change_is_written_to_the_requested_group(
        self, wire: WireServer, make_client: ClientMaker, how: str, asked: str, shown: object
    ) -> None:
        """The PBX may show the id as a JSON number. The update has the requested id."""
        wire.script = [group(shown), reply()]
        changed = await CHANGES[how](make_client(wire.url), asked)
        assert sent(wire.arrivals[1])["group_id"] == asked
        assert changed.group_id == asked

    @pytest.mark.parametrize("how", CHANGES)
    @pytest.mark.parametrize(("asked", "shown"), OTHER)
    async def test_change_writes_nothing_if_the_reply_shows_another(
        self, wire: WireServer, make_client: ClientMaker, how: str, asked: str, shown: object
    ) -> None:
        """If the reply shows another group, the change is a ReplyError without an update."""
        wire.script = [group(shown), reply()]
        with pytest.raises(ReplyError, match="group_id"):
            await CHANGES[how](make_client(wire.url), asked)
        assert wire.paths() == ["/api/extensions/group/show"]

    async def test_show_of_a_group(self, wire: WireServer, make_client: ClientMaker) -> None:
        """A group has the requested id, or the different id of the reply."""
        wire.script = [group(7), group("8")]
        pbx = make_client(wire.url)
        assert (await pbx.groups.show("07")).group_id == "07"
        assert (await pbx.groups.show("7")).group_id == "8"


class PBX:
    """Holds "101" and "0101", and sends their numbers as JSON numbers.

    Attributes:
        presences: the status of each extension.
        batches: the numbers of each status request.
    """

    def __init__(self, wire: WireServer, **presences: str) -> None:
        self.presences = presences or {"101": "ONLINE", "0101": "ON_CALL", "7": "RINGING"}
        self.batches: list[list[str]] = []
        wire.script = [self._answer]

    async def _answer(self, arrival: Arrival, _: Any, writer: Any) -> None:
        numbers = json.loads(arrival.body)["extensions"]
        self.batches.append(numbers)
        rows = [
            {"extension_number": int(number), "status": self.presences[number]}
            for number in numbers
            if number in self.presences
        ]
        writer.write(reply({"extension_status": rows[::-1]}))
        await writer.drain()


class TestStatus:
    async def test_poll_distinguishes_the_two(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """They are sent in separate requests, because no reply could distinguish them."""
        pbx = PBX(wire)
        poll = make_client(wire.url).extensions.poll_status(["101", "7", "0101", "00101", "0101"])
        found = {result.extension_number: result async for result in poll}
        assert {
            number: result.status.status for number, result in found.items() if result.status
        } == {
            "101": "ONLINE",
            "0101": "ON_CALL",
            "7": "RINGING",
        }
        assert all(
            result.status.extension_number == number
            for number, result in found.items()
            if result.status
        )
        assert isinstance(found["00101"].error, StatusMissing)
        assert all(len({int(number) for number in batch}) == len(batch) for batch in pbx.batches)
        assert poll.stats.requests == 3

    async def test_watch_distinguishes_the_two(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A watch has a status for each of the two."""
        PBX(wire)
        watch = make_client(wire.url).extensions.watch_status(["0101", "101"])
        async with watch:
            seen = {}
            async for change in watch:
                assert change.after is not None
                seen[change.extension_number] = change.after.status
                if len(seen) == 2:
                    break
        assert seen == {"101": "ONLINE", "0101": "ON_CALL"}

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            (["0101"], {"0101": "ON_CALL"}),
            (["0101", "7"], {"0101": "ON_CALL", "7": "RINGING"}),
            (["7", "101", "0101"], {"7": "RINGING"}),
            (["00101"], {}),
        ],
    )
    async def test_status_leaves_out_ambiguous_numbers(
        self,
        wire: WireServer,
        make_client: ClientMaker,
        asked: list[str],
        expected: dict[str, str],
    ) -> None:
        """It sends one request. A status that may be of either number is left out."""
        PBX(wire)
        statuses = await make_client(wire.url).extensions.status(asked)
        assert {each.extension_number: each.status for each in statuses} == expected

    async def test_number_sent_as_text_is_compared_as_text(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """This also holds for a reply that has to be repaired for another reason."""
        rows = [{"extension_number": "101", "status": 5}, {"extension_number": 7, "status": None}]
        wire.script = [reply({"extension_status": rows})]
        poll = make_client(wire.url).extensions.poll_status(["0101", "007"], ordered=True)
        missing, found = [result async for result in poll]
        assert isinstance(missing.error, StatusMissing)
        assert found.status is not None
        assert found.status.extension_number == "007"

    async def test_status_of_another_number_is_ignored(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A number that was not requested doesn't replace one that was."""
        wire.script = [reply({"extension_status": [{"extension_number": 205}]})]
        [result] = [each async for each in make_client(wire.url).extensions.poll_status(["0101"])]
        assert isinstance(result.error, StatusMissing)


class TestReadingBack:
    """After a lost reply to a write, only the same extension shows whether it was carried out."""

    @staticmethod
    def create(pbx: PortSIPClient) -> Any:
        new = NewExtension(extension_number="0101", password="p4ss", web_access_password="w3b")
        return pbx.extensions.create_many([new])

    @staticmethod
    def remove(pbx: PortSIPClient) -> Any:
        return pbx.extensions.remove_many(["0101"])

    @pytest.mark.parametrize("how", ["create", "remove"])
    @pytest.mark.parametrize("shown", ["101", "205", 205])
    async def test_another_extension_settles_nothing(
        self, wire: WireServer, make_client: ClientMaker, how: str, shown: object
    ) -> None:
        """The write stays in doubt if the PBX shows another extension."""
        script: list[Step] = [hang_up, extension(shown)]
        wire.script = script
        run = getattr(self, how)(make_client(wire.url, retry=ONCE))
        [result] = [each async for each in run]
        assert isinstance(result.error, TransportError)
        assert not result.settled
        assert run.in_doubt == ["0101"]

    @pytest.mark.parametrize("how", ["create", "remove"])
    async def test_same_extension_as_a_json_number_settles_it(
        self, wire: WireServer, make_client: ClientMaker, how: str
    ) -> None:
        """The PBX may show the extension's number as a JSON number."""
        wire.script = [hang_up, extension(101, password="p4ss")]
        run = getattr(self, how)(make_client(wire.url, retry=ONCE))
        [result] = [each async for each in run]
        assert result.settled
        assert (result.error is None) == (how == "create")
        assert run.in_doubt == []
