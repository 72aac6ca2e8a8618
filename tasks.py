"""The queue: a door bell and nothing more. Every task carries one id, of an order or a batch; rows are the truth.

With the bell switched off everything still happens, only later: the sweeper finds what is due.
"""

import json
import os
import random
import socket
import threading
from collections.abc import Callable
from typing import Any

import flask
import huey
import redis
import structlog
from huey.registry import Message
from huey.serializer import Serializer

from config import Settings
from database import connected
from domain import clock
from effects import batch, watch, work

log = structlog.get_logger()
SWEEP_SECONDS = 5.0
WATCH_SECONDS = 5.0


class JsonSerializer(Serializer):
    """Huey pickles by default, and whoever writes to the queue could then run code. A number needs no pickle."""

    def _serialize(self, data: Message) -> bytes:
        return json.dumps([data.id, data.name, list(data.args)]).encode()

    def _deserialize(self, data: bytes) -> Message:
        task_id, name, args = json.loads(data)
        return Message(task_id, name, None, 0, 0, None, tuple(args), {}, None, None, None, None)


def connect(app: flask.Flask, settings: Settings) -> huey.Huey:
    """The queue of these settings with its tasks, kept in `app.extensions`."""
    bell = _queue(settings.queue_url)
    app.extensions["huey"] = bell
    app.extensions["fulfil"] = bell.task(name="fulfil")(lambda order_id: _fulfil(app, order_id))
    app.extensions["batch"] = bell.task(name="batch")(lambda batch_id: _issue(app, batch_id))
    return bell


def kick(row_id: int, *, task: str = "fulfil") -> None:
    """Ring for the worker: `fulfil` an order or go on with a `batch`. Never raises: a silent bell only delays."""
    app = flask.current_app
    if not app.extensions["outside"].settings.kicks:
        return
    try:
        app.extensions[task](row_id)
    except Exception:
        log.warning("kick_failed", task=task, row_id=row_id, exc_info=True)


def sweep_until(app: flask.Flask, stop: threading.Event, *, seconds: float = SWEEP_SECONDS) -> None:
    """The sweeper's thread: one round every few seconds with some jitter, until `stop` is set."""
    name = worker_name()
    _repeat(app, stop, lambda: work.sweep(name, asks_stripe=False), what="sweep", seconds=seconds)


def watch_until(app: flask.Flask, stop: threading.Event, *, seconds: float = WATCH_SECONDS) -> None:
    """The watch's thread: it asks Stripe and looks after everything, so that waiting for it delays no voucher."""
    _repeat(app, stop, lambda: watch.run(clock.now()), what="watch", seconds=seconds)


def worker_name() -> str:
    """Who works: host, process and thread, for leases and the heartbeat."""
    return f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident() % 100000}"


def _repeat(app: flask.Flask, stop: threading.Event, turn: Callable[[], object], *, what: str, seconds: float) -> None:
    """A turn at once and then one every few seconds; whatever a turn raises, the next one comes."""
    while True:
        try:
            with app.app_context(), connected():
                turn()
        except Exception:
            log.error(f"{what}_failed", exc_info=True)
        if stop.wait(seconds * random.uniform(0.8, 1.2)):  # noqa: S311 – jitter, not a secret
            return


def _fulfil(app: flask.Flask, order_id: int) -> None:
    with app.app_context(), connected():
        work.run_due(worker_name(), order_id=int(order_id))


def _issue(app: flask.Flask, batch_id: int) -> None:
    with app.app_context(), connected():
        batch.run_due(batch_id=int(batch_id))


def _queue(url: str) -> huey.Huey:
    options: dict[str, Any] = {"results": False, "serializer": JsonSerializer()}
    scheme = url.partition(":")[0]
    if scheme == "sqlite":
        path = url.removeprefix("sqlite:///")
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        return huey.SqliteHuey("vouchsafe", filename=path, fsync=True, timeout=10, **options)
    if scheme in ("redis", "rediss", "valkey"):
        # A kick waits for Redis inside of a web request, so not for long; the consumer's own reads last a second.
        pool = redis.ConnectionPool.from_url(
            url.replace("valkey:", "redis:", 1), socket_connect_timeout=2, socket_timeout=5
        )
        return huey.PriorityRedisExpireHuey("vouchsafe", connection_pool=pool, **options)
    if scheme in ("postgresql", "postgres"):
        return huey.PostgresHuey("vouchsafe", dsn=url, **options)
    raise ValueError(f"QUEUE_URL must start with sqlite:///, redis:// or postgresql://, not {scheme!r}")
