"""Options before, within and after the name of a command, and the help that lists them."""

import json
from typing import Any

import pytest

from portsip_async.simulator import PBXSimulator

from .terminal import CommandLine


@pytest.mark.parametrize(
    "words",
    [
        "--limit 1 -c extension_number extensions list",
        "-c extension_number extensions --limit=1 list",
        "extensions -cextension_number --limit 1 list",
        "--limit 1 extensions list -c extension_number",
        "-vc extension_number --limit 1 extensions list",
        "--username extensions -u admin --limit 1 users list -c extension_number",
        "extensions --limit 1 search 10 -c extension_number",
        "extensions --limit 1 -c extension_number search -- 10",
    ],
)
def test_options_stand_anywhere(words: str, cli: CommandLine) -> None:
    """An option's value may be the name of a command."""
    done = cli(*words.split())
    assert (done.code, list(json.loads(done.out))) == (0, ["extension_number"])


@pytest.mark.parametrize(
    ("words", "message", "command"),
    [
        ("--nope extensions list", "No such option --nope.", "extensions list"),
        ("--limit 1 groups show 1", "No such option --limit.", "groups show"),
        ("--output json simulate", "No such option --output.", "simulate"),
        ("--url", "--url needs a value", None),
        ("--limit 1 nope", "No such option --limit.", None),
        ("--url http://a.example nope list", "No such command 'nope'", None),
        ("nope --url http://a.example extensions list", "No such command 'nope'", None),
        ("list extensions", "No such command 'list'", None),
        ("--url http://a.example", "Missing command", None),
        ("--output xml extensions list", "--output must be table, json", "extensions list"),
    ],
)
def test_wrong_options(words: str, message: str, command: str | None, cli: CommandLine) -> None:
    """The error and the hint are about the command, if there is one."""
    done = cli(*words.split())
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert f"portsip-async {command} --help" in done.err or command is None


def test_values_stay_where_they_are(cli: CommandLine, pbx: PBXSimulator) -> None:
    """The words after the command are its own, whatever they look like."""
    words = ("extensions", "update", "101", "--set", "profile.first_name=list")
    assert cli(*words).code == 0
    assert cli("--set", "profile.first_name=extensions", "extensions", "update", "101").code == 0
    shown: dict[str, Any] = json.loads(cli("extensions", "show", "101").out)
    assert shown["profile"]["first_name"] == "extensions"


@pytest.mark.parametrize("words", ["--help extensions list", "extensions --help list"])
def test_help_before_the_command(words: str, cli: CommandLine) -> None:
    assert "portsip-async extensions list [OPTIONS]" in cli(*words.split()).out


def test_help_lists_connection_options_once(cli: CommandLine) -> None:
    """A command's help names a few, and where the others are."""
    one, root = cli("extensions", "list", "--help").out, cli("--help").out
    for option in ("--profile", "--all-profiles", "--url"):
        assert option in one
        assert option in root
    for option in ("--fingerprint", "--password-stdin", "--debug", "--rate"):
        assert option not in one
        assert option in root
    assert "portsip-async --help" in one
    assert "--columns" in one
    assert "--columns" in root
