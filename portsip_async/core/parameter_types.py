"""The types of parameters, for the `takes` of endpoints.

A parameter is optional if its type allows None.
"""

from msgspec import Struct, structs


class Text(str):
    """A text that must not be empty."""


class Count(int):
    """A whole number of at least 1."""


class File:
    """The content of a file that is uploaded."""


def fields_of(model: type[Struct]) -> dict[str, object]:
    """Return a model's fields with their types; required texts must not be empty."""
    return {
        field.encode_name: Text if field.type is str else field.type
        for field in structs.fields(model)
    }
