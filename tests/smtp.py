"""A real SMTP server on the loopback that misbehaves on request, as real ones do."""

import asyncio
import datetime
import email
import email.policy
import ipaddress
import socket
import ssl
from collections import defaultdict, deque
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

STAGES = ("CONNECT", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "DOT")
BREAKS = (*STAGES, "BEFORE_DOT", "AFTER_DOT", "AFTER_250")
_DROP = "drop the line"


@dataclass(frozen=True)
class Delivered:
    """One letter as it came over the wire."""

    mail_from: str
    recipients: tuple[str, ...]
    raw: bytes

    @property
    def message(self) -> EmailMessage:
        parsed = email.message_from_bytes(self.raw, policy=email.policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    @property
    def text(self) -> str:
        return self._body("plain")

    @property
    def html(self) -> str:
        return self._body("html")

    def _body(self, kind: str) -> str:
        part = self.message.get_body(preferencelist=(kind,))
        return str(part.get_content()).replace("\r\n", "\n") if part is not None else ""


class ScriptedServer:
    """Keeps what it accepts in `messages`, and follows the script for the next calls at a stage.

    `login` = (name, password) requires AUTH; `certificate` = (certificate file, key file) offers STARTTLS.
    """

    def __init__(self, *, login: tuple[str, str] | None = None, certificate: tuple[Path, Path] | None = None) -> None:
        self.messages: list[Delivered] = []
        self.connections = 0
        self._script: dict[str, deque[str | float]] = defaultdict(deque)
        self.login = login
        self._controller = _Controller(self, certificate=certificate)

    @property
    def host(self) -> str:
        return "127.0.0.1"

    @property
    def port(self) -> int:
        return int(self._controller.port)

    def answer(self, stage: str, reply: str, *, times: int = 1) -> None:
        """Say `reply` ("451 4.7.1 Come back later") instead of yes at `stage`."""
        assert stage in STAGES
        self._script[stage].extend([reply] * times)

    def drop(self, stage: str, *, times: int = 1) -> None:
        """Cut the line at `stage`; after AFTER_DOT and AFTER_250 the letter is kept."""
        assert stage in BREAKS
        self._script[stage].extend([_DROP] * times)

    def delay(self, stage: str, seconds: float, *, times: int = 1) -> None:
        """Say nothing for so long at `stage`, then go on."""
        assert stage in BREAKS
        self._script[stage].extend([seconds] * times)

    def __enter__(self) -> Self:
        self._controller.start()
        self.connections = 0
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._controller.hang_up(), self._controller.loop).result(5)
        self._controller.stop()

    def _next(self, stage: str) -> str | float | None:
        return self._script[stage].popleft() if self._script[stage] else None


def self_signed(folder: Path, *, name: str = "127.0.0.1") -> tuple[Path, Path]:
    """A new certificate for `name` (an address or a host) and its key, as files; it is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    try:
        alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        alternative = x509.DNSName(name)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file


class _Controller(Controller):
    def __init__(self, server: ScriptedServer, *, certificate: Any) -> None:
        self.scripted = server
        self.tls = None
        self._conversations: list[_Conversation] = []
        if certificate:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(*certificate)
        super().__init__(_Keeper(server), hostname="127.0.0.1", port=_free_port())

    async def hang_up(self) -> None:
        """Close every line that is still open, and let the loop notice."""
        for conversation in self._conversations:
            if conversation.transport is not None:
                conversation.transport.abort()
        for _ in range(5):
            await asyncio.sleep(0)

    def factory(self) -> "_Conversation":
        self._conversations.append(self._new_conversation())
        return self._conversations[-1]

    def _new_conversation(self) -> "_Conversation":
        return _Conversation(
            self.handler,
            scripted=self.scripted,
            hostname="scripted.test",
            tls_context=self.tls,
            require_starttls=self.tls is not None,
            authenticator=self._authenticate if self.scripted.login else None,
            auth_require_tls=False,
        )

    def _authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        given = (data.login.decode(), data.password.decode())
        return AuthResult(success=given == self.scripted.login, handled=False)


class _Keeper:
    def __init__(self, server: ScriptedServer) -> None:
        self._scripted = server

    async def handle_DATA(self, conversation: "_Conversation", _session: Any, envelope: Any) -> str:
        if await conversation.followed("DOT"):
            return ""
        self._scripted.messages.append(
            Delivered(envelope.mail_from, tuple(envelope.rcpt_tos), bytes(envelope.original_content))
        )
        if await conversation.followed("AFTER_DOT"):
            return ""
        if self._scripted._next("AFTER_250") is not None:
            await conversation.say("250 2.0.0 Ok: queued, and good-bye")
            conversation.hang_up()
            return ""
        return "250 2.0.0 Ok: queued as SCRIPTED1"


class _Conversation(SMTP):
    def __init__(self, *arguments: Any, scripted: ScriptedServer, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._scripted = scripted
        self._login = scripted.login
        self._has_greeted = False

    async def push(self, status: Any) -> None:
        if not self._has_greeted:
            self._has_greeted = True
            self._scripted.connections += 1
            if await self.followed("CONNECT"):
                return
        if status and self.transport is not None:
            await super().push(status)

    async def say(self, reply: str) -> None:
        await super().push(reply)

    async def followed(self, stage: str) -> bool:
        """Whether the script decided what happens at `stage`."""
        step = self._scripted._next(stage)
        if step is None:
            return False
        if isinstance(step, float | int):
            await asyncio.sleep(step)
            return False
        if step == _DROP:
            self.hang_up()
        else:
            await self.say(step)
        return True

    def hang_up(self) -> None:
        """Close after what was said has left."""
        if self.transport is not None:
            self.transport.close()

    async def smtp_EHLO(self, hostname: str) -> None:
        if not await self.followed("EHLO"):
            await super().smtp_EHLO(hostname)

    async def smtp_AUTH(self, arg: str) -> None:
        if not await self.followed("AUTH"):
            await super().smtp_AUTH(arg)

    async def smtp_MAIL(self, arg: str | None) -> None:
        if await self.followed("MAIL"):
            return
        if self._login and not (self.session and self.session.authenticated):
            await self.say("530 5.7.0 Authentication required")
            return
        await super().smtp_MAIL(arg)

    async def smtp_RCPT(self, arg: str | None) -> None:
        if not await self.followed("RCPT"):
            await super().smtp_RCPT(arg)

    async def smtp_DATA(self, arg: str) -> None:
        if await self.followed("DATA"):
            return
        if self._scripted._next("BEFORE_DOT") is not None:
            await self.say("354 Go ahead")
            await self._reader.readuntil(b"\r\n")
            assert self.transport is not None
            self.transport.abort()
            return
        await super().smtp_DATA(arg)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
