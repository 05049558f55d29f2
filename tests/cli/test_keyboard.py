"""Single keys from a terminal."""

import asyncio
import os
import pty
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from portsip_async.cli.terminal.keyboard import Keyboard


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The other end of a terminal that is the standard input."""
    other, own = pty.openpty()
    with os.fdopen(own) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield other


async def test_terminal_that_is_gone(terminal: int) -> None:
    """A read fails then, and so does restoring the settings. Neither is an error."""
    problems: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    pressed: list[str] = []
    typed = asyncio.Event()

    def press(key: str) -> None:
        pressed.append(key)
        typed.set()

    with Keyboard().listening(press):
        os.write(terminal, b"\x1b[6~")
        await asyncio.wait_for(typed.wait(), 5)
        os.close(terminal)
        for _ in range(5):
            await asyncio.sleep(0)
    assert pressed == ["next"]
    assert not problems
