"""The part of Stripe's REST API that a shop with Checkout needs, at `/v1`, for the real SDK."""

import hashlib
import time
from collections.abc import Callable
from fnmatch import fnmatchcase
from hmac import compare_digest
from typing import Any, TypeAlias

import stripe
from flask import Blueprint, Response, g, request

from gateways.stripe_twin import engine, objects, till, wire
from gateways.stripe_twin.faults import Fault
from gateways.stripe_twin.store import Book, Kept
from gateways.stripe_twin.wire import Json, WireError

api = Blueprint("api", __name__, url_prefix="/v1")

Verb: TypeAlias = Callable[[Book, Json, str], Json]
_NOUNS = {"payment_intents": "payment_intent", "charges": "charge", "refunds": "refund", "events": "event"}
_RETRIEVE_PARAMS = {
    "payment_intents": stripe.params.PaymentIntentRetrieveParams,
    "charges": stripe.params.ChargeRetrieveParams,
    "refunds": stripe.params.RefundRetrieveParams,
    "events": stripe.params.EventRetrieveParams,
}


@api.before_request
def check_key() -> None:
    """Every call carries the one secret key; two faults answer before anything is done."""
    g.request_id = wire.new_id("req_", length=14)
    with engine.current().store.begin() as book:
        is_down, is_limited = book.use_fault(Fault.DOWN), book.use_fault(Fault.RATE_LIMIT)
    if is_down:
        raise WireError("The twin is switched off.", status=503, kind="api_error")
    if is_limited:
        raise WireError("Too many requests.", status=429, kind="rate_limit_error", code="rate_limit")
    given = request.authorization.token if request.authorization else None
    if not given or not compare_digest(given.encode(), engine.current().secret_key.encode()):
        raise WireError("Invalid API Key provided.", status=401, code="api_key_invalid")


@api.after_request
def name_request(response: Response) -> Response:
    """The headers that every answer of Stripe's has."""
    response.headers["Request-Id"] = g.get("request_id", "")
    response.headers["Stripe-Version"] = wire.API_VERSION
    response.headers["Cache-Control"] = "no-store"
    return response


@api.post("/checkout/sessions")
def open_session() -> Response:
    """A new Checkout Session."""
    return _do(stripe.params.checkout.SessionCreateParams, _open_session)


@api.get("/checkout/sessions")
def list_sessions() -> Response:
    """Sessions, newest first, a page at a time."""
    return _do(stripe.params.checkout.SessionListParams, _list_sessions)


@api.get("/checkout/sessions/<session_id>")
def show_session(session_id: str) -> Response:
    """One session as it is now."""
    return _do(
        stripe.params.checkout.SessionRetrieveParams,
        lambda book, _params, account: till.find_session(book, session_id, account=account).body,
    )


@api.get("/checkout/sessions/<session_id>/line_items")
def list_lines(session_id: str) -> Response:
    """The lines of a session."""

    def verb(book: Book, params: Json, account: str) -> Json:
        lines = till.find_session(book, session_id, account=account).aside["lines"]
        return _page(lines, params)

    return _do(stripe.params.checkout.SessionListLineItemsParams, verb)


@api.post("/checkout/sessions/<session_id>/expire")
def expire_session(session_id: str) -> Response:
    """Close an open session."""

    def verb(book: Book, _params: Json, account: str) -> Json:
        return till.expire(book, till.find_session(book, session_id, account=account)).body

    return _do(stripe.params.checkout.SessionExpireParams, verb)


@api.post("/refunds")
def open_refund() -> Response:
    """Give money back, all or part."""
    verb: Verb = lambda book, params, account: till.refund(book, params, account=account).body  # noqa: E731
    return _do(stripe.params.RefundCreateParams, verb)


@api.get("/refunds")
def list_refunds() -> Response:
    """Refunds, newest first."""
    return _do(stripe.params.RefundListParams, _list_refunds)


@api.get("/events")
def list_events() -> Response:
    """Everything that happened, also what was never sent."""
    return _do(stripe.params.EventListParams, _list_events)


@api.get("/<any(payment_intents, charges, refunds, events):plural>/<object_id>")
def show_object(plural: str, object_id: str) -> Response:
    """One object by its id."""

    def verb(book: Book, _params: Json, account: str) -> Json:
        kept = book.find(object_id, account=account)
        if kept is None or kept.body["object"] != _NOUNS[plural]:
            raise wire.no_such(_NOUNS[plural], object_id)
        return kept.body

    return _do(_RETRIEVE_PARAMS[plural], verb)


@api.route("/<path:unknown>", methods=["GET", "POST", "DELETE"])
def unknown_address(unknown: str) -> Response:
    """What the twin does not know."""
    text = f"Unrecognized request URL ({request.method}: /v1/{unknown[:100]})."
    raise WireError(text, status=404, code="url_unknown")


