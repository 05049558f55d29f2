"""Every coroutine of the client sends requests that Prism accepts by the vendor's document.

Prism answers with the document's examples, or with random samples. The random ones break promises
that no schema states, so errors of the client are fine there. Refused requests never are.
"""

import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, nullcontext, suppress
from typing import Any, NamedTuple

import msgspec
import pytest

from portsip_async import Endpoint, PortSIPError, detect
from portsip_async.v22 import Group, NewUser, PortSIPClient, SignIn, UserChanges, UserSettings

from ..conftest import QUICK
from .document import HOLES, Document, samples
from .plain_requests import RECORDING
from .tap import Tap

pytestmark = [pytest.mark.vendor, pytest.mark.timeout(120)]


class Names(NamedTuple):
    """The id and the number that a case uses: those of the examples, or others."""

    id: str
    number: str


EXAMPLE = Names("NzAwNTUxOTA5NzczMTQ4MTYw", "101")
ODD = Names("a/b?c=d&e#f;g %2F+\"é'\\好\U0001f600..", "0" * 64)

PIN = "135790"
SECRETS = {"password": "a b&c=d%+/", "extension_password": "é好", "voicemail_pin": PIN}
ANN = NewUser(
    name="ann",
    display_name="Ann",
    email="ann@test.io",
    role="StandardUser",
    extension_number="951",
    password=SECRETS["password"],
    extension_password=SECRETS["extension_password"],
    voicemail_pin=PIN,
)
PATCH: UserChanges = {"department": "Sales & Support", "enable_dnd": False}


async def all_of(stream: Any) -> list[Any]:
    """Read a poll or a bulk run, and raise the first error of its results."""
    results = [each async for each in stream]
    for each in results:
        if each.error is not None:
            raise each.error
    return results


async def first_of(watcher: Any) -> Any:
    async with aclosing(aiter(watcher)) as changes:
        return await anext(changes)


Case = Callable[[PortSIPClient, Names], Awaitable[Any]]

