"""The error codes of generation v22. An unknown code follows the HTTP status."""

from typing import Final

from ..errors import (
    AuthenticationError,
    BadRequest,
    Conflict,
    ErrorScheme,
    NotFound,
    PermissionDenied,
    RateLimited,
)

V22_ERRORS: Final = ErrorScheme(
    error_field="errors",
    codes={
        "UNAUTHORIZED": AuthenticationError,
        "VALIDATE_FAILED": BadRequest,
        "DENIED": PermissionDenied,
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
    rejected_token=frozenset({"UNAUTHORIZED"}),
    not_about_token=frozenset({"VALIDATE_FAILED", "DENIED"}),
    refused_login=frozenset({"UNAUTHORIZED", "DENIED"}),
)
