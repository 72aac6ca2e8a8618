"""The merchant's dashboard: one resource per file, all behind the log-in, all read from the merchant's own rows."""

from blueprints.dashboard import home, orders, payments, steps, vouchers
from blueprints.dashboard.desk import blueprint

__all__ = ["blueprint", "home", "orders", "payments", "steps", "vouchers"]
