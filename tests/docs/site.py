"""Build the site as `make docs` does."""

import os
import subprocess
import sys
from pathlib import Path

from .blocks import ROOT


def build(folder: Path) -> None:
    """Build the site into a folder. A warning fails."""
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "DISABLE_MKDOCS_2_WARNING": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
