"""What the two engines call the same thing: column types, and triggers that refuse or follow up."""

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

# The same rules twice: one refusal per line of text, in each engine's own words. `{condition}` is true when refused.
_SQLITE_REFUSAL = "SELECT RAISE(ABORT, '{text}') WHERE {condition};"
_POSTGRES_REFUSAL = "IF {condition} THEN RAISE EXCEPTION '{text}' USING ERRCODE = 'check_violation'; END IF;"


def engine_of(db):
    """`sqlite` or `postgresql`."""
    return "postgresql" if isinstance(db, PostgresqlDatabase) else "sqlite"


def create_tables(db, statements):
    """Run DDL whose types are written as `{id}`, `{money}` and so on; statements end with `;` and a line break."""
    for statement in statements.format(**TYPES[engine_of(db)]).split(";\n"):
        if statement.strip():
            db.execute_sql(statement.strip().rstrip(";"))


def create_trigger(db, name, moment, table, rules, effect=""):
    """Refuse each of `rules` (text, condition), then do `effect`; replaces a trigger of this name."""
    is_postgresql = engine_of(db) == "postgresql"
    wording = _POSTGRES_REFUSAL if is_postgresql else _SQLITE_REFUSAL
    refusals = " ".join(wording.format(text=text, condition=condition) for text, condition in rules)
    drop_trigger(db, name, table)
    if not is_postgresql:
        db.execute_sql(f"CREATE TRIGGER {name} {moment} ON {table} BEGIN {refusals} {effect} END")
        return
    body = f"BEGIN {refusals} {effect} RETURN NEW; END"
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
