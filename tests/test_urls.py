"""What a client is given to send requests to: refused at construction, or good for every call."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portsip_async import (
    ENDPOINTS,
    ConfigurationError,
    EmailCredentials,
    Endpoint,
    PasswordCredentials,
    PortSIPClient,
    PortSIPError,
    RetryPolicy,
    StaticToken,
)
from portsip_async.core.transport import Route

URL = "https://pbx.example.com:8900"
TOKEN: dict[str, Any] = {"token": "196ACE20C6F34027895F7F95402BB164"}
UNSEEN = {
    "zero-width joiner": "\u200d",
    "zero-width non-joiner": "\u200c",
    "zero-width space": "\u200b",
    "word joiner": "\u2060",
    "byte order mark": "\ufeff",
    "soft hyphen": "\xad",
    "right-to-left override": "\u202e",
    "left-to-right mark": "\u200e",
    "isolate": "\u2066",
    "combining grapheme joiner": "\u034f",
    "variation selector": "\ufe0f",
    "variation selector 256": "\U000e01ef",
    "tag": "\U000e0041",
    "Hangul filler": "\u3164",
    "halfwidth Hangul filler": "\uffa0",
    "Mongolian vowel separator": "\u180e",
    "Braille blank": "\u2800",
    "no-break space": "\xa0",
    "ideographic space": "\u3000",
    "line separator": "\u2028",
    "next line": "\x85",
    "escape": "\x1b",
    "delete": "\x7f",
    "NUL": "\0",
    "tab": "\t",
    "line feed": "\n",
    "carriage return": "\r",
    "space": " ",
    "private use": "\ue000",
    "unassigned": "\u0378",
    "not a character": "\uffff",
    "half a surrogate pair": "\ud800",
}


@pytest.mark.parametrize("mark", UNSEEN.values(), ids=UNSEEN)
@pytest.mark.parametrize(
    "url",
    [
        "https://p{}bx.example.com",
        "https://pbx{}.example.com:8900",
        "https://pbx.example{}.com/api",
        "https://pbx.example.com:89{}00",
        "https://pbx.example.com/p{}bx",
        "ht{}tps://pbx.example.com",
        "https:/{}/pbx.example.com",
    ],
)
def test_invisible_character_in_base_url_is_refused(url: str, mark: str) -> None:
    """At construction; the error shows it as an escape."""
    with pytest.raises(ConfigurationError) as caught:
        PortSIPClient(url.format(mark), **TOKEN)
    text = str(caught.value)
    assert text.isascii()
    assert text.isprintable()
    assert mark == " " or ascii(mark)[1:-1] in text


@pytest.mark.parametrize("mark", ["\u200d", "\ufeff", "\xa0", "\u3000", "\x85", "\u2028", "\x0b"])
def test_invisible_character_at_the_ends_is_refused(mark: str) -> None:
    """Only spaces, tabs and ends of lines, as copied along, are taken off."""
    for url in (f"{mark}{URL}", f"{URL}{mark}"):
        with pytest.raises(ConfigurationError):
            PortSIPClient(url, **TOKEN)
    assert PortSIPClient(f" \t{URL}\r\n", **TOKEN)


@pytest.mark.parametrize("mark", UNSEEN.values(), ids=UNSEEN)
def test_invisible_character_in_the_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch, mark: str
) -> None:
    if mark in ("\0", "\ud800"):
        pytest.skip("no environment variable can hold this character")
    monkeypatch.setenv("PORTSIP_URL", f"https://p{mark}bx.example.com")
    with pytest.raises(ConfigurationError):
        PortSIPClient.from_env(**TOKEN)


@pytest.mark.parametrize("mark", UNSEEN.values(), ids=UNSEEN)
@pytest.mark.parametrize("proxy", ["http://pro{}xy:3128", "http://us{}er:pass@proxy:3128"])
def test_invisible_character_in_proxy_is_refused(proxy: str, mark: str) -> None:
    with pytest.raises(ConfigurationError, match="proxy"):
        PortSIPClient(URL, proxy=proxy.format(mark), **TOKEN)


@pytest.mark.parametrize("mark", UNSEEN.values(), ids=UNSEEN)
def test_invisible_character_in_user_agent_is_refused(mark: str) -> None:
    """A space is none there."""
    if mark == " ":
        assert PortSIPClient(URL, user_agent="my app", **TOKEN)
        return
    with pytest.raises(ValueError, match="user_agent"):
        PortSIPClient(URL, user_agent=f"my{mark}app", **TOKEN)


@pytest.mark.parametrize(
    "host",
    [
        "[::1]x",
        "[v1.a]",
        "[::1",
        "[]",
        "1::2",
        "[1.2.3.4]",
        "p..bx",
        ".pbx",
        "-pbx",
        "pbx:99999",
        "pbx:-1",
        "pbx:\uff18\uff10",
        "x" * 64,
        "\xe4" * 64,
        "a%20b",
        "a%2fb",
        "pbx\\x",
        "\u2488com",
        "a\u2100b",
        "xn--\xe4",
        "pbx|",
        "",
    ],
)
def test_host_that_no_request_can_name_is_refused(host: str) -> None:
    """As a base URL and as a proxy."""
    with pytest.raises(ConfigurationError):
        PortSIPClient(f"https://{host}", **TOKEN)
    with pytest.raises(ConfigurationError, match="proxy"):
        PortSIPClient(URL, proxy=f"http://{host}", **TOKEN)


@pytest.mark.parametrize(
    "url",
    [
        "https://pbx.example.com",
        "https://PBX.example.com.:8900",
        "https://p_b-x",
        "https://b\xfccher.example",
        "https://xn--bcher-kva.example",
        "https://\u043f\u0440\u0438\u043c\u0435\u0440.\u0440\u0444",
        "https://10.0.0.1",
        "https://[::1]:8900",
        "https://[fe80::1%25eth0]",
        "https://pbx/p\xe4th/%20x",
    ],
)
def test_host_of_any_kind_passes(url: str) -> None:
    assert PortSIPClient(url, **TOKEN)
    assert PortSIPClient(URL, proxy="http://" + urlsplit(url).netloc, **TOKEN)


@given(
    url=st.text(st.characters(exclude_categories=()), max_size=20).map("https://".__add__)
    | st.from_regex(r"https?://[\w.%\[\]:@\\-]{1,12}(:[0-9]{0,6})?(/[^ ]{0,5})?", fullmatch=True)
    | st.text(st.characters(exclude_categories=()), max_size=5).map("https://p{}bx/a".format),
    path=st.text(st.characters(exclude_categories=()), max_size=8).map("/".__add__),
)
@example(url="https://pbx\u200d.example.com", path="/")
@example(url="https://[::1]x", path="/")
def test_any_url_is_refused_or_works(url: str, path: str) -> None:
    """Whatever passes the constructor makes the URL of every call, and of a row of one's own."""
    try:
        client = PortSIPClient(url, allow_http=True, **TOKEN)
    except ConfigurationError:
        return
    base = client._session.base_url
    for row in ENDPOINTS.values():
        assert Route(base, row).url.raw_host
    try:
        own = Endpoint("own.row", "GET", path)
    except ValueError:
        return
    assert Route(base, own).url.raw_host


