"""Thousands of events, doubled, shuffled and lost: every sale is settled once, the lost ones by asking.

`STORM_EVENTS=20000` is the long run.
"""

import os
import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import flask
import pytest

import database
from domain import audit, clock
from domain.states import DisputeState, PaymentState, StepName
from effects import payment as payments
from effects import watch
from gateways.stripe_twin import Twin
from models import Dispute, Merchant, Order, Payment, Refund, Step, StripeEvent, TimelineEntry, Voucher
from tests import cast as casting

EVENTS = int(os.environ.get("STORM_EVENTS", "300"))
SENDERS = 4
# An order in this share of cases also goes through what takes more events than one.
LATE, REFUNDED, DISPUTED, WON = 5, 10, 20, 40
EVENTS_FOR_AN_ORDER = 1.45


@pytest.mark.req("F1", "F2", "F4", "F6")
@pytest.mark.timeout(240 + EVENTS)
def test_a_storm_of_doubled_shuffled_and_lost_events_settles_every_sale_once(
    app: flask.Flask, merchant: Merchant, twin: Twin, silent_bell: None, chance: random.Random
) -> None:
    seed = chance.randrange(10**6)
    twin.switch("duplicate_events", 2, ratio=0.3, seed=seed)
    twin.switch("reorder_events", 40, ratio=0.2, seed=seed)
    twin.switch("lose_events", True, ratio=0.05, seed=seed)
    orders = [casting.place(merchant) for _ in range(int(EVENTS / EVENTS_FOR_AN_ORDER))]
    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(lambda numbered: _sell(app, twin, *numbered), enumerate(orders)))
    heard = _send(app, twin, twin.outbox())
    known_by_webhook = StripeEvent.select().count()
    by_asking = _ask_for_ten_minutes()
    print(f"seed {seed}: {len(orders)} orders, {heard}, {known_by_webhook} events once, by asking {by_asking}")
    _assert_settled(orders)
    assert sum(heard.values()) > 1.2 * known_by_webhook, "too few were doubled"
    lost = StripeEvent.select().where(StripeEvent.source == "list").count()
    assert lost > 0.02 * known_by_webhook, "nothing was lost, so nothing was proven"


def _sell(app: flask.Flask, twin: Twin, number: int, order: Order) -> None:
    """The buyer pays, and what may happen to a payment happens to some."""
    with app.app_context(), database.connected():
        payments.start(order)
        session_id = order.latest_payment.session_id
    if number % LATE == 0:
        twin.pay_later(session_id)
        twin.settle_later(session_id, succeed=True)
        return
    twin.pay(session_id)
    if number % DISPUTED == 1:
        dispute_id = twin.dispute(session_id)
        twin.close_dispute(dispute_id, won=number % WON == 1)
    elif number % REFUNDED == 2:
        twin.refund(session_id)


def _send(app: flask.Flask, twin: Twin, event_ids: list[str]) -> Counter[str]:
    """Every event in its order by several senders at once, as Stripe's own arrive; 503 is sent again at the end."""
    outcomes: Counter[str] = Counter()
    again: list[str] = []
    lock, queue = threading.Lock(), iter(event_ids)

    def work() -> None:
        client = app.test_client()
        for event_id in _shared(queue, lock):
            body, headers = twin.signed(event_id)
            response = client.post("/webhooks/stripe", data=body, headers=headers)
            assert response.status_code in (200, 503), response.text
            with lock:
                outcomes[response.get_json()["outcome"]] += 1
                if response.status_code == 503:
                    again.append(event_id)
                else:
                    twin.mark_delivered(event_id)

    with ThreadPoolExecutor(SENDERS) as pool:
        for sender in [pool.submit(work) for _ in range(SENDERS)]:
            sender.result()
    return outcomes + _send(app, twin, again) if again else outcomes


def _shared(queue: Iterator[str], lock: threading.Lock) -> Iterator[str]:
    while True:
        with lock:
            event_id = next(queue, None)
        if event_id is None:
            return
        yield event_id


def _ask_for_ten_minutes() -> Counter[str]:
    found: Counter[str] = Counter()
    for _ in range(2):
        clock.move(timedelta(minutes=5))
        for name, outcome in watch.run(clock.now()).items():
            found[name] += sum(outcome.values()) if isinstance(outcome, dict) else int(outcome or 0)
    return found


def _assert_settled(orders: list[Order]) -> None:
    assert Order.select().where(Order.payment_state != PaymentState.PAID).count() == 0
    assert Payment.select().where(Payment.state == PaymentState.PAID).count() == len(orders)
    confirmed = TimelineEntry.select().where(TimelineEntry.kind == "payment_confirmed")
    assert confirmed.count() == len(orders), "settled twice"
    assert Step.select().where(Step.name == StepName.CREATE).count() == len(orders), "planned twice"
    numbers = range(len(orders))
    disputed = [n for n in numbers if n % LATE and n % DISPUTED == 1]
    assert Dispute.select().where(Dispute.state == DisputeState.OPEN).count() == 0
    assert Dispute.select().count() == len(disputed)
    assert Dispute.select().where(Dispute.state == DisputeState.WON).count() == sum(n % WON == 1 for n in disputed)
    refunded = [n for n in numbers if n % LATE and n % DISPUTED != 1 and n % REFUNDED == 2]
    assert Refund.select().count() == len(refunded)
    assert Voucher.select().count() == 0  # the worker rests: this is about payments alone
    findings = audit.run()
    assert audit.is_clean(findings), findings
