"""The README: its links work, also on a package index, and each example is complete."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from portsip_async.simulator import PBXSimulator

from .docs.blocks import Block, blocks, run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAM, *SNIPPETS = (block for block in blocks("README.md") if block.language == "python")


async def test_readme_example_runs(sim: PBXSimulator) -> None:
    """The first example runs against a simulator that the environment names."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-c",
        PROGRAM.code,
        env=os.environ
        | {
            "PORTSIP_URL": sim.url,
            "PORTSIP_USERNAME": sim.username,
            "PORTSIP_PASSWORD": sim.password,
            "PORTSIP_DOMAIN": sim.domain,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert out.decode().startswith("100 ")
    assert sim.v22.served["users.status"] == 2


@pytest.mark.parametrize("block", SNIPPETS, ids=[f"snippet-{n + 2}" for n in range(len(SNIPPETS))])
async def test_readme_snippet_is_complete(
    block: Block, sim: PBXSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs with no name but its own, and without blank lines in a block, so it can be pasted."""
    monkeypatch.setenv("PORTSIP_URL", sim.url)
    monkeypatch.setenv("PORTSIP_USERNAME", sim.username)
    monkeypatch.setenv("PORTSIP_PASSWORD", sim.password)
    monkeypatch.setenv("PORTSIP_DOMAIN", sim.domain)
    assert await run(block, {"__name__": "page"})
    assert not re.search(r"\n\n[ )\]}]", block.code)


def test_readme_links_exist() -> None:
    """Every link and every picture of the README is a file in the repository, or a page."""
    links = [
        *re.findall(r"\]\(([^)]+)\)", README),
        *re.findall(r'(?:href|src)="([^"]+)"', README),
    ]
    assert len(links) > 20
    files = [link.partition("#") for link in links if not link.startswith("https://")]
    assert [file for file, _, _ in files if not (ROOT / file).exists()] == []
    anchors = {(file, anchor) for file, _, anchor in files if anchor}
    headings = {
        (file, re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-"))
        for file, _ in anchors
        for title in re.findall(r"(?m)^#+ (.+)$", (ROOT / file).read_text(encoding="utf-8"))
    }
    assert anchors <= headings
