"""The audit: silent about a kept promise and loud about a broken one, even when the database's guards are gone."""

import secrets

import peewee
import pytest

import database
from domain import audit, clock, entries, fulfilment, idempotency, ledger
from domain.states import EntryKind, StepName
from effects import voucher as vouchers
from models import Entry, Merchant, Order, Step, TimelineEntry, Voucher, VoucherPdf
from tests import cast as casting
from tests import reports


@pytest.fixture
def lived_in(merchant: Merchant, other_merchant: Merchant) -> Order:
    """A database with a past; returns a finished order of Café Alba, its voucher redeemed twice and refunded once."""
    order = _fulfilled(merchant)
    _fulfilled(other_merchant)
    casting.place(merchant)
    reports.paid(merchant)
    reports.settle(reports.opened(casting.place(merchant)), currency="USD")
    reports.settle(reports.opened(casting.place(merchant)), status="expired", payment_status="unpaid")
    first, _ = _redeem(order, 1200), _redeem(order, 800)
    _refund(first, 200)
    casting.issue(merchant, value_minor=4000)
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
    voucher, key = order.units.get().voucher, secrets.token_hex(8)
    with database.transaction():
        booked = ledger.redeem(voucher.id, amount_minor=amount_minor, currency="EUR", operation_key=key, actor="till")
    return booked.entry


def _refund(redemption: Entry, amount_minor: int) -> Entry:
    """A refund as the ledger books it; the database decides whether it may be."""
    voucher = Voucher.get_by_id(redemption.voucher_id)
    previous = Entry.get(Entry.voucher == voucher, Entry.seq == voucher.version)
    entry = Entry(
        public_id=entries.new_public_id("txn"), voucher=voucher, merchant_id=voucher.merchant_id,
        seq=voucher.version + 1, kind=EntryKind.REFUND,
        amount_minor=amount_minor, balance_after_minor=voucher.balance_minor + amount_minor,
        currency=voucher.currency, redemption=redemption, operation_key=secrets.token_hex(8), actor="Anna", reason="",
        created_at=clock.now(), previous_hash=previous.hash,
    )  # fmt: skip
    entry.hash = entries.chain_hash(entry.previous_hash, entries.chained_facts(entry))
    entry.save(force_insert=True)
    return entry


def _broken() -> set[str]:
    return {finding.name for finding in audit.run() if finding.broken}


def _drop(*triggers: str) -> None:
    tables = {"entries": "entries", "vouchers": "vouchers", "timeline": "timeline_entries"}
    tables |= {"holds": "holds", "answers": "idempotency_records"}
    for trigger in triggers:
        on = f" ON {tables[trigger.partition('_')[0]]}" if database.is_postgresql() else ""
        database.db.execute_sql(f"DROP TRIGGER {trigger}{on}")


def test_a_database_with_a_past_is_clean(lived_in: Order) -> None:
    findings = audit.run()
    assert audit.is_clean(findings), findings
    assert [finding.name for finding in findings] == list(audit.INVARIANTS)


def test_an_empty_database_is_clean(merchant: Merchant) -> None:
    assert audit.is_clean(audit.run())


# Which statement breaks which promise, and the guards that must be gone before the database lets it happen.
ENTRY = "(SELECT id FROM entries WHERE kind = 'redeem' ORDER BY id LIMIT 1)"
LAST = "(SELECT MAX(id) FROM entries WHERE kind = 'refund')"
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
        {"answers"}, ("answers_never_change",), "UPDATE idempotency_records SET status = NULL"),
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
    first, second = Entry.select().where(Entry.kind == "redeem").order_by(Entry.seq)
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
    with pytest.raises((peewee.IntegrityError, peewee.InternalError)), database.transaction():
        _refund(redemption, 1001)
    _drop("entries_continue")
    _refund(redemption, 1001)
    (finding,) = [each for each in audit.run() if each.broken]
    assert (finding.name, finding.examples) == ("refunds", (redemption.public_id,))


def test_every_promise_has_a_test_that_breaks_it() -> None:
    broken = {name for found, _, _ in BREAKS.values() for name in found}
    assert broken | {"refunds"} == audit.INVARIANTS.keys()


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
