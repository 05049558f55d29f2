"""The command line, ``portsip-async``; it needs the extra ``cli``."""

import sys

from .terminal.streams import fill_descriptors

__all__ = ["main"]

_EXTRA = ("typer", "rich", "click")


def main() -> None:
    """Run the command line and exit with its code; ``portsip-async --help`` lists the codes."""
    fill_descriptors()
    try:
        from .app import run
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in _EXTRA:
            raise
        if sys.stderr is not None:
            sys.stderr.write(
                "portsip-async: the command line is an extra: pip install 'portsip_async[cli]'\n"
            )
        sys.exit(2)
    except KeyboardInterrupt:  # while the modules are loading
        sys.exit(130)
    run()
