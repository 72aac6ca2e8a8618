"""Connected accounts: opened, led through Stripe's questions, restricted, disconnected; as the real SDK sees them."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests
import stripe
from werkzeug.test import Client

from domain import clock
from gateways.stripe_twin import Twin
from tests.gateways.test_stripe_twin import SHOP, connect, open_session

CARDS = {"merchant": {"capabilities": {"card_payments": {"requested": True}}}}
PARTS = ["configuration.merchant", "identity", "defaults", "requirements", "future_requirements"]
REQUIREMENTS = "v2.core.account[requirements].updated"
CAPABILITY = "v2.core.account[configuration.merchant].capability_status_updated"


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


@pytest.fixture
def browser(twin: Twin) -> Client:
    return twin.app.test_client()


def opened(client: stripe.StripeClient, **changes: Any) -> Any:
    facts = {"contact_email": "owner@example.org", "display_name": "Café <Alba>", "dashboard": "full",
             "identity": {"country": "at"}, "configuration": CARDS, "include": PARTS, **changes}  # fmt: skip
    return client.v2.core.accounts.create(facts)  # type: ignore[arg-type]


def status(client: stripe.StripeClient, account: str) -> tuple[str, int]:
    """(status of cards, number of open questions)."""
    known: Any = client.v2.core.accounts.retrieve(account, {"include": ["configuration.merchant", "requirements"]})
    return known.configuration.merchant.capabilities.card_payments.status, len(known.requirements.entries)


def link(client: stripe.StripeClient, account: str) -> str:
    """The path of a fresh link to Stripe's questions."""
    urls = {"refresh_url": f"{SHOP}/again", "return_url": f"{SHOP}/back"}
    case: Any = {"type": "account_onboarding", "account_onboarding": urls}
    made = client.v2.core.account_links.create({"account": account, "use_case": case})
    return made.url.partition("/connect/")[1] + made.url.partition("/connect/")[2]


def test_a_new_account_owes_answers_and_takes_no_cards(twin: Twin, client: stripe.StripeClient) -> None:
    account = opened(client)
    assert (account.display_name, account.identity.country, account.livemode) == ("Café <Alba>", "at", False)
    assert status(client, account.id) == ("restricted", 4)
    assert account.requirements.summary.minimum_deadline.status == "currently_due"
    with pytest.raises(stripe.InvalidRequestError, match="cannot currently make charges"):
        open_session(connect(twin, account.id))


def test_what_was_not_asked_for_is_null(client: stripe.StripeClient) -> None:
    account = opened(client, include=[])
    assert [account.configuration, account.identity, account.defaults, account.requirements] == [None] * 4
    known: Any = client.v2.core.accounts.retrieve(account.id, {"include": ["identity"]})
    assert known.identity.country == "at" and known.requirements is None
    assert account.id in [one.id for one in client.v2.core.accounts.list().data]


def test_a_key_makes_one_account(client: stripe.StripeClient) -> None:
    facts: Any = {"contact_email": "a@example.org", "configuration": CARDS}
    made = {client.v2.core.accounts.create(facts, {"idempotency_key": "account-1"}).id for _ in range(2)}
    assert len(made) == 1
    with pytest.raises(stripe.IdempotencyError):
        client.v2.core.accounts.create({**facts, "display_name": "B"}, {"idempotency_key": "account-1"})


@pytest.mark.parametrize(
    "wrong", [{"colour": "red"}, {"dashboard": "wide"}, {"include": ["all"]}, {"identity": {"country": "AUT"}},
              {"configuration": {"merchant": {"capabilities": {"card_payments": {}}}}}, {"contact_email": None}],
)  # fmt: skip
def test_a_field_that_stripe_does_not_take_is_a_400(client: stripe.StripeClient, wrong: dict[str, Any]) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        opened(client, **wrong)
    assert refused.value.http_status == 400


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"a=b", b"\xff", b"[" * 5000])
def test_a_garbled_body_is_a_400_and_never_a_500(twin: Twin, body: bytes) -> None:
    head = {"Authorization": f"Bearer {twin.secret_key}", "Content-Type": "application/json"}
    for path in ("accounts", "account_links"):
        answer = requests.post(f"{twin.api_base}/v2/core/{path}", data=body, headers=head, timeout=5)
        assert answer.status_code == 400 and answer.json()["error"]["message"]


