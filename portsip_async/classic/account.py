"""Logging in and renewing."""

from collections.abc import Mapping

from ..core.endpoint import Endpoint
from ..core.tasks import NotCopyable
from ..core.tokens import Token
from ..core.tracebacks import hide_arguments
from ..errors import APIError, raise_without_context
from .login import login_error
from .operations import ACCOUNT_VERIFY, ACCOUNT_VERIFY_EMAIL
from .resource import Caller, text


class Account(NotCopyable):
    """The account calls; the client logs in by itself, so few programs need them."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    @hide_arguments
    async def verify(self, username: str, password: str) -> Token:
        """Check a user name and a password, and get a token for them.

        The client's own token and credentials stay as they are
        (``POST /account/credentials/verify``).

        Raises:
            AuthenticationError: the PBX refused them.
            NotFound, APIError: there is no API of this generation at the address, or something in
                between replied.
        """
        return await self._verify(
            ACCOUNT_VERIFY,
            {"username": text("username", username), "password": text("password", password)},
        )

    @hide_arguments
    async def verify_email(self, email: str, password: str) -> Token:
        """Check an email address and a password, and get a token for them.

        The client's own token and credentials stay as they are (``POST /account/email/verify``).

        Raises:
            AuthenticationError: the PBX refused them.
            NotFound, APIError: there is no API of this generation at the address, or something in
                between replied.
        """
        return await self._verify(
            ACCOUNT_VERIFY_EMAIL,
            {"email": text("email", email), "password": text("password", password)},
        )

    async def refresh(self) -> Token:
        """Renew the client's own token now (``POST /account/token/refresh``, else a login).

        It is tried at once, even while a refused login makes other calls fail without traffic.

        Raises:
            AuthenticationError: the PBX refused it.
        """
        return await self._caller.session.renew_token()

    async def _verify(self, row: Endpoint[Token], parameters: Mapping[str, object]) -> Token:
        try:
            return await self._caller(row, parameters)
        except APIError as error:
            raise_without_context(login_error(error, self._caller.session.base_url))
