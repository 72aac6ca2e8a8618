"""The first schema, written by hand for both engines: tables, CHECKs, indexes, and the triggers that guard the ledger.

The triggers make the entry the only way to change a balance: no entry is ever updated or deleted, each one continues
the sequence and the sum before it, a redemption is never refunded beyond itself, and the balance column follows the
last entry or nothing.
"""

from migrations import dialects

TABLES = """
CREATE TABLE merchants (
  id {id}, slug TEXT NOT NULL UNIQUE, name TEXT NOT NULL CHECK (name <> ''), address TEXT NOT NULL, email TEXT NOT NULL,
  phone TEXT NOT NULL, website TEXT NOT NULL, country TEXT NOT NULL,
  currency TEXT NOT NULL CHECK (length(currency) = 3),
  locale TEXT NOT NULL CHECK (locale IN ('de', 'en')), time_zone TEXT NOT NULL, accent TEXT NOT NULL,
  validity_years INTEGER CHECK (validity_years BETWEEN 1 AND 100), is_validity_to_year_end {bool} NOT NULL,
  how_to_redeem TEXT NOT NULL, imprint TEXT NOT NULL, terms TEXT NOT NULL, privacy TEXT NOT NULL,
  stripe_account TEXT NOT NULL, is_open {bool} NOT NULL, order_count INTEGER NOT NULL CHECK (order_count >= 0),
  created_at {moment} NOT NULL);

CREATE TABLE users (
  id {id}, email TEXT NOT NULL UNIQUE CHECK (email = lower(email)), name TEXT NOT NULL, password_hash TEXT NOT NULL,
  session_token TEXT NOT NULL UNIQUE, locale TEXT NOT NULL CHECK (locale IN ('de', 'en')), is_active {bool} NOT NULL,
  created_at {moment} NOT NULL);

CREATE TABLE memberships (
  id {id}, user_id BIGINT NOT NULL REFERENCES users (id), merchant_id BIGINT NOT NULL REFERENCES merchants (id),
  role TEXT NOT NULL CHECK (role IN ('owner', 'staff')), UNIQUE (user_id, merchant_id));

CREATE TABLE offers (
  id {id}, merchant_id BIGINT NOT NULL REFERENCES merchants (id), slug TEXT NOT NULL, title TEXT NOT NULL,
  description TEXT NOT NULL, values_minor {json} NOT NULL, min_minor {money} CHECK (min_minor > 0),
  max_minor {money} CHECK (max_minor >= min_minor),
  tax_class TEXT NOT NULL CHECK (tax_class IN ('multi_purpose', 'single_purpose')), position INTEGER NOT NULL,
  is_active {bool} NOT NULL, UNIQUE (merchant_id, slug));

CREATE TABLE designs (
  id {id}, merchant_id BIGINT NOT NULL REFERENCES merchants (id), slug TEXT NOT NULL, name TEXT NOT NULL,
  layout TEXT NOT NULL, accent TEXT NOT NULL, position INTEGER NOT NULL, is_active {bool} NOT NULL,
  UNIQUE (merchant_id, slug));

CREATE TABLE orders (
  id {id}, merchant_id BIGINT NOT NULL REFERENCES merchants (id), ref TEXT NOT NULL UNIQUE, number TEXT NOT NULL,
  place_key TEXT NOT NULL,
  payment_state TEXT NOT NULL CHECK (payment_state IN ('open', 'processing', 'paid', 'expired', 'failed', 'review')),
  buyer_name TEXT NOT NULL, buyer_email TEXT NOT NULL CHECK (buyer_email <> ''), locale TEXT NOT NULL,
  currency TEXT NOT NULL CHECK (length(currency) = 3), total_minor {money} NOT NULL CHECK (total_minor > 0),
  is_test {bool} NOT NULL, created_at {moment} NOT NULL, paid_at {moment},
  CHECK ((payment_state = 'paid') = (paid_at IS NOT NULL)),
  UNIQUE (merchant_id, number), UNIQUE (merchant_id, place_key));
CREATE INDEX orders_by_time ON orders (merchant_id, created_at);
CREATE INDEX orders_by_state ON orders (merchant_id, payment_state);

CREATE TABLE units (
  id {id}, order_id BIGINT NOT NULL REFERENCES orders (id), unit_no INTEGER NOT NULL CHECK (unit_no > 0),
  offer_id BIGINT NOT NULL REFERENCES offers (id), design_id BIGINT NOT NULL REFERENCES designs (id),
  title TEXT NOT NULL, layout TEXT NOT NULL, accent TEXT NOT NULL,
  value_minor {money} NOT NULL CHECK (value_minor > 0), currency TEXT NOT NULL CHECK (length(currency) = 3),
  tax_class TEXT NOT NULL CHECK (tax_class IN ('multi_purpose', 'single_purpose')),
  validity_years INTEGER, is_validity_to_year_end {bool} NOT NULL,
  recipient_name TEXT NOT NULL, recipient_email TEXT NOT NULL, message TEXT NOT NULL CHECK (length(message) <= 500),
  deliver_at {moment}, UNIQUE (order_id, unit_no));

CREATE TABLE payments (
  id {id}, order_id BIGINT NOT NULL REFERENCES orders (id), merchant_id BIGINT NOT NULL REFERENCES merchants (id),
  attempt INTEGER NOT NULL CHECK (attempt > 0), account TEXT NOT NULL, idempotency_key TEXT NOT NULL UNIQUE,
  session_id TEXT, payment_intent_id TEXT, url TEXT,
  state TEXT NOT NULL CHECK (state IN ('open', 'processing', 'paid', 'expired', 'failed', 'review')),
  amount_minor {money} NOT NULL CHECK (amount_minor > 0), currency TEXT NOT NULL CHECK (length(currency) = 3),
  is_live {bool} NOT NULL, method TEXT, checks INTEGER NOT NULL, next_check_at {moment}, asked_at {moment},
  created_at {moment} NOT NULL,
  expires_at {moment} NOT NULL, paid_at {moment},
  CHECK ((state = 'paid') = (paid_at IS NOT NULL)),
  UNIQUE (order_id, attempt), UNIQUE (account, session_id));
CREATE INDEX payments_to_check ON payments (state, next_check_at);
CREATE INDEX payments_by_intent ON payments (payment_intent_id);

CREATE TABLE vouchers (
  id {id}, public_id TEXT NOT NULL UNIQUE, merchant_id BIGINT NOT NULL REFERENCES merchants (id),
  unit_id BIGINT UNIQUE REFERENCES units (id),
  type TEXT NOT NULL CHECK (type IN ('gift_card', 'store_credit', 'loyalty_reward', 'compensation', 'referral')),
  currency TEXT NOT NULL CHECK (length(currency) = 3),
  balance_minor {money} NOT NULL CHECK (balance_minor >= 0),
  held_minor {money} NOT NULL CHECK (held_minor >= 0 AND held_minor <= balance_minor),
  version INTEGER NOT NULL CHECK (version >= 0),
  status TEXT NOT NULL CHECK (status IN ('pending', 'active', 'suspended', 'cancelled')),
  valid_from {moment}, expires_at {moment}, is_transferable {bool} NOT NULL, customer_id TEXT, metadata {json} NOT NULL,
  code_hmac TEXT NOT NULL, code_ciphertext {blob} NOT NULL, code_key_id TEXT NOT NULL,
  code_last4 TEXT NOT NULL CHECK (length(code_last4) <= 4), link_hash TEXT NOT NULL UNIQUE, is_test {bool} NOT NULL,
  created_at {moment} NOT NULL, UNIQUE (merchant_id, code_hmac));
CREATE INDEX vouchers_by_time ON vouchers (merchant_id, created_at);

CREATE TABLE entries (
  id {id}, public_id TEXT NOT NULL UNIQUE, voucher_id BIGINT NOT NULL REFERENCES vouchers (id),
  merchant_id BIGINT NOT NULL REFERENCES merchants (id), seq INTEGER NOT NULL CHECK (seq > 0), kind TEXT NOT NULL,
  amount_minor {money} NOT NULL, balance_after_minor {money} NOT NULL CHECK (balance_after_minor >= 0),
  currency TEXT NOT NULL, redemption_id BIGINT REFERENCES entries (id), operation_key TEXT NOT NULL,
  actor TEXT NOT NULL CHECK (actor <> ''), reason TEXT NOT NULL, reference TEXT, location TEXT, terminal TEXT,
  description TEXT, created_at {moment} NOT NULL, previous_hash TEXT NOT NULL, hash TEXT NOT NULL,
  UNIQUE (voucher_id, seq), UNIQUE (merchant_id, operation_key),
  CHECK ((kind IN ('issue', 'refund') AND amount_minor > 0)
         OR (kind IN ('redeem', 'expire', 'void') AND amount_minor < 0)
         OR (kind = 'adjust' AND amount_minor <> 0 AND reason <> '')),
  CHECK ((kind = 'issue') = (seq = 1)),
  CHECK ((kind = 'refund') = (redemption_id IS NOT NULL)));
CREATE UNIQUE INDEX entries_one_issue ON entries (voucher_id) WHERE kind = 'issue';
CREATE INDEX entries_by_time ON entries (merchant_id, created_at);
CREATE INDEX entries_refunds ON entries (redemption_id);

CREATE TABLE voucher_pdfs (
  id {id}, voucher_id BIGINT NOT NULL UNIQUE REFERENCES vouchers (id), sha256 TEXT NOT NULL CHECK (length(sha256) = 64),
  size INTEGER NOT NULL CHECK (size > 0), key_id TEXT NOT NULL, sealed {blob} NOT NULL, created_at {moment} NOT NULL);

CREATE TABLE steps (
  id {id}, order_id BIGINT NOT NULL REFERENCES orders (id), unit_no INTEGER NOT NULL CHECK (unit_no >= 0),
  name TEXT NOT NULL CHECK (name IN ('create', 'document', 'deliver_buyer', 'deliver_recipient', 'receipt')),
  needs TEXT, epoch INTEGER NOT NULL CHECK (epoch > 0),
  state TEXT NOT NULL
    CHECK (state IN ('blocked', 'ready', 'running', 'done', 'retry_wait', 'unknown', 'dead', 'skipped')),
  attempt INTEGER NOT NULL CHECK (attempt >= 0), token INTEGER NOT NULL CHECK (token >= 0), worker TEXT,
  not_before {moment} NOT NULL, lease_until {moment}, first_failed_at {moment}, send_started_at {moment},
  started_at {moment}, finished_at {moment}, message_id TEXT, error_code TEXT, error_text TEXT,
  CHECK ((state = 'running') = (lease_until IS NOT NULL)),
  UNIQUE (order_id, unit_no, name, epoch));
CREATE INDEX steps_due ON steps (state, not_before);

CREATE TABLE step_attempts (
  id {id}, step_id BIGINT NOT NULL REFERENCES steps (id), attempt INTEGER NOT NULL, token INTEGER NOT NULL,
  worker TEXT NOT NULL, started_at {moment} NOT NULL, ended_at {moment}, outcome TEXT, code TEXT, detail TEXT,
  UNIQUE (step_id, token));

CREATE TABLE timeline_entries (
  id {id}, merchant_id BIGINT NOT NULL REFERENCES merchants (id), order_id BIGINT REFERENCES orders (id),
  voucher_id BIGINT REFERENCES vouchers (id), kind TEXT NOT NULL, facts {json} NOT NULL,
  actor TEXT NOT NULL CHECK (actor <> ''), created_at {moment} NOT NULL);
CREATE INDEX timeline_by_order ON timeline_entries (order_id);
CREATE INDEX timeline_by_voucher ON timeline_entries (voucher_id);

CREATE TABLE api_keys (
  id {id}, merchant_id BIGINT NOT NULL REFERENCES merchants (id), key_id TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
  secret_hash TEXT NOT NULL, scopes {json} NOT NULL, terminal TEXT, location TEXT, is_test {bool} NOT NULL,
  created_at {moment} NOT NULL, last_used_at {moment}, expires_at {moment}, revoked_at {moment});

CREATE TABLE idempotency_records (
  merchant_id BIGINT NOT NULL REFERENCES merchants (id), key TEXT NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
  route TEXT NOT NULL, fingerprint TEXT NOT NULL, status INTEGER, body TEXT, created_at {moment} NOT NULL,
  PRIMARY KEY (merchant_id, key));

CREATE TABLE stripe_events (
  id {id}, account TEXT NOT NULL, event_id TEXT NOT NULL, type TEXT NOT NULL, session_id TEXT, is_live {bool} NOT NULL,
  received_at {moment} NOT NULL, outcome TEXT, UNIQUE (account, event_id));

CREATE TABLE workers (
  id {id}, name TEXT NOT NULL UNIQUE, started_at {moment} NOT NULL, seen_at {moment} NOT NULL);
"""

