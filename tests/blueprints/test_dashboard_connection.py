"""The page of the payments: whose Stripe account, whether Stripe calls and answers, and Connect from start to end."""

import html
import re
from collections import Counter
from datetime import timedelta

import flask
import pytest
from werkzeug.test import TestResponse

import config
from domain import checks, clock, connections
from domain.states import ConnectionState
from gateways import stripe_events
from gateways.stripe_twin import Twin
from gateways.stripe_twin.faults import Fault
from models import Connection, Merchant, Stray, StripeEvent, TimelineEntry
from tests import cast as casting
from tests import refunding, sales
from tests.browser import Browser

PAGE = "/dashboard/payments"


@pytest.fixture
def anna(client: Browser, cast: casting.Cast) -> Browser:
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    return client


def shown(client: Browser, query: str = "") -> str:
    return words_of(client.get(PAGE + query))


def words_of(answer: TestResponse) -> str:
    return html.unescape(re.sub(r"\s+", " ", answer.text))


def fresh(merchant: Merchant) -> Merchant:
    found: Merchant = Merchant.get_by_id(merchant.id)
    return found


class TestOwnKey:
    """One shop, one key."""

    def test_the_page_shows_mode_the_end_of_the_key_and_never_the_key(
        self, anna: Browser, merchant: Merchant, settings: config.Settings
    ) -> None:
        page = shown(anna)
        assert "no real money moves" in page and f"sk_test_…{settings.stripe_key[-4:]}" in page
        assert settings.stripe_key not in page and settings.webhook_secrets[0] not in page
        assert "http://localhost/webhooks/stripe" in page
        assert all(kind in page for kind in stripe_events.SUBSCRIBED)
        assert 'href="/dashboard/payments"' in anna.get("/dashboard").text

    def test_it_says_when_stripe_called_and_answered_last(self, anna: Browser, twin: Twin, merchant: Merchant) -> None:
        assert shown(anna).count("none yet") == 2
        refunding.sold(anna, twin)
        checks.report("payments", is_ok=True, at=clock.now())
        clock.move(timedelta(minutes=3))
        page = shown(anna)
        assert "3 minutes ago" in page and "checkout.session.completed" in page and "none yet" not in page

    def test_a_message_that_was_found_by_asking_is_no_call(self, anna: Browser, twin: Twin, merchant: Merchant) -> None:
        refunding.sold(anna, twin)
        StripeEvent.update(source="list").execute()
        assert shown(anna).count("none yet") == 2

    def test_silence_is_said_with_what_was_found_and_what_to_do(self, anna: Browser, merchant: Merchant) -> None:
        checks.report("stripe", is_ok=True, at=clock.now(), found=0)
        assert "Stripe does not call us." not in shown(anna)
        checks.report("stripe", is_ok=False, at=clock.now(), found=2)
        page = shown(anna)
        assert "Stripe does not call us." in page and "2 payments were found by asking." in page
        assert "Vouchers went out all the same" in page

    def test_without_connect_nothing_can_be_connected(self, anna: Browser, merchant: Merchant) -> None:
        page = anna.get(PAGE).text
        assert "Connect Stripe" not in page
        data = {"csrf_token": sales.csrf(page)}
        assert anna.post(f"{PAGE}/connection", data=data).status_code == 422
        assert anna.post(f"{PAGE}/connection/check", data=data).status_code == 200
        assert Connection.select().count() == 0


