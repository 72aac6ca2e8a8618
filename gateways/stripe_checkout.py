"""Stripe Checkout: open, read, expire and find hosted payment pages, and read the events that Stripe sends.

The only importer of `stripe` (the twin beside it uses the SDK's types). Amounts are integer minor units of ISO 4217,
currencies upper case, times aware UTC. Source of the wire format: the pinned SDK and the API version that it pins.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

import stripe

from domain import clock
from gateways import stripe_events
from gateways.stripe_events import Event, EventRefused

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

SIGNATURE_SECONDS = 300
MAX_NETWORK_RETRIES = 2
CONNECT_SECONDS, ANSWER_SECONDS = 3.0, 10.0

_KEY = re.compile(r"(sk|rk)_(test|live)_[A-Za-z0-9_]+")
# Where Stripe counts otherwise than ISO 4217: (Stripe's units, ISO minor units) of the same sum.
_UNITS = {"ISK": (100, 1), "UGX": (100, 1), "MGA": (1, 100)}
_EXPAND = ["payment_intent.latest_charge"]
_T = TypeVar("_T")


class StripeUnavailable(Exception):
    """No usable answer: time-out, no connection, 429, 5xx. Try again later, with the same idempotency key."""


class StripeRefused(Exception):
    """Stripe says that our request is wrong; trying again unchanged is no use. `code` is Stripe's or one of ours."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class StripeUnclear(StripeRefused):
    """Stripe's answer lacks something that we must know, so nothing may be concluded from it: a person has to look."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="answer_unclear")


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


@dataclass(frozen=True)
class Session:
    """A payment page as Stripe described it. `account` is "" for our own, `method` what was paid with (`card`)."""

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


class StripeCheckout:
    """One Stripe account, reached with one key.

    `webhook_secrets` are all that are valid now: two while a secret is being rotated. `api_base` is for the twin,
    `account` for a connected account. Raises ValueError for a key that is not a secret or restricted key.
    """

    def __init__(
        self, secret_key: str, *, webhook_secrets: tuple[str, ...], api_base: str | None = None, account: str = ""
    ) -> None:
        shape = _KEY.fullmatch(secret_key)
        if shape is None:
            raise ValueError("a Stripe key starts with sk_test_, sk_live_, rk_test_ or rk_live_")
        self.is_live = shape[2] == "live"
        self._webhook_secrets = tuple(secret for secret in webhook_secrets if secret.strip())
        self._account = account
        self._client = stripe.StripeClient(
            secret_key,
            stripe_account=account or None,
            base_addresses={"api": api_base} if api_base else None,
            max_network_retries=MAX_NETWORK_RETRIES,
            http_client=stripe.RequestsClient(timeout=(CONNECT_SECONDS, ANSWER_SECONDS)),
        )

    def open_session(self, request: CheckoutRequest) -> Session:
        """Open a payment page; the same idempotency key opens it once. Raises StripeUnavailable, StripeRefused."""
        params, key = _session_params(request), request.idempotency_key
        return self._session(lambda: self._sessions.create(params, {"idempotency_key": key}))

    def fetch_session(self, session_id: str) -> Session:
        """The session as Stripe sees it now. Raises StripeUnavailable, StripeRefused (`resource_missing`)."""
        known = _checked_session_id(session_id)
        return self._session(lambda: self._sessions.retrieve(known, {"expand": _EXPAND}))

    def expire_session(self, session_id: str) -> Session:
        """Close an open page, so that it cannot be paid. Raises StripeRefused when it is complete or expired."""
        known = _checked_session_id(session_id)
        return self._session(lambda: self._sessions.expire(known, {"expand": _EXPAND}))

    def find_sessions(self, reference: str, *, buyer_email: str, since: datetime) -> tuple[Session, ...]:
        """Every session that was opened for an order since a moment, newest first.

        For the case that opening one ended without an answer: Stripe may have done the work all the same.
        """
        found = _answer(lambda: self._list_sessions(buyer_email, since))
        mine = [one for one in found if getattr(one, "client_reference_id", None) == reference]
        return tuple(_as_session(one, account=self._account) for one in mine)

    def read_event(self, body: bytes, signature: str | None) -> Event:
        """Verify and read a webhook's raw body, snapshot or thin.

        Raises EventRefused for everything else. Whether `is_live` fits this key is for the caller to compare: a
        platform's live address rightly receives test events too.
        """
        text = stripe_events.decode(body)
        _check_signature(text, signature, self._webhook_secrets)
        return stripe_events.parse(text)

    @property
    def _sessions(self) -> Any:
        return self._client.v1.checkout.sessions

    def _session(self, call: Callable[[], object]) -> Session:
        return _as_session(_answer(call), account=self._account)

    def _list_sessions(self, buyer_email: str, since: datetime) -> list[object]:
        page = self._sessions.list(
            {
                "created": {"gte": int(since.timestamp())},
                "customer_details": {"email": buyer_email},
                "limit": 100,
                "expand": [f"data.{path}" for path in _EXPAND],
            }
        )
        return list(page.auto_paging_iter())


def _session_params(request: CheckoutRequest) -> dict[str, Any]:
    currency = request.currency.lower()
    params: dict[str, Any] = {
        "mode": "payment",
        "client_reference_id": request.reference,
        "metadata": {"order": request.reference},
        "payment_intent_data": {"metadata": {"order": request.reference}},
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
    amount = _to_stripe_units(line.amount_minor, currency.upper())
    price = {"currency": currency, "unit_amount": amount, "product_data": {"name": line.name}}
    return {"quantity": line.quantity, "price_data": price}


def _to_stripe_units(amount_minor: int, currency: str) -> int:
    theirs, ours = _UNITS.get(currency, (1, 1))
    amount, rest = divmod(amount_minor * theirs, ours)
    if rest:
        raise StripeRefused(f"Stripe takes whole units of {currency} only", code="amount_too_precise")
    return amount


def _to_iso_units(amount: int, currency: str) -> int:
    theirs, ours = _UNITS.get(currency, (1, 1))
    amount_minor, rest = divmod(amount * ours, theirs)
    if rest:
        raise StripeUnclear(f"{amount} is no whole number of minor units of {currency}")
    return amount_minor


def _checked_session_id(session_id: str) -> str:
    if not stripe_events.SESSION_ID.fullmatch(session_id):
        raise StripeRefused("This is not the id of a Checkout Session", code="session_id_malformed")
    return session_id


def _answer(call: Callable[[], _T]) -> _T:
    try:
        return call()
    except (stripe.APIConnectionError, stripe.RateLimitError, stripe.APIError) as error:
        raise StripeUnavailable(_message(error)) from error
    except stripe.IdempotencyError as error:
        raise StripeRefused(_message(error), code="idempotency_error") from error
    except stripe.AuthenticationError as error:
        raise StripeRefused(_message(error), code="key_refused") from error
    except stripe.PermissionError as error:
        raise StripeRefused(_message(error), code=error.code or "not_permitted") from error
    except stripe.StripeError as error:
        if (error.http_status or 0) >= 500:
            raise StripeUnavailable(_message(error)) from error
        raise StripeRefused(_message(error), code=error.code or "invalid_request") from error


def _message(error: stripe.StripeError) -> str:
    return str(error.user_message or error)[:500]


def _as_session(answer: object, *, account: str) -> Session:
    currency = _read(answer, "currency", str).upper()
    intent = _read_optional(answer, "payment_intent", (str, stripe.PaymentIntent))
    return Session(
        id=_read_session_id(answer),
        url=_read_optional(answer, "url", (str,)),
        status=_read_state(answer, "status", SessionStatus),
        payment_status=_read_state(answer, "payment_status", PaymentStatus),
        amount_total_minor=_to_iso_units(_read(answer, "amount_total", int), currency),
        currency=currency,
        is_live=_read(answer, "livemode", bool),
        account=account,
        reference=_read_optional(answer, "client_reference_id", (str,)) or "",
        payment_intent_id=_read(intent, "id", str) if isinstance(intent, stripe.PaymentIntent) else intent,
        method=_method(intent),
        expires_at=_moment(_read(answer, "expires_at", int)),
    )


def _read(answer: object, field: str, kind: type[_T]) -> _T:
    value = getattr(answer, field, None)
    # bool is an int to Python, but `true` is no amount.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise StripeUnclear(f"Stripe's answer has no usable `{field}`")
    return value


def _read_optional(answer: object, field: str, kinds: tuple[type, ...]) -> Any:
    if not hasattr(answer, field):
        raise StripeUnclear(f"Stripe's answer has no `{field}`")
    value = getattr(answer, field)
    if value is not None and not isinstance(value, kinds):
        raise StripeUnclear(f"Stripe's answer has no usable `{field}`")
    return value


def _read_state(answer: object, field: str, states: type[_T]) -> _T:
    word = _read(answer, field, str)
    try:
        return states(word)  # type: ignore[call-arg]
    except ValueError as error:
        raise StripeUnclear(f"Stripe's answer has the unknown `{field}` {word[:50]!r}") from error


def _read_session_id(answer: object) -> str:
    session_id = _read(answer, "id", str)
    if not stripe_events.SESSION_ID.fullmatch(session_id):
        raise StripeUnclear("Stripe's answer has no usable `id`")
    return session_id


def _method(intent: object) -> str | None:
    charge = getattr(intent, "latest_charge", None)
    method = getattr(getattr(charge, "payment_method_details", None), "type", None)
    return method if isinstance(method, str) else None


def _moment(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise StripeUnclear("Stripe's answer has a time outside the calendar") from error


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
