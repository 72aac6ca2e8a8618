"""The ledger: what it books and what it refuses. What the database refuses by itself is in test_illegal_writes."""

from collections.abc import Callable
from datetime import timedelta

import peewee
import pytest

from domain import clock, entries, ledger, money, refusals
from models import Entry, Merchant, Voucher
from tests import bookings

app = bookings.app


@pytest.mark.req("S1-13", "S2-05")
def test_issuing_fills_the_voucher_with_one_entry(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 4200)
    (entry,) = voucher.entries
    assert (voucher.balance_minor, voucher.version) == (4200, 1)
    assert (entry.kind, entry.seq, entry.amount_minor, entry.balance_after_minor) == ("issue", 1, 4200, 4200)


@pytest.mark.req("F50", "S2-06", "S2-18", "S2-19", "S2-20")
@pytest.mark.parametrize(
    ("balance", "amount", "taken"),
    [(5000, 1, 1), (5000, 4999, 4999), (5000, 5000, 5000), (5000, 5001, 5000), (1, 1, 1)],
)
def test_a_redemption_takes_the_bill_or_what_is_there(
    merchant: Merchant, balance: int, amount: int, taken: int
) -> None:
    voucher = bookings.issue(merchant, balance)
    booked = bookings.redeem(voucher, amount)
    assert booked.entry.amount_minor == -taken
    assert booked.voucher.balance_minor == bookings.fresh(voucher).balance_minor == balance - taken
    assert booked.calculation.remaining_order_amount_minor == amount - taken


@pytest.mark.req("F50")
@pytest.mark.parametrize(
    ("balance", "amount", "is_taken"), [(5000, 4999, True), (5000, 5000, True), (5000, 5001, False)]
)
def test_an_exact_redemption_takes_all_or_nothing(
    merchant: Merchant, balance: int, amount: int, is_taken: bool
) -> None:
    voucher = bookings.issue(merchant, balance)
    if is_taken:
        assert bookings.redeem(voucher, amount, is_exact=True).entry.amount_minor == -amount
        return
    with pytest.raises(refusals.InsufficientBalance) as refused:
        bookings.redeem(voucher, amount, is_exact=True)
    assert refused.value.extra == {"available_minor": balance}
    assert (bookings.fresh(voucher).balance_minor, voucher.entries.count()) == (balance, 1)


@pytest.mark.req("F50")
@pytest.mark.parametrize("amount", [0, -1, -5000])
def test_an_amount_of_nothing_or_less_never_moves_money(merchant: Merchant, amount: int) -> None:
    voucher = bookings.issue(merchant, 5000)
    redemption = bookings.redeem(voucher, 1000).entry
    hold = bookings.hold(voucher, 500)
    before = bookings.books()
    attempts: list[Callable[[], object]] = [
        lambda: bookings.redeem(voucher, amount),
        lambda: bookings.refund(redemption, amount),
        lambda: bookings.place(voucher, amount),
        lambda: bookings.capture(hold, amount),
    ]
    for attempt in attempts:
        with pytest.raises((refusals.Refusal, ValueError, peewee.IntegrityError)):
            attempt()
        assert bookings.books() == before


def test_an_empty_voucher_gives_nothing_more(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 100)
    bookings.redeem(voucher, 100)
    with pytest.raises(refusals.VoucherDepleted):
        bookings.redeem(voucher, 1)


def test_a_code_that_nobody_has_is_not_found(merchant: Merchant) -> None:
    with pytest.raises(refusals.VoucherNotFound):
        bookings.redeem(None, 1)
    with pytest.raises(refusals.VoucherNotFound):
        bookings.place(None, 1)


@pytest.mark.req("F51")
def test_another_currency_is_never_converted(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000, "CHF")
    for verb in (bookings.redeem, bookings.place):
        with pytest.raises(refusals.CurrencyMismatch):
            verb(voucher, 1)
    assert bookings.fresh(voucher).balance_minor == 5000


