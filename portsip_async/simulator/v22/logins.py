"""Logins and tokens of generation v22. Pure: the current time is an argument.

A refresh token serves once: a refresh replaces both tokens, and the old access token ends at once.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .errors import DENIED, UNAUTHORIZED, V22Error

# For the quirk "login_block".
_WRONG_LOGINS = 3
_BLOCK_SECONDS = 60.0

_CHALLENGE_SECONDS = 300.0
_WRONG_CODES = 5  # after these the challenge ends
_REFRESH_SECONDS = 86_400.0  # a refresh token lives longer than any access token


@dataclass(slots=True)
class LoginSession:
    """What one login opened.

    Attributes:
        user: the index of the extension that logged in; None for the administrator.
        access_token: the access token.
        refresh_token: the refresh token.
        expires_at: when the access token expires.
        ends_at: when the refresh token expires.
    """

    user: int | None
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: float
    ends_at: float


@dataclass(slots=True)
class Challenge:
    """A login that waits for its second factor."""

    user: int | None
    ends_at: float
    code: str | None = field(default=None, repr=False)
    wrong_codes: int = 0


class Logins:
    """Checks logins, and issues pairs of tokens.

    Attributes:
        username: the administrator's user name.
        password: the administrator's password.
        issued: how many access tokens were issued, by logins and refreshes.
        presented: by refresh token, how often a request carried it.
        otp: the code that was sent last; None before the first one.
    """

    def __init__(
        self,
        *,
        username: str,
        password: str,
        email: str,
        domain: str,
        lifetime: float,
        second_factor: bool,
        make_token: Callable[[], str],
        make_code: Callable[[], str],
        find_user: Callable[[str, str], int | None],
        quirks: frozenset[str],
    ) -> None:
        """Store the login of the administrator, and how the others are checked.

        Args:
            username: the administrator's user name.
            password: the administrator's password.
            email: the administrator's email address, which logs in as well.
            domain: the only domain that a login may name.
            lifetime: seconds that an access token is valid.
            second_factor: whether a login needs a code as well.
            make_token: returns a new token.
            make_code: returns a new code.
            find_user: returns the index of the extension with a user name and a password.
            quirks: the names of quirks.
        """
        self.username: str = username
        self.password: str = password
        self.issued: int = 0
        self.presented: Counter[str] = Counter()
        self.otp: str | None = None
        self._email = email
        self._domain = domain
        self._lifetime = lifetime
        self._second_factor = second_factor
        self._make_token = make_token
        self._make_code = make_code
        self._find_user = find_user
        self._quirks = quirks
        self._by_access: dict[str, LoginSession] = {}
        self._by_refresh: dict[str, LoginSession] = {}
        self._challenges: dict[str, Challenge] = {}
        self._wrong_logins = 0
        self._blocked_until = 0.0

    def sign_in(
        self, username: str, password: str, domain: str | None, now: float
    ) -> dict[str, Any]:
        """Log in, and return tokens, or a challenge if a second factor is needed.

        Raises:
            V22Error: the login is refused.
        """
        user = self.check(username, password, domain, now)
        if not self._second_factor:
            return self._open(user, now)
        token = self._make_token()
        self._challenges[token] = Challenge(user, now + _CHALLENGE_SECONDS)
        return {"two_factor_enabled": True, "token": token}

    def check(self, username: str, password: str, domain: str | None, now: float) -> int | None:
        """Return the index of the user who logs in; None for the administrator.

        Raises:
            V22Error: the login is refused.
        """
        if self._wrong_logins >= _WRONG_LOGINS and now < self._blocked_until:
            raise V22Error(
                403, "the client IP address 127.0.0.1 has been blocked until later", DENIED
            )
        is_admin = username in (self.username, self._email)
        user = None if is_admin else self._find_user(username, password)
        right = password == self.password if is_admin else user is not None
        if not right or domain not in (None, self._domain):
            if "login_block" in self._quirks:
                self._wrong_logins += 1
                self._blocked_until = now + _BLOCK_SECONDS
            raise V22Error(400, "the user name or the password is wrong", UNAUTHORIZED)
        self._wrong_logins = 0
        return user

    def send_otp(self, token: str, now: float) -> None:
        """Make a code for a challenge; `otp` is the code.

        Raises:
            V22Error: there is no such challenge.
        """
        self.otp = self._challenge(token, now).code = self._make_code()

    def verify_otp(self, token: str, code: str, now: float) -> dict[str, Any]:
        """Return tokens for a challenge and its code.

        Raises:
            V22Error: there is no such challenge, or the code is wrong.
        """
        challenge = self._challenge(token, now)
        if challenge.code is None or code != challenge.code:
            challenge.wrong_codes += 1
            if challenge.wrong_codes >= _WRONG_CODES:
                del self._challenges[token]
            raise V22Error(400, "the code is wrong", UNAUTHORIZED)
        del self._challenges[token]
        return self._open(challenge.user, now)

    def refresh(self, refresh_token: str, now: float) -> dict[str, Any]:
        """Replace a pair of tokens.

        Raises:
            V22Error: the refresh token is unknown, was used or has expired.
        """
        self.presented[refresh_token] += 1
        session = self._by_refresh.get(refresh_token)
        if session is None or session.ends_at <= now:
            raise V22Error(400, "the refresh token is not valid", UNAUTHORIZED)
        self._close(session)
        return self._open(session.user, now)

    def session_of(self, access_token: str, now: float) -> LoginSession | None:
        """Return the session of an access token; None if the token is not valid."""
        session = self._by_access.get(access_token)
        return session if session is not None and session.expires_at > now else None

    def sign_out(self, session: LoginSession) -> None:
        """End a session with both of its tokens."""
        self._close(session)

    def revoke(self, access_token: str | None = None) -> None:
        """Revoke an access token, or all of them; the refresh tokens stay valid."""
        if access_token is None:
            self._by_access.clear()
        else:
            self._by_access.pop(access_token, None)

    def revoke_all(self) -> None:
        """Revoke all tokens and challenges."""
        for tokens in (self._by_access, self._by_refresh, self._challenges):
            tokens.clear()

    def _challenge(self, token: str, now: float) -> Challenge:
        challenge = self._challenges.get(token)
        if challenge is None or challenge.ends_at <= now:
            raise V22Error(400, "the challenge is not valid", UNAUTHORIZED)
        return challenge

    def _open(self, user: int | None, now: float) -> dict[str, Any]:
        # Expired sessions are removed here, so that they don't pile up over weeks.
        for old in [old for old in self._by_refresh.values() if old.ends_at <= now]:
            self._close(old)
        if "one_token" in self._quirks:
            for old in [old for old in self._by_refresh.values() if old.user == user]:
                self._close(old)
        session = LoginSession(
            user,
            self._make_token(),
            self._make_token(),
            now + self._lifetime,
            now + max(_REFRESH_SECONDS, 2 * self._lifetime),
        )
        self._by_access[session.access_token] = session
        self._by_refresh[session.refresh_token] = session
        self.issued += 1
        return self._reply(session)

    def _close(self, session: LoginSession) -> None:
        self._by_access.pop(session.access_token, None)
        self._by_refresh.pop(session.refresh_token, None)

    def _reply(self, session: LoginSession) -> dict[str, Any]:
        lifetime = self._lifetime
        expires: Any = int(lifetime) if lifetime == int(lifetime) else lifetime
        reply: dict[str, Any] = {
            "access_token": session.access_token,
            "refresh_token": session.refresh_token,
            "expires_in": str(expires) if "expires_as_string" in self._quirks else expires,
            "token_type": "Bearer",
        }
        if "no_expires" in self._quirks:
            del reply["expires_in"]
        return reply
