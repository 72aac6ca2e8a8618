"""What people do with a voucher at the desk: block, correct, give back, release; booked once, told, never guessed."""

import html
import re
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import flask
import flask_babel
import pytest
from flask import current_app, g
from werkzeug.test import TestResponse

from blueprints.dashboard import sentences, wording
from database import transaction
from domain import api_keys, audit, clock, entries, holds, ledger
from domain.states import EntryKind, HoldState, VoucherStatus
from domain.statuses import MOVES
from models import Entry, Hold, Merchant, TimelineEntry, Voucher
from tests import cast as casting
from tests import sales
from tests.browser import Browser

HTMX = {"HX-Request": "true"}


@pytest.fixture
def anna(client: Browser, cast: casting.Cast) -> Browser:
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    return client


@pytest.fixture
def ben(app: flask.Flask, cast: casting.Cast) -> Browser:
    return signed_in(app, "ben@alba.example")


def signed_in(app: flask.Flask, email: str) -> Browser:
    client: Browser = app.test_client()  # type: ignore[assignment]
    sales.sign_in(client, email, casting.PASSWORD)
    return client


def page_of(voucher: Voucher) -> str:
    return f"/dashboard/vouchers/{voucher.public_id}"


def redeem(voucher: Voucher, minor: int) -> Entry:
    with transaction():
        till = entries.Till(reference="R-1042", location="Bar", terminal="Kasse 1")
        key = f"redeem:{secrets.token_hex(6)}"
        return ledger.redeem(
            voucher.id, amount_minor=minor, currency="EUR", operation_key=key, actor="key:Bar till", till=till
        ).entry


def hold(voucher: Voucher, minor: int, *, life: timedelta = holds.USUAL_LIFE) -> Hold:
    with transaction():
        key = f"hold:{secrets.token_hex(6)}"
        return holds.place(
            voucher.id, amount_minor=minor, currency="EUR", operation_key=key, actor="key:Bar till", life=life
        ).hold


def form_of(client: Browser, voucher: Voucher, action: str, **fields: str) -> dict[str, str]:
    """The hidden fields of one form of the voucher's page, and what somebody types into it."""
    page = client.get(page_of(voucher)).text
    for form in re.findall(r"<form\b.*?</form>", page, re.DOTALL):
        if f'action="{page_of(voucher)}/{action}"' in form:
            return dict(re.findall(r'<input[^>]*type="hidden"[^>]*name="([^"]+)"[^>]*value="([^"]*)"', form)) | fields
    raise AssertionError(f"the page offers no {action}")


def act(client: Browser, voucher: Voucher, action: str, **fields: str) -> TestResponse:
    """Open the page, fill in one form and send it, without JavaScript."""
    return client.post(f"{page_of(voucher)}/{action}", data=form_of(client, voucher, action, **fields))


def booked(voucher: Voucher) -> list[tuple[str, int]]:
    return [(entry.kind, entry.amount_minor) for entry in Voucher.get_by_id(voucher.id).entries][::-1]


def told(voucher: Voucher) -> list[tuple[str, str]]:
    listed = TimelineEntry.select().where(TimelineEntry.voucher == voucher).order_by(TimelineEntry.id)
    return [(entry.kind, entry.actor) for entry in listed]


def words(page: str) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


def status_of(voucher: Voucher) -> str:
    return str(Voucher.get_by_id(voucher.id).status)


def api_says(app: flask.Flask, merchant: Merchant, code: str) -> str | None:
    _, secret = api_keys.create(merchant, name="Till", scopes=["pos:validate"], is_test=True)
    answer = app.test_client().post(
        "/api/v1/vouchers/validate",
        json={"code": code, "amount_minor": 100, "currency": "EUR"},
        headers={"Authorization": f"Bearer {secret}"},
    )
    return answer.json["error"]


# State


