"""Import, bulk issue and export in the dashboard: dry run, go, progress, result; and nobody else's rows."""

import csv
import html
import inspect
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart

from blueprints.dashboard import batch_words
from domain import batch_lines, batches, clock, ledger
from domain.states import BatchKind, BatchState, RowState
from effects import batch as batch_effects
from effects import voucher as vouchers
from gateways import tables
from models import Batch, BatchRow, Entry, TimelineEntry, Voucher
from tests import cast as casting
from tests import sales
from tests.browser import Browser

HTMX = {"HX-Request": "true"}
IMPORT, ISSUE = "/dashboard/batches/import", "/dashboard/batches/issue"
GOOD = (
    "Gutscheincode;Guthaben;Gültig bis;Kundennummer;Bemerkung\nALT-0001;50,00;31.12.2040;K-1;R-1\nalt 0002;12,50;;;\n"
)
WRONG = "AB;10;;;\nALT-0001;10;;;\nNEU-1;-5;;;\n"


def text(response: TestResponse) -> str:
    return html.unescape(re.sub(r"\s+", " ", response.text))


@pytest.fixture
def anna(client: Browser, cast: casting.Cast) -> Browser:
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    return client


def upload(client: Browser, content: bytes | str, *, url: str = IMPORT, **fields: str) -> TestResponse:
    raw = content.encode() if isinstance(content, str) else content
    form: dict[str, Any] = {"csrf_token": sales.csrf(client.get(IMPORT).text), "type": "gift_card", "term": "none"}
    return post_file(client, url, form | fields, raw)


def post_file(client: Browser, url: str, form: dict[str, Any], raw: bytes) -> TestResponse:
    """The form with its file as a browser encodes it; encoded here, for the client would leave its own file open."""
    boundary, body = encode_multipart(form | {"file": FileStorage(io.BytesIO(raw), "alt.csv")})
    return client.post(url, data=body, content_type=f"multipart/form-data; boundary={boundary}")


def drafted(client: Browser, content: str = GOOD, **fields: str) -> str:
    response = upload(client, content, **fields)
    assert response.status_code == 303, response.text
    return response.location


def press(client: Browser, page: str, verb: str, *, htmx: bool = False, **fields: str) -> TestResponse:
    form = fields | {"csrf_token": sales.csrf(client.get(page).text)}
    return client.post(f"{page}/{verb}", data=form, headers=HTMX if htmx else {})


def rows_of(response: TestResponse) -> list[list[str]]:
    assert response.status_code == 200
    assert response.mimetype == "text/csv"
    content = response.data.decode("utf-8-sig")
    delimiter = ";" if content.split("\r\n")[0].count(";") > 2 else ","
    return list(csv.reader(io.StringIO(content), delimiter=delimiter))


def test_an_import_from_the_file_to_the_till(anna: Browser, cast: casting.Cast, run_jobs: Callable[[], int]) -> None:
    page = drafted(anna)
    shown = text(anna.get(page))
    assert Voucher.select().count() == 0, "a dry run issues nothing"
    assert "Import 2 vouchers (€62.50)" in shown
    assert "Nothing is issued yet" in shown
    assert press(anna, page, "start").status_code == 303
    assert 'aria-valuenow="0"' in anna.get(page).text
    run_jobs()
    shown = text(anna.get(page))
    assert "2 vouchers are issued." in shown
    assert 'aria-valuenow="2"' in shown
    first = vouchers.find_by_code(cast.alba, "ALT-0001")
    assert first is not None
    assert (first.balance_minor, first.customer_id, first.metadata["reference"]) == (5000, "K-1", "R-1")
    second = vouchers.find_by_code(cast.alba, "ALT-0002")
    assert second is not None
    assert (second.balance_minor, second.expires_at) == (1250, None)
    assert Entry.get(Entry.voucher == first).operation_key.startswith("batch:bat_")


