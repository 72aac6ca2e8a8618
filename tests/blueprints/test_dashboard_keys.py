"""Tills and keys at the desk: made, shown once, rolled with an overlap, revoked; by owners alone."""

import html
import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import flask
import pytest
from werkzeug.test import TestResponse

from domain import api_keys, clock
from domain.api_keys import Scope
from models import ApiKey, Merchant, TimelineEntry
from tests import cast as casting
from tests import sales
from tests.browser import Browser

PAGE = "/dashboard/keys"
HTMX = {"HX-Request": "true"}
SECRET = re.compile(r"gv_test_[0-9a-f]{12}_[A-Za-z0-9_-]{43}")
TILL = (Scope.POS_VALIDATE, Scope.POS_REDEEM)


@pytest.fixture
def anna(client: Browser, cast: casting.Cast) -> Browser:
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    return client


def signed_in(app: flask.Flask, email: str) -> Browser:
    client: Browser = app.test_client()  # type: ignore[assignment]
    sales.sign_in(client, email, casting.PASSWORD)
    return client


def create(client: Browser, **fields: object) -> TestResponse:
    """Fill in the form as a person does and send it."""
    page = client.get(PAGE).text
    form: dict[str, object] = {"csrf_token": sales.csrf(page), "nonce": nonce_of(page), "preset": "till"}
    return client.post(PAGE, data=form | {"name": "Bar till"} | fields)


def nonce_of(page: str) -> str:
    found = re.search(r'name="nonce" value="([^"]+)"', page)
    assert found, "no form"
    return found.group(1)


def secret_in(answer: TestResponse) -> str:
    (secret,) = set(SECRET.findall(answer.text))
    return str(secret)


def validate(app: flask.Flask, secret: str, code: str) -> int:
    """What the real API answers to a key."""
    body = {"code": code, "amount_minor": 100, "currency": "EUR"}
    headers = {"Authorization": f"Bearer {secret}"}
    return app.test_client().post("/api/v1/vouchers/validate", json=body, headers=headers).status_code


def words(page: str) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


def test_without_a_key_the_page_says_how_to_connect_the_first_till(anna: Browser) -> None:
    page = anna.get(PAGE).text
    assert "Connect your first till" in page and 'href="/docs/api"' in page
    assert f'href="{PAGE}"' in anna.get("/dashboard").text


@pytest.mark.req("T26")
def test_a_new_key_shows_its_secret_once_and_works(app: flask.Flask, anna: Browser, merchant: Merchant) -> None:
    _, code = casting.issue(merchant)
    answer = create(anna, terminal="Kasse 1", location="Bar")
    assert answer.status_code == 201 and answer.headers["Cache-Control"] == "no-store"
    secret = secret_in(answer)
    assert "shown this once" in words(answer.text)
    assert validate(app, secret, code) == 200
    key = ApiKey.get()
    assert (key.merchant, key.name, key.terminal, key.location) == (merchant, "Bar till", "Kasse 1", "Bar")
    assert sorted(key.scopes) == sorted(TILL) and key.is_test
    for headers in ({}, HTMX):
        later = anna.get(PAGE, headers=headers).text
        assert secret not in later and secret[-43:] not in later
    assert "Till: check and redeem" in later and "Kasse 1, Bar" in later and key.key_id in later


