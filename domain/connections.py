"""A merchant's own Stripe account: begun, answered, ready. Only a ready one takes payments. The only writer of it."""

from collections.abc import Sequence
from typing import Protocol

from database import locked, transaction
from domain import clock, refusals, timeline
from domain.states import ConnectionState
from models import Connection, Merchant

# What of Stripe's list of open questions is kept; the rest is seen at Stripe.
_QUESTIONS = 20


class AccountReport(Protocol):
    """What the payment gateway says about an account now (gateways.stripe_accounts.AccountReport)."""

    @property
    def account(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def requirements(self) -> Sequence[str]: ...


def of(merchant: Merchant) -> Connection | None:
    """The merchant's connection, or None before it was begun."""
    found: Connection | None = Connection.get_or_none(Connection.merchant == merchant)
    return found


def begin(merchant: Merchant, report: AccountReport, *, actor: str) -> Connection:
    """Write down the account that was made for a merchant. Raises AlreadyUsed when another one is connected."""
    with transaction():
        merchant = locked(Merchant.select().where(Merchant.id == merchant.id)).get()
        known = of(merchant)
        if known is not None and known.state != ConnectionState.ENDED and known.account != report.account:
            raise refusals.AlreadyUsed("Another Stripe account is connected.")
        is_new = known is None or known.account != report.account
        if known is None:
            known = Connection.create(merchant=merchant, account=report.account)
        elif is_new:
            Connection.update(account=report.account, state=ConnectionState.PENDING).where(
                Connection.id == known.id
            ).execute()
        if is_new:
            timeline.record(merchant, "stripe_connecting", actor=actor, account=report.account)
        return _settle(Connection.get_by_id(known.id), report)


def settle(connection: Connection, report: AccountReport) -> Connection:
    """Bring a connection to what Stripe says of its account."""
    with transaction():
        locked(Merchant.select().where(Merchant.id == connection.merchant_id)).get()
        return _settle(Connection.get_by_id(connection.id), report)


def end(connection: Connection) -> None:
    """The merchant took our access away at Stripe: nothing can be sold until it is connected anew."""
    with transaction():
        merchant = locked(Merchant.select().where(Merchant.id == connection.merchant_id)).get()
        _move(Connection.get_by_id(connection.id), merchant, ConnectionState.ENDED, [])


def _settle(connection: Connection, report: AccountReport) -> Connection:
    state = ConnectionState(report.state)
    if state == ConnectionState.RESTRICTED and connection.state == ConnectionState.PENDING:
        state = ConnectionState.PENDING  # Stripe calls an account restricted from its birth; that is no news to anybody
    _move(connection, connection.merchant, state, list(report.requirements)[:_QUESTIONS])
    found: Connection = Connection.get_by_id(connection.id)
    return found


def _move(connection: Connection, merchant: Merchant, state: ConnectionState, requirements: list[str]) -> None:
    Connection.update(state=state, requirements=requirements, checked_at=clock.now()).where(
        Connection.id == connection.id
    ).execute()
    if state != connection.state or (state == ConnectionState.READY) != bool(merchant.stripe_account):
        # New payments go to this account or to none; those that are open keep the account that they were opened for.
        account = connection.account if state == ConnectionState.READY else ""
        Merchant.update(stripe_account=account).where(Merchant.id == merchant.id).execute()
        timeline.record(merchant, f"stripe_{state}", account=connection.account)
