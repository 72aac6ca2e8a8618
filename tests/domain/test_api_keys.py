"""Keys of the API: made, shown once, verified, rolled, revoked."""

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

import database
from domain import api_keys, clock, refusals
from domain.api_keys import Scope
from models import ApiKey, IdempotencyRecord, Merchant, TimelineEntry

TILL = (Scope.POS_VALIDATE, Scope.POS_REDEEM)


def _create(merchant: Merchant, *, is_test: bool = True, name: str = "Till 1") -> tuple[ApiKey, str]:
    return api_keys.create(merchant, name=name, scopes=TILL, terminal="T1", location="Bar", is_test=is_test)


def _verify(text: str) -> ApiKey | None:
    return api_keys.verify(text, at=clock.now())


def test_the_scopes_are_a_closed_set() -> None:
    assert set(Scope) == {"marketing:read", "marketing:write", "pos:validate", "pos:redeem"}


@pytest.mark.req("T26")
@pytest.mark.parametrize(("is_test", "mode"), [(True, "test"), (False, "live")])
def test_a_new_key_has_the_promised_form(merchant: Merchant, is_test: bool, mode: str) -> None:
    key, text = _create(merchant, is_test=is_test)
    assert re.fullmatch(rf"gv_{mode}_{key.key_id}_[A-Za-z0-9_-]{{43}}", text)
    assert (key.name, key.terminal, key.location, sorted(key.scopes)) == ("Till 1", "T1", "Bar", sorted(TILL))


@pytest.mark.req("T26")
def test_the_secret_is_stored_nowhere(merchant: Merchant) -> None:
    key, text = _create(merchant)
    secret = text.split("_", 3)[3]
    stored = ApiKey.select().where(ApiKey.id == key.id).dicts().get()
    assert secret not in str(stored)
    assert re.fullmatch("[0-9a-f]{64}", stored["secret_hash"])


def test_the_right_text_opens_and_brings_its_merchant(merchant: Merchant) -> None:
    key, text = _create(merchant)
    found = _verify(text)
    assert found is not None and found.id == key.id
    assert found.merchant == merchant


@pytest.mark.req("T26")
def test_every_other_text_stays_outside(merchant: Merchant) -> None:
    key, text = _create(merchant)
    head, secret = text[:-43], text[-43:]
    flipped = ("A" if secret[0] != "A" else "B") + secret[1:]
    wrong = ["", "gv", head, head + flipped, text + "A", text[:-1], " " + text, text + "\n", text.upper()]
    wrong += [text.replace("gv_test_", "gv_live_"), text.replace(key.key_id, "0" * 12), key.secret_hash]
    wrong += [
        f"gv_test_{key.key_id}_{'٥' * 43}",
        head + key.secret_hash[:43],
        "\x00",
        "é" * 70,
        "'; DROP TABLE api_keys;--",
    ]
    assert [candidate for candidate in wrong if _verify(candidate)] == []


def test_a_revoked_key_is_dead_at_once_and_stays_dead(merchant: Merchant) -> None:
    key, text = _create(merchant)
    api_keys.revoke(key, actor="Anna")
    first = ApiKey.get_by_id(key.id).revoked_at
    clock.move(timedelta(hours=1))
    api_keys.revoke(key, actor="Anna")
    assert _verify(text) is None
    assert ApiKey.get_by_id(key.id).revoked_at == first
    clock.reset()


def test_rolling_leaves_the_old_key_an_overlap(merchant: Merchant) -> None:
    key, old_text = _create(merchant)
    fresh, new_text = api_keys.roll(key, actor="Anna", overlap=timedelta(hours=24))
    assert (fresh.name, fresh.scopes, fresh.terminal, fresh.location) == ("Till 1", key.scopes, "T1", "Bar")
    assert _verify(old_text) and _verify(new_text)
    clock.move(timedelta(hours=25))
    assert _verify(old_text) is None
    assert _verify(new_text)
    clock.reset()


def test_a_key_with_an_end_has_its_successor_and_gets_no_other(merchant: Merchant) -> None:
    key, _ = _create(merchant)
    api_keys.roll(key, actor="Anna", overlap=timedelta(hours=1))
    ends_at = ApiKey.get_by_id(key.id).expires_at
    for moved in (timedelta(), timedelta(hours=2)):
        clock.move(moved)
        with pytest.raises(api_keys.KeyEnding):
            api_keys.roll(key, actor="Anna")
    assert ApiKey.get_by_id(key.id).expires_at == ends_at
    assert ApiKey.select().count() == 2


def test_a_revoked_key_cannot_be_rolled(merchant: Merchant) -> None:
    key, _ = _create(merchant)
    api_keys.revoke(key, actor="Anna")
    with pytest.raises(api_keys.KeyRevoked):
        api_keys.roll(key, actor="Anna")
    assert ApiKey.select().count() == 1


def test_ten_rolls_at_the_same_moment_make_one_successor(merchant: Merchant) -> None:
    key, _ = _create(merchant)
    outcomes = _at_once(10, lambda: api_keys.roll(key, actor="Anna")[0].key_id)
    assert len([outcome for outcome in outcomes if isinstance(outcome, str)]) == 1
    assert [type(outcome) for outcome in outcomes if not isinstance(outcome, str)] == [api_keys.KeyEnding] * 9
    assert ApiKey.select().count() == 2


