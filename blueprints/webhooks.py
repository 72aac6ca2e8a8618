"""What Stripe tells us. An event is a hint: it is verified, written down, and Stripe is asked what is true now."""

import flask
import structlog

from effects import events
from effects.outside import here
from gateways.stripe_checkout import Event, EventRefused, StripeRefused, StripeUnavailable
from gateways.stripe_events import MAX_EVENT_BYTES

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
    try:
        return {"outcome": events.take(event, source="webhook")}, 200
    except (StripeUnavailable, StripeRefused) as error:
        log.warning("stripe_not_clear", event_id=event.id, reason=str(error))
        # Not our success: Stripe repeats the event, and the regular checks ask by themselves.
        return {"outcome": "later"}, 503
