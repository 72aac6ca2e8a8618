"""Codes that provoke each state in test mode: `TEST-VALID-5000`, `TEST-PART-5000`, `TEST-USEDUP-5000` and so on.

The first use of such a code makes a real test voucher that is in the wanted state; from then on it is a voucher like
any other. An ending of one's own (`TEST-VALID-5000-monday`) makes a fresh one. Only test keys can do this.
"""

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NoReturn

import peewee

from database import transaction
from domain import clock, codes, ledger, refusals, timeline
from domain import vouchers as rules
from domain.states import EntryKind, VoucherStatus
from effects import voucher as vouchers
from models import ApiKey, Entry, Merchant, Voucher


class Kind(StrEnum):
    """What a code provokes; it is the second word of the code."""

    VALID = "VALID"
    PART = "PART"
    USEDUP = "USEDUP"
    EXPIRED = "EXPIRED"
    NOTYET = "NOTYET"
    BLOCKED = "BLOCKED"
    PENDING = "PENDING"
    CANCELLED = "CANCELLED"
    FOREIGN = "FOREIGN"
    PERSONAL = "PERSONAL"
    SLOW = "SLOW"
    ERROR = "ERROR"


# One line each, for the documentation.
MEANINGS = {
    Kind.VALID: "the whole value is there",
    Kind.PART: "half of the value is redeemed already",
    Kind.USEDUP: "all of the value is redeemed already",
    Kind.EXPIRED: "its time is over",
    Kind.NOTYET: "its time has not begun",
    Kind.BLOCKED: "suspended",
    Kind.PENDING: "not paid yet",
    Kind.CANCELLED: "cancelled",
    Kind.FOREIGN: "in CHF; for a merchant in CHF, in EUR",
    Kind.PERSONAL: "only for the customer_id `someone-else`",
    Kind.SLOW: "booked at once, answered after 5 seconds; a repetition is answered at once",
    Kind.ERROR: "booked, and the first answer is lost: 503; a repetition with the same Idempotency-Key hears it. "
    "Look-up and validation always answer 503",
}
LARGEST_MINOR = 1_000_000
LONGEST_ENDING = 20
# For each merchant; one run of the conformance kit makes about fifty. What was made can be used on and on.
MOST_IN_A_DAY = 5_000
SOMEBODY = "someone-else"

_GAP = re.compile(r"[\s\-‐‑–—−]+")
_AMOUNT = re.compile(r"[1-9][0-9]*", re.ASCII)
_ENDING = re.compile(r"[A-Z0-9]+", re.ASCII)
_LOOKS_LIKE_ONE = re.compile(rf"TEST({'|'.join(codes.normalise(kind) for kind in Kind)})[0-9]")
_MARK = "test:"
# As the look-up reads them: TEST-VA1ID is TEST-VALID.
_KINDS = {codes.normalise(kind): kind for kind in Kind}


@dataclass(frozen=True)
class _Wish:
    kind: Kind
    value_minor: int
    text: str


def is_reserved(code: str) -> bool:
    """True for a code that could be one of these, and may therefore not be given to a voucher."""
    return _words(code) is not None or _LOOKS_LIKE_ONE.match(codes.normalise(code)) is not None


def prepare(key: ApiKey, code: str) -> Kind | None:
    """Make the voucher that a test code asks for, when a test key uses it for the first time; what it provokes.

    None for every other code and for every live key. Raises FieldsRefused (`code`) for a test code that cannot be.
    """
    words = _words(code) if key.is_test else None
    if words is None:
        return None
    known = vouchers.find_by_code(key.merchant, code)
    if known is not None:
        return _kind_of(known, words)
    wish = _read(words)
    _require_room(key.merchant)
    try:
        with transaction():
            _make(wish, key, operation_key=_operation_key(words))
    except peewee.IntegrityError:  # another till used it for the first time at the same moment; theirs is ours
        if vouchers.find_by_code(key.merchant, code) is None:
            raise
    return wish.kind


def _words(code: str) -> list[str] | None:
    """`TEST`, kind, amount and ending as far as they are there; None for a code that is none of these."""
    words = _GAP.split(unicodedata.normalize("NFKC", code).strip().upper(), maxsplit=3)
    return words if words[0] == "TEST" and len(words) > 1 else None


def _operation_key(words: list[str]) -> str:
    return _MARK + "-".join(codes.normalise(word) for word in words)


