"""Money back to the buyer: the value leaves the voucher first, and comes back only when the money does not go."""

import dataclasses
import secrets
import threading
import time
from datetime import timedelta

import pytest

import database
from domain import audit, clock, freezes, fulfilment, holds, ledger, refund_room, refunds, refusals, vouchers
from domain.states import EntryKind, PaymentState, RefundOrigin, RefundState, StepState, VoucherStatus
from effects import voucher as voucher_effects
from models import Entry, Merchant, Order, Payment, Refund, Voucher
from tests import cast as casting
from tests import reports
from tests.reports import fresh


@dataclasses.dataclass(frozen=True)
class Report:
    """A refund as Stripe reports it now."""

    id: str
    amount_minor: int
    status: str = "succeeded"
    currency: str = "EUR"
    reference: str = ""
    failure_reason: str = ""
    account: str = ""


def said(refund: Refund, status: str = "succeeded", **facts: str) -> Report:
    """What Stripe says of a refund of ours."""
    return Report(f"re_{refund.id}", refund.amount_minor, status, reference=refund.public_id, **facts)


def sold(merchant: Merchant, *recipients: str, value_minor: int = 5000) -> Order:
    """A paid order whose vouchers are made."""
    order = reports.paid(merchant, *recipients, value_minor=value_minor)
    while (step := fulfilment.claim("test", order_id=order.id)) is not None and step.name == "create":
        voucher_effects.create(step)
    return fresh(order)


def spend(order: Order, amount_minor: int, *, unit_no: int = 1) -> Entry:
    with database.transaction():
        return ledger.redeem(
            of(order, unit_no).id, amount_minor=amount_minor, currency="EUR", operation_key=secrets.token_hex(8),
            actor="test",
        ).entry  # fmt: skip


def of(order: Order, unit_no: int = 1) -> Voucher:
    return next(unit.voucher for unit in order.units if unit.unit_no == unit_no)


def ask(order: Order, amount_minor: int, *, unit_no: int = 1, **options: object) -> Refund:
    chosen = {"nonce": secrets.token_hex(8), "actor": "Anna"} | options
    return refunds.ask(order, {unit_no: amount_minor}, **chosen)  # type: ignore[arg-type]


def standing(order: Order) -> tuple[int, str]:
    voucher = of(order)
    return voucher.balance_minor, str(voucher.status)


@pytest.mark.req("F56", "S1-33")
def test_the_value_is_off_the_voucher_before_stripe_is_asked(merchant: Merchant) -> None:
    order = sold(merchant)
    refund = ask(order, 5000)
    assert (refund.state, refund.refund_id) == (RefundState.ASKED, None)
    assert standing(order) == (0, "active")
    with database.transaction(), pytest.raises(refusals.VoucherDepleted):
        ledger.redeem(of(order).id, amount_minor=1, currency="EUR", operation_key="x", actor="till")
    refunds.settle(refund, said(refund))
    assert standing(order) == (0, "cancelled")
    assert fresh(refund).state == RefundState.SUCCEEDED
    assert {step.state for step in order.steps if step.is_mail} == {StepState.SKIPPED}
    assert audit.is_clean(audit.run())


@pytest.mark.req("F56")
def test_a_refund_that_stripe_refuses_gives_the_value_back_and_the_mail_goes_out(merchant: Merchant) -> None:
    order = sold(merchant)
    refund = ask(order, 5000)
    refunds.deny(refund, failure="insufficient_funds")
    refunds.deny(refund, failure="insufficient_funds")
    assert standing(order) == (5000, "active")
    assert fresh(refund).failure == "insufficient_funds"
    assert {step.state for step in order.steps if step.is_mail} & {StepState.READY, StepState.BLOCKED}
    assert [entry.kind for entry in of(order).entries] == [EntryKind.ADJUST, EntryKind.VOID, EntryKind.ISSUE]
    assert audit.is_clean(audit.run())


@pytest.mark.req("F56")
def test_a_refund_that_fails_days_later_gives_the_value_back_once(merchant: Merchant) -> None:
    order = sold(merchant)
    refund = ask(order, 3000)
    refunds.settle(refund, said(refund, "pending"))
    assert fresh(refund).state == RefundState.PENDING
    for _ in range(3):
        refunds.settle(refund, said(refund, "failed", failure_reason="expired_or_canceled_card"))
    assert standing(order) == (5000, "active")
    refunds.settle(refund, said(refund, "succeeded"))
    assert fresh(refund).state == RefundState.FAILED, "a failed refund stays failed"
    assert refund_room.of(order).left_minor == 5000