@pytest.mark.parametrize("mark", UNSEEN.values(), ids=UNSEEN)
def test_invisible_character_in_a_path_is_refused(mark: str) -> None:
    """Of an endpoint, and of an override; a space is percent-encoded."""
    if mark == " ":
        assert Endpoint("own.row", "GET", "/a b").path == "/a b"
        return
    with pytest.raises(ValueError, match="path"):
        Endpoint("own.row", "GET", f"/a{mark}b")
    with pytest.raises(ConfigurationError, match="path"):
        PortSIPClient(URL, endpoints={"groups.list": {"path": f"/a{mark}b"}}, **TOKEN)


@pytest.mark.parametrize(
    "given",
    [
        {"username": "admin\udcff", "password": "secret-1"},
        {"username": "admin", "password": "\ud800secret-1"},
        {"credentials": PasswordCredentials("admin", "secret\udcff1")},
        {"credentials": EmailCredentials("a\udcff@b.de", "secret-1")},
        {"credentials": StaticToken("tok\udcffen")},
        {"token": "tok\nen-1"},
        {"token": "tok\x00en-1"},
        {"token": "tok\u2028en-1"},
    ],
    ids=str,
)
def test_credentials_that_no_request_can_hold_are_refused(given: dict[str, Any]) -> None:
    """At construction, and without being quoted."""
    with pytest.raises(ConfigurationError) as caught:
        PortSIPClient(URL, **given)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("path", ["ca\0.pem", "ca\ud800.pem"], ids=["NUL", "surrogate"])
@pytest.mark.parametrize("kind", [str, Path])
def test_ca_file_that_cannot_be_is_refused(kind: Callable[[str], Any], path: str) -> None:
    with pytest.raises(ConfigurationError, match="ssl"):
        PortSIPClient(URL, ssl=kind(path), **TOKEN)


@pytest.mark.parametrize("host", ["b\xfccher.invalid", "p_b-x.invalid", "xn--a.invalid", "x" * 63])
async def test_odd_host_fails_as_no_connection(host: str) -> None:
    """A name that passes and is nowhere is a ConnectError, as PBX and as proxy."""
    once = RetryPolicy(attempts=1)
    async with (
        PortSIPClient(f"https://{host}", retry=once, **TOKEN) as pbx,
        PortSIPClient(
            "http://127.0.0.1:1", retry=once, proxy=f"http://{host}:3128", **TOKEN
        ) as through,
    ):
        for found in await asyncio.gather(
            pbx.extensions.show("101"), through.extensions.show("101"), return_exceptions=True
        ):
            assert isinstance(found, PortSIPError)
