"""`flask worker`, `flask sweep`, `flask reconcile`: the hands of the shop."""

import json
import threading
from datetime import timedelta
from typing import Any

import click
import flask
from flask.cli import with_appcontext

import tasks
from cli import jobs, restore, rewrap
from database import connected
from domain import checkout, clock
from effects import payment, watch, work
from effects.outside import here
from gateways.document import DocumentFailed, Press
from gateways.stripe_checkout import StripeUnavailable

# Found by measuring: a kick is picked up in 25 ms at under 1 % of idle CPU.
_POLL = {"initial_delay": 0.005, "max_delay": 0.05, "backoff": 1.15}


@click.command("worker")
@click.option("--threads", default=2, show_default=True, type=click.IntRange(1, 32), help="Orders worked on at once.")
@click.option("--sweep-seconds", default=tasks.SWEEP_SECONDS, show_default=True, help="Pause between two sweeps.")
@click.option("--watch-seconds", default=tasks.WATCH_SECONDS, show_default=True, help="Pause between two watches.")
@with_appcontext
def run_worker(threads: int, sweep_seconds: float, watch_seconds: float) -> None:
    """Make vouchers, PDFs and mails, and watch over all: queue, sweeper, watch. SIGTERM finishes what is begun."""
    app = flask.current_app._get_current_object()  # type: ignore[attr-defined]
    # The press takes a second to warm up; the first mails need not wait for it.
    threading.Thread(target=_warm, args=(here().press,), name="warm", daemon=True).start()
    stop = threading.Event()
    watchers = [
        threading.Thread(target=tasks.sweep_until, args=(app, stop), kwargs={"seconds": sweep_seconds}, name="sweep"),
        threading.Thread(target=tasks.watch_until, args=(app, stop), kwargs={"seconds": watch_seconds}, name="watch"),
    ]
    for thread in watchers:
        thread.start()
    consumer = app.extensions["huey"].create_consumer(
        workers=threads, periodic=False, graceful_signal="TERM", shutdown_timeout=60, **_POLL
    )
    try:
        consumer.run()
    finally:
        stop.set()
        for thread in watchers:
            thread.join(timeout=60)
        here().press.close()


def _warm(press: Press) -> None:
    try:
        press.warm()
    except DocumentFailed as error:
        click.echo(f"PDFs cannot be made: {error.detail}", err=True)


@click.command("sweep")
@click.option("--once", is_flag=True, required=True, help="One round, then exit.")
@with_appcontext
def sweep(once: bool) -> None:
    """Do whatever is due now, without a worker; prints what was done as JSON."""
    with connected():
        done: dict[str, Any] = dict(work.sweep(tasks.worker_name()))
        click.echo(json.dumps(done | {"watch": watch.run(clock.now())}))
    here().press.close()


@click.command("reconcile")
@click.option("--days", type=click.IntRange(1, 30), help="Hold the payments of so many days against the books, too.")
@with_appcontext
def reconcile(days: int | None) -> None:
    """Ask Stripe about every payment that nobody has reported yet; prints the outcomes as JSON.

    With --days also: events that did not reach us, and every payment of these days that no order explains.
    """
    with connected():
        try:
            if days is None:
                found: dict[str, Any] = dict(payment.reconcile(checkout.payments_in_doubt()))
            else:
                found = watch.reconcile(clock.now(), span=timedelta(days=days))
        except StripeUnavailable:
            found = {"unreachable": 1}
    click.echo(json.dumps(found))
    if found.get("unreachable"):
        raise click.ClickException("Stripe did not answer for some payments; run the command again in a minute.")


COMMANDS = [run_worker, sweep, reconcile, *jobs.COMMANDS, *restore.COMMANDS, *rewrap.COMMANDS]