@pytest.mark.req("F56")
def test_only_the_unused_part_goes_back_unless_the_owner_insists(merchant: Merchant) -> None:
    order = sold(merchant)
    spend(order, 2000)
    with pytest.raises(refusals.RefundTooLarge) as refused:
        ask(order, 3001)
    assert refused.value.extra == {"refundable_minor": 3000, "unit_no": 1}
    assert Refund.select().count() == 0 and standing(order) == (3000, "active")
    refund = ask(order, 5000, is_insisting=True)
    refunds.settle(refund, said(refund))
    assert standing(order) == (0, "active"), "used up, not cancelled: its redemption may still be refunded"
    assert refund_room.of(order).most_minor == 0


@pytest.mark.req("F56")
def test_what_a_till_holds_is_not_refunded(merchant: Merchant) -> None:
    order = sold(merchant)
    casting.hold(of(order), 4000)
    with pytest.raises(refusals.RefundTooLarge):
        ask(order, 1001)
    ask(order, 1000)
    assert holds.as_of_now(of(order)).available_minor == 0


@pytest.mark.req("F56")
def test_two_refunds_never_send_more_than_was_paid(merchant: Merchant) -> None:
    order = sold(merchant)
    spend(order, 5000)
    ask(order, 3000, is_insisting=True)
    with pytest.raises(refusals.RefundTooLarge) as refused:
        ask(order, 2001, is_insisting=True)
    assert refused.value.extra["refundable_minor"] == 2000


@pytest.mark.req("F44", "F56")
def test_the_same_form_sent_ten_times_is_one_refund(merchant: Merchant) -> None:
    order = sold(merchant)
    answers = reports.at_once([lambda: ask(order, 1500, nonce="n1") for _ in range(10)])
    assert len({refund.id for refund in answers}) == 1  # type: ignore[union-attr]
    assert standing(order) == (3500, "active")


@pytest.mark.req("F56")
def test_a_voucher_that_was_never_made_goes_back_whole_and_is_never_made(merchant: Merchant) -> None:
    order = reports.paid(merchant, "marie@example.com", "paul@example.com")
    with pytest.raises(refusals.RefundTooLarge):
        ask(order, 4999)
    refund = ask(order, 5000)
    refunds.settle(refund, said(refund))
    while (step := fulfilment.claim("test", order_id=order.id)) is not None:
        if step.name == "create":
            voucher_effects.create(step)
        else:
            fulfilment.skip(step, code="test")
    assert [unit.voucher is None for unit in order.units] == [True, False]
    with pytest.raises(refusals.RefundTooLarge):
        ask(order, 1)


@pytest.mark.req("F20", "F56")
def test_a_worker_that_is_just_making_the_voucher_loses_it_to_the_refund(merchant: Merchant) -> None:
    order = reports.paid(merchant)
    step = fulfilment.claim("test", order_id=order.id)
    assert step is not None
    ask(order, 5000)
    with pytest.raises(fulfilment.LeaseLost):
        voucher_effects.create(step)
    assert Voucher.select().count() == 0


@pytest.mark.req("F57")
def test_a_refund_made_at_stripe_blocks_the_voucher_until_somebody_decides(merchant: Merchant) -> None:
    order = sold(merchant)
    payment = order.latest_payment
    assert payment is not None
    (found,) = refunds.learn(payment, [Report("re_theirs", 5000)])
    assert refunds.learn(payment, [Report("re_theirs", 5000)]) == []
    assert (found.origin, found.decided_at) == (RefundOrigin.STRIPE, None)
    assert standing(order) == (5000, "suspended") and of(order).is_frozen
    refunds.decide(found, is_taken_off=True, actor="Anna")
    assert standing(order) == (0, "cancelled")
    with pytest.raises(refusals.NothingToDecide):
        refunds.decide(found, is_taken_off=False, actor="Ben")
    assert audit.is_clean(audit.run())


@pytest.mark.req("F57")
def test_a_part_made_at_stripe_takes_that_part_and_the_rest_can_be_spent(merchant: Merchant) -> None:
    order = sold(merchant)
    (found,) = refunds.learn(order.latest_payment, [Report("re_theirs", 1200)])
    refunds.decide(found, is_taken_off=True, actor="Anna")
    assert standing(order) == (3800, "active") and not of(order).is_frozen


@pytest.mark.req("F57")
def test_a_merchant_may_keep_the_voucher_although_money_went_back(merchant: Merchant) -> None:
    order = sold(merchant)
    (found,) = refunds.learn(order.latest_payment, [Report("re_theirs", 5000)])
    refunds.decide(found, is_taken_off=False, actor="Anna")
    assert standing(order) == (5000, "active")
    assert {step.state for step in order.steps if step.is_mail} & {StepState.READY, StepState.BLOCKED}


@pytest.mark.req("F57")
def test_a_refund_at_stripe_that_fails_lets_the_voucher_thaw(merchant: Merchant) -> None:
    order = sold(merchant)
    (found,) = refunds.learn(order.latest_payment, [Report("re_theirs", 5000, "pending")])
    assert standing(order) == (5000, "suspended")
    refunds.learn(order.latest_payment, [Report("re_theirs", 5000, "failed")])
    assert standing(order) == (5000, "active")
    assert fresh(found).decided_at is not None


