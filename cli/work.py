"""`flask worker`, `flask sweep`, `flask reconcile`: the hands of the shop."""

import json
import threading

import click
import flask
from flask.cli import with_appcontext

import tasks
from database import connected
from domain import checkout
from effects import payment, work
from effects.outside import here
from gateways.document import DocumentFailed, Press

# Found by measuring: a kick is picked up in 25 ms at under 1 % of idle CPU.
_POLL = {"initial_delay": 0.005, "max_delay": 0.05, "backoff": 1.15}


@click.command("worker")
@click.option("--threads", default=2, show_default=True, type=click.IntRange(1, 32), help="Orders worked on at once.")
@click.option("--sweep-seconds", default=tasks.SWEEP_SECONDS, show_default=True, help="Pause between two sweeps.")
@with_appcontext
def run_worker(threads: int, sweep_seconds: float) -> None:
    """Make vouchers, PDFs and mails: the queue's consumer and the sweeper. SIGTERM finishes what is begun."""
    app = flask.current_app._get_current_object()  # type: ignore[attr-defined]
    with connected():
        work.sweep(tasks.worker_name())
    # The press takes a second to warm up; the first mails need not wait for it.
    threading.Thread(target=_warm, args=(here().press,), name="warm", daemon=True).start()
    stop = threading.Event()
    sweeper = threading.Thread(target=tasks.sweep_until, args=(app, stop), kwargs={"seconds": sweep_seconds})
    sweeper.start()
    consumer = app.extensions["huey"].create_consumer(
        workers=threads, periodic=False, graceful_signal="TERM", shutdown_timeout=60, **_POLL
    )
    try:
        consumer.run()
    finally:
        stop.set()
        sweeper.join(timeout=60)
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
        click.echo(json.dumps(work.sweep(tasks.worker_name())))
    here().press.close()


@click.command("reconcile")
@with_appcontext
def reconcile() -> None:
    """Ask Stripe about every payment that nobody has reported yet; prints the outcomes as JSON."""
    with connected():
        counts = payment.reconcile(checkout.payments_in_doubt())
    click.echo(json.dumps(counts))
    if counts.get("unreachable"):
        raise click.ClickException("Stripe did not answer for some payments; run the command again in a minute.")


COMMANDS = [run_worker, sweep, reconcile]
