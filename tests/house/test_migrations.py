"""A shop that has been selling moves to today's schema: every row, hash and key stays, and every guard stands after."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import peewee
import psycopg
import pytest
from playhouse.migrations import Runner

import config
import database
from domain import audit
from models import Entry, Merchant, Voucher
from tests import bookings
from tests.engines import PostgresServer, SqliteFiles

FIRST = "0001_initial"
AT = "2026-10-01 12:00:00.000000"
# kind, amount, number of the redemption that is given back
LOG = [
    [("issue", 5000, None), ("redeem", -1200, None), ("redeem", -800, None), ("refund", 200, 2), ("adjust", -1, None)],
    [("issue", 10**12, None), ("redeem", -1, None), ("refund", 1, 2)],
    [("issue", 700, None)],
]


@pytest.fixture
def empty_url(engine: str, request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[str]:
    """A database in which nothing was ever created."""
    if engine == "sqlite":
        yield f"sqlite:///{tmp_path}/shop.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    with server.fresh() as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
        connection.close()
        yield url


@contextmanager
def _opened(url: str) -> Iterator[Runner]:
    opened = database.connect(url)
    try:
        with opened.connection_context():
            yield Runner(opened, str(config.ROOT / "migrations"))
    finally:
        opened.close_all()


def _execute(text: str, *values: object) -> list[Any]:
    cursor = database.db.execute_sql(text if database.is_postgresql() else text.replace("%s", "?"), values)
    return list(cursor.fetchall()) if cursor.description else []


def _write_a_past() -> None:
    """What the first version wrote, row by row and hash by hash, without today's code."""
    yes, no = (True, False) if database.is_postgresql() else (1, 0)
    _execute(
        "INSERT INTO merchants (slug, name, address, email, phone, website, country, currency, locale, time_zone,"
        " accent, is_validity_to_year_end, how_to_redeem, imprint, terms, privacy, stripe_account, is_open,"
        " order_count, created_at) VALUES ('alba', 'Café Alba', '', '', '', '', 'AT', 'EUR', 'de', 'Europe/Vienna',"
        " '#8a2c4b', %s, '', '', '', '', '', %s, 0, %s)", no, yes, AT,
    )  # fmt: skip
    for number, log in enumerate(LOG, 1):
        _execute(
            "INSERT INTO vouchers (public_id, merchant_id, type, currency, balance_minor, held_minor, version, status,"
            " is_transferable, metadata, code_hmac, code_ciphertext, code_key_id, code_last4, link_hash, is_test,"
            " created_at) VALUES (%s, 1, 'gift_card', 'EUR', 0, 0, 0, 'active', %s, '{}', %s, %s, 's1', '3HAF', %s, %s,"
            " %s)", f"vch_{number}", yes, f"h{number}", b"sealed", f"l{number}", yes, AT,
        )  # fmt: skip
        _write_a_log(number, log)
    _execute(
        "INSERT INTO orders (merchant_id, ref, number, place_key, payment_state, buyer_name, buyer_email, locale,"
        " currency, total_minor, is_test, created_at, paid_at) VALUES (1, 'r1', 'G-10001', 'p1', 'processing', '',"
        " 'lukas@example.com', 'de', 'EUR', 5000, %s, %s, NULL), (1, 'r2', 'G-10002', 'p2', 'review', '',"
        " 'lukas@example.com', 'de', 'EUR', 700, %s, %s, NULL)", yes, AT, yes, AT,
    )  # fmt: skip
    _execute(
        "INSERT INTO offers (merchant_id, slug, title, description, values_minor, tax_class, position, is_active)"
        " VALUES (1, 'voucher', '', '', '[]', 'multi_purpose', 0, %s)", yes,
    )  # fmt: skip
    _execute(
        "INSERT INTO designs (merchant_id, slug, name, layout, accent, position, is_active)"
        " VALUES (1, 'sage', '', 'classic', '#8a2c4b', 0, %s)", yes,
    )  # fmt: skip
    for order, value in ((1, 5000), (2, 700)):
        _execute(
            "INSERT INTO units (order_id, unit_no, offer_id, design_id, title, layout, accent, value_minor, currency,"
            " tax_class, is_validity_to_year_end, recipient_name, recipient_email, message) VALUES"
            " (%s, 1, 1, 1, '', 'classic', '#8a2c4b', %s, 'EUR', 'multi_purpose', %s, '', '', '')", order, value, no,
        )  # fmt: skip
    _execute(
        "INSERT INTO payments (order_id, merchant_id, attempt, account, idempotency_key, session_id, state,"
        " amount_minor, currency, is_live, checks, created_at, expires_at, paid_at) VALUES (1, 1, 1, '', 'c1',"
        " 'cs_test_1', 'processing', 5000, 'EUR', %s, 0, %s, %s, NULL), (2, 1, 1, '', 'c2', 'cs_test_2', 'review', 700,"
        " 'EUR', %s, 0, %s, %s, NULL)", no, AT, AT, no, AT, AT,
    )  # fmt: skip
    _execute(
        "INSERT INTO timeline_entries (merchant_id, order_id, kind, facts, actor, created_at)"
        " VALUES (1, 2, 'payment_held', '{}', 'webhook', %s)", AT,
    )  # fmt: skip
    _execute(
        "INSERT INTO idempotency_records (merchant_id, key, route, fingerprint, status, body, created_at)"
        " VALUES (1, 'k-1', 'POST /vouchers', 'f', 201, '{}', %s)", AT,
    )  # fmt: skip


