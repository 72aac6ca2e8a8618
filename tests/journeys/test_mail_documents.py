"""The PDF that goes with a mail: plain when the chosen one fails, absent when none can be made, never a wrong one."""

import dataclasses
import hashlib
from collections.abc import Callable
from datetime import timedelta

import flask
import pytest

from domain import clock, fulfilment
from domain.states import StepName, StepState
from effects import document, work
from gateways.document import DocumentFailed, Press, Printed, VoucherDocument
from models import Design, Merchant, Order, Step, Unit, Voucher, VoucherPdf
from tests import reports
from tests.smtp import Delivered, ScriptedServer

MESSAGE = "Alles Liebe, deine Oma ❤"


class BrokenPress(Press):
    """A real press whose pages with a message fail with `code`; with `is_hopeless` every page does.

    With `lies` it prints another value than it was asked for.
    """

    def __init__(self, warm: Press, *, code: str = "", is_hopeless: bool = False, lies: bool = False) -> None:
        super().__init__()
        self._warm, self._code, self._is_hopeless, self._lies = warm, code, is_hopeless, lies
        self.asked: list[VoucherDocument] = []

    def print(self, document: VoucherDocument) -> Printed:
        self.asked.append(document)
        if self._code and (document.message or self._is_hopeless):
            raise DocumentFailed(self._code, "as the test wants it")
        return self._warm.print(dataclasses.replace(document, value_text="999,00 €") if self._lies else document)

    def close(self) -> None:
        """The warm press belongs to all tests."""


@pytest.fixture
def broken(app: flask.Flask, press: Press) -> Callable[..., BrokenPress]:
    def install(**how: object) -> BrokenPress:
        put = BrokenPress(press, **how)  # type: ignore[arg-type]
        app.extensions["outside"] = dataclasses.replace(app.extensions["outside"], press=put)
        return put

    return install


@pytest.fixture
def order(merchant: Merchant, app: flask.Flask) -> Order:
    """Sold to Marie with a message in a green design; nothing is made yet."""
    Merchant.update(how_to_redeem="Nicht mit anderen Aktionen.").where(Merchant.id == merchant.id).execute()
    sold = reports.paid(Merchant.get_by_id(merchant.id), "marie@example.com")
    Unit.update(message=MESSAGE, accent="#1f5c4d").where(Unit.order == sold).execute()
    return sold


def go_on(order: Order, *, hours: float = 1) -> None:
    """Work until nothing is due for so long."""
    until = clock.now() + timedelta(hours=hours)
    while clock.now() < until:
        work.run_due("w1")
        clock.move(timedelta(minutes=10))


def step(order: Order, name: StepName = StepName.DOCUMENT) -> Step:
    return order.steps.where(Step.name == name).order_by(Step.epoch.desc()).get()


def to_marie(smtp: ScriptedServer) -> list[Delivered]:
    return [letter for letter in smtp.messages if letter.recipients == ("marie@example.com",)]


def pdf_of(letter: Delivered) -> bytes | None:
    files = [part.get_content() for part in letter.message.iter_attachments()]
    return files[0] if files else None


@pytest.mark.req("F33")
@pytest.mark.parametrize("code", ["renderer_crashed", "renderer_timeout"])
def test_after_three_failures_the_plain_page_is_printed_and_mailed(
    order: Order, smtp: ScriptedServer, broken: Callable[..., BrokenPress], press: Press, code: str
) -> None:
    at_work = broken(code=code)
    go_on(order)
    assert [bool(each.message) for each in at_work.asked] == [True, True, True, False]
    plain = at_work.asked[-1]
    assert (plain.sender_name, plain.recipient_name, plain.terms_lines, plain.accent) == ("", "", (), "#8a2c4b")
    (letter,) = to_marie(smtp)
    sent = pdf_of(letter)
    assert sent is not None and MESSAGE in letter.text
    voucher = Voucher.get()
    assert hashlib.sha256(sent).hexdigest() == VoucherPdf.get(VoucherPdf.voucher == voucher).sha256
    said = press.print(plain).read_back.text
    assert "50,00" in said and plain.code in said and "Café Alba" in said
    made = [entry for entry in order.timeline if entry.kind == "document_made"]
    assert [entry.facts["is_plain"] for entry in made] == [True]


@pytest.mark.req("F33")
@pytest.mark.parametrize("code", ["render_error", "too_many_pages"])
def test_a_page_that_fails_for_good_is_not_asked_for_twice(
    order: Order, smtp: ScriptedServer, broken: Callable[..., BrokenPress], code: str
) -> None:
    at_work = broken(code=code)
    go_on(order)
    assert [bool(each.message) for each in at_work.asked] == [True, False]
    assert [pdf_of(letter) is not None for letter in to_marie(smtp)] == [True]


@pytest.mark.req("F33")
def test_texts_that_no_page_can_hold_still_give_a_plain_one(order: Order, smtp: ScriptedServer) -> None:
    Merchant.update(address="\n".join(f"Stiege {n}" for n in range(60))).execute()
    go_on(order)
    assert step(order).state == StepState.DONE
    assert [pdf_of(letter) is not None for letter in to_marie(smtp)] == [True]


