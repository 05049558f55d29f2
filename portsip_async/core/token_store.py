"""The protocol of a token store, with which several processes share one login of an account."""

from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, Self, runtime_checkable

import msgspec

from ..errors import AuthenticationError, TwoFactorRequired
from ..redact import Record
from .token_types import Token


class SharedLogin(Record, frozen=True):
    """The latest login of an account, as its processes share it: a token, or a refusal.

    With neither, it says only that there is no token to use.

    Attributes:
        seconds: how long it is still valid: until the token expires, or until the next login may be
            tried. A store counts them down and returns what is left, or nothing once they are over.
        token: the token. Its `expires` is its whole life, in seconds.
        refusal: the error of a refused login.
    """

    seconds: float
    token: Token | None = None
    refusal: AuthenticationError | None = None

    def to_json(self) -> bytes:
        """Return it as JSON, for a store that keeps bytes. The secrets of the token are in it."""
        refusal = None if self.refusal is None else _Refusal.of(self.refusal)
        return msgspec.json.encode(_Stored(self.seconds, self.token, refusal))

    @classmethod
    def from_json(cls, data: bytes | str) -> Self:
        """Read what `to_json` returned.

        Raises:
            ValueError: it is something else. The message does not quote it.
        """
        try:
            stored = msgspec.json.decode(data, type=_Stored)
        except (msgspec.MsgspecError, UnicodeError):
            stored = None
        del data  # it has secrets, and tracebacks may show local variables
        if stored is None:
            raise ValueError("this is not the JSON of a SharedLogin")
        refusal = None if stored.refusal is None else stored.refusal.error()
        return cls(stored.seconds, stored.token, refusal)


class TokenTurn(Protocol):
    """The right to renew the token of an account, which one process has at a time."""

    async def put(self, login: SharedLogin) -> bool:
        """Share the outcome of a renewal, for as many seconds as it says.

        Returns:
            False if the turn was lost meanwhile, so that another process may have it. Then nothing
            is put.
        """
        ...


@runtime_checkable
class TokenStore(Protocol):
    """Shares the tokens of accounts between processes. `RedisTokenStore` is one.

    Pass it to a client as ``token_store=``. Whatever it raises, the client then renews its token
    alone. The same happens if it takes longer than a second, or than ten to begin a turn.
    """

    async def load(self, account: str) -> SharedLogin | None:
        """Return what is shared of an account, with the seconds that are left; None if nothing."""
        ...

    def turn(self, account: str) -> AbstractAsyncContextManager[TokenTurn]:
        """Wait until no other process renews the token of this account, and keep the others out.

        A process that dies or stops in its turn must lose it soon. A renewal may take a minute, so
        a store has to prolong the turn while it lasts.
        """
        ...


class _Refusal(msgspec.Struct, omit_defaults=True):
    """The error of a refused login, as JSON has it."""

    message: str
    status: int = 0
    err_code: str | int | float | None = None
    detail: Any = None
    retry_after: float | None = None
    operation: str | None = None
    token_rejected: bool = False
    headers: dict[str, str] = {}
    remark: str = ""
    challenge: str | None = None  # None: no second factor is asked for

    @classmethod
    def of(cls, error: AuthenticationError) -> "_Refusal":
        try:
            detail = msgspec.to_builtins(error.detail)
            msgspec.json.encode(detail)
        except (TypeError, ValueError, msgspec.MsgspecError):
            detail = None  # an application's own error, with an object that JSON can't have
        return cls(
            error.message,
            error.status,
            error.err_code,
            detail,
            error.retry_after,
            error.operation,
            error.token_rejected,
            dict(error.headers),
            error._remark,
            error.challenge if isinstance(error, TwoFactorRequired) else None,
        )

    def error(self) -> AuthenticationError:
        kind = AuthenticationError if self.challenge is None else TwoFactorRequired
        error = kind(
            self.message,
            status=self.status,
            err_code=self.err_code,
            detail=self.detail,
            retry_after=self.retry_after,
            operation=self.operation,
            attempts=0,
        )
        error.token_rejected = self.token_rejected
        error.headers = self.headers
        error._remark = self.remark
        if isinstance(error, TwoFactorRequired):
            error.challenge = self.challenge or ""
        return error


class _Stored(msgspec.Struct, omit_defaults=True):
    """A `SharedLogin` as JSON has it."""

    seconds: float
    token: Token | None = None
    refusal: _Refusal | None = None
