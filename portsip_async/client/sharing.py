"""The account under which a client shares its token with other processes."""

from hashlib import sha256
from typing import Final

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
    parts = [generation, url, *_names(credentials)]
    return SharedAccount(store, sha256(msgspec.json.encode(parts)).hexdigest())


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
