"""Hiding secrets: names, mappings, URLs and texts."""

import json
from time import process_time
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portsip_async.redact import HIDDEN, is_secret, scrub, scrub_text, scrub_url, secrets_in

SECRET = "S3cr3t"


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "password",
            "Password",
            "web_access_password",
            "access_token",
            "refresh_token",
            "accessToken",
            "token",
            "auth",
            "AUTH",
            "voicemail_pin",
            "pin",
            "other_pin",
            "Authorization",
            "Proxy-Authorization",
            "Cookie",
            "Set-Cookie",
            "X-Auth-Token",
            "client_secret",
            "passwd",
        ],
    )
    def test_secret_names(self, name: str) -> None:
        """Names of the API and of HTTP, and similar names, are secret."""
        assert is_secret(name)

    @pytest.mark.parametrize(
        "name",
        [
            "extension_number",
            "enable_vm_pin_auth",
            "author",
            "authentication",
            "pinned",
            "opinion",
            "spin",
            "username",
            "email",
            "status",
            "domain",
            "",
        ],
    )
    def test_other_names(self, name: str) -> None:
        """Names that only resemble them are not."""
        assert not is_secret(name)


class TestMappings:
    def test_scrub_hides_at_any_depth(self) -> None:
        """The copy hides each value under a secret name, at any depth, unless it is a flag."""
        given = {
            "extension_number": "101",
            "password": SECRET,
            "voice_mail": {"voicemail_pin": 1234, "enable_vm_pin_auth": True},
            "enable_voicemail_pin": True,
            "password_verified": False,
            "rows": [{"token": [SECRET]}, ("x", {"auth": {"a": SECRET}})],
            "access_token": None,
            "pin": 0,
            5: "five",
        }
        assert scrub(given) == {
            "extension_number": "101",
            "password": HIDDEN,
            "voice_mail": {"voicemail_pin": HIDDEN, "enable_vm_pin_auth": True},
            "enable_voicemail_pin": True,
            "password_verified": False,
            "rows": [{"token": HIDDEN}, ["x", {"auth": HIDDEN}]],
            "access_token": None,
            "pin": HIDDEN,
            5: "five",
        }
        assert given["password"] == SECRET

    @pytest.mark.parametrize(
        ("given", "found"),
        [
            ({}, []),
            ({"extension_number": "101"}, []),
            ({"password": "a", "x": {"pin": 5}, "y": [{"auth": "b"}]}, ["a", "5", "b"]),
            ({"password": {"old": "a", "new": ["b", {"c": 1.5}]}}, ["a", "b", "1.5"]),
            ([{"token": "a"}, ({"token": "b"},)], ["a", "b"]),
            ({"token": None, "pin": True, 5: "x"}, []),
            ("password", []),
            (b"password", []),
            (None, []),
        ],
    )
    def test_secrets_in(self, given: Any, found: list[str]) -> None:
        """Values under secret names are found, except True and null, which would hide too much."""
        assert secrets_in(given) == found


class TestURLs:
    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("https://pbx.example.com:8900/api/", "https://pbx.example.com:8900/api/"),
            ("https://pbx/api/extensions/call?auth=x&to=1", "https://pbx/api/extensions/call"),
            ("https://pbx/api#frag", "https://pbx/api"),
            ("https://admin:pw@pbx/api", "https://pbx/api"),
            ("https://admin@pbx", "https://pbx"),
            ("https://admin:p@w@pbx/api", "https://pbx/api"),
            ("https://admin:p#w@pbx/api", "https://pbx/api"),
            ("https://pbx/api?mail=a@b", "https://pbx/api"),
            ("https://pbx/a@b", "https://pbx/a@b"),
            ("/extensions/call?auth=x", "/extensions/call"),
            ("", ""),
        ],
    )
    def test_scrub_url(self, url: str, shown: str) -> None:
        """The scheme, host and path stay; the query, fragment and user information are removed."""
        assert scrub_url(url) == shown


