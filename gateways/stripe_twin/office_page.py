"""Stripe's dashboard (test), at the twin's root: payments newest first, and buttons for everything that can happen.

Works without JavaScript; every button is a form, answered with 303.
"""

from flask import Blueprint, request, url_for

from gateways.stripe_twin import engine, office, pages
from gateways.stripe_twin.faults import Fault
from gateways.stripe_twin.pages import Answer
from gateways.stripe_twin.wire import WireError

office_page = Blueprint("office_page", __name__)


@office_page.get("/")
def show() -> Answer:
    """The dashboard; `after` is the session to go on from, `open` the one that was just acted on."""
    return _page()


@office_page.post("/payments/<session_id>")
def act(session_id: str) -> Answer:
    """Something happens to a payment: `act` is the name of a button."""
    try:
        with engine.current().store.begin() as book:
            office.act(book, session_id, request.form.get("act", ""))
    except WireError as error:
        if error.status == 404:
            raise
        return _page(status=409, opened=session_id)
    return pages.away(url_for("office_page.show", open=session_id, _anchor=f"payment-{session_id}"))


@office_page.post("/accounts/<account_id>")
def act_on_account(account_id: str) -> Answer:
    """Something happens to a connected account."""
    with engine.current().store.begin() as book:
        office.act_on_account(book, account_id, request.form.get("act", ""))
    return pages.away(url_for("office_page.show", _anchor="accounts"))


@office_page.post("/messages/<event_id>")
def send_again(event_id: str) -> Answer:
    """Bring an event to the shop that it never got."""
    with engine.current().store.begin() as book:
        book.send_again(event_id)
    return pages.away(url_for("office_page.show", _anchor="messages"))


@office_page.post("/messages")
def lose_next() -> Answer:
    """Lose the next event, or keep it after all (`lose` empty)."""
    with engine.current().store.begin() as book:
        book.switch(Fault.LOSE_EVENTS, bool(request.form.get("lose")), times=1)
    return pages.away(url_for("office_page.show"))


@office_page.errorhandler(WireError)
def refuse(_error: WireError) -> Answer:
    """Nothing that the twin knows."""
    return pages.show_missing()


def _page(*, status: int = 200, opened: str = "") -> Answer:
    beyond = request.args.get("after", "")
    with engine.current().store.begin() as book:
        payments, older = office.payments(book, beyond=beyond)
        accounts = [(kept, office.account_state(kept)) for kept in book.all("v2.core.account")]
        messages, is_losing = office.messages(book), book.is_on(Fault.LOSE_EVENTS)
    tongue = pages.language()
    return pages.render(
        "office.html",
        tongue=tongue,
        status=status,
        payments=payments,
        older=older,
        is_further=bool(beyond),
        opened=opened or request.args.get("open", ""),
        is_refused=status != 200,
        accounts=accounts,
        price=lambda amount, currency: pages.price(amount, currency, tongue),
        moment=office.moment,
        messages=messages,
        is_losing=is_losing,
    )
