"""What happens to a payment at Stripe: opened, paid, declined, paid later, expired.

Each verb works inside one transaction of the store and leaves the events that Stripe would send. The API, the pay page
and the tests all call these.
"""

from gateways.stripe_twin import events, objects
from gateways.stripe_twin.book import Book, Kept
from gateways.stripe_twin.wire import Json, WireError, missing, no_such

SHORTEST_SECONDS, LONGEST_SECONDS = 30 * 60, 24 * 3600
# Stripe measures "at least 30 minutes" from its own clock, a little after ours.
_GRACE_SECONDS = 60
_SMALLEST_TOTAL = 50


def open_session(book: Book, params: Json, *, account: str, public_url: str) -> Kept:
    """A new open session. Raises WireError for what Stripe would refuse."""
    created = events.moment()
    _check_session(params, created=created)
    lines = [objects.line_item(line, created=created) for line in params["line_items"]]
    _check_lines(lines)
    body = objects.session(params, lines=lines, public_url=public_url, created=created)
    wishes = params.get("payment_intent_data", {})
    aside = {
        "lines": lines,
        "intent_metadata": wishes.get("metadata", {}),
        "application_fee_amount": wishes.get("application_fee_amount"),
    }
    return book.add("checkout.session", body, account=account, aside=aside)


def find_session(book: Book, session_id: str, *, account: str | None = None) -> Kept:
    """The session as it is now: one whose time is over expires by being looked at. Raises WireError (404)."""
    kept = book.find(session_id, account=account)
    if kept is None or kept.body["object"] != "checkout.session":
        raise no_such("checkout.session", session_id)
    return up_to_date(book, kept)


def all_sessions(book: Book, *, account: str | None = None) -> list[Kept]:
    """Every session as it is now, newest first."""
    return [up_to_date(book, kept) for kept in book.all("checkout.session", account=account)]


def up_to_date(book: Book, kept: Kept) -> Kept:
    """The same session; one that is open although its time is over expires now."""
    is_over = kept.body["status"] == "open" and kept.body["expires_at"] <= events.moment()
    return _expire(book, kept) if is_over else kept


def expire(book: Book, kept: Kept) -> Kept:
    """Close an open session. Raises WireError when it is complete or expired already."""
    _require_open(kept, "expired")
    return _expire(book, kept)


def pay(book: Book, kept: Kept, *, is_told: bool = True) -> Kept:
    """The buyer pays by card and the money is there at once. `is_told` False: the event is lost.

    Raises WireError when the session is not open.
    """
    _require_open(kept, "paid")
    if kept.body["amount_total"]:
        _charge(book, kept, method="card", status="succeeded")
        kept.body["payment_status"] = "paid"
    _complete(kept)
    book.save(kept)
    events.emit(book, "checkout.session.completed", kept, is_told=is_told)
    return kept


def decline(book: Book, kept: Kept) -> Kept:
    """The bank refuses the card: the session stays open, as at Stripe. Raises WireError when it is not open."""
    _require_open(kept, "paid")
    _charge(book, kept, method="card", status="failed")
    book.save(kept)
    return kept


def pay_later(book: Book, kept: Kept, *, is_told: bool = True) -> Kept:
    """The buyer orders a bank debit: complete, and unpaid until `settle_later`. Raises WireError when not open."""
    _require_open(kept, "paid")
    _charge(book, kept, method=objects.late_method(kept.body["currency"]), status="pending")
    _complete(kept)
    book.save(kept)
    events.emit(book, "checkout.session.completed", kept, is_told=is_told)
    return kept


def settle_later(book: Book, kept: Kept, *, succeed: bool, is_told: bool = True) -> Kept:
    """The bank's answer to `pay_later`. Raises WireError when the session does not wait for one."""
    if not is_waiting(kept):
        raise WireError("This Checkout Session does not wait for a bank.")
    intent, charge = _payment(book, kept)
    _settle_charge(book, intent, charge, succeed=succeed)
    kept.body["payment_status"] = "paid" if succeed else "unpaid"
    kept.aside["is_settled"] = True
    book.save(kept)
    word = "succeeded" if succeed else "failed"
    events.emit(book, f"checkout.session.async_payment_{word}", kept, is_told=is_told)
    return kept


def is_waiting(kept: Kept) -> bool:
    """The session is complete and its bank has not answered yet."""
    is_unpaid = kept.body["status"] == "complete" and kept.body["payment_status"] == "unpaid"
    return is_unpaid and not kept.aside.get("is_settled", False)


def state_of(kept: Kept) -> str:
    """How a session stands for its buyer: open, expired, waiting, refused, paid or free (nothing to pay)."""
    if kept.body["status"] != "complete":
        return str(kept.body["status"])
    if is_waiting(kept):
        return "waiting"
    return {"unpaid": "refused", "no_payment_required": "free"}.get(kept.body["payment_status"], "paid")


def find_charge(book: Book, known_id: str) -> Kept:
    """The paid charge behind a session, a payment intent or a charge, by any of their ids. Raises WireError (404)."""
    kept = book.find(known_id)
    for link in ("payment_intent", "latest_charge"):
        if kept is not None and kept.body["object"] != "charge":
            kept = book.find(kept.body.get(link) or "") or (kept if link == "payment_intent" else None)
    if kept is None or kept.body["object"] != "charge":
        raise no_such("charge", known_id)
    return kept


