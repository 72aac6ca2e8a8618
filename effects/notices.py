"""Mails to owners about what needs them. They wait while no mail goes out, and say afterwards since when."""

from datetime import datetime
from typing import Any

import structlog
from babel.dates import format_datetime

from domain import clock, money, notices
from domain.notices import Bundle
from effects.outside import here
from gateways import letters, notice_letters
from gateways.mailer import Failure, Letter, MailFailed
from models import Breaker, Merchant, Notice

log = structlog.get_logger()
_PERMANENT = frozenset({Failure.BAD_ADDRESS, Failure.REFUSED})


def tell(at: datetime) -> int:
    """Find what owners should know and send what is due; how many letters went out."""
    notices.plan(at)
    return send_due(at)


def send_due(at: datetime) -> int:
    """Send every letter that is due; how many went out. Nothing is sent while the mail server is left alone."""
    count = 0
    while not _is_mail_broken() and (bundle := notices.claim(at)) is not None:
        try:
            count += _send(bundle)
        except notices.LeaseLost:
            log.warning("notice_lease_lost", user=bundle.user.id)
    return count


def _is_mail_broken() -> bool:
    return Breaker.select().where(Breaker.name == "mail").exists()


def _send(bundle: Bundle) -> bool:
    try:
        here().mailer.send(_letter(bundle))
    except MailFailed as error:
        log.warning("notice_not_sent", user=bundle.user.id, kind=str(error.kind), detail=error.detail)
        notices.fail(bundle, error=str(error), is_permanent=error.kind in _PERMANENT, at=clock.now())
        return False
    notices.finish(bundle, at=clock.now())
    return True


def _letter(bundle: Bundle) -> Letter:
    merchant, user = bundle.merchant, bundle.user
    locale: letters.Locale = "en" if user.locale == "en" else "de"
    return notice_letters.notice_letter(
        tuple(_item(notice, merchant=merchant, locale=locale) for notice in bundle.notices),
        shop=letters.Shop(name=merchant.name, accent=merchant.accent),
        to=user.email,
        message_id=f"<{bundle.message_id}@{here().settings.sender.rpartition('@')[2]}>",
        locale=locale,
        reader_name=user.name,
        link=f"{here().settings.public_url}/dashboard",
        is_test=here().settings.is_test,
    )


def _item(notice: Notice, *, merchant: Merchant, locale: letters.Locale) -> notice_letters.Item:
    facts = notice.facts
    values = {name: str(value) for name, value in facts.items() if isinstance(value, str | int) and value != ""}
    values |= {name: _moment(facts[name], merchant, locale) for name in _MOMENTS if facts.get(name)}
    for amount, currency in (("amount", "currency"), ("received", "received_currency")):
        if facts.get(f"{amount}_minor") is not None and facts.get(currency):
            values[amount] = money.display(facts[f"{amount}_minor"], facts[currency], locale)
    if listed := _listed(facts):
        values["list"] = ", ".join(listed)
    place = f"orders/{facts['order']}" if facts.get("order") else ""
    return notice_letters.Item(
        kind=str(notice.kind),
        values=values,
        reference=str(facts.get("order") or f"{notice.kind} {notice.key}"),
        link=f"{here().settings.public_url}/dashboard/{place}".rstrip("/"),
    )


_MOMENTS = ("since", "ended_at", "respond_by", "last_webhook_at")


def _listed(facts: dict[str, Any]) -> list[str]:
    """What a fact names one by one: the account's requirements, the audit's broken promises."""
    found = facts.get("requirements") or list(facts.get("broken") or {})
    return [str(each) for each in found]


def _moment(text: str, merchant: Merchant, locale: str) -> str:
    local = datetime.fromisoformat(text).astimezone(clock.zone(merchant.time_zone)).replace(tzinfo=None)
    pattern = "d. MMMM, HH:mm 'Uhr'" if locale == "de" else "d MMMM, HH:mm"
    return format_datetime(local, pattern, locale=locale)
