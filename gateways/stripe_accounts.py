"""The Stripe accounts of merchants: make one, lead its owner through Stripe's questions, see what is still open.

Accounts v2 of Connect; only the platform's own key may ask. Countries are ISO 3166-1 alpha-2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from gateways import stripe_api
from gateways.stripe_api import StripeApi, StripeRefused, StripeUnclear, read

__all__ = ["AccountReport", "AccountState", "StripeAccounts"]

_INCLUDE = ["configuration.merchant", "requirements"]


class AccountState(StrEnum):
    """Whether the account may take cards. `RESTRICTED`: Stripe waits for its owner, or has refused it."""

    PENDING = "pending"
    READY = "ready"
    RESTRICTED = "restricted"


_STATES = {
    "active": AccountState.READY,
    "pending": AccountState.PENDING,
    "restricted": AccountState.RESTRICTED,
    "rejected": AccountState.RESTRICTED,
    "unsupported": AccountState.RESTRICTED,
}


@dataclass(frozen=True)
class AccountReport:
    """A merchant's account as Stripe described it; `requirements` is what its owner owes Stripe now, in Stripe's words.

    A new account is `RESTRICTED` until its owner has answered Stripe's questions.
    """

    account: str
    state: AccountState
    requirements: tuple[str, ...]
    is_live: bool


class StripeAccounts:
    """The connected accounts of our platform: `StripeCheckout.accounts`.

    Every call raises StripeUnavailable when Stripe gives no answer, StripeRefused with Stripe's code when it refuses
    (`account_gone` when the account was closed or access to it ended), and StripeUnclear when the answer lacks
    something.
    """

    def __init__(self, api: StripeApi) -> None:
        self._api = api

    def create(self, *, email: str, name: str, country: str, idempotency_key: str) -> AccountReport:
        """A new account that takes cards in its own name and pays Stripe's fees itself; the same key makes one."""
        params = {
            "contact_email": email,
            "display_name": name,
            "dashboard": "full",
            "identity": {"country": country.lower()},
            "configuration": {"merchant": {"capabilities": {"card_payments": {"requested": True}}}},
            "defaults": {"responsibilities": {"fees_collector": "stripe", "losses_collector": "stripe"}},
            "include": _INCLUDE,
        }
        options = self._api.options(idempotency_key=idempotency_key)
        return _as_report(stripe_api.answer(lambda: self._api.v2.core.accounts.create(params, options)))

    def link(self, account: str, *, refresh_url: str, return_url: str) -> str:
        """The address where the account's owner answers Stripe's questions: for one visit, and for minutes only.

        `return_url` is where the owner comes back to, finished or not; `refresh_url` has to make a new link.
        """
        known = _checked(account)
        urls = {"refresh_url": refresh_url, "return_url": return_url}
        params = {"account": known, "use_case": {"type": "account_onboarding", "account_onboarding": urls}}
        made = _of_account(lambda: self._api.v2.core.account_links.create(params, self._api.options()))
        return read(made, "url", str)

    def fetch(self, account: str) -> AccountReport:
        """The account as Stripe sees it now."""
        known, params = _checked(account), {"include": _INCLUDE}
        return _as_report(_of_account(lambda: self._api.v2.core.accounts.retrieve(known, params, self._api.options())))


def _checked(account: str) -> str:
    return stripe_api.checked(account, stripe_api.ACCOUNT_ID, noun="account")


def _of_account(call: Callable[[], object]) -> object:
    try:
        return stripe_api.answer(call)
    except StripeRefused as refused:
        # A restricted key without the right to ask is refused too, and says nothing about the account.
        is_about_key = "permission" in refused.code
        if refused.http_status == 404 or (refused.http_status == 403 and not is_about_key):
            raise StripeRefused(refused.message, code="account_gone") from refused
        raise


def _as_report(body: object) -> AccountReport:
    account = stripe_api.read_id(body, stripe_api.ACCOUNT_ID)
    if stripe_api.read_optional(body, "closed", (bool,)):
        raise StripeRefused(f"The account {account} was closed", code="account_gone")
    return AccountReport(
        account=account,
        state=_state(body),
        requirements=_requirements(body),
        is_live=read(body, "livemode", bool),
    )


def _state(body: object) -> AccountState:
    merchant = read(read(body, "configuration", object), "merchant", object)
    cards = read(read(merchant, "capabilities", object), "card_payments", object)
    status = read(cards, "status", str)
    if status not in _STATES:
        raise StripeUnclear(f"Stripe's answer has the unknown `status` {status[:50]!r}")
    return _STATES[status]


def _requirements(body: object) -> tuple[str, ...]:
    listed = stripe_api.read_optional(body, "requirements", (object,))
    entries = [] if listed is None else stripe_api.read_optional(listed, "entries", (list,)) or []
    owed = [read(entry, "description", str) for entry in entries if _is_owed(entry)]
    return tuple(dict.fromkeys(owed))


def _is_owed(entry: object) -> bool:
    deadline = read(read(entry, "minimum_deadline", object), "status", str)
    return read(entry, "awaiting_action_from", str) == "user" and deadline != "eventually_due"
