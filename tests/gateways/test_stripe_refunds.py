"""Refunds at the gateway, through the real SDK against the running twin."""

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from domain import clock
from gateways import stripe_api
from gateways.stripe_checkout import Line, StripeCheckout, StripeRefused, StripeUnavailable
from gateways.stripe_refunds import RefundReport, RefundStatus
from gateways.stripe_twin import Twin
from tests.stripe_shop import connect, refused_for, scripted_json, sell

FAULTS = ("slow", "error_after_work", "rate_limit", "down")
REFUND = {
    "id": "re_1",
    "object": "refund",
    "amount": 5000,
    "currency": "eur",
    "created": 1_700_000_000,
    "status": "succeeded",
    "metadata": {"refund": "R-1"},
    "payment_intent": {"id": "pi_1", "object": "payment_intent", "metadata": {"order": "G-1"}},
}


@pytest.fixture(scope="module")
def twin() -> Iterator[Twin]:
    with Twin() as running:
        yield running


@pytest.fixture(autouse=True)
def healthy(twin: Twin) -> Iterator[None]:
    yield
    for fault in FAULTS:
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


def give_back(
    shop: StripeCheckout,
    intent_id: str,
    amount_minor: int | None = None,
    *,
    reference: str = "R-1",
    currency: str = "EUR",
) -> RefundReport:
    return shop.refunds.create(
        payment_intent_id=intent_id,
        amount_minor=amount_minor,
        currency=currency,
        reference=reference,
        idempotency_key=f"{intent_id}-{reference}",
    )


def test_a_part_and_then_the_rest_are_given_back(twin: Twin, shop: StripeCheckout) -> None:
    _, intent_id = sell(twin, shop, "10")
    part = give_back(shop, intent_id, 2500)
    assert (part.status, part.amount_minor, part.currency) == (RefundStatus.SUCCEEDED, 2500, "EUR")
    assert (part.payment_intent_id, part.order_ref, part.reference) == (intent_id, "G-10", "R-1")
    assert (part.account, part.failure_reason) == ("", "")
    assert abs(part.created_at - clock.now()) < timedelta(seconds=5)
    rest = give_back(shop, intent_id, reference="R-2")
    assert (rest.amount_minor, rest.reference) == (7500, "R-2")
    assert shop.refunds.fetch(part.id) == part
    assert {one.id for one in shop.refunds.list_of(intent_id)} == {part.id, rest.id}


@pytest.mark.req("F6")
def test_a_refund_that_somebody_made_at_stripe_names_our_order_and_none_of_our_refunds(
    twin: Twin, shop: StripeCheckout
) -> None:
    session_id, intent_id = sell(twin, shop, "11")
    foreign = shop.refunds.fetch(twin.refund(session_id, 1000))
    assert (foreign.order_ref, foreign.reference, foreign.amount_minor) == ("G-11", "", 1000)
    assert shop.refunds.find(intent_id, "") is None


def test_a_charge_leads_to_its_refunds(twin: Twin, shop: StripeCheckout) -> None:
    session_id, intent_id = sell(twin, shop, "12")
    twin.refund(session_id, 1000)
    charge = twin.events("charge.refunded")[-1]["data"]["object"]
    assert shop.refunds.of_charge(charge["id"]) == shop.refunds.list_of(intent_id) != ()


def test_many_refunds_are_read_over_all_pages(
    twin: Twin, shop: StripeCheckout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stripe_api, "PAGE_SIZE", 2)
    session_id, intent_id = sell(twin, shop)
    made = [twin.refund(session_id, 100 + n) for n in range(5)]
    assert [one.id for one in shop.refunds.list_of(intent_id)] == made[::-1]


@pytest.mark.parametrize(("succeed", "status"), [(True, RefundStatus.SUCCEEDED), (False, RefundStatus.FAILED)])
def test_a_refund_that_waits_is_pending_until_the_bank_has_answered(
    twin: Twin, shop: StripeCheckout, succeed: bool, status: RefundStatus
) -> None:
    session_id, _ = sell(twin, shop)
    refund_id = twin.refund(session_id, later=True)
    assert shop.refunds.fetch(refund_id).status is RefundStatus.PENDING
    twin.settle_refund(refund_id, succeed)
    report = shop.refunds.fetch(refund_id)
    assert (report.status, bool(report.failure_reason)) == (status, not succeed)


