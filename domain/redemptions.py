"""What happened to my call? A till that lost an answer asks by its own key, and takes the call back by it."""

from dataclasses import dataclass
from enum import StrEnum

from database import transaction
from domain import idempotency, ledger, refusals
from domain.entries import NO_TILL, Till
from domain.states import EntryKind
from models import Entry, IdempotencyRecord, Merchant, Voucher


class Outcome(StrEnum):
    """What became of a redemption. A blocked one was reversed before it came, and will be refused when it does."""

    BOOKED = "booked"
    REVERSED = "reversed"
    REFUSED = "refused"
    BLOCKED = "blocked"
    NEVER_SEEN = "never_seen"


@dataclass(frozen=True)
class Story:
    """The outcome, the answer that the call got, its redemption and the reversal, as far as there are any."""

    outcome: Outcome
    record: IdempotencyRecord | None = None
    redemption: Entry | None = None
    reversal: Entry | None = None


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
    reversal can be repeated until it is heard. Raises RefundExceedsRedemption when refunds gave all of it back, and
    IdempotencyConflict for the key of another kind of call.
    """
    with transaction():
        if idempotency.bury(merchant, key=key):
            return tell(merchant, key=key, is_test=is_test)
        story = tell(merchant, key=key, is_test=is_test)
        if story.outcome != Outcome.BOOKED or story.redemption is None:
            return story
        booked = ledger.reverse(story.redemption, operation_key=f"reverse:{key}", actor=actor, reason=reason, till=till)
        return Story(Outcome.REVERSED, story.record, story.redemption, booked.entry)


def _redemption(merchant: Merchant, key: str, *, is_test: bool) -> Entry | None:
    found: Entry | None = (
        Entry.select(Entry, Voucher)
        .join(Voucher)
        .where(Entry.merchant == merchant, Entry.operation_key == operation_key(key), Voucher.is_test == is_test)
        .first()
    )
    return found


def _untold(record: IdempotencyRecord) -> Story:
    if record.status is not None and record.status >= 400:
        return Story(Outcome.REFUSED, record)
    raise refusals.IdempotencyConflict("This key belongs to a call that was no redemption.")
