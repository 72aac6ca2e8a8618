"""The line to Stripe that its gateways share: one key, one pool of connections, errors in our words, strict reading.

The only importer of `stripe` besides `stripe_events` (the twin uses the SDK's types). Amounts are integer minor units
of ISO 4217, currencies upper case, times aware UTC. Source of the wire format: the SDK and the API version it pins.
"""

import email.utils
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import stripe

from domain import clock

# What is read below was written against this version; the SDK would otherwise choose it.
API_VERSION = "2026-10-28.endive"
MAX_NETWORK_RETRIES = 2
CONNECT_SECONDS, ANSWER_SECONDS = 3.0, 10.0
PAGE_SIZE = 100

SESSION_ID = re.compile(r"cs_(test|live)_[A-Za-z0-9]{1,250}")
INTENT_ID = re.compile(r"pi_[A-Za-z0-9_]{1,250}")
CHARGE_ID = re.compile(r"(ch|py)_[A-Za-z0-9_]{1,250}")
REFUND_ID = re.compile(r"(re|pyr)_[A-Za-z0-9_]{1,250}")
DISPUTE_ID = re.compile(r"(dp|du)_[A-Za-z0-9_]{1,250}")
WARNING_ID = re.compile(r"issfr_[A-Za-z0-9_]{1,248}")
ACCOUNT_ID = re.compile(r"acct_[A-Za-z0-9]{1,250}")

_KEY = re.compile(r"(sk|rk)_(test|live)_[A-Za-z0-9_]+")
# Where Stripe counts otherwise than ISO 4217: (Stripe's units, ISO minor units) of the same sum.
_UNITS = {"ISK": (100, 1), "UGX": (100, 1), "MGA": (1, 100)}
_DATE_LETTERS = len("Sun, 06 Nov 1994 08:49:37 GMT")
_T = TypeVar("_T")


class StripeUnavailable(Exception):
    """No usable answer: time-out, no connection, 429, 5xx. Try again later, with the same idempotency key."""


class StripeRefused(Exception):
    """Stripe says that our request is wrong; trying again unchanged is no use. `code` is Stripe's or one of ours.

    `http_status` is that of Stripe's answer, None when we did not even ask.
    """

    def __init__(self, message: str, *, code: str, http_status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.http_status = http_status


class StripeUnclear(StripeRefused):
    """Stripe's answer lacks something that we must know, so nothing may be concluded from it: a person has to look."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="answer_unclear")


class StripeApi:
    """One key's line to Stripe, speaking for `account` ("" is the key's own).

    `api_base` is for the twin. Raises ValueError for a key that is not a secret or restricted key.
    """

    def __init__(self, secret_key: str, *, api_base: str | None = None, account: str = "") -> None:
        shape = _KEY.fullmatch(secret_key)
        if shape is None:
            raise ValueError("a Stripe key starts with sk_test_, sk_live_, rk_test_ or rk_live_")
        self.is_live = shape[2] == "live"
        self.account = account
        self._line = _Line(timeout=(CONNECT_SECONDS, ANSWER_SECONDS))
        self._client = stripe.StripeClient(
            secret_key,
            stripe_version=API_VERSION,
            base_addresses={"api": api_base} if api_base else None,
            max_network_retries=MAX_NETWORK_RETRIES,
            http_client=self._line,
        )

    def at(self, account: str) -> "StripeApi":
        """The same key and the same connections, speaking for a connected account, or for our own by ""."""
        if account and not ACCOUNT_ID.fullmatch(account):
            raise ValueError("this is not the id of a Stripe account")
        other = object.__new__(StripeApi)
        other.__dict__ = {**self.__dict__, "account": account}
        return other

    @property
    def clock_skew(self) -> timedelta | None:
        """Stripe's clock minus ours at the last answer, to the second; None before the first one."""
        return self._line.clock_skew

    @property
    def v1(self) -> Any:
        """The SDK's services of API v1."""
        return self._client.v1

    @property
    def v2(self) -> Any:
        """The SDK's services of API v2."""
        return self._client.v2

    def options(self, *, idempotency_key: str = "") -> dict[str, str]:
        """The request options that every call carries: for whom it is made, and under which key."""
        options = {"stripe_account": self.account, "idempotency_key": idempotency_key}
        return {name: value for name, value in options.items() if value}


def answer(call: Callable[[], _T]) -> _T:
    """What a call of the SDK returns. Raises StripeUnavailable, StripeRefused, StripeUnclear."""
    try:
        return call()
    except (stripe.APIConnectionError, stripe.RateLimitError, stripe.APIError) as error:
        raise StripeUnavailable(_message(error)) from error
    except stripe.StripeError as error:
        # A key in use is somebody's call of this moment: its answer comes to whoever asks again.
        if (error.http_status or 0) >= 500 or error.http_status in (409, 429):
            raise StripeUnavailable(_message(error)) from error
        raise StripeRefused(_message(error), code=_code(error), http_status=error.http_status) from error


def pages(call: Callable[[], Any]) -> list[object]:
    """Everything in a list, all its pages. Raises as `answer` does."""
    listed = answer(call)
    if not isinstance(listed, stripe.ListObject):
        raise StripeUnclear("Stripe's answer is no list")
    return answer(lambda: list(listed.auto_paging_iter()))


