"""Where the password of a profile comes from: its own variable, the keyring, PORTSIP_PASSWORD.

No PBX gets the password of another:

- ``PORTSIP_PASSWORD_ACME`` and the keyring hold the password of one profile. Neither is used if an
  option replaces the profile's URL or account.
- An entry of the keyring is bound to the profile's name, URL, account and domain. A profile that is
  changed finds no entry.
- PORTSIP_PASSWORD is used only if the environment names no other PBX and no other account. If it
  names none, the password is meant for each profile that has no other.
"""

import os
from typing import Any, Final

from ..failures import FAILED, Failure
from .profile_file import Profile, variable_part

SERVICE: Final = "portsip-async"
_EXTRA: Final = "pip install 'portsip_async[keyring]'"


class KeyringProblem(Failure):
    """The keyring can't be used; the hint says what to do instead."""


def password_variable(name: str) -> str:
    """Return the name of the environment variable with a profile's password."""
    return f"PORTSIP_PASSWORD_{variable_part(name)}"


def token_variable(name: str) -> str:
    """Return the name of the environment variable with an access token for a profile."""
    return f"PORTSIP_TOKEN_{variable_part(name)}"


def general_password(url: str, login: str) -> str | None:
    """Return PORTSIP_PASSWORD if it belongs to an account; else None.

    Args:
        url: the PBX of the account.
        login: the user name or the email address.
    """
    environment = os.environ
    named = environment.get("PORTSIP_URL")
    account = environment.get("PORTSIP_USERNAME") or environment.get("PORTSIP_EMAIL")
    if named and not same_url(named, url):
        return None
    if account and account != login:
        return None
    return environment.get("PORTSIP_PASSWORD") or None


def same_url(one: str, other: str) -> bool:
    """Return whether two URLs name the same PBX."""
    return _normal(one) == _normal(other)


def stored_password(profile: Profile) -> str | None:
    """Return the password in the keyring; None if there is none, or no keyring is installed.

    Raises:
        KeyringProblem: the keyring can't be read.
    """
    keyring = _keyring()
    if keyring is None:
        return None
    try:
        found: str | None = keyring.get_password(SERVICE, _entry(profile))
    except keyring.errors.NoKeyringError:
        return None
    except Exception as error:  # backends raise errors of their own
        raise _problem("read", error, profile) from None
    return found


def store_password(profile: Profile, password: str) -> None:
    """Store a password in the keyring.

    Raises:
        KeyringProblem: there is no keyring, or it can't be written.
    """
    keyring = _keyring()
    if keyring is None:
        raise _missing("the extra 'keyring' is not installed", _EXTRA, profile)
    try:
        keyring.set_password(SERVICE, _entry(profile), password)
        kept = keyring.get_password(SERVICE, _entry(profile))
    except keyring.errors.NoKeyringError:
        kept = None
    except Exception as error:  # backends raise errors of their own
        raise _problem("written", error, profile) from None
    if kept != password:
        raise _missing("this system has no keyring", "unlock or install one", profile)


def can_store() -> bool:
    """Return whether there seems to be a keyring to store passwords in."""
    keyring = _keyring()
    if keyring is None:
        return False
    try:
        return bool(keyring.get_keyring().priority > 0)
    except Exception:  # backends raise errors of their own
        return False


def delete_password(profile: Profile) -> None:
    """Delete a password from the keyring, if there is one.

    Raises:
        KeyringProblem: the keyring can't be written.
    """
    keyring = _keyring()
    if keyring is None:
        return
    try:
        if keyring.get_password(SERVICE, _entry(profile)) is not None:
            keyring.delete_password(SERVICE, _entry(profile))
    except keyring.errors.NoKeyringError:
        return
    except Exception as error:  # backends raise errors of their own
        raise _problem("changed", error, profile) from None


def _keyring() -> Any:
    """Return the module; None if it is not installed."""
    try:
        import keyring
        import keyring.errors
    except ModuleNotFoundError:
        return None
    return keyring


def _entry(profile: Profile) -> str:
    """Return the name of the entry: changed connections must not find the password."""
    tenant = f" of {profile.domain}" if profile.domain else ""
    return f"{profile.name}: {profile.login}{tenant} at {_normal(profile.url)}"


def _normal(url: str) -> str:
    scheme, _, rest = url.strip().rstrip("/").removesuffix("/api").rstrip("/").partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host}".lower() + slash + path


def _problem(verb: str, error: Exception, profile: Profile) -> KeyringProblem:
    # The text of a backend's error might show anything, so only its kind is told.
    locked = " (it is locked)" if "lock" in type(error).__name__.lower() else ""
    return KeyringProblem(
        f"the keyring can't be {verb}: {type(error).__name__}{locked}",
        f"unlock it, or set {password_variable(profile.name)}",
        FAILED,
    )


def _missing(reason: str, action: str, profile: Profile) -> KeyringProblem:
    return KeyringProblem(
        f"the password is not stored: {reason}",
        f"{action}, or set {password_variable(profile.name)} for each command",
        FAILED,
    )
