"""Reads Stripe's events, snapshot and thin, into our own values; trusts nothing in them but their shape.

The signature is checked before (`StripeCheckout.read_event`). Times are aware UTC.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

MAX_EVENT_BYTES = 256 * 1024
SESSION_ID = re.compile(r"cs_(test|live)_[A-Za-z0-9]{1,250}")

_EVENT_ID = re.compile(r"evt_[A-Za-z0-9_]{1,250}")
_EVENT_TYPE = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")
_ACCOUNT_ID = re.compile(r"acct_[A-Za-z0-9]{1,250}")


class EventRefused(Exception):
    """The body is not an event of Stripe's: answer 400 and do nothing. `reason` is a short fixed word for the log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Event:
    """A hint that something happened at Stripe: fetch the session before believing it.

    `type` is the snapshot's name (`checkout.session.completed`) for both kinds of events.
    """

    id: str
    type: str
    account: str
    is_live: bool
    session_id: str | None
    created_at: datetime


def decode(body: bytes) -> str:
    """The body as text, the form in which it is signed. Raises EventRefused."""
    if len(body) > MAX_EVENT_BYTES:
        raise EventRefused("too_large")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise EventRefused("not_utf8") from error


def parse(text: str) -> Event:
    """The event in a body whose signature was found right. Raises EventRefused for anything else."""
    body = _parsed(text)
    match body.get("object"):
        case "event":
            return _snapshot_event(body)
        case "v2.core.event":
            return _thin_event(body)
        case _:
            raise EventRefused("not_an_event")


def _parsed(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EventRefused("not_json") from error
    if not isinstance(value, dict):
        raise EventRefused("not_an_event")
    return value


def _snapshot_event(body: dict[str, Any]) -> Event:
    data = body.get("data")
    return _event(
        body,
        kind=_matching(body.get("type"), _EVENT_TYPE, "type"),
        account=body.get("account"),
        subject=data.get("object") if isinstance(data, dict) else None,
        created_at=_event_moment(body.get("created")),
    )


def _thin_event(body: dict[str, Any]) -> Event:
    context = body.get("context")
    return _event(
        body,
        kind=_matching(body.get("type"), _EVENT_TYPE, "type").removeprefix("v1."),
        # A context is a path of owners; the account is its last part.
        account=context.rpartition("/")[2] if isinstance(context, str) else context,
        subject=body.get("related_object"),
        created_at=_event_moment(body.get("created")),
    )


def _event(body: dict[str, Any], *, kind: str, account: object, subject: object, created_at: datetime) -> Event:
    is_live = body.get("livemode")
    if not isinstance(is_live, bool):
        raise EventRefused("no_livemode")
    is_session = kind.startswith("checkout.session.")
    session_id = subject.get("id") if isinstance(subject, dict) else None
    return Event(
        id=_matching(body.get("id"), _EVENT_ID, "id"),
        type=kind,
        account=_matching(account, _ACCOUNT_ID, "account") if account is not None else "",
        is_live=is_live,
        session_id=_matching(session_id, SESSION_ID, "session_id") if is_session else None,
        created_at=created_at,
    )


def _matching(value: object, shape: re.Pattern[str], name: str) -> str:
    if not isinstance(value, str) or len(value) > 300 or not shape.fullmatch(value):
        raise EventRefused(f"no_{name}")
    return value


def _event_moment(created: object) -> datetime:
    try:
        if isinstance(created, str):
            return _aware(datetime.fromisoformat(created)).astimezone(UTC)
        if isinstance(created, int) and not isinstance(created, bool):
            return datetime.fromtimestamp(created, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise EventRefused("no_created") from error
    raise EventRefused("no_created")


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise EventRefused("no_created")
    return moment
