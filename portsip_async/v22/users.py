"""Users by their id: listing, provisioning, passwords, status."""

from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Final, Literal, TypeVar

from ..arguments import check_choice, check_int, check_str, check_type, optional_texts, plain_text
from ..bulk.writes import BulkRun, ItemOperation
from ..client.patches import UncheckedChanges, check_parts
from ..client.resource import Resource, Sender
from ..client.writes import (
    DEFAULT_BULK_CONCURRENCY,
    DEFAULT_GRACE,
    change,
    is_from,
    read_many,
    reader,
    removal,
    run_many,
)
from ..core.limits import Gate
from ..core.pages import DEFAULT_PAGE_SIZE, Paginator
from ..core.request import to_builtins
from ..core.tracebacks import hide_arguments
from ..errors import NotFound
from .changes import UserChanges
from .directory import Directory
from .enums import PresenceValue, RoleValue
from .error_codes import V22_ERRORS
from .operations import (
    LARGEST_PAGE_SIZE,
    USERS_CREATE,
    USERS_FIND,
    USERS_LIST,
    USERS_OWN_STATUS,
    USERS_REMOVE,
    USERS_SET_EXTENSION_PASSWORD,
    USERS_SET_OWN_PRESENCE,
    USERS_SET_PASSWORD,
    USERS_SET_ROLE,
    USERS_SHOW,
    USERS_STATUS,
    USERS_UPDATE,
)
from .status_models import ExtensionNumber, UserStatus
from .user_models import NewUser, User, UserSettings, UserSummary
from .user_writes import check_changes, check_new, creation, patch_user

X = TypeVar("X")
V = TypeVar("V")

# Typed here, because subscripting a class at each call takes 1 us.
_SUMMARIES: Final[type[Paginator[UserSummary]]] = Paginator


