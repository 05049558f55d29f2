"""Literal transcripts of the vendor's page, one directory for each operation.

``request.json`` is the request as the page shows it. If the page has no path, it is the one of the
vendor's reference. ``reply.json`` is the page's reply, unchanged; ``reply.txt`` is empty, for
operations without a reply on the page.

Two things are not on the page: the token of `extensions.create`, which the SDK sends, and the
parts of an upload, which are listed as the SDK sends them.

``wsi_samples.jsonl`` has the vendor's messages of the web socket, of several versions.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent

SAMPLES: list[str] = sorted(path.parent.name for path in _HERE.glob("*/request.json"))

TOKEN = "196ACE20C6F34027895F7F95402BB164"


@dataclass(frozen=True)
class Sample:
    """One request and its reply.

    Attributes:
        query: the parameters of the query; None without a query.
        body: the JSON body; None without one.
        parts: the parts of a multipart body: name, and either value, or filename and content.
        reply: the body of the reply; empty if the page shows none.
    """

    operation: str
    method: str
    path: str
    query: dict[str, str] | None
    body: dict[str, Any] | None
    parts: list[dict[str, str]] | None
    reply: bytes

    @property
    def parsed(self) -> Any:
        """The decoded reply; None if it is empty."""
        return json.loads(self.reply) if self.reply else None


def load(operation: str) -> Sample:
    """Read the transcript of an operation, such as ``extensions.status``."""
    folder = _HERE / operation
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    reply = folder / "reply.json"
    if not reply.exists():
        reply = folder / "reply.txt"
    return Sample(
        operation,
        request["method"],
        request["path"],
        request["query"],
        request["body"],
        request.get("parts"),
        reply.read_bytes(),
    )


@dataclass(frozen=True)
class WSISample:
    """One message of the web socket.

    Attributes:
        version: the version of the PBX that it is for.
        is_json: whether it is valid JSON.
        text: the message.
    """

    version: str
    is_json: bool
    text: str

    @property
    def parsed(self) -> Any:
        """The decoded message."""
        return json.loads(self.text)


WSI_SAMPLES: list[WSISample] = [
    WSISample(row["version"], row["valid_json"], row["text"])
    for row in map(json.loads, (_HERE / "wsi_samples.jsonl").read_text("utf-8").splitlines())
]
