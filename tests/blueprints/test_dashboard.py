"""The merchant's dashboard: every state in words, the one useful button, search, and nobody else's rows."""

import html
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import flask_babel
import pytest

from blueprints.dashboard import listing, sentences, tracks, troubles, wording
from database import db, transaction
from domain import checkout, clock, entries, fulfilment, ledger
from domain.states import PaymentState, Role, StepName, StepState
from effects import voucher as vouchers
from models import Merchant, Order, Payment, Step, StepAttempt, TimelineEntry, Unit, User, Voucher
from tests import cast as casting
from tests import sales
from tests.browser import Browser

HTMX = {"HX-Request": "true"}
Failure = fulfilment.Failure
BOUNCE = Failure("bad_address", "550 5.1.1 <anna@gmial.example>: no such user", is_permanent=True)
BUSY = Failure("mail_unreachable", "Connection refused: mail.example:587")


@dataclass(frozen=True)
class Report:
    """A session as Stripe reports it."""

    id: str
    amount_total_minor: int
    currency: str
    reference: str
    status: str = "complete"
    payment_status: str = "paid"
    is_live: bool = False
    account: str = ""
    payment_intent_id: str | None = None
    method: str | None = "card"


def paid(seller: Merchant, *recipients: str, reported_minor: int | None = None, **facts: object) -> Order:
    order = casting.place(seller, *recipients, **facts)
    payment = checkout.open_payment(order, is_live=False)
    session_id = f"cs_test_{secrets.token_hex(12)}"
    checkout.attach_session(payment, session_id=session_id, url="https://pay.example")
    report = Report(
        session_id,
        reported_minor or order.total_minor,
        order.currency,
        order.ref,
        payment_intent_id=f"pi_{secrets.token_hex(8)}",
    )
    checkout.settle(Payment.get_by_id(payment.id), report, source=checkout.Source.WEBHOOK)
    return Order.get_by_id(order.id)


def drive(order: Order, *, fail: StepName | None = None, failure: Failure = BUSY, stay: bool = False) -> Order:
    """Work on the order's steps; the step named `fail` fails, or stays with its worker."""
    while (step := fulfilment.claim("test", order_id=order.id)) is not None:
        if step.name == fail:
            if not stay:
                fulfilment.fail(step, failure)
            continue
        if step.name == StepName.CREATE:
            vouchers.create(step)
        else:
            with transaction():
                fulfilment.finish(step)
    return Order.get_by_id(order.id)


def standing(order: Order) -> tracks.Standing:
    (row,) = listing.rows_of([Order.get_by_id(order.id)], at=clock.now())
    return row.standing


def mail_step(order: Order) -> Step:
    return order.steps.where(Step.name.in_([StepName.DELIVER_BUYER, StepName.DELIVER_RECIPIENT])).get()


def row_of(page: str, number: str) -> str:
    found = re.search(rf'<tr id="row-[a-z]+-{number}".*?</tr>', page, re.DOTALL)
    assert found, f"no row for {number}"
    return html.unescape(re.sub(r"\s+", " ", found.group(0)))


@pytest.fixture
def anna(client: Browser, cast: casting.Cast) -> Browser:
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    return client


def test_staff_sees_what_the_owner_sees(client: Browser, cast: casting.Cast) -> None:
    order = paid(cast.alba)
    sales.sign_in(client, "ben@alba.example", casting.PASSWORD)
    assert order.number in client.get("/dashboard/orders").text


def test_a_new_shop_is_told_how_the_first_order_comes(anna: Browser) -> None:
    for page in ("/dashboard", "/dashboard/orders", "/dashboard/orders?view=needs_you", "/dashboard/vouchers"):
        assert anna.get(page).status_code == 200
    assert "Share the link of your shop" in anna.get("/dashboard/orders").text
    assert "Nothing needs you." in anna.get("/dashboard").text


