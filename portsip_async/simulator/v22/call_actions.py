"""The actions of calls, which the vendor calls sessions."""

from collections.abc import Mapping
from typing import Any

from ..records import Call
from .context import Action, Content, Request, State
from .errors import missing
from .users import timestamp


def _create_call(state: State, request: Request) -> Content:
    caller, callee = request.body["caller"], request.body["callee"]
    call = Call(extension=caller, to=callee, domain=state.domain, src=caller, at=request.now)
    return {"id": state.pbx.place_call(call)}


def _create_call_directly(state: State, request: Request) -> Content:
    # The password is not checked: tests do not know the generated one.
    query = request.query
    call = Call(
        extension=query["extension_number"],
        to=query["callee"],
        domain=query["domain"],
        src=query["caller"],
        at=request.now,
    )
    return {"id": state.pbx.place_call(call)}


def _session_of_call(state: State, session_id: str, now: float) -> dict[str, Any]:
    call = state.pbx.sessions.get(session_id)
    if call is None:
        raise missing("the session")
    leg = {
        "caller": call.extension,
        "caller_display_name": "",
        "callee": call.to,
        "started_at": timestamp(call.at),
        "talking_time": int(now - call.at),
    }
    return {"id": session_id, "calls": [leg]}


def _list_calls(state: State, request: Request) -> Content:
    items = [_session_of_call(state, one, request.now) for one in state.pbx.sessions]
    return {"count": len(items), "items": items}


def _hang_up(state: State, request: Request) -> Content:
    if state.pbx.sessions.pop(request.path["id"], None) is None:
        raise missing("the session")
    return None


CALL_ACTIONS: Mapping[str, Action] = {
    "calls.create": _create_call,
    "calls.create_directly": _create_call_directly,
    "calls.list": _list_calls,
    "calls.show": (lambda state, request: _session_of_call(state, request.path["id"], request.now)),
    "calls.hang_up": _hang_up,
}
