"""The connection options of every command, as data; `connection.py` gives them their meaning.

The help of a command shows a few of them, and the help of ``portsip-async`` shows all.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from ..completion import complete_endpoint
from ..pbx.generation import Api
from ..profiles.profile_file import complete_name

_option: Any = partial(typer.Option, rich_help_panel="Connection", show_default=False)


@dataclass(frozen=True)
class ConnectionOptions:
    """The PBX and the account, as given by options.

    Attributes:
        visible: the options in the help of each command.
    """

    visible: ClassVar[frozenset[str]] = frozenset({"profile", "all_profiles", "url", "username"})

    profile: Annotated[
        str | None,
        _option(
            metavar="NAME",
            help="A PBX from the config file, see 'profiles'; else PORTSIP_PROFILE, else the"
            " default profile unless --url or PORTSIP_URL names a PBX.",
            autocompletion=complete_name,
        ),
    ] = None
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
            " or the keyring for a profile, else a prompt. PORTSIP_TOKEN replaces the account.",
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
    verbose: Annotated[
        bool,
        _option(
            "--verbose",
            "-v",
            help="Show on stderr which PBX and account are used, and the number of requests.",
        ),
    ] = False
    debug: Annotated[
        bool,
        _option("--debug", help="Show each request on stderr too, without secrets."),
    ] = False


AllProfiles = Annotated[
    bool,
    _option(
        "--all-profiles",
        help="Read from every PBX of the config file, with a column pbx that names it. A limit"
        " counts for each PBX. Only for some commands that read.",
    ),
]


@dataclass(frozen=True)
class EveryConnectionOption(ConnectionOptions):
    """All connection options, for the help of ``portsip-async``."""

    all_profiles: AllProfiles = False
