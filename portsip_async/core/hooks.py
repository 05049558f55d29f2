"""Calls an application's hooks before and after each attempt. What they raise is only logged."""

import inspect
import logging
import re
from asyncio import CancelledError
from collections.abc import Callable, Mapping
from typing import Any, Final

from ..errors import PortSIPError
from ..redact import Record

logger: logging.Logger = logging.getLogger("portsip_async")
# Without it, Python would print warnings in programs that set up no logging.
logger.addHandler(logging.NullHandler())


class AttemptStart(Record, frozen=True):
    """One attempt that is about to be sent, or a web socket that is about to be opened.

    Attributes:
        operation: the endpoint's name; ``web_socket`` for a web socket.
        number: 1 for the first attempt of a call.
    """

    operation: str
    number: int


class Attempt(Record, frozen=True):
    """One attempt that ended.

    Attributes:
        operation: the endpoint's name.
        number: 1 for the first attempt of a call.
        status: the HTTP status; None if no reply arrived.
        error: why it failed; None if it succeeded.
        seconds: how long it took.
    """

    operation: str
    number: int
    status: int | None
    error: PortSIPError | None
    seconds: float


AfterAttempt = Callable[[Attempt], object]
BeforeAttempt = Callable[[AttemptStart], Mapping[str, str] | None]

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Headers that decide how a request is sent and read. The SDK or aiohttp sets them.
_RESERVED: Final = frozenset(
    {
        "accept-encoding",
        "access_token",
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-protocol",
        "sec-websocket-version",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
_WARNINGS: Final = 50


class Hooks:
    """The hooks of one client.

    Attributes:
        before: called before each attempt; returns headers to add to its request. None: no hook.
        after: called after each attempt; None: no hook.
    """

    def __init__(
        self, before: BeforeAttempt | None = None, after: AfterAttempt | None = None
    ) -> None:
        self.before: BeforeAttempt | None = before
        self.after: AfterAttempt | None = after
        # What was logged about the results: a hook may return the same headers every time.
        self._warned: set[str] = set()

    def extra_headers(self, start: AttemptStart, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return the headers of a request with those of the hook.

        Args:
            start: the attempt.
            headers: the headers of the request, which the hook can't replace.
        """
        assert self.before is not None  # noqa: S101 - the caller checked it
        try:
            extra = self.before(start)
            if extra is None:
                return headers
            if not isinstance(extra, Mapping):
                kind = type(extra).__name__
                self._warn_once(f"it must return a mapping or None, got {kind}")
                return headers
            taken = _RESERVED | {name.lower() for name in headers}
            return {**self._checked(dict(extra), taken), **headers}
        except (Exception, CancelledError):  # nothing can cancel a plain function
            logger.exception("before_attempt raised")
            return headers

    def report(
        self,
        operation: str,
        number: int,
        status: int | None,
        error: Exception | None,
        seconds: float,
    ) -> None:
        """Log an attempt that ended, and pass it to the hook; see `Attempt`."""
        logger.debug(
            "%s attempt=%d status=%s error=%s ms=%.1f",
            operation,
            number,
            "-" if status is None else status,
            "-" if error is None else type(error).__name__,
            seconds * 1000,
        )
        if self.after is None:
            return
        ours = error if isinstance(error, PortSIPError) else None
        try:
            self.after(Attempt(operation, number, status, ours, seconds))
        except (Exception, CancelledError):  # as in `extra_headers`
            logger.exception("on_attempt raised")

    def _checked(self, extra: Mapping[Any, Any], taken: frozenset[str]) -> dict[str, str]:
        """Return the headers that can be sent as they are."""
        checked: dict[str, str] = {}
        for name, value in extra.items():
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                self._warn(ascii(name), "its name is not one of a header")
            elif name.lower() in taken:
                self._warn(name, "the client sets it")
            elif not isinstance(value, str):
                self._warn(name, f"its value must be a str, got {type(value).__name__}")
            elif not (value.isascii() and value.isprintable()):
                self._warn(name, "its value must be printable ASCII")
            else:
                checked[name] = value
        return checked

    def _warn(self, name: str, reason: str) -> None:
        """Log once that a header is left out."""
        self._warn_once(f"the header {name[:100]} is left out: {reason}")

    def _warn_once(self, text: str) -> None:
        if text not in self._warned and len(self._warned) < _WARNINGS:
            self._warned.add(text)
            logger.warning("before_attempt: %s", text)


def check_hook(name: str, hook: object) -> None:
    """Check a hook of a client; None passes.

    Raises:
        TypeError: it is not callable, or it is a coroutine function, which nothing would await.
    """
    if hook is None:
        return
    if not callable(hook):
        raise TypeError(f"{name} must be callable, got {type(hook).__name__}")
    if inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(type(hook).__call__):
        raise TypeError(f"{name} must be a plain function, got a coroutine function")
