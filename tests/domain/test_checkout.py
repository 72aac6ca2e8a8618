"""From a wish to a paid order: placed once, settled once, and held when anything is not as agreed."""

import dataclasses
import itertools
from datetime import timedelta
from functools import partial

import pytest

from domain import audit, catalogue, checkout, clock, refusals
from domain.checkout import CHECK_GAPS, SESSION_LEAST, SESSION_LIFE, Outcome, Source
from gateways import vault
from models import Merchant, Order, Payment, Step, Unit, Voucher
from tests import cast as casting
from tests import reports
from tests.reports import about, at_once, fresh, opened, settle


def _wish(merchant: Merchant, *, value_minor: int = 5000, **changes: object) -> checkout.Wish:
    unit = checkout.UnitWish(
        merchant.offers.first(), merchant.designs.first(), value_minor, recipient_email="marie@example.com"
    )
    wish = checkout.Wish("Lukas", "lukas@example.com", "de", [unit], nonce="form-1")
    return dataclasses.replace(wish, **changes)  # type: ignore[arg-type]


def _place(merchant: Merchant, wish: checkout.Wish) -> Order:
    return checkout.place(merchant, wish, ref=vault.new_order_ref(), is_test=True)


def _kinds(order: Order) -> list[str]:
    return [entry.kind for entry in reversed(list(order.timeline))]


# Placing


@pytest.mark.req("S1-01", "S1-02")
def test_a_placed_order_waits_for_its_payment_and_nothing_is_made(merchant: Merchant) -> None:
    order = casting.place(merchant, "marie@example.com", "jonas@example.com", value_minor=7500)
    assert (order.payment_state, order.total_minor, order.currency, order.number) == ("open", 15000, "EUR", "G-10001")
    assert [unit.unit_no for unit in order.units] == [1, 2]
    assert (Step.select().count(), Voucher.select().count(), Payment.select().count()) == (0, 0, 0)
    assert _kinds(order) == ["order_placed"]


@pytest.mark.req("S1-20")
def test_a_unit_keeps_the_terms_it_was_bought_under(merchant: Merchant) -> None:
    order = casting.place(merchant)
    Merchant.update(validity_years=1, is_validity_to_year_end=True).where(Merchant.id == merchant.id).execute()
    type(order.units.first().offer).update(title="New", tax_class="single_purpose").execute()
    unit = order.units.first()
    assert (unit.title, unit.tax_class) == ("Wertgutschein", "multi_purpose")
    assert (unit.validity_years, unit.is_validity_to_year_end) == (30, False)


def test_the_same_form_sent_twice_is_one_order(merchant: Merchant) -> None:
    first, second = _place(merchant, _wish(merchant)), _place(merchant, _wish(merchant))
    assert first == second
    assert (Order.select().count(), Unit.select().count()) == (1, 1)


@pytest.mark.parametrize(
    "changes",
    [{"nonce": "2"}, {"buyer_email": "l@example.com"}, {"buyer_name": "L."}, {"value_minor": 2500}, {"locale": "en"}],
)
def test_a_form_that_differs_in_anything_is_another_order(merchant: Merchant, changes: dict[str, object]) -> None:
    assert _place(merchant, _wish(merchant)) != _place(merchant, _wish(merchant, **changes))  # type: ignore[arg-type]


@pytest.mark.req("T6")
def test_the_same_form_at_another_shop_is_another_order(merchant: Merchant, other_merchant: Merchant) -> None:
    mine, theirs = _place(merchant, _wish(merchant)), _place(other_merchant, _wish(other_merchant))
    assert mine != theirs
    assert (mine.merchant, theirs.merchant) == (merchant, other_merchant)


def test_eight_clicks_at_once_are_one_order(merchant: Merchant) -> None:
    wish = _wish(merchant)
    orders = at_once([lambda: _place(merchant, wish)] * 8)
    assert len({order.id for order in orders if isinstance(order, Order)}) == 1
    assert [type(order) for order in orders] == [Order] * 8
    assert (Order.select().count(), Unit.select().count(), fresh(merchant).order_count) == (1, 1, 1)


def test_numbers_have_no_gap_and_no_twin_when_two_shops_sell_at_once(
    merchant: Merchant, other_merchant: Merchant
) -> None:
    shops = [merchant, other_merchant] * 6
    orders = at_once([partial(casting.place, shop) for shop in shops])
    assert [type(order) for order in orders] == [Order] * 12
    expected = [f"G-{number}" for number in range(10001, 10007)]
    for shop in (merchant, other_merchant):
        assert sorted(order.number for order in shop.orders) == expected


