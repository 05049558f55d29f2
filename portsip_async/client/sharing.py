"""The account under which a client shares its token with other processes."""

from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

import msgspec

from ..core.shared_account import SharedAccount
from ..core.token_store import TokenStore
from ..errors import ConfigurationError

# Fields of credentials that don't identify the account. An access token does, because a client that
# starts with one has no user name.
_NO_NAMES: Final = frozenset({"password", "refresh_token"})


def shared_account(
    store: TokenStore | None, generation: str, url: str, credentials: object
) -> SharedAccount | None:
    """Return the client's account in a token store; None without a store.

    Args:
        store: the argument `token_store` of the client.
        generation: the generation of the API.
        url: the client's base URL.
        credentials: what it logs in with.

    Raises:
        TypeError: it is not a token store.
        ConfigurationError: the credentials don't name their account.
    """
    if store is None:
        return None
    passed: object = store
    if isinstance(passed, type):
        raise TypeError(f"token_store must be an object, got the class {passed.__name__}")
    if not isinstance(passed, TokenStore):
        kind = type(passed).__name__
        raise TypeError(f"token_store must be an object with load and turn, got {kind}")
    return SharedAccount(store, account_name(generation, url, credentials))


def account_name(generation: str, url: str, credentials: object) -> str:
    """Return what a token store calls an account: a hash, which is the same in all processes.

    Raises:
        ConfigurationError: the credentials don't name their account.
    """
    parts = [generation, _one_spelling(url), *_names(credentials)]
    return sha256(msgspec.json.encode(parts)).hexdigest()


def _one_spelling(url: str) -> str:
    """Return a URL in the spelling that all of its spellings share."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{parts.hostname}:{port}{parts.path}"


def _names(credentials: object) -> list[object]:
    """Return what identifies the account at its PBX."""
    if isinstance(credentials, msgspec.Struct):
        names = [name for name in credentials.__struct_fields__ if name not in _NO_NAMES]
        return [[name, getattr(credentials, name)] for name in names]
    account = getattr(credentials, "account", None)
    if not isinstance(account, str) or not account:
        raise ConfigurationError(
            "token_store needs to know whose token it shares: give the object in credentials "
            f"a text attribute account, got {type(account).__name__}"
        )
    return [["account", account]]
