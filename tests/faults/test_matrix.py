"""Every operation against every fault: what is raised, how often it arrived, and what is left."""

import pytest

from portsip_async import ENDPOINTS, PortSIPError

from ..operations import BY_ROW, Operation
from ..test_secrecy import forms
from .catalogue import BY_NAME, DEADLINE, LIMIT, Fault
from .cells import ROWS, Outcome, observe
from .rules import EXEMPTIONS, RULES, SAFETIES, rule_of, unbounded

# Bytes that sockets and streams hold, beyond what was read.
BUFFERED = 32 * 2**20

CELLS = [
    pytest.param(fault, row, id=f"{fault.name}-{row.name}")
    for fault in BY_NAME.values()
    for row in ROWS
]
each_fault = pytest.mark.parametrize("fault", BY_NAME.values(), ids=BY_NAME)


def test_all_are_there() -> None:
    """No operation of the table is left out, and no rule is for nothing."""
    assert {row.name for row in ROWS} == set(ENDPOINTS)
    assert {row.name: row.safety for row in ROWS} == {
        name: row.safety for name, row in ENDPOINTS.items()
    }
    assert {fault.kind for fault in BY_NAME.values()} == set(RULES)
    assert all(
        (BY_ROW[name].replies is None) == (row.reply is None) for name, row in ENDPOINTS.items()
    )
    assert all(exemption.operations for exemption in EXEMPTIONS)


def check_error(fault: Fault, row: Operation, outcome: Outcome) -> None:
    """A call raises what the rule of its safety says, with the facts, as often as it may try."""
    rule = rule_of(fault.kind, row.name)
    attempts = rule.attempts[SAFETIES.index(row.safety)]
    error = outcome.error
    assert type(error) is (rule.error or type(None))
    assert outcome.arrivals == (attempts if rule.arrives else 0)
    if isinstance(error, PortSIPError):
        assert error.operation == row.name
        assert error.attempts == attempts
        assert error.page == (1 if ENDPOINTS[row.name].pages else None)
        assert error.may_have_acted is (rule.in_doubt and row.safety != "safe")


def check_deeds(fault: Fault, row: Operation, outcome: Outcome) -> None:
    """What the server did is what the call told of, whatever the rules say."""
    if row.safety == "unsafe":
        assert outcome.acted <= 1
    if outcome.error is None:
        assert outcome.acted == 1
    elif outcome.acted and row.safety != "safe":
        assert isinstance(outcome.error, PortSIPError)
        assert outcome.error.may_have_acted


def check_answer(fault: Fault, row: Operation, outcome: Outcome) -> None:
    """What is answered is what the reply said, also afterwards, over what is left of the wire."""
    assert outcome.error_afterwards is None
    answers = (
        [outcome.afterwards] if outcome.error is not None else [outcome.value, outcome.afterwards]
    )
    for answer in answers:
        was_read, text = BY_ROW[row.name].reads(answer)
        assert was_read
        assert text is None or (isinstance(text, str) and text.encode())
    assert outcome.acted_afterwards == 1


def check_time(fault: Fault, row: Operation, outcome: Outcome) -> None:
    """A call waits as long as it is asked to, and no longer than it may."""
    rule = rule_of(fault.kind, row.name)
    if unbounded(fault.kind, row.name):
        assert outcome.seconds > DEADLINE or outcome.error is None
        return
    least, most = fault.waits
    if rule.attempts[SAFETIES.index(row.safety)] == max(rule.attempts):
        assert outcome.seconds >= least
    assert outcome.seconds <= min(most, DEADLINE) + 1e-6


def check_leavings(fault: Fault, row: Operation, outcome: Outcome) -> None:
    """A call that ended leaves no exchange open, a client that was closed no connection."""
    assert outcome.clinging == 0
    assert outcome.open == 0
    assert outcome.written < outcome.arrivals * (LIMIT + BUFFERED) + 1000


def check_secrets(fault: Fault, row: Operation, outcome: Outcome) -> None:
    """No secret is in what an error or the client tells, or what it hangs together with."""
    assert outcome.secrets
    outcome.heard.check(*outcome.secrets)


CHECKS = (check_error, check_deeds, check_answer, check_time, check_leavings, check_secrets)


@pytest.mark.parametrize(("fault", "row"), CELLS)
def test_cell(fault: Fault, row: Operation) -> None:
    """A fault that strikes an operation keeps all that is promised."""
    outcome = observe(fault.name).cells[row.name]
    for check in CHECKS:
        check(fault, row, outcome)


@each_fault
def test_log(fault: Fault) -> None:
    """Nor is one in the log of everybody at its loudest, which tells of each attempt."""
    observed = observe(fault.name)
    for name, outcome in observed.cells.items():
        assert f"portsip_async {name} attempt=1 " in observed.log
        for secret in outcome.secrets:
            assert not [form for form in forms(secret) if form in observed.log]


@each_fault
def test_nothing_else(fault: Fault) -> None:
    """No task and no file is left, and nobody else heard of it."""
    observed = observe(fault.name)
    assert observed.tasks == 0
    assert observed.files == 0
    assert observed.elsewhere == 0
