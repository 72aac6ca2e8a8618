"""The voucher's own page: what the QR opens and the recipient keeps. Reading it changes nothing."""

from dataclasses import dataclass
from enum import StrEnum

import structlog
from flask import Blueprint, abort, g, render_template
from flask.typing import ResponseReturnValue

from blueprints import limits, pictures, presentation
from domain import clock
from domain.states import MAILS, EntryKind, StepState, VoucherStatus
from effects import document, links
from effects import voucher as vouchers
from gateways.vault import SealBroken
from models import Entry, Merchant, Step, Unit, Voucher, VoucherPdf

blueprint = Blueprint("voucher_page", __name__)
log = structlog.get_logger()


class Condition(StrEnum):
    """What the recipient may do with the voucher now."""

    VALID = "valid"
    PARTLY_USED = "partly_used"
    USED_UP = "used_up"
    EXPIRED = "expired"
    NOT_STARTED = "not_started"
    WAITING = "waiting"
    BLOCKED = "blocked"
    CANCELLED = "cancelled"


# Nobody should stand at the till with a code that will be refused.
WITHOUT_CODE = (Condition.WAITING, Condition.BLOCKED, Condition.CANCELLED, Condition.USED_UP)


@dataclass(frozen=True)
class Picture:
    """Everything the page shows of one voucher. `code` and `qr` are None where they must not be seen."""

    voucher: Voucher
    merchant: Merchant
    unit: Unit | None
    condition: Condition
    initial_minor: int
    uses: list[Entry]
    code: str | None
    qr: pictures.Qr | None
    has_pdf: bool
    sender_name: str


@blueprint.get("/v/<token>")
@limits.limiter.limit("60 per minute")
def show_voucher(token: str) -> ResponseReturnValue:
    """The page behind the QR; an unknown token is a 404 that tells nothing."""
    voucher = _voucher(token)
    return presentation.private(render_template("voucher_page/voucher.html", token=token, picture=_picture(voucher)))


@blueprint.get("/v/<token>/voucher.pdf")
@limits.limiter.limit("30 per minute")
def download(token: str) -> ResponseReturnValue:
    """The checked PDF, unless the voucher waits for its day or is blocked."""
    voucher = _voucher(token)
    if _condition(voucher) in (Condition.WAITING, Condition.BLOCKED, Condition.CANCELLED):
        abort(404)
    return presentation.pdf_download(
        document.stored_pdf(voucher), merchant=voucher.merchant, locale=presentation.language()
    )


def _voucher(token: str) -> Voucher:
    # Ours are 32 letters and digits; anything else needs no look into the database.
    if not (token.isascii() and token.isalnum() and len(token) == 32):
        abort(404)
    voucher = vouchers.find_by_link(token) or abort(404)
    g.merchant = voucher.merchant
    return voucher


def _picture(voucher: Voucher) -> Picture:
    condition, entries = _condition(voucher), list(voucher.entries)
    code = None if condition in WITHOUT_CODE else _code(voucher)
    return Picture(
        voucher=voucher,
        merchant=voucher.merchant,
        unit=voucher.unit,
        condition=condition,
        initial_minor=sum(entry.amount_minor for entry in entries if entry.kind == EntryKind.ISSUE),
        uses=[entry for entry in entries if entry.kind != EntryKind.ISSUE],
        code=code,
        qr=pictures.qr(links.voucher_url(voucher)) if code else None,
        has_pdf=VoucherPdf.select().where(VoucherPdf.voucher == voucher).exists(),
        sender_name=voucher.unit.order.buyer_name if voucher.unit is not None else "",
    )


def _condition(voucher: Voucher) -> Condition:
    now = clock.now()
    if voucher.status == VoucherStatus.SUSPENDED:
        return Condition.BLOCKED
    if voucher.status == VoucherStatus.CANCELLED:
        return Condition.CANCELLED
    if _waits_for_its_day(voucher):
        return Condition.WAITING
    if voucher.status == VoucherStatus.PENDING or (voucher.valid_from is not None and voucher.valid_from > now):
        return Condition.NOT_STARTED
    if voucher.is_expired(now):
        return Condition.EXPIRED
    if voucher.balance_minor == 0:
        return Condition.USED_UP
    has_uses = Entry.select().where(Entry.voucher == voucher, Entry.kind == EntryKind.REDEEM).exists()
    return Condition.PARTLY_USED if has_uses else Condition.VALID


def _waits_for_its_day(voucher: Voucher) -> bool:
    """A present that goes out later keeps its secret until then."""
    unit = voucher.unit
    if unit is None or unit.deliver_at is None or unit.deliver_at <= clock.now():
        return False
    sent = Step.select().where(
        Step.order == unit.order_id, Step.unit_no == unit.unit_no, Step.name.in_(MAILS), Step.state == StepState.DONE
    )
    return not sent.exists()


def _code(voucher: Voucher) -> str | None:
    try:
        return vouchers.read_code(voucher)
    except SealBroken:
        # The page still says what the voucher is worth; the shop finds it by its last four characters.
        log.error("code_unreadable", voucher=voucher.public_id)
        return None
