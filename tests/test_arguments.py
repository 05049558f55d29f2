"""Checks of the arguments that callers pass."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from portsip_async.arguments import (
    check_int,
    check_iterable,
    check_number,
    check_str,
    check_strs,
    check_type,
)


class TestInt:
    @pytest.mark.parametrize("value", [True, 1.0, "1", None])
    def test_value_of_another_type_is_refused(self, value: object) -> None:
        expected = f"batch_size must be an int, got {type(value).__name__}"
        with pytest.raises(TypeError, match=expected):
            check_int("batch_size", value, 1)

    @pytest.mark.parametrize("value", [0, -1])
    def test_value_below_the_minimum_is_refused(self, value: int) -> None:
        with pytest.raises(ValueError, match=f"batch_size must be at least 1, got {value}"):
            check_int("batch_size", value, 1)

    def test_minimum_is_returned(self) -> None:
        assert check_int("batch_size", 1, 1) == 1


class TestNumber:
    @pytest.mark.parametrize("value", [True, "1", None])
    def test_value_of_another_type_is_refused(self, value: object) -> None:
        with pytest.raises(TypeError, match="interval must be a number, got"):
            check_number("interval", value)

    @pytest.mark.parametrize("value", [-0.1, float("inf"), float("nan")])
    def test_value_out_of_bounds_is_refused(self, value: float) -> None:
        with pytest.raises(ValueError, match="interval must be finite and at least 0, got"):
            check_number("interval", value)

    def test_zero_is_refused_only_if_the_bound_excludes_it(self) -> None:
        assert check_number("grace", 0) == 0.0
        with pytest.raises(ValueError, match="interval must be finite and above 0, got 0"):
            check_number("interval", 0, above=0)


class TestStr:
    def test_value_of_another_type_is_refused(self) -> None:
        with pytest.raises(TypeError, match="extension_number must be a str, got int"):
            check_str("extension_number", 101)

    def test_empty_text_is_refused(self) -> None:
        with pytest.raises(ValueError, match="extension_number must not be empty"):
            check_str("extension_number", "")


class TestCollections:
    @pytest.mark.parametrize("check", [check_strs, check_iterable])
    @pytest.mark.parametrize("value", ["101", b"101", bytearray(b"101"), 101, None])
    def test_single_text_is_refused(self, check: Any, value: object) -> None:
        """The message shows a right call."""
        got = f"numbers must be a list or another iterable, got {type(value).__name__}"
        with pytest.raises(TypeError) as caught:
            check("numbers", value, 'status(["101"])')
        assert str(caught.value) == f'{got}; pass a list, e.g. status(["101"])'

    @pytest.mark.parametrize("values", [{"101"}, ("101",), iter(["101"])])
    def test_any_other_iterable_is_returned_as_a_list(self, values: Any) -> None:
        assert check_strs("numbers", values) == ["101"]

    def test_bad_item_is_refused(self) -> None:
        with pytest.raises(TypeError, match="each of numbers must be a str, got int"):
            check_strs("numbers", ["101", 102])  # type: ignore[list-item]  # what is refused
        with pytest.raises(ValueError, match="each of numbers must not be empty"):
            check_strs("numbers", ["101", ""])

    def test_async_iterable_is_returned_unread(self) -> None:
        async def numbers() -> AsyncIterator[str]:
            yield "101"

        source = numbers()
        assert check_iterable("numbers", source) is source
        asyncio.run(source.aclose())  # type: ignore[attr-defined]  # a generator has it


class TestType:
    def test_allowed_types_are_named(self) -> None:
        check_type("proxy", "http://proxy", str, None)
        check_type("proxy", None, str, None)
        with pytest.raises(TypeError, match="proxy must be a str or None, got int"):
            check_type("proxy", 5, str, None)
        with pytest.raises(TypeError, match="retry must be a dict, got NoneType"):
            check_type("retry", None, dict)
