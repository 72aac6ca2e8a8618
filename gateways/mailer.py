"""Hands one letter for one person to the mail server, and says precisely how far that went.

A server that took the final dot may own the letter even if its answer never arrived: that is `UNKNOWN`, never a plain
failure. Everything before the dot is safe to try again.
"""

import contextlib
import email
import email.policy
import re
import smtplib
import ssl
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from email.header import Header
from email.message import EmailMessage
from email.utils import format_datetime
from enum import StrEnum
from types import TracebackType
from typing import Any

import flask_mail
import idna

from domain import clock

TIMEOUT_SECONDS = 15.0

_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DOMAIN = re.compile(r"(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]|localhost")
_MESSAGE_ID = re.compile(r"<[A-Za-z0-9.!#$%&'*+/=^_`{|}~-]+@[A-Za-z0-9.-]+>")
_MIME_TYPE = re.compile(r"[a-z]+/[a-z0-9.+-]+")
_PART_HEADERS = frozenset({"mime-version", "content-type", "content-transfer-encoding", "content-disposition"})
_LETTER_HEADERS = _PART_HEADERS | {"subject", "from", "to", "date", "message-id", "reply-to", "auto-submitted"}
_MISSING_AUTHENTICATION = (530, 534, 535, 538)
_NO_ROOM = 552
# A server that will not pass our letters on says so when it hears the first address that is not its own.
# Never by the word alone: it may stand in the address that it repeats.
_RELAYING = re.compile(
    r"\brelay(ing)?( access)? (is )?(denied|not |prohibited)|\b(not|unable|cannot) .{0,20}\brelay\b", re.I
)
_POLICY = "5.7."
_SHORT = 60


@dataclass(frozen=True)
class Attachment:
    """A file that goes with a letter; `mime` such as `application/pdf`."""

    filename: str
    mime: str
    content: bytes


@dataclass(frozen=True)
class Letter:
    """A finished letter to one person. `message_id` with its angle brackets is sent exactly as given.

    `bounces_to` is where servers report that it came back; without it, to the sender.
    """

    to: str
    subject: str
    text: str
    html: str
    message_id: str
    from_name: str
    reply_to: str | None = None
    attachments: tuple[Attachment, ...] = ()
    auto_submitted: bool = True
    bounces_to: str | None = None


@dataclass(frozen=True)
class Accepted:
    """The server took the letter over; `reply` is its last line, for the timeline. Not: somebody has read it."""

    reply: str


class Failure(StrEnum):
    """Who has to do something, and whether trying again may help."""

    BAD_ADDRESS = "bad_address"  # the receiving side refuses this person: correct the address
    REFUSED = "refused"  # the receiving side refuses this letter
    NOT_NOW = "not_now"  # asked to come back later
    OURS = "ours"  # our account, sender, certificate or settings: no letter goes out until that is mended
    UNREACHABLE = "unreachable"  # nobody answered, or the line broke before the letter was handed over
    UNKNOWN = "unknown"  # the line broke after the last byte: it may have arrived


class MailFailed(Exception):
    """The letter was not accepted. `code` is the server's number if it gave one, `detail` its line without controls."""

    def __init__(self, kind: Failure, code: int | None, detail: str) -> None:
        self.kind = kind
        self.code = code
        self.detail = _one_line(detail)[:500]
        super().__init__(f"{kind}: {code or ''} {self.detail}")