def test_refused_rows_are_shown_left_out_when_confirmed_and_can_be_taken_away(
    anna: Browser, run_jobs: Callable[[], int]
) -> None:
    page = drafted(anna, GOOD + WRONG)
    shown = text(anna.get(page))
    for sentence in ("Row 2 has the same code", "too easy to guess", "below zero"):
        assert sentence in shown
    refused = rows_of(anna.get(f"{page}/refused.csv"))
    assert refused[0][:2] + refused[0][-3:] == ["code", "balance", "row", "problem", "line"]
    assert [row[0] for row in refused[1:]] == ["AB", "ALT-0001", "NEU-1"]
    assert [row[6] for row in refused[1:]] == ["4", "5", "6"]
    asked = press(anna, page, "start")
    assert asked.status_code == 422
    assert "confirm that the refused rows stay out" in asked.text
    assert Batch.get().state == BatchState.DRAFT
    press(anna, page, "start", leave_out="yes")
    run_jobs()
    assert Voucher.select().count() == 2


def test_the_file_of_refused_rows_can_be_mended_and_sent_again(anna: Browser) -> None:
    refused = anna.get(f"{drafted(anna, GOOD + WRONG)}/refused.csv").data.decode("utf-8-sig")
    mended = refused.replace('"AB"', '"NEU-AB"').replace('"-5"', '"5"').replace('"ALT-0001"', '"ALT-0009"')
    assert "Import 3 vouchers" in text(anna.get(drafted(anna, mended)))


def test_the_liability_stands_there_before_and_after(
    anna: Browser, cast: casting.Cast, run_jobs: Callable[[], int]
) -> None:
    casting.issue(cast.alba, value_minor=10000)
    page = drafted(anna)
    shown = re.sub(r"<[^>]+>", "", text(anna.get(page)))
    assert re.search(r"before and after\s*€100.00\s+€162.50", shown)
    press(anna, page, "start")
    run_jobs()
    batch = Batch.get()
    assert (batch.liability_before_minor, batch.liability_after_minor) == (10000, 16250)


def test_codes_that_exist_already_are_found_in_the_dry_run_however_they_are_typed(
    anna: Browser, cast: casting.Cast
) -> None:
    _, code = casting.issue(cast.alba)
    shown = text(anna.get(drafted(anna, f"code,balance\n{code.lower().replace('-', ' ')},10\n")))
    assert "has this code already" in shown
    assert code not in shown
    assert "No row is ready" in shown


def test_a_code_of_another_shop_is_free_here(anna: Browser, cast: casting.Cast) -> None:
    _, code = casting.issue(cast.berg)
    assert "Import 1 voucher" in text(anna.get(drafted(anna, f"code,balance\n{code},10\n")))


def test_many_of_one_value_are_issued_with_term_and_reference(
    anna: Browser, cast: casting.Cast, run_jobs: Callable[[], int]
) -> None:
    form = {"count": "30", "value": "37,50", "type": "compensation", "term": "day", "expires_on": "2031-01-31",
            "reference": "Storm", "name": "Sorry"}  # fmt: skip
    token = sales.csrf(anna.get(ISSUE).text)
    page = anna.post(ISSUE, data=form | {"csrf_token": token}).location
    assert "Issue 30 vouchers (€1,125)" in text(anna.get(page))
    press(anna, page, "start")
    run_jobs()
    issued = list(Voucher.select())
    assert {(row.balance_minor, row.type, row.metadata["reference"]) for row in issued} == {
        (3750, "compensation", "Storm")
    }
    assert {row.expires_at for row in issued} == {datetime(2031, 1, 31, 22, 59, 59, 999999, tzinfo=UTC)}
    taken = rows_of(press(anna, page, "codes.csv"))
    assert len(taken) == 31
    assert all(vouchers.find_by_code(cast.alba, row[1]) for row in taken[1:])
    assert all(row[8].startswith("http://localhost/v/") for row in taken[1:])


def test_a_file_of_values_is_issued_with_fresh_codes(anna: Browser, run_jobs: Callable[[], int]) -> None:
    page = drafted(anna, "Wert;Kundennummer\n50;K-1\n75,50;K-2\n", url=ISSUE)
    press(anna, page, "start")
    run_jobs()
    assert sorted((row.balance_minor, row.customer_id) for row in Voucher.select()) == [(5000, "K-1"), (7550, "K-2")]