@pytest.mark.req("T4")
@pytest.mark.parametrize("value", [0, -5000, 999, 50001, 2**62, 10**30])
def test_a_value_that_is_not_sold_is_refused_and_takes_no_number(merchant: Merchant, value: int) -> None:
    good = _wish(merchant).units[0]
    wish = _wish(merchant, units=[good, dataclasses.replace(good, value_minor=value)])
    with pytest.raises(refusals.FieldsRefused) as refused:
        _place(merchant, wish)
    assert refused.value.problems.keys() == {"amount_2"}
    assert (Order.select().count(), fresh(merchant).order_count) == (0, 0)


# Opening the payment


@pytest.mark.req("F12")
def test_the_key_of_a_payment_is_stored_before_stripe_is_called_and_used_again(merchant: Merchant) -> None:
    order = casting.place(merchant)
    first = checkout.open_payment(order, is_live=False)
    assert fresh(first).idempotency_key == f"checkout:{order.ref}:1"
    assert checkout.open_payment(order, is_live=False) == first
    assert Payment.select().count() == 1


@pytest.mark.req("F10")
def test_an_open_session_is_used_again_to_the_end_of_its_life(merchant: Merchant) -> None:
    order = casting.place(merchant)
    payment = opened(order)
    clock.move(SESSION_LIFE - timedelta(minutes=1))
    assert checkout.open_payment(order, is_live=False) == payment


@pytest.mark.req("F10")
def test_eight_tabs_that_want_to_pay_get_one_payment(merchant: Merchant) -> None:
    order = casting.place(merchant)
    payments = at_once([lambda: checkout.open_payment(order, is_live=False)] * 8)
    assert payments == [Payment.get()] * 8


def test_a_session_past_its_end_is_followed_by_a_new_one(merchant: Merchant) -> None:
    order = casting.place(merchant)
    first = opened(order)
    clock.move(SESSION_LIFE + timedelta(seconds=1))
    second = checkout.open_payment(order, is_live=False)
    assert (second.attempt, second.idempotency_key) == (2, f"checkout:{order.ref}:2")
    assert second.expires_at > clock.now() + SESSION_LEAST
    assert fresh(first).state == "open"  # Stripe may still say that it was paid in time


@pytest.mark.req("F12")
def test_a_payment_that_never_reached_stripe_is_renewed_before_its_deadline_is_too_short(merchant: Merchant) -> None:
    order = casting.place(merchant)
    first = checkout.open_payment(order, is_live=False)
    clock.move(SESSION_LIFE - SESSION_LEAST + timedelta(seconds=1))
    second = checkout.open_payment(order, is_live=False)
    assert (second.attempt, fresh(first).state, fresh(order).payment_state) == (2, "expired", "open")


def test_an_expired_order_can_be_paid_after_all(merchant: Merchant) -> None:
    order = casting.place(merchant)
    assert settle(opened(order), status="expired", payment_status="unpaid") == Outcome.EXPIRED
    assert fresh(order).payment_state == "expired"
    again = opened(order)
    assert (again.attempt, fresh(order).payment_state) == (2, "open")
    assert settle(again) == Outcome.SETTLED


@pytest.mark.parametrize(
    "changes", [{}, {"payment_status": "unpaid"}, {"currency": "USD"}], ids=["paid", "processing", "held"]
)
def test_an_order_that_does_not_wait_for_money_opens_no_payment(merchant: Merchant, changes: dict[str, str]) -> None:
    order = casting.place(merchant)
    settle(opened(order), **changes)
    with pytest.raises(refusals.AlreadyUsed):
        checkout.open_payment(order, is_live=False)
    assert Payment.select().count() == 1


def test_a_session_is_attached_once(merchant: Merchant) -> None:
    payment = opened(casting.place(merchant))
    checkout.attach_session(payment, session_id="cs_test_other", url="https://pay.example/2")
    assert fresh(payment).session_id == payment.session_id
    assert _kinds(payment.order) == ["order_placed", "checkout_opened"]


# Settling


