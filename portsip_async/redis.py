"""stub"""

from typing import Any, Protocol


class Cipher(Protocol):
    def encrypt(self, data: bytes) -> bytes: ...
    def decrypt(self, data: bytes) -> bytes: ...


class RedisTokenStore:
    def __init__(self, redis: Any, *, cipher: Cipher | None = None) -> None: ...
