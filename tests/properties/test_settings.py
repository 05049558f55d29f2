"""Settings that are read and written back lose nothing, whether the SDK knows them or not.

The server is raw, and this module computes what should arrive by itself.
"""

import json
from typing import Any, get_args

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from portsip_async import (
    Extension,
    ExtensionUpdate,
    Group,
    NewExtension,
    PortSIPClient,
    ReplyError,
    RetryPolicy,
)
from portsip_async.classic.extension_models import SECTIONS
from portsip_async.core.decode import Decoder

from ..wire_server import TOKEN, Arrival, WireServer, reply
from .values import FRACTION, UNICODE, json_of

ONCE = RetryPolicy(attempts=1)
NAMES = sorted(
    {
        name
        for field in msgspec.structs.fields(Extension)
        for section in get_args(field.type)
        for name in getattr(section, "__struct_fields__", ())
    }
)
ANYTHING = json_of(UNICODE, NAMES)
OBJECT = st.dictionaries(UNICODE | st.sampled_from(NAMES), ANYTHING, max_size=4)
# A missing section is not written. One that is null is.
DOCUMENT = st.dictionaries(
    st.sampled_from([*SECTIONS, "belong_groups", "unknown"]), OBJECT | ANYTHING, max_size=5
)
CHANGES = st.dictionaries(st.sampled_from(SECTIONS), OBJECT, max_size=3)
GROUP_NAMES = (
    "group_name",
    "group_description",
    "enable_intercom",
    "enable_external_call",
    "enable_management_console_access",
)
FLAGS = st.booleans() | st.none()


async def written(read: Any, write: Any) -> tuple[Any, list[Arrival]]:
    """Run a change of what a PBX shows; return its value or error, and the requests."""
    async with WireServer() as server:
        server.script = [reply(json.dumps(read)), reply(b"")]
        async with PortSIPClient(server.url, token=TOKEN, retry=ONCE) as pbx:
            result: Any = None
            try:
                result = await write(pbx)
            except (ReplyError, TypeError) as error:
                result = error
        return result, server.arrivals


def fields_of(arrival: Arrival) -> dict[str, Any]:
    """Return the fields of a request, without the token."""
    fields: dict[str, Any] = json.loads(arrival.body)
    assert fields.pop("access_token") == TOKEN
    return fields