@pytest.mark.req("S1-11", "S1-12", "F5")
def test_money_that_came_as_agreed_pays_the_order_and_plans_its_work(merchant: Merchant) -> None:
    order = casting.place(merchant, "marie@example.com", "")
    payment = opened(order)
    assert settle(payment) == Outcome.SETTLED
    order, payment = fresh(order), fresh(payment)
    assert (order.payment_state, payment.state, payment.method) == ("paid", "paid", "card")
    assert order.paid_at == payment.paid_at
    assert payment.next_check_at is None
    assert [(step.unit_no, step.name) for step in order.steps] == [
        (0, "receipt"), (1, "create"), (1, "document"), (1, "deliver_recipient"),
        (2, "create"), (2, "document"), (2, "deliver_buyer"),
    ]  # fmt: skip
    assert _kinds(order)[-1] == "payment_confirmed"


@pytest.mark.req("F1", "F3")
def test_the_same_news_from_everywhere_at_once_settles_exactly_once(merchant: Merchant) -> None:
    for _ in range(5):
        payment = opened(casting.place(merchant, "marie@example.com"))
        news = partial(checkout.settle, payment, about(payment))
        outcomes = at_once([partial(news, source=source) for source in list(Source) * 2])
        assert sorted(map(str, outcomes)) == ["already_settled"] * 7 + ["settled"]
        assert _kinds(payment.order).count("payment_confirmed") == 1
        assert payment.order.steps.count() == 4
    assert audit.is_clean(audit.run())


@pytest.mark.req("F7", "S1-13")
@pytest.mark.parametrize(
    "changes",
    [
        {"amount_total_minor": 4999}, {"amount_total_minor": 5001}, {"amount_total_minor": 10000},
        {"amount_total_minor": 0}, {"amount_total_minor": -5000}, {"currency": "USD"}, {"currency": "eur"},
        {"currency": ""}, {"is_live": True}, {"account": "acct_other"}, {"reference": "other"}, {"reference": ""},
        {"id": "cs_test_other"}, {"payment_status": "no_payment_required"},
    ],
    ids=str,
)  # fmt: skip
def test_money_that_came_otherwise_is_held_and_nothing_is_made(merchant: Merchant, changes: dict[str, object]) -> None:
    order = casting.place(merchant, "marie@example.com")
    payment = opened(order)
    assert settle(payment, **changes) == Outcome.HELD
    assert (fresh(order).payment_state, fresh(payment).state, fresh(order).paid_at) == ("review", "review", None)
    assert (order.steps.count(), Voucher.select().count()) == (0, 0)
    (held,) = [entry for entry in order.timeline if entry.kind == "payment_held"]
    ((_, reported),) = held.facts["differences"].values()
    assert reported == next(iter(changes.values()))
    assert settle(payment) == Outcome.HELD  # and a person has to look, whatever is reported later
    assert order.steps.count() == 0


@pytest.mark.req("F7", "F15")
def test_money_for_a_connected_account_counts_for_this_account_alone(merchant: Merchant) -> None:
    Merchant.update(stripe_account="acct_alba").where(Merchant.id == merchant.id).execute()
    payment = opened(casting.place(fresh(merchant)))
    assert payment.account == "acct_alba"
    assert settle(payment, account="") == Outcome.HELD
    second = opened(casting.place(fresh(merchant)))
    assert settle(second, account="acct_alba") == Outcome.SETTLED


@pytest.mark.req("F8")
def test_a_delayed_payment_waits_and_settles_when_the_money_is_there(merchant: Merchant) -> None:
    payment = opened(casting.place(merchant))
    assert settle(payment, payment_status="unpaid") == Outcome.PROCESSING
    assert settle(payment, payment_status="unpaid") == Outcome.PROCESSING
    assert fresh(payment.order).payment_state == fresh(payment).state == "processing"
    assert payment.order.steps.count() == 0
    clock.move(timedelta(days=5))
    assert fresh(payment) in checkout.payments_to_check(clock.now())
    assert settle(payment) == Outcome.SETTLED
    assert _kinds(payment.order).count("payment_processing") == 1


@pytest.mark.req("F8", "S1-02")
def test_a_delayed_payment_that_was_refused_makes_nothing_and_can_be_tried_again(merchant: Merchant) -> None:
    order = casting.place(merchant)
    payment = opened(order)
    settle(payment, payment_status="unpaid")
    report = about(payment, payment_status="unpaid", has_failed=True)
    outcome = checkout.settle(payment, report, source=Source.WEBHOOK)
    assert (outcome, fresh(order).payment_state, order.steps.count()) == (Outcome.FAILED, "failed", 0)
    assert settle(opened(order)) == Outcome.SETTLED


