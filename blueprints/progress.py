"""Where an order stands, in the words of the person who waits for it. Read from the rows; nothing is guessed."""

from dataclasses import dataclass
from datetime import datetime

from flask_babel import gettext as _

from blueprints import presentation, returns
from blueprints.returns import Returns
from domain import clock, fulfilment
from domain.states import (
    DELIVERABLE,
    FINISHED,
    PAYABLE,
    TRYING_AGAIN,
    PaymentState,
    RefundState,
    StepName,
    StepState,
    VoucherStatus,
)
from models import Order, Step, Unit, Voucher, VoucherPdf


@dataclass(frozen=True)
class Stage:
    """One of the four steps of an order: `state` is done, now, next, late, held or failed."""

    name: str
    state: str
    title: str
    words: str = ""
    at: datetime | None = None


@dataclass(frozen=True)
class UnitStory:
    """One voucher of the order: where it goes, how far it is, whether its PDF can be downloaded."""

    unit: Unit
    voucher: Voucher | None
    has_pdf: bool
    mail: Step | None
    is_refunded: bool = False

    @property
    def is_blocked(self) -> bool:
        """Its voucher exists and can't be used; the shop knows why."""
        blocked = (VoucherStatus.SUSPENDED, VoucherStatus.CANCELLED)
        return self.voucher is not None and self.voucher.status in blocked

    @property
    def is_scheduled(self) -> bool:
        """Its moment is chosen by the buyer and still to come."""
        due_at = self.unit.deliver_at
        return due_at is not None and due_at > clock.now() and (self.mail is None or self.mail.state not in FINISHED)

    @property
    def sent_at(self) -> datetime | None:
        """When the mail server accepted the mail, or None."""
        return self.mail.finished_at if self.mail is not None and self.mail.state == StepState.DONE else None

    @property
    def is_undeliverable(self) -> bool:
        return self.mail is not None and self.mail.state == StepState.DEAD


@dataclass(frozen=True)
class Story:
    """An order as its buyer sees it. `is_final` ends the polling; `can_pay` offers the payment page again.

    `money_back` is a sentence about a part of the price that went back; a whole refund is the headline.
    """

    headline: str
    title: str
    words: str
    stages: tuple[Stage, ...]
    units: tuple[UnitStory, ...]
    is_final: bool
    can_pay: bool
    is_ready: bool
    money_back: str = ""

    @property
    def done_count(self) -> int:
        return sum(stage.state == "done" for stage in self.stages)


def tell(order: Order, *, has_returned: bool = False, has_turned_back: bool = False) -> Story:
    """The story of `order` at this moment, in the reader's language.

    `has_returned` and `has_turned_back` say by which door the buyer left the payment page. They choose words and
    nothing else: what is paid is what the rows say.
    """
    steps, back = fulfilment.current(order.steps), returns.of(order)
    units = _units(order, steps, back)
    if order.payment_state == PaymentState.RETURNED or (order.is_paid and (back.is_all_back or _is_stopped(back))):
        return _ended(order, units, back)
    stages = (_paid(order), _created(order, steps), _printed(order, steps), _sent(order, steps, units))
    is_ready = order.is_paid and bool(units) and all(unit.has_pdf or unit.is_refunded for unit in units)
    if order.payment_state == PaymentState.OPEN:
        headline, title, words = _open_words(has_returned=has_returned, has_turned_back=has_turned_back)
    else:
        headline, title, words = _headline(order, stages, is_ready=is_ready, has_several=len(units) > 1)
    return Story(
        headline=headline,
        title=title,
        words=words,
        stages=stages,
        units=units,
        is_final=_is_final(order, steps),
        can_pay=order.payment_state in PAYABLE and not (order.payment_state == PaymentState.OPEN and has_returned),
        is_ready=is_ready,
        money_back=_part_words(order, back),
    )


def pause(polls: int) -> int:
    """Seconds until the page asks again after so many questions: 1 s fifteen times, 3 s twenty times, then 15 s."""
    return 1 if polls < 15 else 3 if polls < 35 else 15


def _is_stopped(back: Returns) -> bool:
    """The vouchers rest while the payment is in trouble, or ended with it. The buyer is never told of a suspicion."""
    return back.is_frozen or back.is_lost


