"""The simulator over HTTP, without the SDK: requests as the vendor's documentation writes them."""

import asyncio
import gc
import json
import logging
import socket
from collections.abc import AsyncIterator, Mapping
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import aiohttp
import pytest

from portsip_async.classic.operations import ENDPOINTS
from portsip_async.errors import ConfigurationError
from portsip_async.simulator import PBXSimulator
from portsip_async.simulator.actions import ACTIONS
from portsip_async.simulator.fields import FIELDS

from .concurrency import yield_to_loop

SAMPLES = Path(__file__).parent / "samples"
UPDATE: dict[str, Any] = {
    name: {} for name in ("profile", "options", "forward_rules", "office_hours", "voice_mail")
}


def form(*parts: bytes, number: bytes = b"", name: bytes = b"", file: bytes = b"") -> bytes:
    """Build a multipart form as bytes."""
    fields = {b"extension_number": number, b"filename": name, b"file": file}
    head = b'--B\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    written = [head % field for field in fields.items() if field[1]]
    return b"".join((*parts, *written)) + b"--B--\r\n"


class Reply(NamedTuple):
    status: int
    body: Any
    headers: Mapping[str, str]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Probe:
    """Sends plain requests to a simulator, and logs in when it needs a token."""

    def __init__(self, sim: PBXSimulator, session: aiohttp.ClientSession) -> None:
        self.sim = sim
        self.session = session
        self.token = ""

    async def send(self, method: str, path: str, **options: Any) -> Reply:
        url = f"{self.sim.url}/api{path}"
        async with self.session.request(method, url, **options) as reply:
            raw = await reply.read()
            try:
                body = json.loads(raw) if raw else None
            except ValueError:
                body = raw
            return Reply(reply.status, body, reply.headers)

    async def login(self) -> str:
        reply = await self.send(
            "POST",
            "/account/credentials/verify",
            json={"username": self.sim.username, "password": self.sim.password},
        )
        self.token = reply.body["access_token"]
        return self.token

    async def get(self, path: str, **query: Any) -> Reply:
        if not self.token:
            await self.login()
        return await self.send("GET", path, params={"access_token": self.token, **query})

    async def post(self, path: str, **body: Any) -> Reply:
        if not self.token:
            await self.login()
        return await self.send("POST", path, json={"access_token": self.token, **body})

    async def upload(self, fields: aiohttp.FormData) -> Reply:
        if not self.token:
            await self.login()
        query = {"access_token": self.token}
        return await self.send(
            "POST", "/extensions/greeting_file/create", params=query, data=fields
        )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def probe(clock: Clock, session: aiohttp.ClientSession) -> AsyncIterator[Probe]:
    async with PBXSimulator(extensions=250, groups=3, clock=clock) as sim:
        yield Probe(sim, session)


def test_operations_match_the_endpoint_table() -> None:
    """The simulator has an action and fields for each row of the endpoint table, and no others."""
    assert ACTIONS.keys() == FIELDS.keys() == ENDPOINTS.keys()


