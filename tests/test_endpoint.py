"""Rows of the API: their defaults, their overrides, and the table itself."""

from types import NoneType
from typing import Any, get_args

import pytest

from portsip_async.classic.extension_models import Extension, ExtensionStatuses
from portsip_async.classic.operations import (
    ENDPOINTS,
    EXTENSIONS_CALL,
    EXTENSIONS_LIST,
    EXTENSIONS_STATUS,
    GREETINGS_UPLOAD,
)
from portsip_async.core.endpoint import Endpoint, EndpointTable, PageScheme
from portsip_async.errors import ConfigurationError

from .operations import BY_ROW, ROWS, Row
from .samples import SAMPLES, TOKEN, load


class TestTable:
    def test_table_has_exactly_the_operations(self) -> None:
        """The table, the tests' own rows and the vendor's samples have the same operations."""
        assert list(ENDPOINTS) == list(ENDPOINTS.keys()) == [row.name for row in ENDPOINTS.values()]
        assert set(ENDPOINTS) == set(BY_ROW) == set(SAMPLES)

    @pytest.mark.parametrize("written", ROWS, ids=lambda row: row.name)
    def test_row_agrees_with_the_reference(self, written: Row) -> None:
        """Each row equals the row that was written by hand from the vendor's reference."""
        row = ENDPOINTS[written.name]
        for name in ("method", "path", "reply", "safety", "token", "parameters"):
            assert getattr(row, name) == getattr(written, name), name
        assert (row.pages.key if row.pages else None) == written.key
        assert row.takes is not None
        optional = {name for name, kind in row.takes.items() if NoneType in get_args(kind)}
        assert set(row.takes) == set(written.sends)
        assert optional == written.optional

    @pytest.mark.parametrize("name", SAMPLES)
    def test_row_agrees_with_the_sample(self, name: str) -> None:
        """Method, path and the location of the token are those of the vendor's sample request."""
        row, sample = ENDPOINTS[name], load(name)
        assert (row.method, row.path) == (sample.method, sample.path)
        locations = {"query": sample.query, "body": sample.body}
        used = {key for key, part in locations.items() if part and "access_token" in part}
        assert used == ({row.token} if row.token != "none" else set())
        for key in used:
            assert (locations[key] or {})["access_token"] == TOKEN
        assert (sample.parts is not None) == (row.parameters == "multipart")
        assert (sample.body is not None) == (row.parameters == "json")
        assert bool(sample.reply) == (row.reply is not None)

    def test_lists_share_their_page_scheme(self) -> None:
        """The sample request of each list has the parameters of its page scheme."""
        lists = [row for row in ENDPOINTS.values() if row.pages]
        assert len(lists) == 4
        for row in lists:
            assert row.pages is not None
            assert {row.pages.number, row.pages.size} <= set(load(row.name).query or {})


class TestEndpoint:
    @pytest.mark.parametrize(
        ("method", "expected"),
        [
            ("GET", ("GET", "safe", "query", "query")),
            ("get", ("GET", "safe", "query", "query")),
            ("POST", ("POST", "unsafe", "body", "json")),
            ("PUT", ("PUT", "unsafe", "body", "json")),
            ("delete", ("DELETE", "unsafe", "body", "json")),
        ],
    )
    def test_defaults_follow_the_method(
        self, method: str, expected: tuple[str, str, str, str]
    ) -> None:
        """The method sets the defaults of all arguments that are not given."""
        row = Endpoint("things.do", method, "/things")
        assert (row.method, row.safety, row.token, row.parameters) == expected
        assert row.reply is None
        assert row.pages is None

    def test_token_in_a_header_with_any_parameters(self) -> None:
        """Later generations of the API have the token in a header."""
        for token in ("header", "bearer"):
            row = Endpoint("things.do", "POST", "/things", token=token, parameters="multipart")
            assert row.token == token

    def test_endpoint_is_immutable(self) -> None:
        """Any number of clients can share a row."""
        with pytest.raises(AttributeError):
            EXTENSIONS_CALL.safety = "safe"  # type: ignore[misc]  # what must not work

    def test_repr_shows_the_row(self) -> None:
        """A repr shows the whole row."""
        assert "extensions.call" in repr(EXTENSIONS_CALL)
        assert repr(PageScheme(key="id")) == (
            "PageScheme(key='id', number='pagination', size='pagesize', skip=None, top=None)"
        )

    @pytest.mark.parametrize("half", [{"skip": "skip"}, {"top": "top"}])
    def test_skip_and_top_belong_together(self, half: dict[str, str]) -> None:
        with pytest.raises(ValueError, match="skip and top must be passed together"):
            PageScheme("id", **half)

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ({"name": ""}, "name"),
            ({"method": ""}, "method"),
            ({"method": "GE T"}, "method"),
            ({"method": "GET\r\nX"}, "method"),
            ({"method": "GÉT"}, "method"),
            ({"path": "things"}, "slash"),
            ({"path": ""}, "slash"),
            ({"path": "/things?x=1"}, "query"),
            ({"path": "/things#x"}, "query"),
            ({"path": "/things\r\nX: 1"}, "query"),
            ({"path": "/thi\tngs"}, "query"),
            ({"path": "/things\ud800"}, "query"),
            ({"safety": "harmless"}, "safety"),
            ({"token": "cookie"}, "token"),
            ({"parameters": "xml"}, "parameters"),
            ({"token": "body", "parameters": "multipart"}, "JSON"),
            ({"method": "GET", "token": "body"}, "JSON"),
        ],
    )
    def test_bad_value_is_refused(self, arguments: dict[str, Any], expected: str) -> None:
        """A row that can't be sent raises ValueError when it is declared."""
        given = {"name": "things.do", "method": "POST", "path": "/things", **arguments}
        name, method, path = (given.pop(each) for each in ("name", "method", "path"))
        with pytest.raises(ValueError, match=expected):
            Endpoint(name, method, path, **given)


