"""What the matrix does otherwise than the other tests."""

import pytest


@pytest.fixture(autouse=True)
def nothing_is_left() -> None:
    """Nothing to look for: each observation has a loop of its own, and counts what is left."""
