"""Logins: which replies refuse a login, which come from a proxy, and what the client then does."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from portsip_async import (
    APIError,
    AuthenticationError,
    BadRequest,
    Conflict,
    EmailCredentials,
    Endpoint,
    NewExtension,
    NotFound,
    PermissionDenied,
    PortSIPClient,
    PortSIPError,
    RateLimited,
    RetryPolicy,
    ServerError,
    Token,
)

from .wire_server import TOKEN, Arrival, WireServer, hang_up, reply

ONCE = RetryPolicy(attempts=1)
PASSWORD = "hunter2-long"
LOGIN, MAIL, REFRESH = "/login", "/mail", "/renewal"
# Paths for which the wire server has no built-in replies.
ROWS: Any = {
    "account.verify": {"path": LOGIN},
    "account.verify_email": {"path": MAIL},
    "account.refresh": {"path": REFRESH},
}
GOOD = reply({"access_token": TOKEN, "expires": 600})
JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html; charset=utf-8"}

# Bodies that the API may send with an error, and bodies that it never sends.
OURS: dict[str, tuple[bytes, dict[str, str]]] = {
    "empty": (b"", {}),
    "blank": (b" \r\n", HTML),
    "byte order mark": (b"\xef\xbb\xbf", JSON),
    "object": (b'{"msg": "no"}', JSON),
    "object after a byte order mark": (b'\xef\xbb\xbf{"msg": "no"}', JSON),
    "object in latin-1": (b'{"msg": "falsches Pa\xdfwort"}', JSON),
    "object labelled as a page": (b' {"msg": "no"}\n', HTML),
    "bare object": (b"{}", JSON),
    "null": (b"null", JSON),
    "text": (b'"no"', JSON),
    "array": (b"[]", JSON),
    "number": (b"401", JSON),
}
PAGES: dict[str, tuple[bytes, dict[str, str]]] = {
    "page": (b"<!DOCTYPE html><html><h1>Starting up</h1></html>", HTML),
    "page labelled as JSON": (b"<html>Forbidden</html>", JSON),
    "page in latin-1": (b"<html>Verboten f\xfcr alle</html>", HTML),
    "plain text": (b"Forbidden", {"Content-Type": "text/plain"}),
    "cut object": (b'{"err_code": 401.2, "msg": "wro', JSON),
    "object and more": (b'{"msg": "no"} -->', JSON),
    "bytes": (b"\x00\x01\x02\xff", {}),
}
BODIES = OURS | PAGES


def make_reply(status: int, body: str, err_code: object = None) -> bytes:
    if err_code is not None:
        return reply({"err_code": err_code, "msg": "no"}, status)
    content, headers = BODIES[body]
    return reply(content, status, headers)


def scripted(wire: WireServer, **replies: list[bytes]) -> list[str]:
    """Reply by path, repeating the last reply of each path. Return the paths that arrived."""
    arrived: list[str] = []
    script = {LOGIN: [GOOD], MAIL: [GOOD], REFRESH: [GOOD]} | {
        f"/{name}": list(steps) for name, steps in replies.items()
    }

    async def step(arrival: Arrival, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = arrival.path.removeprefix("/api")
        arrived.append(path)
        steps = script.get(path, [reply({"extension_number": "101"})])
        writer.write(steps.pop(0) if len(steps) > 1 else steps[0])
        await writer.drain()

    wire.script = [step]
    return arrived


Make = Callable[..., PortSIPClient]


@pytest.fixture
def make(wire: WireServer, make_client: Make) -> Make:
    def made(**options: Any) -> PortSIPClient:
        options = {"retry": ONCE, "endpoints": ROWS, "username": "admin", "password": PASSWORD} | (
            options
        )
        if options.keys() & {"credentials", "token"}:
            del options["username"], options["password"]
        return make_client(wire.url, **options)

    return made


Case = tuple[int, str, object, type[APIError], bool]
CASES: list[Case] = [
    *(
        (status, body, None, AuthenticationError, True)
        for status in (400, 401, 403)
        for body in OURS
    ),
    *((400, body, None, BadRequest, False) for body in PAGES),
    *((401, body, None, APIError, False) for body in PAGES),
    *((403, body, None, PermissionDenied, False) for body in PAGES),
    *((404, body, None, NotFound, False) for body in ("empty", "object", "page")),
    *((405, body, None, APIError, False) for body in ("empty", "object", "page")),
    *((410, body, None, APIError, False) for body in ("empty", "object", "page")),
    *((409, body, None, Conflict, False) for body in ("empty", "object", "page")),
    *((422, body, None, BadRequest, False) for body in ("empty", "object", "page")),
    *((423, body, None, APIError, False) for body in ("empty", "object", "page")),
    *((407, body, None, APIError, False) for body in ("empty", "page")),
    *((408, body, None, APIError, False) for body in ("empty", "object", "page")),
    *((429, body, None, RateLimited, False) for body in ("empty", "object", "page")),
    *((302, body, None, APIError, False) for body in ("empty", "object", "page")),
    *((500, body, None, ServerError, False) for body in ("empty", "object", "page")),
    *((503, body, None, ServerError, False) for body in ("empty", "object", "page")),
    # The err_code takes precedence over the status.
    *(
        (status, "", code, AuthenticationError, True)
        for status in (200, 400, 401, 403, 404, 409, 500)
        for code in (401.1, "401.2", 403.4)
    ),
    *(
        (status, "", code, AuthenticationError, True)
        for status in (200, 400, 403)
        for code in (400.1, "400.2", 403.1)
    ),
    (400, "", 404.1, AuthenticationError, True),
    (200, "", 404.1, NotFound, False),
    (404, "", 404.1, NotFound, False),
    (400, "", 404.2, NotFound, False),
    (404, "", "404.2", NotFound, False),
    (404, "", 403.1, PermissionDenied, False),
    (409, "", 403.3, Conflict, False),
    (403, "", 403.5, RateLimited, False),
    (400, "", "500", ServerError, False),
    (200, "", 503, ServerError, False),
]


def case_id(case: Case) -> str:
    status, body, code, kind, _ = case
    return f"{status} {body or code}: {kind.__name__}"


async def failing(pbx: PortSIPClient) -> APIError:
    with pytest.raises(APIError) as caught:
        await pbx.extensions.show("101")
    return caught.value


@pytest.mark.parametrize("case", CASES, ids=case_id)
async def test_only_the_api_refuses_a_login(wire: WireServer, make: Make, case: Case) -> None:
    """Only replies that are empty or JSON, with 400, 401, 403 or such an err_code, count."""
    status, body, code, kind, remembered = case
    arrived = scripted(wire, login=[make_reply(status, body, code)])
    pbx = make()
    error = await failing(pbx)
    assert type(error) is kind
    assert (error.status, error.err_code, error.operation) == (status, code, "account.verify")
    assert PASSWORD not in str(error)
    assert type(await failing(pbx)) is kind
    assert arrived == [LOGIN] * (1 if remembered else 2)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case[1] in ("", "object", "page")], ids=case_id
)
@pytest.mark.parametrize("by_mail", [False, True], ids=["verify", "verify_email"])
async def test_account_calls_raise_the_same_errors(
    wire: WireServer, make: Make, case: Case, by_mail: bool
) -> None:
    """`account.verify` and `verify_email` raise the same errors as the client's login."""
    status, body, code, kind, _ = case
    step = make_reply(status, body, code)
    scripted(wire, login=[step], mail=[step])
    pbx = make()
    check = pbx.account.verify_email if by_mail else pbx.account.verify
    with pytest.raises(APIError) as caught:
        await check("ann@example.com", PASSWORD)
    assert type(caught.value) is kind
    assert caught.value.operation == ("account.verify_email" if by_mail else "account.verify")


