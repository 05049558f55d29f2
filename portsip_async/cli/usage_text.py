"""Say in our own words what is wrong with the words of a command line.

typer, and what it is built on, have their own words for it, which differ from version to version,
such as "Value error, 'x' is not one of 'table', 'json'".
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Final

# What a library says about a value, and what we say. The groups of the pattern are filled in.
_WORDS: Final = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (r"as an? integer|valid integer", "must be a whole number"),
        (r"as a number|valid number|valid float|finite number", "must be a number"),
        (r"in the range (\S+?)<=x<=(\S+?)\.?$", "must be from {0} to {1}"),
        (r"in the range x>=(\S+?)\.?$", "must be at least {0}"),
        (r"greater than or equal to (\S+)", "must be at least {0}"),
        (r"less than or equal to (\S+)", "must be at most {0}"),
        (r"as a boolean|valid boolean", "must be true or false"),
        (r"(?i)^(?:file|path|directory) '(.*)' does not exist", "there is no file {0}"),
        (r"(?i)^(?:file|path|directory) '(.*)' is a directory", "{0} is a folder, not a file"),
        (r"(?i)^(?:file|path|directory) '(.*)' is not readable", "you may not read {0}"),
    )
)
_CHOICES: Final = re.compile(r"'(.*)' is not one of (.*?)\.?$", re.DOTALL)
_GOT: Final = re.compile(r"'(.*)' is not a valid|(\S+) is not in the range", re.DOTALL)
_NUMBER: Final = re.compile(r"-?[0-9.]+")
_EXTRA: Final = re.compile(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)", re.DOTALL)
# Our own messages that go on after the name of an option.
_VERBS: Final = ("must ", "has ", "holds ", "is ", "needs ", "takes ")


def usage_text(error: Any) -> str:
    """Return the text of an error about wrong usage, of whichever version of typer."""
    kind = type(error).__name__
    message: str = error.message
    if kind == "NoSuchOption" and error.option_name == "--all-profiles":
        return "--all-profiles works with lists, search, show, status and whoami only"
    if kind == "NoSuchOption":
        near = _near_options(error.option_name, error.possibilities or ())
        advice = f" Did you mean {' or '.join(near)}?" if near else ""
        return f"No such option {error.option_name}.{advice}"
    if kind == "BadOptionUsage":
        needs = "requires an argument" in message
        return f"{error.option_name} {'needs a value' if needs else 'takes no value'}"
    if kind == "MissingParameter":
        return f"{_name(error)} is missing"
    if extra := _EXTRA.match(message):
        return f"Unexpected argument: {extra[1]}"
    if kind != "BadParameter":
        return message
    name = _name(error)
    if not name:
        return message
    text = message if error.param is None else _value_text(error, message)
    return f"{name} {text}" if text.startswith(_VERBS) else f"{name}: {text}"


def _near_options(name: str, options: Iterable[str]) -> list[str]:
    """Return the options that a misspelt one may mean; dashes make no two options alike."""
    words = {option.lstrip("-"): option for option in options}
    return [words[word] for word in get_close_matches(name.lstrip("-"), words)]


def _name(error: Any) -> str:
    """Return the name of the option or the argument that an error is about; "" if unknown."""
    if error.param_hint is not None:
        return str(error.param_hint).replace("'", "")
    if error.param is None:
        return ""
    names = [name for name in error.param.opts if name.startswith("-")]
    if names:
        return str(max(names, key=len))
    return str(error.param.metavar or error.param.name.upper())


def _value_text(error: Any, message: str) -> str:
    """Return what is wrong with the value of an option or an argument."""
    if choices := _CHOICES.search(message):
        got = choices[1]
        names = [name.strip().strip("'") for name in choices[2].split(",")]
        near = get_close_matches(got.lower(), names, n=1)
        advice = f"; did you mean {near[0]}?" if near else ""
        return f"must be {', '.join(names[:-1])} or {names[-1]}, got {got!r}{advice}"
    for pattern, text in _WORDS:
        if found := pattern.search(message):
            return text.format(*found.groups()) + _got(error, message)
    return message.removeprefix("Value error, ")


def _got(error: Any, message: str) -> str:
    """Return the value that was given, as the end of a sentence; "" if the error does not tell."""
    details: Any = getattr(error.__cause__, "errors", None)  # newer versions of typer
    if details is not None:
        got = str(details()[0]["input"])
    elif found := _GOT.match(message):
        got = found[1] or found[2]
    else:
        return ""
    return f", got {got if _NUMBER.fullmatch(got) else repr(got)}"
