"""A page without its list is empty if it has another field of a page; else it is an error."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from portsip_async import Drift, Endpoint, Page, PageScheme, PortSIPClient, ReplyError

from .conftest import ClientMaker
from .wire_server import WireServer, reply

LISTS: dict[str, Callable[[PortSIPClient], Any]] = {
    "extensions.list": lambda pbx: pbx.extensions.list(),
    "extensions.search": lambda pbx: pbx.extensions.search("1"),
    "groups.list": lambda pbx: pbx.groups.list(),
    "greetings.list": lambda pbx: pbx.greetings.list("101"),
}
EMPTY: list[dict[str, Any]] = [
    {"count": 0},
    {"page_count": 0},
    {"pagination": 1},
    {"pagesize": 100},
    {"sort_by": "DEFAULT"},
    {"count": None},
    {"page_count": "0"},
    {"page_count": 3, "unknown": {"x": 1}, "err_code": 0, "msg": "ok"},
]
NOT_A_PAGE: list[Any] = [
    {},
    {"err_code": 0},
    {"err_code": "", "msg": "ok"},
    {"unknown": 1, "message": "ok"},
    {"total": 5},
    [],
    None,
    "text",
    7,
]
NOT_A_LIST: list[Any] = ["", "text", 0, 5, True, [5], [{"unknown": 1}], {"unknown": 1}]


def array_of(name: str) -> str:
    return {"groups.list": "groups", "greetings.list": "files"}.get(name, "extensions")


@pytest.mark.parametrize("name", LISTS)
class TestLists:
    @pytest.mark.parametrize("document", EMPTY)
    async def test_page_without_its_list_is_empty(
        self, name: str, document: Any, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A reply with any other field of a page is a page without items."""
        wire.script = [reply(document)]
        walk = LISTS[name](make_client(wire.url))
        page = await walk
        assert page.items == ()
        assert await walk.collect() == []
        assert [each.items async for each in walk.pages()] == [()]

    @pytest.mark.parametrize("document", NOT_A_PAGE)
    async def test_reply_that_is_not_a_page(
        self, name: str, document: Any, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A reply without any field of a page is a ReplyError of that page."""
        wire.script = [reply(msgspec.json.encode(document))]
        with pytest.raises(ReplyError) as caught:
            await LISTS[name](make_client(wire.url))
        assert caught.value.page == 1

    @pytest.mark.parametrize("value", NOT_A_LIST)
    async def test_list_of_another_type(
        self, name: str, value: Any, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A list field with another type is a ReplyError, not an empty page."""
        wire.script = [reply({array_of(name): value, "count": 0, "page_count": 0})]
        with pytest.raises(ReplyError):
            await LISTS[name](make_client(wire.url))

    async def test_empty_page_ends_a_walk(
        self, name: str, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """`drift` shows how many pages are missing."""
        key = {"groups.list": "group_id", "greetings.list": "filename"}.get(
            name, "extension_number"
        )
        wire.script = [
            reply({array_of(name): [{key: "1"}], "page_count": 4}),
            reply({"page_count": 4}),
        ]
        walk = LISTS[name](make_client(wire.url))
        assert len(await walk.collect()) == 1
        assert walk.drift == Drift(missing_pages=2)


async def test_default_file_is_a_field_of_greeting_pages(
    wire: WireServer, make_client: ClientMaker
) -> None:
    """It makes a reply a page of greetings, but not one of groups."""
    wire.script = [reply({"default_file": "d.wav"})]
    pbx = make_client(wire.url)
    page = await pbx.greetings.list("101")
    assert (page.items, page.default_file) == ((), "d.wav")
    with pytest.raises(ReplyError):
        await pbx.groups.list()


async def test_list_of_greetings_by_its_other_name(
    wire: WireServer, make_client: ClientMaker
) -> None:
    """The list may be named `greetings`; another type is a ReplyError there too."""
    wire.script = [reply({"greetings": "text", "count": 1})]
    with pytest.raises(ReplyError):
        await make_client(wire.url).greetings.list("101")


class Trunk(msgspec.Struct):
    name: str


class TrunkPage(Page[Trunk], frozen=True, kw_only=True):
    items: tuple[Trunk, ...] = msgspec.field(name="trunks")


async def test_page_of_an_application(wire: WireServer, make_client: ClientMaker) -> None:
    """Pages of an application's own endpoint follow the same rules."""
    endpoint = Endpoint(
        "trunks.list", "GET", "/trunks", reply=TrunkPage, pages=PageScheme(key="name")
    )
    wire.script = [reply({"count": 0}), reply({"msg": "ok"})]
    pbx = make_client(wire.url)
    assert (await pbx.request(endpoint)).items == ()
    with pytest.raises(ReplyError):
        await pbx.request(endpoint)


async def test_status_reply_is_not_a_page(wire: WireServer, make_client: ClientMaker) -> None:
    """A status reply without its list is a ReplyError."""
    wire.script = [reply({"count": 0})]
    with pytest.raises(ReplyError):
        await make_client(wire.url).extensions.status(["101"])
