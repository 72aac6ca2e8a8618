"""The public pages: the order form, the order's page, the voucher's page, the error pages."""

import re
import time
from datetime import timedelta

import flask
import pytest
import structlog

from domain import clock, disputes, fulfilment, refunds
from domain.states import VoucherStatus
from effects import links, work
from effects import refund as money_back
from effects import voucher as vouchers
from gateways.stripe_twin import Twin
from models import Merchant, Offer, Order, Unit
from tests import cast, refunding, sales
from tests.browser import Browser

SHOP = "/s/cafe-alba"
ORDERS = f"{SHOP}/orders"


def _buy(client: Browser, **fields: object) -> tuple[int, str]:
    response = client.post(ORDERS, data={"amount": "50", "buyer_email": "lukas@example.com"} | fields)
    return response.status_code, response.text


@pytest.mark.req("S1-01")
def test_the_shop_is_ready_to_buy_without_a_single_choice(client: Browser, merchant: Merchant) -> None:
    page = client.get(f"{SHOP}?lang=de").text
    assert "Jetzt kaufen – 50,00\u00a0€" in page
    assert "Buy now – €50.00" in client.get(f"{SHOP}?lang=en").text


def test_the_public_pages_set_no_cookie(client: Browser, merchant: Merchant) -> None:
    for path in ("/", SHOP, f"{SHOP}/legal", "/nowhere"):
        assert "Set-Cookie" not in client.get(path).headers
    assert "Set-Cookie" not in client.post(ORDERS, data={"amount": "50", "buyer_email": "a@b.at"}).headers


@pytest.mark.parametrize("typed, minor", [("50", 5000), ("37.50", 3750), ("37,50", 3750), ("€ 500", 50000)])
def test_a_value_of_the_list_and_a_free_amount_are_both_bought_by_one_field(
    client: Browser, merchant: Merchant, typed: str, minor: int
) -> None:
    status, _ = _buy(client, amount=typed)
    assert status == 303
    assert Order.get().total_minor == minor


@pytest.mark.req("T4")
@pytest.mark.parametrize(
    "typed",
    "-50|0|0.001|50.005|1e2|1e400|NaN|Infinity|true|[50]|٥٠|５０|5_0|9|501|9223372036854775808|<b>50</b>|".split("|")
    + ["5" * 5000],
)
def test_an_amount_that_is_not_sold_is_explained_at_its_field(client: Browser, merchant: Merchant, typed: str) -> None:
    status, page = _buy(client, amount=typed)
    assert status == 422
    assert 'id="amount-error"' in page
    assert not Order.select().exists()


@pytest.mark.req("T4")
def test_two_answers_to_one_question_are_refused(client: Browser, merchant: Merchant) -> None:
    status, _ = _buy(client, amount=["50", "1"])
    assert status == 422


@pytest.mark.req("T15")
@pytest.mark.parametrize(
    "address",
    ["a@b.at, evil@x.at", "<a@b.at>", "a@b.at\nRCPT TO:<e@x>", '"a b"@x.at', "a@[127.0.0.1]", "a@b", "a" * 10000, ""],
)
def test_an_address_that_is_not_exactly_one_is_refused(client: Browser, merchant: Merchant, address: str) -> None:
    assert _buy(client, buyer_email=address)[0] == 422
    assert _buy(client, recipient_email=address, delivery="recipient")[0] == 422


@pytest.mark.req("T12", "S1-16")
def test_what_a_buyer_writes_is_shown_as_text_and_kept_after_a_mistake(client: Browser, merchant: Merchant) -> None:
    nasty = "</textarea><script>alert(1)</script>"
    status, page = _buy(client, message=nasty, recipient_name=nasty[:70], buyer_name=nasty[:70], buyer_email="x")
    assert status == 422
    assert "<script>alert" not in page
    assert "&lt;/textarea&gt;&lt;script&gt;alert(1)&lt;/script&gt;" in page


@pytest.mark.req("S1-17")
def test_a_message_of_three_hundred_characters_fits_and_one_more_does_not(client: Browser, merchant: Merchant) -> None:
    assert _buy(client, message="ä" * 301)[0] == 422
    assert _buy(client, message="ä" * 299 + "\r\n")[0] == 303
    assert len(Unit.get().message) == 299


