"""What happened, append-only, shown to people. A kind and its facts become a sentence in the reader's language."""

from models import Merchant, Order, TimelineEntry, Voucher


def record(
    merchant: Merchant,
    kind: str,
    *,
    order: Order | None = None,
    voucher: Voucher | None = None,
    actor: str = "system",
    **facts: object,
) -> TimelineEntry:
    """Append one entry; `facts` are plain JSON values (amounts in minor units, moments as ISO text)."""
    return TimelineEntry.create(
        merchant=merchant, order=order, voucher=voucher, kind=kind, actor=actor or "system", facts=facts
    )
