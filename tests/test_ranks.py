"""The house: who may import whom, and what the core must not know."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from portsip_async import ENDPOINTS

ROOT = Path(__file__).parent.parent / "portsip_async"

# A module imports only from lower ranks.
RANKS = {
    "_version": 0,
    "arguments": 0,
    "bulk": 0,
    "bulk.batch_size": 0,
    "bulk.refused_numbers": 0,
    "classic": 0,
    "core": 0,
    "core.clock": 0,
    "core.decode": 0,
    "core.message": 0,
    "core.monitor": 0,
    "core.safety": 0,
    "core.tasks": 0,
    "core.threads": 0,
    "core.tracebacks": 0,
    "errors": 0,
    "redact": 0,
    "bulk.outages": 1,
    "core.connections": 1,
    "core.endpoint": 1,
    "core.limits": 1,
    "core.retry": 1,
    "core.streams": 1,
    "core.upload": 1,
    "record": 1,
    "bulk.workers": 2,
    "core.echo": 2,
    "core.forms": 2,
    "core.observer": 2,
    "core.page_sequence": 2,
    "core.request": 2,
    "core.tokens": 2,
    "bulk.status_batches": 3,
    "bulk.writes": 3,
    "classic.models": 3,
    "core.pages": 3,
    "core.reply": 3,
    "core.transport": 3,
    "bulk.status_poll": 4,
    "bulk.status_watch": 4,
    "classic.operations": 4,
    "core.context": 4,
    "core.urls": 4,
    "telemetry": 4,
    "classic.patches": 5,
    "core.call": 5,
    "classic.extension_writes": 6,
    "core.session": 6,
    "classic.login": 7,
    "classic.resource": 7,
    "classic.account": 8,
    "classic.extension_status": 8,
    "classic.greetings": 8,
    "classic.groups": 8,
    "classic.extensions": 9,
    "classic.client": 10,
    "openapi": 10,
    "public": 11,
    "": 12,
}
# Who may import aiohttp's client: the two files that wrap it, and those that name its types in the
# client's arguments.
AIOHTTP = {"core.connections", "core.transport", "classic.client", "public"}
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


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports_of(module: str) -> Iterator[str]:
    """List the modules of this package that a module imports, at its top or anywhere in it."""
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
    """Dependencies point one way; every module of the main house has a rank."""
    for imported in imports_of(module):
        assert side_of(imported) == "main"
        assert RANKS[imported] < RANKS[module], f"{module} imports {imported}"


@pytest.mark.parametrize("module", [name for name in MODULES if side_of(name) == SIDE])
def test_simulator_reads_requests_by_itself(module: str) -> None:
    """The simulator shares the API's data with the client, and none of its workings."""
    for imported in imports_of(module):
        assert side_of(imported) == SIDE or imported in SIMULATOR_MAY_USE, imported


@pytest.mark.parametrize("module", [name for name in MODULES if side_of(name) in TOP])
def test_top_uses_the_public_interface_only(module: str) -> None:
    for imported in imports_of(module):
        allowed = side_of(imported) in TOP or imported in {*TOP_MAY_USE, SIDE}
        assert allowed, f"{module} imports {imported}"


def test_aiohttp_is_wrapped_in_two_files() -> None:
    """The rest of the main house knows nothing of how requests are sent."""
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
    """No text in the core's code names an operation, a resource's path or the API's table."""
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


def test_public_names_need_no_simulator_and_no_command_line() -> None:
    """Neither they nor what is an extra is imported for the client's sake."""
    seen = {"": True}
    queue = [""]
    while queue:
        for imported in imports_of(queue.pop()):
            if imported not in seen:
                seen[imported] = True
                queue.append(imported)
    assert not [module for module in seen if side_of(module) != "main"]
    assert "classic.client" in seen
    assert not {"telemetry", "openapi"} & seen.keys()
