"""What the office does with vouchers: create, list, change, refund, adjust, and read every transaction."""

from conformance.contract import Check, Power, require, require_problem, require_that
from conformance.desk import Answer, Desk, new_key

_READ, _WRITE = (Power.READ,), (Power.READ, Power.WRITE, Power.REDEEM)


def _pages(desk: Desk) -> None:
    for _ in range(2):
        desk.validate(desk.fresh("VALID"))
    first = require(desk.call("GET /vouchers", query={"limit": "1"}), 200)
    cursor, rows = first.at("next_cursor"), first.at("data") or []
    require_that(len(rows) == 1 and isinstance(cursor, str), "one voucher and a cursor", first)
    second = require(desk.call("GET /vouchers", query={"limit": "1", "cursor": str(cursor)}), 200)
    is_next = [each["id"] for each in second.at("data") or []] != [each["id"] for each in rows]
    require_that(is_next, "the next page", second, came="the same voucher")
    require_problem(desk.call("GET /vouchers", query={"limit": "101"}), 422, "validation_failed", field="limit")
    require_problem(desk.call("GET /vouchers", query={"cursor": "x"}), 422, "validation_failed", field="cursor")


def _create(desk: Desk) -> None:
    key = new_key()
    made = require(_new(desk, key=key), 201, balance_minor=5000, status="active", currency=desk.currency)
    require_that(bool(made.at("code")), "the code, this once", made, came="no code")
    again = require(_new(desk, key=key), 201, id=made.at("id"), code=made.at("code"))
    require_that(again.is_replay, "Idempotent-Replayed: true", again, came="no such header")
    read = require(desk.call(f"GET /vouchers/{made.at('id')}"), 200, code_last4=str(made.at("code"))[-4:])
    require_that("code" not in read.json, "a voucher without its code", read, came="the code again")


def _change(desk: Desk) -> None:
    line = f"PATCH /vouchers/{_new(desk).at('id')}"
    require_problem(desk.call(line, {"balance_minor": 9000}), 422, "validation_failed", field="balance_minor")
    require(desk.call(line, {"status": "suspended", "reason": "lost"}), 200, status="suspended")
    require(desk.call(line, {"status": "active"}), 200, status="active")
    require(desk.call(line, {"status": "cancelled"}), 200, status="cancelled", balance_minor=5000)
    require_problem(desk.call(line, {"status": "active"}), 409, "transition_not_allowed")


def _refund(desk: Desk) -> None:
    made = _new(desk)
    line = f"POST /vouchers/{made.at('id')}/refund"
    taken = require(desk.redeem(str(made.at("code")), 2000), 201).at("transaction.id")
    require(
        desk.call(line, {"amount_minor": 1500, "transaction_id": taken}, key=new_key()), 201,
        transaction__type="refund", transaction__amount_minor=1500, voucher__balance_minor=4500,
    )  # fmt: skip
    answer = desk.call(line, {"amount_minor": 501, "transaction_id": taken}, key=new_key())
    require(require_problem(answer, 422, "refund_exceeds_redemption"), 422, refundable_minor=500)


def _adjust(desk: Desk) -> None:
    line = f"POST /vouchers/{_new(desk).at('id')}/adjust"
    require_problem(desk.call(line, {"amount_minor": 500}, key=new_key()), 422, "validation_failed", field="reason")
    zero = desk.call(line, {"amount_minor": 0, "reason": "x"}, key=new_key())
    require_problem(zero, 422, "validation_failed", field="amount_minor")
    require(desk.call(line, {"amount_minor": 500, "reason": "x"}, key=new_key()), 201, voucher__balance_minor=5500)
    below = desk.call(line, {"amount_minor": -5501, "reason": "x"}, key=new_key())
    require_problem(below, 409, "insufficient_balance")


def _transactions(desk: Desk) -> None:
    made = _new(desk)
    for amount in (1200, 300):
        require(desk.redeem(str(made.at("code")), amount), 201)
    answer = require(desk.call(f"GET /vouchers/{made.at('id')}/transactions"), 200)
    amounts = [each["amount_minor"] for each in answer.at("data") or []]
    require_that(amounts == [-300, -1200, 5000], "-300, -1200, 5000: newest first", answer, came=str(amounts))


def _unknown(desk: Desk) -> None:
    require_problem(desk.call(f"GET /vouchers/vch_{'0' * 32}"), 404, "voucher_not_found")


def _new(desk: Desk, *, key: str | None = None) -> Answer:
    body = {"type": "gift_card", "currency": desk.currency, "initial_balance_minor": 5000}
    return desk.call("POST /vouchers", body, key=key or new_key())


CHECKS = (
    Check("list", "lists have pages of at most 100 and an opaque cursor", _pages, _READ),
    Check("voucher-unknown", "an id that nobody has: 404", _unknown, _READ),
    Check("create", "a new voucher tells its code once, to its Idempotency-Key alone", _create, _WRITE),
    Check("change", "legal moves of the status only, and never the balance", _change, _WRITE),
    Check("refund", "a refund gives back what its redemption took, and no more", _refund, _WRITE),
    Check("adjust", "an adjustment needs a reason, and takes no more than there is", _adjust, _WRITE),
    Check("transactions", "every change is a transaction; their sum is the balance", _transactions, _WRITE),
)
