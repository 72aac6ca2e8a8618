"""What happened, append-only, shown to people. A kind and its facts become a sentence in the reader's language."""

from database import Prepared, slots
from domain import clock
from models import Merchant, Order, TimelineEntry, Voucher

# Every redemption writes one, under the voucher's lock.
_NEW_ENTRY = Prepared(lambda: TimelineEntry.insert(slots(TimelineEntry)))


def tell(voucher: Voucher, kind: str, *, actor: str, **facts: object) -> None:
    """Append one entry about a voucher, beside those of the order that it was bought in."""
    record(voucher.merchant, kind, order=voucher.order, voucher=voucher, actor=actor, **facts)


def record(
    merchant: Merchant,
    kind: str,
    *,
    order: Order | None = None,
    voucher: Voucher | None = None,
    actor: str = "system",
    **facts: object,
) -> None:
    """Append one entry; `facts` are plain JSON values (amounts in minor units, moments as ISO text)."""
    _NEW_ENTRY.write(
        merchant=merchant.id,
        order=order.id if order is not None else None,
        voucher=voucher.id if voucher is not None else None,
        kind=kind,
        facts=facts,
        actor=actor or "system",
        created_at=clock.now(),
    )
