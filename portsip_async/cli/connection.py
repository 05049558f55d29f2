"""The connection options and environment variables of a command, and the client they describe.

Passwords come from the environment, a prompt or standard input. They are never arguments, which
other users of the machine could read in the process list.
"""

import asyncio
import os
import ssl
import sys
import warnings
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from .. import Detected, Fingerprint, PortSIPError, Timeout, detect
from .completion import complete_endpoint
from .failures import NO_API, NOT_FOUND, USAGE, Failure, answering_generation
from .generation import PBX, Api, kind_of
from .second_factor import log_in
from .session import Session, open_session
from .terminal_text import one_line
from .text_input import read_stdin_line

T = TypeVar("T")

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_DETECTION = 10.0  # seconds for a request that finds out the generation
# An account for a client that only checks the other options.
_NOBODY = {"username": "-", "password": "-"}


_option: Any = partial(typer.Option, rich_help_panel="Connection", show_default=False)


@dataclass(frozen=True)
class Connection:
    """The PBX and the account, from options and the environment."""

    url: Annotated[
        str | None,
        _option(
            metavar="URL",
            help="Such as https://pbx.example.com:8887, or port 8900 for the classic generation;"
            " else PORTSIP_URL.",
        ),
    ] = None
    username: Annotated[
        str | None, _option("--username", "-u", metavar="NAME", help="Else PORTSIP_USERNAME.")
    ] = None
    email: Annotated[
        str | None,
        _option(
            metavar="ADDRESS",
            help="Instead of a user name, in the classic generation; else PORTSIP_EMAIL.",
        ),
    ] = None
    domain: Annotated[
        str | None,
        _option(
            metavar="NAME",
            help="The SIP domain of the tenant, to log in to v22 and for calls; else"
            " PORTSIP_DOMAIN.",
        ),
    ] = None
    api: Annotated[
        Api | None,
        _option(
            help="The generation of the PBX's API; else PORTSIP_API, else auto, which asks the PBX."
        ),
    ] = None
    password_stdin: Annotated[
        bool,
        _option(
            "--password-stdin",
            help="Read the password from the first line of standard input; else PORTSIP_PASSWORD,"
            " else a prompt. PORTSIP_TOKEN replaces the account.",
        ),
    ] = False
    ca_file: Annotated[
        Path | None,
        _option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Trust the CA in this file; else PORTSIP_CA_FILE.",
        ),
    ] = None
    fingerprint: Annotated[
        str | None,
        _option(
            metavar="SHA256",
            help="Trust only the certificate with this digest, which 'check' shows.",
        ),
    ] = None
    insecure: Annotated[
        bool, _option("--insecure", help="Accept any certificate: no protection at all.")
    ] = False
    allow_http: Annotated[
        bool,
        _option("--allow-http", help="Allow http to another machine; else PORTSIP_ALLOW_HTTP=1."),
    ] = False
    proxy: Annotated[
        str | None, _option(metavar="URL", help="Use an HTTP proxy; else PORTSIP_PROXY.")
    ] = None
    timeout: Annotated[
        float | None,
        _option(metavar="SECONDS", help="For each attempt; 15 by default."),
    ] = None
    rate: Annotated[
        float | None, _option(metavar="NUMBER", help="Requests per second, at most.")
    ] = None
    endpoint: Annotated[
        list[str] | None,
        _option(
            metavar="NAME=METHOD:PATH",
            help="The method or path of an operation that differs on this PBX, such as"
            " extensions.status=GET or groups.list=/group/list; repeatable.",
            autocompletion=complete_endpoint,
        ),
    ] = None

    def begin(self) -> None:
        """Check the options, and read the password if it comes before other input."""
        self.check()
        if self.password_stdin:
            _ = self.account

    def run(self, work: Callable[[PBX], Awaitable[T]]) -> T:
        """Log in, run a coroutine function with a PBX, and always close its client.

        Raises:
            Failure: no API was found at the address.
        """
        with self.session() as run:
            return run(work)

    def session(self) -> AbstractContextManager[Session]:
        """Return a session with the PBX, for more than one coroutine function.

        Raises:
            Failure: no API was found at the address.
        """
        client = self.client(self.account)
        return open_session(client, self.kind(client), partial(self.log_in, client))

    def log_in(self, client: Any, runner: asyncio.Runner) -> None:
        """Log in with the account, if a second factor may be needed and there is a terminal."""
        if self.account is not None:
            log_in(self.kind(client).auth, runner)

    def check(self) -> None:
        """Check the options before anything is asked for or sent.

        Raises:
            ConfigurationError: the URL is missing or wrong.
            Failure: the CA file can't be used.
            typer.BadParameter: an option can't be used.
        """
        answering_generation.set(lambda: self._other_generation)
        options = self._options()
        if self._wanted is Api.AUTO:
            # The operations to override have names once the generation is known.
            options["endpoints"] = None
            _build(kind_of(Api.CLASSIC), options)
        else:
            _build(self.kind, options)
        file = self.trusted_file
        if file is not None:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
            except (OSError, ValueError) as error:
                option = "--ca-file" if self.ca_file else "PORTSIP_CA_FILE"
                reason = getattr(error, "strerror", None) or error
                if isinstance(error, ssl.SSLError):
                    reason = "no certificate in it"
                raise Failure(
                    f"{option}: {file}: {reason}",
                    "name a file that holds the CA's certificate, in PEM form",
                    USAGE,
                ) from None

    @cached_property
    def kind(self) -> type[PBX]:
        """The generation of the PBX; the PBX is asked unless an option or the environment names it.

        Raises:
            PortSIPError: there is no reply.
            Failure: no generation replies.
        """
        if self._wanted is not Api.AUTO:
            return kind_of(self._wanted)
        found = self.detected
        if found.generation is None:
            raise Failure(found.reason, f"{NO_API}; --api names the generation", NOT_FOUND)
        kind = kind_of(found.generation)
        _build(kind, self._options())
        return kind

    @cached_property
    def detected(self) -> Detected:
        """The generation that the PBX was found to speak, whatever the options are.

        Raises:
            PortSIPError: there is no reply.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # --insecure has its own warning in the help
            return asyncio.run(
                detect(
                    self.address or "",
                    ssl=self._trust(),
                    proxy=self.proxy_url(),
                    allow_http=True,  # `check` has checked the URL
                    timeout=self.timeout or _DETECTION,
                )
            )

    def client(self, account: Mapping[str, str] | None, **more: Any) -> Any:
        """Build the client that the options and the environment describe.

        Args:
            account: the value of `account`.
            more: further arguments of the client.

        Raises:
            ConfigurationError: the account is missing or wrong.
        """
        return _build(self.kind, self._options() | more, account, self.sip_domain)

    @cached_property
    def account(self) -> dict[str, str] | None:
        """The arguments of `account.verify` or `account.verify_email`; None for a token.

        Prompts for the password if it is given nowhere.
        """
        by_option = bool(self.username or self.email or self.password_stdin)
        if os.environ.get("PORTSIP_TOKEN") and not by_option:
            return None
        login = self._login_name()
        if not login:
            if self.password_stdin:
                raise Failure("a password needs a user name", "pass --username", USAGE)
            return None
        if self.password_stdin:
            return {**login, "password": next_secret("password")}
        (name,) = login.values()
        return {**login, "password": prompt_secret(f"Password of {name}", "PORTSIP_PASSWORD")}

    def overrides(self) -> dict[str, Any]:
        """Return the client's ``endpoints`` argument."""
        found: dict[str, Any] = {}
        for text in self.endpoint or ():
            name, _, value = text.partition("=")
            method, _, path = ("", "", value) if value[:1] == "/" else value.partition(":")
            if not value or (method and method.upper() not in _METHODS):
                raise typer.BadParameter(
                    f"must have the form NAME=METHOD:PATH, got {text!r}", param_hint="'--endpoint'"
                )
            row = found.setdefault(name, {})
            row |= {"method": method} if method else {}
            row |= {"path": path} if path else {}
        return found

    def proxy_url(self) -> str | None:
        """Return the URL of the proxy; None if there is none.

        Raises:
            typer.BadParameter: the option holds the proxy's password.
        """
        if self.proxy is not None and "@" in self.proxy:
            raise typer.BadParameter(
                "other users could see the password: set PORTSIP_PROXY instead",
                param_hint="'--proxy'",
            )
        return self.proxy or os.environ.get("PORTSIP_PROXY") or None

    @property
    def sip_domain(self) -> str | None:
        """The tenant's SIP domain; None if there is none."""
        return self.domain or os.environ.get("PORTSIP_DOMAIN") or None

    @property
    def address(self) -> str | None:
        """The PBX's URL; None if there is none."""
        return self.url or os.environ.get("PORTSIP_URL") or None

    @property
    def trusted_file(self) -> str | None:
        """The path of the trusted CA file; None if there is none, or another option replaces it."""
        if self.insecure or self.fingerprint is not None:
            return None
        return str(self.ca_file) if self.ca_file else os.environ.get("PORTSIP_CA_FILE") or None

    @property
    def _wanted(self) -> Api:
        if self.api is not None:
            return self.api
        name = os.environ.get("PORTSIP_API") or Api.AUTO
        try:
            return Api(name)
        except ValueError:
            raise Failure(
                f"PORTSIP_API must be auto, classic or v22, got {name!r}",
                "set it to one of them, or unset it",
                USAGE,
            ) from None

    @cached_property
    def _other_generation(self) -> str:
        """Which generation replies instead of the chosen one, as a hint; "" if it is unknown."""
        if self._wanted is Api.AUTO:
            return ""  # the PBX was asked before
        try:
            found = self.detected
        except PortSIPError:
            return ""
        if found.generation is None:
            return f"{NO_API}. {found.reason}"
        if Api(found.generation) is self._wanted:
            return ""
        return f"pass --api {found.generation}. {found.reason}"

    def _options(self) -> dict[str, Any]:
        """Return the client's arguments, without the account."""
        return {
            "base_url": self.url,
            "ssl": self._trust(),
            "proxy": self.proxy_url(),
            "timeout": None if self.timeout is None else Timeout(total=_positive(self.timeout)),
            "requests_per_second": None if self.rate is None else _positive(self.rate),
            "endpoints": self.overrides() or None,
            "allow_http": self.allow_http or None,
        }

    def _trust(self) -> Any:
        used = [self.ca_file is not None, self.fingerprint is not None, self.insecure]
        if sum(used) > 1:
            raise typer.BadParameter("give one of --ca-file, --fingerprint and --insecure only")
        if self.fingerprint is None:
            return False if self.insecure else self.trusted_file
        try:
            return Fingerprint(bytes.fromhex(self.fingerprint.replace(":", "")))
        except ValueError:
            raise typer.BadParameter(
                "must have 64 hexadecimal digits", param_hint="'--fingerprint'"
            ) from None

    def _login_name(self) -> dict[str, str]:
        """Return the user name or the email address; options come before the environment."""
        if self.username and self.email:
            raise typer.BadParameter("give --username or --email, not both")
        username, email = self.username, self.email
        if not (username or email):
            username, email = os.environ.get("PORTSIP_USERNAME"), os.environ.get("PORTSIP_EMAIL")
            if username and email:
                raise Failure(
                    "PORTSIP_USERNAME and PORTSIP_EMAIL are both set", "unset one of them", USAGE
                )
        return {"email": email} if email else {"username": username} if username else {}


