"""Links that people get: made from secrets, checked here, stored nowhere."""

from effects.outside import here
from gateways import vault
from models import Order, Voucher


def order_url(order: Order) -> str:
    """The buyer's page of an order, absolute."""
    outside = here()
    return f"{outside.settings.public_url}/o/{outside.vault.order_link(order.ref)}"


def order_of(token: str) -> Order | None:
    """The order behind a signed link, or None."""
    ref = here().vault.read_order_link(token)
    return Order.get_or_none(Order.ref == ref) if ref else None


def voucher_url(voucher: Voucher) -> str:
    """The recipient's page of a voucher, absolute: what the QR on the PDF holds."""
    outside = here()
    tokens = outside.vault.voucher_links(voucher.public_id)
    # The one that is printed, whichever key the code itself is sealed under by now.
    token = next((token for token in tokens if vault.link_hash(token) == voucher.link_hash), tokens[0])
    return f"{outside.settings.public_url}/v/{token}"
