"""Holds, reversals, batches; and what the database refuses of them by itself.

`held_minor` follows the active holds as the balance follows the entries. A reversal is an entry of its own kind, bound
to its redemption as a refund is. A cancelled voucher stays cancelled, and a stored answer is never changed or lost.
"""

from migrations import dialects

atomic = False  # SQLite rebuilds `entries` for its new CHECK, with foreign keys looked at once more before the commit

HOLDS = """
CREATE TABLE holds (
  id {id}, public_id TEXT NOT NULL UNIQUE, voucher_id BIGINT NOT NULL REFERENCES vouchers (id),
  merchant_id BIGINT NOT NULL REFERENCES merchants (id), amount_minor {money} NOT NULL CHECK (amount_minor > 0),
  state TEXT NOT NULL CHECK (state IN ('active', 'captured', 'released', 'expired')),
  operation_key TEXT NOT NULL, actor TEXT NOT NULL CHECK (actor <> ''),
  reference TEXT, location TEXT, terminal TEXT, description TEXT,
  created_at {moment} NOT NULL, expires_at {moment} NOT NULL, ended_at {moment},
  UNIQUE (merchant_id, operation_key),
  CHECK (expires_at > created_at),
  CHECK ((state = 'active') = (ended_at IS NULL)));
CREATE INDEX holds_by_voucher ON holds (voucher_id, state);
CREATE INDEX holds_to_free ON holds (state, expires_at);
"""

ENTRIES = """
CREATE TABLE entries_rebuilt (
  id {id}, public_id TEXT NOT NULL UNIQUE, voucher_id BIGINT NOT NULL REFERENCES vouchers (id),
  merchant_id BIGINT NOT NULL REFERENCES merchants (id), seq INTEGER NOT NULL CHECK (seq > 0), kind TEXT NOT NULL,
  amount_minor {money} NOT NULL, balance_after_minor {money} NOT NULL CHECK (balance_after_minor >= 0),
  currency TEXT NOT NULL, redemption_id BIGINT REFERENCES entries (id), operation_key TEXT NOT NULL,
  actor TEXT NOT NULL CHECK (actor <> ''), reason TEXT NOT NULL, reference TEXT, location TEXT, terminal TEXT,
  description TEXT, created_at {moment} NOT NULL, previous_hash TEXT NOT NULL, hash TEXT NOT NULL,
  hold_id BIGINT UNIQUE REFERENCES holds (id),
  UNIQUE (voucher_id, seq), UNIQUE (merchant_id, operation_key),
  CONSTRAINT entries_signs CHECK (
    (kind IN ('issue', 'refund', 'reverse') AND amount_minor > 0)
    OR (kind IN ('redeem', 'expire', 'void') AND amount_minor < 0)
    OR (kind = 'adjust' AND amount_minor <> 0 AND reason <> '')),
  CONSTRAINT entries_first_is_issue CHECK ((kind = 'issue') = (seq = 1)),
  CONSTRAINT entries_given_back_to CHECK ((kind IN ('refund', 'reverse')) = (redemption_id IS NOT NULL)));
INSERT INTO entries_rebuilt SELECT *, NULL FROM entries;
DROP TABLE entries;
ALTER TABLE entries_rebuilt RENAME TO entries;
CREATE UNIQUE INDEX entries_one_issue ON entries (voucher_id) WHERE kind = 'issue';
CREATE INDEX entries_by_time ON entries (merchant_id, created_at);
CREATE INDEX entries_refunds ON entries (redemption_id);
"""

# The first schema left the names of its CHECKs to PostgreSQL, so they are found by what they say.
POSTGRES_CHECKS = """
DO $$ DECLARE old record; BEGIN
  FOR old IN SELECT conname FROM pg_constraint WHERE conrelid = 'entries'::regclass AND contype = 'c'
    AND pg_get_constraintdef(oid) ~ 'expire|redemption_id'
  LOOP EXECUTE 'ALTER TABLE entries DROP CONSTRAINT ' || quote_ident(old.conname); END LOOP;
END $$;
ALTER TABLE entries ADD CONSTRAINT entries_signs CHECK (
    (kind IN ('issue', 'refund', 'reverse') AND amount_minor > 0)
    OR (kind IN ('redeem', 'expire', 'void') AND amount_minor < 0)
    OR (kind = 'adjust' AND amount_minor <> 0 AND reason <> ''));
ALTER TABLE entries ADD CONSTRAINT entries_given_back_to
  CHECK ((kind IN ('refund', 'reverse')) = (redemption_id IS NOT NULL));
ALTER TABLE entries ADD COLUMN hold_id BIGINT UNIQUE REFERENCES holds (id);
"""

