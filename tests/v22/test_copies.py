"""Copies and pickles of generation v22: its client refuses them, its plain values allow them."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import portsip_async
from portsip_async import Detected, NotFound, Token, v22
from portsip_async.v22 import (
    ENDPOINTS,
    CallSession,
    ExtensionState,
    ForwardRule,
    Member,
    MembersError,
    OfficeHours,
    PortSIPClient,
    Presence,
    Role,
    SignIn,
    Status,
    Tokens,
    User,
    UserSettings,
    UserStatus,
    UserSummary,
)

from ..internals import session_of
from ..test_copies import COPIES
from .conftest import V22Maker
from .test_users import new

LIVE: dict[str, Callable[[PortSIPClient], object]] = {
    "client": lambda pbx: pbx,
    "view": lambda pbx: pbx.with_options(timeout=3),
    "auth": lambda pbx: pbx.auth,
    "users": lambda pbx: pbx.users,
    "extensions": lambda pbx: pbx.extensions,
    "groups": lambda pbx: pbx.groups,
    "greetings": lambda pbx: pbx.greetings,
    "blobs": lambda pbx: pbx.blobs,
    "calls": lambda pbx: pbx.calls,
    "list": lambda pbx: pbx.users.list(),
    "search": lambda pbx: pbx.extensions.search("1"),
    "group list": lambda pbx: pbx.groups.list(),
    "items": lambda pbx: aiter(pbx.users.list()),
    "pages": lambda pbx: pbx.users.list().pages(),
    "poll": lambda pbx: pbx.extensions.poll_status(["101"]),
    "watch": lambda pbx: pbx.extensions.watch_status(["101"], source="poll"),
    "bulk run": lambda pbx: pbx.users.remove_many(["id"]),
    "session": session_of,
    "token cache": lambda pbx: session_of(pbx).tokens,
}
SECRET = "S3cr3t-1"
VALUES = (
    SignIn("admin", SECRET, "test.io"),
    Tokens(SECRET, "S3cr3t-2"),
    Token(SECRET, 30.0, refresh_token="S3cr3t-2"),
    Detected("v22", "GET /api/info returned a JSON object"),
    new("951", office_hours=OfficeHours(mode="CUSTOM")),
    UserSettings(away_office_hours_forward_rule=ForwardRule(action="HANGUP"), enabled=False),
    User(id="u1", role=Role.STANDARD_USER, password=SECRET),
    UserSummary(id="u1", extension_number="951"),
    UserStatus(status=Status.RINGING, presence=Presence("FROM_THE_FUTURE")),
    ExtensionState("951", Status.ON_CALL, Presence.AWAY, "soon", "u1"),
    Member(extension_number="951"),
    CallSession(id="s1"),
)


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("what", LIVE)
async def test_client_and_its_objects_refuse_copies(
    make_v22: V22Maker, what: str, how: str, used: bool
) -> None:
    """A copy is a TypeError that says what to do instead, and the client still works."""
    pbx = make_v22()
    if used:
        await pbx.extensions.show("101")
    with pytest.raises(TypeError) as caught:
        COPIES[how](LIVE[what](pbx))
    if what not in ("items", "pages"):
        assert "can't be copied or pickled" in str(caught.value)
        assert "with_options" in str(caught.value)
    await pbx.extensions.show("101")


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_plain_values_are_copied(value: Any) -> None:
    """Settings, credentials and models keep all their fields, and stay hidden in a repr."""
    for how in COPIES.values():
        twin = how(value)
        if isinstance(twin, bytes):
            twin = pickle.loads(twin)
        elif isinstance(twin, dict):
            (twin,) = twin["pbx"]
        assert type(twin) is type(value)
        assert twin == value
        assert repr(twin) == repr(value)
        assert "S3cr3t" not in repr(twin)


def test_error_of_members_is_copied() -> None:
    """It keeps the numbers and their errors."""
    failed = {"101": NotFound("gone", status=404, err_code="UNKNOWN", detail={"why": ["x"]})}
    error = MembersError(["100"], failed, operation="groups.add_member")
    for twin in (
        copy.copy(error),
        copy.deepcopy(error),
        pickle.loads(pickle.dumps(error)),
        error.copy(),
    ):
        assert type(twin) is MembersError
        assert str(twin) == str(error)
        assert twin.done == ["100"]
        (gone,) = twin.failed.values()
        assert isinstance(gone, NotFound)
        assert (gone.err_code, gone.detail) == ("UNKNOWN", {"why": ["x"]})


def test_endpoints_are_copied() -> None:
    twin = copy.deepcopy(ENDPOINTS["blobs.append"])
    assert twin.path_arguments == ("id",)
    assert twin.headers == {"upload_token": "PortSIP-Upload-Token"}


def test_public_names() -> None:
    """What the contract names is public: shared names in the root, others in their generation."""
    assert {"detect", "Detected", "TwoFactorRequired", "Token", "APIError"} <= set(
        portsip_async.__all__
    )
    assert {
        "PortSIPClient",
        "ClientOptions",
        "ENDPOINTS",
        "SignIn",
        "Tokens",
        "NewUser",
        "User",
        "UserSettings",
        "UserSummary",
        "UserStatus",
        "ExtensionNumber",
        "ExtensionState",
        "Group",
        "GroupSettings",
        "GroupSummary",
        "Member",
        "MembersError",
        "Greeting",
        "CallSession",
        "CallSettings",
        "ServerInfo",
    } <= set(v22.__all__)
    for module in (portsip_async, v22):
        assert len(module.__all__) == len(set(module.__all__))
        assert all(hasattr(module, name) for name in module.__all__)
