"""An embedded PBX to test applications against, with state, faults and quirks."""

from .faults import Faults
from .quirks import QUIRKS
from .server import PBXSimulator
from .state import Call, Greeting

__all__ = ["QUIRKS", "Call", "Faults", "Greeting", "PBXSimulator"]
