"""A batch as a worker does it: killed in the middle, by two at once, without the bell, from the command line."""

import csv
import io
import random
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import flask
import pytest

import config
import database
from domain import audit, batches, clock
from domain.states import BatchKind, BatchState, RowState, VoucherType
from effects import batch as batch_effects
from effects import voucher as vouchers
from models import Batch, BatchRow, Entry, Merchant, TimelineEntry, Voucher
from tests import cast as casting
from tests import processes

ROWS, KILLS = 200, 5


def codes(count: int = ROWS) -> list[str]:
    return [f"ALT-{number:05d}" for number in range(count)]


def drafted(seller: Merchant, content: str) -> Batch:
    return batch_effects.draft_file(
        seller, content.encode(), kind=BatchKind.IMPORT, name="old.csv", type=VoucherType.GIFT_CARD, expires_at=None,
        actor="Anna",
    )  # fmt: skip


def imported(seller: Merchant, count: int = ROWS) -> Batch:
    return drafted(
        seller, "code,balance\n" + "".join(f"{code},{10 + n % 7}.50\n" for n, code in enumerate(codes(count)))
    )


def is_over(batch: Batch) -> bool:
    return bool(Batch.get_by_id(batch.id).state == BatchState.DONE)


def assert_each_code_has_one_voucher(batch: Batch, count: int) -> None:
    keys = [row[0] for row in Entry.select(Entry.operation_key).tuples()]
    assert len(keys) == len(set(keys)) == Voucher.select().count() == count
    assert batches.tally(batch).counts == {RowState.DONE: count}
    rows = BatchRow.select(BatchRow, Voucher).join(Voucher)
    for row in rows:
        assert row.voucher.balance_minor == row.value_minor
        assert vouchers.find_by_code(batch.merchant, batch_effects.cells(batch, row)["code"]) == row.voucher
    assert audit.is_clean(audit.run()), audit.run()


@pytest.mark.req("F22")
@pytest.mark.timeout(600)
def test_a_worker_killed_in_the_middle_again_and_again_loses_and_doubles_nothing(
    merchant: Merchant, settings: config.Settings
) -> None:
    chance = random.Random(seed := random.randrange(10**6))
    print(f"seed {seed}")
    batch = imported(merchant)
    batch_effects.start(batch, actor="Anna")
    interrupted = 0
    for kill in range(1, KILLS + 1):
        target = ROWS * kill // (KILLS + 2)
        running = processes.start_worker(settings)
        processes.wait_until(
            lambda target=target: batches.tally(batch).done >= target or is_over(batch), what="progress"
        )  # type: ignore[misc]
        threading.Event().wait(chance.uniform(0, 0.02))
        processes.kill(running)
        interrupted += not is_over(batch)
        Batch.update(lease_until=clock.now() - timedelta(seconds=1)).where(
            Batch.id == batch.id, Batch.state == BatchState.RUNNING
        ).execute()
    print(f"interrupted {interrupted} times")
    assert interrupted >= 1
    with processes.worker(settings):
        processes.wait_until(lambda: is_over(batch), what="the rest of the batch")
    assert_each_code_has_one_voucher(batch, ROWS)
    finished = TimelineEntry.select().where(TimelineEntry.kind == "batch_finished")
    assert [(entry.facts["done"], entry.facts["failed"]) for entry in finished] == [(ROWS, 0)]


@pytest.mark.timeout(300)
def test_two_workers_at_once_share_the_batches_and_double_nothing(
    cast: casting.Cast, settings: config.Settings
) -> None:
    mine, other = imported(cast.alba, 120), imported(cast.berg, 120)
    with processes.worker(settings), processes.worker(settings):
        for batch in (mine, other):
            batch_effects.start(batch, actor="Anna")
        processes.wait_until(lambda: is_over(mine) and is_over(other), what="both batches")
    assert Voucher.select().count() == Entry.select().count() == 240
    assert audit.is_clean(audit.run())


def test_a_worker_that_was_overtaken_in_the_middle_doubles_nothing(app: flask.Flask, merchant: Merchant) -> None:
    batch = imported(merchant, 150)
    batch_effects.start(batch, actor="Anna")
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with app.app_context(), database.connected():
                while not is_over(batch):
                    batch_effects.run_due(batch_id=batch.id, seconds=60)
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for each in workers:
        each.start()
    past = clock.now() - timedelta(seconds=1)
    while any(each.is_alive() for each in workers):
        # Every few moments the lease is declared over, as if its holder had slept for too long.
        with database.transaction():
            Batch.update(lease_until=past).where(Batch.id == batch.id, Batch.state == BatchState.RUNNING).execute()
        threading.Event().wait(0.01)
    assert errors == []
    assert_each_code_has_one_voucher(batch, 150)


