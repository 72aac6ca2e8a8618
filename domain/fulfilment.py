"""The step machine: what a paid order still needs, who works on it, what went wrong. The only writer of steps.

`blocked → ready → running → done | retry_wait | unknown | dead | skipped`. Rows are the truth and the queue is a door
bell: whoever claims a step holds a lease and a token, and a result with an old token is thrown away.
"""

import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import peewee

from database import db, is_postgresql, locked, transaction
from domain import clock, refusals, timeline
from domain.states import (
    DELIVERABLE,
    MAILS,
    RETRYABLE,
    TRYING_AGAIN,
    WAITING,
    PaymentState,
    StepName,
    StepState,
)
from models import Order, Step, StepAttempt, Unit, Voucher, Worker


@dataclass(frozen=True)
class Policy:
    """How often and how long a step is tried. `limit` is at least twice what one attempt may take."""

    base: timedelta
    cap: timedelta
    attempts: int
    limit: timedelta
    window: timedelta = timedelta(days=3650)


# A worker that dies holds its step for so long; one that lives asks for more time before, up to the step's limit.
LEASE = timedelta(seconds=30)
# A worker beats every few seconds; after this long without a beat it is called silent.
SILENT_AFTER = timedelta(seconds=60)
# Work that is due for longer than this does not come by itself any more.
STUCK_AFTER = timedelta(minutes=5)
_MAIL = Policy(timedelta(seconds=30), timedelta(hours=6), 40, timedelta(seconds=300), timedelta(hours=72))
POLICIES = {
    StepName.CREATE: Policy(timedelta(seconds=1), timedelta(minutes=1), 20, timedelta(seconds=30)),
    StepName.DOCUMENT: Policy(timedelta(seconds=5), timedelta(minutes=10), 8, timedelta(seconds=150)),
    StepName.DELIVER_BUYER: _MAIL,
    StepName.DELIVER_RECIPIENT: _MAIL,
    StepName.RECEIPT: _MAIL,
}
STOPPED, BOUNCED, FROZEN = "stopped", "bounced", "frozen"
# Skipped with one of these a step may still come back; with any other code it is over.
RESUMABLE = frozenset({STOPPED, "voucher_suspended", FROZEN})
# What a person may take up again; a freeze thaws by itself.
RESUMED_BY_HAND = (STOPPED, "voucher_suspended")
_UNFINISHED = (StepState.BLOCKED, *WAITING, StepState.RUNNING, StepState.DEAD)
# A mistake of ours is mended by people; until then one letter asks once in such a while.
_OURS_PAUSE = timedelta(seconds=60)


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed. `code` is stable, `detail` for experts; the next try waits `at_least` so long.

    One that `is_ours` (log-in, certificate, settings, an outage for everybody) is no attempt: the step keeps its budget
    and its days, so that a long mistake of ours kills no order.
    """

    code: str
    detail: str = ""
    is_permanent: bool = False
    is_unknown: bool = False
    is_ours: bool = False
    at_least: timedelta = timedelta()


class LeaseLost(Exception):
    """Somebody else holds the step by now; throw the result away."""


def plan(order: Order) -> None:
    """Write the steps of a paid order; part of the transaction that settles it."""
    now = clock.now()
    is_receipt_due = False
    for unit in order.units:
        due_at = max(now, unit.deliver_at) if unit.deliver_at else now
        mail = StepName.DELIVER_RECIPIENT if unit.recipient_email else StepName.DELIVER_BUYER
        is_receipt_due = is_receipt_due or mail == StepName.DELIVER_RECIPIENT
        _add(order, unit.unit_no, StepName.CREATE, needs=None, at=now)
        _add(order, unit.unit_no, StepName.DOCUMENT, needs=StepName.CREATE, at=now)
        _add(order, unit.unit_no, mail, needs=StepName.DOCUMENT, at=due_at)
    if is_receipt_due:
        _add(order, 0, StepName.RECEIPT, needs=None, at=now)


def claim(worker: str, *, order_id: int | None = None, without: Collection[StepName] = ()) -> Step | None:
    """Take the next due step (of one order, if named) for `worker`, or None when nothing is due.

    Steps named in `without` are left alone. The attempt counts from here, so a step that kills its worker still reaches
    `dead`.
    """
    while True:
        with transaction():
            step = _take(worker, order_id=order_id, without=without)
            if step is None:
                return None
            _close_stale_attempts(step)
            policy = POLICIES[StepName(step.name)]
            if step.attempt <= policy.attempts:
                StepAttempt.create(
                    step=step, attempt=step.attempt, token=step.token, worker=worker, started_at=clock.now()
                )
                return step
            _bury(step, Failure("worker_died", "Every attempt ended with the worker's death."))


def extend(step: Step) -> bool:
    """Ask for more time for a step that is being worked on; False when its limit is reached. Raises LeaseLost."""
    now = clock.now()
    if step.started_at is None or now - step.started_at > POLICIES[StepName(step.name)].limit:
        return False
    with transaction():
        _update_held(step, lease_until=now + LEASE)
    return True


def note_sending(step: Step) -> bool:
    """Write down, before the first byte goes out, that a mail may be under way. Raises LeaseLost.

    False when its voucher must not go out any more: looked at under its lock in the same transaction, and the step is
    skipped then.
    """
    with transaction():
        _lock_place(step)
        voucher = _locked_voucher(step)
        if voucher is None or voucher.status in DELIVERABLE:
            _update_held(step, send_started_at=clock.now())
            return True
        _skip(step, code=why_withheld(voucher))
        return False


def why_withheld(voucher: Voucher) -> str:
    """The code with which the mail of a voucher that must not go out is skipped."""
    return FROZEN if voucher.is_frozen else f"voucher_{voucher.status}"


def finish(step: Step) -> None:
    """Mark the step done and wake what waits for it; inside the transaction that keeps its result. Raises LeaseLost."""
    if not db.in_transaction():
        raise RuntimeError("a step is finished inside the transaction that keeps its result")
    now = clock.now()
    _update_held(step, state=StepState.DONE, finished_at=now, lease_until=None, error_code=None, error_text=None)
    _end_attempt(step, "done")
    _wake_followers(step)


def skip(step: Step, *, code: str) -> None:
    """The step is not wanted any more (say, the voucher is cancelled). Raises LeaseLost."""
    with transaction():
        _skip(step, code=code)


def fail(step: Step, failure: Failure) -> None:
    """Write down a failed attempt: try again later, or ask for a person. Raises LeaseLost."""
    if failure.is_ours:
        _wait_for_us(step, failure)
        return
    policy, now = POLICIES[StepName(step.name)], clock.now()
    first_failed_at = step.first_failed_at or now
    is_over = step.attempt >= policy.attempts or now - first_failed_at > policy.window
    with transaction():
        if failure.is_permanent or is_over:
            _bury(step, failure)
            return
        next_at = now + max(_backoff(policy, step.attempt), failure.at_least)
        _update_held(
            step,
            state=StepState.UNKNOWN if failure.is_unknown else StepState.RETRY_WAIT,
            not_before=next_at,
            lease_until=None,
            first_failed_at=first_failed_at,
            **({} if failure.is_unknown else {"send_started_at": None}),
            error_code=failure.code,
            error_text=failure.detail[:2000],
        )
        _end_attempt(step, "unknown" if failure.is_unknown else "failed", code=failure.code, detail=failure.detail)
        _record(step, "step_failed", failure, next_at=next_at.isoformat())


def retry(order: Order, step_id: int, *, token: int, actor: str) -> None:
    """Try a waiting or dead step now, with a new budget: same step, same voucher, same Message-ID.

    A stopped one goes on where it was stopped: one that was planned for a day keeps its day.
    `token` is the one that the presser's page showed. Raises StepNotRetryable when the step has moved on since, so ten
    clicks are one attempt.
    """
    with transaction():
        _lock(order)
        step = order.steps.where(Step.id == step_id).first()
        if step is None or not _reopen(step, token=token):
            raise refusals.StepNotRetryable("This step is not waiting any more.")
        _told(order, "step_retried", step, actor=actor)


def stop(order: Order, step_id: int, *, token: int, actor: str) -> None:
    """A waiting or planned step shall not be worked on until somebody resumes it. Raises StepNotRetryable."""
    now = clock.now()
    with transaction():
        _lock(order)
        step = order.steps.where(Step.id == step_id).first()
        if step is None or step.token != token or not _is_stoppable(step, now):
            raise refusals.StepNotRetryable("This step can't be stopped any more.")
        _rest(Step.id == step.id, code=STOPPED, at=now)
        _told(order, "step_stopped", step, actor=actor)


def skip_open(order: Order, *, code: str, unit_nos: Collection[int] | None = None) -> int:
    """Skip whatever is unfinished of these units (None: of the whole order, with its receipt); returns how many.

    Inside the transaction of whoever learned why, with the order locked. A worker that is at one of them loses its
    lease. A code for good also ends what only rested.
    """
    _require_transaction()
    is_open = Step.state.in_(_UNFINISHED)
    if code not in RESUMABLE:
        is_open |= (Step.state == StepState.SKIPPED) & Step.error_code.in_(RESUMABLE)
    return _rest(_of(order, unit_nos) & is_open, code=code, at=clock.now())


def resume(order: Order, *, codes: Collection[str], unit_nos: Collection[int] | None = None) -> int:
    """Take up again what was skipped with one of `codes`, each step with a new budget; returns how many.

    Inside the caller's transaction, with the order locked. A mail that was planned for a day and not tried before keeps
    its day; everything else is due now, or waits for the step that it needs.
    """
    _require_transaction()
    is_resting = (Step.state == StepState.SKIPPED) & Step.error_code.in_(list(codes))
    resting = list(Step.select().where(_of(order, unit_nos) & is_resting).order_by(Step.id))
    for step in resting:
        Step.update(**_afresh(step)).where(Step.id == step.id).execute()
    return len(resting)


def bounce(message_id: str, *, detail: str, code: str = BOUNCED) -> Step | None:
    """A mail that a server had accepted came back: it is dead and asks for another address.

    `message_id` as it stands in the mail or as we store it. None when no mail of this id went out, or when it is known
    to be dead already. Of a mail that was sent again since, only the newest copy counts: an older one is told.
    """
    with transaction():
        step = find_mail(message_id)
        if step is None:
            return None
        _lock(step.order)
        is_new = (Step.id == step.id) & (Step.state == StepState.DONE)
        is_new &= Step.error_code.is_null() | (Step.error_code != code)
        is_newest = _newest_epoch(step) == step
        state = StepState.DEAD if is_newest else StepState.DONE
        if not Step.update(state=state, error_code=code, error_text=detail[:2000]).where(is_new).execute():
            return None
        _told(step.order, "mail_bounced", step, code=code, detail=detail[:500], to=address_of(step))
        return Step.get_by_id(step.id)


def find_mail(message_id: str) -> Step | None:
    """The step of a Message-ID, as it stands in the mail or as we store it; None for one that is not ours."""
    stored = message_id.strip().strip("<>").rpartition("@")[0] or message_id.strip()
    found: Step | None = Step.select().where(Step.message_id == stored).order_by(Step.id).first()
    return found


def address_of(step: Step) -> str:
    """To whom a mail step goes, as the order says now."""
    email = step.unit.recipient_email if step.name == StepName.DELIVER_RECIPIENT else step.order.buyer_email
    return str(email)


def hasten(codes: Collection[str]) -> int:
    """Make every step due now that waits because of one of `codes`: what kept them is over. Returns how many."""
    now = clock.now()
    with transaction():
        is_kept = Step.state.in_(TRYING_AGAIN) & Step.error_code.in_(list(codes)) & (Step.not_before > now)
        return int(Step.update(not_before=now).where(is_kept).execute())


def correct_address(order: Order, step_id: int, *, email: str, token: int, actor: str) -> None:
    """Give a mail that could not be delivered another address and send it now. Raises StepNotRetryable."""
    with transaction():
        _lock(order)
        step = order.steps.where(Step.id == step_id, Step.name.in_(MAILS)).first()
        if step is None or not _reopen(step, token=token):
            raise refusals.StepNotRetryable("This mail is not waiting for another address.")
        if step.name == StepName.DELIVER_RECIPIENT:
            unit = step.unit
            old_email = unit.recipient_email
            Unit.update(recipient_email=email).where(Unit.id == unit.id).execute()
        else:
            old_email = order.buyer_email
            Order.update(buyer_email=email).where(Order.id == order.id).execute()
        _told(order, "address_corrected", step, actor=actor, old_email=old_email, new_email=email)


def resend(order: Order, step_id: int, *, token: int, actor: str) -> Step:
    """Send a mail that went out before once more: a new step with its own Message-ID. Raises StepNotRetryable."""
    with transaction():
        _lock(order)
        step = order.steps.where(Step.id == step_id, Step.name.in_(MAILS)).first()
        newest = _newest_epoch(step) if step is not None else None
        if step is None or newest != step or step.token != token or step.state != StepState.DONE:
            raise refusals.StepNotRetryable("This mail has not gone out, or it is being sent again already.")
        try:
            fresh = _add(order, step.unit_no, StepName(step.name), needs=None, at=clock.now(), epoch=step.epoch + 1)
        except peewee.IntegrityError as error:
            raise refusals.StepNotRetryable("This mail is being sent again already.") from error
        _told(order, "mail_sent_again", step, actor=actor)
    return fresh


def beat(worker: str) -> None:
    """The worker is alive."""
    now = clock.now()
    with transaction():
        Worker.insert(name=worker, started_at=now, seen_at=now).on_conflict(
            conflict_target=[Worker.name], update={Worker.seen_at: now}
        ).execute()
        Worker.delete().where(Worker.seen_at < now - timedelta(days=2)).execute()


def is_outage(step: Step, *, code: str, orders: int) -> bool:
    """Whether the mails of so many orders in a row, this step's among them, failed with `code`."""
    ended = (
        StepAttempt.select(StepAttempt.code, Step.order.alias("order_id"))
        .join(Step)
        .where(Step.name.in_(MAILS), StepAttempt.outcome.in_(("done", "failed", "unknown")))
        .order_by(StepAttempt.id.desc())
        .limit(orders * 4)
    )
    failed = {step.order_id}
    rows: Any = ended.tuples()
    for found, order_id in rows:
        if found != code:
            break
        failed.add(order_id)
    return len(failed) >= orders


