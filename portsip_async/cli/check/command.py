"""``portsip-async check``: the address, the login, and every operation that only reads."""

import asyncio
import platform
import re
import sys
from datetime import UTC, datetime
from enum import StrEnum
from importlib import import_module
from typing import Annotated, Final

import msgspec
import typer

from ... import APIError, Attempt, ConnectError, PortSIPError, __version__
from ..connection.connection import Connection
from ..failures import LISTENS, Failure, exit_code, print_error, report_error
from ..options import spread
from ..output import to_json
from ..pbx.generation import Api
from ..profiles.current_pbx import hint_of_profile
from ..terminal.progress import progress
from ..terminal.streams import print_line, reader_may_leave
from ..terminal.terminal_text import printable, terminal_width, wrapped
from .operations import OperationChecks, Steps
from .probe import probe
from .report import Generation, Latency, Login, Report, lines

# The module with the steps of each generation.
_STEPS: Final = {Api.CLASSIC: ".classic", Api.V22: ".v22"}
_TITLE: Final = re.compile(r" *\S+ {2,}")
_INDENT: Final = 4
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

    The report covers the generation of the API, the address, TLS, the login, the token's lifetime,
    the clock, the web socket of v22, the latency, and for each operation where the replies differ
    from our models. The check only reads: it changes nothing, and no telephone rings. The report
    holds no secret, address, number or name, so you can attach it to a bug report. The exit code is
    1 if an operation can't be used, and 0 if replies merely differ or there is no web socket.

    Example: portsip-async check --output json > report.json
    """
    report = Report(
        portsip_async=__version__,
        python=platform.python_version(),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    attempts: list[Attempt] = []
    error = _run(report, connection, sample, attempts)
    report.latency = Latency.of(attempts)
    with reader_may_leave():
        if form is Form.JSON:
            print_line(to_json(msgspec.to_builtins(report), indent=2))
        else:
            for line in lines(report):
                print_line("\n".join(_broken(line)))
    if error is not None:
        raise typer.Exit(report_error(error))
    unusable = report.unusable()
    if unusable:
        count = "1 operation" if len(unusable) == 1 else f"{len(unusable)} operations"
        print_error(f"{count} can't be used", "see the report for the reasons")
    raise typer.Exit(1 if unusable else 0)


def _broken(line: str) -> list[str]:
    """Break a line of the report between words, if it goes to a terminal."""
    if not sys.stdout.isatty():
        return [line]
    columns = terminal_width(sys.stdout)
    title = _TITLE.match(line)
    # Later lines stand under the text, or if there is little room, a bit to the right.
    indent = title.end() if title and title.end() <= columns // 3 else _INDENT
    return wrapped(printable(line), columns, indent)


def _run(
    report: Report, connection: Connection, sample: int, attempts: list[Attempt]
) -> PortSIPError | Failure | None:
    """Run all steps and fill in the report; return the error that ended them early."""
    hint = ""
    try:
        if connection.address and connection.proxy_url() is None:
            hint = asyncio.run(_probe_address(report, connection))
        found, kind = connection.detected, connection.kind
        report.generation = Generation(
            used=kind.api, detected=found.generation, reason=found.reason
        )
        steps: Steps = import_module(_STEPS[kind.api], __package__).STEPS
        report.writes = tuple(name for name, row in steps.endpoints.items() if row.safety != "safe")
        client = connection.client(connection.account, on_attempt=attempts.append)
        checks = OperationChecks(client, steps, connection.overrides(), attempts)
        report.operations = checks.operations
        _ask(report, checks, connection, sample)
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
    url, timeout = connection.address or "", connection.value("timeout") or _TIMEOUT
    address, digest = await probe(url, ca_file=connection.trusted_file, timeout=timeout)
    report.address = address
    if not address.reachable:
        raise Failure(
            f"the PBX can't be reached: {address.problem}",
            hint_of_profile(LISTENS),
            5,
        )
    # The digest would name the PBX, so the report does not hold it.
    return digest and f"if it is the PBX's own, pin it: --fingerprint {digest}"


def _ask(report: Report, checks: OperationChecks, connection: Connection, sample: int) -> None:
    """Log in, and check every other operation that only reads.

    Raises:
        PortSIPError: the login was not accepted.
    """
    client = checks.pbx
    with asyncio.Runner() as runner:
        try:
            runner.run(_log_in(report, checks, connection))
            if report.login is not None and report.login.accepted is False:
                connection.log_in(client, runner)  # with a second factor
            with progress("Checking", len(checks.steps.reads)) as done:
                checks.begin = lambda name: done.retitle(f"Checking {name}")
                checks.advance = done.advance
                runner.run(checks.steps.read_all(checks, client, sample))
                report.web_socket = checks.web_socket
        finally:
            runner.run(client.close())


async def _log_in(report: Report, checks: OperationChecks, connection: Connection) -> None:
    """Log in; a refused login is not repeated, because a PBX may block the address.

    Raises:
        PortSIPError: the login was not accepted.
    """
    account = connection.account
    if account is None:
        report.login = Login(account="token")
        return
    try:
        report.login = await checks.steps.log_in(checks, checks.pbx, account, connection.sip_domain)
    except PortSIPError as error:
        problem = type(error).__name__
        if isinstance(error, APIError):
            elsewhere = checks.operations[-1].state == "elsewhere"
            problem = f"{'nothing there' if elsewhere else 'refused'} (HTTP {error.status})"
        kind = "email" if "email" in account else "username"
        report.login = Login(account=kind, accepted=False, problem=problem)
        raise
