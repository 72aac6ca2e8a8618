"""Holds: money set aside while the guest sits."""

from datetime import datetime

from conformance.contract import (
    Check,
    Power,
    require,
    require_available,
    require_problem,
    require_same,
    require_that,
)
from conformance.desk import Answer, Desk, new_key, pause

_TAKE = (Power.VALIDATE, Power.REDEEM)
_DAY = 86_400


def _place(desk: Desk) -> None:
    code, key = desk.fresh("VALID"), new_key()
    first = require(
        desk.hold(code, 4000, key=key), 201,
        hold__state="active", hold__amount_minor=4000, voucher__balance_minor=5000, voucher__available_minor=1000,
    )  # fmt: skip
    require_same(first, desk.hold(code, 4000, key=key))
    require_available(desk, code, 1000, after="a hold of 4000 of 5000")
    require(desk.redeem(code, 4000), 201, transaction__amount_minor=-1000)


def _capture(desk: Desk) -> None:
    code, key = desk.fresh("VALID"), new_key()
    line = f"POST /holds/{_id(desk.hold(code, 4000))}/capture"
    first = require(
        desk.call(line, {"amount_minor": 2500}, key=key), 201, transaction__amount_minor=-2500, hold__state="captured"
    )
    require_same(first, desk.call(line, {"amount_minor": 2500}, key=key))
    require_available(desk, code, 2500, after="a capture of 2500 of a hold of 4000")
    require_problem(desk.call(line, {"amount_minor": 100}, key=new_key()), 409, "hold_closed")


def _too_much(desk: Desk) -> None:
    code = desk.fresh("VALID")
    line = f"POST /holds/{_id(desk.hold(code, 1000))}/capture"
    require_problem(desk.call(line, {"amount_minor": 1001}, key=new_key()), 409, "insufficient_balance")
    require_available(desk, code, 4000, after="a capture beyond its hold that was refused")


def _release(desk: Desk) -> None:
    code = desk.fresh("VALID")
    hold = _id(desk.hold(code, 4000))
    for _ in range(2):
        require(desk.call(f"POST /holds/{hold}/release", {}), 200, hold__state="released")
    require_available(desk, code, 5000, after="a hold that was released twice")


def _life(desk: Desk) -> None:
    code = desk.fresh("VALID")
    placed = require(desk.hold(code, 1000, ttl_seconds=120), 201)
    require_that(_seconds(placed) == 120, "a life of 120 s", placed, came=f"{_seconds(placed)} s")
    usual = require(desk.hold(code, 1000), 201)
    require_that(_seconds(usual) == 900, "a life of 900 s by default", usual, came=f"{_seconds(usual)} s")
    longer = require(desk.call(f"POST /holds/{_id(placed)}/extend", {"ttl_seconds": 3600}), 200)
    require_that(3600 <= _seconds(longer) < 3660, "a life of 3600 s from now", longer, came=f"{_seconds(longer)} s")
    answer = desk.hold(code, 1000, ttl_seconds=_DAY + 1)
    require_problem(answer, 422, "validation_failed", field="ttl_seconds")


def _expiry(desk: Desk) -> None:
    code = desk.fresh("VALID")
    hold = _id(require(desk.hold(code, 4000, ttl_seconds=1), 201))
    pause(1.2)
    require_available(desk, code, 5000, after="a hold whose second is over")
    require(desk.call(f"GET /holds/{hold}"), 200, hold__state="expired")
    require_problem(desk.call(f"POST /holds/{hold}/capture", {}, key=new_key()), 409, "hold_expired")


def _unknown(desk: Desk) -> None:
    require_problem(desk.call(f"GET /holds/hld_{'0' * 32}"), 404, "hold_not_found")


def _id(answer: Answer) -> str:
    return str(require(answer, answer.status).at("hold.id"))


def _seconds(answer: Answer) -> float:
    starts, ends = str(answer.at("hold.created_at")), str(answer.at("hold.expires_at"))
    return round((datetime.fromisoformat(ends) - datetime.fromisoformat(starts)).total_seconds(), 3)


CHECKS = (
    Check("hold", "a hold leaves the balance and takes from what is available", _place, _TAKE),
    Check("hold-capture", "a capture of a part frees the rest, and its key can be repeated", _capture, _TAKE),
    Check("hold-too-much", "no capture beyond its hold", _too_much, _TAKE),
    Check("hold-release", "a release frees all of it, and may be repeated", _release, _TAKE),
    Check("hold-life", "a hold lives for ttl_seconds, 900 by default, a day at most", _life, _TAKE),
    Check("hold-expiry", "a hold whose time is over holds nothing from that moment on", _expiry, _TAKE),
    Check("hold-unknown", "a hold that nobody has: 404", _unknown, _TAKE),
)
