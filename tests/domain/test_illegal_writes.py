"""The net below every rule: what the database itself refuses of a hand that writes SQL, with nothing changed after."""

import secrets
from datetime import timedelta

import peewee
import pytest

import database
from domain import clock, entries, idempotency
from domain.idempotency import Answer
from models import Entry, Hold, Merchant, Voucher
from tests import bookings

app = bookings.app

# What stands when the hand comes: a voucher of 5000 of which 1000 was redeemed and 200 of that refunded, 300 was
# captured, 500 is held, 400 was held and released; and one that was cancelled.
LEFT, HELD = 3900, 500


@pytest.fixture
def places(merchant: Merchant, other_merchant: Merchant) -> dict[str, object]:
    """The ids that the statements name."""
    voucher, second = bookings.issue(merchant, 5000), bookings.issue(merchant, 5000)
    cancelled = bookings.issue(merchant, 5000)
    bookings.set_status(cancelled, "cancelled")
    redemption = bookings.redeem(voucher, 1000).entry
    bookings.refund(redemption, 200)
    captured, active, released = (bookings.hold(voucher, amount) for amount in (300, 500, 400))
    capture = bookings.capture(captured).entry
    bookings.release(released)
    for key in ("k-1", "k-2"):
        idempotency.once(merchant, key=key, route="r", fingerprints=["f"], work=lambda: Answer(201, "{}"))
    assert (bookings.fresh(voucher).balance_minor, bookings.fresh(voucher).held_minor) == (LEFT, HELD)
    return {
        "voucher": voucher.id, "second": second.id, "cancelled": cancelled.id, "merchant": merchant.id,
        "other": other_merchant.id, "redemption": redemption.id, "capture": capture.id, "issue": voucher.issue.id,
        "active": active.id, "captured": captured.id, "released": released.id,
        "redemption_elsewhere": bookings.redeem(second, 1000).entry.id, "hold_elsewhere": bookings.hold(second, 500).id,
    }  # fmt: skip


FORBIDDEN = {
    # entries
    "changing an entry": "UPDATE entries SET amount_minor = 9 WHERE id = {issue}",
    "changing who did it": "UPDATE entries SET actor = 'nobody' WHERE id = {redemption}",
    "changing when it was": "UPDATE entries SET created_at = '2020-01-01 00:00:00' WHERE id = {redemption}",
    "moving an entry to another voucher": "UPDATE entries SET voucher_id = {second} WHERE id = {redemption}",
    "deleting the last entry": "DELETE FROM entries WHERE id = {capture}",
    "deleting a voucher's past": "DELETE FROM entries WHERE voucher_id = {voucher}",
    # vouchers
    "deleting a voucher": "DELETE FROM vouchers WHERE id = {voucher}",
    "raising a balance by hand": "UPDATE vouchers SET balance_minor = balance_minor + 1 WHERE id = {voucher}",
    "turning the version back": "UPDATE vouchers SET version = 1, balance_minor = 5000 WHERE id = {voucher}",
    "turning only the version back": "UPDATE vouchers SET version = version - 1 WHERE id = {voucher}",
    "changing the currency": "UPDATE vouchers SET currency = 'CHF' WHERE id = {voucher}",
    "moving it to another merchant": "UPDATE vouchers SET merchant_id = {other} WHERE id = {voucher}",
    "making test money real": "UPDATE vouchers SET is_test = (1 = 0) WHERE id = {voucher}",
    "giving it another id": "UPDATE vouchers SET public_id = 'vch_1' WHERE id = {voucher}",
    "an invented status": "UPDATE vouchers SET status = 'depleted' WHERE id = {voucher}",
    "un-cancelling": "UPDATE vouchers SET status = 'active' WHERE id = {cancelled}",
    "making a cancelled voucher only suspended": "UPDATE vouchers SET status = 'suspended' WHERE id = {cancelled}",
    "going back to pending": "UPDATE vouchers SET status = 'pending' WHERE id = {voucher}",
    # held money
    "freeing held money by hand": "UPDATE vouchers SET held_minor = 0 WHERE id = {voucher}",
    "holding more than there is": "UPDATE vouchers SET held_minor = balance_minor + 1 WHERE id = {voucher}",
    "holding without a hold": "UPDATE vouchers SET held_minor = held_minor + 1 WHERE id = {voucher}",
    "changing a hold's amount": "UPDATE holds SET amount_minor = 1 WHERE id = {active}",
    "changing a hold's voucher": "UPDATE holds SET voucher_id = {second} WHERE id = {active}",
    "changing a hold's merchant": "UPDATE holds SET merchant_id = {other} WHERE id = {active}",
    "changing a hold's key": "UPDATE holds SET operation_key = 'hold:1' WHERE id = {active}",
    "reopening a released hold": "UPDATE holds SET state = 'active', ended_at = NULL WHERE id = {released}",
    "reopening a captured hold": "UPDATE holds SET state = 'active', ended_at = NULL WHERE id = {captured}",
    "releasing a captured hold": "UPDATE holds SET state = 'released' WHERE id = {captured}",
    "ending a hold without a time": "UPDATE holds SET state = 'released' WHERE id = {active}",
    "an invented state of a hold": "UPDATE holds SET state = 'lost', ended_at = created_at WHERE id = {active}",
    "a hold that ends before it began": "UPDATE holds SET expires_at = '2020-01-01 00:00:00' WHERE id = {active}",
    "deleting an active hold": "DELETE FROM holds WHERE id = {active}",
    "deleting a released hold": "DELETE FROM holds WHERE id = {released}",
    # answers
    "changing a stored answer": "UPDATE idempotency_records SET body = '[]' WHERE key = 'k-1'",
    "changing a stored status": "UPDATE idempotency_records SET status = 409 WHERE key = 'k-1'",
    "taking an answer away": "UPDATE idempotency_records SET status = NULL, body = NULL WHERE key = 'k-1'",
    "giving an answer another key": "UPDATE idempotency_records SET key = 'k-3' WHERE key = 'k-1'",
    "making a tombstone of an answer": "UPDATE idempotency_records SET route = 'tombstone' WHERE key = 'k-1'",
    "deleting a stored answer": "DELETE FROM idempotency_records WHERE key = 'k-1'",
    "deleting all answers": "DELETE FROM idempotency_records",
}


