"""From a wish to a paid order: `place`, then `settle`, exactly once, whoever brings the news.

Webhook, return page, reconciler and button all call the one `settle` with what Stripe says now.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from database import locked, transaction
from domain import catalogue, clock, fulfilment, refusals, timeline
from domain.states import MOVING, PAYABLE, UNSETTLED, PaymentState
from models import Design, Merchant, Offer, Order, Payment, Refund, Unit

SESSION_LIFE = timedelta(minutes=60)
# Stripe wants a session to live for half an hour at least; an attempt that is older needs a new deadline.
SESSION_LEAST = timedelta(minutes=31)
# When the reconciler asks Stripe about a session that nobody has reported; the last gap repeats until it expires.
CHECK_GAPS = tuple(timedelta(minutes=minutes) for minutes in (2, 5, 15, 60))
_GRACE = timedelta(days=1)


@dataclass(frozen=True)
class UnitWish:
    """One voucher as the buyer wants it; `deliver_at` None means as soon as it is paid."""

    offer: Offer
    design: Design
    value_minor: int
    recipient_name: str = ""
    recipient_email: str = ""
    message: str = ""
    deliver_at: datetime | None = None


@dataclass(frozen=True)
class Wish:
    """A whole order form. `nonce` comes with the form, so that the same form sent twice is one order."""

    buyer_name: str
    buyer_email: str
    locale: str
    units: Sequence[UnitWish]
    nonce: str


class SessionReport(Protocol):
    """What the payment gateway says about a session now (gateways.stripe_checkout.Session)."""

    @property
    def id(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def payment_status(self) -> str: ...
    @property
    def amount_total_minor(self) -> int: ...
    @property
    def currency(self) -> str: ...
    @property
    def is_live(self) -> bool: ...
    @property
    def account(self) -> str: ...
    @property
    def reference(self) -> str: ...
    @property
    def payment_intent_id(self) -> str | None: ...
    @property
    def method(self) -> str | None: ...
    @property
    def has_failed(self) -> bool: ...


class Source(StrEnum):
    """Who brought the news; shown in the timeline."""

    WEBHOOK = "webhook"
    RETURN_PAGE = "return_page"
    RECONCILER = "reconciler"
    BUTTON = "button"


class Outcome(StrEnum):
    """What `settle` made of a report."""

    SETTLED = "settled"
    ALREADY_SETTLED = "already_settled"
    STILL_OPEN = "still_open"
    PROCESSING = "processing"
    EXPIRED = "expired"
    FAILED = "failed"
    HELD = "held"


_DECIDED = {
    PaymentState.PAID: Outcome.ALREADY_SETTLED,
    PaymentState.REVIEW: Outcome.HELD,
    PaymentState.RETURNED: Outcome.ALREADY_SETTLED,
}
# A held payment may be released when these alone differ: the owner knows better than a comparison. What was paid twice,
# in the other mode or to somebody else is nothing that a voucher can be made for.
_FORGIVABLE = frozenset({"amount_minor", "currency", "reference", "payment_status"})


def place(merchant: Merchant, wish: Wish, *, ref: str, is_test: bool) -> Order:
    """Write down an order that waits for its payment; the same wish again gives the same order.

    `ref` is a fresh random ref. Raises FieldsRefused with problems keyed like the form's fields (`amount`, `amount_2`).
    """
    _check_values(wish)
    place_key = _place_key(wish)
    with transaction():
        merchant = locked(Merchant.select().where(Merchant.id == merchant.id)).get()
        known = Order.get_or_none(Order.merchant == merchant, Order.place_key == place_key)
        if known is not None:
            return known
        merchant.order_count += 1
        merchant.save(only=[Merchant.order_count])
        order = Order.create(
            merchant=merchant,
            ref=ref,
            number=f"G-{10000 + merchant.order_count}",
            place_key=place_key,
            buyer_name=wish.buyer_name,
            buyer_email=wish.buyer_email,
            locale=wish.locale,
            currency=merchant.currency,
            total_minor=sum(unit.value_minor for unit in wish.units),
            is_test=is_test,
        )
        for unit_no, unit in enumerate(wish.units, start=1):
            _place_unit(order, merchant, unit, unit_no=unit_no)
        timeline.record(merchant, "order_placed", order=order, actor="buyer", total_minor=order.total_minor)
    return order


def open_payment(order: Order, *, is_live: bool) -> Payment:
    """The payment that a new or repeated Checkout session belongs to.

    Its idempotency key is stored before Stripe is called, so a lost answer never opens two sessions. An expired
    attempt is followed by a fresh one; raises AlreadyUsed when the order is paid or under review.
    """
    with transaction():
        order = locked(Order.select().where(Order.id == order.id)).get()
        if order.payment_state not in PAYABLE:
            raise refusals.AlreadyUsed("This order does not wait for a payment.")
        latest: Payment | None = order.latest_payment
        if latest is not None and latest.state == PaymentState.OPEN:
            if latest.expires_at > clock.now() + (timedelta() if latest.session_id else SESSION_LEAST):
                return latest
            if latest.session_id is None:
                _close(order, latest, PaymentState.EXPIRED, Outcome.EXPIRED)
        attempt = latest.attempt + 1 if latest is not None else 1
        if Order.get_by_id(order.id).payment_state != PaymentState.OPEN:
            Order.update(payment_state=PaymentState.OPEN).where(Order.id == order.id).execute()
        return Payment.create(
            order=order,
            merchant=order.merchant_id,
            attempt=attempt,
            account=order.merchant.stripe_account,
            idempotency_key=f"checkout:{order.ref}:{attempt}",
            amount_minor=order.total_minor,
            currency=order.currency,
            is_live=is_live,
            expires_at=clock.now() + SESSION_LIFE,
        )


def attach_session(payment: Payment, *, session_id: str, url: str | None) -> None:
    """Remember the session that Stripe opened for `payment` and when to ask about it."""
    with transaction():
        changed = (
            Payment.update(session_id=session_id, url=url, next_check_at=clock.now() + CHECK_GAPS[0])
            .where(Payment.id == payment.id, Payment.session_id.is_null())
            .execute()
        )
        if changed:
            timeline.record(
                payment.merchant, "checkout_opened", order=payment.order, session_id=session_id, attempt=payment.attempt
            )


def note_unreachable(payment: Payment, *, detail: str) -> None:
    """Write down that Stripe could not be reached when the buyer wanted to pay."""
    with transaction():
        timeline.record(payment.merchant, "checkout_unreachable", order=payment.order, detail=detail[:500])


def claim_check(payment: Payment, *, gap: timedelta, at: datetime) -> bool:
    """True for one caller in each `gap`: many open pages of one order ask Stripe once."""
    with transaction():
        is_free = Payment.asked_at.is_null() | (Payment.asked_at <= at - gap)
        return bool(Payment.update(asked_at=at).where(Payment.id == payment.id, is_free).execute())


def settle(payment: Payment, report: SessionReport, *, source: Source) -> Outcome:
    """Bring one payment and its order to what Stripe reports, exactly once, and plan the work of a paid order.

    Nothing but `paid` with the right amount, currency, account and mode settles; anything else that claims to be paid
    is held.
    """
    with transaction():
        order = locked(Order.select().where(Order.id == payment.order_id)).get()
        payment = Payment.get_by_id(payment.id)
        decided = _DECIDED.get(PaymentState(payment.state))
        if decided is not None:
            return decided
        _postpone_check(payment)
        if report.payment_status in ("paid", "no_payment_required"):
            return _settle_paid(order, payment, report, source=source)
        if report.status == "complete":
            return _note_delayed(order, payment, source=source, has_failed=report.has_failed)
        if report.status == "expired":
            return _close(order, payment, PaymentState.EXPIRED, Outcome.EXPIRED)
        return Outcome.STILL_OPEN


def can_release(payment: Payment) -> bool:
    """True for a held payment that an owner may accept as it is; not while it is on its way back."""
    is_going_back = Refund.select().where(Refund.payment == payment, Refund.state.in_(MOVING)).exists()
    is_forgivable = set(payment.differences or {"?": []}) <= _FORGIVABLE
    return payment.state == PaymentState.REVIEW and is_forgivable and not is_going_back


def release(payment: Payment, *, actor: str) -> None:
    """Accept a held payment as the price of its order. Raises NothingToDecide when it cannot be, or not any more."""
    with transaction():
        order = locked(Order.select().where(Order.id == payment.order_id)).get()
        payment = Payment.get_by_id(payment.id)
        if not can_release(payment) or order.payment_state != PaymentState.REVIEW:
            raise refusals.NothingToDecide("This payment is not held any more, or does not belong to this order.")
        paid_at = clock.now()
        Payment.update(state=PaymentState.PAID, paid_at=paid_at).where(Payment.id == payment.id).execute()
        Order.update(payment_state=PaymentState.PAID, paid_at=paid_at).where(Order.id == order.id).execute()
        timeline.record(order.merchant, "payment_released", order=order, actor=actor)
        fulfilment.plan(Order.get_by_id(order.id))


def note_missing(payment: Payment) -> None:
    """Stripe knows no such session. After its time and a day of grace nobody can have paid it: it is closed."""
    with transaction():
        order = locked(Order.select().where(Order.id == payment.order_id)).get()
        payment = Payment.get_by_id(payment.id)
        if payment.state in UNSETTLED and clock.now() > payment.expires_at + _GRACE:
            _close(order, payment, PaymentState.EXPIRED, Outcome.EXPIRED)
        else:
            _postpone_check(payment)


def payments_to_check(at: datetime) -> list[Payment]:
    """Payments that the reconciler should ask Stripe about now."""
    is_due = Payment.next_check_at.is_null(False) & (Payment.next_check_at <= at)
    return list(
        Payment.select().where(Payment.state.in_(UNSETTLED), Payment.session_id.is_null(False), is_due).limit(50)
    )


def payments_in_doubt() -> list[Payment]:
    """Every payment that may still turn into money, due or not: what `flask reconcile` asks about."""
    return list(Payment.select().where(Payment.state.in_(UNSETTLED), Payment.session_id.is_null(False)))


def postpone_check(payment: Payment) -> None:
    """Stripe did not answer: ask again after the next gap."""
    with transaction():
        _postpone_check(Payment.get_by_id(payment.id))


def expire_unopened(at: datetime) -> int:
    """Close orders whose Checkout session never came to be; returns how many."""
    stale = Payment.select().where(
        Payment.state == PaymentState.OPEN, Payment.session_id.is_null(), Payment.expires_at < at
    )
    count = 0
    for payment in list(stale.limit(100)):
        with transaction():
            order = locked(Order.select().where(Order.id == payment.order_id)).get()
            fresh = Payment.get_by_id(payment.id)
            if fresh.state == PaymentState.OPEN and fresh.session_id is None:
                _close(order, fresh, PaymentState.EXPIRED, Outcome.EXPIRED)
                count += 1
    return count


def _check_values(wish: Wish) -> None:
    problems = {}
    for unit_no, unit in enumerate(wish.units, start=1):
        if not catalogue.is_sold_at(unit.offer, unit.value_minor):
            problems["amount" if unit_no == 1 else f"amount_{unit_no}"] = ("out_of_range", "not sold at this value")
    if problems:
        raise refusals.FieldsRefused(problems)


def _place_key(wish: Wish) -> str:
    units = [
        [u.offer.id, u.design.id, u.value_minor, u.recipient_name, u.recipient_email, u.message, str(u.deliver_at)]
        for u in wish.units
    ]
    content = json.dumps([wish.nonce, wish.buyer_name, wish.buyer_email, wish.locale, units])
    return hashlib.sha256(content.encode()).hexdigest()


def _place_unit(order: Order, merchant: Merchant, wish: UnitWish, *, unit_no: int) -> None:
    Unit.create(
        order=order,
        unit_no=unit_no,
        offer=wish.offer,
        design=wish.design,
        title=wish.offer.title,
        layout=wish.design.layout,
        accent=wish.design.accent,
        value_minor=wish.value_minor,
        currency=order.currency,
        tax_class=wish.offer.tax_class,
        validity_years=merchant.validity_years,
        is_validity_to_year_end=merchant.is_validity_to_year_end,
        recipient_name=wish.recipient_name,
        recipient_email=wish.recipient_email,
        message=wish.message,
        deliver_at=wish.deliver_at,
    )


def _settle_paid(order: Order, payment: Payment, report: SessionReport, *, source: Source) -> Outcome:
    differences = _differences(order, payment, report)
    if differences:
        _set(payment, PaymentState.REVIEW, report, differences=differences)
        if order.payment_state != PaymentState.PAID:
            Order.update(payment_state=PaymentState.REVIEW).where(Order.id == order.id).execute()
        timeline.record(
            order.merchant, "payment_held", order=order, actor=source, session_id=report.id, differences=differences
        )
        return Outcome.HELD
    paid_at = clock.now()
    _set(payment, PaymentState.PAID, report, paid_at=paid_at)
    Order.update(payment_state=PaymentState.PAID, paid_at=paid_at).where(Order.id == order.id).execute()
    timeline.record(
        order.merchant,
        "payment_confirmed",
        order=order,
        actor=source,
        amount_minor=report.amount_total_minor,
        method=report.method,
        session_id=report.id,
        payment_intent_id=report.payment_intent_id,
    )
    fulfilment.plan(Order.get_by_id(order.id))
    return Outcome.SETTLED


def _differences(order: Order, payment: Payment, report: SessionReport) -> dict[str, list[object]]:
    """What Stripe reports otherwise than we asked for: name → [expected, reported]."""
    compared: dict[str, list[object]] = {
        "amount_minor": [payment.amount_minor, report.amount_total_minor],
        "currency": [payment.currency, report.currency],
        "is_live": [payment.is_live, report.is_live],
        "account": [payment.account, report.account],
        "reference": [order.ref, report.reference],
        "session_id": [payment.session_id, report.id],
        "payment_status": ["paid", str(report.payment_status)],
        "paid_before": [False, order.payment_state == PaymentState.PAID],
    }
    return {name: pair for name, pair in compared.items() if pair[0] != pair[1]}


def _note_delayed(order: Order, payment: Payment, *, source: Source, has_failed: bool) -> Outcome:
    # A refusal is final for its session; news from before it may arrive after it, and the session looks the same.
    if has_failed or payment.state == PaymentState.FAILED:
        return _close(order, payment, PaymentState.FAILED, Outcome.FAILED)
    if payment.state != PaymentState.PROCESSING:
        Payment.update(state=PaymentState.PROCESSING).where(Payment.id == payment.id).execute()
        Order.update(payment_state=PaymentState.PROCESSING).where(
            Order.id == order.id, Order.payment_state.not_in((PaymentState.PAID, PaymentState.REVIEW))
        ).execute()
        timeline.record(order.merchant, "payment_processing", order=order, actor=source)
    return Outcome.PROCESSING


def _close(order: Order, payment: Payment, state: PaymentState, outcome: Outcome) -> Outcome:
    if payment.state == state:
        return outcome
    Payment.update(state=state, next_check_at=None).where(Payment.id == payment.id).execute()
    remaining = _awaited(order) or state
    Order.update(payment_state=remaining).where(Order.id == order.id, Order.payment_state.in_(UNSETTLED)).execute()
    timeline.record(order.merchant, f"payment_{state}", order=order)
    return outcome


def _awaited(order: Order) -> PaymentState | None:
    """What an order still waits for: money that is on its way comes before a page that is open."""
    states = {payment.state for payment in order.payments}
    return next((state for state in (PaymentState.PROCESSING, PaymentState.OPEN) if state in states), None)


def _set(
    payment: Payment,
    state: PaymentState,
    report: SessionReport,
    *,
    paid_at: datetime | None = None,
    differences: dict[str, list[object]] | None = None,
) -> None:
    Payment.update(
        state=state,
        paid_at=paid_at,
        differences=differences,
        received_minor=report.amount_total_minor,
        received_currency=report.currency,
        method=report.method,
        payment_intent_id=report.payment_intent_id,
        next_check_at=None,
    ).where(Payment.id == payment.id).execute()


def _postpone_check(payment: Payment) -> None:
    if payment.state not in UNSETTLED:
        return
    gap = CHECK_GAPS[min(payment.checks + 1, len(CHECK_GAPS) - 1)]
    Payment.update(checks=Payment.checks + 1, next_check_at=clock.now() + gap).where(Payment.id == payment.id).execute()
