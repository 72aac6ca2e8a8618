"""The order form of the shop: read field by field, kept as it was typed, one sentence for each mistake.

The names of the fields are fixed; further vouchers of an order carry `_2`, `_3` … behind them.
"""

import re
import secrets
import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from flask_babel import gettext as _
from werkzeug.datastructures import MultiDict

from blueprints import addresses, presentation
from domain import catalogue, checkout, clock, money
from models import Design, Merchant, Offer

NAME_LIMIT = 80
# Nobody plans a present further ahead, and a mistyped year must not park a voucher for a century.
LATEST_DELIVERY = timedelta(days=366)
UNIT_FIELDS = (
    "amount",
    "amount_other",
    "offer",
    "shown_offer",
    "design",
    "delivery",
    "recipient_name",
    "recipient_email",
    "message",
    "deliver_at",
)
_NAME_OF_UNIT = re.compile(rf"(?:{'|'.join(UNIT_FIELDS)})_(?P<unit_no>[1-9][0-9]{{0,3}})")
_LOCAL_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(?::00)?")
_NONCE = re.compile(r"[A-Za-z0-9_-]{8,64}")
# Marks that reorder the text around them: a name must not be able to disguise the sentence it stands in.
_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")
_REFUSED = ("Cc", "Cs", "Cn")
# Composing takes the square of the length when marks are piled up to be slow; what is longer is refused anyway.
_LONGEST_COMPOSED = 1000


@dataclass
class UnitEntry:
    """One voucher of the form: what was typed, and what it means where it could be read."""

    unit_no: int
    typed: dict[str, str]
    offer: Offer | None = None
    design: Design | None = None
    value_minor: int | None = None
    recipient_email: str = ""
    deliver_at: datetime | None = None

    def name(self, base: str) -> str:
        """The field's name in the form: `amount` for the first voucher, `amount_2` for the second."""
        return _named(base, self.unit_no)

    @property
    def is_sent(self) -> bool:
        """The voucher goes to its recipient by e-mail, as far as the form says."""
        return (self.typed["delivery"] or ("recipient" if self.typed["recipient_email"] else "self")) == "recipient"

    @property
    def has_other_amount(self) -> bool:
        """The value is none of the offer's own."""
        values = self.offer.values_minor if self.offer is not None else ()
        return self.typed["amount"] == "other" or (self.value_minor is not None and self.value_minor not in values)

    @property
    def other_amount(self) -> str:
        """What stands in the field for another amount."""
        if self.typed["amount"] == "other" or not self.has_other_amount:
            return self.typed["amount_other"]
        return self.typed["amount"]


@dataclass
class OrderForm:
    """A whole form. `problems` maps the name of a field to one sentence in the reader's language."""

    merchant: Merchant
    nonce: str
    buyer_name: str = ""
    buyer_email: str = ""
    address: str = ""
    units: list[UnitEntry] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def total_minor(self) -> int | None:
        """The sum of all vouchers, or None while one of them has no value."""
        values = [unit.value_minor for unit in self.units]
        return None if None in values else sum(value or 0 for value in values)

    @property
    def suggestion(self) -> str | None:
        """The buyer's address without a common slip of the keyboard, or None."""
        return addresses.suggest(self.buyer_email)

    @property
    def is_valid(self) -> bool:
        return not self.problems

    def wish(self, *, locale: str) -> checkout.Wish:
        """The form as the trade understands it; only for a valid one."""
        return checkout.Wish(
            buyer_name=self.buyer_name,
            buyer_email=self.address,
            locale=locale,
            units=tuple(_unit_wish(unit) for unit in self.units),
            nonce=self.nonce,
        )

    def add_unit(self) -> UnitEntry:
        """One more voucher, like the last one in value and design."""
        last = self.units[-1]
        typed = dict.fromkeys(UNIT_FIELDS, "") | {
            name: last.typed[name] for name in ("amount", "amount_other", "offer", "design")
        }
        unit = UnitEntry(len(self.units) + 1, typed, last.offer, last.design, last.value_minor)
        self.units.append(unit)
        return unit

    def follow_offers(self) -> bool:
        """Give vouchers whose offer was just changed a value that it has; True when there was one."""
        changed = [unit for unit in self.units if unit.offer and unit.typed["shown_offer"] not in ("", unit.offer.slug)]
        for unit in changed:
            if unit.offer is not None and unit.value_minor is None:
                unit.value_minor = _usual_value(unit.offer)
                unit.typed.update(amount=money.decimal(unit.value_minor, self.merchant.currency), amount_other="")
        return bool(changed)

    def remove_unit(self, unit_no: int) -> None:
        """Take a voucher out of the form; those behind it move up."""
        if len(self.units) > 1 and 1 <= unit_no <= len(self.units):
            del self.units[unit_no - 1]
            for number, unit in enumerate(self.units, start=1):
                unit.unit_no = number


