"""What the simulated PBX stores about a call that was placed, and about a greeting file."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was placed; its password is not kept.

    Attributes:
        extension: the extension that rang.
        to: the number to call.
        domain: the SIP domain.
        src: the source.
        at: seconds since the simulator was created.
    """

    extension: str
    to: str
    domain: str
    src: str
    at: float


@dataclass(frozen=True, slots=True)
class Greeting:
    """A greeting file of an extension.

    Attributes:
        filename: its name.
        size: its size in bytes; 0 if it was not uploaded.
        sha256: the digest of its content in hex; "" if it was not uploaded.
        url: the address that it was added from; None if it was uploaded.
    """

    filename: str
    size: int = 0
    sha256: str = ""
    url: str | None = None
