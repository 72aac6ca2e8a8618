"""Many vouchers at once: a file or a number becomes a draft, and a draft that was started becomes vouchers.

Whoever works on a batch takes it for a moment and then rings again, so that no order waits behind ten thousand rows.
"""

import json
import time
from collections.abc import Iterable
from datetime import datetime

import peewee
import structlog

from database import db, transaction
from domain import batch_lines, batches, entries, ledger, refusals, timeline
from domain.batch_lines import Checked, Line, Problem, Terms
from domain.batches import NewRow
from domain.states import BatchKind, VoucherType
from effects import test_codes
from effects import voucher as vouchers
from effects.outside import here
from gateways import tables
from gateways.vault import SealBroken, Sealed
from models import Batch, BatchRow, Merchant, Voucher

log = structlog.get_logger()
MOST_BYTES = 2 * 2**20
MOST_ROWS = 10_000
# So many rows are one transaction: short enough for a till that waits for its turn.
CHUNK = 25
SLICE_SECONDS = 2.0
_BREATH_SECONDS = 0.005
_AT_ONCE = 500
_COLLISIONS = 3


def draft_file(
    merchant: Merchant,
    raw: bytes,
    *,
    kind: BatchKind,
    name: str,
    type: VoucherType,
    expires_at: datetime | None,
    actor: str,
) -> Batch:
    """The dry run of a CSV file: every line read, checked and sealed; no voucher yet. Raises tables.TableRefused."""
    read = tables.read(
        raw,
        names=batch_lines.NAMES,
        required=batch_lines.REQUIRED[kind],
        most_rows=MOST_ROWS,
        most_bytes=MOST_BYTES,
    )
    if kind == BatchKind.ISSUE and any("code" in line.cells for line in read):
        raise tables.TableRefused("has_codes")
    texts = {line.row_no: line.text for line in read if line.text}
    lines = [Line(line.row_no, line.cells, line.fault) for line in read]
    terms = Terms(kind, merchant.currency, merchant.time_zone, expires_at)
    checked = _without_taken(merchant, list(batch_lines.check(lines, terms)))
    return _draft(merchant, checked, kind=kind, name=name, type=type, actor=actor, texts=texts)


def draft_count(
    merchant: Merchant,
    *,
    count: int,
    value_minor: int,
    name: str,
    type: VoucherType,
    expires_at: datetime | None,
    reference: str,
    actor: str,
) -> Batch:
    """The draft of `count` new vouchers of one value. Raises ValueError beyond the limits."""
    if not 1 <= count <= MOST_ROWS or not 1 <= value_minor <= batch_lines.LARGEST_MINOR:
        raise ValueError("count or value out of range")
    checked = [
        Checked(Line(row_no, {}), value_minor=value_minor, expires_at=expires_at, reference=reference or None)
        for row_no in range(1, count + 1)
    ]
    return _draft(merchant, checked, kind=BatchKind.ISSUE, name=name, type=type, actor=actor, texts={})


def start(batch: Batch, *, actor: str) -> None:
    """Let the worker have a draft, and ring for it. Raises BatchMoved."""
    batches.start(batch, actor=actor)
    ring(batch)


def resume(batch: Batch) -> None:
    """Go on with a paused batch, and ring. Raises BatchMoved."""
    batches.resume(batch)
    ring(batch)


def ring(batch: Batch) -> None:
    """Wake the worker; never raises."""
    here().ring(batch.id, task="batch")


def run_due(*, batch_id: int | None = None, seconds: float = SLICE_SECONDS) -> int:
    """Work on one due batch (this one, if named) for `seconds`; rings again when rows are left.

    Returns how many rows became vouchers or failed.
    """
    batch = batches.claim(batch_id=batch_id)
    if batch is None:
        return 0
    try:
        count, is_over = _work(batch, until=time.monotonic() + seconds)
    except batches.LeaseLost:
        log.info("batch_lease_lost", batch=batch.public_id, token=batch.token)
        return 0
    if not is_over:
        batches.release(batch)
        ring(batch)
    return count


def cells(batch: Batch, row: BatchRow) -> dict[str, str]:
    """The row's line as it was sent, by column; `line` for one that could not be split. Raises SealBroken."""
    sealed = Sealed(row.key_id, bytes(row.sealed))
    opened: dict[str, str] = json.loads(here().vault.open(sealed, context=_context(batch.public_id, row.row_no)))
    return opened


def _draft(
    merchant: Merchant,
    checked: Iterable[Checked],
    *,
    kind: BatchKind,
    name: str,
    type: VoucherType,
    actor: str,
    texts: dict[int, str],
) -> Batch:
    public_id = entries.new_public_id("bat")
    return batches.draft(
        merchant,
        public_id=public_id,
        kind=kind,
        name=name,
        type=type,
        is_test=here().settings.is_test,
        actor=actor,
        # Sealed before the transaction begins, which should not last longer than it must.
        rows=[_sealed(public_id, one, texts.get(one.line.row_no, "")) for one in checked],
    )