@pytest.mark.req("F57")
def test_a_voucher_that_its_merchant_blocked_before_stays_blocked(merchant: Merchant) -> None:
    order = sold(merchant)
    casting.set_status(of(order), VoucherStatus.SUSPENDED)
    (found,) = refunds.learn(order.latest_payment, [Report("re_theirs", 1000)])
    refunds.decide(found, is_taken_off=False, actor="Anna")
    assert standing(order) == (5000, "suspended")


@pytest.mark.req("F57")
def test_our_own_refund_heard_from_stripe_first_is_not_taken_for_theirs(merchant: Merchant) -> None:
    order = sold(merchant)
    refund = ask(order, 5000)
    assert refunds.learn(order.latest_payment, [said(refund)]) == []
    assert (fresh(refund).state, fresh(refund).refund_id) == (RefundState.SUCCEEDED, f"re_{refund.id}")
    assert Refund.select().count() == 1


@pytest.mark.req("F7", "F56")
def test_a_held_payment_goes_back_whole_and_needs_nobody_any_more(merchant: Merchant) -> None:
    order = casting.place(merchant)
    payment = reports.opened(order)
    reports.settle(payment, amount_total_minor=500)
    refund = refunds.ask_held(fresh(payment), nonce="n1", actor="Anna")
    assert (refund.amount_minor, refund.currency) == (500, "EUR"), "what came, not what was asked for"
    with pytest.raises(refusals.NothingToDecide):
        refunds.ask_held(fresh(payment), nonce="n2", actor="Anna")
    refunds.settle(refund, said(refund))
    assert (fresh(payment).state, fresh(order).payment_state) == (PaymentState.RETURNED, PaymentState.RETURNED)
    assert Voucher.select().count() == 0


@pytest.mark.req("F10")
def test_what_was_paid_twice_goes_back_and_the_voucher_stays(merchant: Merchant) -> None:
    order = casting.place(merchant)
    first = reports.opened(order)
    Payment.update(state=PaymentState.EXPIRED).where(Payment.id == first.id).execute()
    second = reports.opened(order)
    reports.settle(second)
    reports.settle(first)
    assert fresh(first).state == PaymentState.REVIEW
    refund = refunds.ask_held(fresh(first), nonce="n1", actor="Anna")
    refunds.settle(refund, said(refund))
    assert (fresh(first).state, fresh(order).payment_state) == (PaymentState.RETURNED, PaymentState.PAID)
    assert audit.is_clean(audit.run())


@pytest.mark.req("F56")
def test_a_refund_that_stripe_never_heard_of_is_not_sent_after_a_day(merchant: Merchant) -> None:
    refund = ask(sold(merchant), 5000)
    assert refunds.is_key_fresh(refund)
    clock.move(timedelta(hours=23, minutes=1))
    assert not refunds.is_key_fresh(fresh(refund))
    assert [due.id for due in refunds.to_ask(clock.now())] == [refund.id]


@pytest.mark.req("F49", "F56")
def test_a_refund_that_meets_a_redemption_waits_for_it_and_sees_what_it_left(merchant: Merchant) -> None:
    order = sold(merchant)
    has_redeemed, voucher = threading.Event(), of(order)

    def redeem_slowly() -> None:
        with database.transaction():
            ledger.redeem(voucher.id, amount_minor=4000, currency="EUR", operation_key="slow", actor="till")
            has_redeemed.set()
            time.sleep(0.7)  # long enough for the other to have looked, if it did not wait

    def ask_meanwhile() -> None:
        assert has_redeemed.wait(timeout=20)
        ask(order, 5000)

    _, refused = reports.at_once([redeem_slowly, ask_meanwhile])
    assert isinstance(refused, refusals.RefundTooLarge), refused
    assert refused.extra == {"refundable_minor": 1000, "unit_no": 1}
    assert standing(order) == (1000, "active")


@pytest.mark.req("F58")
def test_a_voucher_unblocked_by_hand_is_the_merchants_own_risk(merchant: Merchant) -> None:
    order = sold(merchant)
    refunds.learn(order.latest_payment, [Report("re_theirs", 1000)])
    casting.set_status(of(order), VoucherStatus.ACTIVE)
    assert not of(order).is_frozen
    with database.transaction():
        vouchers.set_status(of(order).id, VoucherStatus.SUSPENDED, actor="Anna")
        assert freezes.is_in_trouble(order)
    (found,) = order.refunds
    refunds.decide(found, is_taken_off=False, actor="Anna")
    assert standing(order) == (5000, "suspended"), "Anna blocked it, so Anna unblocks it"
