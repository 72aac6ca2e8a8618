"""The PDF of a voucher: printed from the ledger's own entry, read back, compared, sealed and kept."""

from datetime import datetime

from babel.dates import format_date

from database import transaction
from domain import clock, fulfilment, money, timeline
from effects import links
from effects import voucher as vouchers
from effects.outside import here
from gateways.document import DocumentFailed, Printed, VoucherDocument, differences
from gateways.vault import Sealed
from models import Merchant, Order, Step, Unit, Voucher, VoucherPdf

_PERMANENT = frozenset({"render_error", "too_many_pages"})


class DocumentDiffers(Exception):
    """What was read back from the PDF is not what the ledger says; it must not go out."""


def make(step: Step) -> None:
    """Print the unit's voucher and keep the PDF once text and QR were read back and equal the ledger."""
    order = step.order
    unit = step.unit
    voucher = unit.voucher
    document = describe(voucher, order=order, unit=unit)
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
        )


def describe(voucher: Voucher, *, order: Order, unit: Unit) -> VoucherDocument:
    """What stands on the PDF. Value and currency come from the ledger's issue entry, never from the form."""
    issue, merchant = voucher.issue, order.merchant
    return VoucherDocument(
        layout=unit.layout,
        accent=unit.accent,
        locale=order.locale,
        issuer_name=merchant.name,
        issuer_lines=merchant.address_lines,
        issuer_contact=merchant.contact,
        title=unit.title or None,
        value_text=money.display(issue.amount_minor, issue.currency, order.locale),
        recipient_name=unit.recipient_name,
        sender_name=order.buyer_name,
        message=unit.message,
        code=vouchers.read_code(voucher),
        link=links.voucher_url(voucher),
        purchased_on_text=day(order.paid_at, merchant, order.locale),
        valid_until_text=day(voucher.expires_at, merchant, order.locale),
        terms_lines=tuple(line for line in merchant.how_to_redeem.splitlines() if line.strip()),
        is_test=voucher.is_test,
        identifier=voucher.public_id,
    )


def day(moment: datetime | None, merchant: Merchant, locale: str) -> str:
    """A moment as the calendar day that people of the merchant's place would write; empty for None."""
    if moment is None:
        return ""
    local = moment.astimezone(clock.zone(merchant.time_zone))
    return format_date(local.date(), format="dd.MM.yyyy" if locale == "de" else "d MMMM yyyy", locale=locale)


def stored_pdf(voucher: Voucher) -> bytes | None:
    """The PDF as it was checked, or None while there is none. Raises SealBroken when it was tampered with."""
    kept = VoucherPdf.get_or_none(VoucherPdf.voucher == voucher)
    if kept is None:
        return None
    return here().vault.open(Sealed(kept.key_id, bytes(kept.sealed)), context=_context(voucher))


def failure(error: DocumentFailed | DocumentDiffers) -> fulfilment.Failure:
    """How the step machine should take it that no PDF came out."""
    if isinstance(error, DocumentDiffers):
        return fulfilment.Failure("document_differs", str(error))
    return fulfilment.Failure(error.code, error.detail, is_permanent=error.code in _PERMANENT)


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
