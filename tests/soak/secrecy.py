"""The secrets that a run uses, and the search for them in its logs."""

import json
import random
import secrets
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, quote_plus

# URLs, JSON and repr each escape some of these, so a log may show a password in several forms.
_AWKWARD = (" /", "é&", '"+', "'%", "\\=", "?#")


class Secrets:
    """Random passwords and pins, new for each run.

    Attributes:
        admin: the password of the PBX's administrator.
        canary: not a secret: it is logged to prove that the search reads the log.
    """

    def __init__(self) -> None:
        passwords = [
            secrets.token_urlsafe(9) + _AWKWARD[at % len(_AWKWARD)] + secrets.token_urlsafe(6)
            for at in range(40)
        ]
        self.admin, *self._passwords = passwords
        self.canary = secrets.token_urlsafe(24)
        self._pins = [f"{secrets.randbelow(10**12):012}" for _ in range(20)]

    def password(self) -> str:
        """Return a password for an extension."""
        return random.choice(self._passwords)

    def pin(self) -> str:
        """Return a pin for a voice mail box."""
        return random.choice(self._pins)

    def search(self, files: Iterable[Path], tokens: Iterable[str]) -> tuple[int, int]:
        """Return how many secrets there are, and how many of them the files show.

        Raises:
            RuntimeError: the canary is not found, so the search proves nothing.
        """
        logged = b"".join(path.read_bytes() for path in files)
        if self.canary.encode() not in logged:
            raise RuntimeError("the log was not captured: the canary is not in it")
        known = {self.admin, *self._passwords, *self._pins, *tokens}
        return len(known), sum(any(form in logged for form in _forms(each)) for each in known)


def _forms(secret: str) -> set[bytes]:
    """Return the secret as plain text, in a URL, in JSON and as a repr."""
    in_json = json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]
    in_repr = repr(secret)[1:-1], repr(secret.encode())[2:-1]
    in_url = quote(secret, safe=""), quote(secret), quote_plus(secret)
    return {form.encode() for form in (secret, *in_json, *in_repr, *in_url)}
