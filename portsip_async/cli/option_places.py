"""Options may stand before the command: ``portsip-async --profile acme extensions list``.

They are moved behind the command, whose parser then reads them. So the command alone decides which
options there are, and whether one takes a value.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def moved(root: Any, context: Any, words: Sequence[str]) -> list[str]:
    """Return the words of a command line with the command first.

    Args:
        root: the root command.
        context: its context.
        words: the words after the program's name.

    Returns:
        The same words if no options stand before the command, or one of the root command's own.
    """
    own = {name for name, option in _options(root, context).items() if not _is_shared(option)}
    wrong: list[str] | None = None
    for path, early, rest, command in _readings(root, context, list(words)):
        if not early or own & {word.partition("=")[0] for word in early}:
            break
        if hasattr(command, "list_commands") and _look_like_options(early):
            # There is no command that the options could be for; the help of the group comes next.
            return [*path, *rest]
        if _are_options(early, _options(command, context)):
            return [*path, *early, *rest]
        if wrong is None and _look_like_options(early):
            wrong = [*path, *early, *rest]
    return wrong or list(words)  # the command says what is wrong with the options


def _readings(
    group: Any, context: Any, words: list[str]
) -> Iterator[tuple[list[str], list[str], list[str], Any]]:
    """Yield the ways to read a command line: a word may be a command, or an option's value.

    Yields:
        The path of the command, the words before its last part that are not of the path, the words
        after it, and the command.
    """
    for at, word in enumerate(words):
        if word == "--":
            return
        command = None if word.startswith("-") else group.get_command(context, word)
        if command is None:
            continue
        early, rest = words[:at], words[at + 1 :]
        if not hasattr(command, "list_commands"):
            yield [word], early, rest, command
            continue
        for path, between, after, inner in _readings(command, context, rest):
            yield [word, *path], [*early, *between], after, inner
        if not rest:
            yield [word], early, rest, command


def _is_shared(option: Any) -> bool:
    """Return whether an option of the root command is there for its help only."""
    return "--help" in option.opts or getattr(option, "rich_help_panel", None) is not None


def _look_like_options(words: Sequence[str]) -> bool:
    """Return whether each word is an option, or may be the value of the one before it."""
    return all(
        word.startswith("-") or (at > 0 and words[at - 1].startswith("-"))
        for at, word in enumerate(words)
    )


def _options(command: Any, context: Any) -> Mapping[str, Any]:
    """Return the options of a command by their names."""
    return {
        name: option
        for option in command.get_params(context)
        if option.param_type_name == "option"
        for name in (*option.opts, *option.secondary_opts)
    }


def _are_options(words: Sequence[str], options: Mapping[str, Any]) -> bool:
    """Return whether words are options and their values, without a word too many or too few."""
    left = iter(words)
    for word in left:
        if word.startswith("--"):
            name, equals, _ = word.partition("=")
            option = options.get(name)
            if option is None:
                return False
            if not option.is_flag and not equals and next(left, None) is None:
                return False
            continue
        if len(word) < 2 or not word.startswith("-"):
            return False
        # Short options may share a dash: -vo json.
        for at, letter in enumerate(word[1:], 2):
            option = options.get(f"-{letter}")
            if option is None:
                return False
            if not option.is_flag:
                if at == len(word) and next(left, None) is None:
                    return False
                break
    return True
