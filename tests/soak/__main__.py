"""``python -m tests.soak --seconds N``: exit code 0 if all held, 1 with the reasons if not."""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from pathlib import Path

from .proxy import Unready
from .run import Run


def main() -> int:
    """Run the soak."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=45.0, help="how long trouble is made")
    parser.add_argument("--seed", type=int, help="of the trouble's order; by chance if left out")
    parser.add_argument("--keep", type=Path, help="a new folder for the logs; else they are gone")
    arguments = parser.parse_args()
    if not sys.platform.startswith("linux"):
        sys.stderr.write("the soak needs Linux, whose /proc it reads, and nginx\n")
        return 1
    seed = random.randrange(10**6) if arguments.seed is None else arguments.seed
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        report = asyncio.run(Run(arguments.seconds, seed, folder, sys.stdout).go())
    except Unready as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.stderr.write("the soak was ended before its time\n")
        return 130
    finally:
        if arguments.keep is not None:
            shutil.copytree(folder, arguments.keep)
        shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write(f"{report}\n")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
