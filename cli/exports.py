"""`flask export vouchers`, `flask export transactions`, `flask export liability`: for the accountant."""

import sys
from collections.abc import Iterable

import click
from flask.cli import with_appcontext

from cli import people
from database import connected
from domain import batch_lines, clock, ledger, money
from effects import export
from effects.outside import here

_MERCHANT = click.option("--merchant", "slug", required=True, help="The shop's slug.")
_LOCALE = click.option("--locale", type=click.Choice(["de", "en"]), help="Semicolons and commas; default: the shop's.")


@click.group("export", help="Take everything away, as CSV on stdout.")
def group() -> None: ...


@group.command("vouchers")
@_MERCHANT
@_LOCALE
@click.option("--with-codes", is_flag=True, help="Full codes; it is written down.")
@with_appcontext
def export_vouchers(slug: str, locale: str | None, with_codes: bool) -> None:
    """Every voucher with its balance now."""
    with connected():
        merchant = people.merchant_called(slug)
        if with_codes:
            export.note_codes(merchant, count=merchant.vouchers.count(), actor="command line")
        _write(export.vouchers(merchant, locale=locale or merchant.locale, has_codes=with_codes))


@group.command("transactions")
@_MERCHANT
@_LOCALE
@with_appcontext
def export_transactions(slug: str, locale: str | None) -> None:
    """Every entry of the ledger, oldest first, with its hash."""
    with connected():
        merchant = people.merchant_called(slug)
        _write(export.transactions(merchant, locale=locale or merchant.locale))


@group.command("liability")
@_MERCHANT
@click.option("--on", "on", required=True, help="The day whose end counts, such as 2026-12-31.")
@with_appcontext
def print_liability(slug: str, on: str) -> None:
    """What the shop owed to the holders of vouchers at the end of a day of its own time zone: `EUR 12500.00`."""
    day = batch_lines.read_day(on)
    if day is None or not 2000 <= day.year <= 2199:
        raise click.BadParameter(f"--on: {on!r} is not a day such as 2026-12-31")
    with connected():
        merchant = people.merchant_called(slug)
        at = clock.end_of_day(day, merchant.time_zone)
        owed = ledger.liability_at(merchant, at, is_test=here().settings.is_test) or {merchant.currency: 0}
    for currency, minor in owed.items():
        click.echo(f"{currency} {money.decimal(minor, currency)}")


def _write(pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


COMMANDS = [group]
