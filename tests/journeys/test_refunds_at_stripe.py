"""Refunds and disputes over Stripe's wire: every answer that is lost, refused or late ends with the money right."""

from datetime import timedelta

import flask
import pytest

from domain import audit, clock, fulfilment, refunds
from domain.states import RefundState, StepName
from effects import payment as payments
from effects import refund as effect
from effects import voucher, watch
from effects.outside import here
from gateways.stripe_twin import Fault, Twin
from models import Dispute, Merchant, Order, Payment, Refund, StripeEvent
from tests import cast as casting
from tests import refunding, sales
from tests.browser import Browser
from tests.domain import test_refunds as shop

NOT_NOW = frozenset(StepName) - {StepName.CREATE}


@pytest.fixture
def order(client: Browser, twin: Twin, cast: casting.Cast, silent_bell: None) -> Order:
    """A paid order of Café Alba over 50 euros with its voucher."""
    return made(sales.pay(client, twin, sales.order(client, amount="50")))


def made(order: Order) -> Order:
    """The order with its vouchers; no PDF, no mail."""
    while (step := fulfilment.claim("test", order_id=order.id, without=NOT_NOW)) is not None:
        voucher.create(step)
    return shop.fresh(order)


def ask(order: Order, amount_minor: int = 5000) -> Refund:
    return effect.send(shop.ask(order, amount_minor))


def at_stripe(refund: Refund) -> list[int]:
    """What Stripe has sent back of the payment, refund by refund."""
    return [one.amount_minor for one in here().stripe.refunds.list_of(refund.payment.payment_intent_id)]


@pytest.mark.req("F12", "F56")
@pytest.mark.parametrize("cut", ["unanswered", "halfway"])
def test_an_answer_cut_after_the_work_sends_the_money_once(order: Order, twin: Twin, cut: str) -> None:
    twin.switch(Fault.CUT, cut)
    refund = ask(order)
    assert (refund.state, shop.standing(order)) == (RefundState.ASKED, (0, "active"))
    twin.switch(Fault.CUT, False)
    clock.move(timedelta(minutes=2))
    assert effect.ask_again() == 1
    assert shop.fresh(refund).state == RefundState.SUCCEEDED
    assert at_stripe(refund) == [5000]
    assert shop.standing(order) == (0, "cancelled")


@pytest.mark.req("F13", "F56")
def test_a_500_after_the_work_is_read_back_and_not_repeated(order: Order, twin: Twin) -> None:
    twin.switch(Fault.ERROR_AFTER_WORK)
    refund = ask(order)
    assert refund.state == RefundState.ASKED
    twin.switch(Fault.ERROR_AFTER_WORK, False)
    clock.move(timedelta(minutes=2))
    effect.ask_again()
    assert (shop.fresh(refund).state, at_stripe(refund)) == (RefundState.SUCCEEDED, [5000])


@pytest.mark.req("F12", "F56")
def test_a_refund_that_never_reached_stripe_is_given_up_after_its_key_is_forgotten(order: Order, twin: Twin) -> None:
    twin.switch(Fault.DOWN)
    refund = ask(order)
    clock.move(timedelta(hours=24))
    twin.switch(Fault.DOWN, False)
    effect.ask_again()
    assert (shop.fresh(refund).state, shop.fresh(refund).failure) == (RefundState.FAILED, "not_made")
    assert (at_stripe(refund), shop.standing(order)) == ([], (5000, "active"))


@pytest.mark.req("F12", "F56")
def test_a_refund_that_reached_stripe_is_found_after_its_key_is_forgotten(order: Order, twin: Twin) -> None:
    twin.switch(Fault.CUT, "unanswered")
    refund = ask(order)
    twin.switch(Fault.CUT, False)
    clock.move(timedelta(hours=24))
    effect.ask_again()
    assert (shop.fresh(refund).state, at_stripe(refund)) == (RefundState.SUCCEEDED, [5000])


