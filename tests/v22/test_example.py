"""The example of generation v22 works as printed against ``portsip-async simulate``."""

import ast
import asyncio
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

EXAMPLE = """\
from portsip_async.v22 import NewUser, PortSIPClient

async with PortSIPClient("https://pbx.example.com:8887", username="admin", password="...", domain="test.io") as pbx:
    async for user in pbx.users.list(search="10"):
        print(user.extension_number, user.display_name, user.id)
    user_id = await pbx.users.create(NewUser(name="ann", display_name="Ann", email="ann@test.io", role="StandardUser",
        extension_number="951", password="...", extension_password="...", voicemail_pin="123456"))
    await pbx.users.patch(user_id, {"department": "Sales"})
    async for change in pbx.extensions.watch_status(["951", "100"]):
        print(change.extension_number, change.before, change.after)
"""  # noqa: E501 - as printed
COMMAND = (sys.executable, "-W", "error", "-m", "portsip_async", "simulate")
SECONDS = 30  # until a process counts as stuck


@pytest.fixture
async def printed() -> AsyncIterator[dict[str, str]]:
    """The variables that ``portsip-async simulate`` prints, while it runs."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        greeting = await asyncio.wait_for(process.stdout.readuntil(b"Ctrl-C"), SECONDS)
        lines = greeting.decode().splitlines()
        words = [word for line in lines if "export" in line for word in shlex.split(line)]
        yield dict(word.split("=", 1) for word in words if "=" in word)
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


async def test_example(printed: dict[str, str]) -> None:
    """It lists users, creates and changes one, and follows the status of two."""
    example = EXAMPLE.replace("https://pbx.example.com:8887", printed["PORTSIP_URL"], 1)
    example = example.replace('password="..."', f"password={printed['PORTSIP_PASSWORD']!r}", 1)
    code = compile(example, "<example>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(code, CodeType)
    lines: list[tuple[Any, ...]] = []
    is_watching = asyncio.Event()

    def note(*words: Any) -> None:
        lines.append(words)
        if {"951", "100"} <= {number for number, before, _ in lines if before is None}:
            is_watching.set()

    task = asyncio.ensure_future(eval(code, {"print": note}))
    waiter = asyncio.ensure_future(is_watching.wait())
    await asyncio.wait({task, waiter}, timeout=SECONDS, return_when=asyncio.FIRST_COMPLETED)
    for each in (waiter, task):
        each.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert is_watching.is_set()
    listed = {number for number, name, _ in lines if name is not None}
    assert "100" in listed
    assert "951" not in listed
