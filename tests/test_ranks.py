"""The structure of the package: which module may import which, and how long one may be."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from portsip_async import ENDPOINTS, v22
from portsip_async.classic.error_codes import CLASSIC_ERRORS
from portsip_async.v22.error_codes import V22_ERRORS

ROOT = Path(__file__).parent.parent / "portsip_async"

# A module imports only from lower ranks. The ``__init__`` of a package only passes names on, so it
# has the rank of what it passes on.
RANKS = {
    "_lazy": 0,
    "_version": 0,
    "arguments": 0,
    "bulk": 0,
    "bulk.batch_size": 0,
    "bulk.refused_numbers": 0,
    "bulk.status_type": 0,
    "client": 0,
    "core": 0,
    "core.decode": 0,
    "core.limits": 0,
    "core.message": 0,
    "core.monitor": 0,
    "core.open_enum": 0,
    "core.parameter_types": 0,
    "core.safety": 0,
    "core.tasks": 0,
    "core.threads": 0,
    "core.tracebacks": 0,
    "core.unclosed": 0,
    "errors": 0,
    "fleet.engine": 0,
    "fleet.scripts": 0,
    "redact": 0,
    "v22.live": 0,
    "bulk.outages": 1,
    "bulk.workers": 1,
    "classic.enums": 1,
    "classic.error_codes": 1,
    "client.environment": 1,
    "core.ca_file": 1,
    "core.connections": 1,
    "core.echo": 1,
    "core.endpoint": 1,
    "core.forms": 1,
    "core.headers": 1,
    "core.hooks": 1,
    "core.page_sequence": 1,
    "core.retry": 1,
    "core.stalls": 1,
    "core.task_group": 1,
    "core.token_types": 1,
    "core.translation": 1,
    "core.upload": 1,
    "v22.enums": 1,
    "v22.error_codes": 1,
    "v22.parts": 1,
    "bulk.status_batches": 2,
    "bulk.status_watch": 2,
    "bulk.writes": 2,
    "classic.extension_models": 2,
    "classic.models": 2,
    "core.credentials": 2,
    "core.observer": 2,
    "core.page_requests": 2,
    "core.pages": 2,
    "core.reply": 2,
    "core.request": 2,
    "core.token_store": 2,
    "core.tokens": 2,
    "core.transport": 2,
    "core.web_socket": 2,
    "v22.models": 2,
    "v22.status_models": 2,
    "v22.user_models": 2,
    "bulk.status_poll": 3,
    "bulk.status_polling": 3,
    "classic.changes": 3,
    "classic.operations": 3,
    "client.login": 3,
    "client.patches": 3,
    "client.resource": 3,
    "client.statuses": 3,
    "client.writes": 3,
    "core.context": 3,
    "core.shared_account": 3,
    "core.urls": 3,
    "fleet.events": 3,
    "redis": 3,
    "telemetry": 3,
    "v22.changes": 3,
    "v22.live.messages": 3,
    "v22.live.numbers": 3,
    "v22.live.states": 3,
    "v22.operations": 3,
    "classic.account": 4,
    "classic.extension_status": 4,
    "classic.extension_writes": 4,
    "classic.greetings": 4,
    "classic.groups": 4,
    "classic.login": 4,
    "classic.patches": 4,
    "client.sharing": 4,
    "core.call": 4,
    "core.handshake": 4,
    "core.token_sharing": 4,
    "fleet.metrics": 4,
    "fleet.store": 4,
    "v22.blobs": 4,
    "v22.calls": 4,
    "v22.directory": 4,
    "v22.groups": 4,
    "v22.live.checks": 4,
    "v22.live.protocol": 4,
    "v22.login": 4,
    "v22.user_writes": 4,
    "classic.extensions": 5,
    "core.session": 5,
    "fleet.consumer": 5,
    "v22.auth": 5,
    "v22.greetings": 5,
    "v22.live.feed": 5,
    "v22.users": 5,
    "client.base": 6,
    "openapi": 6,
    "v22.extensions": 6,
    "classic": 7,
    "classic.client": 7,
    "detection": 7,
    "fleet.cycle": 7,
    "v22.client": 7,
    "": 8,
    "fleet": 8,
    "fleet.fleet": 8,
    "public": 8,
    "v22": 8,
    "v22.public": 8,
}
# Only these import aiohttp: six wrap it, the others name its types in the client's arguments.
AIOHTTP = {
    "core.connections",
    "core.forms",
    "core.monitor",
    "core.transport",
    "core.translation",
    "core.web_socket",
    "classic.client",
    "client.base",
    "public",
    "v22.client",
}
SIDE = "simulator"
TOP = ("cli", "pytest_plugin", "__main__")
SIMULATOR_MAY_USE = {
    "arguments",
    "errors",
    "redact",
    "classic.enums",
    "classic.operations",
    "core.endpoint",
    "core.open_enum",
    "core.parameter_types",
}
TOP_MAY_USE = {"", "_version", "fleet", "openapi", "v22", *TOP}

MAX_RANK = 8
MAX_LINES = 450
MAX_SESSION_LINES = 300


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
        highest = RANKS[module] - (MODULES[module].name != "__init__.py")
        assert RANKS[imported] <= highest, f"{module} imports {imported}"


@pytest.mark.parametrize("module", RANKS)
def test_ranks_are_nine(module: str) -> None:
    """A reader can remember nine layers."""
    assert RANKS[module] <= MAX_RANK


@pytest.mark.parametrize("module", MODULES)
def test_module_is_short(module: str) -> None:
    """A longer module has a second subject."""
    lines = len(MODULES[module].read_text(encoding="utf-8").splitlines())
    limit = MAX_SESSION_LINES if module == "core.session" else MAX_LINES
    assert lines <= limit


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


def test_aiohttp_is_wrapped_in_six_modules() -> None:
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


@pytest.mark.parametrize(
    "module", [name for name in MODULES if name.startswith(("core.", "bulk.", "client."))]
)
def test_shared_module_knows_no_generation(module: str) -> None:
    """No string in it is the name or the path of an operation, or a code of a PBX."""
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
    for row in (*ENDPOINTS.values(), *v22.ENDPOINTS.values()):
        assert row.name not in texts
        assert row.path not in texts
    for scheme in (CLASSIC_ERRORS, V22_ERRORS):
        codes = {code for code in scheme.codes if not code.isdigit()}
        assert not texts & {*codes, *scheme.refused_login, *scheme.no_such_address}


def test_public_names_import_neither_simulator_nor_command_line() -> None:
    """They import no optional module either."""
    seen = {""}
    queue = [""]
    while queue:
        new = {*imports_of(queue.pop())} - seen
        seen |= new
        queue += new
    assert not [module for module in seen if side_of(module) != "main"]
    assert {"classic.client", "client.base"} <= seen
    assert not {"telemetry", "openapi"} & seen
