"""What a failure tells the merchant, in five parts: effect, cause, what we do, what you can do, reference.

No raw codes outside the details, no blame, and nothing promised that the step machine does not do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from blueprints.dashboard import desk, tracks
from domain import breakers
from domain.states import StepName, StepState
from models import Order, Step, Unit


@dataclass(frozen=True)
class Trouble:
    """One failure in five parts; `remedy` names the button that helps: `retry`, `address` or `check`."""

    tone: str
    effect: str
    cause: str
    by_itself: str
    what_you_can_do: str
    reference: str
    remedy: str
    technical: str = ""


EFFECTS: Mapping[str, Any] = {
    StepName.CREATE: _l("%(buyer)s has paid and has no voucher yet."),
    StepName.DOCUMENT: _l("The voucher exists and is valid, but its PDF is missing, so its e-mail waits."),
    "document_dead": _l("The voucher is valid and its e-mail goes out with code and link, but without the PDF."),
    StepName.DELIVER_BUYER: _l("%(buyer)s has not received the voucher by e-mail. The order page already offers it."),
    StepName.DELIVER_RECIPIENT: _l("%(recipient)s has not received the voucher."),
    StepName.RECEIPT: _l("%(buyer)s has not received the receipt. The voucher itself is not touched by this."),
}
CAUSES: Mapping[str, Any] = {
    "renderer_crashed": _l("The program that makes PDFs stopped in the middle of its work."),
    "renderer_timeout": _l("Making the PDF took longer than it may."),
    "renderer_missing": _l("The program that makes PDFs is not fully installed on this server."),
    "too_many_pages": _l("The voucher does not fit on one page: a text is too long for this design."),
    "render_error": _l("The design contains something that can't be printed."),
    "document_differs": _l(
        "The PDF was read back and did not show exactly what the books say. Such a PDF is never sent."
    ),
    "bad_address": _l("The mail server says that the address %(address)s does not exist or takes no mail."),
    "mail_refused": _l("The mail server of the recipient refused this message for good."),
    "mail_not_now": _l("The mail server asked us to wait."),
    "bounced": _l("The mail server had accepted the message for %(address)s and sent it back later."),
    "pdf_missing": _l("The PDF that belongs to the message is still being made."),
    "mail_ours": _l("Your mail server did not accept our log-in or settings, so no e-mails are going out."),
    "mail_unreachable": _l("Your mail server did not answer."),
    "mail_unknown": _l("The connection broke while the message was being handed over, so nobody knows if it arrived."),
    "code_collision": _l("No unused voucher code was found in several draws."),
    "worker_died": _l("The worker process ended in the middle of this step every time it tried."),
    "seal_broken": _l("The stored voucher code can't be opened: its key is missing, or the data was changed."),
    "unexpected": _l("Something happened that the program does not know."),
}
ADVICE: Mapping[str, Any] = {
    "renderer_crashed": _l("If it happens again, restart the worker, then try now."),
    "renderer_timeout": _l("If the server is very busy, wait a little, then try now."),
    "renderer_missing": _l("Run the set-up once more on the server, then try now."),
    "too_many_pages": _l(
        "The voucher can be used without its PDF: its page is linked below. Report the reference, then try now."
    ),
    "render_error": _l(
        "The voucher can be used without its PDF: its page is linked below. Report the reference, then try now."
    ),
    "document_differs": _l("Show the technical details to whoever looks after the program; trying again is harmless."),
    "bad_address": _l("Correct the address and send."),
    "mail_refused": _l("Read the server's answer in the details, then try now or send to another address."),
    "mail_not_now": _l("You need not do anything."),
    "bounced": _l("Ask for the right address, correct it and send."),
    "pdf_missing": _l("You need not do anything; if it takes long, look at the PDF's own step."),
    "mail_ours": _l("Correct the mail settings of the server; everything that waits then goes out by itself."),
    "mail_unreachable": _l("If the mail server is back already, try now."),
    "mail_unknown": _l("Ask the recipient, or simply wait: the copy carries the same message number."),
    "code_collision": _l("Try now; a fresh code is drawn."),
    "worker_died": _l("Check the memory of the server and restart the worker, then try now."),
    "seal_broken": _l("Put the missing key back into CODE_KEYS and restart, then try now."),
    "unexpected": _l("Try now; if it fails again, report the reference below with the technical details."),
}


_ASK_FOR_ADDRESS = ("bad_address", "bounced")
_TESTED_EVERY_MINUTE = ("mail_ours", "mail_unreachable")


def of_step(step: Step, *, order: Order, unit: Unit | None) -> Trouble:
    """The five parts for a step that failed and waits, or stopped."""
    code = step.error_code if step.error_code in CAUSES else "unexpected"
    people = _people(order, unit)
    address = people["recipient_email"] if step.name == StepName.DELIVER_RECIPIENT else order.buyer_email
    is_dead = step.state == StepState.DEAD
    return Trouble(
        tone="bad" if is_dead else "warn",
        effect=str(EFFECTS["document_dead" if is_dead and step.name == StepName.DOCUMENT else step.name]) % people,
        cause=str(CAUSES[code]) % {"address": address},
        by_itself=_by_itself(step),
        what_you_can_do=str(ADVICE[code]),
        reference=_("%(order)s, step %(step)s, try %(token)s", order=order.number, step=step.id, token=step.token),
        remedy="address" if code in _ASK_FOR_ADDRESS else "retry",
        technical=f"{step.error_code or ''}\n{step.error_text or ''}".strip(),
    )


def _by_itself(step: Step) -> str:
    if step.state == StepState.DEAD:
        return _("We stopped trying.")
    if step.error_code in _TESTED_EVERY_MINUTE and breakers.is_open(breakers.MAIL):
        return _("We ask the mail server once a minute. As soon as it accepts, everything that waits goes out.")
    facts = {"time": desk.when(step.not_before), "next": step.attempt + 1, "of": tracks.attempts_allowed(step)}
    if step.state == StepState.UNKNOWN:
        return _("We send the same message again at %(time)s, attempt %(next)s of %(of)s.", **facts)
    return _("Next try %(time)s, attempt %(next)s of %(of)s.", **facts)


def _people(order: Order, unit: Unit | None) -> dict[str, str]:
    recipient = (unit.recipient_name or unit.recipient_email) if unit is not None else ""
    return {
        "buyer": order.buyer_name or order.buyer_email,
        "recipient": recipient or order.buyer_name or order.buyer_email,
        "recipient_email": unit.recipient_email if unit is not None else order.buyer_email,
    }
