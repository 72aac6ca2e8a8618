"""What Stripe tells us. An event is a hint: it is verified, written down, and Stripe is asked what is true now."""

import flask
import structlog

from database import transaction
from domain import checkout
from effects import payment as payments
from effects.outside import here
from gateways.stripe_checkout import Event, EventRefused, StripeRefused, StripeUnavailable
from gateways.stripe_events import MAX_EVENT_BYTES
from models import Payment, StripeEvent

log = structlog.get_logger()
blueprint = flask.Blueprint("webhooks", __name__)


@blueprint.post("/webhooks/stripe")
def receive_stripe_event() -> tuple[dict[str, str], int]:
    """200 once the event is settled or of no concern, 400 for a forged one, 503 when Stripe should repeat it."""
    flask.request.max_content_length = MAX_EVENT_BYTES
    try:
        event = here().stripe.read_event(
            flask.request.get_data(cache=False), flask.request.headers.get("Stripe-Signature")
        )
    except EventRefused as error:
        log.warning("stripe_event_refused", reason=str(error))
        return {"error": f"this event is refused: {error}"}, 400
    return _take(event)


def _take(event: Event) -> tuple[dict[str, str], int]:
    if event.is_live != here().settings.is_live:
        return {"outcome": "ignored: other mode"}, 200
    known = _record(event)
    if known.outcome is not None:
        return {"outcome": "repeated"}, 200
    payment = Payment.get_or_none(Payment.account == event.account, Payment.session_id == event.session_id)
    if event.session_id is None or payment is None:
        return _close(known, "ignored")
    try:
        has_failed = event.type.endswith("checkout.session.async_payment_failed")
        outcome = payments.confirm(payment, source=checkout.Source.WEBHOOK, has_failed=has_failed)
    except (StripeUnavailable, StripeRefused) as error:
        log.warning("stripe_not_clear", event_id=event.id, reason=str(error))
        # Not our success: Stripe repeats the event, and the reconciler asks by itself.
        return {"outcome": "later"}, 503
    return _close(known, str(outcome))


def _record(event: Event) -> StripeEvent:
    facts = {"type": event.type, "session_id": event.session_id, "is_live": event.is_live}
    with transaction():
        StripeEvent.insert(account=event.account, event_id=event.id, **facts).on_conflict_ignore().execute()
    return StripeEvent.get(StripeEvent.account == event.account, StripeEvent.event_id == event.id)


def _close(known: StripeEvent, outcome: str) -> tuple[dict[str, str], int]:
    with transaction():
        StripeEvent.update(outcome=outcome).where(StripeEvent.id == known.id).execute()
    return {"outcome": outcome}, 200
