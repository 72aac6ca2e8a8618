"""The audit: silent about a kept promise and loud about a broken one, even when the database's guards are gone."""

import secrets

import peewee
import pytest

import database
from domain import audit, entries, fulfilment, holds, idempotency, redemptions
from domain.states import EntryKind, StepName
from effects import voucher as vouchers
from models import Batch, BatchRow, Entry, Hold, Merchant, Order, Step, TimelineEntry, Voucher, VoucherPdf
from tests import bookings, reports
from tests import cast as casting


@pytest.fixture
def lived_in(merchant: Merchant, other_merchant: Merchant) -> Order:
    """A database with a past; returns a finished order of Café Alba, its voucher redeemed twice and refunded once.

    Beside it a voucher of 9000 with answered calls and holds in every state, two that were moved, and two batches.
    """
    order = _fulfilled(merchant)
    _fulfilled(other_merchant)
    casting.place(merchant)
    reports.paid(merchant)
    reports.settle(reports.opened(casting.place(merchant)), currency="USD")
    reports.settle(reports.opened(casting.place(merchant)), status="expired", payment_status="unpaid")
    first, _ = _redeem(order, 1200), _redeem(order, 800)
    bookings.refund(first, 200)
    casting.issue(merchant, value_minor=4000)
    _booked_and_held(merchant)
    _batched(merchant, other_merchant)
    idempotency.once(merchant, key="k", route="r", fingerprints=["f"], work=lambda: idempotency.Answer(201, "{}"))
    return order


def _fulfilled(merchant: Merchant) -> Order:
    order = reports.paid(merchant, "marie@example.com")
    while (step := fulfilment.claim("w1", order_id=order.id)) is not None:
        if step.name == StepName.CREATE:
            vouchers.create(step)
            continue
        with database.transaction():
            fulfilment.finish(step)
            if step.name == StepName.DOCUMENT:
                _keep_pdf(order.units.get().voucher)
    return order


def _keep_pdf(voucher: Voucher) -> None:
    VoucherPdf.create(voucher=voucher, sha256="0" * 64, size=1, key_id="s1", sealed=b"x")


def _redeem(order: Order, amount_minor: int) -> Entry:
    return bookings.redeem(order.units.get().voucher, amount_minor).entry


def _booked_and_held(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 9000)
    for key in ("k-1", "k-2"):
        bookings.call_redeem(merchant, key, voucher, 100)
    redemptions.reverse(merchant, key="k-2", is_test=True, actor="till")
    redemptions.reverse(merchant, key="k-3", is_test=True, actor="till")
    hold = bookings.hold(voucher, 300)
    bookings.call(
        merchant,
        "k-4",
        lambda: holds.capture(hold, amount_minor=250, operation_key="redeem:k-4", actor="till").entry,
        route="POST /api/v1/holds/<hold_id>/capture",
    )
    bookings.capture(bookings.hold(voucher, 310), 310)
    bookings.release(bookings.hold(voucher, 400))
    bookings.hold(voucher, 500)
    bookings.set_status(bookings.issue(merchant, 700), "cancelled")
    bookings.set_status(bookings.issue(merchant, 800), "suspended")
    bookings.issue(merchant, 900, status="pending")


def _batched(merchant: Merchant, other_merchant: Merchant) -> None:
    for owner in (merchant, other_merchant):
        batch = Batch.create(
            public_id=entries.new_public_id("bat"), merchant=owner, kind="issue", state="done", name="Spring",
            currency="EUR", is_test=True, actor="user:anna",
        )  # fmt: skip
        for row_no in (1, 2):
            BatchRow.create(
                batch=batch, row_no=row_no, state="done", value_minor=row_no * 1000, key_id="s1", sealed=b"x",
                voucher=bookings.issue(owner, row_no * 1000),
            )  # fmt: skip


def _broken() -> set[str]:
    return {finding.name for finding in audit.run() if finding.broken}


def _drop(*triggers: str) -> None:
    tables = {"entries": "entries", "vouchers": "vouchers", "timeline": "timeline_entries"}
    tables |= {"holds": "holds", "answers": "idempotency_records"}
    for trigger in triggers:
        on = f" ON {tables[trigger.partition('_')[0]]}" if database.is_postgresql() else ""
        database.db.execute_sql(f"DROP TRIGGER {trigger}{on}")


def _forget_keys_between_tables() -> None:
    """What a restored or copied file can do: rows that point at nothing."""
    if not database.is_postgresql():
        database.db.execute_sql("PRAGMA foreign_keys = OFF")
        return
    rows = database.db.execute_sql("SELECT conrelid::regclass, conname FROM pg_constraint WHERE contype = 'f'")
    for table, name in rows.fetchall():
        database.db.execute_sql(f"ALTER TABLE {table} DROP CONSTRAINT {name}")


