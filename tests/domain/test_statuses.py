"""Which status may follow which, and what may be done in each: every cell, on real rows, against tables kept here."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import peewee
import pytest

import database
from domain import clock, entries, refusals, statuses
from domain.states import EntryKind, ShownStatus, VoucherStatus
from domain.statuses import Verb
from models import Entry, Hold, Merchant, TimelineEntry, Voucher
from tests import bookings

app = bookings.app

# From (row) to (column): a move, the same as before, or refused.
MOVES = """
            pending active depleted expired suspended cancelled
pending     same    move   no       no      no        move
active      no      same   no       no      move      move
depleted    no      same   no       no      move      move
expired     no      same   no       no      move      move
suspended   no      move   no       no      same      move
cancelled   no      no     no       no      no        same
"""
# What the verb (row) answers in each status (column).
VERBS = """
            pending          active depleted         expired         suspended        cancelled
redeem      voucher_inactive done   voucher_depleted voucher_expired voucher_inactive voucher_inactive
hold        voucher_inactive done   voucher_depleted voucher_expired voucher_inactive voucher_inactive
capture     voucher_inactive done   hold_closed      done            voucher_inactive voucher_inactive
extend      voucher_inactive done   hold_closed      done            voucher_inactive voucher_inactive
release     done             done   done             done            done             done
refund      done             done   done             done            done             done
reverse     done             done   done             done            done             done
adjust      done             done   done             done            done             voucher_inactive
date        done             done   done             done            done             voucher_inactive
"""
DONE: dict[Verb, Callable[[Voucher, Entry, Hold], Any]] = {
    Verb.REDEEM: lambda voucher, redemption, hold: bookings.redeem(voucher, 10),
    Verb.HOLD: lambda voucher, redemption, hold: bookings.hold(voucher, 10),
    Verb.CAPTURE: lambda voucher, redemption, hold: bookings.capture(hold),
    Verb.EXTEND: lambda voucher, redemption, hold: bookings.extend(hold, timedelta(hours=1)),
    Verb.RELEASE: lambda voucher, redemption, hold: bookings.release(hold),
    Verb.REFUND: lambda voucher, redemption, hold: bookings.refund(redemption, 10),
    Verb.REVERSE: lambda voucher, redemption, hold: bookings.reverse(redemption),
    Verb.ADJUST: lambda voucher, redemption, hold: bookings.adjust(voucher, 10),
    Verb.DATE: lambda voucher, redemption, hold: bookings.change(voucher, valid_from=clock.now() - timedelta(days=2)),
}


def _cells(table: str) -> list[tuple[str, str, str]]:
    head, *rows = table.strip().splitlines()
    return [
        (row.split()[0], column, cell)
        for row in rows
        for column, cell in zip(head.split(), row.split()[1:], strict=True)
    ]


def _voucher(merchant: Merchant, status: str) -> tuple[Voucher, Entry, Hold]:
    """A voucher that is shown in this status, with a redemption of 1000 and a hold of 500 in its past."""
    born = VoucherStatus.PENDING if status == "pending" else VoucherStatus.ACTIVE
    voucher = bookings.issue(merchant, 5000, status=born)
    redemption, hold = _past(voucher)
    if status == "depleted":
        bookings.release(hold)
        bookings.redeem(voucher, 4000)
    elif status == "expired":
        bookings.change(voucher, expires_at=clock.now() - timedelta(seconds=1))
    elif status in ("suspended", "cancelled"):
        bookings.set_status(voucher, status)
    voucher = bookings.fresh(voucher)
    assert voucher.shown_status(clock.now()) == status
    return voucher, redemption, hold


def _past(voucher: Voucher) -> tuple[Entry, Hold]:
    # Written below the verbs, for a pending voucher has no such past; here it gets one.
    now, common = clock.now(), {"operation_key": bookings.key(), "actor": bookings.TILL}
    with database.transaction():
        redemption = entries.append(entries.lock(voucher.id), EntryKind.REDEEM, amount_minor=-1000, **common)  # type: ignore[arg-type]
        hold = Hold.create(
            public_id=entries.new_public_id("hld"), voucher=voucher, merchant_id=voucher.merchant_id,
            amount_minor=500, created_at=now, expires_at=now + timedelta(minutes=15), **common,
        )  # fmt: skip
    return redemption, hold


def _told(voucher: Voucher) -> list[tuple[object, object]]:
    rows = TimelineEntry.select().where(
        TimelineEntry.voucher == voucher, TimelineEntry.kind == "voucher_status_changed"
    )
    return [(row.facts["before"], row.facts["after"]) for row in rows]


@pytest.mark.req("S2-10")
@pytest.mark.parametrize(("before", "wanted", "cell"), _cells(MOVES))
def test_a_status_follows_another_where_the_table_says_so(
    merchant: Merchant, before: str, wanted: str, cell: str
) -> None:
    voucher, _, _ = _voucher(merchant, before)
    told, stored = len(_told(voucher)), voucher.status
    if cell == "no":
        with pytest.raises(refusals.TransitionNotAllowed) as refused:
            bookings.set_status(voucher, wanted)
        assert refused.value.extra["voucher_status"] == before
        assert refused.value.extra["allowed"] == sorted(
            column for row, column, each in _cells(MOVES) if (row, each) == (before, "move")
        )
    else:
        bookings.set_status(voucher, wanted)
    assert bookings.fresh(voucher).status == (wanted if cell == "move" else stored)
    assert _told(voucher)[told:] == ([(stored, wanted)] if cell == "move" else [])


@pytest.mark.req("S2-10")
def test_the_table_of_moves_is_the_one_that_is_kept_here() -> None:
    moves = {(row, column) for row, column, cell in _cells(MOVES) if cell == "move"}
    assert moves == {(str(row), str(column)) for row, columns in statuses.MOVES.items() for column in columns}
    assert {row for row, _, _ in _cells(MOVES)} == set(map(str, ShownStatus)) == set(map(str, statuses.MOVES))


@pytest.mark.req("S2-10", "F55")
@pytest.mark.parametrize(("verb", "status", "cell"), _cells(VERBS))
def test_a_verb_does_in_each_status_what_the_table_says(merchant: Merchant, verb: str, status: str, cell: str) -> None:
    voucher, redemption, hold = _voucher(merchant, status)
    before = bookings.books()
    if cell == "done":
        DONE[Verb(verb)](voucher, redemption, hold)
        assert bookings.fresh(voucher).status == voucher.status
        return
    with pytest.raises(refusals.Refusal) as refused:
        DONE[Verb(verb)](voucher, redemption, hold)
    assert (refused.value.code, bookings.books()) == (cell, before)


@pytest.mark.req("S2-10")
def test_the_table_of_verbs_is_the_one_that_is_kept_here() -> None:
    # A voucher that is used up has no hold to capture or extend; there the hold itself says that it is closed.
    allowed = {(verb, status) for verb, status, cell in _cells(VERBS) if not cell.startswith("voucher_")}
    assert allowed == {(str(verb), str(status)) for verb, each in statuses.ALLOWED.items() for status in each}
    assert {verb for verb, _, _ in _cells(VERBS)} == set(map(str, Verb)) == set(map(str, statuses.ALLOWED))


@pytest.mark.req("S2-10")
@pytest.mark.parametrize("status", ["pending", "suspended", "cancelled"])
def test_a_stored_status_shows_before_what_the_facts_say(merchant: Merchant, status: str) -> None:
    voucher, _, hold = _voucher(merchant, status)
    bookings.release(hold)
    if status != "cancelled":
        bookings.adjust(voucher, -4000)
        bookings.change(voucher, expires_at=clock.now() - timedelta(seconds=1))
    assert bookings.fresh(voucher).shown_status(clock.now()) == status


@pytest.mark.req("S2-10")
def test_an_expired_voucher_shows_so_before_it_shows_that_it_is_used_up(merchant: Merchant) -> None:
    voucher, _, _ = _voucher(merchant, "depleted")
    bookings.change(voucher, expires_at=clock.now() - timedelta(seconds=1))
    assert bookings.fresh(voucher).shown_status(clock.now()) == "expired"
    bookings.change(voucher, expires_at=None)
    assert bookings.fresh(voucher).shown_status(clock.now()) == "depleted"


def test_the_last_moment_of_a_voucher_still_counts(merchant: Merchant, monkeypatch: pytest.MonkeyPatch) -> None:
    now = bookings.stop_the_clock(monkeypatch)
    voucher = bookings.issue(merchant, 5000, expires_at=now)
    assert bookings.redeem(voucher, 1).entry.amount_minor == -1
    clock.move(timedelta(microseconds=1))
    with pytest.raises(refusals.VoucherExpired):
        bookings.redeem(voucher, 1)


@pytest.mark.parametrize(
    ("before", "after"), [("cancelled", "active"), ("cancelled", "suspended"), ("active", "pending")]
)
def test_the_database_holds_the_two_moves_that_nobody_may_make(merchant: Merchant, before: str, after: str) -> None:
    voucher, _, _ = _voucher(merchant, before)
    with pytest.raises(peewee.IntegrityError), database.transaction():
        Voucher.update(status=after).where(Voucher.id == voucher.id).execute()
    assert bookings.fresh(voucher).status == before
