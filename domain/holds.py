"""Money set aside for one bill: place, capture, release, extend. The only writer of holds.

A hold promises a till that its money is still there when the guest has finished. Several may stand on one voucher;
together they never exceed its balance. One whose time is over counts for nothing from that moment on, whoever looks.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import peewee

from database import transaction
from domain import clock, entries, refusals, statuses, timeline, validation
from domain.entries import NO_TILL, Till
from domain.states import EntryKind, HoldState
from domain.statuses import Verb
from models import Entry, Hold, Merchant, Voucher

USUAL_LIFE = timedelta(minutes=15)
# Counted from the hold's birth, extensions included: a forgotten hold must not lock a guest's money away.
LONGEST_LIFE = timedelta(hours=24)


@dataclass(frozen=True)
class Placed:
    """A new hold, the voucher with it, and the sums as a redemption would have them."""

    hold: Hold
    voucher: Voucher
    calculation: validation.Calculation


@dataclass(frozen=True)
class Captured:
    """The redemption that a hold became, with the hold and the voucher after it."""

    entry: Entry
    hold: Hold
    voucher: Voucher


def find(merchant: Merchant, public_id: str, *, is_test: bool) -> Hold:
    """The merchant's hold of this mode. Raises HoldNotFound."""
    found: Hold | None = (
        Hold.select(Hold, Voucher)
        .join(Voucher)
        .where(Hold.merchant == merchant, Hold.public_id == public_id, Voucher.is_test == is_test)
        .first()
    )
    if found is None:
        raise refusals.HoldNotFound("No hold of this merchant has this id.")
    return found


def place(
    voucher_id: int | None,
    *,
    amount_minor: int,
    currency: str,
    operation_key: str,
    actor: str,
    life: timedelta = USUAL_LIFE,
    customer_id: str | None = None,
    is_exact: bool = False,
    till: Till = NO_TILL,
) -> Placed:
    """Set `amount_minor` aside, or what is left when the balance is short and `is_exact` is False.

    The same seven checks as a redemption, with the same refusals; `voucher_id` None stands for a code that nobody has.
    """
    voucher = lock(voucher_id)
    sums = validation.require(
        voucher, amount_minor=amount_minor, currency=currency, customer_id=customer_id, is_exact=is_exact
    )
    now = clock.now()
    hold = Hold.create(
        public_id=entries.new_public_id("hld"),
        voucher=voucher,
        merchant_id=voucher.merchant_id,
        amount_minor=sums.applicable_amount_minor,
        operation_key=operation_key,
        actor=actor,
        reference=till.reference,
        location=till.location,
        terminal=till.terminal,
        description=till.description,
        created_at=now,
        expires_at=now + min(life, LONGEST_LIFE),
    )
    voucher.held_minor += hold.amount_minor
    return Placed(hold, voucher, sums)


def capture(
    hold: Hold, *, amount_minor: int | None = None, operation_key: str, actor: str, till: Till = NO_TILL
) -> Captured:
    """Turn a hold into a redemption of `amount_minor` (None: all of it); the rest is free again.

    A voucher that expired after the hold was placed still pays: the guest came in time. One that was suspended or
    cancelled does not: VoucherInactive. Raises HoldExpired, HoldClosed, and InsufficientBalance beyond the hold.
    """
    voucher, hold = _lock_with_hold(hold)
    statuses.require(voucher, Verb.CAPTURE)
    _require_active(hold)
    taken_minor = hold.amount_minor if amount_minor is None else amount_minor
    if taken_minor > hold.amount_minor:
        detail = f"The hold is for {hold.amount_minor} minor units; the bill asks for {taken_minor}."
        raise refusals.InsufficientBalance(detail, available_minor=hold.amount_minor)
    free_expired(voucher)
    # First the hold, then the entry: the ledger lets nobody take what is held.
    _close(voucher, hold, HoldState.CAPTURED)
    entry = entries.append(
        voucher,
        EntryKind.REDEEM,
        amount_minor=-taken_minor,
        operation_key=operation_key,
        actor=actor,
        hold=hold,
        till=_till_of(hold, till),
    )
    return Captured(entry, hold, voucher)


def release(hold: Hold, *, actor: str) -> Hold:
    """Free what a hold set aside, and tell it. One that is released or expired stays so; a captured one: HoldClosed."""
    voucher, hold = lock(hold.voucher_id), Hold.get_by_id(hold.id)
    if hold.state == HoldState.CAPTURED:
        raise refusals.HoldClosed("The hold was captured; reverse its redemption instead.", state=str(hold.state))
    if hold.state == HoldState.ACTIVE:
        _close(voucher, hold, HoldState.RELEASED)
        timeline.tell(voucher, "hold_released", actor=actor, amount_minor=hold.amount_minor)
    return hold


