"""The typed dictionaries of `patch` have the fields and the types of the structs."""

from collections.abc import Iterable, Sequence
from types import NoneType, UnionType
from typing import Any, TypeAlias, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest

from portsip_async import v22
from portsip_async.classic import changes, extension_models, models
from portsip_async.classic.extension_models import SECTIONS, Extension
from portsip_async.redact import Record
from portsip_async.v22 import changes as v22_changes
from portsip_async.v22 import parts, user_models

Pair: TypeAlias = tuple[type[Any], type[Record]]
LISTS = (Sequence, Iterable)


def pairs(dictionaries: Any, *structs: Any) -> dict[str, Pair]:
    """Return each typed dictionary of a module with its struct."""
    homes: dict[str, type[Record]] = {"User": v22.UserSettings, "Extension": Extension}
    found: dict[str, Pair] = {}
    for name in dictionaries.__all__:
        base = name.removesuffix("Changes")
        home = homes.get(base) or next(
            getattr(module, base) for module in structs if hasattr(module, base)
        )
        found[f"{dictionaries.__name__.split('.')[1]}.{name}"] = getattr(dictionaries, name), home
    return found


PAIRS = pairs(changes, extension_models, models) | pairs(v22_changes, user_models, parts)
# Fields that `patch` does not take.
READ_ONLY = {
    Extension: set(Extension.__struct_fields__) - set(SECTIONS),
    models.Group: {"group_id"},
}


def types_in(hint: Any) -> frozenset[Any]:
    """Return the alternatives of a type. Any kind of list counts as the same."""
    if get_origin(hint) in (Union, UnionType):
        return frozenset().union(*map(types_in, get_args(hint)))
    if get_origin(hint) in (tuple, *LISTS):
        return frozenset({("list", types_in(get_args(hint)[0]))})
    return frozenset({hint})


def allowed(hint: Any) -> frozenset[Any]:
    """Return what a typed dictionary allows for a field of a struct: dictionaries too."""
    found: set[Any] = set()
    for kind in types_in(hint):
        if isinstance(kind, tuple):
            found.add(
                ("list", frozenset().union(*(allowed(each) for each in kind[1])) - {NoneType})
            )
        else:
            found |= {kind, *(typed for typed, struct in PAIRS.values() if struct is kind)}
    return frozenset(found | {NoneType})


@pytest.mark.parametrize("name", PAIRS)
def test_dictionary_has_the_fields_of_the_struct(name: str) -> None:
    """It has the API's names, no key is required, and each field also takes None."""
    typed, struct = PAIRS[name]
    expected = {
        field.encode_name: allowed(field.type)
        for field in msgspec.structs.fields(struct)
        if field.name not in READ_ONLY.get(struct, ())
    }
    assert {key: types_in(hint) for key, hint in get_type_hints(typed).items()} == expected
    assert typed.__required_keys__ == frozenset()


def test_every_part_has_a_dictionary() -> None:
    """No struct that a patch can hold is left out."""
    homes = {struct for _, struct in PAIRS.values()}
    reached = {kind for _, struct in PAIRS.values() for kind in parts_of(struct)}
    assert reached <= homes


def parts_of(struct: type[Record]) -> set[Any]:
    found: set[Any] = set()
    for field in msgspec.structs.fields(struct):
        for kind in types_in(field.type):
            found |= set(kind[1]) if isinstance(kind, tuple) else {kind}
    return {kind for kind in found if isinstance(kind, type) and issubclass(kind, Record)}
