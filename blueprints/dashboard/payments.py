"""Ask Stripe about a payment, now. It never charges anybody."""

from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from blueprints.dashboard import desk, orders, tracks
from blueprints.dashboard.desk import blueprint
from domain import checkout, clock
from effects import payment as payments
from gateways.stripe_checkout import StripeRefused, StripeUnavailable
from models import Order, Payment


@blueprint.post("/orders/<number>/payment/check")
def check_payment(number: str) -> ResponseReturnValue:
    """Bring the payment to what Stripe says."""
    order = desk.order_or_404(number)
    payment = orders.newest_payment(order)
    standing = tracks.standing(order, payment=payment, steps=[], at=clock.now())
    if payment is None or not standing.can_check_payment:
        return orders.answer(order, ("run", _("Nothing to check: this payment is decided.")))
    return orders.answer(order, _ask(order, payment))


def _ask(order: Order, payment: Payment) -> desk.Notice:
    try:
        outcome = payments.confirm(payment, source=checkout.Source.BUTTON)
    except StripeUnavailable:
        return "bad", _("Stripe did not answer. Nothing was changed; we also ask again by ourselves.")
    except StripeRefused as error:
        return "bad", _("Stripe refused the question: %(why)s", why=error.message)
    return _OUTCOMES[outcome][0], _OUTCOMES[outcome][1]()


_OUTCOMES = {
    checkout.Outcome.SETTLED: ("ok", lambda: _("Payment confirmed")),
    checkout.Outcome.ALREADY_SETTLED: ("ok", lambda: _("Already confirmed")),
    checkout.Outcome.STILL_OPEN: ("run", lambda: _("Stripe says: not paid yet.")),
    checkout.Outcome.PROCESSING: ("run", lambda: _("Stripe says: the bank is still working on it.")),
    checkout.Outcome.EXPIRED: ("run", lambda: _("Stripe says: the payment page was closed without a payment.")),
    checkout.Outcome.FAILED: ("run", lambda: _("Stripe says: the bank refused the payment.")),
    checkout.Outcome.HELD: ("bad", lambda: _("Held: Stripe reports something else than was ordered.")),
}
