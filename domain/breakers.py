"""Outside services that are left alone for a while, because everybody would fail in the same way.

While a breaker is open nobody calls the service, except for one probe a minute; the first success closes it. The table
is the truth, so that all processes rest and start together.
"""

from datetime import timedelta

from database import transaction
from domain import clock
from models import Breaker

MAIL, STRIPE = "mail", "stripe"
# Between two probes: soon enough for people who mend a setting, seldom enough for a server that counts bad log-ins.
BETWEEN_PROBES = timedelta(seconds=60)


def trip(name: str, *, code: str, detail: str = "") -> bool:
    """Open the breaker, or put off the next probe of an open one; True when it was closed before.

    It remembers since when it is open, and why as of its latest failure.
    """
    now = clock.now()
    news = {"code": code, "detail": detail[:500], "probe_at": now + BETWEEN_PROBES}
    with transaction():
        if Breaker.update(**news).where(Breaker.name == name).execute():
            return False
        return bool(Breaker.insert(name=name, opened_at=now, **news).on_conflict_ignore().execute())


def mend(name: str) -> bool:
    """Close the breaker: the service works; True when it was open."""
    with transaction():
        return bool(Breaker.delete().where(Breaker.name == name).execute())


def is_open(name: str) -> bool:
    """Whether the service is left alone now."""
    return Breaker.select().where(Breaker.name == name).exists()


def may_probe(name: str) -> bool:
    """True for one caller a minute while the breaker is open: go and see whether the service works again."""
    now = clock.now()
    with transaction():
        is_free = (Breaker.name == name) & (Breaker.probe_at <= now)
        return bool(Breaker.update(probe_at=now + BETWEEN_PROBES).where(is_free).execute())


def current() -> list[Breaker]:
    """Every open breaker, the longest open one first."""
    return list(Breaker.select().order_by(Breaker.opened_at))
