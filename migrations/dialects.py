"""What the two engines call the same thing: column types, and triggers that refuse or follow up."""

import re

from peewee import PostgresqlDatabase

TYPES = {
    "sqlite": {
        "id": "INTEGER PRIMARY KEY AUTOINCREMENT",
        "bool": "INTEGER",
        "json": "TEXT",
        "blob": "BLOB",
        "moment": "TIMESTAMP",
        "money": "INTEGER",
    },
    "postgresql": {
        "id": "BIGSERIAL PRIMARY KEY",
        "bool": "BOOLEAN",
        "json": "JSONB",
        "blob": "BYTEA",
        "moment": "TIMESTAMP",
        "money": "BIGINT",
    },
}

_VOUCHER = re.compile(r"\bVOUCHER\.(\w+)")


def engine_of(db):
    """`sqlite` or `postgresql`."""
    return "postgresql" if isinstance(db, PostgresqlDatabase) else "sqlite"


def create_tables(db, statements):
    """Run DDL whose types are written as `{id}`, `{money}` and so on; statements end with `;` and a line break."""
    for statement in statements.format(**TYPES[engine_of(db)]).split(";\n"):
        if statement.strip():
            db.execute_sql(statement.strip().rstrip(";"))


def create_trigger(db, name, moment, table, rules, effect=""):
    """Refuse each of `rules`, then do `effect`; replaces a trigger of this name.

    A rule is (text, condition), or (text, when, condition) where `condition` is asked only if the cheap `when` holds.
    `VOUCHER.column` stands for a column of the voucher that a row of `table` belongs to.
    """
    drop_trigger(db, name, table)
    if engine_of(db) == "sqlite":
        refusals = " ".join(_sqlite_refusal(*rule) for rule in rules)
        db.execute_sql(f"CREATE TRIGGER {name} {moment} ON {table} BEGIN {refusals} {effect} END")
        return
    refusals = " ".join(_postgres_refusal(*rule) for rule in rules)
    # PostgreSQL reads the voucher once for all rules; each sub-select of a rule would be a query of its own.
    has_voucher = "voucher." in refusals
    declared = "DECLARE voucher RECORD; " if has_voucher else ""
    read = "SELECT * INTO voucher FROM vouchers WHERE id = NEW.voucher_id; " if has_voucher else ""
    body = f"{declared}BEGIN {read}{refusals} {effect} RETURN NEW; END"
    db.execute_sql(f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$")
    db.execute_sql(f"CREATE TRIGGER {name} {moment} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()")


def drop_trigger(db, name, table):
    """Take a trigger away, if it is there; on PostgreSQL its function stays for the next one of this name."""
    db.execute_sql(f"DROP TRIGGER IF EXISTS {name}" + (f" ON {table}" if engine_of(db) == "postgresql" else ""))


def never_truncated(db, table, function):
    """PostgreSQL alone can empty a table without a row trigger noticing; `function` refuses that as well."""
    if engine_of(db) == "postgresql":
        name = f"{table}_never_truncated"
        db.execute_sql(f"CREATE TRIGGER {name} BEFORE TRUNCATE ON {table} EXECUTE FUNCTION {function}()")


def _sqlite_refusal(text, *conditions):
    condition = " AND ".join(f"({each})" for each in conditions)
    condition = _VOUCHER.sub(r"(SELECT \1 FROM vouchers WHERE id = NEW.voucher_id)", condition)
    return f"SELECT RAISE(ABORT, '{text}') WHERE {condition};"


def _postgres_refusal(text, *conditions):
    refusal = f"RAISE EXCEPTION '{text}' USING ERRCODE = 'check_violation';"
    for condition in reversed(conditions):
        asked = _VOUCHER.sub(r"voucher.\1", condition)
        refusal = f"IF {asked} THEN {refusal} END IF;"
    return refusal
