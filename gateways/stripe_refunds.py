"""Refunds at Stripe: give money back, and read what was given back, by us or by anybody else.

Amounts are integer minor units of ISO 4217, currencies upper case, times aware UTC.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from gateways import stripe_api
from gateways.stripe_api import StripeApi

__all__ = ["RefundReport", "RefundStatus", "StripeRefunds"]

_EXPAND = ["payment_intent"]


class RefundStatus(StrEnum):
    """How far the money is. Only `FAILED` and `CANCELED` mean that the buyer does not get it."""

    PENDING = "pending"
    REQUIRES_ACTION = "requires_action"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


@dataclass(frozen=True)
class RefundReport:
    """A refund as Stripe described it.

    `payment_intent_id` and `order_ref` (the order that the payment was for) are "" when Stripe names none, `reference`
    is our refund, "" for one that was made elsewhere. `failure_reason` is Stripe's word, "" without one.
    """

    id: str
    status: RefundStatus
    amount_minor: int
    currency: str
    payment_intent_id: str
    order_ref: str
    reference: str
    failure_reason: str
    created_at: datetime
    account: str


class StripeRefunds:
    """The refunds of one Stripe account: `StripeCheckout.refunds`.

    Every call raises StripeUnavailable when Stripe gives no answer, StripeRefused with Stripe's code when it refuses,
    and StripeUnclear when the answer lacks something.
    """

    def __init__(self, api: StripeApi) -> None:
        self._api = api

    def create(
        self, *, payment_intent_id: str, amount_minor: int | None, currency: str, reference: str, idempotency_key: str
    ) -> RefundReport:
        """Give back a part of a payment, or all that is left of it (None); the same idempotency key does it once.

        After StripeUnavailable the work may have been done all the same: `find` tells. Refused for example with
        `charge_already_refunded`, `charge_disputed` or `amount_too_precise`.
        """
        intent_id = stripe_api.checked(payment_intent_id, stripe_api.INTENT_ID, noun="payment_intent")
        params: dict[str, Any] = {
            "payment_intent": intent_id,
            "metadata": {"refund": reference},
            "expand": _EXPAND,
        }
        if amount_minor is not None:
            params["amount"] = stripe_api.to_stripe_units(amount_minor, currency.upper())
        options = self._api.options(idempotency_key=idempotency_key)
        return self._refund(lambda: self._api.v1.refunds.create(params, options))

    def fetch(self, refund_id: str) -> RefundReport:
        """The refund as Stripe sees it now. Refused with `resource_missing` for one that Stripe does not know."""
        known = stripe_api.checked(refund_id, stripe_api.REFUND_ID, noun="refund")
        return self._refund(lambda: self._api.v1.refunds.retrieve(known, {"expand": _EXPAND}, self._api.options()))

    def find(self, payment_intent_id: str, reference: str) -> RefundReport | None:
        """Our refund of a payment by our reference; None when Stripe never made it."""
        found = self.list_of(payment_intent_id)
        return next((report for report in found if reference and report.reference == reference), None)

    def list_of(self, payment_intent_id: str) -> tuple[RefundReport, ...]:
        """Every refund of a payment, newest first."""
        known = stripe_api.checked(payment_intent_id, stripe_api.INTENT_ID, noun="payment_intent")
        return self._list({"payment_intent": known})

    def of_charge(self, charge_id: str) -> tuple[RefundReport, ...]:
        """Every refund of a charge, newest first: for news that names the charge alone."""
        return self._list({"charge": stripe_api.checked(charge_id, stripe_api.CHARGE_ID, noun="charge")})

    def _refund(self, call: Callable[[], object]) -> RefundReport:
        return _as_report(stripe_api.answer(call), account=self._api.account)

    def _list(self, chosen: dict[str, str]) -> tuple[RefundReport, ...]:
        params = {**chosen, "limit": stripe_api.PAGE_SIZE, "expand": [f"data.{path}" for path in _EXPAND]}
        found = stripe_api.pages(lambda: self._api.v1.refunds.list(params, self._api.options()))
        return tuple(_as_report(one, account=self._api.account) for one in found)


def _as_report(body: object, *, account: str) -> RefundReport:
    amount_minor, currency = stripe_api.read_money(body)
    intent_id, intent = stripe_api.read_linked(body, "payment_intent")
    return RefundReport(
        id=stripe_api.read_id(body, stripe_api.REFUND_ID),
        status=stripe_api.read_state(body, "status", RefundStatus),
        amount_minor=amount_minor,
        currency=currency,
        payment_intent_id=intent_id,
        order_ref=stripe_api.read_note(intent, "order") if intent is not None else "",
        reference=stripe_api.read_note(body, "refund"),
        failure_reason=_failure_reason(body),
        created_at=stripe_api.read_moment(body, "created"),
        account=account,
    )


def _failure_reason(body: object) -> str:
    # Left out by Stripe unless the refund failed.
    return stripe_api.read_optional(body, "failure_reason", (str,)) or "" if hasattr(body, "failure_reason") else ""