@pytest.mark.parametrize("status", [404, 405, 410])
@pytest.mark.parametrize("body", ["empty", "object", "page"])
@pytest.mark.parametrize("way", ["call", "refresh", "verify", "verify_email", "email"])
async def test_missing_login_endpoint_is_reported(
    wire: WireServer, make: Make, status: int, body: str, way: str
) -> None:
    """The error names the address, and does not blame the password."""
    step = make_reply(status, body)
    scripted(wire, login=[step], mail=[step])
    pbx = make(**({"credentials": EmailCredentials("a@b.de", PASSWORD)} if way == "email" else {}))
    calls: dict[str, Callable[[], Any]] = {
        "refresh": pbx.account.refresh,
        "verify": lambda: pbx.account.verify("admin", PASSWORD),
        "verify_email": lambda: pbx.account.verify_email("a@b.de", PASSWORD),
    }
    with pytest.raises(NotFound if status == 404 else APIError) as caught:
        await calls.get(way, lambda: pbx.extensions.show("101"))()
    assert not isinstance(caught.value, AuthenticationError)
    assert f"no PortSIP API of this generation at {wire.url}/api" in str(caught.value)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("body", PAGES)
@pytest.mark.parametrize("status", [401, 403, 404])
async def test_page_at_a_login_is_not_remembered(
    wire: WireServer, make: Make, status: int, body: str
) -> None:
    """When the page is gone, the next call logs in."""
    arrived = scripted(wire, login=[make_reply(status, body), GOOD])
    pbx = make()
    assert (await failing(pbx)).is_page
    assert (await pbx.extensions.show("101")).extension_number == "101"
    assert arrived == [LOGIN, LOGIN, "/extensions/show"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 422])