CASES: Mapping[str, Case] = {
    "users.list": lambda pbx, names: pbx.users.list(
        search="a&b", filter="contains(name,'é')", orderby="name desc", page=3, max_pages=2
    ),
    "users.find": lambda pbx, names: pbx.users.find(names.number),
    "users.create": lambda pbx, names: pbx.users.create(ANN),
    "users.show": lambda pbx, names: pbx.users.show(names.id),
    "users.show_many": lambda pbx, names: all_of(pbx.users.show_many([names.id])),
    "users.update": lambda pbx, names: pbx.users.update(names.id, UserSettings(enabled=False)),
    "users.patch": lambda pbx, names: pbx.users.patch(names.id, PATCH),
    "users.remove": lambda pbx, names: pbx.users.remove(names.id),
    "users.set_password": lambda pbx, names: pbx.users.set_password(names.id, "a b&c"),
    "users.set_extension_password": lambda pbx, names: pbx.users.set_extension_password(
        names.id, "é"
    ),
    "users.set_role": lambda pbx, names: pbx.users.set_role(names.id, "StandardUser"),
    "users.status": lambda pbx, names: pbx.users.status(names.id),
    "users.own_status": lambda pbx, names: pbx.users.own_status(),
    "users.set_own_presence": lambda pbx, names: pbx.users.set_own_presence("AWAY", "à bientôt"),
    "users.create_many": lambda pbx, names: all_of(pbx.users.create_many([ANN, ANN])),
    "users.patch_many": lambda pbx, names: all_of(pbx.users.patch_many([(names.id, PATCH)])),
    "users.remove_many": lambda pbx, names: all_of(pbx.users.remove_many([names.id])),
    "extensions.list": lambda pbx, names: pbx.extensions.list(page_size=1, max_pages=2),
    "extensions.search": lambda pbx, names: pbx.extensions.search("a&b"),
    "extensions.show": lambda pbx, names: pbx.extensions.show(names.number),
    "extensions.patch": lambda pbx, names: pbx.extensions.patch(names.number, PATCH),
    "extensions.remove": lambda pbx, names: pbx.extensions.remove(names.number),
    "extensions.call": lambda pbx, names: pbx.extensions.call(
        names.number, "+49 30 1&2", auth="a b&c", domain="test.io", src=names.number
    ),
    "extensions.status": lambda pbx, names: pbx.extensions.status([names.number]),
    "extensions.poll_status": lambda pbx, names: all_of(
        pbx.extensions.poll_status([names.number], ordered=True)
    ),
    "extensions.watch_status": lambda pbx, names: first_of(
        pbx.extensions.watch_status([names.number], source="poll")
    ),
    "groups.list": lambda pbx, names: pbx.groups.list(
        search="a&b", filter="name eq 'é'", orderby="name", page_size=1, max_pages=2
    ),
    "groups.show": lambda pbx, names: pbx.groups.show(names.id),
    "groups.create": lambda pbx, names: pbx.groups.create("é", description="a&b"),
    "groups.update": lambda pbx, names: pbx.groups.update(names.id, name="é", description="a&b"),
    "groups.remove": lambda pbx, names: pbx.groups.remove(names.id),
    "groups.members": lambda pbx, names: pbx.groups.members(names.id),
    "groups.add_members": lambda pbx, names: pbx.groups.add_members(names.id, [names.number]),
    "groups.remove_members": lambda pbx, names: pbx.groups.remove_members(names.id, ["101", "102"]),
    "greetings.list": lambda pbx, names: pbx.greetings.list(names.id),
    "greetings.upload": lambda pbx, names: pbx.greetings.upload(
        names.id, RECORDING, filename="é&b.wav"
    ),
    "greetings.create": lambda pbx, names: pbx.greetings.create(names.id, names.id),
    "greetings.enable": lambda pbx, names: pbx.greetings.enable(names.id, names.id),
    "greetings.disable": lambda pbx, names: pbx.greetings.disable(names.id, names.id),
    "greetings.remove": lambda pbx, names: pbx.greetings.remove(names.id, names.id),
    "blobs.upload": lambda pbx, names: pbx.blobs.upload(RECORDING, filename="é&b.wav"),
    "calls.create": lambda pbx, names: pbx.calls.create(
        names.number, "+49 30 1&2", send_sdp=False, trunk="a b", additional_header="CALL_INFO"
    ),
    "calls.create_directly": lambda pbx, names: pbx.calls.create_directly(
        names.number, "a b&c", domain="test.io", caller=names.number, callee="+49 30 1&2"
    ),
    "calls.list": lambda pbx, names: pbx.calls.list(),
    "calls.show": lambda pbx, names: pbx.calls.show(names.id),
    "calls.hang_up": lambda pbx, names: pbx.calls.hang_up(names.id),
    "auth.refresh": lambda pbx, names: pbx.auth.refresh(),
    "auth.sign_out": lambda pbx, names: pbx.auth.sign_out(),
    "auth.user": lambda pbx, names: pbx.auth.user(),
    "auth.send_otp": lambda pbx, names: pbx.auth.send_otp(names.id),
    "auth.verify_otp": lambda pbx, names: pbx.auth.verify_otp(names.id, "123456"),
    "info": lambda pbx, names: pbx.info(),
    "request": lambda pbx, names: pbx.request(
        Endpoint("own", "POST", "/users/{id}/role"), id=names.id, role="a"
    ),
}


NO_OPERATIONS = {"close", "with_options"}


def coroutines(pbx: PortSIPClient) -> set[str]:
    """Return the names of what callers can await or iterate over."""
    names = {
        f"{name}.{method}"
        for name, resource in vars(pbx).items()
        if not name.startswith("_") and type(resource).__module__.startswith("portsip_async.v22")
        for method, _ in inspect.getmembers(type(resource), inspect.isfunction)
        if not method.startswith("_")
    }
    own = {name for name, _ in inspect.getmembers(PortSIPClient, inspect.isfunction)}
    return names | {name for name in own - NO_OPERATIONS if not name.startswith("_")}


async def test_every_coroutine_has_a_case() -> None:
    """A new coroutine needs a case here."""
    async with PortSIPClient("http://127.0.0.1:9", token="t") as pbx:
        assert coroutines(pbx) == CASES.keys()


@asynccontextmanager
async def client_of(mock_url: str, document: Document) -> AsyncIterator[tuple[PortSIPClient, Tap]]:
    """Connect a client with Prism, and check what it sent."""
    async with (
        Tap(mock_url, document) as tap,
        PortSIPClient(tap.url, token="access", refresh_token="refresh", retry=QUICK) as pbx,
    ):
        try:
            yield pbx, tap
        finally:
            assert tap.violations == []
    assert tap.exchanges
    for each in tap.exchanges:
        assert each.operation is not None
        assert document.unknown_fields(each.operation, each.target, each.body) == []


