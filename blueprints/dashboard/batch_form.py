"""The two forms that begin a batch, read field by field and kept as they were typed."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePath

import flask_babel
from flask_babel import gettext as _
from werkzeug.datastructures import FileStorage

from blueprints import presentation
from blueprints.dashboard import batch_words
from domain import batch_lines, catalogue, clock
from domain.batch_lines import Problem
from domain.states import BatchKind, VoucherType
from effects import batch as batch_effects
from gateways.tables import TableRefused
from models import Batch, Merchant

FIELDS = ("name", "type", "term", "expires_on", "count", "value", "reference")
TERMS = ("usual", "none", "day")
_NAME_LIMIT = 80
_COUNT = re.compile(r"[0-9]{1,5}")
_LATEST_YEAR = 2199
_REFUSED = ("Cc", "Cs", "Cn", "Co")
_VALUE_PROBLEMS = {"zero", "negative", "too_large"}


@dataclass
class BatchForm:
    """What was entered, what it means where it could be read, and one sentence for each mistake."""

    merchant: Merchant
    kind: BatchKind
    typed: dict[str, str]
    problems: dict[str, str] = field(default_factory=dict)
    type: VoucherType = VoucherType.GIFT_CARD
    expires_at: datetime | None = None
    raw: bytes = b""

    @property
    def errors(self) -> list[tuple[str, str]]:
        """(id of the field, sentence) for the summary."""
        return list(self.problems.items())


def blank(merchant: Merchant, kind: BatchKind) -> BatchForm:
    """The form before anybody has typed; another system's vouchers without a date keep having none."""
    term = "none" if kind == BatchKind.IMPORT else "usual"
    return BatchForm(merchant, kind, dict.fromkeys(FIELDS, "") | {"type": VoucherType.GIFT_CARD, "term": term})


def submit(
    merchant: Merchant, kind: BatchKind, *, sent: Mapping[str, str], file: FileStorage | None, actor: str
) -> Batch | BatchForm:
    """The draft that a form asks for, or the form with its problems."""
    form = BatchForm(merchant, kind, {name: _clean(sent.get(name, "")) for name in FIELDS})
    _read_common(form)
    filename = _clean(PurePath(file.filename).name) if file and file.filename else ""
    form.raw = file.stream.read(batch_effects.MOST_BYTES + 1) if file and filename else b""
    if kind == BatchKind.IMPORT and not filename:
        form.problems["file"] = _("Please choose the CSV file of your other system.")
    wants_count = kind == BatchKind.ISSUE and not filename
    if kind == BatchKind.ISSUE and filename and (form.typed["count"] or form.typed["value"]):
        form.problems["count"] = _("Give either a number and a value, or a file.")
    count, value_minor = _read_count(form) if wants_count else (0, 0)
    if form.problems:
        return form
    if wants_count:
        return _draft_count(form, count=count, value_minor=value_minor, actor=actor)
    return _draft_file(form, filename=filename, actor=actor)


def _draft_count(form: BatchForm, *, count: int, value_minor: int, actor: str) -> Batch:
    value = presentation.show_round_money(value_minor, form.merchant.currency)
    return batch_effects.draft_count(
        form.merchant,
        count=count,
        value_minor=value_minor,
        name=form.typed["name"] or f"{count} × {value}",
        type=form.type,
        expires_at=form.expires_at,
        reference=form.typed["reference"],
        actor=actor,
    )


def _draft_file(form: BatchForm, *, filename: str, actor: str) -> Batch | BatchForm:
    try:
        return batch_effects.draft_file(
            form.merchant,
            form.raw,
            kind=form.kind,
            name=form.typed["name"] or filename[:_NAME_LIMIT],
            type=form.type,
            expires_at=form.expires_at,
            actor=actor,
        )
    except TableRefused as error:
        form.problems["file"] = batch_words.refused_file(error)
        return form


def _read_common(form: BatchForm) -> None:
    typed = form.typed
    for name, limit in (("name", _NAME_LIMIT), ("reference", batch_lines.LONGEST_TEXT)):
        if len(typed[name]) > limit:
            form.problems[name] = _(
                "This has %(length)s characters; there is room for %(limit)s.", length=len(typed[name]), limit=limit
            )
    if typed["type"] in list(VoucherType):
        form.type = VoucherType(typed["type"])
    else:
        form.problems["type"] = _("Please choose one of the types.")
    if typed["term"] == "usual":
        form.expires_at = catalogue.usual_expiry(form.merchant)
    elif typed["term"] == "day":
        _read_day(form)
    elif typed["term"] != "none":
        form.problems["term"] = _("Please choose how long the vouchers are valid.")


def _read_day(form: BatchForm) -> None:
    day = batch_lines.read_day(form.typed["expires_on"])
    if day is None or day.year > _LATEST_YEAR:
        form.problems["expires_on"] = _("Please enter a day, such as 31.12.2029.")
    elif day < clock.today(form.merchant.time_zone):
        form.problems["expires_on"] = _("This day has passed. Please choose a later one.")
    else:
        form.expires_at = clock.end_of_day(day, form.merchant.time_zone)


def _read_count(form: BatchForm) -> tuple[int, int]:
    count = int(form.typed["count"]) if _COUNT.fullmatch(form.typed["count"]) else 0
    if not 1 <= count <= batch_effects.MOST_ROWS:
        form.problems["count"] = _(
            "Please enter how many vouchers, from 1 to %(most)s.",
            most=flask_babel.format_decimal(batch_effects.MOST_ROWS),
        )
    value = batch_lines.read_value(form.typed["value"], form.merchant.currency)
    if isinstance(value, int):
        return count, value
    largest = presentation.show_round_money(batch_lines.LARGEST_MINOR, form.merchant.currency)
    least = presentation.show_money(1, form.merchant.currency)
    form.problems["value"] = (
        _("A voucher is worth between %(low)s and %(high)s.", low=least, high=largest)
        if value in _VALUE_PROBLEMS
        else batch_words.problem(Problem("balance", "unreadable"))
    )
    return count, 0


def _clean(typed: str) -> str:
    kept = "".join(
        letter for letter in typed[:5000] if unicodedata.category(letter) not in _REFUSED or letter.isspace()
    )
    return " ".join(kept.split())
