"""Many tills, one voucher, one moment: the balance is never wrong."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import flask
import pytest

import database
from domain import api_keys, entries, ledger
from effects import voucher as vouchers
from models import Entry, IdempotencyRecord, Merchant, TimelineEntry, Voucher

PATH = "/api/v1/vouchers/redeem"


@pytest.fixture
def voucher(app: flask.Flask, merchant: Merchant) -> Voucher:
    """A voucher of 10.00."""
    with app.app_context():
        code = vouchers.mint(merchant)
    with database.transaction():
        return ledger.issue(
            merchant, value_minor=1000, currency="EUR", code=code, operation_key="issue:1", actor="shop", is_test=True
        )


def _all_at_once(
    app: flask.Flask, voucher: Voucher, keys: list[str], **more: object
) -> list[tuple[int, dict[str, object], bool]]:
    """One POST per idempotency key, all let go together; status, body and whether it was a replay."""
    _, text = api_keys.create(voucher.merchant, name="Till", scopes=["pos:redeem"], is_test=True)
    with app.app_context():
        code = vouchers.read_code(voucher)
    body = {"code": code, "amount_minor": 300, "currency": "EUR"} | more
    together = threading.Barrier(len(keys))

    def call(key: str) -> tuple[int, dict[str, object], bool]:
        headers = {"Authorization": f"Bearer {text}", "Idempotency-Key": key}
        client = app.test_client()
        together.wait(timeout=20)
        answer = client.post(PATH, json=body, headers=headers)
        return answer.status_code, answer.json, "Idempotent-Replayed" in answer.headers

    with ThreadPoolExecutor(len(keys)) as pool:
        return [future.result(timeout=60) for future in [pool.submit(call, key) for key in keys]]


def _assert_books_agree(voucher: Voucher, balance_minor: int, redemptions: int) -> None:
    booked = list(Entry.select().where(Entry.voucher == voucher).order_by(Entry.seq))
    assert Voucher.get_by_id(voucher.id).balance_minor == balance_minor == sum(e.amount_minor for e in booked)
    assert [entry.seq for entry in booked] == list(range(1, redemptions + 2))
    previous = ""
    for entry in booked:
        assert entry.hash == entries.chain_hash(previous, entries.chained_facts(entry))
        previous = entry.hash
    told = TimelineEntry.select().where(TimelineEntry.voucher == voucher, TimelineEntry.kind == "voucher_redeemed")
    assert told.count() == redemptions


@pytest.mark.req("F48", "F50")
def test_twenty_exact_redemptions_of_three_on_ten_succeed_three_times(app: flask.Flask, voucher: Voucher) -> None:
    answers = _all_at_once(app, voucher, [f"k-{number}" for number in range(20)], mode="exact")
    assert Counter(status for status, _, _ in answers) == {201: 3, 409: 17}
    refused = [body for status, body, _ in answers if status == 409]
    assert {(body["code"], body["available_minor"]) for body in refused} == {("insufficient_balance", 100)}
    _assert_books_agree(voucher, balance_minor=100, redemptions=3)


@pytest.mark.req("F48", "F50", "S2-19")
def test_up_to_the_balance_the_fourth_takes_the_rest_and_the_others_nothing(app: flask.Flask, voucher: Voucher) -> None:
    answers = _all_at_once(app, voucher, [f"k-{number}" for number in range(20)])
    taken = sorted(body["transaction"]["amount_minor"] for status, body, _ in answers if status == 201)  # type: ignore[index]
    assert taken == [-300, -300, -300, -100]
    assert Counter(body.get("code") for status, body, _ in answers if status != 201) == {"voucher_depleted": 16}
    assert {status for status, _, _ in answers} == {201, 422}
    _assert_books_agree(voucher, balance_minor=0, redemptions=4)


@pytest.mark.req("F45", "F48")
def test_twelve_clients_with_one_key_book_once_and_hear_the_same(app: flask.Flask, voucher: Voucher) -> None:
    answers = _all_at_once(app, voucher, ["same"] * 12)
    assert {status for status, _, _ in answers} == {201}
    assert all(body == answers[0][1] for _, body, _ in answers)
    assert sorted(is_replay for _, _, is_replay in answers) == [False] + [True] * 11
    assert IdempotencyRecord.select().count() == 1
    _assert_books_agree(voucher, balance_minor=700, redemptions=1)
