"""A caller's key is worth one answer, for ever: stored in the same transaction as the booking that it answers."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import peewee

from database import Prepared, slot, slots, transaction
from domain import refusals
from models import IdempotencyRecord, Merchant

_LONGEST_KEY = 255
_TEST_MARK = "test§"
_CLAIM = Prepared(lambda: IdempotencyRecord.insert(slots(IdempotencyRecord)).on_conflict_ignore())
_KEEP = Prepared(
    lambda: IdempotencyRecord.update(
        {IdempotencyRecord.status: slot("status"), IdempotencyRecord.body: slot("body")}
    ).where(IdempotencyRecord.merchant == slot("merchant_id"), IdempotencyRecord.key == slot("key"))
)


@dataclass(frozen=True)
class Answer:
    """HTTP status and body text, and whether they come from the first call with this key."""

    status: int
    body: str
    is_replay: bool = False


def once(
    merchant: Merchant, *, key: str, route: str, fingerprints: Sequence[str], work: Callable[[], Answer]
) -> Answer:
    """Run `work` for this key or give back the answer it once got.

    `fingerprints` are the request's under every key of the vault, the writing one first. `work` runs inside the
    transaction and turns a Refusal into an Answer itself, so refusals are stored too; any other exception rolls back
    and stores nothing, so that the same key runs again. Raises IdempotencyConflict for another route or body,
    AlreadyReversed when the call was reversed before it came, RequestInProgress when the first call holds the key
    longer than the database waits.
    """
    with patiently():
        if not _claim(merchant, key=key, route=route, fingerprint=fingerprints[0]):
            return _replay(merchant, key=key, route=route, fingerprints=fingerprints)
        answer = work()
        _KEEP.write(merchant_id=merchant.id, key=key, status=answer.status, body=answer.body)
        return answer


def scoped(key: str, *, is_test: bool) -> str:
    """`key` as it is stored: test and live are two worlds, and a test key must not speak for a live call.

    The mark is no ASCII, so no caller can send it; a key that would not fit behind it is stored as its SHA-256.
    """
    if not is_test:
        return key
    fits = len(key) <= _LONGEST_KEY - len(_TEST_MARK)
    return _TEST_MARK + (key if fits else hashlib.sha256(key.encode()).hexdigest())


@contextmanager
def patiently() -> Iterator[None]:
    """A transaction that waits for a twin as long as the database does, and then raises RequestInProgress."""
    try:
        with transaction():
            yield
    except peewee.OperationalError as error:
        if _is_lock_timeout(error):
            raise refusals.RequestInProgress("Send the same request again in a moment.") from error
        raise


def bury(merchant: Merchant, *, key: str) -> bool:
    """Plant a tombstone for a call that nobody has seen, inside a transaction: whoever sends it later is refused.

    False when the key is known; a call that is being booked right now is waited for.
    """
    return _claim(merchant, key=key, route=IdempotencyRecord.TOMBSTONE, fingerprint="", status=409)


def find(merchant: Merchant, *, key: str) -> IdempotencyRecord | None:
    """What is stored for this key, or None."""
    record: IdempotencyRecord | None = IdempotencyRecord.get_or_none(
        IdempotencyRecord.merchant == merchant, IdempotencyRecord.key == key
    )
    return record


def _claim(merchant: Merchant, *, key: str, route: str, fingerprint: str, status: int | None = None) -> bool:
    # A twin with the same key waits here: on PostgreSQL in the index, on SQLite in BEGIN IMMEDIATE.
    row = IdempotencyRecord(merchant=merchant, key=key, route=route, fingerprint=fingerprint, status=status, body=None)
    return bool(_CLAIM.write(**row.__data__))


def _replay(merchant: Merchant, *, key: str, route: str, fingerprints: Sequence[str]) -> Answer:
    record = IdempotencyRecord.get(IdempotencyRecord.merchant == merchant, IdempotencyRecord.key == key)
    if record.is_tombstone:
        raise refusals.AlreadyReversed("This call was reversed before it arrived; nothing was booked.")
    if record.route != route or record.fingerprint not in fingerprints:
        raise refusals.IdempotencyConflict("Use a fresh Idempotency-Key for a new request.")
    return Answer(record.status or 0, record.body or "", is_replay=True)


def _is_lock_timeout(error: peewee.OperationalError) -> bool:
    text = str(error)
    return "lock timeout" in text or "database is locked" in text
