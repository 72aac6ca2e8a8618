"""Money that goes back, payments that are contested, and what watches over it all.

SQLite rebuilds `orders` and `payments` for a new word in their CHECKs.
"""

from migrations import dialects

atomic = False

REBUILT = """
CREATE TABLE orders_rebuilt (
  id {id}, merchant_id BIGINT NOT NULL REFERENCES merchants (id), ref TEXT NOT NULL UNIQUE, number TEXT NOT NULL,
  place_key TEXT NOT NULL,
  payment_state TEXT NOT NULL CONSTRAINT orders_states
    CHECK (payment_state IN ('open', 'processing', 'paid', 'expired', 'failed', 'review', 'returned')),
  buyer_name TEXT NOT NULL, buyer_email TEXT NOT NULL CHECK (buyer_email <> ''), locale TEXT NOT NULL,
  currency TEXT NOT NULL CHECK (length(currency) = 3), total_minor {money} NOT NULL CHECK (total_minor > 0),
  is_test {bool} NOT NULL, created_at {moment} NOT NULL, paid_at {moment},
  CHECK ((payment_state = 'paid') = (paid_at IS NOT NULL)),
  UNIQUE (merchant_id, number), UNIQUE (merchant_id, place_key));
INSERT INTO orders_rebuilt SELECT * FROM orders;
DROP TABLE orders;
ALTER TABLE orders_rebuilt RENAME TO orders;
CREATE INDEX orders_by_time ON orders (merchant_id, created_at);
CREATE INDEX orders_by_state ON orders (merchant_id, payment_state);

CREATE TABLE payments_rebuilt (
  id {id}, order_id BIGINT NOT NULL REFERENCES orders (id), merchant_id BIGINT NOT NULL REFERENCES merchants (id),
  attempt INTEGER NOT NULL CHECK (attempt > 0), account TEXT NOT NULL, idempotency_key TEXT NOT NULL UNIQUE,
  session_id TEXT, payment_intent_id TEXT, url TEXT,
  state TEXT NOT NULL CONSTRAINT payments_states
    CHECK (state IN ('open', 'processing', 'paid', 'expired', 'failed', 'review', 'returned')),
  amount_minor {money} NOT NULL CHECK (amount_minor > 0), currency TEXT NOT NULL CHECK (length(currency) = 3),
  is_live {bool} NOT NULL, method TEXT, checks INTEGER NOT NULL, next_check_at {moment}, asked_at {moment},
  created_at {moment} NOT NULL,
  expires_at {moment} NOT NULL, paid_at {moment},
  CHECK ((state = 'paid') = (paid_at IS NOT NULL)),
  UNIQUE (order_id, attempt), UNIQUE (account, session_id));
INSERT INTO payments_rebuilt SELECT * FROM payments;
DROP TABLE payments;
ALTER TABLE payments_rebuilt RENAME TO payments;
CREATE INDEX payments_to_check ON payments (state, next_check_at);
CREATE INDEX payments_by_intent ON payments (payment_intent_id);
"""

# The first schema left the names of its CHECKs to PostgreSQL, so they are found by what they say.
POSTGRES_CHECKS = """
DO $$ DECLARE old record; BEGIN
  FOR old IN SELECT conname, conrelid::regclass AS place FROM pg_constraint
    WHERE conrelid IN ('orders'::regclass, 'payments'::regclass) AND contype = 'c'
    AND pg_get_constraintdef(oid) ~ 'review'
  LOOP EXECUTE 'ALTER TABLE ' || old.place || ' DROP CONSTRAINT ' || quote_ident(old.conname); END LOOP;
END $$;
ALTER TABLE orders ADD CONSTRAINT orders_states
  CHECK (payment_state IN ('open', 'processing', 'paid', 'expired', 'failed', 'review', 'returned'));
ALTER TABLE payments ADD CONSTRAINT payments_states
  CHECK (state IN ('open', 'processing', 'paid', 'expired', 'failed', 'review', 'returned'));
"""