def test_control_characters_and_reordering_marks_never_reach_the_order(client: Browser, merchant: Merchant) -> None:
    assert _buy(client, buyer_name="Lu\x00k\u202eas\x07", message="eins\x1b[31m\r\nzwei")[0] == 303
    assert Order.get().buyer_name == "Lukas"
    assert Unit.get().message == "eins[31m\nzwei"


@pytest.mark.req("T31")
def test_marks_piled_up_to_be_slow_cost_no_time(client: Browser, merchant: Merchant) -> None:
    piled_up = "a" + "\u0301" * 15_000 + "\u0327" * 15_000
    started = time.process_time()
    status, _ = _buy(client, message=piled_up)
    assert status == 422
    # Composed as they come they take two seconds and more, and double the marks four times as long.
    assert time.process_time() - started < 1


def test_the_same_form_sent_twice_is_one_order(client: Browser, merchant: Merchant) -> None:
    form = {"nonce": "nonce-1234567", "amount": "50", "buyer_email": "lukas@example.com"}
    first, second = client.post(ORDERS, data=form), client.post(ORDERS, data=form)
    assert first.location == second.location
    assert Order.select().count() == 1


def test_two_forms_are_two_orders(client: Browser, merchant: Merchant) -> None:
    _buy(client)
    _buy(client)
    assert Order.select().count() == 2


def test_an_order_holds_several_vouchers_for_several_people(client: Browser, merchant: Merchant) -> None:
    _buy(
        client,
        amount_2="25",
        recipient_name_2="Ben",
        design_2="sage",
        recipient_email_2="ben@example.com",
        amount_5="75",
    )
    units = list(Order.get().units)
    assert [unit.value_minor for unit in units] == [5000, 2500, 7500]
    assert units[1].recipient_email == "ben@example.com"
    assert units[1].design.slug == "sage"


def test_an_eleventh_voucher_is_refused(client: Browser, merchant: Merchant) -> None:
    status, page = _buy(client, **{f"amount_{number}": "25" for number in range(2, 12)})
    assert status == 422
    assert "#add" in page


@pytest.mark.parametrize(
    "typed", ["2020-01-01T10:00", "2999-01-01T10:00", "0001-01-01T00:00", "9999-12-31T23:59", "24.12.2026", "x", "1"]
)
def test_a_day_that_cannot_be_meant_is_refused(client: Browser, merchant: Merchant, typed: str) -> None:
    status, page = _buy(client, recipient_email="anna@example.com", deliver_at=typed)
    assert status == 422
    assert 'id="deliver_at-error"' in page


def test_a_time_that_the_clocks_leave_out_is_refused(client: Browser, merchant: Merchant) -> None:
    year = clock.today("Europe/Vienna").year + 1
    sundays = [day for day in range(25, 32) if _weekday(year, day) == 6]
    assert _buy(client, recipient_email="a@b.at", deliver_at=f"{year}-03-{sundays[0]}T02:30")[0] == 422


def test_a_planned_mail_leaves_at_the_wall_clock_of_the_shop(client: Browser, merchant: Merchant) -> None:
    at = (clock.now() + timedelta(days=20)).astimezone(clock.zone("Europe/Vienna")).replace(second=0, microsecond=0)
    _buy(client, recipient_email="anna@example.com", deliver_at=at.strftime("%Y-%m-%dT%H:%M"))
    assert Unit.get().deliver_at == at


def test_a_planned_mail_needs_an_address(client: Browser, merchant: Merchant) -> None:
    status, page = _buy(client, deliver_at="2030-01-01T10:00")
    assert status == 422
    assert 'id="recipient_email-error"' in page


def test_a_link_preselects_value_and_design(client: Browser, merchant: Merchant) -> None:
    page = client.get(f"{SHOP}?value=80&design=sage&lang=en").text
    assert "Buy now – €80.00" in page
    assert re.search(r'value="sage" checked', page)
    assert "Buy now – €50.00" in client.get(f"{SHOP}?value=5000000&design=x&lang=en").text


