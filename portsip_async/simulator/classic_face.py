"""The classic generation of the simulated PBX.

It finds the row of a request, checks the token and the fields, and calls the action. Each step has
a module of its own: ``requests``, ``tokens``, ``fields``, ``actions`` with ``state``, ``quirks``.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from ..classic.operations import ENDPOINTS
from ..core.endpoint import Endpoint, EndpointOverride, EndpointTable
from .actions import ACTIONS, RequestContext
from .errors import PBXError, code_of, status_of
from .face import Face, MatchedRequest, Reply
from .fields import read_fields
from .quirks import ReplyShaper
from .requests import choose_row, make_routes, read_form, read_request
from .state import PBX
from .thread import SimulatorThread
from .tokens import TokenIssuer

_log = logging.getLogger(__name__)


class ClassicFace(Face):
    """Serves the rows of the classic endpoint table."""

    def __init__(
        self,
        pbx: PBX,
        issuer: TokenIssuer,
        thread: SimulatorThread,
        *,
        endpoints: Mapping[str, EndpointOverride] | None,
        quirks: frozenset[str],
        now: Callable[[], float],
    ) -> None:
        """Store the state and the logins.

        Args:
            pbx: the state that all generations share.
            issuer: the login and its tokens.
            thread: the thread of the simulator.
            endpoints: overrides of rows.
            quirks: the names of quirks.
            now: returns seconds since the simulator was created.

        Raises:
            ConfigurationError: an override of an unknown row, or of a row with an invalid value.
        """
        super().__init__(ACTIONS, ReplyShaper(quirks), thread, code_of=code_of, status_of=status_of)
        self._pbx = pbx
        self._issuer = issuer
        self._now = now
        self._routes = make_routes(EndpointTable(ENDPOINTS, endpoints))

    async def find(self, request: web.BaseRequest, path: str, query: str) -> MatchedRequest | None:
        """Return a request with its row; None if there is none for its path."""
        rows = self._routes.get((request.method, path)) or self._routes.get(
            (request.method, unquote(path))
        )
        if rows is None:
            return None
        row = rows[0] if len(rows) == 1 else choose_row(rows, request)
        act = partial(self._act, row, request, query)
        return MatchedRequest(self, row.name, row.token != "none", act)

    def error(self, status: int, code: float | int | str, message: str) -> Reply:
        """Build an error."""
        return self._reply(*self._shaper.error(status, code, message))

    def refuse(self, reason: str) -> Reply:
        """Build the error for a reason in the table of `errors`."""
        error = PBXError(reason)
        return self.error(error.status, error.err_code, error.msg)

    async def _act(
        self, row: Endpoint[Any], request: web.BaseRequest, query: str, revoke: bool
    ) -> Reply:
        """Carry out a request."""
        try:
            sent, token = await read_request(row, request, query)
            now = self._now()
            if row.token != "none":
                if revoke and token:  # without a token, the issuer would revoke all of them
                    self._issuer.revoke(token)
                if not self._issuer.is_valid(token, now):
                    self.rejected[row.name] += 1
                    raise PBXError("token")
            if row.parameters == "multipart":  # a file is read only after the token was checked
                sent = await read_form(request)
            context = RequestContext(self._pbx, self._issuer, token, now)
            content = ACTIONS[row.name](context, read_fields(row.name, sent))
            self.acted[row.name] += 1
            return self._reply(200, self._shaper.reply(row.name, content))
        except PBXError as error:
            refused = error
        except web.HTTPRequestEntityTooLarge:
            refused = PBXError("too large")
        except (ConnectionError, web.RequestPayloadError):
            raise
        except Exception as error:
            # Only the type is logged: the text may quote the request.
            _log.error("%s failed in the simulator: %s", row.name, type(error).__name__)
            refused = PBXError("internal")
        return self.error(refused.status, refused.err_code, refused.msg)

    def _reply(self, status: int, body: bytes) -> Reply:
        return Reply(status, body, {"Content-Type": self._shaper.content_type})