def _ended(order: Order, units: tuple[UnitStory, ...], back: Returns) -> Story:
    """An order whose money went back, or whose vouchers are blocked because of their payment."""
    is_back = back.is_all_back or order.payment_state == PaymentState.RETURNED
    headline, words = _back_words(order, back) if is_back else _contact_words(order)
    stages = (Stage("paid", "done", _("Paid"), at=order.paid_at),) if order.is_paid else ()
    if is_back:
        has_left = any(refund.state == RefundState.SUCCEEDED for refund in back.refunds)
        stages = (*stages, Stage("refunded", "done" if has_left else "now", _("Money on its way back")))
    else:
        stages = (*stages, Stage("blocked", "held", _("Voucher blocked")))
    return Story(headline, headline, words, stages, units, is_final=True, can_pay=False, is_ready=False)


def _back_words(order: Order, back: Returns) -> tuple[str, str]:
    headline = _("Your money is on its way back")
    if order.payment_state == PaymentState.RETURNED:
        return headline, _("The payment did not fit the order, so all of it goes back to you. No voucher was made.")
    amount = presentation.show_money(back.returned_minor, order.currency)
    words = _("%(amount)s go back the way you paid. Banks take five to ten days for it.", amount=amount)
    return headline, words


def _contact_words(order: Order) -> tuple[str, str]:
    name = order.merchant.name
    ways = ", ".join(way for way in (order.merchant.phone, order.merchant.email) if way)
    blocked = _("The vouchers of this order can't be used at the moment.")
    return _("Please contact %(name)s", name=name), f"{blocked} {ways}".strip()


def _part_words(order: Order, back: Returns) -> str:
    if not back.returned_minor:
        return ""
    amount = presentation.show_money(back.returned_minor, order.currency)
    return _("%(amount)s of your payment go back to you. Banks take five to ten days for it.", amount=amount)


def _units(order: Order, steps: list[Step], back: Returns) -> tuple[UnitStory, ...]:
    units = list(order.units)
    vouchers = {voucher.unit_id: voucher for voucher in Voucher.select().where(Voucher.unit.in_(units))}
    printed = VoucherPdf.select(VoucherPdf.voucher).where(VoucherPdf.voucher.in_(list(vouchers.values())))
    with_pdf = {pdf.voucher_id for pdf in printed}
    mails = {step.unit_no: step for step in steps if step.is_mail and step.unit_no}
    return tuple(_unit(unit, vouchers.get(unit.id), with_pdf, mails.get(unit.unit_no), back) for unit in units)


def _unit(unit: Unit, voucher: Voucher | None, with_pdf: set[int], mail: Step | None, back: Returns) -> UnitStory:
    is_refunded = back.is_all_back or back.returned_of(unit.unit_no) >= unit.value_minor
    can_be_used = voucher is not None and voucher.status in DELIVERABLE and not is_refunded
    has_pdf = can_be_used and voucher.id in with_pdf
    return UnitStory(unit, voucher, has_pdf=has_pdf, mail=mail, is_refunded=is_refunded)


def _paid(order: Order) -> Stage:
    state = order.payment_state
    if state == PaymentState.PAID:
        return Stage("paid", "done", _("Paid"), at=order.paid_at)
    words = {
        PaymentState.OPEN: ("now", _("Waiting for payment"), ""),
        PaymentState.PROCESSING: ("now", _("Waiting for your bank"), _("This can take a few days.")),
        PaymentState.EXPIRED: ("failed", _("Not paid"), _("Nothing was charged.")),
        PaymentState.FAILED: ("failed", _("Payment declined"), _("Nothing was charged.")),
        PaymentState.REVIEW: ("held", _("Payment is being checked"), _("The shop looks at it and contacts you.")),
    }[PaymentState(state)]
    return Stage("paid", *words)


def _created(order: Order, steps: list[Step]) -> Stage:
    return _stage("created", order, [step for step in steps if step.name == StepName.CREATE], _("Voucher created"))


def _printed(order: Order, steps: list[Step]) -> Stage:
    return _stage(
        "printed", order, [step for step in steps if step.name == StepName.DOCUMENT], _("PDF made and checked")
    )


