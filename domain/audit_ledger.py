"""The audit's questions about money: entries, holds, answers, statuses. Each gives the rows that break its promise."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import peewee

from domain import entries, redemptions
from domain.states import EntryKind, HoldState, VoucherStatus
from models import Entry, Hold, IdempotencyRecord, Merchant, TimelineEntry, Voucher

_NOTHING_YET = (0, 0, "", datetime.min.replace(tzinfo=UTC))
_KEY_PREFIX = redemptions.operation_key("")


def balances_off() -> Iterable[str]:
    """Vouchers whose balance or version is not what their entries sum and count to."""
    total, count = peewee.fn.COALESCE(peewee.fn.SUM(Entry.amount_minor), 0), peewee.fn.COUNT(Entry.id)
    rows = (
        Voucher.select(Voucher.public_id)
        .join(Entry, peewee.JOIN.LEFT_OUTER)
        .group_by(Voucher.id, Voucher.public_id, Voucher.balance_minor, Voucher.version)
        .having((total != Voucher.balance_minor) | (count != Voucher.version))
    )
    return (row.public_id for row in rows)


def chains_broken() -> Iterable[str]:
    """Walk every voucher's entries: sequence, sum, time, currency, merchant and hash all have to continue."""
    voucher_id, before = 0, _NOTHING_YET
    rows = Entry.select(Entry, Voucher).join(Voucher).order_by(Entry.voucher, Entry.seq)
    for entry in rows.iterator():
        if entry.voucher_id != voucher_id:
            voucher_id, before = entry.voucher_id, _NOTHING_YET
        sequence, balance, previous_hash, moment = before
        sequence, balance = sequence + 1, balance + entry.amount_minor
        expected = entries.chain_hash(previous_hash, entries.chained_facts(entry))
        is_in_place = entry.seq == sequence and entry.balance_after_minor == balance >= 0
        is_same_world = (entry.currency, entry.merchant_id) == (entry.voucher.currency, entry.voucher.merchant_id)
        is_linked = (entry.previous_hash, entry.hash) == (previous_hash, expected) and entry.created_at >= moment
        if not (is_in_place and is_same_world and is_linked):
            yield entry.public_id
        before = (sequence, balance, entry.hash, entry.created_at)


def issues_off() -> Iterable[str]:
    """Vouchers with no issue or several."""
    rows = (
        Voucher.select(Voucher.public_id)
        .join(Entry, peewee.JOIN.LEFT_OUTER, on=(Entry.voucher == Voucher.id) & (Entry.kind == EntryKind.ISSUE))
        .group_by(Voucher.id, Voucher.public_id)
        .having(peewee.fn.COUNT(Entry.id) != 1)
    )
    return (row.public_id for row in rows)


def refunds_off() -> Iterable[str]:
    """Redemptions that gave back more than they took, and what gives back something else than its voucher's own."""
    redemption = Entry.alias()
    exceeded = _given_back(redemption).having(peewee.fn.SUM(Entry.amount_minor) + redemption.amount_minor > 0)
    misplaced = (
        Entry.select(Entry.public_id)
        .join(redemption, peewee.JOIN.LEFT_OUTER, on=(Entry.redemption == redemption.id))
        .where(
            Entry.redemption.is_null(False),
            redemption.id.is_null() | (redemption.kind != EntryKind.REDEEM) | (redemption.voucher != Entry.voucher),
        )
    )
    return (row["public_id"] for row in [*_dicts(exceeded), *_dicts(misplaced)])


def reversals_off() -> Iterable[str]:
    """Redemptions that were reversed twice, or reversed and yet not given back whole."""
    redemption = Entry.alias()
    reversals = peewee.fn.SUM(peewee.Case(None, [(Entry.kind == EntryKind.REVERSE, 1)], 0))
    is_whole = peewee.fn.SUM(Entry.amount_minor) + redemption.amount_minor == 0
    rows = _given_back(redemption).having((reversals > 1) | ((reversals == 1) & ~is_whole))
    return (row["public_id"] for row in _dicts(rows))


def holds_off() -> Iterable[str]:
    """Vouchers that hold another sum than their active holds, and holds that do not fit their redemption."""
    active = (Hold.voucher == Voucher.id) & (Hold.state == HoldState.ACTIVE)
    sums = (
        Voucher.select(Voucher.public_id)
        .join(Hold, peewee.JOIN.LEFT_OUTER, on=active)
        .group_by(Voucher.id, Voucher.public_id, Voucher.held_minor)
        .having(peewee.fn.COALESCE(peewee.fn.SUM(Hold.amount_minor), 0) != Voucher.held_minor)
    )
    fits = (
        (Entry.kind == EntryKind.REDEEM)
        & (Entry.voucher == Hold.voucher)
        & (Entry.merchant == Hold.merchant)
        & (Entry.amount_minor + Hold.amount_minor >= 0)  # a redemption is booked below zero
    )
    is_captured, has_entry = Hold.state == HoldState.CAPTURED, Entry.id.is_null(False)
    captures = (
        Hold.select(Hold.public_id)
        .join(Entry, peewee.JOIN.LEFT_OUTER, on=(Entry.hold == Hold.id))
        .where((is_captured & (Entry.id.is_null() | ~fits)) | (~is_captured & has_entry))
    )
    lost = (
        Entry.select(Entry.public_id)
        .join(Hold, peewee.JOIN.LEFT_OUTER, on=(Entry.hold == Hold.id))
        .where(Entry.hold.is_null(False), Hold.id.is_null())
    )
    return (row["public_id"] for query in (sums, captures, lost) for row in _dicts(query))


