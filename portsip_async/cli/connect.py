"""How a command reaches the PBX: the options and variables of a connection, and the client.

Passwords come from the environment, a prompt or standard input, never from an argument, which
other users of the machine could read in the list of processes.
"""

import asyncio
import os
import ssl
import sys
import warnings
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from .. import EmailCredentials, Fingerprint, PortSIPClient, Timeout
from .failures import USAGE, Failure
from .letters import one_line
from .reading import read_stdin_line

T = TypeVar("T")

_PANEL = "Connection"
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def _option(*names: str, told: str, **more: Any) -> Any:
    return typer.Option(*names, help=told, rich_help_panel=_PANEL, show_default=False, **more)


@dataclass(frozen=True)
class Connection:
    """The PBX and the account."""

    url: Annotated[
        str | None,
        _option("--url", metavar="URL", told="As https://pbx.example.com:8900; else PORTSIP_URL."),
    ] = None
    username: Annotated[
        str | None,
        _option("--username", "-u", metavar="NAME", told="Else PORTSIP_USERNAME."),
    ] = None
    email: Annotated[
        str | None,
        _option("--email", metavar="ADDRESS", told="In place of a user name; else PORTSIP_EMAIL."),
    ] = None
    password_stdin: Annotated[
        bool,
        _option(
            "--password-stdin",
            told="Read the password from the first line of standard input; else PORTSIP_PASSWORD,"
            " else you are asked. PORTSIP_TOKEN takes the place of all three.",
        ),
    ] = False
    ca_file: Annotated[
        Path | None,
        _option(
            "--ca-file",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            told="Trust the CA in this file; else PORTSIP_CA_FILE.",
        ),
    ] = None
    fingerprint: Annotated[
        str | None,
        _option(
            "--fingerprint",
            metavar="SHA256",
            told="Trust the certificate of this digest only; 'check' tells it.",
        ),
    ] = None
    insecure: Annotated[
        bool, _option("--insecure", told="Accept any certificate: no protection at all.")
    ] = False
    allow_http: Annotated[
        bool,
        _option("--allow-http", told="Allow http to another machine; else PORTSIP_ALLOW_HTTP=1."),
    ] = False
    proxy: Annotated[
        str | None,
        _option("--proxy", metavar="URL", told="Go through an HTTP proxy; else PORTSIP_PROXY."),
    ] = None
    timeout: Annotated[
        float | None,
        _option("--timeout", metavar="SECONDS", told="For each attempt; 15 if not given."),
    ] = None
    rate: Annotated[
        float | None, _option("--rate", metavar="NUMBER", told="Requests a second, at most.")
    ] = None
    endpoint: Annotated[
        list[str] | None,
        _option(
            "--endpoint",
            metavar="NAME=METHOD:PATH",
            told="Where this PBX has an operation elsewhere, as extensions.status=GET or"
            " groups.list=/group/list; may be repeated.",
        ),
    ] = None

    def begin(self) -> None:
        """Check the connection, and read the password where it comes before other input."""
        self.check()
        if self.password_stdin:
            _ = self.account

    def run(self, work: Callable[[PortSIPClient], Awaitable[T]]) -> T:
        """Carry out some work with a client, and close the client however it ends."""
        client = self.client(self.account)

        async def session() -> T:
            async with client as pbx:
                return await work(pbx)

        return asyncio.run(session())

    def check(self) -> None:
        """Refuse what describes no connection, before anybody is asked for anything.

        Raises:
            ConfigurationError: the URL is missing or wrong, or a file can't be read.
            typer.BadParameter: an option can't be read.
        """
        self.client({"username": "-", "password": "-"})
        file = self.trusted_file
        if file is not None:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
            except (OSError, ValueError) as error:  # an SSLError is an OSError
                option = "--ca-file" if self.ca_file else "PORTSIP_CA_FILE"
                reason = "no certificate in it" if isinstance(error, ssl.SSLError) else ""
                raise Failure(
                    f"{option}: {file}: {reason or getattr(error, 'strerror', None) or error}",
                    "name a file that holds the CA's certificate, in PEM form",
                    USAGE,
                ) from None

    def client(self, account: Mapping[str, str] | None, **more: Any) -> PortSIPClient:
        """Make the client that the options and the environment describe.

        Args:
            account: as `account` answers it.
            more: arguments of the client that no option sets.

        Raises:
            ConfigurationError: they describe none.
            typer.BadParameter: an option can't be read.
        """
        options: dict[str, Any] = {
            "base_url": self.url,
            "ssl": self._trust(),
            "proxy": self.way(),
            "timeout": None if self.timeout is None else Timeout(total=_positive(self.timeout)),
            "requests_per_second": None if self.rate is None else _positive(self.rate),
            "endpoints": self.overrides() or None,
            "allow_http": self.allow_http or None,
        }
        if account is None:
            options["token"] = os.environ.get("PORTSIP_TOKEN") or None
        elif "email" in account:
            options["credentials"] = EmailCredentials(account["email"], account["password"])
        else:
            options |= account
        given = {name: value for name, value in options.items() if value is not None}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # who says --insecure knows what it means
            return PortSIPClient.from_env(**given, **more)

    @cached_property
    def account(self) -> dict[str, str] | None:
        """What is logged in with, as `account.verify` sends it; None for a token.

        It asks for the password where nothing else tells it.
        """
        said = bool(self.username or self.email or self.password_stdin)
        if os.environ.get("PORTSIP_TOKEN") and not said:
            return None
        named = self._named()
        if not named:
            if self.password_stdin:
                raise Failure("there is a password and no user name", "pass --username", USAGE)
            return None
        if self.password_stdin:
            return {**named, "password": next_secret("password")}
        (name,) = named.values()
        return {**named, "password": prompt_secret(f"Password of {name}", "PORTSIP_PASSWORD")}

    def overrides(self) -> dict[str, Any]:
        """Answer the operations that are elsewhere, as the client takes them."""
        found: dict[str, Any] = {}
        for told in self.endpoint or ():
            name, equals, place = told.partition("=")
            method, _, path = ("", "", place) if place[:1] == "/" else place.partition(":")
            if not equals or not place or (method and method.upper() not in _METHODS):
                raise typer.BadParameter(
                    f"{told!r} is not of the form NAME=METHOD:PATH", param_hint="'--endpoint'"
                )
            row = found.setdefault(name, {})
            row |= {"method": method} if method else {}
            row |= {"path": path} if path else {}
        return found

    def way(self) -> str | None:
        """Answer the URL of the proxy, if there is one.

        Raises:
            typer.BadParameter: the command line holds a password of the proxy's.
        """
        if self.proxy is not None and "@" in self.proxy:
            raise typer.BadParameter(
                "other users would see its password: set PORTSIP_PROXY", param_hint="'--proxy'"
            )
        return self.proxy or os.environ.get("PORTSIP_PROXY") or None

    @property
    def address(self) -> str | None:
        """The PBX's URL, if one was given."""
        return self.url or os.environ.get("PORTSIP_URL") or None

    @property
    def trusted_file(self) -> str | None:
        """The path of the CA that is trusted, if one was given and nothing takes its place."""
        if self.insecure or self.fingerprint is not None:
            return None
        return str(self.ca_file) if self.ca_file else os.environ.get("PORTSIP_CA_FILE") or None

    def _trust(self) -> object:
        given = [self.ca_file is not None, self.fingerprint is not None, self.insecure]
        if sum(given) > 1:
            raise typer.BadParameter("give one of --ca-file, --fingerprint and --insecure")
        if self.fingerprint is None:
            return False if self.insecure else self.trusted_file
        try:
            return Fingerprint(bytes.fromhex(self.fingerprint.replace(":", "")))
        except ValueError:
            raise typer.BadParameter(
                "a SHA-256 digest has 64 hexadecimal digits", param_hint="'--fingerprint'"
            ) from None

    def _named(self) -> dict[str, str]:
        """Find the user name or the email address; both of the command line are refused."""
        if self.username and self.email:
            raise typer.BadParameter("give --username or --email, not both")
        if self.username:
            return {"username": self.username}
        if self.email:
            return {"email": self.email}
        username, email = (os.environ.get(f"PORTSIP_{name}") for name in ("USERNAME", "EMAIL"))
        if username and email:
            raise Failure(
                "PORTSIP_USERNAME and PORTSIP_EMAIL are both set", "unset one of them", USAGE
            )
        return {"email": email} if email else {"username": username} if username else {}


def next_secret(told: str) -> str:
    """Read a secret from the next line of standard input."""
    secret = read_stdin_line()
    if not secret:
        raise Failure(
            f"standard input holds no line with a {told}", "each secret is a line of its own", USAGE
        )
    return secret


def prompt_secret(told: str, variable: str, *, confirm: bool = False) -> str:
    """Take a secret from the environment, or ask for it, unseen, at a terminal."""
    secret = os.environ.get(variable)
    if secret:
        return secret
    if not sys.stdin.isatty():
        raise Failure(f"there is no {told[0].lower()}{told[1:]}", f"set {variable}", USAGE)
    answer: str = typer.prompt(
        one_line(told), hide_input=True, err=True, confirmation_prompt=confirm
    )
    return answer


def _positive(value: float) -> float:
    if not 0 < value < float("inf"):
        raise typer.BadParameter(f"{value:g} is not above 0", param_hint="'--timeout' / '--rate'")
    return value