def blank(merchant: Merchant, wanted: MultiDict[str, str]) -> OrderForm:
    """A form that can be bought as it is: preselected values, and what a link asked for (`?value=80&design=sage`)."""
    form = OrderForm(merchant, new_nonce())
    offer = catalogue.offer(merchant, _clean_line(wanted.get("offer", ""))) or catalogue.offer(merchant, "")
    design = catalogue.design(merchant, _clean_line(wanted.get("design", ""))) or catalogue.design(merchant, "")
    typed = dict.fromkeys(UNIT_FIELDS, "")
    unit = UnitEntry(1, typed, offer, design)
    form.units.append(unit)
    if offer is None:
        return form
    unit.value_minor = _wanted_value(offer, wanted.get("value", "")) or _usual_value(offer)
    shown = money.decimal(unit.value_minor, merchant.currency)
    typed.update(amount=shown, offer=offer.slug, design=design.slug if design else "")
    if unit.value_minor not in offer.values_minor:
        typed.update(amount="other", amount_other=shown)
    return form


def read(merchant: Merchant, sent: MultiDict[str, str]) -> OrderForm:
    """What was sent, checked. Nothing a visitor sends raises; what cannot be read is in `problems`."""
    nonce = sent.get("nonce", "")
    form = OrderForm(merchant, nonce if _NONCE.fullmatch(nonce) else new_nonce())
    form.buyer_name = _clean_line(sent.get("buyer_name", ""))
    form.buyer_email = _clean_line(sent.get("buyer_email_fixed", "") or sent.get("buyer_email", ""))
    numbers = _unit_numbers(sent)
    # Numbers may have gaps after a voucher was taken out by hand; the form that goes back has none.
    for position, number in enumerate(numbers[: catalogue.UNITS_LIMIT], start=1):
        form.units.append(_read_unit(form, sent, number, position))
    if len(numbers) > catalogue.UNITS_LIMIT:
        form.problems["add"] = _("One order holds up to %(count)s vouchers.", count=catalogue.UNITS_LIMIT)
    _check_length(form, "buyer_name", form.buyer_name, NAME_LIMIT)
    form.address = _read_address(form, "buyer_email", form.buyer_email)
    for name in ("buyer_name", "buyer_email", "nonce"):
        _check_once(form, sent, name, shown_as=name)
    return form


def new_nonce() -> str:
    """What makes one rendered form one order."""
    return secrets.token_urlsafe(12)


def _read_unit(form: OrderForm, sent: MultiDict[str, str], number: int, position: int) -> UnitEntry:
    typed = {base: _clean_line(sent.get(_named(base, number), "")) for base in UNIT_FIELDS if base != "message"}
    typed["message"] = _clean_text(sent.get(_named("message", number), ""))
    unit = UnitEntry(position, typed)
    for base in UNIT_FIELDS:
        _check_once(form, sent, _named(base, number), shown_as=unit.name(base))
    _read_choice(form, unit)
    if unit.offer is not None:
        _read_amount(form, unit, unit.offer)
    _check_length(form, unit.name("recipient_name"), typed["recipient_name"], NAME_LIMIT)
    _check_length(form, unit.name("message"), typed["message"], catalogue.MESSAGE_LIMIT)
    if typed["delivery"] != "self":
        _read_delivery(form, unit)
    return unit


def _read_choice(form: OrderForm, unit: UnitEntry) -> None:
    unit.offer = catalogue.offer(form.merchant, unit.typed["offer"])
    unit.design = catalogue.design(form.merchant, unit.typed["design"])
    if unit.offer is None:
        form.problems[unit.name("offer")] = _("This voucher is not sold any more. Please choose another one.")
    if unit.design is None:
        form.problems[unit.name("design")] = _("This design is not there any more. Please choose another one.")


def _read_amount(form: OrderForm, unit: UnitEntry, offer: Offer) -> None:
    currency, name = form.merchant.currency, unit.name("amount")
    typed = unit.typed["amount_other"] if unit.typed["amount"] == "other" else unit.typed["amount"]
    if not typed:
        sentence = _("Please enter an amount.") if unit.typed["amount"] == "other" else _("Please choose a value.")
        form.problems.setdefault(name, sentence)
        return
    try:
        value_minor = money.parse(typed, currency)
    except money.UnreadableAmount:
        form.problems.setdefault(name, _("Please enter the amount in figures, such as 50 or 37.50."))
        return
    if not catalogue.is_sold_at(offer, value_minor):
        form.problems.setdefault(name, _outside(offer, currency))
    elif name not in form.problems:
        unit.value_minor = value_minor


