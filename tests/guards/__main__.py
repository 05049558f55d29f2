"""Take out one guard after the other, and see the tests that hold it turn red.

``python -m tests.guards`` tries all of them, ``python -m tests.guards redirect budget`` those two.
Each guard is a patch beside this file: its head says what the guard is for and, on lines that begin
with ``Red:``, which tests notice that it is gone; what follows is a unified diff that takes it out.

The tree is copied to a temporary folder, where the tests must be green as it is, and each of them
red under its patch. Exits with 1 where one is not, or where a patch no longer fits the code: then
take the guard out by hand, and put the output of ``git diff -U1`` below the head.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple, Self

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
# A guard may be all that ends a test.
SECONDS = 20
GREEN, RED = 0, 1  # the exit codes of pytest; any other says that the tests could not be run
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "htmlcov", "build", "dist")


class Guard(NamedTuple):
    """A guard, as the head of its patch tells of it."""

    name: str
    purpose: str
    tests: list[str]

    @classmethod
    def read(cls, name: str) -> Self:
        """Read a patch's head."""
        lines = patch_of(name).read_text(encoding="utf-8").splitlines()
        tests = [line.removeprefix("Red: ") for line in lines if line.startswith("Red: ")]
        if not tests:
            raise SystemExit(f"{name}.patch names no test on a line that begins with 'Red: '")
        return cls(name, lines[0], tests)


class Tree:
    """A copy of the project that may be broken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT, folder, ignore=LEFT_OUT, dirs_exist_ok=True)
        # A repository around the temporary folder is none of the copy's affair.
        self._environment = os.environ | {
            "GIT_CEILING_DIRECTORIES": str(folder.parent),
            "PYTHONPATH": str(folder),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def apply(self, guard: Guard, *, back: bool = False) -> str:
        """Take a guard out, or put it back; tells what is in the way, if anything is."""
        command = ["git", "apply", *(["--reverse"] if back else []), str(patch_of(guard.name))]
        return self._run(command).stderr.strip()

    def test(self, *tests: str) -> subprocess.CompletedProcess[str]:
        """Run tests up to the first that fails."""
        options = ["-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider"]
        command = [sys.executable, "-m", "pytest", *options, f"--timeout={SECONDS}", *tests]
        return self._run(command)

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )


def patch_of(name: str) -> Path:
    """Find a guard's patch."""
    return HERE / f"{name}.patch"


def main(names: list[str]) -> int:
    """Try the guards of these names, or all; answers the exit code."""
    known = sorted(path.stem for path in HERE.glob("*.patch"))
    if unknown := set(names) - set(known):
        print(f"no such guard: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        return 2
    guards = [Guard.read(name) for name in names or known]
    unheld = 0
    # Without links in its path, since the tests compare paths.
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(Path(folder).resolve())
        whole = tree.test(*(test for guard in guards for test in guard.tests))
        if whole.returncode != GREEN:
            print(whole.stdout, whole.stderr, "the tests are not green with all guards in place")
            return 1
        for guard in guards:
            print(f"{guard.name}: {guard.purpose}", flush=True)
            if problem := tree.apply(guard):
                print(f"  {guard.name}.patch no longer fits the code:\n{problem}", flush=True)
                unheld += 1
                continue
            for test in guard.tests:
                code = tree.test(test).returncode
                told = {GREEN: "STAYS GREEN", RED: "red"}.get(code, f"can't be run ({code})")
                print(f"  {told}  {test}", flush=True)
                unheld += code != RED
            tree.apply(guard, back=True)
    print(f"{len(guards)} guards, {unheld} not held" if unheld else f"all {len(guards)} are held")
    return 1 if unheld else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
