"""No line is opened while a transaction is: a slow stranger would hold the whole shop's lock.

Watches what Python opens: Redis, Stripe, SMTP. libpq and SQLite open theirs by themselves and are not concerned.
"""

import sys
import traceback
from typing import Any

import database

_state = {"is_installed": False}
_seen: list[str] = []


class OpenedInTransaction(BaseException):
    """A connection was opened inside a transaction. Not an Exception: code that swallows those must not hide it."""


def forbid_in_transactions() -> None:
    """From here on such a connection raises in this process, and is remembered."""
    if not _state["is_installed"]:
        sys.addaudithook(_look)
        _state["is_installed"] = True


def seen() -> list[str]:
    """What was opened inside a transaction since the last look, with where."""
    found = list(_seen)
    _seen.clear()
    return found


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "socket.connect":
        return
    opened = database.db.obj
    if opened is not None and opened.in_transaction():
        where = "".join(traceback.format_stack(limit=12)[:-1])
        _seen.append(f"connection to {arguments[1]} inside a transaction:\n{where}")
        raise OpenedInTransaction(f"a connection to {arguments[1]} was opened inside a transaction")
