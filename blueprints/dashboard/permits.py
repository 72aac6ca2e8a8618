"""What may be done with a voucher at this desk, and for what may not be done the reason that stands at its button."""

from collections.abc import Mapping, Sequence

from flask_babel import gettext as _

from domain import clock
from domain.states import ShownStatus
from models import Voucher

# Only owners: each of these makes money, destroys it, or lets it live longer.
OWNERS_ALONE = ("activate", "adjust", "validity", "cancel")


def obstacles(voucher: Voucher, *, is_owner: bool, owners: Sequence[str]) -> Mapping[str, str]:
    """Act → why it can't be done; the empty text where it can. An act that makes no sense now is left out."""
    why = dict.fromkeys(_acts(voucher), "")
    if voucher.shown_status(clock.now()) == ShownStatus.CANCELLED:
        why = dict.fromkeys(why, _("A cancelled voucher stays cancelled."))
    elif not is_owner:
        names = ", ".join(owners)
        why |= {act: _("Only owners can do this. Ask %(names)s.", names=names) for act in OWNERS_ALONE if act in why}
    return why


def _acts(voucher: Voucher) -> tuple[str, ...]:
    status = voucher.shown_status(clock.now())
    first = {ShownStatus.PENDING: "activate", ShownStatus.SUSPENDED: "unblock"}.get(status, "block")
    return (first, "adjust", "validity", "cancel")
