"""The pay page: what a buyer sees at Stripe, without JavaScript, in German and English."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import stripe
from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from gateways.stripe_twin import Twin, create_twin
from tests.gateways.test_stripe_twin import SHOP, connect, open_session


@pytest.fixture(scope="module")
def twin() -> Iterator[Twin]:
    with Twin() as running:
        yield running


@pytest.fixture
def client(twin: Twin) -> stripe.StripeClient:
    return connect(twin)


@pytest.fixture
def browser(twin: Twin) -> Client:
    return twin.app.test_client()


def test_the_pay_page_shows_the_shop_the_lines_and_the_total(browser: Client, client: stripe.StripeClient) -> None:
    session = open_session(client, locale="de", branding_settings={"display_name": "Café <Alba>"})
    page = browser.get(f"/pay/{session.id}")
    assert page.status_code == 200 and 'lang="de"' in page.text and "es fließt kein echtes Geld" in page.text
    assert "Café &lt;Alba&gt;" in page.text and "Gutschein &lt;b&gt;50&lt;/b&gt;" in page.text
    assert page.text.count("<h1") == 1 and "50,00\u00a0€" in page.text and "<script" not in page.text
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and f"form-action 'self' {SHOP}" in policy
    with browser.get("/static/pay.css") as style:
        assert style.mimetype == "text/css"


@pytest.mark.parametrize(
    ("locale", "accepted", "language"),
    [("de", "en", "de"), ("en", "de", "en"), ("en-GB", "de", "en"), ("auto", "de-AT,en;q=0.5", "de"),
     ("auto", "fr", "en"), ("fr", "de", "de")],
)  # fmt: skip
def test_the_pay_page_speaks_the_buyers_language(
    browser: Client, client: stripe.StripeClient, locale: str, accepted: str, language: str
) -> None:
    page = browser.get(f"/pay/{open_session(client, locale=locale).id}", headers={"Accept-Language": accepted})
    assert f'lang="{language}"' in page.text


def test_every_button_of_the_pay_page_is_a_form_that_works(browser: Client, client: stripe.StripeClient) -> None:
    page = browser.get(f"/pay/{open_session(client).id}").text
    actions = re.findall(r'<form[^>]*method="post"[^>]*action="([^"]+)"', page)
    assert len(actions) == page.count("<form") == page.count("<button") == 5
    assert {browser.post(action).status_code for action in actions} == {303}


def test_paying_leads_to_the_shop_with_the_session_in_the_address(browser: Client, client: stripe.StripeClient) -> None:
    session_id = open_session(client).id
    answers = [browser.post(f"/pay/{session_id}/payment") for _ in range(2)]
    assert [answer.location for answer in answers] == [f"{SHOP}/done?s={session_id}"] * 2
    assert client.v1.checkout.sessions.retrieve(session_id).payment_status == "paid"
    assert "Already paid" in browser.get(f"/pay/{session_id}").text


def test_paying_with_the_event_lost_is_paid_all_the_same(
    twin: Twin, browser: Client, client: stripe.StripeClient
) -> None:
    session_id = open_session(client).id
    browser.post(f"/pay/{session_id}/payment", data={"lose": "event"})
    event = next(one for one in reversed(twin.events("checkout.session.completed")))
    assert event["data"]["object"]["id"] == session_id and twin.delivery_state(event["id"]) == "lost"


def test_a_declined_card_stays_on_the_page_with_the_reason(browser: Client, client: stripe.StripeClient) -> None:
    session_id = open_session(client).id
    page = browser.post(f"/pay/{session_id}/decline", follow_redirects=True)
    assert page.status_code == 200 and 'role="alert"' in page.text and "Your card was declined" in page.text
    browser.post(f"/pay/{session_id}/payment")
    assert "Your card was declined" not in browser.get(f"/pay/{session_id}").text


@pytest.mark.parametrize(
    ("answer", "kind", "words"), [("yes", "succeeded", "Already paid"), ("no", "failed", "refused")]
)
def test_the_bank_answers_later_from_the_same_page(
    twin: Twin, browser: Client, client: stripe.StripeClient, answer: str, kind: str, words: str
) -> None:
    session_id = open_session(client).id
    waiting = browser.post(f"/pay/{session_id}/debit", follow_redirects=True)
    assert "has not answered yet" in waiting.text and f"{SHOP}/done?s={session_id}" in waiting.text
    for choice in ("perhaps", answer, "no"):
        page = browser.post(f"/pay/{session_id}/bank-answer", data={"answer": choice}, follow_redirects=True)
    assert words in page.text
    told = [one["type"] for one in twin.events() if one["data"]["object"]["id"] == session_id]
    assert told == ["checkout.session.completed", f"checkout.session.async_payment_{kind}"]


def test_abandoning_leads_back_to_the_shop_and_leaves_the_session_open(
    browser: Client, client: stripe.StripeClient
) -> None:
    session_id = open_session(client).id
    assert browser.post(f"/pay/{session_id}/abandon").location == f"{SHOP}/alba"
    assert client.v1.checkout.sessions.retrieve(session_id).status == "open"


def test_an_expired_page_says_so_and_takes_no_money(browser: Client, client: stripe.StripeClient) -> None:
    session_id = open_session(client).id
    client.v1.checkout.sessions.expire(session_id)
    page = browser.post(f"/pay/{session_id}/payment", follow_redirects=True)
    assert "This page has expired" in page.text and "<button" not in page.text
    assert client.v1.checkout.sessions.retrieve(session_id).payment_status == "unpaid"


@pytest.mark.parametrize(
    "path", ["/pay/x", "/pay/cs_test_x", "/?after=cs_test_x", "/connect/x", "/pay/", "/pay/evt_1", "/favicon.ico"]
)
def test_an_address_that_leads_nowhere_is_a_page_that_says_so(browser: Client, path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code == 404 and "<h1" in answer.text


def test_mounted_at_a_prefix_every_link_and_form_keeps_it(tmp_path: Path) -> None:
    app = create_twin(
        store=tmp_path / "deep" / "twin.sqlite",
        secret_key="sk_test_x",
        webhook_secret="whsec_x",
        webhook_url="",
        public_url="https://demo.example/demo/stripe/",
    )
    site = Client(DispatcherMiddleware(Flask("outer"), {"/demo/stripe": app}))
    form = {"mode": "payment", "success_url": SHOP, "line_items[0][price_data][currency]": "eur",
            "line_items[0][price_data][unit_amount]": "5000",
            "line_items[0][price_data][product_data][name]": "A"}  # fmt: skip
    head = {"Authorization": "Bearer sk_test_x"}
    session = site.post("/demo/stripe/v1/checkout/sessions", data=form, headers=head).get_json()
    assert session["url"] == f"https://demo.example/demo/stripe/pay/{session['id']}"
    page = site.get(session["url"].removeprefix("https://demo.example")).text
    links = re.findall(r'(?:href|action)="(/[^"]+)"', page)
    assert len(links) == 6 and all(link.startswith("/demo/stripe/") for link in links)
    assert site.post(f"/demo/stripe/pay/{session['id']}/payment").location == SHOP
