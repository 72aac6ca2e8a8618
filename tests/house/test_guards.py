"""Every door has a guard: no page without a room, no room without a guard, nothing of one shop for another."""

import base64
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
from pydantic import SecretStr
from werkzeug.routing import Rule

import blueprints
import config
import database
from app import create_app
from blueprints import Guard
from blueprints.api import calls
from domain import api_keys, batches, fulfilment, holds
from domain.states import BatchKind, StepName, VoucherType
from effects import voucher as vouchers
from effects import work
from models import TABLES, IdempotencyRecord, Merchant, Order, Step, Stray, Voucher
from tests import cast as casting
from tests import reports, sales
from tests.browser import Browser

LIVE = {
    "stripe_secret_key": SecretStr("sk_live_" + "a" * 24),
    "stripe_api_base": "",
    "secret_key": SecretStr("s" * 40),
    "code_keys": SecretStr(f"k1:{base64.b64encode(bytes(32)).decode()}"),
}


def _rules(app: flask.Flask, guard: Guard | None = None) -> list[Rule]:
    """Every address behind a guard, or of the whole house."""
    guards = app.extensions["guards"]
    return [
        rule for rule in app.url_map.iter_rules()
        if rule.endpoint != "static" and (guard is None or guards.get(_room(rule)) == guard)
    ]  # fmt: skip


def _room(rule: Rule) -> str:
    return rule.endpoint.rpartition(".")[0]


def _methods(rule: Rule) -> list[str]:
    return sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})


def _address(app: flask.Flask, rule: Rule, values: dict[str, Any]) -> str:
    missing = rule.arguments - values.keys()
    assert not missing, f"{rule.rule} takes {missing}: teach this test an id of that kind"
    with app.test_request_context():
        return flask.url_for(rule.endpoint, **{name: values[name] for name in rule.arguments})


# Anybody's ids: what an address needs to be one.
ANY = {
    "number": "G-10001", "step_id": 1, "public_id": "vch_1", "unit_no": 1, "token": "t", "shop": "cafe-alba",
    "key_id": "0" * 12, "batch_id": "bat_1", "voucher_id": "vch_1", "hold_id": "hld_1", "name": "errors",
    "stray_id": 1,
}  # fmt: skip


def test_every_address_belongs_to_a_guarded_room(app: flask.Flask) -> None:
    unguarded = [rule.rule for rule in _rules(app) if _room(rule) not in app.extensions["guards"]]
    assert unguarded == []
    assert set(app.extensions["guards"].values()) <= set(Guard)


def test_a_room_that_was_registered_past_the_list_is_closed(settings: config.Settings) -> None:
    app = create_app(settings)
    app.add_url_rule("/open", "open", lambda: "secret")
    stray = flask.Blueprint("stray", __name__)
    stray.add_url_rule("/stray", "page", lambda: "secret")
    app.register_blueprint(stray)
    for path in ("/open", "/stray"):
        assert app.test_client().get(path).status_code == 404
    database.db.obj.close_all()


def test_the_dashboard_is_behind_the_log_in_and_the_tills_behind_their_key(app: flask.Flask) -> None:
    rooms = {"dashboard": Guard.SIGNED_IN, "api": Guard.API_KEY, "webhooks": Guard.SIGNED_BODY}
    published = {"docs.show_contract"}  # what the API takes and answers is no secret
    for rule in _rules(app):
        if rule.endpoint in published:
            continue
        for start, guard in (("/dashboard", "dashboard"), ("/api", "api"), ("/webhooks", "webhooks")):
            if rule.rule.startswith(start):
                assert app.extensions["guards"][_room(rule)] == rooms[guard], rule.rule


