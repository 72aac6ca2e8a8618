"""Every invariant as a question to the database. An empty answer is a kept promise."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import peewee

from domain import entries
from domain.states import EntryKind, PaymentState, StepName, StepState
from models import Entry, IdempotencyRecord, Merchant, Order, Payment, Step, Unit, Voucher, VoucherPdf

_SHOWN = 20


@dataclass(frozen=True)
class Finding:
    """One invariant: its name, what it promises, how many rows break it and some of them."""

    name: str
    promise: str
    broken: int
    examples: tuple[str, ...]


def run() -> list[Finding]:
    """Ask every question. A finding with `broken` 0 is a kept promise."""
    return [_find(name, promise, ask()) for name, (promise, ask) in INVARIANTS.items()]


def is_clean(findings: Iterable[Finding]) -> bool:
    """True when nothing is broken."""
    return all(finding.broken == 0 for finding in findings)


def _find(name: str, promise: str, broken: Iterable[object]) -> Finding:
    rows = [str(row) for row in broken]
    return Finding(name, promise, len(rows), tuple(rows[:_SHOWN]))


def _balances_off() -> Iterable[str]:
    total, count = peewee.fn.COALESCE(peewee.fn.SUM(Entry.amount_minor), 0), peewee.fn.COUNT(Entry.id)
    rows = (
        Voucher.select(Voucher.public_id)
        .join(Entry, peewee.JOIN.LEFT_OUTER)
        .group_by(Voucher.id, Voucher.public_id, Voucher.balance_minor, Voucher.version)
        .having((total != Voucher.balance_minor) | (count != Voucher.version))
    )
    return (row.public_id for row in rows)


def _chains_broken() -> Iterable[str]:
    """Walk every voucher's entries: sequence, running sum, currency, merchant and hash all have to continue."""
    sequence, balance, previous_hash, voucher_id = 0, 0, "", 0
    rows = Entry.select(Entry, Voucher).join(Voucher).order_by(Entry.voucher, Entry.seq)
    for entry in rows.iterator():
        if entry.voucher_id != voucher_id:
            sequence, balance, previous_hash, voucher_id = 0, 0, "", entry.voucher_id
        sequence, balance = sequence + 1, balance + entry.amount_minor
        expected = entries.chain_hash(previous_hash, entries.chained_facts(entry))
        is_in_place = entry.seq == sequence and entry.balance_after_minor == balance >= 0
        is_same_world = (entry.currency, entry.merchant_id) == (entry.voucher.currency, entry.voucher.merchant_id)
        if not is_in_place or not is_same_world or (entry.previous_hash, entry.hash) != (previous_hash, expected):
            yield entry.public_id
        previous_hash = entry.hash


def _issues_off() -> Iterable[str]:
    issues = peewee.fn.COUNT(Entry.id)
    rows = (
        Voucher.select(Voucher.public_id)
        .join(Entry, peewee.JOIN.LEFT_OUTER, on=(Entry.voucher == Voucher.id) & (Entry.kind == EntryKind.ISSUE))
        .group_by(Voucher.id, Voucher.public_id)
        .having(issues != 1)
    )
    return (row.public_id for row in rows)


def _issued_otherwise_than_paid() -> Iterable[str]:
    rows = (
        Voucher.select(Voucher.public_id)
        .join(Entry, on=(Entry.voucher == Voucher.id) & (Entry.kind == EntryKind.ISSUE))
        .switch(Voucher)
        .join(Unit)
        .where((Entry.amount_minor != Unit.value_minor) | (Entry.currency != Unit.currency))
    )
    return (row.public_id for row in rows)


def _refunds_above_redemption() -> Iterable[str]:
    redemption = Entry.alias()
    refunded = peewee.fn.SUM(Entry.amount_minor)
    rows = (
        Entry.select(redemption.public_id.alias("public_id"))
        .join(redemption, on=(Entry.redemption == redemption.id))
        .group_by(redemption.id, redemption.public_id, redemption.amount_minor)
        .having(refunded + redemption.amount_minor > 0)  # a redemption is booked below zero
    )
    return (row["public_id"] for row in _dicts(rows))


def _paid_without_payment() -> Iterable[str]:
    paid = Payment.select().where(
        Payment.order == Order.id,
        Payment.state == PaymentState.PAID,
        Payment.amount_minor == Order.total_minor,
        Payment.currency == Order.currency,
    )
    rows = Order.select(Order.number).where(Order.payment_state == PaymentState.PAID, ~peewee.fn.EXISTS(paid))
    return (row.number for row in rows)


def _payments_without_paid_order() -> Iterable[str]:
    rows = (
        Payment.select(Order.number.alias("number"))
        .join(Order)
        .where(Payment.state == PaymentState.PAID, Order.payment_state != PaymentState.PAID)
    )
    return (row["number"] for row in _dicts(rows))


