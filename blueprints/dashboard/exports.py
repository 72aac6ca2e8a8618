"""Exports: all vouchers, all entries of the ledger, and what the shop owed at the end of any day."""

from flask import make_response, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from blueprints import presentation
from blueprints.dashboard import batches, desk, roles
from blueprints.dashboard.desk import blueprint
from domain import batch_lines, clock, ledger
from effects import export
from effects.outside import here

_YEARS = range(2000, 2200)


@blueprint.get("/exports")
def exports() -> ResponseReturnValue:
    """What can be taken away, and the liability of a day."""
    merchant = desk.merchant()
    typed = request.args.get("on", "")[:40].strip()
    day = batch_lines.read_day(typed) if typed else clock.today(merchant.time_zone)
    is_wrong = day is None or day.year not in _YEARS
    owed = {}
    if day is not None and not is_wrong:
        at = clock.end_of_day(day, merchant.time_zone)
        owed = ledger.liability_at(merchant, at, is_test=here().settings.is_test) or {merchant.currency: 0}
    page = render_template(
        "dashboard/export.html",
        owed=owed,
        typed=typed or (day.isoformat() if day else ""),
        until=clock.end_of_day(day, merchant.time_zone) if day is not None and not is_wrong else None,
        error=_("Please enter a day, such as 31.12.2026.") if is_wrong else "",
        vouchers=merchant.vouchers.count(),
        is_owner=roles.is_owner(),
    )
    return make_response(page, 422 if is_wrong else 200)


@blueprint.get("/exports/vouchers.csv")
def export_vouchers() -> ResponseReturnValue:
    """Every voucher, its code masked."""
    content = export.vouchers(desk.merchant(), locale=presentation.language())
    return batches.download(content, _name("vouchers"))


@blueprint.post("/exports/codes.csv")
def export_codes() -> ResponseReturnValue:
    """Every voucher with its full code: for owners, and written down."""
    roles.require_owner()
    merchant = desk.merchant()
    export.note_codes(merchant, count=merchant.vouchers.count(), actor=desk.actor())
    content = export.vouchers(merchant, locale=presentation.language(), has_codes=True)
    return batches.download(content, _name("codes"))


@blueprint.get("/exports/transactions.csv")
def export_transactions() -> ResponseReturnValue:
    """Every entry of the ledger with its hash."""
    content = export.transactions(desk.merchant(), locale=presentation.language())
    return batches.download(content, _name("transactions"))


def _name(what: str) -> str:
    merchant = desk.merchant()
    return f"{what}-{merchant.slug}-{clock.today(merchant.time_zone).isoformat()}.csv"
