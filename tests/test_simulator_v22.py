"""Generation v22 of the simulator, without the SDK: literal requests and replies."""

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import aiohttp
import pytest
from yarl import URL

from portsip_async.simulator import Faults, Greeting, PBXSimulator
from portsip_async.simulator.v22.actions import ACTIONS
from portsip_async.simulator.v22.routes import OPERATIONS, ROUTES
from portsip_async.v22.operations import ENDPOINTS

from .concurrency import until
from .simulated_v22 import NEW_USER, ProbeV22
from .test_simulator import Clock, Probe

BINARY = {"Content-Type": "application/octet-stream"}
CALL = {"caller": "100", "callee": "200", "send_sdp": False}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


@pytest.fixture
async def probe(clock: Clock, session: aiohttp.ClientSession) -> AsyncIterator[ProbeV22]:
    async with PBXSimulator(extensions=250, groups=3, clock=clock) as sim:
        yield ProbeV22(sim, session)


def test_every_operation_has_an_action() -> None:
    assert ACTIONS.keys() == OPERATIONS


@pytest.mark.parametrize("name", ENDPOINTS)
def test_client_and_simulator_agree_on_an_operation(name: str) -> None:
    """Both have a table of their own, so a mistake in one of them shows here."""
    row = ENDPOINTS[name]
    route = ROUTES["auth.form_login" if name == "auth.form_refresh" else name]
    assert (row.method, row.path) == (route.method, route.path)
    assert (row.token == "bearer") == route.has_token
    expected = {"query": "none", "json": "json", "form": "form", "binary": "binary"}
    if row.method == "GET" or name == "blobs.complete":  # it may send no more of the file
        assert row.parameters == "query"
    else:
        assert expected[row.parameters] == route.sent_as


def test_simulator_has_older_logins_too() -> None:
    """The client has no row for these: it uses the newer ones."""
    assert OPERATIONS - ENDPOINTS.keys() == {"auth.login", "auth.login_status", "auth.logout"}


class TestGenerations:
    async def test_both_share_one_state(self, probe: ProbeV22) -> None:
        """What one generation does, the other sees."""
        sim, classic = probe.sim, Probe(probe.sim, probe.session)
        created = await probe.post("/users", NEW_USER)
        assert (created.status, created.body) == (201, {"id": sim.v22.user_id("9510")})
        shown = (await classic.get("/extensions/show", extension_number="9510")).body
        assert (shown["profile"]["first_name"], shown["profile"]["email"]) == ("Ann", "ann@test.io")
        assert shown["password"] == "sip-Secret-1"
        assert shown["web_access_password"] == "web-Secret-1"
        assert shown["voice_mail"]["voicemail_pin"] == "123456"
        profile = shown["profile"] | {"last_name": "Lee", "mobile_phone": "+1555"}
        sections = {name: shown[name] for name in ("options", "voice_mail", "forward_rules")}
        sections |= {"profile": profile, "office_hours": shown["office_hours"]}
        reply = await classic.post("/extensions/update", extension_number="9510", **sections)
        assert reply.status == 200
        user = (await probe.get(f"/users/{created.body['id']}")).body
        assert (user["display_name"], user["mobile_phone"]) == ("Ann Lee", "+1555")
        body = {"extension_number": "9511", "password": "x", "web_access_password": "y", **sections}
        assert (await classic.post("/extensions/create", **body)).status == 200
        assert await probe.numbers(filter="startswith(extension_number, '951')") == ["9510", "9511"]
        await probe.post(f"/users/{created.body['id']}/destroy")
        assert (await classic.get("/extensions/show", extension_number="9510")).status == 404
        assert sim.served.total() == 5
        assert sim.v22.served == {
            "auth.sign_in": 1,
            "users.create": 1,
            "users.show": 1,
            "users.list": 1,
            "users.remove": 1,
        }

    @pytest.mark.parametrize("pin", ["", "1234", "123456"])
    async def test_classic_extension_can_be_read_and_written_back(
        self, probe: ProbeV22, pin: str
    ) -> None:
        """A pin that v22 does not take is not shown there, so that an update may repeat a show."""
        body = {
            "extension_number": "9511",
            "password": "Passw0rd-1",
            "web_access_password": "Passw0rd-2",
            "profile": {"first_name": "Ann", "last_name": "Lee"},
            "voice_mail": {"voicemail_pin": pin},
        }
        created = await Probe(probe.sim, probe.session).post("/extensions/create", **body)
        assert created.status == 200
        path = f"/users/{probe.sim.v22.user_id('9511')}"
        user = (await probe.get(path)).body
        assert user.get("voicemail_pin") == (pin if len(pin) >= 6 else None)
        assert (await probe.post(path, user | {"department": "Sales"})).status == 200
        assert (await probe.get(path)).body == user | {"department": "Sales"}

    @pytest.mark.parametrize(("generation", "path"), [("classic", "/info"), ("v22", "/extensions")])
    async def test_the_other_one_is_missing(
        self, session: aiohttp.ClientSession, generation: str, path: str
    ) -> None:
        """Without a generation, its paths get 404 in the words of the other one."""
        async with PBXSimulator(generations=[generation]) as sim:
            probe = ProbeV22(sim, session)
            reply = await probe.send("GET", path)
            assert reply.status == 404
            assert ("errors" in reply.body) == (generation == "v22")
            body = {"username": sim.username, "password": sim.password}
            for login in ("/auth/sign_in", "/account/credentials/verify"):
                found = (await probe.send("POST", login, json=body)).status
                assert (found == 200) == ((generation == "v22") == login.startswith("/auth"))

    @pytest.mark.parametrize("generations", [(), ["v12"], "v22"])
    def test_invalid(self, generations: Any) -> None:
        with pytest.raises((TypeError, ValueError), match="generations must"):
            PBXSimulator(generations=generations)

    async def test_info(self, probe: ProbeV22) -> None:
        """Information needs no token."""
        reply = await probe.send("GET", "/info")
        assert (reply.status, reply.body["domain"]) == (200, "test.io")


