"""The Python code of the documentation passes ``mypy --strict`` and pyright."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .docs.blocks import ROOT
from .docs.typed import Snippets, write_modules

NOT_INSTALLED = {'Import "pandas" could not be resolved'}  # it would be the largest package by far
PYRIGHT = {
    "include": ["."],
    "extraPaths": [str(ROOT), "."],
    "pythonVersion": "3.11",
    "typeCheckingMode": "standard",
}


@pytest.mark.timeout(300)  # of which a quiet machine needs about 15
def test_code_of_the_documentation_has_correct_types(tmp_path: Path) -> None:
    """Every block of every page, and every file that a page shows."""
    snippets = write_modules(tmp_path)
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(PYRIGHT))
    modules = [str(tmp_path / name) for name in snippets.sources]
    strict = ["--strict", "--config-file", "pyproject.toml", "--no-pretty", "--hide-error-context"]
    pyright = ["--outputjson", "--pythonpath", sys.executable, "--project", str(tmp_path)]
    running = start("mypy", *strict, *modules, MYPYPATH=f"{ROOT}{os.pathsep}{tmp_path}")
    said, errors = start("pyright", *pyright).communicate()
    mypy_said, mypy_errors = running.communicate()
    found = [*mypy_found(snippets, mypy_said), *pyright_found(snippets, said)]
    assert not found, "\n".join(["", *found])
    assert re.match(r"Success: no issues found in \d\d+ source files\n$", mypy_said), mypy_errors
    assert json.loads(said)["summary"]["filesAnalyzed"] >= len(modules), errors


def start(module: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def mypy_found(snippets: Snippets, said: str) -> Iterator[str]:
    for line in said.splitlines():
        match = re.match(r"(.+?):(\d+): error: (.+)$", line)
        if match:
            yield f"{snippets.source(match[1], int(match[2]))}: mypy: {match[3]}"
        elif ": error: " in line:
            yield line


def pyright_found(snippets: Snippets, said: str) -> Iterator[str]:
    for found in json.loads(said)["generalDiagnostics"]:
        if found["severity"] == "error" and found["message"] not in NOT_INSTALLED:
            line = found["range"]["start"]["line"] + 1
            yield f"{snippets.source(found['file'], line)}: pyright: {found['message']}"
