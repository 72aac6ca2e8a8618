"""The web server as operators start it, over the test's own settings, and clients that hold a line to it."""

import contextlib
import http.client
import json
import os
import select
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import config
from tests import processes

THREADS = 4
_DRAIN_SECONDS = 90.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """A granian with its workers in a process group of its own; started anew, it has the same port.

    With `path` it listens on that socket instead, as it does behind a proxy, and `port` is the proxy's.
    """

    settings: config.Settings
    workers: int = 2
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None
    path: Path | None = None

    def start(self) -> None:
        """Start it and wait for its first answer."""
        command = [
            *(sys.executable, "-m", "granian", "app:create_app", "--factory", "--interface", "wsgi", "--no-ws"),
            *("--log-level", "error", "--workers", str(self.workers), "--blocking-threads", str(THREADS)),
            *self._place(),
        ]
        environment = processes.environment(self.settings) | {"BASE_URL": f"http://localhost:{self.port}"}
        with Path(os.devnull if self.path is None else self.path.with_suffix(".log")).open("wb") as out:
            self.process = subprocess.Popen(
                command, env=environment, cwd=config.ROOT, stdout=out, stderr=out, start_new_session=True
            )
        processes.wait_until(self._is_up, seconds=60, what="the web server")

    def kill(self) -> None:
        """SIGKILL to the parent and its workers at once: nothing is finished, nobody says good-bye."""
        assert self.process is not None
        processes.kill(self.process)

    def stop(self) -> None:
        """Ask it to end, and end it when it does not listen."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.kill()

    def reload(self) -> None:
        """SIGHUP: granian starts each worker anew, one after the other. Returns when the last old one has ended."""
        assert self.process is not None
        old = self._workers()
        self.process.send_signal(signal.SIGHUP)
        processes.wait_until(
            lambda: len(self._workers()) == self.workers and not self._workers() & old,
            seconds=_DRAIN_SECONDS,
            what="the new workers",
        )

    def drain(self) -> None:
        """SIGTERM to the parent alone, which lets its workers finish what they have begun."""
        assert self.process is not None and self.path is not None
        self.process.terminate()
        assert self.process.wait(timeout=_DRAIN_SECONDS) == 0, self.path.with_suffix(".log").read_text()

    def _place(self) -> tuple[str, ...]:
        if self.path is None:
            return "--host", "127.0.0.1", "--port", str(self.port), "--workers-kill-timeout", "5"
        return "--uds", str(self.path), "--http", "1", "--no-http1-keep-alive", "--workers-kill-timeout", "60"

    def _workers(self) -> set[str]:
        assert self.process is not None
        pid = self.process.pid
        return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())

    def _is_up(self) -> bool:
        assert self.process is not None and self.process.poll() is None, "the web server ended by itself"
        line = Line(self.port, path=self.path)
        try:
            return line.send("GET", "/healthz", {}).status == 200
        except OSError:
            return False
        finally:
            line.close()


@dataclass(frozen=True)
class Answer:
    """One answer as it came over the line."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Line:
    """One client's connection, kept open between calls and opened anew after a fault. Raises OSError."""

    def __init__(self, port: int, text: str = "", *, path: Path | None = None) -> None:
        self._port, self._text, self._path = port, text, path
        self._connection: http.client.HTTPConnection | None = None

    def redeem(self, code: str, amount_minor: int, *, key: str, currency: str = "EUR") -> Answer:
        body = json.dumps({"code": code, "amount_minor": amount_minor, "currency": currency})
        return self.send("POST", "/api/v1/vouchers/redeem", {"Idempotency-Key": key}, body)

    def send(self, method: str, path: str, headers: dict[str, str], body: str | None = None) -> Answer:
        sent = {"Host": f"localhost:{self._port}", "Content-Type": "application/json"} | headers
        if self._text:
            sent["Authorization"] = f"Bearer {self._text}"
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            if self._path is not None and self._connection.sock is None:
                self._connection.sock = _connected(self._path, timeout=30)
            self._connection.request(method, path, body=body, headers=sent)
            response = self._connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise OSError("the line is dead") from error

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Site:
    """The shop as operators run it: a proxy on one port, and behind a link the socket of today's granian.

    The proxy looks the link up for every connection, so that whoever comes after `hand_over` comes to the new server.
    """

    def __init__(self, settings: config.Settings, *, port: int) -> None:
        self.settings, self.port = settings, port

    def __enter__(self) -> Self:
        # A short path: a socket's address has to fit into 107 characters.
        self._folder = tempfile.TemporaryDirectory(prefix="web-")
        self._count = 0
        self._front = _Front(self.port, self._folder_path / "web.sock")
        self._server = self._start()
        self._point()
        self._thread = threading.Thread(target=self._front.serve_forever, args=(0.05,), name="front")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._front.shutdown()
        self._thread.join()
        self._server.stop()
        self._front.server_close()
        self._folder.cleanup()

    def hand_over(self) -> None:
        """Start another granian, turn the link to it, and end the old one when nobody talks to it any more."""
        old, self._server = self._server, self._start()
        self._point()
        assert old.path is not None
        name = old.path.name
        processes.wait_until(lambda: self._front.lines[name] == 0, seconds=_DRAIN_SECONDS, what="the old server's end")
        old.drain()

    def reload(self) -> None:
        """Let the running granian start its workers anew."""
        self._server.reload()

    @property
    def _folder_path(self) -> Path:
        return Path(self._folder.name)

    def _start(self) -> Server:
        self._count += 1
        fresh = Server(self.settings, port=self.port, path=self._folder_path / f"web-{self._count}.sock")
        fresh.start()
        return fresh

    def _point(self) -> None:
        assert self._server.path is not None
        fresh = self._folder_path / "fresh"
        fresh.symlink_to(self._server.path.name)
        fresh.replace(self._front.link)


class _Front(socketserver.ThreadingTCPServer):
    """The bytes of every connection go to whatever `link` leads to; it tries nothing twice and hides no fault."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, port: int, link: Path) -> None:
        super().__init__(("127.0.0.1", port), _Pipe)
        self.link = link
        self.lines: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        """A connection to the server of today. Raises OSError."""
        with self._lock:
            name = os.readlink(self.link)
            self.lines[name] += 1
        try:
            with _connected(self.link.with_name(name)) as line:
                yield line
        finally:
            with self._lock:
                self.lines[name] -= 1


class _Pipe(socketserver.BaseRequestHandler):
    server: _Front

    def handle(self) -> None:
        # Whatever cuts one side ends the other one: its owner sees a line without an answer.
        with contextlib.suppress(OSError), self.server.connected() as far:
            other = {self.request: far, far: self.request}
            while True:
                for ready in select.select(list(other), [], [])[0]:
                    if not (data := ready.recv(65536)):
                        return
                    other[ready].sendall(data)


def _connected(path: Path, *, timeout: float | None = None) -> socket.socket:
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(timeout)
    try:
        line.connect(str(path))
    except OSError:
        line.close()
        raise
    return line


@contextmanager
def running(settings: config.Settings) -> Iterator[Server]:
    """A started server that is stopped at the end."""
    server = Server(settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()
