"""``portsip-async openapi``: the API as an OpenAPI document."""

import json

import typer

from ..openapi import document


def openapi() -> None:
    """Print an OpenAPI 3.1 document of all operations."""
    typer.echo(json.dumps(document(), indent=2))
