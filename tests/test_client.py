"""The client's arguments: which are refused, which the environment gives, which a view shares."""

import gc
import ssl
import uuid
import warnings
import weakref
from typing import Any

import aiohttp
import pytest

from portsip_async import (
    AuthenticationError,
    ClientClosed,
    ConfigurationError,
    EmailCredentials,
    Endpoint,
    NotFound,
    PasswordCredentials,
    PortSIPClient,
    RetryPolicy,
    StaticToken,
    Timeout,
    Token,
)
from portsip_async.simulator import PBXSimulator

from .concurrency import shared_timer_handles, yield_to_loop
from .conftest import ClientMaker, Mocked
from .wire_server import WireServer, reply

LOGIN: dict[str, Any] = {"username": "admin", "password": "secret-1"}
URL = "https://pbx.example.com:8900"


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://pbx.example.com:8900", "https://pbx.example.com:8900/api"),
        ("https://pbx.example.com:8900/", "https://pbx.example.com:8900/api"),
        ("https://pbx.example.com:8900/api", "https://pbx.example.com:8900/api"),
        ("https://pbx.example.com:8900/api/", "https://pbx.example.com:8900/api"),
        (" https://pbx.example.com/pbx/api/ ", "https://pbx.example.com/pbx/api"),
        ("http://localhost:8899", "http://localhost:8899/api"),
        ("http://127.9.0.1:8899", "http://127.9.0.1:8899/api"),
        ("http://[::1]:8899", "http://[::1]:8899/api"),
    ],
)
def test_forms_of_a_base_url(url: str, base: str) -> None:
    """A base URL may end with a slash or ``/api``; loopback may use plain http."""
    assert base in repr(PortSIPClient(url, **LOGIN))


@pytest.mark.parametrize(
    "url",
    [
        "http://pbx.example.com:8899",
        "http://10.0.0.5",
        "http://localhost.example.com",
        "https://admin:secret-1@pbx.example.com",
        "https://admin@pbx.example.com",
        "https://pbx.example.com/?access_token=secret-1",
        "https://pbx.example.com/#x",
        "ftp://pbx.example.com",
        "pbx.example.com:8900",
        "https://",
        "https://pbx.example.com:port",
        "https://pbx.example.com:0",
        "https://admin:secret-1/x@pbx.example.com",
        "admin:secret-1@pbx.example.com",
        "https://admin:sec?secret-1@pbx.example.com",
        "https://pbx..com",
        "https://" + "x" * 64 + ".com",
        "https://pbx example.com",
        "https://%00.com",
        "http://evil.example\\.localhost",
        "",
    ],
)
def test_bad_base_url_is_refused(url: str) -> None:
    """A URL that can't be used, or holds a secret, is refused, and the error hides the secret."""
    with pytest.raises(ConfigurationError) as caught:
        PortSIPClient(url, **LOGIN)
    assert "secret-1" not in str(caught.value)


def test_plain_http_with_allow_http() -> None:
    """`allow_http=True` allows plain http to any host."""
    assert PortSIPClient("http://pbx.example.com", **LOGIN, allow_http=True)


@pytest.mark.parametrize(
    "login",
    [
        {},
        {"username": "admin"},
        {"password": "secret-1"},
        {"username": "", "password": ""},
        {"username": "admin", "password": "secret-1", "token": "T"},
        {"credentials": StaticToken("T"), "token": "T"},
        {"credentials": "admin"},
        {"credentials": object()},
        {"token": ""},
        {"token": "two\r\nlines"},
        {"token": b"T"},
        {"username": 5, "password": "secret-1"},
        {"credentials": PasswordCredentials("", "")},
    ],
)
def test_client_needs_exactly_one_login(login: dict[str, Any]) -> None:
    """Without a usable login, or with two, a client is refused; the error hides the password."""
    with pytest.raises(ConfigurationError) as caught:
        PortSIPClient(URL, **login)
    assert "secret-1" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"timeout": 0}, ValueError),
        ({"timeout": -1.0}, ValueError),
        ({"timeout": "15"}, TypeError),
        ({"timeout": True}, TypeError),
        ({"max_connections": 0}, ValueError),
        ({"max_connections": 1.5}, TypeError),
        ({"max_reply_bytes": 1.5}, TypeError),
        ({"requests_per_second": True}, TypeError),
        ({"retry": 5}, TypeError),
        ({"session": 5}, TypeError),
        ({"ssl": 5}, TypeError),
        ({"proxy": 5}, TypeError),
        ({"requests_per_second": 1e-320}, ValueError),
        ({"on_attempt": 5}, TypeError),
        ({"user_agent": "a\r\nX: y"}, ValueError),
        ({"max_reply_bytes": 0}, ValueError),
        ({"requests_per_second": 0}, ValueError),
        ({"requests_per_second": -1}, ValueError),
        ({"endpoints": {"extensions.nope": {"path": "/x"}}}, ConfigurationError),
        ({"endpoints": {"extensions.show": {"reply": "x"}}}, ConfigurationError),
        ({"endpoints": {"extensions.show": {"path": "x"}}}, ConfigurationError),
    ],
)
def test_client_refuses_bad_options(options: dict[str, Any], error: type[Exception]) -> None:
    """A wrong type is a TypeError, a value out of bounds a ValueError."""
    with pytest.raises(error):
        PortSIPClient(URL, **LOGIN, **options)


