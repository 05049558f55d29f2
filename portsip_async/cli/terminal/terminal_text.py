"""Make text safe for a terminal, and measure its width.

Names and messages come from a PBX, a file or an argument. A terminal acts on control characters
(colours, cursor, title), and bidirectional characters reorder the text around them. Such characters
are shown as escapes; letters of every script stay as they are.

Pure. rich knows the widths, but takes time to load, so it is loaded only for text beyond ASCII.
"""

import os
import re
import unicodedata
from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache
from typing import Final, TextIO

# Persian and Indic names and family emoji need these two. A terminal does not act on them.
_JOINERS: Final = frozenset("\u200c\u200d")
_COLUMNS: Final = 80  # of a terminal that does not tell
_WORDS: Final = re.compile(r"( *)([^ ]+)")


def printable(text: str, keep: str = "") -> str:
    """Escape the characters that a terminal would act on.

    These are control, format, surrogate, private and unassigned characters, and the separators of
    lines and paragraphs. Spaces of every width and the two joiners stay.

    Args:
        text: any text.
        keep: characters that are not escaped.
    """
    if text.isprintable():
        return text
    return "".join(char if char in keep or _is_safe(char) else ascii(char)[1:-1] for char in text)


def one_line(text: str) -> str:
    """Return a text as one line that is safe for a terminal."""
    return printable(" ".join(text.split()))


def json_printable(document: str, keep: str = "\n") -> str:
    """Escape the characters that a terminal would act on in JSON, without changing its meaning."""
    if document.isprintable():
        return document
    return "".join(
        char if char in keep or _is_safe(char) else _json_escape(char) for char in document
    )


def encodable(text: str, encoding: str) -> str:
    """Escape the letters that an encoding lacks."""
    return text.encode(encoding, "backslashreplace").decode(encoding)


def width(text: str) -> int:
    """Return the columns of a terminal that a printable text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def terminal_width(stream: TextIO) -> int:
    """Return the columns of the terminal that a stream is; COLUMNS comes first."""
    chosen = os.environ.get("COLUMNS", "")
    if chosen.isdecimal() and int(chosen):
        return int(chosen)
    try:
        return os.get_terminal_size(stream.fileno()).columns or _COLUMNS
    except (OSError, ValueError, AttributeError):
        return _COLUMNS


def wrapped(text: str, columns: int, indent: int) -> list[str]:
    """Break a printable line between words; later lines are indented.

    A word that is longer than a line stays whole, so that an address can be copied.

    Args:
        text: a line; the spaces of its first part are kept, as they align columns.
        columns: how long a line may be.
        indent: the spaces before later lines.
    """
    lines: list[str] = []
    line, used = "", 0
    for gap, word in _WORDS.findall(text):
        size = width(word)
        if line.strip() and used + len(gap) + size > columns:
            lines.append(line)
            line, used = " " * indent + word, indent + size
            continue
        gap = gap[:2] if lines else gap  # in a later line, no column is aligned
        line, used = line + gap + word, used + len(gap) + size
    return [*lines, line]


def clusters(text: str) -> Iterator[tuple[str, int]]:
    """Split a printable text into its smallest parts; yield each with its width.

    A letter keeps its accents, and a joined emoji stays whole.
    """
    if text.isascii():
        for letter in text:
            yield letter, 1
        return
    from rich.cells import split_graphemes

    spans, _ = split_graphemes(text)
    for start, end, size in spans:
        yield text[start:end], size


def short_time(lasted: timedelta) -> str:
    """Return a time in at most four characters, in its largest unit: 59s, 59m, 23h, 999d."""
    seconds = max(0, int(lasted.total_seconds()))
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m"
    if seconds < 86_400:
        return f"{seconds // 3600}h"
    return f"{min(999, seconds // 86_400)}d"


@lru_cache(maxsize=1024)
def _is_safe(char: str) -> bool:
    return char.isprintable() or char in _JOINERS or unicodedata.category(char) == "Zs"


def _json_escape(char: str) -> str:
    encoded = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{encoded[at]:02x}{encoded[at + 1]:02x}" for at in range(0, len(encoded), 2))


def unwrap(text: str | None) -> str:
    """Join the lines of each paragraph of a docstring, so that the help wraps them by itself."""
    return "\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n"))
