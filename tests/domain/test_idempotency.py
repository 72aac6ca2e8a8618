"""A caller's key is worth one answer, for ever."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

import database
from domain import idempotency, refusals, timeline
from domain.idempotency import Answer
from models import IdempotencyRecord, Merchant, TimelineEntry

ROUTE = "POST /vouchers/redeem"


def _once(merchant: Merchant, work: Callable[[], Answer], **changes: str) -> Answer:
    call = {"key": "k-1", "route": ROUTE, "fingerprint": "f-1"} | changes
    return idempotency.once(
        merchant, key=call["key"], route=call["route"], fingerprints=[call["fingerprint"]], work=work
    )


class Work:
    """Writes one line per run, so that runs can be counted in the database."""

    def __init__(self, merchant: Merchant, status: int = 201) -> None:
        self.merchant, self.status = merchant, status

    def __call__(self) -> Answer:
        timeline.record(self.merchant, "voucher_redeemed", amount_minor=1)
        return Answer(self.status, '{"ok": "ä"}')

    @property
    def runs(self) -> int:
        count: int = TimelineEntry.select().where(TimelineEntry.merchant == self.merchant).count()
        return count


@pytest.mark.req("F45")
def test_the_same_call_again_gets_the_first_answer_and_runs_nothing(merchant: Merchant) -> None:
    work = Work(merchant)
    first, second = _once(merchant, work), _once(merchant, work)
    assert (first.status, first.body, first.is_replay) == (201, '{"ok": "ä"}', False)
    assert (second.status, second.body, second.is_replay) == (201, '{"ok": "ä"}', True)
    assert work.runs == 1


@pytest.mark.req("F45")
@pytest.mark.parametrize("changed", [{"fingerprint": "f-2"}, {"route": "POST /vouchers/refund"}])
def test_the_same_key_for_another_request_is_refused(merchant: Merchant, changed: dict[str, str]) -> None:
    work = Work(merchant)
    _once(merchant, work)
    with pytest.raises(refusals.IdempotencyConflict):
        _once(merchant, work, **changed)
    assert work.runs == 1
    assert _once(merchant, work).is_replay


def test_a_refusal_is_an_answer_too_and_is_kept(merchant: Merchant) -> None:
    work = Work(merchant, status=422)
    _once(merchant, work)
    again = _once(merchant, work)
    assert (again.status, again.is_replay) == (422, True)


def test_a_crash_stores_nothing_so_the_key_runs_again(merchant: Merchant) -> None:
    work = Work(merchant)

    def crash() -> Answer:
        work()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _once(merchant, crash)
    assert (work.runs, IdempotencyRecord.select().count()) == (0, 0)
    assert _once(merchant, work).is_replay is False
    assert work.runs == 1


def test_a_key_belongs_to_its_merchant(merchant: Merchant, other_merchant: Merchant) -> None:
    mine, theirs = Work(merchant), Work(other_merchant)
    _once(merchant, mine)
    assert _once(other_merchant, theirs).is_replay is False
    assert (mine.runs, theirs.runs) == (1, 1)


def test_other_keys_are_other_operations(merchant: Merchant) -> None:
    work = Work(merchant)
    assert not _once(merchant, work, key="k-1").is_replay
    assert not _once(merchant, work, key="k-2").is_replay
    assert work.runs == 2


def test_the_key_is_taken_as_it_is_written(merchant: Merchant) -> None:
    work = Work(merchant)
    for key in ("a", "A", "a ", "%", "a" * 255):
        assert not _once(merchant, work, key=key).is_replay
    assert work.runs == 5


@pytest.mark.req("F45", "F48")
def test_twins_at_the_same_moment_run_once_and_hear_the_same(merchant: Merchant) -> None:
    work, together = Work(merchant), threading.Barrier(8)

    def call() -> Answer:
        together.wait(timeout=10)
        with database.db.connection_context():
            return _once(merchant, work)

    with ThreadPoolExecutor(8) as pool:
        answers = [future.result(timeout=30) for future in [pool.submit(call) for _ in range(8)]]
    assert {(answer.status, answer.body) for answer in answers} == {(201, '{"ok": "ä"}')}
    assert sorted(answer.is_replay for answer in answers) == [False] + [True] * 7
    assert work.runs == 1


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)  # SQLite's writers stand in line instead
def test_a_first_call_that_still_runs_makes_the_second_wait_and_then_say_so(engine: str, merchant: Merchant) -> None:
    started, finish = threading.Event(), threading.Event()

    def slow() -> Answer:
        started.set()
        finish.wait(timeout=30)
        return Answer(201, "{}")

    def first() -> Answer:
        with database.db.connection_context():
            return _once(merchant, slow)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(first)
        started.wait(timeout=10)
        try:
            with pytest.raises(refusals.RequestInProgress):
                _once(merchant, slow)
        finally:
            finish.set()
        assert running.result(timeout=30).status == 201
    assert _once(merchant, slow).is_replay


@pytest.mark.parametrize("length", [1, 250, 251, 255])
def test_a_test_keys_key_fits_and_is_no_live_keys_key(length: int) -> None:
    key = "k" * length
    stored = idempotency.scoped(key, is_test=True)
    assert len(stored) <= 255 and not stored.isascii()
    assert idempotency.scoped(key, is_test=False) == key
    assert idempotency.scoped("x" * length, is_test=True) != stored
