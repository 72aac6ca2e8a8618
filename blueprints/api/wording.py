"""The sentence for the till's screen, in German and English, for every outcome of a validation or a redemption."""

import functools
from datetime import datetime
from string import Formatter
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_time

from domain import money, refusals, validation
from domain.states import EntryKind
from models import Entry, Merchant, Voucher

LANGUAGES = ("de", "en")

# Outcome → language → sentence. An outcome is a refusal's code, refined where the cashier must act differently.
SENTENCES: dict[str, dict[str, str]] = {
    "covers": {
        "de": "Deckt {applicable}. Danach bleiben {remaining} auf dem Gutschein.",
        "en": "Covers {applicable}. {remaining} stays on the voucher.",
    },
    "covers_part": {
        "de": "Deckt {applicable} von {requested}. Der Gast zahlt noch {still_to_pay}.",
        "en": "Covers {applicable} of {requested}. The guest pays {still_to_pay}.",
    },
    "redeemed": {
        "de": "{applicable} eingelöst. Auf dem Gutschein bleiben {remaining}.",
        "en": "{applicable} redeemed. {remaining} stays on the voucher.",
    },
    "redeemed_part": {
        "de": "{applicable} eingelöst, mehr ist nicht da. Der Gast zahlt noch {still_to_pay}.",
        "en": "{applicable} redeemed, which is all there is. The guest pays {still_to_pay}.",
    },
    "held": {
        "de": "{applicable} reserviert. Frei bleiben {remaining}.",
        "en": "{applicable} held. {remaining} stays free.",
    },
    "held_part": {
        "de": "{applicable} reserviert, mehr ist nicht da. Der Gast zahlt noch {still_to_pay}.",
        "en": "{applicable} held, which is all there is. The guest pays {still_to_pay}.",
    },
    "captured": {
        "de": "{amount} eingelöst. Auf dem Gutschein bleiben {remaining}.",
        "en": "{amount} redeemed. {remaining} stays on the voucher.",
    },
    "reversed": {
        "de": "Storniert: {amount} sind wieder auf dem Gutschein.",
        "en": "Reversed: {amount} is back on the voucher.",
    },
    "nothing_to_reverse": {
        "de": "Es war nichts gebucht.",
        "en": "Nothing had been booked.",
    },
    "voucher_not_found": {
        "de": "Code unbekannt. Bitte die letzten vier Zeichen prüfen.",
        "en": "Code unknown. Check the last four characters.",
    },
    "voucher_pending": {
        "de": "Noch nicht freigeschaltet.",
        "en": "Not active yet.",
    },
    "voucher_suspended": {
        "de": "Gesperrt. Nicht einlösen, bitte die Leitung rufen.",
        "en": "Blocked. Do not redeem, call the owner.",
    },
    "voucher_cancelled": {
        "de": "Storniert. Nicht einlösen.",
        "en": "Cancelled. Do not redeem.",
    },
    "voucher_not_started": {
        "de": "Erst gültig ab {valid_from}.",
        "en": "Valid from {valid_from} only.",
    },
    "voucher_expired": {
        "de": "Abgelaufen am {expires_on}.",
        "en": "Expired on {expires_on}.",
    },
    "voucher_depleted": {
        "de": "Aufgebraucht am {used_on} um {used_at}.",
        "en": "Used up on {used_on} at {used_at}.",
    },
    "voucher_emptied": {
        "de": "Kein Guthaben mehr.",
        "en": "Nothing is left.",
    },
    "voucher_held": {
        "de": "{balance} sind für eine andere Rechnung reserviert.",
        "en": "{balance} is reserved for another bill.",
    },
    "currency_mismatch": {
        "de": "Dieser Gutschein lautet auf {currency}.",
        "en": "This voucher is in {currency}.",
    },
    "voucher_not_transferable": {
        "de": "Nur für eine bestimmte Person. Bitte nach dem Namen fragen.",
        "en": "For one customer only. Ask for a name.",
    },
    "insufficient_balance": {
        "de": "Nur noch {available} auf dem Gutschein.",
        "en": "Only {available} left on the voucher.",
    },
    "hold_too_small": {
        "de": "Nur {held} sind reserviert.",
        "en": "Only {held} is held.",
    },
    "hold_expired": {
        "de": "Reservierung abgelaufen. Bitte neu einlösen.",
        "en": "The hold has expired. Redeem again.",
    },
    "hold_closed": {
        "de": "Diese Reservierung ist schon abgeschlossen.",
        "en": "This hold is closed already.",
    },
    "already_reversed": {
        "de": "Dieser Vorgang wurde storniert.",
        "en": "This booking was reversed.",
    },
    "refund_exceeds_redemption": {
        "de": "Höchstens {refundable} können zurück auf den Gutschein.",
        "en": "At most {refundable} can go back to the voucher.",
    },
    "refused": {
        "de": "Nicht möglich. Es wurde nichts gebucht.",
        "en": "Not possible. Nothing was booked.",
    },
}


