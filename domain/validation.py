"""The seven checks, in the order that is promised to tills. Validate and redeem both decide here and nowhere else."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain import clock, refusals
from domain.states import VoucherStatus
from models import Voucher


class Step(StrEnum):
    """The checks in their order; with two faults at once the first one is reported."""

    LOOKUP = "lookup"
    STATUS = "status"
    EXPIRY = "expiry"
    BALANCE = "balance"
    CURRENCY = "currency"
    OWNERSHIP = "ownership"
    COVERAGE = "coverage"


@dataclass(frozen=True)
class Calculation:
    """What a redemption of `requested_amount_minor` would take and leave, all in minor units."""

    requested_amount_minor: int
    applicable_amount_minor: int
    remaining_voucher_balance_minor: int
    remaining_order_amount_minor: int
    covers_full_amount: bool


@dataclass(frozen=True)
class Verdict:
    """`refusal` is the first check that failed, or None; `results` has one of pass, fail, skipped for each step."""

    results: dict[Step, str]
    refusal: refusals.Refusal | None
    calculation: Calculation | None

    @property
    def is_valid(self) -> bool:
        return self.refusal is None


def check(
    voucher: Voucher | None, *, amount_minor: int, currency: str, customer_id: str | None, at: datetime
) -> Verdict:
    """Decide whether `voucher` may pay (a part of) `amount_minor` of `currency` at this moment."""
    results = dict.fromkeys(Step, "skipped")
    for step in Step:
        refusal = _refusal(step, voucher, currency=currency, customer_id=customer_id, at=at)
        results[step] = "pass" if refusal is None else "fail"
        if voucher is None or refusal is not None:
            return Verdict(results, refusal, None)
    return Verdict(results, None, calculate(voucher.available_minor if voucher else 0, amount_minor))


def require(
    voucher: Voucher, *, amount_minor: int, currency: str, customer_id: str | None, is_exact: bool
) -> Calculation:
    """The sums of a redemption that may go ahead now.

    Raises the Refusal of the first check that fails, and InsufficientBalance when `is_exact` and the balance is short.
    """
    verdict = check(voucher, amount_minor=amount_minor, currency=currency, customer_id=customer_id, at=clock.now())
    if verdict.refusal is not None:
        raise verdict.refusal
    if verdict.calculation is None:
        raise RuntimeError("a verdict without refusal has a calculation")
    if is_exact and not verdict.calculation.covers_full_amount:
        raise refusals.InsufficientBalance(
            f"Only {voucher.available_minor} of {amount_minor} minor units are available.",
            available_minor=voucher.available_minor,
        )
    return verdict.calculation


def calculate(available_minor: int, requested_minor: int) -> Calculation:
    """The order amount when the balance covers it, else the whole balance and the rest still to pay."""
    applicable = min(available_minor, requested_minor)
    return Calculation(
        requested_amount_minor=requested_minor,
        applicable_amount_minor=applicable,
        remaining_voucher_balance_minor=available_minor - applicable,
        remaining_order_amount_minor=requested_minor - applicable,
        covers_full_amount=applicable == requested_minor,
    )


def _refusal(
    step: Step, voucher: Voucher | None, *, currency: str, customer_id: str | None, at: datetime
) -> refusals.Refusal | None:
    if voucher is None:
        return refusals.VoucherNotFound("No voucher of this merchant has this code.")
    if step == Step.STATUS:
        return _inactive(voucher)
    if step == Step.EXPIRY:
        return _out_of_time(voucher, at)
    if step == Step.BALANCE and voucher.available_minor <= 0:
        return refusals.VoucherDepleted("Nothing is left on this voucher.", available_minor=voucher.available_minor)
    if step == Step.CURRENCY and voucher.currency != currency:
        detail = f"This voucher is in {voucher.currency}, the bill in {currency}."
        return refusals.CurrencyMismatch(detail, currency=voucher.currency)
    if step == Step.OWNERSHIP and not _may_present(voucher, customer_id):
        return refusals.VoucherNotTransferable("This voucher may only be used by the customer it belongs to.")
    return None


def _may_present(voucher: Voucher, customer_id: str | None) -> bool:
    return voucher.is_transferable or not voucher.customer_id or voucher.customer_id == customer_id


def _inactive(voucher: Voucher) -> refusals.Refusal | None:
    if voucher.status == VoucherStatus.ACTIVE:
        return None
    return refusals.VoucherInactive(f"This voucher is {voucher.status}.", voucher_status=str(voucher.status))


def _out_of_time(voucher: Voucher, at: datetime) -> refusals.Refusal | None:
    if voucher.valid_from is not None and at < voucher.valid_from:
        starts = voucher.valid_from.isoformat()
        return refusals.VoucherNotStarted(f"This voucher is valid from {starts}.", valid_from=starts)
    if voucher.is_expired(at):
        ended = voucher.expires_at.isoformat()
        return refusals.VoucherExpired(f"This voucher expired at {ended}.", expires_at=ended)
    return None