def test_a_database_with_a_past_is_clean(lived_in: Order) -> None:
    findings = audit.run()
    assert audit.is_clean(findings), findings
    assert [finding.name for finding in findings] == list(audit.INVARIANTS)


def test_an_empty_database_is_clean(merchant: Merchant) -> None:
    assert audit.is_clean(audit.run())


# Which statement breaks which promise, and the guards that must be gone before the database lets it happen.
ENTRY = "(SELECT id FROM entries WHERE kind = 'redeem' ORDER BY id LIMIT 1)"
LAST = "(SELECT MAX(id) FROM entries WHERE kind = 'refund')"
CALLED = "(SELECT id FROM entries WHERE operation_key = 'redeem:k-1')"
ORDER = "(SELECT order_id FROM steps WHERE name = 'create' AND state = 'done' ORDER BY id LIMIT 1)"
READY = "(SELECT id FROM steps WHERE name = 'create' AND state = 'ready' LIMIT 1)"
BREAKS = {
    "a balance that was raised": (
        {"balances", "liability"}, ("vouchers_follow_entries",),
        "UPDATE vouchers SET balance_minor = balance_minor + 1 WHERE version = 4"),
    "a version that was raised": (
        {"balances"}, ("vouchers_follow_entries",), "UPDATE vouchers SET version = version + 1 WHERE version = 4"),
    "a changed amount": (
        {"balances", "chains", "liability"}, ("entries_never_change",),
        f"UPDATE entries SET amount_minor = amount_minor - 1 WHERE id = {ENTRY}"),
    "a changed reference": (
        {"chains"}, ("entries_never_change",), f"UPDATE entries SET reference = 'R-99' WHERE id = {ENTRY}"),
    "a changed actor": (
        {"chains"}, ("entries_never_change",), f"UPDATE entries SET actor = 'nobody' WHERE id = {ENTRY}"),
    "a changed moment": (
        {"chains"}, ("entries_never_change",),
        f"UPDATE entries SET created_at = '2020-01-01 00:00:00.000000' WHERE id = {ENTRY}"),
    "a changed hash": (
        {"chains"}, ("entries_never_change",), f"UPDATE entries SET hash = 'abc' WHERE id = {LAST}"),
    "another currency": (
        {"chains", "liability"}, ("entries_never_change",), f"UPDATE entries SET currency = 'USD' WHERE id = {ENTRY}"),
    "another merchant": (
        {"chains", "liability"}, ("entries_never_change",),
        f"UPDATE entries SET merchant_id = (SELECT MAX(id) FROM merchants) WHERE id = {ENTRY}"),
    "a deleted last entry": (
        {"balances", "liability"}, ("entries_never_vanish",), f"DELETE FROM entries WHERE id = {LAST}"),
    "a deleted entry in the middle": (
        {"balances", "chains", "liability"}, ("entries_never_vanish",),
        "DELETE FROM entries WHERE kind = 'redeem' AND amount_minor = -800"),
    "a voucher without its issue": (
        {"issues", "balances", "liability"}, ("entries_never_vanish",),
        "DELETE FROM entries WHERE kind = 'issue' AND amount_minor = 4000"),
    "a unit that was worth something else": (
        {"issued_as_paid", "totals"}, (), f"UPDATE units SET value_minor = value_minor + 1 WHERE order_id = {ORDER}"),
    "a unit in another currency": (
        {"issued_as_paid"}, (), f"UPDATE units SET currency = 'USD' WHERE order_id = {ORDER}"),
    "a paid order without a payment": (
        {"paid_orders"}, (), f"DELETE FROM payments WHERE order_id = {ORDER}"),
    "a payment of another amount": (
        {"paid_orders"}, (), f"UPDATE payments SET amount_minor = amount_minor - 1 WHERE order_id = {ORDER}"),
    "money without a paid order": (
        {"paid_payments", "vouchers_paid"}, (),
        f"UPDATE orders SET payment_state = 'open', paid_at = NULL WHERE id = {ORDER}"),
    "a paid unit that nobody works on": (
        {"plans"}, (), f"DELETE FROM steps WHERE id = {READY}"),
    "a creation without a voucher": (
        {"created", "steps"}, (), f"UPDATE steps SET state = 'done' WHERE id = {READY}"),
    "a document without a PDF": (
        {"documents"}, (), "DELETE FROM voucher_pdfs"),
    "a step that waits for nothing": (
        {"steps"}, (), f"UPDATE steps SET state = 'blocked' WHERE name = 'document' AND order_id = {ORDER}"),
    "a total that is not the sum": (
        {"totals", "paid_orders"}, (), f"UPDATE orders SET total_minor = total_minor + 1 WHERE id = {ORDER}"),
    "a key without its answer": (
        {"answers"}, ("answers_never_change",), "UPDATE idempotency_records SET status = NULL WHERE key = 'k'"),
    # holds
    "held money without a hold": (
        {"holds"}, ("vouchers_follow_entries",),
        "UPDATE vouchers SET held_minor = held_minor + 1 WHERE held_minor = 500"),
    "a hold of another amount": (
        {"holds"}, ("holds_end_once", "holds_are_freed"),
        "UPDATE holds SET amount_minor = 499 WHERE state = 'active'"),
    "a capture beyond its hold": (
        {"holds"}, ("holds_end_once",), "UPDATE holds SET amount_minor = 249 WHERE amount_minor = 300"),
    "a captured hold that reads released": (
        {"holds"}, ("holds_end_once",), "UPDATE holds SET state = 'released' WHERE amount_minor = 300"),
    "a released hold that reads captured": (
        {"holds"}, ("holds_end_once",), "UPDATE holds SET state = 'captured' WHERE amount_minor = 400"),
    "a hold that was opened again": (
        {"holds"}, ("holds_end_once", "holds_are_freed"),
        "UPDATE holds SET state = 'active', ended_at = NULL WHERE amount_minor = 400"),
    "a deleted active hold": (
        {"holds"}, ("holds_never_vanish",), "DELETE FROM holds WHERE state = 'active'"),
    "a hold of another voucher": (
        {"holds"}, ("holds_end_once", "holds_are_freed"),
        "UPDATE holds SET voucher_id = (SELECT MAX(id) FROM vouchers) WHERE state = 'active'"),
    # answers
    "an answer that says no to a booked call": (
        {"redemptions_answered"}, ("answers_never_change",),
        "UPDATE idempotency_records SET status = 409 WHERE key = 'k-1'"),
    "an answer that names another booking": (
        {"redemptions_answered"}, ("answers_never_change",),
        "UPDATE idempotency_records SET body = '{}' WHERE key = 'k-4'"),
    "an answer under another key": (
        {"redemptions_answered"}, ("answers_never_change",),
        "UPDATE idempotency_records SET key = 'k-9' WHERE key = 'k-1'"),
    "an answer that promises what nobody booked": (
        {"redemptions_answered"}, (),
        "INSERT INTO idempotency_records SELECT merchant_id, 'k-9', route, fingerprint, status, body, created_at"
        " FROM idempotency_records WHERE key = 'k-1'"),
    "a booked call that reads as blocked": (
        {"redemptions_answered"}, ("answers_never_change",),
        "UPDATE idempotency_records SET route = 'tombstone', status = 409, body = NULL WHERE key = 'k-1'"),
    "a call whose key was changed": (
        {"chains", "redemptions_answered"}, ("entries_never_change",),
        f"UPDATE entries SET operation_key = 'redeem:k-9' WHERE id = {CALLED}"),
    # statuses
    "a cancelled voucher that is active again": (
        {"statuses"}, ("vouchers_follow_entries",), "UPDATE vouchers SET status = 'active' WHERE status = 'cancelled'"),
    "a blocked voucher that nobody unblocked": (
        {"statuses"}, (), "UPDATE vouchers SET status = 'active' WHERE status = 'suspended'"),
    "a cancelled voucher that still holds": (
        {"statuses"}, (), "UPDATE vouchers SET status = 'cancelled' WHERE held_minor = 500"),
    "a pending voucher that has paid": (
        {"statuses"}, ("vouchers_follow_entries",), "UPDATE vouchers SET status = 'pending' WHERE held_minor = 500"),
    # batches
    "a batch row of another value": (
        {"batches"}, (), "UPDATE batch_rows SET value_minor = value_minor + 1 WHERE row_no = 1"),
    "a batch of another merchant": (
        {"batches"}, (), "UPDATE batches SET merchant_id = (SELECT MIN(id) FROM merchants)"),
    "a batch in another currency": (
        {"batches"}, (), "UPDATE batches SET currency = 'CHF'"),
    "test vouchers of a live batch": (
        {"batches"}, (), "UPDATE batches SET is_test = (1 = 0)"),
}  # fmt: skip


