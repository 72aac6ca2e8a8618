"""The contract as OpenAPI 3.1, made from the table of calls and the schemas that really read and answer. Pure.

The same calls always give the same document.
"""

from collections.abc import Iterable
from typing import Any

import pydantic

from blueprints.api import answers, examples, problems, schemas
from blueprints.api.calls import CALLS, Call
from blueprints.api.operations import HEADER, REPLAY_HEADER
from domain.api_keys import Scope

VERSION = "1.0.0"
TAGS = {
    "tills": "What a till needs: look at a voucher, ask what it pays, redeem, and take a redemption back.",
    "holds": "Set money aside while a guest sits, and take what the bill came to.",
    "vouchers": "What the office needs: make vouchers, list and change them, give money back, correct a balance.",
    "transactions": "Every change of every balance, for the book-keeping.",
}
_ABOUT = (
    "Make, check and redeem gift vouchers. Amounts are integers in minor units, moments are RFC 3339 in UTC, fields"
    " that are not listed are refused. Errors are `application/problem+json` with a stable `code`. The guide stands at"
    " `/docs/api`."
)
_COMPONENTS = "#/components/schemas/"
_KEY_TEXT = "^[!-~]([ -~]{0,253}[!-~])?$"

# Call → (name of the link, call that it leads to, what is handed over): what can be done with an answer.
_ID, _SENT_KEY = "$response.body#/id", f"$request.header.{HEADER}"
_HELD, _BOOKED_ON = "$response.body#/hold/id", "$response.body#/transaction/voucher_id"
LINKS: dict[str, tuple[tuple[str, dict[str, str], dict[str, str]], ...]] = {
    "lookup": (("redeem_by_id", {"voucher_id": _ID}, {}), ("read_voucher", {"voucher_id": _ID}, {})),
    "create_voucher": (
        ("read_voucher", {"voucher_id": _ID}, {}),
        ("change_voucher", {"voucher_id": _ID}, {}),
        ("adjust", {"voucher_id": _ID}, {}),
        ("redeem_by_id", {"voucher_id": _ID}, {}),
        ("list_voucher_transactions", {"voucher_id": _ID}, {}),
        ("validate", {}, {"code": "$response.body#/code"}),
        ("redeem", {}, {"code": "$response.body#/code"}),
        ("hold", {}, {"code": "$response.body#/code"}),
    ),
    **dict.fromkeys(
        ("redeem", "redeem_by_id"),
        (
            ("refund", {"voucher_id": _BOOKED_ON}, {"transaction_id": "$response.body#/transaction/id"}),
            ("reverse", {}, {"idempotency_key": _SENT_KEY}),
            ("story", {"idempotency_key": _SENT_KEY}, {}),
        ),
    ),
    "hold": tuple((name, {"hold_id": _HELD}, {}) for name in ("read_hold", "capture", "extend", "release")),
    "capture": (("reverse", {}, {"idempotency_key": _SENT_KEY}), ("story", {"idempotency_key": _SENT_KEY}, {})),
}