def oldest_due_at(at: datetime) -> datetime | None:
    """Since when the longest waiting due step waits, or None when nothing is due."""
    oldest: datetime | None = Step.select(peewee.fn.MIN(Step.not_before)).where(_is_due(at)).scalar()
    return oldest


def unplanned_orders() -> list[Order]:
    """Paid orders without any step: there should be none, and the sweeper plans them."""
    has_steps = peewee.fn.EXISTS(Step.select(Step.id).where(Step.order == Order.id))
    return list(Order.select().where(Order.payment_state == PaymentState.PAID, ~has_steps).limit(100))


def adopt(order: Order) -> None:
    """Plan a paid order that has no steps; harmless when somebody else just did."""
    with transaction():
        order = _lock(order)
        if not order.steps.exists():
            plan(order)


def current(steps: Iterable[Step]) -> list[Step]:
    """Of each mail that was sent again only the newest step: what people are shown."""
    newest: dict[tuple[int, str], Step] = {}
    for step in sorted(steps, key=lambda step: (step.unit_no, step.id)):
        newest[step.unit_no, step.name] = step
    return list(newest.values())


def _add(order: Order, unit_no: int, name: StepName, *, needs: StepName | None, at: datetime, epoch: int = 1) -> Step:
    return Step.create(
        order=order,
        unit_no=unit_no,
        name=name,
        needs=needs,
        epoch=epoch,
        state=StepState.READY if needs is None else StepState.BLOCKED,
        not_before=at,
        # Fixed at birth: every copy of this mail, however often it is tried, carries the same Message-ID.
        message_id=f"{order.ref}.{unit_no}.{name}.{epoch}" if name in MAILS else None,
    )


