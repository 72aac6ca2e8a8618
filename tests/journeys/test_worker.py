"""The worker as a process: a real consumer makes a sale, and killing it loses and doubles nothing."""

import random
import time
from datetime import timedelta

import pytest

import config
from domain import audit, clock, fulfilment
from domain.states import FINISHED, StepState
from gateways.stripe_twin import Twin
from models import Step, StepAttempt, Voucher
from tests import cast as casting
from tests import processes, sales
from tests.browser import Browser
from tests.smtp import ScriptedServer

SALES, KILLS = 10, 5


def is_everything_done() -> bool:
    return not Step.select().where(Step.state.not_in(FINISHED)).exists()


@pytest.mark.req("S1-21", "S1-22", "S1-36")
def test_a_real_consumer_mails_the_voucher_and_drains_on_sigterm(
    client: Browser, twin: Twin, smtp: ScriptedServer, cast: casting.Cast, settings: config.Settings
) -> None:
    # The sweeper is kept away for long enough to see that the bell alone was heard.
    with processes.worker(settings, sweep_seconds=600) as running:
        processes.wait_until(lambda: len(list_workers()) == 1, what="the worker's first heartbeat")
        sales.pay(client, twin, sales.order(client, amount="50"))
        processes.wait_until(is_everything_done, what="the sale")
    assert running.returncode == 0
    assert list(sales.pdfs(smtp)) == ["lukas@example.com"]


@pytest.mark.req("F19", "F22", "S1-12", "S1-23")
@pytest.mark.timeout(1500)
def test_a_worker_killed_five_times_in_each_of_ten_sales_loses_and_doubles_nothing(
    client: Browser, twin: Twin, smtp: ScriptedServer, cast: casting.Cast, settings: config.Settings
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    sold = [sales.pay(client, twin, sales.order(client, amount="50", buyer_email=f"buyer{n}@example.com"))
            for n in range(SALES)]  # fmt: skip
    for _ in range(SALES * KILLS):
        running = processes.start_worker(settings)
        # Its start takes about a second; from then on any moment is as good as another.
        wait_for_work(running, chance)
        processes.kill(running)
        let_leases_run_out()
        if is_everything_done():
            sold.append(sales.pay(client, twin, sales.order(client, amount="50", buyer_email="more@example.com")))
    with processes.worker(settings):
        try:
            processes.wait_until(is_everything_done, seconds=120, what="every sale")
        except AssertionError:
            print(unfinished())
            raise
    assert Voucher.select().count() == len(sold)
    assert {str(letter.message["To"]) for letter in smtp.messages} == {order.buyer_email for order in sold}
    ids = [(str(letter.message["To"]), str(letter.message["Message-ID"])) for letter in smtp.messages]
    assert len(set(ids)) == len(sold), "a copy that went out twice carries its old Message-ID"
    assert audit.is_clean(audit.run()), audit.run()


def list_workers() -> list[object]:
    from models import Worker

    return list(Worker.select())


def unfinished() -> list[tuple[object, ...]]:
    """What still stands open, for the reader of a failure."""
    columns = Step.order, Step.name, Step.state, Step.attempt, Step.not_before, Step.error_code, Step.error_text
    return list(Step.select(*columns).where(Step.state.not_in(FINISHED)).tuples())


def wait_for_work(running: object, chance: random.Random) -> None:
    """Until the worker has claimed something, and then for a random moment."""
    before = StepAttempt.select().count()
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        if StepAttempt.select().count() > before or is_everything_done():
            break
        time.sleep(0.002)
    time.sleep(chance.uniform(0, 0.15))


def let_leases_run_out() -> None:
    """Half a minute passes for the steps of a dead worker, and for the pauses between tries."""
    past = clock.now() - timedelta(seconds=1)
    Step.update(lease_until=past).where(Step.state == StepState.RUNNING, Step.lease_until > past).execute()
    Step.update(not_before=past).where(Step.state == StepState.RETRY_WAIT, Step.not_before > past).execute()
    assert timedelta(seconds=30) >= fulfilment.LEASE
