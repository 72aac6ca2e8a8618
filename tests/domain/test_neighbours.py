"""What becomes of one mail, or of one order, holds nobody else's back."""

import pytest

import database
from domain import clock, fulfilment
from domain.fulfilment import LEASE, Failure
from domain.states import MAILS, StepName
from models import Merchant, Order, Step
from tests.reports import fresh, paid

NOBODY = Failure("bad_address", "550 no such user", is_permanent=True)


def work_off(order: Order, *, step: Step | None = None, refused: Step | None = None) -> None:
    """Finish `step`, which is claimed already, and everything that is due; one mail is refused for good."""
    while (step := step or fulfilment.claim("w1", order_id=order.id)) is not None:
        if step == refused:
            fulfilment.fail(step, NOBODY)
        else:
            with database.transaction():
                fulfilment.finish(step)
        step = None


@pytest.mark.req("F40")
@pytest.mark.parametrize("place", range(3))
def test_a_refused_recipient_keeps_nobody_elses_mail(merchant: Merchant, place: int) -> None:
    order = paid(merchant, "marie@example.com", "jonas@example.com")
    mails = list(order.steps.where(Step.name.in_(MAILS)))
    assert [step.name for step in mails] == [StepName.RECEIPT, *[StepName.DELIVER_RECIPIENT] * 2]
    work_off(order, refused=mails[place])
    ended = [fresh(step).state for step in mails]
    assert ended.pop(place) == "dead" and ended == ["done", "done"]


@pytest.mark.req("F40")
def test_one_mail_has_one_reader(merchant: Merchant) -> None:
    order = paid(merchant, "marie@example.com", "", "jonas@example.com")
    readers = sorted(fulfilment.address_of(step) for step in order.steps.where(Step.name.in_(MAILS)))
    assert readers == ["jonas@example.com", "lukas@example.com", "lukas@example.com", "marie@example.com"]
    assert len({step.message_id for step in order.steps.where(Step.name.in_(MAILS))}) == 4


@pytest.mark.req("F68")
def test_a_step_that_kills_its_worker_goes_behind_the_others(merchant: Merchant) -> None:
    poison = paid(merchant)
    for _ in range(5):
        killed = fulfilment.claim("w1")
        assert killed is not None and killed.order == poison  # and its worker is never heard of again
        clock.move(LEASE / 2)
        healthy = paid(merchant)
        clock.move(LEASE)
        step = fulfilment.claim("w2")
        assert step is not None and step.order == healthy
        work_off(healthy, step=step)
