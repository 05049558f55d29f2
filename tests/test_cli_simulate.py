"""``portsip-async simulate``, in its own process and in this one."""

import asyncio
import os
import runpy
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from typer.testing import CliRunner

from portsip_async import PortSIPClient, TwoFactorRequired, cli, detect, v22
from portsip_async.cli.app import app
from portsip_async.simulator import PBXSimulator

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-W", "error", "-m", "portsip_async", "simulate"]


def exports(greeting: str) -> dict[str, str]:
    lines = [line.removeprefix("export ") for line in greeting.splitlines() if "export" in line]
    return dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
async def test_process(number: signal.Signals, code: int) -> None:
    """It prints how to reach the PBX, serves, and ends at once on either signal."""
    options = ("--extensions", "7", "--token-lifetime", "2", "--quirk", "text_html")
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *options,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    greeting = (await asyncio.wait_for(process.stdout.readuntil(b"Ctrl-C"), 20)).decode()
    environment = exports(greeting)
    assert environment["PORTSIP_URL"] in greeting.splitlines()[0]
    login = {
        "username": environment["PORTSIP_USERNAME"],
        "password": environment["PORTSIP_PASSWORD"],
    }
    async with aiohttp.ClientSession() as session:
        url = f"{environment['PORTSIP_URL']}/api/account/credentials/verify"
        async with session.post(url, json=login) as reply:
            assert reply.content_type == "text/html"
            assert b'"expires":2,' in await reply.read()
        async with session.get(f"{environment['PORTSIP_URL']}/api/info") as reply:
            assert reply.status == 200
        process.send_signal(number)
        rest, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == code
    assert b"Stopped after 2 requests." in rest
    assert errors == b""


@asynccontextmanager
async def simulated(*options: str) -> AsyncIterator[tuple[str, asyncio.StreamReader]]:
    """Run the command; yield its greeting, and what it prints after that."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *options, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        greeting = await asyncio.wait_for(process.stdout.readuntil(b"Ctrl-C stops it.\n"), 20)
        yield greeting.decode(), process.stdout
    finally:
        process.terminate()
        await process.communicate()


async def test_lines_for_python() -> None:
    """The lines for a program work as printed, for each generation."""
    async with simulated("--extensions", "3", "--domain", "o'neill.example") as (greeting, _):
        programs = greeting.split("# Python, ")[1:]
        assert [program.splitlines()[0] for program in programs] == [
            "generation v22",
            "the classic generation",
        ]
        for program, kind in zip(programs, (v22.PortSIPClient, PortSIPClient), strict=True):
            names: dict[str, Any] = {}
            exec("\n".join(program.splitlines()[1:3]), names)
            assert isinstance(names["pbx"], kind)
            client: Any = names["pbx"]
            async with client as pbx:
                numbers = [one.extension_number async for one in pbx.extensions.list()]
            assert numbers == ["100", "101", "102"]


@pytest.mark.parametrize("name", ["classic", "v22"])
async def test_one_generation(name: str) -> None:
    """A generation that was left out is not served, and nothing is printed for it."""
    async with simulated("--generations", name, "--extensions", "3") as (greeting, _):
        environment = exports(greeting)
        assert environment["PORTSIP_API"] == name
        assert greeting.count("# Python") == 1
        assert (await detect(environment["PORTSIP_URL"])).generation == name


async def test_second_factor() -> None:
    """It prints the one-time password that a real PBX would send by email."""
    async with simulated("--second-factor", "--extensions", "3") as (greeting, rest):
        login = exports(greeting)
        async with v22.PortSIPClient(
            login["PORTSIP_URL"],
            username=login["PORTSIP_USERNAME"],
            password=login["PORTSIP_PASSWORD"],
            domain=login["PORTSIP_DOMAIN"],
        ) as pbx:
            with pytest.raises(TwoFactorRequired) as required:
                await pbx.auth.user()
            await pbx.auth.send_otp(required.value.challenge)
            line = (await asyncio.wait_for(rest.readline(), 20)).decode()
            title, code = line.rstrip().split(": ")
            assert title == "One-time password"
            await pbx.auth.verify_otp(required.value.challenge, code)
            assert (await pbx.users.find("100")).extension_number == "100"


def test_port_in_use() -> None:
    """A port that is taken is one line on stderr, and exit code 1."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = CliRunner().invoke(app, ["simulate", "--port", str(taken.getsockname()[1])])
    assert done.exit_code == 1
    assert done.stdout == ""
    assert "can't listen on 127.0.0.1 port" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "options",
    [
        ["--quirk", "no_such"],
        ["--html", "1.5"],
        ["--token-lifetime", "0"],
        ["--latency", "inf"],
        ["--extensions", "many"],
        ["--generations", "v12"],
        ["--generations", "classic", "--second-factor"],
    ],
)
def test_wrong_usage(options: list[str]) -> None:
    """A wrong option is exit code 2 and nothing on stdout."""
    done = CliRunner().invoke(app, ["simulate", *options])
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "Hint: portsip-async simulate --help" in done.stderr


