"""What the calls take: one strict schema each. A field that is not listed here is refused, never ignored."""

import unicodedata
from typing import Annotated, Literal, TypeVar

import pydantic
from pydantic import AfterValidator, Field
from pydantic_core import ErrorDetails, PydanticCustomError

from blueprints.api import bodies
from blueprints.api.problems import FieldProblem, Problem
from domain import money

CODE_LIMIT = 200  # a scanned address of a voucher's page fits
TEXT_LIMIT = 255
_REPORTED_FIELDS = 20

# Every code that `errors[].code` can have, with the sentence beside it.
FIELD_CODES: dict[str, str] = {
    "required": "This field is required.",
    "unknown_field": "This call has no such field.",
    "not_an_integer": "Send a whole number of minor units, not a text, a fraction or true/false.",
    "too_small": "Send 1 or more.",
    "too_large": f"Send {money.MAX_MINOR} or less.",
    "not_text": "Send a text.",
    "too_short": "Send at least one character.",
    "too_long": "This text is too long.",
    "control_character": "Send one line without control characters.",
    "unknown_currency": "Send a currency of ISO 4217 in capitals, such as EUR.",
    "not_allowed": "Send one of the values that the documentation lists.",
    "invalid": "This value cannot be used.",
}
_CODE_OF_TYPE = {
    "missing": "required",
    "extra_forbidden": "unknown_field",
    "int_type": "not_an_integer",
    "greater_than": "too_small",
    "less_than_equal": "too_large",
    "string_type": "not_text",
    "string_too_short": "too_short",
    "string_too_long": "too_long",
    "control_character": "control_character",
    "unknown_currency": "unknown_currency",
    "literal_error": "not_allowed",
}


def _known_currency(code: str) -> str:
    if code not in money.CURRENCIES:
        raise PydanticCustomError("unknown_currency", "unknown currency")
    return code


def _one_line(text: str) -> str:
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise PydanticCustomError("control_character", "control character")
    return text


AmountMinor = Annotated[int, Field(gt=0, le=money.MAX_MINOR)]
Currency = Annotated[str, AfterValidator(_known_currency)]
Code = Annotated[str, Field(min_length=1, max_length=CODE_LIMIT)]
Line = Annotated[str, Field(max_length=TEXT_LIMIT), AfterValidator(_one_line)]


class Request(pydantic.BaseModel):
    """What every body shares: strict types, no unknown fields."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)


class Validation(Request):
    """Body of `POST /vouchers/validate`."""

    code: Code
    amount_minor: AmountMinor
    currency: Currency
    customer_id: Line | None = None


class RedemptionById(Request):
    """Body of `POST /vouchers/{id}/redeem`."""

    amount_minor: AmountMinor
    currency: Currency
    mode: Literal["up_to", "exact"] = "up_to"
    customer_id: Line | None = None
    reference: Line | None = None
    location: Line | None = None
    terminal: Line | None = None
    description: Line | None = None


class Redemption(RedemptionById):
    """Body of `POST /vouchers/redeem`."""

    code: Code


Schema = TypeVar("Schema", bound=Request)


def read(schema: type[Schema]) -> Schema:
    """The body of this request as a `schema`; raises Problem 400, 413, 415 or 422 `validation_failed`."""
    loaded = bodies.load()
    try:
        return schema.model_validate(loaded)
    except pydantic.ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        fields = [_field_problem(problem) for problem in found[:_REPORTED_FIELDS]]
        raise Problem("validation_failed", "Correct the fields listed in errors.", errors=fields) from None


def _field_problem(problem: ErrorDetails) -> FieldProblem:
    code = _CODE_OF_TYPE.get(problem["type"], "invalid")
    path = ".".join(str(part) for part in problem["loc"])
    return FieldProblem(path[:TEXT_LIMIT], code, FIELD_CODES[code])
