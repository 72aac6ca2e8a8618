"""Sends events to the one webhook address, signed as Stripe signs, from a background thread with a few quick retries.

What is still to be sent stands in the store, so it survives a restart. Nothing else is ever contacted.
"""

import contextlib
import ipaddress
import os
import threading
from urllib.parse import urlsplit

import requests
from stripe import WebhookSignature

from domain import clock
from gateways.stripe_twin import event_objects, wire
from gateways.stripe_twin.book import Attempt
from gateways.stripe_twin.store import Store
from gateways.stripe_twin.wire import Json

RETRY_SECONDS = (1.0, 5.0, 30.0)  # waits after the first, second and third failure; then the event is given up
CONNECT_SECONDS, ANSWER_SECONDS = 3.0, 10.0
_LEASE_SECONDS = 2 * (CONNECT_SECONDS + ANSWER_SECONDS)
_LONGEST_WAIT = 5.0  # so that events left behind by another process are found


class Delivery:
    """The sender of one process. `webhook_url` "" records events and sends none.

    Raises ValueError for an address on another machine.
    """

    def __init__(self, store: Store, *, webhook_url: str, webhook_secret: str) -> None:
        if webhook_url and not _is_own_machine(webhook_url):
            raise ValueError("the twin's webhook address must be on this machine, such as http://127.0.0.1:8000/…")
        self._store = store
        self._url = webhook_url
        self._secret = webhook_secret
        self._news = threading.Event()
        self._is_closed = False
        self._starting = threading.Lock()
        self._thread: tuple[int, threading.Thread] | None = None
        store.on_events = self.wake
        if self._next_at() is not None:
            self.wake()

    def wake(self) -> None:
        """There is something to send. Starts the thread of this process at the first call."""
        if not self._url or self._is_closed:
            return
        with self._starting:
            # A forked process inherits the object and not the thread.
            if self._thread is None or self._thread[0] != os.getpid():
                thread = threading.Thread(target=self._run, name="stripe-twin-delivery", daemon=True)
                self._thread = (os.getpid(), thread)
                thread.start()
        self._news.set()

    def close(self) -> None:
        """Stop the thread after the delivery that is under way."""
        self._is_closed = True
        self._news.set()
        if self._thread is not None and self._thread[0] == os.getpid():
            self._thread[1].join(timeout=_LEASE_SECONDS)

    def sign(self, body: str, *, secret: str = "", at: float | None = None) -> dict[str, str]:
        """The headers of a webhook request with this body, signed at a moment (seconds since 1970)."""
        moment = int(clock.now().timestamp() if at is None else at)
        signature = WebhookSignature.generate_signature_header(body, secret or self._secret, moment)
        return {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": signature}

    def send(self, event: Json) -> int | None:
        """POST an event now; the HTTP status, or None without an answer. The attempt is recorded."""
        body, status, error = wire.dump(event), None, ""
        try:
            status = self._post(body)
        except requests.RequestException as problem:
            error = type(problem).__name__
        with self._store.begin() as book:
            book.note_attempt(Attempt(event["id"], clock.now().timestamp(), status, error))
        return status

    def _post(self, body: str) -> int:
        with requests.Session() as session:
            session.trust_env = False  # no proxy may carry it elsewhere
            answer = session.post(
                self._url,
                data=body.encode(),
                headers=self.sign(body),
                timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
                allow_redirects=False,
            )
            return answer.status_code

    def _run(self) -> None:
        while not self._is_closed:
            if not self._send_next():
                self._news.wait(self._wait_seconds())
                self._news.clear()

    def _send_next(self) -> bool:
        with self._store.begin() as book:
            claim = book.claim_delivery(lease_seconds=_LEASE_SECONDS)
            event = book.find(claim[0]) if claim else None
        if claim is None or event is None:
            return False
        _, copies, attempts = claim
        statuses = [self.send(event_objects.as_sent(event.body)) for _ in range(copies)]
        self._conclude(event.id, is_accepted=any(_is_success(status) for status in statuses), attempts=attempts)
        return True

    def _conclude(self, event_id: str, *, is_accepted: bool, attempts: int) -> None:
        now = clock.now().timestamp()
        with self._store.begin() as book:
            if is_accepted:
                book.finish_delivery(event_id, state="delivered", due_at=now)
            elif attempts > len(RETRY_SECONDS):
                book.finish_delivery(event_id, state="failed", due_at=now)
            else:
                book.finish_delivery(event_id, state="pending", due_at=now + RETRY_SECONDS[attempts - 1])

    def _next_at(self) -> float | None:
        with self._store.begin() as book:
            return book.next_delivery_at()

    def _wait_seconds(self) -> float:
        next_at = self._next_at()
        if next_at is None:
            return _LONGEST_WAIT
        return min(max(next_at - clock.now().timestamp(), 0.01), _LONGEST_WAIT)


def _is_success(status: int | None) -> bool:
    return status is not None and 200 <= status < 300


def _is_own_machine(url: str) -> bool:
    parts = urlsplit(url)
    with contextlib.suppress(ValueError):
        return parts.scheme in ("http", "https") and ipaddress.ip_address(parts.hostname or "").is_loopback
    return parts.scheme in ("http", "https") and parts.hostname == "localhost"
