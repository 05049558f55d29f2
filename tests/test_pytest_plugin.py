"""The pytest plugin, as the tests of a user load it."""

import inspect
import runpy
import subprocess
import sys
import textwrap
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from portsip_async import PortSIPClient, pytest_plugin, v22
from portsip_async.simulator import PBXSimulator

from .docs.blocks import files
from .pytest_runs import NO_OTHER_PLUGINS

ROOT = Path(__file__).parent.parent
USES = """
import pytest
from portsip_async import APIError, NotFound, TwoFactorRequired
from portsip_async.simulator import Faults

MARK
async def test_simulator(portsip_simulator):
    assert portsip_simulator.url.startswith("http://127.0.0.1:")
    assert len(portsip_simulator.extension_numbers) == 1000

MARK
async def test_client_and_a_fault_in_a_line(portsip_simulator, portsip_client):
    portsip_simulator.fail("extensions.show", status=503, times=2)
    assert (await portsip_client.extensions.show("101")).extension_number == "101"
    assert portsip_simulator.served["extensions.show"] == 3

MARK
@pytest.mark.portsip(extensions=20, faults=Faults(rate_limited=1.0))
async def test_marker(portsip_simulator, portsip_client):
    assert len(portsip_simulator.extension_numbers) == 20
    with pytest.raises(APIError):
        await portsip_client.extensions.show("101")

MARK
async def test_both_clients_of_one_pbx(portsip_simulator, portsip_client, portsip_v22_client):
    portsip_simulator.v22.fail("users.show", status=503, times=2)
    user = await portsip_v22_client.extensions.show("101")
    assert portsip_simulator.v22.served["users.show"] == 3
    await portsip_v22_client.users.remove(user.id)
    with pytest.raises(NotFound):
        await portsip_client.extensions.show("101")

MARK
@pytest.mark.portsip(domain="sales.example", second_factor=True, generations=("v22",))
async def test_marker_for_v22(portsip_simulator, portsip_client, portsip_v22_client):
    assert (await portsip_v22_client.info(domain="sales.example")).domain == "sales.example"
    with pytest.raises(TwoFactorRequired) as caught:
        await portsip_v22_client.users.own_status()
    challenge = caught.value.challenge
    await portsip_v22_client.auth.send_otp(challenge)
    await portsip_v22_client.auth.verify_otp(challenge, portsip_simulator.v22.otp)
    await portsip_v22_client.extensions.show("101")
    with pytest.raises(NotFound):
        await portsip_client.extensions.show("101")

MARK
@pytest.mark.portsip(generations=("classic",))
async def test_marker_without_v22(portsip_client, portsip_v22_client):
    await portsip_client.extensions.show("101")
    with pytest.raises(NotFound):
        await portsip_v22_client.extensions.show("101")
"""
IGNORES = """
import sys

def test_it():
    assert "portsip_async.pytest_plugin" in sys.modules
    assert not [name for name in sys.modules if name.split(".")[0] in ("aiohttp", "msgspec")]
    ours = {name for name in sys.modules if name.split(".")[0] == "portsip_async"}
    light = ("portsip_async", "portsip_async._lazy", "portsip_async._version")
    assert ours == {*light, "portsip_async.pytest_plugin"}
"""


