"""What happens to connected accounts: opened, led through Stripe's questions, restricted, disconnected.

An account id that was never opened here is taken as that of a merchant who connected long ago and may take cards.
"""

from dataclasses import dataclass

from domain import clock
from gateways.stripe_twin import account_objects, events
from gateways.stripe_twin.book import Book, Kept
from gateways.stripe_twin.wire import Json, WireError, missing, new_id

_REQUIREMENTS = "v2.core.account[requirements].updated"
_CAPABILITY = "v2.core.account[configuration.merchant].capability_status_updated"


@dataclass(frozen=True)
class Way:
    """Where the page of Stripe's questions leads: `account` None when its link is used up or over."""

    account: Kept | None
    refresh_url: str
    return_url: str


def open_account(book: Book, params: Json) -> Kept:
    """A new account that cannot take cards yet. Raises WireError for what Stripe would refuse."""
    country = params.get("identity", {}).get("country", "at")
    if len(country) != 2 or not country.isascii():
        raise WireError("The country must be a code of two letters.", code="invalid_fields", param="identity.country")
    if "merchant" in params.get("configuration", {}) and not params.get("contact_email"):
        raise missing("contact_email")
    body = account_objects.account(params)
    return book.add("v2.core.account", body, account="")


def find(book: Book, account_id: str) -> Kept:
    """The account of this id. Raises WireError: 404 when there is none, 403 when it was disconnected."""
    kept = book.find(account_id)
    if kept is None or kept.body["object"] != "v2.core.account":
        raise WireError(f"The requested account '{account_id[:60]}' was not found.", status=404, code="not_found")
    if refusal := barred(book, account_id):
        raise refusal
    return kept


def barred(book: Book, account_id: str) -> WireError | None:
    """Stripe's refusal (403 `account_invalid`) to speak for an account that was disconnected; None for any other."""
    kept = book.find(account_id) if account_id else None
    if kept is None or not kept.aside.get("is_disconnected"):
        return None
    return WireError(
        f"The provided key does not have access to account '{account_id[:60]}' (or that account does not exist)."
        " Application access may have been revoked.",
        status=403,
        code="account_invalid",
    )


def can_charge(book: Book, account_id: str) -> bool:
    """Whether the account may take cards now."""
    kept = book.find(account_id) if account_id else None
    return kept is None or card_status(kept) == "active"


def card_status(kept: Kept) -> str | None:
    """`active` or `restricted`; None for an account that never asked to take cards."""
    merchant = kept.body["configuration"]["merchant"]
    cards = merchant["capabilities"].get("card_payments") if merchant else None
    return None if cards is None else str(cards["status"])


def change(book: Book, kept: Kept, params: Json) -> Kept:
    """New words on an account: address, name, metadata."""
    wished = {name: params[name] for name in ("contact_email", "contact_phone", "display_name") if name in params}
    kept.change(**wished, metadata={**kept.body["metadata"], **params.get("metadata", {})})
    book.save(kept)
    return kept


def finish_onboarding(book: Book, kept: Kept) -> None:
    """The owner has answered everything: the account may take cards."""
    _set(book, kept, owed=(), status="active")


def leave_open(book: Book, kept: Kept) -> None:
    """The owner has answered, but Stripe wants to see one more paper."""
    _set(book, kept, owed=account_objects.LEFT_OPEN, status="restricted")


def restrict(book: Book, kept: Kept) -> None:
    """Stripe wants something that is overdue: no cards until it has it."""
    _set(book, kept, owed=account_objects.LEFT_OPEN, status="restricted", deadline="past_due")


def disconnect(book: Book, kept: Kept) -> None:
    """The owner ends the platform's access."""
    kept.aside["is_disconnected"] = True
    book.save(kept)
    events.emit(
        book, "account.application.deauthorized", Kept(account_objects.application(), account=kept.id, aside={})
    )


def open_link(book: Book, params: Json, *, public_url: str) -> Json:
    """A link to the page of Stripe's questions: for one visit, within five minutes."""
    case = params["use_case"]
    if case["type"] not in case:
        raise missing(f"use_case.{case['type']}")
    find(book, params["account"])
    token, now = new_id("acctlink_1", length=32), clock.now().timestamp()
    link = account_objects.link(
        params, url=f"{public_url}/connect/{token}", expires_in=account_objects.LINK_SECONDS, now=now
    )
    aside = {"expires_at": now + account_objects.LINK_SECONDS, "state": "new", **case[case["type"]]}
    book.add(
        "account_link", {"id": token, "object": "account_link", "account": params["account"]}, account="", aside=aside
    )
    return link


def visit(book: Book, token: str) -> Way:
    """The first visit by a link, which uses it up. Raises WireError (404) for a link that was never made."""
    kept = _link(book, token)
    is_good = kept.aside["state"] == "new" and kept.aside["expires_at"] > clock.now().timestamp()
    kept.aside["state"] = "visited" if is_good else kept.aside["state"]
    book.save(kept)
    return _way(book, kept, is_good=is_good)


def leave(book: Book, token: str) -> Way:
    """The owner leaves the page by one of its buttons; a second time there is nothing left to do."""
    kept = _link(book, token)
    is_good = kept.aside["state"] == "visited"
    kept.aside["state"] = "left"
    book.save(kept)
    return _way(book, kept, is_good=is_good)


def _link(book: Book, token: str) -> Kept:
    kept = book.find(token)
    if kept is None or kept.body["object"] != "account_link":
        raise WireError("There is no such link.", status=404)
    return kept


def _way(book: Book, kept: Kept, *, is_good: bool) -> Way:
    account = book.find(kept.body["account"]) if is_good else None
    if account is not None and account.aside.get("is_disconnected"):
        account = None
    refresh_url = kept.aside["refresh_url"]
    return Way(account, refresh_url, kept.aside.get("return_url") or refresh_url)


def _set(book: Book, kept: Kept, *, owed: tuple[str, ...], status: str, deadline: str = "currently_due") -> None:
    before = card_status(kept)
    changed = kept.change(requirements=account_objects.requirements(owed, status=deadline))
    merchant = kept.body["configuration"]["merchant"]
    for name in merchant["capabilities"] if merchant else ():
        merchant["capabilities"][name] = account_objects.capability(status)
    book.save(kept)
    if changed:
        events.emit_thin(book, _REQUIREMENTS, kept)
    if before not in (None, status):
        events.emit_thin(book, _CAPABILITY, kept, data={"updated_capability": "card_payments"})
