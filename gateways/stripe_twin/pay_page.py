"""The hosted pay page: what a buyer sees at Stripe, with buttons for everything that can happen there.

Works without JavaScript; every button is a form. Posts are answered with 303, so a reload does nothing twice.
"""

from typing import TypeAlias
from urllib.parse import urlsplit

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from domain import money
from gateways.stripe_twin import engine, till, words
from gateways.stripe_twin.store import Book, Kept
from gateways.stripe_twin.wire import Json, WireError

pay_page = Blueprint("pay_page", __name__)

Answer: TypeAlias = Response | BaseResponse


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
    return _away(kept.body["cancel_url"]) if kept.body["cancel_url"] else _here(session_id)


def show_missing() -> Answer:
    """The page for an address that leads nowhere."""
    text = words.of(words.choose(None, request.accept_languages.values()))
    return _render("missing.html", text=text, status=404, origins=[])


def _page(kept: Kept, *, is_declined: bool) -> Answer:
    body = kept.body
    language = words.choose(body["locale"], request.accept_languages.values())
    text = words.of(language)
    lines = [(line, _price(line, language)) for line in kept.aside["lines"]]
    return _render(
        "pay.html",
        text=text,
        language=language,
        session=body,
        state=_state(kept),
        lines=lines,
        total=_price(body, language),
        merchant=body["branding_settings"]["display_name"] or text["merchant"],
        is_declined=is_declined,
        success_url=_success_url(body),
        origins=[body["success_url"], body["cancel_url"]],
    )


def _state(kept: Kept) -> str:
    if kept.body["status"] != "complete":
        return str(kept.body["status"])
    if till.is_waiting(kept):
        return "waiting"
    return "refused" if kept.body["payment_status"] == "unpaid" else "paid"


def _is_declined(book: Book, kept: Kept) -> bool:
    intent = book.find(kept.body["payment_intent"] or "")
    return intent is not None and intent.body["last_payment_error"] is not None


def _price(body: Json, language: str) -> str:
    currency = body["currency"].upper()
    try:
        return money.display(body["amount_total"], currency, language)
    except KeyError:
        return f"{body['amount_total']} {currency}"


def _success_url(body: Json) -> str:
    return str(body["success_url"]).replace("{CHECKOUT_SESSION_ID}", body["id"])


def _onward(kept: Kept) -> Answer:
    is_done = kept.body["status"] == "complete"
    return _away(_success_url(kept.body)) if is_done else _here(kept.id)


def _here(session_id: str) -> Answer:
    return redirect(url_for("pay_page.show", session_id=session_id), code=303)


def _away(url: str) -> Answer:
    return redirect(url, code=303)


def _render(template: str, *, status: int = 200, origins: list[str | None], **context: object) -> Answer:
    response = make_response(render_template(template, **{"language": "en", **context}), status)
    # Browsers apply form-action to the redirect after a form too, so the shop's own address has to be in it.
    allowed = " ".join(sorted({_origin(url) for url in origins if url}))
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
        f"form-action 'self' {allowed}".strip()
    )
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Robots-Tag"] = "noindex"
    return response


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


@pay_page.errorhandler(WireError)
def refuse(_error: WireError) -> Answer:
    """Nobody's session."""
    return show_missing()
