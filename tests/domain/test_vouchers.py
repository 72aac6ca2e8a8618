"""What can be changed about a voucher that is not its money, and that every change is told."""

from datetime import timedelta
from typing import Any

import pytest

import database
from domain import clock, refusals, vouchers
from domain.states import VoucherStatus
from models import Merchant, TimelineEntry, Voucher
from tests import bookings

app = bookings.app


def _told(voucher: Voucher) -> list[tuple[str, Any]]:
    rows = TimelineEntry.select().where(TimelineEntry.voucher == voucher).order_by(TimelineEntry.id)
    return [(row.kind, row.facts) for row in rows]


@pytest.mark.req("S2-01", "S2-04")
def test_a_change_writes_what_was_named_and_tells_before_and_after(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000, customer_id="c-1", metadata={"table": "5"})
    ends = clock.now() + timedelta(days=30)
    returned = bookings.change(
        voucher, customer_id="c-2", expires_at=ends, is_transferable=False, metadata={"note": "secret"}
    )
    after = bookings.fresh(voucher)
    assert (after.customer_id, after.expires_at, after.is_transferable) == ("c-2", ends, False)
    assert (after.metadata, after.valid_from, after.balance_minor) == ({"note": "secret"}, None, 5000)
    assert (returned.customer_id, returned.expires_at, returned.metadata) == ("c-2", ends, {"note": "secret"})
    ((kind, facts),) = _told(voucher)
    assert kind == "voucher_changed"
    assert facts["changes"] == {
        "customer_id": ["c-1", "c-2"], "expires_at": [None, ends.isoformat()], "is_transferable": [True, False],
        "metadata": [],
    }  # fmt: skip


def test_what_is_so_already_is_neither_written_nor_told(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000, customer_id="c-1", metadata={"a": "b"})
    bookings.change(
        voucher, customer_id="c-1", status=VoucherStatus.ACTIVE, expires_at=None, is_transferable=True,
        metadata={"a": "b"},
    )  # fmt: skip
    bookings.change(voucher)
    assert _told(voucher) == []


def test_none_clears_an_owner_and_a_date(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000, customer_id="c-1", expires_at=clock.now())
    bookings.change(voucher, customer_id=None, expires_at=None)
    after = bookings.fresh(voucher)
    assert (after.customer_id, after.expires_at) == (None, None)


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"valid_from": 2, "expires_at": 2}, "expires_at"), ({"valid_from": 3, "expires_at": 2}, "expires_at"),
        ({"expires_at": 1}, "expires_at"), ({"valid_from": 10}, "valid_from"), ({"valid_from": 11}, "valid_from"),
    ],
)  # fmt: skip
def test_dates_that_leave_no_day_to_redeem_are_refused_by_their_field(
    merchant: Merchant, wanted: dict[str, int], field: str
) -> None:
    now = clock.now()
    days = [now + timedelta(days=day) for day in range(12)]
    voucher = bookings.issue(merchant, 5000, valid_from=days[1], expires_at=days[10])
    with pytest.raises(refusals.FieldsRefused) as refused:
        bookings.change(voucher, customer_id="c-2", **{name: days[day] for name, day in wanted.items()})
    assert list(refused.value.problems) == [field]
    after = bookings.fresh(voucher)
    assert (after.customer_id, after.valid_from, after.expires_at) == (None, days[1], days[10])


@pytest.mark.req("S2-13")
def test_an_expired_voucher_that_is_prolonged_pays_again(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000, expires_at=clock.now() - timedelta(days=1))
    with pytest.raises(refusals.VoucherExpired):
        bookings.redeem(voucher, 1)
    bookings.change(voucher, expires_at=clock.now() + timedelta(days=1))
    assert bookings.redeem(voucher, 1).voucher.balance_minor == 4999


def test_a_refused_move_changes_nothing_else(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    bookings.set_status(voucher, "cancelled")
    told = _told(voucher)
    with pytest.raises(refusals.TransitionNotAllowed):
        bookings.change(voucher, status=VoucherStatus.ACTIVE, customer_id="c-2")
    assert (bookings.fresh(voucher).customer_id, _told(voucher)) == (None, told)


@pytest.mark.req("S1-33")
def test_a_status_is_told_with_its_reason_and_by_whom(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    bookings.set_status(voucher, "suspended", reason="lost on the train")
    row = TimelineEntry.get(TimelineEntry.voucher == voucher)
    assert (row.kind, row.actor, row.merchant_id) == ("voucher_status_changed", "user:anna", merchant.id)
    assert row.facts == {"before": "active", "after": "suspended", "reason": "lost on the train"}


def test_a_change_belongs_to_a_transaction(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    with pytest.raises(RuntimeError, match="transaction"):
        vouchers.set_status(voucher.id, VoucherStatus.SUSPENDED, actor="user:anna")


def test_a_change_that_its_caller_gives_up_leaves_no_trace(merchant: Merchant) -> None:
    voucher = bookings.issue(merchant, 5000)
    hold = bookings.hold(voucher, 100)
    with pytest.raises(ZeroDivisionError), database.transaction():
        vouchers.set_status(voucher.id, VoucherStatus.CANCELLED, actor="user:anna")
        raise ZeroDivisionError
    after = bookings.fresh(voucher)
    assert (after.status, after.held_minor, bookings.fresh(hold).state, _told(voucher)) == ("active", 100, "active", [])


def test_a_voucher_that_was_made_by_hand_has_no_order(merchant: Merchant) -> None:
    assert bookings.issue(merchant, 5000).order is None
