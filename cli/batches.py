"""`flask batch import`, `flask batch issue`, `flask batch list`: many vouchers at once, without a browser.

Sentences go to stderr, results to stdout. Exit 0: everything became vouchers; 1: something did not; 2: wrong call.
"""

import sys
import time
from datetime import datetime
from pathlib import Path

import click
import flask_babel
from flask.cli import with_appcontext

from blueprints.dashboard import batch_words
from cli import people
from database import connected
from domain import batch_lines, batches, catalogue, clock, money
from domain.states import BatchKind, BatchState, RowState, VoucherType
from effects import batch as batch_effects
from gateways.tables import TableRefused
from models import Batch, BatchRow, Merchant

_ACTOR = "command line"
_SHOWN = 50
_MERCHANT = click.option("--merchant", "slug", required=True, help="The shop's slug.")
_TYPES = click.Choice([kind.value for kind in VoucherType])
_TYPE = click.option("--type", "type_name", default="gift_card", show_default=True, type=_TYPES)
_EXPIRES = click.option("--expires", default="", help="usual, none, or a day such as 2029-12-31.")
_YES = click.option("--yes", is_flag=True, help="Do not ask; refused rows stay out.")


@click.group("batch", help="Many vouchers at once.")
def group() -> None: ...


@group.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_MERCHANT
@click.option("--dry-run", is_flag=True, help="Check the file and stop.")
@_YES
@_TYPE
@_EXPIRES
@with_appcontext
def import_file(file: Path, slug: str, dry_run: bool, yes: bool, type_name: str, expires: str) -> None:
    """Take over another system's codes with their balances from a CSV file."""
    with connected(), flask_babel.force_locale("en"):
        merchant = people.merchant_called(slug)
        with file.open("rb") as opened:
            raw = opened.read(batch_effects.MOST_BYTES + 1)
        try:
            draft = batch_effects.draft_file(
                merchant,
                raw,
                kind=BatchKind.IMPORT,
                name=file.name[:80],
                type=VoucherType(type_name),
                expires_at=_expiry(merchant, expires or "none"),
                actor=_ACTOR,
            )
        except TableRefused as error:
            raise click.BadParameter(batch_words.refused_file(error)) from error
        _go(draft, is_dry=dry_run, is_agreed=yes)


@group.command("issue")
@_MERCHANT
@click.option("--count", required=True, type=click.IntRange(1, batch_effects.MOST_ROWS))
@click.option("--value", required=True, help="Of each voucher, such as 50 or 37.50.")
@click.option("--name", default="", help="So that you find the batch again.")
@click.option("--reference", default="", help="Stands on each voucher.")
@_YES
@_TYPE
@_EXPIRES
@with_appcontext
def issue(
    slug: str, count: int, value: str, name: str, reference: str, yes: bool, type_name: str, expires: str
) -> None:
    """Issue many new vouchers of one value."""
    with connected(), flask_babel.force_locale("en"):
        merchant = people.merchant_called(slug)
        value_minor = batch_lines.read_value(value, merchant.currency)
        if isinstance(value_minor, str):
            raise click.BadParameter(f"--value: {batch_words.problem(batch_lines.Problem('balance', value_minor))}")
        draft = batch_effects.draft_count(
            merchant,
            count=count,
            value_minor=value_minor,
            name=name[:80] or f"{count} × {money.display(value_minor, merchant.currency, 'en')}",
            type=VoucherType(type_name),
            expires_at=_expiry(merchant, expires or "usual"),
            reference=reference[: batch_lines.LONGEST_TEXT],
            actor=_ACTOR,
        )
        _go(draft, is_dry=False, is_agreed=yes)


