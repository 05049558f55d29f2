"""The structure of the package: which module may import which, and how long one may be."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from portsip_async import ENDPOINTS

ROOT = Path(__file__).parent.parent / "portsip_async"

# A module imports only from lower ranks.
RANKS = {
    "_version": 0,
    "redact": 0,
    "arguments": 0,
    "core.tasks": 0,
    "errors": 1,
    "record": 1,
    "core": 0,
    "core.endpoint": 2,
    "core.interrupts": 2,
    "core.streams": 2,
    "core.limits": 2,
    "core.threads": 2,
    "core.upload": 3,
    "core.decode": 3,
    "core.retry": 3,
    "core.echo": 4,
    "core.wire": 5,
    "core.tokens": 5,
    "core.monitor": 4,
    "core.connections": 5,
    "core.forms": 4,
    "core.transport": 6,
    "core.call": 7,
    "core.session": 8,
    "core.pages": 8,
    "core.tracebacks": 9,
    "bulk": 0,
    "bulk.workers": 8,
    "bulk.outages": 9,
    "bulk.status_poll": 11,
    "bulk.status_watch": 12,
    "bulk.writes": 11,
    "classic": 0,
    "classic.models": 9,
    "classic.operations": 10,
    "classic.resource": 11,
    "classic.login": 12,
    "classic.account": 13,
    "classic.extensions": 13,
    "classic.greetings": 13,
    "classic.groups": 13,
    "classic.client": 15,
    "telemetry": 14,
    "openapi": 15,
    "public": 16,
    "": 17,
}
# The modules that may import aiohttp's client: four wrap it, and two name its types in the client's
# arguments.
WRAPPERS = {"core.connections", "core.forms", "core.monitor", "core.transport"}
AIOHTTP = WRAPPERS | {"classic.client", "public"}
SIDE = "simulator"
TOP = ("cli", "pytest_plugin", "__main__")
SIMULATOR_MAY_USE = {
    "errors",
    "redact",
    "record",
    "classic.models",
    "classic.operations",
    "core.endpoint",
}
TOP_MAY_USE = {"", "_version", "openapi", *TOP}

MAX_RANK = 8
MAX_LINES = 450
MAX_SESSION_LINES = 300
# What breaks these limits today. Remove a name when its module fits; never add one.
RANKED_TOO_HIGH = {
    "core.tracebacks",
    "bulk.outages",
    "bulk.status_poll",
    "bulk.status_watch",
    "bulk.writes",
    "classic.models",
    "classic.operations",
    "classic.resource",
    "classic.account",
    "classic.extensions",
    "classic.greetings",
    "classic.groups",
    "classic.client",
    "telemetry",
    "openapi",
    "public",
    "",
}
TOO_LONG = {
    "classic.client",
    "classic.extensions",
    "core.call",
    "core.connections",
    "core.decode",
    "core.pages",
    "core.transport",
    "simulator.server",
}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports_of(module: str) -> Iterator[str]:
    """Yield the modules of this package that a module imports, at its top or inside a function."""
    path = MODULES[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    package = [part for part in package if part]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            yield from (
                name.removeprefix("portsip_async").removeprefix(".")
                for name in names
                if name.split(".")[0] == "portsip_async"
            )
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[: len(package) - node.level + 1]
            elif node.module and node.module.split(".")[0] == "portsip_async":
                base = []
            else:
                continue
            tail = (node.module or "").removeprefix("portsip_async").removeprefix(".")
            target = ".".join([*base, *filter(None, tail.split("."))])
            for alias in node.names:
                deeper = f"{target}.{alias.name}".removeprefix(".")
                yield deeper if deeper in MODULES else target


def side_of(module: str) -> str:
    head = module.split(".")[0]
    return head if head in (SIDE, *TOP) else "main"


@pytest.mark.parametrize("module", [name for name in MODULES if side_of(name) == "main"])
def test_module_imports_lower_ranks_only(module: str) -> None:
    """Every module outside the simulator and the top has a rank."""
    for imported in imports_of(module):
        assert side_of(imported) == "main"
        assert RANKS[imported] < RANKS[module], f"{module} imports {imported}"


@pytest.mark.parametrize("module", RANKS)
def test_ranks_are_nine(module: str) -> None:
    """A reader can remember nine layers."""
    assert RANKS[module] <= MAX_RANK or module in RANKED_TOO_HIGH


@pytest.mark.parametrize("module", MODULES)
def test_module_is_short(module: str) -> None:
    """A longer module has a second subject."""
    lines = len(MODULES[module].read_text(encoding="utf-8").splitlines())
    limit = MAX_SESSION_LINES if module == "core.session" else MAX_LINES
    assert lines <= limit or module in TOO_LONG


@pytest.mark.parametrize("module", [name for name in MODULES if side_of(name) == SIDE])
def test_simulator_imports_tables_and_models_only(module: str) -> None:
    """The simulator shares these with the client. It reads requests with its own code."""
    for imported in imports_of(module):
        assert side_of(imported) == SIDE or imported in SIMULATOR_MAY_USE, imported


@pytest.mark.parametrize("module", [name for name in MODULES if side_of(name) in TOP])
def test_top_uses_the_public_interface_only(module: str) -> None:
    for imported in imports_of(module):
        allowed = side_of(imported) in TOP or imported in {*TOP_MAY_USE, SIDE}
        assert allowed, f"{module} imports {imported}"


def test_aiohttp_is_wrapped_in_few_files() -> None:
    """No other module knows how requests are sent."""
    users = set()
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            if side_of(module) == "main" and any(name.split(".")[0] == "aiohttp" for name in names):
                users.add(module)
    assert users == AIOHTTP


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("core.")])
def test_core_knows_no_operation(module: str) -> None:
    """No string in the core is the name or the path of an operation."""
    tree = ast.parse(MODULES[module].read_text())
    docstrings = {
        ast.get_docstring(node, clean=False)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }
    texts = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    } - docstrings
    for row in ENDPOINTS.values():
        assert row.name not in texts
        assert row.path not in texts


def test_public_names_import_neither_simulator_nor_command_line() -> None:
    """They import no optional module either."""
    seen = {""}
    queue = [""]
    while queue:
        new = {*imports_of(queue.pop())} - seen
        seen |= new
        queue += new
    assert not [module for module in seen if side_of(module) != "main"]
    assert "classic.client" in seen
    assert not {"telemetry", "openapi"} & seen
