"""What a request holds: parameters and token, in the query, the body or a header."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from portsip_async import Endpoint, NewExtension, Profile
from portsip_async.core.request import RequestTemplate, secrets_of

TOKEN = 'to"ken\\é'


def endpoint(token: Any = "body", parameters: Any = "json") -> Endpoint[Any]:
    return Endpoint("a.b", "POST", "/a/b", token=token, parameters=parameters)


def parsed(query: str | Mapping[str, Any]) -> dict[str, list[str]]:
    """Parse a query as a server does."""
    url = URL("http://h/").extend_query(query)
    return parse_qs(url.raw_query_string, keep_blank_values=True)


class TestTemplate:
    @pytest.mark.parametrize("parameters", [{}, {"a": 1}, {"a": None}, {"a": {"b": ["é", 1.5]}}])
    def test_token_in_the_body(self, parameters: dict[str, Any]) -> None:
        """The token is a field next to the parameters. The JSON is valid for any token."""
        request = RequestTemplate(endpoint(), parameters).request(TOKEN)
        assert request.body is not None
        assert json.loads(request.body) == {"access_token": TOKEN, **parameters}
        assert request.headers == {"Content-Type": "application/json"}
        assert request.query == {}

    @pytest.mark.parametrize(
        ("token", "query", "headers"),
        [
            ("query", {"access_token": [TOKEN]}, {}),
            ("header", {}, {"access_token": TOKEN}),
            ("bearer", {}, {"Authorization": f"Bearer {TOKEN}"}),
            ("none", {}, {}),
        ],
    )
    def test_token_outside_the_body(
        self, token: str, query: dict[str, list[str]], headers: dict[str, str]
    ) -> None:
        """The token is in the one location that the endpoint names."""
        in_query = RequestTemplate(endpoint(token, "query"), {"n": "1"}).request(TOKEN)
        assert parsed(in_query.query) == {**query, "n": ["1"]}
        assert in_query.headers == headers
        assert in_query.body is None
        in_json = RequestTemplate(endpoint(token, "json"), {"n": "1"}).request(TOKEN)
        assert parsed(in_json.query) == query
        assert in_json.headers == {"Content-Type": "application/json", **headers}
        assert in_json.body == b'{"n":"1"}'

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("é +&=%;?/", ["é +&=%;?/"]),
            ("", [""]),
            (7, ["7"]),
            (1.5, ["1.5"]),
            (True, ["true"]),
            (["a", 1, False], ["a", "1", "false"]),
            (("a",), ["a"]),
            ([], []),
        ],
    )
    def test_query_values(self, value: object, text: list[str]) -> None:
        """A value is written as in JSON, without quotes; an array repeats its key."""
        request = RequestTemplate(endpoint("none", "query"), {"v": value, "absent": None}).request(
            ""
        )
        assert parsed(request.query) == ({"v": text} if text else {})

    def test_struct_as_parameters(self) -> None:
        """A struct is sent under the API's names, without its fields that are None."""
        extension = NewExtension(
            extension_number="101",
            password="a",
            web_access_password="b",
            profile=Profile(first_name="Ann"),
        )
        body = RequestTemplate(endpoint(), extension).request("t").body
        assert body is not None
        assert json.loads(body) == {
            "access_token": "t",
            "extension_number": "101",
            "password": "a",
            "web_access_password": "b",
            "profile": {"first_name": "Ann"},
        }

    def test_form(self) -> None:
        """The fields of a form are kept apart from the request; the token is in the query."""
        template = RequestTemplate(
            endpoint("query", "multipart"), {"extension_number": "1", "n": 2}
        )
        assert template.form == {"extension_number": "1", "n": "2"}
        request = template.request("t")
        assert (request.query, request.body) == ({"access_token": "t"}, None)

    def test_request_of_each_attempt_is_new(self) -> None:
        """Each attempt sends the token that it was given."""
        template = RequestTemplate(endpoint(), {"a": 1})
        bodies = [template.request(token).body for token in ("one", "two", "one")]
        assert bodies[0] == bodies[2] == b'{"access_token":"one","a":1}'
        assert bodies[1] == b'{"access_token":"two","a":1}'

    @pytest.mark.parametrize("form", ["query", "json", "multipart"])
    def test_half_a_surrogate_pair_in_a_value(self, form: str) -> None:
        """Text that can't be sent is refused at once, and the error does not show it."""
        token = "body" if form == "json" else "query"
        with pytest.raises(ValueError, match="half of a surrogate pair") as caught:
            RequestTemplate(endpoint(token, form), {"auth": "hidden\ud800"})
        assert type(caught.value) is ValueError
        assert caught.value.__context__ is None
        assert "hidden" not in repr(caught.value)

    @pytest.mark.parametrize("form", ["query", "json", "multipart"])
    def test_half_a_surrogate_pair_in_a_name(self, form: str) -> None:
        """A parameter with a name that can't be sent is refused, not sent under another name."""
        token = "body" if form == "json" else "query"
        with pytest.raises(ValueError, match="half of a surrogate pair"):
            RequestTemplate(endpoint(token, form), {"name\ud800": "1"})

    @pytest.mark.parametrize("form", ["query", "json"])
    def test_value_that_json_cannot_hold(self, form: str) -> None:
        """A parameter of an unknown type is refused."""
        with pytest.raises(TypeError, match="object"):
            RequestTemplate(endpoint("none", form), {"a": object()})

    def test_struct_without_names(self) -> None:
        """A struct that is encoded as an array is refused as parameters."""

        class Pair(msgspec.Struct, array_like=True):
            first: int

        with pytest.raises(TypeError, match="must be a mapping or a struct"):
            RequestTemplate(endpoint(), Pair(1))

    def test_repr_hides_the_contents(self) -> None:
        """The repr of a request shows no parameter and no token."""
        request = RequestTemplate(endpoint("query", "query"), {"auth": "hidden"}).request("hidden")
        assert "hidden" not in repr(request)

    @given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers(-9, 9)), st.text())
    def test_any_parameters_and_token(self, parameters: dict[str, int], token: str) -> None:
        """The JSON holds the parameters and the token as they were given."""
        parameters.pop("access_token", None)
        try:
            token.encode()
        except UnicodeEncodeError:
            return  # a client refuses such a token
        body = RequestTemplate(endpoint(), parameters).request(token).body
        assert body is not None
        assert json.loads(body) == {"access_token": token, **parameters}


def test_secrets_of_a_call() -> None:
    """They are the token, and every value under a secret name at any depth."""
    parameters = {
        "extension_number": "101",
        "password": "p1",
        "voice_mail": {"voicemail_pin": 1234, "prompt_language": "en"},
        "auth": "p2",
    }
    assert sorted(secrets_of(parameters, "tok")) == ["1234", "p1", "p2", "tok"]
    assert secrets_of({"a": "b"}, None) == []
    extension = NewExtension(extension_number="1", password="p", web_access_password="w")
    assert sorted(secrets_of(extension, "")) == ["p", "w"]
