"""A till that lost an answer: it asks what happened, and takes the call back by its own key."""

import pytest
from flask.testing import FlaskClient

from domain import audit
from models import Entry, IdempotencyRecord, Merchant, TimelineEntry, Voucher
from tests import cast as casting
from tests import till as tills
from tests.till import Counter, Sell


@pytest.fixture
def sold(merchant: Merchant, sell: Sell) -> tuple[Voucher, str]:
    """A voucher of 50.00."""
    return sell(merchant)


def _reversals() -> int:
    return int(Entry.select().where(Entry.kind == "reverse").count())


@pytest.mark.req("F46")
def test_after_a_lost_answer_the_till_reads_it_and_takes_the_money_back(
    till: Counter, sold: tuple[Voucher, str]
) -> None:
    voucher, code = sold
    lost = till.redeem(code, 3000, key="bill-7").json
    assert till.story("bill-7").json["answer"]["body"] == lost
    answer = till.reverse("bill-7", reason="No paper")
    assert "Idempotent-Replayed" not in answer.headers
    assert (answer.json["redemption"]["id"], answer.json["outcome"]) == (lost["transaction"]["id"], "reversed")
    assert answer.json["display"]["en"] == "Reversed: €30.00 is back on the voucher."
    assert tills.balance(voucher) == 5000
    told = till.story("bill-7").json
    assert (told["outcome"], told["reversal"], told["answer"]["body"]) == ("reversed", answer.json["transaction"], lost)


@pytest.mark.req("F46")
def test_a_reversal_can_be_repeated_until_it_is_heard(till: Counter, sold: tuple[Voucher, str]) -> None:
    voucher, code = sold
    till.redeem(code, 3000, key="bill-7")
    first = till.reverse("bill-7")
    for reason in (None, "another reason"):
        again = till.reverse("bill-7", reason=reason)
        assert (again.headers["Idempotent-Replayed"], again.json) == ("true", first.json)
    assert (tills.balance(voucher), _reversals()) == (5000, 1)
    assert TimelineEntry.select().where(TimelineEntry.kind == "redemption_reversed").count() == 1


@pytest.mark.req("F46")
@pytest.mark.parametrize("verb", ["redeem", "redeem_by_id", "hold", "create_voucher", "refund", "adjust", "capture"])
def test_a_call_that_was_reversed_before_it_came_is_refused_for_ever(
    till: Counter, office: Counter, sold: tuple[Voucher, str], verb: str
) -> None:
    voucher, code = sold
    hold = till.hold(code, 100).json["hold"]
    redemption = till.redeem(code, 100).json["transaction"]
    blocked = till.reverse("late")
    assert (blocked.json["outcome"], blocked.json["transaction"], blocked.json["voucher"]) == ("blocked", None, None)
    assert blocked.json["display"]["en"] == "Nothing had been booked."
    money: dict[str, object] = {"amount_minor": 100, "currency": "EUR"}
    bodies: dict[str, dict[str, object]] = {
        "redeem": money | {"code": code},
        "redeem_by_id": money,
        "hold": money | {"code": code},
        "create_voucher": {"type": "gift_card", "currency": "EUR", "initial_balance_minor": 100},
        "refund": {"amount_minor": 100, "transaction_id": redemption["id"]},
        "adjust": {"amount_minor": 100, "reason": "x"},
        "capture": {},
    }
    before = tills.books()
    caller = office if verb in ("create_voucher", "refund", "adjust") else till
    for _ in range(2):
        late = caller.call(verb, bodies[verb], key="late", voucher_id=voucher.public_id, hold_id=hold["id"])
        assert tills.refusal(late) == (409, "already_reversed")
        assert late.json["display"]["en"] == "This booking was reversed."
    assert tills.books() == before
    assert till.story("late").json == {
        "outcome": "blocked", "idempotency_key": "late", "transaction": None, "reversal": None, "answer": None,
    }  # fmt: skip
    again = till.reverse("late")
    assert (again.json, again.headers["Idempotent-Replayed"]) == (blocked.json, "true")


@pytest.mark.req("F46")
def test_what_happened_knows_all_five_stories(till: Counter, sold: tuple[Voucher, str]) -> None:
    _, code = sold
    till.redeem(code, 100, key="booked")
    till.redeem(code, 100, key="reversed")
    till.reverse("reversed")
    refused = till.redeem(code, 100, currency="CHF", key="refused")
    till.reverse("blocked")
    told = {name: till.story(name).json for name in ("booked", "reversed", "refused", "blocked", "never_seen")}
    assert {name: answer["outcome"] for name, answer in told.items()} == {name: name for name in told}
    assert told["refused"]["answer"] == {"status": 422, "body": refused.json}
    assert (told["never_seen"]["transaction"], told["never_seen"]["answer"]) == (None, None)
    reversal = till.reverse("refused")
    assert (reversal.json["outcome"], reversal.json["transaction"]) == ("refused", None)
    assert till.story("never_seen").json["outcome"] == "never_seen"  # to ask leaves no trace
    assert IdempotencyRecord.get_or_none(IdempotencyRecord.key == "never_seen") is None


