"""Stripe Checkout: open, read, expire and find hosted payment pages, and hear what happened. The entrance to Stripe.

Amounts are integer minor units of ISO 4217, currencies upper case, times aware UTC; what several gateways share, and
the errors that all raise, is in `stripe_api`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from gateways import stripe_api, stripe_events
from gateways.stripe_accounts import StripeAccounts
from gateways.stripe_api import StripeApi, StripeRefused, StripeUnavailable, StripeUnclear, read
from gateways.stripe_disputes import StripeDisputes
from gateways.stripe_events import Event, EventRefused
from gateways.stripe_refunds import StripeRefunds

__all__ = [
    "CheckoutRequest",
    "Event",
    "EventRefused",
    "Line",
    "PaymentStatus",
    "Session",
    "SessionStatus",
    "StripeCheckout",
    "StripeRefused",
    "StripeUnavailable",
    "StripeUnclear",
]

_EXPAND = ["payment_intent.latest_charge"]
# Where the intent of a bank debit stands that the bank refused: a new method would be needed, on a page that is over.
_REFUSED = ("requires_payment_method", "canceled")


class SessionStatus(StrEnum):
    """Where the payment page stands. `COMPLETE` is not yet paid: see PaymentStatus."""

    OPEN = "open"
    COMPLETE = "complete"
    EXPIRED = "expired"


class PaymentStatus(StrEnum):
    """Whether the money is there. Only `PAID` settles an order."""

    PAID = "paid"
    UNPAID = "unpaid"
    NO_PAYMENT_REQUIRED = "no_payment_required"


@dataclass(frozen=True)
class Line:
    """One line on the payment page; `amount_minor` is the price of one piece."""

    name: str
    amount_minor: int
    quantity: int = 1


@dataclass(frozen=True)
class CheckoutRequest:
    """What the buyer is asked to pay. `reference` is our order; `expires_at` lies 30 minutes to 24 hours ahead."""

    reference: str
    lines: tuple[Line, ...]
    currency: str
    buyer_email: str
    locale: str
    success_url: str
    cancel_url: str
    expires_at: datetime
    idempotency_key: str
    merchant_name: str = ""
    merchant_slug: str = ""


@dataclass(frozen=True)
class Session:
    """A payment page as Stripe described it. `account` is "" for our own, `method` what was paid with (`card`).

    `has_failed`: ordered and never to be paid, because the bank refused a delayed payment. `merchant` is the slug that
    the page was opened for, "" when it names none.
    """

    id: str
    url: str | None
    status: SessionStatus
    payment_status: PaymentStatus
    amount_total_minor: int
    currency: str
    is_live: bool
    account: str
    reference: str
    payment_intent_id: str | None
    method: str | None
    expires_at: datetime
    has_failed: bool = False
    merchant: str = ""


class StripeCheckout:
    """One Stripe account, reached with one key.

    `webhook_secrets` are all that are valid now: two while a secret is being rotated. `api_base` is for the twin,
    `account` for a connected account. Raises ValueError for a key that is not a secret or restricted key.
    """

    def __init__(
        self, secret_key: str, *, webhook_secrets: tuple[str, ...], api_base: str | None = None, account: str = ""
    ) -> None:
        self._webhook_secrets = tuple(secret for secret in webhook_secrets if secret.strip())
        self._speak(StripeApi(secret_key, api_base=api_base, account=account))

    def at(self, account: str) -> "StripeCheckout":
        """The same key and the same connections, speaking for a connected account; "" is our own again.

        Raises ValueError for what is no account's id.
        """
        other = object.__new__(StripeCheckout)
        other._webhook_secrets = self._webhook_secrets
        other._speak(self._api.at(account))
        return other

    @property
    def account(self) -> str:
        """For whom this speaks; "" for the key's own account."""
        return self._api.account

    @property
    def clock_skew(self) -> timedelta | None:
        """Stripe's clock minus ours at the last answer on this line, to the second; None before the first one."""
        return self._api.clock_skew

    def open_session(self, request: CheckoutRequest) -> Session:
        """Open a payment page; the same idempotency key opens it once. Raises StripeUnavailable, StripeRefused."""
        params, options = _session_params(request), self._api.options(idempotency_key=request.idempotency_key)
        return self._session(lambda: self._sessions.create(params, options))

    def fetch_session(self, session_id: str) -> Session:
        """The session as Stripe sees it now. Raises StripeUnavailable, StripeRefused (`resource_missing`)."""
        known = stripe_api.checked(session_id, stripe_api.SESSION_ID, noun="session")
        return self._session(lambda: self._sessions.retrieve(known, {"expand": _EXPAND}, self._api.options()))

    def expire_session(self, session_id: str) -> Session:
        """Close an open page, so that it cannot be paid. Raises StripeRefused when it is complete or expired."""
        known = stripe_api.checked(session_id, stripe_api.SESSION_ID, noun="session")
        return self._session(lambda: self._sessions.expire(known, {"expand": _EXPAND}, self._api.options()))

    def find_sessions(self, reference: str, *, buyer_email: str, since: datetime) -> tuple[Session, ...]:
        """Every session that was opened for an order since a moment, newest first.

        For the case that opening one ended without an answer: Stripe may have done the work all the same.
        """
        found = self._list({"customer_details": {"email": buyer_email}}, since=since)
        mine = [one for one in found if getattr(one, "client_reference_id", None) == reference]
        return tuple(_as_session(one, account=self.account) for one in mine)

    def list_sessions(self, since: datetime) -> tuple[Session, ...]:
        """Every completed session that was opened since a moment, newest first, whoever opened it.

        Another program's session may lack what ours have (a set-up has no amount): it is left out. Raises
        StripeUnavailable, StripeRefused.
        """
        found = self._list({"status": SessionStatus.COMPLETE.value}, since=since)
        sessions = (_as_session_of_ours(one, account=self.account) for one in found)
        return tuple(session for session in sessions if session is not None)

    def list_undelivered(self, since: datetime) -> tuple[Event, ...]:
        """Every event of a type in SUBSCRIBED that Stripe made since a moment and could not deliver, newest first.

        Stripe keeps events for 30 days. One that cannot be read is logged and left out, so that it stands in no other's
        way. Raises StripeUnavailable, StripeRefused.
        """
        params = {
            "delivery_success": False,
            "types": list(stripe_events.SUBSCRIBED),
            "created": {"gte": int(since.timestamp())},
            "limit": stripe_api.PAGE_SIZE,
        }
        found = stripe_api.pages(lambda: self._api.v1.events.list(params, self._api.options()))
        return stripe_events.read_listed(found, account=self.account)

    def read_event(self, body: bytes, signature: str | None) -> Event:
        """Verify and read a webhook's raw body, snapshot or thin.

        Raises EventRefused for everything else. Whether `is_live` fits this key is for the caller to compare: a
        platform's live address rightly receives test events too.
        """
        return stripe_events.read(body, signature, secrets=self._webhook_secrets)

    def _speak(self, api: StripeApi) -> None:
        self._api = api
        self.is_live = api.is_live
        self.refunds = StripeRefunds(api)
        self.disputes = StripeDisputes(api)
        # Connected accounts are the platform's to make and to look at, never their own.
        self.accounts = StripeAccounts(api.at(""))

    @property
    def _sessions(self) -> Any:
        return self._api.v1.checkout.sessions

    def _session(self, call: Callable[[], object]) -> Session:
        return _as_session(stripe_api.answer(call), account=self.account)

    def _list(self, chosen: dict[str, Any], *, since: datetime) -> list[object]:
        params = {
            **chosen,
            "created": {"gte": int(since.timestamp())},
            "limit": stripe_api.PAGE_SIZE,
            "expand": [f"data.{path}" for path in _EXPAND],
        }
        return stripe_api.pages(lambda: self._sessions.list(params, self._api.options()))