@pytest.mark.req("S1-24", "S1-25", "S1-26")
def test_a_row_shows_three_states_and_its_page_too(anna: Browser, merchant: Merchant) -> None:
    order = drive(paid(merchant))
    row = row_of(anna.get("/dashboard/orders").text, order.number)
    assert [word for word in ("Paid", "Created", "Sent") if word in row] == ["Paid", "Created", "Sent"]
    assert "Delivered" not in row and "<button" not in row
    page = anna.get(f"/dashboard/orders/{order.number}").text
    assert "Accepted by the mail server" in page and "delivered" not in page.lower().replace("undelivered", "")


FAILURES = (
    (None, BUSY, ("paid", "created", "sent"), "done"),
    (StepName.DELIVER_RECIPIENT, BOUNCE, ("paid", "created", "bounced"), "needs_you"),
    (StepName.DELIVER_RECIPIENT, BUSY, ("paid", "created", "retrying"), "retrying"),
    (StepName.DELIVER_RECIPIENT, Failure("mail_unknown", is_unknown=True), ("paid", "created", "retrying"), "retrying"),
    (StepName.DELIVER_RECIPIENT, Failure("mail_ours", is_permanent=True), ("paid", "created", "failed"), "needs_you"),
    (StepName.DOCUMENT, Failure("renderer_crashed"), ("paid", "retrying", "none"), "retrying"),
    (StepName.DOCUMENT, Failure("too_many_pages", is_permanent=True), ("paid", "failed", "sent"), "needs_you"),
    (StepName.CREATE, Failure("unexpected"), ("paid", "retrying", "none"), "retrying"),
    (StepName.RECEIPT, BUSY, ("paid", "created", "retrying"), "retrying"),
)


@pytest.mark.req("S1-24", "S1-25", "S1-26", "S1-28")
def test_every_failure_has_its_word_in_the_right_track(merchant: Merchant) -> None:
    for fail, failure, keys, headline in FAILURES:
        now = standing(drive(paid(merchant, "anna@gmial.example"), fail=fail, failure=failure))
        assert (tuple(track.key for track in now.tracks), now.headline_key) == (keys, headline), failure


def test_unpaid_orders_have_their_words_and_only_those_that_stripe_knows_can_be_checked(merchant: Merchant) -> None:
    untouched = casting.place(merchant)
    assert (standing(untouched).headline_key, standing(untouched).can_check_payment) == ("waiting", False)
    held = paid(merchant, reported_minor=100)
    assert (standing(held).payment.key, standing(held).headline_key) == ("review", "needs_you")
    opened = casting.place(merchant)
    checkout.attach_session(checkout.open_payment(opened, is_live=False), session_id="cs_test_x1", url=None)
    assert standing(opened).can_check_payment


def test_a_voucher_for_another_day_is_scheduled_and_not_under_way(merchant: Merchant) -> None:
    order = paid(merchant, "anna@b.example")
    Step.update(not_before=clock.now() + timedelta(days=9)).where(
        Step.order == order, Step.name == StepName.DELIVER_RECIPIENT
    ).execute()
    drive(order)
    now = standing(order)
    assert (now.delivery.key, now.headline_key, now.poll_seconds) == ("scheduled", "scheduled", None)


def test_the_page_looks_again_each_second_while_work_moves_and_rests_when_it_is_done(
    anna: Browser, merchant: Merchant
) -> None:
    order = paid(merchant)
    page = f"/dashboard/orders/{order.number}"
    assert 'hx-trigger="every 1s"' in anna.get(page, headers=HTMX).text
    drive(order, fail=StepName.DELIVER_BUYER)
    assert 'hx-trigger="every 5s"' in anna.get(page, headers=HTMX).text
    clock.move(timedelta(hours=1))
    drive(order)
    assert "hx-trigger" not in anna.get(page, headers=HTMX).text


def test_a_changed_state_is_read_out_once(anna: Browser, merchant: Merchant) -> None:
    order = drive(paid(merchant))
    page = f"/dashboard/orders/{order.number}"
    assert "Done" in anna.get(f"{page}?seen=in_progress", headers=HTMX).headers["HX-Trigger"]
    assert "HX-Trigger" not in anna.get(f"{page}?seen=done", headers=HTMX).headers