ENTRY_RULES = [
    ("the entry does not continue the sequence of its voucher",
     "NEW.seq <> (SELECT version + 1 FROM vouchers WHERE id = NEW.voucher_id)"),
    ("balance_after_minor is not the balance plus the amount",
     "NEW.balance_after_minor <> (SELECT balance_minor FROM vouchers WHERE id = NEW.voucher_id) + NEW.amount_minor"),
    ("the entry would take held money",
     "NEW.balance_after_minor < (SELECT held_minor FROM vouchers WHERE id = NEW.voucher_id)"),
    ("the entry has another currency than its voucher",
     "NEW.currency <> (SELECT currency FROM vouchers WHERE id = NEW.voucher_id)"),
    ("the entry belongs to another merchant than its voucher",
     "NEW.merchant_id <> (SELECT merchant_id FROM vouchers WHERE id = NEW.voucher_id)"),
    ("the entry does not carry the hash of the one before",
     "NEW.previous_hash <> COALESCE((SELECT hash FROM entries"
     " WHERE voucher_id = NEW.voucher_id AND seq = NEW.seq - 1), '')"),
    ("a refund must name a redemption of the same voucher",
     "NEW.kind = 'refund' AND NOT EXISTS (SELECT 1 FROM entries WHERE id = NEW.redemption_id"
     " AND voucher_id = NEW.voucher_id AND kind = 'redeem')"),
    ("the refunds would exceed their redemption",
     "NEW.kind = 'refund' AND NEW.amount_minor + COALESCE((SELECT SUM(amount_minor) FROM entries"
     " WHERE redemption_id = NEW.redemption_id), 0)"
     " > -(SELECT amount_minor FROM entries WHERE id = NEW.redemption_id)"),
]  # fmt: skip