def _check_session(params: Json, *, created: int) -> None:
    if params.get("mode") != "payment":
        raise WireError("This twin knows mode=payment only.", code="parameter_invalid", param="mode")
    for name in ("line_items", "success_url"):
        if not params.get(name):
            raise missing(name)
    for name in ("success_url", "cancel_url"):
        if not params.get(name, "https://").startswith(("https://", "http://")):
            raise WireError("Not a valid URL", code="url_invalid", param=name)
    for index, line in enumerate(params["line_items"]):
        _check_line(line, f"line_items[{index}]")
    _check_expiry(params, created=created)
    _check_texts(params)


def _check_line(line: Json, name: str) -> None:
    if "price" in line:
        raise no_such("price", line["price"], param=f"{name}[price]")
    price = line.get("price_data")
    if price is None:
        raise missing(f"{name}[price_data]")
    for part in ("unit_amount", "product_data"):
        if part not in price:
            raise missing(f"{name}[price_data][{part}]")


def _check_expiry(params: Json, *, created: int) -> None:
    seconds = params.get("expires_at", created + LONGEST_SECONDS) - created
    if seconds < SHORTEST_SECONDS - _GRACE_SECONDS:
        limit = "at least 30 minutes from"
    elif seconds > LONGEST_SECONDS + _GRACE_SECONDS:
        limit = "less than 24 hours from"
    else:
        return
    raise WireError(f"The `expires_at` timestamp must be {limit} Checkout Session creation.", param="expires_at")


def _check_texts(params: Json) -> None:
    email = params.get("customer_email")
    if email is not None and ("@" not in email[1:-1] or " " in email):
        raise WireError(f"Invalid email address: {email[:100]}", code="email_invalid", param="customer_email")
    if len(params.get("client_reference_id", "")) > 200:
        raise WireError("Invalid string: at most 200 characters", param="client_reference_id")
    for key, text in params.get("metadata", {}).items():
        if len(key) > 40 or len(text) > 500:
            raise WireError("Metadata keys have up to 40 characters, values up to 500.", param=f"metadata[{key[:40]}]")


def _check_lines(lines: list[Json]) -> None:
    for index, line in enumerate(lines):
        name = f"line_items[{index}]"
        if line["quantity"] < 1 or line["price"]["unit_amount"] < 0:
            raise WireError("Invalid non-negative integer", code="parameter_invalid_integer", param=name)
        if not line["description"].strip():
            raise WireError("You passed an empty string.", code="parameter_invalid_empty", param=name)
        if len(line["currency"]) != 3 or line["currency"] != lines[0]["currency"]:
            raise WireError(f"Invalid currency: {line['currency'][:10]}", param=name)
    if 0 < sum(line["amount_total"] for line in lines) < _SMALLEST_TOTAL:
        raise WireError("The total amount must convert to at least 50 cents.", code="amount_too_small")


def _require_open(kept: Kept, verb: str) -> None:
    status = kept.body["status"]
    if status != "open":
        raise WireError(
            f'Only Checkout Sessions with a status in ["open"] can be {verb}.'
            f" This Checkout Session has a status of `{status}`."
        )


def _expire(book: Book, kept: Kept) -> Kept:
    kept.body.update(status="expired", url=None)
    book.save(kept)
    events.emit(book, "checkout.session.expired", kept)
    return kept


def _complete(kept: Kept) -> None:
    email = kept.body["customer_email"]
    nobody = dict.fromkeys(("address", "business_name", "individual_name", "name", "phone", "tax_ids"))
    kept.body["customer_details"] = {**nobody, "email": email, "tax_exempt": "none"}
    kept.body.update(status="complete", url=None)


def _charge(book: Book, kept: Kept, *, method: str, status: str) -> None:
    intent = _intent(book, kept)
    email = kept.body["customer_email"]
    body = objects.charge(intent.body, method=method, email=email, status=status, created=events.moment())
    charge = book.add("charge", body, account=kept.account)
    intent.body.update(latest_charge=charge.id, payment_method=body["payment_method"], last_payment_error=None)
    if status == "pending":
        intent.body["status"] = "processing"
        book.save(intent)
    else:
        _settle_charge(book, intent, charge, succeed=status == "succeeded")


def _settle_charge(book: Book, intent: Kept, charge: Kept, *, succeed: bool) -> None:
    if succeed:
        charge.body.update(status="succeeded", paid=True, amount_captured=charge.body["amount"])
        intent.body.update(status="succeeded", amount_received=intent.body["amount"])
    else:
        error = objects.decline()
        charge.body.update(status="failed", paid=False, captured=False)
        charge.body.update(failure_code=error["code"], failure_message=error["message"])
        intent.body.update(status="requires_payment_method", payment_method=None, last_payment_error=error)
    book.save(charge)
    book.save(intent)
    events.emit(book, "charge.succeeded" if succeed else "charge.failed", charge)
    events.emit(book, "payment_intent.succeeded" if succeed else "payment_intent.payment_failed", intent)


def _intent(book: Book, kept: Kept) -> Kept:
    known = book.find(kept.body["payment_intent"] or "")
    if known is not None:
        return known
    body = objects.payment_intent(kept.body, metadata=kept.aside["intent_metadata"], created=events.moment())
    body["application_fee_amount"] = kept.aside.get("application_fee_amount")
    kept.body["payment_intent"] = body["id"]
    return book.add("payment_intent", body, account=kept.account)


def _payment(book: Book, kept: Kept) -> tuple[Kept, Kept]:
    intent = _intent(book, kept)
    charge = book.find(intent.body["latest_charge"])
    if charge is None:
        raise no_such("charge", str(intent.body["latest_charge"]))
    return intent, charge
