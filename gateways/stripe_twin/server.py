"""Runs the twin on a free port of this machine and lets a test play the buyer, the bank and the network."""

import tempfile
import threading
import time
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from domain import clock
from gateways.stripe_twin import answering, engine, event_objects, wire
from gateways.stripe_twin.book import Attempt
from gateways.stripe_twin.faults import Fault
from gateways.stripe_twin.site import create_twin
from gateways.stripe_twin.verbs import Verbs
from gateways.stripe_twin.wire import Json

_HOST = "127.0.0.1"
# They open nothing but a twin.
_KEY, _SIGNER = "sk_test_twin", "whsec_twin"


class Twin(Verbs):
    """A running twin: `with Twin(webhook_url=…) as twin:`. Without `store` its memory is gone afterwards.

    What it does for the buyer and the bank is what the pay page does. Session and event ids go in, event ids come out.
    """

    def __init__(
        self,
        *,
        webhook_url: str = "",
        store: Path | None = None,
        secret_key: str = _KEY,
        webhook_secret: str = _SIGNER,
    ) -> None:
        self.secret_key, self.webhook_secret = secret_key, webhook_secret
        self._folder = tempfile.TemporaryDirectory(prefix="stripe-twin-")
        self._path = store or Path(self._folder.name, "twin.sqlite")
        self._webhook_url = webhook_url
        self._server: BaseWSGIServer | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        # The port is known before the app is, which needs it for the addresses of its pages.
        self._server = make_server(_HOST, 0, _not_yet, threaded=True, request_handler=_Line)
        self._port = self._server.port
        self.app = create_twin(
            store=self._path,
            secret_key=self.secret_key,
            webhook_secret=self.webhook_secret,
            webhook_url=self._webhook_url,
            public_url=self.api_base,
        )
        self._engine = engine.of(self.app)
        self._server.app = self.app
        self._listen(self._server)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._hang_up()
        self._engine.delivery.close()
        self._folder.cleanup()

    @property
    def api_base(self) -> str:
        """Where the SDK finds it, and the pay page too."""
        return f"http://{_HOST}:{self._port}"

    def deliver(self, event_id: str, *, times: int = 1) -> list[int | None]:
        """Send an event now, whatever was sent before; the HTTP statuses (None: no answer). One 2xx: delivered."""
        statuses = [self._engine.delivery.send(self._event(event_id)) for _ in range(times)]
        if any(status is not None and 200 <= status < 300 for status in statuses):
            self.mark_delivered(event_id)
        return statuses

    def mark_delivered(self, event_id: str) -> None:
        """The test has brought this event itself (`signed`), so it is no longer among the undelivered ones."""
        with self._engine.store.begin() as book:
            book.finish_delivery(event_id, state="delivered", due_at=clock.now().timestamp())

    def outbox(self) -> list[str]:
        """The ids of events still to be sent, in the order in which they leave, doubled ones twice, lost ones not."""
        with self._engine.store.begin() as book:
            return book.outbox()

    def drain(self, *, seconds: float = 10) -> bool:
        """Wait until nothing is pending; False when that took too long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with self._engine.store.begin() as book:
                if book.next_delivery_at() is None:
                    return True
            time.sleep(0.01)
        return False

    def delivery_state(self, event_id: str) -> str:
        """`pending`, `delivered`, `failed`, `lost` or `unsubscribed`."""
        with self._engine.store.begin() as book:
            return book.delivery_state(event_id)

    def attempts(self, event_id: str) -> list[Attempt]:
        """Every try to send an event, oldest first."""
        with self._engine.store.begin() as book:
            return book.attempts(event_id)

    def signed(
        self, event_id: str, *, secret: str = "", at: float | None = None, changes: Json | None = None
    ) -> tuple[bytes, dict[str, str]]:
        """The body and headers of the webhook request for an event, to be posted by the test itself.

        `secret` and `at` (seconds since 1970) sign otherwise, `changes` replaces fields of the event before signing.
        """
        return self.sign({**self._event(event_id), **(changes or {})}, secret=secret, at=at)

    def signed_thin(self, event_id: str, *, secret: str = "") -> tuple[bytes, dict[str, str]]:
        """The same happening as a thin event: a reference instead of the object."""
        return self.sign(event_objects.as_thin(self._event(event_id)), secret=secret)

    def sign(self, body: Any, *, secret: str = "", at: float | None = None) -> tuple[bytes, dict[str, str]]:
        """Any JSON value or raw text as a rightly signed webhook request: for bodies that no Stripe would send."""
        text = body if isinstance(body, str) else wire.dump(body)
        return text.encode(), self._engine.delivery.sign(text, secret=secret, at=at)

    def switch(
        self, fault: Fault | str, value: Any = True, *, times: int | None = None, ratio: float = 1, seed: int = 0
    ) -> None:
        """Make something go wrong, for so many uses or until it is switched off by a value of False.

        `ratio` is the share of cases that it strikes (0 to 1), drawn from `seed`: the same seed, the same cases.
        NEXT_REFUND is for one refund unless `times` says otherwise.
        """
        fault = Fault(fault)
        if fault is Fault.DOWN:
            self._hang_up() if value else self._stand_up()
            return
        times = 1 if times is None and fault is Fault.NEXT_REFUND else times
        with self._engine.store.begin() as book:
            book.switch(fault, value, times=times, ratio=ratio, seed=seed)

    def _event(self, event_id: str) -> Json:
        with self._engine.store.begin() as book:
            kept = book.find(event_id)
        if kept is None or kept.body["object"] not in ("event", "v2.core.event"):
            raise KeyError(event_id)
        return event_objects.as_sent(kept.body)

    def _listen(self, server: BaseWSGIServer) -> None:
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="stripe-twin", daemon=True)
        self._thread.start()

    def _stand_up(self) -> None:
        if self._server is None:
            self._listen(make_server(_HOST, self._port, self.app, threaded=True, request_handler=_Line))

    def _hang_up(self) -> None:
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._server = None


class _Line(WSGIRequestHandler):
    """The line to one caller: it logs nothing, and its clock is ours, or as far ahead as the fault says."""

    def log(self, type: str, message: str, *args: Any) -> None:
        pass

    def date_time_string(self, timestamp: float | None = None) -> str:
        ahead = timedelta(seconds=getattr(self, "environ", {}).get(answering.SECONDS_AHEAD, 0))
        return format_datetime(clock.now() + ahead, usegmt=True)


def _not_yet(_environ: Any, start: Any) -> list[bytes]:
    start("503 Service Unavailable", [])
    return []
