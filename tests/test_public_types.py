"""The public interface has no Any: not in arguments, results or attributes.

``pyright --verifytypes`` (``make types``) checks that every type is known, but it accepts an
explicit Any.
"""

import ast
import inspect
import subprocess
import sys
from collections.abc import Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

import portsip_async
import portsip_async.openapi
import portsip_async.simulator
import portsip_async.telemetry
from portsip_async import PortSIPClient, v22
from portsip_async.classic import operations
from portsip_async.v22 import operations as v22_operations

# These return JSON, so tests can inspect it.
JSON = {"PBXSimulator.extension", "PBXSimulator.group"}
# The clients of both generations, each with the file that asserts the types of its calls.
CLIENTS = {PortSIPClient: "api.py", v22.PortSIPClient: "v22.py"}
CALLED = ("__init__", "__call__", "__aiter__", "__await__", "__aenter__", "__anext__")


def has_any(hint: object) -> bool:
    """Return whether a type contains Any. Of a coroutine, only the result counts."""
    if hint is Any:
        return True
    arguments = hint if isinstance(hint, list | tuple) else get_args(hint)
    if get_origin(hint) in (Coroutine, Generator):
        arguments = arguments[-1:]
    return any(map(has_any, arguments))


def classes_in(hint: object) -> Iterator[type]:
    if inspect.isclass(hint) and hint.__module__.startswith("portsip_async"):
        yield hint
    for part in (get_origin(hint), *get_args(hint)):
        if part is not None:
            yield from classes_in(part)


def hints_of(kind: type) -> Iterator[tuple[str, object]]:
    """Yield the types of a class's public attributes, and of its methods' arguments and results."""
    for owner in kind.__mro__:
        if not owner.__module__.startswith("portsip_async"):
            continue
        public = [name for name in inspect.get_annotations(owner) if not name.startswith("_")]
        if public:
            hints = get_type_hints(owner)
            yield from ((name, hints[name]) for name in public)
        for name, member in vars(owner).items():
            if name.startswith("_") and name not in CALLED:
                continue
            function = getattr(member, "__func__", getattr(member, "fget", member))
            if inspect.isfunction(function):
                yield from ((name, hint) for hint in get_type_hints(function).values())


def resources_of(client: type[PortSIPClient | v22.PortSIPClient]) -> dict[str, object]:
    attributes = vars(client("https://pbx.example", token="t"))
    return {name: value for name, value in attributes.items() if not name.startswith("_")}


def key_of(kind: type) -> str:
    """Return the name of a class, with its generation if it is not the classic one."""
    return ("v22." if kind.__module__.startswith("portsip_async.v22") else "") + kind.__name__


def public() -> dict[str, type | Any]:
    """Return what is public: by name, as an attribute of a client, or as the result of a call."""
    modules = (
        portsip_async,
        portsip_async.simulator,
        portsip_async.telemetry,
        portsip_async.openapi,
    )
    found = {name: getattr(module, name) for module in modules for name in module.__all__}
    found |= {f"v22.{name}": getattr(v22, name) for name in v22.__all__}
    waiting = [value for value in found.values() if inspect.isclass(value)]
    waiting += [type(value) for client in CLIENTS for value in resources_of(client).values()]
    while waiting:
        kind = waiting.pop()
        found[key_of(kind)] = kind
        for name, hint in hints_of(kind):
            if name != "__init__":
                waiting += [new for new in classes_in(hint) if key_of(new) not in found]
    return found


PUBLIC = public()


def test_public_includes_classes_without_a_public_name() -> None:
    """Classes that only a method returns are found, too."""
    assert {"Extensions", "Paginator", "ExtensionStatus", "PBXSimulator", "Drift"} <= set(PUBLIC)
    assert {"v22.PortSIPClient", "v22.ServerInfo", "v22.SignIn"} <= set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_has_no_any(name: str) -> None:
    value = PUBLIC[name]
    if inspect.isclass(value):
        hints = list(hints_of(value))
    elif inspect.isfunction(value):
        hints = list(get_type_hints(value).items())
    else:
        known = get_type_hints(v22_operations if name.startswith("v22.") else operations)
        hints = [(name, known.get(name.removeprefix("v22."), type(value)))]
    found = [f"{name}.{member}" for member, hint in hints if has_any(hint)]
    assert not set(found) - JSON


def test_lazy_names_are_listed_before_their_first_use() -> None:
    """The package lists and finds its names, and refuses others, like any module."""
    code = (
        "import portsip_async as p, sys\n"
        "assert {'PortSIPClient', '__version__', 'NotFound'} <= set(dir(p))\n"
        "modules = ['public', 'classic.extension_models', 'classic.models', 'classic.changes']\n"
        "modules += ['classic.enums']\n"
        "loaded = [sys.modules['portsip_async.' + name] for name in modules]\n"
        "assert p.__all__ == ['__version__', *sum((each.__all__ for each in loaded), [])]\n"
        "assert p.NotFound is sys.modules['portsip_async.errors'].NotFound\n"
        "print(hasattr(p, 'Nothing'), hasattr(p, '__wrapped__'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False False\n", done.stderr
    assert set(portsip_async.__all__) <= set(dir(portsip_async))


def test_classic_client_has_a_second_name() -> None:
    """Code that uses both generations can import the client from its generation's package."""
    import portsip_async.classic

    assert portsip_async.classic.PortSIPClient is PortSIPClient
    assert "PortSIPClient" in dir(portsip_async.classic)


def calls_in(text: str) -> set[str]:
    """Return what the code of a file calls or reads on `pbx`, such as `extensions.show`."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute):
            path = ast.unparse(node)
            if path.startswith("pbx."):
                found.add(path.removeprefix("pbx."))
    return found


@pytest.mark.parametrize("client", CLIENTS)
def test_every_call_has_its_type_asserted(
    client: type[PortSIPClient | v22.PortSIPClient],
) -> None:
    """The files in `tests/typing/` assert the type of each public method of a client."""
    calls = {
        f"{resource}.{name}"
        for resource, value in resources_of(client).items()
        for name, _ in inspect.getmembers(type(value), inspect.isfunction)
        if not name.startswith("_")
    }
    calls |= {
        name
        for name, _ in inspect.getmembers(client, inspect.isfunction)
        if not name.startswith("_")
    }
    asserted = calls_in((Path(__file__).parent / "typing" / CLIENTS[client]).read_text())
    assert calls <= asserted


@pytest.mark.parametrize(
    ("client", "options"),
    [(PortSIPClient, portsip_async.ClientOptions), (v22.PortSIPClient, v22.ClientOptions)],
)
def test_client_options_match_the_arguments(
    client: type[PortSIPClient | v22.PortSIPClient], options: type
) -> None:
    """`from_env` takes each argument of the client, with the same type."""
    taken = get_type_hints(client.__init__)
    del taken["return"]
    assert get_type_hints(options) == taken


def test_clients_take_the_same_options() -> None:
    """The generations differ in the ways to log in only: in names, types, defaults and order."""
    login = {"username", "password", "domain", "credentials", "token", "refresh_token"}
    classic, newer = (
        [each for each in inspect.signature(client).parameters.values() if each.name not in login]
        for client in CLIENTS
    )
    assert classic == newer
