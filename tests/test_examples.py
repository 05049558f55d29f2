"""The examples work, each started with the command in its docstring."""

import asyncio
import csv
import os
import re
import signal
import stat
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from portsip_async import PortSIPClient
from portsip_async.simulator import PBXSimulator

EXAMPLES = Path(__file__).parent.parent / "examples"
SECONDS = 30.0  # to wait for the first output of a new process


def environment(sim: PBXSimulator | None) -> dict[str, str]:
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PORTSIP_")}
    if sim is not None:
        variables |= {
            "PORTSIP_URL": sim.url,
            "PORTSIP_USERNAME": sim.username,
            "PORTSIP_PASSWORD": sim.password,
            "PORTSIP_DOMAIN": sim.domain,
        }
    return variables | {"PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"}


async def start(
    sim: PBXSimulator | None,
    name: str,
    *arguments: object,
    stdout: int = asyncio.subprocess.PIPE,
    stderr: int = asyncio.subprocess.PIPE,
    variables: Mapping[str, str] | None = None,
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        str(EXAMPLES / f"{name}.py"),
        *map(str, arguments),
        env=environment(sim) | dict(variables or {}),
        stdout=stdout,
        stderr=stderr,
    )


async def run(
    sim: PBXSimulator | None, name: str, *arguments: object, **variables: str
) -> tuple[int | None, str, str]:
    """Run an example. Return its exit code, standard output and standard error."""
    process = await start(sim, name, *arguments, variables=variables)
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


class Service:
    """A running example that serves HTTP."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url

    async def ask(
        self, path: str, method: str = "GET", **options: Any
    ) -> tuple[int, aiohttp.ClientResponse]:
        async with self._session.request(method, self._url + path, **options) as reply:
            await reply.read()
            return reply.status, reply


@asynccontextmanager
async def serving(
    sim: PBXSimulator | None, name: str, *arguments: object, **variables: str
) -> AsyncIterator[Service]:
    """Start an example that serves HTTP, and stop it with Ctrl-C without errors."""
    process = await start(
        sim, name, "--port", 0, *arguments, stderr=asyncio.subprocess.STDOUT, variables=variables
    )
    assert process.stdout is not None
    said = ""
    try:
        async with asyncio.timeout(SECONDS):
            while not (found := re.search(r"unning on (http://127\.0\.0\.1:\d+)", said)):
                line = await process.stdout.readline()
                assert line, said
                said += line.decode()
        async with aiohttp.ClientSession() as session:
            yield Service(session, found[1])
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        out, _ = await process.communicate()
    assert process.returncode in (0, -signal.SIGINT, 128 + signal.SIGINT)
    assert "Traceback" not in said + out.decode()


@pytest.mark.parametrize(
    ("name", "options", "path"),
    [
        ("prometheus_exporter", (), "/metrics"),
        ("fastapi_service", (), "/extensions"),
        ("wallboard", (), "/"),
        ("wallboard", ("--api", "v22"), "/"),
    ],
)
async def test_service_alone(name: str, options: tuple[str, ...], path: str) -> None:
    """Without a PBX in the environment, a service starts a simulated one."""
    async with serving(None, name, *options) as service:
        assert (await service.ask(path))[0] == 200


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("provision_csv", "5 created, 0 skipped, 0 failed"),
        ("export_csv", "100,"),
        ("provision_users", "3005 created"),
    ],
)
async def test_script_alone(name: str, output: str) -> None:
    """Without a PBX in the environment, a script starts a simulated one."""
    code, out, err = await run(None, name)
    assert code == 0
    assert output in out
    assert re.fullmatch(r"PORTSIP_URL is not set: simulating a PBX at http://127\S+\n", err)


async def test_shared_login() -> None:
    """Without Redis, the clients share a token in one process. Without a shared one, calls fail."""
    code, out, err = await run(None, "shared_login", "--seconds", "0.7")
    assert (code, err) == (0, "")
    alone, shared = out.splitlines()
    assert re.fullmatch(r"each .+: \d+ calls succeeded, [1-9]\d* failed, \d+ logins", alone)
    assert re.fullmatch(r"one .+: [1-9]\d* calls succeeded, 0 failed, 1 logins", shared)


async def test_fleet_board() -> None:
    """Without Redis, the fleet's worker runs in the process of the example."""
    code, out, err = await run(None, "fleet_board", "--pbxes", "3", "--seconds", "4")
    assert (code, err) == (0, "")
    assert re.search(r"(?m)^pbx\d\d  1\d\d  \w* -> \w+$", out)
    assert re.search(r"(?m)^3 PBXes with 150 extensions, workers: \S+", out)


