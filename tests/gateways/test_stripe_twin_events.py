"""Events on their way: signed, tried again, doubled, lost, late, in another order; by a seed that can be replayed."""

import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import stripe

from gateways.stripe_twin import Fault, Twin, book, delivery
from gateways.stripe_twin.faults import Draw
from gateways.stripe_twin.wire import API_VERSION
from tests.gateways.test_stripe_twin import connect, open_session


@pytest.fixture(scope="module")
def twin() -> Iterator[Twin]:
    with Twin() as running:
        yield running


@pytest.fixture
def client(twin: Twin) -> stripe.StripeClient:
    return connect(twin)


class Inbox:
    """A webhook address on loopback that keeps what it gets and answers what it is told to."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.signatures: list[str] = []
        self.answers: list[int] = []
        inbox = self

        class Desk(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                inbox.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                inbox.signatures.append(self.headers["Stripe-Signature"])
                self.send_response(inbox.answers.pop(0) if inbox.answers else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Desk)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    def pairs(self) -> list[tuple[bytes, str]]:
        """(body, signature) of everything that came."""
        return list(zip(self.bodies, self.signatures, strict=True))

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def inbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    monkeypatch.setattr(delivery, "RETRY_SECONDS", (0.02, 0.02, 0.02))
    box = Inbox()
    yield box
    box.close()


def test_a_paid_session_is_told_once_and_signed(inbox: Inbox) -> None:
    with Twin(webhook_url=inbox.url) as twin:
        client = connect(twin)
        event_id = twin.pay(open_session(client).id)
        assert twin.drain() and twin.delivery_state(event_id) == "delivered"
        event = client.construct_event(inbox.bodies[0], inbox.signatures[0], twin.webhook_secret)
    assert len(inbox.bodies) == 1
    assert (event.id, event.type, event.api_version) == (event_id, "checkout.session.completed", API_VERSION)


def test_the_thin_form_is_read_by_the_sdk_and_leads_to_the_session(twin: Twin, client: stripe.StripeClient) -> None:
    session_id = open_session(client).id
    body, headers = twin.signed_thin(twin.pay(session_id))
    note: Any = client.parse_event_notification(body, headers["Stripe-Signature"], twin.webhook_secret)
    assert type(note).__name__ == "V1CheckoutSessionCompletedEventNotification"
    assert note.fetch_related_object().payment_status == "paid" and note.related_object.id == session_id


@pytest.mark.req("F4")
def test_a_lost_event_is_on_record_and_never_sent(inbox: Inbox) -> None:
    with Twin(webhook_url=inbox.url) as twin:
        lost = [twin.pay(open_session(connect(twin)).id, deliver=False)]
        twin.switch(Fault.LOSE_EVENTS)
        lost.append(twin.pay(open_session(connect(twin)).id))
        twin.switch(Fault.LOSE_EVENTS, False)
        told = twin.pay(open_session(connect(twin)).id)
        assert twin.drain()
        assert [twin.delivery_state(one) for one in (*lost, told)] == ["lost", "lost", "delivered"]
        assert twin.deliver(lost[0], times=2) == [200, 200]
    assert len(inbox.bodies) == 3


@pytest.mark.req("F1")
def test_a_duplicated_event_is_the_same_event_each_time(inbox: Inbox) -> None:
    with Twin(webhook_url=inbox.url) as twin:
        twin.switch(Fault.DUPLICATE_EVENTS, 3, times=1)
        event_id = twin.pay(open_session(connect(twin)).id)
        assert twin.drain() and len(twin.attempts(event_id)) == 3
    assert len(inbox.bodies) == 3 and len(set(inbox.bodies)) == 1


def test_an_event_is_tried_again_until_it_is_taken(inbox: Inbox) -> None:
    inbox.answers = [500, 302]
    with Twin(webhook_url=inbox.url) as twin:
        event_id = twin.pay(open_session(connect(twin)).id)
        assert twin.drain()
        assert [attempt.status for attempt in twin.attempts(event_id)] == [500, 302, 200]
        assert twin.delivery_state(event_id) == "delivered"


def test_an_event_that_nobody_takes_is_given_up_after_four_tries(inbox: Inbox) -> None:
    inbox.close()
    with Twin(webhook_url=inbox.url) as twin:
        event_id = twin.pay(open_session(connect(twin)).id)
        assert twin.drain() and twin.delivery_state(event_id) == "failed"
        assert [(one.status, one.error) for one in twin.attempts(event_id)] == [(None, "ConnectionError")] * 4
    inbox.thread.join()


def test_a_pending_event_survives_a_restart(inbox: Inbox, tmp_path: Path) -> None:
    store = tmp_path / "twin.sqlite"
    with Twin(store=store, webhook_url=inbox.url) as twin:
        inbox.answers = [500] * 4
        event_id = twin.pay(open_session(connect(twin)).id)
        assert twin.drain() and twin.delivery_state(event_id) == "failed"
    with sqlite3.connect(store) as dead:
        dead.execute("UPDATE delivery SET state = 'pending', attempts = 1, due_at = 0")
    dead.close()
    with Twin(store=store, webhook_url=inbox.url) as twin:
        assert twin.drain() and twin.delivery_state(event_id) == "delivered"


def test_two_twins_on_one_store_send_each_event_once(inbox: Inbox, tmp_path: Path) -> None:
    store = tmp_path / "twin.sqlite"
    with Twin(store=store, webhook_url=inbox.url) as one, Twin(store=store, webhook_url=inbox.url) as other:
        ids = [open_session(connect(twin)).id for twin in (one, other) * 5]
        threads = [
            threading.Thread(target=twin.pay, args=(session_id,))
            for twin, session_id in zip((other, one) * 5, ids, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert one.drain() and other.drain()
    assert len(inbox.bodies) == 10 and len(set(inbox.bodies)) == 10


def test_a_late_event_waits_and_is_then_sent(inbox: Inbox) -> None:
    with Twin(webhook_url=inbox.url) as twin:
        client = connect(twin)
        first, second = open_session(client).id, open_session(client).id
        twin.switch(Fault.LATE_EVENTS, 0.4, times=1)
        late, soon = twin.pay(first), twin.pay(second)
        assert twin.drain()
        at = {one: twin.attempts(one)[0].attempted_at for one in (late, soon)}
    assert at[late] > at[soon] and len(inbox.bodies) == 2


@pytest.mark.req("F6")
def test_reordered_events_arrive_in_the_order_that_the_seed_says(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "HOLD_SECONDS", 60)
    with Twin(webhook_url=inbox.url) as twin:
        client = connect(twin)
        twin.switch(Fault.REORDER_EVENTS, 5, seed=4)
        ids = [twin.pay(open_session(client).id) for _ in range(5)]
        assert twin.drain()
        arrived = [client.construct_event(*pair, twin.webhook_secret).id for pair in inbox.pairs()]
    ranks = [Draw(5, place, 4).shuffled_rank(5)[1] for place in range(5)]
    assert arrived == [ids[ranks.index(rank)] for rank in range(5)] != ids


def test_a_block_that_never_fills_leaves_all_the_same(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "HOLD_SECONDS", 0.2)
    with Twin(webhook_url=inbox.url) as twin:
        twin.switch(Fault.REORDER_EVENTS, 50, seed=4)
        for _ in range(3):
            twin.pay(open_session(connect(twin)).id)
        assert twin.drain()
    assert len(inbox.bodies) == 3


def test_news_of_connected_accounts_are_sent_thin_and_signed(inbox: Inbox) -> None:
    with Twin(webhook_url=inbox.url) as twin:
        account = twin.connect()
        twin.disconnect(account)
        assert twin.drain()
        client = connect(twin)
        notes: list[Any] = [client.parse_event_notification(*pair, twin.webhook_secret) for pair in inbox.pairs()[:2]]
        event = client.construct_event(*inbox.pairs()[2], twin.webhook_secret)
    assert [str(note.context) for note in notes] == [account] * 2
    assert (event.type, event.account) == ("account.application.deauthorized", account)


def test_an_event_brought_by_hand_counts_as_delivered(inbox: Inbox) -> None:
    with Twin(webhook_url=inbox.url) as twin:
        lost = twin.pay(open_session(connect(twin)).id, deliver=False)
        inbox.answers = [500]
        assert twin.deliver(lost) == [500] and twin.delivery_state(lost) == "lost"
        assert twin.deliver(lost) == [200] and twin.delivery_state(lost) == "delivered"
