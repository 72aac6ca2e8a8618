"""Stripe's events at the gateway: what each is about, whose it is, and those that never reached us."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import structlog

from domain import clock
from gateways import stripe_api, stripe_events
from gateways.stripe_checkout import Event, EventRefused, StripeCheckout
from gateways.stripe_twin import Twin
from tests.stripe_shop import HOUR, ask, connect, scripted, scripted_json, sell

NEVER = "http://127.0.0.1:9/"  # where nobody listens, so that nothing is ever delivered


@pytest.fixture(scope="module")
def twin() -> Iterator[Twin]:
    with Twin() as running:
        yield running


@pytest.fixture
def shop(twin: Twin) -> StripeCheckout:
    return connect(twin)


def hear(twin: Twin, body: object) -> Event:
    signed, headers = twin.sign(json.dumps(body))
    return connect(twin).read_event(signed, headers["Stripe-Signature"])


def snapshot(kind: str, subject: object, **more: object) -> dict[str, object]:
    base = {"id": "evt_1", "object": "event", "type": kind, "livemode": False, "created": 1_700_000_000}
    return base | {"data": {"object": subject}} | more


def thin(kind: str, related: object, **more: object) -> dict[str, object]:
    base = {
        "id": "evt_1",
        "object": "v2.core.event",
        "type": kind,
        "livemode": False,
        "created": "2026-01-01T00:00:00Z",
    }
    return base | {"related_object": related} | more


KNOWN = [
    ("checkout.session.completed", "cs_test_1"),
    ("checkout.session.expired", "cs_live_1"),
    ("charge.refunded", "ch_3A"),
    ("charge.refunded", "py_3A"),
    ("refund.created", "re_3A"),
    ("refund.failed", "pyr_1A"),
    ("charge.refund.updated", "re_3A"),
    ("charge.dispute.created", "dp_1A"),
    ("charge.dispute.funds_withdrawn", "du_1A"),
    ("radar.early_fraud_warning.created", "issfr_1A"),
    ("payment_intent.succeeded", "pi_3A"),
    ("account.updated", "acct_1A"),
]


@pytest.mark.parametrize(("kind", "subject_id"), KNOWN)
def test_an_event_names_what_it_is_about_as_a_snapshot_and_thin(twin: Twin, kind: str, subject_id: str) -> None:
    session_id = subject_id if kind.startswith("checkout.session.") else None
    for body in (snapshot(kind, {"id": subject_id}), thin(f"v1.{kind}", {"id": subject_id, "type": "x", "url": "/"})):
        event = hear(twin, body)
        assert (event.type, event.subject_id, event.session_id, event.account) == (kind, subject_id, session_id, "")


@pytest.mark.req("T8", "F18")
@pytest.mark.parametrize("wrong", [None, 5, "", "x", "../../v1/charges", "cs_test_x/../y", "re_é", "re_" + "a" * 251])
@pytest.mark.parametrize("kind", sorted({kind for kind, _ in KNOWN}))
def test_a_known_event_about_nothing_usable_is_refused(twin: Twin, kind: str, wrong: object) -> None:
    for body in (snapshot(kind, {"id": wrong}), thin(f"v1.{kind}", {"id": wrong})):
        with pytest.raises(EventRefused):
            hear(twin, body)


@pytest.mark.parametrize(
    ("kind", "named", "subject_id"),
    [
        ("customer.created", "cus_1", "cus_1"),
        ("payout.paid", "po_1", "po_1"),
        ("coupon.created", "SUMMER SALE 25 %", ""),
        ("coupon.created", "x" * 256, ""),
        ("balance.available", None, ""),
        ("account.external_account.created", "ba_1", "ba_1"),
    ],
)
def test_an_event_of_another_kind_is_read_with_whatever_id_it_has(
    twin: Twin, kind: str, named: object, subject_id: str
) -> None:
    subject = {} if named is None else {"id": named}
    event = hear(twin, snapshot(kind, subject))
    assert (event.type, event.subject_id, event.session_id) == (kind, subject_id, None)
    assert hear(twin, snapshot(kind, None)).subject_id == ""


@pytest.mark.parametrize(
    "kind",
    [
        "v2.core.account.updated",
        "v2.core.account.closed",
        "v2.core.account[requirements].updated",
        "v2.core.account[configuration.merchant].capability_status_updated",
    ],
)
def test_thin_news_of_a_connected_account_names_it(twin: Twin, kind: str) -> None:
    related = {"id": "acct_1A", "type": "v2.core.account", "url": "/v2/core/accounts/acct_1A"}
    for more in ({}, {"context": None}, {"context": "acct_1A"}, {"context": "org_1/acct_1A"}):
        event = hear(twin, thin(kind, related, **more))
        assert (event.type, event.subject_id, event.account) == (kind, "acct_1A", "acct_1A")
    with pytest.raises(EventRefused):
        hear(twin, thin(kind, None))


def test_thin_news_of_somebody_behind_an_account_is_of_another_kind(twin: Twin) -> None:
    event = hear(twin, thin("v2.core.account_person.created", {"id": "person_1"}, context="acct_1A"))
    assert (event.account, event.subject_id) == ("acct_1A", "person_1")
    assert hear(twin, thin("v2.core.account_person.created", {"id": "person_1"})).account == ""
    assert hear(twin, thin("v2.core.account_link.returned", None, context="acct_1A")).subject_id == ""


def test_a_shop_that_left_us_is_named_by_the_account_and_not_by_our_application(twin: Twin) -> None:
    kind = "account.application.deauthorized"
    event = hear(twin, snapshot(kind, {"id": "ca_1", "object": "application"}, account="acct_1A"))
    assert (event.subject_id, event.account) == ("acct_1A", "acct_1A")
    with pytest.raises(EventRefused) as refused:
        hear(twin, snapshot(kind, {"id": "ca_1", "object": "application"}))
    assert refused.value.reason == "no_account"


@pytest.mark.req("T8", "F18")
@pytest.mark.parametrize(
    "kind",
    ["", "a", ".", "a.", "a..b", "A.b", "a.b[", "a.b]", "a[.b", "[a].b", "a.b[c d]", "a.b\n", "é.b", "a." + "b" * 254],
)
def test_a_type_that_is_none_is_refused(twin: Twin, kind: str) -> None:
    with pytest.raises(EventRefused) as refused:
        hear(twin, snapshot(kind, {"id": "cs_test_1"}))
    assert refused.value.reason == "no_type"


@pytest.mark.req("F17")
def test_an_event_of_an_older_version_with_more_and_fewer_fields_reads_the_same(twin: Twin) -> None:
    subject = {"id": "ch_1", "object": "charge", "refunds": {"data": []}, "payment": "ch_1"}
    for version in ("2015-10-16", "2024-06-20", "2026-10-28.endive", None):
        event = hear(twin, snapshot("charge.refunded", subject, api_version=version, request="req_1", user_id="acct_9"))
        assert (event.subject_id, event.account) == ("ch_1", "")
        assert event.created_at == datetime.fromtimestamp(1_700_000_000, UTC)


def test_everything_that_the_twin_tells_is_understood(twin: Twin, shop: StripeCheckout) -> None:
    first, _ = sell(twin, alba := shop.at("acct_alba"))
    second, _ = sell(twin, alba)
    twin.settle_refund(twin.refund(first, 1000, later=True), False)
    twin.warn(second)
    twin.close_dispute(twin.dispute(second), True)
    alba.expire_session(alba.open_session(ask()).id)
    twin.pay_later(later := alba.open_session(ask()).id)
    twin.settle_later(later, succeed=False)
    told = [event for event in twin.events() if event["type"] in stripe_events.SUBSCRIBED]
    assert len({event["type"] for event in told}) >= 12
    for sent in told:
        for body, headers in (twin.signed(sent["id"]), twin.signed_thin(sent["id"])):
            event = shop.read_event(body, headers["Stripe-Signature"])
            expected = (sent["type"], sent["data"]["object"]["id"], sent.get("account", ""))
            assert (event.type, event.subject_id, event.account) == expected


# Events that never reached us


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Twin]:
    """A twin whose events go nowhere."""
    monkeypatch.setattr(stripe_api, "PAGE_SIZE", 3)
    with Twin(webhook_url=NEVER) as running:
        yield running


def test_what_we_want_to_hear_fits_into_one_question(twin: Twin) -> None:
    assert len(set(stripe_events.SUBSCRIBED)) == len(stripe_events.SUBSCRIBED) <= 20
    assert {kind for kind, _ in KNOWN} - {"payment_intent.succeeded", "account.updated", "charge.refund.updated"} <= {
        *stripe_events.SUBSCRIBED
    }


@pytest.mark.req("F4")
def test_events_that_did_not_arrive_are_listed_over_all_pages(deaf: Twin) -> None:
    shop, since = connect(deaf), clock.now() - HOUR
    sold = [sell(deaf, shop)[0] for _ in range(4)]
    refund_id, warning_id = deaf.refund(sold[0], 1000), deaf.warn(sold[1])
    found = shop.list_undelivered(since)
    assert [event.session_id for event in found if event.session_id] == sold[::-1]
    assert {refund_id, warning_id} < {event.subject_id for event in found}
    assert {event.type for event in found} <= {*stripe_events.SUBSCRIBED} and len(found) >= 7
    assert all(abs(event.created_at - clock.now()) < timedelta(minutes=1) for event in found)
    assert shop.list_undelivered(clock.now() + HOUR) == ()


@pytest.mark.req("F15")
def test_events_that_did_not_arrive_are_listed_for_one_account(deaf: Twin) -> None:
    shop, since = connect(deaf), clock.now() - HOUR
    ours, theirs = sell(deaf, shop)[0], sell(deaf, shop.at("acct_alba"))[0]
    assert [(one.session_id, one.account) for one in shop.list_undelivered(since)] == [(ours, "")]
    found = shop.at("acct_alba").list_undelivered(since)
    assert [(one.session_id, one.account) for one in found] == [(theirs, "acct_alba")]


@pytest.mark.req("F15")
def test_what_was_listed_for_an_account_is_that_accounts_even_where_the_event_names_none(twin: Twin) -> None:
    body = snapshot("charge.refunded", {"id": "ch_1", "object": "charge"})
    page = {"object": "list", "data": [body], "has_more": False, "url": "/v1/events"}
    with scripted_json(page) as base:
        shop = StripeCheckout(twin.secret_key, webhook_secrets=(), api_base=base)
        found = [shop.at(account).list_undelivered(clock.now())[0].account for account in ("", "acct_alba")]
    assert found == ["", "acct_alba"]


@pytest.mark.req("F4")
def test_of_events_that_arrived_and_events_that_did_not_only_these_are_listed() -> None:
    with scripted(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as base, Twin(webhook_url=f"{base}/hook") as twin:
        shop = connect(twin)
        sell(twin, shop)
        twin.pay(lost := shop.open_session(ask()).id, deliver=False)
        assert twin.drain()
        assert [event.session_id for event in shop.list_undelivered(clock.now() - HOUR)] == [lost]


@pytest.mark.req("F17")
def test_a_listed_event_that_cannot_be_read_is_logged_and_stands_in_no_others_way(twin: Twin) -> None:
    good = snapshot("charge.refunded", {"id": "ch_1", "object": "charge"})
    bad = [
        good | {"id": "evt_2", "data": {"object": {"id": "xx_1"}}},
        good | {"id": "evt_3", "livemode": None},
        "evt_4",
    ]
    page = {"object": "list", "data": [*bad, good], "has_more": False, "url": "/v1/events"}
    with scripted_json(page) as base, structlog.testing.capture_logs() as logs:
        found = StripeCheckout(twin.secret_key, webhook_secrets=(), api_base=base).list_undelivered(clock.now())
    assert [event.id for event in found] == ["evt_1"]
    assert [(line["event_id"], line["reason"]) for line in logs] == [
        ("evt_2", "no_charge_id"),
        ("evt_3", "no_livemode"),
    ]
