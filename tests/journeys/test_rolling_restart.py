"""Web and worker are restarted under load, again and again: no 5xx, no line dropped, nothing lost, nothing doubled.

`RESTARTS=20` is the long run.
"""

import os
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

import flask
import peewee
import pytest
import requests

import config
import database
from domain import api_keys, audit, idempotency, redemptions, timeline
from domain.states import FINISHED
from effects import links
from gateways.stripe_twin import Twin
from models import Entry, Merchant, Order, Payment, Step, StepAttempt, Voucher, Worker
from tests import cast as casting
from tests import processes, sales, webserver
from tests.browser import Browser
from tests.smtp import ScriptedServer

ROUNDS = int(os.environ.get("RESTARTS", "4"))
PLENTY_MINOR = 10**12
# A hand-over drops nothing at all; granian's own reload closes a line now and then that nobody has spoken on yet.
HAND_OVER, RELOAD = "hand-over", "reload"


@pytest.fixture
def port() -> int:
    """Where the shop stands in this test."""
    return webserver.free_port()


@pytest.fixture
def twin(port: int) -> Iterator[Twin]:
    """Stripe's twin, whose webhooks go to the live server."""
    with Twin(webhook_url=f"http://127.0.0.1:{port}/webhooks/stripe") as running:
        yield running


@dataclass
class Record:
    """What clients saw, and what they were told is done."""

    way: str = HAND_OVER
    answers: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    placed: dict[str, str] = field(default_factory=dict)
    booked: dict[str, str] = field(default_factory=dict)
    is_over: threading.Event = field(default_factory=threading.Event)