class TestUsers:
    async def test_create_show_update_remove(self, probe: ProbeV22) -> None:
        """A user is created, shown with all fields, updated and removed."""
        rule = {"action": "FORWARD_TO_NUMBER", "number": "100", "timeout": 15}
        body = NEW_USER | {
            "display_name": " Ann  Marie Lee ",
            "department": "Sales",
            "available_no_answer_forward_rule": rule,
            "x_unknown": [1],
        }
        created = await probe.post("/users", body)
        assert (created.status, created.body.keys()) == (201, {"id"})
        path = f"/users/{created.body['id']}"
        shown = (await probe.get(path)).body
        secrets = {"password", "extension_password"}
        assert {name: shown[name] for name in body if name not in secrets} == {
            name: value for name, value in body.items() if name not in secrets
        }
        assert not secrets & shown.keys()
        assert shown["busy_no_answer_forward_rule"]["timeout"] == 60
        reply = await probe.post(path, {"department": "", "enabled": False, "role": "Admin"})
        assert (reply.status, reply.body, reply.headers["Content-Length"]) == (200, None, "0")
        changed = (await probe.get(path)).body
        assert changed == shown | {"department": "", "enabled": False}
        reply = await probe.post(f"{path}/role", {"role": "Admin"})
        assert reply.status == 200
        assert (await probe.get(path)).body["role"] == "Admin"
        reply = await probe.post(f"{path}/destroy")
        assert (reply.status, reply.body) == (204, None)
        for reply in (await probe.get(path), await probe.post(f"{path}/destroy")):
            assert (reply.status, reply.code) == (404, "UNKNOWN")
        again = await probe.post("/users", body)
        assert again.status == 201
        assert again.body != created.body

    async def test_passwords(self, probe: ProbeV22) -> None:
        """Both passwords are set; neither is shown."""
        user_id = probe.sim.v22.user_id("100")
        for name, password in (("password", "web-new"), ("extension_password", "sip-new")):
            reply = await probe.post(f"/users/{user_id}/{name}", {"password": password})
            assert reply[:2] == (200, None)
            assert probe.sim.v22.user(user_id)[name] == password
        assert probe.sim.extension("100")["password"] == "sip-new"
        assert (await probe.post(f"/users/{user_id}/password", {})).code == "VALIDATE_FAILED"

    @pytest.mark.parametrize("change", [{"extension_number": "100"}, {"name": "INES.TANAKA.100"}])
    async def test_exists(self, probe: ProbeV22, change: dict[str, str]) -> None:
        """A number or a name that is in use is refused."""
        assert (await probe.get(f"/users/{probe.sim.v22.user_id('100')}")).body["name"] == (
            "ines.tanaka.100"
        )
        reply = await probe.post("/users", NEW_USER | change)
        assert (reply.status, reply.code) == (409, "UNKNOWN")

    @pytest.mark.parametrize(
        "change",
        [
            *({name: None} for name in NEW_USER),
            *({name: 1} for name in NEW_USER),
            {"name": ""},
            {"name": "x" * 65},
            {"email": "x" * 129},
            {"extension_number": "12"},
            {"extension_number": "100\n"},
            {"extension_number": "10a"},
            {"voicemail_pin": "12345"},
            {"voicemail_pin": "12345678901"},
            {"enabled": "true"},
            {"enabled": None},
            {"sms": "SOMETIMES"},
            {"blfs": {}},
            {"blfs": [{"key": 1}]},
            {"office_hours": {"monday": {"ranges": [{"from": 9}]}}},
            {"available_no_answer_forward_rule": {"timeout": -1}},
            {"dnd_office_hours_forward_rule": {"action": "RING_ANYWAY"}},
        ],
    )
    async def test_invalid(self, probe: ProbeV22, change: dict[str, Any]) -> None:
        """A user that breaks a rule of the document is refused, and nothing is created."""
        reply = await probe.post("/users", NEW_USER | change)
        assert (reply.status, reply.code) == (400, "VALIDATE_FAILED")
        assert "9510" not in probe.sim.extension_numbers

    @pytest.mark.parametrize("name", NEW_USER)
    async def test_required(self, probe: ProbeV22, name: str) -> None:
        """Each field that the document requires may not be missing."""
        body = {field: value for field, value in NEW_USER.items() if field != name}
        assert (await probe.post("/users", body)).code == "VALIDATE_FAILED"

    async def test_list(self, probe: ProbeV22) -> None:
        """A list pages by skip and top, and counts all users."""
        reply = await probe.get("/users", skip=200, top=100)
        assert (reply.body["count"], len(reply.body["items"])) == (250, 50)
        assert reply.body["items"][0]["extension_number"] == "300"
        assert "status" not in reply.body["items"][0]
        assert len(await probe.numbers()) == 100
        assert await probe.numbers(skip=250) == []

    async def test_page_limit(self, session: aiohttp.ClientSession) -> None:
        """A server may return fewer items than top."""
        async with PBXSimulator(extensions=100, page_limit=30) as sim:
            probe = ProbeV22(sim, session)
            assert await probe.numbers(skip=10, top=100) == [*map(str, range(110, 140))]
            assert len((await probe.get("/groups", top=100)).body["items"]) == 10

    @pytest.mark.parametrize(
        "query",
        [
            {"top": "0"},
            {"top": "101"},
            {"top": "x"},
            {"top": "1.5"},
            {"skip": "-1"},
            {"skip": str(2**31)},
            {"filter": "extension_number"},
            {"filter": "extension_number eq"},
            {"filter": "extension_number eq '1' or"},
            {"filter": "password eq 'x'"},
            {"filter": "extension_number eq 'x"},
            {"filter": "(" * 300},
            {"filter": "contains(name)"},
            {"filter": "contains(name, 1)"},
            {"orderby": "password"},
            {"orderby": "name up"},
            {"orderby": ","},
        ],
    )
    async def test_invalid_list(self, probe: ProbeV22, query: dict[str, str]) -> None:
        """A query option that breaks a rule is refused."""
        reply = await probe.get("/users", **query)
        assert (reply.status, reply.code) == (400, "VALIDATE_FAILED")

    @pytest.mark.parametrize(
        ("condition", "found"),
        [
            ("extension_number eq '101'", ["101"]),
            ("extension_number eq '101' or extension_number eq '104'", ["101", "104"]),
            ("contains(extension_number, '01') and extension_number ne '201'", ["101", "301"]),
            ("(endswith(extension_number,'00'))", ["100", "200", "300"]),
            (
                "startswith(extension_number,'10') and not (extension_number ge '102')",
                ["100", "101"],
            ),
            ("extension_number eq '1''1'", []),
            ("enabled eq false", ["100"]),
            ("enabled ne true and department eq 'O''Neill'", ["100"]),
            ("department eq 'and' and enabled eq true", []),
        ],
    )
    async def test_filter(self, probe: ProbeV22, condition: str, found: list[str]) -> None:
        """A filter compares fields, and follows changes."""
        assert await probe.numbers(filter="enabled eq false") == []
        change = {"enabled": False, "department": "O'Neill"}
        await probe.post(f"/users/{probe.sim.v22.user_id('100')}", change)
        assert await probe.numbers(filter=condition) == found

    async def test_search_and_order(self, probe: ProbeV22) -> None:
        """A search finds parts of numbers, names and emails; a list is sorted."""
        numbers = await probe.numbers(search="10", filter="contains(extension_number, '10')")
        assert numbers == [*map(str, range(100, 111)), "210", "310"]
        ordered = await probe.numbers(search="10", orderby="extension_number desc", top=2)
        assert ordered == ["310", "210"]
        reply = await probe.get("/users", orderby="role, display_name desc", top=100)
        names = [row["display_name"] for row in reply.body["items"]]
        assert names == sorted(names, reverse=True)

    async def test_find(self, probe: ProbeV22) -> None:
        """An extension number leads to the id of its user."""
        reply = await probe.get("/extension_numbers/120")
        user = (await probe.get(f"/users/{reply.body['id']}")).body
        assert reply.body == {
            "id": user["id"],
            "extension_number": "120",
            "name": user["display_name"],
            "type": "EXTENSION",
        }
        for number in ("1", "999", "abc", "120%2F"):
            reply = await probe.send("GET", f"/extension_numbers/{number}")
            assert (reply.status, reply.code) == (404, "UNKNOWN")

    @pytest.mark.parametrize("user_id", ["x", "100", "%2e%2e", "NzAwMDAwNjc5NTM1NTU2OTkx%2Fstatus"])
    async def test_unknown_id(self, probe: ProbeV22, user_id: str) -> None:
        """An id that nobody has is not found, whatever it looks like."""
        await probe.login()
        url = f"{probe.sim.url}/api/users/{user_id}"
        bearer = {"Authorization": f"Bearer {probe.token}"}
        async with probe.session.get(URL(url, encoded=True), headers=bearer) as reply:
            assert reply.status == 404
        assert probe.sim.v22.served["users.show"] == 1

    @pytest.mark.parametrize(
        ("status", "shown", "presence", "later"),
        [
            ("ONLINE", "ONLINE", "AVAILABLE", ("ONLINE", "ONLINE")),
            ("RINGING", "ONLINE", "AVAILABLE", ("ONLINE", "RINGING")),
            ("ON_CALL", "ON_CALL", "ON_CALL", ("OTHER_CALL", "OTHER_CALL")),
            ("OFFLINE", "OFFLINE", "OFFLINE", ("OFFLINE", "OFFLINE")),
            ("NEW_VALUE", "NEW_VALUE", "AVAILABLE", ("NEW_VALUE", "ONLINE")),
        ],
    )
    async def test_status(
        self,
        probe: ProbeV22,
        session: aiohttp.ClientSession,
        status: str,
        shown: str,
        presence: str,
        later: tuple[str, str],
    ) -> None:
        """A status has the words of its version, and a phone unless it is offline."""
        probe.sim.set_status("100", status, user_agent="Phone 1")
        body = (await probe.get(f"/users/{probe.sim.v22.user_id('100')}/status")).body
        assert (body["status"], body["presence"], body["presence_note"]) == (shown, presence, "")
        agents = [phone["user_agent"] for phone in body["registration"]]
        assert agents == ([] if status == "OFFLINE" else ["Phone 1"])
        async with PBXSimulator(quirks=["v22_3"]) as sim:
            sim.set_status("100", status)
            user_id = sim.v22.user_id("100")
            newer = ProbeV22(sim, session)
            body = (await newer.get(f"/users/{user_id}/status")).body
            assert (body["status"], body["presence"]) == later
            user = (await newer.get(f"/users/{user_id}")).body
            assert user["extension_password"] == sim.extension("100")["password"]

    async def test_presence(self, probe: ProbeV22, clock: Clock) -> None:
        """A test sets a presence; a status changes by itself over time."""
        probe.sim.set_status("100", "ONLINE", presence="AWAY", presence_note="soon")
        path = f"/users/{probe.sim.v22.user_id('100')}/status"
        body = (await probe.get(path)).body
        assert (body["presence"], body["presence_note"]) == ("AWAY", "soon")
        probe.sim.set_status("100", None)
        seen = set()
        for _ in range(40):
            clock.now += 30.0
            await probe.login()
            seen.add((await probe.get(path)).body["status"])
        assert seen == {"ONLINE", "OFFLINE", "ON_CALL"}

    async def test_own_presence_of_the_administrator(self, probe: ProbeV22) -> None:
        """The administrator has a presence too; a body may be missing."""
        assert (await probe.post("/user/presence", {"presence": "AWAY"})).status == 200
        assert (await probe.post("/user/presence")).status == 200
        assert (await probe.get("/user/status")).body["presence"] == "AWAY"
        assert (await probe.post("/user/presence", {"presence": "ON_CALL"})).status == 400


