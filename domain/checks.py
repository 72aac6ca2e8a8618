"""What looks after the shop at regular moments: whose turn it is, and what the last look found.

A check is a row for each name and Stripe account ("" is our own). Times in UTC.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from database import transaction
from models import Check

# How often each check has its turn.
EVERY = {
    "sessions": timedelta(seconds=5),
    "events": timedelta(minutes=5),
    "payments": timedelta(minutes=2),
    "refunds": timedelta(seconds=30),
    "connections": timedelta(hours=6),
    "accounts": timedelta(minutes=1),
    "stripe": timedelta(minutes=1),
    "clock": timedelta(minutes=1),
    "bounces": timedelta(minutes=1),
    "notices": timedelta(seconds=15),
    "audit": timedelta(hours=1),
}
# The watch beats at least so often, even while Stripe lets it wait for an answer.
SILENT_AFTER = timedelta(minutes=5)
# A look at the payments that is older than this says nothing about now.
FRESH_FOR = timedelta(minutes=10)
_NEVER = datetime(2000, 1, 1, tzinfo=UTC)


def claim(name: str, *, at: datetime) -> bool:
    """True for one worker in each of the check's intervals: several workers ask Stripe once."""
    turn = f"{name}:turn"
    with transaction():
        if not Check.select().where(Check.name == turn).exists():
            row = {"name": turn, "account": "", "ran_at": _NEVER, "is_ok": True, "facts": {}}
            Check.insert(row).on_conflict_ignore().execute()
        # A clock that was set back must not silence a check until the old time comes again.
        is_due = (Check.ran_at <= at - EVERY[name]) | (Check.ran_at > at + EVERY[name])
        return bool(Check.update(ran_at=at).where(Check.name == turn, is_due).execute())


def beat(*, at: datetime) -> None:
    """The watch is alive."""
    report("watch", is_ok=True, at=at)


def report(name: str, *, account: str = "", is_ok: bool, at: datetime, **facts: Any) -> None:
    """Write down what a look found; `facts["since"]` is when it began to be wrong, kept as long as it is."""
    with transaction():
        known = latest(name, account=account)
        if not is_ok:
            facts["since"] = known.facts.get("since") if known is not None and not known.is_ok else at.isoformat()
        Check.insert(name=name, account=account, ran_at=at, is_ok=is_ok, facts=facts).on_conflict(
            conflict_target=[Check.name, Check.account],
            update={Check.ran_at: at, Check.is_ok: is_ok, Check.facts: facts},
        ).execute()


def latest(name: str, *, account: str = "") -> Check | None:
    """The last look, or None before the first."""
    found: Check | None = Check.get_or_none(Check.name == name, Check.account == account)
    return found


def since(check: Check) -> datetime:
    """When a check began to find something wrong."""
    said = check.facts.get("since")
    return datetime.fromisoformat(said) if isinstance(said, str) else check.ran_at
