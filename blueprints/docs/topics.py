"""What the documentation says beyond its prose: tables made from the very things that the API runs on."""

import json
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from blueprints.api import bodies, examples, keys, openapi, problems, schemas, wording
from blueprints.api.calls import CALLS, Call
from domain import api_keys, holds, money
from effects import test_codes


@dataclass(frozen=True)
class Topic:
    """One page: the last part of its address, and its name in the menu."""

    name: str
    title: str


GROUPS: dict[str, tuple[Topic, ...]] = {
    "Begin": (
        Topic("start", "First validate"),
        Topic("keys", "Keys and scopes"),
        Topic("testing", "Test and live"),
        Topic("money", "Money"),
        Topic("idempotency", "Idempotency"),
    ),
    "At the till": (
        Topic("validate", "Validate"),
        Topic("redeem", "Redeem"),
        Topic("reverse", "Reverse, ask what happened"),
        Topic("holds", "Holds for a restaurant bill"),
        Topic("checklist", "Till checklist"),
        Topic("conformance", "Conformance kit"),
    ),
    "In the office": (
        Topic("vouchers", "Vouchers, refunds, corrections"),
        Topic("transactions", "Transactions"),
    ),
    "Look up": (
        Topic("reference", "Every call"),
        Topic("errors", "Errors"),
        Topic("pagination", "Pagination"),
        Topic("limits", "Limits"),
        Topic("changelog", "Changelog"),
    ),
}
TOPICS: dict[str, Topic] = {topic.name: topic for group in GROUPS.values() for topic in group}

# What the till's screen says beside an error: the outcomes of `wording` that a code can have.
SENTENCES_OF: dict[str, tuple[str, ...]] = {
    "voucher_inactive": ("voucher_pending", "voucher_suspended", "voucher_cancelled"),
    "voucher_depleted": ("voucher_depleted", "voucher_emptied", "voucher_held"),
    "insufficient_balance": ("insufficient_balance", "hold_too_small"),
}
_FACTS: dict[str, dict[str, str]] = {
    "de": {
        "balance": "20,00 €", "available": "20,00 €", "held": "30,00 €", "refundable": "15,00 €", "currency": "CHF",
        "valid_from": "01.12.2026", "expires_on": "31.12.2025", "used_on": "14.02.2026", "used_at": "19:42",
    },
    "en": {
        "balance": "€20.00", "available": "€20.00", "held": "€30.00", "refundable": "€15.00", "currency": "CHF",
        "valid_from": "1 Dec 2026", "expires_on": "31 Dec 2025", "used_on": "14 Feb 2026", "used_at": "19:42",
    },
}  # fmt: skip

# How to see each error with a test key.
PROVOKE: dict[str, str] = {
    "malformed_request": "Send `{` as the body.",
    "invalid_api_key": "Leave the header `Authorization` out.",
    "insufficient_scope": "`POST /vouchers` with a till's key.",
    "not_found": "`GET /vouchers/x`",
    "voucher_not_found": "Redeem the code `0000-0000-0000-0000`.",
    "method_not_allowed": "`GET /vouchers/redeem`",
    "hold_not_found": "Read a hold with an id of your own making.",
    "insufficient_balance": "Redeem 6000 of `TEST-VALID-5000` with `mode` `exact`.",
    "request_in_progress": "Send one redemption twice at the same moment; mostly the second one just waits.",
    "hold_expired": "Hold with `ttl_seconds` 1, wait two seconds, capture.",
    "hold_closed": "Release a hold, then capture it.",
    "already_reversed": "Reverse a key that was never sent, then redeem with it.",
    "transition_not_allowed": "Cancel a voucher, then set it to `active`.",
    "code_taken": "Create two vouchers with the same `code`.",
    "body_too_large": "Send a body above 64 KiB.",
    "unsupported_media_type": "Send `Content-Type: text/plain`.",
    "validation_failed": 'Send `"amount_minor": "30.00"`.',
    "voucher_inactive": "Redeem `TEST-BLOCKED-5000`, `TEST-PENDING-5000` or `TEST-CANCELLED-5000`.",
    "voucher_not_started": "Redeem `TEST-NOTYET-5000`.",
    "voucher_expired": "Redeem `TEST-EXPIRED-5000`.",
    "voucher_depleted": "Redeem `TEST-USEDUP-5000`.",
    "currency_mismatch": "Redeem `TEST-FOREIGN-5000` with a bill in EUR.",
    "voucher_not_transferable": "Redeem `TEST-PERSONAL-5000`.",
    "refund_exceeds_redemption": "Refund 5001 of a redemption of 5000.",
    "idempotency_conflict": "Send another amount with a key that was used.",
    "rate_limited": f"Ask for {keys.UNKNOWN_CODES.split()[0]} codes that nobody has.",
    "internal_error": "You cannot; should you see one, tell us its `request_id`.",
    "temporarily_unavailable": "Redeem `TEST-ERROR-5000`.",
}
_PAIR = re.compile(r'\{\s+("\w+": "\w+"),\s+("\w+": "\w+")\s+\}')
SAFE_TO_REPEAT = frozenset(problems.RETRY_AFTER_SECONDS) | {"internal_error"}

