"""`/vouchers`: list, create, read and change them. The balance is never changed here, and a code is told once."""

import json
from datetime import datetime

import flask
import peewee

from blueprints.api import keys, lookup, operations, pages, schemas, shapes
from database import transaction
from domain import catalogue, clock, codes, holds, ledger, refusals, timeline
from domain import vouchers as voucher_rules
from domain.states import VoucherStatus, VoucherType
from effects import test_codes
from effects import voucher as vouchers
from models import Merchant, Voucher


def list_vouchers() -> flask.Response:
    """The merchant's vouchers that match, newest first."""
    wanted, key = schemas.read_query(schemas.VoucherQuery), keys.current()
    query = _matching(key.merchant.vouchers.where(Voucher.is_test == key.is_test), wanted)
    rows, next_cursor = pages.page(query, Voucher, limit=wanted.limit, cursor=wanted.cursor)
    initials = shapes.initial_balances(rows)
    data = [shapes.whole_voucher(holds.as_of_now(row), initial_balance_minor=initials[row.id]) for row in rows]
    return shapes.answer({"data": data, "next_cursor": next_cursor})


def create_voucher() -> flask.Response:
    """A new voucher; this answer is the only one that holds its code."""
    key, caller = operations.idempotency_key(), keys.current()
    wanted = schemas.read(schemas.Creation)
    code = _own_code(caller.merchant, wanted)
    expires_at = _expiry(caller.merchant, wanted)
    _check_dates(wanted, expires_at)

    def book() -> dict[str, object]:
        if code is not None and vouchers.find_by_code(caller.merchant, code) is not None:
            raise refusals.CodeTaken("A voucher of this merchant has this code already.")
        made = ledger.issue(
            caller.merchant,
            value_minor=wanted.initial_balance_minor,
            currency=wanted.currency,
            code=vouchers.mint(caller.merchant, code),
            operation_key=f"issue:{key}",
            actor=operations.actor(),
            type=VoucherType(wanted.type),
            status=VoucherStatus(wanted.status),
            customer_id=wanted.customer_id,
            valid_from=wanted.valid_from,
            expires_at=expires_at,
            is_transferable=wanted.is_transferable,
            metadata=wanted.metadata,
            is_test=caller.is_test,
        )
        timeline.record(
            caller.merchant, "voucher_created", voucher=made, actor=operations.actor(), last4=made.code_last4
        )
        return shapes.whole_voucher(made, initial_balance_minor=wanted.initial_balance_minor)

    try:
        return operations.once(wanted, key=key, voucher=None, book=book, reveal=_with_code)
    except peewee.IntegrityError:  # the same code came twice at the same moment
        if code is None:
            raise
        raise refusals.CodeTaken("A voucher of this merchant has this code already.") from None


def read_voucher(voucher_id: str) -> flask.Response:
    """One voucher."""
    return _whole(lookup.by_id_or_404(voucher_id))


def change_voucher(voucher_id: str) -> flask.Response:
    """Change anything but money; to ask for what already is changes nothing."""
    wanted = schemas.read(schemas.Change)
    found = lookup.by_id_or_404(voucher_id)
    with transaction():
        changed = voucher_rules.change(found.id, _change(wanted), actor=operations.actor(), reason=wanted.reason or "")
        holds.as_of_now(changed)  # still under the lock: a moment later somebody else may hold
    return _whole(changed)


def _matching(query: peewee.ModelSelect, wanted: schemas.VoucherQuery) -> peewee.ModelSelect:
    equal = {
        Voucher.type: wanted.type,
        Voucher.currency: wanted.currency,
        Voucher.customer_id: wanted.customer_id,
    }
    for column, value in equal.items():
        query = query.where(column == value) if value is not None else query
    if wanted.last4 is not None:
        query = query.where(Voucher.code_last4.in_(codes.endings(wanted.last4)))
    if wanted.status is not None:
        query = query.where(Voucher.is_shown_as(wanted.status, clock.now()))
    if wanted.has_balance is not None:
        query = query.where(Voucher.balance_minor > 0 if wanted.has_balance else Voucher.balance_minor == 0)
    if wanted.created_after is not None:
        query = query.where(Voucher.created_at > wanted.created_after)
    if wanted.created_before is not None:
        query = query.where(Voucher.created_at < wanted.created_before)
    return query


def _own_code(merchant: Merchant, wanted: schemas.Creation) -> str | None:
    if wanted.code is None:
        return None
    if test_codes.is_reserved(wanted.code):
        raise schemas.refuse("code", "reserved")
    code = codes.normalise(wanted.code)  # what is left of it must be enough, however it is written
    if not (code.isascii() and code.isalnum()):
        raise schemas.refuse("code", "not_a_code")
    if len(code) < schemas.OWN_CODE_LIMITS[0]:
        raise schemas.refuse("code", "too_short")
    return wanted.code


def _check_dates(wanted: schemas.Creation, expires_at: datetime | None) -> None:
    if wanted.valid_from and expires_at and wanted.valid_from >= expires_at:
        raise schemas.refuse("expires_at" if wanted.expires_at else "valid_from", "not_after_start")


def _expiry(merchant: Merchant, wanted: schemas.Creation) -> datetime | None:
    """What was sent, null included; else the merchant's usual term from today."""
    if "expires_at" in wanted.model_fields_set:
        return wanted.expires_at
    return catalogue.usual_expiry(merchant)


def _with_code(body: str) -> str:
    # The stored answer never holds the code: it is read from its seal for whoever has the Idempotency-Key.
    members = json.loads(body)
    return shapes.text(members | {"code": vouchers.read_code(Voucher.get(Voucher.public_id == members["id"]))})


def _change(wanted: schemas.Change) -> voucher_rules.Change:
    sent = wanted.model_fields_set - {"reason"}
    # Null clears what may be empty; elsewhere it says nothing.
    fields = {name for name in sent if getattr(wanted, name) is not None} | sent & _CLEARABLE
    return voucher_rules.Change(
        frozenset(fields),
        status=VoucherStatus(wanted.status) if wanted.status else None,
        customer_id=wanted.customer_id,
        valid_from=wanted.valid_from,
        expires_at=wanted.expires_at,
        is_transferable=wanted.is_transferable,
        metadata=wanted.metadata,
    )


_CLEARABLE = {"customer_id", "valid_from", "expires_at"}


def _whole(found: Voucher) -> flask.Response:
    initial_minor = shapes.origin(found).initial_balance_minor
    return shapes.answer(shapes.whole_voucher(found, initial_balance_minor=initial_minor))
