"""A card's holder objects to a payment: early fraud warnings, inquiries and disputes, until they are decided."""

from gateways.stripe_twin import claims, events
from gateways.stripe_twin.book import Book, Kept
from gateways.stripe_twin.wire import Json, WireError, no_such

# Whether the case is still open, by the dispute's status.
OPEN = ("needs_response", "under_review")
OPEN_INQUIRY = ("warning_needs_response", "warning_under_review")


def open_case(book: Book, charge: Kept, *, reason: str, is_inquiry: bool = False, is_told: bool = True) -> Kept:
    """A new dispute about a charge, whose money leaves at once; an inquiry only asks, and takes nothing yet.

    Raises WireError when the charge was not paid or has a case already.
    """
    if charge.body["status"] != "succeeded" or charge.body["disputed"]:
        raise WireError(f"Charge {charge.id} cannot be disputed: it was not paid or has a dispute already.")
    body = claims.dispute(charge.body, reason=reason, is_inquiry=is_inquiry, created=events.moment())
    case = book.add("dispute", body, account=charge.account)
    charge.aside["dispute"] = case.id
    previous = charge.change(disputed=True)
    book.save(charge)
    events.emit(book, "charge.updated", charge, previous=previous)
    events.emit(book, "charge.dispute.created", case, is_told=is_told)
    if not is_inquiry:
        _move_money(book, charge, case, is_back=False, is_told=is_told)
    _retire_warnings(book, charge, is_told=is_told)
    return case


def answer(book: Book, case: Kept, *, is_told: bool = True) -> Kept:
    """The shop has sent its evidence: the bank is to decide. Raises WireError when nobody waits for an answer."""
    if not case.body["status"].endswith("needs_response"):
        raise _decided(case)
    details = {**case.body["evidence_details"], "has_evidence": True, "submission_count": 1}
    details["submission_method"] = "manual"
    status = case.body["status"].replace("needs_response", "under_review")
    return _tell_change(book, case, "charge.dispute.updated", is_told, status=status, evidence_details=details)


def escalate(book: Book, case: Kept, *, is_told: bool = True) -> Kept:
    """An inquiry becomes a dispute under the same id, and the money leaves. Raises WireError for anything else."""
    if case.body["status"] not in OPEN_INQUIRY:
        raise _decided(case)
    charge = charge_of(book, case)
    method = case.body["payment_method_details"]
    if method:
        method = {**method, "card": {**method["card"], "case_type": "chargeback"}}
    facts = {"status": "needs_response", "is_charge_refundable": False, "payment_method_details": method}
    _tell_change(book, case, "charge.dispute.updated", is_told, **facts)
    _move_money(book, charge, case, is_back=False, is_told=is_told)
    return case


def close(book: Book, case: Kept, *, won: bool, is_told: bool = True) -> Kept:
    """The bank's decision. A won inquiry is closed without a word about money; a lost one becomes a dispute first.

    Raises WireError when it was decided before.
    """
    if case.body["status"] in OPEN_INQUIRY:
        if won:
            return _tell_change(book, case, "charge.dispute.closed", is_told, status="warning_closed")
        escalate(book, case, is_told=is_told)
    if case.body["status"] not in OPEN:
        raise _decided(case)
    _tell_change(book, case, "charge.dispute.closed", is_told, status="won" if won else "lost")
    if won:
        _move_money(book, charge_of(book, case), case, is_back=True, is_told=is_told)
    return case


def warn(book: Book, charge: Kept, *, is_told: bool = True) -> Kept:
    """The card's bank suspects fraud. Raises WireError when the charge was not paid."""
    if charge.body["status"] != "succeeded":
        raise WireError(f"Charge {charge.id} was not paid, so nobody can suspect it.")
    body = claims.fraud_warning(charge.body, created=events.moment())
    body["actionable"] = not (charge.body["refunded"] or charge.body["disputed"])
    warning = book.add("radar.early_fraud_warning", body, account=charge.account)
    charge.aside.setdefault("warnings", []).append(warning.id)
    book.save(charge)
    events.emit(book, "radar.early_fraud_warning.created", warning, is_told=is_told)
    return warning


def note_full_refund(book: Book, charge: Kept, *, is_told: bool = True) -> None:
    """Everything was given back: an open inquiry closes, and warnings ask for nothing any more."""
    case = book.find(charge.aside.get("dispute", ""))
    if case is not None and case.body["status"] in OPEN_INQUIRY:
        facts = {"status": "warning_closed", "is_charge_refundable": False}
        _tell_change(book, case, "charge.dispute.closed", is_told, **facts)
    _retire_warnings(book, charge, is_told=is_told)


def is_charged_back(charge: Kept) -> bool:
    """The money of this charge was taken by a dispute, so it cannot be refunded as well."""
    return bool(charge.aside.get("is_charged_back", False))


def find(book: Book, dispute_id: str, *, account: str | None = None) -> Kept:
    """The dispute of this id. Raises WireError (404)."""
    kept = book.find(dispute_id, account=account)
    if kept is None or kept.body["object"] != "dispute":
        raise no_such("dispute", dispute_id)
    return kept


def charge_of(book: Book, case: Kept) -> Kept:
    """The charge that a dispute is about."""
    charge = book.find(case.body["charge"])
    if charge is None:
        raise no_such("charge", str(case.body["charge"]))
    return charge


def _move_money(book: Book, charge: Kept, case: Kept, *, is_back: bool, is_told: bool) -> None:
    moved = claims.dispute_movement(case.body, is_back=is_back, created=events.moment())
    previous = case.change(balance_transactions=[*case.body["balance_transactions"], moved])
    book.save(case)
    charge.aside["is_charged_back"] = not is_back
    book.save(charge)
    word = "reinstated" if is_back else "withdrawn"
    events.emit(book, f"charge.dispute.funds_{word}", case, previous=previous, is_told=is_told)


def _tell_change(book: Book, case: Kept, kind: str, is_told: bool, **facts: object) -> Kept:
    previous: Json = case.change(**facts)
    book.save(case)
    events.emit(book, kind, case, previous=previous, is_told=is_told)
    return case


def _retire_warnings(book: Book, charge: Kept, *, is_told: bool) -> None:
    for warning_id in charge.aside.get("warnings", []):
        warning = book.find(warning_id)
        if warning is not None and warning.body["actionable"]:
            previous = warning.change(actionable=False)
            book.save(warning)
            events.emit(book, "radar.early_fraud_warning.updated", warning, previous=previous, is_told=is_told)


def _decided(case: Kept) -> WireError:
    return WireError(f"Dispute {case.id} has a status of `{case.body['status']}`, so this cannot be done.")
