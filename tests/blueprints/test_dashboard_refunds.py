"""Money that goes back at the desk: the form, ten clicks, what is held, what was done at Stripe, who contests it."""

import html
import re
from collections import Counter
from datetime import timedelta
from typing import Any

import flask
import flask_babel
import pytest
from werkzeug.test import TestResponse

from blueprints import returns
from blueprints.dashboard import listing, payment_troubles, refund_words
from database import transaction
from domain import clock, ledger, refund_room
from domain.states import EntryKind, PaymentState, RefundState, VoucherStatus
from effects import refund as money_back
from gateways.stripe_twin import Twin
from gateways.stripe_twin.faults import Fault
from models import Dispute, Entry, Merchant, Order, Payment, Refund, TimelineEntry, Voucher
from tests import cast as casting
from tests import refunding, sales
from tests.browser import Browser
from tests.refunding import HTMX, page_of, sold, voucher_of


@pytest.fixture
def anna(client: Browser, cast: casting.Cast) -> Browser:
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    return client


def give_back(client: Browser, order: Order, **fields: str) -> TestResponse:
    """Fill in the form of the refund and send it, without JavaScript."""
    return sales.press(client, f"{page_of(order)}/refund", "/refund", **fields)


def spend(order: Order, amount_minor: int) -> None:
    with transaction():
        ledger.redeem(
            voucher_of(order).id, amount_minor=amount_minor, currency="EUR", operation_key="bill-1", actor="till"
        )


def shown(client: Browser, order: Order) -> str:
    return html.unescape(re.sub(r"\s+", " ", client.get(page_of(order)).text))


def row_of(client: Browser, order: Order, view: str = "all") -> str:
    page = client.get(f"/dashboard/orders?view={view}").text
    found = re.search(rf'<tr id="row-list-{order.number}".*?</tr>', page, re.DOTALL)
    return html.unescape(re.sub(r"\s+", " ", found.group(0))) if found else ""


def held(client: Browser, twin: Twin, **wrong: Any) -> Order:
    """An order whose payment is held, because Stripe reports `wrong` about its session."""
    session_id = sales.order(client)
    twin.switch(Fault.MISMATCH, wrong)
    order = sales.pay(client, twin, session_id)
    twin.switch(Fault.MISMATCH, False)
    assert order.payment_state == PaymentState.REVIEW
    return order


def paid_twice(client: Browser, twin: Twin) -> Order:
    """A paid order with a second paid session, as two open tabs can make one."""
    from domain import checkout

    order = sold(client, twin)
    first = order.payments.get()
    other = sales.order_of(sales.order(client)).payments.get()
    Payment.update(order=order, attempt=2).where(Payment.id == other.id).execute()
    twin.pay(other.session_id, deliver=False)
    from effects import payment as payments

    outcome = payments.confirm(Payment.get_by_id(other.id), source=checkout.Source.RECONCILER)
    assert outcome == checkout.Outcome.HELD and first.state == PaymentState.PAID
    return refunding.fresh(order)


# The form


@pytest.mark.req("F56")
def test_a_part_goes_back_and_the_voucher_is_worth_the_rest(anna: Browser, twin: Twin, merchant: Merchant) -> None:
    order = sold(anna, twin)
    form = anna.get(f"{page_of(order)}/refund").text
    assert 'value="50.00"' in form and "go back to lukas@example.com; the voucher will be worth" in form
    answer = give_back(anna, order, amount_1="20", reason="Dessert was off")
    assert (answer.status_code, answer.location) == (303, page_of(order))
    page = shown(anna, order)
    assert "Stripe sends the money back" in page and "Refunded in part" in page and "Dessert was off" in page
    refund = order.refunds.get()
    assert (refund.state, refund.amount_minor, refund.actor) == (RefundState.SUCCEEDED, 2000, "Anna")
    assert refund.refund_id in page
    assert voucher_of(order).balance_minor == 3000
    assert "Refunded: value taken off" in anna.get(f"/dashboard/vouchers/{voucher_of(order).public_id}").text


def test_all_of_it_goes_back_and_there_is_nothing_left_to_refund(anna: Browser, twin: Twin, merchant: Merchant) -> None:
    order = sold(anna, twin)
    give_back(anna, order)
    page = shown(anna, order)
    assert "Refunded" in page and 'id="refund-why">Refunded<' in page
    assert voucher_of(order).status == VoucherStatus.CANCELLED
    assert "Closed" in row_of(anna, order)
    assert "Refunded" in anna.get(f"{page_of(order)}/refund").text
    assert order.refunds.count() == 1


