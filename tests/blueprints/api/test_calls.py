"""Every call of the contract, once as it should go: the answer as promised, and its effect in the ledger.

That an answer has exactly the members of its schema is held by `tests.till` for every answer of every test.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from domain import audit, clock
from models import Hold, Voucher
from tests import till as tills
from tests.till import Scene


def _lookup(scene: Scene) -> None:
    answer = scene.till.call("lookup", {"code": scene.code.lower()})
    assert answer.json["id"] == scene.voucher.public_id
    assert (answer.json["balance_minor"], answer.json["code_last4"]) == (5000, scene.voucher.code_last4)
    assert scene.code not in answer.text and scene.code.replace("-", "") not in answer.text


def _validate(scene: Scene) -> None:
    answer = scene.till.validate(scene.code, 2000)
    assert (answer.json["valid"], answer.json["calculation"]["applicable_amount_minor"]) == (True, 2000)
    assert tills.balance(scene.voucher) == 5000


def _redeem(scene: Scene) -> None:
    answer = scene.till.redeem(scene.code, 2000, reference="R-1", description="Menu for two")
    entry = scene.last()
    assert answer.json["transaction"]["id"] == entry.public_id
    assert (entry.amount_minor, entry.balance_after_minor, entry.actor) == (-2000, 3000, "key:Till 1")
    assert (entry.reference, entry.description, entry.terminal, entry.location) == ("R-1", "Menu for two", "T1", "Bar")
    assert scene.told() == ["voucher_redeemed"]


def _redeem_by_id(scene: Scene) -> None:
    body = {"amount_minor": 2000, "currency": "EUR"}
    answer = scene.till.call("redeem_by_id", body, voucher_id=scene.voucher.public_id)
    assert answer.json["voucher"]["balance_minor"] == tills.balance(scene.voucher) == 3000


def _story(scene: Scene) -> None:
    booked = scene.till.redeem(scene.code, 2000, key="asked")
    told = scene.till.story("asked").json
    assert (told["outcome"], told["reversal"]) == ("booked", None)
    assert told["transaction"] == booked.json["transaction"]
    assert told["answer"] == {"status": 201, "body": booked.json}


def _reverse(scene: Scene) -> None:
    scene.till.redeem(scene.code, 2000, key="gone")
    answer = scene.till.reverse("gone", reason="Wrong table")
    assert (answer.json["outcome"], answer.json["voucher"]["balance_minor"]) == ("reversed", 5000)
    assert answer.json["transaction"]["amount_minor"] == -answer.json["redemption"]["amount_minor"] == 2000
    entry = scene.last()
    assert (entry.kind, entry.reason, entry.terminal) == ("reverse", "Wrong table", "T1")
    assert scene.told() == ["voucher_redeemed", "redemption_reversed"]


def _hold(scene: Scene) -> None:
    answer = scene.till.hold(scene.code, 2000, ttl_seconds=60, reference="Table 4").json
    assert (answer["hold"]["state"], answer["hold"]["amount_minor"]) == ("active", 2000)
    assert (answer["voucher"]["balance_minor"], answer["voucher"]["available_minor"]) == (5000, 3000)
    hold = Hold.get(Hold.public_id == answer["hold"]["id"])
    assert hold.expires_at - hold.created_at == timedelta(seconds=60)
    assert (hold.reference, hold.terminal, hold.location) == ("Table 4", "T1", "Bar")
    assert Voucher.get_by_id(scene.voucher.id).held_minor == 2000
    assert scene.told() == ["hold_placed"]


def _read_hold(scene: Scene) -> None:
    hold = scene.till.hold(scene.code, 2000).json["hold"]
    assert scene.till.call("read_hold", hold_id=hold["id"]).json == {"hold": hold}
    clock.move(timedelta(minutes=15))
    assert scene.till.call("read_hold", hold_id=hold["id"]).json["hold"]["state"] == "expired"


def _capture(scene: Scene) -> None:
    hold = scene.till.hold(scene.code, 3000, reference="Table 4").json["hold"]
    answer = scene.till.capture(hold["id"], amount_minor=2500, description="With wine").json
    assert (answer["hold"]["state"], answer["hold"]["transaction_id"]) == ("captured", answer["transaction"]["id"])
    assert (answer["voucher"]["balance_minor"], answer["voucher"]["available_minor"]) == (2500, 2500)
    assert answer["display"]["en"] == "€25.00 redeemed. €25.00 stays on the voucher."
    entry = scene.last()
    assert (entry.amount_minor, entry.reference, entry.description) == (-2500, "Table 4", "With wine")
    assert scene.till.call("read_hold", hold_id=hold["id"]).json["hold"] == answer["hold"]
    assert scene.told() == ["hold_placed", "hold_captured"]


def _release(scene: Scene) -> None:
    hold = scene.till.hold(scene.code, 3000).json["hold"]
    for _ in range(2):  # to release once more changes nothing
        answer = scene.till.call("release", hold_id=hold["id"]).json
        assert answer["hold"]["state"] == "released"
        assert answer["hold"]["ended_at"] is not None
    assert Voucher.get_by_id(scene.voucher.id).held_minor == 0
    assert scene.told() == ["hold_placed", "hold_released"]


def _extend(scene: Scene) -> None:
    hold = scene.till.hold(scene.code, 3000, ttl_seconds=60).json["hold"]
    clock.move(timedelta(seconds=50))
    answer = scene.till.call("extend", {"ttl_seconds": 600}, hold_id=hold["id"]).json
    assert answer["hold"]["expires_at"] > hold["expires_at"]
    clock.move(timedelta(seconds=500))
    assert scene.till.capture(hold["id"]).status_code == 201


def _list_vouchers(scene: Scene) -> None:
    assert [each["id"] for each in scene.office.call("list_vouchers").json["data"]] == [scene.voucher.public_id]


def _create_voucher(scene: Scene) -> None:
    answer = scene.office.create(initial_balance_minor=700, type="compensation", metadata={"case": "4711"}).json
    made = Voucher.get(Voucher.public_id == answer["id"])
    entry = made.entries.get()
    assert (made.balance_minor, made.type, made.metadata, made.is_test) == (700, "compensation", {"case": "4711"}, True)
    assert (entry.kind, entry.amount_minor, entry.actor) == ("issue", 700, "key:Office")
    assert scene.till.validate(answer["code"], 700).json["valid"] is True


def _read_voucher(scene: Scene) -> None:
    assert scene.office.read(scene.voucher).json["id"] == scene.voucher.public_id


def _change_voucher(scene: Scene) -> None:
    ends = "2090-01-02T03:04:05.000Z"
    answer = scene.office.change(
        scene.voucher, status="suspended", customer_id="c-7", expires_at=ends, metadata={"a": "b"}, reason="Lost"
    ).json
    assert (answer["status"], answer["customer_id"], answer["expires_at"]) == ("suspended", "c-7", ends)
    assert answer["metadata"] == {"a": "b"}
    assert scene.office.read(scene.voucher).json == answer
    assert scene.told() == ["voucher_status_changed", "voucher_changed"]
    assert Voucher.get_by_id(scene.voucher.id).version == 1


def _refund(scene: Scene) -> None:
    booked = scene.till.redeem(scene.code, 2000).json["transaction"]
    answer = scene.office.refund(booked, 500, reason="Cold soup").json
    assert (answer["transaction"]["amount_minor"], answer["voucher"]["balance_minor"]) == (500, 3500)
    entry = scene.last()
    assert (entry.kind, entry.redemption.public_id, entry.reason) == ("refund", booked["id"], "Cold soup")
    assert scene.told() == ["voucher_redeemed", "voucher_refunded"]


def _adjust(scene: Scene) -> None:
    answer = scene.office.adjust(scene.voucher, -300, reason=" Typing error ").json
    assert (answer["transaction"]["amount_minor"], answer["voucher"]["balance_minor"]) == (-300, 4700)
    assert scene.last().reason == "Typing error"
    assert scene.told() == ["voucher_adjusted"]


def _list_voucher_transactions(scene: Scene) -> None:
    scene.sell(scene.voucher.merchant)
    scene.till.redeem(scene.code, 100)
    data = scene.office.call("list_voucher_transactions", voucher_id=scene.voucher.public_id).json["data"]
    assert [(each["type"], each["seq"]) for each in data] == [("redeem", 2), ("issue", 1)]
    assert data[0]["hash"] == scene.last().hash


def _list_transactions(scene: Scene) -> None:
    other, _ = scene.sell(scene.voucher.merchant)
    scene.till.redeem(scene.code, 100)
    data = scene.office.call("list_transactions").json["data"]
    assert [each["voucher_id"] for each in data] == [
        scene.voucher.public_id, other.public_id, scene.voucher.public_id,
    ]  # fmt: skip


HAPPY: dict[str, Callable[[Scene], None]] = {
    "lookup": _lookup,
    "validate": _validate,
    "redeem": _redeem,
    "redeem_by_id": _redeem_by_id,
    "story": _story,
    "reverse": _reverse,
    "hold": _hold,
    "read_hold": _read_hold,
    "capture": _capture,
    "release": _release,
    "extend": _extend,
    "list_vouchers": _list_vouchers,
    "create_voucher": _create_voucher,
    "read_voucher": _read_voucher,
    "change_voucher": _change_voucher,
    "refund": _refund,
    "adjust": _adjust,
    "list_voucher_transactions": _list_voucher_transactions,
    "list_transactions": _list_transactions,
}


@pytest.mark.req("S2-01", "S2-05", "S2-06", "S2-07", "S2-08")
@pytest.mark.parametrize("name", tills.CALLS)
def test_the_call_does_what_it_promises(name: str, scene: Scene) -> None:
    HAPPY[name](scene)
    assert audit.is_clean(audit.run())


def test_every_call_of_the_contract_has_its_example() -> None:
    assert set(HAPPY) == set(tills.CALLS)


@pytest.mark.parametrize("name", [call.name for call in tills.CALLS.values() if call.needs_idempotency_key])
@pytest.mark.req("F45")
def test_a_call_with_a_key_is_worth_one_answer(name: str, scene: Scene) -> None:
    body, ids = _operation(name, scene)
    first, again = (scene.of(name).call(name, body, key="same", **ids) for _ in range(2))
    assert (first.status_code, first.data) == (again.status_code, again.data)
    assert (first.headers.get("Idempotent-Replayed"), again.headers["Idempotent-Replayed"]) == (None, "true")
    other = scene.of(name).call(name, body | _DIFFERENT[name], key="same", **ids)
    assert tills.refusal(other) == (422, "idempotency_conflict")
    missing = scene.of(name).open("POST", first.request.path, json=body, headers={"Content-Type": "application/json"})
    assert tills.refusal(missing) == (400, "malformed_request")
    assert audit.is_clean(audit.run())


_DIFFERENT: dict[str, dict[str, object]] = {
    "redeem": {"amount_minor": 101},
    "redeem_by_id": {"amount_minor": 101},
    "hold": {"ttl_seconds": 61},
    "capture": {"amount_minor": 99},
    "create_voucher": {"initial_balance_minor": 101},
    "refund": {"amount_minor": 99},
    "adjust": {"amount_minor": 101},
}


def _operation(name: str, scene: Scene) -> tuple[dict[str, object], dict[str, Any]]:
    """A body and the ids of an operation that works."""
    money: dict[str, object] = {"amount_minor": 100, "currency": "EUR"}
    of_voucher = {"voucher_id": scene.voucher.public_id}
    if name in ("redeem", "hold"):
        return money | {"code": scene.code}, {}
    if name == "redeem_by_id":
        return money, of_voucher
    if name == "capture":
        return {}, {"hold_id": scene.till.hold(scene.code, 100).json["hold"]["id"]}
    if name == "create_voucher":
        return {"type": "gift_card", "currency": "EUR", "initial_balance_minor": 100}, {}
    if name == "refund":
        redemption = scene.till.redeem(scene.code, 200).json["transaction"]
        return {"amount_minor": 100, "transaction_id": redemption["id"]}, of_voucher
    return {"amount_minor": 100, "reason": "Found"}, of_voucher