@pytest.mark.parametrize("body", ["empty", "object", "page"])
async def test_failed_refresh_leads_to_one_login(
    wire: WireServer, make: Make, status: int, body: str
) -> None:
    """The refresh is refused, missing, or gets a page. Then the client logs in."""
    arrived = scripted(wire, renewal=[make_reply(status, body)])
    pbx = make()
    await pbx.account.refresh()
    await pbx.account.refresh()
    assert arrived == [LOGIN, REFRESH, LOGIN]


@pytest.mark.parametrize(
    ("status", "body", "kind", "remembered"),
    [
        (400, "object", AuthenticationError, True),
        (401, "empty", AuthenticationError, True),
        (403, "object", AuthenticationError, True),
        (401, "page", APIError, False),
        (403, "page", PermissionDenied, False),
        (404, "page", NotFound, False),
        (405, "object", APIError, False),
    ],
)
async def test_refresh_of_a_given_token(
    wire: WireServer, make: Make, status: int, body: str, kind: type[APIError], remembered: bool
) -> None:
    """Without credentials, too, a page doesn't count as a refusal."""
    dead = Endpoint("x.dead", "GET", "/dead", reply=dict[str, Any])
    arrived = scripted(wire, renewal=[make_reply(status, body)], dead=[make_reply(401, "object")])
    pbx = make(token=TOKEN)
    for _ in range(2):
        with pytest.raises(APIError) as caught:
            await pbx.request(dead)
        assert type(caught.value) is kind
    assert arrived == ["/dead", REFRESH] + ([] if remembered else [REFRESH])


STATUSES = reply({"extension_status": [{"extension_number": "101"}, {"extension_number": "102"}]})


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, "page"),
        (401, "page"),
        (403, "page"),
        (404, "page"),
        (404, "object"),
        (405, "empty"),
        (409, "object"),
        (410, "page"),
        (423, "object"),
    ],
)
@pytest.mark.parametrize("given", [True, False], ids=["numbers", "discovery"])
async def test_watch_survives_a_login_that_fails_without_a_refusal(
    wire: WireServer, make: Make, status: int, body: str, given: bool
) -> None:
    """The cycle fails as a whole and is counted. The next one finds all numbers."""
    wrong = make_reply(status, body)
    listed = {"extensions": [{"extension_number": "101"}, {"extension_number": "102"}]}
    scripted(
        wire,
        login=[wrong, wrong, wrong, GOOD],
        **{
            "extensions/status": [STATUSES],
            "extensions/list": [reply({**listed, "page_count": 1})],
        },
    )
    watch = make().extensions.watch_status(["101", "102"] if given else None, interval=0.01)
    found = set()
    async with asyncio.timeout(5), watch:
        async for change in watch:
            found.add(change.extension_number)
            if len(found) == 2:
                break
    assert watch.stats.failures == 3