@pytest.mark.req("S2-10")
def test_a_blocked_voucher_pays_nothing_until_it_is_unblocked(
    app: flask.Flask, ben: Browser, merchant: Merchant
) -> None:
    voucher, code = casting.issue(merchant)
    answer = act(ben, voucher, "suspension", reason="lost bag")
    assert (answer.status_code, answer.location) == (303, page_of(voucher))
    assert status_of(voucher) == "suspended" and api_says(app, merchant, code) == "voucher_inactive"
    page = words(ben.get(page_of(voucher)).text)
    assert "Voucher blocked – lost bag" in page and "Blocked" in page
    act(ben, voucher, "suspension/end")
    assert status_of(voucher) == "active" and api_says(app, merchant, code) is None
    assert told(voucher) == [("voucher_status_changed", "Ben")] * 2
    assert "Voucher unblocked" in words(ben.get(page_of(voucher)).text)


def test_to_block_twice_is_told_once(anna: Browser, merchant: Merchant) -> None:
    voucher, _ = casting.issue(merchant)
    form = form_of(anna, voucher, "suspension")
    assert [anna.post(f"{page_of(voucher)}/suspension", data=form).status_code for _ in range(2)] == [303, 303]
    assert told(voucher) == [("voucher_status_changed", "Anna")]


def test_a_pending_voucher_is_activated_by_an_owner_and_not_by_unblocking_it(
    app: flask.Flask, anna: Browser, ben: Browser, merchant: Merchant
) -> None:
    voucher, code = casting.issue(merchant, status=VoucherStatus.PENDING)
    data = {"csrf_token": sales.csrf(ben.get("/dashboard").text)}
    assert ben.post(f"{page_of(voucher)}/activation", data=data).status_code == 403
    assert ben.post(f"{page_of(voucher)}/suspension/end", data=data).status_code == 303
    assert status_of(voucher) == "pending"
    assert act(anna, voucher, "activation").status_code == 303
    assert status_of(voucher) == "active" and api_says(app, merchant, code) is None


def test_a_cancelled_voucher_frees_what_was_held_and_never_comes_back(anna: Browser, merchant: Merchant) -> None:
    voucher, _ = casting.issue(merchant)
    held = hold(voucher, 2000)
    page = words(anna.get(page_of(voucher)).text)
    assert "Its €50.00 can never be spent again" in page
    act(anna, voucher, "cancellation", reason="withdrawal")
    assert status_of(voucher) == "cancelled" and Hold.get_by_id(held.id).state == HoldState.RELEASED
    page = anna.get(page_of(voucher)).text
    assert words(page).count("A cancelled voucher stays cancelled.") == 4
    assert "/cancellation" not in page and "/adjustments" not in page and "/suspension" not in page
    data = {"csrf_token": sales.csrf(page), "nonce": "n" * 16, "seen": "5000"}
    more = {"amount": "1", "direction": "add", "reason": "x", "expires_on": "2090-01-01"}
    for action in ("suspension", "suspension/end", "activation", "adjustments", "validity"):
        answer = anna.post(f"{page_of(voucher)}/{action}", data=data | more, headers=HTMX)
        assert answer.status_code == 200 and "The voucher's state: Cancelled." in words(answer.text), action
    assert status_of(voucher) == "cancelled" and booked(voucher) == [("issue", 5000)]
    assert Voucher.get_by_id(voucher.id).expires_at is None


def test_each_state_offers_the_moves_that_its_table_knows(anna: Browser, merchant: Merchant) -> None:
    urls = {"suspended": '/suspension"', "cancelled": '/cancellation"', "active": '/(?:activation|suspension/end)"'}
    for status in VoucherStatus:
        voucher, _ = casting.issue(merchant, status=status)
        page = anna.get(page_of(voucher)).text
        offered = {name for name, url in urls.items() if re.search(f'action="[^"]*{url}', page)}
        assert offered == {str(each) for each in MOVES[status]}, status  # type: ignore[index]


# Money


