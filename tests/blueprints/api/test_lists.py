"""Lists in pages: every filter, and a cursor that skips and repeats nothing while new rows come."""

import base64
import json
from datetime import timedelta

import pytest

from domain import clock
from models import Entry, Merchant, Voucher
from tests import bookings
from tests import cast as casting
from tests import till as tills
from tests.till import Counter, Sell


def _ids(answer: object) -> list[str]:
    return [each["id"] for each in answer.json["data"]]  # type: ignore[attr-defined]


@pytest.mark.req("S2-01")
@pytest.mark.parametrize("name", ["list_vouchers", "list_transactions"])
def test_a_walk_over_250_rows_skips_and_repeats_none_while_new_ones_come(
    office: Counter, merchant: Merchant, sell: Sell, name: str
) -> None:
    for _ in range(250):
        sell(merchant, 100)
    table = Voucher if name == "list_vouchers" else Entry
    wanted = [row.public_id for row in table.select().order_by(table.created_at.desc(), table.id.desc())]
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(40):
        page = office.call(name, query={"limit": 33} | ({"cursor": cursor} if cursor else {}))
        seen += _ids(page)
        sell(merchant, 100)  # a new one at the top
        casting.issue(merchant, value_minor=100, is_test=False)
        cursor = page.json["next_cursor"]
        if cursor is None:
            break
    assert seen == wanted


