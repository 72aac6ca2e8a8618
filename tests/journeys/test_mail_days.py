"""A voucher for a certain day: ordered in the shop in the merchant's time, mailed at that moment and not before."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from domain import clock
from domain.states import StepName, StepState
from gateways.stripe_twin import Twin
from models import Merchant, Order, Step, Unit
from tests import cast as casting
from tests import sales
from tests.browser import Browser
from tests.smtp import ScriptedServer

FORM = {"amount": "50", "buyer_name": "Lukas", "buyer_email": "lukas@example.com", "delivery": "recipient",
        "recipient_name": "Marie", "recipient_email": "marie@example.com"}  # fmt: skip


def move_to(moment: datetime) -> None:
    clock.move(moment - clock.now())


def planned(order: Order) -> datetime | None:
    return order.units.get().deliver_at


def to_marie(smtp: ScriptedServer) -> int:
    return sum(letter.recipients == ("marie@example.com",) for letter in smtp.messages)


@pytest.mark.req("F42")
@pytest.mark.parametrize(
    ("zone", "typed", "today", "moment"),
    [
        ("Europe/Vienna", "2026-12-24T08:00", (2026, 11, 1), (2026, 12, 24, 7)),
        ("Europe/Vienna", "2026-10-24T12:00", (2026, 9, 1), (2026, 10, 24, 10)),
        ("Europe/Vienna", "2026-10-25T12:00", (2026, 9, 1), (2026, 10, 25, 11)),
        ("Europe/Vienna", "2026-10-25T02:30", (2026, 9, 1), (2026, 10, 25, 0, 30)),  # comes twice: the first
        ("Europe/Vienna", "2027-03-28T03:00", (2027, 3, 1), (2027, 3, 28, 1)),
        ("Europe/Vienna", "2028-02-29T08:00", (2028, 2, 1), (2028, 2, 29, 7)),
        ("America/New_York", "2026-12-24T08:00", (2026, 11, 10), (2026, 12, 24, 13)),
        ("Pacific/Kiritimati", "2027-01-01T00:00", (2026, 12, 1), (2026, 12, 31, 10)),
    ],
    ids=["winter", "summer", "clocks-back-noon", "twice", "spring", "leap-day", "new-york", "kiritimati"],
)
def test_a_day_is_the_merchants_day_and_the_mail_goes_out_then(
    client: Browser, twin: Twin, smtp: ScriptedServer, cast: casting.Cast, sweep: Callable[[], object],
    zone: str, typed: str, today: tuple[int, ...], moment: tuple[int, ...],
) -> None:  # fmt: skip
    Merchant.update(time_zone=zone).execute()
    move_to(datetime(*today, 12, tzinfo=UTC))  # type: ignore[misc]
    order = sales.pay(client, twin, sales.order(client, **FORM, deliver_at=typed))
    due = datetime(*moment, tzinfo=UTC)  # type: ignore[misc]
    assert planned(order) == due
    sweep()
    assert to_marie(smtp) == 0
    move_to(due - timedelta(seconds=20))
    sweep()
    assert to_marie(smtp) == 0
    move_to(due + timedelta(seconds=1))
    sweep()
    assert to_marie(smtp) == 1


@pytest.mark.req("F42")
@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("2027-03-28T02:30", "clocks go forward"),
        ("2027-02-29T08:00", "day and time"),
        ("2026-09-01T08:00", "has passed"),
        ("2126-12-24T08:00", "too far ahead"),
        ("9999-12-31T23:59", "too far ahead"),
        ("0001-01-01T00:00", ""),
        ("2026-12-24T24:00", "day and time"),
        ("24.12.2026 08:00", "day and time"),
    ],
)
def test_a_time_that_does_not_exist_or_has_passed_is_asked_for_again(
    client: Browser, cast: casting.Cast, typed: str, why: str
) -> None:
    move_to(datetime(2026, 11, 22, 12, tzinfo=UTC))
    answer = client.post(
        "/s/cafe-alba/orders?lang=en", data=FORM | {"deliver_at": typed}, headers={"Accept-Language": "en"}
    )
    assert answer.status_code == 422
    assert why in answer.text
    assert Order.select().count() == 0


@pytest.mark.req("F42")
def test_a_moment_that_passed_while_the_buyer_was_paying_is_now(
    client: Browser, twin: Twin, smtp: ScriptedServer, cast: casting.Cast, run_jobs: Callable[[], int]
) -> None:
    move_to(datetime(2026, 11, 22, 12, tzinfo=UTC))
    session = sales.order(client, **FORM, deliver_at="2026-11-22T13:10")
    clock.move(timedelta(minutes=25))
    order = sales.pay(client, twin, session)
    step = order.steps.where(Step.name == StepName.DELIVER_RECIPIENT).get()
    assert step.not_before >= datetime(2026, 11, 22, 12, 25, tzinfo=UTC)
    run_jobs()
    assert to_marie(smtp) == 1
    receipt = next(letter for letter in smtp.messages if letter.recipients == ("lukas@example.com",))
    assert "sofort" in receipt.text or "at once" in receipt.text


@pytest.mark.req("F42")
def test_a_planned_mail_is_stopped_and_resumed_with_two_buttons(
    client: Browser, twin: Twin, smtp: ScriptedServer, cast: casting.Cast, run_jobs: Callable[[], int]
) -> None:
    move_to(datetime(2026, 11, 22, 12, tzinfo=UTC))
    order = sales.pay(client, twin, sales.order(client, **FORM, deliver_at="2026-11-22T15:00"))
    run_jobs()
    step = order.steps.where(Step.name == StepName.DELIVER_RECIPIENT).get()
    assert (step.state, step.not_before) == (StepState.READY, datetime(2026, 11, 22, 14, tzinfo=UTC))
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    page = f"/dashboard/orders/{order.number}"
    assert sales.press(client, page, f"/steps/{step.id}/stop").status_code == 303
    move_to(datetime(2026, 11, 22, 15, tzinfo=UTC))
    run_jobs()
    assert to_marie(smtp) == 0
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)  # hours later
    assert sales.press(client, page, f"/steps/{step.id}/retry").status_code == 303
    run_jobs()
    assert to_marie(smtp) == 1
    assert Unit.select().where(Unit.deliver_at.is_null(False)).count() == 1
