"""The client of generation v22: its arguments, its environment, its views and requests."""

from typing import Any

import pytest

from portsip_async import ClientClosed, ConfigurationError, Endpoint, RetryPolicy
from portsip_async.v22 import PortSIPClient, ServerInfo, SignIn, Tokens

from ..wire_server import WireServer, reply

URL = "https://pbx.example.com:8887"
LOGIN: Any = {"username": "admin", "password": "secret-1"}
VARIABLES = (
    "URL",
    "USERNAME",
    "PASSWORD",
    "DOMAIN",
    "EMAIL",
    "TOKEN",
    "REFRESH_TOKEN",
    "ALLOW_HTTP",
    "CA_FILE",
)


def test_base_url_gets_the_path_of_the_api() -> None:
    """The URL is completed as in the classic client, and the repr shows nothing else."""
    client = PortSIPClient(URL, **LOGIN, domain="test.io")
    assert repr(client) == f"<PortSIPClient {URL}/api>"


@pytest.mark.parametrize(
    "login",
    [
        LOGIN,
        {**LOGIN, "domain": "test.io"},
        {"credentials": SignIn("admin", "secret-1")},
        {"credentials": SignIn("admin", "secret-1", "test.io")},
        {"credentials": Tokens("T")},
        {"credentials": Tokens("T", "R")},
        {"token": "T"},
        {"token": "T", "refresh_token": "R"},
    ],
)
def test_ways_to_log_in(login: dict[str, Any]) -> None:
    assert PortSIPClient(URL, **login)


@pytest.mark.parametrize(
    "login",
    [
        {},
        {"username": "admin"},
        {"password": "secret-1"},
        {"username": "admin", "password": ""},
        {"domain": "test.io"},
        {**LOGIN, "domain": ""},
        {**LOGIN, "token": "T"},
        {**LOGIN, "refresh_token": "R"},
        {**LOGIN, "credentials": Tokens("T")},
        {"token": "T", "domain": "test.io"},
        {"token": ""},
        {"refresh_token": "R"},
        {"token": "T", "refresh_token": ""},
        {"credentials": SignIn("admin", "secret-1"), "domain": "test.io"},
        {"credentials": Tokens("T"), "refresh_token": "R"},
        {"credentials": object()},
    ],
)
def test_other_ways_are_refused(login: dict[str, Any]) -> None:
    """A domain belongs to a user name and password, and a refresh token to a token."""
    with pytest.raises(ConfigurationError) as caught:
        PortSIPClient(URL, **login)
    assert "secret-1" not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("timeout", "3"),
        ("retry", 3),
        ("max_connections", 0),
        ("requests_per_second", 0),
        ("max_reply_bytes", 0),
        ("session", "s"),
        ("ssl", 3),
        ("proxy", 3),
        ("user_agent", "a\nb"),
        ("on_attempt", 3),
        ("endpoints", {"extensions.show": {"method": "GET"}}),  # of the classic table
    ],
)
def test_options_are_checked(option: str, value: Any) -> None:
    """The options of the classic client are checked here, too."""
    with pytest.raises((TypeError, ValueError, ConfigurationError)):
        PortSIPClient(URL, **LOGIN, **{option: value})


