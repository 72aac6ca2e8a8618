"""The form of a refund: one amount for each voucher of an order, and what would be true after it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flask_babel import gettext as _

from blueprints import presentation
from blueprints.dashboard import fields, refund_words
from domain import money
from domain.refund_room import Room, UnitRoom
from models import Order

_LONGEST_AMOUNT = 20


@dataclass
class Portion:
    """One voucher in the form: what can go back of it and what was typed."""

    room: UnitRoom
    typed: str
    amount_minor: int = 0

    @property
    def name(self) -> str:
        return f"amount_{self.room.unit.unit_no}"

    @property
    def used_minor(self) -> int:
        return refund_words.used(self.room)

    @property
    def gone_minor(self) -> int:
        """What of its price went back before."""
        return int(self.room.unit.value_minor) - self.room.most_minor

    def limit_minor(self, *, is_insisting: bool) -> int:
        return self.room.most_minor if is_insisting else self.room.unused_minor


@dataclass
class RefundForm:
    """A refund as it is wished for; `problems` maps a field to one sentence in the reader's language."""

    order: Order
    room: Room
    entries: list[Portion]
    nonce: str
    reason: str = ""
    is_insisting: bool = False
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def currency(self) -> str:
        return str(self.order.currency)

    @property
    def amounts(self) -> dict[int, int]:
        """Unit number → minor units, without those of which nothing goes back."""
        return {entry.room.unit.unit_no: entry.amount_minor for entry in self.entries if entry.amount_minor}

    @property
    def can_insist(self) -> bool:
        """Something was used, so that more could go back than is left on the vouchers."""
        return any(entry.used_minor for entry in self.entries)

    @property
    def summary(self) -> str:
        """What pressing the button does; empty while an amount can't be read."""
        total_minor = sum(entry.amount_minor for entry in self.entries)
        if self.problems or not total_minor:
            return ""
        shown = {"amount": self._shown(total_minor), "buyer": self.order.buyer_email}
        made = [entry for entry in self.entries if entry.room.voucher is not None]
        if not made:
            return _("%(amount)s go back to %(buyer)s; the voucher will not be made.", **shown)
        worth = self._shown(sum(_worth_after(entry) for entry in made))
        if len(self.entries) == 1:
            return _("%(amount)s go back to %(buyer)s; the voucher will be worth %(worth)s.", **shown, worth=worth)
        return _(
            "%(amount)s go back to %(buyer)s; the vouchers will be worth %(worth)s together.", **shown, worth=worth
        )

    def refuse(self, unit_no: object, refundable_minor: object) -> None:
        """The books have changed since the form was shown: say what is possible now."""
        name = next((entry.name for entry in self.entries if entry.room.unit.unit_no == unit_no), self.entries[0].name)
        most = self._shown(refundable_minor) if isinstance(refundable_minor, int) else "–"
        self.problems[name] = _("At most %(most)s can go back now. Change the amount and send it again.", most=most)

    def _shown(self, amount_minor: int) -> str:
        return presentation.show_money(amount_minor, self.currency)


def blank(order: Order, room: Room) -> RefundForm:
    """The form with all that is unused filled in."""
    left_minor, entries = room.left_minor, []
    for each in room.units:
        part_minor = min(each.unused_minor, left_minor)
        if each.voucher is None and part_minor < each.unit.value_minor:
            part_minor = 0
        left_minor -= part_minor
        entries.append(Portion(each, _written(part_minor, order.currency), part_minor))
    return RefundForm(order, room, entries, fields.new_nonce())


def read(order: Order, room: Room, sent: Mapping[str, str]) -> RefundForm:
    """What was typed, with its problems; a field that was not sent is as in the blank form."""
    form = blank(order, room)
    form.reason = " ".join(sent.get("reason", "").replace("\0", "").split())
    form.is_insisting = bool(sent.get("is_insisting"))
    for entry in form.entries:
        if entry.name in sent:
            _read_amount(form, entry, sent[entry.name])
    if len(form.reason) > fields.REASON_LIMIT:
        form.problems["reason"] = _("Use at most %(limit)s characters.", limit=fields.REASON_LIMIT)
    if not form.problems:
        _check_limits(form)
    return form


def _written(amount_minor: int, currency: str) -> str:
    """As the reader would type it: with a comma in German."""
    plain = money.decimal(amount_minor, currency)
    return plain.replace(".", ",") if presentation.language() == "de" else plain


def _read_amount(form: RefundForm, entry: Portion, typed: str) -> None:
    entry.typed, entry.amount_minor = typed.replace("\0", "").strip()[:_LONGEST_AMOUNT], 0
    if not entry.typed:
        return
    try:
        entry.amount_minor = money.parse(entry.typed, form.currency)
    except money.UnreadableAmount:
        form.problems[entry.name] = _("Please enter the amount in figures, such as 50 or 37.50.")


def _check_limits(form: RefundForm) -> None:
    for entry in form.entries:
        problem = _problem(form, entry)
        if problem:
            form.problems[entry.name] = problem
    total_minor = sum(entry.amount_minor for entry in form.entries)
    if form.problems:
        return
    first = form.entries[0].name
    if not total_minor:
        form.problems[first] = _("Please enter an amount above zero.")
    elif total_minor > form.room.left_minor:
        left = presentation.show_money(form.room.left_minor, form.currency)
        form.problems[first] = _("Only %(left)s of this payment is still at Stripe. Enter less.", left=left)


def _problem(form: RefundForm, entry: Portion) -> str:
    most_minor = entry.limit_minor(is_insisting=form.is_insisting)
    most = presentation.show_money(most_minor, form.currency)
    if entry.room.voucher is None and 0 < entry.amount_minor < entry.room.most_minor:
        return _("This voucher is not made yet, so all of it goes back or nothing: enter %(most)s or 0.", most=most)
    if entry.amount_minor <= most_minor:
        return ""
    if entry.amount_minor <= entry.room.most_minor:
        return _("At most %(most)s is unused. Enter less, or tick that what was used goes back too.", most=most)
    return _("At most %(most)s can go back. Enter less.", most=most)


def _worth_after(entry: Portion) -> int:
    voucher = entry.room.voucher
    if voucher is None:
        return 0
    return int(voucher.balance_minor) - min(entry.amount_minor, max(0, voucher.available_minor))