def of_calculation(outcome: str, sums: validation.Calculation, *, currency: str) -> dict[str, str]:
    """What the voucher pays of this bill; `outcome` is `covers`, `redeemed` or `held`."""
    amounts = {
        "applicable": sums.applicable_amount_minor,
        "requested": sums.requested_amount_minor,
        "remaining": sums.remaining_voucher_balance_minor,
        "still_to_pay": sums.remaining_order_amount_minor,
    }
    return _say(outcome if sums.covers_full_amount else f"{outcome}_part", amounts=amounts, currency=currency)


def of_outcome(outcome: str, *, currency: str = "", **amounts: int) -> dict[str, str]:
    """What was done; `amounts` are the names of the sentence, in minor units."""
    return _say(outcome, amounts=amounts if currency else {}, currency=currency)


def of_refusal(
    refusal: refusals.Refusal, *, voucher: Voucher | None, merchant: Merchant, outcome: str = ""
) -> dict[str, str]:
    """Why it cannot be; moments are told in the merchant's time zone.

    `outcome` names the sentence where the refusal alone does not: a hold that is too small is no empty voucher.
    """
    if voucher is None:
        return of_code(refusal.code) or _say("refused")
    moments = {"valid_from": voucher.valid_from, "expires_on": voucher.expires_at}
    outcome = outcome or _outcome(refusal, voucher)
    if outcome == "voucher_depleted":
        used_at = _emptied_at(voucher)
        outcome = "voucher_depleted" if used_at else "voucher_emptied"
        moments |= {"used_on": used_at, "used_at": used_at}
    amounts = {"balance": voucher.balance_minor, "available": voucher.available_minor}
    for name, extra in (("held", "available_minor"), ("refundable", "refundable_minor")):
        amounts[name] = int(str(refusal.extra.get(extra, 0)))
    return _say(outcome, amounts=amounts, currency=voucher.currency, moments=moments, time_zone=merchant.time_zone)


def of_code(code: str) -> dict[str, str] | None:
    """The sentence of a refusal that needs no facts; None for any other."""
    sentences = SENTENCES.get(code)
    return _say(code) if sentences is not None and not fields_of(sentences["en"]) else None


@functools.cache
def fields_of(sentence: str) -> frozenset[str]:
    """The names in braces of a sentence."""
    return frozenset(name for _, name, _, _ in Formatter().parse(sentence) if name)


def _outcome(refusal: refusals.Refusal, voucher: Voucher) -> str:
    if isinstance(refusal, refusals.VoucherInactive):
        return f"voucher_{refusal.extra['voucher_status']}"
    if isinstance(refusal, refusals.VoucherDepleted) and voucher.balance_minor > 0:
        return "voucher_held"
    return refusal.code if refusal.code in SENTENCES else "refused"


def _emptied_at(voucher: Voucher) -> datetime | None:
    last = voucher.entries.first()
    return last.created_at if isinstance(last, Entry) and last.kind == EntryKind.REDEEM else None


def _say(
    outcome: str,
    *,
    amounts: dict[str, int] | None = None,
    currency: str = "",
    moments: dict[str, datetime | None] | None = None,
    time_zone: str = "UTC",
) -> dict[str, str]:
    said = {}
    for language in LANGUAGES:
        sentence = SENTENCES[outcome][language]
        wanted = fields_of(sentence)
        facts = {name: money.display((amounts or {})[name], currency, language) for name in wanted & set(amounts or {})}
        for name in wanted & set(moments or {}):
            facts[name] = _tell(name, (moments or {})[name], language, ZoneInfo(time_zone))
        said[language] = sentence.format(currency=currency, **facts)
    return said


def _tell(name: str, at: datetime | None, language: str, zone: ZoneInfo) -> str:
    if at is None:
        return ""
    local = at.astimezone(zone)
    if name.endswith("_at"):
        return format_time(local, "HH:mm", locale=language)
    return format_date(local.date(), "dd.MM.y" if language == "de" else "d MMM y", locale=language)
