"""The demo's mail server: a real SMTP server on the loopback that keeps every letter in a file and sends none on.

Any process may read the file while another one fills it.
"""

import contextlib
import email
import email.policy
import json
import socket
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller

from domain import clock
from gateways.mailer import Attachment

LETTERS_KEPT = 500
_SCHEMA = """
CREATE TABLE IF NOT EXISTS letter (
    id INTEGER PRIMARY KEY AUTOINCREMENT, received_at TEXT NOT NULL, sender TEXT NOT NULL, recipient TEXT NOT NULL,
    subject TEXT NOT NULL, attachments TEXT NOT NULL, raw BLOB NOT NULL
)"""


@dataclass(frozen=True)
class CapturedLetter:
    """One line of the mailbox's list. Sender and recipient are those of the envelope."""

    id: int
    received_at: datetime
    sender: str
    recipient: str
    subject: str
    attachments: tuple[str, ...]


@dataclass(frozen=True)
class OpenedLetter:
    """A letter with all that is in it; `headers` in the order in which they were sent, decoded."""

    captured: CapturedLetter
    headers: tuple[tuple[str, str], ...]
    text: str
    html: str
    attachments: tuple[Attachment, ...]


class Mailbox:
    """The letters in the file at `path`, which is made when missing."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._opened() as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(_SCHEMA)

    def receive(self, sender: str, recipients: list[str], raw: bytes) -> None:
        """Keep `raw` once for every recipient, and the newest 500 letters of all."""
        message = _parsed(raw)
        names = json.dumps([part.get_filename() or "" for part in message.iter_attachments()])
        subject = dict(_headers(message)).get("Subject", "")
        now = clock.now().isoformat()
        rows = [(now, sender, recipient, subject, names, raw) for recipient in recipients]
        with self._opened() as database:
            database.executemany(
                "INSERT INTO letter (received_at, sender, recipient, subject, attachments, raw)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )
            database.execute("DELETE FROM letter WHERE id <= (SELECT MAX(id) FROM letter) - ?", (LETTERS_KEPT,))

    def list(self) -> tuple[CapturedLetter, ...]:
        """All letters, newest first."""
        with self._opened() as database:
            return tuple(_captured(row) for row in database.execute("SELECT * FROM letter ORDER BY id DESC"))

    def read(self, letter_id: int) -> OpenedLetter:
        """The letter with all its parts. KeyError when there is none (any more)."""
        with self._opened() as database:
            row = database.execute("SELECT * FROM letter WHERE id = ?", (letter_id,)).fetchone()
        if row is None:
            raise KeyError(letter_id)
        message = _parsed(row["raw"])
        return OpenedLetter(
            captured=_captured(row),
            headers=_headers(message),
            text=_body(message, "plain"),
            html=_body(message, "html"),
            attachments=tuple(_attachment(part) for part in message.iter_attachments()),
        )

    def attachment(self, letter_id: int, index: int) -> Attachment:
        """One attached file, counted from 0. KeyError when the letter or the file is missing."""
        attachments = self.read(letter_id).attachments
        if not 0 <= index < len(attachments):
            raise KeyError(index)
        return attachments[index]

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self._path, timeout=10)) as database:
            database.row_factory = sqlite3.Row
            with database:
                yield database


def serve(path: Path | str, *, host: str = "127.0.0.1", port: int = 0) -> Controller:
    """Start the server in a thread of this process; 0 takes a free port. The answer has `port` and `stop()`."""
    controller = Controller(_Postman(Mailbox(path)), hostname=host, port=port or _free_port(host))
    controller.start()
    return controller


class _Postman:
    """What aiosmtpd calls with each letter."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        self._mailbox.receive(envelope.mail_from or "", list(envelope.rcpt_tos), bytes(envelope.content))
        return "250 2.0.0 Ok: kept in the demo mailbox"


def _free_port(host: str) -> int:
    """The controller checks itself by connecting to the port it was given, so it must be given a real one."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _parsed(raw: bytes) -> EmailMessage:
    return email.message_from_bytes(raw, policy=email.policy.default)


def _captured(row: sqlite3.Row) -> CapturedLetter:
    return CapturedLetter(
        id=row["id"],
        received_at=datetime.fromisoformat(row["received_at"]),
        sender=row["sender"],
        recipient=row["recipient"],
        subject=row["subject"],
        attachments=tuple(json.loads(row["attachments"])),
    )


def _headers(message: EmailMessage) -> tuple[tuple[str, str], ...]:
    return tuple((name, _decoded(name, raw)) for name, raw in message.raw_items())


def _decoded(name: str, raw: str) -> str:
    try:
        return str(email.policy.default.header_fetch_parse(name, raw))
    except Exception:  # the library stumbles over some broken headers in many ways; they are shown as they came
        return str(raw)


def _body(message: EmailMessage, kind: str) -> str:
    part = message.get_body(preferencelist=(kind,))
    return _content(part).decode("utf-8", "replace").replace("\r\n", "\n") if part is not None else ""


def _attachment(part: Any) -> Attachment:
    return Attachment(filename=part.get_filename() or "", mime=part.get_content_type(), content=_content(part))


def _content(part: Any) -> bytes:
    try:
        content = part.get_content()
    except (LookupError, ValueError):  # an unknown alphabet, or a kind the library cannot open
        content = part.get_payload(decode=True) or b""
    return content if isinstance(content, bytes) else str(content).encode("utf-8", "replace")
