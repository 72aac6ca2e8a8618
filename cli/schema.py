"""`flask db upgrade` and `flask db status`: the database's schema, one numbered migration after the other."""

import click
from flask.cli import with_appcontext
from playhouse.migrations import Migration, Runner

from config import ROOT
from database import connected, db


def runner() -> Runner:
    """The migrations of this project on the bound database."""
    return Runner(db.obj, str(ROOT / "migrations"))


def pending() -> list[Migration]:
    """The migrations that the database has not seen."""
    return [migration for migration in runner().status() if migration.applied is None]


@click.group("db", help="The database's schema.")
def group() -> None: ...


@group.command("upgrade")
@with_appcontext
def upgrade() -> None:
    """Apply every pending migration."""
    with connected():
        applied = runner().up()
    click.echo("\n".join(f"applied {name}" for name in applied) or "nothing to apply")


@group.command("status")
@with_appcontext
def status() -> None:
    """List the migrations; exit 1 when one is pending."""
    with connected():
        rows = runner().status()
    for migration in rows:
        click.echo(f"{'applied' if migration.applied else 'pending'}  {migration.name}")
    if any(migration.applied is None for migration in rows):
        raise SystemExit(1)


COMMANDS = [group]
