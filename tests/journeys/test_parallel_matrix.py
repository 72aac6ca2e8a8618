"""Every two verbs on one voucher at the same moment: what comes of it is what one of the two orders would have made.

`MATRIX_ROUNDS=1000` is the long run.
"""

import itertools
import os
import random
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import flask
import pytest
from werkzeug.test import TestResponse

import database
from domain import audit
from models import Entry, Hold, Merchant, TimelineEntry, Voucher
from tests import cast as casting
from tests import till as tills
from tests.till import Counter

ROUNDS = int(os.environ.get("MATRIX_ROUNDS", "10"))
# What differs from one voucher to the next, or with the minute.
_OWN = {
    "id", "voucher_id", "transaction_id", "code_last4", "created_at", "expires_at", "ended_at", "request_id",
    "idempotency_key",
}  # fmt: skip
_MINUTE = re.compile(r"\d\d:\d\d")


@dataclass(frozen=True)
class Table:
    """One guest's voucher: 50.00, of which 10.00 are redeemed and 15.00 held."""

    voucher: Voucher
    code: str
    redemption: dict[str, Any]
    redemption_key: str
    hold_id: str


@dataclass(frozen=True)
class Shop:
    """The counters of one merchant, and fresh tables."""

    app: flask.Flask
    merchant: Merchant
    text: str

    def counter(self) -> Counter:
        """A counter of one's own: a client belongs to one thread."""
        return Counter(self.app.test_client(), None, self.text)  # type: ignore[arg-type]

    def lay(self) -> Table:
        """A fresh table."""
        voucher, code = casting.issue(self.merchant)
        counter, key = self.counter(), f"first-{voucher.id}"
        redemption = counter.redeem(code, 1000, key=key).json["transaction"]
        return Table(voucher, code, redemption, key, counter.hold(code, 1500).json["hold"]["id"])


Act = Callable[[Counter, Table], TestResponse]
VERBS: dict[str, Act] = {
    "redeem": lambda counter, on: counter.redeem(on.code, 3000),
    "refund": lambda counter, on: counter.refund(on.redemption, 700),
    "adjust": lambda counter, on: counter.adjust(on.voucher, -2000),
    "hold": lambda counter, on: counter.hold(on.code, 2000, mode="exact"),
    "capture": lambda counter, on: counter.capture(on.hold_id, amount_minor=1200),
    "release": lambda counter, on: counter.call("release", hold_id=on.hold_id),
    "reverse": lambda counter, on: counter.reverse(on.redemption_key),
    "suspend": lambda counter, on: counter.change(on.voucher, status="suspended"),
    "cancel": lambda counter, on: counter.change(on.voucher, status="cancelled"),
}
PAIRS = list(itertools.combinations_with_replacement(VERBS, 2))


@pytest.fixture
def shop(app: flask.Flask, merchant: Merchant) -> Shop:
    opened = tills.opened(app.test_client(), merchant, (*tills.TILL, *tills.OFFICE))
    return Shop(app, merchant, opened.text)


@dataclass(frozen=True)
class Outcome:
    """What both heard, and how the books stand afterwards."""

    of_one: object
    of_other: object
    books: object


@pytest.mark.req("F48", "F50", "T3")
@pytest.mark.timeout(60 + ROUNDS * 5)
@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_two_at_once_are_one_after_the_other(shop: Shop, one: str, other: str) -> None:
    allowed = [_in_turn(shop, one, other, is_other_first=first) for first in (False, True)]
    with ThreadPoolExecutor(2) as pool:
        for number in range(ROUNDS):
            outcome = _at_once(shop, pool, one, other, is_other_ahead=number % 2 == 1)
            assert outcome in allowed, f"round {number}: {outcome} is neither of {allowed}"
    assert audit.is_clean(findings := audit.run()), findings


def _in_turn(shop: Shop, one: str, other: str, *, is_other_first: bool) -> Outcome:
    table, counter = shop.lay(), shop.counter()
    heard = {}
    for place in (1, 0) if is_other_first else (0, 1):
        heard[place] = _heard(VERBS[(one, other)[place]](counter, table))
    return Outcome(heard[0], heard[1], _books(table))


def _at_once(shop: Shop, pool: ThreadPoolExecutor, one: str, other: str, *, is_other_ahead: bool) -> Outcome:
    table, together = shop.lay(), threading.Barrier(2)
    # Up to two milliseconds of a start meet in ever other places of the two transactions.
    waits = [0.0, random.uniform(0, 0.002)][:: -1 if is_other_ahead else 1]

    def call(verb: str, wait: float) -> object:
        counter = shop.counter()
        together.wait(timeout=20)
        time.sleep(wait)
        return _heard(VERBS[verb](counter, table))

    calls = [pool.submit(call, verb, wait) for verb, wait in zip((one, other), waits, strict=True)]
    of_one, of_other = (each.result(timeout=60) for each in calls)
    return Outcome(of_one, of_other, _books(table))


def _heard(answer: TestResponse) -> object:
    assert answer.status_code in (200, 201, 409, 422), answer.text
    return answer.status_code, answer.headers.get("Idempotent-Replayed"), _common(answer.json)


def _common(value: Any) -> Any:
    """An answer without what is this voucher's own."""
    if isinstance(value, dict):
        return {name: _common(item) for name, item in value.items() if name not in _OWN}
    if isinstance(value, list):
        return [_common(item) for item in value]
    return _MINUTE.sub("", value) if isinstance(value, str) else value


def _books(table: Table) -> object:
    with database.connected():
        voucher = Voucher.get_by_id(table.voucher.id)
        entries = Entry.select().where(Entry.voucher == voucher).order_by(Entry.seq)
        holds = Hold.select().where(Hold.voucher == voucher).order_by(Hold.id)
        told = TimelineEntry.select().where(TimelineEntry.voucher == voucher)
        return (
            (voucher.balance_minor, voucher.available_minor, str(voucher.status)),
            [(str(entry.kind), entry.amount_minor, entry.balance_after_minor) for entry in entries],
            [(str(hold.state), hold.amount_minor) for hold in holds],
            sorted(row.kind for row in told),
        )
