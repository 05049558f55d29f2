"""Find the code blocks of a page and run them.

Python blocks run in the order of the page, in one namespace, as in an interactive session that
allows `await`. The namespace has these names: `pbx` (an open client of a simulator), `url` (its
address), `numbers` (all its extensions), `new_extensions` (one extension to create) and `new_users`
(the same for v22). The environment names the simulator, too. A block with a title is written to
that file in the working directory, and has a separate test.

`pbx` is a classic client. Below a line ``<!-- python: v22 -->`` it is one of v22, and below
``<!-- python: classic -->`` a classic one again. No reader of the page sees these lines.

A block that prints endlessly, such as a watch, ends after `ENOUGH` lines.
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
_GENERATION = re.compile(r"^<!-- python: (\w+) -->$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A code block of a page."""

    page: str
    line: int
    language: str
    title: str
    code: str
    generation: str = "classic"

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


class Enough(Exception):
    """A block has printed enough lines to show that it works."""


def pages() -> list[str]:
    """Return the pages as paths in the repository."""
    return ["README.md", *sorted(str(path.relative_to(ROOT)) for path in DOCS.rglob("*.md"))]


def blocks(page: str) -> list[Block]:
    """Return the code blocks of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        title = _TITLE.search(match[2])
        line = text[: match.start()].count("\n") + 2
        generation = ["classic", *_GENERATION.findall(text, 0, match.start())][-1]
        found.append(Block(page, line, match[1], title[1] if title else "", match[3], generation))
    return found


def files(page: str) -> dict[str, str]:
    """Return the complete files that a page shows, by name."""
    return {
        block.title: block.code for block in blocks(page) if block.title and block.title != "output"
    }


def write_files(page: str, folder: Path) -> None:
    """Write the files of a page to a folder."""
    for name, code in files(page).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")


def commands(block: Block) -> Iterator[list[str]]:
    """Yield the commands of a shell block. Commands of a pipe are yielded one by one."""
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
    """Run a Python block in a namespace and return the lines that it printed."""
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
