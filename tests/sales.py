"""A sale as people make it: over HTTP, with the twin's signed events. Used by the journeys."""

import re
from typing import Any

from werkzeug.test import TestResponse

from gateways.stripe_twin import Twin
from models import Order
from tests.browser import Browser
from tests.smtp import ScriptedServer

_SESSION = re.compile(r"cs_test_[A-Za-z0-9]+")


def order(client: Browser, shop: str = "cafe-alba", **fields: str) -> str:
    """Fill in the shop's form and press buy; returns the Checkout session's id."""
    form = {"amount": "50", "buyer_email": "lukas@example.com", "buyer_name": "Lukas"} | fields
    response = client.post(f"/s/{shop}/orders", data=form)
    assert response.status_code == 303, response.text
    found = _SESSION.search(response.location)
    assert found, response.location
    return found.group(0)


def report(client: Browser, twin: Twin, event_id: str) -> TestResponse:
    """Stripe's webhook request for an event, signed, arriving at the app."""
    body, headers = twin.signed(event_id)
    return client.post("/webhooks/stripe", data=body, headers=headers)


def pay(client: Browser, twin: Twin, session_id: str) -> Order:
    """The buyer pays and Stripe reports it; returns the order."""
    response = report(client, twin, twin.pay(session_id, deliver=False))
    assert response.status_code == 200, response.text
    return order_of(session_id)


def order_of(session_id: str) -> Order:
    """The order that a session belongs to."""
    from models import Payment

    return Payment.get(Payment.session_id == session_id).order


def pdfs(smtp: ScriptedServer) -> dict[str, bytes]:
    """Every PDF that was mailed: address → bytes."""
    found = {}
    for delivered in smtp.messages:
        for part in delivered.message.iter_attachments():
            if part.get_content_type() == "application/pdf":
                found[str(delivered.message["To"])] = part.get_content()
    return found


class Till:
    """A terminal with its key, speaking JSON."""

    def __init__(self, client: Browser, secret: str) -> None:
        self._client, self._headers = client, {"Authorization": f"Bearer {secret}"}

    def validate(self, code: str, amount_minor: int, currency: str = "EUR") -> dict[str, Any]:
        """The answer to a validation."""
        body = {"code": code, "amount_minor": amount_minor, "currency": currency}
        response = self._client.post("/api/v1/vouchers/validate", json=body, headers=self._headers)
        assert response.status_code == 200, response.text
        return dict(response.get_json())

    def redeem(self, code: str, amount_minor: int, *, key: str, **fields: Any) -> TestResponse:
        """The whole answer to a redemption."""
        body = {"code": code, "amount_minor": amount_minor, "currency": "EUR"} | fields
        headers = self._headers | {"Idempotency-Key": key}
        return self._client.post("/api/v1/vouchers/redeem", json=body, headers=headers)


def sign_in(client: Browser, email: str, password: str) -> None:
    """Log in through the form."""
    token = csrf(client.get("/login").text)
    response = client.post("/login", data={"email": email, "password": password, "csrf_token": token})
    assert response.status_code == 303, response.text


def press(client: Browser, page: str, action: str, **fields: str) -> TestResponse:
    """Press the button of the form on `page` whose action ends with `action`, with its hidden fields."""
    html = client.get(page).text
    for form in re.findall(r"<form\b.*?</form>", html, re.DOTALL):
        target = re.search(r'action="([^"]*)"', form)
        if target and target.group(1).endswith(action):
            hidden = dict(re.findall(r'<input[^>]*type="hidden"[^>]*name="([^"]+)"[^>]*value="([^"]*)"', form))
            return client.post(target.group(1), data=hidden | fields)
    raise AssertionError(f"no button for {action} on {page}")


def csrf(html: str) -> str:
    """The CSRF token that the page's forms carry."""
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', html)
    assert found, "no CSRF token on the page"
    return found.group(1)
