"""A random code that exists already is rolled again, and a creation that fails leaves nothing half.

The dice are loaded where they are made: the operating system's random bytes, of which each letter of a code takes one.
"""

import random
from collections.abc import Callable

import peewee
import pytest

from domain import audit, codes, fulfilment
from domain.states import BatchState, StepName, StepState, VoucherType
from effects import batch as batches
from effects import voucher as vouchers
from effects import work
from models import Entry, Merchant, Step, Voucher
from tests import cast as casting
from tests.reports import fresh, paid

Load = Callable[[str], None]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """The next codes that are rolled: these letters come, and after them chance again."""
    loaded: list[int] = []
    real = random._urandom  # type: ignore[attr-defined]

    def roll(count: int) -> bytes:
        return bytes([loaded.pop(0)]) if count == 1 and loaded else real(count)

    def load_once(code: str) -> None:
        # Of a byte the upper six bits count for one of 32 letters; the last letter of a code is its check.
        loaded.extend(codes.ALPHABET.index(letter) << 2 for letter in codes.normalise(code)[:-1])

    monkeypatch.setattr(random, "_urandom", roll)
    return load_once


def create(merchant: Merchant) -> Step:
    """A paid order whose voucher was tried to be made once; its step."""
    order = paid(merchant)
    step = fulfilment.claim("w1", order_id=order.id)
    assert step is not None and step.name == StepName.CREATE
    work.perform(step)
    return fresh(step)


@pytest.mark.req("F24")
def test_the_dice_can_be_loaded(load: Load) -> None:
    wanted = codes.generate()
    load(wanted)
    assert codes.generate() == wanted != codes.generate()


@pytest.mark.req("F24")
def test_the_database_knows_a_code_once_for_each_merchant(cast: casting.Cast, load: Load) -> None:
    _, code = casting.issue(cast.alba)
    load(code)
    with pytest.raises(peewee.IntegrityError):
        casting.issue(cast.alba)
    load(code)
    assert casting.issue(cast.berg)[1] == code, "what another merchant's codes are is nobody's business"


@pytest.mark.req("F24")
@pytest.mark.parametrize("times", [1, 2])
def test_a_code_that_exists_is_rolled_again(merchant: Merchant, load: Load, times: int) -> None:
    first, code = casting.issue(merchant)
    for _ in range(times):
        load(code)
    step = create(merchant)
    assert (step.state, step.attempt, step.error_code) == (StepState.DONE, 1, None)
    second = Voucher.get(Voucher.unit == step.unit)
    assert vouchers.read_code(second) != code
    assert (vouchers.find_by_code(merchant, code), Voucher.select().count()) == (first, 2)
    assert audit.is_clean(audit.run())


@pytest.mark.req("F24", "F19")
def test_a_voucher_that_cannot_be_made_leaves_its_step_to_do(merchant: Merchant, load: Load) -> None:
    _, code = casting.issue(merchant)
    for _ in range(3):
        load(code)
    step = create(merchant)
    assert (step.state, step.attempt) == (StepState.RETRY_WAIT, 1)
    assert (Voucher.select().count(), Entry.select().count()) == (1, 1)
    followers = step.order.steps.where(Step.name != StepName.CREATE)
    assert {each.state for each in followers} == {StepState.BLOCKED}
    Step.update(not_before=step.started_at).where(Step.id == step.id).execute()
    again = fulfilment.claim("w2", order_id=step.order_id)
    assert again is not None and again.id == step.id
    work.perform(again)
    assert (fresh(step).state, Voucher.select().count()) == (StepState.DONE, 2)
    assert audit.is_clean(audit.run())


@pytest.mark.req("F24")
def test_a_batch_rolls_a_code_that_exists_again_and_loses_no_row(merchant: Merchant, load: Load) -> None:
    _, code = casting.issue(merchant)
    batch = batches.draft_count(
        merchant, count=3, value_minor=2500, name="Firmenfeier", type=VoucherType.GIFT_CARD, expires_at=None,
        reference="", actor="Anna",
    )  # fmt: skip
    load(code)
    batches.start(batch, actor="Anna")
    assert batches.run_due(batch_id=batch.id) == 3
    assert fresh(batch).state == BatchState.DONE
    assert Voucher.select().count() == Entry.select().count() == 4
    assert len({voucher.code_hmac for voucher in Voucher.select()}) == 4
    assert audit.is_clean(audit.run())
