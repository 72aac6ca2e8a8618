"""Is the process alive, and is the shop able to work? For load balancers and for people on call."""

from datetime import timedelta

import flask
import peewee

from database import db
from domain import clock, fulfilment
from models import Worker

blueprint = flask.Blueprint("health", __name__)


@blueprint.get("/healthz")
def alive() -> dict[str, str]:
    """200 as long as the process answers."""
    return {"status": "ok"}


@blueprint.get("/readyz")
def ready() -> tuple[dict[str, object], int]:
    """200 when database, worker and queue are well, else 503 with the part that is not and what to do."""
    parts = {"database": _database()}
    if parts["database"]["ok"]:
        parts |= {"worker": _worker(), "steps": _steps()}
    is_ready = all(part["ok"] for part in parts.values())
    return {"status": "ok" if is_ready else "not ready", "parts": parts}, 200 if is_ready else 503


def _database() -> dict[str, object]:
    try:
        db.execute_sql("SELECT 1 FROM merchants LIMIT 1")
    except peewee.PeeweeException as error:
        return {"ok": False, "what_to_do": "run: flask db upgrade", "detail": type(error).__name__}
    return {"ok": True}


def _worker() -> dict[str, object]:
    latest = Worker.latest()
    if latest is None:
        return {"ok": False, "what_to_do": "start a worker: flask worker"}
    age = clock.now() - latest.seen_at
    answer: dict[str, object] = {"ok": age <= fulfilment.SILENT_AFTER, "seen_seconds_ago": round(age.total_seconds())}
    return answer if answer["ok"] else answer | {"what_to_do": "the worker stopped; start it again: flask worker"}


def _steps() -> dict[str, object]:
    oldest = fulfilment.oldest_due_at(clock.now())
    waits = (clock.now() - oldest) if oldest else timedelta()
    answer: dict[str, object] = {
        "ok": waits <= fulfilment.STUCK_AFTER,
        "oldest_due_seconds": round(waits.total_seconds()),
    }
    return answer if answer["ok"] else answer | {"what_to_do": "work piles up; look at the worker's log"}
