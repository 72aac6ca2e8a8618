"""The worker's day: claim what is due, run its effect, write down how it ended."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from database import connected
from domain import checkout, clock, fulfilment, holds
from domain.states import StepName
from effects import batch, document, mail, payment, voucher
from gateways.document import DocumentFailed
from gateways.mailer import MailFailed
from gateways.vault import SealBroken
from models import Step

log = structlog.get_logger()

EFFECTS = {
    StepName.CREATE: voucher.create,
    StepName.DOCUMENT: document.make,
    StepName.DELIVER_BUYER: mail.deliver,
    StepName.DELIVER_RECIPIENT: mail.deliver,
    StepName.RECEIPT: mail.confirm_purchase,
}


def run_due(worker: str, *, order_id: int | None = None) -> int:
    """Work on due steps (of one order, if named) until none is left; returns how many were worked on."""
    count = 0
    while (step := mail.claim(worker, order_id=order_id)) is not None:
        perform(step)
        count += 1
    return count


def perform(step: Step) -> None:
    """Run one claimed step. Whatever happens ends as a state that people can see; nothing is raised."""
    try:
        with _kept(step):
            EFFECTS[StepName(step.name)](step)
    except fulfilment.LeaseLost:
        log.warning("lease_lost", step=step.id, name=str(step.name), token=step.token)
    except Exception as error:
        _fail(step, error)


def sweep(worker: str, *, asks_stripe: bool = True) -> dict[str, int]:
    """One round of the sweeper: heartbeat, forgotten orders, due steps, unreported payments, batches, old holds.

    A worker's own watch asks Stripe beside it (`asks_stripe` False), so that a slow Stripe delays no voucher.
    """
    fulfilment.beat(worker)
    for order in fulfilment.unplanned_orders():
        fulfilment.adopt(order)
    steps = run_due(worker)
    asked = payment.reconcile(checkout.payments_to_check(clock.now())) if asks_stripe else {}
    expired = checkout.expire_unopened(clock.now())
    settled = run_due(worker) if asked.get(checkout.Outcome.SETTLED) else 0
    return {
        "steps": steps + settled,
        "payments_asked": sum(asked.values()),
        "orders_expired": expired,
        "batch_rows": batch.run_due(),
        "holds_freed": holds.sweep(at=clock.now()),
    }


@contextmanager
def _kept(step: Step) -> Iterator[None]:
    """Keep the step's lease while its effect runs: a short lease frees a dead worker's step soon."""
    done = threading.Event()
    keeper = threading.Thread(target=_keep, args=(step, done), name="lease", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        done.set()
        keeper.join()


def _keep(step: Step, done: threading.Event) -> None:
    while not done.wait(fulfilment.LEASE.total_seconds() / 3):
        try:
            with connected():
                if not fulfilment.extend(step):
                    return
        except fulfilment.LeaseLost:
            return
        except Exception:
            log.warning("lease_not_extended", step=step.id, exc_info=True)


def _fail(step: Step, error: Exception) -> None:
    failure = _failure(error, step)
    log.warning(
        "step_failed", step=step.id, name=str(step.name), code=failure.code, exc_info=failure.code == "unexpected"
    )
    try:
        fulfilment.fail(step, failure)
    except fulfilment.LeaseLost:
        log.warning("lease_lost", step=step.id, name=str(step.name), token=step.token)


def _failure(error: Exception, step: Step) -> fulfilment.Failure:
    if isinstance(error, MailFailed):
        return mail.failure(error, step=step)
    if isinstance(error, DocumentFailed | document.DocumentDiffers):
        return document.failure(error, step=step)
    if isinstance(error, mail.PdfMissing):
        return fulfilment.Failure("pdf_missing", str(error))
    if isinstance(error, SealBroken):
        return fulfilment.Failure("seal_broken", str(error))
    return fulfilment.Failure("unexpected", f"{type(error).__name__}: {error}")
