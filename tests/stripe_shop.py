"""A shop at the Stripe gateway for the gateway's own tests, and servers that answer what no twin would."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from domain import clock
from gateways.stripe_checkout import CheckoutRequest, Line, StripeCheckout, StripeRefused
from gateways.stripe_twin import Twin

HOUR = timedelta(hours=1)


def connect(twin: Twin, *secrets: str, account: str = "") -> StripeCheckout:
    """The gateway at the running twin, with the twin's webhook secret unless told others."""
    known = secrets or (twin.webhook_secret,)
    return StripeCheckout(twin.secret_key, webhook_secrets=known, api_base=twin.api_base, account=account)


def ask(number: str = "1", **changes: object) -> CheckoutRequest:
    """What the order `G-<number>` has to pay: 100 euros in two lines."""
    request = CheckoutRequest(
        reference=f"G-{number}",
        lines=(Line("Gutschein 50 € – Café Alba", 5000), Line("Gutschein 25 €", 2500, quantity=2)),
        currency="EUR",
        buyer_email="anna@example.org",
        locale="de",
        success_url="https://shop.example/o/t?s={CHECKOUT_SESSION_ID}",
        cancel_url="https://shop.example/s/alba",
        expires_at=clock.now() + HOUR,
        idempotency_key=f"order-{number}-1-{time.monotonic_ns()}",
        merchant_name="Café Alba",
    )
    return replace(request, **changes)  # type: ignore[arg-type]


def sell(twin: Twin, shop: StripeCheckout, number: str = "1", **changes: object) -> tuple[str, str]:
    """An order that was paid by card; (session id, payment intent id)."""
    session_id = shop.open_session(ask(number, **changes)).id
    twin.pay(session_id)
    return session_id, shop.fetch_session(session_id).payment_intent_id or ""


@contextmanager
def scripted_json(body: object, *, status: str = "200 OK", headers: str = "") -> Iterator[str]:
    """A server on loopback that answers everything with this; the address."""
    text = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(text)}\r\n\r\n"
    with scripted(head.encode() + text) as base:
        yield base


@contextmanager
def scripted(answer: bytes, *, heard: list[str] | None = None) -> Iterator[str]:
    """A server on loopback that says the same to everything, and writes down what it `heard`; the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_answer_all, args=(server, answer, heard))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def _answer_all(server: socket.socket, answer: bytes, heard: list[str] | None) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            request = connection.recv(65536).decode()
            if heard is not None:
                heard.append(request)
            connection.sendall(answer)


def refused_for(twin: Twin, body: object, call: Callable[[StripeCheckout], object]) -> str:
    """The code with which the gateway refuses what Stripe answers."""
    with scripted_json(body) as base, pytest.raises(StripeRefused) as refused:
        call(StripeCheckout(twin.secret_key, webhook_secrets=(), api_base=base))
    return refused.value.code
