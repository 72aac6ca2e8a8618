"""A mail comes back hours later: by the mailbox or by the server's pipe, and the order asks for another address."""

import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import flask
import pytest
from pydantic import SecretStr

import config
from domain import clock
from domain.states import StepName, StepState
from effects import bounces, work
from gateways.bounce_mailbox import BounceMailbox, MailboxFailed
from models import Merchant, Order, Step
from tests import cast as casting
from tests import processes, reports, sales
from tests.browser import Browser
from tests.pop3 import Pop3Server
from tests.smtp import ScriptedServer, self_signed


@pytest.fixture
def pop3() -> Iterator[Pop3Server]:
    with Pop3Server() as running:
        yield running


@pytest.fixture
def order(app: flask.Flask, merchant: Merchant, smtp: ScriptedServer) -> Order:
    """Sold and mailed to Marie; the receipt went to Lukas."""
    sold = reports.paid(merchant, "marie@example.com")
    work.run_due("w1")
    assert len(smtp.messages) == 2
    return sold


@pytest.fixture
def collects(app: flask.Flask) -> Callable[[Pop3Server], dict[str, int]]:
    def collect(server: Pop3Server) -> dict[str, int]:
        configure(app, bounce_mailbox=SecretStr(server.url))
        return bounces.collect()

    return collect


def configure(app: flask.Flask, **changes: object) -> None:
    outside = app.extensions["outside"]
    app.extensions["outside"] = dataclasses.replace(outside, settings=outside.settings.model_copy(update=changes))


def mail(order: Order, name: StepName = StepName.DELIVER_RECIPIENT) -> Step:
    return order.steps.where(Step.name == name).order_by(Step.epoch.desc()).get()


def report(step: Step, *, to: str = "marie@example.com", action: str = "failed", status: str = "5.1.1") -> bytes:
    """What a server writes about the mail of `step`."""
    return f"""From: MAILER-DAEMON@relay.example
Subject: Undelivered Mail Returned to Sender
Content-Type: multipart/report; report-type=delivery-status; boundary="=b"

--=b
Content-Type: text/plain

I'm sorry.
--=b
Content-Type: message/delivery-status

Reporting-MTA: dns; relay.example

Final-Recipient: rfc822; {to}
Action: {action}
Status: {status}
Diagnostic-Code: smtp; 550 {status} no such user

--=b
Content-Type: text/rfc822-headers

Message-ID: <{step.message_id}@shop.example>
--=b--
""".replace("\n", "\r\n").encode()


# The envelope


@pytest.mark.req("F41")
def test_bounces_go_to_their_own_address_and_answers_to_the_shop(
    app: flask.Flask, merchant: Merchant, smtp: ScriptedServer
) -> None:
    configure(app, mail_bounce_address="bounces@shop.example")
    reports.paid(merchant)
    work.run_due("w1")
    (letter,) = smtp.messages
    assert letter.mail_from == "bounces@shop.example"
    assert letter.message["From"].addresses[0].addr_spec == "vouchers@shop.example"


@pytest.mark.req("F41", "F38")
def test_an_address_for_bounces_that_is_none_is_a_setting_to_mend(
    app: flask.Flask, merchant: Merchant, smtp: ScriptedServer
) -> None:
    configure(app, mail_bounce_address="not an address")
    order = reports.paid(merchant)
    work.run_due("w1")
    step = mail(order, StepName.DELIVER_BUYER)
    assert (step.state, step.error_code, step.attempt) == ("retry_wait", "mail_ours", 0)
    assert "bounces_to" in step.error_text


# The mailbox


@pytest.mark.req("F41")
def test_a_mail_that_came_back_asks_for_another_address_and_goes_there(
    order: Order, pop3: Pop3Server, collects: Callable[[Pop3Server], dict[str, int]],
    client: Browser, smtp: ScriptedServer, run_jobs: Callable[[], int],
) -> None:  # fmt: skip
    pop3.put(report(mail(order)))
    assert collects(pop3) == {"bounced": 1}
    assert pop3.messages == {}
    step = mail(order)
    assert (step.state, step.error_code, step.error_text) == ("dead", "bounced", "5.1.1 550 5.1.1 no such user")
    assert mail(order, StepName.RECEIPT).state == StepState.DONE

    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    page = f"/dashboard/orders/{order.number}"
    shown = client.get(page).text
    assert "marie@example.com" in shown and "sent it back" in shown
    assert sales.press(client, page, f"/steps/{step.id}/address", email="marie@example.org").status_code == 303
    run_jobs()
    assert smtp.messages[-1].recipients == ("marie@example.org",)
    assert mail(order).state == StepState.DONE

    pop3.put(report(step))
    assert collects(pop3) == {"disbelieved": 1}, "late news about the old address"
    assert mail(order).state == StepState.DONE


