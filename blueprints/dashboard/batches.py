"""Batches: a file or a number, its dry run, the go, the progress and what came of it. For owners alone."""

from collections.abc import Callable
from typing import Any

from flask import Response, abort, make_response, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import current_user
from werkzeug.exceptions import RequestEntityTooLarge

from blueprints import errors, htmx, limits, presentation
from blueprints.dashboard import batch_form, batch_words, desk, roles
from blueprints.dashboard.batch_form import BatchForm
from blueprints.dashboard.desk import blueprint
from domain import batch_lines, batches, catalogue, clock
from domain.states import BatchKind, BatchState, RowState
from effects import batch as batch_effects
from effects import export
from gateways import tables
from gateways.vault import SealBroken
from models import Batch, BatchRow, Voucher

_SHOWN = 100
_MOST_BATCHES = 200
_UPLOADS = {"dashboard.draft_import": BatchKind.IMPORT, "dashboard.draft_issue": BatchKind.ISSUE}
_SAMPLES = {
    BatchKind.IMPORT: (("ALT-2024-0001", "50", "2029-12-31", "", "R-1042"), ("ALT-2024-0002", "12.50", "", "K-77", "")),
    BatchKind.ISSUE: (("50", "2029-12-31", "", "R-1042"), ("75", "", "K-77", "")),
}


@blueprint.url_value_preprocessor
def allow_upload(endpoint: str | None, values: dict[str, Any] | None) -> None:
    """A file may be larger than a form; said before anybody reads the body, and that is before every hook."""
    if endpoint in _UPLOADS:
        request.max_content_length = batch_effects.MOST_BYTES + limits.BODY_OF_FORM