class TestAccount:
    async def test_login(self, probe: Probe) -> None:
        """A login by user name or by email returns a token of 32 capital hex digits."""
        sim = probe.sim
        for path, name, value in (
            ("/account/credentials/verify", "username", sim.username),
            ("/account/email/verify", "email", sim.email),
        ):
            reply = await probe.send("POST", path, json={name: value, "password": sim.password})
            token = reply.body.pop("access_token")
            assert len(token) == 32
            assert set(token) <= set("0123456789ABCDEF")
            assert reply.body == {"expires": 30, "role": "tenant", "api_version": "2.0.0"}
        assert sim.tokens_issued == 2
        assert sim.served["account.verify"] == sim.acted["account.verify_email"] == 1

    @pytest.mark.parametrize(
        ("body", "err_code"),
        [
            ({"username": "admin", "password": "wrong"}, 401.2),
            ({"username": "nobody", "password": "simulated-Secret-1"}, 401.1),
            ({"username": "admin"}, 400.1),
            ({"username": "admin", "password": 1}, 400.1),
            ({"username": "", "password": "x"}, 400.1),
        ],
    )
    async def test_login_refused(self, probe: Probe, body: dict[str, Any], err_code: float) -> None:
        """Wrong credentials get HTTP 400, a message and no token."""
        reply = await probe.send("POST", "/account/credentials/verify", json=body)
        assert reply.status == 400
        assert reply.body["err_code"] == err_code
        assert reply.body.keys() == {"err_code", "msg"}
        assert probe.sim.tokens_issued == 0
        assert probe.sim.acted.total() == 0

    async def test_token_expires(self, probe: Probe, clock: Clock) -> None:
        """A token is valid for its lifetime, and so is the renewed token."""
        old = await probe.login()
        clock.now += 29.9
        new = (await probe.post("/account/token/refresh")).body["access_token"]
        assert new != old
        assert (await probe.get("/extensions/show", extension_number="100")).status == 200
        clock.now += 0.1
        reply = await probe.get("/extensions/show", extension_number="100")
        assert (reply.status, reply.body) == (
            401,
            {"err_code": 403.4, "msg": "Invalid access token"},
        )
        assert (await probe.post("/account/token/refresh")).status == 401
        probe.token = new
        assert (await probe.get("/extensions/show", extension_number="100")).status == 200
        assert probe.sim.rejected == {"extensions.show": 1, "account.refresh": 1}

    async def test_revoke_ends_all_tokens(self, probe: Probe) -> None:
        """A call of revoke() makes all tokens invalid at once."""
        await probe.login()
        probe.sim.revoke()
        assert (await probe.get("/extensions/list", pagination=1)).status == 401

    async def test_token_in_another_location(self, probe: Probe) -> None:
        """A token counts only in the location that its row defines."""
        token = await probe.login()
        shown = "/extensions/show?extension_number=100"
        for headers in ({"access_token": token}, {"Authorization": f"Bearer {token}"}):
            assert (await probe.send("GET", shown, headers=headers)).status == 401
        status = await probe.send(
            "POST", "/extensions/status", params={"access_token": token}, json={"extensions": []}
        )
        assert status.status == 401
        numbers: dict[str, Any] = {"access_token": 5, "extensions": []}
        assert (await probe.send("POST", "/extensions/status", json=numbers)).status == 401


@pytest.mark.parametrize(
    ("token", "sent"),
    [
        ("header", {"access_token": "TOKEN"}),
        ("bearer", {"Authorization": "Bearer TOKEN"}),
    ],
)
async def test_endpoint_overrides(
    session: aiohttp.ClientSession, token: Any, sent: dict[str, str]
) -> None:
    """A row is served only at its new path, with its token only in the new location."""
    endpoints: Any = {
        "extensions.show": {"path": "/v2/extension here", "token": token},
        "extensions.status": {"method": "GET"},
        "extensions.list": {"method": "POST"},
        "extensions.remove": {"method": "DELETE", "parameters": "query", "token": token},
        "groups.create": {"method": "GET"},
    }
    async with PBXSimulator(endpoints=endpoints) as sim:
        probe = Probe(sim, session)
        real = await probe.login()
        headers = {name: value.replace("TOKEN", real) for name, value in sent.items()}
        query = {"extension_number": "100"}
        path = "/v2/extension here"
        reply = await probe.send("GET", path, params=query, headers=headers)
        assert reply.body["extension_number"] == "100"
        assert (await probe.send("GET", path, params=query)).status == 401
        assert (await probe.get("/extensions/show", extension_number="100")).status == 404
        statuses = await probe.get("/extensions/status", extensions=["101", "102", "101"])
        assert [row["extension_number"] for row in statuses.body["extension_status"]] == [
            "101",
            "102",
        ]
        single = await probe.get("/extensions/status", extensions="103")
        assert [row["extension_number"] for row in single.body["extension_status"]] == ["103"]
        listed = await probe.post("/extensions/list", pagination=1, pagesize=2)
        assert len(listed.body["extensions"]) == 2
        removed = await probe.send("DELETE", "/extensions/destroy", params=query, headers=headers)
        assert removed.status == 200
        flags = dict.fromkeys(("enable_intercom", "enable_external_call"), "true")
        made = await probe.get(
            "/extensions/group/create",
            group_name="New",
            enable_management_console_access="false",
            **flags,
        )
        assert sim.group(made.body["group_id"])["enable_management_console_access"] is False
    with pytest.raises(ConfigurationError):
        PBXSimulator(endpoints={"extensions.fly": {}})


async def test_upload_as_json(session: aiohttp.ClientSession) -> None:
    """An upload that is not a form is refused, since it has no file."""
    endpoints: Any = {"greetings.upload": {"path": "/up", "token": "body", "parameters": "json"}}
    async with PBXSimulator(endpoints=endpoints) as sim:
        reply = await Probe(sim, session).post("/up", extension_number="100", file="a.wav")
    assert (reply.status, reply.body["err_code"]) == (400, 400.1)


