"""What a check asks of a PBX of the classic generation."""

import re
from collections.abc import Mapping
from typing import Any, Final

from ... import ENDPOINTS, PortSIPClient
from .compare import Kind
from .operations import OperationChecks, Steps, matched
from .report import Login

_LOGINS: Final = frozenset({"account.verify", "account.verify_email"})
_WORD: Final = re.compile(r"[A-Za-z_]{1,20}")
_VERSION: Final = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){0,3}")


async def _log_in(
    checks: OperationChecks, pbx: PortSIPClient, account: Mapping[str, str], _: str | None
) -> Login:
    kind, row = "username", "account.verify"
    verify: Any = pbx.account.verify
    if "email" in account:
        kind, row, verify = "email", "account.verify_email", pbx.account.verify_email
    token = await checks.check(row, [account], lambda: verify(**account), required=True)
    differences = checks.operations[-1].differences
    missing = {one.where for one in differences if one.kind is Kind.MISSING_FIELD}
    return Login(
        account=kind,
        accepted=True,
        seconds=None if "expires" in missing else token.expires,
        role=matched(_WORD, token.role),
        api_version=matched(_VERSION, token.api_version),
    )


async def _read_all(checks: OperationChecks, pbx: PortSIPClient, sample: int) -> None:
    extensions, groups = pbx.extensions, pbx.groups
    pages = [{"pagination": page, "pagesize": sample} for page in (1, 2)]
    await checks.check("account.refresh", [{}])

    page = await checks.check("extensions.list", pages, lambda: extensions.list(page_size=sample))
    numbers = [one.extension_number for one in page.items[:sample]] if page else []
    by_number: list[dict[str, Any]] = [{"extension_number": number} for number in numbers]
    await checks.check(
        "extensions.search",
        [{"condition": number, **pages[0]} for number in numbers[:1]],
        lambda: extensions.search(numbers[0], page_size=sample),
    )
    await checks.check("extensions.show", by_number, lambda: extensions.show(numbers[0]))
    queries = [{"extensions": numbers}] if numbers else []
    statuses = await checks.check(
        "extensions.status", queries, lambda: extensions.status(numbers), otherwise="GET"
    )
    if statuses is not None:
        found = {status.extension_number for status in statuses}
        sets = {"not asked for": found - {*numbers}, "left out": {*numbers} - found}
        counts = [f"{len(those)} {what}" for what, those in sets.items() if those]
        if counts:
            operation = checks.operations[-1]
            operation.state = "differs"
            operation.detail = f"of {len(numbers)} numbers {' and '.join(counts)}"

    page = await checks.check("groups.list", pages, lambda: groups.list(page_size=sample))
    ids = [one.group_id for one in page.items[:sample]] if page else []
    by_id = [{"group_id": group_id} for group_id in ids]
    await checks.check("groups.show", by_id, lambda: groups.show(ids[0]), missing="group")
    by_number = [{**query, **pages[0]} for query in by_number]
    await checks.check("greetings.list", by_number, lambda: pbx.greetings.list(numbers[0]))


STEPS: Final = Steps(
    endpoints=ENDPOINTS,
    reads=tuple(
        name for name, row in ENDPOINTS.items() if row.safety == "safe" and name not in _LOGINS
    ),
    item_missing=frozenset({"404.1", "404.3"}),
    log_in=_log_in,
    read_all=_read_all,
)
