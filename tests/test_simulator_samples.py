"""The vendor's literal samples: each request is accepted, each reply has the same shape."""

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from portsip_async.classic.operations import ENDPOINTS
from portsip_async.simulator import PBXSimulator

from .test_simulator import Probe

SAMPLES = Path(__file__).parent / "samples"
PREPARED = {"password": "p", "web_access_password": "w"}
FLAGS = dict.fromkeys(
    ("enable_intercom", "enable_external_call", "enable_management_console_access"), True
)


def shape(value: Any) -> Any:
    """Return names and types in place of values; an array has the shape of its first item."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value)


def filled(value: Any, known: dict[str, str]) -> Any:
    """Replace the values of a sample request by values that exist."""
    if isinstance(value, dict):
        return {name: known.get(name, item) for name, item in value.items()}
    return value


def form(parts: list[dict[str, str]]) -> aiohttp.FormData:
    fields = aiohttp.FormData()
    for part in parts:
        if "filename" in part:
            fields.add_field("file", part["content"].encode(), filename=part["filename"])
        else:
            fields.add_field(part["name"], part["value"])
    return fields


@pytest.mark.parametrize("row", ENDPOINTS)
async def test_reply_has_the_shape_of_the_sample(row: str) -> None:
    """The reply to the vendor's sample request has the shape of the vendor's sample reply."""
    request = json.loads((SAMPLES / row / "request.json").read_text())
    (expected,) = (SAMPLES / row).glob("reply.*")
    sim = PBXSimulator(
        username="admin",
        password="example password",
        email="admin@example.com",
        extensions=800,
        token_lifetime=600,
        # Here the vendor's samples contradict the tables on the same page.
        quirks=["search_one_object", "group_show_without_id"],
    )
    async with sim, aiohttp.ClientSession() as session:
        probe = Probe(sim, session)
        known = {"access_token": await probe.login()}
        made = await probe.post(
            "/extensions/group/create", group_name="g", members=["105"], **FLAGS
        )
        known["group_id"] = made.body["group_id"]
        profile = {"email": "100a@example.com"}
        for number in ("1000", "1001") if row != "extensions.create" else ():
            created: dict[str, Any] = {"extension_number": number, **PREPARED}
            if number == "1001":
                created["profile"] = profile
            await probe.post("/extensions/create", **created)
        if row in ("greetings.list", "greetings.setup", "greetings.remove"):
            file = {"extension_number": "1000", "filename": "some_filename"}
            await probe.post("/extensions/greeting_file/create", **file)
        options: dict[str, Any] = {"params": filled(request["query"], known)}
        if request["body"] is not None:
            options["json"] = filled(request["body"], known)
        if "parts" in request:
            options["data"] = form(request["parts"])
        reply = await probe.send(request["method"], request["path"], **options)
    assert reply.status == 200
    assert sim.acted[row] >= 1
    text = expected.read_text().strip()
    if text:
        shown, sample = shape(reply.body), shape(json.loads(text))
        assert {name: shown[name] for name in sample} == sample
        # It is in the vendor's table, not in the sample.
        assert shown.keys() - sample.keys() <= {"belong_groups"}
    else:
        assert reply.body is None
