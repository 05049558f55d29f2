"""The values of a connection: from its options, else from its profile or the environment.

With a profile, PORTSIP_URL and the other variables are not read: they may be about another PBX, and
mixing two would send the password of one to the other. Only PORTSIP_PROXY is, because it is about
this machine's network. `passwords` says where the password comes from.
"""

import os
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import typer

from .. import Fingerprint, Timeout
from .connection_options import ConnectionOptions
from .failures import ADDRESS, SETTINGS, TOKEN, USAGE, Failure
from .generation import Api
from .passwords import same_url, token_variable
from .profile_file import Profile, expanded, read_profiles

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class ConnectionValues(ConnectionOptions):
    """The PBX and the account that a command uses."""

    @cached_property
    def saved(self) -> Profile | None:
        """The profile in use; None if there is none.

        Raises:
            Failure: there is no such profile, or the config file is broken.
        """
        if self.profile is not None:
            return read_profiles().find(self.profile)
        if self.url:
            return None
        name = os.environ.get("PORTSIP_PROFILE")
        if name:
            return read_profiles().find(name)
        if os.environ.get("PORTSIP_URL"):
            return None
        profiles = read_profiles()
        return profiles.by_name[profiles.default] if profiles.default else None

    @property
    def unchanged(self) -> Profile | None:
        """The profile in use, unless options replace its PBX or its account."""
        saved = self.saved
        if saved is None or (self.url is not None and not same_url(self.url, saved.url)):
            return None
        changed = replace(
            saved,
            username=self.username or (None if self.email else saved.username),
            email=self.email or (None if self.username else saved.email),
            domain=self.domain or saved.domain,
        )
        return saved if changed == saved else None

    @property
    def address(self) -> str | None:
        """The PBX's URL; None if there is none."""
        url: str | None = self.value("url", "PORTSIP_URL")
        return url

    @property
    def sip_domain(self) -> str | None:
        """The tenant's SIP domain; None if there is none."""
        domain: str | None = self.value("domain", "PORTSIP_DOMAIN")
        return domain

    @property
    def token(self) -> str | None:
        """The access token that replaces the account; None if there is none."""
        if self.username or self.email or self.password_stdin:
            return None
        if self.saved is None:
            return os.environ.get("PORTSIP_TOKEN") or None
        if self.unchanged is None:
            return None
        return os.environ.get(token_variable(self.saved.name)) or None

    @property
    def wanted(self) -> Api:
        """The generation that is asked for.

        Raises:
            Failure: the environment names none.
        """
        if self.api is not None:
            return self.api
        name = self.value("api", "PORTSIP_API") or Api.AUTO
        try:
            return Api(name)
        except ValueError:
            raise Failure(
                f"PORTSIP_API must be auto, classic or v22, got {name!r}",
                "set it to one of them, or unset it",
                USAGE,
            ) from None

    @property
    def trusted_file(self) -> str | None:
        """The path of the trusted CA file; None if there is none, or another option replaces it."""
        if self.insecure or self.fingerprint is not None:
            return None
        if self.ca_file or self.saved is None:
            return str(self.ca_file) if self.ca_file else os.environ.get("PORTSIP_CA_FILE") or None
        if self.saved.ca_file is None:
            return None
        folder = read_profiles().path.parent
        return str(folder / expanded(self.saved.ca_file))

    @property
    def trusted_file_source(self) -> str:
        """Where the path of the CA file comes from, for a message."""
        if self.ca_file:
            return "--ca-file"
        return f"ca_file of profile {self.saved.name}" if self.saved else "PORTSIP_CA_FILE"

    @property
    def names_in_hints(self) -> dict[str, str]:
        """What hints name in place of options and variables; empty without a profile."""
        if self.saved is None or self.url is not None:
            return {}
        name = self.saved.name
        return {
            ADDRESS: f"url of profile {name}",
            SETTINGS: f"correct the profile {name}",
            TOKEN: token_variable(name),
        }

    def login_name(self) -> dict[str, str]:
        """Return the user name or the email address, under its name; empty if there is none."""
        if self.username and self.email:
            raise typer.BadParameter("give --username or --email, not both")
        username, email = self.username, self.email
        if not (username or email) and self.saved is not None:
            username, email = self.saved.username, self.saved.email
        elif not (username or email):
            username, email = os.environ.get("PORTSIP_USERNAME"), os.environ.get("PORTSIP_EMAIL")
            if username and email:
                raise Failure(
                    "PORTSIP_USERNAME and PORTSIP_EMAIL are both set", "unset one of them", USAGE
                )
        return {"email": email} if email else {"username": username} if username else {}

    def overrides(self) -> dict[str, Any]:
        """Return the client's ``endpoints`` argument."""
        found: dict[str, Any] = {}
        for text in self.value("endpoint") or ():
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
        return self.value("proxy") or os.environ.get("PORTSIP_PROXY") or None

    def trust(self) -> Any:
        """Return the client's ``ssl`` argument."""
        used = [self.ca_file is not None, self.fingerprint is not None, self.insecure]
        if sum(used) > 1:
            raise typer.BadParameter("give one of --ca-file, --fingerprint and --insecure only")
        fingerprint = self.value("fingerprint") if self.fingerprint or not any(used) else None
        if fingerprint is None:
            return False if self.insecure else self.trusted_file
        try:
            return Fingerprint(bytes.fromhex(fingerprint.replace(":", "")))
        except ValueError:
            raise typer.BadParameter(
                "must have 64 hexadecimal digits", param_hint="'--fingerprint'"
            ) from None

    def client_options(self) -> dict[str, Any]:
        """Return the client's arguments, without the account; the rest is in the environment."""
        timeout, rate = self.value("timeout"), self.value("rate")
        options = {
            "base_url": self.address,
            "ssl": self.trust(),
            "proxy": self.proxy_url(),
            "timeout": None if timeout is None else Timeout(total=_positive(timeout)),
            "requests_per_second": None if rate is None else _positive(rate),
            "endpoints": self.overrides() or None,
            "allow_http": self.allow_http or None,
        }
        found = {name: value for name, value in options.items() if value is not None}
        if self.saved is not None:
            # What the profile leaves out must not come from the environment.
            found |= {
                "ssl": options["ssl"],
                "allow_http": self.allow_http or self.saved.allow_http,
            }
        return found

    def value(self, name: str, variable: str = "") -> Any:
        """Return an option, or else the key of the profile, or else without one a variable."""
        option = getattr(self, name)
        if option is not None:
            return option
        if self.saved is not None:
            return getattr(self.saved, name)
        return os.environ.get(variable) or None


def _positive(value: float) -> float:
    if not 0 < value < float("inf"):
        raise typer.BadParameter(
            f"must be above 0, got {value:g}", param_hint="'--timeout' / '--rate'"
        )
    return value
