"""Mails: the voucher to whom it is for, the receipt to a buyer whose vouchers go to others."""

from datetime import timedelta

from babel.dates import format_datetime

from database import transaction
from domain import clock, fulfilment, money, timeline
from domain.states import DELIVERABLE, StepName
from effects import document, links
from effects import voucher as vouchers
from effects.outside import here
from gateways import letters
from gateways.mailer import Failure, Letter, MailFailed
from models import Merchant, Order, Step, Unit, Voucher

# A server that says "later" means minutes (greylisting); one that refuses us needs a person before it changes its mind.
_AT_LEAST = {Failure.NOT_NOW: timedelta(seconds=30), Failure.OURS: timedelta(seconds=60)}
_GREYLISTED = (450, 451)
_GREYLIST_PAUSE = timedelta(minutes=5)
_PERMANENT = frozenset({Failure.BAD_ADDRESS, Failure.REFUSED})


class PdfMissing(Exception):
    """The PDF that was made is not there any more."""


def deliver(step: Step) -> None:
    """Mail one voucher with its PDF to its recipient, or to the buyer when nobody else was named."""
    order = step.order
    unit = step.unit
    voucher = unit.voucher
    if voucher.status not in DELIVERABLE:
        fulfilment.skip(step, code=f"voucher_{voucher.status}")
        return
    is_to_buyer = step.name == StepName.DELIVER_BUYER
    to = order.buyer_email if is_to_buyer else unit.recipient_email
    letter = letters.voucher_letter(
        (_gift(voucher, order=order, unit=unit),),
        shop=_shop(order.merchant, accent=unit.accent),
        to=to,
        message_id=_message_id(step),
        locale=order.locale,
        sender_name=order.buyer_name,
        purchase=_purchase(order) if is_to_buyer else None,
        is_test=order.is_test,
    )
    _send(step, letter)


def confirm_purchase(step: Step) -> None:
    """Mail the buyer what was bought, to whom it goes and when. No code, no PDF."""
    order = step.order
    letter = letters.receipt_letter(
        tuple(_line(unit, order=order) for unit in order.units),
        shop=_shop(order.merchant, accent=order.merchant.accent),
        to=order.buyer_email,
        message_id=_message_id(step),
        locale=order.locale,
        purchase=_purchase(order),
        buyer_name=order.buyer_name,
        is_test=order.is_test,
    )
    _send(step, letter)


def failure(error: MailFailed) -> fulfilment.Failure:
    """How the step machine should take it that a mail was not accepted."""
    code = "bad_address" if error.kind == Failure.BAD_ADDRESS else f"mail_{error.kind}"
    said = error.detail if error.code is None else f"{error.code} {error.detail}"
    return fulfilment.Failure(
        code,
        said,
        is_permanent=error.kind in _PERMANENT,
        is_unknown=error.kind == Failure.UNKNOWN,
        at_least=_GREYLIST_PAUSE if error.code in _GREYLISTED else _AT_LEAST.get(error.kind, timedelta()),
    )


def _send(step: Step, letter: Letter) -> None:
    fulfilment.note_sending(step)
    accepted = here().mailer.send(letter)
    order = step.order
    with transaction():
        fulfilment.finish(step)
        timeline.record(
            order.merchant,
            "mail_sent",
            order=order,
            step=str(step.name),
            unit_no=step.unit_no,
            to=letter.to,
            message_id=letter.message_id,
            reply=accepted.reply,
            attempt=step.attempt,
        )


def _message_id(step: Step) -> str:
    return f"<{step.message_id}@{here().settings.sender.rpartition('@')[2]}>"


def _shop(merchant: Merchant, *, accent: str) -> letters.Shop:
    return letters.Shop(
        name=merchant.name,
        lines=merchant.address_lines,
        contact=merchant.contact,
        accent=accent,
        reply_to=merchant.email or None,
    )


def _gift(voucher: Voucher, *, order: Order, unit: Unit) -> letters.GiftVoucher:
    pdf = document.stored_pdf(voucher)
    if pdf is None:
        raise PdfMissing(f"voucher {voucher.public_id} has no PDF")
    issue = voucher.issue
    return letters.GiftVoucher(
        code=vouchers.read_code(voucher),
        link=links.voucher_url(voucher),
        value_text=money.display(issue.amount_minor, issue.currency, order.locale),
        title=unit.title or None,
        recipient_name=unit.recipient_name,
        message=unit.message,
        valid_until_text=document.day(voucher.expires_at, order.merchant, order.locale),
        pdf=pdf,
    )


def _purchase(order: Order) -> letters.Purchase:
    return letters.Purchase(
        order_number=order.number,
        total_text=money.display(order.total_minor, order.currency, order.locale),
        order_link=links.order_url(order),
        purchased_on_text=document.day(order.paid_at, order.merchant, order.locale),
    )


def _line(unit: Unit, *, order: Order) -> letters.ReceiptLine:
    return letters.ReceiptLine(
        what=unit.title,
        price_text=money.display(unit.value_minor, unit.currency, order.locale),
        recipient_name=unit.recipient_name,
        recipient_email=unit.recipient_email or order.buyer_email,
        when_text=_when(unit, order=order),
    )


def _when(unit: Unit, *, order: Order) -> str:
    is_german = order.locale == "de"
    if unit.deliver_at is None or unit.deliver_at <= clock.now():
        return "sofort" if is_german else "at once"
    local = unit.deliver_at.astimezone(clock.zone(order.merchant.time_zone))
    pattern = "'am' dd.MM.yyyy 'um' HH:mm" if is_german else "'on' d MMMM yyyy 'at' HH:mm"
    return format_datetime(local.replace(tzinfo=None), pattern, locale=order.locale)