@pytest.mark.req("T7", "G11")
def test_without_a_log_in_every_page_of_the_dashboard_leads_to_the_log_in(app: flask.Flask, cast: casting.Cast) -> None:
    rules = _rules(app, Guard.SIGNED_IN)
    assert len(rules) >= 10
    for rule in rules:
        for method in _methods(rule):
            address = _address(app, rule, ANY)
            client = app.test_client()
            answer = client.open(address, method=method)
            assert answer.status_code in ((303,) if method == "GET" else (303, 400)), (method, address)
            if answer.status_code == 303:
                assert answer.location.startswith("/login"), (method, address)
            by_htmx = app.test_client().open(address, method=method, headers={"HX-Request": "true"})
            if by_htmx.status_code != 400:
                sent_to = by_htmx.headers.get("HX-Redirect") or by_htmx.location
                assert sent_to and sent_to.startswith("/login"), (method, address)
    database.db.connect(reuse_if_open=True)


@pytest.mark.req("T21")
def test_a_form_of_the_dashboard_without_its_token_is_refused(app: flask.Flask, shops: "Shops") -> None:
    client = _signed_in(app, "anna@alba.example")
    before = _everything()
    for rule in [*_rules(app, Guard.SIGNED_IN), *[rule for rule in _rules(app) if _room(rule) == "auth"]]:
        for method in set(_methods(rule)) - {"GET"}:
            for sent in ({}, {"csrf_token": "forged"}, {"csrf_token": ""}):
                answer = client.open(_address(app, rule, ANY | shops.of_alba), method=method, data=sent)
                assert answer.status_code == 400, (method, rule.rule)
    assert _everything() == before


@pytest.mark.req("T7")
def test_without_a_key_every_call_of_a_till_is_refused(app: flask.Flask, shops: "Shops") -> None:
    before = _everything()
    for rule in _rules(app, Guard.API_KEY):
        for method in _methods(rule):
            for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic YTpi"}):
                address = _address(app, rule, ANY | shops.of_alba)
                answer = app.test_client().open(address, method=method, json={}, headers=headers)
                assert answer.status_code == 401, (method, address)
    database.db.connect(reuse_if_open=True)
    assert _everything() == before


# Nothing of one shop for another


class Shops:
    """Two shops, each with orders that wait for help, and the ids of either's things."""

    def __init__(self, cast: casting.Cast) -> None:
        self.alba, self.berg = cast.alba, cast.berg
        orders = {shop.slug: [_stuck(shop) for _ in range(count)] for shop, count in ((cast.alba, 1), (cast.berg, 2))}
        # The second number of Berg's is one that Alba does not have.
        self.of_alba = _ids(orders["cafe-alba"][-1])
        self.of_berg = _ids(orders["hotel-berg"][-1])


def _stuck(shop: Merchant) -> Order:
    order = reports.paid(shop, f"guest@{shop.slug}.example")
    while (step := fulfilment.claim("w1", order_id=order.id)) is not None:
        if step.name == StepName.DELIVER_RECIPIENT:
            fulfilment.fail(step, fulfilment.Failure("bad_address", is_permanent=True))
        else:
            work.perform(step)
    return order


def _ids(order: Order) -> dict[str, Any]:
    step = order.steps.where(Step.name == StepName.DELIVER_RECIPIENT).get()
    voucher = order.units.get().voucher
    key, _ = api_keys.create(order.merchant, name="Till", scopes=["pos:redeem"], is_test=True)
    batch = batches.draft(
        order.merchant, public_id=f"bat_{secrets.token_hex(16)}", kind=BatchKind.ISSUE, name="Staff", actor="test",
        type=VoucherType.GIFT_CARD, is_test=True,
        rows=[batches.NewRow(row_no=1, key_id="s1", sealed=b"x", value_minor=100, problem="balance:zero")],
    )  # fmt: skip
    with database.transaction():
        held = holds.place(
            voucher.id, amount_minor=100, currency="EUR", operation_key=secrets.token_hex(8), actor="test"
        )
    session_id = f"cs_test_{secrets.token_hex(8)}"
    stray = Stray.create(merchant=order.merchant, session_id=session_id, amount_minor=100, currency="EUR")
    return {
        "number": order.number, "step_id": step.id, "public_id": voucher.public_id, "unit_no": 1,
        "key_id": key.key_id, "batch_id": batch.public_id, "voucher_id": voucher.public_id,
        "hold_id": held.hold.public_id, "stray_id": stray.id,
    }  # fmt: skip


