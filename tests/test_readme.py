"""The README says what is so, and its example runs as printed."""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from portsip_async import ENDPOINTS, Endpoint
from portsip_async.simulator import PBXSimulator

README = (Path(__file__).parent.parent / "README.md").read_text()

REPEATED = {"safe": "yes", "idempotent": "yes, it comes to the same", "unsafe": "no"}
ANSWERS = {
    "ExtensionPage": "pages of `ExtensionSummary`",
    "GroupPage": "pages of `GroupSummary`",
    "GreetingPage": "pages of `GreetingFile`",
    "ExtensionStatuses": "a list of `ExtensionStatus`",
    "Renewal": "`Token`",
}


def line(row: Endpoint[Any]) -> str:
    reply = "None" if row.reply is None else row.reply.__name__
    answer = ANSWERS.get(reply, "" if reply == "None" else f"`{reply}`")
    request = f"`{row.method} {row.path}`"
    return f"| `{row.name}` | {answer} | {request} | {REPEATED[row.safety]} |"


def test_readme_operations_are_those_of_the_table() -> None:
    """The operations table tells of every row, and of no other."""
    told = [text for text in README.splitlines() if text.startswith("| `")]
    assert told == [line(row) for row in ENDPOINTS.values()]


async def test_readme_example_runs(sim: PBXSimulator) -> None:
    """The ten lines run against a simulator, told of by the environment."""
    examples = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-c",
        examples[0],
        env=os.environ
        | {
            "PORTSIP_URL": sim.url,
            "PORTSIP_USERNAME": sim.username,
            "PORTSIP_PASSWORD": sim.password,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert out.decode().startswith("100 ")
    assert sim.served["extensions.status"] == 1


@pytest.mark.parametrize("file", ["CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"])
def test_readme_links_lead_somewhere(file: str) -> None:
    assert f"({file})" in README
    assert (Path(__file__).parent.parent / file).exists()