class TestConnect:
    """Several shops, each with an account of its own."""

    @pytest.fixture
    def settings(self, settings: config.Settings) -> config.Settings:
        return settings.model_copy(update={"stripe_connect": True})

    def test_an_account_is_begun_answered_and_ready(self, anna: Browser, twin: Twin, merchant: Merchant) -> None:
        assert "Not begun" in shown(anna)
        answer = sales.press(anna, PAGE, "/connection")
        assert answer.status_code == 303 and answer.location.startswith(f"{twin.api_base}/connect/")
        known = connections.of(merchant)
        assert known is not None and fresh(merchant).stripe_account == ""
        page = shown(anna, "?returned=1")
        assert "Go on at Stripe" in page and "Stripe still needs" in page and known.account in page
        twin.finish_onboarding(known.account)
        page = shown(anna, "?returned=1")
        assert "Stripe says: Ready." in page and "Go on at Stripe" not in page
        assert fresh(merchant).stripe_account == known.account
        assert "Connection with Stripe begun" in page and "payments may begin" in page

    def test_to_look_makes_no_account_and_no_link(self, anna: Browser, twin: Twin, merchant: Merchant) -> None:
        for query in ("", "?returned=1", "?expired=1", "?returned=1&expired=1"):
            assert anna.get(PAGE + query).status_code == 200
        assert Connection.select().count() == 0 and twin.thin_events() == []

    def test_a_link_that_is_over_leads_to_a_new_one(self, anna: Browser, twin: Twin, merchant: Merchant) -> None:
        first = sales.press(anna, PAGE, "/connection").location
        assert "works once and only for minutes" in shown(anna, "?expired=1")
        second = sales.press(anna, f"{PAGE}?expired=1", "/connection").location
        assert first != second and Connection.select().count() == 1

    @pytest.mark.req("F44")
    def test_ten_clicks_at_once_make_one_account(
        self, app: flask.Flask, anna: Browser, twin: Twin, merchant: Merchant
    ) -> None:
        data = {"csrf_token": sales.csrf(anna.get(PAGE).text)}
        answers = refunding.clicks(app, anna, f"{PAGE}/connection", data)
        statuses = Counter(answer.status_code for answer in answers)
        assert statuses[303] >= 1 and set(statuses) <= {303, 503}, statuses
        connection = Connection.get()
        links = {answer.location for answer in answers if answer.status_code == 303}
        assert len(links) == statuses[303]
        begun = TimelineEntry.select().where(TimelineEntry.kind == "stripe_connecting")
        assert {entry.facts["account"] for entry in begun} == {connection.account}
        assert begun.count() == 1

    def test_check_now_brings_what_stripe_says(self, anna: Browser, twin: Twin, merchant: Merchant) -> None:
        sales.press(anna, PAGE, "/connection")
        known = connections.of(merchant)
        assert known is not None
        twin.finish_onboarding(known.account)
        assert "Stripe says: Ready." in words_of(sales.press(anna, PAGE, "/connection/check"))
        twin.restrict(known.account)
        page = words_of(sales.press(anna, PAGE, "/connection/check"))
        assert "Stripe says: Restricted." in page and "can sell nothing at the moment" in page
        assert fresh(merchant).stripe_account == ""
        twin.disconnect(known.account)
        page = words_of(sales.press(anna, PAGE, "/connection/check"))
        assert "taken away at Stripe" in page and "Connect Stripe" in page
        assert connections.of(merchant).state == ConnectionState.ENDED  # type: ignore[union-attr]
        assert sales.press(anna, PAGE, "/connection").status_code == 303
        assert connections.of(merchant).account != known.account  # type: ignore[union-attr]

    def test_without_an_answer_nothing_is_changed(self, anna: Browser, twin: Twin, merchant: Merchant) -> None:
        sales.press(anna, PAGE, "/connection")
        before = connections.of(merchant)
        twin.switch(Fault.DOWN)
        for action in ("/connection", "/connection/check"):
            assert "Stripe did not answer." in words_of(sales.press(anna, PAGE, action))
        assert "Stripe did not answer." in shown(anna, "?returned=1")
        assert connections.of(merchant) == before

    def test_staff_sees_the_state_and_whom_to_ask(self, client: Browser, twin: Twin, cast: casting.Cast) -> None:
        sales.sign_in(client, "ben@alba.example", casting.PASSWORD)
        page = client.get(PAGE).text
        assert "Only owners connect the account. Ask Anna." in page and "/connection" not in page
        data = {"csrf_token": sales.csrf(page)}
        for action in ("/connection", "/connection/check"):
            assert client.post(PAGE + action, data=data).status_code == 403
        assert Connection.select().count() == 0

    def test_each_shop_sees_its_own_account_alone(
        self, app: flask.Flask, anna: Browser, twin: Twin, cast: casting.Cast
    ) -> None:
        sales.press(anna, PAGE, "/connection")
        known = connections.of(cast.alba)
        carla: Browser = app.test_client()  # type: ignore[assignment]
        sales.sign_in(carla, "carla@berg.example", casting.PASSWORD)
        assert known is not None and known.account not in carla.get(f"{PAGE}?returned=1").text
        assert "Not begun" in shown(carla)


class TestStrays:
    """Money at Stripe that no order explains."""

    def test_an_owner_sees_to_it_and_marks_it_as_done_once(self, anna: Browser, merchant: Merchant) -> None:
        stray = Stray.create(merchant=merchant, session_id="cs_test_x1", amount_minor=7500, currency="EUR")
        page = shown(anna)
        assert "75.00" in page and "Mark as done" in page
        for sentence in ("Marked as done", "Somebody has marked this as done already."):
            form = {"csrf_token": sales.csrf(anna.get(PAGE).text)}
            assert sentence in words_of(anna.post(f"{PAGE}/strays/{stray.id}/closing", data=form))
        assert "Mark as done" not in shown(anna)
        assert Stray.get().closed_by == "Anna"

    def test_neither_staff_nor_a_stranger_closes_it(self, client: Browser, cast: casting.Cast) -> None:
        stray = Stray.create(merchant=cast.alba, session_id="cs_test_x1", amount_minor=7500, currency="EUR")
        for person, status in (("ben@alba.example", 403), ("carla@berg.example", 404)):
            sales.sign_in(client, person, casting.PASSWORD)
            form = {"csrf_token": sales.csrf(client.get(PAGE).text)}
            assert client.post(f"{PAGE}/strays/{stray.id}/closing", data=form).status_code == status
            client.delete_cookie("session")
        assert Stray.get().closed_at is None
