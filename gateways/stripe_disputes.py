"""Disputes, inquiries and early fraud warnings at Stripe, all three read as one kind of report.

Amounts are integer minor units of ISO 4217, currencies upper case, times aware UTC.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gateways import stripe_api
from gateways.stripe_api import StripeApi, StripeUnclear, read

__all__ = ["DisputeKind", "DisputeReport", "DisputeState", "StripeDisputes"]

# The charge knows the payment where the dispute itself names none.
_EXPAND = ["payment_intent", "charge.payment_intent"]
_INQUIRY = "warning_"


class DisputeKind(StrEnum):
    """How serious it is: in an inquiry the bank only asks, in a fraud warning nobody asks for money yet."""

    DISPUTE = "dispute"
    INQUIRY = "inquiry"
    FRAUD_WARNING = "fraud_warning"


class DisputeState(StrEnum):
    """How it stands for the shop. Stripe never says `CLOSED`: so a person or a refund ends a fraud warning."""

    OPEN = "open"
    WON = "won"
    LOST = "lost"
    CLOSED = "closed"


_STATES = {
    "needs_response": DisputeState.OPEN,
    "under_review": DisputeState.OPEN,
    "warning_needs_response": DisputeState.OPEN,
    "warning_under_review": DisputeState.OPEN,
    "won": DisputeState.WON,
    "prevented": DisputeState.WON,
    "warning_closed": DisputeState.WON,
    "lost": DisputeState.LOST,
}


@dataclass(frozen=True)
class DisputeReport:
    """A buyer's or a bank's complaint about a payment, as Stripe described it.

    `status` and `reason` are Stripe's words (for a fraud warning `actionable` or `not_actionable`, and its fraud type).
    `payment_intent_id` and `order_ref` (the order that the payment was for) are "" when Stripe names none.
    `respond_by` is None when no answer is awaited, and always for a fraud warning.
    """

    id: str
    kind: DisputeKind
    state: DisputeState
    status: str
    reason: str
    amount_minor: int
    currency: str
    payment_intent_id: str
    order_ref: str
    opened_at: datetime
    respond_by: datetime | None
    account: str


class StripeDisputes:
    """The complaints of one Stripe account: `StripeCheckout.disputes`.

    Every call raises StripeUnavailable when Stripe gives no answer, StripeRefused with Stripe's code when it refuses,
    and StripeUnclear when the answer lacks something or has a status that we do not know.
    """

    def __init__(self, api: StripeApi) -> None:
        self._api = api

    def fetch(self, dispute_id: str) -> DisputeReport:
        """The dispute or inquiry as Stripe sees it now."""
        known = stripe_api.checked(dispute_id, stripe_api.DISPUTE_ID, noun="dispute")
        call = self._api.v1.disputes.retrieve
        return self._dispute(lambda: call(known, {"expand": _EXPAND}, self._api.options()))

    def fetch_warning(self, warning_id: str) -> DisputeReport:
        """The early fraud warning as Stripe sees it now; its amount is the charge's."""
        known = stripe_api.checked(warning_id, stripe_api.WARNING_ID, noun="warning")
        call = self._api.v1.radar.early_fraud_warnings.retrieve
        body = stripe_api.answer(lambda: call(known, {"expand": _EXPAND}, self._api.options()))
        return _as_warning(body, account=self._api.account)

    def list_of(self, payment_intent_id: str) -> tuple[DisputeReport, ...]:
        """Everything about a payment, newest first: disputes and inquiries, then fraud warnings."""
        known = stripe_api.checked(payment_intent_id, stripe_api.INTENT_ID, noun="payment_intent")
        account = self._api.account
        disputes = [_as_dispute(one, account=account) for one in self._list(self._api.v1.disputes.list, known)]
        warnings = self._list(self._api.v1.radar.early_fraud_warnings.list, known)
        return (*disputes, *(_as_warning(one, account=account) for one in warnings))

    def _dispute(self, call: Callable[[], object]) -> DisputeReport:
        return _as_dispute(stripe_api.answer(call), account=self._api.account)

    def _list(self, call: Callable[..., object], payment_intent_id: str) -> list[object]:
        params = {
            "payment_intent": payment_intent_id,
            "limit": stripe_api.PAGE_SIZE,
            "expand": [f"data.{path}" for path in _EXPAND],
        }
        return stripe_api.pages(lambda: call(params, self._api.options()))


def _as_dispute(body: object, *, account: str) -> DisputeReport:
    status = read(body, "status", str)
    amount_minor, currency = stripe_api.read_money(body)
    intent_id, order_ref = _payment(body)
    return DisputeReport(
        id=stripe_api.read_id(body, stripe_api.DISPUTE_ID),
        kind=DisputeKind.INQUIRY if status.startswith(_INQUIRY) else DisputeKind.DISPUTE,
        state=_state(status),
        status=status,
        reason=read(body, "reason", str),
        amount_minor=amount_minor,
        currency=currency,
        payment_intent_id=intent_id,
        order_ref=order_ref,
        opened_at=stripe_api.read_moment(body, "created"),
        respond_by=stripe_api.read_optional_moment(read(body, "evidence_details", object), "due_by"),
        account=account,
    )


def _as_warning(body: object, *, account: str) -> DisputeReport:
    amount_minor, currency = stripe_api.read_money(stripe_api.read_linked(body, "charge")[1])
    intent_id, order_ref = _payment(body)
    return DisputeReport(
        id=stripe_api.read_id(body, stripe_api.WARNING_ID),
        kind=DisputeKind.FRAUD_WARNING,
        # Stripe says no more whether the suspicion was right: a person or a refund ends it.
        state=DisputeState.OPEN,
        status="actionable" if read(body, "actionable", bool) else "not_actionable",
        reason=read(body, "fraud_type", str),
        amount_minor=amount_minor,
        currency=currency,
        payment_intent_id=intent_id,
        order_ref=order_ref,
        opened_at=stripe_api.read_moment(body, "created"),
        respond_by=None,
        account=account,
    )


def _payment(body: object) -> tuple[str, str]:
    intent_id, intent = stripe_api.read_linked(body, "payment_intent")
    _, charge = stripe_api.read_linked(body, "charge")
    if not intent_id and charge is not None:
        intent_id, intent = stripe_api.read_linked(charge, "payment_intent")
    return intent_id, stripe_api.read_note(intent, "order") if intent is not None else ""


def _state(status: str) -> DisputeState:
    if status not in _STATES:
        raise StripeUnclear(f"Stripe's answer has the unknown `status` {status[:50]!r}")
    return _STATES[status]
