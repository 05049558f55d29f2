"""The client that a command uses: its generation, its account, and its life.

Passwords come from the environment, the keyring, a prompt or standard input. They are never
arguments, which other users of the machine could read in the process list.
"""

import asyncio
import os
import ssl
import sys
import warnings
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any, Self, TypeVar

import typer

from ... import Detected, PortSIPError, detect
from ..failures import (
    NO_API,
    NOT_FOUND,
    USAGE,
    Failure,
    answering_generation,
    found_no_api,
    is_page,
)
from ..files.text_input import read_stdin_line
from ..pbx.generation import PBX, Api, kind_of
from ..profiles.current_pbx import hint_of_profile, names_in_hints
from ..profiles.passwords import (
    KeyringProblem,
    general_password,
    password_variable,
    stored_password,
)
from ..terminal.progress import waiting
from ..terminal.terminal_text import one_line
from .connection_values import ConnectionValues
from .known_generations import GenerationChanged, known_generation, remember_generation
from .second_factor import log_in
from .session import Session, open_session
from .tracing import Trace, trace

T = TypeVar("T")

_DETECTION = 10.0  # seconds for a request that finds out the generation
# An account for a client that only checks the other options.
_NOBODY = {"username": "-", "password": "-"}


@dataclass(frozen=True)
class Connection(ConnectionValues):
    """The PBX and the account of a command, and the client for them."""

    def begin(self) -> None:
        """Check the options, and read the password if it comes before other input."""
        self.start_trace()
        self.check()
        if self.password_stdin:
            _ = self.account

    def start_trace(self) -> None:
        """Begin to show what the command does, if an option says so."""
        if self.verbose or self.debug:
            trace.set(Trace(debug=self.debug))

    def end(self) -> None:
        """Show the totals, if an option says so."""
        running = trace.get()
        if running is not None:
            running.stop()
            trace.set(None)

    def run(self, work: Callable[[PBX], Awaitable[T]]) -> T:
        """Log in, run a coroutine function with a PBX, and always close its client.

        Raises:
            Failure: no API was found at the address.
            GenerationChanged: the PBX speaks another generation than it did before.
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
        """Log in now, if a second factor may be needed, or the generation may be another one.

        Raises:
            GenerationChanged: the PBX speaks another generation than it did before.
        """
        pbx = self.kind(client)
        try:
            if self.account is not None and log_in(pbx.auth, runner):
                return
        except PortSIPError as error:
            runner.run(self._check_generation(error))
            raise
        runner.run(self.confirm_generation(pbx))

    def check(self) -> None:
        """Check the options before anything is asked for or sent.

        Raises:
            ConfigurationError: the URL is missing or wrong.
            Failure: the CA file or the profile can't be used.
            typer.BadParameter: an option can't be used.
        """
        answering_generation.set(self.other_generation)
        names_in_hints.set(self.names_in_hints)
        if self.address is None:
            raise Failure(
                "PORTSIP_URL is not set, and there is no default profile",
                "pass --url or --profile, or add a profile with 'portsip-async profiles add'",
                USAGE,
            )
        options = self.client_options()
        if self.wanted is Api.AUTO:
            # The operations to override have names once the generation is known.
            options.pop("endpoints", None)
            _build(kind_of(Api.CLASSIC), options)
        else:
            _build(self.kind, options)
        file = self.trusted_file
        if file is not None:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or error
                if isinstance(error, ssl.SSLError):
                    reason = "no certificate in it"
                raise Failure(
                    f"{self.trusted_file_source}: {file}: {reason}",
                    "name a file that holds the CA's certificate, in PEM form",
                    USAGE,
                ) from None

    @cached_property
    def kind(self) -> type[PBX]:
        """The generation of the PBX; the PBX is asked unless it is named or known.

        Raises:
            PortSIPError: there is no reply.
            Failure: no generation replies.
        """
        if self.wanted is not Api.AUTO:
            return kind_of(self.wanted)
        if self._known is not None:
            kind = kind_of(self._known)
        else:
            found = self.detected
            if found.generation is None:
                hint = f"{hint_of_profile(NO_API)}; --api names the generation"
                raise Failure(found.reason, hint, NOT_FOUND)
            kind = kind_of(found.generation)
            if self.unchanged is not None:
                remember_generation(self.unchanged, kind.api)
        _build(kind, self.client_options())
        return kind

    @cached_property
    def _known(self) -> Api | None:
        """The generation that the profile spoke before; None if it is unknown, or not asked for."""
        # A login confirms it. A token has no login, and `check` asks the PBX in any case.
        uncertain = "detected" in vars(self) or self.token is not None
        if self.wanted is not Api.AUTO or self.unchanged is None or uncertain:
            return None
        return known_generation(self.unchanged)

    async def confirm_generation(self, pbx: PBX) -> None:
        """Log in now, if the PBX was not asked for its generation in this run.

        Raises:
            GenerationChanged: it speaks another generation than it did before.
            PortSIPError: the login failed.
        """
        if self._known is None:
            return
        try:
            await pbx.renew_token()
        except PortSIPError as error:
            await self._check_generation(error)
            raise

    async def _check_generation(self, error: PortSIPError) -> None:
        """Ask the PBX for its generation anew, if it had no login of the known one.

        Args:
            error: the error of the login.

        Raises:
            GenerationChanged: it speaks another one now.
        """
        saved = self.unchanged
        if saved is None or self._known is None or not (found_no_api(error) or is_page(error)):
            return
        try:
            found = await self.detect()
        except PortSIPError:
            return  # the login's own error tells more
        if found.generation is not None and found.generation != self.kind.api:
            remember_generation(saved, found.generation)
            raise GenerationChanged(saved.name, found.generation)

    @cached_property
    def detected(self) -> Detected:
        """The generation that the PBX was found to speak, whatever the options are.

        Raises:
            PortSIPError: there is no reply.
        """
        with waiting(f"Connecting to {self.address}"):
            return asyncio.run(self.detect())

    async def detect(self) -> Detected:
        """Ask the PBX for its generation.

        Raises:
            PortSIPError: there is no reply.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # --insecure has its own warning in the help
            return await detect(
                self.address or "",
                ssl=self.trust(),
                proxy=self.proxy_url(),
                allow_http=True,  # `check` has checked the URL
                timeout=self.value("timeout") or _DETECTION,
            )

    async def find_generation(self) -> None:
        """Ask the PBX for its generation now, unless it is named or known."""
        if self.wanted is Api.AUTO and self._known is None and "detected" not in vars(self):
            vars(self)["detected"] = await self.detect()

    def renewed(self) -> Self:
        """Return a connection with the same options and account, but nothing else found out."""
        again = type(self)(**{each.name: getattr(self, each.name) for each in fields(self)})
        vars(again)["_login"] = self._login
        answering_generation.set(again.other_generation)
        return again

    def client(self, account: Mapping[str, str] | None, **more: Any) -> Any:
        """Build the client that the options, the profile and the environment describe.

        Args:
            account: the value of `account`.
            more: further arguments of the client.

        Raises:
            ConfigurationError: the account is missing or wrong.
        """
        if account is None and self.saved is not None:
            more["token"] = self.token
        running = trace.get()
        if running is not None:
            running.show(self._description())
            more["on_attempt"] = running.counting(more.get("on_attempt"))
        return _build(self.kind, self.client_options() | more, account, self.sip_domain)

    def _description(self) -> str:
        """Describe the connection in a line."""
        profile = f" (profile {self.saved.name})" if self.saved is not None else ""
        account, source = self._login
        name = "a token" if account is None else account.get("username") or account.get("email")
        tenant = f" of {self.sip_domain}" if self.sip_domain and account is not None else ""
        how = (
            "given" if self.wanted is not Api.AUTO else "found" if self._known is None else "known"
        )
        return (
            f"PBX {self.address}{profile}: {self.kind.title} ({how});"
            f" login as {name}{tenant}, from {source}"
        )

    @property
    def account(self) -> dict[str, str] | None:
        """The arguments of `account.verify` or `account.verify_email`; None for a token.

        Prompts for the password if it is given nowhere.
        """
        return self._login[0]

    @cached_property
    def _login(self) -> tuple[dict[str, str] | None, str]:
        """The account, and where its password comes from."""
        if self.token is not None:
            return None, "the environment"
        login = self.login_name()
        if not login:
            if self.password_stdin:
                raise Failure("a password needs a user name", "pass --username", USAGE)
            if self.saved is not None:
                raise Failure(
                    f"the profile {self.saved.name} has no user name",
                    "pass --username, or add the key username to the profile",
                    USAGE,
                )
            raise Failure(
                "the PBX needs an account, and no user name is given",
                "pass --username, or set PORTSIP_USERNAME and PORTSIP_PASSWORD, or PORTSIP_TOKEN",
                USAGE,
            )
        (name,) = login.values()
        if self.password_stdin:
            password, source = next_secret("password"), "standard input"
        elif self.saved is not None:
            password, source = self._profile_password(name)
        else:
            source = "the environment" if os.environ.get("PORTSIP_PASSWORD") else "a prompt"
            password = prompt_secret(f"Password of {name}", "PORTSIP_PASSWORD")
        return {**login, "password": password}, source

    def _profile_password(self, login: str) -> tuple[str, str]:
        """Return the password for a profile, and where it comes from; see `passwords`."""
        saved, own, problem = self.saved, self.unchanged, None
        assert saved is not None  # noqa: S101 - the caller has checked it
        variable = password_variable(saved.name)
        if own is not None:
            password = os.environ.get(variable)
            if password:
                return password, variable
            try:
                password = stored_password(own)
            except KeyringProblem as error:
                problem = error
            if password:
                return password, "the keyring"
        password = general_password(self.address or "", login)
        if password:
            return password, "PORTSIP_PASSWORD"
        if problem is not None and not sys.stdin.isatty():
            raise problem
        if sys.stdin.isatty():
            return prompt_secret(f"Password of {login} ({saved.name})", ""), "a prompt"
        raise Failure(
            f"the password of profile {saved.name} is missing",
            f"set {variable}" if own is not None else "pass --password-stdin",
            USAGE,
        )

    def other_generation(self) -> str:
        """Which generation replies instead of the chosen one, as a hint; "" if it is unknown."""
        if self.wanted is Api.AUTO:
            return ""  # the PBX was asked before
        try:
            found = self.detected
        except PortSIPError:
            return ""
        if found.generation is None:
            return f"{hint_of_profile(NO_API)}. {found.reason}"
        if Api(found.generation) is self.wanted:
            return ""
        return f"pass --api {found.generation}. {found.reason}"


def _build(
    kind: type[PBX],
    options: Mapping[str, Any],
    account: Mapping[str, str] | None = _NOBODY,
    domain: str | None = None,
) -> Any:
    """Build a client; without an account, only to check the options."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # --insecure has its own warning in the help
        return kind.client(account, domain, **options)


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
