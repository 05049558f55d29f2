"""Write the Python blocks of all pages as modules for type checkers.

The files that a page shows are written as they are. Its other blocks become one module. Each block
is a function inside that of the block above it, so it sees the names from above, and may use them
for something else. `CONTEXT` declares the names that blocks use without defining them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .blocks import Block, blocks, files, pages

# Some pages are about libraries that have no types, or that are not installed here.
MYPY = '# mypy: disable-error-code="import-untyped, import-not-found"\n'
CONTEXT = """\
import portsip_async
import portsip_async.v22

async def page(
    url: str,
    numbers: list[str],
    new_extensions: list[portsip_async.NewExtension],
    new_users: list[portsip_async.v22.NewUser],
) -> None:
"""
PBX = {"classic": "portsip_async.PortSIPClient", "v22": "portsip_async.v22.PortSIPClient"}
PAGES = [*pages(), "examples/README.md"]


@dataclass
class Snippets:
    """The modules in a folder, and where their lines come from.

    Attributes:
        folder: the folder.
        sources: by file name in the folder, the page and the line of each of its lines.
    """

    folder: Path
    sources: dict[str, list[str]] = field(default_factory=dict)

    def source(self, path: str, line: int) -> str:
        """Return the page and the line of a line in a module."""
        name = str(Path(path).resolve().relative_to(self.folder.resolve()))
        return self.sources[name][line - 1]


def write_modules(folder: Path) -> Snippets:
    """Write the Python blocks of all pages to a folder."""
    snippets = Snippets(folder)
    for page in PAGES:
        python = [block for block in blocks(page) if block.language == "python"]
        for block in python:
            if block.title:
                assert block.title not in snippets.sources, f"two pages show {block.title}"
                _write(snippets, block.title, _lines(block, 0))
        untitled = [block for block in python if not block.title]
        if untitled:
            name = page.removesuffix(".md").replace("/", "_").replace("-", "_").lower()
            _write(snippets, f"page_{name}.py", _nested(page, untitled))
    return snippets


def _write(snippets: Snippets, name: str, lines: Iterator[tuple[str, str]]) -> None:
    path = snippets.folder / name
    if path.parent != snippets.folder:  # a package
        path.parent.mkdir(exist_ok=True)
        (path.parent / "__init__.py").touch()
    written = [*lines]
    path.write_text("".join(f"{code}\n" for code, _ in written) + MYPY, encoding="utf-8")
    snippets.sources[name] = [source for _, source in written]


def _nested(page: str, of_page: list[Block]) -> Iterator[tuple[str, str]]:
    """Yield the lines of a page's module, each with its source."""
    for line in CONTEXT.splitlines():
        yield line, page
    depth, generation = 1, ""
    for block in of_page:
        if block.generation != generation:
            generation = block.generation
            yield (
                f"{'    ' * depth}async def generation(pbx: {PBX[generation]}) -> None:",
                str(block),
            )
            depth += 1
        yield f"{'    ' * depth}async def block() -> None:", str(block)
        depth += 1
        yield from _lines(block, depth)


def _lines(block: Block, depth: int) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(block.code.splitlines(), block.line):
        yield "    " * depth + line if line else "", f"{block.page}:{number}"


def titles() -> set[str]:
    """Return the names of the Python files that the pages show."""
    return {name for page in PAGES for name in files(page) if name.endswith(".py")}
