"""Copies and pickles: clients and what they make refuse them; plain values allow them."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from portsip_async import (
    ENDPOINTS,
    Drift,
    ExtensionStatus,
    NotFound,
    PasswordCredentials,
    PortSIPClient,
    RetryPolicy,
    StaticToken,
    Timeout,
    Token,
    WatchStats,
)

from .internals import session_of

LIVE: dict[str, Callable[[PortSIPClient], object]] = {
    "client": lambda pbx: pbx,
    "view": lambda pbx: pbx.with_options(timeout=3),
    "account": lambda pbx: pbx.account,
    "extensions": lambda pbx: pbx.extensions,
    "groups": lambda pbx: pbx.groups,
    "greetings": lambda pbx: pbx.greetings,
    "list": lambda pbx: pbx.extensions.list(),
    "search": lambda pbx: pbx.extensions.search("1"),
    "group list": lambda pbx: pbx.groups.list(),
    "greeting list": lambda pbx: pbx.greetings.list("101"),
    "items": lambda pbx: aiter(pbx.extensions.list()),
    "pages": lambda pbx: pbx.extensions.list().pages(),
    "poll": lambda pbx: pbx.extensions.poll_status(["101"]),
    "watch": lambda pbx: pbx.extensions.watch_status(["101"]),
    "bulk run": lambda pbx: pbx.extensions.remove_many(["101"]),
    "session": session_of,
    "token cache": lambda pbx: session_of(pbx).tokens,
}
COPIES: dict[str, Callable[[Any], object]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "deepcopy of a container": lambda value: copy.deepcopy({"pbx": [value]}),
} | {
    f"pickle {protocol}": lambda value, protocol=protocol: pickle.dumps(value, protocol)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
}


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("what", LIVE)
async def test_client_and_its_objects_refuse_copies(
    make_client: Callable[..., PortSIPClient], what: str, how: str, used: bool
) -> None:
    """A copy is a TypeError that says what to do instead, and the client still works."""
    pbx = make_client()
    if used:
        await pbx.extensions.show("101")
    with pytest.raises(TypeError) as caught:
        COPIES[how](LIVE[what](pbx))
    if what not in ("items", "pages"):
        assert "can't be copied or pickled" in str(caught.value)
        assert "with_options" in str(caught.value)
    await pbx.extensions.show("101")


def subclass_of(pbx: PortSIPClient) -> PortSIPClient:
    class Mine(type(pbx)):  # type: ignore[misc]  # a class found at run time
        pass

    return Mine("https://pbx.example.com", token="T")


async def test_subclass_refuses_copies(make_client: Callable[..., PortSIPClient]) -> None:
    """The error names the subclass."""
    with pytest.raises(TypeError, match="Mine can't be copied"):
        copy.deepcopy(subclass_of(make_client()))


@pytest.mark.parametrize(
    "value",
    [
        Timeout(total=3),
        RetryPolicy(attempts=2),
        Drift(1, page_count_changed=True),
        WatchStats(cycles=3, unknown=("9",)),
        ExtensionStatus(extension_number="101"),
        PasswordCredentials("admin", "a-long-password"),
        StaticToken("T"),
        Token("T", 30.0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_plain_values_are_copied(value: object) -> None:
    """Settings, models and statistics can be copied and pickled."""
    assert copy.copy(value) == value
    assert copy.deepcopy(value) == value
    assert pickle.loads(pickle.dumps(value)) == value


def test_errors_and_endpoints_are_copied() -> None:
    """Errors can be copied and pickled; endpoints can be copied."""
    error = NotFound("gone", status=404, err_code=404.1)
    for twin in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert (type(twin), str(twin), twin.err_code) == (NotFound, str(error), 404.1)
    assert copy.deepcopy(ENDPOINTS["groups.list"]).path == ENDPOINTS["groups.list"].path
