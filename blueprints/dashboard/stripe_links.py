"""Where a person looks at a payment at Stripe: in Stripe's own dashboard, or in the twin's back office."""

from urllib.parse import quote

from effects.outside import here
from models import Payment

_DASHBOARD = "https://dashboard.stripe.com"


def of_payment(payment: Payment) -> str:
    """The page of a payment, of its account; the list of payments when Stripe has not named it yet."""
    office = _office()
    if office:
        return f"{office}/?open={quote(payment.session_id or '')}"
    account = f"/{payment.account}" if payment.account else ""
    mode = "" if payment.is_live else "/test"
    page = f"/{payment.payment_intent_id}" if payment.payment_intent_id else ""
    return f"{_DASHBOARD}{account}{mode}/payments{page}"


def of_session(session_id: str) -> str:
    """The list of payments, searched for a session that is no order's."""
    office = _office()
    return f"{office}/?open={quote(session_id)}" if office else f"{_DASHBOARD}/search?query={quote(session_id)}"


def _office() -> str:
    """The twin's address in the reader's browser; empty where the real Stripe takes the payments."""
    settings = here().settings
    if settings.is_demo:
        return f"{settings.public_url}/demo/stripe"
    return (settings.stripe_base or "").rstrip("/")
