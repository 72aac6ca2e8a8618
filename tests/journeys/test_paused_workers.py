"""Workers that sleep longer than their lease, many on one step, and somebody else who holds the database's lock."""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial

import flask
import peewee
import pytest

import config
from domain import fulfilment
from domain.states import StepName, StepState
from effects import payment, work
from gateways.stripe_twin import Twin
from models import Entry, Merchant, Order, Step, StepAttempt, TimelineEntry, Voucher, Worker
from tests import cast as casting
from tests import processes, sales
from tests.browser import Browser
from tests.faults import locks, promises, recovery
from tests.reports import at_once, fresh, paid
from tests.smtp import ScriptedServer

PAUSES = 8
CLAIMS = int(os.environ.get("CLAIMS", "60"))


@pytest.mark.req("F21", "F39")
def test_a_worker_that_sleeps_through_its_lease_throws_its_result_away(
    client: Browser,
    twin: Twin,
    smtp: ScriptedServer,
    cast: casting.Cast,
    settings: config.Settings,
    sweep: Callable[[], dict[str, int]],
) -> None:
    with processes.worker(settings, sweep_seconds=600) as running:
        processes.wait_until(lambda: Worker.select().exists(), what="the worker's first heartbeat")
        # The server has its letter; it waits for the answer, and then it is not there any more.
        smtp.delay("AFTER_DOT", 2)
        order = sales.pay(client, twin, sales.order(client, amount="50"))
        processes.wait_until(lambda: len(smtp.messages) == 1, what="the mail")
        with asleep(running):
            recovery.let_time_pass(order.id)
            sweep()
            step = order.steps.where(Step.name == StepName.DELIVER_BUYER).get()
            assert (step.state, step.token, len(smtp.messages)) == (StepState.DONE, 2, 2)
        # It goes on with other work, so it has finished with this one.
        other = sales.pay(client, twin, sales.order(client, amount="25", buyer_email="other@example.com"))
        processes.wait_until(lambda: not recovery.is_anything_open(other.id), what="the next sale")
    assert fresh(step) == step and fresh(step).token == 2
    assert [attempt.outcome for attempt in attempts(step)] == ["unknown", "done"]
    told = TimelineEntry.select().where(TimelineEntry.order == order, TimelineEntry.kind == "mail_sent")
    assert told.count() == 1
    for each in (order, other):
        promises.assert_kept(each, smtp.messages)
    promises.assert_books()


@pytest.mark.req("F20", "F21", "F19")
@pytest.mark.timeout(300)
def test_workers_paused_at_any_moment_make_one_voucher_for_each_unit(
    client: Browser,
    twin: Twin,
    smtp: ScriptedServer,
    cast: casting.Cast,
    settings: config.Settings,
    chance: random.Random,
) -> None:
    sold = []
    with processes.worker(settings) as running:
        processes.wait_until(lambda: Worker.select().exists(), what="the worker's first heartbeat")
        for number in range(PAUSES):
            email = f"buyer{number}@example.com"
            order = sales.pay(client, twin, sales.order(client, amount="50", buyer_email=email))
            wait_for_work(order, chance)
            # If it sleeps inside a transaction nobody can write until it wakes, and that is all.
            with asleep(running), contextlib.suppress(peewee.OperationalError):
                recovery.let_time_pass(order.id)
                work.run_due("second", order_id=order.id)
            sold.append(order)
        processes.wait_until(lambda: not sum(is_still_open(order) for order in sold), what="every sale")
    for order in sold:
        promises.assert_kept(order, smtp.messages, copies=3)
    promises.assert_books()


@pytest.mark.req("F20")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("workers", [2, 8])
def test_of_many_workers_on_one_step_one_gets_it(merchant: Merchant, app: flask.Flask, workers: int) -> None:
    for _ in range(CLAIMS):
        order = paid(merchant, value_minor=2500)
        answers = at_once([partial(fulfilment.claim, f"worker {n}", order_id=order.id) for n in range(workers)])
        raised = [answer for answer in answers if isinstance(answer, Exception)]
        assert not raised, raised
        won = [answer for answer in answers if isinstance(answer, Step)]
        assert len(won) == 1, f"{len(won)} workers hold one step"
        assert StepAttempt.select().where(StepAttempt.step == won[0]).count() == 1


