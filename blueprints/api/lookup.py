"""Find the voucher that a call names; and `POST /vouchers/lookup`, which shows it without its code."""

import re

import flask

from blueprints.api import keys, provocations, schemas, shapes
from domain import holds, refusals
from effects import test_codes
from effects import voucher as vouchers
from models import ApiKey, Voucher

_PUBLIC_ID = re.compile(r"vch_[0-9a-f]{32}", re.ASCII)
UNKNOWN_CODE = "No voucher of this merchant has this code."
_UNKNOWN_ID = "No voucher of this merchant has this id."


def look_up() -> flask.Response:
    """The voucher behind a typed or scanned code, masked."""
    found = by_code(schemas.read(schemas.Lookup).code)
    if found is None:
        raise refusals.VoucherNotFound(UNKNOWN_CODE)
    return shapes.answer(shapes.voucher(found, initial_balance_minor=shapes.origin(found).initial_balance_minor))


def by_code(code: str) -> Voucher | None:
    """The voucher that the caller may see behind a code: its merchant's, and of its own mode. Counts as a guess."""
    key = keys.current()
    provocations.note(test_codes.prepare(key, code))
    found = vouchers.find_by_code(key.merchant, code)
    if found is None or found.is_test != key.is_test:
        keys.note_unknown_code()
        return None
    return holds.as_of_now(found)


def by_id(public_id: str) -> Voucher | None:
    """The voucher that the caller may see behind an id, or None."""
    if _PUBLIC_ID.fullmatch(public_id) is None:
        return None
    found: Voucher | None = _visible(keys.current()).where(Voucher.public_id == public_id).first()
    return holds.as_of_now(found) if found is not None else None


def by_id_or_404(public_id: str) -> Voucher:
    """The voucher behind an id. Raises VoucherNotFound, for another merchant's as for one that never was."""
    found = by_id(public_id)
    if found is None:
        raise refusals.VoucherNotFound(_UNKNOWN_ID)
    return found


def _visible(key: ApiKey):  # type: ignore[no-untyped-def]
    return key.merchant.vouchers.where(Voucher.is_test == key.is_test)