@pytest.mark.req("T38")
@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_promise_is_found(lived_in: Order, name: str) -> None:
    found, guards, statement = BREAKS[name]
    if guards:
        with pytest.raises((peewee.IntegrityError, peewee.InternalError, peewee.DatabaseError)):
            database.db.execute_sql(statement)
        if database.db.in_transaction():
            database.db.rollback()
        assert _broken() == set()
    _drop(*guards)
    assert database.db.execute_sql(statement).rowcount >= 1
    assert _broken() == found


@pytest.mark.req("T38")
def test_two_entries_that_changed_places_are_found(lived_in: Order) -> None:
    _drop("entries_never_change")
    voucher = lived_in.units.get().voucher
    second, first = voucher.entries.where(Entry.kind == "redeem")
    for seq, entry in ((1000, first), (first.seq, second), (second.seq, first)):  # unique on the way, too
        database.db.execute_sql(f"UPDATE entries SET seq = {seq} WHERE id = {entry.id}")
    assert _broken() == {"chains"}


@pytest.mark.req("T38")
def test_an_entry_that_was_changed_with_its_own_hash_is_found_by_the_next_one(lived_in: Order) -> None:
    _drop("entries_never_change")
    entry = Entry.select().where(Entry.kind == "redeem").order_by(Entry.seq).first()
    entry.reference = "forged"
    entry.hash = entries.chain_hash(entry.previous_hash, entries.chained_facts(entry))
    Entry.update(reference=entry.reference, hash=entry.hash).where(Entry.id == entry.id).execute()
    (finding,) = [each for each in audit.run() if each.broken]
    successor = Entry.get(Entry.voucher == entry.voucher_id, Entry.seq == entry.seq + 1)
    assert (finding.name, finding.broken, finding.examples) == ("chains", 1, (successor.public_id,))


