"""What happened to my call? A till that lost an answer asks by its own key, and takes the call back by it."""

from dataclasses import dataclass
from enum import StrEnum

from domain import idempotency, ledger, refusals
from domain.entries import NO_TILL, Till
from domain.states import EntryKind
from models import Entry, IdempotencyRecord, Merchant, Voucher

# How the addresses end whose calls redeem: by a voucher's code or id, and by its hold.
ROUTES = ("/redeem", "/capture")


class Outcome(StrEnum):
    """What became of a redemption. A blocked one was reversed before it came, and will be refused when it does."""

    BOOKED = "booked"
    REVERSED = "reversed"
    REFUSED = "refused"
    BLOCKED = "blocked"
    NEVER_SEEN = "never_seen"


@dataclass(frozen=True)
class Story:
    """The outcome, the answer that the call got, its redemption and the reversal, as far as there are any.

    `is_new` is true when this very call reversed or blocked; `voucher` is then as the reversal left it.
    """

    outcome: Outcome
    record: IdempotencyRecord | None = None
    redemption: Entry | None = None
    reversal: Entry | None = None
    voucher: Voucher | None = None
    is_new: bool = False


def operation_key(key: str) -> str:
    """The ledger's name for the redemption that a caller's key booked."""
    return f"redeem:{key}"


def tell(merchant: Merchant, *, key: str, is_test: bool) -> Story:
    """The story of the redemption or capture that was called with `key`; of another call's key, IdempotencyConflict."""
    record = idempotency.find(merchant, key=key)
    if record is None:
        return Story(Outcome.NEVER_SEEN)
    if record.is_tombstone:
        return Story(Outcome.BLOCKED, record)
    redemption = _redemption(merchant, key, is_test=is_test)
    if redemption is None:
        return _untold(record)
    reversal = Entry.get_or_none(Entry.redemption == redemption, Entry.kind == EntryKind.REVERSE)
    return Story(Outcome.REVERSED if reversal else Outcome.BOOKED, record, redemption, reversal)


def reverse(
    merchant: Merchant, *, key: str, is_test: bool, actor: str, reason: str = "", till: Till = NO_TILL
) -> Story:
    """Take back the redemption that was called with `key`, whatever became of it, in one transaction.

    Booked: given back. Never seen: blocked for ever. Refused, blocked or reversed before: the same story again, so a
    reversal can be repeated until it is heard. Raises RefundExceedsRedemption when refunds gave all of it back,
    IdempotencyConflict for the key of another kind of call, and RequestInProgress for one that is just being booked.
    """
    with idempotency.patiently():
        if idempotency.bury(merchant, key=key):
            return Story(Outcome.BLOCKED, is_new=True)
        story = tell(merchant, key=key, is_test=is_test)
        if story.outcome != Outcome.BOOKED or story.redemption is None:
            return story
        try:
            booked = ledger.reverse(
                story.redemption, operation_key=f"reverse:{key}", actor=actor, reason=reason, till=till
            )
        except refusals.AlreadyReversed:  # the same call came twice at one moment, and the other one had the lock first
            return tell(merchant, key=key, is_test=is_test)
        return Story(Outcome.REVERSED, story.record, story.redemption, booked.entry, booked.voucher, is_new=True)


def _redemption(merchant: Merchant, key: str, *, is_test: bool) -> Entry | None:
    found: Entry | None = (
        Entry.select(Entry, Voucher)
        .join(Voucher)
        .where(Entry.merchant == merchant, Entry.operation_key == operation_key(key), Voucher.is_test == is_test)
        .first()
    )
    return found


def _untold(record: IdempotencyRecord) -> Story:
    if record.route.endswith(ROUTES) and record.status is not None and record.status >= 400:
        return Story(Outcome.REFUSED, record)
    raise refusals.IdempotencyConflict("This key belongs to a call that was no redemption.")