@pytest.mark.parametrize(
    ("fields", "scopes"),
    [
        ({"preset": "till"}, {"pos:validate", "pos:redeem"}),
        ({"preset": "office"}, {"marketing:read", "marketing:write"}),
        ({"preset": "single", "scopes": ["pos:validate"]}, {"pos:validate"}),
        ({"preset": "single", "scopes": ["pos:validate", "marketing:read"]}, {"pos:validate", "marketing:read"}),
    ],
)
def test_a_key_may_do_what_was_chosen(anna: Browser, fields: dict[str, object], scopes: set[str]) -> None:
    assert create(anna, **fields).status_code == 201
    assert set(ApiKey.get().scopes) == scopes


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"name": ""}, "Give the key a name"),
        ({"name": "x" * 61}, "Use at most 60 characters."),
        ({"terminal": "x" * 256}, "Use at most 255 characters."),
        ({"preset": "single"}, "Choose at least one permission."),
        ({"preset": "admin", "scopes": ["admin"]}, "Choose at least one permission."),
        ({"preset": "till", "scopes": ["marketing:write"]}, "Single permissions are ticked as well"),
        ({"nonce": ""}, "This page was out of date."),
        ({"nonce": "' OR 1=1 --"}, "This page was out of date."),
    ],
)
def test_a_form_with_a_mistake_comes_back_as_it_was_typed(
    anna: Browser, fields: dict[str, object], sentence: str
) -> None:
    answer = create(anna, **{"location": "Bar <b>"} | fields)
    assert answer.status_code == 422 and sentence in words(answer.text)
    assert "Bar &lt;b&gt;" in answer.text
    assert (ApiKey.select().count(), SECRET.findall(answer.text)) == (0, [])


@pytest.mark.req("T12")
@pytest.mark.parametrize("name", ["a\0b", "a\nb", "\u202eevil", "💶" * 60, "{{ 7*7 }}", "%(name)s %", "<script>"])
def test_no_name_breaks_the_page(anna: Browser, name: str) -> None:
    assert create(anna, name=name).status_code == 201
    shown = anna.get(PAGE)
    assert shown.status_code == 200 and "<script>" not in shown.text.replace("<script src", "")
    assert "\0" not in ApiKey.get().name and "\u202e" not in ApiKey.get().name


def test_a_reload_of_the_answer_makes_no_second_key_and_shows_no_secret(anna: Browser) -> None:
    page = anna.get(PAGE).text
    form = {"csrf_token": sales.csrf(page), "nonce": nonce_of(page), "preset": "till", "name": "Bar till"}
    assert anna.post(PAGE, data=form).status_code == 201
    again = anna.post(PAGE, data=form)
    assert again.status_code == 409 and SECRET.findall(again.text) == []
    assert "made the key “Bar till” once" in words(again.text)
    assert ApiKey.select().count() == 1


@pytest.mark.req("T26")
def test_while_a_rolled_key_overlaps_both_secrets_work(app: flask.Flask, anna: Browser, merchant: Merchant) -> None:
    _, code = casting.issue(merchant)
    old = secret_in(create(anna))
    key = ApiKey.get()
    question = anna.get(f"{PAGE}/{key.key_id}/roll").text
    assert "The old one works for 24 more hours" in words(question)
    answer = sales.press(anna, f"{PAGE}/{key.key_id}/roll", "/roll")
    new = secret_in(answer)
    assert answer.status_code == 201 and new != old
    assert [validate(app, secret, code) for secret in (old, new)] == [200, 200]
    assert "Ends in 1 day" in words(anna.get(PAGE).text)
    clock.move(timedelta(hours=19))
    anna = signed_in(app, "anna@alba.example")
    assert "Ends in 5 hours" in words(anna.get(PAGE).text)
    assert [validate(app, secret, code) for secret in (old, new)] == [200, 200]
    clock.move(timedelta(hours=6))
    assert [validate(app, secret, code) for secret in (old, new)] == [401, 200]


def test_the_overlap_can_be_ended_now(app: flask.Flask, anna: Browser, merchant: Merchant) -> None:
    _, code = casting.issue(merchant)
    old = secret_in(create(anna))
    first = ApiKey.get()
    new = secret_in(sales.press(anna, f"{PAGE}/{first.key_id}/roll", "/roll"))
    assert "End now" in anna.get(PAGE).text
    ended = sales.press(anna, f"{PAGE}/{first.key_id}/revoke", "/revoke")
    assert (ended.status_code, ended.location) == (303, PAGE)
    assert [validate(app, secret, code) for secret in (old, new)] == [401, 200]


