"""What the calls take: one strict schema for each body and each query. A field that is not listed here is refused."""

import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

import flask
import pydantic
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import ErrorDetails, PydanticCustomError

from blueprints.api import bodies
from blueprints.api.problems import FieldProblem, Problem
from domain import money
from domain.holds import LONGEST_LIFE, USUAL_LIFE
from domain.states import EntryKind, ShownStatus, VoucherStatus, VoucherType

CODE_LIMIT = 200  # a scanned address of a voucher's page fits
OWN_CODE_LIMITS = (8, 64)
TEXT_LIMIT = 255
REASON_LIMIT = 500
METADATA_LIMIT = 20
METADATA_NAME_LIMIT = 40
PAGE_LIMIT = 100
_REPORTED_FIELDS = 20
_LONGEST_HOLD = int(LONGEST_LIFE.total_seconds())
# Years beyond these are typing errors, and leave no room for time zones.
_FIRST_YEAR, _LAST_YEAR = 1970, 2200

# Every code that `errors[].code` can have, with the sentence beside it.
FIELD_CODES: dict[str, str] = {
    "required": "This field is required.",
    "unknown_field": "This call has no such field.",
    "repeated": "Send this parameter once.",
    "not_an_integer": "Send a whole number, not a text, a fraction or true/false. Amounts are in minor units.",
    "zero": "Send any whole number of minor units but 0.",
    "too_small": "This number is too small; the documentation says from where it counts.",
    "too_large": "This number is too large; the documentation says up to where it counts.",
    "not_text": "Send a text.",
    "too_short": "This text is too short.",
    "too_long": "This text is too long.",
    "control_character": "Send one line without control characters.",
    "unknown_currency": "Send a currency of ISO 4217 in capitals, such as EUR.",
    "not_a_moment": "Send a moment of RFC 3339 with its offset, such as 2026-11-22T08:05:00Z, between 1970 and 2200.",
    "not_true_or_false": "Send true or false.",
    "not_an_object": "Send an object of names and texts.",
    "not_a_code": "Send letters and digits; spaces and dashes between them are ignored.",
    "not_a_cursor": "Send `next_cursor` of the page before, unchanged.",
    "not_allowed": "Send one of the values that the documentation lists.",
    "not_after_start": "A voucher ends after it starts.",
    "not_a_redemption": "Send the id of a redemption of this voucher.",
    "reserved": "Codes that begin with TEST- are kept for trying things out.",
    "invalid": "This value cannot be used.",
}
_CODE_OF_TYPE = {
    "missing": "required",
    "extra_forbidden": "unknown_field",
    "int_type": "not_an_integer",
    "greater_than": "too_small",
    "greater_than_equal": "too_small",
    "less_than": "too_large",
    "less_than_equal": "too_large",
    "string_type": "not_text",
    "string_too_short": "too_short",
    "string_too_long": "too_long",
    "too_long": "too_long",
    "bool_type": "not_true_or_false",
    "dict_type": "not_an_object",
    "literal_error": "not_allowed",
}
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_NUMBER = re.compile(r"-?\d{1,18}", re.ASCII)


def _known_currency(code: str) -> str:
    return code if code in money.CURRENCIES else _wrong("unknown_currency")


def _one_line(text: str) -> str:
    is_clean = all(unicodedata.category(character) not in ("Cc", "Zl", "Zp") for character in text)
    return text if is_clean else _wrong("control_character")


def _moment(value: object) -> object:
    if value is None or isinstance(value, datetime):
        return value
    if not isinstance(value, str) or _MOMENT.fullmatch(value) is None:
        return _wrong("not_a_moment")
    try:
        at = datetime.fromisoformat(value)
    except ValueError:  # 30 February
        return _wrong("not_a_moment")
    return at.astimezone(UTC) if _FIRST_YEAR < at.year < _LAST_YEAR else _wrong("not_a_moment")


def _not_zero(amount_minor: int) -> int:
    return amount_minor or _wrong("zero")


def _key_as_in_header(key: str) -> str:
    # HTTP drops the blanks around a header; a reversal that kept them would block a call that nobody sent.
    stripped = key.strip(" ")
    if not stripped:
        return str(_wrong("too_short"))
    return stripped if re.fullmatch(r"[\x20-\x7e]+", stripped) else str(_wrong("control_character"))


def _something(text: str) -> str:
    return text if text.strip() else _wrong("required")


