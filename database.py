"""The one database of the product: where it lives, how it is reached, how a transaction begins.

SQLite (default) and PostgreSQL are equal citizens. Every write goes through `transaction()`: `BEGIN IMMEDIATE` in its
turn on SQLite, plain `BEGIN` with time-outs on PostgreSQL.
"""

import fcntl
import json
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import peewee
from playhouse.pool import PooledPostgresqlDatabase, PooledSqliteDatabase

from domain import clock

db = peewee.DatabaseProxy()

# A hotel's web and worker processes on one machine stay far below this; PostgreSQL allows 100 by default.
MAX_CONNECTIONS = 32
# How long a writer waits for its turn on SQLite, as PostgreSQL's lock_timeout does.
TURN_SECONDS = 5.0
# A connection that came back a moment ago is taken to be alive; after a restart of the database a few requests pay.
REST_SECONDS = 1.0
# The clock of this host may be set while the process runs.
_MEASURED_FOR_SECONDS = 60.0
_QUICK_ENOUGH = timedelta(seconds=1)
_NO_TURN = "database is locked: another writer did not finish in time"
SQLITE_PRAGMAS = {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 10000, "synchronous": "full"}
# A line that swallows everything (a firewall that forgot it, a cable that was pulled) is given up by the client.
POSTGRES_LINE = {
    "connect_timeout": "5",
    "tcp_user_timeout": "20000",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}
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
        try:
            handle = os.open(self._turn_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:  # too many open files, say: the next writer must not wait for this one
            self._threads.release()
            raise
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


class RestedPostgresql(PooledPostgresqlDatabase):
    """PostgreSQL whose connections are asked for a sign of life only after a rest.

    The pool asks at every check-out, and that round trip is a quarter of what a short request needs of the database.
    """

    def __init__(self, dsn: str, **options: Any) -> None:
        self._resting_since: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()
        self._measured_at = 0.0
        super().__init__(dsn, **options)

    def follow_clock(self, conn: Any) -> None:
        """Go by the server's clock. Half of the round trip is what the measurement may be wrong by."""
        self._measured_at = time.monotonic()
        before = clock.wall()
        with conn.cursor() as cursor:
            (moment,) = cursor.execute("SELECT clock_timestamp()").fetchone()
        after = clock.wall()
        # A slow answer says too little about the clock.
        if after - before < _QUICK_ENOUGH:
            clock.follow(moment - (before + (after - before) / 2))

    def _connect(self) -> Any:
        conn = super()._connect()
        is_new = conn not in self._resting_since
        if is_new or time.monotonic() - self._measured_at > _MEASURED_FOR_SECONDS:
            # A connection that can't answer this says so at its first query, where errors are expected.
            with suppress(Exception):
                self.follow_clock(conn)
        return conn

    def _can_reuse(self, conn: Any) -> bool:
        self._resting_since[conn] = time.monotonic()
        return bool(super()._can_reuse(conn))

    def _is_closed(self, conn: Any) -> bool:
        has_rested = time.monotonic() - self._resting_since.get(conn, 0.0) > REST_SECONDS
        return bool(super()._is_closed(conn) if has_rested else conn.closed)


def connect(url: str) -> peewee.Database:
    """Bind every model to the database behind `url` and return it.

    `url` is `sqlite:///relative/or//absolute/path.db` or `postgresql://user:password@host/name`. Raises ValueError for
    anything else.
    """
    scheme = urlsplit(url).scheme
    if scheme == "sqlite":
        clock.follow(timedelta())
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


def follow_clock() -> None:
    """Measure the database's clock again: one host's may have been set since the connection was opened.

    SQLite lives on one host, and that host's clock is the one that counts.
    """
    if isinstance(db.obj, RestedPostgresql):
        db.obj.follow_clock(db.connection())


def is_postgresql() -> bool:
    """True when the bound database is PostgreSQL; the few places where the engines differ ask here."""
    return isinstance(db.obj, peewee.PostgresqlDatabase)


@contextmanager
def transaction() -> Iterator[None]:
    """The outermost transaction of one operation.

    Refuses to nest: a rule that reads its checks outside of the transaction that writes is how money is spent twice.
    """
    if db.in_transaction():
        raise RuntimeError("this operation must own its transaction; it was called inside another one")
    with db.atomic():
        yield


def locked(query: Any) -> Any:
    """`query` with its rows locked until the commit; SQLite's writer is alone already, so there it is unchanged.

    The rows' keys stay free: a till that holds a voucher writes a row that points at its order, and whoever holds the
    order and waits for the voucher would else wait for ever.
    """
    return query.for_update("FOR NO KEY UPDATE") if is_postgresql() else query


def slot(name: str, field: peewee.Field | None = None) -> peewee.Value:
    """The place of a value in a `Prepared` query; it is converted as `field` stores it."""
    convert = _as_it_is if field is None else json.dumps if isinstance(field, peewee.JSONField) else field.db_value
    return peewee.Value(_Slot(name, convert), converter=False, unpack=False)


def slots(model: type[peewee.Model]) -> dict[Any, peewee.Value]:
    """A slot for each column of `model`, for an INSERT; the database counts an automatic key by itself."""
    meta: Any = model._meta  # type: ignore[attr-defined]
    counted = meta.primary_key if meta.auto_increment else None
    return {field: slot(field.name, field) for field in meta.sorted_fields if field is not counted}


class Prepared:
    """A query whose SQL is made once for each engine and then run with other values.

    peewee writes the text of a query anew for each call, and that takes longer than the database's answer. It is worth
    avoiding for the few queries of every redemption, and nowhere else. `build` makes the query with `slot`s in it.
    """

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build
        self._made: dict[bool, _Made] = {}

    def first(self, **values: Any) -> Any:
        """The first row, as the query's own rows are (a model, or a tuple after `.tuples()`); None without one."""
        made = self._for_engine()
        cursor = made.run(values)
        rows = cursor.fetchall()
        return made.read(cursor, rows[0]) if rows else None

    def write(self, **values: Any) -> int:
        """Run an INSERT or UPDATE; the number of rows it wrote."""
        return int(self._for_engine().run(values).rowcount)

    def _for_engine(self) -> "_Made":
        engine = is_postgresql()
        if engine not in self._made:
            query = self._build()
            self._made[engine] = _Made(query, *query.sql())
        return self._made[engine]


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


@dataclass(frozen=True)
class _Slot:
    name: str
    convert: Callable[[Any], Any]


class _Made:
    """One engine's text of a prepared query, and how its rows are read."""

    def __init__(self, query: Any, text: str, parameters: list[Any]) -> None:
        self._query, self._text, self._parameters = query, text, parameters
        self._reader: Any = None

    def run(self, values: dict[str, Any]) -> Any:
        filled = [each.convert(values[each.name]) if isinstance(each, _Slot) else each for each in self._parameters]
        return db.execute_sql(self._text, filled)

    def read(self, cursor: Any, row: Any) -> Any:
        if self._reader is None:
            reader = self._query._get_cursor_wrapper(cursor)
            reader.initialize()
            self._reader = reader  # only once it is ready: other threads see it too
        return self._reader.process_row(row)


def _as_it_is(value: Any) -> Any:
    return value


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
    Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds names and addresses
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


def _open_postgresql(url: str) -> RestedPostgresql:
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    query = POSTGRES_LINE | query
    settings = " ".join(f"-c {name}={value}" for name, value in POSTGRES_TIMEOUTS.items())
    query["options"] = f"{query.get('options', '')} {settings}".strip()
    dsn = urlunsplit(parts._replace(scheme="postgresql", query=urlencode(query, quote_via=_percent)))
    return RestedPostgresql(dsn, prefer_psycopg3=True, max_connections=MAX_CONNECTIONS, timeout=10, autoconnect=False)


def _percent(text: str, safe: str = "", encoding: str | None = None, errors: str | None = None) -> str:
    return quote(text, safe="", encoding=encoding, errors=errors)  # libpq reads %20 for a space, not +
