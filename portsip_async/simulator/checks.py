"""Checks of the arguments of `PBXSimulator`."""

from collections.abc import Collection

from ..arguments import check_choice, check_int, check_number, check_str, check_strs

GENERATIONS = ("classic", "v22")
# The least of each limit, which may be None; other counts may be 0.
_LEAST = {"page_limit": 1, "max_in_flight": 1}


def check_counts(**counts: int | None) -> None:
    """Check counts that are at least 0, or limits that are at least 1 or None."""
    for name, count in counts.items():
        if count is not None or name not in _LEAST:
            check_int(name, count, _LEAST.get(name, 0))


def check_seconds(*, status_seconds: float, token_lifetime: float) -> None:
    """Check the times; an extension may keep its status forever, which is 0."""
    check_number("status_seconds", status_seconds)
    check_number("token_lifetime", token_lifetime, above=0)


def check_names(**texts: str) -> None:
    """Check texts that must not be empty."""
    for name, text in texts.items():
        check_str(name, text)


def check_generations(generations: Collection[str]) -> None:
    """Check the names of the generations to serve.

    Raises:
        TypeError: a string instead of a collection, or a name that is not a str.
        ValueError: an unknown generation, or none.
    """
    for each in check_strs("generations", generations, 'generations=["v22"]'):
        check_choice("each of generations", each, *GENERATIONS)
    if not generations:
        raise ValueError("generations must have one or two names, got none")
