"""Answers get lost: the same key again, what happened to my call, and take it back."""

from concurrent.futures import ThreadPoolExecutor

from conformance.contract import (
    Check,
    Power,
    require,
    require_available,
    require_problem,
    require_same,
    require_that,
)
from conformance.desk import Desk, new_key

TILLS = 6
_TAKE = (Power.VALIDATE, Power.REDEEM)


def _replay(desk: Desk) -> None:
    code, key = desk.fresh("VALID"), new_key()
    first = require(desk.redeem(code, 1200, key=key), 201)
    for _ in range(2):
        require_same(first, desk.redeem(code, 1200, key=key))
    require_available(desk, code, 3800, after="one redemption of 1200 that was sent three times")


def _refusal_replayed(desk: Desk) -> None:
    code, key = desk.fresh("VALID", 1000), new_key()
    first = require_problem(desk.redeem(code, 5000, key=key, mode="exact"), 409, "insufficient_balance")
    require_same(first, desk.redeem(code, 5000, key=key, mode="exact"))


def _conflict(desk: Desk) -> None:
    code, key = desk.fresh("VALID"), new_key()
    require(desk.redeem(code, 1200, key=key), 201)
    require_problem(desk.redeem(code, 1300, key=key), 422, "idempotency_conflict")
    require_available(desk, code, 3800, after="a key that was used for another body")


def _at_once(desk: Desk) -> None:
    code, key = desk.fresh("VALID"), new_key()
    with ThreadPoolExecutor(TILLS) as pool:
        answers = [each.result() for each in [pool.submit(desk.redeem, code, 1200, key=key) for _ in range(TILLS)]]
    booked = [each for each in answers if each.status == 201]
    waiting = [each for each in answers if each.code == "request_in_progress"]
    odd = [each for each in answers if each not in booked + waiting]
    require_that(not odd, "201, or 409 request_in_progress", (odd or answers)[0])
    ids = {each.at("transaction.id") for each in booked}
    require_that(len(ids) == 1, f"one transaction for {TILLS} calls", answers[0], came=f"{len(ids)} transactions")
    require_available(desk, code, 3800, after=f"{TILLS} calls at once with one key")


def _lost_answer(desk: Desk) -> None:
    code, key = desk.fresh("ERROR"), new_key()
    lost = require_problem(desk.redeem(code, 1200, key=key), 503, "temporarily_unavailable")
    require_that(lost.headers.get("Retry-After", "").isdigit(), "Retry-After in seconds", lost, came="none")
    heard = require(desk.redeem(code, 1200, key=key), 201, transaction__balance_after_minor=3800)
    require_that(heard.is_replay, "Idempotent-Replayed: true", heard, came="no such header")


def _story(desk: Desk) -> None:
    code, key = desk.fresh("VALID"), new_key()
    require(desk.story(key), 200, outcome="never_seen", transaction=None)
    booked = require(desk.redeem(code, 1200, key=key), 201)
    require(
        desk.story(key), 200,
        outcome="booked", transaction__id=booked.at("transaction.id"), answer__status=201, answer__body=booked.json,
    )  # fmt: skip
    refused = new_key()
    require_problem(desk.redeem(desk.fresh("EXPIRED"), key=refused), 422, "voucher_expired")
    require(desk.story(refused), 200, outcome="refused", answer__status=422)


def _reverse(desk: Desk) -> None:
    code, key = desk.fresh("VALID"), new_key()
    booked = require(desk.redeem(code, 1200, key=key), 201)
    for _ in range(2):
        answer = require(
            desk.reverse(key), 200,
            outcome="reversed", transaction__amount_minor=1200, redemption__id=booked.at("transaction.id"),
        )  # fmt: skip
    require_that(answer.is_replay, "Idempotent-Replayed: true on the second reversal", answer, came="no such header")
    require_available(desk, code, 5000, after="a redemption of 1200 that was reversed twice")
    require(desk.story(key), 200, outcome="reversed")


def _reverse_unseen(desk: Desk) -> None:
    code, key = desk.fresh("VALID"), new_key()
    require(desk.reverse(key), 200, outcome="blocked", transaction=None)
    require_problem(desk.redeem(code, 1200, key=key), 409, "already_reversed")
    require_available(desk, code, 5000, after="a call that came later than its reversal")
    require(desk.story(key), 200, outcome="blocked")


CHECKS = (
    Check("replay", "the same key again: the same answer byte for byte, booked once", _replay, _TAKE),
    Check("replay-refusal", "a refusal is repeated as well", _refusal_replayed, _TAKE),
    Check("key-conflict", "the same key for another body: 422, nothing booked", _conflict, _TAKE),
    Check("at-once", f"{TILLS} calls at once with one key are one booking", _at_once, _TAKE),
    Check("lost-answer", "TEST-ERROR: booked, 503, and the same key hears the answer", _lost_answer, _TAKE),
    Check("story", "what happened to my call: never seen, booked, refused", _story, _TAKE),
    Check("reverse", "a reversal gives all of it back, once", _reverse, _TAKE),
    Check("reverse-unseen", "a reversal that comes first blocks the late call", _reverse_unseen, _TAKE),
)