def _paid_without_plan() -> Iterable[str]:
    """Each unit of a paid order needs its creation step: the promise that no payment goes unnoticed."""
    planned = Step.select().where(Step.order == Unit.order, Step.unit_no == Unit.unit_no, Step.name == StepName.CREATE)
    rows = (
        Unit.select(Order.number.alias("number"), Unit.unit_no)
        .join(Order)
        .where(Order.payment_state == PaymentState.PAID, ~peewee.fn.EXISTS(planned))
    )
    return (f"{row['number']}/{row['unit_no']}" for row in _dicts(rows))


def _created_without_voucher() -> Iterable[str]:
    made = Voucher.select().join(Unit).where(Unit.order == Step.order, Unit.unit_no == Step.unit_no)
    rows = Step.select(Step.id).where(
        Step.name == StepName.CREATE, Step.state == StepState.DONE, ~peewee.fn.EXISTS(made)
    )
    return (f"step {row.id}" for row in rows)


def _vouchers_without_paid_order() -> Iterable[str]:
    rows = Voucher.select(Voucher.public_id).join(Unit).join(Order).where(Order.payment_state != PaymentState.PAID)
    return (row.public_id for row in rows)


def _documents_missing() -> Iterable[str]:
    pdf = VoucherPdf.select().join(Voucher).join(Unit).where(Unit.order == Step.order, Unit.unit_no == Step.unit_no)
    rows = Step.select(Step.id).where(
        Step.name == StepName.DOCUMENT, Step.state == StepState.DONE, ~peewee.fn.EXISTS(pdf)
    )
    return (f"step {row.id}" for row in rows)


def _steps_forgotten() -> Iterable[str]:
    needed = Step.alias()
    done = needed.select().where(
        needed.order == Step.order,
        needed.unit_no == Step.unit_no,
        needed.name == Step.needs,
        needed.state == StepState.DONE,
    )
    rows = Step.select(Step.id).where(Step.state == StepState.BLOCKED, peewee.fn.EXISTS(done))
    return (f"step {row.id}" for row in rows)


def _totals_off() -> Iterable[str]:
    rows = (
        Order.select(Order.number)
        .join(Unit, peewee.JOIN.LEFT_OUTER)
        .group_by(Order.id, Order.number, Order.total_minor)
        .having(peewee.fn.COALESCE(peewee.fn.SUM(Unit.value_minor), 0) != Order.total_minor)
    )
    return (row.number for row in rows)


def _liability_off() -> Iterable[str]:
    """Per merchant and currency: what was booked is what the vouchers still hold."""
    booked = _sums(Entry, Entry.amount_minor)
    held = _sums(Voucher, Voucher.balance_minor)
    names = {merchant.id: merchant.slug for merchant in Merchant.select()}
    for merchant_id, currency in booked.keys() | held.keys():
        if booked.get((merchant_id, currency), 0) != held.get((merchant_id, currency), 0):
            yield f"{names[merchant_id]} {currency}"


def _answers_missing() -> Iterable[str]:
    # The row and its answer are one transaction, so no reader ever sees the one without the other.
    rows = IdempotencyRecord.select(IdempotencyRecord.key).where(IdempotencyRecord.status.is_null())
    return (row.key for row in rows)


def _sums(table: Any, column: Any) -> dict[tuple[int, str], int]:
    rows = table.select(table.merchant, table.currency, peewee.fn.SUM(column).alias("total"))
    return {
        (row["merchant"], row["currency"]): row["total"]
        for row in _dicts(rows.group_by(table.merchant, table.currency))
    }


def _dicts(query: Any) -> Iterable[dict[str, Any]]:
    return list(query.dicts())


INVARIANTS: dict[str, tuple[str, Callable[[], Iterable[object]]]] = {
    "balances": ("the sum of the entries is the balance, and their count the version", _balances_off),
    "chains": ("every entry continues sequence, sum and hash of the one before", _chains_broken),
    "issues": ("every voucher has exactly one issue", _issues_off),
    "issued_as_paid": ("the issued value is the value of the paid unit", _issued_otherwise_than_paid),
    "refunds": ("no redemption is refunded beyond itself", _refunds_above_redemption),
    "paid_orders": ("a paid order has a payment of its amount and currency", _paid_without_payment),
    "paid_payments": ("a payment that arrived belongs to a paid order", _payments_without_paid_order),
    "plans": ("every unit of a paid order is planned", _paid_without_plan),
    "created": ("a finished creation has its voucher", _created_without_voucher),
    "vouchers_paid": ("no voucher of an order that is not paid", _vouchers_without_paid_order),
    "documents": ("a finished document has its PDF", _documents_missing),
    "steps": ("no step waits for one that is done", _steps_forgotten),
    "totals": ("the total of an order is the sum of its units", _totals_off),
    "liability": ("per merchant, entries and balances sum to the same liability", _liability_off),
    "answers": ("every stored idempotency key has its answer", _answers_missing),
}
