"""The verbs of money: issue, redeem, refund, reverse, adjust; and what a balance was at any moment.

Every verb runs inside a transaction that its caller owns, locks the voucher, checks, and appends one entry.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import peewee

from domain import entries, holds, refusals, statuses, timeline, validation
from domain.entries import NO_TILL, Till
from domain.states import EntryKind, VoucherStatus, VoucherType
from domain.statuses import Verb
from models import Entry, Merchant, Unit, Voucher


@dataclass(frozen=True)
class NewCode:
    """A code that the vault has sealed: what may be stored of it, never the code itself."""

    public_id: str
    hmac: str
    ciphertext: bytes
    key_id: str
    last4: str
    link_hash: str


@dataclass(frozen=True)
class Redemption:
    """A booked redemption, the voucher after it and the sums."""

    entry: Entry
    voucher: Voucher
    calculation: validation.Calculation


@dataclass(frozen=True)
class Booked:
    """A booked entry and the voucher after it."""

    entry: Entry
    voucher: Voucher


def issue(
    merchant: Merchant,
    *,
    value_minor: int,
    currency: str,
    code: NewCode,
    operation_key: str,
    actor: str,
    unit: Unit | None = None,
    type: VoucherType = VoucherType.GIFT_CARD,
    status: VoucherStatus = VoucherStatus.ACTIVE,
    customer_id: str | None = None,
    valid_from: datetime | None = None,
    expires_at: datetime | None = None,
    is_transferable: bool = True,
    metadata: dict[str, str] | None = None,
    reason: str = "",
    is_test: bool,
) -> Voucher:
    """Create a voucher worth `value_minor` with its one `issue` entry.

    Raises peewee.IntegrityError when the unit already has its voucher or the code exists: nothing is written then, as
    when FieldsRefused says that no voucher is worth so much.
    """
    # Before the row: callers keep a refusal as their answer, and what was written before it.
    entries.require_countable(value_minor, field="initial_balance_minor")
    voucher = Voucher.create(
        public_id=code.public_id,
        merchant=merchant,
        unit=unit,
        type=type,
        currency=currency,
        status=status,
        customer_id=customer_id,
        valid_from=valid_from,
        expires_at=expires_at,
        is_transferable=is_transferable,
        metadata=metadata or {},
        code_hmac=code.hmac,
        code_ciphertext=code.ciphertext,
        code_key_id=code.key_id,
        code_last4=code.last4,
        link_hash=code.link_hash,
        is_test=is_test,
    )
    entries.append(
        voucher, EntryKind.ISSUE, amount_minor=value_minor, operation_key=operation_key, actor=actor, reason=reason
    )
    return voucher


def redeem(
    voucher_id: int | None,
    *,
    amount_minor: int,
    currency: str,
    operation_key: str,
    actor: str,
    customer_id: str | None = None,
    is_exact: bool = False,
    till: Till = NO_TILL,
) -> Redemption:
    """Take `amount_minor`, or what is left when the balance is short and `is_exact` is False.

    `voucher_id` None stands for a code that nobody has. Raises the Refusal of the first check that fails, and
    InsufficientBalance for an exact redemption beyond the balance.
    """
    voucher = holds.lock(voucher_id)
    sums = validation.require(
        voucher, amount_minor=amount_minor, currency=currency, customer_id=customer_id, is_exact=is_exact
    )
    entry = entries.append(
        voucher,
        EntryKind.REDEEM,
        amount_minor=-sums.applicable_amount_minor,
        operation_key=operation_key,
        actor=actor,
        till=till,
    )
    return Redemption(entry, voucher, sums)


def refund(
    redemption: Entry, *, amount_minor: int, operation_key: str, actor: str, reason: str = "", till: Till = NO_TILL
) -> Booked:
    """Give back a part of a redemption, or all that is left of it.

    Allowed in every status and reviving none. Raises RefundExceedsRedemption and AlreadyReversed.
    """
    voucher = _lock_for(redemption, Verb.REFUND)
    left_minor = refundable_minor(redemption)
    if _is_reversed(redemption):
        raise refusals.AlreadyReversed("This redemption was reversed; nothing of it is left to refund.")
    if amount_minor > left_minor:
        detail = f"{left_minor} of this redemption's {-redemption.amount_minor} minor units can still be refunded."
        raise refusals.RefundExceedsRedemption(detail, refundable_minor=left_minor)
    return _book(
        voucher,
        EntryKind.REFUND,
        told="voucher_refunded",
        amount_minor=amount_minor,
        operation_key=operation_key,
        actor=actor,
        reason=reason,
        redemption=redemption,
        till=till,
    )


def reverse(redemption: Entry, *, operation_key: str, actor: str, reason: str = "", till: Till = NO_TILL) -> Booked:
    """Undo a redemption: give back whatever of it was not refunded yet.

    Raises AlreadyReversed, and RefundExceedsRedemption when refunds gave back all of it before.
    """
    voucher = _lock_for(redemption, Verb.REVERSE)
    if _is_reversed(redemption):
        raise refusals.AlreadyReversed("This redemption was reversed before.")
    left_minor = refundable_minor(redemption)
    if left_minor == 0:
        raise refusals.RefundExceedsRedemption("This redemption was refunded in full before.", refundable_minor=0)
    return _book(
        voucher,
        EntryKind.REVERSE,
        told="redemption_reversed",
        amount_minor=left_minor,
        operation_key=operation_key,
        actor=actor,
        reason=reason,
        redemption=redemption,
        till=till,
    )


def adjust(
    voucher_id: int, *, amount_minor: int, reason: str, operation_key: str, actor: str, till: Till = NO_TILL
) -> Booked:
    """Correct a balance by `amount_minor` (not 0), with a reason. Held money is not taken: InsufficientBalance."""
    if amount_minor == 0 or not reason.strip():
        raise ValueError("an adjustment moves something and says why")
    voucher = holds.lock(voucher_id)
    statuses.require(voucher, Verb.ADJUST)
    if -amount_minor > voucher.available_minor:
        detail = f"Only {voucher.available_minor} minor units can be taken off."
        raise refusals.InsufficientBalance(detail, available_minor=voucher.available_minor)
    return _book(
        voucher,
        EntryKind.ADJUST,
        told="voucher_adjusted",
        amount_minor=amount_minor,
        operation_key=operation_key,
        actor=actor,
        reason=reason.strip(),
        till=till,
    )


def void(voucher_id: int, *, amount_minor: int, reason: str, operation_key: str, actor: str) -> Booked | None:
    """Take value off because its price goes back to the buyer: `amount_minor`, or what is left and not held.

    None when nothing is there to take. Allowed in every status.
    """
    voucher = holds.lock(voucher_id)
    taken_minor = min(amount_minor, voucher.available_minor)
    if taken_minor == 0:
        return None
    return _book(
        voucher,
        EntryKind.VOID,
        told="value_taken_off",
        amount_minor=-taken_minor,
        operation_key=operation_key,
        actor=actor,
        reason=reason,
        till=NO_TILL,
    )


def undo_void(entry: Entry, *, reason: str, actor: str) -> Booked:
    """Put back what `void` took, once: its price did not go back after all. Allowed in every status."""
    if entry.kind != EntryKind.VOID:
        raise ValueError(f"only a void can be undone, not {entry.kind}")
    voucher = holds.lock(entry.voucher_id)
    return _book(
        voucher,
        EntryKind.ADJUST,
        told="value_put_back",
        amount_minor=-entry.amount_minor,
        operation_key=f"{entry.operation_key}:back",
        actor=actor,
        reason=reason,
        till=NO_TILL,
    )


def is_spent(voucher: Voucher) -> bool:
    """True when a redemption of it stands that was not given back whole."""
    spent = Entry.select(peewee.fn.COALESCE(peewee.fn.SUM(Entry.amount_minor), 0)).where(
        Entry.voucher == voucher, Entry.kind.in_((EntryKind.REDEEM, EntryKind.REFUND, EntryKind.REVERSE))
    )
    return int(spent.scalar()) != 0


def refundable_minor(redemption: Entry) -> int:
    """What refunds and reversals have left of a redemption, in minor units."""
    given_back = Entry.select(peewee.fn.COALESCE(peewee.fn.SUM(Entry.amount_minor), 0)).where(
        Entry.redemption == redemption
    )
    return -redemption.amount_minor - int(given_back.scalar())


def balance_at(voucher: Voucher, at: datetime) -> int:
    """What the voucher was worth at a moment, in minor units: the balance after its last entry until then."""
    last: Entry | None = voucher.entries.where(Entry.created_at <= at).first()
    return last.balance_after_minor if last is not None else 0


def liability_at(merchant: Merchant, at: datetime, *, is_test: bool) -> dict[str, int]:
    """Currency → what the merchant owed to all holders of vouchers at a moment, in minor units."""
    rows: Any = (
        Entry.select(Entry.currency, peewee.fn.SUM(Entry.amount_minor))
        .join(Voucher)
        .where(Entry.merchant == merchant, Entry.created_at <= at, Voucher.is_test == is_test)
        .group_by(Entry.currency)
        .order_by(Entry.currency)
        .tuples()
    )
    return {currency: int(total_minor) for currency, total_minor in rows}


def _book(
    voucher: Voucher,
    kind: EntryKind,
    *,
    told: str,
    amount_minor: int,
    operation_key: str,
    actor: str,
    reason: str,
    till: Till,
    redemption: Entry | None = None,
) -> Booked:
    """Append the entry, and tell it in the timeline as `told`."""
    entry = entries.append(
        voucher,
        kind,
        amount_minor=amount_minor,
        operation_key=operation_key,
        actor=actor,
        reason=reason,
        redemption=redemption,
        till=till,
    )
    timeline.tell(
        voucher,
        told,
        actor=actor,
        amount_minor=entry.amount_minor,
        balance_after_minor=entry.balance_after_minor,
        reason=entry.reason,
    )
    return Booked(entry, voucher)


def _lock_for(redemption: Entry, verb: Verb) -> Voucher:
    if redemption.kind != EntryKind.REDEEM:
        raise ValueError(f"only a redemption can be given back, not {redemption.kind}")
    voucher = holds.lock(redemption.voucher_id)
    statuses.require(voucher, verb)
    return voucher


def _is_reversed(redemption: Entry) -> bool:
    return Entry.select().where(Entry.redemption == redemption, Entry.kind == EntryKind.REVERSE).exists()
