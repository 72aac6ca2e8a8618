"""A real POP3 server on the loopback: a mailbox that keeps what is not deleted before a good end of the visit."""

import socketserver
import ssl
import threading
from pathlib import Path
from typing import Self


class Pop3Server:
    """`messages` is the mailbox: unique id → message. `log` holds every command that was heard, without passwords."""

    def __init__(
        self, *, user: str = "bounces", password: str = "secret", certificate: tuple[Path, Path] | None = None
    ):
        self.messages: dict[str, bytes] = {}
        self.log: list[str] = []
        self.dies_at = ""
        self.user, self.password = user, password
        self.tls: ssl.SSLContext | None = None
        if certificate:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(*certificate)
        self._server = _Server(("127.0.0.1", 0), _Visit)
        self._server.mailbox = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        scheme = "pop3s" if self.tls else "pop3"
        return f"{scheme}://{self.user}:{self.password}@127.0.0.1:{self._server.server_address[1]}"

    def put(self, message: bytes, uid: str = "") -> str:
        """A message arrives; its unique id."""
        uid = uid or f"uid-{len(self.messages) + len(self.log) + 1}"
        self.messages[uid] = message
        return uid

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = False
    block_on_close = True
    mailbox: Pop3Server

    def get_request(self):  # type: ignore[no-untyped-def]
        line, address = super().get_request()
        line.settimeout(10)
        if self.mailbox.tls:
            try:
                line = self.mailbox.tls.wrap_socket(line, server_side=True)
            except OSError:
                line.close()
                raise
        return line, address


class _Visit(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        box = self.server.mailbox
        listed, deleted, user = list(box.messages.items()), set[int](), ""
        self._say("+OK ready")
        while line := self.rfile.readline().decode("ascii", "replace").strip():
            verb, _, rest = line.partition(" ")
            box.log.append(verb if verb == "PASS" else line)
            if verb == box.dies_at:
                return
            if verb == "USER":
                user = rest
                self._say("+OK")
            elif verb == "PASS":
                is_right = (user, rest) == (box.user, box.password)
                self._say("+OK" if is_right else "-ERR [AUTH] no")
            elif verb == "CAPA":
                self._many(["USER", "UIDL", "TOP"])
            elif verb == "UIDL":
                self._many([f"{number} {uid}" for number, (uid, _) in enumerate(listed, start=1)])
            elif verb == "LIST":
                self._say(f"+OK {rest} {len(listed[int(rest) - 1][1])}")
            elif verb in ("RETR", "TOP"):
                number, _, most = rest.partition(" ")
                lines = listed[int(number) - 1][1].replace(b"\r\n", b"\n").split(b"\n")
                if verb == "TOP":
                    blank = lines.index(b"") if b"" in lines else len(lines)
                    lines = lines[: blank + 1 + int(most)]
                self._many(lines)
            elif verb == "DELE":
                deleted.add(int(rest))
                self._say("+OK")
            elif verb == "QUIT":
                for number in deleted:
                    box.messages.pop(listed[number - 1][0], None)
                self._say("+OK bye")
                return

    def _say(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\r\n")

    def _many(self, lines: "list[str] | list[bytes]") -> None:
        self._say("+OK")
        for line in lines:
            raw = line.encode() if isinstance(line, str) else line
            self.wfile.write((b"." if raw.startswith(b".") else b"") + raw + b"\r\n")
        self._say(".")
