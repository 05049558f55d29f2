"""The simulator's state alone: the roster, the search, what is made up."""

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portsip_async.simulator.accounts import Accounts
from portsip_async.simulator.refusal import Refusal
from portsip_async.simulator.roster import Roster
from portsip_async.simulator.settings import presence
from portsip_async.simulator.state import PBX


def pbx(extensions: int = 1000) -> PBX:
    return PBX(extensions=extensions, groups=3, seed=0, status_seconds=30.0)


class TestRoster:
    @settings(deadline=None)
    @example(initial=5, changes=[(False, 102)], start=0, size=4)
    @given(
        initial=st.integers(0, 12),
        changes=st.lists(st.tuples(st.booleans(), st.integers(90, 120)), max_size=40),
        start=st.integers(0, 20),
        size=st.integers(1, 7),
    )
    def test_changes(
        self, initial: int, changes: list[tuple[bool, int]], start: int, size: int
    ) -> None:
        """Pages are those of a list that things are removed from and appended to."""
        roster, model = Roster(initial), [str(100 + at) for at in range(initial)]
        for adds, at in changes:
            number = str(at)
            if adds and number not in model:
                roster.add(number)
                model.append(number)
            elif not adds and number in model:
                roster.remove(number)
                model.remove(number)
        assert list(roster) == model
        assert len(roster) == len(model)
        page = [roster.number(place) for place in roster.places(start, size)]
        assert page == model[start : start + size]
        assert all((str(at) in roster) == (str(at) in model) for at in range(90, 121))

    @pytest.mark.parametrize("number", ["", "099", "0100", "1100", "10x", "²", "9" * 30, "-100"])
    def test_unknown(self, number: str) -> None:
        """A number is known exactly as it is written."""
        roster = Roster(1000)
        assert number not in roster
        with pytest.raises(KeyError):
            roster.remove(number)


class TestPBX:
    def test_memory(self) -> None:
        """100,000 extensions take next to nothing until they are changed."""
        tracemalloc.start()
        try:
            made = pbx(100_000)
            made.list_extensions(900, 100, 0.0)
            made.statuses(["100", "100099"], 0.0)
            assert tracemalloc.get_traced_memory()[0] < 200_000
        finally:
            tracemalloc.stop()

    def test_search_follows_changes(self) -> None:
        """A search sees what was created, changed and removed, in the order of the list."""
        made = pbx(300)
        profile = {"first_name": "Quentin", "last_name": None, "email": "Q@x.example"}
        made.update_extension("300", {"profile": profile})
        made.create_extension({"extension_number": "20", "profile": profile})
        made.update_extension("100", {"profile": profile})

        def found(condition: str) -> list[str]:
            page = made.search_extensions(condition, 1, None, 0.0)
            return [row["extension_number"] for row in page["extensions"]]

        assert found("QUENTIN") == ["100", "300", "20"]
        assert found("q@x") == ["100", "300", "20"]
        made.remove_extension("300")
        assert found("quentin") == ["100", "20"]
        made.remove_extension("100")
        made.create_extension({"extension_number": "100"})
        assert found("quentin") == ["20"]
        assert found("100") == ["100"]
        for at in range(40):
            assert found(f"nobody {at}") == []

    def test_made_up_from_the_seed(self) -> None:
        """The same seed makes up the same PBX, another one another."""
        shown = [
            PBX(extensions=9, groups=3, seed=seed, status_seconds=0).show_extension("105")
            for seed in (1, 1, 2)
        ]
        assert shown[0] == shown[1] != shown[2]

    def test_refused_changes_change_nothing(self) -> None:
        """An update of members that don't exist leaves the group as it was."""
        made = pbx()
        group_id = made.group_ids[0]
        before = made.show_group(group_id)
        with pytest.raises(Refusal):
            made.update_group(group_id, {"group_name": "x", "members": ["100", "1"]})
        assert made.show_group(group_id) == before


def test_presence_lasts() -> None:
    """A status lasts for its period, however it is looked at."""
    seen = [presence(7, 0, at / 10, 30.0) for at in range(6000)]
    changes = [at for at, (a, b) in enumerate(pairwise(seen)) if a != b]
    assert len(changes) > 5
    assert all(later - earlier >= 290 for earlier, later in pairwise(changes))


def test_dead_tokens_are_forgotten() -> None:
    """Tokens don't pile up over weeks."""
    tokens = iter(range(1000))
    accounts = Accounts(
        username="u",
        password="p",
        email="e",
        lifetime=1.0,
        make_token=lambda: str(next(tokens)),
    )
    for now in range(1000):
        accounts.verify("u", "p", float(now))
    assert len(accounts._tokens) == 1
    assert accounts.issued == 1000
