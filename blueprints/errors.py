"""What a visitor sees when something is refused or breaks: a page that says what happened and what to do.

Addresses under `/api` answer for themselves (RFC 9457); they hand their answer to `answer_api_with`.
"""

import secrets
from collections.abc import Callable

import peewee
import structlog
from flask import Flask, Response, current_app, g, make_response, render_template, request
from flask.globals import request_ctx
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from domain import refusals

log = structlog.get_logger()

ApiAnswer = Callable[[Exception, str], BaseResponse]

# The statuses that have words of their own in templates/errors/page.html; any other shows those of its class.
WORDED = (400, 403, 404, 405, 410, 413, 415, 422, 429, 500, 503)


def register(app: Flask) -> None:
    """Turn refusals, HTTP errors and our own mistakes into pages."""
    app.register_error_handler(refusals.Refusal, _refused)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(peewee.PeeweeException, _database_away)
    app.register_error_handler(Exception, _mistake)


def answer_api_with(app: Flask, answer: ApiAnswer) -> None:
    """Let `answer(error, reference)` make the response to every error below `/api`."""
    app.extensions["api_errors"] = answer


def reference() -> str:
    """The id of this request, sixteen hex digits: a visitor can read it out, and every log line carries it."""
    if "request_id" not in g:
        g.request_id = secrets.token_hex(8)
    return str(g.request_id)


def page(status: int, *, detail: str = "", retry_after: int | None = None) -> Response:
    """The error page of one status. It reads no database and no session, so it works when little else does."""
    if request_ctx.url_adapter is None:
        return _to_foreign_name()
    template_words = status if status in WORDED else (500 if status >= 500 else 400)
    body = render_template(
        "errors/page.html", status=template_words, detail=detail, reference=reference(), retry_after=retry_after
    )
    response = make_response(body, status)
    response.headers["Cache-Control"] = "no-store"
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response


def _to_foreign_name() -> Response:
    """The answer to a Host header that is not ours or not a name at all. Nothing can be linked to from there."""
    return Response(
        "This server does not answer to that name.\n",
        status=400,
        mimetype="text/plain",
        headers={"Cache-Control": "no-store"},
    )


def _refused(error: refusals.Refusal) -> BaseResponse:
    return _for_api(error) or page(error.status)


def _http(error: HTTPException) -> BaseResponse:
    if error.response is not None:
        return error.response
    if answered := _for_api(error):
        return answered
    if error.code is None or error.code < 400:
        return BaseResponse(error.get_response().data, status=error.code or 500)
    shown = page(error.code, retry_after=_seconds_to_wait(error))
    allowed = getattr(error, "valid_methods", None)
    if allowed:
        shown.headers["Allow"] = ", ".join(sorted(allowed))
    return shown


def _database_away(error: peewee.PeeweeException) -> BaseResponse:
    # Busy or away is a matter of seconds; anything else that a database reports is our mistake.
    if not isinstance(error, peewee.OperationalError | peewee.InterfaceError):
        return _mistake(error)
    log.error("database_unreachable", reference=reference(), route=_route(), exc_info=error)
    return _for_api(error) or page(503, retry_after=5)


def _mistake(error: Exception) -> BaseResponse:
    log.error("request_failed", reference=reference(), route=_route(), exc_info=error)
    return _for_api(error) or page(500)


def _route() -> str:
    # Never the path itself: in `/o/<token>` and `/v/<token>` it opens an order or a voucher to whoever reads the log.
    return f"{request.method} {request.url_rule}" if request.url_rule else request.method


def _for_api(error: Exception) -> BaseResponse | None:
    answer: ApiAnswer | None = current_app.extensions.get("api_errors")
    if answer is None or not request.path.startswith("/api/"):
        return None
    return answer(error, reference())


def _seconds_to_wait(error: HTTPException) -> int | None:
    retry_after = getattr(error, "retry_after", None)
    return int(retry_after) if isinstance(retry_after, int | float) else None
