"""``portsip-async whoami``: the PBX and the account that a command would use."""

from urllib.parse import urlsplit

import msgspec

from .connection.connection import Connection
from .options import spread
from .output import Output
from .pbx.generation import PBX
from .profiles.all_profiles import Connections


class Identity(msgspec.Struct, frozen=True):
    """A login at a PBX.

    Attributes:
        pbx: the name of the profile, or the PBX's host and port.
        url: its address.
        api: its generation.
        version: its version, where it tells that.
        account: the user name or the email address; "token" for an access token.
        domain: the SIP domain of the tenant.
        role: the role of the account, where the PBX tells that.
        token_seconds: how long the token is valid.
    """

    pbx: str
    url: str
    api: str
    version: str | None
    account: str
    domain: str | None
    role: str | None
    token_seconds: float | None


@spread
def whoami(*, connection: Connections, output: Output) -> None:
    """Log in, and show which PBX and which account a command would use.

    Example: portsip-async whoami --profile acme --output json
    """
    connection.show(output, Identity, lambda pbx: identify(pbx, connection.current))


async def identify(pbx: PBX, connection: Connection) -> Identity:
    """Log in, and return who is logged in where."""
    account = connection.account
    token, role = await pbx.token_and_role(renewable=account is not None)
    url = connection.address or ""
    saved = connection.saved
    return Identity(
        pbx=saved.name if saved is not None else urlsplit(url).netloc or url,
        url=url,
        api=pbx.api.value,
        version=token.api_version if token is not None else None,
        account=next(iter(account.values())) if account is not None else "token",
        domain=connection.sip_domain,
        role=role,
        token_seconds=token.expires if token is not None else None,
    )
