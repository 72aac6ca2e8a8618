"""The page of Stripe's questions: where the owner of a new account answers, leaves something open, or turns back.

A link opens it once; whoever comes again is sent for a new link. Works without JavaScript.
"""

from flask import Blueprint, request

from gateways.stripe_twin import connect, engine, pages
from gateways.stripe_twin.pages import Answer
from gateways.stripe_twin.wire import WireError

connect_page = Blueprint("connect_page", __name__)

_ACTS = {"finish": connect.finish_onboarding, "leave_open": connect.leave_open}


@connect_page.get("/connect/<token>")
def show(token: str) -> Answer:
    """The questions, at the first visit within five minutes; else the way to a new link."""
    with engine.current().store.begin() as book:
        way = connect.visit(book, token)
    if way.account is None:
        return pages.away(way.refresh_url)
    return pages.render(
        "connect.html",
        tongue=pages.language(),
        origins=(way.return_url, way.refresh_url),
        token=token,
        account=way.account.body,
        owed=[entry["description"] for entry in way.account.body["requirements"]["entries"]],
    )


@connect_page.post("/connect/<token>")
def answer(token: str) -> Answer:
    """One of the buttons: `act` is `finish`, `leave_open` or anything else for turning back."""
    act = _ACTS.get(request.form.get("act", ""))
    with engine.current().store.begin() as book:
        way = connect.leave(book, token)
        if way.account is not None and act is not None:
            act(book, way.account)
    return pages.away(way.refresh_url if way.account is None else way.return_url)


@connect_page.errorhandler(WireError)
def refuse(_error: WireError) -> Answer:
    """Nobody's link."""
    return pages.show_missing()
