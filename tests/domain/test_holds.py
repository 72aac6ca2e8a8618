"""Money set aside for one bill: it is there when the guest has finished, and free again when nobody comes."""

from collections.abc import Callable
from datetime import timedelta

import peewee
import pytest

from domain import clock, entries, holds, ledger, refusals
from domain.states import HoldState
from models import Hold, Merchant, Voucher
from tests import bookings

app = bookings.app

TICK = timedelta(milliseconds=1)
DAY = timedelta(hours=24)


@pytest.fixture(autouse=True)
def _standing_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    bookings.stop_the_clock(monkeypatch)


def _money(voucher: Voucher) -> tuple[int, int]:
    now = bookings.fresh(voucher)
    return now.balance_minor, now.held_minor


def _state(hold: Hold) -> str:
    return str(bookings.fresh(hold).state)


@pytest.mark.req("S2-20")
def test_several_holds_stand_on_one_voucher_and_never_exceed_it(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    first = bookings.place(voucher, 2000)
    assert (first.voucher.available_minor, first.calculation.remaining_voucher_balance_minor) == (3000, 3000)
    bookings.hold(voucher, 1500)
    third = bookings.place(voucher, 9000)
    assert (third.hold.amount_minor, third.calculation.remaining_order_amount_minor) == (1500, 7500)
    assert _money(voucher) == (5000, 5000)
    with pytest.raises(refusals.VoucherDepleted):
        bookings.hold(voucher, 1)
    with pytest.raises(refusals.VoucherDepleted):
        bookings.redeem(voucher, 1)
    assert Hold.select().count() == 3


def test_an_exact_hold_sets_all_aside_or_nothing(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    bookings.hold(voucher, 1000)
    with pytest.raises(refusals.InsufficientBalance) as refused:
        bookings.hold(voucher, 4001, is_exact=True)
    assert (refused.value.extra, _money(voucher)) == ({"available_minor": 4000}, (5000, 1000))
    assert bookings.hold(voucher, 4000, is_exact=True).amount_minor == 4000


def test_a_redemption_takes_only_what_no_hold_has_set_aside(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    bookings.hold(voucher, 3000)
    booked = bookings.redeem(voucher, 5000)
    assert (booked.entry.amount_minor, _money(voucher)) == (-2000, (3000, 3000))


def test_a_hold_lives_for_a_quarter_of_an_hour_unless_told_otherwise_and_for_a_day_at_most(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    asked = {None: timedelta(minutes=15), timedelta(seconds=60): timedelta(seconds=60), DAY * 2: DAY}
    for life, lived in asked.items():
        hold = bookings.hold(voucher, 10, **({"life": life} if life else {}))
        assert hold.expires_at - hold.created_at == lived


def test_a_hold_has_one_operation_key(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    bookings.hold(voucher, 100, operation_key="hold:one")
    with pytest.raises(peewee.IntegrityError):
        bookings.hold(voucher, 100, operation_key="hold:one")
    assert _money(voucher) == (5000, 100)


def test_a_hold_is_found_by_its_merchant_and_in_its_mode_alone(merchant: Merchant, other_merchant: Merchant) -> None:
    hold = bookings.hold(bookings.issue(merchant, 5000), 100)
    assert holds.find(merchant, hold.public_id, is_test=True) == hold
    for seller, public_id, is_test in (
        (merchant, hold.public_id, False), (other_merchant, hold.public_id, True), (merchant, "hld_0", True),
    ):  # fmt: skip
        with pytest.raises(refusals.HoldNotFound):
            holds.find(seller, public_id, is_test=is_test)


# Capture


@pytest.mark.parametrize(("taken", "left"), [(None, 3000), (2000, 3000), (1999, 3001), (1, 4999)])
def test_a_capture_books_the_bill_and_frees_the_rest(merchant: Merchant, taken: int | None, left: int) -> None:
    voucher = bookings.issue(merchant, 5000)
    hold = bookings.hold(voucher, 2000)
    captured = bookings.capture(hold, taken)
    assert (captured.entry.kind, captured.entry.amount_minor) == ("redeem", -(taken or 2000))
    assert (captured.entry.hold_id, _state(hold), _money(voucher)) == (hold.id, "captured", (left, 0))
    assert (captured.voucher.balance_minor, captured.voucher.held_minor) == (left, 0)


def test_a_capture_never_takes_more_than_its_hold(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    hold = bookings.hold(voucher, 2000)
    with pytest.raises(refusals.InsufficientBalance) as refused:
        bookings.capture(hold, 2001)
    assert refused.value.extra == {"available_minor": 2000}
    assert (_state(hold), _money(voucher)) == ("active", (5000, 2000))


def test_a_capture_keeps_what_the_hold_said_and_adds_its_own(merchant: Merchant) -> None:
    said = entries.Till(reference="T-1", location="Bar", terminal="1", description="Table 5")
    hold = bookings.hold(bookings.issue(merchant, 5000), 100, till=said)
    entry = bookings.capture(hold, till=entries.Till(reference="R-9", terminal="2")).entry
    assert (entry.reference, entry.location, entry.terminal, entry.description) == ("R-9", "Bar", "2", "Table 5")


def test_what_a_hold_became_can_be_refunded_and_reversed(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    entry = bookings.capture(bookings.hold(voucher, 2000), 1500).entry
    bookings.refund(entry, 500)
    assert bookings.reverse(entry).entry.amount_minor == 1000
    assert (_money(voucher), ledger.refundable_minor(entry)) == ((5000, 0), 0)


@pytest.mark.parametrize("rest", [0, 3000])
def test_a_closed_hold_says_so_even_when_its_voucher_is_used_up(merchant: Merchant, rest: int) -> None:
    voucher = bookings.issue(merchant, 2000 + rest)
    hold, freed = bookings.hold(voucher, 1000), bookings.hold(voucher, 1000)
    bookings.capture(hold)
    bookings.release(freed)
    if not rest:
        bookings.redeem(voucher, 1000)
    for each, state in ((hold, "captured"), (freed, "released")):
        for verb in (bookings.capture, lambda one: bookings.extend(one, DAY)):
            with pytest.raises(refusals.HoldClosed) as refused:
                verb(each)
            assert refused.value.extra == {"state": state}


@pytest.mark.req("F53")
@pytest.mark.parametrize(
    ("late", "is_captured"), [(-TICK, True), (-TICK / 1000, True), (TICK * 0, False), (TICK, False)]
)
def test_a_capture_is_in_time_until_the_hold_ends_to_the_millisecond(
    merchant: Merchant, late: timedelta, is_captured: bool
) -> None:
    voucher = bookings.issue(merchant, 5000)
    hold = bookings.hold(voucher, 2000)
    clock.move(holds.USUAL_LIFE + late)
    if is_captured:
        assert bookings.capture(hold).voucher.balance_minor == 3000
        return
    with pytest.raises(refusals.HoldExpired) as refused:
        bookings.capture(hold)
    assert refused.value.extra == {"expired_at": hold.expires_at.isoformat()}
    assert bookings.fresh(voucher).balance_minor == 5000


@pytest.mark.req("F53")
def test_a_guest_who_came_in_time_pays_with_a_voucher_that_expired_over_dinner(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000, expires_at=clock.now() + timedelta(minutes=5))
    hold = bookings.hold(voucher, 2000)
    clock.move(timedelta(minutes=6))
    with pytest.raises(refusals.VoucherExpired):
        bookings.redeem(voucher, 1)
    bookings.extend(hold, timedelta(minutes=30))
    assert bookings.capture(hold).voucher.balance_minor == 3000


@pytest.mark.req("F49")
def test_a_blocked_voucher_pays_no_hold_until_it_is_unblocked(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    hold = bookings.hold(voucher, 2000)
    bookings.set_status(voucher, "suspended")
    attempts: list[Callable[[], object]] = [
        lambda: bookings.capture(hold), lambda: bookings.extend(hold, DAY), lambda: bookings.hold(voucher, 1),
    ]  # fmt: skip
    for attempt in attempts:
        with pytest.raises(refusals.VoucherInactive):
            attempt()
    assert (_state(hold), _money(voucher)) == ("active", (5000, 2000))
    bookings.set_status(voucher, "active")
    assert bookings.capture(hold).voucher.balance_minor == 3000


def test_a_cancellation_frees_every_hold(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    over = bookings.hold(voucher, 100, life=timedelta(seconds=1))
    clock.move(timedelta(seconds=1))
    standing = [bookings.hold(voucher, amount) for amount in (1000, 2000)]
    bookings.set_status(voucher, "cancelled")
    assert (_money(voucher), _state(over), {_state(hold) for hold in standing}) == ((5000, 0), "expired", {"released"})
    with pytest.raises(refusals.VoucherInactive):
        bookings.capture(standing[0])


# The end of a hold


@pytest.mark.req("F53")
def test_whoever_takes_next_frees_what_is_over(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    over = bookings.hold(voucher, 4000)
    clock.move(timedelta(minutes=10))
    standing = bookings.hold(voucher, 1000)
    clock.move(timedelta(minutes=5))
    assert bookings.redeem(voucher, 5000).entry.amount_minor == -4000
    ended = bookings.fresh(over)
    assert (ended.state, ended.ended_at, _state(standing)) == ("expired", clock.now(), "active")
    assert _money(voucher) == (1000, 1000)


@pytest.mark.req("F53")
def test_whoever_looks_sees_what_is_over_as_free_and_writes_nothing(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    hold = bookings.hold(voucher, 4000)
    bookings.hold(voucher, 500, life=DAY)
    for moved, held, state in ((TICK * 0, 4500, "active"), (holds.USUAL_LIFE, 500, "expired")):
        clock.move(moved)
        before = bookings.books()
        assert holds.as_of_now(bookings.fresh(voucher)).held_minor == held
        assert bookings.fresh(hold).shown_state(clock.now()) == state
        assert bookings.books() == before


@pytest.mark.req("F53")
def test_the_sweeper_closes_what_nobody_looked_at(merchant: Merchant, other_merchant: Merchant) -> None:
    mine, theirs = bookings.issue(merchant, 5000), bookings.issue(other_merchant, 5000)
    over = [bookings.hold(voucher, 100) for voucher in (mine, mine, theirs)]
    assert holds.sweep(at=clock.now()) == 0
    clock.move(timedelta(minutes=10))
    standing = bookings.hold(mine, 700)
    clock.move(timedelta(minutes=5))
    assert holds.sweep(at=clock.now(), limit=1) == 1
    assert holds.sweep(at=clock.now()) == 1
    assert holds.sweep(at=clock.now()) == 0
    assert ({_state(hold) for hold in over}, _state(standing)) == ({"expired"}, "active")
    assert (_money(mine), _money(theirs)) == ((5000, 700), (5000, 0))


def test_a_release_frees_the_money_and_can_be_repeated(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    hold = bookings.hold(voucher, 2000)
    assert bookings.release(hold).state == HoldState.RELEASED
    ended_at = bookings.fresh(hold).ended_at
    clock.move(timedelta(minutes=1))
    assert bookings.release(hold).state == HoldState.RELEASED
    assert (_money(voucher), bookings.fresh(hold).ended_at) == ((5000, 0), ended_at)


def test_a_release_of_a_hold_that_is_over_is_heard_and_of_a_captured_one_refused(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    captured, over = bookings.hold(voucher, 100), bookings.hold(voucher, 200)
    bookings.capture(captured)
    clock.move(holds.USUAL_LIFE)
    assert bookings.release(over).shown_state(clock.now()) == HoldState.EXPIRED
    with pytest.raises(refusals.HoldClosed) as refused:
        bookings.release(captured)
    assert (refused.value.extra, bookings.fresh(voucher).balance_minor) == ({"state": "captured"}, 4900)


def test_an_extension_never_ends_a_hold_sooner(merchant: Merchant) -> None:
    hold = bookings.hold(bookings.issue(merchant, 5000), 100, life=timedelta(hours=2))
    assert bookings.extend(hold, timedelta(minutes=15)).expires_at == hold.expires_at


@pytest.mark.req("F53")
def test_a_hold_that_is_over_counts_for_nothing_when_another_verb_looks(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    redemption = bookings.redeem(voucher, 1000).entry
    bookings.hold(voucher, 3000)
    clock.move(holds.USUAL_LIFE)
    assert bookings.refund(redemption, 400).voucher.available_minor == 4400
    bookings.hold(voucher, 3000)
    clock.move(holds.USUAL_LIFE)
    assert bookings.reverse(redemption).voucher.available_minor == 5000


def test_an_extension_counts_from_now_and_ends_a_day_after_the_hold_began(merchant: Merchant) -> None:
    hold = bookings.hold(bookings.issue(merchant, 5000), 100)
    clock.move(timedelta(minutes=10))
    assert bookings.extend(hold, timedelta(hours=2)).expires_at == clock.now() + timedelta(hours=2)
    with pytest.raises(refusals.FieldsRefused) as refused:
        bookings.extend(hold, DAY - timedelta(minutes=10) + TICK)
    assert list(refused.value.problems) == ["ttl_seconds"]
    bookings.extend(hold, DAY - timedelta(minutes=10))
    assert bookings.fresh(hold).expires_at == hold.created_at + DAY
    clock.move(DAY - timedelta(minutes=10))
    with pytest.raises(refusals.HoldExpired):
        bookings.extend(hold, timedelta(seconds=1))
