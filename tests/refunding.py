"""Orders whose money goes back or is contested, made at the twin; and many clicks at once. Used by the desk's tests."""

import re
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import flask
from werkzeug.test import TestResponse

from database import transaction
from domain import fulfilment
from domain.states import StepName
from effects import voucher as vouchers
from gateways.stripe_twin import Twin
from models import Order, Voucher
from tests import sales
from tests.browser import Browser

HTMX = {"HX-Request": "true"}


def sold(client: Browser, twin: Twin, **fields: str) -> Order:
    """An order that was paid at the twin; its vouchers are made, and its mails count as sent."""
    return made(sales.pay(client, twin, sales.order(client, **fields)))


def made(order: Order) -> Order:
    """Work on the order's steps without a press and a mail server."""
    while (step := fulfilment.claim("test", order_id=order.id)) is not None:
        if step.name == StepName.CREATE:
            vouchers.create(step)
        else:
            with transaction():
                fulfilment.finish(step)
    return fresh(order)


def fresh(order: Order) -> Order:
    """The order as the database has it now."""
    found: Order = Order.get_by_id(order.id)
    return found


def page_of(order: Order) -> str:
    """Where the dashboard shows an order."""
    return f"/dashboard/orders/{order.number}"


def voucher_of(order: Order) -> Voucher:
    """The order's one voucher as it is now."""
    return order.vouchers.get()


def session_of(order: Order) -> str:
    """The Checkout session that paid the order."""
    return str(order.payments.get().session_id)


def report_all(client: Browser, twin: Twin, kind: str) -> None:
    """Stripe's webhook requests for all events of a kind."""
    for event in twin.events(kind):
        answer = sales.report(client, twin, event["id"])
        assert answer.status_code == 200, answer.text


def dispute(client: Browser, twin: Twin, order: Order, **options: object) -> str:
    """The cardholder or the bank contests the payment, and Stripe reports it; the dispute's id."""
    dispute_id = twin.dispute(session_of(order), **options)  # type: ignore[arg-type]
    report_all(client, twin, "charge.dispute.created")
    return dispute_id


def warn(client: Browser, twin: Twin, order: Order) -> str:
    """The card's bank suspects fraud, and Stripe reports it; the warning's id."""
    warning_id = twin.warn(session_of(order))
    report_all(client, twin, "radar.early_fraud_warning.created")
    return warning_id


def refund_at_stripe(client: Browser, twin: Twin, order: Order, amount: int | None = None) -> str:
    """Somebody refunds in Stripe's dashboard, and Stripe reports it; the refund's id."""
    refund_id = twin.refund(session_of(order), amount)
    report_all(client, twin, "charge.refunded")
    return refund_id


def form_on(html: str, action: str, *, containing: str = "") -> dict[str, str]:
    """The hidden fields of the form on a page whose action ends with `action`."""
    for form in re.findall(r"<form\b.*?</form>", html, re.DOTALL):
        target = re.search(r'action="([^"]*)"', form)
        if target and target.group(1).endswith(action) and containing in form:
            return dict(re.findall(r'<input[^>]*type="hidden"[^>]*name="([^"]+)"[^>]*value="([^"]*)"', form))
    raise AssertionError(f"no form for {action}")


def clicks(
    app: flask.Flask, client: Browser, url: str, data: Mapping[str, str], *, count: int = 10
) -> list[TestResponse]:
    """The same form sent `count` times at the same moment from browsers that share one log-in."""
    cookie = client.get_cookie("session")
    assert cookie is not None
    headers = HTMX | {"Cookie": f"session={cookie.value}"}
    together = threading.Barrier(count)

    def click(_number: int) -> TestResponse:
        browser = app.test_client(use_cookies=False)
        together.wait(timeout=20)
        return browser.post(url, data=dict(data), headers=headers)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(click, range(count)))