def same(one: Any, other: Any) -> bool:
    """Compare JSON exactly: 1, 1.0 and true are different."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def merged(old: Any, new: Any) -> Any:
    """Merge new into old, object by object."""
    if not isinstance(new, dict):
        return new
    under = old if isinstance(old, dict) else {}
    return under | {name: merged(under.get(name), value) for name, value in new.items()}


def parts_of(model: Any) -> dict[str, Any]:
    """Return the struct that each field of a model may hold, or None."""
    return {
        field.name: next(
            (part for part in get_args(field.type) if hasattr(part, "__struct_fields__")), None
        )
        for field in (msgspec.structs.fields(model) if model is not None else ())
    }


def replaces_object(changes: dict[str, Any], model: Any) -> bool:
    """Return whether a change has another type where the model has an object."""
    parts = parts_of(model)
    return any(
        replaces_object(value, parts.get(name))
        if isinstance(value, dict)
        else value is not None and parts.get(name) is not None
        for name, value in changes.items()
    )


def unknown(changes: dict[str, Any], read: Any, model: Any) -> bool:
    """Return whether a change has a name that neither the model nor the reply has."""
    parts, found = parts_of(model), read if isinstance(read, dict) else {}
    return any(
        (name not in parts and name not in found)
        or (isinstance(value, dict) and unknown(value, found.get(name), parts.get(name)))
        for name, value in changes.items()
    )


def overwrites(changes: dict[str, Any], read: Any, model: Any) -> bool:
    """Return whether a change would replace a value in the reply that is not an object."""
    parts, found = parts_of(model), read if isinstance(read, dict) else {}
    return any(
        isinstance(value, dict)
        and parts.get(name) is not None
        and (
            (not isinstance(found.get(name), dict | None) and found.get(name) not in ("", []))
            or overwrites(value, found.get(name), parts.get(name))
        )
        for name, value in changes.items()
    )


@given(number=UNICODE.filter(bool), document=DOCUMENT, changes=CHANGES)
@example(number="101", document={"profile": {"x": [2**64, -(2**63) - 1, 1e300]}}, changes={})
@example(number="101", document={"profile": None, "unknown": 1}, changes={"profile": {"x": None}})
@example(number="1", document={"profile": {"x": {"y": 1}}}, changes={"profile": {"x": {"y": 2}}})
@example(number="1", document={}, changes={"forward_rules": {"away": {"x": 1}}})
@example(number="1", document={}, changes={"forward_rules": {"away": 1}})
@example(number="1", document={"options": True}, changes={"options": {}})
@example(number="1", document={"options": "x"}, changes={"options": {"x": 1}})
async def test_patch_of_an_extension(
    number: str, document: dict[str, Any], changes: dict[str, Any]
) -> None:
    """The sections are written as they were read, except for the named fields, at any depth.

    A change of an unknown field, or of a value that is not an object, is refused.
    """
    read = {"extension_number": number, **document}
    patched, arrivals = await written(read, lambda pbx: pbx.extensions.patch(number, **changes))
    if replaces_object(changes, Extension):
        assert isinstance(patched, TypeError)
        assert arrivals == []
        return
    refusals = (
        *((TypeError,) if unknown(changes, read, Extension) else ()),
        *((ReplyError,) if overwrites(changes, read, Extension) else ()),
    )
    if refusals:
        assert isinstance(patched, refusals)
        assert [arrival.path for arrival in arrivals] == ["/api/extensions/show"]
        return
    assert [arrival.path for arrival in arrivals] == [
        "/api/extensions/show",
        "/api/extensions/update",
    ]
    expected = merged(read, changes)
    for name in ("belong_groups", "unknown"):
        expected.pop(name, None)
    assert same(fields_of(arrivals[1]), expected)
    assert isinstance(patched, Extension)
    assert patched.extension_number == number


@given(
    group=st.dictionaries(
        st.sampled_from([*GROUP_NAMES, "unknown", "members"]) | UNICODE, ANYTHING, max_size=6
    ),
    changes=st.dictionaries(st.sampled_from(GROUP_NAMES), UNICODE | FLAGS, max_size=3),
)
@example(group={"members": "101"}, changes={"group_name": "x"})
async def test_patch_of_a_group(group: dict[str, Any], changes: dict[str, Any]) -> None:
    """All fields but the err_code are written back; an unreadable group is not written."""
    read = {**group, "group_id": "7"}
    for name in ("err_code", "msg", "message", "access_token"):
        read.pop(name, None)
    patched, arrivals = await written(read, lambda pbx: pbx.groups.patch("7", **changes))
    if isinstance(patched, ReplyError):
        assert [arrival.path for arrival in arrivals] == ["/api/extensions/group/show"]
        members = read["members"]
        assert not isinstance(members, list) or any(
            member is None or isinstance(member, list | dict) for member in members
        )
        return
    assert isinstance(patched, Group)
    assert same(fields_of(arrivals[1]), merged(read, changes))


@given(
    members=st.lists(UNICODE.filter(bool), max_size=5),
    others=st.lists(UNICODE.filter(bool), max_size=4),
    unknown=st.dictionaries(UNICODE.filter(lambda name: name != "members"), ANYTHING, max_size=3),
    add=st.booleans(),
)
async def test_members_of_a_group(
    members: list[str], others: list[str], unknown: dict[str, Any], add: bool
) -> None:
    """Members are added or removed once, in order, and nothing else changes."""
    read = {**unknown, "group_id": "7", "members": members}
    for name in ("err_code", "msg", "message", "access_token"):
        read.pop(name, None)

    def change(pbx: PortSIPClient) -> Any:
        groups = pbx.groups
        return groups.add_members("7", others) if add else groups.remove_members("7", others)

    changed, arrivals = await written(read, change)
    left = [*dict.fromkeys([*members, *others])]
    if not add:
        left = [number for number in members if number not in others]
    assert same(fields_of(arrivals[1]), {**read, "members": left})
    assert changed.members == tuple(left)


VALUES: dict[Any, st.SearchStrategy[Any]] = {
    str: UNICODE,
    int: st.integers(-(2**63), 2**64 - 1),
    float: FRACTION,
    bool: st.booleans(),
}


def structs_of(kind: Any) -> st.SearchStrategy[Any]:
    """Draw values of a model, with and without each optional field."""

    def values_of(annotation: Any) -> st.SearchStrategy[Any]:
        members = get_args(annotation)
        if members and annotation not in VALUES:
            if members[-1] is Ellipsis:
                return st.lists(values_of(members[0]), max_size=3).map(tuple)
            return st.one_of(*map(values_of, members))
        if annotation is type(None):
            return st.none()
        if issubclass(annotation, msgspec.Struct):
            return structs_of(annotation)
        if annotation in VALUES:
            return VALUES[annotation]
        # An open enum, for which the text "null" means None.
        return UNICODE.filter(lambda text: text.lower() != "null").map(annotation)

    return st.builds(
        kind, **{field.name: values_of(field.type) for field in msgspec.structs.fields(kind)}
    )


@given(value=st.one_of(*map(structs_of, (Extension, NewExtension, ExtensionUpdate, Group))))
def test_models(value: Any) -> None:
    """A model is encoded and decoded without change, also if the body has to be repaired."""
    body = msgspec.json.encode(value)
    assert Decoder(type(value)).decode(body) == value
    assert Decoder(type(value)).decode(b"\xef\xbb\xbf" + body) == value
