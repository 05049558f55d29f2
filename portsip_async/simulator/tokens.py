"""The login and the access tokens of the simulated PBX. Pure: the current time is an argument."""

from collections.abc import Callable
from typing import Any

from .errors import PBXError

# For the quirk "login_block".
_WRONG_LOGINS = 3
_BLOCK_SECONDS = 60.0


class TokenIssuer:
    """Checks the login of the one administrator, and issues access tokens.

    Attributes:
        lifetime: seconds from the issue of a token to its expiry.
        issued: how many tokens were issued, by logins and renewals.
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
        """Store the login of the administrator, and how tokens are made."""
        self.username: str = username
        self.password: str = password
        self.email: str = email
        self.lifetime = lifetime
        self.make_token = make_token
        self.issued: int = 0
        self._quirks = quirks
        self._expiry: dict[str, float] = {}  # by token: when it expires
        self._wrong_logins = 0
        self._blocked_until = 0.0

    def log_in(self, name: str, password: str, now: float) -> dict[str, Any]:
        """Issue a token for a password and a user name or email address.

        Raises:
            PBXError: the user is unknown, the password is wrong, or logins are blocked.
        """
        if self._wrong_logins >= _WRONG_LOGINS and now < self._blocked_until:
            raise PBXError("blocked")
        known = name in (self.username, self.email)
        if not known or password != self.password:
            if "login_block" in self._quirks:
                self._wrong_logins += 1
                self._blocked_until = now + _BLOCK_SECONDS
            raise PBXError("wrong password" if known else "no user")
        self._wrong_logins = 0
        if "one_token" in self._quirks:
            self._expiry.clear()
        return self._issue(now)

    def renew(self, token: str, now: float) -> dict[str, Any]:
        """Issue another token; with the quirk ``refresh_prolongs``, prolong the old one instead."""
        if "refresh_prolongs" not in self._quirks:
            return self._issue(now)
        self._expiry[token] = now + self.lifetime
        reply = self._reply()
        del reply["role"], reply["api_version"]
        return reply

    def is_valid(self, token: Any, now: float) -> bool:
        """Return whether a token was issued and has neither expired nor been revoked."""
        return isinstance(token, str) and self._expiry.get(token, now) > now

    def revoke(self, token: Any = None) -> None:
        """Make a token invalid; None revokes all of them."""
        if token is None:
            self._expiry.clear()
        elif isinstance(token, str):
            self._expiry.pop(token, None)

    def _issue(self, now: float) -> dict[str, Any]:
        # Expired tokens are removed here, so that they don't pile up over weeks.
        for expired in [token for token, end in self._expiry.items() if end <= now]:
            del self._expiry[expired]
        token = self.make_token()
        self._expiry[token] = now + self.lifetime
        self.issued += 1
        return {"access_token": token, **self._reply()}

    def _reply(self) -> dict[str, Any]:
        expires = int(self.lifetime) if self.lifetime == int(self.lifetime) else self.lifetime
        reply = {"expires": expires, "role": "tenant", "api_version": "2.0.0"}
        if "expires_as_string" in self._quirks:
            reply["expires"] = str(expires)
        if "no_expires" in self._quirks:
            del reply["expires"]
        return reply
