"""The three tracks of an order, Payment → Voucher → Delivery, worked out from its payments and its steps. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from blueprints import returns
from blueprints.dashboard import wording
from blueprints.returns import Returns
from domain import fulfilment
from domain.states import RETRYABLE, TRYING_AGAIN, UNSETTLED, PaymentState, RefundState, StepName, StepState
from models import Order, Payment, Step

# Which word of several steps is the track's, worst first.
_VOUCHER_RANK = ("failed", "retrying", "creating", "stopped", "created")
_DELIVERY_RANK = ("failed", "bounced", "retrying", "sending", "queued", "none", "scheduled", "stopped", "sent")
_VOUCHER_KEYS = {
    StepState.DEAD: "failed",
    StepState.RETRY_WAIT: "retrying",
    StepState.UNKNOWN: "retrying",
    StepState.SKIPPED: "stopped",
    StepState.DONE: "created",
}
_MAIL_KEYS = {
    StepState.BLOCKED: "none",
    StepState.READY: "queued",
    StepState.RUNNING: "sending",
    StepState.RETRY_WAIT: "retrying",
    StepState.UNKNOWN: "retrying",
    StepState.SKIPPED: "stopped",
    StepState.DONE: "sent",
}
_UNPAID_HEADLINES = {
    PaymentState.OPEN: "waiting",
    PaymentState.PROCESSING: "in_progress",
    PaymentState.EXPIRED: "closed",
    PaymentState.FAILED: "closed",
    PaymentState.REVIEW: "in_progress",  # on its way back; one that waits for a person comes before
    PaymentState.RETURNED: "closed",
}
# The money is gone, and so is the voucher.
_OVER = frozenset({"refunded", "charged_back", "returned"})
_JUST_RETURNED_SECONDS = 30


@dataclass(frozen=True)
class Track:
    """One of the three: its word's key, and the step that decided it (None for the payment)."""

    name: str
    key: str
    step: Step | None = None
    done_at: datetime | None = None

    @property
    def status(self) -> wording.Status:
        return wording.TRACKS[self.name][self.key]

    @property
    def next_at(self) -> datetime | None:
        """When something happens by itself: the next try, or the day that the buyer chose."""
        return self.step.not_before if self.step is not None and self.key in ("retrying", "scheduled") else None