_USED_FOR = {
    "pos:validate": "a till: look up, validate",
    "pos:redeem": "a till: redeem, hold, reverse, ask what happened",
    "marketing:read": "the office: read everything; look up and validate",
    "marketing:write": "the office: make and change vouchers, refund, adjust; redeem",
}


def facts() -> dict[str, Any]:
    """Everything that the texts may name."""
    return {
        "calls": CALLS,
        "tags": openapi.TAGS,
        "errors": [_error(code) for code in problems.KINDS],
        "field_codes": schemas.FIELD_CODES,
        "scopes": [(str(scope), _USED_FOR[scope], calls_with(scope)) for scope in api_keys.Scope],
        "test_codes": [(str(kind), meaning) for kind, meaning in test_codes.MEANINGS.items()],
        "examples": examples,
        "parameters_of": openapi.parameters_of,
        "fields": fields,
        "as_json": as_json,
        "sentence": sentence,
        "limits": limits(),
    }


def limits() -> dict[str, object]:
    """Every limit by the name that the texts use."""
    return {
        "body_kib": bodies.SIZE_LIMIT // 1024,
        "depth": bodies.DEPTH_LIMIT,
        "code": schemas.CODE_LIMIT,
        "line": schemas.TEXT_LIMIT,
        "reason": schemas.REASON_LIMIT,
        "metadata": schemas.METADATA_LIMIT,
        "page": schemas.PAGE_LIMIT,
        "max_minor": money.MAX_MINOR,
        "usual_hold": _seconds(holds.USUAL_LIFE),
        "longest_hold": _seconds(holds.LONGEST_LIFE),
        "unknown_codes": keys.UNKNOWN_CODES,
        "unknown_keys": keys.UNKNOWN_KEYS,
        "test_codes": test_codes.MOST_IN_A_DAY,
        "overlap_hours": int(api_keys.ROLL_OVERLAP.total_seconds() // 3600),
    }


def calls_with(scope: api_keys.Scope) -> list[Call]:
    """What a key with this scope alone may call."""
    return [call for call in CALLS if scope in call.scopes]


def fields(call: Call) -> list[tuple[str, str, bool, str]]:
    """Name, type, whether it must be sent, and meaning of each field of the body."""
    if call.takes is None or call.method == "GET":
        return []
    schema = openapi.fields_of(call.takes)
    needed, parts = schema.get("required", ()), schema["properties"]
    return [(name, kind_of(part), name in needed, part.get("description", "")) for name, part in parts.items()]


def kind_of(schema: dict[str, Any]) -> str:
    """The type of a field in a few words."""
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2].lower()
    kinds = schema.get("type", "")
    kind = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"] if value is not None)
    return "moment" + kind.removeprefix("string") if schema.get("format") == "date-time" else kind


def as_json(value: object) -> str:
    """`value` as it is shown: an object of two short members stays on one line."""
    return _PAIR.sub(r"{\1, \2}", json.dumps(value, indent=2, ensure_ascii=False))


def sentence(outcome: str, language: str) -> str:
    """The sentence of an outcome with the facts of an example."""
    return wording.SENTENCES[outcome][language].format_map(_FACTS[language])


def _error(code: str) -> dict[str, Any]:
    kind = problems.KINDS[code]
    outcomes = SENTENCES_OF.get(code, (code,) if code in wording.SENTENCES else ())
    return {
        "code": code,
        "status": kind.status,
        "title": kind.title,
        "advice": kind.advice,
        "shows": [(sentence(outcome, "de"), sentence(outcome, "en")) for outcome in outcomes],
        "is_safe_to_repeat": code in SAFE_TO_REPEAT,
        "provoke": PROVOKE[code],
        "further": sorted(examples.FURTHER.get(code, {})),
    }


def _seconds(life: timedelta) -> int:
    return int(life.total_seconds())
