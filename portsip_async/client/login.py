"""What the logins of all generations share: checking credentials, and classifying refusals.

The PBX refuses a login with status 400, 401 or 403 and an empty or JSON body, or with a code that
means the same. Such an error becomes an AuthenticationError, which the token cache remembers. A
page (HTML or plain text) comes from something in between, so it does not count as a refusal. A
missing address does not count either.
"""

import re
from collections.abc import Iterable
from typing import Final, TypeVar

import msgspec

from ..core.credentials import Credentials, fetch_token
from ..core.limits import Clock
from ..core.token_types import TokenReply
from ..errors import (
    APIError,
    AuthenticationError,
    ConfigurationError,
    ErrorScheme,
    PortSIPError,
    RateLimited,
    ServerError,
    leading_status,
    raise_without_context,
)

C = TypeVar("C")

# Statuses that say that nothing is at the address.
MISSING: Final = frozenset({404, 405, 410})
# Statuses that refuse a login.
_REFUSED_STATUSES: Final = frozenset({400, 401, 403})
# The argument of a client that sets a field, if it has another name.
_ARGUMENTS: Final = {"access_token": "token"}
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def only_credentials(found: Iterable[C], kinds: tuple[type, ...], ways: str) -> C:
    """Return the only credentials that were passed, after checking them.

    Args:
        found: the credentials, from whichever arguments were passed.
        kinds: the generation's own classes of credentials.
        ways: the arguments that may be passed, for the message.

    Raises:
        ConfigurationError: there are none or several, or they can't be sent.
    """
    found = [*found]
    if len(found) != 1:
        got = "none of them" if not found else f"{len(found)} of them"
        raise ConfigurationError(f"the credentials must be exactly one of {ways}; got {got}")
    (only,) = found
    if not (isinstance(only, kinds) and isinstance(only, msgspec.Struct)):
        if not isinstance(only, Credentials):
            names = ", ".join(kind.__name__ for kind in kinds)
            raise ConfigurationError(
                f"credentials must be {names} or an object with an async method fetch_token, "
                f"got {type(only).__name__}"
            )
        return only
    for field in msgspec.structs.fields(only):
        text = getattr(only, field.name)
        if text is not None or field.default is not None:
            check_credential(_ARGUMENTS.get(field.name, field.name), text)
    return only


def check_credential(name: str, text: object) -> None:
    """Check a name, password or token of a login. No message shows it: it may be a secret.

    Raises:
        ConfigurationError: it can't be sent.
    """
    if not isinstance(text, str):
        raise ConfigurationError(f"{name} must be a str, got {type(text).__name__}")
    if not text:
        raise ConfigurationError(f"{name} must not be empty")
    if _SURROGATE.search(text):
        # os.environ has these for bytes that don't fit the locale's encoding.
        raise ConfigurationError(f"{name} must be valid Unicode, got half of a surrogate pair")
    if name == "token" and not text.isprintable():
        raise ConfigurationError(
            "token must be printable characters, got one that is not, such as a line feed"
        )


def check_pair(username: str | None, password: str | None) -> tuple[str, str]:
    """Return the name and password of a login; both must be passed, even if only a domain was.

    Raises:
        ConfigurationError: one of them is missing or empty.
    """
    for name, text in (("username", username), ("password", password)):
        if text is None:
            raise ConfigurationError(f"{name} is missing: pass both username and password")
        check_credential(name, text)
    assert username is not None  # noqa: S101 - checked above
    assert password is not None  # noqa: S101 - checked above
    return username, password


async def fetch(credentials: Credentials, clock: Clock, scheme: ErrorScheme) -> TokenReply:
    """Fetch a token from an application's own credentials.

    Raises:
        AuthenticationError: `credentials` raised an error that means that a login was refused.
        Exception: whatever else they raised.
    """
    sent_at = clock.monotonic()
    try:
        return TokenReply(await fetch_token(credentials), sent_at)
    except APIError as error:
        raise_without_context(refused_login(error, scheme) or error)


def refused_login(error: PortSIPError, scheme: ErrorScheme) -> AuthenticationError | None:
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
    if isinstance(error, RateLimited | ServerError) or code in scheme.no_such_address:
        return None
    if error.status in MISSING:
        return None
    # In a 200, an unlisted code such as 403.9 begins with the real status.
    status = error.status if error.status >= 300 else leading_status(code)
    if code not in scheme.refused_login and status not in _REFUSED_STATUSES:
        return None
    return error.copy(AuthenticationError)


def login_error(error: APIError, address: str, scheme: ErrorScheme) -> APIError:
    """Return the error to raise for a login or a refresh that failed.

    Args:
        error: the error that the reply reported.
        address: the base URL, for the message.
        scheme: the codes and statuses of the API.

    Returns:
        An AuthenticationError if the login was refused. Otherwise an error of another class, with
        a message that says what to check.
    """
    refused = refused_login(error, scheme)
    if refused is not None:
        return refused
    reply = f" (the reply says: {error.message})" if error.message else ""
    if error.status in MISSING:
        message = (
            f"there is no PortSIP API of this generation at {address}: "
            f"check the address and the version of the PBX, or ask portsip_async.detect(){reply}"
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
