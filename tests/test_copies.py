"""Copies and pickles: refused by what holds connections and a token, allowed for plain values."""

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
    "session": lambda pbx: pbx._session,
    "token cache": lambda pbx: pbx._session.tokens,
}
MEANS: dict[str, Callable[[Any], object]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "deepcopy of a container": lambda value: copy.deepcopy({"pbx": [value]}),
} | {
    f"pickle {protocol}": lambda value, protocol=protocol: pickle.dumps(value, protocol)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
}


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
@pytest.mark.parametrize("means", MEANS)
@pytest.mark.parametrize("what", LIVE)
async def test_what_holds_connections_refuses_copies(
    make_client: Callable[..., PortSIPClient], what: str, means: str, used: bool
) -> None:
    """With a TypeError; of the client and what it made, one that says what to do instead."""
    pbx = make_client()
    if used:
        await pbx.extensions.show("101")
    with pytest.raises(TypeError) as caught:
        MEANS[means](LIVE[what](pbx))
    if what not in ("items", "pages"):
        assert "can't be copied or pickled" in str(caught.value)
        assert "with_options" in str(caught.value)
    await pbx.extensions.show("101")


def plain_subclass(pbx: PortSIPClient) -> PortSIPClient:
    class Mine(type(pbx)):  # type: ignore[misc]  # a class found at run time
        pass

    return Mine("https://pbx.example.com", token="T")


async def test_subclass_refuses_copies(make_client: Callable[..., PortSIPClient]) -> None:
    with pytest.raises(TypeError, match="Mine can't be copied"):
        copy.deepcopy(plain_subclass(make_client()))


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
    """Settings, models and figures copy and pickle as before."""
    assert copy.copy(value) == value
    assert copy.deepcopy(value) == value
    assert pickle.loads(pickle.dumps(value)) == value


def test_errors_and_rows_are_copied() -> None:
    error = NotFound("gone", status=404, err_code=404.1)
    for twin in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert (type(twin), str(twin), twin.err_code) == (NotFound, str(error), 404.1)
    assert copy.deepcopy(ENDPOINTS["groups.list"]).path == ENDPOINTS["groups.list"].path
