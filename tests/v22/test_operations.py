"""The table of v22's operations and its error codes, written down a second time."""

import json
from typing import Any, get_args
from urllib.parse import parse_qs

import pytest

from portsip_async import (
    APIError,
    AuthenticationError,
    BadRequest,
    Conflict,
    Endpoint,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerError,
)
from portsip_async.core.message import Reply
from portsip_async.core.reply import ReplyParser
from portsip_async.core.request import RequestTemplate, secrets_of
from portsip_async.v22.error_codes import V22_ERRORS
from portsip_async.v22.operations import ENDPOINTS

from .replies import ID, refusal

# Method, where the token and the parameters go, safety (a plus: it removes), name, path.
ROWS = """
POST none   json   safe        auth.sign_in /auth/sign_in
POST none   json   unsafe      auth.send_otp /auth/send_otp
POST none   json   unsafe      auth.verify_otp /auth/verify_otp
POST none   json   once        auth.refresh /auth/refresh_token
POST bearer query  idempotent  auth.sign_out /auth/sign_out
GET  bearer query  safe        auth.user /auth/user
POST none   form   safe        auth.form_login /login/oauth/token
POST none   form   once        auth.form_refresh /login/oauth/token
GET  bearer query  safe        users.list /users
POST bearer json   unsafe      users.create /users
GET  bearer query  safe        users.show /users/{id}
POST bearer json   idempotent  users.update /users/{id}
POST bearer query  idempotent+ users.remove /users/{id}/destroy
POST bearer json   idempotent  users.set_password /users/{id}/password
POST bearer json   idempotent  users.set_extension_password /users/{id}/extension_password
POST bearer json   idempotent  users.set_role /users/{id}/role
GET  bearer query  safe        users.status /users/{id}/status
GET  bearer query  safe        users.own /user
GET  bearer query  safe        users.own_status /user/status
POST bearer json   idempotent  users.set_own_presence /user/presence
GET  bearer query  safe        users.find /extension_numbers/{extension_number}
GET  bearer query  safe        groups.list /groups
POST bearer json   unsafe      groups.create /groups
GET  bearer query  safe        groups.show /groups/{id}
POST bearer json   idempotent  groups.update /groups/{id}
POST bearer query  idempotent+ groups.remove /groups/{id}/destroy
GET  bearer query  safe        groups.members /groups/{id}/members
GET  bearer query  safe        groups.member /groups/{id}/members/{extension_number}
POST bearer query  idempotent  groups.add_member /groups/{id}/members/{extension_number}
POST bearer query  idempotent+ groups.remove_member /groups/{id}/members/{extension_number}/destroy
GET  bearer query  safe        greetings.list /users/{id}/greetings
POST bearer json   unsafe      greetings.create /users/{id}/greetings
POST bearer query  idempotent  greetings.enable /users/{id}/greetings/{greeting_id}/enable
POST bearer query  idempotent  greetings.disable /users/{id}/greetings/{greeting_id}/disable
POST bearer query  idempotent+ greetings.remove /users/{id}/greetings/{greeting_id}/destroy
POST bearer query  unsafe      blobs.begin /blobs/uploads
POST bearer binary unsafe      blobs.append /blobs/uploads/{id}/append
POST bearer query  unsafe      blobs.complete /blobs/uploads/{id}/complete
GET  bearer query  safe        blobs.status /blobs/uploads/{id}/status
POST bearer query  idempotent+ blobs.destroy /blobs/uploads/{id}/destroy
GET  none   query  safe        blobs.download /blobs/{digest}
POST bearer json   unsafe      calls.create /sessions
GET  none   query  unsafe      calls.create_directly /sessions/directly
GET  bearer query  safe        calls.list /sessions
GET  bearer query  safe        calls.show /sessions/{id}
POST bearer query  idempotent+ calls.hang_up /sessions/{id}/destroy
GET  none   query  safe        pbx.info /info
"""


def test_rows() -> None:
    """No row differs from the reference."""
    found = [
        (
            row.method,
            row.token,
            row.parameters,
            row.safety + "+" * row.removes,
            name,
            row.path,
        )
        for name, row in ENDPOINTS.items()
    ]
    assert found == [tuple(row.split()) for row in ROWS.strip().splitlines()]


def test_paged_rows() -> None:
    """Only these two lists have pages; the others come as a whole."""
    paged = {name: row.pages for name, row in ENDPOINTS.items() if row.pages is not None}
    assert set(paged) == {"users.list", "groups.list"}
    for scheme in paged.values():
        assert (scheme.key, scheme.skip, scheme.top) == ("id", "skip", "top")


def arguments_of(row: Endpoint[Any]) -> dict[str, Any]:
    """Return a value for each parameter that a row needs and that is not a file."""
    assert row.takes is not None
    needed = {name: kind for name, kind in row.takes.items() if type(None) not in get_args(kind)}
    return {name: kind is bool or f"{name}-1" for name, kind in needed.items() if name != "file"}


@pytest.mark.parametrize(
    ("name", "required"),
    [
        ("auth.sign_in", {"username", "password"}),
        ("users.list", set()),
        ("users.update", {"id"}),
        ("users.set_own_presence", {"presence"}),
        ("groups.create", {"name"}),
        ("groups.update", {"id"}),
        ("greetings.create", {"id", "file_id"}),
        ("blobs.begin", set()),
        ("blobs.append", {"id", "upload_token"}),
        ("blobs.complete", {"id", "upload_token"}),
        ("calls.create", {"caller", "callee", "send_sdp"}),
        (
            "calls.create_directly",
            {"extension_number", "password", "domain", "caller", "callee", "send_sdp"},
        ),
        ("pbx.info", set()),
    ],
)
def test_required_parameters(name: str, required: set[str]) -> None:
    """All other parameters may be left out."""
    assert set(arguments_of(ENDPOINTS[name])) == required


