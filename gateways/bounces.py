"""Reads what a mail server sends back about a letter: it came back, it is late, it was passed on.

The form is RFC 3464 (`multipart/report; report-type=delivery-status`), and qmail's older one. Anybody can write to the
address where reports arrive, so nothing here trusts what it reads, and nothing that it reads makes it raise.
"""

import base64
import email
import email.message
import email.policy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

# Reports quote letters with their attachments; all that we look for stands before those.
LARGEST = 1 << 20
_MOST_RECIPIENTS = 20
_ORIGINALS = ("message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers")
_STATUSES = ("message/delivery-status", "message/global-delivery-status")
_MESSAGE_ID = re.compile(r"<[^<>\s@]{1,200}@[^<>\s@]{1,255}>")
_ADDRESS = re.compile(r"[^\s<>;,\"@]{1,64}@[^\s<>;,\"@]{1,253}")
_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.])")
_XTEXT = re.compile(r"\+([0-9A-F]{2})")
_QMAIL = "Hi. This is the"
_QMAIL_COPY = re.compile(r"^--- (?:Below this line|Enclosed)", re.MULTILINE)
_QMAIL_RECIPIENT = re.compile(r"^<([^<>\s]+@[^<>\s]+)>:\s*\n((?:.+\n?)*)", re.MULTILINE)


class Action(StrEnum):
    """What became of the letter: RFC 3464's five words."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


@dataclass(frozen=True)
class BounceReport:
    """What one report says about one recipient of one letter.

    `message_id` is the letter's with its brackets, `status` such as `5.1.1`, `diagnostic` the server's own line.
    `forwarded_to` is where the letter was passed on to when the report names another address than the letter did.
    """

    message_id: str
    recipient: str
    action: Action
    status: str
    diagnostic: str = ""
    forwarded_to: str = ""

    def is_about(self, address: str) -> bool:
        """Whether the letter went to `address`, however the report spells it."""
        named = (self.recipient, _XTEXT.sub(lambda code: chr(int(code[1], 16)), self.recipient), self.forwarded_to)
        return address.casefold() in [each.casefold() for each in named if each]


def read(raw: bytes) -> tuple[BounceReport, ...]:
    """The reports in one message, one for each recipient; none when it is no report or names no letter."""
    try:
        message = email.message_from_bytes(raw[:LARGEST], policy=email.policy.compat32)
        return tuple(_reports(message))[:_MOST_RECIPIENTS]
    except Exception:
        # The parser has its own faults (nesting without end, broken encodings); a stranger's letter must stop nobody.
        return ()


def _reports(message: email.message.Message) -> Iterator[BounceReport]:
    for candidate in (message, *_children(message)):
        statuses = [part for part in _children(candidate) if part.get_content_type() in _STATUSES]
        if candidate.get_content_type() == "multipart/report" and statuses:
            message_id = _original_id(candidate) or _answered_id(message)
            if message_id:
                yield from _recipients(statuses[0], message_id)
            return
    yield from _qmail_reports(message)


def _children(part: email.message.Message) -> list[email.message.Message]:
    # An enclosed letter has parts too, but they are the letter's, not the report's.
    payload = part.get_payload() if part.get_content_maintype() == "multipart" else None
    return [child for child in payload if isinstance(child, email.message.Message)] if isinstance(payload, list) else []


def _recipients(status: email.message.Message, message_id: str) -> Iterator[BounceReport]:
    for block in _blocks(status):
        final, original = (_address(_field(block, name)) for name in ("Final-Recipient", "Original-Recipient"))
        action = _field(block, "Action").split(" ")[0].lower()
        if (final or original) and action in list(Action):
            diagnostic = _typed(_field(block, "Diagnostic-Code"))
            found = _STATUS.search(_field(block, "Status")) or _STATUS.search(diagnostic)
            yield BounceReport(
                message_id=message_id,
                recipient=original or final,
                action=Action(action),
                status=found[1] if found else "",
                diagnostic=diagnostic,
                forwarded_to=final if original and final != original else "",
            )


def _blocks(status: email.message.Message) -> list[email.message.Message]:
    """The groups of fields: of the message first, then of each recipient. Some servers write only one."""
    payload = status.get_payload()
    blocks = (
        [block for block in payload if isinstance(block, email.message.Message)] if isinstance(payload, list) else []
    )
    if any(block.get("Final-Recipient") or block.get("Original-Recipient") for block in blocks):
        return blocks
    # Encoded, against the rules: the fields are in the text.
    groups = re.split(r"\r?\n\r?\n", _text(status))
    return [email.message_from_string(group.strip()) for group in groups]


def _original_id(report: email.message.Message) -> str:
    for part in _children(report):
        if part.get_content_type() in _ORIGINALS:
            payload = part.get_payload()
            enclosed = payload[0] if isinstance(payload, list) and payload else None
            if isinstance(enclosed, email.message.Message) and _id(_field(enclosed, "Message-ID")):
                return _id(_field(enclosed, "Message-ID"))
            return _id_in_text(_text(part))
    return ""


def _answered_id(message: email.message.Message) -> str:
    """The letter that a report answers: for servers that return nothing of it."""
    names = ("X-Original-Message-ID", "In-Reply-To", "References")
    return next((found for name in names if (found := _id(_field(message, name)))), "")


def _qmail_reports(message: email.message.Message) -> Iterator[BounceReport]:
    text = _decoded(message).replace("\r\n", "\n") if not message.is_multipart() else ""
    if not text.startswith(_QMAIL):
        return
    said, *copies = _QMAIL_COPY.split(text, maxsplit=1)
    message_id = _id_in_text(copies[0]) if copies else ""
    for found in _QMAIL_RECIPIENT.finditer(said) if message_id else ():
        status = _STATUS.search(found[2])
        yield BounceReport(
            message_id=message_id,
            recipient=found[1],
            action=Action.FAILED,
            status=status[1] if status else "5.0.0",
            diagnostic=_one_line(found[2]),
        )


def _decoded(part: email.message.Message) -> str:
    payload = part.get_payload(decode=True)
    return payload.decode("utf-8", "replace") if isinstance(payload, bytes) else ""


def _text(part: email.message.Message) -> str:
    """What is written in a part, also in one that the standard forbids to encode and that was encoded all the same."""
    payload = part.get_payload()
    if not isinstance(payload, list):
        return _decoded(part)
    inner = "\n".join(str(child.get_payload()) for child in payload if isinstance(child, email.message.Message))
    if "base64" not in str(part.get("Content-Transfer-Encoding", "")).lower():
        return inner
    return base64.b64decode(inner.encode("ascii", "ignore")).decode("utf-8", "replace")


def _field(block: email.message.Message, name: str) -> str:
    return _one_line(str(block.get(name, "")))


def _typed(value: str) -> str:
    """`550 5.1.1 no such user` of `smtp; 550 5.1.1 no such user`."""
    kind, _, rest = value.partition(";")
    return rest.strip() if rest and " " not in kind.strip() else value


def _address(value: str) -> str:
    found = _ADDRESS.search(_typed(value))
    return found[0] if found else ""


def _id(value: str) -> str:
    found = _MESSAGE_ID.search(value)
    return found[0] if found else ""


def _id_in_text(text: str) -> str:
    unfolded = re.sub(r"\r?\n[ \t]+", " ", text)
    found = re.search(r"^message-id:(.*)$", unfolded, re.IGNORECASE | re.MULTILINE)
    return _id(found[1]) if found else ""


def _one_line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:500]
