"""Users by their extension number: listing, settings, status, calls."""

import builtins
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Final, Literal

from ..arguments import (
    check_choice,
    check_int,
    check_iterable,
    check_number,
    check_str,
    check_strs,
)
from ..bulk.status_batches import StatusSource
from ..bulk.status_poll import StatusPoll
from ..bulk.status_polling import StatusPolling
from ..bulk.status_watch import DiscoveredExtensions, StatusFeed, StatusWatch
from ..client.patches import UncheckedChanges
from ..client.resource import Resource, Sender
from ..client.statuses import check_known, status_source
from ..core.limits import Gate
from ..core.pages import DEFAULT_PAGE_SIZE, Paginator
from ..core.reply import check_identity
from ..core.tracebacks import hide_arguments
from ..errors import ConfigurationError, ReplyError
from .calls import Calls
from .changes import UserChanges
from .directory import Directory
from .error_codes import V22_ERRORS
from .live.feed import LiveSettings, LiveStatus, wsi_url
from .login import SignIn
from .operations import LARGEST_PAGE_SIZE, USERS_FIND, USERS_REMOVE, USERS_SHOW, USERS_STATUS
from .status_models import ExtensionState
from .user_models import User, UserSettings, UserSummary
from .user_writes import check_changes, patch_user
from .users import Users

DEFAULT_CONCURRENCY: Final = 16  # requests in flight


