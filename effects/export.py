"""What a merchant may take away: every voucher, every entry of the ledger, the codes of a batch; as CSV.

The two full exports are read a portion at a time, each on a connection of its own: nobody holds a hundred thousand rows
in memory, and a slow download keeps no transaction open.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

import flask

from database import connected, transaction
from domain import batch_lines, clock, money, timeline
from domain.batch_lines import Problem
from domain.states import EntryKind, RowState
from effects import batch as batch_effects
from effects import links
from effects import voucher as voucher_effects
from gateways import tables
from gateways.vault import SealBroken
from models import Batch, BatchRow, Entry, Merchant, Order, Unit, Voucher

VOUCHER_COLUMNS = (
    "id", "code", "type", "status", "currency", "initial", "balance", "held", "valid_from", "expires_on", "created_at",
    "customer_id", "reference", "order", "recipient", "mode",
)  # fmt: skip
TRANSACTION_COLUMNS = (
    "id", "voucher_id", "code", "seq", "type", "amount", "balance_after", "currency", "created_at", "actor", "reason",
    "reference", "location", "terminal", "description", "refunds", "operation_key", "previous_hash", "hash", "mode",
)  # fmt: skip
CODE_COLUMNS = ("row", "code", "balance", "currency", "expires_on", "customer_id", "reference", "voucher_id", "link")
REFUSED_COLUMNS = (*batch_lines.COLUMNS, "row", "problem", "line")
_PORTION = 500
_DELIMITERS = {"de": ";"}

Row = tuple[object, ...]


def vouchers(merchant: Merchant, *, locale: str, has_codes: bool = False) -> Iterator[bytes]:
    """Every voucher of the merchant with its balance now; the last four of its code, or on demand all of it."""
    write = _Writer(merchant, locale)
    query = Voucher.select().where(Voucher.merchant == merchant)
    return write.stream(
        VOUCHER_COLUMNS, query, Voucher.id, lambda portion: _voucher_rows(write, portion, has_codes=has_codes)
    )


def transactions(merchant: Merchant, *, locale: str) -> Iterator[bytes]:
    """Every entry of the merchant's ledger, oldest first, with the hashes that chain a voucher's entries."""
    write = _Writer(merchant, locale)
    query = Entry.select(Entry, Voucher).join(Voucher).where(Entry.merchant == merchant)
    return write.stream(TRANSACTION_COLUMNS, query, Entry.id, lambda portion: _transaction_rows(write, portion))


def codes(batch: Batch, *, locale: str) -> bytes:
    """The vouchers of a batch with their full codes and links."""
    write = _Writer(batch.merchant, locale)
    rows = batch.rows.select(BatchRow, Voucher).join(Voucher).where(BatchRow.state == RowState.DONE)
    return write.whole(CODE_COLUMNS, (_code_row(write, batch, row) for row in rows.iterator()))


def refused(batch: Batch, *, locale: str, say: Callable[[Problem], str]) -> bytes:
    """The lines that were refused or failed, as they were sent, with what is wrong: to be mended and sent again."""
    write = _Writer(batch.merchant, locale)
    rows = batch.rows.where(BatchRow.state.in_((RowState.REFUSED, RowState.FAILED)))
    return write.whole(REFUSED_COLUMNS, (_refused_row(batch, row, say) for row in rows.iterator()))


def note_codes(merchant: Merchant, *, count: int, actor: str, batch: Batch | None = None) -> None:
    """Write down who took how many full codes away."""
    facts = {"batch": batch.public_id, "name": batch.name} if batch is not None else {}
    with transaction():
        timeline.record(merchant, "codes_exported", actor=actor, count=count, **facts)


class _Writer:
    """How one merchant's reader sees amounts and days, and the ways to write a file of them."""

    def __init__(self, merchant: Merchant, locale: str) -> None:
        self._zone, self._locale = clock.zone(merchant.time_zone), locale
        # The app itself, not the proxy: a download is written after its request is over.
        self._app = flask.current_app._get_current_object()  # type: ignore[attr-defined]

    def stream(
        self, header: Row, query: Any, key: Any, render: Callable[[list[Any]], Iterable[Row]]
    ) -> Iterator[bytes]:
        return tables.write(self._all(header, query, key, render), delimiter=self._delimiter)

    def whole(self, header: Row, rows: Iterable[Row]) -> bytes:
        return b"".join(tables.write([header, *rows], delimiter=self._delimiter))

    def amount(self, amount_minor: int | None, currency: str) -> str | None:
        if amount_minor is None:
            return None
        plain = money.decimal(amount_minor, currency)
        return plain.replace(".", ",") if self._locale == "de" else plain

    def moment(self, at: datetime | None) -> str | None:
        return at.astimezone(self._zone).isoformat(timespec="seconds") if at else None

    def day(self, at: datetime | None) -> str | None:
        return at.astimezone(self._zone).date().isoformat() if at else None

    @property
    def _delimiter(self) -> str:
        return _DELIMITERS.get(self._locale, ",")

    def _all(self, header: Row, query: Any, key: Any, render: Callable[[list[Any]], Iterable[Row]]) -> Iterator[Row]:
        yield header
        last = 0
        while True:
            with self._app.app_context(), connected():
                portion = list(query.where(key > last).order_by(key).limit(_PORTION))
                rows = list(render(portion))
            yield from rows
            if len(portion) < _PORTION:
                return
            last = portion[-1].id


