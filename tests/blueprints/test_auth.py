"""Signing in and out: who gets in, what a wrong password learns, where one lands, what a log-out closes."""

import statistics
import time
from datetime import timedelta

import argon2
import pytest

from blueprints import auth
from domain import clock
from gateways import passwords
from models import User
from tests import cast as casting
from tests import sales
from tests.browser import Browser

HTMX = {"HX-Request": "true"}
WRONG = "E-mail or password is wrong."


def attempt(client: Browser, email: str, password: str, **fields: str) -> tuple[int, str, str]:
    token = sales.csrf(client.get("/login?lang=en").text)
    data = {"email": email, "password": password, "csrf_token": token} | fields
    response = client.post("/login?lang=en", data=data)
    return response.status_code, response.text, response.headers.get("Location", "")


@pytest.mark.parametrize("email", ["anna@alba.example", "  Anna@ALBA.example "])
def test_the_right_password_opens_the_dashboard(client: Browser, cast: casting.Cast, email: str) -> None:
    assert attempt(client, email, casting.PASSWORD)[::2] == (303, "/dashboard")
    assert "Café Alba" in client.get("/dashboard").text


@pytest.mark.req("T24")
def test_whatever_is_wrong_the_answer_is_the_same(client: Browser, cast: casting.Cast) -> None:
    tries = [
        ("anna@alba.example", "wrong"),
        ("nobody@alba.example", casting.PASSWORD),
        ("", ""),
        ("a\0b", "x"),
        ("anna@alba.example", "x" * 5000),
    ]
    for email, password in tries:
        status, page, _ = attempt(client, email, password)
        assert (status, WRONG in page) == (422, True), email
    assert client.get("/dashboard").status_code == 303


@pytest.mark.req("T27")
def test_nobody_keeps_the_form_with_its_token_and_the_typed_address(client: Browser, cast: casting.Cast) -> None:
    form = client.get("/login")
    refused = client.post("/login", data={"email": "anna@alba.example", "csrf_token": sales.csrf(form.text)})
    assert [(page.status_code, page.headers["Cache-Control"]) for page in (form, refused)] == [
        (200, "no-store"),
        (422, "no-store"),
    ]


@pytest.mark.req("T24")
def test_somebody_who_left_gets_the_same_answer(client: Browser, cast: casting.Cast) -> None:
    User.update(is_active=False).where(User.id == cast.ben.id).execute()
    status, page, _ = attempt(client, "ben@alba.example", casting.PASSWORD)
    assert (status, WRONG in page) == (422, True)


@pytest.mark.req("T24")
def test_an_unknown_account_takes_as_long_as_a_wrong_password() -> None:
    stored = passwords.hash("something")
    passwords.verify(None, "warm")

    def seconds(known: str | None) -> float:
        begun = time.perf_counter()
        assert not passwords.verify(known, "wrong")
        return time.perf_counter() - begun

    measured = [(seconds(stored), seconds(None)) for _ in range(7)]
    known, unknown = (statistics.median(column) for column in zip(*measured, strict=True))
    assert 0.5 < unknown / known < 2


def test_a_weaker_hash_is_made_again_at_log_in(client: Browser, cast: casting.Cast) -> None:
    weak = argon2.PasswordHasher(time_cost=1, memory_cost=64).hash(casting.PASSWORD)
    User.update(password_hash=weak).where(User.id == cast.anna.id).execute()
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    fresh = User.get_by_id(cast.anna.id).password_hash
    assert fresh != weak and passwords.verify(fresh, casting.PASSWORD) and not passwords.is_outdated(fresh)


ELSEWHERE = (
    "//e.com", "/\\e.com", "/%09/e.com", "https:e.com", "\\\\/e.com", "///e.com", "javascript:1", "/x//e.com",
    "/%2f%2fe.com", "/dashboard//e.com", "/dashboard/../login", "/dashboard/nowhere", "https://e.com/dashboard",
    "/dashboard\n//e.com", "/dashboard@e.com", "/login", "/dashboardx", "/dashboard/orders\n", "",
)  # fmt: skip


