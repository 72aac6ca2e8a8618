"""Which status may follow which, and what may be done with a voucher in each: two tables, and the verb that moves."""

from enum import StrEnum

from domain import clock, refusals
from domain.states import ShownStatus, VoucherStatus
from models import Voucher

PENDING, ACTIVE, DEPLETED, EXPIRED, SUSPENDED, CANCELLED = ShownStatus

# What is shown → what a person or a program may ask for. Nobody asks for depleted or expired: facts make them.
# To ask for what already is, is no move and never wrong.
MOVES: dict[ShownStatus, frozenset[ShownStatus]] = {
    PENDING: frozenset({ACTIVE, CANCELLED}),
    ACTIVE: frozenset({SUSPENDED, CANCELLED}),
    DEPLETED: frozenset({SUSPENDED, CANCELLED}),
    EXPIRED: frozenset({SUSPENDED, CANCELLED}),
    SUSPENDED: frozenset({ACTIVE, CANCELLED}),
    CANCELLED: frozenset(),
}


class Verb(StrEnum):
    """What can be done with the money of a voucher, and with the time in which it may be spent."""

    REDEEM = "redeem"
    HOLD = "hold"
    CAPTURE = "capture"
    EXTEND = "extend"
    RELEASE = "release"
    REFUND = "refund"
    REVERSE = "reverse"
    ADJUST = "adjust"
    DATE = "date"


_EVERY = frozenset(ShownStatus)
# A voucher that is used up has no hold that stands, so there the hold itself says why it is closed.
_WITH_HOLDS = frozenset({ACTIVE, EXPIRED, DEPLETED})
# Money goes out only of an active voucher. It comes back into any, for a refund is owed whatever has become of the
# voucher since, and revives nothing. A correction is the merchant's own act and ends with the cancellation.
ALLOWED: dict[Verb, frozenset[ShownStatus]] = {
    Verb.REDEEM: frozenset({ACTIVE}),
    Verb.HOLD: frozenset({ACTIVE}),
    Verb.CAPTURE: _WITH_HOLDS,
    Verb.EXTEND: _WITH_HOLDS,
    Verb.RELEASE: _EVERY,
    Verb.REFUND: _EVERY,
    Verb.REVERSE: _EVERY,
    Verb.ADJUST: _EVERY - {CANCELLED},
    Verb.DATE: _EVERY - {CANCELLED},
}


def require(voucher: Voucher, verb: Verb) -> None:
    """Raise VoucherInactive when `verb` is not for a voucher in this status.

    Redemptions and holds are not asked here: `validation` tells them which of the seven checks failed.
    """
    status = voucher.shown_status(clock.now())
    if status not in ALLOWED[verb]:
        raise refusals.VoucherInactive(f"This voucher is {status}.", voucher_status=str(status))


def require_move(voucher: Voucher, wanted: VoucherStatus) -> bool:
    """True when `wanted` is a move, False when it is so already. Raises TransitionNotAllowed."""
    if voucher.status == wanted:
        return False
    shown = voucher.shown_status(clock.now())
    if ShownStatus(wanted) in MOVES[shown]:
        return True
    allowed = sorted(str(each) for each in MOVES[shown])
    detail = f"A voucher that is {shown} can become {' or '.join(allowed) or 'nothing else'}, not {wanted}."
    raise refusals.TransitionNotAllowed(detail, voucher_status=str(shown), allowed=allowed)