NO_FILES = [
    b"", b"\xff\xfe\x00", b"\x89PNG\r\n\x1a\n\x00", b"PK\x03\x04\x00\x00", b"\0" * 1000, b"code,balance\nA\0B,5\n",
    b"[" * 100_000, b'"', b'"' * 999, b"\n" * 5000, b"code,balance", b"just words", b"x" * 1_000_000,
    b"code;code;balance\nA;B;5", b"code\nABCD", b"\x81\x8d\x90", "٥٠,code\n".encode(),
    b"code,balance\n" + b"A,1\n" * 10_001,
]  # fmt: skip


@pytest.mark.req("T4", "T30", "T31")
def test_a_file_that_is_none_gets_a_sentence_and_the_form_keeps_what_was_entered(anna: Browser) -> None:
    for content in NO_FILES:
        response = upload(anna, content, name="Mein <Name>", term="day", expires_on="2030-01-01")
        assert response.status_code == 422, content[:40]
        assert 'id="file-error"' in response.text
        assert 'value="Mein &lt;Name&gt;"' in response.text
        assert 'value="2030-01-01"' in response.text
    assert Batch.select().count() == 0


@pytest.mark.req("T4", "T12", "T18", "T30", "T31")
def test_whatever_stands_in_a_cell_is_a_row_or_a_sentence(anna: Browser, run_jobs: Callable[[], int]) -> None:
    payloads = ['=HYPERLINK(""http://e"")', "' OR 1=1--", "%", "_____", "<script>alert(1)</script>", "{{7*7}}", "%(x)s",
                "{event.__init__}", "\ud7ff", "x" * 3000, "-2+3", "＝1+1", "٥٠", "1e400", "NaN", "\u202eABC",
                "\x07\x08"]  # fmt: skip
    lines = ["code;balance;expires_on;customer_id;reference"]
    for number, payload in enumerate(payloads):
        for column in range(5):
            cells = [f"CODE-{number}-{column}", "50", "", "", ""]
            cells[column] = f'"{payload}"'
            lines.append(";".join(cells))
    page = drafted(anna, "\n".join(lines))
    shown = anna.get(page)
    assert shown.status_code == 200
    assert "<script>alert" not in shown.text
    press(anna, page, "start", leave_out="yes")
    run_jobs()
    assert anna.get(page).status_code == 200
    assert Batch.get().state == BatchState.DONE
    for download in ("/dashboard/exports/vouchers.csv", "/dashboard/exports/transactions.csv", f"{page}/refused.csv"):
        cells = [cell for row in rows_of(anna.get(download)) for cell in row]
        dangerous = [
            cell for cell in cells if cell[:1] in tuple("=+-@\t\r＝") and not re.fullmatch(r"-?[0-9.,]+", cell)
        ]
        assert dangerous == []


@pytest.mark.parametrize("url", [IMPORT, ISSUE])
def test_a_file_of_many_megabytes_is_refused_before_it_is_read(anna: Browser, url: str) -> None:
    token = sales.csrf(anna.get(url).text)
    response = post_file(anna, url, {"csrf_token": token}, b"A,1\n" * 1_000_000)
    assert response.status_code == 413
    assert "larger than 2 MB" in response.text


def test_a_file_just_above_the_limit_is_told_so_and_one_of_two_megabytes_fits_the_door(anna: Browser) -> None:
    fitting = b"code;balance\n" + b"A;1\n" * 10 + b" " * (2**21 - 100)
    assert upload(anna, fitting).status_code == 303
    above = upload(anna, b"x" * (2**21 + 1))
    assert (above.status_code, "larger than 2 MB" in above.text) == (422, True)


WRONG_ANSWERS = [
    ("count", ("0", "10001", "-1", "１", "9" * 500, "1.5", "")),
    ("value", ("0", "-5", "1e9", "٥٠", "9" * 400, "")),
    ("type", ("gold", "")),
    ("term", ("never", "")),
    ("expires_on", ("gestern", "2001-01-01", "9999-12-31", "")),
    ("name", ("x" * 200,)),
    ("reference", ("x" * 200,)),
]


