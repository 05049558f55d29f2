"""Checking credentials and renewing the token."""

from collections.abc import Mapping

from ..arguments import check_str
from ..client.login import login_error
from ..client.resource import Resource
from ..core.endpoint import Endpoint
from ..core.token_types import Token
from ..core.tracebacks import hide_arguments
from ..errors import APIError, raise_without_context
from .error_codes import CLASSIC_ERRORS
from .operations import ACCOUNT_VERIFY, ACCOUNT_VERIFY_EMAIL


class Account(Resource):
    """The operations of an account. The client logs in by itself, so few programs need them."""

    @hide_arguments
    async def verify(self, username: str, password: str) -> Token:
        """Log in with a user name and a password (``POST /account/credentials/verify``).

        The client's own token and credentials stay as they are.

        Returns:
            The token that the PBX issued.

        Raises:
            AuthenticationError: the PBX refused them.
            NotFound, APIError: the address has no API of this generation, or a proxy replied.
        """
        return await self._verify(
            ACCOUNT_VERIFY,
            {
                "username": check_str("username", username),
                "password": check_str("password", password),
            },
        )

    @hide_arguments
    async def verify_email(self, email: str, password: str) -> Token:
        """Log in with an email address and a password (``POST /account/email/verify``).

        The client's own token and credentials stay as they are.

        Returns:
            The token that the PBX issued.

        Raises:
            AuthenticationError: the PBX refused them.
            NotFound, APIError: the address has no API of this generation, or a proxy replied.
        """
        return await self._verify(
            ACCOUNT_VERIFY_EMAIL,
            {"email": check_str("email", email), "password": check_str("password", password)},
        )

    async def refresh(self) -> Token:
        """Renew the client's own token now (``POST /account/token/refresh``, or else a login).

        It is sent even while other calls fail at once because a login was refused.

        Returns:
            The new token.

        Raises:
            AuthenticationError: the PBX refused the refresh and the login.
        """
        return await self._sender.session.renew_token()

    async def _verify(self, row: Endpoint[Token], parameters: Mapping[str, object]) -> Token:
        try:
            return await self._sender.send(row, parameters)
        except APIError as error:
            address = self._sender.session.base_url
            raise_without_context(login_error(error, address, CLASSIC_ERRORS))