class Extensions(Resource):
    """The extensions of a tenant: its users, by extension number.

    The API identifies users by an id. The client remembers the ids of the users that it has listed
    or looked up, so only a number that it has not seen costs a further request.
    """

    def __init__(
        self,
        sender: Sender,
        directory: Directory,
        users: Users,
        calls: Calls,
        account: SignIn | None,
    ) -> None:
        super().__init__(sender)
        self._account = account  # None if the client has only tokens
        self._directory = directory
        self._users = users
        self._calls = calls

    def list(
        self,
        *,
        search: str | None = None,
        filter: str | None = None,  # noqa: A002 - the API's name
        orderby: str | None = None,
        page: int = 1,
        page_size: int = DEFAULT_PAGE_SIZE,
        prefetch: int = 1,
        max_pages: int | None = None,
    ) -> Paginator[UserSummary]:
        """Walk the extensions, as `Users.list` does (``GET /users``).

        Args:
            search: a text that the PBX searches for; None finds all.
            filter: an OData expression such as ``extension_number eq '101'``; None finds all.
            orderby: fields to order by, such as ``extension_number asc``; None leaves the order to
                the PBX.
            page: the number of the first page to read, counted from 1.
            page_size: the most extensions in a page, 1 to 100.
            prefetch: how many further pages to request ahead; 0 requests none.
            max_pages: the most pages to read; None reads all.

        Raises:
            TypeError, ValueError: an argument is out of bounds. Raised by this call itself.
        """
        return self._users.list(
            search=search,
            filter=filter,
            orderby=orderby,
            page=page,
            page_size=page_size,
            prefetch=prefetch,
            max_pages=max_pages,
        )

    def search(
        self,
        condition: str,
        *,
        page: int = 1,
        page_size: int = DEFAULT_PAGE_SIZE,
        prefetch: int = 1,
        max_pages: int | None = None,
    ) -> Paginator[UserSummary]:
        """Walk the extensions that match a condition (``GET /users?search=``).

        Args:
            condition: part of a number or a name; the PBX decides what it matches.
            page: the number of the first page to read, counted from 1.
            page_size: the most extensions in a page, 1 to 100.
            prefetch: how many further pages to request ahead; 0 requests none.
            max_pages: the most pages to read; None reads all.

        Raises:
            TypeError, ValueError: the condition is empty, or an argument is out of bounds. Raised
                by this call itself.
        """
        return self._users.list(
            search=check_str("condition", condition),
            page=page,
            page_size=page_size,
            prefetch=prefetch,
            max_pages=max_pages,
        )

    async def show(self, number: str) -> User:
        """Read an extension's settings (``GET /users/{id}``).

        Raises:
            NotFound: there is no such extension.
        """
        number = check_str("number", number)
        user = await self._directory.with_id(self._sender, number, USERS_SHOW, self._users.show)
        if user.extension_number in (None, number):
            return user
        # The user has another number by now.
        found = await self._directory.find(self._sender, number)
        return await self._users.show(found.id)

    @hide_arguments
    async def patch(
        self, number: str, changes: UserSettings | UserChanges | UncheckedChanges
    ) -> User:
        """Change some of an extension's settings, as `Users.patch` does.

        Args:
            number: the extension's number.
            changes: the fields of `UserSettings` to change. Nested objects are merged, lists are
                replaced. In a mapping, a field that is None is sent as null. Type checkers know
                the fields, except in a mapping whose values have type Any.

        Returns:
            The user as it should be now.

        Raises:
            NotFound: there is no such extension.
            ReplyError: the reply shows no extension or another one, or a part of it is not an
                object. Nothing was written.
            TypeError: a field that the API does not take. Nothing was sent.
        """
        number = check_str("number", number)

        def check(read: Mapping[str, object]) -> None:
            try:
                check_identity("extension_number", read.get("extension_number"), number, USERS_SHOW)
            except ReplyError:
                self._directory.forget(number)  # the user has another number by now
                raise

        async def patch(user_id: str) -> User:
            return await patch_user(self._sender, user_id, changes, check=check)

        check_changes(changes)  # before the number is looked up
        return await self._directory.with_id(self._sender, number, USERS_SHOW, patch)

    async def remove(self, number: str) -> None:
        """Remove an extension and its user (``POST /users/{id}/destroy``).

        The number is looked up first, even if the client has seen it: since then, the number may
        have been given to someone else.

        Raises:
            NotFound: there is no such extension.
            ReplyError: the reply shows another number. Nothing was removed.
        """
        number = check_str("number", number)
        found = await self._directory.find(self._sender, number)
        check_identity("extension_number", found.extension_number, number, USERS_FIND)
        await self._sender.send(USERS_REMOVE, {"id": found.id})
        self._directory.forget(number)

    @hide_arguments
    async def call(self, extension: str, to: str, *, auth: str, domain: str, src: str) -> str:
        """Ring a number and connect it to another (``GET /sessions/directly``).

        Each request rings a telephone, so it is not repeated if the PBX may have acted. The
        password goes into the URL, so a proxy may log it. `Calls.create` has no such risk.

        Args:
            extension: the number of the extension that sets up the call.
            to: the number to call, which the API names ``callee``.
            auth: the password of the extension's telephones.
            domain: the tenant's SIP domain.
            src: the number that rings first, which the API names ``caller``; usually the extension.

        Returns:
            The id of the session.

        Raises:
            AuthenticationError, PermissionDenied: the PBX refused the password.
            NotFound: there is no such extension.
        """
        return await self._calls.create_directly(
            check_str("extension", extension),
            check_str("auth", auth),
            domain=check_str("domain", domain),
            caller=check_str("src", src),
            callee=check_str("to", to),
        )

    async def status(self, numbers: Iterable[str]) -> builtins.list[ExtensionState]:
        """Read the state of some extensions (``GET /users/{id}/status``, one request for each).

        Args:
            numbers: the extension numbers; no request is sent if there are none.

        Returns:
            The states, in the order of the numbers.

        Raises:
            NotFound: there is no such extension.
            TypeError, ValueError: a str instead of a list, or a number that is empty or not a str.
        """
        wanted = _check_numbers(numbers, 'status(["101"])')
        self._sender.session.check_open()
        states: builtins.list[ExtensionState] = []
        async with self.poll_status(wanted, ordered=True) as poll:
            async for result in poll:
                if result.error is not None:
                    raise result.error
                assert result.status is not None  # noqa: S101 - there is no error
                states.append(result.status)
        return states

    def poll_status(
        self,
        numbers: Iterable[str] | AsyncIterable[str],
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        ordered: bool = False,
    ) -> StatusPoll[ExtensionState]:
        """Read the state of any number of extensions, with one request for each.

        Each occurrence of a number yields one `StatusResult`, with a status or an error. If the PBX
        is overloaded, fewer requests are in flight. No requests are sent while the consumer pauses.

        Args:
            numbers: extension numbers, read lazily; the source may be endless.
            concurrency: the most requests in flight.
            ordered: whether results keep the order of the numbers.

        Raises:
            TypeError, ValueError: an argument is out of bounds. Raised by this call itself.
            AuthenticationError, ConfigurationError, ClientClosed: raised by the loop.
        """
        return StatusPoll(
            self._status_source(),
            check_iterable("numbers", numbers, 'poll_status(["101"])'),
            owner=self._sender.session,
            batch_size=1,
            concurrency=check_int("concurrency", concurrency, 1),
            ordered=ordered,
        )

    def watch_status(
        self,
        numbers: Iterable[str] | None = None,
        *,
        source: Literal["auto", "poll", "socket"] = "auto",
        interval: float = 30.0,
        verify: float = 300.0,
        known: Mapping[str, ExtensionState] | None = None,
        rediscover: float = 60.0,
    ) -> StatusWatch[ExtensionState]:
        """Watch the state of extensions: yield each one once, then every change.

        The PBX's web socket reports the changes at once. It needs a username and a password, of a
        user of the tenant: a system administrator may not subscribe. While there is no socket, the
        watch polls. A slow consumer gets the latest state of each extension. Failures are logged
        and counted in ``stats``; they do not end the watch.

        Args:
            numbers: extension numbers; None watches all that the PBX lists.
            source: "socket" follows the web socket (``/wsi``). "poll" reads the states through
                REST, which takes a request for each number in each cycle, and never reports
                RINGING. "auto" follows the socket, and polls while there is none.
            interval: seconds between the starts of two cycles of polling. A PBX allows 5,000 to
                10,000 requests a minute.
            verify: seconds between two checks of the socket, which read all states through REST, at
                most 50 a second. If they contradict what the socket reported, it is connected
                again. Not used while polling.
            known: the last known states, such as the ``snapshot`` of an earlier watch. Only
                differences from it are yielded.
            rediscover: seconds between two listings, if `numbers` is None. If the PBX reports
                extensions that are created and removed, later listings are `verify` apart.

        Raises:
            ConfigurationError: `source` is "socket", and the client has no username and password.
            TypeError, ValueError: an argument is out of bounds. Raised by this call itself.
            AuthenticationError: the PBX refused the login. Raised by the loop.
            PermissionDenied: `source` is "socket", and the account may not subscribe. Raised by
                the loop.
            ConfigurationError, ClientClosed: raised by the loop.
        """
        check_choice("source", source, "auto", "poll", "socket")
        if source == "socket" and self._account is None:
            raise ConfigurationError(
                'source must be "auto" or "poll" for a client without username= and password=, '
                'got "socket": a token can\'t log in to the web socket'
            )
        check_number("verify", verify, above=0)
        statuses, session = self._status_source(), self._sender.session
        wanted = None if numbers is None else _check_numbers(numbers, 'watch_status(["101"])')
        new_polling = partial(
            StatusPolling[ExtensionState],
            statuses,
            wanted,
            owner=session,
            interval=check_number("interval", interval, above=0),
            batch_size=1,
            concurrency=DEFAULT_CONCURRENCY,
            rediscover=check_number("rediscover", rediscover, above=0),
        )
        last = check_known(known, ExtensionState)
        new_feed: Callable[[], StatusFeed[ExtensionState]] = partial(
            new_polling, discover=self._discover
        )
        if self._account is not None and source != "poll":
            settings = LiveSettings(
                account=self._account,
                sender=self._sender,
                url=wsi_url(session.base_url),
                source=statuses,
                directory=self._directory,
                discover=self._discover,
                new_polling=lambda discover: new_polling(discover=discover),
                falls_back=source == "auto",
                verify=verify,
                rediscover=rediscover,
            )
            new_feed = partial(LiveStatus, settings, wanted)
        elif source == "auto":
            new_feed = partial(self._log_and_poll, new_feed)
        return StatusWatch(new_feed, owner=session, known=last, now=statuses.now)

    def _log_and_poll(
        self, new_polling: Callable[[], StatusFeed[ExtensionState]]
    ) -> StatusFeed[ExtensionState]:
        self._sender.outages.polls_without_password()
        return new_polling()

    def _status_source(self) -> StatusSource[ExtensionState]:
        sender, directory = self._sender, self._directory

        async def ask(numbers: builtins.list[str], gate: Gate) -> dict[str, ExtensionState]:
            [number] = numbers

            async def read(user_id: str) -> ExtensionState:
                status = await sender.send(USERS_STATUS, {"id": user_id}, gate=gate)
                return ExtensionState.of(number, user_id, status)

            state = await directory.with_id(sender, number, USERS_STATUS, read, gate=gate)
            return {number: state}

        return status_source(
            ask,
            frozenset({USERS_STATUS.name, USERS_FIND.name}),
            V22_ERRORS,
            clock=sender.session.clock,
            outages=sender.outages,
            batch_sizes=sender.batch_sizes,
            check=_check_path,
        )

    async def _discover(self) -> DiscoveredExtensions:
        walk = self._users.list(page_size=LARGEST_PAGE_SIZE, prefetch=2)
        numbers: builtins.list[str] = []
        async with aclosing(walk.pages()) as pages:
            async for page in pages:
                numbers += [user.extension_number for user in page.items if user.extension_number]
        drift = walk.drift
        is_complete = not (drift.dropped or drift.count_changed or drift.missing_pages)
        return DiscoveredExtensions(numbers, is_complete)


def _check_numbers(numbers: Iterable[str], example: str) -> list[str]:
    """Check the argument that holds extension numbers, and return them as a list."""
    checked = check_strs("numbers", numbers, example)
    for number in checked:
        _check_path(number)
    return checked


def _check_path(number: str) -> None:
    """Check that a number can be part of a path: "." and ".." would be steps in it."""
    if number in (".", ".."):
        raise ValueError(f'an extension number must not be "." or "..", got {number!r}')
