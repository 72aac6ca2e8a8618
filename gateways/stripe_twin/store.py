"""The twin's memory: one SQLite file that several threads and processes share.

Objects are kept as the JSON that is answered. Every access is one IMMEDIATE transaction, so two requests never mix.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domain import clock
from gateways.stripe_twin.faults import Fault
from gateways.stripe_twin.wire import Json

BUSY_SECONDS = 30
KEY_SECONDS = 24 * 3600  # Stripe forgets an idempotency key after a day
_TABLES = """
CREATE TABLE IF NOT EXISTS object (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, account TEXT NOT NULL,
    created INTEGER NOT NULL, body TEXT NOT NULL, aside TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS object_kind ON object (kind, account, seq);
CREATE TABLE IF NOT EXISTS answered (
    account TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL,
    answered_at INTEGER NOT NULL, PRIMARY KEY (account, key));
CREATE TABLE IF NOT EXISTS delivery (
    event_id TEXT PRIMARY KEY, state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed', 'lost')),
    copies INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, due_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS attempt (
    event_id TEXT NOT NULL, attempted_at REAL NOT NULL, status INTEGER, error TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS switch (fault TEXT PRIMARY KEY, value TEXT NOT NULL, times INTEGER);
"""


@dataclass
class Kept:
    """One stored object: `body` is what is answered, `aside` what only the twin knows."""

    body: Json
    account: str
    aside: Json

    @property
    def id(self) -> str:
        """The object's id."""
        return str(self.body["id"])


@dataclass(frozen=True)
class Attempt:
    """One try to send an event; `status` is None when there was no answer."""

    event_id: str
    attempted_at: float
    status: int | None
    error: str


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
    def begin(self) -> Iterator["Book"]:
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


class Book:
    """What can be done inside one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self.has_events = False

    def add(self, kind: str, body: Json, *, account: str, aside: Json | None = None) -> Kept:
        """Keep a new object."""
        kept = Kept(body, account, aside or {})
        self._db.execute(
            "INSERT INTO object (id, kind, account, created, body, aside) VALUES (?, ?, ?, ?, ?, ?)",
            (kept.id, kind, account, body["created"], json.dumps(body), json.dumps(kept.aside)),
        )
        return kept

    def save(self, kept: Kept) -> None:
        """Write a changed object back."""
        texts = json.dumps(kept.body), json.dumps(kept.aside)
        self._db.execute("UPDATE object SET body = ?, aside = ? WHERE id = ?", (*texts, kept.id))

    def find(self, object_id: str, *, account: str | None = None) -> Kept | None:
        """The object of this id; with `account`, only if that account owns it."""
        row = self._db.execute("SELECT body, account, aside FROM object WHERE id = ?", (object_id,)).fetchone()
        return None if row is None or account not in (None, row[1]) else _kept(row)

    def all(self, kind: str, *, account: str | None = None) -> list[Kept]:
        """Every object of a kind, newest first; `account` None for those of all accounts."""
        rows = self._db.execute(
            "SELECT body, account, aside FROM object WHERE kind = ? AND (? IS NULL OR account = ?) ORDER BY seq DESC",
            (kind, account, account),
        )
        return [_kept(row) for row in rows]

    def answered(self, key: str, *, account: str) -> tuple[str, int, str] | None:
        """(fingerprint, status, body) of the request that used this idempotency key in the last day."""
        youngest = int(clock.now().timestamp()) - KEY_SECONDS
        self._db.execute("DELETE FROM answered WHERE answered_at < ?", (youngest,))
        row: tuple[str, int, str] | None = self._db.execute(
            "SELECT fingerprint, status, body FROM answered WHERE account = ? AND key = ?", (account, key)
        ).fetchone()
        return row

    def remember(self, key: str, *, account: str, fingerprint: str, status: int, body: str) -> None:
        """Bind an answer to its idempotency key."""
        moment = int(clock.now().timestamp())
        row = (account, key, fingerprint, status, body, moment)
        self._db.execute("INSERT INTO answered VALUES (?, ?, ?, ?, ?, ?)", row)

    def plan_delivery(self, event_id: str, *, is_lost: bool, copies: int) -> None:
        """Send this event as soon as possible; a lost one is on record only."""
        row = (event_id, "lost" if is_lost else "pending", copies, clock.now().timestamp())
        self._db.execute("INSERT INTO delivery (event_id, state, copies, due_at) VALUES (?, ?, ?, ?)", row)
        self.has_events = self.has_events or not is_lost

    def claim_delivery(self, *, lease_seconds: float) -> tuple[str, int, int] | None:
        """(event id, copies, attempts with this one) of an event that is due. A dead sender's claim runs out."""
        now = clock.now().timestamp()
        row: tuple[str, int, int] | None = self._db.execute(
            "UPDATE delivery SET due_at = ?, attempts = attempts + 1 WHERE event_id = (SELECT event_id FROM delivery"
            " WHERE state = 'pending' AND due_at <= ? ORDER BY due_at, rowid LIMIT 1)"
            " RETURNING event_id, copies, attempts",
            (now + lease_seconds, now),
        ).fetchone()
        return row

    def finish_delivery(self, event_id: str, *, state: str, due_at: float) -> None:
        """Note how a delivery stands after an attempt."""
        self._db.execute("UPDATE delivery SET state = ?, due_at = ? WHERE event_id = ?", (state, due_at, event_id))

    def note_attempt(self, attempt: Attempt) -> None:
        """Record one try."""
        row = (attempt.event_id, attempt.attempted_at, attempt.status, attempt.error)
        self._db.execute("INSERT INTO attempt VALUES (?, ?, ?, ?)", row)

    def attempts(self, event_id: str) -> list[Attempt]:
        """Every try to send this event, oldest first."""
        rows = self._db.execute("SELECT * FROM attempt WHERE event_id = ? ORDER BY rowid", (event_id,))
        return [Attempt(*row) for row in rows]

    def next_delivery_at(self) -> float | None:
        """When the next pending event is due (seconds since 1970), None when nothing is pending."""
        row = self._db.execute("SELECT min(due_at) FROM delivery WHERE state = 'pending'").fetchone()
        return None if row[0] is None else float(row[0])

    def delivery_state(self, event_id: str) -> str:
        """`pending`, `delivered`, `failed`, `lost`; `unsubscribed` for events that are never sent."""
        row = self._db.execute("SELECT state FROM delivery WHERE event_id = ?", (event_id,)).fetchone()
        return str(row[0]) if row else "unsubscribed"

    def switch(self, fault: Fault, value: Any, *, times: int | None) -> None:
        """Set a fault for so many uses (None: until switched off); a value of None, False or 0 switches it off."""
        self._db.execute("DELETE FROM switch WHERE fault = ?", (fault,))
        if value:
            self._db.execute("INSERT INTO switch VALUES (?, ?, ?)", (fault, json.dumps(value), times))

    def use_fault(self, fault: Fault) -> Any:
        """The value of a fault that is on, else None; one use is taken off."""
        row = self._db.execute("SELECT value, times FROM switch WHERE fault = ?", (fault,)).fetchone()
        if row is None:
            return None
        value, times = row
        if times is not None:
            self.switch(fault, json.loads(value) if times > 1 else None, times=times - 1)
        return json.loads(value)


def _kept(row: tuple[str, str, str]) -> Kept:
    body, account, aside = row
    return Kept(json.loads(body), account, json.loads(aside))
