"""After a backup was put back: what was given away since then must not be given away again."""

from database import transaction
from models import Merchant

# More orders than a shop gets between two backups.
BLOCK = 1_000


def skip_numbers(*, by: int = BLOCK) -> dict[str, str]:
    """Let every merchant's order numbers go on `by` further; slug → the next number.

    Orders that were placed after the backup are in buyers' mailboxes with their numbers, which are the vouchers' too.
    """
    skipped = {}
    with transaction():
        for merchant in Merchant.select().order_by(Merchant.id):
            Merchant.update(order_count=Merchant.order_count + by).where(Merchant.id == merchant.id).execute()
            count = Merchant.get_by_id(merchant.id).order_count
            skipped[str(merchant.slug)] = f"G-{10000 + count + 1}"
    return skipped
