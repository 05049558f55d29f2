"""URLs, proxies, paths and credentials are refused at construction, or work for every call."""

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
INVISIBLE = {
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


@pytest.mark.parametrize("character", INVISIBLE.values(), ids=INVISIBLE)
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
def test_invisible_character_in_base_url_is_refused(url: str, character: str) -> None:
    """It is refused at construction; the error shows it as an escape."""
    with pytest.raises(ConfigurationError) as caught:
        PortSIPClient(url.format(character), **TOKEN)
    text = str(caught.value)
    assert text.isascii()
    assert text.isprintable()
    assert character == " " or ascii(character)[1:-1] in text


@pytest.mark.parametrize(
    "character", ["\u200d", "\ufeff", "\xa0", "\u3000", "\x85", "\u2028", "\x0b"]
)
def test_invisible_character_around_a_base_url_is_refused(character: str) -> None:
    """Only spaces, tabs and line ends, which are easily copied along, are removed."""
    for url in (f"{character}{URL}", f"{URL}{character}"):
        with pytest.raises(ConfigurationError):
            PortSIPClient(url, **TOKEN)
    assert PortSIPClient(f" \t{URL}\r\n", **TOKEN)


@pytest.mark.parametrize("character", INVISIBLE.values(), ids=INVISIBLE)
def test_invisible_character_in_the_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch, character: str
) -> None:
    """PORTSIP_URL is checked like the argument."""
    if character in ("\0", "\ud800"):
        pytest.skip("no environment variable can hold this character")
    monkeypatch.setenv("PORTSIP_URL", f"https://p{character}bx.example.com")
    with pytest.raises(ConfigurationError):
        PortSIPClient.from_env(**TOKEN)


@pytest.mark.parametrize("character", INVISIBLE.values(), ids=INVISIBLE)
@pytest.mark.parametrize("proxy", ["http://pro{}xy:3128", "http://us{}er:pass@proxy:3128"])
def test_invisible_character_in_proxy_is_refused(proxy: str, character: str) -> None:
    """It is refused in the host and in the user name of a proxy."""
    with pytest.raises(ConfigurationError, match="proxy"):
        PortSIPClient(URL, proxy=proxy.format(character), **TOKEN)


@pytest.mark.parametrize("character", INVISIBLE.values(), ids=INVISIBLE)
def test_invisible_character_in_user_agent_is_refused(character: str) -> None:
    """A space is allowed there."""
    if character == " ":
        assert PortSIPClient(URL, user_agent="my app", **TOKEN)
        return
    with pytest.raises(ValueError, match="user_agent"):
        PortSIPClient(URL, user_agent=f"my{character}app", **TOKEN)


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
def test_invalid_host_is_refused(host: str) -> None:
    """It is refused in a base URL and in a proxy."""
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
def test_valid_host_is_accepted(url: str) -> None:
    """Names, also in other scripts, and addresses are valid in a base URL and a proxy."""
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
    """A base URL that the constructor accepts gives a valid URL for every endpoint."""
    try:
        client = PortSIPClient(url, allow_http=True, **TOKEN)
    except ConfigurationError:
        return
    base = repr(client).removeprefix("<PortSIPClient ").removesuffix(">")
    for row in ENDPOINTS.values():
        assert Route(base, row).url.raw_host
    try:
        own = Endpoint("own.endpoint", "GET", path)
    except ValueError:
        return
    assert Route(base, own).url.raw_host


@pytest.mark.parametrize("character", INVISIBLE.values(), ids=INVISIBLE)
def test_invisible_character_in_a_path_is_refused(character: str) -> None:
    """It is refused in an endpoint and in an override; a space is percent-encoded."""
    if character == " ":
        assert Endpoint("own.endpoint", "GET", "/a b").path == "/a b"
        return
    with pytest.raises(ValueError, match="path"):
        Endpoint("own.endpoint", "GET", f"/a{character}b")
    with pytest.raises(ConfigurationError, match="path"):
        PortSIPClient(URL, endpoints={"groups.list": {"path": f"/a{character}b"}}, **TOKEN)


@pytest.mark.parametrize(
    "login",
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
def test_credentials_that_cannot_be_sent_are_refused(login: dict[str, Any]) -> None:
    """They are refused at construction, and the error does not quote them."""
    with pytest.raises(ConfigurationError) as caught:
        PortSIPClient(URL, **login)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("path", ["ca\0.pem", "ca\ud800.pem"], ids=["NUL", "surrogate"])
@pytest.mark.parametrize("kind", [str, Path])
def test_impossible_path_of_a_ca_file_is_refused(kind: Callable[[str], Any], path: str) -> None:
    """A path that no file can have is refused at construction."""
    with pytest.raises(ConfigurationError, match="ssl"):
        PortSIPClient(URL, ssl=kind(path), **TOKEN)


@pytest.mark.parametrize("host", ["b\xfccher.invalid", "p_b-x.invalid", "xn--a.invalid", "x" * 63])
async def test_unknown_host_fails_at_the_call(host: str) -> None:
    """A valid name that does not exist, of a PBX or of a proxy, raises the SDK's error."""
    once = RetryPolicy(attempts=1)
    async with (
        PortSIPClient(f"https://{host}", retry=once, **TOKEN) as pbx,
        PortSIPClient(
            "http://127.0.0.1:1", retry=once, proxy=f"http://{host}:3128", **TOKEN
        ) as behind_proxy,
    ):
        for error in await asyncio.gather(
            pbx.extensions.show("101"), behind_proxy.extensions.show("101"), return_exceptions=True
        ):
            assert isinstance(error, PortSIPError)
