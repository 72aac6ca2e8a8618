"""The error codes of the API are one set: in the source, in the table, in the contract, and provoked here over HTTP."""

import ast
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import flask
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import blueprints.api
import database
from blueprints import limits
from blueprints.api import calls, problems
from domain import clock, idempotency, refusals
from models import Merchant, Voucher
from tests import cast as casting
from tests import till as tills
from tests.till import Counter

ROOT = Path(__file__).parents[2]
# Answered before it is known which call was meant.
WITHOUT_CALL = {"not_found", "method_not_allowed"}
# Where a refusal that a caller of the API hears may be raised.
RULES = ("entries", "holds", "idempotency", "ledger", "redemptions", "statuses", "validation", "vouchers")
Act = Callable[[], TestResponse]


@dataclass
class Stage:
    """A till, an office, and a voucher of 50.00 at Café Alba."""

    app: flask.Flask
    client: FlaskClient
    merchant: Merchant
    till: Counter
    office: Counter
    voucher: Voucher
    code: str

    def sell(self, **facts: object) -> str:
        """Another voucher's code."""
        with self.app.app_context():
            return casting.issue(self.merchant, **facts)[1]  # type: ignore[arg-type]

    def hold(self) -> str:
        """The id of a hold of 20.00."""
        return str(self.till.hold(self.code, 2000).json["hold"]["id"])

    def redeem(self, **facts: object) -> Act:
        """An attempt at a voucher with such facts."""
        code = self.sell(**facts)
        return lambda: self.till.redeem(code)


@pytest.fixture
def stage(app: flask.Flask, client: FlaskClient, merchant: Merchant) -> Iterator[Stage]:
    limits.limiter.reset()
    till = tills.opened(client, merchant)
    office = tills.opened(client, merchant, tills.OFFICE, name="Office")
    voucher, code = casting.issue(merchant)
    yield Stage(app, client, merchant, till, office, voucher, code)
    limits.limiter.reset()


def _rate_limited(stage: Stage) -> Act:
    stranger = Counter(stage.client, stage.till.key, "gv_test_" + "0" * 12 + "_" + "A" * 43)
    for _ in range(60):
        assert stranger.validate(stage.code).status_code == 401
    return lambda: stranger.validate(stage.code)


def _request_in_progress(stage: Stage) -> Act:
    stage.till.validate(stage.code)  # the last use of the key is written now and not again within a minute
    begun, answered = threading.Event(), threading.Event()

    def work() -> idempotency.Answer:
        begun.set()
        answered.wait(timeout=60)
        raise RuntimeError("the first call crashes, so the second may come again")

    def run() -> None:
        with database.connected(), pytest.raises(RuntimeError):
            idempotency.once(
                stage.merchant,
                key=idempotency.scoped("busy", is_test=True),
                route="any",
                fingerprints=("x",),
                work=work,
            )

    def act() -> TestResponse:
        first = threading.Thread(target=run)
        first.start()
        try:
            assert begun.wait(timeout=10)
            return stage.till.redeem(stage.code, key="busy")
        finally:
            answered.set()
            first.join(timeout=20)

    return act


def _internal_error(stage: Stage) -> Act:
    code = stage.sell(expires_at=clock.now() - timedelta(days=1))
    Merchant.update(time_zone="Nowhere/Land").where(Merchant.id == stage.merchant.id).execute()
    return lambda: stage.till.redeem(code)


def _temporarily_unavailable(stage: Stage) -> Act:
    def act() -> TestResponse:
        good = database.db.obj
        database.connect("postgresql://nobody@127.0.0.1:1/nothing?connect_timeout=2")
        try:
            return stage.till.redeem(stage.code)
        finally:
            database.db.initialize(good)

    return act


def _hold_expired(stage: Stage) -> Act:
    hold_id = stage.hold()
    clock.move(timedelta(minutes=15))
    return lambda: stage.till.capture(hold_id)


def _hold_closed(stage: Stage) -> Act:
    hold_id = stage.hold()
    stage.till.call("release", hold_id=hold_id)
    return lambda: stage.till.capture(hold_id)


def _already_reversed(stage: Stage) -> Act:
    stage.till.reverse("late")
    return lambda: stage.till.redeem(stage.code, key="late")


def _voucher_depleted(stage: Stage) -> Act:
    stage.till.redeem(stage.code, 5000)
    return lambda: stage.till.redeem(stage.code, 1)


def _transition_not_allowed(stage: Stage) -> Act:
    casting.set_status(stage.voucher, "cancelled")
    return lambda: stage.office.change(stage.voucher, status="active")


def _refund_exceeds_redemption(stage: Stage) -> Act:
    transaction = stage.till.redeem(stage.code, 100).json["transaction"]
    return lambda: stage.office.refund(transaction, 101)


def _idempotency_conflict(stage: Stage) -> Act:
    stage.till.redeem(stage.code, 100, key="same")
    return lambda: stage.till.redeem(stage.code, 101, key="same")