def _is_due(at: datetime) -> peewee.Expression:
    is_waiting = Step.state.in_(WAITING) & (Step.not_before <= at)
    # A step of a newer version of the product, say after going back to an older one, is not ours to judge.
    return Step.name.in_(list(POLICIES)) & (is_waiting | ((Step.state == StepState.RUNNING) & (Step.lease_until < at)))


def _take(worker: str, *, order_id: int | None, without: Collection[StepName]) -> Step | None:
    now = clock.now()
    due = Step.select(Step.id).where(_is_due(now))
    if without:
        due = due.where(Step.name.not_in(list(without)))
    if order_id is not None:
        due = due.where(Step.order == order_id)
    # A step whose worker died became due when its lease ended: it goes behind the others, so that one that kills its
    # worker again and again keeps nobody waiting.
    due = due.order_by(peewee.fn.COALESCE(Step.lease_until, Step.not_before), Step.id).limit(1)
    found = (due.for_update(skip_locked=True) if is_postgresql() else due).first()
    if found is None:
        return None
    taken = (
        Step.update(
            state=StepState.RUNNING,
            token=Step.token + 1,
            attempt=Step.attempt + 1,
            worker=worker,
            started_at=now,
            lease_until=now + LEASE,
        )
        .where(Step.id == found.id, _is_due(now))
        .execute()
    )
    return Step.get_by_id(found.id) if taken else None