def test_a_fragment_stands_verbatim_in_its_page(anna: Browser, merchant: Merchant) -> None:
    order = drive(paid(merchant, "anna@b.example"), fail=StepName.DELIVER_RECIPIENT, failure=BOUNCE)
    drive(paid(merchant))
    clock_words = re.compile(
        r'(name="csrf_token" value="[^"]*"|datetime="[^"]*"|>[0-9:]{5,8}<|title="[^"]*"|[0-9]+ seconds? ago)'
    )
    for page in (f"/dashboard/orders/{order.number}", "/dashboard/orders", "/dashboard/vouchers", "/dashboard"):
        whole, piece = anna.get(page).text, anna.get(page, headers=HTMX).text
        assert "<html" in whole and "<html" not in piece
        assert clock_words.sub("", piece.strip()) in clock_words.sub("", whole)
        assert "HX-Request" in anna.get(page).headers["Vary"]


@pytest.mark.req("S1-27")
def test_a_failure_says_effect_cause_what_we_do_what_helps_and_a_reference(anna: Browser, merchant: Merchant) -> None:
    order = drive(paid(merchant, "marie@gmial.example"), fail=StepName.DELIVER_RECIPIENT, failure=BOUNCE)
    page = html.unescape(anna.get(f"/dashboard/orders/{order.number}").text)
    step = mail_step(order)
    for part in (
        "Marie has not received the voucher.",
        "the address marie@gmial.example does not exist",
        "We stopped trying.",
        "Correct the address and send.",
        f"{order.number}, step {step.id}, try {step.token}",
        "550 5.1.1 <anna@gmial.example>: no such user",
    ):
        assert part in page, part


def test_a_held_payment_names_both_amounts(anna: Browser, merchant: Merchant) -> None:
    order = paid(merchant, reported_minor=500)
    page = anna.get(f"/dashboard/orders/{order.number}").text
    assert "Stripe reports €5.00, the order says €50.00." in page
    assert f"/orders/{order.number}" in row_of(anna.get("/dashboard/orders?view=needs_you").text, order.number)


@pytest.mark.req("S1-28")
def test_the_next_try_is_told_as_a_time_with_its_number(anna: Browser, merchant: Merchant) -> None:
    order = drive(paid(merchant), fail=StepName.DELIVER_BUYER)
    at = mail_step(order).not_before.astimezone(clock.zone(merchant.time_zone)).strftime("%H:%M")
    page = anna.get(f"/dashboard/orders/{order.number}").text
    assert f"next try {at}, attempt 2 of 40" in page
    assert f"Retrying {at}" in row_of(anna.get("/dashboard/orders").text, order.number)


@pytest.mark.req("S1-30", "F44")
def test_try_now_without_javascript_comes_back_with_a_sentence(anna: Browser, merchant: Merchant) -> None:
    order = drive(paid(merchant), fail=StepName.DELIVER_BUYER)
    page = f"/dashboard/orders/{order.number}"
    response = sales.press(anna, page, f"/steps/{mail_step(order).id}/retry")
    assert (response.status_code, response.location) == (303, page)
    assert "Trying now" in anna.get(page).text
    assert mail_step(order).state == StepState.READY
    entry = order.timeline.where(TimelineEntry.kind == "step_retried").get()
    assert entry.actor == "Anna"


@pytest.mark.req("F44")
def test_ten_clicks_are_one_try_and_never_an_error(anna: Browser, merchant: Merchant) -> None:
    order = drive(paid(merchant), fail=StepName.DELIVER_BUYER)
    step = mail_step(order)
    page = anna.get(f"/dashboard/orders/{order.number}").text
    data = {"csrf_token": sales.csrf(page), "token": str(step.token)}
    url = f"/dashboard/orders/{order.number}/steps/{step.id}/retry"
    answers = [anna.post(url, data=data, headers=HTMX) for _ in range(10)]
    assert {answer.status_code for answer in answers} == {200}
    assert "Trying now" in answers[0].headers["HX-Trigger"]
    assert all("This is already being tried." in answer.text for answer in answers[1:])
    assert order.timeline.where(TimelineEntry.kind == "step_retried").count() == 1
    drive(order)
    assert StepAttempt.select().where(StepAttempt.step == step).count() == 2


