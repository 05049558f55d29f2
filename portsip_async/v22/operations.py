"""The operations of generation v22."""

from ..core.endpoint import Endpoint
from ..core.parameter_types import Text
from .models import AuthUser, SignInReply

AUTH_SIGN_IN = Endpoint(
    "auth.sign_in",
    "POST",
    "/auth/sign_in",
    takes={"username": Text, "password": Text, "domain": Text | None},
    reply=SignInReply,
    safety="safe",
    token="none",
)
# Each request sends a message with a new code.
AUTH_SEND_OTP = Endpoint(
    "auth.send_otp", "POST", "/auth/send_otp", takes={"token": Text}, token="none"
)
# A code serves once.
AUTH_VERIFY_OTP = Endpoint(
    "auth.verify_otp",
    "POST",
    "/auth/verify_otp",
    takes={"token": Text, "code": Text},
    reply=SignInReply,
    token="none",
    secrets={"code"},
)
# A refresh token serves once.
AUTH_REFRESH = Endpoint(
    "auth.refresh",
    "POST",
    "/auth/refresh_token",
    takes={"refresh_token": Text},
    reply=SignInReply,
    safety="once",
    token="bearer",
)
AUTH_SIGN_OUT = Endpoint(
    "auth.sign_out",
    "POST",
    "/auth/sign_out",
    takes={},
    safety="idempotent",
    token="bearer",
    parameters="query",
)
AUTH_USER = Endpoint("auth.user", "GET", "/auth/user", takes={}, reply=AuthUser, token="bearer")
AUTH_FORM_LOGIN = Endpoint(
    "auth.form_login",
    "POST",
    "/login/oauth/token",
    takes={
        "grant_type": Text,
        "username": Text,
        "password": Text,
        "domain": Text | None,
        "scope": Text,
        "client_id": Text,
    },
    reply=SignInReply,
    safety="safe",
    token="none",
    parameters="form",
)
AUTH_FORM_REFRESH = Endpoint(
    "auth.form_refresh",
    "POST",
    "/login/oauth/token",
    takes={"grant_type": Text, "refresh_token": Text},
    reply=SignInReply,
    safety="once",
    token="none",
    parameters="form",
)

ENDPOINTS = {
    row.name: row
    for row in (
        AUTH_SIGN_IN,
        AUTH_SEND_OTP,
        AUTH_VERIFY_OTP,
        AUTH_REFRESH,
        AUTH_SIGN_OUT,
        AUTH_USER,
        AUTH_FORM_LOGIN,
        AUTH_FORM_REFRESH,
    )
}
