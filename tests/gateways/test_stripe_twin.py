"""The twin is as good as Stripe: the real SDK finds nothing wrong with it; its pay page works without JavaScript."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import stripe

from domain import clock
from gateways.stripe_twin import Twin, create_twin, engine, shapes, till
from gateways.stripe_twin.book import Kept
from gateways.stripe_twin.wire import WireError

SHOP = "https://shop.example"


@pytest.fixture(scope="module")
def twin() -> Iterator[Twin]:
    with Twin() as running:
        yield running


@pytest.fixture(autouse=True)
def present() -> Iterator[None]:
    yield
    clock.reset()


@pytest.fixture
def client(twin: Twin) -> stripe.StripeClient:
    return connect(twin)


def connect(twin: Twin, account: str | None = None) -> stripe.StripeClient:
    return stripe.StripeClient(twin.secret_key, stripe_account=account, base_addresses={"api": twin.api_base})


def params(**changes: Any) -> Any:
    price = {"currency": "eur", "unit_amount": 5000, "product_data": {"name": "Gutschein <b>50</b>"}}
    return {
        "mode": "payment",
        "line_items": [{"quantity": 1, "price_data": price}],
        "success_url": f"{SHOP}/done?s={{CHECKOUT_SESSION_ID}}",
        "cancel_url": f"{SHOP}/alba",
        "customer_email": "anna@example.org",
        "client_reference_id": "G-1",
        "metadata": {"order": "G-1", "0": "digits stay a key"},
        **changes,
    }


def open_session(client: stripe.StripeClient, **changes: Any) -> Any:
    return client.v1.checkout.sessions.create(params(**changes))


# Every answer is what the SDK's own classes say


def test_the_walk_finds_deliberate_faults_by_class_and_field(client: stripe.StripeClient) -> None:
    body = open_session(client).to_dict()
    assert shapes.faults(body) == []
    spoilt = {**body, "amount_total": "5000", "automatic_tax": {"enabled": 1}, "colour": "red", "mode": "gift"}
    del spoilt["livemode"]
    found = sorted(fault.split(":")[0] for fault in shapes.faults(spoilt))
    assert found == ["Session.amount_total", "Session.automatic_tax.enabled", "Session.colour", "Session.livemode",
                     "Session.mode"]  # fmt: skip


def test_what_stripe_would_never_say_is_a_500_that_names_the_field(client: stripe.StripeClient, twin: Twin) -> None:
    opened, store = open_session(client).id, engine.of(twin.app).store
    with store.begin() as book:
        kept = till.find_session(book, opened)
        book.save(Kept({**kept.body, "payment_status": "maybe"}, account="", aside=kept.aside))
    with pytest.raises(stripe.APIError, match="Session.payment_status: 'maybe' is none of"):
        client.v1.checkout.sessions.retrieve(opened)
    with pytest.raises(shapes.ShapeError, match=r"Session\.payment_status"), store.begin() as book:
        till.expire(book, till.find_session(book, opened))
    with store.begin() as book:
        book.save(kept)


def test_every_answer_and_event_is_what_the_sdk_says(twin: Twin, client: stripe.StripeClient) -> None:
    for currency in ("eur", "usd", "jpy"):
        price = {"currency": currency, "unit_amount": 5000, "product_data": {"name": "A"}}
        for act in ("pay", "later", "refuse", "decline", "expire", "dispute", "inquiry", "refund"):
            _play(twin, client, act, open_session(client, line_items=[{"quantity": 2, "price_data": price}]).id)
    folders = ("checkout/sessions", "events", "refunds", "disputes", "radar/early_fraud_warnings", "charges")
    answers = [_get(twin, f"{folder}?limit=100") for folder in (*folders, "payment_intents")]
    answers.append(_get(twin, "checkout/sessions?limit=100&expand[]=data.line_items&expand[]=data.payment_intent"))
    bodies = [body for answer in answers for body in answer["data"]]
    assert len({body["object"] for body in bodies}) == 7 and len(bodies) > 200
    assert [fault for body in bodies for fault in shapes.faults(body)] == []


def _play(twin: Twin, client: stripe.StripeClient, act: str, session_id: str) -> None:
    match act:
        case "pay":
            twin.pay(session_id)
            intent = client.v1.checkout.sessions.retrieve(session_id).payment_intent
            client.v1.refunds.create({"payment_intent": str(intent)})
        case "later" | "refuse":
            twin.pay_later(session_id)
            twin.settle_later(session_id, succeed=act == "later")
        case "decline":
            twin.decline(session_id)
        case "dispute" | "inquiry":
            twin.pay(session_id)
            twin.warn(session_id)
            twin.close_dispute(twin.dispute(session_id, inquiry=act == "inquiry"), won=False)
        case "refund":
            twin.pay(session_id)
            twin.settle_refund(twin.refund(session_id, 10, later=True), succeed=False)
        case "expire":
            client.v1.checkout.sessions.expire(session_id)


def _get(twin: Twin, path: str, **headers: str) -> Any:
    return _call(twin, "GET", path, headers=headers).json()


def _call(twin: Twin, method: str, path: str, *, key: str | None = None, **more: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {key or twin.secret_key}", **more.pop("headers", {})}
    return requests.request(method, f"{twin.api_base}/v1/{path}", headers=headers, timeout=10, **more)


# The API


def test_a_session_keeps_its_lines_and_its_words(client: stripe.StripeClient) -> None:
    opened = open_session(client, expand=["line_items"])
    assert opened.metadata.to_dict() == {"order": "G-1", "0": "digits stay a key"}
    assert [line.description for line in opened.line_items.data] == ["Gutschein <b>50</b>"]
    assert [line.amount_total for line in client.v1.checkout.sessions.line_items.list(opened.id).data] == [5000]


def test_a_payment_can_be_followed_to_its_charge(twin: Twin, client: stripe.StripeClient) -> None:
    session_id = open_session(client, payment_intent_data={"metadata": {"order": "G-1"}}).id
    twin.pay(session_id)
    intent: Any = client.v1.checkout.sessions.retrieve(session_id, {"expand": ["payment_intent"]}).payment_intent
    assert (intent.status, intent.amount_received, intent.metadata.order) == ("succeeded", 5000, "G-1")
    known = client.v1.payment_intents.retrieve(intent.id, {"expand": ["latest_charge"]})
    assert known.latest_charge.payment_method_details.card.last4 == "4242"  # type: ignore[union-attr]
    assert client.v1.charges.retrieve(known.latest_charge.id).paid  # type: ignore[union-attr,arg-type]


@pytest.mark.parametrize(
    ("spoil", "code", "param"),
    [
        ({"colour": "red"}, "parameter_unknown", "colour"),
        ({"stripe_account[x]": "acct_x"}, "parameter_unknown", "stripe_account"),
        ({"line_items": [{"quantity": "x"}]}, "parameter_invalid_integer", "line_items[0][quantity]"),
        ({"line_items": [{"colour": "red"}]}, "parameter_unknown", "line_items[0][colour]"),
        ({"line_items": [{"price_data": {"currency": "eur"}}]}, "parameter_missing", "line_items[0][price_data]"),
        ({"line_items": [{"quantity": 1}]}, "parameter_missing", "line_items[0][price_data]"),
        ({"line_items": [{"quantity": 1, "price": "price_x"}]}, "resource_missing", "line_items[0][price]"),
        ({"line_items": []}, "parameter_missing", "line_items"),
        ({"line_items": "x"}, "parameter_invalid", "line_items"),
        ({"mode": "setup"}, "parameter_invalid", "mode"),
        ({"mode": "gift"}, "parameter_invalid", "mode"),
        ({"success_url": ""}, "parameter_missing", "success_url"),
        ({"locale": "xx"}, "parameter_invalid", "locale"),
        ({"metadata": {"a": {"b": "c"}}}, "parameter_invalid", "metadata[a]"),
        ({"metadata": {"a": "x" * 501}}, None, "metadata[a]"),
        ({"client_reference_id": "x" * 201}, None, "client_reference_id"),
        ({"expires_at": 1}, None, "expires_at"),
        ({"expires_at": 99999999999}, None, "expires_at"),
        ({"expires_at": "9" * 30}, None, "expires_at"),
        ({"expand": ["colour"]}, None, "expand"),
        ({"expand": ["id.x"]}, None, "expand"),
    ],
)
def test_a_parameter_that_stripe_does_not_take_is_a_400(
    client: stripe.StripeClient, spoil: dict[str, Any], code: str | None, param: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        open_session(client, **spoil)
    assert refused.value.http_status == (404 if code == "resource_missing" else 400)
    assert str(refused.value.param).startswith(param) and code in (None, refused.value.code)


@pytest.mark.parametrize(
    "form", ["mode=a&mode[x]=b", "a[b]=1&a=2", "[]=1", "=", "%FF=%FF", "line_items[0]=x&line_items[0][a]=y", "a" * 999,
             "line_items[999999999]=x", "line_items[0][price_data][unit_amount]=" + "9" * 5000,
             "a" + "[a]" * 2000 + "=1"],
)  # fmt: skip
def test_a_garbled_form_is_a_400_and_never_a_500(twin: Twin, form: str) -> None:
    head = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = _call(twin, "POST", "checkout/sessions", data=form, headers=head)
    assert answer.status_code == 400 and answer.json()["error"]["type"] == "invalid_request_error"


def test_without_the_right_key_nothing_is_answered(twin: Twin) -> None:
    for key in ("sk_test_other", "é", " "):
        answer = _call(twin, "GET", "events", key=key.encode().decode("latin-1"))
        assert answer.status_code == 401 and answer.json()["error"]["type"] == "invalid_request_error"
    assert requests.get(f"{twin.api_base}/v1/events", timeout=5).status_code == 401


def test_an_address_that_the_twin_does_not_know_is_answered_in_stripes_shape(twin: Twin) -> None:
    for method, path in (("GET", "customers"), ("POST", "events/evt_1"), ("DELETE", "events"), ("PUT", "events")):
        answer = _call(twin, method, path)
        assert answer.status_code in (404, 405) and answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["checkout/sessions/x", "payment_intents/x", "charges/x", "refunds/x", "events/x"])
def test_an_unknown_id_is_resource_missing(twin: Twin, path: str) -> None:
    answer = _call(twin, "GET", path)
    assert answer.status_code == 404 and answer.json()["error"]["code"] == "resource_missing"
    assert re.fullmatch("req_[A-Za-z0-9]{14}", answer.headers["Request-Id"])


def test_the_objects_of_an_account_are_its_own(twin: Twin) -> None:
    alba, berg = connect(twin, "acct_alba"), connect(twin, "acct_berg")
    session_id = open_session(alba).id
    twin.pay(session_id)
    intent = str(alba.v1.checkout.sessions.retrieve(session_id).payment_intent)
    for call in (
        lambda: berg.v1.checkout.sessions.retrieve(session_id),
        lambda: berg.v1.payment_intents.retrieve(intent),
        lambda: berg.v1.refunds.create({"payment_intent": intent}),
    ):
        with pytest.raises(stripe.InvalidRequestError, match="No such"):
            call()
    assert berg.v1.events.list().data == [] and len(alba.v1.events.list().data) == 3


def test_a_repeated_key_replays_the_answer_and_says_so(twin: Twin) -> None:
    form, head = {"payment_intent": "pi_none"}, {"Idempotency-Key": "k-1"}
    assert _call(twin, "POST", "refunds", data=form, headers=head).status_code == 404  # stores nothing
    session = {"mode": "payment", "success_url": SHOP, "line_items[0][price_data][currency]": "eur",
               "line_items[0][price_data][unit_amount]": "100",
               "line_items[0][price_data][product_data][name]": "A"}  # fmt: skip
    first, second = (_call(twin, "POST", "checkout/sessions", data=session, headers=head) for _ in range(2))
    assert first.status_code == second.status_code == 200 and first.text == second.text
    assert ("Idempotent-Replayed" in first.headers, second.headers["Idempotent-Replayed"]) == (False, "true")
    other = _call(twin, "POST", "checkout/sessions", data={**session, "locale": "de"}, headers=head)
    assert (other.status_code, other.json()["error"]["type"]) == (400, "idempotency_error")
    clock.move(timedelta(hours=25))
    assert _call(twin, "POST", "checkout/sessions", data=session, headers=head).json()["id"] != first.json()["id"]


def test_a_refund_is_whole_or_in_parts_and_never_more_than_was_paid(twin: Twin, client: stripe.StripeClient) -> None:
    session_id = open_session(client).id
    twin.pay(session_id)
    intent = str(client.v1.checkout.sessions.retrieve(session_id).payment_intent)
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded"):
        client.v1.refunds.create({"payment_intent": intent, "amount": 5001})
    part = client.v1.refunds.create({"payment_intent": intent, "amount": 2000, "reason": "requested_by_customer"})
    assert (part.amount, part.status) == (2000, "succeeded")
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded"):
        client.v1.refunds.create({"payment_intent": intent, "amount": 3001})
    rest = client.v1.refunds.create({"charge": str(part.charge)})
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"payment_intent": intent})
    assert rest.amount == 3000 and refused.value.code == "charge_already_refunded"
    assert [one.id for one in client.v1.refunds.list({"payment_intent": intent}).data] == [rest.id, part.id]
    assert client.v1.charges.retrieve(str(part.charge)).refunded


def test_what_was_not_paid_cannot_be_refunded(twin: Twin, client: stripe.StripeClient) -> None:
    session_id = open_session(client).id
    twin.pay_later(session_id)
    intent = str(client.v1.checkout.sessions.retrieve(session_id).payment_intent)
    for wrong in ({"payment_intent": intent}, {"payment_intent": session_id}, {}, {"charge": intent}):
        with pytest.raises(stripe.InvalidRequestError):
            client.v1.refunds.create(wrong)  # type: ignore[arg-type]


def test_lists_come_in_pages_and_filtered_by_time(twin: Twin) -> None:
    client = connect(twin, "acct_lists")
    ids = [open_session(client).id for _ in range(5)]
    assert [one.id for one in client.v1.checkout.sessions.list({"limit": 2}).auto_paging_iter()] == ids[::-1]
    back = client.v1.checkout.sessions.list({"limit": 2, "ending_before": ids[0]})
    assert [one.id for one in back.data] == [ids[2], ids[1]] and back.has_more
    for session_id in ids:
        twin.pay(session_id, deliver=False)
        clock.move(timedelta(minutes=1))
    now = int(clock.now().timestamp())
    recent = client.v1.events.list({"type": "checkout.session.*", "created": {"gt": now - 130, "lte": now}})
    assert [event.data.object["id"] for event in recent.data] == ids[:2:-1]
    lost = client.v1.events.list({"delivery_success": False, "types": ["checkout.session.completed"]})
    assert len(lost.data) == 5
    assert len(client.v1.checkout.sessions.list({"status": "open"}).data) == 0
    with pytest.raises(stripe.InvalidRequestError, match="between 1 and 100"):
        client.v1.events.list({"limit": 101})
    with pytest.raises(stripe.InvalidRequestError, match="No such"):
        client.v1.events.list({"starting_after": "evt_x"})


def test_a_session_that_is_over_expires_by_being_read_and_leaves_one_event(twin: Twin) -> None:
    client = connect(twin, "acct_over")
    session_id = open_session(client).id
    clock.move(timedelta(days=1, seconds=1))
    assert [client.v1.checkout.sessions.retrieve(session_id).status for _ in range(3)] == ["expired"] * 3
    assert [event.type for event in client.v1.events.list().data] == ["checkout.session.expired"]
    assert requests.get(f"{twin.api_base}/pay/{session_id}", timeout=5).status_code == 200


def test_live_keys_and_foreign_addresses_are_refused(tmp_path: Path) -> None:
    known = {"store": tmp_path / "twin.sqlite", "webhook_secret": "whsec_x", "public_url": "http://127.0.0.1:1"}
    for key in ("sk_live_x", "", "rk_test_x"):
        with pytest.raises(ValueError, match="sk_test_"):
            create_twin(secret_key=key, webhook_url="", **known)  # type: ignore[arg-type]
    for url in ("http://shop.example/hook", "https://10.0.0.1/", "ftp://127.0.0.1/", "http://127.0.0.1.shop.example/"):
        with pytest.raises(ValueError, match="on this machine"):
            create_twin(secret_key="sk_test_x", webhook_url=url, **known)  # type: ignore[arg-type]


def test_a_verb_that_does_not_fit_says_why(twin: Twin, client: stripe.StripeClient) -> None:
    session_id = open_session(client).id
    with pytest.raises(WireError, match="does not wait"):
        twin.settle_later(session_id, succeed=True)
    twin.pay(session_id)
    with pytest.raises(WireError, match="status of `complete`"):
        twin.pay_later(session_id)
    with pytest.raises(KeyError):
        twin.signed("evt_none")
