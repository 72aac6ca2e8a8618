"""Every state and kind that a row can have, and the sets of them that rules speak of."""

from enum import StrEnum


class Role(StrEnum):
    OWNER = "owner"
    STAFF = "staff"


class TaxClass(StrEnum):
    MULTI_PURPOSE = "multi_purpose"
    SINGLE_PURPOSE = "single_purpose"


class PaymentState(StrEnum):
    OPEN = "open"
    PROCESSING = "processing"
    PAID = "paid"
    EXPIRED = "expired"
    FAILED = "failed"
    REVIEW = "review"


class VoucherType(StrEnum):
    GIFT_CARD = "gift_card"
    STORE_CREDIT = "store_credit"
    LOYALTY_REWARD = "loyalty_reward"
    COMPENSATION = "compensation"
    REFERRAL = "referral"


class VoucherStatus(StrEnum):
    """The stored statuses; `depleted` and `expired` are computed by `Voucher.shown_status`."""

    PENDING = "pending"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    CANCELLED = "cancelled"


class EntryKind(StrEnum):
    ISSUE = "issue"
    REDEEM = "redeem"
    REFUND = "refund"
    ADJUST = "adjust"
    EXPIRE = "expire"
    VOID = "void"


class StepName(StrEnum):
    CREATE = "create"
    DOCUMENT = "document"
    DELIVER_BUYER = "deliver_buyer"
    DELIVER_RECIPIENT = "deliver_recipient"
    RECEIPT = "receipt"


class StepState(StrEnum):
    BLOCKED = "blocked"
    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    RETRY_WAIT = "retry_wait"
    UNKNOWN = "unknown"
    DEAD = "dead"
    SKIPPED = "skipped"


# Waiting for their moment; a worker takes them when `not_before` has come.
WAITING = (StepState.READY, StepState.RETRY_WAIT, StepState.UNKNOWN)
FINISHED = (StepState.DONE, StepState.SKIPPED)
# Failed before and will be tried again by themselves.
TRYING_AGAIN = (StepState.RETRY_WAIT, StepState.UNKNOWN)
# A person may press "try now".
RETRYABLE = (*TRYING_AGAIN, StepState.DEAD)
# The buyer may go to the payment page (again).
PAYABLE = (PaymentState.OPEN, PaymentState.EXPIRED, PaymentState.FAILED)
# Checkout may still turn into money.
UNSETTLED = (PaymentState.OPEN, PaymentState.PROCESSING)
MAILS = (StepName.DELIVER_BUYER, StepName.DELIVER_RECIPIENT, StepName.RECEIPT)
# Its PDF may go out: blocked and cancelled vouchers stay with us.
DELIVERABLE = (VoucherStatus.PENDING, VoucherStatus.ACTIVE)