@pytest.mark.req("F56")
def test_a_refund_that_stripe_refuses_leaves_the_voucher_as_it_was(order: Order, twin: Twin) -> None:
    twin.switch(Fault.NEXT_REFUND, "refused")
    refund = ask(order, 3000)
    assert refund.state == RefundState.FAILED and refund.failure
    assert shop.standing(order) == (5000, "active")
    assert audit.is_clean(audit.run())


@pytest.mark.req("F56")
def test_a_refund_that_fails_days_later_puts_the_value_back(client: Browser, order: Order, twin: Twin) -> None:
    twin.switch(Fault.NEXT_REFUND, "pending")
    refund = ask(order)
    assert (refund.state, shop.standing(order)) == (RefundState.PENDING, (0, "active"))
    clock.move(timedelta(days=4))
    event = twin.settle_refund(refund.refund_id, succeed=False, deliver=False)
    assert sales.report(client, twin, event).status_code == 200
    assert shop.fresh(refund).state == RefundState.FAILED
    assert shop.standing(order) == (5000, "active")


@pytest.mark.req("F57")
def test_a_refund_made_at_stripe_is_found_although_its_event_is_lost(order: Order, twin: Twin) -> None:
    twin.refund(refunding.session_of(order), 2000, deliver=False)
    assert shop.standing(order) == (5000, "active")
    clock.move(timedelta(minutes=6))
    watch.run(clock.now())
    assert shop.standing(order) == (5000, "suspended")
    (found,) = order.refunds
    refunds.decide(found, is_taken_off=True, actor="Anna")
    assert shop.standing(order) == (3000, "active")


@pytest.mark.req("F6", "F57", "F58")
@pytest.mark.parametrize("trouble", ["refund", "dispute", "warn"])
def test_news_of_trouble_before_news_of_the_payment_settles_first(
    client: Browser, twin: Twin, cast: casting.Cast, trouble: str
) -> None:
    session_id = sales.order(client, amount="50")
    paid = twin.pay(session_id, deliver=False)
    getattr(twin, trouble)(session_id, deliver=False)
    kind = {"refund": "charge.refunded", "dispute": "charge.dispute.created",
            "warn": "radar.early_fraud_warning.created"}[trouble]  # fmt: skip
    assert sales.report(client, twin, twin.events(kind)[-1]["id"]).status_code == 200
    order = sales.order_of(session_id)
    assert order.is_paid
    assert {str(step.state) for step in order.steps} == {"skipped"}, "nothing is made while it is in trouble"
    assert sales.report(client, twin, paid).status_code == 200
    assert [entry.kind for entry in order.timeline].count("payment_confirmed") == 1
    assert {str(step.state) for step in order.steps} == {"skipped"}


@pytest.mark.req("F9", "F58")
def test_a_debit_that_the_bank_takes_back_after_the_voucher_was_made_ends_it(client: Browser, twin: Twin,
                                                                            cast: casting.Cast) -> None:  # fmt: skip
    session_id = sales.order(client, amount="50")
    sales.report(client, twin, twin.pay_later(session_id, deliver=False))
    sales.report(client, twin, twin.settle_later(session_id, succeed=True, deliver=False))
    order = made(sales.order_of(session_id))
    assert shop.standing(order) == (5000, "active")
    dispute_id = twin.dispute(session_id, reason="debit_not_authorized", deliver=False)
    sales.report(client, twin, twin.event_about(dispute_id))
    assert shop.standing(order) == (5000, "suspended")
    twin.close_dispute(dispute_id, won=False, deliver=False)
    sales.report(client, twin, twin.events("charge.dispute.closed")[-1]["id"])
    assert shop.standing(order) == (0, "cancelled")
    assert audit.is_clean(audit.run())


@pytest.mark.req("F9")
def test_a_debit_that_fails_is_noticed_although_its_event_is_lost(client: Browser, twin: Twin,
                                                                  cast: casting.Cast) -> None:  # fmt: skip
    session_id = sales.order(client, amount="50")
    sales.report(client, twin, twin.pay_later(session_id, deliver=False))
    twin.settle_later(session_id, succeed=False, deliver=False)
    clock.move(timedelta(hours=2))
    watch.run(clock.now())
    assert sales.order_of(session_id).payment_state == "failed"


