"""Orders: the list that keeps itself fresh, and one page for each order with all that happened."""

from typing import Any

from flask import flash, request, url_for
from flask.typing import ResponseReturnValue

from blueprints import htmx, returns
from blueprints.dashboard import (
    desk,
    listing,
    payment_troubles,
    refund_words,
    sentences,
    stripe_links,
    tracks,
    troubles,
    wording,
)
from blueprints.dashboard.desk import blueprint
from domain import clock, refund_room
from domain.states import RETRYABLE
from effects import links
from models import Order, Unit, Voucher

# Where a row's button was pressed → the page that shows it.
_LISTS = {"list": "dashboard.orders", "urgent": "dashboard.home", "latest": "dashboard.home"}


@blueprint.get("/orders")
def orders() -> ResponseReturnValue:
    """The orders of a view that match a search, newest first."""
    wanted = listing.Wanted.read(request.args)
    merchant = desk.merchant()
    listed = listing.orders(merchant, wanted, at=clock.now())
    return htmx.respond(
        "dashboard/orders.html",
        "dashboard/_rows.html",
        wanted=wanted,
        listed=listed,
        counts=listing.counts(merchant),
        views=wording.VIEWS,
        nothing=wording.NOTHING_HERE[wanted.view],
    )


@blueprint.get("/orders/<number>")
def order(number: str) -> ResponseReturnValue:
    """Everything about one order; asked again by its own fragment as long as something moves."""
    found = desk.order_or_404(number)
    context = describe(found)
    response = htmx.respond("dashboard/order.html", "dashboard/_order.html", **context)
    headline = context["standing"].headline
    seen = request.args.get("seen", "")
    if htmx.wants_fragment() and seen and seen != context["standing"].headline_key:
        # Read out once, when the state changes, and not at every look.
        htmx.announce(response, {"status": f"{found.number}: {headline.label}"})
    return response


def page(found: Order, *, status: int = 200, **context: Any) -> ResponseReturnValue:
    """The order's page with something more on it: a form that is open, or a sentence."""
    return htmx.respond("dashboard/order.html", "dashboard/_order.html", status=status, **describe(found) | context)


def answer(changed: Order, notice: desk.Notice, *, status: int = 200, **context: Any) -> ResponseReturnValue:
    """After a button: the changed fragment for htmx, back to the page with a flashed sentence without it."""
    tone, sentence = notice
    place = request.form.get("on", "")
    fresh = Order.get_by_id(changed.id)
    if not htmx.wants_fragment():
        if status != 200:
            return page(fresh, status=status, **context)
        flash(sentence, tone)
        return htmx.redirect(
            url_for(_LISTS[place]) if place in _LISTS else url_for("dashboard.order", number=fresh.number)
        )
    events = {"toast": sentence} if tone == "ok" else {"status": sentence}
    if place in _LISTS:
        (row,) = listing.rows_of([fresh], at=clock.now())
        return htmx.fragment("dashboard/_row.html", events=events, row=row, place=place, notice=notice)
    shown = {} if tone == "ok" else {"notice": notice}
    return htmx.fragment("dashboard/_order.html", status=status, events=events, **describe(fresh), **shown, **context)


def describe(found: Order) -> dict[str, Any]:
    """What the order page shows."""
    units = list(found.units)
    returned, now = returns.of(found), clock.now()
    standing = tracks.standing(found, returned=returned, steps=found.steps, at=now)
    vouchers = {voucher.unit_id: voucher for voucher in Voucher.select().where(Voucher.unit.in_(units))}
    return _about_money(found, returned, standing) | {
        "order": found,
        "units": units,
        "standing": standing,
        "vouchers": vouchers,
        "troubles": _troubles(found, standing, units),
        "timeline": sentences.lines(found.timeline, currency=found.currency),
        "elapsed": sentences.elapsed,
        "step_status": tracks.step_status,
        "attempts_allowed": tracks.attempts_allowed,
        "wording": wording,
        "buyer_page": links.order_url(found),
        "now": now,
    }


def _about_money(found: Order, returned: returns.Returns, standing: tracks.Standing) -> dict[str, Any]:
    room, by = refund_room.of(found), payment_troubles.reader()
    payment = returned.paid or standing.payment_record
    return {
        "payment": payment,
        "returned": returned,
        "banners": payment_troubles.banners(found, returned, by=by, at=standing.at),
        "refund_why": payment_troubles.refund_obstacle(found, returned, left_minor=room.left_minor, by=by),
        "refund_hint": refund_words.room(room),
        "failure_words": refund_words.failure,
        "at_stripe": stripe_links.of_payment(payment) if payment is not None and payment.session_id else "",
    }


def _troubles(found: Order, standing: tracks.Standing, units: list[Unit]) -> list[tuple[Any, troubles.Trouble]]:
    by_no = {unit.unit_no: unit for unit in units}
    return [
        (step, troubles.of_step(step, order=found, unit=by_no.get(step.unit_no)))
        for step in standing.stuck_steps
        if step.state in RETRYABLE and step.error_code
    ]
