"""Loads the CA file of a client."""

import errno
import os
import ssl
from typing import Final

from ..errors import ConfigurationError, ConnectError, raise_without_context

# Temporary reasons why a good CA file can't be read: out of file descriptors or memory.
_TEMPORARY: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def load_ca_file(path: str | os.PathLike[str]) -> ssl.SSLContext:
    """Return a context that trusts the certificates of a file.

    Raises:
        ConfigurationError: the file can't be used.
        ConnectError: it could not be read because descriptors or memory ran out.
    """
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        text = f"ssl: {os.fspath(path)}: {error.strerror or 'no certificates in it'}"
        if error.errno in _TEMPORARY:
            raise_without_context(ConnectError(f"no connection was made ({text})"))
        raise_without_context(ConfigurationError(text))
