"""Money that goes back: at once, later, not at all; from the API and by hand in Stripe's dashboard."""

from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from gateways.stripe_twin import Fault, Twin
from gateways.stripe_twin.wire import WireError
from tests.gateways.test_stripe_twin import connect, open_session


@pytest.fixture(scope="module")
def twin() -> Iterator[Twin]:
    with Twin() as running:
        yield running


@pytest.fixture
def client(twin: Twin) -> stripe.StripeClient:
    return connect(twin)


def paid(twin: Twin, client: stripe.StripeClient) -> tuple[str, str]:
    """(session, payment intent) of 50.00 paid by card."""
    session_id = open_session(client).id
    twin.pay(session_id)
    return session_id, str(client.v1.checkout.sessions.retrieve(session_id).payment_intent)


def charge_of(client: stripe.StripeClient, intent: str) -> Any:
    return client.v1.payment_intents.retrieve(intent, {"expand": ["latest_charge"]}).latest_charge


def told(twin: Twin, *object_ids: str) -> list[str]:
    return [one["type"] for one in twin.events() if one["data"]["object"]["id"] in object_ids]


def read(twin: Twin, client: stripe.StripeClient, event_id: str) -> Any:
    """The event as the SDK reads it from a webhook's body, signature checked."""
    body, headers = twin.signed(event_id)
    return client.construct_event(body, headers["Stripe-Signature"], twin.webhook_secret)


def test_a_refund_made_by_hand_is_known_to_the_api(twin: Twin, client: stripe.StripeClient) -> None:
    session_id, intent = paid(twin, client)
    part, rest = twin.refund(session_id, 1000), twin.refund(intent)
    assert [client.v1.refunds.retrieve(one).amount for one in (part, rest)] == [1000, 4000]
    charge = charge_of(client, intent)
    assert (charge.refunded, charge.amount_refunded) == (True, 5000)
    for wish in ({"payment_intent": intent}, {"charge": charge.id}):
        assert [one.id for one in client.v1.refunds.list(wish).data] == [rest, part]  # type: ignore[arg-type]
    assert told(twin, part, rest, charge.id)[-4:] == ["refund.created", "charge.refunded"] * 2


def test_the_events_carry_the_right_objects_and_what_they_were_before(twin: Twin, client: stripe.StripeClient) -> None:
    session_id, intent = paid(twin, client)
    refund_id, charge = twin.refund(session_id, 1000, later=True), charge_of(client, intent)
    refunded = read(twin, client, twin.event_about(charge.id, "charge.refunded"))
    assert (refunded.data.object.amount_refunded, refunded.data.previous_attributes.amount_refunded) == (1000, 0)
    updated = read(twin, client, twin.settle_refund(refund_id, succeed=True))
    assert (updated.type, updated.data.object.status) == ("refund.updated", "succeeded")
    assert updated.data.previous_attributes.status == "pending"
    assert told(twin, refund_id) == ["refund.created", "refund.updated", "charge.refund.updated"]


def test_a_pending_refund_that_fails_gives_the_charge_back_what_it_took(
    twin: Twin, client: stripe.StripeClient
) -> None:
    session_id, intent = paid(twin, client)
    refund_id = twin.refund(session_id, later=True)
    assert client.v1.refunds.retrieve(refund_id).pending_reason == "processing"
    assert charge_of(client, intent).amount_refunded == 5000
    failed = read(twin, client, twin.settle_refund(refund_id, succeed=False))
    assert (failed.type, failed.data.object.failure_reason) == ("refund.failed", "expired_or_canceled_card")
    charge, refund = charge_of(client, intent), client.v1.refunds.retrieve(refund_id)
    assert (charge.amount_refunded, charge.refunded, refund.status) == (0, False, "failed")
    assert told(twin, refund_id)[1:] == ["refund.updated", "charge.refund.updated", "refund.failed"]
    assert client.v1.refunds.create({"payment_intent": intent}).status == "succeeded"


def test_a_refund_that_had_arrived_may_still_fail_and_only_once(twin: Twin, client: stripe.StripeClient) -> None:
    refund_id = twin.refund(paid(twin, client)[0])
    with pytest.raises(WireError, match="status of `succeeded`"):
        twin.settle_refund(refund_id, succeed=True)
    twin.settle_refund(refund_id, succeed=False)
    with pytest.raises(WireError, match="status of `failed`"):
        twin.settle_refund(refund_id, succeed=False)


