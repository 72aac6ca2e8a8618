"""The timeline in words: one past-tense sentence for each kind of entry, its facts filled in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from blueprints import presentation
from blueprints.dashboard import desk, refund_words, wording
from domain import money
from domain.states import StepName, VoucherStatus
from models import TimelineEntry

_MINUTE = 60
# Moments beyond these years cannot be moved into every time zone.
_EARLIEST, _LATEST = 1900, 9990


@dataclass(frozen=True)
class Line:
    """One entry as it is shown; `after` is "+1.2 s" since the entry before it, empty beyond a minute."""

    key: int
    at: datetime
    tone: str
    sentence: str
    actor: str
    after: str
    facts: Mapping[str, str]


# kind → (tone, sentence)
KINDS: Mapping[str, tuple[str, Any]] = {
    "order_placed": ("idle", _l("Order placed over %(total)s")),
    "checkout_opened": ("idle", _l("Payment page opened")),
    "checkout_unreachable": ("warn", _l("Stripe could not be reached")),
    "payment_processing": ("run", _l("The bank is still working on the payment")),
    "payment_confirmed": ("ok", _l("Payment of %(amount)s confirmed")),
    "payment_held": ("bad", _l("Payment held: Stripe reports something else than was ordered")),
    "payment_expired": ("idle", _l("Payment page closed without a payment")),
    "payment_failed": ("idle", _l("The bank refused the payment")),
    "voucher_created": ("ok", _l("Voucher …%(last4)s created")),
    "document_made": ("ok", _l("PDF made and read back, %(size)s KB")),
    "mail_sent": ("ok", _l("E-mail to %(to)s accepted by the mail server")),
    "step_failed": ("warn", _l("%(step)s: attempt %(attempt)s failed, next try %(next)s")),
    "step_dead": ("bad", _l("%(step)s: attempt %(attempt)s failed, no further try")),
    "step_retried": ("run", _l("%(step)s: asked to try now")),
    "step_skipped": ("idle", _l("%(step)s: not wanted any more")),
    "address_corrected": ("run", _l("Address changed from %(old_email)s to %(new_email)s")),
    "mail_sent_again": ("run", _l("Asked to send the e-mail again")),
    "voucher_redeemed": ("violet", _l("%(amount)s redeemed, %(balance)s left")),
    "code_shown": ("violet", _l("Full code shown")),
    "voucher_changed": ("run", _l("Changed: %(changes)s")),
    "voucher_status_changed": ("run", _l("State changed from %(before)s to %(after)s")),
    "voucher_refunded": ("violet", _l("%(amount)s of a redemption given back, %(balance)s left")),
    "voucher_adjusted": ("violet", _l("Balance corrected by %(signed)s, %(balance)s left")),
    "redemption_reversed": ("violet", _l("Redemption undone, %(amount)s given back, %(balance)s left")),
    "hold_placed": ("run", _l("%(amount)s held for a bill until %(until)s")),
    "hold_captured": ("violet", _l("Hold paid a bill: %(amount)s redeemed, %(balance)s left")),
    "hold_released": ("idle", _l("Hold of %(amount)s released")),
    "value_taken_off": ("violet", _l("%(amount)s taken off the voucher, %(balance)s left")),
    "value_put_back": ("violet", _l("%(amount)s put back on the voucher, now %(balance)s")),
    "refund_asked": ("violet", _l("Refund of %(amount)s asked for")),
    "refund_pending": ("run", _l("Stripe has the refund of %(amount)s; the bank is still working on it")),
    "refund_succeeded": ("violet", _l("Stripe sends %(amount)s back to the buyer")),
    "refund_failed": ("bad", _l("Refund of %(amount)s failed: %(failure)s")),
    "refund_found": ("bad", _l("%(amount)s were refunded in Stripe's dashboard")),
    "refund_decided": ("run", _l("Refund at Stripe: the voucher stays as it is")),
    "payment_released": ("ok", _l("Held payment accepted")),
    "payment_returned": ("violet", _l("Held payment sent back to the buyer")),
    "dispute_opened": ("bad", _l("Payment of %(amount)s disputed")),
    "dispute_won": ("ok", _l("Dispute won: the money stays")),
    "dispute_lost": ("bad", _l("Dispute lost: %(amount)s are gone, %(spent)s of it had been spent")),
    "inquiry_opened": ("bad", _l("The bank asks about the payment of %(amount)s")),
    "inquiry_won": ("ok", _l("The bank's question is closed: the money stays")),
    "inquiry_lost": ("bad", _l("Dispute lost: %(amount)s are gone, %(spent)s of it had been spent")),
    "fraud_warning_opened": ("bad", _l("The card's bank suspects that the payment of %(amount)s is fraud")),
    "fraud_warning_closed": ("idle", _l("Fraud warning closed")),
    "step_stopped": ("idle", _l("%(step)s: stopped by hand")),
    "mail_delayed": ("warn", _l("A mail server has not passed the e-mail to %(to)s on yet and keeps trying")),
    "mail_bounced": ("bad", _l("E-mail to %(to)s came back")),
    "stripe_connecting": ("run", _l("Connection with Stripe begun")),
    "stripe_pending": ("run", _l("Stripe still needs something for the connection")),
    "stripe_ready": ("ok", _l("Connection with Stripe ready: payments may begin")),
    "stripe_restricted": ("bad", _l("Stripe has restricted the account: no payments")),
    "stripe_ended": ("bad", _l("The connection with Stripe has ended")),
    "api_key_created": ("ok", _l("Key “%(name)s” created")),
    "api_key_rolled": ("run", _l("Key “%(name)s” rolled; the old secret works until %(until)s")),
    "api_key_revoked": ("bad", _l("Key “%(name)s” revoked")),
    "batch_started": ("run", _l("%(batch)s “%(name)s” started")),
    "batch_finished": ("ok", _l("%(batch)s “%(name)s” finished: %(done)s made, %(failed)s failed, worth %(value)s")),
    "codes_exported": ("violet", _l("Codes of %(count)s vouchers exported")),
}
# A status by itself, where the move deserves a word of its own.
_MOVES: Mapping[str, tuple[str, Any]] = {
    VoucherStatus.SUSPENDED: ("bad", _l("Voucher blocked")),
    VoucherStatus.CANCELLED: ("bad", _l("Voucher cancelled")),
}
_MOVES_FROM: Mapping[str, tuple[str, Any]] = {
    VoucherStatus.SUSPENDED: ("ok", _l("Voucher unblocked")),
    VoucherStatus.PENDING: ("ok", _l("Voucher activated")),
}
_TAKEN_OFF = ("violet", _l("Refund at Stripe: %(amount)s taken off the voucher"))
_PLAIN = ("idle", "%(kind)s")
# Fact → its place in the sentences.
_MONEY = (
    ("total", "total_minor"),
    ("amount", "amount_minor"),
    ("balance", "balance_after_minor"),
    ("value", "value_minor"),
    ("spent", "spent_minor"),
)
_MOMENTS = (("next", "next_at"), ("until", "expires_at"), ("until", "ends_at"))


def lines(entries: Iterable[TimelineEntry], *, currency: str) -> list[Line]:
    """Every entry in words, in the order given (newest first)."""
    listed = list(entries)
    earlier: list[TimelineEntry | None] = [*listed[1:], None]
    return [_line(entry, before, currency=currency) for entry, before in zip(listed, earlier, strict=False)]


def elapsed(start: datetime | None, end: datetime | None) -> str:
    """`+1.2 s` from start to end; empty when one is missing or a minute or more lies between."""
    seconds = (end - start).total_seconds() if start is not None and end is not None else -1
    return f"+{_decimal(seconds)} s" if 0 <= seconds < _MINUTE else ""


def _line(entry: TimelineEntry, before: TimelineEntry | None, *, currency: str) -> Line:
    tone, sentence = _sentence(entry)
    reason = wording.reason(str(entry.facts.get("reason") or ""))
    return Line(
        key=entry.id,
        at=entry.created_at,
        tone=tone,
        sentence=str(sentence) % _Words(_words(entry, currency)) + (f" – {reason}" if reason else ""),
        actor=wording.actor(entry.actor),
        after=elapsed(before.created_at if before else None, entry.created_at),
        facts={name: _shown(value) for name, value in entry.facts.items() if value not in (None, "", {})},
    )


def _sentence(entry: TimelineEntry) -> tuple[str, Any]:
    if entry.kind == "voucher_status_changed":
        before, after = (str(entry.facts.get(name)) for name in ("before", "after"))
        moved = _MOVES.get(after) or (_MOVES_FROM.get(before) if after == VoucherStatus.ACTIVE else None)
        return moved or KINDS[entry.kind]
    if entry.kind == "refund_decided" and entry.facts.get("is_taken_off"):
        return _TAKEN_OFF
    return KINDS.get(entry.kind, _PLAIN)


class _Words(dict[str, str]):
    """Facts for a sentence; one that is missing is a dash and never an error page."""

    def __missing__(self, name: str) -> str:
        return "–"


def _words(entry: TimelineEntry, currency: str) -> dict[str, str]:
    facts: dict[str, Any] = entry.facts
    words = {name: str(value) for name, value in facts.items() if value is not None} | {"kind": entry.kind}
    unit = str(facts.get("currency")) if str(facts.get("currency")) in money.CURRENCIES else currency
    for name, fact in _MONEY:
        if isinstance(facts.get(fact), int):
            words[name] = money.display(abs(facts[fact]), unit, presentation.language())
    if isinstance(facts.get("amount_minor"), int):
        words["signed"] = ("+" if facts["amount_minor"] > 0 else "−") + words["amount"]
    if facts.get("step") in list(StepName):
        words["step"] = str(wording.STEP_NAMES[StepName(facts["step"])])
    if isinstance(facts.get("size"), int):
        words["size"] = str(round(facts["size"] / 1000))
    for name, fact in _MOMENTS:
        if facts.get(fact):
            words[name] = _moment(facts[fact])
    for name in ("before", "after"):
        if str(facts.get(name)) in wording.VOUCHER_LIFE:
            words[name] = str(wording.VOUCHER_LIFE[facts[name]].label)
    if isinstance(facts.get("failure"), str):
        words["failure"] = refund_words.failure(facts["failure"])
    words["batch"] = str(wording.BATCHES.get(str(facts.get("batch_kind")), _l("Batch")))
    if isinstance(facts.get("changes"), dict):
        words["changes"] = ", ".join(_change(name, pair) for name, pair in facts["changes"].items())
    return words


def _change(name: str, pair: object) -> str:
    """`last day: none → 31 Dec 2027`; only the name where the values were not written down."""
    label = str(wording.FIELDS.get(name, name))
    if not (isinstance(pair, list) and len(pair) == 2):
        return label
    before, after = (_value(name, part) for part in pair)
    return f"{label}: {before} → {after}"


def _value(name: str, part: object) -> str:
    if part in (None, ""):
        return _("none")
    if isinstance(part, bool):
        return _("yes") if part else _("no")
    return _day(part) if name in ("valid_from", "expires_at") else str(part)


def _moment(text: object) -> str:
    read = _read(text)
    return desk.when(read) if read else str(text)


def _day(text: object) -> str:
    read = _read(text)
    return presentation.show_day(read, desk.merchant().time_zone) if read else str(text)


def _read(text: object) -> datetime | None:
    """A moment as facts carry it; None for anything else, for a strange fact must not cost the page."""
    try:
        read = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return read if read.tzinfo and _EARLIEST < read.year < _LATEST else None


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_shown(part)}" for name, part in value.items())
    return " ≠ ".join(map(str, value)) if isinstance(value, list) else str(value)


def _decimal(seconds: float) -> str:
    return f"{seconds:.1f}".replace(".", "," if presentation.language() == "de" else ".")
