"""Logs in to the classic API, and refreshes its tokens.

The PBX refuses a login with status 400, 401 or 403 and an empty or JSON body, or with an err_code
that means the same. Such an error becomes an AuthenticationError, which the token cache remembers.
A page (HTML or plain text) comes from something in between, so it does not count as a refusal. A
missing address does not count either.
"""

import re
from typing import Any, Final

import msgspec

from ..client.resource import Core
from ..core.endpoint import Endpoint, EndpointTable
from ..core.message import Parameters
from ..core.tokens import (
    Credentials,
    EmailCredentials,
    PasswordCredentials,
    StaticToken,
    Token,
    TokenReply,
    fetch_token,
)
from ..errors import (
    APIError,
    AuthenticationError,
    ConfigurationError,
    PortSIPError,
    RateLimited,
    ServerError,
    leading_status,
    raise_without_context,
)
from .error_codes import CLASSIC_ERRORS
from .operations import ACCOUNT_REFRESH, ACCOUNT_VERIFY, ACCOUNT_VERIFY_EMAIL

AnyCredentials = PasswordCredentials | EmailCredentials | StaticToken | Credentials

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
# Statuses that refuse a login.
_REFUSED_STATUSES: Final = frozenset({400, 401, 403})
# Statuses that say that nothing is at the address.
_MISSING: Final = frozenset({404, 405, 410})


class Login:
    """The token source of a client: its credentials, and the operations that use them.

    Attributes:
        can_login: False if the client has only a token to start from.
        initial: that token, or None.
    """

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
        self.initial: str | None = None if static is None else static.access_token

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
        sent_at = self._session.clock.monotonic()
        try:
            return TokenReply(await fetch_token(credentials), sent_at)
        except APIError as error:
            raise_without_context(refused_login(error) or error)

    async def refresh(self, access_token: str) -> TokenReply:
        """Refresh a token; a reply without a token prolongs it.

        Raises:
            AuthenticationError: the PBX refused the token.
        """
        old = Token(access_token)
        del access_token  # tracebacks may show local variables; the repr of `old` hides it
        new, sent_at = await self._send(self._table[ACCOUNT_REFRESH], {}, old.access_token)
        return TokenReply(
            Token(new.access_token or old.access_token, new.expires, new.role, new.api_version),
            sent_at,
        )

    async def _send(
        self, row: Endpoint[Any], parameters: Parameters, access_token: str | None = None
    ) -> tuple[Any, float]:
        """Send a login or a refresh; return the reply, and when the request was sent."""
        sending = self._session.send_login(row, parameters, access_token=access_token)
        del parameters, access_token  # as above
        try:
            return await sending
        except APIError as error:
            raise_without_context(login_error(error, self._session.base_url))


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
        if not username or not password:
            raise ConfigurationError("pass both username and password; neither may be empty")
        found.append(PasswordCredentials(username, password))
    if credentials is not None:
        found.append(credentials)
    if token is not None:
        found.append(StaticToken(token))
    if len(found) != 1:
        raise ConfigurationError(
            "pass exactly one of username= and password=, credentials=, or token="
        )
    (only,) = found
    # No message shows the value: it may be a secret.
    texts = msgspec.structs.asdict(only).values() if isinstance(only, msgspec.Struct) else ()
    if not all(isinstance(text, str) and text for text in texts):
        raise ConfigurationError("a name, password or token must be a non-empty str")
    if _SURROGATE.search("".join(texts)):
        # os.environ has these for bytes that don't fit the locale's encoding.
        raise ConfigurationError(
            "a name, password or token must be valid Unicode, got half of a surrogate pair"
        )
    if not isinstance(only, PasswordCredentials | EmailCredentials | StaticToken | Credentials):
        raise ConfigurationError(
            f"credentials must have an async method fetch_token, got {type(only).__name__}"
        )
    if isinstance(only, StaticToken) and not only.access_token.isprintable():
        raise ConfigurationError("a token must consist of printable characters")
    return only


def refused_login(error: PortSIPError) -> AuthenticationError | None:
    """Return the AuthenticationError of a refused login; None if it failed for another reason.

    Statuses and codes decide, not classes. So a status may get an error class of its own without
    any change here.
    """
    if not isinstance(error, APIError) or error.is_page:
        return None
    if isinstance(error, AuthenticationError):
        return error
    code = str(error.err_code)
    # A code takes precedence over the status, so the class may mean "too busy" with any status.
    if isinstance(error, RateLimited | ServerError) or code in CLASSIC_ERRORS.no_such_address:
        return None
    if error.status in _MISSING:
        return None
    # In a 200, an unlisted code such as 403.9 begins with the real status.
    status = error.status if error.status >= 300 else leading_status(code)
    if code not in CLASSIC_ERRORS.refused_login and status not in _REFUSED_STATUSES:
        return None
    return error.copy(AuthenticationError)


def login_error(error: APIError, address: str) -> APIError:
    """Return the error to raise for a login or a refresh that failed.

    Args:
        error: the error that the reply reported.
        address: the base URL, for the message.

    Returns:
        An AuthenticationError if the login was refused. Otherwise an error of another class, with
        a message that says what to check.
    """
    refused = refused_login(error)
    if refused is not None:
        return refused
    reply = f" (the reply says: {error.message})" if error.message else ""
    if error.status in _MISSING:
        message = (
            f"there is no PortSIP API of this generation at {address}: "
            f"check the address and the version of the PBX{reply}"
        )
    elif error.is_page and error.status < 500:
        message = (
            f"something between this program and {address} replied with a web page: "
            "check the address, and any proxy or firewall"
        )
    else:
        return error
    # The page did not come from the PBX, so it says nothing about the credentials.
    kind = APIError if isinstance(error, AuthenticationError) else type(error)
    return error.copy(kind, message=message)
