"""`webhook/s` and `paid → mail`: sales from the payment to the letter, with the twin's signed events."""

import secrets
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import requests

from bench import engines, load, paper, shop
from bench.figures import Line, median, per_second, percent, percentile
from bench.scale import Scale
from database import connected
from domain import checkout, clock
from effects import payment as payments
from gateways import vault
from gateways.captured_mailbox import CapturedLetter
from models import Merchant

_LONGEST_WAIT_SECONDS = 120.0


def measure_webhooks(scale: Scale, folder: Path) -> Iterator[Line]:
    """Signed events as fast as they are taken: verified, recorded, the session asked for, settled, steps planned."""
    for name in engines.NAMES:
        place = folder / f"webhook-{name}"
        place.mkdir()
        with engines.started(name, place) as url:
            if url is None:
                continue
            with shop.opened(url, place) as running:
                yield _webhooks(name, running, scale)


def measure_mail(scale: Scale, folder: Path) -> Iterator[Line]:
    """From the moment of payment to the moment that the mail server has the letter with its PDF."""
    with engines.started("sqlite", folder) as url, shop.opened(str(url), folder) as running, running.working():
        one_by_one(running, count=2)  # the renderer warms up
        yield _single_sales(running, scale)
        yield _rush(running, scale)


def one_by_one(running: shop.Shop, *, count: int) -> list[float]:
    """Seconds from paid to mailed, of sales that wait for each other."""
    waits = []
    for _ in range(count):
        (session,) = _order(running, 1)
        paid_at, address = clock.now(), _pay(running, session)
        letters = _letters(running, [address])
        waits.append((letters[0].received_at - paid_at).total_seconds())
    return waits


def _single_sales(running: shop.Shop, scale: Scale) -> Line:
    waits = one_by_one(running, count=scale.single_sales)
    pdf = median(paper.print_milliseconds(scale.prints // 4)) / 1000
    return Line(
        "paid → mail, one order",
        f"p50 {median(waits):.2f} s, p95 {percentile(waits, 0.95):.2f} s over {len(waits)}",
        f"its PDF alone {pdf:.2f} s",
        f"{median(waits) / pdf:.1f} ×",
        "p95 ≤ 2 s",
    )


def _rush(running: shop.Shop, scale: Scale) -> Line:
    sessions = _order(running, scale.orders_at_once)
    began = clock.now()
    addresses = [_pay(running, session) for session in sessions]
    last = max(letter.received_at for letter in _letters(running, addresses))
    pdf = median(paper.print_milliseconds(scale.prints // 4)) / 1000
    return Line(
        f"paid → mail, {len(sessions)} orders at once",
        f"the last after {_seconds(began, last):.1f} s",
        f"their PDFs alone, in a row {pdf * len(sessions):.1f} s",
        f"{_seconds(began, last) / (pdf * len(sessions)):.1f} ×",
        "600 orders ≤ 5 min: half a second each",
    )


def _webhooks(name: str, running: shop.Shop, scale: Scale) -> Line:
    sessions = _order(running, scale.events)
    events = [running.twin.pay(session, deliver=False) for session, _ in sessions]
    signed = [running.twin.signed(event) for event in events]
    calls = [(headers, body.decode()) for body, headers in signed]
    result = load.run(load.Plan(port=running.port, path="/webhooks/stripe", calls=calls, is_once=True))
    asked = _ask_twin(running, [session for session, _ in sessions])
    p99 = percentile(result.latencies_ms, 0.99)
    refused = f", REFUSED {result.refused}" if result.refused else ""
    return Line(
        f"webhook/s {name}",
        f"{per_second(result.rate)}, p50 {median(result.latencies_ms):.0f} ms, p99 {p99:.0f} ms{refused}",
        f"the twin alone, one question at a time {per_second(asked)}",
        percent(result.rate / asked),
        "≥ 300/s, p99 ≤ 100 ms",
    )


def _ask_twin(running: shop.Shop, sessions: Sequence[str]) -> float:
    """Sessions that the twin shows in a second, one after another: every event costs the shop one such question."""
    began = time.perf_counter()
    with requests.Session() as client:
        client.headers["Authorization"] = f"Bearer {running.twin.secret_key}"
        for session in sessions:
            client.get(f"{running.twin.api_base}/v1/checkout/sessions/{session}", timeout=10).raise_for_status()
    return len(sessions) / (time.perf_counter() - began)


def _order(running: shop.Shop, count: int) -> list[tuple[str, str]]:
    """Orders with an open payment page, without the form and its limit per address: session, address of the buyer."""
    with running.app.app_context(), connected():
        merchant = running.merchant
        offer, design = merchant.offers.first(), merchant.designs.first()
        wish = checkout.UnitWish(offer=offer, design=design, value_minor=5000)
        return [_place(merchant, wish) for _ in range(count)]


def _place(merchant: Merchant, unit: checkout.UnitWish) -> tuple[str, str]:
    address = f"buyer-{secrets.token_hex(8)}@example.com"
    wish = checkout.Wish(buyer_name="Lukas", buyer_email=address, locale="de", units=[unit], nonce=secrets.token_hex(8))
    order = checkout.place(merchant, wish, ref=vault.new_order_ref(), is_test=True)
    payments.start(order)
    return order.payments.get().session_id, address


def _pay(running: shop.Shop, order: tuple[str, str]) -> str:
    session, address = order
    running.twin.pay(session)
    return address


def _letters(running: shop.Shop, addresses: Sequence[str]) -> list[CapturedLetter]:
    deadline, wanted = time.monotonic() + _LONGEST_WAIT_SECONDS, set(addresses)
    while time.monotonic() < deadline:
        found = {letter.recipient: letter for letter in running.mailbox.list() if letter.recipient in wanted}
        if len(found) == len(wanted):
            return list(found.values())
        time.sleep(0.02 if len(wanted) == 1 else 0.25)
    raise RuntimeError(f"{len(wanted) - len(found)} of {len(wanted)} letters did not come")


def _seconds(began: datetime, ended: datetime) -> float:
    return (ended - began).total_seconds()
