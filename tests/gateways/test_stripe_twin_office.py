"""Stripe's dashboard (test): every payment as it stands, and a button for everything that can happen to it."""

import re
from collections.abc import Iterator

import pytest
import stripe
from werkzeug.test import Client, TestResponse

from gateways.stripe_twin import Twin, office, office_words, words
from tests.gateways.test_stripe_twin import SHOP, connect, open_session


@pytest.fixture
def twin() -> Iterator[Twin]:
    with Twin() as running:
        yield running


@pytest.fixture
def client(twin: Twin) -> stripe.StripeClient:
    return connect(twin)


@pytest.fixture
def browser(twin: Twin) -> Client:
    return twin.app.test_client()


@pytest.fixture
def session_id(twin: Twin, client: stripe.StripeClient) -> str:
    """A session of 50.00 paid by card."""
    opened = open_session(client, branding_settings={"display_name": "Café <Alba>"}).id
    twin.pay(opened)
    return str(opened)


def press(browser: Client, session_id: str, act: str) -> TestResponse:
    return browser.post(f"/payments/{session_id}", data={"act": act}, follow_redirects=True)


def buttons(page: TestResponse) -> list[str]:
    return re.findall(r'name="act" value="([a-z_]+)"', page.text)


def badges(page: TestResponse) -> list[str]:
    return re.findall(r'<span class="badge [a-z-]+">([^<]+)</span>', page.text)


def test_an_empty_dashboard_says_how_to_begin(browser: Client) -> None:
    page = browser.get("/")
    assert page.status_code == 200 and "No payment yet" in page.text and "No message yet" in page.text


def test_the_dashboard_is_safe_and_speaks_both_languages(browser: Client, session_id: str) -> None:
    page = browser.get("/", headers={"Accept-Language": "de-AT"})
    assert 'lang="de"' in page.text and "50,00\u00a0€" in page.text and "Bezahlt" in page.text
    assert "Café &lt;Alba&gt;" in page.text and "<script" not in page.text and page.text.count("<h1") == 1
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and policy.endswith("form-action 'self'")
    with browser.get("/static/office.css") as style:
        assert style.mimetype == "text/css"


def test_every_word_is_there_for_every_state_and_button() -> None:
    for language in words.LANGUAGES:
        assert all(office_words.of(language).values())
    assert office.ACTS.keys() <= office_words.of("en").keys()


@pytest.mark.parametrize(
    ("acts", "expected"),
    [
        (["refund_all"], ["Refunded"]),
        (["refund_part", "refund_part"], ["Paid", "€20.00 refunded"]),
        (["refund_later"], ["€50.00 refund on its way"]),
        (["refund_later", "refund_arrives"], ["Refunded"]),
        (["refund_later", "refund_fails"], ["Paid", "Refund failed"]),
        (["dispute"], ["Disputed"]),
        (["dispute", "evidence"], ["Dispute under review"]),
        (["dispute", "won"], ["Paid", "Dispute won"]),
        (["dispute", "lost"], ["Dispute lost"]),
        (["inquiry"], ["Paid", "Inquiry"]),
        (["inquiry", "won"], ["Paid", "Inquiry closed"]),
        (["inquiry", "refund_all"], ["Refunded", "Inquiry closed"]),
        (["warn"], ["Paid", "Fraud warning"]),
    ],
)
def test_a_button_does_what_it_says(
    twin: Twin, browser: Client, session_id: str, acts: list[str], expected: list[str]
) -> None:
    for act in acts:
        page = press(browser, session_id, act)
        assert page.status_code == 200 and page.request.path == "/"
    assert badges(page) == expected
    assert all(twin.delivery_state(event["id"]) == "pending" for event in twin.events("refund.created"))