@pytest.mark.req("F6", "S1-31")
def test_old_news_after_a_refusal_does_not_bring_the_payment_back(merchant: Merchant) -> None:
    order = casting.place(merchant)
    payment = opened(order)
    settle(payment, payment_status="unpaid", has_failed=True)
    assert settle(payment, payment_status="unpaid") == Outcome.FAILED
    assert (fresh(payment).state, fresh(order).payment_state) == ("failed", "failed")
    assert checkout.open_payment(order, is_live=False).attempt == 2


@pytest.mark.req("F2", "F6")
@pytest.mark.parametrize("order_of_news", [*itertools.permutations(("open", "unpaid", "paid", "expired"))], ids=str)
def test_whatever_the_order_of_the_news_paid_is_paid_once(merchant: Merchant, order_of_news: tuple[str, ...]) -> None:
    facts = {
        "open": {"status": "open", "payment_status": "unpaid"}, "unpaid": {"payment_status": "unpaid"},
        "paid": {}, "expired": {"status": "expired", "payment_status": "unpaid"},
    }  # fmt: skip
    payment = opened(casting.place(merchant))
    outcomes = [settle(payment, **facts[news]) for news in order_of_news]
    assert outcomes.count(Outcome.SETTLED) == 1
    assert set(outcomes[order_of_news.index("paid") + 1 :]) <= {Outcome.ALREADY_SETTLED}
    assert (fresh(payment.order).payment_state, payment.order.steps.count()) == ("paid", 3)


@pytest.mark.req("S1-02")
def test_an_open_session_changes_nothing(merchant: Merchant) -> None:
    payment = opened(casting.place(merchant))
    assert settle(payment, status="open", payment_status="unpaid") == Outcome.STILL_OPEN
    assert (fresh(payment).state, fresh(payment.order).payment_state) == ("open", "open")


@pytest.mark.req("F11")
def test_a_session_that_expired_never_cancels_a_paid_order(merchant: Merchant) -> None:
    payment = opened(casting.place(merchant))
    settle(payment)
    assert settle(payment, status="expired", payment_status="unpaid") == Outcome.ALREADY_SETTLED
    assert fresh(payment.order).payment_state == "paid"


@pytest.mark.req("F11")
def test_expiry_and_payment_at_the_same_moment_end_paid(merchant: Merchant) -> None:
    for _ in range(5):
        payment = opened(casting.place(merchant))
        expired = about(payment, status="expired", payment_status="unpaid")
        news = [about(payment), expired] * 4
        at_once([partial(checkout.settle, payment, report, source=Source.WEBHOOK) for report in news])
        assert (fresh(payment.order).payment_state, payment.order.steps.count()) == ("paid", 3)


@pytest.mark.req("F11", "S1-06")
def test_money_that_comes_after_the_expiry_still_settles(merchant: Merchant) -> None:
    payment = opened(casting.place(merchant))
    settle(payment, status="expired", payment_status="unpaid")
    clock.move(timedelta(days=3))
    assert settle(payment) == Outcome.SETTLED
    assert fresh(payment.order).payment_state == "paid"


@pytest.mark.req("F10")
def test_a_second_session_that_was_paid_is_held_and_makes_no_second_voucher(merchant: Merchant) -> None:
    order = casting.place(merchant)
    first = opened(order)
    clock.move(SESSION_LIFE + timedelta(seconds=1))
    second = opened(order)
    assert settle(second) == Outcome.SETTLED
    assert settle(first) == Outcome.HELD
    assert (fresh(order).payment_state, fresh(first).state, order.steps.count()) == ("paid", "review", 3)
    (held,) = [entry for entry in order.timeline if entry.kind == "payment_held"]
    assert held.facts["differences"] == {"paid_before": [False, True]}
    assert audit.is_clean(audit.run())


@pytest.mark.req("F10")
def test_two_sessions_paid_at_the_same_moment_settle_one_and_hold_the_other(merchant: Merchant) -> None:
    for _ in range(5):
        order = casting.place(merchant)
        first = opened(order)
        clock.move(SESSION_LIFE + timedelta(seconds=1))
        both = [first, opened(order)] * 4
        outcomes = at_once([partial(settle, payment) for payment in both])
        assert outcomes.count(Outcome.SETTLED) == 1
        assert sorted(payment.state for payment in order.payments) == ["paid", "review"]
        assert order.steps.count() == 3


