"""A client whose process can load no module any more: `python -m tests.without_imports URL`.

Prints one line of JSON for each thing that was tried: its name and what it ended with. The last
line lists the modules that were asked for after the clients had been made.
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

# What the server does with an arrival stands at the end of the path.
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


class Locked:
    """A finder before all others, which finds nothing and notes what was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        self.asked.append(name)
        raise PermissionError(f"no module can be loaded: {name}")


def tell(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")


async def stream() -> AsyncIterator[bytes]:
    yield b"RIFF"
    raise ValueError("the microphone fell")


async def all_of(stream_of: Any) -> list[Any]:
    return [each async for each in stream_of]


async def watched(pbx: PortSIPClient, seconds: float) -> None:
    """Watch through an outage; ends with what ends the watch, or without an error."""
    try:
        async with asyncio.timeout(seconds):
            await all_of(pbx.extensions.watch_status(["101", "102"], interval=0.02))
    except TimeoutError:
        pass


async def stopped(pbx: PortSIPClient) -> None:
    async with asyncio.timeout(0.05):
        await pbx.request(Endpoint("x.silence", "GET", "/x/silence", reply=Extension))


async def kept(pbx: PortSIPClient) -> None:
    """Do with an error what programs do with errors."""
    try:
        await pbx.request(Endpoint("x.502", "GET", "/x/502"))
    except PortSIPError as error:
        pickle.loads(pickle.dumps(error))
        copy.deepcopy(copy.copy(error))
        logging.getLogger("application").exception("it failed")
        "".join(traceback.format_exception(error))


def ends_badly(_: object) -> None:
    raise ZeroDivisionError


async def main(url: str) -> None:
    made: list[PortSIPClient] = []

    def client(to: str = url, **options: Any) -> PortSIPClient:
        if "token" not in options:
            options |= {"username": "admin", "password": "a-long-password"}
        made.append(PortSIPClient(to, **BOUNDS, **options))
        return made[-1]

    pbx = client()
    tried: dict[str, Callable[[], Awaitable[object]]] = {
        "success": lambda: pbx.request(Endpoint("x.ok", "GET", "/x/ok", reply=Extension))
    }

    def call(kind: str, method: str) -> None:
        row = Endpoint(f"x.{kind}", method, f"/x/{kind}", reply=Extension)
        tried[f"{method} {kind}"] = lambda: pbx.request(row)

    for kind in KINDS.split():
        call(kind, "GET")
        call(kind, "POST")

    def show(name: str, *to: str, **options: Any) -> None:
        unlucky = client(*to, **options)
        tried[name] = lambda: unlucky.extensions.show("101")

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
    show("hook", on_attempt=ends_badly, endpoints={"extensions.show": {"path": "/x/502"}})
    down = client(endpoints={"extensions.status": {"path": "/x/502"}})
    refusing = client(endpoints={"extensions.status": {"path": "/x/missing"}})
    half = client(endpoints={"extensions.create": {"path": "/x/hang-up"}})
    new = NewExtension(extension_number="9", password="pw-long", web_access_password="web-long")
    tried |= {
        "verify": lambda: pbx.account.verify("ann", "another-password"),
        "refresh": pbx.account.refresh,
        "walk": lambda: all_of(pbx.extensions.list()),
        "poll": lambda: all_of(refusing.extensions.poll_status(["101", "102", "103"])),
        "poll of rubbish": lambda: all_of(pbx.extensions.poll_status(["", "\ud800"])),
        "watch": lambda: watched(down, 0.3),
        "create_many": lambda: all_of(half.extensions.create_many([new])),
        "remove_many": lambda: all_of(pbx.extensions.remove_many(["9"])),
        "patch_many": lambda: all_of(pbx.extensions.patch_many([("9", {"profil": {}})])),
        "patch": lambda: pbx.extensions.patch("101", profile={"first_nam": "Ann"}),
        "upload": lambda: pbx.greetings.upload("101", b"RIFF", filename="hélas.wav"),
        "upload of a file": lambda: pbx.greetings.upload("101", __file__, filename="a.wav"),
        "upload of no file": lambda: pbx.greetings.upload("101", "/no/such/file.wav"),
        "upload of a stream": lambda: pbx.greetings.upload("101", stream(), filename="a.mp3"),
        "cancelled": lambda: stopped(pbx),
        "error kept": lambda: kept(pbx),
        "closed": lambda: pbx.close(),
        "after closing": lambda: pbx.extensions.show("101"),
    }
    locked = Locked()
    sys.meta_path.insert(0, locked)
    for name, make in tried.items():
        ended = "done"
        try:
            await make()
        except Exception as error:
            ended = type(error).__name__
        tell([name, ended])
    for each in made:
        await each.close()
    sys.meta_path.remove(locked)
    tell(locked.asked)


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    asyncio.run(main(sys.argv[1]))