class TestBodies:
    @pytest.mark.parametrize(
        "path", ["/users/x/destroy", "/auth/sign_out", "/groups/x/members/100"]
    )
    async def test_none_may_be_sent(self, probe: ProbeV22, path: str) -> None:
        """An operation without a documented body refuses one, even an empty object."""
        reply = await probe.post(path, {})
        assert (reply.status, reply.code) == (400, "VALIDATE_FAILED")

    async def test_type(self, probe: ProbeV22) -> None:
        """A body of another type is refused."""
        await probe.login()
        data = json.dumps(NEW_USER).encode()
        for kind, status in (("text/plain", 415), ("application/json; charset=utf-8", 201)):
            reply = await probe.post("/users", data=data, headers={"Content-Type": kind})
            assert reply.status == status

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b'{"name": "\\ud800"}'])
    async def test_not_an_object(self, probe: ProbeV22, body: bytes) -> None:
        """A body must be a JSON object."""
        json_type = {"Content-Type": "application/json"}
        reply = await probe.post("/users", data=body, headers=json_type)
        assert (reply.status, reply.code) == (400, "VALIDATE_FAILED")

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/nothing"),
            ("PUT", "/users"),
            ("GET", "/users/x/y"),
            ("GET", "/users/x/status/"),
        ],
    )
    async def test_unknown_path(
        self, session: aiohttp.ClientSession, method: str, path: str
    ) -> None:
        """There is nothing at any other path."""
        async with PBXSimulator(generations=["v22"]) as sim:
            reply = await ProbeV22(sim, session).send(method, path)
            assert (reply.status, reply.code) == (404, "UNKNOWN")


