"""The OpenAPI document is valid, complete, and true of requests and replies."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

import openapi_spec_validator
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from typer.testing import CliRunner

from portsip_async import ENDPOINTS, PortSIPClient
from portsip_async.cli.app import app
from portsip_async.openapi import document
from portsip_async.simulator import PBXSimulator
from portsip_async.simulator.fields import FIELDS, is_required

from .conftest import ClientMaker
from .operations import BY_ROW, OPERATIONS, Operation
from .wire_server import WireServer, reply

EXAMPLES = 12  # for each operation
KNOWN = 10  # extensions that have greetings, and are not removed
DOCUMENT: Any = document()
SENT = {
    operation["operationId"]: (path, method, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}


def test_document_is_valid() -> None:
    """The validator of the OpenAPI specification accepts it, and it is plain JSON."""
    openapi_spec_validator.validate(json.loads(json.dumps(DOCUMENT)))
    assert DOCUMENT["openapi"] == "3.1.0"


def test_every_row_is_described() -> None:
    """The document has the address of each row, and no other."""
    described = {
        (path, method) for path, methods in DOCUMENT["paths"].items() for method in methods
    }
    assert described == {(row.path, row.method.lower()) for row in ENDPOINTS.values()}
    assert all(row.takes is not None for row in ENDPOINTS.values())
    assert set(SENT) == set(ENDPOINTS) - {"greetings.upload"}


@pytest.mark.parametrize("name", ENDPOINTS)
def test_simulator_takes_the_same_fields(name: str) -> None:
    """The document says which fields the simulator takes, and which of them it requires."""
    served = {field: is_required(kind) for field, kind in FIELDS[name].items()}
    row = ENDPOINTS[name]
    path, method, operation = SENT["greetings.add" if name == "greetings.upload" else name]
    assert (path, method) == (row.path, row.method.lower())
    if row.parameters == "query":
        described = {known["name"]: known["required"] for known in operation["parameters"]}
    else:
        kind = "multipart/form-data" if row.parameters == "multipart" else "application/json"
        body = operation["requestBody"]["content"][kind]["schema"]
        described = {field: field in body["required"] for field in body["properties"]}
        assert described.pop("access_token", False) == (row.token == "body")
    if name == "greetings.upload":
        assert (
            served.pop("filename") is False
        )  # optional there: the part with the file may have its name
        assert described.pop("filename") is True
    assert described == served


# Without the upload, which is a form, and logins, which the wire server replies to by itself.
PLAIN = [row for row in OPERATIONS if not row.name.startswith(("account.", "greetings.upload"))]


@pytest.mark.parametrize("operation", PLAIN, ids=[row.name for row in PLAIN])
async def test_client_sends_only_described_fields(
    operation: Operation, wire: WireServer, make_client: ClientMaker
) -> None:
    """The document has every field that the SDK sends."""
    row = ENDPOINTS[operation.name]
    wire.script = [reply(BY_ROW[operation.name].replies or b"")]
    await operation.send(make_client(wire.url, token="t"))
    (arrival,) = wire.arrivals
    sent = dict(parse_qsl(arrival.query)) if row.parameters == "query" else json.loads(arrival.body)
    assert set(sent) - {"access_token"} <= set(row.takes or {})


def test_token_is_described_in_its_location() -> None:
    """A security scheme for queries, a property of bodies, and nothing for a login."""
    assert SENT["extensions.list"][2]["security"] == [{"query": []}]
    assert SENT["account.verify"][2]["security"] == []
    body = SENT["extensions.status"][2]["requestBody"]["content"]["application/json"]["schema"]
    assert "access_token" in body["required"]
    assert DOCUMENT["components"]["securitySchemes"] == {
        "query": {"type": "apiKey", "in": "query", "name": "access_token"}
    }


def test_enums_are_open() -> None:
    """The schema of an enum accepts undocumented values."""
    presence = DOCUMENT["components"]["schemas"]["Presence"]
    assert presence["type"] == "string"
    assert "enum" not in presence
    assert "OFFLINE" in presence["examples"]


def test_command_prints_the_document() -> None:
    """`portsip-async openapi` prints it as JSON."""
    done = CliRunner().invoke(app, ["openapi"])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == json.loads(json.dumps(DOCUMENT))


FILES = {"greetings.remove": "removed.wav", "greetings.add": "added-{}.wav"}


@pytest.fixture
def served() -> Iterator[tuple[PBXSimulator, str]]:
    """Run a simulator in a separate thread, and log in."""
    with PBXSimulator.in_thread(extensions=40, groups=40, token_lifetime=3600) as sim:
        yield sim, asyncio.run(log_in(sim))


async def log_in(sim: PBXSimulator) -> str:
    async with PortSIPClient(sim.url, username=sim.username, password=sim.password) as pbx:
        for number in sim.extension_numbers[:KNOWN]:
            for filename in ("kept.wav", "removed.wav"):
                await pbx.greetings.add(number, filename=filename)
        return (await pbx.account.verify(sim.username, sim.password)).access_token


def existing(sim: PBXSimulator, name: str, turn: int) -> Mapping[str, Any]:
    """Use names that exist, so not every reply is a refusal."""
    numbers = sim.extension_numbers
    return {
        "extension_number": numbers[-1 if name == "extensions.remove" else turn % KNOWN],
        "extensions": numbers[:turn],
        "extension": numbers[0],
        "members": numbers[:turn],
        "group_id": sim.group_ids[turn % 2],
        "pagination": 1 + turn % 3,
        "condition": "10",
        "username": sim.username,
        "email": sim.email,
        "password": sim.password,
        "filename": FILES.get(name, "kept.wav").format(turn),
    }


@pytest.mark.parametrize("name", SENT)
def test_simulator_keeps_to_the_document(name: str, served: tuple[PBXSimulator, str]) -> None:
    """Requests that the schemas allow get no server error, and replies fit their schemas."""
    sim, token = served
    path, method, described = SENT[name]
    operation = schemathesis.openapi.from_dict(DOCUMENT)[path][method]
    turn = 0
    before = sim.acted[name]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def keeps(case: schemathesis.Case[Any]) -> None:
        nonlocal turn
        turn += 1
        for given_ in (case.query, case.body):
            if isinstance(given_, dict):
                if turn % 4 and not name.endswith(".create"):
                    known = existing(sim, name, turn)
                    keys = {*given_}
                    if name == "greetings.add" and "extension_number" in keys:
                        keys.add("filename")  # it is optional, but an update needs a field
                    given_.update({key: known[key] for key in keys if key in known})
                if "access_token" in given_:
                    given_["access_token"] = token
        query = {"access_token": token} if {"query": []} in described["security"] else None
        response = case.call(base_url=f"{sim.url}/api", params=query)
        case.validate_response(
            response,
            checks=[
                not_a_server_error,
                response_schema_conformance,
                content_type_conformance,
                status_code_conformance,
            ],
        )

    keeps()
    assert sim.acted[name] > before, f"{name} was refused each time"
    if name == "greetings.add":
        assert sim.acted["greetings.upload"], "no form was understood"
