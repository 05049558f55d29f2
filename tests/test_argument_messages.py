"""What public coroutines and constructors say about an argument of the wrong type."""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import portsip_async as classic
from portsip_async import (
    Endpoint,
    RetryBudget,
    RetryPolicy,
    Timeout,
    detect,
    v22,
)
from portsip_async.client.base import BaseClient
from portsip_async.simulator import Faults, PBXSimulator

# What is wrong comes first, then what was got. What to do may follow.
FORWARD = re.compile(
    r"(\w+: )?(each of )?(?P<name>[\w.]+|a \w+) must (be|have) .+, got Rubbish\b.*"
)


class Rubbish:
    """No argument takes it. Its repr is no text for a message."""

    def __repr__(self) -> str:
        return "<hidden>"


# A right value for each argument without a default.
RIGHT: dict[str, Any] = {
    "base_url": "http://localhost:1",
    "changes": {},
    "endpoint": Endpoint("a.b", "GET", "/a"),
    "enable_external_call": True,
    "enable_intercom": True,
    "enable_management_console_access": True,
    "extension_numbers": ["101"],
    "key": "id",
    "method": "GET",
    "numbers": ["101"],
    "path": "/x",
    "extensions": [],
    "office_hours": {},
    "options": {},
    "patches": [],
    "profile": {},
    "forward_rules": {},
    "settings": v22.UserSettings(),
    "source": b"x",
    "updates": [],
    "user_ids": [],
    "users": [],
}
ANY = {"self", "clock"}
RESOURCES = {
    classic: ("account", "extensions", "groups", "greetings"),
    v22: ("auth", "blobs", "calls", "extensions", "greetings", "groups", "users"),
}
CONSTRUCTORS: tuple[Any, ...] = (
    Endpoint,
    Faults,
    PBXSimulator,
    RetryBudget,
    RetryPolicy,
    Timeout,
    classic.PortSIPClient,
    detect,
    v22.PortSIPClient,
)
# Attributes of an endpoint that only describe it.
UNCHECKED = {(Endpoint, name) for name in ("echo", "removes", "reply")}


def functions() -> Iterator[tuple[str, Any, str, Callable[..., Any]]]:
    """Yield an id, a module, a resource's name and a public function of it."""
    for module, resources in RESOURCES.items():
        client = module.PortSIPClient("http://localhost:1", username="a", password="b")
        for resource in ("", *resources):
            kind = type(getattr(client, resource) if resource else client)
            for name, function in inspect.getmembers(kind, inspect.isfunction):
                if not name.startswith("_") and name != "close":
                    yield f"{module.__name__}.{resource}.{name}", module, resource, function


def cases() -> Iterator[Any]:
    for name, module, resource, function in functions():
        for argument, each in inspect.signature(function).parameters.items():
            if argument not in ANY and each.kind is not each.VAR_KEYWORD:
                yield pytest.param(module, resource, function, argument, id=f"{name}-{argument}")
    for made in CONSTRUCTORS:
        for argument in inspect.signature(made).parameters:
            if argument not in ANY and (made, argument) not in UNCHECKED:
                yield pytest.param(
                    None, "", made, argument, id=f"{made.__module__}.{made.__name__}-{argument}"
                )


async def call(
    function: Callable[..., Any], argument: str, *first: object, wrong: object = None
) -> None:
    """Call a function with a wrong value, or rubbish, for one argument, and right ones else."""
    positional, named = [*first], {}
    for each in [*inspect.signature(function).parameters.values()][len(first) :]:
        is_wrong = each.name == argument
        if each.kind in (each.VAR_KEYWORD, each.VAR_POSITIONAL) or (
            each.default is not each.empty and not is_wrong
        ):
            continue
        value = (wrong or Rubbish()) if is_wrong else RIGHT.get(each.name, "101")
        if each.kind is each.KEYWORD_ONLY:
            named[each.name] = value
        else:
            positional.append(value)
    if isinstance(function, type) and issubclass(function, BaseClient):
        if not {"credentials", "token", "refresh_token", "domain"} & named.keys():
            named = {"username": "ann", "password": "pw", **named}
        elif "domain" in named:
            named |= {"username": "ann", "password": "pw"}
        elif "refresh_token" in named:
            named["token"] = "t"
    made = function(*positional, **named)
    if inspect.isawaitable(made):
        await made


@pytest.mark.parametrize(("module", "resource", "function", "argument"), [*cases()])
async def test_message_says_what_must_be_passed_and_what_was_got(
    module: Any, resource: str, function: Callable[..., Any], argument: str
) -> None:
    """Nothing is sent, and the value itself is not shown."""
    owner: tuple[object, ...] = ()
    if module is not None:
        client = module.PortSIPClient("http://localhost:1", username="a", password="b")
        await client.close()
        owner = (getattr(client, resource) if resource else client,)
    with pytest.raises((TypeError, ValueError, classic.ConfigurationError)) as caught:
        await call(function, argument, *owner)
    message = str(caught.value)
    assert FORWARD.fullmatch(message), message
    assert "hidden" not in message


