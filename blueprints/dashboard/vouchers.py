"""Vouchers: the list, and each voucher's page with its ledger, its PDF and, on demand and logged, its code.

What changes a voucher is in corrections.py; it answers with `answer`.
"""

from datetime import datetime
from typing import Any

from flask import Response, abort, flash, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from blueprints import htmx
from blueprints.dashboard import desk, fields, listing, permits, roles, sentences, wording
from blueprints.dashboard.desk import blueprint
from database import transaction
from domain import clock, holds, timeline
from domain.states import EntryKind, HoldState
from effects import document, links
from effects import voucher as voucher_effects
from gateways.vault import SealBroken
from models import Entry, Hold, TimelineEntry, Voucher, VoucherPdf


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
    return _page(voucher_or_404(public_id))


@blueprint.post("/vouchers/<public_id>/code")
def show_code(public_id: str) -> ResponseReturnValue:
    """The full code, once; who asked and when is in the timeline."""
    found = voucher_or_404(public_id)
    try:
        code = voucher_effects.read_code(found)
    except SealBroken:
        return _page(
            found, part="_code", trouble=_("The code can't be opened: its key is missing or the data was changed.")
        )
    with transaction():
        timeline.tell(found, "code_shown", actor=desk.actor())
    return _page(found, part="_code", code=code)


@blueprint.get("/vouchers/<public_id>/pdf")
def voucher_pdf(public_id: str) -> ResponseReturnValue:
    """The PDF exactly as it was checked and mailed."""
    found = voucher_or_404(public_id)
    pdf = document.stored_pdf(found)
    if pdf is None:
        abort(404)
    name = f"{_('voucher')}-{found.code_last4}.pdf"
    return Response(pdf, mimetype="application/pdf", headers={"Content-Disposition": f'attachment; filename="{name}"'})


def answer(
    changed: Voucher, notice: desk.Notice, *, status: int = 200, slip: fields.Slip | None = None
) -> ResponseReturnValue:
    """After a button: the changed fragment for htmx; without it back to the page, or with a slip the page itself."""
    tone, sentence = notice
    fresh = Voucher.get_by_id(changed.id)
    if status == 200 and not htmx.wants_fragment():
        flash(sentence, tone)
        return htmx.redirect(url_for("dashboard.voucher", public_id=fresh.public_id))
    is_done = tone == "ok"
    response = _page(fresh, status=status, slip=slip, is_done=is_done, notice=None if is_done else notice)
    return htmx.announce(response, {"toast": sentence} if is_done else {"status": sentence})


def voucher_or_404(public_id: str) -> Voucher:
    """The merchant's voucher with this id; another merchant's is as unknown as one that never was."""
    found = desk.merchant().vouchers.where(Voucher.public_id == public_id).first() if "\0" not in public_id else None
    return found or abort(404)


def _page(found: Voucher, *, status: int = 200, part: str = "_voucher", **context: Any) -> Response:
    at = clock.now()
    entries = list(found.entries)
    told = TimelineEntry.select().where(TimelineEntry.voucher == found).order_by(TimelineEntry.id.desc())
    return htmx.respond(
        "dashboard/voucher.html",
        f"dashboard/{part}.html",
        status=status,
        voucher=holds.as_of_now(found),
        unit=found.unit,
        entries=entries,
        issued=entries[-1],
        left_minor=_left_of_redemptions(entries),
        numbers={entry.id: entry.seq for entry in entries},
        holds=_standing_holds(found),
        obstacles=permits.obstacles(found, is_owner=roles.is_owner(), owners=roles.owner_names()),
        status_shown=wording.VOUCHER_LIFE[found.shown_status(at)],
        has_pdf=VoucherPdf.select().where(VoucherPdf.voucher == found).exists(),
        page_url=links.voucher_url(found),
        last_day=_local_day(found.expires_at),
        timeline=sentences.lines(told, currency=found.currency),
        wording=wording,
        new_nonce=fields.new_nonce,
        reason_limit=fields.REASON_LIMIT,
        now=at,
        **context,
    )


def _local_day(at: datetime | None) -> str:
    """`2027-12-31` in the merchant's time zone, as a date field wants it."""
    return at.astimezone(clock.zone(desk.merchant().time_zone)).date().isoformat() if at else ""


def _left_of_redemptions(entries: list[Entry]) -> dict[int, int]:
    """Redemption → what of it can still be given back, in minor units."""
    left_minor = {entry.id: -entry.amount_minor for entry in entries if entry.kind == EntryKind.REDEEM}
    for entry in entries:
        if entry.redemption_id in left_minor:
            left_minor[entry.redemption_id] -= entry.amount_minor
    return left_minor


def _standing_holds(found: Voucher) -> list[Hold]:
    standing = (Hold.voucher == found) & (Hold.state == HoldState.ACTIVE) & (Hold.expires_at > clock.now())
    return list(Hold.select().where(standing).order_by(Hold.expires_at))
