"""The mail server refuses us, or is away: nothing dies, no attempt is used up, and afterwards everything goes out."""

import dataclasses
import socket
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import flask
import pytest

from domain import breakers, clock
from domain.states import MAILS, StepState
from effects import work
from effects.outside import Outside
from gateways.mailer import Mailer
from models import Merchant, Order, Step, StepAttempt
from tests import reports
from tests.smtp import ScriptedServer

MINUTE = timedelta(seconds=61)
Round = Callable[[], int]


@pytest.fixture
def round_of_work(app: flask.Flask) -> Round:
    """Whatever is due now, as the sweeper does it."""
    return lambda: work.run_due("w1")


@pytest.fixture
def use(app: flask.Flask) -> Callable[..., None]:
    """Configure another mail server or account."""
    return partial(configure, app)


def configure(app: flask.Flask, port: int, **account: str) -> None:
    """Use another mail server or account from now on, as a restart with other settings does."""
    outside: Outside = app.extensions["outside"]
    mailer = Mailer("127.0.0.1", port, sender="vouchers@shop.example", timeout=5, **account)  # type: ignore[arg-type]
    app.extensions["outside"] = dataclasses.replace(outside, mailer=mailer)


def mails() -> list[Step]:
    return list(Step.select().where(Step.name.in_(MAILS)).order_by(Step.id))


def sold(merchant: Merchant, count: int) -> list[Order]:
    return [reports.paid(merchant, buyer_email=f"buyer{number}@example.com") for number in range(count)]


@pytest.mark.req("F38")
@pytest.mark.timeout(600)
def test_ten_minutes_without_a_log_in_cost_twenty_orders_nothing(
    merchant: Merchant, smtp: ScriptedServer, round_of_work: Round, use: Callable[..., None]
) -> None:
    smtp.login = ("shop", "right")
    use(smtp.port, username="shop", password="wrong")
    sold(merchant, 20)
    for _ in range(10):
        round_of_work()
        clock.move(MINUTE)
    steps = mails()
    assert {step.attempt for step in steps} == {0}
    assert not [step for step in steps if step.state == StepState.DEAD or step.first_failed_at]
    tries = StepAttempt.select().join(Step).where(Step.name.in_(MAILS)).count()
    assert tries == 10, "one letter a minute asks, and the others wait"
    (breaker,) = breakers.current()
    assert (breaker.name, breaker.code, breaker.detail[:3]) == ("mail", "mail_ours", "535")
    assert smtp.messages == []

    use(smtp.port, username="shop", password="right")
    round_of_work()
    assert {step.state for step in mails()} == {StepState.DONE}
    assert {step.attempt for step in mails()} == {1}
    to = sorted(str(letter.message["To"]) for letter in smtp.messages)
    assert to == sorted(f"buyer{number}@example.com" for number in range(20))
    assert breakers.current() == []


@pytest.mark.req("F38")
@pytest.mark.timeout(600)
def test_a_mistake_of_ours_that_lasts_a_week_kills_no_order(
    merchant: Merchant, smtp: ScriptedServer, round_of_work: Round, use: Callable[..., None]
) -> None:
    smtp.login = ("shop", "right")
    use(smtp.port, username="shop", password="wrong")
    (order,) = sold(merchant, 1)
    for _ in range(56):
        round_of_work()
        clock.move(timedelta(hours=3))
    use(smtp.port, username="shop", password="right")
    round_of_work()
    assert [step.state for step in mails()] == [StepState.DONE]
    assert len([entry for entry in order.timeline if entry.kind == "step_failed"]) == 1, "told once, not every minute"


@pytest.mark.req("F38")
@pytest.mark.timeout(600)
def test_a_server_that_is_away_for_half_a_day_is_asked_once_a_minute_and_then_gets_everything(
    merchant: Merchant, smtp: ScriptedServer, round_of_work: Round, use: Callable[..., None]
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        use(nobody.getsockname()[1])
        sold(merchant, 8)
        round_of_work()
        assert breakers.is_open("mail")
        # The four that found it out have used one attempt; the fifth and all others none.
        assert sorted(step.attempt for step in mails()) == [0, 0, 0, 0, 1, 1, 1, 1]
        for _ in range(12):
            clock.move(timedelta(hours=1))
            assert round_of_work() == 1
        assert sorted(step.attempt for step in mails()) == [0, 0, 0, 0, 1, 1, 1, 1]
    # After so long some would wait for hours by themselves.
    Step.update(not_before=clock.now() + timedelta(hours=6)).where(Step.attempt == 1, Step.name.in_(MAILS)).execute()
    use(smtp.port)
    clock.move(MINUTE)
    round_of_work()
    assert {step.state for step in mails()} == {StepState.DONE}
    assert len(smtp.messages) == 8


@pytest.mark.req("F38")
def test_one_order_that_finds_nobody_stops_no_other(
    merchant: Merchant, smtp: ScriptedServer, round_of_work: Round
) -> None:
    smtp.drop("CONNECT")
    sold(merchant, 3)
    round_of_work()
    assert not breakers.is_open("mail")
    assert len(smtp.messages) == 2


@pytest.mark.req("F38", "F37")
def test_a_bad_address_is_no_outage_and_ends_one(
    merchant: Merchant, smtp: ScriptedServer, round_of_work: Round
) -> None:
    breakers.trip("mail", code="mail_ours", detail="535 no")
    sold(merchant, 2)
    clock.move(MINUTE)
    smtp.answer("RCPT", "550 5.1.1 no such user")
    round_of_work()
    assert not breakers.is_open("mail"), "a server that looks at addresses has let us in"
    assert sorted(step.state for step in mails()) == [StepState.DEAD, StepState.DONE]


@pytest.mark.req("F38")
def test_while_no_mail_goes_out_vouchers_and_pdfs_are_still_made(
    merchant: Merchant, smtp: ScriptedServer, round_of_work: Round
) -> None:
    breakers.trip("mail", code="mail_ours", detail="535 no")
    (order,) = sold(merchant, 1)
    round_of_work()
    assert {step.name: (step.state, step.attempt) for step in order.steps} == {
        "create": ("done", 1), "document": ("done", 1), "deliver_buyer": ("ready", 0),
    }  # fmt: skip
    assert smtp.connections == 0


@pytest.mark.req("F38")
def test_a_bell_for_another_order_may_carry_the_probe(
    merchant: Merchant, smtp: ScriptedServer, round_of_work: Round
) -> None:
    breakers.trip("mail", code="mail_unreachable", detail="nobody")
    waiting, bystander = sold(merchant, 2)
    round_of_work()
    clock.move(MINUTE)
    work.run_due("w1", order_id=bystander.id)
    assert not breakers.is_open("mail")
    assert [str(letter.message["To"]) for letter in smtp.messages] == [waiting.buyer_email, bystander.buyer_email]
