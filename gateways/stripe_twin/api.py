"""The part of Stripe's REST API that a shop with Checkout needs, at `/v1`, for the real SDK."""

from fnmatch import fnmatchcase
from typing import Any, NoReturn

import stripe
from flask import Blueprint, Response, request

from gateways.stripe_twin import answering, connect, disputes, engine, listing, refunds, till, wire
from gateways.stripe_twin.answering import Verb
from gateways.stripe_twin.book import Book, Kept
from gateways.stripe_twin.wire import Json, WireError

api = Blueprint("api", __name__, url_prefix="/v1")
answering.guard(api)

_PARAMS = stripe.params
# Folder → (object, parameters of reading one, parameters of listing).
_FOLDERS: dict[str, tuple[str, Any, Any]] = {
    "payment_intents": ("payment_intent", _PARAMS.PaymentIntentRetrieveParams, _PARAMS.PaymentIntentListParams),
    "charges": ("charge", _PARAMS.ChargeRetrieveParams, _PARAMS.ChargeListParams),
    "refunds": ("refund", _PARAMS.RefundRetrieveParams, _PARAMS.RefundListParams),
    "disputes": ("dispute", _PARAMS.DisputeRetrieveParams, _PARAMS.DisputeListParams),
    "events": ("event", _PARAMS.EventRetrieveParams, _PARAMS.EventListParams),
    "early_fraud_warnings": (
        "radar.early_fraud_warning",
        _PARAMS.radar.EarlyFraudWarningRetrieveParams,
        _PARAMS.radar.EarlyFraudWarningListParams,
    ),
}
_FILTERS = ("charge", "payment_intent")


@api.post("/checkout/sessions")
def open_session() -> Response:
    """A new Checkout Session."""

    def verb(book: Book, params: Json, account: str) -> Json:
        if not connect.can_charge(book, account):
            raise WireError("Your account cannot currently make charges.")
        return till.open_session(book, params, account=account, public_url=engine.current().public_url).body

    return answering.form(_PARAMS.checkout.SessionCreateParams, verb)


@api.get("/checkout/sessions")
def list_sessions() -> Response:
    """Sessions, newest first, a page at a time."""

    def verb(book: Book, params: Json, account: str) -> Json:
        email = params.get("customer_details", {}).get("email")

        def fits(kept: Kept) -> bool:
            is_theirs = email in (None, kept.body["customer_email"])
            return is_theirs and listing.agrees(kept, params, "status", "payment_intent", "customer")

        return listing.page(
            book,
            "checkout.session",
            params,
            account=account,
            fits=fits,
            refresh=lambda kept: till.up_to_date(book, kept),
        )

    return answering.form(_PARAMS.checkout.SessionListParams, verb)


@api.get("/checkout/sessions/<session_id>")
def show_session(session_id: str) -> Response:
    """One session as it is now."""
    return answering.form(
        _PARAMS.checkout.SessionRetrieveParams,
        lambda book, _params, account: till.find_session(book, session_id, account=account).body,
    )


@api.get("/checkout/sessions/<session_id>/line_items")
def list_lines(session_id: str) -> Response:
    """The lines of a session."""

    def verb(book: Book, params: Json, account: str) -> Json:
        lines = till.find_session(book, session_id, account=account).aside["lines"]
        return listing.page_of(lines, params)

    return answering.form(_PARAMS.checkout.SessionListLineItemsParams, verb)


@api.post("/checkout/sessions/<session_id>/expire")
def expire_session(session_id: str) -> Response:
    """Close an open session."""

    def verb(book: Book, _params: Json, account: str) -> Json:
        return till.expire(book, till.find_session(book, session_id, account=account)).body

    return answering.form(_PARAMS.checkout.SessionExpireParams, verb)


@api.post("/refunds")
def open_refund() -> Response:
    """Give money back, all or part."""
    verb: Verb = lambda book, params, account: refunds.create_by_api(book, params, account=account).body  # noqa: E731
    return answering.form(_PARAMS.RefundCreateParams, verb)


@api.post("/refunds/<refund_id>")
def change_refund(refund_id: str) -> Response:
    """Other metadata on a refund."""

    def verb(book: Book, params: Json, account: str) -> Json:
        kept = refunds.find(book, refund_id, account=account)
        return refunds.change_metadata(book, kept, params["metadata"]).body if "metadata" in params else kept.body

    return answering.form(_PARAMS.RefundUpdateParams, verb)


@api.post("/refunds/<refund_id>/cancel")
def cancel_refund(refund_id: str) -> Response:
    """Cards and bank debits know no way back."""

    def verb(book: Book, _params: Json, account: str) -> NoReturn:
        refunds.refuse_to_cancel(refunds.find(book, refund_id, account=account))

    return answering.form(_PARAMS.RefundCancelParams, verb)


@api.post("/disputes/<dispute_id>/close")
def accept_dispute(dispute_id: str) -> Response:
    """The shop gives in: the dispute is lost."""

    def verb(book: Book, _params: Json, account: str) -> Json:
        return disputes.close(book, disputes.find(book, dispute_id, account=account), won=False).body

    return answering.form(_PARAMS.DisputeCloseParams, verb)


@api.get("/events")
def list_events() -> Response:
    """Everything that happened, also what was never sent."""
    return answering.form(_PARAMS.EventListParams, _list_events)


@api.get("/<any(payment_intents, charges, refunds, disputes):folder>")
@api.get("/radar/<any(early_fraud_warnings):folder>")
def list_objects(folder: str) -> Response:
    """Objects of one kind, newest first, all or those of a payment."""
    noun, _, list_params = _FOLDERS[folder]

    def verb(book: Book, params: Json, account: str) -> Json:
        return listing.page(
            book, noun, params, account=account, fits=lambda kept: listing.agrees(kept, params, *_FILTERS)
        )

    return answering.form(list_params, verb)


@api.get("/<any(payment_intents, charges, refunds, disputes, events):folder>/<object_id>")
@api.get("/radar/<any(early_fraud_warnings):folder>/<object_id>")
def show_object(folder: str, object_id: str) -> Response:
    """One object by its id."""
    noun, read_params, _ = _FOLDERS[folder]

    def verb(book: Book, _params: Json, account: str) -> Json:
        kept = book.find(object_id, account=account)
        if kept is None or kept.body["object"] != noun:
            raise wire.no_such(noun, object_id)
        return kept.body

    return answering.form(read_params, verb)


@api.route("/<path:unknown>", methods=["GET", "POST", "DELETE"])
def unknown_address(unknown: str) -> Response:
    """What the twin does not know."""
    text = f"Unrecognized request URL ({request.method}: /v1/{unknown[:100]})."
    raise WireError(text, status=404, code="url_unknown")


def _list_events(book: Book, params: Json, account: str) -> Json:
    patterns = [params["type"]] if "type" in params else params.get("types", ["*"])
    return listing.page(
        book,
        "event",
        params,
        account=account,
        fits=lambda kept: any(fnmatchcase(kept.body["type"], pattern) for pattern in patterns),
        is_delivered=params.get("delivery_success"),
    )
