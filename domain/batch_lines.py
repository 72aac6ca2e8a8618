"""The dry run of a batch: what each line of a file means, and everything that is wrong with it. Pure.

Nothing is stored and nothing is asked of the database here; that a code is taken is found by who can look it up.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from domain import clock, codes, money
from domain.states import BatchKind

# What other systems call a column: lower case, without spaces and signs.
NAMES: Mapping[str, tuple[str, ...]] = {
    "code": (
        "code", "vouchercode", "couponcode", "giftcardcode", "vouchernumber", "giftcardnumber", "cardnumber",
        "gutscheincode", "gutscheinnummer", "gutscheinnr", "kartennummer", "kartennr",
    ),
    "balance": (
        "balance", "remainingbalance", "currentbalance", "remaining", "value", "amount", "balanceminor",
        "guthaben", "restguthaben", "restwert", "restbetrag", "saldo", "betrag", "wert", "gutscheinwert",
    ),
    "currency": ("currency", "currencycode", "währung", "waehrung"),
    "expires_on": (
        "expires", "expireson", "expiresat", "expiry", "expirydate", "expirationdate", "validuntil", "validto",
        "gültigbis", "gueltigbis", "ablaufdatum", "ablauf", "verfallsdatum", "verfällt", "läuftab",
    ),
    "customer_id": ("customerid", "customernumber", "kundennummer", "kundennr", "kundenid"),
    "reference": (
        "reference", "ref", "note", "notes", "ordernumber", "orderno", "invoice",
        "referenz", "notiz", "bemerkung", "bestellnummer", "rechnungsnummer", "rechnungsnr",
    ),
}  # fmt: skip
COLUMNS = tuple(NAMES)
REQUIRED = {BatchKind.IMPORT: ("code", "balance"), BatchKind.ISSUE: ("balance",)}

SHORTEST_CODE, LONGEST_CODE = 4, 64
LONGEST_TEXT = 100
# Ten million euros: above any voucher, and low enough to catch a column of ids read as a column of values.
LARGEST_MINOR = 10**9
_LATEST_YEAR = 2199
_ISO_DAY = re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})(?:[T ][0-9:.]{0,15}(?:Z|[+-][0-9:]{4,6})?)?")
_GERMAN_DAY = re.compile(r"([0-9]{1,2})\. ?([0-9]{1,2})\. ?([0-9]{4})")
_ENGLISH_GROUPS = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+\.[0-9]{1,3}")
_ONE_GROUP = re.compile(r"[0-9]{1,3}[.,][0-9]{3}")
_NEGATIVE = re.compile(r"[-−(]\s*[0-9]|[0-9.,]{1,20}\s*[-−]$")
_MARKS = {"€": "EUR", "$": "USD", "£": "GBP", "¥": "JPY"}
_REFUSED = ("Cc", "Cs", "Cn", "Co")


@dataclass(frozen=True)
class Line:
    """One line of a file: its number, its cells by column, and what kept it from being read, if anything."""

    row_no: int
    cells: Mapping[str, str]
    fault: str = ""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a line: a column (or `line`), a stable code, and another line's number where one matters."""

    column: str
    code: str
    other_row: int | None = None


@dataclass(frozen=True)
class Checked:
    """A line and what it means. Without problems it can be issued."""

    line: Line
    code: str | None = None
    value_minor: int | None = None
    expires_at: datetime | None = None
    customer_id: str | None = None
    reference: str | None = None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Terms:
    """What holds for a whole file. `expires_at` is for lines that name no day; None means for ever."""

    kind: BatchKind
    currency: str
    time_zone: str
    expires_at: datetime | None


def check(lines: Iterable[Line], terms: Terms) -> Iterator[Checked]:
    """Read every line; of two lines with the same code the later one has the problem."""
    seen: dict[str, int] = {}
    for line in lines:
        checked = _check(line, terms)
        first = seen.setdefault(checked.code, line.row_no) if checked.code else line.row_no
        yield checked if first == line.row_no else with_problem(checked, Problem("code", "duplicate", first))


def with_problem(checked: Checked, problem: Problem) -> Checked:
    """The same line with one more problem."""
    facts = checked.__dict__ | {"problems": (*checked.problems, problem)}
    return Checked(**facts)


def read_day(text: str) -> date | None:
    """A day written `2026-12-31`, `31.12.2026`, or as the start of an ISO moment; None for anything else."""
    if found := _ISO_DAY.fullmatch(text):
        parts = found[1], found[2], found[3]
    elif found := _GERMAN_DAY.fullmatch(text):
        parts = found[3], found[2], found[1]
    else:
        return None
    try:
        return date(*map(int, parts))
    except ValueError:
        return None


