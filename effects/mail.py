"""Mails: the voucher to whom it is for, the receipt to a buyer whose vouchers go to others."""

from dataclasses import replace
from datetime import timedelta

from babel.dates import format_datetime

from database import transaction
from domain import breakers, clock, fulfilment, money, timeline
from domain.states import DELIVERABLE, MAILS, StepName, StepState
from effects import document, links
from effects import voucher as vouchers
from effects.outside import here
from gateways import letters
from gateways.mailer import Accepted, Failure, Letter, MailFailed
from models import Merchant, Order, Step, Unit, Voucher

# A server that says "later" means minutes (greylisting); one that refuses us needs a person before it changes its mind.
_AT_LEAST = {Failure.NOT_NOW: timedelta(seconds=30), Failure.OURS: timedelta(seconds=60)}
_GREYLISTED = (450, 451)
_GREYLIST_PAUSE = timedelta(minutes=5)
_PERMANENT = frozenset({Failure.BAD_ADDRESS, Failure.REFUSED})
# One order that finds nobody may be bad luck or a bad letter; so many in a row are a server that is away.
_ORDERS_UNTIL_OUTAGE = 5
# What waited for the server alone, and goes out at once when it is back.
_KEPT_BY_THE_LINE = (f"mail_{Failure.OURS}", f"mail_{Failure.UNREACHABLE}")


class PdfMissing(Exception):
    """The PDF is not there, and somebody is still at it."""


def deliver(step: Step) -> None:
    """Mail one voucher with its PDF to its recipient, or to the buyer when nobody else was named.

    A PDF that could not be made for good holds nobody back: code and link go out without it.
    """
    order = step.order
    unit = step.unit
    voucher = unit.voucher
    if voucher.status not in DELIVERABLE:
        fulfilment.skip(step, code=fulfilment.why_withheld(voucher))
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


def failure(error: MailFailed, *, step: Step) -> fulfilment.Failure:
    """How the step machine should take it that a mail was not accepted.

    What would happen to every other mail too trips the breaker; a letter that was looked at and refused mends it.
    """
    code = "bad_address" if error.kind == Failure.BAD_ADDRESS else f"mail_{error.kind}"
    said = error.detail if error.code is None else f"{error.code} {error.detail}"
    is_ours = error.kind == Failure.OURS or (error.kind == Failure.UNREACHABLE and _is_away(step, code=code))
    if is_ours:
        breakers.trip(breakers.MAIL, code=code, detail=said)
    elif error.kind in _PERMANENT and error.code is not None:
        note_line_works()
    return fulfilment.Failure(
        code,
        said,
        is_permanent=error.kind in _PERMANENT,
        is_unknown=error.kind == Failure.UNKNOWN,
        is_ours=is_ours,
        at_least=_GREYLIST_PAUSE if error.code in _GREYLISTED else _AT_LEAST.get(error.kind, timedelta()),
    )


def post(letter: Letter) -> Accepted:
    """Hand a letter over, with our address for returned mail on its envelope. Raises MailFailed."""
    outside = here()
    return outside.mailer.send(replace(letter, bounces_to=outside.settings.mail_bounce_address or None))


def own_message_id(local: str) -> str:
    """A Message-ID of the sender's domain."""
    return f"<{local}@{here().settings.sender.rpartition('@')[2]}>"


def note_line_works() -> None:
    """The mail server takes our letters: close the breaker, and let everything go that waited for it alone."""
    if breakers.is_open(breakers.MAIL):
        # First this: once the breaker is closed nobody would come back for them.
        fulfilment.hasten(_KEPT_BY_THE_LINE)
        breakers.mend(breakers.MAIL)


def claim(worker: str, *, order_id: int | None = None) -> Step | None:
    """The next due step, mails only while the line works; of a broken line one mail a minute asks how it is."""
    if not breakers.is_open(breakers.MAIL):
        return fulfilment.claim(worker, order_id=order_id)
    step = fulfilment.claim(worker, order_id=order_id, without=MAILS)
    if step is None and breakers.may_probe(breakers.MAIL):
        return fulfilment.claim(worker, without=[name for name in StepName if name not in MAILS])
    return step


def _is_away(step: Step, *, code: str) -> bool:
    return breakers.is_open(breakers.MAIL) or fulfilment.is_outage(step, code=code, orders=_ORDERS_UNTIL_OUTAGE)


def _send(step: Step, letter: Letter) -> None:
    if not fulfilment.note_sending(step):
        return
    accepted = post(letter)
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
    note_line_works()


def _message_id(step: Step) -> str:
    return own_message_id(str(step.message_id))


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
    if pdf is None and not _is_pdf_hopeless(order, unit):
        raise PdfMissing(f"voucher {voucher.public_id} has no PDF yet")
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
        is_pdf_late=pdf is None,
    )


def _is_pdf_hopeless(order: Order, unit: Unit) -> bool:
    makes_pdf = (Step.name == StepName.DOCUMENT) & (Step.unit_no == unit.unit_no)
    return order.steps.where(makes_pdf, Step.state == StepState.DEAD).exists()


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
