"""Start Prism, the vendor-independent mock and proxy of an OpenAPI document."""

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
INSTALLED = ROOT / ".prism/node_modules/@stoplight/prism-cli/dist/index.js"
STOP_WITH_PARENT = Path(__file__).with_name("stop_with_parent.js")
PATIENCE = 60  # seconds until a process counts as stuck


@contextmanager
def running(log: Path, *arguments: object) -> Iterator[str]:
    """Run Prism on a free port of loopback, and return its URL.

    Args:
        log: the file that Prism's output goes to.
        arguments: the command, its options, the document, and of a proxy the upstream's URL.
    """
    assert INSTALLED.exists(), "Prism is not installed: run the tests by make test-vendor"
    command = ("node", "-r", STOP_WITH_PARENT, INSTALLED, *arguments)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*map(str, command), "--host", "127.0.0.1", "--port", "0"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield _wait_until_ready(process, log)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()


def _wait_until_ready(process: "subprocess.Popen[bytes]", log: Path) -> str:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        ended = process.poll() is not None
        text = log.read_text(errors="replace")
        if found := re.search(r"Prism is listening on (http://\S+)", text):
            return found[1]
        assert not ended, f"Prism ended:\n{text}"
        time.sleep(0.05)
    raise AssertionError(f"Prism is not ready after {PATIENCE} seconds:\n{text}")
