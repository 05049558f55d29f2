"""Remove one guard after the other, and check that its tests fail without it.

``python -m tests.guards`` checks all of them, ``python -m tests.guards redirect budget`` those two.
Each guard is a patch next to this file. Its first line says what the guard is for. Lines that begin
with ``Red:`` name the tests that have to fail without it. A unified diff that removes it follows.

The tree is copied to a temporary folder. There the tests have to pass as it is, and each has to
fail under its patch. The exit code is 1 if one does not, or if a patch no longer fits the code.
Then remove the guard by hand, and put the output of ``git diff -U1`` below the head.
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
# Without its guard, a test may never end.
SECONDS = 20
GREEN, RED = 0, 1  # exit codes of pytest; with any other, the tests could not be run
IGNORED = shutil.ignore_patterns(".*", "__pycache__", "htmlcov", "build", "dist")


class Guard(NamedTuple):
    """A guard, as the head of its patch describes it."""

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
    """A copy of the project, to break."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT, folder, ignore=IGNORED, dirs_exist_ok=True)
        # Git must not find a repository around the temporary folder.
        self._environment = os.environ | {
            "GIT_CEILING_DIRECTORIES": str(folder.parent),
            "PYTHONPATH": str(folder),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def apply(self, guard: Guard, *, back: bool = False) -> str:
        """Remove a guard, or put it back; return the error of git, or "" if it worked."""
        command = ["git", "apply", *(["--reverse"] if back else []), str(patch_of(guard.name))]
        return self._run(command).stderr.strip()

    def test(self, *tests: str) -> subprocess.CompletedProcess[str]:
        """Run tests until one fails."""
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
    """Return the path of a guard's patch."""
    return HERE / f"{name}.patch"


def main(names: list[str]) -> int:
    """Check the guards of these names, or all of them; return the exit code."""
    known = sorted(path.stem for path in HERE.glob("*.patch"))
    if unknown := set(names) - set(known):
        print(f"no such guard: {', '.join(sorted(unknown))}; the guards are {', '.join(known)}")
        return 2
    guards = [Guard.read(name) for name in names or known]
    problems = 0
    # The path has no links, because tests compare paths.
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(Path(folder).resolve())
        intact = tree.test(*(test for guard in guards for test in guard.tests))
        if intact.returncode != GREEN:
            print(intact.stdout, intact.stderr, "the tests fail with all guards in place")
            return 1
        for guard in guards:
            print(f"{guard.name}: {guard.purpose}", flush=True)
            if problem := tree.apply(guard):
                print(f"  {guard.name}.patch no longer fits the code:\n{problem}", flush=True)
                problems += 1
                continue
            for test in guard.tests:
                code = tree.test(test).returncode
                result = {GREEN: "STAYS GREEN", RED: "red"}.get(code, f"can't be run ({code})")
                print(f"  {result}  {test}", flush=True)
                problems += code != RED
            tree.apply(guard, back=True)
    print(
        f"{len(guards)} guards, {problems} problems"
        if problems
        else f"all {len(guards)} guards hold"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
