"""The seven checks: each one alone, and with two faults at once the first in the promised order."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from domain import validation
from domain.validation import Step
from models import Voucher

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
ORDER = ("lookup", "status", "expiry", "balance", "currency", "ownership", "coverage")


def _voucher(**changes: object) -> Voucher:
    facts: dict[str, object] = {"currency": "EUR", "balance_minor": 5000, "held_minor": 0, "status": "active"}
    return Voucher(**(facts | {"is_transferable": True, "customer_id": None} | changes))


def _check(voucher: Voucher | None, amount_minor: int = 3000, customer_id: str | None = None) -> validation.Verdict:
    return validation.check(voucher, amount_minor=amount_minor, currency="EUR", customer_id=customer_id, at=NOW)


# What is wrong with the voucher → the step that must find it and the code that it reports.
FAULTS: dict[str, tuple[dict[str, object], Step, str]] = {
    "pending": ({"status": "pending"}, Step.STATUS, "voucher_inactive"),
    "suspended": ({"status": "suspended"}, Step.STATUS, "voucher_inactive"),
    "cancelled": ({"status": "cancelled"}, Step.STATUS, "voucher_inactive"),
    "not started": ({"valid_from": NOW + timedelta(seconds=1)}, Step.EXPIRY, "voucher_not_started"),
    "expired": ({"expires_at": NOW - timedelta(seconds=1)}, Step.EXPIRY, "voucher_expired"),
    "empty": ({"balance_minor": 0}, Step.BALANCE, "voucher_depleted"),
    "all held": ({"held_minor": 5000}, Step.BALANCE, "voucher_depleted"),
    "foreign money": ({"currency": "CHF"}, Step.CURRENCY, "currency_mismatch"),
    "somebody's own": (
        {"is_transferable": False, "customer_id": "anna"},
        Step.OWNERSHIP,
        "voucher_not_transferable",
    ),
}
PAIRS = [pair for pair in itertools.combinations(FAULTS, 2) if FAULTS[pair[0]][1] != FAULTS[pair[1]][1]]


@pytest.mark.req("S2-11")
def test_the_checks_come_in_the_promised_order() -> None:
    assert tuple(Step) == ORDER
    assert tuple(_check(_voucher()).results) == ORDER


@pytest.mark.req("S2-11")
def test_a_good_voucher_passes_every_check() -> None:
    verdict = _check(_voucher())
    assert verdict.is_valid
    assert set(verdict.results.values()) == {"pass"}


@pytest.mark.req("S2-12")
def test_an_unknown_code_fails_the_look_up_and_skips_the_rest() -> None:
    verdict = _check(None)
    assert verdict.refusal is not None and verdict.refusal.code == "voucher_not_found"
    assert list(verdict.results.values()) == ["fail"] + ["skipped"] * 6
    assert verdict.calculation is None


@pytest.mark.req("S2-13", "S2-14", "S2-15", "S2-16", "S2-17")
@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_reported_by_its_own_step(fault: str) -> None:
    changes, step, code = FAULTS[fault]
    verdict = _check(_voucher(**changes))
    assert verdict.refusal is not None and verdict.refusal.code == code
    before, after = ORDER[: ORDER.index(step)], ORDER[ORDER.index(step) + 1 :]
    assert {verdict.results[Step(name)] for name in before} == {"pass"}
    assert verdict.results[step] == "fail"
    assert {verdict.results[Step(name)] for name in after} == {"skipped"}


@pytest.mark.req("S2-11")
@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_of_two_faults_the_first_in_the_order_is_reported(one: str, other: str) -> None:
    first, second = sorted((FAULTS[one], FAULTS[other]), key=lambda fault: ORDER.index(fault[1]))
    verdict = _check(_voucher(**(second[0] | first[0])))
    assert verdict.refusal is not None and verdict.refusal.code == first[2]


def test_the_last_moment_of_the_validity_still_counts() -> None:
    assert _check(_voucher(expires_at=NOW)).is_valid
    assert _check(_voucher(valid_from=NOW)).is_valid


def test_the_owner_may_use_a_personal_voucher() -> None:
    personal = _voucher(is_transferable=False, customer_id="anna")
    assert _check(personal, customer_id="anna").is_valid
    assert not _check(personal, customer_id="ANNA").is_valid
    assert _check(_voucher(is_transferable=False)).is_valid


@pytest.mark.req("S2-18", "S2-19", "S2-20", "F50")
@pytest.mark.parametrize(
    ("available", "requested", "taken", "left", "still_to_pay", "covers"),
    [
        (5000, 3000, 3000, 2000, 0, True),
        (5000, 5000, 5000, 0, 0, True),
        (5000, 5001, 5000, 0, 1, False),
        (5000, 4999, 4999, 1, 0, True),
        (1, 1, 1, 0, 0, True),
        (1, 10**15, 1, 0, 10**15 - 1, False),
    ],
)
def test_the_sums_add_up_at_every_boundary(
    available: int, requested: int, taken: int, left: int, still_to_pay: int, covers: bool
) -> None:
    sums = validation.calculate(available, requested)
    assert (sums.applicable_amount_minor, sums.remaining_voucher_balance_minor) == (taken, left)
    assert (sums.remaining_order_amount_minor, sums.covers_full_amount) == (still_to_pay, covers)


def test_held_money_is_not_offered() -> None:
    verdict = _check(_voucher(held_minor=4000))
    assert verdict.calculation is not None and verdict.calculation.applicable_amount_minor == 1000


@pytest.mark.req("F51")
def test_another_currency_is_refused_before_any_amount_is_looked_at() -> None:
    verdict = _check(_voucher(currency="JPY"), amount_minor=10**15)
    assert verdict.refusal is not None and verdict.refusal.code == "currency_mismatch"
    assert verdict.calculation is None