def test_the_draft_adds_and_takes_out_vouchers_without_a_script(client: Browser, merchant: Merchant) -> None:
    form = {"amount": "75", "recipient_name": "Anna"}
    page = client.post(f"{SHOP}/draft?lang=en", data=form | {"one_more": "1"}).text
    assert 'name="amount_2"' in page
    assert "Buy now – €150.00" in page
    page = client.post(f"{SHOP}/draft?lang=en", data=form | {"amount_2": "25", "take_out": "1"}).text
    assert 'name="amount_2"' not in page
    assert "Buy now – €25.00" in page
    assert not Order.select().exists()


def test_htmx_gets_the_preview_and_the_sum_alone(client: Browser, merchant: Merchant) -> None:
    response = client.post(
        f"{SHOP}/draft?lang=en", data={"amount": "75", "recipient_name": "Anna"}, headers={"HX-Request": "true"}
    )
    assert "<html" not in response.text
    assert 'id="preview"' in response.text
    assert "Buy now – €75.00" in response.text
    assert "HX-Request" in response.vary


def test_a_slip_of_the_keyboard_is_pointed_out_and_never_blocks(client: Browser, merchant: Merchant) -> None:
    page = client.post(f"{SHOP}/draft", data={"amount": "50", "buyer_email": "anna@gmial.com"}).text
    assert 'value="anna@gmail.com"' in page
    assert _buy(client, buyer_email="anna@gmial.com")[0] == 303


def test_a_changed_offer_brings_its_own_values(client: Browser, merchant: Merchant) -> None:
    Offer.create(merchant=merchant, slug="brunch", title="Brunch", values_minor=[3200, 6400], position=1)
    page = client.post(f"{SHOP}/draft?lang=en", data={"amount": "50", "offer": "brunch", "shown_offer": "value"}).text
    assert "Buy now – €64.00" in page
    assert _buy(client, offer="brunch", amount="50")[0] == 422


def test_stripe_away_keeps_every_entry(client: Browser, merchant: Merchant, twin: Twin) -> None:
    twin.switch("down")
    status, page = _buy(client, recipient_name="Anna Huber", message="Alles Liebe")
    assert status == 503
    assert "Anna Huber" in page
    assert "Alles Liebe" in page


def test_a_closed_shop_opens_soon_and_an_unknown_one_is_not_there(client: Browser, merchant: Merchant) -> None:
    Merchant.update(is_open=False).where(Merchant.id == merchant.id).execute()
    assert "opens soon" in client.get(f"{SHOP}?lang=en").text
    assert _buy(client)[0] == 503
    assert client.get("/s/nobody").status_code == 404
    assert client.post("/s/nobody/orders", data={}).status_code == 404


@pytest.mark.req("S1-02", "T9")
def test_a_made_up_return_from_the_payment_page_issues_nothing(client: Browser, merchant: Merchant) -> None:
    _buy(client)
    page = client.get(_order_path(Order.get()) + "?paid=1&session_id=../../v1/charges&lang=en")
    assert "We are confirming your payment" in page.text
    assert not Order.get().is_paid
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert "noindex" in page.headers["X-Robots-Tag"]


@pytest.mark.req("S1-10")
def test_who_turns_back_reads_that_nothing_was_charged_and_can_pay_again(client: Browser, merchant: Merchant) -> None:
    first = client.post(ORDERS, data={"amount": "50", "buyer_email": "lukas@example.com"}).location
    path = _order_path(Order.get())
    page = client.get(f"{path}?back=1&lang=en").text
    assert "Not paid yet" in page
    assert "Nothing was charged" in page
    assert client.post(f"{path}/payment").location == first


@pytest.mark.req("S1-04", "S1-24", "S1-25", "S1-26")
def test_a_paid_order_shows_its_steps_and_the_pdf_and_stops_asking(
    client: Browser, merchant: Merchant, twin: Twin
) -> None:
    order = sales.pay(client, twin, sales.order(client))
    path = _order_path(order)
    assert "hx-get=" in client.get(f"{path}/progress?n=3", headers={"HX-Request": "true"}).text
    work.run_due("test")
    page = client.get(f"{path}?lang=en").text
    assert "your voucher is ready" in page
    assert "hx-get=" not in page.partition('class="progress"')[2].partition(">")[0]
    pdf = client.get(f"{path}/vouchers/1.pdf")
    assert pdf.data.startswith(b"%PDF")
    assert pdf.headers["Cache-Control"] == "no-store"
    code = vouchers.read_code(order.units.get().voucher)
    assert code not in page
    for unit_no in ("0", "2", "9" * 10, "9" * 23):
        assert client.get(f"{path}/vouchers/{unit_no}.pdf").status_code == 404


