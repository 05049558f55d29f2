"""Run the soak. Exit code 0: everything held; 1: something did not, with the reasons."""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from pathlib import Path

from .nginx import SetupError
from .run import Soak


def main() -> int:
    """Run the soak; keep its logs if it fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=180, help="how long things break")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the faults")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        report = asyncio.run(Soak(arguments.seconds, arguments.seed, folder).run())
    except (SetupError, KeyboardInterrupt) as error:
        sys.stderr.write(f"{str(error) or 'interrupted'}\n")
        shutil.rmtree(folder)
        return 1 if isinstance(error, SetupError) else 130
    sys.stdout.write(f"{report}\n")
    if report.wrong:
        sys.stdout.write(f"The logs are in {folder}.\n")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    if not sys.platform.startswith("linux"):
        sys.exit("the soak needs Linux: it reads /proc")
    sys.exit(main())