def test_readme_names_every_example() -> None:
    """The list of examples has a command for every example, and no others."""
    named = dict.fromkeys(
        re.findall(
            r"^python examples/(\w+)\.py", (EXAMPLES / "README.md").read_text(), re.MULTILINE
        )
    )
    scripts = [
        path for path in EXAMPLES.glob("*.py") if '__name__ == "__main__"' in path.read_text()
    ]
    assert sorted(named) == sorted(path.stem for path in scripts)


class TestProvision:
    """`provision_csv.py`."""

    COLUMNS = ("extension_number", "first_name", "email", "password", "web_access_password")

    def write(self, path: Path, *rows: tuple[str, ...]) -> Path:
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([self.COLUMNS, *rows])
        return path

    async def test_failed_rows_can_be_corrected_and_imported(
        self, sim: PBXSimulator, tmp_path: Path
    ) -> None:
        """A row is created, skipped or reported. The next run accepts the report as its file."""
        file = self.write(
            tmp_path / "new.csv",
            ("2001", "Zoë", "zoe@pbx.example", "Sip-1", "Web-1"),
            ("100", "Taken", "", "Sip-2", "Web-2"),
            ("2002", "Nobody", "", "", "Web-3"),
            ("2003",),
        )
        code, out, err = await run(sim, "provision_csv", file)
        assert (code, out) == (1, "1 created, 1 skipped, 2 failed\n")
        assert sim.extension("2001")["profile"]["first_name"] == "Zoë"
        assert sim.extension("2001")["password"] == "Sip-1"
        assert sim.extension("100")["profile"]["first_name"] != "Taken"

        failed = tmp_path / "new.failed.csv"
        assert str(failed) in err
        assert stat.S_IMODE(failed.stat().st_mode) == 0o600
        with failed.open(newline="", encoding="utf-8") as report:
            rows = {row["extension_number"]: row for row in csv.DictReader(report)}
        assert rows.keys() == {"2002", "2003"}
        assert rows["2002"]["first_name"] == "Nobody"
        assert "password must not be empty" in rows["2002"]["error"]

        for row in rows.values():
            row["password"] = row["web_access_password"] = "Mended"
        with failed.open("w", newline="", encoding="utf-8") as report:
            table = csv.DictWriter(report, [*self.COLUMNS, "error"])
            table.writeheader()
            table.writerows(rows.values())
        code, out, err = await run(sim, "provision_csv", failed)
        assert (code, out, err) == (0, "2 created, 0 skipped, 0 failed\n", "")
        assert sim.extension("2003")["password"] == "Mended"
        assert not (tmp_path / "new.failed.failed.csv").exists()

    async def test_earlier_reports_are_kept(self, sim: PBXSimulator, tmp_path: Path) -> None:
        """A report gets the next free name, so corrections in an earlier report are not lost."""
        file = self.write(tmp_path / "new.csv", ("2001", "", "", "", ""))
        mended = tmp_path / "new.failed.csv"
        mended.write_text("mended by hand")
        mended.chmod(0o644)
        (tmp_path / "new.failed-2.csv").touch()
        code, _, err = await run(sim, "provision_csv", file)
        assert (code, mended.read_text()) == (1, "mended by hand")
        report = tmp_path / "new.failed-3.csv"
        assert str(report) in err
        assert stat.S_IMODE(report.stat().st_mode) == 0o600

        self.write(file, ("2001", "", "", "Sip-1", "Web-1"))
        code, _, _ = await run(sim, "provision_csv", file)
        assert (code, mended.read_text()) == (0, "mended by hand")
        assert {*os.listdir(tmp_path)} == {
            "new.csv",
            "new.failed.csv",
            "new.failed-2.csv",
            "new.failed-3.csv",
        }

    async def test_refused_login(self, sim: PBXSimulator, tmp_path: Path) -> None:
        """A refused login ends the run with a message of one line."""
        file = self.write(tmp_path / "new.csv", ("2001", "", "", "Sip-1", "Web-1"))
        sim.fail("account.verify", status=401, times=None)
        code, _, err = await run(sim, "provision_csv", file)
        assert code == 1
        assert err.startswith("AuthenticationError: account.verify: ")
        assert err.count("\n") == 1
        assert os.listdir(tmp_path) == ["new.csv"]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("2001,hunter2-SIP,Hunter2web\n", "the first line must name the columns"),
            ("extension_number,password,password,web_access_password\n2001,a,b,c\n", "unique name"),
            ("extension_number,password,web_access_password\n2001,a,b,hunter2-SIP\n", "more cells"),
            ('extension_number,password,web_access_password\n2001,"hunter2-SIP\n', "must be CSV"),
            ("extension_number,password,web_access_password\n2001,a,\xe4\n", "must be CSV"),
        ],
    )
    async def test_invalid_file_is_refused(
        self, text: str, message: str, sim: PBXSimulator, tmp_path: Path
    ) -> None:
        """An invalid file is refused before anything is sent. The message shows no cell."""
        file = tmp_path / "new.csv"
        file.write_bytes(text.encode("latin-1"))
        code, out, err = await run(sim, "provision_csv", file)
        assert (code, out) == (1, "")
        assert message in err
        assert err.count("\n") == 1
        assert "unter2" not in err
        assert not sim.served
        assert os.listdir(tmp_path) == ["new.csv"]