def test_a_wrong_answer_in_the_form_is_named_and_the_others_are_kept(anna: Browser) -> None:
    token = sales.csrf(anna.get(ISSUE).text)
    for named, answers in WRONG_ANSWERS:
        for answer in answers:
            form = {"count": "7", "value": "50", "type": "gift_card", "term": "day", "expires_on": "2040-01-01"}
            form |= {"name": "Liste", "csrf_token": token, named: answer}
            response = anna.post(ISSUE, data=form)
            assert response.status_code == 422, (named, answer)
            assert re.search(rf'id="problems".*href="#{named}"', response.text, re.DOTALL), (named, answer)
            assert f'value="{form["name"]}"' in response.text
    assert Batch.select().count() == 0


def test_the_progress_polls_while_it_runs_and_falls_silent_when_it_is_over(
    anna: Browser, run_jobs: Callable[[], int]
) -> None:
    page = drafted(anna)
    assert 'hx-trigger="every' not in anna.get(page).text
    press(anna, page, "start")
    running = anna.get(page, headers=HTMX)
    assert "<html" not in running.text
    assert 'hx-trigger="every 1s"' in running.text
    assert "0 of 2" in text(running)
    run_jobs()
    assert 'hx-trigger="every' not in anna.get(page, headers=HTMX).text


def test_pause_go_on_and_stop_by_their_buttons(anna: Browser, run_jobs: Callable[[], int]) -> None:
    page = drafted(anna)
    press(anna, page, "start")
    paused = press(anna, page, "pause", htmx=True)
    assert (paused.status_code, "Go on" in paused.text) == (200, True)
    run_jobs()
    assert Voucher.select().count() == 0
    again = press(anna, page, "pause", htmx=True)
    assert "Somebody was faster" in again.text
    press(anna, page, "resume")
    assert Batch.get().state == BatchState.RUNNING
    stopped = press(anna, page, "stop", htmx=True)
    assert "Stopped at 0 of 2" in text(stopped)
    run_jobs()
    assert Voucher.select().count() == 0
    assert BatchRow.select().where(BatchRow.state == RowState.WAITING).count() == 2


def test_a_running_batch_says_when_no_worker_takes_it_up(anna: Browser) -> None:
    page = drafted(anna)
    press(anna, page, "start")
    assert "No worker has taken it up" not in anna.get(page).text
    clock.move(timedelta(minutes=1))
    assert "No worker has taken it up" in anna.get(page).text


def test_a_code_taken_meanwhile_fails_its_row_alone(
    anna: Browser, cast: casting.Cast, run_jobs: Callable[[], int]
) -> None:
    page = drafted(anna)
    casting.issue(cast.alba, code="ALT-0001")
    press(anna, page, "start")
    run_jobs()
    shown = text(anna.get(page))
    assert "1 voucher is issued." in shown
    assert "1 row failed." in shown
    assert [row[0] for row in rows_of(anna.get(f"{page}/refused.csv"))[1:]] == ["ALT-0001"]


def test_a_draft_is_thrown_away_with_what_was_uploaded(anna: Browser) -> None:
    page = drafted(anna)
    assert press(anna, page, "discard").location.endswith("/dashboard/batches")
    assert (Batch.select().count(), BatchRow.select().count()) == (0, 0)
    assert anna.get(page).status_code == 404


def test_a_batch_that_runs_cannot_be_thrown_away(anna: Browser) -> None:
    page = drafted(anna)
    token = sales.csrf(anna.get(page).text)
    press(anna, page, "start")
    response = anna.post(f"{page}/discard", data={"csrf_token": token})
    assert response.status_code == 409
    assert BatchRow.select().count() == 2


@pytest.mark.req("T27", "T28")
def test_the_full_codes_leave_by_a_button_that_is_written_down(anna: Browser, run_jobs: Callable[[], int]) -> None:
    page = drafted(anna)
    press(anna, page, "start")
    run_jobs()
    shown = anna.get(page).text
    assert "ALT-0001" not in shown
    assert "…0001" in shown
    assert anna.get(f"{page}/codes.csv").status_code == 405
    assert [row[1] for row in rows_of(press(anna, page, "codes.csv"))[1:]] == ["ALT-0001", "alt 0002"]
    (entry,) = TimelineEntry.select().where(TimelineEntry.kind == "codes_exported")
    assert (entry.actor, entry.facts["count"]) == ("Anna", 2)