@pytest.mark.req("F46")
def test_the_key_of_a_capture_has_its_story_and_is_reversed_too(till: Counter, sold: tuple[Voucher, str]) -> None:
    voucher, code = sold
    hold = till.hold(code, 3000, key="the-hold").json["hold"]
    till.capture(hold["id"], amount_minor=2000, key="the-bill")
    assert till.story("the-bill").json["transaction"]["amount_minor"] == -2000
    answer = till.reverse("the-bill")
    assert (answer.json["outcome"], answer.json["voucher"]["available_minor"]) == ("reversed", 5000)
    assert till.call("read_hold", hold_id=hold["id"]).json["hold"]["state"] == "captured"
    assert tills.balance(voucher) == 5000


@pytest.mark.req("F46")
def test_the_key_of_another_kind_of_call_has_no_story_here(
    till: Counter, office: Counter, sold: tuple[Voucher, str]
) -> None:
    voucher, code = sold
    transaction = till.redeem(code, 100).json["transaction"]
    till.hold(code, 100, key="hold")
    office.refund(transaction, 50, key="refund")
    office.adjust(voucher, 50, key="adjust")
    made = office.create(key="create").json
    before = tills.books()
    for name in ("hold", "refund", "adjust", "create"):
        for answer in (till.story(name), till.reverse(name)):
            assert tills.refusal(answer) == (422, "idempotency_conflict"), name
            assert made["code"] not in answer.text
    assert tills.books() == before


@pytest.mark.req("F46", "S2-07")
def test_a_reversal_gives_back_only_what_refunds_have_left(
    till: Counter, office: Counter, sold: tuple[Voucher, str]
) -> None:
    voucher, code = sold
    part = till.redeem(code, 1000, key="part").json["transaction"]
    office.refund(part, 400)
    assert till.reverse("part").json["transaction"]["amount_minor"] == 600
    assert tills.refusal(office.refund(part, 1)) == (409, "already_reversed")
    whole = till.redeem(code, 1000, key="whole").json["transaction"]
    office.refund(whole, 1000)
    refused = till.reverse("whole")
    assert tills.refusal(refused) == (422, "refund_exceeds_redemption")
    assert refused.json["refundable_minor"] == 0
    assert tills.balance(voucher) == 5000


@pytest.mark.req("F46")
@pytest.mark.parametrize("status", ["suspended", "cancelled"])
def test_a_reversal_works_in_every_status_and_revives_none(
    till: Counter, sold: tuple[Voucher, str], status: str
) -> None:
    voucher, code = sold
    till.redeem(code, 3000, key="bill-7")
    casting.set_status(voucher, status)
    answer = till.reverse("bill-7").json
    assert (answer["outcome"], answer["voucher"]["status"], tills.balance(voucher)) == ("reversed", status, 5000)


@pytest.mark.req("F46", "T6")
def test_a_test_key_cannot_touch_what_a_live_key_booked_nor_a_strangers(
    client: FlaskClient, merchant: Merchant, other_merchant: Merchant, sell: Sell
) -> None:
    live = tills.opened(client, merchant, is_test=False)
    voucher, code = sell(merchant, is_test=False)
    live.redeem(code, 3000, key="bill-7")
    before = tills.books()
    test, stranger = tills.opened(client, merchant), tills.opened(client, other_merchant, is_test=False)
    for other in (test, stranger):
        assert other.story("bill-7").json["outcome"] == "never_seen"
        assert other.reverse("bill-7").json["outcome"] == "blocked"
        assert other.reverse("bill-8").json["outcome"] == "blocked"
    assert tills.books() == before
    assert live.story("bill-7").json["outcome"] == "booked"
    assert live.reverse("bill-7").json["outcome"] == "reversed"
    assert tills.balance(voucher) == 5000
    # What they blocked in advance is their own.
    assert live.redeem(code, 100, key="bill-8").status_code == 201


@pytest.mark.req("F45")
def test_the_same_key_and_body_in_test_and_in_live_mode_are_two_requests(
    client: FlaskClient, merchant: Merchant, sell: Sell
) -> None:
    test, live = tills.opened(client, merchant), tills.opened(client, merchant, is_test=False)
    voucher, code = sell(merchant, is_test=False)
    assert tills.refusal(test.redeem(code, 100, key="same")) == (404, "voucher_not_found")
    answer = live.redeem(code, 100, key="same")
    assert (answer.status_code, answer.headers.get("Idempotent-Replayed")) == (201, None)
    assert tills.balance(voucher) == 4900
    assert audit.is_clean(audit.run())


@pytest.mark.req("F46")
def test_blanks_around_a_key_are_no_difference_as_in_a_header(till: Counter, sold: tuple[Voucher, str]) -> None:
    voucher, code = sold
    till.redeem(code, 100, key="  bill 7 ")
    assert till.story(" bill 7").json["outcome"] == "booked"
    assert till.reverse("bill 7  ").json["outcome"] == "reversed"
    assert tills.balance(voucher) == 5000
    for blank in ("", " ", "   "):
        assert tills.refusal(till.reverse(blank)) == (422, "validation_failed")
        assert tills.refusal(till.story(blank)) == (422, "validation_failed")
