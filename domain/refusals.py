"""Why the trade says no. One class per reason, each with a stable code and the HTTP status that fits it."""


class Refusal(Exception):
    """A rule of the trade said no: nothing was written.

    `code` is stable and documented, `status` the HTTP status, `detail` one English sentence for a developer. `extra`
    holds facts the caller may need (amounts in minor units).
    """

    code = "refused"
    status = 422
    title = "The request was refused"

    def __init__(self, detail: str = "", **extra: object) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.extra = extra


class FieldsRefused(Refusal):
    """What was entered cannot be accepted; `problems` maps field → (code, message)."""

    code, title = "validation_failed", "Some fields need another value"

    def __init__(self, problems: dict[str, tuple[str, str]]) -> None:
        super().__init__(self.title)
        self.problems = problems


class VoucherNotFound(Refusal):
    """No such voucher for this merchant; another merchant's voucher looks just the same."""

    code, status, title = "voucher_not_found", 404, "No voucher has this code"


class VoucherInactive(Refusal):
    """Pending, suspended or cancelled; `extra["voucher_status"]` says which."""

    code, title = "voucher_inactive", "This voucher is not active"


class VoucherNotStarted(Refusal):
    """`valid_from` lies in the future."""

    code, title = "voucher_not_started", "This voucher is not valid yet"


class VoucherExpired(Refusal):
    """`expires_at` has passed."""

    code, title = "voucher_expired", "This voucher has expired"


class VoucherDepleted(Refusal):
    """Nothing is left, or what is left is held."""

    code, title = "voucher_depleted", "This voucher is used up"


class CurrencyMismatch(Refusal):
    """The bill is in another currency; nothing is ever converted."""

    code, title = "currency_mismatch", "This voucher is in another currency"


class VoucherNotTransferable(Refusal):
    """The voucher belongs to one customer and another one presented it."""

    code, title = "voucher_not_transferable", "This voucher belongs to another customer"


class InsufficientBalance(Refusal):
    """`mode=exact` and the balance is short; `extra["available_minor"]` says what is there."""

    code, status, title = "insufficient_balance", 409, "The balance does not cover this amount"


class RefundExceedsRedemption(Refusal):
    """More than the redemption took, or than is left of it; `extra["refundable_minor"]` says how much is."""

    code, title = "refund_exceeds_redemption", "A refund gives back what its redemption took, and no more"


class AlreadyReversed(Refusal):
    """The redemption was reversed, or the reversal came before the call that it stops."""

    code, status, title = "already_reversed", 409, "This redemption was reversed"


class HoldNotFound(Refusal):
    """No such hold for this merchant; another merchant's hold looks just the same."""

    code, status, title = "hold_not_found", 404, "There is no such hold"


class HoldExpired(Refusal):
    """The hold's time was over; what it held is free again."""

    code, status, title = "hold_expired", 409, "This hold has expired"


class HoldClosed(Refusal):
    """The hold was captured or released; `extra["state"]` says which."""

    code, status, title = "hold_closed", 409, "This hold is closed"


class TransitionNotAllowed(Refusal):
    """The voucher's status cannot become the wanted one; `extra` has `voucher_status` and `allowed`."""

    code, status, title = "transition_not_allowed", 409, "The status cannot change in this way"


class CodeTaken(Refusal):
    """A voucher of this merchant has this code already."""

    code, status, title = "code_taken", 409, "This code is taken"


class IdempotencyConflict(Refusal):
    """The key was used before for another request."""

    code, title = "idempotency_conflict", "This Idempotency-Key was used for another request"


class RequestInProgress(Refusal):
    """The first call with this key is still running; try again in a moment."""

    code, status, title = "request_in_progress", 409, "The first request with this key is still running"


class StepNotRetryable(Refusal):
    """The step does not wait for a person; somebody was faster, or it is done."""

    code, status, title = "step_not_retryable", 409, "There is nothing to retry here"


class AlreadyUsed(Refusal):
    """The order is paid or closed, so it can't change any more."""

    code, status, title = "order_closed", 409, "This order can no longer change"


class RefundTooLarge(Refusal):
    """More than the payment has left, or than is unused; `extra` has `refundable_minor` and perhaps `unit_no`."""

    code, title = "refund_too_large", "That much cannot go back to the buyer"


class PaymentContested(Refusal):
    """The bank holds the money of a disputed payment, so none of it can be sent back by us."""

    code, status, title = "payment_contested", 409, "This payment is disputed"


class NothingToDecide(Refusal):
    """Somebody has decided it before, or it is over by itself."""

    code, status, title = "nothing_to_decide", 409, "There is nothing to decide here"