@pytest.mark.parametrize("name", ["list_vouchers", "list_transactions"])
def test_rows_of_the_same_moment_are_neither_skipped_nor_repeated(
    office: Counter, merchant: Merchant, sell: Sell, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bookings.stop_the_clock(monkeypatch)
    made = [sell(merchant, 100)[0] for _ in range(7)]
    seen: list[str] = []
    query: dict[str, object] = {"limit": 2}
    while True:
        page = office.call(name, query=query)
        seen += [each.get("voucher_id", each["id"]) for each in page.json["data"]]
        if page.json["next_cursor"] is None:
            break
        query["cursor"] = page.json["next_cursor"]
    assert seen == [voucher.public_id for voucher in reversed(made)]


def test_the_last_page_has_no_cursor_whether_it_is_full_or_not(office: Counter, merchant: Merchant, sell: Sell) -> None:
    for _ in range(3):
        sell(merchant)
    for limit, rows in ((1, 1), (2, 2), (3, 3), (4, 3), (100, 3)):
        page = office.call("list_vouchers", query={"limit": limit}).json
        assert (len(page["data"]), page["next_cursor"] is None) == (rows, limit >= 3)
    for limit in ("0", "101", "-1", "1.0", "1e1", "", "x", "٣", " 1", "+1", "9" * 30):
        refused = office.call("list_vouchers", query={"limit": limit})
        assert refused.status_code == 422 and refused.json["errors"][0]["field"] == "limit", limit


@pytest.mark.req("S2-01")
def test_every_filter_of_the_vouchers_keeps_what_it_names(
    office: Counter, till: Counter, merchant: Merchant, sell: Sell
) -> None:
    early = sell(merchant)[0]
    clock.move(timedelta(days=1))
    between = (clock.now() - timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    rows = {
        "active": sell(merchant)[0],
        "pending": sell(merchant, status="pending")[0],
        "suspended": sell(merchant, status="suspended")[0],
        "cancelled": sell(merchant, status="cancelled")[0],
        "expired": sell(merchant, expires_at=clock.now() - timedelta(days=1))[0],
        "depleted": sell(merchant)[0],
        "credit": sell(merchant, type="store_credit")[0],
        "chf": sell(merchant, currency="CHF")[0],
        "annas": sell(merchant, customer_id="anna")[0],
    }
    body = {"amount_minor": 5000, "currency": "EUR"}
    till.call("redeem_by_id", body, voucher_id=rows["depleted"].public_id)
    names = {voucher.public_id: name for name, voucher in rows.items()} | {early.public_id: "early"}

    def found(**query: object) -> set[str]:
        return {names[each] for each in _ids(office.call("list_vouchers", query=query))}

    everything = set(names.values())
    for status in ("pending", "suspended", "cancelled", "expired", "depleted"):
        assert found(status=status) == {status}
    assert found(status="active") == {"active", "credit", "chf", "annas", "early"}
    assert found(type="store_credit") == {"credit"}
    assert found(currency="CHF") == {"chf"}
    assert found(customer_id="anna") == {"annas"}
    assert found(has_balance="false") == {"depleted"}
    assert found(has_balance="true") == everything - {"depleted"}
    assert found(created_before=between) == {"early"}
    assert found(created_after=between) == everything - {"early"}
    assert found(last4=rows["chf"].code_last4.lower()) >= {"chf"}
    assert found(status="active", currency="EUR", has_balance="true", created_after=between) == {
        "active", "credit", "annas",
    }  # fmt: skip
    assert found(status="active", type="referral") == set()


@pytest.mark.req("S1-34")
def test_every_filter_of_the_transactions_keeps_what_it_names(
    office: Counter, till: Counter, merchant: Merchant, sell: Sell
) -> None:
    voucher, code = sell(merchant)
    clock.move(timedelta(days=1))
    between = (clock.now() - timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    redeemed = till.redeem(code, 1000, key="k-redeem", reference="R-1").json["transaction"]
    office.refund(redeemed, 100, key="k-refund")
    till.reverse("k-redeem")
    office.adjust(voucher, 7, key="k-adjust")
    made = office.create(key="k-issue").json

    def found(**query: object) -> list[str]:
        listed = office.call("list_transactions", query=query).json["data"]
        whole = office.call("list_voucher_transactions", query=query, voucher_id=voucher.public_id).json["data"]
        assert [each for each in listed if each["voucher_id"] == voucher.public_id] == whole
        return [each["type"] for each in listed]

    assert found() == ["issue", "adjust", "reverse", "refund", "redeem", "issue"]
    for kind in ("redeem", "refund", "reverse", "adjust"):
        assert found(type=kind) == [kind]
    assert found(type="expire") == []
    assert found(reference="R-1") == ["redeem"]
    assert found(created_before=between) == ["issue"]
    assert found(created_after=between) == ["issue", "adjust", "reverse", "refund", "redeem"]
    for key, kinds in {
        "k-redeem": ["reverse", "redeem"], "k-refund": ["refund"], "k-adjust": ["adjust"], "k-issue": ["issue"],
        "k": [], "redeem:k-redeem": [],
    }.items():  # fmt: skip
        assert found(idempotency_key=key) == kinds, key
    of_refund = office.call("list_transactions", query={"type": "refund"}).json["data"][0]
    assert (of_refund["redemption_id"], of_refund["actor"]) == (redeemed["id"], "key:Office")
    assert made["code"] not in office.call("list_transactions").text


@pytest.mark.req("T30")
@pytest.mark.parametrize(
    "wild", ["%", "_", "____", "%%", "*", "?", "' OR 1=1--", '"', "\\", "[a-z]%", "anna%", "x' --"]
)
def test_wildcards_and_quotes_in_a_filter_are_letters(
    office: Counter, till: Counter, merchant: Merchant, sell: Sell, wild: str
) -> None:
    voucher, code = sell(merchant, customer_id="anna")
    till.redeem(code, 1, reference="R-1", key="key-1")
    for query in ({"customer_id": wild}, {"last4": wild[:8]}):
        assert _ids(office.call("list_vouchers", query=query)) == [], query
    for query in ({"reference": wild}, {"idempotency_key": wild}):
        assert _ids(office.call("list_transactions", query=query)) == [], query
    other, other_code = sell(merchant, customer_id=wild)
    till.redeem(other_code, 1, reference=wild, key=wild)
    assert _ids(office.call("list_vouchers", query={"customer_id": wild})) == [other.public_id]
    for query in ({"reference": wild}, {"idempotency_key": wild}):
        found = office.call("list_transactions", query=query).json["data"]
        assert [each["voucher_id"] for each in found] == [other.public_id]
    assert till.story(wild).json["outcome"] == "booked"


@pytest.mark.req("T30")
@pytest.mark.parametrize(
    "query", [{"sort": "balance;drop"}, {"order": "1"}, {"Limit": "1"}, {"offset": "1"}, {"": "1"}]
)
def test_a_parameter_that_does_not_exist_is_refused_and_never_ignored(office: Counter, query: dict[str, str]) -> None:
    for name in ("list_vouchers", "list_transactions"):
        refused = office.call(name, query=dict(query))
        assert tills.errors_of(refused) == [(next(iter(query)), "unknown_field")]


def test_a_parameter_that_comes_twice_is_refused(office: Counter) -> None:
    for query in ("limit=1&limit=100", "status=active&status=active"):
        refused = office.open("GET", f"{tills.BASE}/vouchers?{query}")
        assert tills.errors_of(refused) == [(query.partition("=")[0], "repeated")]


def _cursor(plain: object) -> str:
    raw = plain if isinstance(plain, bytes) else json.dumps(plain).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


NOW = "2026-05-01T12:00:00+00:00"
TAMPERED = [
    "", "x", "=", "%%%", "ü", "💶", "a" * 255, "[]", _cursor([]), _cursor({}), _cursor(None), _cursor(5), _cursor("x"),
    _cursor([NOW]), _cursor([NOW, "1"]), _cursor([NOW, True]), _cursor([NOW, 0]), _cursor([NOW, -1]),
    _cursor([NOW, 1.5]), _cursor([NOW, 2**63]), _cursor([NOW, 10**100]), _cursor([NOW, 1, 1]), _cursor([1, 1]),
    _cursor([None, 1]), _cursor(["2026-05-01", 1]), _cursor(["2026-05-01T12:00:00", 1]), _cursor(["x", 1]),
    _cursor(["0001-01-01T00:00:00+00:00", 1]), _cursor(["0001-01-01T00:00:00+23:59", 1]),
    _cursor(["9999-12-31T23:59:59-23:59", 1]), _cursor(["9999-12-31T23:59:59.999999+00:00", 1]),
    _cursor(["2026-05-01T12:00:00+00:00' OR 1=1", 1]), _cursor(b"\xff\xfe"), _cursor(b"[" * 180), _cursor(b"[NaN, 1]"),
    _cursor(b"[" + b"9" * 180 + b", 1]"), _cursor([NOW, "1; DROP TABLE entries"]), "'; DROP TABLE vouchers;--",
]  # fmt: skip


@pytest.mark.req("T30", "T31")
def test_a_tampered_cursor_is_named_and_never_followed(office: Counter, merchant: Merchant, sell: Sell) -> None:
    for _ in range(3):
        sell(merchant)
    good = office.call("list_vouchers", query={"limit": 1}).json["next_cursor"]
    assert len(_ids(office.call("list_vouchers", query={"cursor": good}))) == 2
    for cursor in [*TAMPERED, good + "x", good[:-3], good.swapcase(), "a" * 256]:
        for name in ("list_vouchers", "list_transactions"):
            answer = office.call(name, query={"cursor": cursor})
            assert answer.status_code == 422 and answer.json["errors"][0]["field"] == "cursor", cursor


def test_a_held_voucher_is_listed_with_what_is_free_of_it_now(
    office: Counter, till: Counter, merchant: Merchant, sell: Sell
) -> None:
    _, code = sell(merchant)
    till.hold(code, 2000)
    assert office.call("list_vouchers").json["data"][0]["available_minor"] == 3000
    clock.move(timedelta(hours=1))
    assert office.call("list_vouchers").json["data"][0]["available_minor"] == 5000
