"""Every operation that sends something, called with arguments that the simulator takes.

The secrets in them are of shapes that no other text has, so that a test can look for them.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from portsip_async import NewExtension, PortSIPClient

PASSWORD = 'pass wörd/+&"1'
WEB_PASSWORD = "web%Secret=2"
# So long that no time and no address has it by chance.
PIN = "9031790317903179"
AUTH = "auth;Secret<3>"
LOGIN_PASSWORD = "login'Secret\\4"
SECRETS = (PASSWORD, WEB_PASSWORD, PIN, AUTH, LOGIN_PASSWORD)

SECTIONS: Mapping[str, Mapping[str, object]] = {
    "profile": {"first_name": "Ann"},
    "options": {"enable_extension": True},
    "forward_rules": {},
    "office_hours": {},
    "voice_mail": {"enable_voicemail": True, "voicemail_pin": PIN},
}


class Operation(NamedTuple):
    """A coroutine of the API under its row's name."""

    name: str
    safety: str
    send: Callable[[PortSIPClient], Awaitable[Any]]


def _new_extension() -> NewExtension:
    return NewExtension(
        extension_number="9001",
        password=PASSWORD,
        web_access_password=WEB_PASSWORD,
        voice_mail={"voicemail_pin": PIN},  # type: ignore[arg-type]  # as a caller may well do
    )


_GROUP: Mapping[str, Any] = {
    "enable_intercom": True,
    "enable_external_call": False,
    "enable_management_console_access": False,
}

OPERATIONS = tuple(
    Operation(*row)
    for row in (
        ("extensions.list", "safe", lambda pbx: pbx.extensions.list(prefetch=0)),
        ("extensions.search", "safe", lambda pbx: pbx.extensions.search("10", prefetch=0)),
        ("extensions.show", "safe", lambda pbx: pbx.extensions.show("101")),
        ("extensions.status", "safe", lambda pbx: pbx.extensions.status(["101", "102"])),
        ("groups.list", "safe", lambda pbx: pbx.groups.list(prefetch=0)),
        ("groups.show", "safe", lambda pbx: pbx.groups.show("1")),
        ("greetings.list", "safe", lambda pbx: pbx.greetings.list("101", prefetch=0)),
        ("account.verify", "safe", lambda pbx: pbx.account.verify("admin", LOGIN_PASSWORD)),
        ("account.verify_email", "safe", lambda pbx: pbx.account.verify_email("a@b", PASSWORD)),
        ("extensions.update", "idempotent", lambda pbx: pbx.extensions.update("101", **SECTIONS)),
        ("extensions.remove", "idempotent", lambda pbx: pbx.extensions.remove("101")),
        (
            "groups.update",
            "idempotent",
            lambda pbx: pbx.groups.update("1", group_name="Sales", **_GROUP),
        ),
        ("groups.remove", "idempotent", lambda pbx: pbx.groups.remove("1")),
        ("greetings.setup", "idempotent", lambda pbx: pbx.greetings.setup("101", "a.wav")),
        ("greetings.remove", "idempotent", lambda pbx: pbx.greetings.remove("101", "a.wav")),
        ("extensions.create", "unsafe", lambda pbx: pbx.extensions.create(_new_extension())),
        (
            "extensions.call",
            "unsafe",
            lambda pbx: pbx.extensions.call("101", "102", auth=AUTH, domain="d.example", src="101"),
        ),
        ("groups.create", "unsafe", lambda pbx: pbx.groups.create("Sales", **_GROUP)),
        (
            "greetings.add",
            "unsafe",
            lambda pbx: pbx.greetings.add("101", url="https://files.example/a.wav"),
        ),
        (
            "greetings.upload",
            "unsafe",
            lambda pbx: pbx.greetings.upload("101", b"RIFF" * 9, filename="a.wav"),
        ),
    )
)
BY_NAME = {operation.name: operation for operation in OPERATIONS}