def test_what_was_used_stays_unless_the_owner_insists(anna: Browser, twin: Twin, merchant: Merchant) -> None:
    order = sold(anna, twin)
    spend(order, 2000)
    assert "Used: €20.00 – refund at most €30.00" in shown(anna, order)
    form = html.unescape(anna.get(f"{page_of(order)}/refund").text)
    assert "Used €20.00 of €50.00." in form and 'value="30.00"' in form
    refused = give_back(anna, order, amount_1="40")
    assert refused.status_code == 422 and "At most €30.00 is unused." in html.unescape(refused.text)
    assert order.refunds.count() == 0
    give_back(anna, order, amount_1="40", is_insisting="1")
    assert (order.refunds.get().amount_minor, voucher_of(order).balance_minor) == (4000, 0)


def test_what_a_till_has_set_aside_is_not_given_back(anna: Browser, twin: Twin, merchant: Merchant) -> None:
    order = sold(anna, twin)
    casting.hold(voucher_of(order), 1500)
    assert give_back(anna, order, amount_1="40").status_code == 422
    give_back(anna, order)
    assert (order.refunds.get().amount_minor, voucher_of(order).balance_minor) == (3500, 1500)


def test_several_vouchers_each_have_their_own_amount(anna: Browser, twin: Twin, merchant: Merchant) -> None:
    order = sold(anna, twin, amount_2="75", recipient_email_2="m@b.example", recipient_name_2="M")
    assert "the vouchers will be worth" in anna.get(f"{page_of(order)}/refund").text
    give_back(anna, order, amount_1="0", amount_2="25")
    first, second = order.vouchers
    assert (first.balance_minor, second.balance_minor) == (5000, 5000)
    wrong = give_back(anna, order, amount_1="10", amount_2="60")
    assert wrong.status_code == 422 and 'aria-describedby="amount_2-hint amount_2-error"' in wrong.text
    assert 'value="10"' in wrong.text and 'value="60"' in wrong.text


NONSENSE = ("", "0", "abc", "-5", "1e9", "5,005", "50.01", "999999999999", "²", "\0", "<b>", "9" * 400)


def test_an_amount_that_makes_no_sense_is_refused_and_says_what_to_do(
    anna: Browser, twin: Twin, merchant: Merchant
) -> None:
    order = sold(anna, twin)
    data = refunding.form_on(anna.get(f"{page_of(order)}/refund").text, "/refund")
    for typed in NONSENSE:
        for headers in ({}, HTMX):
            answer = anna.post(f"{page_of(order)}/refund", data=data | {"amount_1": typed}, headers=headers)
            assert answer.status_code == 422 and 'aria-invalid="true"' in answer.text, typed
    for sent in (
        {"amount_1": "5", "reason": "x" * 201},
        {"amount_1": "5", "nonce": "no!"},
        {"amount_1": "5", "nonce": ""},
    ):
        assert anna.post(f"{page_of(order)}/refund", data=data | sent).status_code == 422, sent
    assert order.refunds.count() == 0 and voucher_of(order).balance_minor == 5000


def test_the_summary_follows_what_is_typed_and_books_nothing(anna: Browser, twin: Twin, merchant: Merchant) -> None:
    order = sold(anna, twin)
    page = f"{page_of(order)}/refund"
    said = html.unescape(anna.get(page, query_string={"amount_1": "12,50"}, headers=HTMX).text)
    assert "€12.50 go back to lukas@example.com; the voucher will be worth €37.50." in said
    for typed in NONSENSE:
        assert anna.get(page, query_string={"amount_1": typed}, headers=HTMX).status_code == 200
    assert order.refunds.count() == 0


def test_with_htmx_the_form_opens_and_closes_in_its_place(anna: Browser, twin: Twin, merchant: Merchant) -> None:
    order = sold(anna, twin)
    opened = anna.get(f"{page_of(order)}/refund", headers=HTMX).text
    assert opened.strip().startswith(f'<div id="order-{order.number}"') and 'id="refund-summary"' in opened
    data = refunding.form_on(opened, "/refund") | {"amount_1": "5"}
    answer = anna.post(f"{page_of(order)}/refund", data=data, headers=HTMX)
    assert answer.status_code == 200 and 'id="refund-summary"' not in answer.text
    assert "Stripe sends the money back" in answer.headers["HX-Trigger"]