def _number_of_query(value: object) -> object:
    return int(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else _wrong("not_an_integer")


def _truth_of_query(value: object) -> object:
    return {"true": True, "false": False}[value] if value in ("true", "false") else _wrong("not_true_or_false")


def _wrong(code: str) -> Any:
    raise PydanticCustomError(code, "{code}", {"code": code})  # type: ignore[arg-type]


# What the validators above refuse, said once more for the documentation: `pattern` and `not` bind nobody here.
_ONE_LINE = {"pattern": r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$"}
_MINOR = "In minor units: 3000 is 30.00 EUR, 3000 JPY or 3.000 KWD."

AmountMinor = Annotated[int, Field(gt=0, le=money.MAX_MINOR, description=_MINOR)]
ChangeMinor = Annotated[
    int,
    Field(ge=-money.MAX_MINOR, le=money.MAX_MINOR, description=_MINOR, json_schema_extra={"not": {"const": 0}}),
    AfterValidator(_not_zero),
]
Currency = Annotated[
    str,
    AfterValidator(_known_currency),
    WithJsonSchema(
        {
            "type": "string",
            "title": "Currency",
            "enum": sorted(money.CURRENCIES),
            "description": "ISO 4217, in capitals. Nothing is ever converted.",
        }
    ),
]
Code = Annotated[
    str,
    Field(
        min_length=1,
        max_length=CODE_LIMIT,
        description="As typed or scanned: case, spaces and dashes do not matter, O is read as 0, I and L as 1. "
        "The address in the voucher's QR is taken as well.",
    ),
]
OwnCode = Annotated[
    str,
    Field(
        min_length=OWN_CODE_LIMITS[0],
        max_length=OWN_CODE_LIMITS[1],
        description="A code of your own: at least 8 letters and digits, spaces and dashes between them are ignored. "
        "Leave it out and get one of 75 random bits.",
        json_schema_extra={"pattern": "^[ -]*([A-Za-z0-9][ -]*){8,64}$"},
    ),
    AfterValidator(_one_line),
]
Line = Annotated[str, Field(max_length=TEXT_LIMIT, json_schema_extra=_ONE_LINE), AfterValidator(_one_line)]
Reason = Annotated[str, Field(max_length=REASON_LIMIT, json_schema_extra=_ONE_LINE), AfterValidator(_one_line)]
Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema(
        {"type": "string", "format": "date-time", "description": "RFC 3339 with its offset, between 1970 and 2200."}
    ),
]
Metadata = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=METADATA_NAME_LIMIT)], Annotated[str, Field(max_length=500)]],
    Field(max_length=METADATA_LIMIT, description="Up to 20 names and texts of yours; they come back as they were."),
]
IdempotencyKey = Annotated[
    str,
    Field(
        min_length=1,
        max_length=255,
        description="The Idempotency-Key that the call was sent with.",
        json_schema_extra={"pattern": "^[ -~]+$"},
    ),
    AfterValidator(_key_as_in_header),
]
SecondsOfHold = Annotated[
    int, Field(gt=0, le=_LONGEST_HOLD, description=f"How long the hold lives, up to {_LONGEST_HOLD} seconds.")
]
CustomerId = Annotated[Line | None, Field(description="Your own id of the customer, for vouchers that name one.")]
Reference = Annotated[Line | None, Field(description="The bill's number, or whatever finds it again at your side.")]
Location = Annotated[Line | None, Field(description="Where it happens; without it, what the key says.")]
Terminal = Annotated[Line | None, Field(description="Which till; without it, what the key says.")]
Description = Annotated[Line | None, Field(description="Anything worth keeping with the transaction.")]
Type = Literal[tuple(str(each) for each in VoucherType)]  # type: ignore[valid-type]
Status = Literal[tuple(str(each) for each in ShownStatus)]  # type: ignore[valid-type]
StoredStatus = Literal[tuple(str(each) for each in VoucherStatus)]  # type: ignore[valid-type]
Kind = Literal[tuple(str(each) for each in EntryKind)]  # type: ignore[valid-type]
Mode = Annotated[
    Literal["up_to", "exact"],
    Field(description="`up_to` takes what is there and says what is still to pay; `exact` takes all of it or nothing."),
]
PageSize = Annotated[
    int,
    BeforeValidator(_number_of_query),
    Field(ge=1, le=PAGE_LIMIT),
]
Truth = Annotated[bool, BeforeValidator(_truth_of_query)]


