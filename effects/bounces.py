"""Letters that came back: read the report, find the mail, ask for another address."""

from enum import StrEnum
from functools import cache

import structlog

from database import transaction
from domain import fulfilment, timeline
from domain.states import TRYING_AGAIN, StepState
from effects.outside import here
from gateways import bounces
from gateways.bounce_mailbox import BounceMailbox, MailboxFailed, OpenMailbox
from gateways.bounces import Action, BounceReport
from models import Step, TimelineEntry

log = structlog.get_logger()
# A visit a minute; what is more waits for the next one.
_MOST_AT_ONCE = 200
_MOST_REMEMBERED = 10_000


class Outcome(StrEnum):
    """What a message was good for. `EARLY` is worth another look: the mail it speaks of is still under way."""

    NO_REPORT = "no_report"
    FOREIGN = "foreign"
    DISBELIEVED = "disbelieved"
    EARLY = "early"
    TOLD = "told"
    BOUNCED = "bounced"


# Ours, and done with: there is no reason to keep it.
SETTLED = frozenset({Outcome.DISBELIEVED, Outcome.TOLD, Outcome.BOUNCED})
_BY_WEIGHT = (Outcome.EARLY, Outcome.BOUNCED, Outcome.TOLD, Outcome.DISBELIEVED, Outcome.FOREIGN, Outcome.NO_REPORT)


def receive(raw: bytes) -> Outcome:
    """Take note of one message from the mailbox or from an MTA's pipe; the weightiest outcome of its reports.

    The same report twice changes nothing more.
    """
    outcomes = {_take_note(report) for report in bounces.read(raw)} or {Outcome.NO_REPORT}
    return next(outcome for outcome in _BY_WEIGHT if outcome in outcomes)


def collect() -> dict[str, int]:
    """Read the mailbox of the settings; outcome → count, empty without a mailbox.

    A report is deleted when its effect is committed; everything else stays where it is. Raises MailboxFailed.
    """
    settings = here().settings
    url = settings.bounce_mailbox.get_secret_value() if settings.bounce_mailbox else ""
    if not url:
        return {}
    counts: dict[str, int] = {}
    with BounceMailbox(url, ca_file=settings.mail_ca_file or None).opened() as mailbox:
        left_alone = _left_alone(url)
        fresh = {uid: number for uid, number in mailbox.numbers().items() if uid not in left_alone}
        for uid, number in list(fresh.items())[:_MOST_AT_ONCE]:
            outcome = _collect_one(mailbox, number, uid, left_alone)
            counts[outcome] = counts.get(outcome, 0) + 1
    return counts


def _collect_one(mailbox: OpenMailbox, number: int, uid: str, left_alone: set[str]) -> Outcome:
    try:
        outcome = receive(mailbox.read(number))
    except MailboxFailed:
        # One that cannot be fetched breaks the visit; it must not break the next one too.
        _leave_alone(uid, left_alone)
        raise
    if outcome in SETTLED:
        mailbox.delete(number)
    elif outcome != Outcome.EARLY:
        _leave_alone(uid, left_alone)
    return outcome


def _leave_alone(uid: str, left_alone: set[str]) -> None:
    if len(left_alone) >= _MOST_REMEMBERED:
        left_alone.clear()
    left_alone.add(uid)


@cache
def _left_alone(url: str) -> set[str]:
    """Messages of this mailbox that are no business of ours: not fetched again every minute. Lost with the process."""
    return set()


def _take_note(report: BounceReport) -> Outcome:
    step = fulfilment.find_mail(report.message_id)
    if step is None:
        return Outcome.FOREIGN
    if not report.is_about(fulfilment.address_of(step)):
        # Whoever got one of our letters knows its number; a word about somebody else's proves nothing.
        log.warning("bounce_disbelieved", step=step.id, action=str(report.action), status=report.status)
        return Outcome.DISBELIEVED
    if report.action == Action.FAILED:
        return _bounce(step, report)
    if report.action == Action.DELAYED:
        _tell_delay(step, report)
    return Outcome.TOLD


def _bounce(step: Step, report: BounceReport) -> Outcome:
    if step.state == StepState.RUNNING or step.state in TRYING_AGAIN:
        return Outcome.EARLY
    detail = f"{report.status} {report.diagnostic}".strip()
    return Outcome.BOUNCED if fulfilment.bounce(report.message_id, detail=detail) else Outcome.TOLD


def _tell_delay(step: Step, report: BounceReport) -> None:
    """Once for each mail: some servers repeat it every few hours."""
    order = step.order
    told = order.timeline.where(TimelineEntry.kind == "mail_delayed")
    if any(entry.facts.get("message_id") == step.message_id for entry in told):
        return
    with transaction():
        timeline.record(
            order.merchant,
            "mail_delayed",
            order=order,
            step=str(step.name),
            unit_no=step.unit_no,
            to=report.recipient,
            message_id=step.message_id,
            code=report.status,
            detail=report.diagnostic,
        )