@pytest.mark.req("T27")
def test_no_code_lies_open_in_the_database(anna: Browser, run_jobs: Callable[[], int]) -> None:
    page = drafted(anna, GOOD + WRONG)
    press(anna, page, "start", leave_out="yes")
    run_jobs()
    for table in (Batch, BatchRow, Voucher, Entry, TimelineEntry):
        for row in table.select().dicts():
            said = " ".join(str(bytes(value) if isinstance(value, memoryview) else value) for value in row.values())
            for code in ("ALT-0001", "ALT0001", "A1T0001", "alt 0002", "A1T0002", "NEU-1"):
                assert code not in said, table


@pytest.mark.req("G11", "T6", "T7")
def test_staff_reads_who_may_and_another_shop_finds_nothing(
    app: Any, anna: Browser, cast: casting.Cast, run_jobs: Callable[[], int]
) -> None:
    page = drafted(anna, GOOD + WRONG)
    before = list(BatchRow.select().dicts())
    ben, carla = app.test_client(), app.test_client()
    sales.sign_in(ben, "ben@alba.example", casting.PASSWORD)
    sales.sign_in(carla, "carla@berg.example", casting.PASSWORD)
    verbs = ("start", "pause", "resume", "stop", "discard", "codes.csv")
    for person, status in ((ben, 403), (carla, 404)):
        token = re.search(r'name="csrf-token"[^>]*content="([^"]+)"', person.get("/dashboard").text)
        assert token
        form = {"csrf_token": token.group(1), "leave_out": "yes"}
        for address in (page, f"{page}/refused.csv"):
            assert person.get(address).status_code == status
        for verb in verbs:
            assert person.post(f"{page}/{verb}", data=form).status_code == status, verb
    assert list(BatchRow.select().dicts()) == before
    token = re.search(r'name="csrf-token"[^>]*content="([^"]+)"', ben.get("/dashboard").text)
    assert token
    for address in ("/dashboard/batches", IMPORT, ISSUE):
        refused = ben.get(address)
        assert (refused.status_code, "owner of Café Alba" in refused.text) == (403, True)
    for address in (IMPORT, ISSUE, "/dashboard/exports/codes.csv"):
        assert ben.post(address, data={"csrf_token": token.group(1), "count": "5", "value": "5"}).status_code == 403
    assert Batch.select().count() == 1
    assert "alt.csv" not in carla.get("/dashboard/batches").text


def test_strange_ids_and_rows_in_the_address_are_pages_that_do_not_exist(anna: Browser) -> None:
    for strange in ("x", "bat_%00", "%00", "' OR 1=1--", "bat_" + "9" * 500):
        assert anna.get(f"/dashboard/batches/{strange}").status_code == 404
    page = drafted(anna)
    for after in ("-1", "x", "9" * 30, "٥", "1e9"):
        assert anna.get(f"{page}?after={after}").status_code == 200


def test_a_new_shop_is_shown_both_ways_and_their_samples_work(anna: Browser) -> None:
    assert "Bring your old vouchers along" in anna.get("/dashboard/batches").text
    for url in (IMPORT, ISSUE):
        sample = anna.get(f"{url}/sample.csv")
        assert rows_of(sample)
        page = upload(anna, sample.data, url=url).location
        assert "2 vouchers" in text(anna.get(page))


def test_the_list_shows_every_batch_with_its_state(anna: Browser, run_jobs: Callable[[], int]) -> None:
    first, _second = drafted(anna, name="Erste"), drafted(anna, name="Zweite <b>")
    press(anna, first, "start")
    run_jobs()
    shown = text(anna.get("/dashboard/batches"))
    assert "Erste" in shown
    assert "Zweite <b>" in shown
    assert "Done" in shown
    assert "Not started" in shown


def test_more_than_a_hundred_vouchers_are_shown_page_by_page(anna: Browser, run_jobs: Callable[[], int]) -> None:
    content = "code,balance\n" + "".join(f"CODE-{number:04d},5\n" for number in range(130))
    page = drafted(anna, content)
    press(anna, page, "start")
    run_jobs()
    shown = anna.get(page).text
    assert "…0099" in shown
    assert "…0100" not in shown
    assert "…0129" in anna.get(f"{page}?after=101").text


# Exports


