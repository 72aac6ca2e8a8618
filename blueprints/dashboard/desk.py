"""The desk that every page of the dashboard is read at: who is signed in, for which merchant, in which language."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import flask_babel
from flask import Blueprint, abort, g, make_response, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import current_user

from blueprints import auth, htmx, presentation
from database import transaction
from domain import clock, refusals
from models import Merchant, Order, User

blueprint = Blueprint("dashboard", __name__, url_prefix="/dashboard")


@blueprint.before_request
def sit_down() -> ResponseReturnValue | None:
    """Find the merchant that this person works for; the room's guard has let nobody in without a log-in."""
    g.language = current_user.locale
    find_merchant()
    if g.merchant is None and request.endpoint != "dashboard.choose_language":
        return make_response(render_template("dashboard/no_shop.html", has_session=True), 403)
    return None


def find_merchant() -> Merchant | None:
    """The merchant that the signed-in person works for now, kept in `g.merchant` beside all of theirs in `g.shops`."""
    g.shops = list(current_user.merchants)
    chosen = [shop for shop in g.shops if shop.slug == session.get("shop")]
    g.merchant = next(iter(chosen or g.shops), None)
    return g.merchant


@blueprint.after_request
def keep_private(response: Any) -> Any:
    """Nothing of the dashboard is kept by a browser or a proxy: the back button after a log-out shows no names."""
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.context_processor
def _shared() -> dict[str, Any]:
    return {
        "has_session": True,
        "merchant": g.get("merchant"),
        "shops": g.get("shops", []),
        "styles": (presentation.asset("dashboard.css"),),
        "when": when,
        "day_of": day_of,
        "ago": ago,
        "hour": hour,
        "decimal": flask_babel.format_decimal,
    }


@blueprint.post("/shop")
def choose_shop() -> ResponseReturnValue:
    """Work for another of one's merchants; kept in the session."""
    wanted = request.form.get("shop", "")
    if wanted not in {shop.slug for shop in g.shops}:
        abort(404)
    session["shop"] = wanted
    return htmx.redirect(url_for("dashboard.home"))


@blueprint.post("/language")
def choose_language() -> ResponseReturnValue:
    """Speak another language to this person from now on, on every device."""
    wanted = request.form.get("language", "")
    if wanted not in presentation.LANGUAGES:
        abort(404)
    with transaction():
        User.update(locale=wanted).where(User.id == current_user.id).execute()
    return htmx.redirect(auth.destination(request.form.get("next", "")))


def merchant() -> Merchant:
    """The merchant whose dashboard is open; the start of every query here."""
    return g.merchant


def actor() -> str:
    """The name of the person who presses a button, for the timeline."""
    return str(current_user.name or current_user.email)


def order_or_404(number: str) -> Order:
    """The merchant's order with this number; another merchant's order is as unknown as one that never was."""
    found = merchant().orders.where(Order.number == number).first() if "\0" not in number else None
    return found or abort(404)


def when(at: datetime) -> str:
    """`14:32` today, `24 Dec, 08:00` this year, with the year before that; in the merchant's time zone."""
    zone = clock.zone(merchant().time_zone)
    local, today = at.astimezone(zone), clock.now().astimezone(zone)
    if local.date() == today.date():
        return hour(at)
    year = "" if local.year == today.year else " y"
    pattern = f"d. MMM{year}, HH:mm" if presentation.language() == "de" else f"d MMM{year}, HH:mm"
    return str(flask_babel.format_datetime(local, pattern, rebase=False))


def day_of(at: datetime) -> str:
    """`24 Dec`, the calendar day in the merchant's time zone."""
    local = at.astimezone(clock.zone(merchant().time_zone))
    pattern = "d. MMM" if presentation.language() == "de" else "d MMM"
    return str(flask_babel.format_datetime(local, pattern, rebase=False))


def hour(at: datetime, *, has_seconds: bool = False) -> str:
    """`14:32` or `14:32:07` in the merchant's time zone."""
    return at.astimezone(clock.zone(merchant().time_zone)).strftime("%H:%M:%S" if has_seconds else "%H:%M")


def ago(at: datetime) -> str:
    """`3 minutes ago`, `in 40 seconds`: how far `at` is from now, in the reader's language."""
    return str(flask_babel.format_timedelta(at - clock.now(), granularity="second", add_direction=True))


Notice = tuple[str, str]


def attempt(verb: Callable[[], object], *, done: str) -> Notice:
    """Do `verb`; returns (tone, sentence). Somebody who was faster is no error: the work is under way already."""
    try:
        verb()
    except refusals.StepNotRetryable:
        return "run", _("This is already being tried.")
    return "ok", done
