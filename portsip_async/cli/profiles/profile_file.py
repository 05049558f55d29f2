"""The config file: named PBXes, called profiles. It never holds a secret.

The file is ``config.toml`` in ``$XDG_CONFIG_HOME/portsip-async``, which is
``~/.config/portsip-async`` unless that variable is set. PORTSIP_CONFIG names another file.

    default = "acme"

    [profiles.acme]
    url = "https://pbx.example.com:8887"
    username = "admin"

A change keeps comments, and replaces the file whole. Two commands that change it wait for each
other, except on Windows, where the later one may undo the change of the earlier.
"""

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from ..failures import USAGE, Failure
from ..files.atomic_file import new_file

_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_SECRETS: Final = frozenset(
    {"password", "token", "access_token", "refresh_token", "secret", "otp", "pin"}
)


@dataclass(frozen=True)
class Profile:
    """A named PBX. The fields are those of the connection options."""

    name: str
    url: str
    api: str | None = None
    username: str | None = None
    email: str | None = None
    domain: str | None = None
    ca_file: str | None = None
    fingerprint: str | None = None
    proxy: str | None = None
    allow_http: bool = False
    timeout: float | None = None
    rate: float | None = None
    endpoint: list[str] | None = None

    @property
    def login(self) -> str | None:
        """The user name or the email address."""
        return self.username or self.email


# The keys of a profile in the file, with the types of their values and how a message names them.
KEYS: Final[Mapping[str, tuple[tuple[type, ...], str]]] = {
    each.name: {
        "allow_http": ((bool,), "true or false"),
        "timeout": ((int, float), "a number"),
        "rate": ((int, float), "a number"),
        "endpoint": ((list,), "a list of texts"),
    }.get(each.name, ((str,), "a text"))
    for each in fields(Profile)
    if each.name != "name"
}


@dataclass(frozen=True)
class Profiles:
    """What the config file holds.

    Attributes:
        path: the file.
        default: the name of the profile to use where none is named; None if there is none.
        by_name: the profiles, in the order of the file.
    """

    path: Path
    default: str | None = None
    by_name: Mapping[str, Profile] = field(default_factory=dict)

    def find(self, name: str, *, may_add: bool = True) -> Profile:
        """Return a profile.

        Args:
            name: the name of the profile.
            may_add: whether the hint of the error says how to add one.

        Raises:
            Failure: there is none of this name.
        """
        found = self.by_name.get(name)
        if found is None:
            known = f"it has {', '.join(self.by_name)}" if self.by_name else "it has none"
            near = get_close_matches(name, self.by_name, n=1)
            advice = f"did you mean {near[0]}?" if near else "portsip-async profiles list"
            if may_add and not near:
                shown = name if is_name(name) else "NAME"
                advice = f"add it: portsip-async profiles add {shown} --url URL"
            raise Failure(f"{self.path} has no profile {name!r}; {known}", advice, USAGE)
        return found


def config_path() -> Path:
    """Return the path of the config file, which need not exist."""
    named = os.environ.get("PORTSIP_CONFIG")
    if named:
        return expanded(named)
    return folder("XDG_CONFIG_HOME", ".config") / "config.toml"


def folder(variable: str, default: str) -> Path:
    """Return our folder in one of the user's base directories.

    Args:
        variable: the variable that names the base directory. A relative path in it is ignored, as
            the XDG specification says.
        default: the base directory otherwise, relative to the home directory.
    """
    base = Path(os.environ.get(variable) or "")
    if not base.is_absolute():
        base = expanded("~") / default
    return base / "portsip-async"


