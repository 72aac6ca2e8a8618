"""Money back to the buyer: the value leaves the vouchers first, then Stripe is asked, and a refusal puts it back.

The only writer of refunds. Stripe's word is final (`settle`); a refund that somebody made at Stripe itself freezes the
vouchers until a person decides what becomes of them (`decide`).
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from database import transaction
from domain import clock, disputes, entries, freezes, fulfilment, ledger, refund_room, refusals, timeline
from domain.states import (
    MOVING,
    UNANSWERED,
    DisputeKind,
    DisputeState,
    EntryKind,
    PaymentState,
    RefundOrigin,
    RefundState,
)
from domain.vouchers import STRIPE
from models import Dispute, Entry, Order, Payment, Refund

# When Stripe is asked again about a refund without a last word; the last gap repeats.
CHECK_GAPS = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 30, 360))
# Stripe remembers an idempotency key for 24 hours. Later the same key could send the money twice.
KEY_LIFE = timedelta(hours=23)
AT_STRIPE = "refund_at_stripe"
_NO_PARTS: Mapping[int, int] = {}
_STATES = {
    "pending": RefundState.PENDING,
    "requires_action": RefundState.PENDING,
    "succeeded": RefundState.SUCCEEDED,
    "failed": RefundState.FAILED,
    "canceled": RefundState.FAILED,
}


class RefundReport(Protocol):
    """What the payment gateway says about a refund now (gateways.stripe_refunds.RefundReport)."""

    @property
    def id(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def amount_minor(self) -> int: ...
    @property
    def currency(self) -> str: ...
    @property
    def reference(self) -> str: ...
    @property
    def failure_reason(self) -> str: ...
    @property
    def account(self) -> str: ...


class ReportDiffers(Exception):
    """Stripe speaks of another amount than this refund has: nothing may be concluded, a person has to look."""


def ask(
    order: Order, amounts: Mapping[int, int], *, nonce: str, actor: str, reason: str = "", is_insisting: bool = False
) -> Refund:
    """Take the amounts (unit number → minor units) off the vouchers and write down that Stripe is to be asked.

    The same nonce gives the same refund. More than the unused part needs `is_insisting`. Raises RefundTooLarge,
    PaymentContested, and AlreadyUsed for an order that is not paid.
    """
    public_id = f"rfd_{nonce}"
    with transaction():
        order = freezes.lock(order)
        known = _asked_before(order, public_id)
        if known is not None:
            return known
        found = refund_room.of(order)
        if found.payment is None or order.payment_state != PaymentState.PAID:
            raise refusals.AlreadyUsed("This order is not paid, so nothing can go back.")
        _require_uncontested(order)
        refund_room.check(found, amounts, is_insisting=is_insisting)
        refund = _write(found.payment, public_id, sum(amounts.values()), actor=actor, reason=reason, parts=amounts)
        # A payment that was accepted although it was too small: with all of it back, nothing of the vouchers stays.
        is_all_back = refund_room.is_all_back(order)
        for each in found.units:
            amount_minor = each.unused_minor if is_all_back else amounts.get(each.unit.unit_no, 0)
            if amount_minor:
                _take_off(refund, each, amount_minor)
    return refund


def ask_held(payment: Payment, *, nonce: str, actor: str, reason: str = "") -> Refund:
    """Send back all of a payment that was held: it did not fit its order, so no voucher hangs on it.

    Raises NothingToDecide when it is not held any more, or on its way back already.
    """
    public_id = f"rfd_{nonce}"
    with transaction():
        order = freezes.lock(payment.order)
        payment = Payment.get_by_id(payment.id)
        known = _asked_before(order, public_id)
        if known is not None:
            return known
        left_minor = refund_room.left_minor(payment) if payment.payment_intent_id is not None else 0
        if payment.state != PaymentState.REVIEW or left_minor <= 0:
            raise refusals.NothingToDecide("This payment is not held any more.")
        return _write(payment, public_id, left_minor, actor=actor, reason=reason)


def settle(refund: Refund, report: RefundReport) -> Refund:
    """Bring a refund to what Stripe says of it, once, with everything that follows for vouchers and order."""
    with transaction():
        order = freezes.lock(refund.order)
        return _settle(Refund.get_by_id(refund.id), order, report)


def deny(refund: Refund, *, failure: str) -> Refund:
    """Stripe refused the refund, or never heard of it: the value goes back onto the vouchers."""
    with transaction():
        order = freezes.lock(refund.order)
        refund = Refund.get_by_id(refund.id)
        if refund.state == RefundState.ASKED:
            _fail(refund, order, failure=failure)
    return Refund.get_by_id(refund.id)


def learn(payment: Payment, reports: Iterable[RefundReport]) -> list[Refund]:
    """What Stripe knows of a payment's refunds: ours are settled, unknown ones were made there and freeze the vouchers.

    Returns those that are new to us.
    """
    fresh = []
    with transaction():
        order = freezes.lock(payment.order)
        payment = Payment.get_by_id(payment.id)
        for report in reports:
            known = _known(payment, report)
            if known is not None:
                _settle(known, order, report)
            else:
                fresh.append(_adopt(payment, order, report))
    return fresh


def decide(refund: Refund, *, is_taken_off: bool, actor: str) -> None:
    """What becomes of the vouchers after a refund made at Stripe: their value goes, or they stay as they are.

    Raises NothingToDecide when somebody else was faster.
    """
    with transaction():
        order = freezes.lock(refund.order)
        refund = Refund.get_by_id(refund.id)
        if refund.origin != RefundOrigin.STRIPE or refund.decided_at is not None or refund.state not in MOVING:
            raise refusals.NothingToDecide("Somebody has decided this before.")
        taken_minor = 0
        if is_taken_off:
            taken_minor = freezes.take_off(
                order, amount_minor=refund.amount_minor, key=idempotency_key(refund), reason=AT_STRIPE, actor=actor
            )
            if refund_room.is_all_back(order):
                fulfilment.skip_open(order, code="refunded")
        Refund.update(decided_at=clock.now()).where(Refund.id == refund.id).execute()
        timeline.record(
            order.merchant, "refund_decided", order=order, actor=actor, is_taken_off=is_taken_off,
            amount_minor=taken_minor,
        )  # fmt: skip
        if not (is_taken_off and refund_room.is_all_back(order)):
            freezes.thaw(order, actor=actor, reason=AT_STRIPE)


def postpone(refund: Refund) -> None:
    """Stripe gave no answer, or has none yet: ask again after the next gap."""
    with transaction():
        _postpone(Refund.get_by_id(refund.id))


def to_ask(at: datetime) -> list[Refund]:
    """Refunds without a last word that Stripe should be asked about now."""
    due = Refund.next_check_at.is_null(False) & (Refund.next_check_at <= at)
    return list(Refund.select().where(Refund.state.in_(UNANSWERED), due).order_by(Refund.next_check_at).limit(50))


def idempotency_key(refund: Refund) -> str:
    """The key of the one request that sends this refund's money, and of what it took off the vouchers."""
    return f"refund:{refund.public_id}"


