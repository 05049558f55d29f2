"""The simulator keeps to our own OpenAPI document of v22: requests by its schemas, and replies.

The vendor's document has such a test, too: ``make test-vendor``.
"""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from portsip_async.simulator import PBXSimulator
from portsip_async.v22 import ENDPOINTS, PortSIPClient

from .test_openapi import DOCUMENT

CLIENT_ID = "9d806019-75b2-4b3d-bb8b-f5a3a412cc0a"  # a constant of the vendor's page
EXAMPLES = 12  # for each operation
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
# No login of this simulator wants a second factor.
NEVER_CARRIED_OUT = {"auth.verify_otp", "auth.send_otp"}


async def prepare(sim: PBXSimulator) -> dict[str, Any]:
    """Make something of everything, and collect the ids, a token and other values."""
    async with PortSIPClient(sim.url, username=sim.username, password=sim.password) as pbx:
        token = await pbx.auth.refresh()
        user_id = sim.v22.user_id("101")
        uploads = [await pbx.request(ENDPOINTS["blobs.begin"]) for _ in range(3)]
        file_id = await pbx.blobs.upload(b"RIFF" * 20, filename="a.wav")
        greeting_id = await pbx.greetings.create(user_id, file_id)
        (greeting,) = await pbx.greetings.list(user_id)
        group_id = await pbx.groups.create("Fuzzed")
        await pbx.groups.add_members(group_id, ["102"])
        session = await pbx.calls.create("100", "101")
        await pbx.users.set_extension_password(user_id, "known-Secret-1")
    return {
        "token": token.access_token,
        "refresh_token": token.refresh_token,
        "user_id": user_id,
        "uploads": uploads,
        "file_id": file_id,
        "greeting_id": greeting_id,
        "digest": str(greeting.file_url).rpartition("/")[2],
        "group_id": group_id,
        "session_id": session,
    }


@pytest.fixture
def served() -> Iterator[tuple[PBXSimulator, dict[str, Any]]]:
    """Run a simulator in a separate thread, with values that its requests need."""
    with PBXSimulator.in_thread(extensions=40, groups=4, token_lifetime=3600) as sim:
        yield sim, asyncio.run(prepare(sim))


def existing(name: str, known: Mapping[str, Any], sim: PBXSimulator) -> dict[str, Any]:
    """Return values that the simulator knows, by the names of parameters."""
    resource = name.partition(".")[0]
    ids = {"groups": "group_id", "calls": "session_id"}
    upload = known["uploads"][0]
    found = {
        "id": upload.id if resource == "blobs" else known[ids.get(resource, "user_id")],
        "extension_number": "101" if resource != "groups" else "102",
        "greeting_id": known["greeting_id"],
        "file_id": known["file_id"],
        "digest": known["digest"],
        "PortSIP-Upload-Token": upload.token,
        "username": sim.username,
        "password": sim.password,
        "domain": sim.domain,
        "grant_type": "password",
        "scope": "all",
        "client_id": CLIENT_ID,
        "refresh_token": known["refresh_token"],
        "caller": "100",
        "callee": "101",
        "role": "StandardUser",
        "presence": "AWAY",
        "skip": 0,
        "top": 10,
        "email": "a@test.io",
        "voicemail_pin": "123456",
        "name": "somebody",
    }
    if name == "users.create":
        found["extension_number"] = "951"
    if name == "calls.create_directly":
        found["password"] = "known-Secret-1"
    return found


@pytest.mark.parametrize("name", [name for name in ENDPOINTS if name != "auth.form_refresh"])
def test_simulator_keeps_to_the_document(
    name: str, served: tuple[PBXSimulator, dict[str, Any]]
) -> None:
    """Requests that the schemas allow get no server error, and replies fit their schemas."""
    sim, known = served
    row = ENDPOINTS[name]
    operation = SCHEMA[row.path][row.method.lower()]
    turn = 0
    before = sim.v22.acted[name]

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
        values = existing(name, known, sim)
        body: Any = case.body
        parts: list[Any] = [case.path_parameters, case.query, case.headers, body]
        for part in parts:
            # Most requests are about what exists, so not every reply is a refusal.
            if turn % 4 and hasattr(part, "update"):
                part.update({key: values[key] for key in part if key in values})
                if part is body and turn % 4 == 1:
                    for key in [key for key in part if key not in values]:
                        del part[key]
        headers = {"Authorization": f"Bearer {known['token']}"} if row.token == "bearer" else {}
        response = case.call(base_url=f"{sim.url}/api", headers=headers)
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
    assert sim.v22.acted[name] > before or name in NEVER_CARRIED_OUT, "it was refused each time"
