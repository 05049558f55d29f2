"""Finds out which generation of the API a PBX speaks, without any credentials.

Generation v22 replies to ``GET /api/info`` with a JSON object, and needs no token for it. The
classic generation has no such address, but its own login, which refuses an empty login. A web page
means neither: it comes from something in between, such as a captive portal.
"""

from typing import Any, Final, Literal, TypeAlias

from .classic.error_codes import CLASSIC_ERRORS
from .classic.login import Login, StaticToken
from .classic.operations import ACCOUNT_VERIFY, ENDPOINTS
from .client.base import DEFAULT_RETRY, BaseClient
from .client.login import refused_login
from .core.endpoint import Endpoint
from .core.retry import RetryPolicy
from .core.tracebacks import hide_arguments
from .core.transport import SSL
from .core.urls import api_url
from .errors import APIError, ReplyError
from .redact import Record

Generation: TypeAlias = Literal["classic", "v22"]

# The row of v22, which reads any object. Its own row would load all its models.
_INFO: Final = Endpoint("pbx.info", "GET", "/info", reply=dict[str, Any], token="none")
_MAX_REPLY_BYTES: Final = 1024 * 1024
_EMPTY_LOGIN: Final = {"username": "", "password": ""}


class Detected(Record, frozen=True):
    """What was found at an address.

    Attributes:
        generation: "v22", "classic", or None if neither answered.
        reason: how that was found, as one sentence for people.
    """

    generation: Generation | None
    reason: str


@hide_arguments
async def detect(
    base_url: str,
    *,
    ssl: SSL = None,
    proxy: str | None = None,
    allow_http: bool = False,
    timeout: float = 10.0,
) -> Detected:
    """Find out which generation of the API a PBX speaks. No credentials are sent.

    One request is enough where the PBX is v22, and two elsewhere. They are repeated like any call.

    Args:
        base_url: such as ``https://pbx.example.com:8887``, with or without ``/api``.
        ssl: how certificates are checked; see `PortSIPClient`.
        proxy: the URL of an HTTP proxy; see `PortSIPClient`.
        allow_http: whether plain http is allowed for a host that is not loopback.
        timeout: seconds for each of the two requests, repeats included.

    Returns:
        The generation, or None where something else replied.

    Raises:
        TransportError: no complete reply arrived.
        ConfigurationError: a URL or the CA file cannot be used.
        ValueError, TypeError: an option is out of bounds, or has the wrong type.
    """
    async with BaseClient(
        api_url(base_url, allow_http=allow_http, suffix="/api"),
        rows=ENDPOINTS,
        errors=CLASSIC_ERRORS,
        token_place=None,
        # Neither request carries a token.
        token_source=lambda core, table: Login(core, table, StaticToken("none")),
        timeout=timeout,
        retry=DEFAULT_RETRY,
        max_connections=1,
        requests_per_second=None,
        max_reply_bytes=_MAX_REPLY_BYTES,
        session=None,
        ssl=ssl,
        proxy=proxy,
        endpoints=None,
        user_agent=None,
        on_attempt=None,
    ) as client:
        pbx = client.with_options(retry=RetryPolicy(deadline=timeout))
        try:
            await pbx.request(_INFO)
        except (APIError, ReplyError) as error:
            info = error
        else:
            return Detected("v22", "GET /info replied with JSON and needed no token, as in v22.")
        try:
            await pbx.request(ACCOUNT_VERIFY, **_EMPTY_LOGIN)
        except (APIError, ReplyError) as error:
            login = error
        else:
            return Detected(None, "The address accepted an empty login, which no PBX does.")
    if _is_refusal(login, info):
        return Detected("classic", "The classic login is there, and refused an empty login.")
    return Detected(
        None,
        f"Neither generation of the API is there: GET /info got {_shown(info)},"
        f" and an empty classic login got {_shown(login)}.",
    )


def _is_refusal(login: APIError | ReplyError, info: APIError | ReplyError) -> bool:
    """Check that the classic login refused an empty login, and that not every address replies so.

    Without an err_code, a refusal of both requests with one status may come from any server.
    """
    if not isinstance(login, APIError) or refused_login(login, CLASSIC_ERRORS) is None:
        return False
    return login.err_code is not None or login.status != getattr(info, "status", None)


def _shown(error: APIError | ReplyError) -> str:
    """Describe a reply, without any text of the server."""
    if isinstance(error, ReplyError):
        return f"no JSON (expected {error.expected})"
    redirected = ", a redirect" if 300 <= error.status < 400 else ""
    return f"HTTP {error.status}{redirected}{' with a web page' if error.is_page else ''}"
