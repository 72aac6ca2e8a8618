"""Workers that sleep longer than their lease, many on one step, and somebody else who holds the database's lock."""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import timedelta

import flask
import peewee
import pytest

import config
from domain import clock, fulfilment
from domain.states import FINISHED, StepName, StepState
from effects import payment, work
from gateways.stripe_twin import Twin
from models import Entry, Merchant, Order, Step, StepAttempt, TimelineEntry, Voucher, Worker
from tests import cast as casting
from tests import processes, sales
from tests.browser import Browser
from tests.faults import locks, promises
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
    with processes.worker(settings) as running:
        processes.wait_until(lambda: Worker.select().exists(), what="the worker's first heartbeat")
        # It waits for the answer to its dot, and then it is not there any more.
        smtp.delay("DOT", 3)
        order = sales.pay(client, twin, sales.order(client, amount="50"))
        processes.wait_until(lambda: is_sending(order), what="the mail")
        os.killpg(running.pid, signal.SIGSTOP)
        let_leases_run_out(order)
        sweep()
        step = order.steps.where(Step.name == StepName.DELIVER_BUYER).get()
        assert (step.state, step.token) == (StepState.DONE, 2)
        processes.wait_until(lambda: len(smtp.messages) == 2, what="the first copy")
        os.killpg(running.pid, signal.SIGCONT)
        # It goes on with other work, so it has finished with this one.
        other = sales.pay(client, twin, sales.order(client, amount="25", buyer_email="other@example.com"))
        processes.wait_until(lambda: not open_steps(other), what="the next sale")
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
            pause_in_mid_work(running, order, chance)
            try:
                # If it sleeps inside a transaction nobody can write until it wakes, and that is all.
                with contextlib.suppress(peewee.OperationalError):
                    let_leases_run_out(order)
                    work.run_due("second", order_id=order.id)
            finally:
                os.killpg(running.pid, signal.SIGCONT)
            sold.append(order)
        processes.wait_until(lambda: not any(open_steps(order, wake=True) for order in sold), what="every sale")
    for order in sold:
        promises.assert_kept(order, smtp.messages, copies=3)
    promises.assert_books()


@pytest.mark.req("F20")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("workers", [2, 8])
def test_of_many_workers_on_one_step_one_gets_it(merchant: Merchant, app: flask.Flask, workers: int) -> None:
    for _ in range(CLAIMS):
        order = paid(merchant, value_minor=2500)
        claims = [lambda n=n: fulfilment.claim(f"worker {n}", order_id=order.id) for n in range(workers)]  # type: ignore[misc]
        answers = at_once(claims)  # type: ignore[arg-type]
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

        def run(name: str, order: Order = order) -> int:
            with app.app_context():
                return work.run_due(name, order_id=order.id)

        answers = at_once([lambda n=n: run(f"worker {n}") for n in range(workers)])  # type: ignore[misc]
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
    let_leases_run_out(order)
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

    def report(body: bytes, headers: dict[str, str]) -> int:
        with app.app_context():
            return app.test_client().post("/webhooks/stripe", data=body, headers=headers).status_code

    with locks.held(settings.database_url, seconds=seconds):
        answers = at_once([lambda e=e: report(*e) for e in events])  # type: ignore[misc]
    assert set(answers) <= {200, 503}, answers
    assert seconds > 2 or set(answers) == {200}, "a short wait is no failure"
    # 503 in time: Stripe waits for some ten seconds before it calls it a failure.
    assert time.monotonic() - began < 20
    for order, event, answer in zip(orders, events, answers, strict=True):
        if answer == 503:
            assert report(*event) == 200
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
        processes.wait_until(lambda: not any(open_steps(order) for order in orders), what="every order")
    for order in orders:
        promises.assert_kept(order, smtp.messages)


def is_sending(order: Order) -> bool:
    return order.steps.where(Step.name == StepName.DELIVER_BUYER, Step.send_started_at.is_null(False)).exists()


def open_steps(order: Order, *, wake: bool = False) -> int:
    """How many steps are not finished; `wake` ends the pauses between tries."""
    if wake:
        past = clock.now() - timedelta(seconds=1)
        late = Step.state.in_((StepState.RETRY_WAIT, StepState.UNKNOWN)), Step.not_before > past
        Step.update(not_before=past).where(Step.order == order, *late).execute()
    return int(order.steps.where(Step.state.not_in(FINISHED)).count())


def attempts(step: Step) -> list[StepAttempt]:
    return list(StepAttempt.select().where(StepAttempt.step == step).order_by(StepAttempt.id))


def pause_in_mid_work(running: "subprocess.Popen[bytes]", order: Order, chance: random.Random) -> None:
    """Stop the worker and its renderer at some moment after its first claim."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        if StepAttempt.select().join(Step).where(Step.order == order).exists():
            break
        time.sleep(0.001)
    time.sleep(chance.uniform(0, 0.2))
    os.killpg(running.pid, signal.SIGSTOP)


def let_leases_run_out(order: Order) -> None:
    """Half a minute passes for the order's steps."""
    past = clock.now() - timedelta(seconds=1)
    mine = Step.order == order.id, Step.state == StepState.RUNNING, Step.lease_until > past
    Step.update(lease_until=past).where(*mine).execute()
