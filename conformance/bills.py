"""A bill at the till: is the voucher good, how much does it pay, and who refuses it why."""

from functools import partial

from conformance.contract import Check, Power, require, require_available, require_problem, require_that
from conformance.desk import Desk

STEPS = ("lookup", "status", "expiry", "balance", "currency", "ownership", "coverage")
_TAKE = (Power.VALIDATE, Power.REDEEM)
# (kind of test code, error, the step that finds it)
STATES = (
    ("USEDUP", "voucher_depleted", "balance"),
    ("EXPIRED", "voucher_expired", "expiry"),
    ("NOTYET", "voucher_not_started", "expiry"),
    ("BLOCKED", "voucher_inactive", "status"),
    ("PENDING", "voucher_inactive", "status"),
    ("CANCELLED", "voucher_inactive", "status"),
    ("FOREIGN", "currency_mismatch", "currency"),
    ("PERSONAL", "voucher_not_transferable", "ownership"),
)
# (kind, error) when the bill is in another currency as well: the first step in order is the one that is told.
TWO_FAULTS = (
    ("BLOCKED", "voucher_inactive"),
    ("EXPIRED", "voucher_expired"),
    ("USEDUP", "voucher_depleted"),
    ("PERSONAL", "currency_mismatch"),
)


def _good(desk: Desk) -> None:
    code = desk.fresh("VALID")
    answer = require(
        desk.validate(code, 1200), 200,
        valid=True, error=None, voucher__balance_minor=5000, voucher__available_minor=5000,
        voucher__initial_balance_minor=5000, voucher__currency=desk.currency, voucher__status="active",
        calculation__requested_amount_minor=1200, calculation__applicable_amount_minor=1200,
        calculation__remaining_voucher_balance_minor=3800, calculation__remaining_order_amount_minor=0,
        calculation__covers_full_amount=True,
    )  # fmt: skip
    checks = [(each.get("step"), each.get("result")) for each in answer.at("checks") or []]
    is_passed = checks == [(step, "pass") for step in STEPS]
    require_that(is_passed, "seven checks in order, all pass", answer, came=str(checks))
    for language in ("de", "en"):
        require_that(bool(answer.at(f"display.{language}")), f"display.{language}", answer, came="no sentence")
    ending = code.rpartition("-")[2].encode()
    require_that(ending not in answer.raw.lower(), "no answer that holds the code", answer, came="the code is in it")


def _part(desk: Desk) -> None:
    require(
        desk.validate(desk.fresh("PART"), 3000), 200,
        valid=True, voucher__balance_minor=2500, voucher__initial_balance_minor=5000,
        calculation__applicable_amount_minor=2500, calculation__remaining_order_amount_minor=500,
        calculation__covers_full_amount=False,
    )  # fmt: skip


def _unknown(desk: Desk) -> None:
    answer = desk.validate("7KQ4-0000-0000-0000")
    require(answer, 200, valid=False, error="voucher_not_found", voucher=None, calculation=None)
    require_problem(desk.call("POST /vouchers/lookup", {"code": "7KQ4-0000-0000-0000"}), 404, "voucher_not_found")


def _state(kind: str, error: str, step: str, desk: Desk) -> None:
    answer = require(desk.validate(desk.fresh(kind)), 200, valid=False, error=error, calculation=None)
    results = {each.get("step"): each.get("result") for each in answer.at("checks") or []}
    before, after = STEPS[: STEPS.index(step)], STEPS[STEPS.index(step) + 1 :]
    expected = dict.fromkeys(before, "pass") | {step: "fail"} | dict.fromkeys(after, "skipped")
    require_that(results == expected, f"{step} fails and what follows is skipped", answer, came=str(results))
    require_that(bool(answer.at("display.de")), "a sentence for the till", answer, came="none")


def _order(desk: Desk) -> None:
    for kind, error in TWO_FAULTS:
        require(desk.validate(desk.fresh(kind), currency=desk.other_currency), 200, error=error)


def _owner(desk: Desk) -> None:
    require(desk.validate(desk.fresh("PERSONAL"), customer_id="someone-else"), 200, valid=True)


def _asking_is_free(desk: Desk) -> None:
    code = desk.fresh("VALID")
    for _ in range(3):
        require(desk.validate(code, 5000), 200, voucher__available_minor=5000)


def _below(desk: Desk) -> None:
    code = desk.fresh("VALID")
    answer = require(
        desk.redeem(code, 1200, reference="R-1", terminal="T-1"), 201,
        transaction__type="redeem", transaction__amount_minor=-1200, transaction__balance_after_minor=3800,
        transaction__currency=desk.currency, transaction__reference="R-1", transaction__terminal="T-1",
        voucher__balance_minor=3800, calculation__remaining_order_amount_minor=0,
    )  # fmt: skip
    require_that(not answer.is_replay, "no Idempotent-Replayed on a first answer", answer)
    require_available(desk, code, 3800, after="a redemption of 1200 of 5000")


def _above(desk: Desk) -> None:
    code = desk.fresh("VALID", 2000)
    require(
        desk.redeem(code, 3500), 201,
        transaction__amount_minor=-2000, calculation__applicable_amount_minor=2000,
        calculation__remaining_order_amount_minor=1500, calculation__covers_full_amount=False,
        voucher__status="depleted",
    )  # fmt: skip
    require_problem(desk.redeem(code, 100), 422, "voucher_depleted")


def _exact(desk: Desk) -> None:
    code = desk.fresh("VALID", 2000)
    answer = require_problem(desk.redeem(code, 3500, mode="exact"), 409, "insufficient_balance")
    require(answer, 409, available_minor=2000)
    require_available(desk, code, 2000, after="an exact redemption that was refused")
    require(desk.redeem(code, 2000, mode="exact"), 201, transaction__amount_minor=-2000)


def _forgiving(desk: Desk) -> None:
    code = desk.fresh("VALID")
    require(desk.redeem(f"  {code.lower()} ", 1200), 201)
    require_available(desk, code, 3800, after="a redemption by the code in small letters")


def _refusals(desk: Desk) -> None:
    for kind, error, _ in STATES:
        answer = require_problem(desk.redeem(desk.fresh(kind)), 422, error)
        require_that(bool(answer.at("display.en")), "a sentence for the till", answer, came="no display")
    require_problem(desk.redeem("7KQ4-0000-0000-0000"), 404, "voucher_not_found")


CHECKS = (
    Check("validate-good", "a good voucher: seven checks, sums, two sentences, and never its code", _good),
    Check("validate-part", "a bill above the balance: what applies and what remains", _part),
    Check("validate-unknown", "a code that nobody has: valid=false, and 404 at the look-up", _unknown),
    *(
        Check(f"validate-{kind.lower()}", f"TEST-{kind} is refused as {error} by the check {step}",
              partial(_state, kind, error, step))
        for kind, error, step in STATES
    ),
    Check("validate-order", "with two faults the first in the order of the checks is told", _order),
    Check("validate-owner", "a personal voucher pays for its customer", _owner),
    Check("validate-free", "to ask books nothing", _asking_is_free),
    Check("redeem-below", "a bill below the balance: the bill is taken, the rest stays", _below, _TAKE),
    Check("redeem-above", "a bill above the balance: all of it is taken, the rest is still to pay", _above, _TAKE),
    Check("redeem-exact", "mode=exact: all or nothing, and how much there is", _exact, _TAKE),
    Check("redeem-typed", "a code in small letters and with spaces is the same code", _forgiving, _TAKE),
    Check("redeem-refused", "redeem refuses what validate refuses, with the same code", _refusals, _TAKE),
)  # fmt: skip
