"""What the site takes from the package when MkDocs builds it."""

import runpy
from pathlib import Path
from typing import Any

VERSION = Path(__file__).parents[2] / "portsip_async" / "_version.py"


def on_config(config: Any) -> None:
    """Show the version of the package in the header."""
    config.extra["release"] = runpy.run_path(str(VERSION))["__version__"]
