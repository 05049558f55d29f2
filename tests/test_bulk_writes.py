"""Many writes in one go: a result for each item, and the truth about each outcome."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from portsip_async import (
    AuthenticationError,
    BulkResult,
    ClientClosed,
    Conflict,
    Extension,
    ExtensionUpdate,
    ForwardRules,
    NewExtension,
    NotFound,
    OfficeHours,
    Options,
    PermissionDenied,
    PortSIPClient,
    Profile,
    RetryPolicy,
    ServerError,
    TransportError,
    VoiceMail,
)
from portsip_async.bulk.writes import BulkRun
from portsip_async.simulator import Faults, PBXSimulator

from .concurrency import collect_into, in_background, until, yield_to_loop
from .conftest import QUICK, ClientMaker
from .statuses import Source
from .test_poll import our_tasks

CREATE, UPDATE, REMOVE = "extensions.create", "extensions.update", "extensions.remove"
SHOW = "extensions.show"
ONCE = RetryPolicy(attempts=1)


def new(number: str, password: str = "Passw0rd-1") -> NewExtension:
    return NewExtension(
        extension_number=number, password=password, web_access_password="Passw0rd-2"
    )


def news(count: int, first: int = 9000) -> list[NewExtension]:
    return [new(str(first + at)) for at in range(count)]


def update(number: str, name: str) -> ExtensionUpdate:
    return ExtensionUpdate(
        extension_number=number,
        profile=Profile(first_name=name),
        options=Options(enable_extension=True),
        forward_rules=ForwardRules(),
        office_hours=OfficeHours(),
        voice_mail=VoiceMail(),
    )


async def all_of(run: BulkRun[Any]) -> list[BulkResult[Any]]:
    """Read all results, in the order of the items."""
    return sorted([result async for result in run], key=lambda result: result.index)


def first_name(sim: PBXSimulator, number: str) -> object:
    return sim.extension(number)["profile"]["first_name"]


class TestEachItem:
    async def test_create(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        run = pbx.extensions.create_many(news(50))
        results = await all_of(run)
        assert results == [BulkResult(at, str(9000 + at)) for at in range(50)]
        assert set(sim.extension_numbers) >= {str(9000 + at) for at in range(50)}
        assert sim.acted[CREATE] == sim.served[CREATE] == 50
        assert run.in_doubt == []

    async def test_update(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        numbers = sim.extension_numbers[:20]
        results = await all_of(
            pbx.extensions.update_many(update(number, f"Ann {number}") for number in numbers)
        )
        assert results == [BulkResult(at, number) for at, number in enumerate(numbers)]
        assert [first_name(sim, number) for number in numbers] == [
            f"Ann {number}" for number in numbers
        ]

    async def test_patch(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        """The result's value is the merged extension. Other fields keep their values."""
        numbers = sim.extension_numbers[:20]
        before = {number: sim.extension(number)["profile"]["last_name"] for number in numbers}
        results = await all_of(
            pbx.extensions.patch_many(
                (number, {"profile": {"first_name": "Ann"}}) for number in numbers
            )
        )
        assert [result.key for result in results] == numbers
        for result in results:
            assert result.error is None
            assert isinstance(result.value, Extension)
            assert result.value.extension_number == result.key
            assert result.value.profile is not None
            assert result.value.profile.last_name == before[result.key]
            assert first_name(sim, result.key) == "Ann"

    async def test_patches_of_one_extension(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        """They run one after the other, so none is lost."""
        fields = ["first_name", "last_name", "email", "twitter", "facebook"]

        def sections(name: str) -> dict[str, Any]:
            return {"profile": {name: "x"}}

        run = pbx.extensions.patch_many(("101", sections(name)) for name in fields)
        assert [result.error for result in await all_of(run)] == [None] * 5
        assert [sim.extension("101")["profile"][name] for name in fields] == ["x"] * 5

    async def test_remove(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        numbers = sim.extension_numbers[:50]
        results = await all_of(pbx.extensions.remove_many(numbers))
        assert results == [BulkResult(at, number) for at, number in enumerate(numbers)]
        assert set(sim.extension_numbers).isdisjoint(numbers)

    async def test_error_affects_only_its_item(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        run = pbx.extensions.remove_many(["101", "9999", "102"])
        results = await all_of(run)
        assert [type(result.error) for result in results] == [type(None), NotFound, type(None)]
        assert not any(result.settled or result.skipped for result in results)
        assert run.in_doubt == []

    async def test_no_items(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        assert await all_of(pbx.extensions.create_many([])) == []
        assert sim.served == {}

    @pytest.mark.parametrize("if_exists", ["error", "skip"])
    async def test_existing_numbers(
        self, pbx: PortSIPClient, sim: PBXSimulator, if_exists: Any
    ) -> None:
        before = sim.extension("101")
        run = pbx.extensions.create_many([new("101"), new("9000")], if_exists=if_exists)
        results = await all_of(run)
        if if_exists == "skip":
            assert results == [BulkResult(0, "101", skipped=True), BulkResult(1, "9000")]
        else:
            assert isinstance(results[0].error, Conflict)
            assert not results[0].skipped
            assert results[1] == BulkResult(1, "9000")
        assert sim.extension("101") == before

    @pytest.mark.parametrize("if_missing", ["error", "skip"])
    async def test_missing_numbers(
        self, pbx: PortSIPClient, sim: PBXSimulator, if_missing: Any
    ) -> None:
        run = pbx.extensions.remove_many(["9000", "101"], if_missing=if_missing)
        results = await all_of(run)
        if if_missing == "skip":
            assert results == [BulkResult(0, "9000", skipped=True), BulkResult(1, "101")]
        else:
            assert isinstance(results[0].error, NotFound)
            assert not results[0].skipped
            assert results[1] == BulkResult(1, "101")
        assert "101" not in sim.extension_numbers

    async def test_no_secret_in_a_result(self, pbx: PortSIPClient) -> None:
        run = pbx.extensions.create_many([new("9000"), new("101")])
        assert "Passw0rd" not in repr(await all_of(run))


BAD: list[tuple[str, Any, str, type[Exception]]] = [
    ("create_many", "9000", "9000", TypeError),
    ("create_many", None, "NoneType", TypeError),
    ("create_many", new(""), "NewExtension", ValueError),
    ("create_many", new("9000", password=""), "9000", ValueError),
    ("create_many", new("9000", password=5), "9000", TypeError),  # type: ignore[arg-type]  # on purpose
    ("update_many", new("101"), "101", TypeError),
    ("update_many", update("", "x"), "ExtensionUpdate", ValueError),
    ("update_many", update(None, "x"), "ExtensionUpdate", TypeError),  # type: ignore[arg-type]  # on purpose
    (
        "update_many",
        ExtensionUpdate(
            extension_number="101",
            profile=None,  # type: ignore[arg-type]  # on purpose
            options=Options(),
            forward_rules=ForwardRules(),
            office_hours=OfficeHours(),
            voice_mail=VoiceMail(),
        ),
        "101",
        TypeError,
    ),
    ("patch_many", "101", "101", ValueError),
    ("patch_many", ("101",), "101", ValueError),
    ("patch_many", None, "NoneType", TypeError),
    ("patch_many", ("", {}), "tuple", ValueError),
    ("patch_many", (101, {}), "101", TypeError),
    ("patch_many", ("101", []), "101", TypeError),
    ("patch_many", ("101", ""), "101", TypeError),
    ("patch_many", ("101", {"pages": {}}), "101", TypeError),
    ("patch_many", ("101", {"profil": {"first_name": "A"}}), "101", TypeError),
    ("patch_many", ("101", {"profile": {"firstname": "A"}}), "101", TypeError),
    ("patch_many", ("101", {"profile": {}}, "more"), "101", ValueError),
    ("patch_many", ["101"], "101", ValueError),
    ("patch_many", (), "tuple", ValueError),
    ("patch_many", {"extension_number": "101"}, "101", ValueError),
    ("create_many", {"extension_number": "9000"}, "9000", TypeError),
    ("patch_many", ("101", {"profile": "Ann"}), "101", TypeError),
    ("remove_many", "", "", ValueError),
    ("remove_many", 101, "101", TypeError),
    ("remove_many", "\ud800", "\ud800", ValueError),
]


class TestBadItems:
    @pytest.mark.parametrize(("method", "item", "key", "kind"), BAD)
    async def test_bad_item_has_a_result(
        self,
        pbx: PortSIPClient,
        sim: PBXSimulator,
        method: str,
        item: Any,
        key: str,
        kind: type[Exception],
    ) -> None:
        """The bad item is not sent. The items next to it are carried out."""
        good: list[Any] = {
            "create_many": [new("9001"), new("9002")],
            "update_many": [update("102", "Ann"), update("103", "Ann")],
            "patch_many": [("102", {"profile": {}}), ("103", {"profile": {}})],
            "remove_many": ["102", "103"],
        }[method]  # type: ignore[assignment]  # of three types
        results = await all_of(getattr(pbx.extensions, method)([good[0], item, good[1]]))
        assert [type(result.error) for result in results] == [type(None), kind, type(None)]
        assert (results[1].index, results[1].key) == (1, key)
        assert sim.served[CREATE] + sim.served[UPDATE] + sim.served[REMOVE] == 2

    @pytest.mark.parametrize("method", ["create_many", "update_many", "patch_many", "remove_many"])
    @pytest.mark.parametrize(
        ("items", "options", "kind"),
        [
            ("101", {}, TypeError),
            (b"101", {}, TypeError),
            (101, {}, TypeError),
            (new("101"), {}, TypeError),
            ([], {"concurrency": 0}, ValueError),
            ([], {"concurrency": True}, TypeError),
            ([], {"grace": -1}, ValueError),
            ([], {"grace": "5"}, TypeError),
            ([], {"grace": float("inf")}, ValueError),
        ],
    )
    async def test_bad_arguments(
        self,
        pbx: PortSIPClient,
        method: str,
        items: Any,
        options: dict[str, Any],
        kind: type[Exception],
    ) -> None:
        with pytest.raises(kind):
            getattr(pbx.extensions, method)(items, **options)

    async def test_bad_if_exists(self, pbx: PortSIPClient) -> None:
        with pytest.raises(ValueError, match="if_exists"):
            pbx.extensions.create_many([], if_exists="ignore")  # type: ignore[arg-type]  # on purpose

    async def test_bad_if_missing(self, pbx: PortSIPClient) -> None:
        with pytest.raises(ValueError, match="if_missing"):
            pbx.extensions.remove_many([], if_missing="ignore")  # type: ignore[arg-type]  # on purpose


class TestLostReplies:
    """If a reply is lost, the SDK reads the item back, and never guesses."""

    @pytest.mark.parametrize("lost", [{"drop": True}, {"truncate": True}])
    async def test_create_that_was_carried_out(
        self, pbx: PortSIPClient, sim: PBXSimulator, lost: dict[str, Any]
    ) -> None:
        sim.fail(CREATE, act=True, times=3, **lost)
        run = pbx.extensions.create_many(news(10))
        results = await all_of(run)
        assert [result.error for result in results] == [None] * 10
        assert sum(result.settled for result in results) == 3
        assert run.in_doubt == []
        assert sim.served[CREATE] == sim.acted[CREATE] == 10
        assert sim.served[SHOW] == 3

    @pytest.mark.parametrize("lost", [{"drop": True}, {"status": 500}, {"status": 503}])
    async def test_create_that_was_not_carried_out(
        self, pbx: PortSIPClient, sim: PBXSimulator, lost: dict[str, Any]
    ) -> None:
        """The result has the error, and its outcome is certain."""
        sim.fail(CREATE, times=3, **lost)
        run = pbx.extensions.create_many(news(10))
        results = await all_of(run)
        failed = [result for result in results if result.error is not None]
        assert len(failed) == 3
        assert all(result.settled for result in failed)
        assert {result.key for result in failed}.isdisjoint(sim.extension_numbers)
        assert run.in_doubt == []

    async def test_create_of_a_number_of_another_client(
        self, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """That the number exists doesn't prove that this create made it."""
        sim.fail(CREATE, drop=True)
        run = pbx.extensions.create_many([new("101")])
        (result,) = await all_of(run)
        assert isinstance(result.error, TransportError)
        assert result.settled
        assert sim.extension("101")["password"] != "Passw0rd-1"

    @pytest.mark.parametrize("act", [False, True])
    async def test_create_that_cannot_be_read_back(
        self, pbx: PortSIPClient, sim: PBXSimulator, act: bool
    ) -> None:
        """The item is in doubt, and the result says so."""
        sim.fail(CREATE, drop=True, act=act)
        sim.fail(SHOW, status=503, times=None)
        run = pbx.extensions.create_many([new("9000")])
        (result,) = await all_of(run)
        assert isinstance(result.error, TransportError)
        assert result.error.may_have_acted
        assert not result.settled
        assert run.in_doubt == ["9000"]

    async def test_certain_refusal_is_not_read_back(
        self, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        sim.fail(CREATE, status=403)
        (result,) = await all_of(pbx.extensions.create_many([new("9000")]))
        assert isinstance(result.error, PermissionDenied)
        assert not result.settled
        assert sim.served[SHOW] == 0

    @pytest.mark.parametrize("act", [False, True])
    async def test_lost_remove_is_read_back(
        self, sim: PBXSimulator, make_client: ClientMaker, act: bool
    ) -> None:
        """If the reply to the last retry is lost, too, reading back shows the outcome."""
        pbx = make_client(retry=RetryPolicy(attempts=3, initial=0, maximum=0))
        sim.fail(REMOVE, drop=True, act=act, times=3)
        run = pbx.extensions.remove_many(["101"])
        (result,) = await all_of(run)
        assert result.settled
        assert (result.error is None) is act
        assert ("101" in sim.extension_numbers) is not act
        assert run.in_doubt == []

    async def test_remove_that_a_retry_finds_gone(
        self, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        sim.fail(REMOVE, drop=True, act=True)
        (result,) = await all_of(pbx.extensions.remove_many(["101"]))
        assert result == BulkResult(0, "101")

    async def test_remove_that_cannot_be_read_back(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        pbx = make_client(retry=ONCE)
        sim.fail(REMOVE, drop=True, act=True)
        sim.fail(SHOW, status=500, times=None)
        run = pbx.extensions.remove_many(["101", "102"])
        first, second = await all_of(run)
        assert isinstance(first.error, TransportError)
        assert not first.settled
        assert second == BulkResult(1, "102")
        assert run.in_doubt == ["101"]

    @pytest.mark.parametrize("method", ["update_many", "patch_many"])
    async def test_update_is_repeated(
        self, pbx: PortSIPClient, sim: PBXSimulator, method: str
    ) -> None:
        sim.fail(UPDATE, drop=True, act=True, times=2)
        item: Any = update("101", "Ann")
        if method == "patch_many":
            item = ("101", {"profile": {"first_name": "Ann"}})
        run = getattr(pbx.extensions, method)([item])
        (result,) = await all_of(run)
        assert (result.error, result.settled) == (None, False)
        assert sim.served[UPDATE] == 3
        assert first_name(sim, "101") == "Ann"
        assert run.in_doubt == []

    async def test_lost_update_without_a_retry_is_in_doubt(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        pbx = make_client(retry=ONCE)
        sim.fail(UPDATE, drop=True)
        run = pbx.extensions.update_many([update("101", "Ann"), update("102", "Ann")])
        first, second = await all_of(run)
        assert isinstance(first.error, TransportError)
        assert not first.settled
        assert second.error is None
        assert run.in_doubt == ["101"]

    async def test_results_are_true_under_all_faults(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """Under faults of all kinds, the results agree with the state of the PBX."""
        pbx = make_client(retry=QUICK)
        sim.faults = Faults(server_error=0.1, html=0.05, dropped=0.2, truncated=0.1)
        creating = pbx.extensions.create_many(news(200))
        created = await all_of(creating)
        removing = pbx.extensions.remove_many([result.key for result in created[:100]])
        removed = await all_of(removing)
        sim.faults = Faults()
        held = set(sim.extension_numbers)
        assert [result.index for result in created] == list(range(200))
        assert any(result.settled for result in created)
        for result in created[100:]:
            if result.key not in creating.in_doubt:
                assert (result.key in held) is (result.error is None)
        for result in removed:
            if result.key not in removing.in_doubt:
                gone = result.error is None or isinstance(result.error, NotFound)
                assert (result.key not in held) is gone


class TestSources:
    async def test_source_is_read_lazily(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        """Only a few items are read before they can be sent, and few writes are in flight."""
        read = answered = 0

        def numbers() -> Iterator[str]:
            nonlocal read
            for read, number in enumerate(sim.extension_numbers[:200], 1):  # noqa: B007 - counts
                yield number

        sim.faults = Faults(latency=0.001)
        async for _ in pbx.extensions.remove_many(numbers(), concurrency=5):
            answered += 1
            assert read - answered <= 2 * 5
        assert answered == 200
        assert sim.peak_in_flight <= 5

    async def test_consumer_that_pauses(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        run = aiter(pbx.extensions.remove_many(sim.extension_numbers, concurrency=4))
        await anext(run)
        await until(lambda: sim.in_flight == 0)
        await asyncio.sleep(0.03)
        served = sim.served[REMOVE]
        assert served <= 8
        await asyncio.sleep(0.03)
        assert sim.served[REMOVE] == served
        await run.aclose()

    async def test_fatal_error(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        """Writes that were carried out meanwhile yield their results before it is raised."""
        sim.fail(CREATE, latency=0.05, times=3)
        sim.fail(CREATE, status=401, err_code="403.4", times=9)
        found: list[BulkResult[None]] = []
        run = pbx.extensions.create_many(news(40), concurrency=8)
        with pytest.raises(AuthenticationError):
            await collect_into(found, run)
        assert len(found) == sim.acted[CREATE]
        assert run.late_results == []

    @pytest.mark.parametrize("asynchronous", [False, True])
    async def test_error_of_the_source(
        self, pbx: PortSIPClient, sim: PBXSimulator, asynchronous: bool
    ) -> None:
        """It is raised after the results of all items before it."""

        def broken() -> Iterator[NewExtension]:
            yield from news(13)
            raise KeyError("the source broke")

        async def later() -> AsyncIterator[NewExtension]:
            for item in broken():
                yield item

        found: list[BulkResult[None]] = []

        async def loop() -> None:
            source = later() if asynchronous else broken()
            async for result in pbx.extensions.create_many(source, concurrency=4):
                found.append(result)  # noqa: PERF401 - what came before the error is to be seen

        with pytest.raises(KeyError, match="the source broke"):
            await loop()
        assert sorted(result.index for result in found) == list(range(13))
        assert sim.acted[CREATE] == 13

    async def test_trickling_source(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        """Each item is written as it arrives."""
        source = Source(["101"])
        numbers = ["101", "102", "103"]
        async with asyncio.timeout(5):
            async for result in pbx.extensions.remove_many(source):
                assert result.key == numbers[result.index]
                if result.index == 2:
                    source.end()
                else:
                    source.give(numbers[result.index + 1])
        assert sim.acted[REMOVE] == 3


class TestFatal:
    async def test_wrong_credentials_end_the_run(
        self, sim: PBXSimulator, make_client: ClientMaker, caplog: pytest.LogCaptureFixture
    ) -> None:
        """There is only one login."""
        pbx = make_client(username=sim.username, password="wrong")
        with pytest.raises(AuthenticationError):
            await all_of(pbx.extensions.create_many(news(50)))
        await yield_to_loop()
        assert sim.served == {"account.verify": 1}
        assert [record for record in caplog.records if record.name == "asyncio"] == []

    async def test_client_closed_in_mid_run(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        """Writes that were in flight are in doubt."""
        await pbx.extensions.show("101")
        sim.fail(CREATE, latency=30.0, times=None)
        run = pbx.extensions.create_many(news(50), concurrency=3)
        async with in_background(all_of(run)) as (running,):
            await until(lambda: sim.served[CREATE] == 3)
            await pbx.close()
            with pytest.raises(ClientClosed):
                await running
        assert sorted(run.in_doubt) == ["9000", "9001", "9002"]
        assert sim.served[CREATE] == 3

    async def test_client_closed_while_an_item_waits_for_its_turn(
        self, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """A patch that waits for another patch of its number ends, too."""
        sim.fail(SHOW, latency=30.0, times=None)
        holding = pbx.extensions.patch("101", profile={"first_name": "Ann"})
        run = pbx.extensions.patch_many([("101", {"profile": {"last_name": "Lee"}})])
        async with in_background(holding) as (patching,):
            await until(lambda: sim.in_flight)
            async with in_background(all_of(run)) as (running,):
                await yield_to_loop()
                await pbx.close()
                with pytest.raises(ClientClosed):
                    await running
                with pytest.raises(ClientClosed):
                    await patching
        assert run.in_doubt == []


class TestLeaving:
    async def test_writes_in_flight_may_finish(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        """They are carried out, and the run waits for them. Nothing new is sent."""
        sim.fail(CREATE, latency=0.001)
        sim.fail(CREATE, latency=0.1, times=None)
        served = 0
        async with pbx.extensions.create_many(news(50), concurrency=4) as run:
            async for _ in run:
                served = sim.served[CREATE]
                break
        assert our_tasks() == []
        # Requests that the client had sent before it left the loop.
        assert served <= sim.served[CREATE] <= 4
        assert sim.acted[CREATE] == sim.served[CREATE]
        assert run.in_doubt == []
        assert len(run.late_results) == sim.acted[CREATE] - 1
        assert {result.error for result in run.late_results} == {None}
        await asyncio.sleep(0.03)
        assert sim.acted[CREATE] <= 4

    async def test_queued_items_are_not_sent(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """Items that wait for a connection slot are not in flight."""
        pbx = make_client(max_connections=1)
        await pbx.extensions.show("101")
        sim.fail(CREATE, latency=0.05, times=None)
        run = pbx.extensions.create_many(news(50), concurrency=8)
        async with in_background(all_of(run)):
            await until(lambda: sim.in_flight)
            await run.aclose()
        assert sim.served[CREATE] == sim.acted[CREATE] == 1
        assert run.in_doubt == []

    async def test_items_are_not_started_after_leaving(
        self, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """When the loop is left at a result, the worker of that result takes no further item."""
        async for _ in pbx.extensions.remove_many(sim.extension_numbers, concurrency=1):
            break
        await until(lambda: not our_tasks())
        await asyncio.sleep(0.02)
        assert sim.served[REMOVE] == 1

    async def test_patches_are_not_started_after_leaving(
        self, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """A patch that has not started doesn't even read."""
        patches: list[tuple[str, dict[str, Any]]]
        patches = [(number, {"profile": {}}) for number in sim.extension_numbers]
        async for _ in pbx.extensions.patch_many(patches, concurrency=1):
            break
        await until(lambda: not our_tasks())
        await asyncio.sleep(0.02)
        assert (sim.served[SHOW], sim.served[UPDATE]) == (1, 1)

    @pytest.mark.parametrize("grace", [0, 0.02])
    async def test_grace_that_is_too_short(
        self, pbx: PortSIPClient, sim: PBXSimulator, grace: float
    ) -> None:
        """Writes that are in flight after it are cancelled, and in doubt."""
        await pbx.extensions.show("101")
        sim.fail(CREATE, latency=30.0, times=None)
        run = pbx.extensions.create_many(news(50), concurrency=3, grace=grace)
        async with in_background(all_of(run)) as (running,):
            await until(lambda: sim.served[CREATE] == 3)
            async with asyncio.timeout(3):
                await run.aclose()
                assert await running == []
        assert sorted(run.in_doubt) == ["9000", "9001", "9002"]
        assert our_tasks() == []

    @pytest.mark.parametrize("how", ["break", "exception", "cancel"])
    async def test_nothing_is_sent_after_leaving(
        self, pbx: PortSIPClient, sim: PBXSimulator, how: str
    ) -> None:
        sim.faults = Faults(latency=0.002)

        async def loop() -> None:
            async for _ in pbx.extensions.remove_many(sim.extension_numbers, concurrency=4):
                if how == "break":
                    break
                if how == "exception":
                    raise KeyError("the consumer's own")

        async with in_background(loop()) as (looping,):
            if how == "cancel":
                await until(lambda: sim.served[REMOVE])
                looping.cancel()
            await asyncio.wait([looping])
            kinds = {"exception": KeyError, "cancel": asyncio.CancelledError}
            if how in kinds:
                with pytest.raises(kinds[how]):
                    await looping
        await until(lambda: not our_tasks())
        served = sim.served[REMOVE]
        assert served < 100
        await asyncio.sleep(0.03)
        assert sim.served[REMOVE] == sim.acted[REMOVE] == served

    async def test_cancelled_while_reading_back(
        self, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """The create that was being read back stays in doubt."""
        await pbx.extensions.show("101")
        sim.fail(CREATE, drop=True, act=True)
        sim.fail(SHOW, latency=30.0, times=None)
        run = pbx.extensions.create_many([new("9000")], grace=0)
        async with in_background(all_of(run)):
            await until(lambda: sim.served[SHOW] == 2)
            await run.aclose()
        assert run.in_doubt == ["9000"]

    async def test_in_doubt_is_about_the_latest_loop(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        pbx = make_client(retry=ONCE)
        sim.fail(UPDATE, status=500)
        run = pbx.extensions.update_many([update("101", "Ann")])
        (result,) = await all_of(run)
        assert isinstance(result.error, ServerError)
        assert run.in_doubt == ["101"]
        await all_of(run)
        assert run.in_doubt == []