class Mailer:
    """The way to one mail server. `sender` is the address of the envelope and of From; ValueError if it is none.

    `ca_file` replaces the system's certificate authorities. Times in seconds, each for one answer of the server.
    """

    def __init__(
        self,
        server: str,
        port: int,
        *,
        sender: str,
        use_tls: bool = False,
        use_ssl: bool = False,
        username: str | None = None,
        password: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        ca_file: str | None = None,
    ) -> None:
        self._sender = postal_address(sender)
        self._timeout = timeout
        self._ca_file = ca_file
        self._settings = flask_mail.Mail().init_mail(
            {
                "MAIL_SERVER": server,
                "MAIL_PORT": port,
                "MAIL_USE_TLS": use_tls,
                "MAIL_USE_SSL": use_ssl,
                "MAIL_USERNAME": username,
                "MAIL_PASSWORD": password,
                "MAIL_DEFAULT_SENDER": self._sender,
                "MAIL_SUPPRESS_SEND": False,
            }
        )

    def send(self, letter: Letter) -> Accepted:
        """Hand over `letter`. Raises MailFailed; anything but `UNKNOWN` means that nobody has it."""
        to = _addressee(letter.to)
        bounces_to = _own_address("bounces_to", letter.bounces_to) if letter.bounces_to else self._sender
        message = _Message(letter, sender=self._sender, to=to)
        content = message.as_bytes()
        _inspect(content, letter, sender=self._sender, to=to)
        with _Line(self._settings, timeout=self._timeout, ca_file=self._ca_file, sender=self._sender) as line:
            return Accepted(line.hand_over(content, to=to, bounces_to=bounces_to))

    def check(self) -> None:
        """Connect, secure the line and log in, as the settings page's test does. Raises MailFailed."""
        with _Line(self._settings, timeout=self._timeout, ca_file=self._ca_file, sender=self._sender):
            pass


def postal_address(text: str) -> str:
    """One plain mail address with its domain in ASCII. ValueError for lists, names, quotes, literals, controls."""
    local, at, domain = text.rpartition("@")
    try:
        ascii_domain = domain if domain == "localhost" else idna.encode(domain, uts46=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError) as error:
        raise ValueError("the domain is not one") from error
    if not (at and len(local) <= 64 and _LOCAL_PART.fullmatch(local) and _DOMAIN.fullmatch(ascii_domain)):
        raise ValueError("not one plain mail address")
    if len(local) + 1 + len(ascii_domain) > 254:
        raise ValueError("longer than an address can be")
    return f"{local}@{ascii_domain}"


class _Message(flask_mail.Message):
    """Flask-Mail's message, built with the standard library's newer classes: addresses as values, quoted bodies."""

    def __init__(self, letter: Letter, *, sender: str, to: str) -> None:
        super().__init__(letter.subject, recipients=[to], body=letter.text, html=letter.html, sender=sender)
        self._letter = letter

    def as_bytes(self) -> bytes:
        """The finished letter. The head is written here: the library loses blanks when it folds a long subject."""
        letter = self._letter
        head = [
            f"Subject: {_folded('Subject', _header('subject', letter.subject))}",
            f"From: {_mailbox(_header('from_name', letter.from_name), str(self.sender))}",
            f"To: {self.recipients[0]}",
            f"Date: {format_datetime(clock.now())}",
            f"Message-ID: {_matching('message_id', _MESSAGE_ID, letter.message_id)}",
        ]
        if letter.reply_to:
            head.append(f"Reply-To: {_own_address('reply_to', letter.reply_to)}")
        if letter.auto_submitted:
            head.append("Auto-Submitted: auto-generated")
        return "\r\n".join([*head, ""]).encode("ascii") + self._body().as_bytes()

    def _body(self) -> EmailMessage:
        body = EmailMessage(policy=email.policy.SMTP)
        body.set_content(_lines(self._letter.text), cte="quoted-printable")
        body.add_alternative(_lines(self._letter.html), subtype="html", cte="quoted-printable")
        for attachment in self._letter.attachments:
            main, sub = _matching("attachment", _MIME_TYPE, attachment.mime).split("/")
            name = _header("attachment", attachment.filename)
            body.add_attachment(attachment.content, maintype=main, subtype=sub, filename=name)
        return body


