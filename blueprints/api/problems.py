"""Errors of the API as RFC 9457 `application/problem+json`: one closed set of codes, one shape."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import flask

from blueprints import errors as error_pages
from domain import refusals

MEDIA_TYPE = "application/problem+json"
TYPE_BASE = "/docs/api/errors#"


@dataclass(frozen=True)
class Kind:
    """HTTP status, title, and what the caller's programmer should do."""

    status: int
    title: str
    advice: str


_FIX = "Correct the request; sending it again unchanged fails again."
_SAME = "Send the same request with the same Idempotency-Key again after Retry-After seconds."
_SHOW = "Show `display` on the till's screen; do not repeat."

# Every code that the API can answer with. The documentation and OpenAPI are compared with this table.
KINDS: dict[str, Kind] = {
    "malformed_request": Kind(400, "The request cannot be read", _FIX),
    "invalid_api_key": Kind(401, "A valid API key is needed", "Send `Authorization: Bearer <key>`."),
    "insufficient_scope": Kind(403, "The API key lacks a scope", "Use a key that has the scope named in `detail`."),
    "not_found": Kind(404, "There is nothing at this address", "Check the path against the documentation."),
    "voucher_not_found": Kind(404, refusals.VoucherNotFound.title, _SHOW),
    "method_not_allowed": Kind(405, "This address does not take this method", "Use a method named in `Allow`."),
    "hold_not_found": Kind(404, refusals.HoldNotFound.title, "Use the id that the hold was answered with."),
    "insufficient_balance": Kind(409, refusals.InsufficientBalance.title, _SHOW),
    "request_in_progress": Kind(409, refusals.RequestInProgress.title, _SAME),
    "hold_expired": Kind(409, refusals.HoldExpired.title, "Nothing was booked. Redeem the voucher, or hold again."),
    "hold_closed": Kind(409, refusals.HoldClosed.title, "Read the hold; `state` says what became of it."),
    "already_reversed": Kind(409, refusals.AlreadyReversed.title, "Use a fresh Idempotency-Key to redeem once more."),
    "transition_not_allowed": Kind(409, refusals.TransitionNotAllowed.title, "Ask for a status of `allowed`."),
    "code_taken": Kind(409, refusals.CodeTaken.title, "Choose another code, or let us make one."),
    "body_too_large": Kind(413, "The request body is too large", _FIX),
    "unsupported_media_type": Kind(415, "The request body must be JSON", "Send `Content-Type: application/json`."),
    "validation_failed": Kind(422, refusals.FieldsRefused.title, "Correct the fields listed in `errors`."),
    "voucher_inactive": Kind(422, refusals.VoucherInactive.title, _SHOW),
    "voucher_not_started": Kind(422, refusals.VoucherNotStarted.title, _SHOW),
    "voucher_expired": Kind(422, refusals.VoucherExpired.title, _SHOW),
    "voucher_depleted": Kind(422, refusals.VoucherDepleted.title, _SHOW),
    "currency_mismatch": Kind(422, refusals.CurrencyMismatch.title, _SHOW),
    "voucher_not_transferable": Kind(422, refusals.VoucherNotTransferable.title, _SHOW),
    "refund_exceeds_redemption": Kind(
        422, refusals.RefundExceedsRedemption.title, "Refund at most `refundable_minor`."
    ),
    "idempotency_conflict": Kind(
        422, refusals.IdempotencyConflict.title, "Use a fresh Idempotency-Key for each new operation."
    ),
    "rate_limited": Kind(429, "Too many requests", _SAME),
    "internal_error": Kind(
        500,
        "Something went wrong on our side",
        "Send the same request with the same Idempotency-Key again; tell us the `request_id`.",
    ),
    "temporarily_unavailable": Kind(503, "The service cannot answer just now", _SAME),
}
CODES = frozenset(KINDS)
RETRY_AFTER_SECONDS = {"request_in_progress": 1, "temporarily_unavailable": 2, "rate_limited": 60}

# Codes of `validate`'s `error` field, in the order of the checks that find them.
VALIDATION_CODES = (
    "voucher_not_found",
    "voucher_inactive",
    "voucher_not_started",
    "voucher_expired",
    "voucher_depleted",
    "currency_mismatch",
    "voucher_not_transferable",
)


@dataclass(frozen=True)
class FieldProblem:
    """One field that was refused: its dotted path, a stable code and a sentence."""

    field: str
    code: str
    message: str


class Problem(Exception):
    """An error answer; raise it anywhere below the API. `code` is one of CODES, `extra` become further members."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
        **extra: object,
    ) -> None:
        super().__init__(detail)
        self.code, self.detail, self.errors, self.extra = code, detail, errors, extra
        self.headers = dict(headers or {})
        if code in RETRY_AFTER_SECONDS:
            self.headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS[code]))

    @property
    def status(self) -> int:
        return KINDS[self.code].status

    def body(self) -> str:
        """The answer as JSON text, stamped with this request's id."""
        members: dict[str, object] = {
            "type": TYPE_BASE + self.code,
            "title": KINDS[self.code].title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "request_id": request_id(),
            "errors": [vars(error) for error in self.errors],
        }
        return json.dumps(self.extra | members, ensure_ascii=False)

    def response(self) -> flask.Response:
        """The answer as it goes out."""
        return flask.Response(self.body(), status=self.status, content_type=MEDIA_TYPE, headers=self.headers)


def of_refusal(refusal: refusals.Refusal, **extra: object) -> Problem:
    """The problem behind a rule's no."""
    if isinstance(refusal, refusals.FieldsRefused):
        fields = [FieldProblem(field, code, message) for field, (code, message) in refusal.problems.items()]
        return Problem(refusal.code, refusal.detail, errors=fields)
    return Problem(refusal.code, refusal.detail, **(refusal.extra | extra))


def request_id() -> str:
    """This request's id: ours, never the caller's, so that a log line can be trusted."""
    return error_pages.reference()