COLUMNS = """
ALTER TABLE payments ADD COLUMN received_minor {money};
ALTER TABLE payments ADD COLUMN received_currency TEXT;
ALTER TABLE payments ADD COLUMN differences {json};
ALTER TABLE stripe_events ADD COLUMN subject_id TEXT;
ALTER TABLE stripe_events ADD COLUMN source TEXT NOT NULL DEFAULT 'webhook' CHECK (source IN ('webhook', 'list'));
CREATE INDEX stripe_events_by_time ON stripe_events (account, received_at);
CREATE INDEX payments_by_account_and_intent ON payments (account, payment_intent_id);
CREATE INDEX steps_by_message ON steps (message_id);
"""
FROZEN = {
    "sqlite": "ALTER TABLE vouchers ADD COLUMN is_frozen INTEGER NOT NULL DEFAULT 0"
    " CHECK (NOT is_frozen OR status = 'suspended')",
    "postgresql": "ALTER TABLE vouchers ADD COLUMN is_frozen BOOLEAN NOT NULL DEFAULT FALSE"
    " CHECK (NOT is_frozen OR status = 'suspended')",
}

TABLES = """
CREATE TABLE refunds (
  id {id}, public_id TEXT NOT NULL UNIQUE, merchant_id BIGINT NOT NULL REFERENCES merchants (id),
  order_id BIGINT NOT NULL REFERENCES orders (id), payment_id BIGINT NOT NULL REFERENCES payments (id),
  account TEXT NOT NULL, refund_id TEXT,
  origin TEXT NOT NULL CHECK (origin IN ('dashboard', 'stripe')),
  state TEXT NOT NULL CHECK (state IN ('asked', 'pending', 'succeeded', 'failed')),
  amount_minor {money} NOT NULL CHECK (amount_minor > 0), currency TEXT NOT NULL CHECK (length(currency) = 3),
  parts {json} NOT NULL, actor TEXT NOT NULL CHECK (actor <> ''), reason TEXT NOT NULL, failure TEXT,
  checks INTEGER NOT NULL, next_check_at {moment}, created_at {moment} NOT NULL, ended_at {moment}, decided_at {moment},
  UNIQUE (account, refund_id),
  CHECK (origin = 'dashboard' OR refund_id IS NOT NULL),
  CHECK (origin = 'stripe' OR decided_at IS NOT NULL),
  CHECK ((state IN ('succeeded', 'failed')) = (ended_at IS NOT NULL)));
CREATE INDEX refunds_by_order ON refunds (order_id);
CREATE INDEX refunds_to_check ON refunds (state, next_check_at);
CREATE INDEX refunds_to_decide ON refunds (merchant_id, decided_at);

CREATE TABLE disputes (
  id {id}, merchant_id BIGINT NOT NULL REFERENCES merchants (id),
  order_id BIGINT NOT NULL REFERENCES orders (id), payment_id BIGINT NOT NULL REFERENCES payments (id),
  account TEXT NOT NULL, dispute_id TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('dispute', 'inquiry', 'fraud_warning')),
  state TEXT NOT NULL CHECK (state IN ('open', 'won', 'lost', 'closed')),
  status TEXT NOT NULL, reason TEXT NOT NULL, amount_minor {money} NOT NULL, currency TEXT NOT NULL,
  spent_minor {money} CHECK (spent_minor >= 0), respond_by {moment}, opened_at {moment} NOT NULL, closed_at {moment},
  UNIQUE (account, dispute_id),
  CHECK ((state = 'open') = (closed_at IS NULL)));
CREATE INDEX disputes_by_order ON disputes (order_id);
CREATE INDEX disputes_open ON disputes (merchant_id, state);

CREATE TABLE connections (
  id {id}, merchant_id BIGINT NOT NULL UNIQUE REFERENCES merchants (id), account TEXT NOT NULL UNIQUE,
  state TEXT NOT NULL CHECK (state IN ('pending', 'ready', 'restricted', 'ended')),
  requirements {json} NOT NULL, created_at {moment} NOT NULL, checked_at {moment} NOT NULL);

CREATE TABLE breakers (
  id {id}, name TEXT NOT NULL UNIQUE, opened_at {moment} NOT NULL, probe_at {moment} NOT NULL, code TEXT NOT NULL,
  detail TEXT NOT NULL);

CREATE TABLE checks (
  id {id}, name TEXT NOT NULL, account TEXT NOT NULL, ran_at {moment} NOT NULL, is_ok {bool} NOT NULL,
  facts {json} NOT NULL, UNIQUE (name, account));

CREATE TABLE strays (
  id {id}, merchant_id BIGINT REFERENCES merchants (id), account TEXT NOT NULL, session_id TEXT NOT NULL,
  reference TEXT NOT NULL, amount_minor {money} NOT NULL, currency TEXT NOT NULL, found_at {moment} NOT NULL,
  closed_at {moment}, closed_by TEXT, UNIQUE (account, session_id),
  CHECK ((closed_at IS NULL) = (closed_by IS NULL)));

CREATE TABLE notices (
  id {id}, merchant_id BIGINT NOT NULL REFERENCES merchants (id), user_id BIGINT NOT NULL REFERENCES users (id),
  kind TEXT NOT NULL, key TEXT NOT NULL, facts {json} NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('waiting', 'sent', 'failed', 'settled')),
  attempt INTEGER NOT NULL CHECK (attempt >= 0), token INTEGER NOT NULL CHECK (token >= 0),
  not_before {moment} NOT NULL, lease_until {moment}, message_id TEXT NOT NULL UNIQUE, error TEXT,
  created_at {moment} NOT NULL, sent_at {moment}, UNIQUE (user_id, kind, key),
  CHECK ((state = 'sent') = (sent_at IS NOT NULL)));
CREATE INDEX notices_due ON notices (state, not_before);
"""

