"""The operations of both generations, as the matrix calls them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import portsip_async
from portsip_async import v22
from portsip_async.core.endpoint import Endpoint

from .. import operations as classic_calls
from ..v22 import operations as v22_calls

CLASSIC, V22 = "classic", "v22"
# More than the buffers of sockets, so that a fault can happen while it is being sent.
LARGE = 8 * 2**20


@dataclass(frozen=True, kw_only=True)
class Case:
    """An operation of a generation.

    Attributes:
        generation: `CLASSIC` or `V22`.
        name: its name.
        safety: what a repetition does.
        endpoint: its row in the API's table.
        path: the path of its request.
        send: calls it.
        send_much: calls it with a large upload; None: it is no upload.
        good: the correct reply, or None if it has no body.
        headers: the headers of that reply.
        reads: returns whether a reply was read, and the text in it.
        secrets: the secrets in the call.
        client: the class of the client.
        options: how the client logs in; None: with a token that it can renew.
    """

    generation: str
    name: str
    safety: str
    endpoint: Endpoint[Any]
    path: str
    send: Callable[[Any], Awaitable[Any]]
    send_much: Callable[[Any], Awaitable[Any]] | None
    good: Mapping[str, Any] | None
    headers: Mapping[str, str]
    reads: Callable[[Any], tuple[bool, object]]
    secrets: tuple[str, ...]
    client: type[Any]
    options: Mapping[str, Any] | None = None

    @property
    def id(self) -> str:
        """Its name, which the other generation does not have."""
        return self.name if self.generation == CLASSIC else f"{V22} {self.name}"

    @property
    def uploads(self) -> bool:
        """Whether it streams a file."""
        return self.send_much is not None

    @property
    def reads_json(self) -> bool:
        """Whether it reads a body of JSON, or nothing."""
        return not self.endpoint.reply_headers and self.endpoint.reply is not bytes


CASES = (
    *(
        Case(
            generation=CLASSIC,
            name=row.name,
            safety=row.safety,
            endpoint=portsip_async.ENDPOINTS[row.name],
            path=row.path,
            send=row.send,
            send_much=(
                (lambda pbx: pbx.greetings.upload("101", bytes(LARGE), filename="a.wav"))
                if row.parameters == "multipart"
                else None
            ),
            good=row.replies,
            headers={},
            reads=row.reads,
            secrets=tuple(row.secrets),
            client=portsip_async.PortSIPClient,
        )
        for row in classic_calls.ROWS
    ),
    *(
        Case(
            generation=V22,
            name=row.name,
            safety=row.safety,
            endpoint=v22.ENDPOINTS[row.name],
            path=row.path,
            send=row.call,
            send_much=v22_calls.append(bytes(LARGE)) if row.name == "blobs.append" else None,
            good=row.replies,
            headers=row.headers,
            reads=row.reads,
            secrets=row.secrets,
            client=v22.PortSIPClient,
            options=row.options,
        )
        for row in v22_calls.ROWS
    ),
)
# One operation of each kind in v22.
OF_EACH_KIND = frozenset(f"{V22} {name}" for name in v22_calls.OF_EACH_KIND)
