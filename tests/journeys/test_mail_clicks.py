"""Fifty impatient clicks are one; a voucher that is withheld while its mail is under way is not sent."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import flask
import pytest

import database
from domain import fulfilment, refusals
from domain.states import StepName, StepState
from effects import work
from models import Merchant, Order, Step, StepAttempt, Voucher
from tests import cast as casting
from tests import reports
from tests.smtp import ScriptedServer

CLICKS, HANDS = 50, 16


def fifty_times(call: Callable[[], object]) -> list[str]:
    """What fifty calls from many hands at once answered: `ok`, or the name of the refusal."""

    def press(_number: int) -> str:
        with database.connected():
            try:
                call()
            except refusals.Refusal as refused:
                return type(refused).__name__
        return "ok"

    with ThreadPoolExecutor(HANDS) as pool:
        return sorted(pool.map(press, range(CLICKS)))


def mail(order: Order, name: StepName = StepName.DELIVER_BUYER) -> Step:
    return order.steps.where(Step.name == name).order_by(Step.epoch.desc()).get()


def work_with_four(app: flask.Flask) -> None:
    def run(name: str) -> None:
        with app.app_context(), database.connected():
            work.run_due(name)

    threads = [threading.Thread(target=run, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.req("F44")
@pytest.mark.parametrize("reply", ["451 4.7.1 later", "550 5.1.1 no such user"], ids=["waiting", "dead"])
def test_fifty_presses_of_try_now_are_one_attempt_and_one_mail(
    app: flask.Flask, merchant: Merchant, smtp: ScriptedServer, reply: str
) -> None:
    smtp.answer("RCPT", reply)
    order = reports.paid(merchant)
    work.run_due("w1")
    step = mail(order)
    answers = fifty_times(lambda: fulfilment.retry(order, step.id, token=step.token, actor="anna"))
    assert answers.count("ok") == 1 and set(answers) == {"ok", "StepNotRetryable"}
    work_with_four(app)
    assert mail(order).state == StepState.DONE
    assert StepAttempt.select().where(StepAttempt.step == step).count() == 2
    assert len(smtp.messages) == 1
    assert len([entry for entry in order.timeline if entry.kind == "step_retried"]) == 1


@pytest.mark.req("F44")
def test_fifty_presses_of_send_again_are_one_copy(app: flask.Flask, merchant: Merchant, smtp: ScriptedServer) -> None:
    order = reports.paid(merchant)
    work.run_due("w1")
    step = mail(order)
    answers = fifty_times(lambda: fulfilment.resend(order, step.id, token=step.token, actor="anna"))
    assert answers.count("ok") == 1 and set(answers) == {"ok", "StepNotRetryable"}
    work_with_four(app)
    assert len(smtp.messages) == 2
    assert len({str(letter.message["Message-ID"]) for letter in smtp.messages}) == 2


@pytest.mark.req("F43")
@pytest.mark.parametrize(("status", "code"), [("suspended", "voucher_suspended"), ("cancelled", "voucher_cancelled")])
def test_a_voucher_that_is_withheld_before_the_mail_is_never_sent(
    app: flask.Flask, merchant: Merchant, smtp: ScriptedServer, status: str, code: str
) -> None:
    order = reports.paid(merchant)
    for _ in range(2):
        step = fulfilment.claim("w1")
        assert step is not None
        work.perform(step)
    casting.set_status(Voucher.get(), status)
    work.run_due("w1")
    assert (mail(order).state, mail(order).error_code) == ("skipped", code)
    assert smtp.connections == 0


@pytest.mark.req("F43")
def test_a_blocked_vouchers_mail_is_resumed_by_hand_once_it_is_unblocked(
    app: flask.Flask, merchant: Merchant, smtp: ScriptedServer
) -> None:
    order = reports.paid(merchant)
    for _ in range(2):
        step = fulfilment.claim("w1")
        assert step is not None
        work.perform(step)
    casting.set_status(Voucher.get(), "suspended")
    work.run_due("w1")
    casting.set_status(Voucher.get(), "active")
    step = mail(order)
    fulfilment.retry(order, step.id, token=step.token, actor="anna")
    work.run_due("w1")
    assert len(smtp.messages) == 1


@pytest.mark.req("F43")
@pytest.mark.timeout(300)
def test_a_freeze_in_the_middle_of_a_sending_ends_as_one_of_two_truths(
    app: flask.Flask, merchant: Merchant, smtp: ScriptedServer
) -> None:
    def freeze(order: Order) -> None:
        with database.transaction():
            database.locked(Order.select().where(Order.id == order.id)).get()
            Voucher.update(status="suspended").where(Voucher.unit.in_(order.units)).execute()
            fulfilment.skip_open(order, code="frozen")

    def send(order: Order) -> None:
        with app.app_context():
            work.run_due("w1", order_id=order.id)

    for _ in range(25):
        order = reports.paid(merchant)
        for _step in range(2):
            work.perform(fulfilment.claim("w1", order_id=order.id))  # type: ignore[arg-type]
        smtp.messages.clear()
        assert reports.at_once([partial(send, order), partial(freeze, order)]) == [None, None]
        step = mail(order)
        if step.state == StepState.DONE:
            assert len(smtp.messages) == 1
        else:
            # It was at the dot already, or it never began; nobody goes on sending what is frozen.
            assert (step.state, step.error_code) == ("skipped", "frozen")
            assert len(smtp.messages) == (1 if step.send_started_at else 0)
        work.run_due("w2", order_id=order.id)
        assert len(smtp.messages) <= 1
