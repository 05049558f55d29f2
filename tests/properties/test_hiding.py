"""Secrets are hidden wherever they are in values, URLs and texts.

Secrets begin with a text that nothing else contains, so that a rest of one can be found.
"""

import json
from collections.abc import Callable
from html import escape
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

from hypothesis import example, given
from hypothesis import strategies as st

from portsip_async import Extension, NewExtension, Profile, VoiceMail
from portsip_async.redact import HIDDEN, is_secret, scrub, scrub_text, scrub_url, secrets_in

from .values import ANY_CHARACTER, HOSTILE, json_of

PREFIX = "S3cr3t"  # of each secret
TAIL = "t41l"  # of a secret that begins with another one
SECRET = HOSTILE.map(PREFIX.__add__)
SECRET_NAMES = st.sampled_from(
    [
        "password",
        "web_access_password",
        "voicemail_pin",
        "pin",
        "auth",
        "access_token",
        "refreshToken",
        "Authorization",
        "Set-Cookie",
        "client-secret",
    ]
)
PLAIN_NAMES = st.sampled_from(["name", "author", "opinion", "enable_vm_pin_auth", "status", "0"])
PLAIN = json_of(st.text("abc123 ", max_size=5), ["name", "items"])


def nested(secret: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw values with secrets at any depth, but only under secret names."""
    hidden = st.dictionaries(SECRET_NAMES, json_of(secret, ["old", "new"]), max_size=2)
    return st.recursive(
        st.tuples(hidden, st.dictionaries(PLAIN_NAMES, PLAIN, max_size=2)).map(
            lambda pair: pair[0] | pair[1]
        ),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.lists(inner, max_size=2).map(tuple)
            | st.dictionaries(PLAIN_NAMES, inner, max_size=2)
        ),
        max_leaves=6,
    )


def leaves(value: Any) -> list[str]:
    """Return the strings in a value."""
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in leaves(item)]
    return [value] if isinstance(value, str) else []


def without_secrets(value: Any) -> Any:
    """Return a value without the items under secret names."""
    if isinstance(value, dict):
        return {name: without_secrets(item) for name, item in value.items() if not is_secret(name)}
    if isinstance(value, list | tuple):
        return [without_secrets(item) for item in value]
    return value


@given(value=nested(SECRET))
def test_nested_values(value: Any) -> None:
    """Each secret is hidden and found, at any depth and of any type; the rest stays as it was."""
    shown = scrub(value)
    assert PREFIX not in repr(shown)
    assert without_secrets(shown) == without_secrets(value)
    assert {leaf for leaf in leaves(value) if PREFIX in leaf} <= {*secrets_in(value)}


@given(secret=SECRET, section=st.dictionaries(SECRET_NAMES, SECRET))
def test_reprs_of_models(secret: str, section: dict[str, Any]) -> None:
    """No repr of a model shows a secret, even if a section was passed as a mapping."""
    mail = VoiceMail(voicemail_pin=secret)
    for record in (
        mail,
        Extension(extension_number="1", password=secret, voice_mail=mail),
        NewExtension(
            extension_number="1",
            password=secret,
            web_access_password=secret,
            profile=Profile(first_name="Ann"),
            voice_mail=section,  # type: ignore[arg-type]  # as a caller may well do
        ),
    ):
        assert PREFIX not in repr(record)
        assert HIDDEN in repr(record)


# The forms in which a text may contain the secret of a call.
FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in a query": lambda secret: quote(secret, safe="", errors="surrogatepass"),
    "in a path": lambda secret: quote(secret, safe="/", errors="surrogatepass"),
    "in a form": lambda secret: quote_plus(secret, errors="surrogatepass"),
    "in a query, in lower case": lambda secret: lower_escapes(
        quote(secret, errors="surrogatepass")
    ),
    "in JSON": lambda secret: json.dumps(secret)[1:-1],
    "in JSON, as UTF-8": lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
    "in a repr": lambda secret: repr(secret)[1:-1],
    "in a repr of bytes": lambda secret: repr(secret.encode(errors="surrogatepass"))[2:-1],
    "in HTML": escape,
}


def lower_escapes(quoted: str) -> str:
    """Write percent escapes in lower case."""
    parts = quoted.split("%")
    return "%".join([parts[0], *(part[:2].lower() + part[2:] for part in parts[1:])])


# Text that may come before and after a word.
EDGE = ANY_CHARACTER.filter(lambda character: not character.isalnum())


@given(
    secrets=st.lists(SECRET, min_size=1, max_size=3),
    forms=st.lists(st.sampled_from(sorted(FORMS)), min_size=1, max_size=4),
    around=st.lists(
        st.tuples(EDGE, st.text(ANY_CHARACTER, max_size=6), EDGE).map("".join),
        min_size=5,
        max_size=5,
    ),
)
@example(secrets=[f"{PREFIX}a", f"{PREFIX}a{TAIL}"], forms=["as it is"] * 2, around=["-"] * 5)
@example(secrets=[f"{PREFIX} &<b"], forms=["in a form", "in HTML"], around=["&"] * 5)
@example(
    secrets=[f"{PREFIX}"], forms=["in a form", "in HTML"], around=["%20", "\\n", "+", "_", "\\"]
)
def test_known_secrets_in_a_text(secrets: list[str], forms: list[str], around: list[str]) -> None:
    """A known secret is hidden in every form, with any text around it and next to others."""
    text = around[-1]
    for n, form in enumerate(forms):
        text += FORMS[form](secrets[n % len(secrets)]) + around[n]
    shown = scrub_text(text, secrets)
    assert PREFIX not in shown
    assert TAIL not in shown


@given(
    secret=st.text("abcdefgh0123", min_size=1, max_size=15),
    before=st.text("ABC019", min_size=1, max_size=3),
    behind=st.text("ABC019", min_size=1, max_size=3),
    template=st.sampled_from(['"{}"', "'{}'", "x={}", "x: {}", "({})", "{}", "the {} of it"]),
)
def test_part_of_a_word_stays(secret: str, before: str, behind: str, template: str) -> None:
    """A secret of fewer than 16 characters is not hidden as a part of a longer word."""
    for word in (before + secret, secret + behind, before + secret + behind):
        text = template.format(word)
        assert scrub_text(text, [secret]) == text


@given(
    secret=st.text("abcdefgh", min_size=1, max_size=5),
    words=st.lists(st.text("abcdefgh", min_size=1, max_size=3), min_size=2, max_size=8),
)
def test_short_secret_in_a_sentence_stays(secret: str, words: list[str]) -> None:
    """A sentence is unchanged, even if a short secret is one of its words."""
    text = " ".join(words)
    assert scrub_text(text, [secret]) == text
    assert scrub_text(f"{text}: {text}, {text}; {text}.", [secret]).count(HIDDEN) == 0


UNKNOWN: dict[str, Callable[[str, str], str]] = {
    "JSON": lambda name, secret: json.dumps({"a": 1, name: secret, "b": "x"}),
    "JSON as UTF-8": lambda name, secret: json.dumps({name: secret}, ensure_ascii=False),
    "JSON in JSON": lambda name, secret: json.dumps(json.dumps({name: secret})),
    "repr": lambda name, secret: repr({"a": 1, name: secret, "b": "x"}),
    "repr of bytes": lambda name, secret: repr({name.encode(): secret.encode("utf-8", "replace")}),
    "JSON array": lambda name, secret: json.dumps(
        {name: [secret, [secret], {"a": secret}], "b": 1}
    ),
    "JSON array in JSON": lambda name, secret: json.dumps(json.dumps({name: ["x", secret]})),
    "repr of a list": lambda name, secret: repr({name: [secret, (secret,)]}),
    "query": lambda name, secret: urlencode({"a": 1, name: secret}, errors="replace"),
    "URL": lambda name, secret: f"https://pbx/api?{urlencode({name: secret}, errors='replace')} x",
    "path": lambda name, secret: (
        f"GET /api/x?{urlencode({'a': secret}, errors='replace')} HTTP/1.1"
    ),
    "cookies": lambda _, secret: f"Cookie: a=1; b={quote(secret, errors='replace')}\r\nHost: pbx",
    "user information": lambda _, secret: (
        f"at https://u:{quote(secret, '', errors='replace')}@pbx/api"
    ),
}


@given(name=SECRET_NAMES, secret=SECRET, before=st.text("ab (:"))
def test_unknown_secret_in_a_text(name: str, secret: str, before: str) -> None:
    """Text under a secret name, in a query or before a host is hidden by its position."""
    for form in UNKNOWN.values():
        assert PREFIX not in scrub_text(f"{before} {form(name, secret)}")


@given(
    user=st.none() | SECRET.map(lambda text: quote(text, safe="@:!$", errors="replace")),
    query=st.none() | HOSTILE.map(PREFIX.__add__),
    fragment=st.none() | HOSTILE.map(PREFIX.__add__),
    path=st.from_regex(r"(/[a-z0-9%._-]{1,6}){0,3}", fullmatch=True),
)
def test_urls(user: str | None, query: str | None, fragment: str | None, path: str) -> None:
    """Only the scheme, the host and the path of a URL are left."""
    url = "https://" + (f"{user}@" if user else "") + f"pbx.example.com:8900{path}"
    bare = f"https://pbx.example.com:8900{path}"
    url += f"?{query}" if query else ""
    url += f"#{fragment}" if fragment else ""
    shown = scrub_url(url)
    assert PREFIX not in shown
    # A password may contain "#", so everything before an "@" is hidden, even if it is the host.
    assert shown == bare or "@" in (fragment or "")