@pytest.mark.req("F20", "F24")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("workers", [2, 8])
def test_many_workers_on_one_order_make_one_voucher_and_one_mail(
    merchant: Merchant, app: flask.Flask, smtp: ScriptedServer, workers: int
) -> None:
    for _ in range(6):
        order = paid(merchant, "maria@example.com", "", value_minor=2500)
        answers = at_once([partial(run_due, app, f"worker {n}", order) for n in range(workers)])
        assert not [answer for answer in answers if isinstance(answer, Exception)], answers
        # Whoever finishes last finds what the others woke; a step that is not due yet is left to the sweeper.
        work.run_due("last", order_id=order.id)
        promises.assert_kept(order, smtp.messages, copies=1)
        assert sum(answer for answer in answers if isinstance(answer, int)) <= order.steps.count()
    assert Voucher.select().count() == Entry.select().where(Entry.kind == "issue").count() == 12


@pytest.mark.req("F21")
def test_a_result_with_an_old_token_is_thrown_away(merchant: Merchant, app: flask.Flask) -> None:
    order = paid(merchant)
    slow = fulfilment.claim("slow", order_id=order.id)
    assert slow is not None
    recovery.let_time_pass(order.id)
    quick = fulfilment.claim("quick", order_id=order.id)
    assert quick is not None and (quick.id, quick.token) == (slow.id, slow.token + 1)
    work.perform(slow)
    assert Voucher.select().count() == 0
    work.perform(quick)
    assert Voucher.select().count() == 1
    work.perform(slow)
    assert Voucher.select().count() == 1 and fresh(quick).state == StepState.DONE
    promises.assert_books()


@pytest.mark.req("F25")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seconds", [0.1, 2.0, 6.0, 8.0])
def test_orders_settle_after_somebody_else_held_the_lock(
    app: flask.Flask, merchant: Merchant, twin: Twin, smtp: ScriptedServer, settings: config.Settings, seconds: float
) -> None:
    orders, events = [], []
    for _ in range(4):
        order = casting.place(merchant)
        payment.start(order)
        orders.append(order)
        events.append(twin.signed(twin.pay(order.latest_payment.session_id, deliver=False)))
    began = time.monotonic()

    with locks.held(settings.database_url, seconds=seconds):
        answers = at_once([partial(report, app, event) for event in events])
    assert set(answers) <= {200, 503}, answers
    assert seconds > 2 or set(answers) == {200}, "a short wait is no failure"
    # 503 in time: Stripe waits for some ten seconds before it calls it a failure.
    assert time.monotonic() - began < 20
    for order, event, answer in zip(orders, events, answers, strict=True):
        if answer == 503:
            assert report(app, event) == 200
        work.run_due("worker", order_id=order.id)
        promises.assert_kept(order, smtp.messages, copies=1)
    promises.assert_books()


@pytest.mark.req("F25")
@pytest.mark.timeout(120)
def test_a_worker_that_cannot_write_tries_again(
    app: flask.Flask, merchant: Merchant, smtp: ScriptedServer, settings: config.Settings
) -> None:
    orders = [paid(merchant) for _ in range(3)]
    with locks.held(settings.database_url, seconds=3), processes.worker(settings):
        processes.wait_until(
            lambda: not any(recovery.is_anything_open(order.id) for order in orders), what="every order"
        )
    for order in orders:
        promises.assert_kept(order, smtp.messages)


def run_due(app: flask.Flask, worker: str, order: Order) -> int:
    with app.app_context():
        return work.run_due(worker, order_id=order.id)


def report(app: flask.Flask, event: tuple[bytes, dict[str, str]]) -> int:
    """Stripe's event arrives; the status of our answer."""
    body, headers = event
    with app.app_context():
        return app.test_client().post("/webhooks/stripe", data=body, headers=headers).status_code


def is_still_open(order: Order) -> bool:
    """Whether something is left to do; pauses between tries end, and those who work are left in peace."""
    recovery.end_pauses(order.id)
    return recovery.is_anything_open(order.id)


def attempts(step: Step) -> list[StepAttempt]:
    return list(StepAttempt.select().where(StepAttempt.step == step).order_by(StepAttempt.id))


def wait_for_work(order: Order, chance: random.Random) -> None:
    """Until somebody has claimed something of the order, and then for a random moment."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        if StepAttempt.select().join(Step).where(Step.order == order).exists():
            break
        time.sleep(0.001)
    time.sleep(chance.uniform(0, 0.2))


@contextlib.contextmanager
def asleep(running: "subprocess.Popen[bytes]") -> Iterator[None]:
    """The worker and its renderer stop where they are, and go on afterwards."""
    os.killpg(running.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, running.pid, os.WSTOPPED | os.WNOWAIT)
    try:
        yield
    finally:
        os.killpg(running.pid, signal.SIGCONT)