def _sent(order: Order, steps: list[Step], units: tuple[UnitStory, ...]) -> Stage:
    mails = [step for step in steps if step.is_mail and step.name != StepName.RECEIPT]
    waiting = [unit for unit in units if unit.is_scheduled]
    if order.is_paid and waiting and all(step.state in FINISHED or step.is_planned(clock.now()) for step in mails):
        return Stage("sent", "planned", _("E-mail planned"), at=min(unit.unit.deliver_at for unit in waiting))
    if any(unit.is_undeliverable for unit in units):
        return Stage("sent", "failed", _("E-mail not delivered"), _("You can download the voucher below."))
    return _stage("sent", order, mails, _("E-mail sent"))


def _stage(name: str, order: Order, steps: list[Step], title: str) -> Stage:
    if not order.is_paid or not steps:
        return Stage(name, "next", title)
    if all(step.state in FINISHED for step in steps):
        return Stage(name, "done", title, at=max(step.finished_at for step in steps if step.finished_at))
    if any(step.state == StepState.DEAD for step in steps):
        return Stage(name, "late", title, _("This takes longer than usual. The shop is told and takes care of it."))
    if any(step.state in TRYING_AGAIN for step in steps):
        return Stage(name, "late", title, _("This takes longer than usual. We keep trying."))
    is_next = all(step.state == StepState.BLOCKED for step in steps)
    return Stage(name, "next" if is_next else "now", title)


def _headline(order: Order, stages: tuple[Stage, ...], *, is_ready: bool, has_several: bool) -> tuple[str, str, str]:
    """Headline, title of the tab, and a sentence below the headline."""
    if is_ready:
        ready = _("Thank you – your vouchers are ready") if has_several else _("Thank you – your voucher is ready")
        return ready, "✓ " + (_("Your vouchers") if has_several else _("Your voucher")), _ready_words(stages[-1])
    if order.is_paid and any(stage.state == "late" for stage in stages):
        late = _("Paid. Your voucher takes longer than usual.")
        return late, late, _("We keep trying and e-mail it to you. You need not pay again.")
    if order.is_paid:
        making = _("Thank you – your voucher is being made")
        return making, making, _("It takes a few seconds. You can close this page; the e-mail comes by itself.")
    return _unpaid_words(order)


def _ready_words(sent: Stage) -> str:
    if sent.state == "done":
        return _("The e-mail is on its way, too. Everything is on this page as well.")
    if sent.state == "planned":
        return _("The e-mail goes out at the time that you chose.")
    if sent.state == "failed":
        return _("The e-mail could not be delivered. Download the voucher here and pass it on.")
    return _("The e-mail goes out in a moment. You can download the voucher already.")


def _open_words(*, has_returned: bool, has_turned_back: bool) -> tuple[str, str, str]:
    if has_returned:
        asking = _("We are confirming your payment")
        return asking, asking, _("This takes a few seconds. You need not do anything.")
    if has_turned_back:
        not_yet = _("Not paid yet")
        return not_yet, not_yet, _("Nothing was charged. Your order is kept.")
    waiting = _("Waiting for your payment")
    return waiting, waiting, _("This page notices by itself when it is paid.")


def _unpaid_words(order: Order) -> tuple[str, str, str]:
    state = order.payment_state
    if state == PaymentState.PROCESSING:
        bank = _("We are waiting for your bank")
        return bank, bank, _("You can close this page. We e-mail you as soon as the money has arrived.")
    if state == PaymentState.REVIEW:
        held = _("Your payment is being checked")
        return (
            held,
            held,
            _("Something about it was unexpected. The shop looks at it and contacts you. Do not pay again."),
        )
    not_yet = _("Not paid yet")
    if state == PaymentState.FAILED:
        return (
            _("The payment was declined"),
            not_yet,
            _("Nothing was charged. Your order is kept: pay again in another way."),
        )
    if state == PaymentState.EXPIRED:
        return (
            _("The payment page has closed"),
            not_yet,
            _("Nothing was charged. Your order is kept; you can start again."),
        )
    return not_yet, not_yet, _("Nothing was charged. Your order is kept.")


def _is_final(order: Order, steps: list[Step]) -> bool:
    if not order.is_paid:
        return order.payment_state in (PaymentState.EXPIRED, PaymentState.FAILED, PaymentState.REVIEW)
    open_steps = [step for step in steps if step.state not in (*FINISHED, StepState.DEAD)]
    return bool(steps) and all(step.is_mail and step.is_planned(clock.now()) for step in open_steps)
