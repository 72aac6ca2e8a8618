"""/readyz: every part that can fail says so, and what to do; nothing of a merchant stands there."""

import email.utils
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import flask
import pytest

import database
import tasks
from domain import breakers, checks, clock, fulfilment
from effects import watch, work
from gateways import stripe_api
from gateways.stripe_twin import Twin
from models import Check, Step, Stray, Worker
from tests import cast as casting
from tests import processes, sales
from tests.browser import Browser
from tests.smtp import ScriptedServer

PARTS = {"database", "worker", "watch", "steps", "dead", "mail", "stripe", "payments", "audit"}


def ready(client: Browser, *, status: int = 200) -> dict[str, Any]:
    answer = client.get("/readyz")
    assert answer.status_code == status, answer.json
    return dict(answer.json["parts"])


@pytest.fixture
def running(cast: casting.Cast, app: flask.Flask) -> None:
    """A worker has just swept and watched."""
    work.sweep(tasks.worker_name())
    watch.run(clock.now())


@pytest.mark.req("F67")
def test_a_shop_whose_worker_never_ran_is_not_ready_and_says_what_to_start(client: Browser, cast: Any) -> None:
    parts = ready(client, status=503)
    assert parts.keys() == PARTS
    for name in ("worker", "watch"):
        assert not parts[name]["ok"] and "flask worker" in parts[name]["what_to_do"]


@pytest.mark.usefixtures("running")
def test_a_shop_that_runs_is_ready_and_gives_an_age_for_everything(client: Browser) -> None:
    parts = ready(client)
    assert parts.keys() == PARTS
    assert not [name for name, part in parts.items() if part.get("warn") or not part["ok"]]
    assert (parts["payments"]["unmatched"], parts["mail"]["breaker"], parts["dead"]["count"]) == (0, "closed", 0)
    assert parts["stripe"]["clock_skew_seconds"] is None or abs(parts["stripe"]["clock_skew_seconds"]) <= 2
    assert parts["worker"]["alive"] == 1


@pytest.mark.usefixtures("running")
@pytest.mark.req("F67")
def test_a_worker_that_died_is_noticed_after_a_minute_and_its_watch_after_five(client: Browser) -> None:
    clock.move(timedelta(seconds=61))
    parts = ready(client, status=503)
    assert not parts["worker"]["ok"] and parts["watch"]["ok"]
    clock.move(timedelta(minutes=5))
    assert not ready(client, status=503)["watch"]["ok"]


@pytest.mark.usefixtures("running")
@pytest.mark.req("F67")
def test_a_watch_that_stands_still_is_noticed_although_the_sweeper_works(client: Browser) -> None:
    clock.move(timedelta(minutes=6))
    fulfilment.beat("worker")
    parts = ready(client, status=503)
    assert parts["worker"]["ok"] and not parts["watch"]["ok"]


@pytest.mark.usefixtures("running")
@pytest.mark.req("F67")
def test_work_that_is_due_for_five_minutes_is_noticed(client: Browser, twin: Twin) -> None:
    sales.pay(client, twin, sales.order(client, amount="50"))
    clock.move(timedelta(minutes=6))
    fulfilment.beat("worker")
    checks.beat(at=clock.now())
    parts = ready(client, status=503)
    assert not parts["steps"]["ok"] and parts["steps"]["oldest_due_seconds"] >= 300


@pytest.mark.usefixtures("running")
@pytest.mark.req("F68")
def test_a_dead_step_is_counted_and_takes_no_shop_off_the_air(client: Browser, twin: Twin) -> None:
    sales.pay(client, twin, sales.order(client, amount="50"))
    step = fulfilment.claim("test")
    assert step is not None
    fulfilment.fail(step, fulfilment.Failure("unexpected", is_permanent=True))
    parts = ready(client)
    assert (parts["dead"]["count"], parts["dead"]["warn"]) == (1, True)


@pytest.mark.usefixtures("running")
def test_a_mail_server_that_is_left_alone_is_a_warning_with_its_code(client: Browser) -> None:
    breakers.trip(breakers.MAIL, code="mail_ours", detail="535 secret-user refused")
    part = ready(client)["mail"]
    assert (part["breaker"], part["code"], part["warn"]) == ("open", "mail_ours", True)
    assert "secret-user" not in client.get("/readyz").text


@pytest.mark.usefixtures("running")
def test_webhooks_that_stay_away_are_a_warning(client: Browser, twin: Twin) -> None:
    twin.pay(sales.order(client, amount="50"), deliver=False)
    clock.move(timedelta(minutes=3))
    watch.run(clock.now())
    work.run_due("test")
    clock.move(timedelta(hours=27))
    fulfilment.beat("worker")
    watch.run(clock.now())
    part = ready(client)["stripe"]
    assert part["warn"] and part["found"] == 1 and "webhook" in part["what_to_do"]


@pytest.mark.usefixtures("running")
@pytest.mark.req("G18")
def test_payments_that_nothing_explains_are_counted(client: Browser, merchant: Any) -> None:
    Stray.create(merchant=merchant, session_id="cs_test_x", amount_minor=4242, currency="EUR")
    part = ready(client)["payments"]
    assert (part["unmatched"], part["warn"]) == (1, True)
    assert "cs_test_x" not in client.get("/readyz").text
    Stray.delete().execute()
    clock.move(timedelta(minutes=11))
    fulfilment.beat("worker")
    checks.beat(at=clock.now())
    assert ready(client)["payments"]["warn"]