def test_forms_and_json_are_not_mixed_up(twin: Twin) -> None:
    head = {"Authorization": f"Bearer {twin.secret_key}"}
    assert (
        requests.post(f"{twin.api_base}/v1/refunds", json={"charge": "x"}, headers=head, timeout=5).status_code == 400
    )
    form = requests.post(f"{twin.api_base}/v2/core/accounts", data={"a": "b"}, headers=head, timeout=5)
    assert form.status_code == 400 and "application/json" in form.json()["error"]["message"]


def test_the_questions_finished_make_the_account_ready(
    twin: Twin, client: stripe.StripeClient, browser: Client
) -> None:
    account = opened(client).id
    path = link(client, account)
    page = browser.get(path, headers={"Accept-Language": "de"})
    assert page.status_code == 200 and 'lang="de"' in page.text and "Café &lt;Alba&gt;" in page.text
    assert "<script" not in page.text and page.text.count("<button") == 3 and page.text.count("<h1") == 1
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and policy.endswith(f"form-action 'self' {SHOP}")
    assert re.search(r'action="([^"]+)"', page.text)[1] == path  # type: ignore[index]
    assert browser.post(path, data={"act": "finish"}).location == f"{SHOP}/back"
    assert status(client, account) == ("active", 0)
    assert open_session(connect(twin, account)).status == "open"


@pytest.mark.parametrize(("act", "owed"), [("leave_open", 1), ("back", 4), ("", 4)])
def test_leaving_early_leads_back_with_questions_open(
    client: stripe.StripeClient, browser: Client, act: str, owed: int
) -> None:
    account = opened(client).id
    path = link(client, account)
    assert "Set up your account" in browser.get(path).text
    assert browser.post(path, data={"act": act}).location == f"{SHOP}/back"
    assert status(client, account) == ("restricted", owed)


def test_a_link_is_for_one_visit_within_five_minutes(client: stripe.StripeClient, browser: Client) -> None:
    account = opened(client).id
    used, over, unseen = (link(client, account) for _ in range(3))
    assert browser.get(used).status_code == 200
    assert browser.get(used).location == f"{SHOP}/again"
    assert browser.post(unseen, data={"act": "finish"}).location == f"{SHOP}/again"
    clock.move(timedelta(minutes=5, seconds=1))
    assert browser.get(over).location == f"{SHOP}/again"
    assert status(client, account) == ("restricted", 4)
    assert browser.post(used, data={"act": "finish"}).location == f"{SHOP}/back"
    assert browser.post(used, data={"act": "leave_open"}).location == f"{SHOP}/again"
    assert status(client, account) == ("active", 0)
    assert browser.get("/connect/acctlink_none").status_code == 404


def test_thin_events_tell_of_an_account_and_lead_to_it(twin: Twin, client: stripe.StripeClient) -> None:
    account = opened(client).id
    twin.finish_onboarding(account)
    twin.restrict(account)
    mine = [one for one in twin.thin_events() if one["context"] == account]
    assert [one["type"] for one in mine] == [REQUIREMENTS, CAPABILITY] * 2
    names = set()
    for one in mine:
        body, headers = twin.signed(one["id"])
        note: Any = client.parse_event_notification(body, headers["Stripe-Signature"], twin.webhook_secret)
        names.add(type(note).__name__)
        assert str(note.context) == account and note.fetch_related_object().id == account
        assert b"updated_capability" not in body
    assert note.fetch_event().data.updated_capability == "card_payments"
    assert len(names) == 2 and not any(name.startswith("Unknown") for name in names)
    assert status(client, account) == ("restricted", 1)


