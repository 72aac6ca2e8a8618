"""The twin's memory: one SQLite file that several threads and processes share.

Every access is one IMMEDIATE transaction, so two requests never mix.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from gateways.stripe_twin.book import Book

BUSY_SECONDS = 30
_TABLES = """
CREATE TABLE IF NOT EXISTS object (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, account TEXT NOT NULL,
    created INTEGER NOT NULL, body TEXT NOT NULL, aside TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS object_kind ON object (kind, account, seq);
CREATE INDEX IF NOT EXISTS object_order ON object (kind, seq);
CREATE TABLE IF NOT EXISTS answered (
    account TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL,
    answered_at INTEGER NOT NULL, PRIMARY KEY (account, key));
CREATE TABLE IF NOT EXISTS delivery (
    event_id TEXT PRIMARY KEY, state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed', 'lost')),
    copies INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, due_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS attempt (
    event_id TEXT NOT NULL, attempted_at REAL NOT NULL, status INTEGER, error TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS delivery_due ON delivery (state, due_at);
CREATE INDEX IF NOT EXISTS attempt_event ON attempt (event_id);
CREATE TABLE IF NOT EXISTS held (
    event_id TEXT PRIMARY KEY, block INTEGER NOT NULL, rank INTEGER NOT NULL, planned_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS fault (
    name TEXT PRIMARY KEY, value TEXT NOT NULL, times INTEGER, ratio REAL NOT NULL, seed INTEGER NOT NULL,
    drawn INTEGER NOT NULL DEFAULT 0);
"""


class Store:
    """The file at `path`. `on_events` is called after a transaction that left events to be sent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.on_events: Callable[[], None] = lambda: None
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(self._connect()) as connection:
            connection.execute("PRAGMA journal_mode = wal")
            connection.executescript(_TABLES)

    @contextmanager
    def begin(self) -> Iterator[Book]:
        """One transaction: committed at the end, undone when anything is raised."""
        with closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            book = Book(connection)
            try:
                yield book
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        if book.has_events:
            self.on_events()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
        connection.execute("PRAGMA synchronous = normal")
        return connection
