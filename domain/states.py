"""Every state and kind that a row can have, and the sets of them that rules speak of."""

from enum import StrEnum


class Role(StrEnum):
    OWNER = "owner"
    STAFF = "staff"


class TaxClass(StrEnum):
    MULTI_PURPOSE = "multi_purpose"
    SINGLE_PURPOSE = "single_purpose"


class PaymentState(StrEnum):
    """Of one Checkout session, and of its order. `RETURNED` came, did not fit the order and went back."""

    OPEN = "open"
    PROCESSING = "processing"
    PAID = "paid"
    EXPIRED = "expired"
    FAILED = "failed"
    REVIEW = "review"
    RETURNED = "returned"


class RefundState(StrEnum):
    """`ASKED`: the value is taken off the vouchers and Stripe's answer is not known yet."""

    ASKED = "asked"
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class RefundOrigin(StrEnum):
    """Who asked for a refund: somebody at our dashboard, or somebody at Stripe's own."""

    DASHBOARD = "dashboard"
    STRIPE = "stripe"


class DisputeKind(StrEnum):
    """How a payment is contested: by the cardholder, by a question of the bank, by a warning before either."""

    DISPUTE = "dispute"
    INQUIRY = "inquiry"
    FRAUD_WARNING = "fraud_warning"


class DisputeState(StrEnum):
    """A warning ends `CLOSED`, by a person or by the refund of its payment; the others are won or lost."""

    OPEN = "open"
    WON = "won"
    LOST = "lost"
    CLOSED = "closed"


class ConnectionState(StrEnum):
    """How far a merchant's own Stripe account is: only `READY` takes payments."""

    PENDING = "pending"
    READY = "ready"
    RESTRICTED = "restricted"
    ENDED = "ended"


class NoticeState(StrEnum):
    """A mail to an owner about something that needs a person; `SETTLED` before it had to be sent."""

    WAITING = "waiting"
    SENT = "sent"
    FAILED = "failed"
    SETTLED = "settled"


class VoucherType(StrEnum):
    GIFT_CARD = "gift_card"
    STORE_CREDIT = "store_credit"
    LOYALTY_REWARD = "loyalty_reward"
    COMPENSATION = "compensation"
    REFERRAL = "referral"


class VoucherStatus(StrEnum):
    """The stored statuses; `Voucher.shown_status` finds `depleted` and `expired` from the facts."""

    PENDING = "pending"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    CANCELLED = "cancelled"


class ShownStatus(StrEnum):
    """The six that people and programs see: what is stored, or what the facts say of an active voucher."""

    PENDING = "pending"
    ACTIVE = "active"
    DEPLETED = "depleted"
    EXPIRED = "expired"
    SUSPENDED = "suspended"
    CANCELLED = "cancelled"


class EntryKind(StrEnum):
    """Why a balance changed. A refund gives back a part of a redemption, a reversal all that is left of it."""

    ISSUE = "issue"
    REDEEM = "redeem"
    REFUND = "refund"
    REVERSE = "reverse"
    ADJUST = "adjust"
    EXPIRE = "expire"
    VOID = "void"


class HoldState(StrEnum):
    """An active hold whose time is over is shown as `expired` at once and stored so by the next writer."""

    ACTIVE = "active"
    CAPTURED = "captured"
    RELEASED = "released"
    EXPIRED = "expired"


class BatchKind(StrEnum):
    """Many vouchers at once: new ones, or another system's with the codes that people already hold."""

    ISSUE = "issue"
    IMPORT = "import"


class BatchState(StrEnum):
    """A batch is a draft until somebody has seen its dry run and says go."""

    DRAFT = "draft"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    STOPPED = "stopped"


class RowState(StrEnum):
    """One line of a batch; `refused` was found by the dry run, `failed` when its turn came."""

    WAITING = "waiting"
    REFUSED = "refused"
    DONE = "done"
    FAILED = "failed"


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
# The refund has, or may have, moved the money.
MOVING = (RefundState.ASKED, RefundState.PENDING, RefundState.SUCCEEDED)
# Stripe's last word on the refund is still to come.
UNANSWERED = (RefundState.ASKED, RefundState.PENDING)
MAILS = (StepName.DELIVER_BUYER, StepName.DELIVER_RECIPIENT, StepName.RECEIPT)
# Its PDF may go out: blocked and cancelled vouchers stay with us.
DELIVERABLE = (VoucherStatus.PENDING, VoucherStatus.ACTIVE)