def _close_stale_attempts(step: Step) -> None:
    # An attempt that is still open when the step is claimed again lost its worker; with a mail under way nobody knows
    # whether it arrived, and the next copy carries the same Message-ID.
    outcome = "unknown" if step.send_started_at else "lost"
    StepAttempt.update(ended_at=clock.now(), outcome=outcome, code="worker_died").where(
        StepAttempt.step == step, StepAttempt.ended_at.is_null()
    ).execute()


def _lock(order: Order) -> Order:
    found: Order = locked(Order.select().where(Order.id == order.id)).get()
    return found


def _lock_place(step: Step) -> None:
    # Who locks the order locks its steps next. The rows that go with a step's end name the order, and waiting for it
    # with the step in hand would be a deadlock; so the order comes first here too, as lightly as such a row needs it.
    if is_postgresql():
        place = Order.select(Order.id).where(Order.id == step.order_id)
        place.for_update("FOR KEY SHARE").execute()  # type: ignore[arg-type]


def _locked_voucher(step: Step) -> Voucher | None:
    units = Unit.select(Unit.id).where(Unit.order == step.order_id, Unit.unit_no == step.unit_no)
    found: Voucher | None = locked(Voucher.select().where(Voucher.unit.in_(units))).first()
    return found


def _require_transaction() -> None:
    if not db.in_transaction():
        raise RuntimeError("steps rest and come back inside the transaction that learned why")


