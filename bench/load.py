"""The load: keep-alive clients in a process of its own, so that counting costs the shop no more than a share of a core.

Started as `python -m bench.load`; reads a `Plan` as JSON from its input and prints a `Result` as JSON. One thread
serves every client and speaks HTTP/1.1 by hand: a comfortable library would take more of that core. Loopback only.
"""

import dataclasses
import json
import re
import secrets
import selectors
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

HOST = "127.0.0.1"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SILENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Plan:
    """Who asks what for how long. `calls` are (headers, body), dealt out to the clients and used again and again.

    `is_once`: each call is made once and the run ends with the last. `has_fresh_keys`: each request carries an
    Idempotency-Key of its own.
    """

    port: int
    path: str
    calls: list[tuple[dict[str, str], str]]
    clients: int = 8
    seconds: float = 3.0
    method: str = "POST"
    is_once: bool = False
    has_fresh_keys: bool = False


@dataclass(frozen=True)
class Result:
    """What came of it. Latencies in milliseconds, as the clients waited."""

    seconds: float
    statuses: dict[str, int] = field(default_factory=dict)
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.latencies_ms) / self.seconds if self.seconds else 0.0

    @property
    def refused(self) -> dict[str, int]:
        """Answers that were no success, by status."""
        return {status: count for status, count in self.statuses.items() if not status.startswith("2")}


def run(plan: Plan) -> Result:
    """Carry out `plan` in a second process and wait for it."""
    command = [sys.executable, "-m", "bench.load"]
    done = subprocess.run(command, input=json.dumps(dataclasses.asdict(plan)), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the load generator failed: {done.stderr[-2000:]}")
    return Result(**json.loads(done.stdout))


class _Client:
    def __init__(self, plan: Plan, calls: list[bytes], number: int) -> None:
        self.socket = socket.create_connection((HOST, plan.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._requests = _requests(plan, calls, number)
        self._answer = b""
        self.started = 0.0

    def ask(self) -> bool:
        """Send the next request; False when there is none left."""
        request = next(self._requests, None)
        if request is None:
            return False
        self.started = time.perf_counter()
        self.socket.sendall(request)
        return True

    def read(self) -> str | None:
        """The status once the whole answer is there."""
        chunk = self.socket.recv(1 << 16)
        if not chunk:
            raise ConnectionError(f"the server hung up after {self._answer[:200]!r}")
        self._answer += chunk
        head, separator, body = self._answer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not separator or length is None or len(body) < int(length[1]):
            return None
        self._answer = b""
        return head[9:12].decode()


def _requests(plan: Plan, calls: list[bytes], number: int) -> Iterator[bytes]:
    prefix, count = secrets.token_hex(6), 0
    while calls:
        for call in calls:
            count += 1
            yield call.replace(b"{fresh}", f"bench-{number}-{prefix}-{count}".encode(), 1)
        if plan.is_once:
            return


def _raw(plan: Plan, headers: dict[str, str], body: str) -> bytes:
    fresh = {"Idempotency-Key": "{fresh}"} if plan.has_fresh_keys else {}
    sent = body.encode()
    lines = {"Host": f"localhost:{plan.port}", "Content-Length": str(len(sent))} | fresh | headers
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{plan.method} {plan.path} HTTP/1.1\r\n{head}\r\n".encode() + sent


def _carry_out(plan: Plan) -> Result:
    raw = [_raw(plan, headers, body) for headers, body in plan.calls]
    clients = [_Client(plan, raw[number :: plan.clients], number) for number in range(plan.clients)]
    statuses: Counter[str] = Counter()
    latencies: list[float] = []
    with selectors.DefaultSelector() as selector:
        began = time.perf_counter()
        waiting = sum(client.ask() for client in clients)
        for client in clients:
            selector.register(client.socket, selectors.EVENT_READ, client)
        while waiting:
            ready = selector.select(timeout=_SILENCE_SECONDS)
            if not ready:
                raise TimeoutError(f"no answer for {_SILENCE_SECONDS:.0f} s")
            for key, _ in ready:
                status = key.data.read()
                if status is None:
                    continue
                now = time.perf_counter()
                statuses[status] += 1
                latencies.append((now - key.data.started) * 1000)
                goes_on = plan.is_once or now - began < plan.seconds
                waiting -= not (goes_on and key.data.ask())
        return Result(time.perf_counter() - began, dict(statuses), latencies)


if __name__ == "__main__":
    given = json.load(sys.stdin)
    print(json.dumps(dataclasses.asdict(_carry_out(Plan(**given)))))