def test_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every option reaches the simulator; SIGINT ends with 130."""
    made: list[PBXSimulator] = []
    start = PBXSimulator.start

    def press_both() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)

    async def start_and_stop(self: PBXSimulator) -> None:
        made.append(self)
        await start(self)
        asyncio.get_running_loop().call_soon(press_both)

    monkeypatch.setattr(PBXSimulator, "start", start_and_stop)
    numbers = {
        "--extensions": "5",
        "--groups": "2",
        "--seed": "3",
        "--page-limit": "2",
        "--max-in-flight": "9",
        "--latency": "0.5",
        "--host": "0.0.0.0",
        "--domain": "x.example",
        **dict.fromkeys(("--rate-limited", "--server-error", "--html", "--dropped"), "0.25"),
        **dict.fromkeys(("--truncated", "--revoked"), "0.125"),
    }
    arguments = [part for option in numbers.items() for part in option]
    done = CliRunner().invoke(app, ["simulate", *arguments])
    assert done.exit_code == 130
    assert exports(done.stdout)["PORTSIP_ALLOW_HTTP"] == "1"
    assert done.stdout.count("allow_http=True") == 2
    (sim,) = made
    assert sim.domain == exports(done.stdout)["PORTSIP_DOMAIN"] == "x.example"
    assert (len(sim.extension_numbers), len(sim.group_ids), sim.max_in_flight) == (5, 2, 9)
    assert (sim.faults.latency, sim.faults.html, sim.faults.revoked) == (0.5, 0.25, 0.125)


def test_without_signal_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a loop has no signal handlers, Ctrl-C is a KeyboardInterrupt and ends with 130."""

    def refuse(*_: Any) -> None:
        raise NotImplementedError

    async def interrupt(self: PBXSimulator) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(asyncio.SelectorEventLoop, "add_signal_handler", refuse)
    monkeypatch.setattr(PBXSimulator, "start", interrupt)
    assert CliRunner().invoke(app, ["simulate"]).exit_code == 130


class TestMain:
    def test_runs(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The console script shows its commands and exit codes."""
        monkeypatch.setattr(sys, "argv", ["portsip-async", "--help"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
        shown = capsys.readouterr().out
        assert "simulate" in shown
        assert "130 interrupted" in shown

    @pytest.mark.parametrize(
        ("missing", "code"), [("typer", 2), ("portsip_async.cli.failures", None)]
    )
    def test_extra_missing(
        self,
        missing: str,
        code: int | None,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Without the extra, one line says how to install it; another missing module raises."""
        monkeypatch.delitem(sys.modules, "portsip_async.cli.app")
        monkeypatch.setitem(sys.modules, missing, None)
        expected: type[BaseException] = SystemExit if code else ModuleNotFoundError
        with pytest.raises(expected) as ended:
            cli.main()
        assert getattr(ended.value, "code", None) == code
        assert capsys.readouterr().err.count("pip install 'portsip_async[cli]'") == bool(code)

    def test_module(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """``python -m portsip_async`` is the same command."""
        monkeypatch.setattr(sys, "argv", ["__main__.py", "simulate", "--help"])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "portsip_async" / "__main__.py"), run_name="__main__")
        assert ended.value.code == 0
        assert "portsip-async simulate" in capsys.readouterr().out