def test_staff_sees_whom_to_ask_and_moves_nothing(client: Browser, twin: Twin, cast: casting.Cast) -> None:
    order = sold(client, twin)
    sales.sign_in(client, "ben@alba.example", casting.PASSWORD)
    page = shown(client, order)
    assert "Only owners decide about money. Ask Anna." in page
    assert client.get(f"{page_of(order)}/refund").status_code == 403
    data = {"csrf_token": sales.csrf(client.get(page_of(order)).text), "nonce": "n" * 12, "amount_1": "5"}
    for verb in ("refund", "refund/held", "payment/release", "refund/decision", "payment/trust"):
        assert client.post(f"{page_of(order)}/{verb}", data=data).status_code == 403, verb
    assert order.refunds.count() == 0


def test_another_shop_neither_sees_nor_moves_the_money(client: Browser, twin: Twin, cast: casting.Cast) -> None:
    order = sold(client, twin)
    Order.update(number="G-77777").where(Order.id == order.id).execute()
    order = refunding.fresh(order)
    sales.sign_in(client, "carla@berg.example", casting.PASSWORD)
    data = {"csrf_token": sales.csrf(client.get("/dashboard").text), "nonce": "n" * 12, "amount_1": "5"}
    assert client.get(f"{page_of(order)}/refund").status_code == 404
    for verb in ("refund", "refund/held", "payment/release", "refund/decision", "payment/trust"):
        assert client.post(f"{page_of(order)}/{verb}", data=data).status_code == 404, verb
    assert order.refunds.count() == 0


def test_a_form_that_is_bent_to_another_order_is_another_form(anna: Browser, twin: Twin, merchant: Merchant) -> None:
    one, other = sold(anna, twin), sold(anna, twin)
    data = refunding.form_on(anna.get(f"{page_of(one)}/refund").text, "/refund") | {"amount_1": "5"}
    for order in (one, other, one, other):
        assert anna.post(f"{page_of(order)}/refund", data=data).status_code == 303
    assert (one.refunds.count(), other.refunds.count()) == (1, 1)


def test_an_order_without_money_says_why_nothing_can_go_back(anna: Browser, twin: Twin, merchant: Merchant) -> None:
    order = casting.place(merchant)
    assert "Nothing to refund: the order is not paid" in shown(anna, order)
    data = {"csrf_token": sales.csrf(anna.get(page_of(order)).text), "nonce": "n" * 12, "amount_1": "5"}
    assert anna.get(f"{page_of(order)}/refund").status_code == 200
    assert anna.post(f"{page_of(order)}/refund", data=data).status_code == 303
    assert order.refunds.count() == 0


# What Stripe says


@pytest.mark.req("F12", "F56")
def test_without_an_answer_the_value_is_off_and_stripe_is_asked_again(
    anna: Browser, twin: Twin, merchant: Merchant
) -> None:
    order = sold(anna, twin)
    twin.switch(Fault.DOWN)
    give_back(anna, order, amount_1="20")
    page = shown(anna, order)
    assert "Stripe has not answered yet; we ask again by ourselves." in page
    assert voucher_of(order).balance_minor == 3000 and 'hx-trigger="every 5s"' in page
    twin.switch(Fault.DOWN, False)
    clock.move(timedelta(minutes=10))
    assert money_back.ask_again() == 1
    assert order.refunds.get().state == RefundState.SUCCEEDED and voucher_of(order).balance_minor == 3000


@pytest.mark.req("F56")
def test_a_refusal_puts_the_value_back_and_says_why_in_five_parts(
    anna: Browser, twin: Twin, merchant: Merchant
) -> None:
    order = sold(anna, twin)
    twin.switch(Fault.NEXT_REFUND, "refused")
    give_back(anna, order, amount_1="20")
    page = shown(anna, order)
    for part in (
        "Lukas has not got €20.00 back.",
        "The refund failed: your balance at Stripe does not cover it.",
        "The value is back on the voucher.",
        "Refund once more",
        order.number,
    ):
        assert part in page, part
    assert voucher_of(order).balance_minor == 5000 and "Needs you" in row_of(anna, order, "needs_you")
    give_back(anna, order, amount_1="20")
    assert "has not got" not in shown(anna, order) and row_of(anna, order, "needs_you") == ""


