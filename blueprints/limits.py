"""How much and how often: sizes of bodies, and the limiter that every blueprint shares."""

import threading
import time
from collections import deque

import flask_limiter
from flask_limiter.util import get_remote_address
from limits.storage import MemoryStorage

BODY_OF_FORM = 256 * 1024
BODY_OF_WEBHOOK = 256 * 1024

SWEEP_SECONDS = 60.0


class Windows(MemoryStorage):
    """The moving windows of this process, at `RATELIMIT_STORAGE_URI=windows://`.

    The library's own memory starts a thread every hundredth of a second, and each walks over every caller ever seen;
    under load that costs a request as much as half of its own work. Here old callers are forgotten once a minute.
    """

    STORAGE_SCHEME = ["windows"]

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, **options: str) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions, **options)
        self._hits: dict[str, deque[float]] = {}
        self._ends: dict[str, float] = {}  # when the newest hit of a caller has left the window
        self._swept_at = time.time()
        self._turn = threading.Lock()

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count `amount` hits of `key`, unless more than `limit` would lie within the last `expiry` seconds."""
        now = time.time()
        with self._turn:
            if now - self._swept_at > SWEEP_SECONDS:
                self._forget_old(now)
            hits = self._hits.setdefault(key, deque())
            while hits and hits[0] < now - expiry:
                hits.popleft()
            if len(hits) + amount > limit:
                return False
            hits.extend([now] * amount)
            self._ends[key] = now + expiry
            return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """The moment of the oldest hit of `key` that still counts, and how many do."""
        now = time.time()
        with self._turn:
            counting = [at for at in self._hits.get(key, ()) if at >= now - expiry]
        return (counting[0] if counting else now), len(counting)

    def clear(self, key: str) -> None:
        """Forget one caller."""
        with self._turn:
            self._hits.pop(key, None)
            self._ends.pop(key, None)

    def reset(self) -> int:
        """Forget every caller; how many there were."""
        with self._turn:
            count = len(self._hits)
            self._hits.clear()
            self._ends.clear()
        return count

    def _forget_old(self, now: float) -> None:
        for key in [key for key, end in self._ends.items() if end < now]:
            del self._hits[key], self._ends[key]
        self._swept_at = now


limiter = flask_limiter.Limiter(get_remote_address, strategy="moving-window")
