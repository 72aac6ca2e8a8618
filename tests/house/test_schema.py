"""The migrations and the models describe the same database, on both engines."""

import peewee
import pytest

import database
import models

KINDS = {
    "sqlite": {"INTEGER": "number", "BIGINT": "number", "TEXT": "text", "TIMESTAMP": "moment", "BLOB": "bytes"},
    "postgresql": {
        "bigint": "number", "integer": "number", "boolean": "number", "text": "text", "jsonb": "text",
        "timestamp without time zone": "moment", "bytea": "bytes",
    },
}  # fmt: skip
FIELD_KINDS = {
    peewee.BooleanField: "number", peewee.AutoField: "number", peewee.IntegerField: "number",
    peewee.BigIntegerField: "number", peewee.ForeignKeyField: "number", database.MomentField: "moment",
    peewee.BlobField: "bytes", peewee.CharField: "text", peewee.TextField: "text", peewee.JSONField: "text",
}  # fmt: skip


@pytest.mark.usefixtures("app")
def test_every_column_of_the_models_stands_in_the_database_and_the_other_way_round(engine: str) -> None:
    for table in models.TABLES:
        columns = {column.name: column for column in database.db.get_columns(table._meta.table_name)}
        fields = {field.column_name: field for field in table._meta.sorted_fields}
        assert columns.keys() == fields.keys(), table
        for name, field in fields.items():
            kind = KINDS[engine][columns[name].data_type]
            assert kind == FIELD_KINDS[type(field)], f"{table.__name__}.{name}"
            if not field.primary_key:
                assert columns[name].null == field.null, f"{table.__name__}.{name} and NULL"


@pytest.mark.usefixtures("app")
def test_every_unique_key_of_the_models_stands_in_the_database() -> None:
    for table in models.TABLES:
        name = table._meta.table_name
        held = {tuple(sorted(index.columns)) for index in database.db.get_indexes(name) if index.unique}
        wanted = {(field.column_name,) for field in table._meta.sorted_fields if field.unique and not field.primary_key}
        for names, is_unique in table._meta.indexes:
            if is_unique:
                wanted.add(tuple(sorted(table._meta.fields[field].column_name for field in names)))
        assert wanted <= held, name


@pytest.mark.usefixtures("app")
def test_the_guards_of_the_ledger_stand_on_both_engines(engine: str) -> None:
    query = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    if engine == "postgresql":
        query = "SELECT DISTINCT tgname FROM pg_trigger WHERE NOT tgisinternal"
    names = {row[0] for row in database.db.execute_sql(query).fetchall()}
    assert names >= {
        "entries_continue", "entries_move_balance", "entries_never_change", "entries_never_vanish",
        "vouchers_start_empty", "vouchers_follow_entries", "vouchers_never_vanish",
    }  # fmt: skip
