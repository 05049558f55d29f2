"""The documentation is correct: its code runs, its commands exist, and no name is missing."""

import asyncio
import contextlib
import importlib
import re
import signal
import sys
import tomllib
import zlib
from collections.abc import Awaitable, Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trustme
from asgiref.testing import ApplicationCommunicator
from typer.main import get_command

import portsip_async
from portsip_async import (
    AuthenticationError,
    ConnectError,
    NewExtension,
    PortSIPClient,
    fleet,
    redis,
    v22,
)
from portsip_async import simulator as simulator_package
from portsip_async.cli.app import app
from portsip_async.cli.option_places import moved
from portsip_async.simulator import PBXSimulator

from .docs import servers
from .docs.blocks import DOCS, ROOT, Block, blocks, commands, files, pages, run, write_files
from .docs.site import build
from .docs.written import PAGES, leaves
from .pytest_runs import NO_OTHER_PLUGINS

Communicator: Any = ApplicationCommunicator  # it has no annotations
VARIABLES = (
    "PORTSIP_URL",
    "PORTSIP_USERNAME",
    "PORTSIP_PASSWORD",
    "PORTSIP_DOMAIN",
    "PORTSIP_API",
    "PORTSIP_PROFILE",
    "REDIS_URL",  # of the pages about several processes
)
NO_CODE = ("csv", "ini", "jsonl", "text", "toml")
TUTORIAL = "docs/tutorial.md"
TESTING = "docs/howto/testing.md"
PROVISION = "docs/howto/provision-from-csv.md"
SECONDS = 30.0  # to wait for the first output of a new process


