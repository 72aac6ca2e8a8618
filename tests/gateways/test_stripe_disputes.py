"""Disputes, inquiries and fraud warnings at the gateway, through the real SDK against the running twin."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from domain import clock
from gateways import stripe_api
from gateways.stripe_checkout import Line, StripeCheckout, StripeRefused, StripeUnavailable
from gateways.stripe_disputes import DisputeKind, DisputeState
from gateways.stripe_twin import Twin
from tests.stripe_shop import connect, refused_for, scripted_json, sell

INTENT = {"id": "pi_1", "object": "payment_intent", "metadata": {"order": "G-1"}}
CHARGE = {"id": "ch_1", "object": "charge", "amount": 9000, "currency": "eur", "payment_intent": INTENT}
DISPUTE = {
    "id": "du_1",
    "object": "dispute",
    "amount": 5000,
    "currency": "eur",
    "charge": CHARGE,
    "created": 1_700_000_000,
    "evidence_details": {"due_by": 1_700_086_400},
    "payment_intent": INTENT,
    "reason": "fraudulent",
    "status": "needs_response",
}
WARNING = {
    "id": "issfr_1",
    "object": "radar.early_fraud_warning",
    "actionable": True,
    "charge": CHARGE,
    "created": 1_700_000_000,
    "fraud_type": "made_with_stolen_card",
    "payment_intent": INTENT,
}


@pytest.fixture(scope="module")
def twin() -> Iterator[Twin]:
    with Twin() as running:
        yield running


@pytest.fixture(autouse=True)
def healthy(twin: Twin) -> Iterator[None]:
    yield
    twin.switch("rate_limit", False)
    clock.reset()


@pytest.fixture
def shop(twin: Twin) -> StripeCheckout:
    return connect(twin)


@pytest.mark.req("F58")
def test_a_dispute_names_the_order_the_sum_and_the_last_day_to_answer(twin: Twin, shop: StripeCheckout) -> None:
    session_id, intent_id = sell(twin, shop, "10")
    report = shop.disputes.fetch(dispute_id := twin.dispute(session_id, reason="product_not_received"))
    assert (report.id, report.kind, report.state) == (dispute_id, DisputeKind.DISPUTE, DisputeState.OPEN)
    assert (report.status, report.reason) == ("needs_response", "product_not_received")
    assert (report.amount_minor, report.currency, report.account) == (10000, "EUR", "")
    assert (report.payment_intent_id, report.order_ref) == (intent_id, "G-10")
    assert abs(report.opened_at - clock.now()) < timedelta(seconds=5)
    assert report.respond_by is not None and report.respond_by - report.opened_at > timedelta(days=1)


@pytest.mark.req("F58")
@pytest.mark.parametrize(
    ("is_inquiry", "won", "status", "state"),
    [
        (False, True, "won", DisputeState.WON),
        (False, False, "lost", DisputeState.LOST),
        (True, True, "warning_closed", DisputeState.WON),
        (True, False, "lost", DisputeState.LOST),
    ],
)
def test_the_banks_decision_is_told(
    twin: Twin, shop: StripeCheckout, is_inquiry: bool, won: bool, status: str, state: DisputeState
) -> None:
    session_id, _ = sell(twin, shop)
    dispute_id = twin.dispute(session_id, inquiry=is_inquiry)
    begun = shop.disputes.fetch(dispute_id)
    assert begun.kind is (DisputeKind.INQUIRY if is_inquiry else DisputeKind.DISPUTE)
    twin.answer_dispute(dispute_id)
    assert (answered := shop.disputes.fetch(dispute_id)).state is DisputeState.OPEN
    assert answered.status.endswith("under_review")
    twin.close_dispute(dispute_id, won)
    decided = shop.disputes.fetch(dispute_id)
    assert (decided.status, decided.state) == (status, state)


@pytest.mark.req("F58")
def test_a_fraud_warning_is_open_over_the_charges_sum(twin: Twin, shop: StripeCheckout) -> None:
    session_id, intent_id = sell(twin, shop, "11", currency="ISK", lines=(Line("A", 5000),))
    report = shop.disputes.fetch_warning(warning_id := twin.warn(session_id))
    assert (report.id, report.kind, report.state) == (warning_id, DisputeKind.FRAUD_WARNING, DisputeState.OPEN)
    assert (report.status, report.reason) == ("actionable", "unauthorized_use_of_card")
    assert (report.amount_minor, report.currency, report.respond_by) == (5000, "ISK", None)
    assert (report.payment_intent_id, report.order_ref) == (intent_id, "G-11")
    twin.refund(session_id)
    after = shop.disputes.fetch_warning(warning_id)
    assert (after.state, after.status) == (DisputeState.OPEN, "not_actionable")


@pytest.mark.req("F4")
def test_everything_about_a_payment_is_listed_and_nothing_of_another(twin: Twin, shop: StripeCheckout) -> None:
    (mine, intent_id), (other, other_id) = sell(twin, shop), sell(twin, shop)
    warning_id, dispute_id, other_warning_id = twin.warn(mine), twin.dispute(mine), twin.warn(other)
    assert [one.id for one in shop.disputes.list_of(intent_id)] == [dispute_id, warning_id]
    assert [one.id for one in shop.disputes.list_of(other_id)] == [other_warning_id]
    assert shop.disputes.list_of(sell(twin, shop)[1]) == ()


@pytest.mark.req("F15")
def test_what_is_about_one_account_is_unknown_to_another(twin: Twin, shop: StripeCheckout) -> None:
    alba = shop.at("acct_alba")
    session_id, intent_id = sell(twin, alba, "12")
    warning_id, dispute_id = twin.warn(session_id), twin.dispute(session_id)
    assert {(one.account, one.order_ref) for one in alba.disputes.list_of(intent_id)} == {("acct_alba", "G-12")}
    for stranger in (shop, shop.at("acct_berg")):
        for call, object_id in ((stranger.disputes.fetch, dispute_id), (stranger.disputes.fetch_warning, warning_id)):
            with pytest.raises(StripeRefused) as refused:
                call(object_id)
            assert refused.value.code == "resource_missing"


@pytest.mark.req("F13")
def test_a_stripe_that_is_busy_is_unavailable(
    twin: Twin, shop: StripeCheckout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stripe._http_client.HTTPClient.INITIAL_DELAY", 0.01)
    twin.switch("rate_limit")
    disputes = shop.disputes
    calls = ((disputes.fetch, "du_1"), (disputes.fetch_warning, "issfr_1"), (disputes.list_of, "pi_1"))
    for call, object_id in calls:
        with pytest.raises(StripeUnavailable):
            call(object_id)


@pytest.mark.req("F58")
@pytest.mark.parametrize(
    ("status", "kind", "state"),
    [
        ("needs_response", "dispute", "open"),
        ("under_review", "dispute", "open"),
        ("won", "dispute", "won"),
        ("prevented", "dispute", "won"),
        ("lost", "dispute", "lost"),
        ("warning_needs_response", "inquiry", "open"),
        ("warning_under_review", "inquiry", "open"),
        ("warning_closed", "inquiry", "won"),
    ],
)
def test_every_status_that_we_know_has_one_meaning(twin: Twin, status: str, kind: str, state: str) -> None:
    with scripted_json(DISPUTE | {"status": status}) as base:
        report = StripeCheckout(twin.secret_key, webhook_secrets=(), api_base=base).disputes.fetch("du_1")
    assert (report.status, report.kind, report.state) == (status, kind, state)


@pytest.mark.req("F17")
@pytest.mark.parametrize(
    "field", ["id", "amount", "currency", "charge", "created", "evidence_details", "payment_intent", "reason", "status"]
)
def test_a_dispute_that_lacks_a_field_is_unclear(twin: Twin, field: str) -> None:
    body = {name: value for name, value in DISPUTE.items() if name != field}
    assert refused_for(twin, body, lambda shop: shop.disputes.fetch("du_1")) == "answer_unclear"


@pytest.mark.req("F17")
@pytest.mark.parametrize("field", ["id", "actionable", "charge", "created", "fraud_type", "payment_intent"])
def test_a_warning_that_lacks_a_field_is_unclear(twin: Twin, field: str) -> None:
    body = {name: value for name, value in WARNING.items() if name != field}
    assert refused_for(twin, body, lambda shop: shop.disputes.fetch_warning("issfr_1")) == "answer_unclear"


@pytest.mark.req("F17")
@pytest.mark.parametrize(
    "changes",
    [
        {"status": "appeal_needs_response"},
        {"status": "charge_refunded"},
        {"status": None},
        {"amount": "5000"},
        {"evidence_details": None},
        {"evidence_details": {}},
        {"evidence_details": {"due_by": 10**30}},
        {"evidence_details": {"due_by": True}},
        {"payment_intent": {"id": "pi_1", "object": "payment_intent"}},
        {"id": "issfr_1"},
    ],
    ids=str,
)
def test_a_dispute_with_a_strange_value_is_unclear(twin: Twin, changes: dict[str, object]) -> None:
    assert refused_for(twin, DISPUTE | changes, lambda shop: shop.disputes.fetch("du_1")) == "answer_unclear"


@pytest.mark.req("F17")
@pytest.mark.parametrize(
    "changes", [{"charge": "ch_1"}, {"charge": None}, {"actionable": "yes"}, {"id": "du_1"}], ids=str
)
def test_a_warning_with_a_strange_value_is_unclear(twin: Twin, changes: dict[str, object]) -> None:
    assert refused_for(twin, WARNING | changes, lambda shop: shop.disputes.fetch_warning("issfr_1")) == "answer_unclear"


def test_the_charge_tells_the_payment_where_the_dispute_does_not(twin: Twin) -> None:
    with scripted_json(DISPUTE | {"payment_intent": None, "evidence_details": {"due_by": None}}) as base:
        report = StripeCheckout(twin.secret_key, webhook_secrets=(), api_base=base).disputes.fetch("du_1")
    assert (report.payment_intent_id, report.order_ref, report.respond_by) == ("pi_1", "G-1", None)
    assert report.opened_at == datetime.fromtimestamp(1_700_000_000, UTC)
    with scripted_json(WARNING | {"payment_intent": None, "charge": CHARGE | {"payment_intent": None}}) as base:
        report = StripeCheckout(twin.secret_key, webhook_secrets=(), api_base=base).disputes.fetch_warning("issfr_1")
    assert (report.payment_intent_id, report.order_ref, report.amount_minor) == ("", "", 9000)


@pytest.mark.req("T9")
@pytest.mark.parametrize(
    "wrong", ["", "du_", "issfr_", "du_1/close", "issfr_1?x=1", "../../v1/charges", "du_é", "ch_1"]
)
def test_what_is_no_id_never_gets_into_an_address(twin: Twin, wrong: str) -> None:
    disputes = StripeCheckout(twin.secret_key, webhook_secrets=(), api_base="http://127.0.0.1:9").disputes
    calls = ((disputes.fetch, "dispute"), (disputes.fetch_warning, "warning"), (disputes.list_of, "payment_intent"))
    for call, noun in calls:
        with pytest.raises(StripeRefused) as refused:
            call(wrong)
        assert refused.value.code == f"{noun}_id_malformed"


@pytest.mark.req("F4")
def test_a_list_of_disputes_is_read_over_all_pages(
    twin: Twin, shop: StripeCheckout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stripe_api, "PAGE_SIZE", 1)
    session_id, intent_id = sell(twin, shop)
    warnings = [twin.warn(session_id) for _ in range(3)]
    assert [one.id for one in shop.disputes.list_of(intent_id)] == warnings[::-1]