class TestExtensions:
    async def test_list(self, probe: Probe) -> None:
        """A page has the fields of the sample, starts at "100", and has its own length as count."""
        reply = await probe.get("/extensions/list", pagination=3, pagesize=100, sort_by="Optional")
        rows = reply.body.pop("extensions")
        assert reply.body == {
            "pagination": 3,
            "pagesize": 100,
            "sort_by": "Optional",
            "page_count": 3,
            "count": 50,
        }
        assert [row["extension_number"] for row in rows] == [str(300 + at) for at in range(50)]
        sample = json.loads((SAMPLES / "extensions.list" / "reply.json").read_text())
        assert rows[0].keys() == sample["extensions"][0].keys()
        assert (await probe.get("/extensions/list", pagination=4)).body["extensions"] == []

    @pytest.mark.parametrize(
        "query",
        [
            {},
            {"pagination": "0"},
            {"pagination": "-1"},
            {"pagination": "one"},
            {"pagination": ""},
            {"pagination": "1", "pagesize": "0"},
            {"pagination": ["1", "2"]},
        ],
    )
    async def test_list_refused(self, probe: Probe, query: dict[str, Any]) -> None:
        """A page number is required, and counts from 1."""
        reply = await probe.get("/extensions/list", **query)
        assert reply.status == 400
        assert reply.body["err_code"] == 400.1

    @pytest.mark.parametrize(
        "path", ["/extensions/list", "/extensions/group/list", "/extensions/greeting_file/list"]
    )
    async def test_page_beyond_the_end(self, probe: Probe, path: str) -> None:
        """A page far behind the end is empty."""
        far = 10**18 - 1
        reply = await probe.get(path, pagination=far, pagesize=far, extension_number="100")
        assert reply.status == 200
        assert [] in reply.body.values()

    async def test_page_limit(self, session: aiohttp.ClientSession) -> None:
        """A page has no more items than the limit, which the reply shows as pagesize."""
        async with PBXSimulator(extensions=45, page_limit=20) as sim:
            reply = await Probe(sim, session).get("/extensions/list", pagination=3, pagesize=100)
        assert reply.body["pagesize"] == 20
        assert reply.body["page_count"] == 3
        assert len(reply.body["extensions"]) == 5

    async def test_search(self, probe: Probe) -> None:
        """A search finds parts of numbers, names and emails, and pages like a list."""
        reply = await probe.get("/extensions/search", condition="10", pagination=1)
        assert "sort_by" not in reply.body
        found = [row["extension_number"] for row in reply.body["extensions"]]
        assert found == [*map(str, range(100, 111)), "210", "310"]
        second = await probe.get("/extensions/search", condition="10", pagination=2, pagesize=12)
        assert [row["extension_number"] for row in second.body["extensions"]] == ["310"]
        row = reply.body["extensions"][4]
        for condition in (row["email"].upper(), f"{row['first_name']} {row['last_name']}"):
            again = await probe.get("/extensions/search", condition=condition, pagination=1)
            assert row["extension_number"] in {
                found["extension_number"] for found in again.body["extensions"]
            }
        everything = await probe.get("/extensions/search", condition="", pagination=2)
        assert everything.body["page_count"] == 3
        nothing = await probe.get("/extensions/search", condition="100a", pagination=1)
        assert (nothing.body["extensions"], nothing.body["page_count"]) == ([], 0)

    async def test_create_show_update_remove(self, probe: Probe) -> None:
        """An extension is created as in the sample, shown, updated, found and removed."""
        request = json.loads((SAMPLES / "extensions.create" / "request.json").read_text())
        body = request["body"] | {"access_token": await probe.login(), "unheard_of": {"a": 1}}
        assert (await probe.send("POST", request["path"], json=body))[:2] == (200, None)
        shown = await probe.get("/extensions/show", extension_number="1000")
        del body["access_token"], body["unheard_of"]
        assert shown.body == body | {"belong_groups": []}
        sample = json.loads((SAMPLES / "extensions.show" / "reply.json").read_text())
        assert shown.body.keys() >= sample.keys()

        listed = await probe.get("/extensions/list", pagination=251, pagesize=1)
        assert listed.body["extensions"][0]["first_name"] == "first name"
        again = await probe.post(
            "/extensions/create", extension_number="1000", password="p", web_access_password="w"
        )
        assert (again.status, again.body["err_code"]) == (403, 403.3)

        sections: dict[str, Any] = UPDATE | {
            "profile": {"first_name": "Zaphod", "last_name": None, "badge": 42}
        }
        update = {"extension_number": "1000", **sections}
        assert (await probe.post("/extensions/update", **update))[:2] == (200, None)
        shown = await probe.get("/extensions/show", extension_number="1000")
        assert shown.body["profile"] == sections["profile"]
        assert shown.body["options"] == {}
        assert shown.body["password"] == "123456"
        found = await probe.get("/extensions/search", condition="zaphod", pagination=1)
        assert [row["extension_number"] for row in found.body["extensions"]] == ["1000"]

        assert (await probe.post("/extensions/destroy", extension_number="1000"))[:2] == (200, None)
        assert "1000" not in probe.sim.extension_numbers
        for reply in (
            await probe.post("/extensions/destroy", extension_number="1000"),
            await probe.get("/extensions/show", extension_number="1000"),
            await probe.post("/extensions/update", **update),
        ):
            assert (reply.status, reply.body["err_code"]) == (404, 404.1)

    async def test_create_with_defaults(self, probe: Probe) -> None:
        """The PBX's defaults fill the missing fields of a new extension, also within a section."""
        await probe.post(
            "/extensions/create",
            extension_number="9000",
            password="p",
            web_access_password="w",
            profile={"first_name": "Ann"},
        )
        shown = probe.sim.extension("9000")
        assert shown["profile"]["first_name"] == "Ann"
        assert shown["profile"]["gender"] == "MALE"
        assert shown["forward_rules"]["available"]["no_answer_timeval"] == 20

    @pytest.mark.parametrize(
        "change",
        [
            {"extension_number": 1000},
            {"extension_number": " "},
            {"password": None},
            {"profile": []},
            {"profile": {"first_name": 5}},
            {"forward_rules": {"available": {"no_answer_timeval": "soon"}}},
        ],
    )
    async def test_create_refused(self, probe: Probe, change: dict[str, Any]) -> None:
        """A request with a field of another type, or without a required one, is refused."""
        good = {"extension_number": "1000", "password": "p", "web_access_password": "secret!"}
        reply = await probe.post("/extensions/create", **good | change)
        assert (reply.status, reply.body["err_code"]) == (400, 400.1)
        assert "secret!" not in reply.body["msg"]
        assert probe.sim.acted["extensions.create"] == 0

    async def test_update_refused(self, probe: Probe) -> None:
        """An update without one of the sections is refused."""
        for section in UPDATE:
            body: dict[str, Any] = {name: {} for name in UPDATE if name != section}
            reply = await probe.post("/extensions/update", extension_number="100", **body)
            assert (reply.status, reply.body["err_code"]) == (400, 400.1)

    async def test_status(self, probe: Probe, clock: Clock) -> None:
        """Statuses change over time, and not all at once."""
        numbers = [str(100 + at) for at in range(100)]
        seen = []
        for _ in range(3):
            reply = await probe.post("/extensions/status", extensions=numbers)
            rows = reply.body["extension_status"]
            assert [row["extension_number"] for row in rows] == numbers
            assert rows[0].keys() == {"extension_number", "status", "user_agent"}
            assert all((row["status"] == "OFFLINE") == (not row["user_agent"]) for row in rows)
            seen.append([row["status"] for row in rows])
            clock.now += 5.0
        assert set(seen[0]) == {"OFFLINE", "ONLINE", "RINGING", "ON_CALL"}
        changed = sum(before != after for before, after in zip(seen[0], seen[1], strict=True))
        assert 0 < changed < 50

    async def test_status_refused(self, probe: Probe) -> None:
        """A batch with one unknown number is refused."""
        reply = await probe.post("/extensions/status", extensions=["101", "nope", "102"])
        assert (reply.status, reply.body["err_code"]) == (404, 404.1)
        for numbers in ("nope", None, 7, [7], [""]):
            reply = await probe.post("/extensions/status", extensions=numbers)
            assert reply.status in (400, 404)

    async def test_fixed_status(self, probe: Probe, clock: Clock) -> None:
        """A status that was set stays until it is set to None."""
        for agent, shown in ((None, True), ("Desk", "Desk")):
            probe.sim.set_status("100", "ON_CALL", user_agent=agent)
            clock.now += 20
            reply = await probe.post("/extensions/status", extensions=["100"])
            row = reply.body["extension_status"][0]
            assert row["status"] == "ON_CALL"
            assert row["user_agent"] == shown or (shown is True and row["user_agent"])
            reply = await probe.get("/extensions/list", pagination=1, pagesize=1)
            assert reply.body["extensions"][0]["status"] == "ON_CALL"
        probe.sim.set_status("100", None)
        with pytest.raises(KeyError):
            probe.sim.set_status("1", "ONLINE")

    async def test_call(self, probe: Probe) -> None:
        """A call is placed by a GET and stored without its password."""
        query = {"extension": "100", "auth": "hush", "to": "1001", "domain": "d", "src": "s"}
        assert (await probe.get("/extensions/call", **query))[:2] == (200, None)
        (call,) = probe.sim.calls
        assert (call.extension, call.to, call.domain, call.src) == ("100", "1001", "d", "s")
        assert "hush" not in repr(call)
        del query["auth"]
        assert (await probe.get("/extensions/call", **query)).status == 400
        unknown = query | {"auth": "hush", "extension": "1"}
        assert (await probe.get("/extensions/call", **unknown)).status == 404
        assert probe.sim.served["extensions.call"] == 3
        assert probe.sim.acted["extensions.call"] == len(probe.sim.calls) == 1