@pytest.fixture
def workdir(tmp_path: Path, sim: PBXSimulator, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set a new working directory and an environment that names the simulator."""
    monkeypatch.chdir(tmp_path)
    for name, value in environment(sim).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "welcome.wav").write_bytes(b"RIFF")  # a recording, for pages that upload one
    return tmp_path


def environment(sim: PBXSimulator) -> dict[str, str]:
    return {
        "PORTSIP_URL": sim.url,
        "PORTSIP_USERNAME": sim.username,
        "PORTSIP_PASSWORD": sim.password,
        "PORTSIP_DOMAIN": sim.domain,
        "PYTHONIOENCODING": "utf-8",
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
    }


@pytest.mark.parametrize("page", pages())
def test_blocks_are_of_known_languages(page: str) -> None:
    """Every block has a language that the tests can run."""
    assert {block.language for block in blocks(page)} <= {"python", "console", *NO_CODE}


# Python.

# Pages whose blocks need another server than the simulator.
SERVERS = {
    "docs/howto/own-endpoint.md": servers.pbx_with_queues,
    "docs/howto/v12.md": servers.v12,
}


def new_user(number: str) -> v22.NewUser:
    return v22.NewUser(
        name=f"user-{number}",
        display_name="Ann",
        email=f"{number}@test.io",
        role="StandardUser",
        password="Portal-1",
        extension_number=number,
        extension_password="Phone-1",
        voicemail_pin="294751",
    )


@pytest.mark.parametrize("page", [page for page in pages() if page != "README.md"])
async def test_python_blocks_run(page: str, workdir: Path, sim: PBXSimulator) -> None:
    """Every Python block of a page runs after the blocks above it. The README has its own test."""
    write_files(page, workdir)
    if page.endswith("certificates.md"):
        trustme.CA().cert_pem.write_to_path(workdir / "pbx-ca.pem")
    login: dict[str, Any] = {"username": sim.username, "password": sim.password}
    async with contextlib.AsyncExitStack() as stack:
        url = sim.url
        if page in SERVERS:
            url = await stack.enter_async_context(SERVERS[page]())
        clients = {
            "classic": await stack.enter_async_context(PortSIPClient(url, **login)),
            "v22": await stack.enter_async_context(
                v22.PortSIPClient(url, domain=sim.domain, **login)
            ),
        }
        namespace: dict[str, Any] = {
            "__name__": "page",
            "url": url,
            "numbers": sim.extension_numbers,
            "new_extensions": [
                NewExtension(extension_number="900", password="a", web_access_password="b")
            ],
            "new_users": [new_user("900")],
        }
        generation = None
        for block in blocks(page):
            if block.language == "python" and not block.title:
                if block.generation != generation:
                    generation = block.generation
                    namespace["pbx"] = clients[generation]
                await run(block, namespace)
        if page in AFTERWARDS:
            await AFTERWARDS[page](namespace, sim)


async def coordinator(names: dict[str, Any], sim: PBXSimulator) -> None:
    """The coordinator reports statuses, an outage and the end of it."""
    kept = names["ExtensionCoordinator"](names["pbx"], ["101", "102"], interval=0.05)
    heard = asyncio.Event()
    kept.add_listener(heard.set)

    async def until(what: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not what():
                heard.clear()
                await heard.wait()

    await kept.first_refresh()
    await until(lambda: set(kept.data) == {"101", "102"})
    await sim.stop()
    await until(lambda: not kept.available)
    assert set(kept.data) == {"101", "102"}
    await sim.start()
    await until(lambda: kept.available)
    await kept.shut_down()
    await sim.stop()
    away = names["ExtensionCoordinator"](names["pbx"], ["101"])
    with pytest.raises(ConnectError):
        await away.first_refresh()


async def follow(names: dict[str, Any], sim: PBXSimulator) -> None:
    """Delivered statuses are saved, and the next run doesn't deliver them again."""
    heard: list[str] = []
    enough = asyncio.Event()

    async def handle(change: Any) -> None:
        heard.append(change.extension_number)
        if len(heard) == len(sim.extension_numbers):
            enough.set()

    following = asyncio.create_task(names["follow"](names["pbx"], "board.json", handle))
    async with asyncio.timeout(SECONDS):
        await enough.wait()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    known = names["load"]("board.json")
    assert sorted(known) == sorted(heard) == sorted(sim.extension_numbers)
    assert names["load"]("none.json") == {}


async def live(names: dict[str, Any], sim: PBXSimulator) -> None:
    """The statuses came through the web socket, and none through REST."""
    assert names["stats"].source == "socket"
    assert sim.v22.socket.logins == 2
    assert sim.v22.served["users.status"] == 0


async def rotate(names: dict[str, Any], sim: PBXSimulator) -> None:
    """Each login reads the password again. A wrong one is not sent again or kept."""
    async with PortSIPClient(sim.url, credentials=names["FromFile"](sim.url, "login")) as pbx:
        assert await pbx.extensions.show("101")
        await sim.restart()
        put("login", "admin\nwrong\n")
        for _ in range(2):
            with pytest.raises(AuthenticationError):
                await pbx.extensions.show("101")
        put("login", f"{sim.username}\n{sim.password}\n")
        logins = sim.served["account.verify"]
        with pytest.raises(AuthenticationError):
            await pbx.extensions.show("101")
        assert sim.served["account.verify"] == logins
        await pbx.account.refresh()
        assert await pbx.extensions.show("101")


def put(name: str, text: str) -> None:
    Path(name).write_text(text, encoding="utf-8")


async def check_v12(names: dict[str, Any], sim: PBXSimulator) -> None:
    """The recipe read the statuses, the ids and an extension by its id. It removed another one."""
    assert set(names["statuses"]) == {"100", "101", "102"}
    assert names["ids"]["101"] == "1101"
    assert names["shown"].extension_number == "101"
    assert names["group"].group_id == "7"
    async with PortSIPClient(
        names["url"],
        username="admin",
        password="simulated-Secret-1",
        endpoints=names["V12"],
    ) as pbx:
        assert [each.extension_number async for each in pbx.extensions.list()] == ["100", "101"]


AFTERWARDS: dict[str, Callable[[dict[str, Any], PBXSimulator], Awaitable[None]]] = {
    "docs/howto/coordinator.md": coordinator,
    "docs/howto/live-status.md": live,
    "docs/howto/rotate-credentials.md": rotate,
    "docs/howto/v12.md": check_v12,
    "docs/howto/watch-for-weeks.md": follow,
}


# Files that a page shows completely.


async def started(*command: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


async def finished(*command: str, code: int = 0) -> str:
    """Run a command and return its output."""
    process = await started(*command)
    out, err = await process.communicate()
    assert process.returncode == code, (out + err).decode()
    assert "Traceback" not in err.decode()
    return out.decode()


async def test_provision(workdir: Path, sim: PBXSimulator) -> None:
    """The tutorial's second program creates two extensions and reports that the third exists."""
    write_files(TUTORIAL, workdir)
    said = dict(
        line.split(" ", 1) for line in (await finished(sys.executable, "provision.py")).splitlines()
    )
    assert said.keys() == {"901", "902", "100"}
    assert said["901"] == f"created, id {sim.v22.user_id('901')}"
    assert said["902"].startswith("created")
    assert "users.create" in said["100"]
    assert sim.v22.user(sim.v22.user_id("902"))["display_name"] == "Björn"


async def test_board(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tutorial's board continues after a restart of the PBX, and ends with Ctrl-C."""
    write_files(TUTORIAL, workdir)
    code = (workdir / "board.py").read_text().replace("interval=5.0", "interval=0.1")
    (workdir / "board.py").write_text(code)
    async with PBXSimulator(extensions=50, status_seconds=1.0) as changing:
        for name, value in environment(changing).items():
            monkeypatch.setenv(name, value)
        process = await started(sys.executable, "board.py")
        assert process.stdout is not None
        try:
            async with asyncio.timeout(SECONDS):
                line = (await process.stdout.readline()).decode()
                assert re.match(r"\d\d:\d\d:\d\d  \d{3} [A-Z_]+ +\{'", line), line
                await changing.restart()
                socket = changing.v22.socket
                before = socket.subscriptions
                while socket.subscriptions == before:
                    assert await process.stdout.readline()
        finally:
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
    assert process.returncode in (-signal.SIGINT, 130)
    assert "KeyboardInterrupt" in err.decode()


async def test_count(workdir: Path, sim: PBXSimulator) -> None:
    """The program for scripts counts all extensions."""
    write_files("docs/explanation/why-async.md", workdir)
    said = await finished(sys.executable, "count.py")
    assert int(said) == len(sim.extension_numbers)


async def test_frame(workdir: Path) -> None:
    """The program for pandas counts roles and shows settings."""
    pytest.importorskip("pandas", reason="pandas is too large for the tests' own environment")
    write_files("docs/howto/results.md", workdir)
    said = await finished(sys.executable, "frame.py")
    assert "StandardUser" in said
    assert re.search(r"^4 +104 +True$", said, re.MULTILINE)


async def test_console(workdir: Path, sim: PBXSimulator) -> None:
    """The lines of the how-to work in `python -m asyncio`, one after the other."""
    page = "docs/howto/repl.md"
    end = (ROOT / page).read_text().partition("\n## In IPython")[0].count("\n")
    lines = "".join(
        block.code for block in blocks(page) if block.language == "python" and block.line < end
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "asyncio"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = (text.decode() for text in await process.communicate(lines.encode()))
    assert process.returncode == 0
    assert "Traceback" not in err + out, err
    assert "Unclosed" not in err
    said = [line.replace(">>> ", "") for line in out.splitlines()]
    assert said[0] == "'Björn Baker'"
    assert said[1].startswith("['100', '1")
    assert len(sim.v22.served) >= 3


DJANGO_SETTINGS = """
SECRET_KEY = "x"
ROOT_URLCONF = "mysite.urls"
ALLOWED_HOSTS = ["localhost", "testserver"]
"""


def write_django_project(folder: Path) -> None:
    """Write the files of the how-to, and those that it leaves out."""
    write_files("docs/howto/django.md", folder)
    (folder / "mysite" / "__init__.py").touch()
    (folder / "mysite" / "settings.py").write_text(DJANGO_SETTINGS)


async def test_tests(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests in the how-to pass with the commands below them."""
    shown = [
        command
        for block in blocks(TESTING)
        if block.language == "console"
        for command in commands(block)
    ]
    write_files(TESTING, workdir)
    write_files("docs/howto/fastapi.md", workdir)
    write_django_project(workdir)
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "mysite.settings")
    (workdir / "conftest.py").write_text("import django\n\ndjango.setup()\n")
    (workdir / "pytest.ini").write_text("[pytest]\n")  # that of the page is for another project
    # One process for all of them, for speed. Those without the option work with it, too.
    names = [command[-1] for command in shown if command[0] == "pytest"]
    options = ["-v", "-oasyncio_mode=auto", *NO_OTHER_PLUGINS]
    said = await finished(sys.executable, "-m", "pytest", *names, *options)
    for name in names:
        assert f"{name}::" in said
    (unittest,) = (command for command in shown if command[:3] == ["python", "-m", "unittest"])
    await finished(sys.executable, *unittest[1:])


async def asked(application: Any, path: str) -> tuple[int, bytes]:
    """Serve one request like an ASGI server: startup, request, shutdown."""
    state: dict[str, Any] = {}
    lifespan = Communicator(application, {"type": "lifespan", "state": state})
    await lifespan.send_input({"type": "lifespan.startup"})
    started = await lifespan.receive_output(SECONDS)
    assert started["type"] == "lifespan.startup.complete"
    request = Communicator(
        application,
        {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
            "state": dict(state),
        },
    )
    await request.send_input({"type": "http.request", "body": b""})
    head = await request.receive_output(SECONDS)
    body = b""
    more = True
    while more:
        part = await request.receive_output(SECONDS)
        body, more = body + part.get("body", b""), part.get("more_body", False)
    await request.wait(SECONDS)
    await lifespan.send_input({"type": "lifespan.shutdown"})
    ended = await lifespan.receive_output(SECONDS)
    assert ended["type"] == "lifespan.shutdown.complete"
    await lifespan.wait(SECONDS)
    return head["status"], body


async def test_fastapi(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service returns data of the PBX, and passes on its errors."""
    write_files("docs/howto/fastapi.md", workdir)
    monkeypatch.syspath_prepend(str(workdir))
    service = importlib.import_module("service")
    status, body = await asked(service.app, "/extensions/101/status")
    assert (status, body[:18]) == (200, b'{"number":"101","s')
    status, body = await asked(service.app, "/extensions/101")
    assert status == 200
    assert b'"voicemail_pin":"***"' in body
    status, body = await asked(service.app, "/extensions/999/status")
    assert status == 404
    assert b'"may_have_acted":false' in body


async def test_workers_without_redis(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service with a token store works though its Redis is away."""
    write_files("docs/howto/several-workers.md", workdir)
    monkeypatch.syspath_prepend(str(workdir))
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    workers = importlib.import_module("workers")
    status, body = await asked(workers.app, "/extensions/101")
    assert status == 200
    assert b'"voicemail_pin":"***"' in body


async def test_measured_fleet(workdir: Path) -> None:
    """The module with a meter provider has the fleet of the other page."""
    write_files("docs/howto/watch-many-pbxes.md", workdir)
    write_files("docs/howto/telemetry.md", workdir)
    said = await finished(sys.executable, "-c", "import measured; print(measured.fleet)")
    assert said.startswith("<Fleet 'fleet'")


async def test_django(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The view returns data of the PBX, with the client that the lifespan opened."""
    write_django_project(workdir)
    monkeypatch.syspath_prepend(str(workdir))
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "mysite.settings")
    asgi = importlib.import_module("mysite.asgi")
    status, body = await asked(asgi.application, "/extensions/101")
    assert (status, body) == (200, rb'{"number": "101", "name": "Bj\u00f6rn Baker"}')
    status, _ = await asked(asgi.application, "/extensions/999")
    assert status == 404


RUN_BY_TESTS = {
    TUTORIAL: {"hello.py", "provision.py", "board.py"},
    "docs/explanation/why-async.md": {"count.py"},
    "docs/howto/results.md": {"frame.py"},
    TESTING: {
        "test_board.py",
        "test_board_v22.py",
        "test_mocked.py",
        "test_names.py",
        "test_script.py",
        "test_service.py",
        "test_shared.py",
        "test_views.py",
    },
    "docs/howto/fastapi.md": {"service.py"},
    "docs/howto/django.md": {"mysite/asgi.py", "mysite/views.py", "mysite/urls.py"},
    # Run in tests/fleet, too.
    "docs/howto/several-workers.md": {"workers.py"},
    "docs/howto/telemetry.md": {"measured.py"},
    "docs/howto/watch-many-pbxes.md": {"noc.py", "noc_board.py"},
    "docs/howto/survive-a-kill.md": {"create_users.py", "remove_users.py"},
}


def test_every_python_file_has_a_test() -> None:
    """A test runs every Python file that a page shows."""
    shown = {
        page: programs
        for page in pages()
        if (programs := {name for name in files(page) if name.endswith(".py")})
    }
    assert shown == RUN_BY_TESTS


# Shell.


CONSOLE = [block for page in pages() for block in blocks(page) if block.language == "console"]


@pytest.mark.parametrize("block", CONSOLE, ids=str)
def test_commands_exist(block: Block, workdir: Path) -> None:
    """Every command in a shell block exists and accepts its options."""
    write_files(block.page, workdir)
    given = list(commands(block))
    assert given
    for words in given:
        check(words, block)


def check(words: list[str], block: Block) -> None:
    shown = files(block.page)
    match words:
        case ["portsip-async" | ".venv/bin/portsip-async", *arguments]:
            check_arguments(arguments)
        case ["pip", "install", what]:
            wheel = f"dist/portsip_async-{portsip_async.__version__}-py3-none-any.whl"
            extras = re.findall(r"\[(.+)\]", what)
            assert what.replace(f"[{extras[0]}]", "") in (".", "portsip_async", wheel)
            assert {*extras[0].split(",")} <= project()["optional-dependencies"].keys()
        case ["make", target]:
            assert re.search(
                rf"^{target}( [\w-]+)*:", (ROOT / "Makefile").read_text(), re.MULTILINE
            )
        case ["export", pair]:
            assert pair.split("=")[0] in VARIABLES
        case ["python", "-m", "asyncio"]:
            pass
        case ["python", "-m", "unittest", file]:
            assert file in shown
        case ["python", file, *_]:
            assert file in shown or (ROOT / file).exists()
        case ["pytest", "-o", "asyncio_mode=auto", file] | ["pytest", file]:
            assert file in shown
        case (
            ["uvicorn", application]
            | ["uvicorn", application, "--workers", "4"]
            | ["gunicorn", application, "--workers", "4", "--worker-class", "asgi"]
        ):
            assert application.partition(":")[0].replace(".", "/") + ".py" in shown
        case ["pip", "wheel", "--no-deps", "--wheel-dir", "dist", "."]:
            pass
        case ["openssl", *_] | ["python3", "-m", "venv", ".venv"] | [".", ".venv/bin/activate"]:
            pass
        case ["xargs", "-I", "NAME", "portsip-async", *arguments]:
            check_arguments(arguments)
        case ["redis-server"] | ["redis-server", "--appendonly", "yes"]:
            pass
        case ["jq", *_] | ["git", "clone", *_] | ["tail", *_]:
            pass
        case _:
            pytest.fail(f"{block} has an unknown command: {words}")


def check_arguments(arguments: list[str]) -> None:
    root = get_command(app)
    arguments = moved(root, root.make_context("portsip-async", ["check"]), arguments)
    known = {tuple(name.split()): command for name, command in leaves()}
    for name, command in known.items():
        if tuple(arguments[: len(name)]) == name:
            command.make_context(" ".join(name), arguments[len(name) :])
            return
    pytest.fail(f"there is no command {arguments}")


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


async def portsip(*arguments: str, code: int = 0) -> str:
    return await finished(sys.executable, "-m", "portsip_async", *arguments, code=code)


OUTPUTS = [
    (before, block)
    for page in pages()
    for before, block in pairwise(blocks(page))
    if block.title == "output"
]


@pytest.mark.parametrize(("command", "output"), OUTPUTS, ids=str)
async def test_output_below_a_command(command: Block, output: Block, workdir: Path) -> None:
    """A command prints exactly the output that the page shows below it."""
    write_files(command.page, workdir)
    (words,) = commands(command)
    start = ["-m", "portsip_async"] if words[0] == "portsip-async" else []
    assert await finished(sys.executable, *start, *words[1:]) == output.code


async def test_import(workdir: Path, sim: PBXSimulator) -> None:
    """The how-to's file is checked and imported, except for the existing extension."""
    write_files(PROVISION, workdir)
    shell = next(block for block in blocks(PROVISION) if block.language == "console")
    dry, real = (command[1:] for command in commands(shell))
    await portsip(*dry, code=1)
    assert not sim.v22.served["users.create"]
    await portsip(*real)
    assert sim.v22.acted["users.create"] == 2
    assert sim.v22.user(sim.v22.user_id("901"))["email"] == "ann@example.com"


# From one generation to the other.


def attributes(client: Any, cell: str) -> Iterator[str]:
    """Yield the names like `users.list` in a cell that the client does not have."""
    for name in re.findall(r"`(?:pbx\.)?([a-z]+\.[a-z_]+|request|info)(?:\(\))?`", cell):
        resource, _, method = name.partition(".")
        found = getattr(client, resource, None)
        if found is None or (method and not callable(getattr(found, method, None))):
            yield name


async def test_names_of_both_clients_exist(sim: PBXSimulator) -> None:
    """The table of coroutines names what each client has, and leaves none of it out."""
    text = (ROOT / "docs/howto/from-classic-to-v22.md").read_text(encoding="utf-8")
    table = text.split("## Resources and coroutines")[1].split("\n## ")[0]
    rows = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| ")][1:]
    columns = [" ".join(cells) for cells in zip(*rows, strict=True)]
    for column, kind in zip(columns, (PortSIPClient, v22.PortSIPClient), strict=True):
        async with kind(sim.url, username="admin", password="-") as client:
            assert [*attributes(client, column)] == []
            missing = [
                f"{resource}.{method}"
                for resource, found in vars(client).items()
                if not resource.startswith("_")
                for method in dir(type(found))
                if not method.startswith("_") and f"`{resource}.{method}`" not in column
            ]
        assert missing == []


# The reference and the site.


@pytest.mark.parametrize("path", PAGES)
def test_written_pages_are_up_to_date(path: str) -> None:
    """The generated pages are up to date. `make docs` generates them again."""
    assert (DOCS / path).read_text(encoding="utf-8") == PAGES[path]()


@pytest.mark.timeout(180)
def test_site(tmp_path: Path) -> None:
    """The site builds without warnings, loads no other site, and has every public name.

    The reference shows values and links instead of the names of constants and aliases.
    """
    build(tmp_path)
    inventory = (tmp_path / "objects.inv").read_bytes().split(b"\n", 4)[4]
    listed = {line.split(" ")[0] for line in zlib.decompress(inventory).decode().splitlines()}
    page = (tmp_path / "reference" / "client" / "index.html").read_text(encoding="utf-8")
    assert 'id="portsip_async.Fingerprint"' in page  # a class of aiohttp, documented by hand
    public = {f"portsip_async.{name}" for name in portsip_async.__all__ if name != "Fingerprint"}
    public |= {f"portsip_async.fleet.{name}" for name in fleet.__all__}
    public |= {f"portsip_async.redis.{name}" for name in redis.__all__}
    public |= {"portsip_async.telemetry.Telemetry", "portsip_async.openapi.document"}
    public |= {f"portsip_async.simulator.{name}" for name in simulator_package.__all__}
    public |= {f"portsip_async.v22.{name}" for name in v22.__all__}
    assert public - listed == set()
    reference = {path.parent.name: path.read_text() for path in tmp_path.glob("reference/*/*.html")}
    for page in reference.values():  # defaults are values, not the names of constants
        assert re.findall(r"\b(?:DEFAULT_[A-Z_]+|GENERATIONS)\b", page) == []
    assert "15.0" in reference["client"].split('id="portsip_async.ClientOptions"')[0]
    assert 'href="#portsip_async.v22.Role"' in reference["v22-structures"]
    for path in tmp_path.rglob("*.html"):
        asks = re.findall(
            r'<(?:script|img|iframe)[^>]+src="(https?:[^"]+)|<link[^>]+rel="stylesheet"[^>]+href="'
            r'(https?:[^"]+)',
            path.read_text(encoding="utf-8"),
        )
        assert asks == [], path
