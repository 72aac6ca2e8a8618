"""One money operation over HTTP: the caller's Idempotency-Key, run once, answered or replayed."""

import json
import re
from collections.abc import Callable

import flask

from blueprints.api import keys, problems, schemas
from domain import idempotency
from effects.outside import here

HEADER = "Idempotency-Key"
REPLAY_HEADER = "Idempotent-Replayed"
_KEY = re.compile(r"[\x20-\x7e]{1,255}")


def idempotency_key() -> str:
    """The key that the caller sent; raises Problem 400 naming the header."""
    key = flask.request.headers.get(HEADER, "").strip(" ")
    if _KEY.fullmatch(key) is None:
        detail = f"Send the header {HEADER} with 1 to 255 printable ASCII characters, fresh for each new operation."
        raise problems.Problem("malformed_request", detail)
    return key


def once(body: schemas.Request, *, key: str, work: Callable[[], idempotency.Answer]) -> flask.Response:
    """The answer of `work`, or the one that the first call with this key got.

    Raises IdempotencyConflict and RequestInProgress (see domain/idempotency.py).
    """
    answer = idempotency.once(
        keys.current().merchant, key=key, route=_route(), fingerprints=_fingerprints(body), work=work
    )
    media_type = "application/json" if answer.status < 400 else problems.MEDIA_TYPE
    response = flask.Response(answer.body, status=answer.status, content_type=media_type)
    if answer.is_replay:
        response.headers[REPLAY_HEADER] = "true"
    return response


def _route() -> str:
    return f"{flask.request.method} {flask.request.url_rule}"


def _fingerprints(body: schemas.Request) -> tuple[str, ...]:
    # Only what was sent: a field that a later version adds must not turn an old key's replay into a conflict.
    sent = json.dumps(body.model_dump(exclude_unset=True), sort_keys=True, separators=(",", ":"))
    return here().vault.fingerprints(f"{flask.request.method} {flask.request.path}\n{sent}")