class _Line(flask_mail.Connection):
    """Flask-Mail's connection with a time-out, checked certificates and an answer for every way it can break."""

    host: smtplib.SMTP

    def __init__(self, settings: Any, *, timeout: float, ca_file: str | None, sender: str) -> None:
        super().__init__(settings)
        self._timeout = timeout
        self._ca_file = ca_file
        self._sender = sender

    def configure_host(self) -> smtplib.SMTP:
        """Connect, secure and log in. Raises MailFailed."""
        with _explained():
            host = self._connected()
            try:
                _greet(host)
                if self.mail.use_tls:
                    host.starttls(context=self._certificates())
                    _greet(host)
                if self.mail.username and self.mail.password:
                    host.login(self.mail.username, self.mail.password)
            except BaseException:
                host.close()
                raise
            return host

    def hand_over(self, content: bytes, *, to: str, bounces_to: str) -> str:
        """The server's last line after taking `content` for `to`. Raises MailFailed."""
        with _explained():
            size = [f"size={len(content)}"] if self.host.has_extn("size") else []
            self._expect(self.host.mail(bounces_to, size), at_5xx=Failure.OURS)
            self._expect(self.host.rcpt(to), at_5xx=Failure.BAD_ADDRESS)
            self._expect(self.host.docmd("DATA"), at_5xx=Failure.REFUSED, wanted=3)
            self.host.send(re.sub(rb"(?m)^\.", b"..", content))
            self.host.send(b".\r\n")  # when this fails the dot has not left, so nobody can own the letter yet
        try:
            answer = self.host.getreply()
        except (smtplib.SMTPException, OSError) as error:
            raise MailFailed(Failure.UNKNOWN, None, f"The line broke after the last byte: {error}") from error
        return self._expect(answer, at_5xx=Failure.REFUSED, otherwise=Failure.UNKNOWN)

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Say good-bye; a letter that was accepted stays accepted, however rudely the server hangs up."""
        with contextlib.suppress(smtplib.SMTPException, OSError):
            if exc_type is None:
                self.host.quit()
        self.host.close()

    def _connected(self) -> smtplib.SMTP:
        settings = self.mail
        name = self._sender.rpartition("@")[2]
        if settings.use_ssl:
            return smtplib.SMTP_SSL(
                settings.server, settings.port or 465, name, timeout=self._timeout, context=self._certificates()
            )
        return smtplib.SMTP(settings.server, settings.port or 25, name, timeout=self._timeout)

    def _certificates(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._ca_file)

    @staticmethod
    def _expect(
        answer: tuple[int, bytes], *, at_5xx: Failure, wanted: int = 2, otherwise: Failure = Failure.UNREACHABLE
    ) -> str:
        code, line = answer
        text = _one_line(line.decode("utf-8", "replace"))
        if code // 100 == wanted:
            return f"{code} {text}"
        kinds = {4: Failure.NOT_NOW, 5: _blame(code, text, at_5xx)}
        raise MailFailed(kinds.get(code // 100, otherwise), code if code > 0 else None, text)


def _greet(host: smtplib.SMTP) -> None:
    """EHLO, or HELO for a server that knows no better; one that is busy is not asked twice."""
    code, line = host.ehlo()
    if code // 100 == 5:
        code, line = host.helo()
    if code // 100 != 2:
        raise smtplib.SMTPHeloError(code, line)


def _blame(code: int, text: str, at_5xx: Failure) -> Failure:
    """Whose fault a no for good is, where the number and the stage alone do not say it."""
    if code in _MISSING_AUTHENTICATION:
        return Failure.OURS
    if code == _NO_ROOM and at_5xx in (Failure.OURS, Failure.BAD_ADDRESS):
        # Of the sender: the letter is too large. Of the recipient: the mailbox is full, and RFC 5321 says wait.
        return Failure.REFUSED if at_5xx is Failure.OURS else Failure.NOT_NOW
    if at_5xx is Failure.BAD_ADDRESS and _RELAYING.search(text):
        return Failure.OURS
    if at_5xx is Failure.BAD_ADDRESS and text.startswith(_POLICY):
        return Failure.REFUSED
    return at_5xx


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn whatever breaks before the last byte into a MailFailed."""
    try:
        yield
    except smtplib.SMTPResponseException as error:
        kind = Failure.NOT_NOW if error.smtp_code // 100 == 4 else Failure.OURS
        line = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        raise MailFailed(kind, error.smtp_code, str(line)) from error
    except smtplib.SMTPServerDisconnected as error:
        raise MailFailed(Failure.UNREACHABLE, None, str(error)) from error
    except smtplib.SMTPException as error:  # no STARTTLS or no AUTH on offer
        raise MailFailed(Failure.OURS, None, str(error)) from error
    except ssl.SSLCertVerificationError as error:
        raise MailFailed(Failure.OURS, None, f"The server's certificate: {error.verify_message}") from error
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
        raise MailFailed(Failure.UNREACHABLE, None, str(error)) from error
    except ssl.SSLError as error:
        raise MailFailed(Failure.OURS, None, f"No secure line: {error}") from error
    except FileNotFoundError as error:
        raise MailFailed(Failure.OURS, None, "The file with the certificate authorities is missing.") from error
    except (OSError, UnicodeError) as error:
        raise MailFailed(Failure.UNREACHABLE, None, f"{type(error).__name__}: {error}") from error


