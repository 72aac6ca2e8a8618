"""What a line means and what is wrong with it; who may work on a batch, and when it is over."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest

from database import transaction
from domain import batch_lines, batches, clock
from domain.batch_lines import Line, Problem, Terms
from domain.states import BatchKind, BatchState, RowState, VoucherType
from models import Batch, BatchRow, Merchant, TimelineEntry
from tests import cast as casting

GOOD = {"code": "ALT-0001", "balance": "50,00"}


def check(*cells: dict[str, str], currency: str = "EUR", **terms: object) -> list[batch_lines.Checked]:
    wanted = {"kind": BatchKind.IMPORT, "currency": currency, "time_zone": "Europe/Vienna", "expires_at": None} | terms
    lines = [Line(row_no, given) for row_no, given in enumerate(cells, start=2)]
    return list(batch_lines.check(lines, Terms(**wanted)))  # type: ignore[arg-type]


def problems(**cells: str) -> list[tuple[str, str]]:
    (checked,) = check(GOOD | cells)
    return [(each.column, each.code) for each in checked.problems]


@pytest.mark.parametrize(
    ("text", "minor"),
    [("50", 5000), ("50,00", 5000), ("50.00", 5000), ("1.234,50", 123450), ("1,234.50", 123450), ("€ 12", 1200),
     ("12,5 €", 1250), ("1 250,00", 125000), ("0,01", 1)],
)  # fmt: skip
def test_amounts_are_read_as_people_and_systems_write_them(text: str, minor: int) -> None:
    assert check(GOOD | {"balance": text})[0].value_minor == minor


@pytest.mark.req("T4")
@pytest.mark.parametrize(
    ("text", "code"),
    [("-50", "negative"), ("−1", "negative"), ("(5)", "negative"), ("0", "zero"), ("0,00", "zero"),
     ("0.001", "too_precise"), ("50.005", "too_precise"), ("1,250", "too_precise"), ("1e2", "unreadable"),
     ("1e400", "unreadable"), ("NaN", "unreadable"), ("Infinity", "unreadable"), ("true", "unreadable"),
     ("[50]", "unreadable"), ('{"$gt":0}', "unreadable"), ("٥٠", "unreadable"), ("５０", "unreadable"),
     ("5_0", "unreadable"), ("50\x00", "unreadable"), (str(2**63), "too_large"), ("9" * 5000, "too_large"),
     ("10000001", "too_large"), ("fünfzig", "unreadable"), ("' OR 1=1--", "unreadable"), ("", "missing")],
)  # fmt: skip
def test_an_amount_that_is_none_says_what_is_wrong(text: str, code: str) -> None:
    assert problems(balance=text) == [("balance", code)]


def test_a_currency_without_decimals_takes_none() -> None:
    (checked,) = check(GOOD | {"balance": "50,50"}, currency="JPY")
    assert checked.problems == (Problem("balance", "too_precise"),)
    assert check(GOOD | {"balance": "5000"}, currency="JPY")[0].value_minor == 5000


@pytest.mark.parametrize(
    ("text", "code"),
    [("", "missing"), ("AB", "too_short"), ("A-B C", "too_short"), ("---", "too_short"), ("A" * 65, "too_long"),
     ("A" * 9000, "too_long"), ("AB\x00CD", "unreadable"), ("AB\u200bCD", "unreadable"), ("AB\ud800CD", "unreadable")],
)  # fmt: skip
def test_a_code_that_cannot_be_taken_over_says_why(text: str, code: str) -> None:
    assert problems(code=text) == [("code", code)]


def test_of_two_rows_with_the_same_code_the_later_one_is_refused_however_it_is_typed() -> None:
    first, second = check(GOOD | {"code": "olaf-1"}, GOOD | {"code": "0 1 A F - I"})
    assert (first.problems, second.problems) == ((), (Problem("code", "duplicate", 2),))
    doubled = check(GOOD, GOOD | {"code": "alt 0001"})[1]
    assert doubled.problems == (Problem("code", "duplicate", 2),)


def test_currency_date_and_texts_are_checked_too() -> None:
    assert problems(currency="eur", expires_on="31.12.2099") == []
    assert problems(currency="€") == []
    assert problems(currency="XYZ", expires_on="31.02.2099") == [("currency", "unknown"), ("expires_on", "unreadable")]
    assert problems(currency="CHF", expires_on="2020-01-01") == [("currency", "other"), ("expires_on", "past")]
    assert problems(expires_on="9999-12-31") == [("expires_on", "too_far")]
    assert problems(customer_id="x" * 101, reference="a\x07b") == [
        ("customer_id", "too_long"),
        ("reference", "unreadable"),
    ]


def test_a_row_ends_with_its_day_in_the_merchants_zone_or_with_the_files_term() -> None:
    term = datetime(2050, 1, 1, tzinfo=UTC)
    dated, undated = check(GOOD | {"expires_on": "2030-07-31"}, {**GOOD, "code": "ALT-0002"}, expires_at=term)
    assert dated.expires_at == datetime(2030, 7, 31, 21, 59, 59, 999999, tzinfo=UTC)
    assert undated.expires_at == term


@pytest.mark.parametrize(
    ("text", "day"),
    [("2026-12-31", date(2026, 12, 31)), ("31.12.2026", date(2026, 12, 31)), ("1.2.2026", date(2026, 2, 1)),
     ("2026-12-31T23:00:00Z", date(2026, 12, 31)), ("2026-12-31 00:00:00", date(2026, 12, 31)), ("12/31/2026", None),
     ("31.12.26", None), ("", None), ("2026-13-01", None), ("٢٠٢٦-12-31", None)],
)  # fmt: skip
def test_days_are_read_in_two_forms_and_never_guessed(text: str, day: date | None) -> None:
    assert batch_lines.read_day(text) == day


def test_problems_come_back_from_their_column_as_they_went_in() -> None:
    several = (Problem("code", "duplicate", 12), Problem("balance", "zero"))
    assert batch_lines.decode(batch_lines.encode(several)) == several
    assert batch_lines.encode(()) is None
    assert batch_lines.decode(None) == ()


# The machine


def draft(seller: Merchant, *, rows: int = 3, refused: int = 0) -> Batch:
    new = [batches.NewRow(row_no, "k", b"sealed", value_minor=5000) for row_no in range(1, rows + 1)]
    new += [batches.NewRow(rows + no, "k", b"sealed", problem="code:missing") for no in range(1, refused + 1)]
    return batches.draft(
        seller, public_id=f"bat_{clock.now().timestamp()}", kind=BatchKind.ISSUE, name="List",
        type=VoucherType.GIFT_CARD, is_test=True, actor="Anna", rows=new,
    )  # fmt: skip


def started(seller: Merchant, **facts: int) -> Batch:
    batch = draft(seller, **facts)
    batches.start(batch, actor="Anna")
    return batch


def fail_all(batch: Batch) -> None:
    with transaction():
        batches.hold(batch)
        for row in batches.next_rows(batch, limit=100):
            batches.mark_failed(row, problem="code:taken")


def moved(verb: Callable[[], None]) -> bool:
    try:
        verb()
    except batches.BatchMoved:
        return False
    return True


def test_a_draft_is_claimed_by_nobody_before_somebody_says_go(merchant: Merchant) -> None:
    batch = draft(merchant, refused=2)
    assert batches.claim() is None
    tally = batches.tally(batch)
    assert (tally.waiting, tally.refused, tally.waiting_minor, tally.total) == (3, 2, 15000, 3)


def test_two_starts_are_one(merchant: Merchant) -> None:
    batch = draft(merchant)
    assert moved(lambda: batches.start(batch, actor="Anna"))
    assert not moved(lambda: batches.start(Batch.get_by_id(batch.id), actor="Ben"))
    stored = Batch.get_by_id(batch.id)
    assert (stored.state, stored.actor, stored.liability_before_minor) == (BatchState.RUNNING, "Anna", 0)
    (entry,) = TimelineEntry.select().where(TimelineEntry.kind == "batch_started")
    assert (entry.facts["batch"], entry.facts["value_minor"], entry.merchant_id) == (
        batch.public_id,
        15000,
        merchant.id,
    )


def test_who_was_overtaken_writes_nothing_more(merchant: Merchant) -> None:
    started(merchant)
    slow = batches.claim()
    assert slow is not None
    assert batches.claim() is None, "a batch that is held is not due"
    clock.move(batches.LEASE + timedelta(seconds=1))
    quick = batches.claim()
    assert quick is not None
    with pytest.raises(batches.LeaseLost):
        fail_all(slow)
    assert batches.tally(slow).failed == 0
    fail_all(quick)
    assert batches.tally(quick).failed == 3


def test_a_batch_that_was_released_stands_behind_the_others(cast: casting.Cast) -> None:
    first, second = started(cast.alba), started(cast.berg)
    taken = batches.claim()
    assert taken == first
    clock.move(timedelta(seconds=1))
    batches.release(taken)
    assert batches.claim() == second
    assert batches.claim() == first


def test_pause_resume_and_stop_go_from_where_they_may_and_nowhere_else(merchant: Merchant) -> None:
    batch = started(merchant)
    held = batches.claim()
    assert held is not None
    assert not moved(lambda: batches.resume(batch))
    batches.pause(batch)
    with pytest.raises(batches.LeaseLost):
        fail_all(held)
    assert batches.claim() is None
    batches.resume(batch)
    assert batches.claim() is not None
    batches.stop(batch, actor="Anna")
    assert not moved(lambda: batches.resume(batch))
    assert not moved(lambda: batches.pause(batch))
    assert not moved(lambda: batches.stop(batch, actor="Anna"))
    assert batches.tally(batch).waiting == 3, "rows that were not done stay as they are"
    (entry,) = TimelineEntry.select().where(TimelineEntry.kind == "batch_finished")
    assert (entry.facts["done"], entry.facts["waiting"]) == (0, 3)


def test_a_row_is_settled_once(merchant: Merchant) -> None:
    started(merchant)
    batch = batches.claim()
    assert batch is not None
    rows = batches.next_rows(batch, limit=1)
    with transaction():
        batches.mark_failed(rows[0], problem="line:sealed", detail="x" * 9000)
    with pytest.raises(batches.LeaseLost), transaction():
        batches.mark_failed(rows[0], problem="line:sealed")
    assert len(BatchRow.get_by_id(rows[0].id).detail) == 500


def test_a_batch_is_held_inside_of_a_transaction_only(merchant: Merchant) -> None:
    started(merchant)
    batch = batches.claim()
    assert batch is not None
    with pytest.raises(RuntimeError):
        batches.hold(batch)


def test_a_draft_can_be_thrown_away_and_a_batch_cannot(merchant: Merchant) -> None:
    batch, other = draft(merchant), started(merchant)
    batches.discard(batch)
    assert not moved(lambda: batches.discard(other))
    assert [row.id for row in Batch.select()] == [other.id]
    assert BatchRow.select().count() == 3


def test_a_running_batch_without_a_worker_says_so(merchant: Merchant) -> None:
    batch = started(merchant)
    assert not batches.is_silent(batch, at=clock.now())
    assert batches.is_silent(batch, at=clock.now() + timedelta(minutes=1))
    assert batches.seconds_left(batch, waiting=3, at=clock.now()) is None


def test_finishing_closes_the_batch_and_writes_it_down(merchant: Merchant) -> None:
    started(merchant)
    batch = batches.claim()
    assert batch is not None
    fail_all(batch)
    batches.finish(batch)
    stored = Batch.get_by_id(batch.id)
    assert (stored.state, stored.liability_after_minor, stored.lease_until) == (BatchState.DONE, 0, None)
    (entry,) = TimelineEntry.select().where(TimelineEntry.kind == "batch_finished")
    assert (entry.facts["failed"], entry.facts["batch_kind"], entry.facts["name"]) == (3, "issue", "List")
    assert batches.tally(batch).counts == {RowState.FAILED: 3}
