"""The checks of the fleet's trials find what they are there for."""

import msgspec
import pytest

from .chains import Chains, Line, State, differences, missed, number_of, phone_of

A: State = ("ONLINE", phone_of(1))
B: State = ("RINGING", phone_of(2))
C: State = ("ON_CALL", phone_of(3))
FIRST = ("100", None, A)


def lines(*changes: tuple[str, State | None, State | None], ids: str = "abcdefgh") -> list[Line]:
    return [
        Line(0.0, "change", "acme", mark, extension, before, after)
        for mark, (extension, before, after) in zip(ids, changes, strict=False)
    ]


@pytest.mark.parametrize(
    ("changes", "ids", "wrong"),
    [
        ([FIRST, ("100", A, B), ("100", B, None)], "abc", None),
        ([FIRST, ("100", A, B), ("100", A, B)], "abb", None),
        ([FIRST, ("101", None, B), ("100", A, C)], "abc", None),
        ([FIRST, ("100", B, C)], "ab", "a gap"),
        ([("100", A, B)], "a", "a gap"),
        ([FIRST, FIRST], "ab", "a gap"),
        ([FIRST, ("100", A, None), ("100", A, B)], "abc", "a gap"),
        ([FIRST, ("100", A, A)], "ab", "to the same"),
        ([("100", None, B), ("100", B, A)], "ab", "stale"),
        ([FIRST, ("100", A, B)], "aa", "another content"),
    ],
    ids=[
        "whole",
        "again",
        "interleaved",
        "missing",
        "first missing",
        "twice in the stream",
        "after its end",
        "no change",
        "older",
        "reused id",
    ],
)
def test_chains_find_a_gap(
    changes: list[tuple[str, State | None, State | None]], ids: str, wrong: str | None
) -> None:
    """Each change continues the earlier ones of its extension."""
    chains = Chains().add(lines(*changes, ids=ids))
    assert bool(chains.wrong) is bool(wrong)
    assert all(wrong in sentence for sentence in chains.wrong if wrong)


def test_chains_start_from_what_is_known_and_from_a_resync() -> None:
    resync = Line(0.0, "resync", "acme", "x", snapshot={"100": C})
    known = Chains({"acme": {"100": A}}).add(lines(("100", A, B)))
    known.add([resync]).add(lines(("100", C, None), ids="y"))
    assert (known.wrong, known.views) == ([], {"acme": {}})


def test_chains_count_what_came_again() -> None:
    chains = Chains().add(lines(FIRST)).add(lines(FIRST))
    assert (chains.count, [seen.number for seen in chains.seen]) == ({"change": 1, "again": 1}, [1])


def test_chains_pair_the_ends_of_outages() -> None:
    begins, ends = (Line(0.0, "outage", "acme", mark, error=error) for mark, error in ("ae", "b\0"))
    ends = msgspec.structs.replace(ends, error=None)
    assert Chains().add([begins]).down == {"acme": "e"}
    assert Chains().add([begins, ends]).wrong == []
    assert "did not begin" in Chains().add([ends]).wrong[0]


@pytest.mark.parametrize(
    ("views", "count"),
    [
        ({"acme": {"100": A, "101": B}}, 0),
        ({"acme": {"100": A, "101": C}}, 1),
        ({"acme": {"100": A}}, 1),
        ({"acme": {"100": A, "101": B, "102": C}}, 1),
        ({}, 2),
        ({"acme": {"100": A, "101": B}, "globex": {"100": A}}, 1),
        ({"acme": {"100": A, "101": B}, "globex": {}}, 0),
    ],
    ids=["same", "wrong", "missing", "too many", "unknown PBX", "PBX too many", "empty PBX"],
)
def test_differences_from_the_truth(views: dict[str, dict[str, State]], count: int) -> None:
    assert len(differences(views, {"acme": {"100": A, "101": B}}, "it")) == count


def test_missed_compares_two_groups() -> None:
    changes = lines(FIRST, ("100", A, B))
    whole, part = Chains().add(changes), Chains().add(changes[:1])
    assert (missed(whole, whole), len(missed(whole, part)), len(missed(part, whole))) == ([], 1, 1)


def test_numbers_of_statuses() -> None:
    states: list[State | None] = [A, ("ONLINE", "Yealink T46U"), ("OFFLINE", None), None]
    assert [number_of(state) for state in states] == [1, 0, 0, 0]