@pytest.mark.parametrize("values", [{"total": 0}, {"connect": -1}, {"read": float("inf")}])
def test_timeout_out_of_bounds_is_refused(values: dict[str, float]) -> None:
    """A timeout must be a positive, finite number of seconds."""
    with pytest.raises(ValueError, match=r"Timeout: .* must be finite and above 0, got"):
        Timeout(**values)


def test_ssl_false_warns_once() -> None:
    """A client without certificate checks warns when it is made; its views do not."""
    with pytest.warns(UserWarning, match="ssl=False") as caught:
        client = PortSIPClient(URL, **LOGIN, ssl=False)
    client.with_options(timeout=1)
    assert len(caught) == 1


async def test_bad_ca_file(tmp_path: Any) -> None:
    """A CA file that is missing or not readable is a ConfigurationError at the first call."""
    for path in (tmp_path / "none.pem", __file__):
        async with PortSIPClient(URL, **LOGIN, ssl=str(path)) as pbx:
            with pytest.raises(ConfigurationError, match="ssl"):
                await pbx.extensions.show("101")


def test_reprs_show_no_secret() -> None:
    """The reprs of clients, credentials and tokens hide their secrets."""
    client = PortSIPClient(URL, username="admin", password="secret-1")
    assert repr(client) == "<PortSIPClient https://pbx.example.com:8900/api>"
    for shown in (
        PasswordCredentials("admin", "secret-1"),
        EmailCredentials("a@b.example", "secret-1"),
        StaticToken("secret-1"),
        Token("secret-1"),
    ):
        assert "secret-1" not in repr(shown)
        assert "secret-1" not in str(shown)


def test_view_and_request_refuse_bad_arguments() -> None:
    """Wrong arguments of `with_options` and `request` are TypeErrors at the call."""
    client = PortSIPClient(URL, **LOGIN)
    with pytest.raises(TypeError):
        client.with_options(retry=5)  # type: ignore[arg-type]  # what the test is about
    with pytest.raises(TypeError):
        client.request("extensions.show")  # type: ignore[call-overload]  # what the test is about
    with pytest.raises(TypeError, match="access_token"):
        client.request(PING, access_token="x")


