"""Calls that the PBX sets up between two parties."""

import builtins
from typing import TypedDict, Unpack

from ..arguments import check_str, check_type
from ..client.patches import unknown_field
from ..client.resource import Resource
from ..core.tracebacks import hide_arguments
from .enums import AdditionalHeaderValue, HeaderDirectionValue
from .models import CallSession
from .operations import (
    CALLS_CREATE,
    CALLS_CREATE_DIRECTLY,
    CALLS_HANG_UP,
    CALLS_LIST,
    CALLS_SHOW,
)

__all__ = ["CallSettings"]


class CallSettings(TypedDict, total=False):
    """Further settings of a call; None leaves one out.

    Attributes:
        send_sdp: whether the INVITE of the call contains SDP. True by default, as in the vendor's
            samples.
        caller_display_name: the name that the caller shows.
        trunk: the name of the trunk that the call goes through.
        rewrite_from: the user in the header ``From`` of a call through `trunk`.
        rewrite_pai: the user in the header ``P-Asserted-Identity`` of a call through `trunk`.
        rewrite_rpi: the user in the header ``Remote-Party-ID`` of a call through `trunk`.
        user_data: any text that belongs to the call.
        target: the address to call.
        target_instance_id: the instance of the telephone to call.
        target_extension_number: the extension to call.
        additional_header: a header that makes a telephone answer automatically.
        header_direction: which party gets that header.
    """

    send_sdp: bool
    caller_display_name: str | None
    trunk: str | None
    rewrite_from: str | None
    rewrite_pai: str | None
    rewrite_rpi: str | None
    user_data: str | None
    target: str | None
    target_instance_id: str | None
    target_extension_number: str | None
    additional_header: AdditionalHeaderValue | None
    header_direction: HeaderDirectionValue | None


class Calls(Resource):
    """The current calls of the PBX. A session holds calls that belong together."""

    async def create(self, caller: str, callee: str, **more: Unpack[CallSettings]) -> str:
        """Ring the caller, then connect the callee (``POST /sessions``).

        It is not repeated if it may have rung: see ``error.may_have_acted``.

        Args:
            caller: the number that rings first: an extension, or a number outside.
            callee: the number to connect it with.
            more: further settings, see `CallSettings`.

        Returns:
            The session's id.
        """
        created = await self._sender.send(CALLS_CREATE, _call(caller, callee, more))
        return created.id

    @hide_arguments
    async def create_directly(
        self,
        extension_number: str,
        password: str,
        *,
        domain: str,
        caller: str,
        callee: str,
        **more: Unpack[CallSettings],
    ) -> str:
        """Ring the caller without a login (``GET /sessions/directly``).

        It is not repeated if it may have rung: see ``error.may_have_acted``. The password goes into
        the URL, so a proxy may log it. `create` has no such risk.

        Args:
            extension_number: the extension that sets up the call.
            password: the password of that extension's telephones.
            domain: the tenant's SIP domain.
            caller: the number that rings first: an extension, or a number outside.
            callee: the number to connect it with.
            more: further settings, see `CallSettings`.

        Returns:
            The session's id.

        Raises:
            AuthenticationError, PermissionDenied: the PBX refused the password.
        """
        created = await self._sender.send(
            CALLS_CREATE_DIRECTLY,
            {
                "extension_number": check_str("extension_number", extension_number),
                "password": check_str("password", password),
                "domain": check_str("domain", domain),
                **_call(caller, callee, more),
            },
        )
        return created.id

    async def list(self) -> builtins.list[CallSession]:
        """Read all current sessions (``GET /sessions``)."""
        page = await self._sender.send(CALLS_LIST, {})
        return [*page.items]

    async def show(self, session_id: str) -> CallSession:
        """Read a session (``GET /sessions/{id}``).

        Raises:
            NotFound: there is no such session.
            ReplyError: the reply does not show a session.
        """
        return await self._sender.send(CALLS_SHOW, _key(session_id))

    async def hang_up(self, session_id: str) -> None:
        """End all calls of a session (``POST /sessions/{id}/destroy``).

        Raises:
            NotFound: there is no such session.
        """
        await self._sender.send(CALLS_HANG_UP, _key(session_id))


def _key(session_id: str) -> dict[str, str]:
    return {"id": check_str("session_id", session_id)}


def _call(caller: str, callee: str, more: CallSettings) -> dict[str, object]:
    """Check the settings of a call, and return them under the API's names.

    Raises:
        TypeError: a setting of another type, or one that a call does not have; then the message
            suggests the nearest name.
    """
    for name, value in more.items():
        if name not in CallSettings.__annotations__:
            raise unknown_field("a call", name, CallSettings.__annotations__)
        check_type(name, value, bool if name == "send_sdp" else str, None)
    return {
        "send_sdp": True,
        **more,
        "caller": check_str("caller", caller),
        "callee": check_str("callee", callee),
    }
