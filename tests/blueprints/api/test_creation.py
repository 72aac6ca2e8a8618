"""New vouchers: made once, their code told to whoever has the Idempotency-Key, and readable nowhere in the database."""

from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from domain import clock, codes
from models import IdempotencyRecord, Merchant, Voucher
from tests import till as tills
from tests.till import Counter, Sell

OWN = "SPA-Day 2026 / 47"  # not a code
OWN_CODES = ("WELLNESS-2026-0042", "aaaa bbbb", "7KQ4-M2XD-9PVT-3HAF", "x" * 64, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")


@pytest.mark.req("S2-01")
def test_the_code_is_in_the_answer_and_in_its_replay_and_in_no_other(office: Counter, till: Counter) -> None:
    first, again = (office.create(key="one") for _ in range(2))
    assert first.data == again.data
    assert again.headers["Idempotent-Replayed"] == "true"
    assert Voucher.select().count() == 1
    code, voucher = first.json["code"], Voucher.get()
    assert codes.is_well_formed(codes.normalise(code))
    assert first.json["code_last4"] == code[-4:]
    others = [office.read(voucher), office.call("list_vouchers"), office.change(voucher, customer_id="c")]
    others += [till.call("lookup", {"code": code}), till.validate(code), till.redeem(code, 1), till.hold(code, 1)]
    others += [office.call("list_transactions"), till.story("one"), office.create(key="one", type="referral")]
    for answer in others:
        assert code not in answer.text and codes.normalise(code) not in answer.text, answer.request.path


@pytest.mark.req("S2-01")
@pytest.mark.parametrize("own", [None, "WELLNESS-2026-0042"])
def test_the_code_stands_nowhere_in_the_database(office: Counter, till: Counter, own: str | None) -> None:
    code = office.create(key="one", **({"code": own} if own else {})).json["code"]
    till.redeem(code, 100, key="two")
    till.hold(code, 100, key="three")
    till.redeem(code, 100, currency="CHF", key="four")
    till.validate(code)
    till.call("lookup", {"code": code})
    if own:
        assert tills.refusal(office.create(key="five", code=own)) == (409, "code_taken")
    written = tills.dump().upper()
    assert IdempotencyRecord.select().count() >= 4 and '"CODE_LAST4"' in written
    for form in {code, codes.normalise(code), code.replace("-", ""), code.replace("-", " "), own or code}:
        assert form.upper() not in written, form


@pytest.mark.req("S2-01")
@pytest.mark.parametrize("own", OWN_CODES)
def test_a_code_of_ones_own_is_found_in_any_form(office: Counter, till: Counter, own: str) -> None:
    made = office.create(code=own)
    assert made.status_code == 201
    for form in (own, own.lower(), f" {own} ", made.json["code"], codes.normalise(own)):
        assert till.validate(form).json["valid"] is True, form


@pytest.mark.req("S2-01")
def test_a_code_of_ones_own_stays_as_its_holders_know_it(office: Counter) -> None:
    made = office.create(code="hotel-Hill 2026 ILO")
    assert (made.json["code"], made.json["code_last4"]) == ("hotel-Hill 2026 ILO", "6ILO")
    for ending in ("6ILO", "6ilo"):
        assert [row["id"] for row in office.call("list_vouchers", query={"last4": ending}).json["data"]] == [
            made.json["id"]
        ]


@pytest.mark.req("T4", "S2-01")
def test_a_code_that_cannot_be_one_is_refused_by_its_field(office: Counter) -> None:
    wrong = {
        OWN: "not_a_code",
        "ABCDEFG": "too_short",
        "A-B-C-D-E": "too_short",
        "--------": "not_a_code",
        "x" * 65: "too_long",
        "GUTSCHEIN-ÄÖÜ": "not_a_code",
        "TEST-VALID-5000": "reserved",
        " test-part-100": "reserved",
        "CODE\nCODE": "control_character",
        "CODE%CODE": "not_a_code",
        "%%%%%%%%": "not_a_code",
        "' OR 1=1--": "not_a_code",
    }
    for own, code in wrong.items():
        assert tills.errors_of(office.create(code=own)) == [("code", code)], own
    assert Voucher.select().count() == tills.answered() == 0


def test_a_code_is_given_once_for_each_merchant_and_may_be_anothers(
    client: FlaskClient, office: Counter, other_merchant: Merchant
) -> None:
    assert office.create(code="WELLNESS-0042").status_code == 201
    for same in ("WELLNESS-0042", "wellness 0042", "WE11NESS-OO42"):
        refused = office.create(code=same, key=same)
        assert tills.refusal(refused) == (409, "code_taken")
        assert office.create(code=same, key=same).data == refused.data
    stranger = tills.opened(client, other_merchant, tills.OFFICE)
    assert stranger.create(code="WELLNESS-0042").status_code == 201
    assert Voucher.select().count() == 2


@pytest.mark.req("S2-10")
def test_a_pending_voucher_pays_once_it_is_activated(office: Counter, till: Counter) -> None:
    made = office.create(status="pending").json
    assert made["status"] == "pending"
    assert till.redeem(made["code"]).json["display"]["en"] == "Not active yet."
    voucher = Voucher.get()
    assert office.change(voucher, status="active").json["status"] == "active"
    assert till.redeem(made["code"]).status_code == 201
    for status in ("suspended", "cancelled", "depleted", "expired", None, ""):
        assert tills.errors_of(office.create(status=status)) == [("status", "not_allowed")]


def test_the_term_is_the_merchants_unless_the_call_says_otherwise(office: Counter, merchant: Merchant) -> None:
    usual = office.create().json["expires_at"]
    assert usual is not None and usual > (clock.now() + timedelta(days=300)).isoformat()
    assert office.create(expires_at=None).json["expires_at"] is None
    given = office.create(valid_from="2027-01-01T00:00:00+02:00", expires_at="2027-01-02T00:00:00.5Z").json
    assert (given["valid_from"], given["expires_at"]) == ("2026-12-31T22:00:00.000Z", "2027-01-02T00:00:00.500Z")
    same = office.create(valid_from="2027-01-01T00:00:00Z", expires_at="2027-01-01T00:00:00Z")
    assert tills.errors_of(same) == [("expires_at", "not_after_start")]


def test_a_voucher_that_would_end_before_it_begins_is_not_made_with_the_usual_term_either(office: Counter) -> None:
    refused = office.create(valid_from="2190-01-01T00:00:00Z")
    assert tills.errors_of(refused) == [("valid_from", "not_after_start")]
    assert Voucher.select().count() == 0


def test_there_is_no_default_currency_and_no_default_type(office: Counter) -> None:
    answer = office.call("create_voucher", {})
    assert set(tills.errors_of(answer)) == {
        ("type", "required"), ("currency", "required"), ("initial_balance_minor", "required"),
    }  # fmt: skip


def test_a_till_cannot_find_out_a_taken_code_by_creating(till: Counter, sell: Sell, merchant: Merchant) -> None:
    _, code = sell(merchant)
    assert tills.refusal(till.create(code=code)) == (403, "insufficient_scope")