def test_a_button_in_the_list_answers_its_row(anna: Browser, merchant: Merchant) -> None:
    order = drive(paid(merchant), fail=StepName.DELIVER_BUYER)
    step = mail_step(order)
    row = row_of(anna.get("/dashboard/orders").text, order.number)
    assert f"/steps/{step.id}/retry" in row
    data = {"csrf_token": sales.csrf(row), "token": str(step.token), "on": "list"}
    url = f"/dashboard/orders/{order.number}/steps/{step.id}/retry"
    answer = anna.post(url, data=data, headers=HTMX)
    assert answer.text.strip().startswith(f'<tr id="row-list-{order.number}"')
    assert anna.post(url, data=data).location == "/dashboard/orders"


@pytest.mark.req("F44")
def test_a_wrong_token_tries_nothing(anna: Browser, merchant: Merchant) -> None:
    order = drive(paid(merchant), fail=StepName.DELIVER_BUYER)
    page = f"/dashboard/orders/{order.number}"
    for token in ("", "-1", "abc", "99999999999999999999", "²", "0"):
        answer = sales.press(anna, page, f"/steps/{mail_step(order).id}/retry", token=token)
        assert answer.status_code == 303
    assert mail_step(order).state == StepState.RETRY_WAIT


@pytest.mark.req("S1-33")
def test_a_wrong_address_is_corrected_and_sent(anna: Browser, merchant: Merchant) -> None:
    order = drive(paid(merchant, "marie@gmial.example"), fail=StepName.DELIVER_RECIPIENT, failure=BOUNCE)
    page = f"/dashboard/orders/{order.number}"
    answer = sales.press(anna, page, f"/steps/{mail_step(order).id}/address", email=" Marie@Gmail.Example ")
    assert answer.status_code == 303
    assert order.units.get().recipient_email == "Marie@gmail.example"
    assert mail_step(order).state == StepState.READY
    assert "Address changed from marie@gmial.example to Marie@gmail.example" in anna.get(page).text


def test_an_address_that_is_none_is_kept_and_refused(anna: Browser, merchant: Merchant) -> None:
    order = drive(paid(merchant, "marie@gmial.example"), fail=StepName.DELIVER_RECIPIENT, failure=BOUNCE)
    step = mail_step(order)
    url, page = f"/dashboard/orders/{order.number}/steps/{step.id}/address", f"/dashboard/orders/{order.number}"
    data = {"csrf_token": sales.csrf(anna.get(page).text), "token": str(step.token)}
    nonsense = ("", "marie", "marie@", "ü@a.example", "a@b\r\nBcc: x@y.example", "x" * 500 + "@a.example", "a@b\0.x")
    for typed in nonsense:
        for headers in ({}, HTMX):
            answer = anna.post(url, data=data | {"email": typed}, headers=headers)
            assert answer.status_code == 422 and 'aria-invalid="true"' in answer.text
            assert f'value="{typed[:3]}' in answer.text
    assert mail_step(order).state == StepState.DEAD


@pytest.mark.req("S1-30")
def test_a_mail_goes_out_again_once_and_not_twice_a_minute(anna: Browser, merchant: Merchant) -> None:
    order = drive(paid(merchant))
    step, page = mail_step(order), f"/dashboard/orders/{order.number}"
    sales.press(anna, page, f"/steps/{step.id}/resend")
    assert "Wait " in anna.get(page).text and order.steps.where(Step.epoch == 2).count() == 0
    clock.move(timedelta(seconds=61))
    html_before = anna.get(page).text
    data = {"csrf_token": sales.csrf(html_before), "token": str(step.token)}
    url = f"/dashboard/orders/{order.number}/steps/{step.id}/resend"
    assert [anna.post(url, data=data, headers=HTMX).status_code for _ in range(3)] == [200, 200, 200]
    fresh = order.steps.where(Step.epoch == 2).get()
    assert fresh.message_id != step.message_id
    assert order.timeline.where(TimelineEntry.kind == "mail_sent_again").count() == 1


