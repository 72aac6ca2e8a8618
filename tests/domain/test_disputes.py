"""A payment that somebody contests freezes its vouchers at once; won thaws them, lost ends them."""

import dataclasses
import itertools
from datetime import UTC, datetime

import pytest

import database
from domain import audit, disputes, refunds, refusals
from domain.states import DisputeState, StepState, VoucherStatus
from models import Dispute, Merchant, Order
from tests import cast as casting
from tests import reports
from tests.domain import test_refunds as shop
from tests.reports import fresh


@dataclasses.dataclass(frozen=True)
class Report:
    """A dispute as Stripe reports it now."""

    id: str = "dp_1"
    kind: str = "dispute"
    state: str = "open"
    status: str = "needs_response"
    reason: str = "fraudulent"
    amount_minor: int = 5000
    currency: str = "EUR"
    opened_at: datetime = datetime(2026, 11, 1, tzinfo=UTC)
    respond_by: datetime | None = None


def learn(order: Order, **facts: object) -> Dispute:
    payment = order.latest_payment
    assert payment is not None
    return disputes.learn(payment, Report(**facts))  # type: ignore[arg-type]


@pytest.mark.req("F58")
@pytest.mark.parametrize("kind", ["dispute", "inquiry", "fraud_warning"])
def test_news_freezes_the_voucher_and_what_was_still_to_be_mailed(merchant: Merchant, kind: str) -> None:
    order = shop.sold(merchant)
    learn(order, kind=kind)
    learn(order, kind=kind)
    assert Dispute.select().count() == 1
    assert shop.standing(order) == (5000, "suspended")
    assert {step.state for step in order.steps if step.is_mail} == {StepState.SKIPPED}
    with database.transaction(), pytest.raises(refusals.VoucherInactive):
        from domain import ledger

        ledger.redeem(shop.of(order).id, amount_minor=1, currency="EUR", operation_key="x", actor="till")


@pytest.mark.req("F58")
def test_won_thaws_the_voucher_and_the_mail_goes_out(merchant: Merchant) -> None:
    order = shop.sold(merchant)
    shop.spend(order, 2000)
    learn(order)
    learn(order, state="won", status="won")
    assert shop.standing(order) == (3000, "active")
    assert {step.state for step in order.steps if step.is_mail} & {StepState.READY, StepState.BLOCKED}
    assert audit.is_clean(audit.run())


@pytest.mark.req("F58")
def test_lost_takes_the_rest_off_and_tells_the_loss(merchant: Merchant) -> None:
    order = shop.sold(merchant)
    shop.spend(order, 2000)
    casting.hold(shop.of(order), 1000)
    learn(order)
    dispute = learn(order, state="lost", status="lost")
    assert shop.standing(order) == (0, "cancelled")
    assert (dispute.state, dispute.spent_minor) == (DisputeState.LOST, 2000)
    learn(order, state="won", status="won")
    assert fresh(dispute).state == DisputeState.LOST
    assert audit.is_clean(audit.run())


@pytest.mark.req("F58")
def test_lost_without_having_heard_of_it_before_ends_the_voucher_too(merchant: Merchant) -> None:
    order = shop.sold(merchant)
    learn(order, state="lost", status="lost")
    assert shop.standing(order) == (0, "cancelled")


@pytest.mark.req("F58")
def test_a_dispute_about_a_part_takes_that_part(merchant: Merchant) -> None:
    order = shop.sold(merchant)
    learn(order, amount_minor=1500)
    learn(order, amount_minor=1500, state="lost", status="lost")
    assert shop.standing(order) == (3500, "active")


@pytest.mark.req("F58")
def test_two_troubles_thaw_only_when_both_are_over(merchant: Merchant) -> None:
    for first, second in itertools.permutations(("dp_a", "dp_b")):
        order = shop.sold(merchant)
        ids = {name: f"{name}{order.id}" for name in ("dp_a", "dp_b")}
        learn(order, id=ids["dp_a"], kind="inquiry")
        learn(order, id=ids["dp_b"])
        learn(order, id=ids[first], state="won", status="won")
        assert shop.standing(order) == (5000, "suspended")
        learn(order, id=ids[second], state="won", status="won")
        assert shop.standing(order) == (5000, "active")


@pytest.mark.req("F58")
def test_a_warning_is_closed_by_a_person_by_a_refund_or_by_the_dispute_that_follows(merchant: Merchant) -> None:
    trusted = shop.sold(merchant)
    disputes.dismiss(learn(trusted, id="issfr_1", kind="fraud_warning"), actor="Anna")
    assert shop.standing(trusted) == (5000, "active")
    refunded = shop.sold(merchant)
    warning = learn(refunded, id="issfr_2", kind="fraud_warning")
    refund = shop.ask(refunded, 5000)
    refunds.settle(refund, shop.said(refund))
    assert fresh(warning).state == DisputeState.CLOSED
    assert shop.standing(refunded) == (0, "cancelled")
    contested = shop.sold(merchant)
    warning = learn(contested, id="issfr_3", kind="fraud_warning")
    learn(contested, id="dp_3")
    assert fresh(warning).state == DisputeState.CLOSED
    assert shop.standing(contested) == (5000, "suspended")
    with pytest.raises(refusals.NothingToDecide):
        disputes.dismiss(warning, actor="Anna")


@pytest.mark.req("F56", "F58")
def test_a_disputed_payment_cannot_be_refunded_by_us(merchant: Merchant) -> None:
    order = shop.sold(merchant)
    learn(order)
    with pytest.raises(refusals.PaymentContested):
        shop.ask(order, 5000)
    assert shop.standing(order) == (5000, "suspended")


@pytest.mark.req("F58")
def test_a_voucher_that_is_not_made_yet_waits_for_the_end_of_the_trouble(merchant: Merchant) -> None:
    order = reports.paid(merchant)
    learn(order)
    assert {step.state for step in order.steps} == {StepState.SKIPPED}
    learn(order, state="won", status="won")
    assert {str(step.state) for step in order.steps} == {"ready", "blocked"}


@pytest.mark.req("F58")
def test_a_blocked_voucher_stays_blocked_when_the_dispute_is_won(merchant: Merchant) -> None:
    order = shop.sold(merchant)
    casting.set_status(shop.of(order), VoucherStatus.SUSPENDED)
    learn(order)
    learn(order, state="won", status="won")
    assert shop.standing(order) == (5000, "suspended")
