"""The codes and statuses with which the classic API reports errors."""

from ..errors import (
    AuthenticationError,
    BadRequest,
    Conflict,
    ErrorScheme,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerError,
)

CLASSIC_ERRORS = ErrorScheme(
    error_field="err_code",
    codes={
        "400.1": BadRequest,
        "400.2": BadRequest,
        "401.1": AuthenticationError,
        "401.2": AuthenticationError,
        "403.1": PermissionDenied,
        "403.2": Conflict,
        "403.3": Conflict,
        "403.4": AuthenticationError,
        "403.5": RateLimited,
        "404.1": NotFound,
        "404.2": NotFound,
        "404.3": NotFound,
        "500": ServerError,
        "503": ServerError,
    },
    statuses={
        400: BadRequest,
        401: AuthenticationError,
        403: PermissionDenied,
        404: NotFound,
        409: Conflict,
        422: BadRequest,
        429: RateLimited,
    },
    rejected_token=frozenset({"403.4"}),
    not_about_token=frozenset({"401.1", "401.2"}),
    refused_login=frozenset({"400.1", "400.2", "403.1"}),
    no_such_address=frozenset({"404.2", "404.3"}),
    no_such_item="404.1",
)
