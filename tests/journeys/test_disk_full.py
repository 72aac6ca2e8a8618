"""The disk is full, or the power fails: what was acknowledged is there, nothing is half, and it goes on afterwards."""

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import flask
import peewee
import pytest

import config
import database
from domain import api_keys, audit
from effects import payment, work
from gateways.stripe_twin import Twin
from models import Entry, Merchant, Order, Voucher
from tests import cast as casting
from tests import sales
from tests.browser import Browser
from tests.faults import promises, recovery
from tests.smtp import ScriptedServer

PLENTY = 1_073_741_823
# Free pages of 4 kB, and how many vouchers are bought: the steps of twelve need a new page, a single sale some twenty.
ROOM = ((0, 12), (1, 12), (0, 1), (1, 1), (2, 1), (3, 1), (4, 1), (6, 1), (8, 1), (11, 1), (14, 1), (18, 1), (40, 1))
OUTAGES = 40
on_sqlite = pytest.mark.parametrize("engine", ["sqlite"])


@contextmanager
def full_disk(*, pages: int) -> Iterator[None]:
    """The database may grow by so many pages and no further."""
    size = database.db.execute_sql("PRAGMA page_count").fetchone()[0]
    assert database.db.execute_sql(f"PRAGMA max_page_count = {size + pages}").fetchone()[0] == size + pages
    try:
        yield
    finally:
        database.db.execute_sql(f"PRAGMA max_page_count = {PLENTY}").fetchone()


@on_sqlite
@pytest.mark.req("F26")
@pytest.mark.timeout(240)
def test_a_full_disk_at_any_point_of_a_sale_leaves_nothing_half(
    client: Browser, twin: Twin, smtp: ScriptedServer, merchant: Merchant
) -> None:
    seen = set()
    for pages, units in ROOM:
        order = casting.place(merchant, *[""] * units)
        payment.start(order)
        event = twin.signed(twin.pay(order.latest_payment.session_id, deliver=False))
        with full_disk(pages=pages):
            answer = client.post("/webhooks/stripe", data=event[0], headers=event[1]).status_code
            assert answer in (200, 503), answer
            is_raised = is_work_interrupted(order)
            assert Order.get_by_id(order.id).is_paid == (answer == 200)
            promises.assert_books()
        seen.add((answer, is_raised, not recovery.is_anything_open(order.id)))
        if answer == 503:
            assert client.post("/webhooks/stripe", data=event[0], headers=event[1]).status_code == 200
        recovery.let_time_pass(order.id)
        work.run_due("after", order_id=order.id)
        promises.assert_kept(order, smtp.messages)
    promises.assert_books()
    assert {answer for answer, _, _ in seen} == {200, 503}, "the disk was never full, or always"
    assert True in {done for _, _, done in seen} and (200, False) in {(a, d) for a, _, d in seen}, seen


@on_sqlite
@pytest.mark.req("F26")
def test_a_full_disk_is_called_so_and_leaves_no_transaction_open(app: flask.Flask, merchant: Merchant) -> None:
    with full_disk(pages=0), pytest.raises(peewee.OperationalError, match="full"), database.transaction():
        Merchant.update(name="Nobody's").execute()
        database.db.execute_sql("CREATE TABLE scrap AS SELECT zeroblob(1000000) AS emptiness")
    assert not database.db.in_transaction() and not database.db.connection().in_transaction
    assert Merchant.get().name == merchant.name
    # When SQLite has rolled back by itself, as it may on a full disk, a second ROLLBACK must not hide why.
    with pytest.raises(peewee.IntegrityError), database.transaction():
        database.db.execute_sql("INSERT OR ROLLBACK INTO merchants SELECT * FROM merchants")
    with database.transaction():
        Merchant.update(name="Café Alba & Söhne").execute()
    assert Merchant.get().name == "Café Alba & Söhne"


@on_sqlite
@pytest.mark.req("F26")
def test_a_redemption_on_a_full_disk_is_not_booked_and_its_repetition_is(client: Browser, merchant: Merchant) -> None:
    _, secret = api_keys.create(merchant, name="Till", scopes=["pos:redeem"], is_test=True)
    voucher, code = casting.issue(merchant, value_minor=10**6)
    till, refused, booked = sales.Till(client, secret), 0, 0
    for number in range(400):
        with full_disk(pages=0):
            answer = till.redeem(code, 1, key=f"bon-{number}")
        assert answer.status_code in (201, 503), answer.text
        if answer.status_code == 503:
            assert Voucher.get_by_id(voucher.id).balance_minor == 10**6 - booked
            promises.assert_books()
            assert till.redeem(code, 1, key=f"bon-{number}").status_code == 201
            refused += 1
        booked += 1
        if refused == 4:
            break
    assert refused == 4, "the disk was never full"
    assert Voucher.get_by_id(voucher.id).balance_minor == 10**6 - booked
    assert Entry.select().where(Entry.kind == "redeem").count() == booked
    promises.assert_books()


