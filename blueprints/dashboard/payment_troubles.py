"""What a payment that needs a person says, in five parts, with the buttons that can settle it.

Effect on people, cause in plain words, what happens by itself, what you can do, reference.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flask import url_for
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from blueprints import presentation
from blueprints.dashboard import desk, fields, refund_words, roles, stripe_links, wording
from blueprints.returns import Returns
from domain import checkout, money
from domain.states import DisputeKind
from models import Dispute, Order, Payment, Refund


@dataclass(frozen=True)
class Act:
    """One button: a link, or a form with hidden fields. `why` says why it can't be pressed now."""

    id: str
    label: Any
    url: str
    hidden: Mapping[str, str] = field(default_factory=dict)
    is_link: bool = False
    is_outside: bool = False
    kind: str = ""
    why: str = ""


@dataclass(frozen=True)
class Banner:
    """One trouble in five parts, its buttons, and technical details for experts."""

    key: str
    effect: str
    cause: str
    by_itself: str
    what_you_can_do: str
    reference: str
    acts: tuple[Act, ...]
    technical: str = ""
    tone: str = "bad"


@dataclass(frozen=True)
class Reader:
    """Who looks at the order: owners decide about money, staff is told whom to ask."""

    is_owner: bool
    owners: tuple[str, ...] = ()

    @property
    def obstacle(self) -> str:
        """Why this person can't press a button that decides about money; empty for owners."""
        if self.is_owner:
            return ""
        return _("Only owners decide about money. Ask %(names)s.", names=", ".join(self.owners))


# Difference → what it means. Amounts and currencies are told together.
_DIFFERENCES: Mapping[str, Any] = {
    "paid_before": _l("The order was paid before, so a second payment page of it was paid as well."),
    "is_live": _l("One of them was in test mode and the other was not."),
    "account": _l("The money is in another Stripe account than the one of this order."),
    "reference": _l("Stripe says that the payment belongs to another order."),
    "session_id": _l("Stripe answered with another payment page than the one that we asked about."),
    "payment_status": _l("Stripe says that nothing had to be paid."),
}


def reader() -> Reader:
    """The person at this desk."""
    is_owner = roles.is_owner()
    return Reader(is_owner, () if is_owner else tuple(roles.owner_names()))


def banners(order: Order, found: Returns, *, by: Reader, at: datetime) -> list[Banner]:
    """Everything about the order's money that waits for a person, the most urgent first."""
    return [
        *(_of_dispute(order, dispute, found, by) for dispute in found.contested),
        *(_of_held(order, payment, by) for payment in found.held),
        *(_of_foreign_refund(order, refund, by) for refund in found.undecided),
        *(_of_failed(order, refund, found, by) for refund in found.failed(at)),
    ]


def refund_obstacle(order: Order, found: Returns, *, left_minor: int, by: Reader) -> str:
    """Why the refund button can't be pressed now; empty when it can."""
    if by.obstacle:
        return by.obstacle
    if found.is_money_at_bank:
        return _("Disputed: the bank holds the money")
    if not order.is_paid:
        return _("Nothing to refund: the order is not paid") if not found.held else _("Held, see above")
    if found.paid is None or not found.paid.payment_intent_id:
        return _("Stripe has not named this payment, so refund it at Stripe")
    return _("Refunded") if left_minor <= 0 else ""


def differences(payment: Payment) -> str:
    """What Stripe reports otherwise than we asked for, in sentences."""
    found: Mapping[str, Any] = payment.differences or {}
    said = []
    if {"amount_minor", "currency"} & found.keys():
        shown = {
            "expected": _money(payment.amount_minor, payment.currency),
            "reported": _money(payment.received_minor or 0, payment.received_currency or payment.currency),
        }
        said.append(_("Stripe reports %(reported)s, the order says %(expected)s.", **shown))
    said += [str(words) for name, words in _DIFFERENCES.items() if name in found]
    return " ".join(said) or _("What Stripe reports about this payment does not match the order.")