class TestFromEnv:
    @pytest.fixture(autouse=True)
    def clean_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("URL", "USERNAME", "PASSWORD", "EMAIL", "TOKEN", "ALLOW_HTTP", "CA_FILE"):
            monkeypatch.delenv(f"PORTSIP_{name}", raising=False)

    @staticmethod
    def set_variables(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"PORTSIP_{name}", value)

    @pytest.mark.parametrize(
        "values",
        [
            {"USERNAME": "admin", "PASSWORD": "secret-1"},
            {"EMAIL": "a@b.example", "PASSWORD": "secret-1"},
            {"TOKEN": "T"},
            {"TOKEN": "T", "ALLOW_HTTP": "0"},
        ],
    )
    def test_logins(self, monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
        """A client is made from a URL with a user name, an email address or a token."""
        self.set_variables(monkeypatch, URL=URL, **values)
        assert PortSIPClient.from_env()

    @pytest.mark.parametrize(
        "values",
        [
            {},
            {"URL": URL},
            {"USERNAME": "admin", "PASSWORD": "secret-1"},
            {"URL": URL, "USERNAME": "admin"},
            {"URL": URL, "EMAIL": "a@b.example"},
            {"URL": URL, "EMAIL": "a@b", "USERNAME": "admin", "PASSWORD": "secret-1"},
            {"URL": URL, "TOKEN": "T", "USERNAME": "admin", "PASSWORD": "secret-1"},
            {"URL": URL, "TOKEN": "T", "ALLOW_HTTP": "perhaps"},
            {"URL": "http://pbx.example.com", "TOKEN": "T"},
        ],
    )
    def test_incomplete_or_wrong_variables(
        self, monkeypatch: pytest.MonkeyPatch, values: dict[str, str]
    ) -> None:
        """Variables that are missing, ambiguous or wrong are a ConfigurationError."""
        self.set_variables(monkeypatch, **values)
        with pytest.raises(ConfigurationError):
            PortSIPClient.from_env()

    def test_plain_http_by_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """PORTSIP_ALLOW_HTTP allows plain http."""
        self.set_variables(monkeypatch, URL="http://pbx.example.com", TOKEN="T", ALLOW_HTTP="yes")
        assert PortSIPClient.from_env()

    def test_arguments_override(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Credentials given as arguments replace all credentials of the environment."""
        self.set_variables(monkeypatch, URL="https://elsewhere.example", EMAIL="a@b", PASSWORD="x")
        client = PortSIPClient.from_env(base_url=URL, token="T", timeout=3)
        assert URL in repr(client)

    def test_password_as_an_argument(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A password, from a prompt for example, is used with the user name of the environment."""
        self.set_variables(monkeypatch, URL=URL, USERNAME="admin", ALLOW_HTTP="perhaps")
        assert PortSIPClient.from_env(password="secret-1", allow_http=False)

    async def test_ca_file_is_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The file that PORTSIP_CA_FILE names is read at the first call."""
        self.set_variables(monkeypatch, URL=URL, TOKEN="T", CA_FILE="/nowhere/ca.pem")
        async with PortSIPClient.from_env() as pbx:
            with pytest.raises(ConfigurationError, match=r"/nowhere/ca\.pem"):
                await pbx.extensions.show("101")


async def test_login_by_email(sim: PBXSimulator, make_client: ClientMaker) -> None:
    """EmailCredentials log in by the operation for email addresses."""
    pbx = make_client(credentials=EmailCredentials(sim.email, sim.password))
    assert (await pbx.extensions.show("101")).extension_number == "101"
    assert sim.served["account.verify_email"] == 1


async def test_login_by_credentials_of_the_application(
    sim: PBXSimulator, make_client: ClientMaker, pbx: PortSIPClient
) -> None:
    """An application may pass an object that fetches tokens."""

    class OwnCredentials:
        async def fetch_token(self) -> Token:
            return await pbx.account.verify(sim.username, sim.password)

    assert await make_client(credentials=OwnCredentials()).extensions.show("101")
    assert sim.served["account.verify"] == 1


async def test_view_has_its_own_options(pbx: PortSIPClient, sim: PBXSimulator) -> None:
    """A view shares the token and has its own policy. Closing it does nothing."""
    await pbx.extensions.show("101")
    async with pbx.with_options(retry=RetryPolicy(attempts=1)) as view:
        sim.fail("extensions.show", status=500, times=1)
        with pytest.raises(Exception, match="500") as caught:
            await view.extensions.show("101")
        assert caught.value.attempts == 1  # type: ignore[attr-defined]  # it is a ServerError
    sim.fail("extensions.show", status=500, times=1)
    assert await pbx.extensions.show("101")
    assert sim.served["account.verify"] == 1


PING = Endpoint("system.ping", "GET", "/system/ping", reply=dict[str, int])


async def test_view_of_a_subclass_keeps_its_attributes() -> None:
    """An application's own class of client works in a view too, without its constructor."""

    class TenantClient(PortSIPClient):
        def __init__(self, url: str, *, tenant: str) -> None:
            super().__init__(url, **LOGIN)
            self.tenant = tenant

    async with TenantClient(URL, tenant="north") as client:
        view = client.with_options(timeout=1)
        assert type(view) is TenantClient
        assert view.tenant == "north"
        assert view.extensions is not client.extensions


class TestRequest:
    @pytest.mark.parametrize(
        ("token", "header", "value"),
        [
            ("header", "access_token", "196ACE20C6F34027895F7F95402BB164"),
            ("bearer", "authorization", "Bearer 196ACE20C6F34027895F7F95402BB164"),
        ],
    )
    async def test_token_in_a_header(
        self, wire: WireServer, make_client: ClientMaker, token: Any, header: str, value: str
    ) -> None:
        """An endpoint may have its token in a header, though none of this API does."""
        wire.script = [reply({"pong": 1})]
        endpoint = Endpoint("system.ping", "GET", "/ping", reply=dict[str, int], token=token)
        assert await make_client(wire.url).request(endpoint, verbose=True, none=None) == {"pong": 1}
        arrival = wire.arrivals[0]
        assert arrival.headers[header] == value
        assert (arrival.path, arrival.query) == ("/api/ping", "verbose=true")

    async def test_own_endpoint_has_errors_and_retries(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A call of an application's endpoint is retried, and fails, like any other."""
        wire.script = [reply(status=500), reply({"err_code": 404.2, "msg": "no"}, 404)]
        with pytest.raises(NotFound) as caught:
            await make_client(wire.url).request(PING)
        assert (caught.value.operation, caught.value.attempts) == ("system.ping", 2)

    async def test_endpoint_without_a_reply_returns_none(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A call of an endpoint without a reply type returns None."""
        wire.script = [reply()]
        endpoint = Endpoint("system.poke", "POST", "/poke", safety="idempotent")
        value: None = await make_client(wire.url).request(endpoint, level=3)  # type: ignore[func-returns-value]  # the test checks it
        assert value is None
        assert wire.arrivals[0].body == (
            b'{"access_token":"196ACE20C6F34027895F7F95402BB164","level":3}'
        )

    async def test_form_without_a_file(self, wire: WireServer, make_client: ClientMaker) -> None:
        """An application's endpoint may send its parameters as a form."""
        wire.script = [reply()]
        form = Endpoint("my.form", "POST", "/form", parameters="multipart")
        await make_client(wire.url).request(form, name="a", numbers=["1", "2"])
        body = wire.arrivals[0].body
        assert body.count(b'name="numbers"') == 2
        assert b'name="name"' in body
        assert wire.arrivals[0].query.startswith("access_token=")

    async def test_query_values_that_are_not_str(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A UUID is sent in a query as its text, without quotes; bytes are refused."""
        group = uuid.UUID("5e7b5e37-4008-429c-85d3-183dd4d4a9d9")
        wire.script = [reply({})]
        pbx = make_client(wire.url)
        await pbx.request(PING, group=group, level=2, deep=True)
        assert wire.arrivals[0].query.endswith(f"group={group}&level=2&deep=true")
        with pytest.raises(TypeError):
            await pbx.request(PING, raw=b"x")

    async def test_upload_by_another_method_is_still_a_form(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """An override of the method leaves the form as it is."""
        wire.script = [reply()]
        pbx = make_client(wire.url, endpoints={"greetings.upload": {"method": "PUT"}})
        await pbx.greetings.upload("101", b"RIFF", filename="a.wav")
        assert wire.arrivals[0].method == "PUT"
        assert b"RIFF" in wire.arrivals[0].body

    async def test_override_moves_an_endpoint(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """An override to GET moves the token and the numbers to the query, a key for each."""
        wire.script = [reply({"extension_status": []})]
        pbx = make_client(
            wire.url, endpoints={"extensions.status": {"path": "/x", "method": "GET"}}
        )
        assert await pbx.extensions.status(["101", "102"]) == []
        arrival = wire.arrivals[0]
        assert (arrival.method, arrival.path) == ("GET", "/api/x")
        assert arrival.query == (
            "access_token=196ACE20C6F34027895F7F95402BB164&extensions=101&extensions=102"
        )


async def test_account_verify_with_wrong_credentials(pbx: PortSIPClient, sim: PBXSimulator) -> None:
    """The call raises AuthenticationError. The client's own token is not affected."""
    for refused in (
        pbx.account.verify("admin", "wrong"),
        pbx.account.verify_email("nobody@pbx.example", "wrong"),
    ):
        with pytest.raises(AuthenticationError):
            await refused
    assert await pbx.extensions.show("101")
    token = await pbx.account.refresh()
    assert token.expires == pytest.approx(30)
    assert sim.served["account.refresh"] == 1


async def test_account_verify_with_other_failures(mocked: Mocked, make_client: ClientMaker) -> None:
    """A login that fails for another reason raises the error of that reason."""
    url = f"{URL}/api/account/credentials/verify"
    mocked.post(url, status=404, payload={"err_code": 404.2, "msg": "moved"})
    mocked.post(url, status=302)
    pbx = make_client(URL)
    with pytest.raises(NotFound, match="moved"):
        await pbx.account.verify("a", "b")
    with pytest.raises(Exception, match="redirects are not followed") as caught:
        await pbx.account.verify("a", "b")
    assert not isinstance(caught.value, AuthenticationError)


async def test_session_of_the_application_keeps_its_headers(
    wire: WireServer, make_client: ClientMaker
) -> None:
    """Its headers are sent without any headers of the SDK, and it stays open."""
    async with aiohttp.ClientSession(headers={"X-App": "1", "User-Agent": "app"}) as session:
        pbx = make_client(wire.url, session=session)
        await pbx.extensions.show("101")
        agent = make_client(wire.url, session=session, user_agent="named/1")
        await agent.extensions.show("101")
        await pbx.close()
        assert not session.closed
    first, second = wire.arrivals
    assert (first.headers["x-app"], first.headers["user-agent"]) == ("1", "app")
    assert (second.headers["x-app"], second.headers["user-agent"]) == ("1", "named/1")


async def test_ssl_context_is_accepted() -> None:
    """A client with an SSL context causes no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with PortSIPClient(URL, **LOGIN, ssl=ssl.create_default_context()) as pbx:
            assert URL in repr(pbx)


async def test_token_rejected_inside_a_200(wire: WireServer, make_client: ClientMaker) -> None:
    """Some PBXes report every error with status 200. A rejected token is renewed anyway."""
    wire.script = [reply({"err_code": 401, "msg": "no"}), reply({"extension_number": "101"})]
    assert (await make_client(wire.url).extensions.show("101")).extension_number == "101"
    assert len(wire.arrivals) == 2


async def test_short_secret_leaves_the_error_code_alone(
    wire: WireServer, make_client: ClientMaker
) -> None:
    """A dotted code is kept, even if it contains a pin of "1"."""
    wire.script = [reply({"err_code": "404.1", "msg": "no such extension"}, 404)]
    with pytest.raises(NotFound) as caught:
        await make_client(wire.url).request(
            Endpoint("my.pin", "POST", "/pin", reply=dict[str, str]), voicemail_pin="1"
        )
    assert caught.value.err_code == "404.1"


@pytest.mark.parametrize(
    "proxy",
    [
        "http://usr:hun/ter2@127.0.0.1:2",
        "http://usr:hunter2?x@127.0.0.1:2",
        "http://usr:1?hunter2@127.0.0.1:2",
        "http://usr:hunter2#x@127.0.0.1:2",
        "http://usr:hun ter2@127.0.0.1:2",
        "usr:hunter2@127.0.0.1:2",
        "socks5://usr:hunter2@127.0.0.1:2",
        "http://usr:hunter2@",
        "",
    ],
)
def test_bad_proxy_is_refused(proxy: str) -> None:
    """It is refused before anything is sent. The error doesn't quote it: it may have a password."""
    with pytest.raises(ConfigurationError, match="proxy") as caught:
        PortSIPClient(URL, **LOGIN, proxy=proxy)
    assert "ter2" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:8", "https://u:p%2F@proxy.example/"])
def test_good_proxy_is_accepted(proxy: str) -> None:
    """A proxy is an http or https URL, which may hold a user name and a password."""
    PortSIPClient(URL, **LOGIN, proxy=proxy)


def test_warning_points_at_the_caller_of_from_env(monkeypatch: pytest.MonkeyPatch) -> None:
    """The warning about `ssl=False` names the caller's file."""
    monkeypatch.setenv("PORTSIP_URL", URL)
    with pytest.warns(UserWarning, match="ssl=False") as caught:
        PortSIPClient.from_env(**LOGIN, ssl=False)
    assert caught[0].filename == __file__


async def test_views_share_timers(sim: PBXSimulator, make_client: ClientMaker) -> None:
    """Views with the same timeout set one timer of the loop, and `close` removes it."""
    pbx = make_client()
    with shared_timer_handles() as handles:
        for _ in range(30):
            await pbx.with_options(timeout=12.5).extensions.show(sim.extension_numbers[0])
    assert len(handles) == 2  # one for the views, one for the login
    await pbx.close()
    assert all(handle.cancelled() for handle in handles)


async def test_closed_client_refuses_calls_that_send_nothing(make_client: ClientMaker) -> None:
    """A call that needs no request raises ClientClosed too."""
    pbx = make_client()
    await pbx.close()
    with pytest.raises(ClientClosed):
        await pbx.extensions.status([])
    with pytest.raises(ClientClosed):
        await pbx.extensions.list().collect(limit=0)


async def test_failed_call_is_freed_at_once(sim: PBXSimulator, make_client: ClientMaker) -> None:
    """The error has no reference cycle, so it needs no garbage collection."""
    pbx = make_client()
    await pbx.account.refresh()
    errors: list[weakref.ref[Any]] = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            try:
                await pbx.extensions.show("nobody")
            except NotFound as error:
                errors.append(weakref.ref(error))
        await yield_to_loop()
        assert [error() for error in errors] == [None] * 3
    finally:
        gc.enable()


async def test_call_without_a_retry_needs_no_tenacity(
    make_client: ClientMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A final error at the first attempt doesn't use the code for retries."""
    monkeypatch.setattr("portsip_async.core.call.repeat", None)
    with pytest.raises(NotFound):
        await make_client().extensions.show("nobody")
