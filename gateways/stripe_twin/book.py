"""What is written in the twin's memory: objects as the JSON that is answered, deliveries, switched faults."""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from domain import clock
from gateways.stripe_twin.faults import Draw, Fault, strikes
from gateways.stripe_twin.wire import Json

KEY_SECONDS = 24 * 3600  # Stripe forgets an idempotency key after a day
HOLD_SECONDS = 2.0  # how long events wait for others to change places with
_CHUNK = 200
_BEYOND_ALL = 1 << 62
_RANK_SECONDS = 0.0001  # what one place in the order counts
_NEWEST_FIRST = """
SELECT seq, body, account, aside FROM object
WHERE kind = :kind AND seq < :place AND created >= :since AND (:account IS NULL OR account = :account)
AND (:is_delivered IS NULL OR :is_delivered = NOT EXISTS
     (SELECT 1 FROM delivery WHERE event_id = object.id AND state != 'delivered'))
ORDER BY seq DESC LIMIT :chunk
"""
_OLDEST_FIRST = """
SELECT seq, body, account, aside FROM object
WHERE kind = :kind AND seq > :place AND created >= :since AND (:account IS NULL OR account = :account)
AND (:is_delivered IS NULL OR :is_delivered = NOT EXISTS
     (SELECT 1 FROM delivery WHERE event_id = object.id AND state != 'delivered'))
ORDER BY seq LIMIT :chunk
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

    def change(self, **facts: Any) -> Json:
        """Set fields of the body; the values that they had before, of those that have changed."""
        previous = {name: self.body.get(name) for name, value in facts.items() if self.body.get(name) != value}
        self.body.update(facts)
        return previous


@dataclass(frozen=True)
class Attempt:
    """One try to send an event; `status` is None when there was no answer."""

    event_id: str
    attempted_at: float
    status: int | None
    error: str


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
            (kept.id, kind, account, int(clock.now().timestamp()), json.dumps(body), json.dumps(kept.aside)),
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
        return list(self.walk(kind, account=account))

    def walk(
        self,
        kind: str,
        *,
        account: str | None = None,
        beyond: str = "",
        is_backward: bool = False,
        is_delivered: bool | None = None,
        since: int = 0,
    ) -> Iterator[Kept]:
        """Objects of a kind, newest first and read as they are needed; those after the one of the id `beyond`.

        `is_backward`: oldest first, and those before it. `is_delivered` narrows events by what became of them, `since`
        everything by its second of creation.
        """
        facts = {"kind": kind, "account": account, "since": since, "is_delivered": is_delivered, "chunk": _CHUNK}
        place = self._place(beyond) if beyond else (0 if is_backward else _BEYOND_ALL)
        text = _OLDEST_FIRST if is_backward else _NEWEST_FIRST
        while rows := self._db.execute(text, {**facts, "place": place}).fetchall():
            yield from (_kept(row[1:]) for row in rows)
            place = rows[-1][0]

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

    def plan_delivery(self, event_id: str, *, is_lost: bool, copies: int, wait_seconds: float = 0) -> None:
        """Send this event as soon as possible, or after a wait; a lost one is on record only."""
        row = (event_id, "lost" if is_lost else "pending", copies, clock.now().timestamp() + wait_seconds)
        self._db.execute("INSERT INTO delivery (event_id, state, copies, due_at) VALUES (?, ?, ?, ?)", row)
        self.has_events = self.has_events or not is_lost

    def hold(self, event_id: str, *, block: int, rank: int, size: int) -> None:
        """Let a block of events leave by their ranks: when it is full, or when its first has waited long enough."""
        now = clock.now().timestamp()
        self._db.execute("INSERT INTO held VALUES (?, ?, ?, ?)", (event_id, block, rank, now))
        count, first_at = self._db.execute(
            "SELECT count(*), min(planned_at) FROM held WHERE block = ?", (block,)
        ).fetchone()
        start = now if count == size else first_at + HOLD_SECONDS
        self._db.execute(
            "UPDATE delivery SET due_at = ? + held.rank * ? FROM held"
            " WHERE held.event_id = delivery.event_id AND held.block = ? AND delivery.attempts = 0",
            (start, _RANK_SECONDS, block),
        )

    def outbox(self) -> list[str]:
        """The ids of the events that wait to be sent, in the order in which they leave, each as often as it will."""
        rows = self._db.execute("SELECT event_id, copies FROM delivery WHERE state = 'pending' ORDER BY due_at, rowid")
        return [event_id for event_id, copies in rows for _ in range(copies)]

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

    def recent_deliveries(self, count: int) -> list[tuple[str, str, str, float]]:
        """(event id, type, state of delivery, second of creation) of the newest events that are sent at all."""
        return self._db.execute(
            "SELECT object.id, json_extract(body, '$.type'), state, created FROM delivery"
            " JOIN object ON object.id = event_id ORDER BY seq DESC LIMIT ?",
            (count,),
        ).fetchall()

    def send_again(self, event_id: str) -> None:
        """Send an event that was lost or given up, as soon as possible."""
        self._db.execute(
            "UPDATE delivery SET state = 'pending', attempts = 0, due_at = ? WHERE event_id = ? AND state != 'pending'",
            (clock.now().timestamp(), event_id),
        )
        self.has_events = True

    def delivery_state(self, event_id: str) -> str:
        """`pending`, `delivered`, `failed`, `lost`; `unsubscribed` for events that are never sent."""
        row = self._db.execute("SELECT state FROM delivery WHERE event_id = ?", (event_id,)).fetchone()
        return str(row[0]) if row else "unsubscribed"

    def switch(self, fault: Fault, value: Any, *, times: int | None, ratio: float = 1, seed: int = 0) -> None:
        """Set a fault for so many uses (None: until switched off); a value of None, False or 0 switches it off."""
        self._db.execute("DELETE FROM fault WHERE name = ?", (fault,))
        if fault is Fault.REORDER_EVENTS:
            self._db.execute("DELETE FROM held")
        if value:
            row = (fault, json.dumps(value), times, ratio, seed)
            self._db.execute("INSERT INTO fault (name, value, times, ratio, seed) VALUES (?, ?, ?, ?, ?)", row)

    def is_on(self, fault: Fault) -> bool:
        """Whether a fault waits for its case."""
        return self._db.execute("SELECT 1 FROM fault WHERE name = ?", (fault,)).fetchone() is not None

    def use_fault(self, fault: Fault) -> Any:
        """The value of a fault that strikes here, else None; one use is taken off."""
        draw = self.draw(fault)
        return draw.value if draw else None

    def draw(self, fault: Fault) -> Draw | None:
        """As `use_fault`, and with its place in the run."""
        row = self._db.execute(
            "UPDATE fault SET drawn = drawn + 1 WHERE name = ? RETURNING value, times, ratio, seed, drawn - 1", (fault,)
        ).fetchone()
        if row is None:
            return None
        value, times, ratio, seed, place = row
        if not strikes(fault, ratio=ratio, seed=seed, place=place):
            return None
        if times == 1:
            self._db.execute("DELETE FROM fault WHERE name = ?", (fault,))
        elif times is not None:
            self._db.execute("UPDATE fault SET times = times - 1 WHERE name = ?", (fault,))
        return Draw(json.loads(value), place, seed)

    def _place(self, object_id: str) -> int:
        row = self._db.execute("SELECT seq FROM object WHERE id = ?", (object_id,)).fetchone()
        if row is None:
            raise KeyError(object_id)
        return int(row[0])


def _kept(row: tuple[str, str, str]) -> Kept:
    body, account, aside = row
    return Kept(json.loads(body), account, json.loads(aside))
