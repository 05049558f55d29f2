"""``portsip-async openapi``: print the API as an OpenAPI document."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from ..openapi import document
from .terminal.streams import print_line


class Described(StrEnum):
    """A generation of the API. No PBX is asked, so there is no ``auto``."""

    CLASSIC = "classic"
    V22 = "v22"


def openapi(
    *,
    api: Annotated[Described, typer.Option(help="The generation of the API.")] = Described.CLASSIC,
) -> None:
    """Print an OpenAPI 3.1 document of all operations."""
    print_line(json.dumps(document(api.value), indent=2))
