"""``portsip-async check``: the address, the login, and every operation that only reads."""

import asyncio
import platform
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec
import typer

from ... import APIError, Attempt, ConnectError, PortSIPClient, PortSIPError, __version__
from ..connection import Connection
from ..failures import Failure, exit_code, print_error, report_error
from ..options import spread
from ..output import to_json
from ..progress import progress
from ..streams import print_line, reader_may_leave
from .compare import Kind
from .operations import READS, WRITES, OperationChecks
from .probe import probe
from .report import Latency, Login, Report, lines

_WORD: Final = re.compile(r"[A-Za-z_]{1,20}")
_VERSION: Final = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){0,3}")
_TIMEOUT: Final = 10.0  # seconds to connect, and to wait for a reply


class Form(StrEnum):
    """A format of the report."""

    TEXT = "text"
    JSON = "json"


@spread
def check(
    *,
    form: Annotated[
        Form, typer.Option("--output", "-o", help="The report's format, on standard output.")
    ] = Form.TEXT,
    sample: Annotated[int, typer.Option(min=1, max=100, help="Extensions and groups to read.")] = 5,
    connection: Connection,
) -> None:
    """Check how well a PBX works with this SDK.

    The report covers the address, TLS, the login, the token's lifetime, the clock, the latency,
    and for each operation where the replies differ from our models. The check only reads: it
    changes nothing, and no telephone rings. The report holds no secret, address, number or name,
    so you can attach it to a bug report. The exit code is 1 if an operation can't be used, and 0
    if replies merely differ.

    Example: portsip-async check --output json > report.json
    """
    report = Report(
        portsip_async=__version__,
        python=platform.python_version(),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        writes=WRITES,
    )
    attempts: list[Attempt] = []
    client = connection.client(connection.account, on_attempt=attempts.append)
    # One of the two logins is not sent, but the address is a step too.
    with progress("Checking", len(READS)) as steps:
        error = asyncio.run(_run(report, client, connection, sample, steps.advance))
    report.latency = Latency.of(attempts)
    with reader_may_leave():
        if form is Form.JSON:
            print_line(to_json(msgspec.to_builtins(report), indent=2))
        else:
            for line in lines(report):
                print_line(line)
    if error is not None:
        raise typer.Exit(report_error(error))
    unusable = report.unusable()
    if unusable:
        print_error(f"{len(unusable)} operations can't be used", "see the report for the reasons")
    raise typer.Exit(1 if unusable else 0)


async def _run(
    report: Report,
    client: PortSIPClient,
    connection: Connection,
    sample: int,
    advance: Callable[[], None],
) -> PortSIPError | Failure | None:
    """Run all steps and fill in the report; return the error that ended them early."""
    hint = ""
    async with client as pbx:
        checks = OperationChecks(pbx, connection.overrides(), advance)
        report.operations = checks.operations
        try:
            if connection.address and connection.proxy_url() is None:
                hint = await _probe_address(report, connection)
            advance()
            await _log_in(report, checks, pbx, connection.account)
            await _read_all(checks, pbx, sample)
        except ConnectError as error:
            if not (error.refused_certificate and hint):
                return error
            certificate = report.address and report.address.certificate
            problem = f": {certificate.problem}" if certificate and certificate.problem else ""
            message = f"the PBX's certificate is not trusted{problem}"
            return Failure(message, hint, exit_code(error))
        except (PortSIPError, Failure) as error:
            return error
    return None


async def _probe_address(report: Report, connection: Connection) -> str:
    """Probe the address; return the hint for a certificate that is not trusted.

    Raises:
        Failure: no connection was made.
    """
    url, timeout = connection.address or "", connection.timeout or _TIMEOUT
    address, digest = await probe(url, ca_file=connection.trusted_file, timeout=timeout)
    report.address = address
    if not address.reachable:
        raise Failure(
            f"the PBX can't be reached: {address.problem}",
            "check the address (--url or PORTSIP_URL), and that the PBX listens there",
            5,
        )
    # The digest would name the PBX, so the report does not hold it.
    return digest and f"if it is the PBX's own, pin it: --fingerprint {digest}"


async def _log_in(
    report: Report, checks: OperationChecks, pbx: PortSIPClient, account: Mapping[str, str] | None
) -> None:
    """Log in; a refused login is not repeated, because a PBX may block the address.

    Raises:
        PortSIPError: the login was not accepted.
    """
    if account is None:
        report.login = Login(account="token")
        return
    kind, row = "username", "account.verify"
    verify: Any = pbx.account.verify
    if "email" in account:
        kind, row, verify = "email", "account.verify_email", pbx.account.verify_email
    try:
        token = await checks.check(row, [account], lambda: verify(**account), required=True)
    except PortSIPError as error:
        problem = type(error).__name__
        if isinstance(error, APIError):
            elsewhere = checks.operations[-1].state == "elsewhere"
            problem = f"{'nothing there' if elsewhere else 'refused'} (HTTP {error.status})"
        report.login = Login(account=kind, accepted=False, problem=problem)
        raise
    differences = checks.operations[-1].differences
    missing = {one.where for one in differences if one.kind is Kind.MISSING_FIELD}
    report.login = Login(
        account=kind,
        accepted=True,
        seconds=None if "expires" in missing else token.expires,
        role=_matched(_WORD, token.role),
        api_version=_matched(_VERSION, token.api_version),
    )


async def _read_all(checks: OperationChecks, pbx: PortSIPClient, sample: int) -> None:
    """Check every other operation that only reads.

    Raises:
        AuthenticationError: the account or its token is refused.
    """
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
    statuses = await checks.check("extensions.status", queries, lambda: extensions.status(numbers))
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


def _matched(pattern: re.Pattern[str], value: str | None) -> str | None:
    return value if value is not None and pattern.fullmatch(value) else None
