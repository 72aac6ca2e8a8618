"""What Stripe says about a session, as the rules of the trade hear it; and orders that were paid that way."""

import dataclasses
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import database
from domain import checkout
from models import Merchant, Order, Payment
from tests import cast as casting

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Report:
    """A session as Stripe reports it now."""

    id: str
    amount_total_minor: int
    reference: str
    currency: str = "EUR"
    status: str = "complete"
    payment_status: str = "paid"
    is_live: bool = False
    account: str = ""
    payment_intent_id: str | None = "pi_1"
    method: str | None = "card"
    has_failed: bool = False


def opened(order: Order) -> Payment:
    """A payment of `order` with a Checkout session of its own."""
    payment = checkout.open_payment(order, is_live=False)
    session_id = f"cs_test_{secrets.token_hex(16)}"
    checkout.attach_session(payment, session_id=session_id, url="https://pay.example/1")
    return fresh(payment)


def about(payment: Payment, **changes: object) -> Report:
    """What Stripe says once `payment` was paid as agreed; `changes` say otherwise."""
    facts = {"id": payment.session_id, "amount_total_minor": payment.amount_minor, "reference": payment.order.ref}
    return Report(**(facts | changes))  # type: ignore[arg-type]


def settle(payment: Payment, **changes: object) -> checkout.Outcome:
    """Settle what `about` reports."""
    return checkout.settle(payment, about(payment, **changes), source=checkout.Source.WEBHOOK)


def paid(merchant: Merchant, *recipients: str, **facts: object) -> Order:
    """An order whose money arrived: planned, and nothing done yet."""
    order = casting.place(merchant, *recipients, **facts)
    assert settle(opened(order)) == checkout.Outcome.SETTLED
    return fresh(order)


def fresh(row: _T) -> _T:
    """The row as the database has it now."""
    return type(row).get_by_id(row.id)  # type: ignore[attr-defined, no-any-return]


def at_once(calls: list[Callable[[], _T]]) -> list[_T | Exception]:
    """Every call in a thread and on a connection of its own, let go together; their answers, or what they raised."""
    together = threading.Barrier(len(calls))

    def run(call: Callable[[], _T]) -> _T | Exception:
        with database.connected():
            together.wait(timeout=20)
            try:
                return call()
            except Exception as error:
                return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(timeout=60) for future in [pool.submit(run, call) for call in calls]]
