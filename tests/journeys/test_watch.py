"""The watch: what no webhook told is found by asking, money that nothing explains is shown, and nothing hides."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import flask
import pytest

import tasks
from domain import audit, breakers, checkout, checks, clock, fulfilment, needs
from domain.needs import NeedKind
from domain.states import FINISHED, PaymentState
from effects import watch
from effects.outside import Outside
from gateways import vault
from gateways.stripe_checkout import CheckoutRequest, Line
from gateways.stripe_twin import Fault, Twin
from models import Check, Merchant, Order, Payment, Step, Stray, StripeEvent, Unit, Voucher
from tests import cast as casting
from tests import sales
from tests.browser import Browser
from tests.reports import fresh
from tests.smtp import ScriptedServer


@pytest.fixture
def session_id(client: Browser, cast: casting.Cast) -> str:
    """The Checkout session of an order that was just placed at Café Alba."""
    return sales.order(client, amount="50")


def look(**passed: float) -> dict[str, Any]:
    """A round of the watch after some time."""
    clock.move(timedelta(**passed))
    return watch.run(clock.now())


def foreign_session(outside: Outside, *, reference: str, merchant: str = "", key: str = "foreign") -> str:
    """A payment page on our account that our books know nothing of."""
    request = CheckoutRequest(
        reference=reference,
        lines=(Line("Something", 4200),),
        currency="EUR",
        buyer_email="somebody@example.com",
        locale="de",
        success_url="http://localhost/ok",
        cancel_url="http://localhost/back",
        expires_at=clock.now() + timedelta(minutes=60),
        idempotency_key=key,
        merchant_slug=merchant,
    )
    return outside.stripe.open_session(request).id


def forget(session_id: str) -> Order:
    """Our books as they are when Stripe's answer was lost: an attempt that knows of no session."""
    order = sales.order_of(session_id)
    Payment.update(session_id=None, url=None, next_check_at=None).where(Payment.session_id == session_id).execute()
    return order


def unmatched(merchant: Merchant) -> needs.Unmatched:
    return needs.unmatched(merchant, clock.now())


# Asking


@pytest.mark.req("F4", "G18", "S1-06")
def test_with_every_webhook_lost_each_order_is_settled_within_ten_minutes(
    client: Browser, cast: Any, twin: Twin
) -> None:
    sessions = [sales.order(client, amount="50", buyer_email=f"b{n}@example.com") for n in range(5)]
    for session_id in sessions[:4]:
        twin.pay(session_id, deliver=False)
    for _ in range(10):
        look(minutes=1)
    assert [sales.order_of(each).is_paid for each in sessions] == [True] * 4 + [False]
    assert audit.is_clean(audit.run())


@pytest.mark.req("F4")
def test_an_open_session_is_asked_about_when_its_time_has_come(session_id: str, twin: Twin) -> None:
    twin.pay(session_id, deliver=False)
    assert watch._ask_due(clock.now()) == {}
    clock.move(timedelta(minutes=2, seconds=1))
    assert watch._ask_due(clock.now()) == {"settled": 1}


@pytest.mark.req("F4")
def test_a_session_that_stripe_does_not_know_is_not_asked_about_for_ever(session_id: str, twin: Twin) -> None:
    Payment.update(session_id="cs_test_unknown").where(Payment.session_id == session_id).execute()
    clock.move(timedelta(hours=24))
    assert watch._ask_due(clock.now()) == {"refused": 1}
    assert Payment.get().state == PaymentState.OPEN, "its time and a day of grace are not over"
    clock.move(timedelta(hours=2))
    assert watch._ask_due(clock.now()) == {"refused": 1}
    assert (Payment.get().state, Order.get().payment_state) == (PaymentState.EXPIRED, PaymentState.EXPIRED)
    clock.move(timedelta(days=2))
    assert watch._ask_due(clock.now()) == {}