def test_a_revoked_key_is_out_at_once_and_for_good(app: flask.Flask, anna: Browser, merchant: Merchant) -> None:
    _, code = casting.issue(merchant)
    secret = secret_in(create(anna))
    key = ApiKey.get()
    assert validate(app, secret, code) == 200
    assert "It was used" in words(anna.get(f"{PAGE}/{key.key_id}/revoke").text)
    assert validate(app, secret, code) == 200  # the question alone ends nothing
    sales.press(anna, f"{PAGE}/{key.key_id}/revoke", "/revoke")
    assert validate(app, secret, code) == 401
    page = words(anna.get(PAGE).text)
    assert "Revoked" in page and "is over for good" in page
    data = {"csrf_token": sales.csrf(anna.get(PAGE).text)}
    assert anna.post(f"{PAGE}/{key.key_id}/revoke", data=data).status_code == 303
    refused = anna.post(f"{PAGE}/{key.key_id}/roll", data=data)
    assert refused.status_code == 409 and "This key is revoked." in words(refused.text)
    assert ApiKey.select().count() == 1
    assert "over for good" in words(anna.get(f"{PAGE}/{key.key_id}/roll").text)


def test_ten_clicks_on_roll_make_one_successor(app: flask.Flask, anna: Browser) -> None:
    create(anna)
    key = ApiKey.get()
    data = {"csrf_token": sales.csrf(anna.get(f"{PAGE}/{key.key_id}/roll").text)}
    cookie = anna.get_cookie("session")
    assert cookie

    def click() -> tuple[int, int]:
        client = app.test_client()
        client.set_cookie("session", cookie.value)
        answer = client.post(f"{PAGE}/{key.key_id}/roll", data=data)
        return answer.status_code, len(set(SECRET.findall(answer.text)))

    assert sorted(at_once(10, click)) == [(201, 1)] + [(409, 0)] * 9
    assert ApiKey.select().count() == 2


def test_the_list_looks_for_the_last_use_again_and_leaves_the_form_alone(
    app: flask.Flask, anna: Browser, merchant: Merchant
) -> None:
    secret = secret_in(create(anna))
    fragment = anna.get(PAGE, headers=HTMX).text
    assert 'hx-trigger="every 30s"' in fragment and "<form" not in fragment and "never" in fragment
    assert fragment.strip() in anna.get(PAGE).text
    validate(app, secret, casting.issue(merchant)[1])
    clock.move(timedelta(minutes=3))
    assert "3 minutes ago" in anna.get(PAGE, headers=HTMX).text


def test_staff_sees_the_keys_and_is_told_whom_to_ask(app: flask.Flask, cast: casting.Cast) -> None:
    key, _ = api_keys.create(cast.alba, name="Bar till", scopes=TILL, is_test=True)
    ben = signed_in(app, "ben@alba.example")
    page = ben.get(PAGE).text
    assert "Bar till" in page and "Ask Anna." in words(page)
    assert f'action="{PAGE}"' not in page and "/roll" not in page and "/revoke" not in page
    data = {"csrf_token": sales.csrf(ben.get("/dashboard").text), "nonce": "x" * 16, "name": "x", "preset": "till"}
    assert ben.post(PAGE, data=data).status_code == 403
    for verb in ("roll", "revoke"):
        assert ben.get(f"{PAGE}/{key.key_id}/{verb}").status_code == 403
        assert ben.post(f"{PAGE}/{key.key_id}/{verb}", data=data).status_code == 403
    assert (ApiKey.select().count(), ApiKey.get().revoked_at) == (1, None)


@pytest.mark.req("T6", "G11")
def test_a_key_of_another_shop_does_not_exist_here(app: flask.Flask, cast: casting.Cast) -> None:
    theirs, _ = api_keys.create(cast.berg, name="Berg till", scopes=TILL, is_test=True)
    for email in ("anna@alba.example", "ben@alba.example"):
        client = signed_in(app, email)
        data = {"csrf_token": sales.csrf(client.get("/dashboard").text)}
        assert "Berg till" not in client.get(PAGE).text
        for key_id in (theirs.key_id, "0" * 12, "%00", "💶"):
            for verb in ("roll", "revoke"):
                assert client.get(f"{PAGE}/{key_id}/{verb}").status_code == 404
                assert client.post(f"{PAGE}/{key_id}/{verb}", data=data).status_code == 404
    kept = ApiKey.get()
    assert (kept.revoked_at, kept.expires_at, ApiKey.select().count()) == (None, None, 1)


