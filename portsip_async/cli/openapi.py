"""``portsip-async openapi``: print the API as an OpenAPI document."""

import json

from ..openapi import document
from .streams import print_line


def openapi() -> None:
    """Print an OpenAPI 3.1 document of all operations."""
    print_line(json.dumps(document(), indent=2))