@pytest.mark.req("S2-06", "S2-07", "S2-08")
def test_a_redemption_is_given_back_in_part_and_then_undone(ben: Browser, merchant: Merchant) -> None:
    voucher, _ = casting.issue(merchant)
    taken = redeem(voucher, 3000)
    assert act(ben, voucher, "refunds", amount="12,50", reason="cold soup").status_code == 303
    assert Voucher.get_by_id(voucher.id).balance_minor == 3250
    page = words(ben.get(page_of(voucher)).text)
    for sentence in (
        "Undo: €17.50 back",
        "of no. 2",
        "cold soup",
        "€12.50 of a redemption given back, €32.50 left",
    ):
        assert sentence in page, sentence
    assert "key “Bar till”" in page
    act(ben, voucher, "reversals")
    assert booked(voucher) == [("issue", 5000), ("redeem", -3000), ("refund", 1250), ("reverse", 1750)]
    assert [entry.redemption for entry in voucher.entries][:2] == [taken, taken]
    assert told(voucher) == [("voucher_refunded", "Ben"), ("redemption_reversed", "Ben")]
    page = ben.get(page_of(voucher)).text
    assert "All of it was given back." in page and "Redemption undone" in page and "/reversals" not in page
    assert audit.is_clean(audit.run())


@pytest.mark.req("S2-08")
@pytest.mark.parametrize(
    ("direction", "typed", "signed"),
    [("add", "5,00", 500), ("take", "5,00", -500), ("take", "€ 50", -5000), ("add", "1 250.50", 125050)],
)
def test_an_owner_corrects_a_balance_and_says_why(
    anna: Browser, merchant: Merchant, direction: str, typed: str, signed: int
) -> None:
    voucher, _ = casting.issue(merchant)
    assert act(anna, voucher, "adjustments", direction=direction, amount=typed, reason="goodwill").status_code == 303
    entry = voucher.entries.first()
    assert (entry.kind, entry.amount_minor, entry.reason, entry.actor) == ("adjust", signed, "goodwill", "Anna")
    assert entry.operation_key.startswith("dash:")
    assert "goodwill" in anna.get(page_of(voucher)).text


@pytest.mark.parametrize(
    ("action", "fields", "sentence"),
    [
        ("adjustments", {"amount": "", "reason": "x"}, "Please enter an amount."),
        ("adjustments", {"amount": "0", "reason": "x"}, "Please enter an amount above zero."),
        ("adjustments", {"amount": "-5", "reason": "x"}, "Please enter the amount in figures"),
        ("adjustments", {"amount": "1e3", "reason": "x"}, "Please enter the amount in figures"),
        ("adjustments", {"amount": "٥", "reason": "x"}, "Please enter the amount in figures"),
        ("adjustments", {"amount": "5", "reason": " \0 "}, "Please say why."),
        ("adjustments", {"amount": "5", "reason": "x" * 201}, "Use at most 200 characters."),
        ("adjustments", {"amount": "5", "reason": "x", "direction": ""}, "Choose whether to add or to take off."),
        ("adjustments", {"amount": "30.01", "reason": "x", "direction": "take"}, "Only €10.00 can be taken off"),
        ("adjustments", {"amount": "9999999999999", "reason": "x"}, "Please enter the amount in figures"),
        ("adjustments", {"amount": "9999999999999.99", "reason": "x"}, "Please enter the amount in figures"),
        ("refunds", {"amount": "20.01"}, "Only €20.00 of this redemption can still be given back."),
        ("refunds", {"amount": "abc"}, "Please enter the amount in figures"),
        ("refunds", {"amount": "1", "reason": "x" * 201}, "Use at most 200 characters."),
        ("validity", {"expires_on": "2020-01-01"}, "This day has passed."),
        ("validity", {"expires_on": "2027-02-30"}, "Please enter a day"),
        ("validity", {"expires_on": "tomorrow"}, "Please enter a day"),
        ("validity", {"expires_on": "0001-01-01"}, "Please enter a day"),
        ("validity", {"expires_on": "9999-12-31"}, "This is too far ahead."),
        ("suspension", {"reason": "x" * 201}, "Use at most 200 characters."),
        ("cancellation", {"reason": "x" * 201}, "Use at most 200 characters."),
    ],
)
def test_a_mistake_comes_back_with_its_sentence_and_what_was_typed(
    anna: Browser, merchant: Merchant, action: str, fields: dict[str, str], sentence: str
) -> None:
    voucher, _ = casting.issue(merchant)
    redeem(voucher, 2000)
    hold(voucher, 2000)
    before, state = booked(voucher), status_of(voucher)
    form = form_of(anna, voucher, action, **({"direction": "add"} | fields))
    for headers in ({}, HTMX):
        answer = anna.post(f"{page_of(voucher)}/{action}", data=form, headers=headers)
        assert answer.status_code == 422 and sentence in words(answer.text)
        assert re.search(r"<details[^>]* open>", answer.text)
    if fields.get("amount", "").isascii() and fields.get("amount"):
        assert f'value="{fields["amount"]}"' in answer.text
    assert (booked(voucher), status_of(voucher), told(voucher)) == (before, state, [])
    assert Voucher.get_by_id(voucher.id).expires_at is None