class TestTexts:
    @pytest.mark.parametrize(
        "text",
        [
            "password=S3cr3t",
            "password: S3cr3t.",
            "access_token=S3cr3t&pagination=1",
            '{"access_token": "S3cr3t", "x": 1}',
            '{"access_token":"a\\"S3cr3t"}',
            '{\\"access_token\\": \\"S3cr3t\\"}',
            '{"access_token": "S3cr3t',
            '{"access_token": "S3cr3t\\',
            "{'voicemail_pin': 'S3cr3t'}",
            "{b'password': b'S3cr3t'}",
            "web_access_password = S3cr3t",
            "Authorization: Bearer S3cr3t",
            "Authorization: Digest username=x, response=S3cr3t",
            "Cookie: a=1; session=S3cr3t\r\nHost: x",
            "Set-Cookie: S3cr3t",
            "access_token: S3cr3t",
            "X-Auth-Token: S3cr3t",
            "x-auth: S3cr3t",
            "auth=S3cr3t",
            "pin: S3cr3t",
            "GET /api/extensions/list?x=S3cr3t HTTP/1.1",
            "https://pbx/api/extensions/list?x=S3cr3t",
            "url='https://pbx/api?x=S3cr3t'",
            "https://admin:S3cr3t@pbx/api",
            "https://admin:S3cr3t@x@pbx/api",
            "http://S3cr3t@pbx",
            "https://pbx/apiextensions/call?auth=S3cr3t&to=1",
        ],
    )
    def test_unknown_secret_is_hidden_by_its_position(self, text: str) -> None:
        """Text after a secret name, in a query or before a host is hidden."""
        assert "S3cr3t" not in scrub_text(text)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "Extension 101 does not exist",
            "wrong password for admin",
            "the access token is invalid",
            "author=Ann",
            "enable_vm_pin_auth=true",
            "https://pbx.example.com:8900/api/extensions/list",
            "mail to ann@example.com",
            "Cannot connect to host pbx:8900 ssl:default [Connect call failed ('::1', 8900)]",
        ],
    )
    def test_text_without_secrets_stays(self, text: str) -> None:
        """A message without a secret is not changed."""
        assert scrub_text(text, [SECRET]) == text

    def test_text_around_a_secret_stays(self) -> None:
        """Only the value is hidden."""
        assert (
            scrub_text('{"a": 1, "password": "x", "b": 2}') == '{"a": 1, "password": ***, "b": 2}'
        )
        assert scrub_text("token=x&b=2") == "token=***&b=2"
        assert scrub_text("Cookie: a; b\nHost: x") == "Cookie: ***\nHost: x"
        assert scrub_text("GET /a?b=c HTTP") == "GET /a?*** HTTP"

    @pytest.mark.parametrize(
        "secret",
        [
            "S3cr3t",
            "pass word",
            "p&w=d+/?",
            'quo"te',
            "back\\slash",
            "pässwörd",
            "100%sure",
            "<p>word",
            "\ud800\ud801secret",
            "ends with!",
            "(enclosed)",
            "ä-ö-ü-ß",
        ],
    )
    def test_known_secret_is_hidden_in_any_form(self, secret: str) -> None:
        """It is hidden as it is, and quoted for a URL, a form, JSON, a repr or HTML."""
        template = "plain {} end"
        forms = [
            secret,
            json.dumps(secret)[1:-1],
            json.dumps(secret, ensure_ascii=False)[1:-1],
            repr(secret)[1:-1],
            secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"),
        ]
        if secret.isprintable():
            forms += [
                quote(secret),
                quote(secret, safe=""),
                quote(secret, safe="").lower() if secret.islower() else quote_plus(secret),
                quote_plus(secret),
                urlencode({"": secret})[1:],
                repr(secret.encode())[2:-1],
            ]
        for form in forms:
            assert scrub_text(template.format(form), [secret]) == template.format(HIDDEN)

    def test_longer_secret_is_hidden_first(self) -> None:
        """If one secret begins with another, no part of the longer one is left."""
        assert scrub_text("abcdef-ghi abcdef", ["abcdef", "abcdef-ghi"]) == "*** ***"

    def test_empty_secret_hides_nothing(self) -> None:
        """An empty text is not a secret, though every text contains it."""
        assert scrub_text("abc", ["", ""]) == "abc"

    @pytest.mark.parametrize(
        "text",
        [
            "The extension exists already",
            "a bad day: a user of a group at a=b",
            "Error: a value is missing",
            "it's a user's a-z; (a user) [a, b] a/b a.b a_b",
            "aaa 'aa' \"ab\" =aa &a",
            "password a user chose",
        ],
    )
    def test_short_secret_leaves_sentences_alone(self, text: str) -> None:
        """The secret "a" does not hide the words of a sentence."""
        assert scrub_text(text, ["a"]).replace(HIDDEN, "password") == text

    @pytest.mark.parametrize(
        "text",
        [
            "Extension 101 exists already",
            "Extension 101: the number 101 is taken, ask for 1010",
            "101 extensions; https://pbx:101/api/101/x",
            "at 101:101:7",
        ],
    )
    def test_short_number_leaves_sentences_alone(self, text: str) -> None:
        """A pin that is also an extension's number hides nothing in a sentence."""
        assert scrub_text(text, ["101"]) == text

    @pytest.mark.parametrize("secret", ["a", "12", "1234", "p&w", 'a"b', "ä", "x y", "5%", "\\n"])
    @pytest.mark.parametrize(
        "template",
        [
            '"{}"',
            "'{}'",
            "the value '{}' is too short",
            'got "{}".',
            "“{}” and «{}»",
            '{{"x": "{}", "y": 1}}',
            '{{\\"x\\": \\"{}\\"}}',
            "{{'x': '{}'}}",
            "b'{}'",
            "&quot;{}&quot;",
            "x={}",
            "x = {} y",
            "x={}&y=1",
            "x={}, y",
            "x={}.",
            "x: {}",
            "x: {}.",
            "x: {}\r\ny",
            '{{"x": {}}}',
            '{{"x":{},"y":1}}',
            "({})",
            "[{}]",
            "<x>{}</x>",
            "/{{{}}}/",
            "x={}...",
            "x: {}\u2026",
            "x =\xa0{}!",
            "{}",
            " {}.",
            "not one of these:\r\n {}\r\n",
        ],
    )
    def test_short_secret_is_hidden_as_a_value(self, template: str, secret: str) -> None:
        """It is hidden in quotes or brackets, after a name, between tags, or on its own."""
        for form in {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}:
            shown = scrub_text(template.format(form, form), [secret])
            assert shown == template.format(HIDDEN, HIDDEN)

    @pytest.mark.parametrize(
        "text", ["the PIN 1234 is short", "Password 1234, please", "your pin is 1234"]
    )
    def test_short_secret_is_hidden_after_its_name(self, text: str) -> None:
        """It is hidden after "PIN" or "password", unless it could be a word of the sentence."""
        assert scrub_text(text, ["1234"]) == text.replace("1234", HIDDEN)
        assert scrub_text("wrong password abc.", ["abc"]) == f"wrong password {HIDDEN}."

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("a secret word", "a *** word"),
            ("secrets, secretive, topsecret, secret9, 9secret", None),
            ("a-secret, secret_word, (secret)", "a-***, ***_word, (***)"),
            (
                "line\\nsecret\\x41secret%20secret\\u00e4secret",
                "line\\n***\\x41***%20***\\u00e4***",
            ),
            ("geheimsecret ésecret secreté", None),
            ("Secret SECRET", None),
        ],
    )
    def test_secret_is_hidden_as_a_whole_word(self, text: str, shown: str | None) -> None:
        """It is not hidden in a longer word. An escape or a mark ends a word."""
        assert scrub_text(text, ["secret"]) == (text if shown is None else shown)

    def test_long_secret_is_hidden_in_a_word_too(self) -> None:
        """A token is so long that no word contains it by chance."""
        token = "196ACE20C6F34027895F7F95402BB164"
        assert scrub_text(f"token{token}x", [token]) == f"token{HIDDEN}x"

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ('{"password": ["one-1", "two]2", "three"], "b": 2}', '{"password": ***, "b": 2}'),
            ("{'pin': [1234, 5678], 'b': 2}", "{'pin': ***, 'b': 2}"),
            ('{"token": {"old": "x}y", "new": ["z"]}, "b": 2}', '{"token": ***, "b": 2}'),
            ('{"auth": [["a"], ["b"]], "b": 2}', '{"auth": ***, "b": 2}'),
            ('{"auth": [["a"], ["b', '{"auth": ***'),
            ('{"password": [], "x": 1}', '{"password": ***, "x": 1}'),
            (
                json.dumps(json.dumps({"auth": ["a]", "b"], "c": 1})),
                r'"{\"auth\": ***, \"c\": 1}"',
            ),
        ],
    )
    def test_array_or_object_under_a_secret_name_is_hidden_whole(
        self, text: str, shown: str
    ) -> None:
        """It is hidden to its end, or to the end of the text if it is cut off."""
        assert scrub_text(text) == shown

    @pytest.mark.parametrize(
        "text",
        [
            "a" * 50_000,
            "a-" * 25_000,
            "a." * 25_000,
            "a:" * 25_000,
            "/a" * 25_000,
            "http://" * 8_000,
            "https://a:" * 5_000,
            "://" * 16_000,
            "token" * 10_000,
            "pin_" * 12_500,
            "pin " * 12_500,
            '"password' * 5_000,
            'password="' + "\\" * 50_000,
            'password=\\"' + "\\" * 50_000,
            "cookie" + " " * 50_000,
            "password" + " " * 50_000,
            "password=" + "[" * 50_000,
            "password=[" * 5_000,
            'password=["' + "\\" * 50_000,
            "S3cr3t" * 8_000,
            "S3cr3t:" * 8_000,
            ":" + " " * 50_000,
            "'" * 50_000,
        ],
    )
    def test_long_text_takes_linear_time(self, text: str) -> None:
        """No text from a server blocks the event loop for long."""
        start = process_time()
        scrub_text(text, [SECRET, "a", " ", "1", ":", "p ", "=", "'"])
        assert process_time() - start < 2

    @settings(deadline=None, max_examples=200, derandomize=True)
    @given(
        text=st.text(st.characters(exclude_categories=()), max_size=60),
        secrets=st.lists(st.text(st.characters(exclude_categories=()), max_size=8), max_size=3),
    )
    def test_any_text(self, text: str, secrets: list[str]) -> None:
        """No text makes it fail, and no given secret is left as a separate word."""
        shown = scrub_text(f"{text} {' '.join(map(repr, secrets))}", secrets)
        for secret in secrets:
            if "*" not in secret and secret.strip():
                assert repr(secret) not in shown
                assert secret not in shown.split() or len(secret) < 6
