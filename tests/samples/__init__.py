"""Literal transcripts of the vendor's page, an operation a directory.

``request.json`` is a request as the page shows it, with the paths of the reference where the page
shows none; ``reply.json`` the page's reply to the letter, or an empty ``reply.txt`` where it shows
none. The page leaves the token out of create; the SDK sends it, so it stands here too. Of an
upload the page shows nothing: its parts are listed as this SDK sends them.
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
        query: the query's parameters as text; None where there is no query.
        body: the JSON body; None where there is none.
        parts: of a multipart body: name, and value or filename and content.
        reply: the reply's body, empty where the page shows none.
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
        """The reply as JSON; None where it is empty."""
        return json.loads(self.reply) if self.reply else None


def load(operation: str) -> Sample:
    """Read the transcript of an operation, such as ``extensions.status``."""
    place = _HERE / operation
    request = json.loads((place / "request.json").read_text(encoding="utf-8"))
    reply = place / "reply.json"
    if not reply.exists():
        reply = place / "reply.txt"
    return Sample(
        operation,
        request["method"],
        request["path"],
        request["query"],
        request["body"],
        request.get("parts"),
        reply.read_bytes(),
    )
