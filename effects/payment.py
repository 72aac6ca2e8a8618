"""Money coming in: open a Checkout session, ask Stripe about it, settle. Every caller goes through here."""

from collections import Counter
from datetime import timedelta

import structlog

from domain import checkout, clock
from domain.states import UNSETTLED
from effects import links
from effects.outside import here
from gateways.stripe_checkout import CheckoutRequest, Line, Session, StripeRefused, StripeUnavailable
from models import Order, Payment

log = structlog.get_logger()
# A waiting buyer's page polls each second; Stripe is asked less often.
_ASK_AGAIN = timedelta(seconds=3)


def start(order: Order) -> str:
    """The address of the hosted payment page for an unpaid order.

    Raises AlreadyUsed when there is nothing to pay, StripeUnavailable or StripeRefused when no session could be opened.
    """
    outside = here()
    if outside.settings.stripe_connect and not order.merchant.stripe_account:
        raise StripeRefused("This shop has not connected its Stripe account.", code="not_connected")
    payment = checkout.open_payment(order, is_live=outside.settings.is_live)
    if payment.url:
        return payment.url
    try:
        session = _opened(order, payment)
    except (StripeUnavailable, StripeRefused) as error:
        checkout.note_unreachable(payment, detail=str(error))
        raise
    checkout.attach_session(payment, session_id=session.id, url=session.url)
    return session.url or links.order_url(order)


def confirm(payment: Payment, *, source: checkout.Source) -> checkout.Outcome:
    """Ask Stripe about one payment now, settle what it says and ring for the worker.

    Raises StripeUnavailable, and StripeRefused when the answer allows no conclusion.
    """
    session = here().stripe.at(payment.account).fetch_session(payment.session_id)
    outcome = checkout.settle(payment, session, source=source)
    log.info("payment_confirmed", order=payment.order.number, outcome=str(outcome), source=str(source))
    if outcome == checkout.Outcome.SETTLED:
        here().ring(payment.order_id)
    return outcome


def refresh(order: Order) -> None:
    """Ask Stripe about an order whose buyer is looking at it, so that a late webhook delays nobody. Never raises."""
    payment = order.latest_payment
    if payment is None or payment.session_id is None or payment.state not in UNSETTLED:
        return
    if not checkout.claim_check(payment, gap=_ASK_AGAIN, at=clock.now()):
        return
    try:
        confirm(payment, source=checkout.Source.RETURN_PAGE)
    except (StripeUnavailable, StripeRefused) as error:
        log.warning("payment_refresh_failed", order=order.number, reason=str(error))


def reconcile(payments: list[Payment]) -> dict[str, int]:
    """Ask Stripe about each of `payments`; returns how many came to which outcome.

    The first question without an answer ends the round (`unreachable`): the others would wait for nothing as well.
    """
    counts: Counter[str] = Counter()
    for payment in payments:
        try:
            counts[str(confirm(payment, source=checkout.Source.RECONCILER))] += 1
        except StripeUnavailable as error:
            log.warning("reconcile_failed", order=payment.order.number, reason=str(error))
            checkout.postpone_check(payment)
            counts["unreachable"] += 1
            break
        except StripeRefused as error:
            log.warning("reconcile_refused", order=payment.order.number, reason=str(error))
            if error.code == "resource_missing":
                checkout.note_missing(payment)
            else:
                checkout.postpone_check(payment)
            counts["refused"] += 1
    return dict(counts)


def _opened(order: Order, payment: Payment) -> Session:
    """The session of a payment, opened once: also when a restored backup has forgotten that it was."""
    stripe = here().stripe.at(payment.account)
    try:
        return stripe.open_session(_request(order, payment))
    except StripeRefused as error:
        if error.code != "idempotency_error":
            raise
        # The same key with another deadline: it was opened before, and our books lost it.
        found = stripe.find_sessions(order.ref, buyer_email=order.buyer_email, since=order.created_at)
        if not found:
            raise
        return found[0]


def _request(order: Order, payment: Payment) -> CheckoutRequest:
    word = "Gutschein" if order.locale == "de" else "Voucher"
    lines = tuple(
        Line(name=f"{unit.title or word} – {order.merchant.name}", amount_minor=unit.value_minor)
        for unit in order.units
    )
    url = links.order_url(order)
    return CheckoutRequest(
        reference=order.ref,
        merchant_name=order.merchant.name,
        merchant_slug=order.merchant.slug,
        lines=lines,
        currency=order.currency,
        buyer_email=order.buyer_email,
        locale=order.locale,
        success_url=f"{url}?paid=1",
        cancel_url=f"{url}?back=1",
        expires_at=payment.expires_at,
        idempotency_key=payment.idempotency_key,
    )
