"""Many vouchers at once: `draft → running ⇄ paused → done | stopped`. The only writer of batches and their rows.

Rows are the truth. Whoever claims a batch holds a lease and a token; each handful of rows is one transaction that first
makes sure that both still hold, so a worker that was killed or overtaken can neither double a row nor lose one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import peewee

from database import db, is_postgresql, transaction
from domain import clock, entries, timeline
from domain.states import BatchKind, BatchState, RowState, VoucherType
from models import Batch, BatchRow, Merchant, Voucher

# A worker that dies holds its batch for so long; one that lives asks for more with every handful of rows.
LEASE = timedelta(seconds=30)
# A running batch whose last voucher is older than this waits for a worker.
SILENT_AFTER = timedelta(seconds=15)
_AT_ONCE = 400
_RECENT = 100


@dataclass(frozen=True)
class NewRow:
    """A line that was read and sealed. `problem` is empty for a line that can be issued."""

    row_no: int
    key_id: str
    sealed: bytes
    code_hmac: str | None = None
    value_minor: int | None = None
    expires_at: datetime | None = None
    customer_id: str | None = None
    reference: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Tally:
    """How many rows stand where, and what they are worth in minor units."""

    counts: dict[str, int]
    sums_minor: dict[str, int]

    @property
    def waiting(self) -> int:
        return self.counts.get(RowState.WAITING, 0)

    @property
    def done(self) -> int:
        return self.counts.get(RowState.DONE, 0)

    @property
    def failed(self) -> int:
        return self.counts.get(RowState.FAILED, 0)

    @property
    def refused(self) -> int:
        return self.counts.get(RowState.REFUSED, 0)

    @property
    def total(self) -> int:
        """Every row that was to be issued."""
        return self.waiting + self.done + self.failed

    @property
    def waiting_minor(self) -> int:
        return self.sums_minor.get(RowState.WAITING, 0)

    @property
    def done_minor(self) -> int:
        return self.sums_minor.get(RowState.DONE, 0)


class LeaseLost(Exception):
    """Somebody else holds the batch by now, or a person has paused or stopped it; roll the handful back."""


class BatchMoved(Exception):
    """The batch is not in a state from which this goes any more; somebody was faster."""


def draft(
    merchant: Merchant,
    *,
    public_id: str,
    kind: BatchKind,
    name: str,
    type: VoucherType,
    is_test: bool,
    actor: str,
    rows: Iterable[NewRow],
) -> Batch:
    """Keep a dry run: its batch and all of its rows, or nothing. No voucher exists yet."""
    now = clock.now()
    with transaction():
        batch = Batch.create(
            public_id=public_id,
            merchant=merchant,
            kind=kind,
            name=name,
            currency=merchant.currency,
            type=type,
            is_test=is_test,
            actor=actor,
            created_at=now,
        )
        for some in _portions(rows):
            BatchRow.insert_many([_columns(batch, row) for row in some]).execute()
    return batch


def discard(batch: Batch) -> None:
    """Throw a draft away with everything that was uploaded. Raises BatchMoved for a batch that was started."""
    with transaction():
        _move(batch, BatchState.STOPPED, only_from=(BatchState.DRAFT,), finished_at=clock.now())
        BatchRow.delete().where(BatchRow.batch == batch).execute()
        Batch.delete().where(Batch.id == batch.id).execute()


def start(batch: Batch, *, actor: str) -> None:
    """Let the workers have it. Raises BatchMoved when it is no draft, so ten clicks are one start."""
    now = clock.now()
    with transaction():
        _move(
            batch,
            BatchState.RUNNING,
            only_from=(BatchState.DRAFT,),
            started_at=now,
            lease_until=now,
            actor=actor,
            liability_before_minor=liability_minor(batch),
        )
        _record(batch, "batch_started", actor=actor, value_minor=tally(batch).waiting_minor)


def pause(batch: Batch) -> None:
    """No further row begins; the handful that is under way is finished first. Raises BatchMoved."""
    with transaction():
        _move(batch, BatchState.PAUSED, only_from=(BatchState.RUNNING,))


def resume(batch: Batch) -> None:
    """Go on with the rows that wait. Raises BatchMoved."""
    with transaction():
        _move(batch, BatchState.RUNNING, only_from=(BatchState.PAUSED,), lease_until=clock.now())


def stop(batch: Batch, *, actor: str) -> None:
    """End it for good. What was issued stays, rows that wait stay as they are. Raises BatchMoved."""
    with transaction():
        _close(batch, BatchState.STOPPED, only_from=(BatchState.RUNNING, BatchState.PAUSED), actor=actor)


def claim(*, batch_id: int | None = None) -> Batch | None:
    """Take the due batch that has waited longest (or this one), with a fresh token; None when nothing is due."""
    now = clock.now()
    due = Batch.select(Batch.id).where(_is_due(now))
    if batch_id is not None:
        due = due.where(Batch.id == batch_id)
    # Whoever had its turn last is behind the others: two merchants' batches go side by side.
    due = due.order_by(Batch.lease_until, Batch.id).limit(1)
    with transaction():
        found = (due.for_update(skip_locked=True) if is_postgresql() else due).first()
        if found is None:
            return None
        taken = Batch.update(token=Batch.token + 1, lease_until=now + LEASE).where(Batch.id == found.id, _is_due(now))
        return Batch.get_by_id(found.id) if taken.execute() else None


def hold(batch: Batch) -> None:
    """Make sure that the batch is still ours and running, and ask for more time; first in each transaction.

    The row stays locked until the commit, so pausing or taking over waits for the handful. Raises LeaseLost.
    """
    if not db.in_transaction():
        raise RuntimeError("a batch is held inside the transaction that writes its rows")
    ours = Batch.id == batch.id, Batch.token == batch.token, Batch.state == BatchState.RUNNING
    if not Batch.update(lease_until=clock.now() + LEASE).where(*ours).execute():
        raise LeaseLost(f"batch {batch.public_id} is not ours any more (token {batch.token})")


def release(batch: Batch) -> None:
    """Let the next worker have it; it stands behind the other batches. Never raises over a lost lease."""
    with transaction():
        Batch.update(lease_until=clock.now()).where(
            Batch.id == batch.id, Batch.token == batch.token, Batch.state == BatchState.RUNNING
        ).execute()


def next_rows(batch: Batch, *, limit: int) -> list[BatchRow]:
    """The next rows that wait, in the order of the file."""
    return list(batch.rows.where(BatchRow.state == RowState.WAITING).limit(limit))


def mark_done(row: BatchRow, voucher: Voucher) -> None:
    """The row has its voucher; part of the transaction that issues it."""
    _settle(row, state=RowState.DONE, voucher=voucher)


def mark_failed(row: BatchRow, *, problem: str, detail: str = "") -> None:
    """The row can't become a voucher; the others go on."""
    _settle(row, state=RowState.FAILED, problem=problem, detail=detail[:500] or None)


