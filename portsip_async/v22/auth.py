"""Logging in with a second factor, renewing the tokens, and signing out."""

from ..arguments import check_str
from ..client.login import refused_login
from ..client.resource import Resource
from ..core.token_types import Token
from ..core.tracebacks import hide_arguments
from ..errors import APIError, AuthenticationError, raise_without_context
from .error_codes import V22_ERRORS
from .login import token_of
from .models import AuthUser
from .operations import AUTH_SEND_OTP, AUTH_SIGN_OUT, AUTH_USER, AUTH_VERIFY_OTP


class Auth(Resource):
    """The client's own login. The client logs in by itself, so few programs need this."""

    async def refresh(self) -> Token:
        """Renew the client's tokens now (``POST /auth/refresh_token``, or else a login).

        It is sent even while other calls fail at once because a login was refused, or because it
        waits for a second factor.

        Returns:
            The new token.

        Raises:
            AuthenticationError: the PBX refused the login, or there are no credentials for one.
            TwoFactorRequired: the PBX wants a second factor.
        """
        return await self._sender.session.renew_token()

    async def sign_out(self) -> None:
        """End the session on the PBX, and forget the tokens (``POST /auth/sign_out``).

        Nothing is sent if the client has no token, or if the PBX has rejected it already. The
        tokens are forgotten even if the call fails. The next call that needs one logs in again.
        """
        session = self._sender.session
        session.check_open()
        token = await session.tokens.forget()
        if token is None:
            return
        try:
            await self._sender.send(AUTH_SIGN_OUT, {}, token=token)
        except AuthenticationError as error:
            if not error.token_rejected:
                raise

    async def user(self) -> AuthUser:
        """Return the role of the account, and whether its password is in order.

        (``GET /auth/user``)
        """
        return await self._sender.send(AUTH_USER, {})

    @hide_arguments
    async def send_otp(self, challenge: str) -> None:
        """Have a one-time password sent to the user (``POST /auth/send_otp``).

        Args:
            challenge: the `challenge` of the `TwoFactorRequired` that a call raised.

        Raises:
            AuthenticationError: the PBX refused the challenge.
        """
        try:
            await self._sender.send(AUTH_SEND_OTP, {"token": check_str("challenge", challenge)})
        except APIError as error:
            raise_without_context(refused_login(error, V22_ERRORS) or error)

    @hide_arguments
    async def verify_otp(self, challenge: str, code: str) -> Token:
        """Log in with a one-time password (``POST /auth/verify_otp``).

        Args:
            challenge: the `challenge` of the `TwoFactorRequired` that a call raised.
            code: the one-time password.

        Returns:
            The new token, which this client uses from now on.

        Raises:
            AuthenticationError: the PBX refused the challenge or the code.
            ReplyError: the reply has no token.
        """
        session = self._sender.session
        sent_at = session.clock.monotonic()
        try:
            reply = await self._sender.send(
                AUTH_VERIFY_OTP,
                {"token": check_str("challenge", challenge), "code": check_str("code", code)},
            )
        except APIError as error:
            raise_without_context(refused_login(error, V22_ERRORS) or error)
        token = token_of(reply, AUTH_VERIFY_OTP)
        session.tokens.use(token, sent_at)
        return token
