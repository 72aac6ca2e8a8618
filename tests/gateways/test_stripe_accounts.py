"""Merchants' own Stripe accounts at the gateway, through the real SDK against the running twin."""

from collections.abc import Iterator
from typing import Any

import pytest

from gateways.stripe_accounts import AccountReport, AccountState
from gateways.stripe_checkout import StripeCheckout, StripeRefused, StripeUnavailable
from gateways.stripe_twin import Twin
from tests.stripe_shop import ask, connect, refused_for, scripted_json

CARDS = {"status": "active", "status_details": []}
ACCOUNT: dict[str, Any] = {
    "id": "acct_1",
    "object": "v2.core.account",
    "closed": False,
    "livemode": False,
    "configuration": {"merchant": {"capabilities": {"card_payments": CARDS}}},
    "requirements": {"entries": []},
}


@pytest.fixture(scope="module")
def twin() -> Iterator[Twin]:
    with Twin() as running:
        yield running


@pytest.fixture
def shop(twin: Twin) -> StripeCheckout:
    return connect(twin)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stripe._http_client.HTTPClient.INITIAL_DELAY", 0.01)
    monkeypatch.setattr("stripe._http_client.HTTPClient.MAX_DELAY", 0.02)


def create(shop: StripeCheckout, key: str, **changes: str) -> AccountReport:
    facts = {"email": "alba@example.org", "name": "Café Alba", "country": "AT", **changes}
    return shop.accounts.create(**facts, idempotency_key=key)


def link(shop: StripeCheckout, account: str) -> str:
    back = "https://shop.example/connect"
    return shop.accounts.link(account, refresh_url=f"{back}/again", return_url=f"{back}/back")


def account_with(status: str, *entries: object) -> dict[str, Any]:
    merchant = {"capabilities": {"card_payments": {"status": status}}}
    return ACCOUNT | {"configuration": {"merchant": merchant}, "requirements": {"entries": [*entries]}}


def owed(description: str, *, by: str = "user", deadline: str = "currently_due") -> dict[str, Any]:
    return {"description": description, "awaiting_action_from": by, "minimum_deadline": {"status": deadline}}


def fetched(twin: Twin, body: object) -> AccountReport:
    with scripted_json(body) as base:
        return StripeCheckout(twin.secret_key, webhook_secrets=(), api_base=base).accounts.fetch("acct_1")


def test_a_new_account_owes_answers_before_it_takes_cards(shop: StripeCheckout) -> None:
    report = create(shop, "new-1")
    assert report.account.startswith("acct_") and report.state is not AccountState.READY
    assert report.requirements and not report.is_live
    assert shop.accounts.fetch(report.account) == report
    assert create(shop, "new-1") == report, "the same key makes one account"
    assert create(shop, "new-2").account != report.account


def test_a_link_leads_to_stripes_questions_and_each_is_new(twin: Twin, shop: StripeCheckout) -> None:
    account = create(shop, "link-1").account
    first, second = link(shop, account), link(shop, account)
    assert first != second and first.startswith(f"{twin.api_base}/")


def test_an_answered_account_is_ready_and_takes_payments_in_its_own_name(twin: Twin, shop: StripeCheckout) -> None:
    account = create(shop, "ready-1").account
    twin.finish_onboarding(account)
    ready = shop.accounts.fetch(account)
    assert (ready.state, ready.requirements) == (AccountState.READY, ())
    assert shop.at(account).open_session(ask()).account == account
    twin.restrict(account)
    restricted = shop.accounts.fetch(account)
    assert restricted.state is AccountState.RESTRICTED and restricted.requirements


def test_thin_news_of_an_account_names_the_one_to_fetch(twin: Twin, shop: StripeCheckout) -> None:
    account = create(shop, "news-1").account
    twin.finish_onboarding(account)
    told = [body for body in twin.thin_events() if body["related_object"]["id"] == account]
    assert {body["type"] for body in told} == {
        "v2.core.account[requirements].updated",
        "v2.core.account[configuration.merchant].capability_status_updated",
    }
    for body in told:
        signed, headers = twin.sign(body)
        event = shop.read_event(signed, headers["Stripe-Signature"])
        assert (event.type, event.subject_id, event.account) == (body["type"], account, account)
    body, headers = twin.signed(twin.disconnect(account))
    event = shop.read_event(body, headers["Stripe-Signature"])
    assert (event.type, event.subject_id) == ("account.application.deauthorized", account)


@pytest.mark.req("F15")
def test_accounts_are_the_platforms_business_for_whomever_the_line_speaks(twin: Twin, shop: StripeCheckout) -> None:
    first, second = create(shop, "whose-1").account, create(shop, "whose-2").account
    assert shop.at(first).accounts.fetch(second).account == second


