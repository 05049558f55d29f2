"""Use a client in a process that can import nothing more: `python -m tests.without_imports URL`.

Prints a line of JSON for each case: its name, and "done" or the class of its error. The last line
lists the modules that something tried to import after the clients had been made.
"""

import asyncio
import copy
import json
import logging
import pickle
import ssl
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.machinery import ModuleSpec
from typing import Any

from portsip_async import (
    Endpoint,
    Extension,
    NewExtension,
    PortSIPClient,
    PortSIPError,
    RetryPolicy,
    Timeout,
)
from portsip_async.telemetry import Telemetry

# The end of a path says how the server replies.
KINDS = """
    502 503 429 429-digits 429-date 408 redirect switch no-content
    truncated rubbish rubbish-chunk silence reset hang-up too-large
    gzip deflate br zstd charset cookie
    html latin-1 repair unreadable null 401 token-rejected exists
"""
BOUNDS: dict[str, Any] = {
    "retry": RetryPolicy(attempts=3, initial=0.001, maximum=0.002, deadline=3.0),
    "timeout": Timeout(total=0.5, connect=0.4, read=0.3),
    "max_reply_bytes": 1 << 16,
}
# Changes with a field that nothing has.
UNKNOWN: dict[str, Any] = {"profil": {}}


class ImportBlocker:
    """A module finder before all others, which refuses and records every import."""

    def __init__(self) -> None:
        self.refused: list[str] = []

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        self.refused.append(name)
        raise PermissionError(f"imports are blocked: {name}")


def print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")


async def stream() -> AsyncIterator[bytes]:
    yield b"RIFF"
    raise ValueError("the recording ended")


async def collect(stream: Any) -> list[Any]:
    return [each async for each in stream]


async def watch(pbx: PortSIPClient, seconds: float) -> None:
    """Watch during an outage; raise only if the watch itself fails."""
    try:
        async with asyncio.timeout(seconds):
            await collect(pbx.extensions.watch_status(["101", "102"], interval=0.02))
    except TimeoutError:
        pass


async def time_out(pbx: PortSIPClient) -> None:
    async with asyncio.timeout(0.05):
        await pbx.request(Endpoint("x.silence", "GET", "/x/silence", reply=Extension))


async def use_error(pbx: PortSIPClient) -> None:
    """Pickle, copy, log and format an error."""
    try:
        await pbx.request(Endpoint("x.502", "GET", "/x/502"))
    except PortSIPError as error:
        pickle.loads(pickle.dumps(error))
        copy.deepcopy(copy.copy(error))
        logging.getLogger("application").exception("it failed")
        "".join(traceback.format_exception(error))


def failing_hook(_: object) -> None:
    raise ZeroDivisionError


async def main(url: str) -> None:
    made: list[PortSIPClient] = []

    def client(to: str = url, **options: Any) -> PortSIPClient:
        if "token" not in options:
            options |= {"username": "admin", "password": "a-long-password"}
        made.append(PortSIPClient(to, **BOUNDS, **options))
        return made[-1]

    pbx = client()
    cases: dict[str, Callable[[], Awaitable[object]]] = {
        "success": lambda: pbx.request(Endpoint("x.ok", "GET", "/x/ok", reply=Extension))
    }

    def call(kind: str, method: str) -> None:
        row = Endpoint(f"x.{kind}", method, f"/x/{kind}", reply=Extension)
        cases[f"{method} {kind}"] = lambda: pbx.request(row)

    for kind in KINDS.split():
        call(kind, "GET")
        call(kind, "POST")

    def show(name: str, *to: str, **options: Any) -> None:
        made_for_it = client(*to, **options)
        cases[name] = lambda: made_for_it.extensions.show("101")

    show("tls", url.replace("http:", "https:"))
    show("tls unchecked", url.replace("http:", "https:"), ssl=ssl.create_default_context())
    show("unknown host", "https://nowhere.invalid")
    show("refused", "http://127.0.0.1:1")
    show("proxy refused", proxy="http://127.0.0.1:1")
    show("proxy unknown", proxy="http://nowhere.invalid:3128")
    show("login refused", endpoints={"account.verify": {"path": "/x/401"}})
    show("login html", endpoints={"account.verify": {"path": "/x/html"}})
    show("login missing", endpoints={"account.verify": {"path": "/x/missing"}})
    show("login broken", endpoints={"account.verify": {"path": "/x/truncated"}})
    show(
        "token dead",
        token="96ACE20C6F34027895F7F95402BB1641",
        endpoints={"account.refresh": {"path": "/x/401"}, "extensions.show": {"path": "/x/401"}},
    )
    show("rate", requests_per_second=50, endpoints={"extensions.show": {"path": "/x/502"}})
    show("telemetry", on_attempt=Telemetry(), endpoints={"extensions.show": {"path": "/x/502"}})
    show("hook", on_attempt=failing_hook, endpoints={"extensions.show": {"path": "/x/502"}})
    down = client(endpoints={"extensions.status": {"path": "/x/502"}})
    refusing = client(endpoints={"extensions.status": {"path": "/x/missing"}})
    dropping = client(endpoints={"extensions.create": {"path": "/x/hang-up"}})
    new = NewExtension(extension_number="9", password="pw-long", web_access_password="web-long")
    cases |= {
        "verify": lambda: pbx.account.verify("ann", "another-password"),
        "refresh": pbx.account.refresh,
        "walk": lambda: collect(pbx.extensions.list()),
        "poll": lambda: collect(refusing.extensions.poll_status(["101", "102", "103"])),
        "poll of rubbish": lambda: collect(pbx.extensions.poll_status(["", "\ud800"])),
        "watch": lambda: watch(down, 0.3),
        "create_many": lambda: collect(dropping.extensions.create_many([new])),
        "remove_many": lambda: collect(pbx.extensions.remove_many(["9"])),
        "patch_many": lambda: collect(pbx.extensions.patch_many([("9", UNKNOWN)])),
        "patch": lambda: pbx.extensions.patch("101", profile=UNKNOWN),
        "upload": lambda: pbx.greetings.upload("101", b"RIFF", filename="hélas.wav"),
        "upload of a file": lambda: pbx.greetings.upload("101", __file__, filename="a.wav"),
        "upload of no file": lambda: pbx.greetings.upload("101", "/no/such/file.wav"),
        "upload of a stream": lambda: pbx.greetings.upload("101", stream(), filename="a.mp3"),
        "cancelled": lambda: time_out(pbx),
        "error kept": lambda: use_error(pbx),
        "closed": lambda: pbx.close(),
        "after closing": lambda: pbx.extensions.show("101"),
    }
    blocker = ImportBlocker()
    sys.meta_path.insert(0, blocker)
    for name, run in cases.items():
        outcome = "done"
        try:
            await run()
        except Exception as error:
            outcome = type(error).__name__
        print_json([name, outcome])
    for each in made:
        await each.close()
    sys.meta_path.remove(blocker)
    print_json(blocker.refused)


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    asyncio.run(main(sys.argv[1]))