def document(*, server: str) -> dict[str, Any]:
    """The whole description; `server` is the address that every path is appended to."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Vouchsafe API", "version": VERSION, "summary": "Vouchers for tills", "description": _ABOUT},
        "servers": [{"url": server}],
        "security": [{"api_key": []}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": _paths(),
        "components": {
            "schemas": dict(sorted(_schemas().items())),
            "headers": _HEADERS,
            "examples": {code: {"value": examples.problem(code)} for code in problems.KINDS},
            "securitySchemes": {"api_key": _SECURITY},
        },
        "externalDocs": {"url": "/docs/api", "description": "The guide"},
    }


def parameters_of(call: Call) -> list[dict[str, Any]]:
    """What is sent beside the body: ids in the path, filters in the query, the Idempotency-Key."""
    path = [_parameter(name, "path", schema) for name, schema in _IDS.items() if f"{{{name}}}" in call.path]
    query = _query(call.takes) if call.method == "GET" and call.takes else []
    return [*path, *query, *([_IDEMPOTENCY] if call.needs_idempotency_key else [])]


def fields_of(schema: type[pydantic.BaseModel]) -> dict[str, Any]:
    """The JSON schema of one request or answer, its parts by reference."""
    fields: dict[str, Any] = _tidy(_raw(schema), is_top=True)
    return fields


def _paths() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for call in CALLS:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call)
    return paths


def _operation(call: Call) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": call.name,
        "tags": [call.topic],
        "summary": call.summary,
        "description": call.description,
        "security": [{"api_key": [str(scope)]} for scope in call.scopes],
        "parameters": parameters_of(call),
        "responses": {str(call.status): _success(call), **_failures(call)},
    }
    if call.method != "GET" and call.takes is not None:
        content = {"schema": _ref(_request_name(call.takes)), "examples": _example(examples.REQUESTS[call.name])}
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    return {name: value for name, value in operation.items() if value}


def _success(call: Call) -> dict[str, Any]:
    content = {"schema": _ref(call.gives.__name__), "examples": _example(examples.ANSWERS[call.name])}
    can_replay = call.needs_idempotency_key or call.name == "reverse"
    return {
        "description": (call.gives.__doc__ or "").strip(),
        "headers": _headers("X-Request-Id", *([REPLAY_HEADER] if can_replay else [])),
        "content": {"application/json": content},
        **({"links": dict(_link(*link) for link in LINKS[call.name])} if call.name in LINKS else {}),
    }


def _failures(call: Call) -> dict[str, Any]:
    grouped: dict[int, list[str]] = {}
    for code in call.codes:
        grouped.setdefault(problems.KINDS[code].status, []).append(code)
    return {str(status): _failure(call, codes) for status, codes in sorted(grouped.items())}


def _failure(call: Call, codes: list[str]) -> dict[str, Any]:
    names = ["X-Request-Id"]
    names += ["WWW-Authenticate"] if {"invalid_api_key", "insufficient_scope"} & set(codes) else []
    names += ["Retry-After"] if problems.RETRY_AFTER_SECONDS.keys() & set(codes) else []
    names += [REPLAY_HEADER] if call.needs_idempotency_key and {404, 409, 422} & _statuses(codes) else []
    narrowed = {"properties": {"code": {"enum": codes}}}
    return {
        "description": " · ".join(f"`{code}`: {problems.KINDS[code].title}." for code in codes),
        "headers": _headers(*names),
        "content": {
            problems.MEDIA_TYPE: {
                "schema": {"allOf": [_ref("Problem"), narrowed]},
                "examples": {code: {"$ref": f"#/components/examples/{code}"} for code in codes},
            }
        },
    }


def _statuses(codes: Iterable[str]) -> set[int]:
    return {problems.KINDS[code].status for code in codes}


def _link(name: str, parameters: dict[str, str], body: dict[str, str]) -> tuple[str, dict[str, Any]]:
    link = {"operationId": name, "parameters": parameters, "requestBody": body}
    return name, {key: value for key, value in link.items() if value}


def _schemas() -> dict[str, Any]:
    found: dict[str, Any] = {"Currency": _CURRENCY, "ProblemCode": {"type": "string", "enum": list(problems.KINDS)}}
    for schema in dict.fromkeys(call.takes for call in CALLS if call.takes and call.method != "GET"):
        found[_request_name(schema)] = fields_of(schema)
    given: list[type[pydantic.BaseModel]] = [*(call.gives for call in CALLS), answers.Problem]
    for model in dict.fromkeys(given):
        raw = _raw(model)
        parts = raw.pop("$defs", {}) | {model.__name__: raw}
        found |= {name: _tidy(part, is_top=True) for name, part in parts.items()}
    found["Problem"]["properties"]["code"] = _ref("ProblemCode")
    return found


def _request_name(schema: type[schemas.Request]) -> str:
    # A redemption is something else when it is sent than when it is answered.
    return f"{schema.__name__}Request"


def _query(schema: type[schemas.Request]) -> list[dict[str, Any]]:
    whole = fields_of(schema)
    needed = whole.get("required", ())
    return [_parameter(name, "query", part, is_required=name in needed) for name, part in whole["properties"].items()]


def _parameter(name: str, place: str, schema: dict[str, Any], *, is_required: bool = True) -> dict[str, Any]:
    schema = _without_null(schema)
    described = {"description": schema["description"]} if "description" in schema else {}
    kept = {key: value for key, value in schema.items() if key != "description"}
    return {"name": name, "in": place, "required": is_required, **described, "schema": kept}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query has no null: a filter is sent or left out."""
    kept = {key: value for key, value in schema.items() if key != "default" or value is not None}
    if "anyOf" in kept:
        return next(part for part in kept.pop("anyOf") if part != {"type": "null"}) | kept
    if isinstance(kept.get("type"), list):
        kept["type"] = kept["type"][0]
    if "enum" in kept:
        kept["enum"] = [value for value in kept["enum"] if value is not None]
    return kept