TABLES = """
CREATE INDEX entries_by_reference ON entries (merchant_id, reference);

CREATE TABLE batches (
  id {id}, public_id TEXT NOT NULL UNIQUE, merchant_id BIGINT NOT NULL REFERENCES merchants (id),
  kind TEXT NOT NULL CHECK (kind IN ('issue', 'import')),
  state TEXT NOT NULL CHECK (state IN ('draft', 'running', 'paused', 'done', 'stopped')),
  name TEXT NOT NULL CHECK (name <> ''), currency TEXT NOT NULL CHECK (length(currency) = 3),
  type TEXT NOT NULL CHECK (type IN ('gift_card', 'store_credit', 'loyalty_reward', 'compensation', 'referral')),
  is_test {bool} NOT NULL, actor TEXT NOT NULL CHECK (actor <> ''), token INTEGER NOT NULL CHECK (token >= 0),
  lease_until {moment}, liability_before_minor {money}, liability_after_minor {money},
  created_at {moment} NOT NULL, started_at {moment}, finished_at {moment});
CREATE INDEX batches_by_time ON batches (merchant_id, created_at);
CREATE INDEX batches_due ON batches (state, lease_until);

CREATE TABLE batch_rows (
  id {id}, batch_id BIGINT NOT NULL REFERENCES batches (id), row_no INTEGER NOT NULL CHECK (row_no > 0),
  state TEXT NOT NULL CHECK (state IN ('waiting', 'refused', 'done', 'failed')),
  value_minor {money} CHECK (value_minor > 0), expires_at {moment}, customer_id TEXT, reference TEXT,
  key_id TEXT NOT NULL, sealed {blob} NOT NULL, code_hmac TEXT, problem TEXT, detail TEXT,
  voucher_id BIGINT UNIQUE REFERENCES vouchers (id), UNIQUE (batch_id, row_no),
  CHECK ((state = 'done') = (voucher_id IS NOT NULL)),
  CHECK (state NOT IN ('waiting', 'done') OR value_minor IS NOT NULL));
CREATE INDEX batch_rows_waiting ON batch_rows (batch_id, state, row_no);
"""

ENTRY_RULES = [
    ("the entry does not continue the sequence of its voucher",
     "NEW.seq <> (SELECT version + 1 FROM vouchers WHERE id = NEW.voucher_id)"),
    ("balance_after_minor is not the balance plus the amount",
     "NEW.balance_after_minor <> VOUCHER.balance_minor + NEW.amount_minor"),
    ("the entry would take held money",
     "NEW.balance_after_minor < VOUCHER.held_minor"),
    ("the entry has another currency than its voucher",
     "NEW.currency <> VOUCHER.currency"),
    ("the entry belongs to another merchant than its voucher",
     "NEW.merchant_id <> VOUCHER.merchant_id"),
    ("the entry does not carry the hash of the one before",
     "NEW.previous_hash <> COALESCE((SELECT hash FROM entries"
     " WHERE voucher_id = NEW.voucher_id AND seq = NEW.seq - 1), '')"),
    ("a refund or reversal must name a redemption of the same voucher",
     "NEW.kind IN ('refund', 'reverse')",
     "NOT EXISTS (SELECT 1 FROM entries WHERE id = NEW.redemption_id"
     " AND voucher_id = NEW.voucher_id AND kind = 'redeem')"),
    ("refunds and reversals would exceed their redemption",
     "NEW.kind IN ('refund', 'reverse')",
     "NEW.amount_minor + COALESCE((SELECT SUM(amount_minor) FROM entries"
     " WHERE redemption_id = NEW.redemption_id), 0)"
     " > -(SELECT amount_minor FROM entries WHERE id = NEW.redemption_id)"),
    ("a capture takes what its captured hold set aside, or less",
     "NEW.hold_id IS NOT NULL",
     "NOT EXISTS (SELECT 1 FROM holds WHERE id = NEW.hold_id"
     " AND voucher_id = NEW.voucher_id AND state = 'captured' AND NEW.kind = 'redeem'"
     " AND -NEW.amount_minor <= amount_minor)"),
]  # fmt: skip

