"""Read text from files and standard input, and parse JSON.

Text is UTF-8. A byte order mark of UTF-8 is dropped, and one of UTF-16 is honoured, because Windows
writes both. No error shows any part of the text, which may be a secret.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from ..failures import USAGE, Failure
from ..terminal.streams import UTF16_MARKS, StandardInput, standard_input

T = TypeVar("T")

_MAX_DEPTH: Final = 64  # levels of JSON; no setting has more than four
_LONGEST_NAME: Final = 48  # characters; the longest name of a field has 47
_NAME: Final = re.compile(r"[a-z]+(?:[._][a-z]+)*")


def read_text(path: Path) -> str:
    """Read a file without changing its line ends; ``-`` is the rest of standard input.

    Raises:
        Failure: it is not UTF-8 text.
        OSError: it can't be read.
    """
    if path == Path("-"):
        return _from_stdin(StandardInput.rest)
    data = path.read_bytes()
    try:
        return data.decode("utf-16" if data[:2] in UTF16_MARKS else "utf-8-sig")
    except UnicodeDecodeError:
        raise Failure(f"{path.name} is not UTF-8 text", "save it as UTF-8") from None


def is_name(text: str) -> bool:
    """Return whether a text looks like a field's name, so that an error may show it.

    A file without a header has passwords where its names should be. No field's name has a capital,
    a digit or another special character.
    """
    return len(text) <= _LONGEST_NAME and _NAME.fullmatch(text) is not None


def read_stdin_line() -> str:
    """Read the next line of standard input without its end; "" at the end."""
    return _from_stdin(StandardInput.line) or ""


def read_json(text: str) -> Any:
    """Parse JSON that will be sent to the PBX.

    Raises:
        json.JSONDecodeError: it is not JSON.
        ValueError: it is JSON that can't be sent. The error says why, and shows no value.
    """
    try:
        found = json.loads(
            text, object_pairs_hook=_object_of, parse_constant=_refuse_constant, parse_float=_finite
        )
    except (json.JSONDecodeError, _Problem):
        raise
    except ValueError:  # from int(), which takes at most 4,300 digits
        raise _Problem("holds a number that is too long") from None
    except RecursionError:
        raise _Problem(_TOO_DEEP) from None
    _check_depth(found)
    return found


class _Problem(ValueError):
    """JSON can't be used; the message is ours, so it can be shown."""


_TOO_DEEP: Final = f"holds JSON of more than {_MAX_DEPTH} levels"


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counted = Counter(name for name, _ in pairs)
        ((name, _),) = counted.most_common(1)
        raise _Problem(f"has {name if is_name(name) else 'a field'} twice")
    return found


def _refuse_constant(_: str) -> NoReturn:
    raise _Problem("holds NaN or Infinity, which JSON does not have")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _Problem("holds a number that is too large")
    return number


def _check_depth(document: object) -> None:
    level = [document]
    for _ in range(_MAX_DEPTH + 1):
        deeper: list[object] = []
        for value in level:
            if isinstance(value, Mapping):
                deeper += value.values()
            elif isinstance(value, list):
                deeper += value
        if not deeper:
            return
        level = deeper
    raise _Problem(_TOO_DEEP)


def _from_stdin(read: Callable[[StandardInput], T]) -> T:
    try:
        return read(standard_input())
    except UnicodeDecodeError:
        raise Failure("standard input is not UTF-8 text", "send it as UTF-8", USAGE) from None
