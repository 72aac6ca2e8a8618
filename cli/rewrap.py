"""`flask rewrap`: move old secrets to the new key while the shop is open."""

import time

import click
from flask.cli import with_appcontext

from database import connected
from effects import rewrap
from effects.outside import here

_PAUSE_SECONDS = 0.02


@click.command("rewrap")
@click.option("--pause", default=_PAUSE_SECONDS, show_default=True, help="Seconds between two chunks of rows.")
@with_appcontext
def run_rewrap(pause: float) -> None:
    """Seal codes, PDFs and batches that are under an older key of CODE_KEYS under the first one.

    Web and worker must know the new key already. It can be stopped and started again. Exits 1 when a row can't be
    opened.
    """
    done: dict[str, int] = {}
    broken: dict[str, int] = {}
    with connected():
        for step in rewrap.run():
            done[step.table] = done.get(step.table, 0) + step.done
            broken[step.table] = broken.get(step.table, 0) + step.broken
            time.sleep(pause)
        left = rewrap.remaining()
    for table, count in done.items():
        click.echo(f"{table}: {count} sealed under {here().vault.key_id}, {broken[table]} can't be opened")
    if any(left.values()):
        raise click.ClickException(
            "Some rows are still under another key. Rows that can't be opened miss their key in CODE_KEYS or were"
            " changed; the log names them. Others were written meanwhile by a process that does not know the new key:"
            " restart it and run this command again."
        )
    click.echo(
        f"Nothing is sealed under another key than {here().vault.key_id}. Keep the old keys at the end of CODE_KEYS:"
        " links on printed vouchers and in mails, and repeated API calls, are still checked with them."
    )


COMMANDS = [run_rewrap]