@pytest.mark.req("S2-05", "F54")
@pytest.mark.parametrize("deed", FORBIDDEN)
def test_the_database_itself_refuses(deed: str, places: dict[str, object]) -> None:
    before = bookings.books()
    with pytest.raises(peewee.IntegrityError), database.transaction():
        database.db.execute_sql(FORBIDDEN[deed].format(**places))
    assert bookings.books() == before


def _gift(kind: str, amount_minor: int, redemption: str | None, **more: object) -> dict[str, object]:
    return {
        "kind": kind, "amount_minor": amount_minor, "balance_after_minor": LEFT + amount_minor,
        "redemption": redemption, **more,
    }  # fmt: skip


# What is changed about an entry that would be right: the eighth-of-a-euro redemption that `_entry` makes.
WRONG_ENTRIES: dict[str, dict[str, object]] = {
    "a gap in the sequence": {"seq": 6},
    "a second entry with the same number": {"seq": 4},
    "a balance that does not follow": {"balance_after_minor": LEFT - 2},
    "more than is there": {"amount_minor": -LEFT - 1, "balance_after_minor": -1},
    "held money": {"amount_minor": HELD - LEFT - 1, "balance_after_minor": HELD - 1},
    "an adjustment into held money": {
        "kind": "adjust", "reason": "x", "amount_minor": HELD - LEFT - 1, "balance_after_minor": HELD - 1,
    },
    "a redemption that adds": {"amount_minor": 1, "balance_after_minor": LEFT + 1},
    "a redemption of nothing": {"amount_minor": 0, "balance_after_minor": LEFT},
    "a second issue": {"kind": "issue", "amount_minor": 1, "balance_after_minor": LEFT + 1},
    "a second issue in the first's place": {"kind": "issue", "seq": 1, "amount_minor": 1, "balance_after_minor": 1},
    "another currency": {"currency": "CHF"},
    "another merchant": {"merchant": "other"},
    "a broken chain": {"previous_hash": "0" * 64},
    "nobody's deed": {"actor": ""},
    "an adjustment without a reason": {"kind": "adjust"},
    "an adjustment of nothing": {"kind": "adjust", "reason": "x", "amount_minor": 0, "balance_after_minor": LEFT},
    "an invented kind": {"kind": "gift", "amount_minor": 1, "balance_after_minor": LEFT + 1},
    "a key that was used": {"operation_key": "redeem:used"},
    "a refund above its redemption": _gift("refund", 1001, "redemption"),
    "a refund above what refunds have left": _gift("refund", 801, "redemption"),
    "a reversal above its redemption": _gift("reverse", 1001, "redemption"),
    "a reversal above what refunds have left": _gift("reverse", 801, "redemption"),
    "a refund above a capture": _gift("refund", 301, "capture"),
    "a refund that names no redemption": _gift("refund", 1, None),
    "a reversal that names no redemption": _gift("reverse", 1, None),
    "a refund of an issue": _gift("refund", 1, "issue"),
    "a refund of another voucher's redemption": _gift("refund", 1, "redemption_elsewhere"),
    "a refund below zero": _gift("refund", -1, "redemption"),
    "a redemption that names another": {"redemption": "redemption"},
    "an active hold": {"hold": "active"},
    "a released hold": {"hold": "released"},
    "a hold that was captured before": {"hold": "captured"},
    "another voucher's hold": {"hold": "hold_elsewhere"},
}  # fmt: skip