@pytest.mark.req("F10", "F11")
def test_the_end_of_an_old_session_does_not_close_an_order_with_a_newer_one(merchant: Merchant) -> None:
    order = casting.place(merchant)
    first = opened(order)
    clock.move(SESSION_LIFE + timedelta(seconds=1))
    second = opened(order)
    assert settle(first, status="expired", payment_status="unpaid") == Outcome.EXPIRED
    assert fresh(order).payment_state == "open"
    assert settle(second, payment_status="unpaid") == Outcome.PROCESSING
    assert fresh(order).payment_state == "processing"


@pytest.mark.req("F8", "F11")
def test_the_end_of_another_session_does_not_hide_money_that_is_on_its_way(merchant: Merchant) -> None:
    order = casting.place(merchant)
    first = opened(order)
    clock.move(SESSION_LIFE + timedelta(seconds=1))
    second = opened(order)
    settle(first, payment_status="unpaid")
    settle(second, status="expired", payment_status="unpaid")
    assert fresh(order).payment_state == "processing"


# Asking


@pytest.mark.req("F4")
def test_an_unreported_session_is_asked_about_after_2_5_15_and_then_every_60_minutes(merchant: Merchant) -> None:
    payment = opened(casting.place(merchant))
    for gap in (*CHECK_GAPS, CHECK_GAPS[-1]):
        clock.move(gap - timedelta(seconds=5))
        assert checkout.payments_to_check(clock.now()) == []
        clock.move(timedelta(seconds=6))
        assert checkout.payments_to_check(clock.now()) == [payment]
        settle(payment, status="open", payment_status="unpaid")


@pytest.mark.req("F4")
def test_a_silent_stripe_is_asked_again_after_the_next_gap(merchant: Merchant) -> None:
    payment = opened(casting.place(merchant))
    clock.move(CHECK_GAPS[0] + timedelta(seconds=1))
    checkout.postpone_check(payment)
    assert checkout.payments_to_check(clock.now()) == []
    assert checkout.payments_in_doubt() == [payment]
    assert checkout.payments_to_check(clock.now() + CHECK_GAPS[1]) == [payment]


def test_settled_held_and_unopened_payments_are_not_asked_about(merchant: Merchant) -> None:
    settle(opened(casting.place(merchant)))
    settle(opened(casting.place(merchant)), currency="USD")
    settle(opened(casting.place(merchant)), status="expired", payment_status="unpaid")
    checkout.open_payment(casting.place(merchant), is_live=False)
    assert checkout.payments_in_doubt() == []
    assert checkout.payments_to_check(clock.now() + timedelta(days=30)) == []


def test_many_open_pages_of_an_order_ask_once_in_each_gap(merchant: Merchant) -> None:
    payment, gap, at = opened(casting.place(merchant)), timedelta(seconds=3), clock.now()
    answers = at_once([lambda: checkout.claim_check(payment, gap=gap, at=at)] * 8)
    assert sorted(answers) == [False] * 7 + [True]  # type: ignore[type-var]
    assert not checkout.claim_check(payment, gap=gap, at=at + timedelta(seconds=2))
    assert checkout.claim_check(payment, gap=gap, at=at + timedelta(seconds=3))


def test_an_order_whose_payment_page_never_came_to_be_is_closed_after_its_time(merchant: Merchant) -> None:
    unopened, with_session = casting.place(merchant), casting.place(merchant)
    checkout.open_payment(unopened, is_live=False)
    opened(with_session)
    assert checkout.expire_unopened(clock.now()) == 0
    clock.move(SESSION_LIFE + timedelta(seconds=1))
    assert checkout.expire_unopened(clock.now()) == 1
    assert checkout.expire_unopened(clock.now()) == 0
    assert (fresh(unopened).payment_state, fresh(with_session).payment_state) == ("expired", "open")


def test_an_unreachable_stripe_is_written_down_at_a_bearable_length(merchant: Merchant) -> None:
    payment = checkout.open_payment(casting.place(merchant), is_live=False)
    checkout.note_unreachable(payment, detail="x" * 5000)
    (entry,) = [entry for entry in payment.order.timeline if entry.kind == "checkout_unreachable"]
    assert len(entry.facts["detail"]) == 500


def test_the_offers_of_the_shop_are_what_the_rules_sell(merchant: Merchant) -> None:
    lowest, highest = catalogue.limits(merchant.offers.first())
    assert casting.place(merchant, value_minor=lowest).total_minor == lowest
    assert reports.paid(merchant, value_minor=highest).is_paid