def _tomorrow() -> object:
    return clock.now() + timedelta(days=1)


# Every code → how a caller comes to hear it. What has to be there before is made first; the act itself books nothing.
PROVOKED: dict[str, Callable[[Stage], Act]] = {
    "malformed_request": lambda on: lambda: on.till.post(tills.VALIDATE, data=b"{", content_type="application/json"),
    "invalid_api_key": lambda on: lambda: Counter(on.client, on.till.key, "gv_test_x").redeem(on.code),
    "insufficient_scope": lambda on: on.till.create,
    "not_found": lambda on: lambda: on.till.post("/api/v1/vouchers/redeems", {}),
    "voucher_not_found": lambda on: lambda: on.till.redeem("7KQ4-M2XD-9PVT-3HAF"),
    "method_not_allowed": lambda on: lambda: on.till.open("DELETE", "/api/v1/vouchers"),
    "hold_not_found": lambda on: lambda: on.till.capture("hld_" + "0" * 32),
    "insufficient_balance": lambda on: lambda: on.till.redeem(on.code, 5001, mode="exact"),
    "request_in_progress": _request_in_progress,
    "hold_expired": _hold_expired,
    "hold_closed": _hold_closed,
    "already_reversed": _already_reversed,
    "transition_not_allowed": _transition_not_allowed,
    "code_taken": lambda on: lambda: on.office.create(code=on.code),
    "body_too_large": lambda on: lambda: on.till.redeem("x" * 70_000),
    "unsupported_media_type": lambda on: lambda: on.till.post(tills.REDEEM, data=b"{}", key="k"),
    "validation_failed": lambda on: lambda: on.till.redeem(on.code, -1),
    "voucher_inactive": lambda on: on.redeem(status="suspended"),
    "voucher_not_started": lambda on: on.redeem(valid_from=_tomorrow()),
    "voucher_expired": lambda on: on.redeem(expires_at=clock.now() - timedelta(days=1)),
    "voucher_depleted": _voucher_depleted,
    "currency_mismatch": lambda on: lambda: on.till.redeem(on.code, currency="CHF"),
    "voucher_not_transferable": lambda on: on.redeem(is_transferable=False, customer_id="anna"),
    "refund_exceeds_redemption": _refund_exceeds_redemption,
    "idempotency_conflict": _idempotency_conflict,
    "rate_limited": _rate_limited,
    "internal_error": _internal_error,
    "temporarily_unavailable": _temporarily_unavailable,
}
# A till shows its cashier why: the codes about the voucher in hand.
SHOWN = {code for code, kind in problems.KINDS.items() if "`display`" in kind.advice}


@pytest.mark.req("S2-12", "F45", "T26")
@pytest.mark.parametrize("code", problems.KINDS)
def test_the_code_is_heard_with_its_status_and_nothing_is_booked(code: str, stage: Stage) -> None:
    act = PROVOKED[code](stage)
    before = tills.books()
    answer = act()
    assert tills.refusal(answer) == (problems.KINDS[code].status, code)
    assert answer.json["detail"] and answer.json["title"]
    assert (code == "validation_failed") == bool(answer.json["errors"])
    assert code not in SHOWN or set(answer.json["display"]) == {"de", "en"}
    assert tills.books() == before


def test_every_code_of_the_table_is_provoked_and_no_other() -> None:
    assert set(PROVOKED) == problems.CODES


def test_the_contract_lists_every_code_of_the_table_and_no_other() -> None:
    listed = {code for call in calls.CALLS for code in call.codes}
    assert listed | WITHOUT_CALL == problems.CODES


def test_the_source_raises_every_code_of_the_table_and_no_other() -> None:
    assert _raised() == problems.CODES


def test_no_call_of_the_contract_is_without_scope_and_every_address_is_a_call(app: flask.Flask) -> None:
    routed = {
        (method, rule.endpoint.removeprefix("api."))
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("api.")
        for method in (rule.methods or set()) - {"HEAD"}
    }
    listed = {(call.method, call.name) for call in calls.CALLS}
    assert all(call.scopes for call in calls.CALLS)
    assert listed <= routed
    assert {name for _, name in routed - listed} <= {"openapi"}  # the contract itself is public


def _raised() -> set[str]:
    """Codes of `Problem("…")`, of HTTP errors by their status, and of every refusal that the rules of money name."""
    found = set(blueprints.api._CODE_OF_STATUS.values()) | {"malformed_request", "internal_error"}
    for path in [*(ROOT / "blueprints/api").glob("*.py"), *(ROOT / "domain" / f"{name}.py" for name in RULES)]:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name == "Problem" and node.args and isinstance(node.args[0], ast.Constant):
                found.add(str(node.args[0].value))
            elif isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "refusals":
                refusal = getattr(refusals, name)
                if isinstance(refusal, type) and issubclass(refusal, refusals.Refusal):
                    found.add(refusal.code)
    return found
