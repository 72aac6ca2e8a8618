"""What happened to my call? Every answer that a till can get, and the reversal that may be sent in any case."""

import threading
from concurrent.futures import ThreadPoolExecutor

import peewee
import pytest

import database
from domain import holds, idempotency, ledger, redemptions, refusals
from domain.idempotency import Answer
from domain.redemptions import Outcome, Story
from models import Entry, Merchant, Voucher
from tests import bookings

app = bookings.app


def _tell(merchant: Merchant, key: str = "k-1", *, is_test: bool = True) -> Story:
    return redemptions.tell(merchant, key=key, is_test=is_test)


def _reverse(merchant: Merchant, key: str = "k-1", *, is_test: bool = True) -> Story:
    return redemptions.reverse(merchant, key=key, is_test=is_test, actor=bookings.TILL, reason="bill cancelled")


def _balance(voucher: Voucher) -> int:
    return int(bookings.fresh(voucher).balance_minor)


def test_a_key_that_never_came_is_never_seen(merchant: Merchant) -> None:
    assert _tell(merchant) == Story(Outcome.NEVER_SEEN)


def test_a_booked_call_is_told_with_its_answer_and_its_redemption(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    answer = bookings.call_redeem(merchant, "k-1", voucher, 1200)
    story = _tell(merchant)
    assert (story.outcome, story.reversal) == (Outcome.BOOKED, None)
    assert story.record is not None and story.redemption is not None
    assert (story.record.status, story.record.body) == (201, answer.body)
    assert (story.redemption.amount_minor, story.redemption.voucher) == (-1200, voucher)


def test_a_refused_call_is_told_with_its_refusal(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    bookings.set_status(voucher, "suspended")
    bookings.call_redeem(merchant, "k-1", voucher, 1200)
    story = _tell(merchant)
    assert story.outcome == Outcome.REFUSED
    assert story.record is not None and "voucher_inactive" in (story.record.body or "")
    before = bookings.books()
    assert _reverse(merchant).outcome == Outcome.REFUSED
    assert bookings.books() == before


def test_a_booked_call_is_reversed_once_and_heard_as_often_as_it_is_asked(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    bookings.call_redeem(merchant, "k-1", voucher, 1200)
    story = _reverse(merchant)
    assert story.outcome == Outcome.REVERSED and story.reversal is not None
    assert (story.reversal.amount_minor, story.reversal.reason, _balance(voucher)) == (1200, "bill cancelled", 5000)
    before = bookings.books()
    for again in (_reverse(merchant), _tell(merchant), _reverse(merchant)):
        assert (again.outcome, again.redemption, again.reversal) == (
            Outcome.REVERSED, story.redemption, story.reversal,
        )  # fmt: skip
    assert bookings.books() == before


def test_the_late_original_of_a_reversed_call_gets_its_first_answer_and_books_nothing(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    first = bookings.call_redeem(merchant, "k-1", voucher, 1200)
    _reverse(merchant)
    again = bookings.call_redeem(merchant, "k-1", voucher, 1200)
    assert (again.body, again.is_replay, _balance(voucher)) == (first.body, True, 5000)


def test_a_call_that_was_reversed_before_it_came_is_refused_for_ever(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    assert [_reverse(merchant).outcome for _ in range(3)] == [Outcome.BLOCKED] * 3
    before = bookings.books()
    for _ in range(2):
        with pytest.raises(refusals.AlreadyReversed):
            bookings.call_redeem(merchant, "k-1", voucher, 1200)
    assert (_tell(merchant).outcome, bookings.books()) == (Outcome.BLOCKED, before)
    assert bookings.call_redeem(merchant, "k-2", voucher, 1200).status == 201


def test_a_capture_is_told_and_reversed_like_a_redemption(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    hold = bookings.hold(voucher, 2000)

    def book() -> Entry:
        return holds.capture(hold, amount_minor=1500, operation_key=redemptions.operation_key("k-1"), actor="t").entry

    bookings.call(merchant, "k-1", book, route="POST /api/v1/holds/<public_id>/capture")
    assert _tell(merchant).outcome == Outcome.BOOKED
    assert _reverse(merchant).outcome == Outcome.REVERSED
    assert _balance(voucher) == 5000


@pytest.mark.req("F54")
@pytest.mark.parametrize(("refunded", "reversed_minor"), [(0, 1200), (500, 700)])
def test_a_reversal_leaves_out_what_was_refunded(merchant: Merchant, refunded: int, reversed_minor: int) -> None:
    voucher = bookings.issue(merchant, 5000)
    bookings.call_redeem(merchant, "k-1", voucher, 1200)
    redemption = _tell(merchant).redemption
    assert redemption is not None
    if refunded:
        bookings.refund(redemption, refunded)
    reversal = _reverse(merchant).reversal
    assert reversal is not None
    assert (reversal.amount_minor, _balance(voucher)) == (reversed_minor, 5000)


@pytest.mark.req("F54")
def test_what_was_refunded_in_full_is_not_reversed_and_that_is_said(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    bookings.call_redeem(merchant, "k-1", voucher, 1200)
    redemption = _tell(merchant).redemption
    assert redemption is not None
    bookings.refund(redemption, 1200)
    with pytest.raises(refusals.RefundExceedsRedemption):
        _reverse(merchant)
    assert (_tell(merchant).outcome, _balance(voucher)) == (Outcome.BOOKED, 5000)


@pytest.mark.parametrize("status", [201, 422])
def test_the_key_of_another_kind_of_call_is_no_redemption(merchant: Merchant, status: int) -> None:
    route = "POST /api/v1/vouchers/<public_id>/refund"
    idempotency.once(merchant, key="k-1", route=route, fingerprints=["f"], work=lambda: Answer(status, "{}"))
    for ask in (_tell, _reverse):
        with pytest.raises(refusals.IdempotencyConflict):
            ask(merchant)


def test_another_merchant_hears_nothing_and_reverses_nothing(merchant: Merchant, other_merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    bookings.call_redeem(merchant, "k-1", voucher, 1200)
    assert _tell(other_merchant).outcome == Outcome.NEVER_SEEN
    assert _reverse(other_merchant).outcome == Outcome.BLOCKED
    assert (_tell(merchant).outcome, _balance(voucher)) == (Outcome.BOOKED, 3800)


@pytest.mark.parametrize("is_test", [True, False])
def test_a_key_of_the_other_mode_neither_tells_nor_reverses(merchant: Merchant, is_test: bool) -> None:
    voucher = bookings.issue(merchant, 5000, is_test=is_test)
    bookings.call_redeem(merchant, "k-1", voucher, 1200)
    for ask in (_tell, _reverse):
        with pytest.raises(refusals.IdempotencyConflict):
            ask(merchant, is_test=not is_test)
    assert (_tell(merchant, is_test=is_test).outcome, _balance(voucher)) == (Outcome.BOOKED, 3800)


@pytest.mark.req("F49")
def test_a_call_and_its_reversal_at_one_moment_end_as_if_one_came_first(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    for number in range(10):
        key, together = f"k-{number}", threading.Barrier(2)

        def original(key: str = key, together: threading.Barrier = together) -> str:
            together.wait(timeout=10)
            with database.db.connection_context():
                try:
                    return str(bookings.call_redeem(merchant, key, voucher, 100).status)
                except refusals.AlreadyReversed as refusal:
                    return refusal.code

        def reversal(key: str = key, together: threading.Barrier = together) -> str:
            together.wait(timeout=10)
            with database.db.connection_context():
                return str(_reverse(merchant, key).outcome)

        with ThreadPoolExecutor(2) as pool:
            heard = [future.result(timeout=30) for future in (pool.submit(original), pool.submit(reversal))]
        assert heard in (["201", "reversed"], ["already_reversed", "blocked"])
        assert _balance(voucher) == 5000


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)  # SQLite's writers stand in line instead
def test_a_reversal_of_a_call_that_still_runs_waits_and_can_be_sent_again(engine: str, merchant: Merchant) -> None:
    started, finish = threading.Event(), threading.Event()
    voucher = bookings.issue(merchant, 5000)

    def slow() -> Entry:
        started.set()
        finish.wait(timeout=30)
        key = redemptions.operation_key("k-1")
        return ledger.redeem(voucher.id, amount_minor=1, currency="EUR", operation_key=key, actor=bookings.TILL).entry

    def first() -> Answer:
        with database.db.connection_context():
            return bookings.call(merchant, "k-1", slow)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(first)
        started.wait(timeout=10)
        try:
            with pytest.raises((refusals.RequestInProgress, peewee.OperationalError)):
                _reverse(merchant)
        finally:
            finish.set()
        assert running.result(timeout=30).status == 201
    assert _reverse(merchant).outcome == Outcome.REVERSED
