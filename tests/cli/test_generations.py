"""How the command line finds out which generation of the API a PBX speaks."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise

import pytest

from portsip_async.simulator import PBXSimulator

from ..wire_server import Arrival, WireServer, reply
from .conftest import Beside
from .terminal import CommandLine

LIST = ("extensions", "list", "--limit", 1)
COMMANDS = [LIST, ("groups", "show", "1"), ("extensions", "status", "1")]
AUTO = {"PORTSIP_API": None}
HTML = {"Content-Type": "text/html"}
PAGE = reply("<!DOCTYPE html><html>Welcome</html>", 200, HTML)
METADATA = reply({"web_domain": "pbx.example.com"})
MISSING = reply("<html>Not here</html>", 404, HTML)

ServerMaker = Callable[[bytes, bytes], WireServer]


@pytest.fixture
def serve(beside: Beside) -> Iterator[ServerMaker]:
    """Return a function that starts servers: with a reply for the metadata, and one for others."""
    with ExitStack() as stack:

        def start(info: bytes, others: bytes) -> WireServer:
            async def step(
                arrival: Arrival, _: asyncio.StreamReader, writer: asyncio.StreamWriter
            ) -> None:
                writer.write(info if arrival.path == "/api/info" else others)
                await writer.drain()

            server = WireServer()
            server.handles_logins = False
            server.script = [step]
            beside.run(server.__aenter__())
            stack.callback(lambda: beside.run(server.__aexit__()))
            return server

        yield start


class TestAuto:
    @pytest.mark.parametrize("command", ["extensions", "users"])
    def test_classic(self, command: str, cli: CommandLine, pbx: PBXSimulator) -> None:
        """The PBX is asked once, with an empty login, and the command then works."""
        done = cli(command, "list", "--limit", 1, environment=AUTO)
        assert (done.code, len(done.lines)) == (0, 1)
        assert pbx.served["account.verify"] == 2
        assert cli(command, "list", "--limit", 1, PORTSIP_API="auto").code == 0
        assert cli(command, "list", "--limit", 1, "--api", "auto", PORTSIP_API="v22").code == 0

    @pytest.mark.parametrize(
        "words", [LIST, ("groups", "show", "1"), ("extensions", "status", "1")]
    )
    def test_no_generation(
        self, words: tuple[object, ...], cli: CommandLine, serve: ServerMaker
    ) -> None:
        """Whatever else replies gets no password."""
        server = serve(PAGE, PAGE)
        done = cli(*words, environment={"PORTSIP_URL": server.url, **AUTO})
        assert (done.code, done.out) == (4, "")
        assert "no JSON" in done.err
        assert "check the address" in done.err
        assert "--api" in done.err
        password = cli.environment["PORTSIP_PASSWORD"].encode()
        assert not [arrival for arrival in server.arrivals if password in arrival.body]

    def test_no_generation_comes_before_the_prompt(
        self, cli: CommandLine, serve: ServerMaker
    ) -> None:
        url = serve(MISSING, MISSING).url
        done = cli(*LIST, "--url", url, environment=AUTO, PORTSIP_PASSWORD=None)
        assert done.code == 4

    def test_silent_server(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        """The timeout holds for this question too."""
        pbx.fail("account.verify", latency=30, times=None)
        assert cli(*LIST, "--timeout", "0.1", environment=AUTO).code == 5

    def test_unreachable(self, cli: CommandLine) -> None:
        """It is the ordinary failure of a connection: one line, a hint, and its exit code."""
        for api in ("auto", "classic", "v22"):
            done = cli(*LIST, "--url", "http://127.0.0.1:9", PORTSIP_API=api)
            assert (done.code, done.out) == (5, "")
            assert len(done.err.splitlines()) == 2
            assert "no connection was made" in done.err
            assert "check the address" in done.err

    def test_moved_operations(self, cli: CommandLine) -> None:
        """Their names are checked once the generation is known, before any prompt."""
        done = cli(*LIST, "--endpoint", "no.such=GET", environment=AUTO, PORTSIP_PASSWORD=None)
        assert done.code == 2
        assert "no operation named 'no.such'" in done.err
        assert cli(*LIST, "--endpoint", "extensions.status=GET", environment=AUTO).code == 0


class TestHelp:
    def test_names_both_generations(self, cli: CommandLine) -> None:
        assert {"v22", "classic"} <= {*cli("--help").out.replace(",", " ").split()}
        assert "'users'" in cli("extensions", "--help").out
        assert "classic" in cli("groups", "create", "--help").out

    @pytest.mark.parametrize(
        "words", [("check",), ("simulate",), ("extensions", "import"), ("users", "watch")]
    )
    def test_wraps_paragraphs(self, words: tuple[str, ...], cli: CommandLine) -> None:
        """On 80 columns, only the last line of a paragraph may be short."""
        out = cli(*words, "--help", environment={"COLUMNS": "80"}).out
        lines = [line.strip() for line in out.partition("╭")[0].splitlines()]
        for line, following in pairwise(lines):
            assert not line or not following or len(f"{line} {following.split()[0]}") > 76

    def test_unknown_api_is_wrong_usage(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        done = cli(*LIST, "--api", "v12")
        assert done.code == 2
        assert all(name in done.err for name in ("auto", "classic", "v22"))
        assert not pbx.served


class TestChoice:
    @pytest.mark.parametrize(
        "words", [LIST, ("groups", "show", "1"), ("extensions", "status", "1")]
    )
    @pytest.mark.parametrize("status", [404, 405, 410])
    def test_login_names_the_other_generation(
        self, words: tuple[object, ...], status: int, cli: CommandLine, serve: ServerMaker
    ) -> None:
        """A login that finds nothing there says which generation replies."""
        server = serve(METADATA, reply("<html>Not here</html>", status, HTML))
        done = cli(*words, "--url", server.url, "--api", "classic")
        assert done.code == 4
        assert "pass --api v22" in done.err
        assert "user name" not in done.err
        assert len(done.err.splitlines()) == 2

    def test_login_where_neither_is(self, cli: CommandLine, serve: ServerMaker) -> None:
        done = cli(*LIST, "--url", serve(MISSING, MISSING).url)
        assert done.code == 4
        assert "check the address" in done.err
        assert "Neither generation" in done.err

    def test_login_where_the_chosen_one_is(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        """Then the hint is about the address, as it is where the PBX can't be asked."""
        pbx.fail("account.verify", status=404, body="<html>No</html>")
        done = cli(*LIST)
        assert done.code == 4
        assert "check the address" in done.err
        assert "--api" not in done.err

    @pytest.mark.parametrize("name", ["v12", "Classic", " "])
    def test_unknown_name(self, name: str, cli: CommandLine, pbx: PBXSimulator) -> None:
        done = cli(*LIST, PORTSIP_API=name)
        assert done.code == 2
        assert "PORTSIP_API must be auto, classic or v22" in done.err
        assert cli(*LIST, "--api", name).code == 2
        assert not pbx.served

    def test_options_of_the_other_generation(self, cli: CommandLine) -> None:
        done = cli(*LIST, "--order-by", "name")
        assert done.code == 2
        assert "the classic generation has no --order-by" in done.err
        done = cli(*LIST, "--filter", "contains(name, 'ann')")
        assert done.code == 2
        assert "FIELD=VALUE" in done.err

    def test_call_needs_a_domain(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        done = cli("extensions", "call", "101", "102", PORTSIP_AUTH="x")
        assert done.code == 2
        assert "--domain" in done.err
        assert not pbx.served
