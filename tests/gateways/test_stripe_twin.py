"""The twin is as good as Stripe: the real SDK finds nothing wrong with it; its pay page works without JavaScript."""

import re
import sqlite3
import threading
import types
from collections.abc import Iterator, Mapping
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
import requests
import stripe
from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from domain import clock
from gateways.stripe_twin import Fault, Twin, create_twin, delivery
from gateways.stripe_twin.wire import API_VERSION, WireError

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

RESOURCES: dict[str, type] = {
    "checkout.session": stripe.checkout.Session,
    "payment_intent": stripe.PaymentIntent,
    "charge": stripe.Charge,
    "refund": stripe.Refund,
    "event": stripe.Event,
    "item": stripe.LineItem,
    "price": stripe.Price,
}
NAMESPACE = {**vars(stripe), "ListObject": stripe.ListObject, "Any": Any, "Dict": dict}


def faults_of(value: Any, hint: Any, path: str) -> list[str]:
    """Where a JSON value differs from an annotation of the SDK's resource classes."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any or (origin or hint).__class__ is str:
        return []
    if origin in (Union, types.UnionType):
        found = [faults_of(value, choice, path) for choice in inner]
        return min(found, key=len)
    if origin is Literal:
        return [] if value in inner else [f"{path}: {value!r} is none of {inner}"]
    if origin is list:
        if not isinstance(value, list):
            return [f"{path}: no list"]
        return [fault for place, one in enumerate(value) for fault in faults_of(one, inner[0], f"{path}[{place}]")]
    return faults_of_object(value, origin or hint, path)


def faults_of_object(value: Any, kind: Any, path: str) -> list[str]:
    if kind is stripe.ListObject:
        return [fault for one in value["data"] for fault in faults_of_resource(one, path)]
    if kind.__name__ in ("UntypedStripeObject", "dict", "Mapping"):
        return [] if isinstance(value, dict) else [f"{path}: no object"]
    if isinstance(kind, type) and issubclass(kind, stripe.StripeObject):
        return faults_of_fields(value, kind, path) if isinstance(value, dict) else [f"{path}: no {kind.__name__}"]
    if kind.__name__ == "Decimal":
        return [] if isinstance(value, str) else [f"{path}: no decimal text"]
    is_right = type(value) is kind or (kind is float and type(value) is int)
    return [] if is_right else [f"{path}: {value!r} is no {kind.__name__}"]


def faults_of_fields(value: dict[str, Any], kind: type, path: str) -> list[str]:
    hints = {}
    for owner in reversed(kind.__mro__[:-1]):
        if (
            "__annotations__" in vars(owner)
            and owner.__module__.startswith("stripe.")
            and owner is not stripe.StripeObject
        ):
            hints |= {name: hint for name, hint in own_hints(owner).items() if not name.startswith("_")}
    hints = {name: hint for name, hint in hints.items() if not name.isupper()}
    found = [f"{path}.{name}: not in the API" for name in value if name not in hints]
    found += [f"{path}.{name}: missing" for name, hint in hints.items() if name not in value and not is_optional(hint)]
    for name, below in value.items():
        if name in hints:
            found += faults_of(below, hints[name], f"{path}.{name}")
    return found


def own_hints(owner: type) -> dict[str, Any]:
    try:
        return get_type_hints(owner, localns=NAMESPACE)
    except NameError as unknown:
        NAMESPACE[str(unknown.name)] = Any  # a class that only a type checker sees
        return own_hints(owner)


def is_optional(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint)


def faults_of_resource(body: Mapping[str, Any], path: str = "") -> list[str]:
    kind = RESOURCES[body["object"]]
    found = faults_of_fields(dict(body), kind, f"{path}/{body['object']}")
    if body["object"] == "event":
        found += faults_of_resource(body["data"]["object"], path)
    return found


def test_the_walker_finds_deliberate_faults(client: stripe.StripeClient) -> None:
    body = open_session(client).to_dict()
    assert faults_of_resource(body) == []
    spoilt = {**body, "amount_total": "5000", "automatic_tax": {"enabled": 1}, "colour": "red"}
    del spoilt["livemode"]
    assert [fault.split(":")[0].rpartition(".")[2] for fault in sorted(faults_of_resource(spoilt))] == [
        "amount_total", "enabled", "colour", "livemode",
    ]  # fmt: skip


def test_every_answer_and_event_is_what_the_sdk_says(twin: Twin, client: stripe.StripeClient) -> None:
    for currency in ("eur", "usd", "jpy"):
        price = {"currency": currency, "unit_amount": 5000, "product_data": {"name": "A"}}
        for act in ("pay", "later", "refuse", "decline", "expire"):
            _play(twin, client, act, open_session(client, line_items=[{"quantity": 2, "price_data": price}]).id)
    answers = [_get(twin, "checkout/sessions?limit=100&expand[]=data.line_items&expand[]=data.payment_intent")]
    answers += [_get(twin, f"{noun}?limit=100") for noun in ("events", "refunds")]
    bodies = [body for answer in answers for body in answer["data"]]
    assert {body["object"] for body in bodies} == {"checkout.session", "event", "refund"} and len(bodies) > 60
    assert [fault for body in bodies for fault in faults_of_resource(body)] == []


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


# Events on their way


class Inbox:
    """A webhook address on loopback that keeps what it gets and answers what it is told to."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.signatures: list[str] = []
        self.answers: list[int] = []
        inbox = self

        class Desk(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                inbox.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                inbox.signatures.append(self.headers["Stripe-Signature"])
                self.send_response(inbox.answers.pop(0) if inbox.answers else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Desk)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def inbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    monkeypatch.setattr(delivery, "RETRY_SECONDS", (0.02, 0.02, 0.02))
    box = Inbox()
    yield box
    box.close()


def test_a_paid_session_is_told_once_and_signed(inbox: Inbox) -> None:
    with Twin(webhook_url=inbox.url) as twin:
        client = connect(twin)
        event_id = twin.pay(open_session(client).id)
        assert twin.drain() and twin.delivery_state(event_id) == "delivered"
        event = client.construct_event(inbox.bodies[0], inbox.signatures[0], twin.webhook_secret)
    assert len(inbox.bodies) == 1
    assert (event.id, event.type, event.api_version) == (event_id, "checkout.session.completed", API_VERSION)


def test_the_thin_form_is_read_by_the_sdk_and_leads_to_the_session(twin: Twin, client: stripe.StripeClient) -> None:
    session_id = open_session(client).id
    body, headers = twin.signed_thin(twin.pay(session_id))
    note: Any = client.parse_event_notification(body, headers["Stripe-Signature"], twin.webhook_secret)
    assert type(note).__name__ == "V1CheckoutSessionCompletedEventNotification"
    assert note.fetch_related_object().payment_status == "paid" and note.related_object.id == session_id


@pytest.mark.req("F4")
def test_a_lost_event_is_on_record_and_never_sent(inbox: Inbox) -> None:
    with Twin(webhook_url=inbox.url) as twin:
        lost = [twin.pay(open_session(connect(twin)).id, deliver=False)]
        twin.switch(Fault.LOSE_EVENTS)
        lost.append(twin.pay(open_session(connect(twin)).id))
        twin.switch(Fault.LOSE_EVENTS, False)
        told = twin.pay(open_session(connect(twin)).id)
        assert twin.drain()
        assert [twin.delivery_state(one) for one in (*lost, told)] == ["lost", "lost", "delivered"]
        assert twin.deliver(lost[0], times=2) == [200, 200]
    assert len(inbox.bodies) == 3


@pytest.mark.req("F1")
def test_a_duplicated_event_is_the_same_event_each_time(inbox: Inbox) -> None:
    with Twin(webhook_url=inbox.url) as twin:
        twin.switch(Fault.DUPLICATE_EVENTS, 3, times=1)
        event_id = twin.pay(open_session(connect(twin)).id)
        assert twin.drain() and len(twin.attempts(event_id)) == 3
    assert len(inbox.bodies) == 3 and len(set(inbox.bodies)) == 1


def test_an_event_is_tried_again_until_it_is_taken(inbox: Inbox) -> None:
    inbox.answers = [500, 302]
    with Twin(webhook_url=inbox.url) as twin:
        event_id = twin.pay(open_session(connect(twin)).id)
        assert twin.drain()
        assert [attempt.status for attempt in twin.attempts(event_id)] == [500, 302, 200]
        assert twin.delivery_state(event_id) == "delivered"


def test_an_event_that_nobody_takes_is_given_up_after_four_tries(inbox: Inbox) -> None:
    inbox.close()
    with Twin(webhook_url=inbox.url) as twin:
        event_id = twin.pay(open_session(connect(twin)).id)
        assert twin.drain() and twin.delivery_state(event_id) == "failed"
        assert [(one.status, one.error) for one in twin.attempts(event_id)] == [(None, "ConnectionError")] * 4
    inbox.thread.join()


def test_a_pending_event_survives_a_restart(inbox: Inbox, tmp_path: Path) -> None:
    store = tmp_path / "twin.sqlite"
    with Twin(store=store, webhook_url=inbox.url) as twin:
        inbox.answers = [500] * 4
        event_id = twin.pay(open_session(connect(twin)).id)
        assert twin.drain() and twin.delivery_state(event_id) == "failed"
    with sqlite3.connect(store) as dead:
        dead.execute("UPDATE delivery SET state = 'pending', attempts = 1, due_at = 0")
    dead.close()
    with Twin(store=store, webhook_url=inbox.url) as twin:
        assert twin.drain() and twin.delivery_state(event_id) == "delivered"


def test_two_twins_on_one_store_send_each_event_once(inbox: Inbox, tmp_path: Path) -> None:
    store = tmp_path / "twin.sqlite"
    with Twin(store=store, webhook_url=inbox.url) as one, Twin(store=store, webhook_url=inbox.url) as other:
        ids = [open_session(connect(twin)).id for twin in (one, other) * 5]
        threads = [
            threading.Thread(target=twin.pay, args=(session_id,))
            for twin, session_id in zip((other, one) * 5, ids, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert one.drain() and other.drain()
    assert len(inbox.bodies) == 10 and len(set(inbox.bodies)) == 10


# The pay page


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


@pytest.mark.parametrize("path", ["/pay/x", "/pay/cs_test_x", "/", "/pay/", "/pay/evt_1", "/favicon.ico"])
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
    assert len(links) == 5 and all(link.startswith("/demo/stripe/") for link in links)
    assert site.post(f"/demo/stripe/pay/{session['id']}/payment").location == SHOP


def test_a_verb_that_does_not_fit_says_why(twin: Twin, client: stripe.StripeClient) -> None:
    session_id = open_session(client).id
    with pytest.raises(WireError, match="does not wait"):
        twin.settle_later(session_id, succeed=True)
    twin.pay(session_id)
    with pytest.raises(WireError, match="status of `complete`"):
        twin.pay_later(session_id)
    with pytest.raises(KeyError):
        twin.signed("evt_none")