@pytest.mark.req("F54")
def test_refunds_beyond_their_redemption_are_found(lived_in: Order) -> None:
    redemption = Entry.select().where(Entry.kind == "redeem").order_by(Entry.seq).first()
    with pytest.raises((peewee.IntegrityError, peewee.InternalError)):
        _give_back(redemption, EntryKind.REFUND, 1001)
    _drop("entries_continue")
    _give_back(redemption, EntryKind.REFUND, 1001)
    (finding,) = [each for each in audit.run() if each.broken]
    assert (finding.name, finding.examples) == ("refunds", (redemption.public_id,))


@pytest.mark.req("F54")
def test_a_refund_of_something_else_is_found(lived_in: Order) -> None:
    issue = lived_in.units.get().voucher.issue
    _drop("entries_continue")
    booked = _give_back(issue, EntryKind.REFUND, 1)
    assert booked.public_id in _examples("refunds")


@pytest.mark.req("F54")
@pytest.mark.parametrize("times", [1, 2])
def test_a_reversal_that_is_not_whole_and_a_second_one_are_found(lived_in: Order, times: int) -> None:
    redemption = Entry.select().where(Entry.kind == "redeem").order_by(Entry.seq).first()
    for _ in range(times):  # 1000 are left of it
        _give_back(redemption, EntryKind.REVERSE, 500)
    assert (_broken(), _examples("reversals")) == ({"reversals"}, (redemption.public_id,))


def _give_back(redemption: Entry, kind: EntryKind, amount_minor: int) -> Entry:
    """As a mistake in the ledger would book it; only the database is left to refuse."""
    with database.transaction():
        return entries.append(
            entries.lock(redemption.voucher_id), kind, amount_minor=amount_minor, operation_key=secrets.token_hex(8),
            actor="Anna", redemption=redemption,
        )  # fmt: skip


def _examples(name: str) -> tuple[str, ...]:
    (found,) = [finding.examples for finding in audit.run() if finding.name == name]
    return found


@pytest.mark.req("T38")
@pytest.mark.parametrize("place", ["the middle", "the end"])
def test_an_entry_that_was_slipped_in_is_found(lived_in: Order, place: str) -> None:
    _drop("entries_continue", "entries_move_balance", "entries_never_change")
    voucher = lived_in.units.get().voucher
    log = list(voucher.entries)
    at = 2 if place == "the middle" else len(log) + 1
    for entry in log:
        if entry.seq >= at:
            database.db.execute_sql(f"UPDATE entries SET seq = {entry.seq + 1} WHERE id = {entry.id}")
    before = Entry.get(Entry.voucher == voucher, Entry.seq == at - 1)
    forged = Entry(
        public_id="txn_forged", voucher=voucher, merchant=voucher.merchant_id, seq=at, kind="adjust", amount_minor=100,
        balance_after_minor=before.balance_after_minor + 100, currency="EUR", operation_key="adjust:forged",
        actor="nobody", reason="x", created_at=before.created_at, previous_hash=before.hash,
    )  # fmt: skip
    forged.hash = entries.chain_hash(forged.previous_hash, entries.chained_facts(forged))
    forged.save(force_insert=True)
    found = {"balances", "liability"}  # at the end it fits its chain, so the balance tells
    assert _broken() == found | ({"chains"} if place == "the middle" else set())