def test_a_shop_that_left_us_is_gone(twin: Twin, shop: StripeCheckout) -> None:
    account = create(shop, "gone-1").account
    twin.disconnect(account)
    for call in (lambda: shop.accounts.fetch(account), lambda: link(shop, account)):
        with pytest.raises(StripeRefused) as refused:
            call()
        assert refused.value.code == "account_gone"
    with pytest.raises(StripeRefused) as refused:
        shop.at(account).open_session(ask())
    assert refused.value.code == "account_invalid"


def test_an_account_that_stripe_does_not_know_is_gone(shop: StripeCheckout) -> None:
    with pytest.raises(StripeRefused) as refused:
        shop.accounts.fetch("acct_nobody")
    assert refused.value.code == "account_gone"


def test_a_closed_account_is_gone(twin: Twin) -> None:
    body = ACCOUNT | {"closed": True}
    assert refused_for(twin, body, lambda shop: shop.accounts.fetch("acct_1")) == "account_gone"


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        ("403 Forbidden", "account_invalid", "account_gone"),
        ("404 Not Found", "not_found", "account_gone"),
        ("403 Forbidden", "insufficient_permissions", "insufficient_permissions"),
        ("400 Bad Request", "invalid_fields", "invalid_fields"),
        ("401 Unauthorized", "api_key_expired", "key_refused"),
    ],
)
def test_a_key_that_may_not_ask_says_nothing_about_the_account(
    twin: Twin, status: str, code: str, expected: str
) -> None:
    with scripted_json({"error": {"code": code, "message": "No."}}, status=status) as base:
        shop = StripeCheckout(twin.secret_key, webhook_secrets=(), api_base=base)
        with pytest.raises(StripeRefused) as refused:
            shop.accounts.fetch("acct_1")
    assert refused.value.code == expected


@pytest.mark.req("F13")
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("409 Conflict", "idempotency_error"),
        ("429 Too Many Requests", "rate_limit"),
        ("500 Internal Server Error", "api_error"),
        ("503 Service Unavailable", "temporary_session_expired"),
    ],
)
def test_a_stripe_that_is_busy_or_down_is_unavailable(twin: Twin, status: str, kind: str) -> None:
    with scripted_json({"error": {"type": kind, "message": "Later."}}, status=status) as base:
        shop = StripeCheckout(twin.secret_key, webhook_secrets=(), api_base=base)
        for call in (lambda: create(shop, "busy"), lambda: link(shop, "acct_1"), lambda: shop.accounts.fetch("acct_1")):
            with pytest.raises(StripeUnavailable):
                call()


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("active", AccountState.READY),
        ("pending", AccountState.PENDING),
        ("restricted", AccountState.RESTRICTED),
        ("rejected", AccountState.RESTRICTED),
        ("unsupported", AccountState.RESTRICTED),
    ],
)
def test_only_an_active_account_is_ready(twin: Twin, status: str, state: AccountState) -> None:
    assert fetched(twin, account_with(status)).state is state


def test_what_the_owner_owes_now_is_told_once_and_nothing_else(twin: Twin) -> None:
    report = fetched(
        twin,
        account_with(
            "restricted",
            owed("identity.individual.dob"),
            owed("identity.individual.dob", deadline="past_due"),
            owed("defaults.profile.business_url", deadline="past_due"),
            owed("identity.document", by="stripe"),
            owed("identity.relationship", deadline="eventually_due"),
        ),
    )
    assert report.requirements == ("identity.individual.dob", "defaults.profile.business_url")
    assert fetched(twin, ACCOUNT | {"requirements": None}).requirements == ()


@pytest.mark.req("F17")
@pytest.mark.parametrize(
    "body",
    [
        *({name: value for name, value in ACCOUNT.items() if name != field} for field in ACCOUNT if field != "object"),
        ACCOUNT | {"configuration": None},
        ACCOUNT | {"configuration": {"merchant": None}},
        ACCOUNT | {"configuration": {"merchant": {"capabilities": {}}}},
        account_with("splendid"),
        account_with("active", {"description": "x"}),
        account_with("active", "x"),
        ACCOUNT | {"livemode": "no"},
        ACCOUNT | {"id": "../x"},
        {},
        [],
    ],
    ids=str,
)
def test_an_answer_that_lacks_something_is_unclear(twin: Twin, body: object) -> None:
    assert refused_for(twin, body, lambda shop: shop.accounts.fetch("acct_1")) == "answer_unclear"


@pytest.mark.req("T9")
@pytest.mark.parametrize("wrong", ["", "acct_", "alba", "acct_1/persons", "acct_1?x", "../../v1/charges", "acct_é"])
def test_what_is_no_id_never_gets_into_an_address(twin: Twin, wrong: str) -> None:
    shop = StripeCheckout(twin.secret_key, webhook_secrets=(), api_base="http://127.0.0.1:9")
    for call in (lambda: shop.accounts.fetch(wrong), lambda: link(shop, wrong)):
        with pytest.raises(StripeRefused) as refused:
            call()
        assert refused.value.code == "account_id_malformed"