class TestProvisionUsers:
    """`provision_users.py`."""

    SAMPLE = EXAMPLES / "users.csv"

    async def test_users_are_created_changed_polled_and_removed(self, sim: PBXSimulator) -> None:
        """Each new user gets a department. A second run skips all, and --remove removes them."""
        code, out, err = await run(sim, "provision_users")
        assert (code, err) == (0, "")
        created = [line for line in out.splitlines() if line.endswith(" created")]
        assert sorted(created) == [f"{number} created" for number in range(3001, 3006)]
        assert re.findall(r"^(\d+) is [A-Z_]+$", out, re.MULTILINE) == [
            str(number) for number in range(3001, 3006)
        ]
        ann = sim.v22.user(sim.v22.user_id("3001"))
        assert (ann["display_name"], ann["department"]) == ("Ann Baker", "Sales")
        assert (ann["role"], ann["email"]) == ("StandardUser", "ann.baker@pbx.example")
        assert ann["extension_password"] == "Made-Up-Sip-1"
        assert not sim.v22.user(sim.v22.user_id("3005"))["department"]

        code, out, err = await run(sim, "provision_users")
        assert (code, err) == (0, "")
        assert sorted(out.splitlines()) == [
            f"{number} skipped: the number is taken" for number in range(3001, 3006)
        ]
        assert sim.v22.acted["users.update"] == 4

        code, out, err = await run(sim, "provision_users", "--remove")
        assert (code, err) == (0, "")
        assert out.splitlines() == [f"{number} removed" for number in range(3001, 3006)]
        assert "3001" not in sim.extension_numbers

    async def test_failures_are_reported(self, sim: PBXSimulator, tmp_path: Path) -> None:
        """A row that fails is reported without a password, and the others are created."""
        text = self.SAMPLE.read_text(encoding="utf-8")
        file = tmp_path / "users.csv"
        file.write_text(text.replace("Made-Up-Sip-2", "").replace("3003,", "33,"), "utf-8")
        code, out, err = await run(sim, "provision_users", file)
        assert code == 1
        assert out.count(" created") == 3
        assert "3002 failed: " in err
        assert "extension_password must not be empty" in err
        assert "33 failed: " in err
        assert "Made-Up" not in out + err

    async def test_lost_reply(self, sim: PBXSimulator) -> None:
        """A user whose reply was lost is found by the number, and counts as created."""
        sim.v22.fail("users.create", drop=True, act=True)
        code, out, err = await run(sim, "provision_users")
        assert (code, err) == (0, "")
        assert out.count(" created") == 5
        assert sim.v22.acted["users.create"] == 5
        assert sim.v22.acted["users.update"] == 4

    async def test_removal_that_fails(self, sim: PBXSimulator) -> None:
        """It does not keep the others from being removed."""
        await run(sim, "provision_users")
        sim.v22.fail("users.remove", status=403, times=1)
        code, out, err = await run(sim, "provision_users", "--remove")
        assert code == 1
        assert err.startswith("3001 not removed: users.remove: HTTP 403")
        assert out.count(" removed") == 4

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("extension_number,name\n3001,hunter2\n", "the first line must name the columns"),
            ("", "the first line must name the columns"),
            ('extension_number,password\n3001,"hunter2\n', "must be CSV"),
            ("extension_number,password\n3001,\xe4\n", "must be CSV"),
        ],
    )
    async def test_invalid_file_is_refused(
        self, text: str, message: str, sim: PBXSimulator, tmp_path: Path
    ) -> None:
        """An invalid file is refused before anything is sent. The message shows no cell."""
        file = tmp_path / "users.csv"
        file.write_bytes(text.encode("latin-1"))
        code, out, err = await run(sim, "provision_users", file)
        assert (code, out) == (1, "")
        assert message in err
        assert "hunter2" not in err
        assert not sim.v22.served

    async def test_refused_login(self, sim: PBXSimulator) -> None:
        """A refused login ends the run with a message of one line."""
        sim.v22.fail("auth.sign_in", status=400, err_code="UNAUTHORIZED", times=None)
        code, _, err = await run(sim, "provision_users")
        assert code == 1
        assert err.startswith("AuthenticationError: auth.sign_in: ")
        assert err.count("\n") == 1


