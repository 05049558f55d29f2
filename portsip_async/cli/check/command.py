"""``portsip-async check``: the address, the login, and every operation that only reads."""

import asyncio
import platform
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final

import msgspec
import typer

from ... import (
    APIError,
    Attempt,
    AuthenticationError,
    ConnectError,
    PortSIPClient,
    PortSIPError,
    RateLimited,
    __version__,
)
from ..connect import Connection
from ..failures import NO_API, Failure, exit_code, is_page, tell, tell_error
from ..options import spread
from ..output import to_json
from ..progress import progress
from ..streams import print_line, reader_may_leave
from .operations import READS, WRITES, ReadCheck
from .probe import probe
from .report import Latency, Login, Report, lines

_WORD: Final = re.compile(r"[A-Za-z_]{1,20}")
_VERSION: Final = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){0,3}")
_TIMEOUT: Final = 10.0  # seconds for each step of the probe


class Form(StrEnum):
    """A form of the report."""

    TEXT = "text"
    JSON = "json"


@spread
def check(
    *,
    form: Annotated[
        Form, typer.Option("--output", "-o", help="The report's form, on standard output.")
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
    with progress("Checking", len(READS) + 2) as steps:
        error = asyncio.run(_fill(report, client, connection, sample, steps.advance))
    report.latency = Latency.of(attempts)
    with reader_may_leave():
        if form is Form.JSON:
            print_line(to_json(msgspec.to_builtins(report), indent=2))
        else:
            for line in lines(report):
                print_line(line)
    if error is not None:
        raise typer.Exit(tell_error(error))
    unusable = report.unusable()
    if unusable:
        tell(f"{len(unusable)} operations can't be used", "see the report for the reasons")
    raise typer.Exit(1 if unusable else 0)


async def _fill(
    report: Report,
    client: PortSIPClient,
    connection: Connection,
    sample: int,
    advance: Callable[[], None],
) -> PortSIPError | Failure | None:
    """Run all steps and fill in the report; return the error that ended them early."""
    async with client as pbx:
        checks = ReadCheck(pbx, connection.overrides(), sample, advance)
        hint = ""
        try:
            if connection.address and connection.way() is None:
                hint = await _probe_address(report, connection)
            advance()
            await _log_in(report, checks, connection.account)
            advance()
            await checks.run()
        except ConnectError as error:
            if not (error.refused_certificate and hint):
                return error
            certificate = report.address and report.address.certificate
            problem = f": {certificate.problem}" if certificate and certificate.problem else ""
            message = f"the PBX's certificate is not trusted{problem}"
            return Failure(message, hint, exit_code(error))
        except (PortSIPError, Failure) as error:
            return error
        finally:
            report.operations = checks.results()
    return None


async def _probe_address(report: Report, connection: Connection) -> str:
    """Probe the address; return the hint for a certificate that is not trusted.

    Raises:
        Failure: no connection was made.
    """
    url, timeout = connection.address or "", connection.timeout or _TIMEOUT
    found = await probe(url, ca_file=connection.trusted_file, timeout=timeout)
    report.address = found.address
    if not found.address.reachable:
        raise Failure(
            f"the PBX can't be reached: {found.address.problem}",
            "check the address (--url or PORTSIP_URL), and that the PBX listens there",
            5,
        )
    # The digest would name the PBX, so the report does not hold it.
    digest = found.digest
    return digest and f"if it is the PBX's own, pin it: --fingerprint {digest}"


async def _log_in(report: Report, checks: ReadCheck, account: Mapping[str, str] | None) -> None:
    """Log in once; a refused login is not repeated, because a PBX may block the address.

    Raises:
        PortSIPError, Failure: the login was not accepted.
    """
    if account is None:
        report.login = Login(account="token")
        return
    kind = "username" if "username" in account else "email"
    login = checks.begin("account.verify" if kind == "username" else "account.verify_email")
    try:
        reply = await login.send(**account)
    except PortSIPError as error:
        elsewhere = login.state == "elsewhere"
        problem = type(error).__name__
        if isinstance(error, APIError):
            reason = "nothing there" if elsewhere else "refused"
            problem = f"{reason} (HTTP {error.status})"
        report.login = Login(account=kind, accepted=False, problem=problem)
        if elsewhere:
            raise Failure(str(error), NO_API, exit_code(error)) from None
        # Sent as an ordinary operation, a login may get an error that is not about logins.
        refused = isinstance(error, APIError) and error.status in (400, 401, 403)
        known = isinstance(error, AuthenticationError | RateLimited) or is_page(error)
        if refused and not known:
            raise Failure(str(error), "check user name and password", 3) from None
        raise
    report.login = Login(
        account=kind,
        accepted=True,
        seconds=_number(reply.get("expires")),
        role=_matched(_WORD, reply.get("role")),
        api_version=_matched(_VERSION, reply.get("api_version")),
    )


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]  # a TypeError is expected
    except (TypeError, ValueError):
        return None


def _matched(pattern: re.Pattern[str], value: object) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None
