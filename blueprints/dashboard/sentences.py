"""The timeline in words: one past-tense sentence for each kind of entry, its facts filled in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask_babel import lazy_gettext as _l

from blueprints import presentation
from blueprints.dashboard import desk, wording
from domain import money
from domain.states import StepName
from models import TimelineEntry

_MINUTE = 60


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
}
_PLAIN = ("idle", "%(kind)s")


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
    tone, sentence = KINDS.get(entry.kind, _PLAIN)
    return Line(
        key=entry.id,
        at=entry.created_at,
        tone=tone,
        sentence=str(sentence) % _Words(_words(entry, currency)),
        actor=str(wording.ACTORS.get(entry.actor, entry.actor)),
        after=elapsed(before.created_at if before else None, entry.created_at),
        facts={name: _shown(value) for name, value in entry.facts.items() if value not in (None, "", {})},
    )


class _Words(dict[str, str]):
    """Facts for a sentence; one that is missing is a dash and never an error page."""

    def __missing__(self, name: str) -> str:
        return "–"


def _words(entry: TimelineEntry, currency: str) -> dict[str, str]:
    facts: dict[str, Any] = entry.facts
    words = {name: str(value) for name, value in facts.items() if value is not None} | {"kind": entry.kind}
    for name, fact in (("total", "total_minor"), ("amount", "amount_minor"), ("balance", "balance_after_minor")):
        if isinstance(facts.get(fact), int):
            words[name] = money.display(abs(facts[fact]), facts.get("currency") or currency, presentation.language())
    if facts.get("step") in list(StepName):
        words["step"] = str(wording.STEP_NAMES[StepName(facts["step"])])
    if isinstance(facts.get("size"), int):
        words["size"] = str(round(facts["size"] / 1000))
    if facts.get("next_at"):
        words["next"] = desk.when(datetime.fromisoformat(facts["next_at"]))
    return words


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_shown(part)}" for name, part in value.items())
    return " ≠ ".join(map(str, value)) if isinstance(value, list) else str(value)


def _decimal(seconds: float) -> str:
    return f"{seconds:.1f}".replace(".", "," if presentation.language() == "de" else ".")
