"""What people type into the dashboard's forms, read once and the same way everywhere. Nothing sent here raises."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from flask import request
from flask_babel import gettext as _

from blueprints import forms
from domain import clock, money

REASON_LIMIT = 200
# Nobody grants more; a mistyped year must not end beyond what a calendar can show.
LATEST_YEARS = 100
_NONCE = re.compile(r"[A-Za-z0-9_-]{8,64}", re.ASCII)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_JOINER = "\u200d"  # holds an emoji of several signs together

new_nonce = forms.new_nonce


@dataclass(frozen=True)
class Slip:
    """A form that could not be accepted: its name, the field and what is wrong with it, and all that was typed."""

    form: str
    field: str
    sentence: str
    typed: Mapping[str, str]

    @classmethod
    def of(cls, form: str, field: str, sentence: str) -> "Slip":
        """The slip in the form that was sent."""
        return cls(form, field, sentence, {name: line(name) for name in request.form})


def nonce() -> str | None:
    """What makes this rendered form one operation; None when it is missing or was tampered with."""
    sent = request.form.get("nonce", "")
    return sent if _NONCE.fullmatch(sent) else None


def line(name: str) -> str:
    """One line without control characters and marks that reorder the text around them."""
    typed = request.form.get(name, "")
    kept = (sign if sign == _JOINER or unicodedata.category(sign)[0] != "C" else " " for sign in typed)
    return " ".join("".join(kept).split())


def number(name: str) -> int | None:
    """A whole number that the page itself wrote into a hidden field; None for anything else."""
    sent = request.form.get(name, "")
    return int(sent) if sent.isascii() and sent.isdigit() and len(sent) < 19 else None


def amount(name: str, currency: str) -> tuple[int, str]:
    """Minor units above 0 as they were typed (`5`, `5,00`), and "" or the sentence that says what is wrong."""
    typed = line(name)
    if not typed:
        return 0, _("Please enter an amount.")
    try:
        read_minor = money.parse(typed, currency)
    except money.UnreadableAmount:
        return 0, _("Please enter the amount in figures, such as 50 or 37.50.")
    return (read_minor, "") if read_minor > 0 else (0, _("Please enter an amount above zero."))


def last_day(name: str, time_zone: str) -> tuple[datetime | None, str]:
    """The last moment of the day that was chosen, in UTC, and "" or what is wrong; nothing chosen is no end."""
    typed = line(name)
    if not typed:
        return None, ""
    today = clock.today(time_zone)
    try:
        day = date.fromisoformat(typed) if _DAY.fullmatch(typed) else date.min
    except ValueError:
        day = date.min
    if day == date.min:
        return None, _("Please enter a day, such as 2027-12-31.")
    if day < today:
        return None, _("This day has passed. Choose today or a later one.")
    if day.year > today.year + LATEST_YEARS:
        return None, _("This is too far ahead. Leave the field empty for a voucher without an end.")
    return clock.end_of_day(day, time_zone), ""