@pytest.mark.usefixtures("silent_bell")
def test_without_the_bell_the_sweeper_does_it(
    merchant: Merchant, sweep: Callable[[], dict[str, int]], run_jobs: Callable[[], int]
) -> None:
    batch = imported(merchant, 60)
    batch_effects.start(batch, actor="Anna")
    assert run_jobs() == 0
    assert sweep()["batch_rows"] == 60
    assert_each_code_has_one_voucher(batch, 60)


def test_a_long_batch_goes_in_turns_and_rings_for_the_next_one(
    merchant: Merchant, run_jobs: Callable[[], int], app: flask.Flask
) -> None:
    batch = imported(merchant, 60)
    batch_effects.start(batch, actor="Anna")
    app.extensions["huey"].flush()
    assert batch_effects.run_due(batch_id=batch.id, seconds=0) == batch_effects.CHUNK
    assert not is_over(batch)
    assert run_jobs() >= 1
    assert_each_code_has_one_voucher(batch, 60)


def test_pausing_lets_the_handful_finish_and_going_on_does_the_rest(
    merchant: Merchant, run_jobs: Callable[[], int]
) -> None:
    batch = imported(merchant, 80)
    batch_effects.start(batch, actor="Anna")
    batch_effects.run_due(batch_id=batch.id, seconds=0)
    batches.pause(batch)
    run_jobs()
    assert Voucher.select().count() == batch_effects.CHUNK
    batch_effects.resume(batch)
    run_jobs()
    assert_each_code_has_one_voucher(batch, 80)


def test_stopping_leaves_what_is_done_and_touches_nothing_more(
    merchant: Merchant, run_jobs: Callable[[], int], sweep: Callable[[], dict[str, int]]
) -> None:
    batch = imported(merchant, 80)
    batch_effects.start(batch, actor="Anna")
    batch_effects.run_due(batch_id=batch.id, seconds=0)
    batches.stop(batch, actor="Anna")
    run_jobs()
    sweep()
    tally = batches.tally(batch)
    assert (tally.done, tally.waiting) == (batch_effects.CHUNK, 80 - batch_effects.CHUNK)
    stored = Batch.get_by_id(batch.id)
    assert stored.liability_after_minor == tally.done_minor


def test_the_liability_after_a_stop_counts_the_handful_that_was_under_way(app: flask.Flask, merchant: Merchant) -> None:
    batch = imported(merchant, 400)
    batch_effects.start(batch, actor="Anna")

    def work() -> None:
        with app.app_context(), database.connected():
            batch_effects.run_due(batch_id=batch.id, seconds=60)

    worker = threading.Thread(target=work)
    worker.start()
    processes.wait_until(lambda: batches.tally(batch).done > 0, what="the first handful")
    batches.stop(batch, actor="Anna")
    worker.join()
    stored = Batch.get_by_id(batch.id)
    assert stored.liability_after_minor == batches.tally(batch).done_minor > 0
    (finished,) = TimelineEntry.select().where(TimelineEntry.kind == "batch_finished")
    assert finished.facts["value_minor"] == stored.liability_after_minor


def test_a_row_that_cannot_be_opened_fails_alone(merchant: Merchant, run_jobs: Callable[[], int]) -> None:
    batch = imported(merchant, 10)
    BatchRow.update(sealed=b"changed by hand").where(BatchRow.row_no == 4).execute()
    batch_effects.start(batch, actor="Anna")
    run_jobs()
    tally = batches.tally(batch)
    assert (tally.done, tally.failed) == (9, 1)
    assert BatchRow.get(BatchRow.row_no == 4).problem == "line:sealed"


def test_a_seal_moved_to_another_row_does_not_open(merchant: Merchant, run_jobs: Callable[[], int]) -> None:
    batch = imported(merchant, 2)
    first, second = list(batch.rows)
    BatchRow.update(sealed=first.sealed).where(BatchRow.id == second.id).execute()
    batch_effects.start(batch, actor="Anna")
    run_jobs()
    assert batches.tally(batch).counts == {RowState.DONE: 1, RowState.FAILED: 1}


# The command line


def run(app: flask.Flask, *arguments: str) -> Any:
    return app.test_cli_runner().invoke(args=list(arguments))


