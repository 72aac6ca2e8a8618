"""Breakers: opened once, probed by one caller a minute, closed by the first success."""

from datetime import timedelta

import flask
import pytest

from domain import breakers, clock
from tests.reports import at_once

pytestmark = pytest.mark.usefixtures("app")
MINUTE = breakers.BETWEEN_PROBES


@pytest.mark.req("F38")
def test_a_service_is_used_until_its_breaker_trips_and_again_after_it_was_mended() -> None:
    assert not breakers.is_open("mail")
    assert breakers.trip("mail", code="mail_ours", detail="535 no")
    assert breakers.is_open("mail") and not breakers.is_open("stripe")
    assert breakers.mend("mail")
    assert not breakers.is_open("mail") and not breakers.mend("mail")


@pytest.mark.req("F38")
def test_an_open_breaker_remembers_since_when_and_why_as_of_its_latest_failure() -> None:
    breakers.trip("mail", code="mail_ours", detail="535 no")
    (first,) = breakers.current()
    clock.move(MINUTE)
    assert not breakers.trip("mail", code="mail_unreachable", detail="nobody " * 200)
    (again,) = breakers.current()
    assert (again.opened_at, again.code, len(again.detail)) == (first.opened_at, "mail_unreachable", 500)
    assert again.probe_at - clock.now() > MINUTE - timedelta(seconds=5)


@pytest.mark.req("F38")
def test_one_of_eight_callers_probes_and_only_once_a_minute(app: flask.Flask) -> None:
    breakers.trip("mail", code="mail_ours")
    assert not breakers.may_probe("mail")
    clock.move(MINUTE)
    for _ in range(3):
        answers = at_once([lambda: breakers.may_probe("mail")] * 8)
        assert sorted(map(str, answers)) == ["False"] * 7 + ["True"]
        clock.move(MINUTE - timedelta(seconds=5))
        assert not breakers.may_probe("mail")
        clock.move(timedelta(seconds=5))


def test_a_closed_breaker_needs_no_probe() -> None:
    assert not breakers.may_probe("mail")
    assert breakers.current() == []


@pytest.mark.req("F38")
def test_eight_failures_at_once_open_one_breaker(app: flask.Flask) -> None:
    opened = at_once([lambda: breakers.trip("mail", code="mail_ours")] * 8)
    assert sorted(map(str, opened)) == ["False"] * 7 + ["True"]
    assert len(breakers.current()) == 1


def test_the_longest_open_one_is_named_first() -> None:
    breakers.trip("stripe", code="unreachable")
    clock.move(MINUTE)
    breakers.trip("mail", code="mail_ours")
    assert [each.name for each in breakers.current()] == ["stripe", "mail"]
