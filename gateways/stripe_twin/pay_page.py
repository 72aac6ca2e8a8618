"""The hosted pay page: what a buyer sees at Stripe, with buttons for everything that can happen there.

Works without JavaScript; every button is a form. Posts are answered with 303, so a reload does nothing twice.
"""

from flask import Blueprint, request, url_for

from gateways.stripe_twin import engine, pages, till
from gateways.stripe_twin.book import Book, Kept
from gateways.stripe_twin.pages import Answer
from gateways.stripe_twin.wire import Json, WireError

pay_page = Blueprint("pay_page", __name__)


@pay_page.get("/pay/<session_id>")
def show(session_id: str) -> Answer:
    """The page of a session, whatever its state."""
    with engine.current().store.begin() as book:
        kept = till.find_session(book, session_id)
        is_declined = _is_declined(book, kept)
    return _page(kept, is_declined=is_declined)


@pay_page.post("/pay/<session_id>/payment")
def pay(session_id: str) -> Answer:
    """Pay by card; with `lose=event` the shop is not told."""
    is_told = request.form.get("lose") != "event"
    with engine.current().store.begin() as book:
        kept = till.find_session(book, session_id)
        if kept.body["status"] == "open":
            till.pay(book, kept, is_told=is_told)
    return _onward(kept)


@pay_page.post("/pay/<session_id>/decline")
def decline(session_id: str) -> Answer:
    """The bank refuses the card."""
    with engine.current().store.begin() as book:
        kept = till.find_session(book, session_id)
        if kept.body["status"] == "open":
            till.decline(book, kept)
    return _here(session_id)


@pay_page.post("/pay/<session_id>/debit")
def pay_later(session_id: str) -> Answer:
    """Order a bank debit; the page then waits for the bank."""
    with engine.current().store.begin() as book:
        kept = till.find_session(book, session_id)
        if kept.body["status"] == "open":
            till.pay_later(book, kept)
    return _here(session_id)


@pay_page.post("/pay/<session_id>/bank-answer")
def settle_later(session_id: str) -> Answer:
    """The bank's answer to the debit: `answer` is `yes` or `no`."""
    with engine.current().store.begin() as book:
        kept = till.find_session(book, session_id)
        if till.is_waiting(kept) and request.form.get("answer") in ("yes", "no"):
            till.settle_later(book, kept, succeed=request.form["answer"] == "yes")
    return _here(session_id)


@pay_page.post("/pay/<session_id>/abandon")
def abandon(session_id: str) -> Answer:
    """Back to the shop; the session stays open, as at Stripe."""
    with engine.current().store.begin() as book:
        kept = till.find_session(book, session_id)
    return pages.away(kept.body["cancel_url"]) if kept.body["cancel_url"] else _here(session_id)


def _page(kept: Kept, *, is_declined: bool) -> Answer:
    body, tongue = kept.body, pages.language(kept.body["locale"])
    return pages.render(
        "pay.html",
        tongue=tongue,
        origins=(body["success_url"], body["cancel_url"]),
        session=body,
        state=_state(kept),
        lines=[(line, _price(line, tongue)) for line in kept.aside["lines"]],
        total=_price(body, tongue),
        merchant=body["branding_settings"]["display_name"] or pages.texts(tongue)["merchant"],
        is_declined=is_declined,
        success_url=_success_url(body),
    )


def _state(kept: Kept) -> str:
    state = till.state_of(kept)
    return "paid" if state == "free" else state


def _is_declined(book: Book, kept: Kept) -> bool:
    intent = book.find(kept.body["payment_intent"] or "")
    return intent is not None and intent.body["last_payment_error"] is not None


def _price(body: Json, tongue: str) -> str:
    return pages.price(body["amount_total"], body["currency"], tongue)


def _success_url(body: Json) -> str:
    return str(body["success_url"]).replace("{CHECKOUT_SESSION_ID}", body["id"])


def _onward(kept: Kept) -> Answer:
    is_done = kept.body["status"] == "complete"
    return pages.away(_success_url(kept.body)) if is_done else _here(kept.id)


def _here(session_id: str) -> Answer:
    return pages.away(url_for("pay_page.show", session_id=session_id))


@pay_page.errorhandler(WireError)
def refuse(_error: WireError) -> Answer:
    """Nobody's session."""
    return pages.show_missing()