def is_key_fresh(refund: Refund) -> bool:
    """True while Stripe is sure to remember the key: the same request again cannot send the money twice."""
    age: timedelta = clock.now() - refund.created_at
    return age < KEY_LIFE


def _asked_before(order: Order, public_id: str) -> Refund | None:
    """The refund of this nonce. Raises AlreadyUsed when it was for another order."""
    known: Refund | None = Refund.get_or_none(Refund.public_id == public_id)
    if known is not None and known.order_id != order.id:
        raise refusals.AlreadyUsed("This form belongs to another order.")
    return known


def _require_uncontested(order: Order) -> None:
    held = (Dispute.state == DisputeState.OPEN) & (Dispute.kind == DisputeKind.DISPUTE)
    if order.disputes.where(held | (Dispute.state == DisputeState.LOST)).exists():
        raise refusals.PaymentContested("The bank holds the money of this payment; answer the dispute at Stripe.")


def _write(
    payment: Payment,
    public_id: str,
    amount_minor: int,
    *,
    actor: str,
    reason: str,
    parts: Mapping[int, int] = _NO_PARTS,
) -> Refund:
    now = clock.now()
    refund = Refund.create(
        public_id=public_id,
        merchant=payment.merchant_id,
        order=payment.order_id,
        payment=payment,
        account=payment.account,
        origin=RefundOrigin.DASHBOARD,
        amount_minor=amount_minor,
        currency=payment.received_currency or payment.currency,
        parts={str(unit_no): part for unit_no, part in parts.items() if part},
        actor=actor,
        reason=reason,
        next_check_at=now + CHECK_GAPS[0],
        created_at=now,
        decided_at=now,
    )
    _tell(refund, "refund_asked", actor=actor, reason=reason)
    return refund


def _take_off(refund: Refund, each: refund_room.UnitRoom, amount_minor: int) -> None:
    if each.voucher is not None:
        ledger.void(
            each.voucher.id,
            amount_minor=amount_minor,
            reason=refund.reason or "refund",
            operation_key=f"{idempotency_key(refund)}:{each.unit.unit_no}",
            actor=refund.actor,
        )
    if each.voucher is None or entries.lock(each.voucher.id).balance_minor == 0:
        fulfilment.skip_open(refund.order, code="refunded", unit_nos={each.unit.unit_no})


def _settle(refund: Refund, order: Order, report: RefundReport) -> Refund:
    state = _STATES.get(report.status)
    if (report.amount_minor, report.currency) != (refund.amount_minor, refund.currency) or state is None:
        raise ReportDiffers(f"Stripe's refund {report.id} is not our {refund.public_id}: {report}")
    if refund.refund_id is None:
        Refund.update(refund_id=report.id).where(Refund.id == refund.id).execute()
        refund.refund_id = report.id
    if state == refund.state or refund.state == RefundState.FAILED:
        _postpone(refund)
    elif state == RefundState.FAILED:
        _fail(refund, order, failure=report.failure_reason or report.status)
    elif state == RefundState.SUCCEEDED:
        _succeed(refund, order)
    elif refund.state == RefundState.ASKED:
        Refund.update(state=state).where(Refund.id == refund.id).execute()
        refund.state = state
        _postpone(refund)
        _tell(refund, "refund_pending")
    return refund


