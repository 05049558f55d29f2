"""The wheel and the sdist: built as for a release, and installed as a user would."""

import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path, PurePosixPath

import pytest

from portsip_async import __version__

ROOT = Path(__file__).parent.parent
# Bytes. A third of the wheel is the command line, a fifth the simulator, an eighth v22.
MAX_SIZES = {".gz": 480 * 1024, ".whl": 620 * 1024}
NAME = f"portsip_async-{__version__}"
REPOSITORY = "https://github.com/portsip-async/portsip_async"

# Imports the installed package, and makes a call with the client of each generation.
USE = """
import asyncio
import portsip_async
from portsip_async import PortSIPClient, v22
from portsip_async.simulator import PBXSimulator

async def main():
    async with PBXSimulator(extensions=3) as sim:
        for client in (PortSIPClient, v22.PortSIPClient):
            async with client(sim.url, username=sim.username, password=sim.password) as pbx:
                print([each.extension_number async for each in pbx.extensions.list()])

print(portsip_async.__file__)
asyncio.run(main())
"""
# What the package alone loads.
LIGHT = {"portsip_async", "portsip_async._lazy", "portsip_async._version"}
IMPORTS = """
import sys
BEFORE
before = set(sys.modules)
IMPORT
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
print(*sorted(name for name in sys.modules if name.split(".")[0] == "portsip_async"))
"""


def run(*command: object, cwd: Path, code: int = 0) -> str:
    """Run a command, check its exit code, and return everything that it prints."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist, and the wheel from it, with the installed build backend."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (wheel,) = dist.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        return message_from_bytes(archive.read(f"{NAME}.dist-info/METADATA"))


def modules() -> set[str]:
    """Return the paths of the package's files, relative to the root."""
    files = (ROOT / "portsip_async").rglob("*")
    return {path.relative_to(ROOT).as_posix() for path in files if path.suffix == ".py"} | {
        "portsip_async/py.typed"
    }


def test_sizes(dist: Path) -> None:
    """The wheel and the sdist stay below their limits."""
    sizes = {path.suffix: path.stat().st_size for path in dist.iterdir()}
    assert sizes.keys() == MAX_SIZES.keys()
    assert not [kind for kind, size in sizes.items() if size >= MAX_SIZES[kind]], sizes