def test_every_voucher_and_every_entry_can_be_taken_away(anna: Browser, cast: casting.Cast) -> None:
    row, code = casting.issue(cast.alba, value_minor=5000, customer_id="=cmd")
    casting.issue(cast.berg)
    ledger_rows = rows_of(anna.get("/dashboard/exports/transactions.csv"))
    listed = rows_of(anna.get("/dashboard/exports/vouchers.csv"))
    entry = Entry.get(Entry.voucher == row)
    assert len(listed) == len(ledger_rows) == 2
    voucher = dict(zip(*listed, strict=True))
    assert (voucher["id"], voucher["code"], voucher["balance"]) == (row.public_id, f"…{row.code_last4}", "50.00")
    assert voucher["customer_id"] == "'=cmd"
    booked = dict(zip(*ledger_rows, strict=True))
    assert (booked["hash"], booked["amount"], booked["created_at"]) == (
        entry.hash,
        "50.00",
        entry.created_at.isoformat(),
    )
    assert code not in anna.get("/dashboard/exports/vouchers.csv").text


def test_a_german_reader_gets_semicolons_and_commas(anna: Browser, cast: casting.Cast) -> None:
    casting.issue(cast.alba, value_minor=5050)
    exported = anna.get("/dashboard/exports/vouchers.csv?lang=de").data
    assert exported.startswith(b"\xef\xbb\xbf")
    assert '"50,50";' in exported.decode("utf-8-sig")


@pytest.mark.req("T28")
def test_only_owners_take_full_codes_and_it_is_written_down(anna: Browser, cast: casting.Cast) -> None:
    _, code = casting.issue(cast.alba)
    response = anna.post(
        "/dashboard/exports/codes.csv", data={"csrf_token": sales.csrf(anna.get("/dashboard/exports").text)}
    )
    assert code in response.text
    (entry,) = TimelineEntry.select().where(TimelineEntry.kind == "codes_exported")
    assert (entry.actor, entry.facts["count"], entry.merchant_id) == ("Anna", 1, cast.alba.id)


def test_an_export_of_thousands_comes_in_pieces_and_complete(anna: Browser, cast: casting.Cast) -> None:
    batch = batch_effects.draft_count(
        cast.alba, count=1203, value_minor=100, name="n", type=Voucher.type.default, expires_at=None, reference="",
        actor="Anna",
    )  # fmt: skip
    batch_effects.start(batch, actor="Anna")
    while Batch.get_by_id(batch.id).state == BatchState.RUNNING:
        batch_effects.run_due(batch_id=batch.id, seconds=60)
    for name in ("vouchers", "transactions"):
        ids = [row[0] for row in rows_of(anna.get(f"/dashboard/exports/{name}.csv"))[1:]]
        assert len(set(ids)) == len(ids) == 1203


def test_the_liability_of_a_day_is_that_of_its_end(anna: Browser, cast: casting.Cast) -> None:
    casting.issue(cast.alba, value_minor=12345)
    assert "€123.45" in anna.get("/dashboard/exports").text
    assert "€0.00" in anna.get("/dashboard/exports?on=2020-01-01").text
    at = clock.end_of_day(clock.today("Europe/Vienna"), "Europe/Vienna")
    assert ledger.liability_at(cast.alba, at, is_test=True) == {"EUR": 12345}


def test_a_day_that_is_none_gets_a_sentence(anna: Browser) -> None:
    for day in ("x", "0001-01-01", "9999-12-31", "2026-13-01", "%00", "9" * 90, "' OR 1=1--"):
        response = anna.get(f"/dashboard/exports?on={day}")
        assert (response.status_code, "Please enter a day" in response.text) == (422, True), day


# Words


def test_every_problem_that_a_row_or_file_can_have_has_its_sentence() -> None:
    source = "".join(inspect.getsource(module) for module in (batch_lines, tables, batch_effects, batches))
    for column, code in re.findall(r'Problem\("(\w+)", "(\w+)"', source) + re.findall(r'problem="(\w+):(\w+)"', source):
        assert (column, code) in batch_words.PROBLEMS
    for code in re.findall(r'TableRefused\(\s*"(\w+)"', source):
        assert code in batch_words.FILES
    assert set(batch_words.KINDS) == set(BatchKind)
    assert set(batch_words.STATES) == set(BatchState)