def read_value(text: str, currency: str) -> int | str:
    """Minor units of a voucher's value, or the code of what is wrong with it."""
    plain = text.strip()
    if _NEGATIVE.match(plain):
        return "negative"
    if sum(character.isdigit() for character in plain) > 12:
        return "too_large"
    if _ONE_GROUP.fullmatch(plain) and money.exponent(currency) != 3:
        return "too_precise"  # fifty thousand in German, fifty and a bit in English: ask rather than guess
    if _ENGLISH_GROUPS.fullmatch(plain):
        plain = plain.replace(",", "")
    try:
        value_minor = money.parse(plain, currency)
    except money.UnreadableAmount as error:
        return "too_precise" if error.args[0] == "too_precise" else "unreadable"
    if value_minor == 0:
        return "zero"
    return value_minor if value_minor <= LARGEST_MINOR else "too_large"


def encode(problems: Iterable[Problem]) -> str | None:
    """Problems as the column `problem` keeps them: `code:duplicate:12 balance:zero`; None without any."""
    words = [f"{each.column}:{each.code}" + (f":{each.other_row}" if each.other_row else "") for each in problems]
    return " ".join(words) or None


def decode(text: str | None) -> tuple[Problem, ...]:
    """The problems behind the column `problem`."""
    found = []
    for word in (text or "").split():
        column, code, *other = word.split(":")
        found.append(Problem(column, code, int(other[0]) if other else None))
    return tuple(found)


def _check(line: Line, terms: Terms) -> Checked:
    if line.fault:
        return Checked(line, problems=(Problem("line", line.fault),))
    problems: list[Problem] = []
    code = _code(line, problems) if terms.kind == BatchKind.IMPORT else None
    value_minor = _value(line, terms, problems)
    _currency(line, terms, problems)
    return Checked(
        line,
        code=code,
        value_minor=value_minor,
        expires_at=_expiry(line, terms, problems),
        customer_id=_text(line, "customer_id", problems),
        reference=_text(line, "reference", problems),
        problems=tuple(problems),
    )


def _code(line: Line, problems: list[Problem]) -> str | None:
    text = line.cells.get("code", "")
    normalised = codes.normalise(text) if len(text) <= 2 * LONGEST_CODE else text
    if not text:
        problems.append(Problem("code", "missing"))
    elif not _is_clean(text, refused=(*_REFUSED, "Cf")):
        problems.append(Problem("code", "unreadable"))  # nobody can type a character that does not show
    elif len(normalised) < SHORTEST_CODE:
        problems.append(Problem("code", "too_short"))
    elif len(normalised) > LONGEST_CODE:
        problems.append(Problem("code", "too_long"))
    else:
        return normalised
    return None


def _value(line: Line, terms: Terms, problems: list[Problem]) -> int | None:
    text = line.cells.get("balance", "")
    value = read_value(text, terms.currency) if text else "missing"
    if isinstance(value, str):
        problems.append(Problem("balance", value))
        return None
    return value


def _currency(line: Line, terms: Terms, problems: list[Problem]) -> None:
    text = line.cells.get("currency", "")
    currency = _MARKS.get(text, text.upper())
    if currency and currency not in money.CURRENCIES:
        problems.append(Problem("currency", "unknown"))
    elif currency and currency != terms.currency:
        problems.append(Problem("currency", "other"))


def _expiry(line: Line, terms: Terms, problems: list[Problem]) -> datetime | None:
    text = line.cells.get("expires_on", "")
    if not text:
        return terms.expires_at
    day = read_day(text)
    if day is None:
        problems.append(Problem("expires_on", "unreadable"))
    elif day < clock.today(terms.time_zone):
        problems.append(Problem("expires_on", "past"))
    elif day.year > _LATEST_YEAR:
        problems.append(Problem("expires_on", "too_far"))
    else:
        return clock.end_of_day(day, terms.time_zone)
    return None


def _text(line: Line, column: str, problems: list[Problem]) -> str | None:
    text = line.cells.get(column, "")
    if len(text) > LONGEST_TEXT:
        problems.append(Problem(column, "too_long"))
    elif not _is_clean(text):
        problems.append(Problem(column, "unreadable"))
    return text or None


def _is_clean(text: str, *, refused: tuple[str, ...] = _REFUSED) -> bool:
    return not any(unicodedata.category(character) in refused for character in text)
