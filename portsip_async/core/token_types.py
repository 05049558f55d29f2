"""The types of tokens: what the PBX issues, what the cache keeps, and what gets them."""

from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from ..arguments import plain_text
from ..redact import Record


class Token(Record, frozen=True):
    """An access token of the PBX; the repr hides it.

    Attributes:
        access_token: the token itself.
        expires: seconds from now until it expires.
        role: administrator, tenant or extension.
        api_version: the version that the PBX names.
        refresh_token: what renews it, if the PBX issues such tokens; hidden too.
    """

    reply_may_lack: ClassVar[frozenset[str]] = frozenset({"refresh_token"})
    access_token: str
    expires: float = 30.0
    role: str | None = None
    api_version: str | None = None
    refresh_token: str | None = None


def secrets_of_token(token: Token | None) -> list[str]:
    """Return the texts of a token that nothing may show."""
    texts = () if token is None else (token.access_token, token.refresh_token)
    return [plain_text(text) for text in texts if text]


@dataclass(frozen=True, slots=True)
class TokenReply:
    """The token that a login or a refresh returned.

    Attributes:
        token: the token.
        sent_at: when the request was sent, on the monotonic clock.
        shared: whether another process got it, and put it into a token store.
    """

    token: Token = field(repr=False)
    sent_at: float
    shared: bool = False


@dataclass(frozen=True, slots=True)
class CachedToken:
    """The token that calls use, with its times on the monotonic clock.

    Attributes:
        token: the token.
        generation: the token's number, counted from 1. A prolonged token keeps its number.
        stale_at: when it should be renewed in the background.
        spent_at: when calls stop using it.
        shared: whether it was taken from a token store.
    """

    token: Token
    generation: int
    stale_at: float
    spent_at: float
    shared: bool = False

    def __repr__(self) -> str:
        return f"CachedToken(generation={self.generation})"


class TokenSource(Protocol):
    """Gets tokens from the PBX, or from an application's own credentials.

    Attributes:
        can_login: False if there are no credentials, only a token to start from.
        initial: a token to start from, or None. Its life begins with its first use.
        default_lifetime: seconds that a token lives if the PBX doesn't say.
        single_use: True if only a `refresh_token` can be refreshed, and each of them only once.
    """

    can_login: bool
    initial: Token | None
    default_lifetime: float
    single_use: bool

    async def login(self) -> TokenReply:
        """Log in.

        Raises:
            AuthenticationError: the credentials were refused.
        """
        ...

    async def refresh(self, token: Token) -> TokenReply:
        """Refresh a token. The reply has the same `access_token` if it was only prolonged.

        Raises:
            AuthenticationError: the PBX refused the token.
            ConnectError: no connection was made, so nothing was sent.
        """
        ...
