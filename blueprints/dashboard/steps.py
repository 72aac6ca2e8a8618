"""The buttons on a step: try now, stop, send again, correct the address. Each is one conditional change and a ring."""

import math
from collections.abc import Callable
from datetime import timedelta

from flask import abort, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from blueprints import addresses
from blueprints.dashboard import desk, orders
from blueprints.dashboard.desk import blueprint
from domain import clock, fulfilment
from domain.states import StepState
from effects.outside import here
from models import Order, Step

# Between two copies of the same mail, so that nobody is flooded by an impatient finger.
BETWEEN_COPIES = timedelta(seconds=60)
# No id is larger; a longer number in the address is a page that does not exist.
_STEP = "/orders/<number>/steps/<int(max=9007199254740991):step_id>"


@blueprint.post(f"{_STEP}/retry")
def retry_step(number: str, step_id: int) -> ResponseReturnValue:
    """Try a waiting or stopped step now; ten clicks are one try."""
    order, step = _order_and_step(number, step_id)
    return _do(
        order,
        lambda: fulfilment.retry(order, step.id, token=_token(), actor=desk.actor()),
        done=_("Trying now"),
    )


@blueprint.post(f"{_STEP}/stop")
def stop_step(number: str, step_id: int) -> ResponseReturnValue:
    """Let a waiting or planned step rest until somebody resumes it."""
    order, step = _order_and_step(number, step_id)
    return _do(
        order,
        lambda: fulfilment.stop(order, step.id, token=_token(), actor=desk.actor()),
        done=_("Stopped"),
    )


@blueprint.post(f"{_STEP}/resend")
def resend_step(number: str, step_id: int) -> ResponseReturnValue:
    """Send a mail that went out before once more, under a number of its own."""
    order, step = _order_and_step(number, step_id)
    seconds = seconds_to_wait(step)
    if step.state == StepState.DONE and seconds > 0:
        return orders.answer(order, ("run", _("It went out a moment ago. Wait %(seconds)s seconds.", seconds=seconds)))
    return _do(
        order,
        lambda: fulfilment.resend(order, step.id, token=_token(), actor=desk.actor()),
        done=_("E-mail queued"),
    )


@blueprint.post(f"{_STEP}/address")
def correct_address(number: str, step_id: int) -> ResponseReturnValue:
    """Give a mail that did not arrive another address and send it now."""
    order, step = _order_and_step(number, step_id)
    typed = request.form.get("email", "").strip()[:320]
    email = addresses.read(typed)
    if email is None:
        sentence = _("Enter a complete e-mail address, such as anna@example.com.") if typed else _("Enter an address.")
        return orders.answer(order, ("bad", sentence), status=422, mistyped=(step.id, typed, sentence))
    return _do(
        order,
        lambda: fulfilment.correct_address(order, step.id, email=email, token=_token(), actor=desk.actor()),
        done=_("Address corrected"),
    )


@blueprint.app_template_global()
def is_resumable(step: Step) -> bool:
    """A person may take it up again; what a freeze stopped thaws by itself."""
    return step.state == StepState.SKIPPED and step.error_code in fulfilment.RESUMED_BY_HAND


@blueprint.app_template_global()
def seconds_to_wait(step: Step) -> int:
    """How many seconds until a mail that went out may be sent again; 0 when it may."""
    if not step.is_mail or step.finished_at is None:
        return 0
    return max(0, math.ceil((step.finished_at + BETWEEN_COPIES - clock.now()).total_seconds()))


def _do(order: Order, verb: Callable[[], object], *, done: str) -> ResponseReturnValue:
    notice = desk.attempt(verb, done=done)
    here().ring(order.id)
    return orders.answer(order, notice)


def _order_and_step(number: str, step_id: int) -> tuple[Order, Step]:
    order = desk.order_or_404(number)
    return order, order.steps.where(Step.id == step_id).first() or abort(404)


def _token() -> int:
    typed = request.form.get("token", "")
    return int(typed) if typed.isascii() and typed.isdigit() and len(typed) < 10 else -1