HELD = "(SELECT COALESCE(SUM(amount_minor), 0) FROM holds WHERE voucher_id = NEW.id AND state = 'active')"
VOUCHER_CHANGE_RULES = [
    ("the balance follows the last entry and nothing else",
     "NEW.balance_minor <> OLD.balance_minor OR NEW.version <> OLD.version",
     "NOT EXISTS (SELECT 1 FROM entries"
     " WHERE voucher_id = NEW.id AND seq = NEW.version AND balance_after_minor = NEW.balance_minor"
     " AND seq = (SELECT MAX(seq) FROM entries WHERE voucher_id = NEW.id))"),
    ("what is held is the sum of the active holds",
     "NEW.held_minor <> OLD.held_minor", f"NEW.held_minor <> {HELD}"),
    ("currency, merchant, unit, mode and identity of a voucher never change",
     "NEW.currency <> OLD.currency OR NEW.merchant_id <> OLD.merchant_id OR NEW.public_id <> OLD.public_id"
     " OR NEW.is_test <> OLD.is_test"
     " OR (OLD.unit_id IS NOT NULL AND (NEW.unit_id IS NULL OR NEW.unit_id <> OLD.unit_id))"),
    ("a cancelled voucher stays cancelled",
     "OLD.status = 'cancelled' AND NEW.status <> 'cancelled'"),
    ("a voucher that was active is never pending again",
     "OLD.status <> 'pending' AND NEW.status = 'pending'"),
]  # fmt: skip

HOLD_BIRTH_RULES = [
    ("a hold begins active", "NEW.state <> 'active'"),
    ("the hold belongs to another merchant than its voucher",
     "NEW.merchant_id <> VOUCHER.merchant_id"),
]  # fmt: skip
HOLD_CHANGE_RULES = [
    ("amount, voucher, merchant and identity of a hold never change",
     "NEW.amount_minor <> OLD.amount_minor OR NEW.voucher_id <> OLD.voucher_id OR NEW.merchant_id <> OLD.merchant_id"
     " OR NEW.public_id <> OLD.public_id OR NEW.operation_key <> OLD.operation_key"
     " OR NEW.created_at <> OLD.created_at"),
    ("a closed hold stays as it is", "OLD.state <> 'active'"),
]  # fmt: skip
HOLD_EFFECT = (
    "UPDATE vouchers SET held_minor = (SELECT COALESCE(SUM(amount_minor), 0) FROM holds"
    " WHERE voucher_id = NEW.voucher_id AND state = 'active') WHERE id = NEW.voucher_id;"
)
ENTRY_EFFECT = (
    "UPDATE vouchers SET balance_minor = NEW.balance_after_minor, version = NEW.seq WHERE id = NEW.voucher_id;"
)
ANSWER_RULES = [
    ("a stored answer is never changed",
     "OLD.status IS NOT NULL OR NEW.key <> OLD.key OR NEW.merchant_id <> OLD.merchant_id"
     " OR NEW.route <> OLD.route OR NEW.fingerprint <> OLD.fingerprint"),
]  # fmt: skip

