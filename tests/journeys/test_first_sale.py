"""A whole sale with nothing patched: shop, payment, vouchers, PDFs, mails, till, dashboard, audit."""

from collections.abc import Callable

import pytest

from domain import api_keys, audit
from gateways.stripe_twin import Twin
from tests import cast as casting
from tests import papers, sales
from tests.browser import Browser
from tests.smtp import ScriptedServer

TWO_PEOPLE = {
    "amount": "50", "recipient_name": "Marie", "recipient_email": "marie@example.com", "message": "Alles Liebe!",
    "amount_2": "75", "recipient_name_2": "Jonas", "recipient_email_2": "jonas@example.com", "message_2": "Bis bald.",
}  # fmt: skip


@pytest.mark.req("S1-01", "S1-03", "S1-04", "S1-05", "S1-13", "S1-14", "S2-06", "S2-18", "S2-20")
def test_two_vouchers_for_two_people_from_the_shop_to_the_last_cent(
    client: Browser,
    twin: Twin,
    smtp: ScriptedServer,
    cast: casting.Cast,
    run_jobs: Callable[[], int],
    sweep: Callable[[], dict[str, int]],
) -> None:
    order = sales.pay(client, twin, sales.order(client, **TWO_PEOPLE))
    run_jobs()
    _spend_both(client, smtp, cast, order.number)


@pytest.mark.req("G20", "F22")
def test_with_the_bell_switched_off_the_sweeper_alone_ends_the_same_sale(
    client: Browser,
    twin: Twin,
    smtp: ScriptedServer,
    cast: casting.Cast,
    run_jobs: Callable[[], int],
    sweep: Callable[[], dict[str, int]],
    silent_bell: None,
) -> None:
    order = sales.pay(client, twin, sales.order(client, **TWO_PEOPLE))
    assert run_jobs() == 0
    assert smtp.messages == []
    sweep()
    _spend_both(client, smtp, cast, order.number)


def _spend_both(client: Browser, smtp: ScriptedServer, cast: casting.Cast, number: str) -> None:
    printed = sales.pdfs(smtp)
    assert sorted(printed) == ["jonas@example.com", "marie@example.com"]
    assert "50,00" in papers.text_of(printed["marie@example.com"])
    assert "75,00" in papers.text_of(printed["jonas@example.com"])
    scopes = [api_keys.Scope.POS_VALIDATE, api_keys.Scope.POS_REDEEM]
    _, secret = api_keys.create(cast.alba, name="Bar till", scopes=scopes, is_test=True)
    till = sales.Till(client, secret)

    scanned = papers.qr_of(printed["marie@example.com"])
    answer = till.validate(scanned, 1200)
    assert answer["valid"] and answer["voucher"]["balance_minor"] == 5000
    assert till.validate(papers.code_of(printed["marie@example.com"]).lower(), 1200)["voucher"] == answer["voucher"]

    booked = till.redeem(scanned, 1200, key="bill-1", reference="R-17")
    assert booked.status_code == 201
    assert booked.get_json()["transaction"]["balance_after_minor"] == 3800
    voucher_id = answer["voucher"]["id"]

    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    shown = client.get(f"/dashboard/vouchers/{voucher_id}").text
    assert "€38.00" in shown and "R-17" in shown
    assert "Sent" in client.get(f"/dashboard/orders/{number}").text

    rest = till.redeem(papers.code_of(printed["marie@example.com"]), 5000, key="bill-2")
    assert rest.get_json()["calculation"]["remaining_order_amount_minor"] == 1200
    assert rest.get_json()["voucher"]["status"] == "depleted"
    assert till.validate(scanned, 100)["error"] == "voucher_depleted"
    assert audit.is_clean(audit.run()), audit.run()