def checked(object_id: str, shape: re.Pattern[str], *, noun: str) -> str:
    """An id that may stand in an address. Raises StripeRefused (`session_id_malformed` for the noun `session`)."""
    if len(object_id) > 300 or not shape.fullmatch(object_id):
        raise StripeRefused(f"This is not the id of a Stripe {noun}", code=f"{noun}_id_malformed")
    return object_id


def to_stripe_units(amount_minor: int, currency: str) -> int:
    """The sum as Stripe counts it. Raises StripeRefused (`amount_too_precise`) for a part of Stripe's smallest unit."""
    theirs, ours = _UNITS.get(currency, (1, 1))
    amount, rest = divmod(amount_minor * theirs, ours)
    if rest:
        raise StripeRefused(f"Stripe takes whole units of {currency} only", code="amount_too_precise")
    return amount


def to_iso_units(amount: int, currency: str) -> int:
    """Stripe's sum in minor units of ISO 4217. Raises StripeUnclear when it is no whole number of them."""
    theirs, ours = _UNITS.get(currency, (1, 1))
    amount_minor, rest = divmod(amount * ours, theirs)
    if rest:
        raise StripeUnclear(f"{amount} is no whole number of minor units of {currency}")
    return amount_minor


def read(body: object, field: str, kind: type[_T]) -> _T:
    """A field that must be there and be of this kind. Raises StripeUnclear."""
    value = getattr(body, field, None)
    # bool is an int to Python, but `true` is no amount.
    if value is None or not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise StripeUnclear(f"Stripe's answer has no usable `{field}`")
    return value


def read_optional(body: object, field: str, kinds: tuple[type, ...]) -> Any:
    """A field that must be there and may be null. Raises StripeUnclear."""
    if not hasattr(body, field):
        raise StripeUnclear(f"Stripe's answer has no `{field}`")
    value = getattr(body, field)
    if value is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
        raise StripeUnclear(f"Stripe's answer has no usable `{field}`")
    return value


def read_money(body: object, field: str = "amount") -> tuple[int, str]:
    """(minor units, currency) of a sum and of the `currency` beside it. Raises StripeUnclear."""
    currency = read(body, "currency", str).upper()
    return to_iso_units(read(body, field, int), currency), currency


def read_state(body: object, field: str, states: type[_T]) -> _T:
    """A word of an enumeration. Raises StripeUnclear for a word that we do not know."""
    word = read(body, field, str)
    try:
        return states(word)  # type: ignore[call-arg]
    except ValueError as error:
        raise StripeUnclear(f"Stripe's answer has the unknown `{field}` {word[:50]!r}") from error


def read_id(body: object, shape: re.Pattern[str]) -> str:
    """The id of an answer. Raises StripeUnclear."""
    object_id = read(body, "id", str)
    if not shape.fullmatch(object_id):
        raise StripeUnclear("Stripe's answer has no usable `id`")
    return object_id


def read_linked(body: object, field: str) -> tuple[str, object | None]:
    """(id, the object itself if it came expanded) of another object; ("", None) for null. Raises StripeUnclear."""
    linked = read_optional(body, field, (str, stripe.StripeObject))
    if isinstance(linked, stripe.StripeObject):
        return read(linked, "id", str), linked
    return linked or "", None


def read_note(body: object, name: str) -> str:
    """What we wrote into an object's metadata under a name; "" for nothing. Raises StripeUnclear."""
    metadata = read_optional(body, "metadata", (stripe.StripeObject,))
    value = metadata[name] if metadata is not None and name in metadata else ""
    return value if isinstance(value, str) else ""


def read_moment(body: object, field: str) -> datetime:
    """A moment that Stripe counts in seconds. Raises StripeUnclear."""
    return _moment(read(body, field, int))


def read_optional_moment(body: object, field: str) -> datetime | None:
    """A moment that may be null. Raises StripeUnclear."""
    seconds = read_optional(body, field, (int,))
    return None if seconds is None else _moment(seconds)


def _moment(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise StripeUnclear("Stripe's answer has a time outside the calendar") from error


def _message(error: stripe.StripeError) -> str:
    return str(error.user_message or error)[:500]


def _code(error: stripe.StripeError) -> str:
    match error:
        case stripe.IdempotencyError():
            return "idempotency_error"
        case stripe.AuthenticationError():
            return "key_refused"
    # The SDK drops the code of a 403, and some refusals have the second word only.
    stated = error.code or getattr(error.error, "code", None) or getattr(error.error, "message_code", None)
    default = "not_permitted" if isinstance(error, stripe.PermissionError) else "invalid_request"
    return stated if isinstance(stated, str) and stated else default


class _Line(stripe.RequestsClient):
    """The SDK's HTTP client (a pool for each thread), which also notes what each answer says about itself."""

    # One reference, replaced whole: threads need no lock.
    clock_skew: timedelta | None = None

    def request(  # type: ignore[override]  # The SDK's own two classes disagree.
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        content, status, answered = super().request(method, url, headers, post_data)
        self.clock_skew = _skew(answered.get("Date", "")) or self.clock_skew
        version = answered.get("Stripe-Version", API_VERSION)
        if status < 300 and version != API_VERSION:
            raise StripeUnclear(f"Stripe answered in version {version[:30]!r} of its API, not in {API_VERSION}")
        return content, status, answered


def _skew(date: str) -> timedelta | None:
    try:
        # Some servers put a date of their own before the one that they were given to send.
        said = email.utils.parsedate_to_datetime(date[-_DATE_LETTERS:])
    except (ValueError, TypeError, OverflowError):
        return None
    return said - clock.now() if said.tzinfo else None
