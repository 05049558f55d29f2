"""Try the web socket through which a PBX reports statuses live."""

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

from ... import (
    APIError,
    Attempt,
    AuthenticationError,
    ConfigurationError,
    NotFound,
    PermissionDenied,
    PortSIPError,
    StatusWatch,
)
from ...v22 import ENDPOINTS
from .report import SocketState, WebSocket

_PATIENCE: Final = 10.0  # seconds to wait for the first state
_ACKNOWLEDGEMENT: Final = 1.0  # seconds to wait for it after the first state
_GLANCE: Final = 0.05  # seconds between two looks at the watch
_STATUS: Final = ENDPOINTS["users.status"].name
_FORWARD: Final = "a firewall or proxy in between must let the upgrade to a web socket pass"


async def try_web_socket(pbx: Any, number: str | None, attempts: Sequence[Attempt]) -> WebSocket:
    """Follow an extension until its first state arrives, and return what was found.

    Args:
        pbx: the client.
        number: the extension; None if the PBX has none.
        attempts: the requests of the client, which it adds to.
    """
    if number is None:
        return WebSocket(state="not tried", detail="there is no extension")
    began, earlier = monotonic(), len(attempts)
    try:
        async with pbx.extensions.watch_status([number], source="socket") as watch:
            error = await _first_failure(watch, began + _PATIENCE)
            # A watch reads the state that the web socket does not report, and that may fail.
            read = any(one.operation == _STATUS for one in attempts[earlier:])
            if error is not None and not read:
                return _failed(error)
            if not watch.snapshot or read:
                what = "no state arrives" if watch.stats.connections else "there is no reply"
                return WebSocket(state="silent", detail=what, hint=_FORWARD)
            seconds = round(monotonic() - began, 3)
            acknowledged = await _is_acknowledged(watch)
    except ConfigurationError:
        return WebSocket(state="not tried", detail="it takes a user name and a password")
    except PortSIPError as error:
        return _failed(error)
    return WebSocket(state="works", seconds=seconds, acknowledged=acknowledged)


async def _first_failure(watch: StatusWatch[Any], until: float) -> PortSIPError | None:
    """Wait for the first state or the first failure; return the failure.

    Args:
        watch: the watch, which would try again after most failures.
        until: the time of the monotonic clock at which to give up.

    Raises:
        PortSIPError: the failure ended the watch.
    """
    first = asyncio.ensure_future(anext(aiter(watch)))
    try:
        while not first.done() and watch.stats.last_error is None and monotonic() < until:
            await asyncio.wait([first], timeout=_GLANCE)
        if first.done():
            first.result()
            return None
        return watch.stats.last_error
    finally:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def _is_acknowledged(watch: StatusWatch[Any]) -> bool:
    """Return whether the PBX acknowledges the subscription, maybe after the first state."""
    until = monotonic() + _ACKNOWLEDGEMENT
    while watch.stats.unacknowledged and monotonic() < until:  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(_GLANCE)
    return not watch.stats.unacknowledged


def _failed(error: PortSIPError) -> WebSocket:
    """Return what an error means, without any text of the PBX's."""
    if not isinstance(error, APIError):
        return WebSocket(state="failed", detail=type(error).__name__, hint=_FORWARD)
    if error.status:  # of the handshake
        state: SocketState = "nothing there" if isinstance(error, NotFound) else "refused"
        return WebSocket(state=state, detail=f"HTTP {error.status}", hint=_FORWARD)
    if isinstance(error, AuthenticationError):
        return WebSocket(state="login refused", detail="REST accepts it")
    if isinstance(error, PermissionDenied):
        hint = "log in as a user of the tenant, not as a system administrator"
        return WebSocket(state="subscription refused", hint=hint)
    return WebSocket(state="failed", detail=type(error).__name__)
