"""A token store in Redis. It needs the extra ``redis``.

    from portsip_async.redis import RedisTokenStore

    PortSIPClient(..., token_store=RedisTokenStore.from_url("redis://localhost/0"))

All processes with the same account and the same Redis then share one login. The key of an account
is ``portsip:token:`` and a hash of its PBX and its user. It expires with the token. While a process
renews the token, it holds a lock for 0.75 seconds, again and again. So a process that is killed
keeps the others waiting for no longer than that. A process that was paused for longer has lost its
lock, and a script refuses what it puts.

Redis counts the seconds that are left, so no clocks of two machines are compared. Each step may
take 0.8 seconds. If Redis is away, a client renews its token alone.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Final, Protocol, Self

try:
    from redis.asyncio import ConnectionPool, Redis
    from redis.asyncio.lock import Lock
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import LockError, RedisError
except ModuleNotFoundError as _error:
    if (_error.name or "").split(".")[0] != "redis":
        raise
    raise ModuleNotFoundError(
        "a token store in Redis needs an extra: pip install 'portsip_async[redis]'",
        name=_error.name,
    ) from None

from .core.token_store import SharedLogin, TokenTurn
from .core.tracebacks import hide_arguments
from .errors import ConfigurationError

__all__ = ["Cipher", "RedisTokenStore"]

logger: logging.Logger = logging.getLogger("portsip_async")

_KEY: Final = "portsip:token:"
_STEP_SECONDS: Final = 0.8  # that Redis may take for a step
_LOCK_SECONDS: Final = 0.75  # that a process keeps its turn after its death
_PROLONG_SECONDS: Final = 0.25  # between two prolongings of the turn
_TRY_SECONDS: Final = 0.05  # between two tries to get the turn

# KEYS: the lock, the account. ARGV: the lock's owner, the value, the milliseconds that it lives.
_PUT: Final = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then
    return 0
end
redis.call('set', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
"""


class Cipher(Protocol):
    """Hides what is stored, such as ``cryptography.fernet.Fernet``."""

    def encrypt(self, data: bytes, /) -> bytes:
        """Encrypt data."""
        ...

    def decrypt(self, token: bytes, /) -> bytes:
        """Decrypt what `encrypt` returned; raise any exception for other data."""
        ...


class RedisTokenStore:
    """Shares tokens through Redis."""

    def __init__(self, redis: Redis, *, cipher: Cipher | None = None) -> None:
        """Store the settings; nothing is sent.

        Args:
            redis: your own client. It is never closed, and belongs to one event loop.
            cipher: hides the tokens from those who can read that Redis. All processes need the same
                one. Don't derive its key from the password of the PBX: whoever reads the Redis
                could then find the password by trying. None stores them readable.
        """
        self._redis: Redis | None = redis
        self._url = ""
        self._cipher = cipher
        self._warned = False

    @classmethod
    @hide_arguments
    def from_url(cls, url: str, *, cipher: Cipher | None = None) -> Self:
        """Create a store from the URL of a Redis.

        It opens a connection for each renewal and closes it again. So there is nothing to close,
        and any event loop and any process may use it, even after a fork.

        Args:
            url: such as ``rediss://user:password@redis.example.com/0``. With ``redis://``, tokens
                cross the network in clear, except with a `cipher`.
            cipher: see `RedisTokenStore`.

        Raises:
            ConfigurationError: the URL can't be used. The message does not show it.
        """
        store = object.__new__(cls)
        store._redis, store._url, store._cipher, store._warned = None, url, cipher, False
        try:
            connect: Callable[[], object] = ConnectionPool.from_url(url).make_connection
            connect()  # opens nothing
        except (ValueError, TypeError, AttributeError, RedisError):
            pass
        else:
            return store
        raise ConfigurationError("the URL must be like redis://host:6379/0, rediss://… or unix://…")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    async def load(self, account: str) -> SharedLogin | None:
        """Return what is shared of an account; None if there is nothing that can be read."""
        key = _KEY + account
        async with asyncio.timeout(_STEP_SECONDS), self._client() as redis:
            # In this order. If the value is replaced in between, it looks older than it is.
            left = await redis.pttl(key)
            value = await _get(redis, key)
        if left <= 0 or value is None:
            return None
        try:
            plain = self._decrypted(value)
        except Exception:
            # Its exception may show what it was given.
            if not self._warned:
                self._warned = True
                logger.warning(
                    "a shared token can't be decrypted: all processes need the same cipher"
                )
            return None
        try:
            return SharedLogin.from_json(plain).replace(seconds=left / 1000)
        except ValueError:
            return None

    @asynccontextmanager
    async def turn(self, account: str) -> AsyncIterator[TokenTurn]:
        """Wait until no other process renews the token of this account, and keep the others out."""
        async with self._client() as redis:
            lock = Lock(redis, f"{_KEY}{account}:turn", timeout=_LOCK_SECONDS, thread_local=False)
            while True:
                async with asyncio.timeout(_STEP_SECONDS):
                    if await lock.acquire(blocking=False):
                        break
                await asyncio.sleep(_TRY_SECONDS)
            prolonging = asyncio.create_task(_prolong(lock))
            try:
                yield _RedisTurn(redis, lock, _KEY + account, self._cipher)
            finally:
                prolonging.cancel()
                await asyncio.gather(prolonging, return_exceptions=True)
                try:
                    async with asyncio.timeout(_STEP_SECONDS):
                        await lock.release()
                except LockError:
                    pass  # it was lost

    def _client(self) -> AbstractAsyncContextManager[Redis]:
        if self._redis is not None:
            return nullcontext(self._redis)
        return Redis.from_url(self._url, retry=Retry(NoBackoff(), 0))

    def _decrypted(self, value: bytes) -> bytes:
        return value if self._cipher is None else self._cipher.decrypt(value)


class _RedisTurn:
    """A turn, which lasts as long as its lock."""

    def __init__(self, redis: Redis, lock: Lock, key: str, cipher: Cipher | None) -> None:
        self._redis = redis
        self._lock = lock
        self._key = key
        self._cipher = cipher

    async def put(self, login: SharedLogin) -> bool:
        value = login.to_json()
        if self._cipher is not None:
            value = self._cipher.encrypt(value)
        milliseconds = max(1, int(login.seconds * 1000))
        keys = (self._lock.name, self._key)
        async with asyncio.timeout(_STEP_SECONDS):
            owner = self._lock.local.token
            return bool(await self._redis.eval(_PUT, 2, *keys, owner, value, milliseconds))


def _get(redis: Redis, key: str) -> Awaitable[bytes | None]:
    """Read bytes, even from a client that decodes its replies."""
    command: Callable[..., Awaitable[bytes | None]] = redis.execute_command
    return command("GET", key, NEVER_DECODE=True)


async def _prolong(lock: Lock) -> None:
    """Prolong a lock until it is lost."""
    while True:
        await asyncio.sleep(_PROLONG_SECONDS)
        try:
            async with asyncio.timeout(_STEP_SECONDS):
                await lock.reacquire()
        except LockError:
            return
        except (RedisError, OSError):
            pass  # try again: Redis may be back in time