class TestFromEnv:
    @pytest.fixture(autouse=True)
    def environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in VARIABLES:
            monkeypatch.delenv(f"PORTSIP_{name}", raising=False)
        monkeypatch.setenv("PORTSIP_URL", URL)

    @pytest.mark.parametrize(
        ("variables", "passed", "expected"),
        [
            # Nothing is passed: all variables count.
            (
                {"USERNAME": "u", "PASSWORD": "p"},
                {},
                {"username": "u", "password": "p"},
            ),
            (
                {"USERNAME": "u", "PASSWORD": "p", "DOMAIN": "d"},
                {},
                {"username": "u", "password": "p", "domain": "d"},
            ),
            ({"TOKEN": "t"}, {}, {"token": "t"}),
            (
                {"TOKEN": "t", "REFRESH_TOKEN": "r"},
                {},
                {"token": "t", "refresh_token": "r"},
            ),
            # A part of a way to log in is passed: the rest of that way counts.
            (
                {"USERNAME": "u", "DOMAIN": "d", "TOKEN": "t"},
                {"password": "p2"},
                {"username": "u", "password": "p2", "domain": "d"},
            ),
            (
                {"USERNAME": "u", "PASSWORD": "p", "DOMAIN": "d"},
                {"domain": "d2"},
                {"username": "u", "password": "p", "domain": "d2"},
            ),
            (
                {"TOKEN": "t", "REFRESH_TOKEN": "r", "USERNAME": "u"},
                {"refresh_token": "r2"},
                {"token": "t", "refresh_token": "r2"},
            ),
            # A whole way is passed: no variable counts.
            (
                {"USERNAME": "u", "PASSWORD": "p", "DOMAIN": "d", "REFRESH_TOKEN": "r"},
                {"token": "t2"},
                {"token": "t2"},
            ),
            (
                {"USERNAME": "u", "PASSWORD": "p", "DOMAIN": "d", "TOKEN": "t"},
                {"username": "u2", "password": "p2"},
                {"username": "u2", "password": "p2"},
            ),
            (
                {"USERNAME": "u", "PASSWORD": "p", "DOMAIN": "d", "TOKEN": "t"},
                {"credentials": Tokens("t2")},
                {"credentials": Tokens("t2")},
            ),
        ],
    )
    def test_credentials(
        self,
        monkeypatch: pytest.MonkeyPatch,
        variables: dict[str, str],
        passed: Any,
        expected: dict[str, object],
    ) -> None:
        """Credentials come from the variables, unless arguments replace or complete them."""
        taken: dict[str, object] = {}

        class Client(PortSIPClient):
            def __init__(self, base_url: str, **options: Any) -> None:
                taken.update(options)
                super().__init__(base_url, **options)

        for name, value in variables.items():
            monkeypatch.setenv(f"PORTSIP_{name}", value)
        options: Any = {**passed, "timeout": 3}
        client = Client.from_env(**options)
        assert taken == {**expected, "timeout": 3, "allow_http": False}
        assert type(client) is Client

    @pytest.mark.parametrize(
        "variables",
        [
            {},
            {"USERNAME": "u"},
            {"DOMAIN": "d"},
            {"REFRESH_TOKEN": "r"},
            {"TOKEN": "t", "DOMAIN": "d"},
            {"USERNAME": "u", "PASSWORD": "p", "TOKEN": "t"},
            {"TOKEN": "t", "ALLOW_HTTP": "perhaps"},
            {"TOKEN": "t", "URL": ""},
            {"TOKEN": "t", "URL": "http://pbx.example.com"},
        ],
    )
    def test_incomplete_or_wrong_variables(
        self, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
    ) -> None:
        """Variables that are missing, ambiguous or wrong are a ConfigurationError."""
        for name, value in variables.items():
            monkeypatch.setenv(f"PORTSIP_{name}", value)
        with pytest.raises(ConfigurationError):
            PortSIPClient.from_env()


async def test_info_needs_no_token(wire: WireServer) -> None:
    """What the PBX tells about itself is read without a login."""
    wire.script = [reply({"web_domain": "pbx.example.com", "domain": "test.io"})]
    async with PortSIPClient(wire.url, **LOGIN) as pbx:
        assert await pbx.info() == ServerInfo(web_domain="pbx.example.com", domain="test.io")
        assert (await pbx.info(domain="test.io")).domain == "test.io"
    assert [(each.path, each.query) for each in wire.arrivals] == [
        ("/api/info", ""),
        ("/api/info", "domain=test.io"),
    ]
    assert "authorization" not in wire.arrivals[0].headers


async def test_own_endpoint_gets_a_bearer_token(wire: WireServer) -> None:
    """An application's endpoint that does not say where the token goes, sends a bearer token."""
    wire.script = [reply({"id": "1"})]
    show = Endpoint("contacts.show", "GET", "/contacts/{id}", reply=dict[str, str])
    async with PortSIPClient(wire.url, token="T-1") as pbx:
        assert await pbx.request(show, id="a/b") == {"id": "1"}
    assert wire.paths() == ["/api/contacts/a%2Fb"]
    assert wire.arrivals[0].headers["authorization"] == "Bearer T-1"


async def test_view_has_its_own_options(wire: WireServer) -> None:
    """A view has its own policy and the same connections. Closing it does nothing."""

    class TenantClient(PortSIPClient):
        tenant = "south"

    wire.script = [reply({}, status=500), reply({"web_domain": "w"})]
    async with TenantClient(wire.url, token="T") as pbx:
        pbx.tenant = "north"
        async with pbx.with_options(retry=RetryPolicy(attempts=1)) as view:
            assert type(view) is TenantClient
            assert view.tenant == "north"
            with pytest.raises(Exception, match="500"):
                await view.info()
        assert (await pbx.info()).web_domain == "w"
    with pytest.raises(ClientClosed):
        await view.info()
