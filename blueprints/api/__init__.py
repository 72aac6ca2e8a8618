"""The JSON API for tills: its addresses, and errors that are problem+json wherever they come from.

The views authenticate by themselves (`keys.needs`); nothing here reads a session or a cookie.
"""

import flask
import peewee
from playhouse.pool import MaxConnectionsExceeded
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from blueprints import errors, limits
from blueprints.api import keys, problems, redeem, validate
from blueprints.api.problems import Problem
from domain import refusals

blueprint = flask.Blueprint("api", __name__, url_prefix="/api/v1")
limits.limiter.limit(keys.UNKNOWN_CODES, key_func=keys.presented, deduct_when=keys.is_code_unknown)(blueprint)
limits.limiter.limit(keys.UNKNOWN_KEYS, deduct_when=keys.is_key_unknown)(blueprint)

# (path, endpoint, view): one line per call. OPTIONS is not offered: tills are not browsers.
CALLS = (
    ("/vouchers/validate", "validate", validate.validate_voucher),
    ("/vouchers/redeem", "redeem", redeem.redeem_by_code),
    ("/vouchers/<public_id>/redeem", "redeem_by_id", redeem.redeem_by_id),
)
for _path, _endpoint, _view in CALLS:
    blueprint.add_url_rule(_path, _endpoint, _view, methods=["POST"], provide_automatic_options=False)

_UNAVAILABLE = (peewee.OperationalError, peewee.InterfaceError, MaxConnectionsExceeded)
_CODE_OF_STATUS = {
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
    503: "temporarily_unavailable",
}
_KEPT_HEADERS = ("Allow", "Retry-After")


@blueprint.record_once
def answer_errors(state: flask.blueprints.BlueprintSetupState) -> None:
    """Answer every error below `/api`, addresses that do not exist included."""
    errors.answer_api_with(state.app, _answer)


@blueprint.errorhandler(Problem)
def answer_problem(problem: Problem) -> flask.Response:
    """An error that the API itself found."""
    return problem.response()


@blueprint.after_request
def stamp(response: flask.Response) -> flask.Response:
    """What every answer carries: an id for support, and the order to store it nowhere."""
    response.headers["X-Request-Id"] = problems.request_id()
    response.headers["Cache-Control"] = "no-store"
    return response


def _answer(error: Exception, reference: str) -> BaseResponse:
    flask.g.request_id = reference
    return stamp(_problem(error).response())


def _problem(error: Exception) -> Problem:
    if isinstance(error, refusals.Refusal):
        return problems.of_refusal(error)
    if isinstance(error, HTTPException):
        return _of_http_error(error)
    if isinstance(error, _UNAVAILABLE):
        return Problem("temporarily_unavailable", "The database cannot be reached just now; nothing was booked.")
    return Problem("internal_error", "Nothing was booked. The request id leads us to the cause.")


def _of_http_error(error: HTTPException) -> Problem:
    status = error.code or 500
    code = _CODE_OF_STATUS.get(status, "malformed_request" if 400 <= status < 500 else "internal_error")
    given = dict(error.get_headers())
    kept = {name: given[name] for name in _KEPT_HEADERS if name in given}
    return Problem(code, problems.KINDS[code].advice, headers=kept)
