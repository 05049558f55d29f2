"""The OpenAPI document of generation v22 is valid, complete, and true of requests and replies."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import openapi_spec_validator
import pytest
from typer.testing import CliRunner

from portsip_async.cli.app import app
from portsip_async.openapi import document
from portsip_async.v22 import ENDPOINTS, PortSIPClient

from ..wire_server import WireServer, reply
from .conftest import V22Maker
from .test_telemetry import CALLS

VARIABLE = "PORTSIP_V22_OPENAPI"
DOCUMENT: Any = json.loads(json.dumps(document("v22")))
DESCRIBED: dict[str, dict[str, Any]] = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
# The form login, which all versions have and the vendor's document lacks.
OURS_ALONE = {"POST /login/oauth/token"}
# An older login, which the client has no use for.
THEIRS_ALONE = {"GET /login", "POST /login", "POST /logout"}
# Query parameters that the client never sends.
UNUSED = {"POST /auth/sign_in": {"qr"}}
# Its body may hold the last bytes of the file. The client has sent them all before.
OPTIONAL_BODY = {"POST /blobs/uploads/{id}/complete"}


def address(name: str) -> str:
    row = ENDPOINTS[name]
    return f"{row.method} {row.path}"


def body_of(operation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schemas of an operation's bodies, by content type."""
    content = operation.get("requestBody", {}).get("content", {})
    return {kind: described["schema"] for kind, described in content.items()}


def parameters_of(operation: Mapping[str, Any]) -> dict[tuple[str, str], bool]:
    """Return which parameters an operation has and which it requires, by place and name."""
    return {
        (each["in"], each["name"]): bool(each.get("required"))
        for each in operation.get("parameters", ())
    }


def test_document_is_valid() -> None:
    """The validator of the OpenAPI specification accepts it."""
    openapi_spec_validator.validate(DOCUMENT)
    assert DOCUMENT["openapi"] == "3.1.0"


def test_every_row_is_described() -> None:
    """The document has the address of each row, and no other."""
    assert set(DESCRIBED) == set(map(address, ENDPOINTS))
    names = [operation["operationId"] for operation in DESCRIBED.values()]
    assert set(names) == set(ENDPOINTS) - {"auth.form_refresh"}
    assert len(names) == len(set(names))
    assert all(row.takes is not None for row in ENDPOINTS.values())
    assert all(operation["summary"] for operation in DESCRIBED.values())
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    assert {tag for operation in DESCRIBED.values() for tag in operation["tags"]} == tags


@pytest.mark.parametrize("name", ENDPOINTS)
def test_parameters_have_their_places(name: str) -> None:
    """Each parameter of a row is described once: in the path, in a header, in the query or body."""
    row = ENDPOINTS[name]
    operation = DESCRIBED[address(name)]
    described = {name for _, name in parameters_of(operation)}
    for schema in body_of(operation).values():
        for each in schema.get("anyOf", [schema]):
            described |= set(each.get("properties", ()))
    takes = {row.headers.get(field, field) for field in row.takes or {}}
    if row.parameters == "binary":
        takes.discard("file")
        assert body_of(operation)["application/octet-stream"]["type"] == "string"
    assert takes <= described
    if name not in ("auth.form_login", "auth.form_refresh"):
        assert takes == described
    in_path = {name for place, name in parameters_of(operation) if place == "path"}
    assert in_path == set(row.path_arguments)
    assert all(
        required for (place, _), required in parameters_of(operation).items() if place == "path"
    )


def test_uploads_have_headers_and_raw_bytes() -> None:
    """The token of an upload is a header of requests and replies, and the file is the body."""
    append = DESCRIBED["POST /blobs/uploads/{id}/append"]
    assert parameters_of(append) == {
        ("path", "id"): True,
        ("header", "PortSIP-Upload-Token"): True,
    }
    assert list(body_of(append)) == ["application/octet-stream"]
    begun = DESCRIBED["POST /blobs/uploads"]["responses"]["2XX"]
    assert {name: header["required"] for name, header in begun["headers"].items()} == {
        "PortSIP-Upload-ID": True,
        "PortSIP-Upload-Token": True,
        "Range": False,
    }
    assert "content" not in begun
    download = DESCRIBED["GET /blobs/{digest}"]["responses"]["2XX"]
    assert list(download["content"]) == ["application/octet-stream"]


def test_form_login_and_its_refresh_are_one_operation() -> None:
    """They have one address, so the body has either set of fields."""
    operation = DESCRIBED["POST /login/oauth/token"]
    ((kind, schema),) = body_of(operation).items()
    assert kind == "application/x-www-form-urlencoded"
    login, refresh = schema["anyOf"]
    assert set(login["properties"]) - set(login["required"]) == {"domain"}
    assert refresh["required"] == ["grant_type", "refresh_token"]
    assert operation["security"] == []
    # It names the safety of the stricter one.
    assert operation["description"] == DESCRIBED["POST /auth/refresh_token"]["description"]


def test_tokens_are_bearer_tokens() -> None:
    """Every operation has the bearer scheme but those that need no token."""
    assert DOCUMENT["components"]["securitySchemes"] == {
        "bearer": {"type": "http", "scheme": "bearer"}
    }
    for name, row in ENDPOINTS.items():
        expected: list[object] = [] if row.token == "none" else [{"bearer": []}]
        assert DESCRIBED[address(name)]["security"] == expected