def _of_held(order: Order, payment: Payment, by: Reader) -> Banner:
    amount = _money(_received_minor(payment), payment.received_currency or payment.currency)
    is_twice = order.is_paid
    can_release = not is_twice and checkout.can_release(payment)
    if is_twice:
        effect = _("%(buyer)s has paid this order twice: %(amount)s too much.", buyer=_buyer(order), amount=amount)
        by_itself = _("The vouchers were made once, and the second payment is held.")
        advice = _("Send the second payment back.")
    else:
        effect = _("The payment is held: no voucher was made, and %(buyer)s is waiting.", buyer=_buyer(order))
        by_itself = _("Nothing happens by itself, so that no wrong voucher goes out.")
        advice = _("Look at the payment in Stripe, then send it back.")
        if can_release:
            advice = _(
                "Look at the payment in Stripe, then send it back, or accept it: the vouchers are then made with the"
                " value that was ordered."
            )
    found: Mapping[str, Any] = payment.differences or {}
    return Banner(
        key=f"held-{payment.attempt}",
        effect=effect,
        cause=differences(payment),
        by_itself=by_itself,
        what_you_can_do=advice,
        reference=_reference(order, payment),
        acts=_held_acts(order, payment, by, amount=amount, is_twice=is_twice, can_release=can_release),
        technical="\n".join(f"{name}: {pair}" for name, pair in found.items()),
    )


def _held_acts(
    order: Order, payment: Payment, by: Reader, *, amount: str, is_twice: bool, can_release: bool
) -> tuple[Act, ...]:
    why = by.obstacle
    has_money = bool(payment.payment_intent_id) and _received_minor(payment) > 0
    refund = Act(
        f"refund-held-{payment.attempt}",
        _("Send %(amount)s back", amount=amount),
        url_for("dashboard.refund_held", number=order.number),
        hidden={"attempt": str(payment.attempt), "nonce": fields.new_nonce()},
        kind="primary" if is_twice else "",
        why=why or ("" if has_money else _("Stripe holds no money of it")),
    )
    release = Act(
        f"release-{payment.attempt}",
        _("Release the order"),
        url_for("dashboard.release_payment", number=order.number),
        hidden={"attempt": str(payment.attempt)},
        why=why or ("" if can_release else _("This payment can't be the price of this order")),
    )
    return (_look(payment), refund) if is_twice else (_look(payment), refund, release)


def _of_foreign_refund(order: Order, refund: Refund, by: Reader) -> Banner:
    decide = url_for("dashboard.decide_refund", number=order.number)
    amount = _money(refund.amount_minor, refund.currency)

    def act(decision: str, label: str) -> Act:
        hidden = {"refund": refund.public_id, "decision": decision}
        return Act(f"{decision}-{refund.id}", label, decide, hidden=hidden, why=by.obstacle)

    return Banner(
        key=f"refund-{refund.id}",
        effect=_("%(amount)s were refunded in Stripe's dashboard.", amount=amount),
        cause=_("Nothing there says what becomes of the voucher."),
        by_itself=_("The voucher is blocked until you decide."),
        what_you_can_do=_("Take the amount off the voucher, or let the voucher stay valid all the same."),
        reference=f"{order.number}, {refund.refund_id}",
        acts=(
            act("take_off", _("Take it off the voucher")),
            act("keep", _("Keep the voucher as it is")),
            _look(refund.payment, f"refund-{refund.id}"),
        ),
    )


def _of_failed(order: Order, refund: Refund, found: Returns, by: Reader) -> Banner:
    why = refund_words.failure(refund.failure or "")
    shown = {"buyer": _buyer(order), "amount": _money(refund.amount_minor, refund.currency)}
    is_sold = refund.payment_id == (found.paid.id if found.paid is not None else None)
    acts = (_refund_link(order, f"failed-{refund.id}", by),) if is_sold else ()
    return Banner(
        key=f"failed-{refund.id}",
        effect=_("%(buyer)s has not got %(amount)s back.", **shown),
        cause=_("The refund failed: %(why)s.", why=why),
        by_itself=(
            _("The value is back on the voucher. We do not try again by ourselves.")
            if refund.parts
            else _("The payment is held as before. We do not try again by ourselves.")
        ),
        what_you_can_do=_("Refund once more, or give the money back in another way."),
        reference=f"{order.number}, {refund.refund_id or refund.public_id}",
        acts=(*acts, _look(refund.payment, f"failed-{refund.id}")),
        technical=refund.failure or "",
    )