def _raw(model: type[pydantic.BaseModel]) -> dict[str, Any]:
    return pydantic.TypeAdapter(model).json_schema(ref_template=_COMPONENTS + "{model}")


def _tidy(schema: Any, *, is_top: bool = False) -> Any:
    """What pydantic writes, in the words of OpenAPI: no titles made of names, and `T or null` as one type."""
    if isinstance(schema, list):
        return [_tidy(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("title") == "Currency" and "enum" in schema:
        return _ref("Currency") | {"description": schema["description"]}
    tidy = {_WORDS.get(key, key): _tidy_member(key, value) for key, value in schema.items() if key not in _NOISE}
    return tidy if is_top else _nullable(tidy)


def _tidy_member(key: str, value: Any) -> Any:
    if key in ("enum", "const", "default", "examples"):
        return value
    return {name: _tidy(part) for name, part in value.items()} if key == "properties" else _tidy(value)


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    null = {"type": "null"}
    other = [part for part in schema.get("anyOf", ()) if part != null]
    if len(other) != 1 or "type" not in other[0]:
        return schema
    kept = {key: value for key, value in schema.items() if key != "anyOf"}
    only: dict[str, Any] = other[0]
    enum = {"enum": [*only["enum"], None]} if "enum" in only else {}
    return only | {"type": [only["type"], "null"]} | enum | kept


def _ref(name: str) -> dict[str, str]:
    return {"$ref": _COMPONENTS + name}


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _example(value: dict[str, Any]) -> dict[str, Any]:
    return {"usual": {"value": value}}


# pydantic hides the bounds of a number behind a validator of ours under its own words.
_WORDS: dict[Any, str] = {"ge": "minimum", "le": "maximum"}
_NOISE = ("title", "$defs")
_CURRENCY = {key: value for key, value in _raw(schemas.Validation)["properties"]["currency"].items() if key != "title"}
_IDS = {
    "voucher_id": {"type": "string", "pattern": "^vch_[0-9a-f]{32}$", "description": "The voucher's id, not its code."},
    "hold_id": {"type": "string", "pattern": "^hld_[0-9a-f]{32}$", "description": "As the hold was answered with."},
}
_IDEMPOTENCY = {
    "name": HEADER,
    "in": "header",
    "required": True,
    "description": "1 to 255 printable ASCII characters, fresh for each operation and the same for each retry of it. "
    "The answer is kept with it for ever.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": _KEY_TEXT},
    "example": examples.KEY,
}
_HEADERS = {
    "X-Request-Id": {
        "description": "What to tell us when something went wrong.",
        "required": True,
        "schema": {"type": "string"},
    },
    REPLAY_HEADER: {
        "description": "`true` when this is the stored answer of an earlier call with the same key.",
        "schema": {"type": "string", "const": "true"},
    },
    "Retry-After": {"description": "Seconds to wait before the same request.", "schema": {"type": "integer"}},
    "WWW-Authenticate": {"description": "RFC 6750: what is wrong with the key.", "schema": {"type": "string"}},
}
_SECURITY = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "gv_test_… or gv_live_…",
    "description": "An API key of the merchant, never in an address. The roles of a call are scopes: one is enough. "
    + ", ".join(f"`{scope}`" for scope in Scope),
}
