"""The ledger: what it books, what it refuses, and what the database itself refuses when nobody else does."""

import secrets
from typing import Any

import peewee
import pytest

import database
from domain import clock, entries, holds, ledger, refusals
from models import Entry, Merchant, Voucher


def _code() -> ledger.NewCode:
    return ledger.NewCode(
        public_id=entries.new_public_id("vch"),
        hmac=secrets.token_hex(32),
        ciphertext=b"sealed",
        key_id="s1",
        last4="3HAF",
        link_hash=secrets.token_hex(32),
    )


def _issue(merchant: Merchant, value_minor: int = 5000, currency: str = "EUR") -> Voucher:
    with database.transaction():
        return ledger.issue(
            merchant,
            value_minor=value_minor,
            currency=currency,
            code=_code(),
            operation_key=f"issue:{secrets.token_hex(8)}",
            actor="shop",
            is_test=True,
        )


def _redeem(voucher: Voucher | None, amount_minor: int, **options: Any) -> ledger.Redemption:
    options = {"currency": "EUR", "operation_key": f"redeem:{secrets.token_hex(8)}", "actor": "key:Till"} | options
    with database.transaction():
        return ledger.redeem(voucher.id if voucher else None, amount_minor=amount_minor, **options)


def _fresh(voucher: Voucher) -> Voucher:
    found: Voucher = Voucher.get_by_id(voucher.id)
    return found


@pytest.mark.req("S1-13", "S2-05")
def test_issuing_fills_the_voucher_with_one_entry(merchant: Merchant) -> None:
    voucher = _issue(merchant, 4200)
    (entry,) = voucher.entries
    assert (voucher.balance_minor, voucher.version) == (4200, 1)
    assert (entry.kind, entry.seq, entry.amount_minor, entry.balance_after_minor) == ("issue", 1, 4200, 4200)


@pytest.mark.req("F50", "S2-18", "S2-19", "S2-20")
@pytest.mark.parametrize(
    ("balance", "amount", "taken"),
    [(5000, 1, 1), (5000, 4999, 4999), (5000, 5000, 5000), (5000, 5001, 5000), (1, 1, 1)],
)
def test_a_redemption_takes_the_bill_or_what_is_there(
    merchant: Merchant, balance: int, amount: int, taken: int
) -> None:
    voucher = _issue(merchant, balance)
    booked = _redeem(voucher, amount)
    assert booked.entry.amount_minor == -taken
    assert booked.voucher.balance_minor == _fresh(voucher).balance_minor == balance - taken
    assert booked.calculation.remaining_order_amount_minor == amount - taken


@pytest.mark.req("F50")
@pytest.mark.parametrize(
    ("balance", "amount", "is_taken"), [(5000, 4999, True), (5000, 5000, True), (5000, 5001, False)]
)
def test_an_exact_redemption_takes_all_or_nothing(
    merchant: Merchant, balance: int, amount: int, is_taken: bool
) -> None:
    voucher = _issue(merchant, balance)
    if is_taken:
        assert _redeem(voucher, amount, is_exact=True).entry.amount_minor == -amount
        return
    with pytest.raises(refusals.InsufficientBalance) as refused:
        _redeem(voucher, amount, is_exact=True)
    assert refused.value.extra == {"available_minor": balance}
    assert (_fresh(voucher).balance_minor, voucher.entries.count()) == (balance, 1)


@pytest.mark.req("F50")
@pytest.mark.parametrize("amount", [0, -1, -5000])
def test_an_amount_of_nothing_or_less_never_moves_money(merchant: Merchant, amount: int) -> None:
    voucher = _issue(merchant, 5000)
    with pytest.raises((refusals.Refusal, ValueError, peewee.IntegrityError)):
        _redeem(voucher, amount)
    assert (_fresh(voucher).balance_minor, voucher.entries.count()) == (5000, 1)


def test_an_empty_voucher_gives_nothing_more(merchant: Merchant) -> None:
    voucher = _issue(merchant, 100)
    _redeem(voucher, 100)
    with pytest.raises(refusals.VoucherDepleted):
        _redeem(voucher, 1)


def test_a_code_that_nobody_has_is_not_found(merchant: Merchant) -> None:
    with pytest.raises(refusals.VoucherNotFound):
        _redeem(None, 1)