class TestGroups:
    FLAGS: ClassVar[dict[str, Any]] = {
        "enable_intercom": True,
        "enable_external_call": False,
        "enable_management_console_access": True,
    }

    async def test_list(self, probe: Probe) -> None:
        """The default group is the last of as many groups as were requested."""
        reply = await probe.get("/extensions/group/list", pagination=1)
        groups = reply.body["groups"]
        assert len(groups) == 3
        assert groups[-1] == {
            "group_id": "__DEFAULT_EXTENSION_GROUP__",
            "group_name": "__DEFAULT_EXTENSION_GROUP__",
            "members_count": 0,
        }
        assert [len(part) for part in groups[0]["group_id"].split("-")] == [8, 4, 4, 4, 12]
        assert groups[0]["members_count"] == 5
        second = await probe.get("/extensions/group/list", pagination=2, pagesize=2)
        assert second.body["groups"] == groups[2:]

    async def test_create_update_remove(self, probe: Probe) -> None:
        """A group is created, updated and removed, and its members show the group."""
        members = ["105", "106", "107"]
        made = await probe.post(
            "/extensions/group/create", group_name="test", members=members, **self.FLAGS
        )
        assert made.body.keys() == {"group_id", "group_name"}
        group_id = made.body["group_id"]
        shown = await probe.get("/extensions/group/show", group_id=group_id)
        assert shown.body == {
            "group_id": group_id,
            "group_name": "test",
            "group_description": "",
            "members": members,
            **self.FLAGS,
        }
        for number in members:
            assert group_id in probe.sim.extension(number)["belong_groups"]

        kept = {"group_id": group_id, "group_name": "new", "group_description": "d", **self.FLAGS}
        assert (await probe.post("/extensions/group/update", **kept))[:2] == (200, None)
        assert probe.sim.group(group_id)["members"] == members
        await probe.post("/extensions/group/update", **kept, members=["106", "101", "106"])
        assert probe.sim.group(group_id)["members"] == ["106", "101"]
        assert group_id not in probe.sim.extension("105")["belong_groups"]

        await probe.post("/extensions/destroy", extension_number="106")
        assert probe.sim.group(group_id)["members"] == ["101"]

        assert (await probe.post("/extensions/group/destroy", group_id=group_id))[:2] == (200, None)
        assert group_id not in probe.sim.extension("101")["belong_groups"]
        for path in ("/extensions/group/destroy", "/extensions/group/update"):
            reply = await probe.post(path, **kept)
            assert (reply.status, reply.body["err_code"]) == (404, 404)
        assert group_id not in probe.sim.group_ids
        with pytest.raises(KeyError):
            probe.sim.group(group_id)

    async def test_refused(self, probe: Probe) -> None:
        """Unknown members, flags of another type, and the default group's removal are refused."""
        for change, status in (
            ({"members": ["105", "1"]}, 404),
            ({"members": "105 106"}, 404),
            ({"members": {}}, 400),
            ({"enable_intercom": "yes"}, 400),
            ({"group_name": ""}, 400),
            ({"group_description": 5}, 400),
        ):
            body: dict[str, Any] = {"group_name": "test", **self.FLAGS} | change
            assert (await probe.post("/extensions/group/create", **body)).status == status
        assert len(probe.sim.group_ids) == 3
        default = "__DEFAULT_EXTENSION_GROUP__"
        reply = await probe.post("/extensions/group/destroy", group_id=default)
        assert (reply.status, reply.body["err_code"]) == (403, 403.1)

    async def test_empty_pbx(self, session: aiohttp.ClientSession) -> None:
        """The lists of a PBX without groups and extensions are empty."""
        async with PBXSimulator(extensions=0, groups=0) as sim:
            probe = Probe(sim, session)
            groups = await probe.get("/extensions/group/list", pagination=1)
            extensions = await probe.get("/extensions/list", pagination=1)
        assert (groups.body["groups"], extensions.body["extensions"]) == ([], [])