class Client:
    """Somebody who calls the shop and, when a line is dropped before the answer, calls again with the same words."""

    def __init__(self, record: Record, port: int, **headers: str) -> None:
        self.record = record
        self._url = f"http://localhost:{port}"
        self._session = requests.Session()
        self._session.headers.update(headers)

    def close(self) -> None:
        self._session.close()

    def call(self, what: str, method: str, path: str, *, expected: int, **options: object) -> requests.Response:
        """The answer; every other status than the expected one is written down as a fault."""
        deadline = time.monotonic() + 90
        while True:
            assert time.monotonic() < deadline, f"no answer to {method} {path}"
            try:
                answer = self._session.request(  # type: ignore[arg-type]
                    method, self._url + path, timeout=60, allow_redirects=False, **options
                )
            except requests.ConnectionError:
                self.record.dropped[self.record.way] += 1
                time.sleep(0.05)
                continue
            self.record.answers[what] += 1
            if answer.status_code != expected:
                self.record.faults.append(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
            return answer


class _Crew:
    """The worker on duty, and the one that comes before it leaves."""

    def __init__(self, settings: config.Settings) -> None:
        self._settings = settings
        self._on_duty: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._on_duty:
            processes.kill(worker)

    def relieve(self) -> None:
        """Start a worker, wait until it works, and let the one before finish what it has begun."""
        self._begin()
        self.drain()

    def drain(self) -> None:
        """SIGTERM to the worker that is on duty for longest, and wait for its end."""
        self._on_duty[0].terminate()
        assert self._on_duty[0].wait(timeout=90) == 0
        del self._on_duty[0]

    def _begin(self) -> None:
        fresh = processes.start_worker(self._settings)
        self._on_duty.append(fresh)
        processes.wait_until(lambda: any(f":{fresh.pid}:" in row.name for row in Worker.select()), what="the worker")


@pytest.mark.req("F29")
@pytest.mark.timeout(240 + ROUNDS * 90)
def test_web_and_worker_are_restarted_under_load_and_nobody_notices(
    app: flask.Flask,
    merchant: Merchant,
    settings: config.Settings,
    twin: Twin,
    smtp: ScriptedServer,
    port: int,
) -> None:
    settings = settings.model_copy(update={"base_url": f"http://localhost:{port}"})
    _, secret = api_keys.create(merchant, name="Till", scopes=["pos:validate", "pos:redeem"], is_test=True)
    codes = [casting.issue(merchant, value_minor=PLENTY_MINOR)[1] for _ in range(2)]
    record = Record()
    people: list[Callable[[], None]] = [
        lambda: _look_around(Client(record, port)),
        lambda: _buy(Client(record, port), twin),
        lambda: _keep_watch(Client(record, port)),
        *(lambda code=code: _redeem(Client(record, port, Authorization=f"Bearer {secret}"), code) for code in codes),
    ]
    started = time.monotonic()
    with webserver.Site(settings, port=port) as site, _Crew(settings) as crew, ThreadPoolExecutor(len(people)) as pool:
        busy = [pool.submit(person) for person in people]
        try:
            for turn in range(ROUNDS):
                record.way = (HAND_OVER, RELOAD)[turn % 2]
                site.hand_over() if record.way == HAND_OVER else site.reload()
                crew.relieve()
        finally:
            record.is_over.set()
            for person in busy:
                person.result(timeout=120)
        processes.wait_until(_is_everything_done, seconds=120, what="every sale")
        crew.drain()
    print(f"{ROUNDS} rounds in {time.monotonic() - started:.0f} s; answers {dict(record.answers)};"
          f" lines dropped before an answer {dict(record.dropped)}; webhooks {_webhooks(twin)}")  # fmt: skip
    assert record.faults == []
    assert {ended for ended in _webhooks(twin) if isinstance(ended, int)} == {200}
    assert record.dropped[HAND_OVER] == 0
    assert set(record.answers) == {"page", "form", "order", "check", "booking", "log-in", "list", "orders"}
    _assert_sold(record, smtp)
    _assert_booked(record)
    assert audit.is_clean(findings := audit.run()), findings


@pytest.mark.req("F29")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("news", ["name", "name of a failed step", "state", "kind"])
def test_what_a_newer_version_wrote_is_left_alone_and_everything_else_goes_on(
    engine: str,
    news: str,
    client: Browser,
    twin: Twin,
    smtp: ScriptedServer,
    cast: casting.Cast,
    settings: config.Settings,
) -> None:
    """The newer one has added to the lists of names, states and kinds; today's worker and pages stand for the older."""
    with processes.worker(settings):
        order = sales.pay(client, twin, sales.order(client, buyer_email="first@example.com"))
        processes.wait_until(_is_everything_done, what="the first sale")
        _write_as_a_newer_version(engine, order, news)
        before = list(order.steps.dicts())
        sales.pay(client, twin, sales.order(client, buyer_email="second@example.com"))
        processes.wait_until(lambda: len(smtp.messages) == 2, what="the second sale")
        # Two more sweeps, and the order is still as the newer version left it.
        _wait_for_beats(2)
        ready = client.get("/readyz")
        assert ready.status_code == 200, ready.text
    assert list(order.steps.dicts()) == before
    assert sorted(sales.pdfs(smtp)) == ["first@example.com", "second@example.com"]
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    buyer_page = urlsplit(links.order_url(order)).path
    for page in ("/dashboard", "/dashboard/orders", f"/dashboard/orders/{order.number}", buyer_page):
        assert client.get(page).status_code == 200, page
    assert audit.is_clean(findings := audit.run()), findings


def _write_as_a_newer_version(engine: str, order: Order, news: str) -> None:
    if engine == "sqlite":
        database.db.execute_sql("PRAGMA ignore_check_constraints = 1")
    else:
        for check in ("name", "state"):
            database.db.execute_sql(f"ALTER TABLE steps DROP CONSTRAINT steps_{check}_check")
    newest = order.steps.order_by(Step.id.desc()).first()
    if news.startswith("name"):
        state = "dead" if "failed" in news else "ready"
        Step.create(order=order, unit_no=1, name="wallet_pass", state=state, not_before=newest.not_before)
    elif news == "state":
        Step.update(state="parked").where(Step.id == newest.id).execute()
    else:
        timeline.record(order.merchant, "wallet_pass_made", order=order, device="phone")


def _wait_for_beats(count: int) -> None:
    for _ in range(count):
        last = Worker.select(peewee.fn.MAX(Worker.seen_at)).scalar()
        processes.wait_until(
            lambda last=last: Worker.select(peewee.fn.MAX(Worker.seen_at)).scalar() > last, what="another sweep"
        )


def _look_around(client: Client) -> None:
    while not client.record.is_over.wait(0.1):
        client.call("page", "GET", "/s/cafe-alba", expected=200)
    client.close()


def _buy(client: Client, twin: Twin) -> None:
    """One order after the other; the form carries a nonce, so that it is safe to send it again."""
    for number in range(10**6):
        if client.record.is_over.wait(0.6):
            break
        nonce = _hidden(client.call("form", "GET", "/s/cafe-alba", expected=200).text, "nonce")
        form = {"amount": "50", "buyer_email": f"buyer{number}@example.com", "buyer_name": "Lukas", "nonce": nonce}
        answer = client.call("order", "POST", "/s/cafe-alba/orders", expected=303, data=form)
        session = re.search(r"cs_test_[A-Za-z0-9]+", answer.headers.get("Location", ""))
        assert session, answer.text
        client.record.placed[form["buyer_email"]] = session.group(0)
        twin.pay(session.group(0))
    client.close()


def _redeem(client: Client, code: str) -> None:
    for number in range(10**6):
        if client.record.is_over.wait(0.05):
            break
        sale = {"code": code, "amount_minor": 1, "currency": "EUR"}
        assert client.call("check", "POST", "/api/v1/vouchers/validate", expected=200, json=sale).json()
        key = f"till-{code}-{number}"
        answer = client.call(
            "booking", "POST", "/api/v1/vouchers/redeem", expected=201, json=sale, headers={"Idempotency-Key": key}
        )
        client.record.booked[key] = answer.text
    client.close()


def _keep_watch(client: Client) -> None:
    """Anna signs in once and stays so through every restart."""
    token = _hidden(client.call("log-in", "GET", "/login", expected=200).text, "csrf_token")
    form = {"email": "anna@alba.example", "password": casting.PASSWORD, "csrf_token": token}
    client.call("log-in", "POST", "/login", expected=303, data=form)
    while not client.record.is_over.wait(0.2):
        listed = client.call("list", "GET", "/dashboard/orders", expected=200).text
        numbers = re.findall(r'href="(/dashboard/orders/[A-Z0-9-]+)"', listed)
        for page in numbers[:1]:
            client.call("orders", "GET", page, expected=200)
    client.close()


def _hidden(html: str, name: str) -> str:
    found = re.search(rf'name="{name}"[^>]*value="([^"]+)"', html)
    assert found, f"no {name} on the page"
    return found.group(1)


def _is_everything_done() -> bool:
    is_paid = not Order.select().where(Order.paid_at.is_null()).exists()
    return is_paid and not Step.select().where(Step.state.not_in(FINISHED)).exists()


def _webhooks(twin: Twin) -> "Counter[int | str]":
    """How each try to deliver an event ended: with a status, or with the name of an error."""
    return Counter(attempt.status or attempt.error for event in twin.events() for attempt in twin.attempts(event["id"]))


def _assert_sold(record: Record, smtp: ScriptedServer) -> None:
    orders = {order.buyer_email: order for order in Order.select()}
    assert Order.select().count() == len(orders) == len(record.placed)
    assert {payment.order.buyer_email: payment.session_id for payment in Payment.select()} == record.placed
    assert Payment.select().count() == len(record.placed)
    assert Counter(str(letter.message["To"]) for letter in smtp.messages) == Counter(record.placed.keys())
    assert set(sales.pdfs(smtp)) == set(record.placed)
    # A drained worker leaves nothing half-done behind: every step took one attempt.
    ended = Counter(attempt.outcome for attempt in StepAttempt.select())
    assert ended == Counter(done=Step.select().count())


def _assert_booked(record: Record) -> None:
    booked = {entry.operation_key: entry for entry in Entry.select().where(Entry.kind == "redeem")}
    operations = {key: redemptions.operation_key(idempotency.scoped(key, is_test=True)) for key in record.booked}
    assert set(booked) == set(operations.values())
    assert Entry.select().where(Entry.kind == "redeem").count() == len(booked)
    for key, answer in record.booked.items():
        assert booked[operations[key]].public_id in answer
    spent = sum(PLENTY_MINOR - voucher.balance_minor for voucher in Voucher.select().where(Voucher.unit.is_null()))
    assert spent == len(record.booked)
