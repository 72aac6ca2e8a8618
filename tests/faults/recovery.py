"""What time does by itself after a fault: leases of the dead run out, pauses end, Stripe may be asked again."""

from datetime import timedelta

from domain import clock
from domain.states import FINISHED, UNSETTLED, StepState
from models import Payment, Step


def let_time_pass(order_id: int) -> None:
    """Everything of one order that waits for a moment is due now."""
    let_leases_run_out(order_id)
    end_pauses(order_id)
    past, mine = clock.now() - timedelta(seconds=1), Payment.order == order_id
    Payment.update(next_check_at=past).where(mine, Payment.state.in_(UNSETTLED)).execute()


def let_leases_run_out(order_id: int) -> None:
    """Whoever works on a step of the order is taken for dead."""
    past, mine = clock.now() - timedelta(seconds=1), Step.order == order_id
    Step.update(lease_until=past).where(mine, Step.state == StepState.RUNNING, Step.lease_until > past).execute()


def end_pauses(order_id: int) -> None:
    """The pauses between two tries are over."""
    past, mine = clock.now() - timedelta(seconds=1), Step.order == order_id
    waiting = Step.state.in_((StepState.RETRY_WAIT, StepState.UNKNOWN))
    Step.update(not_before=past).where(mine, waiting, Step.not_before > past).execute()


def is_anything_open(order_id: int) -> bool:
    """Whether something is left to do for a paid order."""
    steps = Step.select().where(Step.order == order_id)
    return not steps.exists() or steps.where(Step.state.not_in(FINISHED)).exists()
