"""The pytest plugin, as a user's own test run loads it."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
USES = """
async def test_it(portsip_simulator):
    assert portsip_simulator.url.startswith("http://127.0.0.1:")
    assert len(portsip_simulator.extension_numbers) == 1000
"""
IGNORES = """
import sys

def test_it():
    assert "portsip_async.pytest_plugin" in sys.modules
    assert "portsip_async.simulator" not in sys.modules
    assert "aiohttp.web" not in sys.modules
"""


def run(folder: Path, test: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a test in a folder and a process of its own, with this plugin loaded by name."""
    (folder / "test_it.py").write_text(test)
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    (folder / "conftest.py").write_text("")
    plugins = ["-p", "no:portsip_async", "-p", "portsip_async.pytest_plugin", "-p", "no:randomly"]
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", *plugins, *options]
    return subprocess.run(
        [*command, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_fixture(tmp_path: Path, mode: str) -> None:
    """The fixture gives a PBX that listens, in both modes of pytest-asyncio."""
    mark = "" if mode == "auto" else "import pytest\n\n@pytest.mark.asyncio"
    done = run(tmp_path, mark + USES, f"--asyncio-mode={mode}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_cheap_when_it_is_not_used(tmp_path: Path) -> None:
    """A run that doesn't use the fixture doesn't load the simulator."""
    done = run(tmp_path, IGNORES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_pytest_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pytest-asyncio the plugin loads, and its fixture is a plain one."""
    monkeypatch.setitem(sys.modules, "pytest_asyncio", None)
    loaded = runpy.run_path(str(ROOT / "portsip_async" / "pytest_plugin.py"))
    assert loaded["fixture"] is pytest.fixture


async def test_fixture_here(request: pytest.FixtureRequest) -> None:
    """The fixture is an asynchronous generator around a simulator."""
    from portsip_async import pytest_plugin
    from portsip_async.simulator import PBXSimulator

    wrapped = getattr(pytest_plugin.portsip_simulator, "__wrapped__", None)
    make = wrapped or pytest_plugin.portsip_simulator._get_wrapped_function()  # type: ignore[attr-defined]  # pytest keeps the function there
    generator = make()
    simulator = await anext(generator)
    assert isinstance(simulator, PBXSimulator)
    assert simulator.port
    with pytest.raises(StopAsyncIteration):
        await anext(generator)
