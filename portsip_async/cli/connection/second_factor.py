"""Log in with a second factor: have the PBX send a one-time password, and prompt for it.

The login comes before anything else that a command sends, so a command is never begun twice.
"""

import asyncio
import sys
from typing import Any, Final

import typer

from ... import AuthenticationError, TwoFactorRequired
from ..failures import print_error
from ..terminal.progress import waiting

_TRIES: Final = 2  # a PBX may block an address after more


def log_in(auth: Any, runner: asyncio.Runner) -> bool:
    """Log in now, and prompt for a one-time password if the PBX wants one.

    Does nothing if there is no terminal to ask on: then the command's first request logs in, and
    its error says that the PBX wants a second factor.

    Args:
        auth: the ``auth`` of a client; None if its generation has no second factor.
        runner: runs the client.

    Returns:
        Whether it has logged in.

    Raises:
        PortSIPError: the login was refused, or the one-time password was refused twice.
    """
    if auth is None or not sys.stdin.isatty():
        return False
    try:
        with waiting("Logging in"):
            runner.run(auth.refresh())
    except TwoFactorRequired as required:
        challenge = required.challenge
    else:
        return True
    runner.run(auth.send_otp(challenge))
    for left in reversed(range(_TRIES)):
        # Prompting is not for the event loop, where Ctrl-C would wait for the end of the line.
        code = typer.prompt("One-time password from the PBX", hide_input=True, err=True)
        try:
            runner.run(auth.verify_otp(challenge, code.strip()))
        except AuthenticationError:
            if not left:
                raise
            print_error("the PBX refused the one-time password", "enter it once more")
        else:
            break
    return True
