"""The public shop: choose, pay at Stripe, watch the voucher being made. No account, no cookie."""

from typing import Any

import flask
from flask import Blueprint, Response, abort, g, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from blueprints import accents, forms, htmx, limits, pictures, presentation, progress
from domain import catalogue, checkout, clock, refusals
from domain.states import DELIVERABLE
from effects import document, links, payment
from effects.outside import here
from gateways import vault
from gateways.stripe_checkout import StripeRefused, StripeUnavailable
from models import Merchant, Order, Unit

blueprint = Blueprint("shop", __name__)

LEGAL_PAGES = ("imprint", "terms", "privacy", "withdrawal", "accessibility")


@blueprint.url_value_preprocessor
def _find_merchant(endpoint: str | None, values: dict[str, Any] | None) -> None:
    slug = (values or {}).pop("shop", None)
    if slug is not None:
        # Only noted here: the connection opens later, in the first before_request.
        g.shop_slug = slug


@blueprint.before_request
def _enter() -> None:
    if "shop_slug" in g:
        g.merchant = Merchant.get_or_none(Merchant.slug == g.shop_slug) or abort(404)


@blueprint.app_template_global("shop_url")
def address(endpoint: str, merchant: Merchant, **values: Any) -> str:
    """The address of one of the shop's pages, in the language of the page that links to it."""
    return presentation.in_language(url_for(f"shop.{endpoint}", shop=merchant.slug, **values))


@blueprint.get("/")
def list_shops() -> ResponseReturnValue:
    """The only shop, or a list of them."""
    merchants = list(Merchant.select().order_by(Merchant.name).limit(200))
    if len(merchants) == 1:
        return flask.redirect(address("show_shop", merchants[0]), 302)
    return render_template("shop/list.html", merchants=merchants)


@blueprint.get("/s/<shop>")
def show_shop() -> ResponseReturnValue:
    """The order form, ready to buy; `?value=80&design=sage` preselects."""
    form = forms.blank(g.merchant, request.args)
    is_open = g.merchant.is_open and form.units[0].offer is not None and form.units[0].design is not None
    if not is_open:
        return render_template("shop/closed.html", merchant=g.merchant)
    return _page(form)


@blueprint.get("/s/<shop>/draft")
@blueprint.get("/s/<shop>/orders")
def return_to_shop() -> ResponseReturnValue:
    """Whoever types the address of a form lands in the shop."""
    return flask.redirect(address("show_shop", g.merchant), 303)


@blueprint.post("/s/<shop>/draft")
@limits.limiter.limit("240 per minute")
def draft() -> ResponseReturnValue:
    """The form again with what was typed: a fresh preview, a voucher more or a voucher less. Nothing is stored."""
    _refuse_while_closed()
    form = forms.read(g.merchant, request.form)
    is_reshaped = _reshape(form)
    # Nobody is told off while still typing.
    form.problems = {name: words for name, words in form.problems.items() if name == "add"}
    if htmx.wants_fragment() and not is_reshaped:
        return htmx.fragment("shop/_after_draft.html", **_context(form))
    return htmx.respond("shop/shop.html", "shop/_form.html", **_context(form), has_moved=is_reshaped)


@blueprint.post("/s/<shop>/orders")
@limits.limiter.limit("120 per minute")
def place_order() -> ResponseReturnValue:
    """Write the order down and lead on to the payment page; 422 with every entry kept when something is wrong."""
    _refuse_while_closed()
    form = forms.read(g.merchant, request.form)
    if not form.is_valid:
        return _page(form, status=422)
    try:
        order = checkout.place(
            g.merchant,
            form.wish(locale=presentation.language()),
            ref=vault.new_order_ref(),
            is_test=here().settings.is_test,
        )
    except refusals.FieldsRefused as refused:
        form.problems.update({name: _("Please choose another value.") for name in refused.problems})
        return _page(form, status=422)
    return _lead_to_payment(order, form=form)


@blueprint.get("/o/<token>")
def show_order(token: str) -> ResponseReturnValue:
    """The buyer's page of an order: where it stands, what was bought, the PDFs, the receipt."""
    order = _order(token)
    payment.refresh(order)
    return presentation.private(render_template("shop/order.html", **_order_context(Order.get_by_id(order.id), token)))


@blueprint.get("/o/<token>/progress")
@limits.limiter.limit("120 per minute")
def show_progress(token: str) -> ResponseReturnValue:
    """Where the order stands, for the page that polls; the whole page without htmx."""
    order = _order(token)
    payment.refresh(order)
    context = _order_context(Order.get_by_id(order.id), token)
    response = htmx.respond("shop/order.html", "shop/_progress.html", **context)
    if request.args.get("done") != str(context["story"].done_count):
        htmx.announce(response, {"status": context["story"].headline})
    return presentation.private(response)


