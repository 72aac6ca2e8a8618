"""The PDF of a voucher: printed from the ledger's own entry, read back, compared, sealed and kept."""

import hashlib
from datetime import datetime
from typing import Any

from babel.dates import format_date

from database import transaction
from domain import clock, fulfilment, money, timeline
from effects import links
from effects import voucher as vouchers
from effects.outside import here
from gateways.document import DocumentFailed, Printed, VoucherDocument, differences
from gateways.vault import Sealed
from models import Merchant, Order, Step, Unit, Voucher, VoucherPdf

# The same page fails again in the same way; only a plainer one can help.
_HOPELESS = frozenset({"render_error", "too_many_pages"})
CHOSEN_TRIES = 3
# What the plain page keeps of an issuer's lines, whatever stands in them.
_PLAIN_LINES, _PLAIN_WIDTH = 8, 120


class DocumentDiffers(Exception):
    """What was read back from the PDF is not what the ledger says; it must not go out."""


def make(step: Step) -> None:
    """Print the unit's voucher and keep the PDF once text and QR were read back and equal the ledger.

    After `CHOSEN_TRIES` failures of the chosen page the plain one is printed: what the voucher needs and no more.
    """
    order = step.order
    unit = step.unit
    voucher = unit.voucher
    is_plain = _is_plain_due(step)
    document = describe(voucher, order=order, unit=unit, is_plain=is_plain)
    printed = here().press.print(document)
    wrong = differences(document, printed.read_back)
    if wrong:
        # The same input gives the same page, so what differs is the printer: the next try gets a fresh one.
        here().press.close()
        raise DocumentDiffers("; ".join(wrong))
    with transaction():
        fulfilment.finish(step)
        _keep(voucher, printed)
        timeline.record(
            order.merchant,
            "document_made",
            order=order,
            voucher=voucher,
            unit_no=unit.unit_no,
            size=len(printed.pdf),
            sha256=printed.sha256,
            is_plain=is_plain,
        )


def describe(voucher: Voucher, *, order: Order, unit: Unit, is_plain: bool = False) -> VoucherDocument:
    """What stands on the PDF. Value and currency come from the ledger's issue entry, never from the form.

    `is_plain` leaves out the design and everybody's free words. ValueError when a text is longer than the page allows.
    """
    issue, merchant = voucher.issue, order.merchant
    return VoucherDocument(
        locale=order.locale,
        issuer_name=merchant.name,
        title=unit.title or None,
        value_text=money.display(issue.amount_minor, issue.currency, order.locale),
        code=vouchers.read_code(voucher),
        link=links.voucher_url(voucher),
        purchased_on_text=day(order.paid_at, merchant, order.locale),
        valid_until_text=day(voucher.expires_at, merchant, order.locale),
        is_test=voucher.is_test,
        identifier=voucher.public_id,
        **(_plain(merchant) if is_plain else _chosen(order, unit)),
    )


def day(moment: datetime | None, merchant: Merchant, locale: str) -> str:
    """A moment as the calendar day that people of the merchant's place would write; empty for None."""
    if moment is None:
        return ""
    local = moment.astimezone(clock.zone(merchant.time_zone))
    return format_date(local.date(), format="dd.MM.yyyy" if locale == "de" else "d MMMM yyyy", locale=locale)


def stored_pdf(voucher: Voucher) -> bytes | None:
    """The PDF as it was checked, byte by byte, or None while there is none.

    Raises SealBroken and DocumentDiffers when it is not what was kept.
    """
    kept = VoucherPdf.get_or_none(VoucherPdf.voucher == voucher)
    if kept is None:
        return None
    pdf = here().vault.open(Sealed(kept.key_id, bytes(kept.sealed)), context=_context(voucher))
    if hashlib.sha256(pdf).hexdigest() != kept.sha256:
        raise DocumentDiffers("the stored PDF is not the one that was read back")
    return pdf


def failure(error: DocumentFailed | DocumentDiffers, *, step: Step) -> fulfilment.Failure:
    """How the step machine should take it that no PDF came out."""
    if isinstance(error, DocumentDiffers):
        return fulfilment.Failure("document_differs", str(error))
    is_permanent = error.code in _HOPELESS and _is_plain_due(step)
    return fulfilment.Failure(error.code, error.detail, is_permanent=is_permanent)


def _is_plain_due(step: Step) -> bool:
    # With a new budget the chosen page gets its chance again: whoever pressed the button may have mended it.
    return step.attempt > CHOSEN_TRIES or (step.attempt > 1 and step.error_code in _HOPELESS)


def _chosen(order: Order, unit: Unit) -> dict[str, Any]:
    merchant = order.merchant
    return {
        "layout": unit.layout,
        "accent": unit.accent,
        "issuer_lines": merchant.address_lines,
        "issuer_contact": merchant.contact,
        "recipient_name": unit.recipient_name,
        "sender_name": order.buyer_name,
        "message": unit.message,
        "terms_lines": tuple(line for line in merchant.how_to_redeem.splitlines() if line.strip()),
    }


def _plain(merchant: Merchant) -> dict[str, Any]:
    lines = (merchant.address_lines[:_PLAIN_LINES], merchant.contact[:_PLAIN_LINES])
    address, contact = (tuple(line[:_PLAIN_WIDTH] for line in part) for part in lines)
    return {"issuer_lines": address, "issuer_contact": contact}


def _keep(voucher: Voucher, printed: Printed) -> None:
    sealed = here().vault.seal(printed.pdf, context=_context(voucher))
    VoucherPdf.delete().where(VoucherPdf.voucher == voucher).execute()
    VoucherPdf.create(
        voucher=voucher,
        sha256=printed.sha256,
        size=len(printed.pdf),
        key_id=sealed.key_id,
        sealed=sealed.ciphertext,
    )


def _context(voucher: Voucher) -> str:
    return f"pdf:{voucher.public_id}"