def test_the_page_asks_less_often_the_longer_it_waits(client: Browser, merchant: Merchant) -> None:
    _buy(client)
    path = _order_path(Order.get())
    delays = [
        _delay(client.get(f"{path}/progress?n={polls}").text) for polls in ("0", "14", "15", "34", "35", "x", "-1")
    ]
    assert delays == ["1", "1", "3", "3", "15", "1", "1"]


def test_a_forged_order_link_is_not_there(client: Browser, merchant: Merchant) -> None:
    _buy(client)
    path = _order_path(Order.get())
    for forged in (path[:-1] + ("a" if path[-1] != "a" else "b"), "/o/ä", "/o/" + "a" * 3000):
        assert client.get(forged).status_code == 404


@pytest.mark.req("S1-14")
def test_the_voucher_page_shows_code_and_balance_and_gives_nothing_away_in_its_title(
    client: Browser, merchant: Merchant
) -> None:
    voucher, code = cast.issue(merchant)
    page = client.get(_voucher_path(voucher) + "?lang=en")
    assert code in page.text
    assert "€50.00" in page.text
    assert "<title>You received a voucher – Café Alba</title>" in page.text
    assert page.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("status", [VoucherStatus.SUSPENDED, VoucherStatus.CANCELLED])
def test_a_voucher_that_no_till_takes_shows_no_code(client: Browser, merchant: Merchant, status: VoucherStatus) -> None:
    voucher, code = cast.issue(merchant, status=status)
    page = client.get(_voucher_path(voucher)).text
    assert code not in page
    assert "+43 1 555 01" in page
    assert client.get(f"{_voucher_path(voucher)}/voucher.pdf").status_code == 404


def test_an_expired_voucher_says_so(client: Browser, merchant: Merchant) -> None:
    voucher, _ = cast.issue(merchant, expires_at=clock.now() - timedelta(days=1))
    assert "This day has passed" in client.get(_voucher_path(voucher) + "?lang=en").text


def test_a_present_for_later_keeps_its_secret(client: Browser, merchant: Merchant, twin: Twin) -> None:
    at = (clock.now() + timedelta(days=9)).strftime("%Y-%m-%dT%H:%M")
    order = sales.pay(client, twin, sales.order(client, recipient_email="anna@example.com", deliver_at=at))
    work.run_due("test")
    assert fulfilment.current(order.steps)
    voucher = order.units.get().voucher
    page = client.get(_voucher_path(voucher) + "?lang=en").text
    assert "A present is waiting" in page
    assert vouchers.read_code(voucher) not in page
    assert "€50.00" not in page


@pytest.mark.parametrize("token", ["x", "a" * 32, "ä" * 32, "%00" * 32, "a" * 4000])
def test_an_unknown_voucher_link_is_not_there(client: Browser, merchant: Merchant, token: str) -> None:
    assert client.get(f"/v/{token}").status_code == 404


@pytest.mark.req("T24")
@pytest.mark.parametrize("path", [SHOP, "/static/app.css", "/login", "/api/v1/vouchers/validate"])
@pytest.mark.parametrize("host", ["evil.example", "cafe-alba.example.evil.example", "a" * 64])
def test_a_host_that_is_not_ours_is_refused_and_breaks_nothing(
    app: flask.Flask, client: Browser, merchant: Merchant, host: str, path: str
) -> None:
    app.config["TRUSTED_HOSTS"] = ["localhost"]
    answer = client.get(path, headers={"Host": host})
    assert answer.status_code == 400
    assert host not in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.req("T27")
def test_the_log_of_a_mistake_names_the_route_and_never_a_secret_link(
    app: flask.Flask, client: Browser, merchant: Merchant
) -> None:
    _buy(client)
    app.view_functions["shop.show_order"] = _break
    path = _order_path(Order.get())
    with structlog.testing.capture_logs() as logged:
        assert client.get(path).status_code == 500
    assert "GET /o/<token>" in str(logged)
    assert path.removeprefix("/o/") not in str(logged)


