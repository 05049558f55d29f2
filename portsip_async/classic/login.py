"""Logs in to the classic API, and refreshes its tokens."""

from typing import Any

from ..client.login import check_pair, fetch, login_error, only_credentials
from ..client.resource import Core
from ..core.credentials import Credentials
from ..core.endpoint import Endpoint, EndpointTable
from ..core.message import Parameters
from ..core.token_types import Token, TokenReply
from ..errors import APIError, raise_without_context
from ..redact import Record
from .error_codes import CLASSIC_ERRORS
from .operations import ACCOUNT_REFRESH, ACCOUNT_VERIFY, ACCOUNT_VERIFY_EMAIL


class PasswordCredentials(Record, frozen=True):
    """Log in with a user name and a password (``POST /account/credentials/verify``).

    Attributes:
        username: the name of an administrator, or an extension such as ``101@example.com``.
        password: the password; for an extension, its web access password.
    """

    username: str
    password: str


class EmailCredentials(Record, frozen=True):
    """Log in with an email address and a password (``POST /account/email/verify``).

    Attributes:
        email: the email address of the account.
        password: its password.
    """

    email: str
    password: str


class StaticToken(Record, frozen=True):
    """Start from a token that was obtained elsewhere. It is renewed only by refreshing it.

    Attributes:
        access_token: the token to start from.
    """

    access_token: str


AnyCredentials = PasswordCredentials | EmailCredentials | StaticToken | Credentials


class Login:
    """The token source of a client: its credentials, and the operations that use them.

    Attributes:
        can_login: False if the client has only a token to start from.
        initial: that token, or None.
        default_lifetime: from the vendor's documentation, in seconds.
        single_use: False: a token may be refreshed more than once.
    """

    default_lifetime: float = 30.0
    single_use: bool = False

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
        static = credentials if isinstance(credentials, StaticToken) else None
        self.can_login: bool = static is None
        self.initial: Token | None = None
        if static is not None:
            self.initial = Token(static.access_token, self.default_lifetime)

    async def login(self) -> TokenReply:
        """Log in with the credentials, or fetch a token from the application's own.

        Raises:
            AuthenticationError: the credentials were refused.
        """
        credentials = self._credentials
        if isinstance(credentials, PasswordCredentials | EmailCredentials):
            by_email = isinstance(credentials, EmailCredentials)
            row = self._table[ACCOUNT_VERIFY_EMAIL if by_email else ACCOUNT_VERIFY]
            return TokenReply(*await self._send(row, credentials))
        assert isinstance(credentials, Credentials)  # noqa: S101 - can_login is False otherwise
        return await fetch(credentials, self._session.clock, CLASSIC_ERRORS)

    async def refresh(self, token: Token) -> TokenReply:
        """Refresh a token; a reply without a token prolongs it.

        Raises:
            AuthenticationError: the PBX refused the token.
        """
        new, sent_at = await self._send(self._table[ACCOUNT_REFRESH], {}, token)
        return TokenReply(
            Token(new.access_token or token.access_token, new.expires, new.role, new.api_version),
            sent_at,
        )

    async def _send(
        self, row: Endpoint[Any], parameters: Parameters, token: Token | None = None
    ) -> tuple[Any, float]:
        """Send a login or a refresh; return the reply, and when the request was sent."""
        try:
            return await self._session.send_login(row, parameters, token=token)
        except APIError as error:
            raise_without_context(login_error(error, self._session.base_url, CLASSIC_ERRORS))


def resolve_credentials(
    username: str | None,
    password: str | None,
    credentials: AnyCredentials | None,
    token: str | None,
) -> AnyCredentials:
    """Return the client's credentials, from whichever arguments were passed.

    Raises:
        ConfigurationError: they were not passed in exactly one of the three ways, or they can't be
            sent.
    """
    found: list[AnyCredentials] = []
    if username is not None or password is not None:
        found.append(PasswordCredentials(*check_pair(username, password)))
    if credentials is not None:
        found.append(credentials)
    if token is not None:
        found.append(StaticToken(token))
    kinds = (PasswordCredentials, EmailCredentials, StaticToken)
    return only_credentials(found, kinds, "username= and password=, credentials=, or token=")
