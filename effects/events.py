"""News from Stripe, by webhook or found by asking: written down once, then Stripe is asked what is true now."""

from collections.abc import Callable

import structlog

from database import transaction
from domain import checkout, disputes
from effects import connect, payment, refund
from effects.outside import here
from gateways.stripe_checkout import Event, StripeRefused
from models import Order, Payment, StripeEvent

log = structlog.get_logger()


def take(event: Event, *, source: str) -> str:
    """Settle what an event is about; returns the outcome, `repeated` for one that was settled before.

    `source` is `webhook`, or `list` for one that was never delivered. Raises StripeUnavailable and StripeRefused when
    Stripe gives no clear answer: the event stays open, and is taken again when it comes again.
    """
    if event.is_live != here().settings.is_live:
        return "ignored: other mode"
    known = _record(event, source=source)
    if known.outcome is not None:
        return "repeated"
    outcome = _settle(event)
    with transaction():
        StripeEvent.update(outcome=outcome).where(StripeEvent.id == known.id).execute()
    return outcome


def _record(event: Event, *, source: str) -> StripeEvent:
    facts = {"type": event.type, "session_id": event.session_id, "subject_id": event.subject_id}
    with transaction():
        StripeEvent.insert(
            account=event.account, event_id=event.id, is_live=event.is_live, source=source, **facts
        ).on_conflict_ignore().execute()
    return StripeEvent.get(StripeEvent.account == event.account, StripeEvent.event_id == event.id)


def _settle(event: Event) -> str:
    handler = next((handler for prefix, handler in _HANDLERS.items() if event.type.startswith(prefix)), None)
    return handler(event) if handler is not None else "ignored"


def _session(event: Event) -> str:
    found = Payment.get_or_none(Payment.account == event.account, Payment.session_id == event.session_id)
    if found is None:
        return "ignored"
    return str(payment.confirm(found, source=checkout.Source.WEBHOOK))


def _refund(event: Event) -> str:
    stripe = here().stripe.at(event.account).refunds
    if event.subject_id.startswith("ch_"):
        reports = stripe.of_charge(event.subject_id)
    else:
        reports = (stripe.fetch(event.subject_id),)
    found = _payment(event.account, reports[0].payment_intent_id, reports[0].order_ref) if reports else None
    if found is None:
        return "ignored"
    return "refund_found" if refund.refresh(found) else "refund_known"


def _dispute(event: Event) -> str:
    stripe = here().stripe.at(event.account).disputes
    fetch = stripe.fetch_warning if event.subject_id.startswith("issfr_") else stripe.fetch
    report = fetch(event.subject_id)
    found = _payment(event.account, report.payment_intent_id, report.order_ref)
    if found is None:
        return "ignored"
    dispute = disputes.learn(found, report)
    log.warning("payment_contested", order=found.order.number, kind=str(dispute.kind), state=str(dispute.state))
    here().ring(found.order_id)
    return f"{dispute.kind}_{dispute.state}"


def _account(event: Event) -> str:
    return connect.refresh_account(event.account or event.subject_id)


def _payment(account: str, intent_id: str, order_ref: str) -> Payment | None:
    """The payment behind an intent; one that we have not settled yet is found by its order and settled first."""
    found = Payment.get_or_none(Payment.account == account, Payment.payment_intent_id == intent_id)
    if found is not None or not order_ref:
        return found
    order = Order.get_or_none(Order.ref == order_ref)
    if order is None:
        return None
    for candidate in order.payments.where(Payment.account == account, Payment.session_id.is_null(False)):
        try:
            payment.confirm(candidate, source=checkout.Source.WEBHOOK)
        except StripeRefused as error:
            log.warning("session_not_clear", order=order.number, reason=str(error))
    return Payment.get_or_none(Payment.account == account, Payment.payment_intent_id == intent_id)


# The beginning of an event's type → what it is about.
_HANDLERS: dict[str, Callable[[Event], str]] = {
    "checkout.session.": _session,
    "charge.dispute.": _dispute,
    "radar.early_fraud_warning.": _dispute,
    "charge.refund": _refund,
    "refund.": _refund,
    "account.": _account,
    "v2.core.account": _account,
}
