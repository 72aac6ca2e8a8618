"""The mail server says no for a while: people see it in plain words, and a button sends it, with or without htmx."""

from collections.abc import Callable

import pytest

from domain.states import StepName, StepState
from gateways.stripe_twin import Twin
from models import Order, Step, StepAttempt
from tests import cast as casting
from tests import sales
from tests.browser import Browser
from tests.smtp import ScriptedServer

HTMX = {"HX-Request": "true"}


def stuck_order(client: Browser, twin: Twin, smtp: ScriptedServer, run_jobs: Callable[[], int]) -> Order:
    smtp.answer("RCPT", "451 4.7.1 Greylisted, please come back later")
    order = sales.pay(client, twin, sales.order(client, amount="50"))
    run_jobs()
    assert smtp.messages == []
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    return order


def mail_step(order: Order) -> Step:
    return order.steps.where(Step.name == StepName.DELIVER_BUYER).get()


@pytest.mark.req("S1-27", "S1-28", "S1-30", "F36")
def test_a_refused_mail_says_so_in_plain_words_with_the_next_try(
    client: Browser, twin: Twin, smtp: ScriptedServer, cast: casting.Cast, run_jobs: Callable[[], int]
) -> None:
    order = stuck_order(client, twin, smtp, run_jobs)
    step = mail_step(order)
    assert (step.state, step.error_code) == (StepState.RETRY_WAIT, "mail_not_now")
    assert (step.not_before - step.started_at).total_seconds() >= 290
    page = client.get(f"/dashboard/orders/{order.number}").text
    local = step.not_before.astimezone().strftime("%H:%M")
    assert "Greylisted" in page and "Try now" in page
    assert local[3:] in page


@pytest.mark.req("S1-30", "F44")
def test_try_now_sends_the_mail_without_javascript(
    client: Browser, twin: Twin, smtp: ScriptedServer, cast: casting.Cast, run_jobs: Callable[[], int]
) -> None:
    order = stuck_order(client, twin, smtp, run_jobs)
    page = f"/dashboard/orders/{order.number}"
    response = sales.press(client, page, f"/steps/{mail_step(order).id}/retry")
    assert response.status_code == 303
    run_jobs()
    assert [str(letter.message["To"]) for letter in smtp.messages] == ["lukas@example.com"]
    assert mail_step(order).state == StepState.DONE


@pytest.mark.req("S1-30", "F44")
def test_try_now_with_htmx_answers_the_fragment_and_ten_clicks_are_one_attempt(
    client: Browser, twin: Twin, smtp: ScriptedServer, cast: casting.Cast, run_jobs: Callable[[], int]
) -> None:
    order = stuck_order(client, twin, smtp, run_jobs)
    step = mail_step(order)
    page = f"/dashboard/orders/{order.number}"
    token = sales.csrf(client.get(page).text)
    data = {"token": str(step.token), "csrf_token": token}
    for _ in range(10):
        response = client.post(f"{page}/steps/{step.id}/retry", data=data, headers=HTMX)
        assert response.status_code == 200 and "<html" not in response.text
    run_jobs()
    assert len(smtp.messages) == 1
    assert StepAttempt.select().where(StepAttempt.step == step).count() == 2


@pytest.mark.req("F37", "S1-33")
def test_a_refused_address_asks_for_another_and_goes_there(
    client: Browser, twin: Twin, smtp: ScriptedServer, cast: casting.Cast, run_jobs: Callable[[], int]
) -> None:
    smtp.answer("RCPT", "550 5.1.1 no such user")
    order = sales.pay(client, twin, sales.order(client, amount="50", buyer_email="lukas@exmaple.com"))
    run_jobs()
    assert mail_step(order).state == StepState.DEAD
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    page, action = f"/dashboard/orders/{order.number}", f"/steps/{mail_step(order).id}/address"
    assert "lukas@exmaple.com" in client.get(page).text
    assert sales.press(client, page, action, email="not an address").status_code == 422
    assert sales.press(client, page, action, email="lukas@example.com").status_code == 303
    run_jobs()
    assert [str(letter.message["To"]) for letter in smtp.messages] == ["lukas@example.com"]
    sent = smtp.messages[0].message["Message-ID"]
    assert str(sent).startswith(f"<{order.ref}.1.deliver_buyer.1@")
