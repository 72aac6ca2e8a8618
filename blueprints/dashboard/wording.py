"""The dashboard's vocabulary: for each state one word, one tone and one icon, in the reader's language.

Past tense where something is over; "sent" means accepted by the mail server, for nobody can know more than that.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from domain.api_keys import Scope
from domain.states import DisputeKind, EntryKind, StepName
from models import ApiKey


@dataclass(frozen=True)
class Status:
    """How a state is shown. `tone` is one of ok bad warn run idle violet, `icon` a symbol of macros/icons.html."""

    label: Any
    tone: str
    icon: str


PAYMENT = {
    "open": Status(_l("Waiting"), "idle", "circle"),
    "processing": Status(_l("Processing"), "run", "run"),
    "paid": Status(_l("Paid"), "ok", "check"),
    "expired": Status(_l("Abandoned"), "idle", "dash"),
    "failed": Status(_l("Declined"), "idle", "dash"),
    "review": Status(_l("To be checked"), "warn", "alert"),
    "refunded": Status(_l("Refunded"), "violet", "undo"),
    "refunded_part": Status(_l("Refunded in part"), "violet", "undo"),
    "disputed": Status(_l("Disputed"), "bad", "alert"),
    "charged_back": Status(_l("Charged back"), "bad", "undo"),
    "returned": Status(_l("Sent back"), "violet", "undo"),
}
VOUCHER = {
    "none": Status("–", "idle", "dash"),
    "creating": Status(_l("Creating"), "run", "run"),
    "created": Status(_l("Created"), "ok", "check"),
    "retrying": Status(_l("Retrying"), "warn", "retry"),
    "failed": Status(_l("Failed"), "bad", "alert"),
    "stopped": Status(_l("Stopped"), "idle", "pause"),
}
DELIVERY = {
    "none": Status("–", "idle", "dash"),
    "scheduled": Status(_l("Scheduled"), "run", "clock"),
    "queued": Status(_l("Queued"), "run", "run"),
    "sending": Status(_l("Sending"), "run", "run"),
    "retrying": Status(_l("Retrying"), "warn", "retry"),
    "sent": Status(_l("Sent"), "ok", "check"),
    "bounced": Status(_l("Bounced"), "bad", "alert"),
    "failed": Status(_l("Failed"), "bad", "alert"),
    "stopped": Status(_l("Stopped"), "idle", "pause"),
}
TRACKS = {"payment": PAYMENT, "voucher": VOUCHER, "delivery": DELIVERY}
TRACK_NAMES = {"payment": _l("Payment"), "voucher": _l("Voucher"), "delivery": _l("Delivery")}

# The worst of the three tracks in words, worst first.
HEADLINES = {
    "needs_you": Status(_l("Needs you"), "bad", "alert"),
    "retrying": Status(_l("Retrying"), "warn", "retry"),
    "in_progress": Status(_l("In progress"), "run", "run"),
    "scheduled": Status(_l("Scheduled"), "run", "clock"),
    "waiting": Status(_l("Waiting"), "idle", "circle"),
    "done": Status(_l("Done"), "ok", "check"),
    "closed": Status(_l("Closed"), "idle", "dash"),
}
# One step on its own, below its track.
STEPS = {
    "blocked": Status(_l("Not started"), "idle", "dash"),
    "scheduled": Status(_l("Scheduled"), "run", "clock"),
    "ready": Status(_l("Queued"), "run", "run"),
    "running": Status(_l("Working on it"), "run", "run"),
    "done": Status(_l("Done"), "ok", "check"),
    "sent": Status(_l("Accepted by the mail server"), "ok", "check"),
    "retry_wait": Status(_l("Waiting for the next try"), "warn", "retry"),
    "unknown": Status(_l("Outcome unknown"), "warn", "retry"),
    "dead": Status(_l("Failed"), "bad", "alert"),
    "skipped": Status(_l("Not wanted any more"), "idle", "pause"),
}
STEP_NAMES = {
    StepName.CREATE: _l("Create the voucher"),
    StepName.DOCUMENT: _l("Make the PDF"),
    StepName.DELIVER_BUYER: _l("E-mail to the buyer"),
    StepName.DELIVER_RECIPIENT: _l("E-mail to the recipient"),
    StepName.RECEIPT: _l("Receipt to the buyer"),
}
VIEWS = {
    "all": _l("All"),
    "needs_you": _l("Needs you"),
    "in_progress": _l("In progress"),
    "done": _l("Done"),
    "refunded": _l("Refunded"),
}
NOTHING_HERE = {
    "all": _l("No orders yet. Share the link of your shop and the first one appears here."),
    "needs_you": _l("Nothing needs you."),
    "in_progress": _l("Nothing is under way at the moment."),
    "done": _l("No finished orders yet."),
    "refunded": _l("No money went back to a buyer."),
}
# One refund of an order.
REFUNDS = {
    "asked": Status(_l("Stripe is being asked"), "run", "run"),
    "pending": Status(_l("Under way at the bank"), "run", "run"),
    "succeeded": Status(_l("Sent back"), "violet", "undo"),
    "failed": Status(_l("Failed"), "bad", "alert"),
}
# One dispute, inquiry or warning.
DISPUTES = {
    "open": Status(_l("Open"), "bad", "alert"),
    "won": Status(_l("Won"), "ok", "check"),
    "lost": Status(_l("Lost"), "bad", "alert"),
    "closed": Status(_l("Closed"), "idle", "dash"),
}
DISPUTE_KINDS = {
    DisputeKind.DISPUTE: _l("Dispute"),
    DisputeKind.INQUIRY: _l("Question of the bank"),
    DisputeKind.FRAUD_WARNING: _l("Fraud warning"),
}
CONNECTIONS = {
    "pending": Status(_l("Not finished"), "warn", "clock"),
    "ready": Status(_l("Ready"), "ok", "check"),
    "restricted": Status(_l("Restricted"), "bad", "alert"),
    "ended": Status(_l("Ended"), "bad", "close"),
}
# Why the program changed a voucher, where no person typed a reason.
REASONS = {
    "dispute": _l("the payment is disputed"),
    "inquiry": _l("the bank asks about the payment"),
    "fraud_warning": _l("the bank suspects fraud"),
    "refund_at_stripe": _l("refunded in Stripe's dashboard"),
    "refund": _l("refunded"),
    "refund_failed": _l("the refund failed"),
    "dispute_lost": _l("the dispute was lost"),
    "inquiry_lost": _l("the dispute was lost"),
}
# What Stripe calls the reason of a dispute or a warning.
DISPUTE_REASONS = {
    "fraudulent": _l("the cardholder says that it was not them"),
    "unrecognized": _l("the cardholder does not recognise the payment"),
    "duplicate": _l("the cardholder says that they paid twice"),
    "product_not_received": _l("the cardholder says that nothing arrived"),
    "product_unacceptable": _l("the cardholder is not content with what arrived"),
    "credit_not_processed": _l("the cardholder waits for a refund"),
    "subscription_canceled": _l("the cardholder says that they had cancelled"),
    "insufficient_funds": _l("the account had not enough money"),
    "debit_not_authorized": _l("the account holder did not allow the debit"),
    "incorrect_account_details": _l("the account details were wrong"),
    "bank_cannot_process": _l("the bank cannot process it"),
    "general": _l("the bank gives no reason"),
    # Fraud warnings.
    "unauthorized_use_of_card": _l("the card was used without its owner"),
    "made_with_stolen_card": _l("the card was stolen"),
    "made_with_lost_card": _l("the card was lost"),
    "made_with_counterfeit_card": _l("the card was forged"),
    "card_never_received": _l("the card never reached its owner"),
    "fraudulent_card_application": _l("the card was applied for by fraud"),
    "misc": _l("the bank gives no reason"),
}
VOUCHER_LIFE = {
    "pending": Status(_l("Not yet active"), "idle", "clock"),
    "active": Status(_l("Valid"), "ok", "check"),
    "depleted": Status(_l("Used up"), "idle", "dash"),
    "expired": Status(_l("Expired"), "warn", "clock"),
    "cancelled": Status(_l("Cancelled"), "idle", "close"),
    "suspended": Status(_l("Blocked"), "bad", "lock"),
}
ENTRY_KINDS = {
    EntryKind.ISSUE: _l("Issued"),
    EntryKind.REDEEM: _l("Redeemed"),
    EntryKind.REFUND: _l("Redemption given back"),
    EntryKind.REVERSE: _l("Redemption undone"),
    EntryKind.ADJUST: _l("Corrected"),
    EntryKind.EXPIRE: _l("Written off"),
    EntryKind.VOID: _l("Refunded: value taken off"),
}
# What a voucher has beside its money, as the timeline names it.
FIELDS = {
    "status": _l("state"),
    "customer_id": _l("customer"),
    "valid_from": _l("first day"),
    "expires_at": _l("last day"),
    "is_transferable": _l("transferable"),
    "metadata": _l("notes of a program"),
}
SCOPES = {
    Scope.POS_VALIDATE: _l("Check vouchers"),
    Scope.POS_REDEEM: _l("Redeem, hold, and take back redemptions"),
    Scope.MARKETING_READ: _l("See vouchers and all bookings"),
    Scope.MARKETING_WRITE: _l("Issue, change, redeem, refund and correct"),
}
# What most keys are for: name → (words, scopes).
KEY_PRESETS: dict[str, tuple[Any, tuple[Scope, ...]]] = {
    "till": (_l("Till: check and redeem"), (Scope.POS_VALIDATE, Scope.POS_REDEEM)),
    "office": (_l("Office: everything"), (Scope.MARKETING_READ, Scope.MARKETING_WRITE)),
}
KEY_STATES = {
    "active": Status(_l("Works"), "ok", "check"),
    "ending": Status(_l("Ends"), "warn", "clock"),
    "ended": Status(_l("Ended"), "idle", "dash"),
    "revoked": Status(_l("Revoked"), "bad", "lock"),
}
BATCHES = {"issue": _l("Bulk issue"), "import": _l("Import")}
# Who did it, where the actor is a part of the system and not a person.
ACTORS = {
    "system": _l("the system"),
    "buyer": _l("the buyer"),
    "shop": _l("the shop"),
    "webhook": _l("Stripe's message"),
    "return_page": _l("the buyer's return from Stripe"),
    "reconciler": _l("the regular check at Stripe"),
    "button": _l("the button Check payment"),
    "operator": _l("the operator"),
    "stripe": _l("Stripe"),
    "example": _l("the example"),
}


def actor(name: str) -> str:
    """Who did it, in words: a part of the system, a key of the API, or the person's own name."""
    if name.startswith("key:"):
        return _("key “%(name)s”", name=name.removeprefix("key:"))
    return str(ACTORS.get(name, name))


def reason(said: str) -> str:
    """Why something was done: a word of the program's own in the reader's language, a person's as it was typed."""
    return str(REASONS.get(said) or DISPUTE_REASONS.get(said) or said)


def key_permissions(key: ApiKey) -> list[str]:
    """What a key may do: the name of the preset that it is, or its scopes one by one."""
    for words, scopes in KEY_PRESETS.values():
        if set(key.scopes) == set(scopes):
            return [str(words)]
    return [str(SCOPES.get(scope, scope)) for scope in sorted(key.scopes, key=lambda each: [*SCOPES, each].index(each))]


def key_state(key: ApiKey, at: datetime) -> str:
    """One of KEY_STATES: a rolled key ends, and then has ended."""
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is None:
        return "active"
    return "ending" if key.is_usable(at) else "ended"
