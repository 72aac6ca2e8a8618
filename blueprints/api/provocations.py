"""What the test codes TEST-SLOW and TEST-ERROR do to an answer, after everything was booked as always."""

import threading
import time

import flask

import database
from blueprints.api import operations
from blueprints.api.problems import Problem
from effects.test_codes import Kind

SLOW_SECONDS = 5.0
# More callers than these are answered at once: a test must not take the process away from everybody else.
SLEEPERS = 2
_beds = threading.BoundedSemaphore(SLEEPERS)

_BOOKED = (
    "The test code TEST-ERROR loses the first answer. The call itself was booked: send the same request with the same "
    "Idempotency-Key again to hear it."
)
_UNBOOKED = "The test code TEST-ERROR never gets an answer here; nothing was to be booked."


def note(kind: Kind | None) -> None:
    """This request named a test code that provokes `kind`."""
    flask.g.provocation = kind


def provoke(response: flask.Response) -> flask.Response:
    """Lose or delay the answer of a request that asked for it; a refusal and a replay go out as they are."""
    is_replay = operations.REPLAY_HEADER in response.headers
    kind = flask.g.get("provocation")
    if kind is None or is_replay or response.status_code >= 400:
        return response
    if kind == Kind.ERROR:
        return Problem("temporarily_unavailable", _BOOKED if response.status_code == 201 else _UNBOOKED).response()
    if kind == Kind.SLOW:
        _dawdle()
    return response


def _dawdle() -> None:
    if not _beds.acquire(blocking=False):
        return
    try:
        # Everything is committed. Others need the connection more than somebody who sleeps.
        if flask.g.pop("is_connection_ours", False):
            database.db.close()
        time.sleep(SLOW_SECONDS)
    finally:
        _beds.release()
