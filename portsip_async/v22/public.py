"""The public names of generation v22, by subject. The models are listed in their own modules."""

from ..core.token_store import SharedLogin, TokenStore, TokenTurn
from .calls import CallSettings
from .client import ClientOptions, PortSIPClient
from .groups import GroupSettings, MembersError
from .login import SignIn, Tokens
from .operations import ENDPOINTS

__all__ = [
    # the client and its settings
    "PortSIPClient",
    "ClientOptions",
    "SignIn",
    "Tokens",
    "TokenStore",
    "TokenTurn",
    "SharedLogin",
    # the API as data
    "ENDPOINTS",
    # arguments and errors of single operations
    "CallSettings",
    "GroupSettings",
    "MembersError",
]
