"""The dashboard's vocabulary: for each state one word, one tone and one icon, in the reader's language.

Past tense where something is over; "sent" means accepted by the mail server, for nobody can know more than that.
"""

from dataclasses import dataclass
from typing import Any

from flask_babel import lazy_gettext as _l

from domain.states import EntryKind, StepName


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
}
NOTHING_HERE = {
    "all": _l("No orders yet. Share the link of your shop and the first one appears here."),
    "needs_you": _l("Nothing needs you."),
    "in_progress": _l("Nothing is under way at the moment."),
    "done": _l("No finished orders yet."),
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
    EntryKind.ADJUST: _l("Corrected"),
    EntryKind.EXPIRE: _l("Written off"),
    EntryKind.VOID: _l("Voided"),
}
# Who did it, where the actor is a part of the system and not a person.
ACTORS = {
    "system": _l("the system"),
    "buyer": _l("the buyer"),
    "shop": _l("the shop"),
    "webhook": _l("Stripe's message"),
    "return_page": _l("the buyer's return from Stripe"),
    "reconciler": _l("the regular check at Stripe"),
    "button": _l("the button Check payment"),
}
