"""The account of a simulated PBX and the tokens it gave out; the time is passed in."""

from collections.abc import Callable
from typing import Any

from .refusal import Refusal

# Of the quirk "login_block".
_WRONG_LOGINS = 3
_BLOCK_SECONDS = 60.0


class Accounts:
    """One administrator, and the access tokens that live.

    Attributes:
        issued: how many tokens were given out, by logins and renewals.
    """

    def __init__(
        self,
        *,
        username: str,
        password: str,
        email: str,
        lifetime: float,
        make_token: Callable[[], str],
        quirks: frozenset[str] = frozenset(),
    ) -> None:
        """Take the one account; ``lifetime`` is a token's, in seconds."""
        self.username: str = username
        self.password: str = password
        self.email: str = email
        self.lifetime = lifetime
        self.issued: int = 0
        self._make_token = make_token
        self._quirks = quirks
        self._tokens: dict[str, float] = {}
        self._wrong = 0
        self._blocked_until = 0.0

    def verify(self, name: str, password: str, now: float) -> dict[str, Any]:
        """Log in with the user name or the email address.

        Raises:
            Refusal: no such user, a wrong password, or too many of them before.
        """
        if self._wrong >= _WRONG_LOGINS and now < self._blocked_until:
            raise Refusal("blocked")
        if name not in (self.username, self.email) or password != self.password:
            if "login_block" in self._quirks:
                self._wrong += 1
                self._blocked_until = now + _BLOCK_SECONDS
            raise Refusal(
                "no user" if name not in (self.username, self.email) else "wrong password"
            )
        self._wrong = 0
        if "one_token" in self._quirks:
            self._tokens.clear()
        return self._issue(now)

    def refresh(self, token: str, now: float) -> dict[str, Any]:
        """Renew a token that lives; it lives on to its end beside the new one."""
        if "refresh_prolongs" not in self._quirks:
            return self._issue(now)
        self._tokens[token] = now + self.lifetime
        reply = self._told()
        del reply["role"], reply["api_version"]
        return reply

    def lives(self, token: Any, now: float) -> bool:
        """Tell whether a token was given out and has not died."""
        return isinstance(token, str) and self._tokens.get(token, now) > now

    def revoke(self, token: Any = None) -> None:
        """Let a token die, or, with None, all of them."""
        if token is None:
            self._tokens.clear()
        elif isinstance(token, str):
            self._tokens.pop(token, None)

    def _issue(self, now: float) -> dict[str, Any]:
        # Tokens are added in the order of their end, but for those that a refresh prolonged.
        for old in [token for token, end in self._tokens.items() if end <= now]:
            del self._tokens[old]
        token = self._make_token()
        self._tokens[token] = now + self.lifetime
        self.issued += 1
        return {"access_token": token, **self._told()}

    def _told(self) -> dict[str, Any]:
        expires = int(self.lifetime) if self.lifetime == int(self.lifetime) else self.lifetime
        told = {"expires": expires, "role": "tenant", "api_version": "2.0.0"}
        if "expires_as_string" in self._quirks:
            told["expires"] = str(expires)
        if "no_expires" in self._quirks:
            del told["expires"]
        return told