@pytest.mark.req("F51")
def test_another_currency_is_never_converted(merchant: Merchant) -> None:
    voucher = _issue(merchant, 5000, "CHF")
    with pytest.raises(refusals.CurrencyMismatch):
        _redeem(voucher, 1)
    assert _fresh(voucher).balance_minor == 5000


@pytest.mark.req("F45")
def test_one_operation_key_books_once(merchant: Merchant) -> None:
    voucher = _issue(merchant, 5000)
    _redeem(voucher, 100, operation_key="redeem:one")
    with pytest.raises(peewee.IntegrityError):
        _redeem(voucher, 100, operation_key="redeem:one")
    assert _fresh(voucher).balance_minor == 4900


def test_a_verb_outside_of_a_transaction_is_a_mistake_that_is_told(merchant: Merchant) -> None:
    voucher = _issue(merchant)
    with pytest.raises(RuntimeError, match="transaction"):
        ledger.redeem(voucher.id, amount_minor=1, currency="EUR", operation_key="redeem:x", actor="key:Till")


def test_what_the_till_says_is_kept_with_the_entry(merchant: Merchant) -> None:
    till = entries.Till(reference="R-77", location="Bar", terminal="T2", description="Brunch")
    entry = Entry.get_by_id(_redeem(_issue(merchant), 100, till=till).entry.id)
    assert (entry.reference, entry.location, entry.terminal, entry.description) == ("R-77", "Bar", "T2", "Brunch")


@pytest.mark.req("S2-05")
def test_the_sum_of_the_entries_is_the_balance(merchant: Merchant) -> None:
    voucher = _issue(merchant, 5000)
    for amount in (1, 999, 2500, 30, 9999):
        _redeem(voucher, amount)
    total = sum(entry.amount_minor for entry in voucher.entries)
    assert total == _fresh(voucher).balance_minor == 0


def test_each_entry_carries_the_hash_of_the_one_before(merchant: Merchant) -> None:
    voucher = _issue(merchant, 5000)
    for amount in (100, 200, 300):
        _redeem(voucher, amount, till=entries.Till(location="Café Alba – Bar"))
    previous = ""
    for entry in reversed(list(voucher.entries)):
        assert entry.previous_hash == previous
        assert entry.hash == entries.chain_hash(previous, entries.chained_facts(entry))
        previous = entry.hash


@pytest.mark.parametrize("column", ["amount_minor", "actor", "reference", "created_at", "operation_key", "kind"])
def test_the_hash_covers_every_fact_of_an_entry(merchant: Merchant, column: str) -> None:
    entry = _issue(merchant).entries.get()
    changed = {"amount_minor": 1, "created_at": clock.now()}.get(column, "redeem")
    setattr(entry, column, changed)
    assert entries.chain_hash(entry.previous_hash, entries.chained_facts(entry)) != entry.hash


FORBIDDEN = {
    "changing an entry": "UPDATE entries SET amount_minor = 9 WHERE voucher_id = {voucher}",
    "changing who did it": "UPDATE entries SET actor = 'nobody' WHERE voucher_id = {voucher}",
    "deleting an entry": "DELETE FROM entries WHERE voucher_id = {voucher}",
    "deleting a voucher": "DELETE FROM vouchers WHERE id = {voucher}",
    "raising a balance by hand": "UPDATE vouchers SET balance_minor = balance_minor + 1 WHERE id = {voucher}",
    "turning the version back": "UPDATE vouchers SET version = 1, balance_minor = 5000 WHERE id = {voucher}",
    "changing the currency": "UPDATE vouchers SET currency = 'CHF' WHERE id = {voucher}",
    "moving it to another merchant": "UPDATE vouchers SET merchant_id = {other} WHERE id = {voucher}",
    "holding more than there is": "UPDATE vouchers SET held_minor = balance_minor + 1 WHERE id = {voucher}",
    "an invented status": "UPDATE vouchers SET status = 'depleted' WHERE id = {voucher}",
}


@pytest.mark.req("S2-05")
@pytest.mark.parametrize("deed", FORBIDDEN)
def test_the_database_itself_refuses(deed: str, merchant: Merchant, other_merchant: Merchant) -> None:
    voucher = _issue(merchant, 5000)
    _redeem(voucher, 100)
    with pytest.raises(peewee.IntegrityError), database.transaction():
        database.db.execute_sql(FORBIDDEN[deed].format(voucher=voucher.id, other=other_merchant.id))
    assert (_fresh(voucher).balance_minor, voucher.entries.count()) == (4900, 2)


