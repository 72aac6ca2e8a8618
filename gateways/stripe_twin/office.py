"""Stripe's dashboard for the demo: every payment as it stands, and what can be made to happen to it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from domain import clock, money
from gateways.stripe_twin import connect, disputes, refunds, till
from gateways.stripe_twin.book import Book, Kept
from gateways.stripe_twin.wire import Json, WireError

_PART_MAJOR = 10  # the small refund, in whole coins
_PAGE, _MESSAGES = 25, 12


@dataclass(frozen=True)
class Badge:
    """A word on how a payment stands; `tone` is good, busy, bad or quiet, `amount` in Stripe's units."""

    name: str
    tone: str
    amount: int = 0


@dataclass(frozen=True)
class Payment:
    """One line of the dashboard. `actions` are names of `ACTS` with the amount they speak of (0: none)."""

    session: Json
    account: str
    badges: tuple[Badge, ...]
    actions: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Message:
    """An event on its way to the shop."""

    id: str
    kind: str
    state: str
    created_at: datetime


def payments(book: Book, *, beyond: str = "") -> tuple[list[Payment], str]:
    """The newest payments, or those after the session of the id `beyond`; the id to go on from ("": no more)."""
    try:
        found = book.walk("checkout.session", beyond=beyond)
        sessions = [till.up_to_date(book, kept) for kept, _ in zip(found, range(_PAGE + 1), strict=False)]
    except KeyError:
        raise WireError("There is no such payment.", status=404) from None
    shown = sessions[:_PAGE]
    return [_payment(book, kept) for kept in shown], shown[-1].id if len(sessions) > _PAGE else ""


def messages(book: Book) -> list[Message]:
    """The newest events that the shop was or was not told."""
    rows = book.recent_deliveries(_MESSAGES)
    return [Message(event_id, kind, state, moment(created)) for event_id, kind, state, created in rows]


def act(book: Book, session_id: str, name: str) -> None:
    """Make something happen to a payment. Raises WireError when it cannot happen now, or is unknown."""
    kept = till.find_session(book, session_id)
    if name not in ACTS or name not in dict(_payment(book, kept).actions):
        raise WireError("This cannot be done to the payment now.")
    ACTS[name](book, till.find_charge(book, session_id))


def act_on_account(book: Book, account_id: str, name: str) -> None:
    """Make something happen to a connected account. Raises WireError when it is gone or the wish is unknown."""
    if name not in ACCOUNT_ACTS:
        raise WireError("This cannot be done to the account.")
    ACCOUNT_ACTS[name](book, connect.find(book, account_id))


def part_of(charge: Json) -> int:
    """10.00 in Stripe's units of a charge's currency; 0 when no more than that is left."""
    try:
        part = int(_PART_MAJOR * 10 ** money.exponent(charge["currency"].upper()))
    except KeyError:
        return 0
    return part if part < _left(charge) else 0


Act: TypeAlias = Callable[[Book, Kept], object]


def _refund(book: Book, charge: Kept, *, amount: int, later: bool = False) -> None:
    refunds.create(book, {"charge": charge.id, "amount": amount}, account=charge.account, later=later)


def _settle(book: Book, charge: Kept, *, succeed: bool) -> None:
    for kept in _refunds_of(book, charge):
        if refunds.is_waiting(kept):
            refunds.settle(book, kept, succeed=succeed)


def _case(book: Book, charge: Kept) -> Kept:
    return disputes.find(book, charge.aside.get("dispute", ""))