@pytest.mark.req("S2-05", "S2-07", "F54")
@pytest.mark.parametrize("mistake", WRONG_ENTRIES)
def test_the_database_refuses_an_entry_with(mistake: str, places: dict[str, object]) -> None:
    changes = {
        name: places[value] if name in ("merchant", "redemption", "hold") and isinstance(value, str) else value
        for name, value in WRONG_ENTRIES[mistake].items()
    }
    if mistake == "a key that was used":
        changes["operation_key"] = bookings.fresh(Entry(id=places["redemption"])).operation_key
    _refused(_entry(places, **changes))


def test_the_entry_that_the_mistakes_are_made_of_is_right_itself(places: dict[str, object]) -> None:
    with database.transaction():
        _entry(places).save(force_insert=True)
    assert bookings.fresh(Voucher(id=places["voucher"])).balance_minor == LEFT - 1


def test_a_capture_above_its_hold_is_refused(places: dict[str, object]) -> None:
    end = "UPDATE holds SET state = 'captured', ended_at = created_at WHERE id = {active}".format(**places)
    facts = {"hold": places["active"], "amount_minor": -HELD - 1, "balance_after_minor": LEFT - HELD - 1}
    before = bookings.books()
    with pytest.raises(peewee.IntegrityError), database.transaction():
        database.db.execute_sql(end)
        _entry(places, **facts).save(force_insert=True)
    assert bookings.books() == before


def test_a_captured_hold_pays_for_a_redemption_and_nothing_else(places: dict[str, object]) -> None:
    end = "UPDATE holds SET state = 'captured', ended_at = created_at WHERE id = {active}".format(**places)
    before = bookings.books()
    with pytest.raises(peewee.IntegrityError), database.transaction():
        database.db.execute_sql(end)
        _entry(places, kind="adjust", reason="x", hold=places["active"]).save(force_insert=True)
    assert bookings.books() == before


WRONG_HOLDS: dict[str, dict[str, object]] = {
    "more than is free": {"amount_minor": LEFT - HELD + 1},
    "nothing": {"amount_minor": 0},
    "less than nothing": {"amount_minor": -1},
    "another merchant": {"merchant": "other"},
    "an end from the start": {"state": "captured", "ended_at": clock.now()},
    "no life at all": {"expires_at": clock.now() - timedelta(days=1)},
    "nobody's deed": {"actor": ""},
}


@pytest.mark.parametrize("mistake", WRONG_HOLDS)
def test_the_database_refuses_a_hold_with(mistake: str, places: dict[str, object]) -> None:
    now = clock.now()
    right = {
        "public_id": entries.new_public_id("hld"), "voucher": places["voucher"], "merchant": places["merchant"],
        "amount_minor": LEFT - HELD, "operation_key": bookings.key("hold"), "actor": bookings.TILL, "created_at": now,
        "expires_at": now + timedelta(minutes=15),
    }  # fmt: skip
    changes = {name: places["other"] if name == "merchant" else value for name, value in WRONG_HOLDS[mistake].items()}
    _refused(Hold(**(right | changes)))
    Hold(**right).save(force_insert=True)


