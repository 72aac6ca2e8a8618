"""Is the process alive, and is the shop able to work? For load balancers and for people on call.

No secret and nothing of a merchant stands here: numbers, ages and what to do.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import flask
import peewee

from database import db
from domain import breakers, checks, clock, fulfilment, needs
from domain.states import StepState
from models import Check, Step, StripeEvent, Worker

blueprint = flask.Blueprint("health", __name__)
Part = dict[str, Any]


@blueprint.get("/healthz")
def alive() -> dict[str, str]:
    """200 as long as the process answers."""
    return {"status": "ok"}


@blueprint.get("/readyz")
def ready() -> tuple[dict[str, object], int]:
    """200 when every part can work, else 503; each part that is not well says what to do.

    A part with `warn` works, and needs somebody all the same.
    """
    parts = {"database": _database()}
    if parts["database"]["ok"]:
        now = clock.now()
        parts |= {name: look(now) for name, look in PARTS.items()}
    is_ready = all(part["ok"] for part in parts.values())
    return {"status": "ok" if is_ready else "not ready", "parts": parts}, 200 if is_ready else 503


def _database() -> Part:
    try:
        db.execute_sql("SELECT 1 FROM merchants LIMIT 1")
    except peewee.PeeweeException as error:
        return {"ok": False, "what_to_do": "run: flask db upgrade", "detail": type(error).__name__}
    return {"ok": True}


def _worker(now: datetime) -> Part:
    latest = Worker.latest()
    if latest is None:
        return _bad("start a worker: flask worker")
    age = now - latest.seen_at
    count = Worker.select().where(Worker.seen_at >= now - fulfilment.SILENT_AFTER).count()
    facts = {"seen_seconds_ago": _seconds(age), "alive": count}
    if age > fulfilment.SILENT_AFTER:
        return _bad("the worker stopped; start it again: flask worker", **facts)
    return {"ok": True, **facts}


def _watch(now: datetime) -> Part:
    beat = checks.latest("watch")
    if beat is None:
        return _bad("the watch is a part of the worker; start it: flask worker")
    facts = {"seen_seconds_ago": _seconds(now - beat.ran_at)}
    if now - beat.ran_at > checks.SILENT_AFTER:
        return _bad("the watch stands still, so lost payments are not found; restart the worker", **facts)
    return {"ok": True, **facts}


def _steps(now: datetime) -> Part:
    oldest = fulfilment.oldest_due_at(now)
    waits = (now - oldest) if oldest else timedelta()
    if waits > fulfilment.STUCK_AFTER:
        return _bad("work piles up; look at the worker's log", oldest_due_seconds=_seconds(waits))
    return {"ok": True, "oldest_due_seconds": _seconds(waits)}


def _dead(now: datetime) -> Part:
    count = Step.select().where(Step.state == StepState.DEAD).count()
    return {"ok": True, "count": count} if not count else _warn("their orders say what helps", count=count)


def _mail(now: datetime) -> Part:
    breaker = next((each for each in breakers.current() if each.name == breakers.MAIL), None)
    if breaker is None:
        return {"ok": True, "breaker": "closed"}
    facts = {"breaker": "open", "since_seconds": _seconds(now - breaker.opened_at), "code": breaker.code}
    return _warn("no mail goes out; check MAIL_SERVER and its companions: flask doctor", **facts)


def _stripe(now: datetime) -> Part:
    newest = StripeEvent.select(StripeEvent.received_at).order_by(StripeEvent.id.desc()).first()
    look, watch, turn = checks.latest("stripe"), checks.latest("clock"), checks.latest("payments")
    skew = watch.facts.get("skew_seconds") if watch is not None else None
    facts = {
        "last_event_seconds_ago": _seconds(now - newest.received_at) if newest is not None else None,
        "last_answer_seconds_ago": _seconds(now - turn.ran_at) if turn is not None else None,
        "clock_skew_seconds": skew,
    }
    if watch is not None and not watch.is_ok:
        return _bad("this host's clock is wrong, so webhooks are refused; set it, best by NTP", **facts)
    if look is not None and not look.is_ok:
        found = look.facts.get("found")
        return _warn(
            "no webhook came for 26 h, payments were found by asking; check it in Stripe", found=found, **facts
        )
    return {"ok": True, **facts}


def _payments(now: datetime) -> Part:
    looks = list(Check.select().where(Check.name == "payments"))
    unsettled = sum(len(look.facts.get("unsettled", [])) for look in looks)
    count = len(needs.unissued(None, now)) + len(needs.strays(None)) + unsettled
    # The account that was looked at longest ago decides; none yet is no news.
    oldest = min((look.ran_at for look in looks), default=None)
    facts = {"unmatched": count, "checked_seconds_ago": _seconds(now - oldest) if oldest is not None else None}
    if count:
        return _warn("payments without a voucher: the dashboard's home lists them", **facts)
    if oldest is None or now - oldest > checks.FRESH_FOR:
        return _warn("payments were not compared lately; is Stripe away or the worker down?", **facts)
    return {"ok": True, **facts}


def _audit(now: datetime) -> Part:
    look = checks.latest("audit")
    if look is None:
        return {"ok": True, "checked_seconds_ago": None}
    facts = {"checked_seconds_ago": _seconds(now - look.ran_at)}
    if not look.is_ok:
        return _warn("the books do not add up; run: flask audit", broken=sorted(look.facts.get("broken", {})), **facts)
    if now - look.ran_at > 2 * checks.EVERY["audit"]:
        return _warn("the hourly audit did not run; is the worker down?", **facts)
    return {"ok": True, **facts}


def _bad(what_to_do: str, **facts: object) -> Part:
    return {"ok": False, **facts, "what_to_do": what_to_do}


def _warn(what_to_do: str, **facts: object) -> Part:
    return {"ok": True, "warn": True, **facts, "what_to_do": what_to_do}


def _seconds(span: timedelta) -> int:
    return round(span.total_seconds())


PARTS: dict[str, Callable[[datetime], Part]] = {
    "worker": _worker,
    "watch": _watch,
    "steps": _steps,
    "dead": _dead,
    "mail": _mail,
    "stripe": _stripe,
    "payments": _payments,
    "audit": _audit,
}
