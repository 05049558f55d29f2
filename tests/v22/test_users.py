"""Users of generation v22: lists, single operations, patches and bulk writes."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from portsip_async import (
    BadRequest,
    BulkResult,
    Conflict,
    NotFound,
    PortSIPError,
    ReplyError,
    RetryPolicy,
    ServerError,
    TransportError,
)
from portsip_async.simulator import Faults, PBXSimulator
from portsip_async.v22 import (
    BLF,
    DayHours,
    ForwardAction,
    ForwardRule,
    NewUser,
    OfficeHours,
    PortSIPClient,
    Presence,
    Role,
    TimeRange,
    UserSettings,
)

from ..conftest import QUICK
from ..wire_server import Arrival, WireServer, hang_up, reply
from .conftest import V22Maker

ONCE = RetryPolicy(attempts=1)
USER: dict[str, Any] = {
    "id": "u1",
    "name": "ann",
    "role": "StandardUser",
    "extension_number": "951",
    "display_name": "Ann",
    "email": "ann@test.io",
    "department": None,
    "enabled": True,
    "office_hours": {"mode": "CUSTOM", "monday": {"enabled": True, "ranges": None}, "new": 1},
    "away_office_hours_forward_rule": {"action": "HANGUP", "number": None},
    "outbound_caller_ids": [{"caller_id": "1", "description": None}],
    "profile": "p",
    "created_at": "2026-01-01T00:00:00Z",
    "sync_type": None,
    "avatar_file_name": "a.png",
    "password": "told-Secret-1",
    "extension_password": "told-Secret-2",
    "from_the_future": {"kept": [1, None]},
}


def new(number: str, name: str | None = None, **more: Any) -> NewUser:
    return NewUser(
        name=name or f"user.{number}",
        display_name=f"User {number}",
        email=f"u{number}@test.io",
        role=Role.STANDARD_USER,
        extension_number=number,
        password="Passw0rd-123",
        extension_password="Passw0rd-456",
        voicemail_pin="938271",
        **more,
    )


async def all_of(run: Any) -> list[BulkResult[Any]]:
    """Read all results, in the order of the items."""
    return sorted([result async for result in run], key=lambda result: result.index)


class TestArguments:
    @pytest.mark.parametrize("name", ["search", "filter", "orderby"])
    async def test_filter_must_be_a_text(self, pbx22: PortSIPClient, name: str) -> None:
        """The list itself refuses a value of another type, before anything is sent."""
        for resource in (pbx22.users, pbx22.extensions, pbx22.groups):
            with pytest.raises(TypeError, match=f"{name} must be a str or None, got int"):
                resource.list(**{name: 5})  # type: ignore[arg-type]

    @pytest.mark.parametrize("body", [{"id": ""}, {"id": None}, {}])
    async def test_creation_without_an_id(
        self, wire: WireServer, make_v22: V22Maker, body: dict[str, Any]
    ) -> None:
        """Something was created, but the reply does not tell what."""
        pbx = make_v22(wire.url, token="token-1")
        for create in (pbx.groups.create("Sales"), pbx.calls.create("101", "102")):
            wire.script = [reply(body, 201)]
            with pytest.raises(ReplyError) as caught:
                await create
            assert caught.value.may_have_acted

    async def test_note_must_be_a_text(self, pbx22: PortSIPClient, sim: PBXSimulator) -> None:
        with pytest.raises(TypeError, match="note must be a str or None, got int"):
            await pbx22.users.set_own_presence("AWAY", 5)  # type: ignore[arg-type]
        assert not sim.v22.served


class TestWalks:
    @pytest.mark.parametrize("prefetch", [0, 1, 3])
    @pytest.mark.parametrize("page_size", [1, 7, 30, 31, 100])
    async def test_capped_server(self, make_v22: V22Maker, prefetch: int, page_size: int) -> None:
        """A server that sends 30 users at most still yields each of its users once."""
        async with PBXSimulator(extensions=95, page_limit=30) as sim:
            pbx = make_v22(sim.url, username=sim.username, password=sim.password)
            walk = pbx.users.list(page_size=page_size, prefetch=prefetch)
            numbers = [user.extension_number async for user in walk]
            assert sorted(map(str, numbers)) == sorted(sim.extension_numbers)
            assert (walk.drift.dropped, walk.drift.count_changed) == (0, False)

    async def test_requests_of_an_uncapped_walk(
        self, pbx22: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """A walk of 300 users takes three requests, since the total says when to stop."""
        assert len(await pbx22.users.list().collect()) == 300
        assert sim.v22.served["users.list"] == 3

    @pytest.mark.parametrize("page_limit", [None, 30])
    async def test_removal_shows_in_the_drift(
        self, make_v22: V22Maker, page_limit: int | None
    ) -> None:
        """A user who is removed during the walk may hide another one. The drift says so."""
        async with PBXSimulator(extensions=150, page_limit=page_limit) as sim:
            pbx = make_v22(sim.url, username=sim.username, password=sim.password)
            walk = pbx.users.list(page_size=50, prefetch=0)
            seen = []
            async for user in walk:
                seen.append(user.extension_number)
                if len(seen) == 10:
                    await pbx.users.remove(user.id)
            assert walk.drift.count_changed
            assert len(seen) == 149

    @pytest.mark.parametrize("page_limit", [None, 30])
    async def test_resume(self, make_v22: V22Maker, page_limit: int | None) -> None:
        """A walk that failed goes on at the page of its error, even on a capped server."""
        async with PBXSimulator(extensions=300, page_limit=page_limit) as sim:
            pbx = make_v22(sim.url, username=sim.username, password=sim.password)
            seen: list[str] = []

            async def walk(page: int) -> None:
                async for user in pbx.users.list(page=page, page_size=40, prefetch=0):
                    seen.append(user.id)
                    if len(seen) == 80:
                        sim.v22.fail("users.list", status=500, times=None)

            with pytest.raises(ServerError) as caught:
                await walk(1)
            sim.v22.clear()
            assert caught.value.page == 3
            await walk(caught.value.page)
            assert len(seen) == len(set(seen)) == 300

    async def test_filter_search_and_order(self, pbx22: PortSIPClient) -> None:
        """The query's expressions reach the PBX as they are."""
        walk = pbx22.users.list(
            filter="extension_number eq '105' or extension_number eq '107'",
            orderby="extension_number desc",
        )
        assert [user.extension_number async for user in walk] == ["107", "105"]
        found = await pbx22.extensions.search("110").collect()
        assert "110" in [user.extension_number for user in found]

    @pytest.mark.parametrize("size", [0, 101, -1])
    async def test_page_size_out_of_bounds(self, pbx22: PortSIPClient, size: int) -> None:
        """A page holds 1 to 100 users."""
        for resource in (pbx22.users, pbx22.extensions, pbx22.groups):
            with pytest.raises(ValueError, match="page_size must be at"):
                resource.list(page_size=size)