@pytest.mark.req("F45")
def test_one_operation_key_books_once(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    bookings.redeem(voucher, 100, operation_key="redeem:one")
    with pytest.raises(peewee.IntegrityError):
        bookings.redeem(voucher, 100, operation_key="redeem:one")
    assert bookings.fresh(voucher).balance_minor == 4900


def test_a_verb_outside_of_a_transaction_is_a_mistake_that_is_told(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant)
    with pytest.raises(RuntimeError, match="transaction"):
        ledger.redeem(voucher.id, amount_minor=1, currency="EUR", operation_key="redeem:x", actor=bookings.TILL)


def test_what_the_till_says_is_kept_with_the_entry(merchant: Merchant) -> None:
    till = entries.Till(reference="R-77", location="Bar", terminal="T2", description="Brunch")
    entry = Entry.get_by_id(bookings.redeem(bookings.issue(merchant), 100, till=till).entry.id)
    assert (entry.reference, entry.location, entry.terminal, entry.description) == ("R-77", "Bar", "T2", "Brunch")


# Refund


@pytest.mark.req("S2-07", "F54")
def test_refunds_give_a_redemption_back_in_parts_and_never_more_than_it(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    redemption = bookings.redeem(voucher, 1000).entry
    assert bookings.refund(redemption, 400, reason="cold soup").voucher.balance_minor == 4400
    assert ledger.refundable_minor(redemption) == 600
    with pytest.raises(refusals.RefundExceedsRedemption) as refused:
        bookings.refund(redemption, 601)
    assert refused.value.extra == {"refundable_minor": 600}
    last = bookings.refund(redemption, 600).entry
    assert (last.kind, last.redemption_id, last.balance_after_minor) == ("refund", redemption.id, 5000)
    with pytest.raises(refusals.RefundExceedsRedemption):
        bookings.refund(redemption, 1)
    assert bookings.fresh(voucher).balance_minor == 5000


@pytest.mark.req("S2-07", "F54")
def test_a_refund_is_bound_to_its_own_redemption(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    small, large = bookings.redeem(voucher, 100).entry, bookings.redeem(voucher, 4000).entry
    with pytest.raises(refusals.RefundExceedsRedemption):
        bookings.refund(small, 101)
    bookings.refund(large, 4000)
    assert ledger.refundable_minor(small) == 100


def test_only_a_redemption_is_given_back(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    refund = bookings.refund(bookings.redeem(voucher, 100).entry, 50).entry
    for entry in (voucher.issue, refund):
        for verb in (lambda each: bookings.refund(each, 1), bookings.reverse):
            with pytest.raises(ValueError, match="only a redemption"):
                verb(entry)
    assert bookings.fresh(voucher).balance_minor == 4950


@pytest.mark.req("F55")
@pytest.mark.parametrize("end", ["expired", "suspended", "cancelled"])
@pytest.mark.parametrize("way", ["refund", "reverse"])
def test_money_comes_back_into_a_voucher_that_has_ended_and_revives_nothing(
    merchant: Merchant, end: str, way: str
) -> None:
    voucher = bookings.issue(merchant, 5000)
    redemption = bookings.redeem(voucher, 1000).entry
    if end == "expired":
        bookings.change(voucher, expires_at=clock.now() - timedelta(seconds=1))
    else:
        bookings.set_status(voucher, end)
    booked = bookings.refund(redemption, 1000) if way == "refund" else bookings.reverse(redemption)
    after = bookings.fresh(voucher)
    assert (booked.entry.kind, after.balance_minor, after.shown_status(clock.now())) == (way, 5000, end)
    with pytest.raises((refusals.VoucherExpired, refusals.VoucherInactive)):
        bookings.redeem(voucher, 1)


@pytest.mark.req("S2-07")
def test_a_refund_makes_a_used_up_voucher_usable_again(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 500)
    redemption = bookings.redeem(voucher, 500).entry
    bookings.refund(redemption, 200)
    assert bookings.redeem(voucher, 500).entry.amount_minor == -200


# Reverse


@pytest.mark.parametrize("refunded", [0, 1, 400, 999])
def test_a_reversal_gives_back_what_refunds_left(merchant: Merchant, refunded: int) -> None:
    voucher = bookings.issue(merchant, 5000)
    redemption = bookings.redeem(voucher, 1000).entry
    if refunded:
        bookings.refund(redemption, refunded)
    booked = bookings.reverse(redemption, reason="bill cancelled")
    assert (booked.entry.kind, booked.entry.amount_minor) == ("reverse", 1000 - refunded)
    assert (booked.entry.redemption_id, booked.entry.reason) == (redemption.id, "bill cancelled")
    assert bookings.fresh(voucher).balance_minor == 5000


def test_what_was_refunded_in_full_is_not_reversed_on_top(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    redemption = bookings.redeem(voucher, 1000).entry
    bookings.refund(redemption, 1000)
    with pytest.raises(refusals.RefundExceedsRedemption) as refused:
        bookings.reverse(redemption)
    assert (refused.value.extra, bookings.fresh(voucher).balance_minor) == ({"refundable_minor": 0}, 5000)


def test_a_redemption_is_reversed_once_and_not_refunded_after(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    redemption = bookings.redeem(voucher, 1000).entry
    bookings.reverse(redemption)
    before = bookings.books()
    with pytest.raises(refusals.AlreadyReversed):
        bookings.reverse(redemption)
    with pytest.raises(refusals.AlreadyReversed):
        bookings.refund(redemption, 1)
    assert bookings.books() == before


# Adjust


@pytest.mark.req("S2-08")
@pytest.mark.parametrize(("by", "after"), [(1, 5001), (-1, 4999), (-5000, 0), (2500, 7500)])
def test_an_adjustment_corrects_up_and_down_and_says_why_and_who(merchant: Merchant, by: int, after: int) -> None:
    voucher = bookings.issue(merchant, 5000)
    entry = bookings.adjust(voucher, by, reason="  typing error ").entry
    assert (entry.kind, entry.amount_minor, entry.reason, entry.actor) == ("adjust", by, "typing error", "user:anna")
    assert bookings.fresh(voucher).balance_minor == after


@pytest.mark.req("S2-08")
@pytest.mark.parametrize(("by", "reason"), [(0, "why not"), (1, ""), (1, " \n")])
def test_an_adjustment_of_nothing_or_without_a_reason_is_a_mistake(merchant: Merchant, by: int, reason: str) -> None:
    voucher = bookings.issue(merchant, 5000)
    with pytest.raises(ValueError, match="moves something and says why"):
        bookings.adjust(voucher, by, reason=reason)
    assert voucher.entries.count() == 1


@pytest.mark.req("S2-08")
def test_an_adjustment_takes_neither_below_zero_nor_what_is_held(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    with pytest.raises(refusals.InsufficientBalance):
        bookings.adjust(voucher, -5001)
    bookings.hold(voucher, 1000)
    with pytest.raises(refusals.InsufficientBalance) as refused:
        bookings.adjust(voucher, -4001)
    assert refused.value.extra == {"available_minor": 4000}
    assert bookings.adjust(voucher, -4000).voucher.available_minor == 0


def test_an_adjustment_counts_a_hold_that_is_over_as_free(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    bookings.hold(voucher, 1000)
    clock.move(timedelta(minutes=16))
    assert bookings.adjust(voucher, -5000).voucher.balance_minor == 0


def test_a_balance_never_outgrows_what_the_database_counts(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    redemption = bookings.redeem(voucher, 5000).entry
    bookings.adjust(voucher, money.MAX_MINOR)
    before = bookings.books()
    attempts: list[Callable[[], object]] = [
        lambda: bookings.adjust(voucher, 1),
        lambda: bookings.adjust(voucher, 2**70),
        lambda: bookings.refund(redemption, 1),
        lambda: bookings.reverse(redemption),
        lambda: bookings.issue(merchant, money.MAX_MINOR + 1),
    ]
    for attempt in attempts:
        with pytest.raises(refusals.FieldsRefused):
            attempt()
        assert bookings.books() == before
    with pytest.raises(refusals.InsufficientBalance):
        bookings.adjust(voucher, -(2**70))


def test_a_refusal_that_is_kept_as_an_answer_leaves_nothing_half_done(merchant: Merchant) -> None:
    def book() -> Entry:
        return ledger.issue(
            merchant, value_minor=money.MAX_MINOR + 1, currency="EUR", code=bookings.code(),
            operation_key="issue:1", actor="shop", is_test=True,
        ).issue  # fmt: skip

    assert bookings.call(merchant, "k-1", book, route="POST /api/v1/vouchers").status == 422
    assert (Voucher.select().count(), Entry.select().count()) == (0, 0)


# The log


@pytest.mark.req("S2-05")
def test_the_sum_of_the_entries_is_the_balance(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    for amount in (1, 999, 2500, 30, 9999):
        bookings.redeem(voucher, amount)
    total = sum(entry.amount_minor for entry in voucher.entries)
    assert total == bookings.fresh(voucher).balance_minor == 0


def test_what_was_owed_at_a_moment_is_what_the_log_replays_to(merchant: Merchant, other_merchant: Merchant) -> None:
    first, second = bookings.issue(merchant, 5000), bookings.issue(merchant, 700, "CHF")
    bookings.issue(other_merchant, 900)
    bookings.issue(merchant, 400, is_test=False)
    for _ in range(3):
        clock.move(timedelta(hours=1))
        redemption = bookings.redeem(first, 900).entry
        bookings.redeem(second, 50, currency="CHF")
        clock.move(timedelta(hours=1))
        bookings.refund(redemption, 100)
    log = list(Entry.select().order_by(Entry.created_at))
    instant = timedelta(microseconds=1)
    for at in [moment for entry in log for moment in (entry.created_at - instant, entry.created_at)]:
        past = [entry for entry in log if entry.created_at <= at]
        for voucher in (first, second):
            replayed = sum(entry.amount_minor for entry in past if entry.voucher_id == voucher.id)
            assert ledger.balance_at(voucher, at) == replayed
        owed = {"EUR": ledger.balance_at(first, at), "CHF": ledger.balance_at(second, at)}
        found = ledger.liability_at(merchant, at, is_test=True)
        assert found == {currency: total for currency, total in owed.items() if currency in found}
        assert sum(found.values()) == sum(owed.values())
    assert ledger.liability_at(merchant, clock.now(), is_test=True) == {"CHF": 550, "EUR": 2600}
    assert ledger.liability_at(merchant, clock.now(), is_test=False) == {"EUR": 400}


def test_time_never_runs_backwards_within_a_voucher(merchant: Merchant) -> None:
    voucher, other = bookings.issue(merchant, 5000), bookings.issue(merchant, 5000)
    clock.move(timedelta(hours=2))
    ahead = bookings.redeem(voucher, 1000).entry
    clock.move(-timedelta(hours=1))
    behind, elsewhere = bookings.redeem(voucher, 500).entry, bookings.redeem(other, 500).entry
    assert behind.created_at == ahead.created_at > elsewhere.created_at
    assert ledger.balance_at(voucher, ahead.created_at) == 3500
    assert ledger.balance_at(voucher, ahead.created_at - timedelta(microseconds=1)) == 5000


def test_each_entry_carries_the_hash_of_the_one_before(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    redemption = bookings.redeem(voucher, 100, till=entries.Till(location="Café Alba – Bar")).entry
    bookings.refund(redemption, 40, reason="kalt")
    bookings.reverse(redemption)
    bookings.capture(bookings.hold(voucher, 300), 200)
    bookings.adjust(voucher, -7)
    previous = ""
    for entry in reversed(list(voucher.entries)):
        assert entry.previous_hash == previous
        assert entry.hash == entries.chain_hash(previous, entries.chained_facts(entry))
        previous = entry.hash
    assert voucher.entries.count() == 6


@pytest.mark.parametrize(
    "column",
    [
        "public_id", "voucher_id", "merchant_id", "seq", "kind", "amount_minor", "balance_after_minor", "currency",
        "redemption_id", "operation_key", "actor", "reason", "reference", "location", "terminal", "description",
        "created_at", "hold_id",
    ],
)  # fmt: skip
def test_the_hash_covers_every_fact_of_an_entry(merchant: Merchant, column: str) -> None:
    entry = bookings.capture(bookings.hold(bookings.issue(merchant), 100)).entry
    numbers = ("voucher_id", "merchant_id", "seq", "amount_minor", "balance_after_minor", "redemption_id", "hold_id")
    other = clock.now() if column == "created_at" else 4711 if column in numbers else "adjust"
    setattr(entry, column, other)
    assert entries.chain_hash(entry.previous_hash, entries.chained_facts(entry)) != entry.hash


def test_every_column_but_the_key_and_the_hashes_is_hashed(merchant: Merchant) -> None:
    entry = bookings.capture(bookings.hold(bookings.issue(merchant), 100)).entry
    columns = {field.column_name for field in Entry._meta.sorted_fields}
    assert entries.chained_facts(entry).keys() == columns - {"id", "previous_hash", "hash"}