def _sealed(public_id: str, checked: Checked, text: str) -> NewRow:
    box, line = here().vault, checked.line
    content = dict(line.cells) | ({"line": text} if text else {})
    sealed = box.seal(
        json.dumps(content, ensure_ascii=False).encode("utf-8", "replace"),
        context=_context(public_id, line.row_no),
    )
    problem = batch_lines.encode(checked.problems)
    return NewRow(
        row_no=line.row_no,
        key_id=sealed.key_id,
        sealed=sealed.ciphertext,
        code_hmac=box.code_hmac(checked.code) if checked.code else None,
        value_minor=checked.value_minor,
        expires_at=checked.expires_at,
        customer_id=checked.customer_id if not problem else None,
        reference=checked.reference if not problem else None,
        problem=problem,
    )


def _without_taken(merchant: Merchant, checked: list[Checked]) -> list[Checked]:
    """Each code that is kept for tests, or that a voucher of the merchant has already, gets its problem."""
    box = here().vault
    of_code = {one.code: box.code_hmacs(one.code) for one in checked if one.code}
    asked = [each for hmacs in of_code.values() for each in hmacs]
    taken: set[str] = set()
    for begin in range(0, len(asked), _AT_ONCE):
        some = asked[begin : begin + _AT_ONCE]
        found = Voucher.select(Voucher.code_hmac).where(Voucher.merchant == merchant, Voucher.code_hmac.in_(some))
        taken.update(row[0] for row in found.tuples())
    return [
        batch_lines.with_problem(one, Problem("code", "reserved"))
        if one.code and test_codes.is_reserved(one.line.cells.get("code", ""))
        else batch_lines.with_problem(one, Problem("code", "taken"))
        if one.code and not taken.isdisjoint(of_code[one.code])
        else one
        for one in checked
    ]


def _work(batch: Batch, *, until: float) -> tuple[int, bool]:
    """Issue rows, a chunk for each transaction; (how many, whether the batch is over). Raises LeaseLost."""
    count = 0
    while True:
        with transaction():
            batches.hold(batch)
            rows = batches.next_rows(batch, limit=CHUNK)
            for row in rows:
                _settle(batch, row)
        count += len(rows)
        if not rows:
            batches.finish(batch)
            return count, True
        if time.monotonic() > until:
            return count, False
        time.sleep(_BREATH_SECONDS)


def _settle(batch: Batch, row: BatchRow) -> None:
    """The row becomes a voucher, or says why not; the chunk goes on."""
    try:
        for attempt in range(1, _COLLISIONS + 1):
            try:
                with db.atomic():
                    _issue(batch, row)
                return
            except peewee.IntegrityError:
                # A random code that exists is rolled again; a given one was taken while its row waited.
                if batch.kind == BatchKind.IMPORT or attempt == _COLLISIONS:
                    raise
    except refusals.CodeTaken:
        batches.mark_failed(row, problem="code:taken")
    except peewee.IntegrityError as error:
        is_taken = batch.kind == BatchKind.IMPORT and vouchers.find_by_code(batch.merchant, cells(batch, row)["code"])
        batches.mark_failed(row, problem="code:taken" if is_taken else "line:unexpected", detail=str(error))
    except SealBroken as error:
        batches.mark_failed(row, problem="line:sealed", detail=str(error))
    except (peewee.PeeweeException, batches.LeaseLost):
        raise  # the database is away, or the batch is not ours: the whole chunk is rolled back and comes again
    except Exception as error:
        log.error("batch_row_failed", batch=batch.public_id, row=row.row_no, exc_info=True)
        batches.mark_failed(row, problem="line:unexpected", detail=type(error).__name__)


def _issue(batch: Batch, row: BatchRow) -> None:
    merchant = batch.merchant
    code = cells(batch, row)["code"] if batch.kind == BatchKind.IMPORT else None
    if code is not None and vouchers.find_by_code(merchant, code) is not None:
        raise refusals.CodeTaken
    issued = ledger.issue(
        merchant,
        value_minor=row.value_minor,
        currency=batch.currency,
        code=vouchers.mint(merchant, code),
        operation_key=f"batch:{batch.public_id}:{row.row_no}",
        actor=batch.actor,
        type=VoucherType(batch.type),
        customer_id=row.customer_id,
        expires_at=row.expires_at,
        metadata={"batch": batch.public_id} | ({"reference": row.reference} if row.reference else {}),
        reason=batch.name,
        is_test=batch.is_test,
    )
    timeline.record(
        merchant, "voucher_created", voucher=issued, actor=batch.actor, last4=issued.code_last4, batch=batch.name
    )
    batches.mark_done(row, issued)


def _context(public_id: str, row_no: int) -> str:
    return f"{public_id}:{row_no}"