def test_only_fitting_buttons_are_shown_and_others_are_refused_with_the_reason(
    browser: Client, session_id: str
) -> None:
    page = press(browser, session_id, "dispute")
    assert buttons(page) == ["evidence", "won", "lost", "warn"]
    for wrong in ("refund_all", "dispute", "refund_arrives", "", "colour"):
        refused = press(browser, session_id, wrong)
        assert refused.status_code == 409 and 'role="alert"' in refused.text
        assert "no longer possible" in refused.text
    assert badges(refused) == ["Disputed"]


def test_a_payment_that_is_not_paid_leads_to_its_page(twin: Twin, client: stripe.StripeClient, browser: Client) -> None:
    waiting, over = open_session(client).id, open_session(client).id
    client.v1.checkout.sessions.expire(over)
    twin.pay_later(waiting)
    page = browser.get("/")
    assert badges(page) == ["Expired", "Waiting for the bank"]
    assert f'href="/pay/{waiting}"' in page.text and buttons(page) == []


def test_the_next_message_can_be_lost_and_sent_again(twin: Twin, client: stripe.StripeClient, browser: Client) -> None:
    page = browser.post("/messages", data={"lose": "next"}, follow_redirects=True)
    assert "The next message will be lost" in page.text
    lost = twin.pay(open_session(client).id)
    page = browser.get("/")
    assert "The next message will be lost" not in page.text and "Send again" in page.text
    assert twin.delivery_state(lost) == "lost"
    page = browser.post(f"/messages/{lost}", follow_redirects=True)
    assert twin.delivery_state(lost) == "pending" and "Send again" not in page.text
    browser.post("/messages", data={"lose": "next"})
    assert "will be lost" not in browser.post("/messages", data={"lose": ""}, follow_redirects=True).text


def test_payments_come_newest_first_a_page_at_a_time(client: stripe.StripeClient, browser: Client) -> None:
    ids = [open_session(client).id for _ in range(27)]
    first = browser.get("/").text
    further = re.search(r'href="(/\?after=[^"]+)"', first)[1]  # type: ignore[index]
    second = browser.get(further).text
    shown = [re.findall(r'id="payment-([^"]+)"', page) for page in (first, second)]
    assert [len(page) for page in shown] == [25, 2] and shown[0] + shown[1] == ids[::-1]
    assert "Back to the newest" in second and "Older payments" not in second


def test_accounts_are_led_from_the_dashboard(twin: Twin, client: stripe.StripeClient, browser: Client) -> None:
    account = twin.connect(name="Hotel Berg", is_ready=False)
    for act, state in (("finish", "Ready"), ("restrict", "Restricted"), ("disconnect", "Disconnected")):
        page = browser.post(f"/accounts/{account}", data={"act": act}, follow_redirects=True)
        assert badges(page) == [state] and "Hotel Berg" in page.text
    assert buttons(page) == [] and twin.events("account.application.deauthorized")[0]["account"] == account


@pytest.mark.parametrize("path", ["/payments/x", "/payments/evt_1", "/accounts/x", "/accounts/", "/nothing"])
def test_a_button_for_nothing_is_a_page_that_says_so(browser: Client, path: str) -> None:
    answer = browser.post(path, data={"act": "finish"})
    assert answer.status_code == 404 and "<h1" in answer.text


def test_a_coin_without_cents_is_refunded_in_whole_coins(
    twin: Twin, client: stripe.StripeClient, browser: Client
) -> None:
    price = {"currency": "jpy", "unit_amount": 5000, "product_data": {"name": "A"}}
    paid = open_session(client, line_items=[{"quantity": 1, "price_data": price}]).id
    twin.pay(paid)
    press(browser, paid, "refund_part")
    assert [one.amount for one in client.v1.refunds.list().data] == [10]


def test_the_pay_page_leads_to_the_dashboard(client: stripe.StripeClient, browser: Client) -> None:
    page = browser.get(f"/pay/{open_session(client).id}").text
    assert re.search(r'<a href="/">Stripe(&#39;|\')s dashboard \(test\)</a>', page) and SHOP not in page
