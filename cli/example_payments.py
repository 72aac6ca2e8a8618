"""The example's orders whose money did not simply stay: refunded in part, disputed, held for a wrong amount.

They are paid at the twin, so in the demo every button on them does what it says.
"""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import flask

from domain import checkout, disputes, fulfilment, refunds
from effects import connect as accounts
from effects import payment as payments
from effects import refund as money_back
from effects import work
from effects.outside import Outside, here
from gateways.stripe_checkout import CheckoutRequest, Line, StripeCheckout
from gateways.stripe_twin import Twin
from models import Connection, Merchant, Order, Payment


def connect(merchant: Merchant) -> Merchant:
    """Where every merchant has an account of its own, this one's is ready; the merchant as it is afterwards."""
    if not here().settings.stripe_connect:
        return merchant
    page = f"{here().settings.public_url}/dashboard/payments"
    with _twin() as twin:
        accounts.start(merchant, return_url=page, refresh_url=page, actor="example")
        connection = Connection.get(Connection.merchant == merchant)
        twin.finish_onboarding(connection.account)
        accounts.refresh(connection)
    return Merchant.get_by_id(merchant.id)


def refund_in_part(order: Order, *, minor: int) -> None:
    """The order is paid and its voucher made; then a part of the price goes back."""
    with _twin() as twin:
        _pay(order, twin)
        refund = refunds.ask(order, {1: minor}, nonce=f"example{order.id}", actor="example", reason="Dessert war aus")
        money_back.send(refund)


def dispute(order: Order) -> None:
    """The order is paid and its voucher made; then the cardholder contests the payment."""
    with _twin() as twin:
        payment = _pay(order, twin)
        case = twin.dispute(str(payment.session_id), deliver=False)
        disputes.learn(payment, here().stripe.at(payment.account).disputes.fetch(case))


def hold(order: Order, *, minor: int) -> None:
    """The payment page asked for another amount than the order, so what was paid is held."""
    with _twin() as twin:
        payment = checkout.open_payment(order, is_live=False)
        session = here().stripe.at(payment.account).open_session(_wrong_request(order, payment, minor))
        checkout.attach_session(payment, session_id=session.id, url=session.url)
        twin.pay(session.id, deliver=False)
        payments.confirm(Payment.get_by_id(payment.id), source=checkout.Source.WEBHOOK)


def _pay(order: Order, twin: Twin) -> Payment:
    payments.start(order)
    payment: Payment = order.payments.get()
    twin.pay(str(payment.session_id), deliver=False)
    payments.confirm(payment, source=checkout.Source.WEBHOOK)
    while (step := fulfilment.claim("example", order_id=order.id)) is not None:
        work.perform(step)
    return Payment.get_by_id(payment.id)


def _wrong_request(order: Order, payment: Payment, minor: int) -> CheckoutRequest:
    page = f"{here().settings.public_url}/s/{order.merchant.slug}"
    return CheckoutRequest(
        reference=order.ref,
        merchant_name=order.merchant.name,
        merchant_slug=order.merchant.slug,
        lines=(Line(name=f"Gutschein – {order.merchant.name}", amount_minor=minor),),
        currency=order.currency,
        buyer_email=order.buyer_email,
        locale=order.locale,
        success_url=page,
        cancel_url=page,
        expires_at=payment.expires_at,
        idempotency_key=payment.idempotency_key,
    )


@contextmanager
def _twin() -> Iterator[Twin]:
    """The demo's twin before its web server runs, or one of a moment; meanwhile it is this process's Stripe."""
    outside: Outside = here()
    store = outside.settings.twin_file if outside.settings.is_demo else None
    key = outside.settings.stripe_key if outside.settings.is_demo else "sk_test_example"
    with Twin(store=store, secret_key=key) as twin:
        stripe = StripeCheckout(key, webhook_secrets=(), api_base=twin.api_base)
        flask.current_app.extensions["outside"] = dataclasses.replace(
            outside, stripe=stripe, ring=lambda *_, **__: None
        )
        try:
            yield twin
        finally:
            flask.current_app.extensions["outside"] = outside