@pytest.mark.req("S1-06")
def test_check_payment_finds_money_that_nobody_reported(
    anna: Browser, merchant: Merchant, twin: object, run_jobs: Callable[[], int]
) -> None:
    session_id = sales.order(anna)
    order = sales.order_of(session_id)
    page = f"/dashboard/orders/{order.number}"
    sales.press(anna, page, "/payment/check")
    assert "Stripe says: not paid yet." in anna.get(page).text
    twin.pay(session_id, deliver=False)  # type: ignore[attr-defined]
    sales.press(anna, page, "/payment/check")
    assert Order.get_by_id(order.id).is_paid
    shown = anna.get(page).text
    assert "Payment of €50.00 confirmed" in shown and "Already confirmed" in shown


def test_checking_a_decided_payment_asks_nobody(anna: Browser, merchant: Merchant) -> None:
    order = drive(paid(merchant))
    page = f"/dashboard/orders/{order.number}"
    data = {"csrf_token": sales.csrf(anna.get(page).text)}
    anna.post(f"{page}/payment/check", data=data)
    assert "Nothing to check" in anna.get(page).text


def test_search_finds_an_order_by_what_people_have_at_hand(anna: Browser, merchant: Merchant) -> None:
    order = drive(paid(merchant, "marie@b.example", buyer_name="Lukas Özgür"))
    casting.place(merchant, buyer_name="Peter", buyer_email="peter@c.example")
    payment, voucher = order.payments.get(), Voucher.get(Voucher.unit == order.units.get())
    words = [
        "lukas",
        "LUKAS",
        "lukas@example",
        order.number,
        order.number.lower(),
        "marie@b",
        "Marie",
        "özgür",
        "ÖZGÜR",
    ]
    at_hand = [*words, "Özg", voucher.code_last4.lower(), payment.payment_intent_id, payment.session_id]
    for text in at_hand:
        found = listing.orders(merchant, listing.Wanted(text=text), at=clock.now()).rows
        assert [row.order for row in found] == [order], text
    page = anna.get("/dashboard/orders", query_string={"q": "ÖZGÜR"}).text
    assert order.number in page and "Peter" not in page


def test_signs_of_the_query_language_are_plain_text(anna: Browser, merchant: Merchant) -> None:
    casting.place(merchant)
    for text in ("%", "_", "\\", "100%", "'", '"', "a\0b", "x" * 3000, "💶", "' OR 1=1 --"):
        for page in ("/dashboard/orders", "/dashboard/vouchers"):
            answer = anna.get(page, query_string={"q": text})
            assert answer.status_code == 200 and "Nothing found" in answer.text, text


def test_a_query_that_makes_no_sense_shows_the_usual_list(anna: Browser, merchant: Merchant) -> None:
    order = casting.place(merchant)
    for query in (
        "view=nonsense",
        "rows=-5",
        "rows=abc",
        "rows=²",
        "rows=99999999999",
        "before=nope",
        "before=%00",
        "q=%00",
    ):
        assert order.number in anna.get(f"/dashboard/orders?{query}").text, query


def test_the_views_hold_what_their_counts_say(anna: Browser, merchant: Merchant) -> None:
    drive(paid(merchant))
    drive(paid(merchant), fail=StepName.DELIVER_BUYER)
    drive(paid(merchant), fail=StepName.DELIVER_BUYER, failure=BOUNCE)
    paid(merchant, reported_minor=100)
    casting.place(merchant)
    counts = {"all": 5, "needs_you": 2, "in_progress": 2, "done": 1, "refunded": 0}
    assert listing.counts(merchant) == counts
    for view, count in listing.counts(merchant).items():
        assert len(listing.orders(merchant, listing.Wanted(view=view), at=clock.now()).rows) == count


