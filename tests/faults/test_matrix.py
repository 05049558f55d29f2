"""Every operation with every fault: the error, the number of requests, and open resources."""

import pytest

import portsip_async
from portsip_async import PortSIPError, v22

from ..test_secrecy import forms
from .cases import CASES, CLASSIC, OF_EACH_KIND, V22, Case
from .catalogue import BY_NAME, DEADLINE, LIMIT, REPRESENTATIVES, Fault, cases_of
from .cells import Outcome, observe
from .rules import EXEMPTIONS, RULES, SAFETIES, rule_of, unbounded

# Bytes in the buffers of sockets and streams that were sent but not read.
BUFFERED = 32 * 2**20

CELLS = [
    pytest.param(fault, case, id=f"{fault.name}-{case.id}")
    for fault in BY_NAME.values()
    for case in cases_of(fault)
]
each_fault = pytest.mark.parametrize("fault", BY_NAME.values(), ids=BY_NAME)


def test_every_operation_and_rule_is_used() -> None:
    """The matrix contains every operation, and every rule and exemption is used."""
    for generation, endpoints in ((CLASSIC, portsip_async.ENDPOINTS), (V22, v22.ENDPOINTS)):
        cases = {case.name: case for case in CASES if case.generation == generation}
        assert {name: case.safety for name, case in cases.items()} == {
            name: row.safety for name, row in endpoints.items()
        }
        assert all((case.good is None) == (case.endpoint.reply is None) for case in cases.values())
    assert {fault.kind for fault in BY_NAME.values()} == set(RULES)
    assert all(any(map(exemption.applies, CASES)) for exemption in EXEMPTIONS)


def test_every_operation_of_v22_has_each_kind_of_fault() -> None:
    """One fault of each kind hits all operations, and the others an operation of each kind."""
    assert {BY_NAME[name].kind for name in REPRESENTATIVES} == set(RULES)
    for fault in BY_NAME.values():
        ids = {case.id for case in CASES if case.generation == V22 and fault.where(case)}
        expected = ids if fault.name in REPRESENTATIVES else ids & OF_EACH_KIND
        assert {case.id for case in cases_of(fault) if case.generation == V22} == expected


def check_error(fault: Fault, case: Case, outcome: Outcome) -> None:
    """Check that the error, its attributes and the number of attempts follow the rule."""
    rule = rule_of(fault.kind, case)
    attempts = rule.attempts[SAFETIES.index(case.safety)]
    error = outcome.error
    assert type(error) is (rule.error or type(None))
    assert outcome.arrivals == (attempts if rule.arrives else 0)
    if isinstance(error, PortSIPError):
        assert error.operation == case.name
        assert error.attempts == attempts
        assert error.page == (1 if case.endpoint.pages else None)
        assert error.may_have_acted is (rule.in_doubt and case.safety != "safe")


def check_deeds(fault: Fault, case: Case, outcome: Outcome) -> None:
    """Check that the result of the call agrees with what the server did."""
    if case.safety == "unsafe":
        assert outcome.acted <= 1
    if outcome.error is None:
        assert outcome.acted == 1
    elif outcome.acted and case.safety != "safe":
        assert isinstance(outcome.error, PortSIPError)
        assert outcome.error.may_have_acted


def check_answer(fault: Fault, case: Case, outcome: Outcome) -> None:
    """Check that the call returns the data of the reply, also in the next call."""
    assert outcome.error_afterwards is None
    answers = (
        [outcome.afterwards] if outcome.error is not None else [outcome.value, outcome.afterwards]
    )
    for answer in answers:
        was_read, text = case.reads(answer)
        assert was_read
        assert text is None or (isinstance(text, str) and text.encode())
    assert outcome.acted_afterwards == 1


def check_time(fault: Fault, case: Case, outcome: Outcome) -> None:
    """Check that a call waits as long as it has to, and no longer than it may."""
    rule = rule_of(fault.kind, case)
    if unbounded(fault.kind, case):
        assert outcome.seconds > DEADLINE or outcome.error is None
        return
    least, most = fault.waits
    if rule.attempts[SAFETIES.index(case.safety)] == max(rule.attempts):
        assert outcome.seconds >= least
    assert outcome.seconds <= min(most, DEADLINE) + 1e-6


def check_leavings(fault: Fault, case: Case, outcome: Outcome) -> None:
    """Check that the call leaves no exchange open, and the closed client no connection."""
    assert outcome.clinging == 0
    assert outcome.open == 0
    assert outcome.written < outcome.arrivals * (LIMIT + BUFFERED) + 1000


def check_secrets(fault: Fault, case: Case, outcome: Outcome) -> None:
    """Check that neither the error nor the client exposes a secret."""
    assert outcome.secrets
    outcome.recorder.check(*outcome.secrets)


CHECKS = (check_error, check_deeds, check_answer, check_time, check_leavings, check_secrets)


@pytest.mark.parametrize(("fault", "case"), CELLS)
def test_cell(fault: Fault, case: Case) -> None:
    """An operation keeps all promises during and after the fault."""
    outcome = observe(fault.name).cells[case.id]
    for check in CHECKS:
        check(fault, case, outcome)


@each_fault
def test_log(fault: Fault) -> None:
    """The log has every attempt and no secret, even if all loggers are at DEBUG."""
    observed = observe(fault.name)
    for name, outcome in observed.cells.items():
        assert f"portsip_async {name.removeprefix('v22 ')} attempt=1 " in observed.log
        for secret in outcome.secrets:
            assert not [form for form in forms(secret) if form in observed.log]


@each_fault
def test_leaves_nothing_open(fault: Fault) -> None:
    """No task and no file stays open, and no other host gets a request."""
    observed = observe(fault.name)
    assert observed.tasks == 0
    assert observed.files == 0
    assert observed.elsewhere == 0