def test_error_pages_name_what_to_do_and_a_reference(client: Browser, merchant: Merchant) -> None:
    missing = client.get("/nowhere?lang=en")
    assert missing.status_code == 404
    assert re.search(r"Reference <span class=\"code\">[0-9a-f]{8,}</span>", missing.text)
    wrong_method = client.delete(SHOP)
    assert wrong_method.status_code == 405
    assert "GET" in wrong_method.headers["Allow"]
    assert client.post(ORDERS, data={"message": "x" * 300_000}).status_code == 413


def test_a_shop_with_an_unreadable_accent_stays_readable(client: Browser, merchant: Merchant) -> None:
    Merchant.update(accent="#ffff00").where(Merchant.id == merchant.id).execute()
    assert "--accent-light: #ffff00" not in client.get(f"{SHOP}/accent.css").text
    Merchant.update(accent="red} body{display:none").where(Merchant.id == merchant.id).execute()
    assert "display" not in client.get(f"{SHOP}/accent.css").text


def _weekday(year: int, day: int) -> int:
    return clock.now().replace(year=year, month=3, day=day).weekday()


def _break(**values: str) -> str:
    raise RuntimeError("a mistake of ours")


@pytest.mark.req("F56")
def test_a_buyer_whose_money_goes_back_reads_how_much_and_finds_no_download(
    client: Browser, merchant: Merchant, twin: Twin
) -> None:
    order = sales.pay(client, twin, sales.order(client))
    work.run_due("test")
    refund = refunds.ask(order, {1: 2000}, nonce="first-part", actor="Anna")
    money_back.send(refund)
    page = client.get(f"{_order_path(order)}?lang=en").text
    assert "€20.00 of your payment go back to you." in page and "Download PDF" in page
    money_back.send(refunds.ask(order, {1: 3000}, nonce="all-of-it", actor="Anna"))
    page = client.get(f"{_order_path(order)}?lang=en").text
    assert "Your money is on its way back" in page and "€50.00 go back the way you paid." in page
    assert "Download PDF" not in page and "hx-get=" not in page.partition('class="progress"')[2].partition(">")[0]
    assert client.get(f"{_order_path(order)}/vouchers/1.pdf").status_code == 404
    voucher = client.get(f"{_voucher_path(order.units.get().voucher)}?lang=en").text
    assert "This voucher was cancelled." in voucher


@pytest.mark.req("F58")
def test_a_buyer_is_asked_to_contact_the_shop_and_hears_nothing_of_a_suspicion(
    client: Browser, merchant: Merchant, twin: Twin
) -> None:
    order = sales.pay(client, twin, sales.order(client))
    work.run_due("test")
    warning_id = refunding.warn(client, twin, order)
    for page in (_order_path(order), _voucher_path(order.units.get().voucher)):
        for language in ("en", "de"):
            text = client.get(f"{page}?lang={language}").text.lower()
            assert not any(word in text for word in ("fraud", "betrug", "dispute", "suspect", "stripe", warning_id))
            assert "download pdf" not in text and "voucher.pdf" not in text
    assert ">Please contact Café Alba</h1>" in client.get(f"{_order_path(order)}?lang=en").text
    disputes.dismiss(order.disputes.get(), actor="Anna")
    assert "your voucher is ready" in client.get(f"{_order_path(order)}?lang=en").text


@pytest.mark.req("F7")
def test_a_buyer_whose_payment_did_not_fit_reads_that_it_goes_back(
    client: Browser, merchant: Merchant, twin: Twin
) -> None:
    session_id = sales.order(client)
    twin.switch("mismatch", {"amount_total": 500})
    order = sales.pay(client, twin, session_id)
    assert "Your payment is being checked" in client.get(f"{_order_path(order)}?lang=en").text
    money_back.send(refunds.ask_held(order.payments.get(), nonce="all-of-it", actor="Anna"))
    page = client.get(f"{_order_path(order)}?lang=en").text
    assert "The payment did not fit the order, so all of it goes back to you." in page
    assert "Buy now" not in page


def _order_path(order: Order) -> str:
    from effects import links

    return links.order_url(order).removeprefix("http://localhost")


def _voucher_path(voucher: object) -> str:
    return links.voucher_url(voucher).removeprefix("http://localhost")  # type: ignore[arg-type]


def _delay(page: str) -> str | None:
    found = re.search(r"load delay:(\d+)s", page)
    return found.group(1) if found else None