@pytest.mark.req("T38")
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_end_of_a_log_that_was_cut_off_with_its_balance_is_found_by_its_answers(
    lived_in: Order, count: int
) -> None:
    """The chain cannot see this one: what is left of it fits. The answer that a till heard is still there."""
    voucher = bookings.issue(lived_in.merchant, 1000)
    for number in range(3):
        bookings.call_redeem(lived_in.merchant, f"cut-{number}", voucher, 100)
    _drop("entries_never_vanish", "vouchers_follow_entries")
    database.db.execute_sql(f"DELETE FROM entries WHERE voucher_id = {voucher.id} AND seq > {4 - count}")
    database.db.execute_sql(
        f"UPDATE vouchers SET version = {4 - count}, balance_minor = {700 + 100 * count} WHERE id = {voucher.id}"
    )
    assert _broken() == {"redemptions_answered"}
    assert len(_examples("redemptions_answered")) == count


@pytest.mark.req("T38")
def test_two_holds_that_changed_places_are_found(lived_in: Order) -> None:
    _drop("holds_end_once", "entries_never_change")
    amounts = {300: 310, 310: 300}
    for hold in list(Hold.select().where(Hold.amount_minor.in_(list(amounts)))):
        database.db.execute_sql(f"UPDATE holds SET amount_minor = {amounts[hold.amount_minor]} WHERE id = {hold.id}")
    assert _broken() == {"holds"}
    _swap("entries", "hold_id", "hold_id IS NOT NULL", "NULL")
    assert _broken() == {"chains"}


@pytest.mark.req("T38")
def test_two_answers_that_changed_places_are_found(lived_in: Order) -> None:
    _drop("answers_never_change")
    _swap("idempotency_records", "body", "key IN ('k-1', 'k-4')", "''", key="key")
    (finding,) = [each for each in audit.run() if each.broken]
    assert (finding.name, finding.broken) == ("redemptions_answered", 2)


def _swap(table: str, column: str, where: str, nothing: str, *, key: str = "id") -> None:
    mark = "%s" if database.is_postgresql() else "?"
    rows = database.db.execute_sql(f"SELECT {key}, {column} FROM {table} WHERE {where} ORDER BY {key}").fetchall()
    (first, mine), (second, theirs) = rows
    update = f"UPDATE {table} SET {column} = {{}} WHERE {key} = {mark}"
    database.db.execute_sql(update.format(nothing), (first,))  # unique on the way, too
    database.db.execute_sql(update.format(mark), (mine, second))
    database.db.execute_sql(update.format(mark), (theirs, first))


@pytest.mark.req("T38")
def test_a_captured_hold_that_is_gone_is_missed(lived_in: Order) -> None:
    _forget_keys_between_tables()
    _drop("holds_never_vanish")
    database.db.execute_sql("DELETE FROM holds WHERE amount_minor = 300")
    assert _broken() == {"holds"}


def test_redemptions_without_an_answer_are_none_that_a_program_asked_for(lived_in: Order) -> None:
    bookings.redeem(lived_in.units.get().voucher, 10, operation_key="redeem:example:1")
    assert _broken() == set()


def test_every_promise_has_a_test_that_breaks_it() -> None:
    broken = {name for found, _, _ in BREAKS.values() for name in found}
    assert broken | {"refunds", "reversals"} == audit.INVARIANTS.keys()


def test_many_broken_rows_are_counted_and_some_are_shown(merchant: Merchant) -> None:
    for _ in range(25):
        casting.place(merchant)
    Order.update(total_minor=Order.total_minor + 1).execute()
    (finding,) = [each for each in audit.run() if each.broken]
    assert (finding.name, finding.broken, len(finding.examples)) == ("totals", 25, 20)
    assert not audit.is_clean([finding])


@pytest.mark.req("S1-05")
@pytest.mark.parametrize("change", ["UPDATE timeline_entries SET actor = 'x'", "DELETE FROM timeline_entries"])
def test_the_timeline_cannot_be_rewritten(lived_in: Order, change: str) -> None:
    count = TimelineEntry.select().count()
    with pytest.raises((peewee.IntegrityError, peewee.InternalError)), database.transaction():
        database.db.execute_sql(change)
    assert TimelineEntry.select().where(TimelineEntry.actor != "x").count() == count
    assert Step.select().exists()
