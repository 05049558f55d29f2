"""The page of the documentation is the matrix that was tested."""

from .catalogue import BY_NAME, FAULTS
from .page import PAGE, page


def test_page_is_printed_from_the_rules() -> None:
    """What is committed is what `make fault-matrix` prints."""
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make fault-matrix`"


def test_page_tells_of_each_fault() -> None:
    """Every fault has a row, under a name of its own."""
    names = [fault.name for group in FAULTS.values() for fault in group]
    assert len(names) == len(BY_NAME)
    for name in names:
        assert f"\n| {name} " in page()