def _everything() -> dict[str, list[dict[str, Any]]]:
    """Every row of every table."""
    return {
        table.__name__: sorted(table.select().dicts(), key=lambda row: str(sorted(row.items(), key=str)))
        for table in TABLES
    }


def _signed_in(app: flask.Flask, email: str) -> Browser:
    client: Browser = app.test_client()  # type: ignore[assignment]
    sales.sign_in(client, email, casting.PASSWORD)
    return client


@pytest.fixture
def shops(cast: casting.Cast) -> Iterator[Shops]:
    yield Shops(cast)


@pytest.mark.req("G11", "T6")
@pytest.mark.parametrize("email", ["anna@alba.example", "ben@alba.example"])
def test_nothing_of_another_shop_can_be_seen_or_changed(app: flask.Flask, shops: Shops, email: str) -> None:
    client = _signed_in(app, email)
    token = re.search(r'name="csrf-token"[^>]*content="([^"]+)"', client.get("/dashboard").text)
    assert token, "the dashboard carries no CSRF token"
    headers = {"X-CSRFToken": token.group(1)}
    form = {"token": "1", "email": "evil@example.com", "reason": "x", "language": "de", "shop": "hotel-berg"}
    before, tried = _everything(), 0
    for rule in _rules(app, Guard.SIGNED_IN):
        if not rule.arguments:
            continue
        for values in _mixtures(rule, shops):
            for method in _methods(rule):
                for mode in ({}, {"HX-Request": "true"}):
                    address = _address(app, rule, values)
                    answer = client.open(address, method=method, data=form, headers=headers | mode)
                    assert answer.status_code == 404, (method, address, answer.status_code)
                    assert "hotel-berg.example" not in answer.text
                    tried += 1
    assert tried >= 20
    assert _everything() == before


def _mixtures(rule: Rule, shops: Shops) -> Iterator[dict[str, Any]]:
    """Every mixture of own and foreign ids in an address that has at least one foreign one."""
    names = sorted(rule.arguments)
    for pattern in range(1, 2 ** len(names)):
        foreign = {name for bit, name in enumerate(names) if pattern >> bit & 1}
        yield {name: (shops.of_berg if name in foreign else shops.of_alba)[name] for name in names}


@pytest.mark.req("G11", "T6")
def test_the_same_addresses_open_for_their_own_people(app: flask.Flask, shops: Shops) -> None:
    client = _signed_in(app, "carla@berg.example")
    for rule in _rules(app, Guard.SIGNED_IN):
        if "GET" in _methods(rule):
            assert client.get(_address(app, rule, ANY | shops.of_berg)).status_code == 200, rule.rule


@pytest.mark.req("G11", "T6")
def test_nobody_can_choose_a_shop_that_they_do_not_work_for(app: flask.Flask, shops: Shops) -> None:
    client = _signed_in(app, "anna@alba.example")
    token = re.search(r'name="csrf-token"[^>]*content="([^"]+)"', client.get("/dashboard").text)
    assert token
    answer = client.post("/dashboard/shop", data={"shop": "hotel-berg", "csrf_token": token.group(1)})
    assert answer.status_code == 404
    assert shops.of_berg["number"] not in client.get("/dashboard/orders").text