def test_refusals_have_the_errors_of_v22() -> None:
    """A refused request gets a list of errors, each with a code, a message and a detail."""
    schemas = DOCUMENT["components"]["schemas"]
    entry = {"$ref": "#/components/schemas/ErrorEntry"}
    assert schemas["Errors"]["properties"]["errors"]["items"] == entry
    assert set(schemas["ErrorEntry"]["properties"]) == {"code", "message", "detail"}
    for operation in DESCRIBED.values():
        refused = operation["responses"]["default"]["content"]["application/json"]["schema"]
        assert refused == {"$ref": "#/components/schemas/Errors"}


def test_pages_have_no_numbers() -> None:
    """The fields that number pages belong to another generation."""
    page = DOCUMENT["components"]["schemas"]["UserPage"]
    assert set(page["properties"]) == {"items", "count"}
    assert page["required"] == ["items"]


def test_enums_are_open() -> None:
    """The schema of an enum accepts undocumented values."""
    presence = DOCUMENT["components"]["schemas"]["Presence"]
    assert presence["type"] == "string"
    assert "enum" not in presence
    assert "BUSINESS_TRIP" in presence["examples"]


def test_unknown_generation() -> None:
    with pytest.raises(ValueError, match=r"api must be .classic. or .v22., got 'v12'"):
        document("v12")  # type: ignore[arg-type]  # a mistake


def test_command_prints_the_document_of_a_generation() -> None:
    """The classic one is the default."""
    for options, api in (
        ([], "classic"),
        (["--api", "classic"], "classic"),
        (["--api", "v22"], "v22"),
    ):
        done = CliRunner().invoke(app, ["openapi", *options])
        assert done.exit_code == 0
        assert json.loads(done.stdout) == json.loads(json.dumps(document(api)))  # type: ignore[arg-type]  # a str
    assert CliRunner().invoke(app, ["openapi", "--api", "auto"]).exit_code == 2


@pytest.mark.parametrize("name", CALLS)
async def test_client_sends_only_described_fields(
    name: str, wire: WireServer, make_v22: V22Maker
) -> None:
    """The document has every field that the client sends, and its content type."""
    pbx: PortSIPClient = make_v22(wire.url, token="token-1")
    refused = reply({"errors": [{"code": "VALIDATE_FAILED", "message": "no"}]}, 400)
    wire.script = [refused]
    with pytest.raises(Exception, match="no"):
        await CALLS[name](pbx)
    arrival = wire.arrivals[0]
    operation = DESCRIBED[address(name)]
    known = {name for place, name in parameters_of(operation) if place == "query"}
    assert set(dict(parse_qsl(arrival.query))) <= known
    bodies = body_of(operation)
    if not arrival.body:
        assert not bodies
        return
    schema = bodies[arrival.headers["content-type"].partition(";")[0]]
    if schema["type"] == "object":
        sent = json.loads(arrival.body)
        assert set(schema["required"]) <= set(sent) <= set(schema["properties"])


@pytest.fixture(scope="module")
def theirs() -> dict[str, dict[str, Any]]:
    """The operations of the vendor's document; the test is skipped where it is not."""
    path = os.environ.get(VARIABLE)
    if not path:
        pytest.skip(f"{VARIABLE} is not set to the path of the vendor's OpenAPI document")
    paths = json.loads(Path(path).read_bytes())["paths"]
    return {
        f"{method.upper()} {path.removeprefix('/api')}": operation
        for path, methods in paths.items()
        for method, operation in methods.items()
        if method in ("get", "post")
    }


class TestVendorsDocument:
    """Held against the vendor's document: what the client sends, and in which form."""

    def test_paths_and_methods(self, theirs: Mapping[str, Any]) -> None:
        assert set(DESCRIBED) - OURS_ALONE == set(theirs) - THEIRS_ALONE

    def test_parameters(self, theirs: Mapping[str, Any]) -> None:
        """Both have the same parameters in the same places, and require the same ones."""
        for name in set(DESCRIBED) - OURS_ALONE:
            expected = parameters_of(theirs[name])
            for unused in UNUSED.get(name, ()):
                assert expected.pop(("query", unused)) is False
            assert parameters_of(DESCRIBED[name]) == expected, name

    def test_bodies(self, theirs: Mapping[str, Any]) -> None:
        """Both have the same content types and fields, and require the same fields."""
        for name in set(DESCRIBED) - OURS_ALONE:
            ours = body_of(DESCRIBED[name])
            expected: Mapping[str, Any] = body_of(theirs[name])
            if name in OPTIONAL_BODY:
                assert not theirs[name]["requestBody"].get("required")
                expected = {}
            assert set(ours) == set(expected), name
            for kind, schema in ours.items():
                fields = dict(fields_of(expected[kind]))
                assert set(schema.get("properties", ())) == set(fields), name
                required = {field for field, is_required in fields.items() if is_required}
                assert required <= set(schema.get("required", ())), name

    def test_security(self, theirs: Mapping[str, Any]) -> None:
        """Both need a token for the same operations."""
        for name in set(DESCRIBED) - OURS_ALONE:
            expected = theirs[name].get("security", [{"bearer": []}])
            assert DESCRIBED[name]["security"] == expected, name

    def test_reply_headers(self, theirs: Mapping[str, Any]) -> None:
        """Both have the same headers in the replies of uploads."""
        for name in set(DESCRIBED) - OURS_ALONE:
            (expected,) = (
                response.get("headers", {})
                for status, response in theirs[name]["responses"].items()
                if status.startswith("2")
            )
            ours = DESCRIBED[name]["responses"]["2XX"].get("headers", {})
            if name != "GET /blobs/{digest}":  # the name of a file, which the client does not read
                assert set(ours) == set(expected), name


def fields_of(schema: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Yield the fields of a schema and of those in its ``allOf``, and whether it requires them."""
    for part in schema.get("allOf", ()):
        yield from fields_of(part)
    for name in schema.get("properties", ()):
        yield name, name in schema.get("required", ())