@blueprint.get("/o/<token>/payment")
def return_to_order(token: str) -> ResponseReturnValue:
    """Whoever types the address of a form lands on the order."""
    return flask.redirect(presentation.in_language(url_for("shop.show_order", token=token)), 303)


@blueprint.post("/o/<token>/payment")
@limits.limiter.limit("20 per minute")
def pay_again(token: str) -> ResponseReturnValue:
    """Another way to the payment page for an order that is not paid yet."""
    order = _order(token)
    payment.refresh(order)
    return _lead_to_payment(Order.get_by_id(order.id), token=token)


@blueprint.get("/o/<token>/vouchers/<int(max=9999):unit_no>.pdf")
@limits.limiter.limit("60 per minute")
def download(token: str, unit_no: int) -> ResponseReturnValue:
    """The checked PDF of one voucher of a paid order."""
    order = _order(token)
    unit = order.units.where(Unit.unit_no == unit_no).first() or abort(404)
    voucher = unit.voucher
    if voucher is None or not order.is_paid or voucher.status not in DELIVERABLE:
        abort(404)
    return presentation.pdf_download(document.stored_pdf(voucher), merchant=order.merchant, locale=order.locale)


@blueprint.get("/s/<shop>/legal")
def show_legal() -> ResponseReturnValue:
    """Imprint, terms, privacy, withdrawal and accessibility on one page."""
    return render_template("shop/legal.html", merchant=g.merchant, sections=LEGAL_PAGES)


@blueprint.get("/s/<shop>/accent.css")
def show_accent() -> ResponseReturnValue:
    """The shop's own colours: its accent and those of its designs, made readable."""
    response = Response(accents.style_sheet(g.merchant), mimetype="text/css")
    response.headers["Cache-Control"] = "public, max-age=300"
    return response


def _refuse_while_closed() -> None:
    if not g.merchant.is_open:
        abort(flask.make_response(render_template("shop/closed.html", merchant=g.merchant), 503))


def _reshape(form: forms.OrderForm) -> bool:
    """Add or take out a voucher when one of those buttons was pressed."""
    removed = request.form.get("take_out", "")
    if removed.isascii() and removed.isdigit() and len(removed) < 4:
        form.remove_unit(int(removed))
        return True
    if "one_more" not in request.form:
        return form.follow_offers()
    if len(form.units) >= catalogue.UNITS_LIMIT:
        form.problems["add"] = _("One order holds up to %(count)s vouchers.", count=catalogue.UNITS_LIMIT)
    else:
        form.add_unit()
    return True


def _lead_to_payment(order: Order, *, form: forms.OrderForm | None = None, token: str = "") -> ResponseReturnValue:
    own_page = presentation.in_language(links.order_url(order))
    try:
        return flask.redirect(payment.start(order), 303)
    except refusals.AlreadyUsed:
        return flask.redirect(own_page, 303)
    except (StripeUnavailable, StripeRefused):
        if form is not None:
            return _page(form, status=503, is_payment_away=True)
        context = _order_context(order, token or here().vault.order_link(order.ref))
        return presentation.private(
            flask.make_response(render_template("shop/order.html", **context, is_payment_away=True), 503)
        )


def _page(form: forms.OrderForm, *, status: int = 200, is_payment_away: bool = False) -> Response:
    context = _context(form) | {"is_payment_away": is_payment_away}
    return flask.make_response(render_template("shop/shop.html", **context), status)


def _context(form: forms.OrderForm) -> dict[str, Any]:
    offers = list(g.merchant.offers)
    return {
        "merchant": g.merchant,
        "form": form,
        "offers": offers,
        "designs": list(g.merchant.designs),
        "limits": {offer.id: catalogue.limits(offer) for offer in offers},
        "valid_until": catalogue.usual_expiry(g.merchant),
        "sample_qr": pictures.qr(f"{here().settings.public_url}/s/{g.merchant.slug}"),
        "earliest": clock.now(),
        "latest": clock.now() + forms.LATEST_DELIVERY,
        "unit_limit": catalogue.UNITS_LIMIT,
        "message_limit": catalogue.MESSAGE_LIMIT,
    }


def _order(token: str) -> Order:
    order = links.order_of(token) or abort(404)
    g.merchant = order.merchant
    return order


def _order_context(order: Order, token: str) -> dict[str, Any]:
    polls = request.args.get("n", "")
    return {
        "order": order,
        "merchant": order.merchant,
        "token": token,
        "story": progress.tell(order, has_returned="paid" in request.args, has_turned_back="back" in request.args),
        "polls": int(polls) if polls.isascii() and polls.isdigit() and len(polls) < 6 else 0,
        "pause": progress.pause,
    }
