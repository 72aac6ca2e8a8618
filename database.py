"""The one database of the product: where it lives, how it is reached, how a transaction begins.

SQLite (default) and PostgreSQL are equal citizens. Every write goes through `transaction()`: `BEGIN IMMEDIATE` behind a
fair queue on SQLite, plain `BEGIN` with time-outs on PostgreSQL.
"""

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import peewee
from playhouse.pool import PooledPostgresqlDatabase, PooledSqliteDatabase

db = peewee.DatabaseProxy()

# A hotel's web and worker processes on one machine stay far below this; PostgreSQL allows 100 by default.
MAX_CONNECTIONS = 32
# How long a writer waits for its turn on SQLite, as PostgreSQL's lock_timeout does.
TURN_SECONDS = 5.0
_NO_TURN = "database is locked: another writer did not finish in time"
SQLITE_PRAGMAS = {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 10000, "synchronous": "full"}
POSTGRES_TIMEOUTS = {"lock_timeout": "5s", "statement_timeout": "15s", "idle_in_transaction_session_timeout": "20s"}


class QueuedSqlite(PooledSqliteDatabase):
    """SQLite whose writers queue before they begin.

    SQLite's own busy handler sleeps for up to 100 ms and tries again, so under load some writers starve. Here the
    threads of a process wait for a lock, and one of them at most looks for the turn of the process, a lock on a file
    beside the database, every half millisecond.
    """

    def __init__(self, path: str, **options: Any) -> None:
        super().__init__(path, **options)
        self._turn = threading.local()
        self._turn_path = f"{path}.turn"
        self._threads = threading.Lock()

    def begin(self, lock_type: str | None = None) -> None:
        self._take_turn()
        try:
            super().begin(lock_type)
        except BaseException:
            self._pass_turn()
            raise

    def commit(self) -> None:
        super().commit()
        self._pass_turn()

    def rollback(self) -> None:
        try:
            # A full disk makes SQLite roll back by itself; a second ROLLBACK would hide the real error.
            if self.connection().in_transaction:
                super().rollback()
        finally:
            self._pass_turn()

    def _take_turn(self) -> None:
        deadline = time.monotonic() + TURN_SECONDS
        if not self._threads.acquire(timeout=TURN_SECONDS):
            raise peewee.OperationalError(_NO_TURN)
        handle = os.open(self._turn_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._turn.handle = handle
        while not _is_locked(handle):
            if time.monotonic() > deadline:
                self._pass_turn()
                raise peewee.OperationalError(_NO_TURN)
            time.sleep(0.0005)

    def _pass_turn(self) -> None:
        handle = getattr(self._turn, "handle", None)
        if handle is not None:
            self._turn.handle = None
            os.close(handle)  # the kernel gives the lock back, also for a process that dies
            self._threads.release()


def connect(url: str) -> peewee.Database:
    """Bind every model to the database behind `url` and return it.

    `url` is `sqlite:///relative/or//absolute/path.db` or `postgresql://user:password@host/name`. Raises ValueError for
    anything else.
    """
    scheme = urlsplit(url).scheme
    if scheme == "sqlite":
        opened: peewee.Database = _open_sqlite(url)
    elif scheme in ("postgresql", "postgres"):
        opened = _open_postgresql(url)
    else:
        raise ValueError(f"DATABASE_URL must start with sqlite:/// or postgresql://, not {scheme or url!r}")
    db.initialize(opened)
    return opened


@contextmanager
def connected() -> Iterator[None]:
    """A connection of the pool for this thread; one that is open already is used and left open."""
    is_ours = db.connect(reuse_if_open=True)
    try:
        yield
    finally:
        if is_ours:
            db.close()


def is_postgresql() -> bool:
    """True when the bound database is PostgreSQL; the few places where the engines differ ask here."""
    return isinstance(db.obj, peewee.PostgresqlDatabase)


@contextmanager
def transaction() -> Iterator[None]:
    """The outermost transaction of one operation.

    Refuses to nest: a rule that reads its checks outside of the transaction that writes is how money is spent twice.
    """
    if db.in_transaction():
        raise RuntimeError("a money operation must own its transaction; it was called inside another one")
    with db.atomic():
        yield


def locked(query: Any) -> Any:
    """`query` with its rows locked until the commit; SQLite's writer is alone already, so there it is unchanged."""
    return query.for_update() if is_postgresql() else query


def after_commit(call: Callable[[], object]) -> None:
    """Run `call` once the current transaction has committed; its failure is never the transaction's."""

    def quietly() -> None:
        try:
            call()
        except Exception:  # a door bell that does not ring must not undo a sale; the sweeper finds the row
            import structlog

            structlog.get_logger().warning("after_commit_failed", exc_info=True)

    db.after_commit(quietly)


class MomentField(peewee.DateTimeField):
    """An aware UTC datetime, stored without offset as UTC on both engines."""

    field_type = "TIMESTAMP"

    def db_value(self, value: datetime | None) -> str | None:
        if value is None or isinstance(value, peewee.Node):
            return value
        if value.tzinfo is None:
            raise ValueError(f"{self.name} needs an aware datetime, got {value!r}")
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")

    def python_value(self, value: Any) -> datetime | None:
        if value is None:
            return None
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC)


def _is_locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open_sqlite(url: str) -> QueuedSqlite:
    path = url.removeprefix("sqlite:///")
    if path in ("", ":memory:"):
        raise ValueError("DATABASE_URL needs a file: web and worker are separate processes and share it")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if sqlite3.sqlite_version_info < (3, 35, 0):
        raise RuntimeError(f"SQLite 3.35 or newer is needed (RETURNING); this Python has {sqlite3.sqlite_version}")
    return QueuedSqlite(
        path,
        pragmas=SQLITE_PRAGMAS,
        lock_type="IMMEDIATE",
        max_connections=MAX_CONNECTIONS,
        timeout=10,
        check_same_thread=False,
        autoconnect=False,
    )


def _open_postgresql(url: str) -> PooledPostgresqlDatabase:
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    settings = " ".join(f"-c {name}={value}" for name, value in POSTGRES_TIMEOUTS.items())
    query["options"] = f"{query.get('options', '')} {settings}".strip()
    dsn = urlunsplit(parts._replace(scheme="postgresql", query=urlencode(query, quote_via=_percent)))
    return PooledPostgresqlDatabase(
        dsn, prefer_psycopg3=True, max_connections=MAX_CONNECTIONS, timeout=10, autoconnect=False
    )


def _percent(text: str, safe: str = "", encoding: str | None = None, errors: str | None = None) -> str:
    from urllib.parse import quote

    return quote(text, safe="", encoding=encoding, errors=errors)  # libpq reads %20 for a space, not +
