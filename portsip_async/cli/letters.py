"""Text as a terminal shows it: what is safe to write, and how many columns it takes.

Names and messages come from a PBX, a file or an argument. A terminal obeys control characters
(colours, cursor, title), and bidirectional characters reorder what stands beside them. Such
characters are shown as escapes; letters of every script stay as they are.

Pure. rich is loaded for text beyond ASCII only: it knows the widths, and takes time to load.
"""

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

__all__ = ["clusters", "encodable", "json_printable", "one_line", "printable", "width"]

# Persian and Indic names and family emoji need these two. A terminal does not act on them.
_JOINERS: Final = frozenset("\u200c\u200d")


def printable(text: str, keep: str = "") -> str:
    """Show what a terminal would obey as an escape.

    Escaped are control, format, surrogate, private and unassigned characters and the separators of
    lines and paragraphs. Spaces of every width and the two joiners stay.

    Args:
        text: any text.
        keep: characters to leave as they are.
    """
    if text.isprintable():
        return text
    return "".join(mark if mark in keep or _is_safe(mark) else ascii(mark)[1:-1] for mark in text)


def one_line(text: str) -> str:
    """Bring a text to one line that does nothing to a terminal."""
    return printable(" ".join(text.split()))


def json_printable(document: str, keep: str = "\n") -> str:
    """Write what a terminal would obey as JSON escapes; the document means the same as before."""
    if document.isprintable():
        return document
    return "".join(
        mark if mark in keep or _is_safe(mark) else _json_escape(mark) for mark in document
    )


def encodable(text: str, encoding: str) -> str:
    """Show the letters that an encoding lacks as escapes."""
    return text.encode(encoding, "backslashreplace").decode(encoding)


def width(text: str) -> int:
    """Return how many columns of a terminal a printable text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def clusters(text: str) -> Iterator[tuple[str, int]]:
    """Split a printable text where it may be cut; yield each part and its columns.

    A letter keeps its marks, and an emoji what is joined to it.
    """
    if text.isascii():
        for letter in text:
            yield letter, 1
        return
    from rich.cells import split_graphemes

    spans, _ = split_graphemes(text)
    for start, end, size in spans:
        yield text[start:end], size


@lru_cache(maxsize=1024)
def _is_safe(mark: str) -> bool:
    return mark.isprintable() or mark in _JOINERS or unicodedata.category(mark) == "Zs"


def _json_escape(mark: str) -> str:
    encoded = mark.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{encoded[at]:02x}{encoded[at + 1]:02x}" for at in range(0, len(encoded), 2))