@pytest.mark.req("F15", "T6")
def test_news_from_one_account_never_touches_an_order_that_was_paid_in_another(
    client: Browser, twin: Twin, order: Order, merchant: Merchant
) -> None:
    stranger = twin.connect()
    for event in ("charge.refunded", "charge.dispute.created"):
        (twin.refund if event == "charge.refunded" else twin.dispute)(refunding.session_of(order), deliver=False)
        body, headers = twin.signed(twin.events(event)[-1]["id"], changes={"account": stranger})
        answer = client.post("/webhooks/stripe", data=body, headers=headers)
        assert answer.status_code in (200, 503)
    assert (Refund.select().count(), Dispute.select().count()) == (0, 0)
    assert shop.standing(order) == (5000, "active")


@pytest.mark.req("F14")
def test_both_secrets_are_taken_while_one_replaces_the_other(
    client: Browser, twin: Twin, cast: casting.Cast, app: flask.Flask
) -> None:
    outside = app.extensions["outside"]
    rotating = type(outside.stripe)(
        twin.secret_key, webhook_secrets=("whsec_new", twin.webhook_secret), api_base=twin.api_base
    )
    app.extensions["outside"] = outside.__class__(**{**vars(outside), "stripe": rotating})
    for number, secret in enumerate(["", "whsec_new", "whsec_gone"]):
        session_id = sales.order(client, amount="50", buyer_email=f"b{number}@example.com")
        body, headers = twin.signed(twin.pay(session_id, deliver=False), secret=secret)
        answer = client.post("/webhooks/stripe", data=body, headers=headers)
        assert answer.status_code == (400 if secret == "whsec_gone" else 200)
        assert sales.order_of(session_id).is_paid == (secret != "whsec_gone")


@pytest.mark.req("F1", "F57", "F58")
def test_every_event_of_a_troubled_payment_ten_times_over_changes_nothing_more(
    client: Browser, twin: Twin, order: Order
) -> None:
    twin.refund(refunding.session_of(order), 1000, deliver=False)
    dispute_id = twin.dispute(refunding.session_of(order), deliver=False)
    twin.close_dispute(dispute_id, won=True, deliver=False)
    ids = [event["id"] for event in twin.events()]
    for event_id in ids * 10:
        assert sales.report(client, twin, event_id).status_code == 200
    assert (Refund.select().count(), Dispute.select().count()) == (1, 1)
    assert shop.standing(order) == (5000, "suspended"), "the refund still waits for a decision"
    assert StripeEvent.select().count() == len(set(ids))


@pytest.mark.req("F10")
def test_two_tabs_that_pay_make_one_voucher_and_the_second_payment_is_held(
    client: Browser, twin: Twin, merchant: Merchant
) -> None:
    placed = casting.place(merchant)
    payments.start(placed)
    first = placed.latest_payment
    Payment.update(state="expired").where(Payment.id == first.id).execute()  # as if its page had lapsed
    payments.start(placed)
    second = placed.latest_payment
    for payment in (first, second):
        sales.report(client, twin, twin.pay(payment.session_id, deliver=False))
    states = sorted(str(each.state) for each in placed.payments)
    assert states == ["paid", "review"]
    held = placed.payments.where(Payment.state == "review").get()
    refund = effect.send(refunds.ask_held(held, nonce="n1", actor="Anna"))
    assert refund.state == RefundState.SUCCEEDED
    assert sorted(str(each.state) for each in placed.payments) == ["paid", "returned"]


@pytest.mark.req("F12", "F66")
def test_a_session_that_a_restored_backup_has_forgotten_is_found_and_not_opened_twice(
    client: Browser, twin: Twin, cast: casting.Cast
) -> None:
    session_id = sales.order(client, amount="50")
    order = sales.order_of(session_id)
    Payment.delete().where(Payment.order == order).execute()  # as in a copy from before it was opened
    clock.move(timedelta(minutes=3))
    payments.start(order)
    assert order.latest_payment.session_id == session_id
    assert len(twin.sessions()) == 1
