"""Every field of every public struct is explained in the docstring of its class."""

import inspect
import re

import pytest

from portsip_async.redact import Record

from .test_to_dict import STRUCTS

# "All other fields are those of `UserSettings`."
OTHERS = re.compile(r"fields are those\s+of\s+`(\w+)`")


def explained(kind: type[Record]) -> list[str]:
    """Return the names in the section Attributes of a class."""
    section = inspect.cleandoc(kind.__doc__ or "").partition("\nAttributes:\n")[2]
    return re.findall(r"^    (\w+): \S", section, re.MULTILINE)


def fields(kind: type[Record]) -> set[str]:
    return {name for name in kind.__struct_fields__ if not name.startswith("_")}


@pytest.mark.parametrize("name", STRUCTS)
def test_every_field_is_explained(name: str) -> None:
    """The docstring names each field once. It may refer to another class for the rest."""
    kind = STRUCTS[name]
    own = explained(kind)
    assert len(own) == len(set(own))
    others = OTHERS.search(kind.__doc__ or "")
    elsewhere = set()
    if others is not None:
        generation = "v22." if name.startswith("v22.") and others[1] != "Page" else ""
        elsewhere = set(explained(STRUCTS[generation + others[1]]))
    assert fields(kind) - elsewhere <= set(own) <= fields(kind)