def _kind_of(known: Voucher, words: list[str]) -> Kind | None:
    made_by = known.issue.operation_key
    if not made_by.startswith(_MARK):  # an imported code that happens to begin with TEST-
        return None
    if made_by != _operation_key(words):  # the look-up knows no dashes: 500-01 and 5000-1 are one code to it
        _refuse("invalid", "Another test code reads the same without its dashes. Choose another ending.")
    return _KINDS[codes.normalise(words[1])]


def _read(words: list[str]) -> _Wish:
    kind, amount, ending = (*words[1:], "", "")[:3]
    known = _KINDS.get(codes.normalise(kind))
    if known is None:
        _refuse("not_a_code", f"There is no test code TEST-{kind[:20]}. There are: {', '.join(Kind)}.")
    if _AMOUNT.fullmatch(amount) is None:
        _refuse("not_a_code", f"Write TEST-{kind}-<minor units>, such as TEST-{kind}-5000, without leading zeros.")
    if len(amount) > len(str(LARGEST_MINOR)) or int(amount) > LARGEST_MINOR:
        _refuse("too_large", f"A test code is worth {LARGEST_MINOR} minor units at most.")
    if known == Kind.PART and amount == "1":
        _refuse("too_small", "Half of 1 minor unit cannot be redeemed; use 2 or more.")
    if len(ending) > LONGEST_ENDING:
        _refuse("too_long", f"The ending of a test code has {LONGEST_ENDING} characters at most.")
    if len(words) > 3 and _ENDING.fullmatch(ending) is None:
        _refuse("not_a_code", "The ending of a test code has letters A to Z and digits only.")
    return _Wish(known, int(amount), "-".join(words))


def _require_room(merchant: Merchant) -> None:
    made = Entry.select().where(
        Entry.merchant == merchant,
        Entry.created_at > clock.now() - timedelta(days=1),
        Entry.kind == EntryKind.ISSUE,
        Entry.operation_key.startswith(_MARK),
    )
    if made.count() >= MOST_IN_A_DAY:
        _refuse("invalid", f"{MOST_IN_A_DAY} test codes were made in the last 24 hours. Use one of them again.")


def _make(wish: _Wish, key: ApiKey, *, operation_key: str) -> None:
    merchant, actor = key.merchant, f"key:{key.name}"
    voucher = ledger.issue(
        merchant,
        value_minor=wish.value_minor,
        currency=_currency(merchant, wish.kind),
        code=vouchers.mint(merchant, wish.text),
        operation_key=operation_key,
        actor=actor,
        metadata={"test_code": wish.text},
        is_test=True,
        **_facts(wish.kind, clock.now()),
    )
    timeline.record(merchant, "voucher_created", voucher=voucher, actor=actor, last4=voucher.code_last4)
    _use(voucher, wish, actor=actor, operation_key=f"{operation_key}:used")
    if wish.kind in (Kind.BLOCKED, Kind.CANCELLED):
        status = VoucherStatus.SUSPENDED if wish.kind == Kind.BLOCKED else VoucherStatus.CANCELLED
        rules.set_status(voucher.id, status, actor=actor, reason=wish.text)


def _facts(kind: Kind, now: datetime) -> dict[str, Any]:
    facts: dict[Kind, dict[str, Any]] = {
        Kind.EXPIRED: {"expires_at": now - timedelta(days=1)},
        Kind.NOTYET: {"valid_from": now + timedelta(days=3650)},
        Kind.PENDING: {"status": VoucherStatus.PENDING},
        Kind.PERSONAL: {"is_transferable": False, "customer_id": SOMEBODY},
    }
    return facts.get(kind, {})


def _currency(merchant: Merchant, kind: Kind) -> str:
    if kind != Kind.FOREIGN:
        return merchant.currency
    return "CHF" if merchant.currency != "CHF" else "EUR"


def _use(voucher: Voucher, wish: _Wish, *, actor: str, operation_key: str) -> None:
    used_minor = {Kind.PART: wish.value_minor // 2, Kind.USEDUP: wish.value_minor}.get(wish.kind)
    if used_minor is None:
        return
    booked = ledger.redeem(
        voucher.id, amount_minor=used_minor, currency=voucher.currency, operation_key=operation_key, actor=actor
    )
    timeline.record(
        voucher.merchant,
        "voucher_redeemed",
        voucher=voucher,
        actor=actor,
        amount_minor=used_minor,
        balance_after_minor=booked.entry.balance_after_minor,
        reference=None,
        terminal=None,
        location=None,
    )


def _refuse(code: str, sentence: str) -> NoReturn:
    raise refusals.FieldsRefused({"code": (code, sentence)})
