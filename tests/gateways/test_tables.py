"""CSV as people and other systems write it: read with forgiveness, refused with a reason, written harmless."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import batch_lines
from gateways import tables


def read(content: bytes | str, **options: object) -> list[tables.Line]:
    raw = content.encode() if isinstance(content, str) else content
    wanted: dict[str, object] = {"required": ("code", "balance"), "most_rows": 100, "most_bytes": 2**20} | options
    return tables.read(raw, names=batch_lines.NAMES, **wanted)  # type: ignore[arg-type]


def refusal(content: bytes | str, **options: object) -> tables.TableRefused:
    with pytest.raises(tables.TableRefused) as caught:
        read(content, **options)
    return caught.value


@pytest.mark.parametrize(
    "content",
    [
        "code,balance\nAB-1234,50\n",
        "Gutscheincode;Guthaben\r\nAB-1234;50",
        "\ufeffCode\tBetrag\rAB-1234\t50\r",
        '"Voucher code","Value"\n"AB-1234","50"\n\n\n',
        "sep=;\nCode;Restwert\nAB-1234;50",
        "GUTSCHEIN-NR.|Saldo\n AB-1234 | 50 ",
    ],
)
def test_delimiters_line_ends_and_names_of_both_languages_are_understood(content: str) -> None:
    (line,) = read(content)
    assert (dict(line.cells), line.fault) == ({"code": "AB-1234", "balance": "50"}, "")


def test_a_file_of_an_old_windows_program_keeps_its_umlauts() -> None:
    (line,) = read("Gutscheincode;Guthaben;Währung;Bemerkung\nAB-1;50;EUR;Grüße".encode("cp1252"))
    assert (line.cells["currency"], line.cells["reference"]) == ("EUR", "Grüße")


def test_rows_are_counted_as_a_spreadsheet_counts_them() -> None:
    assert [line.row_no for line in read("\ncode,balance\nA,1\n\n,,\nB,2\n")] == [3, 6]


def test_a_lost_quotation_mark_spoils_its_own_line_alone() -> None:
    lines = read('code,balance\nA,1\n"B,2\nC,3\n"D"x,4\n')
    assert [(line.row_no, line.fault) for line in lines] == [(2, ""), (3, "quotes"), (4, ""), (5, "quotes")]
    assert lines[1].text == '"B,2'


def test_too_many_cells_and_endless_lines_are_faults_of_their_line() -> None:
    lines = read(f"code,balance\nA,12,50\nB,2,,\n{'C' * 9000},1\n")
    assert [line.fault for line in lines] == ["too_many_cells", "", "too_long"]
    assert len(lines[2].text) == tables.LONGEST_LINE


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty"),
        (b"\n\n ,,\n", "empty"),
        (b"code,balance\n", "empty"),
        (b"sep=;", "empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "not_text"),
        (b"code,balance\nA\0,50", "not_text"),
        (b"code,balance\n\x81\x8d,50", "not_text"),
        (b"AB-1234,50\nAB-1235,50", "no_header"),
        (b'"', "no_header"),
        (b"code,name\nA,B", "column_missing"),
        (b"code,Value,Balance\nA,1,2", "column_twice"),
        (b"x" * (2**20 + 1), "too_large"),
        (b"code,balance\n" + b"A,1\n" * 101, "too_many_rows"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(content: bytes, code: str) -> None:
    assert refusal(content).code == code


@pytest.mark.req("T18")
@pytest.mark.parametrize(
    "payload",
    [
        '=HYPERLINK("http://e","x")',
        "+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(1)",
        "\t=1",
        "\r=1",
        "＝1+1",
        '"=1',
        " =1",
        "\0=1",
    ],
)
def test_no_cell_that_we_write_is_run_by_a_spreadsheet(payload: str) -> None:
    written = b"".join(tables.write([(payload,)], delimiter=";")).decode("utf-8-sig")
    assert written.startswith("\"'")
    assert written.rstrip("\r\n").endswith('"')


@pytest.mark.parametrize("plain", ["-12.50", "1.234,50", "50", "", "Müller", "O'Neil", "a=b", "2026-12-31"])
def test_numbers_and_plain_words_stay_as_they_are(plain: str) -> None:
    assert tables.harmless(plain) == plain


@pytest.mark.parametrize("code", ["=AB-1234", "'AB-1234", "-X-9999", "@HOME-1"])
def test_a_code_survives_the_way_out_and_in_again(code: str) -> None:
    written = b"".join(tables.write([("code", "balance"), (code, "50,00")], delimiter=";"))
    assert read(written)[0].cells["code"] == code


def test_a_long_file_is_written_in_pieces() -> None:
    pieces = list(tables.write((("x" * 100,) for _ in range(5000)), delimiter=","))
    assert len(pieces) > 5
    assert max(map(len, pieces)) < 70_000
    assert len(list(csv.reader(io.StringIO(b"".join(pieces).decode("utf-8-sig"))))) == 5000


@given(st.binary(max_size=400) | st.text(max_size=400).map(lambda text: f"code,balance\n{text}".encode()))
def test_whatever_is_sent_is_read_or_refused_and_never_breaks(content: bytes) -> None:
    try:
        for line in read(content):
            assert line.fault or set(line.cells) <= {"code", "balance"}
    except tables.TableRefused as error:
        assert error.code
