"""The JSON API: the calls of `calls.py` behind their guard, and errors that are problem+json wherever they come from.

Nothing here reads a session or a cookie.
"""

import flask
import peewee
from playhouse.pool import MaxConnectionsExceeded
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter, Map
from werkzeug.wrappers import Response as BaseResponse

from blueprints import errors, limits
from blueprints.api import calls, keys, problems, provocations, wording
from blueprints.api.problems import Problem
from domain import refusals


class _IdConverter(BaseConverter):
    """`<id(vch):voucher_id>`: what begins like an id; whether it is one, the view finds out."""

    def __init__(self, map: Map, prefix: str) -> None:
        super().__init__(map)
        self.regex = f"{prefix}_[^/]{{0,200}}"


blueprint = flask.Blueprint("api", __name__, url_prefix="/api/v1")
blueprint.record_once(lambda state: state.app.url_map.converters.update(id=_IdConverter))
# One count for all calls: whoever guesses does not get a fresh one at the next address.
limits.limiter.shared_limit(
    keys.UNKNOWN_KEYS, scope="unknown keys", deduct_when=keys.is_key_unknown, exempt_when=keys.is_key_known
)(blueprint)
_guesses = limits.limiter.shared_limit(
    keys.UNKNOWN_CODES,
    scope="unknown codes",
    key_func=keys.presented,
    deduct_when=keys.is_code_unknown,
    override_defaults=False,
)

# OPTIONS is not offered: tills are not browsers.
for _call in calls.CALLS:
    _view = keys.guard(_call.view, *_call.scopes)
    blueprint.add_url_rule(
        _call.rule,
        _call.name,
        _guesses(_view) if _call.takes_a_code else _view,
        methods=[_call.method],
        provide_automatic_options=False,
    )

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


# Flask runs the last one first, so that an answer which stands for a lost one is stamped as well.
blueprint.after_request(provocations.provoke)


def _answer(error: Exception, reference: str) -> BaseResponse:
    flask.g.request_id = reference
    return stamp(_problem(error).response())


def _problem(error: Exception) -> Problem:
    if isinstance(error, refusals.Refusal):
        return problems.of_refusal(error, **_display(error))
    if isinstance(error, HTTPException):
        return _of_http_error(error)
    if isinstance(error, _UNAVAILABLE):
        return Problem(
            "temporarily_unavailable", "The database cannot be reached just now. Send the same request again."
        )
    return Problem(
        "internal_error",
        "The request id leads us to the cause. Whether it was booked, the same request tells when it is sent again.",
    )


def _display(refusal: refusals.Refusal) -> dict[str, object]:
    display = wording.of_code(refusal.code)
    return {"display": display} if display is not None else {}


def _of_http_error(error: HTTPException) -> Problem:
    status = error.code or 500
    code = _CODE_OF_STATUS.get(status, "malformed_request" if 400 <= status < 500 else "internal_error")
    given = dict(error.get_headers())
    kept = {name: given[name] for name in _KEPT_HEADERS if name in given}
    return Problem(code, problems.KINDS[code].advice, headers=kept)