def _build(
    kind: type[PBX],
    options: Mapping[str, Any],
    account: Mapping[str, str] | None = _NOBODY,
    domain: str | None = None,
) -> Any:
    """Build a client; without an account, only to check the options."""
    given = {name: value for name, value in options.items() if value is not None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # --insecure has its own warning in the help
        return kind.client(account, domain, **given)


def next_secret(name: str) -> str:
    """Read a secret from the next line of standard input.

    Raises:
        Failure: there is no further line, or it is empty.
    """
    secret = read_stdin_line()
    if not secret:
        raise Failure(
            f"standard input has no line with a {name}", "put each secret on its own line", USAGE
        )
    return secret


def prompt_secret(name: str, variable: str, *, confirm: bool = False) -> str:
    """Return a secret from the environment, or prompt for it without showing it.

    Raises:
        Failure: the variable is not set, and stdin is not a terminal.
    """
    secret = os.environ.get(variable)
    if secret:
        return secret
    if not sys.stdin.isatty():
        raise Failure(f"the {name[0].lower()}{name[1:]} is missing", f"set {variable}", USAGE)
    answer: str = typer.prompt(
        one_line(name), hide_input=True, err=True, confirmation_prompt=confirm
    )
    return answer


def _positive(value: float) -> float:
    if not 0 < value < float("inf"):
        raise typer.BadParameter(
            f"must be above 0, got {value:g}", param_hint="'--timeout' / '--rate'"
        )
    return value
