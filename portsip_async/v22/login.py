"""Logs in to generation v22, and refreshes its tokens.

From 22.2 on the PBX has ``/auth/sign_in``. Earlier versions have only the form login, which all
versions have. So a client signs in, and uses the form login from then on if the path is missing.
"""

from collections.abc import Mapping
from typing import Final

from ..client.login import MISSING, check_pair, fetch, login_error, only_credentials
from ..client.resource import Core
from ..core.credentials import Credentials
from ..core.endpoint import Endpoint, EndpointTable
from ..core.message import Parameters
from ..core.token_types import Token, TokenReply
from ..errors import (
    APIError,
    AuthenticationError,
    ConfigurationError,
    ReplyError,
    TwoFactorRequired,
    raise_without_context,
)
from ..redact import Record
from .error_codes import V22_ERRORS
from .models import SignInReply
from .operations import AUTH_FORM_LOGIN, AUTH_FORM_REFRESH, AUTH_REFRESH, AUTH_SIGN_IN

# Seconds; from the samples in the vendor's documentation.
LIFETIME: Final = 1800.0
# What the form login needs besides the credentials. The id is a constant of the vendor's page.
_GRANT: Final[Mapping[str, str]] = {
    "grant_type": "password",
    "scope": "all",
    "client_id": "9d806019-75b2-4b3d-bb8b-f5a3a412cc0a",
}


class SignIn(Record, frozen=True):
    """Log in with a user name and a password.

    Attributes:
        username: the name of the user.
        password: the user's password.
        domain: the SIP domain of the user's tenant; None for a system administrator.
    """

    username: str
    password: str
    domain: str | None = None


class Tokens(Record, frozen=True):
    """Start from tokens that were obtained elsewhere.

    Attributes:
        access_token: is used until the PBX rejects it.
        refresh_token: renews the access token, once. None: the client can't renew it.
    """

    access_token: str
    refresh_token: str | None = None


AnyCredentials = SignIn | Tokens | Credentials


class Login:
    """The token source of a client: its credentials, and the operations that use them.

    Attributes:
        can_login: False if the client has only tokens to start from.
        initial: these tokens, or None. How long they live is unknown.
        default_lifetime: in seconds.
        single_use: True: a refresh token can be used once.
    """

    default_lifetime: float = LIFETIME
    single_use: bool = True

    def __init__(self, session: Core, table: EndpointTable, credentials: AnyCredentials) -> None:
        """Store what logins need; nothing is sent.

        Args:
            session: sends the requests.
            table: the client's endpoints.
            credentials: what to log in with.
        """
        self._session = session
        self._table = table
        self._credentials = credentials
        tokens = credentials if isinstance(credentials, Tokens) else None
        self.can_login: bool = tokens is None
        self.initial: Token | None = None
        if tokens is not None:
            self.initial = Token(
                tokens.access_token, float("inf"), refresh_token=tokens.refresh_token
            )
        # Whether the PBX has the form login only.
        self._uses_form = False

    async def login(self) -> TokenReply:
        """Log in with the credentials, or fetch a token from the application's own.

        Raises:
            AuthenticationError: the credentials were refused.
            TwoFactorRequired: the PBX wants a second factor.
        """
        credentials = self._credentials
        if not isinstance(credentials, SignIn):
            assert isinstance(credentials, Credentials)  # noqa: S101 - can_login is False otherwise
            return await fetch(credentials, self._session.clock, V22_ERRORS)
        if not self._uses_form:
            try:
                return await self._send(AUTH_SIGN_IN, credentials)
            except APIError as error:
                if error.status not in MISSING or isinstance(error, AuthenticationError):
                    raise
        try:
            reply = await self._send(
                AUTH_FORM_LOGIN,
                {
                    **_GRANT,
                    "username": credentials.username,
                    "password": credentials.password,
                    "domain": credentials.domain,
                },
            )
        except AuthenticationError:
            self._uses_form = True  # it is there, even if it refused this login
            raise
        self._uses_form = True
        return reply

    async def refresh(self, token: Token) -> TokenReply:
        """Refresh a token by its refresh token.

        Raises:
            AuthenticationError: the PBX refused the refresh token.
        """
        # Neither request carries the old access token. It is passed so that no error shows it.
        if self._uses_form:
            return await self._send(
                AUTH_FORM_REFRESH,
                {"grant_type": "refresh_token", "refresh_token": token.refresh_token},
                token,
            )
        return await self._send(AUTH_REFRESH, {"refresh_token": token.refresh_token}, token)

    async def _send(
        self, row: Endpoint[SignInReply], parameters: Parameters, token: Token | None = None
    ) -> TokenReply:
        """Send a login or a refresh, and return its token."""
        sending = self._session.send_login(self._table[row], parameters, token=token)
        del parameters  # tracebacks may show local variables
        try:
            reply, sent_at = await sending
        except APIError as error:
            raise_without_context(login_error(error, self._session.base_url, V22_ERRORS))
        return TokenReply(token_of(reply, row), sent_at)


def token_of(reply: SignInReply, row: Endpoint[SignInReply]) -> Token:
    """Return the token that a login, a refresh or the check of a second factor brought.

    Raises:
        TwoFactorRequired: the PBX wants a second factor.
        ReplyError: the reply has no token.
    """
    if reply.access_token:
        expires = LIFETIME if reply.expires_in is None else reply.expires_in
        return Token(reply.access_token, expires, refresh_token=reply.refresh_token or None)
    if reply.two_factor_enabled and reply.token:
        required = TwoFactorRequired(
            "the PBX wants a second factor: pass the error's challenge to auth.send_otp, "
            "then both the challenge and the code to auth.verify_otp",
            status=200,
            operation=row.name,
        )
        required.challenge = reply.token
        raise required
    raise ReplyError(
        expected="an access token",
        where="$.access_token",
        operation=row.name,
        attempts=1,
        may_have_acted=row.safety != "safe",
    )


def resolve_credentials(
    username: str | None,
    password: str | None,
    domain: str | None,
    credentials: AnyCredentials | None,
    token: str | None,
    refresh_token: str | None,
) -> AnyCredentials:
    """Return the client's credentials, from whichever arguments were passed.

    Raises:
        ConfigurationError: they were not passed in exactly one of the three ways, or they can't be
            sent.
    """
    found: list[AnyCredentials] = []
    if username is not None or password is not None or domain is not None:
        found.append(SignIn(*check_pair(username, password), domain))
    if credentials is not None:
        found.append(credentials)
    if token is not None or refresh_token is not None:
        if token is None:
            raise ConfigurationError("token is missing: refresh_token must be passed with token")
        found.append(Tokens(token, refresh_token))
    ways = "username= and password= (with domain=), credentials=, or token= (with refresh_token=)"
    return only_credentials(found, (SignIn, Tokens), ways)
