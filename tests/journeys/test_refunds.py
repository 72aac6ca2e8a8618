"""Money that goes back, over HTTP from the first click to the last: the till, the buyer and the books agree."""

import re
from collections.abc import Callable

import pytest

from domain import api_keys, audit
from domain.states import RefundState, VoucherStatus
from effects import links, watch
from effects import voucher as vouchers
from gateways.stripe_twin import Twin
from gateways.stripe_twin.faults import Fault
from models import Order, Step, Voucher
from tests import cast as casting
from tests import refunding, sales
from tests.browser import Browser
from tests.refunding import page_of
from tests.smtp import ScriptedServer

SCOPES = [api_keys.Scope.POS_VALIDATE, api_keys.Scope.POS_REDEEM]


def bought(client: Browser, twin: Twin, cast: casting.Cast, run_jobs: Callable[[], int]) -> tuple[Order, sales.Till]:
    """A voucher over 50 euros, paid and mailed; Anna has signed in, and the till has its key."""
    order = sales.pay(client, twin, sales.order(client, amount="50"))
    run_jobs()
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    _, secret = api_keys.create(cast.alba, name="Bar till", scopes=SCOPES, is_test=True)
    return order, sales.Till(client, secret)


def voucher_of(order: Order) -> Voucher:
    return refunding.voucher_of(order)


def assert_books_agree() -> None:
    assert audit.is_clean(audit.run()), [finding for finding in audit.run() if finding.broken]


@pytest.mark.req("F56")
def test_a_part_goes_back_and_till_buyer_and_stripe_see_the_rest(
    client: Browser, twin: Twin, smtp: ScriptedServer, cast: casting.Cast, run_jobs: Callable[[], int]
) -> None:
    order, till = bought(client, twin, cast, run_jobs)
    code = vouchers.read_code(voucher_of(order))
    assert till.redeem(code, 1200, key="bill-1").status_code == 201

    refused = sales.press(client, f"{page_of(order)}/refund", "/refund", amount_1="45")
    assert refused.status_code == 422
    answer = sales.press(client, f"{page_of(order)}/refund", "/refund", amount_1="20")
    assert (answer.status_code, answer.location) == (303, page_of(order))

    assert till.validate(code, 100)["voucher"]["balance_minor"] == 1800
    assert "€20.00 of your payment go back to you." in _buyer_reads(client, order)
    rest = till.redeem(code, 5000, key="bill-2").get_json()
    assert rest["calculation"]["remaining_order_amount_minor"] == 3200
    (made,) = twin.events("refund.created")
    assert made["data"]["object"]["amount"] == 2000
    for kind in ("charge.refunded", "refund.created"):
        refunding.report_all(client, twin, kind)
    refund = order.refunds.get()
    assert (refund.state, order.refunds.count()) == (RefundState.SUCCEEDED, 1)
    assert voucher_of(order).status == VoucherStatus.ACTIVE
    assert_books_agree()


@pytest.mark.req("F12", "F56")
def test_a_lost_answer_sends_the_money_once_and_a_refusal_puts_the_value_back(
    client: Browser, twin: Twin, smtp: ScriptedServer, cast: casting.Cast, run_jobs: Callable[[], int]
) -> None:
    order, till = bought(client, twin, cast, run_jobs)
    code = vouchers.read_code(voucher_of(order))
    twin.switch(Fault.ERROR_AFTER_WORK, times=4)
    sales.press(client, f"{page_of(order)}/refund", "/refund", amount_1="20")
    assert till.validate(code, 100)["voucher"]["balance_minor"] == 3000
    twin.switch(Fault.ERROR_AFTER_WORK, False)
    from effects import refund as money_back

    money_back.send(order.refunds.get())
    assert order.refunds.get().state == RefundState.SUCCEEDED and len(twin.events("refund.created")) == 1

    twin.switch(Fault.NEXT_REFUND, "refused")
    sales.press(client, f"{page_of(order)}/refund", "/refund", amount_1="30")
    assert "has not got €30.00 back." in client.get(page_of(order)).text
    assert till.validate(code, 100)["voucher"]["balance_minor"] == 3000
    assert_books_agree()