def liability_off() -> Iterable[str]:
    """Per merchant and currency: what was booked is what the vouchers still hold."""
    booked = _sums(Entry, Entry.amount_minor)
    held = _sums(Voucher, Voucher.balance_minor)
    names = {merchant.id: merchant.slug for merchant in Merchant.select()}
    for merchant_id, currency in booked.keys() | held.keys():
        if booked.get((merchant_id, currency), 0) != held.get((merchant_id, currency), 0):
            yield f"{names[merchant_id]} {currency}"


def answers_missing() -> Iterable[str]:
    """Keys without an answer."""
    # The row and its answer are one transaction, so no reader ever sees the one without the other.
    rows = IdempotencyRecord.select(IdempotencyRecord.key).where(IdempotencyRecord.status.is_null())
    return (row.key for row in rows)


def redemptions_unanswered() -> Iterable[str]:
    """Answers that promise a redemption which nobody booked, and redemptions whose call heard something else.

    A redemption without a stored answer is none that a program asked for, such as an example's.
    """
    booked = Entry.select().where(
        Entry.merchant == IdempotencyRecord.merchant,
        Entry.operation_key == peewee.Value(_KEY_PREFIX).concat(IdempotencyRecord.key),
    )
    is_redemption = [IdempotencyRecord.route.endswith(ending) for ending in redemptions.ROUTES]
    promised = IdempotencyRecord.select(IdempotencyRecord.key).where(
        IdempotencyRecord.status == 201, is_redemption[0] | is_redemption[1], ~peewee.fn.EXISTS(booked)
    )
    its_key = peewee.fn.SUBSTR(Entry.operation_key, len(_KEY_PREFIX) + 1)
    its_answer = (IdempotencyRecord.merchant == Entry.merchant) & (IdempotencyRecord.key == its_key)
    names_it = peewee.fn.COALESCE(IdempotencyRecord.body, "").contains(Entry.public_id)
    otherwise = (
        Entry.select(Entry.public_id)
        .join(IdempotencyRecord, on=its_answer)
        .where(
            Entry.operation_key.startswith(_KEY_PREFIX),
            IdempotencyRecord.status.is_null() | (IdempotencyRecord.status != 201) | ~names_it,
        )
    )
    yield from (row["key"] for row in _dicts(promised))
    yield from (row["public_id"] for row in _dicts(otherwise))


def statuses_off() -> Iterable[str]:
    """Vouchers that did in their status what nobody can, or that are not what was last told of them."""
    holds = Hold.select().where(Hold.voucher == Voucher.id)
    standing = holds.where(Hold.state == HoldState.ACTIVE)
    paid = Entry.select().where(Entry.voucher == Voucher.id, Entry.kind == EntryKind.REDEEM)
    rows = Voucher.select(Voucher.public_id).where(
        ((Voucher.status == VoucherStatus.CANCELLED) & ((Voucher.held_minor > 0) | peewee.fn.EXISTS(standing)))
        | ((Voucher.status == VoucherStatus.PENDING) & (peewee.fn.EXISTS(paid) | peewee.fn.EXISTS(holds)))
    )
    yield from (row.public_id for row in rows)
    told = (
        TimelineEntry.select(Voucher.public_id.alias("public_id"), Voucher.status.alias("status"), TimelineEntry.facts)
        .join(Voucher)
        .where(TimelineEntry.kind == "voucher_status_changed")
        .order_by(TimelineEntry.id)
    )
    last = {row["public_id"]: (row["facts"]["after"], row["status"]) for row in told.dicts().iterator()}
    yield from (public_id for public_id, (after, status) in last.items() if after != status)


def _given_back(redemption: Any) -> Any:
    """Refunds and reversals by the redemption that they give back; `redemption` is an alias of Entry."""
    return (
        Entry.select(redemption.public_id.alias("public_id"))
        .join(redemption, on=(Entry.redemption == redemption.id))
        .group_by(redemption.id, redemption.public_id, redemption.amount_minor)
    )


def _sums(table: Any, column: Any) -> dict[tuple[int, str], int]:
    rows = table.select(table.merchant, table.currency, peewee.fn.SUM(column).alias("total"))
    return {
        (row["merchant"], row["currency"]): row["total"]
        for row in _dicts(rows.group_by(table.merchant, table.currency))
    }


def _dicts(query: Any) -> Iterable[dict[str, Any]]:
    return list(query.dicts())