@pytest.mark.parametrize("given", [True, False], ids=["numbers", "discovery"])
async def test_watch_survives_a_page_that_rejects_its_token(
    wire: WireServer, make: Make, given: bool
) -> None:
    """A page with 401 comes from a proxy, so the watch goes on."""
    wrong = make_reply(401, "page")
    page = {"extensions": [{"extension_number": "101"}], "page_count": 1}
    row = "extensions/status" if given else "extensions/list"
    good = {
        "extensions/status": [reply({"extension_status": [{"extension_number": "101"}]})],
        "extensions/list": [reply(page)],
    }
    scripted(wire, **{**good, row: [wrong] * 8 + good[row]})
    watch = make().extensions.watch_status(["101"] if given else None, interval=0.01)
    async with asyncio.timeout(5), watch:
        async for change in watch:
            assert change.extension_number == "101"
            break
    assert watch.stats.failures == 4


async def test_page_that_rejects_every_token_is_marked(wire: WireServer, make: Make) -> None:
    scripted(wire, **{"extensions/show": [make_reply(401, "page")]})
    error = await failing(make())
    assert (type(error), error.status, error.is_page) == (AuthenticationError, 401, True)


@pytest.mark.parametrize("raised", [OSError("vault"), TimeoutError(), KeyError("k"), TypeError()])
@pytest.mark.parametrize("given", [True, False], ids=["numbers", "discovery"])
async def test_watch_survives_exceptions_of_fetch_token(
    wire: WireServer, make: Make, given: bool, raised: Exception
) -> None:
    """Exceptions of the application count as failures. Calls raise them unchanged."""

    class Vault:
        fetched = 0

        async def fetch_token(self) -> Token:
            self.fetched += 1
            if self.fetched <= 3:
                raise raised
            return Token(TOKEN)

    page = {"extensions": [{"extension_number": "101"}], "page_count": 1}
    statuses = {"extension_status": [{"extension_number": "101"}]}
    scripted(wire, **{"extensions/status": [reply(statuses)], "extensions/list": [reply(page)]})
    pbx = make(credentials=Vault())
    with pytest.raises(type(raised)):
        await pbx.extensions.show("101")
    watch = pbx.extensions.watch_status(["101"] if given else None, interval=0.01)
    async with asyncio.timeout(5), watch:
        async for change in watch:
            assert change.extension_number == "101"
            break
    assert watch.stats.failures == 2
    assert type(raised).__name__ in str(watch.stats.last_error)
    assert "vault" not in str(watch.stats.last_error)


async def test_watch_survives_a_fetch_token_without_a_token(wire: WireServer, make: Make) -> None:
    """A wrong return value counts as an exception of the application, too."""

    class Vault:
        fetched = 0

        async def fetch_token(self) -> Any:
            self.fetched += 1
            wrong: Any = 7
            return [None, "secret", Token(wrong), Token(TOKEN)][min(self.fetched, 4) - 1]

    statuses = {"extension_status": [{"extension_number": "101"}]}
    scripted(wire, **{"extensions/status": [reply(statuses)]})
    watch = make(credentials=Vault()).extensions.watch_status(["101"], interval=0.01)
    async with asyncio.timeout(5), watch:
        async for _ in watch:
            break
    assert watch.stats.failures == 3
    assert str(watch.stats.last_error) == "fetching a token raised TypeError"


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_watch_ends_with_a_refused_login(wire: WireServer, make: Make, status: int) -> None:
    scripted(wire, login=[make_reply(status, "object")])
    with pytest.raises(AuthenticationError):
        async for _ in make().extensions.watch_status(["101"], interval=0.01):
            pass


@pytest.mark.parametrize(
    ("status", "body"), [(400, "page"), (404, "object"), (404, "page"), (422, "object")]
)
async def test_failed_login_splits_no_batch(
    wire: WireServer, make: Make, status: int, body: str
) -> None:
    """A batch is not split if the client can't log in."""
    arrived = scripted(wire, login=[make_reply(status, body)])
    poll = make().extensions.poll_status([str(number) for number in range(100)])
    results = [result async for result in poll]
    assert len(results) == 100
    assert {getattr(result.error, "operation", "") for result in results} == {"account.verify"}
    assert (arrived, poll.stats.splits) == ([LOGIN], 0)


