"""The regular looks at Stripe and at ourselves, so that nothing is stuck in silence. One round never raises.

Whatever the webhook did not tell is found by asking: open sessions, events that were not delivered, and every payment
of the last day, each held against our books.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import structlog

import database
from domain import adoptions, audit, checkout, checks, clock
from domain.states import ConnectionState, PaymentState
from effects import connect, events, notices, refund
from effects import payment as payments
from effects.outside import here
from gateways.stripe_checkout import PaymentStatus, Session, StripeRefused, StripeUnavailable
from models import Connection, Payment, StripeEvent, TimelineEntry

log = structlog.get_logger()
# How far back the payments are compared: sessions live for an hour, so a day is plenty.
SPAN = timedelta(days=1)
# Stripe keeps events for 30 days: how far the first look goes, and one after a restored backup.
LONGEST_SPAN = timedelta(days=30)
# Events that were still on their way at the last look are listed again.
OVERLAP = timedelta(hours=1)
WEBHOOK_SILENT_AFTER = timedelta(hours=26)
MOST_SKEW = timedelta(seconds=60)
_ANSWERED = (PaymentState.PAID, PaymentState.REVIEW, PaymentState.RETURNED)
_ANSWERS = (checkout.Outcome.SETTLED, checkout.Outcome.ALREADY_SETTLED, checkout.Outcome.HELD)
_AT_ONCE = 500


def run(at: datetime) -> dict[str, Any]:
    """One round: every look whose turn it is, each on its own; what the looks found, by name. Never raises."""
    found: dict[str, Any] = {}
    is_stripe_away = False
    for name, look in LOOKS.items():
        if is_stripe_away and name in ASKS_STRIPE:
            continue  # one time-out for each round is enough
        try:
            checks.beat(at=clock.now())
            if checks.claim(name, at=at):
                found[name] = look(at)
        except StripeUnavailable as error:
            is_stripe_away = True
            log.warning("stripe_away", look=name, reason=str(error))
        except Exception:
            log.error("look_failed", look=name, exc_info=True)
    return found


def reconcile(at: datetime, *, span: timedelta = SPAN) -> dict[str, Any]:
    """Everything that can be asked, at once: open sessions, undelivered events, and the payments of `span`.

    Raises StripeUnavailable.
    """
    return {
        "sessions": _ask(checkout.payments_in_doubt()),
        "events": _take_undelivered(at, span=span),
        "payments": match_payments(at, span=span),
    }


def match_payments(at: datetime, *, span: timedelta = SPAN) -> dict[str, int]:
    """Hold every payment at Stripe of `span` against our books; sums over all accounts. Raises StripeUnavailable."""
    sums: dict[str, int] = {}
    for account in accounts():
        for outcome, count in _match_account(account, at, span=span).items():
            sums[outcome] = sums.get(outcome, 0) + count
    return sums


def accounts() -> list[str]:
    """Every Stripe account that may take money for us: "" is that of our own key."""
    connected = Connection.select(Connection.account).where(Connection.state != ConnectionState.ENDED)
    return ["", *(row[0] for row in connected.order_by(Connection.id).tuples())]


def _ask_due(at: datetime) -> dict[str, int]:
    return _ask(checkout.payments_to_check(at))


def _ask(waiting: list[Payment]) -> dict[str, int]:
    counts = payments.reconcile(waiting)
    if counts.get("unreachable"):
        raise StripeUnavailable("Stripe gave no answer about an open session")
    return counts


def _take_undelivered(at: datetime, *, span: timedelta | None = None) -> dict[str, int]:
    counts: dict[str, int] = {}
    for account in accounts():
        for outcome in _take_of(account, at, span=span):
            counts[outcome] = counts.get(outcome, 0) + 1
    return counts


def _take_of(account: str, at: datetime, *, span: timedelta | None) -> list[str]:
    try:
        listed = here().stripe.at(account).list_undelivered(at - span if span else _events_since(account, at))
    except StripeRefused as error:
        log.warning("events_not_listed", account=account, code=error.code, reason=str(error))
        checks.report("events", account=account, is_ok=False, at=at, code=error.code)
        return ["refused"]
    outcomes, next_from = [], at - OVERLAP
    for event in reversed(listed):  # oldest first, as they happened
        try:
            outcomes.append(events.take(event, source="list"))
        except StripeRefused as error:
            log.warning("event_not_taken", event_id=event.id, reason=str(error))
            next_from = min(next_from, event.created_at)
            outcomes.append("refused")
    checks.report("events", account=account, is_ok=True, at=at, found=len(listed), next_from=next_from.isoformat())
    return outcomes


def _events_since(account: str, at: datetime) -> datetime:
    last = checks.latest("events", account=account)
    next_from = last.facts.get("next_from") if last is not None else None
    return max(at - LONGEST_SPAN, datetime.fromisoformat(next_from)) if next_from else at - LONGEST_SPAN


def _match_recent(at: datetime) -> dict[str, int]:
    return match_payments(at)


def _match_account(account: str, at: datetime, *, span: timedelta) -> dict[str, int]:
    last = checks.latest("payments", account=account)
    # After a night without a worker the look goes back to where the last good one ended.
    reach = max(span, at - last.ran_at + SPAN) if last is not None and "code" not in last.facts else LONGEST_SPAN
    try:
        listed = here().stripe.at(account).list_sessions(at - min(reach, max(span, LONGEST_SPAN)))
    except StripeRefused as error:
        log.warning("payments_not_listed", account=account, code=error.code, reason=str(error))
        _note_unlisted(account, error.code)
        return {"refused": 1}
    paid = [session for session in listed if session.payment_status == PaymentStatus.PAID]
    outcomes = dict(_matched(account, paid))
    unsettled = [session_id for session_id, outcome in outcomes.items() if outcome == "unsettled"]
    strays = sum(outcome == "stray" for outcome in outcomes.values())
    is_ok = not unsettled and not strays
    checks.report("payments", account=account, is_ok=is_ok, at=at, paid=len(paid), strays=strays, unsettled=unsettled)
    return {name: list(outcomes.values()).count(name) for name in sorted(set(outcomes.values()))}


def _note_unlisted(account: str, code: str) -> None:
    """The age of the last good look stays as it is: the tile must not look fresh."""
    last = checks.latest("payments", account=account)
    if last is not None:
        checks.report("payments", account=account, is_ok=False, at=last.ran_at, **{**last.facts, "code": code})


def _matched(account: str, paid: list[Session]) -> Iterator[tuple[str, str]]:
    answered = _answered(account, [session.id for session in paid])
    for session in paid:
        if session.id in answered:
            adoptions.close_stray(session, actor=checkout.Source.RECONCILER)
            yield session.id, "known"
        else:
            yield session.id, _match(session)


def _match(session: Session) -> str:
    payment = adoptions.known_payment(session)
    if payment is None:
        order = adoptions.order_behind(session)
        if order is None:
            return "stray" if adoptions.strand(session) is not None else "foreign"
        payment = adoptions.adopt(order, session)
    adoptions.close_stray(session, actor=checkout.Source.RECONCILER)
    try:
        outcome = payments.confirm(payment, source=checkout.Source.RECONCILER)
    except StripeRefused as error:
        log.warning("payment_not_settled", session_id=session.id, code=error.code, reason=str(error))
        return "unsettled"
    return "settled" if outcome in _ANSWERS else "unsettled"


def _answered(account: str, session_ids: list[str]) -> set[str]:
    found: set[str] = set()
    for begin in range(0, len(session_ids), _AT_ONCE):
        some = session_ids[begin : begin + _AT_ONCE]
        is_some = (Payment.account == account) & Payment.session_id.in_(some) & Payment.state.in_(_ANSWERED)
        found.update(row[0] for row in Payment.select(Payment.session_id).where(is_some).tuples())
    return found


def _ask_about_refunds(at: datetime) -> int:
    return refund.ask_again()


def _ask_about_accounts(at: datetime) -> int:
    return connect.refresh_all()


def _look_at_accounts(at: datetime) -> int:
    count = 0
    for connection in Connection.select().order_by(Connection.id):
        is_ok = connection.state in (ConnectionState.PENDING, ConnectionState.READY)
        checks.report("account", account=connection.account, is_ok=is_ok, at=at, state=str(connection.state))
        count += not is_ok
    return count


def _listen_for_webhooks(at: datetime) -> int:
    """Payments that were found by asking, although webhooks should have told of them long ago."""
    newest = StripeEvent.select().where(StripeEvent.source == "webhook").order_by(StripeEvent.id.desc()).first()
    heard_at = newest.received_at if newest is not None else None
    by_asking = TimelineEntry.select().where(
        TimelineEntry.kind == "payment_confirmed",
        TimelineEntry.actor.in_((checkout.Source.RECONCILER, checkout.Source.RETURN_PAGE)),
        TimelineEntry.created_at > max(heard_at or at - LONGEST_SPAN, at - LONGEST_SPAN),
    )
    found, oldest = by_asking.count(), by_asking.order_by(TimelineEntry.id).first()
    is_silent = oldest is not None and at - (heard_at or oldest.created_at) > WEBHOOK_SILENT_AFTER
    last = heard_at.isoformat() if heard_at is not None else None
    checks.report("stripe", is_ok=not is_silent, at=at, found=found, last_webhook_at=last)
    return found if is_silent else 0


def _look_at_clock(at: datetime) -> float | None:
    """Our clock beside Stripe's, after it was set to the database's."""
    database.follow_clock()
    skew = here().stripe.clock_skew
    if skew is None:
        return None
    seconds = skew.total_seconds()
    checks.report("clock", is_ok=abs(skew) <= MOST_SKEW, at=at, skew_seconds=round(seconds))
    return seconds


def _collect_bounces(at: datetime) -> Any:
    if not getattr(here().settings, "bounce_mailbox", ""):
        return 0
    from effects import bounces

    return bounces.collect()


def _audit(at: datetime) -> int:
    broken = _broken()
    if broken:
        # Somebody may have written between two questions; what is really broken is so the second time too.
        again = _broken()
        broken = {name: count for name, count in again.items() if name in broken}
    checks.report("audit", is_ok=not broken, at=at, broken=broken)
    return len(broken)


def _broken() -> dict[str, int]:
    return {finding.name: finding.broken for finding in audit.run() if finding.broken}


LOOKS: dict[str, Callable[[datetime], Any]] = {
    "clock": _look_at_clock,
    "sessions": _ask_due,
    "payments": _match_recent,
    "events": _take_undelivered,
    "refunds": _ask_about_refunds,
    "connections": _ask_about_accounts,
    "accounts": _look_at_accounts,
    "stripe": _listen_for_webhooks,
    "bounces": _collect_bounces,
    "audit": _audit,
    "notices": notices.tell,
}
ASKS_STRIPE = frozenset({"sessions", "payments", "events", "refunds", "connections"})