@pytest.mark.req("F15")
def test_a_connected_shop_gives_back_its_own_money_only(twin: Twin, shop: StripeCheckout) -> None:
    alba, berg = shop.at("acct_alba"), shop.at("acct_berg")
    _, intent_id = sell(twin, alba, "13")
    for stranger in (shop, berg):
        with pytest.raises(StripeRefused) as refused:
            give_back(stranger, intent_id)
        assert refused.value.code == "resource_missing"
    report = give_back(alba, intent_id)
    assert (report.account, report.order_ref) == ("acct_alba", "G-13")
    assert [one.account for one in alba.refunds.list_of(intent_id)] == ["acct_alba"]
    with pytest.raises(StripeRefused, match="No such"):
        shop.refunds.fetch(report.id)


@pytest.mark.req("F12")
def test_the_same_key_gives_back_once_from_eight_threads(twin: Twin, shop: StripeCheckout) -> None:
    _, intent_id = sell(twin, shop)
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.append(give_back(shop, intent_id, 1000).id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8 and len(set(made)) == 1 and len(shop.refunds.list_of(intent_id)) == 1


@pytest.mark.req("F12")
@pytest.mark.usefixtures("impatient")
def test_a_slow_answer_is_retried_with_the_same_key_and_gives_back_once(twin: Twin) -> None:
    shop = connect(twin)
    _, intent_id = sell(twin, shop)
    twin.switch("slow", 0.6, times=1)
    assert [give_back(shop, intent_id, 1000)] == [*shop.refunds.list_of(intent_id)]


@pytest.mark.req("F12")
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("how", ["unanswered", "halfway"])
def test_a_cut_answer_is_unavailable_or_made_good_and_never_a_second_refund(twin: Twin, how: str) -> None:
    shop = connect(twin)
    _, intent_id = sell(twin, shop)
    twin.switch("cut", how, times=1)
    try:
        give_back(shop, intent_id, 1000)
    except StripeUnavailable:
        assert shop.refunds.find(intent_id, "R-1") is not None
    assert give_back(shop, intent_id, 1000) == shop.refunds.find(intent_id, "R-1")
    assert len(shop.refunds.list_of(intent_id)) == 1


@pytest.mark.req("F13")
@pytest.mark.usefixtures("impatient")
def test_a_500_after_the_work_was_done_is_found_by_our_reference(twin: Twin) -> None:
    shop = connect(twin)
    _, intent_id = sell(twin, shop)
    twin.switch("error_after_work", times=1)
    for _ in range(2):  # the key remembers the 500
        with pytest.raises(StripeUnavailable):
            give_back(shop, intent_id, 1000, reference="R-20")
    found = shop.refunds.find(intent_id, "R-20")
    assert found is not None and (found.amount_minor, found.reference) == (1000, "R-20")
    assert shop.refunds.find(intent_id, "R-2") is None and len(shop.refunds.list_of(intent_id)) == 1


@pytest.mark.req("F13")
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", ["rate_limit", "down"])
def test_a_stripe_that_is_busy_or_down_is_unavailable(twin: Twin, fault: str) -> None:
    shop = connect(twin)
    _, intent_id = sell(twin, shop)
    twin.switch(fault)
    for call in (lambda: give_back(shop, intent_id), lambda: shop.refunds.list_of(intent_id)):
        with pytest.raises(StripeUnavailable):
            call()


@pytest.mark.req("F12")
@pytest.mark.usefixtures("impatient")
def test_a_key_that_another_call_is_using_means_later(twin: Twin) -> None:
    error = {"error": {"type": "idempotency_error", "code": "idempotency_key_in_use", "message": "In use."}}
    with scripted_json(error, status="409 Conflict") as base:
        shop = StripeCheckout(twin.secret_key, webhook_secrets=(), api_base=base)
        with pytest.raises(StripeUnavailable, match="In use"):
            give_back(shop, "pi_1")


def test_what_stripe_refuses_comes_with_stripes_code(twin: Twin, shop: StripeCheckout) -> None:
    _, intent_id = sell(twin, shop)
    give_back(shop, intent_id)
    with pytest.raises(StripeRefused) as refused:
        give_back(shop, intent_id, reference="R-2")
    assert (refused.value.code, refused.value.http_status) == ("charge_already_refunded", 400)
    session_id, disputed_id = sell(twin, shop)
    twin.dispute(session_id)
    with pytest.raises(StripeRefused) as refused:
        give_back(shop, disputed_id)
    assert refused.value.code == "charge_disputed"
    with pytest.raises(StripeRefused, match="greater than unrefunded"):
        give_back(shop, sell(twin, shop)[1], 10001)


def test_the_same_key_with_another_amount_is_refused(twin: Twin, shop: StripeCheckout) -> None:
    _, intent_id = sell(twin, shop)
    give_back(shop, intent_id, 1000)
    with pytest.raises(StripeRefused) as refused:
        give_back(shop, intent_id, 1001)
    assert refused.value.code == "idempotency_error"


@pytest.mark.req("F30")
@pytest.mark.parametrize(
    ("currency", "total", "part", "on_the_wire"),
    [("EUR", 5000, 1, 1), ("JPY", 5000, 7, 7), ("ISK", 5000, 7, 700), ("UGX", 5000, 7, 700), ("MGA", 500000, 700, 7)],
)
def test_stripes_own_units_are_translated_both_ways(
    twin: Twin, shop: StripeCheckout, currency: str, total: int, part: int, on_the_wire: int
) -> None:
    _, intent_id = sell(twin, shop, currency=currency, lines=(Line("A", total),))
    report = give_back(shop, intent_id, part, currency=currency)
    assert (report.amount_minor, report.currency) == (part, currency)
    assert twin.events("refund.created")[-1]["data"]["object"]["amount"] == on_the_wire
    assert give_back(shop, intent_id, reference="R-2", currency=currency).amount_minor == total - part


def test_a_part_of_a_unit_that_stripe_does_not_take_is_refused_without_a_call(twin: Twin) -> None:
    unreachable = StripeCheckout(twin.secret_key, webhook_secrets=(), api_base="http://127.0.0.1:9")
    with pytest.raises(StripeRefused) as refused:
        give_back(unreachable, "pi_1", 701, currency="MGA")
    assert (refused.value.code, refused.value.http_status) == ("amount_too_precise", None)


@pytest.mark.req("T9")
@pytest.mark.parametrize(
    "wrong", ["", "re_", "../../v1/charges", "re_1?expand[]=charge", "re_1/cancel", "re_é", "cs_test_1"]
)
def test_what_is_no_id_never_gets_into_an_address(twin: Twin, wrong: str) -> None:
    refunds = StripeCheckout(twin.secret_key, webhook_secrets=(), api_base="http://127.0.0.1:9").refunds
    for call, noun in ((refunds.fetch, "refund"), (refunds.list_of, "payment_intent"), (refunds.of_charge, "charge")):
        with pytest.raises(StripeRefused) as refused:
            call(wrong)
        assert refused.value.code == f"{noun}_id_malformed"


@pytest.mark.req("F17")
@pytest.mark.parametrize("field", ["id", "amount", "currency", "status", "created", "metadata", "payment_intent"])
def test_an_answer_that_lacks_a_field_is_unclear(twin: Twin, field: str) -> None:
    body = {name: value for name, value in REFUND.items() if name != field}
    assert refused_for(twin, body, lambda shop: shop.refunds.fetch("re_1")) == "answer_unclear"


@pytest.mark.req("F17")
@pytest.mark.parametrize(
    "changes",
    [
        {"status": None},
        {"status": "returned"},
        {"amount": True},
        {"amount": "5000"},
        {"id": "../x"},
        {"created": 10**30},
        {"currency": "isk", "amount": 5001},
        {"failure_reason": 5},
        {"metadata": "R-1"},
        {"payment_intent": {"object": "payment_intent"}},
        {"payment_intent": {"id": "pi_1", "object": "payment_intent"}},
    ],
    ids=str,
)
def test_an_answer_with_a_strange_value_is_unclear(twin: Twin, changes: dict[str, object]) -> None:
    assert refused_for(twin, REFUND | changes, lambda shop: shop.refunds.fetch("re_1")) == "answer_unclear"


@pytest.mark.req("F17")
def test_fields_of_other_versions_are_ignored_and_a_payment_may_be_unknown(twin: Twin) -> None:
    body = REFUND | {"payment_intent": None, "metadata": None, "new_in_2031": {"a": [1]}, "id": "pyr_1"}
    with scripted_json(body) as base:
        report = StripeCheckout(twin.secret_key, webhook_secrets=(), api_base=base).refunds.fetch("pyr_1")
    assert (report.id, report.payment_intent_id, report.order_ref, report.reference) == ("pyr_1", "", "", "")
