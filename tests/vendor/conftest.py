"""Fixtures: the vendor's document, and Prism as a mock and as a proxy of it."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from . import prism
from .document import Document

VARIABLE = "PORTSIP_V22_OPENAPI"

Proxy = Callable[[str], AbstractContextManager[str]]


@pytest.fixture(scope="session")
def document() -> Document:
    """The vendor's document; the test is skipped where it is not."""
    path = os.environ.get(VARIABLE)
    if not path:
        pytest.skip(f"{VARIABLE} is not set to the path of the vendor's OpenAPI document")
    return Document(Path(path))


@pytest.fixture(scope="session")
def static_url(document: Document, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Prism as a server that answers with the examples of the document."""
    with prism.running(tmp_path_factory.mktemp("static") / "log", "mock", document.path) as url:
        yield url


@pytest.fixture(scope="session")
def dynamic_url(document: Document, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Prism as a server that answers with random samples."""
    log = tmp_path_factory.mktemp("dynamic") / "log"
    with prism.running(log, "mock", "--dynamic", "--seed", "22", document.path) as url:
        yield url


@pytest.fixture
def proxy(document: Document, tmp_path: Path) -> Proxy:
    """Prism as a proxy in front of a URL."""

    def start(upstream: str) -> AbstractContextManager[str]:
        return prism.running(tmp_path / "log", "proxy", "--errors", document.path, upstream)

    return start
