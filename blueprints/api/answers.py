"""What the calls answer, for the documentation and the tests that hold answers against it. `shapes` writes them."""

from typing import Annotated, Literal

import pydantic
from pydantic import Field

from blueprints.api.problems import VALIDATION_CODES
from blueprints.api.schemas import Kind, Status, Type
from domain.redemptions import Outcome
from domain.states import HoldState
from domain.validation import Step

Minor = Annotated[int, Field(description="In minor units of the currency.")]
Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
VoucherId = Annotated[str, Field(pattern="^vch_[0-9a-f]{32}$")]
TransactionId = Annotated[str, Field(pattern="^txn_[0-9a-f]{32}$")]
HoldId = Annotated[str, Field(pattern="^hld_[0-9a-f]{32}$")]
Currency = Annotated[str, Field(description="ISO 4217.", pattern="^[A-Z]{3}$")]


class Answer(pydantic.BaseModel):
    """What every answer shares: the members that are listed, and no others."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)


class Display(Answer):
    """One sentence for the till's screen."""

    de: str
    en: str


class Voucher(Answer):
    """A voucher, without its code."""

    id: VoucherId
    code_last4: Annotated[str, Field(description="All that is ever shown of the code again.")]
    type: Type
    status: Status
    balance_minor: Minor
    available_minor: Annotated[int, Field(description="The balance without what is held.")]
    initial_balance_minor: Minor
    currency: Currency
    valid_from: Moment | None
    expires_at: Moment | None
    is_transferable: bool


class WholeVoucher(Voucher):
    """A voucher with its owner, its notes and its birth."""

    customer_id: str | None
    metadata: dict[str, str]
    created_at: Moment


class NewVoucher(WholeVoucher):
    """A new voucher with its code, which no other answer shows."""

    code: str


class Transaction(Answer):
    """One change of a balance; what was taken is negative."""

    id: TransactionId
    voucher_id: VoucherId
    type: Kind
    amount_minor: Minor
    balance_after_minor: Annotated[int, Field(description="The voucher's balance when this was booked.")]
    currency: Currency
    reference: str | None
    location: str | None
    terminal: str | None
    created_at: Moment


class WholeTransaction(Transaction):
    """A transaction with who, why, and its place in the voucher's hash chain."""

    redemption_id: Annotated[TransactionId | None, Field(description="The redemption that this gives back.")]
    actor: Annotated[str, Field(description="Who booked it: `key:` and the key's name, or a person.")]
    reason: str | None
    description: str | None
    seq: Annotated[int, Field(description="Its place among the voucher's transactions, from 1.")]
    hash: Annotated[str, Field(description="SHA-256 over this transaction and the hash before it.")]


class Calculation(Answer):
    """What a redemption takes, what it leaves, and what is still to pay."""

    requested_amount_minor: Annotated[int, Field(description="The bill.")]
    applicable_amount_minor: Annotated[int, Field(description="What the voucher pays of it.")]
    remaining_voucher_balance_minor: Annotated[int, Field(description="What stays on the voucher.")]
    remaining_order_amount_minor: Annotated[int, Field(description="What the guest still has to pay.")]
    covers_full_amount: bool


class Check(Answer):
    """One of the seven checks."""

    step: Literal[tuple(str(each) for each in Step)]  # type: ignore[valid-type]
    result: Literal["pass", "fail", "skipped"]


class Verdict(Answer):
    """Whether a voucher would pay; `error` names the first check that failed."""

    valid: bool
    error: Annotated[
        Literal[VALIDATION_CODES] | None,  # type: ignore[valid-type]
        Field(description="The code of the first check that failed."),
    ]
    message: Annotated[str, Field(description="One sentence for the till's programmer.")]
    display: Display
    checks: Annotated[list[Check], Field(min_length=7, max_length=7)]
    voucher: Voucher | None
    calculation: Calculation | None


class Redemption(Answer):
    """A booked redemption."""

    transaction: Transaction
    voucher: Voucher
    calculation: Calculation
    display: Display


class Booking(Answer):
    """A booked refund or adjustment."""

    transaction: Transaction
    voucher: Voucher


class Hold(Answer):
    """Money set aside."""

    id: HoldId
    voucher_id: VoucherId
    state: Literal[tuple(str(each) for each in HoldState)]  # type: ignore[valid-type]
    amount_minor: Minor
    currency: Currency
    reference: str | None
    location: str | None
    terminal: str | None
    created_at: Moment
    expires_at: Moment
    ended_at: Moment | None
    transaction_id: TransactionId | None


class HoldAnswer(Answer):
    """One hold."""

    hold: Hold


class Placement(HoldAnswer):
    """A new hold."""

    voucher: Voucher
    calculation: Calculation
    display: Display


class Captured(HoldAnswer):
    """The redemption that a hold became."""

    transaction: Transaction
    voucher: Voucher
    display: Display


class StoredAnswer(Answer):
    """The answer that a call got, as it got it."""

    status: int
    body: dict[str, object]


class Story(Answer):
    """What happened to a redemption."""

    outcome: Literal[tuple(str(each) for each in Outcome)]  # type: ignore[valid-type]
    idempotency_key: str
    transaction: Transaction | None
    reversal: Transaction | None
    answer: StoredAnswer | None


class Reversal(Answer):
    """What a reversal found: given back, refused before, or blocked for good."""

    outcome: Literal["reversed", "refused", "blocked"]
    transaction: Transaction | None
    redemption: Transaction | None
    voucher: Voucher | None
    display: Display


class VoucherPage(Answer):
    """One page of vouchers, newest first."""

    data: list[WholeVoucher]
    next_cursor: str | None


class TransactionPage(Answer):
    """One page of transactions, newest first."""

    data: list[WholeTransaction]
    next_cursor: str | None


class FieldError(Answer):
    """One field that was refused."""

    field: str
    code: str
    message: str


class Problem(pydantic.BaseModel):
    """An error as RFC 9457 problem details; some codes carry further members."""

    model_config = pydantic.ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    errors: list[FieldError]
    display: Display | None = None
