"""The state of the simulator: numbers, search, generated data, tokens."""

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portsip_async.simulator.errors import PBXError
from portsip_async.simulator.generated import status_at
from portsip_async.simulator.numbers import ExtensionNumbers
from portsip_async.simulator.state import PBX
from portsip_async.simulator.tokens import TokenIssuer


def make_pbx(extensions: int = 1000) -> PBX:
    return PBX(extensions=extensions, groups=3, seed=0, status_seconds=30.0)


class TestNumbers:
    @settings(deadline=None)
    @example(initial=5, changes=[(False, 102)], start=0, size=4)
    @given(
        initial=st.integers(0, 12),
        changes=st.lists(st.tuples(st.booleans(), st.integers(90, 120)), max_size=40),
        start=st.integers(0, 20),
        size=st.integers(1, 7),
    )
    def test_pages_follow_changes(
        self, initial: int, changes: list[tuple[bool, int]], start: int, size: int
    ) -> None:
        """Pages equal those of a plain list with the same changes."""
        numbers, model = ExtensionNumbers(initial), [str(100 + at) for at in range(initial)]
        for adds, at in changes:
            number = str(at)
            if adds and number not in model:
                numbers.add(number)
                model.append(number)
            elif not adds and number in model:
                numbers.remove(number)
                model.remove(number)
        assert list(numbers) == model
        assert len(numbers) == len(model)
        page = [numbers.number_at(index) for index in numbers[start : start + size]]
        assert page == model[start : start + size]
        assert all((str(at) in numbers) == (str(at) in model) for at in range(90, 121))

    @pytest.mark.parametrize("number", ["", "099", "0100", "1100", "10x", "²", "9" * 30, "-100"])
    def test_other_spelling_is_unknown(self, number: str) -> None:
        """A number exists only in its exact spelling."""
        numbers = ExtensionNumbers(1000)
        assert number not in numbers
        with pytest.raises(KeyError):
            numbers.remove(number)


class TestPBX:
    def test_unchanged_extensions_take_no_memory(self) -> None:
        """100,000 extensions take almost no memory until they are changed."""
        tracemalloc.start()
        try:
            pbx = make_pbx(100_000)
            pbx.list_extensions(0.0, pagination=900, pagesize=100)
            pbx.statuses(["100", "100099"], 0.0)
            assert tracemalloc.get_traced_memory()[0] < 200_000
        finally:
            tracemalloc.stop()

    def test_search_follows_changes(self) -> None:
        """A search sees created, changed and removed extensions, in the order of lists."""
        pbx = make_pbx(300)
        profile = {"first_name": "Quentin", "last_name": None, "email": "Q@x.example"}
        pbx.update_extension("300", {"profile": profile})
        pbx.create_extension({"extension_number": "20", "profile": profile})
        pbx.update_extension("100", {"profile": profile})

        def found(condition: str) -> list[str]:
            page = pbx.search_extensions(0.0, condition, pagination=1)
            return [row["extension_number"] for row in page["extensions"]]

        assert found("QUENTIN") == ["100", "300", "20"]
        assert found("q@x") == ["100", "300", "20"]
        pbx.remove_extension("300")
        assert found("quentin") == ["100", "20"]
        pbx.remove_extension("100")
        pbx.create_extension({"extension_number": "100"})
        assert found("quentin") == ["20"]
        assert found("100") == ["100"]
        for at in range(40):
            assert found(f"nobody {at}") == []

    def test_generated_data_follows_the_seed(self) -> None:
        """The same seed generates the same PBX, and another seed another one."""
        shown = [
            PBX(extensions=9, groups=3, seed=seed, status_seconds=0).show_extension("105")
            for seed in (1, 1, 2)
        ]
        assert shown[0] == shown[1] != shown[2]

    def test_refused_update_changes_nothing(self) -> None:
        """An update with unknown members leaves the group unchanged."""
        pbx = make_pbx()
        group_id = next(iter(pbx.groups))
        before = pbx.show_group(group_id)
        with pytest.raises(PBXError):
            pbx.update_group(group_id, {"group_name": "x", "members": ["100", "1"]})
        assert pbx.show_group(group_id) == before


def test_status_lasts_for_its_period() -> None:
    """A status lasts for its period, however often it is read."""
    seen = [status_at(7, 0, at / 10, 30.0) for at in range(6000)]
    changes = [at for at, (a, b) in enumerate(pairwise(seen)) if a != b]
    assert len(changes) > 5
    assert all(later - earlier >= 290 for earlier, later in pairwise(changes))


def test_expired_tokens_are_deleted() -> None:
    """Tokens don't accumulate over weeks."""
    tokens = iter(range(1000))
    issuer = TokenIssuer(
        username="u",
        password="p",
        email="e",
        lifetime=1.0,
        make_token=lambda: str(next(tokens)),
    )
    for now in range(1000):
        issuer.log_in("u", "p", float(now))
    assert len(issuer._expiry) == 1
    assert issuer.issued == 1000
