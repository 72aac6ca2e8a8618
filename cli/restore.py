"""`flask after-restore`: what has to happen once a backup was put back, before the shop opens again."""

from datetime import timedelta

import click
from flask.cli import with_appcontext

from database import connected
from domain import audit, clock, money, needs, restores
from effects import watch
from gateways.stripe_checkout import StripeUnavailable

_SPAN = timedelta(days=30)


@click.command("after-restore")
@click.option("--skip", default=restores.BLOCK, show_default=True, type=click.IntRange(1, 1_000_000), help="Numbers.")
@with_appcontext
def after_restore(skip: int) -> None:
    """Make a restored backup safe: skip numbers, hold 30 days of payments against it, list what nothing explains.

    Run it once, with web and worker stopped. Exits 1 when something is left for a person.
    """
    with connected():
        for slug, number in restores.skip_numbers(by=skip).items():
            click.echo(f"{slug}: the next order is {number}")
        _compare()
        is_clean = audit.is_clean(audit.run())
        click.echo("The books add up." if is_clean else "The books do not add up; see: flask audit")
        left = _list_strays()
    click.echo(_ADVICE)
    if left or not is_clean:
        raise SystemExit(1)


def _compare() -> None:
    try:
        found = watch.reconcile(clock.now(), span=_SPAN)
    except StripeUnavailable as error:
        raise click.ClickException(
            "Stripe did not answer, so nothing is known about payments after the backup. Numbers are skipped already;"
            f" run `flask reconcile --days 30` before the shop opens. It said: {' '.join(str(error).split())}"
        ) from error
    for name, counts in found.items():
        shown = ", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or "nothing"
        click.echo(f"{name}: {shown}")


def _list_strays() -> int:
    strays = needs.strays(None)
    for stray in strays:
        amount = money.display(stray.amount_minor, stray.currency, "en")
        click.echo(
            f"! {amount} was paid, and its order {stray.reference or '–'} is not in this backup: {stray.session_id}"
        )
    return len(strays)


_ADVICE = """
What to do now:
1. Each payment above marked with ! has a buyer who waits: find it in Stripe by its id, make a voucher by hand and mail
   it, or refund it. The dashboard shows it in red until then.
2. Redemptions after the backup are not in the books. Compare the tills' own records with the list of transactions
   (GET /api/v1/transactions) and book what is missing as an adjustment with its reason.
3. Start the worker; mails that had gone out after the backup may go out once more, under their old Message-ID.
"""

COMMANDS = [after_restore]
