"""An application's own credentials, which fetch tokens from a vault or another service."""

from inspect import isawaitable
from typing import Final, Protocol, runtime_checkable

from ..errors import PortSIPError
from .token_types import Token

# The attribute that marks an exception of an application's `fetch_token`.
_FETCH_MARK: Final = "_portsip_async_fetch_token"


@runtime_checkable
class Credentials(Protocol):
    """Anything that can fetch a token: from a vault, from another service."""

    async def fetch_token(self) -> Token:
        """Fetch a token that is valid now."""
        ...


async def fetch_token(credentials: Credentials) -> Token:
    """Fetch a token from an application's credentials, and mark the exceptions that they raise.

    Raises:
        TypeError: the result is not a usable Token.
        Exception: whatever `credentials` raise, as the same object.
    """
    try:
        pending = credentials.fetch_token()
        if not isawaitable(pending):
            kind = type(pending).__name__
            del pending  # it may be the secret itself, as below
            raise TypeError(f"fetch_token must be an async method, got one that returns {kind}")
        token: object = await pending
        if not isinstance(token, Token):
            problem = f"a Token, got {type(token).__name__}"
        elif not isinstance(token.access_token, str):
            problem = f"a Token with a str as access_token, got {type(token.access_token).__name__}"
        elif not isinstance(token.expires, int | float):
            problem = f"a Token with seconds as expires, got {type(token.expires).__name__}"
        elif not isinstance(token.refresh_token, str | None):
            kind = type(token.refresh_token).__name__
            problem = f"a Token with a str or None as refresh_token, got {kind}"
        else:
            return token
        del token  # it may be the secret itself, and tracebacks may show local variables
        raise TypeError(f"fetch_token must return {problem}")
    except PortSIPError:
        raise
    except Exception as error:
        # Not by setattr, which an exception class may forbid.
        vars(error)[_FETCH_MARK] = True
        raise


def is_fetch_error(error: BaseException) -> bool:
    """Return whether an application's `fetch_token` raised this, or returned no usable Token.

    Any other exception that is not a PortSIPError is a fault of the SDK or of its caller.
    """
    return _FETCH_MARK in vars(error)