def _do(params_type: Any, verb: Verb) -> Response:
    """Run a verb in one transaction, answer its replay when its idempotency key was used before."""
    pairs = request.form if request.method == "POST" else request.args
    params = wire.check(params_type, wire.decode_form(pairs.items(multi=True)))
    account = request.headers.get("Stripe-Account", "")
    with engine.current().store.begin() as book:
        status, body, is_replay = _answer_once(book, verb, params, account=account)
        pause = book.use_fault(Fault.SLOW)
    if pause:
        time.sleep(pause)
    response = Response(body, status=status, content_type="application/json")
    if is_replay:
        response.headers["Idempotent-Replayed"] = "true"
    return response


def _answer_once(book: Book, verb: Verb, params: Json, *, account: str) -> tuple[int, str, bool]:
    key = request.headers.get("Idempotency-Key", "") if request.method == "POST" else ""
    fingerprint = hashlib.sha256(f"{request.path}\n{wire.dump(params)}".encode()).hexdigest()
    seen = book.answered(key, account=account) if key else None
    if seen is not None:
        return _replay(seen, fingerprint)
    answer = _expanded(book, verb(book, params, account), params.get("expand", []))
    status, body = _spoilt(book, answer)
    if key:
        book.remember(key, account=account, fingerprint=fingerprint, status=status, body=body)
    return status, body, False


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
    found = answer["data"] if answer["object"] == "list" else [answer]
    return any(one["object"] == "checkout.session" for one in found)


def _open_session(book: Book, params: Json, account: str) -> Json:
    public_url = engine.current().public_url
    return till.open_session(book, params, account=account, public_url=public_url).body


def _list_sessions(book: Book, params: Json, account: str) -> Json:
    email = params.get("customer_details", {}).get("email")
    found = [
        kept.body
        for kept in till.all_sessions(book, account=account)
        if _agrees(kept.body, params, "status", "payment_intent", "customer") and email in (None, _email(kept))
    ]
    return _page(found, params)


def _email(kept: Kept) -> str | None:
    email: str | None = kept.body["customer_email"]
    return email


def _list_refunds(book: Book, params: Json, account: str) -> Json:
    found = [kept.body for kept in book.all("refund", account=account)]
    return _page([body for body in found if _agrees(body, params, "charge", "payment_intent")], params)


def _list_events(book: Book, params: Json, account: str) -> Json:
    patterns = [params["type"]] if "type" in params else params.get("types", ["*"])
    found = [
        kept.body
        for kept in book.all("event", account=account)
        if any(fnmatchcase(kept.body["type"], pattern) for pattern in patterns)
        and params.get("delivery_success") in (None, book.delivery_state(kept.id) in ("delivered", "unsubscribed"))
    ]
    return _page(found, params)


def _agrees(body: Json, params: Json, *names: str) -> bool:
    return all(body[name] == params[name] for name in names if name in params)


def _page(found: list[Json], params: Json) -> Json:
    limit = params.get("limit", 10)
    if not 1 <= limit <= 100:
        raise WireError("This value must be between 1 and 100.", code="parameter_invalid_integer", param="limit")
    found = [body for body in found if _is_created(body, params.get("created", {}))]
    if "ending_before" in params:
        before = found[: _place(found, params["ending_before"])]
        return objects.page(before[-limit:], url=request.path, has_more=len(before) > limit)
    after = found[_place(found, params["starting_after"]) + 1 :] if "starting_after" in params else found
    return objects.page(after[:limit], url=request.path, has_more=len(after) > limit)


def _place(found: list[Json], object_id: str) -> int:
    for place, body in enumerate(found):
        if body["id"] == object_id:
            return place
    raise wire.no_such("object", object_id)


def _is_created(body: Json, when: Json | int) -> bool:
    if isinstance(when, int):
        return bool(body["created"] == when)
    moment, far = body.get("created", 0), 1 << 62
    is_early_enough = moment < when.get("lt", far) and moment <= when.get("lte", far)
    return bool(is_early_enough and moment > when.get("gt", -1) and moment >= when.get("gte", 0))


def _expanded(book: Book, answer: Json, paths: list[str]) -> Json:
    for path in paths:
        parts = path.split(".")
        if answer["object"] == "list":
            if parts.pop(0) != "data":
                raise _not_expandable(path)
            answer["data"] = [_expand(book, body, parts, path) for body in answer["data"]]
        else:
            answer = _expand(book, answer, parts, path)
    return answer


def _expand(book: Book, body: Json, parts: list[str], path: str) -> Json:
    if not parts or (parts[0] not in body and parts[0] != "line_items"):
        raise _not_expandable(path)
    name, below = parts[0], body.get(parts[0])
    if name == "line_items":
        kept = book.find(body["id"])
        url = f"/v1/checkout/sessions/{body['id']}/line_items"
        return {**body, name: objects.page(kept.aside["lines"] if kept else [], url=url, has_more=False)}
    if isinstance(below, str):
        kept = book.find(below)
        if kept is None:
            raise _not_expandable(path)
        below = kept.body
    return {**body, name: _expand(book, below, parts[1:], path) if below and parts[1:] else below}


def _not_expandable(path: str) -> WireError:
    return WireError(f"This property cannot be expanded ({path[:100]}).", param="expand")
