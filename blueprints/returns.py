"""What went back of an order's money, what is held of it, and who contests it. Read from rows; pure after loading."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.states import MOVING, UNANSWERED, DisputeKind, DisputeState, PaymentState, RefundOrigin, RefundState
from models import Dispute, Order, Payment, Refund

# So long a refund that failed asks for a person, unless the money was sent again.
FAILED_FOR = timedelta(days=30)


@dataclass(frozen=True)
class Returns:
    """All payments, refunds and disputes of one order, oldest first."""

    payments: Sequence[Payment] = ()
    refunds: Sequence[Refund] = ()
    disputes: Sequence[Dispute] = ()

    @property
    def paid(self) -> Payment | None:
        """The payment that the vouchers were sold for."""
        return next((payment for payment in self.payments if payment.state == PaymentState.PAID), None)

    @property
    def returned_minor(self) -> int:
        """What of that payment went back or is on its way."""
        return sum(refund.amount_minor for refund in self._moving(self.paid))

    @property
    def is_all_back(self) -> bool:
        return self.paid is not None and self.returned_minor >= _received_minor(self.paid)

    @property
    def held(self) -> list[Payment]:
        """Payments that did not fit, without those that are on their way back already."""
        held = [payment for payment in self.payments if payment.state == PaymentState.REVIEW]
        return [payment for payment in held if not self.is_on_its_way_back(payment)]

    @property
    def undecided(self) -> list[Refund]:
        """Refunds that were made at Stripe and whose vouchers wait for a person."""
        foreign = [refund for refund in self.refunds if refund.origin == RefundOrigin.STRIPE]
        return [refund for refund in foreign if refund.decided_at is None and refund.state in MOVING]

    @property
    def unanswered(self) -> list[Refund]:
        """Refunds that Stripe has not said its last word about."""
        return [refund for refund in self.refunds if refund.state in UNANSWERED]

    @property
    def contested(self) -> list[Dispute]:
        """Disputes, inquiries and warnings that are open."""
        return [dispute for dispute in self.disputes if dispute.state == DisputeState.OPEN]

    @property
    def is_disputed(self) -> bool:
        """A bank contests the payment; a warning alone is a suspicion."""
        return any(dispute.kind != DisputeKind.FRAUD_WARNING for dispute in self.contested)

    @property
    def is_lost(self) -> bool:
        return any(dispute.state == DisputeState.LOST for dispute in self.disputes)

    @property
    def is_frozen(self) -> bool:
        """The vouchers are blocked until something about their payment is settled."""
        return bool(self.contested or self.undecided)

    @property
    def is_money_at_bank(self) -> bool:
        """A dispute took the money, for now or for good, so none of it can be sent back."""
        disputes = [dispute for dispute in self.disputes if dispute.kind == DisputeKind.DISPUTE]
        return self.is_lost or any(dispute.state == DisputeState.OPEN for dispute in disputes)

    def returned_of(self, unit_no: int) -> int:
        """What of one voucher's price went back from our dashboard; a refund at Stripe names no voucher."""
        moving = self._moving(self.paid)
        return sum(int(refund.parts.get(str(unit_no), 0)) for refund in moving)

    def failed(self, at: datetime) -> list[Refund]:
        """Refunds of ours that failed lately and were not asked for again."""
        lately = [
            refund
            for refund in self.refunds
            if refund.state == RefundState.FAILED
            and refund.origin == RefundOrigin.DASHBOARD
            and refund.ended_at is not None
            and refund.ended_at > at - FAILED_FOR
        ]
        return [refund for refund in lately if not self._was_asked_again(refund)]

    def needs_a_person(self, at: datetime) -> bool:
        return bool(self.held or self.is_frozen or self.failed(at))

    def is_on_its_way_back(self, payment: Payment) -> bool:
        """All of a payment went back, or will unless Stripe refuses."""
        moving_minor = sum(refund.amount_minor for refund in self._moving(payment))
        return moving_minor > 0 and moving_minor >= _received_minor(payment)

    def _moving(self, payment: Payment | None) -> list[Refund]:
        of_payment = [refund for refund in self.refunds if payment is not None and refund.payment_id == payment.id]
        return [refund for refund in of_payment if refund.state in MOVING]

    def _was_asked_again(self, failed: Refund) -> bool:
        return any(
            later.id > failed.id and later.payment_id == failed.payment_id and later.state in MOVING
            for later in self.refunds
        )


NOTHING = Returns()


def of(order: Order) -> Returns:
    """Those of one order, in three queries."""
    return Returns(list(order.payments), list(order.refunds), list(order.disputes))


def _received_minor(payment: Payment) -> int:
    return payment.received_minor if payment.received_minor is not None else payment.amount_minor
