"""What goes wrong on purpose goes wrong as it does at Stripe, and the same way again with the same seed."""

import time
from collections.abc import Iterator
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests
import stripe

from domain import clock
from gateways.stripe_twin import Fault, Twin
from tests.gateways.test_stripe_twin import connect, open_session, params


@pytest.fixture
def twin() -> Iterator[Twin]:
    with Twin() as running:
        yield running


@pytest.fixture(autouse=True)
def present() -> Iterator[None]:
    yield
    clock.reset()


@pytest.fixture
def client(twin: Twin) -> stripe.StripeClient:
    return connect(twin)


def patient(twin: Twin) -> stripe.StripeClient:
    """A client that tries again by itself."""
    return stripe.StripeClient(twin.secret_key, base_addresses={"api": twin.api_base}, max_network_retries=2)


# The API


def test_too_many_requests_say_when_to_come_back(twin: Twin, client: stripe.StripeClient) -> None:
    twin.switch(Fault.RATE_LIMIT, 7, times=1)
    with pytest.raises(stripe.RateLimitError) as refused:
        open_session(client)
    assert refused.value.headers["retry-after"] == "7" and twin.sessions() == []  # type: ignore[index]
    open_session(client)


@pytest.mark.parametrize(("value", "status"), [(True, 500), (502, 502), (503, 503)])
def test_an_error_before_the_work_did_nothing_and_the_same_key_works(
    twin: Twin, client: stripe.StripeClient, value: Any, status: int
) -> None:
    twin.switch(Fault.ERROR_BEFORE_WORK, value, times=1)
    options: Any = {"idempotency_key": "before"}
    with pytest.raises(stripe.APIError) as refused:
        client.v1.checkout.sessions.create(params(), options)
    assert refused.value.http_status == status and twin.sessions() == []
    assert client.v1.checkout.sessions.create(params(), options).status == "open"


def test_an_error_after_the_work_is_replayed_under_its_key(twin: Twin, client: stripe.StripeClient) -> None:
    twin.switch(Fault.ERROR_AFTER_WORK, times=1)
    options: Any = {"idempotency_key": "after"}
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            client.v1.checkout.sessions.create(params(), options)
    assert len(twin.sessions()) == 1


@pytest.mark.parametrize("how", [True, "unanswered", "halfway"])
def test_a_cut_answer_hides_work_that_was_done_once(twin: Twin, client: stripe.StripeClient, how: Any) -> None:
    twin.switch(Fault.CUT, how, times=1)
    options: Any = {"idempotency_key": "cut"}
    with pytest.raises(stripe.APIConnectionError):
        client.v1.checkout.sessions.create(params(), options)
    assert len(twin.sessions()) == 1
    again = client.v1.checkout.sessions.create(params(), options)
    assert [again.id] == [one["id"] for one in twin.sessions()]


def test_halfway_really_ends_in_the_middle_of_the_bytes(twin: Twin) -> None:
    twin.switch(Fault.CUT, "halfway", times=1)
    head = {"Authorization": f"Bearer {twin.secret_key}", "Content-Type": "application/json"}
    facts = {"contact_email": "a@example.org"}
    with requests.post(f"{twin.api_base}/v2/core/accounts", json=facts, headers=head, stream=True, timeout=5) as cut:
        size, got = int(cut.headers["Content-Length"]), b""
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            for piece in cut.iter_content(1):
                got += piece
    assert 0 < len(got) < size


def test_a_client_that_tries_again_gets_the_one_session(twin: Twin) -> None:
    twin.switch(Fault.CUT, times=1)
    session = open_session(patient(twin))
    assert [one["id"] for one in twin.sessions()] == [session.id]


def test_slow_is_after_the_work(twin: Twin, client: stripe.StripeClient) -> None:
    twin.switch(Fault.SLOW, 0.3, times=1)
    begun = time.monotonic()
    open_session(client)
    assert time.monotonic() - begun >= 0.3


def test_stripes_clock_follows_ours_or_is_ahead_as_wished(twin: Twin) -> None:
    def ahead() -> float:
        answer = requests.get(f"{twin.api_base}/v1/events", auth=(twin.secret_key, ""), timeout=5)
        return (parsedate_to_datetime(answer.headers["Date"]) - clock.now()).total_seconds()

    clock.move(timedelta(days=3))
    assert abs(ahead()) < 3
    twin.switch(Fault.CLOCK, 400)
    assert 395 < ahead() < 403


# Events: by seed, so that a run can be replayed


def sell(twin: Twin, count: int) -> list[str]:
    """The ids of so many `checkout.session.completed`."""
    client = connect(twin)
    return [twin.pay(open_session(client).id) for _ in range(count)]


def fates(seed: int) -> tuple[list[bool], list[int]]:
    """(lost?, copies) of 40 events under chance from a seed, and the order in which they would leave."""
    with Twin() as twin:
        twin.switch(Fault.LOSE_EVENTS, ratio=0.2, seed=seed)
        twin.switch(Fault.DUPLICATE_EVENTS, 2, ratio=0.3, seed=seed)
        twin.switch(Fault.REORDER_EVENTS, 5, seed=seed)
        ids = sell(twin, 40)
        assert sum(twin.delivery_state(one) == "lost" for one in ids) + len(set(twin.outbox())) == 40
        return [twin.delivery_state(one) == "lost" for one in ids], [ids.index(one) for one in twin.outbox()]


@pytest.mark.req("F6")
def test_the_same_seed_loses_doubles_and_shuffles_the_same_events() -> None:
    one, again, other = fates(1), fates(1), fates(2)
    assert one == again and one != other
    lost, order = one
    assert 2 <= sum(lost) <= 16 and len(order) > len(set(order)) and order != sorted(order)


def test_reordered_events_change_places_within_their_block_and_all_leave(twin: Twin) -> None:
    twin.switch(Fault.REORDER_EVENTS, 4, seed=3)
    ids = sell(twin, 12)
    order = [ids.index(one) for one in twin.outbox()]
    assert sorted(order) == list(range(12)) and order != list(range(12))
    assert [sorted(order[at : at + 4]) for at in (0, 4, 8)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_what_nobody_has_fetched_is_listed_and_what_arrived_is_not(twin: Twin, client: stripe.StripeClient) -> None:
    lost, brought, pending = (twin.pay(open_session(client).id, deliver=deliver) for deliver in (False, True, True))
    twin.mark_delivered(brought)
    listed = client.v1.events.list({"delivery_success": False, "types": ["checkout.session.completed"]})
    assert [one.id for one in listed.data] == [pending, lost]
    arrived = client.v1.events.list({"delivery_success": True, "types": ["checkout.session.completed"]})
    assert [one.id for one in arrived.data] == [brought]


def test_a_fault_for_a_share_of_calls_strikes_that_share(twin: Twin, client: stripe.StripeClient) -> None:
    twin.switch(Fault.RATE_LIMIT, ratio=0.5, seed=11)
    struck = 0
    for _ in range(40):
        try:
            client.v1.events.list()
        except stripe.RateLimitError:
            struck += 1
    assert 10 <= struck <= 30
    twin.switch(Fault.RATE_LIMIT, False)
    client.v1.events.list()
