"""CSV files: read as other systems and spreadsheets write them, written so that no spreadsheet runs a cell.

A line stands for itself: a lost quotation mark spoils the line that it is in and no other.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

Names = Mapping[str, tuple[str, ...]]

LONGEST_LINE = 4000
_DELIMITERS = ",;\t|"
_SEPARATOR_LINE = re.compile(r"sep=(.)", re.IGNORECASE)
# What a spreadsheet takes for a formula when a cell begins with it, in both widths.
_FORMULA = "=+-@\t\r\n\0＝＋－＠"
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(?:[.,][0-9]{1,4})?")
_BOM = "\ufeff"
_BLOCK = 64 * 1024


class TableRefused(Exception):
    """The file as a whole can't be read; `code` says why, `facts` what a sentence about it needs."""

    def __init__(self, code: str, **facts: object) -> None:
        super().__init__(code)
        self.code, self.facts = code, facts


@dataclass(frozen=True)
class Line:
    """One line: `row_no` as a spreadsheet counts (the header is a row too), `cells` by the name of their column.

    `fault` is empty, or `quotes`, `too_many_cells`, `too_long`; such a line has its `text` and no cells.
    """

    row_no: int
    cells: Mapping[str, str]
    fault: str = ""
    text: str = ""


def read(raw: bytes, *, names: Names, required: Iterable[str], most_rows: int, most_bytes: int) -> list[Line]:
    """The lines of a CSV file whose header names its columns.

    `names` maps each column to what it may be called, in lower case without spaces and signs. UTF-8 with or without
    BOM, else Windows-1252; comma, semicolon, tab or bar. Raises TableRefused with `too_large`, `not_text`, `empty`,
    `no_header`, `column_missing`, `column_twice` or `too_many_rows`.
    """
    if len(raw) > most_bytes:
        raise TableRefused("too_large", megabytes=most_bytes // 2**20)
    numbered = [(row_no, text) for row_no, text in enumerate(_lines(_decoded(raw)), start=1) if text.strip(" \t,;|")]
    if not numbered:
        raise TableRefused("empty")
    delimiters = _DELIMITERS
    if told := _SEPARATOR_LINE.fullmatch(numbered[0][1].strip()):
        delimiters, numbered = told[1], numbered[1:]
    if not numbered:
        raise TableRefused("empty")
    delimiter, columns = _header(numbered[0][1], delimiters, names)
    _require(columns, required, header=numbered[0][1])
    if len(numbered) == 1:
        raise TableRefused("empty")
    if len(numbered) - 1 > most_rows:
        raise TableRefused("too_many_rows", rows=len(numbered) - 1, limit=most_rows)
    return [_line(row_no, text, delimiter=delimiter, columns=columns) for row_no, text in numbered[1:]]


def write(rows: Iterable[Sequence[object]], *, delimiter: str) -> Iterator[bytes]:
    """A CSV file in pieces: UTF-8 with BOM, every cell quoted and harmless. None is an empty cell."""
    page = io.StringIO()
    page.write(_BOM)
    writer = csv.writer(page, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    for row in rows:
        writer.writerow(["" if cell is None else harmless(str(cell)) for cell in row])
        if page.tell() > _BLOCK:
            yield _emptied(page)
    yield _emptied(page)


def harmless(cell: str) -> str:
    """`cell` with a `'` before it where a spreadsheet would take it for a formula; plain numbers stay numbers."""
    first = cell.lstrip(" \u00a0\"'")[:1] or cell[:1]
    is_formula = first in _FORMULA and first != ""
    return f"'{cell}" if is_formula and not _NUMBER.fullmatch(cell) else cell


def _emptied(page: io.StringIO) -> bytes:
    block = page.getvalue().encode("utf-8", "replace")
    page.seek(0)
    page.truncate()
    return block


def _decoded(raw: bytes) -> str:
    if b"\0" in raw:
        raise TableRefused("not_text")
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise TableRefused("not_text")


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _header(text: str, delimiters: str, names: Names) -> tuple[str, list[str | None]]:
    """The delimiter under which most columns are known, and the column of each cell (None for an unknown one)."""
    known = {alias: column for column, aliases in names.items() for alias in aliases}
    tried = []
    for delimiter in delimiters:
        cells = _split(text, delimiter) or []
        columns = [known.get(_plain(cell)) for cell in cells]
        tried.append((sum(column is not None for column in columns), len(cells), delimiter, columns, cells))
    count, _width, delimiter, columns, cells = max(tried, key=lambda each: each[:2])
    if count == 0:
        raise TableRefused("no_header", seen=_shown(text))
    for column in filter(None, columns):
        same = [cell.strip() for cell, other in zip(cells, columns, strict=True) if other == column]
        if len(same) > 1:
            raise TableRefused("column_twice", first=_shown(same[0]), second=_shown(same[1]), column=column)
    return delimiter, columns


def _require(columns: Sequence[str | None], required: Iterable[str], *, header: str) -> None:
    for column in required:
        if column not in columns:
            raise TableRefused("column_missing", column=column, seen=_shown(header))


def _line(row_no: int, text: str, *, delimiter: str, columns: Sequence[str | None]) -> Line:
    if len(text) > LONGEST_LINE:
        return Line(row_no, {}, "too_long", text[:LONGEST_LINE])
    cells = _split(text, delimiter)
    if cells is None:
        return Line(row_no, {}, "quotes", text)
    if any(cell.strip() for cell in cells[len(columns) :]):
        return Line(row_no, {}, "too_many_cells", text)
    named = zip(columns, cells, strict=False)
    return Line(row_no, {column: _bare(cell) for column, cell in named if column and cell.strip()})


def _split(text: str, delimiter: str) -> list[str] | None:
    """The cells of one line, or None when its quotation marks do not match."""
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return None


def _bare(cell: str) -> str:
    stripped = cell.strip()
    # A file of ours comes back: what `harmless` put before a cell goes again.
    return stripped[1:] if stripped[:1] == "'" and harmless(stripped[1:]) == stripped else stripped


def _plain(name: str) -> str:
    folded = unicodedata.normalize("NFKC", name[:100]).casefold()
    return "".join(letter for letter in folded if letter.isalnum())


def _shown(text: str) -> str:
    """A piece of somebody's file, fit for a sentence."""
    clean = "".join(letter if letter.isprintable() else " " for letter in text)
    return clean if len(clean) <= 80 else f"{clean[:79]}…"
