"""Payments that somebody contests: disputes, inquiries and early fraud warnings. The only writer of disputes.

News freezes the vouchers at once. Won thaws them, lost ends them, and what was spent until then is the merchant's loss.
"""

from datetime import datetime
from typing import Any, Protocol

from database import transaction
from domain import clock, freezes, refusals, timeline
from domain.states import DisputeKind, DisputeState
from domain.vouchers import STRIPE
from models import Dispute, Order, Payment


class DisputeReport(Protocol):
    """What the payment gateway says about a dispute now (gateways.stripe_disputes.DisputeReport)."""

    @property
    def id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def amount_minor(self) -> int: ...
    @property
    def currency(self) -> str: ...
    @property
    def opened_at(self) -> datetime: ...
    @property
    def respond_by(self) -> datetime | None: ...


def learn(payment: Payment, report: DisputeReport) -> Dispute:
    """Bring a dispute to what Stripe says of it, once, with everything that follows for the vouchers."""
    with transaction():
        order = freezes.lock(payment.order)
        known: Dispute | None = Dispute.get_or_none(Dispute.account == payment.account, Dispute.dispute_id == report.id)
        dispute = known or _open(payment, order, report)
        state = DisputeState(report.state)
        if dispute.state != DisputeState.OPEN:
            return dispute
        facts = {"kind": DisputeKind(report.kind), "status": report.status, "respond_by": report.respond_by}
        Dispute.update(**facts).where(Dispute.id == dispute.id).execute()
        if dispute.kind != report.kind:  # an inquiry became a dispute under the same id
            dispute.kind = DisputeKind(report.kind)
            _tell_opening(dispute, order)
        if state != DisputeState.OPEN:
            _close(dispute, order, state, actor=STRIPE)
        return Dispute.get_by_id(dispute.id)


def dismiss(dispute: Dispute, *, actor: str) -> None:
    """A person trusts a payment that a warning was about. Raises NothingToDecide for anything but an open warning."""
    with transaction():
        order = freezes.lock(dispute.order)
        dispute = Dispute.get_by_id(dispute.id)
        if dispute.kind != DisputeKind.FRAUD_WARNING or dispute.state != DisputeState.OPEN:
            raise refusals.NothingToDecide("This warning is closed already.")
        _close(dispute, order, DisputeState.CLOSED, actor=actor)


def close_warnings(order: Order) -> None:
    """A warning asks whether to refund; a refund or a dispute answers it. Inside the caller's transaction."""
    is_open_warning = (Dispute.kind == DisputeKind.FRAUD_WARNING) & (Dispute.state == DisputeState.OPEN)
    for warning in order.disputes.where(is_open_warning):
        _close(warning, order, DisputeState.CLOSED, actor=STRIPE)


def _open(payment: Payment, order: Order, report: DisputeReport) -> Dispute:
    dispute = Dispute.create(
        merchant=order.merchant_id,
        order=order,
        payment=payment,
        account=payment.account,
        dispute_id=report.id,
        kind=DisputeKind(report.kind),
        status=report.status,
        reason=report.reason,
        amount_minor=report.amount_minor,
        currency=report.currency,
        respond_by=report.respond_by,
        opened_at=report.opened_at,
    )
    _tell_opening(dispute, order)
    freezes.freeze(order, reason=str(dispute.kind))
    return dispute


def _tell_opening(dispute: Dispute, order: Order) -> None:
    _tell(dispute, order, f"{dispute.kind}_opened", reason=dispute.reason)
    if dispute.kind == DisputeKind.DISPUTE:
        # What a warning was about has come true.
        close_warnings(order)


def _close(dispute: Dispute, order: Order, state: DisputeState, *, actor: str) -> None:
    spent_minor = _spent_minor(order) if state == DisputeState.LOST else None
    Dispute.update(state=state, closed_at=clock.now(), spent_minor=spent_minor).where(
        Dispute.id == dispute.id
    ).execute()
    _tell(dispute, order, f"{dispute.kind}_{state}", actor=actor, spent_minor=spent_minor)
    if state != DisputeState.LOST:
        freezes.thaw(order, actor=actor, reason=str(dispute.kind))
        return
    key, reason = f"dispute:{dispute.dispute_id}", f"{dispute.kind}_lost"
    if dispute.amount_minor >= order.total_minor:
        freezes.end(order, key=key, reason=reason, actor=STRIPE)
        return
    freezes.take_off(order, amount_minor=dispute.amount_minor, key=key, reason=reason, actor=STRIPE)
    freezes.thaw(order, actor=STRIPE, reason=reason)


def _spent_minor(order: Order) -> int:
    """What guests have had of the vouchers: their loss is the merchant's."""
    sold: int = sum(unit.value_minor for unit in order.units)
    return sold - sum(voucher.balance_minor for voucher in order.vouchers)


def _tell(dispute: Dispute, order: Order, kind: str, *, actor: str = STRIPE, **facts: Any) -> None:
    timeline.record(
        order.merchant,
        kind,
        order=order,
        actor=actor,
        amount_minor=dispute.amount_minor,
        currency=dispute.currency,
        dispute_id=dispute.dispute_id,
        **facts,
    )
