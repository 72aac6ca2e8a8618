"""Vouchers and what is booked on them, for the tests of the rules: each call is one transaction, as an operation is."""

import json
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import database
from domain import clock, entries, holds, idempotency, ledger, redemptions, refusals, vouchers
from domain.states import VoucherStatus
from models import Entry, Hold, IdempotencyRecord, Merchant, Voucher

TILL = "key:Till"
REDEEM = "POST /api/v1/vouchers/redeem"


@pytest.fixture
def app(database_url: str) -> Iterator[None]:
    """The rules of the trade need a database and nothing else: a module says `app = bookings.app`."""
    database.connect(database_url)
    with database.connected():
        yield
    database.db.obj.close_all()


class Clock(datetime):
    """A watch that stands still; `clock.move` moves it."""

    stands_at = datetime(2027, 3, 1, 12, tzinfo=UTC)

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return cls.stands_at


def stop_the_clock(monkeypatch: pytest.MonkeyPatch) -> datetime:
    """From here on only `clock.move` makes time pass; the moment it stands at."""
    monkeypatch.setattr(clock, "datetime", Clock)
    return clock.now()


def key(verb: str = "redeem") -> str:
    return f"{verb}:{secrets.token_hex(8)}"


def code() -> ledger.NewCode:
    return ledger.NewCode(
        public_id=entries.new_public_id("vch"),
        hmac=secrets.token_hex(32),
        ciphertext=b"sealed",
        key_id="s1",
        last4="3HAF",
        link_hash=secrets.token_hex(32),
    )


def issue(merchant: Merchant, value_minor: int = 5000, currency: str = "EUR", **facts: Any) -> Voucher:
    facts = {"operation_key": key("issue"), "actor": "shop", "is_test": True} | facts
    with database.transaction():
        return ledger.issue(merchant, value_minor=value_minor, currency=currency, code=code(), **facts)


def redeem(voucher: Voucher | None, amount_minor: int, **options: Any) -> ledger.Redemption:
    options = {"currency": "EUR", "operation_key": key(), "actor": TILL} | options
    with database.transaction():
        return ledger.redeem(voucher.id if voucher else None, amount_minor=amount_minor, **options)


def refund(redemption: Entry, amount_minor: int, **options: Any) -> ledger.Booked:
    with database.transaction():
        return ledger.refund(
            redemption, amount_minor=amount_minor, **({"operation_key": key("refund"), "actor": TILL} | options)
        )


def reverse(redemption: Entry, **options: Any) -> ledger.Booked:
    with database.transaction():
        return ledger.reverse(redemption, **({"operation_key": key("reverse"), "actor": TILL} | options))


def adjust(voucher: Voucher, amount_minor: int, **options: Any) -> ledger.Booked:
    options = {"operation_key": key("adjust"), "actor": "user:anna", "reason": "counted again"} | options
    with database.transaction():
        return ledger.adjust(voucher.id, amount_minor=amount_minor, **options)


def place(voucher: Voucher | None, amount_minor: int, **options: Any) -> holds.Placed:
    options = {"currency": "EUR", "operation_key": key("hold"), "actor": TILL} | options
    with database.transaction():
        return holds.place(voucher.id if voucher else None, amount_minor=amount_minor, **options)


def hold(voucher: Voucher, amount_minor: int, **options: Any) -> Hold:
    return place(voucher, amount_minor, **options).hold


def capture(hold: Hold, amount_minor: int | None = None, **options: Any) -> holds.Captured:
    with database.transaction():
        return holds.capture(hold, amount_minor=amount_minor, **({"operation_key": key(), "actor": TILL} | options))


def release(hold: Hold) -> Hold:
    with database.transaction():
        return holds.release(hold, actor=TILL)


def extend(hold: Hold, life: timedelta) -> Hold:
    with database.transaction():
        return holds.extend(hold, life=life)


def set_status(voucher: Voucher, status: VoucherStatus | str, **options: Any) -> Voucher:
    with database.transaction():
        return vouchers.set_status(voucher.id, status, **({"actor": "user:anna"} | options))  # type: ignore[arg-type]


def change(voucher: Voucher, **fields: Any) -> Voucher:
    with database.transaction():
        return vouchers.change(voucher.id, vouchers.Change(frozenset(fields), **fields), actor="user:anna")


def call(
    merchant: Merchant, name: str, book: Callable[[], Entry], *, route: str = REDEEM, body: str = "body"
) -> idempotency.Answer:
    """A redemption as a program sends it, under the Idempotency-Key `name`: a refusal is an answer, too."""

    def work() -> idempotency.Answer:
        try:
            entry = book()
        except refusals.Refusal as refusal:
            return idempotency.Answer(refusal.status, json.dumps({"code": refusal.code}))
        booked = {"id": entry.public_id, "amount_minor": entry.amount_minor}
        return idempotency.Answer(201, json.dumps({"transaction": booked}))

    return idempotency.once(merchant, key=name, route=route, fingerprints=[body], work=work)


def call_redeem(merchant: Merchant, name: str, voucher: Voucher, amount_minor: int) -> idempotency.Answer:
    """A redemption of `amount_minor` under the Idempotency-Key `name`."""
    options = {"currency": "EUR", "operation_key": redemptions.operation_key(name), "actor": TILL}
    return call(merchant, name, lambda: ledger.redeem(voucher.id, amount_minor=amount_minor, **options).entry)


def fresh(row: Any) -> Any:
    """The row as the database has it now."""
    return type(row).get_by_id(row.id)


def books() -> list[list[tuple[object, ...]]]:
    """Every row that money stands on, so that a test can say: nothing changed."""
    orders = {Voucher: "id", Entry: "id", Hold: "id", IdempotencyRecord: "key"}
    return [list(table.select().order_by(getattr(table, name)).tuples()) for table, name in orders.items()]