def test_wheel_holds_only_the_package(wheel: Path) -> None:
    """It contains the modules, `py.typed`, and the files that every wheel has."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    about = {name for name in names if name.startswith(f"{NAME}.dist-info/")}
    assert names - about == modules()
    assert {PurePosixPath(name).name for name in about} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "LICENSE",
        "entry_points.txt",
    }


def test_sdist_holds_everything_for_the_build(dist: Path) -> None:
    """It contains the package, its documents, and what the build needs."""
    with tarfile.open(dist / f"{NAME}.tar.gz") as archive:
        names = {name.removeprefix(f"{NAME}/") for name in archive.getnames()}
    documents = {"README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE"}
    others = {*documents, "pyproject.toml", "PKG-INFO", ".gitignore"}
    assert names == modules() | others


def test_metadata(metadata: Message) -> None:
    """The metadata is right for package indexes and installers."""
    assert metadata["Name"] == "portsip_async"
    assert metadata["Version"] == __version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert str(metadata.get_payload()).startswith("# portsip_async")
    required = [each for each in metadata.get_all("Requires-Dist", []) if "extra ==" not in each]
    runtime = {re.split(r"[^\w-]", each)[0] for each in required}
    assert runtime == {"aiohttp", "msgspec", "tenacity", "aiolimiter"}
    extras = set(metadata.get_all("Provides-Extra", []))
    assert {"cli", "otel"} <= extras
    assert "v22" in metadata["Summary"]
    assert {"portsip", "v22"} <= set(metadata["Keywords"].split(","))
    classifiers = metadata.get_all("Classifier", [])
    assert "Typing :: Typed" in classifiers
    # The license expression replaces the classifier. An index refuses both.
    assert not [each for each in classifiers if each.startswith("License ::")]
    urls = dict(each.split(", ") for each in metadata.get_all("Project-URL", []))
    assert urls.keys() == {"Homepage", "Documentation", "Changelog", "Issues"}
    assert all(url.startswith(REPOSITORY) for url in urls.values())
    paths = [url.removeprefix(f"{REPOSITORY}/blob/main/") for url in urls.values()]
    assert [path for path in paths if "://" not in path and not (ROOT / path).exists()] == []


def test_links_of_the_description_are_absolute(metadata: Message) -> None:
    """A package index has no files beside the README. Its links lead to the files of the tag."""
    text = str(metadata.get_payload())
    pictures = re.findall(r'!\[[^]]*\]\(([^)]+)\)|src="([^"]+)"', text)
    links = re.findall(r'(?<!!)\[[^]]*\]\(([^)]+)\)|href="([^"]+)"', text)
    assert len(links) > 20
    assert len(pictures) > 2
    raw = REPOSITORY.replace("//github.com/", "//raw.githubusercontent.com/")
    for found, home in ((pictures, f"{raw}/"), (links, f"{REPOSITORY}/blob/")):
        for link in map("".join, found):
            if "portsip" not in link:
                assert link.startswith("https://")
                continue
            file, _, _ = link.removeprefix(f"{home}v{__version__}/").partition("#")
            assert (ROOT / file).is_file(), link


def test_pip_install_in_a_bare_environment(wheel: Path, tmp_path: Path) -> None:
    """The wheel installs, says which extra is missing, and works with its dependencies."""
    venv = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=tmp_path)
    python = venv / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    run(*pip, "install", "--no-index", "--no-deps", wheel, cwd=tmp_path)
    assert __version__ in run(
        python, "-I", "-c", "import portsip_async as p; print(p.__version__)", cwd=tmp_path
    )
    command = venv / "bin" / "portsip-async"
    assert "portsip_async[cli]" in run(command, "--help", cwd=tmp_path, code=2)
    # From here on, use the dependencies of this environment instead of downloading them.
    site = Path(sysconfig.get_path("purelib", vars={"base": str(venv), "platbase": str(venv)}))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    home, *numbers = run(python, "-I", "-c", USE, cwd=tmp_path).splitlines()
    assert Path(home).is_relative_to(venv)
    assert numbers == ["['100', '101', '102']"] * 2
    assert "simulate" in run(command, "--help", cwd=tmp_path)


def imported_by(statement: str, before: str = "") -> tuple[set[str], set[str]]:
    """Return the packages that a statement imports, and the SDK's modules that are then loaded.

    Args:
        statement: the statement.
        before: a statement that is run first; its packages don't count.
    """
    code = IMPORTS.replace("BEFORE", before).replace("IMPORT", statement)
    others, ours = run(sys.executable, "-c", code, cwd=ROOT).splitlines()
    return set(others.split()), set(ours.split())


def test_import_of_the_package_imports_nothing_else() -> None:
    """Other modules are imported when a name of the package is first used."""
    others, ours = imported_by("import portsip_async")
    assert ours == LIGHT
    assert not others & {"aiohttp", "msgspec", "tenacity", "asyncio"}


@pytest.mark.parametrize("generation", ["classic", "v22"])
def test_import_of_a_generation_imports_nothing_else(generation: str) -> None:
    """The package of a generation loads its client when that is first used."""
    _, ours = imported_by(f"import portsip_async.{generation}")
    assert ours == {*LIGHT, f"portsip_async.{generation}"}


@pytest.mark.parametrize(
    "statement",
    [
        "from portsip_async.{generation} import PortSIPClient",
        "from portsip_async import {generation}; {generation}.PortSIPClient",
        "import portsip_async; portsip_async.{generation}.PortSIPClient",
    ],
)
@pytest.mark.parametrize(("generation", "other"), [("classic", "v22"), ("v22", "classic")])
def test_generations_load_nothing_of_each_other(
    generation: str, other: str, statement: str
) -> None:
    """A program that uses one generation does not load the tables and models of the other."""
    _, ours = imported_by(statement.format(generation=generation))
    assert f"portsip_async.{generation}.client" in ours
    assert not [name for name in ours if name.startswith(f"portsip_async.{other}")]


@pytest.mark.parametrize("generation", ["classic", "v22"])
def test_import_of_the_client_imports_no_extra(generation: str) -> None:
    """It imports neither the command line, the simulator, telemetry nor Redis, and few packages."""
    package = "portsip_async" if generation == "classic" else "portsip_async.v22"
    others, ours = imported_by(f"from {package} import *", "import aiohttp, msgspec")
    assert f"portsip_async.{generation}.client" in ours
    unwanted = ("cli", "simulator", "telemetry", "openapi", "pytest_plugin", "redis", "fleet")
    assert not [name for name in ours if name.split(".")[1:2] and name.split(".")[1] in unwanted]
    foreign = others - sys.stdlib_module_names - {"portsip_async"}
    assert foreign <= {"tenacity", "aiolimiter"}