def test_a_refund_that_the_bank_works_on_says_so(anna: Browser, twin: Twin, merchant: Merchant) -> None:
    order = sold(anna, twin)
    twin.switch(Fault.NEXT_REFUND, "pending")
    give_back(anna, order, amount_1="20")
    page = shown(anna, order)
    assert "Stripe has the refund; the bank is still working on it." in page and "Under way at the bank" in page
    assert "Refunded in part" in row_of(anna, order)


def test_every_failure_of_a_refund_has_words(app: flask.Flask) -> None:
    for said in (*refund_words._FAILURES, "odd_code: The bank said no.", "plain words", ""):
        with app.test_request_context(), flask_babel.force_locale("en"):
            words = refund_words.failure(said)
            assert words or not said
            assert "_" not in words


# Ten clicks at once


@pytest.mark.req("F56", "F44")
def test_ten_clicks_at_once_are_one_refund(app: flask.Flask, anna: Browser, twin: Twin, merchant: Merchant) -> None:
    order = sold(anna, twin)
    data = refunding.form_on(anna.get(f"{page_of(order)}/refund").text, "/refund") | {"amount_1": "10"}
    answers = refunding.clicks(app, anna, f"{page_of(order)}/refund", data)
    assert Counter(answer.status_code for answer in answers) == {200: 10}
    assert order.refunds.get().amount_minor == 1000 and voucher_of(order).balance_minor == 4000
    money_back.send(order.refunds.get())
    assert order.refunds.get().state == RefundState.SUCCEEDED
    assert len(twin.events("refund.created")) == 1
    assert order.timeline.where(TimelineEntry.kind == "refund_succeeded").count() == 1


@pytest.mark.req("F10", "F44")
def test_ten_clicks_at_once_send_a_held_payment_back_once(
    app: flask.Flask, anna: Browser, twin: Twin, merchant: Merchant
) -> None:
    order = held(anna, twin, amount_total=500)
    data = refunding.form_on(anna.get(page_of(order)).text, "/refund/held")
    answers = refunding.clicks(app, anna, f"{page_of(order)}/refund/held", data)
    assert {answer.status_code for answer in answers} == {200}
    money_back.send(order.refunds.get())
    assert order.refunds.get().state == RefundState.SUCCEEDED and len(twin.events("refund.created")) == 1
    assert refunding.fresh(order).payment_state == PaymentState.RETURNED


@pytest.mark.req("F7", "F44")
def test_ten_clicks_at_once_release_a_payment_once(
    app: flask.Flask, anna: Browser, twin: Twin, merchant: Merchant
) -> None:
    order = held(anna, twin, amount_total=500)
    data = refunding.form_on(anna.get(page_of(order)).text, "/payment/release")
    answers = refunding.clicks(app, anna, f"{page_of(order)}/payment/release", data)
    assert {answer.status_code for answer in answers} == {200}
    assert order.timeline.where(TimelineEntry.kind == "payment_released").count() == 1
    assert voucher_of(refunding.made(order)).balance_minor == 5000


@pytest.mark.req("F57", "F44")
@pytest.mark.parametrize(("decision", "balance_minor"), [("take_off", 3000), ("keep", 5000)])
def test_ten_clicks_at_once_decide_once(
    app: flask.Flask, anna: Browser, twin: Twin, merchant: Merchant, decision: str, balance_minor: int
) -> None:
    order = sold(anna, twin)
    refunding.refund_at_stripe(anna, twin, order, 2000)
    data = refunding.form_on(anna.get(page_of(order)).text, "/refund/decision", containing=f'value="{decision}"')
    answers = refunding.clicks(app, anna, f"{page_of(order)}/refund/decision", data)
    assert {answer.status_code for answer in answers} == {200}
    assert order.timeline.where(TimelineEntry.kind == "refund_decided").count() == 1
    assert (voucher_of(order).balance_minor, voucher_of(order).status) == (balance_minor, VoucherStatus.ACTIVE)


