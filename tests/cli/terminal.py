"""Run the command line in this process, on streams that may look like a terminal."""

import io
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from portsip_async.cli.app import app


class Stream(io.StringIO):
    """A standard stream that may look like a terminal."""

    encoding = "utf-8"

    def __init__(self, text: str = "", *, terminal: bool = False) -> None:
        super().__init__(text)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


class Gone(Stream):
    """A pipe that loses its reader after some lines."""

    def __init__(self, lines: int) -> None:
        super().__init__()
        self._left = lines

    def write(self, text: str) -> int:
        if self._left <= 0:
            raise BrokenPipeError
        self._left -= text.count("\n")
        return super().write(text)


@dataclass(frozen=True)
class Done:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class CommandLine:
    """Runs ``portsip-async`` with its own environment."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
        self._monkeypatch = monkeypatch
        self.environment = environment

    def __call__(
        self,
        *arguments: Any,
        stdin: str = "",
        terminal: bool = False,
        out: Stream | None = None,
        err: Stream | None = None,
        environment: Mapping[str, str | None] | None = None,
        **variables: str | None,
    ) -> Done:
        """Run a command.

        Args:
            arguments: its words.
            stdin: what it reads.
            terminal: whether its streams are a terminal's.
            out: its standard output, where that is a special one.
            err: the same for its standard error.
            environment: what differs in it, None for what is not set.
            variables: the same, by name.
        """
        streams = {
            "stdin": Stream(stdin, terminal=terminal),
            "stdout": out or Stream(terminal=terminal),
            "stderr": err or Stream(terminal=terminal),
        }
        with self._monkeypatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("PORTSIP_")]:
                patch.delenv(name)
            patch.setenv("PORTSIP_CONFIG", os.devnull)  # not the user's own profiles
            patch.setenv("TERM", "xterm")
            patch.setenv("COLUMNS", "100")
            patch.setenv("LINES", "30")
            patch.delenv("NO_COLOR", raising=False)
            for name, value in {**self.environment, **(environment or {}), **variables}.items():
                if value is None:
                    patch.delenv(name, raising=False)
                else:
                    patch.setenv(name, value)
            for name, stream in streams.items():
                patch.setattr(sys, name, stream)
            with pytest.raises(SystemExit) as ended:
                app([str(argument) for argument in arguments], prog_name="portsip-async")
        code = ended.value.code
        assert isinstance(code, int)
        return Done(code, streams["stdout"].getvalue(), streams["stderr"].getvalue())