VOUCHER_BIRTH_RULES = [
    ("a voucher starts empty; its issue entry fills it",
     "NEW.balance_minor <> 0 OR NEW.held_minor <> 0 OR NEW.version <> 0"),
]  # fmt: skip

VOUCHER_CHANGE_RULES = [
    ("the balance follows the last entry and nothing else",
     "(NEW.balance_minor <> OLD.balance_minor OR NEW.version <> OLD.version) AND NOT EXISTS (SELECT 1 FROM entries"
     " WHERE voucher_id = NEW.id AND seq = NEW.version AND balance_after_minor = NEW.balance_minor"
     " AND seq = (SELECT MAX(seq) FROM entries WHERE voucher_id = NEW.id))"),
    ("currency, merchant, unit and identity of a voucher never change",
     "NEW.currency <> OLD.currency OR NEW.merchant_id <> OLD.merchant_id OR NEW.public_id <> OLD.public_id"
     " OR (OLD.unit_id IS NOT NULL AND (NEW.unit_id IS NULL OR NEW.unit_id <> OLD.unit_id))"),
]  # fmt: skip

ENTRY_EFFECT = (
    "UPDATE vouchers SET balance_minor = NEW.balance_after_minor, version = NEW.seq WHERE id = NEW.voucher_id;"
)

