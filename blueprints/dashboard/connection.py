"""How the shop is connected with Stripe: whose account, which mode, whether Stripe calls us and answers us."""

from datetime import datetime
from typing import Any

from flask import abort, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from blueprints import htmx
from blueprints.dashboard import desk, roles, sentences, stripe_links, wording
from blueprints.dashboard.desk import blueprint
from domain import adoptions, checks, connections, needs, refusals
from domain.states import ConnectionState
from effects import connect
from effects.outside import here
from gateways import stripe_events
from gateways.stripe_checkout import StripeRefused, StripeUnavailable
from models import Check, Connection, Merchant, Stray, StripeEvent, TimelineEntry

_HISTORY = 20
_KINDS = ("stripe_connecting", *(f"stripe_{state}" for state in ConnectionState))
# What Stripe is asked about at regular moments, for each account.
_LOOKS = ("payments", "events", "account")


@blueprint.get("/payments")
def show_payments() -> ResponseReturnValue:
    """The page; whoever comes back from Stripe finds what Stripe says by now."""
    merchant = desk.merchant()
    if "expired" in request.args:
        return _page(merchant, notice=("run", _("That link to Stripe works once and only for minutes. Go on below.")))
    if "returned" not in request.args:
        return _page(merchant)
    return _page(merchant, notice=_ask(merchant))


@blueprint.post("/payments/connection")
def connect_stripe() -> ResponseReturnValue:
    """Make the account, once, and go on at Stripe."""
    roles.require_owner()
    merchant = desk.merchant()
    if not here().settings.stripe_connect:
        return _page(merchant, status=422, notice=("run", _("Payments go to this installation's own Stripe account.")))
    page = f"{here().settings.public_url}{url_for('dashboard.show_payments')}"
    try:
        url = connect.start(
            merchant, return_url=f"{page}?returned=1", refresh_url=f"{page}?expired=1", actor=desk.actor()
        )
    except StripeUnavailable:
        return _page(merchant, status=503, notice=("bad", _no_answer()))
    except StripeRefused as error:
        return _page(merchant, status=503, notice=("bad", _refused(error)))
    except refusals.AlreadyUsed:
        return _page(merchant, status=409, notice=("run", _("Another Stripe account was connected in the meantime.")))
    return redirect(url, 303)


@blueprint.post("/payments/connection/check")
def check_connection() -> ResponseReturnValue:
    """Ask Stripe how the account stands now."""
    roles.require_owner()
    return _page(desk.merchant(), notice=_ask(desk.merchant()))


@blueprint.post("/payments/strays/<int(max=9007199254740991):stray_id>/closing")
def close_stray(stray_id: int) -> ResponseReturnValue:
    """A person has seen to a payment that no order explains."""
    merchant = desk.merchant()
    stray = Stray.get_or_none(Stray.id == stray_id, Stray.merchant == merchant) or abort(404)
    roles.require_owner()
    try:
        adoptions.dismiss(stray, actor=desk.actor())
    except refusals.NothingToDecide:
        return _page(merchant, notice=("run", _("Somebody has marked this as done already.")))
    return _page(merchant, notice=("ok", _("Marked as done")))


def _ask(merchant: Merchant) -> desk.Notice | None:
    connection = connections.of(merchant)
    if connection is None or connection.state == ConnectionState.ENDED:
        return None
    try:
        fresh = connect.refresh(connection)
    except StripeUnavailable:
        return "bad", _no_answer()
    except StripeRefused as error:
        return "bad", _refused(error)
    tones = {ConnectionState.READY: "ok", ConnectionState.PENDING: "run"}
    return tones.get(fresh.state, "bad"), _("Stripe says: %(state)s.", state=wording.CONNECTIONS[fresh.state].label)


def _no_answer() -> str:
    return _("Stripe did not answer. Nothing was changed. Please try again in a minute.")


def _refused(error: StripeRefused) -> str:
    return _("Stripe refused the question: %(why)s", why=error.message)


def _page(merchant: Merchant, *, status: int = 200, **context: Any) -> ResponseReturnValue:
    return htmx.respond(
        "dashboard/payments.html", "dashboard/_payments.html", status=status, **_describe(merchant) | context
    )


def _describe(merchant: Merchant) -> dict[str, Any]:
    settings, connection = here().settings, connections.of(merchant)
    account = connection.account if connection is not None else ""
    history = TimelineEntry.select().where(TimelineEntry.merchant == merchant, TimelineEntry.kind.in_(_KINDS))
    return {
        "settings": settings,
        "key_ending": settings.stripe_key[-4:],
        "key_kind": settings.stripe_key[:8],
        "connection": connection,
        "last_event": _last_event(account),
        "answered_at": _answered_at(account, connection),
        "silence": _silence(),
        "strays": [(stray, stripe_links.of_session(stray.session_id)) for stray in needs.strays(merchant)],
        "webhook_url": f"{settings.public_url}/webhooks/stripe",
        "event_types": stripe_events.SUBSCRIBED + (stripe_events.OF_ACCOUNTS if settings.stripe_connect else ()),
        "is_owner": roles.is_owner(),
        "owners": roles.owner_names(),
        "wording": wording,
        "timeline": sentences.lines(history.order_by(TimelineEntry.id.desc()).limit(_HISTORY), currency="EUR"),
    }


def _last_event(account: str) -> StripeEvent | None:
    """The newest message that Stripe delivered about this account."""
    delivered = StripeEvent.select().where(StripeEvent.account == account, StripeEvent.source == "webhook")
    found: StripeEvent | None = delivered.order_by(StripeEvent.received_at.desc()).first()
    return found


def _answered_at(account: str, connection: Connection | None) -> datetime | None:
    """When Stripe answered last, as far as it was written down."""
    looks = Check.select().where(Check.name.in_(_LOOKS), Check.account == account)
    moments = [look.ran_at for look in looks]
    return max([*moments, *([connection.checked_at] if connection is not None else [])], default=None)


def _silence() -> Check | None:
    """Stripe has not called us, although payments were found by asking; None while all is well."""
    look = checks.latest("stripe")
    return look if look is not None and not look.is_ok else None