def test_more_than_is_left_is_refused_by_hand_and_by_api(twin: Twin, client: stripe.StripeClient) -> None:
    session_id, intent = paid(twin, client)
    twin.refund(session_id, 4000, later=True)
    with pytest.raises(WireError, match="greater than unrefunded amount on charge \\(1000\\)"):
        twin.refund(session_id, 1001)
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded"):
        client.v1.refunds.create({"payment_intent": intent, "amount": 1001})
    twin.refund(session_id)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"payment_intent": intent})
    assert refused.value.code == "charge_already_refunded"


@pytest.mark.parametrize(("wish", "taken"), [("pending", 2000), ("failed", 0)])
def test_the_next_refund_by_api_ends_as_the_switch_says_and_no_other(
    twin: Twin, client: stripe.StripeClient, wish: str, taken: int
) -> None:
    _, intent = paid(twin, client)
    twin.switch(Fault.NEXT_REFUND, wish)
    made = client.v1.refunds.create({"payment_intent": intent, "amount": 2000})
    assert made.status == wish and charge_of(client, intent).amount_refunded == taken
    assert (made.failure_reason is None) == (wish == "pending")
    assert told(twin, made.id) == ["refund.created"] + ["refund.failed"] * (wish == "failed")
    assert client.v1.refunds.create({"payment_intent": intent, "amount": 100}).status == "succeeded"


def test_a_refused_refund_leaves_nothing_and_its_key_remembers_the_refusal(
    twin: Twin, client: stripe.StripeClient
) -> None:
    _, intent = paid(twin, client)
    twin.switch(Fault.NEXT_REFUND, "refused")
    options: Any = {"idempotency_key": "refund-refused"}
    for _ in range(2):
        with pytest.raises(stripe.InvalidRequestError, match="Insufficient funds in your Stripe balance") as refused:
            client.v1.refunds.create({"payment_intent": intent}, options)
        assert refused.value.json_body["error"]["message_code"] == "insufficient_balance_for_refund"
    assert refused.value.headers["idempotent-replayed"] == "true"  # type: ignore[index]
    assert client.v1.refunds.list({"payment_intent": intent}).data == []
    assert client.v1.refunds.create({"payment_intent": intent}).status == "succeeded"


def test_metadata_stays_and_can_be_changed(twin: Twin, client: stripe.StripeClient) -> None:
    _, intent = paid(twin, client)
    made = client.v1.refunds.create({"payment_intent": intent, "metadata": {"refund": "R-1", "by": "anna"}})
    assert client.v1.refunds.retrieve(made.id).metadata.to_dict() == {"refund": "R-1", "by": "anna"}  # type: ignore[union-attr]
    changed = client.v1.refunds.update(made.id, {"metadata": {"by": "", "why": "late"}})
    assert changed.metadata.to_dict() == {"refund": "R-1", "why": "late"}  # type: ignore[union-attr]
    with pytest.raises(stripe.InvalidRequestError, match="cannot be canceled"):
        client.v1.refunds.cancel(made.id)


def test_a_refund_whose_news_are_lost_is_found_by_asking(twin: Twin) -> None:
    client = connect(twin, "acct_quiet")
    session_id, intent = paid(twin, client)
    refund_id = twin.refund(session_id, 500, deliver=False)
    lost = [one["id"] for one in twin.events() if one["data"]["object"]["id"] == refund_id]
    assert [twin.delivery_state(one) for one in lost] == ["lost"]
    assert [one.id for one in client.v1.refunds.list({"payment_intent": intent}).data] == [refund_id]


def test_the_refunds_of_one_account_are_unknown_to_another(twin: Twin) -> None:
    alba, berg = connect(twin, "acct_alba"), connect(twin, "acct_berg")
    refund_id = twin.refund(paid(twin, alba)[0])
    assert alba.v1.refunds.retrieve(refund_id).id == refund_id
    for call in (berg.v1.refunds.retrieve, connect(twin).v1.refunds.retrieve):
        with pytest.raises(stripe.InvalidRequestError, match="No such refund"):
            call(refund_id)
