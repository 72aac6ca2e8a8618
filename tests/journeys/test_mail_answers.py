"""What becomes of an order for each answer of a mail server, at each stage of the conversation."""

from collections.abc import Callable
from datetime import timedelta

import flask
import pytest

from domain import breakers, clock, fulfilment
from domain.states import StepName, StepState
from effects import work
from models import Merchant, Order, Step
from tests import reports
from tests.smtp import ScriptedServer

RunDue = Callable[[], int]


@pytest.fixture
def run_due(app: flask.Flask) -> RunDue:
    return lambda: work.run_due("w1")


def mail(order: Order, name: StepName = StepName.DELIVER_BUYER) -> Step:
    return order.steps.where(Step.name == name).get()


@pytest.mark.req("F36")
@pytest.mark.parametrize("stage", ["CONNECT", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "DOT"])
def test_come_back_later_is_obeyed_at_every_stage(
    merchant: Merchant, smtp: ScriptedServer, run_due: RunDue, stage: str, app: flask.Flask
) -> None:
    if stage == "AUTH":
        _log_in(app, smtp)
    smtp.answer(stage, "451 4.7.1 Greylisted, come back later", times=3 if stage == "AUTH" else 1)
    order = reports.paid(merchant)
    begun = clock.now()
    run_due()
    step = mail(order)
    assert (step.state, step.error_code, step.attempt) == (StepState.RETRY_WAIT, "mail_not_now", 1)
    assert timedelta(minutes=5) <= step.not_before - begun <= timedelta(minutes=7)
    assert smtp.messages == [] and not breakers.is_open("mail")
    clock.move(timedelta(minutes=4))
    assert run_due() == 0
    clock.move(timedelta(minutes=3))
    run_due()
    assert mail(order).state == StepState.DONE
    assert [str(letter.message["Message-ID"]) for letter in smtp.messages] == [f"<{step.message_id}@shop.example>"]


@pytest.mark.req("F36")
def test_a_server_that_greylists_for_three_days_is_given_up_and_asks_for_a_person(
    merchant: Merchant, smtp: ScriptedServer, run_due: RunDue
) -> None:
    smtp.answer("RCPT", "450 4.2.0 Greylisted", times=1000)
    order = reports.paid(merchant)
    begun = clock.now()
    while mail(order).state != StepState.DEAD:
        run_due()
        clock.move(timedelta(hours=1))
        assert clock.now() - begun < timedelta(hours=90)
    assert clock.now() - begun > timedelta(hours=60)
    assert mail(order).attempt <= fulfilment.POLICIES[StepName.DELIVER_BUYER].attempts


@pytest.mark.req("F37")
@pytest.mark.parametrize("number", [550, 552, 553, 554])
@pytest.mark.parametrize(
    ("stage", "state", "code"),
    [
        ("CONNECT", "retry_wait", "mail_ours"),
        ("AUTH", "retry_wait", "mail_ours"),
        ("MAIL", "retry_wait", "mail_ours"),
        ("RCPT", "dead", "bad_address"),
        ("DATA", "dead", "mail_refused"),
        ("DOT", "dead", "mail_refused"),
    ],
)
def test_a_no_for_good_goes_to_whom_it_concerns(
    merchant: Merchant, smtp: ScriptedServer, run_due: RunDue, app: flask.Flask,
    stage: str, number: int, state: str, code: str,
) -> None:  # fmt: skip
    if stage == "AUTH":
        _log_in(app, smtp)
    if (stage, number) == ("MAIL", 552):  # the letter is too large, whoever sends it
        state, code = "dead", "mail_refused"
    if (stage, number) == ("RCPT", 552):  # a full mailbox: RFC 5321 says to wait
        state, code = "retry_wait", "mail_not_now"
    smtp.answer(stage, f"{number} 5.0.0 no", times=3 if stage == "AUTH" else 1)
    order = reports.paid(merchant)
    run_due()
    step = mail(order)
    assert (step.state, step.error_code) == (state, code)
    assert breakers.is_open("mail") == (code == "mail_ours")
    assert step.attempt == (0 if code == "mail_ours" else 1)
    assert smtp.messages == []


