"""Money given back: at once, later, or not at all; by the API and by hand in Stripe's own dashboard.

What a refund takes is off the charge from its creation, and put back when it fails, as at Stripe.
"""

from typing import NoReturn

from gateways.stripe_twin import claims, disputes, events
from gateways.stripe_twin.book import Book, Kept
from gateways.stripe_twin.faults import Fault
from gateways.stripe_twin.wire import Json, WireError, missing, no_such

FAILURE_REASON = "expired_or_canceled_card"
_STATUSES = {"pending": "pending", "failed": "failed"}


def create(book: Book, params: Json, *, account: str, later: bool = False, is_told: bool = True) -> Kept:
    """Give back all that is left of a charge, or `amount` of it; `later`: it waits for `settle`.

    Raises WireError when it is more than is left, the charge was never paid, or its holder disputes it.
    """
    charge = _refundable(book, params, account=account)
    left = charge.body["amount"] - charge.body["amount_refunded"]
    amount = params.get("amount", left)
    _check(charge, amount=amount, left=left)
    status = "pending" if later else "succeeded"
    return _give_back(book, charge, params, amount=amount, status=status, is_told=is_told)


def create_by_api(book: Book, params: Json, *, account: str) -> Kept:
    """As `create`, and as the switch NEXT_REFUND says: pending, failed at once, or refused for lack of funds."""
    charge = _refundable(book, params, account=account)
    left = charge.body["amount"] - charge.body["amount_refunded"]
    amount = params.get("amount", left)
    _check(charge, amount=amount, left=left)
    wish = book.use_fault(Fault.NEXT_REFUND)
    if wish == "refused":
        raise _no_funds()
    return _give_back(book, charge, params, amount=amount, status=_STATUSES.get(wish, "succeeded"), is_told=True)


def find(book: Book, refund_id: str, *, account: str | None = None) -> Kept:
    """The refund of this id. Raises WireError (404)."""
    kept = book.find(refund_id, account=account)
    if kept is None or kept.body["object"] != "refund":
        raise no_such("refund", refund_id)
    return kept


def settle(book: Book, kept: Kept, *, succeed: bool, is_told: bool = True) -> Kept:
    """The bank's answer: a pending refund succeeds or fails, and even one that had succeeded may fail days later.

    Raises WireError when the refund has failed already, or is to succeed twice.
    """
    status = kept.body["status"]
    if status not in ("pending", "requires_action", "succeeded") or (succeed and status == "succeeded"):
        raise WireError(f"Refund {kept.id} has a status of `{status}` and waits for no answer.")
    kept.body.pop("pending_reason", None)
    if succeed:
        previous = kept.change(status="succeeded")
    else:
        previous = kept.change(status="failed", failure_reason=FAILURE_REASON)
        _put_back(book, kept, is_told=is_told)
    book.save(kept)
    _tell_update(book, kept, previous=previous, is_told=is_told)
    return kept


def refuse_to_cancel(kept: Kept) -> NoReturn:
    """Refunds of cards and bank debits cannot be called back. Raises WireError always."""
    raise WireError(f"Refund {kept.id} cannot be canceled.", param="id")


def change_metadata(book: Book, kept: Kept, metadata: Json | str) -> Kept:
    """New words on a refund; an empty text takes one off, "" all of them."""
    merged = {**kept.body["metadata"], **metadata} if isinstance(metadata, dict) else {}
    previous = kept.change(metadata={name: text for name, text in merged.items() if text != ""})
    book.save(kept)
    _tell_update(book, kept, previous=previous, is_told=True)
    return kept


def is_waiting(kept: Kept) -> bool:
    """The refund has neither arrived nor failed."""
    return kept.body["status"] in ("pending", "requires_action")


def _give_back(book: Book, charge: Kept, params: Json, *, amount: int, status: str, is_told: bool) -> Kept:
    metadata = params.get("metadata") or {}
    body = claims.refund(
        charge.body,
        amount=amount,
        reason=params.get("reason"),
        metadata=metadata,
        status=status,
        created=events.moment(),
    )
    if status == "failed":
        body["failure_reason"] = FAILURE_REASON
    made = book.add("refund", body, account=charge.account)
    charge.aside.setdefault("refunds", []).append(made.id)
    book.save(charge)
    events.emit(book, "refund.created", made, is_told=is_told)
    if status == "failed":
        _tell_failure(book, made, is_told=is_told)
    else:
        _take_off(book, charge, amount, is_told=is_told)
    return made


def _take_off(book: Book, charge: Kept, amount: int, *, is_told: bool) -> None:
    refunded = charge.body["amount_refunded"] + amount
    previous = charge.change(amount_refunded=refunded, refunded=refunded == charge.body["amount"])
    book.save(charge)
    events.emit(book, "charge.refunded", charge, previous=previous, is_told=is_told)
    if charge.body["refunded"]:
        disputes.note_full_refund(book, charge, is_told=is_told)


def _put_back(book: Book, kept: Kept, *, is_told: bool) -> None:
    charge = book.find(kept.body["charge"])
    if charge is None:
        raise no_such("charge", str(kept.body["charge"]))
    previous = charge.change(amount_refunded=charge.body["amount_refunded"] - kept.body["amount"], refunded=False)
    book.save(charge)
    events.emit(book, "charge.updated", charge, previous=previous, is_told=is_told)


def _tell_update(book: Book, kept: Kept, *, previous: Json, is_told: bool) -> None:
    events.emit(book, "refund.updated", kept, previous=previous, is_told=is_told)
    events.emit(book, "charge.refund.updated", kept, previous=previous, is_told=is_told)
    if "status" in previous and kept.body["status"] == "failed":
        _tell_failure(book, kept, is_told=is_told)


def _tell_failure(book: Book, kept: Kept, *, is_told: bool) -> None:
    events.emit(book, "refund.failed", kept, is_told=is_told)


def _refundable(book: Book, params: Json, *, account: str) -> Kept:
    charge_id = params.get("charge")
    if charge_id is None:
        charge_id = _charge_of(book, params.get("payment_intent"), account=account)
    charge = book.find(charge_id, account=account)
    if charge is None or charge.body["object"] != "charge":
        raise no_such("charge", charge_id)
    if charge.body["status"] != "succeeded":
        raise WireError(f"Charge {charge_id} has not succeeded, so there is nothing to refund.", param="charge")
    return charge


def _charge_of(book: Book, intent_id: str | None, *, account: str) -> str:
    if intent_id is None:
        raise missing("payment_intent or charge")
    intent = book.find(intent_id, account=account)
    if intent is None or intent.body["object"] != "payment_intent":
        raise no_such("payment_intent", intent_id)
    return intent.body["latest_charge"] or ""


def _check(charge: Kept, *, amount: int, left: int) -> None:
    if disputes.is_charged_back(charge):
        raise WireError(f"Charge {charge.id} has been charged back; cannot issue a refund.", code="charge_disputed")
    if left == 0:
        raise WireError(f"Charge {charge.id} has already been refunded.", code="charge_already_refunded")
    if amount < 1:
        raise WireError("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    if amount > left:
        raise WireError(
            f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})", param="amount"
        )


def _no_funds() -> WireError:
    # Stripe gives this error no `code`.
    return WireError(
        "Insufficient funds in your Stripe balance to refund this amount.",
        more={"message_code": "insufficient_balance_for_refund"},
        is_final=True,
    )