@pytest.mark.req("F41")
def test_a_report_about_somebody_elses_address_is_not_believed(
    order: Order, pop3: Pop3Server, collects: Callable[[Pop3Server], dict[str, int]]
) -> None:
    pop3.put(report(mail(order), to="evil@example.com"))
    pop3.put(report(mail(order), to="lukas@example.com"))
    assert collects(pop3) == {"disbelieved": 2}
    assert mail(order).state == StepState.DONE


@pytest.mark.req("F41")
def test_a_late_mail_is_told_once_and_changes_nothing(
    order: Order, pop3: Pop3Server, collects: Callable[[Pop3Server], dict[str, int]]
) -> None:
    for _ in range(3):
        pop3.put(report(mail(order), action="delayed", status="4.4.1"))
        assert collects(pop3) == {"told": 1}
    assert [entry.facts["to"] for entry in order.timeline if entry.kind == "mail_delayed"] == ["marie@example.com"]
    assert (mail(order).state, mail(order).error_code) == (StepState.DONE, None)
    assert pop3.messages == {}


@pytest.mark.req("F41")
def test_what_is_no_report_of_ours_stays_in_the_mailbox_and_is_fetched_once(
    order: Order, pop3: Pop3Server, collects: Callable[[Pop3Server], dict[str, int]]
) -> None:
    foreign = Step(message_id="ord_of_another_shop.1.receipt.1")
    letters = {pop3.put(b"Subject: holiday\r\n\r\nback on Monday"), pop3.put(report(foreign)), pop3.put(b"")}
    pop3.put(report(mail(order)))
    assert collects(pop3) == {"no_report": 2, "foreign": 1, "bounced": 1}
    assert set(pop3.messages) == letters
    pop3.log.clear()
    assert collects(pop3) == {}
    assert not [line for line in pop3.log if line.startswith("RETR")]


@pytest.mark.req("F41")
def test_a_visit_that_breaks_before_its_end_is_repeated_without_harm(
    order: Order, pop3: Pop3Server, collects: Callable[[Pop3Server], dict[str, int]]
) -> None:
    pop3.put(report(mail(order)))
    pop3.dies_at = "QUIT"
    with pytest.raises(MailboxFailed):
        collects(pop3)
    assert mail(order).error_code == "bounced" and len(pop3.messages) == 1
    pop3.dies_at = ""
    assert collects(pop3) == {"told": 1}
    assert pop3.messages == {}
    assert len([entry for entry in order.timeline if entry.kind == "mail_bounced"]) == 1


@pytest.mark.req("F41")
def test_one_message_that_breaks_the_line_does_not_hide_the_others_for_ever(
    order: Order, pop3: Pop3Server, collects: Callable[[Pop3Server], dict[str, int]]
) -> None:
    pop3.put(b"Subject: x\r\n\r\n" + b"x" * 50_000)  # no line may be so long; the library gives up
    pop3.put(report(mail(order)))
    with pytest.raises(MailboxFailed):
        collects(pop3)
    assert collects(pop3) == {"bounced": 1}


@pytest.mark.req("F41")
def test_a_very_large_report_is_fetched_as_far_as_it_matters(
    order: Order, pop3: Pop3Server, collects: Callable[[Pop3Server], dict[str, int]]
) -> None:
    pop3.put(report(mail(order)) + (b"x" * 70 + b"\r\n") * 40_000)
    assert collects(pop3) == {"bounced": 1}
    assert any(line.startswith("TOP") for line in pop3.log)


