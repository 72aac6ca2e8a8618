"""Connect Stripe: a merchant answers Stripe's questions on Stripe's pages, and we see whether payments may begin."""

import structlog

from domain import connections
from domain.states import ConnectionState
from effects.outside import here
from gateways.stripe_checkout import StripeRefused, StripeUnavailable
from models import Connection, Merchant

log = structlog.get_logger()


def start(merchant: Merchant, *, return_url: str, refresh_url: str, actor: str) -> str:
    """Where the merchant goes on with the connection; its account is made once.

    Raises StripeUnavailable and StripeRefused.
    """
    accounts = here().stripe.accounts
    connection = connections.of(merchant)
    if connection is None or connection.state == ConnectionState.ENDED:
        before = connection.account if connection is not None else "none"
        report = accounts.create(
            email=merchant.email,
            name=merchant.name,
            country=merchant.country,
            # A lost answer makes no second account; one that was taken away from us is followed by a new one.
            idempotency_key=f"connect:{merchant.slug}:{merchant.id}:{before}",
        )
        connection = connections.begin(merchant, report, actor=actor)
    return accounts.link(connection.account, refresh_url=refresh_url, return_url=return_url)


def refresh(connection: Connection) -> Connection:
    """Ask Stripe how the account stands now. Raises StripeUnavailable, and StripeRefused for anything but its end."""
    try:
        report = here().stripe.accounts.fetch(connection.account)
    except StripeRefused as error:
        if error.code != "account_gone":
            raise
        connections.end(connection)
        return Connection.get_by_id(connection.id)
    return connections.settle(connection, report)


def refresh_account(account: str) -> str:
    """The same for the account that an event names; the outcome for the log. Raises as `refresh` does."""
    connection = Connection.get_or_none(Connection.account == account)
    if connection is None:
        return "ignored"
    state = refresh(connection).state
    log.info("stripe_account", account=account, state=state)
    return f"account_{state}"


def refresh_all() -> int:
    """Ask about every connection that is not ended; returns how many answered. Never raises."""
    count = 0
    for connection in Connection.select().where(Connection.state != ConnectionState.ENDED):
        try:
            refresh(connection)
            count += 1
        except (StripeUnavailable, StripeRefused) as error:
            log.warning("stripe_account_unclear", account=connection.account, reason=str(error))
    return count