class TestGroups:
    async def test_create_update_remove(self, probe: ProbeV22) -> None:
        """A group is created, listed, shown, updated and removed, in both generations."""
        callers = [{"provider_id": "p", "caller_id": "+1555", "description": "main"}]
        body = {"name": "Sales", "description": "North", "outbound_caller_ids": callers}
        created = await probe.post("/groups", body)
        assert created.status == 201
        group_id = created.body["id"]
        path = f"/groups/{group_id}"
        assert (await probe.get(path)).body == {"id": group_id, **body}
        assert probe.sim.group(group_id)["group_name"] == "Sales"
        assert (await probe.post(path, {"description": ""}))[:2] == (200, None)
        listed = await probe.get("/groups", search="sales")
        row = {"id": group_id, "name": "Sales", "description": ""}
        assert listed.body == {"count": 1, "items": [row]}
        assert (await probe.get("/groups", filter="name eq 'Sales'")).body["items"] == [row]
        ordered = await probe.get("/groups", orderby="name desc")
        names = [group["name"] for group in ordered.body["items"]]
        assert names == sorted(names, reverse=True)
        assert (await probe.post(f"{path}/destroy")).status == 204
        assert (await probe.get(path)).status == 404
        assert (await probe.post(f"{path}/destroy")).status == 404
        assert group_id not in probe.sim.group_ids

    async def test_members(self, probe: ProbeV22) -> None:
        """Members are added and removed one by one, by number."""
        group_id = (await probe.post("/groups", {"name": "Sales"})).body["id"]
        path = f"/groups/{group_id}/members"
        assert (await probe.get(path)).body == {"items": []}
        for _ in range(2):
            assert (await probe.post(f"{path}/100"))[:2] == (200, None)
        assert (await probe.post(f"{path}/101")).status == 200
        assert (await probe.post(f"{path}/9999")).status == 404
        user = (await probe.get(f"/users/{probe.sim.v22.user_id('100')}")).body
        member = {name: user[name] for name in ("id", "name", "display_name", "extension_number")}
        assert (await probe.get(f"{path}/100")).body == member
        assert (await probe.get(path)).body["items"][0] == member
        assert probe.sim.group(group_id)["members"] == ["100", "101"]
        assert (await probe.post(f"{path}/100/destroy")).status == 204
        assert (await probe.post(f"{path}/100/destroy")).status == 404
        assert (await probe.get(f"{path}/100")).status == 404
        assert probe.sim.group(group_id)["members"] == ["101"]

    async def test_refused(self, probe: ProbeV22) -> None:
        """A group needs a name, and the default group stays."""
        assert (await probe.post("/groups", {"description": "x"})).code == "VALIDATE_FAILED"
        assert (await probe.post("/groups")).code == "VALIDATE_FAILED"
        default = probe.sim.group_ids[-1]
        reply = await probe.post(f"/groups/{default}/destroy")
        assert (reply.status, reply.code) == (400, "DENIED")


