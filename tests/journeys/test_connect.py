"""A merchant connects its own Stripe account, sells through it, and loses it again."""

import dataclasses
from datetime import timedelta

import flask
import pytest
import requests

from domain import clock, connections
from domain.states import ConnectionState
from effects import connect, watch
from effects.outside import here
from gateways.stripe_twin import Twin
from models import Connection, Merchant, Payment, StripeEvent
from tests import cast as casting
from tests import sales
from tests.browser import Browser
from tests.reports import fresh

URLS = {"return_url": "http://localhost/dashboard/payments", "refresh_url": "http://localhost/dashboard/payments/again"}


@pytest.fixture
def platform(app: flask.Flask, cast: casting.Cast) -> None:
    """This installation serves several merchants, each with an account of its own."""
    outside = app.extensions["outside"]
    settings = outside.settings.model_copy(update={"stripe_connect": True})
    app.extensions["outside"] = dataclasses.replace(outside, settings=settings)


def begin(merchant: Merchant) -> str:
    return connect.start(merchant, actor="Anna", **URLS)


def ready(merchant: Merchant, twin: Twin) -> str:
    """The merchant's account, connected and ready."""
    begin(merchant)
    account = connections.of(merchant).account
    twin.finish_onboarding(account)
    connect.refresh(connections.of(merchant))
    return str(account)


@pytest.mark.usefixtures("platform")
@pytest.mark.req("S1-37")
def test_a_merchant_answers_stripes_questions_and_is_ready(merchant: Merchant) -> None:
    page = begin(merchant)
    assert connections.of(merchant).state == ConnectionState.PENDING
    answer = requests.get(page, timeout=10)
    assert 'value="finish"' in answer.text
    done = requests.post(page, data={"act": "finish"}, timeout=10, allow_redirects=False)
    assert done.headers["Location"] == URLS["return_url"]
    assert connect.refresh(connections.of(merchant)).state == ConnectionState.READY
    assert fresh(merchant).stripe_account == connections.of(merchant).account


@pytest.mark.usefixtures("platform")
def test_a_shop_without_an_account_says_so_and_keeps_what_was_typed(client: Browser, merchant: Merchant) -> None:
    page = client.post("/s/cafe-alba/orders", data={"amount": "50", "buyer_email": "lukas@example.com"})
    assert page.status_code == 503
    assert "lukas@example.com" in page.text
    assert Payment.select().count() == 0


@pytest.mark.usefixtures("platform")
@pytest.mark.req("F15")
def test_a_sale_runs_through_the_merchants_own_account_alone(client: Browser, twin: Twin, cast: casting.Cast) -> None:
    alba, berg = ready(cast.alba, twin), ready(cast.berg, twin)
    session_id = sales.order(client, "cafe-alba", amount="50")
    assert Payment.get(Payment.session_id == session_id).account == alba != berg
    event_id = twin.pay(session_id, deliver=False)
    for account in ("", berg, "acct_nobody"):
        body, headers = twin.signed(event_id, changes={"account": account or None})
        assert client.post("/webhooks/stripe", data=body, headers=headers).json == {"outcome": "ignored"}
        assert not sales.order_of(session_id).is_paid
    assert sales.report(client, twin, event_id).json == {"outcome": "settled"}
    assert sales.order_of(session_id).is_paid
    assert {event.account for event in StripeEvent.select().where(StripeEvent.outcome == "settled")} == {alba}


@pytest.mark.usefixtures("platform")
@pytest.mark.req("F4")
def test_a_lost_event_of_a_connected_account_is_found_by_asking(
    client: Browser, twin: Twin, merchant: Merchant
) -> None:
    ready(merchant, twin)
    session_id = sales.order(client, amount="50")
    twin.pay(session_id, deliver=False)
    clock.move(timedelta(minutes=6))
    watch.run(clock.now())
    assert sales.order_of(session_id).is_paid


@pytest.mark.usefixtures("platform")
def test_an_account_that_stripe_restricts_sells_no_more_until_it_is_ready_again(
    client: Browser, twin: Twin, merchant: Merchant
) -> None:
    account = ready(merchant, twin)
    twin.restrict(account)
    thin = twin.thin_events("v2.core.account[configuration.merchant].capability_status_updated")[-1]
    body, headers = twin.signed(thin["id"])
    assert client.post("/webhooks/stripe", data=body, headers=headers).json == {"outcome": "account_restricted"}
    assert (connections.of(merchant).state, fresh(merchant).stripe_account) == (ConnectionState.RESTRICTED, "")
    assert connections.of(merchant).requirements != []
    twin.finish_onboarding(account)
    assert connect.refresh_all() == 1
    assert fresh(merchant).stripe_account == account


@pytest.mark.usefixtures("platform")
def test_an_owner_who_takes_our_access_away_can_connect_anew(client: Browser, twin: Twin, merchant: Merchant) -> None:
    account = ready(merchant, twin)
    body, headers = twin.signed(twin.disconnect(account))
    assert client.post("/webhooks/stripe", data=body, headers=headers).json == {"outcome": "account_ended"}
    assert (connections.of(merchant).state, fresh(merchant).stripe_account) == (ConnectionState.ENDED, "")
    begin(merchant)
    assert connections.of(merchant).account != account
    assert Connection.select().count() == 1


@pytest.mark.usefixtures("platform")
@pytest.mark.req("F12")
def test_a_cut_answer_while_connecting_makes_one_account(twin: Twin, merchant: Merchant) -> None:
    from gateways.stripe_checkout import StripeUnavailable

    twin.switch("cut", "unanswered")
    with pytest.raises(StripeUnavailable):
        begin(merchant)
    assert connections.of(merchant) is None
    twin.switch("cut", False)
    begin(merchant)
    first = connections.of(merchant).account
    begin(merchant)
    assert connections.of(merchant).account == first
    assert here().stripe.accounts.fetch(first).account == first