class TestOverrides:
    def test_row_without_override_is_unchanged(self) -> None:
        """An override changes only its row, and only in this table."""
        table = EndpointTable(ENDPOINTS, {"extensions.status": {"path": "/x"}})
        assert table[EXTENSIONS_LIST] is EXTENSIONS_LIST
        assert table[EXTENSIONS_STATUS].path == "/x"
        assert EndpointTable(ENDPOINTS)[EXTENSIONS_STATUS].path == "/extensions/status"

    def test_endpoint_of_the_caller_is_unchanged(self) -> None:
        """A row that the caller declares is sent as it is."""
        row = Endpoint("mine.do", "GET", "/mine")
        assert EndpointTable(ENDPOINTS, {"extensions.status": {"path": "/x"}})[row] is row

    def test_path_override_changes_only_the_path(self) -> None:
        """An overridden path moves nothing."""
        row = EndpointTable(ENDPOINTS, {"greetings.upload": {"path": "/x"}})[GREETINGS_UPLOAD]
        assert (row.path, row.method, row.token) == ("/x", "POST", "query")
        assert (row.parameters, row.safety) == ("multipart", "unsafe")

    def test_method_override_moves_token_and_parameters(self) -> None:
        """With GET, a status request has its token and its numbers in the query."""
        row = EndpointTable(ENDPOINTS, {"extensions.status": {"method": "get"}})[EXTENSIONS_STATUS]
        assert (row.method, row.token, row.parameters) == ("GET", "query", "query")
        assert row.path == "/extensions/status"
        assert row.safety == "safe"
        assert row.reply is ExtensionStatuses

    def test_method_override_keeps_the_safety(self) -> None:
        """A call by POST, or a removal by GET, has the same effect as before."""
        overrides: Any = {
            "extensions.call": {"method": "POST"},
            "extensions.remove": {"method": "GET"},
        }
        table = EndpointTable(ENDPOINTS, overrides)
        call = table[EXTENSIONS_CALL]
        assert (call.token, call.parameters, call.safety) == ("body", "json", "unsafe")
        remove = table[ENDPOINTS["extensions.remove"]]
        assert (remove.token, remove.parameters, remove.safety) == ("query", "query", "idempotent")

    def test_token_override_applies_with_a_method_override(self) -> None:
        """A token location that is overridden, too, takes precedence over the method's default."""
        row = EndpointTable(ENDPOINTS, {"extensions.status": {"method": "GET", "token": "header"}})[
            EXTENSIONS_STATUS
        ]
        assert (row.token, row.parameters) == ("header", "query")

    def test_method_override_of_a_login_adds_no_token(self) -> None:
        """There is no token before the login."""
        row = EndpointTable(ENDPOINTS, {"account.verify": {"method": "GET"}})[
            ENDPOINTS["account.verify"]
        ]
        assert (row.token, row.parameters) == ("none", "query")

    def test_untyped_row_has_the_overrides(self) -> None:
        """A read before a write goes to the overridden path, and returns a plain object."""
        table = EndpointTable(ENDPOINTS, {"extensions.show": {"path": "/x"}})
        row = table.untyped(ENDPOINTS["extensions.show"])
        assert (row.path, row.method, row.reply) == ("/x", "GET", dict[str, Any])
        assert table.untyped(ENDPOINTS["extensions.show"]) is row
        assert table[ENDPOINTS["extensions.show"]].reply is Extension

    def test_override_keeps_the_page_scheme(self) -> None:
        """An overridden list is still read page by page."""
        row = EndpointTable(ENDPOINTS, {"extensions.list": {"method": "POST"}})[EXTENSIONS_LIST]
        assert row.pages is EXTENSIONS_LIST.pages

    @pytest.mark.parametrize(
        ("overrides", "expected"),
        [
            ({"extensions.stat": {"path": "/x"}}, "extensions.stat"),
            ({"extensions.status": {"verb": "GET", "paht": "/x"}}, "paht, verb"),
            ({"extensions.status": {"path": "x"}}, "slash"),
            ({"extensions.status": {"token": "cookie"}}, "token"),
            ({"extensions.status": {"parameters": "query"}}, "JSON"),
            ({"extensions.status": {"method": ""}}, "method"),
            ({"extensions.status": {"method": 5}}, "method"),
            ({"extensions.status": {"path": None}}, "path"),
            ({"extensions.status": {"path": "/x/{number}"}}, "no parameter 'number' for its path"),
            (
                {
                    "extensions.show": {
                        "path": "/{extension_number}",
                        "rename": {"extension_number": "n"},
                    }
                },
                "only n; rename=",
            ),
            ({"extensions.status": "/x"}, "extensions.status"),
            ("extensions.status", "endpoints"),
        ],
    )
    def test_bad_override_is_refused(self, overrides: Any, expected: str) -> None:
        """An unknown row, an unknown field or an invalid value raises ConfigurationError."""
        with pytest.raises(ConfigurationError, match=expected) as caught:
            EndpointTable(ENDPOINTS, overrides)
        assert caught.value.__cause__ is None