@pytest.mark.req("G11", "T6")
def test_a_till_finds_no_voucher_of_another_shop_and_changes_nothing(app: flask.Flask, shops: Shops) -> None:
    everything = list(api_keys.Scope)
    _, secret = api_keys.create(shops.alba, name="Till", scopes=everything, is_test=True)
    foreign = Voucher.get(Voucher.public_id == shops.of_berg["public_id"])
    with app.app_context():
        code = vouchers.read_code(foreign)
    books = _books()
    bill, change = {"amount_minor": 100, "currency": "EUR"}, {"amount_minor": 100, "reason": "x"}
    bodies: dict[str, dict[str, object]] = {
        "lookup": {"code": code}, "validate": bill | {"code": code}, "redeem": bill | {"code": code},
        "hold": bill | {"code": code}, "redeem_by_id": bill, "adjust": change,
        "change_voucher": {"status": "cancelled"},
        "refund": change | {"transaction_id": foreign.entries.first().public_id}, "extend": {"ttl_seconds": 60},
    }  # fmt: skip
    of_nobody = {"list_vouchers", "list_transactions", "create_voucher", "story", "reverse"}
    for number, call in enumerate(calls.CALLS):
        with app.test_request_context():
            ids = {name: shops.of_berg[name] for name in ("voucher_id", "hold_id") if f"{{{name}}}" in call.path}
            address = flask.url_for(f"api.{call.name}", **ids)
        body = None if call.method == "GET" else bodies.get(call.name, {})
        headers = {"Authorization": f"Bearer {secret}", "Idempotency-Key": f"k-{number}"}
        answer = app.test_client().open(address, method=call.method, json=body, headers=headers)
        assert shops.of_berg["public_id"] not in answer.text
        assert shops.of_berg["hold_id"] not in answer.text
        if call.name == "validate":
            assert (answer.json["valid"], answer.json["error"]) == (False, "voucher_not_found")
        elif call.name not in of_nobody:
            assert answer.status_code == 404, (call.name, answer.text)
    database.db.connect(reuse_if_open=True)
    assert _books() == books


def _books() -> dict[str, list[dict[str, Any]]]:
    """Everything but what a till's own call leaves behind: its key's last use and its stored answers."""
    left = ("ApiKey", IdempotencyRecord.__name__)
    return {name: rows for name, rows in _everything().items() if name not in left}


# Demo, test and live


def test_beside_a_real_stripe_key_there_is_no_twin_and_no_mailbox(app: flask.Flask, client: Browser) -> None:
    assert not app.extensions["outside"].settings.is_demo
    assert "demo" not in app.extensions["guards"]
    for path in ("/demo/stripe/", "/demo/stripe/v1/checkout/sessions", "/demo/mailbox", "/demo"):
        assert client.get(path).status_code == 404
        assert client.post(path).status_code == 404


def test_without_a_stripe_key_the_twin_takes_the_payments(settings: config.Settings, tmp_path: Path) -> None:
    demo = settings.model_copy(update={"stripe_secret_key": None, "stripe_webhook_secret": None, "data_dir": tmp_path})
    app = create_app(demo)
    assert app.extensions["guards"]["demo"] == Guard.PUBLIC
    answer = app.test_client().get("/demo/stripe/v1/checkout/sessions")
    assert (answer.status_code, answer.json["error"]["type"]) == (401, "invalid_request_error")
    assert demo.stripe_key.startswith("sk_test_")
    database.db.obj.close_all()


@pytest.mark.parametrize(("missing", "named"), [("secret_key", "SECRET_KEY"), ("code_keys", "CODE_KEYS")])
def test_with_a_live_key_the_app_refuses_to_start_without_its_secrets(
    settings: config.Settings, missing: str, named: str
) -> None:
    live = settings.model_copy(update=LIVE | {missing: None})
    with pytest.raises(config.ConfigError, match=named):
        create_app(live)
    database.db.obj.close_all()


def test_with_a_live_key_and_its_secrets_the_app_starts_and_is_not_a_test(settings: config.Settings) -> None:
    app = create_app(settings.model_copy(update=LIVE))
    assert app.extensions["outside"].settings.is_live
    assert app.jinja_env.globals["test_mode"] is False
    assert "demo" not in app.extensions["guards"]
    database.db.obj.close_all()


def test_the_rooms_of_the_list_are_the_rooms_of_the_house(app: flask.Flask) -> None:
    listed = {room.name for room, _ in blueprints.rooms(is_demo=False)}
    assert listed == app.blueprints.keys()
