"""Lock a voucher, append an entry: the only writer of entries, and through the database's triggers of balances.

Every verb that moves money runs inside a transaction that its caller owns (`database.transaction`), locks the voucher
here, checks, and appends here. The triggers refuse whatever a mistake would let through.
"""

import hashlib
import json
import secrets
from dataclasses import dataclass

from database import Prepared, db, locked, slot, slots
from domain import clock, money, refusals
from domain.states import EntryKind
from models import Entry, Hold, Voucher

_LOCKED_VOUCHER = Prepared(lambda: locked(Voucher.select().where(Voucher.id == slot("voucher_id"))))
_ENTRY_BEFORE = Prepared(
    lambda: Entry.select(Entry.hash, Entry.created_at).where(
        Entry.voucher == slot("voucher_id"), Entry.seq == slot("seq")
    )
)
_NEW_ENTRY = Prepared(lambda: Entry.insert(slots(Entry)).returning(Entry.id).tuples())


@dataclass(frozen=True)
class Till:
    """What a terminal says about a booking; shown on the voucher's page and never interpreted."""

    reference: str | None = None
    location: str | None = None
    terminal: str | None = None
    description: str | None = None


NO_TILL = Till()


def new_public_id(prefix: str) -> str:
    """A random public id such as `vch_3f…`: 128 bits, safe in a URL."""
    return f"{prefix}_{secrets.token_hex(16)}"


def lock(voucher_id: int) -> Voucher:
    """The voucher as it is now, its row locked until the commit (SQLite's writer is alone already)."""
    require_transaction()
    voucher: Voucher | None = _LOCKED_VOUCHER.first(voucher_id=voucher_id)
    if voucher is None:
        raise RuntimeError("vouchers are never deleted, and this one is gone")
    return voucher


def append(
    voucher: Voucher,
    kind: EntryKind,
    *,
    amount_minor: int,
    operation_key: str,
    actor: str,
    reason: str = "",
    redemption: Entry | None = None,
    hold: Hold | None = None,
    till: Till = NO_TILL,
) -> Entry:
    """Book `amount_minor` on a voucher that `lock` gave, and move its balance and version along.

    Raises FieldsRefused when the balance would outgrow what the database can count.
    """
    require_transaction()
    balance_after_minor = voucher.balance_minor + amount_minor
    require_countable(balance_after_minor, field="amount_minor")
    before: Entry | None = _ENTRY_BEFORE.first(voucher_id=voucher.id, seq=voucher.version)
    now = clock.now()
    entry = Entry(
        public_id=new_public_id("txn"),
        voucher=voucher,
        merchant_id=voucher.merchant_id,
        seq=voucher.version + 1,
        kind=kind,
        amount_minor=amount_minor,
        redemption=redemption,
        hold=hold,
        balance_after_minor=balance_after_minor,
        currency=voucher.currency,
        operation_key=operation_key,
        actor=actor,
        reason=reason,
        reference=till.reference,
        location=till.location,
        terminal=till.terminal,
        description=till.description,
        # Two machines' clocks differ; within one voucher time never runs backwards, or `balance_at` would lie.
        created_at=max(now, before.created_at) if before else now,
        previous_hash=before.hash if before else "",
    )
    entry.hash = chain_hash(entry.previous_hash, chained_facts(entry))
    (entry.id,) = _NEW_ENTRY.first(**entry.__data__)
    voucher.balance_minor, voucher.version = entry.balance_after_minor, entry.seq
    return entry


def chain_hash(previous_hash: str, facts: dict[str, object]) -> str:
    """SHA-256 over the hash of the entry before and this entry's facts as canonical JSON."""
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256((previous_hash + canonical).encode()).hexdigest()


def chained_facts(entry: Entry) -> dict[str, object]:
    """The columns of an entry that its hash protects: all but the row's own key and the hashes."""
    names = ("public_id", "voucher_id", "merchant_id", "seq", "kind", "amount_minor", "balance_after_minor", "currency")
    more = ("redemption_id", "operation_key", "actor", "reason", "reference", "location", "terminal", "description")
    facts: dict[str, object] = {name: getattr(entry, name) for name in names + more}
    if entry.hold_id is not None:  # entries from before there were holds keep the hash that they were written with
        facts["hold_id"] = entry.hold_id
    return facts | {"kind": str(entry.kind), "created_at": entry.created_at.isoformat()}


def require_countable(balance_minor: int, *, field: str) -> None:
    """Raise FieldsRefused about `field` for a balance that the database cannot count."""
    if balance_minor > money.MAX_MINOR:
        detail = f"The balance may reach {money.MAX_MINOR} minor units at most."
        raise refusals.FieldsRefused({field: ("too_large", detail)})


def require_transaction() -> None:
    """Raise RuntimeError outside of a transaction: a check that is not locked is how money is spent twice."""
    if not db.in_transaction():
        raise RuntimeError("ledger verbs run inside database.transaction()")