def test_the_command_imports_a_file_and_says_what_it_left_out(
    app: flask.Flask, cast: casting.Cast, tmp_path: Path
) -> None:
    file = tmp_path / "alt.csv"
    file.write_text("code;balance\nALT-0001;50,00\nALT-0002;12,50\nAB;1\n")
    dry = run(app, "batch", "import", str(file), "--merchant", "cafe-alba", "--dry-run")
    assert (dry.exit_code, Batch.select().count()) == (1, 0)
    assert "2 ready (€62.50), 1 refused; owed before €0.00, after €62.50" in dry.stdout
    assert "row 4, code: The code is too easy to guess" in dry.stderr
    unasked = run(app, "batch", "import", str(file), "--merchant", "cafe-alba")
    assert (unasked.exit_code, Voucher.select().count()) == (1, 0)
    partly = run(app, "batch", "import", str(file), "--merchant", "cafe-alba", "--yes")
    assert (partly.exit_code, Voucher.select().count()) == (1, 2)
    file.write_text("code;balance\nALT-0003;1\n")
    assert run(app, "batch", "import", str(file), "--merchant", "cafe-alba", "--dry-run").exit_code == 0
    whole = run(app, "batch", "import", str(file), "--merchant", "cafe-alba", "--yes")
    assert (whole.exit_code, Voucher.select().count()) == (0, 3)
    assert "done: 1 issued" in whole.stdout
    listed = run(app, "batch", "list", "--merchant", "cafe-alba")
    assert [line.split("\t")[2:5] for line in listed.stdout.splitlines()] == [
        ["done", "1/1", "1.00"],
        ["done", "2/2", "62.50"],
    ]


def test_the_command_refuses_what_is_no_file_of_codes(app: flask.Flask, cast: casting.Cast, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    for content in (b"", b"\0", b"x" * (3 * 2**20), b"hello\nworld"):
        file.write_bytes(content)
        refused = run(app, "batch", "import", str(file), "--merchant", "cafe-alba")
        assert (refused.exit_code, bool(refused.stderr)) == (2, True)
    assert run(app, "batch", "import", str(tmp_path / "none"), "--merchant", "cafe-alba").exit_code == 2
    assert run(app, "batch", "import", str(file), "--merchant", "nobody").exit_code == 2


def test_the_command_issues_many(app: flask.Flask, cast: casting.Cast) -> None:
    issued = run(app, "batch", "issue", "--merchant", "cafe-alba", "--count", "30", "--value", "50", "--yes")
    assert (issued.exit_code, Voucher.select().count()) == (0, 30), issued.output
    for wrong in (
        ["--count", "0", "--value", "5"],
        ["--count", "1", "--value", "x"],
        ["--count", "1", "--value", "-5"],
    ):
        assert run(app, "batch", "issue", "--merchant", "cafe-alba", *wrong, "--yes").exit_code == 2
    day = ["--count", "1", "--value", "5", "--expires", "2001-01-01"]
    assert run(app, "batch", "issue", "--merchant", "cafe-alba", *day, "--yes").exit_code == 2


def test_the_commands_export_everything_and_print_what_was_owed(app: flask.Flask, cast: casting.Cast) -> None:
    voucher, code = casting.issue(cast.alba, value_minor=5050)
    casting.issue(cast.berg)
    masked = run(app, "export", "vouchers", "--merchant", "cafe-alba")
    (row,) = list(csv.DictReader(io.StringIO(masked.stdout_bytes.decode("utf-8-sig")), delimiter=";"))
    assert (row["id"], row["balance"], row["code"]) == (voucher.public_id, "50,50", f"…{voucher.code_last4}")
    assert code in run(app, "export", "vouchers", "--merchant", "cafe-alba", "--with-codes").stdout
    assert TimelineEntry.select().where(TimelineEntry.kind == "codes_exported").count() == 1
    booked = run(app, "export", "transactions", "--merchant", "cafe-alba", "--locale", "en")
    (entry,) = list(csv.DictReader(io.StringIO(booked.stdout_bytes.decode("utf-8-sig"))))
    assert (entry["amount"], entry["hash"]) == ("50.50", Entry.get(Entry.voucher == voucher).hash)
    today = clock.today("Europe/Vienna")
    assert run(app, "export", "liability", "--merchant", "cafe-alba", "--on", str(today)).stdout == "EUR 50.50\n"
    before = run(app, "export", "liability", "--merchant", "cafe-alba", "--on", str(today - timedelta(days=1)))
    assert before.stdout == "EUR 0.00\n"
    for day in ("x", "0001-01-01", "9999-12-31"):
        assert run(app, "export", "liability", "--merchant", "cafe-alba", "--on", day).exit_code == 2
