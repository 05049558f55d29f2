"""Fixtures: a redis-server, and processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .processes import Processes
from .redis_server import RedisServer


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A redis-server without persistence."""
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """A starter of processes, which are killed at the end."""
    with Processes(tmp_path) as processes:
        yield processes