@pytest.mark.req("F41")
def test_a_report_that_overtakes_our_own_books_is_read_again(
    app: flask.Flask, merchant: Merchant, smtp: ScriptedServer, pop3: Pop3Server,
    collects: Callable[[Pop3Server], dict[str, int]],
) -> None:  # fmt: skip
    smtp.drop("AFTER_DOT")
    order = reports.paid(merchant)
    work.run_due("w1")
    step = mail(order, StepName.DELIVER_BUYER)
    assert step.state == StepState.UNKNOWN
    pop3.put(report(step, to="lukas@example.com"))
    assert collects(pop3) == {"early": 1} == collects(pop3)
    clock.move(timedelta(minutes=2))
    work.run_due("w1")
    assert collects(pop3) == {"bounced": 1}
    assert mail(order, StepName.DELIVER_BUYER).error_code == "bounced"


@pytest.mark.req("F41", "T1")
def test_the_mailbox_is_read_over_a_checked_line_only(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    with Pop3Server(certificate=certificate) as server:
        server.put(b"Subject: x\r\n\r\nx")
        with pytest.raises(MailboxFailed, match="certificate"), BounceMailbox(server.url).opened():
            pass
        with BounceMailbox(server.url, ca_file=str(certificate[0])).opened() as mailbox:
            assert list(mailbox.numbers().values()) == [1]


def test_a_wrong_password_and_an_absent_server_are_said_without_the_password(pop3: Pop3Server) -> None:
    wrong = pop3.url.replace("secret", "wrong-secret")
    with pytest.raises(MailboxFailed) as refused, BounceMailbox(wrong).opened():
        pass
    assert "wrong-secret" not in str(refused.value)
    with pytest.raises(MailboxFailed), BounceMailbox("pop3://a:b@127.0.0.1:1").opened():
        pass


@pytest.mark.parametrize("url", ["", "imap://a:b@c", "pop3s://host", "pop3s://user@host", "pop3s://a:b@h:99999", "x"])
def test_an_address_of_a_mailbox_has_one_form(url: str) -> None:
    with pytest.raises(ValueError, match="BOUNCE_MAILBOX"):
        BounceMailbox(url)


def test_without_a_mailbox_nothing_is_collected(app: flask.Flask) -> None:
    assert bounces.collect() == {}


# The pipe of a mail server, and the operator


def flask_mail(settings: config.Settings, *words: str, sent: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "flask", "mail", *words]
    return subprocess.run(
        command, env=processes.environment(settings), cwd=config.ROOT, input=sent, capture_output=True, timeout=60
    )


@pytest.mark.req("F41")
def test_a_mail_server_pipes_what_came_back(order: Order, settings: config.Settings) -> None:
    nothing = flask_mail(settings, "bounce", sent=b"Subject: hello\r\n\r\nhello")
    assert (nothing.returncode, mail(order).state) == (0, StepState.DONE), nothing.stderr
    piped = flask_mail(settings, "bounce", sent=report(mail(order)))
    assert (piped.returncode, b"came back" in piped.stdout) == (0, True), piped.stderr
    assert mail(order).error_code == "bounced"


@pytest.mark.req("F41")
def test_a_mail_server_keeps_what_we_could_not_take(order: Order, settings: config.Settings) -> None:
    elsewhere = settings.model_copy(update={"database_url": "sqlite:////nowhere/at/all.db"})
    answer = flask_mail(elsewhere, "bounce", sent=report(mail(order)))
    assert answer.returncode == 75, answer.stderr


@pytest.mark.req("B16")
def test_the_operator_tries_the_mail_server(order: Order, settings: config.Settings, smtp: ScriptedServer) -> None:
    done = flask_mail(settings, "test", "you@x.at")
    assert done.returncode == 0, done.stderr
    assert b"250 2.0.0 Ok" in done.stdout
    letter = smtp.messages[-1]
    assert letter.recipients == ("you@x.at",) and "Café Alba" in letter.text
    smtp.answer("RCPT", "550 5.1.1 no such user")
    refused = flask_mail(settings, "test", "you@x.at")
    assert refused.returncode == 1 and b"550 5.1.1 no such user" in refused.stderr
    wrong = flask_mail(settings, "test", "nonsense")
    assert wrong.returncode == 1 and b"Check it" in wrong.stderr
