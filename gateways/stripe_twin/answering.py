"""How every call is answered: the key, the faults, the account, the idempotency key, the form of the answer.

What goes wrong on purpose goes wrong here, around work that is always done right.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from hmac import compare_digest
from typing import Any, TypeAlias

from flask import Blueprint, Response, g, request

from gateways.stripe_twin import connect, engine, listing, shapes, wire
from gateways.stripe_twin.book import Book
from gateways.stripe_twin.faults import Fault
from gateways.stripe_twin.wire import Json, WireError

# Takes the transaction, the checked parameters and the account that the call speaks for ("": the platform itself).
Verb: TypeAlias = Callable[[Book, Json, str], Json]
# Where a server that writes `Date` itself finds how far Stripe's clock is ahead of ours.
SECONDS_AHEAD = "stripe_twin.seconds_ahead"
_FORM, _JSON = "application/x-www-form-urlencoded", "application/json"


def guard(calls: Blueprint) -> None:
    """Let every call of a blueprint through the same door, and out by the same."""
    calls.before_request(_check_call)
    calls.after_request(_name_request)


def form(params_type: Any, verb: Verb) -> Response:
    """Answer a call of the API's first version, whose parameters come as a form."""
    if request.method == "POST":
        _require_type(_FORM)
    pairs = request.form if request.method == "POST" else request.args
    return _answer(wire.check(params_type, wire.decode_form(pairs.items(multi=True))), verb)


def json(params_type: Any, verb: Verb) -> Response:
    """Answer a call of the API's second version, whose parameters come as JSON, or in the address."""
    if request.method == "GET":
        return _answer(wire.check(params_type, wire.decode_form(request.args.items(multi=True))), verb)
    _require_type(_JSON)
    return _answer(wire.check(params_type, wire.decode_json(request.get_data())), verb)


def account() -> str:
    """The account that this call speaks for."""
    header = request.headers.get("Stripe-Account") or request.headers.get("Stripe-Context", "")
    return header.rpartition("/")[2]


def _check_call() -> None:
    g.request_id = wire.new_id("req_", length=14)
    with engine.current().store.begin() as book:
        trouble, barred = _trouble(book), connect.barred(book, account())
        request.environ[SECONDS_AHEAD] = book.use_fault(Fault.CLOCK) or 0
    if trouble is not None:
        raise trouble
    given = request.authorization.token if request.authorization else None
    if not given or not compare_digest(given.encode(), engine.current().secret_key.encode()):
        raise WireError("Invalid API Key provided.", status=401, code="api_key_invalid")
    if barred is not None:
        raise barred


def _trouble(book: Book) -> WireError | None:
    if book.use_fault(Fault.DOWN):
        return WireError("The twin is switched off.", status=503, kind="api_error")
    if seconds := book.use_fault(Fault.RATE_LIMIT):
        wait = {"Retry-After": str(int(seconds))}
        return WireError("Too many requests.", status=429, kind="rate_limit_error", code="rate_limit", headers=wait)
    if status := book.use_fault(Fault.ERROR_BEFORE_WORK):
        return WireError("Nothing was done.", status=500 if status is True else status, kind="api_error")
    return None


def _name_request(response: Response) -> Response:
    response.headers["Request-Id"] = g.get("request_id", "")
    response.headers["Stripe-Version"] = wire.API_VERSION
    response.headers["Cache-Control"] = "no-store"
    return response


def _require_type(wanted: str) -> None:
    if request.mimetype not in (wanted, "") and request.content_length:
        raise WireError(f"Invalid request (check that your POST content type is {wanted}).", status=400)


def _answer(params: Json, verb: Verb) -> Response:
    with engine.current().store.begin() as book:
        status, body, is_replay = _answer_once(book, verb, params)
        pause = book.use_fault(Fault.SLOW)
        cut = book.use_fault(Fault.CUT) if request.method == "POST" else None
    if pause:
        time.sleep(pause)
    response = Response(_cut_off(body, cut) if cut else body, status=status, content_type=_JSON)
    if cut:
        response.content_length = len(body.encode())
    if is_replay:
        response.headers["Idempotent-Replayed"] = "true"
    return response


def _answer_once(book: Book, verb: Verb, params: Json) -> tuple[int, str, bool]:
    key, speaker = _idempotency_key(), account()
    fingerprint = hashlib.sha256(f"{request.path}\n{wire.dump(params)}".encode()).hexdigest()
    seen = book.answered(key, account=speaker) if key else None
    if seen is not None:
        return _replay(seen, fingerprint)
    status, body = _work(book, verb, params, speaker)
    if key:
        book.remember(key, account=speaker, fingerprint=fingerprint, status=status, body=body)
    return status, body, False


def _idempotency_key() -> str:
    return request.headers.get("Idempotency-Key", "") if request.method == "POST" else ""


def _work(book: Book, verb: Verb, params: Json, speaker: str) -> tuple[int, str]:
    try:
        answer = verb(book, params, speaker)
    except WireError as error:
        if not error.is_final:
            raise
        return error.status, wire.dump(error.body)
    return _spoilt(book, shapes.check(listing.expanded(book, answer, params.get("expand", []))))


def _replay(seen: tuple[str, int, str], fingerprint: str) -> tuple[int, str, bool]:
    if seen[0] != fingerprint:
        raise WireError(
            "Keys for idempotent requests can only be used with the same parameters they were first used with.",
            kind="idempotency_error",
        )
    return seen[1], seen[2], True


def _spoilt(book: Book, answer: Json) -> tuple[int, str]:
    if request.method == "POST" and book.use_fault(Fault.ERROR_AFTER_WORK):
        return 500, wire.dump(WireError("An unknown error occurred.", kind="api_error").body)
    if _is_about_sessions(answer) and (changes := book.use_fault(Fault.MISMATCH)):
        changed = [one | changes for one in answer.get("data", [answer])]
        answer = {**answer, "data": changed} if answer["object"] == "list" else changed[0]
    return 200, wire.dump(answer)


def _is_about_sessions(answer: Json) -> bool:
    found = answer["data"] if answer.get("object") == "list" else [answer]
    return any(one.get("object") == "checkout.session" for one in found)


def _cut_off(body: str, how: str | bool) -> Iterator[bytes]:
    sent = body.encode()
    line = request.environ.get("werkzeug.socket")

    def pieces() -> Iterator[bytes]:
        if how == "halfway":
            yield sent[: len(sent) // 2]
        if line is not None:
            line.shutdown(2)  # both ways
        raise ConnectionAbortedError("cut on purpose")

    return pieces()
