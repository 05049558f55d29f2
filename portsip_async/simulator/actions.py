"""What the simulated PBX does for each operation.

An action gets the fields of the request, checked by `fields`, and returns the content of the
reply, or None for an empty body. Fields have the PBX's own names. The methods in `state` use the
same names for their arguments.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from .errors import PBXError
from .records import Call, Greeting
from .state import PBX
from .tokens import TokenIssuer

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What an action can use, besides the fields.

    Attributes:
        pbx: the state.
        issuer: the login and its tokens.
        token: the token of the request; "" if the operation needs none.
        now: seconds since the simulator was created.
    """

    pbx: PBX
    issuer: TokenIssuer
    token: str
    now: float


Action = Callable[[RequestContext, Fields], dict[str, Any] | None]


def _log_in(context: RequestContext, fields: Fields) -> dict[str, Any]:
    name = fields.get("username") or fields["email"]
    return context.issuer.log_in(name, fields["password"], context.now)


def _call(context: RequestContext, fields: Fields) -> None:
    # The password is not checked, so that tests need not know the generated one.
    call = {name: fields[name] for name in ("extension", "to", "domain", "src")}
    context.pbx.place_call(Call(**call, at=context.now))


def _add_greeting(context: RequestContext, fields: Fields) -> None:
    url = fields.get("url")
    filename = fields.get("filename") or unquote(urlsplit(url or "").path.rsplit("/", 1)[-1])
    if not filename:
        raise PBXError("format", "filename or url is required")
    context.pbx.add_greeting(fields["extension_number"], Greeting(filename, url=url))


def _upload_greeting(context: RequestContext, fields: Fields) -> None:
    file: Greeting = fields["file"]
    filename = fields.get("filename") or file.filename
    if not filename:
        raise PBXError("format", "filename is required")
    greeting = Greeting(filename, file.size, file.sha256)
    context.pbx.add_greeting(fields["extension_number"], greeting)


ACTIONS: Mapping[str, Action] = {
    "account.verify": _log_in,
    "account.verify_email": _log_in,
    "account.refresh": lambda context, _: context.issuer.renew(context.token, context.now),
    "extensions.list": lambda context, fields: context.pbx.list_extensions(context.now, **fields),
    "extensions.search": (
        lambda context, fields: context.pbx.search_extensions(context.now, **fields)
    ),
    "extensions.create": lambda context, fields: context.pbx.create_extension(fields),
    "extensions.show": lambda context, fields: context.pbx.show_extension(**fields),
    "extensions.status": (
        lambda context, fields: {
            "extension_status": context.pbx.statuses(fields["extensions"], context.now)
        }
    ),
    "extensions.call": _call,
    "extensions.update": (
        lambda context, fields: context.pbx.update_extension(fields["extension_number"], fields)
    ),
    "extensions.remove": lambda context, fields: context.pbx.remove_extension(**fields),
    "groups.list": lambda context, fields: context.pbx.list_groups(**fields),
    "groups.show": lambda context, fields: context.pbx.show_group(**fields),
    "groups.create": lambda context, fields: context.pbx.create_group(fields),
    "groups.update": lambda context, fields: context.pbx.update_group(fields["group_id"], fields),
    "groups.remove": lambda context, fields: context.pbx.remove_group(**fields),
    "greetings.list": lambda context, fields: context.pbx.list_greetings(**fields),
    "greetings.add": _add_greeting,
    "greetings.upload": _upload_greeting,
    "greetings.setup": lambda context, fields: context.pbx.setup_greeting(**fields),
    "greetings.remove": lambda context, fields: context.pbx.remove_greeting(**fields),
}