@pytest.mark.req("F4")
def test_an_event_that_was_not_delivered_is_taken_once_from_stripes_list(session_id: str, twin: Twin) -> None:
    event_id = twin.pay(session_id, deliver=False)
    Payment.update(next_check_at=None).execute()  # only the list of events can tell
    found = watch._take_undelivered(clock.now())
    assert found.get("settled") == 1
    assert sales.order_of(session_id).is_paid
    event = StripeEvent.get(StripeEvent.event_id == event_id)
    assert (event.source, event.outcome) == ("list", "settled")
    assert set(watch._take_undelivered(clock.now())) <= {"repeated"}


@pytest.mark.req("F4", "G18")
def test_a_payment_that_nobody_reported_is_found_by_the_comparison_within_two_minutes(
    session_id: str, twin: Twin, merchant: Merchant
) -> None:
    look()
    twin.pay(session_id, deliver=False)
    Payment.update(next_check_at=None).execute()
    Check.update(ran_at=clock.now() + timedelta(minutes=3)).where(Check.name == "events:turn").execute()
    assert look(minutes=2)["payments"] == {"settled": 1}
    assert sales.order_of(session_id).is_paid


@pytest.mark.req("F12", "G18")
@pytest.mark.parametrize("is_closed", [False, True], ids=["while it waits", "after its time"])
def test_a_session_whose_opening_was_never_answered_is_adopted_when_it_is_paid(
    session_id: str, twin: Twin, is_closed: bool
) -> None:
    order = forget(session_id)
    twin.pay(session_id, deliver=False)
    if is_closed:
        clock.move(timedelta(minutes=61))
        assert checkout.expire_unopened(clock.now()) == 1
    assert look(minutes=2)["payments"] == {"settled": 1}
    assert fresh(order).is_paid
    paid = [payment.session_id for payment in order.payments if payment.state == PaymentState.PAID]
    assert paid == [session_id]
    assert look(minutes=2)["payments"] == {"known": 1}
    assert audit.is_clean(audit.run())


@pytest.mark.req("F10", "G18")
def test_a_second_session_that_was_paid_too_is_held_and_makes_no_voucher(
    session_id: str, twin: Twin, outside: Outside, sweep: Callable[[], object]
) -> None:
    order = sales.order_of(session_id)
    second = foreign_session(outside, reference=order.ref, merchant="cafe-alba")
    twin.pay(session_id, deliver=False)
    twin.pay(second, deliver=False)
    look(minutes=3)
    sweep()
    assert sorted(payment.state for payment in fresh(order).payments) == ["paid", "review"]
    assert Voucher.select().count() == 1


# What belongs to nobody here


@pytest.mark.req("F66", "G18")
def test_money_for_an_order_that_the_books_do_not_have_is_red_in_the_next_round(
    cast: casting.Cast, outside: Outside, twin: Twin, merchant: Merchant, other_merchant: Merchant
) -> None:
    lost = foreign_session(outside, reference=vault.new_order_ref(), merchant="cafe-alba")
    twin.pay(lost, deliver=False)
    assert look()["payments"] == {"stray": 1}
    assert look(minutes=2)["payments"] == {"stray": 1}
    stray = Stray.get()
    assert (stray.session_id, stray.amount_minor, stray.currency, stray.merchant) == (lost, 4200, "EUR", merchant)
    assert (unmatched(merchant).count, unmatched(other_merchant).count) == (1, 0)
    assert [need.kind for need in needs.attention(merchant, clock.now())] == [NeedKind.STRAY]


@pytest.mark.req("G18")
def test_the_payments_of_other_software_on_the_same_account_are_nobodys_business(
    cast: casting.Cast, outside: Outside, twin: Twin, merchant: Merchant
) -> None:
    twin.pay(foreign_session(outside, reference="shirt-17"), deliver=False)
    twin.pay(foreign_session(outside, reference="shirt-18", merchant="shirts", key="2"), deliver=False)
    assert look()["payments"] == {"foreign": 2}
    assert not Stray.select().exists()
    assert unmatched(merchant).count == 0


