"""The words around batches: states, and for each thing that can be wrong one sentence that says what to do.

The command line says the same sentences.
"""

from typing import Any

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_babel import ngettext

from blueprints import presentation
from blueprints.dashboard.wording import Status
from domain import batch_lines
from domain.batch_lines import Problem
from domain.batches import Tally
from domain.states import BatchKind, BatchState, VoucherType
from gateways.tables import TableRefused
from models import Batch

STATES = {
    BatchState.DRAFT: Status(_l("Not started"), "idle", "circle"),
    BatchState.RUNNING: Status(_l("Running"), "run", "run"),
    BatchState.PAUSED: Status(_l("Paused"), "warn", "pause"),
    BatchState.DONE: Status(_l("Done"), "ok", "check"),
    BatchState.STOPPED: Status(_l("Stopped"), "idle", "close"),
}
KINDS = {BatchKind.IMPORT: _l("Import"), BatchKind.ISSUE: _l("Bulk issue")}
TYPES = {
    VoucherType.GIFT_CARD: _l("Gift voucher"),
    VoucherType.STORE_CREDIT: _l("Store credit"),
    VoucherType.LOYALTY_REWARD: _l("Loyalty reward"),
    VoucherType.COMPENSATION: _l("Compensation"),
    VoucherType.REFERRAL: _l("Referral"),
}
COLUMNS = {
    "code": _l("Code"),
    "balance": _l("Balance"),
    "currency": _l("Currency"),
    "expires_on": _l("Valid until"),
    "customer_id": _l("Customer number"),
    "reference": _l("Reference"),
    "line": _l("Whole row"),
}
_LIMITS: dict[str, Any] = {
    "shortest": batch_lines.SHORTEST_CODE,
    "longest_code": batch_lines.LONGEST_CODE,
    "longest": batch_lines.LONGEST_TEXT,
}
PROBLEMS = {
    ("code", "missing"): _l("The code is missing. Enter it, or delete the row."),
    ("code", "unreadable"): _l("The code has a character that does not show. Type the code anew."),
    ("code", "too_short"): _l("The code is too easy to guess. A code needs %(shortest)s characters or more."),
    ("code", "too_long"): _l("The code is too long. There is room for %(longest_code)s characters."),
    ("code", "duplicate"): _l("Row %(other_row)s has the same code. Keep one of the two."),
    ("code", "reserved"): _l("Codes like this one are kept for trying tills out. Give the voucher another code."),
    ("code", "taken"): _l("A voucher of your shop has this code already. Delete the row if it is the same one."),
    ("balance", "missing"): _l("The balance is missing. Enter an amount, or delete the row."),
    ("balance", "unreadable"): _l("This is no amount. Write it in figures, such as 50 or 37.50."),
    ("balance", "negative"): _l("The balance is below zero. Such a voucher can't be taken over; delete the row."),
    ("balance", "zero"): _l("Nothing is left on this voucher. Delete the row."),
    ("balance", "too_precise"): _l("It is not clear how much this is. Write 1250.00 or 1.25, whichever you mean."),
    ("balance", "too_large"): _l("The amount is too large. Check whether the column holds something else."),
    ("currency", "unknown"): _l("This currency does not exist. Write three letters, such as EUR."),
    ("currency", "other"): _l("Your shop keeps vouchers in another currency. Nothing is ever converted."),
    ("expires_on", "unreadable"): _l("This is no date. Write 2029-12-31 or 31.12.2029."),
    ("expires_on", "past"): _l("This day has passed. Enter a later one if you honour the voucher, or delete the row."),
    ("expires_on", "too_far"): _l("This day is too far ahead. Leave it empty for a voucher without an end."),
    ("customer_id", "too_long"): _l("This is too long. There is room for %(longest)s characters."),
    ("customer_id", "unreadable"): _l("This has a character that does not show. Type it anew."),
    ("reference", "too_long"): _l("This is too long. There is room for %(longest)s characters."),
    ("reference", "unreadable"): _l("This has a character that does not show. Type it anew."),
    ("line", "quotes"): _l("A quotation mark is missing or too many. Mend the row or delete the marks."),
    ("line", "too_many_cells"): _l(
        "The row has more cells than the header. An amount with a comma needs quotation marks."
    ),
    ("line", "too_long"): _l("The row is far too long. Check it in a text editor."),
    ("line", "sealed"): _l("The row can't be opened: its key is missing or the data was changed."),
    ("line", "unexpected"): _l("Something broke on our side. Nothing was issued for this row."),
}
FILES = {
    "too_large": _l("The file is larger than %(megabytes)s MB. Split it and send the parts one after the other."),
    "not_text": _l("This is not a CSV file. In your spreadsheet choose Save as, then CSV UTF-8."),
    "empty": _l("The file has no rows below its header."),
    "no_header": _l("The first row names no column that we know. It says: %(seen)s. Name them as the sample does."),
    "column_missing": _l("The column “%(column)s” is missing. The first row says: %(seen)s."),
    "column_twice": _l("Two columns could be the “%(column)s”: “%(first)s” and “%(second)s”. Delete one of them."),
    "too_many_rows": _l("The file has %(rows)s rows and %(limit)s fit. Split it and send the parts one by one."),
    "has_codes": _l("The file has a column with codes. To keep these codes, use the import."),
}


def problem(found: Problem) -> str:
    """What is wrong with a row and what to do about it."""
    sentence = PROBLEMS.get((found.column, found.code), PROBLEMS["line", "unexpected"])
    return str(sentence) % (_LIMITS | {"other_row": found.other_row})


def column(name: str) -> str:
    """A column's name in the reader's language."""
    return str(COLUMNS.get(name, name))


def refused_file(error: TableRefused) -> str:
    """Why a file as a whole can't be read, and what to do."""
    facts = dict(error.facts)
    if "column" in facts:
        facts["column"] = column(str(facts["column"]))
    return str(FILES[error.code]) % facts


def start_label(batch: Batch, tally: Tally) -> str:
    """`Import 250 vouchers (€12,500)`: what the button will do, in figures."""
    value = presentation.show_round_money(tally.waiting_minor, batch.currency)
    count = tally.waiting
    if batch.kind == BatchKind.IMPORT:
        return str(
            ngettext("Import %(num)d voucher (%(value)s)", "Import %(num)d vouchers (%(value)s)", count, value=value)
        )
    return str(ngettext("Issue %(num)d voucher (%(value)s)", "Issue %(num)d vouchers (%(value)s)", count, value=value))


def time_left(seconds: float | None) -> str:
    """`about 20 s left`, in steps that do not flicker; empty when nobody can say."""
    if seconds is None:
        return ""
    if seconds < 5:
        return _("a few seconds left")
    if seconds < 90:
        return _("about %(seconds)s s left", seconds=round(seconds / 5) * 5)
    return _("about %(minutes)s min left", minutes=round(seconds / 60))