def _outside(offer: Offer, currency: str) -> str:
    if not offer.has_free_amount:
        return _("Please choose one of the values.")
    low, high = catalogue.limits(offer)
    return _(
        "Please enter an amount between %(low)s and %(high)s.",
        low=presentation.show_money(low, currency),
        high=presentation.show_money(high, currency),
    )


def _read_delivery(form: OrderForm, unit: UnitEntry) -> None:
    email, moment = unit.typed["recipient_email"], unit.typed["deliver_at"]
    if email or unit.typed["delivery"] == "recipient":
        unit.recipient_email = _read_address(form, unit.name("recipient_email"), email)
    if not moment:
        return
    if not email:
        sentence = _("Please enter the e-mail address that the voucher should go to at that time.")
        form.problems.setdefault(unit.name("recipient_email"), sentence)
    unit.deliver_at = _read_moment(form, unit.name("deliver_at"), moment)


def _read_moment(form: OrderForm, name: str, typed: str) -> datetime | None:
    """A wall-clock time of the merchant's place as a moment in UTC."""
    zone = clock.zone(form.merchant.time_zone)
    try:
        if not _LOCAL_MOMENT.fullmatch(typed):
            raise ValueError(typed)
        wall = datetime.fromisoformat(typed)
        moment = wall.replace(tzinfo=zone).astimezone(UTC)
        told_back = moment.astimezone(zone).replace(tzinfo=None)
    except (ValueError, OverflowError):
        form.problems.setdefault(name, _("Please enter day and time, such as 24.12.2026, 08:00."))
        return None
    if told_back != wall:
        form.problems.setdefault(name, _("The clocks go forward that night and leave this time out. Take a later one."))
    elif moment < clock.now() - timedelta(minutes=1):
        form.problems.setdefault(name, _("This time has passed. Take a later one, or leave it empty to send at once."))
    elif moment > clock.now() + LATEST_DELIVERY:
        form.problems.setdefault(name, _("This is too far ahead. Please choose a day within one year."))
    else:
        return moment
    return None


def _read_address(form: OrderForm, name: str, typed: str) -> str:
    if not typed:
        form.problems.setdefault(name, _("Please enter an e-mail address."))
        return ""
    address = addresses.read(typed)
    if address is None:
        form.problems.setdefault(name, _("Please check the e-mail address. It should look like anna@example.com."))
    return address or ""


def _check_length(form: OrderForm, name: str, typed: str, limit: int) -> None:
    if len(typed) > limit:
        form.problems.setdefault(
            name, _("This has %(length)s characters; there is room for %(limit)s.", length=len(typed), limit=limit)
        )


def _check_once(form: OrderForm, sent: MultiDict[str, str], name: str, *, shown_as: str) -> None:
    # Two answers to one question: which of them a program takes must never be a matter of luck.
    if len(sent.getlist(name)) > 1:
        form.problems[shown_as.replace("amount_other", "amount")] = _("Please give this answer only once.")


def _unit_numbers(sent: MultiDict[str, str]) -> list[int]:
    found = {int(match["unit_no"]) for name in sent if (match := _NAME_OF_UNIT.fullmatch(name))}
    return [1, *sorted(number for number in found if number > 1)]


def _unit_wish(unit: UnitEntry) -> checkout.UnitWish:
    if unit.offer is None or unit.design is None or unit.value_minor is None:
        raise ValueError("only a form without problems becomes a wish")
    return checkout.UnitWish(
        offer=unit.offer,
        design=unit.design,
        value_minor=unit.value_minor,
        recipient_name=unit.typed["recipient_name"],
        recipient_email=unit.recipient_email,
        message=unit.typed["message"],
        deliver_at=unit.deliver_at,
    )


def _wanted_value(offer: Offer, typed: str) -> int | None:
    try:
        value_minor = money.parse(typed, offer.merchant.currency)
    except money.UnreadableAmount:
        return None
    return value_minor if catalogue.is_sold_at(offer, value_minor) else None


def _usual_value(offer: Offer) -> int:
    """The second of the values: the lowest looks stingy, the highest pushy."""
    values = sorted(offer.values_minor)
    return values[min(1, len(values) - 1)] if values else offer.min_minor


def _named(base: str, unit_no: int) -> str:
    return base if unit_no == 1 else f"{base}_{unit_no}"


def _clean_line(typed: str) -> str:
    return " ".join(_without_controls(typed.replace("\n", " ").replace("\r", " ").replace("\t", " ")).split())


def _clean_text(typed: str) -> str:
    lines = typed.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ").split("\n")
    return "\n".join(_without_controls(line).rstrip() for line in lines).strip()


def _without_controls(line: str) -> str:
    normal = unicodedata.normalize("NFC", line) if len(line) <= _LONGEST_COMPOSED else line
    return "".join(
        letter for letter in normal if unicodedata.category(letter) not in _REFUSED and letter not in _REORDERING
    )
