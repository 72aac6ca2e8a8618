"""Money going back: the value is off the vouchers already, now Stripe sends the money, and its word is settled."""

import structlog

from domain import clock, refunds
from domain.states import RefundState
from effects.outside import here
from gateways.stripe_checkout import StripeRefused, StripeUnavailable
from gateways.stripe_refunds import RefundReport, StripeRefunds
from models import Payment, Refund

log = structlog.get_logger()


def send(refund: Refund) -> Refund:
    """Bring one refund of ours as far as Stripe takes it now. Never raises: what is unclear is asked again later.

    Whatever became of the request before, it is done once: by its idempotency key as long as Stripe remembers it, and
    after that only by looking for what was done.
    """
    try:
        report = _sent(refund)
    except StripeUnavailable as error:
        log.warning("refund_unanswered", refund=refund.public_id, reason=str(error))
        refunds.postpone(refund)
    except StripeRefused as error:
        log.warning("refund_refused", refund=refund.public_id, code=error.code, reason=str(error))
        _refused(refund, error)
    else:
        return _settled(refund, report)
    return Refund.get_by_id(refund.id)


def refresh(payment: Payment) -> list[Refund]:
    """Read every refund of a payment at Stripe; returns those that were made there and are new to us.

    Raises StripeUnavailable and StripeRefused.
    """
    reports = _at(payment.account).list_of(payment.payment_intent_id)
    fresh = refunds.learn(payment, reports)
    if fresh:
        log.warning("refund_found", order=payment.order.number, refunds=[refund.refund_id for refund in fresh])
    here().ring(payment.order_id)
    return fresh


def ask_again() -> int:
    """Ask about every refund that still waits for Stripe's last word and is due; returns how many were asked about."""
    due = refunds.to_ask(clock.now())
    for refund in due:
        send(refund)
    return len(due)


def _sent(refund: Refund) -> RefundReport | None:
    """What Stripe says of the refund; None when it was never made and may not be made any more."""
    stripe = _at(refund.account)
    if refund.refund_id is not None:
        return stripe.fetch(refund.refund_id)
    intent_id = refund.payment.payment_intent_id
    known = stripe.find(intent_id, refund.public_id) if refund.checks else None
    if known is not None or not refunds.is_key_fresh(refund):
        return known
    return stripe.create(
        payment_intent_id=intent_id,
        amount_minor=refund.amount_minor,
        currency=refund.currency,
        reference=refund.public_id,
        idempotency_key=refunds.idempotency_key(refund),
    )


def _settled(refund: Refund, report: RefundReport | None) -> Refund:
    if report is None:
        return refunds.deny(refund, failure="not_made")
    try:
        settled = refunds.settle(refund, report)
    except refunds.ReportDiffers as error:
        log.error("refund_differs", refund=refund.public_id, reason=str(error))
        refunds.postpone(refund)
        return Refund.get_by_id(refund.id)
    here().ring(refund.order_id)
    return settled


def _refused(refund: Refund, error: StripeRefused) -> None:
    # Only what Stripe says about this refund is final; a wrong key or an unclear answer says nothing about it.
    is_final = error.code not in ("key_refused", "not_permitted", "answer_unclear", "idempotency_error")
    if refund.state == RefundState.ASKED and refund.refund_id is None and is_final:
        refunds.deny(refund, failure=f"{error.code}: {error.message}")
        here().ring(refund.order_id)
    else:
        refunds.postpone(refund)


def _at(account: str) -> StripeRefunds:
    return here().stripe.at(account).refunds
