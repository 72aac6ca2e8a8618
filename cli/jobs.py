"""`flask jobs list`, `flask jobs retry`: the work that waits or has stopped, on a terminal."""

import json

import click
import peewee
from flask.cli import with_appcontext

from database import connected
from domain import fulfilment, refusals
from domain.states import RETRYABLE, StepState
from effects.outside import here
from models import Order, Step

_SHOWN = 200


@click.group("jobs", help="Steps that wait for their next try, and those that need somebody.")
def jobs_group() -> None: ...


@jobs_group.command("list")
@click.option("--dead", is_flag=True, help="Only those that have stopped.")
@with_appcontext
def list_jobs(dead: bool) -> None:
    """Print each as a line of JSON, the longest waiting first; `step` is what `flask jobs retry` takes."""
    with connected():
        for step in _waiting(dead=dead).limit(_SHOWN):
            click.echo(json.dumps(_line(step)))


@jobs_group.command("retry")
@click.argument("steps", nargs=-1, type=int)
@click.option("--all-dead", is_flag=True, help="Every step that has stopped.")
@with_appcontext
def retry_jobs(steps: tuple[int, ...], all_dead: bool) -> None:
    """Try these steps again now, each with a new budget: same voucher, same Message-ID. Exits 1 if one was refused."""
    if bool(steps) == all_dead:
        raise click.UsageError("Name steps (see: flask jobs list), or say --all-dead.")
    refused = 0
    with connected():
        chosen = list(_waiting(dead=True) if all_dead else Step.select().where(Step.id.in_(steps)))
        for step in chosen:
            refused += not _retry(step)
    missing = sorted(set(steps) - {step.id for step in chosen})
    if missing:
        click.echo(f"no such step: {', '.join(map(str, missing))}", err=True)
    if refused or missing:
        raise SystemExit(1)


def _waiting(*, dead: bool) -> peewee.ModelSelect:
    states = [StepState.DEAD] if dead else list(RETRYABLE)
    return Step.select(Step, Order).join(Order).where(Step.state.in_(states)).order_by(Step.not_before, Step.id)


def _retry(step: Step) -> bool:
    order = step.order
    try:
        fulfilment.retry(order, step.id, token=step.token, actor="operator")
    except refusals.StepNotRetryable as error:
        click.echo(f"step {step.id} of {order.number}: {error}", err=True)
        return False
    here().ring(order.id)
    click.echo(f"step {step.id} of {order.number}: is tried now")
    return True


def _line(step: Step) -> dict[str, object]:
    return {
        "step": step.id,
        "order": step.order.number,
        "name": step.name,
        "state": step.state,
        "attempt": step.attempt,
        "next_at": step.not_before.isoformat() if step.state != StepState.DEAD else None,
        "code": step.error_code,
    }


COMMANDS = [jobs_group]
