"""Ask Stripe about a payment, now. It never charges anybody."""

from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from blueprints import returns
from blueprints.dashboard import desk, orders, tracks
from blueprints.dashboard.desk import blueprint
from domain import checkout, clock
from effects import payment as payments
from gateways.stripe_checkout import StripeRefused, StripeUnavailable
from models import Payment

_ANSWERS = {
    checkout.Outcome.SETTLED: ("ok", _l("Payment confirmed")),
    checkout.Outcome.ALREADY_SETTLED: ("ok", _l("Already confirmed")),
    checkout.Outcome.STILL_OPEN: ("run", _l("Stripe says: not paid yet.")),
    checkout.Outcome.PROCESSING: ("run", _l("Stripe says: the bank is still working on it.")),
    checkout.Outcome.EXPIRED: ("run", _l("Stripe says: the payment page was closed without a payment.")),
    checkout.Outcome.FAILED: ("run", _l("Stripe says: the bank refused the payment.")),
    checkout.Outcome.HELD: ("bad", _l("Held: Stripe reports something else than was ordered.")),
}


@blueprint.post("/orders/<number>/payment/check")
def check_payment(number: str) -> ResponseReturnValue:
    """Bring the payment to what Stripe says."""
    order = desk.order_or_404(number)
    payment = order.latest_payment
    standing = tracks.standing(order, returned=returns.of(order), steps=[], at=clock.now())
    if payment is None or not standing.can_check_payment:
        return orders.answer(order, ("run", _("Nothing to check: this payment is decided.")))
    return orders.answer(order, _ask(payment))


def _ask(payment: Payment) -> desk.Notice:
    try:
        outcome = payments.confirm(payment, source=checkout.Source.BUTTON)
    except StripeUnavailable:
        return "bad", _("Stripe did not answer. Nothing was changed; we also ask again by ourselves.")
    except StripeRefused as error:
        return "bad", _("Stripe refused the question: %(why)s", why=error.message)
    tone, sentence = _ANSWERS[outcome]
    return tone, str(sentence)