@pytest.mark.parametrize("column", ["balance_minor", "held_minor", "version"])
def test_a_voucher_cannot_be_born_with_a_past(merchant: Merchant, column: str) -> None:
    born = bookings.code()
    facts = {"public_id": born.public_id, "code_hmac": born.hmac, "link_hash": born.link_hash, column: 1}
    _refused(
        Voucher(
            merchant=merchant, currency="EUR", code_ciphertext=b"sealed", code_key_id="s1", code_last4="3HAF",
            is_test=True, **facts,
        )
    )  # fmt: skip


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)  # SQLite has no TRUNCATE
@pytest.mark.parametrize("tables", ["entries", "holds", "vouchers", "idempotency_records", "timeline_entries"])
def test_nobody_empties_a_table_in_one_go(engine: str, places: dict[str, object], tables: str) -> None:
    before = bookings.books()
    with pytest.raises(peewee.IntegrityError), database.transaction():
        database.db.execute_sql(f"TRUNCATE {tables} CASCADE")
    assert bookings.books() == before


REPLACEMENTS = {
    "an entry by itself": "INSERT OR REPLACE INTO entries SELECT * FROM entries WHERE id = {redemption}",
    "a hold by itself": "INSERT OR REPLACE INTO holds SELECT * FROM holds WHERE id = {active}",
    "a voucher by an empty one": """INSERT OR REPLACE INTO vouchers (id, public_id, merchant_id, type, currency,
        balance_minor, held_minor, version, status, is_transferable, metadata, code_hmac, code_ciphertext, code_key_id,
        code_last4, link_hash, is_test, created_at)
        SELECT id, public_id, merchant_id, type, currency, 0, 0, 0, status, is_transferable, metadata, code_hmac,
        code_ciphertext, code_key_id, code_last4, link_hash, is_test, created_at FROM vouchers WHERE id = {voucher}""",
    "an old entry by a new one with its id": """INSERT OR REPLACE INTO entries (id, public_id, voucher_id, merchant_id,
        seq, kind, amount_minor, balance_after_minor, currency, operation_key, actor, reason, created_at, previous_hash,
        hash) SELECT {redemption_elsewhere}, 'txn_x', voucher_id, merchant_id, seq + 1, 'redeem', -1,
        balance_after_minor - 1, currency, 'redeem:x', actor, '', created_at, hash, 'x' FROM entries
        WHERE id = {capture}""",
    "a hold by a smaller one": """INSERT OR REPLACE INTO holds (public_id, voucher_id, merchant_id, amount_minor, state,
        operation_key, actor, created_at, expires_at) SELECT public_id, voucher_id, merchant_id, 1, state,
        operation_key, actor, created_at, expires_at FROM holds WHERE id = {active}""",
    "the timeline": "INSERT OR REPLACE INTO timeline_entries SELECT * FROM timeline_entries",
}


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)  # PostgreSQL knows no such word
@pytest.mark.parametrize("deed", REPLACEMENTS)
def test_nothing_is_replaced_behind_the_guards_back(engine: str, places: dict[str, object], deed: str) -> None:
    before = bookings.books()
    with pytest.raises(peewee.IntegrityError), database.transaction():
        database.db.execute_sql(REPLACEMENTS[deed].format(**places))
    assert bookings.books() == before


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_the_first_answer_stands_whoever_replaces_it(engine: str, places: dict[str, object]) -> None:
    before = bookings.books()
    with database.transaction():
        database.db.execute_sql(
            "INSERT OR REPLACE INTO idempotency_records SELECT merchant_id, key, route, fingerprint, 409, 'no',"
            " created_at FROM idempotency_records"
        )
    assert bookings.books() == before


def _refused(row: peewee.Model) -> None:
    before = bookings.books()
    with pytest.raises(peewee.IntegrityError), database.transaction():
        row.save(force_insert=True)
    assert bookings.books() == before


def _entry(places: dict[str, object], **changes: object) -> Entry:
    """A redemption of 1 that continues the voucher's log."""
    last = bookings.fresh(Voucher(id=places["voucher"])).entries.get()
    right: dict[str, object] = {
        "public_id": entries.new_public_id("txn"), "voucher": places["voucher"], "merchant": places["merchant"],
        "seq": last.seq + 1, "kind": "redeem", "amount_minor": -1, "balance_after_minor": LEFT - 1, "currency": "EUR",
        "operation_key": bookings.key(), "actor": bookings.TILL, "created_at": clock.now(),
        "previous_hash": last.hash, "hash": secrets.token_hex(32),
    }  # fmt: skip
    return Entry(**(right | changes))