class Request(pydantic.BaseModel):
    """What every body shares: strict types, no unknown fields."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)


class Lookup(Request):
    """Body of `POST /vouchers/lookup`."""

    code: Code


class Validation(Request):
    """Body of `POST /vouchers/validate`."""

    code: Code
    amount_minor: AmountMinor
    currency: Currency
    customer_id: CustomerId = None


class RedemptionById(Request):
    """Body of `POST /vouchers/{voucher_id}/redeem`."""

    amount_minor: AmountMinor
    currency: Currency
    mode: Mode = "up_to"
    customer_id: CustomerId = None
    reference: Reference = None
    location: Location = None
    terminal: Terminal = None
    description: Description = None


class Redemption(RedemptionById):
    """Body of `POST /vouchers/redeem`."""

    code: Code


class Reversal(Request):
    """Body of `POST /redemptions/reverse`."""

    idempotency_key: IdempotencyKey
    reason: Reason | None = None


class HoldPlacement(Redemption):
    """Body of `POST /vouchers/hold`."""

    ttl_seconds: SecondsOfHold = int(USUAL_LIFE.total_seconds())


class Capture(Request):
    """Body of `POST /holds/{hold_id}/capture`; without an amount all of it is taken."""

    amount_minor: AmountMinor | None = None
    reference: Reference = None
    location: Location = None
    terminal: Terminal = None
    description: Description = None


class Release(Request):
    """Body of `POST /holds/{hold_id}/release`: nothing is needed."""


class Extension(Request):
    """Body of `POST /holds/{hold_id}/extend`."""

    ttl_seconds: SecondsOfHold


class Creation(Request):
    """Body of `POST /vouchers`."""

    type: Type
    currency: Currency
    initial_balance_minor: AmountMinor
    status: Literal["pending", "active"] = "active"
    code: OwnCode | None = None
    customer_id: CustomerId = None
    valid_from: Moment | None = None
    expires_at: Moment | None = None
    is_transferable: bool = True
    metadata: Metadata = Field(default_factory=dict)


class Change(Request):
    """Body of `PATCH /vouchers/{voucher_id}`; null clears an owner or a date."""

    status: StoredStatus | None = None
    customer_id: CustomerId = None
    valid_from: Moment | None = None
    expires_at: Moment | None = None
    is_transferable: bool | None = None
    metadata: Metadata | None = None
    reason: Reason | None = None


class Refund(Request):
    """Body of `POST /vouchers/{voucher_id}/refund`."""

    amount_minor: AmountMinor
    transaction_id: Line
    reason: Reason | None = None


class Adjustment(Request):
    """Body of `POST /vouchers/{voucher_id}/adjust`."""

    amount_minor: ChangeMinor
    reason: Annotated[Reason, AfterValidator(_something), Field(json_schema_extra={"allOf": [{"pattern": r"\S"}]})]


class Page(Request):
    """What the query of every list shares."""

    limit: PageSize = 50
    cursor: Annotated[str, Field(max_length=TEXT_LIMIT)] | None = None


class VoucherQuery(Page):
    """Query of `GET /vouchers`."""

    status: Status | None = None
    type: Type | None = None
    currency: Currency | None = None
    customer_id: CustomerId = None
    has_balance: Truth | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None
    last4: Annotated[str, Field(min_length=1, max_length=8)] | None = None


class TransactionQuery(Page):
    """Query of `GET /transactions` and of a voucher's own."""

    type: Kind | None = None
    reference: Reference = None
    idempotency_key: IdempotencyKey | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None


class StoryQuery(Request):
    """Query of `GET /redemptions`."""

    idempotency_key: IdempotencyKey


Schema = TypeVar("Schema", bound=Request)


def read(schema: type[Schema]) -> Schema:
    """The body of this request as a `schema`; raises Problem 400, 413, 415 or 422 `validation_failed`."""
    return _validate(lambda: schema.model_validate(bodies.load()))


def read_query(schema: type[Schema]) -> Schema:
    """The query of this request as a `schema`; raises Problem 422 `validation_failed`."""
    given = flask.request.args
    bodies.require_clean_text(*given.keys(), *given.values())
    repeated = [name for name in given if len(given.getlist(name)) > 1]
    if repeated:
        raise _refused([FieldProblem(name[:TEXT_LIMIT], "repeated", FIELD_CODES["repeated"]) for name in repeated])
    return _validate(lambda: schema.model_validate(given.to_dict()))


def names_a_code(schema: type[Request]) -> bool:
    """True for a body that says by a code which voucher is meant."""
    field = schema.model_fields.get("code")
    return field is not None and field.is_required()


def refuse(field: str, code: str) -> Problem:
    """The problem of one field that only the database could judge."""
    return _refused([FieldProblem(field, code, FIELD_CODES[code])])


def _validate(read_it: Callable[[], Schema]) -> Schema:
    try:
        return read_it()
    except pydantic.ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise _refused([_field_problem(problem) for problem in found[:_REPORTED_FIELDS]]) from None


def _refused(fields: list[FieldProblem]) -> Problem:
    return Problem("validation_failed", "Correct the fields listed in errors.", errors=fields)


def _field_problem(problem: ErrorDetails) -> FieldProblem:
    kind = problem["type"]
    code = kind if kind in FIELD_CODES else _CODE_OF_TYPE.get(kind, "invalid")
    path = ".".join(str(part) for part in problem["loc"])
    return FieldProblem(path[:TEXT_LIMIT], code, FIELD_CODES[code])
