"""``portsip-async profiles``: named PBXes, and their passwords in the keyring."""

import os
import sys
from dataclasses import fields
from pathlib import Path
from time import monotonic
from typing import Annotated, Any

import msgspec
import typer

from ..command_group import CommandGroup
from ..connection.connection import Connection, next_secret, prompt_secret
from ..connection.connection_options import ConnectionOptions
from ..connection.known_generations import remember_generation
from ..failures import FAILED, USAGE, Failure, print_error, print_note
from ..fields import plain
from ..options import Yes, confirm, spread
from ..output import Output
from ..pbx.generation import PBX, Api
from ..whoami import Identity, identify
from .all_profiles import SeveralPBXes
from .passwords import (
    KeyringProblem,
    can_store,
    delete_password,
    general_password,
    password_variable,
    store_password,
    stored_password,
    token_variable,
)
from .profile_file import (
    KEYS,
    Profile,
    change_profiles,
    complete_name,
    config_path,
    is_name,
    read_profiles,
)

profiles: typer.Typer = typer.Typer(
    cls=CommandGroup,
    name="profiles",
    add_completion=False,
    help="Work with several PBXes by name. The config file holds their addresses and accounts, and"
    " the keyring their passwords.",
    no_args_is_help=True,
)

_NAME_HELP = "Letters, digits, '.', '_' and '-'."
Name = Annotated[str, typer.Argument(metavar="NAME", help=_NAME_HELP)]
Names = Annotated[
    list[str],
    typer.Argument(metavar="NAME", help="Profiles.", autocompletion=complete_name),
]


class ListedProfile(msgspec.Struct, frozen=True):
    """A profile, as 'list' shows it. It says where a password is, and never the password."""

    name: str
    url: str
    api: str
    account: str | None
    domain: str | None
    default: bool
    password: str


class TestedProfile(Identity, frozen=True):
    """A login at the PBX of a profile, and how long it took."""

    seconds: float


@profiles.command("list")
@spread
def list_(*, output: Output) -> None:
    """List the profiles of the config file.

    The column password says where a password was found: environment, keyring or none.
    """
    found = read_profiles()
    if not found.by_name:
        print_note(f"{found.path} has no profiles.")
    shown: set[str] = set()
    with output.rows(ListedProfile) as rows:
        for profile in found.by_name.values():
            listed = ListedProfile(
                name=profile.name,
                url=profile.url,
                api=profile.api or "auto",
                account=profile.login,
                domain=profile.domain,
                default=profile.name == found.default,
                password=_place_of_password(profile, shown),
            )
            rows.write(plain(listed, reveal=True))  # it says where the password is


@profiles.command()
@spread
def add(
    name: Name,
    *,
    default: Annotated[
        bool, typer.Option("--default", help="Use this profile where no PBX is named.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", "--force", help="Replace an existing profile unasked.")
    ] = False,
    connection: ConnectionOptions,
) -> None:
    """Add a PBX to the config file, and its password to the keyring.

    What you leave out is taken from the environment, such as PORTSIP_URL. The password comes from
    PORTSIP_PASSWORD, --password-stdin or a prompt. Without a keyring it is not stored. A profile
    that exists keeps what you leave out, unless you pass --url.

    Example: portsip-async profiles add acme --url https://pbx.example.com:8887 -u admin
    """
    if not is_name(name):
        raise typer.BadParameter(
            f"must be {_NAME_HELP.lower()[:-1]}, got {name!r}", param_hint="NAME"
        )
    before = read_profiles().by_name.get(name)
    profile = _described(name, connection, None if connection.url else before)
    if before is not None:
        confirm(f"Replace the profile {name}, which is {before.url}?", yes=yes)
    password = _new_password(profile, from_stdin=connection.password_stdin)

    def change(document: Any) -> None:
        table = document.setdefault("profiles", {}).setdefault(name, {})
        for key in KEYS:
            value = getattr(profile, key)
            if value is None or value is False:
                table.pop(key, None)
            else:
                table[key] = value
        if default:
            document["default"] = name

    change_profiles(change)
    remember_generation(profile, None)
    print_note(f"Wrote the profile {name} to {config_path()}.")
    try:
        if before is not None and before != profile:
            delete_password(before)
        if profile.login is not None:
            _store(profile, password)
    except KeyringProblem as problem:
        print_error(str(problem), problem.hint)