WRONG_ENTRIES: dict[str, dict[str, object]] = {
    "a gap in the sequence": {"seq": 4},
    "a second entry with the same number": {"seq": 2},
    "a balance that does not follow": {"balance_after_minor": 4898},
    "more than is there": {"amount_minor": -4901, "balance_after_minor": -1},
    "a redemption that adds": {"amount_minor": 1, "balance_after_minor": 4901},
    "a redemption of nothing": {"amount_minor": 0, "balance_after_minor": 4900},
    "a second issue": {"kind": "issue", "amount_minor": 1, "balance_after_minor": 4901},
    "another currency": {"currency": "CHF"},
    "a broken chain": {"previous_hash": "0" * 64},
    "nobody's deed": {"actor": ""},
    "an adjustment without a reason": {"kind": "adjust"},
    "a refund of nothing": {"kind": "refund", "amount_minor": 1, "balance_after_minor": 4901},
    "an invented kind": {"kind": "gift", "amount_minor": 1, "balance_after_minor": 4901},
}


@pytest.mark.parametrize("mistake", WRONG_ENTRIES)
def test_the_database_refuses_an_entry_with(mistake: str, merchant: Merchant) -> None:
    voucher = _issue(merchant, 5000)
    _redeem(voucher, 100)
    with pytest.raises(peewee.IntegrityError), database.transaction():
        _entry(voucher, **WRONG_ENTRIES[mistake]).save(force_insert=True)
    assert (_fresh(voucher).balance_minor, voucher.entries.count()) == (4900, 2)


def test_the_database_refuses_an_entry_of_another_merchant(merchant: Merchant, other_merchant: Merchant) -> None:
    voucher = _issue(merchant, 5000)
    _redeem(voucher, 100)
    with pytest.raises(peewee.IntegrityError), database.transaction():
        _entry(voucher, merchant=other_merchant).save(force_insert=True)


def test_the_database_refuses_to_take_held_money(merchant: Merchant) -> None:
    voucher = _issue(merchant, 5000)
    _redeem(voucher, 100)
    with database.transaction():
        holds.place(voucher.id, amount_minor=4900, currency="EUR", operation_key="hold:1", actor="key:Till")
    with pytest.raises(peewee.IntegrityError), database.transaction():
        _entry(voucher).save(force_insert=True)


def test_refunds_never_exceed_their_redemption(merchant: Merchant) -> None:
    voucher = _issue(merchant, 5000)
    redemption = _redeem(voucher, 100).entry
    refund = {"kind": "refund", "amount_minor": 60, "redemption": redemption}
    with database.transaction():
        _entry(voucher, balance_after_minor=4960, **refund).save(force_insert=True)
    again = _fresh(voucher)
    with pytest.raises(peewee.IntegrityError), database.transaction():
        _entry(again, seq=4, balance_after_minor=5020, **refund).save(force_insert=True)
    assert _fresh(voucher).balance_minor == 4960


def test_a_voucher_cannot_be_born_with_money(merchant: Merchant) -> None:
    facts = vars(_code())
    with pytest.raises(peewee.IntegrityError), database.transaction():
        Voucher.create(
            public_id=facts["public_id"],
            merchant=merchant,
            currency="EUR",
            balance_minor=1,
            code_hmac=facts["hmac"],
            code_ciphertext=facts["ciphertext"],
            code_key_id="s1",
            code_last4="3HAF",
            link_hash=facts["link_hash"],
            is_test=True,
        )


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)  # SQLite has no TRUNCATE
def test_nobody_empties_the_ledger_in_one_go(engine: str, merchant: Merchant) -> None:
    voucher = _issue(merchant)
    with pytest.raises(peewee.IntegrityError), database.transaction():
        database.db.execute_sql("TRUNCATE entries CASCADE")
    assert voucher.entries.count() == 1


def _entry(voucher: Voucher, **changes: object) -> Entry:
    last = voucher.entries.get()
    right: dict[str, object] = {
        "public_id": entries.new_public_id("txn"),
        "voucher": voucher,
        "merchant": voucher.merchant_id,
        "seq": 3,
        "kind": "redeem",
        "amount_minor": -1,
        "balance_after_minor": 4899,
        "currency": "EUR",
        "operation_key": f"redeem:{secrets.token_hex(8)}",
        "actor": "key:Till",
        "created_at": clock.now(),
        "previous_hash": last.hash,
        "hash": secrets.token_hex(32),
    }
    return Entry(**(right | changes))
