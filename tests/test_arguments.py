"""The checking of numbers that callers pass."""

import pytest

from portsip_async.arguments import integer, quantity


class TestInteger:
    @pytest.mark.parametrize("value", [True, 1.0, "1", None])
    def test_of_another_type(self, value: object) -> None:
        with pytest.raises(TypeError, match="batch_size"):
            integer("batch_size", value, 1)

    @pytest.mark.parametrize("value", [0, -1])
    def test_below_its_least(self, value: int) -> None:
        with pytest.raises(ValueError, match="batch_size"):
            integer("batch_size", value, 1)

    def test_at_its_least(self) -> None:
        assert integer("batch_size", 1, 1) == 1


class TestQuantity:
    @pytest.mark.parametrize("value", [True, "1", None])
    def test_of_another_type(self, value: object) -> None:
        with pytest.raises(TypeError, match="interval"):
            quantity("interval", value)

    @pytest.mark.parametrize("value", [-0.1, float("inf"), float("nan")])
    def test_out_of_bounds(self, value: float) -> None:
        with pytest.raises(ValueError, match="interval"):
            quantity("interval", value)

    def test_zero(self) -> None:
        assert quantity("grace", 0) == 0.0
        with pytest.raises(ValueError, match="interval"):
            quantity("interval", 0, above=0)
