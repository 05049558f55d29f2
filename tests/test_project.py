"""The project around the code: the stages of the Makefile, the changelog, GitHub's forms."""

import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from portsip_async import __version__

ROOT = Path(__file__).parent.parent
SOURCES = ("Makefile", "pyproject.toml", "portsip_async/_version.py")
CREATE, FIRST, SECOND = "-m venv .venv", "--editable '.[cli]'", "--editable '.[cli,otel,dev]'"

yaml: Any = importlib.import_module("yaml")  # it has no annotations


# The Makefile.


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a folder with what decides which stages of .venv are made."""
    if shutil.which("make") is None:
        pytest.skip("needs make")
    for name in SOURCES:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, path)
        os.utime(path, (0, 0))
    return tmp_path


def finish(clone: Path, *stamps: str, python: str = sys.executable) -> None:
    """Pretend that stages are complete."""
    programs = clone / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(python)
    for n, stamp in enumerate(stamps, 1):
        path = clone / ".venv" / stamp
        path.touch()
        os.utime(path, (n, n))


def installs(clone: Path, target: str) -> list[str]:
    """Return what a target would create and install, in order."""
    done = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", target],
        cwd=clone,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    return re.findall("|".join(map(re.escape, (CREATE, FIRST, SECOND))), done.stdout)


def test_demo_installs_the_command_line_only(clone: Path) -> None:
    """The first minute downloads nothing that only the tests need."""
    assert installs(clone, "demo") == [CREATE, FIRST]


@pytest.mark.parametrize("target", ["test", "types", "docs", "dist", "test-pythons"])
def test_other_targets_start_from_nothing(target: str, clone: Path) -> None:
    assert installs(clone, target) == [CREATE, FIRST, SECOND]


def test_finished_stages_are_kept(clone: Path) -> None:
    """Nothing is installed twice, and `make test` builds on the demo's packages."""
    finish(clone, ".demo")
    assert installs(clone, "demo") == []
    assert installs(clone, "test") == [SECOND]
    (clone / ".venv" / ".ready").touch()
    assert installs(clone, "test") == []


@pytest.mark.parametrize("source", SOURCES[1:])
def test_changed_source_renews_the_stages(source: str, clone: Path) -> None:
    """A new dependency or version reaches the .venv, which stays."""
    finish(clone, ".demo", ".ready")
    (clone / source).touch()
    assert installs(clone, "demo") == [FIRST]
    assert installs(clone, "test") == [FIRST, SECOND]


def test_interrupted_run_heals(clone: Path) -> None:
    """A .venv whose installation was interrupted is replaced: pip would trust its packages."""
    finish(clone, ".demo", ".installing")
    assert installs(clone, "demo") == [CREATE, FIRST]


def test_own_venv_is_kept(clone: Path) -> None:
    """A .venv that somebody made by hand keeps what else is installed in it."""
    finish(clone)
    assert installs(clone, "test") == [FIRST, SECOND]


def test_lost_interpreter_heals(clone: Path) -> None:
    """A .venv whose Python was uninstalled is replaced, though its stamps are there."""
    finish(clone, ".demo", ".ready", python="/nonexistent/python")
    assert installs(clone, "test") == [CREATE, FIRST, SECOND]


# The release.


def test_changelog_dates_this_version() -> None:
    """The newest version of the changelog is the package's, with a date, below Unreleased."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first, *released = re.findall(r"(?m)^## \[(.+?)\](.*)$", text)
    assert first == ("Unreleased", "")
    assert released
    version, date = released[0]
    assert version == __version__
    assert re.fullmatch(r" - \d{4}-\d\d-\d\d", date)


# GitHub.


def test_workflow_has_each_supported_python() -> None:
    """The matrix has the Pythons of the classifiers, which `make test-pythons` tests too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    versions = [each.split()[-1] for each in project["classifiers"] if ":: 3." in each]
    workflow = load(".github/workflows/ci.yml")
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == versions


def test_workflow_calls_targets_that_exist() -> None:
    targets = re.findall(r"(?m)^([\w -]+):", (ROOT / "Makefile").read_text(encoding="utf-8"))
    known = {name for line in targets for name in line.split()}
    steps = [
        step["run"].split()
        for job in load(".github/workflows/ci.yml")["jobs"].values()
        for step in job["steps"]
        if "run" in step
    ]
    assert steps
    for command, *arguments in steps:
        assert command == "make"
        assert {each for each in arguments if "=" not in each} <= known


@pytest.mark.parametrize("form", ["bug", "feature"])
def test_issue_form_is_complete(form: str) -> None:
    """GitHub shows a form only if it has these keys, and its fields have ids of their own."""
    found = load(f".github/ISSUE_TEMPLATE/{form}.yml")
    assert found.keys() >= {"name", "description", "body"}
    fields = [field for field in found["body"] if field["type"] != "markdown"]
    assert all(field["attributes"]["label"] for field in fields)
    ids = [field["id"] for field in fields]
    assert len({*ids}) == len(ids)


def test_bug_form_asks_for_the_report_of_check() -> None:
    text = (ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text(encoding="utf-8")
    assert "portsip-async check" in text
    assert "portsip-async --version" in text


def test_security_problems_are_not_issues() -> None:
    """The first link of the issue page leads to a file that exists."""
    link = load(".github/ISSUE_TEMPLATE/config.yml")["contact_links"][0]["url"]
    assert link.endswith("/SECURITY.md")
    assert (ROOT / "SECURITY.md").exists()


def test_hooks_use_the_tools_of_the_venv() -> None:
    """No hook has a version of its own, which would differ from that of `make lint`."""
    (repository,) = load(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