@pytest.mark.req("T25")
def test_a_log_in_never_leads_to_another_site(client: Browser, cast: casting.Cast) -> None:
    with client.application.test_request_context():
        assert {auth.destination(wanted) for wanted in ELSEWHERE} == {"/dashboard"}
    assert attempt(client, "anna@alba.example", casting.PASSWORD, next="//e.com")[::2] == (303, "/dashboard")


def test_a_log_in_leads_to_the_page_that_was_asked_for(client: Browser, cast: casting.Cast) -> None:
    wanted = "/dashboard/orders?view=done&q=a"
    asked = client.get(wanted)
    assert asked.status_code == 303 and asked.location.startswith("/login?next=")
    assert 'name="next" value="/dashboard/orders?view=done&amp;q=a"' in client.get(asked.location).text
    assert attempt(client, "anna@alba.example", casting.PASSWORD, next=wanted)[::2] == (303, wanted)


def test_without_a_session_htmx_is_sent_to_the_log_in_as_a_whole_page(client: Browser, cast: casting.Cast) -> None:
    response = client.get("/dashboard/orders", headers=HTMX)
    assert response.headers["HX-Redirect"] == "/login?next=/dashboard/orders"
    assert response.text == ""


@pytest.mark.req("T23")
def test_after_the_log_out_the_old_cookie_opens_nothing(client: Browser, cast: casting.Cast, app: object) -> None:
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    stolen = client.get_cookie("session")
    assert stolen is not None
    assert sales.press(client, "/dashboard", "/logout").location == "/login"
    thief = client.application.test_client()
    thief.set_cookie("session", stolen.value)
    assert thief.get("/dashboard").status_code == 303


@pytest.mark.req("T23")
def test_a_log_in_drops_what_was_in_the_session_before(client: Browser, cast: casting.Cast) -> None:
    with client.session_transaction() as session:
        session["shop"] = "planted"
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    with client.session_transaction() as session:
        assert "shop" not in session and session["_user_id"] == cast.anna.session_token


@pytest.mark.req("T23")
def test_a_session_ends_after_half_an_hour_of_silence_and_after_twelve_hours(
    client: Browser, cast: casting.Cast
) -> None:
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    clock.move(timedelta(minutes=31))
    assert client.get("/dashboard").status_code == 303
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    for _ in range(35):
        clock.move(timedelta(minutes=20))
        assert client.get("/dashboard").status_code == 200
    clock.move(timedelta(minutes=21))
    assert client.get("/dashboard").status_code == 303


@pytest.mark.req("T21")
@pytest.mark.parametrize("address", ["/login", "/logout", "/dashboard/language"])
def test_a_form_without_its_token_changes_nothing(client: Browser, cast: casting.Cast, address: str) -> None:
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    response = client.post(address, data={"language": "de", "email": "x", "password": "y"})
    assert response.status_code == 400
    assert client.get("/dashboard").status_code == 200
    assert User.get_by_id(cast.anna.id).locale == "en"


def test_no_cookie_outlives_the_browser(client: Browser, cast: casting.Cast) -> None:
    token = sales.csrf(client.get("/login").text)
    data = {"email": "anna@alba.example", "password": casting.PASSWORD, "csrf_token": token}
    cookies = client.post("/login", data=data).headers.getlist("Set-Cookie")
    assert [cookie.partition("=")[0] for cookie in cookies] == ["session"]
    assert "Expires" not in cookies[0] and "HttpOnly" in cookies[0] and "SameSite=Lax" in cookies[0]


def test_the_language_is_changed_for_the_person(client: Browser, cast: casting.Cast) -> None:
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    assert sales.press(client, "/dashboard/orders", "/language", language="de").location == "/dashboard/orders"
    assert User.get_by_id(cast.anna.id).locale == "de"
    assert '<html lang="de">' in client.get("/dashboard").text
