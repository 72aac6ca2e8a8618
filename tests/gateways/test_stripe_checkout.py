"""The Stripe gateway, through the real SDK against the running twin: no mocks, one loopback port."""

import email.utils
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import stripe
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import clock
from gateways import stripe_api
from gateways.stripe_checkout import (
    EventRefused,
    Line,
    PaymentStatus,
    SessionStatus,
    StripeCheckout,
    StripeRefused,
    StripeUnavailable,
    StripeUnclear,
)
from gateways.stripe_twin import Twin
from tests.stripe_shop import HOUR, ask, connect, refused_for, scripted, scripted_json, sell


@pytest.fixture(scope="module")
def twin() -> Iterator[Twin]:
    with Twin() as running:
        yield running


@pytest.fixture(autouse=True)
def healthy(twin: Twin) -> Iterator[None]:
    yield
    for fault in ("slow", "error_after_work", "rate_limit", "mismatch", "lose_events", "down"):
        twin.switch(fault, False)
    clock.reset()


@pytest.fixture
def shop(twin: Twin) -> StripeCheckout:
    return connect(twin)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real retries and time-outs, only sooner."""
    monkeypatch.setattr("stripe._http_client.HTTPClient.INITIAL_DELAY", 0.01)
    monkeypatch.setattr("stripe._http_client.HTTPClient.MAX_DELAY", 0.02)
    monkeypatch.setattr(stripe_api, "ANSWER_SECONDS", 0.3)


def refusal(call: object, *arguments: object) -> str:
    with pytest.raises(EventRefused) as refused:
        call(*arguments)  # type: ignore[operator]
    return refused.value.reason


@pytest.mark.req("S1-10", "S1-13")
def test_an_opened_session_asks_for_exactly_what_was_ordered(shop: StripeCheckout) -> None:
    request = ask("100")
    session = shop.open_session(request)
    assert (session.amount_total_minor, session.currency, session.reference) == (10000, "EUR", "G-100")
    assert (session.status, session.payment_status) == (SessionStatus.OPEN, PaymentStatus.UNPAID)
    assert (session.is_live, session.account, session.method, session.payment_intent_id) == (False, "", None, None)
    assert session.url is not None and session.url.endswith(f"/pay/{session.id}")
    assert session.expires_at == request.expires_at.replace(microsecond=0)


def test_what_stripe_is_told_has_the_order_the_language_and_the_address(twin: Twin, shop: StripeCheckout) -> None:
    session_id = shop.open_session(ask("101")).id
    body = next(one for one in twin.sessions() if one["id"] == session_id)
    assert body["metadata"] == {"order": "G-101"} and body["client_reference_id"] == "G-101"
    assert (body["locale"], body["customer_email"], body["mode"]) == ("de", "anna@example.org", "payment")
    assert body["branding_settings"]["display_name"] == "Café Alba"
    assert body["billing_address_collection"] is None and body["shipping_address_collection"] is None


def test_a_paid_session_tells_the_payment_and_the_method(twin: Twin, shop: StripeCheckout) -> None:
    session_id = shop.open_session(ask()).id
    twin.pay(session_id)
    session = shop.fetch_session(session_id)
    assert (session.status, session.payment_status) == (SessionStatus.COMPLETE, PaymentStatus.PAID)
    assert session.payment_intent_id is not None and session.payment_intent_id.startswith("pi_")
    assert (session.method, session.url) == ("card", None)


def test_a_declined_card_leaves_the_session_open(twin: Twin, shop: StripeCheckout) -> None:
    session_id = shop.open_session(ask()).id
    twin.decline(session_id)
    session = shop.fetch_session(session_id)
    assert (session.status, session.payment_status) == (SessionStatus.OPEN, PaymentStatus.UNPAID)
    twin.pay(session_id)
    assert shop.fetch_session(session_id).payment_status is PaymentStatus.PAID


@pytest.mark.req("F8")
@pytest.mark.parametrize(("succeed", "status"), [(True, PaymentStatus.PAID), (False, PaymentStatus.UNPAID)])
def test_a_bank_debit_is_complete_long_before_it_is_paid(
    twin: Twin, shop: StripeCheckout, succeed: bool, status: PaymentStatus
) -> None:
    session_id = shop.open_session(ask()).id
    twin.pay_later(session_id)
    waiting = shop.fetch_session(session_id)
    assert (waiting.status, waiting.payment_status) == (SessionStatus.COMPLETE, PaymentStatus.UNPAID)
    assert waiting.method == "sepa_debit"
    clock.move(timedelta(days=5))
    twin.settle_later(session_id, succeed=succeed)
    assert shop.fetch_session(session_id).payment_status is status


@pytest.mark.req("F8")
def test_a_session_over_nothing_is_never_called_paid(twin: Twin, shop: StripeCheckout) -> None:
    session_id = shop.open_session(ask(lines=(Line("Free", 0),))).id
    twin.pay(session_id)
    assert shop.fetch_session(session_id).payment_status is PaymentStatus.NO_PAYMENT_REQUIRED


@pytest.mark.req("F10")
def test_an_expired_session_cannot_be_paid_or_expired_again(twin: Twin, shop: StripeCheckout) -> None:
    session_id = shop.open_session(ask()).id
    assert shop.expire_session(session_id).status is SessionStatus.EXPIRED
    with pytest.raises(StripeRefused, match="expired"):
        shop.expire_session(session_id)
    with pytest.raises(Exception, match="expired"):
        twin.pay(session_id)


def test_a_session_expires_by_itself_when_its_hour_is_over(shop: StripeCheckout) -> None:
    session_id = shop.open_session(ask()).id
    clock.move(HOUR + timedelta(seconds=1))
    assert shop.fetch_session(session_id).status is SessionStatus.EXPIRED


@pytest.mark.req("F12")
def test_the_same_key_opens_one_session(twin: Twin, shop: StripeCheckout) -> None:
    request = ask("200")
    assert len({shop.open_session(request).id for _ in range(3)}) == 1
    assert len([one for one in twin.sessions() if one["client_reference_id"] == "G-200"]) == 1


@pytest.mark.req("F12")
def test_the_same_key_from_eight_threads_opens_one_session(twin: Twin, shop: StripeCheckout) -> None:
    request, opened = ask("201"), []
    threads = [threading.Thread(target=lambda: opened.append(shop.open_session(request).id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 8 and len(set(opened)) == 1


def test_the_same_key_with_another_amount_is_refused(shop: StripeCheckout) -> None:
    request = ask()
    shop.open_session(request)
    with pytest.raises(StripeRefused) as refused:
        shop.open_session(replace(request, lines=(Line("Gutschein", 1),)))
    assert refused.value.code == "idempotency_error"


@pytest.mark.req("F12")
@pytest.mark.usefixtures("impatient")
def test_a_slow_answer_is_retried_with_the_same_key_and_opens_one_session(twin: Twin) -> None:
    twin.switch("slow", 0.6, times=1)
    session = connect(twin).open_session(ask("202"))
    assert [one["id"] for one in twin.sessions() if one["client_reference_id"] == "G-202"] == [session.id]


@pytest.mark.req("F12")
@pytest.mark.usefixtures("impatient")
def test_a_stripe_that_stays_slow_is_unavailable_within_the_time_limit(twin: Twin) -> None:
    twin.switch("slow", 0.6)
    started = time.monotonic()
    with pytest.raises(StripeUnavailable):
        connect(twin).open_session(ask())
    assert time.monotonic() - started < 3


@pytest.mark.req("F13")
@pytest.mark.usefixtures("impatient")
def test_a_500_after_the_work_was_done_is_read_back_by_its_order(twin: Twin, shop: StripeCheckout) -> None:
    request, since = ask("203"), clock.now() - HOUR
    twin.switch("error_after_work", times=1)
    with pytest.raises(StripeUnavailable):
        shop.open_session(request)
    with pytest.raises(StripeUnavailable):
        shop.open_session(request)  # the key has remembered the 500
    found = shop.find_sessions("G-203", buyer_email="anna@example.org", since=since)
    assert [(one.reference, one.amount_total_minor, one.status) for one in found] == [("G-203", 10000, "open")]
    assert shop.find_sessions("G-203", buyer_email="carla@example.org", since=since) == ()


@pytest.mark.req("F13")
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", ["rate_limit", "down"])
def test_a_stripe_that_is_busy_or_down_is_unavailable_and_recovers(twin: Twin, fault: str) -> None:
    shop = connect(twin)
    twin.switch(fault)
    with pytest.raises(StripeUnavailable):
        shop.open_session(ask())
    twin.switch(fault, False)
    assert shop.open_session(ask()).status is SessionStatus.OPEN


@pytest.mark.usefixtures("impatient")
def test_an_answer_that_is_no_json_is_unavailable() -> None:
    with scripted(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n<html") as base:
        shop = StripeCheckout("sk_test_x", webhook_secrets=(), api_base=base)
        with pytest.raises(StripeUnavailable):
            shop.fetch_session("cs_test_1")


@pytest.mark.req("F17")
@pytest.mark.parametrize(
    "field", ["amount_total", "currency", "status", "payment_status", "livemode", "payment_intent", "expires_at", "id"]
)
def test_an_answer_that_lacks_a_field_is_unclear_and_never_a_guess(
    twin: Twin, shop: StripeCheckout, field: str
) -> None:
    session_id = shop.open_session(ask()).id
    body = next(one for one in twin.sessions() if one["id"] == session_id)
    del body[field]
    with scripted_json(body) as base, pytest.raises(StripeUnclear) as unclear:
        StripeCheckout("sk_test_x", webhook_secrets=(), api_base=base).fetch_session(session_id)
    assert field in str(unclear.value) and unclear.value.code == "answer_unclear"


@pytest.mark.req("F17")
@pytest.mark.parametrize(
    "changes",
    [
        {"amount_total": None},
        {"amount_total": True},
        {"amount_total": "10000"},
        {"currency": None},
        {"status": "paused"},
        {"payment_status": "maybe"},
        {"livemode": "false"},
        {"payment_intent": 5},
        {"expires_at": 10**30},
        {"id": "../../v1/charges"},
    ],
    ids=str,
)
def test_an_answer_with_a_strange_value_is_unclear(
    twin: Twin, shop: StripeCheckout, changes: dict[str, object]
) -> None:
    session_id = shop.open_session(ask()).id
    twin.switch("mismatch", changes)
    with pytest.raises(StripeUnclear):
        shop.fetch_session(session_id)


@pytest.mark.req("F7")
def test_another_amount_currency_or_mode_reaches_the_caller_as_it_is(twin: Twin, shop: StripeCheckout) -> None:
    session_id = shop.open_session(ask()).id
    twin.switch("mismatch", {"amount_total": 9999, "currency": "usd", "livemode": True}, times=1)
    session = shop.fetch_session(session_id)
    assert (session.amount_total_minor, session.currency, session.is_live) == (9999, "USD", True)
    assert shop.fetch_session(session_id).amount_total_minor == 10000


@pytest.mark.req("T9")
@pytest.mark.parametrize(
    "session_id",
    ["", "cs_test_", "../../v1/charges", "cs_test_x?expand[]=customer", "cs_test_x#", "cs_test_x/expire", "cs_test_é",
     "cs_test_x\n", "cs_prod_x", "pi_1", "cs_test_" + "a" * 251],
)  # fmt: skip
def test_what_is_no_session_id_never_gets_into_an_address(twin: Twin, session_id: str) -> None:
    unreachable = StripeCheckout(twin.secret_key, webhook_secrets=(), api_base="http://127.0.0.1:9")
    for call in (unreachable.fetch_session, unreachable.expire_session):
        with pytest.raises(StripeRefused) as refused:
            call(session_id)
        assert refused.value.code == "session_id_malformed"


def test_a_session_that_stripe_does_not_know_is_refused(shop: StripeCheckout) -> None:
    with pytest.raises(StripeRefused) as refused:
        shop.fetch_session("cs_test_nobody")
    assert refused.value.code == "resource_missing"


@pytest.mark.req("F15")
def test_the_session_of_one_account_is_unknown_to_another(twin: Twin, shop: StripeCheckout) -> None:
    connected = connect(twin, account="acct_alba")
    session = connected.open_session(ask())
    assert session.account == "acct_alba"
    for stranger in (shop, connect(twin, account="acct_berg")):
        with pytest.raises(StripeRefused, match="No such"):
            stranger.fetch_session(session.id)


def test_a_wrong_key_is_refused_and_not_shown(twin: Twin) -> None:
    stranger = StripeCheckout("sk_test_stranger", webhook_secrets=(), api_base=twin.api_base)
    with pytest.raises(StripeRefused) as refused:
        stranger.open_session(ask())
    assert refused.value.code == "key_refused" and "stranger" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"lines": ()}, "line_items"),
        ({"lines": (Line("", 5000),)}, "empty"),
        ({"lines": (Line("A", 49),)}, "50 cents"),
        ({"lines": (Line("A", -1),)}, "Invalid"),
        ({"locale": "xx"}, "locale"),
        ({"buyer_email": "anna"}, "email"),
        ({"success_url": "javascript:1"}, "URL"),
        ({"expires_at": datetime(2000, 1, 1, tzinfo=UTC)}, "30 minutes"),
    ],
)
def test_a_request_that_is_wrong_is_refused_with_the_reason(
    shop: StripeCheckout, changes: dict[str, object], word: str
) -> None:
    with pytest.raises(StripeRefused, match=word):
        shop.open_session(ask(**changes))


@pytest.mark.req("F30")
@pytest.mark.parametrize(
    ("currency", "amount_minor", "on_the_wire"),
    [("EUR", 5000, 5000), ("JPY", 5000, 5000), ("KWD", 5000, 5000), ("ISK", 5000, 500000), ("MGA", 500000, 5000)],
)
def test_stripes_own_units_are_translated_both_ways(
    twin: Twin, shop: StripeCheckout, currency: str, amount_minor: int, on_the_wire: int
) -> None:
    session = shop.open_session(ask(currency=currency, lines=(Line("A", amount_minor),)))
    assert (session.amount_total_minor, session.currency) == (amount_minor, currency)
    assert twin.sessions()[0]["amount_total"] == on_the_wire


def test_a_part_of_a_unit_that_stripe_does_not_take_is_refused(shop: StripeCheckout) -> None:
    with pytest.raises(StripeRefused) as refused:
        shop.open_session(ask(currency="MGA", lines=(Line("A", 5001),)))
    assert refused.value.code == "amount_too_precise"


@pytest.mark.parametrize(("key", "is_live"), [("sk_test_a", False), ("rk_live_a", True), ("sk_live_a", True)])
def test_the_key_tells_test_from_live(key: str, is_live: bool) -> None:
    assert StripeCheckout(key, webhook_secrets=()).is_live is is_live


@pytest.mark.parametrize("key", ["", "pk_test_a", "sk_test_", "whsec_a", " sk_test_a", "sk_test_a\nX: y"])
def test_what_is_no_secret_key_is_refused_at_once(key: str) -> None:
    with pytest.raises(ValueError, match="sk_test_"):
        StripeCheckout(key, webhook_secrets=())


# Whom it speaks for, what it hears beside the answer, and what it finds again


@pytest.mark.req("F15")
def test_one_line_speaks_for_many_accounts_and_says_for_whom(twin: Twin, shop: StripeCheckout) -> None:
    alba, berg = shop.at("acct_alba"), shop.at("acct_berg")
    session_id = alba.open_session(ask()).id
    assert (shop.account, alba.account, berg.account, alba.at("").account) == ("", "acct_alba", "acct_berg", "")
    assert (alba.fetch_session(session_id).account, alba.is_live) == ("acct_alba", False)
    for stranger in (shop, berg, alba.at("")):
        with pytest.raises(StripeRefused, match="No such"):
            stranger.fetch_session(session_id)


def test_accounts_share_the_connections_the_clock_and_the_secrets(twin: Twin, shop: StripeCheckout) -> None:
    fresh = connect(twin)
    alba = fresh.at("acct_alba")
    assert fresh.clock_skew is None and alba.clock_skew is None
    event_id = twin.pay(alba.open_session(ask()).id)
    assert fresh.clock_skew == alba.clock_skew is not None
    body, headers = twin.signed(event_id)
    assert alba.read_event(body, headers["Stripe-Signature"]).account == "acct_alba"


@pytest.mark.parametrize("account", ["acct_", "alba", "acct_a b", "acct_a\r\nX: y", "cs_test_1", "acct_" + "a" * 300])
def test_what_is_no_account_is_never_spoken_for(shop: StripeCheckout, account: str) -> None:
    with pytest.raises(ValueError, match="account"):
        shop.at(account)


@pytest.mark.req("F16")
@pytest.mark.parametrize("minutes", [-10, 0, 10])
def test_the_clock_of_stripe_is_compared_with_ours(twin: Twin, minutes: int) -> None:
    shop = connect(twin)
    said = email.utils.format_datetime(clock.now() + timedelta(minutes=minutes), usegmt=True)
    with scripted_json({}, headers=f"Date: {said}\r\n") as base:
        other = StripeCheckout(twin.secret_key, webhook_secrets=(), api_base=base)
        with pytest.raises(StripeUnclear):
            other.fetch_session("cs_test_1")
    assert other.clock_skew is not None and shop.clock_skew is None
    assert abs(other.clock_skew - timedelta(minutes=minutes)) < timedelta(seconds=3)


@pytest.mark.req("F16")
@pytest.mark.parametrize(
    "date",
    ["", "yesterday", "Mon, 01 Jan 2024 00:00:00", "Mon, 99 Jan 2024 00:00:00 GMT", "Mon, 01 Jan 99999 0:0:0 GMT"],
)
def test_an_answer_without_a_usable_date_says_nothing_about_clocks(twin: Twin, date: str) -> None:
    with scripted_json({}, headers=f"Date: {date}\r\n" if date else "") as base:
        shop = StripeCheckout(twin.secret_key, webhook_secrets=(), api_base=base)
        with pytest.raises(StripeUnclear):
            shop.fetch_session("cs_test_1")
    assert shop.clock_skew is None


@pytest.mark.req("F16")
def test_of_two_dates_in_one_answer_the_senders_counts_and_not_the_servers(twin: Twin) -> None:
    said = email.utils.format_datetime(clock.now() - timedelta(hours=5), usegmt=True)
    server = email.utils.format_datetime(clock.now(), usegmt=True)
    with scripted_json({}, headers=f"Date: {server}\r\nDate: {said}\r\n") as base:
        shop = StripeCheckout(twin.secret_key, webhook_secrets=(), api_base=base)
        with pytest.raises(StripeUnclear):
            shop.fetch_session("cs_test_1")
    assert shop.clock_skew is not None and abs(shop.clock_skew + timedelta(hours=5)) < timedelta(seconds=3)


@pytest.mark.req("F16")
def test_even_a_refusal_tells_the_time(twin: Twin) -> None:
    shop = connect(twin)
    with pytest.raises(StripeRefused):
        shop.fetch_session("cs_test_nobody")
    assert shop.clock_skew is not None and abs(shop.clock_skew) < timedelta(seconds=3)
    twin.switch("clock", 600, times=1)
    with pytest.raises(StripeRefused):
        shop.fetch_session("cs_test_nobody")
    assert abs(shop.clock_skew - timedelta(minutes=10)) < timedelta(seconds=3)


@pytest.mark.req("F17")
def test_the_version_that_we_read_is_the_one_that_the_sdk_was_made_for() -> None:
    assert stripe.api_version == stripe_api.API_VERSION


@pytest.mark.req("F17")
def test_an_answer_in_another_version_is_unclear_before_it_is_read(twin: Twin, shop: StripeCheckout) -> None:
    session_id = shop.open_session(ask()).id
    body = next(one for one in twin.sessions() if one["id"] == session_id)
    with scripted_json(body, headers="Stripe-Version: 2019-02-19\r\n") as base, pytest.raises(StripeUnclear) as unclear:
        StripeCheckout(twin.secret_key, webhook_secrets=(), api_base=base).fetch_session(session_id)
    assert "2019-02-19" in str(unclear.value)


def test_the_shop_is_noted_beside_the_order(twin: Twin, shop: StripeCheckout) -> None:
    session = shop.open_session(ask("300", merchant_slug="alba"))
    body = next(one for one in twin.sessions() if one["id"] == session.id)
    assert body["metadata"] == {"order": "G-300", "merchant": "alba"} and session.merchant == "alba"
    assert shop.open_session(ask()).merchant == ""


@pytest.mark.req("F9")
def test_a_bank_debit_that_was_refused_has_failed_and_one_that_waits_has_not(twin: Twin, shop: StripeCheckout) -> None:
    session_id = shop.open_session(ask()).id
    assert not shop.fetch_session(session_id).has_failed
    twin.pay_later(session_id)
    assert not shop.fetch_session(session_id).has_failed
    twin.settle_later(session_id, succeed=False)
    assert shop.fetch_session(session_id).has_failed
    twin.decline(declined_id := shop.open_session(ask()).id)
    assert not shop.fetch_session(declined_id).has_failed, "the page is open: another card may be tried"


@pytest.mark.req("F4")
def test_completed_sessions_are_listed_over_all_pages_and_for_one_account(
    twin: Twin, shop: StripeCheckout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stripe_api, "PAGE_SIZE", 2)
    since, alba = clock.now() - HOUR, shop.at("acct_pages")
    paid = [sell(twin, alba, f"40{n}", merchant_slug="alba")[0] for n in range(5)]
    alba.open_session(ask("405"))
    found = alba.list_sessions(since)
    assert [one.id for one in found] == paid[::-1]
    assert {(one.account, one.merchant, one.payment_status) for one in found} == {("acct_pages", "alba", "paid")}
    assert alba.list_sessions(clock.now() + HOUR) == () and not {*paid} & {one.id for one in shop.list_sessions(since)}


@pytest.mark.parametrize("body", [{}, [], "list", {"object": "charge"}], ids=str)
def test_an_answer_that_is_no_list_is_unclear(twin: Twin, body: object) -> None:
    assert refused_for(twin, body, lambda shop: shop.list_sessions(clock.now())) == "answer_unclear"
    assert refused_for(twin, body, lambda shop: shop.list_undelivered(clock.now())) == "answer_unclear"


# Events


@pytest.fixture
def paid(twin: Twin, shop: StripeCheckout) -> tuple[str, str]:
    """(session id, event id)"""
    session_id = shop.open_session(ask()).id
    return session_id, twin.pay(session_id)


@pytest.mark.req("S1-11")
def test_a_signed_event_names_its_session(twin: Twin, shop: StripeCheckout, paid: tuple[str, str]) -> None:
    body, headers = twin.signed(paid[1])
    event = shop.read_event(body, headers["Stripe-Signature"])
    assert (event.id, event.session_id, event.type) == (paid[1], paid[0], "checkout.session.completed")
    assert (event.account, event.is_live) == ("", False)
    assert abs(event.created_at - clock.now()) < timedelta(seconds=5)


def test_a_thin_event_reads_like_a_snapshot(twin: Twin, shop: StripeCheckout, paid: tuple[str, str]) -> None:
    body, headers = twin.signed_thin(paid[1])
    event = shop.read_event(body, headers["Stripe-Signature"])
    assert (event.session_id, event.type) == (paid[0], "checkout.session.completed")
    assert event.id != paid[1] and event.created_at.tzinfo is UTC


@pytest.mark.req("F15")
def test_the_event_of_a_connected_account_names_the_account(twin: Twin, shop: StripeCheckout) -> None:
    event_id = twin.pay(connect(twin, account="acct_alba").open_session(ask()).id)
    for body, headers in (twin.signed(event_id), twin.signed_thin(event_id)):
        assert shop.read_event(body, headers["Stripe-Signature"]).account == "acct_alba"


def test_an_event_about_something_else_has_no_session(shop: StripeCheckout, twin: Twin, paid: tuple[str, str]) -> None:
    body, headers = twin.signed(paid[1], changes={"type": "charge.refunded", "data": {"object": {"id": "ch_1"}}})
    event = shop.read_event(body, headers["Stripe-Signature"])
    assert (event.type, event.session_id) == ("charge.refunded", None)


@pytest.mark.req("T8")
def test_a_test_event_at_a_live_shop_says_that_it_is_one(twin: Twin, paid: tuple[str, str]) -> None:
    live = StripeCheckout("sk_live_a", webhook_secrets=(twin.webhook_secret,))
    body, headers = twin.signed(paid[1])
    assert live.read_event(body, headers["Stripe-Signature"]).is_live is not live.is_live


@pytest.mark.req("F14")
def test_both_secrets_are_accepted_while_one_is_rotated(twin: Twin, paid: tuple[str, str]) -> None:
    rotating = connect(twin, "whsec_old", "whsec_new")
    for secret in ("whsec_old", "whsec_new"):
        body, headers = twin.signed(paid[1], secret=secret)
        assert rotating.read_event(body, headers["Stripe-Signature"]).session_id == paid[0]
    body, headers = twin.signed(paid[1], secret="whsec_older")
    assert refusal(rotating.read_event, body, headers["Stripe-Signature"]) == "signature_wrong"


@pytest.mark.parametrize("secrets", [(), ("",), (" ", "\n")])
def test_without_a_secret_no_event_is_accepted(twin: Twin, paid: tuple[str, str], secrets: tuple[str, ...]) -> None:
    shop = StripeCheckout(twin.secret_key, webhook_secrets=secrets)
    body, headers = twin.signed(paid[1])
    assert refusal(shop.read_event, body, headers["Stripe-Signature"]) == "signature_wrong"


@pytest.mark.req("T8", "F18")
@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        (None, "not_signed"),
        ("", "not_signed"),
        ("t=1,v1=aa", "signature_wrong"),
        ("v1=é", "signature_wrong"),
        ("t=1,v1=é", "signature_wrong"),
        ("t=abc", "signature_wrong"),
        ("t=٣,v1=aa", "signature_wrong"),
        ("t=,v1=", "signature_wrong"),
        ("t,v1", "signature_wrong"),
        ("v1=aa", "signature_wrong"),
        (",,,===", "signature_wrong"),
        ("t=" + "9" * 5000 + ",v1=aa", "signature_wrong"),
        ("t=1," + "v1=aa," * 5000, "signature_wrong"),
    ],
)
def test_a_forged_signature_is_refused(
    twin: Twin, shop: StripeCheckout, paid: tuple[str, str], signature: str | None, reason: str
) -> None:
    assert refusal(shop.read_event, twin.signed(paid[1])[0], signature) == reason


@pytest.mark.req("T8")
def test_a_changed_body_is_refused(twin: Twin, shop: StripeCheckout, paid: tuple[str, str]) -> None:
    body, headers = twin.signed(paid[1])
    changed = body.replace(b'"amount_total": 10000', b'"amount_total": 10001')
    assert changed != body
    assert refusal(shop.read_event, changed, headers["Stripe-Signature"]) == "signature_wrong"


@pytest.mark.req("T8")
@pytest.mark.parametrize("seconds", [-301, 302, 86_400, -86_400, 10**300])
def test_a_signature_from_another_time_is_refused_past_and_future(
    twin: Twin, shop: StripeCheckout, paid: tuple[str, str], seconds: int
) -> None:
    body, headers = twin.signed(paid[1], at=int(clock.now().timestamp()) + seconds)
    assert refusal(shop.read_event, body, headers["Stripe-Signature"]) == "signature_out_of_time"


@pytest.mark.parametrize("seconds", [-295, 295])
def test_a_clock_that_is_a_little_off_does_no_harm(
    twin: Twin, shop: StripeCheckout, paid: tuple[str, str], seconds: int
) -> None:
    body, headers = twin.signed(paid[1], at=clock.now().timestamp() + seconds)
    assert shop.read_event(body, headers["Stripe-Signature"]).session_id == paid[0]


EVENT = {
    "id": "evt_1",
    "object": "event",
    "type": "checkout.session.completed",
    "livemode": False,
    "created": 1,
    "data": {"object": {"id": "cs_test_1"}},
}
THIN = {
    "id": "evt_1",
    "object": "v2.core.event",
    "type": "v1.checkout.session.completed",
    "livemode": False,
    "created": "2026-01-01T00:00:00Z",
    "related_object": {"id": "cs_test_1", "type": "checkout.session", "url": "/v1/checkout/sessions/cs_test_1"},
}


@pytest.mark.req("T8", "F18")
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not_json"),
        ("{", "not_json"),
        ("[]", "not_an_event"),
        ("null", "not_an_event"),
        ("1", "not_an_event"),
        ('"event"', "not_an_event"),
        ("{}", "not_an_event"),
        ('{"object": ["event"]}', "not_an_event"),
        ('{"object": "event"}', "no_type"),
        ("[" * 100_000, "not_json"),
        ('{"a":' * 50_000, "not_json"),
        ('{"created": ' + "9" * 5000 + "}", "not_json"),
        (json.dumps({"object": "event", "pad": "x" * 256 * 1024}), "too_large"),
    ],
    ids=range(13),
)
def test_a_signed_body_that_is_no_event_is_refused(twin: Twin, shop: StripeCheckout, text: str, reason: str) -> None:
    body, headers = twin.sign(text)
    assert refusal(shop.read_event, body, headers["Stripe-Signature"]) == reason


@pytest.mark.req("T8", "F18")
@pytest.mark.parametrize(
    ("event", "changes", "reason"),
    [
        (EVENT, {"id": None}, "no_id"),
        (EVENT, {"id": "../x"}, "no_id"),
        (EVENT, {"id": "\ud800"}, "no_id"),
        (EVENT, {"type": 5}, "no_type"),
        (EVENT, {"type": "checkout session"}, "no_type"),
        (EVENT, {"livemode": "false"}, "no_livemode"),
        (EVENT, {"created": None}, "no_created"),
        (EVENT, {"created": True}, "no_created"),
        (EVENT, {"created": 10**30}, "no_created"),
        (EVENT, {"account": 5}, "no_account"),
        (EVENT, {"account": "acct_<x>"}, "no_account"),
        (EVENT, {"data": None}, "no_session_id"),
        (EVENT, {"data": []}, "no_session_id"),
        (EVENT, {"data": {"object": None}}, "no_session_id"),
        (EVENT, {"data": {"object": {"id": "cs_test_x/../y"}}}, "no_session_id"),
        (THIN, {"related_object": None}, "no_session_id"),
        (THIN, {"related_object": {"id": ["cs_test_1"]}}, "no_session_id"),
        (THIN, {"created": "yesterday"}, "no_created"),
        (THIN, {"created": "2026-01-01T00:00:00"}, "no_created"),
        (THIN, {"created": "0001-01-01T00:00:00+14:00"}, "no_created"),
        (THIN, {"context": "org_1"}, "no_account"),
    ],
)
def test_a_signed_event_with_a_part_missing_or_strange_is_refused(
    twin: Twin, shop: StripeCheckout, event: dict[str, object], changes: dict[str, object], reason: str
) -> None:
    body, headers = twin.sign(json.dumps({**event, **changes}))
    assert refusal(shop.read_event, body, headers["Stripe-Signature"]) == reason


@pytest.mark.req("F18")
def test_a_body_that_is_no_text_is_refused(shop: StripeCheckout) -> None:
    assert refusal(shop.read_event, b"\xff", "t=1,v1=aa") == "not_utf8"


@pytest.mark.req("F18")
@settings(max_examples=500, deadline=None)
@given(body=st.binary(max_size=200), signature=st.none() | st.text(max_size=60))
def test_no_body_and_no_signature_does_more_than_be_refused(twin: Twin, body: bytes, signature: str | None) -> None:
    with pytest.raises(EventRefused):
        connect(twin).read_event(body, signature)


@pytest.mark.req("F17", "F18")
@settings(max_examples=500, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=10) | st.sampled_from(["event", "v2.core.event"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*EVENT, *THIN, "context", "account"]), inner, max_size=9)
        ),
        max_leaves=12,
    )
)
def test_no_signed_json_does_more_than_be_refused(twin: Twin, value: object) -> None:
    body, headers = twin.sign(json.dumps({**EVENT, **value} if isinstance(value, dict) else value))
    try:
        connect(twin).read_event(body, headers["Stripe-Signature"])
    except EventRefused as refused:
        assert refused.reason
