"""Reads Stripe's events, snapshot and thin, into our own values; trusts nothing in them but their signature and shape.

Whatever version of the API an event was written in: only what all have is read. Times are aware UTC.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import stripe
import structlog

from domain import clock
from gateways import stripe_api

log = structlog.get_logger()
MAX_EVENT_BYTES = 256 * 1024
SIGNATURE_SECONDS = 300
# What we want to hear; Stripe lists by at most 20 types.
SUBSCRIBED = (
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
    "charge.refunded",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "radar.early_fraud_warning.created",
    "radar.early_fraud_warning.updated",
    "account.application.deauthorized",
)
# Thin events about the accounts of merchants, where each has its own. Stripe lists them elsewhere.
OF_ACCOUNTS = (
    "v2.core.account[requirements].updated",
    "v2.core.account[configuration.merchant].capability_status_updated",
)

_EVENT_ID = re.compile(r"evt_[A-Za-z0-9_]{1,250}")
# `v2.core.account[configuration.merchant].capability_status_updated` is a type too.
_WORD = r"[a-z0-9_]+(\[[a-z0-9_.]+\])?"
_EVENT_TYPE = re.compile(rf"{_WORD}(\.{_WORD})+")
_ANY_ID = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST = 255
_ACCOUNT_V2 = ("v2.core.account.", "v2.core.account[")
# The first that a type begins with tells what the event is about: the name of its id, and its shape.
_SUBJECTS = (
    ("checkout.session.", "session_id", stripe_api.SESSION_ID),
    ("charge.dispute.", "dispute_id", stripe_api.DISPUTE_ID),
    ("charge.refund.", "refund_id", stripe_api.REFUND_ID),
    ("charge.", "charge_id", stripe_api.CHARGE_ID),
    ("refund.", "refund_id", stripe_api.REFUND_ID),
    ("radar.early_fraud_warning.", "warning_id", stripe_api.WARNING_ID),
    ("payment_intent.", "payment_intent_id", stripe_api.INTENT_ID),
)


class EventRefused(Exception):
    """The body is not an event of Stripe's: answer 400 and do nothing. `reason` is a short fixed word for the log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Event:
    """A hint that something happened at Stripe: fetch what it is about before believing it.

    `type` is the snapshot's name (`checkout.session.completed`) for both kinds of events, and decides whose id
    `subject_id` is: session, charge, refund, dispute, fraud warning, payment or account. Of other types it is whatever
    id Stripe gave, "" for none. `session_id` is None for all but `checkout.session.*`.
    """

    id: str
    type: str
    account: str
    is_live: bool
    session_id: str | None
    created_at: datetime
    subject_id: str = ""


def read(body: bytes, signature: str | None, *, secrets: tuple[str, ...]) -> Event:
    """The event in a webhook's raw body, signed with one of `secrets`. Raises EventRefused for anything else."""
    text = _decoded(body)
    _check_signature(text, signature, secrets)
    return _read(_parsed(text))


def read_listed(found: list[object], *, account: str) -> tuple[Event, ...]:
    """The events in an answer of Stripe's, which was asked for `account`; what is no event is logged and left out."""
    bodies = [one.to_dict() for one in found if isinstance(one, stripe.StripeObject)]
    readable = [_try_to_read({**body, "account": account} if account else body) for body in bodies]
    return tuple(event for event in readable if event is not None)


def _decoded(body: bytes) -> str:
    if len(body) > MAX_EVENT_BYTES:
        raise EventRefused("too_large")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise EventRefused("not_utf8") from error


def _check_signature(text: str, signature: str | None, secrets: tuple[str, ...]) -> None:
    if not signature:
        raise EventRefused("not_signed")
    # The SDK's comparison raises TypeError for other letters.
    if not signature.isascii() or not any(_is_signed_with(secret, text, signature) for secret in secrets):
        raise EventRefused("signature_wrong")
    # The SDK bounds the past only, and by another clock than ours.
    if abs(int(clock.now().timestamp()) - _signed_at(signature)) > SIGNATURE_SECONDS:
        raise EventRefused("signature_out_of_time")


def _is_signed_with(secret: str, text: str, signature: str) -> bool:
    try:
        return bool(stripe.WebhookSignature.verify_header(text, signature, secret, None))
    except stripe.SignatureVerificationError:
        return False


def _signed_at(signature: str) -> int:
    # The first `t` counts, as in the SDK, which has read it as a number already.
    return next(int(part.split("=")[1]) for part in signature.split(",") if part.split("=")[0] == "t")


def _parsed(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EventRefused("not_json") from error
    if not isinstance(value, dict):
        raise EventRefused("not_an_event")
    return value


def _try_to_read(body: dict[str, Any]) -> Event | None:
    try:
        return _read(body)
    except EventRefused as refused:
        log.warning("stripe_event_unreadable", event_id=str(body.get("id"))[:_LONGEST], reason=refused.reason)
        return None


def _read(body: dict[str, Any]) -> Event:
    match body.get("object"):
        case "event":
            data = body.get("data")
            subject = data.get("object") if isinstance(data, dict) else None
            return _event(body, owner=body.get("account"), subject=subject)
        case "v2.core.event":
            context = body.get("context")
            # A context is a path of owners; the account is its last part.
            owner = context.rpartition("/")[2] if isinstance(context, str) else context
            return _event(body, owner=owner, subject=body.get("related_object"))
        case _:
            raise EventRefused("not_an_event")


def _event(body: dict[str, Any], *, owner: object, subject: object) -> Event:
    kind = _matching(body.get("type"), _EVENT_TYPE, "type").removeprefix("v1.")
    is_live = body.get("livemode")
    if not isinstance(is_live, bool):
        raise EventRefused("no_livemode")
    named = subject.get("id") if isinstance(subject, dict) else None
    if owner is None and kind.startswith(_ACCOUNT_V2):
        owner = named
    account = _matching(owner, stripe_api.ACCOUNT_ID, "account") if owner is not None else ""
    subject_id = _subject_id(kind, named, account=account)
    return Event(
        id=_matching(body.get("id"), _EVENT_ID, "id"),
        type=kind,
        account=account,
        is_live=is_live,
        session_id=subject_id if kind.startswith("checkout.session.") else None,
        created_at=_event_moment(body.get("created")),
        subject_id=subject_id,
    )


def _subject_id(kind: str, named: object, *, account: str) -> str:
    if kind == "account.application.deauthorized":
        # Its object is our application, which the account has left.
        return _matching(account, stripe_api.ACCOUNT_ID, "account")
    if kind == "account.updated" or kind.startswith(_ACCOUNT_V2):
        return _matching(named, stripe_api.ACCOUNT_ID, "account_id")
    for prefix, name, shape in _SUBJECTS:
        if kind.startswith(prefix):
            return _matching(named, shape, name)
    # Merchants may choose the ids of some objects themselves, and some have none.
    return named if isinstance(named, str) and len(named) <= _LONGEST and _ANY_ID.fullmatch(named) else ""


def _matching(value: object, shape: re.Pattern[str], name: str) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST or not shape.fullmatch(value):
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
