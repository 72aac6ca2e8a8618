"""What people change about a voucher by hand: its state, its money, its last day. Each is one form and one booking.

A form that moves money carries a nonce, so that a double click books once, and the balance that its reader saw, so
that nobody corrects what has changed meanwhile.
"""

from collections.abc import Callable

from flask import abort
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from blueprints import presentation
from blueprints.dashboard import desk, fields, roles, vouchers, wording
from blueprints.dashboard.desk import blueprint
from blueprints.dashboard.fields import Slip
from database import transaction
from domain import clock, entries, fulfilment, holds, ledger, refusals
from domain import vouchers as voucher_rules
from domain.states import EntryKind, VoucherStatus
from effects.outside import here
from models import Entry, Hold, Voucher


class BalanceMoved(Exception):
    """The balance is not the one that the form showed."""


@blueprint.post("/vouchers/<public_id>/suspension")
def block_voucher(public_id: str) -> ResponseReturnValue:
    """Stop every redemption until somebody unblocks it."""
    found = vouchers.voucher_or_404(public_id)
    return _move(found, VoucherStatus.SUSPENDED, form="block", done=_("Voucher blocked"))


@blueprint.post("/vouchers/<public_id>/suspension/end")
def unblock_voucher(public_id: str) -> ResponseReturnValue:
    """Let a blocked voucher be redeemed again."""
    found = vouchers.voucher_or_404(public_id)
    if found.status == VoucherStatus.PENDING:  # that would be an activation, and staff may not do that
        return vouchers.answer(found, ("run", _("This voucher is not blocked.")))
    if found.is_frozen:  # its payment is contested or went back: whoever frees it takes the loss
        roles.require_owner()
    answer = _move(found, VoucherStatus.ACTIVE, form="unblock", done=_("Voucher unblocked"))
    _send_what_waited(found)
    return answer


@blueprint.post("/vouchers/<public_id>/activation")
def activate_voucher(public_id: str) -> ResponseReturnValue:
    """Make a voucher that waited spendable."""
    found = vouchers.voucher_or_404(public_id)
    roles.require_owner()
    return _move(found, VoucherStatus.ACTIVE, form="activate", done=_("Voucher activated"))


@blueprint.post("/vouchers/<public_id>/cancellation")
def cancel_voucher(public_id: str) -> ResponseReturnValue:
    """End a voucher for ever; its holds are freed and its balance stays in the books."""
    found = vouchers.voucher_or_404(public_id)
    roles.require_owner()
    return _move(found, VoucherStatus.CANCELLED, form="cancel", done=_("Voucher cancelled"), is_balance_seen=True)


@blueprint.post("/vouchers/<public_id>/validity")
def change_validity(public_id: str) -> ResponseReturnValue:
    """Give a voucher another last day, or none."""
    found = vouchers.voucher_or_404(public_id)
    roles.require_owner()
    expires_at, wrong = fields.last_day("expires_on", desk.merchant().time_zone)
    if wrong:
        return _slipped(found, Slip.of("validity", "expires_on", wrong))
    wanted = voucher_rules.Change(frozenset({"expires_at"}), expires_at=expires_at)

    def change() -> None:
        voucher_rules.change(found.id, wanted, actor=desk.actor())

    return _do(found, change, form="validity", field="expires_on", done=_("Last day saved"))


@blueprint.post("/vouchers/<public_id>/adjustments")
def adjust_voucher(public_id: str) -> ResponseReturnValue:
    """Correct the balance up or down, with a reason."""
    found = vouchers.voucher_or_404(public_id)
    roles.require_owner()
    amount_minor, wrong = fields.amount("amount", found.currency)
    if wrong:
        return _slipped(found, Slip.of("adjust", "amount", wrong))
    if fields.line("direction") not in ("add", "take"):
        return _slipped(found, Slip.of("adjust", "direction", _("Choose whether to add or to take off.")))
    reason, wrong = _reason(is_required=True)
    if wrong:
        return _slipped(found, Slip.of("adjust", "reason", wrong))
    signed_minor = amount_minor if fields.line("direction") == "add" else -amount_minor

    def book(key: str) -> None:
        ledger.adjust(found.id, amount_minor=signed_minor, reason=reason, operation_key=key, actor=desk.actor())

    return _book(found, book, form="adjust", done=_("Balance corrected"))


@blueprint.post("/vouchers/<public_id>/refunds")
def refund_redemption(public_id: str) -> ResponseReturnValue:
    """Give back a part of one redemption."""
    found = vouchers.voucher_or_404(public_id)
    redemption = _redemption_or_404(found)
    form = f"refund-{redemption.seq}"
    amount_minor, wrong = fields.amount("amount", found.currency)
    if wrong:
        return _slipped(found, Slip.of(form, "amount", wrong))
    reason, wrong = _reason()
    if wrong:
        return _slipped(found, Slip.of(form, "reason", wrong))

    def book(key: str) -> None:
        ledger.refund(redemption, amount_minor=amount_minor, operation_key=key, actor=desk.actor(), reason=reason)

    return _book(found, book, form=form, done=_("Given back"))


@blueprint.post("/vouchers/<public_id>/reversals")
def reverse_redemption(public_id: str) -> ResponseReturnValue:
    """Undo one redemption: all of it that was not given back yet."""
    found = vouchers.voucher_or_404(public_id)
    redemption = _redemption_or_404(found)

    def book(key: str) -> None:
        ledger.reverse(redemption, operation_key=key, actor=desk.actor())

    return _book(found, book, form=f"undo-{redemption.seq}", done=_("Redemption undone"))