@dataclass(frozen=True)
class Standing:
    """Where an order stands at `at`: its tracks, the worst of them, and the one thing a person could usefully do."""

    order: Order
    payment_record: Payment | None
    steps: Sequence[Step]
    at: datetime
    returns: Returns = returns.NOTHING

    @property
    def payment(self) -> Track:
        return Track("payment", self._payment_key, done_at=self.order.paid_at)

    @property
    def voucher(self) -> Track:
        if not self.order.is_paid:
            return Track("voucher", "none")
        making = [(_VOUCHER_KEYS.get(step.state, "creating"), step) for step in self.making_steps]
        return _worst("voucher", making, _VOUCHER_RANK, otherwise="creating")

    @property
    def delivery(self) -> Track:
        if not self.order.is_paid:
            return Track("delivery", "none")
        mailing = [(_mail_key(step, self.at), step) for step in self.mail_steps]
        return _worst("delivery", mailing, _DELIVERY_RANK, otherwise="none")

    @property
    def tracks(self) -> tuple[Track, Track, Track]:
        return self.payment, self.voucher, self.delivery

    @property
    def making_steps(self) -> list[Step]:
        return [step for step in self.steps if not step.is_mail]

    @property
    def mail_steps(self) -> list[Step]:
        return [step for step in self.steps if step.is_mail]

    @property
    def headline_key(self) -> str:
        keys = {self.voucher.key, self.delivery.key}
        if self.returns.needs_a_person(self.at) or keys & {"failed", "bounced"}:
            return "needs_you"
        if "retrying" in keys:
            return "retrying"
        if self._payment_key in _OVER:
            return "closed"
        if not self.order.is_paid:
            return _UNPAID_HEADLINES[PaymentState(self.order.payment_state)]
        if "creating" in keys or keys & {"none", "queued", "sending"}:
            return "in_progress"
        return "scheduled" if "scheduled" in keys else "done"

    @property
    def headline(self) -> wording.Status:
        return wording.HEADLINES[self.headline_key]

    @property
    def stuck_steps(self) -> list[Step]:
        """What a person may try again, dead steps first."""
        stuck = [step for step in self.steps if step.state in RETRYABLE]
        return sorted(stuck, key=lambda step: (step.state != StepState.DEAD, step.id))

    @property
    def can_check_payment(self) -> bool:
        """True when Stripe knows a session of an order that has not been paid: asking never charges."""
        record = self.payment_record
        is_undecided = self.order.payment_state in (*UNSETTLED, PaymentState.EXPIRED, PaymentState.FAILED)
        return is_undecided and record is not None and record.session_id is not None

    @property
    def poll_seconds(self) -> int | None:
        """How soon the page should look again: 1 while anything moves, 5 while a try waits, None at rest.

        The bank takes its time for a refund that Stripe has.
        """
        if any(_is_moving(step, self.at) for step in self.steps) or (self.order.is_paid and not self.steps):
            return 1
        if self.order.payment_state in UNSETTLED:
            asked_at = self.payment_record.asked_at if self.payment_record is not None else None
            just_returned = asked_at is not None and (self.at - asked_at).total_seconds() < _JUST_RETURNED_SECONDS
            return 1 if just_returned else 5
        if any(step.state in TRYING_AGAIN for step in self.steps):
            return 5
        waiting = {refund.state for refund in self.returns.unanswered}
        return 5 if RefundState.ASKED in waiting else 30 if waiting else None

    @property
    def _payment_key(self) -> str:
        if not self.order.is_paid:
            return str(self.order.payment_state)
        if self.returns.is_disputed:
            return "disputed"
        if self.returns.is_lost:
            return "charged_back"
        if self.returns.contested or self.returns.held:
            return "review"
        if self.returns.is_all_back:
            return "refunded"
        return "refunded_part" if self.returns.returned_minor else str(self.order.payment_state)


def standing(order: Order, *, returned: Returns, steps: Iterable[Step], at: datetime) -> Standing:
    """Where `order` stands at the moment `at`; `steps` are all of its steps, `returned` knows all of its payments."""
    newest = returned.payments[-1] if returned.payments else None
    # A newer version beside us may plan a step that we have no word for; that one is its to show.
    known = [step for step in fulfilment.current(steps) if step.name in list(StepName)]
    return Standing(order, newest, known, at, returned)


def step_status(step: Step, at: datetime) -> wording.Status:
    """One step in words; a mail that is done was accepted by a mail server, no more."""
    if step.is_planned(at):
        return wording.STEPS["scheduled"]
    if step.state == StepState.DONE and step.is_mail:
        return wording.STEPS["sent"]
    # A newer version beside us may have a word that we do not know: something is under way.
    return wording.STEPS.get(str(step.state), wording.STEPS["running"])


def attempts_allowed(step: Step) -> int:
    """How often a step is tried before it asks for a person."""
    return fulfilment.POLICIES[StepName(step.name)].attempts


def _worst(name: str, keyed: list[tuple[str, Step]], rank: Sequence[str], *, otherwise: str) -> Track:
    if not keyed:
        return Track(name, otherwise)
    key, step = min(keyed, key=lambda pair: (rank.index(pair[0]), pair[1].not_before))
    finished = [each.finished_at for _, each in keyed if each.finished_at is not None]
    is_over = all(each.state == StepState.DONE for _, each in keyed)
    return Track(name, key, step, max(finished) if is_over and finished else None)


def _mail_key(step: Step, at: datetime) -> str:
    if step.state == StepState.DEAD:
        return "bounced" if step.error_code in ("bad_address", fulfilment.BOUNCED) else "failed"
    return "scheduled" if step.is_planned(at) else _MAIL_KEYS.get(step.state, "sending")


def _is_moving(step: Step, at: datetime) -> bool:
    if step.state in TRYING_AGAIN:
        return step.not_before <= at
    return step.state == StepState.RUNNING or (step.state == StepState.READY and step.not_before <= at)
