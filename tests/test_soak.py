"""The soak's own judgement: what it must find wrong, it finds wrong."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from portsip_async import Attempt, ConnectError, ServerError

from .soak.books import Audit, Books
from .soak.journal import STATUS, Entry, Journal, lasting
from .soak.meter import Trend
from .soak.proxy import Unready, find_nginx
from .soak.secrecy import Secrets

CREATE, UPDATE, REMOVE = "extensions.create", "extensions.update", "extensions.remove"


class Case:
    """Some writes, as the PBX carried them out and as the SDK told of them."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder / "journal")
        self.journal.open()
        self.books = Books(folder / "books")
        self.came: Counter[str] = Counter()

    def acted(self, row: str, number: str, times: int = 1) -> None:
        given: dict[str, Any] = {"extension_number": number, "profile": {"description": "mark"}}
        for _ in range(times):
            self.journal.write(row, given)

    def told(self, row: str, number: str, outcome: str, sent: int = 1) -> None:
        error = None if outcome == "done" else ServerError(status=502)
        key = f"{number} mark" if row == UPDATE else number
        self.books.note(row, key, error, in_doubt=outcome == "unknown")
        place = {CREATE: "create", UPDATE: "update", REMOVE: "destroy"}[row]
        for number_of_attempt in range(sent):
            self.books.on_attempt(Attempt(row, number_of_attempt + 1, None, None, 0.1))
            self.came[f"POST /api/extensions/{place}"] += 1

    def audit(self) -> Audit:
        return Audit(self.books, self.journal, self.came)


@pytest.fixture
def case(tmp_path: Path) -> Any:
    case = Case(tmp_path)
    yield case
    case.books.close()


class TestAudit:
    @pytest.mark.parametrize(
        ("row", "outcome", "acts", "right"),
        [
            (CREATE, "done", 1, True),
            (CREATE, "done", 0, False),
            (CREATE, "done", 2, False),
            (CREATE, "unknown", 0, True),
            (CREATE, "unknown", 1, True),
            (CREATE, "unknown", 2, False),
            (CREATE, "refused", 0, True),
            (CREATE, "refused", 1, False),
            (UPDATE, "done", 0, False),
            (UPDATE, "done", 2, True),
            (UPDATE, "refused", 1, False),
        ],
    )
    def test_acts(self, row: str, outcome: str, acts: int, right: bool, case: Case) -> None:
        """Once if it is told as done, never if refused; only what comes to the same, again."""
        case.acted(row, "7001", acts)
        case.told(row, "7001", outcome, sent=max(1, acts))
        assert (case.audit().wrong == []) is right

    @pytest.mark.parametrize(("created", "removed"), [(0, 1), (1, 0)])
    def test_removal(self, created: int, removed: int, case: Case) -> None:
        """It is carried out as often as there was something to remove."""
        case.acted(CREATE, "7001", created)
        case.acted(REMOVE, "7001", removed)
        case.told(CREATE, "7001", "unknown")
        case.told(REMOVE, "7001", "done")
        assert len(case.audit().wrong) == 1

    def test_nobody_asked(self, case: Case) -> None:
        case.acted(CREATE, "7001")
        case.came["POST /api/extensions/create"] = 1
        assert any("nobody asked" in what for what in case.audit().wrong)

    def test_arrival_that_was_not_sent(self, case: Case) -> None:
        """One attempt is one arrival."""
        case.acted(CREATE, "7001")
        case.told(CREATE, "7001", "done")
        case.came["POST /api/extensions/create"] += 1
        assert case.audit().wrong == [f"{CREATE}: 1 sent, 2 came, 1 acted"]

    def test_attempt_without_a_connection(self, case: Case) -> None:
        case.books.on_attempt(Attempt(CREATE, 1, None, ConnectError("refused"), 0.1))
        assert case.audit().wrong == []

    def test_descriptions_that_may_be_there(self, case: Case) -> None:
        """The last that is done, and those in doubt since."""
        case.acted(UPDATE, "100")
        case.told(UPDATE, "100", "done")
        case.books.note(UPDATE, "100 later", ServerError(), in_doubt=True)
        assert case.audit().markers == {"100": {"mark", "later"}}


class TestJournal:
    def test_survives_its_writer(self, tmp_path: Path) -> None:
        """Whoever comes next finds whole lines, and writes on behind them."""
        path = tmp_path / "journal"
        first = Journal(path)
        assert first.open() == [Entry(STATUS, {})]
        first.write(CREATE, {"extension_number": "7001"})
        with path.open("ab") as file:
            file.write(b'{"row":"extensions.cre')
        made = Entry(CREATE, {"extension_number": "7001"})
        for _ in range(2):  # from the lines, and then from the checkpoint
            again = Journal(path)
            assert again.open() == [made, Entry(STATUS, {})]
        again.write(REMOVE, {"extension_number": "7001"})
        assert [entry.row for entry in again] == [CREATE, REMOVE]
        assert Journal(path).open() == [Entry(STATUS, {})]

    def test_what_lasts(self) -> None:
        """What is gone leaves nothing; of statuses and updates the last counts."""
        one, other = {"extension_number": "1"}, {"extension_number": "2"}
        greeting = {"extension_number": "2", "filename": "a.wav"}
        marked = {**other, "profile": {"description": "x"}}
        entries = [
            Entry(STATUS, {"1": "AWAY", "2": "ONLINE"}),
            Entry(CREATE, one),
            Entry(CREATE, other),
            Entry(UPDATE, marked),
            Entry("greetings.add", greeting),
            Entry("greetings.remove", greeting),
            Entry(REMOVE, one),
            Entry(STATUS, {"1": "ONLINE"}),
        ]
        assert lasting(entries) == [
            Entry(CREATE, other),
            Entry(UPDATE, marked),
            Entry(STATUS, {"1": "ONLINE", "2": "ONLINE"}),
        ]


class TestTrend:
    @pytest.mark.parametrize(("slope", "flat"), [(0.0, True), (0.3, True), (2.0, False)])
    def test_slope(self, slope: float, flat: bool) -> None:
        """A rise within the noise is none."""
        times = [float(at) for at in range(60)]
        noise = [10.0 if at % 2 else -10.0 for at in range(60)]
        values = [slope * at + bump for at, bump in zip(times, noise, strict=True)]
        assert Trend.of(times, values, least=5.0).flat is flat


class TestSecrets:
    def test_found(self, tmp_path: Path) -> None:
        """Each form of a secret is found; a log that lacks the canary proves nothing."""
        secrets = Secrets()
        log = tmp_path / "debug.log"
        log.write_text(f"{secrets.canary}\n")
        assert secrets.found([log], ["0123456789ABCDEF"], tmp_path)[1] == 0
        quoted = repr(secrets.password().encode())
        log.write_text(f"{secrets.canary}\ntoken=0123456789ABCDEF&{quoted}\n")
        assert secrets.found([log], ["0123456789ABCDEF"], tmp_path)[1] == 2
        log.write_text("nothing\n")
        with pytest.raises(RuntimeError):
            secrets.found([log], [], tmp_path)


def test_nginx_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who is not root is told what to install."""
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(Unready, match="apt-get install nginx"):
        find_nginx(tmp_path)
