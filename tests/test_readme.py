"""The README says what is so, and its example runs as printed."""

import asyncio
import os
import re
import sys
from pathlib import Path

from portsip_async.simulator import PBXSimulator

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


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


def test_readme_links_lead_somewhere() -> None:
    """Every link and picture of the README is a file of the repository."""
    links = [
        *re.findall(r"\]\(([^)]+)\)", README),
        *re.findall(r'(?:href|src)="([^"]+)"', README),
    ]
    assert len(links) > 20
    assert [link for link in links if not (ROOT / link).exists()] == []
