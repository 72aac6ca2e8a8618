"""The web server as operators start it, over the test's own settings, and clients that hold a line to it."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import config
from tests import processes

THREADS = 4


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """A granian with its workers in a process group of its own; started anew, it has the same port."""

    settings: config.Settings
    workers: int = 2
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start it and wait for its first answer."""
        command = [
            *(sys.executable, "-m", "granian", "app:create_app", "--factory", "--interface", "wsgi", "--no-ws"),
            *("--host", "127.0.0.1", "--port", str(self.port), "--log-level", "error"),
            *("--workers", str(self.workers), "--blocking-threads", str(THREADS), "--workers-kill-timeout", "5"),
        ]
        environment = processes.environment(self.settings) | {"BASE_URL": f"http://localhost:{self.port}"}
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(
            command, env=environment, cwd=config.ROOT, stdout=quiet, stderr=quiet, start_new_session=True
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

    def _is_up(self) -> bool:
        assert self.process is not None and self.process.poll() is None, "the web server ended by itself"
        line = Line(self.port)
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

    def __init__(self, port: int, text: str = "") -> None:
        self._port, self._text = port, text
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


@contextmanager
def running(settings: config.Settings) -> Iterator[Server]:
    """A started server that is stopped at the end."""
    server = Server(settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()
