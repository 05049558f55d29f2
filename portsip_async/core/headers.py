"""The headers of a reply: all of them for a raw reply, and those that name a request for errors."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from ..errors import REQUEST_IDS
from ..redact import HIDDEN, is_secret, scrub_text

# Headers besides `REQUEST_IDS` that help to find a request in the logs of the PBX or of a proxy.
_NAMING: Final = frozenset({*REQUEST_IDS, "traceparent", "x-b3-traceid"})
# The vendor's own headers begin with this.
_VENDOR: Final = "portsip-"
_LONGEST: Final = 200  # characters of a value on an error
_MOST: Final = 20  # headers on an error


class Headers(Mapping[str, str]):
    """The headers of a reply; names match in any case. The repr hides secrets.

    The values of a header that occurs several times are joined with ``, ``.
    """

    def __init__(self, headers: Iterable[tuple[str, str]] = ()) -> None:
        found: dict[str, tuple[str, str]] = {}
        for name, value in headers:
            key = name.lower()
            first, before = found.get(key, (name, ""))
            found[key] = first, f"{before}, {value}" if before else value
        self._found = found

    def __getitem__(self, name: str) -> str:
        return self._found[name.lower()][1]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._found

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._found.values())

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        shown = {name: HIDDEN if is_secret(name) else self[name] for name in self}
        return f"Headers({scrub_text(repr(shown))})"


def naming_headers(headers: Mapping[str, str], secrets: Iterable[str]) -> Headers:
    """Return the headers that name a request, for an error: scrubbed, short, in printable ASCII.

    Args:
        headers: all headers of the reply.
        secrets: the secrets of the call.
    """
    named = [
        (name, _printable(scrub_text(value, secrets)))
        for name, value in headers.items()
        if (name.lower() in _NAMING or name.lower().startswith(_VENDOR)) and not is_secret(name)
    ]
    return Headers(named[:_MOST])


def _printable(text: str) -> str:
    shown = text if text.isascii() and text.isprintable() else ascii(text)[1:-1]
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."