@profiles.command()
@spread
def remove(names: Names, *, yes: Yes = False) -> None:
    """Remove profiles from the config file, and their passwords from the keyring; asks first."""
    found = read_profiles()
    gone = [found.find(name, may_add=False) for name in dict.fromkeys(names)]
    confirm(f"Remove {', '.join(profile.name for profile in gone)}?", yes=yes)

    def change(document: Any) -> None:
        for profile in gone:
            document.get("profiles", {}).pop(profile.name, None)
            if document.get("default") == profile.name:
                del document["default"]

    change_profiles(change)
    print_note(f"Removed {', '.join(profile.name for profile in gone)}.")
    code = 0
    for profile in gone:
        remember_generation(profile, None)
        try:
            delete_password(profile)
        except KeyringProblem as problem:
            print_error(f"the password of {profile.name} may be left: {problem}", problem.hint)
            code = FAILED
    raise typer.Exit(code)


@profiles.command("test")
@spread
def try_logins(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Profiles; all by default.",
            autocompletion=complete_name,
            show_default=False,
        ),
    ] = None,
    *,
    connection: ConnectionOptions,
    output: Output,
) -> None:
    """Log in to the PBXes of profiles, and show what they are.

    The exit code is 0 if all logins succeed.
    """
    found = read_profiles()
    chosen = list(dict.fromkeys(names or found.by_name))
    for name in chosen:
        found.find(name)
    if not chosen:
        raise Failure(f"{found.path} has no profiles", "see 'profiles add --help'", USAGE)
    several = SeveralPBXes(connection, chosen)
    output.check(TestedProfile)

    async def work(pbx: PBX) -> None:
        began = monotonic()
        identity = msgspec.structs.asdict(await identify(pbx, several.current))
        tested = TestedProfile(**identity, seconds=round(monotonic() - began, 3))
        with output.rows(TestedProfile) as rows:
            rows.write(plain(tested))

    several.run(work)
    several.conclude()


def _described(name: str, options: ConnectionOptions, before: Profile | None) -> Profile:
    """Return the profile that options describe, with the rest from before or the environment.

    Raises:
        Failure: there is no URL.
        typer.BadParameter: an option can't be stored.
    """
    if options.profile is not None:
        raise typer.BadParameter("the profile's name is an argument, not --profile")
    if options.insecure:
        raise typer.BadParameter("--insecure can't be stored; pin the certificate: --fingerprint")
    given = {each.name: getattr(options, each.name) for each in fields(options)}
    values = Connection(**given)
    vars(values)["saved"] = before
    url = values.address
    if url is None:
        raise Failure("the profile needs a URL", "pass --url", USAGE)
    if "@" in url:
        raise typer.BadParameter("a URL must not hold a user name; pass --username")
    values.check()
    file = values.trusted_file
    pinned = values.value("fingerprint") if not options.ca_file else None
    return Profile(
        name,
        url,
        api=None if values.wanted is Api.AUTO else values.wanted.value,
        **values.login_name(),
        domain=values.sip_domain,
        ca_file=os.path.abspath(Path(file)) if file else None,
        fingerprint=pinned,
        proxy=values.value("proxy"),
        allow_http=options.allow_http or (before is not None and before.allow_http),
        timeout=values.value("timeout"),
        rate=values.value("rate"),
        endpoint=values.value("endpoint"),
    )


def _new_password(profile: Profile, *, from_stdin: bool) -> str | None:
    """Return the password to store; None if there is none, or nowhere to store it."""
    if profile.login is None:
        if from_stdin:
            raise Failure("a password needs a user name", "pass --username", USAGE)
        return None
    if from_stdin:
        return next_secret("password")
    password = general_password(profile.url, profile.login)
    if password or not can_store() or not sys.stdin.isatty():
        return password
    return prompt_secret(f"Password of {profile.login} ({profile.name})", "")


def _store(profile: Profile, password: str | None) -> None:
    """Store a password, or say what to do without one."""
    if password is not None or not can_store():
        store_password(profile, password or "")
    else:
        variable = password_variable(profile.name)
        print_note(f"No password is stored: set {variable}, or add the profile on a terminal.")


def _place_of_password(profile: Profile, shown: set[str]) -> str:
    """Say where the password of a profile is; an error of the keyring is shown once."""
    variables = password_variable(profile.name), token_variable(profile.name)
    if any(os.environ.get(variable) for variable in variables):
        return "environment"
    try:
        return "none" if stored_password(profile) is None else "keyring"
    except KeyringProblem as problem:
        if str(problem) not in shown:
            print_error(str(problem), problem.hint)
        shown.add(str(problem))
        return "unknown"