def _of(order: Order, unit_nos: Collection[int] | None) -> peewee.Expression:
    whole = Step.order == order.id
    return whole if unit_nos is None else whole & Step.unit_no.in_(list(unit_nos))


def _rest(which: peewee.Expression, *, code: str, at: datetime) -> int:
    """Skip `which` steps, whatever they are at, and end their open attempts."""
    ids = [step.id for step in Step.select(Step.id).where(which)]
    is_open = StepAttempt.step.in_(ids) & StepAttempt.ended_at.is_null()
    resting = Step.update(
        state=StepState.SKIPPED, finished_at=at, lease_until=None, error_code=code, error_text=None
    ).where(Step.id.in_(ids) & which)
    count = int(resting.execute())
    StepAttempt.update(ended_at=at, outcome="skipped", code=code).where(is_open).execute()
    return count


def _is_stoppable(step: Step, at: datetime) -> bool:
    return step.state in WAITING or step.is_planned(at)


def _afresh(step: Step) -> dict[str, object]:
    """What a resting or dead step becomes when it is taken up again, with a new budget."""
    now = clock.now()
    is_planned = step.state == StepState.SKIPPED and step.attempt == 0 and step.not_before > now
    return {
        "state": StepState.READY if _has_what_it_needs(step) else StepState.BLOCKED,
        "not_before": step.not_before if is_planned else now,
        "finished_at": None,
        "attempt": 0,
        "first_failed_at": None,
    }


def _has_what_it_needs(step: Step) -> bool:
    if step.needs is None:
        return True
    same_unit = (Step.order == step.order_id) & (Step.unit_no == step.unit_no)
    return Step.select().where(same_unit, Step.name == step.needs, _opens_the_way()).exists()