@pytest.fixture
def stripes_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """What Stripe's answers say in their `Date`, so many seconds from the truth."""

    def say(seconds: float) -> None:
        # The twin lives on this host and shares its clock: the header is all that can differ.
        real = stripe_api._Line.request

        def request(self: Any, *args: Any, **options: Any) -> Any:
            content, status, headers = real(self, *args, **options)
            said = email.utils.format_datetime(clock.now() + timedelta(seconds=seconds), usegmt=True)
            self.clock_skew = stripe_api._skew(said)
            return content, status, headers

        monkeypatch.setattr(stripe_api._Line, "request", request)

    yield say


@pytest.mark.req("F16")
@pytest.mark.parametrize("seconds", [600, -600])
def test_a_clock_that_is_ten_minutes_wrong_is_told_and_payments_are_settled_all_the_same(
    client: Browser, cast: Any, twin: Twin, stripes_clock: Any, seconds: int
) -> None:
    stripes_clock(seconds)
    session_id = sales.order(client, amount="50")
    event_id = twin.pay(session_id, deliver=False)
    body, headers = twin.signed(event_id, at=clock.now().timestamp() + seconds)
    assert client.post("/webhooks/stripe", data=body, headers=headers).status_code == 400
    clock.move(timedelta(minutes=3))
    watch.run(clock.now())
    assert sales.order_of(session_id).is_paid
    clock.move(timedelta(minutes=1))
    watch.run(clock.now())
    work.sweep("worker")
    part = ready(client, status=503)["stripe"]
    assert not part["ok"] and abs(part["clock_skew_seconds"] - seconds) <= 2 and "clock" in part["what_to_do"]


@pytest.mark.usefixtures("running")
@pytest.mark.req("F16")
def test_a_clock_that_is_half_a_minute_wrong_is_nobodys_business(client: Browser, stripes_clock: Any) -> None:
    stripes_clock(30)
    clock.move(timedelta(minutes=2))
    watch.run(clock.now())
    clock.move(timedelta(minutes=1))
    watch.run(clock.now())
    fulfilment.beat("worker")
    assert ready(client)["stripe"]["ok"]


# One clock


@pytest.fixture
def host_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Sets this host's clock wrong, as a process on another host would have it, and opens its connections anew."""

    def set_wrong(by: timedelta) -> None:
        real = clock.wall
        monkeypatch.setattr(clock, "wall", lambda: real() + by)
        database.db.close()
        database.db.obj.close_all()
        database.db.connect()

    yield set_wrong
    monkeypatch.undo()
    clock.follow(timedelta())


@pytest.mark.req("F59")
@pytest.mark.parametrize("engine", ["postgresql"])
@pytest.mark.parametrize("minutes", [10, -10])
def test_a_host_whose_clock_is_wrong_goes_by_the_databases_clock_and_steals_no_lease(
    client: Browser, cast: casting.Cast, twin: Twin, host_clock: Any, minutes: int
) -> None:
    sales.pay(client, twin, sales.order(client, amount="50"))
    held = fulfilment.claim("right clock")
    assert held is not None
    Step.update(state="blocked").where(Step.id != held.id).execute()
    (before,) = database.db.execute_sql("SELECT 1").fetchone()
    host_clock(timedelta(minutes=minutes))
    assert before == 1
    assert fulfilment.claim("wrong clock") is None, "the lease of a living worker was taken"
    (said,) = database.db.execute_sql("SELECT clock_timestamp()").fetchone()
    assert abs(clock.now() - said) < timedelta(seconds=2)
    voucher, _ = casting.issue(cast.alba, expires_at=said + timedelta(minutes=5))
    assert not voucher.is_expired(clock.now()), "five minutes are left"
    voucher, _ = casting.issue(cast.alba, expires_at=said - timedelta(minutes=5))
    assert voucher.is_expired(clock.now())


@pytest.mark.req("F59")
@pytest.mark.parametrize("engine", ["postgresql"])
def test_a_clock_that_is_set_while_the_process_runs_is_followed_within_a_minute(
    cast: casting.Cast, host_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = clock.wall
    monkeypatch.setattr(clock, "wall", lambda: real() + timedelta(minutes=10))
    watch.run(clock.now())
    (said,) = database.db.execute_sql("SELECT clock_timestamp()").fetchone()
    assert abs(clock.now() - said) < timedelta(seconds=2)


@pytest.mark.req("F59")
def test_moving_the_clock_works_on_top_of_the_databases(cast: casting.Cast) -> None:
    before = clock.now()
    clock.move(timedelta(days=1))
    database.follow_clock()
    assert timedelta(hours=23) < clock.now() - before < timedelta(hours=25)


@pytest.mark.req("F59")
@pytest.mark.parametrize("engine", ["sqlite"])
def test_on_sqlite_the_hosts_own_clock_counts(cast: casting.Cast) -> None:
    clock.follow(timedelta(minutes=10))
    database.connect(f"sqlite:///{database.db.obj.database}")
    assert abs(clock.now() - clock.wall()) < timedelta(seconds=1)


# The process


@pytest.mark.req("F67", "F29")
def test_a_real_worker_beats_with_both_hands_watches_and_drains_on_sigterm(
    client: Browser, twin: Twin, cast: casting.Cast, settings: Any, smtp: ScriptedServer
) -> None:
    session_id = sales.order(client, amount="50")
    twin.pay(session_id, deliver=False)  # no webhook, no bell: only the watch can find it
    with processes.worker(settings, sweep_seconds=0.2) as running:
        processes.wait_until(lambda: Worker.select().exists(), what="the sweeper's heartbeat")
        processes.wait_until(lambda: Check.get_or_none(Check.name == "watch") is not None, what="the watch's")
        processes.wait_until(lambda: bool(smtp.messages), what="the mail of the payment that the watch found")
        processes.wait_until(lambda: client.get("/readyz").status_code == 200, what="a ready shop")
    assert running.returncode == 0
    assert sales.order_of(session_id).is_paid
