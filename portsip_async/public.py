"""The public names of the SDK, by subject. The models are listed in their own modules."""

from aiohttp import Fingerprint

from .bulk.status_batches import PollStats, StatusResult
from .bulk.status_poll import StatusPoll
from .bulk.status_watch import StatusChange, StatusWatch, WatchStats
from .bulk.writes import BulkResult, BulkRun
from .classic.client import ClientOptions, PortSIPClient
from .classic.login import EmailCredentials, PasswordCredentials, StaticToken
from .classic.operations import ENDPOINTS
from .core.credentials import Credentials
from .core.endpoint import Endpoint, EndpointOverride, PageScheme
from .core.hooks import Attempt, AttemptStart
from .core.message import RawReply
from .core.page_sequence import Drift, Page
from .core.pages import Paginator
from .core.retry import RetryBudget, RetryPolicy
from .core.token_store import SharedLogin, TokenStore, TokenTurn
from .core.token_types import Token
from .core.transport import Timeout
from .detection import Detected, detect
from .errors import (
    APIError,
    AuthenticationError,
    BadRequest,
    ClientClosed,
    ConfigurationError,
    Conflict,
    ConnectError,
    ErrorScheme,
    NotFound,
    PermissionDenied,
    PortSIPError,
    RateLimited,
    ReplyError,
    RequestTimeout,
    ServerError,
    StatusMissing,
    TransportError,
    TwoFactorRequired,
)

__all__ = [
    # the client and its settings
    "PortSIPClient",
    "ClientOptions",
    "Timeout",
    "RetryPolicy",
    "RetryBudget",
    "PasswordCredentials",
    "EmailCredentials",
    "StaticToken",
    "Credentials",
    "Token",
    "TokenStore",
    "TokenTurn",
    "SharedLogin",
    "Fingerprint",
    "Attempt",
    "AttemptStart",
    # telling generations apart
    "detect",
    "Detected",
    # the API as data
    "ENDPOINTS",
    "Endpoint",
    "EndpointOverride",
    "PageScheme",
    "RawReply",
    "ErrorScheme",
    # pages
    "Paginator",
    "Page",
    "Drift",
    # bulk operations and watching
    "StatusPoll",
    "StatusResult",
    "PollStats",
    "StatusWatch",
    "StatusChange",
    "WatchStats",
    "BulkRun",
    "BulkResult",
    # errors
    "PortSIPError",
    "ConfigurationError",
    "ClientClosed",
    "TransportError",
    "ConnectError",
    "RequestTimeout",
    "ReplyError",
    "StatusMissing",
    "APIError",
    "BadRequest",
    "AuthenticationError",
    "TwoFactorRequired",
    "PermissionDenied",
    "NotFound",
    "Conflict",
    "RateLimited",
    "ServerError",
]
