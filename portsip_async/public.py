"""Every public name of the SDK, by subject; `portsip_async` itself hands them out."""

from aiohttp import Fingerprint

from .bulk.status_batches import PollStats, StatusResult
from .bulk.status_poll import StatusPoll
from .bulk.status_watch import StatusChange, StatusWatch, WatchStats
from .bulk.writes import BulkResult, BulkRun
from .classic.client import ClientOptions, PortSIPClient
from .classic.models import (
    AvailableRule,
    AwayRule,
    CreatedGroup,
    Extension,
    ExtensionPage,
    ExtensionStatus,
    ExtensionSummary,
    ExtensionUpdate,
    ForwardAction,
    ForwardRules,
    Gender,
    GreetingFile,
    GreetingPage,
    Group,
    GroupPage,
    GroupSummary,
    NewExtension,
    OfficeHours,
    OfficeHoursMode,
    Options,
    Presence,
    Profile,
    ReadOutDatetime,
    SortBy,
    VoiceMail,
)
from .classic.operations import ENDPOINTS
from .core.endpoint import Endpoint, PageScheme
from .core.observer import Attempt
from .core.page_sequence import Drift, Page
from .core.pages import Paginator
from .core.retry import RetryBudget, RetryPolicy
from .core.tokens import (
    Credentials,
    EmailCredentials,
    PasswordCredentials,
    StaticToken,
    Token,
)
from .core.transport import Timeout
from .errors import (
    APIError,
    AuthenticationError,
    BadRequest,
    ClientClosed,
    ConfigurationError,
    Conflict,
    ConnectError,
    NotFound,
    PermissionDenied,
    PortSIPError,
    RateLimited,
    ReplyError,
    RequestTimeout,
    ServerError,
    StatusMissing,
    TransportError,
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
    "Fingerprint",
    "Attempt",
    # the API as data
    "ENDPOINTS",
    "Endpoint",
    "PageScheme",
    # pages
    "Paginator",
    "Page",
    "ExtensionPage",
    "GroupPage",
    "GreetingPage",
    "Drift",
    # many at once, and for weeks
    "StatusPoll",
    "StatusResult",
    "PollStats",
    "StatusWatch",
    "StatusChange",
    "WatchStats",
    "BulkRun",
    "BulkResult",
    # structures
    "Token",
    "ExtensionSummary",
    "ExtensionStatus",
    "Extension",
    "NewExtension",
    "ExtensionUpdate",
    "Profile",
    "VoiceMail",
    "Options",
    "ForwardRules",
    "AvailableRule",
    "AwayRule",
    "OfficeHours",
    "GroupSummary",
    "Group",
    "CreatedGroup",
    "GreetingFile",
    # open enums
    "SortBy",
    "Presence",
    "Gender",
    "ForwardAction",
    "ReadOutDatetime",
    "OfficeHoursMode",
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
    "PermissionDenied",
    "NotFound",
    "Conflict",
    "RateLimited",
    "ServerError",
]
