"""The checks of the soak find errors."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from portsip_async import Attempt, ConnectError, PortSIPClient, ServerError
from portsip_async.simulator import PBXSimulator

from .concurrency import in_background, until
from .soak.audit import Audit, Reported
from .soak.journal import Entry, Journal
from .soak.memory import growth, sample
from .soak.nginx import SetupError, find_nginx
from .soak.secrecy import Secrets
from .soak.viewers import Viewer

CREATE, UPDATE, REMOVE = "extensions.create", "extensions.update", "extensions.remove"
PATHS = {CREATE: "create", UPDATE: "update", REMOVE: "destroy"}


class Case:
    """Some writes: what the PBX did, and what the SDK reported."""

    def __init__(self, folder: Path) -> None:
        self.acted: list[Entry] = []
        self.reported = Reported(folder / "writes")
        self.arrivals: Counter[str] = Counter()

    def act(self, row: str, times: int = 1) -> None:
        fields = {"extension_number": "7001", "profile": {"description": "mark"}}
        self.acted += [Entry(row, fields)] * times

    def report(self, row: str, outcome: str, sent: int = 1) -> None:
        error = None if outcome == "done" else ServerError(status=502)
        key = "7001 mark" if row == UPDATE else "7001"
        self.reported.write(row, key, error, in_doubt=outcome == "in doubt")
        for number in range(1, sent + 1):
            self.reported.on_attempt(Attempt(row, number, None, None, 0.1))
            self.arrivals[f"POST /api/extensions/{PATHS[row]}"] += 1

    def audit(self) -> Audit:
        return Audit(self.reported, self.acted, self.arrivals)


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    case = Case(tmp_path)
    yield case
    case.reported.close()


@pytest.mark.parametrize(
    ("row", "outcome", "acts", "right"),
    [
        (CREATE, "done", 1, True),
        (CREATE, "done", 0, False),
        (CREATE, "done", 2, False),
        (CREATE, "in doubt", 0, True),
        (CREATE, "in doubt", 1, True),
        (CREATE, "in doubt", 2, False),
        (CREATE, "refused", 0, True),
        (CREATE, "refused", 1, False),
        (UPDATE, "done", 0, False),
        (UPDATE, "done", 2, True),
        (UPDATE, "refused", 1, False),
    ],
)
def test_audit_checks_how_often_a_write_acted(
    row: str, outcome: str, acts: int, right: bool, case: Case
) -> None:
    """A success acts once, a refusal never. Only a repeatable write may act twice."""
    case.act(row, acts)
    case.report(row, outcome, sent=max(1, acts))
    assert (case.audit().wrong == []) is right


@pytest.mark.parametrize(("created", "removed"), [(0, 1), (1, 0)])
def test_audit_expects_as_many_removals_as_creates(created: int, removed: int, case: Case) -> None:
    case.act(CREATE, created)
    case.act(REMOVE, removed)
    case.report(CREATE, "in doubt")
    case.report(REMOVE, "done")
    assert len(case.audit().wrong) == 1


def test_audit_finds_an_unknown_write(case: Case) -> None:
    case.act(CREATE)
    case.arrivals["POST /api/extensions/create"] = 1
    assert any("nobody asked" in what for what in case.audit().wrong)


def test_audit_finds_an_arrival_that_was_not_sent(case: Case) -> None:
    """One attempt arrives once."""
    case.act(CREATE)
    case.report(CREATE, "done")
    case.arrivals["POST /api/extensions/create"] += 1
    assert case.audit().wrong == ["POST /api/extensions/create: 1 sent, 2 arrived, 1 acted"]


def test_audit_expects_no_arrival_without_a_connection(case: Case) -> None:
    case.reported.on_attempt(Attempt(CREATE, 1, None, ConnectError("refused"), 0.1))
    assert case.audit().wrong == []


def test_audit_allows_the_last_description_and_those_in_doubt_since(case: Case) -> None:
    case.act(UPDATE)
    case.report(UPDATE, "done")
    case.reported.write(UPDATE, "7001 later", ServerError(), in_doubt=True)
    assert case.audit().markers == {"7001": {"mark", "later"}}


def test_journal_survives_a_killed_writer(tmp_path: Path) -> None:
    """The next writer drops an incomplete line and appends to the complete ones."""
    path = tmp_path / "journal"
    first, second = (Entry(CREATE, {"extension_number": number}) for number in ("7001", "7002"))
    journal = Journal(path, Entry)
    journal.append(first)
    journal.close()
    with path.open("ab") as file:
        file.write(b'{"row":"extensions.cre')
    journal = Journal(path, Entry)
    journal.append(second)
    journal.close()
    assert list(journal) == [first, second]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 50, 90, 99, 100, 101, 99, 100, 101], 0),
        ([0, 1, 2, 3, 4, 5, 6, 7, 8], 3),
    ],
)
def test_growth_leaves_out_the_first_third(values: list[float], expected: float) -> None:
    """A cache that fills once is not growth. A steady rise is."""
    assert growth(values) == expected


async def test_sample_counts_descriptors() -> None:
    before = sample().descriptors
    reader, writer = os.pipe()
    assert sample().descriptors == before + 2
    os.close(reader)
    os.close(writer)


def test_search_finds_every_form_of_a_secret(tmp_path: Path) -> None:
    """A log without the canary proves nothing."""
    secrets = Secrets()
    log = tmp_path / "debug.log"
    log.write_text(f"{secrets.canary}\n")
    assert secrets.search([log], ["0123456789ABCDEF"])[1] == 0
    quoted = repr(secrets.password().encode())
    log.write_text(f"{secrets.canary}\ntoken=0123456789ABCDEF&{quoted}\n")
    assert secrets.search([log], ["0123456789ABCDEF"])[1] == 2
    log.write_text("nothing\n")
    with pytest.raises(RuntimeError):
        secrets.search([log], [])


async def test_viewer_resumes_from_its_view() -> None:
    """Leaving a watch at each change loses none. A view that is not the watch's is found."""
    numbers = ["100", "101", "102"]
    async with (
        PBXSimulator(extensions=3, status_seconds=0) as sim,
        PortSIPClient(sim.url, username=sim.username, password=sim.password) as client,
    ):
        viewer = Viewer(
            lambda known: client.extensions.watch_status(numbers, interval=0.01, known=known),
            leaves=1.0,
        )
        async with in_background(viewer.follow()):
            await until(lambda: viewer.view.keys() == set(numbers))
            assert viewer.wrong == []
            del viewer.view["101"]
            sim.set_status("102", "AWAY")
            await until(lambda: viewer.wrong)
    assert viewer.figures()["changes"] >= len(numbers)


def test_missing_nginx_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without root, the error says what to install."""
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(SetupError, match="apt-get install nginx"):
        find_nginx()
