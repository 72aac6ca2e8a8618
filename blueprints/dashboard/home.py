"""The first page after the log-in: what needs a person, whether everything runs, what was sold today."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any

import peewee
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import ngettext

from blueprints import htmx
from blueprints.dashboard import desk, listing
from blueprints.dashboard.desk import blueprint
from domain import breakers, checks, clock, fulfilment, needs
from domain.states import MAILS, StepState
from models import Merchant, Order, Step, Stray, StripeEvent, Voucher, Worker

SLOW_AFTER = timedelta(seconds=60)
_LATEST = 10
_MOST_URGENT = 3


@dataclass(frozen=True)
class Sign:
    """One line of the health report."""

    name: str
    tone: str
    words: str


@dataclass(frozen=True)
class Tile:
    """Payments without a voucher: the number that must be 0, and how old it is."""

    tone: str
    count: int | None
    words: str
    orders: tuple[Order, ...]
    strays: tuple[Stray, ...]


@blueprint.get("")
def home() -> ResponseReturnValue:
    """The page that may stay open all day."""
    merchant, now = desk.merchant(), clock.now()
    return htmx.respond(
        "dashboard/home.html",
        "dashboard/_home.html",
        urgent=listing.most_urgent(merchant, limit=_MOST_URGENT, at=now),
        counts=listing.counts(merchant),
        latest=listing.orders(merchant, listing.Wanted(rows=_LATEST), at=now).rows,
        signs=_signs(merchant, now),
        figures=_figures(merchant, now),
        unmatched=_unmatched(merchant, now),
        now=now,
    )


def _unmatched(merchant: Merchant, now: datetime) -> Tile:
    found = needs.unmatched(merchant, now)
    if found.count:
        tone, words = "bad", _("found %(ago)s", ago=desk.ago(found.checked_at)) if found.checked_at else ""
    elif found.checked_at is None:
        return Tile("idle", None, _("not checked yet"), (), ())
    else:
        tone, words = "ok" if found.is_fresh else "warn", _("checked %(ago)s", ago=desk.ago(found.checked_at))
    return Tile(tone, found.count, words, found.orders, found.strays)


def _signs(merchant: Merchant, now: datetime) -> list[Sign]:
    return [
        _stripe_sign(merchant, now),
        _mail_sign(),
        _worker_sign(now),
        _watch_sign(now),
        _waiting_sign(now),
        _stopped_sign(merchant),
        *_audit_sign(),
    ]


def _mail_sign() -> Sign:
    breaker = next((each for each in breakers.current() if each.name == breakers.MAIL), None)
    if breaker is None:
        return Sign(_("Mail"), "ok", _("goes out"))
    return Sign(
        _("Mail"), "bad", _("waits since %(time)s: the mail server refuses us", time=desk.when(breaker.opened_at))
    )


def _watch_sign(now: datetime) -> Sign:
    beat, name = checks.latest("watch"), _("Watch")
    if beat is None:
        return Sign(name, "idle", _("has not run yet"))
    if now - beat.ran_at > checks.SILENT_AFTER:
        silent = _("silent since %(time)s: lost payments are not looked for", time=desk.when(beat.ran_at))
        return Sign(name, "bad", silent)
    return Sign(name, "ok", _("looks after payments, seen %(ago)s", ago=desk.ago(beat.ran_at)))


def _audit_sign() -> list[Sign]:
    look, name = checks.latest("audit"), _("Books")
    if look is None:
        return []
    if look.is_ok:
        return [Sign(name, "ok", _("add up, checked %(ago)s", ago=desk.ago(look.ran_at)))]
    return [Sign(name, "bad", _("do not add up since %(time)s", time=desk.when(checks.since(look))))]


def _worker_sign(now: datetime) -> Sign:
    worker, name = Worker.latest(), _("Worker")
    if worker is None:
        return Sign(name, "bad", _("has not run yet: start it, and everything that waits goes out"))
    if now - worker.seen_at > fulfilment.SILENT_AFTER:
        silent = _("silent since %(time)s: orders are safe and wait for it", time=desk.when(worker.seen_at))
        return Sign(name, "bad", silent)
    return Sign(name, "ok", _("running, seen %(ago)s", ago=desk.ago(worker.seen_at)))


def _waiting_sign(now: datetime) -> Sign:
    since, name = fulfilment.oldest_due_at(now), _("Queue")
    if since is None or now - since < timedelta(seconds=5):
        return Sign(name, "ok", _("nothing waits"))
    tone = "bad" if now - since > fulfilment.STUCK_AFTER else "warn" if now - since > SLOW_AFTER else "ok"
    return Sign(name, tone, _("the oldest piece of work is due since %(time)s", time=desk.when(since)))


def _stopped_sign(merchant: Merchant) -> Sign:
    count, name = listing.needs_a_person(merchant), _("Stopped")
    if count == 0:
        return Sign(name, "ok", _("no step needs a person"))
    return Sign(name, "bad", ngettext("%(num)d step needs a person", "%(num)d steps need a person", count))


def _stripe_sign(merchant: Merchant, now: datetime) -> Sign:
    look, clocks, name = checks.latest("stripe"), checks.latest("clock"), _("Stripe")
    if clocks is not None and not clocks.is_ok:
        return Sign(name, "bad", _("the server's clock is wrong, so its messages are refused"))
    if look is not None and not look.is_ok:
        found = look.facts.get("found", 0)
        silent = ngettext(
            "has not called for 26 h, but %(num)d payment was found by asking",
            "has not called for 26 h, but %(num)d payments were found by asking",
            found,
        )
        return Sign(name, "warn", silent)
    received = StripeEvent.select().where(StripeEvent.account == merchant.stripe_account)
    last = received.order_by(StripeEvent.id.desc()).first()
    if last is None:
        return Sign(name, "idle", _("no message yet"))
    return Sign(name, "ok", _("last message %(ago)s", ago=desk.ago(last.received_at)))


def _figures(merchant: Merchant, now: datetime) -> dict[str, Any]:
    midnight = now.astimezone(clock.zone(merchant.time_zone)).replace(hour=0, minute=0, second=0, microsecond=0)
    # A payment follows its order within days; the second bound lets the index on the creation do the work.
    today = merchant.orders.where(Order.paid_at >= midnight, Order.created_at >= midnight - timedelta(days=14))
    sums = today.select(peewee.fn.COALESCE(peewee.fn.SUM(Order.total_minor), 0), peewee.fn.COUNT(Order.id))
    sold_minor, count = sums.tuples().get()
    outstanding = merchant.vouchers.select(peewee.fn.COALESCE(peewee.fn.SUM(Voucher.balance_minor), 0)).scalar()
    seconds = _seconds_to_mail(today)
    return {"sold_minor": int(sold_minor), "orders": count, "owed_minor": int(outstanding), "seconds": seconds}


def _seconds_to_mail(paid: peewee.ModelSelect) -> float | None:
    sent = (
        Step.select(Step, Order)
        .join(Order)
        .where(
            Step.order.in_(paid.select(Order.id)), Step.name.in_(MAILS), Step.state == StepState.DONE, Step.epoch == 1
        )
    )
    latest = sent.order_by(Step.id.desc()).limit(100)
    gaps = [(step.finished_at - step.order.paid_at).total_seconds() for step in latest]
    return round(median(gaps), 1) if gaps else None