class TestIds:
    @pytest.mark.parametrize("user_id", ["", ".", ".."])
    async def test_step_in_the_path(
        self, pbx22: PortSIPClient, sim: PBXSimulator, user_id: str
    ) -> None:
        """An id that servers read as a step in the path is refused before anything is sent."""
        for call in (
            lambda: pbx22.users.show(user_id),
            lambda: pbx22.users.remove(user_id),
            lambda: pbx22.users.status(user_id),
            lambda: pbx22.users.set_role(user_id, "Admin"),
            lambda: pbx22.users.update(user_id, UserSettings(enabled=False)),
            lambda: pbx22.users.patch(user_id, {"enabled": False}),
            lambda: pbx22.users.find(user_id),
            lambda: pbx22.extensions.show(user_id),
        ):
            with pytest.raises(ValueError, match="must not be empty"):
                await call()
        assert not sim.v22.served

    @pytest.mark.parametrize(
        "user_id", ["a/b", "a%2Fb", "a?b", "a#b", "../users", "%2e%2e", "x/destroy", "a;b", "ä"]
    )
    async def test_odd_id_reaches_no_other_operation(
        self, pbx22: PortSIPClient, sim: PBXSimulator, user_id: str
    ) -> None:
        """Whatever an id holds, the request is the one that was meant."""
        with pytest.raises(NotFound):
            await pbx22.users.show(user_id)
        with pytest.raises(NotFound):
            await pbx22.users.remove(user_id)
        served = {name: count for name, count in sim.v22.served.items() if "auth" not in name}
        assert served == {"users.show": 1, "users.remove": 1}
        assert len(sim.extension_numbers) == 300


