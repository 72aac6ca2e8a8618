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
from domain import checkout, clock, fulfilment, refusals
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
    _dead(order, StepName.DOCUMENT)
    _work_off(order)
    assert {step.name: step.state for step in order.steps} == {
        "create": "done", "document": "dead", "deliver_recipient": "blocked", "receipt": "done",
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
