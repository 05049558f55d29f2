"""What a check asks of a PBX of generation v22."""

from collections.abc import Mapping
from typing import Any, Final

from ... import APIError
from ...v22 import ENDPOINTS, PortSIPClient
from .compare import Kind
from .operations import OperationChecks, Steps
from .report import Login, Operation
from .web_socket import try_web_socket

# Logins, and reads that need an upload or a file.
_NOT_ASKED: Final = frozenset({"auth.sign_in", "auth.form_login", "blobs.status", "blobs.download"})
_FORM_LOGIN_ONLY: Final = "this version has only the form login"


async def _log_in(
    checks: OperationChecks, pbx: PortSIPClient, account: Mapping[str, str], domain: str | None
) -> Login:
    row = ENDPOINTS["auth.sign_in"]
    query = {**account, "domain": domain} if domain else {**account}

    async def sign_in() -> Any:
        return await pbx.request(row, **query)

    try:
        token = await checks.check(row.name, [query], sign_in, required=True)
    except APIError:
        operation = checks.operations[-1]
        if operation.state != "elsewhere":
            raise
        # 22.0 and 22.1 have only the form login, which the client falls back to.
        await pbx.users.list(page_size=1)
        operation.state, operation.detail = "not asked", _FORM_LOGIN_ONLY
        return Login(account="username", accepted=True)
    if token.two_factor_enabled:
        operation = checks.operations[-1]
        operation.state, operation.differences = "fits", ()
        operation.detail = "the PBX wants a second factor"
        return Login(account="username", accepted=False, problem="the PBX wants a second factor")
    return Login(account="username", accepted=True, seconds=token.expires_in)


async def _read_all(checks: OperationChecks, pbx: PortSIPClient, sample: int) -> None:
    await checks.check("pbx.info", [{}], pbx.info)
    await checks.check("auth.user", [{}], pbx.auth.user)
    sign_in, user = checks.operations[0], checks.operations[-1]
    if sign_in.detail == _FORM_LOGIN_ONLY and user.state == "elsewhere":
        user.state, user.detail = "not asked", "this version has no such operation"
    await checks.check("users.own", [{}])
    own = checks.operations[-1]
    if any(one.where == "extension_number" for one in own.differences):
        # An administrator need not be a user, and then lacks most fields.
        own.state, own.detail, own.differences = "fits", "the account has no extension", ()
    await checks.check("users.own_status", [{}], pbx.users.own_status)

    pages = [{"skip": skip, "top": sample} for skip in (0, sample)]
    page = await checks.check("users.list", pages, lambda: pbx.users.list(page_size=sample))
    users = [*page.items[:sample]] if page else []
    numbers = [user.extension_number for user in users if user.extension_number]
    by_id: list[dict[str, Any]] = [{"id": user.id} for user in users]
    await checks.check("users.show", by_id, lambda: pbx.users.show(users[0].id))
    await checks.check("users.status", by_id, lambda: pbx.users.status(users[0].id))
    by_number = [{"extension_number": number} for number in numbers]
    await checks.check("users.find", by_number, lambda: pbx.users.find(numbers[0]))
    await checks.check("greetings.list", by_id, lambda: pbx.greetings.list(users[0].id))

    page = await checks.check("groups.list", pages, lambda: pbx.groups.list(page_size=sample))
    ids = [group.id for group in page.items[:sample]] if page else []
    by_id = [{"id": group_id} for group_id in ids]
    await checks.check("groups.show", by_id, lambda: pbx.groups.show(ids[0]), missing="group")
    members: list[dict[str, Any]] = []

    async def read_members() -> None:
        for group_id in ids:
            found = (await pbx.groups.members(group_id))[:sample]
            members.extend(
                {"id": group_id, "extension_number": one.extension_number} for one in found
            )

    await checks.check("groups.members", by_id, read_members, missing="group")
    await checks.check("groups.member", members[:sample], missing="member of a group")

    sessions = await checks.check("calls.list", [{}], pbx.calls.list)
    _allow_missing(checks.operations[-1], "trunk")
    by_id = [{"id": session.id} for session in (sessions or ())[:sample]]
    await checks.check(
        "calls.show", by_id, lambda: pbx.calls.show(sessions[0].id), missing="call at the moment"
    )
    _allow_missing(checks.operations[-1], "trunk")  # only a call through a trunk has it

    checks.begin("the web socket")
    checks.web_socket = await try_web_socket(pbx, numbers[0] if numbers else None, checks.attempts)


def _allow_missing(operation: Operation, field: str) -> None:
    """Forget that replies lack a field."""
    operation.differences = tuple(
        one
        for one in operation.differences
        if one.kind is not Kind.MISSING_FIELD or one.where.rpartition(".")[2] != field
    )
    if operation.state == "differs" and not operation.differences:
        operation.state = "fits"


STEPS: Final = Steps(
    endpoints=ENDPOINTS,
    reads=tuple(
        name for name, row in ENDPOINTS.items() if row.safety == "safe" and name not in _NOT_ASKED
    ),
    item_missing=frozenset(),
    log_in=_log_in,
    read_all=_read_all,
)