def extend(hold: Hold, *, life: timedelta) -> Hold:
    """Let a hold live for at least `life` from now; it never ends sooner than it would have.

    Raises HoldExpired, HoldClosed, and FieldsRefused beyond `LONGEST_LIFE`.
    """
    voucher, hold = _lock_with_hold(hold)
    statuses.require(voucher, Verb.EXTEND)
    _require_active(hold)
    expires_at = max(hold.expires_at, clock.now() + life)
    if expires_at > hold.created_at + LONGEST_LIFE:
        detail = f"A hold lives for {LONGEST_LIFE.total_seconds():.0f} seconds at most, counted from its start."
        raise refusals.FieldsRefused({"ttl_seconds": ("too_large", detail)})
    Hold.update(expires_at=expires_at).where(Hold.id == hold.id).execute()
    hold.expires_at = expires_at
    return hold


def lock(voucher_id: int | None) -> Voucher:
    """The locked voucher with its expired holds freed, for whoever is about to take from it.

    None stands for a code that nobody has: VoucherNotFound.
    """
    if voucher_id is None:
        raise refusals.VoucherNotFound("No voucher of this merchant has this code.")
    voucher = entries.lock(voucher_id)
    if voucher.held_minor:
        free_expired(voucher)
    return voucher


def free_expired(voucher: Voucher) -> None:
    """Close the holds of a locked voucher whose time is over."""
    over = Hold.select().where(Hold.voucher == voucher, Hold.state == HoldState.ACTIVE, Hold.expires_at <= clock.now())
    for hold in over:
        _close(voucher, hold, HoldState.EXPIRED)


def release_all(voucher: Voucher) -> None:
    """Close every hold of a locked voucher that is cancelled."""
    free_expired(voucher)
    for hold in Hold.select().where(Hold.voucher == voucher, Hold.state == HoldState.ACTIVE):
        _close(voucher, hold, HoldState.RELEASED)


def as_of_now(voucher: Voucher) -> Voucher:
    """`voucher` with `held_minor` counting only the holds that still stand; nothing is written."""
    if voucher.held_minor:
        live = Hold.select(peewee.fn.COALESCE(peewee.fn.SUM(Hold.amount_minor), 0)).where(
            Hold.voucher == voucher, Hold.state == HoldState.ACTIVE, Hold.expires_at > clock.now()
        )
        voucher.held_minor = int(live.scalar())
    return voucher


def sweep(*, at: datetime, limit: int = 200) -> int:
    """Close expired holds that nobody has looked at since, each in a transaction of its own; how many there were."""
    over = Hold.select(Hold.voucher).where(Hold.state == HoldState.ACTIVE, Hold.expires_at <= at).distinct()
    voucher_ids = [row.voucher_id for row in over.limit(limit)]
    for voucher_id in voucher_ids:
        with transaction():
            lock(voucher_id)
    return len(voucher_ids)


def _lock_with_hold(hold: Hold) -> tuple[Voucher, Hold]:
    # The voucher's row guards its holds, so that a capture and a redemption never look at the same money.
    voucher = entries.lock(hold.voucher_id)
    return voucher, Hold.get_by_id(hold.id)


def _require_active(hold: Hold) -> None:
    state = hold.shown_state(clock.now())
    if state == HoldState.EXPIRED:
        ended = hold.expires_at.isoformat()
        raise refusals.HoldExpired(f"The hold ended at {ended}; nothing was booked.", expired_at=ended)
    if state != HoldState.ACTIVE:
        raise refusals.HoldClosed(f"The hold is {state}; nothing was booked.", state=str(state))


def _close(voucher: Voucher, hold: Hold, state: HoldState) -> None:
    now = clock.now()
    Hold.update(state=state, ended_at=now).where(Hold.id == hold.id).execute()
    hold.state, hold.ended_at = state, now
    voucher.held_minor -= hold.amount_minor


def _till_of(hold: Hold, till: Till) -> Till:
    """What the capture says, and for what it leaves out what the hold said."""
    return Till(
        reference=till.reference or hold.reference,
        location=till.location or hold.location,
        terminal=till.terminal or hold.terminal,
        description=till.description or hold.description,
    )
