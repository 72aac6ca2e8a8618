"""What Stripe tells us: believed when it is signed, asked about before it is believed, settled once."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import flask
import pytest
from werkzeug.test import TestResponse

from domain import audit, clock
from gateways.stripe_twin import Fault, Twin
from models import Order, Payment, Step, StripeEvent, Voucher
from tests import sales
from tests.browser import Browser
from tests.reports import at_once, fresh

PATH = "/webhooks/stripe"
FORM = {"recipient_name": "Marie", "recipient_email": "marie@example.com"}


@pytest.fixture
def session_id(client: Browser, cast: object) -> str:
    """The Checkout session of an order that was just placed at Café Alba."""
    return sales.order(client, **FORM)


def _post(client: Browser, body: bytes, headers: dict[str, str] | None = None) -> TestResponse:
    return client.post(PATH, data=body, headers={"Content-Type": "application/json"} | (headers or {}))


def _untouched(session_id: str) -> bool:
    payment = Payment.get(Payment.session_id == session_id)
    return (payment.state, payment.order.payment_state, Step.select().count()) == ("open", "open", 0)


def _settled_once(order: Order) -> None:
    assert fresh(order).is_paid
    assert order.steps.count() == 4
    assert [entry.kind for entry in order.timeline].count("payment_confirmed") == 1
    assert audit.is_clean(audit.run())


# Settling


@pytest.mark.req("S1-11", "S1-12", "F5")
def test_a_signed_event_pays_the_order_and_rings_for_the_worker(
    app: flask.Flask, client: Browser, twin: Twin, session_id: str
) -> None:
    answer = sales.report(client, twin, twin.pay(session_id, deliver=False))
    assert (answer.status_code, answer.json) == (200, {"outcome": "settled"})
    assert len(app.extensions["huey"]) == 1
    _settled_once(sales.order_of(session_id))
    assert Voucher.select().count() == 0  # that is the worker's
    event = StripeEvent.get()
    assert (event.type, event.session_id, event.outcome) == ("checkout.session.completed", session_id, "settled")


@pytest.mark.req("S1-11")
def test_a_thin_event_is_as_good_as_a_whole_one(client: Browser, twin: Twin, session_id: str) -> None:
    body, headers = twin.signed_thin(twin.pay(session_id, deliver=False))
    assert _post(client, body, headers).json == {"outcome": "settled"}
    _settled_once(sales.order_of(session_id))


@pytest.mark.req("F1", "F3", "S1-31")
@pytest.mark.parametrize("is_page_first", [True, False])
def test_five_deliveries_by_eight_threads_beside_the_return_page_settle_once(
    app: flask.Flask, client: Browser, twin: Twin, session_id: str, is_page_first: bool
) -> None:
    order = sales.order_of(session_id)
    body, headers = twin.signed(twin.pay(session_id, deliver=False))
    page = flask.current_app.extensions["outside"].vault.order_link(order.ref)

    def deliver() -> list[int]:
        stripe = app.test_client()
        return [stripe.post(PATH, data=body, headers=headers).status_code for _ in range(5)]

    def look() -> list[int]:
        return [app.test_client().get(f"/o/{page}").status_code]

    callers = [look, *[deliver] * 7] if is_page_first else [*[deliver] * 7, look]
    answers = at_once(callers)
    assert [each for each in answers if set(each) != {200}] == []  # type: ignore[arg-type]
    _settled_once(order)
    assert StripeEvent.select().count() == 1


@pytest.mark.req("F1", "F2", "T8")
def test_the_same_event_again_and_another_event_of_the_same_payment_change_nothing(
    client: Browser, twin: Twin, session_id: str
) -> None:
    event_id = twin.pay(session_id, deliver=False)
    assert sales.report(client, twin, event_id).json == {"outcome": "settled"}
    assert sales.report(client, twin, event_id).json == {"outcome": "repeated"}
    other = {"id": "evt_other", "type": "checkout.session.async_payment_succeeded"}
    body, headers = twin.signed(event_id, changes=other)
    assert _post(client, body, headers).json == {"outcome": "already_settled"}
    _settled_once(sales.order_of(session_id))


@pytest.mark.req("F7", "S1-13")
@pytest.mark.parametrize(
    "reported",
    [{"amount_total": 4999}, {"amount_total": 10000}, {"currency": "usd"}, {"livemode": True},
     {"client_reference_id": "another"}, {"client_reference_id": None}, {"payment_status": "no_payment_required"}],
    ids=str,
)  # fmt: skip
def test_a_session_that_is_otherwise_than_agreed_is_held(
    client: Browser, twin: Twin, session_id: str, reported: dict[str, Any]
) -> None:
    event_id = twin.pay(session_id, deliver=False)
    twin.switch(Fault.MISMATCH, reported)
    assert sales.report(client, twin, event_id).json == {"outcome": "held"}
    order = sales.order_of(session_id)
    assert (order.payment_state, order.steps.count()) == ("review", 0)


@pytest.mark.req("F17")
@pytest.mark.parametrize("reported", [{"payment_status": None}, {"amount_total": None}, {"status": "strange"}], ids=str)
def test_an_answer_that_allows_no_conclusion_makes_stripe_come_back(
    client: Browser, twin: Twin, session_id: str, reported: dict[str, Any]
) -> None:
    event_id = twin.pay(session_id, deliver=False)
    twin.switch(Fault.MISMATCH, reported)
    assert sales.report(client, twin, event_id).status_code == 503
    assert _untouched(session_id)
    twin.switch(Fault.MISMATCH, False)
    assert sales.report(client, twin, event_id).json == {"outcome": "settled"}


@pytest.mark.req("F8")
@pytest.mark.parametrize(("succeed", "outcome", "state"), [(True, "settled", "paid"), (False, "failed", "failed")])
def test_a_bank_debit_waits_for_the_banks_answer(
    client: Browser, twin: Twin, session_id: str, succeed: bool, outcome: str, state: str
) -> None:
    order = sales.order_of(session_id)
    assert sales.report(client, twin, twin.pay_later(session_id, deliver=False)).json == {"outcome": "processing"}
    assert (fresh(order).payment_state, order.steps.count()) == ("processing", 0)
    answer = sales.report(client, twin, twin.settle_later(session_id, succeed=succeed, deliver=False))
    assert (answer.json, fresh(order).payment_state) == ({"outcome": outcome}, state)
    assert order.steps.count() == (4 if succeed else 0)


@pytest.mark.req("F6", "F8")
def test_a_refused_debit_stays_refused_when_the_first_event_comes_last(
    client: Browser, twin: Twin, session_id: str
) -> None:
    first = twin.pay_later(session_id, deliver=False)
    last = twin.settle_later(session_id, succeed=False, deliver=False)
    assert sales.report(client, twin, last).json == {"outcome": "failed"}
    assert sales.report(client, twin, first).json == {"outcome": "failed"}
    assert sales.order_of(session_id).payment_state == "failed"


@pytest.mark.req("F11")
def test_an_expired_event_does_not_cancel_an_order_that_stripe_says_is_paid(
    client: Browser, twin: Twin, session_id: str
) -> None:
    event_id = twin.pay(session_id, deliver=False)
    body, headers = twin.signed(event_id, changes={"id": "evt_expired", "type": "checkout.session.expired"})
    assert _post(client, body, headers).json == {"outcome": "settled"}
    assert _post(client, *twin.signed(event_id)).json == {"outcome": "already_settled"}
    _settled_once(sales.order_of(session_id))


# Forged, garbled, replayed


@pytest.mark.req("T8", "F18")
@pytest.mark.parametrize(
    "header",
    [None, "", "garbage", "t=1,v1=aa", "t=abc,v1=aa", "v1=é", "t=,v1=", "t=1", "v1=aa", "t=1,t=2,v1=aa",
     "t=" + "9" * 400 + ",v1=aa", "=" * 5000, "t=-1,v1=aa", "t=1.5,v1=aa", "t=٣,v1=aa", "t=1,v0=aa"],
)  # fmt: skip
def test_an_event_without_a_right_signature_is_refused(
    client: Browser, twin: Twin, session_id: str, header: str | None
) -> None:
    body, _ = twin.signed(twin.pay(session_id, deliver=False))
    answer = _post(client, body, {"Stripe-Signature": header.encode().decode("latin-1")} if header is not None else {})
    assert answer.status_code == 400
    assert _untouched(session_id)
    assert StripeEvent.select().count() == 0


@pytest.mark.req("T8")
@pytest.mark.parametrize("age", [301, 86400, -301, -86400])
def test_a_signature_from_another_time_is_refused(client: Browser, twin: Twin, session_id: str, age: int) -> None:
    body, headers = twin.signed(twin.pay(session_id, deliver=False), at=clock.now().timestamp() - age)
    assert _post(client, body, headers).status_code == 400
    assert _untouched(session_id)


@pytest.mark.req("T8", "F15")
def test_a_signature_by_another_secret_or_for_another_body_is_refused(
    client: Browser, twin: Twin, session_id: str
) -> None:
    event_id = twin.pay(session_id, deliver=False)
    body, headers = twin.signed(event_id, secret="whsec_another")
    assert _post(client, body, headers).status_code == 400
    body, headers = twin.signed(event_id)
    assert _post(client, body + b" ", headers).status_code == 400
    changed = body.replace(b"checkout.session.completed", b"checkout.session.expired..")
    assert changed != body
    assert _post(client, changed, headers).status_code == 400
    assert _untouched(session_id)


@pytest.mark.req("T8", "T31", "F18")
@pytest.mark.parametrize(
    "text",
    ["[]", "null", "true", "1", '""', "", "{", "{}", "[" * 100_000, '{"object":"event"}',
     '{"id":"evt_1","object":"event"}',
     '{"object":"event","id":5,"type":[],"livemode":"no"}', '{"object":"event","id":"evt_\\u0000","type":"a.b"}',
     '{"a":' + "9" * 5000 + "}"],
    ids=lambda text: f"{len(text)}-{text[:12]}",
)  # fmt: skip
def test_a_rightly_signed_body_that_is_no_event_is_refused(
    client: Browser, twin: Twin, session_id: str, text: str
) -> None:
    body, headers = twin.sign(text)
    assert _post(client, body, headers).status_code == 400
    assert StripeEvent.select().count() == 0


@pytest.mark.req("T8", "F18")
@pytest.mark.parametrize("body", [b"\xff", b"", b"\0" * 10, b"%PDF-1.7", b"\xed\xa0\x80"])
def test_a_body_that_is_no_text_is_refused(client: Browser, twin: Twin, cast: object, body: bytes) -> None:
    _, headers = twin.sign("{}")
    assert _post(client, body, headers).status_code == 400


@pytest.mark.req("T31", "F18")
def test_a_body_that_is_too_big_is_refused_before_it_is_read(client: Browser, twin: Twin, cast: object) -> None:
    body, headers = twin.sign(json.dumps({"object": "event", "data": "x" * 300_000}))
    # By its length alone: 400 would come from whoever has read it.
    assert _post(client, body, headers).status_code == 413
    assert StripeEvent.select().count() == 0


@pytest.mark.req("T42")
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_the_address_takes_posts_alone(client: Browser, cast: object, method: str) -> None:
    assert client.open(PATH, method=method).status_code == 405


# Of no concern


@pytest.mark.req("S1-11")
def test_an_event_about_a_session_that_is_not_ours_is_written_down_and_ignored(
    client: Browser, twin: Twin, session_id: str
) -> None:
    event_id = twin.pay(session_id, deliver=False)
    Payment.update(session_id="cs_test_ours").execute()
    assert sales.report(client, twin, event_id).json == {"outcome": "ignored"}
    assert StripeEvent.get().outcome == "ignored"
    assert _untouched("cs_test_ours")


def test_an_event_about_something_else_is_ignored(client: Browser, twin: Twin, session_id: str) -> None:
    event_id = twin.pay(session_id, deliver=False)
    body, headers = twin.signed(event_id, changes={"type": "customer.created", "data": {"object": {"id": "cus_1"}}})
    assert _post(client, body, headers).json == {"outcome": "ignored"}
    assert _untouched(session_id)


@pytest.mark.req("T8", "F7")
def test_an_event_of_the_other_mode_is_ignored(client: Browser, twin: Twin, session_id: str) -> None:
    body, headers = twin.signed(twin.pay(session_id, deliver=False), changes={"livemode": True})
    answer = _post(client, body, headers)
    assert (answer.status_code, answer.json) == (200, {"outcome": "ignored: other mode"})
    assert _untouched(session_id)


@pytest.mark.req("F15")
def test_an_event_of_another_account_settles_nothing_of_ours(client: Browser, twin: Twin, session_id: str) -> None:
    body, headers = twin.signed(twin.pay(session_id, deliver=False), changes={"account": "acct_other"})
    assert _post(client, body, headers).json == {"outcome": "ignored"}
    assert _untouched(session_id)


# Stripe is down, or the event is lost


@pytest.mark.req("F4", "F12", "F13")
@pytest.mark.parametrize("fault", [Fault.DOWN, Fault.RATE_LIMIT])
def test_while_stripe_does_not_answer_the_event_is_asked_for_again_and_then_settles(
    client: Browser, twin: Twin, session_id: str, fault: Fault
) -> None:
    event_id = twin.pay(session_id, deliver=False)
    body, headers = twin.signed(event_id)
    twin.switch(fault)
    for _ in range(2):
        assert _post(client, body, headers).status_code == 503
    assert _untouched(session_id)
    assert StripeEvent.get().outcome is None
    twin.switch(fault, False)
    assert _post(client, body, headers).json == {"outcome": "settled"}
    _settled_once(sales.order_of(session_id))


@pytest.mark.req("F4", "S1-06")
def test_a_payment_whose_event_was_lost_is_settled_by_the_sweeper_within_minutes(
    twin: Twin, session_id: str, sweep: Callable[[], dict[str, int]], smtp: Any
) -> None:
    twin.pay(session_id, deliver=False)
    order = sales.order_of(session_id)
    assert sweep()["payments_asked"] == 0
    assert not fresh(order).is_paid
    clock.move(timedelta(minutes=2, seconds=1))
    assert sweep()["payments_asked"] == 1
    _settled_once(order)
    assert [entry.actor for entry in order.timeline if entry.kind == "payment_confirmed"] == ["reconciler"]
    assert {step.state for step in order.steps} == {"done"}
    assert len(smtp.messages) == 2


@pytest.mark.req("F4", "S1-06")
def test_the_command_reconcile_settles_a_lost_payment_at_once(app: flask.Flask, twin: Twin, session_id: str) -> None:
    twin.pay(session_id, deliver=False)
    run = app.test_cli_runner().invoke(args=["reconcile"])
    assert (run.exit_code, json.loads(run.output)) == (0, {"settled": 1})
    _settled_once(sales.order_of(session_id))
    assert json.loads(app.test_cli_runner().invoke(args=["reconcile"]).output) == {}


@pytest.mark.req("F4")
def test_the_command_reconcile_says_when_stripe_did_not_answer(app: flask.Flask, twin: Twin, session_id: str) -> None:
    twin.pay(session_id, deliver=False)
    twin.switch(Fault.DOWN)
    run = app.test_cli_runner().invoke(args=["reconcile"])
    assert run.exit_code != 0
    assert "unreachable" in run.output
    assert _untouched(session_id)


@pytest.mark.req("F4")
def test_a_silent_stripe_does_not_stop_the_sweeper(
    twin: Twin, session_id: str, sweep: Callable[[], dict[str, int]]
) -> None:
    twin.pay(session_id, deliver=False)
    twin.switch(Fault.DOWN)
    clock.move(timedelta(minutes=3))
    assert sweep()["payments_asked"] == 1
    assert sweep()["payments_asked"] == 0
    twin.switch(Fault.DOWN, False)
    clock.move(timedelta(minutes=5))
    sweep()
    assert sales.order_of(session_id).is_paid