def test_a_page_of_orders_takes_the_same_number_of_queries_for_one_and_for_many(merchant: Merchant) -> None:
    def queries() -> int:
        count, execute = 0, db.obj.execute_sql

        def counting(*arguments: object, **options: object) -> object:
            nonlocal count
            count += 1
            return execute(*arguments, **options)

        db.obj.execute_sql = counting
        try:
            for row in listing.orders(merchant, listing.Wanted(), at=clock.now()).rows:
                assert row.standing.headline and row.recipients is not None
        finally:
            del db.obj.execute_sql
        return count

    drive(paid(merchant, "a@b.example"))
    few = queries()
    for _ in range(4):
        drive(paid(merchant, "a@b.example", "c@d.example"))
    assert queries() == few == 6


def test_more_rows_and_older_pages_follow_without_gaps(merchant: Merchant) -> None:
    numbers = [casting.place(merchant).number for _ in range(7)][::-1]
    first = listing.orders(merchant, listing.Wanted(rows=3), at=clock.now())
    assert [row.order.number for row in first.rows] == numbers[:3] and first.has_more
    rest = listing.orders(merchant, listing.Wanted(rows=9, before=numbers[2]), at=clock.now())
    assert [row.order.number for row in rest.rows] == numbers[3:] and not rest.has_more


@pytest.mark.req("T6")
def test_another_shop_never_sees_or_moves_what_is_not_its_own(client: Browser, cast: casting.Cast) -> None:
    order = drive(paid(cast.alba, "marie@b.example"), fail=StepName.DELIVER_RECIPIENT, failure=BOUNCE)
    own = drive(paid(cast.berg), fail=StepName.DELIVER_BUYER)
    Order.update(number="G-77777").where(Order.id == order.id).execute()
    step, voucher = mail_step(order), Voucher.get(Voucher.unit == order.units.get())
    sales.sign_in(client, "carla@berg.example", casting.PASSWORD)
    data = {
        "csrf_token": sales.csrf(client.get("/dashboard").text),
        "token": str(step.token),
        "email": "thief@e.example",
    }
    for page in (
        "/dashboard/orders/G-77777",
        f"/dashboard/vouchers/{voucher.public_id}",
        f"/dashboard/vouchers/{voucher.public_id}/pdf",
    ):
        assert client.get(page).status_code == 404
    posts = [
        f"/dashboard/orders/{number}/steps/{step.id}/{verb}"
        for number in ("G-77777", own.number)
        for verb in ("retry", "resend", "address")
    ]
    for page in (*posts, "/dashboard/orders/G-77777/payment/check", f"/dashboard/vouchers/{voucher.public_id}/code"):
        assert client.post(page, data=data).status_code == 404
    assert client.post("/dashboard/shop", data=data | {"shop": "cafe-alba"}).status_code == 404
    lists = "".join(client.get(f"/dashboard{page}").text for page in ("", "/orders", "/vouchers", "/orders?q=marie"))
    assert "G-77777" not in lists and voucher.code_last4 not in lists
    assert mail_step(order).state == StepState.DEAD and order.units.get().recipient_email == "marie@b.example"


@pytest.mark.req("T7")
def test_without_a_log_in_no_page_of_the_dashboard_opens(client: Browser, cast: casting.Cast, app: object) -> None:
    rules = [rule for rule in client.application.url_map.iter_rules() if rule.endpoint.startswith("dashboard.")]
    assert len(rules) >= 12
    for rule in rules:
        url = re.sub(r"<[^>]*(step|stray)_id>", "1", re.sub(r"<(number|public_id)>", "x", rule.rule))
        answer = client.open(url, method="POST" if "POST" in (rule.methods or ()) else "GET")
        assert answer.status_code in (303, 400) and "Café" not in answer.text, rule


def test_somebody_with_two_shops_chooses_and_stays(client: Browser, cast: casting.Cast) -> None:
    from models import Membership

    Membership.create(user=cast.anna, merchant=cast.berg, role=Role.STAFF)
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    assert "<title>Home – Café Alba</title>" in client.get("/dashboard").text
    sales.press(client, "/dashboard", "/dashboard/shop", shop="hotel-berg")
    assert "<title>Orders – Hotel Berg</title>" in client.get("/dashboard/orders").text


