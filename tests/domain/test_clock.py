"""The clocks: moments in UTC, days where the merchant lives."""

from datetime import UTC, date, datetime, timedelta

import pytest

from domain import clock


def _move_to(moment: datetime) -> None:
    clock.move(moment - clock.now())


def test_now_is_aware_and_in_utc() -> None:
    assert clock.now().utcoffset() == timedelta()


def test_moving_adds_up_until_the_clock_is_reset() -> None:
    before = clock.now()
    clock.move(timedelta(days=1))
    clock.move(timedelta(hours=1))
    assert timedelta(hours=25) <= clock.now() - before < timedelta(hours=25, minutes=1)
    clock.reset()
    assert clock.now() - before < timedelta(minutes=1)


@pytest.mark.req("F59", "S1-18")
@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Europe/Vienna", date(2027, 1, 1)), ("America/New_York", date(2026, 12, 31)),
        ("Pacific/Kiritimati", date(2027, 1, 1)), ("Pacific/Pago_Pago", date(2026, 12, 31)),
        ("UTC", date(2026, 12, 31)),
    ],
)  # fmt: skip
def test_today_is_the_day_of_the_place_on_new_years_eve(zone: str, day: date) -> None:
    _move_to(datetime(2026, 12, 31, 23, 30, tzinfo=UTC))
    assert clock.today(zone) == day
