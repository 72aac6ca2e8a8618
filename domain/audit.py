"""Every invariant as a question to the database. An empty answer is a kept promise."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import peewee

from domain import audit_ledger
from domain.states import EntryKind, PaymentState, RowState, StepName, StepState
from models import Batch, BatchRow, Entry, Order, Payment, Step, Unit, Voucher, VoucherPdf

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


def _issued_otherwise_than_paid() -> Iterable[str]:
    rows = (
        Voucher.select(Voucher.public_id)
        .join(Entry, on=(Entry.voucher == Voucher.id) & (Entry.kind == EntryKind.ISSUE))
        .switch(Voucher)
        .join(Unit)
        .where((Entry.amount_minor != Unit.value_minor) | (Entry.currency != Unit.currency))
    )
    return (row.public_id for row in rows)


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


def _batches_off() -> Iterable[str]:
    rows = (
        BatchRow.select(Batch.public_id.alias("public_id"), BatchRow.row_no)
        .join(Batch)
        .join(Voucher, peewee.JOIN.LEFT_OUTER, on=(BatchRow.voucher == Voucher.id))
        .join(Entry, peewee.JOIN.LEFT_OUTER, on=(Entry.voucher == BatchRow.voucher) & (Entry.kind == EntryKind.ISSUE))
        .where(
            BatchRow.state == RowState.DONE,
            Entry.id.is_null()
            | (Voucher.merchant != Batch.merchant)
            | (Voucher.is_test != Batch.is_test)
            | (Voucher.currency != Batch.currency)
            | (Entry.amount_minor != BatchRow.value_minor),
        )
    )
    return (f"{row['public_id']}/{row['row_no']}" for row in _dicts(rows))


def _dicts(query: Any) -> Iterable[dict[str, Any]]:
    return list(query.dicts())


INVARIANTS: dict[str, tuple[str, Callable[[], Iterable[object]]]] = {
    "balances": ("the sum of the entries is the balance, and their count the version", audit_ledger.balances_off),
    "chains": ("every entry continues sequence, sum, time and hash of the one before", audit_ledger.chains_broken),
    "issues": ("every voucher has exactly one issue", audit_ledger.issues_off),
    "issued_as_paid": ("the issued value is the value of the paid unit", _issued_otherwise_than_paid),
    "refunds": ("no redemption is refunded beyond itself, and only redemptions are", audit_ledger.refunds_off),
    "reversals": ("a redemption is reversed once and then given back whole", audit_ledger.reversals_off),
    "holds": ("what is held is the sum of the active holds, and a captured one was redeemed", audit_ledger.holds_off),
    "liability": ("per merchant, entries and balances sum to the same liability", audit_ledger.liability_off),
    "statuses": ("a status is the one that was told, and fits what was done in it", audit_ledger.statuses_off),
    "answers": ("every stored idempotency key has its answer", audit_ledger.answers_missing),
    "redemptions_answered": (
        "a call heard of a redemption exactly when it is booked",
        audit_ledger.redemptions_unanswered,
    ),
    "batches": ("a finished row of a batch has its voucher, issued with the row's value", _batches_off),
    "paid_orders": ("a paid order has a payment of its amount and currency", _paid_without_payment),
    "paid_payments": ("a payment that arrived belongs to a paid order", _payments_without_paid_order),
    "plans": ("every unit of a paid order is planned", _paid_without_plan),
    "created": ("a finished creation has its voucher", _created_without_voucher),
    "vouchers_paid": ("no voucher of an order that is not paid", _vouchers_without_paid_order),
    "documents": ("a finished document has its PDF", _documents_missing),
    "steps": ("no step waits for one that is done", _steps_forgotten),
    "totals": ("the total of an order is the sum of its units", _totals_off),
}
