"""Holders who object: warnings, inquiries and disputes, from the first word to the bank's decision."""

from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from gateways.stripe_twin import Twin
from gateways.stripe_twin.wire import WireError
from tests.gateways.test_stripe_twin import connect, open_session


@pytest.fixture(scope="module")
def twin() -> Iterator[Twin]:
    with Twin() as running:
        yield running


@pytest.fixture
def client(twin: Twin) -> stripe.StripeClient:
    return connect(twin)


@pytest.fixture
def session_id(twin: Twin, client: stripe.StripeClient) -> str:
    """A session of 50.00 paid by card."""
    opened = open_session(client, payment_intent_data={"metadata": {"order": "G-1"}}).id
    twin.pay(opened)
    return str(opened)


def told(twin: Twin, object_id: str) -> list[tuple[str, str]]:
    """(type, status) of every event about an object."""
    about = [one for one in twin.events() if one["data"]["object"]["id"] == object_id]
    return [(one["type"].rpartition(".")[2], one["data"]["object"].get("status")) for one in about]


def intent_of(client: stripe.StripeClient, session_id: str) -> str:
    return str(client.v1.checkout.sessions.retrieve(session_id).payment_intent)


def test_a_dispute_takes_the_money_and_is_found_by_payment(
    twin: Twin, client: stripe.StripeClient, session_id: str
) -> None:
    dispute_id, intent = twin.dispute(session_id, reason="product_not_received"), intent_of(client, session_id)
    known: Any = client.v1.disputes.retrieve(dispute_id, {"expand": ["payment_intent", "charge"]})
    assert (known.status, known.reason, known.amount) == ("needs_response", "product_not_received", 5000)
    assert known.payment_intent.metadata.order == "G-1" and known.charge.disputed
    assert known.evidence_details.due_by > known.created and [one.net for one in known.balance_transactions] == [-5000]
    for wish in ({"payment_intent": intent}, {"charge": known.charge.id}):
        assert [one.id for one in client.v1.disputes.list(wish).data] == [dispute_id]  # type: ignore[arg-type]
    assert told(twin, dispute_id) == [("created", "needs_response"), ("funds_withdrawn", "needs_response")]


@pytest.mark.parametrize("won", [True, False])
def test_the_bank_decides_after_the_evidence(
    twin: Twin, client: stripe.StripeClient, session_id: str, won: bool
) -> None:
    dispute_id, outcome = twin.dispute(session_id), "won" if won else "lost"
    twin.answer_dispute(dispute_id)
    assert client.v1.disputes.retrieve(dispute_id).status == "under_review"
    body, headers = twin.signed(twin.close_dispute(dispute_id, won=won))
    closed: Any = client.construct_event(body, headers["Stripe-Signature"], twin.webhook_secret)
    assert (closed.type, closed.data.object.status) == ("charge.dispute.closed", outcome)
    last = [("updated", "under_review"), ("closed", outcome)] + [("funds_reinstated", outcome)] * won
    assert told(twin, dispute_id)[2:] == last
    with pytest.raises(WireError, match=f"status of `{outcome}`"):
        twin.close_dispute(dispute_id, won=not won)


def test_what_was_charged_back_cannot_be_refunded_too(twin: Twin, client: stripe.StripeClient, session_id: str) -> None:
    dispute_id, intent = twin.dispute(session_id), intent_of(client, session_id)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"payment_intent": intent})
    assert refused.value.code == "charge_disputed"
    twin.close_dispute(dispute_id, won=True)
    assert client.v1.refunds.create({"payment_intent": intent}).status == "succeeded"


def test_an_inquiry_only_asks_and_may_be_closed_or_become_a_dispute(
    twin: Twin, client: stripe.StripeClient, session_id: str
) -> None:
    inquiry = twin.dispute(session_id, inquiry=True)
    known = client.v1.disputes.retrieve(inquiry)
    assert (known.status, known.is_charge_refundable, known.balance_transactions) == (
        "warning_needs_response",
        True,
        [],
    )
    twin.close_dispute(inquiry, won=True)
    assert told(twin, inquiry) == [("created", "warning_needs_response"), ("closed", "warning_closed")]
    other = open_session(client).id
    twin.pay(other)
    escalated = twin.dispute(other, inquiry=True)
    twin.close_dispute(escalated, won=False)
    assert [kind for kind, _ in told(twin, escalated)] == ["created", "updated", "funds_withdrawn", "closed"]
    assert client.v1.disputes.retrieve(escalated).status == "lost"


def test_a_full_refund_closes_an_inquiry(twin: Twin, client: stripe.StripeClient, session_id: str) -> None:
    inquiry = twin.dispute(session_id, inquiry=True)
    twin.refund(session_id, 1000)
    assert client.v1.disputes.retrieve(inquiry).status == "warning_needs_response"
    twin.refund(session_id)
    assert client.v1.disputes.retrieve(inquiry).status == "warning_closed"


def test_the_shop_can_give_in(twin: Twin, client: stripe.StripeClient, session_id: str) -> None:
    assert client.v1.disputes.close(twin.dispute(session_id)).status == "lost"


def test_a_warning_asks_for_action_until_refunded_or_disputed(
    twin: Twin, client: stripe.StripeClient, session_id: str
) -> None:
    warning_id, warnings = twin.warn(session_id), client.v1.radar.early_fraud_warnings
    assert warnings.retrieve(warning_id).actionable
    found = warnings.list({"payment_intent": intent_of(client, session_id)})
    assert [one.id for one in found.data] == [warning_id]
    twin.dispute(session_id)
    assert not warnings.retrieve(warning_id).actionable
    assert [kind for kind, _ in told(twin, warning_id)] == ["created", "updated"]


def test_only_what_was_paid_can_be_disputed_and_only_once(
    twin: Twin, client: stripe.StripeClient, session_id: str
) -> None:
    twin.dispute(session_id)
    opened, later = open_session(client).id, open_session(client).id
    twin.pay_later(later)
    for wrong in (session_id, opened, later, "cs_test_none"):
        with pytest.raises(WireError):
            twin.dispute(wrong)
    for wrong in (opened, later):
        with pytest.raises(WireError):
            twin.warn(wrong)


def test_the_news_of_a_dispute_can_be_lost(twin: Twin, session_id: str) -> None:
    dispute_id = twin.dispute(session_id, deliver=False)
    lost = twin.event_about(dispute_id, "charge.dispute.created")
    assert twin.delivery_state(lost) == "lost"
    assert twin.delivery_state(twin.event_about(twin.warn(session_id, deliver=False))) == "lost"


@pytest.mark.parametrize("act", ["dispute", "warn", "refund"])
def test_the_thin_form_of_trouble_leads_the_sdk_to_its_object(
    twin: Twin, client: stripe.StripeClient, session_id: str, act: str
) -> None:
    made = getattr(twin, act)(session_id)
    body, headers = twin.signed_thin(twin.event_about(made))
    note: Any = client.parse_event_notification(body, headers["Stripe-Signature"], twin.webhook_secret)
    assert not type(note).__name__.startswith("Unknown")
    assert note.fetch_related_object().id == made and note.fetch_event().type == note.type
