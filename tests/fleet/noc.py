"""The fleet of the trials, as each of their processes loads it: ``tests.fleet.noc:fleet``.

Its settings are in the file that the variable FLEET_TRIAL names.
"""

import os
from pathlib import Path

import msgspec
from cryptography.fernet import Fernet

from portsip_async import PortSIPClient
from portsip_async.fleet import Fleet

VARIABLE = "FLEET_TRIAL"


class Settings(msgspec.Struct):
    """The settings of a fleet.

    Attributes:
        url: the Redis.
        urls: the address of each PBX.
        password: the PBXes' password.
        pbxes: those that the fleet begins with; None: all.
        interval: seconds between two cycles of a PBX.
        keep_changes: how many changes the stream keeps.
        key: the key of a Fernet; None: nothing is encrypted.
    """

    url: str
    urls: dict[str, str]
    password: str
    pbxes: list[str] | None = None
    interval: float = 5.0
    keep_changes: int = 100_000
    key: str | None = None

    def fleet(self) -> Fleet:
        """Return a new fleet."""

        async def connect(pbx: str, **shared: object) -> PortSIPClient:
            url, password = self.urls[pbx], self.password
            return PortSIPClient(url, username="admin", password=password, **shared)  # type: ignore[arg-type]

        return Fleet(
            self.url,
            connect=connect,
            pbxes=list(self.urls) if self.pbxes is None else self.pbxes,
            interval=self.interval,
            keep_changes=self.keep_changes,
            cipher=None if self.key is None else Fernet(self.key),
        )


if VARIABLE in os.environ:
    fleet = msgspec.json.decode(Path(os.environ[VARIABLE]).read_bytes(), type=Settings).fleet()
