"""A proxy on loopback between a till and the server: it hears every call, and loses or refuses one on purpose."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests

from conformance.desk import BASE, PATIENCE_SECONDS, at, keep_authorization, read_json

LIVE_KEY = "gv_live_"
LARGEST_BODY = 1024 * 1024
_HOP_BY_HOP = frozenset(
    "connection keep-alive proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade host "
    "expect content-length content-encoding accept-encoding".split()
)


@dataclass(frozen=True)
class Act:
    """What the kit does with a call: pass it on, pass it on and lose the answer, or refuse it (`status`)."""

    is_lost: bool = False
    status: int = 0
    retry_after: int = 0


PASS = Act()


@dataclass(eq=False)
class Heard:
    """One call of the till, and what it got. Times are seconds of a clock that only runs forward."""

    number: int
    method: str
    path: str
    query: dict[str, str]
    key: str
    body: Any
    came: float
    act: Act = PASS
    status: int = 0
    answer: Any = None
    request_id: str = ""
    answered: float | None = None

    def at(self, path: str) -> Any:
        """The member of the answer at a dotted path, or None."""
        return at(self.answer, path)

    def __str__(self) -> str:
        told = " (lost)" if self.act.is_lost else " (by the kit)" if self.act.status else ""
        key = f" Idempotency-Key {self.key}" if self.key else ""
        request = f", request {self.request_id}" if self.request_id else ""
        body = f" {json.dumps(self.body, ensure_ascii=False)[:160]}" if self.body is not None else ""
        return f"#{self.number} {self.method} {self.path}{key}{body} → {self.status}{told}{request}"


@dataclass
class Ear:
    """Who is told of each call: when it comes (and decides what is done with it), and when it was answered."""

    come: Callable[[Heard], Act]
    answered: Callable[[Heard], None]
    lock: threading.Lock = field(default_factory=threading.Lock)
    count: int = 0


@contextmanager
def listening(upstream: str, *, port: int, ear: Ear) -> Iterator[int]:
    """The proxy in front of `upstream` on a port of loopback (0: any free one). Raises OSError when it is taken."""
    session = requests.Session()

    class Handler(_Handler):
        pass

    Handler.upstream, Handler.ear, Handler.session = upstream.rstrip("/"), ear, session
    server = _Server(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="recorder", daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        session.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A till that hangs up, as tills do, is no mistake of ours."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120
    upstream: str
    ear: Ear
    session: requests.Session

    def do_GET(self) -> None:
        raw = self._body()
        if raw is None or not self.path.startswith("/"):
            self.close_connection = True
            return self._refuse(400, "The kit cannot read this request.")
        if LIVE_KEY in self.headers.get("Authorization", ""):
            return self._refuse(403, "The kit loses and refuses answers on purpose: use a test key (gv_test_…).")
        heard = self._hear(raw)
        if heard.act.status:
            self._settle(heard, heard.act.status, None)
            return self._refuse(heard.act.status, "The kit refuses this on purpose.", heard.act.retry_after)
        answer = self._pass_on(raw)
        self._settle(heard, answer.status_code if answer is not None else 502, answer)
        if answer is None:
            self._refuse(502, "The server behind the kit does not answer.")
        elif heard.act.is_lost:
            self.close_connection = True
        else:
            self._write(answer.status_code, dict(answer.headers), answer.content)

    do_POST = do_PATCH = do_PUT = do_DELETE = do_HEAD = do_GET

    def log_message(self, *arguments: object) -> None:
        """Nothing: the paper has what counts."""

    def _body(self) -> bytes | None:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._chunks()
        length = self.headers.get("Content-Length", "0")
        is_fine = length.isdecimal() and int(length) <= LARGEST_BODY
        return self.rfile.read(int(length)) if is_fine else None

    def _chunks(self) -> bytes | None:
        whole = b""
        while len(whole) <= LARGEST_BODY:
            try:
                size = int(self.rfile.readline(64).partition(b";")[0], 16)
            except ValueError:
                return None
            whole += self.rfile.read(size)
            self.rfile.readline(64)
            if size == 0:
                return whole
        return None

    def _hear(self, raw: bytes) -> Heard:
        address = urlsplit(self.path)
        ear = self.ear
        with ear.lock:
            ear.count += 1
            heard = Heard(
                number=ear.count,
                method=self.command,
                path=address.path.removeprefix(BASE),
                query=dict(parse_qsl(address.query)),
                key=self.headers.get("Idempotency-Key", ""),
                body=read_json(raw) if raw else None,
                came=time.monotonic(),
            )
            heard.act = ear.come(heard)
        return heard

    def _settle(self, heard: Heard, status: int, answer: requests.Response | None) -> None:
        # Before the till hears it: its next call must find this one complete.
        with self.ear.lock:
            heard.status, heard.answered = status, time.monotonic()
            if answer is not None:
                heard.answer, heard.request_id = read_json(answer.content), answer.headers.get("X-Request-Id", "")
            self.ear.answered(heard)

    def _pass_on(self, raw: bytes) -> requests.Response | None:
        headers = {name: text for name, text in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        try:
            return self.session.request(
                self.command,
                self.upstream + self.path,
                data=raw or None,
                headers=headers | {"Accept-Encoding": "identity"},
                auth=keep_authorization,
                timeout=PATIENCE_SECONDS,
                allow_redirects=False,
            )
        except requests.RequestException:
            return None

    def _refuse(self, status: int, detail: str, retry_after: int = 0) -> None:
        code = {429: "rate_limited", 503: "temporarily_unavailable"}.get(status, "conformance_kit")
        members = {"type": "about:blank", "title": "Conformance kit", "status": status, "code": code, "detail": detail}
        headers = {"Content-Type": "application/problem+json"}
        headers |= {"Retry-After": str(retry_after)} if retry_after else {}
        self._write(status, headers, json.dumps(members | {"request_id": "kit", "errors": []}).encode())

    def _write(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response_only(status)
        for name, text in headers.items():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, text)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
