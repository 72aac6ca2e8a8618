"""Money that goes back, and what people decide about payments that do not fit. Owners only; ten clicks are one."""

import hashlib
from collections.abc import Callable

from flask import abort, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from blueprints import returns
from blueprints.dashboard import desk, fields, orders, payment_troubles, refund_form, refund_words, roles
from blueprints.dashboard.desk import blueprint
from blueprints.dashboard.refund_form import RefundForm
from domain import checkout, disputes, refund_room, refusals
from domain import refunds as refund_rules
from domain.states import RefundState
from effects import refund as money_back
from effects.outside import here
from models import Dispute, Order, Payment, Refund


@blueprint.get("/orders/<number>/refund")
def show_refund(number: str) -> ResponseReturnValue:
    """The form, on the order's page; with amounts in the address it says what they would come to."""
    order = desk.order_or_404(number)
    roles.require_owner()
    obstacle = _obstacle(order)
    if obstacle:
        return orders.page(order, notice=("run", obstacle))
    return orders.page(order, refund_form=refund_form.read(order, refund_room.of(order), request.args))


@blueprint.post("/orders/<number>/refund")
def refund_order(number: str) -> ResponseReturnValue:
    """Take the amounts off the vouchers and send the money; the same form again is the same refund."""
    order = desk.order_or_404(number)
    roles.require_owner()
    nonce = _nonce(order)
    known = _known(order, nonce)
    if known is not None:
        return _answer_about(known, order)
    obstacle = _obstacle(order)
    if obstacle:
        return orders.answer(order, ("bad", obstacle))
    form = refund_form.read(order, refund_room.of(order), request.form)
    if nonce is None:
        form.problems[form.entries[0].name] = _("This page was out of date. Please send the form again.")
    if form.problems or nonce is None:
        return _back_to(form)
    return _ask(form, nonce)


@blueprint.post("/orders/<number>/refund/held")
def refund_held(number: str) -> ResponseReturnValue:
    """Send all of a held payment back: it did not fit, or came a second time."""
    order = desk.order_or_404(number)
    roles.require_owner()
    payment, nonce = _payment_or_404(order), _nonce(order)
    if nonce is None:
        return orders.answer(order, ("warn", _("This page was out of date. Please press the button again.")))
    if not payment.payment_intent_id:
        return orders.answer(order, ("bad", _("Stripe holds no money of it")))
    try:
        refund = refund_rules.ask_held(payment, nonce=nonce, actor=desk.actor())
    except refusals.NothingToDecide:
        return orders.answer(order, ("run", _("Somebody has decided this before.")))
    return _send(refund, order)


@blueprint.post("/orders/<number>/payment/release")
def release_payment(number: str) -> ResponseReturnValue:
    """Accept a held payment as the price of its order."""
    order = desk.order_or_404(number)
    roles.require_owner()
    payment = _payment_or_404(order)
    if payment not in returns.of(order).held:
        return orders.answer(order, ("run", _("Somebody has decided this before.")))
    return _decide(order, lambda: checkout.release(payment, actor=desk.actor()), done=_("Payment accepted"))


@blueprint.post("/orders/<number>/refund/decision")
def decide_refund(number: str) -> ResponseReturnValue:
    """What becomes of the vouchers after a refund that was made at Stripe."""
    order = desk.order_or_404(number)
    roles.require_owner()
    refund = order.refunds.where(Refund.public_id == fields.line("refund")).first() or abort(404)
    decision = fields.line("decision")
    if decision not in ("take_off", "keep"):
        abort(404)
    return _decide(
        order,
        lambda: refund_rules.decide(refund, is_taken_off=decision == "take_off", actor=desk.actor()),
        done=_("Taken off") if decision == "take_off" else _("Voucher kept"),
    )


@blueprint.post("/orders/<number>/payment/trust")
def dismiss_warning(number: str) -> ResponseReturnValue:
    """Trust a payment that a warning was about: its vouchers work again."""
    order = desk.order_or_404(number)
    roles.require_owner()
    dispute = order.disputes.where(Dispute.dispute_id == fields.line("dispute")).first() or abort(404)
    return _decide(order, lambda: disputes.dismiss(dispute, actor=desk.actor()), done=_("Warning closed"))


def _ask(form: RefundForm, nonce: str) -> ResponseReturnValue:
    try:
        refund = refund_rules.ask(
            form.order,
            form.amounts,
            nonce=nonce,
            actor=desk.actor(),
            reason=form.reason,
            is_insisting=form.is_insisting,
        )
    except refusals.RefundTooLarge as refusal:
        form.refuse(refusal.extra.get("unit_no"), refusal.extra.get("refundable_minor"))
        return _back_to(form)
    except (refusals.PaymentContested, refusals.AlreadyUsed):
        sentence = _obstacle(form.order) or _("Somebody has decided this before.")
        return orders.answer(form.order, ("bad", sentence))
    return _send(refund, form.order)


def _send(refund: Refund, order: Order) -> ResponseReturnValue:
    # The value is off the vouchers by now; whoever presses again finds the refund that is under way.
    if refund.state == RefundState.ASKED:
        money_back.send(refund)
    return _answer_about(refund, order)


def _answer_about(refund: Refund, order: Order) -> ResponseReturnValue:
    return orders.answer(order, refund_words.outcome(Refund.get_by_id(refund.id)))


def _back_to(form: RefundForm) -> ResponseReturnValue:
    sentence = next(iter(form.problems.values()))
    return orders.answer(form.order, ("bad", sentence), status=422, refund_form=form)


def _decide(order: Order, verb: Callable[[], None], *, done: str) -> ResponseReturnValue:
    try:
        verb()
    except refusals.NothingToDecide:
        return orders.answer(order, ("run", _("Somebody has decided this before.")))
    here().ring(order.id)
    return orders.answer(order, ("ok", done))


def _obstacle(order: Order) -> str:
    left_minor = refund_room.of(order).left_minor
    by = payment_troubles.Reader(is_owner=True)
    return payment_troubles.refund_obstacle(order, returns.of(order), left_minor=left_minor, by=by)


def _payment_or_404(order: Order) -> Payment:
    attempt = fields.number("attempt")
    is_asked = Payment.attempt == attempt
    # No attempt is that large, and no database takes such a number.
    found = order.payments.where(is_asked).first() if attempt is not None and attempt < 2**31 else None
    return found or abort(404)


def _nonce(order: Order) -> str | None:
    """The form's nonce, tied to its order: a form that was bent to another order is another form."""
    sent = fields.nonce()
    return hashlib.sha256(f"{order.ref}:{sent}".encode()).hexdigest()[:32] if sent is not None else None


def _known(order: Order, nonce: str | None) -> Refund | None:
    found: Refund | None = order.refunds.where(Refund.public_id == f"rfd_{nonce}").first() if nonce else None
    return found