def test_somebody_without_a_shop_is_told_whom_to_ask(client: Browser, cast: casting.Cast) -> None:
    User.create(
        email="dora@x.example", password_hash=cast.anna.password_hash, session_token="t" * 30, name="Dora", locale="en"
    )
    sales.sign_in(client, "dora@x.example", casting.PASSWORD)
    answer = client.get("/dashboard/orders")
    assert answer.status_code == 403 and "Ask the owner" in answer.text


def test_the_code_is_hidden_shown_on_demand_and_that_is_written_down(anna: Browser, merchant: Merchant) -> None:
    voucher, code = casting.issue(merchant)
    page = f"/dashboard/vouchers/{voucher.public_id}"
    assert code not in anna.get(page).text
    shown = sales.press(anna, page, "/code")
    assert shown.status_code == 200 and code in shown.text and shown.headers["Cache-Control"] == "no-store"
    entry = TimelineEntry.get(TimelineEntry.voucher == voucher, TimelineEntry.kind == "code_shown")
    assert entry.actor == "Anna" and code not in str(entry.facts)
    assert code not in anna.get(page).text


@pytest.mark.req("S2-05")
def test_the_ledger_shows_each_change_with_its_till_and_the_balance_after(anna: Browser, merchant: Merchant) -> None:
    voucher, _ = casting.issue(merchant, value_minor=5000)
    with transaction():
        ledger.redeem(
            voucher.id,
            amount_minor=1250,
            currency="EUR",
            operation_key="k",
            actor="till",
            till=entries.Till(reference="R-1042", location="Bar", terminal="Kasse 1"),
        )
    page = html.unescape(anna.get(f"/dashboard/vouchers/{voucher.public_id}").text)
    for words in ("−€12.50", "+€50.00", "€37.50", "Bar, Kasse 1, R-1042", "Redeemed", "Issued"):
        assert words in page, words
    assert f"…{voucher.code_last4}" in anna.get("/dashboard/vouchers", query_string={"q": voucher.code_last4}).text


def test_a_voucher_says_how_it_is(anna: Browser, merchant: Merchant) -> None:
    states: list[tuple[dict[str, object], str]] = [
        ({}, "Valid"),
        ({"status": "suspended"}, "Blocked"),
        ({"status": "cancelled"}, "Cancelled"),
        ({"status": "pending"}, "Not yet active"),
        ({"expires_at": clock.now() - timedelta(days=1)}, "Expired"),
    ]
    for facts, word in states:
        voucher, _ = casting.issue(merchant, **facts)
        assert word in anna.get(f"/dashboard/vouchers/{voucher.public_id}").text
    listed = anna.get("/dashboard/vouchers").text
    assert all(word in listed for _, word in states)


@pytest.mark.req("S1-03")
def test_a_pdf_that_does_not_exist_yet_is_no_error(anna: Browser, merchant: Merchant) -> None:
    voucher, _ = casting.issue(merchant)
    assert anna.get(f"/dashboard/vouchers/{voucher.public_id}/pdf").status_code == 404
    assert "There is no PDF yet." in anna.get(f"/dashboard/vouchers/{voucher.public_id}").text


@pytest.mark.req("T12")
def test_what_a_buyer_typed_is_text_and_nothing_else(anna: Browser, merchant: Merchant) -> None:
    payloads = (
        "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', '<div hx-get="/api-keys" hx-trigger="load">',
        "<a hx-on:click=alert(1)>", "<x data-hx-post=/refund>", "</textarea><b>", "{{ 7*7 }}", "%(buyer)s %s %",
    )  # fmt: skip
    for payload in payloads:
        order = paid(merchant, "a@b.example", buyer_name=payload)
        Unit.update(message=payload, recipient_name=payload).where(Unit.order == order).execute()
        drive(order, fail=StepName.DELIVER_RECIPIENT, failure=Failure("bad_address", payload, is_permanent=True))
        for page in ("/dashboard", "/dashboard/orders", f"/dashboard/orders/{order.number}", "/dashboard/vouchers"):
            text = anna.get(page).text
            assert "<" not in payload or payload not in text
            assert payload in html.unescape(text) or page == "/dashboard"


