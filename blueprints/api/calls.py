"""The contract: every call of the API, one entry each. Routes, guards, documentation and tests are made from it."""

from collections.abc import Callable
from dataclasses import dataclass

import flask
import pydantic

from blueprints.api import (
    answers,
    corrections,
    holds,
    lookup,
    redeem,
    redemptions,
    schemas,
    transactions,
    validate,
    vouchers,
)
from domain.api_keys import Scope

READ, WRITE = Scope.MARKETING_READ, Scope.MARKETING_WRITE
POS_VALIDATE, POS_REDEEM = Scope.POS_VALIDATE, Scope.POS_REDEEM

# What any call may answer with, and what comes with a body, a voucher's id, a bill, an Idempotency-Key.
EVERYWHERE = ("malformed_request", "invalid_api_key", "insufficient_scope", "rate_limited", "internal_error",
              "temporarily_unavailable")  # fmt: skip
WITH_BODY = ("body_too_large", "unsupported_media_type", "validation_failed")
WITH_KEY = ("request_in_progress", "idempotency_conflict")
WITH_BILL = ("voucher_not_found", "voucher_inactive", "voucher_not_started", "voucher_expired", "voucher_depleted",
             "currency_mismatch", "voucher_not_transferable", "insufficient_balance")  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One address and method: who may call it, what it takes, what it answers and how it refuses.

    `path` is written as in OpenAPI. A caller needs one of `scopes`. `takes` is the schema of the body or, for a GET, of
    the query; `problems` are the codes beside those that every call of its shape can answer with.
    """

    method: str
    path: str
    name: str
    view: Callable[..., flask.Response]
    scopes: tuple[Scope, ...]
    summary: str
    takes: type[schemas.Request] | None
    gives: type[pydantic.BaseModel]
    topic: str
    status: int = 200
    problems: tuple[str, ...] = ()
    needs_idempotency_key: bool = False
    description: str = ""

    @property
    def rule(self) -> str:
        """The path as Flask writes it: an id has its prefix, so `/vouchers/validate` is never taken for one."""
        return self.path.replace("{voucher_id}", "<id(vch):voucher_id>").replace("{hold_id}", "<id(hld):hold_id>")

    @property
    def takes_a_code(self) -> bool:
        """True when the body names a voucher by its code, so that codes can be guessed here."""
        return self.takes is not None and schemas.names_a_code(self.takes)

    @property
    def codes(self) -> tuple[str, ...]:
        """Every code that this call can answer with."""
        shape = WITH_BODY if self.method != "GET" else ("validation_failed",) if self.takes else ()
        key = WITH_KEY if self.needs_idempotency_key else ()
        # What does not even look like an id misses the address altogether.
        missed = ("not_found",) if "{" in self.path else ()
        return tuple(dict.fromkeys((*EVERYWHERE, *shape, *key, *self.problems, *missed)))


CALLS: tuple[Call, ...] = (
    Call(
        "POST", "/vouchers/lookup", "lookup", lookup.look_up, (POS_VALIDATE, READ),
        "Show the voucher behind a code", schemas.Lookup, answers.Voucher, "tills",
        problems=("voucher_not_found",),
        description="Without its code, and without a word on whether it could pay. An unknown code counts as a guess.",
    ),
    Call(
        "POST", "/vouchers/validate", "validate", validate.validate, (POS_VALIDATE, READ),
        "Ask whether a voucher would pay a bill", schemas.Validation, answers.Verdict, "tills",
        description="Seven checks, each with its result, and the sums of a bill. Books nothing and binds nobody: "
                    "only a redemption or a hold does. Every well-formed request is answered with 200; `valid` and "
                    "`error` say the rest.",
    ),
    Call(
        "POST", "/vouchers/redeem", "redeem", redeem.redeem_by_code, (POS_REDEEM, WRITE),
        "Redeem the voucher behind a code", schemas.Redemption, answers.Redemption, "tills",
        status=201, problems=(*WITH_BILL, "already_reversed"), needs_idempotency_key=True,
        description="Runs the seven checks again and takes the money, once for each Idempotency-Key. A bill above "
                    "the balance takes all there is, and `remaining_order_amount_minor` is still to pay.",
    ),
    Call(
        "POST", "/vouchers/{voucher_id}/redeem", "redeem_by_id", redeem.redeem_by_id, (POS_REDEEM, WRITE),
        "Redeem a voucher by its id", schemas.RedemptionById, answers.Redemption, "tills",
        status=201, problems=(*WITH_BILL, "already_reversed"), needs_idempotency_key=True,
        description="The same for a voucher whose id is known, such as from a validation.",
    ),
    Call(
        "GET", "/redemptions", "story", redemptions.tell, (POS_REDEEM, READ),
        "Ask what happened to a redemption", schemas.StoryQuery, answers.Story, "tills",
        problems=("idempotency_conflict",),
        description="After a lost answer: booked, reversed, refused, blocked or never seen, with the answer that "
                    "the call got.",
    ),
    Call(
        "POST", "/redemptions/reverse", "reverse", redemptions.reverse, (POS_REDEEM, WRITE),
        "Take a redemption back by its Idempotency-Key", schemas.Reversal, answers.Reversal, "tills",
        problems=("refund_exceeds_redemption", *WITH_KEY),
        description="Full inverse of a redemption or a capture, whatever became of its answer. A key that was "
                    "never seen is blocked for good, so the original is refused if it comes late. Safe to repeat "
                    "until it is heard.",
    ),
    Call(
        "POST", "/vouchers/hold", "hold", holds.place, (POS_REDEEM, WRITE),
        "Set an amount aside for a bill that is still open", schemas.HoldPlacement, answers.Placement, "holds",
        status=201, problems=(*WITH_BILL, "already_reversed"), needs_idempotency_key=True,
        description="Takes the amount out of `available_minor` and leaves the balance alone. Several holds on one "
                    "voucher are fine; one that is not captured in time frees itself.",
    ),
    Call(
        "GET", "/holds/{hold_id}", "read_hold", holds.read, (POS_REDEEM, READ),
        "Read a hold", None, answers.HoldAnswer, "holds",
        problems=("hold_not_found",),
        description="As it stands now: one whose time is over is `expired`, without anybody having done anything.",
    ),
    Call(
        "POST", "/holds/{hold_id}/capture", "capture", holds.capture, (POS_REDEEM, WRITE),
        "Take what was held, or a part of it", schemas.Capture, answers.Captured, "holds",
        status=201, needs_idempotency_key=True,
        problems=("hold_not_found", "hold_expired", "hold_closed", "voucher_inactive", "insufficient_balance",
                  "already_reversed"),
        description="Books a redemption and closes the hold; what was held beyond it is free again. Reversed like "
                    "any redemption, by its Idempotency-Key.",
    ),
    Call(
        "POST", "/holds/{hold_id}/release", "release", holds.release, (POS_REDEEM, WRITE),
        "Free what was held", schemas.Release, answers.HoldAnswer, "holds",
        problems=("hold_not_found", "hold_closed"),
        description="To release it once more changes nothing.",
    ),
    Call(
        "POST", "/holds/{hold_id}/extend", "extend", holds.extend, (POS_REDEEM, WRITE),
        "Let a hold live longer", schemas.Extension, answers.HoldAnswer, "holds",
        problems=("hold_not_found", "hold_expired", "hold_closed", "voucher_inactive"),
        description="Counted from now.",
    ),
    Call(
        "GET", "/vouchers", "list_vouchers", vouchers.list_vouchers, (READ,),
        "List vouchers", schemas.VoucherQuery, answers.VoucherPage, "vouchers",
        description="The merchant's vouchers that match every filter, newest first.",
    ),
    Call(
        "POST", "/vouchers", "create_voucher", vouchers.create_voucher, (WRITE,),
        "Create a voucher", schemas.Creation, answers.NewVoucher, "vouchers",
        status=201, problems=("code_taken", "already_reversed"), needs_idempotency_key=True,
        description="This answer is the only one that ever shows the code. Without `expires_at` the merchant's "
                    "usual term applies; null is a voucher without an end.",
    ),
    Call(
        "GET", "/vouchers/{voucher_id}", "read_voucher", vouchers.read_voucher, (READ,),
        "Read a voucher", None, answers.WholeVoucher, "vouchers",
        problems=("voucher_not_found",),
        description="With its owner, its notes and its birth.",
    ),
    Call(
        "PATCH", "/vouchers/{voucher_id}", "change_voucher", vouchers.change_voucher, (WRITE,),
        "Change a voucher's status, owner or dates", schemas.Change, answers.WholeVoucher, "vouchers",
        problems=("voucher_not_found", "transition_not_allowed", "voucher_inactive"),
        description="Anything but the balance. A status changes along the legal moves only; null clears an owner "
                    "or a date.",
    ),
    Call(
        "POST", "/vouchers/{voucher_id}/refund", "refund", corrections.refund, (WRITE,),
        "Give back what a redemption took", schemas.Refund, answers.Booking, "vouchers",
        status=201, needs_idempotency_key=True,
        problems=("voucher_not_found", "refund_exceeds_redemption", "already_reversed"),
        description="A part of it or all, never more than is left of that redemption. Into a voucher of any "
                    "status, and it revives none.",
    ),
    Call(
        "POST", "/vouchers/{voucher_id}/adjust", "adjust", corrections.adjust, (WRITE,),
        "Correct a balance", schemas.Adjustment, answers.Booking, "vouchers",
        status=201, needs_idempotency_key=True,
        problems=("voucher_not_found", "voucher_inactive", "insufficient_balance", "already_reversed"),
        description="Up or down, with the reason that the auditor will read.",
    ),
    Call(
        "GET", "/vouchers/{voucher_id}/transactions", "list_voucher_transactions", transactions.list_of_voucher,
        (READ,), "List a voucher's transactions", schemas.TransactionQuery, answers.TransactionPage, "transactions",
        problems=("voucher_not_found",),
        description="Newest first; their sum is the balance, always.",
    ),
    Call(
        "GET", "/transactions", "list_transactions", transactions.list_transactions, (READ,),
        "List transactions", schemas.TransactionQuery, answers.TransactionPage, "transactions",
        description="Every change of every balance, newest first, to be fetched by the book-keeping.",
    ),
)  # fmt: skip
