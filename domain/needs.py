"""What needs a person: read from rows alone, and gone by itself when its rows say that somebody dealt with it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import peewee

from domain import checks
from domain.states import (
    MOVING,
    ConnectionState,
    DisputeKind,
    DisputeState,
    PaymentState,
    RefundOrigin,
    RefundState,
    StepName,
    StepState,
)
from models import Breaker, Check, Connection, Dispute, Merchant, Order, Payment, Refund, Step, Stray, Unit, Voucher

# A paid order has its vouchers within seconds; after this long somebody should know that it has not.
VOUCHER_DUE_AFTER = timedelta(minutes=10)
# A breaker that closes again at its first probe is nobody's business.
BREAKER_TOLD_AFTER = timedelta(minutes=2)
# A refund that failed is the buyer's money: it stays a need until it was asked for again, or for so long.
_FAILED_REFUND_FOR = timedelta(days=30)


class NeedKind(StrEnum):
    """What is the matter. `ON_INSTALLATION` concern every merchant."""

    STEP = "step"
    REVIEW = "review"
    DISPUTE = "dispute"
    INQUIRY = "inquiry"
    FRAUD_WARNING = "fraud_warning"
    REFUND_TO_DECIDE = "refund_to_decide"
    REFUND_FAILED = "refund_failed"
    STRAY = "stray"
    NO_VOUCHER = "no_voucher"
    ACCOUNT = "account"
    BREAKER = "breaker"
    AUDIT = "audit"
    CLOCK = "clock"
    SILENCE = "silence"


ON_INSTALLATION = (NeedKind.BREAKER, NeedKind.AUDIT, NeedKind.CLOCK, NeedKind.SILENCE)
_OF_CHECK = {"audit": NeedKind.AUDIT, "clock": NeedKind.CLOCK, "stripe": NeedKind.SILENCE}
_OF_DISPUTE = {
    DisputeKind.DISPUTE: NeedKind.DISPUTE,
    DisputeKind.INQUIRY: NeedKind.INQUIRY,
    DisputeKind.FRAUD_WARNING: NeedKind.FRAUD_WARNING,
}


@dataclass(frozen=True)
class Need:
    """One thing that needs a person. `kind` and `key` name it for ever; `facts` are plain JSON values."""

    kind: NeedKind
    key: str
    since: datetime
    order: Order | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Unmatched:
    """Payments without a voucher: how many, which, and when Stripe was last asked about all of them."""

    orders: tuple[Order, ...]
    strays: tuple[Stray, ...]
    checked_at: datetime | None
    is_fresh: bool

    @property
    def count(self) -> int:
        return len(self.orders) + len(self.strays)


def attention(merchant: Merchant, at: datetime) -> list[Need]:
    """Everything of a merchant that needs a person now, oldest first."""
    found = [
        *_dead_steps(merchant),
        *_held_payments(merchant),
        *_disputes(merchant),
        *_refunds_to_decide(merchant),
        *_failed_refunds(merchant, at),
        *(_stray(stray) for stray in strays(merchant)),
        *_without_voucher(merchant, at),
        *_account(merchant),
        *_breakers(at),
        *_checks(),
    ]
    return sorted(found, key=lambda need: need.since)


def unmatched(merchant: Merchant, at: datetime) -> Unmatched:
    """Payments of a merchant that no voucher answers, with the age of the last look at Stripe."""
    last = checks.latest("payments", account=merchant.stripe_account)
    checked_at = last.ran_at if last is not None else None
    known = {order.id: order for order in (*unissued(merchant, at), *_unsettled(merchant, last))}
    return Unmatched(
        orders=tuple(known.values()),
        strays=tuple(strays(merchant)),
        checked_at=checked_at,
        is_fresh=checked_at is not None and at - checked_at <= checks.FRESH_FOR,
    )


def unissued(merchant: Merchant | None, at: datetime) -> list[Order]:
    """Paid orders with a unit that should have its voucher by now and has none; of all merchants for None."""
    # A creation that was skipped was called off by a refund, a dispute or a person, and those are told themselves.
    called_off = Step.select().where(
        Step.order == Order.id,
        Step.unit_no == Unit.unit_no,
        Step.name == StepName.CREATE,
        Step.state == StepState.SKIPPED,
    )
    missing = (
        Order.select()
        .join(Unit)
        .join(Voucher, peewee.JOIN.LEFT_OUTER, on=(Voucher.unit == Unit.id))
        .where(
            Order.payment_state == PaymentState.PAID,
            Order.paid_at <= at - VOUCHER_DUE_AFTER,
            Voucher.id.is_null(),
            ~peewee.fn.EXISTS(called_off),
        )
        .distinct()
        .order_by(Order.id)
    )
    return list(missing if merchant is None else missing.where(Order.merchant == merchant))


def strays(merchant: Merchant | None) -> list[Stray]:
    """Money at Stripe that no order explains and that nobody has dealt with yet; of all merchants for None."""
    open_ones = Stray.select().where(Stray.closed_at.is_null()).order_by(Stray.id)
    return list(open_ones if merchant is None else open_ones.where(Stray.merchant == merchant))


def _unsettled(merchant: Merchant, last: Check | None) -> list[Order]:
    """Orders that Stripe called paid at the last look and that are still not settled."""
    sessions = last.facts.get("unsettled", []) if last is not None else []
    is_answered = Payment.state.in_((PaymentState.PAID, PaymentState.REVIEW, PaymentState.RETURNED))
    found = (
        Order.select()
        .join(Payment, on=(Payment.order == Order.id))
        .where(Order.merchant == merchant, Payment.session_id.in_(sessions), ~is_answered)
    )
    return list(found.distinct()) if sessions else []


def _dead_steps(merchant: Merchant) -> Iterator[Need]:
    dead = Step.select(Step, Order).join(Order).where(Order.merchant == merchant, Step.state == StepState.DEAD)
    for step in dead:
        facts = {"step": str(step.name), "code": step.error_code or "unexpected", "unit_no": step.unit_no}
        address = step.unit.recipient_email if step.name == StepName.DELIVER_RECIPIENT else step.order.buyer_email
        # The token is another one after a retry: a step that dies again is told again.
        key = f"{step.id}.{step.token}"
        yield _of_order(NeedKind.STEP, key, step.order, since=step.finished_at or step.not_before, **facts, to=address)


def _held_payments(merchant: Merchant) -> Iterator[Need]:
    held = (
        Payment.select(Payment, Order)
        .join(Order)
        .where(Payment.merchant == merchant, Payment.state == PaymentState.REVIEW, ~_is_going_back())
    )
    for payment in held:
        received = {"received_minor": payment.received_minor, "received_currency": payment.received_currency}
        asked = {"amount_minor": payment.amount_minor, "currency": payment.currency}
        yield _of_order(NeedKind.REVIEW, str(payment.id), payment.order, since=payment.created_at, **asked, **received)


def _is_going_back() -> peewee.Function:
    return peewee.fn.EXISTS(Refund.select().where(Refund.payment == Payment.id, Refund.state.in_(MOVING)))


def _disputes(merchant: Merchant) -> Iterator[Need]:
    contested = (
        Dispute.select(Dispute, Order)
        .join(Order)
        .where(Dispute.merchant == merchant, Dispute.state == DisputeState.OPEN)
    )
    for dispute in contested:
        facts = {
            "amount_minor": dispute.amount_minor,
            "currency": dispute.currency,
            "respond_by": dispute.respond_by.isoformat() if dispute.respond_by else None,
        }
        kind = _OF_DISPUTE[DisputeKind(dispute.kind)]
        yield _of_order(kind, str(dispute.id), dispute.order, since=dispute.opened_at, **facts)


def _refunds_to_decide(merchant: Merchant) -> Iterator[Need]:
    foreign = _refunds(merchant).where(
        Refund.origin == RefundOrigin.STRIPE,
        Refund.decided_at.is_null(),
        Refund.state.in_((RefundState.PENDING, RefundState.SUCCEEDED)),
    )
    for refund in foreign:
        yield _of_refund(NeedKind.REFUND_TO_DECIDE, refund, since=refund.created_at)


def _failed_refunds(merchant: Merchant, at: datetime) -> Iterator[Need]:
    later = Refund.alias()
    asked_again = later.select().where(
        later.payment == Refund.payment, later.id > Refund.id, later.state.in_(list(MOVING))
    )
    ours = _refunds(merchant).where(
        Refund.origin == RefundOrigin.DASHBOARD,
        Refund.state == RefundState.FAILED,
        Refund.ended_at > at - _FAILED_REFUND_FOR,
        ~peewee.fn.EXISTS(asked_again),
    )
    for refund in ours:
        yield _of_refund(NeedKind.REFUND_FAILED, refund, since=refund.ended_at)


def _refunds(merchant: Merchant) -> "peewee.ModelSelect[Refund]":
    return Refund.select(Refund, Order).join(Order).where(Refund.merchant == merchant)


def _of_refund(kind: NeedKind, refund: Refund, *, since: datetime) -> Need:
    facts = {"amount_minor": refund.amount_minor, "currency": refund.currency, "failure": refund.failure or ""}
    return _of_order(kind, refund.public_id, refund.order, since=since, **facts)


def _stray(stray: Stray) -> Need:
    facts = {
        "amount_minor": stray.amount_minor,
        "currency": stray.currency,
        "session_id": stray.session_id,
        "reference": stray.reference,
    }
    return Need(NeedKind.STRAY, str(stray.id), stray.found_at, facts=facts)


def _without_voucher(merchant: Merchant, at: datetime) -> Iterator[Need]:
    is_dead = (Step.name == StepName.CREATE) & (Step.state == StepState.DEAD)
    stopped = {step.order_id for step in Step.select().join(Order).where(Order.merchant == merchant, is_dead)}
    for order in unissued(merchant, at):
        if order.id not in stopped:  # else its step says the same, and why
            yield _of_order(NeedKind.NO_VOUCHER, str(order.id), order, since=order.paid_at)


def _account(merchant: Merchant) -> Iterator[Need]:
    ill = (ConnectionState.RESTRICTED, ConnectionState.ENDED)
    connection = Connection.get_or_none(Connection.merchant == merchant, Connection.state.in_(ill))
    if connection is None:
        return
    look = checks.latest("account", account=connection.account)
    began_at = checks.since(look) if look is not None and not look.is_ok else connection.checked_at
    facts = {"state": str(connection.state), "requirements": list(connection.requirements)}
    # Without a look there is no moment yet that would make this episode another one than the last.
    if look is not None:
        yield Need(
            NeedKind.ACCOUNT, f"{connection.account}.{connection.state}.{began_at:%Y%m%d%H%M%S}", began_at, facts=facts
        )


def _breakers(at: datetime) -> Iterator[Need]:
    for breaker in Breaker.select().where(Breaker.opened_at <= at - BREAKER_TOLD_AFTER):
        facts = {"name": breaker.name, "code": breaker.code, "detail": breaker.detail}
        key = f"{breaker.name}.{breaker.opened_at:%Y%m%d%H%M%S}"
        yield Need(NeedKind.BREAKER, key, breaker.opened_at, facts=facts)


def _checks() -> Iterator[Need]:
    for check in Check.select().where(Check.name.in_(list(_OF_CHECK)), ~Check.is_ok):
        began_at = checks.since(check)
        yield Need(_OF_CHECK[check.name], f"{began_at:%Y%m%d%H%M%S}", began_at, facts=dict(check.facts))


def _of_order(kind: NeedKind, key: str, order: Order, *, since: datetime, **facts: Any) -> Need:
    shown = {"order": order.number, "buyer": order.buyer_name or order.buyer_email, **facts}
    return Need(kind, key, since, order=order, facts=shown)