def _voucher_rows(write: _Writer, portion: list[Voucher], *, has_codes: bool) -> Iterator[Row]:
    now, keys = clock.now(), [voucher.id for voucher in portion]
    issued: Any = Entry.select(Entry.voucher, Entry.amount_minor).where(
        Entry.voucher.in_(keys), Entry.kind == EntryKind.ISSUE
    )
    initial = dict(issued.tuples())
    bought = Unit.select(Unit, Order).join(Order).where(Unit.id.in_([voucher.unit_id for voucher in portion]))
    units = {unit.id: unit for unit in bought}
    for voucher in portion:
        unit = units.get(voucher.unit_id)
        yield (
            voucher.public_id,
            _code(voucher) if has_codes else f"…{voucher.code_last4}",
            voucher.type,
            voucher.shown_status(now).value,
            voucher.currency,
            write.amount(initial.get(voucher.id), voucher.currency),
            write.amount(voucher.balance_minor, voucher.currency),
            write.amount(voucher.held_minor, voucher.currency),
            write.moment(voucher.valid_from),
            write.day(voucher.expires_at),
            write.moment(voucher.created_at),
            voucher.customer_id,
            voucher.metadata.get("reference"),
            unit.order.number if unit else None,
            unit.recipient_name or unit.recipient_email if unit else None,
            "test" if voucher.is_test else "live",
        )


def _transaction_rows(write: _Writer, portion: list[Entry]) -> Iterator[Row]:
    given_back = Entry.select(Entry.id, Entry.public_id).where(Entry.id.in_([each.redemption_id for each in portion]))
    redemptions = dict(given_back.tuples())
    for entry in portion:
        yield _transaction_row(write, entry, refunds=redemptions.get(entry.redemption_id))


def _transaction_row(write: _Writer, entry: Entry, *, refunds: str | None) -> Row:
    return (
        entry.public_id,
        entry.voucher.public_id,
        f"…{entry.voucher.code_last4}",
        entry.seq,
        entry.kind,
        write.amount(entry.amount_minor, entry.currency),
        write.amount(entry.balance_after_minor, entry.currency),
        entry.currency,
        entry.created_at.isoformat(),  # exactly what the hash was made of
        entry.actor,
        entry.reason,
        entry.reference,
        entry.location,
        entry.terminal,
        entry.description,
        refunds,
        entry.operation_key,
        entry.previous_hash,
        entry.hash,
        "test" if entry.voucher.is_test else "live",
    )


def _code_row(write: _Writer, batch: Batch, row: BatchRow) -> Row:
    voucher = row.voucher
    try:
        # Of an import the code as its holder has it in hand, dashes and all.
        code = batch_effects.cells(batch, row).get("code") or _code(voucher)
    except SealBroken:
        code = _code(voucher)
    return (
        row.row_no,
        code,
        write.amount(row.value_minor, batch.currency),
        batch.currency,
        write.day(voucher.expires_at),
        row.customer_id,
        row.reference,
        voucher.public_id,
        links.voucher_url(voucher),
    )


def _refused_row(batch: Batch, row: BatchRow, say: Callable[[Problem], str]) -> Row:
    problems = " ".join(say(problem) for problem in batch_lines.decode(row.problem))
    try:
        cells = batch_effects.cells(batch, row)
    except SealBroken:
        cells = {}
    return (*(cells.get(column) for column in batch_lines.COLUMNS), row.row_no, problems, cells.get("line"))


def _code(voucher: Voucher) -> str:
    try:
        return voucher_effects.read_code(voucher)
    except SealBroken:
        return f"…{voucher.code_last4}"  # its key is gone: the rest of the list is still worth having
