"""What the two lists show: views, search and pages, each list in a fixed number of queries."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import peewee

from blueprints import returns
from blueprints.dashboard import tracks
from database import is_postgresql
from domain import clock, codes
from domain.states import (
    FINISHED,
    MOVING,
    UNSETTLED,
    DisputeState,
    PaymentState,
    RefundOrigin,
    RefundState,
    StepState,
)
from models import Dispute, Merchant, Order, Payment, Refund, Step, Unit, Voucher

PAGE = 50
# Beyond this many rows on one page a person searches; older ones follow on the next page.
MOST_ROWS = 500
LONGEST_SEARCH = 100
VIEWS = ("all", "needs_you", "in_progress", "done", "refunded")
# How Stripe's ids begin: sessions, payments, refunds, disputes and warnings.
_AT_STRIPE = ("cs_", "pi_", "re_", "pyr_", "dp_", "du_", "issfr_")
_ACTIVE = tuple(state for state in StepState if state not in FINISHED)


@dataclass(frozen=True)
class Wanted:
    """What the address bar asks for: view, search text, how many rows, and the order after which they begin."""

    view: str = "all"
    text: str = ""
    rows: int = PAGE
    before: str = ""

    @classmethod
    def read(cls, arguments: Mapping[str, str]) -> "Wanted":
        """From the query of a URL; whatever makes no sense becomes the default."""
        view = arguments.get("view", "all")
        rows = arguments.get("rows", "")
        return cls(
            view=view if view in VIEWS else "all",
            text=_clean(arguments.get("q", "")),
            rows=min(max(int(rows), PAGE), MOST_ROWS) if rows.isascii() and rows.isdigit() and len(rows) < 5 else PAGE,
            before=_clean(arguments.get("before", "")),
        )

    def query(self, **changes: str | int) -> dict[str, str | int]:
        """The query of a URL that asks for this, changed; defaults are left out."""
        plain = {"view": "all", "q": "", "rows": PAGE, "before": ""}
        values = {"view": self.view, "q": self.text, "rows": self.rows, "before": self.before} | changes
        return {name: value for name, value in values.items() if value != plain[name]}

    @property
    def can_grow(self) -> bool:
        """One page still holds more rows; beyond that a new page begins."""
        return self.rows < MOST_ROWS

    def longer(self) -> dict[str, str | int]:
        """The query of the same page with more rows."""
        return self.query(rows=self.rows + PAGE)

    def from_start(self, *, before: str = "", **changes: str | int) -> dict[str, str | int]:
        """The query of a page of the usual length that begins anew, or below the row `before`."""
        return self.query(rows=PAGE, before=before, **changes)


@dataclass(frozen=True)
class Row:
    """One order in the list."""

    standing: tracks.Standing
    units: Sequence[Unit]

    @property
    def order(self) -> Order:
        return self.standing.order

    @property
    def recipients(self) -> list[str]:
        return [unit.recipient_name or unit.recipient_email for unit in self.units if unit.recipient_email]


@dataclass(frozen=True)
class Page:
    """The rows of a page and whether more follow."""

    rows: Sequence[Row]
    has_more: bool


def orders(merchant: Merchant, wanted: Wanted, *, at: datetime) -> Page:
    """The newest orders of a view that match the search, in six queries however many they are."""
    query = merchant.orders.where(_in_view(merchant, wanted.view))
    if wanted.text:
        query = query.where(_matches(merchant, wanted.text))
    earlier = merchant.orders.where(Order.number == wanted.before).first() if wanted.before else None
    if earlier is not None:
        query = query.where(_is_before(earlier))
    found = list(query.order_by(Order.created_at.desc(), Order.id.desc()).limit(wanted.rows + 1))
    return Page(rows_of(found[: wanted.rows], at=at), has_more=len(found) > wanted.rows)


def most_urgent(merchant: Merchant, *, limit: int, at: datetime) -> list[Row]:
    """The orders that wait longest for a person."""
    query = merchant.orders.where(_in_view(merchant, "needs_you")).order_by(Order.created_at, Order.id)
    return rows_of(list(query.limit(limit)), at=at)


def counts(merchant: Merchant) -> dict[str, int]:
    """How many orders each view holds."""
    by_state = dict(
        merchant.orders.select(Order.payment_state, peewee.fn.COUNT(Order.id)).group_by(Order.payment_state).tuples()
    )
    listed = ("needs_you", "in_progress", "refunded")
    counted = {view: merchant.orders.where(_in_view(merchant, view)).count() for view in listed}
    # Most orders are done, so those that are not are counted.
    is_open = Order.id.in_(_with_steps(merchant, _ACTIVE)) | _in_view(merchant, "needs_you")
    paid_and_open = merchant.orders.where(Order.payment_state == PaymentState.PAID, is_open).count()
    done = by_state.get(PaymentState.PAID, 0) - paid_and_open
    return {"all": sum(by_state.values()), "done": done} | counted


def rows_of(found: Sequence[Order], *, at: datetime) -> list[Row]:
    """The given orders with everything that a row shows."""
    keys = [order.id for order in found]
    units = _by_order(Unit.select().where(Unit.order.in_(keys)).order_by(Unit.unit_no))
    steps = _by_order(Step.select().where(Step.order.in_(keys)))
    back = _returns(keys)
    return [
        Row(
            tracks.standing(order, returned=back[order.id], steps=steps.get(order.id, []), at=at),
            units.get(order.id, []),
        )
        for order in found
    ]


def vouchers(merchant: Merchant, wanted: Wanted) -> tuple[list[Voucher], bool]:
    """The newest vouchers that match the search, with unit and order loaded, and whether more follow."""
    query = (
        merchant.vouchers.select(Voucher, Unit, Order)
        .join(Unit, peewee.JOIN.LEFT_OUTER)
        .join(Order, peewee.JOIN.LEFT_OUTER)
    )
    if wanted.text:
        fields = (Unit.recipient_name, Unit.recipient_email, Order.buyer_name, Order.buyer_email, Order.number)
        query = query.where(_contains(fields, wanted.text) | _has_last4(wanted.text))
    earlier = merchant.vouchers.where(Voucher.public_id == wanted.before).first() if wanted.before else None
    if earlier is not None:
        query = query.where(Voucher.id < earlier.id)
    found = list(query.order_by(Voucher.created_at.desc(), Voucher.id.desc()).limit(wanted.rows + 1))
    return found[: wanted.rows], len(found) > wanted.rows


def needs_a_person(merchant: Merchant) -> int:
    """How many steps of this merchant have stopped and wait for somebody."""
    return Step.select().join(Order).where(Order.merchant == merchant, Step.state == StepState.DEAD).count()


def _in_view(merchant: Merchant, view: str) -> peewee.Expression:
    if view == "refunded":
        back = Refund.select(Refund.order).where(Refund.merchant == merchant, Refund.state.in_(MOVING))
        return Order.id.in_(back)
    needs_you = Order.id.in_(_with_steps(merchant, [StepState.DEAD])) | _needs_money_decided(merchant)
    is_open = Order.id.in_(_with_steps(merchant, _ACTIVE))
    if view == "needs_you":
        return needs_you
    if view == "in_progress":
        return (Order.payment_state.in_(UNSETTLED) | is_open) & ~needs_you
    if view == "done":
        return (Order.payment_state == PaymentState.PAID) & ~is_open & ~needs_you
    return Order.merchant == merchant


def _needs_money_decided(merchant: Merchant) -> peewee.Expression:
    """The condition of a query that `Returns.needs_a_person` states of one order."""
    contested = Dispute.select(Dispute.order).where(Dispute.merchant == merchant, Dispute.state == DisputeState.OPEN)
    undecided = Refund.select(Refund.order).where(
        Refund.merchant == merchant,
        Refund.decided_at.is_null(),
        Refund.origin == RefundOrigin.STRIPE,
        Refund.state.in_(MOVING),
    )
    ways = (_held(merchant), contested, undecided, _failed(merchant))
    found = Order.id.in_(ways[0])
    for way in ways[1:]:
        found |= Order.id.in_(way)
    return found


def _held(merchant: Merchant) -> peewee.ModelSelect:
    of_payment = Refund.select(peewee.fn.SUM(Refund.amount_minor)).where(
        Refund.payment == Payment.id, Refund.state.in_(MOVING)
    )
    moving = peewee.fn.COALESCE(of_payment, 0)
    received = peewee.fn.COALESCE(Payment.received_minor, Payment.amount_minor)
    is_here = (moving == 0) | (moving < received)
    return Payment.select(Payment.order).where(
        Payment.merchant == merchant, Payment.state == PaymentState.REVIEW, is_here
    )


def _failed(merchant: Merchant) -> peewee.ModelSelect:
    later = Refund.alias()
    asked_again = later.select(later.id).where(
        later.payment == Refund.payment, later.id > Refund.id, later.state.in_(MOVING)
    )
    return Refund.select(Refund.order).where(
        Refund.merchant == merchant,
        Refund.state == RefundState.FAILED,
        Refund.origin == RefundOrigin.DASHBOARD,
        Refund.ended_at > clock.now() - returns.FAILED_FOR,
        ~peewee.fn.EXISTS(asked_again),
    )


def _with_steps(merchant: Merchant, states: Iterable[StepState]) -> peewee.ModelSelect:
    of_merchant = Step.select(Step.order).join(Order).where(Order.merchant == merchant)
    return of_merchant.where(Step.state.in_(list(states)))


def _is_before(earlier: Order) -> peewee.Expression:
    is_same_moment = (Order.created_at == earlier.created_at) & (Order.id < earlier.id)
    return (Order.created_at < earlier.created_at) | is_same_moment


def _matches(merchant: Merchant, text: str) -> peewee.Expression:
    if text.startswith(_AT_STRIPE):
        return _is_at_stripe_as(merchant, text)
    of_units = Unit.select(Unit.order).join(Order).where(Order.merchant == merchant)
    to_recipients = of_units.where(_contains((Unit.recipient_name, Unit.recipient_email), text))
    by_code = Unit.select(Unit.order).join(Voucher).where(Voucher.merchant == merchant, _has_last4(text))
    in_order = _contains((Order.number, Order.buyer_name, Order.buyer_email), text)
    return in_order | Order.id.in_(to_recipients) | Order.id.in_(by_code)


def _is_at_stripe_as(merchant: Merchant, text: str) -> peewee.Expression:
    payments = Payment.select(Payment.order).where(
        Payment.merchant == merchant, (Payment.session_id == text) | (Payment.payment_intent_id == text)
    )
    refunds = Refund.select(Refund.order).where(Refund.merchant == merchant, Refund.refund_id == text)
    disputes = Dispute.select(Dispute.order).where(Dispute.merchant == merchant, Dispute.dispute_id == text)
    return Order.id.in_(payments) | Order.id.in_(refunds) | Order.id.in_(disputes)


def _contains(fields: Sequence[peewee.Field], text: str) -> peewee.Expression:
    # `contains` escapes % and _. SQLite folds the case of ASCII alone, so there an umlaut is tried both ways.
    forms = {text} if text.isascii() or is_postgresql() else {text, text.lower(), text.upper(), text.title()}
    found = [field.contains(form) for field in fields for form in sorted(forms)]
    matches = found[0]
    for each in found[1:]:
        matches |= each
    return matches


def _has_last4(text: str) -> peewee.Expression:
    return Voucher.code_last4.in_([ending for ending in codes.endings(text) if len(ending) == 4])


def _returns(keys: Sequence[int]) -> dict[int, returns.Returns]:
    payments = _by_order(Payment.select().where(Payment.order.in_(keys)).order_by(Payment.attempt))
    refunds = _by_order(Refund.select().where(Refund.order.in_(keys)).order_by(Refund.id))
    disputes = _by_order(Dispute.select().where(Dispute.order.in_(keys)).order_by(Dispute.id))
    return {key: returns.Returns(*(found.get(key, []) for found in (payments, refunds, disputes))) for key in keys}


def _by_order(query: peewee.ModelSelect) -> dict[int, list]:
    grouped: dict[int, list] = {}
    for record in query:
        grouped.setdefault(record.order_id, []).append(record)
    return grouped


def _clean(text: str) -> str:
    # PostgreSQL refuses NUL in any text.
    return text.replace("\0", "").strip()[:LONGEST_SEARCH]
