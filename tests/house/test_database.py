"""How the database is reached: turns on SQLite, rested connections on PostgreSQL, queries that are made once."""

import fcntl
import gc
import os

import peewee
import psycopg
import pytest

import database
from models import Merchant
from tests import cast as casting

_BY_SLUG = database.Prepared(lambda: Merchant.select().where(Merchant.slug == database.slot("slug")))
_RENAME = database.Prepared(
    lambda: Merchant.update({Merchant.name: database.slot("name")}).where(Merchant.slug == database.slot("slug"))
)


def test_a_prepared_query_answers_like_the_plain_one_and_takes_new_values(cast: casting.Cast) -> None:
    for merchant in (cast.alba, cast.berg):
        assert _BY_SLUG.first(slug=merchant.slug).__data__ == Merchant.get_by_id(merchant.id).__data__
    assert _BY_SLUG.first(slug="nobody") is None
    assert _BY_SLUG.first(slug="' OR 1=1 --") is None


def test_a_prepared_write_counts_its_rows(cast: casting.Cast) -> None:
    with database.transaction():
        assert _RENAME.write(name="Café Alba am Markt", slug="cafe-alba") == 1
        assert _RENAME.write(name="Nobody", slug="nobody") == 0
    assert Merchant.get_by_id(cast.alba.id).name == "Café Alba am Markt"


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.req("F25")
def test_a_writer_that_gets_no_turn_is_told_so_and_the_next_one_gets_it(
    cast: casting.Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "TURN_SECONDS", 0.2)
    foreign = os.open(f"{database.db.obj.database}.turn", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(foreign, fcntl.LOCK_EX)
        with pytest.raises(peewee.OperationalError, match="database is locked"), database.transaction():
            pass
    finally:
        os.close(foreign)
    with database.transaction():
        Merchant.update(name="Alba").where(Merchant.id == cast.alba.id).execute()
    assert Merchant.get_by_id(cast.alba.id).name == "Alba"


@pytest.mark.parametrize("engine", ["postgresql"])
@pytest.mark.req("F25")
def test_a_writer_waits_for_a_foreign_lock_and_not_for_ever(cast: casting.Cast, database_url: str) -> None:
    rename = Merchant.update(name="Alba").where(Merchant.id == cast.alba.id)
    with psycopg.connect(database_url) as other:
        # Whoever waited for longer than we allow would see the lock go, and no error.
        other.execute("SET idle_in_transaction_session_timeout = '12s'")
        other.execute("SELECT id FROM merchants FOR UPDATE")
        with pytest.raises(peewee.OperationalError, match="lock timeout"), database.transaction():
            rename.execute()
        other.rollback()
    with database.transaction():
        assert rename.execute() == 1
    assert Merchant.get_by_id(cast.alba.id).name == "Alba"


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.req("F26")
def test_a_full_disk_is_called_one_and_the_next_writer_gets_its_turn(cast: casting.Cast) -> None:
    pages = database.db.execute_sql("PRAGMA page_count").fetchone()[0]
    database.db.execute_sql(f"PRAGMA max_page_count = {pages}").fetchone()
    # SQLite has rolled back by itself: whoever does it again hears of that, and the log says nothing of the disk.
    with pytest.raises(peewee.OperationalError, match="full"), database.transaction():
        Merchant.create(slug="large", name="x" * 1_000_000)
    database.db.execute_sql("PRAGMA max_page_count = 1073741823").fetchone()
    assert not Merchant.select().where(Merchant.slug == "large").exists()
    with database.transaction():
        assert Merchant.update(name="Alba").where(Merchant.id == cast.alba.id).execute() == 1


# The pool lets go of the dead connection without closing it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("engine", ["postgresql"])
def test_a_connection_that_died_while_it_rested_is_replaced(
    cast: casting.Cast, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "REST_SECONDS", 0.0)
    (pid,) = database.db.execute_sql("SELECT pg_backend_pid()").fetchone()
    database.db.close()
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (pid,))
    database.db.connect()
    assert database.db.execute_sql("SELECT pg_backend_pid()").fetchone() != (pid,)
    gc.collect()


def test_transactions_do_not_nest(cast: casting.Cast) -> None:
    with database.transaction(), pytest.raises(RuntimeError, match="own its transaction"), database.transaction():
        pass
