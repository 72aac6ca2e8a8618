"""Vouchers: the list, and each voucher's page with its ledger, its PDF and, on demand and logged, its code."""

from flask import Response, abort, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from blueprints import htmx
from blueprints.dashboard import desk, listing, sentences, wording
from blueprints.dashboard.desk import blueprint
from database import transaction
from domain import clock, timeline
from effects import document, links
from effects import voucher as voucher_effects
from gateways.vault import SealBroken
from models import TimelineEntry, Voucher, VoucherPdf


@blueprint.get("/vouchers")
def vouchers() -> ResponseReturnValue:
    """The newest vouchers that match a search by name, address, order number or the last four characters."""
    wanted = listing.Wanted.read(request.args)
    found, has_more = listing.vouchers(desk.merchant(), wanted)
    return htmx.respond(
        "dashboard/vouchers.html",
        "dashboard/_vouchers.html",
        wanted=wanted,
        vouchers=found,
        has_more=has_more,
        life=wording.VOUCHER_LIFE,
        now=clock.now(),
    )


@blueprint.get("/vouchers/<public_id>")
def voucher(public_id: str) -> ResponseReturnValue:
    """One voucher: what it is worth and how it came to that."""
    return _page(_voucher_or_404(public_id))


@blueprint.post("/vouchers/<public_id>/code")
def show_code(public_id: str) -> ResponseReturnValue:
    """The full code, once; who asked and when is in the timeline."""
    found = _voucher_or_404(public_id)
    try:
        code = voucher_effects.read_code(found)
    except SealBroken:
        return _page(found, trouble=_("The code can't be opened: its key is missing or the data was changed."))
    order = found.unit.order if found.unit_id else None
    with transaction():
        timeline.record(found.merchant, "code_shown", order=order, voucher=found, actor=desk.actor())
    return _page(found, code=code)


@blueprint.get("/vouchers/<public_id>/pdf")
def voucher_pdf(public_id: str) -> ResponseReturnValue:
    """The PDF exactly as it was checked and mailed."""
    found = _voucher_or_404(public_id)
    pdf = document.stored_pdf(found)
    if pdf is None:
        abort(404)
    name = f"{_('voucher')}-{found.code_last4}.pdf"
    return Response(pdf, mimetype="application/pdf", headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _page(found: Voucher, *, code: str = "", trouble: str = "") -> ResponseReturnValue:
    entries = TimelineEntry.select().where(TimelineEntry.voucher == found).order_by(TimelineEntry.id.desc())
    return htmx.respond(
        "dashboard/voucher.html",
        "dashboard/_code.html",
        voucher=found,
        unit=found.unit,
        entries=list(found.entries),
        status_shown=wording.VOUCHER_LIFE[found.shown_status(clock.now())],
        has_pdf=VoucherPdf.select().where(VoucherPdf.voucher == found).exists(),
        page_url=links.voucher_url(found),
        timeline=sentences.lines(entries, currency=found.currency),
        wording=wording,
        code=code,
        trouble=trouble,
        now=clock.now(),
    )


def _voucher_or_404(public_id: str) -> Voucher:
    found = desk.merchant().vouchers.where(Voucher.public_id == public_id).first() if "\0" not in public_id else None
    return found or abort(404)