class TestWallboard:
    """The options of `wallboard.py`; test_wallboard.py tests the rest."""

    @pytest.mark.parametrize(
        ("variable", "options", "served"),
        [
            ("", (), "classic"),
            ("v22", (), "v22"),
            ("", ("--api", "v22"), "v22"),
            ("v22", ("--api", "classic"), "classic"),
        ],
    )
    async def test_generation(
        self,
        variable: str,
        options: tuple[str, ...],
        served: str,
        sim: PBXSimulator,
    ) -> None:
        """The option names the generation, or else the environment. Classic is the default."""
        async with serving(sim, "wallboard", *options, PORTSIP_API=variable) as board:
            assert (await board.ask("/"))[0] == 200
            async with asyncio.timeout(SECONDS):
                while not (sim.served or sim.v22.served):  # noqa: ASYNC110 - it happens in another process
                    await asyncio.sleep(0.05)
        assert bool(sim.served) == (served == "classic")
        assert bool(sim.v22.served) == (served == "v22")

    async def test_unknown_generation(self, sim: PBXSimulator) -> None:
        code, _, err = await run(sim, "wallboard", PORTSIP_API="v12")
        assert code == 2
        assert "PORTSIP_API must be one of classic, v22, got 'v12'" in err


class TestExport:
    """`export_csv.py`."""

    async def test_names_with_line_ends(
        self, sim: PBXSimulator, pbx: PortSIPClient, tmp_path: Path
    ) -> None:
        await pbx.extensions.patch("100", profile={"first_name": "a\rb\r\nc"})
        file = tmp_path / "all.csv"
        assert (await run(sim, "export_csv", file))[0] == 0
        with file.open(newline="", encoding="utf-8") as written:
            assert next(csv.DictReader(written))["first_name"] == "a\rb\r\nc"

    async def test_failure_leaves_the_old_file(self, sim: PBXSimulator, tmp_path: Path) -> None:
        """The old file stays until the new one is complete, and a symbolic link stays a link."""
        file, link = tmp_path / "all.csv", tmp_path / "link.csv"
        file.write_text("old")
        link.symlink_to(file)
        sim.fail("extensions.list", status=403, times=1)
        assert (await run(sim, "export_csv", link))[0] == 1
        assert file.read_text() == "old"
        assert (await run(sim, "export_csv", link))[0] == 0
        assert link.is_symlink()
        assert len(file.read_text().splitlines()) == len(sim.extension_numbers) + 1
        assert sorted(os.listdir(tmp_path)) == ["all.csv", "link.csv"]

    async def test_fifo(self, sim: PBXSimulator, tmp_path: Path) -> None:
        """The export writes into a FIFO and doesn't replace it."""
        fifo = tmp_path / "all.csv"
        os.mkfifo(fifo)
        reading = asyncio.create_task(asyncio.to_thread(fifo.read_text))
        assert (await run(sim, "export_csv", fifo))[0] == 0
        assert len((await reading).splitlines()) == len(sim.extension_numbers) + 1
        assert stat.S_ISFIFO(fifo.stat().st_mode)

    async def test_all(self, sim: PBXSimulator, pbx: PortSIPClient, tmp_path: Path) -> None:
        """Every extension has a row, both in a file and on standard output."""
        file = tmp_path / "all.csv"
        assert await run(sim, "export_csv", file) == (0, "", "")
        with file.open(newline="", encoding="utf-8") as written:
            rows = list(csv.DictReader(written))
        listed = await pbx.extensions.list().collect()
        assert [row["extension_number"] for row in rows] == sim.extension_numbers
        assert [row["last_name"] for row in rows] == [extension.last_name for extension in listed]
        code, out, _ = await run(sim, "export_csv")
        assert code == 0
        assert [line.split(",")[0] for line in out.splitlines()[1:]] == sim.extension_numbers

    async def test_reader_that_stops_early(self, sim: PBXSimulator) -> None:
        """Closing the output early is not an error."""
        reading, writing = os.pipe()
        os.close(reading)
        process = await start(sim, "export_csv", stdout=writing)
        os.close(writing)
        _, err = await process.communicate()
        assert err == b""
        assert process.returncode == 0

    async def test_no_pbx(self, sim: PBXSimulator) -> None:
        """If the PBX is away, the script prints a message of one line."""
        await sim.stop()
        code, _, err = await run(sim, "export_csv")
        assert code == 1
        assert err.startswith("ConnectError: ")
        assert err.count("\n") == 1


