"""Fixtures: the vendor's document, and Prism as a mock and as a proxy of it."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from . import prism
from .document import Document

VARIABLE = "PORTSIP_V22_OPENAPI"


@pytest.fixture(scope="session")
def document() -> Document:
    """The vendor's document; the test is skipped where it is not."""
    path = os.environ.get(VARIABLE)
    if not path:
        pytest.skip(f"{VARIABLE} is not set to the path of the vendor's OpenAPI document")
    return Document(Path(path))


@pytest.fixture(scope="session", params=["static", "dynamic"])
def mock_url(
    request: pytest.FixtureRequest, document: Document, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Prism as a server that answers with the document's examples, or with random samples."""
    options = ("--dynamic", "--seed", "1") if request.param == "dynamic" else ()
    log = tmp_path_factory.mktemp("mock") / "log"
    with prism.running(log, "mock", *options, document.path) as url:
        yield url


@pytest.fixture
def proxy(document: Document, tmp_path: Path) -> Callable[[str], AbstractContextManager[str]]:
    """Prism as a proxy in front of a URL."""

    def start(upstream: str) -> AbstractContextManager[str]:
        return prism.running(tmp_path / "log", "proxy", "--errors", document.path, upstream)

    return start