class TestGreetings:
    async def files(self, probe: Probe, **query: Any) -> Any:
        page = {"extension_number": "100", "pagination": 1} | query
        return (await probe.get("/extensions/greeting_file/list", **page)).body

    async def test_add_setup_list_remove(self, probe: Probe) -> None:
        """Files are added by name or address, set up, listed by page, and removed."""
        path = "/extensions/greeting_file"
        assert (await self.files(probe))["files"] == []
        for file in (
            {"filename": "a.wav"},
            {"url": "https://files.example/greetings/good%20day.wav?v=1"},
            {"filename": "c.wav", "url": "https://files.example/x"},
        ):
            added = await probe.post(f"{path}/create", extension_number="100", **file)
            assert added[:2] == (200, None)
        set_up = {"extension_number": "100", "filename": "good day.wav"}
        assert (await probe.post(f"{path}/update", **set_up))[:2] == (200, None)
        assert await self.files(probe) == {
            "pagination": 1,
            "pagesize": 100,
            "sort_by": "DEFAULT",
            "page_count": 1,
            "count": 3,
            "default_file": "good day.wav",
            "files": [
                {"filename": "a.wav", "enabled": False},
                {"filename": "good day.wav", "enabled": True},
                {"filename": "c.wav", "enabled": False},
            ],
        }
        page = await self.files(probe, pagination=2, pagesize=2)
        assert [file["filename"] for file in page["files"]] == ["c.wav"]
        removed = await probe.post(f"{path}/destroy", extension_number="100", filename="a.wav")
        assert removed[:2] == (200, None)
        assert (await self.files(probe))["default_file"] == "good day.wav"
        assert (await probe.post(f"{path}/destroy", **set_up))[:2] == (200, None)
        assert (await self.files(probe))["default_file"] == ""
        for action in ("update", "destroy"):
            reply = await probe.post(f"{path}/{action}", **set_up)
            assert (reply.status, reply.body["err_code"]) == (404, 404.3)
        nameless = await probe.post(f"{path}/create", extension_number="100")
        assert nameless.status == 400
        unknown = await probe.post(f"{path}/create", extension_number="1", filename="a.wav")
        assert (unknown.status, unknown.body["err_code"]) == (404, 404.1)
        with pytest.raises(KeyError):
            probe.sim.greetings("1")

    @pytest.mark.parametrize("named", [True, False])
    async def test_upload(self, probe: Probe, named: bool) -> None:
        """An upload is read to its end, in any order of its parts."""
        data = bytes(range(256)) * 4096
        fields = aiohttp.FormData(quote_fields=False)
        fields.add_field("file", data, filename="grüße.wav", content_type="audio/wav")
        if named:
            fields.add_field("filename", "hallo.wav")
        fields.add_field("extension_number", "100")
        assert (await probe.upload(fields))[:2] == (200, None)
        name = "hallo.wav" if named else "grüße.wav"
        greeting = probe.sim.greetings("100")[name]
        assert (greeting.size, greeting.sha256) == (len(data), sha256(data).hexdigest())
        assert probe.sim.acted["greetings.upload"] == 1
        assert probe.sim.served["greetings.add"] == 0

    async def test_upload_of_unknown_length(self, probe: Probe) -> None:
        """An upload without a Content-Length is read to its end."""

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(50):
                yield b"x" * 10_000

        fields = aiohttp.FormData()
        fields.add_field("extension_number", "100")
        fields.add_field("file", chunks(), filename="long.wav")
        assert (await probe.upload(fields)).status == 200
        assert probe.sim.greetings("100")["long.wav"].size == 500_000

    @pytest.mark.parametrize(
        ("body", "err_code"),
        [
            (form(number=b"100", name=b"a.wav"), 400.1),
            (form(number=b"100", file=b"data"), 400.1),
            (form(number=b"100", file=b"data", name=b"a" * 70_000), 400.1),
            (form(name=b"a.wav", file=b"data"), 400.1),
            (form(number=b"1", name=b"a.wav", file=b"data"), 404.1),
            (form(number=b"\xff", name=b"a.wav", file=b"data"), 400.2),
            (form(b"--B\r\nContent-Type: text/plain\r\n\r\nx\r\n"), 400.2),
            (form(b'--B\r\nContent-Disposition: form-data; name="a\x00"\r\n\r\n1\r\n'), 400.2),
            (form(b"--B\r\nContent-Type: multipart/mixed; boundary=C\r\n\r\n--C--\r\n"), 400.2),
            (form(number=b"100", file=b"data").removesuffix(b"\r\n--B--\r\n"), 400.2),
            (b"nothing of the kind", 400.2),
        ],
    )
    async def test_upload_refused(self, probe: Probe, body: bytes, err_code: float) -> None:
        """A form that is broken, or without a file, a number or a name, adds nothing."""
        path = f"/extensions/greeting_file/create?access_token={await probe.login()}"
        kind = {"Content-Type": "multipart/form-data; boundary=B"}
        reply = await probe.send("POST", path, data=body, headers=kind)
        assert (reply.status, reply.body["err_code"]) == (int(err_code), err_code)
        assert probe.sim.greetings("100") == {}
        unbound = {"Content-Type": "multipart/form-data"}
        reply = await probe.send("POST", path, data=body, headers=unbound)
        assert (reply.status, reply.body["err_code"]) == (400, 400.2)

    async def test_upload_with_an_invalid_token(self, probe: Probe) -> None:
        """An upload with an invalid token is refused, and its body is discarded."""
        probe.token = "0" * 32
        data = aiohttp.FormData()
        data.add_field("file", BytesIO(b"x" * 3_000_000), filename="a.wav")
        assert (await probe.upload(data)).status == 401
        probe.sim.fail("greetings.upload", status=429)
        data = aiohttp.FormData()
        data.add_field("file", BytesIO(b"x" * 3_000_000), filename="a.wav")
        assert (await probe.upload(data)).status == 429