def _of_dispute(order: Order, dispute: Dispute, found: Returns, by: Reader) -> Banner:
    amount = _money(dispute.amount_minor, dispute.currency)
    effect, advice = _DISPUTE_WORDS[DisputeKind(dispute.kind)]
    is_case = dispute.kind != DisputeKind.FRAUD_WARNING
    acts = [_look(dispute.payment, f"dispute-{dispute.id}", label=_("Answer at Stripe") if is_case else "")]
    if dispute.kind != DisputeKind.DISPUTE and not found.is_all_back:
        acts.append(_refund_link(order, f"dispute-{dispute.id}", by))
    if not is_case:
        acts.append(_trust(order, dispute, by))
    return Banner(
        key=f"dispute-{dispute.id}",
        effect=str(effect) % {"amount": amount, "buyer": _buyer(order)},
        cause=_dispute_cause(dispute),
        by_itself=_("The vouchers of this order were blocked at once, and nothing more goes out."),
        what_you_can_do=advice(dispute),
        reference=f"{order.number}, {dispute.dispute_id}",
        acts=tuple(acts),
        technical=f"{dispute.status}, {dispute.reason}",
    )


def _dispute_cause(dispute: Dispute) -> str:
    words = wording.DISPUTE_REASONS.get(dispute.reason)
    reason = _("The reason: %(reason)s.", reason=words or dispute.reason or wording.DISPUTE_REASONS["general"])
    if dispute.kind != DisputeKind.FRAUD_WARNING:
        return reason
    return f"{reason} {_('A warning often comes before a dispute, which would cost a fee as well.')}"


def _answer_by(dispute: Dispute) -> str:
    if dispute.status.endswith("under_review"):
        return _("You have answered. Wait for the bank: it can take weeks.")
    if dispute.respond_by is None:
        return _("Answer at Stripe with what you know about the purchase.")
    day = desk.when(dispute.respond_by)
    return _("Answer at Stripe by %(day)s with what you know about the purchase.", day=day)


def _weigh_warning(_dispute: Dispute) -> str:
    return _("Refund it if the buyer is strange to you, or trust it if you know them.")


def _refund_or_answer(dispute: Dispute) -> str:
    return f"{_answer_by(dispute)} {_('A refund ends the question, too.')}"


_DISPUTE_WORDS: Mapping[DisputeKind, tuple[Any, Callable[[Dispute], str]]] = {
    DisputeKind.DISPUTE: (
        _l("The payment of %(buyer)s is disputed: the bank has taken %(amount)s back for now."),
        _answer_by,
    ),
    DisputeKind.INQUIRY: (
        _l("The bank asks about the payment of %(buyer)s over %(amount)s. No money was taken yet."),
        _refund_or_answer,
    ),
    DisputeKind.FRAUD_WARNING: (
        _l("The card's bank suspects that the payment of %(buyer)s over %(amount)s is fraud."),
        _weigh_warning,
    ),
}


def _trust(order: Order, dispute: Dispute, by: Reader) -> Act:
    url = url_for("dashboard.dismiss_warning", number=order.number)
    hidden = {"dispute": dispute.dispute_id}
    return Act(f"trust-{dispute.id}", _("I trust this payment"), url, hidden=hidden, why=by.obstacle)


def _refund_link(order: Order, key: str, by: Reader) -> Act:
    url = url_for("dashboard.show_refund", number=order.number)
    return Act(f"refund-{key}", _("Refund…"), url, is_link=True, why=by.obstacle)


def _look(payment: Payment, key: str = "", *, label: str = "") -> Act:
    url = stripe_links.of_payment(payment)
    return Act(f"look-{key or payment.attempt}", label or _("Check in Stripe"), url, is_link=True, is_outside=True)


def _reference(order: Order, payment: Payment) -> str:
    return ", ".join(part for part in (order.number, payment.payment_intent_id or payment.session_id) if part)


def _received_minor(payment: Payment) -> int:
    return payment.received_minor if payment.received_minor is not None else payment.amount_minor


def _buyer(order: Order) -> str:
    return str(order.buyer_name or order.buyer_email)


def _money(amount_minor: int, currency: str) -> str:
    """As people read it; Stripe may report a currency that we do not sell in."""
    if currency in money.CURRENCIES:
        return presentation.show_money(amount_minor, currency)
    return f"{amount_minor} {currency}"
