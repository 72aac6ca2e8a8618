"""The step machine: who works on what, what becomes of failures, and what a person may press."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import peewee
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import database
from domain import checkout, clock, fulfilment, refusals, timeline
from domain.fulfilment import LEASE, POLICIES, Failure, LeaseLost
from domain.states import StepName, StepState
from models import Merchant, Order, Payment, Step, StepAttempt, TimelineEntry, Unit, Worker
from tests import cast as casting
from tests import reports
from tests.reports import at_once, fresh

MAIL = POLICIES[StepName.DELIVER_RECIPIENT]
VIENNA = ZoneInfo("Europe/Vienna")
NOT_NOW = Failure("mail_not_now", "450 try later")


@pytest.fixture
def order(merchant: Merchant) -> Order:
    """A paid order of one voucher for Marie; its steps are create, document, deliver_recipient and receipt."""
    return reports.paid(merchant, "marie@example.com")


def _claim(order: Order | None = None, worker: str = "w1") -> Step:
    step = fulfilment.claim(worker, order_id=order.id if order else None)
    assert step is not None
    return step


def _finish(step: Step) -> None:
    with database.transaction():
        fulfilment.finish(step)


def _step(order: Order, name: str) -> Step:
    return order.steps.where(Step.name == name).order_by(Step.epoch.desc()).get()


def _claim_named(order: Order, name: StepName) -> Step:
    """Work on an order until it is the turn of one step, and take it."""
    while (step := _claim(order)).name != name:
        _finish(step)
    return step


def _work_off(order: Order) -> None:
    while (step := fulfilment.claim("w1", order_id=order.id)) is not None:
        _finish(step)


def _dead(order: Order, name: StepName = StepName.DELIVER_RECIPIENT) -> Step:
    step = _claim_named(order, name)
    fulfilment.fail(step, Failure("bad_address", "550 no such user", is_permanent=True))
    return fresh(step)


def _move_to(moment: datetime) -> None:
    clock.move(moment - clock.now())


# Planning


def test_each_unit_is_planned_and_only_the_first_work_is_ready(order: Order) -> None:
    planned = [(step.unit_no, step.name, step.needs, step.state) for step in order.steps]
    assert planned == [
        (0, "receipt", None, "ready"), (1, "create", None, "ready"), (1, "document", "create", "blocked"),
        (1, "deliver_recipient", "document", "blocked"),
    ]  # fmt: skip


def test_a_buyer_who_keeps_the_voucher_gets_one_mail_and_no_receipt_beside_it(merchant: Merchant) -> None:
    assert [step.name for step in reports.paid(merchant).steps] == ["create", "document", "deliver_buyer"]


@pytest.mark.req("F39")
def test_every_mail_has_its_message_id_from_birth(order: Order) -> None:
    assert {step.name: step.message_id for step in order.steps} == {
        "create": None,
        "document": None,
        "deliver_recipient": f"{order.ref}.1.deliver_recipient.1",
        "receipt": f"{order.ref}.0.receipt.1",
    }


@pytest.mark.req("S1-06", "F22")
def test_a_paid_order_without_steps_is_found_and_planned_once_by_many(order: Order) -> None:
    planned = order.steps.count()
    StepAttempt.delete().execute()
    Step.delete().execute()
    assert fulfilment.unplanned_orders() == [order]
    assert at_once([lambda: fulfilment.adopt(order)] * 8) == [None] * 8
    assert order.steps.count() == planned
    assert fulfilment.unplanned_orders() == []


@pytest.mark.req("S1-02")
def test_an_order_that_is_not_paid_is_nobodys_work(merchant: Merchant) -> None:
    casting.place(merchant)
    assert fulfilment.unplanned_orders() == []
    assert fulfilment.claim("w1") is None


# Claiming


@pytest.mark.req("F20")
def test_eight_workers_at_one_step_are_one(merchant: Merchant) -> None:
    for _ in range(5):
        order = reports.paid(merchant)  # one ready step
        claims = at_once([partial(fulfilment.claim, f"w{number}", order_id=order.id) for number in range(8)])
        assert [type(claim) for claim in claims].count(Step) == 1
        assert claims.count(None) == 7
        step = _step(order, "create")
        assert (step.token, step.attempt, StepAttempt.select().where(StepAttempt.step == step).count()) == (1, 1, 1)


@pytest.mark.req("F20", "F69")
def test_eight_workers_share_the_steps_of_many_orders_without_a_twin(merchant: Merchant) -> None:
    for _ in range(6):
        reports.paid(merchant)

    def work(name: str) -> list[int]:
        done = []
        while (step := fulfilment.claim(name)) is not None:
            _finish(step)
            done.append(step.id)
        return done

    worked = at_once([partial(work, f"w{number}") for number in range(8)])
    assert not [each for each in worked if isinstance(each, Exception)]
    rest = work("last")  # what was freed while the others looked elsewhere
    everything = [step for each in [*worked, rest] for step in each]  # type: ignore[union-attr]
    assert sorted(everything) == sorted(step.id for step in Step.select())
    assert {step.state for step in Step.select()} == {"done"}
    assert StepAttempt.select().count() == 18


def test_work_is_done_in_the_order_in_which_it_fell_due(merchant: Merchant) -> None:
    orders = []
    for _ in range(3):
        orders.append(reports.paid(merchant))
        clock.move(timedelta(seconds=1))
    assert [_claim().order for _ in orders] == orders


@pytest.mark.req("T6")
def test_a_claim_for_one_order_leaves_the_others_alone(merchant: Merchant) -> None:
    first, second = reports.paid(merchant), reports.paid(merchant)
    assert _claim(second).order == second
    assert fulfilment.claim("w1", order_id=second.id) is None
    assert _claim(first).order == first


@pytest.mark.req("F23")
def test_a_bell_for_an_order_that_does_not_exist_is_harmless(order: Order) -> None:
    assert fulfilment.claim("w1", order_id=order.id + 1000) is None


@pytest.mark.req("F21")
def test_a_step_is_taken_again_when_its_lease_is_over_and_not_before(merchant: Merchant) -> None:
    order = reports.paid(merchant)
    first = _claim(order, "slow")
    clock.move(LEASE - timedelta(seconds=2))
    assert fulfilment.claim("fast", order_id=order.id) is None
    clock.move(timedelta(seconds=3))
    second = _claim(order, "fast")
    assert (second.id, second.token, second.attempt, second.worker) == (first.id, first.token + 1, 2, "fast")


@pytest.mark.req("F21")
@pytest.mark.parametrize(
    "act",
    [
        _finish,
        fulfilment.note_sending,
        lambda step: fulfilment.skip(step, code="cancelled"),
        lambda step: fulfilment.fail(step, NOT_NOW),
        lambda step: fulfilment.fail(step, Failure("render_error", is_permanent=True)),
    ],
    ids=["finish", "note_sending", "skip", "fail", "bury"],
)
def test_a_worker_that_wakes_too_late_changes_nothing(merchant: Merchant, act: Callable[[Step], None]) -> None:
    order = reports.paid(merchant)
    late = _claim(order, "slow")
    clock.move(LEASE + timedelta(seconds=1))
    _claim(order, "fast")
    before = list(Step.select().order_by(Step.id).dicts()), StepAttempt.select().count(), TimelineEntry.select().count()
    with pytest.raises(LeaseLost):
        act(late)
    after = list(Step.select().order_by(Step.id).dicts()), StepAttempt.select().count(), TimelineEntry.select().count()
    assert after == before


@pytest.mark.req("F21")
def test_a_living_worker_keeps_its_step_beyond_the_lease_but_not_beyond_the_limit(merchant: Merchant) -> None:
    order = reports.paid(merchant)
    _finish(_claim(order))
    step, limit = _claim(order), POLICIES[StepName.DOCUMENT].limit
    third = LEASE / 3
    for _ in range(int(limit / third) - 1):
        clock.move(third)
        assert fulfilment.extend(step)
        assert fulfilment.claim("w2") is None
    clock.move(third * 2)
    assert not fulfilment.extend(step)
    clock.move(LEASE)
    taken = _claim(order, "w2")
    assert (taken.id, taken.token) == (step.id, step.token + 1)
    with pytest.raises(LeaseLost):
        _finish(step)


@pytest.mark.req("F21")
def test_a_worker_that_lost_its_step_gets_no_more_time_for_it(merchant: Merchant) -> None:
    order = reports.paid(merchant)
    late = _claim(order, "slow")
    clock.move(LEASE + timedelta(seconds=1))
    lease_until = _claim(order, "fast").lease_until
    clock.move(-LEASE)
    with pytest.raises(LeaseLost):
        fulfilment.extend(late)
    assert _step(order, "create").lease_until == lease_until


@pytest.mark.req("F21")
def test_a_worker_that_wakes_after_the_work_was_finished_changes_nothing(merchant: Merchant) -> None:
    order = reports.paid(merchant)
    late = _claim(order, "slow")
    clock.move(LEASE + timedelta(seconds=1))
    _finish(_claim(order, "fast"))
    with pytest.raises(LeaseLost):
        _finish(late)
    with pytest.raises(LeaseLost):
        fulfilment.fail(late, NOT_NOW)
    assert _step(order, "create").state == "done"


def test_a_finished_step_is_not_finished_again_by_the_same_worker(merchant: Merchant) -> None:
    step = _claim(reports.paid(merchant))
    _finish(step)
    with pytest.raises(LeaseLost):
        _finish(step)


@pytest.mark.req("F19")
def test_a_result_that_is_rolled_back_leaves_the_step_unfinished(merchant: Merchant) -> None:
    order = reports.paid(merchant)
    step = _claim(order)
    with pytest.raises(ZeroDivisionError), database.transaction():
        fulfilment.finish(step)
        raise ZeroDivisionError
    assert (fresh(step).state, _step(order, "document").state) == ("running", "blocked")


@pytest.mark.req("F68")
def test_a_step_that_kills_every_worker_ends_dead_and_does_not_block_other_orders(merchant: Merchant) -> None:
    poison = reports.paid(merchant)
    policy = POLICIES[StepName.CREATE]
    for attempt in range(1, policy.attempts + 1):
        assert _claim().attempt == attempt  # and its worker is never heard of again
        clock.move(LEASE + timedelta(seconds=1))
    healthy = reports.paid(merchant)
    assert _claim().order == healthy
    step = _step(poison, "create")
    assert (step.state, step.error_code, step.attempt) == ("dead", "worker_died", policy.attempts + 1)
    ended = StepAttempt.select().where(StepAttempt.step == step)
    assert {(each.outcome, each.code) for each in ended} == {("lost", "worker_died")}
    assert ended.where(StepAttempt.ended_at.is_null()).count() == 0
    assert poison.timeline.where(TimelineEntry.kind == "step_dead").count() == 1


def test_unblocking_follows_the_chain_of_one_unit_alone(merchant: Merchant) -> None:
    order = reports.paid(merchant, "marie@example.com", "jonas@example.com")
    _finish(_claim(order))  # the receipt or a creation
    first = order.steps.where(Step.unit_no == 1, Step.name == "create").get()
    while fresh(first).state != "done":
        step = _claim(order)
        if step == first:
            _finish(step)
    states = {(step.unit_no, step.name): step.state for step in order.steps}
    assert (states[1, "document"], states[1, "deliver_recipient"]) == ("ready", "blocked")
    assert states[2, "document"] == ("ready" if states[2, "create"] == "done" else "blocked")


@pytest.mark.req("S1-23")
def test_a_step_that_died_keeps_its_followers_blocked(order: Order) -> None:
    _dead(order, StepName.CREATE)
    _work_off(order)
    assert {step.name: step.state for step in order.steps} == {
        "create": "dead", "document": "blocked", "deliver_recipient": "blocked", "receipt": "done",
    }  # fmt: skip


@pytest.mark.req("F33")
def test_a_pdf_that_died_holds_no_mail_back(order: Order) -> None:
    _dead(order, StepName.DOCUMENT)
    assert _step(order, "deliver_recipient").state == "ready"
    _work_off(order)
    assert {step.name: step.state for step in order.steps} == {
        "create": "done", "document": "dead", "deliver_recipient": "done", "receipt": "done",
    }  # fmt: skip


# A day for the delivery


@pytest.mark.req("F42")
@pytest.mark.parametrize(
    ("bought_at", "deliver_at"),
    [
        (datetime(2026, 10, 24, 12, tzinfo=UTC), datetime(2026, 10, 25, 2, 30, tzinfo=VIENNA)),
        (datetime(2026, 10, 24, 12, tzinfo=UTC), datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=VIENNA)),
        (datetime(2027, 3, 27, 12, tzinfo=UTC), datetime(2027, 3, 28, 3, 0, tzinfo=VIENNA)),
        (datetime(2028, 2, 28, 12, tzinfo=UTC), datetime(2028, 2, 29, 8, 0, tzinfo=VIENNA)),
        (datetime(2026, 12, 30, 12, tzinfo=UTC), datetime(2027, 1, 1, 0, 0, tzinfo=ZoneInfo("Pacific/Kiritimati"))),
    ],
    ids=["first-half-past-two", "second-half-past-two", "summer-time-begins", "leap-day", "new-year"],
)  # fmt: skip
def test_a_delivery_date_is_kept_to_the_minute(merchant: Merchant, bought_at: datetime, deliver_at: datetime) -> None:
    _move_to(bought_at)
    placed = casting.place(merchant, "marie@example.com")
    Unit.update(deliver_at=deliver_at).where(Unit.order == placed).execute()
    reports.settle(reports.opened(placed))
    _work_off(placed)
    assert [step.name for step in placed.steps if step.state != "done"] == ["deliver_recipient"]
    _move_to(deliver_at.astimezone(UTC) - timedelta(seconds=30))
    assert fulfilment.claim("w1") is None
    _move_to(deliver_at.astimezone(UTC) + timedelta(seconds=1))
    assert _claim().name == "deliver_recipient"


@pytest.mark.req("F42")
def test_a_delivery_date_that_has_passed_means_now(merchant: Merchant) -> None:
    placed = casting.place(merchant, "marie@example.com")
    Unit.update(deliver_at=clock.now() - timedelta(days=3)).where(Unit.order == placed).execute()
    reports.settle(reports.opened(placed))
    _work_off(placed)
    assert _step(placed, "deliver_recipient").state == "done"
    assert _step(placed, "deliver_recipient").not_before >= fresh(placed).paid_at - timedelta(seconds=1)


# Failing


@pytest.mark.req("S1-30")
@settings(deadline=None)
@given(st.sampled_from(sorted(POLICIES)), st.integers(1, 1000))
def test_a_back_off_stays_within_a_tenth_and_the_whole_of_its_ceiling(name: StepName, attempt: int) -> None:
    policy = POLICIES[name]
    wait = fulfilment._backoff(policy, attempt)
    ceiling = min(policy.cap, policy.base * 2 ** min(attempt, 20))
    assert ceiling * 0.1 <= wait <= ceiling <= policy.cap


@pytest.mark.req("S1-28", "S1-30")
def test_a_failed_step_waits_and_says_why_and_until_when(order: Order) -> None:
    step = _claim_named(order, StepName.DELIVER_RECIPIENT)
    fulfilment.fail(step, NOT_NOW)
    step = fresh(step)
    assert (step.state, step.error_code, step.error_text) == ("retry_wait", "mail_not_now", "450 try later")
    assert clock.now() < step.not_before <= clock.now() + MAIL.base * 2
    (attempt,) = step.attempts
    assert (attempt.outcome, attempt.code, attempt.ended_at is None) == ("failed", "mail_not_now", False)
    (told,) = order.timeline.where(TimelineEntry.kind == "step_failed")
    assert datetime.fromisoformat(told.facts["next_at"]) == step.not_before
    _work_off(order)  # the receipt
    assert fulfilment.claim("w1") is None
    _move_to(step.not_before + timedelta(milliseconds=1))
    assert _claim() == step


@pytest.mark.req("F36")
def test_a_greylisted_mail_waits_as_long_as_it_was_asked_to(order: Order) -> None:
    step = _claim_named(order, StepName.DELIVER_RECIPIENT)
    before = clock.now()
    fulfilment.fail(step, Failure("mail_not_now", at_least=timedelta(minutes=5)))
    assert fresh(step).not_before >= before + timedelta(minutes=5)


@pytest.mark.req("F37", "S1-30")
def test_a_permanent_failure_asks_for_a_person_at_once(order: Order) -> None:
    step = _dead(order)
    assert (step.state, step.error_code, step.attempt, step.lease_until) == ("dead", "bad_address", 1, None)
    clock.move(timedelta(days=365))
    _work_off(order)
    assert fresh(step).state == "dead"
    assert order.timeline.where(TimelineEntry.kind == "step_dead").count() == 1


@pytest.mark.parametrize("name", [StepName.CREATE, StepName.DOCUMENT])
def test_after_its_last_attempt_a_step_is_dead(order: Order, name: StepName) -> None:
    policy = POLICIES[name]
    for attempt in range(1, policy.attempts + 1):
        step = _claim_named(order, name)
        assert step.attempt == attempt
        fulfilment.fail(step, Failure("unexpected"))
        assert fresh(step).state == ("dead" if attempt == policy.attempts else "retry_wait")
        clock.move(policy.cap + timedelta(seconds=1))


@pytest.mark.req("F36")
def test_a_mail_is_tried_for_72_hours_from_its_first_failure_and_then_is_dead(order: Order) -> None:
    first_failed_at = None
    while True:
        step = _claim_named(order, StepName.DELIVER_RECIPIENT)
        first_failed_at = first_failed_at or clock.now()
        fulfilment.fail(step, NOT_NOW)
        tried_for = clock.now() - first_failed_at
        step = fresh(step)
        if step.state == StepState.DEAD:
            break
        assert tried_for <= timedelta(hours=72, seconds=5)
        assert step.not_before - clock.now() <= timedelta(hours=6)
        _move_to(step.not_before + timedelta(milliseconds=1))
    assert timedelta(hours=72) < tried_for <= timedelta(hours=78, seconds=5)
    assert step.attempt <= MAIL.attempts


def test_a_very_long_error_is_kept_at_a_bearable_length(order: Order) -> None:
    step = _claim(order)
    fulfilment.fail(step, Failure("unexpected", "x" * 100_000))
    assert len(fresh(step).error_text) == len(step.attempts.get().detail) == 2000


@pytest.mark.req("F39")
def test_a_mail_of_unknown_fate_keeps_the_moment_it_was_sent_and_its_message_id(order: Order) -> None:
    step = _claim_named(order, StepName.DELIVER_RECIPIENT)
    fulfilment.note_sending(step)
    sent_at, message_id = fresh(step).send_started_at, step.message_id
    assert sent_at is not None
    fulfilment.fail(step, Failure("mail_unknown", "no answer after the dot", is_unknown=True))
    step = fresh(step)
    assert (step.state, step.send_started_at, step.message_id) == ("unknown", sent_at, message_id)
    assert step.attempts.get().outcome == "unknown"
    _move_to(step.not_before + timedelta(milliseconds=1))
    again = _claim_named(order, StepName.DELIVER_RECIPIENT)
    assert (again.id, again.message_id) == (step.id, message_id)


@pytest.mark.req("F39")
def test_a_mail_that_surely_did_not_leave_forgets_that_it_was_being_sent(order: Order) -> None:
    step = _claim_named(order, StepName.DELIVER_RECIPIENT)
    fulfilment.note_sending(step)
    fulfilment.fail(step, NOT_NOW)
    assert (fresh(step).state, fresh(step).send_started_at) == ("retry_wait", None)


@pytest.mark.req("F39")
def test_a_worker_that_died_while_sending_leaves_an_attempt_of_unknown_fate(order: Order) -> None:
    step = _claim_named(order, StepName.DELIVER_RECIPIENT)
    fulfilment.note_sending(step)
    clock.move(LEASE + timedelta(seconds=1))
    again = _claim_named(order, StepName.DELIVER_RECIPIENT)
    assert (again.id, again.message_id) == (step.id, step.message_id)
    assert [attempt.outcome for attempt in again.attempts.order_by(StepAttempt.token)] == ["unknown", None]


def test_a_skipped_step_is_over_and_says_why(order: Order) -> None:
    step = _claim_named(order, StepName.DELIVER_RECIPIENT)
    fulfilment.skip(step, code="voucher_cancelled")
    skipped = fresh(step)
    assert (skipped.state, skipped.error_code, skipped.lease_until) == ("skipped", "voucher_cancelled", None)
    clock.move(timedelta(days=30))
    _work_off(order)
    assert fresh(step).state == "skipped"


# Buttons


@pytest.mark.req("S1-33", "F44")
def test_a_dead_step_is_tried_again_with_a_new_budget_and_the_same_message_id(order: Order) -> None:
    dead = _dead(order)
    clock.move(timedelta(days=10))
    fulfilment.retry(order, dead.id, token=dead.token, actor="Anna")
    step = fresh(dead)
    assert (step.state, step.attempt, step.first_failed_at, step.message_id) == ("ready", 0, None, dead.message_id)
    assert [entry.actor for entry in order.timeline if entry.kind == "step_retried"] == ["Anna"]
    step = _claim_named(order, StepName.DELIVER_RECIPIENT)
    assert (step.id, step.attempt, step.token) == (dead.id, 1, dead.token + 1)
    fulfilment.fail(step, NOT_NOW)  # the 72 hours begin anew
    assert fresh(step).state == "retry_wait"


@pytest.mark.req("S1-33")
@pytest.mark.parametrize("failure", [NOT_NOW, Failure("mail_unknown", is_unknown=True)], ids=["waiting", "unknown"])
def test_a_waiting_step_is_tried_now(order: Order, failure: Failure) -> None:
    step = _claim_named(order, StepName.DELIVER_RECIPIENT)
    fulfilment.fail(step, failure)
    fulfilment.retry(order, step.id, token=step.token, actor="Anna")
    assert _claim_named(order, StepName.DELIVER_RECIPIENT) == step


@pytest.mark.req("F44")
def test_ten_clicks_on_retry_are_one_attempt(order: Order) -> None:
    dead = _dead(order)
    _work_off(order)
    answers = at_once([lambda: fulfilment.retry(order, dead.id, token=dead.token, actor="Anna")] * 10)
    assert answers.count(None) == 1
    assert [type(answer) for answer in answers].count(refusals.StepNotRetryable) == 9
    assert order.timeline.where(TimelineEntry.kind == "step_retried").count() == 1
    _work_off(order)
    assert (fresh(dead).state, fresh(dead).token) == ("done", dead.token + 1)


@pytest.mark.req("F44")
def test_an_old_page_cannot_retry_a_step_that_has_moved_on(order: Order) -> None:
    step = _claim_named(order, StepName.DELIVER_RECIPIENT)
    fulfilment.fail(step, NOT_NOW)
    old_token = step.token
    fulfilment.retry(order, step.id, token=old_token, actor="Anna")
    fulfilment.fail(_claim_named(order, StepName.DELIVER_RECIPIENT), NOT_NOW)
    before = fresh(step)
    with pytest.raises(refusals.StepNotRetryable):
        fulfilment.retry(order, step.id, token=old_token, actor="Anna")
    assert fresh(step).not_before == before.not_before


@pytest.mark.parametrize("state", ["blocked", "ready", "running", "done", "skipped"])
def test_a_step_that_waits_for_nobody_is_not_retried(order: Order, state: str) -> None:
    step = _step(order, "deliver_recipient")
    if state == "ready":
        _finish(_claim_named(order, StepName.DOCUMENT))
    elif state != "blocked":
        held = _claim_named(order, StepName.DELIVER_RECIPIENT)
        if state == "done":
            _finish(held)
        elif state == "skipped":
            fulfilment.skip(held, code="x")
    step = fresh(step)
    assert step.state == state
    with pytest.raises(refusals.StepNotRetryable):
        fulfilment.retry(order, step.id, token=step.token, actor="Anna")
    with pytest.raises(refusals.StepNotRetryable):
        fulfilment.correct_address(order, step.id, email="m@example.com", token=step.token, actor="Anna")
    assert fresh(step).state == state
    assert order.units.get().recipient_email == "marie@example.com"


@pytest.mark.req("T6")
def test_a_step_of_another_order_is_out_of_reach(order: Order, other_merchant: Merchant) -> None:
    mine, theirs = _dead(order), reports.paid(other_merchant, "x@example.com")
    for press in (
        lambda: fulfilment.retry(theirs, mine.id, token=mine.token, actor="Carla"),
        lambda: fulfilment.correct_address(theirs, mine.id, email="evil@example.com", token=mine.token, actor="Carla"),
        lambda: fulfilment.resend(theirs, mine.id, token=mine.token, actor="Carla"),
    ):
        with pytest.raises(refusals.StepNotRetryable):
            press()
    assert fresh(mine).state == "dead"
    assert order.units.get().recipient_email == "marie@example.com"


@pytest.mark.req("F37", "S1-33")
def test_a_corrected_address_of_the_recipient_is_used_and_remembered(order: Order) -> None:
    dead = _dead(order)
    fulfilment.correct_address(order, dead.id, email="marie@example.org", token=dead.token, actor="Anna")
    assert (fresh(dead).state, order.units.get().recipient_email) == ("ready", "marie@example.org")
    assert fresh(order).buyer_email == "lukas@example.com"
    (told,) = order.timeline.where(TimelineEntry.kind == "address_corrected")
    assert (told.facts["old_email"], told.facts["new_email"]) == ("marie@example.com", "marie@example.org")


def test_a_corrected_address_of_the_receipt_is_the_buyers(order: Order) -> None:
    dead = _dead(order, StepName.RECEIPT)
    fulfilment.correct_address(order, dead.id, email="lukas@example.org", token=dead.token, actor="Anna")
    assert (fresh(order).buyer_email, order.units.get().recipient_email) == ("lukas@example.org", "marie@example.com")


def test_only_a_mail_has_an_address(order: Order) -> None:
    dead = _dead(order, StepName.DOCUMENT)
    with pytest.raises(refusals.StepNotRetryable):
        fulfilment.correct_address(order, dead.id, email="x@example.com", token=dead.token, actor="Anna")
    assert fresh(dead).state == "dead"


@pytest.mark.req("F44")
def test_ten_corrections_at_once_are_one_and_the_address_is_the_one_that_was_told(order: Order) -> None:
    dead = _dead(order)
    correct = partial(fulfilment.correct_address, order, dead.id, token=dead.token, actor="Anna")
    assert at_once([partial(correct, email=f"m{number}@example.com") for number in range(10)]).count(None) == 1
    (told,) = order.timeline.where(TimelineEntry.kind == "address_corrected")
    assert order.units.get().recipient_email == told.facts["new_email"]


@pytest.mark.req("F44", "S1-33")
def test_a_mail_that_went_out_is_sent_again_as_a_new_one_without_touching_the_old(order: Order) -> None:
    _work_off(order)
    first = _step(order, "deliver_recipient")
    second = fulfilment.resend(order, first.id, token=first.token, actor="Anna")
    assert (second.epoch, second.state, second.needs) == (2, "ready", None)
    assert second.message_id == f"{order.ref}.1.deliver_recipient.2" != first.message_id
    _work_off(order)
    assert (fresh(first).state, fresh(second).state) == ("done", "done")
    assert [step.epoch for step in fulfilment.current(order.steps) if step.name == "deliver_recipient"] == [2]
    assert order.timeline.where(TimelineEntry.kind == "mail_sent_again").count() == 1


@pytest.mark.req("F44")
def test_ten_clicks_on_resend_are_one_mail(order: Order) -> None:
    _work_off(order)
    step = _step(order, "deliver_recipient")
    answers = at_once([lambda: fulfilment.resend(order, step.id, token=step.token, actor="Anna")] * 10)
    assert [type(answer) for answer in answers].count(Step) == 1
    assert [type(answer) for answer in answers].count(refusals.StepNotRetryable) == 9
    assert order.steps.where(Step.name == "deliver_recipient").count() == 2


def test_only_the_newest_mail_that_went_out_is_sent_again(order: Order) -> None:
    waiting = _step(order, "deliver_recipient")
    with pytest.raises(refusals.StepNotRetryable):
        fulfilment.resend(order, waiting.id, token=waiting.token, actor="Anna")
    _work_off(order)
    first = _step(order, "deliver_recipient")
    with pytest.raises(refusals.StepNotRetryable):
        fulfilment.resend(order, first.id, token=first.token + 1, actor="Anna")
    document = _step(order, "document")
    with pytest.raises(refusals.StepNotRetryable):
        fulfilment.resend(order, document.id, token=document.token, actor="Anna")
    fulfilment.resend(order, first.id, token=first.token, actor="Anna")
    _work_off(order)
    with pytest.raises(refusals.StepNotRetryable):
        fulfilment.resend(order, first.id, token=first.token, actor="Anna")
    newest = _step(order, "deliver_recipient")
    assert fulfilment.resend(order, newest.id, token=newest.token, actor="Anna").epoch == 3


# Signs of life


@pytest.mark.req("F67")
def test_a_worker_beats_in_one_row_and_a_vanished_one_is_forgotten(merchant: Merchant) -> None:
    fulfilment.beat("old")
    clock.move(timedelta(days=3))
    fulfilment.beat("new")
    started_at = Worker.get(Worker.name == "new").started_at
    clock.move(timedelta(seconds=30))
    fulfilment.beat("new")
    (worker,) = Worker.select()
    assert (worker.name, worker.started_at) == ("new", started_at)
    assert worker.seen_at - started_at >= timedelta(seconds=30)
    assert Worker.latest() == worker


@pytest.mark.req("F67")
def test_the_oldest_due_step_tells_since_when_work_has_been_waiting(order: Order) -> None:
    assert fulfilment.oldest_due_at(clock.now()) == min(step.not_before for step in order.steps)
    _work_off(order)
    assert fulfilment.oldest_due_at(clock.now()) is None


def test_a_worker_cannot_be_credited_twice_for_one_claim(order: Order) -> None:
    step = _claim(order)
    with pytest.raises(peewee.IntegrityError), database.transaction():
        StepAttempt.create(step=step, attempt=step.attempt, token=step.token, worker="w2", started_at=clock.now())


@pytest.mark.req("F23", "F5")
def test_the_steps_of_an_order_appear_in_the_moment_it_is_paid(merchant: Merchant) -> None:
    payment = reports.opened(casting.place(merchant))
    seen: list[tuple[bool, bool]] = []

    def look() -> None:
        for _ in range(200):
            order = Payment.get_by_id(payment.id).order
            has_steps = order.steps.exists()
            seen.append((order.is_paid, has_steps))

    at_once([look, lambda: reports.settle(payment)])
    assert (True, False) not in seen
    assert checkout.settle(payment, reports.about(payment), source=checkout.Source.BUTTON) == "already_settled"


# Resting and coming back


def _skip_open(order: Order, code: str = "frozen", **more: object) -> int:
    with database.transaction():
        return fulfilment.skip_open(order, code=code, **more)  # type: ignore[arg-type]


def _resume(order: Order, *codes: str, **more: object) -> int:
    with database.transaction():
        return fulfilment.resume(order, codes=codes or ("frozen",), **more)  # type: ignore[arg-type]


def _states(order: Order) -> dict[str, str]:
    return {f"{step.unit_no}.{step.name}": str(step.state) for step in order.steps}


@pytest.mark.req("F43", "F58")
def test_a_rest_takes_everything_unfinished_and_a_worker_that_is_at_it_loses_it(order: Order) -> None:
    running = _claim_named(order, StepName.DOCUMENT)
    assert _skip_open(order) == 3
    assert _states(order) == {
        "0.receipt": "skipped", "1.create": "done", "1.document": "skipped", "1.deliver_recipient": "skipped",
    }  # fmt: skip
    for late in (_finish, lambda step: fulfilment.fail(step, NOT_NOW), fulfilment.note_sending):
        with pytest.raises(LeaseLost):
            late(running)
    attempt = StepAttempt.get(StepAttempt.step == running)
    assert (attempt.outcome, attempt.code) == ("skipped", "frozen") and attempt.ended_at is not None
    assert fulfilment.claim("w1") is None
    assert _skip_open(order) == 0


@pytest.mark.req("F58")
def test_what_rested_comes_back_in_its_order_and_is_worked_off(order: Order) -> None:
    _claim_named(order, StepName.DOCUMENT)
    _skip_open(order)
    assert _resume(order) == 3
    assert _states(order) == {
        "0.receipt": "ready", "1.create": "done", "1.document": "ready", "1.deliver_recipient": "blocked",
    }  # fmt: skip
    _work_off(order)
    assert set(_states(order).values()) == {"done"}
    assert _resume(order) == 0


@pytest.mark.req("F58")
def test_an_order_that_rested_before_anything_was_made_starts_at_the_beginning(order: Order) -> None:
    assert _skip_open(order) == 4
    assert _resume(order) == 4
    assert _states(order) == {
        "0.receipt": "ready", "1.create": "ready", "1.document": "blocked", "1.deliver_recipient": "blocked",
    }  # fmt: skip


@pytest.mark.req("F58")
def test_a_dead_or_tired_step_comes_back_with_a_new_budget(order: Order) -> None:
    step = _claim_named(order, StepName.DELIVER_RECIPIENT)
    fulfilment.fail(step, NOT_NOW)
    _skip_open(order)
    clock.move(timedelta(days=30))  # far beyond the mail's window of three days
    _resume(order)
    back = fresh(step)
    assert (back.state, back.attempt, back.first_failed_at) == ("ready", 0, None)
    fulfilment.fail(_claim_named(order, StepName.DELIVER_RECIPIENT), NOT_NOW)
    assert fresh(step).state == "retry_wait"


@pytest.mark.req("F42", "F58")
def test_a_planned_mail_keeps_its_day_over_a_rest(merchant: Merchant) -> None:
    placed, day = casting.place(merchant, "marie@example.com"), clock.now() + timedelta(days=9)
    Unit.update(deliver_at=day).where(Unit.order == placed).execute()
    reports.settle(reports.opened(placed))
    _work_off(placed)
    _skip_open(placed)
    _resume(placed)
    step = _step(placed, "deliver_recipient")
    assert (step.state, step.not_before) == ("ready", day)
    assert fulfilment.claim("w1") is None
    _skip_open(placed)
    _move_to(day + timedelta(days=1))
    _resume(placed)
    assert _claim().name == "deliver_recipient"


@pytest.mark.req("F43")
def test_one_unit_can_rest_alone_and_the_receipt_stays(merchant: Merchant) -> None:
    order = reports.paid(merchant, "marie@example.com", "jonas@example.com")
    assert _skip_open(order, "refunded", unit_nos={2}) == 3
    _work_off(order)
    assert _states(order) == {
        "0.receipt": "done", "1.create": "done", "1.document": "done", "1.deliver_recipient": "done",
        "2.create": "skipped", "2.document": "skipped", "2.deliver_recipient": "skipped",
    }  # fmt: skip


@pytest.mark.req("F43", "F56")
def test_what_only_rested_is_over_when_the_money_is_gone(order: Order) -> None:
    _skip_open(order, "frozen")
    assert _skip_open(order, "refunded") == 4
    assert _resume(order, "frozen", "stopped") == 0
    assert fulfilment.claim("w1") is None


def test_a_persons_stop_outlives_a_freeze(order: Order) -> None:
    step = _step(order, "receipt")
    fulfilment.stop(order, step.id, token=step.token, actor="anna")
    _skip_open(order, "frozen")
    _resume(order, "frozen")
    assert (fresh(step).state, fresh(step).error_code) == ("skipped", "stopped")


def test_rest_and_return_belong_to_the_transaction_that_learned_why(order: Order) -> None:
    with pytest.raises(RuntimeError):
        fulfilment.skip_open(order, code="frozen")
    with pytest.raises(RuntimeError):
        fulfilment.resume(order, codes={"frozen"})


# Stopping by hand


def test_a_planned_mail_is_stopped_resumed_and_keeps_its_day(merchant: Merchant) -> None:
    placed, day = casting.place(merchant, "marie@example.com"), clock.now() + timedelta(days=9)
    Unit.update(deliver_at=day).where(Unit.order == placed).execute()
    reports.settle(reports.opened(placed))
    _work_off(placed)
    step = _step(placed, "deliver_recipient")
    fulfilment.stop(placed, step.id, token=step.token, actor="anna")
    assert (fresh(step).state, fresh(step).error_code) == ("skipped", "stopped")
    _move_to(day - timedelta(days=1))
    assert fulfilment.claim("w1") is None
    fulfilment.retry(placed, step.id, token=step.token, actor="anna")
    assert (fresh(step).state, fresh(step).not_before) == ("ready", day)
    told = [entry.kind for entry in placed.timeline if entry.actor == "anna"]
    assert told == ["step_retried", "step_stopped"]


def test_a_stop_before_the_voucher_exists_is_resumed_behind_it(order: Order) -> None:
    clock_step = _step(order, "deliver_recipient")
    Step.update(not_before=clock.now() + timedelta(days=1)).where(Step.id == clock_step.id).execute()
    fulfilment.stop(order, clock_step.id, token=0, actor="anna")
    fulfilment.retry(order, clock_step.id, token=0, actor="anna")
    assert fresh(clock_step).state == "blocked"


def test_what_is_worked_on_done_or_blocked_can_not_be_stopped(order: Order) -> None:
    blocked, running = _step(order, "document"), _claim(order)
    done = _claim(order)
    _finish(done)
    for step in (blocked, fresh(running), fresh(done)):
        with pytest.raises(refusals.StepNotRetryable):
            fulfilment.stop(order, step.id, token=step.token, actor="anna")


@pytest.mark.req("F44")
def test_a_stop_with_an_old_page_stops_nothing(order: Order) -> None:
    step = _claim_named(order, StepName.DELIVER_RECIPIENT)
    fulfilment.fail(step, NOT_NOW)
    with pytest.raises(refusals.StepNotRetryable):
        fulfilment.stop(order, step.id, token=step.token - 1, actor="anna")
    fulfilment.stop(order, step.id, token=step.token, actor="anna")
    assert fresh(step).state == "skipped"


@pytest.mark.req("F58")
def test_what_a_freeze_stopped_is_no_persons_to_resume(order: Order) -> None:
    _skip_open(order)
    step = _step(order, "receipt")
    with pytest.raises(refusals.StepNotRetryable):
        fulfilment.retry(order, step.id, token=step.token, actor="anna")


# Our own mistakes


@pytest.mark.req("F38")
def test_a_mistake_of_ours_uses_up_no_attempt_and_no_day(order: Order) -> None:
    step = _claim_named(order, StepName.DELIVER_RECIPIENT)
    _work_off(order)
    fulfilment.fail(step, NOT_NOW)
    before = fresh(step)
    for _ in range(3 * MAIL.attempts):
        clock.move(timedelta(hours=2))
        fulfilment.fail(_claim(order), Failure("mail_ours", "535 no", is_ours=True))
    after = fresh(step)
    assert (after.state, after.attempt, after.first_failed_at) == ("retry_wait", 1, before.first_failed_at)
    assert after.not_before - clock.now() <= timedelta(seconds=60)
    assert [entry.facts["code"] for entry in order.timeline if entry.kind == "step_failed"] == [
        "mail_ours", "mail_not_now",
    ]  # fmt: skip


@pytest.mark.req("F38")
def test_names_that_are_not_taken_now_stay_and_lose_nothing(order: Order) -> None:
    taken = []
    while (step := fulfilment.claim("w1", without=(StepName.RECEIPT, StepName.DELIVER_RECIPIENT))) is not None:
        taken.append(step.name)
        _finish(step)
    assert taken == ["create", "document"]
    assert {(step.state, step.attempt) for step in order.steps if step.is_mail} == {("ready", 0)}


@pytest.mark.req("F38")
def test_so_many_orders_in_a_row_are_an_outage_and_one_success_between_is_none(merchant: Merchant) -> None:
    def mail_of(order: Order) -> Step:
        return _claim_named(order, StepName.DELIVER_BUYER)

    gone = Failure("mail_unreachable", "nobody")
    for _ in range(3):
        step = mail_of(reports.paid(merchant))
        assert not fulfilment.is_outage(step, code="mail_unreachable", orders=4)
        fulfilment.fail(step, gone)
    fourth = mail_of(reports.paid(merchant))
    assert fulfilment.is_outage(fourth, code="mail_unreachable", orders=4)
    _finish(fourth)
    assert not fulfilment.is_outage(mail_of(reports.paid(merchant)), code="mail_unreachable", orders=4)


@pytest.mark.req("F38")
def test_one_order_that_fails_and_fails_is_no_outage(order: Order) -> None:
    for _ in range(8):
        step = _claim_named(order, StepName.DELIVER_RECIPIENT)
        assert not fulfilment.is_outage(step, code="mail_unreachable", orders=3)
        fulfilment.fail(step, Failure("mail_unreachable", "nobody"))
        clock.move(timedelta(hours=6))


@pytest.mark.req("F38")
def test_what_waited_for_one_reason_is_hastened_and_the_rest_keeps_its_pause(merchant: Merchant) -> None:
    steps = []
    for code in ("mail_unreachable", "mail_not_now"):
        steps.append(_claim_named(reports.paid(merchant), StepName.DELIVER_BUYER))
        fulfilment.fail(steps[-1], Failure(code, at_least=timedelta(hours=1)))
    assert fulfilment.hasten(("mail_unreachable", "mail_ours")) == 1
    assert _claim() == steps[0]
    assert fulfilment.claim("w1") is None


# Letters that come back


def _sent(order: Order) -> Step:
    step = _claim_named(order, StepName.DELIVER_RECIPIENT)
    _finish(step)
    _work_off(order)
    return fresh(step)


@pytest.mark.req("F41")
@pytest.mark.parametrize("form", ["{}", "<{}@shop.example>", " <{}@shop.example> "])
def test_a_mail_that_came_back_is_dead_and_asks_for_an_address(order: Order, form: str) -> None:
    step = _sent(order)
    bounced = fulfilment.bounce(form.format(step.message_id), detail="5.1.1 no such user")
    assert bounced is not None
    assert (bounced.state, bounced.error_code, bounced.error_text) == ("dead", "bounced", "5.1.1 no such user")
    assert fulfilment.bounce(str(step.message_id), detail="again") is None
    (told,) = [entry.facts for entry in order.timeline if entry.kind == "mail_bounced"]
    assert (told["to"], told["detail"]) == ("marie@example.com", "5.1.1 no such user")
    fulfilment.correct_address(order, step.id, email="marie@example.org", token=step.token, actor="anna")
    again = _claim(order)
    assert (again.id, again.message_id, again.attempt) == (step.id, step.message_id, 1)


@pytest.mark.req("F41")
def test_a_mail_that_came_back_can_be_tried_again(order: Order) -> None:
    step = _sent(order)
    fulfilment.bounce(str(step.message_id), detail="5.2.2 mailbox full")
    fulfilment.retry(order, step.id, token=step.token, actor="anna")
    _finish(_claim(order))
    assert fresh(step).state == "done"
    assert fulfilment.bounce(str(step.message_id), detail="5.2.2 still full") is not None


@pytest.mark.req("F41")
def test_a_copy_that_came_back_hits_its_own_step_and_an_older_copy_kills_nothing(order: Order) -> None:
    first = _sent(order)
    fulfilment.resend(order, first.id, token=first.token, actor="anna")
    second = _claim(order)
    _finish(second)
    assert fulfilment.bounce(str(first.message_id), detail="5.1.1") == first
    assert (fresh(first).state, fresh(first).error_code, fresh(second).state) == ("done", "bounced", "done")
    assert fulfilment.bounce(str(first.message_id), detail="5.1.1") is None
    assert fulfilment.bounce(str(second.message_id), detail="5.1.1") == second
    assert (fresh(second).state, fresh(second).error_code) == ("dead", "bounced")


@pytest.mark.req("F41")
@pytest.mark.parametrize("message_id", ["", "<>", "nonsense", "<x@y>", "%", "<" + "a" * 5000 + "@b>", "\u2028'--"])
def test_a_bounce_of_a_mail_that_nobody_knows_changes_nothing(order: Order, message_id: str) -> None:
    _sent(order)
    before = _states(order)
    assert fulfilment.bounce(message_id, detail="5.1.1") is None
    assert _states(order) == before


@pytest.mark.req("F41")
def test_a_mail_that_is_still_under_way_does_not_bounce(order: Order) -> None:
    step = _claim_named(order, StepName.DELIVER_RECIPIENT)
    assert fulfilment.bounce(str(step.message_id), detail="5.1.1") is None
    _finish(step)


# A voucher that changes while its mail is under way


def _with_voucher(order: Order) -> Step:
    """The mail step of an order whose voucher exists, claimed."""
    voucher, _code = casting.issue(order.merchant, unit=order.units.get())
    step = _claim_named(order, StepName.DELIVER_RECIPIENT)
    assert step.unit.voucher == voucher
    return step


@pytest.mark.req("F43")
@pytest.mark.parametrize(("status", "code"), [("suspended", "voucher_suspended"), ("cancelled", "voucher_cancelled")])
def test_a_voucher_that_was_withheld_meanwhile_is_not_sent(order: Order, status: str, code: str) -> None:
    step = _with_voucher(order)
    casting.set_status(step.unit.voucher, status)
    assert not fulfilment.note_sending(step)
    assert (fresh(step).state, fresh(step).error_code, fresh(step).send_started_at) == ("skipped", code, None)


@pytest.mark.req("F43")
def test_a_voucher_that_may_go_out_is_noted_and_the_receipt_needs_none(order: Order) -> None:
    assert fulfilment.note_sending(_with_voucher(order))
    assert fulfilment.note_sending(_claim_named(order, StepName.RECEIPT))


@pytest.mark.req("F43")
@pytest.mark.timeout(300)
def test_in_a_hundred_races_of_a_suspension_with_a_sending_one_of_them_is_first(merchant: Merchant) -> None:
    for _ in range(100):
        step = _with_voucher(reports.paid(merchant, "marie@example.com"))
        voucher = step.unit.voucher
        may_send, _done = at_once(
            [partial(fulfilment.note_sending, step), partial(casting.set_status, voucher, "suspended")]
        )
        # Whoever sends was allowed to before the suspension; afterwards nobody is.
        assert may_send in (True, False), may_send
        state = fresh(step)
        assert (state.state, bool(state.send_started_at)) == (("running", True) if may_send else ("skipped", False))
        if may_send:
            with database.transaction():
                fulfilment.skip_open(step.order, code="frozen")


@pytest.mark.req("F43", "F58")
@pytest.mark.timeout(300)
def test_a_freeze_and_a_worker_that_finishes_never_block_each_other(merchant: Merchant) -> None:
    def freeze(order: Order) -> int:
        with database.transaction():
            database.locked(Order.select().where(Order.id == order.id)).get()
            return fulfilment.skip_open(order, code="frozen")

    def finish(step: Step) -> None:
        with database.transaction():
            fulfilment.finish(step)
            timeline.record(step.order.merchant, "mail_sent", order=step.order)

    for _ in range(50):
        order = reports.paid(merchant)
        step = _claim(order)
        frozen, finished = at_once([partial(freeze, order), partial(finish, step)])
        assert isinstance(frozen, int), frozen
        assert finished is None or isinstance(finished, LeaseLost), finished


# Rows of a newer version


@pytest.mark.req("F29")
def test_a_step_of_a_newer_version_is_left_alone(engine: str, order: Order) -> None:
    receipt = _step(order, "receipt")
    if engine == "sqlite":
        database.db.execute_sql("PRAGMA ignore_check_constraints = 1")
    else:
        database.db.execute_sql("ALTER TABLE steps DROP CONSTRAINT steps_name_check")
    Step.update(name="wallet_pass").where(Step.id == receipt.id).execute()
    _work_off(order)
    assert fresh(receipt).state == "ready"
    assert fulfilment.claim("w1") is None
    assert _skip_open(order) == 1