def finish(batch: Batch) -> None:
    """No row waits any more. Raises LeaseLost."""
    with transaction():
        hold(batch)
        _close(batch, BatchState.DONE, only_from=(BatchState.RUNNING,), actor=batch.actor)


def liability_minor(batch: Batch) -> int:
    """What the merchant owes to all holders of vouchers now, in the batch's currency and mode: the balances' sum."""
    owed = Voucher.select(peewee.fn.COALESCE(peewee.fn.SUM(Voucher.balance_minor), 0)).where(
        Voucher.merchant == batch.merchant, Voucher.currency == batch.currency, Voucher.is_test == batch.is_test
    )
    return int(owed.scalar())


def tally(batch: Batch) -> Tally:
    """Count the rows by state."""
    return tallies([batch]).get(batch.id, Tally({}, {}))


def tallies(listed: Iterable[Batch]) -> dict[int, Tally]:
    """Batch id → its tally, in one query."""
    total = peewee.fn.COALESCE(peewee.fn.SUM(BatchRow.value_minor), 0)
    rows: Any = (
        BatchRow.select(BatchRow.batch, BatchRow.state, peewee.fn.COUNT(BatchRow.id), total)
        .where(BatchRow.batch.in_([batch.id for batch in listed]))
        .group_by(BatchRow.batch, BatchRow.state)
        .tuples()
    )
    found: dict[int, Tally] = {}
    for batch_id, state, count, sum_minor in rows:
        kept = found.setdefault(batch_id, Tally({}, {}))
        kept.counts[state], kept.sums_minor[state] = count, int(sum_minor)
    return found


