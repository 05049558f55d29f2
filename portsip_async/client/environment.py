"""The environment variables that `from_env` reads."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..errors import ConfigurationError

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"", "0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class LoginWay:
    """The arguments of one way to log in. Each has its variable, such as PORTSIP_USERNAME.

    Attributes:
        needed: the arguments that it needs.
        more: those that it may have.
    """

    needed: frozenset[str]
    more: frozenset[str] = frozenset()


def arguments_from_env(overrides: Mapping[str, object], *ways: LoginWay) -> dict[str, Any]:
    """Return the arguments of a client: those of the environment, and those that override them.

    Credentials are read from the environment only if none are passed, or if what is passed is part
    of one way to log in. Then only the rest of that way is read.

    Args:
        overrides: the arguments that are passed.
        ways: the ways to log in.

    Raises:
        ConfigurationError: there is no URL, or PORTSIP_ALLOW_HTTP is neither 1 nor 0.
    """
    names = {"base_url": "URL", "ssl": "CA_FILE"}
    passed = passed_credentials(overrides, *ways)
    for way in ways:
        if passed <= way.needed | way.more and not way.needed <= passed:
            names |= {name: name.upper() for name in way.needed | way.more}
    found = {argument: variable(name) for argument, name in names.items()}
    arguments: dict[str, Any] = {name: value for name, value in found.items() if value is not None}
    if "allow_http" not in overrides:
        arguments["allow_http"] = _flag("ALLOW_HTTP")
    arguments |= overrides
    if not arguments.get("base_url"):
        raise ConfigurationError("PORTSIP_URL is not set: set it, or pass base_url=")
    return arguments


def passed_credentials(overrides: Mapping[str, object], *ways: LoginWay) -> frozenset[str]:
    """Return the names of the arguments that are passed and belong to a way to log in."""
    names = frozenset({"credentials"}).union(*(way.needed | way.more for way in ways))
    return names & overrides.keys()


def variable(name: str) -> str | None:
    """Return a variable's value; None if it is not set, or empty."""
    return os.environ.get(f"PORTSIP_{name}") or None


def _flag(name: str) -> bool:
    value = os.environ.get(f"PORTSIP_{name}", "").strip().lower()
    if value not in _TRUE | _FALSE:
        raise ConfigurationError(f"PORTSIP_{name} must be 1 or 0, got {value!r}")
    return value in _TRUE