def test_a_ready_account_sells_and_its_events_name_it(twin: Twin, client: stripe.StripeClient) -> None:
    account = twin.connect()
    alba, berg = connect(twin, account), connect(twin, twin.connect(name="Hotel Berg"))
    session_id = open_session(alba, payment_intent_data={"application_fee_amount": 150}).id
    body, headers = twin.signed(twin.pay(session_id))
    event: Any = client.construct_event(body, headers["Stripe-Signature"], twin.webhook_secret)
    assert (event.account, event.data.object.id) == (account, session_id)
    intent: Any = alba.v1.payment_intents.retrieve(str(alba.v1.checkout.sessions.retrieve(session_id).payment_intent))
    assert intent.application_fee_amount == 150
    dispute_id, warning_id = twin.dispute(session_id), twin.warn(session_id)
    thin, _ = twin.signed_thin(twin.event_about(dispute_id))
    assert f'"context": "{account}"'.encode() in thin
    for other in (client, berg):
        for call, known in ((other.v1.disputes, dispute_id), (other.v1.radar.early_fraud_warnings, warning_id),
                            (other.v1.checkout.sessions, session_id)):  # fmt: skip
            with pytest.raises(stripe.InvalidRequestError, match="No such"):
                call.retrieve(known)
        assert other.v1.disputes.list().data == []
    with pytest.raises(stripe.InvalidRequestError) as refused:
        berg.v2.core.accounts.retrieve(account)
    assert refused.value.http_status == 404


def test_a_restricted_account_keeps_its_old_payments(twin: Twin) -> None:
    account = twin.connect()
    alba = connect(twin, account)
    session_id = open_session(alba).id
    twin.pay(session_id)
    twin.restrict(account)
    with pytest.raises(stripe.InvalidRequestError, match="cannot currently make charges"):
        open_session(alba)
    intent = str(alba.v1.checkout.sessions.retrieve(session_id).payment_intent)
    assert alba.v1.refunds.create({"payment_intent": intent}).status == "succeeded"


def test_after_disconnecting_every_call_for_the_account_is_403(twin: Twin, client: stripe.StripeClient) -> None:
    account = twin.connect()
    alba = connect(twin, account)
    session_id = open_session(alba).id
    path = link(client, account)
    event_id = twin.disconnect(account)
    body, headers = twin.signed(event_id)
    event: Any = client.construct_event(body, headers["Stripe-Signature"], twin.webhook_secret)
    assert (event.type, event.account) == ("account.application.deauthorized", account)
    calls: tuple[Callable[[], object], ...] = (
        lambda: alba.v1.checkout.sessions.retrieve(session_id),
        lambda: open_session(alba),
        alba.v1.events.list,
        lambda: client.v2.core.accounts.retrieve(account),
        lambda: link(client, account),
    )
    for call in calls:
        with pytest.raises(stripe.PermissionError) as refused:
            call()
        assert refused.value.json_body["error"]["code"] == "account_invalid"
    assert twin.app.test_client().get(path).location == f"{SHOP}/again"
    assert twin.delivery_state(event_id) != "unsubscribed"


def test_an_account_that_nobody_knows_is_not_found(client: stripe.StripeClient) -> None:
    for call in (lambda: client.v2.core.accounts.retrieve("acct_none"), lambda: link(client, "acct_none")):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            call()
        assert (refused.value.http_status, refused.value.code) == (404, "not_found")


def test_an_account_can_be_renamed(client: stripe.StripeClient) -> None:
    account = opened(client).id
    changed = client.v2.core.accounts.update(account, {"display_name": "Alba & Söhne", "metadata": {"shop": "alba"}})
    assert changed.display_name == "Alba & Söhne"
    assert client.v2.core.accounts.retrieve(account).metadata.to_dict() == {"shop": "alba"}  # type: ignore[union-attr]
