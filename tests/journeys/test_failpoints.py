"""Before and after every side effect between Stripe's event and the mail a process dies, stumbles or hangs.

`FAILPOINTS=all` takes each BEGIN and COMMIT too, of which a run takes some.
"""

import os
import random
from collections.abc import Callable
from contextlib import AbstractContextManager

import flask
import pytest

from domain.states import StepName, StepState
from effects import work
from models import Merchant, Order, Step, StepAttempt, Voucher, VoucherPdf
from tests.faults import promises, recovery
from tests.faults.fault import BREAKS, Action, Fault, Kind
from tests.faults.theatre import Theatre
from tests.reports import paid
from tests.smtp import ScriptedServer

IS_WHOLE = os.environ.get("FAILPOINTS") == "all"
CALLS = 3  # of each kind of effect that is made more often, at least
WHENS = ("before", "after")


@pytest.mark.req("F5", "F19", "F21", "F26", "F39", "G1")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("action", list(Action))
def test_a_fault_around_any_side_effect_loses_and_doubles_nothing(
    theatres: Callable[..., AbstractContextManager[Theatre]], engine: str, action: Action, chance: random.Random
) -> None:
    met = 0
    with theatres() as theatre:
        for effect in BREAKS:
            calls = len(theatre.points(Fault(Kind.EFFECT, effect=effect)))
            assert calls, f"a sale without {effect}"
            numbers = range(1, calls + 1)
            for at in numbers if IS_WHOLE else sorted(chance.sample(numbers, min(calls, CALLS))):
                for when in WHENS:
                    fault = Fault(Kind.EFFECT, at, effect, when, action)
                    ending = theatre.survive(fault, by="webhook" if at % 2 else "reconciler")
                    assert ending.where, f"{fault} was not met: {ending}"
                    met += 1
        promises.assert_books()
    print(f"{engine}: {met} faults ({action})")


@pytest.mark.req("F5")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("by", ["webhook", "reconciler"])
def test_a_process_that_dies_between_commit_and_answer_has_settled(
    theatres: Callable[..., AbstractContextManager[Theatre]], by: str
) -> None:
    with theatres() as theatre:
        for commit in (1, 2, 3):  # the event is kept; the order is settled; the event is done with
            order, sale = theatre.sell()
            ending = theatre.stage.play(sale, Fault(Kind.EFFECT, commit, "commit", "after"))
            assert (ending.how, ending.answer) == ("killed", None)
            assert Order.get_by_id(order.id).is_paid == (commit > 1)
            later = theatre.stage.recover(sale, by=by)
            assert later.answer == (200 if by == "webhook" else None)
            promises.assert_kept(order, theatre.smtp.messages, copies=1)
        promises.assert_books()


@pytest.mark.req("F23")
@pytest.mark.timeout(240)
def test_a_bell_that_rings_before_the_order_is_committed_does_nothing(
    theatres: Callable[..., AbstractContextManager[Theatre]],
) -> None:
    with theatres() as theatre:
        order, sale = theatre.sell()
        ending = theatre.stage.play(sale, Fault(Kind.EFFECT, 2, "commit", "before", Action.HANG))
        assert ending.how == "stopped"
        ring(theatre.app, order.id)
        assert not StepAttempt.select().join(Step).where(Step.order == order).exists()
        theatre.stage.overtake(sale)
        theatre.stage.recover(sale, by="reconciler")
        promises.assert_kept(order, theatre.smtp.messages)


@pytest.mark.req("F23", "F22")
def test_a_bell_for_an_order_that_nobody_knows_does_nothing(app: flask.Flask) -> None:
    ring(app, 10**9)
    assert StepAttempt.select().count() == 0


@pytest.mark.req("F31")
@pytest.mark.timeout(240)
def test_a_process_that_dies_while_it_keeps_a_pdf_leaves_no_half_one(
    theatres: Callable[..., AbstractContextManager[Theatre]],
) -> None:
    with theatres() as theatre:
        passed = theatre.points(Fault(Kind.STATEMENT))
        around = [at for at, where in enumerate(passed, start=1) if "voucher_pdfs" in where and "SELECT" not in where]
        assert len(around) == 4, "one DELETE and one INSERT"
        for at in around:
            theatre.smtp.messages.clear()
            order, sale = theatre.sell()
            assert theatre.stage.play(sale, Fault(Kind.STATEMENT, at)).how == "killed"
            assert not VoucherPdf.select().join(Voucher).where(Voucher.unit.in_(order.units)).exists()
            assert theatre.smtp.messages == []
            theatre.stage.recover(sale, by="reconciler")
            promises.assert_kept(order, theatre.smtp.messages, copies=1)


@pytest.mark.req("F31", "F35")
def test_a_pdf_that_was_damaged_where_it_is_kept_is_not_mailed(
    app: flask.Flask, merchant: Merchant, smtp: ScriptedServer
) -> None:
    order = paid(merchant)
    smtp.answer("RCPT", "451 4.7.1 Later")
    work.run_due("worker", order_id=order.id)
    kept = VoucherPdf.get()
    sealed = bytes(kept.sealed)
    damaged = sealed[:100] + bytes([sealed[100] ^ 1]) + sealed[101:]
    VoucherPdf.update(sealed=damaged).where(VoucherPdf.id == kept.id).execute()
    recovery.let_time_pass(order.id)
    work.run_due("worker", order_id=order.id)
    step = order.steps.where(Step.name == StepName.DELIVER_BUYER).get()
    assert (step.state, step.error_code) == (StepState.RETRY_WAIT, "seal_broken")
    assert smtp.messages == []
    VoucherPdf.update(sealed=sealed).where(VoucherPdf.id == kept.id).execute()
    recovery.let_time_pass(order.id)
    work.run_due("worker", order_id=order.id)
    promises.assert_kept(order, smtp.messages, copies=1)


def ring(app: flask.Flask, order_id: int) -> None:
    """The bell, and the consumer that hears it."""
    app.extensions["fulfil"](order_id)
    queue = app.extensions["huey"]
    while (task := queue.dequeue()) is not None:
        queue.execute(task)
