"""The only writer of entries and balances.

Every function here runs inside a transaction that its caller owns (`database.transaction`), locks the voucher, checks,
and appends one entry; the database's triggers refuse whatever a mistake here would let through.
"""

import hashlib
import json
import secrets
from dataclasses import dataclass
from datetime import datetime

from database import Prepared, db, locked, slot, slots
from domain import clock, refusals, validation
from domain.states import EntryKind, VoucherStatus, VoucherType
from models import Entry, Merchant, Unit, Voucher

_LOCKED_VOUCHER = Prepared(lambda: locked(Voucher.select().where(Voucher.id == slot("voucher_id"))))
_HASH_BEFORE = Prepared(
    lambda: Entry.select(Entry.hash).where(Entry.voucher == slot("voucher_id"), Entry.seq == slot("seq")).tuples()
)
_NEW_ENTRY = Prepared(lambda: Entry.insert(slots(Entry)).returning(Entry.id).tuples())


@dataclass(frozen=True)
class NewCode:
    """A code that the vault has minted: what may be stored of it, never the code itself."""

    public_id: str
    hmac: str
    ciphertext: bytes
    key_id: str
    last4: str
    link_hash: str


@dataclass(frozen=True)
class Till:
    """What a terminal says about a redemption; shown on the voucher's page and never interpreted."""

    reference: str | None = None
    location: str | None = None
    terminal: str | None = None
    description: str | None = None


@dataclass(frozen=True)
class Redemption:
    """A booked redemption, the voucher after it and the sums."""

    entry: Entry
    voucher: Voucher
    calculation: validation.Calculation


def new_public_id(prefix: str) -> str:
    """A random public id such as `vch_3f…`: 128 bits, safe in a URL."""
    return f"{prefix}_{secrets.token_hex(16)}"


def issue(
    merchant: Merchant,
    *,
    value_minor: int,
    currency: str,
    code: NewCode,
    operation_key: str,
    actor: str,
    unit: Unit | None = None,
    type: VoucherType = VoucherType.GIFT_CARD,
    expires_at: datetime | None = None,
    is_test: bool,
) -> Voucher:
    """Create a voucher worth `value_minor` with its one `issue` entry.

    Raises peewee.IntegrityError when the unit already has its voucher or the code exists: nothing is written then.
    """
    voucher = Voucher.create(
        public_id=code.public_id,
        merchant=merchant,
        unit=unit,
        type=type,
        currency=currency,
        status=VoucherStatus.ACTIVE,
        expires_at=expires_at,
        code_hmac=code.hmac,
        code_ciphertext=code.ciphertext,
        code_key_id=code.key_id,
        code_last4=code.last4,
        link_hash=code.link_hash,
        is_test=is_test,
    )
    _append(voucher, EntryKind.ISSUE, amount_minor=value_minor, operation_key=operation_key, actor=actor)
    return Voucher.get_by_id(voucher.id)


def redeem(
    voucher_id: int | None,
    *,
    amount_minor: int,
    currency: str,
    operation_key: str,
    actor: str,
    customer_id: str | None = None,
    is_exact: bool = False,
    till: Till | None = None,
) -> Redemption:
    """Take `amount_minor`, or what is left when the balance is short and `is_exact` is False.

    `voucher_id` None stands for a code that nobody has. Raises the Refusal of the first check that fails, and
    InsufficientBalance for an exact redemption beyond the balance.
    """
    voucher = _lock(voucher_id) if voucher_id is not None else None
    verdict = validation.check(
        voucher, amount_minor=amount_minor, currency=currency, customer_id=customer_id, at=clock.now()
    )
    if verdict.refusal is not None:
        raise verdict.refusal
    if voucher is None or verdict.calculation is None:
        raise RuntimeError("a verdict without refusal has a voucher and a calculation")
    if is_exact and not verdict.calculation.covers_full_amount:
        raise refusals.InsufficientBalance(
            f"Only {voucher.available_minor} of {amount_minor} minor units are available.",
            available_minor=voucher.available_minor,
        )
    entry = _append(
        voucher,
        EntryKind.REDEEM,
        amount_minor=-verdict.calculation.applicable_amount_minor,
        operation_key=operation_key,
        actor=actor,
        till=till or Till(),
    )
    voucher.balance_minor, voucher.version = entry.balance_after_minor, entry.seq
    return Redemption(entry, voucher, verdict.calculation)


def chain_hash(previous_hash: str, facts: dict[str, object]) -> str:
    """SHA-256 over the hash of the entry before and this entry's facts as canonical JSON."""
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256((previous_hash + canonical).encode()).hexdigest()


def chained_facts(entry: Entry) -> dict[str, object]:
    """The columns of an entry that its hash protects: all but the row's own key and the hashes."""
    names = ("public_id", "voucher_id", "merchant_id", "seq", "kind", "amount_minor", "balance_after_minor", "currency")
    more = ("redemption_id", "operation_key", "actor", "reason", "reference", "location", "terminal", "description")
    facts: dict[str, object] = {name: getattr(entry, name) for name in names + more}
    return facts | {"kind": str(entry.kind), "created_at": entry.created_at.isoformat()}


def _lock(voucher_id: int) -> Voucher:
    _require_transaction()
    voucher: Voucher | None = _LOCKED_VOUCHER.first(voucher_id=voucher_id)
    if voucher is None:
        raise RuntimeError("vouchers are never deleted, and this one is gone")
    return voucher


def _append(
    voucher: Voucher, kind: EntryKind, *, amount_minor: int, operation_key: str, actor: str, till: Till | None = None
) -> Entry:
    _require_transaction()
    till = till or Till()
    previous = _HASH_BEFORE.first(voucher_id=voucher.id, seq=voucher.version)
    entry = Entry(
        public_id=new_public_id("txn"),
        voucher=voucher,
        merchant_id=voucher.merchant_id,
        seq=voucher.version + 1,
        kind=kind,
        amount_minor=amount_minor,
        redemption=None,
        balance_after_minor=voucher.balance_minor + amount_minor,
        currency=voucher.currency,
        operation_key=operation_key,
        actor=actor,
        reason="",
        reference=till.reference,
        location=till.location,
        terminal=till.terminal,
        description=till.description,
        created_at=clock.now(),
        previous_hash=previous[0] if previous else "",
    )
    entry.hash = chain_hash(entry.previous_hash, chained_facts(entry))
    (entry.id,) = _NEW_ENTRY.first(**entry.__data__)
    return entry


def _require_transaction() -> None:
    if not db.in_transaction():
        raise RuntimeError("ledger verbs run inside database.transaction()")
