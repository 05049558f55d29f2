"""The settings of an extension that ``create`` and ``update`` set: ``--set`` and ``--settings``."""

import json
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import msgspec
import typer

from ..fields import SECRETS, dotted, flat, near_names, read_value, shown_names
from ..files.text_input import is_name, read_json, read_text

_MAX_NAMES: Final = 20  # names that a message lists


class Settings:
    """The settings of a model, and how they are read from options.

    Attributes:
        names: those that ``--set`` takes, by dotted names.
        required: those that a new extension can't do without.
    """

    def __init__(
        self,
        model: type[msgspec.Struct],
        example: Mapping[str, Any],
        *,
        without: frozenset[str] = frozenset(),
    ) -> None:
        """Store what the settings are.

        Args:
            model: the model that has them as its fields.
            example: a setting as JSON, for messages.
            without: fields of the model that are not settings.
        """
        names = [name for name in dotted(model) if name.partition(".")[0] not in without]
        # A secret is read from a file only: others could see it in the list of processes.
        self.names: tuple[str, ...] = tuple(
            name for name in names if name.rpartition(".")[2] not in SECRETS
        )
        self.required: tuple[str, ...] = tuple(
            field.encode_name
            for field in msgspec.structs.fields(model)
            if field.required and field.encode_name not in without
        )
        self._model = model
        self._example = example
        self._tops = list(dict.fromkeys(name.partition(".")[0] for name in names))
        self._has_sections = all("." in name for name in names)

    def read(self, options: list[str] | None, file: Path | None) -> dict[str, Any]:
        """Return the settings to change: a JSON object, changed by the values of ``--set``.

        Args:
            options: the values of ``--set``.
            file: the file with the JSON object; ``-`` is standard input.

        Raises:
            typer.BadParameter: a setting is unknown, or its value can't be read.
        """
        found = {} if file is None else self._document(file)
        for option in options or ():
            try:
                name, value = self._setting(option)
            except ValueError as error:
                raise typer.BadParameter(str(error), param_hint="'--set'") from None
            *sections, last = name.split(".")
            target = found
            for section in sections:
                if not isinstance(target.get(section), dict):
                    target[section] = {}
                target = target[section]
            target[last] = value
        return found

    def _setting(self, option: str) -> tuple[str, Any]:
        """Return the name and the value of an option of ``--set``."""
        name, equals, text = option.partition("=")
        if name.rpartition(".")[2] in SECRETS:
            raise ValueError(
                f"{name} is a secret that other users could see: put it into the JSON object of"
                " --settings"
            )
        if not equals or name not in self.names:
            near = get_close_matches(name, self.names, n=3, cutoff=0.5)
            advice = f"did you mean {' or '.join(near)}?" if near else "see 'extensions show'"
            # A text that is not a name may be a secret.
            shown = f", got {name!r}" if is_name(name) and (equals or near) else ""
            ((known, sample),) = flat(self._example).items()
            if name in self.names:
                raise ValueError(f"must be FIELD=VALUE, such as {known}={sample}{shown}")
            raise ValueError(f"must be a setting such as {known}={sample}{shown}; {advice}")
        return name, read_value(self._model, name, text)

    def _document(self, file: Path) -> dict[str, Any]:
        try:
            found = read_json(read_text(file))
            self._check(found)
        except OSError as error:
            problem = f"{file}: {error.strerror}"
        except json.JSONDecodeError as error:
            problem = f"is not JSON, see line {error.lineno}"
        except ValueError as error:
            problem = str(error)
        else:
            return dict(found)
        raise typer.BadParameter(problem, param_hint="'--settings'")

    def _check(self, found: object) -> None:
        """Check that a JSON document is an object of known settings.

        Raises:
            ValueError: it is not.
        """
        kind = "section" if self._has_sections else "setting"
        if not isinstance(found, dict) or (
            self._has_sections and not all(isinstance(one, dict) for one in found.values())
        ):
            raise ValueError(f"must be an object of {kind}s, such as {json.dumps(self._example)}")
        unknown = shown_names(name for name in found if name not in self._tops)
        if unknown:
            near = near_names(unknown[0], self._tops, 3) if len(unknown) == 1 else []
            advice = f"choose from {', '.join(self._tops)}"
            if near:
                advice = f"did you mean {' or '.join(near)}?"
            elif len(self._tops) > _MAX_NAMES:
                advice = "see 'extensions show' for their names"
            raise ValueError(f"no such {kind}: {', '.join(unknown)}; {advice}")
