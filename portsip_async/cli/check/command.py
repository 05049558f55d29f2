"""``portsip-async check``: the address, the login, and every operation that only reads."""

import asyncio
import platform
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec
import typer

from ... import (
    APIError,
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
from .probe import Probe, probe
from .report import Login, Operation, Report, lines
from .walk import READING, WRITES, Stopwatch, Walk

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
    """Check how a PBX fares with this SDK.

    It tells of the address, TLS, the login, the life of a token, the clock, the latency, and for
    each operation where the replies differ from our models. Only what reads is asked: nothing is
    changed, no telephone rings. The report holds no secret, address, number or name, so it can be
    attached to a bug report. The exit code is 1 where an operation can't be used, and 0 where
    replies merely differ.

    Example: portsip-async check --output json > report.json
    """
    account = connection.account
    stopwatch = Stopwatch()
    client = connection.client(account, on_attempt=stopwatch)
    checking = _Check(connection, account, sample)
    with progress("Checking", len(READING) + 2) as steps:
        failed = asyncio.run(checking.run(client, steps.advance))
    report = checking.report(stopwatch)
    with reader_may_leave():
        if form is Form.JSON:
            print_line(to_json(msgspec.to_builtins(report), indent=2))
        else:
            for line in lines(report):
                print_line(line)
    raise typer.Exit(checking.conclude(failed, report))


class _Check:
    """One check of a PBX."""

    def __init__(self, connection: Connection, account: dict[str, str] | None, sample: int) -> None:
        self._connection = connection
        self._account = account
        self._sample = sample
        self._probe: Probe | None = None
        self._login: Login | None = None
        self._operations: tuple[Operation, ...] = ()

    async def run(self, client: PortSIPClient, done: Any) -> PortSIPError | Failure | None:
        """Carry out all steps; answer what ended them before the last."""
        async with client as pbx:
            try:
                await self._look(done)
                walk = Walk(pbx, self._connection.overrides(), self._sample)
                try:
                    await self._log_in(walk)
                    done()
                    await walk.steps(done)
                finally:
                    self._operations = walk.operations()
            except (PortSIPError, Failure) as error:
                return error
        return None

    def report(self, stopwatch: Stopwatch) -> Report:
        """Put together what was found."""
        return Report(
            portsip_async=__version__,
            python=platform.python_version(),
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            address=self._probe.address if self._probe else None,
            login=self._login,
            latency=stopwatch.latency(),
            operations=self._operations,
            writes=WRITES,
        )

    def conclude(self, failed: PortSIPError | Failure | None, report: Report) -> int:
        """Tell what ended the check, and answer its exit code."""
        if failed is not None:
            return self._told(failed)
        broken = [
            row.name for row in report.operations if row.state in ("elsewhere", "refused", "failed")
        ]
        if broken:
            tell(f"{len(broken)} operations can't be used", "the report tells why")
            return 1
        return 0

    def _told(self, failed: PortSIPError | Failure) -> int:
        digest = self._probe.digest if self._probe else ""
        if isinstance(failed, ConnectError) and failed.refused_certificate and digest:
            address = self._probe.address if self._probe else None
            certificate = address.certificate if address else None
            problem = certificate.problem if certificate else None
            tell(
                f"the PBX's certificate is not trusted{f': {problem}' if problem else ''}",
                f"if it is the PBX's own, pin it: --fingerprint {digest}",
            )
            return exit_code(failed)
        return tell_error(failed)

    async def _look(self, done: Any) -> None:
        url = self._connection.address
        if url and self._connection.way() is None:
            self._probe = await probe(
                url,
                ca_file=self._connection.trusted_file,
                timeout=self._connection.timeout or _TIMEOUT,
            )
            if not self._probe.address.reachable:
                raise Failure(
                    f"the PBX can't be reached: {self._probe.address.problem}",
                    "check the address (--url or PORTSIP_URL), and that the PBX listens there",
                    5,
                )
        done()

    async def _log_in(self, walk: Walk) -> None:
        """Log in once, raw; what is refused is not tried again."""
        if self._account is None:
            self._login = Login(means="token")
            return
        means = next(name for name in self._account if name != "password")
        asked = walk.ask("account.verify" if means == "username" else "account.verify_email")
        try:
            reply = await asked.sent(**self._account)
        except PortSIPError as error:
            told = type(error).__name__
            if isinstance(error, APIError):
                told = f"{'nothing there' if asked.elsewhere else 'refused'} (HTTP {error.status})"
            self._login = Login(means=means, accepted=False, problem=told)
            if asked.elsewhere:
                raise Failure(str(error), NO_API, exit_code(error)) from None
            refused = isinstance(error, APIError) and error.status in (400, 401, 403)
            if is_page(error):
                raise
            if refused and not isinstance(error, AuthenticationError | RateLimited):
                raise Failure(str(error), "check user name and password", 3) from None
            raise
        self._login = Login(
            means=means,
            accepted=True,
            seconds=_number(reply.get("expires")),
            role=_matched(_WORD, reply.get("role")),
            api_version=_matched(_VERSION, reply.get("api_version")),
        )


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]  # what is no number is told so
    except (TypeError, ValueError):
        return None


def _matched(pattern: re.Pattern[str], value: object) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None