@pytest.mark.req("G18")
def test_a_stray_that_an_order_explains_later_is_closed(
    session_id: str, outside: Outside, twin: Twin, merchant: Merchant
) -> None:
    order = sales.order_of(session_id)
    twin.pay(session_id, deliver=False)
    Payment.update(session_id=None, next_check_at=None).execute()
    Order.update(ref="x" * 16).where(Order.id == order.id).execute()
    look()
    assert unmatched(merchant).count == 1
    Order.update(ref=order.ref).where(Order.id == order.id).execute()
    look(minutes=2)
    assert Stray.get().closed_by == "reconciler"
    assert unmatched(merchant).count == 0 and fresh(order).is_paid


# The tile


def test_the_tile_is_grey_before_the_first_look_green_after_it_and_amber_when_it_is_old(
    client: Browser, cast: casting.Cast, merchant: Merchant
) -> None:
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    assert "not checked yet" in client.get("/dashboard").text
    look()
    page = client.get("/dashboard").text
    assert '<dd class="tone-ok">' in page and "checked" in page
    clock.move(timedelta(minutes=11))
    assert '<dd class="tone-warn">' in client.get("/dashboard").text


@pytest.mark.req("G18", "F67")
def test_a_paid_order_without_a_voucher_is_red_after_ten_minutes_and_named(
    client: Browser, session_id: str, twin: Twin, merchant: Merchant, sweep: Callable[[], object]
) -> None:
    order = sales.pay(client, twin, session_id)
    clock.move(timedelta(minutes=9))
    assert unmatched(merchant).count == 0
    clock.move(timedelta(minutes=2))
    look()
    assert [each.number for each in unmatched(merchant).orders] == [order.number]
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    page = client.get("/dashboard").text
    assert '<dd class="tone-bad">' in page and order.number in page
    sweep()
    assert unmatched(merchant).count == 0


@pytest.mark.req("G18")
def test_a_stray_is_shown_on_the_home_page_with_its_sum(
    client: Browser, cast: casting.Cast, outside: Outside, twin: Twin
) -> None:
    lost = foreign_session(outside, reference=vault.new_order_ref(), merchant="cafe-alba")
    twin.pay(lost, deliver=False)
    look()
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    page = client.get("/dashboard").text
    assert lost in page.replace("<wbr>", "") and "42.00" in page


# Each on its own


@pytest.mark.req("F4")
def test_a_silent_stripe_costs_one_time_out_a_round_and_stops_no_other_look(
    client: Browser, cast: casting.Cast, twin: Twin
) -> None:
    for n in range(6):
        twin.pay(sales.order(client, amount="50", buyer_email=f"b{n}@example.com"), deliver=False)
    twin.switch(Fault.DOWN)
    clock.move(timedelta(minutes=3))
    found = watch.run(clock.now())
    asked = {check.name for check in Check.select().where(Check.name.endswith(":turn"))}
    asked &= {f"{name}:turn" for name in watch.ASKS_STRIPE}
    assert asked == {"sessions:turn"}, "the others keep their turn for when Stripe is back"
    assert {"sessions", "payments", "events"}.isdisjoint(found)
    assert {"stripe", "audit", "notices"} <= set(found)
    twin.switch(Fault.DOWN, False)
    look(minutes=5)
    assert all(order.is_paid for order in Order.select())


