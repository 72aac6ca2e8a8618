"""Real processes for journeys: the worker as operators start it, over the test's own settings."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import config


def environment(settings: config.Settings) -> dict[str, str]:
    """What a process of its own needs to see the same shop."""
    assert settings.stripe_secret_key and settings.stripe_webhook_secret and settings.secret_key
    return os.environ | {
        "DATABASE_URL": settings.database_url,
        "QUEUE_URL": settings.queue_url,
        "KICKS": str(settings.kicks),
        "SECRET_KEY": settings.secret_key.get_secret_value(),
        "BASE_URL": settings.base_url,
        "STRIPE_SECRET_KEY": settings.stripe_secret_key.get_secret_value(),
        "STRIPE_WEBHOOK_SECRET": settings.stripe_webhook_secret.get_secret_value(),
        "STRIPE_API_BASE": settings.stripe_api_base,
        "MAIL_SERVER": settings.mail_server,
        "MAIL_PORT": str(settings.mail_port),
        "MAIL_DEFAULT_SENDER": settings.mail_default_sender,
    }


def start_worker(settings: config.Settings, *, sweep_seconds: float = 0.2) -> "subprocess.Popen[bytes]":
    """`flask worker` in a process group of its own, so that its printing child dies with it."""
    command = [sys.executable, "-m", "flask", "worker", "--sweep-seconds", str(sweep_seconds)]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        command, env=environment(settings), cwd=config.ROOT, stdout=quiet, stderr=quiet, start_new_session=True
    )


def kill(process: "subprocess.Popen[bytes]") -> None:
    """SIGKILL: no chance to finish anything."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def worker(settings: config.Settings, **options: float) -> Iterator["subprocess.Popen[bytes]"]:
    """A running worker that is drained by SIGTERM at the end."""
    process = start_worker(settings, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=90)


def wait_until(holds: Callable[[], bool], *, seconds: float = 60, what: str = "it") -> None:
    """Look again and again until `holds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds:.0f} s"
        time.sleep(0.05)
