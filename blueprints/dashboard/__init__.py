"""The merchant's dashboard: one resource per file, all behind the log-in, all read from the merchant's own rows."""

from blueprints.dashboard import batches, corrections, exports, home, keys, orders, payments, steps, vouchers
from blueprints.dashboard.desk import blueprint

__all__ = ["batches", "blueprint", "corrections", "exports", "home", "keys", "orders", "payments", "steps", "vouchers"]