@pytest.mark.req("F58", "F44")
def test_ten_clicks_at_once_trust_a_payment_once(
    app: flask.Flask, anna: Browser, twin: Twin, merchant: Merchant
) -> None:
    order = sold(anna, twin)
    refunding.warn(anna, twin, order)
    data = refunding.form_on(anna.get(page_of(order)).text, "/payment/trust")
    answers = refunding.clicks(app, anna, f"{page_of(order)}/payment/trust", data)
    assert {answer.status_code for answer in answers} == {200}
    assert order.timeline.where(TimelineEntry.kind == "fraud_warning_closed").count() == 1
    assert voucher_of(order).status == VoucherStatus.ACTIVE


# Held payments


DIFFERENCES: tuple[tuple[dict[str, list[object]], str], ...] = (
    ({"amount_minor": [5000, 500]}, "Stripe reports €5.00, the order says €50.00."),
    ({"currency": ["EUR", "USD"]}, "Stripe reports $5.00, the order says €50.00."),
    ({"is_live": [False, True]}, "in test mode and the other was not"),
    ({"account": ["", "acct_1"]}, "another Stripe account"),
    ({"reference": ["a", "b"]}, "belongs to another order"),
    ({"session_id": ["a", "b"]}, "another payment page"),
    ({"payment_status": ["paid", "no_payment_required"]}, "nothing had to be paid"),
    ({"paid_before": [False, True]}, "was paid before"),
    ({}, "does not match the order"),
)


@pytest.mark.req("F7", "F8", "F10")
def test_each_difference_has_its_sentence(anna: Browser, twin: Twin, merchant: Merchant) -> None:
    order = held(anna, twin, amount_total=500)
    for differences, words in DIFFERENCES:
        currency = "USD" if "currency" in differences else "EUR"
        Payment.update(differences=differences or None, received_currency=currency).where(
            Payment.order == order
        ).execute()
        assert words in shown(anna, order), differences


@pytest.mark.req("F7")
def test_a_held_payment_offers_stripe_refund_and_release(anna: Browser, twin: Twin, merchant: Merchant) -> None:
    order = held(anna, twin, amount_total=500)
    page = shown(anna, order)
    assert "The payment is held: no voucher was made, and Lukas is waiting." in page
    assert "Check in Stripe" in page and "Send €5.00 back" in page and "Release the order" in page
    assert f"{twin.api_base}/?open={order.payments.get().session_id}" in page
    assert "To be checked" in row_of(anna, order, "needs_you")
    answer = sales.press(anna, page_of(order), "/payment/release")
    assert answer.status_code == 303 and refunding.fresh(order).is_paid
    assert "Held payment accepted" in shown(anna, order) and row_of(anna, order, "needs_you") == ""


@pytest.mark.req("F7")
def test_a_payment_in_the_wrong_mode_can_only_go_back(anna: Browser, twin: Twin, merchant: Merchant) -> None:
    order = held(anna, twin, amount_total=500)
    Payment.update(differences={"is_live": [False, True]}).where(Payment.order == order).execute()
    page = anna.get(page_of(order)).text
    assert "This payment can't be the price of this order" in html.unescape(page)
    data = {"csrf_token": sales.csrf(page), "attempt": "1"}
    anna.post(f"{page_of(order)}/payment/release", data=data)
    assert refunding.fresh(order).payment_state == PaymentState.REVIEW
    for attempt in ("", "7", "x", "9" * 18):
        for verb in ("payment/release", "refund/held"):
            answer = anna.post(f"{page_of(order)}/{verb}", data=data | {"attempt": attempt, "nonce": "n" * 9})
            assert answer.status_code == 404


@pytest.mark.req("F10")
def test_an_order_that_was_paid_twice_sends_the_second_payment_back_by_one_click(
    anna: Browser, twin: Twin, merchant: Merchant
) -> None:
    order = paid_twice(anna, twin)
    page = shown(anna, order)
    assert "Lukas has paid this order twice: €50.00 too much." in page and "Release the order" not in page
    assert "Needs you" in row_of(anna, order, "needs_you")
    sales.press(anna, page_of(order), "/refund/held")
    first, second = order.payments
    assert (first.state, second.state) == (PaymentState.PAID, PaymentState.RETURNED)
    assert voucher_of(order).balance_minor == 5000 and voucher_of(order).status == VoucherStatus.ACTIVE
    assert "paid this order twice" not in shown(anna, order)
    assert "Paid" in row_of(anna, order) and row_of(anna, order, "needs_you") == ""