class TestOperations:
    async def test_life_of_a_user(self, pbx22: PortSIPClient, sim: PBXSimulator) -> None:
        """A user is created, found, read, changed and removed, and the simulator agrees."""
        user_id = await pbx22.users.create(new("9510"))
        assert (await pbx22.users.find("9510")).id == user_id
        await pbx22.users.update(user_id, UserSettings(department="Sales", enabled=False))
        await pbx22.users.set_password(user_id, "Another-123")
        await pbx22.users.set_extension_password(user_id, "Another-456")
        await pbx22.users.set_role(user_id, Role.QUEUE_MANAGER)
        user = await pbx22.users.show(user_id)
        assert (user.department, user.enabled, user.role) == ("Sales", False, Role.QUEUE_MANAGER)
        assert sim.extension("9510")["password"] == "Another-456"
        await pbx22.users.remove(user_id)
        with pytest.raises(NotFound):
            await pbx22.users.show(user_id)
        assert "9510" not in sim.extension_numbers

    async def test_number_that_is_taken(self, pbx22: PortSIPClient) -> None:
        """Creating a number twice is an error, and nothing was changed."""
        with pytest.raises((Conflict, BadRequest)) as caught:
            await pbx22.users.create(new("100"))
        assert not caught.value.may_have_acted

    async def test_own_status_and_presence(self, pbx22: PortSIPClient) -> None:
        """The user who is logged in can set a presence with a note."""
        await pbx22.users.set_own_presence(Presence.LUNCH, "back at one")
        status = await pbx22.users.own_status()
        assert (status.presence, status.presence_note) == (Presence.LUNCH, "back at one")

    @pytest.mark.parametrize("missing", ["name", "password", "email", "role", "voicemail_pin"])
    async def test_empty_required_field(
        self, pbx22: PortSIPClient, sim: PBXSimulator, missing: str
    ) -> None:
        """A required field that is empty is refused before anything is sent."""
        with pytest.raises(ValueError, match=f"{missing} must not be empty"):
            await pbx22.users.create(structs.replace(new("951"), **{missing: ""}))
        assert not sim.v22.served


