"""The part of Stripe's API that connects other businesses, at `/v2`: accounts, links, thin events. Bodies are JSON."""

from flask import Blueprint, Response, request
from stripe.params.v2 import core

from gateways.stripe_twin import account_objects, answering, connect, engine, event_objects
from gateways.stripe_twin.book import Book, Kept
from gateways.stripe_twin.wire import Json, WireError

api_v2 = Blueprint("api_v2", __name__, url_prefix="/v2")
answering.guard(api_v2)


@api_v2.post("/core/accounts")
def open_account() -> Response:
    """A new connected account."""

    def verb(book: Book, params: Json, _speaker: str) -> Json:
        return account_objects.view(connect.open_account(book, params).body, params.get("include", []))

    return answering.json(core.AccountCreateParams, verb)


@api_v2.get("/core/accounts")
def list_accounts() -> Response:
    """The newest connected accounts, in short."""

    def verb(book: Book, params: Json, _speaker: str) -> Json:
        known = [kept.body for kept in book.all("v2.core.account") if not kept.aside.get("is_disconnected")]
        bodies = [account_objects.view(body, []) for body in known[: params.get("limit", 20)]]
        return {"data": bodies, "next_page_url": None, "previous_page_url": None}

    return answering.json(core.AccountListParams, verb)


@api_v2.get("/core/accounts/<account_id>")
def show_account(account_id: str) -> Response:
    """One connected account with the parts that were asked for."""

    def verb(book: Book, params: Json, speaker: str) -> Json:
        return account_objects.view(_account(book, account_id, speaker).body, params.get("include", []))

    return answering.json(core.AccountRetrieveParams, verb)


@api_v2.post("/core/accounts/<account_id>")
def change_account(account_id: str) -> Response:
    """Another address or name of an account."""

    def verb(book: Book, params: Json, speaker: str) -> Json:
        kept = connect.change(book, _account(book, account_id, speaker), params)
        return account_objects.view(kept.body, params.get("include", []))

    return answering.json(core.AccountUpdateParams, verb)


@api_v2.post("/core/account_links")
def open_link() -> Response:
    """A link to the page where an account's owner answers Stripe's questions."""

    def verb(book: Book, params: Json, _speaker: str) -> Json:
        return connect.open_link(book, params, public_url=engine.current().public_url)

    return answering.json(core.AccountLinkCreateParams, verb)


@api_v2.get("/core/events/<event_id>")
def show_event(event_id: str) -> Response:
    """A thin event by its id; those of the first version are told in thin form."""

    def verb(book: Book, _params: Json, speaker: str) -> Json:
        snapshot_id = event_id.replace(event_objects.THIN_PREFIX, "evt_1", 1)
        thin, snapshot = book.find(event_id), book.find(snapshot_id, account=speaker)
        if thin is not None and thin.body["object"] == "v2.core.event" and speaker in ("", thin.account):
            return thin.body
        if snapshot is None or snapshot.body["object"] != "event":
            raise WireError(f"The event '{event_id[:100]}' was not found.", status=404, code="not_found")
        return event_objects.as_thin(snapshot.body)

    return answering.json(core.EventRetrieveParams, verb)


@api_v2.route("/<path:unknown>", methods=["GET", "POST", "DELETE"])
def unknown_address(unknown: str) -> Response:
    """What the twin does not know."""
    raise WireError(f"Unrecognized request URL ({request.method}: /v2/{unknown[:100]}).", status=404, code="not_found")


def _account(book: Book, account_id: str, speaker: str) -> Kept:
    # A connected account sees itself and no other.
    return connect.find(book, account_id if speaker in ("", account_id) else "")