@pytest.mark.req("F33", "S1-23")
def test_without_any_pdf_the_code_and_the_link_go_out_and_the_step_stays_visible(
    order: Order, smtp: ScriptedServer, broken: Callable[..., BrokenPress], app: flask.Flask, press: Press
) -> None:
    broken(code="render_error", is_hopeless=True)
    go_on(order)
    assert (step(order).state, step(order).error_code) == (StepState.DEAD, "render_error")
    (letter,) = to_marie(smtp)
    assert pdf_of(letter) is None
    code = work.voucher.read_code(Voucher.get())
    for part in (letter.text, letter.html):
        assert code in part and "/v/" in part
        assert "Das PDF zum Ausdrucken ist noch nicht fertig" in part
    assert step(order, StepName.DELIVER_RECIPIENT).state == StepState.DONE

    broken()
    fulfilment.retry(order, step(order).id, token=step(order).token, actor="anna")
    work.run_due("w1")
    assert step(order).state == StepState.DONE
    assert len(to_marie(smtp)) == 1, "nobody is written to unasked"
    mail = step(order, StepName.DELIVER_RECIPIENT)
    fulfilment.resend(order, mail.id, token=mail.token, actor="anna")
    work.run_due("w1")
    assert pdf_of(to_marie(smtp)[-1]) is not None
    assert "noch nicht fertig" not in to_marie(smtp)[-1].text


@pytest.mark.req("F33")
def test_a_mail_waits_for_a_pdf_that_is_being_made_again(
    order: Order, smtp: ScriptedServer, broken: Callable[..., BrokenPress]
) -> None:
    smtp.answer("RCPT", "451 4.7.1 later", times=1)
    broken(code="render_error", is_hopeless=True)
    while step(order).state != StepState.DEAD:
        work.run_due("w1", order_id=order.id)
        clock.move(timedelta(minutes=1))
    fulfilment.retry(order, step(order).id, token=step(order).token, actor="anna")
    clock.move(timedelta(hours=1))
    mail = order.steps.where(Step.name == StepName.DELIVER_RECIPIENT)
    if mail.get().state != StepState.DONE:  # the first letter of the two was put off
        taken = fulfilment.claim("w2", without=(StepName.DOCUMENT, StepName.RECEIPT))
        assert taken is not None
        work.perform(taken)
        assert mail.get().error_code == "pdf_missing"


@pytest.mark.req("F34", "S1-07")
def test_a_pdf_that_says_something_else_than_the_books_is_never_mailed(
    order: Order, smtp: ScriptedServer, broken: Callable[..., BrokenPress]
) -> None:
    at_work = broken(lies=True)
    go_on(order, hours=3)
    assert len(at_work.asked) == fulfilment.POLICIES[StepName.DOCUMENT].attempts
    assert (step(order).state, step(order).error_code) == (StepState.DEAD, "document_differs")
    assert "value" in step(order).error_text
    assert VoucherPdf.select().count() == 0
    assert [pdf_of(letter) for letter in to_marie(smtp)] == [None]


@pytest.mark.req("F34", "F31")
def test_a_stored_pdf_that_is_not_the_one_that_was_checked_stays_here(order: Order, smtp: ScriptedServer) -> None:
    smtp.answer("RCPT", "451 4.7.1 later", times=2)
    work.run_due("w1")
    VoucherPdf.update(sha256="0" * 64).execute()
    clock.move(timedelta(minutes=10))
    work.run_due("w1")
    mail = step(order, StepName.DELIVER_RECIPIENT)
    assert (mail.state, mail.error_code) == (StepState.RETRY_WAIT, "document_differs")
    assert to_marie(smtp) == []


@pytest.mark.req("F35")
def test_what_changes_between_the_first_try_and_the_next_changes_no_byte_of_the_pdf(
    order: Order, smtp: ScriptedServer, merchant: Merchant
) -> None:
    smtp.answer("RCPT", "451 4.7.1 Greylisted", times=2)
    work.run_due("w1")
    assert smtp.messages == []
    before = VoucherPdf.get().sha256
    Merchant.update(
        name="Café Neu",
        address="Neugasse 1\n4020 Linz",
        accent="#00ff00",
        how_to_redeem="anders",
        time_zone="Asia/Tokyo",
    ).execute()
    Design.update(layout="gone", accent="#ff0000", name="neu").execute()
    Unit.update(accent="#0000ff", layout="gone").execute()
    clock.move(timedelta(minutes=10))
    work.run_due("w1")
    (letter,) = to_marie(smtp)
    sent = pdf_of(letter)
    assert sent is not None and hashlib.sha256(sent).hexdigest() == before
    mail = step(order, StepName.DELIVER_RECIPIENT)
    fulfilment.resend(order, mail.id, token=mail.token, actor="anna")
    work.run_due("w1")
    assert pdf_of(to_marie(smtp)[-1]) == sent
    assert [entry.facts["sha256"] for entry in order.timeline if entry.kind == "document_made"] == [before]


@pytest.mark.req("F35")
def test_a_voucher_is_printed_as_it_was_bought_whatever_became_of_its_design(
    order: Order, smtp: ScriptedServer
) -> None:
    unit = order.units.get()
    Design.update(layout="gone", accent="#ff0000").execute()
    work.run_due("w1", order_id=order.id)
    voucher = Voucher.get()
    printed = document.describe(voucher, order=order, unit=unit)
    assert (printed.accent, printed.layout) == ("#1f5c4d", "classic")
    assert step(order).state == StepState.DONE
