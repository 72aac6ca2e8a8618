"""What a refund says to the person at the desk: how it stands, why it failed, and what is left to give back."""

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from blueprints import presentation
from blueprints.dashboard import desk
from domain.refund_room import Room, UnitRoom
from domain.states import RefundState
from models import Refund

# Stripe's word, from its refusal or from the refund itself → ours.
_FAILURES = {
    "not_made": _l("Stripe never made it"),
    "charge_already_refunded": _l("Stripe says that all of it went back before"),
    "charge_disputed": _l("the payment is disputed, and the bank holds the money"),
    "charge_for_pending_refund_disputed": _l("the payment was disputed before the money could leave"),
    "insufficient_funds": _l("your balance at Stripe does not cover it"),
    "balance_insufficient": _l("your balance at Stripe does not cover it"),
    "insufficient_balance_for_refund": _l("your balance at Stripe does not cover it"),
    "expired_or_canceled_card": _l("the buyer's card has expired or was cancelled"),
    "lost_or_stolen_card": _l("the buyer's card was lost or stolen"),
    "declined": _l("the buyer's bank refused it"),
    "merchant_request": _l("it was called back at Stripe"),
    "canceled": _l("it was called back at Stripe"),
    "resource_missing": _l("Stripe does not know this payment"),
    "account_gone": _l("the Stripe account is no longer connected"),
    "unknown": _l("the bank gave no reason"),
    "failed": _l("the bank gave no reason"),
}


def failure(said: str) -> str:
    """Why a refund failed, in words; what is not known is said as Stripe said it."""
    code, _mark, message = said.partition(": ")
    known = _FAILURES.get(code)
    return str(known) if known is not None else message or said


def outcome(refund: Refund) -> desk.Notice:
    """What pressing the button came to."""
    if refund.state == RefundState.SUCCEEDED:
        return "ok", _("Stripe sends the money back")
    if refund.state == RefundState.PENDING:
        return "run", _("Stripe has the refund; the bank is still working on it.")
    if refund.state == RefundState.ASKED:
        return "run", _("Stripe has not answered yet; we ask again by ourselves.")
    why = failure(refund.failure or "")
    if refund.parts:
        return "bad", _("Stripe refused: %(why)s. The value is back on the voucher.", why=why)
    return "bad", _("Stripe refused: %(why)s.", why=why)


def room(found: Room) -> str:
    """Beside the button: what was used and what can go back at most; empty before there is a payment."""
    if found.payment is None:
        return ""
    used_minor, most = sum(used(each) for each in found.units), _money(found.unused_minor, found)
    if not used_minor:
        return _("Up to %(most)s can go back", most=most)
    return _("Used: %(used)s – refund at most %(most)s", used=_money(used_minor, found), most=most)


def used(each: UnitRoom) -> int:
    """What of a voucher's price can't go back without harm, in minor units: spent, or set aside by a till."""
    return each.most_minor - each.unused_minor


def _money(amount_minor: int, found: Room) -> str:
    return presentation.show_money(amount_minor, found.units[0].unit.currency)
