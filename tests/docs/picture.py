"""Draw docs/images/cli.svg, a picture of the command line: ``python -m tests.docs.picture``.

The rows are the output of a command on a terminal. The board is the one of `extensions watch`.
"""

import asyncio
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

from portsip_async import PortSIPClient
from portsip_async.cli.board import Board
from portsip_async.cli.pbx.classic import ClassicPBX
from portsip_async.simulator import PBXSimulator

from .blocks import DOCS

COLUMNS, LINES = 92, 16  # of the board
LIST = ("extensions", "list", "--limit", "3")
WATCH = ("extensions", "watch", "--interval", "2")
CHANGES = 6
# The picture uses a font of the reader's system and downloads none.
FONT_FACE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def on_terminal(*arguments: str, environment: dict[str, str]) -> str:
    """Run the command line on a terminal and return what the terminal shows."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "portsip_async", *arguments],
        stdin=follower,
        stdout=follower,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm-256color", **environment},
    )
    os.close(follower)
    said = b""
    with suppress(OSError):  # on Linux this is the end of the terminal's output
        while read := os.read(leader, 65536):
            said += read
    process.wait()
    os.close(leader)
    return said.decode().replace("\r\n", "\n")


async def draw() -> None:
    """List and watch a simulated PBX, and draw the output."""
    screen = Console(
        record=True,
        width=COLUMNS,
        force_terminal=True,
        color_system="truecolor",
        file=io.StringIO(),
    )
    board = Board(detail=ClassicPBX.detail, keyboard=True)
    async with PBXSimulator(extensions=140, status_seconds=3) as sim:
        environment = {
            "PORTSIP_URL": sim.url,
            "PORTSIP_USERNAME": sim.username,
            "PORTSIP_PASSWORD": sim.password,
        }
        rows = await asyncio.to_thread(on_terminal, *LIST, environment=environment)
        screen.print(Text(f"$ portsip-async {' '.join(LIST)}", "bold"))
        screen.print(Text.from_ansi(rows.rstrip()))
        async with PortSIPClient(sim.url, username=sim.username, password=sim.password) as pbx:
            async for extension in pbx.extensions.list():
                names = (extension.first_name, extension.last_name)
                board.name(extension.extension_number, " ".join(filter(None, names)))
            watch = pbx.extensions.watch_status(interval=0.2)
            news = 0
            async with watch:
                async for change in watch:
                    board.apply(change)
                    news += change.before is not None
                    if news == CHANGES and watch.stats.cycles:
                        break
            screen.print(Text(f"\n$ portsip-async {' '.join(WATCH)}", "bold"))
            screen.print(board.render(COLUMNS, LINES, watch.stats, datetime.now(UTC)))
    picture = screen.export_svg(title="portsip-async")
    (DOCS / "images").mkdir(exist_ok=True)
    (DOCS / "images" / "cli.svg").write_text(FONT_FACE.sub("", picture), encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(draw())