def test_a_balance_never_outgrows_the_books(anna: Browser, merchant: Merchant) -> None:
    voucher, _ = casting.issue(merchant)
    form = form_of(anna, voucher, "adjustments", direction="add", amount="999999999999", reason="x")
    statuses = []
    for _ in range(11):
        answer = anna.post(f"{page_of(voucher)}/adjustments", data=form | {"nonce": secrets.token_urlsafe(9)})
        statuses.append(answer.status_code)
        form["seen"] = str(Voucher.get_by_id(voucher.id).balance_minor)
    assert statuses == [303] * 9 + [422] * 2
    assert "No voucher can hold that much." in words(answer.text)


@pytest.mark.req("S2-05")
@pytest.mark.parametrize(
    ("action", "fields", "kind"),
    [
        ("adjustments", {"direction": "add", "amount": "5", "reason": "goodwill"}, EntryKind.ADJUST),
        ("refunds", {"amount": "5"}, EntryKind.REFUND),
        ("reversals", {}, EntryKind.REVERSE),
    ],
)
def test_ten_clicks_at_once_book_once_and_all_see_the_same(
    app: flask.Flask, anna: Browser, merchant: Merchant, action: str, fields: dict[str, str], kind: EntryKind
) -> None:
    voucher, _ = casting.issue(merchant)
    redeem(voucher, 3000)
    form = form_of(anna, voucher, action, **fields)
    cookie = anna.get_cookie("session")
    assert cookie

    def click() -> tuple[int, str | None]:
        client = app.test_client()
        client.set_cookie("session", cookie.value)
        answer = client.post(f"{page_of(voucher)}/{action}", data=form)
        return answer.status_code, answer.location

    assert at_once(10, click) == [(303, page_of(voucher))] * 10
    assert [entry.kind for entry in voucher.entries].count(kind) == 1
    assert len(told(voucher)) == 1
    # Long after, with another balance: still the same answer to the same form.
    act(anna, voucher, "adjustments", direction="add", amount="1", reason="later")
    assert anna.post(f"{page_of(voucher)}/{action}", data=form).status_code == 303
    assert [entry.kind for entry in voucher.entries].count(kind) == (2 if action == "adjustments" else 1)


def test_one_nonce_on_two_vouchers_books_on_both_and_breaks_nothing(anna: Browser, merchant: Merchant) -> None:
    for voucher in (casting.issue(merchant)[0], casting.issue(merchant)[0]):
        form = form_of(anna, voucher, "adjustments", direction="add", amount="5", reason="x") | {"nonce": "n" * 16}
        assert anna.post(f"{page_of(voucher)}/adjustments", data=form).status_code == 303
        assert Voucher.get_by_id(voucher.id).balance_minor == 5500


