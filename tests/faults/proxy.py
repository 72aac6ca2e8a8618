"""A TCP proxy on the loopback that breaks lines at a chosen byte: reset, black hole, slow.

`cut(to_server=120)` lets 120 more bytes through in that direction, counted over all lines from now on, and then
resets the line that carries the next one, both ways, as a router that forgets it would do. Then all is well again.
"""

import contextlib
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit, urlunsplit

_CHUNK = 1 << 16
_AT_ONCE = struct.pack("ii", 1, 0)  # linger for no time: closing sends a reset


@dataclass(frozen=True)
class _Break:
    to_server: bool
    after: int
    is_hole: bool


class Proxy:
    """A proxy to `target`, a (host, port) or the path of a Unix socket; `with Proxy(…) as proxy: proxy.port`."""

    def __init__(self, target: tuple[str, int] | str) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._breaks: deque[_Break] = deque()
        self._passed = {True: 0, False: 0}
        self._pause, self._at_a_time = 0.0, _CHUNK
        self._lines: list[socket.socket] = []
        self._holes: set[socket.socket] = set()
        self._is_over = False
        self.breaks_done = 0
        self.connections = 0

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return int(self._door.getsockname()[1])

    def cut(self, *, to_server: int | None = None, to_client: int | None = None, times: int = 1) -> None:
        """Reset the line after so many bytes in one direction, `times` in a row; each is counted from the last."""
        self._arm(to_server, to_client, times, is_hole=False)

    def swallow(self, *, to_server: int | None = None, to_client: int | None = None, times: int = 1) -> None:
        """The same, as a black hole: the line stays open and nothing passes either way."""
        self._arm(to_server, to_client, times, is_hole=True)

    def slow(self, *, seconds: float, at_a_time: int) -> None:
        """Pass `at_a_time` bytes, then wait for `seconds`, and so on; 0 seconds is full speed."""
        self._pause, self._at_a_time = seconds, at_a_time if seconds else _CHUNK

    def heal(self) -> None:
        """Forget what is still to be broken."""
        with self._lock:
            self._breaks.clear()

    def measure(self) -> tuple[int, int]:
        """Bytes that passed to the server and to the client since the last look."""
        with self._lock:
            passed = self._passed[True], self._passed[False]
            self._passed = {True: 0, False: 0}
            return passed

    def reset_all(self) -> None:
        """Reset every line that is open now."""
        with self._lock:
            lines, self._lines = self._lines, []
        for line in lines:
            _reset(line)

    def __enter__(self) -> Self:
        self._door = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._receive, name="proxy", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self.reset_all()

    def _arm(self, to_server: int | None, to_client: int | None, times: int, *, is_hole: bool) -> None:
        assert (to_server is None) != (to_client is None), "one direction"
        after = to_server if to_server is not None else to_client
        assert after is not None
        with self._lock:
            self._breaks.extend([_Break(to_server is not None, after, is_hole)] * times)
            self._passed = {True: 0, False: 0}

    def _receive(self) -> None:
        while not self._is_over:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            try:
                server = self._connected()
            except OSError:
                _reset(client)
                continue
            with self._lock:
                self._lines += [client, server]
                self.connections += 1
            for source, sink, to_server in ((client, server, True), (server, client, False)):
                pump = threading.Thread(target=self._pump, args=(source, sink, to_server), name="proxy", daemon=True)
                pump.start()

    def _connected(self) -> socket.socket:
        if not isinstance(self._target, str):
            return socket.create_connection(self._target, timeout=None)
        line = socket.socket(socket.AF_UNIX)
        line.connect(self._target)
        return line

    def _pump(self, source: socket.socket, sink: socket.socket, to_server: bool) -> None:
        try:
            while data := source.recv(self._at_a_time):
                if source in self._holes:
                    continue
                allowed, found = self._admit(len(data), to_server)
                sink.sendall(data[:allowed])
                if found is not None and found.is_hole:
                    self._holes.update((source, sink))
                elif found is not None:
                    raise ConnectionResetError
                if self._pause:
                    time.sleep(self._pause)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            _reset(source)
            _reset(sink)

    def _admit(self, size: int, to_server: bool) -> tuple[int, _Break | None]:
        with self._lock:
            before = self._passed[to_server]
            self._passed[to_server] += size
            due = self._breaks[0] if self._breaks else None
            if due is None or due.to_server != to_server or before + size <= due.after:
                return size, None
            self._breaks.popleft()
            self._passed = {True: 0, False: 0}
            self.breaks_done += 1
            return due.after - before, due


def postgres_target(url: str) -> tuple[str, int] | str:
    """Where the server of a PostgreSQL URL listens."""
    parts, query = urlsplit(url), parse_qs(urlsplit(url).query)
    host = query.get("host", [parts.hostname or "127.0.0.1"])[0]
    port = int(query.get("port", [str(parts.port or 5432)])[0])
    return str(Path(host) / f".s.PGSQL.{port}") if host.startswith("/") else (host, port)


def postgres_url(url: str, *, port: int) -> str:
    """The same database by way of a proxy on `port`."""
    parts = urlsplit(url)
    name = f"{parts.username or 'postgres'}{f':{parts.password}' if parts.password else ''}"
    return urlunsplit(parts._replace(netloc=f"{name}@127.0.0.1:{port}", query="sslmode=disable&gssencmode=disable"))


def _reset(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        if line.family != socket.AF_UNIX:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        # Wakes the thread that reads; only the close sends the reset.
        line.shutdown(socket.SHUT_RD if line.family != socket.AF_UNIX else socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        line.close()
