"""Fixtures of the fault matrix that differ from those of the other tests."""

import pytest


@pytest.fixture(autouse=True)
def no_task_is_left() -> None:
    """Skip the check for open resources: each observation has its own loop and does the check."""
