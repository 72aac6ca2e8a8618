"""A backup that is older than Stripe: every payment is explained or red within one round, and no number comes twice."""

import shutil
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import flask
import psycopg
import pytest

import database
from domain import audit, clock, needs
from effects import watch
from gateways.stripe_twin import Twin
from models import Merchant, Order, Payment, Stray, Voucher
from tests import cast as casting
from tests import sales
from tests.browser import Browser


class Backup:
    """A copy of the database as it is now; `restore` puts it back over whatever happened since."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url, self._file = url, folder / "backup.db"
        self._copy("to")

    def restore(self) -> None:
        self._copy("from")

    def _copy(self, way: str) -> None:
        database.db.close()
        database.db.obj.close_all()
        if self._url.startswith("sqlite"):
            self._copy_file(Path(self._url.removeprefix("sqlite:///")), way)
        else:
            self._copy_database(urlsplit(self._url).path.strip("/"), way)
        database.db.connect()

    def _copy_file(self, live: Path, way: str) -> None:
        source, target = (live, self._file) if way == "to" else (self._file, live)
        for leftover in ("-wal", "-shm"):  # everybody has let go, so the file is whole without them
            Path(f"{target}{leftover}").unlink(missing_ok=True)
        shutil.copy(source, target)

    def _copy_database(self, live: str, way: str) -> None:
        kept = f"{live}_backup"
        source, target = (live, kept) if way == "to" else (kept, live)
        server = urlunsplit(urlsplit(self._url)._replace(path="/postgres"))
        with closing(psycopg.connect(server, autocommit=True)) as line:
            line.execute(f'DROP DATABASE IF EXISTS "{target}" WITH (FORCE)')
            line.execute(f'CREATE DATABASE "{target}" TEMPLATE "{source}"')
            if way == "from":
                line.execute(f'DROP DATABASE "{source}" WITH (FORCE)')


@pytest.fixture
def back_up(cast: casting.Cast, database_url: str, tmp_path: Path) -> Callable[[], Backup]:
    return lambda: Backup(database_url, tmp_path)


def sell(client: Browser, number: int) -> str:
    """The Checkout session of another buyer."""
    return sales.order(client, amount="50", buyer_email=f"buyer{number}@example.com")


@pytest.mark.req("F66", "G17", "G18")
def test_after_a_restore_every_payment_at_stripe_is_explained_or_red_within_one_round(
    app: flask.Flask, client: Browser, twin: Twin, back_up: Callable[[], Backup], sweep: Callable[[], object]
) -> None:
    before = [sell(client, n) for n in range(3)]  # one is paid, one is paid after the backup, one never
    sales.pay(client, twin, before[0])
    sweep()
    backup = back_up()
    sales.pay(client, twin, before[1])
    after = [sell(client, n) for n in range(3, 6)]
    for session_id in after[:2]:
        sales.pay(client, twin, session_id)
    sweep()
    assert Voucher.select().count() == 4
    backup.restore()
    assert Voucher.select().count() == 1
    clock.move(timedelta(minutes=1))
    watch.run(clock.now())
    sweep()
    explained = {payment.session_id for payment in Payment.select().where(Payment.state == "paid")}
    red = {stray.session_id for stray in Stray.select()}
    assert explained == set(before[:2]) and red == set(after[:2])
    assert needs.unmatched(Merchant.get(Merchant.slug == "cafe-alba"), clock.now()).count == 2
    assert Voucher.select().count() == 2
    assert audit.is_clean(audit.run())


@pytest.mark.req("F66")
def test_the_command_after_restore_skips_numbers_lists_what_nothing_explains_and_says_what_to_do(
    app: flask.Flask, client: Browser, twin: Twin, back_up: Callable[[], Backup]
) -> None:
    backup = back_up()
    lost = sell(client, 1)
    given_away = sales.pay(client, twin, lost).number
    backup.restore()
    run = app.test_cli_runner().invoke(args=["after-restore"])
    assert run.exit_code == 1, run.output
    assert "! €50.00 was paid" in run.output and lost in run.output
    assert "cafe-alba: the next order is G-11001" in run.output
    assert "What to do now" in run.output
    assert sales.order_of(sell(client, 2)).number == "G-11001" != given_away
    assert not Order.select().where(Order.number == given_away).exists()


@pytest.mark.req("F66")
def test_a_restore_that_lost_nothing_says_so(
    app: flask.Flask, client: Browser, twin: Twin, back_up: Callable[[], Backup], sweep: Callable[[], object]
) -> None:
    sales.pay(client, twin, sell(client, 1))
    sweep()
    back_up().restore()
    run = app.test_cli_runner().invoke(args=["after-restore"])
    assert run.exit_code == 0, run.output
    assert "payments: 1 known" in run.output and "The books add up." in run.output


@pytest.mark.req("F66")
def test_without_an_answer_from_stripe_the_command_says_that_nothing_is_known(
    app: flask.Flask, client: Browser, twin: Twin, back_up: Callable[[], Backup]
) -> None:
    back_up().restore()
    twin.switch("down")
    run = app.test_cli_runner().invoke(args=["after-restore"])
    assert run.exit_code == 1 and "flask reconcile --days 30" in run.output
