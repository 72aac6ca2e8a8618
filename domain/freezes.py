"""Payments in trouble: their vouchers are frozen at once, thaw when the trouble is over, end when the money is gone.

Every verb runs inside the transaction that learned the news and has locked the order; vouchers are locked by id.
"""

from database import db, locked
from domain import fulfilment, holds, ledger, vouchers
from domain.states import MOVING as MOVING_REFUNDS
from domain.states import DisputeState, RefundOrigin, VoucherStatus
from models import Dispute, Order, Refund

# Why work on an order rests; a thaw takes it up again.
CODE = "frozen"


def lock(order: Order) -> Order:
    """The order with its vouchers, locked until the commit: nothing is spent between a look and what follows it."""
    _require_transaction()
    order = locked(Order.select().where(Order.id == order.id)).get()
    for voucher in order.vouchers:
        holds.lock(voucher.id)
    return order


def freeze(order: Order, *, reason: str) -> None:
    """Suspend what is active, and let everything that was still to be made or mailed wait."""
    _require_transaction()
    for voucher in order.vouchers:
        vouchers.freeze(voucher.id, reason=reason)
    fulfilment.skip_open(order, code=CODE)


def thaw(order: Order, *, actor: str, reason: str) -> bool:
    """Undo `freeze` unless something else is still open about the payment; True when it was undone."""
    _require_transaction()
    if is_in_trouble(order):
        return False
    for voucher in order.vouchers:
        vouchers.thaw(voucher.id, actor=actor, reason=reason)
    fulfilment.resume(order, codes={CODE})
    return True


def take_off(order: Order, *, amount_minor: int, key: str, reason: str, actor: str) -> int:
    """Take up to `amount_minor` off the order's vouchers, first to last, and cancel what is empty and was never used.

    Returns what was taken, in minor units. `key` names the cause, so that nothing is taken twice.
    """
    _require_transaction()
    left_minor = amount_minor
    for voucher in order.vouchers:
        operation_key = f"{key}:{voucher.id}"
        booked = ledger.void(
            voucher.id, amount_minor=left_minor, reason=reason, operation_key=operation_key, actor=actor
        )
        if booked is not None:
            left_minor += booked.entry.amount_minor
            end_if_unused(voucher.id, actor=actor, reason=reason)
    return amount_minor - left_minor


def end_if_unused(voucher_id: int, *, actor: str, reason: str) -> None:
    """Cancel a voucher whose whole value was taken off; one that was spent in part stays, used up, for its refunds."""
    voucher = holds.lock(voucher_id)
    if voucher.balance_minor == 0 and not ledger.is_spent(voucher) and voucher.status != VoucherStatus.CANCELLED:
        vouchers.set_status(voucher.id, VoucherStatus.CANCELLED, actor=actor, reason=reason)


def end(order: Order, *, key: str, reason: str, actor: str) -> None:
    """Cancel every voucher and take off whatever is left: the money is gone."""
    _require_transaction()
    fulfilment.skip_open(order, code="refunded")
    for voucher in order.vouchers:
        if voucher.status != VoucherStatus.CANCELLED:
            vouchers.set_status(voucher.id, VoucherStatus.CANCELLED, actor=actor, reason=reason)
        rest_minor = holds.lock(voucher.id).balance_minor
        operation_key = f"{key}:{voucher.id}"
        ledger.void(voucher.id, amount_minor=rest_minor, reason=reason, operation_key=operation_key, actor=actor)


def is_in_trouble(order: Order) -> bool:
    """True while a dispute or warning is open, or a refund that was made at Stripe waits for a person's decision."""
    is_contested = order.disputes.where(Dispute.state == DisputeState.OPEN).exists()
    undecided = order.refunds.where(
        Refund.origin == RefundOrigin.STRIPE, Refund.decided_at.is_null(), Refund.state.in_(MOVING_REFUNDS)
    )
    return is_contested or undecided.exists()


def _require_transaction() -> None:
    if not db.in_transaction():
        raise RuntimeError("vouchers are frozen inside the transaction that learned why")