@pytest.mark.parametrize(
    ("action", "fields"),
    [
        ("adjustments", {"direction": "add", "amount": "5", "reason": "goodwill"}),
        ("refunds", {"amount": "5", "reason": "goodwill"}),
        ("reversals", {}),
        ("cancellation", {"reason": "goodwill"}),
    ],
)
def test_who_saw_another_balance_is_asked_to_look_again(
    anna: Browser, merchant: Merchant, action: str, fields: dict[str, str]
) -> None:
    voucher, _ = casting.issue(merchant)
    redeem(voucher, 2000)
    form = form_of(anna, voucher, action, **fields)
    redeem(voucher, 1000)
    before = booked(voucher)
    for seen in (form["seen"], "", "x", "9" * 30):
        for headers in ({}, HTMX):
            answer = anna.post(f"{page_of(voucher)}/{action}", data=form | {"seen": seen}, headers=headers)
            assert answer.status_code == 422
            assert "Balance changed to €20.00 meanwhile. Check again." in words(answer.text)
            assert not fields or 'value="goodwill"' in answer.text
    assert (booked(voucher), status_of(voucher)) == (before, "active")
    again = dict(re.findall(r'name="(seen)" value="(\d+)"', answer.text))
    assert anna.post(f"{page_of(voucher)}/{action}", data=form | again).status_code == 303


def test_a_form_without_its_nonce_books_nothing(anna: Browser, merchant: Merchant) -> None:
    voucher, _ = casting.issue(merchant)
    form = form_of(anna, voucher, "adjustments", direction="add", amount="5", reason="x")
    for nonce in ("", "short", "a b c d e f g h", "x" * 65, "\0" * 12):
        answer = anna.post(f"{page_of(voucher)}/adjustments", data=form | {"nonce": nonce})
        assert answer.status_code == 422 and "This page was out of date." in words(answer.text)
    assert booked(voucher) == [("issue", 5000)]


def test_a_redemption_that_a_till_took_back_meanwhile_is_not_given_back_again(
    anna: Browser, merchant: Merchant
) -> None:
    voucher, _ = casting.issue(merchant)
    taken = redeem(voucher, 3000)
    form = form_of(anna, voucher, "reversals")
    with transaction():
        ledger.reverse(taken, operation_key="till", actor="till")
    answer = anna.post(f"{page_of(voucher)}/reversals", data=form | {"seen": "5000"}, headers=HTMX)
    assert answer.status_code == 200 and "This redemption was undone before." in words(answer.text)
    assert Voucher.get_by_id(voucher.id).balance_minor == 5000


def test_only_a_redemption_of_this_voucher_is_given_back(anna: Browser, merchant: Merchant) -> None:
    voucher, other = casting.issue(merchant)[0], casting.issue(merchant)[0]
    redeem(voucher, 3000)
    foreign = redeem(other, 3000)
    form = form_of(anna, voucher, "reversals")
    for transaction_id in (foreign.public_id, voucher.issue.public_id, "", "txn_x", "\0", "💶"):
        for action in ("reversals", "refunds"):
            data = form | {"transaction": transaction_id, "amount": "1"}
            assert anna.post(f"{page_of(voucher)}/{action}", data=data).status_code == 404
    assert len(booked(voucher)) == len(booked(other)) == 2


# Validity


def test_an_expired_voucher_lives_again_until_the_end_of_its_new_last_day(
    app: flask.Flask, anna: Browser, merchant: Merchant
) -> None:
    voucher, code = casting.issue(merchant, expires_at=clock.now() - timedelta(days=3))
    assert api_says(app, merchant, code) == "voucher_expired"
    act(anna, voucher, "validity", expires_on="2031-07-15")
    assert api_says(app, merchant, code) is None
    # Midnight in Vienna, in summer.
    assert Voucher.get_by_id(voucher.id).expires_at.isoformat() == "2031-07-15T21:59:59.999999+00:00"
    page = anna.get(page_of(voucher)).text
    assert 'value="2031-07-15"' in page and "→ 15 July 2031" in words(page)
    act(anna, voucher, "validity", expires_on="2031-07-15")
    act(anna, voucher, "validity", expires_on="")
    assert Voucher.get_by_id(voucher.id).expires_at is None
    assert told(voucher) == [("voucher_changed", "Anna")] * 2
    assert "last day: 15 July 2031 → none" in words(anna.get(page_of(voucher)).text)


