"""The blocks of code on a page, and how they are run.

Python blocks run in the order of the page, in one namespace, as if typed into a session that
allows `await`. They find these names: `pbx` (an open client of a simulator), `url` (its address),
`numbers` (all its extensions) and `new_extensions` (one to be); the environment tells of the
simulator too. A block with a title becomes that file in the working directory, and is run by a
test of its own.

A block that prints without end, as one that watches does, ends after `ENOUGH` lines.
"""

import ast
import inspect
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
ENOUGH = 250

_FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """A block of code on a page."""

    page: str
    line: int
    language: str
    title: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


class Enough(Exception):
    """A block printed as much as is needed to see that it works."""


def pages() -> list[str]:
    """List the pages, by their paths in the repository."""
    return ["README.md", *sorted(str(path.relative_to(ROOT)) for path in DOCS.rglob("*.md"))]


def blocks(page: str) -> list[Block]:
    """Find the blocks of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        title = _TITLE.search(match[2])
        line = text[: match.start()].count("\n") + 2
        found.append(Block(page, line, match[1], title[1] if title else "", match[3]))
    return found


def files(page: str) -> dict[str, str]:
    """Answer the files that a page shows whole, by their names."""
    return {
        block.title: block.code for block in blocks(page) if block.title and block.title != "output"
    }


def write_files(page: str, folder: Path) -> None:
    """Put the files of a page into a folder."""
    for name, code in files(page).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")


def commands(block: Block) -> Iterator[list[str]]:
    """Take a shell block apart into commands; those of a pipe come one by one."""
    for line in block.code.splitlines():
        if line.startswith("$ "):
            words = shlex.split(line[2:], comments=True)
            command: list[str] = []
            for word in words:
                if word == "|":
                    yield command
                    command = []
                elif not word.startswith("<"):
                    command.append(word)
            yield command


async def run(block: Block, namespace: dict[str, Any]) -> list[str]:
    """Run a Python block in a namespace; answers what it printed."""
    said: list[str] = []
    namespace["print"] = _printer(said)
    code = compile(
        block.code, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
    )
    try:
        result = eval(code, namespace)
        if inspect.isawaitable(result):
            await result
    except Enough:
        pass
    return said


def _printer(said: list[str]) -> Callable[..., None]:
    def say(*values: object, sep: str = " ", **_: object) -> None:
        said.append(sep.join(map(str, values)))
        if len(said) >= ENOUGH:
            raise Enough

    return say
