"""The merchant's dashboard: one resource per file, all behind the log-in, all read from the merchant's own rows."""

from blueprints.dashboard import (
    batches,
    connection,
    corrections,
    exports,
    home,
    keys,
    orders,
    payments,
    refunds,
    steps,
    vouchers,
)
from blueprints.dashboard.desk import blueprint

__all__ = [
    "batches",
    "blueprint",
    "connection",
    "corrections",
    "exports",
    "home",
    "keys",
    "orders",
    "payments",
    "refunds",
    "steps",
    "vouchers",
]