def test_today_is_still_a_last_day(anna: Browser, merchant: Merchant) -> None:
    voucher, _ = casting.issue(merchant)
    today = clock.today(merchant.time_zone).isoformat()
    assert act(anna, voucher, "validity", expires_on=today).status_code == 303
    assert not Voucher.get_by_id(voucher.id).is_expired(clock.now())


def test_a_last_day_before_the_first_is_refused(anna: Browser, merchant: Merchant) -> None:
    starts = clock.now() + timedelta(days=30)
    voucher, _ = casting.issue(merchant, valid_from=starts)
    answer = act(anna, voucher, "validity", expires_on=(starts - timedelta(days=3)).date().isoformat())
    assert answer.status_code == 422 and "The last day must come after the first." in words(answer.text)


# Holds


def test_what_a_till_holds_is_shown_and_released_once(ben: Browser, merchant: Merchant) -> None:
    voucher, _ = casting.issue(merchant)
    held, forgotten = hold(voucher, 2000), hold(voucher, 500, life=timedelta(seconds=1))
    clock.move(timedelta(seconds=5))
    page = words(ben.get(page_of(voucher)).text)
    assert "€30.00 available" in page and "€20.00 held by tills" in page
    form = form_of(ben, voucher, "releases")
    assert form["hold"] == held.public_id
    assert [ben.post(f"{page_of(voucher)}/releases", data=form).status_code for _ in range(2)] == [303, 303]
    assert Hold.get_by_id(held.id).state == HoldState.RELEASED
    assert told(voucher) == [("hold_released", "Ben")]
    page = words(ben.get(page_of(voucher)).text)
    assert "Hold of €20.00 released" in page and "available" not in page
    assert forgotten.public_id not in page


def test_a_hold_that_paid_its_bill_cannot_be_released(ben: Browser, merchant: Merchant) -> None:
    voucher, _ = casting.issue(merchant)
    held = hold(voucher, 2000)
    form = form_of(ben, voucher, "releases")
    with transaction():
        holds.capture(held, operation_key="c", actor="till")
    answer = ben.post(f"{page_of(voucher)}/releases", data=form, headers=HTMX)
    assert answer.status_code == 200 and "The hold has paid its bill." in words(answer.text)
    other, _ = casting.issue(merchant)
    elsewhere = hold(other, 100)
    for hold_id in (elsewhere.public_id, "", "hld_x", "\0"):
        assert ben.post(f"{page_of(voucher)}/releases", data=form | {"hold": hold_id}).status_code == 404
    assert Hold.get_by_id(elsewhere.id).state == HoldState.ACTIVE


# People


OWNERS_ALONE = ("activation", "cancellation", "validity", "adjustments")
EVERYBODY = ("suspension", "suspension/end", "refunds", "reversals", "releases")


def test_staff_may_not_make_or_end_money_and_reads_why(ben: Browser, merchant: Merchant) -> None:
    voucher, _ = casting.issue(merchant)
    page = ben.get(page_of(voucher)).text
    assert words(page).count("Only owners can do this. Ask Anna.") == 3
    assert page.count('aria-disabled="true"') == 3
    assert not any(f'action="{page_of(voucher)}/{action}"' in page for action in OWNERS_ALONE)
    data = {"csrf_token": sales.csrf(page), "nonce": "n" * 16, "seen": "5000", "amount": "5", "direction": "add"}
    for action in OWNERS_ALONE:
        answer = ben.post(f"{page_of(voucher)}/{action}", data=data | {"reason": "x", "expires_on": "2090-01-01"})
        assert answer.status_code == 403, action
    assert (booked(voucher), status_of(voucher), told(voucher)) == ([("issue", 5000)], "active", [])