class TestFiles:
    async def begin(self, probe: ProbeV22) -> tuple[str, dict[str, str]]:
        reply = await probe.post("/blobs/uploads", params={"filename": "hello.wav"})
        assert (reply.status, reply.body) == (202, None)
        token = {"PortSIP-Upload-Token": reply.headers["PortSIP-Upload-Token"]}
        return f"/blobs/uploads/{reply.headers['PortSIP-Upload-ID']}", token

    async def test_upload_and_greeting(self, probe: ProbeV22) -> None:
        """A file is uploaded in parts, and becomes a greeting, in both generations."""
        path, token = await self.begin(probe)
        for part in (b"RIFF", b"", b"data"):
            reply = await probe.post(f"{path}/append", data=part, headers=token | BINARY)
            assert (reply.status, reply.body) == (203, None)
        status = await probe.get(f"{path}/status")
        assert (status.status, status.headers["Range"]) == (204, "0-7")
        digest = sha256(b"RIFFdata").hexdigest()
        reply = await probe.post(f"{path}/complete", params={"digest": digest}, headers=token)
        assert reply.status == 201
        assert probe.sim.v22.uploads == {}
        file_id = reply.body["id"]
        assert probe.sim.v22.files[file_id].sha256 == digest
        downloaded = await probe.send("GET", f"/blobs/{digest}")
        assert (downloaded.status, downloaded.body) == (200, b"RIFFdata")
        assert downloaded.headers["Content-Disposition"] == 'attachment; filename="hello.wav"'
        greetings = f"/users/{probe.sim.v22.user_id('100')}/greetings"
        first, second = [await probe.post(greetings, {"file_id": file_id}) for _ in range(2)]
        assert (first.status, second.status) == (201, 201)
        assert first.body != second.body
        row = {
            "id": first.body["id"],
            "enabled": False,
            "file_name": "hello.wav",
            "file_size": 8,
            "file_url": f"/api/blobs/{digest}",
        }
        listed = (await probe.get(greetings)).body
        assert listed == {"items": [row, row | {"id": second.body["id"]}]}
        for verb, enabled in (("enable", True), ("disable", False)):
            reply = await probe.post(f"{greetings}/{first.body['id']}/{verb}")
            assert reply[:2] == (200, None)
            assert (await probe.get(greetings)).body["items"][0] == row | {"enabled": enabled}
        stored = Greeting("hello.wav", 8, digest)
        assert list(probe.sim.greetings("100").values()) == [stored, stored]
        for greeting in (first, second):
            assert (await probe.post(f"{greetings}/{greeting.body['id']}/destroy")).status == 204
        assert (await probe.post(f"{greetings}/{first.body['id']}/enable")).status == 404
        assert (await probe.post(greetings, {"file_id": "x"})).code == "VALIDATE_FAILED"
        assert (await probe.post(greetings)).code == "VALIDATE_FAILED"

    async def test_refused(self, probe: ProbeV22) -> None:
        """Another token, another type or another digest is refused; the upload stays."""
        path, token = await self.begin(probe)
        wrong = {"PortSIP-Upload-Token": "x"}
        append, complete = f"{path}/append", f"{path}/complete"
        assert (await probe.post(append, data=b"x", headers=BINARY)).status == 403
        assert (await probe.post(append, data=b"x", headers=wrong | BINARY)).status == 403
        assert (await probe.post(append, {"x": 1}, headers=token)).status == 415
        assert (await probe.post(append, data=b"x", headers=token | BINARY)).status == 203
        assert (await probe.post(complete, headers=wrong)).status == 403
        digest = {"digest": sha256(b"y").hexdigest()}
        reply = await probe.post(complete, params=digest, headers=token)
        assert reply.code == "VALIDATE_FAILED"
        (upload,) = probe.sim.v22.uploads.values()
        assert upload.size == 1
        assert (await probe.post(f"{path}/destroy")).status == 204
        for call in (f"{path}/destroy", append, complete):
            headers = token | BINARY if call is append else token
            assert (await probe.post(call, headers=headers)).status == 404
        assert (await probe.get(f"{path}/status")).status == 404
        assert (await probe.send("GET", f"/blobs/{digest['digest']}")).status == 404

    async def test_large_upload_takes_no_memory(self, probe: ProbeV22) -> None:
        """The content of a large file is hashed on the way, and not kept."""
        chunk = b"x" * 2**20

        async def content() -> AsyncIterator[bytes]:
            for _ in range(40):
                yield chunk

        path, token = await self.begin(probe)
        tracemalloc.start()
        try:
            reply = await probe.post(f"{path}/append", data=content(), headers=token | BINARY)
            assert reply.status == 203
            assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
        finally:
            tracemalloc.stop()
        digest = sha256(chunk * 40).hexdigest()
        reply = await probe.post(f"{path}/complete", params={"digest": digest}, headers=token)
        assert reply.status == 201
        assert (await probe.send("GET", f"/blobs/{digest}")).status == 404


