"""How much of an order's price can go back to its buyer, voucher by voucher."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from domain import holds, refusals
from domain.states import MOVING, PaymentState
from models import Order, Payment, Refund, Unit, Voucher


@dataclass(frozen=True)
class UnitRoom:
    """What can go back for one voucher: without harm the unused part, at most what it cost and has not gone back."""

    unit: Unit
    voucher: Voucher | None
    unused_minor: int
    most_minor: int


@dataclass(frozen=True)
class Room:
    """What of an order's payment can go back; `left_minor` is what is still at Stripe."""

    payment: Payment | None
    left_minor: int
    units: Sequence[UnitRoom]

    @property
    def unused_minor(self) -> int:
        return min(self.left_minor, sum(each.unused_minor for each in self.units))

    @property
    def most_minor(self) -> int:
        return min(self.left_minor, sum(each.most_minor for each in self.units))


def of(order: Order) -> Room:
    """The room of an order; none before it is paid, and none for a payment to which Stripe gave no id."""
    payment = _price_of(order)
    if payment is None or payment.payment_intent_id is None:
        return Room(None, 0, ())
    gone = _parts_gone(order)
    return Room(payment, left_minor(payment), [_unit_room(unit, gone.get(unit.unit_no, 0)) for unit in order.units])


def left_minor(payment: Payment) -> int:
    """What of a payment is still at Stripe: neither gone back nor on its way."""
    received: int = payment.received_minor if payment.received_minor is not None else payment.amount_minor
    moving = Refund.select().where(Refund.payment == payment, Refund.state.in_(MOVING))
    return received - sum(refund.amount_minor for refund in moving)


def is_all_back(order: Order) -> bool:
    """True when the whole price of a paid order went back or is on its way."""
    payment = _price_of(order)
    return payment is not None and left_minor(payment) <= 0


def check(found: Room, amounts: Mapping[int, int], *, is_insisting: bool) -> None:
    """Raise RefundTooLarge unless each amount (unit number → minor units) fits, and their sum too."""
    total_minor = sum(amounts.values())
    if total_minor <= 0 or total_minor > found.left_minor:
        detail = f"Between 1 and {found.left_minor} minor units of this payment can go back."
        raise refusals.RefundTooLarge(detail, refundable_minor=found.left_minor)
    by_no = {each.unit.unit_no: each for each in found.units}
    for unit_no, wanted in amounts.items():
        most_minor = _most_minor(by_no.get(unit_no), is_insisting=is_insisting)
        if not 0 <= wanted <= most_minor or _is_part_of_nothing(by_no[unit_no], wanted):
            detail = f"Up to {most_minor} minor units of voucher {unit_no} can go back."
            raise refusals.RefundTooLarge(detail, refundable_minor=most_minor, unit_no=unit_no)


def _price_of(order: Order) -> Payment | None:
    """The one payment that paid the order; what was paid twice is another."""
    paid: Payment | None = order.payments.where(Payment.state == PaymentState.PAID).first()
    return paid


def _most_minor(each: UnitRoom | None, *, is_insisting: bool) -> int:
    if each is None:
        raise refusals.RefundTooLarge("This order has no such voucher.", refundable_minor=0)
    return each.most_minor if is_insisting else each.unused_minor


def _is_part_of_nothing(each: UnitRoom, wanted: int) -> bool:
    """A voucher that was never made goes back whole: it cannot be made with less than it says."""
    return each.voucher is None and 0 < wanted < each.unit.value_minor


def _unit_room(unit: Unit, gone_minor: int) -> UnitRoom:
    voucher, most_minor = unit.voucher, unit.value_minor - gone_minor
    if voucher is None:
        return UnitRoom(unit, None, unused_minor=most_minor, most_minor=most_minor)
    unused_minor = min(holds.as_of_now(voucher).available_minor, most_minor)
    return UnitRoom(unit, voucher, unused_minor=unused_minor, most_minor=most_minor)


def _parts_gone(order: Order) -> dict[int, int]:
    """Unit number → what refunds from our dashboard sent back of its price, in minor units."""
    gone: dict[int, int] = {}
    for refund in order.refunds.where(Refund.state.in_(MOVING)):
        for unit_no, part_minor in refund.parts.items():
            gone[int(unit_no)] = gone.get(int(unit_no), 0) + part_minor
    return gone