GUARDS_OF_ENTRIES = [
    ("entries_continue", "BEFORE INSERT", "entries", ENTRY_RULES, ""),
    ("entries_move_balance", "AFTER INSERT", "entries", [], ENTRY_EFFECT),
    ("entries_never_change", "BEFORE UPDATE", "entries", [("an entry is never changed", "1 = 1")], ""),
    ("entries_never_vanish", "BEFORE DELETE", "entries", [("an entry is never deleted", "1 = 1")], ""),
    ("vouchers_follow_entries", "BEFORE UPDATE", "vouchers", VOUCHER_CHANGE_RULES, ""),
]
GUARDS = [
    ("holds_begin_active", "BEFORE INSERT", "holds", HOLD_BIRTH_RULES, ""),
    ("holds_are_held", "AFTER INSERT", "holds", [], HOLD_EFFECT),
    ("holds_end_once", "BEFORE UPDATE", "holds", HOLD_CHANGE_RULES, ""),
    ("holds_are_freed", "AFTER UPDATE", "holds", [], HOLD_EFFECT),
    ("holds_never_vanish", "BEFORE DELETE", "holds", [("a hold is never deleted", "1 = 1")], ""),
    ("answers_never_change", "BEFORE UPDATE", "idempotency_records", ANSWER_RULES, ""),
    ("answers_never_vanish", "BEFORE DELETE", "idempotency_records", [("an answer is never deleted", "1 = 1")], ""),
]
# SQLite deletes what `INSERT OR REPLACE` replaces without asking the triggers, so there no row of these is replaced.
NEVER_REPLACED = {
    "entries":
        "EXISTS (SELECT 1 FROM entries WHERE id = NEW.id OR public_id = NEW.public_id OR hold_id = NEW.hold_id"
        " OR (merchant_id = NEW.merchant_id AND operation_key = NEW.operation_key))",
    "holds":
        "EXISTS (SELECT 1 FROM holds WHERE id = NEW.id OR public_id = NEW.public_id"
        " OR (merchant_id = NEW.merchant_id AND operation_key = NEW.operation_key))",
    "vouchers":
        "EXISTS (SELECT 1 FROM vouchers WHERE id = NEW.id OR public_id = NEW.public_id OR unit_id = NEW.unit_id"
        " OR link_hash = NEW.link_hash OR (merchant_id = NEW.merchant_id AND code_hmac = NEW.code_hmac))",
    "timeline_entries":
        "EXISTS (SELECT 1 FROM timeline_entries WHERE id = NEW.id)",
}  # fmt: skip
# The first answer stands, and the INSERT that claims a key hears that nothing was inserted.
ANSWERS_NEVER_REPLACED = """
CREATE TRIGGER answers_never_replaced BEFORE INSERT ON idempotency_records
  WHEN EXISTS (SELECT 1 FROM idempotency_records WHERE merchant_id = NEW.merchant_id AND key = NEW.key)
  BEGIN SELECT RAISE(IGNORE); END
"""


def up(migrator, db):
    """Widen the kinds of entries, create holds and batches, and set the guards."""
    if dialects.engine_of(db) == "sqlite":
        db.execute_sql("PRAGMA foreign_keys = OFF")
    try:
        with db.atomic():
            dialects.create_tables(db, HOLDS)
            _widen_entries(db)
            dialects.create_tables(db, TABLES)
            for trigger in GUARDS_OF_ENTRIES + GUARDS:
                dialects.create_trigger(db, *trigger)
            for table in ("holds", "idempotency_records"):
                dialects.never_truncated(db, table, "entries_never_vanish")
            _never_replaced(db)
    finally:
        if dialects.engine_of(db) == "sqlite":
            db.execute_sql("PRAGMA foreign_keys = ON")


def _widen_entries(db):
    if dialects.engine_of(db) == "postgresql":
        db.execute_sql(POSTGRES_CHECKS)
        return
    # A trigger that speaks of a table stops its renaming, so they step aside and are set again with today's rules.
    for name, _moment, table, _rules, _effect in GUARDS_OF_ENTRIES:
        dialects.drop_trigger(db, name, table)
    dialects.create_tables(db, ENTRIES)
    lost = db.execute_sql("PRAGMA foreign_key_check").fetchall()
    if lost:
        raise RuntimeError(f"{len(lost)} rows point at nothing; nothing was changed")


def _never_replaced(db):
    if dialects.engine_of(db) == "postgresql":
        return
    for table, condition in NEVER_REPLACED.items():
        rules = [(f"a row of {table} is never replaced", condition)]
        dialects.create_trigger(db, f"{table}_never_replaced", "BEFORE INSERT", table, rules)
    db.execute_sql(ANSWERS_NEVER_REPLACED)