def test_an_address_of_nothing_is_a_plain_404(anna: Browser) -> None:
    for address in ("orders/%00", "orders/a%00b", "vouchers/%00", "orders/💶", "vouchers/vch_x/pdf"):
        assert anna.get(f"/dashboard/{address}").status_code == 404, address


def test_a_step_number_beyond_any_database_is_a_plain_404(anna: Browser, merchant: Merchant) -> None:
    order = paid(merchant)
    data = {"csrf_token": sales.csrf(anna.get("/dashboard").text)}
    for step_id in ("9007199254740991", "9223372036854775808", "1" * 60):
        assert anna.post(f"/dashboard/orders/{order.number}/steps/{step_id}/retry", data=data).status_code == 404


def test_the_home_page_says_whether_everything_runs(anna: Browser, merchant: Merchant) -> None:
    assert "has not run yet" in anna.get("/dashboard").text
    fulfilment.beat("w1")
    assert "running, seen" in anna.get("/dashboard").text
    drive(paid(merchant), fail=StepName.DELIVER_BUYER, failure=BOUNCE)
    clock.move(timedelta(minutes=10))
    paid(merchant)
    clock.move(timedelta(minutes=10))
    page = anna.get("/dashboard").text
    assert "silent since" in page and "1 step needs a person" in page and "due since" in page
    assert "<title>(1) Home" in page


@pytest.mark.parametrize("locale", ["en", "de"])
def test_every_error_code_speaks_in_five_parts(merchant: Merchant, app: object, locale: str) -> None:
    order = drive(paid(merchant, "a@b.example"), fail=StepName.DELIVER_RECIPIENT)
    step, unit = mail_step(order), order.units.get()
    from flask import current_app, g

    assert set(troubles.CAUSES) == set(troubles.ADVICE)
    for code in troubles.CAUSES:
        with current_app.test_request_context(), flask_babel.force_locale(locale):
            g.merchant = merchant
            step.error_code = code
            said = troubles.of_step(step, order=order, unit=unit)
            parts = (said.effect, said.cause, said.by_itself, said.what_you_can_do, said.reference)
            assert all(part and "%(" not in part for part in parts), code


def test_every_kind_of_entry_has_its_sentence_even_with_facts_missing(merchant: Merchant, app: object) -> None:
    from flask import current_app, g

    order = paid(merchant)
    with current_app.test_request_context(), flask_babel.force_locale("en"):
        g.merchant = merchant
        for kind in (*sentences.KINDS, "something_new"):
            entry = TimelineEntry(id=1, merchant=merchant, order=order, kind=kind, facts={}, actor="system")
            (line,) = sentences.lines([entry], currency="EUR")
            assert line.sentence and "%(" not in line.sentence


def test_each_state_of_each_track_has_a_word_a_tone_and_an_icon() -> None:
    tones = {"ok", "bad", "warn", "run", "idle", "violet"}
    every = (*wording.TRACKS.values(), wording.HEADLINES, wording.STEPS, wording.VOUCHER_LIFE)
    for status in (status for table in every for status in table.values()):
        assert status.label and status.tone in tones and status.icon
    back = {"refunded", "refunded_part", "disputed", "charged_back", "returned"}
    assert set(wording.PAYMENT) == {*map(str, PaymentState)} | back
    assert {*StepState} <= {*wording.STEPS}
    assert set(wording.STEP_NAMES) == set(StepName)


def test_the_list_and_the_search_start_from_the_merchant(cast: casting.Cast) -> None:
    mine, theirs = paid(cast.alba, "x@y.example"), paid(cast.berg, "x@y.example")
    for text in ("", "x@y", theirs.payments.get().session_id):
        found = [row.order for row in listing.orders(cast.alba, listing.Wanted(text=text), at=clock.now()).rows]
        assert theirs not in found and (found == [mine] or text.startswith("cs_"))
