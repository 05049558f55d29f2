"""The actions of groups and their members."""

from collections.abc import Mapping
from typing import Any

from .context import Action, Content, Request, State, existing_number, page_of, required
from .errors import missing
from .query import parse_filter, parse_orderby

_GROUP_FIELDS = frozenset({"id", "name", "description"})


def _group(state: State, group_id: str) -> dict[str, Any]:
    group = state.pbx.group(group_id)
    return {
        "id": group_id,
        "name": group["group_name"],
        "description": group.get("group_description") or "",
    }


def _list_groups(state: State, request: Request) -> Content:
    query = request.query
    found = [_group(state, group_id) for group_id in state.pbx.groups]
    search = query.get("search", "").casefold()
    if search:
        found = [
            row for row in found if search in f"{row['name']}\n{row['description']}".casefold()
        ]
    if query.get("filter"):
        condition = parse_filter(query["filter"], _GROUP_FIELDS)
        found = [row for row in found if condition(row)]
    orderby = query.get("orderby", "")
    for name, descends in reversed(parse_orderby(orderby, _GROUP_FIELDS) if orderby else []):
        found.sort(key=lambda row: row[name], reverse=descends)
    return {"count": len(found), "items": found[page_of(state, request)]}


def _show_group(state: State, request: Request) -> Content:
    group_id = request.path["id"]
    caller_ids = state.group_caller_ids.get(group_id, [])
    return _group(state, group_id) | {"outbound_caller_ids": caller_ids}


def _group_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    names = {"name": "group_name", "description": "group_description"}
    return {names[name]: value for name, value in body.items() if name in names}


def _create_group(state: State, request: Request) -> Content:
    required(request, "name")
    group_id = state.pbx.create_group(_group_fields(request.body))["group_id"]
    state.group_caller_ids[group_id] = request.body.get("outbound_caller_ids", [])
    return {"id": group_id}


def _update_group(state: State, request: Request) -> Content:
    group_id = request.path["id"]
    state.pbx.update_group(group_id, _group_fields(request.body))
    if "outbound_caller_ids" in request.body:
        state.group_caller_ids[group_id] = request.body["outbound_caller_ids"]
    return None


def _remove_group(state: State, request: Request) -> Content:
    state.pbx.remove_group(request.path["id"])
    state.group_caller_ids.pop(request.path["id"], None)
    return None


def _member(state: State, number: str) -> dict[str, Any]:
    user = state.users.summary(state.pbx.index_of(number))
    return {name: user[name] for name in ("id", "name", "display_name", "extension_number")}


def _members(state: State, request: Request) -> list[str]:
    members: list[str] = state.pbx.show_group(request.path["id"])["members"]
    return members


def _change_member(*, adds: bool) -> Action:
    def change(state: State, request: Request) -> Content:
        members = _members(state, request)
        number = existing_number(state, request)
        if adds != (number in members):
            members = [*members, number] if adds else [one for one in members if one != number]
            state.pbx.update_group(request.path["id"], {"members": members})
        elif not adds:
            raise missing("the member")
        return None

    return change


def _show_member(state: State, request: Request) -> Content:
    number = request.path["extension_number"]
    if number not in _members(state, request):
        raise missing("the member")
    return _member(state, number)


GROUP_ACTIONS: Mapping[str, Action] = {
    "groups.create": _create_group,
    "groups.list": _list_groups,
    "groups.show": _show_group,
    "groups.update": _update_group,
    "groups.remove": _remove_group,
    "groups.members": (
        lambda state, request: {
            "items": [_member(state, number) for number in _members(state, request)]
        }
    ),
    "groups.add_member": _change_member(adds=True),
    "groups.member": _show_member,
    "groups.remove_member": _change_member(adds=False),
}