@blueprint.post("/vouchers/<public_id>/releases")
def release_hold(public_id: str) -> ResponseReturnValue:
    """Free what a till has set aside and forgotten."""
    found = vouchers.voucher_or_404(public_id)
    hold = _hold_or_404(found)

    def release() -> None:
        holds.release(hold, actor=desk.actor())

    return _do(found, release, form=f"hold-{hold.id}", field="hold", done=_("Hold released"))


def _send_what_waited(found: Voucher) -> None:
    """Mails that were held back because the voucher was blocked go out now."""
    order = found.order
    if order is None or Voucher.get_by_id(found.id).status != VoucherStatus.ACTIVE:
        return
    with transaction():
        fulfilment.resume(order, codes={"voucher_suspended"}, unit_nos={found.unit.unit_no})
    here().ring(order.id)


def _move(
    found: Voucher, status: VoucherStatus, *, form: str, done: str, is_balance_seen: bool = False
) -> ResponseReturnValue:
    reason, wrong = _reason()
    if wrong:
        return _slipped(found, Slip.of(form, "reason", wrong))

    def move() -> None:
        if is_balance_seen:
            _require_seen(entries.lock(found.id))
        voucher_rules.set_status(found.id, status, actor=desk.actor(), reason=reason)

    return _do(found, move, form=form, field="reason", done=done)


def _book(found: Voucher, book: Callable[[str], None], *, form: str, done: str) -> ResponseReturnValue:
    """Run `book` with the form's operation key, once however often the form is sent."""
    nonce = fields.nonce()
    if nonce is None:
        sentence = _("This page was out of date. Please send the form again.")
        return vouchers.answer(found, ("warn", sentence), status=422, slip=Slip.of(form, "", ""))
    key = f"dash:{nonce}:{found.id}"

    def book_once() -> None:
        # Asked behind the lock: the second of two clicks waits there and then finds what the first has booked.
        voucher = holds.lock(found.id)
        if not Entry.select().where(Entry.merchant == voucher.merchant_id, Entry.operation_key == key).exists():
            _require_seen(voucher)
            book(key)

    return _do(found, book_once, form=form, field="amount", done=done)


def _do(found: Voucher, verb: Callable[[], None], *, form: str, field: str, done: str) -> ResponseReturnValue:
    try:
        with transaction():
            verb()
    except BalanceMoved:
        balance = presentation.show_money(Voucher.get_by_id(found.id).balance_minor, found.currency)
        sentence = _("Balance changed to %(balance)s meanwhile. Check again.", balance=balance)
        return vouchers.answer(found, ("warn", sentence), status=422, slip=Slip.of(form, "", ""))
    except (refusals.InsufficientBalance, refusals.RefundExceedsRedemption, refusals.FieldsRefused) as refusal:
        return _slipped(found, Slip.of(form, field, _why(refusal, found)))
    except refusals.Refusal as refusal:
        return vouchers.answer(found, ("bad", _why(refusal, found)))
    return vouchers.answer(found, ("ok", done))


def _require_seen(voucher: Voucher) -> None:
    if fields.number("seen") != voucher.balance_minor:
        raise BalanceMoved


def _reason(*, is_required: bool = False) -> tuple[str, str]:
    reason = fields.line("reason")
    if is_required and not reason:
        return "", _("Please say why. It stands in the ledger for good.")
    too_long = len(reason) > fields.REASON_LIMIT
    return reason, _("Use at most %(limit)s characters.", limit=fields.REASON_LIMIT) if too_long else ""


def _slipped(found: Voucher, slip: Slip) -> ResponseReturnValue:
    return vouchers.answer(found, ("bad", slip.sentence), status=422, slip=slip)


def _why(refusal: refusals.Refusal, found: Voucher) -> str:
    """What the ledger's refusal means for the person at this desk."""
    if isinstance(refusal, refusals.InsufficientBalance):
        free = presentation.show_money(refusal.extra["available_minor"], found.currency)
        return _("Only %(free)s can be taken off; what tills hold stays.", free=free)
    if isinstance(refusal, refusals.RefundExceedsRedemption):
        left = presentation.show_money(refusal.extra["refundable_minor"], found.currency)
        return _("Only %(left)s of this redemption can still be given back.", left=left)
    if isinstance(refusal, refusals.FieldsRefused):
        is_amount = "amount_minor" in refusal.problems
        return _("No voucher can hold that much.") if is_amount else _("The last day must come after the first.")
    if isinstance(refusal, refusals.AlreadyReversed):
        return _("This redemption was undone before.")
    if isinstance(refusal, refusals.HoldClosed):
        return _("The hold has paid its bill. Undo that redemption instead.")
    status = wording.VOUCHER_LIFE[Voucher.get_by_id(found.id).shown_status(clock.now())]
    return _("This is not possible now. The voucher's state: %(state)s.", state=status.label)


def _redemption_or_404(found: Voucher) -> Entry:
    wanted = (Entry.public_id == fields.line("transaction")) & (Entry.kind == EntryKind.REDEEM)
    return Entry.get_or_none(Entry.voucher == found, wanted) or abort(404)


def _hold_or_404(found: Voucher) -> Hold:
    return Hold.get_or_none(Hold.voucher == found, Hold.public_id == fields.line("hold")) or abort(404)
