"""Which generation of the API each profile was last found to speak.

It saves the request that would find it out. The file is in ``$XDG_CACHE_HOME/portsip-async``, which
is ``~/.cache/portsip-async`` unless that variable is set. Nothing is lost with it.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..failures import Failure
from ..files.atomic_file import new_file
from ..pbx.generation import Api
from ..profiles.profile_file import Profile, folder


class GenerationChanged(Failure):
    """A PBX speaks another generation than before; that is remembered, so the command can go on."""

    def __init__(self, name: str, api: str) -> None:
        super().__init__(
            f"the PBX of profile {name} has another API now: {api}", "run the command again"
        )


def known_generation(profile: Profile) -> Api | None:
    """Return the generation that a profile was found to speak; None if it is unknown."""
    entry = _read().get(profile.name)
    # A profile with another URL is another PBX.
    if isinstance(entry, dict) and entry.get("url") == profile.url:
        with suppress(ValueError):
            found = Api(str(entry.get("api")))
            return None if found is Api.AUTO else found
    return None


def remember_generation(profile: Profile, api: str | None) -> None:
    """Remember a generation; None forgets it. A file that can't be written is no failure."""
    known = _read()
    if api is None:
        if known.pop(profile.name, None) is None:
            return
    elif known.get(profile.name) == (entry := {"url": profile.url, "api": api}):
        return
    else:
        known[profile.name] = entry
    with suppress(OSError, Failure):  # without a home directory, there is no cache
        path = _path()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with new_file(path, replace=True) as file:
            file.text.write(json.dumps(known, indent=1))
            file.publish()


def _path() -> Path:
    return folder("XDG_CACHE_HOME", ".cache") / "generations.json"


def _read() -> dict[str, Any]:
    with suppress(OSError, ValueError, Failure):
        found = json.loads(_path().read_text("utf-8"))
        if isinstance(found, dict):
            return found
    return {}