# Refunds that were made at Stripe


@pytest.mark.req("F57")
def test_a_refund_at_stripe_blocks_the_voucher_and_asks(anna: Browser, twin: Twin, merchant: Merchant) -> None:
    order = sold(anna, twin)
    refund_id = refunding.refund_at_stripe(anna, twin, order)
    page = shown(anna, order)
    assert "€50.00 were refunded in Stripe's dashboard." in page and "The voucher is blocked until you decide." in page
    assert "by itself, because of its payment" in page and refund_id in page
    assert voucher_of(order).status == VoucherStatus.SUSPENDED
    assert "Refunded" in row_of(anna, order, "needs_you") and row_of(anna, order, "refunded")
    data = refunding.form_on(anna.get(page_of(order)).text, "/refund/decision", containing='value="take_off"')
    anna.post(f"{page_of(order)}/refund/decision", data=data)
    page = shown(anna, order)
    assert "Refund at Stripe: €50.00 taken off the voucher" in page and "until you decide" not in page
    assert voucher_of(order).balance_minor == 0


def test_a_decision_about_nothing_is_a_plain_404(anna: Browser, twin: Twin, merchant: Merchant) -> None:
    order = sold(anna, twin)
    data = {"csrf_token": sales.csrf(anna.get(page_of(order)).text)}
    for sent in ({}, {"refund": "rfd_x", "decision": "keep"}, {"refund": "\0"}, {"refund": "é" * 300}):
        assert anna.post(f"{page_of(order)}/refund/decision", data=data | sent).status_code == 404
        assert anna.post(f"{page_of(order)}/payment/trust", data=data | {"dispute": "dp_\0"}).status_code == 404


# Disputes


@pytest.mark.req("F58")
def test_a_dispute_blocks_the_voucher_says_until_when_and_forbids_the_refund(
    anna: Browser, twin: Twin, merchant: Merchant
) -> None:
    order = sold(anna, twin)
    dispute_id = refunding.dispute(anna, twin, order)
    page = shown(anna, order)
    for words in (
        "The payment of Lukas is disputed: the bank has taken €50.00 back for now.",
        "the cardholder says that it was not them",
        "were blocked at once",
        "Answer at Stripe by",
        "Disputed: the bank holds the money",
        dispute_id,
    ):
        assert words in page, words
    assert voucher_of(order).status == VoucherStatus.SUSPENDED
    assert "Disputed" in row_of(anna, order, "needs_you") and row_of(anna, order, "done") == ""
    data = {"csrf_token": sales.csrf(anna.get(page_of(order)).text), "nonce": "n" * 12, "amount_1": "5"}
    anna.post(f"{page_of(order)}/refund", data=data)
    assert order.refunds.count() == 0
    twin.answer_dispute(dispute_id)
    refunding.report_all(anna, twin, "charge.dispute.updated")
    assert "You have answered. Wait for the bank" in shown(anna, order)


@pytest.mark.req("F58")
def test_a_dispute_that_is_won_unblocks_and_one_that_is_lost_names_the_loss(
    anna: Browser, twin: Twin, merchant: Merchant
) -> None:
    won, lost = sold(anna, twin), sold(anna, twin)
    with transaction():
        ledger.redeem(voucher_of(lost).id, amount_minor=2000, currency="EUR", operation_key="b", actor="till")
    for order, is_won in ((won, True), (lost, False)):
        twin.close_dispute(refunding.dispute(anna, twin, order), is_won)
    refunding.report_all(anna, twin, "charge.dispute.closed")
    assert "Dispute won: the money stays" in shown(anna, won) and voucher_of(won).status == VoucherStatus.ACTIVE
    page = shown(anna, lost)
    assert "Dispute lost: €50.00 are gone, €20.00 of it had been spent" in page
    assert "€20.00 had been spent: that is the loss." in page and "Charged back" in page
    assert voucher_of(lost).balance_minor == 0
    assert "Closed" in row_of(anna, lost) and row_of(anna, lost, "needs_you") == ""