@pytest.mark.req("T6", "G11")
def test_a_voucher_of_another_shop_does_not_exist_here(app: flask.Flask, cast: casting.Cast) -> None:
    theirs, _ = casting.issue(cast.berg)
    taken, held = redeem(theirs, 1000), hold(theirs, 1000)
    mine, _ = casting.issue(cast.alba)
    before = booked(theirs)
    for email in ("anna@alba.example", "ben@alba.example"):
        client = signed_in(app, email)
        data = {"csrf_token": sales.csrf(client.get("/dashboard").text), "nonce": "n" * 16, "seen": "4000"}
        data |= {"amount": "1", "direction": "add", "reason": "x", "expires_on": "2090-01-01"}
        data |= {"transaction": taken.public_id, "hold": held.public_id}
        for action in (*OWNERS_ALONE, *EVERYBODY):
            assert client.post(f"{page_of(theirs)}/{action}", data=data).status_code == 404, action
        for action in ("refunds", "reversals", "releases"):
            assert client.post(f"{page_of(mine)}/{action}", data=data).status_code == 404, action
    assert (booked(theirs), status_of(theirs), told(theirs)) == (before, "active", [])
    assert Hold.get_by_id(held.id).state == HoldState.ACTIVE


# The page


def test_with_javascript_the_changed_piece_comes_back_and_says_so(anna: Browser, merchant: Merchant) -> None:
    voucher, _ = casting.issue(merchant)
    form = form_of(anna, voucher, "adjustments", direction="add", amount="5", reason="goodwill")
    answer = anna.post(f"{page_of(voucher)}/adjustments", data=form, headers=HTMX)
    assert answer.status_code == 200 and "<html" not in answer.text and "€55.00" in answer.text
    assert answer.headers["HX-Trigger"] == '{"toast": "Balance corrected"}'
    assert "HX-Request" in answer.headers["Vary"]


def test_the_piece_stands_verbatim_in_its_page(anna: Browser, merchant: Merchant) -> None:
    voucher, _ = casting.issue(merchant)
    redeem(voucher, 1000)
    hold(voucher, 1000)
    page, piece = (anna.get(page_of(voucher), headers=headers).text for headers in ({}, HTMX))
    drop = re.compile(r'name="(?:nonce|csrf_token)" value="[^"]*"|\s+')
    assert drop.sub("", piece) in drop.sub("", page)


def test_no_two_forms_of_a_page_share_a_nonce(anna: Browser, merchant: Merchant) -> None:
    voucher, _ = casting.issue(merchant)
    redeem(voucher, 1000)
    redeem(voucher, 500)
    nonces = re.findall(r'name="nonce" value="([^"]+)"', anna.get(page_of(voucher)).text)
    assert len(nonces) == len(set(nonces)) == 5


@pytest.mark.req("T12")
@pytest.mark.parametrize(
    "reason", ["<script>alert(1)</script>", "%(amount)s %s %", "{{ 7*7 }}", "\u202eevil", "a\nb\0c"]
)
def test_a_reason_is_text_and_nothing_else(anna: Browser, merchant: Merchant, reason: str) -> None:
    voucher, _ = casting.issue(merchant)
    assert act(anna, voucher, "adjustments", direction="add", amount="5", reason=reason).status_code == 303
    page = anna.get(page_of(voucher))
    assert page.status_code == 200 and "<script>alert" not in page.text and "\u202e" not in page.text
    assert "\0" not in voucher.entries.first().reason


# Words


