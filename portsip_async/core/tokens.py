"""Credentials and the single-flight token cache, over an injected sender."""

from ..record import Record


class Token(Record, frozen=True):
    """An access token of the PBX; the repr hides it.

    Attributes:
        access_token: the token itself.
        expires: seconds from now until it dies; 30 where the PBX doesn't say.
        role: administrator, tenant or extension.
        api_version: the version that the PBX names.
    """

    access_token: str
    expires: float = 30.0
    role: str | None = None
    api_version: str | None = None


class Renewal(Record, frozen=True):
    """The reply to a refresh; without ``access_token`` it prolongs the token that was sent."""

    access_token: str | None = None
    expires: float = 30.0
    role: str | None = None
    api_version: str | None = None