def run(folder: Path, test: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a test in its own folder and process, with the plugin by its entry point."""
    (folder / "test_it.py").write_text(test)
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    (folder / "conftest.py").write_text("")
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "--strict-markers"]
    return subprocess.run(
        [*command, *NO_OTHER_PLUGINS, *options, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


WITHOUT_ASYNC = """
import asyncio
import threading
import urllib.error
import urllib.request

import pytest

@pytest.mark.portsip(extensions=20)
def test_simulator(portsip_simulator):
    assert len(portsip_simulator.extension_numbers) == 20
    asyncio.run(portsip_simulator.restart())
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{portsip_simulator.url}/api/extensions/show?extension_number=1")
    assert portsip_simulator.rejected["extensions.show"] == 1

def test_another_simulator(portsip_simulator):
    assert not portsip_simulator.served
    assert len(portsip_simulator.extension_numbers) == 1000
    assert len(threading.enumerate()) == 2
"""
ONE_LOOP = """
import asyncio
import pytest

loops = set()

@pytest.mark.parametrize("turn", [1, 2])
async def test_clients(turn, portsip_simulator, portsip_client, portsip_v22_client):
    loops.add(asyncio.get_running_loop())
    portsip_simulator.fail("extensions.show", status=503)
    await portsip_client.extensions.show("101")
    await portsip_v22_client.extensions.show("101")
    await portsip_simulator.restart()
    await portsip_client.extensions.show("101")
    assert len(loops) == 1
"""


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_fixtures(tmp_path: Path, mode: str) -> None:
    """They are a PBX that listens and clients of it, in both modes of pytest-asyncio."""
    mark = "" if mode == "auto" else "@pytest.mark.asyncio"
    done = run(tmp_path, USES.replace("MARK", mark), f"--asyncio-mode={mode}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout


@pytest.mark.parametrize("plugin", ["with pytest-asyncio", "without it"])
def test_simulator_without_async(tmp_path: Path, plugin: str) -> None:
    """A test without ``async`` has a PBX of its own. Its thread ends with the test."""
    # The other plugin is off, so its option is unknown.
    without = ["-pno:asyncio", "-W", "ignore::pytest.PytestConfigWarning"]
    options = [] if plugin == "with pytest-asyncio" else without
    done = run(tmp_path, WITHOUT_ASYNC, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_loop_of_a_module(tmp_path: Path) -> None:
    """The fixtures work in tests that share a loop, with the configuration of the how-to."""
    (tmp_path / "module.ini").write_text(files("docs/howto/testing.md")["pytest.ini"])
    options = (f"-c{tmp_path / 'module.ini'}", "--asyncio-mode=auto")
    done = run(tmp_path, ONE_LOOP, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_unused_plugin_is_cheap(tmp_path: Path) -> None:
    """A run that doesn't use the fixtures loads neither the client nor the simulator."""
    done = run(tmp_path, IGNORES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_example_of_the_docstring(tmp_path: Path) -> None:
    """The example in the module's docstring passes unchanged."""
    assert pytest_plugin.__doc__ is not None
    example = pytest_plugin.__doc__.split("::\n")[1].rpartition("\n\n")[0]
    done = run(tmp_path, textwrap.dedent(example), "--asyncio-mode=auto")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_entry_point() -> None:
    (point,) = entry_points(group="pytest11", name="portsip_async")
    assert point.value == pytest_plugin.__name__


def test_without_pytest_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pytest-asyncio the plugin loads, with plain fixtures."""
    monkeypatch.setitem(sys.modules, "pytest_asyncio", None)
    loaded = runpy.run_path(str(ROOT / "portsip_async" / "pytest_plugin.py"))
    assert loaded["fixture"] is pytest.fixture


def made(fixture: Any, argument: object) -> Any:
    """Start the generator of a fixture."""
    make = inspect.unwrap(fixture)
    make = getattr(make, "_get_wrapped_function", lambda: make)()
    return make(argument)


async def test_fixtures_are_generators() -> None:
    """Each fixture is a generator that yields its value. Those of clients are asynchronous."""
    marker = SimpleNamespace(kwargs={"extensions": 7})
    node = SimpleNamespace(get_closest_marker=lambda name: marker if name == "portsip" else None)
    simulators = made(pytest_plugin.portsip_simulator, SimpleNamespace(node=node))
    simulator = next(simulators)
    assert isinstance(simulator, PBXSimulator)
    clients = made(pytest_plugin.portsip_client, simulator)
    client = await anext(clients)
    assert isinstance(client, PortSIPClient)
    assert len(await client.extensions.list().collect()) == 7
    v22_clients = made(pytest_plugin.portsip_v22_client, simulator)
    v22_client = await anext(v22_clients)
    assert isinstance(v22_client, v22.PortSIPClient)
    assert len(await v22_client.users.list().collect()) == 7
    for generator in (v22_clients, clients):
        with pytest.raises(StopAsyncIteration):
            await anext(generator)
    assert next(simulators, None) is None