def expanded(path: str) -> Path:
    """Return a path with the home directory in place of a ``~``.

    Raises:
        Failure: the home directory is unknown, as it may be in a container.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise Failure(f"{path}: the home directory is unknown", "set HOME", USAGE) from None


def read_profiles(path: Path | None = None) -> Profiles:
    """Read the config file; a file that does not exist has no profiles.

    Raises:
        Failure: the file is broken. The message names the line.
    """
    path = path or config_path()
    return _parse(path, _read(path))


def change_profiles(change: Callable[[Any], None]) -> None:
    """Change the config file.

    Args:
        change: called with the parsed document, whose comments survive.

    Raises:
        Failure: the file is broken, before or after the change. It stays as it is.
    """
    try:
        import tomlkit
    except ModuleNotFoundError:
        raise Failure(
            "the config file can't be changed without tomlkit",
            "pip install 'portsip_async[cli]'",
            USAGE,
        ) from None
    path = config_path()
    target = Path(os.path.realpath(path))
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(target.parent):
        text = _read(path)
        _parse(path, text)
        document = tomlkit.parse(text)
        change(document)
        changed = tomlkit.dumps(document)
        _parse(path, changed)
        with new_file(path, replace=True) as file:
            file.text.write(changed)
            file.publish()


def is_name(text: str) -> bool:
    """Return whether a text can be the name of a profile."""
    return _NAME.fullmatch(text) is not None


def variable_part(name: str) -> str:
    """Return what stands for a profile in the names of its environment variables."""
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def complete_name(incomplete: str) -> list[str]:
    """Complete the name of a profile for the shell."""
    with suppress(Failure, OSError):
        return [name for name in read_profiles().by_name if name.startswith(incomplete)]
    return []


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except UnicodeDecodeError:
        raise Failure(f"{path} is not UTF-8 text", "save it as UTF-8", USAGE) from None


def _parse(path: Path, text: str) -> Profiles:
    """Parse the config file, and check every key of it."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # Its text says where, but may also show a part of the line.
        at = re.search(r"\(at (?:line (\d+)|end of document)", str(error))
        line = (at and at[1]) or str(text.count("\n") + 1)
        hint = "correct this line: it is not valid TOML"
        raise Failure(f"{path}, line {line}: not valid TOML", hint, USAGE) from None

    def fail(message: str, hint: str, *keys: str) -> Failure:
        line = _line_of(text, keys)
        where = f"{path}, line {line}" if line else str(path)
        return Failure(f"{where}: {message}", hint, USAGE)

    for key in found:
        if key not in ("default", "profiles"):
            raise fail(
                f"unknown key {_shown(key)}", "a PBX has its own table, [profiles.NAME]", key
            )
    tables = found.get("profiles", {})
    if not isinstance(tables, dict):
        raise fail("profiles must be tables", "write [profiles.NAME] on its own line", "profiles")
    by_name: dict[str, Profile] = {}
    parts: dict[str, str] = {}
    for name, table in tables.items():
        where = ("profiles", name)
        if not is_name(name):
            hint = "use letters, digits, '.', '_' and '-'"
            raise fail(f"{name!r} can't be the name of a profile", hint, *where)
        if not isinstance(table, dict):
            raise fail(f"profiles.{name} must be a table", f"write [profiles.{name}]", *where)
        same = parts.setdefault(variable_part(name), name)
        if same != name:
            message = f"the profiles {same} and {name} would share environment variables"
            raise fail(message, "rename one of them", *where)
        problem = _problem(table)
        if problem is not None:
            key, message, hint = problem
            raise fail(f"profiles.{name}: {message}", hint, *where, key)
        by_name[name] = Profile(name, **table)
    default = found.get("default")
    if default is not None and default not in by_name:
        raise fail("default must be the name of a profile", "correct or remove it", "default")
    return Profiles(path, default, by_name)


def _problem(table: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """Return the first key of a profile that can't be used, what is wrong, and a hint."""
    for key, value in table.items():
        if key in _SECRETS:
            return (
                key,
                f"secrets don't belong in this file, got {key}",
                "remove it; 'profiles add' stores passwords in the keyring",
            )
        if key == "insecure":
            return key, "insecure is an option only", "pin the certificate with fingerprint"
        if key not in KEYS:
            return key, f"unknown key {_shown(key)}", f"the keys are {', '.join(KEYS)}"
        kinds, name = KEYS[key]
        wrong = not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)
        if wrong or (isinstance(value, list) and not all(isinstance(x, str) for x in value)):
            return key, f"{key} must be {name}", "correct or remove it"
        if isinstance(value, str) and not value:
            return key, f"{key} is empty", "correct or remove it"
    if "url" not in table:
        return "", "url is missing", 'add a line such as url = "https://pbx.example.com:8887"'
    for key in ("url", "proxy"):
        if "@" in table.get(key, ""):
            hint = "set PORTSIP_PROXY instead" if key == "proxy" else "use the key username"
            return key, f"{key} must not hold a user name or a password", hint
    if "username" in table and "email" in table:
        return "email", "has both username and email", "remove one of them"
    if table.get("api", "auto") not in ("auto", "classic", "v22"):
        return "api", "api must be auto, classic or v22", "correct or remove it"
    if "ca_file" in table and "fingerprint" in table:
        return "fingerprint", "has both ca_file and fingerprint", "remove one of them"
    return None


def _shown(key: str) -> str:
    """Return a key for a message; one that is no plain word may be a secret."""
    return key if re.fullmatch(r"[a-z_]{1,32}", key) else "(hidden)"


def _line_of(text: str, keys: tuple[str, ...]) -> int | None:
    """Return the line where a key stands, or its table; None if neither was found."""
    table: tuple[str, ...] = ()
    nearest = None
    for at, line in enumerate(text.splitlines(), 1):
        header = re.fullmatch(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?", line)
        start = re.match(r"\s*([^=#]+?)\s*=", line)
        if header:
            table = _parts(header[1])
        elif not start:
            continue
        path = table if header else (*table, *_parts(start[1] if start else ""))
        if path[: len(keys)] == keys:
            return at
        if keys[: len(path)] == path and header:
            nearest = at
    return nearest


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in re.findall(r'"[^"]*"|[^."]+', dotted))


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Wait for other commands that change a file in a folder."""
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