class Users(Resource):
    """The users of a tenant. A user is a person with an extension."""

    def __init__(self, sender: Sender, directory: Directory) -> None:
        super().__init__(sender)
        self._directory = directory

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
        """Walk the users (``GET /users``).

        Args:
            search: a text that the PBX searches for; None finds all.
            filter: an OData expression such as ``extension_number eq '101'``; None finds all.
            orderby: fields to order by, such as ``extension_number asc``; None leaves the order to
                the PBX.
            page: the number of the first page to read, counted from 1.
            page_size: the most users in a page, 1 to 100. If the PBX sends fewer in a reply, a page
                takes several requests.
            prefetch: how many further pages to request ahead; 0 requests none.
            max_pages: the most pages to read; None reads all.

        Raises:
            TypeError, ValueError: an argument is out of bounds. Raised by this call itself.
        """
        return self._sender.paginate(
            _SUMMARIES,
            USERS_LIST,
            optional_texts(search=search, filter=filter, orderby=orderby),
            page=page,
            page_size=check_int("page_size", page_size, 1, LARGEST_PAGE_SIZE),
            prefetch=prefetch,
            max_pages=max_pages,
            on_items=self._directory.learn,
        )

    async def find(self, extension_number: str) -> ExtensionNumber:
        """Look up what has an extension number (``GET /extension_numbers/{extension_number}``).

        Not every number belongs to a user: see ``type``.

        Raises:
            NotFound: nothing has this number.
        """
        number = check_str("extension_number", extension_number)
        return await self._directory.find(self._sender, number)

    @hide_arguments
    async def create(self, user: NewUser) -> str:
        """Create a user (``POST /users``).

        It is not repeated if the PBX may have acted: see ``error.may_have_acted``.

        Returns:
            The id of the user.

        Raises:
            BadRequest, Conflict: the PBX refused a value, or the number is taken.
            TypeError: it is not a NewUser.
            ValueError: a required field is empty.
        """
        return await self._create(check_new(user))

    async def show(self, user_id: str) -> User:
        """Read a user's settings (``GET /users/{id}``).

        Raises:
            NotFound: there is no such user.
        """
        return await self._sender.send(USERS_SHOW, {"id": check_str("user_id", user_id)})

    @hide_arguments
    async def update(self, user_id: str, settings: UserSettings) -> None:
        """Write a user's settings (``POST /users/{id}``). Fields that are None are left out.

        The API calls this a replacement, so fields that are left out may be lost. To change some
        fields and keep the rest, use `patch`.

        Raises:
            NotFound: there is no such user.
            BadRequest: the PBX refused a value.
            TypeError: it is not a UserSettings, or a part of it, such as ``office_hours``, has no
                fields.
        """
        check_type("settings", settings, UserSettings)
        check_parts(settings, UserSettings)
        document = {**to_builtins(settings), "id": check_str("user_id", user_id)}
        await self._sender.send_document(USERS_UPDATE, document)

    @hide_arguments
    async def patch(
        self, user_id: str, changes: UserSettings | UserChanges | UncheckedChanges
    ) -> User:
        """Change some of a user's settings: read, merge, update.

        All other fields stay as they were read, even fields that the SDK does not know. Patches of
        one user through one client wait for each other.

        Args:
            user_id: the user's id.
            changes: the fields of `UserSettings` to change. Nested objects are merged, lists are
                replaced. In a mapping, a field that is None is sent as null. Type checkers know
                the fields, except in a mapping whose values have type Any.

        Returns:
            The user as it should be now.

        Raises:
            NotFound: there is no such user.
            ReplyError: the reply shows no user or another one, or a part of it is not an object.
                Nothing was written.
            TypeError: a field that the API does not take. Nothing was sent.
        """
        return await patch_user(self._sender, check_str("user_id", user_id), changes)

    async def remove(self, user_id: str) -> None:
        """Remove a user and the extension (``POST /users/{id}/destroy``).

        Raises:
            NotFound: there is no such user.
        """
        await self._remove(check_str("user_id", user_id))

    @hide_arguments
    async def set_password(self, user_id: str, password: str) -> None:
        """Set the password that a user logs in with (``POST /users/{id}/password``).

        Raises:
            NotFound: there is no such user.
            BadRequest: the PBX refused the password.
        """
        await self._sender.send(
            USERS_SET_PASSWORD,
            {"id": check_str("user_id", user_id), "password": check_str("password", password)},
        )

    @hide_arguments
    async def set_extension_password(self, user_id: str, password: str) -> None:
        """Set the password of a user's telephones (``POST /users/{id}/extension_password``).

        Raises:
            NotFound: there is no such user.
            BadRequest: the PBX refused the password.
        """
        await self._sender.send(
            USERS_SET_EXTENSION_PASSWORD,
            {"id": check_str("user_id", user_id), "password": check_str("password", password)},
        )

    async def set_role(self, user_id: str, role: RoleValue) -> None:
        """Set a user's role (``POST /users/{id}/role``).

        Args:
            user_id: the user's id.
            role: a `Role`, or the name of a role of your own.

        Raises:
            NotFound: there is no such user.
            BadRequest: there is no such role.
        """
        await self._sender.send(
            USERS_SET_ROLE,
            {"id": check_str("user_id", user_id), "role": check_str("role", role)},
        )

    async def status(self, user_id: str) -> UserStatus:
        """Read what a user is doing (``GET /users/{id}/status``).

        Raises:
            NotFound: there is no such user.
        """
        return await self._sender.send(USERS_STATUS, {"id": check_str("user_id", user_id)})

    async def own_status(self) -> UserStatus:
        """Read what the user who is logged in is doing (``GET /user/status``)."""
        return await self._sender.send(USERS_OWN_STATUS, {})

    async def set_own_presence(self, presence: PresenceValue, note: str | None = None) -> None:
        """Set the presence of the user who is logged in (``POST /user/presence``).

        Args:
            presence: a `Presence`.
            note: what others read about it; None leaves it out.

        Raises:
            BadRequest: the PBX does not accept this presence.
        """
        check_type("note", note, str, None)
        await self._sender.send(
            USERS_SET_OWN_PRESENCE,
            {"presence": check_str("presence", presence), **optional_texts(presence_note=note)},
        )

    def show_many(
        self,
        user_ids: Iterable[str] | AsyncIterable[str],
        *,
        concurrency: int = DEFAULT_BULK_CONCURRENCY,
        ordered: bool = False,
    ) -> BulkRun[User]:
        """Read the settings of many users, and yield a `BulkResult` with each User.

        Args:
            user_ids: the ids of the users to read, read lazily; the source may be endless.
            concurrency: the most requests in flight. Leaving the loop cancels them.
            ordered: whether results keep the order of the ids.

        Raises:
            TypeError, ValueError: an argument is out of bounds. Raised by this call itself.
            AuthenticationError, ConfigurationError, ClientClosed: raised by the loop.
        """
        return read_many(
            "user_ids",
            user_ids,
            self.show,
            key="user_id",
            example="user_id",
            owner=self._sender.session,
            concurrency=concurrency,
            ordered=ordered,
        )

    def create_many(
        self,
        users: Iterable[NewUser] | AsyncIterable[NewUser],
        *,
        concurrency: int = DEFAULT_BULK_CONCURRENCY,
        if_exists: Literal["error", "skip"] = "error",
        grace: float = DEFAULT_GRACE,
    ) -> BulkRun[str]:
        """Create many users, and yield a `BulkResult` with the id of each as it finishes.

        The ``key`` of a result is the extension number. If a reply was lost, the number is looked
        up: ``error`` is None only if the user was created. ``in_doubt`` lists the numbers with an
        unknown outcome.

        Args:
            users: the users to create, read lazily.
            concurrency: the most writes in flight.
            if_exists: "skip" marks a number that is taken as ``skipped``; "error" as failed.
            grace: seconds that writes in flight may take to finish after the loop was left.

        Raises:
            TypeError, ValueError: an argument is out of bounds. Raised by this call itself.
            AuthenticationError, ConfigurationError, ClientClosed: raised by the loop.
        """
        check_choice("if_exists", if_exists, "error", "skip")
        write = creation(self._create, self._read_back, skip_existing=if_exists == "skip")
        return self._many("users", users, write, concurrency, grace)

    def patch_many(
        self,
        patches: Iterable[tuple[str, UserChanges | UncheckedChanges]]
        | AsyncIterable[tuple[str, UserChanges | UncheckedChanges]],
        *,
        concurrency: int = DEFAULT_BULK_CONCURRENCY,
        grace: float = DEFAULT_GRACE,
    ) -> BulkRun[User]:
        """Patch many users, and yield a `BulkResult` with the merged User for each.

        Args:
            patches: pairs of a user's id and the fields to change, such as
                ``(user_id, {"department": "Sales"})``, read lazily.
            concurrency: the most patches in flight.
            grace: seconds that writes in flight may take to finish after the loop was left.

        Raises:
            TypeError, ValueError: an argument is out of bounds. Raised by this call itself.
            AuthenticationError, ConfigurationError, ClientClosed: raised by the loop.
        """

        async def patch(patch: tuple[str, Mapping[str, object]], gate: Gate) -> User:
            return await patch_user(self._sender, plain_text(patch[0]), patch[1], gate=gate)

        write = change(
            patch,
            check_changes,
            key="user_id",
            expected="a user's id and a mapping",
            example='(user_id, {"department": "Sales"})',
        )
        return self._many("patches", patches, write, concurrency, grace)

    def remove_many(
        self,
        user_ids: Iterable[str] | AsyncIterable[str],
        *,
        concurrency: int = DEFAULT_BULK_CONCURRENCY,
        if_missing: Literal["error", "skip"] = "error",
        grace: float = DEFAULT_GRACE,
    ) -> BulkRun[None]:
        """Remove many users, and yield a `BulkResult` for each as it finishes.

        If a reply was lost, the user is read back, as in `create_many`.

        Args:
            user_ids: the ids of the users to remove, read lazily.
            concurrency: the most writes in flight.
            if_missing: "skip" marks a user who does not exist as ``skipped``; "error" as failed.
            grace: seconds that writes in flight may take to finish after the loop was left.

        Raises:
            TypeError, ValueError: an argument is out of bounds. Raised by this call itself.
            AuthenticationError, ConfigurationError, ClientClosed: raised by the loop.
        """
        check_choice("if_missing", if_missing, "error", "skip")

        async def remove(user_id: str, gate: Gate) -> None:
            await self._remove(plain_text(user_id), gate=gate)

        write = removal(
            remove,
            reader(USERS_SHOW, self.show, field="id"),
            USERS_REMOVE,
            V22_ERRORS,
            key="user_id",
            example="user_id",
            skip_missing=if_missing == "skip",
        )
        return self._many("user_ids", user_ids, write, concurrency, grace)

    def _many(
        self,
        name: str,
        items: Iterable[X] | AsyncIterable[X],
        write: ItemOperation[X, V],
        concurrency: int,
        grace: float,
    ) -> BulkRun[V]:
        owner = self._sender.session
        return run_many(name, items, write, owner=owner, concurrency=concurrency, grace=grace)

    async def _create(self, user: NewUser, gate: Gate | None = None) -> str:
        created = await self._sender.send_document(USERS_CREATE, user, gate=gate)
        self._directory.add(plain_text(user.extension_number), created.id)
        return created.id

    async def _remove(self, user_id: str, *, gate: Gate | None = None) -> None:
        await self._sender.send(USERS_REMOVE, {"id": user_id}, gate=gate)

    async def _read_back(self, number: str) -> User | None:
        """Read the user who has a number; return None if there is none."""
        try:
            found = await self._directory.find(self._sender, number)
            return await self.show(found.id)
        except NotFound as error:
            if not is_from(error, USERS_FIND) and not is_from(error, USERS_SHOW):
                raise
            return None