class TestCalls:
    async def test_create_list_hang_up(self, probe: ProbeV22, clock: Clock) -> None:
        """A call is a session until it is hung up, whichever generation placed it."""
        clock.now += 5.0
        created = await probe.post("/sessions", CALL)
        assert created.status == 201
        query = {
            "extension_number": "101",
            "password": "x",
            "domain": "test.io",
            "caller": "101",
            "callee": "202",
            "send_sdp": "true",
        }
        direct = await probe.session.get(f"{probe.sim.url}/api/sessions/directly", params=query)
        assert direct.status == 201
        assert [(call.extension, call.to, call.at) for call in probe.sim.calls] == [
            ("100", "200", 5.0),
            ("101", "202", 5.0),
        ]
        classic = Probe(probe.sim, probe.session)
        query = {"extension": "102", "to": "203", "auth": "x", "domain": "d", "src": "s"}
        assert (await classic.get("/extensions/call", **query)).status == 200
        clock.now += 2.0
        listed = await probe.get("/sessions")
        assert (listed.status, listed.body["count"]) == (201, 3)
        path = f"/sessions/{created.body['id']}"
        shown = await probe.get(path)
        assert (shown.status, shown.body) == (200, listed.body["items"][0])
        (leg,) = shown.body["calls"]
        assert (leg["caller"], leg["callee"], leg["talking_time"]) == ("100", "200", 2)
        assert (await probe.post(f"{path}/destroy")).status == 204
        assert (await probe.post(f"{path}/destroy")).status == 404
        assert (await probe.get(path)).status == 404
        assert (await probe.get("/sessions")).body["count"] == 2

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({"caller": "9999"}, 404),
            ({"send_sdp": "yes"}, 400),
            ({"trunk": ""}, 400),
            ({"additional_header": "OTHER"}, 400),
        ],
    )
    async def test_refused(self, probe: ProbeV22, change: dict[str, Any], status: int) -> None:
        """An unknown caller or an invalid field is refused."""
        assert (await probe.post("/sessions", CALL | change)).status == status
        assert (await probe.post("/sessions", {"caller": "100", "callee": "200"})).status == 400
        assert probe.sim.calls == []