@pytest.mark.parametrize("name", ENDPOINTS)
def test_request_of_a_row(name: str) -> None:
    """Every parameter is sent once, and a POST has no body that is not documented."""
    row = ENDPOINTS[name]
    request = RequestTemplate(row, arguments_of(row)).request("a-token")
    in_path = {name for name in row.path_arguments if f"{name}-1" in (request.path or "")}
    assert in_path == set(row.path_arguments)
    if row.parameters in ("json", "form"):
        assert request.body is not None
        is_form = row.parameters == "form"
        sent = set(parse_qs(request.body.decode()) if is_form else json.loads(request.body))
    else:
        assert request.body is None
        sent = set(request.query)
    assert sent == set(arguments_of(row)) - in_path - set(row.headers)
    assert request.headers.get("Authorization") == (
        "Bearer a-token" if row.token == "bearer" else None
    )


def test_upload_token_is_a_header() -> None:
    """It is in no URL and no body."""
    for name in ("blobs.append", "blobs.complete"):
        parameters = {"id": ID, "upload_token": "S3cr3t"}
        request = RequestTemplate(ENDPOINTS[name], parameters).request("t")
        assert request.headers["PortSIP-Upload-Token"] == "S3cr3t"
        assert (request.query, request.body) == ({}, None)
        assert request.path == f"/blobs/uploads/{ID}/{name.partition('.')[2]}"


@pytest.mark.parametrize(
    ("name", "secrets"),
    [
        ("auth.sign_in", {"password"}),
        ("auth.send_otp", {"token"}),
        ("auth.verify_otp", {"token", "code"}),
        ("auth.refresh", {"refresh_token"}),
        ("auth.form_login", {"password"}),
        ("auth.form_refresh", {"refresh_token"}),
        ("users.create", {"password", "extension_password", "voicemail_pin"}),
        ("users.set_password", {"password"}),
        ("users.set_extension_password", {"password"}),
        ("blobs.append", {"upload_token"}),
        ("blobs.complete", {"upload_token"}),
        ("calls.create_directly", {"password"}),
        ("calls.create", set()),
        ("users.show", set()),
    ],
)
def test_secrets_of_a_call(name: str, secrets: set[str]) -> None:
    """They are hidden wherever the PBX repeats them."""
    row = ENDPOINTS[name]
    found = secrets_of(arguments_of(row), None, row.secrets)
    assert set(found) == {f"{secret}-1" for secret in secrets}


def error_of(name: str, status: int, document: Any) -> APIError:
    reply = Reply(status, {}, json.dumps(document).encode())
    with pytest.raises(APIError) as caught:
        ReplyParser(ENDPOINTS[name], V22_ERRORS).parse(reply, lambda: 1.8e9)
    return caught.value


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "code", "kind"),
        [
            (400, "VALIDATE_FAILED", BadRequest),
            (200, "VALIDATE_FAILED", BadRequest),
            (401, "VALIDATE_FAILED", BadRequest),
            (400, "DENIED", PermissionDenied),
            (401, "DENIED", PermissionDenied),
            (403, "DENIED", PermissionDenied),
            (400, "UNAUTHORIZED", AuthenticationError),
            (200, "UNAUTHORIZED", AuthenticationError),
            (400, "UNKNOWN", BadRequest),
            (401, "UNKNOWN", AuthenticationError),
            (403, "UNKNOWN", PermissionDenied),
            (404, "UNKNOWN", NotFound),
            (404, "BRAND_NEW", NotFound),
            (409, "UNKNOWN", Conflict),
            (422, "UNKNOWN", BadRequest),
            (429, "UNKNOWN", RateLimited),
            (502, "UNKNOWN", ServerError),
            (418, "UNKNOWN", APIError),
            (200, "UNKNOWN", APIError),
        ],
    )
    def test_class_of_an_error(self, status: int, code: str, kind: type[APIError]) -> None:
        """A known code decides, and otherwise the status."""
        for name in ("users.show", "users.create", "auth.sign_in", "blobs.destroy"):
            error = error_of(name, status, refusal(code, "it went wrong", detail={"a": "b"}))
            assert type(error) is kind
            assert (error.status, error.err_code) == (status, code)
            assert (error.message, error.detail) == ("it went wrong", {"a": "b"})

    @pytest.mark.parametrize(
        ("status", "code", "kind"),
        [
            (400, "VALIDATE_FAILED", BadRequest),
            (403, "DENIED", PermissionDenied),
            (403, "UNKNOWN", AuthenticationError),
        ],
    )
    def test_message_about_the_token(self, status: int, code: str, kind: type[APIError]) -> None:
        """A known code decides, even if the message mentions the token."""
        document = refusal(code, "the access token does not permit it")
        assert type(error_of("users.show", status, document)) is kind

    @pytest.mark.parametrize("status", [200, 400, 401, 403])
    def test_unauthorized(self, status: int) -> None:
        """With a token, the token was rejected; without one, the credentials were refused."""
        for name, row in ENDPOINTS.items():
            if status == 200 and row.reply is bytes:
                continue  # the body is a file
            error = error_of(name, status, refusal("UNAUTHORIZED", "no"))
            assert isinstance(error, AuthenticationError)
            assert error.token_rejected is (row.token != "none")
