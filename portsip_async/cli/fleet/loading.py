"""Load the fleet that the first argument of a command names, such as ``noc:fleet``.

The current directory comes first on ``sys.path``, as for ``python -m``.
"""

import os
import sys
import traceback
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import typer

from ... import PortSIPError
from ..command_group import did_you_mean
from ..failures import USAGE, Failure

if TYPE_CHECKING:
    from ...fleet import Fleet

EXTRA: Final = "pip install 'portsip_async[fleet]'"
METAVAR: Final = "MODULE:FLEET"


def load_fleet(target: str) -> "Fleet":
    """Import a module, and return the fleet in it.

    Args:
        target: the module's name, a colon, and the fleet's name in it.

    Raises:
        typer.BadParameter: the target has another form.
        Failure: the extra, the module or the fleet is not there, or the module fails.
    """
    kind: Any = _fleet_class()
    name, _, attribute = target.partition(":")
    if not all(part.isidentifier() for part in (*name.split("."), *attribute.split("."))):
        raise typer.BadParameter(
            f"must be a module and its fleet, such as noc:fleet, got {target!r}",
            param_hint=METAVAR,
        )
    module = _import(name)
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            fleets = [each for each, value in vars(module).items() if isinstance(value, kind)]
            near = did_you_mean(part, fleets) or _choice(name, fleets)
            raise Failure(f"{name} has no {attribute}.{near}", code=USAGE)
        found = getattr(found, part)
    if not isinstance(found, kind):
        raise Failure(f"{target} must be a Fleet, got {_described(found)}", code=USAGE)
    fleet: Fleet = found
    return fleet


def _fleet_class() -> "type[Fleet]":
    try:
        from ...fleet import Fleet
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("portsip_async"):
            raise
        raise Failure("fleets need an extra", EXTRA, USAGE) from None
    return Fleet


def _import(name: str) -> ModuleType:
    """Import a module of the application.

    Raises:
        Failure: it is not there, or it fails.
    """
    here = os.getcwd()
    if sys.path[:1] != [here]:
        sys.path.insert(0, here)
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise Failure(
                f"there is no module {error.name}",
                f"modules are looked up in {here}, and then where Python looks",
                USAGE,
            ) from None
        raise _failed(name, error) from None
    except (Exception, SystemExit) as error:
        raise _failed(name, error) from None


def _failed(name: str, error: BaseException) -> Failure:
    """Return the failure of a module that raised an error, with the line of it that did."""
    at = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if "importlib" not in frame.filename and frame.filename != __file__:
            at = f" ({frame.filename}, line {frame.lineno})"
            if frame.name == "<module>":
                break
    kind = "" if isinstance(error, PortSIPError) else f"{type(error).__name__}: "
    return Failure(f"{name} can't be imported: {kind}{error}{at}", code=USAGE)


def _choice(name: str, fleets: list[str]) -> str:
    return f" Use {' or '.join(f'{name}:{each}' for each in fleets)}." if fleets else ""


def _described(found: object) -> str:
    return f"the class {found.__name__}" if isinstance(found, type) else type(found).__name__