@pytest.mark.req("F27")
def test_every_connection_waits_until_a_commit_is_on_the_disk(app: flask.Flask, engine: str) -> None:
    def ask(what: str) -> Any:
        return database.db.execute_sql(what).fetchone()[0]

    if engine == "sqlite":
        assert (ask("PRAGMA synchronous"), ask("PRAGMA journal_mode")) == (2, "wal")
        return
    assert ask("SHOW synchronous_commit") in ("on", "remote_write", "remote_apply")
    assert (ask("SHOW fsync"), ask("SHOW full_page_writes")) == ("on", "on")


@on_sqlite
@pytest.mark.req("F27")
@pytest.mark.timeout(240)
def test_what_was_acknowledged_survives_a_power_cut(
    client: Browser,
    twin: Twin,
    smtp: ScriptedServer,
    merchant: Merchant,
    settings: config.Settings,
    tmp_path: Path,
    chance: random.Random,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuts = PowerCuts(Path(settings.database_url.removeprefix("sqlite:///")), tmp_path / "outage", chance)
    monkeypatch.setattr(database.db.obj, "commit", cuts.around(database.db.obj.commit))
    while cuts.outages < OUTAGES:
        order = casting.place(merchant)
        payment.start(order)
        event = twin.signed(twin.pay(order.latest_payment.session_id, deliver=False))
        assert client.post("/webhooks/stripe", data=event[0], headers=event[1]).status_code == 200
        cuts.acknowledged.append(order.number)
        work.run_due("worker", order_id=order.id)
        promises.assert_kept(order, smtp.messages, copies=1)
    assert cuts.lost > OUTAGES / 4, "the tail that was not on the disk yet was never lost"


class PowerCuts:
    """Copies of the database's files as the disk has them when the power fails during a commit.

    All that earlier commits wrote is on the disk, as each waited for it; of this one's pages any part may be, in any
    state. `outages` were looked at, `lost` of them lost the commit that was under way.
    """

    def __init__(self, file: Path, folder: Path, chance: random.Random) -> None:
        self._file, self._folder, self._chance = file, folder, chance
        self.acknowledged: list[str] = []
        self.outages = self.lost = 0

    def around(self, commit: Callable[[], None]) -> Callable[[], None]:
        """A commit that is sometimes looked at."""

        def looked_at() -> None:
            if self._chance.random() > 0.35:
                return commit()
            before = self._log()
            shutil.copy(self._file, self._copied())
            commit()
            after = self._log()
            if after[:32] == before[:32] and len(after) > len(before):
                self._look(before, after)
            return None

        return looked_at

    def _look(self, before: bytes, after: bytes) -> None:
        at = self._chance.randrange(len(before), len(after) + 1)
        tail = after[at:]
        kind = self._chance.choice(("cut", "garbled", "zeros", "whole"))
        rest = {"cut": b"", "garbled": self._chance.randbytes(len(tail)), "zeros": bytes(len(tail)), "whole": tail}
        Path(f"{self._copied()}-wal").write_bytes(after[:at] + rest[kind])
        with closing(sqlite3.connect(self._copied())) as copy:
            assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)], kind
            assert not copy.execute("PRAGMA foreign_key_check").fetchall()
            paid = {number for (number,) in copy.execute("SELECT number FROM orders WHERE payment_state = 'paid'")}
            changes = copy.execute("SELECT count(*) FROM timeline_entries").fetchone()[0]
        assert set(self.acknowledged) <= paid, f"{kind}: Stripe heard 200 and the order is gone"
        self.outages += 1
        self.lost += kind != "whole" and changes <= self._count()
        self._audit()
        for leftover in self._folder.glob("*"):
            leftover.unlink()

    def _count(self) -> int:
        return int(database.db.execute_sql("SELECT count(*) FROM timeline_entries").fetchone()[0])

    def _audit(self) -> None:
        ours = database.db.obj
        try:
            with database.connect(f"sqlite:///{self._copied()}").connection_context():
                findings = audit.run()
        finally:
            database.db.obj.close_all()
            database.db.initialize(ours)
        assert audit.is_clean(findings), [each for each in findings if each.broken]

    def _log(self) -> bytes:
        return Path(f"{self._file}-wal").read_bytes()

    def _copied(self) -> Path:
        self._folder.mkdir(exist_ok=True)
        return self._folder / "disk.db"


def is_work_interrupted(order: Order) -> bool:
    """The worker tries; True when even claiming was too much."""
    try:
        work.run_due("worker", order_id=order.id)
    except peewee.OperationalError:
        return True
    return False
