"""What the site takes from the package when MkDocs builds it."""

import runpy
from pathlib import Path
from typing import Any

VERSION = Path(__file__).parents[2] / "portsip_async" / "_version.py"


def on_config(config: Any) -> None:
    """Show the version of the package in the header."""
    config.extra["release"] = runpy.run_path(str(VERSION))["__version__"]


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> None:
    """Put how-to pages above the reference in the results of a search, and the changelog last."""
    folder = page.file.src_uri.partition("/")[0]
    boost = {"howto": 3, "installation.md": 3, "explanation": 1.5, "changelog.md": 0.5}.get(folder)
    if boost is not None:
        page.meta.setdefault("search", {})["boost"] = boost