@blueprint.errorhandler(413)
def too_large(error: RequestEntityTooLarge) -> ResponseReturnValue:
    """The form of a file that was too large to be read; what else was entered is lost with it."""
    kind = _UPLOADS.get(request.endpoint or "")
    if kind is None or not current_user.is_authenticated or desk.sit_down() is not None:
        return errors.page(413)
    form = batch_form.blank(desk.merchant(), kind)
    refused = tables.TableRefused("too_large", megabytes=batch_effects.MOST_BYTES // 2**20)
    form.problems["file"] = batch_words.refused_file(refused)
    return _form(form, status=413)


@blueprint.get("/batches")
def list_batches() -> ResponseReturnValue:
    """Every batch of the shop, newest first, and the two ways to begin one."""
    roles.require_owner()
    query = Batch.select().where(Batch.merchant == desk.merchant()).order_by(Batch.id.desc()).limit(_MOST_BATCHES)
    listed = list(query)
    tallies = batches.tallies(listed)
    rows = [(batch, tallies.get(batch.id, batches.Tally({}, {}))) for batch in listed]
    return render_template("dashboard/batches.html", rows=rows, words=batch_words)


@blueprint.get("/batches/import")
def new_import() -> ResponseReturnValue:
    """Take over the codes of another system."""
    roles.require_owner()
    return _form(batch_form.blank(desk.merchant(), BatchKind.IMPORT))


@blueprint.post("/batches/import")
def draft_import() -> ResponseReturnValue:
    """The dry run of a file of codes; nothing is issued yet."""
    return _draft(BatchKind.IMPORT)


@blueprint.get("/batches/issue")
def new_issue() -> ResponseReturnValue:
    """Issue many new vouchers at once."""
    roles.require_owner()
    return _form(batch_form.blank(desk.merchant(), BatchKind.ISSUE))


@blueprint.post("/batches/issue")
def draft_issue() -> ResponseReturnValue:
    """The draft of many new vouchers; nothing is issued yet."""
    return _draft(BatchKind.ISSUE)


@blueprint.get("/batches/import/sample.csv")
def import_sample() -> ResponseReturnValue:
    """A file as the import wants it."""
    return _sample(BatchKind.IMPORT, ("code", "balance", "expires_on", "customer_id", "reference"))


@blueprint.get("/batches/issue/sample.csv")
def issue_sample() -> ResponseReturnValue:
    """A file of values as the bulk issue wants it."""
    return _sample(BatchKind.ISSUE, ("balance", "expires_on", "customer_id", "reference"))


@blueprint.get("/batches/<batch_id>")
def batch(batch_id: str) -> ResponseReturnValue:
    """One batch: its dry run, its progress or its result."""
    return _page(_batch(batch_id))


@blueprint.post("/batches/<batch_id>/start")
def start_batch(batch_id: str) -> ResponseReturnValue:
    """Go. Whoever leaves rows out says so."""
    found = _batch(batch_id)
    tally = batches.tally(found)
    if tally.refused and request.form.get("leave_out") != "yes" and found.state == BatchState.DRAFT:
        return _page(found, trouble=_("Please confirm that the refused rows stay out."), status=422)
    return _do(found, lambda: batch_effects.start(found, actor=desk.actor()))


@blueprint.post("/batches/<batch_id>/pause")
def pause_batch(batch_id: str) -> ResponseReturnValue:
    """Begin no further row for now."""
    found = _batch(batch_id)
    return _do(found, lambda: batches.pause(found))


@blueprint.post("/batches/<batch_id>/resume")
def resume_batch(batch_id: str) -> ResponseReturnValue:
    """Go on with the rows that wait."""
    found = _batch(batch_id)
    return _do(found, lambda: batch_effects.resume(found))


@blueprint.post("/batches/<batch_id>/stop")
def stop_batch(batch_id: str) -> ResponseReturnValue:
    """End it for good; what was issued stays."""
    found = _batch(batch_id)
    return _do(found, lambda: batches.stop(found, actor=desk.actor()))


@blueprint.post("/batches/<batch_id>/discard")
def discard_batch(batch_id: str) -> ResponseReturnValue:
    """Throw a draft away with what was uploaded."""
    found = _batch(batch_id)
    try:
        batches.discard(found)
    except batches.BatchMoved:
        return _page(Batch.get_by_id(found.id), trouble=_("It was started meanwhile."), status=409)
    return htmx.redirect(url_for("dashboard.list_batches"))


@blueprint.get("/batches/<batch_id>/refused.csv")
def refused_rows(batch_id: str) -> ResponseReturnValue:
    """The rows that did not become vouchers, as they were sent, each with what is wrong."""
    found = _batch(batch_id)
    content = export.refused(found, locale=presentation.language(), say=batch_words.problem)
    return download(content, f"refused-{found.public_id[4:12]}.csv")


@blueprint.post("/batches/<batch_id>/codes.csv")
def batch_codes(batch_id: str) -> ResponseReturnValue:
    """The vouchers of a batch with their full codes; who took them stands in the timeline."""
    found = _batch(batch_id)
    export.note_codes(found.merchant, count=batches.tally(found).done, actor=desk.actor(), batch=found)
    return download(export.codes(found, locale=presentation.language()), f"vouchers-{found.public_id[4:12]}.csv")


def download(content: Any, name: str) -> Response:
    """A CSV file for the browser's downloads; `content` is bytes or comes in pieces."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, mimetype="text/csv", headers=headers)


def _draft(kind: BatchKind) -> ResponseReturnValue:
    roles.require_owner()
    made = batch_form.submit(
        desk.merchant(), kind, sent=request.form, file=request.files.get("file"), actor=desk.actor()
    )
    if isinstance(made, BatchForm):
        return _form(made, status=422)
    return htmx.redirect(url_for("dashboard.batch", batch_id=made.public_id))


def _form(form: BatchForm, *, status: int = 200) -> ResponseReturnValue:
    usual = catalogue.usual_expiry(form.merchant)
    page = render_template(
        "dashboard/batch_form.html", form=form, words=batch_words, usual=usual, most=batch_effects.MOST_ROWS
    )
    return make_response(page, status)


def _do(found: Batch, verb: Callable[[], None]) -> ResponseReturnValue:
    trouble = ""
    try:
        verb()
    except batches.BatchMoved:
        trouble = _("Somebody was faster. This is how it stands now.")
    if trouble or htmx.wants_fragment():
        return _page(Batch.get_by_id(found.id), trouble=trouble)
    return htmx.redirect(url_for("dashboard.batch", batch_id=found.public_id))


def _page(found: Batch, *, trouble: str = "", status: int = 200) -> ResponseReturnValue:
    tally, now = batches.tally(found), clock.now()
    is_draft = found.state == BatchState.DRAFT
    before_minor = batches.liability_minor(found) if is_draft else found.liability_before_minor
    after_minor = before_minor + tally.waiting_minor if is_draft else found.liability_after_minor
    done, next_after = _done_rows(found) if not is_draft else ([], None)
    seconds = batches.seconds_left(found, waiting=tally.waiting, at=now)
    return htmx.respond(
        "dashboard/batch.html",
        "dashboard/_batch.html",
        status=status,
        batch=found,
        tally=tally,
        before_minor=before_minor,
        after_minor=after_minor,
        done=done,
        next_after=next_after,
        wrong=_wrong_rows(found),
        time_left=batch_words.time_left(seconds if found.state == BatchState.RUNNING else None),
        is_silent=batches.is_silent(found, at=now),
        words=batch_words,
        trouble=trouble,
        after=_after(),
    )


def _done_rows(found: Batch) -> tuple[list[BatchRow], int | None]:
    query = found.rows.select(BatchRow, Voucher).join(Voucher)
    query = query.where(BatchRow.state == RowState.DONE, BatchRow.row_no > _after()).limit(_SHOWN + 1)
    rows = list(query)
    return rows[:_SHOWN], rows[_SHOWN - 1].row_no if len(rows) > _SHOWN else None


def _wrong_rows(found: Batch) -> list[dict[str, Any]]:
    """One line for each problem of the first rows that have some: what was sent, and what to do."""
    rows = found.rows.where(BatchRow.state.in_((RowState.REFUSED, RowState.FAILED))).limit(_SHOWN)
    return [
        {"row_no": row.row_no, "column": batch_words.column(problem.column), "sent": _sent(found, row, problem.column),
         "sentence": batch_words.problem(problem)}
        for row in rows
        for problem in batch_lines.decode(row.problem)
    ]  # fmt: skip


def _sent(found: Batch, row: BatchRow, column: str) -> str:
    """What stands in the cell; a code shows its end alone, as everywhere."""
    try:
        cells = batch_effects.cells(found, row)
    except SealBroken:
        return ""
    text = cells.get(column, "")
    if column == "code" and len(text) > 4:
        return f"…{text[-4:]}"
    return text if len(text) <= 40 else f"{text[:39]}…"


def _after() -> int:
    typed = request.args.get("after", "")
    return int(typed) if typed.isascii() and typed.isdigit() and len(typed) < 7 else 0


def _batch(batch_id: str) -> Batch:
    mine = (Batch.merchant == desk.merchant()) & (Batch.public_id == batch_id)
    found = Batch.get_or_none(mine) if "\0" not in batch_id else None
    if found is None:
        abort(404)  # also for staff: whether it exists is nobody's business
    roles.require_owner()
    found.merchant = desk.merchant()
    return found


def _sample(kind: BatchKind, header: tuple[str, ...]) -> ResponseReturnValue:
    delimiter = ";" if presentation.language() == "de" else ","
    content = b"".join(tables.write([header, *_SAMPLES[kind]], delimiter=delimiter))
    return download(content, f"sample-{kind}.csv")