FACTS: dict[str, dict[str, object]] = {
    "voucher_changed": {
        "changes": {"expires_at": [None, "2031-07-15T21:59:59+00:00"], "is_transferable": [True, False]}
    },
    "voucher_status_changed": {"before": "active", "after": "suspended", "reason": "lost"},
    "voucher_refunded": {"amount_minor": 1200, "balance_after_minor": 3000, "reason": "soup"},
    "voucher_adjusted": {"amount_minor": -500, "balance_after_minor": 2500, "reason": "goodwill"},
    "redemption_reversed": {"amount_minor": 1000, "balance_after_minor": 5000, "reason": ""},
    "hold_placed": {"amount_minor": 2000, "expires_at": "2026-05-04T12:00:00+00:00"},
    "hold_captured": {"amount_minor": 2000, "balance_after_minor": 3000},
    "hold_released": {"amount_minor": 2000},
    "api_key_created": {"name": "Bar", "key_id": "0" * 12},
    "api_key_rolled": {"name": "Bar", "key_id": "0" * 12, "ends_at": "2026-05-04T12:00:00+00:00"},
    "api_key_revoked": {"name": "Bar", "key_id": "0" * 12},
    "batch_started": {"name": "Spring", "batch_kind": "issue"},
    "batch_finished": {"name": "Old till", "batch_kind": "import", "done": 250, "failed": 2, "value_minor": 1250000},
    "codes_exported": {"count": 12},
}
SAID = {
    "voucher_changed": "Changed: last day: none → 15 July 2031, transferable: yes → no",
    "voucher_status_changed": "Voucher blocked – lost",
    "voucher_adjusted": "Balance corrected by −€5.00, €25.00 left – goodwill",
    "redemption_reversed": "Redemption undone, €10.00 given back, €50.00 left",
    "batch_finished": "Import “Old till” finished: 250 made, 2 failed, worth €12,500.00",
}


@pytest.mark.parametrize("locale", ["en", "de"])
def test_every_kind_has_its_sentence_and_no_fact_can_break_it(merchant: Merchant, locale: str) -> None:
    strange: tuple[object, ...] = (
        None,
        [],
        {},
        "x",
        "9" * 400,
        -1,
        0.5,
        True,
        [1],
        {"a": [1, 2, 3]},
        "0001-01-01T00:00+00:00",
    )
    names = {name for facts in FACTS.values() for name in facts} | {
        "currency",
        "step",
        "next_at",
        "size",
        "kind",
        "batch_kind",
        "batch",
    }
    with current_app.test_request_context(), flask_babel.force_locale(locale):
        g.merchant = merchant
        for kind, facts in FACTS.items():
            assert kind in sentences.KINDS
            (line,) = said(merchant, kind, facts)
            assert "%(" not in line and "–" not in line.replace(" – ", ""), line
            assert locale == "de" or line == SAID.get(kind, line)
        for kind in (*sentences.KINDS, "something_new"):
            for value in strange:
                (line,) = said(merchant, kind, dict.fromkeys(names, value))
                assert line and "%(" not in line


def said(merchant: Merchant, kind: str, facts: dict[str, object]) -> list[str]:
    entry = TimelineEntry(id=1, merchant=merchant, kind=kind, facts=facts, actor="key:Bar", created_at=clock.now())
    return [line.sentence for line in sentences.lines([entry], currency="EUR")]


def test_each_kind_of_booking_and_each_actor_has_its_words(merchant: Merchant) -> None:
    assert set(wording.ENTRY_KINDS) == set(EntryKind)
    assert set(wording.SCOPES) == set(api_keys.Scope)
    with current_app.test_request_context(), flask_babel.force_locale("en"):
        assert [wording.actor(name) for name in ("key:Bar", "Anna", "operator")] == [
            "key “Bar”",
            "Anna",
            "the operator",
        ]


def at_once(count: int, work: Callable[[], tuple[int, str | None]]) -> list[tuple[int, str | None]]:
    start = threading.Barrier(count)

    def run_one(_: int) -> tuple[int, str | None]:
        start.wait()
        return work()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run_one, range(count)))
