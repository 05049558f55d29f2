"""The commands work with the simulator through Prism, and nothing violates the document."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from .conftest import Proxy
from .document import Document
from .plain_requests import RECORDING
from .prism import ROOT
from .test_traffic import Setting, behind_prism

pytestmark = [pytest.mark.vendor, pytest.mark.timeout(180)]

IMPORTED = """\
extension_number,name,display_name,email,role,password,extension_password,voicemail_pin,department
961,cid,"Cid, É",cid@test.io,StandardUser,Web+1&=,Sip%2,135790,Sales
962,dan,Dan,dan@test.io,StandardUser,Web+1&=,Sip%2,135790,
"""
NEW = "name=ann|display_name=Ann É|email=ann@test.io|role=StandardUser"


async def run(at: Setting, *words: str) -> str:
    """Run a command, check its exit code, and return what it prints."""
    variables = {
        "PORTSIP_URL": at.tap.url,
        "PORTSIP_USERNAME": at.sim.username,
        "PORTSIP_PASSWORD": at.sim.password,
        "PORTSIP_DOMAIN": at.sim.domain,
        "PORTSIP_NEW_PASSWORD": "Web+Secret/1&=",
        "PORTSIP_NEW_EXTENSION_PASSWORD": "Sip%Secret 2",
        "PORTSIP_NEW_VOICEMAIL_PIN": "135790",
        "PORTSIP_AUTH": "a b&c",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "portsip_async", *words),
        env={**os.environ, **variables, "PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await process.communicate()
    assert process.returncode == 0, f"{words}: {stderr.decode()}"
    return stdout.decode()


async def test_commands(proxy: Proxy, document: Document, tmp_path: Path) -> None:
    """Each command that sends requests does its work, and Prism objects to nothing."""
    sound, people = tmp_path / "é b.wav", tmp_path / "people.csv"
    sound.write_bytes(RECORDING)
    people.write_text(IMPORTED)
    async with behind_prism(proxy, document) as at:
        first, second = at.sim.extension_numbers[:2]
        settings = [word for each in NEW.split("|") for word in ("--set", each)]
        await run(at, "extensions", "create", "951", *settings)
        await run(at, "extensions", "update", "951", "--set", "department=Sales & Co")
        assert "Sales & Co" in await run(at, "users", "show", "951")
        assert "951" in await run(at, "extensions", "search", "951")
        assert "951" in await run(at, "extensions", "list")
        assert first in await run(at, "extensions", "status", first, second)
        await run(at, "extensions", "call", first, second)
        await run(at, "extensions", "import", str(people))
        await run(at, "extensions", "export", str(tmp_path / "all.csv"))
        await run(at, "extensions", "remove", "951", "961", "--yes")
        created = json.loads(await run(at, "groups", "create", "Säles", "--member", first))
        group = next(iter(created.values()))
        await run(at, "groups", "update", group, "--name", "Sales", "--add", second)
        assert second in await run(at, "groups", "show", group)
        assert "Sales" in await run(at, "groups", "list")
        await run(at, "groups", "remove", group, "--yes")
        await run(at, "greetings", "upload", first, str(sound))
        assert sound.name in await run(at, "greetings", "list", first)
        await run(at, "check")