@group.command("list")
@click.option("--merchant", "slug", default="", help="Only this shop.")
@with_appcontext
def list_batches(slug: str) -> None:
    """Every batch, newest first: id, shop, state, done of total, value, name."""
    with connected():
        query = Batch.select(Batch, Merchant).join(Merchant).order_by(Batch.id.desc())
        listed = list(query.where(Batch.merchant == people.merchant_called(slug)) if slug else query)
        tallies = batches.tallies(listed)
        for batch in listed:
            tally = tallies.get(batch.id, batches.Tally({}, {}))
            value = money.decimal(tally.done_minor, batch.currency)
            counted = f"{tally.done}/{tally.total}"
            click.echo("\t".join((batch.public_id, batch.merchant.slug, batch.state, counted, value, batch.name)))


def _go(draft: Batch, *, is_dry: bool, is_agreed: bool) -> None:
    tally = batches.tally(draft)
    _say_problems(draft, tally)
    before_minor = batches.liability_minor(draft)
    after_minor = before_minor + tally.waiting_minor
    shown = [money.display(minor, draft.currency, "en") for minor in (tally.waiting_minor, before_minor, after_minor)]
    click.echo(f"{tally.waiting} ready ({shown[0]}), {tally.refused} refused; owed before {shown[1]}, after {shown[2]}")
    is_wanted = tally.waiting > 0 and not is_dry and (is_agreed or _is_confirmed(draft, tally))
    if not is_wanted:
        batches.discard(draft)
        raise SystemExit(0 if is_dry and not tally.refused else 1)
    batch_effects.start(draft, actor=_ACTOR)
    finished = _work_off(draft)
    click.echo(f"{draft.public_id} {finished.state}: {batches.tally(draft).done} issued")
    _say_problems(draft, batches.tally(draft), states=(RowState.FAILED,))
    if batches.tally(draft).done < tally.total + tally.refused:
        raise SystemExit(1)


def _is_confirmed(draft: Batch, tally: batches.Tally) -> bool:
    """Ask on a terminal; anywhere else nobody can say yes, and nothing happens."""
    if not sys.stdin.isatty():
        click.echo("Nothing was issued. Add --yes to go on without a question.", err=True)
        return False
    return click.confirm(f"{batch_words.start_label(draft, tally)}?", err=True)


def _work_off(batch: Batch) -> Batch:
    """Work here and now, beside any worker, until nothing is left or somebody pauses or stops it."""
    is_terminal = sys.stderr.isatty()
    while True:
        worked = batch_effects.run_due(batch_id=batch.id)
        now: Batch = Batch.get_by_id(batch.id)
        if is_terminal:
            tally = batches.tally(now)
            click.echo(
                f"\r{tally.total - tally.waiting} of {tally.total}", nl=now.state != BatchState.RUNNING, err=True
            )
        if now.state != BatchState.RUNNING:
            return now
        if not worked:
            time.sleep(0.2)  # a worker has taken it up; it is as good as we are


def _say_problems(
    batch: Batch, tally: batches.Tally, *, states: tuple[RowState, ...] = (RowState.REFUSED, RowState.FAILED)
) -> None:
    rows = list(batch.rows.where(BatchRow.state.in_(states)).limit(_SHOWN))
    for row in rows:
        for problem in batch_lines.decode(row.problem):
            click.echo(f"row {row.row_no}, {problem.column}: {batch_words.problem(problem)}", err=True)
    left = sum(tally.counts.get(state, 0) for state in states) - len(rows)
    if left > 0:
        click.echo(f"… and {left} more rows", err=True)


def _expiry(merchant: Merchant, wanted: str) -> datetime | None:
    if wanted in ("usual", "none"):
        return catalogue.usual_expiry(merchant) if wanted == "usual" else None
    day = batch_lines.read_day(wanted)
    if day is None or day.year > 2199 or day < clock.today(merchant.time_zone):
        raise click.BadParameter(f"--expires: {wanted!r} is not `usual`, `none` or a day to come such as 2029-12-31")
    return clock.end_of_day(day, merchant.time_zone)


COMMANDS = [group]