@pytest.mark.req("F58")
def test_a_question_of_the_bank_and_a_warning_leave_the_refund_open(
    anna: Browser, twin: Twin, merchant: Merchant
) -> None:
    asked, warned = sold(anna, twin), sold(anna, twin)
    refunding.dispute(anna, twin, asked, inquiry=True)
    warning_id = refunding.warn(anna, twin, warned)
    assert "No money was taken yet." in shown(anna, asked)
    page = shown(anna, warned)
    assert "suspects that the payment of Lukas over €50.00 is fraud." in page and "I trust this payment" in page
    assert "To be checked" in row_of(anna, warned, "needs_you")
    give_back(anna, warned)
    assert Dispute.get(Dispute.dispute_id == warning_id).state == "closed"
    assert row_of(anna, warned, "needs_you") == "" and "Refunded" in row_of(anna, warned, "refunded")
    give_back(anna, asked)
    assert asked.refunds.get().state == RefundState.SUCCEEDED


# Lists and words


def test_the_views_and_the_search_know_refunds_and_disputes(anna: Browser, twin: Twin, merchant: Merchant) -> None:
    orders = {name: sold(anna, twin) for name in ("plain", "part", "disputed", "foreign")}
    give_back(anna, orders["part"], amount_1="5")
    dispute_id = refunding.dispute(anna, twin, orders["disputed"])
    refund_id = refunding.refund_at_stripe(anna, twin, orders["foreign"], 1000)
    counts = listing.counts(merchant)
    assert counts == {"all": 4, "needs_you": 2, "in_progress": 0, "done": 2, "refunded": 2}
    for view, count in counts.items():
        assert len(listing.orders(merchant, listing.Wanted(view=view), at=clock.now()).rows) == count, view
    own = orders["part"].refunds.get().refund_id
    for text, name in ((own, "part"), (dispute_id, "disputed"), (refund_id, "foreign")):
        found = listing.orders(merchant, listing.Wanted(text=text), at=clock.now()).rows
        assert [row.order for row in found] == [orders[name]], text


def test_no_other_shop_finds_an_order_by_the_id_of_its_refund(anna: Browser, twin: Twin, cast: casting.Cast) -> None:
    order = sold(anna, twin)
    give_back(anna, order)
    text = order.refunds.get().refund_id
    assert listing.orders(cast.berg, listing.Wanted(text=text), at=clock.now()).rows == []


@pytest.mark.parametrize("locale", ["en", "de"])
def test_every_banner_speaks_in_five_parts(anna: Browser, twin: Twin, merchant: Merchant, locale: str) -> None:
    orders = [sold(anna, twin) for _ in range(5)]
    refunding.dispute(anna, twin, orders[0])
    refunding.dispute(anna, twin, orders[1], inquiry=True)
    refunding.warn(anna, twin, orders[2])
    refunding.refund_at_stripe(anna, twin, orders[3])
    twin.switch(Fault.NEXT_REFUND, "failed")
    give_back(anna, orders[4])
    orders += [held(anna, twin, amount_total=500), paid_twice(anna, twin)]
    for order in orders:
        for by in (payment_troubles.Reader(True), payment_troubles.Reader(False, ("Anna",))):
            with flask.current_app.test_request_context(), flask_babel.force_locale(locale):
                flask.g.merchant = merchant
                said = payment_troubles.banners(order, returns.of(order), by=by, at=clock.now())
                assert len(said) == 1, order.number
                (banner,) = said
                parts = (banner.effect, banner.cause, banner.by_itself, banner.what_you_can_do, banner.reference)
                assert all(part and "%(" not in part for part in parts), banner
                assert banner.acts and all(act.label for act in banner.acts)


def test_a_refund_leaves_the_books_in_order(anna: Browser, twin: Twin, merchant: Merchant) -> None:
    from domain import audit

    order = sold(anna, twin)
    spend(order, 1000)
    give_back(anna, order, amount_1="15")
    twin.switch(Fault.NEXT_REFUND, "failed")
    give_back(anna, order, amount_1="5")
    # The helper that made the vouchers prints no PDFs.
    assert {finding.name for finding in audit.run() if finding.broken} <= {"documents"}
    voids = Entry.select().where(Entry.kind == EntryKind.VOID)
    assert [entry.amount_minor for entry in voids] == [-1500, -500]
    assert Voucher.get().balance_minor == 2500
    assert refund_room.left_minor(order.payments.get()) == 3500
    assert Refund.select().count() == 2
