"""Lists in pages: newest first, and an opaque cursor that points behind the last row that was shown."""

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from blueprints.api import schemas


def page(query: Any, table: Any, *, limit: int, cursor: str | None) -> tuple[Sequence[Any], str | None]:
    """At most `limit` rows of `query` on `table` (with `created_at` and `id`), and the cursor of the next page.

    Rows that come while somebody turns the pages are neither skipped nor repeated. Raises Problem 422 for a cursor that
    is none of ours.
    """
    if cursor is not None:
        at, row_id = _read(cursor)
        query = query.where((table.created_at < at) | ((table.created_at == at) & (table.id < row_id)))
    rows = list(query.order_by(table.created_at.desc(), table.id.desc()).limit(limit + 1))
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], _write(rows[limit - 1])


def _write(row: Any) -> str:
    plain = json.dumps([row.created_at.astimezone(UTC).isoformat(), row.id])
    return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def _read(cursor: str) -> tuple[datetime, int]:
    try:
        plain = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        at, row_id = json.loads(plain)
        moment = datetime.fromisoformat(at)
        is_ours = type(row_id) is int and 0 < row_id < 2**63 and moment.tzinfo is not None and 1 < moment.year < 9999
    except (binascii.Error, ValueError, TypeError, RecursionError):
        is_ours = False
    if not is_ours:
        raise schemas.refuse("cursor", "not_a_cursor")
    return moment, row_id