# (trigger, moment, table, rules, effect)
TRIGGERS = [
    ("entries_continue", "BEFORE INSERT", "entries", ENTRY_RULES, ""),
    ("entries_move_balance", "AFTER INSERT", "entries", [], ENTRY_EFFECT),
    ("entries_never_change", "BEFORE UPDATE", "entries", [("an entry is never changed", "1 = 1")], ""),
    ("entries_never_vanish", "BEFORE DELETE", "entries", [("an entry is never deleted", "1 = 1")], ""),
    ("vouchers_start_empty", "BEFORE INSERT", "vouchers", VOUCHER_BIRTH_RULES, ""),
    ("vouchers_follow_entries", "BEFORE UPDATE", "vouchers", VOUCHER_CHANGE_RULES, ""),
    ("vouchers_never_vanish", "BEFORE DELETE", "vouchers", [("a voucher is never deleted", "1 = 1")], ""),
    ("timeline_never_changes", "BEFORE UPDATE", "timeline_entries", [("the timeline is never changed", "1 = 1")], ""),
    ("timeline_never_vanishes", "BEFORE DELETE", "timeline_entries", [("the timeline is never deleted", "1 = 1")], ""),
]


def up(migrator, db):
    """Create every table, index and trigger."""
    dialects.create_tables(db, TABLES)
    for trigger in TRIGGERS:
        dialects.create_trigger(db, *trigger)
    for table in ("entries", "timeline_entries"):
        dialects.never_truncated(db, table, "entries_never_vanish")