@pytest.mark.req("F57")
@pytest.mark.parametrize(("decision", "left_minor"), [("take_off", 2500), ("keep", 5000)])
def test_a_refund_at_stripe_shuts_the_till_until_the_owner_decides(
    client: Browser,
    twin: Twin,
    smtp: ScriptedServer,
    cast: casting.Cast,
    run_jobs: Callable[[], int],
    decision: str,
    left_minor: int,
) -> None:
    order, till = bought(client, twin, cast, run_jobs)
    code = vouchers.read_code(voucher_of(order))
    refunding.refund_at_stripe(client, twin, order, 2500)
    assert till.validate(code, 100)["error"] == "voucher_inactive"
    assert "Please contact Café Alba" in _buyer_reads(client, order)
    page = client.get(page_of(order)).text
    data = refunding.form_on(page, "/refund/decision", containing=f'value="{decision}"')
    assert client.post(f"{page_of(order)}/refund/decision", data=data).status_code == 303
    assert till.validate(code, 100)["voucher"]["balance_minor"] == left_minor
    assert_books_agree()


@pytest.mark.req("F4", "F57")
def test_a_refund_at_stripe_that_nobody_reported_is_found_by_asking(
    client: Browser, twin: Twin, smtp: ScriptedServer, cast: casting.Cast, run_jobs: Callable[[], int]
) -> None:
    from domain import clock

    order, till = bought(client, twin, cast, run_jobs)
    twin.refund(refunding.session_of(order))
    watch.reconcile(clock.now())
    assert till.validate(vouchers.read_code(voucher_of(order)), 100)["error"] == "voucher_inactive"
    assert "until you decide" in client.get(page_of(order)).text


@pytest.mark.req("F58")
@pytest.mark.parametrize("is_won", [True, False])
def test_a_dispute_shuts_the_till_at_once_and_its_end_opens_it_or_ends_the_voucher(
    client: Browser, twin: Twin, smtp: ScriptedServer, cast: casting.Cast, run_jobs: Callable[[], int], is_won: bool
) -> None:
    order, till = bought(client, twin, cast, run_jobs)
    code = vouchers.read_code(voucher_of(order))
    assert till.redeem(code, 1200, key="bill-1").status_code == 201
    dispute_id = refunding.dispute(client, twin, order)
    assert till.validate(code, 100)["error"] == "voucher_inactive"
    assert till.redeem(code, 100, key="bill-2").status_code == 422
    twin.close_dispute(dispute_id, is_won)
    refunding.report_all(client, twin, "charge.dispute.closed")
    if is_won:
        assert till.validate(code, 100)["voucher"]["balance_minor"] == 3800
    else:
        assert till.validate(code, 100)["error"] == "voucher_inactive"
        assert voucher_of(order).balance_minor == 0
        assert "€12.00 of it had been spent" in client.get(page_of(order)).text
    assert_books_agree()


@pytest.mark.req("F58")
def test_a_warning_before_the_mail_keeps_the_voucher_here_until_the_owner_trusts_it(
    client: Browser, twin: Twin, smtp: ScriptedServer, cast: casting.Cast, run_jobs: Callable[[], int]
) -> None:
    order = sales.pay(client, twin, sales.order(client, amount="50"))
    refunding.warn(client, twin, order)
    run_jobs()
    assert smtp.messages == []
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    assert sales.press(client, page_of(order), "/payment/trust").status_code == 303
    run_jobs()
    assert [str(letter.message["To"]) for letter in smtp.messages] == ["lukas@example.com"]
    assert not [step for step in Step.select() if step.state not in ("done",)]
    assert voucher_of(order).status == VoucherStatus.ACTIVE
    assert_books_agree()


def _buyer_reads(client: Browser, order: Order) -> str:
    page = client.get(links.order_url(order).removeprefix("http://localhost") + "?lang=en").text
    return re.sub(r"\s+", " ", page)
