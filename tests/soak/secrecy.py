"""The secrets that a run uses, and the search for them in its log."""

import json
import os
import random
import secrets
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote, quote_plus

_PASSWORDS = 40
_PINS = 20
# What is quoted in URLs, in JSON, and by repr; a log might show it in each of these forms.
_AWKWARD = (" /", "é&", '"+', "'%", "\\=", "?#")


class Secrets:
    """Passwords and pins, made up afresh for each run.

    Attributes:
        account: the password of the PBX's administrator.
        canary: no secret; it is put into the log, to show that it would be found there.
    """

    def __init__(self) -> None:
        self.account = secrets.token_urlsafe(12) + _AWKWARD[0] + secrets.token_urlsafe(6)
        self.canary = secrets.token_urlsafe(24)
        self._passwords = [
            secrets.token_urlsafe(9) + _AWKWARD[at % len(_AWKWARD)] + secrets.token_urlsafe(6)
            for at in range(_PASSWORDS)
        ]
        self._pins = [f"{secrets.randbelow(10**12):012}" for _ in range(_PINS)]

    def password(self) -> str:
        """Choose a password of an extension."""
        return random.choice(self._passwords)

    def pin(self) -> str:
        """Choose a pin."""
        return random.choice(self._pins)

    def found(self, files: Sequence[Path], tokens: Iterable[str], folder: Path) -> tuple[int, int]:
        """Search files for every secret, and tell how many secrets there are and how many show.

        Raises:
            RuntimeError: the canary is not found, so that the search proves nothing.
        """
        known = {self.account, *self._passwords, *self._pins, *tokens}
        patterns = folder / "secrets.txt"
        patterns.write_text("".join(f"{form}\n" for form in _forms({self.canary, *known})))
        grep = subprocess.run(
            ["grep", "-a", "-o", "-h", "-m", "1000", "-F", "-f", patterns, *files],
            stdout=subprocess.PIPE,
            env=os.environ | {"LC_ALL": "C"},
            timeout=600,
            check=False,
        )
        shown = set(grep.stdout.decode(errors="replace").splitlines())
        if self.canary not in shown:
            raise RuntimeError("the log was not captured: what was put into it is not found")
        return len(known), len(shown - {self.canary})


def _forms(known: Iterable[str]) -> set[str]:
    return {
        form
        for secret in known
        for form in (
            secret,
            quote(secret, safe=""),
            quote(secret),
            quote_plus(secret),
            json.dumps(secret)[1:-1],
            json.dumps(secret, ensure_ascii=False)[1:-1],
            repr(secret)[1:-1],
            repr(secret.encode())[2:-1],
        )
    }
