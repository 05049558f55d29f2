"""The soak's end of the simulated PBX's process: starts it, orders it about, kills it."""

import asyncio
import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from .proxy import HOST, Unready, end_with_parent, free_port

_WAIT = 30.0  # seconds for it to listen


class PBX:
    """A simulated PBX that can be killed, and keeps its port and, in the journal, its state."""

    def __init__(self, log: Path, settings: dict[str, Any]) -> None:
        self.port = free_port()
        self.deaths = 0
        self._settings = settings | {"port": self.port}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220  # it takes no time to speak of
                [sys.executable, "-m", f"{__package__}.pbx_process"],
                stdin=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                preexec_fn=end_with_parent,
            )
        self.tell(**self._settings)
        until = time.monotonic() + _WAIT
        while self._process.poll() is None and time.monotonic() < until:
            with suppress(OSError):
                _, writer = await asyncio.open_connection(HOST, self.port)
                writer.close()
                await writer.wait_closed()
                return
            await asyncio.sleep(0.05)
        raise Unready(f"the simulated PBX does not listen; see {self._log}")

    def tell(self, **order: Any) -> None:
        """Give it an order; nobody hears it while it is dead."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.write(json.dumps(order).encode() + b"\n")

    def kill(self) -> None:
        """Let it die without a word."""
        self.deaths += 1
        self._end()

    def stop(self) -> None:
        """End it for good."""
        self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
