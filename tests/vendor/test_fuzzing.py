"""Schemathesis attacks the simulator with the examples of the document, and with random requests.

Every reply must be one that the document describes.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from portsip_async.simulator import PBXSimulator

from .document import Document
from .plain_requests import RECORDING, Requests
from .prism import ROOT
from .test_simulator import ANN, DIGEST

pytestmark = [pytest.mark.vendor, pytest.mark.timeout(600)]

SEED = 22
EXAMPLES = 30  # random requests for each operation
SECONDS = 500  # until schemathesis counts as stuck
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
COPIES = 12  # of what is used once
# They need a simulator whose logins have a second factor.
SECOND_FACTOR = {"POST /api/auth/send_otp", "POST /api/auth/verify_otp"}

PATH, BODY = "path_parameters", "body"
Values = dict[str, dict[str, Any]]


async def prepare(sim: PBXSimulator, send: Requests) -> dict[str, list[Values]]:
    """Make users, groups and the rest, and return what fits the requests of each operation."""
    found = (await send.get("/users"))["items"]
    users = [(each["id"], each["extension_number"]) for each in found[1:]]
    numbers = [number for _, number in users]
    known: dict[str, list[Values]] = {}

    def add(operation: str, *values: Values) -> None:
        known.setdefault(operation, []).extend(values)

    # 1. Users. Those that are removed are not used otherwise.
    of_user: list[Values] = [{PATH: {"id": user}} for user, _ in users]
    for name in ("", "/status", "/greetings"):
        add(f"GET /api/users/{{id}}{name}", *of_user[:COPIES])
    for name in ("", "/password", "/extension_password"):
        add(f"POST /api/users/{{id}}{name}", *of_user[:COPIES])
    role: Values = {BODY: {"role": "StandardUser"}}
    add("POST /api/users/{id}/role", *(user | role for user in of_user[:COPIES]))
    add("POST /api/users/{id}/destroy", *of_user[-COPIES:])
    add(
        "GET /api/extension_numbers/{extension_number}",
        *({PATH: {"extension_number": number}} for number in numbers[:COPIES]),
    )
    for turn in range(COPIES):
        new = {"name": f"new{turn}", "extension_number": f"95{turn}", "email": f"{turn}@test.io"}
        add("POST /api/users", {BODY: ANN | new})

    # 2. Groups and their members.
    for turn in range(COPIES):
        number = numbers[turn]
        kept, removed = [
            (await send.post("/groups", 201, body={"name": f"{name} {turn}"}))["id"]
            for name in ("kept", "removed")
        ]
        await send.post(f"/groups/{kept}/members/{number}")
        add("POST /api/groups", {BODY: {"name": f"new {turn}"}})
        add("GET /api/groups/{id}", {PATH: {"id": kept}})
        add("POST /api/groups/{id}", {PATH: {"id": kept}})
        add("POST /api/groups/{id}/destroy", {PATH: {"id": removed}})
        add("GET /api/groups/{id}/members", {PATH: {"id": kept}})
        member = {PATH: {"id": kept, "extension_number": number}}
        other = {PATH: {"id": kept, "extension_number": numbers[turn + 1]}}
        add("POST /api/groups/{id}/members/{extension_number}", other)
        add("GET /api/groups/{id}/members/{extension_number}", member)
        add("POST /api/groups/{id}/members/{extension_number}/destroy", member)

    # 3. Files and greetings.
    add("GET /api/blobs/{digest}", {PATH: {"digest": DIGEST}})
    for user, _ in users[:COPIES]:
        fresh, *files = [await send.upload(RECORDING, f"{turn}.wav") for turn in range(3)]
        kept, removed = [
            (await send.post(f"/users/{user}/greetings", 201, body={"file_id": file}))["id"]
            for file in files
        ]
        add("POST /api/users/{id}/greetings", {PATH: {"id": user}, BODY: {"file_id": fresh}})
        greetings = "POST /api/users/{id}/greetings/{greeting_id}"
        add(f"{greetings}/enable", {PATH: {"id": user, "greeting_id": kept}})
        add(f"{greetings}/disable", {PATH: {"id": user, "greeting_id": kept}})
        add(f"{greetings}/destroy", {PATH: {"id": user, "greeting_id": removed}})
    for _ in range(COPIES):
        for name in ("append", "complete", "status", "destroy"):
            upload, token = await send.begin("fuzz.wav")
            method = "GET" if name == "status" else "POST"
            values: Values = {PATH: {"id": upload}, "headers": {"PortSIP-Upload-Token": token}}
            add(f"{method} /api/blobs/uploads/{{id}}/{name}", values)

    # 4. Calls.
    for turn in range(COPIES):
        call = {"caller": numbers[turn], "callee": numbers[turn + 1]}
        kept, ended = [
            (await send.post("/sessions", 201, body={**call, "send_sdp": True}))["id"]
            for _ in range(2)
        ]
        add("POST /api/sessions", {BODY: call})
        add("GET /api/sessions/{id}", {PATH: {"id": kept}})
        add("POST /api/sessions/{id}/destroy", {PATH: {"id": ended}})
    caller = ANN | {"name": "caller", "extension_number": "9999", "email": "caller@test.io"}
    await send.post("/users", 201, body=caller)
    directly = {
        "extension_number": caller["extension_number"],
        "password": caller["extension_password"],
        "domain": sim.domain,
        "caller": caller["extension_number"],
    }
    add("GET /api/sessions/directly", *({"query": directly} for _ in range(COPIES)))

    # 5. Logins. A token that is refreshed or signed out is of no use afterwards.
    account = {"username": sim.username, "password": sim.password, "domain": sim.domain}
    for _ in range(COPIES):
        add("POST /api/auth/sign_in", {BODY: account})
        add("POST /api/login", {BODY: account})
        pair = await send.post("/auth/sign_in", body=account)
        add("POST /api/auth/refresh_token", {BODY: {"refresh_token": pair["refresh_token"]}})
        for name in ("auth/sign_out", "logout"):
            pair = await send.post("/auth/sign_in", body=account)
            bearer = {"Authorization": f"Bearer {pair['access_token']}"}
            add(f"POST /api/{name}", {"headers": bearer})
    return known


@pytest.fixture
async def send() -> AsyncIterator[Requests]:
    async with aiohttp.ClientSession() as session:
        yield Requests(session)


async def test_replies_fit_the_document(document: Document, tmp_path: Path, send: Requests) -> None:
    """Neither an example nor a random request gets a reply that the document does not describe."""
    async with PBXSimulator(extensions=100, groups=0, token_lifetime=3600) as sim:
        send.url = sim.url
        account = {"username": sim.username, "password": sim.password, "domain": sim.domain}
        send.token = (await send.post("/auth/sign_in", body=account))["access_token"]
        known = await prepare(sim, send)
        succeeded = await attack(document, tmp_path, sim.url, known, send.token)
    assert document.operations.keys() - succeeded == SECOND_FACTOR


async def test_second_factor(document: Document, tmp_path: Path, send: Requests) -> None:
    """The same for the operations of the second factor."""
    async with PBXSimulator(extensions=1, groups=0, second_factor=True) as sim:
        send.url = sim.url
        account = {"username": sim.username, "password": sim.password, "domain": sim.domain}
        known: dict[str, list[Values]] = {operation: [] for operation in SECOND_FACTOR}
        for _ in range(COPIES):
            challenge = {"token": (await send.post("/auth/sign_in", body=account))["token"]}
            known["POST /api/auth/send_otp"].append({BODY: challenge})
            challenge = {"token": (await send.post("/auth/sign_in", body=account))["token"]}
            await send.post("/auth/send_otp", body=challenge)
            code = {BODY: {**challenge, "code": sim.v22.otp}}
            known["POST /api/auth/verify_otp"].append(code)
        only = [f"--include-path={operation.split()[1]}" for operation in SECOND_FACTOR]
        assert await attack(document, tmp_path, sim.url, known, "", *only) == SECOND_FACTOR


async def attack(
    document: Document,
    folder: Path,
    url: str,
    known: dict[str, list[Values]],
    token: str,
    *options: str,
) -> set[str]:
    """Run schemathesis, and return the operations that had a reply without an error."""
    (folder / "known.json").write_text(json.dumps(known))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", str(document.path), *options),
        f"--url={url}",
        f"--checks={','.join(CHECKS)}",
        f"--seed={SEED}",
        f"--max-examples={EXAMPLES}",
        "--phases=examples,fuzzing",
        "--continue-on-failure",
        "--generation-database=none",
        "--generation-with-security-parameters=false",
        "--warnings=off",
        "--no-color",
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": "tests.vendor.fuzz_hooks",
            "PORTSIP_FUZZ_TOKEN": token,
        },
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, output.decode()
    replies = (line.split(" ", 1) for line in (folder / "statuses.txt").read_text().splitlines())
    return {operation for status, operation in replies if status < "300"}
