"""Everything about a voucher that is not its money: its status, its owner, its dates. Every change is told."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domain import entries, holds, refusals, statuses, timeline
from domain.states import ShownStatus, VoucherStatus
from domain.statuses import Verb
from models import Voucher

# Who froze a voucher, in the timeline.
STRIPE = "stripe"


@dataclass(frozen=True)
class Change:
    """What to change; only the names in `fields` count, so that None can clear an owner or a date."""

    fields: frozenset[str]
    status: VoucherStatus | None = None
    customer_id: str | None = None
    valid_from: datetime | None = None
    expires_at: datetime | None = None
    is_transferable: bool | None = None
    metadata: dict[str, str] | None = None


def change(voucher_id: int, wanted: Change, *, actor: str, reason: str = "", may_thaw: bool = False) -> Voucher:
    """Change a voucher inside its caller's transaction; the voucher as it is afterwards.

    A cancellation frees its holds. What is already so is neither written nor told. One that is frozen becomes active
    by hand only for somebody who knows why it was (`may_thaw`). Raises TransitionNotAllowed, VoucherInactive for dates
    of a cancelled voucher, and FieldsRefused for dates that leave no day to redeem.
    """
    voucher = entries.lock(voucher_id)
    if voucher.is_frozen and wanted.status == VoucherStatus.ACTIVE and not may_thaw:
        raise refusals.TransitionNotAllowed(
            "The payment of this voucher is contested or was sent back; an owner decides in the dashboard.",
            voucher_status=str(ShownStatus.SUSPENDED),
            allowed=[str(ShownStatus.CANCELLED)],
        )
    if wanted.fields & {"valid_from", "expires_at"}:
        statuses.require(voucher, Verb.DATE)
        _check_dates(voucher, wanted)
    if "status" in wanted.fields and wanted.status is not None:
        _move(voucher, wanted.status, actor=actor, reason=reason)
    written = {
        name: getattr(wanted, name)
        for name in sorted(wanted.fields - {"status"})
        if getattr(wanted, name) != getattr(voucher, name)
    }
    if written:
        Voucher.update(**written).where(Voucher.id == voucher.id).execute()
        timeline.tell(voucher, "voucher_changed", actor=actor, changes=_told(voucher, written))
        for name, value in written.items():
            setattr(voucher, name, value)
    return voucher


def set_status(voucher_id: int, status: VoucherStatus, *, actor: str, reason: str = "") -> Voucher:
    """Block, unblock, activate or cancel. Raises TransitionNotAllowed."""
    wanted = Change(frozenset({"status"}), status=status)
    return change(voucher_id, wanted, actor=actor, reason=reason, may_thaw=True)


def freeze(voucher_id: int, *, reason: str) -> bool:
    """Suspend an active voucher because of its payment; True when it was active. `thaw` undoes no other suspension."""
    voucher = entries.lock(voucher_id)
    if voucher.status != VoucherStatus.ACTIVE:
        return False
    _move(voucher, VoucherStatus.SUSPENDED, actor=STRIPE, reason=reason, is_frozen=True)
    return True


def thaw(voucher_id: int, *, actor: str, reason: str) -> None:
    """Let a frozen voucher be spent again; one that a person suspended, or moved since, stays as it is."""
    voucher = entries.lock(voucher_id)
    if voucher.is_frozen:
        _move(voucher, VoucherStatus.ACTIVE, actor=actor, reason=reason)


def _move(voucher: Voucher, status: VoucherStatus, *, actor: str, reason: str, is_frozen: bool = False) -> None:
    if not statuses.require_move(voucher, status):
        return
    if status == VoucherStatus.CANCELLED:
        holds.release_all(voucher)
    Voucher.update(status=status, is_frozen=is_frozen).where(Voucher.id == voucher.id).execute()
    before, voucher.status, voucher.is_frozen = ShownStatus(voucher.status), status, is_frozen
    timeline.tell(voucher, "voucher_status_changed", actor=actor, before=str(before), after=str(status), reason=reason)


def _check_dates(voucher: Voucher, wanted: Change) -> None:
    starts = wanted.valid_from if "valid_from" in wanted.fields else voucher.valid_from
    ends = wanted.expires_at if "expires_at" in wanted.fields else voucher.expires_at
    if starts is not None and ends is not None and starts >= ends:
        field = "expires_at" if "expires_at" in wanted.fields else "valid_from"
        raise refusals.FieldsRefused({field: ("not_after_start", "A voucher ends after it starts.")})


def _told(voucher: Voucher, written: dict[str, Any]) -> dict[str, list[object]]:
    """Field → [before, after] as plain JSON; of metadata only that it changed, for it may hold anything."""
    return {
        name: [] if name == "metadata" else [_plain(getattr(voucher, name)), _plain(value)]
        for name, value in written.items()
    }


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value
