"""Every operation with every fault: the error, the number of requests, and open resources."""

import pytest

from portsip_async import ENDPOINTS, PortSIPError

from ..operations import BY_ROW, Operation
from ..test_secrecy import forms
from .catalogue import BY_NAME, DEADLINE, LIMIT, Fault
from .cells import ROWS, Outcome, observe
from .rules import EXEMPTIONS, RULES, SAFETIES, rule_of, unbounded

# Bytes in the buffers of sockets and streams that were sent but not read.
BUFFERED = 32 * 2**20

CELLS = [
    pytest.param(fault, row, id=f"{fault.name}-{row.name}")
    for fault in BY_NAME.values()
    for row in ROWS
]
each_fault = pytest.mark.parametrize("fault", BY_NAME.values(), ids=BY_NAME)


def test_every_operation_and_rule_is_used() -> None:
    """The matrix contains every operation, and every rule has a fault."""
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
    """Check that the error, its attributes and the number of attempts follow the rule."""
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
    """Check that the result of the call agrees with what the server did."""
    if row.safety == "unsafe":
        assert outcome.acted <= 1
    if outcome.error is None:
        assert outcome.acted == 1
    elif outcome.acted and row.safety != "safe":
        assert isinstance(outcome.error, PortSIPError)
        assert outcome.error.may_have_acted


def check_answer(fault: Fault, row: Operation, outcome: Outcome) -> None:
    """Check that the call returns the data of the reply, also in the next call."""
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
    """Check that a call waits as long as it has to, and no longer than it may."""
    rule = rule_of(fault.kind, row.name)
    if unbounded(fault.kind, row.name):
        assert outcome.seconds > DEADLINE or outcome.error is None
        return
    least, most = fault.waits
    if rule.attempts[SAFETIES.index(row.safety)] == max(rule.attempts):
        assert outcome.seconds >= least
    assert outcome.seconds <= min(most, DEADLINE) + 1e-6


def check_leavings(fault: Fault, row: Operation, outcome: Outcome) -> None:
    """Check that the call leaves no exchange open, and the closed client no connection."""
    assert outcome.clinging == 0
    assert outcome.open == 0
    assert outcome.written < outcome.arrivals * (LIMIT + BUFFERED) + 1000


def check_secrets(fault: Fault, row: Operation, outcome: Outcome) -> None:
    """Check that neither the error nor the client exposes a secret."""
    assert outcome.secrets
    outcome.recorder.check(*outcome.secrets)


CHECKS = (check_error, check_deeds, check_answer, check_time, check_leavings, check_secrets)


@pytest.mark.parametrize(("fault", "row"), CELLS)
def test_cell(fault: Fault, row: Operation) -> None:
    """An operation keeps all promises during and after the fault."""
    outcome = observe(fault.name).cells[row.name]
    for check in CHECKS:
        check(fault, row, outcome)


@each_fault
def test_log(fault: Fault) -> None:
    """The log has every attempt and no secret, even if all loggers are at DEBUG."""
    observed = observe(fault.name)
    for name, outcome in observed.cells.items():
        assert f"portsip_async {name} attempt=1 " in observed.log
        for secret in outcome.secrets:
            assert not [form for form in forms(secret) if form in observed.log]


@each_fault
def test_leaves_nothing_open(fault: Fault) -> None:
    """No task and no file stays open, and no other host gets a request."""
    observed = observe(fault.name)
    assert observed.tasks == 0
    assert observed.files == 0
    assert observed.elsewhere == 0
