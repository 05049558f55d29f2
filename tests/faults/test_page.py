"""The fault matrix in the documentation is the one that the tests check."""

from .catalogue import BY_NAME, FAULTS
from .page import PAGE, page


def test_page_is_up_to_date() -> None:
    """The committed page equals the one that `make fault-matrix` generates."""
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make fault-matrix`"


def test_page_has_a_row_for_each_fault() -> None:
    """Every fault has a row with a unique name."""
    names = [fault.name for group in FAULTS.values() for fault in group]
    assert len(names) == len(BY_NAME)
    for name in names:
        assert f"\n| {name} " in page()