class TestFaults:
    async def test_script(self, probe: ProbeV22) -> None:
        """A script applies to its operation, with the errors of v22."""
        v22 = probe.sim.v22
        v22.fail("users.find", status=503, times=2, retry_after=3)
        v22.fail("users.find", err_code="DENIED", msg="no")
        for _ in range(2):
            reply = await probe.get("/extension_numbers/100")
            assert (reply.status, reply.code) == (503, "UNKNOWN")
            assert reply.headers["Retry-After"] == "3"
        reply = await probe.get("/extension_numbers/100")
        assert (reply.status, reply.body) == (
            403,
            {"errors": [{"code": "DENIED", "message": "no"}]},
        )
        assert (await probe.get("/extension_numbers/100")).status == 200
        assert v22.injected == {"scripted": 3}
        assert (v22.served["users.find"], v22.acted["users.find"]) == (4, 1)
        v22.fail("users.find", times=None)
        v22.clear("users.find")
        assert (await probe.get("/extension_numbers/100")).status == 200
        assert not probe.sim.injected

    async def test_acts_and_drops(self, probe: ProbeV22) -> None:
        """A reply can be lost after the operation was carried out."""
        probe.sim.v22.fail("users.create", drop=True, act=True)
        with pytest.raises(aiohttp.ClientConnectionError):
            await probe.post("/users", NEW_USER)
        assert "9510" in probe.sim.extension_numbers
        probe.sim.v22.fail("users.list", truncate=True)
        with pytest.raises(aiohttp.ClientPayloadError):
            await probe.get("/users")

    async def test_rows_of_one_path(self, probe: ProbeV22) -> None:
        """Operations at one path have scripts of their own."""
        probe.sim.v22.fail("auth.form_refresh")
        login = {"username": probe.sim.username, "password": probe.sim.password}
        form = {"grant_type": "password", "client_id": "9d806019-75b2-4b3d-bb8b-f5a3a412cc0a"}
        assert (await probe.form(**form, **login)).status == 200
        refresh = {"grant_type": "refresh_token", "refresh_token": probe.refresh_token}
        assert (await probe.form(**refresh)).status == 503
        assert (await probe.form(**refresh)).status == 200
        assert probe.sim.v22.refresh_tokens.most_common(1)[0][1] == 1

    @pytest.mark.parametrize(
        ("faults", "kind", "status"),
        [
            (Faults(rate_limited=1), "rate_limited", 429),
            (Faults(html=1), "html", 502),
            (Faults(revoked=1), "revoked", 401),
        ],
    )
    async def test_rates(self, probe: ProbeV22, faults: Faults, kind: str, status: int) -> None:
        """Random faults apply to v22 too."""
        await probe.login()
        probe.sim.faults = faults
        reply = await probe.get("/users")
        assert reply.status == status
        assert probe.sim.v22.injected == {kind: 1}
        if kind != "html":
            assert reply.code == ("UNKNOWN" if status == 429 else "UNAUTHORIZED")

    async def test_overload(self, probe: ProbeV22) -> None:
        """Requests of both generations count towards the limit of concurrent ones."""
        await probe.login()
        probe.sim.max_in_flight = 1
        probe.sim.v22.fail("users.list", latency=0.2)
        first = asyncio.create_task(probe.get("/users"))
        await until(lambda: probe.sim.v22.served["users.list"])
        reply = await probe.get("/users")
        assert (reply.status, reply.code) == (429, "UNKNOWN")
        assert (await first).status == 200
        assert probe.sim.v22.injected["overload"] == 1

    @pytest.mark.parametrize("operation", ["extensions.show", "users.fly", ""])
    def test_unknown_row(self, operation: str) -> None:
        """Only rows of v22 fail here."""
        for act in (PBXSimulator().v22.fail, PBXSimulator().v22.clear):
            with pytest.raises(ValueError, match="operation must be the name of a row"):
                act(operation or "x")

    async def test_internal_error(
        self, probe: ProbeV22, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An error inside the simulator is a 500, and only its type is logged."""
        monkeypatch.delattr(probe.sim._pbx, "extras")
        reply = await probe.get("/users")
        assert (reply.status, reply.code) == (500, "UNKNOWN")
        assert "AttributeError" in caplog.text
        assert probe.token not in caplog.text


class TestQuirks:
    async def test_echo(self, session: aiohttp.ClientSession) -> None:
        """A PBX may repeat whole requests in its errors."""
        async with PBXSimulator(quirks=["echo"]) as sim:
            probe = ProbeV22(sim, session)
            await probe.login()
            body = NEW_USER | {"extension_number": "100"}
            (error,) = (await probe.post("/users", body)).body["errors"]
            assert NEW_USER["extension_password"] in error["message"]
            assert error["detail"]["body"] == body
            assert probe.token in error["detail"]["headers"]["Authorization"]

    async def test_update_replaces(self, session: aiohttp.ClientSession) -> None:
        """An update may reset whatever it leaves out."""
        async with PBXSimulator(quirks=["update_replaces"]) as sim:
            probe = ProbeV22(sim, session)
            path = f"/users/{sim.v22.user_id('100')}"
            before = (await probe.get(path)).body
            await probe.post(path, {"sms": "ALLOW"})
            after = (await probe.get(path)).body
            assert after["sms"] == "ALLOW"
            assert (after["email"], after["display_name"], after["department"]) == ("", "", "")
            assert (after["name"], after["id"]) == (before["name"], before["id"])
            await probe.post(path, before)
            assert (await probe.get(path)).body == before

    @pytest.mark.parametrize(
        ("quirk", "path", "found"),
        [
            ("unknown_fields", "/groups", "x_unknown"),
            ("nulls", "/users", None),
            ("absent_fields", "/users", None),
        ],
    )
    async def test_general_quirks(
        self, session: aiohttp.ClientSession, quirk: str, path: str, found: str | None
    ) -> None:
        """Quirks of replies apply to both generations."""
        async with PBXSimulator(quirks=[quirk]) as sim:
            row = (await ProbeV22(sim, session).get(path)).body["items"][0]
            if found:
                assert found in row
            else:
                assert row["id"]
                assert row.get("email") is None

    async def test_error_in_200(self, session: aiohttp.ClientSession) -> None:
        """An error may come with status 200."""
        async with PBXSimulator(quirks=["error_in_200"]) as sim:
            reply = await ProbeV22(sim, session).get("/users/x")
            assert (reply.status, reply.code) == (200, "UNKNOWN")


async def test_unchanged_users_take_no_memory(session: aiohttp.ClientSession) -> None:
    """100,000 users take almost no memory until they are changed."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        sim = PBXSimulator(extensions=100_000)
        assert tracemalloc.get_traced_memory()[0] - before < 400_000
    finally:
        tracemalloc.stop()
    async with sim:
        probe = ProbeV22(sim, session)
        reply = await probe.get("/users", skip=99_990)
        assert (reply.body["count"], len(reply.body["items"])) == (100_000, 10)
        assert (await probe.get("/extension_numbers/100099")).body["id"] == sim.v22.user_id(
            "100099"
        )
        ids = {sim.v22.user_id(number) for number in sim.extension_numbers}
        assert len(ids) == 100_000