async def test_not_found_at_a_login_is_not_a_successful_removal(
    wire: WireServer, make_client: Make
) -> None:
    """After a lost reply and a rejected token, a 404 at the login leaves the removal in doubt."""
    removals = 0
    scripted(wire)
    by_path = wire.script[0]

    async def step(
        arrival: Arrival, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        nonlocal removals
        if not arrival.path.endswith("/destroy"):
            assert callable(by_path)
            await by_path(arrival, reader, writer)
            return
        removals += 1
        if removals == 1:
            await hang_up(arrival, reader, writer)
            return
        scripted(wire, login=[make_reply(404, "page")], renewal=[make_reply(404, "page")])
        writer.write(make_reply(401, "object"))
        await writer.drain()

    wire.script = [step]
    pbx = make_client(wire.url, username="admin", password=PASSWORD, endpoints=ROWS)
    with pytest.raises(NotFound) as caught:
        await pbx.extensions.remove("101")
    assert caught.value.may_have_acted
    assert caught.value.operation == "account.verify"


@pytest.mark.parametrize("status", [404, 409])
async def test_error_of_a_login_neither_skips_nor_settles(
    wire: WireServer, make: Make, status: int
) -> None:
    """404 and 409 at a login say nothing about an item of a bulk run."""
    scripted(wire, login=[make_reply(status, "object")])
    item = NewExtension(extension_number="9", password="long-pw-1", web_access_password="long-pw-2")
    pbx = make()
    (created,) = [each async for each in pbx.extensions.create_many([item], if_exists="skip")]
    (removed,) = [each async for each in pbx.extensions.remove_many(["9"], if_missing="skip")]
    for result in (created, removed):
        assert isinstance(result.error, APIError)
        assert (result.skipped, result.settled) == (False, False)


@pytest.mark.parametrize("row", ["create", "remove"])
async def test_read_back_that_cannot_log_in_settles_nothing(
    wire: WireServer, make: Make, row: str
) -> None:
    """The reply to a write is lost, and the client can't log in to read back: it is in doubt."""
    replies = {
        "extensions/create": [b""],
        "extensions/destroy": [b""],
        "extensions/show": [make_reply(401, "object")],
        "renewal": [make_reply(404, "page")],
        "login": [GOOD, make_reply(404, "page")],
    }
    scripted(wire, **replies)
    item = NewExtension(extension_number="9", password="long-pw-1", web_access_password="long-pw-2")
    many = make().extensions
    run: Any = many.create_many([item]) if row == "create" else many.remove_many(["9"])
    (result,) = [each async for each in run]
    assert isinstance(result.error, PortSIPError)
    assert not result.settled
    assert run.in_doubt == ["9"]


@pytest.mark.parametrize("row", ["create", "remove"])
async def test_read_back_that_gets_a_page_settles_nothing(
    wire: WireServer, make: Make, row: str
) -> None:
    """A page with status 404 doesn't mean that the extension doesn't exist."""
    replies = {
        "extensions/create": [b""],
        "extensions/destroy": [b""],
        "extensions/show": [make_reply(404, "page")],
    }
    scripted(wire, **replies)
    item = NewExtension(extension_number="9", password="long-pw-1", web_access_password="long-pw-2")
    many = make().extensions
    run: Any = many.create_many([item]) if row == "create" else many.remove_many(["9"])
    (result,) = [each async for each in run]
    assert isinstance(result.error, PortSIPError)
    assert not result.settled
    assert run.in_doubt == ["9"]


@pytest.mark.parametrize(
    "body",
    [make_reply(404, "page"), make_reply(404, "", 404.2)],
    ids=["page", "no-such-address"],
)
async def test_wrong_address_of_a_removal_is_not_skipped(
    wire: WireServer, make: Make, body: bytes
) -> None:
    """Only the PBX itself can say that an extension doesn't exist."""
    scripted(wire, **{"extensions/destroy": [body]})
    run = make().extensions.remove_many(["9"], if_missing="skip")
    (result,) = [each async for each in run]
    assert (type(result.error), result.skipped) == (NotFound, False)


async def test_page_with_status_409_is_not_skipped(wire: WireServer, make: Make) -> None:
    scripted(wire, **{"extensions/create": [make_reply(409, "page")]})
    item = NewExtension(extension_number="9", password="long-pw-1", web_access_password="long-pw-2")
    run = make().extensions.create_many([item], if_exists="skip")
    (result,) = [each async for each in run]
    assert (type(result.error), result.skipped) == (Conflict, False)
