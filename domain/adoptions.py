"""Payments that our books do not know: made ours when the order is known, written down as strays when it is not."""

from datetime import datetime
from typing import Protocol

from database import locked, transaction
from domain import clock, refusals, timeline
from domain.checkout import Source
from domain.states import PaymentState
from models import Connection, Merchant, Order, Payment, Stray


class FoundSession(Protocol):
    """A paid session as the payment gateway lists it (gateways.stripe_checkout.Session)."""

    @property
    def id(self) -> str: ...
    @property
    def url(self) -> str | None: ...
    @property
    def account(self) -> str: ...
    @property
    def reference(self) -> str: ...
    @property
    def merchant(self) -> str: ...
    @property
    def amount_total_minor(self) -> int: ...
    @property
    def currency(self) -> str: ...
    @property
    def expires_at(self) -> datetime: ...


def known_payment(session: FoundSession) -> Payment | None:
    """Our payment behind a session, or None."""
    found: Payment | None = Payment.get_or_none(Payment.account == session.account, Payment.session_id == session.id)
    return found


def order_behind(session: FoundSession) -> Order | None:
    """The order that a session names, if that order's merchant takes money in that account; else None.

    Another merchant's session that names it proves nothing.
    """
    order: Order | None = Order.get_or_none(Order.ref == session.reference) if session.reference else None
    return order if order is not None and session.account in _accounts_of(order) else None


def adopt(order: Order, session: FoundSession) -> Payment:
    """Our payment for a session of `order` that we forgot, so that `checkout.settle` can look at it."""
    with transaction():
        order = locked(Order.select().where(Order.id == order.id)).get()
        payment = known_payment(session) or _fill_in(order, session) or _add(order, session)
    return payment


def strand(session: FoundSession) -> Stray | None:
    """Write down money that says that it is for a shop of ours and that no order explains; None for anybody else's.

    One that a person has closed stays closed.
    """
    merchant = _owner(session)
    if merchant is None:
        return None
    with transaction():
        Stray.insert(
            merchant=merchant,
            account=session.account,
            session_id=session.id,
            reference=session.reference[:255],
            amount_minor=session.amount_total_minor,
            currency=session.currency,
            found_at=clock.now(),
        ).on_conflict_ignore().execute()
    stray: Stray = Stray.get(Stray.account == session.account, Stray.session_id == session.id)
    return stray


def close_stray(session: FoundSession, *, actor: str) -> None:
    """An order explains the session by now."""
    of_session = (Stray.account == session.account) & (Stray.session_id == session.id)
    if not Stray.select().where(of_session, Stray.closed_at.is_null()).exists():
        return
    with transaction():
        Stray.update(closed_at=clock.now(), closed_by=actor).where(of_session, Stray.closed_at.is_null()).execute()


def dismiss(stray: Stray, *, actor: str) -> None:
    """A person has dealt with it. Raises NothingToDecide when somebody else was faster."""
    with transaction():
        is_open = (Stray.id == stray.id) & Stray.closed_at.is_null()
        if not Stray.update(closed_at=clock.now(), closed_by=actor).where(is_open).execute():
            raise refusals.NothingToDecide("Somebody has dealt with this before.")


def _accounts_of(order: Order) -> set[str]:
    return {order.merchant.stripe_account, *(payment.account for payment in order.payments)}


def _owner(session: FoundSession) -> Merchant | None:
    """Who is told: the shop that the session names, or the owner of the account when those two do not fit."""
    named: Merchant | None = Merchant.get_or_none(Merchant.slug == session.merchant) if session.merchant else None
    if named is None or not session.account:
        return named
    connection = Connection.get_or_none(Connection.account == session.account)
    return connection.merchant if connection is not None else named


def _fill_in(order: Order, session: FoundSession) -> Payment | None:
    """Stripe opened the session and its answer was lost: the attempt is there, and does not know its session."""
    waiting = order.payments.where(
        Payment.session_id.is_null(), Payment.account == session.account, Payment.state == PaymentState.OPEN
    ).first()
    if waiting is None:
        return None
    changes = {"session_id": session.id, "url": session.url, "next_check_at": clock.now()}
    Payment.update(**changes).where(Payment.id == waiting.id, Payment.session_id.is_null()).execute()
    return _told(order, Payment.get_by_id(waiting.id))


def _add(order: Order, session: FoundSession) -> Payment:
    latest = order.latest_payment
    payment: Payment = Payment.create(
        order=order,
        merchant=order.merchant_id,
        attempt=latest.attempt + 1 if latest is not None else 1,
        account=session.account,
        idempotency_key=f"adopted:{session.account}:{session.id}",
        session_id=session.id,
        url=session.url,
        amount_minor=order.total_minor,
        currency=order.currency,
        is_live=not order.is_test,
        next_check_at=clock.now(),
        expires_at=session.expires_at,
    )
    return _told(order, payment)


def _told(order: Order, payment: Payment) -> Payment:
    timeline.record(
        order.merchant,
        "checkout_opened",
        order=order,
        actor=Source.RECONCILER,
        session_id=payment.session_id,
        attempt=payment.attempt,
    )
    return payment