class TestRequests:
    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"access_token": "'])
    async def test_body_that_is_not_json(self, probe: Probe, body: bytes) -> None:
        """A POST without a JSON object is refused. An empty body has no token."""
        reply = await probe.send("POST", "/extensions/status", data=body)
        assert (reply.status, reply.body["err_code"]) == ((400, 400.2) if body else (401, 403.4))

    @pytest.mark.parametrize(
        ("method", "path"),
        [("GET", "/"), ("GET", "/extensions/fly"), ("POST", "/extensions/show")],
    )
    async def test_unknown_path(self, probe: Probe, method: str, path: str) -> None:
        """A request to an unknown path is refused, and not counted."""
        reply = await probe.send(method, path)
        assert (reply.status, reply.body["err_code"]) == (404, 404.2)
        assert probe.sim.served.total() == 0

    async def test_large_body(self, probe: Probe) -> None:
        """A body may be larger than the default limit of aiohttp, one megabyte."""
        body = {"access_token": await probe.login(), "extensions": ["100"], "x": "x" * 2_000_000}
        data = BytesIO(json.dumps(body).encode())
        reply = await probe.send("POST", "/extensions/status", data=data)
        assert reply.status == 200

    async def test_expect_continue(self, probe: Probe) -> None:
        """A client that sends Expect: 100-continue gets the 100, then its reply."""
        url = f"{probe.sim.url}/api/extensions/status"
        body = {"access_token": await probe.login(), "extensions": ["100"]}
        async with probe.session.post(url, json=body, expect100=True) as reply:
            assert reply.status == 200

    async def test_no_secret_in_logs(self, probe: Probe, caplog: pytest.LogCaptureFixture) -> None:
        """Neither logs nor reprs show a token or a password, also after an unreadable request."""
        with caplog.at_level(logging.DEBUG):
            token = await probe.login()
            await probe.get("/extensions/show", extension_number="100")
            _, writer = await asyncio.open_connection("127.0.0.1", probe.sim.port)
            writer.write(f"GET /?access_token={token} HTTP/9.9 x\r\n\r\n".encode())
            await writer.drain()
            writer.write_eof()
            await asyncio.sleep(0.05)
            writer.close()
            await writer.wait_closed()
        shown = caplog.text + repr(probe.sim)
        assert token not in shown
        assert probe.sim.password not in shown
        assert "extensions=250 groups=3 served=2" in repr(probe.sim)

    async def test_internal_error(
        self, probe: Probe, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An error inside the simulator is a 500, and only its type is logged."""

        def fail(**_: Any) -> None:
            raise LookupError("a password")

        monkeypatch.setattr(probe.sim._pbx, "show_extension", fail)
        reply = await probe.get("/extensions/show", extension_number="100")
        assert (reply.status, reply.body["err_code"]) == (500, 500)
        assert "LookupError" in caplog.text
        assert "a password" not in caplog.text


class TestStartAndStop:
    @pytest.mark.parametrize("turns", range(6))
    async def test_connection_during_a_stop(self, turns: int) -> None:
        """A connection at any stage of its setup is closed: Python would warn of an open one."""
        sim = PBXSimulator(extensions=1)
        await sim.start()
        with socket.create_connection(("127.0.0.1", sim.port)):
            for _ in range(turns):
                await asyncio.sleep(0)
            await sim.stop()
            await yield_to_loop()
            gc.collect()

    async def test_restart(self, probe: Probe) -> None:
        """A restart keeps the port and the state, and loses the tokens."""
        await probe.post("/extensions/destroy", extension_number="100")
        url = probe.sim.url
        await probe.sim.restart()
        assert probe.sim.url == url
        assert (await probe.get("/extensions/list", pagination=1)).status == 401
        await probe.login()
        listed = await probe.get("/extensions/list", pagination=1, pagesize=1)
        assert listed.body["extensions"][0]["extension_number"] == "101"

    async def test_stop_cuts_requests_in_flight(self, probe: Probe) -> None:
        """A stop cuts a request in flight without a reply; a new connection is refused."""
        await probe.login()
        probe.sim.fail("extensions.list", latency=30)
        waiting = asyncio.create_task(probe.get("/extensions/list", pagination=1))
        async with asyncio.timeout(5):
            while not probe.sim.in_flight:  # noqa: ASYNC110  # the simulator has no event for it
                await asyncio.sleep(0)
        await asyncio.wait_for(probe.sim.stop(), 5)
        with pytest.raises(aiohttp.ClientConnectionError):
            await waiting
        assert probe.sim.in_flight == 0
        with pytest.raises(aiohttp.ClientConnectorError):
            await probe.get("/extensions/list", pagination=1)
        await probe.sim.stop()

    async def test_start_twice(self) -> None:
        """A second start before a stop raises. After a stop it works."""
        sim = PBXSimulator()
        assert "not started" in repr(sim)
        assert sim.port == 0
        with pytest.raises(RuntimeError, match="start it first"):
            _ = sim.url
        async with sim:
            with pytest.raises(RuntimeError, match="already"):
                await sim.start()
        async with sim:
            assert str(sim.port) in sim.url

    async def test_url_of_an_ipv6_host(self) -> None:
        """The URL has an IPv6 address in brackets."""
        sim = PBXSimulator(host="::1", port=8899)
        assert sim.url == "http://[::1]:8899"

    async def test_port_in_use(self, probe: Probe) -> None:
        """A start on a port that is in use raises OSError."""
        with pytest.raises(OSError, match="in use"):
            await PBXSimulator(port=probe.sim.port).start()

    @pytest.mark.parametrize(
        "options",
        [
            {"extensions": -1},
            {"groups": -1},
            {"token_lifetime": 0},
            {"page_limit": 0},
            {"port": -1},
            {"max_in_flight": 0},
            {"status_seconds": -1},
            {"quirks": ["no_such"]},
        ],
    )
    def test_invalid_options(self, options: dict[str, Any]) -> None:
        """Options out of range raise ValueError in the constructor."""
        with pytest.raises(ValueError):  # noqa: PT011  # the messages differ
            PBXSimulator(**options)

    async def test_status_seconds_of_zero(
        self, session: aiohttp.ClientSession, clock: Clock
    ) -> None:
        """With status_seconds=0 a status never changes."""
        async with PBXSimulator(status_seconds=0, token_lifetime=1e9, clock=clock) as sim:
            probe = Probe(sim, session)
            first = await probe.get("/extensions/list", pagination=1)
            clock.now += 1e6
            assert (await probe.get("/extensions/list", pagination=1)).body == first.body