@pytest.mark.req("F37", "F38")
@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("554 5.7.1 <buyer@example.com>: Relay access denied", "mail_ours"),
        ("550 5.7.1 Relaying denied", "mail_ours"),
        ("550 5.7.1 Not from you", "mail_refused"),
        ("550 5.1.1 relayed@example.com: no such user", "bad_address"),
    ],
)
def test_a_server_that_does_not_relay_for_us_is_no_fault_of_the_address(
    merchant: Merchant, smtp: ScriptedServer, run_due: RunDue, reply: str, code: str
) -> None:
    smtp.answer("RCPT", reply)
    order = reports.paid(merchant)
    run_due()
    assert mail(order).error_code == code


@pytest.mark.req("F37")
@pytest.mark.parametrize("stage", ["EHLO"])
def test_a_server_that_knows_no_ehlo_gets_its_letter_by_helo(
    merchant: Merchant, smtp: ScriptedServer, run_due: RunDue, stage: str
) -> None:
    smtp.answer(stage, "502 5.5.1 unknown")
    reports.paid(merchant)
    run_due()
    assert len(smtp.messages) == 1


@pytest.mark.req("F39")
@pytest.mark.parametrize("stage", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "BEFORE_DOT", "AFTER_DOT", "AFTER_250"])
def test_a_cut_line_costs_at_most_a_copy_under_the_same_number(
    merchant: Merchant, smtp: ScriptedServer, run_due: RunDue, stage: str
) -> None:
    smtp.drop(stage)
    order = reports.paid(merchant)
    run_due()
    step = mail(order)
    # A small letter fits into the line's buffers, so a cut before the dot may be noticed only after it.
    told = {"AFTER_DOT": {"unknown"}, "AFTER_250": {"done"}, "BEFORE_DOT": {"retry_wait", "unknown"}}
    assert step.state in told.get(stage, {"retry_wait"})
    clock.move(timedelta(minutes=2))
    run_due()
    assert mail(order).state == StepState.DONE
    ids = {str(letter.message["Message-ID"]) for letter in smtp.messages}
    assert ids == {f"<{step.message_id}@shop.example>"}
    assert len(smtp.messages) == (2 if stage == "AFTER_DOT" else 1)


@pytest.mark.req("F40")
def test_one_refused_recipient_of_two_keeps_nobody_elses_mail(
    merchant: Merchant, smtp: ScriptedServer, run_due: RunDue
) -> None:
    order = reports.paid(merchant, "marie@example.com", "jonas@exmaple.com")
    while run_due():
        pass
    smtp.messages.clear()
    Step.update(state="ready", finished_at=None).where(Step.name == StepName.DELIVER_RECIPIENT).execute()
    smtp.answer("RCPT", "550 5.1.1 no such user")
    run_due()
    first, second = order.steps.where(Step.name == StepName.DELIVER_RECIPIENT)
    assert {first.state, second.state} == {StepState.DEAD, StepState.DONE}
    dead, done = (first, second) if first.state == StepState.DEAD else (second, first)
    assert (dead.error_code, len(smtp.messages)) == ("bad_address", 1)
    (letter,) = smtp.messages
    assert letter.recipients == (done.unit.recipient_email,)
    assert str(letter.message["To"]) == done.unit.recipient_email
    fulfilment.correct_address(order, dead.id, email="right@example.com", token=dead.token, actor="anna")
    run_due()
    assert [each.recipients for each in smtp.messages[1:]] == [("right@example.com",)]


def _log_in(app: flask.Flask, smtp: ScriptedServer) -> None:
    from tests.journeys.test_mail_outage import configure

    smtp.login = ("shop", "right")
    configure(app, smtp.port, username="shop", password="right")
