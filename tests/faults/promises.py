"""What must hold for a paid order after any fault: one voucher for each unit, its PDF, its mails, nothing left over."""

import hashlib
from collections.abc import Sequence
from email.message import EmailMessage

import config
from domain import audit
from domain.states import FINISHED
from effects import document
from models import Entry, Order, Step, VoucherPdf
from tests.smtp import Delivered


def assert_kept(order: Order, delivered: Sequence[Delivered], *, copies: int = 2) -> None:
    """Exactly one voucher for each unit, and its mail once, or up to `copies` times under one Message-ID."""
    order = Order.get_by_id(order.id)
    assert order.is_paid, f"{order.number} was paid and nobody knows"
    open_steps = [(step.name, step.state, step.error_code) for step in order.steps if step.state not in FINISHED]
    assert order.steps.count() and not open_steps, f"{order.number} still has {open_steps}"
    for unit in order.units:
        issues = Entry.select().where(Entry.voucher == unit.voucher, Entry.kind == "issue")
        assert unit.voucher is not None and issues.count() == 1, f"{order.number}/{unit.unit_no} has no voucher"
        assert unit.voucher.balance_minor == unit.value_minor
        assert_pdf_is_whole(VoucherPdf.get(VoucherPdf.voucher == unit.voucher))
    _assert_mails(order, delivered, copies=copies)


def assert_pdf_is_whole(kept: VoucherPdf) -> bytes:
    """The stored PDF is what was checked before it was stored; the bytes."""
    pdf = document.stored_pdf(kept.voucher)
    assert pdf is not None
    assert (hashlib.sha256(pdf).hexdigest(), len(pdf)) == (kept.sha256, kept.size)
    return pdf


def assert_books() -> None:
    """Every invariant of the shop."""
    assert audit.is_clean(findings := audit.run()), [each for each in findings if each.broken]


def of(order: Order, delivered: Sequence[Delivered]) -> list[EmailMessage]:
    """The letters about an order, as the Message-ID tells, in the order of their arrival."""
    letters = [each.message for each in delivered]
    return [letter for letter in letters if str(letter["Message-ID"]).startswith(f"<{order.ref}.")]


def _assert_mails(order: Order, delivered: Sequence[Delivered], *, copies: int) -> None:
    letters = of(order, delivered)
    sender = config.Settings(_env_file=None, mail_default_sender="vouchers@shop.example").sender
    for step in order.steps.where(Step.message_id.is_null(False)):
        wanted = f"<{step.message_id}@{sender.rpartition('@')[2]}>"
        mine = [letter for letter in letters if str(letter["Message-ID"]) == wanted]
        assert 1 <= len(mine) <= copies, f"{order.number}: {step.name} was mailed {len(mine)} times"
        assert len({_content(letter) for letter in mine}) == 1, f"{order.number}: the copies of {step.name} differ"
        letters = [letter for letter in letters if letter not in mine]
        if step.unit_no:
            voucher = order.units.where(step.unit.__class__.unit_no == step.unit_no).get().voucher
            assert _pdf(mine[0]) == document.stored_pdf(voucher), "what was mailed is not what is kept"
    assert not letters, f"{order.number}: mails of nobody: {[str(letter['Message-ID']) for letter in letters]}"


def _content(letter: EmailMessage) -> tuple[str, str, str, bytes | None]:
    body = letter.get_body(preferencelist=("plain",))
    assert body is not None
    return str(letter["To"]), str(letter["Subject"]), str(body.get_content()), _pdf(letter)


def _pdf(letter: EmailMessage) -> bytes | None:
    for part in letter.iter_attachments():
        if part.get_content_type() == "application/pdf":
            return bytes(part.get_content())
    return None