def _succeed(refund: Refund, order: Order) -> None:
    now = clock.now()
    Refund.update(state=RefundState.SUCCEEDED, ended_at=now, next_check_at=None).where(Refund.id == refund.id).execute()
    refund.state = RefundState.SUCCEEDED
    _tell(refund, "refund_succeeded")
    if refund.payment.state == PaymentState.REVIEW:
        _return(refund.payment, order)
    for void in _voids(refund):
        freezes.end_if_unused(void.voucher_id, actor=refund.actor, reason="refund")
    if refund_room.is_all_back(order):
        disputes.close_warnings(order)


def _fail(refund: Refund, order: Order, *, failure: str) -> None:
    now = clock.now()
    Refund.update(
        state=RefundState.FAILED, failure=failure[:500], ended_at=now, next_check_at=None,
        decided_at=refund.decided_at or now,
    ).where(Refund.id == refund.id).execute()  # fmt: skip
    refund.state = RefundState.FAILED
    _tell(refund, "refund_failed", failure=failure[:500])
    for void in _voids(refund):
        ledger.undo_void(void, reason="refund_failed", actor=STRIPE)
    fulfilment.resume(order, codes={"refunded"}, unit_nos={int(unit_no) for unit_no in refund.parts})
    freezes.thaw(order, actor=STRIPE, reason="refund_failed")


def _return(payment: Payment, order: Order) -> None:
    """A held payment went back whole: it needs nobody any more."""
    if refund_room.left_minor(payment) > 0:
        return
    Payment.update(state=PaymentState.RETURNED).where(Payment.id == payment.id).execute()
    timeline.record(
        order.merchant,
        "payment_returned",
        order=order,
        actor=STRIPE,
        amount_minor=payment.received_minor,
        currency=payment.received_currency or payment.currency,
    )
    Order.update(payment_state=PaymentState.RETURNED).where(
        Order.id == order.id, Order.payment_state == PaymentState.REVIEW
    ).execute()


def _adopt(payment: Payment, order: Order, report: RefundReport) -> Refund:
    state, now = _STATES.get(report.status, RefundState.PENDING), clock.now()
    is_over = state in (RefundState.SUCCEEDED, RefundState.FAILED)
    # Nothing hangs on a payment that made no voucher, and nothing changed where no money moved.
    asks = payment.state == PaymentState.PAID and state in MOVING
    refund = Refund.create(
        public_id=entries.new_public_id("rfd"),
        merchant=payment.merchant_id,
        order=order,
        payment=payment,
        account=payment.account,
        refund_id=report.id,
        origin=RefundOrigin.STRIPE,
        state=state,
        amount_minor=report.amount_minor,
        currency=report.currency,
        actor=STRIPE,
        failure=(report.failure_reason or report.status) if state == RefundState.FAILED else None,
        next_check_at=None if is_over else now + CHECK_GAPS[0],
        ended_at=now if is_over else None,
        decided_at=None if asks else now,
    )
    _tell(refund, "refund_found", state=str(state))
    if asks:
        freezes.freeze(order, reason=AT_STRIPE)
    elif payment.state == PaymentState.REVIEW and state == RefundState.SUCCEEDED:
        _return(payment, order)
    if state == RefundState.SUCCEEDED and refund_room.is_all_back(order):
        disputes.close_warnings(order)
    return refund


def _known(payment: Payment, report: RefundReport) -> Refund | None:
    same = Refund.select().where(Refund.payment == payment)
    known: Refund | None = same.where(Refund.refund_id == report.id).first()
    if known is None and report.reference:
        known = same.where(Refund.public_id == report.reference, Refund.refund_id.is_null()).first()
    return known


def _voids(refund: Refund) -> list[Entry]:
    return list(
        Entry.select()
        .where(Entry.merchant == refund.merchant_id, Entry.kind == EntryKind.VOID)
        .where(Entry.operation_key.startswith(f"{idempotency_key(refund)}:"))
        .order_by(Entry.voucher)
    )


def _postpone(refund: Refund) -> None:
    if refund.state not in UNANSWERED:
        return
    gap = CHECK_GAPS[min(refund.checks, len(CHECK_GAPS) - 1)]
    Refund.update(checks=Refund.checks + 1, next_check_at=clock.now() + gap).where(Refund.id == refund.id).execute()


def _tell(refund: Refund, kind: str, *, actor: str = STRIPE, **facts: Any) -> None:
    timeline.record(
        refund.merchant,
        kind,
        order=refund.order,
        actor=actor,
        amount_minor=refund.amount_minor,
        currency=refund.currency,
        refund_id=refund.refund_id,
        **facts,
    )