def _session_params(request: CheckoutRequest) -> dict[str, Any]:
    currency = request.currency.lower()
    notes = {"order": request.reference}
    if request.merchant_slug:
        notes["merchant"] = request.merchant_slug
    params: dict[str, Any] = {
        "mode": "payment",
        "client_reference_id": request.reference,
        "metadata": notes,
        "payment_intent_data": {"metadata": notes},
        "line_items": [_line_params(line, currency) for line in request.lines],
        "customer_email": request.buyer_email,
        "locale": request.locale,
        "success_url": request.success_url,
        "cancel_url": request.cancel_url,
        "expires_at": int(request.expires_at.timestamp()),
        "expand": _EXPAND,
    }
    if request.merchant_name:
        params["branding_settings"] = {"display_name": request.merchant_name}
    return params


def _line_params(line: Line, currency: str) -> dict[str, Any]:
    amount = stripe_api.to_stripe_units(line.amount_minor, currency.upper())
    price = {"currency": currency, "unit_amount": amount, "product_data": {"name": line.name}}
    return {"quantity": line.quantity, "price_data": price}


def _as_session_of_ours(body: object, *, account: str) -> Session | None:
    try:
        return _as_session(body, account=account)
    except StripeUnclear:
        if stripe_api.read_note(body, "merchant"):
            raise
        return None


def _as_session(body: object, *, account: str) -> Session:
    total_minor, currency = stripe_api.read_money(body, "amount_total")
    intent_id, intent = stripe_api.read_linked(body, "payment_intent")
    status = stripe_api.read_state(body, "status", SessionStatus)
    payment_status = stripe_api.read_state(body, "payment_status", PaymentStatus)
    is_waiting = (status, payment_status) == (SessionStatus.COMPLETE, PaymentStatus.UNPAID)
    return Session(
        id=stripe_api.read_id(body, stripe_api.SESSION_ID),
        url=stripe_api.read_optional(body, "url", (str,)),
        status=status,
        payment_status=payment_status,
        amount_total_minor=total_minor,
        currency=currency,
        is_live=read(body, "livemode", bool),
        account=account,
        reference=stripe_api.read_optional(body, "client_reference_id", (str,)) or "",
        payment_intent_id=intent_id or None,
        method=_method(intent),
        expires_at=stripe_api.read_moment(body, "expires_at"),
        has_failed=is_waiting and intent is not None and read(intent, "status", str) in _REFUSED,
        merchant=stripe_api.read_note(body, "merchant"),
    )


def _method(intent: object) -> str | None:
    charge = getattr(intent, "latest_charge", None)
    method = getattr(getattr(charge, "payment_method_details", None), "type", None)
    return method if isinstance(method, str) else None
