"""An embedded PBX to test applications against, with state, faults and quirks."""

from .faults import Faults
from .quirks import QUIRKS
from .records import Call, Greeting
from .server import PBXSimulator
from .v22.socket import LiveSocket

__all__ = ["QUIRKS", "Call", "Faults", "Greeting", "LiveSocket", "PBXSimulator"]
