"""The links of the README work, and its example runs as printed."""

import asyncio
import os
import re
import sys
from pathlib import Path

from portsip_async.simulator import PBXSimulator

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


async def test_readme_example_runs(sim: PBXSimulator) -> None:
    """The first example runs against a simulator that the environment names."""
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
    assert sim.v22.served["users.status"] == 2


def test_readme_links_exist() -> None:
    """Every link and every picture of the README is a file in the repository."""
    links = [
        *re.findall(r"\]\(([^)]+)\)", README),
        *re.findall(r'(?:href|src)="([^"]+)"', README),
    ]
    assert len(links) > 20
    assert [link for link in links if not (ROOT / link).exists()] == []