def _opens_the_way() -> peewee.Expression:
    # A PDF that cannot be made holds no mail back: the code and the link go out without it.
    is_hopeless = (Step.name == StepName.DOCUMENT) & (Step.state == StepState.DEAD)
    return (Step.state == StepState.DONE) | is_hopeless


def _wake_followers(step: Step) -> None:
    Step.update(state=StepState.READY).where(
        Step.order == step.order_id,
        Step.unit_no == step.unit_no,
        Step.needs == step.name,
        Step.state == StepState.BLOCKED,
    ).execute()


def _skip(step: Step, *, code: str) -> None:
    _update_held(step, state=StepState.SKIPPED, finished_at=clock.now(), lease_until=None, error_code=code)
    _end_attempt(step, "skipped", code=code)
    _record(step, "step_skipped", Failure(code))


def _wait_for_us(step: Step, failure: Failure) -> None:
    """Wait without having tried: the attempt is given back."""
    next_at = clock.now() + max(_OURS_PAUSE, failure.at_least)
    with transaction():
        _update_held(
            step,
            state=StepState.RETRY_WAIT,
            attempt=step.attempt - 1,
            not_before=next_at,
            lease_until=None,
            send_started_at=None,
            error_code=failure.code,
            error_text=failure.detail[:2000],
        )
        _end_attempt(step, "failed", code=failure.code, detail=failure.detail)
        # It asks again every minute, perhaps for a day: said once is enough.
        if step.error_code != failure.code:
            _record(step, "step_failed", failure, next_at=next_at.isoformat())


def _update_held(step: Step, **changes: object) -> None:
    _lock_place(step)
    held = Step.id == step.id, Step.token == step.token, Step.state == StepState.RUNNING
    if not Step.update(**changes).where(*held).execute():
        raise LeaseLost(f"step {step.id} is not ours any more (token {step.token})")


def _bury(step: Step, failure: Failure) -> None:
    _update_held(
        step,
        state=StepState.DEAD,
        finished_at=clock.now(),
        lease_until=None,
        error_code=failure.code,
        error_text=failure.detail[:2000],
    )
    _end_attempt(step, "failed", code=failure.code, detail=failure.detail)
    _record(step, "step_dead", failure)
    if step.name == StepName.DOCUMENT:
        _wake_followers(step)


def _end_attempt(step: Step, outcome: str, *, code: str | None = None, detail: str = "") -> None:
    StepAttempt.update(ended_at=clock.now(), outcome=outcome, code=code, detail=detail[:2000]).where(
        StepAttempt.step == step, StepAttempt.token == step.token
    ).execute()


def _record(step: Step, kind: str, failure: Failure, *, next_at: str | None = None) -> None:
    order = step.order
    timeline.record(
        order.merchant,
        kind,
        order=order,
        step=str(step.name),
        unit_no=step.unit_no,
        attempt=step.attempt,
        code=failure.code,
        detail=failure.detail[:500],
        next_at=next_at,
    )


def _told(order: Order, kind: str, step: Step, *, actor: str = "system", **facts: object) -> None:
    about = {"step": str(step.name), "unit_no": step.unit_no} | facts
    timeline.record(order.merchant, kind, order=order, voucher=None, actor=actor, **about)


def _reopen(step: Step, *, token: int) -> bool:
    is_stopped = (Step.state == StepState.SKIPPED) & Step.error_code.in_(RESUMED_BY_HAND)
    changes = _afresh(step)
    if step.state in TRYING_AGAIN:
        changes = {"state": StepState.READY, "not_before": clock.now(), "finished_at": None}
    is_waiting = Step.state.in_(RETRYABLE) | is_stopped
    return bool(Step.update(**changes).where(Step.id == step.id, Step.token == token, is_waiting).execute())


def _newest_epoch(step: Step) -> Step:
    same = (Step.order == step.order_id) & (Step.unit_no == step.unit_no) & (Step.name == step.name)
    return Step.select().where(same).order_by(Step.epoch.desc()).get()


def _backoff(policy: Policy, attempt: int) -> timedelta:
    # Full jitter: after an outage the orders come back spread out, not all at once.
    ceiling: timedelta = min(policy.cap, policy.base * int(2 ** min(attempt, 20)))
    return ceiling * random.uniform(0.1, 1.0)  # noqa: S311 – jitter, not a secret
