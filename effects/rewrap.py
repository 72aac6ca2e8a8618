"""Old secrets under the key that writes now: codes, stored PDFs and the lines of batches, a few rows at a time.

Tills and pages go on meanwhile, for every row is whole under the one key or under the other. It can be stopped and
started again at any moment: what is done is not done twice.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import peewee
import structlog

from database import transaction
from domain import codes
from effects import batch as batches
from effects import document
from effects import voucher as vouchers
from effects.outside import here
from gateways.vault import SealBroken, Sealed
from models import Batch, BatchRow, Voucher, VoucherPdf

log = structlog.get_logger()
# So many rows are one transaction: a till that waits for its turn does not notice.
CHUNK = 25


@dataclass(frozen=True)
class Progress:
    """One chunk of one table: rows under the new key now, and rows that can't be opened."""

    table: str
    done: int
    broken: int


def run(*, chunk: int = CHUNK) -> Iterator[Progress]:
    """Seal everything that is under another key anew, chunk by chunk; yields after each transaction."""
    for table, (rows, changes) in _TABLES.items():
        after = 0
        while found := list(rows(after).limit(chunk)):
            after = found[-1].id
            yield _rewrap(table, found, changes)


def remaining() -> dict[str, int]:
    """How many rows of each table are under another key than the writing one."""
    return {table: rows(0).count() for table, (rows, _changes) in _TABLES.items()}


def _rewrap(table: str, found: list[Any], changes: Callable[[Any], dict[str, Any]]) -> Progress:
    fresh, broken = [], 0
    for row in found:  # before the transaction begins, which should not last longer than it must
        try:
            fresh.append((row, changes(row)))
        except SealBroken as error:
            broken += 1
            log.warning("rewrap_broken", table=table, row=row.id, reason=str(error))
    with transaction():
        done = sum(_write(row, values) for row, values in fresh)
    return Progress(table, done, broken)


def _write(row: Any, values: dict[str, Any]) -> int:
    model = type(row)
    key = model.code_key_id if model is Voucher else model.key_id
    was = row.code_key_id if model is Voucher else row.key_id
    return int(model.update(values).where(model.id == row.id, key == was).execute())


def _voucher(row: Voucher) -> dict[str, Any]:
    box, context = here().vault, vouchers._context(row.merchant_id, row.public_id)
    code = box.open(Sealed(row.code_key_id, bytes(row.code_ciphertext)), context=context)
    sealed = box.seal(code, context=context)
    return {
        "code_ciphertext": sealed.ciphertext,
        "code_key_id": sealed.key_id,
        "code_hmac": box.code_hmac(codes.normalise(code.decode())),
    }


def _pdf(row: VoucherPdf) -> dict[str, Any]:
    return _sealed_anew(row, context=document._context(row.voucher))


def _batch_row(row: BatchRow) -> dict[str, Any]:
    values = _sealed_anew(row, context=batches._context(row.batch.public_id, row.row_no))
    if row.code_hmac is not None:
        code = batches.cells(row.batch, row)["code"]
        values["code_hmac"] = here().vault.code_hmac(codes.normalise(code))
    return values


def _sealed_anew(row: VoucherPdf | BatchRow, *, context: str) -> dict[str, Any]:
    box = here().vault
    sealed = box.seal(box.open(Sealed(row.key_id, bytes(row.sealed)), context=context), context=context)
    return {"sealed": sealed.ciphertext, "key_id": sealed.key_id}


def _old_vouchers(after: int) -> peewee.ModelSelect:
    is_old = (Voucher.code_key_id != here().vault.key_id) & (Voucher.id > after)
    return Voucher.select().where(is_old).order_by(Voucher.id)


def _old_pdfs(after: int) -> peewee.ModelSelect:
    is_old = (VoucherPdf.key_id != here().vault.key_id) & (VoucherPdf.id > after)
    return VoucherPdf.select(VoucherPdf, Voucher).join(Voucher).where(is_old).order_by(VoucherPdf.id)


def _old_batch_rows(after: int) -> peewee.ModelSelect:
    is_old = (BatchRow.key_id != here().vault.key_id) & (BatchRow.id > after)
    return BatchRow.select(BatchRow, Batch).join(Batch).where(is_old).order_by(BatchRow.id)


_TABLES: dict[str, tuple[Callable[[int], peewee.ModelSelect], Callable[[Any], dict[str, Any]]]] = {
    "vouchers": (_old_vouchers, _voucher),
    "PDFs": (_old_pdfs, _pdf),
    "batch rows": (_old_batch_rows, _batch_row),
}