def test_the_page_tells_what_happened_to_the_keys_and_who_did_it(anna: Browser) -> None:
    create(anna)
    key = ApiKey.get()
    sales.press(anna, f"{PAGE}/{key.key_id}/roll", "/roll")
    sales.press(anna, f"{PAGE}/{key.key_id}/revoke", "/revoke")
    page = words(anna.get(PAGE).text)
    for sentence in ("Key “Bar till” created", "Key “Bar till” rolled; the old secret works until", "revoked"):
        assert sentence in page, sentence
    assert {entry.actor for entry in TimelineEntry.select()} == {"Anna"}


def test_the_page_speaks_german_too(anna: Browser, cast: casting.Cast) -> None:
    create(anna)
    assert anna.get(f"{PAGE}?lang=de").status_code == 200


# The same on a terminal


def run(app: flask.Flask, *arguments: str) -> tuple[int, str, str]:
    result = app.test_cli_runner().invoke(args=["api-key", *arguments])
    return result.exit_code, result.stdout.strip(), result.stderr


def test_a_secret_stands_alone_on_stdout(app: flask.Flask, merchant: Merchant) -> None:
    _, code = casting.issue(merchant)
    shop = ("--merchant", merchant.slug)
    exit_code, old, _ = run(app, "create", *shop, "--name", "Bar", "--scope", "pos:validate", "--terminal", "T1")
    assert exit_code == 0 and SECRET.fullmatch(old)
    key_id = old.split("_")[2]
    exit_code, new, beside = run(app, "roll", *shop, "--key-id", key_id)
    assert exit_code == 0 and SECRET.fullmatch(new) and key_id in beside and new not in beside
    assert [validate(app, secret, code) for secret in (old, new)] == [200, 200]
    exit_code, printed, beside = run(app, "revoke", *shop, "--key-id", key_id)
    assert (exit_code, printed) == (0, "") and "is revoked" in beside
    assert "revoked before" in run(app, "revoke", *shop, "--key-id", key_id)[2]
    assert [validate(app, secret, code) for secret in (old, new)] == [401, 200]
    assert {entry.actor for entry in TimelineEntry.select().where(TimelineEntry.kind.startswith("api"))} == {"operator"}
    exit_code, _, beside = run(app, "roll", *shop, "--key-id", key_id)
    assert exit_code == 1 and "revoked" in beside


def test_the_list_is_for_people_and_for_programs(app: flask.Flask, cast: casting.Cast) -> None:
    assert "no keys yet" in run(app, "list", "--merchant", "cafe-alba")[2]
    key, secret = api_keys.create(cast.alba, name="Bar", scopes=TILL, is_test=True)
    api_keys.create(cast.berg, name="Theirs", scopes=TILL, is_test=True)
    (row,) = json.loads(run(app, "list", "--merchant", "cafe-alba", "--json")[1])
    assert (row["key_id"], row["state"], row["last_used_at"], row["mode"]) == (key.key_id, "active", None, "test")
    plain = run(app, "list", "--merchant", "cafe-alba")[1]
    assert key.key_id in plain and "never" in plain and secret[-43:] not in plain + str(row)


def test_a_key_id_that_the_merchant_has_not_is_refused_with_a_hint(app: flask.Flask, cast: casting.Cast) -> None:
    theirs, _ = api_keys.create(cast.berg, name="Theirs", scopes=TILL, is_test=True)
    for command in ("roll", "revoke"):
        exit_code, _, beside = run(app, command, "--merchant", "cafe-alba", "--key-id", theirs.key_id)
        assert exit_code == 2 and "flask api-key list" in beside
    assert run(app, "create", "--merchant", "cafe-alba", "--name", " ", "--scope", "pos:redeem")[0] == 2
    assert ApiKey.get().revoked_at is None and ApiKey.select().count() == 1


def at_once(count: int, work: Callable[[], tuple[int, int]]) -> list[tuple[int, int]]:
    start = threading.Barrier(count)

    def run_one(_: int) -> tuple[int, int]:
        start.wait()
        return work()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run_one, range(count)))
