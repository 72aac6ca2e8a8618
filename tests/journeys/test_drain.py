"""A worker that is told to stop in the middle of its work: what it has begun ends well, and nothing is done twice."""

import pytest

import config
from domain.states import StepName, StepState
from gateways.stripe_twin import Twin
from models import Check, Step, Worker
from tests import cast as casting
from tests import processes, sales
from tests.browser import Browser
from tests.smtp import ScriptedServer


@pytest.mark.req("F29")
def test_a_worker_that_is_told_to_stop_in_the_middle_of_a_mail_sends_it_once(
    client: Browser, twin: Twin, smtp: ScriptedServer, cast: casting.Cast, settings: config.Settings
) -> None:
    with processes.worker(settings, sweep_seconds=600) as worker:  # the bell calls, and no sweep helps
        processes.wait_until(lambda: Worker.select().exists() and Check.select().exists(), what="a worker")
        smtp.delay("DOT", 3)
        order = sales.pay(client, twin, sales.order(client, amount="50"))
        mail = order.steps.where(Step.name == StepName.DELIVER_BUYER)
        processes.wait_until(lambda: mail.get().send_started_at is not None, what="the mail")
        assert (mail.get().state, len(smtp.messages)) == (StepState.RUNNING, 0)
    assert worker.returncode == 0
    assert (mail.get().state, mail.get().attempt, len(smtp.messages)) == (StepState.DONE, 1, 1)