class TestPatch:
    @pytest.fixture
    def client(self, wire: WireServer, make_v22: V22Maker) -> PortSIPClient:
        """A client of a server that shows `USER`, and then takes any update."""
        wire.script = [reply(USER), reply(b"")]
        return make_v22(wire.url, token="token-1")

    @staticmethod
    def written(wire: WireServer) -> dict[str, Any]:
        """Return the document of the update."""
        show, update = wire.arrivals
        assert (show.method, show.path) == ("GET", "/api/users/u1")
        assert (update.method, update.path) == ("POST", "/api/users/u1")
        document: dict[str, Any] = json.loads(update.body)
        return document

    async def test_what_is_written(self, wire: WireServer, client: PortSIPClient) -> None:
        """All fields are written that an update takes, unknown ones too, but no blank ones."""
        merged = await client.users.patch(
            "u1",
            {
                "department": "Sales",
                "away_office_hours_forward_rule": ForwardRule(number="101"),
                "office_hours": {"monday": {"enabled": False}},
            },
        )
        assert self.written(wire) == {
            "display_name": "Ann",
            "email": "ann@test.io",
            "department": "Sales",
            "enabled": True,
            "office_hours": {"mode": "CUSTOM", "monday": {"enabled": False}, "new": 1},
            "away_office_hours_forward_rule": {"action": "HANGUP", "number": "101"},
            "outbound_caller_ids": [{"caller_id": "1"}],
            "from_the_future": {"kept": [1, None]},
        }
        assert (merged.id, merged.name, merged.department) == ("u1", "ann", "Sales")
        assert merged.away_office_hours_forward_rule == ForwardRule(
            action=ForwardAction.HANGUP, number="101"
        )
        assert isinstance(merged.office_hours, OfficeHours)
        assert "told-Secret" not in repr(merged)

    async def test_none_is_written_as_null(self, wire: WireServer, client: PortSIPClient) -> None:
        """A field that the caller sets to None is sent as null."""
        merged = await client.users.patch("u1", {"email": None, "department": None})
        written = self.written(wire)
        assert (written["email"], written["department"]) == (None, None)
        assert merged.email is None

    async def test_settings_as_a_struct(self, wire: WireServer, client: PortSIPClient) -> None:
        """A UserSettings changes the fields that are not None."""
        await client.users.patch("u1", UserSettings(enabled=False))
        written = self.written(wire)
        assert (written["enabled"], written["email"]) == (False, "ann@test.io")

    @pytest.mark.parametrize("sequence", [tuple, list, set])
    async def test_merged_user_has_the_lists_that_were_written(
        self, wire: WireServer, client: PortSIPClient, sequence: Callable[[Any], Any]
    ) -> None:
        """A tuple or a set is a list of the API, and the merged user has its items."""
        hours, key = TimeRange(from_="09:00", to="17:00"), BLF(key="1")
        changes: dict[str, Any] = {
            "office_hours": {
                "monday": {"ranges": sequence([hours])},
                "friday": DayHours(ranges=()),
            },
            "blfs": sequence([key]),
        }
        merged = await client.users.patch("u1", changes)
        assert self.written(wire)["blfs"] == [{"key": "1"}]
        assert merged.blfs == (key,)
        assert merged.office_hours is not None
        assert merged.office_hours.monday == DayHours(enabled=True, ranges=(hours,))
        assert merged.office_hours.friday == DayHours(ranges=())

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"departmant": "Sales"}, 'did you mean "department"'),
            ({"role": "Admin"}, "use set_role"),
            ({"password": "x"}, "use set_password"),
            ({"extension_password": "x"}, "use set_extension_password"),
            ({"id": "u2"}, "has no field"),
            ({"extension_number": "952"}, "has no field"),
            ({"created_at": "x"}, "has no field"),
            ({"office_hours": {"tuseday": {}}}, 'did you mean "tuesday"'),
            ({"away_office_hours_forward_rule": {"numbr": "1"}}, 'did you mean "number"'),
            ({"office_hours": "never"}, "office_hours must be a mapping"),
            ({5: 1}, "must be a str"),
            (["department"], "must be a struct or a mapping"),
            ("department", "must be a struct or a mapping"),
            (None, "must be a struct or a mapping"),
        ],
    )
    async def test_refused_changes(
        self, wire: WireServer, client: PortSIPClient, changes: Any, message: str
    ) -> None:
        """A change that the API does not take is refused before anything is sent."""
        with pytest.raises(TypeError, match=message):
            await client.users.patch("u1", changes)
        assert not wire.arrivals

    @pytest.mark.parametrize("hours", ["closed", 5, ["monday"]])
    async def test_part_that_is_no_object(
        self, wire: WireServer, client: PortSIPClient, hours: Any
    ) -> None:
        """A part that the PBX sent as something else is not overwritten."""
        wire.script = [reply({**USER, "office_hours": hours}), reply(b"")]
        with pytest.raises(ReplyError):
            await client.users.patch("u1", {"office_hours": {"mode": "GLOBAL"}})
        assert len(wire.arrivals) == 1

    async def test_reply_that_shows_another_user(
        self, wire: WireServer, client: PortSIPClient
    ) -> None:
        """A reply about another user is not written back."""
        wire.script = [reply({**USER, "id": "u2"}), reply(b"")]
        with pytest.raises(ReplyError):
            await client.users.patch("u1", {"department": "Sales"})
        assert len(wire.arrivals) == 1

    @pytest.mark.parametrize("shown", [{}, {**USER, "id": None}, {**USER, "id": ""}])
    async def test_reply_that_shows_no_user(
        self, wire: WireServer, client: PortSIPClient, shown: Any
    ) -> None:
        """A reply without an id is not written back, which would empty the user."""
        wire.script = [reply(shown), reply(b"")]
        with pytest.raises(ReplyError, match=r"an id at \$\.id"):
            await client.users.patch("u1", {"department": "Sales"})
        assert len(wire.arrivals) == 1

    async def test_reply_that_is_nested_too_deeply(
        self, wire: WireServer, client: PortSIPClient
    ) -> None:
        """It is a ReplyError like any other reply that can't be read."""
        deep = "[" * 600 + "]" * 600
        wire.script = [reply(f'{{"id": "u1", "new": {deep}}}'), reply(b"")]
        with pytest.raises(ReplyError, match=r"users\.show: the reply is nested too deeply"):
            await client.users.patch("u1", {"department": "Sales"})
        assert len(wire.arrivals) == 1

    async def test_patches_of_one_user_wait_for_each_other(
        self, pbx22: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """Of 20 concurrent patches of different fields, none is lost."""
        [user] = (await pbx22.users.list(page_size=1)).items
        fields = ("department", "address", "mobile_phone", "work_phone", "home_phone")
        changes: list[dict[str, Any]] = [{field: f"{field} new"} for field in fields]
        await asyncio.gather(*(pbx22.users.patch(user.id, change) for change in changes))
        shown = await pbx22.users.show(user.id)
        assert [getattr(shown, field) for field in fields] == [f"{each} new" for each in fields]


class TestBulk:
    async def test_create(self, pbx22: PortSIPClient, sim: PBXSimulator) -> None:
        """Each result has the number as its key and the id as its value."""
        run = pbx22.users.create_many(new(str(9000 + at)) for at in range(40))
        results = await all_of(run)
        assert [result.key for result in results] == [str(9000 + at) for at in range(40)]
        assert not any(result.error or result.settled for result in results)
        for result in results[::10]:
            assert result.value is not None
            assert (await pbx22.users.show(result.value)).extension_number == result.key
        assert sim.v22.acted["users.create"] == 40

    @pytest.mark.parametrize("status", [409, 400])
    async def test_taken_numbers(
        self, pbx22: PortSIPClient, sim: PBXSimulator, status: int
    ) -> None:
        """A number that is taken is an error, or skipped; whatever status the PBX uses for it."""
        sim.v22.fail("users.create", status=status, times=None)
        for if_exists, skipped in (("error", False), ("skip", True)):
            run = pbx22.users.create_many([new("100"), new("9001")], if_exists=if_exists)  # type: ignore[arg-type]
            taken, free = await all_of(run)
            assert taken.skipped is skipped
            assert (taken.error is None) is skipped
            # Nothing has this number, so the PBX refused something else.
            assert isinstance(free.error, BadRequest | Conflict) or status == 409

    @pytest.mark.parametrize("act", [True, False])
    async def test_lost_create_is_settled(
        self, make_v22: V22Maker, sim: PBXSimulator, act: bool
    ) -> None:
        """After a lost reply the number is looked up. The result has the id if it exists."""
        pbx = make_v22(retry=ONCE)
        sim.v22.fail("users.create", drop=True, act=act, times=3)
        run = pbx.users.create_many([new("9001"), new("9002"), new("9003")])
        for result in await all_of(run):
            assert result.settled
            if act:
                assert result.error is None
                assert result.value == (await pbx.users.find(result.key)).id
            else:
                assert isinstance(result.error, TransportError)
                assert result.value is None
        assert run.in_doubt == []

    async def test_lost_create_of_a_number_that_another_took(
        self, make_v22: V22Maker, sim: PBXSimulator
    ) -> None:
        """A number with another login name was created by someone else."""
        pbx = make_v22(retry=ONCE)
        sim.v22.fail("users.create", drop=True)
        [result] = await all_of(pbx.users.create_many([new("100", name="someone")]))
        assert isinstance(result.error, TransportError)
        assert result.settled

    async def test_lost_create_that_cannot_be_looked_up(
        self, make_v22: V22Maker, sim: PBXSimulator
    ) -> None:
        """If the PBX does not answer the question either, the number stays in doubt."""
        pbx = make_v22(retry=ONCE)
        sim.v22.fail("users.create", drop=True, act=True)
        sim.v22.fail("users.find", status=503, times=None)
        run = pbx.users.create_many([new("9001")])
        [result] = await all_of(run)
        assert isinstance(result.error, TransportError)
        assert run.in_doubt == ["9001"]

    async def test_patch_and_remove(self, pbx22: PortSIPClient, sim: PBXSimulator) -> None:
        """Patches and removals have the id as their key; an unknown id fails alone."""
        ids = [user.id for user in (await pbx22.users.list(page_size=20)).items]
        patched = await all_of(
            pbx22.users.patch_many((user_id, {"department": "New"}) for user_id in [*ids, "no"])
        )
        assert [result.key for result in patched] == [*ids, "no"]
        assert isinstance(patched[-1].error, NotFound)
        assert {result.value.department for result in patched[:-1] if result.value} == {"New"}
        removed = await all_of(pbx22.users.remove_many([*ids, "no"]))
        assert [result.error is None for result in removed] == [True] * 20 + [False]
        assert len(sim.extension_numbers) == 280
        again = await all_of(pbx22.users.remove_many(ids, if_missing="skip"))
        assert [result.skipped for result in again] == [True] * 20
        with pytest.raises(ValueError, match="if_missing"):
            pbx22.users.remove_many([], if_missing="ignore")  # type: ignore[arg-type]  # on purpose

    async def test_wrong_items_fail_alone(self, pbx22: PortSIPClient) -> None:
        """An item that can't be sent has its error in its own result."""
        patches: Any = [("", {"department": "x"}), ("id", {"role": "x"}), "id", ("id", 5)]
        results = await all_of(pbx22.users.patch_many(patches))
        assert [type(result.error) for result in results] == [
            ValueError,
            TypeError,
            ValueError,
            TypeError,
        ]
        users: Any = [new(""), "x"]
        results = await all_of(pbx22.users.create_many(users))
        assert [type(result.error) for result in results] == [ValueError, TypeError]

    async def test_every_write_is_accounted_for(
        self, make_v22: V22Maker, sim: PBXSimulator
    ) -> None:
        """With every kind of fault, each result agrees with what the PBX holds."""
        sim.faults = Faults(
            rate_limited=0.05, server_error=0.1, html=0.05, dropped=0.1, truncated=0.1
        )
        pbx = make_v22(retry=QUICK)
        run = pbx.users.create_many(new(str(9000 + at)) for at in range(200))
        results = await all_of(run)
        sim.faults = Faults()
        assert len(results) == 200
        held = set(sim.extension_numbers)
        for result in results:
            if result.key not in run.in_doubt:
                assert (result.error is None) == (result.key in held), result
        ids = [result.value for result in results if result.value]
        assert all(isinstance(result.error, PortSIPError | None) for result in results)
        for user_id in ids[::20]:
            await pbx.users.show(user_id)


async def test_create_is_not_repeated(wire: WireServer, make_v22: V22Maker) -> None:
    """A create whose reply was lost is sent once."""

    async def lose(arrival: Arrival, *more: Any) -> None:
        await hang_up(arrival, *more)

    wire.script = [lose]
    pbx = make_v22(wire.url, token="token-1")
    with pytest.raises(TransportError) as caught:
        await pbx.users.create(new("951"))
    assert caught.value.may_have_acted
    assert len(wire.arrivals) == 1