def test_a_look_that_fails_stops_no_other_and_raises_nothing(
    cast: casting.Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(at: object) -> None:
        raise RuntimeError("a fault nobody thought of")

    for name in ("clock", "sessions", "accounts"):
        monkeypatch.setitem(watch.LOOKS, name, break_down)
    found = look()
    assert {"payments", "events", "stripe", "audit", "notices"} <= set(found)
    assert {"clock", "sessions", "accounts"}.isdisjoint(found)


def test_two_workers_ask_stripe_once(cast: casting.Cast) -> None:
    now = clock.now()
    first, second = watch.run(now), watch.run(now)
    assert "payments" in first and second == {}
    assert "payments" in look(minutes=2) and "audit" not in look(minutes=2)


def test_an_audit_that_is_not_clean_is_written_down_and_needs_every_owner(
    session_id: str, twin: Twin, client: Browser, merchant: Merchant, other_merchant: Merchant
) -> None:
    order = sales.pay(client, twin, session_id)
    look()
    Step.delete().where(Step.order == order).execute()
    Unit.update(value_minor=1).where(Unit.order == order).execute()
    look(hours=1)
    assert set(Check.get(Check.name == "audit").facts["broken"]) == {"plans", "totals"}
    for each in (merchant, other_merchant):
        assert NeedKind.AUDIT in {need.kind for need in needs.attention(each, clock.now())}


# Webhooks that stay away


def test_webhooks_that_stay_away_for_a_day_while_payments_are_found_by_asking_are_noticed(
    client: Browser, session_id: str, twin: Twin, merchant: Merchant
) -> None:
    sales.pay(client, twin, session_id)
    twin.pay(sales.order(client, amount="50", buyer_email="second@example.com"), deliver=False)
    look(minutes=3)
    assert Check.get(Check.name == "stripe").is_ok
    look(hours=26)
    assert not Check.get(Check.name == "stripe").is_ok
    assert NeedKind.SILENCE in {need.kind for need in needs.attention(merchant, clock.now())}
    twin_event = twin.pay(sales.order(client, amount="50", buyer_email="third@example.com"), deliver=False)
    sales.report(client, twin, twin_event)
    look(minutes=2)
    assert Check.get(Check.name == "stripe").is_ok


# The threads


@pytest.mark.req("F4", "S1-21")
def test_a_slow_stripe_delays_no_voucher(
    app: flask.Flask, client: Browser, session_id: str, twin: Twin, smtp: ScriptedServer
) -> None:
    Payment.update(next_check_at=clock.now()).execute()
    slow = sales.order(client, amount="50", buyer_email="slow@example.com")
    order = sales.pay(client, twin, session_id)
    Payment.update(next_check_at=clock.now()).where(Payment.session_id == slow).execute()
    twin.switch(Fault.SLOW, 5)
    stop, began = threading.Event(), time.monotonic()
    watching = threading.Thread(target=tasks.watch_until, args=(app, stop), kwargs={"seconds": 0.1})
    watching.start()
    time.sleep(0.5)
    fulfilment.beat("test")
    from effects import work

    work.run_due("test")
    took = time.monotonic() - began
    twin.switch(Fault.SLOW, False)
    stop.set()
    watching.join(timeout=30)
    assert not order.steps.where(Step.state.not_in(FINISHED)).exists()
    assert took < 4.5


def test_the_threads_survive_whatever_a_turn_raises(app: flask.Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[float] = []

    def turn(_at: object) -> None:
        turns.append(time.monotonic())
        raise RuntimeError("a fault nobody thought of")

    monkeypatch.setattr(watch, "run", turn)
    stop = threading.Event()
    thread = threading.Thread(target=tasks.watch_until, args=(app, stop), kwargs={"seconds": 0.02})
    thread.start()
    while len(turns) < 3 and thread.is_alive():
        time.sleep(0.01)
    stop.set()
    thread.join(timeout=5)
    assert len(turns) >= 3


def test_sweep_and_reconcile_tell_what_the_watch_found(app: flask.Flask, session_id: str, twin: Twin) -> None:
    twin.pay(session_id, deliver=False)
    run = app.test_cli_runner().invoke(args=["reconcile", "--days", "3"])
    assert run.exit_code == 0, run.output
    assert '"settled": 1' in run.output
    assert sales.order_of(session_id).is_paid


def test_the_mail_breaker_needs_everybody_after_two_minutes(merchant: Merchant, other_merchant: Merchant) -> None:
    breakers.trip(breakers.MAIL, code="mail_ours", detail="535 no")
    assert needs.attention(merchant, clock.now()) == []
    clock.move(timedelta(minutes=2))
    for each in (merchant, other_merchant):
        assert [need.kind for need in needs.attention(each, clock.now())] == [NeedKind.BREAKER]


def test_a_clock_that_was_set_back_silences_no_check(cast: casting.Cast) -> None:
    assert checks.claim("payments", at=clock.now())
    assert not checks.claim("payments", at=clock.now())
    assert checks.claim("payments", at=clock.now() - timedelta(hours=1))