def collections() -> Iterator[Any]:
    """Yield each public function with an argument that is a collection of numbers or items."""
    for name, module, resource, function in functions():
        for argument, each in inspect.signature(function).parameters.items():
            if "Iterable[" in str(each.annotation) and argument != "source":
                yield pytest.param(module, resource, function, argument, id=f"{name}-{argument}")


@pytest.mark.parametrize(("module", "resource", "function", "argument"), [*collections()])
@pytest.mark.parametrize("wrong", ["101", b"101", 101], ids=["str", "bytes", "int"])
async def test_message_about_a_collection_shows_a_correct_call(
    module: Any, resource: str, function: Callable[..., Any], argument: str, wrong: object
) -> None:
    client = module.PortSIPClient("http://localhost:1", username="a", password="b")
    await client.close()
    with pytest.raises(TypeError) as caught:
        await call(function, argument, getattr(client, resource), wrong=wrong)
    expected = (
        rf"{argument} must be a list( or another iterable)?, got {type(wrong).__name__}; "
        rf"pass a list, e\.g\. ({argument}=|{function.__name__}\(.*)\[.+\]\)?"
    )
    assert re.fullmatch(expected, str(caught.value))


PARTS: list[tuple[Any, str, Callable[[Any, Any], Any]]] = [
    (
        classic,
        "profile",
        lambda pbx, part: pbx.extensions.create(
            classic.NewExtension(
                extension_number="1", password="a", web_access_password="b", profile=part
            )
        ),
    ),
    (
        v22,
        "office_hours",
        lambda pbx, part: pbx.users.create(
            v22.NewUser(
                name="a",
                password="b",
                email="c",
                display_name="d",
                role=v22.Role.STANDARD_USER,
                extension_number="1",
                extension_password="e",
                voicemail_pin="2",
                office_hours=part,
            )
        ),
    ),
    (
        v22,
        "office_hours",
        lambda pbx, part: pbx.users.update("1", v22.UserSettings(office_hours=part)),
    ),
]


@pytest.mark.parametrize(
    ("module", "part", "write"), PARTS, ids=["new extension", "new user", "user settings"]
)
@pytest.mark.parametrize("wrong", [5, "text", ["a"]], ids=["int", "str", "list"])
async def test_part_without_fields_is_refused(
    module: Any, part: str, write: Callable[[Any, Any], Any], wrong: object
) -> None:
    async with module.PortSIPClient("http://localhost:1", username="a", password="b") as pbx:
        with pytest.raises(TypeError) as caught:
            await write(pbx, wrong)
    expected = f"{part} must be a mapping or .+, got {type(wrong).__name__}"
    assert re.fullmatch(expected, str(caught.value))


def test_names_of_secrets_as_one_text_are_refused() -> None:
    """Each letter would count as a name, and the secret would be shown."""
    with pytest.raises(TypeError, match=r'pass a list, e\.g\. secrets=\["pin"\]'):
        Endpoint("a.b", "GET", "/a", secrets="otp")


@pytest.mark.parametrize("argument", ["extensions", "groups", "port"])
def test_count_of_the_simulator_is_no_none(argument: str) -> None:
    arguments: dict[str, Any] = {argument: None}
    with pytest.raises(TypeError, match=f"^{argument} must be an int, got NoneType$"):
        PBXSimulator(**arguments)


@pytest.mark.parametrize("module", [classic, v22], ids=["classic", "v22"])
def test_credentials_of_the_other_generation(module: Any) -> None:
    """The message names the classes of this one."""
    own, other = ("PasswordCredentials", v22.SignIn), ("SignIn", classic.PasswordCredentials)
    name, wrong = own if module is classic else other
    with pytest.raises(classic.ConfigurationError) as caught:
        module.PortSIPClient("http://localhost:1", credentials=wrong("ann", "pw"))
    expected = f"credentials must be {name}, .+ or an object with .+, got {wrong.__name__}"
    assert re.fullmatch(expected, str(caught.value))


async def test_fetch_token_that_is_not_async() -> None:
    class Vault:
        def fetch_token(self) -> classic.Token:
            return classic.Token("a-secret-token")

    vault: Any = Vault()
    async with classic.PortSIPClient("http://localhost:1", credentials=vault) as pbx:
        with pytest.raises(TypeError) as caught:
            await pbx.extensions.show("101")
    assert str(caught.value) == "fetch_token must be an async method, got one that returns Token"