ACTS: dict[str, Act] = {
    "refund_all": lambda book, charge: _refund(book, charge, amount=_left(charge.body)),
    "refund_part": lambda book, charge: _refund(book, charge, amount=part_of(charge.body)),
    "refund_later": lambda book, charge: _refund(book, charge, amount=_left(charge.body), later=True),
    "refund_arrives": lambda book, charge: _settle(book, charge, succeed=True),
    "refund_fails": lambda book, charge: _settle(book, charge, succeed=False),
    "dispute": lambda book, charge: disputes.open_case(book, charge, reason="fraudulent"),
    "inquiry": lambda book, charge: disputes.open_case(book, charge, reason="fraudulent", is_inquiry=True),
    "evidence": lambda book, charge: disputes.answer(book, _case(book, charge)),
    "won": lambda book, charge: disputes.close(book, _case(book, charge), won=True),
    "lost": lambda book, charge: disputes.close(book, _case(book, charge), won=False),
    "warn": disputes.warn,
}
ACCOUNT_ACTS: dict[str, Act] = {
    "finish": connect.finish_onboarding,
    "restrict": connect.restrict,
    "disconnect": connect.disconnect,
}
_BUSY = ("needs_response", "under_review", "warning_needs_response", "warning_under_review")


def _payment(book: Book, kept: Kept) -> Payment:
    state = till.state_of(kept)
    tone = {"paid": "good", "waiting": "busy", "refused": "bad"}.get(state, "quiet")
    if state != "paid":
        return Payment(kept.body, kept.account, (Badge(state, tone),), ())
    charge = till.find_charge(book, kept.id)
    given = _refunds_of(book, charge)
    case = book.find(charge.aside.get("dispute", ""))
    badges = (*_money_badges(charge, given), *_trouble_badges(charge, case))
    return Payment(kept.body, kept.account, badges, tuple(_actions(charge, given, case)))


def _money_badges(charge: Kept, given: list[Kept]) -> tuple[Badge, ...]:
    waiting = sum(kept.body["amount"] for kept in given if refunds.is_waiting(kept))
    back = charge.body["amount_refunded"] - waiting
    is_kept = charge.body["amount_refunded"] < charge.body["amount"] and not disputes.is_charged_back(charge)
    found = [Badge("paid", "good")] if is_kept else []
    if back:
        found.append(Badge("refunded", "quiet") if back == charge.body["amount"] else Badge("part", "quiet", back))
    if waiting:
        found.append(Badge("pending", "busy", waiting))
    if any(kept.body["status"] == "failed" for kept in given):
        found.append(Badge("failed", "bad"))
    return tuple(found)


def _trouble_badges(charge: Kept, case: Kept | None) -> tuple[Badge, ...]:
    found = []
    if case is not None:
        status = case.body["status"]
        tone = "busy" if status in _BUSY else ("bad" if status == "lost" else "quiet")
        found.append(Badge(status, tone))
    if charge.aside.get("warnings"):
        found.append(Badge("warned", "busy"))
    return tuple(found)


def _actions(charge: Kept, given: list[Kept], case: Kept | None) -> list[tuple[str, int]]:
    left, found = _left(charge.body), []
    if left and not disputes.is_charged_back(charge):
        part = part_of(charge.body)
        found += [("refund_all", left), *([("refund_part", part)] if part else []), ("refund_later", 0)]
    if any(refunds.is_waiting(kept) for kept in given):
        found += [("refund_arrives", 0), ("refund_fails", 0)]
    if case is None:
        found += [("dispute", 0), ("inquiry", 0)]
    elif case.body["status"] in _BUSY:
        found += [("evidence", 0)] if case.body["status"].endswith("needs_response") else []
        found += [("won", 0), ("lost", 0)]
    if not charge.aside.get("warnings"):
        found.append(("warn", 0))
    return found


def _refunds_of(book: Book, charge: Kept) -> list[Kept]:
    ids = charge.aside.get("refunds", [])
    return [kept for kept in map(book.find, ids) if kept is not None]


def _left(charge: Json) -> int:
    return int(charge["amount"] - charge["amount_refunded"])


def account_state(kept: Kept) -> str:
    """`active`, `restricted` or `gone`."""
    return "gone" if kept.aside.get("is_disconnected") else (connect.card_status(kept) or "restricted")


def moment(seconds: float) -> datetime:
    """A second of Stripe's as a moment (aware, UTC)."""
    return datetime.fromtimestamp(seconds, clock.now().tzinfo)