@pytest.mark.parametrize("name", CASES)
async def test_examples(name: str, static_url: str, document: Document) -> None:
    """With the examples of the document, each coroutine works."""
    async with client_of(static_url, document) as (pbx, _):
        with suppress(PortSIPError) if name in HOLES else nullcontext():
            await CASES[name](pbx, EXAMPLE)


@pytest.mark.parametrize("name", CASES)
async def test_odd_names(name: str, static_url: str, document: Document) -> None:
    """Ids of any characters stay in their place."""
    async with client_of(static_url, document) as (pbx, _):
        with suppress(PortSIPError):
            await CASES[name](pbx, ODD)


@pytest.mark.parametrize("name", CASES)
async def test_random_replies(name: str, dynamic_url: str, document: Document) -> None:
    """Random replies raise nothing but the client's own errors."""
    async with client_of(dynamic_url, document) as (pbx, _):
        for _ in range(3):
            with suppress(PortSIPError):
                await CASES[name](pbx, ODD)


def schema(document: Document, operation: str) -> Any:
    body = document.operations[operation]["requestBody"]
    return body["content"]["application/json"]["schema"]


def sent(tap: Tap) -> Any:
    return json.loads(tap.exchanges[-1].body)


async def test_new_users_are_sent_as_given(static_url: str, document: Document) -> None:
    """Nothing of a `NewUser` is swallowed or changed: flags, enums, rules, hours, limits."""
    async with client_of(static_url, document) as (pbx, tap):
        for user in samples(schema(document, "POST /api/users"), **SECRETS):
            await pbx.users.create(msgspec.convert(user, NewUser))
            assert sent(tap) == user


async def test_settings_are_sent_as_given(static_url: str, document: Document) -> None:
    """Nothing of a `UserSettings` is swallowed or changed."""
    async with client_of(static_url, document) as (pbx, tap):
        for settings in samples(schema(document, "POST /api/users/{id}"), voicemail_pin=PIN):
            await pbx.users.update(EXAMPLE.id, msgspec.convert(settings, UserSettings))
            assert sent(tap) == settings


async def test_patches_are_sent_as_given(static_url: str, document: Document) -> None:
    """A patch of everything sends all of it."""
    async with client_of(static_url, document) as (pbx, tap):
        for settings in samples(schema(document, "POST /api/users/{id}"), voicemail_pin=PIN):
            await pbx.users.patch(EXAMPLE.id, settings)
            assert sent(tap).items() >= settings.items()


async def test_groups_are_sent_as_given(static_url: str, document: Document) -> None:
    """The same for groups."""
    async with client_of(static_url, document) as (pbx, tap):
        for group in samples(schema(document, "POST /api/groups")):
            given = msgspec.convert({"id": "1", **group}, Group)
            changes = {name: getattr(given, name) for name in group}
            await pbx.groups.create(**changes)
            assert sent(tap) == group
            await pbx.groups.update(EXAMPLE.id, **changes)
            assert sent(tap) == group


async def test_calls_are_sent_as_given(static_url: str, document: Document) -> None:
    """The same for the options of a call, in a body and in a query."""
    async with client_of(static_url, document) as (pbx, tap):
        for call in samples(schema(document, "POST /api/sessions"), caller="1", callee="2"):
            given = {**call}
            await pbx.calls.create(given.pop("caller"), given.pop("callee"), **given)
            assert sent(tap) == call


async def test_detect(static_url: str, document: Document) -> None:
    """The generation is told by a request that the document knows."""
    async with Tap(static_url, document) as tap:
        assert (await detect(tap.url)).generation == "v22"
        assert tap.violations == []
        assert tap.succeeded == {"GET /api/info"}


async def test_sign_in(static_url: str, document: Document) -> None:
    """Signing in sends what the document wants, with and without a domain."""
    for domain in ("test.io", None):
        async with (
            Tap(static_url, document) as tap,
            PortSIPClient(tap.url, credentials=SignIn("a&b", "é", domain), retry=QUICK) as pbx,
        ):
            await pbx.info()
            await pbx.auth.user()
            assert tap.violations == []
            assert "POST /api/auth/sign_in" in tap.succeeded