def _inspect(content: bytes, letter: Letter, *, sender: str, to: str) -> None:
    """Read the finished letter as a stranger would: nothing may stand in its head that we did not mean to write."""
    read = email.message_from_bytes(content, policy=email.policy.SMTP)
    names = [name.lower() for name in read]
    parts = [part for part in read.walk() if part is not read]
    is_as_meant = (
        set(names) <= _LETTER_HEADERS
        and len(names) == len(set(names))
        and all(name.lower() in _PART_HEADERS for part in parts for name in part)
        and [address.addr_spec for address in read["To"].addresses] == [to]
        and [address.addr_spec for address in read["From"].addresses] == [sender]
        and str(read["Message-ID"]) == letter.message_id
        and re.search(rb"\r(?!\n)|(?<!\r)\n", content) is None
    )
    if not is_as_meant:
        raise MailFailed(Failure.REFUSED, None, "The letter's head is not what was meant; it was not sent.")


def _addressee(text: str) -> str:
    try:
        return postal_address(text)
    except ValueError as error:
        raise MailFailed(Failure.BAD_ADDRESS, None, f"The address cannot be used: {error}") from error


def _own_address(field: str, text: str) -> str:
    try:
        return postal_address(text)
    except ValueError as error:
        raise MailFailed(Failure.OURS, None, f"{field}: {error}") from error


def _header(field: str, text: str) -> str:
    """`text` if it can stand in a header; controls, line separators and ready-made encoded words cannot."""
    if "=?" in text or any(unicodedata.category(letter) in ("Cc", "Zl", "Zp", "Cs") for letter in text):
        raise MailFailed(Failure.REFUSED, None, f"{field}: holds characters that no header may hold")
    return text


def _folded(name: str, text: str) -> str:
    """`text` for a header line: as it is when short ASCII, else in encoded words, folded where needed."""
    if text.isascii() and len(text) <= _SHORT:
        return text
    return Header(text, "utf-8", header_name=name).encode(linesep="\r\n")


def _mailbox(name: str, address: str) -> str:
    if not name:
        return address
    if name.isascii() and len(name) <= _SHORT:
        return '"' + re.sub(r'(["\\])', r"\\\1", name) + f'" <{address}>'
    return f"{_folded('From', name)}\r\n <{address}>"


def _matching(field: str, pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise MailFailed(Failure.REFUSED, None, f"{field}: has the wrong form")
    return text


def _lines(text: str) -> str:
    """Plain newlines only, as a bare CR could end a letter early on a careless server; nothing that has no bytes."""
    sound = text.encode("utf-8", "ignore").decode().replace("\0", "")
    return re.sub("\r\n?|[\x0b\x0c\x85\u2028\u2029]", "\n", sound)


def _one_line(text: str) -> str:
    return " ".join("".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text).split())