def seconds_left(batch: Batch, *, waiting: int, at: datetime) -> float | None:
    """How long the rows that wait will take at the pace of the latest ones; None while nobody can say."""
    made: Any = (
        Voucher.select(Voucher.created_at)
        .join(BatchRow, on=(BatchRow.voucher == Voucher.id))
        .where(BatchRow.batch == batch, BatchRow.state == RowState.DONE)
        .order_by(BatchRow.row_no.desc())
        .limit(_RECENT)
    )
    moments = [voucher.created_at for voucher in made]
    if len(moments) < 2 or at - moments[0] > SILENT_AFTER:
        return None
    return float((moments[0] - moments[-1]).total_seconds() / (len(moments) - 1) * waiting)


def is_silent(batch: Batch, *, at: datetime) -> bool:
    """A running batch that nobody has worked on for a while: no worker runs, or one has just died."""
    seen_at = batch.lease_until or batch.started_at or batch.created_at
    return batch.state == BatchState.RUNNING and at - seen_at > SILENT_AFTER


def _portions(rows: Iterable[NewRow]) -> Iterator[list[NewRow]]:
    left = iter(rows)
    while portion := list(islice(left, _AT_ONCE)):
        yield portion


def _columns(batch: Batch, row: NewRow) -> dict[str, object]:
    state = RowState.REFUSED if row.problem else RowState.WAITING
    return row.__dict__ | {"batch": batch, "state": state}


def _is_due(at: datetime) -> Any:
    return (Batch.state == BatchState.RUNNING) & (Batch.lease_until.is_null() | (Batch.lease_until <= at))


def _move(batch: Batch, state: BatchState, *, only_from: tuple[BatchState, ...], **changes: object) -> None:
    """One conditional UPDATE: two people press at once, and the database decides."""
    moved = Batch.update(state=state, **changes).where(Batch.id == batch.id, Batch.state.in_(only_from)).execute()
    if not moved:
        raise BatchMoved(f"batch {batch.public_id} can't become {state} any more")
    for name, value in (changes | {"state": state}).items():
        setattr(batch, name, value)


def _settle(row: BatchRow, **changes: object) -> None:
    entries.require_transaction()
    changed = BatchRow.update(**changes).where(BatchRow.id == row.id, BatchRow.state == RowState.WAITING).execute()
    if not changed:
        raise LeaseLost(f"row {row.row_no} was settled by somebody else")


def _close(batch: Batch, state: BatchState, *, only_from: tuple[BatchState, ...], actor: str) -> None:
    _move(batch, state, only_from=only_from, finished_at=clock.now(), lease_until=None)
    # Counted once the row is ours: by then the handful that was under way is booked.
    batch.liability_after_minor = liability_minor(batch)
    Batch.update(liability_after_minor=batch.liability_after_minor).where(Batch.id == batch.id).execute()
    _record(batch, "batch_finished", actor=actor, value_minor=tally(batch).done_minor)


def _record(batch: Batch, what: str, *, actor: str, value_minor: int) -> None:
    counted = tally(batch)
    timeline.record(
        batch.merchant,
        what,
        actor=actor,
        batch=batch.public_id,
        name=batch.name,
        batch_kind=str(batch.kind),
        done=counted.done,
        failed=counted.failed,
        waiting=counted.waiting,
        value_minor=value_minor,
        currency=batch.currency,
    )