async def test_prometheus_exporter(sim: PBXSimulator) -> None:
    """A scrape has extensions by status, the outcome of requests, and whether the PBX is up."""

    async def scrape() -> dict[tuple[str, str], float]:
        _, reply = await exporter.ask("/metrics")
        return {
            (sample.name, sample.labels.get("status", "")): sample.value
            for family in text_string_to_metric_families(await reply.text())
            for sample in family.samples
        }

    async def until(name: str, label: str, value: float) -> dict[tuple[str, str], float]:
        async with asyncio.timeout(SECONDS):
            while (samples := await scrape()).get((name, label)) != value:  # noqa: ASYNC110 - it happens in another process
                await asyncio.sleep(0.05)
        return samples

    for at, number in enumerate(sim.extension_numbers):
        sim.set_status(number, "ON_CALL" if at % 3 else "ONLINE")
    async with serving(sim, "prometheus_exporter", "--interval", 0.1) as exporter:
        samples = await until("portsip_extensions", "ON_CALL", 200)
        assert samples["portsip_extensions", "ONLINE"] == 100
        samples = await until("portsip_up", "", 1)
        assert samples["portsip_cycles_total", ""] >= 1
        assert samples["portsip_failures_total", ""] == 0
        assert samples["portsip_request_seconds_count", "200"] >= 1
        last_success = samples["portsip_last_success_timestamp_seconds", ""]

        await sim.stop()
        samples = await until("portsip_up", "", 0)
        assert samples["portsip_extensions", "ON_CALL"] == 200
        assert samples["portsip_request_seconds_count", "ConnectError"] >= 1
        await sim.start()
        samples = await until("portsip_up", "", 1)
        assert samples["portsip_last_success_timestamp_seconds", ""] > last_success

        sim.fail("extensions.status", status=401, err_code="403.4", times=None)
        samples = await until("portsip_up", "", 0)
        assert samples["portsip_extensions", "ON_CALL"] == 200

        _, reply = await exporter.ask(
            "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
        )
        assert reply.content_type == "application/openmetrics-text"


async def test_fastapi_service(sim: PBXSimulator) -> None:
    """Every path works, and each error of the PBX has its own status."""
    person = {"extension_number": "2001", "password": "Sip-1", "web_access_password": "Web-1"}
    sim.set_status("100", "ON_CALL")
    async with serving(sim, "fastapi_service") as service:
        code, reply = await service.ask("/extensions?limit=3")
        assert code == 200
        assert [found["extension_number"] for found in await reply.json()] == ["100", "101", "102"]
        _, reply = await service.ask("/extensions?search=299")
        assert [found["extension_number"] for found in await reply.json()] == ["299"]
        _, reply = await service.ask("/status?number=100&number=9999")
        assert await reply.json() == [{"extension_number": "100", "status": "ON_CALL"}]

        code, reply = await service.ask("/extensions", "POST", json=person | {"first_name": "Zoë"})
        assert code == 201
        assert sim.extension("2001")["profile"]["first_name"] == "Zoë"
        code, reply = await service.ask("/extensions", "POST", json=person)
        assert code == 409
        assert (await reply.json())["may_have_acted"] is False
        code, reply = await service.ask("/extensions", "POST", json=person | {"password": ""})
        assert code == 422
        for half in ({"first_name": "\ud800"}, {"extension_number": "\ud800"}):
            code, reply = await service.ask("/extensions", "POST", json=person | half)
            assert (code, "surrogate" in await reply.text()) == (422, True)
        code, reply = await service.ask("/status?number=101&number=")
        assert code == 422
        assert "empty" in (await reply.json())["detail"]
        assert (await service.ask("/extensions/2001", "DELETE"))[0] == 204
        assert (await service.ask("/extensions/2001", "DELETE"))[0] == 404

        sim.fail("extensions.list", status=429, retry_after=3600)
        code, reply = await service.ask("/extensions")
        assert (code, reply.headers["Retry-After"]) == (503, "3600")
        await sim.stop()
        assert (await service.ask("/extensions"))[0] == 502
        assert (await service.ask("/status?number=100"))[0] == 502