def _write_a_log(number: int, log: list[tuple[str, int, int | None]]) -> None:
    balance, previous_hash, ids = 0, "", {}
    for seq, (kind, amount, redemption) in enumerate(log, 1):
        balance += amount
        facts = {
            "public_id": f"txn_{number}_{seq}", "voucher_id": number, "merchant_id": 1, "seq": seq, "kind": kind,
            "amount_minor": amount, "balance_after_minor": balance, "currency": "EUR",
            "redemption_id": ids.get(redemption), "operation_key": f"{kind}:{number}:{seq}", "actor": "key:Bar – ä",
            "reason": "typing error" if kind == "adjust" else "", "reference": "R-1", "location": None,
            "terminal": None, "description": None,
        }  # fmt: skip
        hashed = facts | {"created_at": "2026-10-01T12:00:00+00:00"}
        text = previous_hash + json.dumps(hashed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        row = facts | {
            "created_at": AT,
            "previous_hash": previous_hash,
            "hash": hashlib.sha256(text.encode()).hexdigest(),
        }
        columns, places = ", ".join(row), ", ".join(["%s"] * len(row))
        ((ids[seq],),) = _execute(f"INSERT INTO entries ({columns}) VALUES ({places}) RETURNING id", *row.values())
        previous_hash = str(row["hash"])


def _rows(table: str, columns: str) -> list[Any]:
    return [tuple(map(str, row)) for row in _execute(f"SELECT {columns} FROM {table} ORDER BY 1, 2")]


def _columns(table: str) -> str:
    return ", ".join(column.name for column in database.db.get_columns(table))


def _schema() -> dict[str, object]:
    """Tables with columns, types and NULLs, indexes, keys, triggers; without the names that engines make up."""
    found: dict[str, object] = {}
    for table in sorted(set(database.db.get_tables())):
        columns = [(each.name, each.data_type, each.null, each.default) for each in database.db.get_columns(table)]
        keys = sorted((key.column, key.dest_table, key.dest_column) for key in database.db.get_foreign_keys(table))
        indexes = sorted((tuple(index.columns), index.unique) for index in database.db.get_indexes(table))
        found[table] = (sorted(columns), keys, indexes)
    if database.is_postgresql():
        found["triggers"] = sorted(
            _execute("SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal")
        )
        found["functions"] = sorted(_execute(
            "SELECT proname, prosrc FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = 'public'"
        ))  # fmt: skip
        found["checks"] = sorted(_execute(
            "SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'c'"
        ))  # fmt: skip
    else:
        found["statements"] = sorted(_execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    return found


@pytest.fixture
def moved_on(empty_url: str) -> Iterator[dict[str, list[Any]]]:
    """A database with a past, brought from the first schema to today's; the rows as they were."""
    with _opened(empty_url) as runner:
        assert runner.up(target=FIRST)
        _write_a_past()
        before = {table: [_columns(table), _rows(table, _columns(table))] for table in database.db.get_tables()}
        assert runner.up()
        yield before


def test_every_row_survives_the_move_as_it_was(moved_on: dict[str, list[Any]]) -> None:
    assert len(moved_on["entries"][1]) == sum(len(log) for log in LOG)
    for table, (columns, rows) in moved_on.items():
        if "migration" not in table and table != "sqlite_sequence":  # counters of tables that were rebuilt
            assert _rows(table, columns) == rows, table


@pytest.mark.req("T38")
def test_what_was_hashed_before_the_move_is_clean_after_it(moved_on: dict[str, list[Any]]) -> None:
    findings = audit.run()
    assert audit.is_clean(findings), findings
    assert {entry.hold_id for entry in Entry.select()} == {None}


def test_every_row_still_points_at_its_own(moved_on: dict[str, list[Any]], engine: str) -> None:
    if engine == "sqlite":
        assert _execute("PRAGMA foreign_key_check") == []
        assert _execute("PRAGMA foreign_keys") == [(1,)]
        assert _execute("PRAGMA integrity_check") == [("ok",)]
    refund = Entry.get(Entry.public_id == "txn_1_4")
    assert (refund.redemption.public_id, refund.voucher.public_id) == ("txn_1_2", "vch_1")
    with pytest.raises(peewee.IntegrityError), database.transaction():
        _execute(
            "INSERT INTO batch_rows (batch_id, row_no, state, key_id, sealed) VALUES (99, 1, 'refused', 's', %s)", b"x"
        )


@pytest.mark.req("F54")
def test_the_log_goes_on_where_it_stood(moved_on: dict[str, list[Any]]) -> None:
    voucher = Voucher.get(Voucher.public_id == "vch_1")
    newest = max(int(row[0]) for row in moved_on["entries"][1])
    assert bookings.redeem(voucher, 99).entry.id > newest
    old = Entry.get(Entry.public_id == "txn_1_2")
    assert bookings.reverse(old).entry.amount_minor == 1000  # 200 of its 1200 were refunded before the move
    assert bookings.capture(bookings.hold(voucher, 500), 400).voucher.balance_minor == 3199 - 99 + 1000 - 400
    bookings.issue(Merchant.get(), 100)
    assert audit.is_clean(audit.run())


@pytest.mark.parametrize(
    "deed",
    [
        "UPDATE entries SET actor = 'x'", "DELETE FROM entries", "UPDATE vouchers SET balance_minor = 1",
        "UPDATE vouchers SET held_minor = 1", "UPDATE idempotency_records SET body = '[]'", "DELETE FROM vouchers",
    ],
)  # fmt: skip
def test_the_guards_stand_after_the_move(moved_on: dict[str, list[Any]], deed: str) -> None:
    with pytest.raises(peewee.IntegrityError), database.transaction():
        _execute(deed)
    assert audit.is_clean(audit.run())


def test_a_database_that_moved_on_is_the_same_as_a_new_one(
    moved_on: dict[str, list[Any]], engine: str, request: pytest.FixtureRequest
) -> None:
    old = _schema()
    source: SqliteFiles | PostgresServer = request.getfixturevalue(
        "sqlite_files" if engine == "sqlite" else "postgres_server"
    )
    with source.fresh() as url, _opened(url):
        new = _schema()
    assert old.keys() == new.keys()
    for name in old:
        assert old[name] == new[name], name


def test_a_second_move_does_nothing(moved_on: dict[str, list[Any]]) -> None:
    runner = Runner(database.db.obj, str(config.ROOT / "migrations"))
    before = _schema()
    assert not runner.up()
    assert _schema() == before


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)  # PostgreSQL keeps its table
def test_a_move_that_would_lose_a_row_is_not_made(empty_url: str) -> None:
    with _opened(empty_url) as runner:
        runner.up(target=FIRST)
        _write_a_past()
        _execute("PRAGMA foreign_keys = OFF")
        _execute("DROP TRIGGER vouchers_never_vanish")
        _execute("DELETE FROM vouchers WHERE public_id = 'vch_3'")
        before, rows = _schema(), _rows("entries", "id, hash")
        with pytest.raises(RuntimeError, match="point at nothing"):
            runner.up()
        assert (_schema(), _rows("entries", "id, hash")) == (before, rows)
        assert not re.search("rebuilt", str(_execute("SELECT name FROM sqlite_master")))
