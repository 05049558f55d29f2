"""Settings that are read and written back lose nothing, known to the SDK or not.

The server is raw, and what should arrive is merged by this file's own hand.
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
from portsip_async.classic.models import SECTIONS
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
# A section whose name the reply lacks is not written; one that it has as null is.
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
    """Let a client change what a PBX shows; answer what that brought, and what arrived."""
    async with WireServer() as server:
        server.script = [reply(json.dumps(read)), reply(b"")]
        async with PortSIPClient(server.url, token=TOKEN, retry=ONCE) as pbx:
            answer: Any = None
            try:
                answer = await write(pbx)
            except (ReplyError, TypeError) as error:
                answer = error
        return answer, server.arrivals


def sent_by(arrival: Arrival) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(arrival.body)
    assert fields.pop("access_token") == TOKEN
    return fields


def same(one: Any, other: Any) -> bool:
    """Compare JSON so that neither 1 and 1.0 nor 1 and true are the same."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def overlaid(old: Any, new: Any) -> Any:
    """Put new over old, object by object."""
    if not isinstance(new, dict):
        return new
    under = old if isinstance(old, dict) else {}
    return under | {name: overlaid(under.get(name), value) for name, value in new.items()}


def parts_of(model: Any) -> dict[str, Any]:
    """Return which struct each field of a model may hold; None where it holds none."""
    return {
        field.name: next(
            (part for part in get_args(field.type) if hasattr(part, "__struct_fields__")), None
        )
        for field in (msgspec.structs.fields(model) if model is not None else ())
    }


def misshapen(changes: dict[str, Any], model: Any) -> bool:
    """Return whether something else than an object stands where the model has fields."""
    parts = parts_of(model)
    return any(
        misshapen(value, parts.get(name))
        if isinstance(value, dict)
        else value is not None and parts.get(name) is not None
        for name, value in changes.items()
    )


def unknown(changes: dict[str, Any], read: Any, model: Any) -> bool:
    """Return whether a change names what neither the model nor the reply has."""
    parts, found = parts_of(model), read if isinstance(read, dict) else {}
    return any(
        (name not in parts and name not in found)
        or (isinstance(value, dict) and unknown(value, found.get(name), parts.get(name)))
        for name, value in changes.items()
    )


def overwritten(changes: dict[str, Any], read: Any, model: Any) -> bool:
    """Return whether a change would replace something in the reply that is no object."""
    parts, found = parts_of(model), read if isinstance(read, dict) else {}
    return any(
        isinstance(value, dict)
        and parts.get(name) is not None
        and (
            (not isinstance(found.get(name), dict | None) and found.get(name) not in ("", []))
            or overwritten(value, found.get(name), parts.get(name))
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
    """The sections go back as they were read, but for what was named, at any depth.

    What names an unknown field, or would replace what is no object, changes nothing.
    """
    read = {"extension_number": number, **document}
    patched, arrivals = await written(read, lambda pbx: pbx.extensions.patch(number, **changes))
    if misshapen(changes, Extension):
        assert isinstance(patched, TypeError)
        assert arrivals == []
        return
    refusals = (
        *((TypeError,) if unknown(changes, read, Extension) else ()),
        *((ReplyError,) if overwritten(changes, read, Extension) else ()),
    )
    if refusals:
        assert isinstance(patched, refusals)
        assert [arrival.path for arrival in arrivals] == ["/api/extensions/show"]
        return
    assert [arrival.path for arrival in arrivals] == [
        "/api/extensions/show",
        "/api/extensions/update",
    ]
    expected = overlaid(read, changes)
    for name in ("belong_groups", "unknown"):
        expected.pop(name, None)
    assert same(sent_by(arrivals[1]), expected)
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
    """All but the reply's own err_code goes back; what can't be read as a group is not written."""
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
    assert same(sent_by(arrivals[1]), overlaid(read, changes))


@given(
    members=st.lists(UNICODE.filter(bool), max_size=5),
    others=st.lists(UNICODE.filter(bool), max_size=4),
    unknown=st.dictionaries(UNICODE.filter(lambda name: name != "members"), ANYTHING, max_size=3),
    adds=st.booleans(),
)
async def test_members_of_a_group(
    members: list[str], others: list[str], unknown: dict[str, Any], adds: bool
) -> None:
    """Members come and go, each once, in order, and nothing else changes."""
    read = {**unknown, "group_id": "7", "members": members}
    for name in ("err_code", "msg", "message", "access_token"):
        read.pop(name, None)

    def change(pbx: PortSIPClient) -> Any:
        groups = pbx.groups
        return groups.add_members("7", others) if adds else groups.remove_members("7", others)

    changed, arrivals = await written(read, change)
    left = [*dict.fromkeys([*members, *others])]
    if not adds:
        left = [number for number in members if number not in others]
    assert same(sent_by(arrivals[1]), {**read, "members": left})
    assert changed.members == tuple(left)


VALUES: dict[Any, st.SearchStrategy[Any]] = {
    str: UNICODE,
    int: st.integers(-(2**63), 2**64 - 1),
    float: FRACTION,
    bool: st.booleans(),
}


def structs_of(kind: Any) -> st.SearchStrategy[Any]:
    """Draw values of a model, each optional field there or not."""

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
        # An open enum, where the text "null" reads as none.
        return UNICODE.filter(lambda text: text.lower() != "null").map(annotation)

    return st.builds(
        kind, **{field.name: values_of(field.type) for field in msgspec.structs.fields(kind)}
    )


@given(value=st.one_of(*map(structs_of, (Extension, NewExtension, ExtensionUpdate, Group))))
def test_models(value: Any) -> None:
    """What a model holds is written, and read as the same, typed and mended alike."""
    body = msgspec.json.encode(value)
    assert Decoder(type(value)).decode(body) == value
    assert Decoder(type(value)).decode(b"\xef\xbb\xbf" + body) == value
