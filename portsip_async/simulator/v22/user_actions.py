"""The actions of users and their greetings."""

from collections.abc import Mapping
from hashlib import sha256

from ..generated import opaque_id
from ..records import Greeting
from .context import Action, Content, Request, State, existing_number, page_of, required
from .errors import invalid, missing


def _list_users(state: State, request: Request) -> Content:
    query = request.query
    found = state.users.find(
        condition=query.get("filter", ""),
        search=query.get("search", ""),
        orderby=query.get("orderby", ""),
    )
    indexes = found[page_of(state, request)]
    return {"count": len(found), "items": [state.users.summary(index) for index in indexes]}


def _remove_user(state: State, request: Request) -> Content:
    state.pbx.remove_extension(state.users.number_of(request.path["id"]))
    return None


def _find(state: State, request: Request) -> Content:
    number = existing_number(state, request)
    user_id = state.users.id_of(number)
    name = state.users.summary(state.pbx.index_of(number))["display_name"]
    return {"id": user_id, "extension_number": number, "name": name, "type": "EXTENSION"}


def _status(state: State, request: Request) -> Content:
    return state.users.status(state.users.number_of(request.path["id"]), request.now)


def _change_password(name: str) -> Action:
    def change(state: State, request: Request) -> Content:
        password = required(request, "password")
        state.users.set_password(request.path["id"], name, password)
        return None

    return change


def _set_role(state: State, request: Request) -> Content:
    state.users.set_role(request.path["id"], required(request, "role"))
    return None


# Greetings.


def _list_greetings(state: State, request: Request) -> Content:
    number = state.users.number_of(request.path["id"])
    default = state.pbx.default_file(number)
    return {
        "items": [
            {
                "id": _greeting_id(state, number, name),
                "enabled": name == default,
                "file_name": greeting.filename,
                "file_size": greeting.size,
                "file_url": f"/api/blobs/{greeting.sha256}" if greeting.sha256 else "",
            }
            for name, greeting in state.pbx.greetings(number).items()
        ]
    }


def _create_greeting(state: State, request: Request) -> Content:
    number = state.users.number_of(request.path["id"])
    file = state.uploads.files.get(required(request, "file_id"))
    if file is None:
        raise invalid("there is no file with this file_id")
    filename = file.filename or "greeting.wav"
    # The classic generation knows greetings by their names, so each name must be another one.
    name, copies = filename, 1
    while name in state.pbx.greetings(number):
        copies += 1
        name = f"{copies}-{filename}"
    greeting = Greeting(filename, file.size, file.sha256)
    state.pbx.add_greeting(number, greeting, name)
    return {"id": _greeting_id(state, number, name)}


def _greeting_id(state: State, number: str, name: str) -> str:
    data = f"{state.pbx.index_of(number)}/{name}".encode()
    return opaque_id(int.from_bytes(sha256(data).digest()[:4]), 3)


def _greeting(state: State, request: Request) -> tuple[str, str]:
    """Return the number and the name of the greeting in the path."""
    number = state.users.number_of(request.path["id"])
    for name in state.pbx.greetings(number):
        if _greeting_id(state, number, name) == request.path["greeting_id"]:
            return number, name
    raise missing("the greeting")


def _disable_greeting(state: State, request: Request) -> Content:
    number, name = _greeting(state, request)
    if state.pbx.default_file(number) == name:
        state.pbx.play_no_greeting(number)
    return None


USER_ACTIONS: Mapping[str, Action] = {
    "users.list": _list_users,
    "users.create": lambda state, request: {"id": state.users.create(request.body)},
    "users.show": lambda state, request: state.users.show(request.path["id"]),
    "users.update": lambda state, request: state.users.update(request.path["id"], request.body),
    "users.set_password": _change_password("password"),
    "users.set_extension_password": _change_password("extension_password"),
    "users.set_role": _set_role,
    "users.remove": _remove_user,
    "users.status": _status,
    "users.find": _find,
    "greetings.create": _create_greeting,
    "greetings.list": _list_greetings,
    "greetings.enable": (
        lambda state, request: state.pbx.setup_greeting(*_greeting(state, request))
    ),
    "greetings.disable": _disable_greeting,
    "greetings.remove": (
        lambda state, request: state.pbx.remove_greeting(*_greeting(state, request))
    ),
}
