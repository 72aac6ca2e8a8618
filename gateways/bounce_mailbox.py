"""The mailbox to which mail servers return what they could not deliver, read by POP3."""

import contextlib
import poplib
import ssl
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

TIMEOUT_SECONDS = 15.0
# Of a larger message only the beginning is fetched: what a report has to say stands there.
_LARGEST = 1 << 20
_FIRST_LINES = 4000
_PORTS = {"pop3s": 995, "pop3": 110}
_BROKEN = (poplib.error_proto, OSError, EOFError, UnicodeError, ValueError)


class MailboxFailed(Exception):
    """The mailbox could not be read; the text says why, without the password."""


class BounceMailbox:
    """A mailbox at `pop3s://user:password@host:995`; `pop3://` encrypts when the server offers it.

    ValueError when the address of the mailbox has another form. `ca_file` replaces the system's authorities.
    """

    def __init__(self, url: str, *, timeout: float = TIMEOUT_SECONDS, ca_file: str | None = None) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            parts, port = urlsplit(""), 0
        if not (port and parts.scheme in _PORTS and parts.hostname and parts.username and parts.password):
            # The address holds the password, so it is not repeated.
            raise ValueError("BOUNCE_MAILBOX has the form pop3s://user:password@host:995")
        self._is_secure, self._host, self._port = parts.scheme == "pop3s", parts.hostname, port
        self._user, self._password = unquote(parts.username), unquote(parts.password)
        self._timeout, self._ca_file = timeout, ca_file

    @contextlib.contextmanager
    def opened(self) -> Iterator["OpenMailbox"]:
        """The mailbox, locked for us. What was deleted is gone once this ends well, and stays otherwise.

        Raises MailboxFailed.
        """
        with _explained():
            line = self._connected()
        try:
            with _explained():
                line.user(self._user)
                line.pass_(self._password)
            yield OpenMailbox(line)
            with _explained():
                line.quit()
        finally:
            line.close()

    def _connected(self) -> poplib.POP3:
        context = ssl.create_default_context(cafile=self._ca_file)
        if self._is_secure:
            return poplib.POP3_SSL(self._host, self._port, timeout=self._timeout, context=context)
        line = poplib.POP3(self._host, self._port, timeout=self._timeout)
        try:
            if "STLS" in line.capa():
                line.stls(context)
        except BaseException:
            line.close()
            raise
        return line


class OpenMailbox:
    """One visit to the mailbox. Every verb raises MailboxFailed."""

    def __init__(self, line: poplib.POP3) -> None:
        self._line = line

    def numbers(self) -> dict[str, int]:
        """Every message: its lasting id → its number during this visit."""
        with _explained():
            _, lines, _ = self._line.uidl()
            pairs = [line.decode("ascii", "replace").split(" ", 1) for line in lines]
            return {uid: int(number) for number, uid in pairs}

    def read(self, number: int) -> bytes:
        """The message, or the beginning of a very large one."""
        with _explained():
            size = int(str(self._line.list(number), "ascii").split()[2])  # type: ignore[call-overload]
            fetched = self._line.retr(number) if size <= _LARGEST else self._line.top(number, _FIRST_LINES)
            return b"\r\n".join(fetched[1]) + b"\r\n"

    def delete(self, number: int) -> None:
        """Mark the message; it is gone when the visit ends well."""
        with _explained():
            self._line.dele(number)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        said = error.args[0] if error.args else error
        text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(error)
        printable = "".join(letter if letter.isprintable() else " " for letter in text)
        raise MailboxFailed(f"{type(error).__name__}: {printable[:300]}") from error