def test_one_form_makes_one_key_however_often_it_is_sent(merchant: Merchant, other_merchant: Merchant) -> None:
    def send() -> str:
        return api_keys.create(merchant, name="Bar", scopes=TILL, is_test=True, nonce="nonce-1234")[0].key_id

    outcomes = _at_once(10, send)
    (made,) = [outcome for outcome in outcomes if isinstance(outcome, str)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, api_keys.KeyMadeBefore)]
    assert [outcome.extra["key_id"] for outcome in refused] == [made] * 9
    assert ApiKey.select().count() == 1
    api_keys.create(other_merchant, name="Bar", scopes=TILL, is_test=True, nonce="nonce-1234")
    assert ApiKey.select().count() == 2


def test_what_happens_to_a_key_is_told_without_its_secret(merchant: Merchant) -> None:
    key, old_text = _create(merchant)
    fresh, new_text = api_keys.roll(key, actor="Anna")
    assert api_keys.revoke(key, actor="Ben") is True
    assert api_keys.revoke(key, actor="Ben") is False
    told = list(TimelineEntry.select().where(TimelineEntry.merchant == merchant).order_by(TimelineEntry.id))
    assert [(entry.kind, entry.actor) for entry in told] == [
        ("api_key_created", "system"), ("api_key_rolled", "Anna"), ("api_key_revoked", "Ben"),
    ]  # fmt: skip
    assert {entry.facts["key_id"] for entry in told} == {key.key_id}
    assert told[1].facts["successor"] == fresh.key_id
    stored = str([entry.facts for entry in told]) + str(list(IdempotencyRecord.select().dicts()))
    assert old_text[-43:] not in stored and new_text[-43:] not in stored


def test_a_form_that_was_sent_twice_leaves_no_secret_behind(merchant: Merchant) -> None:
    _, text = api_keys.create(merchant, name="Bar", scopes=TILL, is_test=True, nonce="nonce-1234")
    assert text[-43:] not in str(list(IdempotencyRecord.select().dicts()))


def test_a_key_is_found_by_its_own_merchant_alone(merchant: Merchant, other_merchant: Merchant) -> None:
    key, _ = _create(merchant)
    assert api_keys.find(merchant, key.key_id) == key
    assert api_keys.find(other_merchant, key.key_id) is None
    assert [api_keys.find(merchant, text) for text in ("", "\0", "x" * 12, key.key_id + "\n")] == [None] * 4


def test_keys_that_work_are_listed_first(merchant: Merchant, other_merchant: Merchant) -> None:
    first, second, third = (_create(merchant, name=name)[0] for name in ("1", "2", "3"))
    _create(other_merchant, name="theirs")
    api_keys.revoke(third, actor="Anna")
    assert api_keys.of_merchant(merchant) == [second, first, third]


def test_keys_have_one_writer() -> None:
    root = Path(__file__).parents[2]
    change = re.compile(r"ApiKey(\(|\.(create|insert|update|delete|replace)\b)")
    files = [path for room in ("domain", "blueprints", "effects", "cli") for path in (root / room).rglob("*.py")]
    assert {path.name for path in files if change.search(path.read_text())} == {"api_keys.py"}


def _at_once(count: int, work: Callable[[], object]) -> list[object]:
    """What `count` threads get that start together: the value, or the refusal."""
    start = threading.Barrier(count)

    def run(_: int) -> object:
        with database.connected():
            start.wait()
            try:
                return work()
            except refusals.Refusal as refusal:
                return refusal

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_the_last_use_is_written_at_most_once_a_minute(merchant: Merchant) -> None:
    key, _ = _create(merchant)
    start = clock.now()
    for seconds in (0, 1, 59):
        api_keys.touch(ApiKey.get_by_id(key.id), at=start + timedelta(seconds=seconds))
    assert ApiKey.get_by_id(key.id).last_used_at == start
    api_keys.touch(ApiKey.get_by_id(key.id), at=start + timedelta(seconds=60))
    assert ApiKey.get_by_id(key.id).last_used_at == start + timedelta(seconds=60)


def test_a_stale_reader_does_not_write_the_last_use_again(merchant: Merchant) -> None:
    key, _ = _create(merchant)
    stale, start = ApiKey.get_by_id(key.id), clock.now()
    api_keys.touch(key, at=start)
    api_keys.touch(stale, at=start + timedelta(seconds=5))
    assert ApiKey.get_by_id(key.id).last_used_at == start


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"name": " "}, "name", "required"),
        ({"name": "x" * 61}, "name", "too_long"),
        ({"name": "Till\n1"}, "name", "too_long"),
        ({"scopes": []}, "scopes", "required"),
        ({"scopes": ["pos:redeem", "admin"]}, "scopes", "not_allowed"),
        ({"terminal": "x" * 256}, "terminal", "too_long"),
        ({"location": "a\x00b"}, "location", "too_long"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused_by_field(
    merchant: Merchant, changes: dict[str, object], field: str, code: str
) -> None:
    wish: dict[str, object] = {"name": "Till", "scopes": ["pos:redeem"], "terminal": None, "location": None} | changes
    with pytest.raises(refusals.FieldsRefused) as refused:
        api_keys.create(merchant, is_test=True, **wish)  # type: ignore[arg-type]
    assert {name: problem[0] for name, problem in refused.value.problems.items()} == {field: code}
    assert ApiKey.select().count() == 0