REFUND_CHANGE_RULES = [
    ("amount, payment and identity of a refund never change",
     "NEW.amount_minor <> OLD.amount_minor OR NEW.currency <> OLD.currency OR NEW.payment_id <> OLD.payment_id"
     " OR NEW.order_id <> OLD.order_id OR NEW.public_id <> OLD.public_id OR NEW.origin <> OLD.origin"
     " OR (OLD.refund_id IS NOT NULL AND (NEW.refund_id IS NULL OR NEW.refund_id <> OLD.refund_id))"),
    ("a failed refund stays failed", "OLD.state = 'failed' AND NEW.state <> 'failed'"),
]  # fmt: skip

GUARDS = [
    ("refunds_keep_their_word", "BEFORE UPDATE", "refunds", REFUND_CHANGE_RULES, ""),
    ("refunds_never_vanish", "BEFORE DELETE", "refunds", [("a refund is never deleted", "1 = 1")], ""),
    ("disputes_never_vanish", "BEFORE DELETE", "disputes", [("a dispute is never deleted", "1 = 1")], ""),
]


def up(migrator, db):
    """Widen the states of payments, and create what refunds, disputes, Connect and the watch need."""
    engine = dialects.engine_of(db)
    if engine == "sqlite":
        db.execute_sql("PRAGMA foreign_keys = OFF")
    try:
        with db.atomic():
            _widen_states(db, engine)
            dialects.create_tables(db, COLUMNS)
            db.execute_sql(FROZEN[engine])
            dialects.create_tables(db, TABLES)
            for trigger in GUARDS:
                dialects.create_trigger(db, *trigger)
            _never_replaced(db, engine)
    finally:
        if engine == "sqlite":
            db.execute_sql("PRAGMA foreign_keys = ON")


def _widen_states(db, engine):
    if engine == "postgresql":
        db.execute_sql(POSTGRES_CHECKS)
        return
    dialects.create_tables(db, REBUILT)
    lost = db.execute_sql("PRAGMA foreign_key_check").fetchall()
    if lost:
        raise RuntimeError(f"{len(lost)} rows point at nothing; nothing was changed")


def _never_replaced(db, engine):
    # SQLite deletes what `INSERT OR REPLACE` replaces without asking the triggers.
    if engine == "sqlite":
        same = "SELECT 1 FROM refunds WHERE id = NEW.id OR public_id = NEW.public_id"
        rules = [("a row of refunds is never replaced", f"EXISTS ({same})")]
        dialects.create_trigger(db, "refunds_never_replaced", "BEFORE INSERT", "refunds", rules)
